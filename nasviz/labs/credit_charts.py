"""Charts of the lesson *credit on a cell*: bias and noise of every estimator, what learning costs, flow, recordings.

Equations of ``nascore.estimators`` and of SNAS, numbered as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from nascore import credit, estimators, gates
from nascore.errors import UserError
from nascore.estimators import ESTIMATORS, LEARNT, Moments
from nascore.record import Recording
from nascore.run import torch_threads
from nascore.space import Space
from nascore.task import make_task
from nasviz.charts import INK, Chart, chart, figure
from nasviz.frames import space_of
from nasviz.labs.credit import Bench
from nasviz.labs.drawing import WIDTH, box, line, picture, text
from nasviz.layout import edge_names, node_name
from nasviz.theme import THEMES

__all__ = ["errors_chart", "flow", "flow_chart", "heat_chart", "learning", "learning_chart", "moments", "over_updates"]

HELPS, HURTS = "#1f6feb", "#d9822b"  # of credit
LIKELIER, RARER = "#8e44ad", "#7a8b2f"  # of advantage, which is never credit's colour
BIAS, NOISE = THEMES["light"]["mark"], INK["soft"]


@torch_threads(1)
def moments(bench: Bench, tau: float = 1.0, draws: int = 300) -> dict[str, Moments]:
    """Every estimator of the bench's gradient: bias, variance and price. Those that run the network take seconds."""
    many = ("straight", "chosen")  # these need no run of the network, so they can be drawn often
    return {
        name: estimators.moments(name, bench.children, bench.alpha, tau, 20_000 if name in many else draws)
        for name in ESTIMATORS
    }


def errors_chart(found: Mapping[str, Moments], bench: Bench, passes: float = 243, backward: float = 2.0) -> Chart:
    """Bias and noise of every estimator's mean at equal ``passes``, as shares of the exact gradient's length.

    A backward pass counts as ``backward`` forward ones. What cannot afford one sample is left blank.
    """
    exact, high, left, wide = float(bench.exact.norm()), 25.0, 216.0, 240.0
    most = 1.2
    every = bench.children.options**bench.children.decisions
    top = [
        text(16, 14, "estimator", 10.5, INK["soft"]),
        text(left, 14, "error at these passes, as a share of the gradient", 10.5, INK["soft"]),
        text(left + wide + 64, 14, "one sample runs", 10.5, INK["soft"]),
        text(left + wide + 182, 14, "who", 10.5, INK["soft"]),
    ]
    parts = [
        line(left + wide * v / most, 20, left + wide * v / most, 26 + high * (len(found) + 1)) for v in (0.0, 0.5, 1.0)
    ]
    rows = sorted(found.items(), key=lambda item: np.nan_to_num(item[1].error(passes, backward), nan=np.inf))
    for r, (name, it) in enumerate(rows):
        y, kind = 26 + high * r, ESTIMATORS[name]
        error, bias = it.error(passes, backward) / exact, it.bias / exact
        hidden = it.bias < 2 * it.floor  # never where it is exact: the floor is 0 then
        parts.append(text(16, y + 15, kind.label, 11.5))
        if np.isfinite(error):
            parts += [
                box(left, y + 4, wide * min(error, most) / most, 15, NOISE, rx=2, fill_opacity=0.35),
                box(left, y + 4, wide * min(bias, most) / most, 15, BIAS, rx=2),
                text(left + wide * min(error, most) / most + 6, y + 15, f"{error:.2f}{'*' if hidden else ''}", 11),
            ]
        else:
            parts.append(text(left + 4, y + 15, "cannot afford one sample", 11, INK["soft"], font_style="italic"))
        runs = f"{it.forward} forward" + (f", {it.backward} back" if it.backward else "")
        parts += [
            text(left + wide + 64, y + 15, runs, 10.5, INK["soft"]),
            text(left + wide + 182, y + 15, "  ".join(kind.methods) or "–", 10.5),
        ]
    y = 26 + high * len(rows)
    afford = passes >= every
    parts += [
        text(16, y + 15, "all children (exact)", 11.5),
        text(left + 4, y + 15, "0.00" if afford else f"takes {every} passes", 11, INK["soft"], font_style="italic"),
        text(left + wide + 64, y + 15, f"{every} forward", 10.5, INK["soft"]),
        text(left + wide + 182, y + 15, "–", 10.5),
    ]
    tail = f"a backward pass counts as {backward:g}" if backward else "backward passes count nothing"
    return picture(
        f"What {passes:g} passes of a child buy ({tail})",
        "Solid: the bias, which no number of samples takes away. Pale: with the noise of a mean. A pass runs a child; "
        "all K operations of every edge count K. Right: files of this kit that have the estimator, – where none has. "
        "* Its noise hides what bias it has.",
        y + high,
        *top,
        *parts,
    )


@torch_threads(1)
def learning(
    bench: Bench, counts: Sequence[int] = (5, 10, 20, 50, 100, 200, 500), seeds: int = 5
) -> dict[str, NDArray[np.float64]]:
    """(bias, noise of a sample) of the gradient, [count, 2], when critic or return model have seen so many children.

    Shares of the exact gradient's length; root mean squares over ``seeds``.
    """
    exact, found = float(bench.exact.norm()), {}
    for name in LEARNT:
        rows = []
        for count in counts:
            each = [
                estimators.moments(name, bench.children, bench.alpha, noise=Generator().manual_seed(s), learnt=count)
                for s in range(seeds)
            ]
            rows.append([np.mean([it.bias**2 for it in each]) ** 0.5, np.mean([it.variance for it in each]) ** 0.5])
        found[name] = np.array(rows) / exact
    return found


def learning_chart(bench: Bench, counts: Sequence[int], found: Mapping[str, NDArray[np.float64]]) -> Chart:
    """What the evaluations before the first gradient buy: ``learning`` over them, beside REINFORCE's noise."""
    fig = figure(
        "Credit that has to be learnt first",
        xaxis={"type": "log", "title": {"text": "children evaluated for the model (log scale)"}},
        yaxis={"type": "log", "title": {"text": "share of the gradient (log scale)"}},
        width=760,
    )
    exact = float(bench.exact.norm())
    plain = estimators.moments("reinforce, mean", bench.children, bench.alpha).variance ** 0.5 / exact
    for name, dash in zip(found, ("dash", "solid"), strict=True):
        short = name.split(",")[0].upper()
        for k, (what, ink) in enumerate((("bias", BIAS), ("noise", NOISE))):
            curve = {"x": list(counts), "y": found[name][:, k].tolist(), "name": f"{short}, {what}"}
            fig.add_scatter(**curve, mode="lines+markers", line={"color": ink, "dash": dash})
    fig.add_scatter(
        x=list(counts),
        y=[plain] * len(counts),
        name="REINFORCE, noise",
        mode="lines",
        line={"color": INK["ink"], "dash": "dot"},
    )
    return chart(
        fig,
        "Noise of one sample and bias, as shares of the exact gradient. Every evaluation on the x-axis is paid before "
        "the first step; pathwise and Taylor credit need none of them.",
    )


@lru_cache(maxsize=4)
@torch_threads(1)
def flow(norm: bool) -> tuple[Space, credit.Flow]:
    """Credit in and out of every node of a supernet as drawn, in float64, with batch norm or without."""
    task = make_task("digits", space=estimators.ENUMERABLE, cells=1, epochs=1, engine="reference")
    task.network.double()
    if not norm:
        credit.without_norms(task.network.cells)
    batch = task.batch("search")
    batch = batch._replace(images=batch.images.double())
    z = gates.concrete(torch.zeros(task.space.shape, dtype=torch.float64), 1.0, task.noise)
    return task.space, credit.conservation(task, batch, z)


def flow_chart(norm: bool = False) -> Chart:
    """Credit that every node receives over its edges, and what it passes on over edges and to the output."""
    space, found = flow(norm)
    received, passed, output = (-table[0].numpy() for table in found)  # positive: helps
    scale = max(np.abs(received).max(), np.abs(passed).max(), np.abs(output).max(), np.abs(passed - output).max())
    middle, unit, parts = 500.0, 180.0 / scale, []
    for node in range(space.nodes):
        top = 8 + 112 * node
        rows = (
            ("receives, over its edges", received[node], INK["ink"]),
            ("passes on, over its edges", passed[node] - output[node], INK["soft"]),
            ("passes on, to the output", output[node], INK["soft"]),
        )
        parts.append(text(16, top + 14, f"node {node_name(space, space.inputs + node)}", 12.5, font_weight=600))
        for k, (name, value, ink) in enumerate(rows):
            y, size = top + 2 + 26 * k, unit * float(value)
            parts += [
                text(92, y + 13, name, 11),
                box(min(middle, middle + size), y, abs(size), 17, ink, rx=2),
                text(
                    middle + size + (6 if size >= 0 else -6),
                    y + 13,
                    f"{value:+.4f}".replace("-", "−"),
                    10.5,
                    text_anchor="start" if size >= 0 else "end",
                ),
            ]
        lost = float(received[node] - passed[node])
        said = "all of it is passed on" if abs(lost) < 1e-12 else f"{lost:+.4f} is not accounted for".replace("-", "−")
        parts.append(text(92, top + 94, said, 11.5, BIAS if abs(lost) > 1e-12 else INK["ink"], font_weight=600))
    parts.append(line(middle, 4, middle, 4 + 112 * space.nodes - 14, INK["ink"]))
    return picture(
        "Credit, node by node, " + ("with batch norm" if norm else "without batch norm"),
        "Credit is −⟨∂L/∂x, x⟩, to the right what helps. Without batch norm every operation is homogeneous: nothing is "
        "lost on the way. Batch norm does not see the scale of what comes in, so nothing that goes through it counts.",
        10 + 112 * space.nodes,
        *parts,
    )


def over_updates(recording: Recording, bins: int = 90) -> tuple[NDArray[np.float64], str]:
    """What every decision got, [decision, bin], the mean over the rows of a bin; and its name.

    "credit": Σ_k z_k · credit_k, the contribution of an edge as it stands (Taylor). "advantage": that of the option
    drawn. ``UserError`` if the recording has neither.
    """
    for name, weigh in (("advantage", False), ("credit", True)):
        table = recording.column(name)
        if table is None or not np.isfinite(table).any():
            continue
        values = table * recording.column("gates") if weigh else table
        rows = np.isfinite(values).any((1, 2, 3))
        each = np.nansum(values[rows], -1).reshape(int(rows.sum()), -1)
        parts = np.array_split(each, min(bins, len(each)))
        return np.stack([part.mean(0) for part in parts], 1), name
    raise UserError("recording: it has neither credit nor advantage.")


def heat_chart(recordings: Mapping[str, Recording]) -> Chart:
    """Decision × update: what each edge got while a search ran, one block a recording.

    Each block has a scale of its own, the 98th percentile, as credit (nats) and advantage (share of images) differ.
    """
    left, wide, parts, top = 112.0, WIDTH - 112.0 - 16, [], 22.0
    for name, recording in recordings.items():
        table, kind = over_updates(recording)
        space = space_of(recording)
        names = [f"{cell} {edge}" for cell in space.cells for edge in edge_names(space)]
        scale = float(np.quantile(np.abs(table), 0.98)) or 1.0
        unit = "nats" if kind == "credit" else "reward"
        parts.append(text(16, top - 7, f"{name}: {kind}, full colour {scale:.2g} {unit}", 12, font_weight=600))
        up, down = (HELPS, HURTS) if kind == "credit" else (LIKELIER, RARER)
        step = wide / table.shape[1]
        for d, label in enumerate(names):
            y = top + 15 * d
            parts.append(text(left - 6, y + 11, label, 10, INK["soft"], text_anchor="end"))
            for k, value in enumerate(table[d].tolist()):
                shade = min(abs(value) / scale, 1.0)
                if shade > 0.02:
                    ink = up if value > 0 else down
                    parts.append(box(left + k * step, y, step + 0.2, 14, ink, fill_opacity=f"{shade:.2f}"))
        top += 15 * len(names) + 34
    parts.append(text(left, top - 20, "update, from the first to the last", 10.5, INK["soft"]))
    return picture(
        "Decision × update: who is told what, when",
        "Credit: blue helps, orange hurts. Advantage: violet was made likelier, olive rarer. Means of updates. "
        "Look for rows that are alike: there the same number was given to all.",
        top - 12,
        *parts,
    )
