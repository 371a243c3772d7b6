"""A race as a still picture: curves with their names, the lines at which they are read, and the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasviz.charts import INK, Chart
from nasviz.frames import brief
from nasviz.labs.drawing import WIDTH, dot, line, path, text
from nasviz.labs.drawing import picture as page
from nasviz.svg import spread

_LEFT, _TOP, _BOTTOM = 50.0, 14.0, 286.0
_ROW, _LETTER = 17.0, 5.7
_PALE = "#9aa3ad"


def picture(shown: Mapping[str, Any], status: Mapping[str, Any]) -> Chart:
    """Draws `Race.shown` and `Race.status`; both are plain data."""
    right = WIDTH - 36 - 5.6 * (max(len(one["name"]) for one in shown["entrants"]) + 5)  # room for the longest name
    low, high, end = (float(value) for value in (*shown["range"], shown["end"] or 1))

    def x(value: float) -> float:
        return _LEFT + value / end * (right - _LEFT)

    def y(value: float) -> float:
        return _BOTTOM - (min(max(value, low), high) - low) / ((high - low) or 1) * (_BOTTOM - _TOP)

    parts = [text(_LEFT, _TOP - 6, shown["unit"], 10.5, INK["soft"])]
    for tick in shown["ticks"]:
        parts.append(line(_LEFT, y(tick), right, y(tick)))
        parts.append(text(_LEFT - 7, y(tick) + 3.5, brief(tick), 10.5, INK["soft"], text_anchor="end"))
    parts += [
        text(x(tick), _BOTTOM + 16, f"{tick:g}", 10.5, INK["soft"], text_anchor="middle") for tick in shown["xticks"]
    ]
    parts.append(text(right, _BOTTOM + 31, shown["xname"], 10.5, INK["soft"], text_anchor="end"))
    goal = status["threshold"]
    if goal is not None and low <= goal <= high:
        parts.append(line(_LEFT, y(goal), right, y(goal), INK["focus"], stroke_dasharray="5 4"))
        parts.append(text(_LEFT + 4, y(goal) - 4, f"reach {brief(round(goal, 3))}", 10, INK["focus"]))
    if status["at"] is not None:
        parts.append(line(x(status["at"]), _TOP, x(status["at"]), _BOTTOM, INK["focus"], stroke_width=1.4))
        parts.append(text(x(status["at"]) - 4, _TOP + 6, "read here", 10, INK["focus"], text_anchor="end"))
    names, faint = [], shown["faint"]
    for one in shown["entrants"]:
        ink = _PALE if one["pale"] else INK["ink"]
        dashes = {"stroke_dasharray": one["dash"]} if one["dash"] else {}
        for xs, ys in one["lines"]:
            parts.append(path(zip(map(x, xs), map(y, ys), strict=True), ink, stroke_width=0.7, stroke_opacity=faint))
        if xs_ := one["median"][0]:
            ys_ = one["median"][1]
            parts.append(path(zip(map(x, xs_), map(y, ys_), strict=True), ink, stroke_width=1.8, **dashes))
            parts.append(dot(x(xs_[-1]), y(ys_[-1]), 2.6, ink))
            names.append((x(xs_[-1]), y(ys_[-1]), f"{one['name']} {brief(round(ys_[-1], 3))}", ink))
    places = spread([place + 3.5 for _, place, *_ in names], 12.5, _TOP + 6, _BOTTOM + 4)
    for (from_x, from_y, name, ink), place in zip(names, places, strict=True):
        parts.append(line(from_x + 4, from_y, right + 8, place - 3.5, INK["line"]))
        parts.append(text(right + 11, place, name, 10.5, ink))
    body, height = _table(status, _BOTTOM + 54)
    caption = " ".join([status["said"], *status["notes"]])
    return page(
        f"{shown['title']}: {shown['unit'].split(' (')[0]} over {shown['xname']}", caption, height, *parts, body
    )


def _table(status: Mapping[str, Any], top: float) -> tuple[str, float]:
    """The standings; and the height reached."""
    columns = status["columns"]
    lines = [columns, *status["rows"]]
    letters = [max(len(row[k]) for row in lines) for k in range(len(columns))]
    spare = (WIDTH - 28 - _LETTER * sum(letters)) / (len(columns) - 1)  # between two columns
    ends, place = [], 14.0
    for k, count in enumerate(letters):
        place += _LETTER * count + (spare if k else 0)
        ends.append(place)
    parts = []
    for k, row in enumerate(lines):
        y = top + k * _ROW
        ink = INK["soft"] if k == 0 else INK["ink"]
        weight: dict[str, object] = {"font_weight": 600} if row[0] == status["against"] else {}
        parts.append(text(14, y, row[0], 10.5, ink, "", **weight))
        parts += [
            text(place, y, cell, 10 if k == 0 else 10.5, ink, "", text_anchor="end", **weight)
            for cell, place in zip(row[1:], ends[1:], strict=True)
        ]
        parts.append(line(14, y + 5, WIDTH - 14, y + 5))
    return "".join(parts), top + len(status["rows"]) * _ROW + 4
