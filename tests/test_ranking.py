"""Kendall's tau against counting pairs, ties against every way to break them, and inherited counts against evaluate."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap, kendalltau

from nascore import evaluate, ranking
from nascore.errors import UserError
from nascore.space import NASP_12, TOY, Space
from nascore.task import make_task


def counted(a, b):
    """τ-b by its definition: (concordant − discordant) / √(pairs that differ in a · pairs that differ in b)."""
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in combinations(range(len(a)), 2)]
    return sum(x * y for x, y in signs) / np.sqrt(sum(x * x for x, _ in signs) * sum(y * y for _, y in signs))


@pytest.mark.parametrize("seed", range(5))
def test_tau_counts_pairs(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, 25), rng.integers(0, 6, 25)  # many ties
    found = ranking.agree(a, b, k=5)
    assert found.tau == pytest.approx(counted(a, b))
    assert found.tau == pytest.approx(kendalltau(a, b).statistic)
    same = sum(a[i] == a[j] for i, j in combinations(range(25), 2))
    assert found.ties == pytest.approx(same / (25 * 24 / 2))
    assert found.low <= found.tau <= found.high


@pytest.mark.parametrize("swaps", range(7))
def test_a_planted_number_of_inversions(swaps):
    """Swapping two neighbours turns one of n (n − 1) / 2 pairs: τ = 1 − 4 swaps / n (n − 1)."""
    n, order = 14, list(range(14))
    for k in range(swaps):
        order[2 * k], order[2 * k + 1] = order[2 * k + 1], order[2 * k]
    assert ranking.agree(range(n), order, k=3).tau == pytest.approx(1 - 4 * swaps / (n * (n - 1)))


def test_the_ends():
    values = np.arange(20.0)
    same, opposite = ranking.agree(values, 3 * values + 1), ranking.agree(values, -values)
    assert (same.tau, same.low, same.high, same.top, same.chance) == pytest.approx((1, 1, 1, 1, 0.5))
    assert (opposite.tau, opposite.high, opposite.top) == pytest.approx((-1, -1, 0))
    nothing = ranking.agree(np.ones(20), values, k=4)  # a measurement that tells nothing apart has no order
    assert (nothing.tau, nothing.ties) == (0, 1)
    assert nothing.top == pytest.approx(nothing.chance)  # its top 4 are any 4


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_tau_of_correlated_normals(rho):
    """τ = 2/π · arcsin ρ for a bivariate normal distribution (Kendall, 1948), within the interval."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=300)
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=300)
    found = ranking.agree(x, y)
    assert found.low <= 2 / np.pi * np.arcsin(rho) <= found.high
    assert found.high - found.low < 0.2


def test_the_interval_is_that_of_resampled_children():
    rng = np.random.default_rng(7)
    a = rng.integers(0, 12, 20)
    b = a + rng.normal(size=20) * 3
    found = ranking.agree(a, b)
    slow = bootstrap(
        (a, b),
        lambda x, y: kendalltau(x, y).statistic,
        paired=True,
        vectorized=False,
        n_resamples=ranking.RESAMPLES,
        method="percentile",
        rng=0,
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(slow))


def test_the_top_is_the_mean_over_all_ways_to_break_ties():
    rng = np.random.default_rng(3)
    a, b, k = rng.integers(0, 3, 6), rng.integers(0, 3, 6), 3

    def tops(values):
        return [set(sorted(range(6), key=lambda i: (-values[i], order[i]))[:k]) for order in permutations(range(6))]

    chosen = np.mean([[i in top for i in range(6)] for top in tops(a)], axis=0)
    assert np.allclose(ranking.chosen(np.asarray(a, float), k), chosen)
    shared = np.mean([len(x & y) for x in tops(a) for y in tops(b)]) / k
    assert ranking.agree(a, b, k).top == pytest.approx(shared)


@pytest.mark.parametrize(
    ("a", "b", "k", "words"),
    [
        ([1, 2, 3], [1, 2], 1, r"b: of shape \(2,\) beside a's \(3,\)"),
        ([1, 2], [1, 2], 1, "three or more"),
        ([[1, 2, 3]], [[1, 2, 3]], 1, "three or more"),
        ([1, 2, np.nan], [1, 2, 3], 1, "not finite"),
        ([1, 2, 3], [1, 2, 3], 4, "k: 4 is not a whole number from 1 to 3"),
    ],
)
def test_bad_arguments(a, b, k, words):
    with pytest.raises(UserError, match=words):
        ranking.agree(a, b, k)


def test_drawn_children_differ_and_are_allowed():
    table = ranking.draw(NASP_12, 40, seed=2)
    assert table.shape == (40, *NASP_12.shape[:2])
    assert len({tuple(child.ravel()) for child in table}) == 40
    assert np.take_along_axis(NASP_12.allowed[None], table[..., None], -1).all()
    assert np.array_equal(table, ranking.draw(NASP_12, 40, seed=2))
    assert not np.array_equal(table, ranking.draw(NASP_12, 40, seed=3))


def test_every_operation_is_as_likely():
    share = np.bincount(ranking.draw(TOY, 1000).ravel(), minlength=5) / 10_000
    assert np.abs(share - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 10_000)


def test_all_children_of_a_tiny_space():
    tiny = Space(1, 1, ("skip", "conv1", "conv3"), cells=("normal",))
    assert sorted(ranking.draw(tiny, 3).ravel()) == [0, 1, 2]
    with pytest.raises(UserError, match="n: 4 is not a whole number from 1 to 3"):
        ranking.draw(tiny, 4)


def test_graphs_are_those_of_the_indices():
    child = ranking.draw(TOY, 1, seed=5)[0]
    assert np.array_equal(TOY.one_hot(ranking.graphs(TOY, child)).argmax(-1), child)


def test_inherited_counts_are_those_of_evaluate():
    task = make_task("digits", seed=1, epochs=1)
    z = torch.full(task.space.shape, 0.2)
    optimiser = task.optimisers(weights=task.network)
    for _ in range(5):  # statistics and weights that are not those of the start
        optimiser.step_weights(task.loss(task.batch("train"), z))
    before = {name: tensor.clone() for name, tensor in task.network.state_dict().items()}
    children = [ranking.graphs(TOY, child) for child in ranking.draw(TOY, 3)]
    found = ranking.inherited(task, children, ("valid", "test"))
    for split, images in (("valid", 300), ("test", 497)):
        told = [evaluate.inherited(task, cells, split) for cells in children]
        assert [row["child_accuracy"] * images for row in told] == pytest.approx(found[f"{split}_stale"])
        recalibrated = [row["child_accuracy_recalibrated"] * images for row in told]
        assert recalibrated == pytest.approx(found[f"{split}_recalibrated"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.network.state_dict().items())
