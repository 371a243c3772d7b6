"""Gates: how one architecture, or a mixture of architectures, is drawn from logits.

A gate z weighs the output of one candidate operation.  Every function works on the last axis (the
operations of one edge) and treats the axes before it alike.  All randomness comes from an explicit
generator on the CPU and is moved afterwards, so a seed means the same on every device.

Equations of Xie et al., "SNAS: Stochastic Neural Architecture Search", 2019, numbered as in
``nascore.methods.snas``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor
from torch.nn import functional as F

from nascore.devices import move
from nascore.errors import UserError

Noise = Generator | Sequence[Generator]
"""Where chance comes from: a generator, or one for each run of a batch, which is the first axis."""


def gumbel(like: Float[Tensor, "*edges op"], noise: Noise) -> Float[Tensor, "*edges op"]:
    """Independent Gumbel(0, 1) draws with the shape, dtype and device of ``like``.

    G = −log(−log U) with U uniform.  −log U is an Exp(1) variable, drawn directly because it is
    never exactly 0, so that G is always finite.
    """
    if not isinstance(noise, Generator):
        return torch.stack([gumbel(own, stream) for own, stream in zip(like, noise, strict=True)])
    waiting = torch.empty(like.shape, dtype=like.dtype).exponential_(generator=noise)
    return move(-waiting.log(), like.device)


def softmax(alpha: Float[Tensor, "*edges op"], live: Bool[Tensor, "..."]) -> Float[Tensor, "*edges op"]:
    """The share exp α_k / Σ exp α_l over the operations that are ``live`` (each edge needs one), 0 for the others.

    ``live`` is a table of its own, so that logits stay finite: ``task.allowed``, or what pruning has left of it.
    """
    return alpha.masked_fill(~live, -torch.inf).softmax(-1)


def concrete(
    alpha: Float[Tensor, "*edges op"],
    tau: float | Float[Tensor, " run"],
    noise: Noise | Float[Tensor, "*edges op"],
    live: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*edges op"]:
    """One relaxed sample of every edge at temperature ``tau`` > 0, or one for each run of a batch: eq. (3).

    ``noise`` is a generator, or the Gumbel draws themselves where they are needed again (the score
    function) or have to be kept fixed (finite differences).  Each row is positive and sums to 1, over the
    ``live`` operations if given (``softmax``).  ``UserError`` unless ``tau`` is above 0.
    """
    g = noise if isinstance(noise, Tensor) else gumbel(alpha, noise)
    noisy = (alpha + g) / temperature(tau, alpha)
    return noisy.softmax(-1) if live is None else softmax(noisy, live)  # eq. (3)


def annealed(
    alpha: Float[Tensor, "*edges op"], tau: float | Float[Tensor, " run"], live: Bool[Tensor, "..."]
) -> Float[Tensor, "*edges op"]:
    """softmax(α / τ) over the ``live`` operations at temperature ``tau`` > 0, or one for each run of a batch.

    Eq. (3) without its noise; eq. (1) of ``nascore.methods.asap``.
    """
    return softmax(alpha / temperature(tau, alpha), live)


def temperature(tau: float | Float[Tensor, " run"], alpha: Float[Tensor, "*edges op"]) -> float | Tensor:
    """``tau`` so that ``alpha`` can be divided by it; ``UserError`` unless it is above 0."""
    if not isinstance(tau, Tensor) and not tau > 0:
        raise UserError(f"tau: {tau} is not above 0; a temperature of 0.01 already gives all but one-hot gates.")
    return per_run(tau, alpha)


def per_run(value: float | Float[Tensor, " run"], like: Float[Tensor, "*edges op"]) -> float | Tensor:
    """A knob's value so that it goes with ``like``: the number itself, or one for each run of a batch."""
    return value.view(-1, *[1] * (like.dim() - 1)) if isinstance(value, Tensor) else value


def anneal(start: float, end: float, fraction: float) -> float:
    """A temperature on the straight line from ``start`` (fraction 0) to ``end`` (fraction 1)."""
    return start + (end - start) * fraction


def one_hot(scores: Float[Tensor, "*edges op"]) -> Float[Tensor, "*edges op"]:
    """1 at the largest entry of every row (the lowest index if several are equal), 0 elsewhere."""
    # argmax does not promise which of several equal entries it takes; max over a cumulative mask does.
    largest = scores == scores.amax(-1, keepdim=True)
    return (largest & (largest.cumsum(-1) == 1)).to(scores.dtype)


def straight(
    z: Float[Tensor, "*edges op"], hard: Float[Tensor, "*edges op"] | None = None
) -> Float[Tensor, "*edges op"]:
    """Straight-through: the value is exactly ``hard``, or ``one_hot(z)``, the gradient that of ``z`` (biased)."""
    # The bracket is exactly 0, so no rounding reaches the gates.
    return (one_hot(z) if hard is None else hard) + (z - z.detach())


def scored(drawn: Float[Tensor, "*edges op"], p: Float[Tensor, "*edges op"]) -> Float[Tensor, "*edges op"]:
    """``drawn``, one-hot samples of ``p``, with the gradient of the score function: ∇⟨g, z⟩ = ⟨g, z⟩ ∇ log p(z).

    So what reaches ``p`` is R of eq. (5) times the score: eq. (6) for samples that are not relaxed.
    """
    likelihood = (drawn * p).sum(-1, keepdim=True)
    return drawn * (likelihood / likelihood.detach())  # the quotient is exactly 1, its gradient ∇ log p


def draw(
    alpha: Float[Tensor, "*edges op"], noise: Noise, live: Bool[Tensor, "..."], count: int = 1
) -> Bool[Tensor, "*edges op"]:
    """Which ``live`` operations of every edge are drawn from softmax(α): ``count``, each time without replacement.

    The largest of α + G are such a sample (Gumbel top-k); for one, it is eq. (3) as τ → 0.  An edge with fewer live
    operations gives all of them.
    """
    scores = (alpha.detach() + gumbel(alpha, noise)).masked_fill(~live, -torch.inf)
    largest = scores.topk(min(count, scores.shape[-1]), -1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, largest, True) & live


def uniform_one_hot(
    allowed: Bool[Tensor, "*edges op"], noise: Noise, device: torch.device | None = None
) -> Float[Tensor, "*run *edges op"]:
    """One operation an edge, each of the allowed ones (a CPU tensor) with the same probability."""
    if not isinstance(noise, Generator):
        return torch.stack([uniform_one_hot(allowed, stream, device) for stream in noise])
    drawn = torch.multinomial(allowed.float().flatten(0, -2), 1, generator=noise).view(allowed.shape[:-1])
    gates = F.one_hot(drawn, allowed.shape[-1]).to(torch.get_default_dtype())
    return gates if device is None else move(gates, device)


def tap(z: Float[Tensor, "*edges op"]) -> Float[Tensor, "*edges op"]:
    """``z`` again, keeping the gradient that reaches it: give it to the network and nothing else.

    The price sees ``z`` itself, so ``credit.marginal(tap(z))`` is the task loss's share alone, although
    one backward pass computes both.
    """
    if not z.requires_grad:
        return z.detach().requires_grad_()
    seen = z.view_as(z)
    seen.retain_grad()
    return seen


def active(z: Float[Tensor, "*run cell edge op"]) -> list[Any]:
    """Index of the largest gate of every edge, [*run][cell][edge]: here and in ``survivors`` methods read the device.

    A read waits for the device, so methods call this at most once per half step.  On ``meta``, where
    there is nothing to read, every edge gives operation 0.
    """
    if z.is_meta:
        return torch.zeros(z.shape[:-1], dtype=torch.int64).tolist()
    return one_hot(z).argmax(-1).tolist()


def survivors(live: Bool[Tensor, "*run cell edge op"]) -> Bool[Tensor, "*run cell edge op"]:
    """``live`` on the CPU, for ``task.loss(…, active=…)``: a read of the device, and counted with those of ``active``.

    On ``meta`` every operation lives.
    """
    if live.is_meta:
        return torch.ones(live.shape, dtype=torch.bool)
    return live.cpu().clone()  # a copy, as the method prunes in place
