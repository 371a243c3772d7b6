"""Figures of the lesson *credit on a chain*: a late reward handed back, and what it takes to find out who earned it.

Equations of Arjona-Medina et al., "RUDDER", NeurIPS 2019, numbered as in ``nascore.rudder``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from nascore import delayed_key, mdp, rudder
from nascore.delayed_key import Agent
from nascore.errors import choose, number
from nasviz.charts import INK, Chart, chart, figure
from nasviz.labs.drawing import WIDTH, box, dot, line, picture, text

__all__ = ["Kept", "building", "kept", "kept_facts", "key_chart", "key_race", "tape", "tapes"]

GOOD, BAD = "#1a9e55", "#c0392b"  # rewards above and below 0
COINS = 5  # on the way to the door, in the pictures
EPISODES = 60  # that a return model of the pictures may learn from
MODELS = {
    "exact": "Exact g",
    "linear": "Linear g, one weight for all coins",
    "linear, a weight a step": "Linear g, a weight for each coin",
    "lstm": "LSTM, no forget or output gate",
}
AGENTS: tuple[Agent, ...] = get_args(Agent)
NAMES: dict[str, str] = {
    "td": "TD(0)",
    "td(λ)": "TD(0.9)",
    "mc": "Monte Carlo",
    "rudder": "RUDDER",
    "rudder, a weight a step": "RUDDER, a weight a coin",
}
DASHES: dict[str, str] = dict(zip(AGENTS, ("dot", "dashdot", "dash", "solid", "longdash"), strict=True))


# ------------------------------------------------------------------------------------------------ one episode's tape


class _Episodes(NamedTuple):
    """Episodes of the delayed key: what was done, what was found, what was paid."""

    key: NDArray[np.int64]  # [episode]
    coins: NDArray[np.float64]  # [episode, coin]
    returns: NDArray[np.float64]  # [episode]


@lru_cache(1)
def _episodes() -> _Episodes:
    """Those that may be learnt from, and after them those that are shown."""
    rng = np.random.default_rng(4)
    key = rng.integers(0, 2, EPISODES + 10)
    key[EPISODES] = 1  # the first one shown takes the key
    coins = rng.choice([-1.0, 1.0], (len(key), COINS))
    return _Episodes(key, coins, key + coins.sum(1))


@lru_cache(256)
def _predictions(model: str, learnt: int) -> NDArray[np.float64]:
    """g_t of the episodes that are shown, by a model that has learnt from the first ``learnt`` others."""
    choose("model", model, MODELS)
    number("learnt", learnt, 0, EPISODES, integer=True)
    key, coins, returns = _episodes()
    if model == "exact":  # the key is worth 1, a coin what it says, and coins to come have mean 0
        exact: NDArray[np.float64] = np.cumsum(np.column_stack([key, coins]), 1)[EPISODES:]
        return exact
    x = delayed_key.features(key, coins, model != "linear, a weight a step")
    if model == "lstm":
        return _lstm(x[:learnt], returns[:learnt], x[EPISODES:])
    weights = rudder.linear_fit(x[:learnt], returns[:learnt]) if learnt else np.zeros(x.shape[2])
    return rudder.linear(x[EPISODES:], weights)


def _lstm(x: NDArray[Any], returns: NDArray[Any], shown: NDArray[Any]) -> NDArray[np.float64]:
    import torch

    from nascore.return_lstm import ReturnLSTM, fit
    from nascore.run import torch_threads

    with torch_threads(1):
        model = ReturnLSTM(x.shape[2], 8, torch.Generator().manual_seed(0))
        if len(x):
            fit(model, torch.tensor(x, dtype=torch.float32), torch.tensor(returns, dtype=torch.float32))
        found: NDArray[np.float64] = model(torch.tensor(shown, dtype=torch.float32)).detach().double().numpy()
    return found


def tape(learnt: float = 4, episode: float = 0, model: str = "linear, a weight a step") -> Chart:
    """The rewards of one episode of the delayed key as they are paid, and as RUDDER hands them back.

    Args:
        learnt: how many other episodes the return model has learnt from, 0 to 60.
        episode: which one is shown, 0 to 9.
        model: exact, linear, "linear, a weight a step" or lstm.
    """
    key, coins, returns = _shown(episode)
    g = _predictions(model, int(learnt))[int(episode)]
    shared = rudder.redistribute(g, returns)
    paid = np.append(np.zeros(COINS), returns)
    x = _places(COINS + 1)
    body = [
        *_steps(x, key, coins, 0),
        *_bars(x, "paid", paid, 82),
        *_bars(x, "predicted, gₜ", g, 162, rises=True),
        *_bars(x, "handed back, Rₜ", shared, 242, worth=np.append(key, coins)),
    ]
    known = "every episode" if model == "exact" else f"{int(learnt)} other episode{'' if learnt == 1 else 's'}"
    return picture(
        f"{MODELS[model]}, from {known}: ΣR = {_signed(shared.sum())}, paid {_signed(returns)}",
        "The door pays for everything at the last step. g predicts that payment after each step; a step is handed back "
        "what it changed in the prediction, and what g did not foresee is shared evenly. Outlines: what each step is "
        "truly worth. The sum is always what was paid, even if g is wrong.",
        278,
        *body,
    )


def tapes(learnt: float = EPISODES, episode: float = 0) -> Chart:
    """One episode's reward as four return models hand it back, each after ``learnt`` other episodes."""
    key, coins, returns = _shown(episode)
    x = _places(COINS + 1)
    body, worth = list(_steps(x, key, coins, 0)), np.append(key, coins)
    for k, (model, label) in enumerate(MODELS.items()):
        shared = rudder.redistribute(_predictions(model, int(learnt))[int(episode)], returns)
        off = float(np.abs(shared - worth).mean())
        body += _bars(x, label, shared, 86 + 76 * k, worth=worth)
        body.append(text(16, 112 + 76 * k, f"off by {off:.2f} a step", 10.5, INK["soft"]))
    return picture(
        f"Four return models after {int(learnt)} episodes: each hands back {_signed(returns)} in all",
        "Outlines: what each step is truly worth. Only what g knows of the steps differs, never the sum.",
        86 + 76 * len(MODELS) - 36,
        *body,
    )


def _shown(episode: float) -> tuple[int, NDArray[np.float64], float]:
    number("episode", episode, 0, 9, integer=True)
    key, coins, returns = (part[EPISODES + int(episode)] for part in _episodes())
    return int(key), coins, float(returns)


def _places(steps: int) -> list[float]:
    return [250 + (WIDTH - 310) * t / (steps - 1) for t in range(steps)]


def _steps(x: Sequence[float], key: int, coins: NDArray[np.float64], y: float) -> Iterator[str]:
    """What happens at each step, in words."""
    words = ["takes the key" if key else "leaves the key", *(f"coin {_signed(c)}" for c in coins)]
    words[-1] += ", the door pays"
    for t, (place, word) in enumerate(zip(x, words, strict=True)):
        yield text(place, y + 8, f"step {t}", 10.5, INK["soft"], text_anchor="middle")
        for k, part in enumerate(word.split(", ")):
            yield text(place, y + 23 + 13 * k, part, 11, text_anchor="middle", font_weight=600 if t == 0 else 400)


def _bars(
    x: Sequence[float],
    label: str,
    values: NDArray[np.float64],
    y: float,
    worth: NDArray[np.float64] | None = None,
    rises: bool = False,
) -> Iterator[str]:
    """A row of bars around the level ``y``: rewards, or with ``rises`` predictions; ``worth`` as outlines."""
    reach = max(1.0, float(np.abs(values).max()), 0.0 if worth is None else float(np.abs(worth).max()))
    high: Callable[[float], float] = lambda v: 26 * v / reach
    for k, part in enumerate(label.split(", ")):
        yield text(16, y - 4 + 14 * k, part, 12, font_weight=600 if k == 0 else 400)
    yield line(x[0] - 40, y, x[-1] + 40, y, INK["soft"])
    for t, value in enumerate(values.tolist()):
        up = high(value)
        ink = INK["ink"] if rises else GOOD if value >= 0 else BAD
        yield box(x[t] - 15, min(y, y - up), 30, abs(up), ink, fill_opacity=0.5 if rises else 0.85)
        if worth is not None:
            true = high(float(worth[t]))
            ring = {"stroke": INK["ink"], "stroke_width": 1.4, "stroke_dasharray": "3 2"}
            yield box(x[t] - 19, min(y, y - true), 38, abs(true), "none", **ring)
        if abs(value) > 5e-3:
            yield text(x[t] + 22, y - up / 2 + 4, _signed(value), 10.5)


def _signed(value: float) -> str:
    return f"{value:+.2f}".rstrip("0").rstrip(".").replace("-", "−") if abs(value) >= 5e-3 else "0"


# ------------------------------------------------------------------------------------------- what stays, what goes


class Kept(NamedTuple):
    """What redistribution with one g does to a small process."""

    off: float  # largest |Σ R − G| of a trajectory
    to_come: float  # mean |V| of the states on the way, weighted by their visits: reward still to be expected
    before: float  # the same when the reward is paid at the end
    same: bool  # whether the same actions are optimal in every state
    greedy: float  # share of the states, by visits, in which the largest reward at once is the action of most value


@lru_cache(1)
def building() -> mdp.MDP:
    """Three decisions of two, three and two options, and a reward in which they need each other."""
    table = np.random.default_rng(8).normal(0, 1, (2, 3, 2)).round(1)
    return mdp.building(["ab", "xyz", "uv"], lambda choice: float(table[choice]))


@lru_cache(64)
def _handed_back(quality: float, late: mdp.MDP) -> mdp.MDP:
    """``late`` with rewards by a g that is ``quality`` · exact + (1 − quality) · noise."""
    g = rudder.expected_returns(late, late.uniform())
    noise = np.random.default_rng(2).normal(0, 1, g.shape)
    return rudder.redistributed(late, quality * g + (1 - quality) * noise)


def kept_facts(quality: float = 0.5, late: mdp.MDP | None = None) -> Kept:
    """What ``kept`` shows, as numbers."""
    late = late or building()
    shared, pi = _handed_back(number("quality", quality, 0, 1), late), late.uniform()
    pairs = zip(late.trajectories(pi), shared.trajectories(pi), strict=True)
    off = max(abs(sum(a.rewards) - sum(b.rewards)) for a, b in pairs)
    choosing = late.visits(pi) * ~late.terminal
    later = choosing.copy()
    later[0] = 0  # nothing is decided there yet: all of E[G] is to come, with any g
    q = np.where(late.allowed, late.action_values(pi), -np.inf)
    now = np.where(late.allowed, shared.reward, -np.inf).argmax(1)
    most = q[np.arange(len(q)), now] >= q.max(1) - 1e-9
    return Kept(
        off,
        float(later @ np.abs(shared.values(pi)) / later.sum()),
        float(later @ np.abs(late.values(pi)) / later.sum()),
        bool((late.optimal()[1] == shared.optimal()[1]).all()),
        float(choosing @ most / choosing.sum()),
    )


def kept(quality: float = 0.5, late: mdp.MDP | None = None) -> Chart:
    """All ways to build a small architecture, their rewards handed back by a g that is right to the share ``quality``.

    A line is a decision, as wide as its reward; a state is as dark as the reward that is still expected there.
    ``late`` is the process, of `nascore.mdp.building` and with two dozen ends at most; by default `building()`.
    """
    late = late or building()
    facts, shared = kept_facts(quality, late), _handed_back(quality, late)
    values, best = shared.values(late.uniform()), shared.optimal()[1]
    places, depth = _tree(late)
    widest = max(float(np.abs(_handed_back(q, late).reward).max()) for q in (0.0, 1.0))
    on_best = {0}  # states on the way to the best architecture
    body = []
    for s, a in np.argwhere(late.allowed).tolist():
        to, reward = int(late.follows[s, a]), float(shared.reward[s, a])
        if s in on_best and best[s, a]:
            on_best.add(to)
            body.append(line(*places[s], *places[to], INK["focus"], stroke_width=13, stroke_opacity=0.22))
        width = round(0.6 + 8 * abs(reward) / widest, 2)
        body.append(line(*places[s], *places[to], GOOD if reward >= 0 else BAD, stroke_width=width))
    for s, (x, y) in enumerate(places):
        if late.terminal[s]:
            paid = float(late.reward[late.follows == s][0])
            body.append(text(x + 10, y + 4, _signed(paid), 11, font_weight=600 if s in on_best else 400))
        else:
            body.append(dot(x, y, 10, INK["panel"], stroke=INK["soft"]))
            body.append(dot(x, y, 10, INK["ink"], fill_opacity=round(min(abs(float(values[s])) / 1.5, 1), 3)))
    heads = [(60 + 630 * (t + 0.5) / depth, f"decision {t}") for t in range(depth)]
    body += [text(x, 8, words, 11, INK["soft"], text_anchor="middle") for x, words in [*heads, (717, "Σ R")]]
    same = "the same" if facts.same else "NOT the same"
    return picture(
        f"g is {quality:.0%} right: |V| still to come is {facts.to_come:.2f}; paid at the end it is {facts.before:.2f}",
        f"Green lines pay, red ones charge, their width says how much; dark states expect more to come or to go. Σ R "
        f"of every way stays (off by {facts.off:.0g} at most), and the optimal actions are {same} in every state (best "
        f"way: blue). The largest reward at once has the most value in {facts.greedy:.0%} of the states met.",
        266,
        *body,
    )


def _tree(process: mdp.MDP) -> tuple[list[tuple[float, float]], int]:
    """Where the states stand: a column a decision, each state at the middle of what follows; and the decisions."""
    depth = np.zeros(len(process.follows), int)
    for s, a in np.argwhere(process.allowed):
        depth[process.follows[s, a]] = depth[s] + 1
    places = [(0.0, 0.0)] * len(depth)
    ends = np.flatnonzero(process.terminal).tolist()
    for k, s in enumerate(ends):
        places[s] = (690.0, 26 + 220.0 * k / max(1, len(ends) - 1))
    for s in np.flatnonzero(~process.terminal)[::-1].tolist():
        after = [places[to][1] for to in process.follows[s, process.allowed[s]].tolist()]
        places[s] = (60 + 630 * float(depth[s] / depth.max()), float(np.mean(after)))
    return places, int(depth.max())


# ------------------------------------------------------------------------------------------------ the delayed key


def key_race(
    delays: Sequence[int] = (1, 2, 4, 8, 16, 32), agents: Sequence[Agent] = AGENTS, runs: int = 60, **options: Any
) -> dict[str, dict[int, NDArray[np.int64]]]:
    """Episodes until an agent knows what the key is worth: agent → delay → one number a run.

    ``options`` are those of ``nascore.delayed_key.episodes``.
    """
    return {
        agent: {delay: delayed_key.episodes(agent, delay, runs=runs, **options) for delay in delays} for agent in agents
    }


def key_chart(found: Mapping[str, Mapping[int, NDArray[np.int64]]]) -> Chart:
    """Median episodes against delay, both on logarithmic axes."""
    import plotly.graph_objects as go

    title = "How many episodes until the key is known to be worth taking?"
    fig = figure(title, "steps of delay", "episodes, median", width=740, height=400)
    fig.update_xaxes(type="log")
    fig.update_yaxes(type="log")
    for agent, by_delay in found.items():
        medians = [float(np.median(count)) for count in by_delay.values()]
        style = {"mode": "lines+markers", "line": {"dash": DASHES[agent], "color": INK["ink"]}}
        fig.add_trace(go.Scatter(x=list(by_delay), y=medians, name=NAMES[agent], **style))
    longest = max(next(iter(found.values())))
    ends = "; ".join(f"{NAMES[agent]} {np.median(counts[longest]):.0f}" for agent, counts in found.items())
    return chart(fig, f"Medians with {longest} steps of delay: {ends}.")
