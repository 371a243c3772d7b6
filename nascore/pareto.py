"""Two aims at once: which points no other beats in cost and in value, and how much of the plane they rule.

A point is an architecture: its cost (lower is better) and its value, say an accuracy (higher is better). No torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nascore.errors import UserError, number

REFERENCE = (1.0, 0.0)  # as dear as anything, and worth nothing


class Point(NamedTuple):
    """A cost, a value, and what has them."""

    cost: float
    value: float
    what: Any = None


def dominated(cost: ArrayLike, value: ArrayLike) -> NDArray[np.bool_]:
    """Which points another one beats: it costs no more, is worth no less, and is better in one of the two.

    Raises:
        UserError: not as many finite costs as values.
    """
    c, v = _pairs(cost, value)
    no_worse = (c <= c[:, None]) & (v >= v[:, None])  # [point, other]
    better = (c < c[:, None]) | (v > v[:, None])
    return np.asarray((no_worse & better).any(1))


def front(cost: ArrayLike, value: ArrayLike) -> NDArray[np.int64]:
    """The points that none beats, by rising cost, which is by rising value too; of equal ones the first."""
    c, v = _pairs(cost, value)
    kept = np.flatnonzero(~dominated(c, v))
    _, first = np.unique(c[kept], return_index=True)  # on a front, points of one cost are equal
    return kept[first]


def hypervolume(cost: ArrayLike, value: ArrayLike, reference: tuple[float, float] = REFERENCE) -> float:
    """Area of the plane that the points dominate, up to the ``reference`` (cost, value); points beyond it add nothing.

    Zitzler and Thiele, "Multiobjective optimization using evolutionary algorithms", 1998: no front can have a larger
    area than one that is nowhere worse.
    """
    c, v = _pairs(cost, value)
    dearest, least = (float(number("reference", each)) for each in reference)
    kept = front(c, v) if len(c) else np.zeros(0, np.int64)
    kept = kept[(c[kept] < dearest) & (v[kept] > least)]
    widths = dearest - c[kept]
    heights = np.diff(v[kept], prepend=least)  # each point adds a strip on top of the cheaper ones
    return float((widths * heights).sum())


@dataclass
class Archive:
    """The points so far that none beats, as a search goes on.

    Attributes:
        reference: (cost, value) from which ``area`` is measured.
    """

    reference: tuple[float, float] = REFERENCE
    _kept: list[Point] = field(default_factory=list)

    def add(self, cost: float, value: float, what: Any = None) -> bool:
        """Take in a point; True if no earlier one is as good, and then those that it beats are gone."""
        cost, value = float(number("cost", cost)), float(number("value", value))
        if any(old.cost <= cost and old.value >= value for old in self._kept):
            return False
        self._kept = [old for old in self._kept if old.cost < cost or old.value > value]
        self._kept.append(Point(cost, value, what))
        self._kept.sort(key=lambda point: point.cost)
        return True

    @property
    def area(self) -> float:
        """``hypervolume`` of the points."""
        return hypervolume([p.cost for p in self._kept], [p.value for p in self._kept], self.reference)

    def __iter__(self) -> Iterator[Point]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _pairs(cost: ArrayLike, value: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    c, v = np.asarray(cost, dtype=float), np.asarray(value, dtype=float)
    if c.ndim != 1 or c.shape != v.shape or not (np.isfinite(c).all() and np.isfinite(v).all()):
        raise UserError(
            f"cost, value: {c.shape} and {v.shape} numbers make no points; give as many finite costs as values."
        )
    return c, v
