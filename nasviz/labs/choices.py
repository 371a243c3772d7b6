"""Two choices, every method: menus that put a search together, its text beside them, and a cockpit that runs it.

`two_choices` opens the panel; `grid` is the map of all combinations, `matrix` the table of the method files. What is
assembled and why something does not go together is decided in `nascore.choices`.
"""

from __future__ import annotations

import difflib
import html
import io
import keyword
import time
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from nascore import choices
from nascore.choices import COMBINATIONS, CREDIT, GATES, LEVELS, Combination, assemble, named
from nascore.errors import sentence
from nascore.record import Recording, runs, shipped
from nascore.run import Method, Step, Traits
from nasviz.charts import INK, Chart
from nasviz.host import Cockpit, live
from nasviz.labs.drawing import PAPER, WIDTH, box, line, picture, text
from nasviz.labs.race import NAMES
from nasviz.theme import colour
from nasviz.widgets import Shown
from nasviz.widgets.choices import ChoicesView

if TYPE_CHECKING:
    from nascore.runner import Runner
    from nascore.task import Task

__all__ = [
    "TwoChoices",
    "called",
    "draws",
    "first",
    "grid",
    "listing",
    "marked",
    "matrix",
    "passes",
    "recorded",
    "rows",
    "two_choices",
]

COMPARE = 1.0  # seconds between two comparisons of a live run with the recording
LIT = "#e6f4ec"  # the ground of a combination with a name
GOOD = "#1a9e55"
INKS = {
    "comment": INK["soft"],
    "keyword": "#8a3ffc",
    "string": "#0f766e",
    "number": "#b45309",
    "name": INK["focus"],
}

MARKS = {"new": ("+", "#e3edfb"), "gone": ("−", "#fbe9e9"), "": ("", "")}

Line = dict[str, Any]
"""A line of code: its tokens `[[kind, text], …]`, and its mark: "new", "gone" or ""."""


def called(name: str, options: Mapping[str, Any] | None = None) -> str:
    """A method and its options for people: "DARTS, level = single"."""
    more = [f"{option.replace('_', '-')} = {value}" for option, value in (options or {}).items()]
    return ", ".join([NAMES.get(name, name.upper()), *more])


@cache
def recorded(name: str, **options: Any) -> str:
    """The shipped recording of a method on the usual digits, with these options and its own knobs; "" without one."""
    from nascore import methods

    defaults: dict[str, Any] = methods.get(name).options  # type: ignore[attr-defined]
    for title, path in shipped().items():
        if not runs(path, method=name, task="digits"):
            continue
        recording = Recording.open(title)
        meta, own = recording.meta, {key: knob.value for key, knob in recording.knobs.items()}
        task = {key: value for key, value in meta["task_spec"].items() if value is not None}
        usual = not recording.script() and recording.values(0) == own and task.keys() <= {"name", "seed", "device"}
        if usual and {**defaults, **meta.get("options", {})} == {**defaults, **options}:
            return title
    return ""


# ---------------------------------------------------------------------------------------------------- the text


def marked(source: str, before: str = "") -> list[Line]:
    """The generator in `source`, without its imports, with what differs from that in `before` marked."""
    new, old = _body(source), _body(before)
    if not old:
        return [{"tokens": tokens, "mark": ""} for tokens in _tokens(new)]
    shown, gone = _tokens(new), _tokens(old)
    found: list[Line] = []
    # The first two lines, name and title, differ in any case.
    matcher = difflib.SequenceMatcher(None, ["def", '"""', *old[2:]], ["def", '"""', *new[2:]], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        found += [{"tokens": tokens, "mark": "gone"} for tokens in gone[a:b] if kind != "equal"]
        found += [{"tokens": tokens, "mark": "" if kind == "equal" else "new"} for tokens in shown[c:d]]
    return found


def _body(source: str) -> list[str]:
    lines = source.splitlines()
    return lines[next((k for k, each in enumerate(lines) if each.startswith("def ")), len(lines)) :]


def _tokens(lines: list[str]) -> list[list[list[str]]]:
    """For every line its pieces `[kind, text]`: "keyword", "string", "number", "comment", "name" or ""."""
    kinds = {tokenize.COMMENT: "comment", tokenize.STRING: "string", tokenize.NUMBER: "number"}
    found: list[list[list[str]]] = [[] for _ in lines]
    ends, previous = [0] * len(lines), ""
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
        (row, start), (last, end) = token.start, token.end
        if not token.string.strip() or row != last or row > len(lines):
            continue
        kind = kinds.get(token.type, "")
        if token.type == tokenize.NAME:
            kind = "keyword" if keyword.iskeyword(token.string) else "name" if previous == "def" else ""
        if start > ends[row - 1]:
            found[row - 1].append(["", lines[row - 1][ends[row - 1] : start]])
        found[row - 1].append([kind, token.string])
        ends[row - 1], previous = end, token.string
    return found


# --------------------------------------------------------------------------------------------------- the panel


class TwoChoices(Shown):
    """The panel and its cockpit, made by `two_choices`. What its controls do can be done by calls too.

    Attributes:
        combination: what is shown: gates, credit, levels.
        asked: what was asked for last; it may be something that does not run.
        at_once: whether a switch starts the search; otherwise its recording is shown, or nothing yet.
        cockpit: what runs it.
    """

    def __init__(self, combination: Combination, cockpit: Cockpit):
        self.combination = self.asked = combination
        self.cockpit = cockpit
        self.at_once = True
        self._before = ""  # the text of the combination before
        self._error = self._same = ""
        self._compared = 0.0
        self._view: Any = None
        self._panel: ChoicesView | None = None
        super().__init__(self._draw, f"Two choices: {choices.title(*combination)}", self._display)

    # -- what the controls do

    def choose(self, gates: str | None = None, credit: str | None = None, levels: int | None = None) -> None:
        """Turn to another combination; None leaves a choice. One that does not run is refused in the panel."""
        before = self.asked
        self.asked = choices.words(gates or before[0], credit or before[1], levels or before[2])
        self._error = ""
        if not choices.refusal(*self.asked) and self.asked != self.combination:
            self._before, self.combination = self.source, self.asked
            self._same = ""
            self._turn(run=self.at_once)
        self._tell()

    def take_nearest(self) -> None:
        """Turn to the combination that runs and differs least from what was asked for."""
        self.choose(*choices.nearest(*self.asked))

    def restore(self) -> None:
        """Show the shipped recording of the method file that this combination is."""
        self._turn(run=False)

    @property
    def source(self) -> str:
        """The text that runs."""
        return _source(self.combination)

    @property
    def recording(self) -> str:
        """The shipped recording of the method file that this combination is; "" without one."""
        return _recording(self.combination)

    def _turn(self, run: bool) -> None:
        shown = Recording.open(self.recording) if self.recording else None
        self.cockpit.turn(assemble(*self.combination), shown, run)

    def same(self) -> str:
        """One sentence on how the run that is shown compares with the method file's recording; "" if it cannot be."""
        run, title = self.cockpit.recording, self.recording
        if not title or run.meta.get("method") != choices.identifier(*self.combination) or not len(run):
            return ""
        known = Recording.open(title)
        rows = min(len(run), len(known))
        if any(run.meta.get(name) != known.meta.get(name) for name in ("task", "seed", "steps")):
            return ""
        if run.script(upto=rows) != known.script(upto=rows):
            return ""
        pairs: list[tuple[Any, Any]] = [
            (run.column(name)[:rows], known.column(name)[:rows]) for name in ("probs", "gates", "credit")
        ]
        pairs.append((run.metric("loss")[:rows], known.metric("loss")[:rows]))
        whose = called(*named(*self.combination) or ("",))
        if all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
            return (
                f"{rows} rows so far: gates, probabilities, credit and loss have the bits of the recording of {whose}."
            )
        far = max(float(np.nanmax(abs(a - b), initial=0)) for a, b in pairs)
        return f"{rows} rows so far differ from the recording of {whose}, which another machine made, by {far:.1g}."

    # -- what is shown

    def shown(self) -> dict[str, Any]:
        """What is drawn, as plain JSON data: the widget reads only this."""
        refused = choices.refusal(*self.asked)
        name = named(*self.combination)
        gates, credit, levels = self.asked
        menus = {
            "gates": [[one, choices.refusal(one, credit, levels), GATES[one].help] for one in GATES],
            "credit": [[one, choices.refusal(gates, one, levels), CREDIT[one].help] for one in CREDIT],
            "levels": [[str(one), choices.refusal(gates, credit, one), LEVELS[one]] for one in LEVELS],
        }
        return {
            "menus": menus,
            "asked": [gates, credit, str(levels)],
            "title": choices.title(*self.combination),
            "name": called(*name) if name else "",
            "file": f"nascore/methods/{name[0]}.py" if name else "",
            "recording": self.recording,
            "about": [
                ["gates", GATES[gates].help, GATES[gates].equation],
                ["credit", CREDIT[credit].help, CREDIT[credit].equation],
                ["levels", LEVELS[levels], ""],
            ],
            "lines": marked(self.source, self._before),
            "source": self.source,
            "refused": refused,
            "nearest": choices.title(*choices.nearest(*self.asked)) if refused else "",
            "at_once": self.at_once,
        }

    def status(self) -> dict[str, Any]:
        """What changes while a search runs."""
        return {"same": self._same, "error": self._error}

    def _tell(self) -> None:
        if self._panel is not None:
            self._panel.shown = self.shown()
            self._panel.status = self.status()

    def hear(self, name: str, payload: Mapping[str, Any]) -> None:
        """A command of the controls; what it raises is shown in the panel."""
        with self._told():
            match name:
                case "choose":
                    self.choose(**payload)
                case "nearest":
                    self.take_nearest()
                case "restore":
                    self.restore()
                case "at_once":
                    self.at_once = bool(payload["value"])
                    self._tell()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._error = sentence(error)
            self._tell()

    def _display(self) -> Any:
        import ipywidgets as widgets

        if self._view is None:
            self._panel = ChoicesView(shown=self.shown(), status=self.status())
            self._panel.on_command(self.hear)
            below = self.cockpit.widget()
            below.observe(lambda _: self._compare(), "status")
            self._view = widgets.VBox([self._panel, below], layout={"width": "100%"})
        return self._view

    def _compare(self) -> None:
        """Called with every picture of the cockpit."""
        done = self.cockpit.runner.state not in ("starting", "running")
        if not done and time.monotonic() < self._compared + COMPARE:
            return
        self._compared = time.monotonic()
        with self._told():
            found = self.same()
            if found != self._same:
                self._same = found
                assert self._panel is not None
                self._panel.status = self.status()

    def _draw(self) -> str:
        return listing(self.combination).svg()


def two_choices(
    gates: str = "softmax",
    credit: str = "through",
    levels: int = 2,
    task: str | Callable[..., Task] = "digits",
    seed: int = 0,
    epochs: int | None = None,
    record: str | Path | None = None,
    runner: Runner | None = None,
) -> TwoChoices:
    """Put a search together from its two choices and watch it run.

    Args:
        gates: how they are drawn, a name in `nascore.choices.GATES`.
        credit: how it returns, a name in `nascore.choices.CREDIT`.
        levels: 1 or 2.
        task: a built-in task, or a function `(seed=, epochs=) -> Task`.
        seed: of new runs.
        epochs: of new runs; None takes what the task was tuned for.
        record: the file that new runs are appended to; None takes a new file in `./runs` for each.
        runner: what advances them; by default a process of its own.

    With `NASVIZ_STATIC=1` only a picture is shown, and nothing is started.

    Raises:
        UserError: an argument is wrong, or the choices do not go together; the message says what does.
    """
    combination = choices.check(gates, credit, levels)
    method, title = assemble(*combination), _recording(combination)
    first = Recording.open(title) if title and task == "digits" else live(method, task, seed, epochs).recording
    return TwoChoices(combination, Cockpit(first, method, task, seed, epochs, record, runner=runner))


def _recording(combination: Combination) -> str:
    """The shipped recording of the method file that a combination is; "" without one."""
    found = named(*combination)
    return recorded(found[0], **found[1]) if found else ""


# ------------------------------------------------------------------------------------------------ the pictures


def grid(gates: str = "", credit: str = "", levels: int = 0) -> Chart:
    """The map of all combinations: a row for gates, a column for credit; those with a name are lit.

    The combination given is framed.
    """
    left, top, wide, high = 92.0, 38.0, (WIDTH - 92 - 16) / len(CREDIT), 34.0
    parts = []
    for k, name in enumerate(CREDIT):
        y = top - 9 - 13 * (k % 2)  # long words are wider than a column
        parts.append(text(left + (k + 0.5) * wide, y, name, 11.5, text_anchor="middle", font_weight=600))
    for r, one in enumerate(GATES):
        y = top + r * high
        parts.append(text(16, y + high / 2 + 4, one, 11.5, font_weight=600))
        for k, other in enumerate(CREDIT):
            some = [level for level in LEVELS if (one, other, level) in COMBINATIONS]
            here = [level for level in some if named(one, other, level)]
            frame = (
                {"stroke": INK["focus"], "stroke_width": 2.5}
                if (one, other) == (gates, credit)
                else {"stroke": INK["line"]}
            )
            fill = LIT if here else "#ffffff" if some else PAPER
            parts.append(box(left + k * wide + 1.5, y + 1.5, wide - 3, high - 3, fill, rx=5, **frame))
            rows = [(level, named(one, other, level)) for level in some]
            for j, (level, found) in enumerate(rows):
                words = f"{_short(*found)} {level}" if found else f"· {level}"
                place = y + high / 2 + 4 + (j - (len(rows) - 1) / 2) * 12.5
                weight = 700 if (one, other, level) == (gates, credit, levels) else 400
                ink, size = INK["ink"] if found else INK["soft"], min(9.5, 1.6 * (wide - 3) / len(words))
                parts.append(
                    text(left + (k + 0.5) * wide, place, words, size, ink, text_anchor="middle", font_weight=weight)
                )
    return picture(
        "How gates are drawn (rows) × how credit returns (columns)",
        "A number is how many levels the search has; a name is a method file (with an option where there is a star), a "
        "dot a search without a name. An empty box does not go together. Look along a row: the same gates, taught in "
        "different ways.",
        top + len(GATES) * high + 4,
        *parts,
    )


def _short(name: str, options: Mapping[str, Any]) -> str:
    """A name that fits into a box."""
    short = NAMES[name].removesuffix("NAS").split()[0] if name in NAMES else name.upper()
    return short + ("*" if options else "")


COLUMNS = ("method", "gates", "credit", "levels", "learns", "gradient", "discrete", "complete", "passes, at K = 8")


def rows() -> list[tuple[str, Traits]]:
    """The method files with the options that make another method of them, by name, as their traits say."""
    from nascore import methods

    every = [(name, some) for name in sorted(methods.METHODS) for some in choices.variants(methods.get(name))]
    return [(called(name, options), traits) for name, (options, traits) in every]


def passes(traits: Traits) -> str:
    """Forward passes of single operations on an edge in one iteration: "2K", "K + 2", "4"."""
    a, b = traits.passes
    parts = [f"{a if a > 1 else ''}K"] * (a > 0) + [str(b)] * (b > 0)
    return " + ".join(parts) or "0"


def matrix() -> Chart:
    """The method files by their traits, which the tests check against what the code does."""
    found = rows()
    places = (16, 212, 276, 352, 390, 456, 514, 574, 640)
    high, top, most = 21.0, 20.0, max(8 * t.passes[0] + t.passes[1] for _, t in found)
    parts = [text(x, top - 6, name, 10.5, INK["soft"]) for x, name in zip(places, COLUMNS, strict=True)]
    for r, (name, traits) in enumerate(found):
        y = top + r * high
        parts += [line(16, y, WIDTH - 16, y), text(places[0], y + 14.5, name, 11.5, font_weight=600)]
        words = (traits.gates, traits.credit, traits.levels, traits.probs)
        parts += [text(x, y + 14.5, word, 11) for x, word in zip(places[1:5], words, strict=True)]
        for x, yes in zip(places[5:8], (traits.differentiable, traits.discrete, traits.complete), strict=True):
            parts.append(
                text(x + 14, y + 15, "✓" if yes else "–", 12, GOOD if yes else INK["soft"], text_anchor="middle")
            )
        count = 8 * traits.passes[0] + traits.passes[1]
        parts.append(box(places[8], y + 5, 62 * count / most, 11, INK["soft"], rx=2, fill_opacity=0.45))
        parts.append(text(places[8] + 66, y + 14.5, passes(traits), 11))
    return picture(
        "Every method of the kit, by its choices",
        "learns: a simplex of probabilities, or a box of numbers in [0, 1]. gradient: ∂L/∂z is used, not L alone. "
        "discrete: weights only ever train one operation an edge. complete: the child needs no retraining, as its "
        "weights were trained as that child's. passes: forward passes of single operations, of K on an edge, in one "
        "iteration. The tests check every entry but the words against what the code does.",
        top + len(found) * high + 4,
        *parts,
    )


def listing(combination: Combination, before: Combination | None = None) -> Chart:
    """The text of a combination, with its equations; what differs from that of another one is marked."""
    (gates, credit, _), name = combination, named(*combination)
    lines = marked(_source(combination), _source(before) if before else "")
    parts = [
        text(16, 6, f"gates z:  {GATES[gates].equation}", 12),
        text(16, 25, f"credit:  {CREDIT[credit].equation}", 12),
    ]
    for k, each in enumerate(lines):
        y, (sign, ground) = 50 + 14 * k, MARKS[each["mark"]]
        if sign:
            parts += [box(12, y - 10.5, WIDTH - 24, 14, ground), text(16, y, sign, 10.3, INK["soft"])]
        words = [(INKS.get(kind, INK["ink"]), html.escape(word)) for kind, word in each["tokens"]]
        pieces = "".join(f'<tspan fill="{INK["soft"] if sign == "−" else ink}">{word}</tspan>' for ink, word in words)
        style = 'font-size="10.3" font-family="monospace" xml:space="preserve"'
        parts.append(f'<text x="28" y="{y}" {style}>{pieces}</text>')
    title = f"{choices.title(*combination)}{f' = {called(*name)}' if name else ', a search without a name'}"
    changed = f" Marked is what differs from {choices.title(*before)}." if before else ""
    about = f"{GATES[gates].help} {CREDIT[credit].help}{changed}"
    return picture(title, about, 52 + 14 * len(lines), *parts)


def _source(combination: Combination) -> str:
    return str(assemble(*combination).source)  # type: ignore[attr-defined]


# -------------------------------------------------------------------------------------------- looking at steps


def first(method: Method, count: int = 1, **options: Any) -> list[Step]:
    """The first yields of a method on digits, with seed 0; nothing is written."""
    from itertools import islice

    from nascore.run import Run
    from nascore.task import make_task

    return list(islice(Run(method, make_task("digits", epochs=1), options=options), count))


def draws(tau: float = 0.5, count: int = 4, ops: Sequence[str] = ("skip", "conv1", "conv3", "avg3")) -> Chart:
    """One edge with probabilities .4, .3, .2 and .1, its gates drawn a few times in every way, by the very lines."""
    import torch

    from nascore import gates, proximal

    p, allowed = torch.tensor([[[0.4, 0.3, 0.2, 0.1]]]), torch.ones(1, 1, 4, dtype=torch.bool)
    body, high, wide = [], 27.0, (WIDTH - 130) / count
    for r, (name, kind) in enumerate(GATES.items()):
        y = 22 + r * high
        body.append(text(16, y + 15, name, 11.5, font_weight=600))
        noise, device = torch.Generator().manual_seed(1), torch.device("cpu")
        task = SimpleNamespace(allowed=allowed, noise=noise, device=device)
        known = {"gates": gates, "proximal": proximal, "task": task, "tau": tau, "live": allowed, "allowed": allowed}
        known |= {"alpha": p.log(), "a": p, "w": torch.tensor([[[0.5, 0.4, 0.0, 0.2]]]), "move": lambda drawn, _: drawn}
        for k in range(count):
            exec(kind.draw, known)  # noqa: S102 - a fragment of the kit's own
            x, z = 120 + k * wide, known["z"].flatten().tolist()  # type: ignore[attr-defined]
            for op, gate in zip(ops, z, strict=True):
                body.append(box(x, y + 2, (wide - 26) * gate, 18, colour(op), rx=1))
                x += (wide - 26) * gate
    labels = [text(120 + k * wide, 14, f"draw {k + 1}", 10.5, INK["soft"]) for k in range(count)]
    return picture(
        "One edge, the same four operations: the gates that each way of drawing gives",
        f"A bar's length is its gate, its colour the operation; the probabilities are .4, .3, .2, .1 and τ is {tau:g}. "
        "Which rows look the same at every draw, which show one colour only, and which do not fill a whole bar?",
        22 + high * len(GATES),
        *labels,
        *body,
    )
