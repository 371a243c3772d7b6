"""Effect or luck? What a fan of futures says: paired runs that share their chance and differ in one knob.

Works on plain arrays and needs no torch. A *future* is one metric of one forked run, a value a step, NaN where it was
not measured; a fan holds several for each of two settings, and future k of one setting saw the same batches and the
same noise as future k of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nascore.errors import UserError, number

Verdict = Literal["effect", "luck", "cannot tell"]

CONFIDENCE = 0.98
"""Of the interval: of knobs that do nothing one in fifty is called an effect. At 95 % it would be one in twenty."""

NEGLIGIBLE = 0.2
"""A difference this small, in standard deviations between seeds, is none: less than a "small" effect (Cohen, 1988)."""

_RESOLUTION = 1e-6  # of float32, relative: two orders of the same sum differ by as much


@dataclass(frozen=True)
class Difference:
    """The paired difference, changed − unchanged, in the unit of the metric.

    Attributes:
        verdict: see `judge`.
        n: pairs of futures.
        mean: the mean difference.
        low, high: its interval.
        confidence: of the interval.
        spread: standard deviation between the seeds of one setting, what luck alone does.
    """

    verdict: Verdict
    n: int
    mean: float
    low: float
    high: float
    confidence: float
    spread: float


@dataclass(frozen=True)
class Score:
    """How an expected curve did.

    Attributes:
        distance: mean absolute distance to the median future, in the unit of the metric.
        direction: whether it rightly rose or fell from the start; None where the futures do not agree which.
    """

    distance: float
    direction: bool | None


def third(steps: int) -> int:
    """How many steps the last third of `steps` has, at least one."""
    return max(1, steps // 3)


def late(futures: ArrayLike) -> NDArray[np.float64]:
    """Mean of each future over the last third of its steps.

    Args:
        futures: [future, step].

    Returns:
        [future].

    Raises:
        UserError: a future has no measured value there.
    """
    values = _futures("futures", futures)
    end = values[:, -third(values.shape[1]) :]
    empty = ~np.isfinite(end).any(1)
    if empty.any():
        raise UserError(
            f"futures: number {int(empty.argmax())} has no measured value in its last {end.shape[1]} steps; "
            "fork for more steps, or choose a metric that is measured at every step."
        )
    return np.asarray(np.nanmean(end, 1))


def judge(unchanged: ArrayLike, changed: ArrayLike, confidence: float = CONFIDENCE) -> Difference:
    """Whether the changed knob did something, from the paired futures of both settings.

    With d_k the difference of pair k over the last third, d̄ their mean and s_d their standard deviation, the interval
    is d̄ ± t(n − 1) · s_d / √n (Student, 1908), honest where the differences are near normal. The yardstick is s, the
    standard deviation between the seeds of one setting. The verdict is

    * "effect" where the whole interval lies beyond a negligible difference, 0.2 s, on one side of 0;
    * "luck" where it lies within ±s: whatever the knob does, another seed does as much;
    * "cannot tell" otherwise: both are possible.

    It speaks of the futures of this one state of the search, of which the seeds are a sample.

    Args:
        unchanged: [future, step].
        changed: [future, step], in the order of `unchanged`.
        confidence: of the interval, between 0.5 and 0.9999.

    Raises:
        UserError: the shapes differ, there are fewer than two pairs, or a future was not measured late enough.
    """
    from scipy.stats import t

    confidence = float(number("confidence", confidence, low=0.5, high=0.9999))
    a, b = late(unchanged), late(changed)
    if len(a) != len(b) or len(a) < 2:
        raise UserError(
            f"futures: {len(a)} and {len(b)} make no pairs; give as many of one as of the other, 2 or more."
        )
    d, n = b - a, len(a)
    mean = float(d.mean())
    half = float(t.ppf((1 + confidence) / 2, n - 1) * d.std(ddof=1) / np.sqrt(n))
    low, high = mean - half, mean + half
    spread = float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))  # pooled: both settings have n seeds
    rounding = _RESOLUTION * float(np.abs([a, b]).max())
    nothing, luck = max(NEGLIGIBLE * spread, rounding), max(spread, rounding)
    verdict: Verdict = "cannot tell"
    if low > nothing or high < -nothing:
        verdict = "effect"
    elif max(-low, high) <= luck:
        verdict = "luck"
    return Difference(verdict, n, mean, low, high, confidence, spread)


def score(drawn: ArrayLike, futures: ArrayLike, start: float) -> Score:
    """How a curve drawn beforehand compares with the futures of one setting.

    Args:
        drawn: [step], the curve expected.
        futures: [future, step].
        start: the metric before the fork, from where curves rise or fall.

    Raises:
        UserError: the curve has another length than the futures, or a value that is not finite.
    """
    values, curve = _futures("futures", futures), np.asarray(drawn, dtype=float)
    if curve.shape != values.shape[1:] or not np.isfinite(curve).all():
        raise UserError(f"drawn: a curve of shape {curve.shape} is not one of {values.shape[1]} finite numbers.")
    middle = median(values)
    ends = np.sign(late(values) - start)
    agree = bool((ends == ends[0]).all())
    direction = bool(np.sign(late(curve[None])[0] - start) == ends[0]) if agree else None
    return Score(float(np.nanmean(np.abs(curve - middle))), direction)


def median(futures: ArrayLike) -> NDArray[np.float64]:
    """The median future, [step]; NaN where none was measured."""
    values = _futures("futures", futures)
    known = np.isfinite(values).any(0)
    middle = np.full(values.shape[1], np.nan)
    middle[known] = np.nanmedian(values[:, known], 0)
    return middle


def _futures(name: str, given: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(given, dtype=float)
    if values.ndim != 2 or not values.size:
        raise UserError(f"{name}: an array of shape {values.shape} is not [future, step] with something in it.")
    return values
