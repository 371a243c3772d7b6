"""ASNG-NAS: Akimoto et al., "Adaptive Stochastic Natural Gradient Method for One-Shot Neural Architecture Search",
ICML 2019.

The equations, with θ[e, k] the probability of operation k on edge e (the expectation parameters of P_θ, no logits), the
one-hot T(c) of a sample c, the loss f, d edges and N = Σ_e (K_e − 1) free parameters:

    (1)  J(w, θ) = E_{c~P_θ}[ f(w, c) ], minimised over both
    (2)  F⁻¹ ∇_θ log P_θ(c) = T(c) − θ, the natural gradient of the log-likelihood;  ‖x‖²_F = Σ x_k² / θ_k
    (3)  G = mean over λ samples of (u − ū) (T(c) − θ), with u = +1 for the better half of them and −1 for the worse
    (4)  θ ← θ + δ G / ‖G‖_F,  δ = δ_0 / Δ:  a step of length δ in the Fisher metric
    (5)  s ← (1 − β) s + √(β(2 − β)) F^½ G / ‖G‖_F,  γ ← (1 − β)² γ + β(2 − β),  β = δ / √N
    (6)  Δ ← Δ exp(β (γ − ‖s‖² / a)),  a = 1.5
    (7)  every θ_k ≥ 1 / (d (K − 1)), the excess taken from what lies above that bound

If the steps of (5) are noise, ‖s‖² is γ in the mean, so that (6) raises Δ by β γ (1 − 1/a) and shortens the steps;
where they agree, s grows and so do the steps. λ is 2, for the weights too. F^½ G is taken as G / √θ, the tangent to the
sphere of √θ, which treats all operations alike; the authors' code, as remembered, sets the last one apart. (7) follows
that code as remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nascore import gates, resource
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import WEIGHT_DECAY, WEIGHT_LR, Task

SAMPLES = 2  # λ
SIGNAL = 1.5  # a of eq. (6)


@declare(
    "argmax",
    Traits("one-hot", "natural", levels=2, discrete=True, passes=(0, 2 * SAMPLES)),
    lam=Knob(0, 0, 10, "penalty λ", log=True, help="Price of a sample's cost, in nats per unit of cost."),
    **resource.KNOBS,
    trust=Knob(1, 0.01, 10, "trust region δ₀", log=True, group="learning", help="Length of the first Fisher steps."),
    weight_lr=WEIGHT_LR,
    weight_decay=WEIGHT_DECAY,
)
def asng(task: Task, knobs: Knobs) -> Iterator[Step]:
    """Stochastic natural gradient: all that is asked is which of two children has the lower loss.

    θ moves on ``search``, weights on ``train``, by the mean loss of two samples. The gates of a step are those of its
    better sample, or of the first one that the weights learnt from. ``credit`` is never computed.
    """
    theta = gates.softmax(torch.zeros_like(task.logits()), task.allowed).detach()  # uniform
    path = torch.zeros_like(theta)
    gamma, factor = theta.new_zeros(theta.shape[:-3]), theta.new_ones(theta.shape[:-3])
    optimiser = task.optimisers(weights=task.network, knobs=knobs)

    for t in task.clock(theta=theta, path=path, gamma=gamma, factor=factor, optimiser=optimiser):
        c, active = sample(task, theta)
        batch = task.batch("search")
        with torch.no_grad():
            losses = [task.loss(batch, c[i], update_statistics=False, active=active[i]) for i in range(SAMPLES)]
            f = torch.stack(
                [loss + knobs.lam * task.resource.expected(z, knobs) for loss, z in zip(losses, c, strict=True)]
            )
        u = (f.flip(0) - f).sign()
        advance(theta, path, gamma, factor, natural_gradient(u, c, theta), knobs.trust, task.allowed)
        better = torch.where((u[0] < 0)[..., None, None, None], c[1], c[0])
        yield task.step(t, theta, better, phase="architecture", loss=torch.stack(losses).mean(0))

        c, active = sample(task, theta)
        batch = task.batch("train")
        losses = [task.loss(batch, c[i], active=active[i]) for i in range(SAMPLES)]
        loss = torch.stack(losses).mean(0)
        optimiser.step_weights(loss)
        yield task.step(t, theta, c[0], phase="weights", loss=loss)


def sample(
    task: Task, theta: Float[Tensor, "*run cell edge op"]
) -> tuple[Float[Tensor, "sample *run cell edge op"], list[Any]]:
    """λ one-hot samples of P_θ, and the operations that are active in each."""
    drawn = torch.stack([gates.draw(theta.log(), task.noise, task.allowed) for _ in range(SAMPLES)]).to(theta.dtype)
    return drawn, gates.active(drawn)


def natural_gradient(
    u: Float[Tensor, "sample *run"],
    c: Float[Tensor, "sample *run cell edge op"],
    theta: Float[Tensor, "*run cell edge op"],
) -> Float[Tensor, "*run cell edge op"]:
    """G of the samples T(c) with the utilities u: eqs. (2) and (3)."""
    return ((u - u.mean(0))[..., None, None, None] * (c - theta)).mean(0)  # eqs. (2) and (3)


def root(
    gradient: Float[Tensor, "*run cell edge op"], theta: Float[Tensor, "*run cell edge op"]
) -> Float[Tensor, "*run cell edge op"]:
    """F^½ G = G / √θ, whose Euclidean norm is ‖G‖_F of eq. (2); 0 where θ is, as no operation is allowed there."""
    return gradient / theta.sqrt().where(theta > 0, 1.0)


def advance(
    theta: Float[Tensor, "*run cell edge op"],
    path: Float[Tensor, "*run cell edge op"],
    gamma: Float[Tensor, "*run"],
    factor: Float[Tensor, "*run"],
    gradient: Float[Tensor, "*run cell edge op"],
    trust: float | Float[Tensor, " run"],
    allowed: Bool[Tensor, "cell edge op"],
) -> None:
    """Move θ by G, then s, γ and Δ, in place: eqs. (4) to (7). Two samples that are the same move nothing."""
    delta = trust / factor
    along = root(gradient, theta)
    norm = along.square().sum((-3, -2, -1))
    norm = norm.where(norm > 0, 1.0).sqrt()[..., None, None, None]
    beta = delta / (allowed.sum() - allowed[..., 0].numel()).sqrt()
    rise = (beta * (2 - beta)).sqrt()
    theta += delta[..., None, None, None] * gradient / norm  # eq. (4)
    path.mul_((1 - beta)[..., None, None, None]).add_(rise[..., None, None, None] * along / norm)  # eq. (5)
    gamma.mul_((1 - beta) ** 2).add_(rise**2)
    factor.mul_((beta * (gamma - path.square().sum((-3, -2, -1)) / SIGNAL)).exp())  # eq. (6)
    theta.copy_(bounded(theta, allowed))


def bounded(
    theta: Float[Tensor, "*run cell edge op"], allowed: Bool[Tensor, "cell edge op"]
) -> Float[Tensor, "*run cell edge op"]:
    """The probabilities with all that is ``allowed`` at or above 1 / (d (K − 1)): eq. (7)."""
    options = allowed.sum(-1, keepdim=True)
    low = (allowed & (options > 1)).to(theta.dtype) / (len(options.flatten()) * (options - 1).clamp(min=1))
    raised = theta.clamp(min=low)
    above = raised - low
    excess = raised.sum(-1, keepdim=True) - 1
    return raised - excess * above / above.sum(-1, keepdim=True)  # eq. (7)
