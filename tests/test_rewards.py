"""The reward of an architecture: eqs. (1) and (2) of ``nascore.rewards``."""

import numpy as np
import pytest
import torch

from nascore import gates, rewards
from nascore.errors import UserError
from nascore.run import Knob, Knobs
from nascore.task import Outcome, make_task

COST = torch.linspace(0.02, 1, 50, dtype=torch.float64)
ONE = torch.ones_like(COST)


@pytest.fixture(scope="module")
def task():
    return make_task("digits", epochs=1)


def knobs(**values):
    return Knobs(**{name: Knob(values.get(name, k.value), k.low, k.high, k.label) for name, k in rewards.KNOBS.items()})


def test_the_soft_reward_falls_with_the_cost_and_has_no_jump():
    """MnasNet's soft form: at the target it is the accuracy, and twice the cost takes off 1 − 2^−0.07, about 5 %."""
    found = rewards.product(0.8 * ONE, COST, 0.5, -0.07, -0.07)
    assert (found.diff() < 0).all()
    assert found.diff().abs().max() < 0.05
    at = rewards.product(*torch.tensor([[0.8, 0.8], [0.5, 1.0]], dtype=torch.float64), 0.5, -0.07, -0.07)
    np.testing.assert_allclose(at, [0.8, 0.8 * 2**-0.07])


def test_the_hard_reward_is_the_accuracy_up_to_the_target():
    found = rewards.product(0.8 * ONE, COST, 0.5, 0.0, -1.0)
    cheap = COST <= 0.5
    np.testing.assert_allclose(found[cheap], 0.8)
    np.testing.assert_allclose(found[~cheap], 0.8 * 0.5 / COST[~cheap])
    assert (found.diff() <= 0).all()


def test_the_loss_form_is_the_logarithm_of_the_product():
    """Eq. (2) = log of eq. (1) with exp(−L) for the accuracy."""
    loss = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    for below, above in ((-0.07, -0.07), (0.0, -1.0), (-0.5, -2.0)):
        plain = rewards.product((-loss).exp(), COST, 0.3, below, above)
        torch.testing.assert_close(rewards.logarithmic(-loss, COST, 0.3, below, above), plain.log())


def test_nothing_is_gained_below_the_floor():
    """A network without operations costs 0: its reward is finite."""
    found = rewards.product(ONE[:2], torch.tensor([0.0, rewards.FLOOR], dtype=torch.float64), 0.5, -0.07, -0.07)
    assert torch.isfinite(found).all()
    assert found[0] == found[1]


def test_scalarised_points_keep_their_order_along_the_front():
    """For a fixed w the best of a front moves to cheaper points, never back, as the exponent grows."""
    accuracy = 0.9 - 0.5 * (1 - COST) ** 3  # a front: more accurate, dearer
    best = [int(rewards.product(accuracy, COST, 0.5, w, w).argmax()) for w in np.linspace(0, -0.5, 26)]
    assert best == sorted(best, reverse=True)
    assert best[0] == 49
    assert len(set(best)) > 5


def test_the_reward_of_a_child_on_the_task(task):
    """By default the accuracy; the loss's negative on request; the penalty and the exponents on the cost of the
    gates under the weights of the resources."""
    z = gates.uniform_one_hot(torch.tensor(task.space.allowed), task.stream("here"))
    outcome = Outcome(torch.tensor(1.5, requires_grad=True), torch.tensor(0.75))
    cost = float((z.numpy() * task.resource.prices["parameters"]).sum())
    parameters = {"w_parameters": 1.0, "w_madds": 0.0, "w_memory": 0.0}
    assert float(rewards.reward(task, outcome, z, knobs())) == 0.75
    loss = rewards.reward(task, outcome, z, knobs(), "loss")
    assert (float(loss), loss.requires_grad) == (-1.5, False)
    found = rewards.reward(task, outcome, z, knobs(lam=0.4, below=-0.07, above=-0.07, target=0.2, **parameters))
    assert float(found) == pytest.approx(0.75 * (cost / 0.2) ** -0.07 - 0.4 * cost, rel=1e-5)
    with pytest.raises(UserError, match=r"reward: 'acuracy' is not one of .* Did you mean 'accuracy'\?"):
        rewards.reward(task, outcome, z, knobs(), "acuracy")


def test_the_outcome_is_one_pass(task):
    """Accuracy and loss by hand from the logits of the network."""
    z = gates.uniform_one_hot(torch.tensor(task.space.allowed), task.stream("there"))
    batch = task.batch("search")
    outcome = task.outcome(batch, z, update_statistics=False)
    logits = task.network(batch.images, z)
    right = (logits.argmax(-1) == batch.labels).float().mean()
    assert float(outcome.accuracy) == float(right)
    torch.testing.assert_close(outcome.loss, torch.nn.functional.cross_entropy(logits, batch.labels))
