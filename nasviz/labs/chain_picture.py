"""The chain as a still picture: thermometers at one sweep, all values over the sweeps, and V(s₀) below them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from nasviz.charts import INK, Chart
from nasviz.frames import brief
from nasviz.labs.drawing import WIDTH, box, dot, line, path, text
from nasviz.labs.drawing import picture as page
from nasviz.theme import THEMES

_TOP, _LOW, _HALF, _BULB = 22.0, 122.0, 9.0, 14.0  # of a thermometer: its ends, half its width, its bulb
_LEFT, _RIGHT, _MAP, _ROW, _CURVE = 46.0, WIDTH - 16, 206.0, 17.0, 78.0
GOOD, MARK = "#1a9e55", THEMES["light"]["mark"]


def subscript(k: int) -> str:
    """The name of a state: s₀, s₁, …"""
    return "s" + "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(k))


def triangle(x: float, y: float) -> str:
    """A small triangle that points left to (x, y)."""
    return path([(x, y), (x + 6, y - 3.5), (x + 6, y + 3.5), (x, y)], INK["soft"], stroke_width=1.2)


def picture(shown: Mapping[str, Any], values: NDArray[Any], t: int) -> Chart:
    """Draws `Chain.shown` and its values, [sweep, state], with the thermometers at sweep ``t``."""
    settings, delay = shown["settings"], shown["delay"]
    seen = t if shown["covered"] else shown["sweeps"]
    parts = [*_chain(shown, values[t]), *_map(shown, values, t, seen), *_curve(shown, values, t, seen)]
    rule = {"td": "TD(0)", "lambda": f"TD(λ = {brief(settings['lam'])})", "mc": "Monte Carlo"}[settings["rule"]]
    more = [settings["order"]] * (settings["order"] != "forward") + [settings["reward"]] * (
        settings["reward"] != "late"
    )
    title = ", ".join([f"{rule}, delay {delay}, step size {settings['step']}", *more, f"after {t} sweeps"])
    law = shown["law"]["text"] if shown["law"] else ""
    said = "What is to come is hidden." if shown["covered"] else f"{shown['said']} {law}"
    return page(title, said.strip(), _MAP + _ROW * delay + _CURVE + 46, *parts)


def _chain(shown: Mapping[str, Any], now: NDArray[Any]) -> list[str]:
    delay, gap, high = shown["delay"], WIDTH / (shown["delay"] + 0.72), _LOW - _TOP + 2 * _HALF
    parts = [text(16, _LOW + 55, "reward", 10.5, INK["soft"])]
    for k, value in enumerate(now.tolist()):
        x, y = (k + 0.5) * gap, _LOW + _BULB - 1
        tall = value * (_LOW - _TOP)
        parts += [
            box(x - _HALF, _TOP - _HALF, 2 * _HALF, high, INK["panel"], rx=_HALF, stroke=INK["soft"]),
            dot(x, y, _BULB, INK["panel"], stroke=INK["soft"]),
            dot(x, y, _BULB - 2.5, INK["focus"], fill_opacity=round(0.08 + 0.92 * value, 3)),
            box(x - _HALF + 2.5, _LOW - tall, 2 * _HALF - 5, tall + 4 if value > 0.004 else 0, INK["focus"], rx=2),
            line(x - _HALF, (_TOP + _LOW) / 2, x - 2, (_TOP + _LOW) / 2, INK["soft"]),
            triangle(x + _HALF + 2, _LOW - shown["truth"][k] * (_LOW - _TOP)),
            text(x, _TOP - _HALF - 5, f"{value:.2f}", 11, text_anchor="middle", font_weight=600),
            text(
                x,
                y + 4,
                subscript(k),
                11.5,
                INK["panel"] if value > 0.45 else INK["ink"],
                text_anchor="middle",
                font_weight=600,
            ),
        ]
        reward, end = shown["rewards"][k], min(x + gap, WIDTH - 16) - _BULB - 4
        ink = GOOD if reward else INK["soft"]
        middle = (x + _BULB + 4 + end) / 2
        parts += [
            path([(x + _BULB + 4, y), (end, y)], INK["soft"], stroke_width=1.2),
            path([(end - 5, y - 4), (end, y), (end - 5, y + 4)], INK["soft"], stroke_width=1.2),
            dot(middle, _LOW + 51, 11 if reward else 9, GOOD if reward else INK["panel"], stroke=ink),
            text(middle, _LOW + 55, brief(reward), 11, INK["panel"] if reward else ink, text_anchor="middle"),
        ]
        if k == delay - 1:
            parts.append(box(end + 4, y - 7, 14, 14, INK["soft"], rx=3))
    return parts


def _x(shown: Mapping[str, Any], n: float) -> float:
    last = float(shown["sweeps"])
    share = math.log1p(n) / math.log1p(last) if shown["log"] else n / last
    return _LEFT + share * (_RIGHT - _LEFT)


def _row(shown: Mapping[str, Any], k: int) -> float:
    """The upper end of a state's row; the one next to the reward is on top."""
    return _MAP + _ROW * float(shown["delay"] - 1 - k)


def _map(shown: Mapping[str, Any], values: NDArray[Any], t: int, seen: int) -> list[str]:
    end = _x(shown, shown["sweeps"])
    parts = [text(_LEFT, _MAP - 8, "V(s), state by state", 10.5, INK["soft"])]
    for k in range(shown["delay"]):
        y = _row(shown, k)
        parts += [
            text(_LEFT - 10, y + 12.5, subscript(k), 11, text_anchor="end"),
            box(_LEFT, y + 1, end - _LEFT, _ROW - 2, INK["focus"], fill_opacity=0.05),
        ]
    n = 0
    while n <= seen:  # cells that share a pixel are drawn once
        left = _x(shown, n - 0.5) if n else _LEFT
        following = n + 1
        while following <= seen and _x(shown, following - 0.5) < left + 2:
            following += 1
        right = min(_x(shown, following - 0.5), end)
        gap = 1.5 if right - left > 7 else 0
        sharp = {} if gap else {"shape_rendering": "crispEdges"}  # no seams between neighbours
        place = left + gap / 2, right - left - gap
        parts += [
            box(place[0], _row(shown, k) + 1, place[1], _ROW - 2, INK["focus"], fill_opacity=f"{v:.2f}", **sharp)
            for k, v in enumerate(values[n].tolist())
            if v >= 0.01
        ]
        n = following
    front = [
        (_x(shown, half), _row(shown, k) + _ROW / 2)
        for k, half in enumerate(shown["half"])
        if half is not None and half <= seen
    ]
    if front:
        parts.append(path(front, INK["ink"], stroke_width=1.3, stroke_dasharray="4 3"))
    parts += [dot(x, y, 3, INK["panel"], stroke=INK["ink"], stroke_width=1.4) for x, y in front]
    if shown["spoilt"]:
        x, y = _x(shown, shown["spoilt"]["sweep"]), _row(shown, shown["spoilt"]["state"]) + _ROW / 2
        parts += [line(x - 4, y - s * 4, x + 4, y + s * 4, MARK, stroke_width=2.4) for s in (1, -1)]
    return parts


def _curve(shown: Mapping[str, Any], values: NDArray[Any], t: int, seen: int) -> list[str]:
    top = _MAP + _ROW * float(shown["delay"]) + 12
    bottom, end = top + _CURVE, _x(shown, shown["sweeps"])

    def y(value: float) -> float:
        return bottom - value * _CURVE

    parts = []
    for tick in (0, 0.5, 1):
        parts += [
            line(_LEFT, y(tick), end, y(tick)),
            text(_LEFT - 7, y(tick) + 3.5, brief(tick), 10.5, INK["soft"], text_anchor="end"),
        ]
    parts += [
        text(_x(shown, n), bottom + 15, n, 10.5, INK["soft"], text_anchor="middle") for n in shown["ticks"] if n <= seen
    ]
    parts.append(text(end, bottom + 29, "sweeps", 10.5, INK["soft"], text_anchor="end"))
    if shown["law"]:
        rings = {"stroke": INK["soft"], "stroke_width": 1.2}
        parts += [dot(_x(shown, n), y(p), 3.2, INK["panel"], **rings) for n, p in shown["law"]["points"] if n <= seen]
    parts.append(
        path([(_x(shown, n), y(values[n, 0])) for n in shown["points"] if n <= seen], INK["ink"], stroke_width=1.8)
    )
    parts.append(text(_LEFT + 6, top + 10, "V(s₀)", 11, font_weight=600))
    half = shown["half"][0]
    if half is not None and half <= seen:
        x, left = _x(shown, half), _x(shown, half) > end - 80
        parts += [
            line(x, _row(shown, 0) + _ROW / 2, x, bottom, INK["ink"], stroke_dasharray="4 3"),
            text(
                x + (-5 if left else 5),
                bottom - 5,
                f"½ after {half}",
                11,
                text_anchor="end" if left else "start",
                font_weight=600,
            ),
        ]
    x = _x(shown, t)
    parts += [line(x, _MAP - 4, x, bottom, INK["focus"], stroke_width=1.4), dot(x, y(values[t, 0]), 3.4, INK["focus"])]
    return parts
