"""The distribution over time and the searched against the derived: the numbers behind the pictures, by plain ways."""

import re
from dataclasses import asdict
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from test_frames import recorded, walked

from nascore.errors import UserError
from nascore.run import Metric
from nascore.space import DARTS, NASP_12, SPACES, TOY
from nasviz import derived, distribution, frames, picture, searched_and_derived, spread, theme

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("accuracy", "child_accuracy", "child_accuracy_recalibrated", "random_child_accuracy")


def measured(t):
    return {} if t % 10 else {name: 0.9 - 0.1 * k - t / 1000 for k, name in enumerate(NAMES)}


def run(space=TOY, **more):
    recording = recorded(space, metrics=measured, **more)
    recording.meta["metrics"] = {name: asdict(Metric(name)) for name in NAMES}
    return recording


def boxed(space=TOY, n=60):
    """Weights in [0, 1] that do not sum to 1, as in NASP's box."""
    rng = np.random.default_rng(3)
    return np.where(space.allowed, np.clip(np.cumsum(rng.normal(0, 0.1, (n, *space.shape)), 0) + 0.5, 0, 1), 0).astype(
        np.float32
    )


# ------------------------------------------------------------------------------------------------ edges by name


def test_an_edge_has_three_names():
    recording = run()
    for name in ("reduce:3", "reduce k−1→1", "reduce k-1->1", (1, 3)):
        assert spread.chosen(recording, name) == "reduce:3"
    assert spread.chosen(recording, None) == "normal:0"
    for name, words in [
        ("reduce k-1->2", "edge: 'reduce k−1→2' is not one of .* Did you mean"),
        ((2, 0), "edge: 2 is not a whole number from 0 to 1"),
        (3, "edge: 3 is neither a name"),
    ]:
        with pytest.raises(UserError, match=words):
            distribution(recording, name)


# ------------------------------------------------------------------------------------------------------ the walk


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_corners_are_where_one_operation_has_it_all(count):
    places = spread.corners(count)
    assert spread.walk(np.eye(count)) == pytest.approx(places)
    assert spread.walk(np.full(count, 1 / count)) == pytest.approx(np.zeros(2), abs=1e-12)  # uniform: the middle
    gaps = np.linalg.norm(places - np.roll(places, 1, 0), axis=-1)
    assert gaps == pytest.approx(np.full(count, gaps[0]))
    assert places[0] == pytest.approx([0, -1])


def test_the_walk_is_linear_and_knows_no_scale():
    rng = np.random.default_rng(0)
    a, b = rng.dirichlet(np.ones(5), 2)
    assert spread.walk(0.3 * a + 0.7 * b) == pytest.approx(0.3 * spread.walk(a) + 0.7 * spread.walk(b))
    assert spread.walk(4 * a) == pytest.approx(spread.walk(a))
    assert spread.walk(np.zeros(5)) == pytest.approx(np.zeros(2))  # an edge without any weight


def test_three_operations_make_the_usual_triangle():
    """Barycentric coordinates come back by solving for them."""
    p = np.random.default_rng(1).dirichlet(np.ones(3), 20)
    matrix = np.vstack([spread.corners(3).T, np.ones(3)])
    back = np.linalg.solve(matrix, np.vstack([spread.walk(p).T, np.ones(20)])).T
    assert back == pytest.approx(p)


# ------------------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("panel", ["spread", "derived"])
def test_pictures_are_well_formed_and_always_the_same(space, name, panel):
    recording = run(space, own_rule="top2")
    text = picture(recording, 30, [panel], theme=name)
    assert text == picture(run(space, own_rule="top2"), 30, [panel], theme=name)
    assert "nan" not in re.sub(r">[^<]*<", "><", text)
    root = ET.fromstring(text)
    width, height = float(root.get("width")), float(root.get("height"))
    for each in root.iter(f"{SVG}text"):
        if each.get("y") and each.get("x"):
            assert -20 <= float(each.get("y")) <= height
            assert 0 <= float(each.get("x")) <= width


def bands(text, space):
    """The filled paths of operations, as arrays of points, by colour."""
    found = {}
    for path in ET.fromstring(text).iter(f"{SVG}path"):
        if path.get("fill") in {theme.colour(op) for op in space.ops} and path.get("fill-opacity") is None:
            points = np.array([list(map(float, each.split(","))) for each in path.get("d")[1:-1].split("L")])
            found.setdefault(path.get("fill"), []).append(points)
    return found


@pytest.mark.parametrize("kind", ["simplex", "box"])
def test_a_stack_is_as_high_as_the_weights(kind):
    probs = walked() if kind == "simplex" else boxed()
    recording = run(probs=probs)
    recording.meta["probs"] = kind
    drawn = bands(picture(recording, 59, ["spread"]), TOY)
    full = 1 if kind == "simplex" else probs.sum(-1).max()
    for k, op in enumerate(TOY.ops):
        paths = drawn[theme.colour(op)]
        assert len(paths) == 10  # two cells of five edges
        for path, (cell, edge) in zip(paths, np.ndindex(2, 5), strict=True):
            top, bottom = np.split(path[:, 1], 2)
            heights = (bottom[::-1] - top) / 40
            assert heights == pytest.approx(probs[:, cell, edge, k] / full, abs=0.006)


def test_the_chosen_edge_is_told_op_by_op():
    recording = run(NASP_12)
    text = distribution(recording, "reduce:2", t=40)._draw()
    words = [each.text for each in ET.fromstring(text).iter(f"{SVG}text")]
    p = recording[40].probs[1, 2]
    for k in np.flatnonzero(NASP_12.allowed[1, 2]):
        assert f"{theme.op_label(NASP_12.ops[k])} {p[k]:.2f}".replace(" 0.", " .") in words
    assert any("reduce k−2→1" in word or "reduce" in word for word in words)


# ------------------------------------------------------------------------------------------- what the cut costs


def test_costs_are_the_newest_measurements():
    recording = run(own_rule="top2")
    assert derived.costs(recording, 57) == pytest.approx(
        {
            "supernet": 0.85,
            "child, inherited statistics": 0.75,
            "child, recalibrated": 0.65,
            "a random child, recalibrated": 0.55,
        }
    )
    assert list(derived.costs(recording, 57, retrained=0.8))[3] == "child, retrained"
    probs = recording[57].probs
    inside = []
    for rule in ("argmax", "top2"):
        kept = TOY.one_hot(TOY.decode(probs, rule))  # an edge left out keeps none
        inside.append((probs * kept).sum() / 10)
    assert list(derived.left_out(recording, 57).values()) == pytest.approx([1 - share for share in inside])
    assert list(derived.left_out(run(), 57)) == ["argmax"]


def test_the_own_rule_has_a_column_only_where_it_differs():
    plain, other = (searched_and_derived(run(own_rule=rule))._draw() for rule in ("argmax", "top2"))
    assert "its own rule" not in plain
    assert "derived: its own rule, top 2" in other
    cells = [text.count('class="edge') for text in (plain, other)]
    assert cells == [2 * 2 * 5, 3 * 2 * 5]
    assert searched_and_derived(run(), retrained=0.9)._draw().count("child, retrained") == 1
    with pytest.raises(UserError, match="retrained: 90 is not a number from 0 to 1"):
        searched_and_derived(run(), retrained=90)


def test_the_text_says_what_the_picture_shows():
    shown = searched_and_derived("digits-darts")
    told = shown._text
    for label, value in derived.left_out(frames_of("digits-darts"), 959).items():
        assert f"outside the child, {label} {value:.3f}" in told
    assert distribution("digits-snas", t=10)._text.startswith("snas on digits, row 10")


def frames_of(name):
    from nascore.record import Recording

    return Recording.open(name)


def test_views_share_a_cursor():
    from nasviz import Cursor

    cursor = Cursor()
    recording = run(DARTS)
    first = distribution(recording, "normal:3", cursor=cursor)._widget()
    second = searched_and_derived(recording, cursor=cursor, retrained=0.7)._widget()
    assert first.edge == second.edge == cursor.edge == "normal:3"
    first.t = 12
    assert second.t == 12
    assert second.setup["retrained"] == 0.7
    assert first.panels == ("transport", "spread", "notice")
    assert frames.head(recording)["probs"] == "simplex"
