"""The widget of `nasviz.labs.ranking`: a scatter of children, and the cells of the one that is pointed at."""

from __future__ import annotations

import traitlets

from nasviz.widgets.panel import Panel


class RankingView(Panel):
    """Draws `shown`; what its controls choose is in the other traits. Once it is shown it needs no kernel."""

    entry = "ranking"
    source = traitlets.Unicode().tag(sync=True)
    how = traitlets.Unicode().tag(sync=True)
    child = traitlets.Int(-1, help="the child that is kept in view, −1 for none").tag(sync=True)
    ranks = traitlets.Bool(False).tag(sync=True)
