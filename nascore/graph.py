"""A cell as plain data: a directed acyclic graph whose edges carry operation names."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from operator import index
from typing import Any

from nascore.errors import UserError

Edge = tuple[int, int, str]


@dataclass(frozen=True)
class CellGraph:
    """One cell of a network.

    ``nodes`` are names, inputs first: ``("c_{k-2}", "c_{k-1}", "0", "1", ...)``. A number is only a label; any other
    name says what the node is (an input or, in graphs with the operation on the node, that operation).
    ``edges`` are ``(source, target, operation)`` with indices into ``nodes``; the operation is ``""`` where nodes
    carry it. They form a multiset: two equal edges count twice, and their order is kept.
    ``output`` are the indices of the nodes that are concatenated. A node that nothing feeds stays, as zeros.

    Raises ``UserError`` (a ``ValueError``) when an index is out of range, an input is fed or the edges have a cycle.
    """

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]
    output: tuple[int, ...]

    def __post_init__(self) -> None:
        """Turn lists into tuples, so that a graph can be hashed, and check the graph."""
        try:
            object.__setattr__(self, "nodes", tuple(self.nodes))
            object.__setattr__(self, "edges", tuple((index(s), index(t), op) for s, t, op in self.edges))
            object.__setattr__(self, "output", tuple(index(node) for node in self.output))
        except (TypeError, ValueError):
            raise UserError(
                "CellGraph: nodes must be names, edges (source index, target index, operation name), "
                f"output node indices; got nodes={self.nodes!r}, edges={self.edges!r}, output={self.output!r}."
            ) from None
        for name in (*self.nodes, *(op for _, _, op in self.edges)):
            if not isinstance(name, str):
                raise UserError(f"CellGraph: {name!r} is not a name; nodes and operations are named by text.")
        last = len(self.nodes) - 1
        for source, target, op in self.edges:
            if not (0 <= source <= last and 0 <= target <= last):
                raise UserError(f"edges: ({source}, {target}, {op!r}) points outside the nodes 0 to {last}.")
            if self.nodes[target].startswith("c_"):
                raise UserError(f"edges: ({source}, {target}, {op!r}) feeds the input {self.nodes[target]!r}.")
        for node in self.output:
            if not 0 <= node <= last:
                raise UserError(f"output: {node} is outside the nodes 0 to {last}.")
        if len(set(self.output)) < len(self.output):
            raise UserError(f"output: {list(self.output)} names a node twice; every node is concatenated once.")
        try:
            self.order()
        except CycleError as error:
            raise UserError(f"edges: the nodes {error.args[1]} form a cycle; a cell has none.") from None

    def order(self) -> tuple[int, ...]:
        """Node indices such that every edge leads forwards."""
        sources: dict[int, list[int]] = {node: [] for node in range(len(self.nodes))}
        for source, target, _ in self.edges:
            sources[target].append(source)
        return tuple(TopologicalSorter(sources).static_order())

    def into(self, node: int) -> tuple[Edge, ...]:
        """The edges that end in ``node``, in the graph's own order."""
        return tuple(edge for edge in self.edges if edge[1] == node)

    def canonical_hash(self) -> str:
        """64 hexadecimal digits, equal for two graphs exactly when they differ only in how nodes are numbered.

        What counts: inputs and other telling node names, operations, how often an edge occurs, which nodes are
        concatenated. What does not: numbers given to intermediate nodes, the order of edges and of ``output``.
        """
        return sha256(json.dumps(_canonical_form(self)).encode()).hexdigest()

    def to_json(self) -> str:
        """One line of JSON; ``from_json`` gives an equal graph back."""
        return json.dumps({"nodes": self.nodes, "edges": self.edges, "output": self.output})

    @classmethod
    def from_json(cls, text: str) -> CellGraph:
        """The graph that ``to_json`` wrote; ``UserError`` for any other text."""
        fields = read_object(text, "a cell graph", ("nodes", "edges", "output"))
        return cls(**fields)


def read_object(text: str, what: str, names: Iterable[str]) -> dict[str, Any]:
    """The JSON object in ``text``, which must have exactly the fields ``names``."""
    try:
        fields = json.loads(text)
    except (TypeError, ValueError) as error:
        raise UserError(f"text: this is not the JSON of {what} ({error}).") from None
    if not isinstance(fields, dict) or set(fields) != set(names):
        found = ", ".join(map(str, fields)) if isinstance(fields, dict) else f"a {type(fields).__name__}"
        raise UserError(f"text: the JSON of {what} has the fields {', '.join(names)}; found {found or 'none'}.")
    return fields


def _canonical_form(graph: CellGraph) -> Any:
    """The smallest description of ``graph`` over all numberings that colour refinement cannot rule out.

    Refinement alone confuses some graphs. Where it leaves a class of several nodes, each is set apart in turn
    and the smallest result wins, which makes the form exact.
    """
    count = range(len(graph.nodes))
    into = [Counter((op, s) for s, t, op in graph.edges if t == node) for node in count]
    out_of = [Counter((op, t) for s, t, op in graph.edges if s == node) for node in count]
    # A number is a label. So is the name of a node whose operations stand on the edges that feed it.
    names = ["" if name.isdigit() or any(op for op, _ in into[node]) else name for node, name in enumerate(graph.nodes)]

    def refine(colour: list[Any]) -> list[int]:
        """Split colours by the colours of neighbours until nothing splits; colours become ranks 0, 1, ..."""
        while True:
            signature = [
                (
                    colour[node],
                    sorted((op, colour[s]) for op, s in into[node].elements()),
                    sorted((op, colour[t]) for op, t in out_of[node].elements()),
                )
                for node in count
            ]
            distinct = sorted(signature)
            ranks = [distinct.index(value) for value in signature]
            if len(set(ranks)) == len(set(map(str, colour))):
                return ranks
            colour = ranks

    def smallest(colour: list[int]) -> Any:
        shared = sorted(rank for rank, size in Counter(colour).items() if size > 1)
        if not shared:
            place = {node: rank for rank, node in enumerate(sorted(count, key=lambda node: colour[node]))}
            return [
                [names[node] for node in sorted(count, key=lambda node: place[node])],
                sorted((place[s], place[t], op) for s, t, op in graph.edges),
                sorted(place[node] for node in graph.output),
            ]
        forms, seen = [], []
        for node in (node for node in count if colour[node] == shared[0]):
            # Twins, nodes with the very same neighbours, can be swapped: one of them is enough.
            if (into[node], out_of[node]) not in seen:
                seen.append((into[node], out_of[node]))
                forms.append(smallest(refine([2 * c - (other == node) for other, c in enumerate(colour)])))
        return min(forms)

    return smallest(refine([(names[node], node in graph.output) for node in count]))
