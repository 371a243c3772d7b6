"""REINFORCE on the shared network: the equations of ``nascore.policy`` and ``nascore.rewards`` at work."""

import pytest
import torch

from nascore import gates, methods, policy
from nascore.errors import UserError
from nascore.run import Knobs
from nascore.task import make_task


def begin(task, values=None, **options):
    method = methods.get("reinforce")
    knobs = Knobs(**method.knobs)
    knobs.set(**(values or {}))
    knobs.apply()
    return method(task, knobs, **options)


@pytest.mark.parametrize("reward", ["accuracy", "loss"])
def test_every_decision_gets_the_same_number(reward):
    """R of the network itself, b of the rewards before; R − b on every edge at what was drawn, and none elsewhere."""
    task, twin = (make_task("digits", seed=1, epochs=1) for _ in range(2))
    sums = policy.memory(twin.logits())
    for n, step in enumerate(step for step, _ in zip(begin(task, reward=reward), range(3), strict=False)):
        if n == 0:  # the weights of the twin are those of the start
            outcome = twin.outcome(twin.batch("train+search"), step.gates)
            expected = outcome.accuracy if reward == "accuracy" else -outcome.loss
            torch.testing.assert_close(step.metrics["reward"], expected.detach())
        b = policy.baseline(sums, step.metrics["reward"], "ema", 0.95)
        torch.testing.assert_close(step.metrics["baseline"], b)
        assert (step.advantage[step.gates > 0] == step.metrics["reward"] - b).all()
        assert step.advantage[step.gates == 0].isnan().all()
        assert step.credit is None


def test_what_did_better_than_expected_becomes_likelier():
    """The first reward is its own baseline and moves nothing; later every edge follows the sign of R − b."""
    iterator = begin(make_task("digits", seed=1, epochs=1))
    first = next(iterator)
    torch.testing.assert_close(first.probs, torch.full_like(first.probs, 0.2), atol=1e-3, rtol=0)
    before = first.probs
    second = next(iterator)
    sign = torch.sign(second.metrics["reward"] - second.metrics["baseline"])
    assert sign != 0
    assert (sign * (second.probs - before)[second.gates > 0] > 0).all()


def test_two_levels_learn_apart():
    """Each half step has a sample of its own; the weights' one gets no reward."""
    task = make_task("digits", seed=1, epochs=1)
    iterator = begin(task, level="bi")
    weights = task.network.classifier.weight
    before = weights.detach().clone()
    first = next(iterator)
    assert (first.phase, torch.equal(weights, before)) == ("architecture", True)
    second = next(iterator)
    assert (second.phase, torch.equal(weights, before)) == ("weights", False)
    assert second.advantage is None
    assert "reward" not in second.metrics
    assert torch.equal(first.probs, second.probs)
    assert not torch.equal(first.gates, second.gates)


def test_the_bonus_holds_the_entropy():
    """A large bonus and no reward: logits that differ come together."""
    task = make_task("digits", seed=1, epochs=1)
    logits = task.logits
    alpha = (logits().detach() + torch.linspace(-1, 1, 5)).requires_grad_()
    task.logits = lambda: alpha
    steps = [step for step, _ in zip(begin(task, {"bonus": 1.0, "architecture_lr": 0.1}), range(8), strict=False)]
    found = [float(policy.entropy(step.probs).mean()) for step in steps]
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "bin"}, r"level: 'bin' is not one of bi, single\. Did you mean 'bi'\?"),
        ({"baseline": "optimum"}, r"baseline: 'optimum' is not one of .* Did you mean 'optimal'\?"),
        ({"reward": "acc"}, r"reward: 'acc' is not one of accuracy, loss"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        next(begin(make_task("digits", epochs=1, device="meta"), **options))


def test_samples_are_those_of_the_policy():
    """The gates of a step are drawn from the probabilities before it, with the noise of the task."""
    task, twin = (make_task("digits", seed=1, epochs=1) for _ in range(2))
    step = next(begin(task))
    assert torch.equal(step.gates > 0, gates.draw(twin.logits(), twin.noise, twin.allowed))
