"""The runner steers a search from outside: in a process and in a thread, through crashes and the parent's death."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nascore.errors import UserError
from nascore.jobs import Job
from nascore.record import Recording
from nascore.runner import ON, Runner

KINDS = ["process", "thread"]
PATIENCE = 90.0  # the machine may be busy
NOTEBOOK = {"__name__": "__main__"}  # what is defined here travels by value, as from a notebook cell


def wait(true: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.01)
    raise AssertionError(f"after {PATIENCE} s still not: {what}")


class Watched:
    """A runner, and all it told so far."""

    def __init__(self, kind: str):
        self.runner = Runner(kind)  # type: ignore[arg-type]
        self.events: list[dict[str, Any]] = []

    def told(self, event: str, **more: Any) -> list[dict[str, Any]]:
        self.events += self.runner.drain()
        return [e for e in self.events if e["event"] == event and more.items() <= e.items()]

    def begin(self, job: Job, paused: bool = False) -> Recording:
        run = self.runner.begin(job, paused)
        return Recording.open(job.record, run)  # type: ignore[arg-type]

    def rows(self, n: int) -> None:
        wait(lambda: len(self.told("row")) >= n, f"{n} rows; {self.events[-3:]}")

    def ended(self) -> dict[str, Any]:
        return wait(lambda: self.told("ended"), f"the end; {self.events[-3:]}")[-1]


@pytest.fixture(params=KINDS)
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    found = Watched(request.param)
    yield found
    pid = found.runner.pid
    found.runner.close()
    assert found.runner.state == "closed"
    if pid is not None:
        wait(lambda: not psutil.pid_exists(pid), "the worker is gone")


def job(folder: Path, method: Any = "snas", **more: Any) -> Job:
    return Job(method, record=folder / "run.sqlite", **{"epochs": 2, **more})


def defined(code: str) -> Any:
    """The function `method` of a piece of notebook."""
    names = dict(NOTEBOOK)
    exec(textwrap.dedent(code), names)
    return names["method"]


def test_steering(watched: Watched, tmp_path: Path) -> None:
    recording = watched.begin(job(tmp_path, epochs=None), paused=True)
    wait(lambda: watched.told("state", state="paused"), "paused")
    assert watched.runner.state == "paused"
    assert not watched.told("row")

    watched.runner.step()
    watched.rows(1)
    watched.runner.half_step()  # up to the yield where the credit is known
    watched.rows(2)
    watched.runner.step()  # the rest of the same step
    watched.rows(3)
    time.sleep(0.3)
    assert recording.refresh() == 3
    assert recording.phases == ["update", "credit", "update"]
    assert [e["whole"] for e in watched.told("row")] == [1, 1, 2]
    assert recording.status == "paused"

    watched.runner.set(lam=0.5)
    watched.runner.set(lam=-1)  # refused, and the run goes on
    watched.runner.resume()
    watched.rows(6)
    assert watched.told("error")[0]["error"].startswith("lam: -1 is not a number")
    watched.runner.pause()
    wait(lambda: len(watched.told("state", state="paused")) == 2, "paused again")
    before = len(watched.told("row"))
    time.sleep(0.3)
    assert len(watched.told("row")) == before

    watched.runner.stop()
    assert watched.ended()["state"] == "stopped"
    recording.refresh()
    # The half step's switch was undone by the step after it.
    assert recording.script() == {1: {"half_steps": 1}, 2: {"half_steps": 0}, 3: {"lam": 0.5}}
    assert set(recording.phases[3:]) == {"update"}
    assert (recording.status, recording.error, len(recording)) == ("stopped", None, before)


def test_to_the_end_and_again(watched: Watched, tmp_path: Path) -> None:
    first = watched.begin(job(tmp_path))
    assert watched.ended()["state"] == "finished", watched.events[-3:]
    second = watched.begin(job(tmp_path))  # the same worker, which is warm
    wait(lambda: len(watched.told("ended")) == 2, "the second end")
    assert watched.runner.state == "finished"
    for recording in (first, second):
        recording.refresh()
    assert len(first) == first.meta["steps"] == 30
    assert (first.column("probs") == second.column("probs")).all()


def test_a_new_job_takes_over(watched: Watched, tmp_path: Path) -> None:
    first = watched.begin(job(tmp_path, epochs=None))
    watched.rows(2)
    second = watched.begin(job(tmp_path))
    assert wait(lambda: watched.told("ended", run=second.id), "the second end")[0]["state"] == "finished"
    first.refresh()
    assert first.status == "stopped"


def test_speed(watched: Watched, tmp_path: Path) -> None:
    watched.runner.speed(2)
    watched.begin(job(tmp_path, epochs=None))
    watched.rows(1)
    began, before = time.monotonic(), len(watched.told("row"))
    watched.rows(before + 3)
    assert time.monotonic() - began > 0.9
    watched.runner.stop()  # obeyed while the worker waits for the next step's turn
    assert watched.ended()["state"] == "stopped"
    with pytest.raises(UserError, match="speed: -1"):
        watched.runner.speed(-1)


def test_a_closure_of_a_notebook(watched: Watched, tmp_path: Path) -> None:
    method = defined(
        """
        from nascore import Knob, declare
        from nascore.methods.snas import snas
        factor = 2

        @declare(lam=Knob(0, 0, 10, "penalty λ"), half_steps=Knob(0, 0, 1, "h", toggle=True))
        def method(task, knobs):
            alpha = task.logits()
            for t in task.clock(alpha=alpha):
                print("hello from the method")
                p = alpha.softmax(-1)
                yield task.step(t, p, p, None, loss=factor * knobs.lam)
        """
    )
    recording = watched.begin(job(tmp_path, method, knobs={"lam": 3}))
    assert watched.ended()["state"] == "finished", watched.events[-3:]
    recording.refresh()
    assert recording.metric("loss").tolist() == [6] * 30
    assert recording.meta["method"] == "method"
    if watched.runner.kind == "process":
        assert "hello from the method" in watched.runner.log


def test_an_exception_keeps_the_recording(watched: Watched, tmp_path: Path) -> None:
    method = defined(
        """
        def method(task, knobs):
            alpha = task.logits()
            for t in task.clock(alpha=alpha):
                p = alpha.softmax(-1)
                yield task.step(t, p, p, None, loss=1.0 / (3 - t))
        """
    )
    recording = watched.begin(job(tmp_path, method))
    end = watched.ended()
    assert end["state"] == watched.runner.state == "failed"
    assert "ZeroDivisionError" in end["error"]
    assert "ZeroDivisionError" in watched.told("error")[0]["traceback"]
    recording.refresh()
    assert (len(recording), recording.status) == (3, "failed")
    assert "ZeroDivisionError" in str(recording.error)
    watched.events.clear()
    watched.begin(job(tmp_path))  # the worker outlives it
    assert watched.ended()["state"] == "finished", watched.events[-3:]


def test_a_bad_argument(watched: Watched, tmp_path: Path) -> None:
    watched.begin(job(tmp_path, knobs={"lamb": 1}))
    end = watched.ended()
    assert end["state"] == "failed"
    assert "Did you mean 'lam'?" in end["error"]
    assert not (tmp_path / "run.sqlite").exists()  # nothing ran, nothing is left
    with pytest.raises(UserError, match="snass"):
        watched.begin(job(tmp_path, "snass"))


def test_what_cannot_travel(tmp_path: Path) -> None:
    method = defined("import threading; lock = threading.Lock()\ndef method(task, knobs): yield lock")
    runner = Runner()
    with pytest.raises(UserError, match="cannot be sent to a process of its own"):
        runner.begin(job(tmp_path, method))
    assert not (tmp_path / "run.sqlite").exists()
    runner.close()
    with pytest.raises(UserError, match="closed"):
        runner.begin(job(tmp_path))


def test_a_crash_keeps_the_recording(tmp_path: Path) -> None:
    method = defined(
        """
        import os, sys
        def method(task, knobs):
            alpha = task.logits()
            for t in task.clock(alpha=alpha):
                if t == 2:
                    print("about to fall", file=sys.stderr, flush=True)
                    os.kill(os.getpid(), 9)
                p = alpha.softmax(-1)
                yield task.step(t, p, p, None, loss=1.0)
        """
    )
    watched = Watched("process")
    recording = watched.begin(job(tmp_path, method))
    end = watched.ended()
    assert end["state"] == watched.runner.state == "failed"
    assert "status -9" in end["error"]
    assert "about to fall" in end["error"]
    recording.refresh()
    assert (len(recording), recording.status) == (2, "failed")
    assert "status -9" in str(recording.error)
    watched.events.clear()
    watched.begin(job(tmp_path))  # in a new worker
    assert watched.ended()["state"] == "finished", watched.events[-3:]
    watched.runner.close()


PARENT = """
import sys, time
from nascore.jobs import Job
from nascore.runner import Runner
names = {"__name__": "__main__"}
exec(sys.argv[2], names)
runner = Runner()
runner.begin(Job(names["method"], record=sys.argv[1], epochs=None))
while not any(event["event"] == "row" for event in runner.drain()):
    time.sleep(0.01)
print(runner.pid, flush=True)
time.sleep(1000)
"""
LONG_STEPS = """
import time
def method(task, knobs):
    alpha = task.logits()
    for t in task.clock(alpha=alpha):
        p = alpha.softmax(-1)
        yield task.step(t, p, p, None, loss=1.0)
        SLOW
"""


@pytest.mark.parametrize("slow", ["time.sleep(1000)", "while True: pass"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_orphan(tmp_path: Path, slow: str, end: signal.Signals) -> None:
    if end is not signal.SIGKILL and slow != "time.sleep(1000)":
        pytest.skip("the same as with SIGKILL")
    record = tmp_path / "run.sqlite"
    command = [sys.executable, "-c", PARENT, str(record), LONG_STEPS.replace("SLOW", slow)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        os.kill(parent.pid, end)  # while the worker is inside a step
        parent.wait(30)
    wait(lambda: not psutil.pid_exists(pid), "the worker is gone")
    recording = Recording.open(record)
    assert (len(recording), recording.status) == (1, "stopped")


def test_the_end_of_input_ends_a_long_step(tmp_path: Path) -> None:
    runner = Runner()
    runner.begin(job(tmp_path, defined(LONG_STEPS.replace("SLOW", "while True: pass"))))
    wait(lambda: any(event["event"] == "row" for event in runner.drain()), "the first row")
    worker = psutil.Process(runner.pid)
    runner._worker.process.stdin.close()  # type: ignore[union-attr]
    assert worker.wait(10) is not None or not worker.is_running()
    wait(lambda: runner.state not in ON, "the runner knows")
    assert runner.state == "failed"
    runner.close()


def test_close_ends_a_long_step(tmp_path: Path) -> None:
    runner = Runner()
    runner.begin(job(tmp_path, defined(LONG_STEPS.replace("SLOW", "while True: pass"))))
    wait(lambda: any(event["event"] == "row" for event in runner.drain()), "the first row")
    pid = runner.pid
    assert pid is not None
    began = time.monotonic()
    runner.close()
    assert time.monotonic() - began < 1  # nobody waits for it
    wait(lambda: not psutil.pid_exists(pid), "the worker is gone")
    wait(lambda: not list(tmp_path.glob("*-wal")), "the recording is one file again")
    assert Recording.open(tmp_path / "run.sqlite").status == "stopped"


def test_a_method_that_reads(tmp_path: Path) -> None:
    """What a method reads is not the runner's commands, and what it prints last is kept."""
    method = defined(
        """
        import os, sys
        def method(task, knobs):
            alpha = task.logits()
            for t in task.clock(alpha=alpha):
                assert sys.stdin.read() == ""
                print("last words")
                if t == 1:
                    os._exit(3)
                p = alpha.softmax(-1)
                yield task.step(t, p, p, None, loss=1.0)
        """
    )
    watched = Watched("process")
    watched.begin(job(tmp_path, method))
    watched.runner.set(lam=1)
    assert "status 3" in watched.ended()["error"]
    assert watched.ended()["error"].endswith("last words")
    watched.runner.close()


def test_importing_needs_no_torch() -> None:
    code = "import sys, json, nascore.runner; print(json.dumps('torch' in sys.modules))"
    assert json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) is False
