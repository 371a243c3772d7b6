"""Actor-critic TD(λ) on edge decisions: eqs. (1) to (5) of ``nascore.methods.td``."""

from itertools import product
from math import comb

import pytest
import torch
from torch import Generator

from nascore import gates, methods, policy
from nascore.methods import td
from nascore.run import Knobs
from nascore.task import make_task

OPTIONS, DECISIONS = 3, 3
EYE = torch.eye(OPTIONS, dtype=torch.float64)
ALPHA = torch.randn(1, DECISIONS, OPTIONS, generator=Generator().manual_seed(0), dtype=torch.float64)
P = ALPHA.softmax(-1)
Z = torch.stack([EYE[list(choice)].unsqueeze(0) for choice in product(range(OPTIONS), repeat=DECISIONS)])
WEIGHTS = (Z * P).sum(-1).prod(-1).flatten()
REWARD = torch.rand(len(Z), generator=Generator().manual_seed(1), dtype=torch.float64)


def random_critic():
    constant, weight = td.critic(ALPHA)
    noise = Generator().manual_seed(2)
    return torch.randn(constant.shape, generator=noise).double(), torch.randn(weight.shape, generator=noise).double()


def test_a_value_knows_its_prefix_and_nothing_later():
    """Eq. (1) by hand, for every architecture."""
    constant, weight = random_critic()
    for choice, z in zip(product(range(OPTIONS), repeat=DECISIONS), Z, strict=True):
        found = td.values(constant, weight, z)
        for t in range(DECISIONS):
            expected = constant[t] + sum(weight[t, i, choice[i]] for i in range(t))
            torch.testing.assert_close(found[t], expected)


@pytest.mark.parametrize("trace", [0.0, 0.4, 1.0])
def test_advantages_are_the_forward_view(trace):
    """Eq. (3): Σ λ^l δ = G^λ − V with G^λ = (1 − λ) Σ λ^{n−1} G^(n), all but the last n-step return being values."""
    value = torch.randn(2, 5, generator=Generator().manual_seed(3), dtype=torch.float64)  # two runs
    reward = torch.tensor([0.3, 2.0], dtype=torch.float64)
    found = td.traced(td.differences(value, reward), trace)
    for t in range(5):
        left = 5 - t
        g = sum((1 - trace) * trace ** (n - 1) * value[:, t + n] for n in range(1, left))
        g = g + trace ** (left - 1) * reward  # the weights of all returns that reach the end
        torch.testing.assert_close(found[:, t], g - value[:, t])
    apart = td.traced(td.differences(value, reward), torch.tensor([trace, 0.7]))
    torch.testing.assert_close(apart[0], found[0], check_dtype=False)


def test_one_step_of_the_whole_rate_reaches_the_target():
    """Eq. (4): with a = 1 the value of every prefix of the episode becomes G^λ."""
    constant, weight = random_critic()
    z, reward = Z[14], torch.tensor(1.3, dtype=torch.float64)
    value = td.values(constant, weight, z)
    advantage = td.traced(td.differences(value, reward), 0.6)
    td.learn(constant, weight, z, advantage, 1.0)
    torch.testing.assert_close(td.values(constant, weight, z), value + advantage)


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_td_zero_takes_an_episode_a_decision(rate):
    """λ = 0 and one architecture with reward 1 again and again: V(s_0) = P[Bin(n, a) ≥ T], 0 for T − 1 episodes."""
    constant, weight = td.critic(ALPHA)
    one = torch.tensor(1.0, dtype=torch.float64)
    for n in range(1, 9):
        value = td.values(constant, weight, Z[5])
        td.learn(constant, weight, Z[5], td.traced(td.differences(value, one), 0.0), rate)
        law = sum(comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(DECISIONS, n + 1))
        assert float(td.values(constant, weight, Z[5])[0]) == pytest.approx(law, abs=1e-12)


def exact():
    alpha = ALPHA.clone().requires_grad_()
    likelihood = (Z * alpha.softmax(-1)).sum(-1).prod(-1).flatten()
    return torch.autograd.grad((likelihood * REWARD).sum(), alpha)[0]


def mean_step(constant, weight, trace):
    """Eq. (5) in the mean over all architectures."""
    total = torch.zeros_like(ALPHA)
    for w, z, r in zip(WEIGHTS, Z, REWARD, strict=True):
        advantage = td.traced(td.differences(td.values(constant, weight, z), r), trace)
        total += w * policy.gradient(z, P, advantage.view(1, DECISIONS))
    return total


def test_without_bootstrapping_the_critic_leaves_the_gradient_alone():
    """λ = 1: the prefix is no part of the decision, so any critic is a baseline, and eq. (5) is ∇J by enumeration."""
    torch.testing.assert_close(mean_step(*random_critic(), 1.0), exact())


def test_bootstrapping_is_as_right_as_the_critic():
    """λ = 0: a critic that expects nothing gives all but the last decision no credit; the true values, which a linear
    critic can hold if the reward is a sum over decisions, give ∇J."""
    found = mean_step(*td.critic(ALPHA), 0.0)
    assert not found[0, :2].any()
    torch.testing.assert_close(found[0, 2], exact()[0, 2])

    table = torch.randn(DECISIONS, OPTIONS, generator=Generator().manual_seed(4), dtype=torch.float64)
    reward = (Z[:, 0] * table).sum((-2, -1))
    expected = (P[0] * table).sum(-1)
    constant, weight = td.critic(ALPHA)
    for t in range(DECISIONS):
        constant[t] = expected[t:].sum()
        weight[t, :t] = table[:t]
    total = torch.zeros_like(ALPHA)
    for w, z, r in zip(WEIGHTS, Z, reward, strict=True):
        advantage = td.traced(td.differences(td.values(constant, weight, z), r), 0.0)
        total += w * policy.gradient(z, P, advantage.view(1, DECISIONS))
    torch.testing.assert_close(total, P * (table - (P * table).sum(-1, keepdim=True)))  # the exact gradient of a sum


def test_the_method_on_the_supernet():
    """Its advantages, values and rewards are those of the equations, step by step; only what was drawn got any."""
    task, twin, method = (*(make_task("digits", seed=1, epochs=1) for _ in range(2)), methods.get("td"))
    knobs = Knobs(**method.knobs)
    constant, weight = td.critic(twin.logits())
    steps = method(task, knobs)
    for step in (next(steps) for _ in range(3)):
        assert gates.one_hot(step.gates).equal(step.gates)
        value = td.values(constant, weight, step.gates)
        advantage = td.traced(td.differences(value, step.metrics["reward"]), knobs.trace)
        td.learn(constant, weight, step.gates, advantage, knobs.critic_lr)
        torch.testing.assert_close(step.metrics["baseline"], value[0])
        torch.testing.assert_close(step.advantage[step.gates > 0], advantage)
        assert step.advantage[step.gates == 0].isnan().all()
        assert step.credit is None
