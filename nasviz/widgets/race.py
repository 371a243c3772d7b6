"""The widget of `nasviz.labs.race`: curves, two lines to drag, a table, and a starter."""

from __future__ import annotations

from nasviz.widgets.panel import Panel


class RaceView(Panel):
    """The race."""

    entry = "race"
