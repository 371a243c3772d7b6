"""Figures of the lesson on certainty: a finished search is sharpened, softened and trained on, and its child measured.

``finished`` gives the supernet that a shipped search has left (``tools/networks.py`` keeps its weights), with the
probabilities of its last row.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from nascore import evaluate, gates
from nascore.errors import choose, number
from nascore.graph import CellGraph
from nascore.record import Recording
from nascore.run import torch_threads
from nascore.task import Task, make_task
from nasviz import frames
from nasviz.charts import INK, Chart, chart, figure, svg_chart
from nasviz.labs.cells import legend
from nasviz.labs.drawing import WIDTH, box, picture, text
from nasviz.labs.penalty import edge_names
from nasviz.theme import colour, op_label

__all__ = [
    "Finished",
    "Sharpened",
    "curves",
    "entropy",
    "finished",
    "gaps",
    "runs",
    "settle",
    "settled",
    "sharpen",
    "sharpening",
    "temperature",
    "together",
]

NAMES = {"darts": "DARTS", "snas": "SNAS"}
DASHES = {"darts": "solid", "snas": "dash"}
EPOCHS = 32  # of a search of full length
COLDEST, WARMEST = 0.02, 8.0
GRID = (0.02, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 4.0)
"""Temperatures at which the whole curve is measured."""


def entropy(p: Float[Tensor, "*edges op"]) -> float:
    """Mean entropy of an edge, −Σ p log p in nats: 0 for a one-hot choice, log K for a uniform one."""
    return float(-torch.special.xlogy(p, p).sum(-1).mean())


def sharpen(p: Float[Tensor, "*edges op"], tau: float) -> Float[Tensor, "*edges op"]:
    """p^(1/τ), each edge made to sum to 1: sharper for τ < 1, softer for τ > 1; what is 0 stays 0."""
    return gates.annealed(p.clamp(min=torch.finfo(p.dtype).tiny).log(), tau, p > 0)


def temperature(p: Float[Tensor, "*edges op"], target: float) -> float:
    """The τ at which ``sharpen(p, τ)`` has the entropy ``target``; ``UserError`` where none has."""
    from scipy.optimize import brentq

    low, high = (entropy(sharpen(p, tau)) for tau in (COLDEST, WARMEST))
    number("target", target, low, high, unit="nats")
    off = lambda log_tau: entropy(sharpen(p, float(np.exp(log_tau)))) - target
    return float(np.exp(brentq(off, np.log(COLDEST), np.log(WARMEST))))


@dataclass(frozen=True)
class Sharpened:
    """A supernet under sharpened gates: accuracies on valid, batch norm's statistics as they are and recalibrated."""

    tau: float
    entropy: float
    stale: float
    recalibrated: float


@dataclass(frozen=True)
class Finished:
    """A search at its end.

    Attributes:
        name: "darts" or "snas".
        task: with the trained supernet as ``task.network``.
        p: probabilities, ``[cell, edge, op]``.
    """

    name: str
    task: Task
    p: Float[Tensor, "cell edge op"]
    _known: dict[float, Sharpened] = field(default_factory=dict, repr=False)

    @property
    def graphs(self) -> dict[str, CellGraph]:
        """The child: the strongest operation of every edge."""
        return self.task.space.decode(self.p)

    def under(self, tau: float) -> Sharpened:
        """Measure the supernet with its gates at ``sharpen(p, tau)``; the same τ is measured once."""
        if tau not in self._known:
            z = sharpen(self.p, tau)
            self._known[tau] = Sharpened(tau, entropy(z), *_accuracies(self.task, z))
        return self._known[tau]

    def child(self) -> dict[str, float]:
        """Accuracies of the child with the weights it inherits."""
        return evaluate.inherited(self.task, self.graphs)


@torch.no_grad()
def _accuracies(task: Task, z: Float[Tensor, "cell edge op"]) -> tuple[float, float]:
    network, images = copy.deepcopy(task.network), task.images("valid")
    stale = evaluate.accuracy(network, images, z)
    evaluate.recalibrate(network, torch.split(task.images("train").images, evaluate.CHUNK), z)
    return stale, evaluate.accuracy(network, images, z)


@cache
def finished(name: str) -> Finished:
    """The shipped search ``name`` ("darts" or "snas") at its end."""
    choose("name", name, NAMES)
    recording = Recording.open(f"digits-{name}")
    task = make_task(**recording.meta["task_spec"])
    task.network.load_state_dict(load_file(str(files("nascore") / "recordings" / f"digits-{name}.safetensors")))
    return Finished(name, task, torch.tensor(np.asarray(recording[-1].probs)))


# ------------------------------------------------------------------------------------------------ pictures


def curves(recordings: Mapping[str, Recording]) -> Chart:
    """Mean entropy of an edge over the steps, a line a search."""
    import plotly.graph_objects as go

    fig = figure("How certain a search is", "step", "entropy, nats an edge", width=WIDTH)
    dashes = ("solid", "dash", "dot", "dashdot", "longdash")
    for (name, recording), dash in zip(recordings.items(), dashes, strict=False):
        steps, values = frames.whole_steps(recording), recording.metric("entropy")
        known = np.flatnonzero(np.isfinite(values))[::4]  # every fourth row draws the same line
        pen = {"color": INK["ink"], "dash": dash}
        fig.add_trace(go.Scatter(x=steps[known].tolist(), y=values[known].tolist(), name=name, mode="lines", line=pen))
    return chart(fig, "0 is one operation on every edge; the start, log 5 = 1.61, is all operations alike.")


def sharpening(search: Finished, log_tau: float, other: Finished | None = None) -> Chart:
    """The sharpened probabilities of every edge, and the supernet's accuracy against its entropy.

    ``log_tau`` is the decadic logarithm of τ; ``other`` is a search to compare with, as it is.
    """
    tau = float(10**log_tau)
    z, now, space = sharpen(search.p, tau), search.under(tau), search.task.space
    body = [text(16, 8, f"p^(1/τ) of every edge, τ = {tau:.2g}", 12, font_weight=600)]
    for row, (name, own) in enumerate(zip(edge_names(space), z.flatten(0, 1).tolist(), strict=True)):
        y, x = 22 + 25 * row, 118.0
        body.append(text(110, y + 13, name, 10.5, INK["soft"], text_anchor="end"))
        for op, share in zip(space.ops, own, strict=True):
            body.append(box(x, y, 170 * share, 18, colour(op)))
            x += 170 * share
        best = int(np.argmax(own))
        body.append(text(296, y + 13, op_label(space.ops[best]), 10.5))
    body += legend(space.ops, 16, 296)
    body.append(f'<g transform="translate(384 -6)">{svg_chart(_plane(search, now, other))}</g>')
    against = f" {NAMES[other.name]}, as it is: {other.under(1.0).entropy:.2f} nats." if other is not None else ""
    return picture(
        f"{NAMES[search.name]}, sharpened: {now.entropy:.2f} nats an edge, accuracy {now.recalibrated:.3f}",
        "Left: the words are the strongest operations, so together they are the child. Right: accuracy on valid of the "
        f"supernet under these gates, batch norm recalibrated (pale: as it is); more certain to the left.{against}",
        304,
        *body,
    )


def _plane(search: Finished, now: Sharpened, other: Finished | None) -> Any:
    """Accuracy against entropy: the whole curve of each search, and where it stands."""
    import plotly.graph_objects as go

    fig = figure(
        "accuracy of the supernet",
        width=370,
        height=308,
        xaxis={"title": {"text": "entropy, nats an edge"}, "range": [-0.05, 1.65]},
        yaxis={"range": [0, 1]},
    )
    for each in filter(None, (search, other)):
        points = [each.under(tau) for tau in GRID]
        x = [point.entropy for point in points]
        for how, shade in (("stale", INK["line"]), ("recalibrated", INK["ink"])):
            y = [getattr(point, how) for point in points]
            pen = {"color": shade, "dash": DASHES[each.name]}
            name = NAMES[each.name] if how == "recalibrated" else ""
            fig.add_trace(go.Scatter(x=x, y=y, mode="lines", name=name, line=pen))
        here = now if each is search else each.under(1.0)
        mark = {"color": INK["focus"] if each is search else INK["ink"], "size": 11}
        fig.add_trace(
            go.Scatter(x=[here.entropy], y=[here.recalibrated], mode="markers", marker=mark, showlegend=False)
        )
    return fig


def together(searches: Sequence[Finished], entropies: Sequence[float]) -> list[tuple[str, Sharpened]]:
    """Each search brought to each of ``entropies`` by sharpening or softening, and measured there."""
    return [
        (NAMES[search.name], search.under(temperature(search.p, target))) for target in entropies for search in searches
    ]


# ------------------------------------------------------------------------------------------------ training on


@torch_threads(1)
def settle(search: Finished, tau: float, epochs: int = 4) -> list[tuple[int, float]]:
    """Train the finished supernet on with its gates held at ``sharpen(p, tau)``: (step, accuracy of its child).

    The child is measured on valid with batch norm recalibrated, before and after every epoch.
    """
    task = search.task.twin(epochs)
    task.network.load_state_dict(search.task.network.state_dict())
    z, child = sharpen(search.p, tau), search.graphs
    optimiser = task.optimisers(weights=task.network)
    found = [(0, evaluate.inherited(task, child)["child_accuracy_recalibrated"])]
    for t in task.clock(optimiser=optimiser):
        optimiser.step_weights(task.loss(task.batch("train+search"), z))
        if (t + 1) % (task.steps // task.epochs) == 0:
            found.append((t + 1, evaluate.inherited(task, child)["child_accuracy_recalibrated"]))
    return found


def settled(found: Mapping[str, Sequence[tuple[int, float]]]) -> Chart:
    """What ``settle`` gave for several temperatures."""
    import plotly.graph_objects as go

    fig = figure("The same child, its weights trained on", "step", "accuracy on valid", width=WIDTH)
    for (name, points), dash in zip(found.items(), ("solid", "dash", "dot"), strict=False):
        pen = {"color": INK["ink"], "dash": dash}
        x, y = zip(*points, strict=True)
        fig.add_trace(go.Scatter(x=list(x), y=list(y), mode="lines+markers", name=name, line=pen))
    return chart(fig, "The child, its operations and the probabilities stay as they are; only weights move.")


# ------------------------------------------------------------------------------------------------ all methods


def runs() -> list[dict[str, Any]]:
    """The shipped searches of full length, a row each: see ``benchmarks/claims.py``.

    Left out are random search, as its child does not come from its probabilities, variants of a method, and searches
    without an entropy, but for NASP: its gates are one-hot at every step, so its entropy counts as 0.
    """
    found = json.loads((files("nascore") / "recordings" / "digits-methods.json").read_text("utf-8"))["runs"]
    return [
        {"entropy": 0.0, **row}
        for row in found
        if row["epochs"] == EPOCHS
        and not row.get("variant")
        and row["method"] != "random"
        and ("entropy" in row or row["method"] == "nasp")
    ]


def gaps(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """What the child loses against its supernet, and how uncertain the search was at its end: a dot a search."""
    import plotly.graph_objects as go

    fig = figure(
        "Does uncertainty cost the child?",
        "entropy at the end, nats an edge",
        "accuracy lost from supernet to child",
        width=WIDTH,
        height=420,
    )
    lost = [row["supernet"] - row["argmax_recalibrated"] for row in rows]
    grey = {"color": INK["line"], "size": 8}
    fig.add_trace(go.Scatter(x=[row["entropy"] for row in rows], y=lost, mode="markers", marker=grey))
    names = list(dict.fromkeys(row["name"] for row in rows))
    of = {name: [k for k, row in enumerate(rows) if row["name"] == name] for name in names}
    x = [float(np.median([rows[k]["entropy"] for k in of[name]])) for name in names]
    y = [float(np.median([lost[k] for k in of[name]])) for name in names]
    blue = {"color": INK["focus"], "size": 11}
    fig.add_trace(go.Scatter(x=x, y=y, mode="markers", marker=blue))
    raised: list[tuple[float, float]] = []  # so that names do not cover each other
    for across, up in zip(x, y, strict=True):
        while any(abs(across - a) < 0.13 and abs(up - b) < 0.05 for a, b in raised):
            up += 0.01
        raised.append((across, up))
    fig.add_trace(go.Scatter(x=x, y=[up for _, up in raised], mode="text", text=names))
    return chart(fig, "Grey: a search, on test images, batch norm recalibrated. Blue: the median of a method.")
