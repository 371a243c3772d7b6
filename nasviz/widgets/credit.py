"""The widget of `nasviz.labs.credit`: a cell with credit on its edges, and a gate to drag."""

from __future__ import annotations

from nasviz.widgets.panel import Panel


class CreditView(Panel):
    """The pictures, which Python draws, and their controls."""

    entry = "credit"
    parts = ("base",)
