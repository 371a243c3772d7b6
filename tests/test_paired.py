"""Statistics over paired seeds, and curves and children read at equal cost."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binom

from nascore.errors import UserError
from nascore.paired import compare, interval, league, over_random, read_at


def test_interval_holds_the_true_median_as_often_as_it_says():
    """Coverage of the 95 % bootstrap interval of a median, by simulation: 10 seeds each."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        _, low, high = interval(rng.normal(size=10))
        hits += low <= 0 <= high
    assert 0.88 < hits / 200 <= 1


def test_comparison_is_paired():
    a, b = np.array([0.9, 0.8, 0.7, 0.95]), np.array([0.8, 0.75, 0.72, 0.9])
    found = compare(a, b)
    assert (found.n, found.wins) == (4, 3)
    assert found.median == pytest.approx(0.05)
    assert -0.02 - 1e-9 <= found.low <= found.median <= found.high <= 0.1 + 1e-9
    shifted = compare(a + np.arange(4), b + np.arange(4))  # what the seeds share drops out
    assert (shifted.low, shifted.high) == pytest.approx((found.low, found.high))


def test_by_seed_only_shared_seeds_count_whatever_their_order():
    a, b = {3: 0.9, 0: 0.5, 1: 0.7}, {0: 0.4, 1: 0.75, 2: 9.0, 3: 0.1}
    assert compare(a, b) == compare([0.5, 0.7, 0.9], [0.4, 0.75, 0.1])


def test_the_sign_test_counts_coin_tosses_and_leaves_ties_out():
    found = compare([1, 1, 1, 1, 1, 0, 5], [0, 0, 0, 0, 0, 1, 5])
    assert (found.n, found.wins) == (7, 5)
    assert found.p == pytest.approx(2 * binom.sf(4, 6, 0.5))  # 5 or more of 6, either side
    assert compare([1, 2], [1, 2]).p == 1


def test_a_league_plays_every_pair_both_ways():
    table = league({"a": {0: 1.0, 1: 1.0, 2: 0.0}, "b": {0: 0.0, 1: 0.5, 2: 0.5}, "c": {0: 2.0, 1: 2.0}})
    assert len(table) == 6
    assert table["a", "b"].wins == 2
    assert table["b", "a"].wins == 1
    assert (table["c", "a"].n, table["c", "a"].wins) == (2, 2)
    assert table["a", "b"].median == -table["b", "a"].median


def test_interval_of_equal_values():
    assert interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_a_curve_is_read_where_it_was_last_measured():
    x, y = [1.0, 2.0, 4.0], [0.1, 0.5, 0.3]
    assert [read_at(x, y, at) for at in (1, 1.9, 2, 3.99, 4, 100)] == [0.1, 0.1, 0.5, 0.5, 0.3, 0.3]


def test_a_child_is_compared_with_random_ones_of_its_size():
    sizes, accuracies = [100, 110, 120, 500], [0.5, 0.6, 0.7, 0.9]
    assert over_random(105, 0.8, sizes, accuracies) == pytest.approx(0.2)
    assert over_random(500, 0.8, sizes, accuracies) == pytest.approx(-0.1)
    with pytest.raises(
        UserError, match="parameters: 1000 is not within 25% of any random child, which have 100 to 500"
    ):
        over_random(1000, 0.8, sizes, accuracies)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_interval_refuses_what_is_no_sample(values):
    with pytest.raises(UserError, match=r"values: .* must be two or more finite numbers"):
        interval(values)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: compare([1, 2], [1, 2, 3]), r"shape \(2,\) and \(3,\) make no pairs"),
        (lambda: compare({0: 1.0}, [1.0]), "one of the two is given by seed"),
        (lambda: compare({0: 1.0, 1: 2.0}, {1: 1.0, 2: 2.0}), r"\[0, 1\] and \[1, 2\] share 1"),
        (lambda: read_at([1, 2], [1, 2], 0.5), "at: 0.5 lies before the first measurement, at 1"),
        (lambda: read_at([2, 1], [1, 2], 2), "in rising order"),
        (lambda: read_at([1, 2, 3], [1, 2], 2), "must be as many"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_needs_no_torch():
    code = "import sys, nascore.paired as p; p.compare([1., 2.], [2., 2.]); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
