"""The widget of `nasviz.labs.futures`: a plot to draw on, its controls, and the ribbons that arrive."""

from __future__ import annotations

from nasviz.widgets.panel import Panel


class FanView(Panel):
    """The fan of futures."""

    entry = "fan"
