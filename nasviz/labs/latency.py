"""Pictures for the question whether a linear price of latency is right: the sum of parts against whole children."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from nasviz.charts import INK, Chart, chart, figure

if TYPE_CHECKING:
    from nascore.latency import Additivity

__all__ = ["additivity_chart", "stored"]


def stored() -> dict[str, Any]:
    """The shipped measurement: ``["spaces"][name]`` for ``nascore.latency.Additivity.of``, and the command."""
    found: dict[str, Any] = json.loads((files("nascore") / "recordings" / "digits-latency.json").read_text("utf-8"))
    return found


def additivity_chart(found: Additivity, name: str = "") -> Chart:
    """Every child's measured latency over the sum of its parts, with the line they fit and the one they should."""
    import plotly.graph_objects as go

    slope, intercept = found.line
    x, y = 1e3 * found.predicted, 1e3 * found.measured
    ends = np.array([x.min(), x.max()])
    fig = figure(
        f"{name + ': ' if name else ''}measured = {1e3 * intercept:.2f} ms + {slope:.2f} × sum".replace("-", "−"),
        "sum of the operations and the frame, ms",
        "the child measured whole, ms",
    )
    points = {"color": INK["focus"], "size": 7}
    fig.add_trace(go.Scatter(x=x, y=y, mode="markers", name="random children", marker=points))
    pen = {"color": INK["soft"], "dash": "dash"}
    fig.add_trace(go.Scatter(x=ends, y=ends, mode="lines", name="if latencies added up", line=pen))
    fit = 1e3 * intercept + slope * ends
    fig.add_trace(go.Scatter(x=ends, y=fit, mode="lines", name="least squares", line={"color": INK["ink"]}))
    return chart(
        fig,
        f"The sum explains {found.explained:.0%} of the differences between {len(x)} children, one half of the rounds "
        f"{found.repeated:.0%} of those in the other. A child without operations, the frame, takes "
        f"{1e3 * found.frame:.2f} ms.",
    )
