"""TD, TD(λ) and Monte Carlo against closed forms, against each other and against sampling; gradient variances."""

import math
from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest

from nascore import decisions
from nascore.errors import UserError
from nascore.mdp import building, chain, tree
from nascore.values import half_time, law, learn, monte_carlo, repair, step_sizes, td_backward, td_forward

SCORES = np.random.default_rng(0).random((2, 3, 2))
SMALL = building((("a", "b"), ("c", "d", "e"), ("f", "g")), lambda choice: SCORES[choice])


def test_nothing_arrives_before_its_time() -> None:
    """V(s_0) = 0 for T − 1 sweeps whatever the step size, then the product of the step sizes."""
    assert learn(chain(6), 6)[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 1]
    for step in (0.3, "1/n"):
        found = learn(chain(6), 6, step=step)[:, 0]
        assert found[:6].tolist() == [0] * 6
        assert found[6] == pytest.approx(math.prod(step_sizes(step, 6)), rel=1e-14)


def bernoulli_sums(steps):
    """Pr[sum = j] by all outcomes, with nothing of the code under test."""
    chance = Counter()
    for outcome in product((0, 1), repeat=len(steps)):
        chance[sum(outcome)] += math.prod(a if b else 1 - a for a, b in zip(steps, outcome, strict=True))
    return chance


@pytest.mark.parametrize("step", [1.0, 0.1, "1/n"])
def test_td_follows_the_law_of_a_bernoulli_sum(step) -> None:
    delay, sweeps = 4, 9
    steps = step_sizes(step, sweeps)
    found = learn(chain(delay), sweeps, step=step)
    np.testing.assert_allclose(found, law(delay, steps), atol=1e-14)
    for n in range(sweeps + 1):
        chance = bernoulli_sums(steps[:n])
        for k in range(delay):
            assert found[n, k] == pytest.approx(sum(v for j, v in chance.items() if j >= delay - k), abs=1e-14)


def test_the_law_holds_for_any_step_sizes_one_after_another() -> None:
    steps = np.random.default_rng(1).random(7)
    values = np.zeros(4)
    for a in steps:
        (episode,) = chain(3).trajectories(chain(3).uniform())
        td_forward(values, episode, [a] * 3)
    np.testing.assert_allclose(values, law(3, steps)[-1], atol=1e-14)


def test_with_averages_it_is_the_law_of_the_cycles_of_a_permutation() -> None:
    n, delay = 6, 3

    def cycles(permutation):
        seen, count = set(), 0
        for first in range(n):
            count += first not in seen
            while first not in seen:
                seen.add(first)
                first = permutation[first]
        return count

    share = np.mean([cycles(each) >= delay for each in permutations(range(n))])
    assert learn(chain(delay), n, step="1/n")[-1, 0] == pytest.approx(share, abs=1e-14)


def test_half_times_are_exponential_with_averages_and_linear_with_a_constant() -> None:
    assert [half_time(delay, "1/n") for delay in range(1, 9)] == [1, 2, 7, 21, 57, 157, 430, 1173]
    assert half_time(9, "1/n") / half_time(8, "1/n") == pytest.approx(math.e, rel=0.01)
    assert [half_time(delay, 0.1) for delay in range(1, 10)] == list(range(7, 88, 10))
    assert [half_time(delay, 1.0) for delay in range(1, 5)] == [1, 2, 3, 4]
    for delay, step in ((5, "1/n"), (3, 0.1)):
        n = half_time(delay, step)
        reached = learn(chain(delay), n, step=step)[:, 0] >= 0.5
        assert reached.tolist() == [False] * n + [True]


def test_backwards_one_sweep_is_enough() -> None:
    assert learn(chain(20), 1, order="reverse")[1].tolist() == [1] * 20 + [0]
    assert learn(chain(3), 1, step=0.5, order="reverse")[1].tolist() == [0.125, 0.25, 0.5, 0]


def test_a_trace_fades_exponentially_with_the_delay() -> None:
    """TD(λ) from zero: V(s_0) = a λ^(T−1) after the first episode, and Monte Carlo at λ = 1."""
    for delay in range(1, 9):
        assert learn(chain(delay), 1, step=0.5, lam=0.9)[1, 0] == pytest.approx(0.5 * 0.9 ** (delay - 1), rel=1e-13)
    assert learn(chain(6), 1, step=0.5, lam=0.9)[1, 0] == pytest.approx(0.295245, abs=1e-12)


def lambda_returns(values, episode, lam):
    """G^λ_t by its definition, the weighted sum of n-step returns."""
    rewards, states, T = episode.rewards, episode.states, len(episode.actions)
    found = []
    for t in range(T):
        n_step = [sum(rewards[t : t + n]) + (values[states[t + n]] if t + n < T else 0) for n in range(T - t + 1)]
        early = sum((1 - lam) * lam ** (n - 1) * n_step[n] for n in range(1, T - t))
        found.append(early + lam ** (T - t - 1) * n_step[-1])
    return found


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_both_views_and_the_definition_agree(lam: float) -> None:
    rng = np.random.default_rng(2)
    backward = np.where(SMALL.terminal, 0, rng.normal(size=len(SMALL.follows)))
    forward, defined = backward.copy(), backward.copy()
    for _ in range(20):
        episode = SMALL.episode(SMALL.uniform(), rng)
        steps = rng.random(3)
        targets = lambda_returns(defined, episode, lam)
        for state, a, target in zip(episode.states, steps, targets, strict=False):
            defined[state] += a * (target - defined[state])
        td_forward(forward, episode, steps.tolist(), lam)
        td_backward(backward, episode, steps.tolist(), lam)
    np.testing.assert_allclose(forward, defined, atol=1e-12)
    np.testing.assert_allclose(backward, defined, atol=1e-12)


def test_lambda_one_is_monte_carlo() -> None:
    options = {"step": 0.3, "rng": np.random.default_rng(3)}
    td = learn(SMALL, 30, lam=1.0, **options)
    for order in ("forward", "reverse"):
        options["rng"] = np.random.default_rng(3)
        np.testing.assert_allclose(td, learn(SMALL, 30, "mc", order=order, **options), atol=1e-12)


def test_monte_carlo_with_averages_is_the_mean_of_the_returns() -> None:
    rng, values, returns = np.random.default_rng(4), np.zeros(len(SMALL.follows)), {}
    for _ in range(50):
        episode = SMALL.episode(SMALL.uniform(), rng)
        for state in episode.states[:-1]:
            returns.setdefault(state, []).append(sum(episode.rewards))
        monte_carlo(values, episode, [1 / len(returns[state]) for state in episode.states[:-1]])
    for state, seen in returns.items():
        assert values[state] == pytest.approx(np.mean(seen), abs=1e-12)
    np.testing.assert_allclose(learn(SMALL, 50, "mc", "1/n", rng=np.random.default_rng(4))[-1], values, atol=1e-14)


@pytest.mark.parametrize("rule", ["mc", "td"])
def test_averages_find_the_values_of_the_policy(rule) -> None:
    mdp, policy = SMALL, SMALL.uniform()
    found = learn(mdp, 1500, rule, "1/n", lam=0.5)[-1]
    error = 5 * np.sqrt(mdp.variances(policy) / np.maximum(1500 * mdp.visits(policy), 1)) + 0.01
    assert (np.abs(found - mdp.values(policy))[~mdp.terminal] < error[~mdp.terminal]).all()


def test_monte_carlo_is_unbiased_with_the_variance_of_the_return_by_n() -> None:
    mdp, n = tree(3, noise=0.5), 5
    found = np.array([learn(mdp, n, "mc", "1/n", rng=np.random.default_rng(seed))[-1, 0] for seed in range(300)])
    exact = mdp.variances(mdp.uniform())[0] / n
    assert abs(found.mean()) < 4 * math.sqrt(exact / 300)
    assert found.var() == pytest.approx(exact, rel=4 * math.sqrt(2 / 300))


def test_a_wrong_value_spreads_under_td_but_not_under_monte_carlo() -> None:
    mdp = chain(6)
    assert len(repair(mdp, 5)) - 1 == 6  # it walks to the start, a state a sweep
    assert repair(mdp, 5)[1].tolist() == [1, 1, 1, 1, 2, 1, 0]
    assert len(repair(mdp, 2)) - 1 == 3
    assert len(repair(mdp, 5, order="reverse")) - 1 == 1
    assert len(repair(mdp, 5, rule="mc")) - 1 == 1
    assert len(repair(mdp, 5, lam=1.0)) - 1 == 1
    assert len(repair(mdp, 5, rule="mc", step=0.1)) - 1 == math.ceil(math.log(0.1) / math.log(0.9))
    assert len(repair(mdp, 5, step=0.1)) > len(repair(mdp, 5, rule="mc", step=0.1))
    # an average keeps what it has: the error after m more returns is 10 / (10 + m)
    assert len(repair(mdp, 5, tolerance=0.11, rule="mc", step="1/n", visits=10)) - 1 == 81
    assert repair(mdp, 5, -0.5)[0, 5] == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learn(chain(3), 2, "tdd"), "rule: 'tdd' is not one of mc, td. Did you mean 'td'"),
        (lambda: learn(chain(3), 2, step="1/m"), "step: '1/m' is not a number from 0 to 1, or '1/n'"),
        (lambda: learn(chain(3), 2, step=1.5), "step: 1.5 is not a number from 0 to 1, or '1/n'"),
        (lambda: learn(chain(3), 2, lam=2), "lam: 2 is not a number from 0 to 1"),
        (lambda: learn(chain(3), 2, order="back"), "order: 'back' is not one of forward, reverse"),
        (lambda: learn(chain(3), 2, values=np.zeros(3)), "values: 3 values for 4 states"),
        (lambda: learn(chain(3), -1), "count: -1 is not a whole number of at least 0"),
        (lambda: repair(chain(3), 3), "state: 3 is not a whole number from 0 to 2"),
        (lambda: repair(chain(3), 2, step=0.1, most=3), "most: 3 sweeps do not bring every value within 0.1"),
        (lambda: half_time(3, 0), "step: 0 never learns"),
        (lambda: half_time(0, 1.0), "delay: 0 is not a whole number of at least 1"),
        (lambda: decisions.variances([1], estimator="locl"), "estimator: 'locl' is not one of .* mean 'local'"),
        (lambda: decisions.variances([], 0.5), r"weights: \[\] must be a list of one or more finite numbers"),
        (lambda: decisions.gradient([1], 2), "p: 2 is not a number from 0 to 1"),
    ],
)
def test_bad_arguments_are_told(call, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


# ---------------------------------------------------------------------------------------- independent decisions


def enumerated(c, p, credit):
    """Mean and variance of (a_t − p) · credit over all 2^T outcomes."""
    moments = np.zeros((2, len(c)))
    for outcome in product((0, 1), repeat=len(c)):
        a = np.array(outcome)
        estimate = (a - p) * credit(a)
        moments += np.prod(np.where(a, p, 1 - p)) * np.stack([estimate, estimate**2])
    return moments[0], moments[1] - moments[0] ** 2


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_variances_of_gradient_estimates_against_enumeration(p: float) -> None:
    c = np.array([1.0, -2.0, 0.5, 1.5, 3.0])
    best = {}
    for t in range(5):  # E[x² R] / E[x²], by enumeration
        top = bottom = 0.0
        for outcome in product((0, 1), repeat=5):
            a = np.array(outcome)
            weight = np.prod(np.where(a, p, 1 - p)) * (a[t] - p) ** 2
            top, bottom = top + weight * (a @ c), bottom + weight
        best[t] = top / bottom
    signals = {
        "global": lambda a: a @ c,
        "mean baseline": lambda a: a @ c - p * c.sum(),
        "optimal baseline": lambda a: a @ c - np.array([best[t] for t in range(5)]),
        "local": lambda a: a * c,
    }
    found = {}
    for name in decisions.ESTIMATORS:
        mean, variance = enumerated(c, p, signals[name])
        np.testing.assert_allclose(mean, decisions.gradient(c, p), atol=1e-14)
        found[name] = decisions.variances(c, p, name)
        np.testing.assert_allclose(found[name], variance, atol=1e-13)
    assert (found["optimal baseline"] <= found["mean baseline"] + 1e-12).all()


def test_a_global_score_drowns_and_a_local_one_does_not() -> None:
    for T in (1, 4, 16, 64, 256, 4096):
        plain, mean, best, local = (decisions.variances(np.ones(T), estimator=name) for name in decisions.ESTIMATORS)
        np.testing.assert_allclose(plain, (T**2 + T - 1) / 16, rtol=1e-12)  # → T² / 16
        np.testing.assert_allclose(mean, (T - 1) / 16, rtol=1e-12, atol=1e-15)  # → T / 16
        np.testing.assert_allclose(best, mean, rtol=1e-12, atol=1e-15)
        assert local.tolist() == [1 / 16] * T


@pytest.mark.parametrize("estimator", decisions.ESTIMATORS)
def test_samples_have_those_means_and_variances(estimator) -> None:
    c, p, n = np.array([1.0, 2.0, -1.0]), 0.3, 20_000
    draws = decisions.sample(c, np.random.default_rng(0), n, p, estimator)
    exact = decisions.variances(c, p, estimator)
    assert (np.abs(draws.mean(0) - decisions.gradient(c, p)) < 4 * np.sqrt(exact / n)).all()
    np.testing.assert_allclose(draws.var(0), exact, rtol=0.06)
