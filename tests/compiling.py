"""A program for tests: how far a task's losses and gradients are from the plain ones under options of its execution.

A process of its own, because the tests' shape checker cannot be compiled. Without a GPU torch's tracer is put to work
and its code generator is not, which takes minutes there.
"""

import json
import sys
from functools import partial
from itertools import pairwise

import torch

from nascore.task import make_task


def main(device: str, asked: dict[str, object]) -> None:
    """Print as JSON ‖a − b‖ / ‖b‖ of loss, gradients and statistics, what was left out, and how much was compiled."""
    compiler, modes = torch.compile, []

    def noted(network: torch.nn.Module, mode: str = "", **how: object) -> object:
        modes.append(mode)
        return compiler(network, **how, **({"backend": "eager"} if device == "cpu" else {"mode": mode} if mode else {}))

    torch.compile = noted  # type: ignore[assignment]
    found = []
    for options in ({}, asked):
        task = make_task("digits", channels=2, device=device, **options)
        z = torch.full(task.space.shape, 0.2, device=device).requires_grad_()
        loss = partial(task.loss, task.batch("train"), z)
        leaves = [z, *task.network.parameters()]
        with task.execution.arithmetic():
            for _ in range(3):
                last = loss()
                # Copies: replayed graphs write where they wrote before.
                gradients = [x.clone() for x in torch.autograd.grad(last, leaves, allow_unused=True) if x is not None]
            loss(update_statistics=False)
            loss(active=[[1] * 5] * 2)  # as they are, like the next
            loss(weights=dict(task.network.named_parameters()))
        tensors = [last, *gradients, *task.network.buffers()]
        found.append(torch.cat([x.detach().double().flatten() for x in tensors]))
    apart = [float((b - a).norm() / a.norm()) for a, b in pairwise(found)]
    print(json.dumps({"apart": apart[0], "left_out": task.execution.left_out, "modes": modes}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
