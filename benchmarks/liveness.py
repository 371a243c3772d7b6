"""How live is the live run? Times in a real JupyterLab and Chromium while a search is on.

``python benchmarks/liveness.py [--moves 40] [--json FILE]`` opens the cockpit on a fresh kernel some times, starts a
search, moves its penalty slider and, in turn, a bare ipywidgets slider whose callback only echoes, compares the
worker's processor time with and without a view, and scrubs. Times are from the key or pointer event in the page to the
picture after it is painted, or to the kernel hearing of a row; the page's clock is set by the kernel's.

A picture counts as changed by a move only if the kernel sent it after it had heard of the move: what the page redraws
by itself, and rows that were on their way, do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import psutil
from playwright.sync_api import Page
from tqdm import tqdm

from nascore.jobs import Job
from nascore.record import Recording
from nascore.runner import Runner

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browsing import Lab, chromium, jupyter

EPOCHS = 400  # more than will be done
THINK = 6.0  # seconds that somebody looks before the click
REST = 0.8  # seconds between two moves, on average
WINDOW = 5.0  # seconds over which processor time is counted
MARKS = "marks.jsonl"

# The kernel's half of the clockwork: when it heard a move, sent rows to the view, and heard of a row.
KERNEL = f"""
import json, time
import ipywidgets, nasviz
from nascore.runner import Runner
from nasviz.widgets import View

marks = open({MARKS!r}, "a", buffering=1)

def marked(owner, name, tell):
    before = getattr(owner, name)
    def after(self, *given):
        began = time.time()
        found = before(self, *given)
        if (mark := tell(*given)) is not None:
            marks.write(json.dumps({{**mark, "at": began}}) + "\\n")
        return found
    setattr(owner, name, after)

marked(View, "_heard", lambda _, content, __: {{"kind": "heard"}} if content.get("name") == "set" else None)
marked(View, "append", lambda recording, since: {{"kind": "sent", "rows": len(recording)}})
marked(Runner, "_receive", lambda event: {{"kind": "row", "t": event["t"]}} if event["event"] == "row" else None)

echo = ipywidgets.IntSlider(description="echo", max=1000, continuous_update=True)
heard = ipywidgets.Label("0")
heard.add_class("echoed")
echo.observe(lambda change: setattr(heard, "value", str(change["new"])), "value")
display(ipywidgets.HBox([echo, heard]))
"""
SHOW = f"nasviz.cockpit(epochs={EPOCHS})"

# The page's half: inputs when they happen, pictures when they are painted.
PAGE = """
window.liveness = { inputs: [], pictures: [], echoes: [] };
const now = () => (performance.timeOrigin + performance.now()) / 1000;
const painted = (act) => requestAnimationFrame(() => {
  const channel = new MessageChannel();
  channel.port1.onmessage = act;
  channel.port2.postMessage(0);
});
for (const kind of ["keydown", "pointerup"]) window.addEventListener(kind, (event) => {
  window.liveness.inputs.push({ kind, at: (performance.timeOrigin + event.timeStamp) / 1000 });
}, true);
new MutationObserver((changes) => {
  for (const { target, type } of changes) {
    if (type === "attributes") {
      const rows = Number(target.dataset.rows);
      painted(() => window.liveness.pictures.push({ rows, at: now() }));
    } else if ((target.closest ? target : target.parentElement)?.closest(".echoed")) {
      painted(() => window.liveness.echoes.push({ at: now() }));
    }
  }
}).observe(document, { subtree: true, childList: true, characterData: true, attributes: true,
                       attributeFilter: ["data-pictures"] });
"""

SCRUB = """
async (frames) => {
  const slider = document.querySelector(".nasviz input.position");
  const last = Number(document.querySelector(".nasviz").dataset.rows) - 1;
  const times = [];
  for (let k = 0; k < frames; k++) {
    const began = performance.now();
    slider.value = Math.round(last * Math.abs(1 - 2 * ((k * 0.37) % 1)));
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((done) => requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = done;
      channel.port2.postMessage(0);
    }));
    times.push((performance.now() - began) / 1000);
  }
  return times;
}
"""


@dataclass(frozen=True)
class Row:
    """One line of the table; ``most`` (or ``least``) is the target of the median, ``most_p95`` that of the 95th."""

    measure: str
    unit: str
    n: int
    median: float
    p95: float
    most: float | None = None
    least: float | None = None
    most_p95: float | None = None

    @property
    def wanted(self) -> str:
        targets = (("≤", self.most), ("≥", self.least), ("p95 ≤", self.most_p95))
        return ", ".join(f"{sign} {bound:.3g}" for sign, bound in targets if bound is not None)

    @property
    def verdict(self) -> str:
        high = self.most is None or self.median <= self.most
        low = self.least is None or self.median >= self.least
        tail = self.most_p95 is None or self.p95 <= self.most_p95
        return ("met" if high and low and tail else "missed") if self.wanted else ""


def row(measure: str, unit: str, values: list[float], **targets: float) -> Row:
    return Row(measure, unit, len(values), float(np.median(values)), float(np.quantile(values, 0.95)), **targets)


def table(rows: list[Row]) -> str:
    lines = [f"{'measure':56} {'n':>4} {'median':>8} {'p95':>8}  {'unit':10} {'target':20} verdict"]
    lines += [
        f"{r.measure:56} {r.n:4} {r.median:8.4g} {r.p95:8.4g}  {r.unit:10} {r.wanted:20} {r.verdict}".rstrip()
        for r in rows
    ]
    return "\n".join(lines)


class Bench:
    """A page on the benchmark's notebook, and what page and kernel have noted."""

    def __init__(self, lab: Lab, page: Page):
        self.lab, self.page = lab, page
        self.ahead = 0.0  # seconds that the kernel's clock is ahead of the page's

    def set_clock(self) -> None:
        ahead = []
        for _ in range(15):
            began = time.time()
            there = self.page.evaluate("(performance.timeOrigin + performance.now()) / 1000")
            ahead.append((began + time.time()) / 2 - there)
        self.ahead = float(np.median(ahead))

    def noted(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate("(kind) => window.liveness[kind]", kind)
        return [{**note, "at": note["at"] + self.ahead} for note in found]

    def marks(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.lab.folder / "notebooks" / MARKS).read_text().splitlines()
        return [mark for mark in map(json.loads, lines) if mark["kind"] == kind]

    def press(self, button: str) -> float:
        """Click a button; returns when the page saw it."""
        self.page.get_by_role("button", name=button, exact=True).click()
        return float(self.noted("inputs")[-1]["at"])

    def right(self, slider: str) -> float:
        """One press of the right arrow on a slider; returns when the page saw it."""
        self.page.locator(slider).first.press("ArrowRight")
        return float(self.noted("inputs")[-1]["at"])

    def picture(self, since: float, rows: int, most: float = np.inf, wait: float = 60) -> float:
        """When the first picture after ``since`` with at least ``rows`` and at most ``most`` rows was painted."""
        end = time.monotonic() + wait
        while time.monotonic() < end:
            for shown in self.noted("pictures"):
                if shown["at"] >= since and rows <= shown["rows"] <= most:
                    return float(shown["at"])
            self.page.wait_for_timeout(20)
        raise RuntimeError(f"no picture with {rows} rows within {wait} s")

    def opens(self) -> float:
        """Seconds from *Run All* on a fresh kernel to the recorded search."""
        self.lab.open(self.page, "notebooks/liveness.ipynb")
        self.set_clock()
        self.lab.run_all(self.page)
        clicked = float(self.noted("inputs")[-1]["at"])
        return self.picture(clicked, 2) - clicked

    def starts(self) -> float:
        """Seconds from *Run live* to a picture of the first step."""
        shown = self.noted("pictures")[-1]["rows"]
        clicked = self.press("Run live")
        return self.picture(clicked, 1, most=shown - 1) - clicked

    def moves(self, n: int) -> dict[str, list[float]]:
        """Seconds from a move to what it changes; the penalty's slider and the echo's in turn."""
        chance = random.Random(0)

        def rest() -> None:
            self.page.wait_for_timeout(1000 * REST * chance.uniform(0.5, 1.5))

        moved, echoes = [], []
        for _ in tqdm(range(n), desc="moves", leave=False):
            moved.append(self.right(".nasviz input[aria-label=penalty]"))
            rest()
            at = self.right(".noUi-handle")
            rest()
            echoes.append(next(echo["at"] for echo in self.noted("echoes") if echo["at"] > at) - at)
        runs = self.lab.folder.glob("notebooks/runs/*.sqlite")
        recording = Recording.open(max(runs, key=lambda path: path.stat().st_mtime))
        changes = [t for t, changed in recording.script().items() if "lam" in changed and t > 0]
        heard, sent, pictures = self.marks("heard"), self.marks("sent"), self.noted("pictures")
        if not len(heard) == len(changes) == n:
            raise RuntimeError(f"{n} moves, {len(heard)} heard, {len(changes)} in the log")
        arrived = {mark["t"]: mark["at"] for mark in self.marks("row")}

        def shown(rows: int, since: float) -> float:
            return next(it["at"] for it in pictures if it["rows"] >= rows and it["at"] >= since)

        found: dict[str, list[float]] = {"echo": echoes, "picture": [], "step": [], "shown": []}
        for at, hearing, t in zip(moved, heard, changes, strict=True):
            rows = next(mark["rows"] for mark in sent if mark["at"] >= hearing["at"])
            found["picture"].append(shown(rows, at) - at)
            found["step"].append(arrived[t] - at)
            found["shown"].append(shown(t + 1, at) - at)
        return found

    def windows(self, n: int) -> dict[str, list[float]]:
        """Rates and processor seconds with the view and, in turn, without one."""
        names = ("interval", "pictures", "with", "without", "kernel", "browser")
        found: dict[str, list[float]] = {name: [] for name in names}
        alone = Alone(self.lab.folder)
        for _ in tqdm(range(n), desc="windows", leave=False):
            self.press("Resume")
            self.page.wait_for_timeout(1000)
            began, before = time.time(), cpu()
            self.page.wait_for_timeout(1000 * WINDOW)
            ended, after = time.time(), cpu()
            self.press("Pause")
            spent = {name: after[name] - before[name] for name in after}
            came = [mark["at"] for mark in self.marks("row") if began <= mark["at"] <= ended]
            rows = {shown["rows"] for shown in self.noted("pictures") if began <= shown["at"] <= ended}
            found["interval"] += np.diff(came).tolist()
            found["pictures"].append(len(rows) / (ended - began))
            found["with"].append(spent["worker"] / len(came))
            found["kernel"].append(spent["kernel"] / (ended - began))
            found["browser"].append(spent["browser"] / (ended - began))
            found["without"].append(alone.window())
        alone.runner.close()
        return found


class Alone:
    """The same search by a runner at whose rows nobody looks."""

    def __init__(self, folder: Path):
        self.runner = Runner()
        self.runner.begin(Job("snas", epochs=EPOCHS, record=folder / "alone.sqlite"), paused=True)
        while self.runner.state == "starting":
            time.sleep(0.1)

    def window(self) -> float:
        """The worker's processor seconds a step over one window."""
        self.runner.resume()
        time.sleep(1)
        self.runner.drain()
        worker = psutil.Process(self.runner.pid)
        before = sum(worker.cpu_times()[:2])
        time.sleep(WINDOW)
        spent = sum(worker.cpu_times()[:2]) - before
        rows = [event for event in self.runner.drain() if event["event"] == "row"]
        self.runner.pause()
        return float(spent / len(rows))


def cpu() -> dict[str, float]:
    """Processor seconds so far of the notebook's kernel and worker, and of the browser."""
    spent = {"kernel": 0.0, "worker": 0.0, "browser": 0.0}
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
            used = sum(process.cpu_times()[:2])
            ours = process.ppid() == os.getpid()  # the worker without a view
        except psutil.Error:  # it has just ended
            continue
        for name, mark in (("kernel", "ipykernel_launcher"), ("worker", "nascore.worker"), ("browser", "chrom")):
            spent[name] += used * (mark in line and not ours)
    return spent


def measure(lab: Lab, page: Page, opens: int, moves: int, windows: int, frames: int) -> list[Row]:
    bench = Bench(lab, page)
    opened: list[float] = []
    starts: dict[bool, list[float]] = {True: [], False: []}
    scrub: list[float] = []
    for k in tqdm(range(opens), desc="fresh kernels", leave=False):
        opened.append(bench.opens())
        if k == 0:
            scrub = page.evaluate(SCRUB, frames)
        looks = k % 2 == 0 or k == opens - 1  # in the others the click comes at once; the last search stays on
        page.wait_for_timeout(1000 * THINK * looks)
        starts[looks].append(bench.starts())
    page.wait_for_timeout(3000)
    times = bench.moves(moves)
    bench.press("Pause")
    rates = bench.windows(windows)
    live = page.evaluate(SCRUB, frames)
    step = float(np.median(rates["interval"]))
    echo = float(np.median(times["echo"]))
    share = [a / b for a, b in zip(rates["with"], rates["without"], strict=True)]
    rows = [
        row("bare slider: move to its echo", "s", times["echo"]),
        row("move to a picture sent after it was heard", "s", times["picture"], most=echo + 0.08, most_p95=0.3),
        row("move to the first step under the new penalty", "s", times["step"], most=2 * step + 0.1),
        row("move to a picture of that step", "s", times["shown"]),
        row("time of a step", "s", rates["interval"]),
        row("new pictures", "a second", rates["pictures"], least=10),
        row("worker's processor time a step, with the view", "s", rates["with"]),
        row("worker's processor time a step, without", "s", rates["without"]),
        row("the first by the second", "", share, most=1.05),
        row("kernel's processor time while the search is on", "s a second", rates["kernel"]),
        row("browser's processor time while the search is on", "s a second", rates["browser"]),
        row("scrubbing a recorded search, one frame", "s", scrub, most=0.05),
        row("scrubbing the live search, paused, one frame", "s", live, most=0.05),
        row("Run All on a fresh kernel to the recorded search", "s", opened, most=4),
        row(f"Run live to the first step, {THINK:g} s after opening", "s", starts[True], most=3),
    ]
    return rows + ([row("Run live to the first step, at once", "s", starts[False], most=3)] if starts[False] else [])


def notebook(path: Path, *sources: str) -> None:
    path.parent.mkdir()
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # so that nobody is asked
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


@contextmanager
def stage(name: str, script: str, *sources: str) -> Iterator[tuple[Lab, Page]]:
    """A JupyterLab with the notebook ``notebooks/<name>.ipynb``, and a page of Chromium that runs ``script`` first."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        place = Path(folder, "notebooks")
        notebook(place / f"{name}.ipynb", *sources)
        with jupyter(Path(folder), place) as lab:
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            page.add_init_script(script)
            yield lab, page


def tell(rows: list[Row], minutes: int, file: Path | None) -> None:
    """Print the table and how busy the machine was over the last 1 or 5 minutes; write both to ``file`` too."""
    print(table(rows))
    busy, over = os.getloadavg()[minutes == 5], "minute" if minutes == 1 else "five minutes"
    print(f"{os.cpu_count()} cores; {busy:.1f} processes wanted one on average over the last {over}.")
    if file:
        found = {"rows": [{**asdict(r), "verdict": r.verdict} for r in rows], "cores": os.cpu_count(), "load": busy}
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opens", type=int, default=6, help="fresh kernels")
    parser.add_argument("--moves", type=int, default=40, help="moves of each slider")
    parser.add_argument("--windows", type=int, default=5, help=f"windows of {WINDOW:g} s for rates and processor time")
    parser.add_argument("--frames", type=int, default=200, help="frames to scrub")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    with stage("liveness", PAGE, KERNEL, SHOW) as (lab, page):
        rows = measure(lab, page, args.opens, args.moves, args.windows, args.frames)
    tell(rows, 5, args.json)


if __name__ == "__main__":
    main()
