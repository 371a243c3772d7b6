"""The scatter of children in JupyterLab: point, keep, switch, go by keys; and a supernet trained while one looks."""

from collections.abc import Iterator

import pytest
from conftest import Lab, picture, pixels
from playwright.sync_api import Locator, Page, expect
from test_cockpit_live import PATIENCE, opened, until

SOURCE = """from nasviz.labs import ranking

view = ranking.scatter()
view"""
LIVE = """from nasviz.labs import ranking

ranking.live(children=6, epochs=40, every=5)"""


class Panel:
    """The scatter on a page."""

    def __init__(self, page: Page):
        self.page = page
        self.root = page.locator(".nasviz.ranking").first
        self.plot = self.root.locator(".plot svg")
        self.dots = self.root.locator(".dots circle")

    def chip(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def told(self, name: str) -> str:
        return self.root.get_attribute(f"data-{name}") or ""

    def point(self, child: int) -> None:
        """Point at a dot, again where it or the page was still moving."""
        told = self.root.locator(".facts")

        def arrived() -> bool:
            self.dots.nth(child).hover(force=True)
            return f"child {child} " in told.inner_text()

        until(arrived, f"child {child} is told of")

    def places(self) -> list[str]:
        return self.dots.evaluate_all("dots => dots.map((dot) => dot.style.transform)")


@pytest.fixture
def panel(page: Page, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Panel]:
    theme = request.node.callspec.params["page"]
    with opened(lab, page, request.param, theme):
        found = Panel(page)
        expect(found.dots.first).to_be_visible(timeout=PATIENCE)
        found.plot.scroll_into_view_if_needed()
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("panel", [SOURCE], indirect=True, ids=["scatter"])
@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_point_keep_and_switch(panel: Panel, page: Page, request: pytest.FixtureRequest) -> None:
    theme = request.node.callspec.params["page"]
    expect(panel.dots).to_have_count(60)
    expect(panel.root.locator(".facts")).to_contain_text("point at a dot")
    expect(panel.root.locator(".card svg.cell").first).to_be_hidden()
    panel.point(17)
    expect(panel.root.locator(".card svg.cell").first).to_be_visible()
    right, wrong, tied = panel.root.locator(".facts p").last.inner_text(), panel.root.locator(".dots .wrong"), ""
    assert f"{wrong.count()} wrongly" in right, tied
    panel.dots.nth(17).click(force=True)
    page.mouse.move(5, 5)
    expect(panel.root).to_have_attribute("data-child", "17")  # it is kept
    assert pixels(panel.root.locator(".card svg.cell").first).std() > 0.02
    picture(page, f"ranking-{theme}")

    recalibrated, places = float(panel.told("tau")), panel.places()
    panel.chip("statistics as inherited").click()
    expect(panel.root).to_have_attribute("data-how", "stale")
    assert float(panel.told("tau")) < recalibrated
    assert panel.places() != places
    panel.chip("accuracy").click()
    expect(panel.chip("accuracy")).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(600)  # the dots have arrived
    picture(page, f"ranking-accuracy-{theme}")
    panel.root.get_by_label("ranked by").select_option("parameters")
    expect(panel.chip("recalibrated")).to_be_hidden()
    expect(panel.root).to_have_attribute("data-source", "parameters")

    panel.plot.focus()
    page.keyboard.press("End")
    assert "rank 1" in (panel.plot.get_attribute("aria-valuetext") or "")
    page.keyboard.press("ArrowLeft")
    assert panel.told("child") not in ("17", "-1")
    page.keyboard.press("Escape")
    expect(panel.root.locator(".facts")).to_contain_text("point at a dot")


@pytest.mark.slow
@pytest.mark.parametrize("panel", [LIVE], indirect=True, ids=["live"])
@pytest.mark.parametrize("page", ["light"], indirect=True)
def test_a_supernet_is_trained_while_one_looks(panel: Panel, page: Page) -> None:
    start, stop = (page.get_by_role("button", name=name, exact=True) for name in ("Start", "Stop"))
    expect(stop).to_be_disabled()
    expect(panel.root.locator(".dots circle")).to_have_count(6)
    before = panel.places()
    start.click()
    expect(stop).to_be_enabled(timeout=PATIENCE)
    until(lambda: panel.root.locator(".history .dot").count() > 2, "three rankings")
    assert panel.places() != before
    stop.click()
    expect(start).to_be_enabled(timeout=PATIENCE)
    expect(page.locator(".widget-html, .jupyter-widgets").filter(has_text="stopped: step").first).to_be_visible()
    picture(page, "ranking-live")
