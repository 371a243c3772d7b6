"""Estimators of the policy gradient on spaces so small that every child can be run: by enumeration and closed forms."""

from itertools import product

import numpy as np
import pytest
import torch
from nets import in_double, seeded

from nascore import credit, gates, mdp, methods
from nascore import estimators as est
from nascore.errors import UserError
from nascore.methods import td
from nascore.rudder import redistribute
from nascore.space import TOY, Space
from nascore.task import make_task

THREE = Space(1, 2, ("none", "skip", "conv3"), cells=("cell",), name="THREE")  # 3 decisions, 27 children
NAMES = ("none", "skip", "conv3")
ALPHA = torch.randn(3, 3, generator=seeded(1), dtype=torch.float64)
P = ALPHA.softmax(-1)
MIX = torch.randn(2, 5, 9, generator=seeded(2), dtype=torch.float64) * 0.7


def crooked(z):
    """A reward in which every gate matters to every other; *none* contributes nothing, as in a network."""
    z = (z * torch.tensor([0.0, 1.0, 1.0], dtype=z.dtype)).flatten()
    return 0.3 + (MIX[0] @ z).tanh().sum() - (MIX[1] @ z).square().sum().log1p()


CHILDREN = est.Children.run(THREE, crooked)
EXACT = est.exact_gradient(CHILDREN, P)


def counts(decisions):
    """R = how many of the decisions take the second of two options."""
    space = Space(decisions, 1, ("none", "skip"), cells=("cell",), name="COUNTS")
    return est.Children.run(space, lambda z: z[..., 1].sum())


def mean_of(samples, children=CHILDREN, p=P):
    return torch.einsum("c,ctk->tk", children.probability(p), samples)


def test_every_child_is_run():
    every = list(product(range(3), repeat=3))
    assert CHILDREN.chosen.tolist() == [list(chosen) for chosen in every]
    for child, chosen in enumerate(every):
        z = torch.eye(3, dtype=torch.float64)[list(chosen)].view(1, 3, 3)
        assert CHILDREN.reward[child] == crooked(z)
        assert int(CHILDREN.at(torch.tensor(chosen))) == child
        for t, k in product(range(3), repeat=2):
            other = [*chosen[:t], k, *chosen[t + 1 :]]
            assert CHILDREN.instead[child, t, k] == CHILDREN.reward[every.index(tuple(other))]
            step, h = torch.zeros_like(z), 1e-6
            step[0, t, k] = h
            slope = (crooked(z + step) - crooked(z - step)) / (2 * h)
            assert float(CHILDREN.slope[child, t, k]) == pytest.approx(float(slope), abs=1e-8)
    assert float(CHILDREN.probability(P).sum()) == pytest.approx(1)


def test_the_exact_gradient_by_differentiating_the_expectation():
    """Eq. (1) against autograd of Σ p(Z) R(Z); rows sum to 0."""
    alpha = ALPHA.clone().requires_grad_()
    p = alpha.softmax(-1)
    expected = sum(
        p[0, a] * p[1, b] * p[2, c] * CHILDREN.reward[9 * a + 3 * b + c] for a, b, c in product(range(3), repeat=3)
    )
    (gradient,) = torch.autograd.grad(expected, alpha)
    torch.testing.assert_close(EXACT, gradient, atol=1e-12, rtol=1e-12)
    assert EXACT.sum(-1).abs().max() < 1e-14


@pytest.mark.parametrize("order", [(), (2, 0, 1)])
def test_values_are_conditional_expectations(order):
    values, order = CHILDREN.values(P, order), list(order) or [0, 1, 2]
    weight = CHILDREN.probability(P)
    for child, step in product((0, 5, 14, 26), range(4)):
        known = order[:step]
        alike = (CHILDREN.chosen[:, known] == CHILDREN.chosen[child, known]).all(-1)
        expected = (weight * CHILDREN.reward)[alike].sum() / weight[alike].sum()
        assert float(values[child, step]) == pytest.approx(float(expected), abs=1e-12)


def test_values_are_those_of_the_process_of_building():
    """The same space as a decision process (``mdp.building``): its states are the prefixes, level by level."""
    process = mdp.building(THREE, lambda options: float(CHILDREN.reward[CHILDREN.at(torch.tensor(options))]))
    levels = np.repeat([0, 1, 2, 2], [1, 3, 9, len(process.follows) - 13])  # of the finished ones any row will do
    found, values = process.values(P.numpy()[levels] * process.allowed), CHILDREN.values(P)
    for t, first in enumerate((0, 1, 4)):
        prefix = torch.arange(27) // 3 ** (3 - t)
        np.testing.assert_allclose(values[:, t], found[first + prefix], atol=1e-12)


@pytest.mark.parametrize(
    "name", ["reinforce", "reinforce, mean", "reinforce, optimal", "td, exact", "leave one out", "all options"]
)
def test_unbiased_estimators(name):
    """Their mean over all children is the exact gradient, to rounding."""
    found = est.moments(name, CHILDREN, ALPHA)
    torch.testing.assert_close(found.mean, EXACT, atol=1e-12, rtol=1e-12)
    assert found.bias < 1e-12
    assert (found.draws, found.floor) == (0, 0)


@pytest.mark.parametrize("order", [(), (2, 0, 1)])
def test_td_with_exact_values_is_unbiased_in_any_order(order):
    values = CHILDREN.values(P, order)
    for lam in (0.0, 0.5, 1.0):
        signal = est.td_credit(values, CHILDREN.reward, lam, order)
        torch.testing.assert_close(mean_of(est.scored(CHILDREN, P, signal)), EXACT, atol=1e-12, rtol=1e-12)


def test_td_with_other_values():
    """λ = 1 is unbiased whatever V is, as V(s_t) is a baseline; λ = 0 is not."""
    prefixes = CHILDREN.values(P)
    wrong = prefixes + 0.3 * prefixes.sin()  # still a function of what is decided so far
    away = {
        lam: mean_of(est.scored(CHILDREN, P, est.td_credit(wrong, CHILDREN.reward, lam))) - EXACT for lam in (0.0, 1.0)
    }
    assert away[1.0].norm() < 1e-12
    assert away[0.0].norm() > 1e-3


def test_td_is_redistribution_with_its_residual_last():
    """δ_t = R_t of RUDDER with V for its return model, whatever V is, but for g_0 = E[R], which the first one keeps."""
    wrong = CHILDREN.values(P) * 1.1
    signal = est.td_credit(wrong, CHILDREN.reward).numpy()
    shared = redistribute(wrong[:, 1:].numpy(), CHILDREN.reward.numpy(), "last")
    shared[:, 0] -= wrong[:, 0].numpy()
    np.testing.assert_allclose(signal, shared, atol=1e-12)


def test_td_credit_adds_up():
    """λ = 0: Σ_t δ_t = R − V(s_0). λ = 1: R − V(s_t)."""
    values, order = CHILDREN.values(P, (1, 2, 0)), (1, 2, 0)
    zero, one = (est.td_credit(values, CHILDREN.reward, lam, order) for lam in (0.0, 1.0))
    torch.testing.assert_close(zero.sum(-1), CHILDREN.reward - values[:, 0])
    torch.testing.assert_close(one[:, list(order)], CHILDREN.reward[:, None] - values[:, :3])


@pytest.mark.parametrize("decisions", [4, 8])
def test_variances_in_closed_form(decisions):
    """T decisions of p = ½, R = how many are 1: per logit (T² + T − 1)/16, (T − 1)/16, 1/16, and 0 with exact values.

    A global score pays for all decisions, local credit does not.
    """
    children, alpha = counts(decisions), torch.zeros(decisions, 2, dtype=torch.float64)
    expected = {
        "reinforce": (decisions**2 + decisions - 1) / 16,
        "reinforce, mean": (decisions - 1) / 16,
        "leave one out": 1 / 16,
        "taylor": 1 / 16,
        "td, exact": 0.0,
        "all options": 0.0,
    }
    for name, variance in expected.items():
        found = est.moments(name, children, alpha)
        assert found.variance / (2 * decisions) == pytest.approx(variance, abs=1e-12), name
        assert found.bias < 1e-12, name


def test_the_optimal_baseline_has_the_least_variance():
    best = float(est.optimal_baseline(CHILDREN, P))

    def variance(b):
        samples = est.scored(CHILDREN, P, (CHILDREN.reward - b)[:, None].expand(-1, 3))
        return float(mean_of((samples - EXACT).square()).sum())

    assert est.moments("reinforce, optimal", CHILDREN, ALPHA).variance == pytest.approx(variance(best))
    assert all(variance(best) < variance(best + shift) for shift in (-0.1, -0.01, 0.01, 0.1))


def test_trying_all_options_is_the_conditional_mean():
    """Eq. (3) = E[(Z_t − p_t) R | the other decisions], so no baseline of these makes the variance smaller."""
    by_hand = torch.zeros_like(CHILDREN.z)
    for k in range(3):
        drawn = torch.eye(3, dtype=torch.float64)[k]
        by_hand += P[:, k, None] * (drawn - P) * CHILDREN.instead[..., k, None]
    torch.testing.assert_close(est.samples("all options", CHILDREN, ALPHA), by_hand)
    least = est.moments("all options", CHILDREN, ALPHA).variance
    assert all(least < est.moments(name, CHILDREN, ALPHA).variance for name in ("reinforce, optimal", "leave one out"))


def test_taylor_is_half_of_the_truth_for_a_square():
    """R = −½ ‖Σ z o‖², one decision: the expansion is exactly twice what leaving the edge out costs."""
    outputs = torch.tensor([[0.0, 0.0], [1.0, 2.0], [-0.5, 1.0]], dtype=torch.float64)
    one = Space(1, 1, NAMES, cells=("cell",), name="ONE")
    children = est.Children.run(one, lambda z: -(z.flatten() @ outputs).square().sum() / 2)
    signal = est.signals(children, P[:1])
    torch.testing.assert_close(signal["taylor"], 2 * signal["leave one out"])
    alpha = ALPHA[:1]
    exact = est.exact_gradient(children, P[:1])
    torch.testing.assert_close(est.moments("taylor", children, alpha).mean, 2 * exact)


def test_pathwise_estimators_by_autograd():
    """Eqs. (4), (5) and (7) against autograd through the gates of the methods, with the noise frozen."""
    g, tau = gates.gumbel(ALPHA.expand(6, 3, 3), seeded(4)), 0.6

    def by_autograd(draw):
        alpha = ALPHA.clone().requires_grad_()
        return torch.autograd.grad(crooked(draw(alpha).view(1, 3, 3)), alpha)[0]

    found = {name: est.samples(name, CHILDREN, ALPHA, tau, 6, seeded(4)) for name in ("concrete", "straight", "chosen")}
    for n in range(6):
        relaxed = lambda a, n=n: gates.concrete(a, tau, g[n])
        draws = {
            "concrete": relaxed,
            "straight": lambda a, z=relaxed: gates.straight(z(a)),
            "chosen": lambda a, z=relaxed: gates.straight(z(a)) * gates.one_hot(z(a)).detach(),  # nothing else ran
        }
        for name, draw in draws.items():
            torch.testing.assert_close(found[name][n], by_autograd(draw))
    mixture = est.moments("softmax", CHILDREN, ALPHA)
    torch.testing.assert_close(mixture.mean, by_autograd(lambda a: a.softmax(-1)))
    assert mixture.variance < 1e-24


def test_taylor_of_all_options_by_autograd():
    """Eq. (3), expanded: what reaches the logits if ∂z is put in the place of ∂p (the credit "binary")."""
    found = est.samples("taylor, all", CHILDREN, ALPHA)
    for child in (0, 7, 26):
        alpha = ALPHA.clone().requires_grad_()
        z = gates.straight(alpha.softmax(-1), CHILDREN.z[child])
        (expected,) = torch.autograd.grad(crooked(z.view(1, 3, 3)), alpha)
        torch.testing.assert_close(found[child], expected)


def test_score_and_path_of_the_concrete_sample_agree():
    """Eqs. (4) and (6) are the gradient of the same relaxed mean: within 4 standard errors, and not the exact one."""
    one = Space(1, 1, NAMES, cells=("cell",), name="ONE")
    slope = torch.tensor([0.0, 1.0, -1.5], dtype=torch.float64)
    children, alpha = est.Children.run(one, lambda z: z.flatten() @ slope + 1), ALPHA[:1]
    both = [est.samples(name, children, alpha, 1.0, 1500, seeded(5)) for name in ("concrete", "concrete score")]
    apart = (both[0] - both[1])[:, 0]
    assert (apart.mean(0).abs() < 4 * apart.std(0) / 1500**0.5).all()
    path = est.moments("concrete", children, alpha, draws=1500, noise=seeded(5))
    assert path.draws == 1500
    assert path.bias > 4 * path.floor
    assert est.moments("concrete score", children, alpha, draws=1500, noise=seeded(5)).variance > 4 * path.variance


def test_error_of_a_mean_by_simulation():
    """√(bias² + variance / n), with n what the passes pay for: against 3000 means of n samples."""
    found = est.moments("taylor", CHILDREN, ALPHA)
    samples = est.samples("taylor", CHILDREN, ALPHA)
    assert (found.forward, found.backward) == (1, 1)
    drawn = torch.multinomial(CHILDREN.probability(P), 3000 * 8, replacement=True, generator=seeded(6))
    means = samples[drawn].view(3000, 8, 3, 3).mean(1)
    measured = (means - EXACT).square().sum((1, 2)).mean().sqrt()
    assert found.error(24) == pytest.approx(float(measured), rel=0.03)  # 8 samples of 1 + 2 passes
    assert found.error(8, backward=0) == found.error(24)
    assert found._replace(extra=76).error(100) == found.error(24)
    assert found.error(2) != found.error(2)  # not one sample: NaN


@pytest.mark.parametrize(("name", "lam"), [("td, learnt", td.KNOBS["trace"].value), ("rudder, learnt", 0.0)])
def test_what_is_learnt_of_an_additive_reward(name, lam):
    """Both models are linear, so here they approach what exact values credit, with the λ of each."""
    space = Space(3, 1, NAMES, cells=("cell",), name="ADDITIVE")
    worth = torch.randn(1, 3, 3, generator=seeded(7), dtype=torch.float64)
    children = est.Children.run(space, lambda z: (worth * z).sum())
    exact = est.td_credit(children.values(P), children.reward, lam)
    weight = children.probability(P)
    left = [
        float(weight @ (est.LEARNT[name](children, P, count, seeded(8)) - exact).square().sum(-1))
        / float(weight @ exact.square().sum(-1))
        for count in (5, 500)
    ]
    assert left[1] < 0.1
    assert left[1] < left[0] / 4


def test_redistributed_reward_adds_up():
    """Σ_t R_t = G − b for every child, whatever has been learnt."""
    b = CHILDREN.reward - est.rudder_learnt(CHILDREN, P, 30, seeded(3)).sum(-1)
    assert b.std() < 1e-12
    assert CHILDREN.reward.min() < b[0] < CHILDREN.reward.max()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: est.moments("reinforced", CHILDREN, ALPHA), "estimator: 'reinforced' is not one of .* 'reinforce'"),
        (lambda: est.samples("td, learnt", CHILDREN, ALPHA, learnt=0), "learnt: 0 is not a whole number of at least 1"),
        (lambda: CHILDREN.values(P, (0, 1, 1)), r"order: \[0, 1, 1\] does not have each of the decisions 0 to 2 once"),
        (lambda: est.Children.run(TOY, crooked), "space: it has 9765625 children; 20000 at most"),
        (
            lambda: est.Children.run(Space(1, 1, ("skip",), ("cell",)), lambda z: z.sum()).without,
            "takes the operation none; it has skip",
        ),
        (
            lambda: est.Children.run(Space(1, 1, ("a", "b"), ("x", "y"), cell_ops=(("a",), ("b",))), crooked),
            "space: some edges may not have some operations",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_every_estimator_has_a_price_and_known_methods():
    for name, kind in est.ESTIMATORS.items():
        found = est.moments(name, CHILDREN, ALPHA, draws=5)
        assert found.mean.shape == (3, 3)
        assert found.mean.sum(-1).abs().max() < 1e-10, name  # a shift of all logits changes nothing
        assert set(kind.methods) <= set(methods.METHODS), name
    assert set(est.SAMPLED) <= set(est.ESTIMATORS)


def test_on_a_network():
    """Rewards and slopes of all children of a real supernet are those of the engine's own discrete pass."""
    task = make_task("digits", space=THREE, cells=1, channels=4, epochs=1)
    before = {name: value.clone() for name, value in task.network.named_parameters()}
    est.train_children(task)
    assert any((before[name] != value).any() for name, value in task.network.named_parameters())
    batch = in_double(task).batch("search")
    children = est.Children.run(THREE, est.reward_of(task, batch))
    for child in (0, 4, 13, 25):
        z = children.z[child].view(THREE.shape)
        loss, signal = credit.everywhere(task, batch, z, z > 0)
        assert float(children.reward[child]) == pytest.approx(-float(loss), abs=1e-12)
        torch.testing.assert_close(children.slope[child], signal[0], atol=1e-10, rtol=1e-10)
    assert children.reward.std() > 1e-3
    assert (children.slope[..., 0] == 0).all()
