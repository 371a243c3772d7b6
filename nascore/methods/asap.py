"""ASAP: Noy et al., "ASAP: Architecture Search, Anneal and Prune", AISTATS 2020.

DARTS, whose mixture hardens as the search goes on and loses the operations that no longer count. With logits α, the
live operations S_e of edge e (at first all N_e of them), and s the share of the search after the warm-up that is over:

    (1)  Φ_k(α; T) = exp(α_k / T) / Σ_{l ∈ S_e} exp(α_l / T) for k ∈ S_e, and 0 for what was pruned
    (2)  T(s) = T_0 (T_1 / T_0)^s, an exponential fall
    (3)  θ(s) = θ_1 s / N_e, which rises
    (4)  S_e ← { k ∈ S_e: Φ_k ≥ θ or k = argmax Φ }

(1) to (4) and the order of phases are written from a short summary of the paper and from memory, not from its text.
Choices of this file: (3) is a straight line from 0 (the summary says that it rises and is a share of 1 / N_e); T and θ
wait for the end of the warm-up; logits move in the warm-up too, as in any single-level search (the authors' code, as
remembered, trains only the weights there); *none* is an operation like any other and the child is the argmax of each
edge. The default ends of (2) and (3) were tuned on digits. The paper retrains the child; so is it here not complete.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nascore import credit, gates, resource
from nascore.errors import number
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import ARCHITECTURE_LR, WEIGHT_DECAY, WEIGHT_LR, Task


@declare(
    "argmax",
    Traits("annealed", "through", levels=2, differentiable=True, passes=(2, 0)),
    lam=Knob(0, 0, 10, "penalty λ", log=True, help="Price of the mixture's cost, in nats per unit of cost."),
    threshold=Knob(0.5, 0, 1, "threshold θ at the end", help="An operation below this share of 1 / N is pruned."),
    **resource.KNOBS,
    tau_start=Knob(1, 0.01, 5, "temperature at the start", log=True, group="temperature"),
    tau_end=Knob(0.03, 0.01, 5, "temperature at the end", log=True, group="temperature"),
    weight_lr=WEIGHT_LR,
    architecture_lr=ARCHITECTURE_LR,
    weight_decay=WEIGHT_DECAY,
)
def asap(task: Task, knobs: Knobs, *, warm_up: float = 0.2) -> Iterator[Step]:
    """Anneal and prune: a single-level warm-up, then logits on ``search`` and weights on ``train`` by turns.

    What is pruned is never computed again, so steps become cheaper.  ``warm_up`` is a share of the search.
    """
    warm_up_steps = number("warm_up", warm_up, low=0, high=1) * task.steps
    alpha = task.logits()
    live = task.allowed.expand_as(alpha).clone()  # S
    optimiser = task.optimisers(weights=task.network, architecture=alpha, knobs=knobs)

    for t in task.clock(alpha=alpha, optimiser=optimiser, live=live):
        s = max(0.0, t - warm_up_steps) / max(1.0, task.steps - warm_up_steps)
        tau = knobs.tau_start * (knobs.tau_end / knobs.tau_start) ** s  # eq. (2)
        active = gates.survivors(live)  # nothing else is computed
        phi = gates.annealed(alpha, tau, live)  # eq. (1)
        seen = gates.tap(phi)
        cost = knobs.lam * task.resource.expected(phi, knobs)

        if t < warm_up_steps:
            loss = task.loss(task.batch("train+search"), seen, active=active)
            optimiser.step(loss + cost)
            yield task.step(t, gates.annealed(alpha, tau, live), phi, credit.marginal(seen), loss=loss, tau=tau)
            continue

        loss = task.loss(task.batch("search"), seen, update_statistics=False, active=active)
        optimiser.step_architecture(loss + cost)
        signal = credit.marginal(seen).where(live, torch.nan)  # before the next line prunes
        theta = gates.per_run(knobs.threshold, alpha) * s / task.allowed.sum(-1, keepdim=True)  # eq. (3)
        live &= survive(gates.annealed(alpha, tau, live), theta)
        yield task.step(t, gates.annealed(alpha, tau, live), phi, signal, "architecture", loss=loss, tau=tau)

        phi = gates.annealed(alpha.detach(), tau, live)
        loss = task.loss(task.batch("train"), phi, active=active)  # what was pruned just now has a gate of 0
        optimiser.step_weights(loss)
        yield task.step(t, phi, phi, phase="weights", loss=loss, tau=tau)


def survive(phi: Float[Tensor, "*edges op"], theta: Float[Tensor, "... 1"]) -> Bool[Tensor, "*edges op"]:
    """Whether an operation stays: its share reaches ``theta``, or is the largest of its edge: eq. (4)."""
    return (phi >= theta) | (gates.one_hot(phi) > 0)  # eq. (4)
