"""How a network is run: number formats, compilation, recomputation, and transfers that nothing waits for.

Every option here is off unless asked for. What a machine cannot do is left out, with one message that says why; the
run goes on without it, and ``Execution.report`` tells what was asked and what was done.

Only the CPU's side of this module was run by its authors: TF32, CUDA graphs, compilation by Triton and pinned memory
wait for a machine with a CUDA device, where the tests marked so try them.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def move(x: Tensor, device: torch.device) -> Tensor:
    """``x``, drawn on the CPU, on ``device``. A CUDA device fetches it from pinned memory while the CPU goes on."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def recomputed(cell: nn.Module, *inputs: object) -> Float[Tensor, "batch _ _ _"]:
    """``cell(*inputs)``, of which only the inputs are kept: the backward pass computes the rest a second time.

    Memory is bought with time (Chen et al., 2016). Batch norm's running statistics move the first time alone.
    """
    again = _Again(cell)
    found: Tensor = checkpoint(
        cell,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,  # a cell draws nothing
        context_fn=lambda: (nullcontext(), again),
    )
    return found


class _Again:
    """A context in which batch norm does as it did when this was made, on copies of its running statistics.

    May be entered more than once: a second derivative computes once more.
    """

    def __init__(self, cell: nn.Module):
        self.norms = [module for module in cell.modules() if isinstance(module, nn.BatchNorm2d)]
        self.tracked = [norm.track_running_stats for norm in self.norms]

    def __enter__(self) -> None:
        self.own = [(norm.track_running_stats, dict(norm.named_buffers())) for norm in self.norms]
        for norm, tracked, (_, buffers) in zip(self.norms, self.tracked, self.own, strict=True):
            norm.track_running_stats = tracked
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for norm, (tracked, buffers) in zip(self.norms, self.own, strict=True):
            norm.track_running_stats = tracked
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
