"""Decision processes: their exact tables against enumeration and sampling, and gymnasium's own check."""

import math
import subprocess
import sys
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from nascore.errors import UserError
from nascore.mdp import LARGEST, MDP, building, chain, environment, tree
from nascore.space import DARTS, Space

OPTIONS = (("left", "right"), ("skip", "conv", "pool"), ("on", "off"))
SMALL = Space(
    1, 2, ("none", "skip", "conv1"), cells=("normal", "reduce"), cell_ops=(("skip", "conv1"), ("none", "skip"))
)
RNG = np.random.default_rng(0)
SCORES = RNG.random((2, 3, 2))


def three():
    return building(OPTIONS, lambda choice: SCORES[choice])


def some_policy(mdp, seed=0):
    weights = np.random.default_rng(seed).random(mdp.follows.shape) * mdp.allowed
    return weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)


def test_a_chain_pays_once_and_late() -> None:
    mdp = chain(4)
    (only,) = mdp.trajectories(mdp.uniform())
    assert only.states == (0, 1, 2, 3, 4)
    assert only.rewards == (0, 0, 0, 1)
    assert only.probability == 1
    assert mdp.certain
    assert not chain(4, noise=0.1).certain
    assert mdp.values(mdp.uniform()).tolist() == [1, 1, 1, 1, 0]
    assert chain(4, noise=3.0).variances(mdp.uniform()).tolist() == [9, 9, 9, 9, 0]
    assert mdp.names == ("s₀", "s₁", "s₂", "s₃", "end")


def test_building_rewards_the_finished_architecture_alone() -> None:
    mdp = three()
    found = {each.actions: each for each in mdp.trajectories(mdp.uniform())}
    assert len(found) == 12
    for choice, each in found.items():
        assert each.rewards == (0, 0, SCORES[choice])
        assert mdp.names[each.states[-1]] == ", ".join(o[k] for o, k in zip(OPTIONS, choice, strict=True))
    assert mdp.names[0] == "nothing"


def test_a_trajectory_is_as_likely_as_its_decisions() -> None:
    """Claim: transitions are certain, so the probability is the product of the policy's terms; counts agree."""
    mdp = three()
    policy = some_policy(mdp)
    found = {each.states: each for each in mdp.trajectories(policy)}
    for each in found.values():
        terms = [policy[s, a] for s, a in zip(each.states, each.actions, strict=False)]
        assert each.probability == pytest.approx(math.prod(terms), rel=1e-14)
    assert sum(each.probability for each in found.values()) == pytest.approx(1, abs=1e-14)
    draws = [mdp.episode(policy, RNG) for _ in range(2000)]
    assert all(draw == found[draw.states] for draw in draws)
    counts = np.array([sum(draw.states == states for draw in draws) for states in found])
    expected = 2000 * np.array([each.probability for each in found.values()])
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 31.3  # 11 degrees of freedom: exceeded once in a thousand


@pytest.mark.parametrize(
    "mdp",
    [three(), tree(3, 2), tree(3, 3, converging=True), building(SMALL, sum)],
    ids=lambda mdp: str(len(mdp.follows)),
)
def test_exact_tables_against_enumeration(mdp: MDP) -> None:
    mdp = replace(
        mdp,
        reward=mdp.allowed * np.random.default_rng(1).normal(size=mdp.follows.shape),
        noise=mdp.allowed * np.random.default_rng(2).random(mdp.follows.shape),
    )
    policy = some_policy(mdp)
    ways = list(mdp.trajectories(policy))
    assert sum(way.probability for way in ways) == pytest.approx(1, abs=1e-12)
    states = range(len(mdp.follows))
    visits, values, squares = (np.zeros(len(states)) for _ in range(3))
    q = np.zeros((2, *mdp.follows.shape))
    for way in ways:
        for t, state in enumerate(way.states):
            rest = sum(way.rewards[t:])
            noise = sum(mdp.noise[s, a] ** 2 for s, a in zip(way.states[t:], way.actions[t:], strict=False))
            visits[state] += way.probability
            values[state] += way.probability * rest
            squares[state] += way.probability * (rest**2 + noise)
            if t < len(way.actions):
                q[:, state, way.actions[t]] += way.probability * np.array([1, rest])
    np.testing.assert_allclose(mdp.visits(policy), visits, atol=1e-12)
    np.testing.assert_allclose(mdp.values(policy), values / visits, atol=1e-12)
    np.testing.assert_allclose(mdp.variances(policy), squares / visits - (values / visits) ** 2, atol=1e-12)
    np.testing.assert_allclose(mdp.action_values(policy)[mdp.allowed], (q[1] / np.maximum(q[0], 1e-300))[mdp.allowed])
    assert np.isnan(mdp.action_values(policy)[~mdp.allowed]).all()


def test_the_optimal_policy_against_every_choice() -> None:
    mdp = three()
    values, best = mdp.optimal()
    assert values[0] == SCORES.max()
    path, state = [], 0
    while not mdp.terminal[state]:
        (action,) = np.flatnonzero(best[state])
        path.append(int(action))
        state = mdp.follows[state, action]
    assert tuple(path) == np.unravel_index(SCORES.argmax(), SCORES.shape)
    np.testing.assert_allclose(mdp.values(best.astype(float)), values)
    tied, both = building((("a", "b", "c"),), lambda choice: float(choice != (1,))).optimal()
    assert both[0].tolist() == [True, False, True]
    assert tied[0] == 1


@pytest.mark.parametrize("branching", [2, 3])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_late_noise_reaches_exponentially_many_states(depth: int, branching: int) -> None:
    """All (b^d − 1) / (b − 1) states but the ends take on the variance: from noisy ends, or from a single reward."""
    expected = (branching**depth - 1) // (branching - 1)
    for converging in (False, True):
        mdp = tree(depth, branching, noise=0.5, converging=converging)
        variance = mdp.variances(mdp.uniform())
        assert variance[~mdp.terminal].tolist() == [0.25] * expected
    assert np.count_nonzero(mdp.noise) == 1  # converging
    distance = np.zeros(expected, dtype=int)
    for state in reversed(range(expected - 1)):
        distance[state] = distance[mdp.follows[state, 0]] + 1
    assert np.bincount(distance).tolist() == [branching**d for d in range(depth)]


def test_noise_at_one_end_fades_where_paths_branch() -> None:
    mdp = tree(4, 2)
    one = replace(mdp, noise=mdp.noise * (mdp.follows == mdp.follows.max()))
    found = one.variances(one.uniform())
    assert sorted(found[found > 0]) == [1 / 16, 1 / 8, 1 / 4, 1 / 2]  # a share of 2^−distance, on one path


def test_a_space_is_built_edge_by_edge() -> None:
    mdp = building(SMALL, lambda choice: float(choice == (1, 2, 1, 0, 1, 0)))
    (start,) = np.flatnonzero(mdp.start)
    assert mdp.allowed[start].tolist() == [False, True, True]  # the normal cell has no none
    last = mdp.follows[~mdp.terminal].max(-1).argmax()
    assert mdp.allowed[last].tolist() == [True, True, False]
    assert mdp.terminal.sum() == 2**6
    (best,) = mdp.trajectories(np.where(mdp.optimal()[1], 1.0, 0) * keep_first(mdp.optimal()[1]))
    assert sum(best.rewards) == 1
    assert mdp.names[best.states[-1]] == "skip, conv1, skip, none, skip, none"


def keep_first(best):
    return best & (best.cumsum(-1) == 1)


@pytest.mark.parametrize("make", [lambda: chain(3, noise=1.0), lambda: tree(3, converging=True), three])
def test_gymnasium_finds_nothing_to_complain_of(make) -> None:
    mdp = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(environment(mdp), skip_render_check=True)  # it has nothing to render


def test_an_agent_meets_the_same_process() -> None:
    mdp = building(SMALL, lambda choice: sum(choice) / 10)
    env = environment(mdp)
    found = []
    for episode in range(300):
        state, info = env.reset(seed=episode)
        env.action_space.seed(episode)
        total, done = 0.0, False
        while not done:
            assert info["action_mask"].tolist() == mdp.allowed[state].tolist()
            state, reward, done, cut, info = env.step(env.action_space.sample(info["action_mask"]))
            total += reward
            assert not cut
        found.append(total)
    policy = mdp.uniform()
    error = math.sqrt(mdp.variances(policy)[0] / 300)
    assert abs(np.mean(found) - mdp.values(policy)[0]) < 4 * error
    with pytest.raises(UserError, match=r"action: the episode has ended; call reset\(\)"):
        env.step(0)
    env.reset()
    assert env.step(0)[:4] == (0, 0.0, False, True)  # the normal cell has no such operation
    with pytest.raises(UserError, match="action: 3 is not a whole number from 0 to 2"):
        env.step(3)


def q_lambda(env: gymnasium.Env, episodes: int, step: float = 0.5, lam: float = 0.8, explore: float = 0.5):
    """Watkins's Q(λ) (Sutton and Barto, 1st edition, section 7.6), which knows nothing of the process but gymnasium."""
    q = np.zeros((env.observation_space.n, env.action_space.n))
    env.action_space.seed(0)
    rng = np.random.default_rng(1)  # another stream than the actions'
    for episode in range(episodes):
        state, info = env.reset(seed=episode)
        trace, done = np.zeros_like(q), False
        while not done:
            mask = info["action_mask"]
            best = np.where(mask, q[state], -np.inf)
            action = env.action_space.sample(mask) if rng.random() < explore else best.argmax()
            if best[action] < best.max():
                trace[:] = 0  # what came before did not lead here by the greedy policy
            trace[state, action] = 1
            after, reward, done, cut, info = env.step(action)
            assert not cut
            future = 0 if done else np.where(info["action_mask"], q[after], -np.inf).max()
            q += step * (reward + future - q[state, action]) * trace
            trace *= lam
            state = after
    return q


@pytest.mark.parametrize("mdp", [chain(6), three()], ids=["chain", "building"])
def test_another_agent_finds_the_optimal_policy(mdp: MDP) -> None:
    """Through gymnasium's interface alone: its greedy episode is the best one, and it knows what that is worth."""
    values, best = mdp.optimal()
    found = q_lambda(environment(mdp), episodes=200)
    greedy = np.where(mdp.allowed, found, -np.inf).argmax(-1)
    episode = mdp.episode(np.eye(found.shape[1])[greedy] * mdp.allowed, RNG)
    assert sum(episode.rewards) == values[0]
    for state, action in zip(episode.states, episode.actions, strict=False):
        assert best[state, action]
        assert found[state, action] == pytest.approx(values[state], abs=1e-3)


def test_without_gymnasium_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "from nascore.mdp import chain, environment\n"
        "assert 'torch' not in sys.modules\n"
        "try: environment(chain(2))\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "environment: this needs gymnasium; install it with `pip install nas-kit[rl]`.\n"


ONE, FIRST = np.ones((2, 1)), np.array([1.0, 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: chain(0), "delay: 0 is not a whole number from 1 to"),
        (lambda: chain(3, noise=-1), "noise: -1 is not a number of at least 0"),
        (lambda: tree(25), f"depth: 25 makes 67,108,863 states; at most {LARGEST:,} can be solved here"),
        (lambda: building(DARTS, sum), "decisions: 'DARTS' makes .* states; at most"),
        (lambda: building((), sum), r"decisions: \(\) must be a list of one or more decisions"),
        (lambda: building((("a",), ()), sum), "decisions: .* with an option each"),
        (lambda: MDP(np.array([[1], [0]]), ONE, ONE, FIRST), "follows: state 1 leads back to 0"),
        (
            lambda: MDP(np.array([[7], [-1]]), ONE, ONE, FIRST),
            "follows: 7 is not one of the states 0 to 1",
        ),
        (lambda: MDP(np.array([[1], [-1]]), ONE, ONE, np.array([1.0, 1])), "start: must be 2 probabilities"),
        (
            lambda: MDP(np.array([[1], [-1]]), ONE * np.inf, ONE, FIRST),
            r"reward: an entry is not a finite",
        ),
        (lambda: MDP(np.array([[1], [-1]]), ONE, ONE * np.nan, FIRST), "noise: an entry is not a finite"),
        (lambda: MDP(np.array([[1], [-1]]), ONE, ONE, FIRST, ("a",)), "names: 1 names for 2 states"),
        (lambda: chain(2).values(np.ones((2, 1))), r"policy: the shape is \(2, 1\)"),
        (lambda: three().values(2 * three().uniform()), r"policy: row 0, \[1.0, 1.0, 0.0\], must have probabilities"),
    ],
)
def test_bad_arguments_are_told(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
