"""How a distribution spreads over its operations in time: `distribution`, and its picture without a kernel.

Every edge is a stack of its operations; the chosen edge is drawn op by op; and all edges of its cell walk over the
simplex, projected so that every operation is a corner: the middle is a uniform edge, a corner a decided one.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nascore.errors import UserError, choose, number
from nascore.record import Recording
from nasviz import frames
from nasviz.layout import edge_names
from nasviz.svg import picture
from nasviz.theme import THEMES, colour, op_label
from nasviz.widgets import Cursor, Shown, View, caption

__all__ = ["block", "chosen", "corners", "distribution", "walk"]

PANELS = ("transport", "spread", "notice")
_COLUMNS = 160  # rows drawn of a long recording
_GAP = 3.0

Table = NDArray[np.float64]


def chosen(recording: Recording, edge: str | tuple[int, int] | None) -> str:
    """An edge as a ``Cursor`` names it, from "normal:3", "normal k−2→1" or (cell, edge); None is the first edge.

    Raises:
        UserError: there is no such edge.
    """
    space = frames.space_of(recording)
    names = {f"{cell} {name}": f"{cell}:{e}" for cell in space.cells for e, name in enumerate(edge_names(space))}
    if edge is None:
        return f"{space.cells[0]}:0"
    if isinstance(edge, tuple):
        cell = number("edge", edge[0], 0, len(space.cells) - 1, integer=True)
        return f"{space.cells[int(cell)]}:{number('edge', edge[1], 0, len(space.edges) - 1, integer=True)}"
    if not isinstance(edge, str):
        raise UserError(f"edge: {edge!r} is neither a name such as 'normal k−2→0' nor (cell, edge).")
    if edge in names.values():
        return edge
    return names[choose("edge", edge.replace("->", "→").replace("-", "−"), names)]


def corners(count: int, radius: float = 1.0) -> Table:
    """The corners of a regular polygon, the first at the top, ``[corner, 2]``; y points down."""
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    return radius * np.stack([np.cos(angles), np.sin(angles)], -1)


def walk(probs: NDArray[np.float32], radius: float = 1.0) -> Table:
    """Where weights ``[…, op]`` stand on the polygon, ``[…, 2]``: Σ_k p_k v_k / Σ_k p_k, v_k the corner of op k."""
    p = np.nan_to_num(np.asarray(probs, float))
    total = p.sum(-1, keepdims=True)
    return np.asarray((p @ corners(p.shape[-1], radius)) / np.where(total > 0, total, 1))


def _path(points: Table) -> str:
    return "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _band(x: Table, top: Table, bottom: Table) -> str:
    return f"M{_path(np.stack([x, top], -1))}L{_path(np.stack([x, bottom], -1)[::-1])}Z"


def block(
    recording: Recording,
    t: int,
    width: float,
    y: float,
    theme: str,
    parts: list[str],
    edge: str | tuple[int, int] | None = None,
) -> float:
    """Appends the panel at height ``y`` of a picture; returns the height reached."""
    space = frames.space_of(recording)
    name, number_ = chosen(recording, edge).split(":")
    cell, e = space.cells.index(name), int(number_)
    rows = np.unique(np.linspace(0, len(recording) - 1, min(len(recording), _COLUMNS)).round().astype(int))
    sums = (
        "the whole height is 1"
        if frames.kind_of(recording) == "simplex"
        else "the whole height is the largest sum of any edge"
    )
    title = f"distribution over time: colour = operation, height = its weight; {sums}"
    parts.append(f'<text class="t" x="14" y="{y + 14:g}">{title}</text>')
    half = (width * 0.52 - 14) / len(space.cells)
    ends = [
        _stacks(recording, k, (cell, e), rows, t, (14 + k * half, y + 26, half - 12), theme, parts)
        for k in range(len(space.cells))
    ]
    left = width * 0.52 + 6
    ends.append(_ridges(recording, (cell, e), rows, t, (left, y + 26, width - left - 232), theme, parts))
    ends.append(_polygon(recording, (cell, e), rows, t, (width - 112, y + 26), theme, parts))
    return max(ends) + 6


def _across(recording: Recording, rows: NDArray[np.int64], left: float, right: float) -> Table:
    return left + rows / max(frames.planned(recording) - 1, 1) * (right - left)


def _stacks(
    recording: Recording,
    cell: int,
    mine: tuple[int, int],
    rows: NDArray[np.int64],
    t: int,
    place: tuple[float, float, float],
    theme: str,
    parts: list[str],
) -> float:
    """The edges of a cell, each a stack of its operations."""
    space, c, (left, y, width) = frames.space_of(recording), THEMES[theme], place
    probs = np.nan_to_num(recording.column("probs")[rows, cell].astype(float))  # [row, edge, op]
    full = frames.full(recording)
    high = 40.0 if len(space.edges) <= 5 else 26.0 if len(space.edges) <= 9 else 19.0
    begin = left + 44
    x = _across(recording, rows, begin, left + width)
    parts.append(
        f'<text class="s" x="{left:g}" y="{y + 9:g}">{html.escape(frames.cell_name(space.cells[cell]))}</text>'
    )
    y += 15
    top = y
    for e, name in enumerate(edge_names(space)):
        floor = np.full(len(rows), y + high)
        for k, op in enumerate(space.ops):
            level = floor - probs[:, e, k] / full * high
            parts.append(f'<path d="{_band(x, level, floor)}" fill="{colour(op)}"/>')
            floor = level
        stands_out = (cell, e) == mine
        ink = c["focus"] if stands_out else c["line"]
        parts.append(
            f'<rect x="{begin:.1f}" y="{y:.1f}" width="{x[-1] - begin:.1f}" height="{high:g}" fill="none" '
            f'stroke="{ink}" stroke-width="{1.6 if stands_out else 1}"/>'
        )
        parts.append(f'<text class="s" x="{begin - 6:g}" y="{y + high / 2 + 4:.1f}" text-anchor="end">{name}</text>')
        y += high + _GAP
    at = float(_across(recording, np.array([t]), begin, left + width)[0])
    parts.append(f'<path d="M{at:.1f},{top - 2:.1f}V{y - 1:.1f}" stroke="{c["focus"]}" stroke-width="1.4"/>')
    return y


def _ridges(
    recording: Recording,
    mine: tuple[int, int],
    rows: NDArray[np.int64],
    t: int,
    place: tuple[float, float, float],
    theme: str,
    parts: list[str],
) -> float:
    """The chosen edge, an operation a ridge."""
    space, c, (left, y, width), (cell, e) = frames.space_of(recording), THEMES[theme], place, mine
    allowed = np.flatnonzero(space.allowed[cell, e])
    gap = min(max(210.0 / len(allowed), 22.0), 42.0)
    rise = 1.5 * gap
    x = _across(recording, rows, left, left + width - 92)
    probs = recording.column("probs")[:, cell, e].astype(float)
    name = f"{space.cells[cell]} {edge_names(space)[e]}: weight of each operation"
    parts.append(f'<text class="s" x="{left:g}" y="{y + 9:g}">{html.escape(name)}</text>')
    top, floor = y + 15, y + 15 + rise
    for k in allowed:
        ink = colour(space.ops[k])
        ridge = _band(x, floor - np.nan_to_num(probs[rows, k]) * rise, np.full(len(rows), floor))
        parts.append(f'<path d="M{x[0]:.1f},{floor:.1f}H{x[-1]:.1f}" stroke="{c["line"]}"/>')
        parts.append(f'<path d="{ridge}" fill="{ink}" fill-opacity=".62" stroke="{ink}"/>')
        label = f"{op_label(space.ops[k])} {probs[t, k]:.2f}".replace(" 0.", " .")
        parts.append(f'<text class="s" x="{x[-1] + 7:.1f}" y="{floor - 2:.1f}">{html.escape(label)}</text>')
        floor += gap
    at = float(_across(recording, np.array([t]), left, left + width - 92)[0])
    parts.append(f'<path d="M{at:.1f},{top:.1f}V{floor - gap:.1f}" stroke="{c["focus"]}" stroke-width="1.4"/>')
    return floor - gap + 8


def _polygon(
    recording: Recording,
    mine: tuple[int, int],
    rows: NDArray[np.int64],
    t: int,
    place: tuple[float, float],
    theme: str,
    parts: list[str],
) -> float:
    """The way of every edge of the chosen cell over the simplex."""
    space, c, (middle, y), (cell, chosen_edge) = frames.space_of(recording), THEMES[theme], place, mine
    radius = 70.0
    ops = np.flatnonzero(space.allowed[cell].any(0))
    centre = np.array([middle, y + radius + 36])
    places = corners(len(ops), radius) + centre
    ways = walk(recording.column("probs")[:, cell][..., ops], radius) + centre  # [t, edge, 2]
    parts.append(f'<text class="s" x="{middle - 96:g}" y="{y + 9:g}">edges: middle open, corner decided</text>')
    parts.append(f'<path d="M{_path(places)}Z" fill="none" stroke="{c["line"]}"/>')
    for k, (x, down) in zip(ops, places, strict=True):
        beyond = down + (-9 if down < centre[1] else 17)  # there is no room beside the polygon
        parts.append(f'<circle cx="{x:.1f}" cy="{down:.1f}" r="4.5" fill="{colour(space.ops[k])}"/>')
        parts.append(
            f'<text class="s" x="{x:.1f}" y="{beyond:.1f}" text-anchor="middle">'
            f"{html.escape(op_label(space.ops[k]))}</text>"
        )
    for e in sorted(range(len(space.edges)), key=lambda e: e == chosen_edge):  # the chosen one on top
        ink, thick = (c["focus"], 2) if e == chosen_edge else (c["ghost"], 1)
        parts.append(f'<path d="M{_path(ways[rows, e])}" fill="none" stroke="{ink}" stroke-width="{thick}"/>')
        x, down = ways[t, e]
        parts.append(f'<circle cx="{x:.1f}" cy="{down:.1f}" r="{2.5 + thick:g}" fill="{ink}" stroke="{c["panel"]}"/>')
    return float(centre[1] + radius + 26)


def distribution(
    recording: Recording | str,
    edge: str | tuple[int, int] | None = None,
    t: int | None = None,
    cursor: Cursor | None = None,
    panels: Sequence[str] = PANELS,
) -> Shown:
    """The distribution over the operations in time, for all edges, and for one of them in detail.

    Works for probabilities, which sum to 1, and for other weights such as NASP's box, which do not.

    Args:
        recording: a run, or a shipped one by name.
        edge: the edge in detail: "normal k−2→0", "normal:0" or (cell, edge); a click chooses another.
        t: the row to show; None is the last one.
        cursor: shared with other views.
        panels: what stands with it.

    Raises:
        UserError: there is no such edge or panel.
    """
    found = Recording.open(recording) if isinstance(recording, str) else recording
    pinned = chosen(found, edge)

    def widget() -> View:
        if cursor is not None and edge is not None:
            cursor.edge = pinned
        more = {} if cursor is not None else {"edge": pinned if edge is not None else ""}
        return View(found, panels, cursor, t=-1 if t is None else range(len(found))[t], **more)

    return Shown(lambda: picture(found, t, panels, details={"spread": {"edge": pinned}}), caption(found, t), widget)
