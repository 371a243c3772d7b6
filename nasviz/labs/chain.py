"""Credit on a chain: how a late reward reaches the first state, sweep by sweep, under every rule.

``chain`` opens the panel: thermometers s₀, s₁, …, the values of all states over all sweeps, and V(s₀) below. The values
are those of ``nascore.values``; the equations are numbered as there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nascore import mdp, rudder, values
from nascore.errors import UserError, choose, number, sentence
from nasviz.charts import INK, Chart, figure, ticks
from nasviz.charts import chart as shown_chart
from nasviz.frames import brief
from nasviz.labs.chain_picture import GOOD, MARK, picture, subscript
from nasviz.labs.drawing import box, text
from nasviz.labs.drawing import picture as page
from nasviz.widgets import Shown
from nasviz.widgets.chain import ChainView

__all__ = ["Chain", "Setting", "Spoilt", "chain", "half_times", "half_times_chart", "tapes"]

LONGEST = 8  # the longest delay of the slider: with step 1/n half of the reward arrives after 1173 sweeps
TOLERANCE = 0.1  # an error is repaired when a tenth of it is left anywhere
PATIENCE = 1000  # sweeps in which it may be repaired

RULES = {"td": "TD(0)", "lambda": "TD(λ)", "mc": "Monte Carlo"}
STEPS = {"1": "1", "0.5": "½", "0.1": ".1", "1/n": "1/n"}
ORDERS = {"forward": "forward", "reverse": "reverse"}
REWARDS = {"late": "late", "redistributed": "redistributed"}
TITLES = {"rule": "what teaches", "step": "step size a", "order": "order of updates", "reward": "reward"}


@dataclass(frozen=True)
class Spoilt:
    """A value that the reader has overwritten: that of ``state``, after ``sweep`` sweeps."""

    sweep: int
    state: int
    value: float


@dataclass(frozen=True)
class Setting:
    """What the controls choose; ``step`` is a number as text or "1/n"."""

    delay: int = 6
    rule: str = "td"
    step: str = "1"
    lam: float = 0.9
    order: str = "forward"
    reward: str = "late"

    @property
    def size(self) -> float | str:
        """The step size as `nascore.values` takes it."""
        return "1/n" if self.step == "1/n" else float(self.step)

    @property
    def process(self) -> mdp.MDP:
        """The chain, with its reward at the end or redistributed."""
        return _process(self.delay, self.reward)

    @property
    def learning(self) -> dict[str, Any]:
        """The rule as options of `nascore.values.learn`."""
        return _learning(self.rule, self.lam) | {"step": self.size, "order": self.order}


def setting(**wished: Any) -> Setting:
    """A setting from arguments that may be wrong.

    Raises:
        UserError: an argument is not allowed.
    """
    wished["delay"] = int(number("delay", wished["delay"], 1, LONGEST, integer=True))
    wished["lam"] = float(number("lam", wished["lam"], 0, 1))
    for name, allowed in (("rule", RULES), ("order", ORDERS), ("reward", REWARDS)):
        choose(name, wished[name], allowed)
    if wished["step"] != "1/n":
        try:
            wished["step"] = f"{number('step', wished['step'], 0.01, 1):g}"
        except UserError as error:
            raise UserError(f"{str(error).rstrip('.')}, or '1/n'.") from None
    return Setting(**wished)


def _learning(rule: str, lam: float) -> dict[str, Any]:
    return {"rule": "mc"} if rule == "mc" else {"rule": "td", "lam": lam if rule == "lambda" else 0.0}


@lru_cache(64)
def _process(delay: int, reward: str) -> mdp.MDP:
    late = mdp.chain(delay)
    if reward == "late":
        return late
    return rudder.redistributed(late, rudder.expected_returns(late, late.uniform()))


@lru_cache(64)
def _half_time(delay: int, step: str) -> int:
    return values.half_time(delay, Setting(step=step).size)


@lru_cache(64)
def _law(delay: int, step: str, sweeps: int) -> NDArray[np.float64]:
    """V(s₀) of TD(0) by eq. (5), not by sweeping."""
    return values.law(delay, values.step_sizes(Setting(step=step).size, sweeps))[:, 0]


@lru_cache(256)
def table(now: Setting, spoilt: Spoilt | None, sweeps: int) -> NDArray[np.float64]:
    """V[sweep, state] of the states that are left; the row of ``spoilt`` already has the wrong value."""
    if spoilt is None:
        found = values.learn(now.process, sweeps, **now.learning)[:, : now.delay]
        found.flags.writeable = False
        return found
    before = table(now, None, spoilt.sweep)
    wrong = np.append(before[-1], 0.0)
    wrong[spoilt.state] = spoilt.value
    after = values.learn(now.process, sweeps - spoilt.sweep, values=wrong, visits=spoilt.sweep, **now.learning)
    return np.concatenate([before[:-1], after[:, : now.delay]])


@lru_cache(256)
def repaired(now: Setting, spoilt: Spoilt, rule: str) -> int | None:
    """Sweeps until a tenth of the error is left anywhere, with ``rule`` in place of the setting's; None: too many."""
    options = now.learning | _learning(rule, now.lam)
    try:
        path = values.repair(
            now.process, spoilt.state, tolerance=TOLERANCE, most=PATIENCE, visits=spoilt.sweep, **options
        )
    except UserError:
        return None
    return len(path) - 1


def horizon(now: Setting, spoilt: Spoilt | None = None) -> int:
    """How many sweeps are shown: the same for all rules, more only where an error would not be seen to be repaired."""
    usual = round(1.6 * _half_time(now.delay, now.step)) + 3
    if spoilt is None:
        return usual
    needed = repaired(now, spoilt, now.rule)
    return max(usual, min(2 * usual, spoilt.sweep + (PATIENCE if needed is None else needed) + 2))


class Chain(Shown):
    """The panel, made by `chain`. What its controls do can be done by calls too.

    Attributes:
        setting: what is shown.
        spoilt: the value that was overwritten, if one was.
        t: the sweep that a still picture shows, and the live one first.
    """

    def __init__(self, start: Setting, t: int | None = None, hidden: bool = False):
        self.setting, self.hidden = start, hidden
        self.spoilt: Spoilt | None = None
        last = horizon(start)
        half = _half_time(start.delay, start.step) // 2
        self.t = 0 if hidden else half if t is None else int(number("t", t, 0, last, integer=True))
        self._view: ChainView | None = None
        self._error = ""
        super().__init__(lambda: self.picture().svg(), self._words(), self.widget)

    # -- what the controls do

    def choose(self, **wished: Any) -> None:
        """Change some of the setting: ``delay``, ``rule``, ``step``, ``lam``, ``order``, ``reward``."""
        for name in wished:
            choose("setting", name, asdict(self.setting))
        before, self.setting = self.setting, setting(**asdict(self.setting) | wished)
        if self.spoilt and (self.setting.delay != before.delay or self.spoilt.sweep > horizon(self.setting)):
            self.spoilt = None
        self._tell()

    def spoil(self, sweep: int, state: int, value: float) -> None:
        """Overwrite one value after ``sweep`` sweeps; what follows is learnt from there."""
        self.spoilt = Spoilt(
            int(number("sweep", sweep, 0, horizon(self.setting, self.spoilt), integer=True)),
            int(number("state", state, 0, self.setting.delay - 1, integer=True)),
            float(number("value", value, 0, 1)),
        )
        self._tell()

    def mend(self) -> None:
        """Take the wrong value back."""
        self.spoilt = None
        self._tell()

    def hear(self, name: str, payload: Mapping[str, Any]) -> None:
        """Obey a command of the controls; what goes wrong is shown."""
        self._error = ""
        try:
            match name:
                case "choose":
                    self.choose(**payload)
                case "spoil":
                    self.spoil(**payload)
                case "mend":
                    self.mend()
        except Exception as error:  # an exception in a callback would only reach the log
            self._error = sentence(error)
            self._tell()

    # -- what is shown

    @property
    def values(self) -> NDArray[np.float64]:
        """V[sweep, state], as drawn."""
        return table(self.setting, self.spoilt, horizon(self.setting, self.spoilt))

    def half(self, state: int = 0) -> int | None:
        """Sweeps until V(state) ≥ ½; None where it does not within those shown."""
        return _reaches(self.values[:, state])

    def text(self) -> str:
        """The result in words."""
        return " ".join(filter(None, [self._reached(), _why(self.setting), self._repair()]))

    def shown(self) -> dict[str, Any]:
        """What is drawn beside the values, as plain JSON data."""
        now, last = self.setting, horizon(self.setting, self.spoilt)
        log = now.step == "1/n"
        lawful = (now.rule, now.order, now.reward, self.spoilt) == ("td", "forward", "late", None)
        process = now.process
        return {
            "settings": asdict(now),
            "menus": _menus(now),
            "longest": LONGEST,
            "delay": now.delay,
            "sweeps": last,
            "log": log,
            "key": f"{now.delay} {now.step}",
            "covered": self.hidden,
            "rewards": process.reward[: now.delay, 0].tolist(),
            "truth": process.values(process.uniform())[: now.delay].tolist(),
            "half": [self.half(k) for k in range(now.delay)],
            "points": _spaced(last, 300, log),
            "ticks": _ticks(last, log),
            "law": self._lawful(last, log) if lawful else None,
            "said": self.text(),
            "spoilt": asdict(self.spoilt) if self.spoilt else None,
        }

    def _lawful(self, last: int, log: bool) -> dict[str, Any]:
        chance = _law(self.setting.delay, self.setting.step, last)
        gap = float(np.abs(chance - self.values[:, 0]).max())
        close = "but for rounding" if gap < 1e-12 else f"to within {gap:.0e}"  # what rounding does differs by machine
        return {
            "points": [[n, float(chance[n])] for n in _spaced(last, 24, log)],
            "text": f"Rings: Pr[B₁ + … + Bₙ ≥ {self.setting.delay}] with Bᵢ ~ Bernoulli(aᵢ), eq. (5). It is V(s₀) "
            f"itself, {close}.",
        }

    def _reached(self) -> str:
        half = self.half()
        if half is None:
            return f"V(s₀) does not reach ½ in {len(self.values) - 1} sweeps."
        return f"V(s₀) reaches ½ after {half} sweep{'s' * (half != 1)}."

    def _repair(self) -> str:
        if self.spoilt is None:
            return ""
        needed = {rule: repaired(self.setting, self.spoilt, rule) for rule in RULES}
        counts = ", ".join(
            f"{name} {f'more than {PATIENCE}' if needed[rule] is None else needed[rule]}"
            for rule, name in (RULES | {"lambda": f"TD({brief(self.setting.lam)})"}).items()
        )
        return (
            f"You set {subscript(self.spoilt.state)} to {self.spoilt.value:g} after sweep {self.spoilt.sweep}. "
            f"Sweeps until a tenth of such an error is left anywhere: {counts}."
        )

    def picture(self) -> Chart:
        """The panel as a still picture."""
        return picture(self.shown(), self.values, self.t)

    def widget(self) -> ChainView:
        """The live form; always the same one."""
        if self._view is None:
            self._view = ChainView(shown=self.shown(), table=self._bytes(), t=self.t)
            self._view.on_command(self.hear)
        return self._view

    def _bytes(self) -> bytes:
        return self.values.astype("<f4").tobytes()

    def _words(self) -> str:
        return "A chain whose values are hidden." if self.hidden else self.text()

    def _tell(self) -> None:
        self._text = self._words()
        if self._view is not None:
            with self._view.hold_sync():  # in one message
                self._view.shown = self.shown()
                self._view.table = self._bytes()
                self._view.status = {"error": self._error}


def _reaches(path: NDArray[np.float64], level: float = 0.5) -> int | None:
    found = np.flatnonzero(path >= level)
    return int(found[0]) if len(found) else None


def chain(
    delay: int = 6,
    rule: str = "td",
    step: float | str = 1,
    lam: float = 0.9,
    order: str = "forward",
    reward: str = "late",
    t: int | None = None,
    hidden: bool = False,
) -> Chain:
    """A chain of ``delay`` states whose reward comes on leaving the last, and what each state comes to be worth.

    Args:
        delay: T, the steps from the first state to the reward, 1 to 8.
        rule: "td" for TD(0), "lambda" for TD(λ), "mc" for Monte Carlo.
        step: the step size a of every update, a number to 1, or "1/n", which averages.
        lam: λ of TD(λ).
        order: whether the states of an episode are updated "forward", or in "reverse", as in a replay backwards.
        reward: "late", or "redistributed": each step is paid what it adds to the return that is to be expected.
        t: the sweep that is shown; None for half of those that V(s₀) needs.
        hidden: cover what is to come, so that one can predict it.

    Raises:
        UserError: an argument is not allowed.
    """
    start = setting(delay=delay, rule=rule, step=step, lam=lam, order=order, reward=reward)
    return Chain(start, t, hidden)


def _menus(now: Setting) -> dict[str, Any]:
    """Every menu's title and its options: key, label and whether it can be chosen."""
    steps = STEPS if now.step in STEPS else {**STEPS, now.step: brief(float(now.step))}
    options: dict[str, list[list[Any]]] = {
        "rule": [[key, label, True] for key, label in RULES.items()],
        "step": [[key, label, True] for key, label in steps.items()],
        # A whole return is the same in whichever order it is given out.
        "order": [[key, label, now.rule != "mc" or key == now.order] for key, label in ORDERS.items()],
        "reward": [[key, label, True] for key, label in REWARDS.items()],
    }
    return {name: {"title": TITLES[name], "options": found} for name, found in options.items()}


def _why(now: Setting) -> str:
    """Why V(s₀) rises as it does, in a sentence."""
    delay, late = now.delay, now.delay - 1
    half = _half_time(delay, now.step)
    if now.reward == "redistributed":
        return "The reward now comes with the step that earns it: nothing is late, and what is left to expect is 0."
    if now.rule == "mc":
        return "Every state is taught the whole return at once: the delay does not matter."
    if now.rule == "lambda":
        first = float(table(now, None, 1)[1, 0])
        return (
            f"Each surprise is told to all states before it, λ times more faintly a step: after one sweep V(s₀) is "
            f"{f'{first:.3g}' if first >= 1e-4 else f'{first:.0e}'}."
        )
    if now.order == "reverse":
        return "Swept backwards, a state learns from what its successor has just learnt: one sweep goes all the way."
    zero = f"Exactly 0 for {late} sweep{'s' * (late != 1)}: a sweep carries it one step"
    if now.step == "1":
        return f"{zero}, then all of it arrives."
    if now.step == "1/n":
        ratio = half / _half_time(late, now.step) if late else math.nan
        return f"{zero}. Averages forget slowly: {ratio:.2g} times as many as for a delay of {late}." if late else ""
    return f"{zero}. Then about T / a = {delay / float(now.step):g}: linear in the delay."


def _spaced(last: int, count: int, log: bool) -> list[int]:
    """At most about ``count`` sweeps from 0 to ``last``, evenly along the axis."""
    if last <= count:
        return list(range(last + 1))
    places = np.expm1(np.linspace(0, math.log1p(last), count)) if log else np.linspace(0, last, count)
    return [int(n) for n in np.unique(places.round())]


def _ticks(last: int, log: bool) -> list[int]:
    if log:
        return [0, *(n for e in range(5) for n in (10**e, 3 * 10**e) if n <= last)]
    return sorted({round(n) for n in ticks(0, last, log=False)})


# ------------------------------------------------------------------------------------------------- against the delay


def half_times(
    step: float | str, delays: Sequence[int] = range(1, 10), rule: str = "td", **options: Any
) -> list[int | None]:
    """Sweeps until V(s₀) ≥ ½, a number a delay, counted; ``options`` are ``lam``, ``order`` and ``reward``.

    None where more sweeps are needed than the panel shows.
    """
    settings = [replace(setting(**asdict(Setting()) | {"rule": rule, "step": step} | options), delay=d) for d in delays]
    return [_reaches(table(now, None, horizon(now))[:, 0]) for now in settings]


def half_times_chart(delays: Sequence[int] = range(1, 10)) -> Chart:
    """Sweeps until V(s₀) ≥ ½ against the delay, on a logarithmic axis, where an exponential is a straight line."""
    import plotly.graph_objects as go

    ways = {
        "TD(0), a = 1/n": (half_times("1/n", delays), "solid", INK["focus"]),
        "TD(0), a = .1": (half_times(0.1, delays), "solid", INK["ink"]),
        "TD(0), a = 1": (half_times(1, delays), "dot", INK["ink"]),
        "Monte Carlo, a = .1": (half_times(0.1, delays, "mc"), "dash", INK["soft"]),
    }
    fig = figure("Sweeps until half of a late reward has arrived", "delay T", "sweeps until V(s₀) ≥ ½", width=760)
    fig.update_yaxes(type="log")
    for name, (counts, dash, ink) in ways.items():
        pen = {"dash": dash, "color": ink}
        fig.add_trace(go.Scatter(x=list(delays), y=counts, name=name, mode="lines+markers", line=pen))
    first = [values.half_time(delay, "1/n") for delay in delays]  # by eq. (5), where the curves are counted
    told = ", ".join(map(str, first))
    return shown_chart(
        fig,
        f"With a = 1/n: {told}; the last is {first[-1] / first[-2]:.2f} times the one before (e = {math.e:.2f}). The "
        "axis is logarithmic: a straight line that keeps rising is an exponential, a bend to the right is not.",
    )


# ------------------------------------------------------------------------------------------------ where reward comes


def tapes(process: mdp.MDP) -> Chart:
    """The rewards of every trajectory, late and redistributed with the exact return model of the uniform policy.

    ``process`` is a `mdp.building` of a few decisions. Numbers in front are the options taken.
    """
    policy = process.uniform()
    episodes = list(process.trajectories(policy))
    if len(episodes) > 16:
        raise UserError(f"process: {len(episodes)} trajectories are too many to draw; at most 16.")
    steps = len(episodes[0].actions)
    paid = [rudder.redistribute(rudder.exact(process, policy, e), sum(e.rewards)) for e in episodes]
    tallest = max(1e-9, *(float(np.abs(r).max()) for r in paid), *(abs(sum(e.rewards)) for e in episodes))
    high, wide = 30.0, 300.0 / steps
    body = [
        text(96, 14, "late: all of it at the end", 12, font_weight=600),
        text(436, 14, "redistributed: gₜ − gₜ₋₁", 12, font_weight=600),
    ]
    for row, (episode, rewards) in enumerate(zip(episodes, paid, strict=True)):
        y = 26 + row * high
        body.append(text(16, y + 18, " ".join(map(str, episode.actions)), 13, font_weight=600))
        for left, tape in ((96.0, episode.rewards), (436.0, rewards)):
            for k, reward in enumerate(np.round(tape, 9).tolist()):
                ink, dark = GOOD if reward > 0 else MARK, 0.15 + 0.75 * abs(reward) / tallest
                x, size = left + k * wide, f"{reward:+.3g}".replace("-", "−")
                body.append(box(x, y, wide - 5, high - 5, INK["panel"], rx=4))
                if reward:
                    body.append(box(x, y, wide - 5, high - 5, ink, rx=4, fill_opacity=round(dark, 3)))
                middle = x + (wide - 5) / 2
                colour = INK["panel"] if dark > 0.55 and reward else INK["ink"] if reward else INK["soft"]
                body.append(text(middle, y + 17, size if reward else "0", 12, colour, text_anchor="middle"))
    return page(
        "What each decision is paid, in every trajectory",
        "In front the options taken. The first entry on the right also holds what was to be expected before anything "
        "was decided. Every row sums to the same on both sides.",
        26 + high * len(episodes),
        *body,
    )
