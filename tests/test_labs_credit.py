"""Credit on a cell: the numbers of the panel and of its charts, against each other and by hand."""

import json
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from nets import seeded

from nascore import estimators
from nascore.errors import UserError
from nascore.estimators import ENUMERABLE, Children
from nascore.record import Recording
from nasviz.labs import credit as lab
from nasviz.labs import credit_charts as charts

MIX = torch.randn(3, 15, generator=seeded(2), dtype=torch.float64) * 0.4


def crooked(z):
    """A reward in which every gate matters to every other, and *none* contributes nothing."""
    z = (z * torch.tensor([0.0, 1.0, 1.0], dtype=z.dtype)).flatten()
    return (MIX[0] @ z).tanh() - (MIX[1:] @ z).square().sum().log1p()


ALPHA = torch.randn(5, 3, generator=seeded(3), dtype=torch.float64) * 0.5
BENCH = lab.Bench(Children.run(ENUMERABLE, crooked), ALPHA)


def words(svg):
    return " ".join(node.text or "" for node in ET.fromstring(svg).iter() if node.tag.endswith("text"))


def panel(method="taylor", edge=1, truth="cell", chosen=(1, 2, 2, 1, 2)):
    return lab.CreditOnACell(BENCH, method, edge, truth, chosen)


def test_the_curve_of_a_gate_ends_at_the_credits():
    """At gate 1 the tangent tells Taylor's credit and the curve that of leaving the edge out; slopes by differences."""
    at = panel()
    curve = at.curve
    assert curve.gates[[0, -1]].tolist() == [0, 1]
    assert curve.taylor(-1) == pytest.approx(float(BENCH.credit("taylor")[at.child, 1]), abs=1e-12)
    assert curve.true(-1) == pytest.approx(float(BENCH.credit("leave one out")[at.child, 1]), abs=1e-12)
    assert curve.miss(-1) == pytest.approx(curve.taylor(-1) - curve.true(-1))
    assert curve.miss(0) == 0

    z = torch.eye(3, dtype=torch.float64)[list(at.chosen)].view(ENUMERABLE.shape)
    for k in (4, 13):
        for h, told in ((0.0, curve.losses[k]), (1e-6, curve.slopes[k])):
            there = []
            for side in (1, -1):
                gated = z.clone()
                gated[0, 1] *= curve.gates[k] + side * h
                there.append(-float(crooked(gated)))
            assert told == pytest.approx((there[0] - there[1]) / (2 * h) if h else there[0], abs=1e-8)


def test_presets():
    """Affine: no miss anywhere. Quadratic: twice the truth at every gate. Batch norm: flat, and a cliff at 0."""
    affine, square, norm = (lab.preset(name) for name in ("affine", "quadratic", "batch norm"))
    for k in range(1, lab.POINTS):
        assert affine.miss(k) == pytest.approx(0, abs=1e-12)
        assert square.taylor(k) == pytest.approx(2 * square.true(k), abs=1e-12)
    assert abs(affine.true(-1)) > 0.1
    assert np.abs(norm.slopes[4:]).max() < 5e-3  # the ε of batch norm rounds the edge of the cliff
    assert norm.true(-1) > 0.5
    assert abs(norm.taylor(-1)) < 1e-3
    with pytest.raises(UserError, match="preset: 'cubic' is not one of affine, batch norm, quadratic"):
        lab.preset("cubic")


@pytest.mark.parametrize("backwards", [False, True])
def test_what_methods_share_out(backwards):
    """Exact values add up to R − E[R] in any order; REINFORCE says that to every edge; RUDDER's sum is R − b."""
    children = BENCH.children
    beyond = children.reward - children.probability(BENCH.p) @ children.reward
    torch.testing.assert_close(BENCH.credit("values", backwards).sum(-1), beyond)
    torch.testing.assert_close(BENCH.credit("reinforce"), beyond[:, None].expand(-1, 5))
    assert (BENCH.credit("rudder").sum(-1) - children.reward).std() < 1e-12
    assert BENCH.order(backwards) == ([4, 3, 2, 1, 0] if backwards else [0, 1, 2, 3, 4])


def test_the_order_changes_the_credit():
    assert (BENCH.credit("values") - BENCH.credit("values", True)).abs().max() > 0.01


def test_the_panel_obeys():
    at = panel()
    view = at.widget()
    for name, value, found in (
        ("method", "reinforce", lambda s: s["advantage"] and s["method"] == "reinforce"),
        ("edge", 3, lambda s: s["edge"] == 3 and s["option"] == 1),
        ("option", 2, lambda s: s["option"] == 2),
        ("gate", 4, lambda s: s["at"] == 4 and s["told"].startswith("gate 0.20")),
        ("truth", "quadratic", lambda s: "2.00 × the truth" in s["gate"]),
        ("method", "values", lambda s: s["ordered"]),
        ("draw", None, lambda s: len(s["edges"]) == 5),
        ("best", None, lambda s: f"R = {lab.drawn.signed(float(BENCH.children.reward.max()))}" in s["said"]),
    ):
        at.hear(name, {"value": value})
        assert found(view.shown), name
        json.dumps(view.shown, allow_nan=False)
        for part in ("cell", "tape", "gate"):
            ET.fromstring(view.shown[part])
    forward = view.shown["tape"]
    at.hear("backwards", {"value": True})
    assert view.shown["tape"] != forward
    at.hear("method", {"value": "taylor"})
    assert at.order == [0, 1, 2, 3, 4]  # Taylor knows of no order
    before = view.shown
    at.hear("method", {"value": "tailor"})
    assert view.status["error"].startswith("method: 'tailor' is not one of")
    assert "Did you mean 'taylor'?" in view.status["error"]
    assert view.shown == before
    at.hear("gate", {"value": 21})
    assert view.status["error"].startswith("gate: 21 is not a whole number from 0 to 20")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_still_picture_tells_the_numbers(theme):
    at = panel("leave one out")
    told = words(at.svg(theme))
    for value in BENCH.credit("leave one out")[at.child].tolist():
        assert lab.drawn.signed(value) in told
    assert f"{lab.drawn.signed(at.curve.miss(at.at))} is the miss" in told


def test_the_panel_opens_where_it_is_told():
    ops = ["conv3", "skip", "none", "conv3", "skip"]
    shown = lab.credit_on_a_cell("reinforce", 1, "affine", ops, BENCH).widget().shown
    assert (shown["method"], shown["edge"], shown["truth"], shown["option"]) == ("reinforce", 1, "affine", 1)
    missed = BENCH.credit("leave one out")[BENCH.best]
    assert lab.credit_on_a_cell(on=BENCH).widget().shown["edge"] == int(missed.argmax())
    for wrong, message in (
        ({"edge": 5}, "edge: 5 is not a whole number from 0 to 4"),
        ({"ops": ["skip"]}, r"len\(ops\): 1 is not"),
        ({"ops": ["skip", "skip", "conf3", "skip", "skip"]}, "operation: 'conf3' is not one of.* 'conv3'"),
        ({"truth": "cel"}, "preset: 'cel' is not one of"),
    ):
        with pytest.raises(UserError, match=message):
            lab.credit_on_a_cell(on=BENCH, **wrong)


def test_on_digits():
    """The bench of the lesson, hardly trained: all children are there, and the gradient is that of their mean."""
    bench = lab.bench(1, 1)
    assert len(bench.children.reward) == 243
    assert lab.bench(1, 1) is bench
    alpha = bench.alpha.clone().requires_grad_()
    expected = bench.children.probability(alpha.softmax(-1)) @ bench.children.reward
    torch.testing.assert_close(torch.autograd.grad(expected, alpha)[0], bench.exact)


def test_errors_chart():
    """Bars are the errors at these passes, sorted; what cannot pay for a sample says so."""
    found = charts.moments(BENCH, draws=20)
    assert set(found) == set(estimators.ESTIMATORS)
    length = float(BENCH.exact.norm())
    told = words(charts.errors_chart(found, BENCH, 60).svg())
    for name, it in found.items():
        error = it.error(60) / length
        assert estimators.ESTIMATORS[name].label in told
        assert np.isnan(error) or f"{error:.2f}" in told
    assert told.count("cannot afford one sample") == sum(np.isnan(it.error(60)) for it in found.values()) > 0
    assert "*" in told  # 20 draws do not show the bias of all
    assert "takes 243 passes" in told
    assert "takes 243 passes" not in words(charts.errors_chart(found, BENCH, 243).svg())


def test_learning_chart():
    counts = (5, 200)
    found = charts.learning(BENCH, counts, seeds=2)
    assert all(table.shape == (2, 2) for table in found.values())
    assert found["rudder, learnt"][1, 0] < found["rudder, learnt"][0, 0]  # the bias falls with what is known
    assert "RUDDER, bias" in charts.learning_chart(BENCH, counts, found).svg()


def test_flow_chart():
    """Without batch norm all is passed on, node by node; with it the first node's credit is not accounted for."""
    assert words(charts.flow_chart(False).svg()).count("all of it is passed on") == 2
    assert words(charts.flow_chart(True).svg()).count("is not accounted for") == 1


def test_over_updates():
    """Credit counts with its gate, advantage as it is; bins are means, and rows without either are left out."""
    gates, credit = np.zeros((4, 1, 2, 3)), np.full((4, 1, 2, 3), 2.0)
    gates[:, 0, 0, 1], gates[:, 0, 1, 2], credit[1] = 1, 0.5, np.nan
    seen = SimpleNamespace(column={"gates": gates, "credit": credit, "advantage": None}.get)
    table, kind = charts.over_updates(seen, 10)
    assert (table.tolist(), kind) == ([[2, 2, 2], [1, 1, 1]], "credit")
    advantage = np.full((4, 1, 2, 3), np.nan)
    advantage[:, 0, :, 1] = [[1, 3], [2, 3], [3, 3], [4, 3]]
    seen = SimpleNamespace(column={"gates": gates, "credit": None, "advantage": advantage}.get)
    table, kind = charts.over_updates(seen, 2)
    assert (table.tolist(), kind) == ([[1.5, 3.5], [3, 3]], "advantage")
    with pytest.raises(UserError, match="neither credit nor advantage"):
        charts.over_updates(SimpleNamespace(column=lambda name: None))

    told = words(charts.heat_chart({"SNAS": Recording.open("digits-snas")}).svg())
    assert "SNAS: credit, full colour" in told
    assert "reduce 0→1" in told
