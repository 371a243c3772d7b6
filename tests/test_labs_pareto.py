"""The plane of cost and accuracy: what is drawn is what the reward says."""

import re

import numpy as np
import pytest

import nasviz
from nascore import pareto as fronts
from nascore.errors import UserError
from nasviz.labs import pareto

FORMS = [(0.4, 0.0, 0.0, 0.0), (0.3, -0.07, -0.07, 0.0), (0.25, 0.0, -1.0, 0.0), (0.5, -0.2, -0.5, 0.3)]


@pytest.mark.parametrize("form", FORMS)
def test_a_curve_is_of_equal_reward(form):
    cost = np.linspace(0.02, 1, 40)
    np.testing.assert_allclose(pareto.reward(cost, pareto.equal(0.7, cost, *form), *form), 0.7)


def test_the_shipped_children():
    """60 of them; the most accurate is best where the cost does not count, and lies on the front."""
    cost, accuracy = pareto.alone()
    assert len(cost) == len(accuracy) == 60
    assert (cost.min() > 0, cost.max() <= 1, accuracy.max() < 1) == (True, True, True)
    assert pareto.best(cost, accuracy, *FORMS[0]) == accuracy.argmax()
    costs = [cost[pareto.best(cost, accuracy, 0.4, w, w, 0)] for w in np.linspace(0, -1, 21)]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 3  # of nine children on the front, as for a penalty: those on its hull
    assert len(fronts.front(cost, accuracy)) == 9
    hard = pareto.best(cost, accuracy, 0.25, 0, -2, 0)
    assert accuracy[hard] == accuracy[cost <= 0.25].max()


def test_the_picture_says_what_is_best():
    cost, accuracy = [0.1, 0.5, 0.9, 0.6], [0.5, 0.8, 0.9, 0.7]
    shown = nasviz.pareto((cost, accuracy), x="latency", y="accuracy of today")
    svg = shown().svg()
    assert {"latency", "accuracy of today", "R = A", "3 of 4"} <= set(re.findall(r">([^<>]+)</text>", svg))
    assert f"{fronts.hypervolume(cost, accuracy):.3f}" in svg
    ring = r'<circle cx="([\d.]+)" cy="([\d.]+)" r="8.0"'
    dear, cheap = (re.search(ring, shown(**values).svg()) for values in ({}, {"lam": 1.0}))
    assert float(cheap[1]) < float(dear[1])
    assert "R = A (C/T)^−0.5 − 0.1 C" in shown(below=-0.5, above=-0.5, lam=0.1).svg()


def test_searches_are_drawn_as_they_went():
    cost, accuracy = pareto.seen("digits-snas")
    assert len(cost) == len(accuracy) > 10
    drawn = pareto.trade(searches={"SNAS": "digits-snas"})
    assert ">SNAS</text>" in drawn.svg()
    assert "inherited weights" in drawn.caption


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": ([], [])}, "points: there are none"),
        ({"points": ([1], [1, 2])}, "cost, value: .* make no points"),
        ({"below": 0.1}, "below: 0.1 is not a number from -2 to 0"),
        ({"target": 0}, "target: 0 is not a number from 0.01 to 1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        pareto.trade(**arguments)
