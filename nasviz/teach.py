"""The pieces a lesson is made of: predict → do → notice → check.

* :func:`predict` asks before the figure is touched; the answer stays locked until a choice is made.
* :func:`check` turns an exercise into assertions that answer with a hint instead of a traceback.

Both show plain text where no widget can live (``NASVIZ_STATIC=1``, GitHub, a dead kernel).
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Prediction", "Verdict", "check", "predict"]

_FRAME = (
    "border-left:4px solid {colour};padding:6px 12px;margin:4px 0;border-radius:4px;"
    "background:var(--jp-layout-color2,#f4f5f7);color:var(--jp-ui-font-color1,#1d2530)"
)
_BLUE, _GREEN, _AMBER = "#1f6feb", "#1a9e55", "#b7791f"


def _note(text: str, colour: str) -> str:
    return f'<div style="{_FRAME.format(colour=colour)}">{html.escape(text)}</div>'


@dataclass(frozen=True)
class Verdict:
    """What :func:`check` found. ``passed`` is what the tests of the notebooks read."""

    passed: bool
    text: str

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": _note(self.text, _GREEN if self.passed else _AMBER)}


def check(*conditions: tuple[str, Callable[[], object]], done: str = "Right.") -> Verdict:
    """Try each ``(hint, condition)`` in turn; the first that is false or raises gives its hint.

    A condition is a function without arguments, so that a stub left as ``...`` is caught here and
    answered with the hint rather than with a traceback.
    """
    for hint, condition in conditions:
        try:
            fine, trouble = bool(condition()), ""
        except Exception as error:  # a student's half-written answer may raise anything
            fine, trouble = False, f" ({type(error).__name__}: {error})"
        if not fine:
            return Verdict(False, f"Not yet: {hint}{trouble}")
    return Verdict(True, f"✓ {done}")


@dataclass(frozen=True)
class Prediction:
    """A question with choices. ``answer`` may be a function: it is called only on *Reveal*."""

    question: str
    choices: tuple[str, ...]
    answer: str | Callable[[], str]
    because: str | Callable[[], str] = ""

    def verdict(self, choice: str) -> Verdict:
        """Compare a choice with the answer, as the *Reveal* button does."""
        answer = self.answer() if callable(self.answer) else self.answer
        if answer not in self.choices:
            raise ValueError(f"predict: the answer {answer!r} is not one of the choices {', '.join(self.choices)}")
        because = self.because() if callable(self.because) else self.because
        start = "✓ As you predicted:" if choice == answer else f"You said “{choice}”. It is:"
        return Verdict(choice == answer, f"{start} {answer}. {because}".strip())

    def _plain(self) -> str:
        return "\n".join([f"Predict first: {self.question}", *(f"  ○ {choice}" for choice in self.choices)])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if os.environ.get("NASVIZ_STATIC") == "1":
            rows = "".join(f"<div>○ {html.escape(choice)}</div>" for choice in self.choices)
            question = f"<b>Predict first.</b> {html.escape(self.question)}"
            frame = f'<div style="{_FRAME.format(colour=_BLUE)}">{question}{rows}</div>'
            return {"text/plain": self._plain(), "text/html": frame}
        return self.widget()._repr_mimebundle_(**options)

    def widget(self) -> Any:
        """The live form: radio buttons and a *Reveal* button that unlocks with the first choice."""
        import ipywidgets as widgets

        question = widgets.HTML(f"<b>Predict first.</b> {html.escape(self.question)}")
        radio = widgets.RadioButtons(options=list(self.choices), value=None, layout={"width": "auto"})
        reveal = widgets.Button(description="Reveal", disabled=True, tooltip="choose an answer first")
        outcome = widgets.HTML()

        def chosen(_: object) -> None:
            reveal.disabled, reveal.tooltip = False, "show the answer"

        def shown(_: object) -> None:
            try:
                verdict = self.verdict(radio.value)
                outcome.value = _note(verdict.text, _GREEN if verdict.passed else _AMBER)
            except Exception as error:  # an exception in a callback would only reach the log
                outcome.value = _note(f"{type(error).__name__}: {error}", _AMBER)
            radio.disabled = reveal.disabled = True  # a prediction made after the fact is none

        radio.observe(chosen, "value")
        reveal.on_click(shown)
        return widgets.VBox([question, radio, reveal, outcome], layout={"padding": "4px 0"})


def predict(
    question: str,
    choices: Sequence[str],
    answer: str | Callable[[], str],
    because: str | Callable[[], str] = "",
) -> Prediction:
    """Ask before the figure is touched. ``answer`` and ``because`` may be computed from a recording.

    Raises ``ValueError`` when a fixed answer is not among the choices.
    """
    if len(choices) < 2:
        raise ValueError(f"predict: needs at least two choices, got {list(choices)!r}")
    if isinstance(answer, str) and answer not in choices:
        raise ValueError(f"predict: the answer {answer!r} is not one of the choices {', '.join(choices)}")
    return Prediction(question, tuple(choices), answer, because)
