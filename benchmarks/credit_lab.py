"""How live is the credit lab? From a move of a slider of ``nasviz.chain`` to the picture of its effect, in Chromium.

``python benchmarks/credit_lab.py [--moves 40] [--json FILE]`` opens the chain in a real JupyterLab and moves its
sliders by keys, forth and back. A time is from the key event in the page to the picture with the new values after it is
painted, so it holds the way to the kernel, the learning of all sweeps, the way back and the drawing. The kernel forgets
before every move what it has computed. A bare ipywidgets slider whose callback only echoes is moved too.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from playwright.sync_api import Page
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browsing import Lab
from liveness import Row, row, stage, tell

MOST = 0.15  # seconds from a move to its picture
REST = 0.5  # seconds between two moves, on average
ENDS = ("value", "step", "min", "max")  # of a slider

KERNEL = """
import ipywidgets
from nasviz.labs import chain

shown = chain.chain(6, step="1/n")
view, hear = shown.widget(), shown.hear

def forgetful(name, payload):
    for cached in (chain.table, chain.repaired, chain._law, chain._half_time, chain._process):
        cached.cache_clear()
    hear(name, payload)

view._handlers[:] = [forgetful]
echo = ipywidgets.IntSlider(description="echo", max=1000, continuous_update=True)
heard = ipywidgets.Label("0")
heard.add_class("echoed")
echo.observe(lambda change: setattr(heard, "value", str(change["new"])), "value")
display(ipywidgets.HBox([echo, heard]), view)
"""

PAGE = """
window.lab = { inputs: [], pictures: [], echoes: [] };
const painted = (act) => requestAnimationFrame(() => {
  const channel = new MessageChannel();
  channel.port1.onmessage = act;
  channel.port2.postMessage(0);
});
window.addEventListener("keydown", (event) => window.lab.inputs.push(event.timeStamp), true);
new MutationObserver((changes) => {
  for (const { target, type } of changes) {
    if (type === "attributes") {
      const { delay, lam, rule } = target.dataset;
      painted(() => window.lab.pictures.push({ delay: Number(delay), lam: Number(lam), rule, at: performance.now() }));
    } else if ((target.closest ? target : target.parentElement)?.closest(".echoed")) {
      painted(() => window.lab.echoes.push({ at: performance.now() }));
    }
  }
}).observe(document, { subtree: true, childList: true, characterData: true, attributes: true,
                       attributeFilter: ["data-drawn"] });
"""


class Bench:
    """A page with the chain on it."""

    def __init__(self, page: Page):
        self.page, self.chance = page, random.Random(0)
        self.chain = page.locator(".nasviz.chain").first

    def press(self, control: str, key: str) -> float:
        """One press of a key on a control; returns when the page saw it, in milliseconds of its own clock."""
        self.page.locator(control).first.press(key)
        return float(self.page.evaluate("window.lab.inputs.at(-1)"))

    def until(self, what: str, test: str, since: float) -> float:
        """Seconds from ``since`` to the first painted ``what`` that passes ``test``, an expression of ``it``."""
        find = f"(since) => window.lab.{what}.find((it) => it.at > since && {test})?.at"
        at = self.page.wait_for_function(find, arg=since, polling=20, timeout=60_000).json_value()
        return (float(at) - since) / 1000

    def rest(self) -> None:
        self.page.wait_for_timeout(1000 * REST * self.chance.uniform(0.5, 1.5))

    def choose(self, name: str) -> None:
        self.chain.get_by_role("button", name=name, exact=True).click()
        self.page.wait_for_timeout(500)

    def moves(self, slider: str, n: int) -> list[float]:
        """Times of ``n`` moves of a slider, forth and back over its range."""
        found, control = [], f".nasviz.chain input[name={slider}]"
        value, step, low, high = (float(self.page.eval_on_selector(control, f"it => it.{k}")) for k in ENDS)
        way = 1
        for _ in range(n):
            way = -1 if value + step > high else 1 if value - step < low else way
            since, value = self.press(control, "ArrowRight" if way > 0 else "ArrowLeft"), round(value + way * step, 4)
            found.append(self.until("pictures", f"Math.abs(it.{slider} - {value}) < 1e-6", since))
            self.rest()
        return found

    def echoes(self, n: int) -> list[float]:
        found = []
        for _ in range(n):
            found.append(self.until("echoes", "true", self.press(".noUi-handle", "ArrowRight")))
            self.rest()
        return found


def measure(lab: Lab, page: Page, n: int) -> list[Row]:
    lab.open(page, "notebooks/credit.ipynb")
    lab.run_all(page)
    page.locator(".nasviz.chain .tubes svg").first.wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    bench, rows = Bench(page), []
    cases = [("1/n", "TD(0)", "delay"), (".1", "TD(0)", "delay"), ("1", "TD(0)", "delay"), ("1/n", "TD(λ)", "lam")]
    for step, rule, slider in tqdm(cases, leave=False):
        bench.choose(step)
        bench.choose(rule)
        name = {"delay": "delay", "lam": "λ"}[slider]
        times = bench.moves(slider, n)
        rows.append(row(f"{name} slider to its picture, {rule}, a = {step}", "s", times, most=MOST, most_p95=MOST))
    return [*rows, row("bare slider to its echo", "s", bench.echoes(n))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=40, help="moves of each slider")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    with stage("credit", PAGE, KERNEL) as (lab, page):
        rows = measure(lab, page, args.moves)
    tell(rows, 1, args.json)


if __name__ == "__main__":
    main()
