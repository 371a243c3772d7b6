"""What was searched against what is derived from it: `searched_and_derived`, and its picture without a kernel."""

from __future__ import annotations

import html
import math

import numpy as np

from nascore.errors import number
from nascore.record import Recording
from nasviz import frames
from nasviz.layout import layout
from nasviz.svg import cell_markup, legend_markup, picture
from nasviz.theme import THEMES
from nasviz.widgets import Cursor, Shown, View, caption

__all__ = ["block", "costs", "left_out", "searched_and_derived"]

PANELS = ("transport", "derived", "notice")
RULES = {"argmax": "argmax", "top2": "top 2"}
RANDOM = "a random child, recalibrated"
_HIDDEN = 'display="none"'
ACCURACIES = (
    ("supernet", "accuracy"),
    ("child, inherited statistics", "child_accuracy"),
    ("child, recalibrated", "child_accuracy_recalibrated"),
    (RANDOM, "random_child_accuracy"),
)


def costs(recording: Recording, t: int, retrained: float | None = None) -> dict[str, float]:
    """Accuracies of the supernet and its children as last measured at or before row ``t``; ``retrained`` is added."""
    found = {}
    for label, metric in ACCURACIES:
        if metric in recording.meta.get("metrics", {}):
            values = recording.metric(metric)[: t + 1]
            known = values[np.isfinite(values)]
            if len(known):
                found[label] = float(known[-1])
    if retrained is None:
        return found
    last = {RANDOM: found.pop(RANDOM)} if RANDOM in found else {}
    return {**found, "child, retrained": retrained, **last}


def left_out(recording: Recording, t: int) -> dict[str, float]:
    """Share of row ``t``'s distribution outside the child, by rule: mean over the edges."""
    seen, probs = frames.judged(recording), recording.column("probs")[t : t + 1]
    ops = {"argmax": seen.ops} if frames.own_rule(recording) == "argmax" else {"argmax": seen.ops, "own rule": seen.own}
    space = frames.space_of(recording)
    return {rule: float(frames.outside(space, probs, table[t : t + 1]).mean()) for rule, table in ops.items()}


def block(
    recording: Recording,
    t: int,
    width: float,
    y: float,
    theme: str,
    parts: list[str],
    retrained: float | None = None,
) -> float:
    """Appends the panel at height ``y`` of a picture; returns the height reached."""
    space, seen = frames.space_of(recording), frames.judged(recording)
    rule, read = frames.own_rule(recording), frames.reading(recording)
    identity = np.eye(len(space.ops) + 1)[:, :-1]  # −1 is the last row, which is empty
    probs, gone = recording[t].probs, frames.pruned(recording, t)
    columns = [(f"searched: the {read.whole} {read.symbol}", probs, None)]
    columns.append(("derived: argmax", identity[seen.ops[t]], seen.living[t]))
    if rule != "argmax":
        columns.append((f"derived: its own rule, {RULES.get(rule, rule)}", identity[seen.own[t]], seen.own[t] >= 0))
    room, places = (width - 28) / len(columns), layout(space)
    scale = min((room - 14) / places.width, 1.0)
    for k, (title, table, living) in enumerate(columns):
        left, down = 14 + k * room, y
        parts.append(f'<text class="t" x="{left:g}" y="{down + 14:g}">{html.escape(title)}</text>')
        down += 20
        for cell, name in enumerate(space.cells):
            alive = None if living is None else living[cell].tolist()
            count = len(space.edges) if living is None else int(living[cell].sum())
            says = f"{frames.cell_name(name)} · {count} of {len(space.edges)} edges"
            body = cell_markup(space, cell, None if table is None else table[cell], alive, pruned=gone[cell])
            parts.append(f'<text class="s" x="{left:g}" y="{down + 11:g}">{html.escape(says)}</text>')
            inner = (
                body.split(">", 1)[1].removesuffix("</svg>").replace('class="credit', 'display="none" class="credit')
            )
            parts.append(f'<g transform="translate({left:g} {down + 14:g}) scale({scale:.3f})">{inner}</g>')
            down += 20 + places.height * scale
    body, end = legend_markup(space, 14, down + 6, width - 28, credit=False, kind=frames.kind_of(recording))
    parts.append(body)
    return _bars(recording, t, width, end + 2, theme, parts, retrained)


def _bars(
    recording: Recording, t: int, width: float, y: float, theme: str, parts: list[str], retrained: float | None
) -> float:
    """Accuracies at the left, what the child leaves out at the right."""
    c, ends, whole = THEMES[theme], [], frames.reading(recording).whole
    for title, bars, x, room in (
        ("accuracy on validation data (argmax's child)", costs(recording, t, retrained), 14.0, 168.0),
        (f"share of the {whole} outside the child", left_out(recording, t), width * 0.62, 62.0),
    ):
        parts.append(f'<text class="t" x="{x:g}" y="{y + 14:g}">{html.escape(title)}</text>')
        down, before = y + 24, math.nan
        for label, value in bars.items():
            parts.append(f'<text class="s" x="{x:g}" y="{down + 8:g}">{html.escape(label)}</text>')
            begin, long = x + room, 180.0
            for share, ink in ((1.0, c["line"]), (min(max(value, 0.0), 1.0), c["ink"])):
                size = f'width="{share * long:.1f}" height="8"'
                parts.append(f'<rect x="{begin:g}" y="{down:g}" {size} rx="2" fill="{ink}"/>')
            text = f"{value:.3f}".replace("0.", ".", 1)
            if label in _CHANGES and math.isfinite(before):
                text += f"  {_signed(value - before)} {_CHANGES[label]}"
            parts.append(f'<text class="s" x="{begin + long + 8:g}" y="{down + 8:g}">{html.escape(text)}</text>')
            down, before = down + 17, value
        ends.append(down)
    return max(ends) + 2


_CHANGES = {
    "child, inherited statistics": "by cutting",
    "child, recalibrated": "by recalibrating",
    "child, retrained": "by retraining",
}


def _signed(value: float) -> str:
    text = f"{abs(value):.2f}".replace("0.", ".", 1)
    return "±.00" if text == ".00" else f"{'+' if value > 0 else '−'}{text}"


def searched_and_derived(
    recording: Recording | str,
    t: int | None = None,
    cursor: Cursor | None = None,
    retrained: float | None = None,
) -> Shown:
    """The searched distribution beside the child that is cut out of it, and what the cut costs.

    The child is drawn by argmax and, where that is another, by the rule of the method's paper. The bars are the newest
    measurements at or before the row: the supernet, the child with batch norm as inherited and recalibrated.

    Args:
        recording: a run, or a shipped one by name.
        t: the row to show; None is the last one.
        cursor: shared with other views.
        retrained: accuracy of the last row's child after retraining, if it is known.

    Raises:
        UserError: ``retrained`` is not from 0 to 1.
    """
    found = Recording.open(recording) if isinstance(recording, str) else recording
    known = None if retrained is None else float(number("retrained", retrained, 0, 1))

    def widget() -> View:
        view = View(found, PANELS, cursor, t=-1 if t is None else range(len(found))[t])
        view.setup = {**view.setup, "retrained": known}
        return view

    row = len(found) - 1 if t is None else t
    left = {f"outside the child, {rule}": share for rule, share in left_out(found, row).items()}
    told = "; ".join(f"{label} {value:.3f}" for label, value in {**costs(found, row, known), **left}.items())
    details = {"derived": {"retrained": known}}
    return Shown(lambda: picture(found, t, PANELS, details=details), f"{caption(found, t)} {told}", widget)
