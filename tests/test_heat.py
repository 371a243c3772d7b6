"""A heat: who goes next, what each search becomes, and how it ends."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nascore import methods
from nascore.errors import UserError
from nascore.heat import Heat
from nascore.jobs import Job, execute
from nascore.record import Recording, runs
from nascore.run import HALF_PHASES, Knobs, Step
from nascore.runner import Runner
from nascore.task import Task, make_task

STEPS = 6


def short(seed: int, epochs: int | None) -> Task:
    task = make_task("digits", seed, epochs or 1, channels=2, cells=3)
    task.steps, task.measure_every = STEPS, 3
    return task


def jobs(*names: str, seed: int = 0) -> list[Job]:
    return [Job(methods.get(name), short, seed=seed) for name in names]


def lazy(task: Task, knobs: Knobs) -> Iterator[Step]:
    """Random search that takes its time."""
    for step in methods.get("random")(task, Knobs(**methods.get("random").knobs)):
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        yield step


def broken(task: Task, knobs: Knobs) -> Iterator[Step]:
    for step in methods.get("random")(task, Knobs(**methods.get("random").knobs)):
        yield step
        raise ZeroDivisionError("on purpose")


@pytest.mark.parametrize("order", ["updates", "one after another"])
def test_searches_of_a_heat_are_those_alone(tmp_path: Path, order: str) -> None:
    heat = Heat(jobs("snas", "darts", "random"), order, tmp_path / "heat.sqlite")
    heat.register()
    racing = heat.open()
    who, counts = [], []
    for step in racing:
        who.append(step.phase.split(",")[0])
        counts.append([run.whole for run in racing.runs])
    assert racing.status == "finished"
    assert racing.whole == racing.task.steps == 3 * STEPS
    if order == "updates":
        assert all(max(now) - min(now) <= 1 for now in counts)
    else:
        assert who == sorted(who, key=["snas", "darts", "random"].index)
    for job in heat.jobs:
        alone = execute(Job(job.method, short, record=tmp_path / "alone.sqlite"), progress=False)
        raced = Recording.open(heat.record, job.run)
        assert raced.status == "finished"
        for name in ("probs", "gates", "credit"):
            np.testing.assert_array_equal(raced.column(name), alone.column(name))
        np.testing.assert_array_equal(raced.metric("loss"), alone.metric("loss"))


def test_turns_by_processor_time(tmp_path: Path) -> None:
    heat = Heat([Job(lazy, short), Job(methods.get("random"), short)], "cpu_seconds", tmp_path / "heat.sqlite")
    heat.register()
    racing = heat.open()
    order = [step.phase.split(",")[0] for step in racing]
    assert order[:2] == ["lazy", "random"]
    first_done = order.index("lazy", 1)
    assert order[1:first_done].count("random") >= 2  # the quick one has several turns for one of the slow one


def test_one_that_fails_leaves_the_race(tmp_path: Path) -> None:
    heat = Heat([Job(broken, short), *jobs("random")], record=tmp_path / "heat.sqlite")
    heat.register()
    racing = heat.open()
    assert sum(1 for _ in racing) == 1 + STEPS
    assert racing.status == "finished"
    found = {info.method: info for info in runs(heat.record)}
    assert found["broken"].status == "failed"
    assert "ZeroDivisionError" in str(found["broken"].error)
    assert found["random"].status == "finished"
    alone = Heat([Job(broken, short)], record=tmp_path / "alone.sqlite")
    alone.register()
    with pytest.raises(ZeroDivisionError):
        list(alone.open())


def test_stopped_midway_what_was_recorded_stays(tmp_path: Path) -> None:
    heat = Heat(jobs("snas", "random"), record=tmp_path / "heat.sqlite")
    heat.register()
    racing = heat.open()
    rows = [next(racing) for _ in range(5)]
    assert [row.t for row in rows] == [1, 2, 3, 4, 5]
    racing.mark("paused")
    assert {info.status for info in runs(heat.record)} == {"paused"}
    racing.close()
    assert [(info.rows, info.status) for info in runs(heat.record)] == [(3, "stopped"), (2, "stopped")]


def test_bad_arguments_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "heat.sqlite"
    with pytest.raises(UserError, match="order: 'turns' is not one of cpu_seconds, one after another, updates"):
        Heat(jobs("snas"), "turns", path).register()
    with pytest.raises(UserError, match="jobs: there are none"):
        Heat([], record=path).register()
    with pytest.raises(UserError, match="method: 'snass' is not one of"):
        Heat([*jobs("random"), Job("snass", "digits")], record=path).register()
    assert not path.exists()
    heat = Heat([*jobs("snas"), Job("random", "digits", options={"colour": 1}), *jobs("random")], record=path)
    heat.register()
    with pytest.raises(UserError, match="colour"):
        heat.open()
    assert [(info.method, info.status) for info in runs(path)] == [("snas", "stopped")]


def test_a_runner_does_a_heat(tmp_path: Path) -> None:
    runner = Runner("thread")
    heat = Heat(jobs("snas", "random"), record=tmp_path / "heat.sqlite")
    name = runner.begin(heat)
    events, end = [], time.monotonic() + 60
    while not any(event["event"] == "ended" for event in events):
        assert time.monotonic() < end
        events += [event for event in runner.drain() if event.get("run") == name]
        time.sleep(0.01)
    assert events[-1]["state"] == "finished"
    rows = [event for event in events if event["event"] == "row"]
    assert [row["whole"] for row in rows] == list(range(1, 2 * STEPS + 1))
    assert {row["phase"] for row in rows} == {"snas, seed 0", "random, seed 0"}
    assert not {row["phase"] for row in rows} & HALF_PHASES
    assert {row["steps"] for row in rows} == {2 * STEPS}
    runner.close()
