"""The distribution over time and the searched against the derived, on a self-contained page."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import picture, pixels
from playwright.sync_api import Locator, Page, expect
from test_spread import boxed
from test_views import differ, opened, overlapping_words, search, settle

from nascore.space import DARTS, TOY
from nasviz import derived, frames, spread


def shown(page: Page, tmp_path: Path, recording, panel: str) -> Locator:
    opened(page, tmp_path, recording, panels=["transport", panel, "notice"])
    return page.locator(f".nasviz .panel.{panel}")


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
@pytest.mark.parametrize("width", [700, 1290])
@pytest.mark.parametrize("panel", ["spread", "derived"])
@pytest.mark.parametrize("space", [TOY, DARTS], ids=lambda space: space.name)
def test_the_cursor_repaints_a_panel_and_nothing_sticks_out(page: Page, tmp_path, space, panel, width):
    page.set_viewport_size({"width": width, "height": 1000})
    place = shown(page, tmp_path, search(space, own_rule="top2"), panel)
    before = pixels(place)
    page.get_by_role("slider", name="position").fill("20")
    settle(page)
    assert differ(before, pixels(place)) > 0.001
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert overlapping_words(page) == []
    dark = page.evaluate("matchMedia(`(prefers-color-scheme: dark)`).matches")
    picture(page, f"{panel}-{space.name}-{width}-{'dark' if dark else 'light'}")


@pytest.mark.parametrize("page", ["light"], indirect=True)
def test_a_click_chooses_an_edge_and_a_drag_moves_in_time(page: Page, tmp_path):
    recording = search(TOY)
    place = shown(page, tmp_path, recording, "spread")
    place.get_by_role("button", name="reduce k−1→1", exact=True).click(position={"x": 20, "y": 10})
    settle(page)
    title = place.get_by_role("heading", name=re.compile("weight of each operation"))
    expect(title).to_have_text("reduce k−1→1: weight of each operation")
    expect(place.locator(".lane.chosen")).to_have_count(1)
    told = place.locator(".ridges text").all_text_contents()
    p = recording[119].probs[1, 3]
    for op, text in enumerate(told):
        assert float("0" + text.split()[-1]) == pytest.approx(p[op], abs=0.006)
    ridges = place.get_by_role("img", name=re.compile("every operation over time"))
    box = ridges.bounding_box()
    ridges.click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.5})
    settle(page)
    t = int(page.locator(".nasviz").get_attribute("data-t"))
    assert 20 < t < 110
    # The dot of the chosen edge stands where Python puts it; the corners are 84 from the middle.
    dot = place.locator(".simplex .dot.chosen")
    where = [float(dot.get_attribute(name)) for name in ("cx", "cy")]
    expected = np.array([125, 129]) + spread.walk(recording[t].probs[1, 3], 84)
    assert where == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("page", ["light"], indirect=True)
def test_weights_that_are_no_probabilities(page: Page, tmp_path):
    recording = search(TOY, n=60, probs="box")
    table = recording.column("probs")
    table.flags.writeable = True
    table[:] = boxed()
    place = shown(page, tmp_path, recording, "spread")
    expect(place.locator("h2 + .note")).to_contain_text("largest sum of any edge")
    heights = page.evaluate(
        """() => [...document.querySelectorAll(".lane")].map((lane) => {
          const frame = lane.querySelector(".frame").getBBox();
          const ends = [...lane.querySelectorAll("path")].map((path) => path.getBBox());
          return [frame.height, frame.y - Math.min(...ends.map((box) => box.y))];
        })"""
    )
    assert all(above <= 0.6 for _, above in heights)  # no stack leaves its lane
    assert min(above for _, above in heights) >= -max(high for high, _ in heights)


@pytest.mark.parametrize("page", ["light"], indirect=True)
def test_meters_tell_what_the_cut_costs(page: Page, tmp_path):
    recording = search(TOY, own_rule="top2")
    place = shown(page, tmp_path, recording, "derived")
    for t in (119, 40):
        page.get_by_role("slider", name="position").fill(str(t))
        settle(page)
        costs = [*derived.costs(recording, t).values(), *derived.left_out(recording, t).values()]
        values = [float("0" + text if text[0] == "." else text) for text in place.locator(".value").all_text_contents()]
        assert values == pytest.approx(costs, abs=0.0006)
        widths = page.evaluate(
            "[...document.querySelectorAll('.meter')].map((box) => box.firstChild.offsetWidth / box.offsetWidth)"
        )
        assert widths == pytest.approx(costs, abs=0.02)
        strands = page.evaluate(
            """() => [...document.querySelectorAll(".derived .column .edge")].map((edge) =>
              [...edge.querySelectorAll(".strand")].map((path) => parseFloat(path.style.strokeWidth)))"""
        )
        wide = np.array(strands).reshape(3, 2, 5, 5) > 5
        seen = frames.judged(recording)
        for column, ops in ((1, seen.ops[t]), (2, seen.own[t])):
            chosen = np.eye(6, dtype=bool)[:, :5][ops]
            assert (wide[column] == chosen).all()
