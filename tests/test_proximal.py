"""Proximal operators against brute force, and where they are no projections: Yao et al. (2020), eq. (3)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import seeded

from nascore.proximal import largest, project, prox_c1, prox_c2, strongest_inputs
from nascore.space import DARTS, NASP_12


def points(count=2000, ops=5, seed=0):
    """Points inside the box, above it and below it."""
    return torch.randn(count, ops, generator=seeded(seed), dtype=torch.float64) * 1.5


def nearest(z, low, high):
    """The nearest point to ``z`` with one entry, which lies in [low, high], over all supports: brute force."""
    supports = torch.eye(z.shape[-1], dtype=z.dtype)
    candidates = z[:, None, :].clamp(low, high) * supports  # [point, support, op]
    return candidates, (candidates - z[:, None, :]).square().sum(-1)


def distance(a, z):
    return (a - z).square().sum(-1)


def test_prox_c1_is_the_nearest_point_with_one_entry():
    """Eq. (3): z_k* e_k* with k* = argmax |z_k| minimises ‖a − z‖² over all supports."""
    z = points()
    candidates, away = nearest(z, -torch.inf, torch.inf)
    torch.testing.assert_close(distance(prox_c1(z), z), away.amin(-1))
    torch.testing.assert_close(prox_c1(z), candidates[torch.arange(len(z)), away.argmin(-1)])


def test_prox_c2_is_the_nearest_point_of_the_box():
    """Eq. (3): no other point of the box is nearer; the box is convex, so a dense set of others settles it."""
    z = points(200)
    others = torch.rand(5000, 5, generator=seeded(1), dtype=torch.float64)
    assert (distance(prox_c2(z), z)[:, None] <= distance(others, z[:, None])).all()
    assert prox_c2(z).amin() >= 0
    assert prox_c2(z).amax() <= 1


def test_the_joint_projection_and_the_two_wrong_orders():
    """C₁ ∩ C₂ by brute force over supports; clip-then-select and select-by-modulus-then-clip are farther away."""
    z = points()
    _, away = nearest(z, 0, 1)
    torch.testing.assert_close(distance(project(z), z), away.amin(-1))
    clip_first, select_first = prox_c1(prox_c2(z)), prox_c2(prox_c1(z))
    for wrong in (clip_first, select_first):
        excess = distance(wrong, z) - away.amin(-1)
        assert excess.amin() > -1e-12  # never nearer
        assert (excess > 1e-3).double().mean() > 0.05  # and farther for many points
    two_above, negative = torch.tensor([[1.2, 3.0, 0.0]]), torch.tensor([[-2.0, 0.4, 0.1]])
    assert project(two_above).tolist() == [[0, 1, 0]]
    assert prox_c1(prox_c2(two_above)).tolist() == [[1, 0, 0]]  # a tie of what was clipped: the first
    torch.testing.assert_close(project(negative), torch.tensor([[0.0, 0.4, 0.0]]))
    assert prox_c2(prox_c1(negative)).count_nonzero() == 0  # ‖a‖₀ = 0: not in C₁


def test_inside_the_box_all_orders_coincide():
    z = torch.rand(500, 6, generator=seeded(2), dtype=torch.float64)
    for found in (prox_c1(z), prox_c1(prox_c2(z)), prox_c2(prox_c1(z))):
        assert torch.equal(found, project(z))


@pytest.mark.parametrize("operator", [prox_c1, prox_c2, project])
def test_a_projection_is_idempotent(operator):
    once = operator(points())
    assert torch.equal(operator(once), once)
    assert operator is prox_c2 or (once.count_nonzero(dim=-1) <= 1).all()


numbers = st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3)


@given(numbers, numbers)
def test_the_box_never_parts_two_points(u, v):
    """‖prox_C₂ u − prox_C₂ v‖ ≤ ‖u − v‖, as C₂ is convex."""
    u, v = torch.tensor(u, dtype=torch.float64), torch.tensor(v, dtype=torch.float64)
    assert (prox_c2(u) - prox_c2(v)).norm() <= (u - v).norm() + 1e-12


@pytest.mark.parametrize("operator", [prox_c1, project])
def test_one_operation_an_edge_parts_neighbours(operator):
    """The counterexample (1, 1 − ε) and (1 − ε, 1): √2 ε apart before, √2 after."""
    epsilon = 1e-3
    u, v = torch.tensor([1.0, 1 - epsilon]), torch.tensor([1 - epsilon, 1.0])
    assert (operator(u) - operator(v)).norm() > 900 * (u - v).norm()


@pytest.mark.parametrize("operator", [prox_c1, project, largest])
def test_only_live_operations_are_kept(operator):
    """With NASP's two lists every edge keeps one of its own, also where another is larger."""
    live = torch.tensor(NASP_12.allowed)
    z = torch.rand(3, *NASP_12.shape, generator=seeded(3)) * 0.9 + 0.1  # a batch of runs
    kept = operator(z, live)
    assert (kept.count_nonzero(dim=-1) == 1).all()
    assert (kept[:, ~live] == 0).all()
    expected = z.masked_fill(~live, 0).amax(-1)
    torch.testing.assert_close(kept.amax(-1), torch.ones_like(expected) if operator is largest else expected)


def test_strongest_inputs_against_sorting():
    targets = [target for _, target in DARTS.edges]
    strength = torch.rand(2, len(targets), generator=seeded(4)).round(decimals=1)  # with ties
    kept = strongest_inputs(strength, targets)
    for cell in range(2):
        for node in set(targets):
            edges = [e for e, target in enumerate(targets) if target == node]
            first_two = sorted(edges, key=lambda e: -strength[cell, e])[:2]  # a stable sort: the first of equal ones
            assert [e for e in edges if kept[cell, e]] == sorted(first_two)


def test_strongest_inputs_is_the_rule_of_darts():
    """The edges that ``Space.decode(…, "top2")`` keeps, in a space without *none*."""
    a = torch.rand(NASP_12.shape, generator=seeded(5))
    live = torch.tensor(NASP_12.allowed)
    kept = strongest_inputs(a.masked_fill(~live, -1).amax(-1), [target for _, target in NASP_12.edges])
    for row, graph in zip(kept, NASP_12.decode(a, "top2").values(), strict=True):
        assert [NASP_12.edges[e] for e in row.nonzero().flatten().tolist()] == [edge[:2] for edge in graph.edges]
