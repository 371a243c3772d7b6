"""Redistribution of a late reward: exact on small processes, with linear and recurrent return models, and in search."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nascore import delayed_key, gates, mdp, methods, policy, rewards, rudder
from nascore.errors import UserError
from nascore.methods import rudder as method
from nascore.return_lstm import EARLY, ReturnLSTM, fit
from nascore.run import Knobs
from nascore.task import make_task

RNG = np.random.default_rng(0)


def architecture(options=(3, 2, 3), seed=1):
    """A process that builds an architecture, with a reward of no structure, and a policy that prefers some options."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=options)
    process = mdp.building([["abc"[k] for k in range(count)] for count in options], lambda choice: table[choice])
    drawn = np.where(process.allowed, rng.uniform(0.2, 1, process.allowed.shape), 0)
    return process, drawn / np.maximum(drawn.sum(-1, keepdims=True), 1e-9), table


@pytest.mark.parametrize("residual", ["even", "last"])
@pytest.mark.parametrize("shape", [(1,), (7,), (4, 50), (2, 3, 5)])
def test_the_return_stays_for_any_model(shape, residual):
    """Eq. (4), to 1e-12."""
    g, returns = 10 * RNG.normal(size=shape), 10 * RNG.normal(size=shape[:-1])
    kept = g.copy()
    found = rudder.redistribute(g, returns, residual)
    np.testing.assert_allclose(found.sum(-1), returns, rtol=0, atol=1e-12)
    assert (g == kept).all()
    h = np.concatenate([g[..., :1], g[..., 1:] - g[..., :-1]], -1)
    share = np.full(shape[-1], 1 / shape[-1]) if residual == "even" else np.eye(shape[-1])[-1]
    np.testing.assert_allclose(found, h + share * (returns - g[..., -1])[..., None], atol=1e-12)


def test_residual_is_named():
    with pytest.raises(UserError, match=r"residual: 'evenly' is not one of even, last. Did you mean 'even'"):
        rudder.redistribute(np.zeros(3), 1.0, "evenly")


def test_exact_predictions_are_conditional_means():
    """Eq. (1) by brute force: the mean return of all trajectories that begin alike."""
    process, pi, _ = architecture()
    every = list(process.trajectories(pi))
    table = rudder.expected_returns(process, pi)
    for one in every:
        g = rudder.exact(process, pi, one)
        for t in range(3):
            alike = [e for e in every if e.actions[: t + 1] == one.actions[: t + 1]]
            weights = [e.probability for e in alike]
            mean = np.average([sum(e.rewards) for e in alike], weights=weights)
            assert g[t] == pytest.approx(mean, abs=1e-12)
            assert table[one.states[t], one.actions[t]] == pytest.approx(mean, abs=1e-12)
        np.testing.assert_allclose(rudder.redistribute(g, sum(one.rewards)).sum(), sum(one.rewards), atol=1e-12)


def test_with_the_exact_model_nothing_is_left_to_be_expected():
    """Eqs. (5) and (6): later rewards have mean 0, and an action's value is its reward."""
    process, pi, _ = architecture()
    shared = rudder.redistributed(process, rudder.expected_returns(process, pi))
    values = shared.values(pi)
    np.testing.assert_allclose(values[1:], 0, atol=1e-12)
    assert values[0] == pytest.approx(process.values(pi)[0])  # nothing is lost
    assert abs(process.values(pi)[1:]).max() > 0.1
    on = process.allowed
    np.testing.assert_allclose(shared.action_values(pi)[on], shared.reward[on], atol=1e-12)
    advantages = process.action_values(pi) - process.values(pi)[:, None]
    after_first = on.copy()
    after_first[0] = False  # the first reward holds E[G] too
    np.testing.assert_allclose(shared.reward[after_first], advantages[after_first], atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_optimal_policy_is_kept_by_any_model(seed):
    """Theorem 1, where the model is noise: every trajectory keeps its return, every state its best actions."""
    process, pi, _ = architecture((2, 3, 2, 2), seed)
    shared = rudder.redistributed(process, np.random.default_rng(seed).normal(size=process.reward.shape))
    for before, after in zip(process.trajectories(pi), shared.trajectories(pi), strict=True):
        assert before.actions == after.actions
        assert sum(before.rewards) == pytest.approx(sum(after.rewards), abs=1e-12)
        assert any(after.rewards[:-1])
    np.testing.assert_array_equal(process.optimal()[1], shared.optimal()[1])


def test_a_greedy_look_at_the_exact_reward_improves_the_policy():
    """What redistribution is for: the best immediate reward is the best action, which it is not before."""
    process, pi, _ = architecture((2, 3, 2, 2), 3)
    shared = rudder.redistributed(process, rudder.expected_returns(process, pi))
    q = np.where(process.allowed, process.action_values(pi), -np.inf)
    now = np.where(process.allowed, shared.reward, -np.inf)
    np.testing.assert_array_equal(q.argmax(-1), now.argmax(-1))


def test_rewards_on_the_way_are_kept_in_the_return():
    process = mdp.MDP(
        np.array([[1, 2], [3, -1], [4, 5], [-1, -1], [-1, -1], [-1, -1]]),
        np.array([[1.0, 2], [3, 0], [4, 5], [0, 0], [0, 0], [0, 0]]),
        np.zeros((6, 2)),
        np.eye(6)[0],
    )
    pi = process.uniform()
    shared = rudder.redistributed(process, rudder.expected_returns(process, pi))
    np.testing.assert_allclose(shared.values(pi), [5.25, 0, 0, 0, 0, 0], atol=1e-12)


@pytest.mark.parametrize(("starts", "state"), [([1, 0, 0], 2), ([0.5, 0.5, 0], 1)])
def test_a_state_has_to_tell_its_past(starts, state):
    process = mdp.MDP(
        np.array([[1, 2], [2, -1], [-1, -1]]), np.zeros((3, 2)), np.zeros((3, 2)), np.array(starts, dtype=float)
    )
    with pytest.raises(UserError, match=f"mdp: state {state} is reached in more than one way"):
        rudder.redistributed(process, np.zeros((3, 2)))


@pytest.mark.parametrize("options", [(2, 2, 2), (3, 2, 3, 2)])
def test_policy_gradient_has_the_same_mean_and_less_variance(options):
    """By enumeration: with the exact model E[Σ_t s_t R_t] is ∇J, its variance below that with G or G − E[G]."""
    process, pi, _ = architecture(options)
    sums, squares = {}, {}
    mean_return = process.values(pi)[0]
    for one in process.trajectories(pi):
        g = sum(one.rewards)
        received = {
            "late": np.full(len(options), g),
            "baseline": np.full(len(options), g - mean_return),
            "rudder": rudder.redistribute(rudder.exact(process, pi, one), g) - np.eye(len(options))[0] * mean_return,
        }
        for name, credit in received.items():
            gradient = np.zeros(process.reward.shape)
            for s, a, c in zip(one.states, one.actions, credit, strict=False):
                gradient[s] += (np.eye(pi.shape[1])[a] - pi[s]) * process.allowed[s] * c
            sums[name] = sums.get(name, 0) + one.probability * gradient
            squares[name] = squares.get(name, 0) + one.probability * (gradient**2).sum()
    visits = process.visits(pi)[:, None]
    q, v = process.action_values(pi), process.values(pi)[:, None]
    exact = np.where(process.allowed, visits * pi * (q - v), 0)  # the policy gradient theorem, from values alone
    for mean in sums.values():
        np.testing.assert_allclose(mean, exact, atol=1e-12)
    assert squares["rudder"] < squares["baseline"] < squares["late"]


# Learnt return models ----------------------------------------------------------------------------------------------


def test_linear_model_finds_a_linear_return():
    x = RNG.normal(size=(40, 6, 3))
    w = np.array([1.0, -2, 0.5])
    found = rudder.linear_fit(x, (x @ w).sum(1))
    np.testing.assert_allclose(found, w, atol=1e-10)
    np.testing.assert_allclose(np.diff(rudder.linear(x, found), axis=1), (x @ w)[:, 1:], atol=1e-10)


def test_ridge_solution_is_where_the_gradient_vanishes():
    x, returns = RNG.normal(size=(10, 4, 5)), RNG.normal(size=10)
    w = rudder.linear_fit(x, returns, ridge=0.7)
    total = x.sum(1)
    np.testing.assert_allclose(total.T @ (total @ w - returns) + 0.7 * w, 0, atol=1e-10)


def test_lstm_is_torchs_with_two_gates_held_open():
    """An independent LSTM whose forget and output gates are 1 computes the same."""
    ours = ReturnLSTM(3, 4, torch.Generator().manual_seed(0)).double()
    theirs = torch.nn.LSTM(3, 4, batch_first=True).double()
    with torch.no_grad():
        i, z = ours.gates.T.chunk(2)
        open_, rows = torch.zeros_like(i), lambda part, cut: part[:, cut]
        for cut, weight in ((slice(0, 3), theirs.weight_ih_l0), (slice(3, None), theirs.weight_hh_l0)):
            weight.copy_(torch.cat([rows(part, cut) for part in (i, open_, z, open_)]))
        b_i, b_z = ours.shift.chunk(2)
        held = torch.full((4,), 100.0)
        theirs.bias_ih_l0.copy_(torch.cat([b_i, held, b_z, held]))
        theirs.bias_hh_l0.zero_()
    x = torch.randn(5, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y, _ = theirs(x)
    torch.testing.assert_close(ours(x), y @ ours.readout + ours.level, rtol=0, atol=1e-12)


def test_lstm_learns_what_no_linear_model_can():
    """G = 1 if the first two actions are alike: the reward belongs to the second, which settles it."""
    x = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)))[..., None]
    returns = (x[:, 0, 0] == x[:, 1, 0]).float()
    model = ReturnLSTM(1, 8, torch.Generator().manual_seed(0))
    losses = fit(model, x, returns, steps=250)
    # The first action tells nothing: g_0 = ½ is the best there is, and costs ½ · ¼ · ¼.
    assert losses[-1] < EARLY / 16 + 0.001 < losses[0]
    g = model(x).detach().double().numpy()
    shared = rudder.redistribute(g, returns.double().numpy())
    expected = np.stack([np.full(16, 0.5), returns.numpy() - 0.5, np.zeros(16), np.zeros(16)], 1)
    np.testing.assert_allclose(shared, expected, atol=0.12)
    np.testing.assert_allclose(shared.sum(1), returns, atol=1e-12)
    w = rudder.linear_fit(x.double().numpy(), returns.double().numpy() - 0.5)
    np.testing.assert_allclose(w, 0, atol=1e-12)


# The delayed key ------------------------------------------------------------------------------------------------------


def test_updates_of_the_agents_are_those_of_the_loop():
    """TD(λ) with eligibility traces, step by step, on one episode."""
    v, returns, lam, a = RNG.normal(size=5), 1.7, 0.8, 0.3
    slow, trace = v.copy(), np.zeros(5)
    for t in range(5):
        error = (slow[t + 1] if t < 4 else returns) - slow[t]
        trace = lam * trace + np.eye(5)[t]
        slow += a * error * trace
    errors = np.append(v[1:], returns) - v
    np.testing.assert_allclose(v + a * delayed_key.discounted(errors[None], lam)[0], slow, atol=1e-12)
    np.testing.assert_allclose(delayed_key.discounted(errors[None], 1.0)[0], returns - v, atol=1e-12)


def test_recursive_least_squares_is_the_ridge_solution():
    model = delayed_key.Returns(2, 4)
    x, returns = RNG.normal(size=(9, 2, 4)), RNG.normal(size=(9, 2))
    for own, g in zip(x, returns, strict=True):
        model.learn(own, g)
    for r in range(2):
        np.testing.assert_allclose(
            model.weights[r], rudder.linear_fit(x[:, r, None], returns[:, r], delayed_key.RIDGE), atol=1e-8
        )


def test_rudder_is_faster_and_the_more_so_the_longer_the_delay():
    """Medians of 60 runs; against every other agent the ratio grows from 2 to 32 steps of delay."""
    count = {
        (agent, delay): float(np.median(delayed_key.episodes(agent, delay, runs=60)))
        for agent in ("td", "td(λ)", "mc", "rudder", "rudder, a weight a step")
        for delay in (2, 32)
    }
    for other in ("td", "td(λ)", "mc"):
        assert count[other, 2] / count["rudder", 2] > 1
        assert count[other, 32] / count["rudder", 32] > 4 * count[other, 2] / count["rudder", 2]
    # The advantage is in what g shares between the steps: with a weight a step it has as much to learn as there are.
    assert count["rudder", 32] < count["rudder, a weight a step", 32] / 3
    assert count["rudder, a weight a step", 32] < count["mc", 32]


def test_without_coins_delay_alone_hurts_td_only():
    """The return then tells at once what the key was worth, however late it comes."""
    for agent in ("mc", "rudder"):
        assert np.median(delayed_key.episodes(agent, 30, noise=0.0, runs=20)) <= 3
    assert np.median(delayed_key.episodes("td", 30, noise=0.0, runs=20)) > 30


def test_unknown_agent():
    with pytest.raises(UserError, match=r"agent: 'ruder' is not one of .* Did you mean 'rudder'"):
        delayed_key.episodes("ruder", 3)


# In search ------------------------------------------------------------------------------------------------------------


def test_return_model_of_the_method_is_a_discounted_ridge(double):
    """Eqs. (1) and (3) by lstsq on the weighted samples; two runs at once, each its own."""
    noise = torch.Generator().manual_seed(0)
    x, surprise = torch.randn(30, 2, 2, 3, 4, generator=noise), torch.randn(30, 2, generator=noise)
    gram, moment = method.returns(torch.zeros(2, 2, 3, 4))
    for own, late in zip(x, surprise, strict=True):
        method.learn(gram, moment, own, late, 0.9)
    found = method.worth(gram, moment, 2.5, x[0])
    for r in range(2):
        root = (0.9 ** torch.arange(29, -1, -1)).sqrt()
        rows = torch.cat([root[:, None] * x[:, r].flatten(1), 2.5**0.5 * torch.eye(24)])
        w = torch.linalg.lstsq(rows, torch.cat([root * surprise[:, r], torch.zeros(24)])[:, None]).solution
        torch.testing.assert_close(found[r], (w.view(2, 3, 4) * x[0, r]).sum(-1))


def test_redistributed_rewards_of_a_search_sum_to_what_came_of_it(double):
    share, unforeseen = torch.randn(3, 2, 5), torch.randn(3)
    found = method.redistributed(share, unforeseen)
    torch.testing.assert_close(found.sum((-2, -1)), share.sum((-2, -1)) + unforeseen, rtol=0, atol=1e-12)


def test_a_right_return_model_gives_the_exact_gradient(double):
    """Eq. (5) by enumeration of three decisions: unbiased for a linear reward, with less variance."""
    alpha = torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    worths = torch.tensor([[[0.3, -1.0], [2.0, 0.5], [-0.2, 0.9]]])
    p = alpha.softmax(-1)
    (worths * p).sum().backward()  # ∇J of J = Σ w·p
    p, b = p.detach(), (worths * p).sum().detach()
    first, second = 0.0, {"rudder": 0.0, "late": 0.0}
    for choice in itertools.product(range(2), repeat=3):
        z = torch.eye(2)[list(choice)][None]
        weight = (z * p).sum(-1).prod()
        share = (worths * policy.score(z, p)).sum(-1)
        late = (worths * z).sum() - b
        found = policy.gradient(z, p, method.redistributed(share, late - share.sum()))
        first = first + weight * found
        second["rudder"] += weight * found.square().sum()
        second["late"] += weight * policy.gradient(z, p, policy.everywhere(late, z)).square().sum()
    torch.testing.assert_close(first, alpha.grad)
    assert second["rudder"] < second["late"]


def begin(**values):
    task = make_task("digits", seed=0, epochs=1)
    knobs = Knobs(**method.rudder.knobs)
    knobs.set(**values)
    knobs.apply()
    return task, method.rudder(task, knobs)


def test_advantage_of_a_step_sums_to_the_surprise():
    """Eq. (4) on the real network; only what was drawn has an advantage."""
    _, steps = begin()
    for step in itertools.islice(steps, 4):
        assert torch.equal(step.advantage.isnan(), step.gates == 0)
        surprise = step.metrics["reward"] - step.metrics["baseline"]
        torch.testing.assert_close(step.advantage.nansum(), surprise, atol=1e-6, rtol=1e-4)
    assert step.credit is None


def test_more_evaluations_are_counted_and_teach_the_model_alone():
    """Twice the images, as many updates of the weights; the second child moves neither weights nor statistics."""
    (one, single), (two, double) = begin(), begin(lessons=1)
    first, other = next(single), next(double)
    assert (one.counters["examples"], two.counters["examples"]) == (64, 128)
    assert one.counters["updates"] == two.counters["updates"] == 1
    assert torch.equal(first.gates, other.gates)
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(two.network.state_dict()[name], value)
    later = [next(steps).metrics["foreseen"] for steps in (single, double)]
    assert later[0] != later[1]


def test_a_known_linear_reward_is_climbed_faster_in_small_steps(monkeypatch):
    """Share of the way from uniform to the best architecture after 75 noisy rewards, at the same small rate.

    At rates six times as large both have decided after a few rewards, and luck says who was right.
    """
    worths = 0.05 * torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))

    def climbed(name):
        luck = torch.Generator().manual_seed(1)
        noisy = lambda task, outcome, z, *_: (worths * z).sum() + 0.05 * torch.randn((), generator=luck)
        task = make_task("digits", seed=0, epochs=5)
        weight = task.network.classifier.bias
        results = {"outcome": lambda: SimpleNamespace(loss=0 * weight.sum()), "batch": lambda: None}
        with monkeypatch.context() as patch:
            patch.setattr(rewards, "reward", noisy)
            patch.setattr(gates, "active", lambda z: [None] * len(z))
            for part, result in results.items():
                patch.setattr(task, part, lambda *_, result=result, **__: result())
            knobs = Knobs(**methods.get(name).knobs)
            knobs.set(architecture_lr=0.05)
            knobs.apply()
            *_, last = methods.get(name)(task, knobs)
        mean, best = worths.mean(-1).sum(), worths.amax(-1).sum()
        return float(((worths * last.probs).sum() - mean) / (best - mean))

    assert climbed("rudder") > 1.3 * climbed("reinforce")
