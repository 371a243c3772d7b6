"""The panel of the two choices: what it shows, refuses, runs and restores; the map and the table of the methods."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from nascore import choices, methods
from nascore.choices import COMBINATIONS, CREDIT, GATES, LEVELS, compose, named
from nascore.errors import UserError
from nascore.record import Recording, shipped
from nascore.runner import Runner
from nasviz.labs.choices import (
    TwoChoices,
    called,
    draws,
    first,
    grid,
    listing,
    marked,
    matrix,
    passes,
    recorded,
    rows,
    two_choices,
)


def until(true: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[TwoChoices]:
    """The panel with a cockpit whose searches run in a thread."""
    found = two_choices(record=tmp_path / "runs.sqlite", epochs=1, runner=Runner("thread"))
    found.widget()
    yield found
    found.cockpit.close()


# ------------------------------------------------------------------------------------------------- the text


def text(lines: list[dict[str, Any]]) -> list[str]:
    return ["".join(word for _, word in line["tokens"]) for line in lines]


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: choices.title(*c))
def test_the_marked_text_is_the_text(combination: choices.Combination) -> None:
    source = compose(*combination)
    generator = source[source.index("def ") :].splitlines()
    assert text(marked(source)) == generator
    before = compose("softmax", "through", 2)
    lines = marked(source, before)
    assert text([line for line in lines if line["mark"] != "gone"]) == generator
    old = text([line for line in lines if line["mark"] != "new"])
    assert old[2:] == before[before.index("def ") :].splitlines()[2:]  # without name and title
    assert any(line["mark"] for line in lines) == (combination != ("softmax", "through", 2))
    json.dumps(lines)


def test_kinds_of_tokens() -> None:
    (first, *_, last) = marked(compose("softmax", "through", 2))
    assert [pair for pair in first["tokens"] if pair[0]] == [["keyword", "def"], ["name", "softmax_through_2"]]
    assert ["keyword", "yield"] in last["tokens"]
    assert ["string", '"weights"'] in last["tokens"]


# ------------------------------------------------------------------------------------------------ the panel


def test_it_opens_on_a_recording(panel: TwoChoices) -> None:
    shown = panel.shown()
    assert shown["name"] == "DARTS"
    assert shown["file"] == "nascore/methods/darts.py"
    assert panel.cockpit.recording.id == Recording.open("digits-darts").id
    assert [item[0] for item in shown["menus"]["gates"]] == list(GATES)
    assert [item[0] for item in shown["menus"]["credit"]] == list(CREDIT)
    for name, position in (("gates", 0), ("credit", 1)):
        for value, why, _ in shown["menus"][name]:
            other = ["softmax", "through", 2]
            other[position] = value
            assert (why == "") == (tuple(other) in COMBINATIONS)
    json.dumps(shown)


def test_a_switch_runs_and_a_named_one_has_the_bits_of_the_method_file(panel: TwoChoices) -> None:
    """The text, the name and the run follow the menus; live rows are compared with the method file's recording."""
    panel.cockpit.epochs = None  # as the recording was made
    panel.hear("choose", {"gates": "concrete"})
    assert panel.shown()["name"] == ""
    assert any(line["mark"] == "new" for line in panel.shown()["lines"])
    panel.hear("choose", {"levels": 1})
    assert panel.shown()["name"] == "SNAS"
    mine = lambda: panel.cockpit.recording.meta["method"] == "concrete_through_1"
    until(lambda: mine() and len(panel.cockpit.recording) > 3, "live rows")
    until(lambda: "rows so far" in panel.status()["same"], "a comparison")
    found = panel.status()["same"]
    assert float(found.removesuffix(".").split()[-1]) < 1e-3 if "another machine" in found else "the bits" in found
    panel.hear("restore", {})
    until(lambda: panel.cockpit.recording.id == Recording.open("digits-snas").id, "the recording")
    assert panel.status()["error"] == ""


def test_what_does_not_run_leaves_everything_as_it_is(panel: TwoChoices) -> None:
    before = panel.cockpit.recording.id
    panel.hear("choose", {"credit": "natural"})
    shown = panel.shown()
    assert shown["refused"] == choices.refusal("softmax", "natural", 2)
    assert shown["asked"] == ["softmax", "natural", "2"]
    assert shown["title"] == "softmax × through × 2 levels"
    assert panel.cockpit.recording.id == before
    panel.at_once = False
    panel.hear("nearest", {})
    assert panel.combination == panel.asked == choices.nearest("softmax", "natural", 2)
    assert panel.shown()["refused"] == ""


def test_without_a_run_a_switch_shows_what_is_recorded(panel: TwoChoices) -> None:
    panel.hear("at_once", {"value": False})
    panel.hear("choose", {"levels": 1})
    until(lambda: panel.cockpit.recording.id == Recording.open("digits-darts-single").id, "DARTS with one level")
    panel.hear("choose", {"gates": "concrete", "levels": 2})
    until(lambda: len(panel.cockpit.recording) == 0, "nothing of a search without a name")
    assert panel.same() == ""


def test_errors_are_shown(panel: TwoChoices) -> None:
    panel.hear("choose", {"gates": "sofmax"})
    assert "sofmax" in panel.status()["error"]
    panel.hear("choose", {"gates": "softmax"})
    assert panel.status()["error"] == ""


def test_wrong_arguments() -> None:
    with pytest.raises(UserError, match="Did you mean 'concrete'"):
        two_choices("concret")
    with pytest.raises(UserError, match="does not go with gates 'prox'"):
        two_choices("prox", "through")


def test_the_recording_of_a_method_is_found_by_its_options() -> None:
    assert recorded("darts") == "digits-darts"
    assert recorded("darts", level="single") == "digits-darts-single"
    assert recorded("snas") == "digits-snas"  # not those whose penalty was turned
    assert recorded("snas", estimator="score") == ""
    for combination in COMBINATIONS:
        if name := named(*combination):
            title = recorded(name[0], **name[1])
            assert title in {"", *shipped()}
            assert not title or Recording.open(title).meta["method"] == name[0]


# ----------------------------------------------------------------------------------------------- the pictures


def words(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter() if node.tag.endswith("text")]


def test_the_still_picture_has_equations_and_text() -> None:
    for combination in COMBINATIONS:
        said = words(listing(combination).svg())
        assert any(GATES[combination[0]].equation in line for line in said)
        assert any(CREDIT[combination[1]].equation in line for line in said)
        source = compose(*combination)
        assert set(source[source.index("def ") :].splitlines()) <= set(said)


def test_the_map_has_every_combination() -> None:
    said = words(grid("prox", "exact", 2).svg())
    assert said.count("NASP 2") == 1
    unnamed = [some for some in COMBINATIONS if named(*some) is None]
    assert sum(said.count(f"· {level}") for level in LEVELS) == len(unnamed)
    assert len([line for line in said if line[-2:] in (" 1", " 2")]) == len(COMBINATIONS)


def test_the_matrix_is_made_of_the_traits() -> None:
    said = words(matrix().svg())
    every = rows()
    assert {name for name, _ in every} >= {called(name) for name in methods.METHODS}
    for name, traits in every:
        at = said.index(name)
        line = said[at : at + 9]
        flags = ["✓" if each else "–" for each in (traits.differentiable, traits.discrete, traits.complete)]
        facts = [traits.gates, traits.credit, str(traits.levels), traits.probs]
        assert line == [name, *facts, *flags, passes(traits)]


def test_passes() -> None:
    assert [passes(choices.Traits(passes=p)) for p in ((2, 0), (0, 4), (1, 2), (1, 0))] == ["2K", "4", "K + 2", "K"]


def test_draws_are_those_of_the_lines() -> None:
    """One colour where one operation runs, a whole bar where gates share 1, NASP's gate its entry of the box."""
    boxes = lambda svg: [float(n.attrib["width"]) for n in list(ET.fromstring(svg).iter()) if n.get("rx") == "1"]
    table = np.array(boxes(draws(count=4).svg())).reshape(len(GATES), 4, 4)
    table /= table[0].sum(-1).mean()
    for name, drawn in zip(GATES, table, strict=True):
        runs = (drawn > 0.001).sum(-1)
        assert ((runs == 1) if name in ("straight", "one-hot", "two paths", "prox", "uniform") else (runs > 1)).all()
        total = {"prox": 0.4, "switches": 1.1}.get(name, 1.0)
        np.testing.assert_allclose(drawn.sum(-1), total, atol=0.01)


def test_first_steps_are_those_of_the_run() -> None:
    (step,) = first(choices.assemble("prox", "exact", 2))
    (other,) = first(methods.get("nasp"))
    assert step.phase == "architecture"
    assert np.array_equal(step.gates, other.gates)
