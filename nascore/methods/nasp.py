"""NASP: Yao, Xu, Tu and Zhu, "Efficient Neural Architecture Search via Proximal Iterations", AAAI 2020.

The equations, numbered as everywhere in this kit.  A holds a row a for every edge, one entry an operation, w are the
weights, p_k the parameters of operation k and p̄ = Σ_k p_k:

    (1)  min over A of  F(w*(A), A) = L_val(w*(A), A) + η R(A)  with  w*(A) = argmin over w of L_train(w, A),
         every a in C₁ ∩ C₂
    (2)  C₁ = {a: ‖a‖₀ = 1},  C₂ = {a: 0 ≤ a_k ≤ 1},  R(A) = Σ_k p_k / p̄ Σ_edges a_k²
    (3)  prox_C₂(z)_k = min(1, max(0, z_k)),  prox_C₁(z) = z_k* e_k* with k* = argmax_k |z_k|

The algorithm, whose gradient is taken at the discrete Ā and moves the continuous A:

    step 3   Ā = prox_C₁(A)
    step 4   A ← prox_C₂(A − ε ∇F(w, Ā))
    step 5   Ā = prox_C₁(A),  w ← w − γ ∇_w L_train(w, Ā): nothing but the active operations is computed
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nascore import gates, proximal, resource
from nascore.credit import everywhere
from nascore.errors import choose
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import WEIGHT_DECAY, WEIGHT_LR, Task

Variant = Literal["published", "released"]
Inputs = Literal["all", "top2"]
Credit = Literal["exact", "published"]
DECAY = 1e-3  # L2 penalty on A in the authors' code


@declare(
    "argmax",
    Traits(
        "prox",
        "exact",
        levels=2,
        differentiable=True,
        complete=True,
        discrete=True,
        passes=(1, 2),
        probs="box",
        options={("credit", "published"): {"passes": (1, 1)}},
    ),
    lam=Knob(0, 0, 10, "penalty λ", log=True, help="Price of the discrete architecture's cost, in nats."),
    eta=Knob(0, 0, 10, "size penalty η", log=True, help="Weight of R(A): parameters of active operations."),
    **resource.KNOBS,
    weight_lr=WEIGHT_LR,
    architecture_lr=Knob(0.02, 0, 1, "step ε of A", log=True, group="learning"),
    weight_decay=WEIGHT_DECAY,
)
def nasp(
    task: Task,
    knobs: Knobs,
    *,
    variant: Variant = "published",
    inputs: Inputs = "all",
    credit: Credit = "exact",
) -> Iterator[Step]:
    """Neural architecture search via proximal iterations: one operation an edge is active, in every half step.

    ``variant="released"`` is the authors' code: the active gate is 1 instead of its entry of A, A moves by Adam with
    weight decay before it is clipped, and only the two strongest edges into every node are kept during search.
    ``inputs="top2"`` keeps two edges of the published algorithm too.  ``credit`` says how ∂L/∂Ā is found, not what it
    is: ``"exact"`` runs the inactive operations forward alone, ``"published"`` runs all of them forward and backward
    with gates of 0.  The reference engine and a batch of runs, which have no other way, always do the latter.
    """
    choose("variant", variant, get_args(Variant))
    choose("inputs", inputs, get_args(Inputs))
    choose("credit", credit, get_args(Credit))
    released = variant == "released"
    pruned = released or inputs == "top2"
    # ½ everywhere (the authors' start) is a tie, which would make the first of the list active on every edge: the
    # logits' small noise breaks it, another way for every seed.
    a = ((0.5 + task.logits().detach()) * task.allowed).requires_grad_()
    optimiser = task.optimisers(weights=task.network, architecture=a, knobs=knobs)
    share = shares(task)

    for t in task.clock(a=a, optimiser=optimiser):
        chosen = choice(task, a, pruned)
        discrete = (chosen if released else chosen * a).detach()  # step 3: Ā = prox_C₁(A), eq. (3)
        live = gates.survivors(chosen > 0)
        loss, signal = everywhere(task, task.batch("search"), discrete, live, dense=credit == "published")
        z = gates.straight(a, discrete)  # its value is Ā, its gradient moves A
        objective = resource.surrogate(z, -signal).sum((-2, -1)) + knobs.lam * task.resource.expected(z, knobs)
        objective = objective + knobs.eta * (share * z.square()).sum((-3, -2, -1))  # eq. (1): η R(Ā)
        if released:
            optimiser.step_architecture(objective + DECAY / 2 * a.square().sum((-3, -2, -1)))
        else:
            optimiser.backward(knobs.architecture_lr * objective, inputs=[a])  # ε ∇F(w, Ā)
        with torch.no_grad():
            assert a.grad is not None
            a.copy_(proximal.prox_c2(a if released else a - a.grad))  # step 4
        graphs = cells(task, live) if pruned else None
        yield task.step(t, a, discrete, signal, "architecture", graphs=graphs, loss=loss)

        before, chosen = chosen, choice(task, a, pruned)
        discrete = (chosen if released else chosen * a).detach()
        live = gates.survivors(chosen > 0)
        loss = task.loss(task.batch("train"), discrete, active=live)  # step 5: L_train(w, Ā)
        optimiser.step_weights(loss)
        flips = (before != chosen).any(-1).float().sum((-2, -1))
        graphs = cells(task, live) if pruned else None
        yield task.step(t, a, discrete, phase="weights", graphs=graphs, loss=loss, flips=flips)


@torch.no_grad()
def choice(task: Task, a: Float[Tensor, "*run cell edge op"], pruned: bool) -> Float[Tensor, "*run cell edge op"]:
    """1 at the active operation of every edge, 0 elsewhere; ``pruned``: the two strongest edges into every node alone.

    As in the rule *top2*, *none* is never among the two: it would keep an edge by leaving it out.
    """
    live = task.allowed
    if pruned and "none" in task.space.ops:
        live = live.clone()
        live[..., task.space.ops.index("none")] = False
    chosen = proximal.largest(a, live)
    if not pruned:
        return chosen
    strength = (chosen * a).sum(-1)
    return chosen * proximal.strongest_inputs(strength, [target for _, target in task.space.edges]).unsqueeze(-1)


def shares(task: Task) -> Float[Tensor, "*run 1 1 op"]:
    """p_k / p̄ of eq. (2): the share that each operation has in the parameters of all, over all edges and cells."""
    parameters = task.resource.price({"w_parameters": 1.0}).sum((-3, -2), keepdim=True)
    return parameters / parameters.sum(-1, keepdim=True).clamp(min=torch.finfo(parameters.dtype).tiny)


def cells(task: Task, live: Bool[Tensor, "*run cell edge op"]) -> object:
    """The cells of the active operations; of a batch a list of them."""
    return [task.space.cells_of(own) for own in live] if live.dim() > 3 else task.space.cells_of(live)
