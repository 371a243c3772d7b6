"""PC-DARTS: Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020.

DARTS of first order with two changes. With logits α[e, k] of the operations, β[e] of the edges, p = softmax(α):

    (1)  f_ij(x) = Σ_k p_ij,k o_k(S ∗ x) + (1 − S) ∗ x: one channel in K goes through the operations, the rest passes by
    (2)  x_j = Σ_{i<j} β̃_ij f_ij(x_i),  β̃_ij = exp β_ij / Σ_{i'<j} exp β_i'j: edge normalisation
    (3)  for the first part of the search the weights alone are trained

(1) is the task's: ``make_task(…, partial=4)``, where the channels that pass by are shuffled in. With ``partial=1`` edge
normalisation is all that is left. (2) makes up for the noise of (1): which edges stay is decided by β̃ p, not by p.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nascore import credit, gates, resource
from nascore.devices import move
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import ARCHITECTURE_LR, WEIGHT_DECAY, WEIGHT_LR, Task


@declare(
    "top2",
    Traits("softmax", "through", levels=2, differentiable=True, passes=(2, 0), probs="box"),
    lam=Knob(0, 0, 10, "penalty λ", log=True, help="Price of the mixture's cost, in nats per unit of cost."),
    warm_up=Knob(0, 0, 1, "weights alone", help="Share of the search before the logits move; 0.3 in the paper."),
    **resource.KNOBS,
    weight_lr=WEIGHT_LR,
    architecture_lr=ARCHITECTURE_LR,
    weight_decay=WEIGHT_DECAY,
)
def pcdarts(task: Task, knobs: Knobs) -> Iterator[Step]:
    """Partially connected differentiable architecture search: gates are β̃ p, logits and weights move by turns.

    ``probs`` are the gates, by which the paper derives its child: they sum to 1 over all edges into a node.
    """
    alpha = task.logits().detach()
    theta = torch.cat([alpha, torch.zeros_like(alpha[..., :1])], -1).requires_grad_()  # α and, in the last column, β
    same = siblings(task)
    optimiser = task.optimisers(weights=task.network, architecture=theta, knobs=knobs)

    for t in task.clock(theta=theta, optimiser=optimiser):
        if t >= knobs.warm_up * task.steps:  # (3)
            p, share = parts(theta, task.allowed, same)
            z = share * p
            seen = gates.tap(z)
            loss = task.loss(task.batch("search"), seen, update_statistics=False)
            optimiser.step_architecture(loss + knobs.lam * task.resource.expected(p, knobs))
            moved, share = parts(theta.detach(), task.allowed, same)
            yield task.step(t, share * moved, z, credit.marginal(seen), "architecture", loss=loss)

        p, share = parts(theta.detach(), task.allowed, same)
        z = share * p
        loss = task.loss(task.batch("train"), z)
        optimiser.step_weights(loss)
        yield task.step(t, z, z, phase="weights", loss=loss)


def parts(
    theta: Float[Tensor, "*run cell edge logit"], allowed: Bool[Tensor, "cell edge op"], same: Bool[Tensor, "edge edge"]
) -> tuple[Float[Tensor, "*run cell edge op"], Float[Tensor, "*run cell edge 1"]]:
    """The shares p = softmax(α) of an edge's operations, and β̃ of the edges into a node: eqs. (1) and (2)."""
    alpha, beta = theta[..., :-1], theta[..., -1]
    every = gates.softmax(beta.unsqueeze(-2).expand(*beta.shape, beta.shape[-1]), same)  # of each edge's siblings
    return gates.softmax(alpha, allowed), every.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)


def siblings(task: Task) -> Bool[Tensor, "edge edge"]:
    """Whether two edges lead into the same node."""
    target = torch.tensor([target for _, target in task.space.edges])
    return move(target[:, None] == target, task.device)
