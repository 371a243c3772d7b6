"""Is the latency of a child the sum of the latencies of its operations?

A price that is linear in the gates, C(Z) = Σ c·Z (eq. (8) of SNAS, eq. (5) of ProxylessNAS), assumes so. Here children
are built as networks of their own and timed against that sum.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy import ndarray
from torch import Tensor, nn

from nascore.errors import number
from nascore.ops import OPS
from nascore.resource import summed
from nascore.run import torch_threads
from nascore.supernet import Child
from nascore.task import Task


@dataclass(frozen=True)
class Additivity:
    """What the operations take and what whole children take, in seconds for one forward pass of a batch.

    Attributes:
        children: the chosen operation of every edge.
        prices: of every operation alone, summed over the cells of a kind.
        measured: of each child as a network of its own.
        frame: of the child without any operation: stem, what brings a cell's inputs to one width, classifier.
        halves: as ``measured``, from the even and from the odd rounds alone.
    """

    children: Int64[ndarray, "child cell edge"]
    prices: Float64[ndarray, "cell edge op"]
    measured: Float64[ndarray, " child"]
    frame: float
    halves: Float64[ndarray, "half child"]

    @property
    def predicted(self) -> Float64[ndarray, " child"]:
        """The sum of the prices of a child's operations, and the frame."""
        cell, edge = np.ogrid[: self.prices.shape[0], : self.prices.shape[1]]
        total: Float64[ndarray, " child"] = self.frame + self.prices[cell, edge, self.children].sum((1, 2))
        return total

    @property
    def line(self) -> tuple[float, float]:
        """Slope and intercept of measured over predicted by least squares: 1 and 0 if latencies add up."""
        slope, intercept = np.polyfit(self.predicted, self.measured, 1)
        return float(slope), float(intercept)

    @property
    def explained(self) -> float:
        """Share of the children's differences that the sum explains: the squared correlation."""
        return float(np.corrcoef(self.predicted, self.measured)[0, 1] ** 2)

    @property
    def repeated(self) -> float:
        """The same share for one half of the rounds by the other: what noise alone leaves to be explained."""
        return float(np.corrcoef(self.halves)[0, 1] ** 2)

    def plain(self) -> dict[str, Any]:
        """As JSON data, microseconds rounded to a tenth; ``of`` reads it back."""
        tables = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        return {
            name: value.tolist() if name == "children" else (value * 1e6).round(1).tolist()
            for name, value in tables.items()
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Additivity:
        """What ``plain`` gave."""
        prices, measured, halves = (np.asarray(plain[name]) / 1e6 for name in ("prices", "measured", "halves"))
        return cls(np.asarray(plain["children"]), prices, measured, plain["frame"] / 1e6, halves)


def additivity(task: Task, children: int = 40, rounds: int = 40, seed: int = 0) -> Additivity:
    """Time random children of ``task``'s space and every operation alone, on one thread and by turns.

    In each round everything is timed once, in a new order and right after a call that warms it up; what counts is the
    median over the rounds, so that a disturbance meets operations and children alike. On a CPU it is processor time, to
    which other programs do not add.

    Raises:
        UserError: fewer than 3 children or rounds.
    """
    number("children", children, low=3, integer=True)
    number("rounds", rounds, low=3, integer=True)
    space, net, rng = task.space, task.network, np.random.default_rng(seed)
    images = task.images("valid").images[: task.batch_size]
    chosen = np.where(space.allowed, rng.random((children, *space.shape)), -1.0).argmax(-1)
    graphs = [space.decode(np.eye(len(space.ops))[each]) for each in chosen]
    graphs.append({name: space.graph(()) for name in space.cells})  # the frame

    modules: dict[Any, tuple[nn.Module, Tensor]] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of weights and images; neither changes the time
        for i, each in enumerate(graphs):
            child = Child(space, each, net.channels, len(net.plans), net.classes, in_channels=net.in_channels)
            modules[i] = child, images
        for _, edges in net.layout(images.shape[-1]):
            for channels, height, width, stride in edges:
                for op in space.ops:
                    shape = len(images), channels, height, width
                    operation = OPS[op](channels, channels, stride, affine=True)  # as the child has it
                    modules[op, channels, height, width, stride] = operation, torch.randn(shape, device=task.device)
    times: dict[Any, list[float]] = {name: [] for name in modules}
    calls = [(times[name], module.to(task.device).eval(), x) for name, (module, x) in modules.items()]
    with torch_threads(1), torch.inference_mode():
        for _ in range(rounds):
            for i in rng.permutation(len(calls)):
                kept, module, x = calls[i]
                kept.append(seconds(module, x))
    median = {name: float(np.median(kept)) for name, kept in times.items()}
    halves = [[np.median(times[i][half::2]) for i in range(children)] for half in (0, 1)]
    return Additivity(
        chosen,
        summed(net, images.shape[-1], lambda op, *size: 0.0 if op == "none" else median[op, *size]),
        np.array([median[i] for i in range(children)]),
        frame=median[children],
        halves=np.array(halves),
    )


def seconds(module: nn.Module, x: Tensor) -> float:
    """The time of one call after another one."""
    read = time.process_time if x.device.type == "cpu" else time.perf_counter
    module(x)
    wait(x.device)
    start = read()
    module(x)
    wait(x.device)
    return read() - start


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
