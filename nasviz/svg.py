"""Static pictures: the same views as plain SVG text, for GitHub, a printed page, or a kernel that is gone.

``cell_markup`` is also the skeleton of the live cell: the widget changes widths and opacities, never a path.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nascore.record import Recording
from nascore.space import Space
from nasviz import frames
from nasviz.layout import NODE, edge_names, heads, layout, middles, node_name, strands
from nasviz.theme import STRAND_OPACITY, STRAND_WIDTH, THEMES, colour, op_label

PANELS = ("transport", "knobs", "cells", "curves", "ribbons", "notice")
CREDIT_HEIGHT = 26.0  # of the largest bar, in pixels

FONT = "system-ui,'DejaVu Sans',sans-serif"


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


def strand_style(p: float) -> tuple[float, float]:
    """Width in pixels and opacity of a strand of probability ``p``."""
    return _between(STRAND_WIDTH, p), _between(STRAND_OPACITY, math.sqrt(max(p, 0.0)))


def cell_markup(
    space: Space,
    cell: int,
    p: NDArray[Any] | None = None,
    living: Sequence[bool] | None = None,
    credit: Sequence[float] | None = None,
) -> str:
    """One cell as SVG: a bundle of strands an edge, ``p`` ``[edge, op]`` wide (uniform if None).

    ``living`` says which edges are alive (all if None); ``credit`` is each edge's bar, −1 to 1.
    Colours other than those of the ops come from the CSS classes, see ``style``.
    """
    places, paths, names = layout(space), strands(space), edge_names(space)
    if p is None:
        p = space.allowed[cell] / space.allowed[cell].sum(-1, keepdims=True)
    parts = [_outputs(space)]
    for e, (ops, (x, y)) in enumerate(zip(paths, heads(space), strict=True)):
        dead = living is not None and not living[e]
        bar = 0.0 if credit is None else float(credit[e])
        drawn = "".join(
            _strand(path, op, float(p[e, k]))
            for k, (path, op) in enumerate(zip(ops, space.ops, strict=True))
            if space.allowed[cell, e, k]
        )
        parts.append(
            f'<g class="edge{" dead" if dead else ""}" data-edge="{e}" tabindex="0" role="button" '
            f'aria-label="edge {names[e]}"><path class="hit" d="{ops[len(ops) // 2]}"/>{drawn}{_bar(x, y, bar)}</g>'
        )
    for node, (x, y) in enumerate(places.nodes):
        parts.append(_node(x, y, node_name(space, node)))
    parts.append(_node(*places.output, "out", NODE[0] + 6))
    parts += [
        f'<text class="label" data-edge="{e}" x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle"></text>'
        for e, (x, y) in enumerate(middles(space))
    ]
    name = html.escape(frames.cell_name(space.cells[cell]))
    return (
        f'<svg class="cell" data-cell="{cell}" viewBox="0 0 {places.width:g} {places.height:g}" '
        f'role="group" aria-label="{name}">{"".join(parts)}</svg>'
    )


def _outputs(space: Space) -> str:
    places = layout(space)
    x2, y2 = places.output[0] - (NODE[0] + 6) / 2, places.output[1]
    parts = []
    for x, y in places.nodes[space.inputs :]:
        start, middle = x + NODE[0] / 2, (x + x2) / 2
        bend = f"C{middle:.1f},{y:.1f} {middle:.1f},{y2:.1f} {x2:.1f},{y2:.1f}"
        parts.append(f'<path d="M{start:.1f},{y:.1f} {bend}"/>')
    return f'<g class="outputs">{"".join(parts)}</g>'


def _strand(path: str, op: str, p: float) -> str:
    width, opacity = strand_style(p)
    dash = ' stroke-dasharray="3 4"' if op == "none" else ""
    return (
        f'<path class="strand" data-op="{html.escape(op)}" d="{path}" stroke="{colour(op)}" '
        f'stroke-width="{width:.2f}" stroke-opacity="{opacity:.2f}"{dash}/>'
    )


def _bar(x: float, y: float, share: float) -> str:
    """The credit bar at an edge's head: upwards and filled if the edge helps, downwards and hollow if it hurts."""
    height = min(abs(share), 1.0) * CREDIT_HEIGHT
    top = y - height if share > 0 else y
    sign = "helps" if share > 0 else "hurts"
    return f'<rect class="credit {sign}" x="{x - 9:.1f}" y="{top:.1f}" width="5" height="{height:.1f}" rx="1.5"/>'


def _node(x: float, y: float, name: str, width: float = NODE[0]) -> str:
    return (
        f'<g class="node"><rect x="{x - width / 2:.1f}" y="{y - NODE[1] / 2:.1f}" width="{width:g}" '
        f'height="{NODE[1]:g}" rx="8"/><text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">'
        f"{html.escape(name)}</text></g>"
    )


def style(theme: str) -> str:
    """The CSS of a static picture: what the live views take from the page's theme."""
    c = THEMES[theme]
    return (
        f"<style>.outputs path{{fill:none;stroke:{c['line']};stroke-width:2}}.strand{{fill:none}}"
        f".hit{{fill:none;stroke:none}}.dead .strand{{stroke:{c['ghost']}}}"
        f".credit{{stroke:{c['ink']};stroke-width:1}}.helps{{fill:{c['ink']}}}.hurts{{fill:none}}"
        f".node rect{{fill:{c['node']};stroke:{c['soft']};stroke-width:1.2}}"
        f"text{{fill:{c['ink']};font:11px {FONT}}}.s{{fill:{c['soft']};font-size:10px}}"
        f".t{{fill:{c['soft']};font-weight:600;font-size:12px}}</style>"
    )


def credit_scale(recording: Recording) -> float:
    """The contribution drawn as a full bar: the 98th percentile of all, so that one spike does not flatten the rest."""
    sizes = np.abs(frames.contribution(recording.column("gates"), recording.column("credit")))
    known = sizes[np.isfinite(sizes)]
    return float(np.percentile(known, 98)) or 1.0 if known.size else 1.0


def cells_markup(recording: Recording, t: int) -> list[str]:
    """Every cell of row ``t``."""
    space, step = frames.space_of(recording), recording[t]
    living = frames.alive(space, frames.chosen(recording)[t])
    bars = np.zeros(space.shape[:2])
    if step.credit is not None and step.gates is not None:
        bars = np.nan_to_num(frames.contribution(step.gates, step.credit) / credit_scale(recording))
    return [cell_markup(space, c, step.probs[c], living[c], bars[c]) for c in range(len(space.cells))]


def curve_markup(recording: Recording, chart: dict[str, Any], t: int, width: float, height: float, theme: str) -> str:
    """One chart of ``frames.CURVES`` with a cursor at row ``t``."""
    c, total = THEMES[theme], frames.planned(recording)
    series = []
    for item in chart["series"]:
        values = recording.metric(item["metric"]) if item["metric"] in recording.meta.get("metrics", {}) else None
        if values is not None and np.isfinite(values).any():
            series.append((item, values))
    if not series:
        return ""
    low, high = chart["range"]
    top = high if high is not None else max(float(np.nanmax(values)) for _, values in series) * 1.05 or 1.0
    left, right, ceiling, floor = 34.0, width - 118.0, 20.0, height - 12.0

    def place(row: float, value: float) -> tuple[float, float]:
        share = (value - low) / (top - low)
        return left + row / max(total - 1, 1) * (right - left), floor - min(max(share, 0), 1) * (floor - ceiling)

    parts = [f'<text class="s" x="0" y="11">{html.escape(chart["title"])}</text>']
    for value in (low, (low + top) / 2, top):
        y = place(0, value)[1]
        parts.append(f'<path d="M{left:g},{y:.1f}H{right:g}" stroke="{c["line"]}"/>')
        parts.append(f'<text class="s" x="{left - 5:g}" y="{y + 3:.1f}" text-anchor="end">{value:.3g}</text>')
    for change in frames.changes(recording):
        x = place(change["t"], low)[0]
        parts.append(f'<path d="M{x:.1f},{ceiling:g}V{floor:g}" stroke="{c["mark"]}" stroke-dasharray="2 3"/>')
    labels = []
    for item, values in series:
        known = np.flatnonzero(np.isfinite(values))
        points = [place(int(k), float(values[k])) for k in known]
        path = "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
        ink = c["soft"] if item.get("soft") else c["ink"]
        dash = f' stroke-dasharray="{item["dash"]}"' if item["dash"] else ""
        parts.append(f'<path d="M{path}" fill="none" stroke="{ink}" stroke-width="1.5"{dash}/>')
        labels.append([points[-1][1] + 3.5, item["label"]])
    for y, label in spread(labels, 11.5):
        parts.append(f'<text x="{right + 5:g}" y="{y:.1f}" style="font-size:10px">{html.escape(label)}</text>')
    x = place(t, low)[0]
    parts.append(f'<path d="M{x:.1f},{ceiling - 4:g}V{floor:g}" stroke="{c["focus"]}" stroke-width="1.4"/>')
    return f"<g>{''.join(parts)}</g>"


def spread(labels: list[list[Any]], gap: float) -> list[list[Any]]:
    """Labels ``[y, text]`` moved apart to at least ``gap``, the lowest kept where it is."""
    placed = sorted(labels, key=lambda label: -label[0])
    for before, label in pairwise(placed):
        label[0] = min(label[0], before[0] - gap)
    return placed


def ribbons_markup(recording: Recording, t: int, width: float, theme: str, height: float = 11.0) -> tuple[str, float]:
    """Every edge over time up to the end of the recording, all ops of row ``t`` beside; and the height used."""
    c, space = THEMES[theme], frames.space_of(recording)
    probs = recording.column("probs")
    ops = frames.chosen(recording)
    sure = frames.certainty(space, probs)
    total, left, right = frames.planned(recording), 104.0, width - 170.0
    scale = (right - left) / total
    parts, y = [], 0.0
    rows_of: dict[tuple[int, int], float] = {}
    for cell, name in enumerate(space.cells):
        for e, edge in enumerate(edge_names(space)):
            rows_of[cell, e] = y
            label = f"{name} {edge}" if e == 0 else edge
            parts.append(f'<text class="s" x="{left - 6:g}" y="{y + height - 3:.1f}" text-anchor="end">{label}</text>')
            parts += _ribbon(space, ops[:, cell, e], sure[:, cell, e], left, y, scale, height - 2)
            parts += _stack(space, probs[t, cell, e], right + 12, y, 150.0, height - 2)
            y += height
        y += 5
    for event in frames.events(frames.alive(space, ops)):
        x, middle = left + event.t * scale, rows_of[event.cell, event.edge] + (height - 2) / 2
        fill = c["ink"] if event.birth else c["panel"]
        parts.append(f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="2.8" fill="{fill}" stroke="{c["ink"]}"/>')
    x = left + (t + 0.5) * scale
    parts.append(f'<path d="M{x:.1f},-2V{y - 4:.1f}" stroke="{c["focus"]}" stroke-width="1.4"/>')
    return "".join(parts), y


def _ribbon(
    space: Space, ops: NDArray[Any], sure: NDArray[Any], left: float, y: float, scale: float, height: float
) -> list[str]:
    """Runs of rows of the same op and (in tenths) the same certainty as one rectangle each."""
    parts, begin = [], 0
    depth = np.rint(sure * 10)
    for end in range(1, len(ops) + 1):
        if end == len(ops) or ops[end] != ops[begin] or depth[end] != depth[begin]:
            opacity = 0.2 + 0.08 * float(depth[begin])
            parts.append(
                f'<rect x="{left + begin * scale:.1f}" y="{y:.1f}" width="{(end - begin) * scale + 0.3:.1f}" '
                f'height="{height:g}" fill="{colour(space.ops[ops[begin]])}" fill-opacity="{opacity:.2f}"/>'
            )
            begin = end
    return parts


def _stack(space: Space, p: NDArray[Any], x: float, y: float, width: float, height: float) -> list[str]:
    parts = []
    for op, share in zip(space.ops, p, strict=True):
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{share * width:.1f}" height="{height:g}" fill="{colour(op)}"/>'
        )
        x += float(share) * width
    return parts


def legend_markup(space: Space, x: float, y: float, width: float) -> tuple[str, float]:
    """Op colours in rows; and the height used."""
    parts, place = [], x
    for op in space.ops:
        room = 30 + 6.2 * len(op_label(op))
        if place + room > x + width:
            place, y = x, y + 15
        dash = ' stroke-dasharray="3 3"' if op == "none" else ""
        parts.append(f'<path d="M{place:g},{y:g}h14" stroke="{colour(op)}" stroke-width="4"{dash}/>')
        parts.append(f'<text class="s" x="{place + 18:g}" y="{y + 3.5:g}">{html.escape(op_label(op))}</text>')
        place += room
    return "".join(parts), y + 14


def picture(
    recording: Recording, t: int | None = None, panels: Sequence[str] = PANELS, theme: str = "light", width: float = 940
) -> str:
    """The chosen panels of row ``t`` (the last if None) as one SVG text, the same text every time.

    Raises ``IndexError`` for a row that is not there, ``ValueError`` for a recording without rows.
    """
    if not len(recording):
        raise ValueError("picture: the recording has no rows yet")
    t = len(recording) - 1 if t is None else range(len(recording))[t]
    space = frames.space_of(recording)
    meta = frames.head(recording)
    parts: list[str] = []
    y = 14.0
    if {"transport", "knobs"} & set(panels):
        values = ", ".join(
            f"{frames.symbol(recording, k)} {v:.3g}" for k, v in recording.values(t).items() if k == "lam"
        )
        title = (
            f"{meta['method'].upper()} on {meta['task']}, seed {meta['seed']} · row {t} of {frames.planned(recording)}"
        )
        parts.append(f'<text x="14" y="{y + 6:g}" style="font-weight:600;font-size:13px">{html.escape(title)}</text>')
        parts.append(f'<text class="s" x="{width - 14:g}" y="{y + 6:g}" text-anchor="end">{html.escape(values)}</text>')
        y += 18
    both = "cells" in panels and "curves" in panels
    top, ends = y, [y]
    if "cells" in panels:
        room = width * 0.6 - 20 if both else width - 28
        ends.append(_cells_block(recording, t, space, room, top, parts))
    if "curves" in panels:
        left = width * 0.6 + 8 if both else 14.0
        ends.append(_curves_block(recording, t, meta["charts"], left, width - left - 10, top, theme, parts))
    y = max(ends)
    if "ribbons" in panels:
        body, used = ribbons_markup(recording, t, width - 24, theme)
        caption = "EDGES OVER TIME · colour: leading op, depth: certainty, ○ death, ● birth; right: all ops of this row"
        parts.append(f'<text class="t" x="14" y="{y + 12:g}" style="font-size:11px">{caption}</text>')
        parts.append(f'<g transform="translate(12 {y + 22:g})">{body}</g>')
        y += used + 24
    if "notice" in panels:
        parts.append(f'<text x="14" y="{y + 12:g}">{html.escape(frames.notice(recording, t))}</text>')
        y += 20
    height = y + 8
    c = THEMES[theme]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:.0f}" width="{width:g}" '
        f'height="{height:.0f}">{style(theme)}<rect width="100%" height="100%" rx="10" fill="{c["panel"]}" '
        f'stroke="{c["line"]}"/>{"".join(parts)}</svg>'
    )


def _cells_block(recording: Recording, t: int, space: Space, room: float, top: float, parts: list[str]) -> float:
    places, y = layout(space), top
    scale = min(room / places.width, 1.25)
    living = frames.alive(space, frames.chosen(recording)[t])
    for cell, markup in enumerate(cells_markup(recording, t)):
        name = frames.cell_name(space.cells[cell]).upper()
        count = f"{int(living[cell].sum())} of {len(space.edges)} edges"
        parts.append(
            f'<text class="t" x="14" y="{y + 12:g}" style="font-size:11px">{html.escape(name)} · {count}</text>'
        )
        body = markup.split(">", 1)[1].removesuffix("</svg>")
        parts.append(f'<g transform="translate(10 {y + 16:g}) scale({scale:.3f})">{body}</g>')
        y += 20 + places.height * scale
    body, end = legend_markup(space, 14, y + 6, room)
    parts.append(body)
    return end + 4


def _curves_block(
    recording: Recording, t: int, charts: Any, left: float, width: float, top: float, theme: str, parts: list[str]
) -> float:
    y = top
    for chart in charts:
        height = 128.0 if chart["series"][0]["metric"] == "accuracy" else 82.0
        body = curve_markup(recording, chart, t, width, height, theme)
        if body:
            parts.append(f'<g transform="translate({left:g} {y:g})">{body}</g>')
            y += height
    return y
