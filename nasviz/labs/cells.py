"""Cells drawn by hand: one cell with the names of its operations, many small ones, and the graph that holds them all.

A node stands at the same place in every cell with as many nodes, so that two cells can be compared at a glance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from nascore.errors import number
from nascore.graph import CellGraph
from nascore.space import DARTS, Space
from nasviz.charts import INK, Chart
from nasviz.labs.drawing import PAPER, box, line, picture, text
from nasviz.theme import colour, op_label

__all__ = ["cells", "draw", "inputs", "legend", "mother", "node_name", "raised", "written"]

Place = tuple[float, float]
Bezier = tuple[Place, Place, Place, Place]

# How deep the intermediate nodes stand, by their number: found so that edges pass no node and cross seldom.
_DEPTHS = {1: (0.5,), 2: (0.0, 1.0), 3: (0.0, 1.0, 0.6), 4: (0.0, 1.0, 0.2, 0.6), 5: (0.0, 1.0, 0.4, 0.8, 0.0)}
_TO_OUTPUT = "#d3d8de"


def raised(value: int) -> str:
    """Digits as an exponent."""
    return str(value).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def written(decades: float) -> str:
    """10 to the power ``decades`` as people write it: in full below a million, else like 1.08 × 10¹⁸."""
    if decades < 6:
        return f"{round(10**decades):,}".replace(",", " ")
    whole = math.floor(decades)
    mantissa = f"{10 ** (decades - whole):.2f}"
    if mantissa == "10.00":
        mantissa, whole = "1.00", whole + 1
    return f"{mantissa} × 10{raised(whole)}"


def inputs(graph: CellGraph) -> int:
    """How many of the cell's nodes are inputs."""
    return sum(name.startswith("c_") for name in graph.nodes)


def node_name(name: str) -> str:
    """How people read a node: ``c_{k-2}`` is shown as k−2."""
    return name[3:-1].replace("-", "−") if name.startswith("c_{") else name


def _places(graph: CellGraph, width: float, height: float) -> list[Place]:
    """Where each node stands in a frame; the output is one more, at the end."""
    first, count = inputs(graph), len(graph.nodes) - inputs(graph)
    depths = _DEPTHS.get(count, [0.5 + 0.5 * math.cos(math.pi * k) for k in range(count)])
    places = [(0.0, height * (0.5 if first == 1 else 0.18 + 0.64 * k / (first - 1))) for k in range(first)]
    places += [(width * (k + 1.3) / (count + 1.3), height * depth) for k, depth in enumerate(depths)]
    return [*places, (width, height / 2)]


def _bend(start: Place, end: Place, aside: float = 0.0) -> Bezier:
    """An edge that leaves and arrives level; ``aside`` pushes its middle off the straight way, in pixels."""
    across, down = end[0] - start[0], end[1] - start[1]
    length = math.hypot(across, down)
    right, under = -aside * down / length, aside * across / length
    middle = start[0] + across / 2 + right
    return start, (middle, start[1] + under), (middle, end[1] + under), end


def _at(curve: Bezier, t: float) -> Place:
    weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    x, y = (sum(weight * point[axis] for weight, point in zip(weights, curve, strict=True)) for axis in (0, 1))
    return x, y


def _strand(curve: Bezier, shade: str, **style: object) -> str:
    start, *rest = (f"{x:.1f},{y:.1f}" for x, y in curve)
    more = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in style.items())
    return f'<path d="M{start}C{" ".join(rest)}" fill="none" stroke="{shade}"{more}/>'


def _node(place: Place, label: str, alive: bool = True) -> list[str]:
    wide = 36 if len(label) > 1 else 28
    shade, dash = (INK["ink"], {}) if alive else (INK["soft"], {"stroke_dasharray": "3 2"})
    return [
        box(place[0] - wide / 2, place[1] - 12, wide, 24, INK["panel"], rx=6, stroke=shade, stroke_width=1.3, **dash),
        text(place[0], place[1] + 4, label, 11, shade, text_anchor="middle"),
    ]


def draw(
    graph: CellGraph,
    x: float,
    y: float,
    width: float,
    height: float,
    small: bool = False,
    named: bool = True,
    within: CellGraph | None = None,
) -> str:
    """A cell inside a frame, as SVG: an edge has the colour of its operation and, if ``named``, its name.

    ``small`` leaves all words out. What takes no part is dashed: a node that nothing feeds (it gives zeros), an input
    that nothing uses. ``within`` is a graph that the cell is a part of; the rest of it is drawn faint.
    """
    places = _places(graph, width, height)
    fed = {*range(inputs(graph)), *(target for _, target, _ in graph.edges)}
    used = {*graph.output, *(source for source, _, _ in graph.edges)}
    edges, names, taken = [], [], list(places)
    for node in graph.output:
        dash = {} if node in fed else {"stroke_dasharray": "2 3"}
        edges.append(_strand(_bend(places[node], places[-1]), _TO_OUTPUT, stroke_width=1 if small else 1.6, **dash))
    whole = graph if within is None else within
    gap = (12 if small else 36) if within is None else 7
    for number_, (source, target, op) in enumerate(whole.edges):
        twins = [n for n, edge in enumerate(whole.edges) if edge[:2] == (source, target)]
        curve = _bend(places[source], places[target], (twins.index(number_) - (len(twins) - 1) / 2) * gap)
        if (source, target, op) not in graph.edges:
            edges.append(_strand(curve, colour(op), stroke_width=1.2, stroke_opacity=0.4))
            continue
        edges.append(_strand(curve, colour(op), stroke_width=2 if small else 3.2))
        if (
            named and not small
        ):  # the name goes where it is farthest from nodes and other names; a line of words is flat
            spots = [_at(curve, t) for t in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74)]
            room = {s: min(math.hypot((s[0] - t[0]) / 3.5, s[1] - t[1]) for t in taken) for s in spots}
            spot = max(spots, key=lambda s: min(room[s], 26.0))
            taken.append(spot)
            names.append(text(spot[0], spot[1] + 3.5, op_label(op), 10, halo=PAPER, text_anchor="middle"))
    nodes = []
    for k, place in enumerate(places):
        last = k == len(graph.nodes)
        alive = last or (k in fed and k in used)
        if small:
            dash = {} if alive else {"stroke_dasharray": "2 1.5"}
            shade = INK["ink" if alive else "soft"]
            nodes.append(box(place[0] - 4, place[1] - 4, 8, 8, INK["panel"], rx=2.5, stroke=shade, **dash))
        else:
            nodes += _node(place, "out" if last else node_name(graph.nodes[k]), alive)
            if not alive:
                words = "unused" if k in fed else "zeros"
                nodes.append(text(place[0], place[1] + 25, words, 9.5, INK["soft"], text_anchor="middle"))
    return f'<g transform="translate({x:.1f} {y:.1f})">{"".join(edges + names + nodes)}</g>'


def cells(drawn: Mapping[str, CellGraph], title: str, caption: str) -> Chart:
    """Cells under each other, each under its name."""
    parts = []
    for k, (name, graph) in enumerate(drawn.items()):
        unfed = len(graph.nodes) - inputs(graph) - len({target for _, target, _ in graph.edges})
        words = f"{name}: {len(graph.edges)} edges" + (f", {unfed} nodes unfed" if unfed else "")
        parts += [text(16, 6 + 224 * k, words, 11.5, INK["soft"]), draw(graph, 50, 32 + 224 * k, 660, 154)]
    return picture(title, caption, 224 * len(drawn) - 12, *parts)


def legend(ops: Iterable[str], x: float, y: float) -> list[str]:
    """Operations and their colours in a row."""
    parts = []
    for op in ops:
        dash = {"stroke_dasharray": "2 4"} if op == "none" else {}
        parts += [line(x, y - 4, x + 14, y - 4, colour(op), stroke_width=3, **dash), text(x + 19, y, op_label(op), 10)]
        x += 33 + 5.6 * len(op_label(op))
    return parts


def mother(nodes: float = 4, ops: float = 8) -> Chart:
    """All edges a cell of so many nodes may have, with the first ``ops`` operations of DARTS on each."""
    nodes = number("nodes", nodes, low=1, high=5, integer=True)
    ops = number("ops", ops, low=1, high=len(DARTS.ops), integer=True)
    space = Space(2, int(nodes), DARTS.ops[: int(ops)], cells=("normal",))
    empty = space.graph(())
    places = _places(empty, 640, 230)
    parts = [_strand(_bend(places[node], places[-1]), _TO_OUTPUT, stroke_width=1.6) for node in empty.output]
    for source, target in space.edges:
        for k, op in enumerate(space.ops):
            curve = _bend(places[source], places[target], (k - (len(space.ops) - 1) / 2) * 5.5)
            dash = {"stroke_dasharray": "2 4"} if op == "none" else {}
            parts.append(_strand(curve, colour(op), stroke_width=1.6, **dash))
    for place, name in zip(places, [*map(node_name, empty.nodes), "out"], strict=True):
        parts += _node(place, name)
    edges = len(space.edges)
    size = f"{ops}{raised(edges)} = {written(edges * math.log10(ops))}"
    return picture(
        f"The mother graph: {edges} edges × {ops} operations = {edges * ops} strands",
        "Each bundle is one edge, each strand in it one operation. A cell keeps one strand of every bundle (none, the "
        f"dotted one, leaves the edge out): {size} cells. Grey lines lead to the output, which concatenates the nodes.",
        306,
        f'<g transform="translate(60 22)">{"".join(parts)}</g>',
        *legend(space.ops, 16, 296),
    )
