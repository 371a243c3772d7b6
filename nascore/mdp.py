"""Small decision processes whose reward comes late, solved exactly: chains, trees, and building an architecture.

Building a network is a Markov decision process (Xie et al., "SNAS", 2019, section 2.1): the state s_t is the part
built so far, the action a_t the next decision, the next state follows for certain, and only the finished network is
rewarded.  So a trajectory has the probability

    p(s_0, a_0, …, s_T) = p(s_0) Π_t π(a_t | s_t)                                                              (1)

The return G = Σ_t r_t is not discounted.  Rewards have no unit of their own: they are accuracies, or counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from nascore.errors import UserError, number
from nascore.space import Space

if TYPE_CHECKING:
    from nascore.environment import Environment

Array = NDArray[np.float64]
LARGEST = 200_000  # states: what the loops below still solve in seconds


class Trajectory(NamedTuple):
    """One way from a start to an end: ``states`` has one entry more than ``actions`` and ``rewards``."""

    states: tuple[int, ...]
    actions: tuple[int, ...]
    rewards: tuple[float, ...]
    probability: float  # eq. (1)


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite process with certain transitions and no cycles: every state leads to states with a larger number.

    A state without an action is an end.  Raises ``UserError`` where the tables do not make such a process.
    """

    follows: Int[NDArray[np.int_], "state action"]  # the next state; -1 where there is no such action
    reward: Float[Array, "state action"]  # mean reward of the action
    noise: Float[Array, "state action"]  # standard deviation of that reward, normally distributed
    start: Float[Array, " state"]  # probability of beginning there
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the tables and make them read-only."""
        states = len(self.follows)
        for name, table in (("reward", self.reward), ("noise", self.noise)):
            if table.shape != self.follows.shape:
                raise UserError(f"{name}: the shape is {table.shape}; that of follows is {self.follows.shape}.")
            if not np.isfinite(table).all():
                raise UserError(f"{name}: an entry is not a finite number.")
        if self.start.shape != (states,) or (self.start < 0).any() or not math.isclose(self.start.sum(), 1):
            raise UserError(f"start: must be {states} probabilities that sum to 1, one a state.")
        for state, action in np.argwhere(self.allowed & (self.follows <= np.arange(states)[:, None])):
            raise UserError(
                f"follows: state {state} leads back to {self.follows[state, action]}; "
                "number the states so that each leads only to later ones."
            )
        if self.follows.max() >= states:
            raise UserError(f"follows: {self.follows.max()} is not one of the states 0 to {states - 1}.")
        if self.names and len(self.names) != states:
            raise UserError(f"names: {len(self.names)} names for {states} states.")
        for fixed in (self.follows, self.reward, self.noise, self.start):
            fixed.flags.writeable = False

    @cached_property
    def allowed(self) -> Bool[NDArray[np.bool_], "state action"]:
        """Where there is an action."""
        return self.follows >= 0

    @cached_property
    def terminal(self) -> Bool[NDArray[np.bool_], " state"]:
        """The ends: states without an action."""
        return np.logical_not(self.allowed.any(-1))

    @property
    def certain(self) -> bool:
        """Whether every episode is the same: nothing to choose, no noise, one start."""
        return bool(self.allowed.sum(-1).max() <= 1 and not self.noise[self.allowed].any() and self.start.max() == 1)

    def uniform(self) -> Float[Array, "state action"]:
        """The policy π that takes every action of a state with the same probability; 0 in an end."""
        count: Array = self.allowed.sum(-1, keepdims=True).astype(float)
        return self.allowed / np.maximum(count, 1)

    def values(self, policy: Float[Array, "state action"]) -> Float[Array, " state"]:
        """v(s) = E[G | s], the mean return from every state; 0 in an end."""
        q = self.action_values(policy)
        found: Array = np.where(self.allowed, policy * q, 0).sum(-1)
        return found

    def action_values(self, policy: Float[Array, "state action"]) -> Float[Array, "state action"]:
        """q(s, a) = r(s, a) + v(s'), the mean return after every action; NaN where there is no such action."""
        self._check(policy)
        return self._backwards(lambda state, q: float(policy[state, self.allowed[state]] @ q))

    def optimal(self) -> tuple[Float[Array, " state"], Bool[NDArray[np.bool_], "state action"]]:
        """The largest values a policy can have, and all actions that reach them (ties within 1e-9 are kept)."""
        q = self._backwards(lambda _, q: float(q.max()))  # Bellman's equation: v(s) = max_a r(s, a) + v(s')
        values = np.where(self.terminal, 0, np.where(self.allowed, q, -np.inf).max(-1))
        return values, self.allowed & (np.where(self.allowed, q, -np.inf) >= values[:, None] - 1e-9)

    def variances(self, policy: Float[Array, "state action"]) -> Float[Array, " state"]:
        """Var[G | s], what one Monte Carlo return from every state varies by.

        Var[G | s] = Σ_a π(a | s) [ σ(s, a)² + Var[G | s'] + (q(s, a) − v(s))² ], the law of total variance.
        """
        q = self.action_values(policy)
        found = np.zeros(len(self.follows))
        for state in np.flatnonzero(~self.terminal)[::-1]:
            on = self.allowed[state]
            p, own = policy[state, on], q[state, on]
            later = found[self.follows[state, on]]
            found[state] = p @ (self.noise[state, on] ** 2 + later + (own - p @ own) ** 2)
        return found

    def visits(self, policy: Float[Array, "state action"]) -> Float[Array, " state"]:
        """The probability that an episode passes through each state."""
        self._check(policy)
        found = self.start.copy()
        for state in np.flatnonzero(~self.terminal):  # earlier states are complete, as none leads back
            on = self.allowed[state]
            np.add.at(found, self.follows[state, on], found[state] * policy[state, on])
        return found

    def trajectories(self, policy: Float[Array, "state action"]) -> Iterator[Trajectory]:
        """Every trajectory of a probability above 0, eq. (1); its rewards are the means."""
        self._check(policy)
        waiting = [Trajectory((int(s),), (), (), float(self.start[s])) for s in np.flatnonzero(self.start)[::-1]]
        while waiting:
            states, actions, rewards, probability = waiting.pop()
            here = states[-1]
            if self.terminal[here]:
                yield Trajectory(states, actions, rewards, probability)
            for action in np.flatnonzero(policy[here])[::-1].tolist():
                taken = float(self.reward[here, action])
                waiting.append(
                    Trajectory(
                        (*states, int(self.follows[here, action])),
                        (*actions, action),
                        (*rewards, taken),
                        probability * float(policy[here, action]),
                    )
                )

    def episode(self, policy: Float[Array, "state action"], rng: np.random.Generator) -> Trajectory:
        """One trajectory drawn from eq. (1), its rewards with their noise."""
        state = pick(self.start, rng)
        states, actions, rewards, probability = [state], [], [], float(self.start[state])
        while not self.terminal[state]:
            action = pick(policy[state], rng)
            reward, noise = float(self.reward[state, action]), float(self.noise[state, action])
            rewards.append(reward + noise * rng.standard_normal() if noise else reward)
            probability *= float(policy[state, action])
            state = int(self.follows[state, action])
            actions.append(action)
            states.append(state)
        return Trajectory(tuple(states), tuple(actions), tuple(rewards), probability)

    def _backwards(self, value: Callable[[int, Array], float]) -> Float[Array, "state action"]:
        """q(s, a) from the last state to the first, where ``value(s, q(s, ·))`` is v(s)."""
        q = np.full(self.follows.shape, np.nan)
        v = np.zeros(len(q))
        for state in np.flatnonzero(~self.terminal)[::-1]:
            on = self.allowed[state]
            q[state, on] = self.reward[state, on] + v[self.follows[state, on]]
            v[state] = value(state, q[state, on])
        return q

    def _check(self, policy: Array) -> None:
        if policy.shape != self.follows.shape:
            raise UserError(f"policy: the shape is {policy.shape}; [state, action] is {self.follows.shape} here.")
        sums = np.where(self.allowed, policy, 0).sum(-1)
        wrong = (policy < 0).any(-1) | (policy * ~self.allowed).any(-1) | ~np.isclose(sums, ~self.terminal)
        for state in np.flatnonzero(wrong):
            raise UserError(
                f"policy: row {state}, {policy[state].tolist()}, must have probabilities that sum to 1 over the "
                "actions of the state, and 0 elsewhere."
            )


def pick(probabilities: Float[Array, " option"], rng: np.random.Generator) -> int:
    """The index of one option, drawn; no chance is used where there is only one."""
    options = np.flatnonzero(probabilities)
    if len(options) == 1:
        return int(options[0])
    upto = probabilities[options].cumsum()
    return int(options[np.searchsorted(upto[:-1], upto[-1] * rng.random(), side="right")])


def chain(delay: int, noise: float = 0.0) -> MDP:
    """States s_0 … s_{T−1} and an end: always one step to the right, and a reward of 1 on leaving s_{T−1}.

    ``delay`` is T, the number of steps from the start to the reward, and ``noise`` its standard deviation.
    """
    delay, noise = int(number("delay", delay, 1, LARGEST - 1, integer=True)), number("noise", noise, 0)
    follows = np.append(np.arange(1, delay + 1), -1)[:, None]
    reward, spread = np.zeros((delay + 1, 1)), np.zeros((delay + 1, 1))
    reward[delay - 1], spread[delay - 1] = 1, noise
    return MDP(follows, reward, spread, np.eye(delay + 1)[0], (*map(subscript, range(delay)), "end"))


def tree(depth: int, branching: int = 2, noise: float = 1.0, converging: bool = False) -> MDP:
    """Two trees with 1 + b + … + b^(d−1) states besides the ends, whose rewards are 0 in the mean but noisy.

    It branches from one start into b^d ends, each with a noisy reward.  Or it is ``converging``: from b^(d−1) starts
    the paths run together into one state, and the only noisy reward is that on leaving it.
    """
    depth = int(number("depth", depth, 1, 30, integer=True))
    branching = int(number("branching", branching, 2, 30, integer=True))
    noise = number("noise", noise, 0)
    inner = (branching**depth - 1) // (branching - 1)
    _bounded("depth", depth, inner if converging else inner + branching**depth)
    if converging:
        follows = np.append(inner - 1 - (inner - 2 - np.arange(inner - 1)) // branching, [inner, -1])[:, None]
        spread, start = np.zeros((inner + 1, 1)), np.zeros(inner + 1)
        spread[inner - 1] = noise
        starts = branching ** (depth - 1)
        start[:starts] = 1 / starts
        return MDP(follows, np.zeros_like(spread), spread, start)
    states = inner + branching**depth
    follows = branching * np.arange(states)[:, None] + 1 + np.arange(branching)  # numbered level by level
    follows[inner:] = -1
    spread = np.where(follows >= inner, noise, 0.0)
    return MDP(follows, np.zeros_like(spread), spread, np.eye(1, states)[0])


def building(decisions: Space | Sequence[Sequence[str]], reward: Callable[[tuple[int, ...]], float]) -> MDP:
    """Building an architecture decision by decision: s_t is what has been decided, and the end is rewarded.

    ``decisions`` lists the options of every decision, or is a space: one decision an edge, cell by cell, among the
    operations allowed there.  ``reward(options)`` is asked once for every finished architecture, given as the index
    of the option at each decision (for a space, of the operation in ``space.ops``).  That the decisions have this
    order is a choice of the model: the network itself has none.
    """
    if isinstance(decisions, Space):
        names: list[Sequence[str]] = [decisions.ops] * (len(decisions.cells) * len(decisions.edges))
        options = [np.flatnonzero(row).tolist() for row in decisions.allowed.reshape(-1, len(decisions.ops))]
    else:
        names, options = list(decisions), [list(range(len(each))) for each in decisions]
    if not options or not all(options):
        raise UserError(f"decisions: {decisions!r} must be a list of one or more decisions with an option each.")
    sizes = [math.prod(map(len, options[:t])) for t in range(len(options) + 1)]
    states = sum(sizes)
    _bounded("decisions", decisions.name if isinstance(decisions, Space) else len(decisions), states)
    follows = np.full((states, max(map(len, names))), -1)
    rewards, labels, first = np.zeros(follows.shape), [], 0
    for own, size in zip(options, sizes, strict=False):
        after = first + size  # a level's states are numbered as `product` lists them
        follows[first:after, own] = after + np.arange(size * len(own)).reshape(size, len(own))
        first = after
    for t in range(len(sizes)):
        prefixes = product(*options[:t])
        labels += [
            ", ".join(name[k] for name, k in zip(names, prefix, strict=False)) or "nothing" for prefix in prefixes
        ]
    finished = [float(reward(choice)) for choice in product(*options)]
    last = first - sizes[-2]
    rewards[last:first, options[-1]] = np.reshape(finished, (sizes[-2], len(options[-1])))
    return MDP(follows, rewards, np.zeros_like(rewards), np.eye(1, states)[0], tuple(labels))


def environment(mdp: MDP) -> Environment:
    """``mdp`` with gymnasium's interface, so that other agents can be tried on it.

    Raises ``UserError`` where gymnasium is not installed.
    """
    try:
        from nascore.environment import Environment
    except ModuleNotFoundError as error:
        if error.name != "gymnasium":
            raise
        raise UserError("environment: this needs gymnasium; install it with `pip install nas-kit[rl]`.") from None
    return Environment(mdp)


def subscript(k: int) -> str:
    """The name of a state: s₀, s₁, …"""
    return f"s{k}".translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _bounded(argument: str, value: object, states: int) -> None:
    if states > LARGEST:
        raise UserError(f"{argument}: {value!r} makes {states:,} states; at most {LARGEST:,} can be solved here.")
