"""A JupyterLab on a copy of the notebooks, and pages in a real Chromium that must end without a console error.

Screenshots go to `artifacts/`, which git ignores. Without Chromium the tests are skipped, unless NAS_REQUIRE_BROWSER=1.
"""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).parents[2]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's Chromium, headless."""
    program = os.environ.get("NAS_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        sentence = f"no Chromium: none of {', '.join(PROGRAMS)} is on the PATH, and NAS_CHROMIUM names none"
        if os.environ.get("NAS_REQUIRE_BROWSER") == "1":
            pytest.fail(sentence)
        pytest.skip(sentence)
    sandbox = () if os.geteuid() else ("--no-sandbox",)  # Chromium has no sandbox for root
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=[*QUIET, *sandbox])
        yield chromium
        chromium.close()


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
    return imread(io.BytesIO(place.screenshot()))


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address, and the folder it shows (a copy)."""

    address: str
    folder: Path

    def open(self, page: Page, notebook: str) -> None:
        """Open a notebook of the copy as `make lab` opens the first one, and wait for its fresh kernel."""
        for kernel in json.load(urllib.request.urlopen(f"{self.address}/api/kernels")):
            self.shut_down(kernel["id"])
        page.goto(f"{self.address}/lab/workspaces/{time.monotonic_ns()}/tree/{notebook}?reset")
        page.locator(".jp-Notebook").wait_for()
        page.locator("[data-status=idle]").first.wait_for()

    def shut_down(self, kernel: str) -> None:
        """End a kernel, as closing a notebook and its kernel does."""
        urllib.request.urlopen(urllib.request.Request(f"{self.address}/api/kernels/{kernel}", method="DELETE")).close()

    def run_all(self, page: Page) -> None:
        """Run every cell of the open notebook; return at once."""
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Lab]:
    """JupyterLab on a copy of the notebooks, with settings and trust of its own."""
    del browser  # asked for first: without one there is no need for a server
    home = tmp_path_factory.mktemp("lab")
    folder = home / "copy"
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    env = {**os.environ, "JUPYTER_CONFIG_DIR": f"{home}/config", "JUPYTER_DATA_DIR": f"{home}/data"}
    env |= {"JUPYTER_RUNTIME_DIR": f"{home}/runtime", "IPYTHONDIR": f"{home}/ipython"}
    notebooks = sorted((folder / "notebooks").glob("*.ipynb"))
    subprocess.run([sys.executable, "-m", "jupyter", "trust", *notebooks], env=env, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--IdentityProvider.token="]
    command += [
        "--ServerApp.disable_check_xsrf=True",
        f"--ServerApp.root_dir={folder}",
        f"--ServerApp.port={address.rpartition(':')[2]}",
    ]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(f"{address}/api", server, home / "server.log")
        yield Lab(address, folder)
    finally:
        server.terminate()
        server.wait(30)


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers; its log is the message if it does not."""
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")
