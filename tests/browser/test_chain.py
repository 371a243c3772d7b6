"""The chain in JupyterLab: predict, play, scrub, turn every control, and spoil a value by mouse and keys."""

import pytest
from conftest import Lab, picture, pixels
from playwright.sync_api import Locator, Page, expect
from test_cockpit_live import PATIENCE, opened, until

SOURCE = "import nasviz\n\nnasviz.chain(hidden=True)"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["dark"], indirect=True)
def test_a_reward_creeps_back(page: Page, lab: Lab) -> None:
    with opened(lab, page, SOURCE, "dark"):
        root = page.locator(".nasviz.chain").first
        expect(root.locator(".tube")).to_have_count(6, timeout=PATIENCE)
        root.scroll_into_view_if_needed()

        def chosen(name: str) -> str:
            return root.get_attribute(f"data-{name}") or ""

        def button(name: str) -> Locator:
            return root.get_by_role("button", name=name, exact=True)

        # Nothing is told before one has looked.
        expect(root.locator(".said")).to_be_hidden()
        expect(root.get_by_text("Predict")).to_be_visible()
        root.get_by_label("your guess").fill("7")
        covered = pixels(root.locator("canvas"))
        picture(page, "chain-hidden-dark")
        button("Step").click()
        until(lambda: chosen("t") == "1", "one sweep")
        page.wait_for_timeout(700)
        until(lambda: abs(pixels(root.locator("canvas")) - covered).max(-1).mean() > 0.002, "a sweep is painted")
        expect(root.locator(".tube").nth(5)).to_have_attribute("aria-valuenow", "1.000")
        expect(root.locator(".tube").nth(4)).to_have_attribute("aria-valuenow", "0.000")
        button("Play").click()
        expect(root.locator(".said")).to_contain_text("You said 7. V(s₀) reaches ½ after 6 sweeps.", timeout=PATIENCE)
        until(lambda: chosen("t") == "13", "the end")
        expect(button("Play")).to_be_visible()
        button(".1").click()  # another question
        expect(root.get_by_text("Predict")).to_be_visible()
        expect(root.get_by_label("your guess")).to_have_value("")
        assert chosen("t") == "0"
        root.get_by_label("hide what is to come").uncheck()

        # Every control arrives, and the delay by keys.
        button("1/n").click()
        until(lambda: chosen("half") == "157", "averages")
        root.get_by_role("slider", name="delay T").press("ArrowLeft")
        until(lambda: chosen("half") == "57", "a shorter delay")
        expect(root.locator(".tube")).to_have_count(5)
        expect(root.locator(".law").last).to_contain_text("Bernoulli")
        picture(page, "chain-averages-dark")
        for name, setting, value in (
            ("reverse", "order", "reverse"),
            ("TD(λ)", "rule", "lambda"),
            (".1", "step", "0.1"),
            ("redistributed", "reward", "redistributed"),
        ):
            button(name).click()
            until(lambda setting=setting, value=value: chosen(setting) == value, name)
        expect(root.locator(".arrow.paid")).to_have_count(1)
        expect(root.locator(".arrow").first).to_have_class("arrow paid")
        until(lambda: root.get_by_role("slider", name="trace λ").is_enabled(), "λ is there for TD(λ)")
        for name in ("late", "TD(0)", "forward", "1"):
            button(name).click()
        until(lambda: (chosen("rule"), chosen("step"), chosen("reward")) == ("td", "1", "late"), "as in the beginning")

        # Scrub by keys and by mouse.
        cursor = root.get_by_role("slider", name="sweep", exact=True)
        cursor.press("End")
        assert chosen("t") == chosen("sweeps") == "11"
        box = root.locator(".time svg").bounding_box()
        assert box
        page.mouse.click(box["x"] + 40 + (box["width"] - 56) * 7 / 11, box["y"] + 60)
        assert chosen("t") == "7"

        # Spoil a value: the error walks back to the start.
        tube = root.get_by_role("slider", name="value of s₂")
        tube.press("Home")
        expect(root.locator(".said")).to_contain_text("You set s₂ to 0 after sweep 7", timeout=PATIENCE)
        expect(tube).to_have_attribute("aria-valuenow", "0.000")
        for spoilt in (1, 0):
            button("Step").click()
            expect(root.locator(".tube").nth(spoilt)).to_have_attribute("aria-valuenow", "0.000")
            expect(root.locator(".tube").nth(spoilt + 1)).to_have_attribute("aria-valuenow", "1.000")
        picture(page, "chain-spoilt-dark")
        button("Undo the error").click()
        expect(button("Undo the error")).to_be_hidden()
        place = root.locator(".tube").nth(3).locator(".rim").bounding_box()
        assert place
        page.mouse.move(place["x"] + place["width"] / 2, place["y"] + 20)
        page.mouse.down()
        page.mouse.move(place["x"] + place["width"] / 2, place["y"] + 70, steps=4)
        page.mouse.up()
        expect(root.locator(".said")).to_contain_text("You set s₃ to 0.", timeout=PATIENCE)
        expect(root.locator(".trouble")).to_be_hidden()
