"""A small decision process as an environment of gymnasium (an extra: `pip install nas-kit[rl]`)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

from nascore.errors import UserError, number
from nascore.mdp import MDP, pick


class Environment(gymnasium.Env[np.int64, np.int64]):
    """What an agent does in ``mdp``: observations and actions are the numbers of states and actions.

    ``info["action_mask"]`` has a 1 for every action of the state, as ``action_space.sample`` takes it.  Any other
    action of ``action_space`` changes nothing and cuts the episode short, so that no agent can go on for ever.
    """

    def __init__(self, mdp: MDP):
        self.mdp = mdp
        states, actions = mdp.follows.shape
        self.observation_space = Discrete(states)
        self.action_space: Discrete[np.int64] = Discrete(actions)
        self._state = np.int64(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Begin an episode; ``options`` are not used."""
        super().reset(seed=seed)
        self._state = np.int64(pick(self.mdp.start, self.np_random))
        return self._state, self._info()

    def step(self, action: np.int64 | int) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Take an action: next state, reward, whether that is an end, whether the episode is cut short, the mask."""
        number("action", int(action), 0, int(self.action_space.n) - 1, integer=True)
        if self.mdp.terminal[self._state]:
            raise UserError("action: the episode has ended; call reset() before the next step.")
        if not self.mdp.allowed[self._state, action]:
            return self._state, 0.0, False, True, self._info()
        reward = self.np_random.normal(self.mdp.reward[self._state, action], self.mdp.noise[self._state, action])
        self._state = np.int64(self.mdp.follows[self._state, action])
        return self._state, float(reward), bool(self.mdp.terminal[self._state]), False, self._info()

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.mdp.allowed[self._state].astype(np.int8)}
