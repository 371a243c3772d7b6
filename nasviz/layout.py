"""Where the nodes of a cell stand, once and for all per space, so that nothing jumps while a search runs.

Spaces with two inputs and two to five nodes (every space of the kit) have their places in ``layouts.json``, found by
minimising how close an edge comes to a node or to another edge. Any other space is laid out by Graphviz, and without
Graphviz in columns.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from nascore.space import Space

Point = tuple[float, float]

NODE = (32.0, 26.0)  # width and height of a node's box
_PORT = 6.0  # distance between two edges where they leave or reach a node
_STRAND = 3.0  # distance between the strands of an edge


@dataclass(frozen=True)
class Layout:
    """Size of the picture, a centre for every node, inputs first, and for the output."""

    width: float
    height: float
    nodes: tuple[Point, ...]
    output: Point


@cache
def layout(space: Space) -> Layout:
    """The places of a space's nodes."""
    known = json.loads((files("nasviz") / "layouts.json").read_text("utf-8"))
    found = known.get(f"{space.inputs}+{space.nodes}") or _by_graphviz(space) or _in_columns(space)
    nodes = tuple((float(x), float(y)) for x, y in found["nodes"])
    return Layout(found["width"], found["height"], nodes, (found["output"][0], found["output"][1]))


def _by_graphviz(space: Space) -> dict[str, Any] | None:
    """Places from ``dot``, of graphviz-pure or of the system; None where there is none."""
    import graphviz

    graph = graphviz.Digraph(graph_attr={"rankdir": "LR", "nodesep": "0.6", "ranksep": "0.9"})
    graph.node_attr.update(shape="box", width="0.45", height="0.36", fixedsize="true")
    last = space.inputs + space.nodes
    for source, target in (*space.edges, *((node, last) for node in range(space.inputs, last))):
        graph.edge(str(source), str(target))
    try:
        drawn = json.loads(graph.pipe(format="json"))
    except (graphviz.ExecutableNotFound, graphviz.CalledProcessError, ValueError):
        return None
    _, _, width, height = map(float, drawn["bb"].split(","))
    place = {item["name"]: tuple(map(float, item["pos"].split(","))) for item in drawn["objects"]}
    flipped = [[place[str(node)][0] + 10, height - place[str(node)][1] + 10] for node in range(last + 1)]
    return {"width": width + 20, "height": height + 20, "nodes": flipped[:-1], "output": flipped[-1]}


def _in_columns(space: Space) -> dict[str, Any]:
    """Inputs in a column, then the nodes one after the other, up and down in turn."""
    height = 90.0 + 40 * max(space.inputs, space.nodes)
    inputs = [[40.0, height * (k + 1) / (space.inputs + 1)] for k in range(space.inputs)]
    swing = (0.2, 0.8, 0.35, 0.65)
    nodes = [[40.0 + 115 * (k + 1), height * swing[k % len(swing)]] for k in range(space.nodes)]
    width = 40.0 + 115 * (space.nodes + 1) + 34
    return {"width": width, "height": height, "nodes": inputs + nodes, "output": [width - 34, height / 2]}


@cache
def strands(space: Space) -> tuple[tuple[str, ...], ...]:
    """The path of every strand, ``[edge][op]``: one curve an op, side by side, from node to node.

    Edges that share a node leave and reach it in the order of their other ends, so that they do not cross there.
    """
    places = layout(space)
    edges, count = space.edges, len(space.ops)

    def ports(end: int) -> dict[tuple[int, int], float]:
        offsets = {}
        for node in range(len(places.nodes)):
            here = sorted((e for e in edges if e[end] == node), key=lambda e: places.nodes[e[1 - end]][1])
            for rank, edge in enumerate(here):
                offsets[edge] = (rank - (len(here) - 1) / 2) * _PORT
        return offsets

    leaving, reaching = ports(0), ports(1)
    paths = []
    for edge in edges:
        (x1, y1), (x2, y2) = places.nodes[edge[0]], places.nodes[edge[1]]
        start, end = (x1 + NODE[0] / 2, y1 + leaving[edge]), (x2 - NODE[0] / 2 - 3, y2 + reaching[edge])
        paths.append(tuple(_curve(start, end, (k - (count - 1) / 2) * _STRAND) for k in range(count)))
    return tuple(paths)


def _curve(start: Point, end: Point, aside: float) -> str:
    """A horizontal-tangent curve, ``aside`` from the middle of its bundle half way and near to it at both ends."""
    (x1, y1), (x2, y2) = start, end
    middle, near = (x1 + x2) / 2, aside * 0.35
    lean = 0.0 if x2 == x1 else -aside * (y2 - y1) / (abs(x2 - x1) + abs(y2 - y1))
    return (
        f"M{x1:.1f},{y1 + near:.1f} C{middle + lean:.1f},{y1 + aside:.1f} "
        f"{middle + lean:.1f},{y2 + aside:.1f} {x2:.1f},{y2 + near:.1f}"
    )


def heads(space: Space) -> tuple[Point, ...]:
    """Where each edge reaches its node: the place of its credit bar."""
    ends = (paths[len(paths) // 2].rsplit(" ", 1)[1].split(",") for paths in strands(space))
    return tuple((float(x), float(y)) for x, y in ends)


def middles(space: Space) -> tuple[Point, ...]:
    """The middle of each edge: the place of its label."""
    nodes = layout(space).nodes
    return tuple(((nodes[i][0] + nodes[j][0]) / 2, (nodes[i][1] + nodes[j][1]) / 2) for i, j in space.edges)


def node_name(space: Space, node: int) -> str:
    """How views call a node: k−2, k−1, 0, 1, …."""
    return f"k−{space.inputs - node}" if node < space.inputs else str(node - space.inputs)


def edge_names(space: Space) -> tuple[str, ...]:
    """How views call the edges of a cell: ``k−2→0``."""
    return tuple(f"{node_name(space, i)}→{node_name(space, j)}" for i, j in space.edges)
