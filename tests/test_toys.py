"""The toy problems: closed forms, and what every searcher does on them."""

import functools

import pytest
import torch
from nets import seeded

from nascore import toys
from nascore.errors import UserError
from nascore.toys import Problem

A, B, C = range(3)


def test_losses_and_gradients_by_finite_differences():
    """∂L/∂z_k = ⟨x − t, o_k⟩, also where the gate is 0."""
    problem = toys.random_problems(4)
    z = torch.rand(4, 5, generator=seeded(0), dtype=torch.float64)
    z[:, 2] = 0
    for k in range(5):
        h = torch.zeros_like(z)
        h[:, k] = 1e-5
        slope = (problem.loss(z + h) - problem.loss(z - h)) / 2e-5
        torch.testing.assert_close(problem.gradient(z)[:, k], slope, rtol=1e-6, atol=1e-8)
    alone = torch.stack([problem.loss(e.expand(4, 5)) for e in torch.eye(5, dtype=torch.float64)], -1)
    torch.testing.assert_close(problem.children, alone)
    best = problem.children.argmin(-1)
    assert (problem.regret(best) == 0).all()
    assert (problem.regret((best + 1) % 5) > 0).all()


def test_the_ensemble_toy_has_another_best_mixture_than_best_child():
    problem = toys.ensemble()
    assert problem.children.argmin() == A
    torch.testing.assert_close(problem.children, torch.tensor([0.01, 1.0, 1.0], dtype=torch.float64))
    assert problem.loss(torch.tensor([0, 0.5, 0.5], dtype=torch.float64)) == 0


def test_darts_derives_a_wrong_operation_from_the_ensemble():
    """p = (.20, .40, .40) after 500 units of lr · steps, and on its way to (0, ½, ½)."""
    path = toys.darts(toys.ensemble())
    expected = torch.tensor([0.2, 0.4, 0.4], dtype=torch.float64)
    torch.testing.assert_close(path.probs[-1], expected, atol=5e-3, rtol=0)
    assert path.derived in (B, C)
    longer = toys.darts(toys.ensemble(), steps=4000).probs[:, A]
    assert (longer.diff() < 0).all()
    assert longer[-1] < 0.12


def test_the_exact_expectation_finds_the_best_child():
    path = toys.expectation(toys.ensemble())
    assert path.derived == A
    assert path.probs[-1, A] > 0.99


def test_annealed_snas_finds_the_best_child_in_40_of_40_runs():
    problem = toys.ensemble()
    forty = Problem(problem.outputs.expand(40, 3, 2), problem.target.expand(40, 2))
    assert (toys.snas(forty, seeded(0)).derived == A).all()


@pytest.mark.parametrize("variant", ["published", "unit gate"])
@pytest.mark.parametrize("epsilon", [0.005, 0.02, 0.1])
def test_nasp_goes_back_and_forth_for_ever(variant, epsilon):
    """Shares .00, .50, .50 of A, B and C, with a_k* and with 1 as the gate, whatever the step."""
    path = toys.nasp(toys.ensemble(), variant, epsilon=epsilon)
    settled = toys.largest(path.gates[10:])
    torch.testing.assert_close(settled.mean(0), torch.tensor([0, 0.5, 0.5], dtype=torch.float64), atol=2e-3, rtol=0)
    assert (settled[1:] != settled[:-1]).any(-1).all()  # every step switches
    assert path.probs.amin() >= 0
    assert path.probs.amax() <= 1


def test_released_nasp_depends_on_the_order_of_the_list():
    """Adam takes all three to the ceiling of the box; of equal entries the first is active, whatever its loss."""
    problem = toys.ensemble()
    first = toys.nasp(problem, "released")
    assert (first.probs[-1] == 1).all()
    assert first.visits[A] > 0.99
    turned = Problem(problem.outputs[[B, A, C]], problem.target)
    torch.testing.assert_close(
        toys.nasp(turned, "released").visits, torch.tensor([0.5, 0, 0.5], dtype=torch.float64), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("first", [A, B, C])
def test_plain_proximal_gradient_never_leaves_its_first_operation(first):
    """The gate moves, the choice does not: ε |∂L/∂z| stays below the chosen entry. NASP leaves the same start."""
    start = torch.full((3,), 0.4, dtype=torch.float64)
    start[first] = 0.41
    frozen = toys.proximal_gradient(toys.ensemble(), start=start)
    assert frozen.visits[first] == 1
    assert (frozen.probs.count_nonzero(dim=-1) == 1).all()
    assert frozen.probs[-1, first] != frozen.probs[0, first]
    assert toys.nasp(toys.ensemble(), start=start).visits[first] < 0.6


def test_duplicates_share_their_mass_and_keep_their_rank():
    """(.376, .374, .25): the exact mixture, parted between the two as they began."""
    problem = toys.duplicated()
    path = toys.darts(problem, start=torch.tensor([0.005, 0, 0], dtype=torch.float64))
    expected = torch.tensor([0.376, 0.374, 0.25], dtype=torch.float64)
    torch.testing.assert_close(path.probs[-1], expected, atol=5e-4, rtol=0)
    assert problem.loss(path.probs[-1]) < 1e-10
    assert path.derived == problem.children.argmin()


@functools.cache
def scores():
    return toys.scores(toys.random_problems())


def test_random_problems_rank_the_searchers():
    """The exact expectation is always right; DARTS is not, and NASP less often than DARTS."""
    found = scores()
    assert found["exact expectation"] == (1.0, 0.0)
    assert found["annealed SNAS"].best > found["DARTS"].best
    for variant in ("published", "unit gate", "released"):
        nasp = found[f"NASP, {variant}"]
        assert 0.5 < nasp.best < found["DARTS"].best < 0.95
        assert nasp.regret > 2 * found["DARTS"].regret > 0


def test_unknown_variant():
    with pytest.raises(UserError, match=r"variant: 'publish' is not one of .*Did you mean 'published'"):
        toys.nasp(toys.ensemble(), "publish")
