"""RUDDER: a late reward handed back to the steps that earned it; Arjona-Medina et al., NeurIPS 2019 (arXiv 1806.07857).

The equations, of an episode with the decisions a_0 … a_{T−1}, its return G and a return model g that predicts G from
the first steps:

    (1)  g_t = g(s_0, a_0, …, s_t, a_t); exact if g_t = E_π[ G | s_0, a_0, …, s_t, a_t ]
    (2)  h_0 = g_0,  h_t = g_t − g_{t−1}:  the redistributed reward
    (3)  R_t = h_t + share_t (G − g_{T−1}),  Σ_t share_t = 1:  the residual, at the last step or the same at all
    (4)  Σ_t R_t = G for any g:  return-equivalent, so that the same policies are optimal (their theorem 1)
    (5)  with exact g no reward is left to be expected, E_π[ Σ_{τ>t} R_τ | s_t, a_t ] = 0 (theorem 2), and
    (6)  q(s_t, a_t) = R_t: to learn an action's value is to take a mean of immediate rewards (theorem 3)

(4) and (5) part company: any g keeps the optimum, but only a good one shortens the delay.  The states of (1) have to
tell their past, as partial architectures do.  Nothing here needs torch; ``nascore.return_lstm`` is a learnt g.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nascore.errors import UserError, choose

if TYPE_CHECKING:
    from nascore.mdp import MDP, Trajectory

Residual = Literal["even", "last"]


def redistribute(
    predictions: Float[ndarray, "*episode step"],
    returns: float | Float[ndarray, "*episode"],
    residual: str = "even",
) -> Float[ndarray, "*episode step"]:
    """The rewards R_t that take the place of one late return: eqs. (2) and (3).

    Args:
        predictions: g_t, after each step.
        returns: G of each episode.
        residual: who gets what g did not foresee: every step the same ("even"), or the "last" one.
    """
    choose("residual", residual, get_args(Residual))
    rewards = np.diff(predictions, axis=-1, prepend=0.0)  # eq. (2)
    unforeseen = np.asarray(returns) - predictions[..., -1]
    if residual == "last":
        rewards[..., -1] += unforeseen  # eq. (3), share = 0 … 0 1
    else:
        rewards += unforeseen[..., None] / rewards.shape[-1]  # eq. (3), share = 1 / T
    return rewards


# Return models -------------------------------------------------------------------------------------------------------


def exact(mdp: MDP, policy: Float[ndarray, "state action"], episode: Trajectory) -> Float[ndarray, " step"]:
    """g_t of eq. (1) along ``episode``: the rewards so far and the value of the state reached."""
    return np.cumsum(episode.rewards) + mdp.values(policy)[list(episode.states[1:])]


def linear_fit(
    features: Float[ndarray, "episode step feature"], returns: Float[ndarray, " episode"], ridge: float = 0.0
) -> Float[ndarray, " feature"]:
    """The weights w of g_t = Σ_{τ≤t} w·x_τ that fit whole episodes best: min Σ (g_{T−1} − G)² + ``ridge`` ‖w‖².

    Of several that fit as well, those of least length.
    """
    total = features.sum(1)
    if ridge:
        gram = total.T @ total + ridge * np.eye(total.shape[1])
        solved: ndarray = np.linalg.solve(gram, total.T @ returns)
        return solved
    shortest: ndarray = np.linalg.lstsq(total, returns, rcond=None)[0]
    return shortest


def linear(
    features: Float[ndarray, "*episode step feature"], weights: Float[ndarray, " feature"]
) -> Float[ndarray, "*episode step"]:
    """g_t = Σ_{τ≤t} w·x_τ, so that h_t = w·x_t: a step earns the same whatever the others do."""
    return np.cumsum(features @ weights, -1)


# The process with the redistributed reward ---------------------------------------------------------------------------


def redistributed(mdp: MDP, predictions: Float[ndarray, "state action"]) -> MDP:
    """``mdp`` with the rewards R_t, what is unforeseen at the last step: return-equivalent to it for any g, eq. (4).

    Args:
        mdp: in which one action alone leads to each state, so that a state tells its past (``mdp.building``, a tree);
            its rewards may come at any step, and their noise is left out.
        predictions: g of the past that ends with this action in this state; those of impossible actions do not matter.

    Raises:
        UserError: several actions lead to one state, which does not tell then by which of them it was reached.
    """
    before, so_far = np.zeros(len(mdp.follows)), np.zeros(len(mdp.follows))  # g and the rewards on the way to a state
    reward = np.zeros_like(mdp.reward)
    reached = set(np.flatnonzero(mdp.start).tolist())
    for s, a, after in _steps(mdp):
        if after in reached:
            raise UserError(f"mdp: state {after} is reached in more than one way, but has to tell its past.")
        reached.add(after)
        so_far[after] = so_far[s] + mdp.reward[s, a]
        before[after] = predictions[s, a]
        reward[s, a] = predictions[s, a] - before[s]  # eq. (2)
        if (mdp.follows[after] < 0).all():
            reward[s, a] += so_far[after] - predictions[s, a]  # eq. (3)
    return replace(mdp, reward=reward, noise=np.zeros_like(mdp.noise))


def expected_returns(mdp: MDP, policy: Float[ndarray, "state action"]) -> Float[ndarray, "state action"]:
    """The exact g of eq. (1) for every state and action of an ``mdp`` whose states tell their past; NaN: no action."""
    so_far = np.zeros(len(mdp.follows))
    for s, a, after in _steps(mdp):
        so_far[after] = so_far[s] + mdp.reward[s, a]
    found: ndarray = so_far[:, None] + mdp.action_values(policy)
    return found


def _steps(mdp: MDP) -> Iterator[tuple[int, int, int]]:
    """(state, action, next state), states in their order, which no step goes back in."""
    for s, a in np.argwhere(mdp.follows >= 0):
        yield int(s), int(a), int(mdp.follows[s, a])
