"""The fan of futures: what is asked, drawn, forked, judged and said. A stand-in writes futures of known shape."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nascore import worker
from nascore.errors import UserError
from nascore.fan import Fan
from nascore.record import Recording, Writer
from nascore.run import Knob, Metric, Step
from nascore.runner import Runner
from nascore.verdict import Difference, Score
from nasviz.labs import futures
from nasviz.labs.futures import FanOfFutures, ask, curve, fan, suggestion, tell

EFFECT = 0.2  # of the stand-in's knob on cost, where it is turned
"""The stand-in: cost falls by EFFECT under the changed knob, entropy does not care, accuracy comes every 15 steps."""


def forked(
    recording: Recording,
    t: int,
    knobs: dict[str, float],
    seeds: int,
    steps: int,
    record: Path,
    method: Any,
    task: Any,
    *,
    pause: float = 0.0,
    fail_at: int = 10**9,
) -> Iterator[tuple[str, int, int]]:
    rng = np.random.default_rng(0)
    metrics = {name: asdict(Metric(name)) for name in ("cost", "entropy", "loss", "accuracy")}
    plans = [(seed, arm) for seed in reversed(range(seeds)) for arm in (1, 0)]  # the order in the file must not matter
    noise = rng.normal(size=(seeds, steps))
    writers = []
    for seed, arm in plans:
        future = {"of": recording.id, "t": t, "arm": arm, "seed": seed, "knobs": knobs}
        writers.append(Writer(record, {"future": future, "metrics": metrics}))
    status = "stopped"
    try:
        yield "again", t, t
        for k in range(steps):
            if k == fail_at:
                raise ZeroDivisionError("on purpose")
            for (seed, arm), writer in zip(plans, writers, strict=True):
                own = rng.normal()
                row = {"cost": 0.6 - arm * EFFECT * k / steps + 0.01 * seed, "entropy": 1 + 0.1 * seed}
                row |= {"loss": 0.5 + 0.1 * noise[seed, k] + 0.1 * own}
                if k % 15 == 14:
                    row["accuracy"] = 0.8 + 0.1 * own
                writer.append(Step(k, "update", row))
            yield "fork", k + 1, steps
            time.sleep(pause)
        status = "finished"
    finally:
        for writer in writers:
            writer.status(status)
            writer.close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., FanOfFutures]]:
    """Make a fan whose futures come from the stand-in, in a thread."""
    shown = []

    def make(pause: float = 0.0, fail_at: int = 10**9, **arguments: Any) -> FanOfFutures:
        def fork(*given: Any) -> Iterator[tuple[str, int, int]]:
            return forked(*given, pause=pause, fail_at=fail_at)

        monkeypatch.setitem(sys.modules, "nascore.together", SimpleNamespace(fork=fork))
        found = fan("digits-snas", **{"record": tmp_path / "fan.sqlite", **arguments})
        found.runner = Runner("thread")
        found._kind = "thread"
        shown.append(found)
        return found

    yield make
    for each in shown:
        each.close()


def until(true: Callable[[], Any], what: str = "") -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, f"still not: {what}"
        time.sleep(0.01)


def straight(found: FanOfFutures, end: float, begin: float = 0.6) -> list[float]:
    return np.linspace(begin, end, found.question.steps).tolist()


def test_first_draw_then_fork(made: Callable[..., FanOfFutures]) -> None:
    found = made(t=240)
    assert (found.question.knob, found.question.value, found.question.metric) == ("lam", 1.5, "cost")
    assert found.shown()["arms"] == []
    with pytest.raises(UserError, match="fork: draw the curve you expect first, or skip"):
        found.fork()
    with pytest.raises(UserError, match="judge: there are no finished futures"):
        found.judge()
    assert found.status()["text"] == "Draw the curve you expect, then fork."
    found.draw(straight(found, 0.4))
    assert found.ready
    found.fork()
    until(lambda: found.state == "finished", "the end")

    unchanged, changed = found.arms("cost")
    k = np.arange(60)
    for seed in range(4):  # pairs stand side by side, whatever the order in the file
        assert unchanged[seed] == pytest.approx(np.full(60, 0.6 + 0.01 * seed))
        assert changed[seed] == pytest.approx(0.6 + 0.01 * seed - EFFECT * k / 60)
    difference, scored = found.judge()
    assert difference.verdict == "effect"
    assert difference.mean == pytest.approx(-EFFECT * (k[-20:] / 60).mean())
    middle = 0.6 + 0.015 - EFFECT * k / 60
    assert scored.distance == pytest.approx(abs(np.linspace(0.6, 0.4, 60) - middle).mean())
    assert scored.direction is True
    assert found.sentence().startswith(
        "Effect: λ 1.5 makes the expected cost lower by .16 of the dearest network (98 %"
    )
    assert found.sentence().endswith("in the right direction.")

    shown = found.shown()
    json.dumps(shown, allow_nan=False)
    seen = np.concatenate([found._past("cost")[-30:], unchanged.ravel(), changed.ravel(), found.drawn["cost"]])
    low, high = shown["range"]
    assert low <= seen.min() < seen.max() <= high  # all of it is seen, and nothing but it
    assert high - low < 1.2 * np.ptp(seen)
    assert [arm["label"] for arm in shown["arms"]] == ["λ 0", "λ 1.5"]
    assert shown["word"] == "Effect"
    with pytest.raises(UserError, match="ask again"):
        found.draw(straight(found, 0.3))  # a prediction made after the fact is none
    with pytest.raises(UserError, match="fork: it was done already"):
        found.fork()
    until(lambda: found.runner.state == "closed", "no idle worker")

    found.choose(metric="entropy")  # one fork answers for every metric
    assert found.judge()[0].verdict == "luck"
    assert "you drew no curve" in found.sentence()
    found.choose(metric="accuracy")
    assert found.judge()[0].n == 4
    found.choose(t=120)  # another question: curves and futures are forgotten
    assert (found.state, found.drawn, found.futures) == ("draw", {}, [])
    assert found.shown()["arms"] == []


def test_a_curve_for_each_metric(made: Callable[..., FanOfFutures]) -> None:
    found = made()
    found.draw(straight(found, 0.4))
    found.choose(metric="loss")
    assert found.shown()["drawn"] is None
    found.draw(straight(found, 0.7, 0.7))
    found.fork()
    until(lambda: found.state == "finished")
    assert found.judge("cost")[1] is not None
    # A noisy metric is judged as measured, and drawn as a running mean that goes on from before the fork.
    raw, before = found.arms("loss")[1], found._past("loss")
    whole = np.concatenate([np.repeat(before[None], 4, 0), raw], 1)
    means = [[whole[i, k - 9 : k + 1].mean() for k in range(len(before), whole.shape[1])] for i in range(4)]
    drawn = np.array(found.shown()["arms"][1]["futures"])
    assert drawn == pytest.approx(np.array(means), rel=1e-5)
    difference, scored = found.judge("loss")
    assert difference.mean == pytest.approx((raw - found.arms("loss")[0])[:, -20:].mean())
    assert scored.distance == pytest.approx(abs(0.7 - np.median(means, 0)).mean())


def test_skip_and_a_second_fork_into_one_file(made: Callable[..., FanOfFutures]) -> None:
    found = made()
    for value in (1.5, 0.7):
        found.choose(value=value)
        assert not found.ready
        found.skip()
        found.fork()
        until(lambda: found.state == "finished")
        assert {run.meta["future"]["knobs"]["lam"] for run in found.futures} == {value}
        assert "you drew no curve" in found.sentence()


def test_stop(made: Callable[..., FanOfFutures]) -> None:
    found = made(pause=0.05)
    found.skip()
    found.fork()
    until(lambda: found.futures and found.state == "running", "futures on their way")
    assert "forking: step" in found.status()["text"]
    with pytest.raises(UserError, match="fork: stop it before"):
        found.choose(knob="tau")
    with pytest.raises(UserError, match="done already"):
        found.fork()
    found.stop()
    until(lambda: found.state == "stopped", "stopped")
    assert found.shown()["text"] == ""  # no verdict on what is not complete
    assert "No verdict" in found.status()["text"]
    assert np.isfinite(found.arms("cost")[0][0, 0])
    assert np.isnan(found.arms("cost")[0][0, -1])
    assert {run.status for run in found.futures} == {"stopped"}
    until(lambda: found.runner.state == "closed")
    found.fork()  # once more
    until(lambda: found.state == "running")
    found.stop()


def test_a_fork_that_fails(made: Callable[..., FanOfFutures]) -> None:
    found = made(fail_at=20)
    found.draw(straight(found, 0.5))
    found.fork()
    until(lambda: found.state == "failed")
    assert "ZeroDivisionError: on purpose" in found.status()["error"]
    assert found.drawn  # nothing of the reader's is lost
    assert found.ready


def test_a_metric_that_was_not_measured_late_enough(made: Callable[..., FanOfFutures]) -> None:
    found = made(steps=12)
    found.skip()
    found.fork()
    until(lambda: found.state == "finished")
    found.choose(metric="accuracy")
    assert "no measured value in its last 4 steps" in found.shown()["text"]
    assert found.shown()["word"] == ""


class StubView:
    def __init__(self, **traits: Any):
        vars(self).update(traits)

    def on_command(self, handler: Callable[..., None]) -> None:
        self.do = handler


def test_controls(made: Callable[..., FanOfFutures], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(futures, "FanView", StubView)
    found = made(t=100)
    view = found._display()
    assert view.shown["step"] == 100
    view.do("choose", {"step": 200})
    assert view.shown["step"] == found.question.t == 200
    first = view.shown["key"]
    view.do("choose", {"value": "0.75"})  # an input sends text
    assert view.shown["value"] == 0.75
    assert view.shown["key"] != first  # so that the page forgets its curve
    view.do("choose", {"knob": "architecture_lr"})
    assert view.shown["value"] == pytest.approx(0.06)
    for name, payload, words in [
        ("choose", {"value": "99"}, "architecture_lr: '99' is not a number from 0 to 1"),
        ("choose", {"value": "x"}, "architecture_lr: 'x' is not"),
        ("choose", {"value": 0.02}, "is what architecture_lr is already"),
        ("choose", {"knob": "lamb"}, "Did you mean 'lam'"),
        ("choose", {"metric": "costs"}, "Did you mean 'cost'"),
        ("choose", {"step": "?"}, "step: '?' is not"),
        ("draw", {"metric": "cost", "values": [1, 2]}, "shape (2,) is not one of 60"),
        ("draw", {"metric": "cost", "values": [None] * 60}, "finite"),
        ("fork", {}, "draw the curve you expect first"),
        ("fly", {}, "'fly' is not one"),
        ("choose", {"speed": 1}, "TypeError"),
    ]:
        view.do(name, payload)
        assert words in view.status["error"]
        assert found.state == "draw"
    assert view.shown["knob"] == "architecture_lr"
    view.do("draw", {"metric": "cost", "values": straight(found, 0.3)})
    assert view.status["ready"]
    assert view.status["error"] == ""
    view.do("draw", {"metric": "cost", "values": None})
    assert not view.status["ready"]
    view.do("skip", {})
    view.do("fork", {})
    until(lambda: view.status["state"] == "finished")
    assert len(view.shown["arms"]) == 2
    assert view.shown["text"]


def test_it_follows_a_cursor_until_something_is_drawn(
    made: Callable[..., FanOfFutures], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(futures, "FanView", StubView)
    cursor = futures.Cursor()
    found = made(cursor=cursor)
    found._display()
    cursor.t = 33
    assert found.question.t == 33
    cursor.t = 0  # nothing is before: it stays
    assert found.question.t == 33
    cursor.t = -1  # the newest row, as far as it leaves room
    assert found.question.t == 474
    assert found.question.steps == 6
    found.draw(straight(found, 0.3))
    cursor.t = 50
    assert found.question.t == 474


def test_the_question() -> None:
    recording = Recording.open("digits-snas")
    assert ask(recording, None, None, None, "cost").t == 237
    assert ask(recording, 450, "lam", 1, "loss").steps == 30  # the search ends before
    assert ask(Recording.open("digits-snas-moderate"), 9, "lam", None, "cost").value == 1.5
    two = Recording.open("digits-darts")  # of two rows a step
    asked = ask(two, 101, None, None, "cost")
    assert asked.t == 100  # a future begins with a step
    assert asked.steps == 60
    values = two.metric("loss")
    assert curve(two, "loss")[:3] == pytest.approx(values[[1, 3, 5]])
    accuracy = curve(two, "accuracy")
    assert np.flatnonzero(np.isfinite(accuracy))[:2].tolist() == [14, 29]
    assert len(accuracy) == 480


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"t": 0}, "t: 0 is not a whole number from 1 to 480"),
        ({"t": 481}, "t: 481 is not a whole number from 1 to 480"),
        ({"t": 1.5}, "t: 1.5 is not a whole number"),
        ({"knob": "half_steps"}, "knob: 'half_steps' is not one of"),
        ({"knob": "lamb"}, "Did you mean 'lam'"),
        ({"value": 11}, "lam: 11 is not a number from 0 to 10"),
        ({"value": 0}, "value: 0 is what lam is already"),
        ({"metric": "acuracy"}, "Did you mean 'accuracy'"),
        ({"seeds": 1}, "seeds: 1 is not a whole number from 2 to 32"),
        ({"steps": 5}, "steps: 5 is not a whole number from 6 to 1000"),
        ({"recording": "digits-snass"}, "Did you mean 'digits-snas'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        fan(**{"recording": "digits-snas", **arguments})


def test_recordings_that_cannot_be_forked() -> None:
    shipped = Recording.open("digits-snas")
    with pytest.raises(UserError, match="in memory alone; save it first"):
        fan(Recording.from_steps(list(shipped), shipped.meta))
    short = Recording.from_steps([shipped[0]], {**shipped.meta, "steps": 6})
    with pytest.raises(UserError, match="has 1 rows, too few"):
        ask(short, None, None, None, "cost")
    with pytest.raises(UserError, match="no knob to turn"):
        ask(Recording.from_steps(list(shipped), {**shipped.meta, "knobs": {}}), None, None, None, "cost")


@pytest.mark.parametrize(
    ("name", "knob", "now", "value"),
    [
        ("lam", Knob(0, 0, 10, "λ", log=True), 0, 1.5),
        ("lam", Knob(0, 0, 10, "λ", log=True), 1.5, 0),
        ("tau", Knob(1, 0.03, 5, "τ", log=True), 1, 3),
        ("tau", Knob(1, 0.03, 5, "τ", log=True), 4, 1.33),
        ("weight_lr", Knob(0.1, 0, 1, "rate", log=True), 0, 0.1),
        ("budget", Knob(1, 0, 1, "budget"), 1, 0.5),
        ("budget", Knob(1, 0, 1, "budget"), 0.2, 0.6),
    ],
)
def test_a_second_value_worth_trying(name: str, knob: Knob, now: float, value: float) -> None:
    assert suggestion(name, knob, now) == pytest.approx(value)
    assert knob.check(name, suggestion(name, knob, now)) != now


def test_sentences() -> None:
    words = "expected cost", "of the dearest", "λ 1.5", "last 20 of 60 steps"
    effect = Difference("effect", 4, -0.304, -0.322, -0.286, 0.99, 0.0072)
    assert tell(effect, Score(0.0281, True), *words) == (
        "Effect: λ 1.5 makes the expected cost lower by .30 of the dearest (99 % interval of the paired difference "
        "−.32 to −.29, n = 4 pairs, last 20 of 60 steps); your curve was .028 of the dearest off on average, in the "
        "right direction."
    )
    luck = Difference("luck", 4, 0.00015, -0.00047, 0.00077, 0.99, 0.008)
    assert tell(luck, Score(1.0, False), *words) == (
        "Luck: with λ 1.5 the expected cost is higher by .00015 of the dearest (99 % interval of the paired difference "
        "−.00047 to .00077, n = 4 pairs, last 20 of 60 steps), less than another seed makes (.00800); your curve was "
        "1 of the dearest off on average, in the wrong direction."
    )
    nothing = Difference("cannot tell", 4, -0.19, -0.43, 0.05, 0.99, 0.05)
    assert "which may be next to nothing or more than another seed makes (.05); your curve was .5 of" in tell(
        nothing, Score(0.5, None), *words
    )
    assert tell(nothing, Score(0.5, None), *words).endswith("the seeds agree on no direction.")
    same = tell(Difference("luck", 4, 0.0, 0.0, 0.0, 0.99, 0.01), None, *words)
    assert same.startswith("Luck: with λ 1.5 the expected cost is the same in every pair (n = 4 pairs, last 20 of")


def test_the_picture_needs_no_kernel(monkeypatch: pytest.MonkeyPatch, made: Callable[..., FanOfFutures]) -> None:
    monkeypatch.setenv("NASVIZ_STATIC", "1")
    found = fan("digits-snas", t=240)
    bundle = found._repr_mimebundle_()
    assert set(bundle) == {"image/svg+xml", "text/plain"}
    assert bundle["text/plain"].startswith("Fan of futures: How does the expected cost go on from step 240")
    assert "Run this cell live" in bundle["image/svg+xml"]
    assert found.runner.pid is None
    forked_one = made(t=240)
    forked_one.draw(straight(forked_one, 0.4))
    forked_one.fork()
    until(lambda: forked_one.state == "finished")
    svg = forked_one._repr_mimebundle_()["image/svg+xml"]
    assert svg.count("<path") == 1 + 8 + 2 + 1 + 1  # the past, futures, medians, the drawn curve, the fork
    assert "Effect: λ 1.5 makes" in svg
    assert "stroke-dasharray" in svg


def test_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = Recording.open("digits-snas")
    job = Fan(source.path, source.id, 30, {"lam": "0.5"}, 4, 60, "snas", "digits")
    assert job.register().startswith("fan-")
    assert job.knobs == {"lam": 0.5}
    assert job.record.parent == Path("runs")
    assert not job.record.exists()  # nothing is written before the fork writes
    again = worker.unpack(worker.pack(job))
    assert again == job
    for change, words in [
        ({"t": 481}, "t: 481"),
        ({"knobs": {"lamb": 1}}, "Did you mean 'lam'"),
        ({"knobs": {"lam": -1}}, "lam: -1"),
        ({"seeds": 1}, "seeds: 1"),
        ({"steps": 0}, "steps: 0"),
    ]:
        with pytest.raises(UserError, match=words):
            Fan(**{**vars(job), **change}).register()


def test_needs_no_torch() -> None:
    code = (
        "import sys; from nasviz.labs.futures import fan; fan('digits-snas').shown(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
