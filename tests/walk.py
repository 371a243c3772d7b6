"""A method for tests: the logits walk at random, and a small network's worth of state has to survive a resume."""

from collections.abc import Iterator

import torch

from nascore.run import Knob, Knobs, Step, declare
from nascore.task import Task, make_task


@declare(lam=Knob(0.1, 0, 10, "penalty λ", log=True), fast=Knob(0, 0, 1, "fast", toggle=True))
def walk(task: Task, knobs: Knobs, *, stride: float = 0.5, fail_at: int = -1, halves: bool = False) -> Iterator[Step]:
    """Add Gaussian noise to the logits and pull them down by λ; every number depends on all steps before it."""
    alpha = task.logits()
    state = task.state(total=0.0)
    for t in task.clock(alpha=alpha, state=state):
        if t == fail_at:
            raise RuntimeError("the walk fell")
        if halves:
            yield task.step(t, alpha.softmax(-1), alpha.softmax(-1), phase="credit", loss=alpha.square().mean())
        noise = torch.randn(alpha.shape, generator=task.noise)
        with torch.no_grad():
            alpha.add_(noise * stride * (1 + knobs.fast)).sub_(0.1 * knobs.lam * alpha)
        state.total += float(task.batch("train").labels.sum())
        task.counters["updates"] += 1
        z = torch.randn(alpha.shape, generator=task.noise).softmax(-1)
        yield task.step(t, alpha.softmax(-1), z, -z, loss=alpha.square().mean(), lam=knobs.lam, total=state.total)


def small(seed: int = 0, epochs: int | None = None) -> Task:
    """Digits with few measurements: 15 steps an epoch."""
    return make_task("digits", seed, epochs or 1, measure_every=10)
