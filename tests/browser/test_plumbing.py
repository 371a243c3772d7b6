"""The plumbing in JupyterLab: through the half steps by buttons, played, and one more real iteration."""

import pytest
from conftest import Lab, picture, pixels
from playwright.sync_api import Page, expect
from test_cockpit_live import PATIENCE, opened, until


@pytest.mark.slow
@pytest.mark.parametrize("page", ["dark"], indirect=True)
def test_walk_through_a_step(page: Page, lab: Lab) -> None:
    with opened(lab, page, "import nasviz\n\nnasviz.plumbing()", "dark"):
        root = page.locator(".nasviz.plumbed").first
        button = lambda name: root.get_by_role("button", name=name, exact=True)
        expect(button("on")).to_be_visible(timeout=PATIENCE)
        drawing = root.locator("[role=img]")
        lit = lambda kind: root.locator(f".{kind}.on").count()
        told = lambda: drawing.get_attribute("aria-label") or ""

        assert root.get_attribute("data-shown") == "0 backward"
        assert "DARTS: the backward pass visits" in told()
        assert "θ gets nothing" in told().splitlines()[2]
        back = lit("way")
        page.wait_for_timeout(1500)  # all pipes are reached
        dark = pixels(drawing)
        assert dark.mean() < 0.4  # the page's own colours
        picture(page, "plumbing-back-dark")

        button("back").click()
        assert root.get_attribute("data-shown") == "0 forward"
        expect(button("back")).to_be_disabled()
        assert lit("way") > back  # numbers are handed on that no credit returns from
        picture(page, "plumbing-forward-dark")
        for _ in range(5):
            button("on").click()
        expect(button("on")).to_be_disabled()
        assert root.get_attribute("data-shown") == "1 move"
        assert told().splitlines() == [
            "REINFORCE: nothing more to do: the iteration is over.",
            "SNAS: α and θ moved.",
            "DARTS: θ moved.",
        ]
        assert lit("station") == 3
        picture(page, "plumbing-move-dark")

        root.get_by_role("button", name="1 · values forward").click()
        loss = told()
        button("one more real iteration").click()
        expect(root).to_contain_text("iteration 4")
        until(lambda: told() != loss, "other losses")
        button("play").click()
        until(lambda: root.get_attribute("data-shown") == "0 backward", "it plays")
        button("pause").click()
        expect(root.locator(".trouble")).to_be_hidden()
