"""The two choices in JupyterLab: switch, read the text, be refused, run, restore a recording."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from conftest import Lab, picture, pixels
from playwright.sync_api import Locator, Page, expect
from test_cockpit_live import PATIENCE, Seat, opened, until, workers

SOURCE = "from nasviz.labs.choices import two_choices\n\ntwo_choices()"


class Panel:
    """The menus and the text, and the cockpit below them, on a page."""

    def __init__(self, page: Page, lab: Lab):
        self.page = page
        self.root = page.locator(".nasviz.choices")
        self.seat = Seat(page, lab, page.locator(".nasviz:not(.choices)").first)

    def menu(self, name: str) -> Locator:
        return self.root.get_by_label(name, exact=True)

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    @property
    def code(self) -> Locator:
        return self.root.get_by_label("the search as text")

    def switch(self, name: str, value: str) -> tuple[float, float]:
        """Choose, and wait for the first live step; the seconds until then, and the processor seconds of all parts."""
        before = self.seat.title
        began, used = time.perf_counter(), processor_seconds()
        self.menu(name).select_option(value)
        until(lambda: self.seat.title != before and self.seat.state == "running" and self.seat.rows > 0, "a live step")
        return time.perf_counter() - began, processor_seconds() - used


def processor_seconds() -> float:
    """What server, kernel, worker and browser have used."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            total += sum(process.cpu_times()[:2])
    return total


@pytest.fixture
def panel(page: Page, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Panel]:
    with opened(lab, page, SOURCE, request.node.callspec.params["page"]):
        found = Panel(page, lab)
        expect(found.menu("how gates are drawn")).to_be_visible(timeout=PATIENCE)
        expect(found.seat.button("Run live")).to_be_visible(timeout=PATIENCE)
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_switch_and_run(panel: Panel, page: Page, request: pytest.FixtureRequest) -> None:
    theme = request.node.callspec.params["page"]
    expect(panel.root).to_have_attribute("data-name", "DARTS")
    assert panel.seat.state == "replay"  # a recording is shown before anything is run
    assert panel.seat.rows > 100
    until(workers, "a worker that is warm")
    picture(page, f"choices-named-{theme}")
    before = pixels(panel.code)

    panel.switch("how gates are drawn", "concrete")  # the worker may still be importing torch
    expect(panel.root).to_have_attribute("data-name", "")  # two levels: nobody has named it
    assert "gates.concrete(alpha, tau, task.noise, task.allowed)" in panel.code.inner_text()
    new = panel.code.locator(".line.new")
    assert any("tau = gates.anneal(" in text for text in new.all_inner_texts())
    assert panel.code.locator(".line.gone:visible").count() == 0
    panel.menu("show what went").check()
    assert panel.code.locator(".line.gone:visible").count() > 0
    after = pixels(panel.code)
    assert before.shape != after.shape or (abs(before - after).max(-1) > 0.05).mean() > 0.01
    picture(page, f"choices-changed-{theme}")
    panel.menu("show what went").uncheck()

    times = [panel.switch("levels", "1")]
    expect(panel.root).to_have_attribute("data-name", "SNAS")
    expect(panel.root.locator(".same")).to_contain_text("rows so far", timeout=PATIENCE)
    panel.seat.grow(10)
    picture(page, f"choices-running-{theme}")

    # What does not go together is refused, marked in the menu, and one button away from what does.
    running = panel.seat.title
    panel.menu("how credit returns").select_option("natural")
    expect(panel.root).to_have_attribute("data-refused", "yes")
    refusal = panel.root.locator(".refusal")
    expect(refusal).to_contain_text("'natural' does not go with gates 'concrete': it ranks whole children")
    assert panel.seat.title == running  # what ran goes on
    assert panel.menu("how credit returns").locator("option", has_text="✕").count() > 3
    picture(page, f"choices-refused-{theme}")
    nearest = refusal.get_by_role("button")
    assert nearest.inner_text().startswith("Take ")
    nearest.click()
    expect(panel.root).to_have_attribute("data-refused", "no")

    panel.menu("how gates are drawn").select_option("one-hot")
    panel.menu("how credit returns").select_option("exact")
    until(lambda: panel.seat.title.startswith("ONE HOT EXACT") and panel.seat.rows > 3, "an unnamed search")
    times.append(panel.switch("how credit returns", "score"))
    expect(panel.root).to_have_attribute("data-name", "SNAS, sample = one-hot")
    load = os.getloadavg()[0] / (os.cpu_count() or 1)  # to be read with -s: a busy machine keeps no promise
    told = ", ".join(f"{wall:.2f} s ({work:.2f} s of processors)" for wall, work in times)
    print(f"switch to first live step: {told}; {load:.1f} programs a core")

    panel.root.get_by_label("run live at every switch").uncheck()
    panel.menu("how gates are drawn").select_option("concrete")
    panel.button("Take concrete × through × 1 level").click()
    panel.seat.reach("replay")
    until(lambda: panel.seat.rows > 100, "the recording, without a run")
    panel.seat.button("Run live").click()
    panel.seat.reach("running")
    panel.button("Restore the recording").click()
    panel.seat.reach("replay")
    assert panel.root.locator(".trouble").inner_text() == ""
    picture(page, f"choices-restored-{theme}")
