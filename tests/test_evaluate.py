"""Deriving, measuring and retraining children, and the statistics over seeds."""

import numpy as np
import pytest
import torch
from torch import nn

from nascore import evaluate, gates
from nascore.errors import UserError
from nascore.task import Batch, make_task


@pytest.fixture
def task():
    task = make_task("digits", seed=0, epochs=2)
    z = gates.concrete(task.logits(), 1.0, task.noise)
    optimiser = task.optimisers(weights=task.network)
    for _ in range(10):
        optimiser.step_weights(task.loss(task.batch("train+search"), z.detach()))
    return task


def child(task, seed=0):
    drawn = gates.uniform_one_hot(torch.tensor(task.space.allowed), torch.Generator().manual_seed(seed))
    return task.space.decode(drawn), drawn


def test_recalibration_gives_the_statistics_of_the_data():
    """Running mean and variance become those of the batches, averaged; momentum and mode come back."""
    norm = nn.BatchNorm2d(3, momentum=0.3)
    batches = torch.randn(4, 10, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1
    norm(batches[0] * 7)
    evaluate.recalibrate(norm, batches)
    torch.testing.assert_close(norm.running_mean, batches.mean((1, 3, 4)).mean(0))
    torch.testing.assert_close(norm.running_var, batches.transpose(1, 2).flatten(2).var(-1).mean(0))
    assert norm.momentum == 0.3
    assert norm.training


def test_accuracy_counts(task):
    class Always(nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(torch.full((len(x),), 3), 10).float()

    images = Batch(torch.zeros(1203, 1, 8, 8), torch.arange(1203) % 10)
    assert evaluate.accuracy(Always(), images) == pytest.approx(120 / 1203)


def test_inherited_child_computes_what_the_supernet_computes(task):
    """One-hot gates in the supernet and the derived child agree, statistics included: nothing is lost in deriving."""
    graphs, drawn = child(task)
    network = evaluate.inherit(task, graphs).eval()
    images = task.images("valid").images
    task.network.eval()
    torch.testing.assert_close(network(images), task.network(images, drawn))


def test_inherited_weights_are_copies(task):
    graphs, _ = child(task)
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    evaluate.inherited(task, graphs)
    network = evaluate.inherit(task, graphs)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in task.network.state_dict().items())


def test_recalibration_helps_a_child_of_a_mixture(task):
    """Statistics of a mixture are not those of one operation: recalibrating moves them."""
    graphs, _ = child(task)
    network = evaluate.inherit(task, graphs)
    stale = {name: b.clone() for name, b in network.named_buffers() if "running_var" in name}
    evaluate.recalibrate(network, task.images("train+search").images.split(evaluate.CHUNK))
    moved = {name: b for name, b in network.named_buffers() if "running_var" in name}
    assert any(not torch.allclose(stale[name], moved[name], rtol=0.1) for name in stale)


def test_retraining_learns_and_repeats(task):
    graphs = task.space.decode(torch.eye(5)[torch.tensor([[3] * 5, [1] * 5])])
    first = evaluate.retrain(task, graphs, epochs=6)
    assert first["accuracy"] > 0.5
    assert first == evaluate.retrain(task, graphs, epochs=6)
    expected = task.resource.expected(torch.tensor(task.space.one_hot(graphs)))
    assert first["cost"] == pytest.approx(float(expected))
    assert first["parameters"] > 0


def test_retraining_leaves_the_search_alone(task):
    tensors, _ = task.snapshot()
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    task.evaluate(child(task)[0])
    after, _ = task.snapshot()
    assert all(torch.equal(tensors[name], after[name]) for name in tensors)
    assert torch.equal(state, torch.random.get_rng_state())


def test_interval_holds_the_true_median_as_often_as_it_says():
    """Coverage of the 95 % bootstrap interval of a median, by simulation: 10 seeds each."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        _, low, high = evaluate.interval(rng.normal(size=10))
        hits += low <= 0 <= high
    assert 0.88 < hits / 200 <= 1


def test_comparison_is_paired():
    a, b = np.array([0.9, 0.8, 0.7, 0.95]), np.array([0.8, 0.75, 0.72, 0.9])
    found = evaluate.compare(a, b)
    assert (found.n, found.wins) == (4, 3)
    assert found.median == pytest.approx(0.05)
    assert -0.02 - 1e-9 <= found.low <= found.median <= found.high <= 0.1 + 1e-9
    shifted = evaluate.compare(a + np.arange(4), b + np.arange(4))  # what the seeds share drops out
    assert (shifted.low, shifted.high) == pytest.approx((found.low, found.high))


def test_interval_of_equal_values():
    assert evaluate.interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_interval_refuses_what_is_no_sample(values):
    with pytest.raises(UserError, match=r"values: .* must be two or more finite numbers"):
        evaluate.interval(values)
