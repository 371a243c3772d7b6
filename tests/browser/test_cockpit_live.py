"""The cockpit in JupyterLab, as a reader uses it: Run live, penalty, Pause, Step, position, Branch, Stop, Reset."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import nbformat
import numpy as np
import psutil
import pytest
from conftest import Lab, picture, pixels
from playwright.sync_api import Locator, Page, expect

PATIENCE = 90_000  # milliseconds; the machine may be busy


def workers() -> set[int]:
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if "nascore.worker" in (process.info["cmdline"] or ()):
            found.add(process.pid)
    return found


def until(true: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"still not: {what}")


@contextmanager
def opened(lab: Lab, page: Page, source: str, theme: str = "light") -> Iterator[None]:
    """A notebook of one cell, run in JupyterLab's own theme; its kernel ends with the block."""
    settings = lab.folder.parent / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    if theme == "dark":
        settings.mkdir(parents=True, exist_ok=True)
        (settings / "themes.jupyterlab-settings").write_text('{"theme": "JupyterLab Dark"}')
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source)]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, lab.folder / "notebooks" / "one.ipynb")
    lab.open(page, "notebooks/one.ipynb")
    lab.run_all(page)
    try:
        yield
    finally:
        for each in lab.kernels():
            lab.shut_down(each)
        (settings / "themes.jupyterlab-settings").unlink(missing_ok=True)


@pytest.fixture
def cockpit(page: Page, lab: Lab, request: pytest.FixtureRequest) -> Iterator["Seat"]:
    with opened(lab, page, "import nasviz\n\nnasviz.cockpit()", request.getfixturevalue("theme")):
        seat = Seat(page, lab)
        expect(seat.button("Run live")).to_be_visible(timeout=PATIENCE)
        yield seat


class Seat:
    """The cockpit on a page."""

    def __init__(self, page: Page, lab: Lab, root: Locator | None = None):
        self.page, self.lab = page, lab
        self.root = root or page.locator(".nasviz").first

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def slider(self, name: str) -> Locator:
        return self.root.get_by_role("slider", name=name, exact=True)

    @property
    def rows(self) -> int:
        return int(self.root.get_attribute("data-rows") or 0)

    @property
    def title(self) -> str:
        return self.root.locator("h1").first.inner_text()

    @property
    def state(self) -> str:
        return self.root.locator(".state").get_attribute("data-state") or ""

    def reach(self, state: str) -> None:
        until(lambda: self.state == state, f"{state}, but {self.state}: {self.root.inner_text()[:300]}")

    def grow(self, rows: int) -> None:
        """Wait for so many rows more."""
        goal = self.rows + rows
        until(lambda: self.rows >= goal, f"{goal} rows")

    def painted(self) -> dict[str, np.ndarray]:
        """What is on the screen where the search draws."""
        cells = pixels(self.root.get_by_role("region", name="cells"))
        curves = pixels(self.root.get_by_role("region", name="curves"))
        return {"cells": cells, "curves": curves}


def differ(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> dict[str, float]:
    """The share of pixels that changed, by panel."""
    return {
        name: 1.0 if a[name].shape != b[name].shape else float((abs(a[name] - b[name]).max(-1) > 0.05).mean())
        for name in a
    }


@pytest.mark.slow
@pytest.mark.parametrize(("page", "theme"), [("light", "light"), ("dark", "dark")], indirect=["page"])
def test_live(cockpit: Seat, page: Page, theme: str) -> None:
    assert cockpit.state == "replay"
    replayed = cockpit.rows
    assert replayed > 100  # a recording is shown before anything is run
    picture(page, f"cockpit-replay-{theme}")
    recorded = cockpit.painted()

    cockpit.button("Run live").click()
    cockpit.reach("running")
    until(lambda: 0 < cockpit.rows < replayed, "rows of the new run")
    early = cockpit.painted()
    assert min(differ(recorded, early).values()) > 0.001

    penalty = cockpit.slider("penalty")
    penalty.focus()
    before = penalty.input_value()
    for _ in range(3):
        page.keyboard.press("PageUp")
    assert float(penalty.input_value()) > float(before)
    box = penalty.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    cockpit.grow(40)
    until(lambda: cockpit.root.locator(".marks span").count() > 0, "a mark where the knob was turned")
    late = cockpit.painted()
    assert min(differ(early, late).values()) > 0.001  # the cells and the curves are painted anew
    picture(page, f"cockpit-running-{theme}")

    # Look back while it goes on.
    position = cockpit.slider("position")
    position.focus()
    page.keyboard.press("Home")
    until(lambda: cockpit.root.get_attribute("data-t") == "0", "the first row")
    cockpit.grow(5)
    assert cockpit.root.get_attribute("data-t") == "0"
    back = cockpit.painted()
    assert differ(late, back)["cells"] > 0.001
    cockpit.button("Newest").click()

    cockpit.button("Pause").click()
    cockpit.reach("paused")
    time.sleep(0.5)
    count = cockpit.rows
    time.sleep(0.5)
    assert cockpit.rows == count
    cockpit.button("Step").click()
    until(lambda: cockpit.rows == count + 1, "one step more")
    cockpit.button("Half step").click()
    until(lambda: cockpit.rows == count + 2, "half a step more")
    cockpit.button("Half step").click()
    until(lambda: cockpit.rows == count + 3, "the other half")
    assert cockpit.state == "paused"

    # Branch from an earlier row under another penalty.
    position.focus()
    page.keyboard.press("Home")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    until(lambda: cockpit.root.get_attribute("data-t") == "20", "row 20")
    penalty.focus()
    page.keyboard.press("Home")
    cockpit.button("Branch").click()
    until(lambda: cockpit.root.locator("path.ghost[d^=M]").count() > 0, "the ghost of the unbranched run")
    cockpit.reach("running")
    cockpit.grow(10)
    picture(page, f"cockpit-branch-{theme}")

    cockpit.button("Stop").click()
    cockpit.reach("stopped")
    cockpit.button("Reset").click()
    cockpit.reach("replay")
    until(lambda: cockpit.rows == replayed, "the recording it opened with")
    assert cockpit.root.locator(".trouble").first.inner_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light"])
def test_no_worker_outlives_its_kernel(cockpit: Seat, page: Page, theme: str) -> None:
    cockpit.button("Run live").click()
    cockpit.reach("running")
    mine = workers()
    assert mine
    page.get_by_role("button", name="Restart the kernel", exact=True).click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    until(lambda: not mine & workers(), "the worker is gone after a restart")
    lab_kernels = cockpit.lab.kernels()
    cockpit.lab.run_all(page)
    expect(cockpit.button("Run live")).to_be_visible(timeout=PATIENCE)
    until(workers, "a new worker")
    mine = workers()
    for kernel in lab_kernels:
        cockpit.lab.shut_down(kernel)
    until(lambda: not mine & workers(), "the worker is gone after the kernel was shut down")
