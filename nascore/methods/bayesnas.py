"""BayesNAS: Zhou, Yang, Wang and Pan, "BayesNAS: A Bayesian Approach for NAS", ICML 2019.

Compression as sparse Bayesian learning. Every operation but *none* has a switch w, the gate itself, with a prior of its
own (automatic relevance determination): w ~ N(0, γ). A switch whose γ goes to 0 is off. With the loss L per image, σ²
its scale and H the curvature of L towards the switch:

    (1)  −log p(w | data) = L(w) / σ² + Σ w² / (2 γ) + const, the Laplace approximation about the w of the moment
    (2)  C = (1 / γ + H / σ²)⁻¹, the posterior variance
    (3)  ω = sqrt(1 / γ − C / γ²), which is sqrt(h / (1 + γ h)) for h = H / σ²
    (4)  w ← argmin over w of L(w) + σ² Σ ω |w|
    (5)  s = |w| / ω
    (6)  1 / γ = 1 / s + 1 / Σ s over all switches into the edge's source: nothing leaves a node that nothing enters
    (7)  a switch is off once its prior has no entropy left: ½ ln(2πe γ) ≤ 0, hence γ ≤ 1 / (2πe)

(3), (4) and (5) are the reweighted ℓ1 steps of Wipf and Nagarajan (NIPS 2007) on the evidence; with H the exact
curvature and no (6) their fixed point in orthonormal least squares is γ = max(0, ŵ² − σ²), which the tests check, and
so they do (2), (3) and (7). That BayesNAS uses these steps comes from a short summary of the paper; the form of (6) and
that all ω start at 1 are from memory. Simplified or chosen here:

* H is the spread of the images' gradients, B · Var[∂L_batch/∂w] over recent batches of B: by the information identity
  the Hessian of a model that is right, and never negative. The paper has a recursion through the layers instead.
* (4) is one step of proximal gradient, and (2) to (7) follow it at every iteration, not at the end of an inner loop.
* The paper's group Lasso over kernels, which thins layers out, is left out.
* σ² is a knob, tuned on digits. One over the number of images would be (1) word by word; it prunes next to nothing.
* An edge loses its last switch only where the space has *none*. Its share of the probabilities, whose other shares go
  with γ, is the γ of (7), so that *none* wins where everything else is off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nascore import credit, gates, resource
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import WEIGHT_DECAY, WEIGHT_LR, Task

OFF = 1 / (2 * math.pi * math.e)  # γ at which the entropy of eq. (7) is 0
RATE = 0.05  # of the running means over batches


@declare(
    "argmax",
    Traits("switches", "laplace", levels=1, differentiable=True, passes=(1, 0)),
    lam=Knob(0, 0, 10, "penalty λ", log=True, help="Price of what the switches let through, in nats a unit of cost."),
    scale=Knob(0.004, 1e-5, 1, "scale of the loss σ²", log=True, help="The larger, the more the prior counts."),
    **resource.KNOBS,
    weight_lr=WEIGHT_LR,
    switch_lr=Knob(0.5, 0, 5, "learning rate of switches", log=True, group="learning"),
    weight_decay=WEIGHT_DECAY,
)
def bayesnas(task: Task, knobs: Knobs) -> Iterator[Step]:
    """Sparse Bayesian learning of the gates: one loss moves weights and switches, and the evidence prunes switches."""
    named = torch.tensor([op != "none" for op in task.space.ops], device=task.device)
    like = task.logits().detach()
    live = (task.allowed & named).expand_as(like).clone()
    w = live.to(like)  # every switch is on
    omega, gamma = torch.ones_like(w), w.clone()
    mean, square = torch.zeros_like(w), torch.zeros_like(w)
    enters = entering(task).to(w)
    optimiser = task.optimisers(weights=task.network, knobs=knobs)

    owned = {"live": live, "w": w, "omega": omega, "gamma": gamma, "mean": mean, "square": square}
    for t in task.clock(optimiser=optimiser, **owned):
        seen = gates.tap(w)
        loss = task.loss(task.batch("train+search"), seen, active=gates.survivors(live))
        optimiser.backward(loss)
        gradient = -credit.marginal(seen)
        signal = (0.0 - gradient).where(live | ~named, torch.nan)  # what is off is not computed
        optimiser.move_weights()

        z = w.clone()
        rate, scale, lam = (gates.per_run(value, w) for value in (knobs.switch_lr, knobs.scale, knobs.lam))
        price = lam * task.resource.price(knobs).to(w)
        w.copy_(soft(w - rate * gradient, rate * (scale * omega + price)))  # eq. (4)
        gamma.copy_(inherit(w.abs() / omega, enters))  # eqs. (5) and (6)
        live &= survive(gamma, live, task.allowed & ~named)  # eq. (7)
        w *= live
        gamma *= live
        omega.copy_(reweighted(gamma, task.batch_size * spread(gradient, mean, square) / scale))  # eqs. (2), (3)
        yield task.step(t, relevance(gamma, live, task.allowed & ~named), z, signal, loss=loss)


def spread(
    gradient: Float[Tensor, "*switch"], mean: Float[Tensor, "*switch"], square: Float[Tensor, "*switch"]
) -> Float[Tensor, "*switch"]:
    """The variance of the batches' gradients, with ``mean`` and ``square``, their running means, moved in place."""
    mean.lerp_(gradient, RATE)
    square.lerp_(gradient.square(), RATE)
    return (square - mean.square()).clamp(min=0)


def soft(w: Float[Tensor, "*switch"], threshold: Float[Tensor, "*switch"]) -> Float[Tensor, "*switch"]:
    """The argmin over u of ½ (u − w)² + threshold |u|: towards 0 by ``threshold``, and no further."""
    return w.sign() * (w.abs() - threshold).clamp(min=0)


def reweighted(gamma: Float[Tensor, "*switch"], h: Float[Tensor, "*switch"]) -> Float[Tensor, "*switch"]:
    """ω = sqrt(1/γ − C/γ²) with C = (1/γ + h)⁻¹, in the form that holds at γ = 0 too: eqs. (2) and (3)."""
    h = h.clamp(min=1e-6)
    return (h / (1 + gamma * h)).sqrt()


def entering(task: Task) -> Float[Tensor, "edge edge"]:
    """1 where the second edge enters the node that the first one leaves, 0 elsewhere."""
    edges = task.space.edges
    return torch.tensor([[float(into == source) for _, into in edges] for source, _ in edges])


def inherit(
    s: Float[Tensor, "*run cell edge op"], enters: Float[Tensor, "edge edge"]
) -> Float[Tensor, "*run cell edge op"]:
    """γ of every switch from its own s and those of all switches into its source: eq. (6)."""
    before = (enters @ s.sum(-1, keepdim=True)).expand_as(s)
    depends = enters.any(-1)[:, None]  # the cell's inputs are always there
    return torch.where(depends, s * before / (s + before).clamp(min=1e-12), s)


def survive(
    gamma: Float[Tensor, "*run cell edge op"],
    live: Bool[Tensor, "*run cell edge op"],
    fallback: Bool[Tensor, "cell edge op"],
) -> Bool[Tensor, "*run cell edge op"]:
    """Whether a switch stays on: eq. (7), or it is the last of an edge that has no ``fallback``."""
    last = (gates.one_hot(gamma.where(live, -1.0)) > 0) & ~fallback.any(-1, keepdim=True)
    return (gamma > OFF) | last


def relevance(
    gamma: Float[Tensor, "*run cell edge op"],
    live: Bool[Tensor, "*run cell edge op"],
    fallback: Bool[Tensor, "cell edge op"],
) -> Float[Tensor, "*run cell edge op"]:
    """γ as shares of an edge, that of *none* being what a switch needs to stay on."""
    whole = torch.where(fallback, OFF, live * gamma.clamp(min=OFF))  # less than that only the last switch may have
    return whole / whole.sum(-1, keepdim=True)
