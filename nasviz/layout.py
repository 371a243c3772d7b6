"""Where the nodes and edges of a cell run, once and for all per space, so that nothing jumps while a search is on.

Spaces with two inputs and two to five nodes (every space of the kit) have their places in ``layouts.json``, which
``python -m nasviz.layout`` makes with Graphviz. Any other space is laid out by Graphviz when it is first drawn, and
without Graphviz column by column.

A node is as tall as its edges need: each arrives in a slot of its own, with room for its credit bar in front of the
node. An edge that passes other nodes keeps to a lane between them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nascore.space import Space

Point = tuple[float, float]
Line = tuple[Point, ...]

NODE_WIDTH = 34.0
BAR_ROOM = 34.0  # in front of a node, for the credit bars of the edges that reach it
SLOT = 15.0  # distance between edges where they reach a node
_PORT = 9.0  # the same where they leave one
_BUNDLE, _STRAND = 15.0, 2.6  # most width of a bundle of strands, most distance between two
_LANE = 24.0  # distance between edges that pass a node side by side
_EXIT = 44.0  # length of the lines from the last node to the output
_WIDE, _HIGH = (460.0, 70.0), (190.0, 26.0)  # a picture's size, in pixels: at least, and more a node
_MARGIN = 14.0


@dataclass(frozen=True)
class Layout:
    """Size of the picture; centres of the nodes, inputs first, and of the output; and the way of every edge.

    ``lanes`` holds the points between which each edge passes other nodes, ``exits`` those on the way from each
    intermediate node to the output.
    """

    width: float
    height: float
    nodes: Line
    output: Point
    lanes: tuple[Line, ...]
    exits: tuple[Line, ...]


@cache
def layout(space: Space) -> Layout:
    """The places of a space's nodes and edges; they depend on its graph alone, not on its operations."""
    known = json.loads((files("nasviz") / "layouts.json").read_text("utf-8"))
    if found := known.get(_shape(space)):
        lanes, exits = (tuple(map(_line, found[name])) for name in ("lanes", "exits"))
        return Layout(found["width"], found["height"], _line(found["nodes"]), _line([found["output"]])[0], lanes, exits)
    return by_graphviz(space) or by_columns(space)


def _line(points: Iterable[Sequence[float]]) -> Line:
    return tuple((float(x), float(y)) for x, y in points)


def _shape(space: Space) -> str:
    return f"{space.inputs}+{space.nodes}"


@cache
def node_height(space: Space, node: int) -> float:
    """Height of a node's box in pixels: a slot for every edge that reaches or leaves it."""
    reaching = sum(target == node for _, target in space.edges)
    leaving = sum(source == node for source, _ in space.edges)
    return max(26.0, SLOT * reaching + 2, _PORT * leaving + 10)


def _ends(space: Space) -> list[tuple[int, int]]:
    """The edges, then those to the output, which counts as one more node."""
    last = space.inputs + space.nodes
    return [*space.edges, *((node, last) for node in range(space.inputs, last))]


# ------------------------------------------------------------------------------------------------ the ways of edges


@cache
def strands(space: Space) -> tuple[tuple[str, ...], ...]:
    """The path of every strand, ``[edge][op]``: one curve an op, side by side, from node to node."""
    count = len(space.ops)
    gap = min(_STRAND, _BUNDLE / max(count - 1, 1))
    sides = [(k - (count - 1) / 2) * gap for k in range(count)]
    ways = (_smooth(points) for points in _ways(space)[: len(space.edges)])
    return tuple(tuple(_path(_beside(way, side)) for side in sides) for way in ways)


@cache
def exits(space: Space) -> tuple[str, ...]:
    """The paths from the intermediate nodes to the output."""
    return tuple(_path(_smooth(points)) for points in _ways(space)[len(space.edges) :])


@cache
def heads(space: Space) -> Line:
    """Where each edge ends, ``BAR_ROOM`` in front of its node: its credit bar stands from here to the node."""
    return tuple(points[-1] for points in _ways(space)[: len(space.edges)])


@cache
def labels(space: Space) -> Line:
    """The place of each edge's label: the point on it that is farthest from all other edges and from the nodes."""
    places = layout(space)
    ways = [_smooth(points, 8) for points in _ways(space)[: len(space.edges)]]
    boxes = np.array([*places.nodes, places.output])
    found = []
    for e, way in enumerate(ways):
        others = np.vstack([other for f, other in enumerate(ways) if f != e] or [boxes])
        inner = way[len(way) // 6 : -len(way) // 8]
        clear = [min(np.hypot(*(others - point).T).min(), np.hypot(*(boxes - point).T).min() - 30) for point in inner]
        x, y = inner[int(np.argmax(clear))]
        found.append((float(x), float(y)))
    return tuple(found)


@cache
def _ways(space: Space) -> tuple[Line, ...]:
    """The corner points of every edge, then of every exit: port, lane, slot."""
    places, ends, last = layout(space), _ends(space), space.inputs + space.nodes
    centres = (*places.nodes, places.output)
    lanes = (*places.lanes, *places.exits)

    def ordered(end: int, node: int) -> list[int]:
        """The edges at a node from top to bottom: by where they come from or go to, so that they do not cross."""
        mine = [e for e, edge in enumerate(ends) if edge[end] == node]
        return sorted(mine, key=lambda e: (lanes[e] or (centres[ends[e][1 - end]],))[0 if end == 0 else -1][1])

    starts: dict[int, Point] = {}
    stops: dict[int, Point] = {}
    for node, (x, y) in enumerate(centres):
        for end, gap, table in ((0, _PORT, starts), (1, SLOT if node < last else 5.0, stops)):
            here = ordered(end, node)
            side = NODE_WIDTH / 2 if end == 0 else -NODE_WIDTH / 2 - (BAR_ROOM if node < last else 0)
            for rank, e in enumerate(here):
                table[e] = (x + side, y + (rank - (len(here) - 1) / 2) * gap)
    return tuple((starts[e], *lanes[e], stops[e]) for e in range(len(ends)))


def _smooth(points: Line, pieces: int = 3) -> NDArray[np.float64]:
    """Points on a curve through ``points`` that is level at both ends and never overshoots, ``[point, (x, y)]``.

    Between two points it is a cubic whose slope where pieces meet is that of Fritsch and Butland (1984).
    """
    x, y = np.array(points).T
    steps = np.diff(y) / np.diff(x)
    slope = np.zeros(len(x))
    same = steps[:-1] * steps[1:] > 0
    slope[1:-1][same] = 2 / (1 / steps[:-1][same] + 1 / steps[1:][same])
    curve = [(x[0], y[0])]
    for k, (a, b) in enumerate(pairwise(range(len(x)))):
        width = x[b] - x[a]
        for t in np.linspace(0, 1, (2 * pieces if len(x) == 2 else pieces) + 1)[1:]:
            h00, h10, h01, h11 = 2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, 3 * t**2 - 2 * t**3, t**3 - t**2
            curve.append((x[a] + t * width, h00 * y[a] + h01 * y[b] + width * (h10 * slope[k] + h11 * slope[k + 1])))
    return np.array(curve)


def _beside(way: NDArray[np.float64], aside: float) -> NDArray[np.float64]:
    """A curve at a distance from another, nearer at both ends."""
    along = np.gradient(way, axis=0)
    along[[0, -1]] = (1, 0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.hypot(*along.T)[:, None]
    taper = np.ones(len(way))
    taper[[0, -1]], taper[[1, -2]] = 0.4, 0.85
    moved: NDArray[np.float64] = way + aside * taper[:, None] * normal
    return moved


def _path(points: NDArray[np.float64]) -> str:
    """A smooth SVG path through points (Catmull and Rom's tangents), level at both ends."""
    tangent = np.gradient(points, axis=0) / 3
    tangent[[0, -1], 1] = 0
    parts = [f"M{points[0, 0]:.1f},{points[0, 1]:.1f}"]
    for k in range(1, len(points)):
        (x1, y1), (x2, y2), (x, y) = points[k - 1] + tangent[k - 1], points[k] - tangent[k], points[k]
        parts.append(f"C{x1:.1f},{y1:.1f} {x2:.1f},{y2:.1f} {x:.1f},{y:.1f}")
    return "".join(parts)


# ------------------------------------------------------------------------------------------------ making a layout


def _inch(pixels: float) -> str:
    """Pixels as dot counts sizes: in inches of 72 points. It answers in points."""
    return f"{pixels / 72:.4f}"


def by_graphviz(space: Space) -> Layout | None:
    """Places from ``dot``, of graphviz-pure or of the system; None where there is none."""
    import graphviz

    graph = graphviz.Digraph(graph_attr={"rankdir": "LR", "nodesep": _inch(_LANE), "ratio": "fill"})
    wide, high = (least + more * space.nodes - 2 * _MARGIN for least, more in (_WIDE, _HIGH))
    graph.attr(size=f"{_inch(wide)},{_inch(high)}!")
    graph.attr("node", shape="box", fixedsize="true")
    graph.body.append("{rank=same " + " ".join(map(str, range(space.inputs))) + "}")
    last = space.inputs + space.nodes
    for node in range(last + 1):
        room = BAR_ROOM if space.inputs <= node < last else 0
        height = node_height(space, node) if node < last else 26.0
        graph.node(str(node), width=_inch(NODE_WIDTH + room), height=_inch(height))
    for source, target in _ends(space):
        graph.edge(str(source), str(target), arrowhead="none")
    beside = Path(sys.executable).parent
    places = [shutil.which(name, path=path) for path in (beside, None) for name in ("dot", "graphviz-pure")]
    program = next(filter(None, places), None)
    if program is None:
        return None
    answer = subprocess.run([program, "-Tjson"], input=graph.source, capture_output=True, text=True, check=False)
    return _read_dot(space, json.loads(answer.stdout)) if answer.returncode == 0 else None


def _read_dot(space: Space, drawn: dict[str, Any]) -> Layout:
    _, _, width, height = map(float, drawn["bb"].split(","))
    names = {item["_gvid"]: int(item["name"]) for item in drawn["objects"] if item["name"].isdigit()}
    centres = {names[item["_gvid"]]: _points(item["pos"])[0] for item in drawn["objects"] if item["_gvid"] in names}
    splines = {(names[e["tail"]], names[e["head"]]): _spline(_points(e["pos"])) for e in drawn["edges"]}
    upright = len(centres) < 2 or space.inputs < 2 or centres[0][1] > centres[1][1]  # dot's y grows upwards

    last = space.inputs + space.nodes
    # Nothing but thin lines lead to the output: its column need not be as wide as the others.
    near = max(x for n, (x, _) in centres.items() if n < last) + BAR_ROOM / 2 + NODE_WIDTH + _EXIT
    stretch = (centres[last][0] - NODE_WIDTH / 2) / (near - NODE_WIDTH / 2)
    centres[last] = (near, centres[last][1])

    def place(x: float, y: float) -> Point:
        along = NODE_WIDTH / 2 + stretch * (x - NODE_WIDTH / 2)
        return round(along + _MARGIN, 1), round((height - y if upright else y) + _MARGIN, 1)

    half = (NODE_WIDTH + BAR_ROOM) / 2
    lanes = []
    for source, target in _ends(space):
        passed = sorted(x for x, _ in centres.values() if centres[source][0] < x < centres[target][0])
        across = [x + side for x in passed for side in (-half, half)]
        heights = np.interp(across, *splines[source, target].T)
        lanes.append(tuple(place(x, y) for x, y in zip(across, heights.tolist(), strict=True)))
    nodes = [place(x + (BAR_ROOM / 2 if n >= space.inputs else 0), y) for n, (x, y) in sorted(centres.items())]
    split = len(space.edges)
    size = width + 2 * _MARGIN, height + 2 * _MARGIN
    return Layout(*size, tuple(nodes[:last]), nodes[last], tuple(lanes[:split]), tuple(lanes[split:]))


def _points(text: str) -> list[Point]:
    """The numbers in ``"x,y x,y ..."``; dot marks an arrow's tip by a letter in front, which is left out."""
    pairs = (item.split(",") for item in text.split() if not item[0].isalpha())
    return [(float(x), float(y)) for x, y in pairs]


def _spline(control: list[Point]) -> NDArray[np.float64]:
    """Points on cubic Bézier curves that follow one another, ``[point, (x, y)]``."""
    t = np.linspace(0, 1, 25)[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return np.vstack([weights @ np.array(control[k : k + 4]) for k in range(0, len(control) - 1, 3)])


def by_columns(space: Space) -> Layout:
    """A column for the inputs and one for each node; edges that pass a column are stacked in it above or below."""
    last, ends = space.inputs + space.nodes, _ends(space)
    gap = max((_WIDE[0] + _WIDE[1] * space.nodes) / (space.nodes + 1), NODE_WIDTH + BAR_ROOM + 40)
    column = [max(node - space.inputs + 1, 0) for node in range(last + 1)]
    x = [_MARGIN + NODE_WIDTH / 2 + index * gap for index in range(space.nodes + 2)]
    room = [node_height(space, node) + 12 for node in range(last)] + [26.0]
    y: dict[int, float] = {}
    way: dict[int, list[float]] = {e: [] for e in range(len(ends))}
    for index in range(space.nodes + 2):
        here = range(space.inputs) if index == 0 else [space.inputs + index - 1]
        passing = [e for e, (source, target) in enumerate(ends) if column[source] < index < column[target]]
        items = [(_wish(node, ends, way, y), room[node], node, -1) for node in here]
        items += [((way[e] or [y[ends[e][0]]])[-1] + 12 * (ends[e][1] - index), _LANE, -1, e) for e in passing]
        items.sort()
        top = -sum(item[1] for item in items) / 2
        for _, size, node, e in items:
            if node >= 0:
                y[node] = top + size / 2
            else:
                way[e].append(top + size / 2)
            top += size
    half = (NODE_WIDTH + BAR_ROOM) / 2
    lanes = []
    for e, (source, _) in enumerate(ends):
        middle = [(x[column[source] + 1 + k] - BAR_ROOM / 2, height) for k, height in enumerate(way[e])]
        lanes.append([(at + side, height) for at, height in middle for side in (-half, half)])
    return _fitted(space, [(x[column[node]], y[node]) for node in range(last + 1)], lanes)


def _wish(node: int, ends: Sequence[tuple[int, int]], way: dict[int, list[float]], y: dict[int, float]) -> float:
    """Where a node would like to stand: amid the edges that reach it."""
    reaching = [(way[e] or [y[source]])[-1] for e, (source, target) in enumerate(ends) if target == node]
    return float(np.mean(reaching)) if reaching else float(node)


def _fitted(space: Space, nodes: Sequence[Point], lanes: Sequence[Iterable[Point]]) -> Layout:
    """The layout whose uppermost and lowest parts just have their margin."""
    last, split = space.inputs + space.nodes, len(space.edges)
    reach = [(y, node_height(space, n) / 2) for n, (_, y) in enumerate(nodes[:last])]
    reach += [(y, _BUNDLE / 2) for lane in lanes for _, y in lane]
    up, low = min(y - half for y, half in reach) - _MARGIN, max(y + half for y, half in reach) + _MARGIN
    ways = tuple(_line((round(x, 1), round(y - up, 1)) for x, y in lane) for lane in lanes)
    places = _line((round(x, 1), round(y - up, 1)) for x, y in nodes)
    size = places[last][0] + NODE_WIDTH / 2 + _MARGIN, round(low - up, 1)
    return Layout(*size, places[:last], places[last], ways[:split], ways[split:])


# ------------------------------------------------------------------------------------------------ names


def node_name(space: Space, node: int) -> str:
    """How views call a node: k−2, k−1, 0, 1, …."""
    return f"k−{space.inputs - node}" if node < space.inputs else str(node - space.inputs)


def edge_names(space: Space) -> tuple[str, ...]:
    """How views call the edges of a cell: ``k−2→0``."""
    return tuple(f"{node_name(space, i)}→{node_name(space, j)}" for i, j in space.edges)


if __name__ == "__main__":
    made = {}
    for nodes in range(2, 6):
        if (found := by_graphviz(Space(2, nodes, ("skip",)))) is None:
            sys.exit("layouts: Graphviz is needed to make them; there is no dot beside this Python or on the PATH.")
        made[f"2+{nodes}"] = asdict(found)
    lines = ",\n".join(f'  "{name}": {json.dumps(value)}' for name, value in made.items())
    Path(__file__).with_name("layouts.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
