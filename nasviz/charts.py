"""Charts of the lessons: plotly where a browser runs, the same figure as plain SVG where none does.

A lesson builds an ordinary ``plotly.graph_objects.Figure``. :func:`chart` shows it; with
``NASVIZ_STATIC=1`` (GitHub, the tests, a printed page) it draws the figure's lines, markers and bars
as SVG. :func:`explore` puts sliders under a function that returns such a figure or an SVG text.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import Any

import numpy as np

from nasviz.markup import sheet

__all__ = ["INK", "Chart", "Slider", "chart", "explore", "figure", "svg_chart", "ticks"]

#: Lines are ink with dashes: hues are kept for ops.
INK = {"ink": "#1d2530", "soft": "#66707d", "line": "#dfe3e8", "panel": "#ffffff", "focus": "#1f6feb"}
_DASHES = {None: "", "solid": "", "dot": "2 3", "dash": "6 4", "dashdot": "6 3 2 3", "longdash": "10 4"}
_MARGIN = {"left": 56.0, "right": 18.0, "top": 30.0, "bottom": 46.0}


def figure(title: str = "", x: str = "", y: str = "", **layout: Any) -> Any:
    """An empty plotly figure in the kit's style: axis titles, room for direct labels, no fixed background."""
    import plotly.graph_objects as go

    return go.Figure(
        layout={
            "title": {"text": title, "font": {"size": 14}},
            "xaxis": {"title": {"text": x}, "gridcolor": "rgba(128,128,128,.25)", "zeroline": False},
            "yaxis": {"title": {"text": y}, "gridcolor": "rgba(128,128,128,.25)", "zeroline": False},
            "width": 640,
            "height": 360,
            "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": "#7a8593"},  # reads on white and on black: plotly does not follow the theme by itself
            **layout,
        }
    )


def ticks(low: float, high: float, log: bool) -> list[float]:
    """At most six round numbers from low to high (decades on a log axis, given as exponents)."""
    if log and high - low >= 1:
        return [float(e) for e in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    span = high - low or 1.0
    step = 10 ** math.floor(math.log10(span / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= 6)
    return [round(k * step, 12) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    log: bool = False
    names: tuple[str, ...] = ()  # a category axis counts its names from 0

    def __call__(self, value: float) -> float:
        place = math.log10(value) if self.log else value
        return self.start + (place - self.low) / (self.high - self.low) * (self.end - self.start)

    def marks(self) -> list[tuple[float, str]]:
        if self.names:
            return [(self(k), name) for k, name in enumerate(self.names)]
        values = [10**e if self.log else e for e in ticks(self.low, self.high, self.log)]
        return [(self(value), f"{value:g}") for value in values]


def _axis(values: Sequence[Any], spec: Any, start: float, end: float, pad: float, zero: bool) -> _Axis:
    if any(isinstance(value, str) for value in values):
        names = tuple(dict.fromkeys(str(value) for value in values))
        return _Axis(-0.5, len(names) - 0.5, start, end, names=names)
    log = spec.type == "log"
    drawn = [v for v in values if v is not None and math.isfinite(v) and not (log and v <= 0)]
    places = np.asarray([math.log10(v) if log else v for v in drawn], dtype=float)
    if spec.range:
        low, high = (float(end_) for end_ in spec.range)
    else:
        low, high = (float(places.min()), float(places.max())) if places.size else (0.0, 1.0)
        low = min(low, 0.0) if zero else low
        room = pad * ((high - low) or 1.0)
        low, high = low - (0.0 if zero and low == 0 else room), high + room
    return _Axis(low, high, start, end, log)


def _place(axis: _Axis, value: Any) -> float | None:
    """Pixels of a value, or None where there is nothing to draw (NaN, None, log of 0)."""
    if axis.names:
        return axis(axis.names.index(str(value)))
    if value is None or not math.isfinite(value) or (axis.log and value <= 0):
        return None
    return axis(float(value))


def svg_chart(fig: Any, caption: str = "") -> str:
    """A plotly figure's lines, markers, texts and bars as deterministic SVG text, the caption below.

    Raises ``TypeError`` for a trace type other than scatter and bar.
    """
    width, height = float(fig.layout.width or 640), float(fig.layout.height or 360)
    for trace in fig.data:
        if trace.type not in ("scatter", "bar"):
            raise TypeError(f"svg_chart: cannot draw a {trace.type!r} trace; allowed: scatter, bar")
    bars = [trace for trace in fig.data if trace.type == "bar"]
    xs = [x for trace in fig.data for x in trace.x]
    ys = [y for trace in fig.data for y in trace.y]
    xaxis = _axis(xs, fig.layout.xaxis, _MARGIN["left"], width - _MARGIN["right"], 0.03, False)
    top = _MARGIN["top"] + (18 if _named(fig) else 0)  # room for the legend
    yaxis = _axis(ys, fig.layout.yaxis, height - _MARGIN["bottom"], top, 0.06, bool(bars))
    parts = [_frame(fig, xaxis, yaxis, width, height)]
    for number, trace in enumerate(bars):
        parts += _bars(trace, number, len(bars), xaxis, yaxis)
    for trace in fig.data:
        if trace.type == "scatter":
            parts += _scatter(trace, xaxis, yaxis)
    parts += _legend(fig)
    lines = wrap(caption, int(width / 6.1))
    parts += [
        f'<text x="14" y="{height + 12 + 15 * k:g}" fill="{INK["soft"]}">{html.escape(line)}</text>'
        for k, line in enumerate(lines)
    ]
    full = height + (15 * len(lines) + 6 if lines else 0)
    ground = f'<rect width="100%" height="100%" rx="8" fill="{INK["panel"]}"/>'
    return sheet(width, full, ground + "".join(parts))


def _frame(fig: Any, xaxis: _Axis, yaxis: _Axis, width: float, height: float) -> str:
    left, right, bottom = _MARGIN["left"], width - _MARGIN["right"], height - _MARGIN["bottom"]
    grid = "".join(
        f'<line x1="{left:g}" x2="{right:g}" y1="{y:.1f}" y2="{y:.1f}" stroke="{INK["line"]}"/>'
        f'<text x="{left - 6:g}" y="{y + 4:.1f}" text-anchor="end" fill="{INK["soft"]}">{html.escape(name)}</text>'
        for y, name in yaxis.marks()
    )
    grid += "".join(
        f'<text x="{x:.1f}" y="{bottom + 15 + 12 * row:g}" text-anchor="middle" fill="{INK["soft"]}">'
        f"{html.escape(line)}</text>"
        for x, name in xaxis.marks()
        for row, line in enumerate(name.split("<br>"))
    )
    title, x, y = (
        html.escape(part.text or "") for part in (fig.layout.title, fig.layout.xaxis.title, fig.layout.yaxis.title)
    )
    middle = (bottom + yaxis.end) / 2
    return (
        grid
        + f'<text x="{left:g}" y="18" font-size="13" font-weight="600" fill="{INK["ink"]}">{title}</text>'
        + f'<text x="{(left + right) / 2:g}" y="{height - 10:g}" text-anchor="middle" fill="{INK["soft"]}">{x}</text>'
        + f'<text transform="translate(14 {middle:g}) rotate(-90)" text-anchor="middle" fill="{INK["soft"]}">{y}</text>'
    )


def _each(value: Any, k: int, default: Any) -> Any:
    """Plotly lets a property be one value or one per point."""
    if value is None:
        return default
    return value[k] if isinstance(value, (list, tuple, np.ndarray)) else value


def _bars(trace: Any, number: int, of: int, xaxis: _Axis, yaxis: _Axis) -> list[str]:
    slot = abs(xaxis(1) - xaxis(0)) * 0.8
    thick, ground, parts = slot / of, yaxis(max(0.0, yaxis.low)), []
    for k, (x, y) in enumerate(zip(trace.x, trace.y, strict=True)):
        px, py = _place(xaxis, x), _place(yaxis, y)
        if px is None or py is None:
            continue
        parts.append(
            f'<rect x="{px - slot / 2 + number * thick:.1f}" y="{min(py, ground):.1f}" width="{thick * 0.92:.1f}" '
            f'height="{abs(ground - py):.1f}" rx="2" fill="{_each(trace.marker.color, k, INK["soft"])}"/>'
        )
        if trace.error_y.array is not None:
            middle, spread = px - slot / 2 + (number + 0.46) * thick, trace.error_y.array[k]
            low, high = (yaxis(min(max(y + side * spread, yaxis.low), yaxis.high)) for side in (-1, 1))
            pen = f'stroke="{trace.error_y.color or INK["ink"]}" stroke-width="1.5"'
            parts.append(f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{low:.1f}" y2="{high:.1f}" {pen}/>')
    return parts


def _scatter(trace: Any, xaxis: _Axis, yaxis: _Axis) -> list[str]:
    places = [(_place(xaxis, x), _place(yaxis, y)) for x, y in zip(trace.x, trace.y, strict=True)]
    mode = trace.mode or "lines"
    colour = trace.line.color or (trace.marker.color if isinstance(trace.marker.color, str) else None) or INK["ink"]
    parts = []
    if "lines" in mode:
        path, pen = "", "M"
        for px, py in places:
            if px is None or py is None:
                pen = "M"
                continue
            path, pen = f"{path}{pen}{px:.1f},{py:.1f}", "L"
        dash = _DASHES.get(trace.line.dash, "")
        parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{trace.line.width or 2:g}"'
            + (f' stroke-dasharray="{dash}"' if dash else "")
            + "/>"
        )
    for k, (px, py) in enumerate(places):
        if px is None or py is None:
            continue
        if "markers" in mode:
            size = float(_each(trace.marker.size, k, 7)) / 2
            parts.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{size:g}" fill="{_each(trace.marker.color, k, colour)}"/>'
            )
        if "text" in mode:
            label = html.escape(str(_each(trace.text, k, "")))
            parts.append(f'<text x="{px:.1f}" y="{py - 8:.1f}" text-anchor="middle" fill="{INK["ink"]}">{label}</text>')
    return parts


def _named(fig: Any) -> list[Any]:
    named = [trace for trace in fig.data if trace.name and trace.showlegend is not False]
    return named if len(named) > 1 else []


def _legend(fig: Any) -> list[str]:
    """One row under the title, in the order of the traces."""
    parts, x, y = [], _MARGIN["left"], 36
    for trace in _named(fig):
        colour = (trace.line.color if trace.type == "scatter" else None) or trace.marker.color
        colour = colour if isinstance(colour, str) else INK["ink"]
        dash = _DASHES.get(trace.line.dash, "") if trace.type == "scatter" else ""
        parts.append(
            f'<line x1="{x:g}" x2="{x + 20:g}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"'
            + (f' stroke-dasharray="{dash}"' if dash else "")
            + f'/><text x="{x + 25:g}" y="{y + 4}" fill="{INK["ink"]}">{html.escape(trace.name)}</text>'
        )
        x += 44 + 6.3 * len(trace.name)  # about the width of a letter
    return parts


@dataclass(frozen=True)
class Chart:
    """A figure with a caption that says what to see."""

    figure: Any
    caption: str = ""

    def svg(self) -> str:
        """The figure as SVG text."""
        return self.figure if isinstance(self.figure, str) else svg_chart(self.figure, self.caption)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if os.environ.get("NASVIZ_STATIC") == "1" or isinstance(self.figure, str):
            return {"image/svg+xml": self.svg(), "text/plain": self.caption or "a chart"}
        import ipywidgets as widgets
        import plotly.graph_objects as go

        shown = [go.FigureWidget(self.figure), _caption(self.caption)]
        return widgets.VBox(shown)._repr_mimebundle_(**options)


def _caption(text: str) -> Any:
    import ipywidgets as widgets

    return widgets.HTML(f"<i>{html.escape(text)}</i>")


def chart(fig: Any, caption: str = "") -> Chart:
    """Show a plotly figure or an SVG text, live or static."""
    return Chart(fig, caption)


@dataclass(frozen=True)
class Slider:
    """A slider of :func:`explore`: where it starts, its ends, its step and the name people read."""

    value: float
    low: float
    high: float
    step: float
    label: str = ""


@dataclass(frozen=True)
class Exploration:
    """What :func:`explore` returns: sliders with the picture they change."""

    draw: Callable[..., Any]
    sliders: Mapping[str, Slider]
    caption: str = ""

    def __call__(self, **values: float) -> Any:
        """The picture at these values (the others stay where they start)."""
        unknown = sorted(set(values) - set(self.sliders))
        if unknown:
            raise ValueError(f"explore: {unknown[0]!r} is not one of the sliders {', '.join(self.sliders)}")
        return self.draw(**{name: slider.value for name, slider in self.sliders.items()} | values)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if os.environ.get("NASVIZ_STATIC") == "1":
            drawn = self()
            shown = drawn if isinstance(drawn, Chart) else Chart(drawn)
            caption = self.caption or shown.caption or "a picture with sliders"
            if not shown.caption:
                shown = replace(shown, caption=caption)
            return {"image/svg+xml": shown.svg(), "text/plain": caption}
        return self.widget()._repr_mimebundle_(**options)

    def widget(self) -> Any:
        """Sliders above the picture; each move redraws it in place."""
        import ipywidgets as widgets

        first = self()
        picture, redraw = _live(first)
        trouble = widgets.HTML()
        controls = {}
        for name, slider in self.sliders.items():
            ends = {"value": slider.value, "min": slider.low, "max": slider.high, "step": slider.step}
            # A browser may round: whole steps get a slider that sends 20, where the other could send 19.999….
            whole = all(float(end).is_integer() for end in ends.values())
            kind = widgets.IntSlider if whole else widgets.FloatSlider
            controls[name] = kind(
                **({key: int(end) for key, end in ends.items()} if whole else ends),
                description=slider.label or name,
                style={"description_width": "initial"},
                layout={"width": "420px"},
            )

        def moved(_: object) -> None:
            try:
                redraw(self(**{name: control.value for name, control in controls.items()}))
                trouble.value = ""
            except Exception as error:  # an exception in a callback would only reach the log
                trouble.value = html.escape(f"{type(error).__name__}: {error}")

        for control in controls.values():
            control.observe(moved, "value")
        return widgets.VBox([*controls.values(), picture, trouble, _caption(self.caption)])


def _live(first: Any) -> tuple[Any, Callable[[Any], None]]:
    """A widget for a figure, an SVG text or a chart of one, and the function that puts a new one in its place."""
    import ipywidgets as widgets

    def bare(drawn: Any) -> Any:
        return drawn.figure if isinstance(drawn, Chart) else drawn

    first = bare(first)
    if isinstance(first, str):
        box = widgets.HTML(first)

        def swap(new: Any) -> None:
            box.value = bare(new)

        return box, swap
    import plotly.graph_objects as go

    shown = go.FigureWidget(first)

    def update(new: Any) -> None:
        new = bare(new)
        with shown.batch_update():
            for old, fresh in zip(shown.data, new.data, strict=True):
                old.update(fresh.to_plotly_json())
            shown.layout.title.text = new.layout.title.text

    return shown, update


def explore(draw: Callable[..., Any], caption: str = "", **sliders: Slider) -> Exploration:
    """Sliders under ``draw(**values)``, which returns a plotly figure, an SVG text or a :class:`Chart`."""
    return Exploration(draw, sliders, caption)
