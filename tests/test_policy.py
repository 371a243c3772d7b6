"""The policy gradient: eqs. (1) to (5) of ``nascore.policy``, by enumeration of small spaces."""

from itertools import product

import pytest
import torch
from torch import Generator

from nascore import gates, policy
from nascore.errors import UserError

OPTIONS = 3
EYE = torch.eye(OPTIONS, dtype=torch.float64)
ALPHA = torch.randn(1, 3, OPTIONS, generator=Generator().manual_seed(0), dtype=torch.float64)  # three decisions
P = ALPHA.softmax(-1)
EVERYTHING = list(product(range(OPTIONS), repeat=3))
Z = torch.stack([EYE[list(choice)].unsqueeze(0) for choice in EVERYTHING])  # [architecture, cell, edge, op]
WEIGHTS = (Z * P).sum(-1).prod(-1).flatten()  # Π π(a_t)
REWARD = torch.rand(len(Z), generator=Generator().manual_seed(1), dtype=torch.float64)  # any table of rewards


def samples(advantage):
    """Eq. (1) of every architecture of the space, each decision credited with the same number."""
    p = P.expand_as(Z)
    return policy.gradient(Z, p, policy.everywhere(advantage, Z))


def mean(values):
    return (WEIGHTS[:, None, None, None] * values).sum(0)


def exact():
    """∇J by automatic differentiation of Σ Π π(a_t) R over the whole space."""
    alpha = ALPHA.clone().requires_grad_()
    likelihood = (Z * alpha.softmax(-1)).sum(-1).prod(-1).flatten()
    return torch.autograd.grad((likelihood * REWARD).sum(), alpha)[0]


def test_the_score_is_the_derivative_of_the_log_probability():
    """Eq. (2), by automatic differentiation; its mean is 0."""
    alpha = ALPHA.clone().requires_grad_()
    for z in Z[::5]:
        (expected,) = torch.autograd.grad((z * alpha.log_softmax(-1)).sum(), alpha)
        torch.testing.assert_close(policy.score(z, P), expected)
    torch.testing.assert_close(mean(policy.score(Z, P.expand_as(Z))), torch.zeros_like(ALPHA))


@pytest.mark.parametrize("b", [0.0, 0.7, -3.0])
def test_the_policy_gradient_by_enumeration_and_whatever_the_baseline(b):
    """Eq. (1): the mean over all 27 architectures is ∇J, and a baseline leaves it alone."""
    assert len(Z) == OPTIONS**3
    torch.testing.assert_close(WEIGHTS.sum(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(mean(samples(REWARD - b)), exact())


def variance(b):
    found = samples(REWARD - b)
    return float((WEIGHTS[:, None, None, None] * (found - mean(found)).square()).sum())


def test_the_optimal_baseline():
    """Eq. (4) has the least variance of all numbers, and is not the mean reward."""
    square = policy.score(Z, P.expand_as(Z)).square().sum((-3, -2, -1))
    best = float((WEIGHTS * square * REWARD).sum() / (WEIGHTS * square).sum())
    plain = float((WEIGHTS * REWARD).sum())
    assert variance(best) < variance(plain) < variance(0.0)
    for shift in (-0.05, 0.05):
        assert variance(best + shift) > variance(best)
    # The variance is a parabola in b, whose top is found from three of its points.
    low, middle, high = (variance(b) for b in (-1.0, 0.0, 1.0))
    assert best == pytest.approx((low - high) / (2 * (low + high - 2 * middle)))


@pytest.mark.parametrize("kind", ["mean", "ema", "optimal"])
def test_baselines_by_hand(kind):
    """Eq. (3): the weighted mean of the earlier rewards, and never the present one."""
    order = torch.randperm(len(Z), generator=Generator().manual_seed(2))[:12].tolist()
    sums, decay = policy.memory(ALPHA), 0.8
    for n, i in enumerate(order):
        found = policy.baseline(sums, REWARD[i], kind, decay, policy.score(Z[i], P))
        if n == 0:
            assert float(found) == float(REWARD[i])
            continue
        earlier = order[:n]
        w = torch.ones(n, dtype=torch.float64)
        if kind != "mean":
            w = decay ** torch.arange(n - 1, -1, -1, dtype=torch.float64)
        if kind == "optimal":
            w = w * torch.stack([policy.score(Z[j], P).square().sum() for j in earlier])
        assert float(found) == pytest.approx(float((w * REWARD[earlier]).sum() / w.sum()))


def test_the_estimated_baseline_tends_to_the_optimal_one():
    """Eq. (3) with a long memory and samples of the policy comes near eq. (4), closer than to the mean."""
    square = policy.score(Z, P.expand_as(Z)).square().sum((-3, -2, -1))
    best = (WEIGHTS * square * REWARD).sum() / (WEIGHTS * square).sum()
    drawn = torch.multinomial(WEIGHTS, 1000, replacement=True, generator=Generator().manual_seed(3))
    sums = policy.memory(ALPHA)
    for i in drawn.tolist():
        found = policy.baseline(sums, REWARD[i], "optimal", 0.999, policy.score(Z[i], P))
    assert abs(found - best) < 0.5 * abs(best - (WEIGHTS * REWARD).sum())


def test_no_baseline_and_runs_of_a_batch():
    """Each run of a batch has a baseline, and a memory, of its own."""
    alpha = ALPHA.expand(2, 1, 3, OPTIONS)
    sums, decay = policy.memory(alpha), torch.tensor([0.5, 0.9])
    alone = [policy.memory(ALPHA) for _ in range(2)]
    for n in range(4):
        reward = REWARD[n : n + 2]
        assert policy.baseline(sums, reward, "none", decay).tolist() == [0, 0]
        found = policy.baseline(sums, reward, "ema", decay)
        for run in range(2):
            own = policy.baseline(alone[run], reward[run], "ema", float(decay[run]))
            torch.testing.assert_close(found[run], own)
    with pytest.raises(UserError, match=r"baseline: 'emma' is not one of .* Did you mean 'ema'\?"):
        policy.baseline(sums, REWARD[:2], "emma")
    with pytest.raises(UserError, match="scores: the baseline 'optimal' weighs rewards with them"):
        policy.baseline(policy.memory(ALPHA), REWARD[0], "optimal")


def test_the_entropy_bonus():
    """Eq. (5) by automatic differentiation; an option that is not allowed has no share in it."""
    allowed = torch.tensor([[[True, True, True], [True, False, True], [False, True, False]]])
    alpha = ALPHA.clone().requires_grad_()
    p = gates.softmax(alpha, allowed)
    total = policy.entropy(p).sum()
    torch.testing.assert_close(total, -(p.where(p > 0, 1.0).log() * p).sum())
    assert policy.entropy(p)[0, 2] == 0
    whole = gates.softmax(alpha[:, :1], allowed[:, :1])  # the logarithm of 0 is no matter for autograd
    (expected,) = torch.autograd.grad(-(whole * whole.log()).sum(), alpha)
    torch.testing.assert_close(policy.entropy_gradient(p.detach())[:, :1], expected[:, :1])
    nothing = policy.gradient(Z[0], P, torch.zeros(1, 3), bonus=0.5)
    torch.testing.assert_close(nothing, 0.5 * policy.entropy_gradient(P))
    assert not policy.entropy_gradient(p.detach())[~allowed].any()


def test_what_was_not_drawn_received_nothing():
    found = policy.received(torch.full((1, 3), 0.25, dtype=torch.float64), Z[5])
    assert (found[Z[5] > 0] == 0.25).all()
    assert found[Z[5] == 0].isnan().all()
