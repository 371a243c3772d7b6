"""Does the verdict on a fan of futures tell an effect from luck, and how long does a fork take?

``python benchmarks/futures.py [--quick] [--json FILE]`` searches twice, forks both searches at several steps, and
judges 40 planted cases, half of them null.

*Null* cases have no knob that matters. In half of them the pairs share their chance and a knob is nudged by so little
that only rounding tells (a ten-thousandth of a learning rate); in the other half they share nothing, so that the two
arms are eight seeds of one setting. *Real* cases turn a knob, from a little to a lot. An error is a null case called an
effect; power is the share of real cases called one. Each fork is judged by every metric, but a case is planned for one.
The interval is also tried on differences drawn from known distributions. Only symmetric ones can be those of a null
case, whose arms could as well be swapped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import nascore
from nascore.record import Recording
from nascore.verdict import CONFIDENCE, Difference, judge
from nasviz.labs.futures import METRICS, STEPS, curve

SEEDS = 4
ERRORS = 0.05  # most nulls that may be called an effect
SECONDS = 10.0  # for eight futures of 60 steps, on two cores
NUDGES = ({"lam": 1e-5}, {"weight_lr": 0.10001}, {"architecture_lr": 0.020002}, {"tau_end": 0.10001}, {"lam": 1e-6})
CURSORS = tuple((run, t) for t in (60, 120, 180, 240, 330) for run in (0, 1))  # which search, and the row of the fork
CHANGES = (
    ({"lam": 0.05}, "cost"),
    ({"lam": 0.15}, "cost"),
    ({"lam": 0.5}, "entropy"),
    ({"lam": 1.5}, "loss"),
    ({"lam": 3.0}, "accuracy"),
    ({"architecture_lr": 0.03}, "entropy"),
    ({"architecture_lr": 0.06}, "cost"),
    ({"weight_lr": 0.05}, "loss"),
    ({"weight_lr": 0.02}, "loss"),
    ({"tau_end": 0.5}, "loss"),
)
Futures = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One verdict. ``main`` marks the 40 planted cases; the others are the same futures judged by another metric."""

    kind: str  # "null, nudged", "null, unpaired" or "real"
    knobs: dict[str, float]
    run: int
    t: int
    metric: str
    main: bool
    found: Difference

    @property
    def null(self) -> bool:
        return self.kind != "real"

    def row(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "found"} | asdict(self.found)


def forked(recording: Recording, t: int, knobs: dict[str, float], seeds: int) -> dict[str, tuple[Futures, Futures]]:
    """Metric → the futures of both settings, ``[future, step]``, pairs side by side."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "fork.sqlite")
        futures = nascore.futures(recording, t, knobs=knobs, seeds=seeds, steps=STEPS, record=record)
        futures.sort(key=lambda run: (run.meta["future"]["arm"], run.meta["future"]["seed"]))
        values = {metric: np.array([curve(run, metric) for run in futures]) for metric in METRICS}
    return {metric: (table[:seeds], table[seeds:]) for metric, table in values.items()}


def nulls(recording: Recording, run: int, t: int, knobs: dict[str, float], planned: str) -> Iterator[Case]:
    """Two null cases from one fork of twice the seeds: pairs that are nudged, and pairs of seeds that share nothing."""
    for metric, (unchanged, nudged) in forked(recording, t, knobs, 2 * SEEDS).items():
        some, others = slice(0, SEEDS), slice(SEEDS, 2 * SEEDS)
        for kind, half in (("null, nudged", some), ("null, unpaired", others)):
            yield Case(kind, knobs, run, t, metric, metric == planned, judge(unchanged[some], nudged[half]))


def real(recording: Recording, run: int, t: int, knobs: dict[str, float], planned: str) -> tuple[list[Case], float]:
    """A real case by every metric, and the seconds its fork took."""
    began = time.perf_counter()
    found = forked(recording, t, knobs, SEEDS)
    took = time.perf_counter() - began
    return [
        Case("real", knobs, run, t, metric, metric == planned, judge(*pair)) for metric, pair in found.items()
    ], took


def coverage(fans: int = 20_000) -> list[dict[str, Any]]:
    """How often the interval of four differences holds their mean, by the distribution they are drawn from."""
    rng = np.random.default_rng(0)
    draws = {
        "normal": rng.normal(size=(fans, SEEDS)),
        "heavy tails, t(3)": rng.standard_t(3, size=(fans, SEEDS)),
        "uniform": rng.uniform(-1, 1, size=(fans, SEEDS)),
        "skewed, exponential (no null)": rng.exponential(size=(fans, SEEDS)) - 1,
    }
    rows = []
    for name, differences in draws.items():
        fine = [judge(np.zeros((SEEDS, 1)), d[:, None]) for d in differences]
        rows.append(
            {
                "what": "coverage",
                "differences": name,
                "fans": fans,
                "wanted": CONFIDENCE,
                "covered": float(np.mean([found.low <= 0 <= found.high for found in fine])),
            }
        )
    return rows


def tally(cases: list[Case]) -> dict[str, Any]:
    """How many of some cases got each verdict."""
    verdicts = [case.found.verdict for case in cases]
    return {"cases": len(cases), **{name: verdicts.count(name) for name in ("effect", "luck", "cannot tell")}}


def report(cases: list[Case], seconds: list[float]) -> tuple[str, list[dict[str, Any]]]:
    """The tables, and their rows as data."""
    main = [case for case in cases if case.main]
    lines = [
        f"{'kind':15} {'knob':24} {'run':>3} {'t':>4} {'metric':9} {'difference, interval':34} {'spread':>8}  verdict"
    ]
    for case in main:
        knob = ", ".join(f"{name} {value:g}" for name, value in case.knobs.items())
        interval = f"{case.found.mean:+.4f} [{case.found.low:+.4f}, {case.found.high:+.4f}]"
        lines.append(
            f"{case.kind:15} {knob:24} {case.run:3} {case.t:4} {case.metric:9} {interval:34} {case.found.spread:8.4f}  "
            f"{case.found.verdict}"
        )
    rows = [{"what": "case", **case.row()} for case in cases]
    lines += ["", f"{'of the cases':34} {'n':>4} {'effect':>7} {'luck':>5} {'cannot tell':>12}"]
    groups = {
        "null": [case for case in main if case.null],
        "  nudged": [case for case in main if case.kind == "null, nudged"],
        "  unpaired": [case for case in main if case.kind == "null, unpaired"],
        "real": [case for case in main if not case.null],
        "null, by every metric": [case for case in cases if case.null],
        "real, by every metric": [case for case in cases if not case.null],
    }
    for name, group in groups.items():
        found = tally(group)
        lines.append(f"{name:34} {found['cases']:4} {found['effect']:7} {found['luck']:5} {found['cannot tell']:12}")
        rows.append({"what": "tally", "group": name.strip(), **found})
    error = tally(groups["null"])["effect"] / max(len(groups["null"]), 1)
    power = tally(groups["real"])["effect"] / max(len(groups["real"]), 1)
    middle = float(np.median(seconds))
    rows.append({"what": "error on nulls", "value": error, "most": ERRORS})
    rows.append({"what": "power on effects", "value": power})
    rows.append(
        {"what": "fork", "runs": 2 * SEEDS, "steps": STEPS, "median_s": middle, "max_s": max(seconds), "most": SECONDS}
    )
    told = f"median {middle:.1f} s, longest {max(seconds):.1f} s of {len(seconds)}"
    met = "met" if middle <= SECONDS else "missed"
    lines += [
        "",
        f"error on nulls    {error:6.1%}  target ≤ {ERRORS:.0%}: {'met' if error <= ERRORS else 'missed'}",
        f"power on effects  {power:6.1%}",
        f"a fork of {2 * SEEDS} × {STEPS} steps: {told}, target ≤ {SECONDS:g} s: {met}",
    ]
    return "\n".join(lines), rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 cases instead of 40, and fewer draws")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every row as a JSON list")
    arguments = parser.parse_args()
    metrics = list(METRICS)
    plan_null = [(at, NUDGES[k // 2], metrics[k % len(metrics)]) for k, at in enumerate(CURSORS)]
    plan_real = [(CURSORS[(3 * k + j) % len(CURSORS)], *change) for j in range(2) for k, change in enumerate(CHANGES)]
    if arguments.quick:
        plan_null, plan_real = plan_null[:2], plan_real[:4]
    cases: list[Case] = []
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        runs = [nascore.search("snas", "digits", seed, record=Path(folder, f"{seed}.sqlite")) for seed in (0, 1)]
        bar = tqdm(total=len(plan_null) + len(plan_real), desc="forks")
        for (run, t), knobs, planned in plan_null:
            cases += nulls(runs[run], run, t, knobs, planned)
            bar.update()
        for (run, t), knobs, planned in plan_real:
            found, took = real(runs[run], run, t, knobs, planned)
            cases += found
            seconds.append(took)
            bar.update()
        bar.close()
    text, rows = report(cases, seconds)
    print(text)
    covered = coverage(2_000 if arguments.quick else 20_000)
    print(f"\nThe {CONFIDENCE:.0%} interval of {SEEDS} differences holds their mean:")
    for row in covered:
        print(f"  {row['differences']:30} {row['covered']:6.1%}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows + covered, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
