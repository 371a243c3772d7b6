"""Fronts by their definition, areas by counting cells of a grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nascore import pareto
from nascore.errors import UserError

GRID = 6
points = st.lists(st.tuples(st.integers(0, GRID), st.integers(0, GRID)), min_size=1, max_size=9)


def beats(a, b):
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(points)
def test_the_front_by_its_definition(some):
    cost, value = zip(*some, strict=True)
    assert pareto.dominated(cost, value).tolist() == [any(beats(other, one) for other in some) for one in some]
    front = [some[i] for i in pareto.front(cost, value)]
    assert front == sorted({one for one in some if not any(beats(other, one) for other in some)})
    assert [value for _, value in front] == sorted(value for _, value in front)


@given(points)
def test_the_area_by_counting(some):
    """Unit cells [c, c+1] × [v, v+1] whose upper cheap corner a point reaches."""
    cost, value = zip(*some, strict=True)
    cells = sum(any(a <= c and b >= v + 1 for a, b in some) for c in range(GRID) for v in range(GRID))
    assert pareto.hypervolume(cost, value, (GRID, 0)) == cells


@given(points)
def test_an_archive_holds_the_front_of_what_it_saw(some):
    archive = pareto.Archive((GRID, 0))
    for n, (cost, value) in enumerate(some):
        area = archive.area
        new = archive.add(cost, value, n)
        assert new == (not any(a <= cost and b >= value for a, b in some[:n]))
        assert archive.area >= area
        costs, values = zip(*some[: n + 1], strict=True)
        assert [p.what for p in archive] == pareto.front(costs, values).tolist()
        assert archive.area == pareto.hypervolume(costs, values, (GRID, 0))


def test_a_penalty_finds_the_hull_of_the_front_and_no_more():
    """max A − λC meets only corners of the convex hull: a point of the front below it is best for no λ."""
    cost, value = np.array([0.1, 0.5, 0.9]), np.array([0.5, 0.6, 0.9])
    assert pareto.front(cost, value).tolist() == [0, 1, 2]
    best = {int((value - lam * cost).argmax()) for lam in np.linspace(0, 3, 301)}
    assert best == {0, 2}


def test_what_makes_no_points():
    assert pareto.hypervolume([], []) == 0
    for cost, value in (([1], [1, 2]), ([[1]], [[1]]), ([np.nan], [1])):
        with pytest.raises(UserError, match="make no points"):
            pareto.front(cost, value)
    with pytest.raises(UserError, match="cost: nan is not a finite number"):
        pareto.Archive().add(float("nan"), 1)
