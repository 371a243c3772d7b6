"""The penalty presets by what they do: which λ first loses an edge, halves the cost, loses a node.

``python benchmarks/presets.py [--seeds 5]`` completes the grid of searches (``grid.py``) and writes
``nascore/presets.json`` and the sweep itself, ``nascore/recordings/digits-sweep.json``. A preset is the smallest λ of
the grid at which the median seed shows its effect, each seed compared with its own run at λ = 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from grid import LAMBDAS, Setting, complete, of

from nascore.evaluate import interval

PACKAGE = Path(__file__).parents[1] / "nascore"
COMMAND = "python benchmarks/presets.py --seeds {seeds}"
Found = dict[str, Any]

EFFECTS: dict[str, tuple[str, Callable[[Found, Found], bool]]] = {
    "mild": ("first edge lost", lambda now, free: now["edges"] < free["edges"]),
    "moderate": ("half the cost", lambda now, free: now["child_cost"] <= free["child_cost"] / 2),
    "aggressive": ("first node lost", lambda now, free: now["lost_nodes"] > free["lost_nodes"]),
}


def presets(rows: dict[Setting, Found], seeds: int) -> dict[str, Any]:
    """Preset → knobs, what it means and what was measured."""

    def at(lam: float) -> list[Found]:
        return [rows[of("snas", seed, lam=lam)] for seed in range(seeds)]

    def measured(lam: float) -> dict[str, Any]:
        columns = ("edges", "lost_nodes", "child_cost", "cost", "argmax_recalibrated")
        return {"seeds": seeds} | {name: round(median(row[name] for row in at(lam)), 4) for name in columns}

    found = {"none": {"knobs": {"lam": 0.0}, "means": "no penalty", "measured": measured(0.0)}}
    for name, (means, effect) in EFFECTS.items():
        shares = {lam: sum(map(effect, at(lam), at(0.0))) / seeds for lam in LAMBDAS[1:]}
        first = [lam for lam, share in shares.items() if share > 0.5]
        if not first:
            raise SystemExit(f"no λ of {LAMBDAS} shows “{means}” in most of {seeds} seeds: shares {shares}")
        entry = measured(first[0]) | {"share_of_seeds": shares[first[0]]}
        found[name] = {"knobs": {"lam": first[0]}, "means": means, "measured": entry}
    return found


def sweep(rows: dict[Setting, Found], seeds: int) -> dict[str, Any]:
    """Medians with 95 % intervals over the seeds, a row a λ; accuracy is the recalibrated child's, on test."""
    columns = {"child_cost": "child_cost", "accuracy": "argmax_recalibrated", "edges": "edges", "supernet": "supernet"}
    table = []
    for lam in LAMBDAS:
        found = [rows[of("snas", seed, lam=lam)] for seed in range(seeds)]
        row: dict[str, Any] = {"lam": lam}
        for name, column in columns.items():
            middle, low, high = interval([entry[column] for entry in found])
            row[name] = {"median": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}
        table.append(row)
    return {"command": COMMAND.format(seeds=seeds), "seeds": seeds, "versions": found[0]["versions"], "rows": table}


def main() -> None:
    """Command line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = complete([(of("snas", seed, lam=lam),) for seed in range(arguments.seeds) for lam in LAMBDAS])
    found = {"digits": {"snas": presets(rows, arguments.seeds)}}
    text = json.dumps(found, indent=2)
    (PACKAGE / "presets.json").write_text(text + "\n")
    swept = json.dumps(sweep(rows, arguments.seeds), indent=1)
    (PACKAGE / "recordings" / "digits-sweep.json").write_text(swept + "\n")
    print(text)


if __name__ == "__main__":
    main()
