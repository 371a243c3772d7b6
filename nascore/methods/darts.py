"""DARTS: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019 (first order).

The equations as the paper numbers them, with logits α, p = softmax(α), weights w and step ξ of the inner problem:

    (2)  ō_ij(x) = Σ_k p_ij,k o_k(x), the mixed operation
    (3)  min over α of  L_val(w*(α), α)
    (4)  such that  w*(α) = argmin over w of L_train(w, α)
    (6)  ∇_α L_val(w*(α), α) ≈ ∇_α L_val(w − ξ ∇_w L_train(w, α), α)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from nascore import credit, gates, resource
from nascore.errors import choose
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import ARCHITECTURE_LR, WEIGHT_DECAY, WEIGHT_LR, Task

Level = Literal["bi", "single"]


@declare(
    "top2",
    Traits("softmax", "through", levels=2, differentiable=True, passes=(2, 0)),
    lam=Knob(0, 0, 10, "penalty λ", log=True, help="Price of the mixture's cost, in nats per unit of cost."),
    **resource.KNOBS,
    weight_lr=WEIGHT_LR,
    architecture_lr=ARCHITECTURE_LR,
    weight_decay=WEIGHT_DECAY,
)
def darts(task: Task, knobs: Knobs, *, level: Level = "bi") -> Iterator[Step]:
    """Differentiable architecture search: gates are softmax(α), every operation always runs.

    ``level="bi"`` moves the logits on ``search`` and the weights on ``train`` (first order, ξ = 0: the weights at
    hand stand for w*(α)).  ``level="single"`` moves both by one loss on the same batch, as SNAS does.
    """
    choose("level", level, get_args(Level))
    alpha = task.logits()
    optimiser = task.optimisers(weights=task.network, architecture=alpha, knobs=knobs)

    for t in task.clock(alpha=alpha, optimiser=optimiser):
        p = gates.softmax(alpha, task.allowed)  # eq. (2): the gates of the mixed operation
        seen = gates.tap(p)
        if level == "single":
            loss = task.loss(task.batch("train+search"), seen)
            optimiser.step(loss + knobs.lam * task.resource.expected(p, knobs))
            yield task.step(t, gates.softmax(alpha, task.allowed), p, credit.marginal(seen), loss=loss)
            continue

        loss = task.loss(task.batch("search"), seen, update_statistics=False)  # eq. (3): L_val(w, α)
        optimiser.step_architecture(loss + knobs.lam * task.resource.expected(p, knobs))  # eq. (6) with ξ = 0
        yield task.step(t, gates.softmax(alpha, task.allowed), p, credit.marginal(seen), "architecture", loss=loss)

        p = gates.softmax(alpha.detach(), task.allowed)
        loss = task.loss(task.batch("train"), p)  # eq. (4): L_train(w, α)
        optimiser.step_weights(loss)
        yield task.step(t, p, p, phase="weights", loss=loss)
