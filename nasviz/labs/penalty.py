"""Compositions for the lesson on the penalty: prices, the tug of war on each edge, the sweep.

Everything is computed from a recording: its credit −∂L/∂z of the task, and the prices in its ``meta``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nascore.record import Recording
from nascore.space import Space
from nasviz import layout
from nasviz.charts import INK, Chart, chart, figure
from nasviz.theme import colour, op_label

__all__ = [
    "edge_names",
    "estimators_chart",
    "price",
    "price_chart",
    "pulls",
    "reversals",
    "sweep",
    "sweep_chart",
    "tug",
]

Table = NDArray[np.float64]
RESOURCES = {"parameters": "parameters", "madds": "multiply-adds", "memory": "memory access"}


def edge_names(space: Space) -> list[str]:
    """A name for every edge of every cell, in the order of the tables: ``"normal k−2→0"``."""
    return [f"{cell} {edge}" for cell in space.cells for edge in layout.edge_names(space)]


def price(recording: Recording, **weights: float) -> Table:
    """What one unit of each gate costs, ``[cell, edge, op]``: the weighted mean of the resources' prices.

    ``weights`` by resource (``parameters=1``); none given means a third for each of the three that are counted.
    Raises ``ValueError`` for a resource the recording has no prices of.
    """
    tables = recording.meta["prices"]
    weights = weights or dict.fromkeys(RESOURCES, 1 / 3)
    unknown = sorted(set(weights) - set(tables))
    if unknown:
        raise ValueError(f"price: {unknown[0]!r} is not one of the recording's resources {', '.join(tables)}")
    total = sum(weights.values())
    return sum((weight / total * np.asarray(tables[name]) for name, weight in weights.items()), np.zeros(1))


def price_chart(recording: Recording, cell: int = 0, edge: int = 0) -> Chart:
    """What each operation costs on one edge, a group of bars for each resource."""
    import plotly.graph_objects as go

    space = Space.from_json(recording.meta["space"])
    fig = figure("The price of an operation on one edge", "", "share of the dearest network")
    for k, op in enumerate(space.ops):
        heights = [float(np.asarray(recording.meta["prices"][name])[cell, edge, k]) for name in RESOURCES]
        bar = go.Bar(x=list(RESOURCES.values()), y=heights, name=op_label(op), marker={"color": colour(op)})
        fig.add_trace(bar)
    return chart(fig, "A skip has no parameters and no multiply-adds, but it still reads and writes memory.")


def pulls(recording: Recording, t: int, window: int = 20) -> Table:
    """Mean task credit of each gate over the ``window`` steps up to row ``t``, ``[cell, edge, op]``.

    One step's credit comes from one sample of the architecture and one batch; its mean is what moves the logits.
    """
    credit = recording.column("credit")[max(0, t + 1 - window) : t + 1]
    return np.asarray(np.nanmean(credit, axis=0))


def reversals(credit: Table, prices: Table, ops: Sequence[str]) -> Table:
    """The penalty at which *none* wins each edge, ``[cell, edge]``: λ* = max over the other ops of credit / price.

    *None* has credit and price 0, so op k beats it while credit_k − λ c_k > 0. Infinite where an op that helps is
    free, 0 where none helps at all.
    """
    others = [k for k, op in enumerate(ops) if op != "none"]
    gain, cost = credit[..., others], prices[..., others]
    with np.errstate(divide="ignore", invalid="ignore"):
        holds = np.where(gain <= 0, 0.0, np.where(cost > 0, gain / cost, np.inf))
    return np.asarray(holds.max(-1))


def tug(recording: Recording, t: int, lam: float) -> Any:
    """The tug of war at row ``t``: for each edge's best op at this λ, its credit against λ times its price."""
    import plotly.graph_objects as go

    space = Space.from_json(recording.meta["space"])
    credit, prices = pulls(recording, t), price(recording)
    names = [name.replace(" ", "<br>") for name in edge_names(space)]  # on two lines
    net = credit - lam * prices
    net[..., space.ops.index("none")] = -np.inf
    best = net.argmax(-1)[..., None]
    gain = np.take_along_axis(credit, best, -1).ravel()
    cost = lam * np.take_along_axis(prices, best, -1).ravel()
    lost = int((gain <= cost).sum())
    fig = figure(
        f"λ = {lam:g}: on {lost} of {len(names)} edges the price pulls harder",
        "",
        "nats per unit of gate",
        yaxis={
            "title": {"text": "nats per unit of gate"},
            "range": [min(0.0, float(gain.min())), float(gain.max() * 1.1)],
        },
        width=820,
    )
    colours = [colour(space.ops[k]) for k in best.ravel()]
    fig.add_trace(go.Bar(x=names, y=gain, name="task credit of the best op", marker={"color": colours}))
    shown = np.minimum(cost, gain.max() * 1.1)  # a bar that leaves the picture ends at its edge
    fig.add_trace(go.Bar(x=names, y=shown, name="λ · its price", marker={"color": INK["soft"]}))
    return fig


def estimators_chart(tau: float, draws: int = 20_000) -> Any:
    """Three gradients of the expected cost of one edge: mean over ``draws``, whiskers one draw's standard deviation."""
    import plotly.graph_objects as go
    import torch

    from nascore import gates, resource

    alpha = torch.tensor([0.5, -0.3, 1.0, 0.0]).expand(draws, -1)
    cost = torch.tensor([0.0, 1.0, 2.0, 4.0]).expand(draws, -1)
    noise = gates.gumbel(alpha, torch.Generator().manual_seed(0))
    z = gates.concrete(alpha, tau, noise)
    found = {
        "expectation, eq. (8)": resource.exact(alpha.softmax(-1), cost),
        "pathwise": resource.pathwise(z, cost, tau),
        "score": resource.score(noise, z, cost),
    }
    fig = figure(
        f"τ = {tau:g}: the gradient of E[C] on one edge with prices 0, 1, 2, 4",
        "",
        "∂E[C] / ∂α",
        yaxis={"title": {"text": "∂E[C] / ∂α"}, "range": [-2.5, 2.5]},
    )
    names = [f"op {k}" for k in range(cost.shape[-1])]
    for shade, (name, gradient) in zip((INK["ink"], INK["soft"], INK["line"]), found.items(), strict=True):
        spread = {"type": "data", "array": gradient.std(0).tolist(), "color": INK["focus"]}
        bar = go.Bar(x=names, y=gradient.mean(0).tolist(), name=name, marker={"color": shade}, error_y=spread)
        fig.add_trace(bar)
    return fig


def sweep() -> dict[str, Any]:
    """The shipped sweep over λ (medians and intervals over seeds), with the command that made it."""
    found: dict[str, Any] = json.loads((files("nascore") / "recordings" / "digits-sweep.json").read_text("utf-8"))
    return found


def sweep_chart(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Accuracy against cost, one point a λ: the Pareto picture."""
    import plotly.graph_objects as go

    fig = figure("What accuracy costs", "cost of the child (share of the dearest network)", "accuracy on test images")
    ordered = sorted(rows, key=lambda row: row["child_cost"]["median"])
    x, y = ([row[name]["median"] for row in ordered] for name in ("child_cost", "accuracy"))
    for row in ordered:
        across = [row["child_cost"]["median"]] * 2
        ends = [row["accuracy"]["low"], row["accuracy"]["high"]]
        fig.add_trace(
            go.Scatter(x=across, y=ends, mode="lines", line={"color": INK["line"], "width": 4}, showlegend=False)
        )
    labels = [f"λ {row['lam']:g}" for row in ordered]
    pen = {"color": INK["ink"]}
    fig.add_trace(go.Scatter(x=x, y=y, mode="lines+markers+text", text=labels, textposition="top center", line=pen))
    return chart(fig, "Each point is the median of all seeds at one λ, the bar its 95 % interval.")
