"""What to draw: pure functions of a recording and its rows. Widgets, static pictures and HTML pages read only this.

Every judgement a view shows is made here once, in Python: which operation leads, how certain the search is, which
edges are alive, when they died, what an edge costs, and the one sentence that says what has changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from nascore.record import Recording
from nascore.run import HALF_PHASES
from nascore.space import Space

Array = NDArray[np.float32]

HOLD = 8
"""Rows for which an edge must stay dead (or alive) to count as a death (or a birth); early on they flicker."""

CURVES: tuple[dict[str, Any], ...] = (
    {
        "title": "accuracy on validation data",
        "range": [0, 1],
        "series": [
            {"metric": "accuracy", "label": "supernet", "dash": ""},
            {"metric": "child_accuracy_recalibrated", "label": "child, recalibrated", "dash": "7 3"},
            {"metric": "child_accuracy", "label": "child, as inherited", "dash": "2 3"},
            {"metric": "random_child_accuracy", "label": "random child", "dash": "1 4", "soft": True},
        ],
    },
    {"title": "loss (nats)", "range": [0, None], "series": [{"metric": "loss", "label": "loss", "dash": ""}]},
    {
        "title": "cost (share of the dearest network)",
        "range": [0, 1],
        "series": [
            {"metric": "cost", "label": "expected", "dash": ""},
            {"metric": "child_cost", "label": "child", "dash": "5 3"},
        ],
    },
    {
        "title": "penalty in force",
        "range": [0, None],
        "series": [{"metric": "lam_effective", "label": "λ", "dash": ""}],
    },
    {
        "title": "mean entropy of an edge (nats)",
        "range": [0, "log_ops"],
        "series": [{"metric": "entropy", "label": "entropy", "dash": ""}],
    },
)
"""The charts of the cockpit. Ink and dashes only: hues belong to operations."""


@lru_cache(maxsize=8)
def _space(text: str) -> Space:
    return Space.from_json(text)


def space_of(recording: Recording) -> Space:
    """The recording's search space."""
    return _space(recording.meta["space"])


def planned(recording: Recording) -> int:
    """How many rows the run will have: one a step, two where a step has two phases."""
    steps = int(recording.meta.get("steps", 0))
    halves = sum(phase in HALF_PHASES for phase in recording.phases)
    whole = max(len(recording) - halves, 1)
    return max(len(recording), steps * (2 if halves > whole / 2 else 1))


def derived(space: Space, probs: Array) -> NDArray[np.int64]:
    """The op that *argmax* derives for every edge, ``[t, cell, edge]``; ties go to the first, as in ``decode``."""
    masked: NDArray[np.float64] = np.where(space.allowed, probs, -np.inf)
    return np.asarray(masked.argmax(-1))


def chosen(recording: Recording) -> NDArray[np.int64]:
    """The op of every edge of the derived cells, ``[t, cell, edge]``.

    It is the method's own choice in rows that give it (``Step.graphs``: the probs of random search stay uniform), and
    the most probable op in the others.
    """
    space = space_of(recording)
    ops = derived(space, recording.column("probs"))
    own = _OWN.setdefault(recording, {})
    for t in range(_SEEN.get(recording, 0), len(recording)):
        graphs = recording[t].graphs
        if graphs is not None:
            own[t] = space.one_hot(graphs).argmax(-1)
    _SEEN[recording] = len(recording)
    for t, row in own.items():
        ops[t] = row
    return ops


# Graphs are read from a row once: a live view asks for all rows again with every new one.
_OWN: WeakKeyDictionary[Recording, dict[int, NDArray[np.int64]]] = WeakKeyDictionary()
_SEEN: WeakKeyDictionary[Recording, int] = WeakKeyDictionary()


def alive(space: Space, ops: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which edges of the derived cells carry anything, ``[t, cell, edge]``.

    An edge is dead if *none* stands on it or if nothing reaches the node it starts from.
    """
    chosen = ops != space.ops.index("none") if "none" in space.ops else np.ones(ops.shape, bool)
    fed = np.zeros((*ops.shape[:-1], space.inputs + space.nodes), bool)
    fed[..., : space.inputs] = True
    living = np.zeros(ops.shape, bool)
    for e, (source, target) in enumerate(space.edges):  # by target, so every source is settled before it is read
        living[..., e] = chosen[..., e] & fed[..., source]
        fed[..., target] |= living[..., e]
    return living


def certainty(space: Space, probs: Array) -> NDArray[np.float64]:
    """1 − H(p) / log(number of allowed ops), ``[t, cell, edge]``: 0 for uniform, 1 for decided."""
    p: NDArray[np.float64] = np.where(space.allowed, probs, 0.0).astype(float)
    safe: NDArray[np.float64] = np.where(p > 0, p, 1.0)
    entropy = -(p * np.log(safe)).sum(-1)
    most = np.log(np.maximum(space.allowed.sum(-1), 2))
    share: NDArray[np.float64] = np.clip(1 - entropy / most, 0, 1)
    return share


def contribution(gates: Array, credit: Array) -> NDArray[np.float64]:
    """Σ_k z_k · credit_k, ``[t, cell, edge]``: what an edge as it stands does for the loss, to first order.

    A closed gate adds nothing, whether or not its credit was computed (methods that sample a path know only its own).
    """
    parts: NDArray[np.float64] = np.where(gates == 0, 0.0, gates.astype(float) * credit)
    return np.asarray(parts.sum(-1))


@dataclass(frozen=True)
class Event:
    """An edge that died or came back, and stayed so for ``HOLD`` rows (or to the end of the recording)."""

    t: int
    cell: int
    edge: int
    birth: bool


def events(living: NDArray[np.bool_]) -> list[Event]:
    """Births and deaths, by row, from which edges are alive, ``[t, cell, edge]``. Nothing is born in row 0."""
    found = []
    length = len(living)
    for cell, edge in np.ndindex(living.shape[1:]):
        line = living[:, cell, edge]
        state = line[0] if length else False
        for t in np.flatnonzero(np.diff(line)) + 1:
            stretch = line[t : min(t + HOLD, length)]
            if line[t] != state and (stretch == line[t]).all():
                state = line[t]
                found.append(Event(int(t), cell, edge, bool(state)))
    return sorted(found, key=lambda event: (event.t, event.cell, event.edge))


def changes(recording: Recording) -> list[dict[str, Any]]:
    """Where a knob was turned while the search ran: ``{"t": row, "label": "λ 0 → 0.5"}``."""
    found = []
    values = recording.values(0)
    for t, changed in sorted(recording.script().items()):
        if t > 0:
            labels = [f"{symbol(recording, name)} {values[name]:.3g} → {value:.3g}" for name, value in changed.items()]
            found.append({"t": t, "label": ", ".join(labels)})
        values.update(changed)
    return found


def symbol(recording: Recording, name: str) -> str:
    """The short name of a knob: the last word of its label, λ for *penalty λ*."""
    label = recording.knobs[name].label if name in recording.knobs else name
    last = label.split()[-1]
    return last if len(last) == 1 else label


def prices(recording: Recording, t: int | None = None) -> NDArray[np.float64]:
    """Price of one unit of each gate in row ``t``, ``[cell, edge, op]``: resources weighted as the knobs say."""
    tables = recording.meta.get("prices", {})
    values = recording.values(t)
    space = space_of(recording)
    weights = {name: values.get(f"w_{name}", 0.0) for name in tables}
    total = sum(weights.values())
    mean = np.zeros(space.shape)
    for name, weight in weights.items():
        if weight:
            mean += weight / total * np.asarray(tables[name], float)
    return mean


def penalty(recording: Recording, t: int) -> float:
    """λ in force in row ``t``: the effective one where a budget drives it, else the knob's."""
    values = recording[t].metrics
    knob = recording.values(t).get("lam", 0.0)
    found = values.get("lam_effective", knob)
    return float(found) if math.isfinite(found) else float(knob)


def edge_numbers(recording: Recording, t: int, cell: int, edge: int) -> list[dict[str, Any]]:
    """The pinned edge in row ``t``, a dictionary an allowed op, most probable first.

    ``credit`` is the task's (−∂L/∂z), ``price`` is λ times the op's price, both in nats a unit of gate;
    None where it was not recorded.
    """
    space, step = space_of(recording), recording[t]
    cost = penalty(recording, t) * prices(recording, t)[cell, edge]

    def at(table: Any, k: int) -> float | None:
        value = None if table is None else float(table[cell, edge, k])
        return None if value is None or math.isnan(value) else value

    rows = [
        {
            "op": op,
            "p": at(step.probs, k),
            "z": at(step.gates, k),
            "credit": at(step.credit, k),
            "price": float(cost[k]),
        }
        for k, op in enumerate(space.ops)
        if space.allowed[cell, edge, k]
    ]
    return sorted(rows, key=lambda row: -(row["p"] or 0.0))


_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_CELLS = {"normal": "normal cell", "reduce": "reduction cell"}


def cell_name(name: str) -> str:
    """How people read a cell's name."""
    return _CELLS.get(name, f"{name} cell")


def _count(n: int, what: str) -> str:
    number = _WORDS[n] if n < len(_WORDS) else str(n)
    return f"{number} {what}" + ("" if n == 1 else "s")


def _signed(value: float) -> str:
    text = f"{abs(value):.2f}".lstrip("0")
    return "±.00" if text == ".00" else f"{'+' if value > 0 else '−'}{text}"


def _latest(values: NDArray[np.float64], t: int) -> float | None:
    """The newest measured value at or before row ``t``."""
    known = np.flatnonzero(np.isfinite(values[: t + 1]))
    return float(values[known[-1]]) if len(known) else None


def notice(recording: Recording, t: int, living: NDArray[np.bool_] | None = None) -> str:
    """One sentence on what has changed since a knob was last turned, or since the start; computed from the rows.

    ``living`` is ``alive`` of the recording, where the caller has it already.
    """
    turned = [change for change in changes(recording) if change["t"] < t]
    turn = turned[-1]["t"] if turned else 0
    start = max(turn - 1, 0)  # the last row under the old value
    if t == 0:
        return "The search starts: all strands are alike."
    since = f"Since {turned[-1]['label']} at row {turn}" if turned else "Since the start"
    parts = []
    for metric, words in (("cost", "expected cost"), ("child_accuracy_recalibrated", "recalibrated child")):
        values = recording.metric(metric) if metric in recording.meta.get("metrics", {}) else np.full(t + 1, np.nan)
        before, now = _latest(values, start), _latest(values, t)
        if before is not None and now is not None:
            parts.append(f"{words} {_signed(now - before)}")
        elif now is not None:
            parts.append(f"{words} at {now:.2f}")
    if "probs" in recording.columns:
        space = space_of(recording)
        if living is None:
            living = alive(space, chosen(recording))
        parts += _fates(space, living[start], living[t])
    return f"{since} ({t - turn} rows ago): {', '.join(parts)}." if parts else f"{since}: nothing was measured yet."


def _fates(space: Space, before: NDArray[np.bool_], now: NDArray[np.bool_]) -> list[str]:
    gone, back = before & ~now, now & ~before
    parts = []
    for edges, words in ((gone, "gone"), (back, "back")):
        count = int(edges.sum())
        if not count:
            continue
        cells = [cell_name(name) for name, row in zip(space.cells, edges, strict=True) if row.any()]
        where = f"{'all ' if count > 1 else ''}in the {cells[0]}" if len(cells) == 1 else "in both cells"
        parts.append(f"{_count(count, 'edge')} {words}, {where}")
    return parts or ["no edge gone or back"]


def head(recording: Recording) -> dict[str, Any]:
    """What stays the same throughout a recording, as plain JSON data for a view."""
    space = space_of(recording)
    meta = recording.meta
    charts = [
        {**chart, "range": [math.log(max(len(space.ops), 2)) if end == "log_ops" else end for end in chart["range"]]}
        for chart in CURVES
    ]
    return {
        "id": recording.id,
        "method": str(meta.get("method", "")),
        "task": str(meta.get("task", "")),
        "seed": meta.get("seed", 0),
        "command": str(meta.get("command", "")),
        "ops": list(space.ops),
        "cells": list(space.cells),
        "allowed": space.allowed.astype(int).tolist(),
        "charts": charts,
        "knobs": meta.get("knobs", {}),
        "presets": meta.get("presets", {}),
        "metrics": sorted(meta.get("metrics", {})),
    }


def rows(recording: Recording, start: int = 0) -> tuple[dict[str, Any], list[bytes]]:
    """The rows from ``start`` on for a view: JSON data, and the tables as float32 or uint8 bytes.

    The tables are probs, gates, credit ``[t, cell, edge, op]``, then contribution (float32), certainty in 255ths,
    the derived op, and alive ``[t, cell, edge]``.
    """
    space = space_of(recording)
    n = len(recording)
    probs, gates, credit = (recording.column(name)[:n] for name in ("probs", "gates", "credit"))
    ops = chosen(recording)
    living = alive(space, ops)
    new = slice(start, n)
    large = (probs[new], gates[new], credit[new], contribution(gates[new], credit[new]))
    tables = [np.ascontiguousarray(table, "<f4").tobytes() for table in large]
    small = (np.rint(255 * certainty(space, probs[new])), ops[new], living[new])
    tables += [np.ascontiguousarray(table, np.uint8).tobytes() for table in small]
    known = [name for name in recording.meta.get("metrics", {}) if np.isfinite(recording.metric(name)[new]).any()]
    data = {
        "start": start,
        "rows": n - start,
        "total": planned(recording),
        "metrics": {name: _plain(recording.metric(name)[new]) for name in known},
        "notes": [notice(recording, t, living) for t in range(start, n)],
        "changes": changes(recording),
        "events": [[event.t, event.cell, event.edge, int(event.birth)] for event in events(living)],
        "prices": [
            [t, prices(recording, t).ravel().round(8).tolist()]
            for t in [0, *(change["t"] for change in changes(recording))]
        ],
        "penalties": [penalty(recording, t) for t in range(start, n)],
        "values": recording.values(),
        "halves": [phase in HALF_PHASES for phase in recording.phases[start:]],
    }
    return data, tables


def _plain(values: Sequence[float] | NDArray[np.float64]) -> list[float | None]:
    return [round(float(value), 6) if math.isfinite(value) else None for value in values]
