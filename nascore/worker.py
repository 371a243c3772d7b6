"""The process a live run lives in: `python -m nascore.worker`, commands in and events out, one JSON object a line.

Commands are obeyed between two yields of the method, so that a method never sees its world move inside a step. The
rows themselves go to the recording, never through the pipe. When standard input ends, as it does when the parent dies
in any way, so does this process, at once and inside a step too. What the method prints goes to standard error.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nascore.errors import UserError, sentence
from nascore.record import Writer
from nascore.run import HALF_PHASES, Run

if TYPE_CHECKING:
    from nascore.fan import Fan, Forking
    from nascore.heat import Heat, Racing
    from nascore.jobs import Job

Message = dict[str, Any]
Inbox = queue.SimpleQueue[Message]
TAIL = 12  # lines of a traceback that travel with an error


class Worker:
    """Takes commands from `inbox`, runs one job after the other and calls `tell` with events.

    Commands `{"do": …}`: prepare{task, method}, begin{job, path, run, record, paused}, set{knobs}, pause, resume, step,
    half_step, speed{value}, stop, close. Events `{"event": …}`: ready, begun{run, steps},
    row{run, t, phase, whole, steps}, state{run, state}, error{run, error, traceback}, ended{run, state, error}. An
    error without an ended leaves the run as it was.
    """

    def __init__(self, inbox: Inbox, tell: Callable[[Message], None]):
        self.inbox = inbox
        self.tell = tell
        self.run: Run | Forking | Racing | None = None
        self._id: str | None = None  # of the run as the recording has it
        self._paused = False
        self._halving = False  # a half step, not the user, has switched the knob half_steps on
        self._yields = 0  # still to be done while paused
        self._steps = 0  # whole steps still to be done while paused
        self._speed: float | None = None  # whole steps a second; None as fast as it goes
        self._due = 0.0  # when the next step may begin

    def serve(self) -> None:
        """Obey until told to close."""
        while True:
            wait = self._wait()
            try:
                message = self.inbox.get(timeout=wait) if wait is None or wait > 0 else self.inbox.get_nowait()
            except queue.Empty:
                self._advance()
                continue
            if message["do"] == "close":
                self._end()
                return
            try:
                self._obey(message)
            except BaseException as error:  # a bad command must not end the run
                self._report(error)

    def _wait(self) -> float | None:
        """Seconds until the next yield is due; None until a command comes."""
        if self.run is None or (self._paused and not self._yields and not self._steps):
            return None
        return max(0.0, self._due - time.monotonic())

    def _obey(self, message: Message) -> None:
        do = message["do"]
        if do == "prepare":
            prepare(message.get("task"), message.get("method"))
            self.tell({"event": "ready"})
        elif do == "begin":
            self._end()
            self._begin(message)
        elif do == "speed":
            self._speed = message["value"] or None
            self._due = 0.0
        elif self.run is None:
            return  # the run ended while the command was on its way
        elif do == "set":
            self.run.knobs.set(**message["knobs"])
            self._halving = self._halving and "half_steps" not in message["knobs"]
        elif do == "pause":
            self._yields = self._steps = 0
            self._pause(True)
        elif do == "resume":
            self._yields = self._steps = 0
            self._halve(False)
            self._pause(False)
        elif do == "step":
            self._pause(True)
            self._halve(False)
            self._steps += 1
        elif do == "half_step":
            self._pause(True)
            self._halve(True)
            self._yields += 1
        elif do == "stop":
            self._end()
        else:
            raise UserError(f"do: there is no command {do!r}.")

    def _begin(self, message: Message) -> None:
        self._id = message["run"]
        try:
            sys.path += [entry for entry in message["path"] if entry not in sys.path]
            self.run = unpack(message["job"]).open()
        except BaseException as error:
            self._report(error)
            settle(message["record"], self._id, "failed", sentence(error))
            self.tell({"event": "ended", "run": self._id, "state": "failed", "error": sentence(error)})
            return
        self._yields = self._steps = 0
        self._due = 0.0
        self._halving = False
        self.tell({"event": "begun", "run": self._id, "steps": self.run.task.steps})
        self._paused = not message.get("paused")  # so that the next line is a change
        self._pause(bool(message.get("paused")))

    def _pause(self, paused: bool) -> None:
        assert self.run is not None
        if paused != self._paused:
            self._paused = paused
            self._due = 0.0
            state = "paused" if paused else "running"
            self.run.mark(state)
            self.tell({"event": "state", "run": self._id, "state": state})

    def _halve(self, on: bool) -> None:
        """Let a method of one phase stop between credit and update too, or no longer if only a half step wanted it."""
        assert self.run is not None
        if on and not self.run.knobs.values().get("half_steps", 1):
            self.run.knobs.set(half_steps=1)
            self._halving = True
        elif not on and self._halving:
            self.run.knobs.set(half_steps=0)
            self._halving = False

    def _advance(self) -> None:
        """One yield of the method."""
        run = self.run
        assert run is not None
        began = time.monotonic()
        try:
            step = next(run)
        except StopIteration:
            self._end()
            return
        except BaseException as error:  # also what a method may raise to leave: the worker outlives it
            self._report(error)
            self._end(sentence(error))
            return
        self._yields = max(self._yields - 1, 0)
        if step.phase not in HALF_PHASES:
            self._steps = max(self._steps - 1, 0)
            self._due = began + 1 / self._speed if self._speed else 0.0
        count = {"whole": run.whole, "steps": run.task.steps}
        self.tell({"event": "row", "run": self._id, "t": step.t, "phase": step.phase, **count})

    def _end(self, error: str | None = None) -> None:
        run, self.run = self.run, None
        if run is not None:
            try:
                run.close()
            except BaseException as problem:  # in a `finally` of the method
                self._report(problem)
            self.tell({"event": "ended", "run": self._id, "state": run.status, "error": error})

    def _report(self, error: BaseException) -> None:
        lines = "".join(traceback.format_exception(error)).splitlines()
        told = [] if isinstance(error, UserError) else lines[-TAIL:]
        self.tell({"event": "error", "run": self._id, "error": sentence(error), "traceback": "\n".join(told)})


def prepare(task: Any, method: Any) -> None:
    """Do early what would delay the first step: imports, the data, and torch's first optimiser, which loads more."""
    import torch

    torch.optim.SGD([torch.zeros(1)])
    from nascore import data, methods
    from nascore import task as _  # noqa: F401

    if isinstance(method, str):
        methods.get(method)
    if isinstance(task, str):
        data.load(task)


def settle(path: Any, run: str | None, status: str, error: str | None = None) -> None:
    """Write into the recording how its run ended, for a worker that could not."""
    with contextlib.suppress(UserError):  # the run was taken back
        writer = Writer(path, run=run)
        try:
            writer.status(status, error)
        finally:
            writer.close()


def pack(job: Job | Fan | Heat) -> str:
    """A job as text, by cloudpickle, so that it may hold functions of a notebook cell."""
    import cloudpickle

    return base64.b64encode(cloudpickle.dumps(job)).decode()


def unpack(job: Job | Fan | Heat | str) -> Job | Fan | Heat:
    """A job from its text; only ever given what one's own parent process wrote."""
    import cloudpickle

    found: Job | Fan | Heat = cloudpickle.loads(base64.b64decode(job)) if isinstance(job, str) else job
    return found


def main() -> None:
    """Serve the parent process over the standard streams."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a kernel's interrupt reaches its children too
    inbox: Inbox = queue.SimpleQueue()
    # The method may read and print as it likes: it finds an empty input, and its output goes to standard error.
    commands, events = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the last lines of a method that dies are wanted too
    parent = os.getppid()

    def read() -> None:
        for line in commands:
            inbox.put(json.loads(line))
        os._exit(0)

    def watch() -> None:
        # A process forked from the parent holds our standard input open; the parent's death still shows here.
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    for target in (read, watch):
        threading.Thread(target=target, daemon=True).start()
    Worker(inbox, lambda event: print(json.dumps(event), file=events)).serve()


if __name__ == "__main__":
    main()
