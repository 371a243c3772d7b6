"""Compositions for the lesson on fair races: ten-seed runs as recordings, win tables, retraining, size, total cost.

All of it reads the shipped results of ``benchmarks/claims.py`` (`rows`) and of ``benchmarks/ranking.py`` (`pool`), in
which accuracies are on test images that no search has seen; the curves of the searches are on validation images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nascore.errors import UserError, choose
from nascore.paired import interval, league
from nascore.record import Recording
from nascore.run import Step
from nascore.space import Space
from nasviz.charts import INK, Chart
from nasviz.frames import brief
from nasviz.labs.drawing import WIDTH, box, dot, line, picture, text
from nasviz.svg import spread

__all__ = [
    "STAGES",
    "Row",
    "bill",
    "bill_chart",
    "command",
    "pool",
    "recordings",
    "rows",
    "scores",
    "size_chart",
    "stage_chart",
    "value",
    "win_chart",
]

Row = Mapping[str, Any]
Values = NDArray[np.float64]

STAGES = {
    "supernet": "supernet",
    "argmax_stale": "child, inherited statistics",
    "argmax_recalibrated": "child, recalibrated",
    "retrained.test": "child, retrained",
}
"""Where a search's result can be read, from the search itself to what one would report: column → name."""

_CURVE = {"supernet": "accuracy", "stale": "child_accuracy", "recalibrated": "child_accuracy_recalibrated"}
_COUNTERS = ("updates", "examples", "cpu_seconds")


@cache
def _stored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("nascore") / "recordings" / name).read_text("utf-8"))
    return found


def command() -> str:
    """What the shipped results were made with."""
    return str(_stored("digits-methods.json")["command"])


def rows(*names: str) -> list[Row]:
    """The shipped searches, a row a method and seed, in the order of ``names``; without names those of the main race.

    These are the searches in the small space whose child was retrained, without variants of a method that are there to
    be compared with it alone.

    Raises:
        UserError: there is no method of that name.
    """
    every: list[Row] = _stored("digits-methods.json")["runs"]
    known = list(dict.fromkeys(row["name"] for row in every))
    if not names:
        return [row for row in every if row.get("retrained") and row["space"] == "TOY" and not row.get("variant")]
    chosen = [choose("names", name, known) for name in names]
    return [row for name in chosen for row in every if row["name"] == name]


def value(row: Row, column: str) -> float:
    """A column of a row; a dot goes into what is nested: "retrained.test"."""
    found: Any = row
    for part in column.split("."):
        found = found[choose("column", part, [str(key) for key in found])]
    return float(found)


def scores(found: Sequence[Row], column: str) -> dict[str, dict[int, float]]:
    """A column as ``{name: {seed: value}}``, what ``nascore.paired`` compares."""
    table: dict[str, dict[int, float]] = {}
    for row in found:
        table.setdefault(row["name"], {})[int(row["seed"])] = value(row, column)
    return table


def recordings(found: Sequence[Row]) -> list[Recording]:
    """The searches as recordings of their curves alone, for a race; the last row has the derived child."""
    about = Recording.open("digits-random").meta
    space = Space.from_json(about["space"])
    ours = [row for row in found if row["space"] == space.name]
    if not ours:
        raise UserError(f"rows: none of {len(found)} is of the space {space.name!r}, whose prices are recorded.")
    return [_recording(row, about, space) for row in ours]


def _recording(row: Row, about: Mapping[str, Any], space: Space) -> Recording:
    steps = []
    for t, point in enumerate(row["curve"]):
        metrics = {name: point[key] for key, name in _CURVE.items()} | {name: point[name] for name in _COUNTERS}
        graphs = None
        if t == len(row["curve"]) - 1:
            metrics["child_cost"] = row["child_cost"]
            graphs = {cell: space.graph(tuple(map(tuple, edges))) for cell, edges in row["argmax_graphs"].items()}
        steps.append(Step(t, "update", metrics, graphs=graphs))
    kept = {name: about[name] for name in ("task", "space", "prices", "metrics")}
    own = "argmax" if row["own_graphs"] == row["argmax_graphs"] else "top2"
    more = {name: row[name] for name in ("method", "seed", "epochs")} | {"label": row["name"], "own_rule": own}
    return Recording.from_steps(steps, {**kept, **more, "steps": int(row["updates"])})


@cache
def pool() -> tuple[Values, Values]:
    """Children drawn at random, trained alone: parameters ``[child]``, and test accuracy ``[child]``, mean of seeds."""
    found = _stored("digits-ranking.json")
    right = np.array([trained["test"] for trained in found["alone"]], float)
    return np.array(found["parameters"], float), right.mean(0) / found["images"]["test"]


# ------------------------------------------------------------------------------------------------------- pictures


def win_chart(found: Sequence[Row], column: str = "retrained.test") -> Chart:
    """Every method against every other on the seeds they share: how often the one of the line had more."""
    table = scores(found, column)
    names = sorted(table, key=lambda name: -float(np.median(list(table[name].values()))))
    results = league(table)
    left, cell = 190.0, min(60.0, (WIDTH - 290) / len(names))
    wide = cell > 45
    top, turn = (112.0, 40) if wide else (146.0, 58)
    parts = []
    for k, name in enumerate(names):
        middle = top + k * 26 + 13
        parts.append(text(left - 10, middle + 4, name, text_anchor="end"))
        x = left + (k + 0.5) * cell
        turned = f"translate({x + 4:.1f} {top - 8:.1f}) rotate(-{turn})"
        parts.append(f'<g transform="{turned}">{text(0, 0, name, 10.5, INK["soft"])}</g>')
        for j, other in enumerate(names):
            place = left + j * cell
            if name == other:
                parts.append(box(place + 1, top + k * 26 + 1, cell - 2, 24, INK["line"], rx=3, fill_opacity=0.5))
                continue
            one = results[name, other]
            share = one.wins / one.n
            sure = one.p < 0.05
            parts.append(
                box(place + 1, top + k * 26 + 1, cell - 2, 24, INK["ink"], rx=3, fill_opacity=0.04 + 0.5 * share)
            )
            says = (f"{one.wins}/{one.n}" if wide else str(one.wins)) + ("*" if sure else "")
            ink = "#ffffff" if share > 0.75 else INK["ink"]
            parts.append(text(place + cell / 2, middle + 4, says, 10.5, ink, text_anchor="middle"))
    n = max(one.n for one in results.values())
    caption = (
        f"Wins of the line over the column, {STAGES.get(column, column)}, test images, at most {n} paired seeds. "
        "* sign test p < .05, not corrected for the number of pairs looked at."
    )
    return picture("Who wins against whom", caption, top + 26 * len(names) + 4, *parts)


def stage_chart(found: Sequence[Row]) -> Chart:
    """Accuracy of each method at every stage between the search and the report: medians with their intervals."""
    tables = {column: scores(found, column) for column in STAGES}
    names = list(tables["supernet"])
    ends = [value for table in tables.values() for name in names for value in table[name].values()]
    low, high = 0.1 * np.floor(10 * min(ends)), 1.0
    left, right, gap = 196.0, WIDTH - 30, 58.0
    parts = []

    def place(share: float) -> float:
        return float(left + (share - low) / (high - low) * (right - left))

    for tick in np.arange(low, high + 0.01, 0.1):
        parts.append(line(place(tick), 26, place(tick), 34 + gap * len(names)))
        parts.append(text(place(tick), 20, f"{tick:.1f}".lstrip("0") or "0", 10.5, INK["soft"], text_anchor="middle"))
    shades = ("#b4bcc6", "#7d8794", INK["ink"], INK["focus"])  # hues are kept for operations
    for k, name in enumerate(names):
        top = 36 + k * gap
        parts.append(text(left - 12, top + 26, name, text_anchor="end"))
        for j, (column, shade) in enumerate(zip(STAGES, shades, strict=True)):
            values = list(tables[column][name].values())
            y = top + 8 + 11 * j
            if len(values) > 1:
                middle, least, most = interval(values)
                parts.append(line(place(least), y, place(most), y, shade, stroke_width=5, stroke_opacity=0.35))
            else:
                middle = values[0]
            parts.append(dot(place(middle), y, 4, shade))
    x = left
    for label, shade in zip(STAGES.values(), shades, strict=True):
        parts.append(dot(x + 4, 2, 4, shade))
        parts.append(text(x + 12, 6, label, 10.5))
        x += 30 + 5.6 * len(label)
    n = min(len(seeds) for seeds in tables["supernet"].values())
    caption = (
        f"Test accuracy, median of {n} seeds or more and its 95 % interval. From top to bottom of each group: what the "
        "search shows, argmax's child, the same with batch norm's statistics measured anew; the child by the method's "
        "own rule, retrained."
    )
    return picture("From the search to the report", caption, 40 + gap * len(names), *parts)


def size_chart(found: Sequence[Row]) -> Chart:
    """Retrained children of the searches among children drawn at random: accuracy over parameters."""
    sizes, accuracies = pool()
    mine = {name: list(values.values()) for name, values in scores(found, "retrained.parameters").items()}
    ours = {name: list(values.values()) for name, values in scores(found, "retrained.test").items()}
    most = 1.05 * max(sizes.max(), *(max(values) for values in mine.values()))
    low = 0.7
    left, right, top, bottom = 56.0, WIDTH - 180, 14.0, 330.0

    def x(size: float) -> float:
        return float(left + size / most * (right - left))

    def y(share: float) -> float:
        return float(bottom - (max(share, low) - low) / (1 - low) * (bottom - top))

    parts = [text(left, top - 4, "test accuracy after training alone", 10.5, INK["soft"])]
    for tick in (0.7, 0.8, 0.9, 1.0):
        parts += [
            line(left, y(tick), right, y(tick)),
            text(left - 8, y(tick) + 4, brief(tick), 10.5, INK["soft"], text_anchor="end"),
        ]
    parts += [
        text(x(tick), bottom + 16, f"{tick:,}".replace(",", " "), 10.5, INK["soft"], text_anchor="middle")
        for tick in range(0, int(most), 1000)
    ]
    parts.append(text(right, bottom + 32, "parameters of the child", 10.5, INK["soft"], text_anchor="end"))
    parts += [dot(x(size), y(share), 3.2, "#b4bcc6") for size, share in zip(sizes, accuracies, strict=True)]
    marks = []
    for (name, across), up in zip(mine.items(), ours.values(), strict=True):
        spots = sorted(zip(across, up, strict=True))
        middle = x(float(np.median(across))), y(float(np.median(up)))
        parts += [line(*middle, x(size), y(share), INK["ink"], stroke_opacity=0.3) for size, share in spots]
        parts.append(dot(*middle, 4.5, INK["ink"]))
        marks.append((middle, name))
    places = spread([place[1] + 4 for place, _ in marks], 14, top + 6, bottom)
    for (place, name), down in zip(marks, places, strict=True):
        parts.append(line(place[0] + 5, place[1], right + 8, down - 4, INK["line"]))
        parts.append(text(right + 12, down, name, 10.5))
    below = int((accuracies < low).sum())
    caption = (
        f"Pale: {len(sizes)} children drawn at random, trained alone ({below} below {low:g} stand on the axis). Dark: "
        "median of each method's retrained children, with a line to each seed's. Compare heights over the same size."
    )
    return picture("Equal parameters", caption, bottom + 40, *parts)


def bill(found: Sequence[Row], searches: int = 1) -> dict[str, dict[str, float]]:
    """CPU seconds to one network: name → search, retraining, and accuracy of what is chosen.

    With several ``searches`` all are retrained and the best on validation data is taken, as in the practice of DARTS;
    the accuracy is that of the chosen one on test data, a mean over all ways to draw the seeds in a row.

    Raises:
        UserError: fewer seeds than searches.
    """
    bills = {}
    for name in dict.fromkeys(row["name"] for row in found):
        mine = [row for row in found if row["name"] == name]
        if searches > len(mine):
            raise UserError(f"searches: {searches} is more than the {len(mine)} seeds of {name}.")
        groups = [[mine[(k + j) % len(mine)] for j in range(searches)] for k in range(len(mine))]
        chosen = [max(group, key=lambda row: value(row, "retrained.valid")) for group in groups]
        bills[name] = {
            "search": searches * float(np.median([row["cpu_seconds"] for row in mine])),
            "retraining": searches * float(np.median([value(row, "retrained.cpu_seconds") for row in mine])),
            "accuracy": float(np.mean([value(row, "retrained.test") for row in chosen])),
        }
    return bills


def bill_chart(found: Sequence[Row], searches: int = 1) -> Chart:
    """Bars of CPU seconds, search and retraining, with the accuracy they buy."""
    bills = bill(found, searches)
    longest = max(one["search"] + one["retraining"] for one in bills.values())
    left, long = 190.0, WIDTH - 190.0 - 150
    parts = []
    for k, (name, one) in enumerate(bills.items()):
        y = 10 + 27 * k
        first, second = (one[part] / longest * long for part in ("search", "retraining"))
        parts.append(text(left - 10, y + 12, name, text_anchor="end"))
        parts.append(box(left, y, first, 16, INK["ink"], rx=2))
        parts.append(box(left + first + 1, y, second, 16, "#9aa3ad", rx=2))
        says = f"{one['search'] + one['retraining']:.0f} s → {one['accuracy']:.3f}".replace("0.", ".")
        parts.append(text(left + first + second + 10, y + 12, says))
    times = "one search" if searches == 1 else f"{searches} searches, the best on validation data is kept"
    caption = f"CPU seconds: search (dark) and retraining (pale), {times}; at the right the sum and the test accuracy."
    return picture("What one network costs", caption, 16 + 27 * len(bills), *parts)
