"""Values learnt from episodes: TD(0), TD(λ), Monte Carlo, and how fast a late reward reaches the first state.

Sutton and Barto, "Reinforcement Learning", 2nd edition, 2018, chapters 5, 6 and 12, with discount 1:

    TD(0)         V(s_t) ← V(s_t) + a_n [r_t + V(s_{t+1}) − V(s_t)]                                            (1)
    Monte Carlo   V(s_t) ← V(s_t) + a_n [G_t − V(s_t)],   G_t = r_t + r_{t+1} + …                               (2)
    TD(λ)         V(s_t) ← V(s_t) + a_n [G^λ_t − V(s_t)]   (forward view)                                       (3)
                  G^λ_t = (1 − λ) Σ_n λ^{n−1} G^{(n)}_t = r_t + (1 − λ) V(s_{t+1}) + λ G^λ_{t+1}
    TD(λ)         V(s) ← V(s) + a_n δ_t e_t(s) for all s,   δ_t = r_t + V(s_{t+1}) − V(s_t)   (backward view)   (4)
                  e_t(s) = λ e_{t−1}(s) + 1[s = s_t]

r_t is the reward for leaving s_t.  A sweep is one episode.  a_n is the step size of the n-th visit: a constant, or
``"1/n"``, which makes V the average of its targets.

On ``mdp.chain(T)`` a sweep of TD(0) is V_k ← (1 − a_n) V_k + a_n V_{k+1}, so that after n sweeps, exactly,

    V(s_k) = Pr[B_1 + … + B_n ≥ T − k],   B_i ~ Bernoulli(a_i) independent                                      (5)
"""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence, Sequence
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float

from nascore.errors import UserError, choose, number
from nascore.mdp import MDP, Array, Trajectory

RULES = ("td", "mc")
ORDERS = ("forward", "reverse")


def step_sizes(step: float | str, sweeps: int, visits: int = 0) -> Float[Array, " sweep"]:
    """a_{v+1} … a_{v+n}: the step sizes of n sweeps after v ``visits``."""
    counts = np.arange(visits + 1, visits + sweeps + 1)
    return 1 / counts if step == "1/n" else np.full(sweeps, _constant(step))


def monte_carlo(values: MutableSequence[float] | Array, episode: Trajectory, steps: Sequence[float]) -> None:
    """Eq. (2) for every state of ``episode``, in place; ``steps`` are the step sizes a, one a state left."""
    target = 0.0
    for state, reward, a in _backwards(episode, steps):
        target += reward  # G_t
        values[state] += a * (target - values[state])


def td_forward(
    values: MutableSequence[float] | Array,
    episode: Trajectory,
    steps: Sequence[float],
    lam: float = 0.0,
    order: str = "forward",
) -> None:
    """Eq. (3) for every state of ``episode``, in place; λ = 0 is eq. (1), λ = 1 is eq. (2).

    In ``"forward"`` order the targets are those of the values before the sweep, as when the states are updated while
    the episode goes on.  In ``"reverse"`` order, when an episode is replayed backwards, s_t learns from what s_{t+1}
    has just learnt.
    """
    target, new = 0.0, []
    following = episode.states[:0:-1]
    for (state, reward, a), after in zip(_backwards(episode, steps), following, strict=True):
        target = reward + (1 - lam) * values[after] + lam * target  # G^λ_t
        changed = values[state] + a * (target - values[state])
        if order == "reverse":
            values[state] = changed
        else:
            new.append((state, changed))
    for state, changed in new:
        values[state] = changed


def td_backward(
    values: MutableSequence[float] | Array, episode: Trajectory, steps: Sequence[float], lam: float = 0.0
) -> None:
    """Eq. (4), in place, step by step as the episode goes on: each surprise δ_t is told to all states before it.

    Without cycles a state is met once, so nothing that δ_t reads has changed in this sweep: this equals
    ``td_forward`` exactly, also online.
    """
    trace: dict[int, float] = {}
    sizes = dict(zip(episode.states, steps, strict=False))
    for state, after, reward in zip(episode.states, episode.states[1:], episode.rewards, strict=False):
        trace = {earlier: lam * e for earlier, e in trace.items()} | {state: 1.0}  # e_t
        delta = reward + values[after] - values[state]
        for earlier, e in trace.items():
            values[earlier] += sizes[earlier] * delta * e


def learn(
    mdp: MDP,
    count: int,
    rule: str = "td",
    step: float | str = 1.0,
    lam: float = 0.0,
    order: str = "forward",
    policy: Array | None = None,
    rng: np.random.Generator | None = None,
    values: Array | None = None,
    visits: int = 0,
) -> Float[Array, "sweep state"]:
    """V after 0, 1, …, ``count`` sweeps.

    Args:
        mdp: where the episodes come from.
        count: how many.
        rule: ``"td"``, eqs. (1) and (3), or ``"mc"``, eq. (2).
        step: the step size, a number from 0 to 1 or ``"1/n"``.
        lam: λ, from 0 to 1.
        order: that in which TD updates the states of an episode, see ``td_forward``.
        policy: π ``[state, action]``, uniform by default.
        rng: the source of chance.
        values: the first values, 0 by default.
        visits: how often each state was visited before, for ``"1/n"``.
    """
    count = int(number("count", count, 0, integer=True))
    return np.stack(list(islice(_sweeps(mdp, rule, step, lam, order, policy, rng, values, visits), count + 1)))


def _sweeps(
    mdp: MDP,
    rule: str = "td",
    step: float | str = 1.0,
    lam: float = 0.0,
    order: str = "forward",
    policy: Array | None = None,
    rng: np.random.Generator | None = None,
    values: Array | None = None,
    visits: int = 0,
) -> Iterator[Array]:
    """V before the first sweep and after every one, without end."""
    choose("rule", rule, RULES)
    choose("order", order, ORDERS)
    lam, constant = number("lam", lam, 0, 1), None if step == "1/n" else _constant(step)
    policy = mdp.uniform() if policy is None else policy
    rng = np.random.default_rng(0) if rng is None else rng
    v = [0.0] * len(mdp.follows) if values is None else np.asarray(values, dtype=float).tolist()
    if len(v) != len(mdp.follows):
        raise UserError(f"values: {len(v)} values for {len(mdp.follows)} states.")
    counts = [visits] * len(v)
    same = mdp.episode(policy, rng) if mdp.certain else None
    while True:
        yield np.array(v)
        episode = same or mdp.episode(policy, rng)
        steps = []
        for state in episode.states[:-1]:
            counts[state] += 1
            steps.append(1 / counts[state] if constant is None else constant)
        if rule == "mc":
            monte_carlo(v, episode, steps)
        else:
            td_forward(v, episode, steps, lam, order)


def repair(
    mdp: MDP,
    state: int,
    error: float = 1.0,
    tolerance: float = 0.1,
    most: int = 10_000,
    policy: Array | None = None,
    **options: Any,
) -> Float[Array, "sweep state"]:
    """V from the sweep 0, when all values are right but that of ``state``, until the error is gone from all states.

    ``error`` is added to the right value, and gone means: within ``tolerance``·|error| of it.  ``options`` are those
    of ``learn``.  The sweeps needed are the length less 1.  Raises ``UserError`` if ``most`` sweeps do not do.
    """
    policy = mdp.uniform() if policy is None else policy
    true = mdp.values(policy)
    wrong = true.copy()
    wrong[int(number("state", state, 0, int(np.flatnonzero(~mdp.terminal)[-1]), integer=True))] += error
    seen = []
    for v in islice(_sweeps(mdp, policy=policy, values=wrong, **options), most + 1):
        seen.append(v)
        if np.abs(v - true).max() <= tolerance * abs(error):
            return np.stack(seen)
    raise UserError(f"most: {most} sweeps do not bring every value within {tolerance:g} of the error; give more.")


def law(delay: int, steps: Sequence[float] | Array) -> Float[Array, "sweep state"]:
    """V of TD(0) on ``chain(delay)`` after 0, 1, …, n sweeps with these step sizes, by eq. (5); the end's is 0."""
    delay = int(number("delay", delay, 1, integer=True))
    found = np.zeros((len(steps) + 1, delay + 1))
    chance = np.eye(delay + 1)[0]  # of a sum of 0, 1, …, T or more
    for n, a in enumerate(steps, start=1):
        chance = _add(chance, a)
        found[n, :-1] = np.cumsum(chance[:0:-1])  # Pr[sum ≥ T], …, Pr[sum ≥ 1]
    return found


def half_time(delay: int, step: float | str, level: float = 0.5) -> int:
    """Sweeps of TD(0) until V(s_0) ≥ ``level`` on ``chain(delay)``, by eq. (5).

    About T / a for a constant step size a: linear.  With ``"1/n"`` the sum is like the number of cycles of a random
    permutation of n, about ln n: exponential, with ratio e.
    """
    delay = int(number("delay", delay, 1, integer=True))
    level = number("level", level, 0, 1 - 1e-9)
    if step != "1/n" and _constant(step) == 0:
        raise UserError("step: 0 never learns; give a number above 0, or '1/n'.")
    chance, n = np.eye(delay + 1)[0], 0
    while chance[-1] < level:
        n += 1
        chance = _add(chance, 1 / n if step == "1/n" else _constant(step))
    return n


def _add(chance: Array, a: float) -> Array:
    """The law of a sum, with one more Bernoulli(a); the last entry is "that much or more"."""
    new = (1 - a) * chance
    new[1:] += a * chance[:-1]
    new[-1] += a * chance[-1]
    return new


def _backwards(episode: Trajectory, steps: Sequence[float]) -> Iterator[tuple[int, float, float]]:
    return zip(reversed(episode.states[:-1]), reversed(episode.rewards), reversed(steps), strict=True)


def _constant(step: Any) -> float:
    try:
        return number("step", step, 0, 1)
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')}, or '1/n'.") from None
