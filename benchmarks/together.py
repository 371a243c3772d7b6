"""Where runs side by side in one network cost less than one after another, and how long a fan of futures takes.

``python benchmarks/together.py [--quick] [--minutes N] [--json FILE]`` takes turns between one run's SNAS step and the
same step of R runs as one batch, on noise images with batches of 64, one thread, in processor time, so that other work
on the machine costs less of it. *Ratio* is a batched step over R single ones, round by round; ``low`` and ``high`` are
the 95 % bootstrap interval of its median. Below 1 batching pays; whether ``nascore.together`` chooses it is told too.

*Sweep* is five seeds of the default task from start to end, with all measurements and writing, against the same five
one after another. *Fork* is a fan of 8 futures × 60 steps from the middle of a search, replay included.

What FILE holds already is not measured again, so a run that was stopped, or that ``--minutes`` ended, can go on.

Rows of the JSON: ``what`` ("step", "sweep" or "fork"), ``space, image, channels, cells, batch, runs``, ``single_s`` (of
one run), ``batched_s`` (of all), ``ratio, low, high, rounds, chosen``; of a fork ``seconds`` (of the clock), ``cpu_s``
and the ``load`` of the machine at that time.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nascore
from nascore import evaluate, methods
from nascore.data import SPLITS, Images
from nascore.run import Run
from nascore.space import SPACES
from nascore.task import Task
from nascore.together import RunsTogether, largest

CELLS = {"TOY": 2, "DARTS": 3}
SECONDS = 5.0  # of processor time for one setting, once three rounds are done
ROUNDS = 9
TARGETS = {"sweep": 0.8, "fork": 10.0}  # ratio; seconds on two cores


def noise_task(space: str, image: int, channels: int, seed: int) -> Task:
    """A task on images of noise: a step takes as long as on others."""
    pixels = np.random.default_rng(0).normal(size=(256, 3, image, image)).astype(np.float32)
    labels = np.arange(256) % 10
    rows = dict(zip(SPLITS, np.split(np.arange(256), [100, 200, 228]), strict=True))
    images = Images("noise", pixels, labels, 10, rows)
    cells = CELLS[space]
    return Task(images, SPACES[space], channels=channels, cells=cells, epochs=10**4, measure_every=10**6, seed=seed)


def timed(step: Callable[[], Any]) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def steps(space: str, image: int, channels: int, runs: int) -> dict[str, Any]:
    """A batched step against single ones."""
    snas = methods.get("snas")
    alone = Run(snas, noise_task(space, image, channels, 0))
    beside = RunsTogether([Run(snas, noise_task(space, image, channels, seed)) for seed in range(runs)])
    single, batched = [], []
    next(alone), next(beside)  # warm up
    began = time.process_time()
    while len(single) < ROUNDS and (len(single) < 3 or time.process_time() - began < SECONDS):
        first = timed(lambda: next(alone))
        batched.append(timed(lambda: next(beside)))
        single.append((first + timed(lambda: next(alone))) / 2)
    ratio, low, high = evaluate.interval(np.array(batched) / np.array(single) / runs)
    return {
        "what": "step",
        "space": space,
        "image": image,
        "channels": channels,
        "cells": CELLS[space],
        "batch": alone.task.batch_size,
        "runs": runs,
        "single_s": float(np.median(single)),
        "batched_s": float(np.median(batched)),
        "ratio": ratio,
        "low": low,
        "high": high,
        "rounds": len(single),
        "chosen": runs <= largest(alone.task)[0],
    }


def sweep(epochs: int, folder: Path) -> dict[str, Any]:
    """Five seeds of the default task, measured and written: side by side, and one after another."""
    seconds = {
        batched: timed(
            lambda batched=batched: nascore.search_together(
                "snas", seeds=5, epochs=epochs, record=folder / f"{batched}.sqlite", batched=batched, progress=False
            )
        )
        for batched in (False, True)
    }
    return {
        "what": "sweep",
        "space": "TOY",
        "image": 8,
        "channels": 8,
        "cells": 2,
        "batch": 64,
        "runs": 5,
        "epochs": epochs,
        "single_s": seconds[False] / 5,
        "batched_s": seconds[True],
        "ratio": seconds[True] / seconds[False],
    }


def fan(folder: Path) -> dict[str, Any]:
    """Eight futures of 60 steps, from row 149 of a search: the 29 steps since its checkpoint are done again first."""
    recording = nascore.search("snas", epochs=14, record=folder / "search.sqlite", progress=False)
    began = time.perf_counter()
    cpu = timed(lambda: nascore.futures(recording, 149, {"lam": 1.5}, seeds=4, steps=60, record=folder / "fan.sqlite"))
    seconds, load = time.perf_counter() - began, os.getloadavg()[0]
    return {"what": "fork", "runs": 8, "steps": 60, "seconds": seconds, "cpu_s": cpu, "load": load}


def report(rows: list[dict[str, Any]]) -> str:
    """The tables."""
    lines = [
        "A batched SNAS step over as many single ones (processor time, one thread): below 1 batching pays.",
        f"{'space':6} {'image':>6} {'channels':>8} {'runs':>5} {'single ms':>10} {'ratio':>6}  95 % interval  batched?",
    ]
    lines += [
        f"{row['space']:6} {row['image']:4}²  {row['channels']:8} {row['runs']:5} {1000 * row['single_s']:10.1f} "
        f"{row['ratio']:6.2f}  {row['low']:.2f} to {row['high']:.2f}   {'yes' if row['chosen'] else 'no'}"
        for row in rows
        if row["what"] == "step"
    ]
    for row in rows:
        if row["what"] == "sweep":
            met = "met" if row["ratio"] <= TARGETS["sweep"] else "missed"
            lines.append(
                f"Five seeds of the default task, {row['epochs']} epochs, all measured and written: "
                f"{row['batched_s']:.1f} s side by side, {5 * row['single_s']:.1f} s one after another, "
                f"ratio {row['ratio']:.2f} (target ≤ {TARGETS['sweep']:g}: {met})"
            )
        if row["what"] == "fork":
            met = "met" if row["cpu_s"] <= TARGETS["fork"] else "missed"
            lines.append(
                f"A fan of 8 futures × 60 steps, replay of 29 steps included: {row['cpu_s']:.1f} s of one processor "
                f"(target ≤ {TARGETS['fork']:g} s: {met}), {row['seconds']:.1f} s by the clock at a load of "
                f"{row['load']:.1f}"
            )
    return "\n".join(lines)


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row measures."""
    names = ("what", "space", "image", "channels", "runs") if row["what"] == "step" else ("what",)
    return tuple(row[name] for name in names)


def work(setting: tuple[str, int, int, int]) -> int:
    """About how much there is to do: the cheap settings come first."""
    space, image, channels, runs = setting
    return CELLS[space] ** 4 * image**2 * channels * runs


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the toy space at 8×8, and a short sweep")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further setting after so long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every row as a JSON list")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    grid = list(product(CELLS, (8, 16, 32), (8, 16), (2, 5, 8)))
    if arguments.quick:
        grid = [("TOY", 8, 8, 5)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        todo: dict[tuple[Any, ...], Callable[[], dict[str, Any]]] = {
            ("sweep",): lambda: sweep(1 if arguments.quick else 8, Path(folder)),
            ("fork",): lambda: fan(Path(folder)),
        }
        todo |= {("step", *setting): partial(steps, *setting) for setting in sorted(grid, key=work)}
        file = arguments.json
        rows = json.loads(file.read_text("utf-8")) if file and file.exists() else []
        for key, measure in todo.items():
            if key in map(key_of, rows) or time.monotonic() - began > 60 * arguments.minutes:
                continue
            rows.append(measure())
            print(report(rows[-1:]).splitlines()[-1], flush=True)
            if file:
                file.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(f"\n{report(sorted(rows, key=key_of))}")


if __name__ == "__main__":
    main()
