"""Credit on a cell, in JupyterLab: switch who gives it, pin an edge, drag a gate, look at what is known exactly."""

import pytest
from conftest import Lab, picture, pixels
from playwright.sync_api import Page, expect
from test_cockpit_live import PATIENCE, opened, until

SOURCE = "import nasviz\nfrom nasviz.labs import credit\n\nnasviz.credit_on_a_cell(on=credit.bench(0, 2))"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_credit_on_a_cell(page: Page, lab: Lab, request: pytest.FixtureRequest) -> None:
    theme = request.node.callspec.params["page"]
    with opened(lab, page, SOURCE, theme):
        root = page.locator(".nasviz.oncell").first
        expect(root.locator("svg.gate")).to_be_visible(timeout=PATIENCE)
        root.scroll_into_view_if_needed()
        expect(root).to_have_attribute("data-method", "taylor")
        chip = lambda name: root.get_by_role("button", name=name, exact=True)
        tape, said = root.locator("svg.tape"), root.locator(".said")
        before = pixels(tape)
        picture(page, f"credit-taylor-{theme}")

        chip("REINFORCE").click()
        expect(root).to_have_attribute("data-method", "reinforce")
        expect(said).to_contain_text("One number for all edges")
        assert abs(pixels(tape) - before).max(-1).mean() > 0.002  # the bars are others
        heights = {bar.get_attribute("height") for bar in tape.locator(".share").all()}
        assert len(heights) == 1
        picture(page, f"credit-reinforce-{theme}")

        chip("exact values").click()
        order = root.get_by_label("decide from the last edge to the first")
        expect(order).to_be_visible()
        forward = said.inner_text(), tape.inner_html()
        order.check()
        until(lambda: tape.inner_html() != forward[1], "another order")
        assert said.inner_text() == forward[0]  # the same sum, shared in another way
        chip("leave one out").click()
        expect(order).to_be_hidden()

        root.locator(".edge[data-edge='3']").click(force=True)  # what is in front of it is its own label
        expect(root).to_have_attribute("data-edge", "3")
        root.locator(".edge[data-edge='3']").focus()
        page.keyboard.press("ArrowDown")
        expect(root).to_have_attribute("data-edge", "4")
        root.get_by_label("operation of the pinned edge").select_option("2")
        expect(root.locator(".edge[data-edge='4'] .strand[data-op='conv3']")).to_have_attribute("stroke-width", "6.00")

        chip("quadratic").click()
        expect(root.locator("svg.gate")).to_contain_text("2.00 × the truth")
        slider = root.get_by_label("gate", exact=True)
        assert (slider.get_attribute("aria-valuetext") or "").startswith("gate 1.00:")
        slider.focus()
        page.keyboard.press("ArrowLeft")
        expect(root).to_have_attribute("data-at", "19")
        plot = root.locator(".plot")
        place, knob = plot.bounding_box(), plot.locator(".knob").bounding_box()
        assert place
        assert knob
        page.mouse.move(knob["x"] + knob["width"] / 2, knob["y"] + knob["height"] / 2)
        page.mouse.down()
        page.mouse.move(place["x"] + place["width"] * 0.4, place["y"] + 80, steps=8)
        page.mouse.up()
        until(lambda: int(root.get_attribute("data-at") or 99) < 14, "the gate follows the mouse")
        expect(root.locator("svg.gate")).to_contain_text("2.00 × the truth")  # wherever the gate is
        picture(page, f"credit-quadratic-{theme}")
        chip("batch norm").click()
        expect(root.locator("svg.gate")).to_contain_text("−0.841 is the miss")
        chip("this cell").click()
        chip("Another child").click()
        expect(root).to_have_attribute("data-truth", "cell")
        assert root.locator(".trouble").inner_text() == ""
        picture(page, f"credit-cell-{theme}")
