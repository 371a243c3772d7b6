"""The delayed key: a choice at the first step decides the reward, and it is paid out at the last.

An episode has ``delay`` + 1 steps. At the first one the key is taken or left, by lot. Every other step finds a coin
worth ±``noise``, by lot too. At the end the door pays for all: G = 1 if the key was taken, and the sum of the coins.
So the choice is worth 1, the variance of G given the choice is delay · noise², and what an agent has to find out is
which choice is better. The task is of the kind of the artificial ones of Arjona-Medina et al., "RUDDER", NeurIPS 2019.

The state is the step and whether the key was taken, so the agents' tables hold V[t, key] of the steps after the choice:

    (1)  TD(λ): V_t += a Σ_{τ≥t} λ^{τ−t} δ_τ,  δ_t = V_{t+1} − V_t,  δ of the last step G − V;  λ = 0 is TD(0)
    (2)  Monte Carlo: V_0 += a (G − V_0)
    (3)  RUDDER: V_0 += a (R_0 − V_0), with R of ``nascore.rudder``, the residual shared evenly, and a linear g that is
         fitted to all episodes so far by recursive least squares

Values after the first step are not chosen between, so (1) is also Q(λ). In (1) each state is met once an episode:
updates made on the way and at its end are the same.  (3) comes with two g: "rudder" has three weights, of the key, of a
coin wherever it lies and of the start; "rudder, a weight a step" has to learn each step's coin on its own.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from nascore.errors import choose, number

Agent = Literal["td", "td(λ)", "mc", "rudder", "rudder, a weight a step"]
RIDGE = 1e-3  # of the least squares; only keeps them defined before there are enough episodes


def episodes(
    agent: Agent,
    delay: int,
    *,
    step: float | Literal["1/n"] | None = None,
    lam: float = 0.9,
    noise: float = 1.0,
    runs: int = 100,
    held: int = 100,
    most: int = 2000,
    seed: int = 0,
) -> Int64[ndarray, " run"]:
    """Episodes until an agent finds out that the key is worth taking, one number a run; ``most`` if it does not.

    Found out means that before each of the next ``held`` episodes V_0 is larger with the key than without.

    Args:
        agent: how V_0 is learnt.
        delay: steps between the choice and the end, 1 or more.
        step: the step size a, or "1/n" for the mean of all visits; by default "1/n" of MC and RUDDER and 0.1 of TD.
        lam: λ of "td(λ)".
        noise: value of a coin.
        runs: how many independent runs.
        held: for how many episodes.
        most: episodes after which a run is given up.
        seed: of all chance; agents with the same seed see the same episodes.

    Raises:
        UserError: an argument is not allowed.
    """
    choose("agent", agent, get_args(Agent))
    delay = int(number("delay", delay, low=1, integer=True))
    if step is None:
        step = 0.1 if agent.startswith("td") else "1/n"
    rng, all_runs = np.random.default_rng(seed), np.arange(runs)
    lam = {"td": 0.0, "td(λ)": lam}.get(agent, 1.0)
    values, visits = np.zeros((runs, 2, delay + 1)), np.zeros((runs, 2))
    model = Returns(runs, 3 if agent == "rudder" else delay + 2)
    streak, found = np.zeros(runs, int), np.full(runs, most)
    for episode in range(most + held):
        streak = np.where(values[:, 1, 0] > values[:, 0, 0], streak + 1, 0)
        found = np.where(streak >= held, np.minimum(found, episode - held + 1), found)
        if (found < most).all():
            break
        key = rng.integers(0, 2, runs)
        coins = noise * rng.choice([-1.0, 1.0], (runs, delay))
        returns = key + coins.sum(1)  # G
        visits[all_runs, key] += 1
        a = 1 / visits[all_runs, key] if step == "1/n" else np.full(runs, step)
        if agent.startswith("rudder"):
            x = features(key, coins, agent == "rudder").sum(1)
            model.learn(x, returns)
            first = model.weights[:, 0] + model.weights[:, 1] * key  # g_0: the coins are yet to come
            reward = first + (returns - model.predict(x)) / (delay + 1)  # R_0
            values[all_runs, key, 0] += a * (reward - values[all_runs, key, 0])  # eq. (3)
        else:
            v = values[all_runs, key]
            errors = np.concatenate([v[:, 1:], returns[:, None]], 1) - v  # δ
            values[all_runs, key] += a[:, None] * discounted(errors, lam)  # eqs. (1) and (2)
    return found


def features(
    key: Int64[ndarray, " episode"], coins: Float[ndarray, "episode coin"], shared: bool = True
) -> Float[ndarray, "episode step feature"]:
    """What a linear g is given at each step: that it is the first, whether the key was taken, and the coin found.

    The coin has one feature wherever it lies, if ``shared``, or one of its own at every step.
    """
    count = coins.shape[1]
    found = np.zeros((len(key), count + 1, 2 + (1 if shared else count)))
    found[:, 0, 0], found[:, 0, 1] = 1, key
    steps = np.arange(count)
    found[:, 1 + steps, 2 + (0 if shared else steps)] = coins
    return found


def discounted(errors: Float[ndarray, "run step"], lam: float) -> Float[ndarray, "run step"]:
    """Σ_{τ≥t} λ^{τ−t} δ_τ of eq. (1); for λ = 1 it is G − V_t, eq. (2)."""
    total = errors.copy()
    for t in range(errors.shape[1] - 2, -1, -1):
        total[:, t] += lam * total[:, t + 1]
    return total


class Returns:
    """The linear g of many runs, each fitted to its own episodes by recursive least squares.

    Attributes:
        weights: ``[run, feature]``; the ridge solution of all episodes learnt, with ``RIDGE``.
    """

    def __init__(self, runs: int, features: int):
        self.weights = np.zeros((runs, features))
        self._inverse = np.tile(np.eye(features) / RIDGE, (runs, 1, 1))  # (Σ x xᵀ + ridge)⁻¹

    def predict(self, x: Float[ndarray, "run feature"]) -> Float[ndarray, " run"]:
        """The predicted return of whole episodes with the features ``x``."""
        found: ndarray = np.einsum("rf,rf->r", self.weights, x)
        return found

    def learn(self, x: Float[ndarray, "run feature"], returns: Float[ndarray, " run"]) -> None:
        """Take in one more episode of every run (Sherman and Morrison, 1950)."""
        along = np.einsum("rfg,rg->rf", self._inverse, x)
        gain = along / (1 + np.einsum("rf,rf->r", along, x))[:, None]
        self.weights += gain * (returns - self.predict(x))[:, None]
        self._inverse -= gain[:, :, None] * along[:, None, :]
