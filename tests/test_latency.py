"""Whether latencies add up: the bookkeeping, against clocks and modules that are known."""

import numpy as np
import pytest
import torch

from nascore import latency
from nascore.errors import UserError
from nascore.latency import Additivity, additivity
from nascore.ops import OPS
from nascore.space import DARTS
from nascore.task import make_task
from nasviz.labs import latency as lab


def counted(module, x):
    """A clock that tells the truth of a machine where an operation takes as long as it has parameters, and 1 more."""
    if type(module).__name__ == "Child":
        return 7.0 + sum(counted(op, x) for cell in module.cells for op in cell.ops)
    return 1.0 + sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("space", "cells"), [("TOY", 2), ("DARTS", 3)])
def test_latencies_that_add_up_are_found_to_do_so(space, cells, monkeypatch):
    """C(Z) = Σ c·Z: on a machine without overheads the sum over cells, edges and kinds of size is the child's time."""
    monkeypatch.setattr(latency, "seconds", counted)
    found = additivity(make_task("digits", space=space, cells=cells), children=8, rounds=3)
    np.testing.assert_allclose(found.predicted, found.measured)
    assert found.line == pytest.approx((1, 0), abs=1e-6)
    assert found.frame == 7
    assert found.explained == pytest.approx(1)
    assert found.repeated == pytest.approx(1)
    assert (found.prices[..., 0] == 0).all()  # none


def test_children_differ_and_are_the_same_for_a_seed(monkeypatch):
    monkeypatch.setattr(latency, "seconds", counted)
    task = make_task("digits", space="NASP_12", cells=3, channels=2)
    one, other = (additivity(task, children=5, rounds=3, seed=1) for _ in range(2))
    assert np.array_equal(one.children, other.children)
    assert len({tuple(child.ravel()) for child in one.children}) == 5
    cell, edge = np.ogrid[:2, :14]
    assert task.space.allowed[cell, edge, one.children].all()
    assert not np.array_equal(one.children, additivity(task, children=5, rounds=3, seed=2).children)


def test_it_measures_this_machine():
    """Real clocks: a child takes longer than its frame, and the dearer sums the longer."""
    before = torch.random.get_rng_state()
    found = additivity(make_task("digits"), children=12, rounds=7)
    assert torch.equal(before, torch.random.get_rng_state())
    assert (found.measured > found.frame).all()
    assert (found.prices[..., 1:] > 0).all()
    assert np.corrcoef(found.predicted, found.measured)[0, 1] > 0.3


def test_a_call_takes_as_long_as_its_work():
    short, long = (latency.seconds(OPS["conv3"](8, 8, 1).eval(), torch.zeros(64, 8, side, side)) for side in (4, 32))
    assert long > 2 * short > 0


def test_plain_and_back():
    found = Additivity(np.array([[[1, 0]]] * 3), np.full((1, 2, 2), 1e-4), np.arange(3) * 1e-3, 2e-3, np.ones((2, 3)))
    again = Additivity.of(found.plain())
    for name in ("children", "prices", "measured", "halves", "predicted"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name))
    assert again.frame == pytest.approx(2e-3)
    assert found.predicted == pytest.approx([2.2e-3] * 3)


@pytest.mark.parametrize("given", [{"children": 2}, {"rounds": 2}])
def test_too_few(given):
    with pytest.raises(UserError, match=rf"{next(iter(given))}: 2 is not a whole number of at least 3"):
        additivity(make_task("digits"), **given)


def test_the_shipped_measurement_and_its_picture():
    found = lab.stored()
    assert set(found["spaces"]) == {"TOY", "DARTS"}
    for name, plain in found["spaces"].items():
        each = Additivity.of(plain)
        assert len(each.measured) >= 30
        assert each.children.shape[1:] == ((2, 5) if name == "TOY" else (2, len(DARTS.edges)))
        svg = lab.additivity_chart(each, name).svg()
        assert svg.count("<circle") == len(each.measured)
        assert f"{each.explained:.0%}" in svg
