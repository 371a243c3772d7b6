"""The widget of `nasviz.labs.chain`: thermometers along a chain, and every value over all sweeps."""

from __future__ import annotations

import traitlets

from nasviz.widgets.panel import Panel


class ChainView(Panel):
    """Draws `shown` and the values in `table`; plays, steps and scrubs them without the kernel.

    `table` holds the values as 32-bit floats, [sweep, state]; `t` is the sweep that is shown first.
    """

    entry = "chain"
    table = traitlets.Bytes().tag(sync=True)
    t = traitlets.Int(0).tag(sync=True)
