"""Random search with weight sharing: Li and Talwalkar, "Random Search and Reproducibility for NAS", UAI 2019."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nascore import gates, resource
from nascore.devices import move
from nascore.run import Knob, Knobs, Step, Traits, declare
from nascore.task import WEIGHT_DECAY, WEIGHT_LR, Task


@declare(
    "argmax",
    Traits("uniform", "none", levels=1, discrete=True, passes=(0, 1)),
    lam=Knob(0, 0, 10, "penalty λ", log=True, help="Weight of a child's cost when the best child is chosen."),
    **resource.KNOBS,
    weight_lr=WEIGHT_LR,
    weight_decay=WEIGHT_DECAY,
)
def random(task: Task, knobs: Knobs) -> Iterator[Step]:
    """Train the shared weights on uniformly drawn children; keep the best child seen on ``valid``.

    Now and then (every ``task.measure_every`` iterations) the newest child challenges the best one, both with the
    weights of the moment.  ``probs`` stay uniform; ``graphs`` is the best child.
    """
    allowed = torch.tensor(task.space.allowed)
    uniform = (allowed / allowed.sum(-1, keepdim=True)).to(task.device)
    best = gates.uniform_one_hot(allowed, task.noise, task.device)
    optimiser = task.optimisers(weights=task.network, knobs=knobs)

    for t in task.clock(best=best, optimiser=optimiser):
        drawn = gates.uniform_one_hot(allowed, task.noise)  # on the CPU, where it can be read without waiting
        z = move(drawn, task.device)
        loss = task.loss(task.batch("train+search"), z, active=drawn)  # nothing else is computed
        optimiser.step_weights(loss)

        if (t + 1) % task.measure_every == 0:
            with torch.no_grad():
                score = [
                    task.loss(task.images("valid"), child, update_statistics=False)
                    + knobs.lam * task.resource.expected(child, knobs)
                    for child in (z, best)
                ]
            better = score[0] < score[1]
            best.copy_(torch.where(better[..., None, None, None], z, best))  # a batch has a best child a run
        yield task.step(t, uniform.expand_as(z), z, graphs=task.decode(best), loss=loss)
