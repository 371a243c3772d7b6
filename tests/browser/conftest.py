"""A JupyterLab on a copy of the notebooks, and pages in a real Chromium that must end without a console error.

Screenshots go to `artifacts/`, which git ignores. Without Chromium the tests are skipped, unless NAS_REQUIRE_BROWSER=1.
"""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browsing import ROOT, Lab, NoBrowser, chromium, jupyter
from PIL import Image
from playwright.sync_api import Browser, Locator, Page


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's Chromium, headless."""
    try:
        with chromium() as found:
            yield found
    except NoBrowser as reason:
        if os.environ.get("NAS_REQUIRE_BROWSER") == "1":
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest.fixture(params=["light"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page in a fresh profile; `parametrize("page", ["light", "dark"], indirect=True)` sets what the reader prefers.

    When the test is over its picture is in `artifacts/`, and an error on the console fails it.
    """
    context = browser.new_context(viewport={"width": 1600, "height": 1000}, color_scheme=request.param)
    errors: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(f"{error.name}: {error.message}"))
    yield page
    picture(page, re.sub(r"\W+", "-", request.node.name))
    context.close()
    assert errors == []


def picture(page: Page, name: str) -> Path:
    """Store what the page shows now as `artifacts/NAME.png`."""
    path = ROOT / "artifacts" / f"{name}.png"
    page.screenshot(path=path)
    return path


def pixels(place: Locator) -> np.ndarray:
    """Return what is painted at a place now, [row, column, channel] in 0…1: the DOM alone proves nothing."""
    return np.asarray(Image.open(io.BytesIO(place.screenshot())).convert("RGB")) / 255


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Lab]:
    """JupyterLab on a copy of the notebooks, with settings and trust of its own."""
    del browser  # asked for first: without one there is no need for a server
    with jupyter(tmp_path_factory.mktemp("lab"), ROOT / "notebooks") as found:
        yield found
