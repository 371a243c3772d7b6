"""ASNG-NAS: eqs. (1) to (7) of ``nascore.methods.asng``."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Generator

from nascore import gates, methods, toys
from nascore.methods import asng
from nascore.run import Knobs
from nascore.space import SPACES
from nascore.task import make_task

THETA = torch.tensor([0.3, 0.1, 0.4, 0.2], dtype=torch.float64)
LOSS = torch.tensor([-1.0, 0.5, 1.0, 2.0], dtype=torch.float64)
EYE = torch.eye(4, dtype=torch.float64)


def random_theta(*shape, seed=0):
    return (torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64) / 2).softmax(-1)


def everything(theta):
    return torch.ones(theta.shape[-3:], dtype=torch.bool)


def fisher(theta):
    """F of K − 1 free probabilities, the last being 1 − Σ: Σ_k P(e_k) ∇log P(e_k) ∇log P(e_k)ᵀ, and those scores."""
    free = theta[:-1].clone().requires_grad_()
    whole = torch.cat([free, 1 - free.sum(-1, keepdim=True)])
    scores = torch.stack([torch.autograd.grad(value, free, retain_graph=True)[0] for value in whole.log()])
    return torch.einsum("k,ka,kb->ab", theta, scores, scores), scores


def test_the_natural_gradient_of_the_log_likelihood():
    """Eq. (2): F⁻¹ ∇ log P_θ(c) = T(c) − θ, with F and ∇ log P by their definitions."""
    f, scores = fisher(THETA)
    torch.testing.assert_close(torch.linalg.solve(f, scores.T).T, (EYE - THETA)[:, :-1])


def test_the_fisher_norm():
    """Eq. (2): ‖x‖²_F = xᵀ F x over the free probabilities is Σ x_k² / θ_k over all, for x whose sum is 0."""
    f, _ = fisher(THETA)
    x = torch.tensor([0.2, -0.5, 0.4, -0.1], dtype=torch.float64)
    root = asng.root(x.view(1, 1, 4), THETA.view(1, 1, 4))
    torch.testing.assert_close(root.square().sum(), x[:3] @ f @ x[:3])


def mean_direction(utility):
    """E[G] over the two samples, by enumeration of all pairs of operations on one edge."""
    total = torch.zeros(1, 1, 4, dtype=torch.float64)
    for a, b in product(range(4), repeat=2):
        c = torch.stack([EYE[a], EYE[b]]).view(2, 1, 1, 4)
        total += THETA[a] * THETA[b] * asng.natural_gradient(utility(LOSS[[a, b]]), c, THETA.view(1, 1, 4))
    return total.flatten()


def test_the_mean_direction_of_a_linear_loss():
    """Eq. (3): with u = −f and f = c·T the mean is (1 − 1/λ) θ_k (c̄ − c_k): minus the natural gradient of eq. (1),
    which is also the gradient towards logits; ū takes the factor, half at λ = 2."""
    torch.testing.assert_close(mean_direction(lambda f: -f), 0.5 * THETA * ((THETA * LOSS).sum() - LOSS))


def test_the_mean_direction_of_ranks():
    """Eq. (3) with u = ±1: θ_k (P[c worse than k] − P[c better than k]), whatever the scale of the loss."""
    expected = THETA * ((LOSS - LOSS[:, None]).sign() @ THETA)
    torch.testing.assert_close(mean_direction(lambda f: (f.flip(0) - f).sign()), expected)


def moved(theta, gradient, trust=0.1, factor=2.0, allowed=None):
    """θ', s, γ, Δ after one step from rest."""
    path, runs = torch.zeros_like(theta), theta.shape[:-3]
    gamma, delta = theta.new_zeros(runs), theta.new_full(runs, factor)
    new = theta.clone()
    asng.advance(new, path, gamma, delta, gradient, trust, everything(theta) if allowed is None else allowed)
    return new, path, gamma, delta


def test_every_step_has_the_length_delta():
    """Eq. (4): ‖θ' − θ‖_F = δ = δ₀ / Δ in every run, whatever the length of G, as long as (7) does not bind."""
    theta = random_theta(3, 2, 5, 4)
    for scale in (1e-3, 1.0):
        drawn = [gates.draw(theta.log(), Generator().manual_seed(s), everything(theta)).double() for s in (1, 2)]
        gradient = scale * asng.natural_gradient(
            torch.tensor([[1.0] * 3, [-1.0] * 3]).double(), torch.stack(drawn), theta
        )
        new, path, gamma, _ = moved(theta, gradient)
        length = asng.root(new - theta, theta).square().sum((-3, -2, -1)).sqrt()
        torch.testing.assert_close(length, torch.full((3,), 0.1 / 2.0, dtype=torch.float64))
        beta = 0.05 / (2 * 5 * 3) ** 0.5
        torch.testing.assert_close(
            path.square().sum((-3, -2, -1)), torch.full_like(length, beta * (2 - beta))
        )  # eq. (5)
        torch.testing.assert_close(gamma, torch.full_like(length, beta * (2 - beta)))


def test_the_adaptation_by_hand():
    """Eqs. (5) and (6) over three steps, written out."""
    theta = random_theta(2, 5, 4)
    path, gamma, factor = torch.zeros_like(theta), theta.new_zeros(()), theta.new_ones(())
    s, g, d = torch.zeros_like(theta), 0.0, 1.0
    for step in range(3):
        gradient = random_theta(2, 5, 4, seed=step + 1) - random_theta(2, 5, 4, seed=step + 2)
        delta, root = 0.1 / d, gradient / theta.sqrt()
        beta = delta / 30**0.5
        s = (1 - beta) * s + (beta * (2 - beta)) ** 0.5 * root / root.norm()
        g = (1 - beta) ** 2 * g + beta * (2 - beta)
        d *= float(np.exp(beta * (g - float(s.square().sum()) / 1.5)))
        asng.advance(theta, path, gamma, factor, gradient, 0.1, everything(theta))
        torch.testing.assert_close(path, s)
        assert (float(gamma), float(factor)) == pytest.approx((g, d))


def test_two_samples_alike_move_nothing():
    theta = random_theta(2, 5, 4)
    new, path, gamma, _ = moved(theta, torch.zeros_like(theta))
    torch.testing.assert_close(new, theta)
    assert (path == 0).all()
    assert gamma > 0


@pytest.mark.parametrize("space", ["TOY", "NASP_12"])
def test_probabilities_stay_in_the_simplex_above_their_bound(space):
    """Eq. (7): Σ θ = 1 and θ_k ≥ 1 / (d (K − 1)) after steps that push one way; what is not allowed stays 0."""
    allowed = torch.tensor(SPACES[space].allowed)
    theta = gates.softmax(torch.zeros(allowed.shape, dtype=torch.float64), allowed)
    path, gamma, factor = torch.zeros_like(theta), theta.new_zeros(()), theta.new_ones(())
    d, options = allowed[..., 0].numel(), allowed.sum(-1, keepdim=True)
    low = 1 / (d * (options - 1)).double()
    best = gates.one_hot(torch.rand(allowed.shape, generator=Generator().manual_seed(0)).double() * allowed)
    for _ in range(300):
        asng.advance(theta, path, gamma, factor, (best - theta) * allowed, 1.0, allowed)
        torch.testing.assert_close(theta.sum(-1), torch.ones(allowed.shape[:2], dtype=torch.float64))
        assert (theta >= low - 1e-12)[allowed].all()
        assert (theta[~allowed] == 0).all()
    torch.testing.assert_close(theta[best > 0], (1 - (options - 1) * low).expand_as(theta)[best > 0])


def test_one_operation_alone_on_an_edge_is_certain():
    allowed = torch.tensor([[[True, False, False], [True, True, True], [True, True, False]]])
    theta = gates.softmax(torch.zeros(1, 3, 3, dtype=torch.float64), allowed)
    assert torch.equal(asng.bounded(theta, allowed)[0, 0], torch.tensor([1.0, 0, 0], dtype=torch.float64))


@pytest.mark.parametrize("a", [1.0, 1.5])
def test_steps_of_pure_noise(a, monkeypatch):
    """Eqs. (5) and (6): if the better of two samples is a coin toss, E‖s‖² = γ, so that the mean of log Δ rises by
    β γ (1 − 1/a) a step: constant for a = 1, while for the method's a = 1.5 steps of noise become shorter.

    Δ is put back after every step, since runs whose β differ are no longer alike.
    """
    monkeypatch.setattr(asng, "SIGNAL", a)
    runs, beta = 2000, 0.3 / 8**0.5
    generator, theta = Generator().manual_seed(0), torch.full((runs, 1, 4, 3), 1 / 3, dtype=torch.float64)
    path, gamma, factor = torch.zeros_like(theta), theta.new_zeros(runs), theta.new_ones(runs)
    log, expected = theta.new_zeros(runs), 0.0
    for _ in range(40):
        drawn = torch.stack([gates.draw(theta.log(), generator, everything(theta)) for _ in range(2)]).double()
        toss = 2 * torch.randint(0, 2, (runs,), generator=generator).double() - 1
        gradient = asng.natural_gradient(torch.stack([toss, -toss]), drawn, theta)
        same = gradient.abs().sum((-3, -2, -1)) == 0  # two samples alike; here every step has a direction
        gradient[same] = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64) * toss[same].view(-1, 1, 1, 1)
        asng.advance(theta, path, gamma, factor, gradient, 0.3, everything(theta))
        log += factor.log()
        expected += float(beta * gamma[0] * (1 - 1 / a))
        factor.fill_(1.0)
    excess = path.square().sum((-3, -2, -1)) - gamma
    assert excess.mean().abs() < 4 * excess.std() / runs**0.5
    assert (log.mean() - expected).abs() < 4 * log.std() / runs**0.5
    assert (expected > 4 * log.std() / runs**0.5) == (a > 1)


def test_the_selective_squared_error_whatever_the_first_step():
    """The paper's toy with 12 of its 30 variables, each with 5 choices: found for δ₀ that differ a hundredfold."""
    found = toys.selective_squared_error((0.1, 0.25, 1.0, 4.0, 10.0), steps=1500, variables=12)
    assert (found.share[-1] == 1).all()
    assert (found.certainty[-1] > 0.8).all()
    assert found.length[0].max() == 100 * found.length[0].min()
    assert found.length[-1].max() < 3 * found.length[-1].min()  # eq. (6)
    assert found.x.abs().max() < 0.25


def test_the_loss_ranks_the_samples_on_the_supernet():
    """Eq. (3): the gates shown are those of the sample with the lower loss, and θ moves towards them, edge by edge."""
    task, twin, method = (*(make_task("digits", seed=0, epochs=1) for _ in range(2)), methods.get("asng"))
    step = next(method(task, Knobs(**method.knobs)))
    drawn, _ = asng.sample(twin, torch.full(task.space.shape, 0.2))
    batch = twin.batch("search")
    losses = [float(twin.loss(batch, c, update_statistics=False).detach()) for c in drawn]
    better, worse = drawn[int(np.argmin(losses))], drawn[int(np.argmax(losses))]
    assert torch.equal(step.gates, better)
    assert float(step.metrics["loss"]) == pytest.approx(np.mean(losses), rel=1e-5)
    change = step.probs - 0.2
    differs = (better != worse).any(-1)
    assert (change[(better > worse)] > 0).all()
    assert (change[(better < worse)] < 0).all()
    assert change[~differs].abs().max() < 1e-6
    assert step.credit is None


def test_asng_phases():
    task, method = make_task("digits", seed=0, epochs=1), methods.get("asng")
    phases = [step.phase for step in method(task, Knobs(**method.knobs))]
    assert phases == ["architecture", "weights"] * 15
    assert task.counters == {"updates": 15, "examples": 15 * 4 * 64}
