"""How a network is run: number formats, compilation, recomputation, and transfers that nothing waits for.

Every option here is off unless asked for. What a machine cannot do is left out with one message that says why, and the
run goes on without it; ``Execution.report`` tells what was asked for and what was done.

Only the CPU's side of this module was run by its authors. TF32, CUDA graphs, compilation for a GPU and transfers from
pinned memory were not, for want of a CUDA device; tests that need one skip themselves where there is none.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._functorch import config as functorch
from torch.utils.checkpoint import checkpoint as keep_inputs

from nascore.errors import LeftOut, choose

PRECISIONS = ("float32", "bf16", "tf32")
SWITCH = {"0": False, "1": True, "false": False, "true": True}


class Execution:
    """How the network of one task is run, with what the device cannot do left out.

    Args:
        device: where the network is.
        precision: ``"float32"``; ``"bf16"``, convolutions and matrix products in bfloat16, by autocast (weights,
            statistics, gates and losses stay float32; on the CPU it was tried on, up to 1.6 times slower); ``"tf32"``,
            the same products by the tensor cores of an NVIDIA GPU, which round their factors to 10 bits.
        compile: whether ``torch.compile`` compiles the supernet. Off a GPU only for ``"force"``: there the first step
            waits for minutes (two busy cores: 4 minutes for the smallest supernet of the kit, no end within 12 for a
            network of separate operations). Passes through sampled operations alone or with other weights run as they
            are; derivatives of derivatives cannot be taken of what was compiled.
        cuda_graphs: whether the supernet's kernels are recorded once and replayed, which spares the CPU most of their
            launching. For the steps that can be compiled, compiled or not.
        checkpoint: whether the values inside a cell are computed a second time in the backward pass instead of kept:
            a third of the memory for 1.4 times the time (six DARTS cells).

    Raises:
        UserError: a value is not allowed.
    """

    def __init__(
        self,
        device: torch.device,
        precision: str = "float32",
        compile: bool | str = False,  # noqa: A002
        cuda_graphs: bool = False,
        checkpoint: bool = False,
    ):
        self.device = device
        self.left_out: dict[str, str] = {}  # option → why
        self.asked = {
            "precision": choose("precision", precision, PRECISIONS),
            "compile": switch("compile", compile, "force"),
            "cuda_graphs": switch("cuda_graphs", cuda_graphs),
            "checkpoint": switch("checkpoint", checkpoint),
        }
        for option, value in self.asked.items():
            missing = self._missing(option, value) if value else ""
            if missing:
                self._leave_out(option, missing)
        self._compiled: dict[nn.Module, Callable[..., Tensor]] = {}

    def _missing(self, option: str, value: Any) -> str:
        """Why the device cannot do it; empty if it can."""
        cuda = self.device.type == "cuda"
        if option == "precision" and value == "bf16":
            fit = torch.amp.is_autocast_available(self.device.type)
            fit = fit and (not cuda or torch.cuda.is_bf16_supported(including_emulation=False))
            return "" if fit else f"the device {self.device} has no products in bfloat16"
        if option == "precision" and value == "tf32":
            fit = cuda and torch.cuda.get_device_capability(self.device) >= (8, 0)
            return "" if fit else f"the device {self.device} is no NVIDIA GPU of the Ampere generation or later"
        if option == "cuda_graphs" and not cuda:
            return f"the device {self.device} is no NVIDIA GPU"
        if option == "compile" and value != "force" and not cuda:
            return "off a GPU it takes minutes before the first step; compile='force' does it all the same"
        if option in ("compile", "cuda_graphs") and self.asked["checkpoint"]:
            return "torch compiles no recomputation; leave checkpoint off"
        return ""

    def _leave_out(self, option: str, why: str) -> None:
        instead = "float32 is used" if option == "precision" else "it is left out"
        self.left_out[option] = why
        warnings.warn(f"{option}: {self.asked[option]!r} was asked for, but {why}; {instead}.", LeftOut, stacklevel=4)

    def uses(self, option: str) -> Any:
        """The value of ``option`` in force."""
        if option in self.left_out:
            return "float32" if option == "precision" else False
        return self.asked[option]

    def report(self) -> dict[str, Any]:
        """Device, options asked for and why some of them were left out, as plain data."""
        cuda = self.device.type == "cuda"
        name = torch.cuda.get_device_name(self.device) if cuda else platform.processor() or platform.machine()
        return {"device": str(self.device), "name": name, **self.asked, "left_out": dict(self.left_out)}

    # What a task uses -------------------------------------------------------------------------------------------

    def run(self, network: Callable[..., Tensor], *inputs: Tensor, **given: Any) -> Float[Tensor, "*run batch class"]:
        """``network(*inputs, **given)`` in the precision in force; the backward pass follows by itself."""
        if self.uses("precision") != "bf16":
            return network(*inputs, **given)
        with torch.autocast(self.device.type, torch.bfloat16):
            return network(*inputs, **given).float()

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """TF32 on, or off: torch's switches for a whole process, as they were again afterwards.

        Off matters too: torch's convolutions are in TF32 unless told otherwise.
        """
        if self.device.type != "cuda":
            yield
            return
        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
        kernels: Any = convolutions.conv  # type: ignore[attr-defined]
        before = products.fp32_precision, kernels.fp32_precision
        # Both the older and the newer names of these switches, which torch wants to agree.
        products.allow_tf32 = convolutions.allow_tf32 = self.uses("precision") == "tf32"
        try:
            yield
        finally:
            products.allow_tf32, convolutions.allow_tf32 = (each == "tf32" for each in before)
            products.fp32_precision, kernels.fp32_precision = before

    def compiled(self, network: nn.Module) -> Callable[..., Tensor]:
        """``network``, compiled at its first call if that is wanted; where that fails, it runs as it is."""
        if not (self.uses("compile") or self.uses("cuda_graphs")):
            return network
        if network not in self._compiled:
            # Whole or not at all: half a graph that ran before the other half failed would leave its traces.
            whole = partial(torch.compile, network, fullgraph=True, dynamic=False)
            if not self.uses("compile"):
                self._compiled[network] = whole(backend="cudagraphs")  # the same kernels, replayed
            else:
                self._compiled[network] = whole(mode="reduce-overhead" if self.uses("cuda_graphs") else "default")
        return partial(self._attempt, network)

    def _attempt(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        try:
            # The backward pass is compiled with the forward pass, so that it cannot fail later.
            with functorch.patch(force_non_lazy_backward_lowering=True), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, about itself
                return self._compiled[network](*inputs)
        except Exception as error:  # whatever a compiler comes to; should it be the inputs, the next line tells
            why = next(iter(str(error).strip().splitlines()), "")
            for option in ("compile", "cuda_graphs"):
                if self.uses(option):
                    self._leave_out(option, f"torch could not do it ({type(error).__name__}: {why})")
            return network(*inputs)  # type: ignore[no-any-return]


def switch(name: str, value: Any, *further: str) -> bool | str:
    """``value`` as True or False, or as one of ``further``; text, as a command line gives it, is understood."""
    text = choose(name, str(value).lower(), (*SWITCH, *further))
    return SWITCH.get(text, text)


def move(x: Tensor, device: torch.device) -> Tensor:
    """``x``, drawn on the CPU, on ``device``. A CUDA device fetches it from pinned memory while the CPU goes on."""
    if device.type != "cuda" or torch.compiler.is_compiling():
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def recomputed(cell: nn.Module, *inputs: object) -> Float[Tensor, "batch _ _ _"]:
    """``cell(*inputs)``, of which only the inputs are kept: the backward pass computes the rest a second time.

    Memory is bought with time (Chen et al., 2016). Batch norm's running statistics move the first time alone.
    """
    again = _Again(cell)
    found: Tensor = keep_inputs(
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
