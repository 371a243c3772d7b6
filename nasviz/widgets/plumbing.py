"""The widget of `nasviz.labs.plumbing`: diagrams whose pipes light up half step by half step."""

from __future__ import annotations

from nasviz.widgets.panel import Panel


class PlumbingView(Panel):
    """The diagrams and the buttons that walk through a step."""

    entry = "plumbing"
    parts = ("base",)
