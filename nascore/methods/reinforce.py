"""REINFORCE on a shared network: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist
Reinforcement Learning", Machine Learning 1992, for the edge decisions of a cell.

The equations are those of ``nascore.policy`` and ``nascore.rewards``. One architecture Z is drawn from p = softmax(α),
its reward R is one number, and R − b makes every decision in it likelier: none learns whether it was the one that
mattered. Nothing is differentiated but log p, so R may be an accuracy, which has no derivative. As the weights learn, R
rises and b lags behind: R − b is positive most of the time, and at a high rate what happens to be drawn early is kept.

By default weights and logits learn from the same batch and the same pass, as in SNAS, so that the two differ in credit
alone; ``level="bi"`` rewards on images of its own and with a sample of its own, as Pham et al. do in "ENAS", ICML 2018.
There is no controller: edges are independent. For one that is a network see ``nascore.methods.enas``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, get_args

import torch

from nascore import gates, policy, resource, rewards
from nascore.errors import choose
from nascore.policy import Baseline
from nascore.rewards import Reward
from nascore.run import Knobs, Step, Traits, declare
from nascore.task import ARCHITECTURE_LR, WEIGHT_DECAY, WEIGHT_LR, Task

Level = Literal["single", "bi"]


@declare(
    "argmax",
    Traits(
        "one-hot",
        "advantage",
        levels=1,
        discrete=True,
        passes=(0, 1),
        options={("level", "bi"): {"levels": 2, "passes": (0, 2)}},
    ),
    **rewards.KNOBS,
    **policy.KNOBS,
    weight_lr=WEIGHT_LR,
    architecture_lr=replace(ARCHITECTURE_LR, value=0.3),  # of benchmarks/tuning.py
    weight_decay=WEIGHT_DECAY,
)
def reinforce(
    task: Task, knobs: Knobs, *, baseline: Baseline = "ema", level: Level = "single", reward: Reward = "accuracy"
) -> Iterator[Step]:
    """The policy gradient with one sample a step and a baseline; sampled operations alone are computed.

    ``advantage`` is R − b at what was drawn: the same number on every edge. The metrics ``reward`` and ``baseline``
    are R and b. ``credit`` is never computed.
    """
    choose("level", level, get_args(Level))
    alpha = task.logits()
    sums = policy.memory(alpha)
    optimiser = task.optimisers(weights=task.network, architecture=alpha, knobs=knobs)

    for t in task.clock(alpha=alpha, sums=sums, optimiser=optimiser):
        p = gates.softmax(alpha.detach(), task.allowed)
        z = gates.draw(alpha, task.noise, task.allowed).to(alpha.dtype)
        with torch.set_grad_enabled(level == "single"):
            batch = task.batch("train+search" if level == "single" else "search")
            outcome = task.outcome(batch, z, update_statistics=level == "single", active=gates.active(z))
        r = rewards.reward(task, outcome, z, knobs, reward)
        b = policy.baseline(sums, r, baseline, knobs.decay, policy.score(z, p))
        advantage = policy.everywhere(r - b, z)
        ascent = policy.gradient(z, p, advantage, knobs.bonus)
        objective = resource.surrogate(alpha, -ascent).sum((-2, -1))
        signal = policy.received(advantage, z)
        if level == "single":
            optimiser.step(outcome.loss + objective)
            p = gates.softmax(alpha.detach(), task.allowed)
            yield task.step(t, p, z, advantage=signal, loss=outcome.loss, reward=r, baseline=b)
            continue
        optimiser.step_architecture(objective)
        p = gates.softmax(alpha.detach(), task.allowed)
        yield task.step(t, p, z, phase="architecture", advantage=signal, loss=outcome.loss, reward=r, baseline=b)

        z = gates.draw(alpha, task.noise, task.allowed).to(alpha.dtype)
        loss = task.loss(task.batch("train"), z, active=gates.active(z))
        optimiser.step_weights(loss)
        yield task.step(t, p, z, phase="weights", loss=loss)
