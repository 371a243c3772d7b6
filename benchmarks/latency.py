"""Does the latency of a child equal the sum of the latencies of its operations?

``python benchmarks/latency.py`` times random children of two spaces as networks of their own, and every operation alone
(``nascore.latency.additivity``: by turns, medians, processor time), prints how well the sum fits, and writes the times
to the file shipped with the recordings. About a minute.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nascore.latency import Additivity, additivity
from nascore.run import provenance
from nascore.task import make_task

SHIPPED = Path(__file__).resolve().parents[1] / "nascore" / "recordings" / "digits-latency.json"
SETTINGS: dict[str, dict[str, Any]] = {"TOY": {}, "DARTS": {"space": "DARTS", "cells": 3}}


def measured(children: int, rounds: int) -> dict[str, Any]:
    """Each space's times in microseconds, and where they come from."""
    spaces = {}
    for name, options in SETTINGS.items():
        task = make_task("digits", **options)
        spaces[name] = {
            **additivity(task, children, rounds).plain(),
            "image": task.images("valid").images.shape[-1],
            "batch": task.batch_size,
            "channels": task.network.channels,
            "cells": len(task.network.plans),
        }
    return {**provenance(), "task": "digits", "rounds": rounds, "spaces": spaces}


def table(found: Mapping[str, Any]) -> Iterator[str]:
    """One line a space."""
    yield "space  children  measured, ms        measured = a + b × sum       explained  by a second half of the rounds"
    for name, plain in found["spaces"].items():
        each = Additivity.of(plain)
        b, a = each.line
        low, high = 1e3 * each.measured.min(), 1e3 * each.measured.max()
        yield (
            f"{name:6} {len(each.measured):8}  {low:6.2f} to {high:6.2f}    {1e3 * a:6.2f} ms + {b:.2f} × sum"
            f"        {each.explained:6.0%}     {each.repeated:6.0%}"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path, default=SHIPPED, metavar="FILE", help="where the times go")
    arguments = parser.parse_args()
    found = measured(arguments.children, arguments.rounds)
    arguments.json.write_text(json.dumps(found) + "\n", encoding="utf-8")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
