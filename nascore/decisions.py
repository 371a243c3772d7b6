"""What one global score costs: the variance of gradient estimates for independent decisions, exactly.

T decisions a_t ~ Bernoulli(p) are scored by R = Σ_t c_t a_t, and J = E[R].  For the logit of every decision t, an
estimate of ∂J/∂logit_t = p (1 − p) c_t from one sample is the score times a credit:

    g_t = (a_t − p) · credit,     credit = R             ("global")
                                           R − E[R]      ("mean baseline")
                                           R − b*_t      ("optimal baseline", b*_t = E[(a_t − p)² R] / E[(a_t − p)²])
                                           c_t a_t       ("local")                                              (1)

All four have that mean.  For c_t = 1 and p = ½ their variances are (T² + T − 1)/16, twice (T − 1)/16, and 1/16.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from nascore.errors import UserError, choose, number
from nascore.mdp import Array

ESTIMATORS = ("global", "mean baseline", "optimal baseline", "local")


def gradient(weights: Sequence[float] | Array, p: float = 0.5) -> Float[Array, " decision"]:
    """∂J/∂logit_t = p (1 − p) c_t, what every estimator of eq. (1) has as its mean."""
    found: Array = p * (1 - p) * _checked(weights, p)
    return found


def variances(weights: Sequence[float] | Array, p: float = 0.5, estimator: str = "global") -> Float[Array, " decision"]:
    """Var[g_t] of one sample for every decision, eq. (1); ``weights`` are the c_t.

    With x = a_t − p and S the score of the other decisions, E[g_t²] = Σ_a Pr[a] x² ((c_t a + E[S] − b)² + Var[S]).
    """
    c = _checked(weights, p)
    a = np.array([[0.0], [1.0]])  # a_t, on the first axis
    squared = np.array([[1 - p], [p]]) * np.square(a - p)  # Pr[a] x²
    others, spread = p * (c.sum() - c), p * (1 - p) * (np.square(c).sum() - np.square(c))  # E[S], Var[S]
    if choose("estimator", estimator, ESTIMATORS) == "local":
        others = spread = np.zeros_like(c)  # nothing but c_t a_t
    second = (squared * (np.square(c * a + others - _baseline(c, p, estimator)) + spread)).sum(0)
    found: Array = second - np.square(gradient(c, p))
    return found


def sample(
    weights: Sequence[float] | Array,
    rng: np.random.Generator,
    count: int,
    p: float = 0.5,
    estimator: str = "global",
) -> Float[Array, "sample decision"]:
    """``count`` samples of the estimate g_t of eq. (1) for every decision."""
    c = _checked(weights, p)
    a = (rng.random((count, len(c))) < p).astype(float)
    credit = c * a if choose("estimator", estimator, ESTIMATORS) == "local" else (a @ c)[:, None]
    found: Array = (a - p) * (credit - _baseline(c, p, estimator))
    return found


def _baseline(c: Float[Array, " decision"], p: float, estimator: str) -> Float[Array, " decision"]:
    """The b of eq. (1) for every decision."""
    mean: Array = np.full_like(c, p * c.sum())
    if estimator == "optimal baseline":
        return mean + (1 - 2 * p) * c  # E[x² a_t] / E[x²] is 1 − p, not p: the rare option has the larger x²
    return mean if estimator == "mean baseline" else np.zeros_like(c)


def _checked(weights: Sequence[float] | Array, p: float) -> Float[Array, " decision"]:
    number("p", p, 0, 1)
    c = np.asarray(weights, dtype=float)
    if c.ndim != 1 or not len(c) or not np.isfinite(c).all():
        raise UserError(f"weights: {weights!r} must be a list of one or more finite numbers.")
    return c
