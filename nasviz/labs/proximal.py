"""Figures of the lesson *can search stay discrete?*: the prox as a picture, NASP's cycle, its clock, nested kernels.

Equations of Yao, Xu, Tu and Zhu, "Efficient Neural Architecture Search via Proximal Iterations", AAAI 2020, numbered
as in ``nascore.methods.nasp``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nascore import methods, proximal, toys
from nascore.errors import UserError, sentence
from nascore.ops import OPS
from nascore.record import Recording
from nascore.resource import Resource
from nascore.run import Knobs, Step, torch_threads
from nascore.space import Space
from nascore.supernet import Supernet
from nascore.task import make_task
from nasviz.charts import INK, Chart, chart, figure
from nasviz.labs.drawing import box, dot, line, path, picture, text
from nasviz.theme import colour
from nasviz.widgets import Shown
from nasviz.widgets.plane import PlaneView

__all__ = [
    "child_size",
    "drag",
    "embedded",
    "flips",
    "flips_chart",
    "list_facts",
    "near_twins",
    "plane",
    "route",
    "scores_chart",
    "sizes",
    "sizes_chart",
    "split_chart",
    "step_times",
    "times_chart",
]

LOW, HIGH = -0.75, 1.75  # of both axes of the plane
FRAME = (52.0, 8.0, 392.0, 348.0)  # left, top, right, bottom of the plane
STEPS = 200  # of the searches drawn in the plane

# A few operations of every price early on, so that the work grows evenly with their number.
GROWING = ("skip", "sep5", "max3", "conv3", "sep3", "avg3", "dil3", "max5", "conv1", "sep7", "conv3x1_1x3", "max7")
SEARCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "DARTS": ("darts", {}),
    "NASP, published step": ("nasp", {"credit": "published"}),
    "NASP, exact step": ("nasp", {"credit": "exact"}),
}


# ------------------------------------------------------------------------------------------------ a point in the plane


def pair() -> toys.Problem:
    """The two operations of the ensemble toy that are good only together: o_1 = 2u, o_2 = 2v, t = u + v."""
    whole = toys.ensemble()
    return toys.Problem(whole.outputs[1:], whole.target)


def images(z: Float[Tensor, " op"]) -> dict[str, Tensor]:
    """Where ``z`` is sent by each operator, and by the two wrong ways to combine them."""
    return {
        "prox of C₂, the box": proximal.prox_c2(z),
        "prox of C₁, one entry": proximal.prox_c1(z),
        "projection on both": proximal.project(z),
        "clip, then select": proximal.prox_c1(proximal.prox_c2(z)),
        "select by size, then clip": proximal.prox_c2(proximal.prox_c1(z)),
    }


def plane(x: float, y: float, search: bool = False, epsilon: float = 0.05) -> Chart:
    """The point (x, y), one axis an operation, and where eq. (3) sends it.

    With ``search`` also the way that plain proximal gradient and NASP take from there, with step ``epsilon``, on the
    problem whose best mixture is both operations at one half.
    """
    z = torch.tensor([x, y], dtype=torch.float64)
    body = [*_sets(), *(_searches(z, epsilon) if search else _projections(z))]
    body.append(dot(*_at(z), 8, INK["panel"], stroke=INK["focus"], stroke_width=3.5))
    title = "Two searches from one point" if search else "A point and its projections"
    caption = (
        "Drag the ring. Plain proximal gradient puts the loser back to 0 after every step, so a short step never "
        "leaves its axis. NASP keeps both entries and switches whenever their order changes: it ends in a cycle."
        if search
        else "Drag the ring. The box C₂ is the square, C₁ the two axes; an edge may be what lies in both: blue. "
        "Drag above 1 on both axes, or far below 0 on one, and the wrong orders part from the right one."
    )
    return picture(title, caption, FRAME[3] + 12, *body)


def _at(z: Any) -> tuple[float, float]:
    """Pixels of a point of the plane."""
    left, top, right, bottom = FRAME
    unit = (right - left) / (HIGH - LOW)
    return left + (float(z[0]) - LOW) * unit, bottom - (float(z[1]) - LOW) * (bottom - top) / (HIGH - LOW)


def _sets() -> list[str]:
    left, top, right, bottom = FRAME
    (x0, y0), (x1, y1) = _at((0, 0)), _at((1, 1))
    parts = [
        box(left, top, right - left, bottom - top, INK["panel"], stroke=INK["line"]),
        box(x0, y1, x1 - x0, y0 - y1, INK["focus"], fill_opacity=0.09),
        line(left, y0, right, y0, INK["soft"]),
        line(x0, top, x0, bottom, INK["soft"]),
        line(*_at((LOW, LOW)), *_at((HIGH, HIGH)), INK["line"], stroke_dasharray="3 4"),
        line(x0, y0, x1, y0, INK["focus"], stroke_width=5),
        line(x0, y0, x0, y1, INK["focus"], stroke_width=5),
        text(right - 6, y0 + 15, "a₁", 12, text_anchor="end", font_style="italic"),
        text(x0 - 8, top + 14, "a₂", 12, text_anchor="end", font_style="italic"),
        text(x1 - 5, y1 + 14, "C₂", 12, INK["focus"], text_anchor="end"),
    ]
    for value in (1,):
        parts.append(text(_at((value, 0))[0], y0 + 15, value, 10.5, INK["soft"], text_anchor="middle"))
        parts.append(text(x0 - 6, _at((0, value))[1] + 4, value, 10.5, INK["soft"], text_anchor="end"))
    return parts


def _projections(z: Tensor) -> list[str]:
    nearest = float((proximal.project(z) - z).norm())
    parts, y = [text(428, 30, f"z = {_pair(z)}", 13, font_weight=600)], 66.0
    marks = {"prox of C₂, the box": "#0f8a8a", "prox of C₁, one entry": "#b7791f", "projection on both": INK["focus"]}
    for name, found in images(z).items():
        distance = float((found - z).norm())
        ink = marks.get(name, "#c0392b")
        wrong = name not in marks
        if not wrong:
            parts.append(line(*_at(z), *_at(found), ink, stroke_width=1.6, stroke_dasharray="5 3"))
        if not wrong or distance > nearest + 1e-9 or not _is_cell(found):
            parts.append(_cross(found) if wrong else dot(*_at(found), 6, ink))
        right = not wrong or abs(distance - nearest) < 1e-9
        said = f"{_pair(found)}, {distance:.2f} away" + ("" if right else "  ✗")
        if wrong and not _is_cell(found):
            said += ", no operation left"
        parts += [
            dot(436, y - 4, 5, ink) if not wrong else text(431, y, "×", 15, ink, font_weight=600),
            text(450, y, name, 12, font_weight=400 if right else 600),
            text(450, y + 16, said, 11.5, INK["soft"] if right else ink),
        ]
        y += 54
    return parts


def _cross(z: Tensor) -> str:
    x, y = _at(z)
    arms = ((-6, -6, 6, 6), (-6, 6, 6, -6))
    return "".join(line(x + a, y + b, x + c, y + d, "#c0392b", stroke_width=3) for a, b, c, d in arms)


def _is_cell(z: Tensor) -> bool:
    return int(z.count_nonzero()) == 1


def _pair(z: Tensor) -> str:
    return "(" + ", ".join(f"{float(v) + 0.0:.2f}".replace("-", "−") for v in z) + ")"


def _searches(z: Tensor, epsilon: float) -> list[str]:
    plain = toys.proximal_gradient(pair(), STEPS, epsilon, start=z)
    nasp = toys.nasp(pair(), steps=STEPS, epsilon=epsilon, start=proximal.prox_c2(z))
    active = proximal.largest(nasp.gates).argmax(-1)
    switches = int((active[1:] != active[:-1]).sum())
    stays = int(proximal.largest(plain.gates).argmax(-1).unique().numel()) == 1
    child = pair().children.min()
    parts = [
        path([_at(a) for a in nasp.probs], "#b0418a", stroke_width=1.8),
        path([_at(a) for a in plain.probs], INK["ink"], stroke_width=3),
        dot(*_at(nasp.probs[-1]), 5.5, "#b0418a"),
        dot(*_at(plain.probs[-1]), 5.5, INK["ink"]),
        text(428, 30, f"{STEPS} steps of ε = {epsilon:.3g}", 13, font_weight=600),
        dot(436, 62, 5, INK["ink"]),
        text(450, 66, "plain proximal gradient", 12, font_weight=600),
        text(450, 82, "never leaves its operation" if stays else "left its operation", 11.5, INK["soft"]),
        text(450, 98, f"loss at the end {float(pair().loss(plain.gates[-1])):.3f}", 11.5, INK["soft"]),
        dot(436, 126, 5, "#b0418a"),
        text(450, 130, "NASP", 12, font_weight=600),
        text(450, 146, f"switches {switches} times; A ends at {_pair(nasp.probs[-1])}", 11.5, INK["soft"]),
        text(450, 162, f"loss at the end {float(pair().loss(nasp.gates[-1])):.3f}", 11.5, INK["soft"]),
        text(428, 200, f"Either operation alone has a loss of {float(child):g},", 11.5),
        text(428, 216, "half of each (½, ½) has 0: no child has that.", 11.5),
        text(428, 244, "the active operation, step by step:", 11.5, INK["soft"]),
    ]
    for k, op in enumerate(active[:150].tolist()):
        parts.append(box(428 + 2 * k, 252 + 12 * (1 - op), 2, 10, "#b0418a"))
    return parts


def drag(x: float = 0.45, y: float = 0.8, search: bool = False) -> Shown:
    """``plane`` with a point to drag, by mouse, finger or arrow keys."""

    def widget() -> Any:
        import ipywidgets as widgets

        view = PlaneView(x=x, y=y)
        choice = widgets.ToggleButton(search, description="search from here", layout={"width": "160px"})
        step = widgets.FloatLogSlider(0.05, min=-2, max=0, step=0.1, description="step ε", readout_format=".3f")

        def redraw(_: object = None) -> None:
            try:
                view.shown = page(view.x, view.y, choice.value, step.value)
                view.status = {}
            except Exception as error:  # an exception in a callback would only reach the log
                view.status = {"error": sentence(error)}

        view.observe(redraw, ["x", "y"])
        choice.observe(redraw, "value")
        step.observe(redraw, "value")
        redraw()
        return widgets.VBox([widgets.HBox([choice, step]), view])

    still = plane(x, y, search)
    return Shown(still.svg, still.caption, widget)


def page(x: float, y: float, search: bool, epsilon: float) -> dict[str, Any]:
    """What the widget shows of ``plane``."""
    z = torch.tensor([x, y], dtype=torch.float64)
    left, top, right, bottom = FRAME
    return {
        "svg": plane(x, y, search, epsilon).svg(),
        "frame": [left, top + 36, right, bottom + 36],  # below the page's title
        "low": LOW,
        "high": HIGH,
        "text": f"z {_pair(z)}, nearest cell {_pair(proximal.project(z))}",
    }


# --------------------------------------------------------------------------------------------------- switching for ever


def flips(recording: Recording) -> NDArray[np.int64]:
    """How many edges changed their active operation at each weight step, counted from the gates of the rows."""
    rows = [t for t, phase in enumerate(recording.phases) if phase == "weights"]
    gates = recording.column("gates")[rows]
    active = np.where(gates.max(-1) > 0, gates.argmax(-1), -1)  # −1: the edge is not there
    return np.asarray((active[1:] != active[:-1]).sum((1, 2)))


def flips_chart(recordings: Mapping[str, Recording], window: int = 20) -> Chart:
    """Edges that change their operation, a step, as the mean over ``window`` steps."""
    import plotly.graph_objects as go

    fig = figure("NASP keeps switching", "step", f"edges that switch, mean of {window} steps")
    for (name, recording), dash in zip(recordings.items(), ("solid", "dash", "dot"), strict=False):
        found = flips(recording)
        mean = np.convolve(found, np.ones(window) / window, "valid")
        label = f"{name}, {int(found.sum())} in all"
        fig.add_trace(
            go.Scatter(
                x=list(range(window, len(found) + 1)),
                y=mean.tolist(),
                name=label,
                mode="lines",
                line={"dash": dash, "color": INK["ink"]},
            )
        )
    return chart(fig, "A search that had converged would be at 0.")


def route(path_: toys.Path, names: Sequence[str], shown: int = 120) -> Chart:
    """The entries of A (or p) over the first ``shown`` steps of a toy search, and below them which one was active."""

    def y(value: float) -> float:
        return 200 - 180 * value

    def x(t: int) -> float:
        return 60 + t * 560 / shown

    body = [line(60, y(v), 620, y(v)) for v in (0, 0.5, 1)]
    body += [text(52, y(v) + 4, f"{v:g}", 10.5, INK["soft"], text_anchor="end") for v in (0, 0.5, 1)]
    inks = ("#1f6feb", "#b0418a", "#b7791f", "#0f8a8a", "#66707d")
    probs, active = path_.probs[:shown], path_.gates[:shown].argmax(-1).tolist()
    for k, (name, ink) in enumerate(zip(names, inks, strict=False)):
        curve = [(x(t), y(float(a[k]))) for t, a in enumerate(probs)]
        body.append(path(curve, ink, stroke_width=2.2))
        body.append(text(630, 60 + 22 * k, f"{name}: {float(probs[-1][k]):.2f}", 12, ink, font_weight=600))
        row = 222 + 16 * k
        body.append(text(52, row + 10, name, 11, ink, text_anchor="end", font_weight=600))
        body += [box(x(t), row, 560 / shown, 11, ink) for t, op in enumerate(active) if op == k]
    switches = int((path_.gates[1:].argmax(-1) != path_.gates[:-1].argmax(-1)).sum())
    return picture(
        f"The operation that is active changes at {switches} of {len(path_.gates) - 1} steps",
        f"Above the entries of A, below the active operation, over the first {shown} steps.",
        226 + 16 * len(names),
        *body,
    )


def scores_chart(scores: Mapping[str, toys.Score]) -> Chart:
    """In how many of the random problems each searcher ends with the best operation."""
    import plotly.graph_objects as go

    fig = figure("Which searcher finds the best single operation?", "", "share of the problems", width=760)
    names = [name.replace(", ", ",<br>").replace("plain ", "plain<br>") for name in scores]
    values = [score.best for score in scores.values()]
    fig.add_trace(go.Bar(x=names, y=values, name="best operation found", marker={"color": INK["soft"]}))
    regrets = "; ".join(f"{name} {score.regret:.2f}" for name, score in scores.items())
    return chart(fig, f"Mean regret, the loss above that of the best child: {regrets}.")


# ----------------------------------------------------------------------------------------------------------- the clock


@torch_threads(1)
def step_times(counts: Sequence[int] = (4, 7, 12), rounds: int = 3, **options: Any) -> dict[str, list[float]]:
    """Processor milliseconds of a whole step of each search, one after another on the same engine, by operations.

    A median of ``rounds``, after one step to warm up. ``options`` are those of ``make_task``.
    """
    found: dict[str, list[float]] = {name: [] for name in SEARCHES}
    for count in counts:
        space = Space(2, 3, GROWING[:count])
        going = {
            name: _steps(method, given, {"space": space, "epochs": 1} | options)
            for name, (method, given) in SEARCHES.items()
        }
        laps: dict[str, list[float]] = {name: [] for name in SEARCHES}
        for _ in range(rounds + 1):
            for name, steps in going.items():  # in turns, so that all meet the same state of the machine
                began = time.process_time()
                list(islice(steps, 2))  # both half steps
                laps[name].append(1000 * (time.process_time() - began))
        for name in SEARCHES:
            found[name].append(median(laps[name][1:]))
    return found


def _steps(method: str, given: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[Step]:
    search = methods.get(method)
    return search(make_task("digits", **options), Knobs(**getattr(search, "knobs", {})), **given)


def times_chart(times: Mapping[str, Sequence[float]], counts: Sequence[int] = (4, 7, 12)) -> Chart:
    """Milliseconds a step against the number of operations."""
    import plotly.graph_objects as go

    fig = figure("One step, by the number of operations", "operations an edge", "processor ms a step")
    fig.update_yaxes(rangemode="tozero")
    for (name, values), dash in zip(times.items(), ("solid", "dash", "dot"), strict=True):
        points = {"x": list(counts), "y": list(values), "name": name, "mode": "lines+markers"}
        fig.add_trace(go.Scatter(**points, line={"dash": dash, "color": INK["ink"]}))
    dearest = max(times["DARTS"])
    ratios = ", ".join(f"{name} {dearest / values[-1]:.1f}×" for name, values in times.items() if name != "DARTS")
    return chart(fig, f"With {counts[-1]} operations, DARTS's step takes this many times as long: {ratios}.")


# -------------------------------------------------------------------------------------------------------------- size, η


@torch_threads(1)
def sizes(etas: Sequence[float], seeds: Sequence[int] = (0,), epochs: int = 3) -> NDArray[np.float64]:
    """Parameters of the derived child, the mean of the last half of a short search, ``[eta, seed]``."""
    found = np.zeros((len(etas), len(seeds)))
    for i, eta in enumerate(etas):
        for j, seed in enumerate(seeds):
            search = methods.get("nasp")
            knobs = Knobs(**getattr(search, "knobs", {}))
            knobs.set(eta=eta)
            knobs.apply()
            task = make_task("digits", seed, epochs)
            steps = [step for step in search(task, knobs) if step.phase == "weights"]
            found[i, j] = np.mean([child_size(task.network, step.probs) for step in steps[len(steps) // 2 :]])
    return found


def child_size(network: Supernet, a: Any) -> float:
    """Parameters of the operations of the child that A stands for, stem and classifier left out."""
    space = network.space
    counted = 0.0
    chosen = space.one_hot(space.decode(a))
    for row, edges in network.layout(8):
        for e, size in enumerate(edges):
            counted += sum(OPS[space.ops[k]].parameters(*size) for k in np.flatnonzero(chosen[row, e]))
    return counted


def sizes_chart(etas: Sequence[float], found: NDArray[np.float64]) -> Chart:
    """The child's parameters against η: the mean over the seeds, and every seed."""
    import plotly.graph_objects as go
    from scipy.stats import spearmanr

    names = [f"{eta:g}" for eta in etas]
    fig = figure("η takes parameters out of the child", "size penalty η", "parameters of the child's operations")
    fig.add_trace(go.Scatter(x=names, y=found.mean(1).tolist(), name="mean", line={"color": INK["ink"]}))
    for j in range(found.shape[1]):
        dots = {"color": INK["soft"], "size": 6}
        fig.add_trace(go.Scatter(x=names, y=found[:, j].tolist(), mode="markers", marker=dots, showlegend=False))
    rho = spearmanr(np.repeat(etas, found.shape[1]), found.ravel()).statistic
    return chart(fig, f"Spearman's ρ between η and size, all runs: {rho:.2f}. A dot is a run.")


# ---------------------------------------------------------------------------------------------------- nested operations


def embedded(small: nn.Module, large: nn.Module) -> nn.Module:
    """``large``, an operation with wider kernels, with the weights of ``small`` in their middle and zeros around.

    It then computes exactly what ``small`` does. Raises ``UserError`` where the two are not built alike.
    """
    kernels = [[tensor for tensor in op.state_dict().values() if tensor.dim() == 4] for op in (small, large)]
    if len({tuple(kernel.shape[:2] for kernel in each) for each in kernels}) > 1:
        raise UserError("small: its convolutions are not those of the larger one but for their size.")
    state = large.state_dict()
    for name, own in small.state_dict().items():  # kernels, and the statistics of batch norm
        margin = (state[name].shape[-1] - own.shape[-1]) // 2 if own.dim() == 4 else 0
        state[name] = F.pad(own, (margin,) * 4) if own.dim() == 4 else own
    large.load_state_dict(state)
    return large


def near_twins(angle: float, steps: int = 600) -> tuple[toys.Problem, toys.Path]:
    """The duplicated toy with its first two operations ``angle`` degrees apart, and DARTS on it."""
    problem = toys.duplicated()
    turned = problem.outputs.clone()
    radians = torch.tensor(angle, dtype=torch.float64).deg2rad()
    turned[1] = torch.stack([radians.cos(), radians.sin()])
    start = torch.tensor([0.005, 0.0, 0.0], dtype=torch.float64)
    moved = toys.Problem(turned, problem.target)
    return moved, toys.darts(moved, steps, start=start)


def split_chart(angle: float) -> Chart:
    """How DARTS divides its mass among two nearly equal operations and a third, and the loss of each child."""
    problem, found = near_twins(angle)
    p, children = found.probs[-1].tolist(), problem.children.tolist()
    names = ("7×7", "its twin 3×3", "another")
    least = min(children) + 1e-9
    body = []
    for k, name in enumerate(names):
        y = 22 + 44 * k
        best = children[k] <= least
        body += [
            text(16, y + 16, name, 12, font_weight=600 if best else 400),
            box(130, y, 300 * p[k], 24, colour(("sep7", "sep3", "skip")[k]), rx=3),
            text(138 + 300 * p[k], y + 16, f"p = {p[k]:.3f}", 11.5),
            text(500, y + 16, f"alone: loss {children[k]:.3f}" + ("  (a best child)" if best else ""), 11.5),
        ]
    together = p[0] + p[1]
    return picture(
        f"{angle:g}° apart: the twins share {together:.3f} between them",
        "Bars are DARTS's softmax(α) at the end. Equal operations keep the ratio they began with: the mass that one of "
        "them alone would have had is split. Turn the second away from the first and one of them takes over.",
        150,
        *body,
    )


def list_facts(spaces: Sequence[Space], channels: int = 16, cells: int = 8) -> str:
    """A table in text: operations an edge, cells, parameters of the supernet and of its dearest child."""
    rows = [f"{'':<10}{'ops':>10}{'cells':>12}{'supernet':>12}{'dearest child':>16}"]
    for space in spaces:
        net = Supernet(space, channels, cells, 10, 3)
        per_cell = [int(mask[0].sum()) for mask in space.allowed]
        choices = sum(len(space.edges) * np.log10(count) for count in per_cell)
        weights = sum(parameter.numel() for parameter in net.parameters())
        dearest = child_size(net, Resource.of(net, 8, 1).prices["parameters"])
        ops = " + ".join(map(str, dict.fromkeys(per_cell)))
        rows.append(f"{space.name:<10}{ops:>10}{'10^' + format(choices, '.1f'):>12}{weights:>12,}{dearest:>16,.0f}")
    return "\n".join(rows)
