"""SNAS: Xie, Zheng, Liu and Lin, "SNAS: Stochastic Neural Architecture Search", ICLR 2019.

The equations, numbered as everywhere in this kit.  α[e, k] are logits (the paper's log α), p = softmax(α), Z the
gates of one sample, O_k(x_i) the output of operation k on edge e = (i, j), L the loss, C the cost, τ the temperature:

    (1)  min over α, θ of  E_{Z~p_α}[ L_θ(Z) ]
    (2)  x_j = Σ_{i<j} Õ_ij(x_i) = Σ_{i<j} Σ_k Z_ij,k O_ij,k(x_i)
    (3)  Z = softmax((α + G) / τ),  G ~ Gumbel(0, 1)
    (4)  ∂L/∂α_k = Z_k / τ · ( ⟨∂L/∂x_j, O_k(x_i)⟩ − ⟨∂L/∂x_j, Õ(x_i)⟩ )
    (5)  R_ij = ⟨∂L/∂x_j, Õ_ij(x_i)⟩
    (6)  E[ ∇log p(Z) · R ] = ∇E[L] + ∇E[R − L]:  R can replace L exactly where L is affine in x_j, not in general
    (7)  ∇_{α_k} log p(Z) = 1 − K softmax(−G)_k  for the density of (3)
    (8)  C(Z) = Σ c·Z,  ∇_{α_k} E_one-hot[c·Z] = p_k (c_k − p·c)

The one-hot limit is DSNAS: Hu et al., "DSNAS: Direct Neural Architecture Search without Parameter Retraining", CVPR
2020, written from a summary and from memory. Z is one-hot, so one operation an edge is computed, and (6) is all the
credit there is:

    (9)  ∂L/∂α_k ≈ ∇_{α_k} log p(Z) · R = (Z_k − p_k) ⟨∂L/∂x_j, O_k*(x_i)⟩,  k* the operation drawn
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from nascore import credit, gates, resource
from nascore.errors import choose
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import ARCHITECTURE_LR, WEIGHT_DECAY, WEIGHT_LR, Task

Estimator = Literal["pathwise", "score", "expectation"]
Sample = Literal["relaxed", "one-hot"]
DUAL_RATE = 0.05  # how fast the budget's multiplier moves; one step changes it by this times the excess cost


@declare(
    "argmax",
    Traits(
        "concrete",
        "through",
        levels=1,
        differentiable=True,
        complete=True,
        passes=(1, 0),
        options={("sample", "one-hot"): {"gates": "one-hot", "credit": "score", "discrete": True, "passes": (0, 1)}},
    ),
    lam=Knob(0, 0, 10, "penalty λ", log=True, help="Price of the expected cost, in nats per unit of cost."),
    budget=Knob(1, 0, 1, "budget", help="Cost that λ is driven to meet by dual ascent; 1 is off."),
    half_steps=Knob(0, 0, 1, "pause between phases", toggle=True, help="Also stop after the credit is known."),
    **resource.KNOBS,
    schedule=Knob(1, 0, 1, "anneal the temperature", toggle=True, group="temperature"),
    tau=Knob(1, 0.03, 5, "temperature τ", log=True, group="temperature", help="Held when the schedule is off."),
    tau_start=Knob(1, 0.03, 5, "temperature at the start", log=True, group="temperature"),
    tau_end=Knob(0.1, 0.03, 5, "temperature at the end", log=True, group="temperature"),
    weight_lr=WEIGHT_LR,
    architecture_lr=ARCHITECTURE_LR,
    weight_decay=WEIGHT_DECAY,
)
def snas(task: Task, knobs: Knobs, *, estimator: Estimator = "pathwise", sample: Sample = "relaxed") -> Iterator[Step]:
    """Stochastic neural architecture search: one loss on one sample moves weights and logits together.

    ``estimator`` is the gradient of the expected cost: through the sample, by the score function, or that of
    one-hot samples in closed form.  ``sample="one-hot"`` is the limit τ → 0 of DSNAS: only what is drawn is computed,
    and the sample's own gradient, that of the price too, is (9).  The temperature then has no effect, and the credit
    of what was not drawn is NaN.
    """
    choose("estimator", estimator, get_args(Estimator))
    choose("sample", sample, get_args(Sample))
    alpha = task.logits()
    optimiser = task.optimisers(weights=task.network, architecture=alpha, knobs=knobs)
    multiplier = alpha.detach().new_zeros(alpha.shape[:-3])  # μ of the budget constraint; a batch has one a run

    for t in task.clock(alpha=alpha, optimiser=optimiser, multiplier=multiplier):
        tau = gates.anneal(knobs.tau_start, knobs.tau_end, t / task.steps) if knobs.schedule else knobs.tau
        noise = gates.gumbel(alpha, task.noise)
        p = gates.softmax(alpha, task.allowed)
        z = gates.concrete(alpha, tau, noise, task.allowed)  # eq. (3)
        active = None
        if sample == "one-hot":
            z = gates.scored(gates.one_hot(z), p)  # eq. (9)
            active = gates.active(z)
        seen = gates.tap(z)  # the network sees the tap, the price does not
        loss = task.loss(task.batch("train+search"), seen, active=active)  # eq. (1), one sample

        lam = knobs.lam + ascend(multiplier, task.resource.expected(p, knobs), knobs.budget)
        match estimator:
            case "pathwise":
                cost = task.resource.expected(z, knobs)  # ∂/∂α = Z_k (c_k − c·Z) / τ
            case "score":
                estimate = resource.score(noise, z, task.resource.price(knobs), task.allowed)
                cost = resource.surrogate(alpha, estimate)  # (1 − K softmax(−G)) c·Z
                cost = cost.sum((-2, -1))
            case "expectation":
                cost = task.resource.expected(p, knobs)  # eq. (8)

        optimiser.backward(loss + lam * cost)  # eq. (4) and the cost's share, both gradients in one backward
        signal = credit.marginal(seen) if active is None else credit.computed(seen, z > 0, task.space.ops)
        if knobs.half_steps:
            yield task.step(t, p, z, signal, "credit", loss=loss, tau=tau, lam_effective=lam)
        optimiser.apply()
        yield task.step(t, gates.softmax(alpha, task.allowed), z, signal, loss=loss, tau=tau, lam_effective=lam)


@torch.no_grad()
def ascend(multiplier: Tensor, cost: Tensor, budget: float) -> Tensor:
    """One step of dual ascent on min L subject to cost ≤ budget: μ ← max(0, μ + rate · (cost − budget))."""
    risen = (multiplier + DUAL_RATE * (cost - budget)).clamp(min=0)
    return multiplier.copy_(risen * (budget < 1))  # a budget of 1 is off
