"""A controller at work: the decisions it makes in a row, how likely each option is given those before it, and how much
each depends on the earlier ones.

``controller`` opens the panel. A click takes another option: what comes after it answers at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

import torch
from safetensors.torch import load, load_file
from torch import Generator, Tensor

from nascore import toys
from nascore.controllers import FREE, LSTM, Bounds, Decision, Policy, decisions_of, dependence
from nascore.errors import UserError, choose, number, sentence
from nascore.record import Recording
from nascore.runner import ON
from nasviz.charts import Chart
from nasviz.frames import brief, space_of
from nasviz.labs.controller_picture import FAINT, HEIGHT, WIDTH, headings, option_name, picture, still
from nasviz.markup import sheet
from nasviz.widgets import Shown
from nasviz.widgets.controller import ControllerView

__all__ = ["Controller", "Course", "controller"]

SHIPPED = ("digits-enas-free",)
TOYS: dict[str, toys.Controller] = {"xor": "lstm", "xor, factorised": "factorised"}
STEPS, APART = 150, 10  # of a toy: how long it learns, and how many steps are between two moments
WEAK = 0.02  # total variation that is called next to nothing
PATHS = 12  # children whose mean the dependence is


@dataclass
class Course:
    """A controller at some moments of its learning.

    Attributes:
        title: whose controller it is.
        policy: takes the numbers of the moment that is looked at.
        bounds: of its logits.
        moments: when, as words → its numbers then.
        recording: what more moments may come from, if it still runs.
    """

    title: str
    policy: Policy
    bounds: Bounds = FREE
    moments: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)
    recording: Recording | None = None

    def grow(self) -> bool:
        """Add the checkpoints that the recording has got since the last look; whether there were any."""
        if self.recording is None:
            return False
        self.recording.refresh()
        known, upto = len(self.moments), len(self.recording)
        newer: dict[str, Mapping[str, Tensor]] = {}
        while (found := self.recording.checkpoint(upto)) is not None and (
            name := f"row {found[0]}"
        ) not in self.moments:
            newer[name], upto = numbers(found[2]), found[0] - 1
        self.moments |= dict(reversed(newer.items()))
        return len(self.moments) > known


def numbers(checkpoint: bytes) -> dict[str, Tensor]:
    """A controller's parameters in a run's checkpoint, which holds what the method's clock owns by name."""
    own = "/owned/controller/"
    return {name.removeprefix(own): value for name, value in load(checkpoint).items() if name.startswith(own)}


@cache
def learnt(kind: toys.Controller) -> Mapping[str, Mapping[str, Tensor]]:
    """The moments of a policy that learns the toy."""
    return {
        f"step {step}": {name: value.clone() for name, value in policy.state_dict().items()}
        for step, policy in enumerate(islice(toys.climb(kind), STEPS + 1))
        if step % APART == 0
    }


def course(source: Recording | str) -> Course:
    """What `controller` shows.

    Raises:
        UserError: no such source, or a recording without a controller.
    """
    if isinstance(source, str) and source in TOYS:
        kind = TOYS[source]
        title = {"lstm": "XOR, an LSTM", "factorised": "XOR, a factorised policy"}[kind]
        return Course(title, next(toys.climb(kind)), FREE, dict(learnt(kind)))
    if isinstance(source, str) and source not in SHIPPED:
        choose("source", source, (*SHIPPED, *TOYS))
    recording = Recording.open(source) if isinstance(source, str) else source
    if recording.meta.get("method") != "enas":
        raise UserError(f"source: the recording is of {recording.meta.get('method')!r}, which has no controller.")
    values, options = recording.values(), recording.meta["options"]
    bounds = Bounds(values["tanh_constant"], values["op_tanh_reduce"], values["temperature"])
    policy = LSTM(decisions_of(space_of(recording), options.get("cell", "edges")), Generator(), "enas")
    title = f"ENAS on {recording.meta['task']}"
    if isinstance(source, str):
        stored = load_file(str(files("nascore") / "recordings" / f"{source}.safetensors"))
        rows = sorted({int(name.partition("/")[0]) for name in stored})
        moments: dict[str, Mapping[str, Tensor]] = {
            f"row {row}": {
                name.partition("/")[2]: each.float() for name, each in stored.items() if name.startswith(f"{row}/")
            }
            for row in rows
        }
        return Course(title, policy, bounds, moments)
    found = Course(title, policy, bounds, recording=recording)
    found.grow()
    if not found.moments:
        raise UserError(
            f"source: the run {recording.id} has no checkpoint to read a controller from; give the recording of a run "
            "that was recorded to a file, before it is saved for sharing."
        )
    return found


class Controller(Shown):
    """The panel, made by `controller`. What its controls do can be done by calls too.

    Attributes:
        course: the controller and its moments.
        at: which moment is looked at.
        drawn: [decision], the options of the child as it was drawn.
        taken: the same with those that the reader has chosen.
    """

    def __init__(self, source: Course, at: int = -1, seed: int = 0):
        self.course, self._noise = source, Generator().manual_seed(seed)
        self._view: ControllerView | None = None
        self._error = ""
        self.at = range(len(source.moments))[at]
        self._load()
        self.draw()
        super().__init__(lambda: self.picture().svg(), self.text(), self.widget)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What is decided, in order."""
        return self.course.policy.decisions

    # -- what the controls do

    def look(self, at: int) -> None:
        """Look at another moment; the child stays."""
        self.at = int(number("at", at, 0, len(self.course.moments) - 1, integer=True))
        self._load()
        self._tell()

    def draw(self) -> None:
        """Draw another child from the controller as it is."""
        found = self.course.policy.sample(1, self._noise, self.course.bounds).taken[0]
        self.drawn = found.argmax(-1).tolist()
        self.taken = list(self.drawn)
        self._tell()

    def take(self, decision: int, option: int) -> None:
        """Take another option in one decision; all others stay, their probabilities need not."""
        t = int(number("decision", decision, 0, len(self.decisions) - 1, integer=True))
        k = int(number("option", option, 0, len(self.decisions[t].options) - 1, integer=True))
        if not bool(self.course.policy.allowed[t, k]):
            raise UserError(
                f"option: {option_name(self.decisions[t], k)!r} is not allowed in {self.decisions[t].name!r}."
            )
        self.taken[t] = k
        self._tell()

    def release(self) -> None:
        """Back to the child as it was drawn."""
        self.taken = list(self.drawn)
        self._tell()

    def refresh(self) -> None:
        """Look for newer moments of a run that goes on, and at the newest if that was looked at."""
        newest = self.at == len(self.course.moments) - 1
        if self.course.grow() and newest:
            self.at = len(self.course.moments) - 1
            self._load()
        self._tell()

    def hear(self, name: str, payload: Mapping[str, Any]) -> None:
        """Obey a command of the controls; what goes wrong is shown."""
        self._error = ""
        try:
            match name:
                case "look":
                    self.look(payload["at"])
                case "draw":
                    self.draw()
                case "take":
                    self.take(payload["decision"], payload["option"])
                case "release":
                    self.release()
                case "refresh":
                    self.refresh()
        except Exception as error:  # an exception in a callback would only reach the log
            self._error = sentence(error)
            self._tell()

    # -- what is shown

    @torch.no_grad()
    def probabilities(self, taken: Sequence[int]) -> Tensor:
        """p[decision, option] given the options taken before each decision."""
        return self.course.policy(self._path(taken), self.course.bounds).p[0]  # type: ignore[no-any-return]

    @property
    def forced(self) -> list[int]:
        """The decisions that are not as they were drawn."""
        return [t for t, (a, b) in enumerate(zip(self.taken, self.drawn, strict=True)) if a != b]

    def text(self) -> str:
        """What the picture says, in words."""
        likely = float(self.course.policy(self._path(self.taken), self.course.bounds).log_likelihood[0].detach())
        uniform = -float(self.course.policy.allowed.sum(-1).double().log().sum())
        ratio = math.exp(likely - uniform)
        times = brief(ratio) if ratio < 1000 else f"{float(f'{ratio:.2g}'):,.0f}".replace(",", " ")
        parts = [f"This child has probability {math.exp(likely):.2g}, {times} times that of a uniform choice."]
        strongest = float(self._dependence.max())
        if strongest < FAINT:
            much = "at all" if strongest == 0 else f"by more than {brief(strongest)}"
            parts.append(f"No decision moves a later one {much}.")
        else:
            s, t = divmod(int(self._dependence.argmax()), len(self.decisions))
            parts.append(
                f"Arcs: how far the probabilities of a decision move (total variation, 0 to 1) if one earlier decision "
                f"alone is another, in the mean of {PATHS} children. Strongest: {self._name(s)} moves "
                f"{self._name(t)} by {brief(strongest)}."
            )
            if strongest < WEAK:
                parts.append("That is next to nothing: this controller decides as if its decisions were independent.")
        if self.forced:
            parts.append("Framed: what you have chosen. Narrow bars: the probabilities before.")
        return " ".join(parts)

    def shown(self) -> dict[str, Any]:
        """What the panel draws, as plain JSON data."""
        moments = list(self.course.moments)
        grows = self.course.recording is not None and self.course.recording.status in ON
        return {
            "title": self.course.title,
            "svg": sheet(WIDTH, HEIGHT, self._body(), self.text()),
            "said": self.text(),
            "moments": moments,
            "at": self.at,
            "forced": self.forced,
            "taken": self.taken,
            "options": [[k for k, ok in enumerate(row) if ok] for row in self.course.policy.allowed.tolist()],
            "grows": grows,
        }

    def picture(self, theme: str = "light") -> Chart:
        """The panel as a still picture."""
        title = f"{self.course.title}: the controller at {list(self.course.moments)[self.at]}"
        return Chart(still(title, self.text(), self._body(), theme), f"{title}. {self.text()}")

    def widget(self) -> ControllerView:
        """The live form; always the same one."""
        if self._view is None:
            self._view = ControllerView(shown=self.shown(), status={})
            self._view.on_command(self.hear)
        return self._view

    def _name(self, t: int) -> str:
        """How people read decision ``t``, of several with the same name which."""
        names = [" ".join(filter(None, each)) for each in headings(self.decisions)]
        alike = [k for k, name in enumerate(names) if name == names[t]]
        return names[t] + (f" {alike.index(t) + 1}" if len(alike) > 1 else "")

    def _load(self) -> None:
        policy, bounds = self.course.policy, self.course.bounds
        policy.load_state_dict(list(self.course.moments.values())[self.at])
        some = policy.sample(PATHS, Generator().manual_seed(0), bounds).taken
        self._dependence = dependence(policy, some, bounds)

    def _path(self, taken: Sequence[int]) -> Tensor:
        return torch.eye(self.course.policy.allowed.shape[1])[list(taken)][None]

    def _body(self) -> str:
        p, drawn = (self.probabilities(taken).double().numpy() for taken in (self.taken, self.drawn))
        return picture(self.decisions, p, drawn, self.taken, self.forced, self._dependence.double().numpy())

    def _tell(self) -> None:
        if self._view is not None:
            self._text = self.text()
            with self._view.hold_sync():
                self._view.shown = self.shown()
                self._view.status = {"error": self._error}


def controller(source: Recording | str = "digits-enas-free", at: int = -1, seed: int = 0) -> Controller:
    """A controller's decisions in a row: click an option to take it, and see what comes after answer.

    Args:
        source: "digits-enas-free", a search with ENAS let off its bounds; "xor" or "xor, factorised", the toys of
            `nascore.toys.xor`; or the recording of a run of ENAS that was recorded to a file, also while it runs: its
            checkpoints hold the controller.
        at: which moment of its learning, the last by default.
        seed: of the children that are drawn.

    Raises:
        UserError: an argument is not allowed, or the recording holds no controller.
    """
    found = course(source)
    count = len(found.moments)
    return Controller(found, int(number("at", at, -count, count - 1, integer=True)), seed)
