"""The widget of `nasviz.labs.controller`: decisions in a row, options to take, moments to look at."""

from __future__ import annotations

from nasviz.widgets.panel import Panel


class ControllerView(Panel):
    """The picture, which Python draws, and its controls."""

    entry = "controller"
    parts = ("base",)
