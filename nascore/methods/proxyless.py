"""ProxylessNAS: Cai, Zhu and Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware",
ICLR 2019.

The equations, with logits α, p = softmax(α), o_k(x_i) the output of operation k on the edge from i to j:

    (1)  g = e_k with probability p_k, binary gates;  x_j = Σ_i g · o(x_i), one path in memory
    (2)  ∂L/∂α_i ≈ Σ_j ∂L/∂g_j ∂p_j/∂α_i = Σ_j ∂L/∂g_j p_j (δ_ij − p_i), as BinaryConnect does
    (3)  two paths {a, b}, drawn from p without replacement, stand for all: p̂ = softmax(α_a, α_b), g drawn from p̂,
         (2) with p̂ in the place of p
    (4)  after the update α_a, α_b ← α − log (Σ e^α' / Σ e^α), sums over {a, b}, α' updated and α old, so that every
         other probability stays as it was
    (5)  E[C] = Σ_k p_k F_k with the price F_k of operation k,  ∂E[C]/∂α_k = p_k (F_k − E[C])

(3) and (4) follow the authors' code as remembered. The price joins the loss at the gates, ∂C/∂g_j = F_j, so that (2)
turns it into (5) over the two paths.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nascore import credit, gates, resource
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import ARCHITECTURE_LR, WEIGHT_DECAY, WEIGHT_LR, Task


@declare(
    "argmax",
    Traits("two paths", "binary", levels=2, differentiable=True, discrete=True, passes=(0, 3)),
    lam=Knob(0, 0, 10, "penalty λ", log=True, help="Price of the expected cost, in nats per unit of cost."),
    **resource.KNOBS,
    weight_lr=WEIGHT_LR,
    architecture_lr=ARCHITECTURE_LR,
    weight_decay=WEIGHT_DECAY,
)
def proxyless(task: Task, knobs: Knobs) -> Iterator[Step]:
    """Binary gates: two operations an edge run in the architecture step, one in the weight step.

    Logits move on ``search``, weights on ``train``. The paper prices latency: set ``w_latency`` to 1 and the other
    weights to 0. Credit of what did not run is NaN.
    """
    alpha = task.logits()
    optimiser = task.optimisers(weights=task.network, architecture=alpha, knobs=knobs)

    for t in task.clock(alpha=alpha, optimiser=optimiser):
        pair = gates.draw(alpha, task.noise, task.allowed, 2)
        g = binary(alpha, pair, gates.draw(alpha, task.noise, pair))  # eq. (3)
        seen = gates.tap(g)
        loss = task.loss(task.batch("search"), seen, update_statistics=False, active=gates.survivors(pair))
        before = alpha.detach().clone()
        optimiser.step_architecture(loss + knobs.lam * task.resource.expected(g, knobs))  # eqs. (2) and (5)
        rescale(alpha, before, pair)
        signal = credit.computed(seen, pair, task.space.ops)
        p = gates.softmax(alpha.detach(), task.allowed)
        yield task.step(t, p, g, signal, "architecture", loss=loss)

        g = gates.draw(alpha, task.noise, task.allowed).to(alpha.dtype)  # eq. (1)
        loss = task.loss(task.batch("train"), g, active=gates.active(g))
        optimiser.step_weights(loss)
        yield task.step(t, p, g, phase="weights", loss=loss)


def binary(
    alpha: Float[Tensor, "*edges op"], paths: Bool[Tensor, "*edges op"], chosen: Bool[Tensor, "*edges op"]
) -> Float[Tensor, "*edges op"]:
    """The gates ``chosen`` among ``paths``, with the gradient of p̂, the softmax over these paths: eqs. (2) and (3)."""
    return gates.straight(gates.softmax(alpha, paths), chosen.to(alpha.dtype))


@torch.no_grad()
def rescale(
    alpha: Float[Tensor, "*edges op"], before: Float[Tensor, "*edges op"], paths: Bool[Tensor, "*edges op"]
) -> None:
    """Give the ``paths`` together the probability that they had under the logits ``before``: eq. (4).

    The other logits become those of ``before``, since an optimiser with momentum moves them too.
    """
    now, then = (table.masked_fill(~paths, -torch.inf).logsumexp(-1, keepdim=True) for table in (alpha, before))
    alpha.copy_(torch.where(paths, alpha - (now - then), before))  # eq. (4)
