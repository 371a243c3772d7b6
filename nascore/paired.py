"""Paired seeds: medians with bootstrap intervals, win counts, and curves read at equal cost.

Works on plain numbers, one a seed, and needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nascore.errors import UserError

Results = ArrayLike | Mapping[int, float]
"""A value a seed: in the same order for every method, or by seed."""


@dataclass(frozen=True)
class Comparison:
    """Paired runs a − b: median difference with its 95 % bootstrap interval, and how often a was larger.

    ``p`` is that of the two-sided sign test: how often as many wins or more, on either side, come from coin tosses.
    """

    n: int
    median: float
    low: float
    high: float
    wins: int
    p: float


def interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Median of ``values`` (one a seed) and its bootstrap interval: (median, low, high).

    Percentile bootstrap with 9 999 resamples and a fixed seed (Efron, 1979).
    """
    from scipy.stats import bootstrap

    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or len(sample) < 2 or not np.isfinite(sample).all():
        raise UserError(f"values: {values!r} must be two or more finite numbers, one a seed.")
    centre = float(np.median(sample))
    if np.ptp(sample) == 0:  # every resample is the sample itself
        return centre, centre, centre
    found = bootstrap(
        (sample,), np.median, confidence_level=confidence, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return centre, float(found.low), float(found.high)


def compare(a: Results, b: Results) -> Comparison:
    """Compare two methods seed by seed: median of a − b, its interval, a's wins, and the sign test.

    Given by seed, only seeds that both have count; given as plain lists, value i of both is the same seed's.

    Raises:
        UserError: fewer than two pairs, lists of different length, or a value that is not finite.
    """
    from scipy.stats import binomtest

    first, second = _paired(a, b)
    difference = first - second
    median, low, high = interval(difference)
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0  # ties say nothing
    return Comparison(len(difference), median, low, high, wins, p)


def league(results: Mapping[str, Results]) -> dict[tuple[str, str], Comparison]:
    """Every method against every other: ``league(…)["nasp", "darts"].wins`` is how often NASP had more.

    Pairs are of shared seeds, so two entries may rest on different numbers of them.
    """
    return {(a, b): compare(results[a], results[b]) for a, b in permutations(results, 2)}


def _paired(a: Results, b: Results) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if isinstance(a, Mapping) != isinstance(b, Mapping):
        raise UserError("compare: one of the two is given by seed and the other is not, so they cannot be paired.")
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        shared = sorted(set(a) & set(b))
        if len(shared) < 2:
            raise UserError(
                f"compare: the seeds {sorted(a)} and {sorted(b)} share {len(shared)}; 2 or more are needed."
            )
        a, b = [a[seed] for seed in shared], [b[seed] for seed in shared]
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape:
        raise UserError(f"compare: values of shape {first.shape} and {second.shape} make no pairs, one a seed.")
    return first, second


# At equal cost ------------------------------------------------------------------------------------------------------


def read_at(x: ArrayLike, y: ArrayLike, at: float) -> float:
    """``y`` as last measured when ``x`` (updates, processor time) had reached ``at``: a curve read at equal cost.

    Nothing is interpolated: what lies between two measurements was not known.

    Raises:
        UserError: no measurement so early, or x and y are not lists of one length with x rising.
    """
    along, values = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if along.ndim != 1 or along.shape != values.shape or not len(along) or (np.diff(along) < 0).any():
        raise UserError(f"x: {along.shape} numbers for y of {values.shape} must be as many, in rising order.")
    if not at >= along[0]:
        raise UserError(f"at: {at:g} lies before the first measurement, at {along[0]:g}.")
    return float(values[np.searchsorted(along, at, side="right") - 1])


def over_random(
    parameters: float,
    accuracy: float,
    pool_parameters: ArrayLike,
    pool_accuracies: ArrayLike,
    within: float = 0.25,
) -> float:
    """How much more accurate a child is than the median random child of about as many parameters.

    Yang, Esperança and Carlucci (2020) ask for the gain over random architectures trained in the same way; here only
    those whose parameters differ by a share of ``within`` or less count, so that size alone wins nothing.

    Raises:
        UserError: no random child has such a size.
    """
    sizes, accuracies = np.asarray(pool_parameters, dtype=float), np.asarray(pool_accuracies, dtype=float)
    near = np.abs(sizes - parameters) <= within * parameters
    if not near.any():
        raise UserError(
            f"parameters: {parameters:g} is not within {within:.0%} of any random child, which have {sizes.min():g} "
            f"to {sizes.max():g}."
        )
    return float(accuracy - np.median(accuracies[near]))
