"""Figures of redistributed reward: what they show is what the equations give."""

import re

import numpy as np
import pytest

from nascore.errors import UserError
from nasviz.labs import rudder as lab


@pytest.mark.parametrize("model", ["exact", "linear", "linear, a weight a step"])
@pytest.mark.parametrize("episode", [0, 3])
def test_a_tape_hands_back_what_was_paid(model, episode):
    for learnt in (0, 1, 5, 60):
        drawn = lab.tape(learnt, episode, model)
        shared, paid = re.search(r"ΣR = (\S+), paid (\S+)\.", drawn.caption).groups()
        assert shared == paid
        assert drawn.svg().count("<rect") > 10


def test_models_that_know_every_coin_are_exact():
    """A linear g with seven weights is right as soon as the episodes tell them apart; before, it is not."""
    off = [float(v) for v in re.findall(r"off by ([\d.]+)", lab.tapes(60).svg())]
    assert off[:3] == [0, 0, 0]
    assert 0 < off[3] < 0.3  # the LSTM
    few = [float(v) for v in re.findall(r"off by ([\d.]+)", lab.tapes(2).svg())]
    assert few[0] == 0
    assert min(few[2:]) > 0.1


def test_what_is_kept_and_what_goes():
    facts = {q: lab.kept_facts(q) for q in (0.0, 0.5, 1.0)}
    for found in facts.values():
        assert found.off < 1e-12
        assert found.same
    assert facts[1.0].to_come < 1e-12 < facts[0.5].to_come < facts[0.0].to_come
    assert facts[1.0].greedy == 1.0
    assert "100% right" in lab.kept(1.0).caption
    assert "the same in every state" in lab.kept(0.0).caption


def test_race_of_the_key():
    found = lab.key_race((1, 4), ("mc", "rudder"), runs=10, most=300)
    assert {agent: list(by) for agent, by in found.items()} == {"mc": [1, 4], "rudder": [1, 4]}
    drawn = lab.key_chart(found)
    assert [list(trace.y) for trace in drawn.figure.data] == [
        [float(np.median(count)) for count in by.values()] for by in found.values()
    ]
    assert "RUDDER" in drawn.caption


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lab.tape(61), "learnt: 61 is not a whole number from 0 to 60"),
        (lambda: lab.tape(1, 10), "episode: 10 is not a whole number from 0 to 9"),
        (lambda: lab.tape(1, 0, "exakt"), r"model: 'exakt' is not one of .* Did you mean 'exact'"),
        (lambda: lab.kept(1.5), "quality: 1.5 is not a number from 0 to 1"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(UserError, match=message):
        call()
