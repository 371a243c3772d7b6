"""CellGraph: validation, JSON, and a canonical hash that tells graphs apart exactly up to renumbering."""

import itertools
import json

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nascore.errors import UserError
from nascore.graph import CellGraph

OPS = ("skip", "conv3")


@st.composite
def graphs(draw, nodes=4, ops=OPS):
    """A DARTS-like cell: two inputs, up to ``nodes`` intermediate ones, any multiset of forward edges."""
    count = 2 + draw(st.integers(1, nodes))
    pairs = [(s, t) for t in range(2, count) for s in range(t)]
    edges = draw(st.lists(st.tuples(st.sampled_from(pairs), st.sampled_from(ops)), max_size=8))
    output = draw(st.lists(st.integers(2, count - 1), unique=True))
    names = ("c_{k-2}", "c_{k-1}", *map(str, range(count - 2)))
    return CellGraph(names, tuple((s, t, op) for (s, t), op in edges), tuple(output))


def renumber(graph, order):
    """The same graph with its intermediate nodes in another order and its edges shuffled along."""
    place = {0: 0, 1: 1} | {old: new + 2 for new, old in enumerate(order)}
    edges = [(place[s], place[t], op) for s, t, op in graph.edges]
    return CellGraph(graph.nodes, tuple(sorted(edges, key=str)), tuple(place[node] for node in graph.output)[::-1])


def isomorphic(a, b):
    """The truth by an independent library: a match that keeps inputs, outputs and the multiset of operations."""

    def build(graph):
        g = nx.DiGraph()
        for node, name in enumerate(graph.nodes):
            g.add_node(node, label=(name if name.startswith("c_") else "", node in graph.output))
        for source, target, _ in graph.edges:
            ops = sorted(op for s, t, op in graph.edges if (s, t) == (source, target))
            g.add_edge(source, target, ops=ops)
        return g

    return nx.is_isomorphic(build(a), build(b), lambda x, y: x == y, lambda x, y: x == y)


@given(graphs(), st.data())
def test_hash_ignores_the_numbering_of_intermediate_nodes(graph, data):
    order = data.draw(st.permutations(range(2, len(graph.nodes))))
    assert renumber(graph, order).canonical_hash() == graph.canonical_hash()


@given(graphs(nodes=3), graphs(nodes=3))
def test_hash_tells_apart_exactly_what_is_not_isomorphic(a, b):
    assert (a.canonical_hash() == b.canonical_hash()) == isomorphic(a, b)


@settings(max_examples=50)
@given(graphs(), st.data())
def test_one_changed_edge_changes_the_hash_unless_isomorphic(graph, data):
    if not graph.edges:
        return
    i = data.draw(st.integers(0, len(graph.edges) - 1))
    s, t, op = graph.edges[i]
    changed = data.draw(st.sampled_from([(s, t, OPS[1 - OPS.index(op)]), None]))
    edges = graph.edges[:i] + ((changed,) if changed else ()) + graph.edges[i + 1 :]
    other = CellGraph(graph.nodes, edges, graph.output)
    assert (other.canonical_hash() == graph.canonical_hash()) == isomorphic(other, graph)


def test_hash_is_exact_where_colour_refinement_is_not():
    # Two directed triangles' worth of crossing edges: one ring of six against two rings of three, drawn as a
    # bipartite graph (every node has two edges, so refinement sees no difference).
    def bipartite(pairs):
        edges = [(0, 2 + i, "skip") for i in range(6)] + [(2 + a, 8 + b, "conv3") for a, b in pairs]
        return CellGraph(("c_{k-2}", "c_{k-1}", *map(str, range(12))), tuple(edges), tuple(range(8, 14)))

    ring = bipartite([(i, i) for i in range(6)] + [(i, (i + 1) % 6) for i in range(6)])
    pair = bipartite([(i, i) for i in range(6)] + [(i, (i + 1) % 3 + 3 * (i // 3)) for i in range(6)])
    assert not isomorphic(ring, pair)
    assert ring.canonical_hash() != pair.canonical_hash()
    assert ring.canonical_hash() == renumber(ring, [2, 4, 6, 3, 5, 7, 13, 12, 11, 10, 9, 8]).canonical_hash()


def test_hash_of_many_interchangeable_nodes_is_quick():
    names = ("c_{k-2}", "c_{k-1}", *map(str, range(40)))
    edges = tuple((0, node, "conv3") for node in range(2, 42))
    assert len(CellGraph(names, edges, tuple(range(2, 42))).canonical_hash()) == 64


def test_hash_counts_repeated_edges_and_outputs_and_inputs():
    names = ("c_{k-2}", "c_{k-1}", "0", "1")
    base = CellGraph(names, ((0, 2, "avg3"), (1, 3, "avg3")), (2, 3))
    others = [
        CellGraph(names, ((0, 2, "avg3"), (0, 2, "avg3"), (1, 3, "avg3")), (2, 3)),
        CellGraph(names, ((0, 2, "avg3"), (1, 3, "avg3")), (2,)),
        CellGraph(names, ((0, 2, "avg3"), (0, 3, "avg3")), (2, 3)),
        CellGraph(names, ((1, 2, "avg3"), (1, 3, "avg3")), (2, 3)),
    ]
    assert len({g.canonical_hash() for g in [base, *others]}) == 5


def test_hash_counts_operations_on_nodes():
    def chain(*ops):
        last = len(ops) + 1
        return CellGraph(("input", *ops, "output"), tuple((i, i + 1, "") for i in range(last)), (last,))

    assert chain("conv3", "max3").canonical_hash() != chain("max3", "conv3").canonical_hash()
    swapped = CellGraph(("input", "max3", "conv3", "output"), ((0, 2, ""), (2, 1, ""), (1, 3, "")), (3,))
    assert chain("conv3", "max3").canonical_hash() == swapped.canonical_hash()


def test_hash_is_the_same_in_every_process():
    graph = CellGraph(("c_{k-2}", "c_{k-1}", "0"), ((0, 2, "skip"), (1, 2, "conv3")), (2,))
    assert graph.canonical_hash() == "07b97733f5905222c3089602f41a569f7993658d2293d802a162f285a0868bca"


@given(graphs())
def test_json_round_trip(graph):
    assert CellGraph.from_json(graph.to_json()) == graph
    assert CellGraph.from_json(graph.to_json()).to_json() == graph.to_json()


@given(graphs())
def test_order_leads_forwards(graph):
    place = {node: i for i, node in enumerate(graph.order())}
    assert sorted(place) == list(range(len(graph.nodes)))
    assert all(place[s] < place[t] for s, t, _ in graph.edges)


def test_lists_are_taken_and_the_graph_is_hashable():
    graph = CellGraph(["c_{k-1}", "0"], [[0, 1, "skip"]], [1])
    assert hash(graph) == hash(CellGraph(("c_{k-1}", "0"), ((0, 1, "skip"),), (1,)))
    assert graph.into(1) == ((0, 1, "skip"),)
    assert graph.into(0) == ()


NAMES = ("c_{k-2}", "c_{k-1}", "0", "1")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ((NAMES, ((0, 4, "skip"),), (2,)), r"edges: \(0, 4, 'skip'\) points outside the nodes 0 to 3"),
        ((NAMES, ((0, 1, "skip"),), (2,)), r"edges: \(0, 1, 'skip'\) feeds the input 'c_\{k-1\}'"),
        ((NAMES, ((2, 3, "skip"), (3, 2, "skip")), (2,)), "edges: .* form a cycle"),
        ((NAMES, ((2, 2, "skip"),), (2,)), "edges: .* form a cycle"),
        ((NAMES, ((0, 2),), (2,)), "CellGraph: nodes must be names, edges"),
        ((NAMES, ((0, 2.5, "skip"),), (2,)), "CellGraph: nodes must be names, edges"),
        ((NAMES, ((0, 2, 7),), (2,)), "CellGraph: 7 is not a name"),
        ((("c_{k-1}", 0), (), (1,)), "CellGraph: 0 is not a name"),
        ((NAMES, (), (4,)), "output: 4 is outside the nodes 0 to 3"),
        ((NAMES, (), (2, 2)), "output: .* names a node twice"),
    ],
)
def test_a_bad_graph_is_refused_with_a_sentence(fields, says):
    with pytest.raises(UserError, match=says):
        CellGraph(*fields)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "text: this is not the JSON of a cell graph"),
        (None, "text: this is not the JSON of a cell graph"),
        ("[]", "found a list"),
        ("{}", "has the fields nodes, edges, output; found none"),
        (json.dumps({"nodes": [], "edges": []}), "found nodes, edges"),
        (json.dumps({"nodes": ["c_{k-1}"], "edges": [[0, 5, "skip"]], "output": []}), "points outside"),
        (json.dumps({"nodes": ["c_{k-1}"], "edges": 3, "output": []}), "nodes must be names"),
        (json.dumps({"nodes": [1], "edges": [], "output": []}), "1 is not a name"),
    ],
)
def test_bad_json_is_refused_with_a_sentence(text, says):
    with pytest.raises(UserError, match=says):
        CellGraph.from_json(text)


def test_renumbering_all_ways_gives_one_hash():
    graph = CellGraph(
        ("c_{k-2}", "c_{k-1}", "0", "1", "2", "3"),
        (
            (0, 2, "sep3"),
            (1, 2, "sep3"),
            (0, 3, "sep3"),
            (1, 3, "sep3"),
            (1, 4, "sep3"),
            (0, 5, "skip"),
            (2, 5, "dil3"),
        ),
        (2, 3, 4, 5),
    )
    assert len({renumber(graph, order).canonical_hash() for order in itertools.permutations(range(2, 6))}) == 1
