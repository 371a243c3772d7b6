"""Do two measurements rank the same children alike?  Inherited against stand-alone accuracy, one seed against another.

Kendall, "A new measure of rank correlation", Biometrika 1938, and "The treatment of ties in ranking problems", 1945.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nascore.errors import UserError, number
from nascore.graph import CellGraph
from nascore.space import Space

if TYPE_CHECKING:
    from nascore.task import Task

CHILDREN = 60  # that supernets are judged by, unless others are given
RESAMPLES = 999


def draw(space: Space, n: int = CHILDREN, seed: int = 0) -> NDArray[np.int64]:
    """``n`` different children, every allowed operation equally likely: indices of operations ``[child, cell, edge]``.

    ``UserError`` where the space has fewer than ``n`` children.
    """
    choices = space.allowed.sum(-1)
    possible = float(np.prod(choices, dtype=float))
    number("n", n, low=1, high=possible, integer=True)
    allowed = [np.flatnonzero(row) for row in space.allowed.reshape(-1, len(space.ops))]
    rng, found = np.random.default_rng(seed), dict[tuple[int, ...], None]()
    while len(found) < n:
        found[tuple(int(rng.choice(row)) for row in allowed)] = None
    return np.array(list(found)).reshape(n, *choices.shape)


def graphs(space: Space, child: ArrayLike) -> dict[str, CellGraph]:
    """The cells of one child, given as indices ``[cell, edge]``."""
    return space.decode(np.eye(len(space.ops))[np.asarray(child)])


def inherited(
    task: Task, children: Sequence[Mapping[str, CellGraph]] | None = None, splits: Sequence[str] = ("valid",)
) -> dict[str, list[int]]:
    """How many images each child classifies rightly with its weights in ``task.network``; by default those of ``draw``.

    For each of ``splits`` two lists: ``valid_stale`` with batch norm's statistics as inherited, ``valid_recalibrated``
    with those of the child's own sums.
    """
    import torch

    from nascore import evaluate

    found: dict[str, list[int]] = {f"{split}_{how}": [] for split in splits for how in ("stale", "recalibrated")}
    batches = torch.split(task.images("train").images, evaluate.CHUNK)
    for cells in [graphs(task.space, child) for child in draw(task.space)] if children is None else children:
        child = evaluate.inherit(task, cells)
        for how in ("stale", "recalibrated"):
            if how == "recalibrated":
                evaluate.recalibrate(child, batches)
            for split in splits:
                images = task.images(split)
                found[f"{split}_{how}"].append(round(evaluate.accuracy(child, images) * len(images.labels)))
    return found


@dataclass(frozen=True)
class Agreement:
    """How alike two measurements rank ``n`` children.

    Attributes:
        tau: Kendall's τ-b: 1 the same order, 0 none, −1 the opposite; pairs that tie in either measurement say nothing.
        low, high: its 95 % bootstrap interval over the children.
        ties: share of the pairs that the first measurement cannot tell apart.
        top: of the ``k`` best by the first measurement, the share that is among the ``k`` best by the second; where
            children tie for the last place, the mean over which of them gets it.
        chance: what ``top`` would be for an order drawn by lot, k / n.
    """

    n: int
    tau: float
    low: float
    high: float
    ties: float
    k: int
    top: float
    chance: float


def agree(a: ArrayLike, b: ArrayLike, k: int = 10) -> Agreement:
    """Compare how ``a`` and ``b``, a value a child, rank the children.

    ``UserError`` unless both have the same three or more finite values and 1 ≤ ``k`` ≤ their number.
    """
    from scipy.stats import bootstrap

    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.ndim != 1 or first.shape != second.shape or len(first) < 3:
        raise UserError(f"b: of shape {second.shape} beside a's {first.shape}; give three or more children, once each.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise UserError("a, b: a value is not finite.")
    n, k = len(first), int(number("k", k, low=1, high=len(first), integer=True))

    signs = [np.sign(values[:, None] - values) for values in (first, second)]
    pairs = np.stack([signs[0] * signs[1], signs[0] ** 2, signs[1] ** 2])  # right less wrong, and what does not tie

    def tau(children: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        """τ-b of some of the children, ``[*resample]``; one that is drawn twice ties with itself in both."""
        times = (np.moveaxis(children, axis, -1)[..., None, :] == np.arange(n)[:, None]).sum(-1)
        agreeing, *different = np.einsum("...i,pij,...j->p...", times, pairs, times, optimize=True)
        scale = np.sqrt(different[0] * different[1])
        # 0 / 0 where all children tie: such a measurement has no order to agree with.
        return np.asarray(np.divide(agreeing, scale, out=np.zeros_like(scale), where=scale > 0))

    everyone = np.arange(n)
    interval = bootstrap(
        (everyone,), tau, vectorized=True, batch=100, n_resamples=RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    ties = 1 - pairs[1].sum() / (n * (n - 1))
    top = float((chosen(first, k) * chosen(second, k)).sum() / k)
    return Agreement(n, float(tau(everyone)), float(interval.low), float(interval.high), float(ties), k, top, k / n)


def chosen(values: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """The probability with which each child is among the ``k`` best, ties being broken by lot."""
    last = np.sort(values)[-k]
    above, level = values > last, values == last
    return np.asarray(above + level * (k - above.sum()) / level.sum())
