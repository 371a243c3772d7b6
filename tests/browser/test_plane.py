"""The prox one drags, in JupyterLab: by mouse and by keys, and two searches from where the point is left."""

import pytest
from conftest import Lab, picture, pixels
from playwright.sync_api import Page, expect
from test_cockpit_live import PATIENCE, opened, until

SOURCE = "from nasviz.labs import proximal\n\nproximal.drag()"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_drag_a_point(page: Page, lab: Lab, request: pytest.FixtureRequest) -> None:
    theme = request.node.callspec.params["page"]
    with opened(lab, page, SOURCE, theme):
        paper = page.locator(".nasviz.plane .paper").first
        expect(paper.locator("svg")).to_be_visible(timeout=PATIENCE)
        paper.scroll_into_view_if_needed()
        told = lambda: paper.get_attribute("aria-valuetext") or ""
        assert told() == "z (0.45, 0.80), nearest cell (0.00, 0.80)"
        before = pixels(paper)

        ring = paper.locator("circle[stroke-width='3.5']").bounding_box()
        assert ring
        x, y = ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y - 20, steps=6)
        page.mouse.move(x + 120, y - 40, steps=6)
        page.mouse.up()
        until(lambda: "nearest cell (1.00, 0.00)" in told(), "across the diagonal")
        until(lambda: abs(pixels(paper) - before).max(-1).mean() > 0.002, "the picture follows")
        moved = paper.locator("circle[stroke-width='3.5']").bounding_box()
        assert moved
        assert moved["x"] - ring["x"] == pytest.approx(120, abs=2)  # the ring is under the mouse
        assert moved["y"] - ring["y"] == pytest.approx(-40, abs=2)

        expect(paper).to_have_attribute("role", "slider")
        for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowDown"):
            was = told()
            page.keyboard.press(key)
            until(lambda was=was: told() != was, key)
        picture(page, f"plane-{theme}")

        page.get_by_role("button", name="search from here").click()
        expect(paper).to_contain_text("plain proximal gradient", timeout=PATIENCE)
        expect(paper).to_contain_text("switches")
        picture(page, f"plane-search-{theme}")
