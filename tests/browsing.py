"""A Chromium and a JupyterLab to drive: what the browser tests and `benchmarks/liveness.py` share."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")


class NoBrowser(Exception):
    """There is no Chromium to drive; the message is a sentence."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium, headless.

    Raises:
        NoBrowser: none is on the PATH, and NAS_CHROMIUM names none.
    """
    program = os.environ.get("NAS_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise NoBrowser(f"no Chromium: none of {', '.join(PROGRAMS)} is on the PATH, and NAS_CHROMIUM names none")
    sandbox = () if os.geteuid() else ("--no-sandbox",)  # Chromium has no sandbox for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*QUIET, *sandbox])
        yield browser
        browser.close()


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address, and the folder it shows (a copy)."""

    address: str
    folder: Path

    def open(self, page: Page, notebook: str) -> None:
        """Open a notebook of the copy as `make lab` opens the first one, and wait for its fresh kernel."""
        for kernel in self.kernels():
            self.shut_down(kernel)
        page.goto(f"{self.address}/lab/workspaces/{time.monotonic_ns()}/tree/{notebook}?reset")
        page.locator(".jp-Notebook").wait_for()
        # The notebook's own mark says idle before there is a kernel.
        page.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for()

    def kernels(self) -> list[str]:
        """The ids of the kernels that run."""
        return [kernel["id"] for kernel in json.load(urllib.request.urlopen(f"{self.address}/api/kernels"))]

    def shut_down(self, kernel: str) -> None:
        """End a kernel, as closing a notebook and its kernel does."""
        urllib.request.urlopen(urllib.request.Request(f"{self.address}/api/kernels/{kernel}", method="DELETE")).close()

    def run_all(self, page: Page) -> None:
        """Run every cell of the open notebook; return at once."""
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


@contextmanager
def jupyter(home: Path, notebooks: Path) -> Iterator[Lab]:
    """JupyterLab on a copy of a folder of notebooks, with settings and trust of its own in `home`.

    Raises:
        RuntimeError: it did not start within a minute; the message is its log.
    """
    folder = home / "copy"
    shutil.copytree(notebooks, folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    env = {**os.environ, "JUPYTER_CONFIG_DIR": f"{home}/config", "JUPYTER_DATA_DIR": f"{home}/data"}
    env |= {"JUPYTER_RUNTIME_DIR": f"{home}/runtime", "IPYTHONDIR": f"{home}/ipython"}
    stored = sorted((folder / "notebooks").glob("*.ipynb"))
    subprocess.run([sys.executable, "-m", "jupyter", "trust", *stored], env=env, check=True, capture_output=True)
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
        _wait_for(f"{address}/api", server, home / "server.log")
        yield Lab(address, folder)
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:  # it waits for a kernel that is just starting
            server.kill()
            server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")
