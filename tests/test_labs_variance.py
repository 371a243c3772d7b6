"""Figures of late and global rewards: the numbers they show against closed forms."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from nascore.errors import UserError
from nascore.mdp import chain
from nasviz.labs.variance import KINDS, LEARNERS, errors, errors_chart, late_noise, noisy_tree, score_cost


def words(chart):
    return [each.text for each in ET.fromstring(chart.svg()).iter() if each.text and each.text.strip()]


def test_samples_needed_follow_the_closed_forms() -> None:
    """Var / n = (0.1 · ¼)², with (T² + T − 1)/16, (T − 1)/16 and 1/16 for the variances."""
    for T in (1, 16, 256):
        shown = [int(re.sub(r"\D", "", each)) for each in words(score_cost(T)) if each.endswith("samples")]
        assert shown == [100 * (T**2 + T - 1), 100 * (T - 1), 100]


def test_measured_dots_lie_on_the_exact_lines() -> None:
    svg = score_cost(4, samples=3000).svg()
    lines = re.findall(r'<path d="M([^"]*)"', svg)
    assert len(lines) == 3
    dots = [tuple(map(float, each)) for each in re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="3.2"', svg)]
    assert len(dots) == 15
    curves = [dict(tuple(map(float, point.split(","))) for point in each.split("L")) for each in lines]
    for k, (x, y) in enumerate(dots):
        assert curves[k // 5][x] == pytest.approx(y, abs=1.5)  # pixels


@pytest.mark.parametrize(("kind", "affected"), [("all ends", 31), ("one end", 3), ("meeting", 31)])
def test_affected_states_are_counted(kind: str, affected: int) -> None:
    """2^d − 1 of them; from one end of many the variance fades as 2^−distance, so 3 stay above 0.1."""
    drawn = late_noise(5, kind)
    assert f"{affected} of 31 states" in words(drawn)[0]
    mdp = noisy_tree(5, kind)
    inner = int((~mdp.terminal).sum())
    assert np.count_nonzero(mdp.noise) == {"all ends": 32, "one end": 1, "meeting": 1}[kind]
    np.testing.assert_allclose(mdp.values(mdp.uniform())[~mdp.terminal], 1)
    circles = [each for each in ET.fromstring(drawn.svg()).iter() if each.tag.endswith("circle")]
    assert len(circles) == 2 * inner
    opacities = [float(each.get("fill-opacity")) for each in circles if each.get("fill-opacity")]
    np.testing.assert_allclose(opacities, mdp.variances(mdp.uniform())[~mdp.terminal], atol=1e-4)
    columns = [each for each in words(drawn) if re.fullmatch(r"\d+ of \d+", each)]
    assert [int(each.split()[2]) for each in columns] == [2**k for k in range(5)][:: -1 if kind == "meeting" else 1]
    assert sum(int(each.split()[0]) for each in columns) == affected


def test_errors_of_learning_where_they_are_known() -> None:
    """On a chain without noise at step size 1: Monte Carlo is done at once, TD(0) has one more state right a sweep."""
    found = errors(chain(4), 5, runs=1, step=1.0)
    assert list(found) == list(LEARNERS)
    assert found["Monte Carlo"].tolist() == [1, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(found["TD(0)"], np.sqrt([1, 0.75, 0.5, 0.25, 0, 0]))
    first = 1 - 0.8 ** np.arange(4)  # 1 − λ^distance
    assert found["TD(0.8)"][1] == pytest.approx(np.sqrt(np.mean(first**2)))
    drawn = errors_chart(found)
    assert len(drawn.figure.data) == 3
    assert "Monte Carlo 0.00" in drawn.caption
    assert "<svg" in drawn.svg()


def test_bad_arguments_are_told() -> None:
    with pytest.raises(UserError, match=r"kind: 'meetin' is not one of .* Did you mean 'meeting'"):
        late_noise(3, "meetin")
    with pytest.raises(UserError, match="count: 0 is not a whole number from 1 to 512"):
        score_cost(0)
    assert set(KINDS) == {"all ends", "one end", "meeting"}
