"""TD(λ) for the edge decisions of a cell: an actor whose decisions are judged by a critic that learns from itself.

Sutton, "Learning to Predict by the Methods of Temporal Differences", 1988; as actor and critic in Sutton and Barto,
"Reinforcement Learning", 2018, chapter 13. The advantages are those of Schulman et al., "High-Dimensional Continuous
Control Using Generalized Advantage Estimation", ICLR 2016, without discount.

The equations. An architecture is built decision by decision, cell after cell and edge after edge: s_t is the prefix
a_0 … a_{t−1}, T decisions, and nothing is paid before the last one, which pays R:

    (1)  V(s_t) = c_t + Σ_{i<t} w_t[i, a_i], a line through the prefix of its own for every t
    (2)  δ_t = V(s_{t+1}) − V(s_t) for t < T − 1,  δ_{T−1} = R − V(s_{T−1})
    (3)  A_t = Σ_l λ^l δ_{t+l} = G^λ_t − V(s_t), where G^λ is the forward view of TD(λ)
    (4)  V(s_t) ← V(s_t) + a A_t, spread evenly over the t + 1 numbers that make V(s_t) up
    (5)  ∇J ≈ Σ_t ∇ log π(a_t) A_t

At λ = 1, A_t = R − V(s_t): REINFORCE with a baseline that knows the prefix. At λ = 0 a decision learns from the next
value alone, and R takes T episodes to reach the first one. V starts at 0 and follows a reward that rises as the weights
learn, so that nearly every A_t is positive: at a high rate, what happens to be drawn early is kept.

**The order of the decisions is a choice of this model.** All edges are drawn at once and none depends on another, so
that the problem itself has no delay; an order gives it one. ENAS does decide in an order, and uses REINFORCE, not TD.
Baker et al., "MetaQNN", ICLR 2017, did search by TD: Q-learning over layers in their order, each child trained alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from nascore import gates, policy, resource, rewards
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import ARCHITECTURE_LR, WEIGHT_DECAY, WEIGHT_LR, Task

KNOBS = {
    "trace": Knob(0, 0, 1, "trace λ", group="policy", help="0: the next value; 1: the reward itself."),
    "critic_lr": Knob(0.1, 0, 1, "step size of the critic", group="policy", help="1: all of the new target."),
    "bonus": policy.KNOBS["bonus"],
}


@declare(
    "argmax",
    Traits("one-hot", "td", levels=1, discrete=True, passes=(0, 1)),
    **rewards.KNOBS,
    **KNOBS,
    weight_lr=WEIGHT_LR,
    architecture_lr=replace(ARCHITECTURE_LR, value=0.3),  # of benchmarks/tuning.py
    weight_decay=WEIGHT_DECAY,
)
def td(task: Task, knobs: Knobs) -> Iterator[Step]:
    """Actor and critic, one sample a step; weights and logits learn from the same pass, as in SNAS.

    ``advantage`` is A_t at what was drawn. The metric ``baseline`` is V(s_0), the critic's guess before any decision.
    ``credit`` is never computed.
    """
    alpha = task.logits()
    constant, weight = critic(alpha)
    optimiser = task.optimisers(weights=task.network, architecture=alpha, knobs=knobs)

    for t in task.clock(alpha=alpha, constant=constant, weight=weight, optimiser=optimiser):
        p = gates.softmax(alpha.detach(), task.allowed)
        z = gates.draw(alpha, task.noise, task.allowed).to(alpha.dtype)
        outcome = task.outcome(task.batch("train+search"), z, active=gates.active(z))
        r = rewards.reward(task, outcome, z, knobs)
        value = values(constant, weight, z)
        advantage = traced(differences(value, r), knobs.trace)
        learn(constant, weight, z, advantage, knobs.critic_lr)
        advantage = advantage.view(z.shape[:-1])
        ascent = policy.gradient(z, p, advantage, knobs.bonus)  # eq. (5)
        optimiser.step(outcome.loss + resource.surrogate(alpha, -ascent).sum((-2, -1)))
        p = gates.softmax(alpha.detach(), task.allowed)
        signal = policy.received(advantage, z)
        yield task.step(t, p, z, advantage=signal, loss=outcome.loss, reward=r, baseline=value[..., 0])


def critic(
    alpha: Float[Tensor, "*run cell edge op"],
) -> tuple[Float[Tensor, "*run decision"], Float[Tensor, "*run decision earlier op"]]:
    """A critic that expects nothing: c and w of eq. (1), zero."""
    runs, (cells, edges, ops) = alpha.shape[:-3], alpha.shape[-3:]
    decisions = cells * edges
    zeros = alpha.detach().new_zeros
    return zeros((*runs, decisions)), zeros((*runs, decisions, decisions, ops))


def prefixes(z: Float[Tensor, "*run cell edge op"]) -> Float[Tensor, "*run decision earlier op"]:
    """What is known before each decision t: the one-hot decisions i < t, zeros for the rest."""
    decided = z.flatten(-3, -2)
    earlier = torch.ones(decided.shape[-2], decided.shape[-2], device=z.device, dtype=z.dtype).tril(-1)
    return earlier[..., None] * decided.unsqueeze(-3)


def values(
    constant: Float[Tensor, "*run decision"],
    weight: Float[Tensor, "*run decision earlier op"],
    z: Float[Tensor, "*run cell edge op"],
) -> Float[Tensor, "*run decision"]:
    """V(s_0) … V(s_{T−1}) along the architecture ``z``: eq. (1)."""
    return constant + (weight * prefixes(z)).sum((-2, -1))  # eq. (1)


def differences(value: Float[Tensor, "*run decision"], reward: Float[Tensor, "*run"]) -> Float[Tensor, "*run decision"]:
    """δ of every decision: eq. (2)."""
    return torch.cat([value[..., 1:], reward.unsqueeze(-1)], -1) - value  # eq. (2)


def traced(
    delta: Float[Tensor, "*run decision"], trace: float | Float[Tensor, " run"]
) -> Float[Tensor, "*run decision"]:
    """A of every decision, all of an episode at once: eq. (3)."""
    steps = torch.arange(delta.shape[-1], device=delta.device)
    ahead = steps - steps[:, None]  # [decision, later]: l of eq. (3)
    decay = torch.as_tensor(trace, dtype=delta.dtype, device=delta.device)[..., None, None]
    return (decay ** ahead.clamp(min=0) * (ahead >= 0) * delta.unsqueeze(-2)).sum(-1)  # eq. (3)


def learn(
    constant: Float[Tensor, "*run decision"],
    weight: Float[Tensor, "*run decision earlier op"],
    z: Float[Tensor, "*run cell edge op"],
    advantage: Float[Tensor, "*run decision"],
    rate: float | Float[Tensor, " run"],
) -> None:
    """Move the critic towards G^λ, in place: eq. (4); a rate of 1 makes V(s_t) exactly the new target."""
    share = advantage / torch.arange(1, advantage.shape[-1] + 1, device=advantage.device)
    share = gates.per_run(rate, share) * share
    constant += share  # eq. (4)
    weight += share[..., None, None] * prefixes(z)  # eq. (4)
