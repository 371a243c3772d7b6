"""The view of a chain: what it draws is what the rules give, and its controls do what they say."""

import math
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import nasviz
from nascore import mdp, values
from nascore.errors import UserError
from nasviz.labs import chain as lab

COUNTS = (1, 2, 7, 21, 57, 157, 430, 1173)  # sweeps with averages, by the Stirling numbers


def test_the_values_are_those_of_the_rules():
    shown = nasviz.chain(6, "lambda", 0.5, 0.9)
    assert shown.values[1, 0] == pytest.approx(0.5 * 0.9**5, rel=1e-12)  # .295245
    assert nasviz.chain(6, "mc", 0.5).values[1].tolist() == [0.5] * 6
    assert nasviz.chain(6).values[:, 0].tolist() == [0.0] * 6 + [1.0] * 8
    assert nasviz.chain(6, order="reverse").values[1].tolist() == [1.0] * 6
    assert nasviz.chain(6, reward="redistributed").values[1].tolist() == [1.0] + [0.0] * 5


@pytest.mark.parametrize(("delay", "half"), list(enumerate(COUNTS, start=1)))
def test_averages_wait_exponentially_and_the_law_is_drawn(delay, half):
    shown = nasviz.chain(delay, step="1/n")
    assert shown.half() == half
    data = shown.shown()
    assert data["half"] == [shown.half(k) for k in range(delay)] == list(COUNTS[:delay][::-1])
    for n, chance in data["law"]["points"]:
        assert chance == pytest.approx(shown.values[n, 0], abs=1e-12)
    assert data["sweeps"] >= half


def test_half_times_and_their_chart():
    assert lab.half_times("1/n") == [*COUNTS, 3199]
    assert lab.half_times(0.1) == list(range(7, 88, 10))  # linear
    assert lab.half_times(1) == list(range(1, 10))
    assert lab.half_times(0.1, rule="mc") == [7] * 9
    assert lab.half_times(1, rule="lambda", lam=0.5) == [
        next(n for n in range(1, 99) if values.learn(mdp.chain(d), n, lam=0.5)[n, 0] >= 0.5) for d in range(1, 10)
    ]
    chart = lab.half_times_chart(range(1, 7))
    assert "1, 2, 7, 21, 57, 157" in chart.caption
    ET.fromstring(chart.svg())


def test_a_spoilt_value_is_learnt_away():
    shown = nasviz.chain(6)
    shown.spoil(8, 3, 0.0)
    after = shown.values[8:]
    assert after[0].tolist() == [1, 1, 1, 0, 1, 1]
    assert after[1].tolist() == [1, 1, 0, 1, 1, 1]  # the error itself goes back, a state a sweep
    assert after[4].tolist() == [1] * 6
    assert "TD(0) 4, TD(.9) " in shown.text()
    assert shown.text().endswith("Monte Carlo 1.")
    shown.choose(rule="mc")
    assert shown.spoilt
    assert (shown.values[9] == 1).all()
    shown.choose(delay=5)  # another chain
    assert shown.spoilt is None
    shown.spoil(3, 1, 1.0)
    shown.mend()
    assert shown.spoilt is None


def test_a_spoilt_average_needs_more_sweeps_than_are_shown():
    shown = nasviz.chain(6, step="1/n")
    usual = shown.shown()["sweeps"]
    shown.spoil(250, 3, 1.0)
    assert lab.repaired(shown.setting, shown.spoilt, "mc") is None  # a tenth of it is left after 9 · 250 sweeps
    assert "Monte Carlo more than 1000" in shown.text()
    assert shown.shown()["sweeps"] == 2 * usual


def test_the_widget_obeys_and_tells_what_goes_wrong():
    shown = nasviz.chain(6, step="1/n")
    view = shown.widget()
    assert shown.widget() is view
    shown.hear("choose", {"delay": 4, "lam": 0.5})
    assert (view.shown["delay"], view.shown["settings"]["lam"]) == (4, 0.5)
    assert len(view.table) == 4 * 4 * (view.shown["sweeps"] + 1)
    assert np.allclose(np.frombuffer(view.table, "<f4").reshape(-1, 4), shown.values, atol=1e-7)
    shown.hear("spoil", {"sweep": 3, "state": 2, "value": 0.25})
    assert view.shown["spoilt"] == {"sweep": 3, "state": 2, "value": 0.25}
    shown.hear("choose", {"rule": "tdd"})
    assert view.status["error"] == "rule: 'tdd' is not one of lambda, mc, td. Did you mean 'td'?"
    shown.hear("mend", {})
    assert view.status == {"error": ""}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"delay": 9}, "delay: 9 is not a whole number from 1 to 8."),
        ({"step": 0}, "step: 0 is not a number from 0.01 to 1, or '1/n'."),
        ({"step": "n"}, "step: 'n' is not a number from 0.01 to 1, or '1/n'."),
        ({"lam": 2}, "lam: 2 is not a number from 0 to 1."),
        ({"reward": "latee"}, "reward: 'latee' is not one of late, redistributed. Did you mean 'late'?"),
        ({"t": 99}, "t: 99 is not a whole number from 0 to 13."),
    ],
)
def test_a_wrong_argument_is_named(wrong, sentence):
    with pytest.raises(UserError) as raised:
        nasviz.chain(**wrong)
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"step": "1/n", "delay": 8, "t": 1500},
        {"rule": "lambda", "step": 0.3, "order": "reverse"},
        {"rule": "mc", "step": 0.1, "reward": "redistributed", "delay": 1},
        {"hidden": True, "step": 0.1},
    ],
)
def test_the_picture_is_svg_and_hides_what_it_is_told_to(options):
    shown = nasviz.chain(**options)
    picture = shown.picture()
    ET.fromstring(picture.svg())
    assert ("½ after" in picture.svg()) is not shown.hidden
    assert ("reaches" in picture.caption) is not shown.hidden
    assert all(math.isfinite(v) for v in shown.shown()["truth"])


def test_tapes_of_a_small_building():
    built = mdp.building([["no", "yes"]] * 3, lambda taken: taken[0] + 2 * taken[1] * taken[2])
    picture = lab.tapes(built).svg()
    ET.fromstring(picture)
    assert picture.count("+1.5") == 4  # each of the four trajectories with a₀ = 1: its own 1, and ½ for what may follow
    with pytest.raises(UserError, match="32 trajectories are too many"):
        lab.tapes(mdp.building([["no", "yes"]] * 5, sum))
