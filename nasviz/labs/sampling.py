"""Figures of the lesson *sample or average*: rolled gates, the temperature, and where the expectation stands.

Equations of Xie et al., "SNAS: Stochastic Neural Architecture Search", 2019, numbered as in ``nascore.methods.snas``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from nascore import gates
from nascore.errors import UserError
from nascore.record import Recording
from nascore.space import Space
from nasviz.charts import INK, Chart, figure, svg_chart
from nasviz.labs.drawing import WIDTH, box, dot, line, picture, row, text
from nasviz.labs.penalty import edge_names
from nasviz.theme import colour, op_label

__all__ = [
    "Expectations",
    "certainty",
    "children",
    "claims",
    "credit_bars",
    "derivation",
    "expectations",
    "journey",
    "last",
    "mix_or_draw",
    "ratio",
    "rolls",
    "simplex",
    "temperatures",
]

Net = Callable[[Tensor, Tensor, float], Tensor]
"""``net(z1, z2, slope)``: the output of two layers under the gates of each, with leaky ReLUs of that negative slope."""

Loss = Callable[[Tensor], Tensor]
"""Features ``[..., feature]`` → losses ``[...]``."""


# ------------------------------------------------------------------------------------------------ one edge


def mix_or_draw(alpha: Float[Tensor, " op"], ops: Sequence[str], g: Float[Tensor, " op"], tau: float) -> Chart:
    """The gates of one edge as strands: DARTS's softmax(α) on the left, SNAS's sample of eq. (3) on the right."""
    p, z = alpha.softmax(-1).tolist(), gates.concrete(alpha, tau, g).tolist()
    body = [
        *_bundle(0, "DARTS: a blend, always the same", ops, p),
        *_bundle(WIDTH / 2, f"SNAS: a draw, at temperature {tau:g}", ops, z),
        line(WIDTH / 2, 4, WIDTH / 2, 222),
    ]
    return picture(
        "One edge, three operations, two ways to set the gates",
        "A strand is an operation, its width the gate. The blend never commits to one operation; a draw at a low "
        "temperature nearly does. Pull the temperature down, and draw again a few times.",
        222,
        *body,
    )


def _bundle(left: float, title: str, ops: Sequence[str], z: Sequence[float]) -> list[str]:
    x1, x2, y = left + 62, left + WIDTH / 2 - 62, 104.0
    parts = [text(left + WIDTH / 4, 16, title, 12, text_anchor="middle", font_weight=600)]
    for k, (op, gate) in enumerate(zip(ops, z, strict=True)):
        bend = (k - (len(ops) - 1) / 2) * 78
        curve = f"M{x1:.1f},{y} C{x1 + 70:.1f},{y + bend:.1f} {x2 - 70:.1f},{y + bend:.1f} {x2:.1f},{y}"
        parts.append(
            f'<path d="{curve}" fill="none" stroke="{colour(op)}" stroke-width="{1 + 25 * gate:.1f}" '
            f'stroke-opacity="{0.35 + 0.6 * gate:.2f}"/>'
        )
        middle, half = y + 0.75 * bend, 0.5 + 12.5 * gate
        at = middle + half + 14 if bend > 0 else middle - half - 5  # below the lower strands, above the others
        parts.append(text(left + WIDTH / 4, at, f"{op_label(op)} {gate:.2f}", 11.5, text_anchor="middle"))
    for x, name in ((x1, "i"), (x2, "j")):
        parts.append(box(x - 16, y - 14, 32, 28, INK["panel"], rx=8, stroke=INK["soft"]))
        parts.append(text(x, y + 4, name, 12, text_anchor="middle", font_style="italic"))
    kept = max(z)
    parts.append(
        text(
            left + WIDTH / 4,
            210,
            f"the strongest operation alone keeps {kept:.0%} of the weight",
            11.5,
            INK["soft"],
            text_anchor="middle",
        )
    )
    return parts


def rolls(alpha: Float[Tensor, " op"], ops: Sequence[str], g: Float[Tensor, "roll op"], n: int) -> Chart:
    """Gumbel-max by hand: the ``n``-th roll, and how often each operation won in the first ``n``."""
    p, score = alpha.softmax(-1), alpha + g[n - 1]
    winner = int(score.argmax())
    shares = (alpha + g[:n]).argmax(-1).bincount(minlength=len(ops)) / n
    x = _scale(-3, 7, 96, 430)
    body = [text(96, 14, f"roll {n}: the largest α + G wins", 12, font_weight=600)]
    for value in range(-2, 7, 2):
        body += [
            line(x(value), 26, x(value), 176),
            text(x(value), 192, _number(value), 10.5, INK["soft"], text_anchor="middle"),
        ]
    for k, op in enumerate(ops):
        y, a, end = 50 + 50 * k, float(alpha[k]), float(score[k])
        wins = {"stroke": INK["ink"], "stroke_width": 2} if k == winner else {}
        body += [
            text(16, y + 4, op_label(op), 12, font_weight=600 if k == winner else 400),
            line(x(a), y, x(end), y, colour(op), stroke_width=5, stroke_opacity=0.55),
            line(x(a), y - 9, x(a), y + 9, INK["ink"], stroke_width=2),
            text(x(a), y - 13, f"α = {_number(a)}", 10, INK["soft"], text_anchor="middle"),
            dot(x(end), y, 7, colour(op), **wins),
        ]
        if k == winner:
            body.append(text(x(end) + 13, y + 4, "wins", 11.5, font_weight=600))
    body += _shares(470, f"share of the first {n} rolls", ops, p, shares)
    return picture(
        "Gumbel-max: add noise to the logits, take the largest",
        "Left: a stick is the noise G of this roll, from the mark at α to the dot at α + G. Right: bars are what the "
        "rolls gave so far, the marks softmax(α). Drag the number of rolls: the bars find their marks.",
        212,
        *body,
    )


def _shares(left: float, title: str, ops: Sequence[str], p: Tensor, shares: Tensor) -> list[str]:
    """Bars of what was measured, with a mark at what theory says."""
    y = _scale(0, 1, 176, 26)
    body = [text(left, 14, title, 12, font_weight=600)]
    for value in (0, 0.5, 1):
        body += [
            line(left + 26, y(value), WIDTH - 16, y(value)),
            text(left + 20, y(value) + 4, f"{value:g}", 10.5, INK["soft"], text_anchor="end"),
        ]
    for k, op in enumerate(ops):
        x, share, mark = left + 44 + 78 * k, float(shares[k]), float(p[k])
        body += [
            box(x, y(share), 52, y(0) - y(share), colour(op), rx=2, fill_opacity=0.75),
            line(x - 6, y(mark), x + 58, y(mark), INK["ink"], stroke_width=2.5),
            text(x + 26, min(y(share), y(mark)) - 6, f"{share:.3f}", 11, text_anchor="middle"),
            text(x + 26, 192, op_label(op), 10.5, text_anchor="middle"),
            text(x + 26, 206, f"p = {mark:.3f}", 10.5, INK["soft"], text_anchor="middle"),
        ]
    return body


def _number(value: float, form: str = "g") -> str:
    """A number with a minus sign instead of a hyphen."""
    return f"{value:{form}}".replace("-", "−")


def _count(n: int) -> str:
    return f"{n:,}".replace(",", " ")


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def simplex(alpha: Float[Tensor, " op"], ops: Sequence[str], g: Float[Tensor, "draw op"], tau: float) -> Chart:
    """Draws of three gates at temperature ``tau`` in the triangle whose corners are the one-hot choices.

    The first 400 draws are shown, all of them are averaged.
    """
    corners = np.array([[50.0, 316.0], [390.0, 316.0], [220.0, 22.0]])  # an equilateral triangle
    z, p = gates.concrete(alpha.expand_as(g), tau, g), alpha.softmax(-1)
    mean, winner = z.mean(0), z.argmax(-1)
    shares = winner.bincount(minlength=3) / len(z)
    body = [f'<path d="M50,316 L390,316 L220,22 Z" fill="{INK["panel"]}" stroke="{INK["soft"]}"/>']
    for (x, y), k in zip((z[:400].double().numpy() @ corners).tolist(), winner[:400].tolist(), strict=True):
        body.append(dot(x, y, 3, colour(ops[k]), fill_opacity=0.5))
    for k, (dx, dy, anchor) in enumerate(((-2, 20, "start"), (2, 20, "end"), (0, -9, "middle"))):
        name = f"{op_label(ops[k])} wins {float(shares[k]):.1%}"
        body.append(text(corners[k, 0] + dx, corners[k, 1] + dy, name, 11.5, text_anchor=anchor, font_weight=600))
    (px, py), (mx, my) = p.double().numpy() @ corners, mean.double().numpy() @ corners
    body += [
        line(px, py, mx, my, INK["ink"], stroke_width=2),
        dot(px, py, 7, INK["panel"], stroke=INK["ink"], stroke_width=2.5),
        dot(mx, my, 6, INK["ink"], stroke=INK["panel"], stroke_width=1.5),
    ]
    for at, y, name, right in ((px, py, "p", px >= mx), (mx, my, "E[Z]", px < mx)):
        anchor = "start" if right else "end"
        body.append(text(at + (12 if right else -12), y + 5, name, 13, halo=INK["panel"], text_anchor=anchor))
    body += _mean_against_p(ops, p, mean)
    return picture(
        f"{_count(len(z))} draws of one edge at temperature τ = {tau:g}",
        "A dot is a draw of the gates, coloured by its largest gate; a corner is one operation alone. Moving τ slides "
        "the dots to and from the corners but never changes a colour. The ring is p, the black dot the mean of all "
        "draws; 400 of them are shown.",
        346,
        *body,
    )


def _mean_against_p(ops: Sequence[str], p: Tensor, mean: Tensor) -> list[str]:
    x = _scale(0, 0.7, 500, 740)
    body = [text(452, 42, "the mean gate E[Z] against p", 12, font_weight=600)]
    for value in (0, 0.2, 0.4, 0.6):
        body += [
            line(x(value), 54, x(value), 236),
            text(x(value), 252, f"{value:g}", 10.5, INK["soft"], text_anchor="middle"),
        ]
    for k, op in enumerate(ops):
        y, m, q = 66 + 58 * k, float(mean[k]), float(p[k])
        body += [
            text(492, y + 24, op_label(op), 11, text_anchor="end"),
            box(x(0), y, x(m) - x(0), 38, colour(op), rx=2, fill_opacity=0.75),
            line(x(q), y - 5, x(q), y + 43, INK["ink"], stroke_width=2.5),
            text(x(max(m, q)) + 6, y + 17, f"E[Z] {m:.3f}", 10.5),
            text(x(max(m, q)) + 6, y + 31, f"p {q:.3f}", 10.5, INK["soft"]),
        ]
    distance = float((mean - p).abs().sum()) / 2
    body.append(text(452, 288, f"distance, ½ Σ |E[Z] − p| = {distance:.3f}", 12))
    return body


def temperatures(
    alpha: Float[Tensor, " op"],
    ops: Sequence[str],
    g: Float[Tensor, "draw op"],
    value: Float[Tensor, " op"],
) -> Chart:
    """Bias and noise over the temperature.

    Left, E[Z] of each operation. Right, for the linear loss ℓ = ``value`` · Z, the summed variance of one draw's
    gradient (4) over the squared length of the mean gradient.
    """
    taus = np.geomspace(0.03, 10, 26)
    p, means, noises = alpha.softmax(-1), [], []
    for tau in taus.tolist():
        z = gates.concrete(alpha.expand_as(g), tau, g)
        gradient = z / tau * (value - (z @ value)[:, None])  # eq. (4) with ⟨∂L/∂x_j, O_k⟩ = value_k
        means.append(z.mean(0).tolist())
        noises.append(float(gradient.var(0).sum() / gradient.mean(0).square().sum()))
    common: dict[str, Any] = {
        "width": 360,
        "height": 264,
        "xaxis": {"type": "log", "title": {"text": "temperature τ (log scale)"}},
    }
    bias = figure("bias: E[Z] solid, p dotted", **common, yaxis={"range": [0, 0.6]})
    for k, op in enumerate(ops):
        curve, level = [mean[k] for mean in means], float(p[k])
        bias.add_scatter(x=taus, y=curve, mode="lines", line={"color": colour(op), "width": 2.5})
        bias.add_scatter(x=taus, y=[level] * len(taus), mode="lines", line={"color": colour(op), "dash": "dot"})
        bias.add_scatter(x=[0.06], y=[level], mode="text", text=[op_label(op)])
    noise = figure("noise: variance / mean² of a gradient", **common, yaxis={"type": "log"})
    noise.add_scatter(x=taus, y=noises, mode="lines", line={"color": INK["ink"]})
    charts, _, height = row(svg_chart(bias), svg_chart(noise))
    return picture(
        "What a low temperature buys, and what it costs",
        "Left: as τ falls the mean gate meets p, as τ grows it meets 1/3, whatever α is. Right: how noisy one draw's "
        "gradient is, on two log scales: it climbs without end as τ falls, in the end as 1/τ.",
        height,
        f'<g transform="translate(16 0)">{charts}</g>',
    )


# ------------------------------------------------------------------------------------------------ two layers


@dataclass(frozen=True)
class Expectations:
    """Two-layer networks, every one of them enumerated. Gaps are *outside* minus *inside*.

    Attributes:
        names: of the children: the operations of layers one and two.
        probability: of each child, ``[child]``.
        outputs: of each child, ``[child, feature]``.
        outside: E[f(Z)], the mean of the children's outputs: what SNAS samples from.
        inside: f(E[Z]), the output of the blended network: what DARTS trains.
        jensen: E[L(f(Z))] − L(E[f(Z)]): the loss is curved; never negative for a convex loss.
        bend: L(E[f(Z)]) − L(f(E[Z])): the features differ; of either sign.
    """

    names: tuple[str, ...]
    probability: Float[Tensor, " child"]
    outputs: Float[Tensor, "child feature"]
    outside: Float[Tensor, " feature"]
    inside: Float[Tensor, " feature"]
    jensen: float
    bend: float

    @property
    def feature_gap(self) -> float:
        """Distance between the outputs outside and inside."""
        return float((self.outside - self.inside).norm())

    @property
    def loss_gap(self) -> float:
        """E[L(f(Z))] − L(f(E[Z]))."""
        return self.jensen + self.bend


def expectations(net: Net, loss: Loss, p: Float[Tensor, " op"], slope: float, shared: bool = False) -> Expectations:
    """Run every child of ``net`` and the blend.

    ``p`` are the probabilities of both layers. Independent decisions give K² children; a ``shared`` one, used in both
    layers as cells of one type use it, gives K.
    """
    k = len(p)
    pairs = [(a, a) for a in range(k)] if shared else list(product(range(k), repeat=2))
    hot = torch.eye(k, dtype=p.dtype)
    outputs = torch.stack([net(hot[a], hot[b], slope) for a, b in pairs])
    probability = torch.stack([p[a] if shared else p[a] * p[b] for a, b in pairs])
    outside, inside = probability @ outputs, net(p, p, slope)
    names = tuple("abcdefgh"[a] + "abcdefgh"[b] for a, b in pairs)
    jensen = float(probability @ loss(outputs) - loss(outside))
    return Expectations(names, probability, outputs, outside, inside, jensen, float(loss(outside) - loss(inside)))


def children(
    net: Net, loss: Loss, p: Float[Tensor, " op"], target: Float[Tensor, "2"], slope: float, shared: bool = False
) -> Chart:
    """Every child's output in the plane with both averages, and the gaps over the slope of the ReLU."""
    slopes = np.linspace(0, 1, 41)
    sweep = [expectations(net, loss, p, float(s), shared) for s in slopes]
    now = expectations(net, loss, p, slope, shared)
    gaps = {
        "feature gap": [e.feature_gap for e in sweep],
        "loss gap": [e.loss_gap for e in sweep],
        "of it Jensen's": [e.jensen for e in sweep],
    }
    extremes = torch.cat([e.outputs for e in (*sweep, expectations(net, loss, p, 1.0))] + [target[None]])
    body = [
        *_plane(now, target, extremes),
        '<g transform="translate(392 0)">',
        _gap_chart("feature gap  |E f(Z) − f(E Z)|", slopes, slope, {"": (gaps["feature gap"], None)}, now.feature_gap),
        "</g>",
        '<g transform="translate(392 186)">',
        _gap_chart(
            "loss gap  E L(f(Z)) − L(f(E Z))",
            slopes,
            slope,
            {"": (gaps["loss gap"], None), "Jensen's share": (gaps["of it Jensen's"], "dash")},
            now.loss_gap,
        ),
        "</g>",
    ]
    kind = "one decision used in both layers" if shared else "a decision for each layer"
    return picture(
        f"{len(now.names)} children, {kind}, negative slope {slope:g}",
        "Left: a disc is the output of one child, its area the child's probability. Black: their mean, the expectation "
        "outside (SNAS). Blue: the blended network, the expectation inside (DARTS). The blue bar between them is the "
        "feature gap; rings are equal loss around the target. Right: both gaps at every slope.",
        372,
        *body,
    )


def _plane(now: Expectations, target: Tensor, extremes: Tensor) -> list[str]:
    low, high = extremes.min(0).values, extremes.max(0).values
    middle, half = (low + high) / 2, float((high - low).max()) * 0.56
    x = _scale(float(middle[0]) - half, float(middle[0]) + half, 16, 376)
    y = _scale(float(middle[1]) - half, float(middle[1]) + half, 366, 6)
    body = [
        f'<clipPath id="plane">{box(16, 6, 360, 360, INK["panel"], rx=8)}</clipPath>',
        box(16, 6, 360, 360, INK["panel"], rx=8, stroke=INK["line"]),
        '<g clip-path="url(#plane)">',
    ]
    tx, ty = x(float(target[0])), y(float(target[1]))
    body += [dot(tx, ty, 45 * ring, "none", stroke=INK["line"]) for ring in range(1, 12)]
    for name, probability, (fx, fy) in zip(now.names, now.probability.tolist(), now.outputs.tolist(), strict=True):
        body.append(dot(x(fx), y(fy), 34 * probability**0.5, INK["soft"], fill_opacity=0.28, stroke=INK["soft"]))
        body.append(text(x(fx), y(fy) + 4, name, 10.5, INK["ink"], text_anchor="middle"))
    (ox, oy), (ix, iy) = ((x(f[0]), y(f[1])) for f in (now.outside.tolist(), now.inside.tolist()))
    body += [
        text(tx, ty + 5, "✕", 15, INK["ink"], text_anchor="middle"),
        text(tx, ty + 20, "target", 10.5, INK["soft"], text_anchor="middle"),
        line(ox, oy, ix, iy, INK["focus"], stroke_width=4),
        dot(ix, iy, 7, INK["focus"], stroke=INK["panel"], stroke_width=1.5),
        dot(ox, oy, 5, INK["ink"], stroke=INK["panel"], stroke_width=1.5),
        text(ix + 11, iy + 15, "inside", 11.5, INK["focus"], halo=INK["panel"], font_weight=600),
        text(ox + 9, oy - 9, "outside", 11.5, halo=INK["panel"], font_weight=600),
        "</g>",
    ]
    return body


def _gap_chart(
    title: str,
    slopes: NDArray[np.float64],
    slope: float,
    curves: Mapping[str, tuple[Sequence[float], str | None]],
    now: float,
) -> str:
    values = [value for curve, _ in curves.values() for value in curve]
    low, high = min(0.0, *values), max(values)
    room = 0.12 * max(high - low, 0.05)
    ends = [low - room, high + room]
    fig = figure(
        f"{title} = {_number(0.0 if abs(now) < 1e-12 else now, '.2f')}",
        "negative slope of the ReLU",
        width=352,
        height=186,
        yaxis={"range": ends},
    )
    fig.add_scatter(x=[slope, slope], y=ends, mode="lines", line={"color": INK["focus"], "width": 1.5})
    for name, (curve, dash) in curves.items():
        fig.add_scatter(x=slopes, y=curve, mode="lines", line={"color": INK["ink"], "dash": dash})
        if name:
            fig.add_scatter(x=[0.3], y=[float(np.interp(0.3, slopes, curve)) + room / 3], mode="text", text=[name])
    fig.add_scatter(x=[slope], y=[now], mode="markers", marker={"color": INK["focus"], "size": 9})
    return svg_chart(fig)


# ------------------------------------------------------------------------------------------------ credit


def ratio(gradient: Float[Tensor, "draw op"], form: Float[Tensor, "draw op"]) -> tuple[float, float]:
    """How many times the mean gradient the mean of ``form`` is, along the gradient, and its standard error."""
    g, f = gradient.mean(0), form.mean(0)
    r = float(f @ g / (g @ g))
    influence = (form @ g + gradient @ f - 2 * r * (gradient @ g)) / (g @ g)  # delta method for f·g / g·g
    return r, float(influence.std() / len(influence) ** 0.5)


def credit_bars(estimates: Mapping[str, tuple[Tensor, Tensor]], ops: Sequence[str]) -> Chart:
    """For each named loss the mean gradient (4) and the mean of its credit form, op by op, with ± 2 standard errors.

    ``estimates``: name → (gradient, credit form), each ``[draw, op]``.
    """
    draws = len(next(iter(estimates.values()))[0])
    width, body = (WIDTH - 32) / len(estimates), []
    for panel, (name, pair) in enumerate(estimates.items()):
        left = 16 + panel * width
        means = [each.mean(0) for each in pair]
        errors = [2 * each.std(0) / draws**0.5 for each in pair]
        reach = max(float((mean.abs() + error).max()) for mean, error in zip(means, errors, strict=True)) or 1.0
        y = _scale(-reach, reach, 212, 64)
        r, error = ratio(*pair)
        body += [
            text(left, 16, name, 12, font_weight=600),
            text(left, 36, f"credit form = {r:.2f} ± {2 * error:.2f} × gradient", 11.5),
            line(left, y(0), left + width - 24, y(0), INK["soft"]),
        ]
        for k, op in enumerate(ops):
            x = left + 10 + k * (width - 30) / len(ops)
            for side, (mean, spread) in enumerate(zip(means, errors, strict=True)):
                m, s, at = float(mean[k]), float(spread[k]), x + 27 * side
                look = {"stroke": colour(op), "stroke_width": 2, "fill_opacity": 0.85 if side == 0 else 0.12}
                body += [
                    box(at, min(y(0), y(m)), 23, abs(y(m) - y(0)), colour(op), rx=2, **look),
                    line(at + 11.5, y(m - s), at + 11.5, y(m + s), INK["ink"], stroke_width=1.5),
                ]
            body.append(text(x + 25, 234, op_label(op), 10.5, INK["soft"], text_anchor="middle"))
    return picture(
        f"The gradient and its credit form, {_count(draws)} draws each",
        "Filled: the gradient of the logits, eq. (4). Outlined: the paper's score × frozen credit. Whiskers: ± 2 "
        "standard errors. Equal bars mean that the two agree; each panel has its own scale.",
        240,
        *body,
    )


# ------------------------------------------------------------------------------------------------ recordings


def last(recording: Recording, metric: str) -> float:
    """The newest measured value of a metric; NaN if it was never measured."""
    values = recording.metric(metric)
    found = values[np.isfinite(values)]
    return float(found[-1]) if found.size else float("nan")


def derivation(recordings: Mapping[str, Recording]) -> Chart:
    """What is left of the accuracy when each search is cut down to its child, weights as they are."""
    x = _scale(0, 1, 190, 520)
    marks: dict[str, tuple[str, dict[str, object]]] = {
        "child_accuracy": ("child, inherited", {"fill": INK["panel"], "stroke": INK["ink"], "stroke_width": 2}),
        "child_accuracy_recalibrated": ("recalibrated", {"fill": INK["soft"]}),
        "accuracy": ("supernet", {"fill": INK["ink"]}),
    }
    bottom = 34 + 46 * len(recordings)
    body = []
    for value in (0, 0.25, 0.5, 0.75, 1):
        body += [
            line(x(value), 22, x(value), bottom),
            text(x(value), bottom + 16, f"{value:g}", 10.5, INK["soft"], text_anchor="middle"),
        ]
    for at, name in zip((574, 640, 712), ("supernet", "inherited", "recalibrated"), strict=True):
        body.append(text(at, 14, name, 11, INK["soft"], text_anchor="middle"))
    for k, (name, recording) in enumerate(recordings.items()):
        y = 50 + 46 * k
        found = {metric: last(recording, metric) for metric in marks}
        if recording.meta["method"] == "random":
            del found["accuracy"]  # that of the child drawn last: random search has no blend or draw of its own
        ends = list(found.values())
        body += [
            text(16, y + 4, name, 12, font_weight=600),
            line(x(min(ends)), y, x(max(ends)), y, INK["ink"], stroke_width=3, stroke_opacity=0.35),
        ]
        columns = ("accuracy", "child_accuracy", "child_accuracy_recalibrated")
        for at, metric in zip((574, 640, 712), columns, strict=True):
            shown = f"{found[metric]:.3f}" if metric in found else "–"
            body.append(text(at, y + 4, shown, 12, text_anchor="middle"))
        for metric, accuracy in found.items():
            body.append(f'<circle cx="{x(accuracy):.1f}" cy="{y}" r="6.5"{_look(marks[metric][1])}/>')
    for k, (label, look) in enumerate(marks.values()):
        cx = 200 + 118 * k
        body += [f'<circle cx="{cx}" cy="{bottom + 36}" r="5.5"{_look(look)}/>', text(cx + 11, bottom + 40, label, 11)]
    return picture(
        "Cut down to the child, without retraining: accuracy on validation images",
        "One recording each (n = 1). A long grey bar is accuracy lost in the cut. Recalibrated: the statistics of "
        "batch norm measured anew on the training images, no weight touched.",
        bottom + 48,
        *body,
    )


def _look(attributes: Mapping[str, object]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())


_STYLES = {"accuracy": None, "child_accuracy_recalibrated": "dash", "child_accuracy": "dot"}
_NAMES = ("supernet", "child, recalibrated", "child, inherited statistics")


def journey(recordings: Mapping[str, Recording]) -> Chart:
    """Accuracy of supernet and child over the search, and below it the mean entropy of a decision; a panel each."""
    width = (WIDTH - 32 - 8 * (len(recordings) - 1)) / len(recordings)
    accuracies, entropies = [], []
    for name, recording in recordings.items():
        updates, most = recording.metric("updates"), np.log(len(Space.from_json(recording.meta["space"]).ops))
        axis = {"title": {"text": "accuracy"}, "range": [0, 1]}
        fig = figure(name, width=width, height=224, yaxis=axis)
        for metric, dash in _STYLES.items():
            values = recording.metric(metric)
            seen = np.isfinite(values)
            fig.add_scatter(x=updates[seen], y=values[seen], mode="lines", line={"color": INK["ink"], "dash": dash})
        accuracies.append(svg_chart(fig))
        axis = {"title": {"text": "entropy (nats)"}, "range": [0, 1.1 * float(most)]}
        fig = figure("", "weight updates", width=width, height=184, yaxis=axis)
        fig.add_scatter(x=updates, y=recording.metric("entropy"), mode="lines", line={"color": INK["ink"]})
        fig.add_scatter(x=updates[[0, -1]], y=[most, most], mode="lines", line={"color": INK["soft"], "width": 1})
        fig.add_scatter(x=[updates[-1] / 2], y=[most], mode="text", text=["all operations alike"])
        entropies.append(svg_chart(fig))
    above, _, height = row(*accuracies)
    below, _, more = row(*entropies)
    key = []
    for k, (dash, name) in enumerate(zip(("none", "6 4", "2 3"), _NAMES, strict=True)):
        x, y = 110 + 200 * k, height + 18
        key += [
            line(x, y, x + 34, y, INK["ink"], stroke_width=2, stroke_dasharray=dash),
            text(x + 42, y + 4, name, 11.5),
        ]
    return picture(
        "The supernet and the child inside it, as the search goes on",
        "Above: where the three lines meet at the right edge, what was trained is the child itself. Below: the mean "
        "entropy of an edge; the lower, the more decided. One run each, on validation images.",
        height + 34 + more,
        f'<g transform="translate(16 0)">{above}</g>',
        *key,
        f'<g transform="translate(16 {height + 34:g})">{below}</g>',
    )


def certainty(recordings: Mapping[str, Recording], share: float) -> Chart:
    """The probabilities of every edge after ``share`` of each search, and what the child keeps of them."""
    width = (WIDTH - 32) / len(recordings)
    body, deepest = [], 0.0
    for column, (name, recording) in enumerate(recordings.items()):
        left, room = 16 + column * width, width - 118
        t = round(share * (len(recording) - 1))
        space, probs = Space.from_json(recording.meta["space"]), recording.column("probs")[t]
        body.append(text(left, 14, f"{name}, update {recording.metric('updates')[t]:.0f}", 12, font_weight=600))
        y, kept = 26.0, []
        names = iter(edge_names(space))
        for cell, cell_name in enumerate(space.cells):
            for p in probs[cell]:
                x = left + 62
                body.append(text(x - 6, y + 11, next(names).removeprefix(f"{cell_name} "), 10, text_anchor="end"))
                for k, op in enumerate(space.ops):
                    faint = {} if k == p.argmax() else {"fill_opacity": 0.45}
                    body.append(box(x, y, room * p[k] - 0.8, 14, colour(op), **faint))
                    x += room * float(p[k])
                kept.append(float(p.max()))
                body.append(text(x + 6, y + 11, f"{p.max():.2f}", 10, INK["soft"]))
                y += 19
            body.append(text(left + 62, y + 8, f"{cell_name} cell", 10, INK["soft"]))
            y += 20
        body.append(text(left, y + 12, f"kept by the cut, mean: {np.mean(kept):.2f}", 12, font_weight=600))
        deepest = y + 22
    for k, op in enumerate(space.ops):
        body += [
            box(120 + 110 * k, deepest + 8, 12, 12, colour(op), rx=2),
            text(137 + 110 * k, deepest + 18, op_label(op), 11),
        ]
    return picture(
        f"What the cut keeps and what it throws away, after {share:.0%} of each search",
        "A row is an edge, its colours the probabilities of the operations. The child keeps the strong colour of each "
        "row and throws the pale ones away, with what the network had learned to get from them.",
        deepest + 26,
        *body,
    )


def claims(file: str | Path, words: Sequence[str], where: str = "on test images that no search saw") -> Chart:
    """The measured claims in ``file`` (written by ``benchmarks/claims.py``) whose text has one of ``words``.

    Median over seeds with its 95 % interval. A chart that says how to make the file where there is none. ``where``
    they were measured is told in the title.
    """
    file = Path(file)
    if not file.exists():
        missing = f"{file.name} is not here; python benchmarks/claims.py --store writes it."
        return picture("Over ten seeds", missing, 0)
    measured = [entry for entry in json.loads(file.read_text("utf-8"))["claims"] if entry["ours"] is not None]
    rows = [entry for entry in measured if any(word in entry["claim"] for word in words)]
    if not rows:
        raise UserError(f"words: no measured claim in {file.name} has one of {', '.join(map(repr, words))}.")
    low, high = min(0.0, *(entry["low"] for entry in rows)), max(entry["high"] for entry in rows)
    x, bottom, apart = _scale(low, high, 420, 640), 30 * len(rows) + 10, 0.25 if high - low > 0.5 else 0.05
    body = [line(x(0), 6, x(0), bottom, INK["soft"], stroke_dasharray="3 3")]
    body += [
        text(x(tick), bottom + 14, f"{tick + 0:g}", 10, INK["soft"], text_anchor="middle")
        for tick in np.arange(np.ceil(low / apart), high / apart) * apart
    ]
    for k, found in enumerate(rows):
        y, lines = 22 + 30 * k, wrap(found["claim"], 68)
        body += [text(16, y + 4 + 12 * (n - (len(lines) - 1) / 2), part, 10.5) for n, part in enumerate(lines)]
        body += [
            line(x(found["low"]), y, x(found["high"]), y, INK["ink"], stroke_width=2),
            dot(x(found["ours"]), y, 4.5, INK["ink"]),
            text(646, y + 4, f"{found['ours']:+.2f}", 11),
            text(682, y + 4, found["verdict"], 10, INK["soft"]),
        ]
    return picture(
        f"Over n = {max(entry['n'] for entry in rows)} paired seeds, {where}",
        "Dots: medians. Bars: 95 % bootstrap intervals. The dashed line is no difference.",
        bottom + 16,
        *body,
    )
