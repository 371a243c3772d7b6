"""GDAS: eqs. (1) to (4) of ``nascore.methods.gdas``, and how far its gradient is from the exact one."""

import numpy as np
import pytest
import torch
from scipy import stats

from nascore import credit, gates, methods
from nascore.run import Knobs
from nascore.supernet import Child
from nascore.task import make_task

ALPHA = torch.tensor([0.5, -0.3, 1.0, 0.0], dtype=torch.float64)


def begun(monkeypatch, kept, **values):
    """A task in float64 and GDAS on it; ``kept`` takes note of logits, Gumbel draws and the losses asked for."""
    task = make_task("digits", seed=0, epochs=2)
    task.network.double()
    alpha = task.logits().detach().double().requires_grad_()
    kept |= {"alpha": alpha, "draws": [], "losses": []}
    monkeypatch.setattr(task, "logits", lambda: alpha)
    batch, loss, gumbel = task.batch, task.loss, gates.gumbel
    monkeypatch.setattr(task, "batch", lambda split: type(given := batch(split))(given.images.double(), given.labels))
    monkeypatch.setattr(gates, "gumbel", lambda *given: kept["draws"].append(gumbel(*given)) or kept["draws"][-1])
    monkeypatch.setattr(
        task, "loss", lambda images, z, **given: kept["losses"].append((images, z, given)) or loss(images, z, **given)
    )
    method = methods.get("gdas")
    knobs = Knobs(**method.knobs)
    knobs.set(**values)
    knobs.apply()
    return task, method(task, knobs)


def test_only_what_was_drawn_is_computed_and_it_is_the_child(monkeypatch):
    """Eqs. (2) and (3): h is exactly one-hot, and the loss is that of the single sampled child."""
    kept = {}
    task, steps = begun(monkeypatch, kept)
    for _ in range(2):
        before = {name: value.clone() for name, value in task.network.state_dict().items()}
        step = next(steps)
        images, z, given = kept["losses"][-1]
        assert set(z.unique().tolist()) == {0.0, 1.0}
        assert given["active"] == z.argmax(-1).tolist()
        then = make_task("digits", seed=0, epochs=2).network.double()
        then.load_state_dict(before)
        child = Child.inherit(then.train(), task.space.decode(z))
        found = torch.nn.functional.cross_entropy(child(images.images), images.labels)
        assert float(step.metrics["loss"]) == pytest.approx(float(found.detach()), abs=1e-12)


@pytest.mark.parametrize("tau", [10.0, 0.1])
def test_an_operation_is_drawn_with_its_probability(tau):
    """Eq. (2): Pr[h = e_k] = p_k at both ends of the schedule; chi-square on 10⁵ draws."""
    n = 100_000
    h = gates.straight(gates.concrete(ALPHA.expand(n, 4), tau, torch.Generator().manual_seed(0)))
    assert (h.sum(-1) == 1).all()
    assert stats.chisquare(h.sum(0).numpy(), ALPHA.softmax(-1).numpy() * n).pvalue > 0.01


def test_gradient_of_the_logits_on_the_supernet(monkeypatch):
    """Eq. (4): ⟨g, o_k*⟩ h̃_k* (δ_lk* − h̃_l) / τ, with ⟨g, o_k*⟩ = ∂L/∂h_k* by central differences of the loss."""
    kept, tau = {}, 2.0
    task, steps = begun(monkeypatch, kept, tau_start=tau)
    alpha = kept["alpha"].detach().clone()
    step = next(steps)
    images, z, given = kept["losses"][0]
    soft = gates.concrete(alpha, tau, kept["draws"][0])
    drawn, expected, h = z.argmax(-1), torch.zeros_like(alpha), 1e-6
    for cell, edge in np.ndindex(*drawn.shape):
        k = int(drawn[cell, edge])
        shift = torch.zeros_like(alpha)
        shift[cell, edge, k] = h
        low, high = (float(task.loss(images, z.detach() + s * shift, **given).detach()) for s in (-1, 1))
        inner = (high - low) / (2 * h)
        assert float(step.credit[cell, edge, k]) == pytest.approx(-inner, abs=1e-7)
        delta = torch.eye(5, dtype=torch.float64)[k]
        expected[cell, edge] = inner * soft[cell, edge, k] * (delta - soft[cell, edge]) / tau  # eq. (4)
    torch.testing.assert_close(kept["alpha"].grad, expected, atol=1e-7, rtol=1e-6)
    known = (z > 0) | (torch.arange(5) == 0)  # none is known to give 0
    assert torch.equal(step.credit.isnan(), ~known)


# One edge with two operations whose outputs are numbers: h̃ depends on G_1 − G_2 alone, which is logistic, so the mean
# over the noise is an integral over one quantile.

OUT = torch.tensor([1.5, -0.5], dtype=torch.float64)
EDGE = torch.tensor([0.4, -0.2], dtype=torch.float64)
LOSSES = {"linear": lambda x: x, "quadratic": lambda x: 0.5 * (x - 1).square()}


def mean_gradients(loss, tau, n=400_001):
    """∇_α E[loss]: exact, by GDAS, and straight-through with the inner products of both operations."""
    alpha = EDGE.clone().requires_grad_()
    (exact,) = torch.autograd.grad(alpha.softmax(-1) @ loss(OUT), alpha)
    quantile = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    noise = torch.stack([quantile.logit(), torch.zeros_like(quantile)], -1)
    found = []
    for all_computed in (False, True):
        h = gates.straight(gates.concrete(alpha.expand(n, 2), tau, noise))
        ran = torch.ones_like(h) if all_computed else h.detach()
        found.append(torch.autograd.grad(loss((h * ran * OUT).sum(-1)).mean(), alpha)[0])
    return exact, *found


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("tau", [10.0, 1.0, 0.1])
def test_its_gradient_is_biased(kind, tau):
    """Eq. (4) against ∇_α Σ_k p_k L(e_k): they differ at every temperature, and so does plain straight-through
    unless the loss is linear and τ small."""
    exact, chosen, through = mean_gradients(LOSSES[kind], tau)
    assert (chosen - exact).norm() > 0.3 * exact.norm()
    if kind == "quadratic" or tau > 0.5:
        assert (through - exact).norm() > 0.05 * exact.norm()


def test_half_of_the_gradient_is_left_as_the_temperature_falls():
    """τ → 0 with a linear loss: h̃ is soft only near the boundary, on either side of which one operation runs."""
    exact, chosen, through = mean_gradients(LOSSES["linear"], 0.02)
    torch.testing.assert_close(chosen, exact / 2, atol=0, rtol=0.02)
    torch.testing.assert_close(through, exact, atol=0, rtol=0.02)


def test_the_temperature_falls_on_a_line_and_the_phases_alternate():
    task = make_task("digits", seed=0, epochs=1)
    method = methods.get("gdas")
    steps = list(method(task, Knobs(**method.knobs)))
    assert [step.phase for step in steps] == ["architecture", "weights"] * 15
    found = [step.metrics["tau"] for step in steps[::2]]
    np.testing.assert_allclose(found, 10 - 9.9 * np.arange(15) / 15)
    assert task.counters == {"updates": 15, "examples": 15 * 2 * 64}


def test_credit_is_the_marginal_of_the_operation_that_ran():
    """Step.credit: of the drawn operations it is what a pass through all of them would give."""
    task = make_task("digits", seed=0, epochs=1)
    method, twin = methods.get("gdas"), make_task("digits", seed=0, epochs=1)
    step = next(method(task, Knobs(**method.knobs)))
    seen = gates.tap(step.gates)
    twin.loss(twin.batch("search"), seen, update_statistics=False).backward()
    ran = step.gates > 0
    torch.testing.assert_close(step.credit[ran], credit.marginal(seen)[ran], atol=1e-5, rtol=1e-4)
