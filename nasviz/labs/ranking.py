"""Do shared weights rank children?  Inherited against stand-alone accuracy, as a scatter to point at.

The measurements are those of ``benchmarks/ranking.py``: 60 children of TOY, each trained alone with two seeds and
measured with the weights of several supernets.
"""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nascore import ranking
from nascore.errors import UserError, choose, number, sentence
from nascore.graph import CellGraph
from nascore.ranking import Agreement
from nascore.space import Space
from nasviz import frames
from nasviz.charts import INK, Chart, chart, figure, ticks
from nasviz.labs.cells import draw, legend
from nasviz.labs.drawing import PAPER, WIDTH, dot, line, path, picture, text
from nasviz.svg import cell_markup
from nasviz.theme import THEMES, colour, op_label
from nasviz.widgets import Shown
from nasviz.widgets.ranking import RankingView

__all__ = [
    "Measured",
    "Scatter",
    "bump",
    "by_seed",
    "label",
    "live",
    "measured",
    "middle",
    "scatter",
    "strands",
    "taus",
    "tops",
]

Values = NDArray[np.float64]
NAMES = {"random": "uniform sampling", "snas": "SNAS", "darts": "DARTS", "nasp": "NASP"}
"""How a supernet is called: after the search that trained it."""
HOW = {"stale": "statistics as inherited", "recalibrated": "recalibrated"}
TOP = 10
MARK = THEMES["light"]["mark"]


@dataclass(frozen=True)
class Measured:
    """Children and what was measured about them; accuracies are shares of images, ``[child]``."""

    space: Space
    children: NDArray[np.int64]
    data: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.children)

    def graphs(self, child: int) -> dict[str, CellGraph]:
        """The cells of one child."""
        return ranking.graphs(self.space, self.children[child])

    def alone(self, run: int = 0, split: str = "test") -> Values:
        """Accuracy after training each child alone; ``run`` is 0 or 1, a seed each."""
        runs = self.data["alone"]
        return self._share(runs[int(number("run", run, 0, len(runs) - 1, integer=True))], split, split)

    @property
    def methods(self) -> list[str]:
        """The searches that trained the supernets, in the order of ``NAMES``."""
        found = {search["method"] for search in self.data["searches"]}
        return [name for name in NAMES if name in found]

    def seeds(self, method: str) -> list[int]:
        """The seeds of a method's supernets."""
        choose("method", method, self.methods)
        return [search["seed"] for search in self.data["searches"] if search["method"] == method]

    def inherited(self, method: str, how: str = "recalibrated", seed: int = 0, split: str = "valid") -> Values:
        """Accuracy with the weights of the supernet that ``method`` trained.

        ``how`` is "stale" (batch norm's statistics as inherited) or "recalibrated".
        """
        choose("how", how, HOW)
        if seed not in self.seeds(method):
            raise UserError(f"seed: {seed} is not one of {', '.join(map(str, self.seeds(method)))}.")
        searches = self.data["searches"]
        found = next(search for search in searches if (search["method"], search["seed"]) == (method, seed))
        return self._share(found, f"{split}_{how}", split)

    @property
    def seen_by(self) -> list[str]:
        """All that children can be ranked by: the searches, "again" and "parameters"."""
        return [*self.methods, "again", "parameters"]

    def seen(self, by: str) -> Values:
        """What children are ranked by: recalibrated accuracies, those of a second training on valid, or sizes."""
        match choose("by", by, self.seen_by):
            case "again":
                return self.alone(1, "valid")
            case "parameters":
                return self.parameters
        return self.inherited(by)

    @property
    def parameters(self) -> Values:
        """Learnt numbers of each child as a network of its own."""
        return np.asarray(self.data["parameters"], dtype=float)

    def _share(self, found: Mapping[str, Any], name: str, split: str) -> Values:
        choose("split", split, self.data["images"])
        return np.asarray(np.asarray(found[name], dtype=float) / self.data["images"][split])


@cache
def measured() -> Measured:
    """The shipped measurements."""
    data = json.loads((files("nascore") / "recordings" / "digits-ranking.json").read_text("utf-8"))
    return of(data)


def of(data: Mapping[str, Any]) -> Measured:
    """Measurements in the form that ``benchmarks/ranking.py`` writes."""
    return Measured(Space.from_json(data["space"]), np.asarray(data["children"]), data)


# ------------------------------------------------------------------------------------------------ the scatter


def best(n: int) -> int:
    """How many of ``n`` children count as the best."""
    return min(TOP, n // 3)


def tell(found: Agreement) -> str:
    """How two measurements agree, in one plain sentence."""
    top = f"{found.top * found.k:.3g} of the {found.k} best are among the {found.k} truly best"
    return (
        f"τ = {_signed(found.tau)} (95 % interval {_signed(found.low)} to {_signed(found.high)}, n = {found.n}); {top} "
        f"({found.chance * found.k:.2g} by chance); {found.ties:.0%} of the pairs tie."
    )


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def source(key: str, label: str, ways: Mapping[str, ArrayLike], truth: Values, unit: str = "share") -> dict[str, Any]:
    """One choice of what stands on the horizontal axis: for each way to measure it a value a child."""
    told = {}
    for how, values in ways.items():
        found = ranking.agree(values, truth, best(len(truth)))
        told[how] = {"values": np.asarray(values).tolist(), "tau": found.tau, "text": tell(found)}
    most = 1.0 if unit == "share" else float(max(np.max(values) for values in ways.values()))
    marks = ticks(0.0, most, log=False)
    return {"key": key, "label": label, "ways": told, "range": [0.0, most], "ticks": marks, "unit": unit}


def label(by: str) -> str:
    """How people read what children are ranked by."""
    others = {"again": "training alone once more", "parameters": "the number of parameters"}
    return others.get(by) or f"weights of {NAMES[by]}"


def sources(data: Measured) -> list[dict[str, Any]]:
    """Everything that children can be ranked by, against their first training alone."""
    truth, found = data.alone(), []
    for by in data.seen_by:
        ways = {how: data.inherited(by, how) for how in HOW} if by in data.methods else {"": data.seen(by)}
        found.append(source(by, label(by), ways, truth, "count" if by == "parameters" else "share"))
    return found


class Scatter(Shown):
    """The panel, made by ``scatter`` or ``live``; what its controls choose can be read and set here.

    Attributes:
        shown: all that is drawn.
        chosen: ``source`` (a key of what stands across), ``how`` ("stale", "recalibrated" or ""), ``child`` (the one
            looked at, −1 for none) and ``ranks`` (whether ranks are shown instead of accuracies).
    """

    def __init__(self, shown: dict[str, Any], cells: Sequence[Mapping[str, CellGraph]], **chosen: Any):
        self.shown, self.cells, self.chosen = shown, cells, chosen
        self._view: RankingView | None = None
        super().__init__(lambda: self.picture().svg(), self.sentence(), self.widget)

    @property
    def way(self) -> dict[str, Any]:
        """What stands across: values, τ and the sentence."""
        ways: dict[str, dict[str, Any]] = self.across["ways"]
        return ways.get(self.chosen["how"], next(iter(ways.values())))

    @property
    def across(self) -> dict[str, Any]:
        """The chosen source."""
        found: list[dict[str, Any]] = self.shown["sources"]
        return next(each for each in found if each["key"] == self.chosen["source"])

    def sentence(self) -> str:
        """What the panel says under its title."""
        return f"Ranked by {self.across['label']}: {self.way['text']}"

    def widget(self) -> RankingView:
        """The live form; always the same one."""
        if self._view is None:
            self._view = RankingView(shown=self.shown, **self.chosen)
            self._view.observe(self._choose, list(self.chosen))
        return self._view

    def _choose(self, change: Mapping[str, Any]) -> None:
        self.chosen[change["name"]] = change["new"]

    def put(self, shown: dict[str, Any]) -> None:
        """Draw something else in the same panel."""
        self.shown = shown
        if self._view is not None:
            self._view.shown = shown

    def picture(self) -> Chart:
        """The panel as a still picture."""
        return _still(self)


def panel(data: Measured, children: Sequence[int], found: list[dict[str, Any]], truth: Values) -> dict[str, Any]:
    """What the browser needs: where the children stand, and how their cells are drawn."""
    space = data.space
    low, high = float(truth.min()), float(truth.max())
    room = 0.05 * ((high - low) or 1.0)
    return {
        "sources": found,
        "truth": truth.tolist(),
        "truthRange": [low - room, high + room],
        "truthTicks": ticks(low - room, high + room, log=False),
        "names": [int(child) for child in children],
        "children": data.children[list(children)].tolist(),
        "parameters": data.parameters[list(children)].tolist(),
        "top": best(len(truth)),
        "skeletons": [cell_markup(space, cell) for cell in range(len(space.cells))],
        "cellNames": [frames.cell_name(name) for name in space.cells],
        "ops": list(space.ops),
        "labels": [op_label(op) for op in space.ops],
        "colours": [colour(op) for op in space.ops],
        "none": space.ops.index("none") if "none" in space.ops else -1,
    }


def scatter(
    data: Measured | None = None,
    by: str = "random",
    how: str = "recalibrated",
    child: int | None = None,
    ranks: bool = True,
) -> Scatter:
    """Every child as a dot: across what a search can see of it, upwards its accuracy after training alone.

    Args:
        data: the measurements; None takes the shipped ones.
        by: the search that trained the supernet, "again" for a second training alone, or "parameters".
        how: "stale" for batch norm's statistics as inherited, or "recalibrated".
        child: the one to look at; None for none.
        ranks: show ranks instead of accuracies.

    Raises:
        UserError: an argument is not allowed.
    """
    data = measured() if data is None else data
    found = sources(data)
    choose("by", by, data.seen_by)
    choose("how", how, HOW)
    looked = -1 if child is None else int(number("child", child, low=0, high=len(data) - 1, integer=True))
    shown = panel(data, range(len(data)), found, data.alone()) | {"title": f"{len(data)} children of one net"}
    cells = [data.graphs(each) for each in range(len(data))]
    return Scatter(shown, cells, source=by, how=how, child=looked, ranks=ranks)


def ranked(values: ArrayLike) -> Values:
    """Ranks from 1, the largest value; children that tie share the mean of their ranks."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.asarray(values)))


def _still(shown: Scatter) -> Chart:
    """A scatter as a picture: the dots on the left, the child looked at on the right."""
    data, across = shown.shown, shown.across
    x, y = np.asarray(shown.way["values"]), np.asarray(data["truth"])
    left, right, top, bottom = 56.0, 446.0, 12.0, 330.0
    ends = [across["range"], data["truthRange"]]
    marks = [across["ticks"], data["truthTicks"]]
    if shown.chosen["ranks"]:
        x, y = ranked(x), ranked(y)
        ends, marks = [[len(x) + 1.0, 0.0]] * 2, [[1, *range(10, len(x) + 1, 10)]] * 2
    across_, upwards = _scale(ends[0], left, right), _scale(ends[1], bottom, top)
    px, py = across_(x), upwards(y)
    body = []
    for value in marks[1]:
        at = upwards(value)
        body += [line(left, at, right, at), text(left - 6, at + 4, f"{value:g}", 10, INK["soft"], text_anchor="end")]
    for value in marks[0]:
        at = across_(value)
        body.append(text(at, bottom + 16, f"{value:g}", 10, INK["soft"], text_anchor="middle"))
    unit = "rank" if shown.chosen["ranks"] else {"share": "accuracy on valid", "count": "parameters"}[across["unit"]]
    how = HOW.get(shown.chosen["how"], "") if len(across["ways"]) > 1 else ""
    words = f"{unit}, {across['label']}{', ' if how else ''}{how}"
    body.append(text((left + right) / 2, bottom + 34, words, 10.5, INK["soft"], text_anchor="middle"))
    up = "rank, trained alone" if shown.chosen["ranks"] else "accuracy on test, trained alone"
    body.append(
        f'<text transform="translate(14 {(top + bottom) / 2:g}) rotate(-90)" text-anchor="middle" font-size="10.5" '
        f'fill="{INK["soft"]}">{up}</text>'
    )
    child = shown.chosen["child"]
    limits = [_border(pixels, way, data["top"]) for pixels, way in ((px, shown.way["values"]), (py, data["truth"]))]
    body.append(line(limits[0], top, limits[0], bottom, INK["soft"], stroke_dasharray="3 4"))
    body.append(line(left, limits[1], right, limits[1], INK["soft"], stroke_dasharray="3 4"))
    wrong = _against(shown, child) < 0 if child >= 0 else np.zeros(len(x), dtype=bool)
    if child >= 0:
        body += [
            line(px[child], top, px[child], bottom, INK["focus"]),
            line(left, py[child], right, py[child], INK["focus"]),
        ]
    for n in range(len(x)):
        body.append(dot(px[n], py[n], 4.2, MARK if wrong[n] else INK["ink"], fill_opacity=0.75))
    if child >= 0:
        body.append(dot(px[child], py[child], 6, INK["focus"], stroke=PAPER, stroke_width=1.5))
    body += _card(shown, child, 470.0)
    return picture(data["title"], shown.sentence(), bottom + 42, *body)


def _border(pixels: Values, values: ArrayLike, k: int) -> float:
    """Half way between the last of the ``k`` best and the next, in pixels."""
    order = np.argsort(-np.asarray(values), kind="stable")
    return float(pixels[order[k - 1]] + pixels[order[k]]) / 2


def _scale(ends: Sequence[float], start: float, stop: float) -> Callable[[Any], Any]:
    """Pixels of a value, or of an array of them."""
    return lambda value: start + (value - ends[0]) / (ends[1] - ends[0]) * (stop - start)


def _against(shown: Scatter, child: int) -> Values:
    """For each child 1 where both measurements rank it against ``child`` alike, −1 where not, 0 where one ties."""
    x, y = np.asarray(shown.way["values"]), np.asarray(shown.shown["truth"])
    return np.asarray(np.sign(x - x[child]) * np.sign(y - y[child]))


def _card(shown: Scatter, child: int, left: float) -> list[str]:
    """The child looked at: its two accuracies, how its pairs are ranked, its cells."""
    if child < 0:
        hint = ["Live: point at a dot to see its cells.", "Click it: all pairs with it are judged."]
        return [text(left, 24 + 16 * k, words, 11, INK["soft"]) for k, words in enumerate(hint)]
    data = shown.shown
    x, y = np.asarray(shown.way["values"]), np.asarray(data["truth"])
    judged = np.delete(_against(shown, child), child)
    right, wrong, tied = ((judged == sign).sum() for sign in (1, -1, 0))
    value = f"{x[child]:.3f}" if shown.across["unit"] == "share" else f"{x[child]:g}"
    body = [
        text(left, 24, f"child {data['names'][child]}", 12.5, INK["focus"], font_weight=600),
        text(left, 44, f"{value} across, rank {ranked(x)[child]:g} of {len(x)}", 11),
        text(left, 60, f"{y[child]:.3f} trained alone, rank {ranked(y)[child]:g} of {len(x)}", 11),
        text(left, 80, f"of its {len(judged)} pairs {right} are ranked rightly,", 11),
        text(left, 96, f"{wrong} wrongly", 11, MARK, font_weight=600),
        text(left + 72, 96, f", {tied} tie", 11),
    ]
    for k, (name, graph) in enumerate(shown.cells[child].items()):
        at = 128 + 106 * k
        body.append(text(left, at, f"{frames.cell_name(name)}: {len(graph.edges)} edges", 10.5, INK["soft"]))
        body.append(draw(graph, left + 14, at + 18, 240, 54, named=False))
    return body


# ------------------------------------------------------------------------------------------------ other pictures


def strands(data: Measured, child: int) -> Chart:
    """The supernet with one child in it: every operation is there, the child's own are thick."""
    space, body = data.space, []
    for k, (name, graph) in enumerate(data.graphs(child).items()):
        left = 16 + k * WIDTH / 2
        body.append(text(left, 8, frames.cell_name(name), 11.5, INK["soft"]))
        body.append(draw(graph, left + 24, 34, 300, 150, named=False, within=space.mother[name]))
    return picture(
        f"Child {child} inside the supernet",
        "Thin: what the supernet could also compute, with other weights. Thick: the operations of this child, with "
        "the very weights they have in the supernet. Between nodes without a thick strand the child has none.",
        230,
        *body,
        *legend([op for op in space.ops if op != "none"], 16, 226),
    )


def bump(columns: Mapping[str, ArrayLike], child: int | None = None) -> Chart:
    """Ranks side by side, a line a child: where two lines cross, a pair is ranked the other way round."""
    ranks = {name: ranked(values) for name, values in columns.items()}
    n, names = len(next(iter(ranks.values()))), list(ranks)
    x = np.linspace(110, WIDTH - 110, len(names))
    y = {name: 34 + (values - 1) / (n - 1) * 300 for name, values in ranks.items()}
    body = []
    for a, b, start, stop in zip(names, names[1:], x, x[1:], strict=False):
        found = ranking.agree(columns[a], columns[b], best(n))
        words = f"τ = {_signed(found.tau)}"
        body.append(text((start + stop) / 2, 20, words, 12, text_anchor="middle", font_weight=600))
    for one in [*(k for k in range(n) if k != child), *([] if child is None else [child])]:
        mine = one == child
        points = [(at, y[name][one]) for at, name in zip(x, names, strict=True)]
        shade = INK["focus"] if mine else INK["ink"]
        body.append(path(points, shade, stroke_width=3 if mine else 1, stroke_opacity=1 if mine else 0.35))
        body += [dot(*point, 5 if mine else 2.6, shade) for point in points]
    for at, name in zip(x, names, strict=True):
        body.append(text(at, 358, name, 11.5, text_anchor="middle"))
    for words, level in (("best", 34), (f"rank {n}", 334)):
        body.append(text(16, level + 4, words, 11, INK["soft"]))
    return picture(
        "Every crossing is a pair ranked the other way round",
        "A line is a child. Children that tie share the mean of their ranks.",
        368,
        *body,
    )


def by_seed(data: Measured, method: str, how: str = "recalibrated") -> list[float]:
    """τ of each of a method's supernets against training alone."""
    return [ranking.agree(data.inherited(method, how, seed), data.alone()).tau for seed in data.seeds(method)]


def middle(data: Measured, method: str, how: str = "recalibrated") -> float:
    """The median of ``by_seed``."""
    return float(np.median(by_seed(data, method, how)))


def taus(data: Measured) -> Chart:
    """τ of every supernet, a dot a seed, beside what a second training and the parameter count reach."""
    truth, left, right = data.alone(), 236.0, WIDTH - 30.0
    rows = [(f"{NAMES[method]}, {how}", by_seed(data, method, how)) for method in data.methods for how in HOW]
    rows += [(label(by), [ranking.agree(data.seen(by), truth).tau]) for by in ("again", "parameters")]
    low = min(0.0, *(min(found) for _, found in rows))
    place = _scale((low, 1.0), left, right)
    bottom = 24.0 * len(rows)
    body = []
    for value in ticks(low, 1.0, log=False):
        body.append(line(place(value), 0, place(value), bottom))
        body.append(text(place(value), bottom + 16, _signed(value), 10, INK["soft"], text_anchor="middle"))
    for k, (name, found) in enumerate(rows):
        y = 24 * k + 12
        middle = float(np.median(found))
        body += [text(left - 12, y + 4, name, 11, text_anchor="end")]
        body += [dot(place(tau), y, 4, INK["ink"], fill_opacity=0.45) for tau in found]
        body.append(line(place(middle), y - 9, place(middle), y + 9, INK["focus"], stroke_width=3))
    words = "Kendall's τ against training alone"
    body.append(text((left + right) / 2, bottom + 34, words, 10.5, INK["soft"], text_anchor="middle"))
    return picture(
        "How well shared weights rank",
        "A dot is a supernet, trained with a seed of its own; the blue mark is their median. τ = 1: the same order as "
        "after training each child alone; 0: no order at all.",
        bottom + 42,
        *body,
    )


def tops(data: Measured, by: Sequence[str] = ("random", "again", "parameters"), most: int = 30) -> Chart:
    """Of the k children that look best, the share that is among the k truly best, for every k."""
    import plotly.graph_objects as go

    truth, n = data.alone(), len(data)
    ks = range(1, min(most, n) + 1)
    fig = figure("How many of the best does one find?", "k", "share", width=WIDTH)
    pens = ({"color": INK["focus"]}, {"color": INK["ink"]}, {"color": INK["ink"], "dash": "dash"})
    for name, pen in zip(by, cycle(pens)):
        seen = data.seen(name)
        shares = [float((ranking.chosen(seen, k) * ranking.chosen(truth, k)).sum() / k) for k in ks]
        fig.add_trace(go.Scatter(x=list(ks), y=shares, mode="lines", name=label(name), line=pen))
    luck = {"color": INK["soft"], "dash": "dot"}
    fig.add_trace(go.Scatter(x=list(ks), y=[k / n for k in ks], mode="lines", name="by lot", line=luck))
    return chart(fig, "Ties for the last places are broken by lot. A search wants the left end of the picture.")


# ------------------------------------------------------------------------------------------------ live


class Live(Shown):
    """A supernet that is trained now while some of its children are ranked, made by ``live``.

    Attributes:
        scatter: the panel, whose only source is what the children inherit at this moment.
        history: (step, τ of the recalibrated children) of each measurement so far.
        state: "ready", "running", "stopped", "failed" or "finished".
        error: why it failed, in a sentence.
    """

    def __init__(self, data: Measured, children: Sequence[int], epochs: int, every: int, seed: int):
        self.data, self.children, self.epochs, self.every, self.seed = data, list(children), epochs, every, seed
        self.truth = data.alone()[self.children]
        self.history: list[tuple[int, float]] = []
        self.state, self.error, self.step, self.steps = "ready", "", 0, 1
        self._stop = threading.Event()
        self._controls: tuple[Any, Any, Any, Any] | None = None
        cells = [data.graphs(child) for child in self.children]
        start = {how: np.zeros(len(self.children)) for how in HOW}
        shown = self._panel(start)
        for way in shown["sources"][0]["ways"].values():
            way["text"] = "not trained yet."
        self.scatter = Scatter(shown, cells, source="live", how="recalibrated", child=-1, ranks=False)
        words = "Run this cell live and press Start: a supernet is trained, and its children move."
        super().__init__(lambda: self.scatter.picture().svg(), words, self.widget)

    def start(self) -> None:
        """Train in a thread of its own; returns at once."""
        if self.state == "running":
            raise UserError("start: it is running already; stop it first.")
        self._stop.clear()
        self.history, self.state, self.error = [], "running", ""
        threading.Thread(target=self.train, daemon=True, name="nasviz-ranking").start()

    def stop(self) -> None:
        """End after the step in flight; what was measured stays."""
        self._stop.set()

    def train(self) -> None:
        """Train the shared weights on uniformly drawn children, and rank the children now and then."""
        self.state = "running"
        try:
            self._train()
        except Exception as error:  # in a thread it would only reach the log
            self.state, self.error = "failed", sentence(error)
        self._tell()

    def _train(self) -> None:
        from nascore import methods
        from nascore.run import Run
        from nascore.task import make_task

        task = make_task(self.data.data["task"], self.seed, self.epochs, space=self.data.space)
        task.measure_every = self.steps = task.steps  # only the ranking is measured
        run = Run(methods.get("random"), task)
        run.children = False
        for step in run:
            self.step = step.t + 1
            if self.step % self.every == 0 or self.step == task.steps:
                self._measure(ranking.inherited(task, self.scatter.cells))
            self._tell()
            if self._stop.is_set():
                run.close()
        self.state = "finished" if self.step == task.steps else "stopped"

    def _measure(self, counts: Mapping[str, Sequence[int]]) -> None:
        images = self.data.data["images"]["valid"]
        ways = {how: np.asarray(counts[f"valid_{how}"]) / images for how in HOW}
        shown = self._panel(ways)
        self.history.append((self.step, shown["sources"][0]["ways"]["recalibrated"]["tau"]))
        shown["history"] = [list(point) for point in self.history]
        self.scatter.put(shown)

    def _panel(self, ways: Mapping[str, ArrayLike]) -> dict[str, Any]:
        found = [source("live", "the weights of this moment", ways, self.truth)]
        title = f"{len(self.children)} children of a net in training"
        return panel(self.data, self.children, found, self.truth) | {"title": title, "history": [], "steps": self.steps}

    def widget(self) -> Any:
        """The live form: buttons and a bar above the panel; always the same one."""
        import ipywidgets as widgets

        if self._controls is None:
            start = widgets.Button(
                description="Start", button_style="primary", tooltip="train a supernet from new weights"
            )
            stop = widgets.Button(description="Stop", disabled=True)
            bar = widgets.IntProgress(0, 0, 1, layout={"width": "220px"})
            told = widgets.HTML("not trained yet")
            start.on_click(lambda _: self._press())
            stop.on_click(lambda _: self.stop())
            row = widgets.HBox([start, stop, bar, told])
            self._controls = start, stop, bar, told
            self._whole = widgets.VBox([row, self.scatter.widget()])
        return self._whole

    def _press(self) -> None:
        if self.state != "running":
            self.start()
        self._tell()

    def _tell(self) -> None:
        if self._controls is None:
            return
        start, stop, bar, told = self._controls
        start.disabled, stop.disabled = self.state == "running", self.state != "running"
        bar.max, bar.value = self.steps, self.step
        tau = f", τ = {_signed(self.history[-1][1])}" if self.history else ""
        told.value = html.escape(self.error or f"{self.state}: step {self.step} of {self.steps}{tau}")


def live(children: int = 10, epochs: int = 12, every: int = 15, seed: int = 0, data: Measured | None = None) -> Live:
    """Train a small supernet now, by uniform sampling, and watch how it ranks some of the measured children.

    Args:
        children: how many; they are spread evenly over the ranking by training alone.
        epochs: passes over the images.
        every: steps between two rankings.
        seed: of the weights, the sampling and the batches.
        data: where the children and their accuracies come from; None takes the shipped ones.

    Raises:
        UserError: an argument is not allowed.
    """
    data = measured() if data is None else data
    n = int(number("children", children, low=3, high=len(data), integer=True))
    number("epochs", epochs, low=1, integer=True)
    number("every", every, low=1, integer=True)
    order = np.argsort(data.alone(), kind="stable")
    spread = order[np.linspace(0, len(data) - 1, n).round().astype(int)]
    return Live(data, sorted(spread.tolist()), int(epochs), int(every), seed)
