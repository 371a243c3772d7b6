"""Do inherited weights rank children as training each alone does?

``python benchmarks/ranking.py [--seeds N]`` draws 60 children of TOY, trains each alone with two seeds (so that it is
known how well one training agrees with another), and takes from the searches of ``benchmarks/grid.py`` how many images
each of them classifies rightly with the weights that a search has trained; searches that are missing are run. Every
training is one line of ``runs/ranking.jsonl`` and is not done again, so that the benchmark can be stopped at any time
and grown later.

Counts of images go to the file shipped with the recordings: of valid, which a search may choose by, and of test, which
is for the report alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import grid
import numpy as np
import torch
from tqdm import tqdm

from nascore import data, evaluate, ranking
from nascore.run import provenance
from nascore.space import TOY
from nascore.task import make_task

ALONE = (0, 1)  # seeds of the stand-alone trainings
SPLITS = ("valid", "test")
CACHE = grid.ROOT / "runs" / "ranking.jsonl"
SHIPPED = grid.ROOT / "nascore" / "recordings" / "digits-ranking.json"

Found = dict[str, Any]


def drawn() -> list[list[list[int]]]:
    """The children that ``ranking.inherited`` measures, as indices of operations [child][cell][edge]."""
    return ranking.draw(TOY).tolist()  # type: ignore[no-any-return]


def alone(seed: int, child: int, epochs: int | None = None) -> Found:
    """Train one child alone and count the images it classifies rightly."""
    task = make_task("digits", seed, epochs)
    began = time.process_time()
    network = evaluate.trained(task, ranking.graphs(TOY, drawn()[child])).child
    found: Found = {"cpu_seconds": time.process_time() - began, "parameters": network.parameter_count()}
    for split in SPLITS:
        images = task.images(split)
        found[split] = round(evaluate.accuracy(network, images) * len(images.labels))
    return found


def load(cache: Path = CACHE) -> dict[tuple[int, int], Found]:
    """Every training that is done, by seed and child."""
    rows = map(json.loads, cache.read_text().splitlines() if cache.exists() else ())
    return {(row["seed"], row["child"]): row["found"] for row in rows}


def trainings(cache: Path = CACHE, train: Callable[[int, int], Found] = alone) -> dict[tuple[int, int], Found]:
    """Train each child alone with each seed, if that is not done yet."""
    done = load(cache)
    cache.parent.mkdir(parents=True, exist_ok=True)
    wanted = [(seed, child) for seed in ALONE for child in range(len(drawn()))]
    for seed, child in tqdm([key for key in wanted if key not in done], desc="trainings"):
        done[seed, child] = train(seed, child)
        with cache.open("a") as file:
            file.write(json.dumps({"seed": seed, "child": child, "found": done[seed, child]}) + "\n")
    return done


def searches(seeds: Iterable[int]) -> list[grid.Setting]:
    """The searches of the grid whose weights the children inherit, seed by seed."""
    return [replace(setting, seed=seed) for seed in seeds for setting in grid.CORE if setting.ranking]


def collected(done: Mapping[tuple[int, int], Found], searched: Mapping[grid.Setting, Found]) -> Found:
    """Everything as one table: counts ``[child]`` by seed, and where they come from."""
    children, rows = drawn(), data.load("digits").rows
    price = make_task("digits").resource.price()
    one_hot = torch.eye(len(TOY.ops))[torch.tensor(children)]
    return {
        **provenance(),
        "task": "digits",
        "space": TOY.to_json(),
        "children": children,
        "images": {split: len(rows[split]) for split in SPLITS},
        "parameters": [done[ALONE[0], child]["parameters"] for child in range(len(children))],
        "cost": [round(cost, 4) for cost in (one_hot * price).sum((1, 2, 3)).tolist()],
        "alone": [
            {
                "seed": seed,
                **{split: [done[seed, child][split] for child in range(len(children))] for split in SPLITS},
                "cpu_seconds": round(sum(done[seed, child]["cpu_seconds"] for child in range(len(children))), 1),
            }
            for seed in ALONE
        ],
        "searches": [
            {
                "method": setting.method,
                "seed": setting.seed,
                "cpu_seconds": round(found["cpu_seconds"], 1),
                **found["ranking"],
            }
            for setting, found in searched.items()
        ],
    }


def table(found: Mapping[str, Any]) -> Iterator[str]:
    """Kendall's τ against one training alone: of another training, the size, and every supernet."""
    first, second = found["alone"]
    truth = first["test"]
    yield f"Kendall's τ of {len(truth)} children against their first training alone, on test"
    yield f"second training, on test     {_told(second['test'], truth)}"
    yield f"second training, on valid    {_told(second['valid'], truth)}"
    yield f"number of parameters         {_told(found['parameters'], truth)}"
    for method in sorted({search["method"] for search in found["searches"]}):
        runs = [search for search in found["searches"] if search["method"] == method]
        for how in ("stale", "recalibrated"):
            taus = [ranking.agree(run[f"valid_{how}"], truth).tau for run in runs]
            spread = f"{len(taus)} seeds: median {np.median(taus):.2f}, {min(taus):.2f} to {max(taus):.2f}"
            yield f"{method:8} {how:19} {_told(runs[0][f'valid_{how}'], truth)}; {spread}"


def _told(a: Any, b: Any) -> str:
    found = ranking.agree(a, b)
    return f"τ {found.tau:5.2f} [{found.low:5.2f}, {found.high:5.2f}], {found.top:4.0%} of the top {found.k}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="searches by each method")
    parser.add_argument("--searches", type=Path, default=grid.CACHE, metavar="FILE", help="what grid.py has measured")
    parser.add_argument("--json", type=Path, default=SHIPPED, metavar="FILE", help="where the counts go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    searched = grid.complete([(setting,) for setting in searches(range(arguments.seeds))], arguments.searches)
    found = collected(trainings(), searched)
    arguments.json.write_text(json.dumps(found, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
