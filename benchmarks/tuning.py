"""How fast a policy should learn: inherited and retrained accuracy of REINFORCE, TD, RUDDER and SNAS by learning rate.

``python benchmarks/tuning.py`` completes ``benchmarks/results/tuning.json``, a row a search of digits as long as any
other, with the seeds 100 to 102, which no comparison uses. What counts is the child's accuracy on valid with inherited
weights, recalibrated, as in the comparisons. ``retrained`` is that of the last child after 16 epochs alone, where the
search has to have been right and not only early.
"""

from __future__ import annotations

import json
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch

from nascore import methods
from nascore.run import Knobs, Run
from nascore.task import make_task

RESULTS = Path(__file__).parent / "results" / "tuning.json"
SEEDS = (100, 101, 102)
RETRAIN = 16  # epochs
Row = dict[str, Any]

GRID: list[tuple[str, dict[str, float], tuple[float, ...]]] = [
    ("reinforce", {}, (0.02, 0.1, 0.2, 0.3, 0.4, 0.8)),
    ("td", {"trace": 0}, (0.1, 0.3)),
    ("td", {"trace": 0.9}, (0.1, 0.3)),
    ("rudder", {}, (0.02, 0.05, 0.15)),
    ("snas", {}, (0.02, 0.05, 0.1, 0.3)),  # for comparison: its default is the lowest
]


def search(method: str, knobs: dict[str, float], rate: float, seed: int) -> Row:
    """One search: what its child was worth every 48 iterations, and after it."""
    own = methods.get(method)
    task, given = make_task("digits", seed=seed, measure_every=48), Knobs(**own.knobs)  # type: ignore[attr-defined]
    given.set(architecture_lr=rate, **knobs)
    given.apply()
    began, steps = time.process_time(), [*Run(own, task, given)]
    seconds = time.process_time() - began
    measured = [step.metrics for step in steps if "child_accuracy_recalibrated" in step.metrics]
    child = task.space.decode(steps[-1].probs)
    return {
        "method": method,
        "knobs": knobs,
        "architecture_lr": rate,
        "seed": seed,
        "inherited": [round(found["child_accuracy_recalibrated"], 4) for found in measured],
        "entropy": [round(found["entropy"], 4) for found in measured],
        "child_cost": round(measured[-1]["child_cost"], 4),
        "retrained": round(task.twin(epochs=RETRAIN).evaluate(child)["accuracy"], 4),
        "cpu_seconds": round(seconds, 1),
    }


def table(rows: list[Row]) -> str:
    """Medians over the seeds, a line a setting."""
    lines = [f"{'method':10} {'knobs':14} {'rate':>5} {'seeds':>5} {'inherited':>9} {'retrained':>9} {'entropy':>8}"]
    for method, knobs, rates in GRID:
        for rate in rates:
            some = [r for r in rows if (r["method"], r["knobs"], r["architecture_lr"]) == (method, knobs, rate)]
            if some:
                found = (median(r["inherited"][-1] for r in some), median(r["retrained"] for r in some))
                entropy = median(r["entropy"][-1] for r in some)
                told = " ".join(f"{name}={value:g}" for name, value in knobs.items())
                lines.append(
                    f"{method:10} {told:14} {rate:5g} {len(some):5} {found[0]:9.3f} {found[1]:9.3f} {entropy:8.3f}"
                )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    torch.set_num_threads(1)
    rows: list[Row] = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    done = {(r["method"], str(r["knobs"]), r["architecture_lr"], r["seed"]) for r in rows}
    for seed, (method, knobs, rates) in product(SEEDS, GRID):
        for rate in rates:
            if (method, str(knobs), rate, seed) not in done:
                rows.append(search(method, knobs, rate, seed))
                found = {"command": "python benchmarks/tuning.py", "task": "digits", "retrain_epochs": RETRAIN}
                RESULTS.write_text(
                    json.dumps(found | {"rows": rows}, indent=None).replace('{"method', '\n{"method') + "\n"
                )
    print(table(rows))


if __name__ == "__main__":
    main()
