"""Figures of the lesson on cells and spaces: how large a space is, what an operation costs, what a network has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nascore.graph import CellGraph
from nascore.published_cells import about, published, published_network
from nascore.space import DARTS, NASP_12, TOY, Rule, Space
from nasviz.charts import INK, Chart
from nasviz.labs.cells import cells, draw, inputs, legend, mother, node_name, raised, written
from nasviz.labs.drawing import box, dot, line, path, picture, text
from nasviz.theme import colour, op_label

if TYPE_CHECKING:
    from nascore.supernet import Child

__all__ = [
    "argmax_count",
    "cells",
    "choices",
    "costs",
    "count_by_node",
    "derivable",
    "every_cell",
    "families",
    "field",
    "fields",
    "gallery",
    "madds",
    "mother",
    "multiply_adds",
    "network",
    "portrait",
    "renumber",
    "scoreboard",
    "sizes",
    "stack",
    "table",
    "top2_count",
]

# --- how large is a space --------------------------------------------------------------------------------------------


def argmax_count(space: Space) -> int:
    """How many architectures "the strongest operation of every edge" can derive: K^E for each kind of cell."""
    return math.prod(space.allowed.sum(-1).ravel().tolist())


def top2_count(space: Space) -> int:
    """How many "two incoming edges a node, never *none*" can derive: Π C(sources, 2) · K² for each kind of cell.

    Liu, Simonyan and Yang (2019), section 2.4.
    """
    useful = space.allowed[:, 0, [op != "none" for op in space.ops]].sum(-1)  # all edges of a cell have the same choice
    total = 1
    for ops in useful.tolist():
        for sources in range(space.inputs, space.inputs + space.nodes):
            kept = min(2, sources)
            total *= math.comb(sources, kept) * ops**kept
    return total


def every_cell(space: Space) -> Iterator[CellGraph]:
    """All K^E cells of the first kind under "the strongest operation of every edge"."""
    choices = [[op for op, fits in zip(space.ops, edge, strict=True) if fits] for edge in space.allowed[0]]
    for ops in product(*choices):
        yield space.graph((*edge, op) for edge, op in zip(space.edges, ops, strict=True) if op != "none")


def derivable(space: Space) -> set[CellGraph]:
    """The cells of the first kind that ``space.decode(…, "top2")`` can give, found by trying E! · K^E tables.

    They are enough: only which operation leads on each edge matters, and how the edges rank.
    """
    useful = [k for k, op in enumerate(space.ops) if op != "none"]
    edges, found = range(len(space.edges)), set()
    for ranks in permutations(range(1, len(edges) + 1)):
        for leaders in product(useful, repeat=len(edges)):
            probs = np.zeros(space.shape)
            probs[:, edges, leaders] = ranks
            found.add(space.decode(probs, "top2")[space.cells[0]])
    return found


def _decades(left: float, right: float, bottom: float, last: int) -> list[str]:
    """The grid of a log axis from 1 to 10^last."""
    parts = []
    for decade in range(0, last + 1, 3):
        x = left + decade / last * (right - left)
        words = f"10{raised(decade)}" if decade else "1"
        parts += [line(x, 0, x, bottom), text(x, bottom + 14, words, 10, INK["soft"], text_anchor="middle")]
    return parts


def count_by_node(space: Space = DARTS) -> Chart:
    """How the size under two edges a node comes about: the choices of each node, of a cell, of both cells."""
    ops = sum(op != "none" for op in space.ops)
    left, right, last = 436.0, 744.0, math.ceil(math.log10(top2_count(space)))
    scale, rows, before = (right - left) / last, [], 0.0
    for node in range(space.nodes):
        pairs = math.comb(space.inputs + node, 2)
        choices = math.log10(pairs * ops**2)
        words = f"node {node}", f"2 of {space.inputs + node} sources", f"{pairs} × {ops}²", f"{pairs * ops**2}"
        rows.append((words, before, choices, INK["focus"]))
        before += choices
    ways = " × ".join(str(math.comb(space.inputs + node, 2)) for node in range(space.nodes))
    rows.append(
        (("one cell", "", f"{ways} × {ops}{raised(2 * space.nodes)}", written(before)), 0.0, before, INK["soft"])
    )
    both = len(space.cells) * before
    rows.append((("both", "", "normal × reduction", written(both)), 0.0, both, INK["ink"]))
    parts = _decades(left, right, 36 * len(rows), last)
    for k, ((name, sources, product_, size), start, length, shade) in enumerate(rows):
        y = 36 * k + 22
        parts += [
            text(16, y, name, 12, font_weight=600),
            text(84, y, sources, 12),
            text(296, y, product_, 12, text_anchor="end"),
            text(308, y, f"= {size}", 12),
            box(left + scale * start, y - 14, scale * length, 18, shade, rx=3),
        ]
    return picture(
        f"Where the 10{raised(round(both))} comes from",
        "On a log scale factors become lengths. Each node starts where the one before it ended; later nodes add a "
        "little more, for they have more sources to choose from. Two independent cells double the length: the number "
        "is squared.",
        36 * len(rows) + 18,
        *parts,
    )


def sizes() -> Chart:
    """The sizes of some spaces on one log scale."""
    rows = (
        ("NAS-Bench-101, different cells", 423_624, "Ying et al., 2019:"),
        ("TOY, one op an edge", argmax_count(TOY), "5⁵ · 5⁵ ="),
        ("DARTS, two edges a node", top2_count(DARTS), "(180 · 7⁸)² ="),
        ("NASP's 12 ops, one op an edge", argmax_count(NASP_12), "8¹⁴ · 5¹⁴ ="),
        ("DARTS, one op an edge, as in SNAS", argmax_count(DARTS), "8¹⁴ · 8¹⁴ ="),
    )
    left, right, last = 244.0, 744.0, 27
    parts = _decades(left, right, 38 * len(rows), last)
    for k, (name, size, formula) in enumerate(rows):
        y, length = 38 * k + 23, (right - left) / last * math.log10(size)
        inside = length > 200
        parts += [
            text(left - 10, y, name, 12, text_anchor="end"),
            box(left, y - 16, length, 24, INK["soft"], rx=3),
            text(
                left + (10 if inside else length + 8),
                y,
                f"{formula} {written(math.log10(size))}",
                11.5,
                INK["panel" if inside else "ink"],
            ),
        ]
    age = left + (right - left) / last * math.log10(13.8e9 * 365.25 * 86_400)  # Planck collaboration (2020)
    parts += [
        line(age, -4, age, 38 * len(rows), INK["focus"], stroke_width=1.6, stroke_dasharray="4 3"),
        text(age + 6, 8, "seconds since the Big Bang", 10.5, INK["focus"]),
    ]
    return picture(
        "How many architectures there are",
        "At one architecture a second, a space whose bar crosses the blue line would have kept you busy since the Big "
        "Bang. All but the first bar count choices; section 8 shows that different choices may give the same cell.",
        38 * len(rows) + 18,
        *parts,
    )


# --- operations ------------------------------------------------------------------------------------------------------

SHOWN = ("none", "skip", "conv1", "conv3", "conv3x1_1x3", "sep3", "sep5", "sep7", "dil3", "dil5", "avg3", "max3")


def field(op: str, side: int = 13) -> NDArray[np.float64]:
    """[row, column]: how strongly each pixel of an image reaches the middle pixel of what ``op`` gives.

    Measured on the operation itself, with one channel and all weights 1: one image for every pixel, in which only
    that pixel is lit. ``side`` is odd.
    """
    import torch

    from nascore.ops import OPS

    module = OPS[op](1, 1, 1, False).eval()
    for weight in module.parameters():
        torch.nn.init.ones_(weight)
    with torch.inference_mode():
        seen = module(torch.eye(side * side).reshape(-1, 1, side, side))
    return np.asarray(seen[:, 0, side // 2, side // 2], dtype=float).reshape(side, side)


def fields() -> Chart:
    """What one value of the output sees of the image, for each operation."""
    side, pixel, columns = 13, 6.6, 6
    parts = []
    for k, op in enumerate(SHOWN):
        x, y = 20 + (k % columns) * 123.0, 134.0 * (k // columns) + 4
        seen = field(op, side)
        lit = np.argwhere(seen > 0)
        parts.append(box(x, y, side * pixel, side * pixel, INK["panel"], stroke=INK["line"]))
        for row, column in lit.tolist():
            depth = 0.25 + 0.75 * seen[row, column] / seen.max()
            place = x + column * pixel + 0.4, y + row * pixel + 0.4
            parts.append(box(*place, pixel - 0.8, pixel - 0.8, colour(op), fill_opacity=f"{depth:.2f}"))
        reach = int(np.ptp(lit[:, 0])) + 1 if len(lit) else 0
        words = f"{len(lit)} pixel{'s' if len(lit) > 1 else ''} of {reach}×{reach}" if reach else "nothing"
        foot = y + side * pixel
        parts += [text(x, foot + 16, op_label(op), 11.5, font_weight=600), text(x, foot + 30, words, 10, INK["soft"])]
    return picture(
        "What one output value sees of the image",
        "A separable convolution is applied twice, so its window grows: 3×3 becomes 5×5, and the middle counts more "
        "often (darker). A dilated one looks as far with gaps, in one go. Pools see what a convolution sees but learn "
        "nothing.",
        134 * 2,
        *parts,
    )


def _count(value: float) -> str:
    """A count as people write it: 2 304, 41.5 k, 3.35 M."""
    for size, unit, above in ((1e9, "G", 1e9), (1e6, "M", 1e6), (1e3, "k", 1e4)):
        if value >= above:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}".replace(",", " ")


def costs(channels: float = 16, side: float = 16, stride: float = 1) -> Chart:
    """Parameters, multiply-adds and memory of each operation at this width, on this image, with this stride."""
    from nascore.ops import OPS

    width, pixels, step = int(channels), int(side), int(stride)
    found = {op: OPS[op].cost(width, pixels, pixels, step) for op in SHOWN}
    parts = []
    for name, left, words in (
        ("parameters", 132.0, "learnt numbers"),
        ("madds", 346.0, "multiply-adds"),
        ("memory", 560.0, "values moved"),
    ):
        most = max(getattr(cost, name) for cost in found.values()) or 1
        parts.append(text(left, 8, words, 11.5, INK["soft"]))
        for k, (op, cost) in enumerate(found.items()):
            length = 130 * getattr(cost, name) / most
            parts.append(box(left, 18 + 22 * k, length, 15, colour(op), rx=2))
            parts.append(text(left + length + 5, 30 + 22 * k, _count(getattr(cost, name)), 10.5))
    parts += [text(122, 30 + 22 * k, op_label(op), 11, text_anchor="end") for k, op in enumerate(found)]
    return picture(
        f"What an operation costs: {width} channels, {pixels}×{pixels} pixels, stride {step}",
        "Each column has its own scale. Learnt numbers do not depend on the image; multiply-adds grow with its area. "
        "A plain 3×3 convolution grows with the square of the channels, the k×k part of a separable one in proportion.",
        22 * len(found) + 14,
        *parts,
    )


# --- cells against whole networks ------------------------------------------------------------------------------------


def families(layers: float = 12, ops: float = 6) -> Chart:
    """A chain, a multi-branch network and a stack of cells, each of so many layers, and how many there are of each.

    ``ops`` is what a layer, or an edge, chooses from. A layer of the multi-branch network may take any set of earlier
    layers as in Pham et al. (2018), section 2.3; the cell is that of DARTS.
    """
    depth, choices = int(layers), int(ops)
    links = depth * (depth - 1) // 2
    chain = depth * math.log10(choices)
    rows = (
        ("a chain", f"{choices}{raised(depth)}", chain),
        ("a multi-branch network", f"{choices}{raised(depth)} · 2{raised(links)}", chain + links * math.log10(2)),
        ("a stack of cells", f"(180 · {choices}⁸)²", 2 * math.log10(180 * choices**8)),
    )
    gap = 446 / depth
    wide, reduces, parts = min(gap * 0.62, 22), (depth // 3, 2 * depth // 3), []
    for row, (name, formula, decades) in enumerate(rows):
        y = (36.0, 152.0, 254.0)[row]
        parts.append(text(16, y - (24, 80, 54)[row], name, 12, font_weight=600))
        for k in range(depth):
            x = 24 + gap * (k + 0.5)
            dashed = {"stroke_opacity": 0.5, "stroke_dasharray": "3 2"} if row == 1 else {}
            if k:
                parts.append(line(x - gap + wide / 2, y, x - wide / 2, y, INK["soft"], stroke_width=1.4, **dashed))
            # From earlier layers: all of them in the multi-branch network, the one before last in the stack.
            for back in range(2, (1, k + 1, min(k + 1, 3))[row]):
                rise = 13 + 42 * (back / max(depth - 1, 2)) ** 0.5 if row == 1 else 28
                parts.append(_arc(x - back * gap, x, y - 11, rise, **dashed))
        for k in range(depth):
            x = 24 + gap * (k + 0.5)
            sign, fill, ink = "?", INK["panel"], INK["soft"]
            if row == 2:
                sign, fill, ink = ("R" if k in reduces else "N"), INK["ink" if k in reduces else "soft"], INK["panel"]
            parts.append(box(x - wide / 2, y - 11, wide, 22, fill, rx=4, stroke=INK["soft"]))
            parts.append(text(x, y + 4, sign, 10, ink, text_anchor="middle"))
        parts += [
            text(494, y - 16, formula, 11.5, INK["soft"]),
            box(494, y - 9, 250 * decades / 76, 18, INK["focus" if row == 2 else "soft"], rx=3),
            text(494, y + 25, written(decades), 12, font_weight=600),
        ]
    return picture(
        f"{depth} layers, {choices} operations to choose from",
        "Every ? is a choice of its own, and so is every dashed line. A stack repeats two drawings, N and R: however "
        "deep the network, its bar stays as long as it is. The price: all cells of a kind are alike.",
        288,
        *parts,
    )


def _arc(left: float, right: float, y: float, rise: float, **style: object) -> str:
    """An arc above the line ``y``."""
    steps = np.linspace(0, 1, 17)
    bow = [(float(left + (right - left) * t), float(y - rise * (1 - (2 * t - 1) ** 4) ** 0.5)) for t in steps]
    return path(bow, INK["soft"], stroke_width=0.9, **style)


# --- networks --------------------------------------------------------------------------------------------------------


def network(name: str = "DARTS_V2", cells: int = 20, channels: int = 36, **options: Any) -> Child:
    """A CIFAR-10 network of published cells whose weights take no memory: it can be counted but not run.

    ``options`` are those of ``Child``.
    """
    import torch

    from nascore.supernet import Child

    known = about(name)
    with torch.device("meta"):
        return Child(known.space, known.graphs, channels, cells, 10, **options)


def stack(cells: float = 20, reductions: float = 2, channels: float = 36, name: str = "DARTS_V2") -> Chart:
    """A network of so many cells: the image on its way through it, and where its parameters are."""
    child = network(name, int(cells), int(channels), reductions=int(reductions))
    counts = [sum(p.numel() for p in part.parameters()) for part in (child.stem, *child.cells, child.classifier)]
    left, gap, side, parts = 22.0, 716 / len(counts), 32, []
    for k, (count, plan) in enumerate(zip(counts, [None, *child.plans, None], strict=True)):
        x, wide, tall = left + gap * k, gap * 0.7, 84 * count / max(counts)
        side = 1 if k == len(counts) - 1 else -(-side // (plan.stride if plan else 1))
        reduces = plan is not None and plan.stride == 2
        shade = INK["line"] if plan is None else INK["ink" if reduces else "soft"]
        parts += [
            box(x, 60 - 1.6 * side, wide, max(3.2 * side, 4), shade, rx=3),
            box(x, 244 - tall, wide, max(tall, 0.8), INK["focus"], rx=1.5),
        ]
        if plan is not None and (k == 1 or reduces):
            parts += [
                text(x, 128, f"{plan.channels} ch.", 10.5, INK["soft"]),
                text(x, 141, f"{side}×{side}", 10.5, INK["soft"]),
            ]
    total = f"{child.parameter_count():,}".replace(",", " ")
    return picture(
        f"{_plural(cells, 'cell')} of {name}, {_plural(reductions, 'reduction')}, {int(channels)} channels",
        "Above, the image: a reduction cell (dark) halves its side and doubles the channels written below it. Below, "
        "the parameters of each part, from the stem to the classifier: behind a reduction a cell costs about four "
        "times as much.",
        252,
        *parts,
        line(left, 244, left + 716, 244, INK["soft"]),
        text(16, 162, "parameters of each part", 11, INK["soft"]),
        text(744, -12, f"{total} parameters", 15, INK["focus"], font_weight=600, text_anchor="end"),
    )


def _plural(count: float, noun: str) -> str:
    return f"{int(count)} {noun}{'' if count == 1 else 's'}"


# --- published cells -------------------------------------------------------------------------------------------------


def portrait(name: str, see: str = "") -> Chart:
    """The cells of a published architecture with their source; ``see`` says what to look at."""
    known = about(name)
    source = known.source[: known.source.index(", commit") + len(", commit 01234567")]
    return cells(
        known.graphs, f"{name}: {known.title}", f"{see or known.note} {known.paper}; cells from {source}.".strip()
    )


def gallery() -> Chart:
    """All published cells, small."""
    parts, seen = [], []
    for k, name in enumerate(published()):
        x, y = 22 + 372 * (k % 2), 92 * (k // 2) + 8
        parts.append(text(x - 6, y + 8, name, 12, font_weight=600))
        for column, graph in enumerate(published(name).values()):
            parts.append(draw(graph, x + 8 + 180 * column, y + 24, 140, 46, small=True))
            seen += [op for _, _, op in graph.edges]
    foot = 92 * (len(published()) // 2)
    by_label = {op_label(op): op for op in sorted(seen)}
    for k, op in enumerate(sorted(by_label.values(), key=op_label)):
        parts += legend([op], 394 + 122 * (k % 3), foot + 20 + 15 * (k // 3))
    return picture(
        "Eleven published architectures: normal cell left, reduction cell right",
        "Inputs stand at the left, the output at the right. Look for the family likeness of DARTS and its relatives, "
        "for the two-edge reduction cell of SNAS_aggressive, and for the double edges of ENAS, NASNet and AmoebaNet.",
        foot + 104,
        *parts,
    )


class Reported(NamedTuple):
    """What was published of an architecture's size, in millions; None where nothing was found."""

    parameters: float  # on CIFAR-10, in the architecture's own paper
    madds: float | None = None  # on ImageNet, in its own paper


# The first column as collected in the SNAS authors' table of CIFAR-10 results (SNAS-Series/SNAS-Series, README.md) and,
# for NASP, PC_DARTS and GDAS, in their own papers; the second from the papers' ImageNet tables.
REPORTED = {
    "DARTS_V1": Reported(3.3),
    "DARTS_V2": Reported(3.3, 574),
    "SNAS_mild": Reported(2.9, 522),
    "SNAS_moderate": Reported(2.8),
    "SNAS_aggressive": Reported(2.3),
    "NASP": Reported(7.4),
    "PC_DARTS": Reported(3.6, 586),
    "GDAS": Reported(3.4, 581),
    "ENAS": Reported(4.6),
    "NASNet": Reported(3.3, 564),
    "AmoebaNet": Reported(3.2),
}


def scoreboard() -> Chart:
    """The parameters of every published architecture, counted here and as its paper has them."""
    scale, left, parts = 400 / 7.5e6, 140.0, []
    for k, (name, reported) in enumerate(REPORTED.items()):
        y, count = 25.0 * k, network(name).parameter_count()
        mark, agrees = left + scale * 1e6 * reported.parameters, round(count / 1e6, 1) == reported.parameters
        parts += [
            text(left - 10, y + 16, name, 11.5, text_anchor="end"),
            box(left, y + 5, scale * count, 14, INK["soft"], rx=2),
            line(mark, y + 2, mark, y + 22, INK["focus"], stroke_width=2.5),
            text(630, y + 16, f"{count:,}".replace(",", " "), 11.5, text_anchor="end"),
            text(
                650,
                y + 16,
                f"{'=' if agrees else '≠'} {reported.parameters:.1f} M",
                11.5,
                INK["focus"],
                font_weight=600,
            ),
        ]
    return picture(
        "Parameters on CIFAR-10: 20 cells, 36 channels, no auxiliary head",
        "Grey: counted here. Blue: as published, to one digit. ENAS, NASNet and AmoebaNet trained networks of their "
        "own around their cells. DARTS_V1 and SNAS_mild: the released cells are smaller than the papers' tables say.",
        25 * len(REPORTED) + 4,
        *parts,
    )


def multiply_adds(child: Child, image: int) -> tuple[int, int]:
    """Multiply-adds for one image, by two counters: of convolutions and the classifier alone, and of every layer.

    The second is that of sovrasov/flops-counter.pytorch: batch norm costs 2 a value, ReLU and a pool 1 a value read.
    """
    import torch
    from torch import nn

    from nascore.ops import FactorisedReduction

    counted = {"learnt": 0, "rest": 0}

    def count(layer: nn.Module, seen: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            counted["learnt"] += layer.weight[0].numel() * output.numel()
        elif isinstance(layer, nn.Linear):
            counted["learnt"] += layer.weight.numel()
            counted["rest"] += layer.bias.numel()
        elif isinstance(layer, nn.BatchNorm2d):
            counted["rest"] += 2 * seen[0].numel()
        elif isinstance(layer, nn.ReLU | nn.MaxPool2d | nn.AvgPool2d | FactorisedReduction):
            counted["rest"] += seen[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in child.modules()]
    with torch.inference_mode():
        child.eval()(torch.zeros(1, 3, image, image))
    for hook in hooks:
        hook.remove()
    return counted["learnt"], counted["learnt"] + counted["rest"]


def madds(names: Sequence[str] = ("DARTS_V2", "SNAS_mild", "PC_DARTS", "GDAS")) -> Chart:
    """Multiply-adds on ImageNet by two counters, beside the published figure."""
    scale, left, parts = 430 / 620, 120.0, []
    for k, name in enumerate(names):
        learnt, every = (value / 1e6 for value in multiply_adds(published_network(name, "imagenet"), 224))
        y, reported = 40.0 * k, REPORTED[name].madds
        parts += [
            text(left - 10, y + 20, name, 11.5, text_anchor="end"),
            box(left, y + 6, scale * every, 20, "#b9c1ca", rx=2),
            box(left, y + 6, scale * learnt, 20, INK["soft"], rx=2),
            text(left + 8, y + 20, f"{learnt:.0f} M", 11, INK["panel"]),
            text(640, y + 20, f"{every:.0f} M", 11, INK["soft"], text_anchor="end"),
        ]
        if reported is not None:
            mark = left + scale * reported
            parts.append(line(mark, y + 1, mark, y + 31, INK["focus"], stroke_width=2.5))
            parts.append(text(690, y + 20, f"{reported:.0f} M", 11.5, INK["focus"], font_weight=600))
    return picture(
        "Multiply-adds on ImageNet: 14 cells, 224×224 pixels",
        "Dark: convolutions and the classifier. Light: batch norm, ReLU and pools as well, 2 or 1 a value. Blue: as "
        "published. GDAS was counted the first way, PC_DARTS the second; the other two fit neither.",
        40 * len(names) + 2,
        *parts,
    )


# --- one cell, two drawings; one table, two rules --------------------------------------------------------------------


def renumber(graph: CellGraph, order: Sequence[int]) -> CellGraph:
    """The same cell with its intermediate nodes numbered otherwise: node ``i`` becomes node ``order[i]``."""
    first = inputs(graph)
    place = [*range(first), *(first + new for new in order)]
    if sorted(place) != list(range(len(graph.nodes))):
        raise ValueError(f"order: {list(order)} must have each of 0 to {len(graph.nodes) - first - 1} once")
    edges = tuple((place[source], place[target], op) for source, target, op in graph.edges)
    return CellGraph(graph.nodes, edges, tuple(sorted(place[node] for node in graph.output)))


def choices(space: Space, probs: Any, rule: Rule) -> dict[str, str]:
    """The operation that ``rule`` puts on each edge of the first kind of cell, ``"none"`` where it leaves one out."""
    kept = {edge[:2]: edge[2] for edge in space.decode(probs, rule)[space.cells[0]].edges}
    names = [node_name(name) for name in space.graph(()).nodes]
    return {f"{names[i]}→{names[j]}": kept.get((i, j), "none") for i, j in space.edges}


def table(space: Space, probs: Any, rules: bool = False) -> Chart:
    """The probabilities ``[cell, edge, op]`` of the first kind of cell; with ``rules``, what two rules make of them."""
    values = np.asarray(probs, dtype=float)[0]
    names = [node_name(name) for name in space.graph(()).nodes]
    derived = {rule: space.decode(probs, rule)[space.cells[0]] for rule in ("argmax", "top2")} if rules else {}
    left, wide, tall, parts = 92.0, 82.0, 34.0, []
    for k, op in enumerate(space.ops):
        parts.append(text(left + wide * (k + 0.5), 10, op_label(op), 10.5, text_anchor="middle"))
    for e, (source, target) in enumerate(space.edges):
        y = 20 + tall * e + 10 * (target - space.inputs)
        parts.append(text(left - 12, y + 21, f"{names[source]} → {names[target]}", 11.5, text_anchor="end"))
        for k, op in enumerate(space.ops):
            x, frame = left + wide * k, (wide - 4, tall - 4)
            parts += [
                box(x + 2, y + 2, *frame, INK["panel"], rx=4),
                box(x + 2, y + 2, *frame, colour(op), rx=4, fill_opacity=f"{0.75 * values[e, k]:.3f}"),
                text(x + wide / 2, y + 21, f"{values[e, k]:.2f}", 12, text_anchor="middle"),
            ]
            if rules and k == values[e].argmax():
                parts.append(box(x + 2, y + 2, *frame, "none", rx=4, stroke=INK["ink"], stroke_width=2))
            if rules and (source, target, op) in derived["top2"].edges:
                parts.append(dot(x + wide - 12, y + 12, 4, INK["focus"]))
    height = 30 + tall * len(space.edges) + 10 * space.nodes
    if not rules:
        hints = (
            ("argmax", "of each row the largest number;", "where that is none, no edge"),
            ("top2", "never none: of each row the largest other", "number, then the two best rows of each node"),
        )
        for k, (rule, *words) in enumerate(hints):
            parts.append(text(480, 44 + 78 * k, rule, 12, font_weight=600))
            parts += [text(480, 62 + 78 * k + 16 * row, word, 11, INK["soft"]) for row, word in enumerate(words)]
    for k, (rule, graph) in enumerate(derived.items()):
        y = 128.0 * k
        sign = box(450, y - 1, 14, 10, "none", rx=2, stroke=INK["ink"], stroke_width=2)
        parts.append(sign if rule == "argmax" else dot(457, y + 4, 4, INK["focus"]))
        parts += [
            text(472, y + 8, f"{rule}: {len(graph.edges)} edges", 11.5),
            draw(graph, 470, y + 34, 250, 66, named=False),
        ]
    return picture(
        "Two rules, two cells" if rules else "A small table of probabilities",
        "Framed: the largest number of each row, which argmax takes; where that is none the edge is lost. Blue dots: "
        "what top2 takes, two rows for each node whatever none says. Both read the same table."
        if rules
        else "Rows are edges, grouped by the node they lead to, and sum to 1. Colours deepen with the probability.",
        max(height, 250) if rules else height,
        *parts,
    )
