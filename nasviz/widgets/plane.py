"""The widget of a picture with one point to drag: Python draws it anew for every place of the point."""

from __future__ import annotations

import traitlets

from nasviz.widgets.panel import Panel


class PlaneView(Panel):
    """Shows ``shown["svg"]`` and moves the point (x, y) in it by mouse, finger or arrow keys.

    ``shown`` also says where the plane is in the picture, ``frame`` = [left, top, right, bottom] in its own pixels,
    what x and y are at its ends, ``low`` and ``high``, and ``text``, what a screen reader tells of the point.
    """

    entry = "plane"
    parts = ("base",)
    x = traitlets.Float().tag(sync=True)
    y = traitlets.Float().tag(sync=True)
