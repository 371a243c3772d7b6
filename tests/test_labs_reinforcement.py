"""Figures of the lesson on reinforcement: what they tell, from the recordings and the toys themselves."""

import json
from itertools import islice
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch

from nascore import methods
from nascore.latency import Additivity
from nascore.record import Recording
from nascore.run import Run
from nascore.space import TOY
from nascore.task import make_task
from nascore.toys import Parity
from nasviz.labs import latency, ranking
from nasviz.labs import reinforcement as lab
from nasviz.theme import colour


def words(chart):
    return [node.text or "" for node in ET.fromstring(chart.svg()).iter() if node.tag.endswith("text")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A few iterations of REINFORCE, and the shipped SNAS."""
    path = tmp_path_factory.mktemp("runs") / "one.sqlite"
    with Run(methods.get("reinforce"), make_task("digits", epochs=1), record=path) as run:
        list(islice(run, 5))
    return {"REINFORCE": Recording.open(path), "SNAS": Recording.open("digits-snas")}


def test_reinforce_tells_all_edges_the_same(runs):
    run = runs["REINFORCE"]
    assert lab.rows_told(run) == [0, 1, 2, 3, 4]
    for t in range(5):
        told, drawn = lab.heard(run, t)
        assert told == pytest.approx(np.full(10, run.metric("reward")[t] - run.metric("baseline")[t]), abs=1e-6)
        assert (np.eye(5)[drawn].reshape(2, 5, 5) == run[t].gates).all()


def test_snas_tells_each_edge_its_taylor_credit(runs):
    step = runs["SNAS"][200]
    told, drawn = lab.heard(runs["SNAS"], 200)
    for edge, (z, credit) in enumerate(zip(step.gates.reshape(10, 5), step.credit.reshape(10, 5), strict=True)):
        assert told[edge] == pytest.approx(sum(map(float.__mul__, z.tolist(), credit.tolist())), rel=1e-6)
        assert drawn[edge] == z.tolist().index(max(z))
    assert len({round(value, 9) for value in told}) > 5


def test_bars_have_the_colours_of_what_was_drawn(runs):
    chart = lab.signals(runs, 3)
    fills = [node.get("fill") for node in ET.fromstring(chart.svg()).iter() if node.tag.endswith("rect")]
    for run in runs.values():
        mine = [colour(TOY.ops[op]) for op in lab.heard(run, 3)[1]]
        assert any(fills[k : k + 10] == mine for k in range(len(fills)))
    assert {"reward units", "nats"} <= set(words(chart))


def test_the_four_outcomes():
    joint = torch.tensor([[[0.25, 0.25], [0.25, 0.25]], [[0.0, 0.9], [0.07, 0.03]]])
    run = Parity(joint, torch.tensor([0.5, 0.97]), torch.tensor([1.39, 0.4]))
    told = words(lab.xor_picture({"a": run}, 1))
    assert [word for word in told if word[1:2] == "."] == ["0.00", "0.90", "0.07", "0.03"]
    assert "E[R] = 0.97" in told
    assert "E[R] = 0.97" in words(lab.xor_picture({"a": run}, 99))  # the last step it has
    assert "E[R] = 0.50" in words(lab.xor_picture({"a": run}, 0))


def test_children_have_the_measured_times_of_their_operations():
    found, known = lab.children(), ranking.measured()
    timed = latency.stored()["spaces"]["TOY"]
    assert found.accuracy == pytest.approx((known.alone(0, "valid") + known.alone(1, "valid")) / 2)
    assert 0.5 < found.explained < 1
    slope, intercept = Additivity.of(timed).line
    for child in (0, 17):
        prices = [timed["prices"][k][e][op] for k in range(2) for e, op in enumerate(known.children[child][k])]
        microseconds = 1e6 * intercept + slope * (timed["frame"] + sum(prices))
        assert found.latency[child] == pytest.approx(microseconds / 1e3)
    assert (found.latency <= found.dearest).all()


def test_rates_are_drawn_where_they_are(tmp_path):
    def row(rate, seed, inherited, retrained, entropy):
        shared = {"method": "reinforce", "knobs": {}, "architecture_lr": rate, "seed": seed}
        return {**shared, "inherited": [0.1, inherited], "retrained": retrained, "entropy": [1.5, entropy]}

    rows = [row(0.02, 100, 0.7, 0.9, 1.2), row(0.02, 101, 0.8, None, 1.0), row(0.3, 100, 0.9, 0.9, 0.0)]
    file = tmp_path / "tuning.json"
    file.write_text(json.dumps({"rows": [*rows, {**rows[0], "method": "td"}, {**rows[0], "knobs": {"decay": 1}}]}))
    chart = lab.rates(file)
    page = ET.fromstring(chart.svg())
    dots = [float(node.get("cy")) for node in page.iter() if node.tag.endswith("circle")]
    assert len(dots) == 3 + 2 + 3 + 3  # inherited, retrained where there is one, entropy twice
    assert dots[0] - dots[1] == pytest.approx(dots[1] - dots[2])  # .7, .8, .9
    assert "REINFORCE by the learning rate of its logits; seeds 100, 101" in words(chart)
    assert "not here" in " ".join(words(lab.rates(tmp_path / "none.json")))
