"""The widget of `nasviz.labs.choices`: three menus, what they mean, and the text that they make."""

from __future__ import annotations

from nasviz.widgets.panel import Panel


class ChoicesView(Panel):
    """The menus and the text."""

    entry = "choices"
    parts = ("base",)
