"""RUDDER for the edge decisions of a cell: the reward goes back to the decisions that a return model says earned it.

Arjona-Medina et al., "RUDDER: Return Decomposition for Delayed Rewards", NeurIPS 2019, see ``nascore.rudder``. It has
no architecture search; this is its redistribution on one.

The equations, with T decisions a_t (one an edge), their one-hot Z_t with the probabilities p_t = softmax(α_t), the
reward G of the whole architecture and a baseline b, the mean of recent rewards:

    (1)  g(Z) = b + Σ_t w_t·(Z_t − p_t), the return model; d^age weighs down old rewards:
         w = argmin Σ_i d^age ( G_i − b_i − Σ_t w_t·x_i,t )² + ridge ‖w‖²,  x = Z − p at the time
    (2)  g_t = E[ g | a_0 … a_t ] = b + Σ_{τ≤t} w_τ·(Z_τ − p_τ), as what is yet to be drawn has the mean p
    (3)  h_t = g_t − g_{t−1} = w_t·(Z_t − p_t)
    (4)  R_t = h_t + (G − g(Z)) / T,  Σ_t R_t = G − b:  what g did not foresee is shared evenly
    (5)  ∇J ≈ Σ_t ∇ log π(a_t) R_t

G has no part in the w it is judged by. Of (5), what g explains arrives without the luck of the other decisions; of what
it does not, one part in T arrives, so (5) is biased unless g is right. In (3) **the order of the decisions is gone**: a
linear g credits each with the same in any order. That all edges are decided one after another is a choice of the model.
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
    "memory": Knob(0.99, 0, 1, "memory of the return model", group="policy", help="1/(1 − d) rewards are remembered."),
    "ridge": Knob(10, 0.01, 1000, "caution of the return model", log=True, group="policy", help="Large: no credit."),
    "lessons": Knob(
        0, 0, 1, "more evaluations", toggle=True, group="policy", help="Another child a step, for the model alone."
    ),
}


@declare(
    "argmax",
    Traits("one-hot", "redistributed", levels=1, discrete=True, passes=(0, 1)),
    **rewards.KNOBS,
    **policy.KNOBS,
    **KNOBS,
    weight_lr=WEIGHT_LR,
    architecture_lr=replace(ARCHITECTURE_LR, value=0.05),  # of benchmarks/tuning.py
    weight_decay=WEIGHT_DECAY,
)
def rudder(task: Task, knobs: Knobs) -> Iterator[Step]:
    """The policy gradient with redistributed accuracy; weights and logits learn from the same pass, as in SNAS.

    ``advantage`` is R_t at what was drawn. With ``lessons`` the return model also sees a second child a step, whose
    images count as ``examples``. The metric ``foreseen`` is g(Z), the reward that was expected of the child.
    """
    alpha = task.logits()
    gram, moment = returns(alpha)
    sums = policy.memory(alpha)
    optimiser = task.optimisers(weights=task.network, architecture=alpha, knobs=knobs)

    for t in task.clock(alpha=alpha, gram=gram, moment=moment, sums=sums, optimiser=optimiser):
        p = gates.softmax(alpha.detach(), task.allowed)
        children = 2 if knobs.lessons else 1
        drawn = [gates.draw(alpha, task.noise, task.allowed).to(alpha.dtype) for _ in range(children)]
        active = gates.active(torch.stack(drawn))
        batch = task.batch("train+search")
        outcome = task.outcome(batch, z := drawn[0], active=active[0])
        g = rewards.reward(task, outcome, z, knobs)
        b = policy.baseline(sums, g, "ema", knobs.decay)
        share = worth(gram, moment, knobs.ridge, x := policy.score(z, p))
        foreseen = share.sum((-2, -1))
        advantage = redistributed(share, g - b - foreseen)
        learn(gram, moment, x, g - b, knobs.memory)
        for other, live in zip(drawn[1:], active[1:], strict=True):
            with torch.no_grad():
                lesson = task.outcome(batch, other, update_statistics=False, active=live)
            r = rewards.reward(task, lesson, other, knobs)
            learn(gram, moment, policy.score(other, p), r - b, 1.0)

        ascent = policy.gradient(z, p, advantage, knobs.bonus)  # eq. (5)
        optimiser.step(outcome.loss + resource.surrogate(alpha, -ascent).sum((-2, -1)))
        p = gates.softmax(alpha.detach(), task.allowed)
        signal = policy.received(advantage, z)
        yield task.step(t, p, z, advantage=signal, loss=outcome.loss, reward=g, baseline=b, foreseen=b + foreseen)


def returns(
    alpha: Float[Tensor, "*run cell edge op"],
) -> tuple[Float[Tensor, "*run option option"], Float[Tensor, "*run option"]]:
    """A return model that has seen nothing: Σ x xᵀ and Σ x (G − b) of eq. (1), over all options of all decisions."""
    empty = torch.zeros_like(alpha.detach()).flatten(-3)
    return empty.unsqueeze(-1) * empty.unsqueeze(-2), empty


def learn(
    gram: Float[Tensor, "*run option option"],
    moment: Float[Tensor, "*run option"],
    x: Float[Tensor, "*run cell edge op"],
    surprise: Float[Tensor, "*run"],
    memory: float | Float[Tensor, " run"],
) -> None:
    """Take in one architecture with the reward b + ``surprise``, in place: the sums of eq. (1)."""
    own = x.flatten(-3)
    gram.mul_(gates.per_run(memory, gram)).add_(own.unsqueeze(-1) * own.unsqueeze(-2))
    moment.mul_(gates.per_run(memory, moment)).add_(own * surprise.unsqueeze(-1))


def worth(
    gram: Float[Tensor, "*run option option"],
    moment: Float[Tensor, "*run option"],
    ridge: float | Float[Tensor, " run"],
    x: Float[Tensor, "*run cell edge op"],
) -> Float[Tensor, "*run cell edge"]:
    """What the return model credits every decision with, h: eqs. (1) and (3)."""
    diagonal = torch.eye(moment.shape[-1], dtype=moment.dtype, device=moment.device)
    w = torch.linalg.solve(gram + gates.per_run(ridge, gram) * diagonal, moment.unsqueeze(-1))  # eq. (1)
    share: Tensor = (w.view_as(x) * x).sum(-1)  # eq. (3)
    return share


def redistributed(
    share: Float[Tensor, "*run cell edge"], unforeseen: Float[Tensor, "*run"]
) -> Float[Tensor, "*run cell edge"]:
    """R of every decision: eq. (4)."""
    decisions = share.shape[-2] * share.shape[-1]  # T
    return share + unforeseen[..., None, None] / decisions  # eq. (4)
