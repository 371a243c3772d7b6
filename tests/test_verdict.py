"""Effect, luck or cannot tell: the interval against scipy and by simulation, the verdicts, the score of a curve."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nascore.errors import UserError
from nascore.verdict import CONFIDENCE, NEGLIGIBLE, judge, late, median, score, third

numbers = st.floats(-1e3, 1e3, allow_nan=False).map(lambda x: round(x, 3))


def flat(*values: float, steps: int = 6) -> np.ndarray:
    """Futures that stay where they are."""
    return np.repeat(np.array(values, float)[:, None], steps, 1)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_interval_is_that_of_the_paired_t_test(pairs, confidence):
    a, b = np.array(pairs).T
    found = judge(flat(*a), flat(*b), confidence)
    assert found.n == len(pairs)
    assert found.mean == pytest.approx((b - a).mean())
    if np.ptp(b - a) < 1e-6:  # scipy warns and gives nan; the interval is a point
        assert found.high - found.low == pytest.approx(0, abs=1e-5)
        return
    ends = stats.ttest_rel(b, a).confidence_interval(confidence)
    assert (found.low, found.high) == (pytest.approx(ends.low, abs=1e-9), pytest.approx(ends.high, abs=1e-9))


def test_the_interval_covers_as_often_as_it_says():
    """Fans with a known mean difference: the share of intervals that hold it is the confidence."""
    rng = np.random.default_rng(0)
    for confidence in (0.9, CONFIDENCE):
        fans = 4000
        common, own = rng.normal(size=(fans, 4, 1)), rng.normal(0.3, 0.5, size=(fans, 4, 1))
        found = [judge(a, a + d, confidence) for a, d in zip(common, own, strict=True)]
        covered = np.mean([one.low <= 0.3 <= one.high for one in found])
        assert abs(covered - confidence) < 3 * np.sqrt(confidence * (1 - confidence) / fans)


@pytest.mark.parametrize("paired", [0.0, 0.9, 0.999])
def test_a_knob_that_does_nothing_is_seldom_called_an_effect(paired):
    """Nulls of every kind of pairing, from none to nearly perfect."""
    rng = np.random.default_rng(1)
    fans = 2000
    shared = rng.normal(size=(fans, 4, 1)) * np.sqrt(paired)
    a, b = (shared + rng.normal(size=(fans, 4, 1)) * np.sqrt(1 - paired) for _ in "ab")
    verdicts = [judge(x, y).verdict for x, y in zip(a, b, strict=True)]
    assert verdicts.count("effect") / fans <= 1 - CONFIDENCE + 3 * np.sqrt((1 - CONFIDENCE) / fans)
    if paired == 0.999:  # tight pairs can tell that there is nothing
        assert verdicts.count("luck") / fans > 0.95


def test_the_spread_between_seeds_is_pooled_over_both_settings():
    a, b = [1.0, 2.0, 4.0, 3.0], [2.0, 9.0, 1.0, 1.0]
    assert judge(flat(*a), flat(*b)).spread == pytest.approx(np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2))


def test_verdicts():
    seeds = np.array([1.0, 2.0, 3.0, 4.0])
    s = seeds.std(ddof=1)
    wobble = np.array([1.0, -1.0, 1.0, -1.0])

    def verdict(shift: float, noise: float) -> str:
        return judge(flat(*seeds), flat(*(seeds + s * (shift + noise * wobble)))).verdict

    assert verdict(0.5, 0.01) == "effect"  # smaller than another seed makes, but in every pair
    assert verdict(-5.0, 0.5) == "effect"
    assert verdict(0.0, 0.1) == "luck"
    assert verdict(NEGLIGIBLE / 2, 0.01) == "luck"  # clear of 0, but negligible
    assert verdict(0.0, 1.0) == "cannot tell"
    assert verdict(2.0, 1.0) == "cannot tell"


def test_pairs_that_are_all_alike_need_no_division():
    seeds = (0.3, 0.4, 0.6, 0.5)
    same = judge(flat(*seeds), flat(*seeds))
    assert (same.verdict, same.mean, same.low, same.high) == ("luck", 0, 0, 0)
    assert judge(flat(1, 1, 1, 1), flat(1, 1, 1, 1)).verdict == "luck"
    assert judge(flat(1, 1, 1, 1), flat(2, 2, 2, 2)).verdict == "effect"  # chance plays no part in this metric
    rounded = judge(flat(1, 1, 1, 1), flat(*[1 + 1e-7] * 4))
    assert rounded.verdict == "luck"  # another order of the same sum


def test_the_last_third_is_what_counts():
    rows = np.arange(60.0)[None] + np.array([[0.0], [100.0]])
    assert late(rows).tolist() == [49.5, 149.5]
    assert (third(60), third(2), third(1)) == (20, 1, 1)
    rows[:, 45:] = np.nan  # measured now and then
    assert late(rows).tolist() == [42, 142]


def test_score_of_a_curve():
    futures = np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 4.0], [2.0, np.nan, 5.0]])
    assert median(futures).tolist() == [1.0, 2.5, 4.0]
    found = score([1.5, 2.5, 3.0], futures, start=1.0)
    assert found.distance == pytest.approx((0.5 + 0 + 1) / 3)
    assert found.direction is True
    assert score([1.0, 1.0, 0.5], futures, start=1.0).direction is False
    assert score([1.0, 1.0, 1.0], futures, start=1.0).direction is False  # they all rose
    assert score([1.0, 1.0, 5.0], futures, start=4.0).direction is None  # they do not agree
    futures[:, 1] = np.nan  # no future was measured there: the curve is not compared there
    assert score([1.0, 99.0, 4.0], futures, start=1.0).distance == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: judge(flat(1, 2), flat(1, 2, 3)), "2 and 3 make no pairs"),
        (lambda: judge(flat(1), flat(1)), "1 and 1 make no pairs"),
        (lambda: judge([1, 2], [1, 2]), r"shape \(2,\) is not \[future, step\]"),
        (lambda: judge(np.zeros((0, 3)), np.zeros((0, 3))), "something in it"),
        (lambda: judge(flat(1, 2), flat(1, 2), 1.0), "confidence: 1.0 is not a number from 0.5 to 0.9999"),
        (lambda: late([[1, 2, np.nan], [1, 2, 3]]), "number 0 has no measured value in its last 1 steps"),
        (lambda: score([1, 2], flat(1, 2), 0), r"drawn: a curve of shape \(2,\)"),
        (lambda: score([np.nan] * 6, flat(1, 2), 0), "finite"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_needs_no_torch():
    code = "import sys, nascore.verdict as v; v.judge([[1., 2.]] * 3, [[2., 2.]] * 3); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
