"""The searches that the claims and the presets are measured on: one JSON line a run, kept and reused.

``python benchmarks/grid.py --seeds 10`` runs what is missing and prints a table. A finished line is never run again
under the same settings, so that the grid can be stopped at any time and grown later.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LAMBDAS = (0.0, 0.05, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 5.0)
CACHE = Path(__file__).parents[1] / "runs" / "grid.jsonl"


@dataclass(frozen=True)
class Setting:
    """One search: what is varied in the claims."""

    method: str
    lam: float = 0.0
    options: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    epochs: int = 32

    @property
    def name(self) -> str:
        """How tables call it, without the seed."""
        options = "".join(f" {value}" for _, value in self.options)
        return f"{self.method}{options}" + (f" λ={self.lam:g}" if self.method == "snas" else "")


def search(setting: Setting) -> dict[str, Any]:
    """Run one search on digits to its end and measure it once on the test images, which nothing else reads."""
    import torch

    from nascore import evaluate, methods
    from nascore.run import Knobs, Run
    from nascore.task import make_task

    task = make_task("digits", seed=setting.seed, epochs=setting.epochs)
    task.measure_every = task.steps  # the end is all that is read here
    method = methods.get(setting.method)
    knobs = Knobs(**method.knobs)
    knobs.set(lam=setting.lam)
    options = dict(setting.options)
    step = deque(Run(lambda t, k: method(t, k, **options), task, knobs), maxlen=1).pop()  # the last one
    found: dict[str, Any] = {name: step.metrics[name] for name in ("entropy", "cost", "child_cost", "cpu_seconds")}
    test = task.images("test")
    found["supernet"] = evaluate.accuracy(task.network, test, torch.as_tensor(step.gates))
    rules = {"argmax": step.graphs or task.space.decode(step.probs)}
    rules["own"] = task.space.decode(step.probs, method.own_rule) if method.own_rule != "argmax" else rules["argmax"]
    for rule, graphs in rules.items():
        child = evaluate.inherited(task, graphs, "test")
        found[f"{rule}_stale"] = child["child_accuracy"]
        found[f"{rule}_recalibrated"] = child["child_accuracy_recalibrated"]
    cells = rules["argmax"].values()
    found["edges"] = sum(len(graph.edges) for graph in cells)
    found["lost_nodes"] = sum(not graph.into(node) for graph in cells for node in graph.output)
    found["versions"] = {"torch": torch.__version__, "python": platform.python_version()}
    return found


def load(cache: Path = CACHE) -> dict[Setting, dict[str, Any]]:
    """Every finished run in ``cache``."""
    rows = {}
    for line in cache.read_text().splitlines() if cache.exists() else ():
        row = json.loads(line)
        setting = row["setting"] | {"options": tuple(map(tuple, row["setting"]["options"]))}
        rows[Setting(**setting)] = row["found"]
    return rows


def grid(seeds: int, lambdas: Iterable[float] = LAMBDAS) -> Iterator[Setting]:
    """The searches of the claims, seed by seed, so that an early stop leaves whole seeds."""
    for seed in range(seeds):
        for lam in lambdas:
            yield Setting("snas", lam, seed=seed)
        yield Setting("darts", options=(("level", "bi"),), seed=seed)
        yield Setting("darts", options=(("level", "single"),), seed=seed)
        yield Setting("random", seed=seed)


def complete(settings: Iterable[Setting], cache: Path = CACHE) -> dict[Setting, dict[str, Any]]:
    """Run what is missing, one after the other, and return all of ``settings`` with what was found."""
    from tqdm import tqdm

    wanted, done = list(settings), load(cache)
    cache.parent.mkdir(parents=True, exist_ok=True)
    for setting in tqdm([setting for setting in wanted if setting not in done], desc="searches"):
        done[setting] = search(setting)
        with cache.open("a") as file:
            file.write(json.dumps({"setting": asdict(setting), "found": done[setting]}) + "\n")
    return {setting: done[setting] for setting in wanted}


def main() -> None:
    """Command line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--lambdas", type=float, nargs="*", default=LAMBDAS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = complete(grid(arguments.seeds, arguments.lambdas))
    print(
        f"{len(rows)} searches in {CACHE.name}, {sum(row['cpu_seconds'] for row in rows.values()):.0f} s of computing"
    )


if __name__ == "__main__":
    main()
