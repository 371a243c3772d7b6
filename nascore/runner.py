"""The runner: a search in a process (or a thread) of its own, steered from here, so that the kernel stays free.

The worker writes the recording and this side reads it; the pipe between them carries commands and events only.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal
from weakref import WeakSet

from nascore import worker
from nascore.errors import UserError, choose, number
from nascore.fan import Fan
from nascore.heat import Heat
from nascore.jobs import Job
from nascore.record import Writer
from nascore.worker import Message

ON = frozenset({"starting", "running", "paused"})
"""States in which a run is under way."""

LOG_LINES = 60
_PATIENCE = 3.0  # seconds from "close" to the end of a worker that is inside a step
_LIVING: WeakSet[Runner] = WeakSet()


class Runner:
    """Does jobs one at a time, away from the caller; every method returns at once.

    Args:
        kind: "process", or "thread" where no process can be started: a crash of the method may then take this process
            along, a step in flight cannot be cut short, and the method competes with everything else here.
        notify: called, from another thread, whenever `drain` has something new.

    Attributes:
        state: "idle", then that of the run begun last: "starting", "running", "paused", "finished", "stopped",
            "failed"; "closed" at the end.
        job: the job begun last.
    """

    def __init__(self, kind: Literal["process", "thread"] = "process", notify: Callable[[], None] | None = None):
        self.kind: str = choose("kind", kind, ("process", "thread"))
        self.notify = notify
        self.state = "idle"
        self.job: Job | Fan | Heat | None = None
        self._run: str | None = None  # the id of its run, which a job that was refused forgets
        self._speed: float | None = None
        self._events: SimpleQueue[Message] = SimpleQueue()
        self._worker: _Process | _Thread | None = None
        self._lock = threading.Lock()  # the worker and the state change in the caller's thread and in the listener's
        _LIVING.add(self)

    def prepare(self, method: Any = "snas", task: Any = "digits") -> None:
        """Start the worker now and let it import what it needs, so that a run's first step comes soon."""
        self._still_open()
        with self._lock:
            if self._worker is not None:
                return
            self._worker = _Process(self._receive) if self.kind == "process" else _Thread(self._receive)
        names = {"method": method, "task": task}
        self._send("prepare", **{name: value for name, value in names.items() if isinstance(value, str)})

    def begin(self, job: Job | Fan | Heat, paused: bool = False) -> str:
        """Send a job to the worker; a run that is under way is stopped first.

        Returns:
            The id of the run in `job.record`, where it can be read at once.

        Raises:
            UserError: an argument is wrong, or the method cannot be sent to another process.
        """
        self._still_open()
        run = job.register()
        assert job.record is not None
        job.record = Path(job.record).absolute()  # the worker's folder stays where it started
        try:
            packed = job if self.kind == "thread" else worker.pack(job)
        except Exception as error:
            Writer(job.record, run=run).withdraw()
            raise UserError(
                f"method: {job.method!r} cannot be sent to a process of its own ({error}); "
                "define it without open files, locks or widgets, or use Runner(kind='thread')."
            ) from error
        self.prepare(job.method, job.task)
        self.job, self._run, self.state = job, run, "starting"
        self._send("begin", job=packed, path=list(sys.path), run=run, record=str(job.record), paused=paused)
        self._send("speed", value=self._speed)
        return run

    def set(self, **knobs: float) -> None:
        """New knob values, in force from the next yield on; a refusal comes as an "error" event."""
        self._send("set", knobs=knobs)

    def pause(self) -> None:
        """Stop advancing after the yield in flight."""
        self._send("pause")

    def resume(self) -> None:
        """Go on until the end."""
        self._send("resume")

    def step(self) -> None:
        """Go on to the end of a whole step, then pause."""
        self._send("step")

    def half_step(self) -> None:
        """Go on by one yield, then pause. Switches the knob `half_steps` on where the method has one."""
        self._send("half_step")

    def speed(self, steps_per_second: float | None) -> None:
        """Slow the run down to so many whole steps a second; None is as fast as it goes."""
        self._speed = None if steps_per_second is None else float(number("speed", steps_per_second, low=0.01))
        self._send("speed", value=self._speed)

    def stop(self) -> None:
        """End the run after the yield in flight; what it recorded stays, and the worker waits for the next job."""
        self._send("stop")

    def drain(self) -> list[Message]:
        """The events since the last call; `nascore.worker.Worker` lists them."""
        events = []
        while True:
            try:
                events.append(self._events.get_nowait())
            except Empty:
                return events

    @property
    def pid(self) -> int | None:
        """The worker's process, while there is one."""
        return self._worker.process.pid if isinstance(self._worker, _Process) else None

    @property
    def log(self) -> str:
        """The end of what the method printed."""
        return "" if self._worker is None else "".join(self._worker.log)

    def close(self) -> None:
        """End the worker: politely, then, a little later, by force."""
        end = self._close()
        if end is not None:
            threading.Thread(target=end, daemon=True).start()

    def _close(self, patience: float = _PATIENCE) -> Callable[[], None] | None:
        """Ask the worker to end; returns what waits for that, no longer than `patience` seconds."""
        found, self._worker = self._worker, None
        was_on, self.state = self.state in ON, "closed"
        if found is not None:
            found.close()
        if not isinstance(found, _Process):
            return None
        job, run, process = self.job, self._run, found

        def end() -> None:
            if process.end(patience) and was_on and job is not None:
                worker.settle(job.record, run, "stopped")  # it was cut off inside a step

        return end

    def _still_open(self) -> None:
        if self.state == "closed":
            raise UserError("runner: it is closed; make a new one.")

    def _send(self, command: str, **more: Any) -> None:
        self._still_open()
        if self._worker is not None:
            self._worker.send({"do": command, **more})

    def _receive(self, event: Message) -> None:
        """Called from the thread that listens to the worker."""
        if event["event"] == "died":
            with self._lock:
                self._worker = None
            if self.job is None or self.job.record is None or self.state not in ON:
                return  # nothing was lost; the next job starts another worker
            worker.settle(self.job.record, self._run, "failed", event["error"])
            event = {"event": "ended", "run": self._run, "state": "failed", "error": event["error"]}
        ours = event.get("run") == self._run  # not of a run that was replaced since
        if ours and self.state != "closed" and "state" in event:
            self.state = event["state"]
        self._events.put(event)
        if self.notify is not None:
            self.notify()


class _Process:
    """A worker process and the threads that listen to it."""

    def __init__(self, receive: Callable[[Message], None]):
        self.receive = receive
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.asked = False  # whether the end was asked for
        self.writing = threading.Lock()
        path = os.pathsep.join(filter(None, sys.path))  # what can be imported here can be imported there
        # Beside a browser two threads are slower than one, and one that waits must not spin.
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nascore.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONPATH": path, **threads},
        )
        self.prints = threading.Thread(target=self.keep_log, daemon=True)
        self.prints.start()
        threading.Thread(target=self.listen, daemon=True).start()

    def keep_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.log.append(line)

    def listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with suppress(json.JSONDecodeError):  # a line that the worker's end cut
                    self.receive(json.loads(line))
        code = self.process.wait()
        self.prints.join(1)  # a child of the worker may hold its standard error open
        self.close_pipe()
        if not self.asked:
            said = "".join(self.log).strip().splitlines()[-worker.TAIL :]
            self.receive({"event": "died", "error": "\n".join([f"The worker ended with status {code}.", *said])})

    def send(self, message: Message) -> None:
        assert self.process.stdin is not None
        with self.writing, suppress(BrokenPipeError, ValueError):  # it has just ended: `listen` tells
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def close(self) -> None:
        self.asked = True
        self.send({"do": "close"})

    def end(self, patience: float) -> bool:
        """Wait for the end; returns whether it took force."""
        try:
            self.process.wait(patience)
            forced = False
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            forced = True
        self.close_pipe()
        return forced

    def close_pipe(self) -> None:
        assert self.process.stdin is not None
        with self.writing, suppress(BrokenPipeError):  # a command it did not live to read
            self.process.stdin.close()


class _Thread:
    """The worker as a thread of this process; what it prints goes where this process prints."""

    def __init__(self, receive: Callable[[Message], None]):
        self.log: deque[str] = deque()
        self.inbox: worker.Inbox = SimpleQueue()
        threading.Thread(target=worker.Worker(self.inbox, receive).serve, daemon=True).start()

    def send(self, message: Message) -> None:
        self.inbox.put(message)

    def close(self) -> None:
        self.send({"do": "close"})


@atexit.register
def _close_all() -> None:
    """No worker outlives this process, whose daemon threads cannot see to it any more."""
    for end in [runner._close(0.5) for runner in list(_LIVING)]:  # noqa: SLF001
        if end is not None:
            end()  # here: an ending interpreter starts no threads
