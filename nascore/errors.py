"""Errors a user can act on: one sentence that names the argument, echoes its value and says what is allowed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """A bad argument. The message is one sentence; the command line prints it and exits with status 2."""


class LeftOut(UserWarning):
    """Something asked for cannot be had on this machine; the message says what is done instead, and why."""


def sentence(error: BaseException) -> str:
    """What a view or the command line says of ``error``: a ``UserError`` speaks for itself, others are named."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".rstrip(": ")


def near(value: Any, allowed: Iterable[str]) -> str:
    """`" Did you mean 'snas'?"` for the closest of `allowed`, or nothing when none is close."""
    match = difflib.get_close_matches(str(value), list(allowed), n=1)
    if not match:  # difflib minds capitals, users do not
        by_lower = {name.lower(): name for name in allowed}
        match = [by_lower[name] for name in difflib.get_close_matches(str(value).lower(), list(by_lower), n=1)]
    return f" Did you mean {match[0]!r}?" if match else ""


def choose(argument: str, value: Any, allowed: Iterable[str]) -> str:
    """`value` if it is one of `allowed`.

    Raises:
        UserError: e.g. "method: 'snass' is not one of darts, random, snas. Did you mean 'snas'?"
    """
    names = sorted(allowed)
    if isinstance(value, str) and value in names:
        return value
    raise UserError(f"{argument}: {value!r} is not one of {', '.join(names) or '(none)'}.{near(value, names)}")


def number(
    argument: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    integer: bool = False,
    unit: str = "",
) -> float | int:
    """`value` as a finite number between `low` and `high`, both included; text that spells a number counts as one.

    Raises:
        UserError: e.g. "lam: -1 is not a number from 0 to 10."
    """
    kind = "whole number" if integer else "number"
    if low is not None and high is not None:
        allowed = f"a {kind} from {low:g} to {high:g}"
    elif low is not None:
        allowed = f"a {kind} of at least {low:g}"
    elif high is not None:
        allowed = f"a {kind} of at most {high:g}"
    else:
        allowed = f"a finite {kind}"
    shown = value if isinstance(value, int | float) else repr(value)
    refusal = UserError(f"{argument}: {shown} is not {allowed}{f' {unit}' if unit else ''}.")
    if isinstance(value, bool):
        raise refusal
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise refusal from None
    if not math.isfinite(result) or (integer and result != int(result)):
        raise refusal
    if (low is not None and result < low) or (high is not None and result > high):
        raise refusal
    return int(value if isinstance(value, int) else result) if integer else result
