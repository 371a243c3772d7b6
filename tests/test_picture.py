"""Static pictures: well-formed, always the same text, nothing from a file but text, legible on both grounds."""

import math
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from test_frames import recorded, walked

from nascore.errors import UserError
from nascore.record import Recording
from nascore.space import DARTS, SPACES, TOY
from nasviz import frames, picture, show, svg, theme

SVG = "{http://www.w3.org/2000/svg}"
MEASURED = {name: {"label": name} for name in ("loss", "cost", "accuracy", "entropy", "lam_effective")}


def measured(t):
    every = {"loss": 2 / (t + 1), "cost": 0.5, "entropy": 1.0, "lam_effective": 0.0}
    return every | ({"accuracy": t / 100} if t % 10 == 0 else {})


def run(space=TOY, **more):
    recording = recorded(space, script={20: {"lam": 0.5}}, metrics=measured, **more)
    recording.meta["metrics"].update(MEASURED)
    return recording


def drawn(recording, *args, **options):
    return ET.fromstring(picture(recording, *args, **options))


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_picture_is_well_formed_and_always_the_same(space, name):
    recording = run(space)
    text = picture(recording, 30, theme=name)
    assert text == picture(run(space), 30, theme=name)
    assert "nan" not in re.sub(r">[^<]*<", "><", text)
    root = ET.fromstring(text)
    width, height = float(root.get("width")), float(root.get("height"))
    assert root.get("viewBox") == f"0 0 {width:g} {height:g}"
    for rect in root.iter(f"{SVG}rect"):
        assert all(float(rect.get(size, "0").rstrip("%")) >= 0 for size in ("width", "height"))


def test_strands_are_as_wide_as_their_probabilities():
    recording, t = run(DARTS), 40
    low, high = theme.STRAND_WIDTH
    for cell in range(2):
        markup = ET.fromstring(svg.cells_markup(recording, t)[cell])
        for group in (g for g in markup.iter("g") if "data-edge" in g.attrib):
            for path in (path for path in group.iter("path") if path.get("class") == "strand"):
                p = recording[t].probs[cell, int(group.get("data-edge")), DARTS.ops.index(path.get("data-op"))]
                assert float(path.get("stroke-width")) == pytest.approx(low + (high - low) * p, abs=0.01)
                assert path.get("stroke") == theme.colour(path.get("data-op"))
                assert ("stroke-dasharray" in path.attrib) == (path.get("data-op") == "none")


def test_dead_edges_are_marked_and_bars_show_sign_and_size_of_the_credit():
    recording, t = run(), 40
    seen = frames.judged(recording)
    for cell in range(2):
        markup = ET.fromstring(svg.cells_markup(recording, t)[cell])
        for group in (g for g in markup.iter("g") if "data-edge" in g.attrib):
            edge = int(group.get("data-edge"))
            assert ("dead" in group.get("class").split()) == (not seen.living[t, cell, edge])
            bar, credit = next(group.iter("rect")), seen.credit[t, cell, edge]
            size = min(abs(credit) / frames.credit_scale(recording), 1) * svg.BAR
            assert float(bar.get("width")) == pytest.approx(size, abs=0.06)
            assert bar.get("class") == ("credit helps" if credit > 0 else "credit hurts")


def test_an_operation_that_a_cell_may_not_choose_has_no_strand():
    markup = ET.fromstring(svg.cell_markup(SPACES["NASP_12"], 1))
    assert {path.get("data-op") for path in markup.iter("path")} - {None} == set(SPACES["NASP_12"].cell_ops[1])


def test_a_strand_that_was_pruned_is_gone():
    recording = run()
    probs = recording.column("probs").copy()
    probs[30:, 1, 2, [0, 3]] = 0
    steps = [replace(recording[t], probs=p) for t, p in enumerate(probs)]
    markup = ET.fromstring(svg.cells_markup(Recording.from_steps(steps, recording.meta), 40)[1])
    strands = {
        int(group.get("data-edge")): [path.get("data-op") for path in group.iter("path") if path.get("data-op")]
        for group in markup.iter("g")
        if "data-edge" in group.attrib
    }
    left = [op for k, op in enumerate(TOY.ops) if k not in (0, 3)]
    assert strands == {edge: left if edge == 2 else list(TOY.ops) for edge in range(5)}


@pytest.mark.parametrize("kind", ["simplex", "box"])
def test_a_picture_says_how_its_probs_are_read(kind):
    recording = run()
    recording.meta["probs"] = kind
    text = svg.picture(recording, 40)
    for other, reading in frames.READINGS.items():
        if reading.strand != frames.READINGS[kind].strand:
            assert reading.strand not in text, other
    assert frames.READINGS[kind].strand in text
    assert f"depth = {frames.READINGS[kind].depth}" in text


def test_the_largest_sum_of_a_box_fills_a_stack():
    recording = run()
    recording.meta["probs"] = "box"
    probs = np.clip(3 * recording.column("probs"), 0, 1)
    steps = [replace(recording[t], probs=p) for t, p in enumerate(probs)]
    body, _ = svg.ribbons_markup(Recording.from_steps(steps, recording.meta), 30, 900, "light")
    stacks = {}
    for rect in ET.fromstring(f"<g>{body}</g>").iter("rect"):
        if float(rect.get("x")) > 900 - 160:
            stacks[rect.get("y")] = stacks.get(rect.get("y"), 0) + float(rect.get("width"))
    wanted = 150 * probs[30].sum(-1).ravel() / probs.sum(-1).max()
    assert list(stacks.values()) == pytest.approx(wanted, abs=0.5)


def test_ribbons_cover_the_run_and_the_stack_covers_the_distribution():
    recording = run()
    body, _ = svg.ribbons_markup(recording, 30, 900, "light")
    total = 900 - 160 - 96  # from the names to the stack
    root = ET.fromstring(f"<g>{body}</g>")
    lines = {}
    for rect in root.iter("rect"):
        lines.setdefault(float(rect.get("y")), []).append((float(rect.get("x")), float(rect.get("width"))))
    assert len(lines) == math.prod(TOY.shape[:2])
    for parts in lines.values():
        ribbon = sum(width for x, width in parts if x < 96 + total - 1e-6)
        stack = sum(width for x, width in parts if x > 96 + total)
        assert ribbon == pytest.approx(total, abs=0.4 * len(parts))
        assert stack == pytest.approx(150, abs=0.5)


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.07, 0.08), (0.41, 0.5), (1, 1), (2.54, 3), (7, 8), (9.1, 10), (120, 200)]
)
def test_axes_end_at_a_number_that_reads_well(value, top):
    assert svg.nice(value) == pytest.approx(top)


def test_names_beside_curves_do_not_overlap():
    rng = np.random.default_rng(0)
    for _ in range(100):
        wishes = rng.uniform(0, 100, 4).tolist()
        placed = svg.spread(wishes, 12, 10, 106)
        assert np.diff(np.sort(placed)).min() > 12 - 1e-6
        assert np.argsort(placed).tolist() == np.argsort(wishes).tolist()
        assert min(placed) >= 10 - 1e-6
        assert max(placed) <= 106 + 1e-6


def test_a_chart_of_nothing_but_its_idle_value_is_left_out():
    titles = {text.text for text in drawn(run()).iter(f"{SVG}text")}
    assert "loss on training batches (nats)" in titles
    assert "penalty λ in force" not in titles
    assert "accuracy on validation data" in titles


HOSTILE = '<script>alert("x")</script>&"\''


def hostile():
    recording = run(method=HOSTILE, task=HOSTILE)
    recording.meta["metrics"][HOSTILE] = {"label": HOSTILE, "unit": HOSTILE}
    return recording


def test_names_from_a_file_reach_a_picture_as_text():
    texts = [text.text or "" for text in drawn(hostile()).iter(f"{SVG}text")]
    assert any(HOSTILE in text for text in texts)
    assert "<script" not in picture(hostile())
    assert all(element.tag != f"{SVG}script" for element in drawn(hostile()).iter())


@pytest.mark.parametrize("panels", [["cells"], ["curves"], ["ribbons"], ["transport", "notice"], svg.PANELS])
def test_any_choice_of_panels_can_be_drawn(panels):
    assert drawn(run(), panels=panels).tag == f"{SVG}svg"


def test_a_run_that_has_not_begun_shows_all_operations_alike():
    empty = Recording.from_steps([], run().meta)
    texts = {text.text for text in drawn(empty).iter(f"{SVG}text")}
    assert "not run yet" in texts
    widths = {path.get("stroke-width") for path in drawn(empty).iter(f"{SVG}path") if path.get("class") == "strand"}
    assert len(widths) == 1


def test_rows_count_as_in_a_list_and_wrong_words_are_told():
    recording = run()
    assert picture(recording, -1) == picture(recording) == picture(recording, 59)
    with pytest.raises(IndexError):
        picture(recording, 60)
    with pytest.raises(UserError, match=r"theme: 'drak' is not one of dark, light\. Did you mean 'dark'\?"):
        picture(recording, theme="drak")
    with pytest.raises(UserError, match="panels: 'cell' is not one of"):
        show(recording, ["cell"])


def test_static_displays_are_a_picture_and_text_only(monkeypatch):
    monkeypatch.setenv("NASVIZ_STATIC", "1")
    recording = run()
    bundle = show(recording, t=30)._repr_mimebundle_()
    assert set(bundle) == {"image/svg+xml", "text/plain"}
    assert bundle == show(run(), t=30)._repr_mimebundle_()
    assert bundle["text/plain"].endswith(frames.notice(recording, 30))


# ------------------------------------------------------------------------------------------------ colours


def linear(colour):
    """Linear red, green and blue of ``#rrggbb``."""
    share = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """WCAG 2.2's contrast ratio."""
    one, other = sorted(float(linear(colour) @ (0.2126, 0.7152, 0.0722)) + 0.05 for colour in (a, b))
    return other / one


@pytest.mark.parametrize("name", theme.THEMES)
def test_words_are_legible_on_their_ground(name):
    colours = theme.THEMES[name]
    for ground in ("bg", "panel"):
        for words in ("ink", "soft", "focus", "mark"):
            assert contrast(colours[words], colours[ground]) >= 4.5, (words, ground)


# Machado, Oliveira and Fernandes (2009), severity 1.0, linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def oklab(rgb):
    """Ottosson's OKLab of linear RGB: distances are about as large as they look."""
    lms = np.cbrt(np.clip(rgb, 0, 1) @ np.array([[0.4122214708, 0.2119034982, 0.0883024619],
                                                 [0.5363325363, 0.6806995451, 0.2817188376],
                                                 [0.0514459929, 0.1073969566, 0.6299787005]]))  # fmt: skip
    return lms @ np.array([[0.2104542553, 1.9779984951, 0.0259040371],
                           [0.7936177850, -2.4285922050, 0.7827717662],
                           [-0.0040720468, 0.4505937099, -0.8086757660]])  # fmt: skip


@pytest.mark.parametrize("eyes", BLINDNESS)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_operations_of_a_space_can_be_told_apart(space, eyes):
    seen = {op: oklab(BLINDNESS[eyes] @ linear(theme.colour(op))) for op in space.ops}
    for a in space.ops:
        for b in space.ops[: space.ops.index(a)]:
            if "none" not in (a, b):  # which is dashed
                assert np.linalg.norm(seen[a] - seen[b]) > (0.08 if len(space.ops) < 10 else 0.05), (a, b)


def test_every_operation_has_a_name_and_a_colour_of_its_own():
    for space in SPACES.values():
        assert all(op in theme.OPS for op in space.ops)
        assert len({theme.colour(op) for op in space.ops}) == len(space.ops)
        assert len({theme.op_label(op) for op in space.ops}) == len(space.ops)


def test_the_walk_of_these_tests_has_births_and_deaths():
    living = frames.alive(TOY, frames.derived(TOY, walked()))
    assert {event.birth for event in frames.events(living)} == {True, False}
