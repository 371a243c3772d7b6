"""The controller view: what it shows is what the controller says, and a choice changes what comes after it alone."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch

import nasviz
from nascore import Recording, toys
from nascore.controllers import decisions_of, dependence, every
from nascore.errors import UserError
from nascore.jobs import Job
from nascore.space import TOY
from nasviz.labs import controller as lab
from nasviz.labs.controller_picture import headings, option_name


@pytest.fixture(scope="module")
def shipped():
    return lab.course("digits-enas-free")


def parts(picture, name):
    return [node for node in ET.fromstring(picture).iter() if name in (node.get("class") or "").split()]


def test_columns_are_the_probabilities_of_the_controller(shipped):
    view = lab.Controller(shipped)
    taken = torch.eye(5)[view.taken][None]
    p = shipped.policy(taken, shipped.bounds).p[0].detach()
    columns = parts(view.shown()["svg"], "decision")
    assert len(columns) == 10
    for t, column in enumerate(columns):
        bars = [node for node in column.iter() if "seg" in (node.get("class") or "")]
        heights = torch.tensor([float(bar.get("height")) / 150 for bar in bars]).view(2, 5)
        torch.testing.assert_close(heights, p[t].expand(2, 5), atol=1e-4, rtol=0)
        (ring,) = [node for node in column.iter() if node.get("class") == "ring"]
        assert float(ring.get("height")) == pytest.approx(150 * float(p[t, view.taken[t]]), abs=0.01)
        assert column.get("aria-label").startswith(view.decisions[t].name)


def test_a_choice_moves_what_comes_after_it_alone():
    view = nasviz.controller("xor")
    before = view.probabilities(view.taken)
    view.take(0, 1 - view.taken[0])
    after = view.probabilities(view.taken)
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1], before[1].flip(0), atol=0.02, rtol=0)
    assert view.forced == [0]
    assert len(parts(view.shown()["svg"], "forced")) == 1
    assert "Framed: what you have chosen" in view.text()
    view.release()
    assert (view.forced, view.taken) == ([], view.drawn)


def test_arcs_are_the_dependence():
    view = nasviz.controller("xor")
    (arc,) = parts(view.shown()["svg"], "arc")
    assert (arc.get("data-from"), arc.get("data-to")) == ("0", "1")
    found = dependence(view.course.policy, every(toys.PARITY))[0, 1]
    assert float(found) > 0.98
    assert "Strongest: first moves second by" in view.text()
    alone = nasviz.controller("xor, factorised")
    assert parts(alone.shown()["svg"], "arc") == []
    assert "No decision moves a later one at all." in alone.text()


def test_moments_are_steps_of_learning():
    view = nasviz.controller("xor", at=0)
    assert list(view.course.moments) == [f"step {step}" for step in range(0, 151, 10)]
    torch.testing.assert_close(view.probabilities(view.taken), torch.full((2, 2), 0.5), atol=0.02, rtol=0)
    view.look(15)
    joint = view.course.policy(every(toys.PARITY)).log_likelihood.exp().view(2, 2).detach()
    torch.testing.assert_close(joint, toys.xor("lstm", steps=151).joint[-1])
    assert nasviz.controller("xor").at == 15


def test_the_shipped_controller_is_that_of_its_recording(shipped):
    """Drawn with other noise, its mean probabilities are those that the recording shows, but for sampling."""
    recording = Recording.open("digits-enas-free")
    assert list(shipped.moments) == ["row 0", "row 120", "row 240", "row 480", "row 900"]
    for name, numbers in shipped.moments.items():
        shipped.policy.load_state_dict(numbers)
        drawn = shipped.policy.sample(200, torch.Generator().manual_seed(1), shipped.bounds)
        recorded = recording[int(name.split()[1])].probs
        assert np.abs(drawn.p.mean(0).view(TOY.shape).numpy() - recorded).max() < 0.05


def test_a_run_that_is_recorded_is_read_from_its_checkpoints(tmp_path):
    settings = {"cell": "micro", "channels": 2, "batch_size": 16, "measure_every": 100}
    job = Job("enas", "digits", 0, 2, settings, record=tmp_path / "run.sqlite", checkpoint_every=4)
    run = job.open()
    for _ in range(3):
        next(run)
    view = nasviz.controller(Recording.open(tmp_path / "run.sqlite"))
    assert view.shown()["grows"]
    assert list(view.course.moments) == ["row 0"]
    assert len(view.decisions) == 16
    for _ in range(7):
        next(run)
    view.hear("refresh", {})
    assert list(view.course.moments) == ["row 0", "row 8"]
    assert view.at == 1  # the newest was looked at, and is
    run.close()
    view.hear("refresh", {})
    assert not view.shown()["grows"]
    view.hear("take", {"decision": 2, "option": 0})
    assert view._error == "option: 'none' is not allowed in 'normal 0 operation 1'."
    saved = Recording.open(tmp_path / "run.sqlite").save(tmp_path / "saved.sqlite")
    with pytest.raises(UserError, match=r"has no checkpoint to read a controller from"):
        nasviz.controller(Recording.open(saved))


def test_names():
    edges, micro = decisions_of(TOY), decisions_of(TOY, "micro")
    assert headings(edges)[:2] == [("normal", "k−2→0"), ("normal", "k−1→0")]
    assert headings(micro)[4:7] == [("normal, node 1", "input"), ("normal, node 1", "input"), ("normal, node 1", "op")]
    assert headings(toys.PARITY)[1] == ("", "second")
    assert option_name(micro[0], 1) == "k−1"
    assert option_name(edges[0], 3) == "conv 3×3"


def test_pictures_and_commands(shipped):
    view = lab.Controller(shipped, seed=3)
    for theme in ("light", "dark"):
        svg = view.picture(theme).svg()
        ET.fromstring(svg)
        assert len(re.findall(r'class="decision', svg)) == 10
    first = list(view.drawn)
    children = set()
    for _ in range(20):
        view.hear("draw", {})
        children.add(tuple(view.drawn))
    assert len(children) > 1
    view.hear("look", {"at": 0})
    assert view.shown()["at"] == 0
    view.hear("look", {"at": 7})
    assert view._error == "at: 7 is not a whole number from 0 to 4."
    widget = view.widget()
    assert widget is view.widget()
    view.take(0, 1)
    assert widget.shown["forced"] == view.forced
    assert len(first) == 10


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("xo", r"source: 'xo' is not one of digits-enas-free, xor, xor, factorised. Did you mean 'xor'"),
        ("digits-snas", r"source: 'digits-snas' is not one of"),
    ],
)
def test_unknown_source(source, message):
    with pytest.raises(UserError, match=message):
        nasviz.controller(source)
    with pytest.raises(UserError, match="the recording is of 'snas', which has no controller"):
        nasviz.controller(Recording.open("digits-snas"))
