"""Places of nodes and ways of edges: inside the picture, nothing on top of a node, a slot for every edge."""

import re
import shutil
from itertools import combinations, pairwise

import numpy as np
import pytest

from nascore.space import DARTS, SPACES, TOY, Space
from nasviz import layout as places
from nasviz.layout import BAR_ROOM, NODE_WIDTH, SLOT, by_columns, by_graphviz, layout, node_height

SHAPES = [Space(inputs, nodes, ("none", "skip")) for inputs in (1, 2, 3) for nodes in (1, 2, 3, 4, 5)]


@pytest.fixture(params=["shipped", "graphviz", "columns"])
def made(request, monkeypatch):
    """Lays spaces out in one of the three ways, for all functions of the module."""
    make = {"shipped": layout, "graphviz": by_graphviz, "columns": by_columns}[request.param]
    caches = [places.strands, places.exits, places.heads, places.labels, places._ways]
    for function in caches:
        function.cache_clear()
    monkeypatch.setattr(places, "layout", make)
    yield make
    for function in caches:
        function.cache_clear()


def box(space, found, node):
    """Left, top, right and bottom of a node, with the room for its bars."""
    x, y = found.nodes[node]
    high = node_height(space, node) / 2
    return x - NODE_WIDTH / 2 - (BAR_ROOM if node >= space.inputs else 0), y - high, x + NODE_WIDTH / 2, y + high


def named(space):
    return f"{space.inputs}+{space.nodes}"


@pytest.mark.parametrize("space", SHAPES, ids=named)
def test_nodes_stand_apart_and_inside_the_picture(made, space):
    found = made(space)
    boxes = [box(space, found, node) for node in range(space.inputs + space.nodes)]
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= found.width
        assert 0 <= top < bottom <= found.height
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)
    assert max(right for _, _, right, _ in boxes) < found.output[0] - NODE_WIDTH / 2


@pytest.mark.parametrize("space", SHAPES, ids=named)
def test_edges_lead_forwards_from_node_to_slot_and_pass_beside_other_nodes(made, space):
    found = made(space)
    for (source, target), way, head in zip(space.edges, places._ways(space), places.heads(space), strict=False):
        assert way[0][0] == pytest.approx(found.nodes[source][0] + NODE_WIDTH / 2)
        assert way[-1] == head
        assert head[0] == pytest.approx(found.nodes[target][0] - NODE_WIDTH / 2 - BAR_ROOM)
        assert abs(head[1] - found.nodes[target][1]) <= node_height(space, target) / 2
        line = places._smooth(way, 20)
        assert (np.diff(line[:, 0]) > 0).all()
        assert (line >= 0).all()
        assert (line <= (found.width, found.height)).all()
        for other in set(range(space.inputs + space.nodes)) - {source, target}:
            left, top, right, bottom = box(space, found, other)
            x, y = line.T
            assert not ((x > left) & (x < right) & (y > top) & (y < bottom)).any(), (source, target, other)


@pytest.mark.parametrize("space", SHAPES, ids=named)
def test_every_edge_has_a_slot_of_its_own(made, space):
    assert made(space)
    for node in range(space.inputs, space.inputs + space.nodes):
        slots = [y for (_, y), (_, target) in zip(places.heads(space), space.edges, strict=True) if target == node]
        assert len(slots) == node
        assert all(b - a == pytest.approx(SLOT) for a, b in pairwise(sorted(slots)))


@pytest.mark.parametrize("space", [TOY, DARTS], ids=lambda space: space.name)
def test_strands_run_side_by_side_from_port_to_slot(space):
    for ops, way in zip(places.strands(space), places._ways(space), strict=False):
        assert len(ops) == len(space.ops)
        numbers = np.array([[float(n) for n in re.findall(r"-?[\d.]+", path)] for path in ops])
        points = numbers.reshape(len(ops), -1, 2)
        assert np.abs(points[:, [0, -1]] - np.array([way[0], way[-1]])).max() < 8
        middle = points[:, points.shape[1] // 2]
        gaps = np.hypot(*np.diff(middle, axis=0).T)
        assert gaps.min() > 1
        assert np.hypot(*(middle[-1] - middle[0])) < 17


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_labels_stand_in_the_picture_one_an_edge(space):
    found = layout(space)
    points = np.array(places.labels(space))
    assert points.shape == (len(space.edges), 2)
    assert ((points > 0) & (points < (found.width, found.height))).all()


def test_places_depend_on_the_graph_and_not_on_the_operations():
    assert layout(DARTS) is not layout(TOY)
    assert layout(DARTS) == layout(Space(2, 4, ("a", "b"), name="other"))


def test_every_space_of_the_kit_has_shipped_places(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: pytest.fail("Graphviz was asked"))
    layout.cache_clear()
    for space in SPACES.values():
        assert len(layout(space).nodes) == space.inputs + space.nodes


def test_without_graphviz_a_space_is_laid_out_in_columns(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: None)
    layout.cache_clear()
    space = Space(3, 2, ("skip",))
    assert by_graphviz(space) is None
    assert layout(space) == by_columns(space)
    layout.cache_clear()


def test_names_of_nodes_and_edges():
    assert [places.node_name(TOY, node) for node in range(4)] == ["k−2", "k−1", "0", "1"]
    assert places.edge_names(TOY) == ("k−2→0", "k−1→0", "k−2→1", "k−1→1", "0→1")
