"""Proximal operators: how a continuous architecture becomes a discrete one, and stays in its box.

The prox of a set is the projection onto it, prox_C(z) = argmin over a in C of ‖a − z‖².  Every function works on the
last axis (the operations of one edge) and treats the axes before it alike.  ``live`` says which operations an edge
has, where not all edges have the same ones.

Equations of Yao, Xu, Tu and Zhu, "Efficient Neural Architecture Search via Proximal Iterations", AAAI 2020, numbered
as in ``nascore.methods.nasp``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nascore import gates


def prox_c1(z: Float[Tensor, "*edges op"], live: Bool[Tensor, "*live op"] | None = None) -> Float[Tensor, "*edges op"]:
    """The nearest point with one entry at most, C₁ = {‖a‖₀ = 1}: keep the entry of largest modulus, eq. (3).

    The first of several that are equal.  C₁ is not convex: two neighbours can be sent far apart.
    """
    modulus = z.abs() if live is None else z.abs().masked_fill(~live, -1)
    return z * gates.one_hot(modulus)  # eq. (3): z_k* e_k*, k* = argmax |z_k|


def prox_c2(z: Float[Tensor, "*edges op"]) -> Float[Tensor, "*edges op"]:
    """The nearest point of the box C₂ = {0 ≤ a_k ≤ 1}: clip, eq. (3)."""
    return z.clamp(0, 1)  # eq. (3)


def largest(z: Float[Tensor, "*edges op"], live: Bool[Tensor, "*live op"] | None = None) -> Float[Tensor, "*edges op"]:
    """One-hot of the largest signed entry of every row, the first of several that are equal."""
    return gates.one_hot(z if live is None else z.masked_fill(~live, -torch.inf))


def project(z: Float[Tensor, "*edges op"], live: Bool[Tensor, "*live op"] | None = None) -> Float[Tensor, "*edges op"]:
    """The nearest point of C₁ ∩ C₂: clip(z_k*, 0, 1) e_k* with k* = argmax z_k, by sign.

    Keeping entry k lowers the distance by z² on [0, 1], by 2z − 1 above and by 0 below, which rises with z.  Neither
    of the two other orders is right: to clip first makes a tie of all entries above 1; to select by modulus first may
    keep a negative entry, which the clip then turns into nothing.  Inside the box all three are the same.
    """
    return prox_c2(z) * largest(z, live)


def strongest_inputs(
    strength: Float[Tensor, "*cells edge"], targets: Sequence[int], count: int = 2
) -> Bool[Tensor, "*cells edge"]:
    """Which edges are among the ``count`` strongest of those that lead into their node, the first of equal ones.

    ``targets`` is the node that each edge leads into.
    """
    into, place = torch.tensor(targets), torch.arange(len(targets))
    same = (into[:, None] == into).to(strength.device)
    earlier = (place[:, None] > place).to(strength.device)  # [edge, rival]
    own, rival = strength[..., :, None], strength[..., None, :]
    ahead = same & ((rival > own) | ((rival == own) & earlier))
    return ahead.sum(-1) < count
