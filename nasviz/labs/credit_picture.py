"""The pictures of *credit on a cell*: the cell with a bar on every edge, the tape of rewards, a gate and its tangent.

SVG whose colours are classes, so that the live panel follows the page's theme; ``style`` has them for a still picture.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray

from nascore.space import Space
from nasviz.charts import ticks
from nasviz.layout import edge_names, layout
from nasviz.markup import sheet
from nasviz.svg import cell_markup
from nasviz.svg import style as cell_style
from nasviz.theme import THEMES, colour

TAPE = (560.0, 176.0)
GATE = (472.0, 300.0)
FRAME = (52.0, 14.0, 330.0, 262.0)  # left, top, right, bottom of the plot of a gate
_SIDE = 348.0  # where the words beside the plot begin


@dataclass(frozen=True)
class Curve:
    """The loss along one gate, all others fixed, and its slope there."""

    gates: NDArray[np.float64]
    losses: NDArray[np.float64]
    slopes: NDArray[np.float64]

    def expected(self, at: int) -> float:
        """What the tangent at point ``at`` says of the loss at gate 0."""
        return float(self.losses[at] - self.gates[at] * self.slopes[at])

    def taylor(self, at: int) -> float:
        """How much the loss would rise without the operation, as the tangent says."""
        return self.expected(at) - float(self.losses[at])

    def true(self, at: int) -> float:
        """How much it rises."""
        return float(self.losses[0] - self.losses[at])

    def miss(self, at: int) -> float:
        """Taylor's error."""
        return self.taylor(at) - self.true(at)


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign, as people write it."""
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def words(x: float, y: float, text: object, kind: str = "", anchor: str = "start") -> str:
    """Words of a class."""
    where = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{where}>{html.escape(str(text))}</text>'


def bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A rectangle of a class; a negative height goes up from ``y``."""
    top = y if height > 0 else y + height
    return f'<rect class="{kind}" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{abs(height):.1f}" rx="1.5"/>'


def cell(space: Space, chosen: Sequence[int], credit: NDArray[np.float64], scale: float, pinned: int) -> str:
    """The cell of a child, a bar at the head of every edge as long as its credit, the label of the pinned edge."""
    table = np.eye(len(space.ops))[list(chosen)]
    markup = cell_markup(space, 0, table, credit=np.clip(credit / scale, -1, 1).tolist())
    label = signed(float(credit[pinned]))
    markup = re.sub(rf'(<text class="label" data-edge="{pinned}"[^>]*>)', rf"\g<1>{label}", markup)
    return markup.replace(
        f'<g class="edge" data-edge="{pinned}"', f'<g class="edge pinned" aria-pressed="true" data-edge="{pinned}"'
    )


def tape(
    space: Space,
    chosen: Sequence[int],
    order: Sequence[int],
    reward: float,
    credit: NDArray[np.float64],
    truth: NDArray[np.float64],
    scale: float,
) -> str:
    """The child built decision by decision: what each pays, 0 0 … R, and what each is credited with.

    A bar is the credit, a ring what leaving this edge out would cost.
    """
    names, (width, _) = edge_names(space), TAPE
    left, step = 92.0, (width - 92 - 84) / len(order)
    middle, unit = 112.0, 46.0 / scale
    parts = [
        words(0, 17, "decision", "soft"),
        words(0, 46, "it pays", "soft"),
        words(0, middle + 4, "credit", "soft"),
        words(0, middle + 20, f"full: {scale:.2f}", "soft"),
        f'<path class="axis" d="M{left - 6:.1f},{middle:g}H{width - 84:.1f}"/>',
    ]
    for place, t in enumerate(order):
        x, op = left + (place + 0.5) * step, space.ops[chosen[t]]
        paid = signed(reward, 2) if place == len(order) - 1 else "0"
        value, real = float(credit[t]), float(truth[t])
        height = -unit * min(max(value, -scale), scale)
        parts += [
            f'<rect x="{x - 11:.1f}" y="24" width="22" height="5" rx="2" fill="{colour(op)}"/>',
            words(x, 17, names[t], "", "middle"),
            words(x, 46, paid, "paid" if place == len(order) - 1 else "soft", "middle"),
            bar(x - 9, middle, 18, height, f"share {'helps' if value > 0 else 'hurts'}"),
            f'<circle class="truth" cx="{x:.1f}" cy="{middle - unit * min(max(real, -scale), scale):.1f}" r="4.2"/>',
            words(x, 172, signed(value), "", "middle"),
        ]
    parts += [
        words(width - 70, middle + 4, "Σ", "soft"),
        words(width - 56, middle + 4, signed(float(credit.sum())), ""),
    ]
    return "".join(parts)


def gate(curve: Curve, at: int, name: str) -> str:
    """The loss over one gate, its tangent at the point dragged, and how far that misses the loss at gate 0."""
    left, top, right, bottom = FRAME
    ends = [curve.expected(k) for k in range(len(curve.gates))]
    low, high = min(*ends, curve.losses.min()), max(*ends, curve.losses.max())
    room = 0.08 * ((high - low) or 1.0)
    low, high = low - room, high + room

    def place(g: float, loss: float) -> tuple[float, float]:
        return left + g * (right - left), bottom - (loss - low) / (high - low) * (bottom - top)

    parts = []
    for value in ticks(low, high, False):
        y = place(0, value)[1]
        parts += [
            f'<path class="grid" d="M{left:g},{y:.1f}H{right:g}"/>',
            words(left - 6, y + 4, f"{value:g}", "soft", "end"),
        ]
    for value in (0, 0.5, 1):
        parts.append(words(place(value, low)[0], bottom + 16, f"{value:g}", "soft", "middle"))
    parts.append(words((left + right) / 2, bottom + 32, f"gate of {name}", "soft", "middle"))
    line = "L".join(f"{x:.1f},{y:.1f}" for x, y in map(place, curve.gates.tolist(), curve.losses.tolist()))
    g, here = float(curve.gates[at]), float(curve.losses[at])
    (x0, told), (x, y), (_, true) = place(0, curve.expected(at)), place(g, here), place(0, float(curve.losses[0]))
    parts += [
        f'<path class="curve" d="M{line}"/>',
        f'<path class="tangent" d="M{x0:.1f},{told:.1f}L{x:.1f},{y:.1f}"/>',
        f'<path class="miss" d="M{x0:.1f},{told:.1f}V{true:.1f}"/>',
        f'<circle class="truth" cx="{x0:.1f}" cy="{true:.1f}" r="4.2"/>',
        f'<circle class="told" cx="{x0:.1f}" cy="{told:.1f}" r="4.2"/>',
        f'<circle class="knob" cx="{x:.1f}" cy="{y:.1f}" r="7"/>',
    ]
    tangent, real = curve.taylor(at), curve.true(at)
    ratio = f"{tangent / real:.2f} × the truth".replace("-", "−") if abs(real) > 5e-4 and abs(tangent) > 5e-4 else ""
    rows = [
        ("without it the loss changes", ""),
        (f"{signed(tangent)} by the tangent", "told"),
        (f"{signed(real)} in truth", "true"),
        (f"{signed(curve.miss(at))} is the miss", "missed"),
        (ratio, ""),
    ]
    for k, (text, kind) in enumerate(rows):
        for j, piece in enumerate(wrap(text, 18)):
            parts.append(words(_SIDE, top + 16 + 40 * k + 14 * j, piece, kind))
    return "".join(parts)


def framed(size: tuple[float, float], body: str, kind: str, label: str) -> str:
    """A picture for the live panel."""
    spoken = f' role="img" aria-label="{html.escape(label)}"'
    return f'<svg class="{kind}" viewBox="0 0 {size[0]:g} {size[1]:g}"{spoken}>{body}</svg>'


def style(theme: str) -> str:
    """The classes of these pictures in a theme, for a still one; the live panel has them in its style sheet."""
    c = THEMES[theme]
    own = (
        f".soft{{fill:{c['soft']}}}.axis,.grid{{fill:none;stroke:{c['line']}}}.paid,.head{{font-weight:600}}"
        f".share{{stroke:{c['ink']}}}.curve{{fill:none;stroke:{c['ink']};stroke-width:2}}"
        f".tangent{{fill:none;stroke:{c['focus']};stroke-width:2}}.miss{{fill:none;stroke:{c['mark']};stroke-width:4}}"
        f".truth{{fill:{c['panel']};stroke:{c['ink']};stroke-width:1.8}}circle.told,.knob{{fill:{c['focus']}}}"
        f"text.told{{fill:{c['focus']};font-weight:600}}text.true{{font-weight:600}}"
        f"text.missed{{fill:{c['mark']};font-weight:600}}"
        f".pinned .hit{{stroke:{c['focus']};stroke-opacity:.2;stroke-width:15}}"
        f".advantage .credit,.advantage .share{{stroke:{c['mark']}}}.advantage .helps{{fill:{c['mark']}}}"
        f".label{{font-size:12px;font-weight:600;paint-order:stroke;stroke:{c['panel']};stroke-width:5px}}"
    )
    return cell_style(theme).replace("</style>", own + "</style>")


def still(
    space: Space, title: str, said: str, cell_: str, tape_: str, gate_: str, advantage: bool, theme: str = "light"
) -> str:
    """All of it as one picture."""
    places, c = layout(space), THEMES[theme]
    scale = TAPE[0] / places.width
    lower = 40 + places.height * scale + 14
    lines = wrap(said, 150)
    width, height = TAPE[0] + GATE[0] + 44, lower + TAPE[1] + 22 + 16 * len(lines)
    inner = cell_.split(">", 1)[1].removesuffix("</svg>")
    kind = "advantage" if advantage else ""
    body = (
        f'{style(theme)}<rect x=".5" y=".5" width="{width - 1:g}" height="{height - 1:.0f}" rx="10" '
        f'fill="{c["panel"]}" stroke="{c["line"]}"/>{words(14, 24, title, "h")}'
        f'<g class="{kind}"><g transform="translate(14 36) scale({scale:.3f})">{inner}</g>'
        f'<g transform="translate(14 {lower:g})">{tape_}</g></g>'
        f'<g transform="translate({TAPE[0] + 34:g} 60)">{gate_}</g>'
        + "".join(words(14, lower + TAPE[1] + 22 + 16 * k, line, "n") for k, line in enumerate(lines))
    )
    return sheet(width, round(height), body, title)
