"""A controller in JupyterLab: take another option, see the later decisions answer, look at earlier moments."""

import pytest
from conftest import Lab, picture, pixels
from playwright.sync_api import Page, expect
from test_cockpit_live import PATIENCE, opened, until

SOURCE = "import nasviz\n\nnasviz.controller('xor')"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["dark"], indirect=True)
def test_a_controller(page: Page, lab: Lab) -> None:
    with opened(lab, page, SOURCE, "dark"):
        root = page.locator(".nasviz.decider").first
        columns = root.locator(".decision")
        expect(columns).to_have_count(2, timeout=PATIENCE)
        root.scroll_into_view_if_needed()
        first, second = columns.nth(0), columns.nth(1)
        drawn = (root.get_attribute("data-taken") or "").split()
        assert drawn[0] != drawn[1]
        before = pixels(second)

        first.locator(f".seg[data-k='{drawn[1]}']").last.click()  # the option that was not drawn
        expect(root).to_have_attribute("data-forced", "0")
        expect(first).to_have_class("decision forced")
        expect(root.locator(".arc")).to_have_count(1)
        assert abs(pixels(columns.nth(1)) - before).max(-1).mean() > 0.01  # its bar has turned over
        picture(page, "controller-taken-dark")
        back = root.get_by_role("button", name="Back to the child drawn")
        back.click()
        expect(root).to_have_attribute("data-forced", "")
        expect(back).to_be_hidden()

        first.focus()
        page.keyboard.press("ArrowDown")
        expect(root).to_have_attribute("data-forced", "0")
        expect(columns.nth(0)).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(columns.nth(1)).to_be_focused()

        slider = root.get_by_label("moment of its learning")
        slider.focus()
        page.keyboard.press("Home")
        expect(root).to_have_attribute("data-at", "0")
        expect(root.locator(".pill")).to_have_text("step 0")
        expect(root.locator(".said")).to_contain_text("No decision moves a later one by more than")
        root.get_by_role("button", name="Another child").click()
        until(lambda: root.get_attribute("data-forced") == "", "a child as it was drawn")
        assert root.locator(".trouble").inner_text() == ""
        picture(page, "controller-start-dark")
