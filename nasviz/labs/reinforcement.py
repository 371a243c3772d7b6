"""Figures of the lesson on reinforcement: what every edge is told, a policy that commits, children with a price."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray

from nascore.latency import Additivity
from nascore.record import Recording
from nascore.space import Space
from nasviz.charts import INK, Chart
from nasviz.frames import brief
from nasviz.labs import latency, pareto, ranking
from nasviz.labs.drawing import WIDTH, box, dot, line, path, picture, text
from nasviz.labs.penalty import edge_names
from nasviz.theme import colour

if TYPE_CHECKING:
    from nascore.toys import Parity

__all__ = ["Children", "children", "heard", "rates", "signals", "xor_picture"]

MARK = "#b0418a"  # of rewards and advantages, which are in units of their own


# ------------------------------------------------------------------------------------------- what every edge is told


def heard(recording: Recording, t: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What row ``t`` told every edge of what it had drawn, [edge], and the operation with the largest gate, [edge].

    Of a method with rewards its advantage there; of one with gradients the Taylor credit Σ_k z_k · (−∂L/∂z_k), eq. (5)
    of ``nascore.methods.snas``. NaN where nothing was told.
    """
    step = recording[t]
    gates = np.asarray(step.gates, dtype=float)
    drawn = gates.argmax(-1)
    if step.advantage is not None and np.isfinite(step.advantage).any():
        told = np.take_along_axis(np.asarray(step.advantage, dtype=float), drawn[..., None], -1)[..., 0]
    else:
        told = np.nansum(gates * np.asarray(step.credit, dtype=float), -1)  # eq. (5)
    return told.ravel(), drawn.ravel()


def rows_told(recording: Recording) -> list[int]:
    """The rows at which the edges were told anything."""
    found = [column for name in ("advantage", "credit") if (column := recording.column(name)) is not None]
    known = sum(np.isfinite(column).any((1, 2, 3)) for column in found)
    return [int(row) for row in np.flatnonzero(known)]


def signals(recordings: Mapping[str, Recording], iteration: int) -> Chart:
    """What one iteration told each edge about what it had drawn: a row of bars for each recording, a scale for each."""
    first = next(iter(recordings.values()))
    space, high, left = Space.from_json(first.meta["space"]), 64.0, 128.0
    names = edge_names(space)
    wide, body = (WIDTH - left - 20) / len(names), []
    for k, name in enumerate(names):
        x = left + (k + 0.5) * wide
        cell, edge = name.split(" ", 1)
        body += [
            text(x, 10, edge, 10, INK["soft"], text_anchor="middle"),
            text(x, 22, cell, 9, INK["soft"], text_anchor="middle"),
        ]
    for r, (name, recording) in enumerate(recordings.items()):
        rows = rows_told(recording)
        told, drawn = heard(recording, rows[min(iteration, len(rows) - 1)])
        middle, full = 32 + (r + 0.5) * high, np.nanmax(np.abs(told), initial=1e-12)
        reward = np.isfinite(recording.column("advantage")).any()
        body += [
            text(16, middle - 6, name, 12, font_weight=600),
            text(16, middle + 9, "reward units" if reward else "nats", 10, MARK if reward else INK["soft"]),
            text(16, middle + 22, f"tallest {brief(full)}", 10, INK["soft"]),
            line(left, middle, WIDTH - 20, middle, INK["soft"]),
        ]
        for k, (value, op) in enumerate(zip(told, drawn, strict=True)):
            size = abs(value) / full * (high / 2 - 6)
            if np.isfinite(value):
                top = middle - size if value > 0 else middle
                body.append(box(left + k * wide + 9, top, wide - 18, size, colour(space.ops[op]), rx=1))
    return picture(
        f"Iteration {iteration + 1}: what each edge is told about what it has drawn",
        "A bar above the line: more of this; below: less. Its colour is the operation that the edge had drawn. In "
        "which rows are all bars alike, whatever the edge had drawn? The rows have scales and units of their own.",
        40 + len(recordings) * high,
        *body,
    )


# ----------------------------------------------------------------------------------------------- a policy that commits


def xor_picture(found: Mapping[str, Parity], step: int) -> Chart:
    """Two decisions that have to differ (``nascore.toys.xor``): its outcomes' probabilities after ``step`` updates.

    ``found`` are runs by name.
    """
    size, top, body = 58.0, 44.0, []
    for k, (name, run) in enumerate(found.items()):
        left, at = 62 + k * (WIDTH - 32) / len(found), min(step, len(run.joint) - 1)
        p = run.joint[at].tolist()
        body.append(text(left + size, 14, name, 12, text_anchor="middle", font_weight=600))
        for i in range(2):
            middle = (i + 0.5) * size
            body.append(text(left + middle, top - 7, f"a₂ = {i}", 10, INK["soft"], text_anchor="middle"))
            body.append(text(left - 5, top + middle + 4, f"a₁ = {i}", 10, INK["soft"], text_anchor="end"))
            for j in range(2):
                x, y = left + j * size, top + i * size
                frame = {"stroke": INK["focus"], "stroke_width": 2.5} if i != j else {"stroke": INK["line"]}
                body += [
                    box(x + 2, y + 2, size - 4, size - 4, INK["panel"], rx=5, **frame),
                    box(x + 4, y + 4, size - 8, size - 8, INK["ink"], rx=4, fill_opacity=f"{0.85 * p[i][j]:.3f}"),
                    text(x + size / 2, y + size / 2 + 4, f"{p[i][j]:.2f}", 12, text_anchor="middle", halo=INK["panel"]),
                ]
        below = top + 2 * size + 20
        reward, entropy = float(run.reward[at]), float(run.entropy[at])
        body += [
            text(left + size, below, f"E[R] = {reward:.2f}", 11.5, MARK, text_anchor="middle"),
            text(left + size, below + 16, f"entropy {entropy:.2f} nats", 11, INK["soft"], text_anchor="middle"),
        ]
    return picture(
        f"R = 1 if the two decisions differ, after {step} updates",
        "Blue frames: the two best outcomes. A factorised policy multiplies a chance for a₁ by a chance for a₂, so it "
        "is right for sure only if it gives up one of the two. One that reads a₁ before it decides a₂ can keep both.",
        top + 2 * size + 44,
        *body,
    )


# ------------------------------------------------------------------------------------------------------ the straw man


def rates(file: str | Path, method: str = "reinforce") -> Chart:
    """A method's children, and its certainty on the way, by the learning rate of its logits.

    ``file`` is what ``benchmarks/tuning.py`` writes; where there is none the chart says so.
    """
    file = Path(file)
    found = json.loads(file.read_text("utf-8"))["rows"] if file.exists() else []
    rows = [row for row in found if row["method"] == method and not row["knobs"]]
    if not rows:
        return picture("By learning rate", f"{file.name} is not here; python benchmarks/tuning.py writes it.", 0)
    grid = sorted({row["architecture_lr"] for row in rows})
    columns = [[row for row in rows if row["architecture_lr"] == rate] for rate in grid]
    body: list[str] = []
    accuracies = {"inherited": [[row["inherited"][-1] for row in column] for column in columns]}
    accuracies["retrained"] = [[row["retrained"] for row in column if row["retrained"]] for column in columns]
    certain = {"after a tenth": [[row["entropy"][0] for row in column] for column in columns]}
    certain["at the end"] = [[row["entropy"][-1] for row in column] for column in columns]
    for left, title, low, high, values in (
        (56.0, "accuracy of the child on validation images", 0.6, 1.0, accuracies),
        (432.0, "entropy of a decision, nats", 0.0, 1.6, certain),
    ):
        body += _rates_panel(left, title, low, high, grid, values)
    return picture(
        f"{method.upper()} by the learning rate of its logits; seeds {_listed(rows)}",
        "A dot is a seed, a line goes through the medians. Left: the child with the weights it inherits, and trained "
        "anew. Right: how undecided the search is. The first rate is the one that serves the gradient methods well.",
        246,
        *body,
    )


def _listed(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(map(str, sorted({row["seed"] for row in rows})))


def _rates_panel(
    left: float, title: str, low: float, high: float, grid: Sequence[float], values: Mapping[str, list[list[float]]]
) -> list[str]:
    """Dots and medians over learning rates, evenly spaced; the second kind of value is dashed and hollow."""
    wide, top, bottom = 296.0, 42.0, 214.0

    def x(k: int) -> float:
        return left + (k + 0.5) * wide / len(grid)

    def y(value: float) -> float:
        return bottom - (min(max(value, low), high) - low) / (high - low) * (bottom - top)

    parts = [text(left, 14, title, 12, font_weight=600)]
    for tick in np.linspace(low, high, 5):
        parts.append(line(left, y(tick), left + wide, y(tick)))
        parts.append(text(left - 6, y(tick) + 4, brief(tick), 10, INK["soft"], text_anchor="end"))
    for k, rate in enumerate(grid):
        parts.append(text(x(k), bottom + 16, brief(rate), 10.5, INK["soft"], text_anchor="middle"))
    parts.append(text(left + wide, bottom + 30, "learning rate of α", 10.5, INK["soft"], text_anchor="end"))
    for n, (name, columns) in enumerate(values.items()):
        style = {"fill": INK["ink"]} if n == 0 else {"fill": INK["panel"]}
        dash = {} if n == 0 else {"stroke_dasharray": "5 4"}
        known = [(x(k), y(float(np.median(column)))) for k, column in enumerate(columns) if column]
        parts.append(path(known, INK["ink"], stroke_width=1.6, **dash))
        for k, column in enumerate(columns):
            parts += [dot(x(k), y(value), 3.6, style["fill"], stroke=INK["ink"]) for value in column]
        parts.append(line(left + 150 * n, 30, left + 150 * n + 24, 30, INK["ink"], stroke_width=1.6, **dash))
        parts.append(text(left + 150 * n + 30, 34, name, 11))
    return parts


# ---------------------------------------------------------------------------------------------- a reward with a price


@dataclass(frozen=True)
class Children:
    """Networks with what a hardware-aware search weighs against each other.

    Attributes:
        accuracy: of each, trained alone, on valid, the mean of two seeds.
        latency: milliseconds a batch, predicted from its operations.
        explained: share of the differences between measured latencies that such predictions explain.
        dearest: latency of the dearest network, the unit of a reward's cost.
    """

    accuracy: Float[ndarray, " child"]
    latency: Float[ndarray, " child"]
    explained: float
    dearest: float


def children() -> Children:
    """The children that were trained alone for the lesson on ranking, with the measured times of their operations."""
    known, timed = ranking.measured(), Additivity.of(latency.stored()["spaces"]["TOY"])
    (slope, intercept), (cell, edge) = timed.line, np.ogrid[:2, : known.children.shape[-1]]
    sums = timed.frame + timed.prices[cell, edge, known.children].sum((1, 2))
    dearest = timed.frame + timed.prices.max(-1).sum()
    return Children(
        pareto.alone()[1],
        1e3 * (intercept + slope * sums),
        timed.explained,
        1e3 * (intercept + slope * dearest),
    )
