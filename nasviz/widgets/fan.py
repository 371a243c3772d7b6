"""The widget of `nasviz.labs.futures`: a plot to draw on, its controls, and the ribbons that arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from nasviz.widgets import Handler, script, style


class FanView(anywidget.AnyWidget):
    """Draws `shown` and `status`, and tells what its controls ask for; it decides nothing."""

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any):
        self._handlers: list[Handler] = []
        super().__init__(_esm=script("fan", ("base", "curves")), _css=style(), **traits)
        self.on_msg(self._heard)

    def on_command(self, handler: Handler) -> None:
        """Call ``handler(name, payload)`` for every command of the controls."""
        self._handlers.append(handler)

    def _heard(self, _: Any, content: Mapping[str, Any], __: Any) -> None:
        for handler in self._handlers:
            handler(str(content.get("name")), dict(content.get("payload") or {}))
