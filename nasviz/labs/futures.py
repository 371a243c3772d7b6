"""Fan of futures: draw the curve you expect, then fork the search and see whether a knob or luck moves it.

The futures are computed in a process of their own, as a live search is; what is drawn and said comes from their
recordings. `fan` starts the panel; `tell` is its sentence, `picture` its picture without a kernel.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nascore import verdict
from nascore.errors import UserError, choose, number
from nascore.fan import Fan
from nascore.record import Recording, runs
from nascore.run import Knob, Method
from nascore.runner import ON, Runner
from nasviz import frames
from nasviz.charts import INK, Chart, chart, figure, ticks
from nasviz.labs.working import Working
from nasviz.theme import THEMES
from nasviz.widgets import Cursor, Shown
from nasviz.widgets.fan import FanView

if TYPE_CHECKING:
    from nascore.task import Task

__all__ = ["METRICS", "FanOfFutures", "curve", "fan", "tell"]

METRICS = {
    "cost": ("expected cost", "of the dearest network"),
    "entropy": ("mean entropy of an edge", "nats"),
    "loss": ("loss on training batches", "nats"),
    "accuracy": ("accuracy of the supernet", "of the images"),
}
"""What can be drawn, if it was recorded: how people read it, and its unit."""

STEPS = 60
SHORTEST = 6  # steps of a future worth drawing
PAST = 0.5  # steps shown before the fork, as a share of those after it
REFRESH = 0.25  # seconds between two pictures while the futures grow

Table = NDArray[np.float64]


def curve(recording: Recording, metric: str) -> Table:
    """A metric as `[step]`, NaN where it was not measured; of a step with two rows the last value counts."""
    steps = frames.whole_steps(recording)
    values = recording.metric(metric)
    known = np.flatnonzero(np.isfinite(values))
    found = np.full(int(steps[-1]) + 1 if len(steps) else 0, np.nan)
    found[steps[known]] = values[known]
    return found


@dataclass(frozen=True)
class Question:
    """What is asked: from row `t`, how does `metric` go on for `steps` steps if `knob` turns to `value`?"""

    t: int
    knob: str
    value: float
    metric: str
    steps: int


class FanOfFutures(Working, Shown):
    """The panel, made by `fan`. What its controls do can be done by calls too.

    Attributes:
        recording: the run that is forked.
        question: what is asked.
        seeds: futures of each setting.
        steps: of each future, where the search leaves as many.
        drawn: metric → the expected curve, `[step]`.
        skipped: whether the drawing was declined.
        futures: the forked runs, unchanged knobs first; they grow while the fork runs.
        state: "draw", then that of the fork; see `Working`.
    """

    def __init__(
        self,
        recording: Recording,
        question: Question,
        seeds: int,
        steps: int,
        method: str | Method,
        task: str | Callable[..., Task],
        record: str | Path | None,
        cursor: Cursor | None = None,
        runner: Runner | None = None,
    ):
        self.recording, self.question, self.seeds, self.steps = recording, question, seeds, steps
        self.method, self.task, self.record = method, task, record
        self.drawn: dict[str, list[float]] = {}
        self.skipped = False
        self.futures: list[Recording] = []
        self._cursor = cursor
        self._asked = 0  # questions so far
        self._fork: str | None = None
        Working.__init__(self, "draw", runner)
        Shown.__init__(self, lambda: self.picture().svg(), f"Fan of futures: {self.shown()['ask']}", self._display)

    # -- what the controls do

    def choose(
        self,
        t: int | None = None,
        knob: str | None = None,
        value: float | str | None = None,
        metric: str | None = None,
    ) -> None:
        """Ask something else; None leaves it. All but the metric forget curves and futures.

        Raises:
            UserError: a value is not allowed, or a fork is running.
        """
        with self._lock:
            now = self.question
            metric = choose("metric", metric or now.metric, metrics(self.recording))
            if (t, knob, value) == (None, None, None):
                self.question = replace(now, metric=metric)
            else:
                if self.state in ON:
                    raise UserError("fork: stop it before you ask something else.")
                t, knob = now.t if t is None else t, knob or now.knob
                if value is None and knob == now.knob and now.value != self.recording.values(t).get(knob):
                    value = now.value
                self.question = ask(self.recording, t, knob, value, metric, self.steps)
                self.drawn, self.skipped, self.futures, self.state = {}, False, [], "draw"
                self._asked += 1
            self._progress = self._error = ""
            self._tell()

    def draw(self, values: Sequence[float] | None, metric: str | None = None) -> None:
        """Take the expected curve of a metric, a value a step; None takes it back.

        Raises:
            UserError: it has another length, a value is not finite, or the futures are known already.
        """
        with self._lock:
            metric = choose("metric", metric or self.question.metric, metrics(self.recording))
            if self.state != "draw":
                raise UserError("drawn: futures have been seen already; ask again to draw another curve.")
            if values is None:
                self.drawn.pop(metric, None)
            else:
                found = np.asarray(values, dtype=float)
                if found.shape != (self.question.steps,) or not np.isfinite(found).all():
                    raise UserError(
                        f"drawn: a curve of shape {found.shape} is not one of {self.question.steps} finite numbers."
                    )
                self.drawn[metric] = found.tolist()
                self._prepare()
            self._error = ""
            self._tell_status()

    def skip(self) -> None:
        """Fork without a drawing."""
        with self._lock:
            self.skipped = True
            self._prepare()
            self._tell_status()

    @property
    def ready(self) -> bool:
        """Whether `fork` may be pressed: a curve is drawn, or drawing was declined."""
        return bool(self.drawn or self.skipped) and self.state in ("draw", "stopped", "failed")

    def fork(self) -> None:
        """Start the futures; returns at once.

        Raises:
            UserError: nothing is drawn yet, or a fork is running or done.
        """
        with self._lock:
            if self.state in ON or self.state == "finished":
                raise UserError("fork: it was done already; ask something else first.")
            if not self.ready:
                raise UserError("fork: draw the curve you expect first, or skip the drawing.")
            asked = self.question
            assert self.recording.path is not None
            known = {info.id for info in runs(self.record)} if self.record and Path(self.record).exists() else set()
            job = Fan(
                self.recording.path,
                self.recording.id,
                asked.t,
                {asked.knob: asked.value},
                self.seeds,
                asked.steps,
                self.method,
                self.task,
                self.record,
            )
            self._prepare()
            self.futures = []
            self._fork = self.runner.begin(job)
            self._begun()
            follow = threading.Thread(
                target=self._publish, args=(self.runner, job, known), daemon=True, name="nasviz-fan"
            )
            follow.start()
            self._tell()

    # -- the process

    def _prepare(self) -> None:
        """Let the worker import what it needs while the reader draws."""
        self._ready()
        self.runner.prepare(self.method, self.task)

    def _publish(self, runner: Runner, job: Fan, known: set[str]) -> None:
        """Follow the fork to its end, in a thread of its own; `known` are runs that its file held before."""
        ended = False
        while not ended:
            self._news.wait()
            self._news.clear()
            with self._lock:
                events = [event for event in runner.drain() if event.get("run") == self._fork]
                with self._told():
                    self._find(Path(str(job.record)), known)  # first, so that at the end the futures are there
                ended = any(self._hear(event) for event in events)
                with self._told():
                    self._tell()
                if ended:
                    runner.close()  # an idle worker would only hold memory
            time.sleep(REFRESH)

    def _hear(self, event: Mapping[str, Any]) -> bool:
        """One event of the worker; returns whether the fork has ended."""
        if event["event"] == "row":
            what = "forking" if event["phase"] == "fork" else "first the run again, up to the fork"
            self.state, self._progress = "running", f"{what}: step {event['whole']} of {event['steps']}"
        ended = self._heard(event)
        if ended and self.state != "finished":
            self._progress = "No verdict: the futures are not complete."
        return ended

    def _find(self, path: Path, known: set[str]) -> None:
        """The futures that are in the file by now, and their new rows."""
        if not self.futures and path.exists():
            new = [Recording.open(path, info.id) for info in runs(path) if info.rows and info.id not in known]
            mine = [run for run in new if "future" in run.meta]  # the run done again, up to the fork, is none
            if len(mine) == 2 * self.seeds:
                self.futures = sorted(mine, key=lambda run: [run.meta["future"][name] for name in ("arm", "seed")])
        for run in self.futures:
            run.refresh()

    # -- what is shown

    def arms(self, metric: str) -> tuple[Table, Table] | None:
        """The futures of a metric, `[future, step]`, under the unchanged and the changed knob; None before any came.

        Steps that are still to come, or were not measured, are NaN.
        """
        if not self.futures:
            return None
        found = np.full((2, self.seeds, self.question.steps), np.nan)
        for future, run in zip(found.reshape(-1, self.question.steps), self.futures, strict=True):
            if metric in run.meta.get("metrics", {}):
                values = curve(run, metric)[: self.question.steps]
                future[: len(values)] = values
        return found[0], found[1]

    def _smooth(self, arm: Table, metric: str) -> Table:
        """Futures as they are drawn: of a noisy metric the running mean, which goes on from before the fork."""
        if not frames.noisy(metric):
            return arm
        before = np.broadcast_to(self._past(metric)[-frames.WINDOW :], (len(arm), min(self.step, frames.WINDOW)))
        drawn = frames.recent(np.concatenate([before, arm], 1).T).T[:, -arm.shape[1] :]
        return np.where(np.isfinite(arm), drawn, np.nan)

    def _past(self, metric: str) -> Table:
        """The metric before the fork, a value a step, as recorded."""
        return curve(self.recording, metric)[: self.step]

    @property
    def step(self) -> int:
        """The step that the futures begin with."""
        return _step(self.recording, self.question.t)

    def judge(self, metric: str | None = None) -> tuple[verdict.Difference, verdict.Score | None]:
        """The verdict on a metric, and how its drawn curve did (None where none was drawn).

        Raises:
            UserError: the futures are not there yet, or the metric was not measured late enough.
        """
        metric = choose("metric", metric or self.question.metric, metrics(self.recording))
        arms = self.arms(metric)
        if arms is None or self.state != "finished":
            raise UserError("judge: there are no finished futures yet; fork first.")
        found, drawn = verdict.judge(*arms), self.drawn.get(metric)
        if drawn is None:
            return found, None
        return found, verdict.score(drawn, self._smooth(arms[1], metric), start(self._past(metric), metric))

    def sentence(self) -> str:
        """The verdict on the metric that is shown, in one sentence."""
        asked = self.question
        turned = f"{frames.symbol(self.recording, asked.knob)} {frames.brief(asked.value)}"
        late = f"last {verdict.third(asked.steps)} of {asked.steps} steps"
        return tell(*self.judge(), *METRICS[asked.metric], turned, late)

    def shown(self) -> dict[str, Any]:
        """What is drawn, as plain JSON data: the widget and the picture read only this."""
        recording, asked = self.recording, self.question
        past, at = self._past(asked.metric), self.step
        if frames.noisy(asked.metric):
            past = frames.recent(past)
        before = min(at, max(1, round(PAST * asked.steps)))
        past = past[at - before :]
        arms = [self._smooth(arm, asked.metric) for arm in self.arms(asked.metric) or ()]
        symbol, now = frames.symbol(recording, asked.knob), recording.values(asked.t)[asked.knob]
        values = [frames.brief(value) for value in (now, asked.value)]
        curves = [*arms, np.array(self.drawn.get(asked.metric, []))]
        low, high = _range(recording, asked.metric, past, curves, self.state == "finished")
        name, unit = METRICS[asked.metric]
        label = f"{name}, mean of {frames.WINDOW} steps" if frames.noisy(asked.metric) else name
        knob = recording.knobs[asked.knob]
        last = last_step(recording)
        found: dict[str, Any] = {
            "key": f"{self._asked}/{asked.metric}",
            "title": f"{str(recording.meta['method']).upper()} on {recording.meta['task']}",
            "ask": f"How does the {name} go on from step {at} if {symbol} is {values[1]} instead of {values[0]}?",
            "metrics": [[key, METRICS[key][0]] for key in metrics(recording)],
            "knobs": [[key, each.label] for key, each in turnable(recording).items()],
            "metric": asked.metric,
            "knob": asked.knob,
            "value": asked.value,
            "now": values[0],
            "bounds": [knob.low, knob.high],
            "step": at,
            "steps": [1, last],
            "label": f"{label} ({unit})",
            "range": [low, high],
            "ticks": [tick for tick in ticks(low, high, log=False) if low <= tick <= high],
            "horizon": asked.steps,
            "late": verdict.third(asked.steps),
            "past": _plain(past),
            "start": start(self._past(asked.metric), asked.metric),
            "drawn": self.drawn.get(asked.metric),
            "seeds": self.seeds,
            "arms": [
                {"label": f"{symbol} {value}", "futures": [_plain(one) for one in arm], "median": _plain(median)}
                for value, arm, median in zip(values, arms, map(verdict.median, arms), strict=False)
            ],
            "word": "",
            "text": "",
        }
        if self.state == "finished":
            try:
                found["word"], found["text"] = self.sentence().split(": ", 1)
            except UserError as error:
                found["text"] = str(error)
        return found

    def status(self) -> dict[str, Any]:
        """What the buttons need to know."""
        text = "Draw the curve you expect, then fork." if self.state == "draw" and not self.ready else self._progress
        return {"state": self.state, "text": text, "error": self._error, "ready": self.ready, "skipped": self.skipped}

    def picture(self) -> Chart:
        """The panel as a still picture."""
        return picture(self.shown())

    def _display(self) -> Any:
        if self._view is None:
            self._present(FanView(shown=self.shown(), status=self.status()))
            if self._cursor is not None:
                self._cursor.observe(lambda change: self._follow(change["new"]), "t")
        return self._view

    def hear(self, name: str, payload: Mapping[str, Any]) -> None:
        """A command of the controls; what it raises is shown in the panel."""
        with self._told():
            match name:
                case "choose":
                    change = dict(payload)
                    if "step" in change:
                        change["t"] = _row(self.recording, int(number("step", change.pop("step"), integer=True)))
                    self.choose(**change)
                case "draw":
                    self.draw(payload["values"], payload["metric"])
                case "skip" | "fork" | "stop":
                    getattr(self, name)()
                case _:
                    raise UserError(f"command: {name!r} is not one that the fan knows.")

    def _follow(self, t: int) -> None:
        """Go where the shared cursor is, while there is nothing to lose."""
        if self.state == "draw" and not self.drawn:
            self.hear("choose", {"t": len(self.recording) if t < 0 else t})


# ---------------------------------------------------------------------------------------- the question


def metrics(recording: Recording) -> list[str]:
    """Those of `METRICS` that the recording has."""
    return [name for name in METRICS if name in recording.meta.get("metrics", {})]


def turnable(recording: Recording) -> dict[str, Knob]:
    """The knobs with more than two positions."""
    return {name: knob for name, knob in recording.knobs.items() if not knob.toggle}


def last_step(recording: Recording) -> int:
    """The last step that leaves a future worth drawing."""
    done = _step(recording, len(recording))
    return min(done, int(recording.meta.get("steps", done)) - SHORTEST)


def _step(recording: Recording, t: int) -> int:
    """The step that row `t` belongs to; one past the end begins a new one."""
    steps = frames.whole_steps(recording)
    return int(steps[t]) if t < len(steps) else (int(steps[-1]) + 1 if len(steps) else 0)


def _row(recording: Recording, step: int) -> int:
    """The first row of a step."""
    return int(np.searchsorted(frames.whole_steps(recording), step))


def suggestion(name: str, knob: Knob, now: float) -> float:
    """A second value worth trying: λ 1.5 (or 0), otherwise three times the value, or half way to an end."""
    if name == "lam":
        return 1.5 if abs(now - 1.5) > 0.5 else 0.0
    if not knob.log:
        return (now + max(knob.low, knob.high, key=lambda end: abs(end - now))) / 2
    if now <= 0:
        return knob.high / 10
    return float(f"{3 * now if 3 * now <= knob.high else max(now / 3, knob.low):.3g}")


def ask(
    recording: Recording, t: int | None, knob: str | None, value: float | str | None, metric: str, steps: int = STEPS
) -> Question:
    """A checked question about a recording; see `fan` for the arguments.

    Raises:
        UserError: an argument is wrong; the message says what is allowed.
    """
    choose("metric", metric, metrics(recording))
    known = turnable(recording)
    if not known:
        raise UserError(f"recording: {recording.id!r} has no knob to turn; take one of a method with knobs.")
    knob = choose("knob", ("lam" if "lam" in known else next(iter(known))) if knob is None else knob, known)
    last = last_step(recording)
    if last < 1:
        raise UserError(f"recording: {recording.id!r} has {len(recording)} rows, too few to fork from.")
    end = _row(recording, last)
    t = end // 2 if t is None else int(number("t", t, low=_row(recording, 1), high=len(recording), integer=True))
    t = _row(recording, min(_step(recording, t), last))  # futures begin with a step, and leave room for themselves
    now = recording.values(t)[knob]
    value = suggestion(knob, known[knob], now) if value is None else known[knob].check(knob, value)
    if value == now:
        raise UserError(f"value: {frames.brief(value)} is what {knob} is already; take another to compare with.")
    steps = int(number("steps", steps, low=SHORTEST, high=1000, integer=True))
    left = int(recording.meta.get("steps", 0)) - _step(recording, t)
    return Question(t, knob, value, metric, min(steps, left))


def start(past: Table, metric: str) -> float:
    """The value that the futures start from: the newest one, of a noisy metric the newest mean; 0 without any."""
    known = (frames.recent(past) if frames.noisy(metric) else past)[np.isfinite(past)]
    return float(known[-1]) if known.size else 0.0


def _range(recording: Recording, metric: str, past: Table, others: Sequence[Table], done: bool) -> tuple[float, float]:
    """The ends of the value axis, within what the metric can be: room to draw around the past, then just the curves."""
    bounds = {item["metric"]: group["range"] for group in frames.charts(recording) for item in group["series"]}[metric]
    least, most = (-np.inf if bounds[0] is None else bounds[0]), (np.inf if bounds[1] is None else bounds[1])
    known = past[np.isfinite(past)] if np.isfinite(past).any() else np.array([0.0, 1.0])
    seen = np.concatenate([known, *(each[np.isfinite(each)] for each in others)])
    if done:
        room = max(0.08 * float(np.ptp(seen)), 0.005)
        known = seen
    else:
        room = max(float(np.ptp(known)), 0.35 * float(np.abs(known).max()), 0.05)
    low, high = min(float(known.min()) - room, float(seen.min())), max(float(known.max()) + room, float(seen.max()))
    return max(least, low), min(most, high)


def _plain(values: Table) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


# ----------------------------------------------------------------------------------------- the verdict


def tell(found: verdict.Difference, scored: verdict.Score | None, label: str, unit: str, turned: str, late: str) -> str:
    """The verdict and the score of the drawn curve in one plain sentence.

    Args:
        found: the verdict.
        scored: of the drawn curve, if there is one.
        label: of the metric.
        unit: of the metric.
        turned: what was changed, such as "λ 1.5".
        late: what was compared, such as "last 20 of 60 steps".
    """
    if found.low == found.high == 0:  # the knob has no part in it at all
        pairs = f"n = {found.n} pairs, {late}"
        return f"Luck: with {turned} the {label} is the same in every pair ({pairs}); {_told(scored, unit)}."
    digits = _digits(found)
    size = f"{_number(abs(found.mean), digits)} {unit}"
    interval = (
        f"{100 * found.confidence:g} % interval of the paired difference {_number(found.low, digits)} to "
        f"{_number(found.high, digits)}, n = {found.n} pairs, {late}"
    )
    luck = _number(found.spread, digits)
    way = "lower" if found.mean < 0 else "higher"
    match found.verdict:
        case "effect":
            said = f"{turned} makes the {label} {way} by {size} ({interval})"
        case "luck":
            said = f"with {turned} the {label} is {way} by {size} ({interval}), less than another seed makes ({luck})"
        case _:
            said = (
                f"with {turned} the {label} is {way} by {size} ({interval}), which may be next to nothing "
                f"or more than another seed makes ({luck})"
            )
    return f"{found.verdict.capitalize()}: {said}; {_told(scored, unit)}."


def _told(scored: verdict.Score | None, unit: str) -> str:
    if scored is None:
        return "you drew no curve"
    way = {True: "in the right direction", False: "in the wrong direction", None: "the seeds agree on no direction"}
    return (
        f"your curve was {frames.brief(float(f'{scored.distance:.2g}'))} {unit} off on average, {way[scored.direction]}"
    )


def _digits(found: verdict.Difference) -> int:
    """Decimals that show two digits of the larger end of the interval."""
    largest = max(abs(found.low), abs(found.high))
    return 0 if largest == 0 else int(np.clip(1 - np.floor(np.log10(largest)), 0, 9))


def _number(value: float, digits: int) -> str:
    text = f"{abs(value):.{digits}f}"
    text = text[1:] if text.startswith("0.") else text
    return ("−" if value < 0 and text.strip(".0") else "") + text


def picture(shown: Mapping[str, Any]) -> Chart:
    """A still picture of `FanOfFutures.shown`."""
    import plotly.graph_objects as go

    at, n = shown["step"], shown["horizon"]
    fig = figure(
        shown["ask"],
        "step",
        shown["label"],
        width=760,
        yaxis={"title": {"text": shown["label"]}, "range": shown["range"]},
    )
    future = range(at - 1, at + n)  # a curve of the future begins where the recorded one ends

    def add(x: Sequence[float], y: Sequence[float | None], name: str, colour: str, **line: Any) -> None:
        known = [pair for pair in zip(x, y, strict=True) if pair[1] is not None]
        places = {"x": [x for x, _ in known], "y": [y for _, y in known]}
        fig.add_trace(
            go.Scatter(**places, mode="lines", name=name, line={"color": colour, **line}, showlegend=bool(name))
        )

    def add_future(y: Sequence[float | None], name: str, colour: str, **line: Any) -> None:
        add(future, [shown["start"], *y], name, colour, **line)

    add(range(at - len(shown["past"]), at), shown["past"], "recorded", INK["soft"])
    for arm, colour in zip(shown["arms"], (INK["ink"], THEMES["light"]["mark"]), strict=False):
        for one in arm["futures"]:
            add_future(one, "", colour, width=0.7)
        add_future(arm["median"], f"{arm['label']}, median of {shown['seeds']}", colour, width=3)
    if shown["drawn"]:
        add_future(shown["drawn"], "drawn before", INK["focus"], dash="dash")
    add([at, at], shown["range"], "", INK["line"])
    said = f"{shown['word']}: {shown['text']}" if shown["word"] else shown["text"]
    return chart(fig, said or "Run this cell live, draw the curve you expect, then fork the search.")


def fan(
    recording: Recording | str,
    t: int | None = None,
    knob: str | None = None,
    value: float | None = None,
    metric: str = "cost",
    seeds: int = 4,
    steps: int = STEPS,
    cursor: Cursor | None = None,
    method: Method | None = None,
    task: Callable[..., Task] | None = None,
    record: str | Path | None = None,
) -> FanOfFutures:
    """Fork a recorded search under two settings of a knob, after drawing what you expect.

    Args:
        recording: a run, or a shipped one by name.
        t: the first row of the futures; None takes the middle.
        knob: what is changed in half of the futures; None takes the penalty `lam`, or the first knob there is.
        value: its second value; None takes one worth trying.
        metric: what is drawn: "cost", "entropy", "loss" or "accuracy".
        seeds: futures of each setting, in pairs.
        steps: of each future; fewer where the search ends before.
        cursor: shared with other views; the fan follows it until a curve is drawn.
        method: the method itself if it is none of the built-in ones.
        task: the function that makes the task if it is none of the built-in ones.
        record: the file the futures are appended to; None takes a new one in `./runs`.

    Raises:
        UserError: an argument is wrong; the message says what is allowed.
    """
    found = Recording.open(recording) if isinstance(recording, str) else recording
    if found.path is None:
        raise UserError("recording: it is in memory alone; save it first, as in `recording.save('run.sqlite')`.")
    seeds = int(number("seeds", seeds, low=2, high=32, integer=True))
    asked = ask(found, t, knob, value, metric, steps)
    whose = method or str(found.meta["method"]), task or str(found.meta["task"])
    return FanOfFutures(found, asked, seeds, steps, *whose, record, cursor)
