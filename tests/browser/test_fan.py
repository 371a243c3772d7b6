"""The fan of futures in JupyterLab: draw with the mouse, a finger and the keyboard, fork, stop, read the verdict."""

from collections.abc import Iterator

import pytest
from conftest import Lab, picture, pixels
from playwright.sync_api import Locator, Page, expect
from test_cockpit_live import PATIENCE, opened, until, workers

SOURCE = "from nasviz.labs.futures import fan\n\nfan('digits-snas', t=30, steps=24)"


class Panel:
    """The fan on a page."""

    def __init__(self, page: Page, theme: str):
        self.page, self.theme = page, theme
        self.root = page.locator(".nasviz.fan").first
        self.plot = self.root.locator(".plot svg")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def choice(self, name: str) -> Locator:
        return self.root.get_by_label(name, exact=True)

    @property
    def state(self) -> str:
        return self.root.get_attribute("data-state") or ""

    def reach(self, *states: str) -> None:
        try:
            until(lambda: self.state in states, "there")
        except AssertionError:
            raise AssertionError(f"{self.state}, not {' or '.join(states)}: {self.root.inner_text()[-600:]}") from None

    def place(self, across: float, up: float) -> tuple[float, float]:
        """A place in the empty future: shares of its width and of its height."""
        box = self.plot.bounding_box()
        fork = self.root.locator(".plot .cursor").bounding_box()
        late = self.root.locator(".plot .late").bounding_box()
        assert box
        assert fork
        assert late
        return fork["x"] + across * (late["x"] + late["width"] - fork["x"]), late["y"] + (1 - up) * late["height"]

    def mine(self) -> str:
        return self.root.locator("path.mine").get_attribute("d") or ""


@pytest.fixture
def panel(page: Page, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Panel]:
    theme = request.node.callspec.params["page"]
    with opened(lab, page, SOURCE, theme):
        found = Panel(page, theme)
        expect(found.button("Fork")).to_be_visible(timeout=PATIENCE)
        found.plot.scroll_into_view_if_needed()
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_draw_and_fork(panel: Panel, page: Page) -> None:
    before, theme = workers(), panel.theme
    expect(panel.button("Fork")).to_be_disabled()
    expect(panel.button("Clear")).to_be_disabled()
    picture(page, f"fan-empty-{theme}")
    empty = pixels(panel.plot)

    page.mouse.move(*panel.place(0.1, 0.5))
    page.mouse.down()
    page.mouse.move(*panel.place(0.5, 0.3), steps=8)
    page.mouse.move(*panel.place(0.8, 0.3), steps=4)
    page.mouse.up()
    expect(panel.button("Fork")).to_be_enabled()
    assert panel.mine().count("L") == 24  # a point a step, and from where the search stands
    drawn = pixels(panel.plot)
    assert (abs(drawn - empty).max(-1) > 0.05).mean() > 0.001

    panel.button("Clear").click()
    expect(panel.button("Fork")).to_be_disabled()
    assert panel.mine() == ""

    panel.plot.focus()
    expect(panel.plot).to_have_attribute("role", "slider")
    start = panel.plot.get_attribute("aria-valuetext") or ""
    assert start.startswith("step 30:")
    for key in ("Shift+ArrowRight", "ArrowRight", "PageDown", "ArrowUp"):
        page.keyboard.press(key)
    told = panel.plot.get_attribute("aria-valuetext") or ""
    assert told.startswith("step 41:")
    assert told.split(":")[1] != start.split(":")[1]
    assert panel.mine().count("L") == 24
    expect(panel.button("Fork")).to_be_enabled()
    picture(page, f"fan-drawn-{theme}")

    panel.button("Fork").click()
    panel.reach("starting", "running")
    expect(panel.button("Stop")).to_be_visible()
    expect(panel.choice("knob")).to_be_disabled()
    until(lambda: panel.root.locator("path.one").count() == 8, "eight futures")
    panel.button("Stop").click()
    panel.reach("stopped", "finished")
    if panel.state == "stopped":  # it may have been too quick to be stopped
        expect(panel.root.locator(".verdict")).to_be_hidden()
        mine = panel.root.locator(".name.mine").text_content() or ""
        panel.button("Fork").click()
        panel.reach("finished")
        expect(panel.root.locator(".name.mine")).to_have_text(mine)  # the curve is still that of before
    expect(panel.root.locator(".verdict b")).to_have_text("Effect")  # a penalty of 1.5 on the expected cost
    text = panel.root.locator(".verdict").inner_text()
    for words in (
        "λ 1.5 makes the expected cost lower by",
        "of the dearest network",
        "98 % interval",
        "n = 4 pairs",
        "your curve",
    ):
        assert words in text
    assert panel.root.locator("path.median").count() == 2
    assert panel.root.locator("path.ribbon").count() == 2
    ribbons = pixels(panel.plot)
    assert (abs(ribbons - drawn).max(-1) > 0.05).mean() > 0.005
    picture(page, f"fan-done-{theme}")

    panel.choice("metric").select_option("loss")
    expect(panel.root.locator(".verdict")).to_contain_text("you drew no curve")
    assert panel.mine() == ""
    picture(page, f"fan-loss-{theme}")
    until(lambda: workers() <= before, "no worker is left idle")

    panel.choice("second value").fill("99")
    panel.choice("second value").press("Enter")
    expect(panel.root.locator(".trouble")).to_contain_text("lam: '99' is not a number from 0 to 10")
    assert panel.root.locator("path.one").count() == 8  # nothing is lost by it
    panel.button("Ask again").click()
    panel.reach("draw")
    expect(panel.button("Fork")).to_be_disabled()
    assert panel.root.locator("path.one").count() == 0


def test_draw_with_a_finger(panel: Panel, page: Page) -> None:
    touch = page.context.new_cdp_session(page)
    touch.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def finger(kind: str, *points: tuple[float, float]) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    finger("touchStart", panel.place(0.1, 0.6))
    for k in range(2, 10):
        finger("touchMove", panel.place(k / 10, 0.6 - k / 30))
    finger("touchEnd")
    expect(panel.button("Fork")).to_be_enabled()
    assert panel.mine().count("L") == 24
    panel.button("Clear").click()
    panel.button("Skip the drawing").click()
    expect(panel.button("Fork")).to_be_enabled()
    expect(panel.root).to_contain_text("No curve: you only look.")
