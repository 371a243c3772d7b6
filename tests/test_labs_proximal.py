"""Figures of the lesson *can search stay discrete?*: their numbers by brute force and by counting."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from nets import seeded

from nascore import proximal, toys
from nascore.errors import UserError
from nascore.ops import OPS
from nascore.record import Recording
from nascore.space import NASP_7, NASP_12, TOY, Space
from nascore.supernet import Supernet
from nasviz.labs import proximal as lab


def words(chart):
    return " ".join(node.text or "" for node in ET.fromstring(chart.svg()).iter() if node.tag.endswith("text"))


@pytest.mark.parametrize(("x", "y"), [(0.45, 0.8), (1.5, 1.2), (-0.7, 0.4), (0.0, 0.0), (-0.5, -0.6)])
def test_the_plane_tells_the_nearest_points_by_brute_force(x, y):
    """The told projection is nearer than every other point of the two blue edges."""
    z = torch.tensor([x, y], dtype=torch.float64)
    found = lab.images(z)["projection on both"]
    along = torch.linspace(0, 1, 1001, dtype=torch.float64)
    edges = torch.cat([torch.stack([along, 0 * along], -1), torch.stack([0 * along, along], -1)])
    assert (found - z).norm() <= (edges - z).norm(dim=-1).min() + 1e-12
    told = words(lab.plane(x, y))
    assert f"({float(found[0]):.2f}, {float(found[1]):.2f})" in told.replace("−", "-")


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        ((0.4, 0.8), []),
        ((1.2, 1.6), ["clip, then select"]),
        ((-0.7, 0.4), ["select by size, then clip"]),
    ],
)
def test_the_plane_marks_the_wrong_orders(place, wrong):
    svg = lab.plane(*place).svg()
    marked = re.findall(r'font-weight="600">([^<]+)<', svg)
    assert [name for name in ("clip, then select", "select by size, then clip") if name in marked] == wrong
    assert svg.count("✗") == len(wrong)


def test_searches_in_the_plane_part():
    """Plain proximal gradient keeps its operation, NASP switches; as told under the picture."""
    told = words(lab.plane(0.7, 0.3, search=True))
    assert "never leaves its operation" in told
    switches = int(re.search(r"switches (\d+) times", told)[1])
    path = toys.nasp(lab.pair(), steps=lab.STEPS, epsilon=0.05, start=torch.tensor([0.7, 0.3], dtype=torch.float64))
    active = path.gates.argmax(-1)
    assert switches == int((active[1:] != active[:-1]).sum()) > 100
    assert "left its operation" in words(lab.plane(0.2, 0.19, search=True, epsilon=0.9))


def test_the_frame_of_the_widget_is_that_of_the_picture():
    """Where the page takes the point to be is where Python draws it."""
    shown = lab.page(0.25, 1.25, False, 0.05)
    left, top, right, bottom = shown["frame"]
    across = left + (0.25 - shown["low"]) / (shown["high"] - shown["low"]) * (right - left)
    down = bottom - (1.25 - shown["low"]) / (shown["high"] - shown["low"]) * (bottom - top)
    ring = next(n for n in ET.fromstring(shown["svg"]).iter() if n.get("stroke-width") == "3.5")
    assert float(ring.get("cx")) == pytest.approx(across, abs=0.1)
    assert float(ring.get("cy")) + 36 == pytest.approx(down, abs=0.1)  # the page's title stands above it


def test_the_widget_follows_its_point_and_tells_of_trouble(monkeypatch):
    box = lab.drag().widget()
    (choice, step), view = box.children[0].children, box.children[1]
    before = view.shown["svg"]
    view.x = 1.5
    assert "(1.50, 0.80)" in view.shown["svg"]
    assert view.shown["svg"] != before
    choice.value = True
    assert "Two searches from one point" in view.shown["svg"]
    step.value = 0.2
    assert "ε = 0.2" in view.shown["svg"]
    monkeypatch.setattr(lab, "plane", lambda *arguments: 1 / 0)
    view.y = 0.1
    assert "division by zero" in view.status["error"]


def test_flips_are_those_the_method_counted():
    """The recorded metric counts at the step itself; the gates of the rows have to say the same."""
    recording = Recording.open("digits-nasp")
    counted = [row for row in recording.metric("flips") if np.isfinite(row)]
    assert lab.flips(recording).tolist() == counted[1:]
    assert f"{int(sum(counted[1:]))} in all" in lab.flips_chart({"as published": recording}).figure.data[0].name


def test_route_counts_its_switches():
    path = toys.nasp(toys.ensemble(), steps=50)
    active = path.gates.argmax(-1)
    assert f"{int((active[1:] != active[:-1]).sum())} of 49" in words(lab.route(path, "ABC"))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("small", "large"), [("sep3", "sep7"), ("sep3", "sep5"), ("dil3", "dil5"), ("conv1", "conv3")])
def test_a_larger_kernel_holds_a_smaller_one_exactly(small, large, stride):
    """The same output to 10⁻¹² in float64, in both modes of batch norm."""
    torch.manual_seed(0)
    one, other = (OPS[name](6, 6, stride).double() for name in (small, large))
    x = torch.randn(3, 6, 9, 8, generator=seeded(0), dtype=torch.float64)
    one(x)  # statistics of its own
    assert (one(x) - other(x)).abs().max() > 0.01
    other = lab.embedded(one, other)
    for _ in range(2):
        assert (one(x) - other(x)).abs().max() <= 1e-12
        one.eval(), other.eval()


def test_what_is_built_otherwise_cannot_be_embedded():
    with pytest.raises(UserError, match="small: its convolutions are not those of the larger one"):
        lab.embedded(OPS["conv3"](4, 4), OPS["sep7"](4, 4))


def test_twins_share_and_strangers_do_not():
    """At 0° the ratio of the two stays that of their start; further apart the better one takes over."""
    _, same = lab.near_twins(0)
    p = same.probs[-1]
    torch.testing.assert_close(p, torch.tensor([0.376, 0.374, 0.25], dtype=torch.float64), atol=1e-3, rtol=0)
    problem, apart = lab.near_twins(25)
    assert problem.outputs[1].norm() == pytest.approx(1)
    assert problem.loss(apart.probs[-1]) < 1e-3
    assert abs(float(apart.probs[-1][0] - apart.probs[-1][1])) > 0.1
    assert "share 0.750" in words(lab.split_chart(0))


def test_the_size_of_a_child_by_building_it():
    from nascore.supernet import Child

    for space in (TOY, NASP_12):
        torch.manual_seed(0)
        net = Supernet(space, 4, 3, 10, 1)
        table = torch.rand(space.shape, generator=seeded(3)) * torch.tensor(space.allowed)
        child = Child.inherit(net, space.decode(table))
        built = sum(p.numel() for cell in child.cells for op in cell.ops for p in op.parameters())
        assert lab.child_size(net, table) == built > 0


def test_facts_of_the_two_lists():
    head, seven, twelve = lab.list_facts([NASP_7, NASP_12], channels=4, cells=3).splitlines()
    assert head.split() == ["ops", "cells", "supernet", "dearest", "child"]
    assert seven.split()[:3] == ["NASP_7", "7", f"10^{28 * np.log10(7):.1f}"]
    assert twelve.split()[:5] == ["NASP_12", "8", "+", "5", f"10^{14 * np.log10(40):.1f}"]


def test_step_times_are_measured_in_turns():
    times = lab.step_times((2, 3), rounds=1, channels=2, batch_size=8)
    assert list(times) == ["DARTS", "NASP, published step", "NASP, exact step"]
    assert all(len(values) == 2 and min(values) > 0 for values in times.values())
    figure = lab.times_chart(times, (2, 3)).figure
    assert [trace.name for trace in figure.data] == list(times)


def test_a_large_eta_makes_small_children():
    found = lab.sizes((0, 1), epochs=1)
    assert found.shape == (2, 1)
    assert found[1, 0] < found[0, 0] / 2
    chart = lab.sizes_chart((0, 1), found)
    assert chart.figure.data[0].y == tuple(found.mean(1))
    assert "ρ between η and size, all runs: −1.00" in chart.caption.replace("-", "−")


def test_scores_chart_shows_what_was_scored():
    scores = {"DARTS": toys.Score(0.8, 0.1), "NASP, published": toys.Score(0.7, 0.3)}
    chart = lab.scores_chart(scores)
    assert chart.figure.data[0].y == (0.8, 0.7)
    assert "NASP, published 0.30" in chart.caption


def test_pair_is_the_cycle_of_the_ensemble():
    assert lab.pair().children.tolist() == [1, 1]
    assert lab.pair().loss(torch.tensor([0.5, 0.5], dtype=torch.float64)) == 0
    assert Space(2, 4, lab.GROWING)  # every name is an operation
    assert proximal.project(torch.tensor([0.2, 0.1])).tolist() == pytest.approx([0.2, 0])
