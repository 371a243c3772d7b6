"""Gates: the Gumbel-max identity, the limits of the concrete relaxation, and what each gate does to gradients."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator

from nascore import credit, gates
from nascore.errors import UserError

ALPHA = torch.tensor([0.5, -0.3, 1.0, 0.0], dtype=torch.float64)
P = ALPHA.softmax(-1)
DRAWS = 100_000


def seeded(seed=0):
    return Generator().manual_seed(seed)


def samples(tau, seed=0):
    return gates.concrete(ALPHA.expand(DRAWS, 4), tau, seeded(seed))


LIVE = torch.tensor([[True, True, True, True], [True, False, True, False], [False, False, False, True]])


@pytest.mark.parametrize("live", LIVE)
def test_what_is_not_live_has_no_share(live):
    """Softmax, sample (3) and their gradients are those of a table without the other operations; theirs are 0."""
    g, weights = gates.gumbel(ALPHA, seeded(1)), torch.arange(4.0, dtype=torch.float64)
    for draw in (lambda a, g, *live: gates.softmax(a, *live), lambda a, g, *live: gates.concrete(a, 0.7, g, *live)):
        alpha, alone = ALPHA.clone().requires_grad_(), ALPHA[live].clone().requires_grad_()
        whole = draw(alpha, g, live)
        part = draw(alone, g[live], torch.ones_like(alone, dtype=torch.bool))
        torch.testing.assert_close(whole[live], part)
        assert (whole[~live] == 0).all()
        (whole @ weights).backward()
        (part @ weights[live]).backward()
        torch.testing.assert_close(alpha.grad[live], alone.grad)
        assert (alpha.grad[~live] == 0).all()


def test_gumbel_has_the_gumbel_distribution():
    """G = −log(−log U): compared with its distribution function exp(−exp(−g))."""
    draws = gates.gumbel(torch.zeros(DRAWS, 1, dtype=torch.float64), seeded())
    assert stats.kstest(draws.flatten().numpy(), stats.gumbel_r.cdf).pvalue > 0.01
    assert draws.isfinite().all()


@pytest.mark.parametrize("tau", [5.0, 1.0, 0.1])
def test_gumbel_max(tau):
    """P[argmax Z = k] = p_k at every temperature, eq. (3): chi-square on 10⁵ draws."""
    counts = torch.bincount(samples(tau).argmax(-1), minlength=4)
    assert stats.chisquare(counts.numpy(), P.numpy() * DRAWS).pvalue > 0.01


def test_mean_of_the_relaxed_sample_is_not_p():
    """E[Z] ≠ p at τ = 1 and → p as τ → 0, eq. (3)."""
    np.testing.assert_allclose(samples(1.0).mean(0), [0.272, 0.154, 0.384, 0.191], atol=3e-3)
    np.testing.assert_allclose(P, [0.270, 0.121, 0.445, 0.164], atol=5e-4)
    standard_error = (P * (1 - P) / DRAWS).sqrt()
    assert ((samples(0.03).mean(0) - P).abs() < 4 * standard_error + 1e-3).all()
    assert (samples(1.0).mean(0) - P).abs().max() > 20 * standard_error.max()


def test_concrete_derivative():
    """∂Z_l/∂α_k = Z_l (δ_lk − Z_k) / τ, eq. (3), with the noise frozen."""
    g, tau = gates.gumbel(ALPHA, seeded()), 0.7
    z = gates.concrete(ALPHA, tau, g)
    jacobian = torch.autograd.functional.jacobian(lambda a: gates.concrete(a, tau, g), ALPHA)
    torch.testing.assert_close(jacobian, (torch.diag(z) - torch.outer(z, z)) / tau)


def test_low_temperature_is_one_hot():
    """τ → 0: Z is the one-hot argmax of α + G."""
    g = gates.gumbel(ALPHA.expand(1000, 4), seeded())
    gap = (ALPHA + g).topk(2).values
    clear = gap[:, 0] - gap[:, 1] > 0.05
    z = gates.concrete(ALPHA.expand(1000, 4), 1e-3, g)[clear]
    torch.testing.assert_close(z, gates.one_hot((ALPHA + g)[clear]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan")])
def test_a_temperature_is_above_zero(tau):
    with pytest.raises(UserError, match=r"tau: .* is not above 0"):
        gates.concrete(torch.zeros(2, 3), tau, torch.Generator())


def test_noise_comes_from_the_generator_alone():
    torch.manual_seed(1)
    first = gates.concrete(ALPHA, 1.0, seeded(3))
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    assert torch.equal(first, gates.concrete(ALPHA, 1.0, seeded(3)))
    gates.uniform_one_hot(torch.ones(1, 2, 3, dtype=torch.bool), seeded())
    assert torch.equal(state, torch.random.get_rng_state())


def test_one_hot_breaks_ties_to_the_first():
    scores = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0], [-1.0, -3.0, -1.0]])
    assert gates.one_hot(scores).tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0]]


def test_straight_is_exactly_one_hot_with_the_soft_gradient():
    alpha = torch.randn(1, 50, 4, generator=seeded(), requires_grad=True)
    z = gates.concrete(alpha, 0.3, seeded())
    hard = gates.straight(z)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    weights = torch.randn(1, 50, 4, generator=seeded(1))
    (one,) = torch.autograd.grad((hard * weights).sum(), alpha, retain_graph=True)
    (other,) = torch.autograd.grad((z * weights).sum(), alpha)
    assert torch.equal(one, other)


def test_straight_takes_any_hard_value():
    """ProxylessNAS, eq. (2): the value is the drawn gates to the last bit, the gradient that of the probabilities."""
    alpha = torch.randn(1, 50, 4, generator=seeded(), requires_grad=True)
    p, drawn = alpha.softmax(-1), gates.draw(alpha, seeded(1), torch.tensor([True] * 4)).float()
    hard, weights = gates.straight(p, drawn), torch.randn(1, 50, 4, generator=seeded(2))
    assert torch.equal(hard.detach(), drawn)
    (one,) = torch.autograd.grad((hard * weights).sum(), alpha, retain_graph=True)
    (other,) = torch.autograd.grad((p * weights).sum(), alpha)
    assert torch.equal(one, other)


def test_scored_is_exactly_the_sample_with_the_gradient_of_its_score():
    """SNAS, eq. (9): ∂/∂α ⟨g, z⟩ = (Z − p) · ⟨g, Z⟩, edge by edge; the value is Z to the last bit."""
    alpha = torch.randn(1, 50, 4, generator=seeded(), requires_grad=True)
    drawn = gates.draw(alpha, seeded(1), torch.tensor([True] * 4)).float()
    z, g = gates.scored(drawn, alpha.softmax(-1)), torch.randn(1, 50, 4, generator=seeded(2))
    assert torch.equal(z.detach(), drawn)
    (z * g).sum().backward()
    r = credit.edge_credit(drawn, g)
    torch.testing.assert_close(alpha.grad, credit.credit_form(credit.one_hot_score(drawn, alpha.detach()), r))


def test_draw_of_one_has_the_probabilities_of_the_softmax():
    """P[k] = p_k over the live operations, the others never: chi-square on 10⁵ draws."""
    live = torch.tensor([True, False, True, True])
    drawn = gates.draw(ALPHA.expand(DRAWS, 4), seeded(), live)
    assert (drawn.sum(-1) == 1).all()
    p = gates.softmax(ALPHA, live)
    assert drawn[:, 1].sum() == 0
    assert stats.chisquare(drawn[:, live].sum(0).numpy(), p[live].numpy() * DRAWS).pvalue > 0.01


def test_draw_of_two_is_without_replacement():
    """P[{a, b}] = p_a p_b / (1 − p_a) + p_b p_a / (1 − p_b): one after the other from what is left; chi-square."""
    drawn = gates.draw(ALPHA.expand(DRAWS, 4), seeded(), torch.tensor([True] * 4), 2)
    pairs = list(combinations(range(4), 2))
    counts = [int((drawn[:, a] & drawn[:, b]).sum()) for a, b in pairs]
    expected = [P[a] * P[b] * (1 / (1 - P[a]) + 1 / (1 - P[b])) for a, b in pairs]
    assert sum(counts) == DRAWS
    assert stats.chisquare(counts, np.array(expected) * DRAWS).pvalue > 0.01


def test_draw_takes_all_where_fewer_are_live():
    live = torch.tensor([[True, False, False], [True, False, True], [True, True, True]])
    drawn = gates.draw(torch.zeros(3, 3), seeded(), live, 2)
    assert drawn.sum(-1).tolist() == [1, 2, 2]
    assert not (drawn & ~live).any()
    assert torch.equal(gates.draw(torch.zeros(3, 3), seeded(), live, 5), live)


def test_uniform_one_hot_takes_every_allowed_operation_equally():
    allowed = torch.tensor([[[True, True, False, True]] * 20_000])
    drawn = gates.uniform_one_hot(allowed, seeded())
    assert (drawn.sum(-1) == 1).all()
    counts = drawn.sum((0, 1))
    assert counts[2] == 0
    assert stats.chisquare(counts[[0, 1, 3]].numpy()).pvalue > 0.01


def test_tap_keeps_the_gradient_of_what_follows_it_alone():
    alpha = torch.zeros(1, 1, 3, requires_grad=True)
    z = alpha.softmax(-1)
    seen = gates.tap(z)
    task, price = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 0.0, 0.0])
    ((seen * task).sum() + (z * price).sum()).backward()
    assert torch.equal(seen.grad, task.expand(1, 1, 3))
    expected = torch.autograd.functional.jacobian(
        lambda a: (a.softmax(-1) * (task + price)).sum(), torch.zeros(1, 1, 3)
    )
    torch.testing.assert_close(alpha.grad, expected)


def test_tap_of_gates_without_gradient_starts_one():
    seen = gates.tap(torch.ones(1, 1, 2))
    (3 * seen).sum().backward()
    assert seen.grad.tolist() == [[[3.0, 3.0]]]


def test_active_reads_the_largest_gate():
    z = torch.tensor([[[0.1, 0.9, 0.0], [0.4, 0.2, 0.4]]])
    assert gates.active(z) == [[1, 0]]
    assert gates.active(z.to("meta")) == [[0, 0]]


def test_anneal_is_linear():
    assert [gates.anneal(1.0, 0.2, f) for f in (0, 0.5, 1)] == pytest.approx([1.0, 0.6, 0.2])
