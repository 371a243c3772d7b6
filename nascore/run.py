"""Knobs, steps and the run: a method is a generator of `Step`s, a `Run` is the only thing that advances it.

`next(run)` is the step button, not calling it is pause, a `for` loop is a script, `itertools.islice(run, 3)` is a test.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from nascore.errors import UserError, near, number

if TYPE_CHECKING:
    from nascore.graph import CellGraph

HALF_PHASES = frozenset({"credit", "architecture"})
"""A yield in one of these phases leaves the step half done; the next yield completes it."""

Method = Callable[..., Iterator["Step"]]
"""`method(task, knobs, **options)`, a generator function. `declare` adds what the outside may know about it."""

_M = TypeVar("_M", bound=Method)


@dataclass(frozen=True)
class Metric:
    """How a number of a `Step` is shown: its name for people, its unit and its usual range (`None` = open)."""

    label: str
    unit: str = ""
    better: str = ""  # "higher", "lower" or "" where neither is better
    range: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class Knob:
    """A number that may change while a method runs, within `low` … `high`.

    `log` asks for a logarithmic slider (with `low` = 0: linear near 0); a `toggle` is 0 or 1; `group` "main" is shown
    first; `help` is one sentence on what the knob does.
    """

    value: float
    low: float
    high: float
    label: str
    unit: str = ""
    log: bool = False
    group: str = "main"
    toggle: bool = False
    help: str = ""

    def check(self, name: str, value: Any) -> float:
        """`value` as a float within the bounds; raises `UserError` otherwise."""
        return float(number(name, value, self.low, self.high, integer=self.toggle, unit=self.unit))


class Knobs:
    """The values a method reads (`knobs.lam`) and the outside writes (`knobs.set(lam=0.5)`).

    A new value is checked at once and waits until the run applies it before the next yield, so a method never sees a
    knob move inside a step. `set` may be called from another thread.
    """

    def __init__(self, **declared: Knob):
        clash = sorted(name for name in declared if hasattr(type(self), name) or name.startswith("_"))
        if clash:
            raise UserError(f"knobs: {clash[0]!r} cannot name a knob, as Knobs itself uses that name.")
        self._declared = dict(declared)
        self._values = {name: knob.check(name, knob.value) for name, knob in declared.items()}
        self._queued: dict[str, float] = {}
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> float:
        try:
            return self.__dict__["_values"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(f"There is no knob {name!r}.{near(name, self.__dict__.get('_values', ()))}") from None

    @property
    def declared(self) -> Mapping[str, Knob]:
        """The knobs as declared: defaults, bounds, labels."""
        return self._declared

    def values(self) -> dict[str, float]:
        """The values in force, without those still waiting."""
        return dict(self._values)

    def check(self, **values: Any) -> dict[str, float]:
        """`values` as floats; raises `UserError` naming the knob, the value and what is allowed. Changes nothing."""
        for name in values:
            if name not in self._declared:
                allowed = ", ".join(sorted(self._declared)) or "(none)"
                raise UserError(f"{name}: there is no such knob; the knobs are {allowed}.{near(name, self._declared)}")
        return {name: self._declared[name].check(name, value) for name, value in values.items()}

    def set(self, **values: Any) -> None:
        """Queue new values, all or none; they hold from the next yield on."""
        checked = self.check(**values)
        with self._lock:
            self._queued.update(checked)

    def apply(self) -> dict[str, float]:
        """Put the queued values in force and return those that really changed. Only `Run` calls this."""
        with self._lock:
            changed = {name: value for name, value in self._queued.items() if value != self._values[name]}
            self._queued.clear()
            self._values.update(changed)
        return changed


@dataclass(frozen=True)
class Step:
    """What a method yields: one step, or half of one.

    `probs`, `gates` and `credit` are `[group, decision, option]` (in cell spaces `[cell, edge, op]`) or None: detached
    copies of tensors while live, float32 numpy arrays from a `Recording`. `credit` is −∂L/∂gates of the task loss
    alone: positive helps, NaN = not computed. `t` is the index of the yield; `Run` sets it. `parent` is the step that a
    tree-shaped search grew this one from.
    """

    t: int
    phase: str
    metrics: Mapping[str, Any]  # float or 0-d tensor; floats once it has gone through a Run
    probs: Any = None
    gates: Any = None
    credit: Any = None
    graphs: Mapping[str, CellGraph] | None = None
    parent: int | None = None


def declare(own_rule: str = "argmax", **knobs: Knob) -> Callable[[_M], _M]:
    """Decorate a method with its knobs and the rule its paper derives a child with.

    Sets `method.knobs` (name → `Knob`), `method.own_rule`, and `method.options`: its keyword-only arguments with their
    defaults (an option is fixed for a run). With a `Literal` annotation the choices are checked by name.
    """

    def decorate(method: _M) -> _M:
        parameters = inspect.signature(method).parameters.values()
        method.knobs = knobs  # type: ignore[attr-defined]
        method.own_rule = own_rule  # type: ignore[attr-defined]
        method.options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}  # type: ignore[attr-defined]
        return method

    return decorate
