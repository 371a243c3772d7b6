"""Figures on cells and spaces: their numbers by enumeration and by independent counts, their pictures well-formed."""

import math
from itertools import pairwise, product
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch

from nascore import published
from nascore.errors import UserError
from nascore.ops import OPS
from nascore.published_cells import about, published_network
from nascore.space import DARTS, NASP_12, TOY, Space
from nascore.supernet import Child
from nasviz.labs import spaces as lab
from nasviz.labs.cells import draw, inputs, raised, written
from nasviz.theme import colour

SVG = "{http://www.w3.org/2000/svg}"
TINY = Space(2, 2, ("none", "skip", "conv3"), cells=("normal",))
SMALL = Space(2, 2, ("none", "skip", "conv3", "max3"), cells=("cell",))
PROBS = [
    [
        [0.10, 0.20, 0.60, 0.10],
        [0.55, 0.10, 0.05, 0.30],
        [0.15, 0.50, 0.20, 0.15],
        [0.05, 0.30, 0.25, 0.40],
        [0.52, 0.02, 0.44, 0.02],
    ]
]


def strands(svg: str) -> list[str]:
    """The colours of the edges in a drawing, without those that lead to the output."""
    found = [path.get("stroke") for path in ET.fromstring(svg).iter(f"{SVG}path")]
    return sorted(shade for shade in found if shade in {colour(op) for op in OPS})


def alone(group: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg">{group}</svg>'


# --- counts ----------------------------------------------------------------------------------------------------------


def test_argmax_counts_every_choice():
    assert lab.argmax_count(TINY) == 3**5 == len(list(lab.every_cell(TINY)))
    assert lab.argmax_count(TOY) == 5**10
    assert lab.argmax_count(DARTS) == 8**28
    assert lab.argmax_count(NASP_12) == 8**14 * 5**14


def test_every_cell_is_every_argmax():
    tables = (np.eye(3)[list(ops)][None] for ops in product(range(3), repeat=5))
    assert set(lab.every_cell(TINY)) == {TINY.decode(table)["normal"] for table in tables}


@pytest.mark.parametrize(
    "space", [TINY, Space(1, 2, ("skip", "conv1"), cells=("c",)), Space(2, 1, ("none", "conv1"), cells=("c",))]
)
def test_top2_counts_what_can_be_derived(space):
    assert lab.top2_count(space) == len(lab.derivable(space))


def test_the_size_that_the_darts_authors_state():
    assert lab.top2_count(DARTS) == (180 * 7**8) ** 2
    assert f"{lab.top2_count(DARTS):.0e}" == "1e+18"


def test_different_cells_of_the_toy_space():
    same = [cell for cell in lab.every_cell(TOY) if not any(edge[:2] == (2, 3) for edge in cell.edges)]
    # Burnside: only cells without 0 → 1 have a twin, and those whose nodes are alike are their own.
    expected = 5**5 - len(same) + (len(same) + 5**2) // 2
    assert len({cell.canonical_hash() for cell in lab.every_cell(TOY)}) == expected == 2825


@pytest.mark.parametrize(
    ("size", "words"), [(49, "49"), (3125, "3 125"), (1.08e18, "1.08 × 10¹⁸"), (9.9999e9, "1.00 × 10¹⁰")]
)
def test_sizes_as_people_write_them(size, words):
    assert written(math.log10(size)) == words
    assert raised(190) == "¹⁹⁰"


def test_the_bars_of_the_count_follow_each_other():
    root = ET.fromstring(lab.count_by_node(DARTS).svg())
    bars = [(float(box.get("x")), float(box.get("width"))) for box in root.iter(f"{SVG}rect") if box.get("rx") == "3"]
    assert len(bars) == 6
    for (x, width), (after, _) in pairwise(bars[:4]):
        assert after == pytest.approx(x + width, abs=0.2)
    assert bars[4][1] == pytest.approx(sum(width for _, width in bars[:4]), abs=0.3)
    assert bars[5][1] == pytest.approx(2 * bars[4][1], abs=0.2)


def test_branches_are_as_many_as_the_enas_paper_says():
    assert "1.61 × 10²⁹" in lab.families(12, 6).svg()  # Pham et al. (2018), section 2.3: 1.6 × 10²⁹
    for layers in (4, 20):  # the stack of cells does not grow
        assert "9.14 × 10¹⁶" in lab.families(layers, 6).svg()


# --- operations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "pixels", "reach"),
    [("none", 0, 0), ("skip", 1, 1), ("conv3", 9, 3), ("sep3", 25, 5), ("sep5", 81, 9), ("dil3", 9, 5), ("max3", 9, 3)],
)
def test_what_an_operation_sees(op, pixels, reach):
    lit = np.argwhere(lab.field(op) > 0)
    assert len(lit) == pixels
    if reach:
        assert (np.ptp(lit, axis=0) + 1).tolist() == [reach, reach]
        assert lit.mean(0).tolist() == [6, 6]


def test_a_field_is_what_backpropagation_sees():
    module = OPS["sep5"](1, 1, 1, False).eval()
    for weight in module.parameters():
        torch.nn.init.ones_(weight)
    x = torch.ones(1, 1, 13, 13, requires_grad=True)
    module(x)[0, 0, 6, 6].backward()
    np.testing.assert_allclose(lab.field("sep5"), x.grad[0, 0].numpy(), rtol=1e-5)


def test_the_costs_shown_are_those_of_the_operations():
    for channels in (6, 16):
        svg = lab.costs(channels, 8, 1).svg()
        shown = [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]
        for op in ("conv3", "sep5"):
            assert f"{OPS[op].parameters(channels, 8, 8):,}".replace(",", " ") in shown
    # The turn that the lesson points at.
    assert OPS["conv3"].parameters(16, 8, 8) > OPS["sep5"].parameters(16, 8, 8)
    assert OPS["conv3"].parameters(6, 8, 8) < OPS["sep5"].parameters(6, 8, 8)


# --- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cells", "reductions", "channels"), [(20, 2, 36), (1, 0, 4), (7, 3, 8)])
def test_the_stack_shows_an_exact_count(cells, reductions, channels):
    child = lab.network("DARTS_V2", cells, channels, reductions=reductions)
    svg = lab.stack(cells, reductions, channels).svg()
    assert f"{child.parameter_count():,} parameters".replace(",", " ") in svg
    assert (cells, reductions, channels) != (20, 2, 36) or "3 349 342 parameters" in svg


def test_doubling_the_width_gives_about_four_times_the_parameters():
    ratio = lab.network(channels=72).parameter_count() / lab.network(channels=36).parameter_count()
    assert 3.7 < ratio < 4


def test_the_scoreboard_has_all_published_architectures():
    assert tuple(lab.REPORTED) == published()
    shown = [text.text for text in ET.fromstring(lab.scoreboard().svg()).iter(f"{SVG}text")]
    for name, (parameters, _) in lab.REPORTED.items():
        count = published_network_on_meta(name).parameter_count()
        assert f"{count:,}".replace(",", " ") in shown
        assert f"{'=' if round(count / 1e6, 1) == parameters else '≠'} {parameters:.1f} M" in shown
    assert sum(text.startswith("=") for text in shown) == 6  # as the lesson says


def published_network_on_meta(name, stem="cifar", **options):
    with torch.device("meta"):
        return published_network(name, stem, **options)


@pytest.mark.parametrize(
    ("name", "channels", "every", "millions"),
    [("GDAS", None, 0, 581), ("PC_DARTS", None, 1, 586), ("DARTS_V2", 50, 0, 573)],
)
def test_multiply_adds_by_the_counter_each_was_published_with(name, channels, every, millions):
    counted = lab.multiply_adds(published_network(name, "imagenet", channels=channels), 224)
    assert counted[every] // 10**6 == millions


def test_the_first_counter_is_that_of_the_child():
    child = published_network("DARTS_V2", channels=4)
    assert lab.multiply_adds(child, 32)[0] == child.madds(32)
    assert not any(module._forward_hooks for module in child.modules())


def test_reductions_keep_the_work_level_and_multiply_the_weights():
    known = about("DARTS_V2")
    flat, usual = (Child(known.space, known.graphs, 36, 20, 10, reductions=count) for count in (0, 2))
    assert [lab.multiply_adds(child, 32)[0] // 10**6 for child in (flat, usual)] == [576, 528]
    assert 5.5 < usual.parameter_count() / flat.parameter_count() < 6.5


# --- drawings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", published())
@pytest.mark.parametrize("small", [True, False])
def test_every_edge_is_drawn_in_its_colour(name, small):
    for graph in published(name).values():
        svg = alone(draw(graph, 0, 0, 600, 150, small=small))
        assert strands(svg) == sorted(colour(op) for _, _, op in graph.edges)


def test_two_edges_between_two_nodes_do_not_hide_each_other():
    graph = published("NASNet")["normal"]
    twins = [edge for edge in graph.edges if sum(edge[:2] == other[:2] for other in graph.edges) > 1]
    assert twins
    paths = [path.get("d") for path in ET.fromstring(alone(draw(graph, 0, 0, 600, 150))).iter(f"{SVG}path")]
    assert len(set(paths)) == len(paths)


def test_an_unfed_node_is_told_so():
    svg = lab.portrait("SNAS_aggressive").svg()
    assert svg.count(">zeros<") == 2
    assert svg.count(">unused<") == 1
    assert "reduce: 2 edges, 2 nodes unfed" in svg
    assert about("SNAS_aggressive").source[-40:][:8] in svg  # the commit it was read in


def test_the_mother_graph_has_a_strand_for_every_choice():
    svg = lab.mother(3, 5).svg()
    assert len(list(ET.fromstring(svg).iter(f"{SVG}path"))) == 9 * 5 + 3
    assert "9 edges × 5 operations = 45 strands" in svg
    with pytest.raises(UserError, match="nodes: 6 is not a whole number from 1 to 5"):
        lab.mother(6, 8)


def test_every_figure_is_well_formed_and_always_the_same():
    figures = (lab.sizes, lab.fields, lab.gallery, lab.mother, lab.costs, lab.families, lab.stack, lab.count_by_node)
    assert [lab.mother(4.0, 8.0).svg(), lab.stack(20.0, 2.0, 36.0).svg()] == [lab.mother().svg(), lab.stack().svg()]
    for figure in figures:
        chart = figure()
        ET.fromstring(chart.svg())
        assert chart.svg() == figure().svg()
        assert len(chart.caption) > 60


# --- one cell, two drawings; one table, two rules --------------------------------------------------------------------


def test_a_renumbered_cell_is_the_same_cell():
    cell = published("DARTS_V2")["normal"]
    again = lab.renumber(cell, (2, 0, 1, 3))
    assert again != cell
    assert again.canonical_hash() == cell.canonical_hash()
    assert inputs(again) == 2
    assert lab.renumber(again, (1, 2, 0, 3)).edges == cell.edges
    with pytest.raises(ValueError, match="order: "):
        lab.renumber(cell, (0, 0, 1, 2))


def test_the_rules_by_hand():
    argmax = {"k−2→0": "conv3", "k−1→0": "none", "k−2→1": "skip", "k−1→1": "max3", "0→1": "none"}
    top2 = {"k−2→0": "conv3", "k−1→0": "max3", "k−2→1": "skip", "k−1→1": "none", "0→1": "conv3"}
    assert lab.choices(SMALL, PROBS, "argmax") == argmax
    assert lab.choices(SMALL, PROBS, "top2") == top2


def test_the_table_marks_what_each_rule_takes():
    root = ET.fromstring(lab.table(SMALL, PROBS, rules=True).svg())
    assert len(list(root.iter(f"{SVG}circle"))) == 4 + 1  # top2's edges, and the legend
    framed = [box for box in root.iter(f"{SVG}rect") if box.get("fill") == "none"]
    assert len(framed) == 5 + 1
    assert not list(ET.fromstring(lab.table(SMALL, PROBS).svg()).iter(f"{SVG}circle"))
