"""SNAS with one-hot samples (DSNAS): eq. (9) of ``nascore.methods.snas`` on the supernet."""

from itertools import islice

import pytest
import torch

from nascore import credit, gates, methods, resource
from nascore.run import Knobs
from nascore.task import make_task


def begun(monkeypatch, kept, sample="one-hot", estimator="pathwise", **values):
    """The search; ``kept`` takes note of its logits and of what it asks the loss for."""
    task = make_task("digits", seed=0, epochs=1)
    logits, loss = task.logits, task.loss
    monkeypatch.setattr(task, "logits", lambda: kept.setdefault("alpha", logits()))
    monkeypatch.setattr(task, "loss", lambda *given, **more: kept.update(more) or loss(*given, **more))
    method = methods.get("snas")
    knobs = Knobs(**method.knobs)
    knobs.set(**values)
    knobs.apply()
    return task, method(task, knobs, estimator=estimator, sample=sample)


def test_its_gradient_is_the_score_times_what_the_gates_say(monkeypatch):
    """Eq. (9): ∂L/∂α = (Z − p) R, R = ∂L/∂z of the one operation drawn, which is all that ran."""
    kept = {}
    task, steps = begun(monkeypatch, kept)
    step = next(steps)
    assert set(step.gates.unique().tolist()) == {0.0, 1.0}
    assert kept["active"] == step.gates.argmax(-1).tolist()
    r = -(step.gates * step.credit.nan_to_num()).sum(-1)
    expected = credit.credit_form(credit.one_hot_score(step.gates, task.twin().logits().detach()), r)
    torch.testing.assert_close(kept["alpha"].grad, expected, atol=1e-8, rtol=1e-4)
    ran = (step.gates > 0) | (torch.arange(5) == 0)
    assert torch.equal(step.credit.isnan(), ~ran)


def test_it_is_the_limit_of_the_relaxed_sample(monkeypatch):
    """Eq. (3) with the same noise: at τ = 0.03 the relaxed gates are nearly all those of the one-hot sample."""
    one, other = (
        next(begun(monkeypatch, {}, sample, schedule=0, tau=0.03)[1]).gates for sample in ("one-hot", "relaxed")
    )
    near = (one - other).abs().amax(-1) < 1e-3
    assert near.float().mean() > 0.7
    assert torch.equal(gates.one_hot(other), one)


def test_the_temperature_has_no_effect(monkeypatch):
    hot, cold = (list(islice(begun(monkeypatch, {}, schedule=0, tau=tau)[1], 3)) for tau in (2.0, 0.1))
    for a, b in zip(hot, cold, strict=True):
        assert torch.equal(a.probs, b.probs)
        assert torch.equal(a.gates, b.gates)


@pytest.mark.parametrize("estimator", ["pathwise", "expectation"])
def test_the_price_of_a_one_hot_sample(estimator, monkeypatch):
    """λ adds λ (Z − p) c·Z, whose mean is eq. (8), or eq. (8) itself."""
    found = {}
    for lam in (0.0, 0.7):
        kept = {}
        task, steps = begun(monkeypatch, kept, estimator=estimator, lam=lam)
        found[lam] = next(steps), kept["alpha"].grad
    (step, without), (_, gradient) = found[0.0], found[0.7]
    alpha, price = task.twin().logits().detach(), task.resource.price()
    cost = (step.gates * price).sum(-1)
    expected = {
        "pathwise": credit.credit_form(credit.one_hot_score(step.gates, alpha), cost),
        "expectation": resource.exact(alpha.softmax(-1), price),
    }[estimator]
    torch.testing.assert_close(gradient - without, 0.7 * expected, atol=2e-7, rtol=1e-3)
