"""The widget of a panel with controls of its own: Python decides what is shown, the page draws it and asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from nasviz.widgets import Handler, script, style


class Panel(anywidget.AnyWidget):
    """Draws `shown` and `status`, and tells what its controls ask for; it decides nothing.

    A subclass names its script, `widgets/js/NAME.js`, and the parts of the views that the script builds on.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)

    entry = ""
    parts: tuple[str, ...] = ("base", "curves")

    def __init__(self, **traits: Any):
        self._handlers: list[Handler] = []
        super().__init__(_esm=script(self.entry, self.parts), _css=style(), **traits)
        self.on_msg(self._heard)

    def on_command(self, handler: Handler) -> None:
        """Call ``handler(name, payload)`` for every command of the controls."""
        self._handlers.append(handler)

    def _heard(self, _: Any, content: Mapping[str, Any], __: Any) -> None:
        for handler in self._handlers:
            handler(str(content.get("name")), dict(content.get("payload") or {}))
