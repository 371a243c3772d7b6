"""The fused supernet against the plain one: seconds a step, memory, growth, and how near the machine's limit it comes.

``python benchmarks/engine.py --jobs 2 --json FILE --svg FILE`` measures everything (about half an hour on two cores;
what is finished is kept in ``runs/`` for as long as the engine does not change, so it can be stopped and started
again). ``--quick`` measures the main settings in less than a minute, ``--only WORD`` the parts with WORD in their name.

*How.* A setting's variants live in one process, with one thread, and take turns: reference, fused, fused, reference, …
Seconds are processor time, so that other work on the machine costs less of it; both engines start from the same weights
and see the same batches. A ratio is taken round by round, and ``low`` and ``high`` are the 95 % bootstrap interval of
its median over the rounds (9 or more).

*What.* ``ops`` 5 is the toy space, 8 that of DARTS, 12 that of NASP with all operations on all edges.

- *forward+backward*: loss of a batch, gradients of gates and weights. *step snas*: the same with sampling, clipping and
  both optimisers.
- *step darts*: first order, bi-level; the architecture's half computes no gradient of the weights. *step darts2*:
  second order as published (Liu et al., 2019, eqs. 7 and 8, and the authors' code): a virtual step with momentum and
  weight decay, then a product with the Hessian from two more gradients.
- *step nasp*: gradients at the discrete point, on the validation batch for the architecture (Adam, clipped to [0, 1]),
  then a weight step. On the fused engine only the active operations run; the exact credit of all others comes from a
  forward pass (``credit.complete``). The reference engine has no sparse path: it runs everything, both times. *step
  nasp, published* is the fused engine with the architecture's gradient as the authors take it, through all operations.
- *weight step nasp*, *weight step child*: the second half of it, and the same for the child on its own
  (``Child.inherit``). The active operation of an edge is drawn once, uniformly from all but *none*; the rounds go
  through three such architectures.
- *channels last* is a module of its own, child or reference, whose images lie as the fused engine lays them: it tells
  what of the difference is the layout's.

*Rows* (``--json``): ``what``, ``ops, image, channels, nodes, cells, batch``, ``ratio, low, high, pairs`` and

- ``reference_s, fused_s``: medians, where the two engines are compared;
- ``slow, fast`` (engine and step) and ``slow_s, fast_s`` where two steps are, for example *nasp against darts*;
- ``reference_bytes, fused_bytes`` for *saved tensors* (what the forward pass keeps for the backward pass, weights
  apart) and *peak of a process*, with ``before_bytes``, what the process held before its first step;
- ``axis, values, reference_s, fused_s, slope_reference, slope_fused`` for *growth* (log seconds by log value);
- for *floor* see ``floor``; ``reference, fused, low, high, seeds`` for *accuracy* (differences fused − reference).
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from importlib import metadata
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from limits import floor
from searches import ARCHITECTURES, ENGINES, PAIRS, Laps, Row, Search, Setting

ROOT = Path(__file__).resolve().parents[1]
TURN = 0.05  # seconds that a turn takes at least; a faster step is repeated

# Taking turns ------------------------------------------------------------------------------------------------------

Turns = dict[tuple[str, str], list[float]]  # (engine, lap): seconds, round by round

# Two steps that are compared, slow and fast.
AGAINST = {
    "forward+backward, the reference channels last": (
        ("reference", "forward+backward, channels last"),
        ("fused", "forward+backward"),
    ),
    "nasp against darts, both fused": (("fused", "step darts"), ("fused", "step nasp")),
    "nasp against darts2, both fused": (("fused", "step darts2"), ("fused", "step nasp")),
    "nasp, fused, against darts, reference": (("reference", "step darts"), ("fused", "step nasp")),
    "nasp, fused, against darts2, reference": (("reference", "step darts2"), ("fused", "step nasp")),
    "nasp, published, against darts, both fused": (("fused", "step darts"), ("fused", "step nasp, published")),
    "exact credit against the published way, both fused": (("fused", "step nasp, published"), ("fused", "step nasp")),
    "weight step of nasp over the child's": (("fused", "weight step nasp"), ("fused", "weight step child")),
    "weight step of nasp over the child's, channels last": (
        ("fused", "weight step nasp"),
        ("fused", "weight step child, channels last"),
    ),
}
ALL_METHODS = ("snas", "channels_last", "darts", "darts2", "nasp", "published", "child", "child_last")
ONE_ENGINE = {"channels_last": ("reference",)} | dict.fromkeys(("published", "child", "child_last"), ("fused",))


def take_turns(setting: Setting, methods: Sequence[str], seconds: float) -> Turns:
    """Let the steps of both engines take turns, at least ``PAIRS`` rounds and more while ``seconds`` last."""
    searches = {engine: Search(setting, engine) for engine in ENGINES}
    order = [(engine, name) for name in methods for engine in ONE_ENGINE.get(name, ENGINES)]
    again: dict[tuple[str, str], int] = {}
    for engine, name in order:
        search, step = searches[engine], getattr(searches[engine], name)
        for search.turn in range(ARCHITECTURES if name in ("nasp", "published", "child", "child_last") else 1):
            if seconds or setting.image < 32:  # a quick look passes over a slow first round by taking the median
                step()  # the first time, memory and kernels are prepared
        if setting.image < 32:
            start = time.process_time()
            step()
            again[engine, name] = math.ceil(TURN / max(time.process_time() - start, 1e-3))
    turns: Turns = {}
    gc.collect()
    start, k = time.process_time(), 0
    while k < PAIRS or (k < 3 * PAIRS and time.process_time() - start < seconds):
        for engine, name in order if k % 2 == 0 else reversed(order):  # a drift falls on both alike
            search = searches[engine]
            search.turn = k % ARCHITECTURES
            laps: list[Laps] = [getattr(search, name)() for _ in range(again.get((engine, name), 1))]
            for lap in laps[0]:
                taken = sum(each[lap] for each in laps) / len(laps)
                series = turns.setdefault((engine, lap), [])
                if len(series) <= k:  # NASP's weight step is a part of two variants: the first one counts
                    series.append(taken)
        k += 1
    return turns


def compared(slow: Sequence[float], fast: Sequence[float]) -> Row:
    """The ratio, round by round: its median and 95 % interval."""
    import numpy as np

    from nascore.evaluate import interval

    ratio, low, high = interval(np.array(slow) / np.array(fast))
    return {"ratio": ratio, "low": low, "high": high, "pairs": len(slow)}


def rows_of(setting: Setting, turns: Turns) -> list[Row]:
    """A row for what both engines have done, and one for every other comparison that was measured."""
    from statistics import median

    found = []
    for what in dict.fromkeys(lap for _, lap in turns):
        pair = [turns.get((engine, what)) for engine in ENGINES]
        if pair[0] and pair[1]:
            medians = {f"{engine}_s": median(s) for engine, s in zip(ENGINES, pair, strict=True) if s}
            found.append({"what": what, **setting.row, **medians, **compared(*pair)})
    for what, (slow, fast) in AGAINST.items():
        if slow in turns and fast in turns:
            named = {"slow": ": ".join(slow), "fast": ": ".join(fast)}
            medians = {"slow_s": median(turns[slow]), "fast_s": median(turns[fast])}
            found.append({"what": what, **setting.row, **named, **medians, **compared(turns[slow], turns[fast])})
    return found


def grow(axis: str, settings: Sequence[Setting]) -> list[Row]:
    """Seconds along one axis, and the slope of their logarithm."""
    import numpy as np

    values = [len(s.space.edges) if axis == "edges" else getattr(s, axis) for s in settings]
    measured: dict[str, dict[str, list[float]]] = {}
    for setting in settings:
        for row in rows_of(setting, take_turns(setting, ("snas", "darts", "nasp") if axis == "ops" else ("snas",), 3)):
            if "reference_s" in row:
                times = measured.setdefault(row["what"], {engine: [] for engine in ENGINES})
                for engine in ENGINES:
                    times[engine].append(row[f"{engine}_s"])
    found = []
    for what, times in measured.items():
        if what.startswith("weight"):
            continue
        fitted = {f"slope_{engine}": slope(values, times[engine]) for engine in ENGINES}
        seconds = {f"{engine}_s": times[engine] for engine in ENGINES}
        ratio = float(np.median(np.array(times["reference"]) / np.array(times["fused"])))
        base = {**settings[0].row, **({"nodes": None} if axis == "edges" else {axis: None})}
        found.append(
            {"what": f"growth, {what}", **base, "axis": axis, "values": values, **seconds, **fitted, "ratio": ratio}
        )
    return found


def slope(values: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent b of seconds ≈ a · valueᵇ, by least squares in logarithms."""
    import numpy as np

    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


# Memory ------------------------------------------------------------------------------------------------------------


def saved_bytes(search: Search, forward: Callable[[], Any]) -> int:
    """Bytes that ``forward`` keeps for a backward pass, each storage once and without weights and batches."""
    import torch

    known = {t.untyped_storage().data_ptr() for t in (*search.weights, search.train[0], search.valid[0], search.alpha)}
    kept: dict[int, int] = {}

    def note(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = forward()
    total = sum(kept.values())
    del loss  # held until here, so that no address is given twice
    return total


def memory(setting: Setting) -> list[Row]:
    """Saved tensors of a dense and of a sparse step, and the peak of a process of its own for each engine."""
    from nascore import gates

    saved, sparse, peaks = {}, {}, {}
    for engine in ENGINES:
        search = Search(setting, engine)
        z = gates.one_hot(search.tables[0])
        saved[engine] = saved_bytes(search, lambda s=search: s.loss(s.train, s.alpha.softmax(-1)))
        sparse[engine] = saved_bytes(search, lambda s=search, z=z: s.loss(s.train, z, active=gates.active(z)))
        asked = [sys.executable, str(Path(__file__)), "--peak", json.dumps([asdict(setting), engine])]
        told = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
        peaks[engine] = json.loads(told)
    found = [
        {"what": what, **setting.row, **{f"{e}_bytes": by[e] for e in ENGINES}, "ratio": by["reference"] / by["fused"]}
        for what, by in (
            ("saved tensors", saved),
            ("saved tensors, weight step nasp", sparse),
            ("peak of a process", {engine: peak["peak"] for engine, peak in peaks.items()}),
        )
    ]
    found[-1]["before_bytes"] = peaks["fused"]["before"]
    return found


def peak(setting: Setting, engine: str) -> dict[str, int]:
    """Most memory that this process holds before and in two steps of SNAS, in bytes."""
    import torch

    torch.set_num_threads(1)
    search = Search(setting, engine)
    before = most_memory()
    for _ in range(2):
        search.snas()
    return {"before": before, "peak": most_memory()}


def most_memory() -> int:
    """The largest resident size of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage starts from what the parent held
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if found:
            return 1024 * int(found[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# The default task --------------------------------------------------------------------------------------------------


def default_task(engine: str, seed: int = 0) -> Any:
    """``make_task("digits")`` with its network run by ``engine``."""
    from nascore.task import make_task

    task = make_task("digits", seed=seed)
    task.network = task.network.converted(engine)
    return task


def cockpit(seconds: float) -> list[Row]:
    """A default run of SNAS as the cockpit starts it, recorded, without the measurements of children in between."""
    import tempfile
    from statistics import median

    from nascore.methods.snas import snas
    from nascore.run import Run

    turns: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for engine in ENGINES:
            task = default_task(engine)
            task.measure_every = 10**9
            runs[engine] = Run(snas, task, record=Path(folder, f"{engine}.sqlite"))
            for _ in range(5):
                next(runs[engine])
        start = time.process_time()
        while len(turns["fused"]) < PAIRS or (len(turns["fused"]) < 27 and time.process_time() - start < seconds):
            for engine in ENGINES if len(turns["fused"]) % 2 == 0 else ENGINES[::-1]:
                began = time.process_time()
                for _ in range(10):
                    next(runs[engine])
                turns[engine].append((time.process_time() - began) / 10)
        for run in runs.values():
            run.close()
    net, x = task.network, task.images("train").images
    setting = Setting(len(task.space.ops), x.shape[-1], net.channels, task.space.nodes, len(net.plans), task.batch_size)
    medians = {f"{engine}_s": median(turns[engine]) for engine in ENGINES}
    return [{"what": "default run, a step", **setting.row, **medians, **compared(*(turns[e] for e in ENGINES))}]


def accuracy(seeds: int = 5) -> list[Row]:
    """Default runs to their end, a pair a seed: they part by rounding, so only the spread can be compared."""
    from collections import deque
    from statistics import median

    from nascore.evaluate import compare
    from nascore.methods.snas import snas
    from nascore.run import Run

    ends: dict[str, list[Row]] = {}
    for engine, seed in product(ENGINES, range(seeds)):
        task = default_task(engine, seed)
        task.measure_every = task.steps  # the end is all that is read here
        (step,) = deque(Run(snas, task), maxlen=1)
        ends.setdefault(engine, []).append(dict(step.metrics))
    found = []
    for metric in ("accuracy", "child_accuracy_recalibrated"):
        values = {engine: [float(end[metric]) for end in ends[engine]] for engine in ENGINES}
        both = compare(values["fused"], values["reference"])
        told = {engine: median(values[engine]) for engine in ENGINES}
        spread = {f"{engine}_values": values[engine] for engine in ENGINES}
        found.append(
            {
                "what": f"accuracy, default run: {metric}",
                **told,
                **spread,
                "low": both.low,
                "high": both.high,
                "seeds": seeds,
            }
        )
    return found


# All of it ---------------------------------------------------------------------------------------------------------

MAIN = Setting(8, 8, 8, 3)
QUICK = (replace(MAIN, image=32), replace(MAIN, image=16), MAIN) + tuple(Setting(5, 8, 8, n) for n in (2, 3))


def parts(quick: bool) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """Everything to measure: function and arguments by name."""
    if quick:
        return {f"steps {setting}": ("steps", (setting, ("snas",), 0.0)) for setting in QUICK}
    found: dict[str, tuple[str, tuple[Any, ...]]] = {}
    whole = [MAIN, replace(MAIN, image=16), replace(MAIN, image=32), replace(MAIN, ops=12)]
    for setting in (Setting(*each) for each in product((5, 8, 12), (8, 16, 32), (8, 16), (2, 3, 4))):
        # Whole steps of DARTS and NASP at 32² in one setting: the grid of them would take hours.
        methods = ALL_METHODS if setting in whole else ("snas", "darts", "nasp") if setting.image < 32 else ("snas",)
        found[f"steps {setting}"] = "steps", (setting, methods, 5.0)
    for axis, settings in {
        "ops": [replace(MAIN, ops=k, mixed=True) for k in range(2, 13, 2)],
        "edges": [replace(MAIN, nodes=n) for n in range(1, 6)],
        "channels": [replace(MAIN, channels=c) for c in (4, 8, 16, 32)],
        "batch": [replace(MAIN, batch=b) for b in (8, 16, 32, 64, 128)],
    }.items():
        found[f"growth {axis}"] = "grow", (axis, settings)
    for setting in (*whole, Setting(5, 8, 8, 2)):
        found[f"memory {setting}"] = "memory", (setting,)
    for image in (8, 16, 32):
        found[f"floor {image}"] = "floor", (replace(MAIN, image=image),)
    found["default run"] = "cockpit", (10.0,)
    found["accuracy"] = "accuracy", ()
    # What the README tells comes first and the largest networks of the grid last: an early stop costs least.
    size = lambda s: s.ops * s.image**2 * s.channels * s.nodes
    grid = {name: part[1][0] for name, part in found.items() if part[0] == "steps" and part[1][0] not in whole}
    return dict(sorted(found.items(), key=lambda each: size(grid[each[0]]) if each[0] in grid else 0))


def steps(setting: Setting, methods: Sequence[str], seconds: float) -> list[Row]:
    """The rows of one setting."""
    return rows_of(setting, take_turns(setting, methods, seconds))


def work(part: tuple[str, str, tuple[Any, ...]]) -> tuple[str, list[Row], float]:
    """Measure one part in this process: its name, its rows, seconds on the wall."""
    name, function, arguments = part
    start = time.perf_counter()
    measure = {f.__name__: f for f in (steps, grow, memory, floor, cockpit, accuracy)}[function]
    return name, measure(*arguments), time.perf_counter() - start


def prepare() -> None:
    """One thread; an interrupt is the parent's to handle."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def stamp() -> str:
    """Changes with whatever the times depend on: the engine, the benchmark, torch."""
    files = [ROOT / "nascore" / f"{name}.py" for name in ("supernet", "fused", "depthwise", "ops", "gates", "credit")]
    own = [Path(__file__).with_name(f"{name}.py") for name in ("engine", "searches", "limits")]
    text = b"".join(path.read_bytes() for path in (*files, *own))
    return sha256(text + metadata.version("torch").encode()).hexdigest()[:12]


def measure_all(wanted: dict[str, tuple[str, tuple[Any, ...]]], jobs: int, store: Path | None) -> list[Row]:
    """The rows of all ``wanted`` parts, ``jobs`` at a time; an interrupt leaves those that are finished."""
    from tqdm import tqdm

    done: dict[str, list[Row]] = {}
    if store is not None and store.exists():
        done = {name: rows for name, rows in map(json.loads, store.read_text().splitlines()) if name in wanted}
    todo = [(name, *part) for name, part in wanted.items() if name not in done]
    if todo:
        with suppress(KeyboardInterrupt), get_context("spawn").Pool(min(jobs, len(todo)), prepare) as pool:
            bar = tqdm(pool.imap_unordered(work, todo), total=len(wanted), initial=len(done), desc="parts")
            for name, rows, seconds in bar:
                done[name] = rows
                bar.set_postfix_str(f"{name}: {seconds:.0f} s")
                if store is not None:
                    store.parent.mkdir(exist_ok=True)
                    with store.open("a") as file:
                        file.write(json.dumps([name, rows]) + "\n")
    if len(done) < len(wanted):
        print(f"Stopped: {len(done)} of {len(wanted)} parts are measured.")
    return [row for name in wanted for row in done.get(name, [])]


# Tables and the picture --------------------------------------------------------------------------------------------

# What was to be reached: (what, conditions, least of ``low``), and for NASP's weight step the most of ``high``.
TARGETS: tuple[tuple[str, dict[str, int], float], ...] = (
    ("forward+backward", {"ops": 8, "image": 8, "nodes": 3}, 2.5),
    ("forward+backward", {"ops": 8, "image": 16, "nodes": 3}, 2.5),
    ("forward+backward", {"ops": 8, "image": 32, "nodes": 3}, 2.3),
    ("forward+backward", {"ops": 5, "image": 8, "nodes": 2}, 1.4),
    ("forward+backward", {"ops": 5, "image": 8, "nodes": 4}, 1.7),
    ("nasp against darts, both fused", {"ops": 8}, 1.7),
    ("nasp against darts2, both fused", {"ops": 8}, 3.5),
    ("nasp, fused, against darts, reference", {"ops": 8}, 3.5),
    ("nasp, fused, against darts2, reference", {"ops": 8}, 8.0),
    ("default run, a step", {}, 1.4),
)
CHILD_LIMIT = 1.25


def verdict(row: Row) -> str:
    """Whether a row reaches what was to be reached, or nothing where nothing was."""
    if row["what"].startswith("weight step of nasp over"):
        return f"≤ {CHILD_LIMIT:g} {'met' if row['high'] <= CHILD_LIMIT else 'missed'}"
    if row.get("channels") != 8:
        return ""
    for what, conditions, least in TARGETS:
        if row["what"] == what and all(row[name] == value for name, value in conditions.items()):
            return f"≥ {least:g} {'met' if row['low'] >= least else 'missed'}"
    return ""


def table(rows: Sequence[Row]) -> str:
    """All rows, kind by kind."""
    place = lambda row: f"{row['ops']:>4} {row['image']:>4}² {row['channels']:>4} {row['nodes']:>5}"
    places = f"{'ops':>4} {'image':>5} {'chan':>4} {'nodes':>5}"
    by: dict[str, list[str]] = {}
    for row in rows:
        if "pairs" in row:
            first, second = (row["reference_s"], row["fused_s"]) if "fused_s" in row else (row["slow_s"], row["fast_s"])
            kind = "reference, fused" if "fused_s" in row else "slow, fast"
            by.setdefault(kind, []).append(
                f"{row['what']:51} {place(row)} {first:9.4f} {second:9.4f} {row['ratio']:6.2f}× "
                f"[{row['low']:.2f}, {row['high']:.2f}] {row['pairs']:>3}  {verdict(row)}".rstrip()
            )
        elif "fused_bytes" in row:
            megabytes = [f"{row[f'{engine}_bytes'] / 2**20:9.1f}" for engine in ENGINES]
            before = f"  of it before the step {row['before_bytes'] / 2**20:.0f}" if "before_bytes" in row else ""
            line = f"{row['what']:51} {place(row)} {' '.join(megabytes)} {row['ratio']:6.2f}×{before}"
            by.setdefault("memory, MB", []).append(line)
        elif "slope_fused" in row:
            lines = by.setdefault("growth", [])
            lines.append(f"{row['what']} with {row['axis']} {row['values']}")
            for engine in ENGINES:
                seconds = " ".join(f"{s:.4f}" for s in row[f"{engine}_s"])
                lines.append(f"  {engine:10} {seconds}  slope {row[f'slope_{engine}']:.2f}")
        elif row["what"] == "floor":
            by.setdefault("floor of forward+backward, fused", []).extend(floor_lines(row))
        elif "seeds" in row:
            line = (
                f"{row['what']:51} reference {row['reference']:.3f}, fused {row['fused']:.3f}, median difference over "
                f"{row['seeds']} seeds within [{row['low']:.3f}, {row['high']:.3f}]"
            )
            by.setdefault("accuracy", []).append(line)
    heads = {
        "reference, fused": f"{'seconds a step':51} {places} {'reference':>9} {'fused':>9} {'ratio':>7} 95 %, rounds",
        "slow, fast": f"{'seconds a step':51} {places} {'slow':>9} {'fast':>9} {'ratio':>7} 95 %, rounds",
        "memory, MB": f"{'memory, MB':51} {places} {'reference':>9} {'fused':>9} {'ratio':>7}",
    }
    return "\n\n".join("\n".join([heads.get(kind, kind), *lines]) for kind, lines in by.items())


def floor_lines(row: Row) -> list[str]:
    """A ``floor`` row in words."""
    percent = lambda pairs: ", ".join(f"{name} {share:.0%}" for name, share in pairs)
    best = f"{row['best_flops_a_second'] / 1e9:.0f} GFLOP/s, {row['best_bytes_a_second'] / 1e9:.0f} GB/s in cache"
    flops = f"{row['flops'] / 1e9:.2f} GFLOP (not fused {row['reference_flops'] / 1e9:.2f})"
    seconds = f"arithmetic alone {row['compute_s']:.3f} s, operator by operator {row['operators_s']:.3f} s"
    rate = f"convolutions and their gradients run at {row['convolution_flops_a_second'] / 1e9:.0f} GFLOP/s"
    return [
        f"{row['image']}²: {flops}, {row['bytes'] / 1e9:.2f} GB, {row['calls']} operators; the machine's best: {best}",
        f"  {seconds}, measured {row['fused_s']:.3f} s: {row['share']:.0%} of the speed that this floor allows; {rate}",
        f"  the floor: {percent([(name, s / row['operators_s']) for name, s in row['floor_by_operator']])}",
        f"  measured: {percent([(name, share) for name, share, _ in row['profile']])}",
    ]


def picture(rows: Sequence[Row]) -> str:
    """The main ratios and the steps' seconds side by side, as SVG that follows the reader's theme."""
    import plotly.graph_objects as go

    from nasviz.charts import INK, figure, svg_chart
    from nasviz.markup import sheet
    from nasviz.theme import THEMES

    colours = {"reference": INK["soft"], "fused": INK["focus"]}  # hues are kept for operations
    shown = [
        ("5 ops<br>2 nodes", {"ops": 5, "image": 8, "nodes": 2}),
        ("5 ops<br>4 nodes", {"ops": 5, "image": 8, "nodes": 4}),
        *((f"8 ops<br>{side}×{side}", {"ops": 8, "image": side, "nodes": 3}) for side in (8, 16, 32)),
        *((f"12 ops<br>{side}×{side}", {"ops": 12, "image": side, "nodes": 3}) for side in (8, 16)),
    ]
    main = [row for row in rows if row.get("channels") == 8 and "pairs" in row]

    def found(what: str, conditions: dict[str, int]) -> Row | None:
        fits = (r for r in main if r["what"] == what and all(r[k] == v for k, v in conditions.items()))
        return next(fits, None)

    bars = [(label, row) for label, where in shown if (row := found("forward+backward", where))]
    ratios = figure("How many times faster: forward and backward", y="reference / fused", width=460, height=320)
    ratios.add_trace(
        go.Bar(
            x=[label for label, _ in bars],
            y=[row["ratio"] for _, row in bars],
            marker_color=colours["fused"],
            error_y={"array": [max(row["high"] - row["ratio"], row["ratio"] - row["low"]) for _, row in bars]},
        )
    )
    ratios.add_trace(go.Scatter(x=[label for label, _ in bars], y=[1.0] * len(bars), line={"dash": "dash", "width": 1}))
    names = {
        "step darts2": "DARTS<br>2nd order",
        "step darts": "DARTS<br>1st order",
        "step snas": "SNAS",
        "step nasp": "NASP",
    }
    pairs = [(label, row) for what, label in names.items() if (row := found(what, {"ops": 8, "image": 8, "nodes": 3}))]
    times = figure("One search step, 8 ops, 8×8, one thread", y="milliseconds", width=460, height=320)
    for engine in ENGINES:
        heights = [1000 * row[f"{engine}_s"] for _, row in pairs]
        times.add_trace(go.Bar(name=engine, x=[label for label, _ in pairs], y=heights, marker_color=colours[engine]))
    drawn = [
        re.sub(r"^<svg ", f'<svg x="{x}" ', svg_chart(fig))
        for x, fig in ((0, ratios), (470, times))
        if len(fig.data[0].x)
    ]
    dark = "".join(
        f'[{part}="{INK[name]}"]{{{part}:{THEMES["dark"][name]}}}' for name in INK for part in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme:dark){{{dark}}}</style>"
    label = "Left: the fused supernet's speed over the reference's. Right: milliseconds a search step takes."
    return sheet(930 if len(drawn) == 2 else 460, 320, style + "".join(drawn), label)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the main settings, forward + backward and steps of SNAS")
    parser.add_argument("--only", metavar="WORD", help="the parts with WORD in their name, e.g. steps, memory, floor")
    parser.add_argument("--jobs", type=int, help="processes side by side, a thread each (default 1; 2 if --quick)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw the main ratios")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        setting, engine = json.loads(arguments.peak)
        print(json.dumps(peak(Setting(**setting), engine)))
        return
    cores = os.cpu_count() or 1
    jobs = arguments.jobs or min(2 if arguments.quick else 1, cores)
    if jobs > cores:
        parser.error(f"--jobs: {jobs} is more than the {cores} cores of this machine")
    everything = parts(arguments.quick)
    wanted = {name: part for name, part in everything.items() if not arguments.only or arguments.only in name}
    if not wanted:
        parser.error(f"--only: {arguments.only!r} is in no part's name; parts: {', '.join(everything)}")
    store = None if arguments.quick else ROOT / "runs" / f"engine-{stamp()}.jsonl"
    start = time.perf_counter()
    rows = measure_all(wanted, jobs, store)
    print(table(rows))
    busy, took = os.getloadavg()[1], time.perf_counter() - start
    print(
        f"\n{processor()}, {cores} cores, one thread, {jobs} at a time; PyTorch {metadata.version('torch')}; "
        f"{busy:.1f} processes wanted a core on average over the last five minutes; {took:.0f} s."
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    if arguments.svg:
        arguments.svg.write_text(picture(rows) + "\n", "utf-8")


def processor() -> str:
    """The processor's name where the system tells it."""
    told = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", told.read_text()) if told.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
