"""A fan of futures as a job for a `Runner`: the fork happens in the worker, and a button can stop it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from nascore.errors import number
from nascore.jobs import new_file
from nascore.record import Recording
from nascore.run import Knobs, Method, Step

if TYPE_CHECKING:
    from nascore.task import Task

Fork = Iterator[tuple[str, int, int]]
"""What `nascore.together.fork` gives after each step: ("again" or "fork", steps done, of how many)."""


@dataclass
class Fan:
    """Two settings of a knob, each with the same seeds, forked from a row of a recording.

    Attributes:
        source: the file of the recording.
        of: the id of its run.
        t: the first row of the futures.
        knobs: what the second half of the futures changes.
        seeds: futures of each setting.
        steps: of each future.
        method, task: by name, or functions of one's own, as in `Job`.
        record: the file the futures are appended to; None takes a new one in `./runs`.
    """

    source: Path
    of: str
    t: int
    knobs: Mapping[str, float]
    seeds: int
    steps: int
    method: str | Method
    task: str | Callable[..., Task]
    record: str | Path | None = None

    def register(self) -> str:
        """Check the arguments without importing torch, and settle the file; returns a name for the fork.

        Raises:
            UserError: an argument is wrong; nothing has been started or written.
        """
        self.source = Path(self.source).absolute()  # the worker's folder stays where it started
        recording = Recording.open(self.source, self.of)
        self.t = int(number("t", self.t, low=0, high=len(recording), integer=True))
        self.knobs = Knobs(**recording.knobs).check(**self.knobs)
        self.seeds = int(number("seeds", self.seeds, low=2, high=32, integer=True))
        self.steps = int(number("steps", self.steps, low=1, integer=True))
        if self.record is None:
            self.record = new_file(f"fan-{secrets.token_hex(2)}")
        return f"fan-{secrets.token_hex(4)}"

    def open(self) -> Forking:
        """The fork, ready to be advanced."""
        from nascore.together import fork

        recording = Recording.open(self.source, self.of)
        method = None if isinstance(self.method, str) else self.method
        task = None if isinstance(self.task, str) else self.task
        generator = fork(recording, self.t, self.knobs, self.seeds, self.steps, self.record, method, task)
        return Forking(generator, self.steps)


class Forking(Iterator[Step]):
    """A fork as a worker advances it; its steps hold nothing, for the rows are in the recordings."""

    def __init__(self, generator: Fork, steps: int):
        self.status = "starting"
        self.whole = 0
        self.knobs = Knobs()
        self.task = SimpleNamespace(steps=steps)
        self._generator = generator

    def __next__(self) -> Step:
        try:
            what, self.whole, self.task.steps = next(self._generator)
        except StopIteration:
            self.status = "finished"
            raise
        except BaseException:
            self.status = "failed"
            raise
        return Step(self.whole, what, {})

    def mark(self, status: str) -> None:
        """Take note of "running" or "paused"."""
        self.status = status

    def close(self) -> None:
        """End the fork here; the rows written stay."""
        if self.status not in ("finished", "failed"):
            self.status = "stopped"
        self._generator.close()  # type: ignore[attr-defined]
