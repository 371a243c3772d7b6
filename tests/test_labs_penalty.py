"""Figures on the penalty: the numbers behind them, by brute force."""

import json

import numpy as np
import pytest

from nascore.record import Recording
from nascore.run import Step
from nascore.space import TOY
from nasviz.labs import penalty

RNG = np.random.default_rng(0)
PRICES = {name: RNG.random(TOY.shape).tolist() for name in ("parameters", "madds", "memory")}


@pytest.fixture
def recording():
    probs = RNG.dirichlet(np.ones(5), size=(30, 2, 5)).astype(np.float32)
    credit = RNG.normal(size=(30, *TOY.shape)).astype(np.float32)
    credit[..., 0] = 0
    steps = [Step(t, "update", {"loss": 1.0}, probs[t], probs[t], credit[t]) for t in range(30)]
    return Recording.from_steps(steps, {"space": TOY.to_json(), "prices": PRICES, "metrics": {"loss": {}}})


def test_price_is_the_weighted_mean(recording):
    third = sum(np.array(table) for table in PRICES.values()) / 3
    assert np.allclose(penalty.price(recording), third)
    mixed = penalty.price(recording, parameters=3, memory=1)
    assert np.allclose(mixed, 0.75 * np.array(PRICES["parameters"]) + 0.25 * np.array(PRICES["memory"]))
    with pytest.raises(ValueError, match="'colour'"):
        penalty.price(recording, colour=1)


def test_pulls_average_the_last_rows(recording):
    credit = recording.column("credit")
    assert np.allclose(penalty.pulls(recording, 25, window=4), credit[22:26].mean(0), atol=1e-6)
    assert np.allclose(penalty.pulls(recording, 1, window=20), credit[:2].mean(0), atol=1e-6)


def test_reversals_are_where_none_starts_to_win(recording):
    """Just below λ* some op still has positive net pull, just above none has."""
    credit, prices = penalty.pulls(recording, 29), penalty.price(recording)
    turning = penalty.reversals(credit, prices, TOY.ops)
    for cell, edge in np.ndindex(turning.shape):
        lam = turning[cell, edge]
        net = lambda value: (credit - value * prices)[cell, edge, 1:].max()  # noqa: B023
        assert net(lam * 1.001 + 1e-9) <= 0
        assert lam == 0 or net(lam * 0.999) > 0


def test_reversals_know_the_ends():
    credit = np.array([[[0.0, -1.0, -2.0], [0.0, 1.0, -1.0]]])
    prices = np.array([[[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]])
    assert penalty.reversals(credit, prices, ("none", "skip", "conv1")).tolist() == [[0.0, np.inf]]


def test_tug_counts_the_edges_lost(recording):
    turning = penalty.reversals(penalty.pulls(recording, 29), penalty.price(recording), TOY.ops)
    for lam in (0.0, 0.3, 1.0, 5.0):
        title = penalty.tug(recording, 29, lam).layout.title.text
        assert f"on {int((turning <= lam).sum())} of 10 edges" in title


def test_the_score_has_the_same_mean_and_more_variance():
    figure = penalty.estimators_chart(1.0)
    exact, pathwise, score = figure.data
    assert np.allclose(pathwise.y, score.y, atol=4 * max(score.error_y.array) / np.sqrt(20_000))
    assert np.abs(np.array(exact.y) - pathwise.y).max() > 0.05  # at τ = 1 both miss
    assert min(np.array(score.error_y.array) / np.array(pathwise.error_y.array)) > 2
    cold = penalty.estimators_chart(0.1)
    assert np.allclose(cold.data[0].y, cold.data[1].y, atol=0.05)


def test_the_shipped_sweep_has_its_source_and_falls_in_cost():
    swept = penalty.sweep()
    json.dumps(swept, allow_nan=False)
    assert "benchmarks/" in swept["command"]
    rows = sorted(swept["rows"], key=lambda row: row["lam"])
    assert rows[0]["child_cost"]["median"] > rows[-1]["child_cost"]["median"]
    assert all(
        row[name]["low"] <= row[name]["median"] <= row[name]["high"]
        for row in rows
        for name in ("child_cost", "accuracy")
    )
    penalty.sweep_chart(rows).svg()
