"""Plumbing: what is drawn of autograd's graph is what the graph is, by walking it and by the gradients themselves."""

import re
from xml.etree import ElementTree as ET

import pytest
import torch

from nascore import gates
from nascore.errors import UserError
from nascore.task import make_task
from nasviz.labs import plumbing as lab
from nasviz.labs.plumbing import ARCHITECTURE, GATES, OBJECTIVE, WEIGHTS


@pytest.fixture(scope="module")
def shown():
    return lab.plumbing()


def walked(node, seen):
    """Every node behind one."""
    if node is not None and node not in seen:
        seen.add(node)
        for source, _ in node.next_functions:
            walked(source, seen)
    return seen


def watched_loss(level):
    """A step by hand: a watched task, its logits, what was noted of a backward pass for both, or for the logits."""
    task = lab._Watched(make_task("digits", epochs=1))
    alpha = task.logits()
    optimiser = task.optimisers(weights=task.network, architecture=alpha)
    p = gates.softmax(alpha, task.allowed)
    seen = gates.tap(p)
    loss = task.loss(task.batch("train"), seen)
    optimiser.backward(loss, None if level == "single" else [alpha])
    return task, alpha, seen, loss, task.half


@pytest.mark.parametrize("level", ["single", "bi"])
def test_nodes_and_gradients_are_those_of_autograd(level):
    task, alpha, seen, loss, half = watched_loss(level)
    weights = list(task.network.parameters())
    found = walked(loss.grad_fn, set())
    assert sum(station.nodes.total() for station in half.stations.values()) == len(found)
    assert half.split == "train"

    ends = {node for node in found if level == "single" or getattr(node, "variable", None) is alpha}
    leads = {node for node in found if walked(node, set()) & ends}
    assert half.visited == len(leads)  # autograd visits what leads to a leaf that is asked for, and no more

    assert half.gradient(ARCHITECTURE) == pytest.approx(float(alpha.grad.norm()), rel=1e-5)
    assert half.gradient(GATES) == pytest.approx(float(seen.grad.norm()), rel=1e-5)
    if level == "bi":
        assert half.gradient(WEIGHTS) is None
        assert all(w.grad is None for w in weights)
    else:
        assert half.gradient(WEIGHTS) == pytest.approx(
            float(torch.cat([w.grad.flatten() for w in weights]).norm()), rel=1e-5
        )


def test_where_credit_comes_back(shown):
    """DARTS and SNAS have a way from the loss through the gates to α, REINFORCE has none: it goes round the network."""
    (rl,), (snas, moved), (alpha_first, weights) = (shown.found[name] for name in ("reinforce", "snas", "darts"))
    for half in (snas, alpha_first):
        assert half.pipes[ARCHITECTURE, GATES].gradient > 0
        assert half.pipes[GATES, "cell 1"].first < half.pipes[ARCHITECTURE, GATES].first  # against the values
        assert (ARCHITECTURE, OBJECTIVE) not in half.pipes
    assert GATES not in rl.stations
    assert rl.pipes[ARCHITECTURE, OBJECTIVE].gradient > 0
    assert [pair for pair in rl.pipes if pair[0] == ARCHITECTURE] == [(ARCHITECTURE, OBJECTIVE)]
    assert rl.gradient(WEIGHTS) > 0
    assert alpha_first.gradient(WEIGHTS) is None
    assert weights.gradient(ARCHITECTURE) is None
    assert [half.split for half in (rl, snas, alpha_first, weights)] == ["train+search"] * 2 + ["search", "train"]
    both = {ARCHITECTURE, WEIGHTS}
    assert [set(half.moved) for half in (rl, snas, moved, alpha_first, weights)] == [
        both,
        set(),
        both,
        {ARCHITECTURE},
        {WEIGHTS},
    ]
    assert snas.pipes[GATES, OBJECTIVE].gradient == 0  # the price is there; at λ = 0 nothing comes through


def test_alpha_of_reinforce_gets_the_advantage_times_the_score(shown):
    """‖∂/∂α‖ = |R − b| ‖Z − p‖ with the near-uniform p of the first iterations: the norm of Z − p is known."""
    (rl,) = shown.found["reinforce"]
    advantage = rl.metrics["reward"] - rl.metrics["baseline"]
    edges, ops = 10, 5
    size = (edges * ((1 - 1 / ops) ** 2 + (ops - 1) / ops**2)) ** 0.5
    assert rl.gradient(ARCHITECTURE) == pytest.approx(abs(advantage) * size, rel=0.05)


def test_the_picture_lights_what_was_visited(shown):
    def lit(frame):
        page = ET.fromstring(shown.picture(frame).svg())
        on = [node for node in page.iter() if " on" in f" {node.get('class', '')}".replace("station", "")]
        return [node.find("{*}title").text for node in on if node.find("{*}title") is not None]

    back = lit("0 backward")
    assert sum(title.startswith("architecture → gates") for title in back) == 2
    assert sum(title.startswith("architecture → objective") for title in back) == 1
    assert not any("number" in title for title in back)
    assert sum("number" in title for title in lit("0 forward")) == 4  # α to z, z to two cells, the reward
    assert lit("0 move") == []
    told = shown.text("1 backward").splitlines()
    assert told[0].startswith("REINFORCE: nothing more to do")
    assert "α gets nothing, θ gets" in told[2]
    assert len(shown.frames()) == 6
    svg = shown.shown()["svg"]
    assert re.search(r'class="[^"]* on"', svg) is None  # the page lights it


def test_wrong_names_are_told(shown):
    with pytest.raises(UserError, match="dart"):
        lab.plumbing("dart")
    with pytest.raises(UserError, match=r"'random' sends nothing back to an architecture"):
        lab.plumbing("random")
    before = shown.iteration
    shown.advance()
    assert shown.iteration == before + 1
