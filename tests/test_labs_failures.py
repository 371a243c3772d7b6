"""Figures on failures: the numbers behind them, by brute force."""

import numpy as np
import pytest
import torch

from nascore import toys
from nascore.record import Recording
from nascore.run import Step
from nascore.space import TOY
from nasviz.labs import failures

SKIP = TOY.ops.index("skip")


@pytest.fixture
def recording():
    """Twenty iterations in two halves, in which skips take over one edge after another."""
    steps = []
    for t in range(40):
        probs = np.full(TOY.shape, 0.1, np.float32)
        probs[..., 3] = 0.6
        for edge in range(min(t // 8, 5)):
            probs[:, edge] = np.eye(5, dtype=np.float32)[SKIP]
        metrics = {"loss": 1.0} | ({"eigenvalue": float(t)} if t % 8 == 7 else {})
        steps.append(Step(t, ("architecture", "weights")[t % 2], metrics, probs, probs))
    meta = {"space": TOY.to_json(), "metrics": {"loss": {}, "eigenvalue": {}}}
    return Recording.from_steps(steps, meta)


def test_shares_are_those_of_whole_steps(recording):
    found = failures.shares(recording, every=4)
    assert found.step.tolist() == [4, 8, 12, 16, 20]
    edges = np.arange(5)  # skips after so many groups of four
    np.testing.assert_allclose(found.probability[:, SKIP], (edges + 0.1 * (5 - edges)) / 5, rtol=1e-6)
    np.testing.assert_allclose(found.edges[:, SKIP], edges / 5)
    np.testing.assert_allclose(found.edges[:, 3], 1 - edges / 5)
    for rows in found.probability, found.edges:
        np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-6)
    lines = failures.shares_chart(recording, every=4).figure.data
    assert len(lines) == len(TOY.ops)
    assert lines[SKIP].y.tolist() == found.probability[:, SKIP].tolist()


def test_eigenvalues_stand_where_they_were_measured(recording):
    step, value = failures.measured(recording, "eigenvalue")
    assert step.tolist() == [4, 8, 12, 16, 20]
    assert value.tolist() == [7, 15, 23, 31, 39]
    one, other = failures.eigenvalue_chart({"one": recording, "other": recording}).figure.data
    assert one.y.tolist() == other.y.tolist() == value.tolist()
    assert (one.name, other.name) == ("one", "other")


def test_the_mixture_misleads_darts_alone():
    """nasp.md's toy: A is the best child, DARTS derives another one, annealed SNAS derives A, NASP goes round."""
    shown = failures.ensemble().svg()
    assert "derives B: loss 1.000 alone" in shown
    assert "derives A: loss 0.010 alone" in shown
    assert "A 0%, B 50%, C 50%" in shown
    assert "A 0.250, B 1.000, C 1.000" in failures.ensemble(quality=0.5).svg()


def test_noise_is_that_of_the_gradient_by_autograd():
    """Mean and spread of ∂L(Z)/∂α over draws of eq. (3); the exact gradient from Σ_k p_k L(e_k)."""
    p, tau, problem = torch.tensor([0.2, 0.5, 0.3]), 0.7, toys.ensemble()
    bias, noise = failures.noise_at(p, tau, draws=4000, seed=3)
    g = -torch.empty(4000, 3, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(3)).log()
    alpha = p.double().log().expand(4000, -1).clone().requires_grad_()
    problem.loss(((alpha + g) / tau).softmax(-1)).sum().backward()
    logits = p.double().log().requires_grad_()
    (logits.softmax(-1) * problem.children).sum().backward()
    assert noise == pytest.approx(float(alpha.grad.std(0).norm()), rel=1e-9)
    assert bias == pytest.approx(float((alpha.grad.mean(0) - logits.grad).norm()), rel=1e-6)


def test_noise_grows_as_the_root_of_one_over_tau():
    """A hundredth of τ has ten times the noise once τ is small; the bias is then beyond what the draws can tell."""
    p = torch.full((3,), 1 / 3)
    (_, large), (bias, small) = failures.noise_at(p, 0.1, 100_000), failures.noise_at(p, 0.001, 100_000)
    assert small / large == pytest.approx(10, rel=0.15)
    assert np.isnan(bias)
    assert failures.noise_at(p, 1.0)[0] > 0.1
    bias, noise, exact = failures.noise_chart().figure.data
    assert len(bias.x) == len(noise.y) == len(exact.y) == len(failures.TAUS)


def test_noise_on_the_supernet_rises_as_tau_falls():
    (_, hot), (_, cold) = failures.supernet_noise((1.0, 0.05), draws=6)
    assert cold > 2 * hot > 0


def test_head_start_trains_one_operation_alone():
    """A row for each operation; training moves the credit."""
    found = failures.head_start(steps=1, batches=1)
    assert found.started == TOY.ops[1:]
    assert found.table.shape == (4, 5)
    assert (found.table[:, 0] == 0).all()  # none has no credit
    assert np.abs(found.table[:, 1:]).min() > 0
    assert not np.allclose(found.table, failures.head_start(steps=0, batches=1).table)


def test_a_large_lead_cannot_be_caught_up():
    """One epoch of NASP moves A by less than a lead of ½: every edge keeps what it started with."""
    found = failures.starts(lead=0.5, epochs=1)
    np.testing.assert_array_equal(found.table, np.eye(5)[1:])
    chart = failures.head_start_chart(found, "title", "share")
    assert [bar.name for bar in chart.figure.data] == ["skip", "conv 1×1", "conv 3×3", "avg pool 3×3"]


def test_the_published_radius_meets_kinks():
    """Eq. (8) against the exact mixed derivative: fine below the nearest kink, off by much at 0.01."""
    published, tiny = failures.radius_errors((1e-2, 1e-7))
    assert published > 0.1
    assert tiny < 1e-5
    (line, mark) = failures.radius_chart((1e-2, 1e-7)).figure.data
    assert list(line.y) == [published, tiny]
    assert mark.x[0] == 0.01
