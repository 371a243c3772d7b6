"""Two aims at once: children in the plane of cost and accuracy, and which of them a hardware-aware reward prefers.

The reward is eq. (1) of ``nascore.rewards``: R = A (C / T)^w − λ C.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from nascore import pareto as fronts
from nascore import rewards
from nascore.errors import UserError, number
from nascore.record import Recording
from nasviz.charts import INK, Chart, Exploration, Slider, explore, ticks
from nasviz.labs.drawing import box, dot, line, path, picture, text
from nasviz.labs.ranking import measured

__all__ = ["alone", "best", "equal", "pareto", "reward", "seen", "trade"]

Values = NDArray[np.float64]
LEFT, TOP, RIGHT, BOTTOM = 58.0, 8.0, 520.0, 330.0
BEYOND = "#b45309"


def alone() -> tuple[Values, Values]:
    """60 random children of TOY, from the shipped measurements: cost as a share of the dearest network, and accuracy
    on valid after training alone, the mean of two seeds.
    """
    data = measured()
    return np.asarray(data.data["cost"], dtype=float), (data.alone(0, "valid") + data.alone(1, "valid")) / 2


def seen(recording: Recording | str) -> tuple[Values, Values]:
    """Cost and inherited accuracy on valid, recalibrated, of a search's child whenever it was measured."""
    found = Recording.open(recording) if isinstance(recording, str) else recording
    cost, accuracy = found.metric("child_cost"), found.metric("child_accuracy_recalibrated")
    there = np.isfinite(accuracy)
    return cost[there], accuracy[there]


def reward(cost: ArrayLike, accuracy: ArrayLike, target: float, below: float, above: float, lam: float) -> Values:
    """R of every child."""
    c, a = (torch.tensor(np.asarray(each, dtype=float)) for each in (cost, accuracy))
    return np.asarray(rewards.product(a, c, target, below, above) - lam * c)


def best(cost: ArrayLike, accuracy: ArrayLike, target: float, below: float, above: float, lam: float) -> int:
    """The child with the largest reward; of equal ones the first."""
    return int(reward(cost, accuracy, target, below, above, lam).argmax())


def equal(value: float, cost: ArrayLike, target: float, below: float, above: float, lam: float) -> Values:
    """The accuracy that gives the reward ``value`` at each cost: R solved for A."""
    c = np.asarray(cost, dtype=float)
    return (value + lam * c) / reward(c, np.ones_like(c), target, below, above, 0.0)


def trade(
    points: tuple[ArrayLike, ArrayLike] | None = None,
    target: float = 0.4,
    below: float = 0.0,
    above: float = 0.0,
    lam: float = 0.0,
    searches: Mapping[str, Recording | str] | None = None,
    x: str = "cost, as a share of the dearest network's",
    y: str = "accuracy after training alone",
) -> Chart:
    """Children, their front, the one with the largest reward, and the curve of all that is worth as much.

    Args:
        points: costs, as shares of the dearest network's, and accuracies of children; by default ``alone()``.
        target: T, as a share of the dearest network's cost.
        below: the exponent w up to T.
        above: the exponent beyond it.
        lam: λ.
        searches: name → recording, whose child is drawn as it went (``seen``).
        x: what the costs are.
        y: what the accuracies are.

    Raises:
        UserError: no points, or a number out of its range.
    """
    c, a = (np.asarray(each, dtype=float) for each in (alone() if points is None else points))
    kept = fronts.front(c, a)
    if not len(kept):
        raise UserError("points: there are none; give costs and accuracies of at least one child.")
    bounds = rewards.KNOBS
    values = {"target": target, "below": below, "above": above, "lam": lam}
    form = {name: number(name, value, bounds[name].low, bounds[name].high) for name, value in values.items()}
    paths = {name: seen(search) for name, search in (searches or {}).items()}
    chosen = best(c, a, **form)
    top = float(reward(c, a, **form)[chosen])

    across, up = _axes([c, *(p[0] for p in paths.values())], [a, *(p[1] for p in paths.values())])
    area = (
        f'<clipPath id="plane"><rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}"/></clipPath>'
    )
    body = [area, *_frame(across, up, x, y)]
    sweep = np.linspace(*across, 160)
    for step in (-0.1, -0.05, 0.0, 0.05):
        worth = equal(top + step, sweep, **form)
        points_of = [_at(across, up, *p) for p in zip(sweep, np.clip(worth, -1, 3), strict=True)]
        style = {"stroke_width": 2} if step == 0 else {"stroke_width": 1, "stroke_dasharray": "3 4"}
        body.append(path(points_of, INK["focus"], clip_path="url(#plane)", opacity=1 if step == 0 else 0.45, **style))
    if form["below"] or form["above"]:
        here = _at(across, up, form["target"], 0)[0]
        if LEFT <= here <= RIGHT:
            body += [
                line(here, TOP, here, BOTTOM, BEYOND, stroke_dasharray="2 3"),
                text(here + 4, TOP + 12, "T", 12, BEYOND, font_style="italic"),
            ]
    body.append(path(_steps(across, up, c[kept], a[kept]), INK["ink"], stroke_width=1.2, opacity=0.6))
    on = set(kept.tolist())
    for k, place in enumerate(zip(c, a, strict=True)):
        body.append(dot(*_at(across, up, *place), 4, INK["ink"] if k in on else "#b9c0c9"))
    for n, (name, (cost, accuracy)) in enumerate(paths.items()):
        body += _search(across, up, n, name, cost, accuracy)
    body.append(dot(*_at(across, up, c[chosen], a[chosen]), 8, "none", stroke=INK["focus"], stroke_width=3))
    body += _told(c, a, kept, chosen, top, form)
    said = (
        "Each dot is a child; dark ones no other beats in both. The ring has the largest reward. Every place on the "
        "solid blue curve would be worth as much; on the dashed ones 0.05 more, and 0.05 and 0.1 less. What you set "
        "bends the curves, not the dots: a reward only chooses among the children that there are."
    )
    if paths:
        said += " Lines are searches: their child as it went, its accuracy with inherited weights."
    return picture(
        "Cheap or accurate: what a reward prefers",
        said,
        BOTTOM + 46,
        *body,
    )


def pareto(
    points: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    target: float = 0.4,
    below: float = 0.0,
    above: float = 0.0,
    lam: float = 0.0,
    searches: Mapping[str, Recording | str] | None = None,
    x: str = "cost, as a share of the dearest network's",
    y: str = "accuracy after training alone",
) -> Exploration:
    """``trade`` with sliders for the target, the two exponents and λ."""

    def draw(**values: float) -> Chart:
        return trade(points, searches=searches, x=x, y=y, **values)

    return explore(
        draw,
        target=Slider(target, 0.05, 1, 0.01, "target cost T"),
        below=Slider(below, -1, 0, 0.01, "exponent below T"),
        above=Slider(above, -1, 0, 0.01, "exponent above T"),
        lam=Slider(lam, 0, 1, 0.01, "penalty λ"),
    )


Range = tuple[float, float]


def _axes(costs: list[Values], accuracies: list[Values]) -> tuple[Range, Range]:
    c, a = np.concatenate(costs), np.concatenate(accuracies)
    middle = np.quantile(a, [0.1, 1.0])  # a few children that learnt nothing must not press the others together
    low = float(middle[0] - 0.6 * (middle[1] - middle[0]) - 0.01)
    return (0.0, float(max(c.max() * 1.06, 0.1))), (max(low, float(a.min()) - 0.02), min(float(a.max()) + 0.03, 1.02))


def _at(across: Range, up: Range, cost: float, accuracy: float) -> tuple[float, float]:
    """Pixels of a place; what lies below the frame stands on its lower edge."""
    x = LEFT + (cost - across[0]) / (across[1] - across[0]) * (RIGHT - LEFT)
    y = BOTTOM - (accuracy - up[0]) / (up[1] - up[0]) * (BOTTOM - TOP)
    return float(x), float(y)


def _frame(across: Range, up: Range, x: str, y: str) -> list[str]:
    parts = [box(LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP, INK["panel"], stroke=INK["line"])]
    for value in ticks(*across, log=False):
        here = _at(across, up, value, up[0])[0]
        parts += [
            line(here, BOTTOM, here, BOTTOM + 4, INK["soft"]),
            text(here, BOTTOM + 16, f"{value:g}", 10.5, INK["soft"], text_anchor="middle"),
        ]
    for value in ticks(*up, log=False):
        here = _at(across, up, 0, value)[1]
        parts += [
            line(LEFT, here, RIGHT, here),
            text(LEFT - 6, here + 4, f"{value:g}", 10.5, INK["soft"], text_anchor="end"),
        ]
    parts.append(text((LEFT + RIGHT) / 2, BOTTOM + 34, x, 11.5, INK["soft"], text_anchor="middle"))
    middle = (TOP + BOTTOM) / 2
    turn = {"transform": f"rotate(-90 16 {middle:g})", "text_anchor": "middle"}
    return [*parts, text(16, middle, y, 11.5, INK["soft"], **turn)]


def _steps(across: Range, up: Range, cost: Values, accuracy: Values) -> list[tuple[float, float]]:
    """The border of what the front dominates: right, then up."""
    corners = [(cost[0], up[0])]
    for k in range(len(cost)):
        corners += [(cost[k], accuracy[k]), (cost[k + 1] if k + 1 < len(cost) else across[1], accuracy[k])]
    return [_at(across, up, *corner) for corner in corners]


def _search(across: Range, up: Range, n: int, name: str, cost: Values, accuracy: Values) -> list[str]:
    """The way of a search's child, its name where it ended."""
    ink = ("#0f8a8a", "#8a3ffc", BEYOND, "#c0392b")[n % 4]
    places = [_at(across, up, *place) for place in zip(cost, accuracy, strict=True)]
    x, y = places[-1]
    side = 1 if x < (LEFT + RIGHT) / 2 else -1
    return [
        path(places, ink, stroke_width=1.4, opacity=0.7, clip_path="url(#plane)"),
        *(dot(*place, 2.2, ink, clip_path="url(#plane)") for place in places),
        dot(x, y, 5, ink),
        text(x + side * 8, y + 4, name, 11, ink, INK["panel"], text_anchor="start" if side > 0 else "end"),
    ]


def _told(c: Values, a: Values, kept: NDArray[np.int64], chosen: int, top: float, form: Mapping[str, Any]) -> list[str]:
    """What is chosen, in words."""
    w = form["below"] if c[chosen] <= form["target"] else form["above"]
    pieces = ["A"] + ([f"(C/T)^{w:g}"] if w else []) + ([f"− {form['lam']:g} C"] if form["lam"] else [])
    rows = [
        ("the best by reward", ""),
        ("accuracy A", f"{a[chosen]:.3f}"),
        ("cost C", f"{c[chosen]:.3f}"),
        ("R = " + " ".join(pieces).replace("^-", "^−"), f"{top:.3f}"),
        ("", ""),
        ("the front", f"{len(kept)} of {len(c)}"),
        ("area it rules", f"{fronts.hypervolume(c, a):.3f}"),
        ("its dearest: C, A", f"{c[kept[-1]]:.3f}, {a[kept[-1]]:.3f}"),
        ("its cheapest: C, A", f"{c[kept[0]]:.3f}, {a[kept[0]]:.3f}"),
    ]
    left, parts = RIGHT + 20, []
    for k, (name, value) in enumerate(rows):
        y = TOP + 16 + 20 * k
        weight = 600 if not value and name else 400
        parts += [
            text(left, y, name, 11.5, INK["focus"] if weight == 600 else INK["soft"], font_weight=weight),
            text(744, y, value, 11.5, text_anchor="end", font_weight=600),
        ]
    return parts
