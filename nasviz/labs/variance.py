"""Figures of the lesson *credit on a chain*: what a late or a global reward costs in variance.

``score_cost`` is the variance of a gradient estimate against the number of decisions (``nascore.decisions``),
``late_noise`` the states that one late reward makes noisy, ``errors`` how fast values are learnt in spite of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nascore import decisions
from nascore.errors import choose, number
from nascore.mdp import MDP, tree
from nascore.values import learn
from nasviz.charts import INK, Chart, chart, figure
from nasviz.labs.drawing import WIDTH, box, dot, line, path, picture, text

__all__ = ["KINDS", "LEARNERS", "errors", "errors_chart", "late_noise", "noisy_tree", "score_cost"]

ROWS = {"global": "the whole reward R", "mean baseline": "R less its mean", "local": "own share cₜ aₜ"}
_DASHES = {"global": {}, "mean baseline": {"stroke_dasharray": "6 4"}, "local": {"stroke_dasharray": "2 3"}}
MOST = 512  # decisions

KINDS = {
    "all ends": "every end has a noisy reward",
    "one end": "one end has a noisy reward",
    "meeting": "paths meet in one noisy reward",
}

LEARNERS: dict[str, dict[str, Any]] = {
    "Monte Carlo": {"rule": "mc"},
    "TD(0)": {"rule": "td"},
    "TD(0.8)": {"rule": "td", "lam": 0.8},
}


# ----------------------------------------------------------------------------------------- independent decisions


def score_cost(count: int = 16, p: float = 0.5, samples: int = 400, seed: int = 0) -> Chart:
    """Variance of one logit's gradient estimate against the number of decisions, and draws of it at ``count``.

    Every decision is taken with probability ``p`` and adds 1 to the reward.  Left, lines are exact and dots measured
    from ``samples`` draws; right, the first 80 draws for the first decision.
    """
    count, p = int(number("count", count, 1, MOST, integer=True)), number("p", p, 0.01, 0.99)
    rng = np.random.default_rng(seed)
    return picture(
        f"{count} decisions, one reward: how noisy is the gradient of one logit?",
        "Left: the variance of one sample, exact (lines) and measured (dots). Right: a dot is one estimate, the bar "
        "the true gradient; all three rows have it as their mean, on one scale. The count says how many samples have "
        "to be averaged until the estimate is usually within 10 % of it (one standard deviation).",
        236,
        *_growth(count, p, samples, rng),
        *_draws(count, p, samples, rng),
    )


def _growth(count: int, p: float, samples: int, rng: np.random.Generator) -> Iterator[str]:
    sizes = [2**k for k in range(int(math.log2(MOST)) + 1)]
    exact = {name: [float(decisions.variances(np.ones(T), p, name)[0]) for T in sizes] for name in ROWS}
    low, high = -2, math.ceil(math.log10(max(exact["global"])))
    x: Callable[[float], float] = lambda T: 52 + 290 * math.log2(T) / math.log2(MOST)
    y: Callable[[float], float] = lambda v: 200 - 184 * (math.log10(v) - low) / (high - low)
    yield text(52, 8, "variance", 11, INK["soft"])
    for e in range(low, high + 1):
        yield line(52, y(10**e), 342, y(10**e))
        yield text(46, y(10**e) + 4, f"{10.0**e:g}", 10, INK["soft"], text_anchor="end")
    for T in sizes[::2]:
        yield text(x(T), 216, T, 10, INK["soft"], text_anchor="middle")
    yield text(197, 232, "decisions T", 11, INK["soft"], text_anchor="middle")
    yield line(x(count), 14, x(count), 200, INK["focus"], stroke_width=1.5)
    for name, values in exact.items():
        seen = [(T, v) for T, v in zip(sizes, values, strict=True) if v >= 10**low]  # none for one decision, p = ½
        yield path(((x(T), y(v)) for T, v in seen), stroke_width=2, **_DASHES[name])
        for T in sizes[1::2]:
            measured = decisions.sample(np.ones(T), rng, samples, p, name).var(0).mean()
            yield dot(x(T), y(max(measured, 10**low)), 3.2, INK["ink"])


def _draws(count: int, p: float, samples: int, rng: np.random.Generator) -> Iterator[str]:
    truth = p * (1 - p)
    shown = {name: decisions.sample(np.ones(count), rng, 80, p, name)[:, 0] for name in ROWS}
    reach = 1.05 * max(abs(draws).max() for draws in shown.values())
    x: Callable[[float], float] = lambda v: 562 + 180 * v / reach
    for k, (name, draws) in enumerate(shown.items()):
        top = 6 + 72 * k
        variance = float(decisions.variances(np.ones(count), p, name)[0])
        needed = math.ceil(variance / (0.1 * truth) ** 2)  # Var / n = (0.1 truth)²
        yield line(382, top + 4, 408, top + 4, INK["ink"], stroke_width=2, **_DASHES[name])
        yield text(416, top + 8, ROWS[name], 11.5, font_weight=600)
        yield text(WIDTH - 16, top + 8, f"{needed:,} samples".replace(",", " "), 11.5, text_anchor="end")
        yield line(382, top + 38, WIDTH - 16, top + 38)
        for j, value in enumerate(draws.tolist()):
            yield dot(x(value), top + 28 + 20 * ((7 * j) % 11) / 10, 2.6, INK["ink"], fill_opacity=0.3)
        yield box(x(truth) - 1.5, top + 22, 3, 32, INK["focus"])
    for value in (-reach / 1.05, 0, reach / 1.05):
        yield text(x(value), 232, f"{value:.3g}".replace("-", "−"), 10, INK["soft"], text_anchor="middle")


# ------------------------------------------------------------------------------------------------------- late noise


def noisy_tree(depth: int, kind: str = "all ends", branching: int = 2, noise: float = 1.0) -> MDP:
    """One of the ``KINDS`` of trees, with 1 for the mean of its rewards and ``noise`` for their standard deviation."""
    choose("kind", kind, KINDS)
    mdp = tree(depth, branching, noise, converging=kind == "meeting")
    if kind == "one end":
        mdp = replace(mdp, noise=mdp.noise * (mdp.follows == len(mdp.follows) - 1))
    return replace(mdp, reward=(mdp.allowed & mdp.terminal[mdp.follows]).astype(float))


def late_noise(depth: int = 4, kind: str = "all ends", branching: int = 2, threshold: float = 0.1) -> Chart:
    """A tree whose states are as dark as one Monte Carlo return from them is noisy; the rewards' variance is 1.

    Counts the states with a variance above ``threshold``.
    """
    mdp = noisy_tree(int(depth), kind, branching)
    variance = mdp.variances(mdp.uniform())
    inner = np.flatnonzero(~mdp.terminal)
    affected = int((variance[inner] > threshold).sum())
    levels = _levels(mdp)
    places = _places(mdp, levels)
    body = []
    for state in inner.tolist():
        for action in np.flatnonzero(mdp.allowed[state]).tolist():
            to = int(mdp.follows[state, action])
            loud = {"stroke_width": 2.2} if mdp.noise[state, action] else {"stroke_width": 0.7, "stroke_opacity": 0.6}
            ink = INK["focus"] if mdp.noise[state, action] else INK["soft"]
            body.append(line(*places[state], *places[to], ink, **loud))
    radius = max(2.2, min(9.0, 80 / np.bincount(levels[inner]).max()))
    for state, (x, y) in enumerate(places):
        if mdp.terminal[state]:
            body.append(box(x - 2, y - 2, 4, 4, INK["soft"]))
        else:
            body.append(dot(x, y, radius, INK["panel"], stroke=INK["soft"]))
            body.append(dot(x, y, radius, INK["ink"], fill_opacity=round(float(min(variance[state], 1)), 4)))
    for level in range(max(levels) + 1):
        own = variance[(levels == level) & ~mdp.terminal]
        if len(own):
            at = places[int(np.flatnonzero(levels == level)[0])][0]
            above = f"{int((own > threshold).sum())} of {len(own)}"
            body.append(text(at, 220, above, 10.5, text_anchor="middle", font_weight=600))
            body.append(text(at, 234, f"up to {own.max():.3g}", 10.5, INK["soft"], text_anchor="middle"))
    return picture(
        f"{KINDS[kind].capitalize()}: {affected} of {len(inner)} states have a variance above {threshold:g}",
        "A dot is a state, as dark as the variance of one Monte Carlo return from it; a blue line is a noisy reward of "
        "variance 1. Below each column: how many of its states are above the threshold, and their largest variance.",
        242,
        *body,
    )


def _levels(mdp: MDP) -> NDArray[np.int64]:
    """How many steps every state is from the starts."""
    levels = np.zeros(len(mdp.follows), dtype=np.int64)
    for state in np.flatnonzero(~mdp.terminal):
        levels[mdp.follows[state, mdp.allowed[state]]] = levels[state] + 1
    return levels


def _places(mdp: MDP, levels: NDArray[np.int64]) -> list[tuple[float, float]]:
    """Where the states stand: a column a level, in the order of their numbers."""
    counts, seen, places = np.bincount(levels), np.zeros(levels.max() + 1), []
    for level in levels.tolist():
        seen[level] += 1
        y = 4 + 196 * (seen[level] - 0.5) / counts[level]
        places.append((60 + (WIDTH - 120) * level / levels.max(), float(y)))
    return places


# ---------------------------------------------------------------------------------------------------------- learning


def errors(
    mdp: MDP, episodes: int = 200, runs: int = 20, step: float | str = 0.1, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Root mean square error of the values after 0, 1, … ``episodes``, over states that are not ends and ``runs``.

    All of ``LEARNERS`` see the same episodes of the uniform policy; ``step`` is their step size.
    """
    policy = mdp.uniform()
    inner, true = ~mdp.terminal, mdp.values(policy)
    found = {}
    for name, options in LEARNERS.items():
        off = [
            learn(mdp, episodes, step=step, policy=policy, rng=np.random.default_rng((seed, run)), **options) - true
            for run in range(runs)
        ]
        found[name] = np.sqrt(np.mean(np.square(off)[..., inner], (0, 2)))
    return found


def errors_chart(found: Mapping[str, Sequence[float] | NDArray[np.float64]], title: str = "") -> Chart:
    """``errors`` as curves."""
    import plotly.graph_objects as go

    fig = figure(title or "How far are the values from the truth?", "episodes", "root mean square error", width=700)
    fig.update_yaxes(rangemode="tozero")
    for (name, curve), dash in zip(found.items(), ("solid", "dash", "dot"), strict=False):
        values = [float(v) for v in curve]
        fig.add_trace(
            go.Scatter(y=values, x=list(range(len(values))), name=name, line={"dash": dash, "color": INK["ink"]})
        )
    ends = ", ".join(f"{name} {curve[-1]:.2f}" for name, curve in found.items())
    return chart(fig, f"After the last episode: {ends}.")
