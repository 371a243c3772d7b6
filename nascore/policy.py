"""The policy gradient: scores, baselines and the entropy bonus of a policy that decides edge by edge.

The equations, with a policy π whose decisions a_t have the probabilities p, one-hot samples Z of them, the reward R of
a whole architecture (higher is better), a baseline b that the sample has no part in, and J = E[R]:

    (1)  ∇J = E[ Σ_t ∇ log π(a_t) (R − b) ]                                   Williams, "REINFORCE", 1992
    (2)  ∇_α log π(a_t) = Z_t − p_t for p = softmax(α), with mean 0, so that b leaves the mean of (1) alone
    (3)  b = Σ_i w_i R_i / Σ_i w_i over earlier samples i: "mean" w = 1, "ema" w = d^age,
         "optimal" w = d^age ‖s‖², with s the score (2) of all decisions
    (4)  b* = E[‖s‖² R] / E[‖s‖²] is the number that makes the variance of (1), summed over α, least
    (5)  ∂H/∂α_k = −p_k (log p_k + H),  H = −Σ p log p

NASNet and ENAS have the baseline "ema". What makes a draw likelier, R − b here, is the *advantage* of a step: in units
of the reward, positive where the option was made likelier.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from nascore import gates
from nascore.errors import UserError, choose
from nascore.run import Knob

Baseline = Literal["ema", "none", "mean", "optimal"]

KNOBS = {
    "decay": Knob(0.95, 0, 0.999, "memory of the baseline", group="policy", help="1/(1 − d) rewards are remembered."),
    "bonus": Knob(0, 0, 1, "entropy bonus", log=True, group="policy", help="Reward for each nat of entropy."),
}


def score(z: Float[Tensor, "*edges op"], p: Float[Tensor, "*edges op"]) -> Float[Tensor, "*edges op"]:
    """∇_α log π of one-hot draws ``z`` from p = softmax(α): eq. (2)."""
    return z - p  # eq. (2)


def gradient(
    z: Float[Tensor, "*edges op"],
    p: Float[Tensor, "*edges op"],
    advantage: Float[Tensor, "*edges"],
    bonus: float | Float[Tensor, " run"] = 0.0,
) -> Float[Tensor, "*edges op"]:
    """One sample of eq. (1), to go up along: ``advantage`` is what each decision is credited with.

    ``bonus`` is the price of a nat of entropy: its gradient, eq. (5), is added.
    """
    return score(z, p) * advantage.unsqueeze(-1) + gates.per_run(bonus, p) * entropy_gradient(p)  # eqs. (1) and (5)


def everywhere(value: Float[Tensor, "*run"], like: Float[Tensor, "*run cell edge op"]) -> Float[Tensor, "..."]:
    """The same number for all decisions of a run, [*run, cell, edge]: what a global score gives each of them."""
    return value[..., None, None].expand(like.shape[:-1])


def received(advantage: Float[Tensor, "*edges"], z: Float[Tensor, "*edges op"]) -> Float[Tensor, "*edges op"]:
    """The advantage of each decision at the option that was drawn, NaN at the others: ``task.step(advantage=…)``."""
    return advantage.unsqueeze(-1).where(z > 0, torch.nan)


def memory(alpha: Float[Tensor, "*run cell edge op"]) -> Float[Tensor, "*run two"]:
    """The two sums of eq. (3), empty; a method owns them through its clock."""
    return alpha.detach().new_zeros((*alpha.shape[:-3], 2))


def baseline(
    sums: Float[Tensor, "*run two"],
    reward: Float[Tensor, "*run"],
    kind: str = "ema",
    decay: float | Float[Tensor, " run"] = 0.95,
    scores: Float[Tensor, "*run cell edge op"] | None = None,
) -> Float[Tensor, "*run"]:
    """The baseline of the rewards before this one, eq. (3); ``sums``, from ``memory``, then take note of it, in place.

    The first reward is its own baseline, so that the first sample moves nothing; ``"none"`` is 0. ``scores``, ∇ log π
    of all decisions, are what ``"optimal"`` weighs the rewards with.

    Raises:
        UserError: an unknown kind, or "optimal" without ``scores``.
    """
    choose("baseline", kind, get_args(Baseline))
    if kind == "none":
        return torch.zeros_like(reward)
    weight = torch.ones_like(reward)
    if kind == "optimal":
        if scores is None:
            raise UserError("scores: the baseline 'optimal' weighs rewards with them; pass those of policy.score.")
        weight = scores.square().sum((-3, -2, -1))  # ‖s‖² of eq. (4)
    total, weights = sums.unbind(-1)
    b = (total / weights).where(weights > 0, reward)  # eq. (3)
    sums.mul_(1.0 if kind == "mean" else gates.per_run(decay, sums))
    sums += torch.stack([weight * reward, weight], -1)
    return b


def entropy(p: Float[Tensor, "*edges op"]) -> Float[Tensor, "*edges"]:
    """H of every decision in nats; an option with probability 0 adds nothing."""
    return -torch.xlogy(p, p).sum(-1)


def entropy_gradient(p: Float[Tensor, "*edges op"]) -> Float[Tensor, "*edges op"]:
    """∂H/∂α of p = softmax(α), edge by edge: eq. (5)."""
    return -(torch.xlogy(p, p) + p * entropy(p).unsqueeze(-1))  # eq. (5)
