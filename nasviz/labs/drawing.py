"""Marks of a lesson's hand-drawn figures as SVG text: words, boxes, lines, dots, and the page they stand on.

Attributes are written with ``_`` for ``-`` (``stroke_width=2``). Places have one decimal, so that a picture is always
the same.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from textwrap import wrap

from nasviz.charts import INK, Chart
from nasviz.markup import sheet

__all__ = ["PAPER", "WIDTH", "box", "dot", "line", "path", "picture", "row", "text"]

WIDTH = 760  # of every page, in pixels
PAPER = "#f7f8fa"


def _attributes(more: dict[str, object]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())


def text(
    x: float, y: float, words: object, size: float = 11, colour: str = INK["ink"], halo: str = "", **more: object
) -> str:
    """Words whose baseline starts at (x, y), outlined in the colour ``halo`` where they stand on marks.

    ``text_anchor="middle"`` or ``"end"`` for other alignments.
    """
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}"'
    outline = f' paint-order="stroke" stroke="{halo}" stroke-width="4"' if halo else ""
    return f"<text {place}{outline}{_attributes(more)}>{html.escape(str(words))}</text>"


def box(x: float, y: float, width: float, height: float, colour: str, **more: object) -> str:
    """A rectangle with its upper left corner at (x, y); a negative size counts as none."""
    size = f'width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{colour}"{_attributes(more)}/>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str = INK["line"], **more: object) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{_attributes(more)}/>'


def dot(x: float, y: float, radius: float, colour: str, **more: object) -> str:
    """A disc around (x, y)."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}"{_attributes(more)}/>'


def path(points: Iterable[tuple[float, float]], colour: str = INK["ink"], **more: object) -> str:
    """A line through ``points``."""
    steps = "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<path d="M{steps}" fill="none" stroke="{colour}"{_attributes(more)}/>'


def row(*charts: str, gap: float = 8) -> tuple[str, float, float]:
    """SVG texts in a row, as one SVG group; also its width and height."""
    x, tallest, parts = 0.0, 0.0, []
    for chart in charts:
        found = re.match(r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"', chart)
        if found is None:
            raise ValueError("row: every chart must be SVG text that says its width and height")
        width, height = map(float, found.groups())
        parts.append(chart.replace("<svg ", f'<svg x="{x:g}" ', 1))
        x, tallest = x + width + gap, max(tallest, height)
    return "".join(parts), x - gap, tallest


def picture(title: str, caption: str, height: float, *body: str) -> Chart:
    """A page with its title above, ``body`` drawn on WIDTH × ``height``, and below a caption that says what to see."""
    lines = wrap(caption, 118)
    words = "".join(text(16, height + 56 + 16 * k, part, 11.5, INK["soft"]) for k, part in enumerate(lines))
    full = height + 54 + 16 * len(lines)
    page = (
        f'<rect width="100%" height="100%" rx="10" fill="{PAPER}"/>{text(16, 24, title, 13, font_weight=600)}'
        f'<g transform="translate(0 36)">{"".join(body)}</g>{words}'
    )
    svg = sheet(WIDTH, full, page, title)
    return Chart(svg, f"{title}. {caption}")
