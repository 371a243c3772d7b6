"""Resources: what every operation on every edge costs, and three gradients of the expected cost.

The cost of an architecture is linear in its gates, C(Z) = Σ c·Z, so the expected cost of a distribution is the
cost of its mean.  Equations of Xie et al., "SNAS: Stochastic Neural Architecture Search", 2019, numbered as in
``nascore.methods.snas``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from torch import Tensor

from nascore.credit import concrete_score
from nascore.errors import choose
from nascore.ops import OPS
from nascore.run import Knob, torch_threads
from nascore.space import Space
from nascore.supernet import Supernet

COUNTED = ("parameters", "madds", "memory")
MEASURED = ("latency", "training")  # on this machine, when a weight first asks for them
RESOURCES = COUNTED + MEASURED

# The knobs of every method that prices what it finds: how much each resource counts.
KNOBS = {
    "w_parameters": Knob(1 / 3, 0, 1, "weight of parameters", group="resources"),
    "w_madds": Knob(1 / 3, 0, 1, "weight of multiply-adds", group="resources"),
    "w_memory": Knob(1 / 3, 0, 1, "weight of memory access", group="resources"),
    "w_latency": Knob(
        0, 0, 1, "weight of latency", group="resources", help="Measured on this machine when first used."
    ),
}
# One more, for the methods that are rewarded (`nascore.rewards`).
TRAINING = {
    "w_training": Knob(
        0,
        0,
        1,
        "weight of training time",
        group="resources",
        help="A forward and a backward pass, measured on this machine when first used.",
    )
}
DEFAULT = {name: knob.value for name, knob in (KNOBS | TRAINING).items()}


class Resource:
    """Prices [cell, edge, op] of parameters, multiply-adds, memory access and, once measured, times.

    Each table is divided by the cost of the dearest network (the dearest operation on every edge), so that every
    resource runs from 0 to 1 and a weighted mean of them does too.  A kind of cell that occurs several times in the
    network counts as often.  Latency and training time are measured when their weight first becomes positive, or by
    ``measure``; ``reuse`` takes an earlier measurement.
    """

    def __init__(
        self,
        counted: Mapping[str, Float64[ndarray, "cell edge op"]],
        measure: Callable[[str], Float64[ndarray, "cell edge op"]],
        device: torch.device | None = None,
    ):
        self._prices = {name: normalised(table) for name, table in counted.items()}
        self._measure, self._device = measure, device
        self._latest: tuple[tuple[float, ...], Tensor] | None = None  # weights rarely change between two steps

    @classmethod
    def of(cls, network: Supernet, image_size: int, batch_size: int, device: torch.device | None = None) -> Resource:
        """The prices of ``network`` for square images; times are those of a pass of ``batch_size`` of them."""
        counted = {
            name: summed(network, image_size, lambda op, *size, name=name: getattr(OPS[op], name)(*size))
            for name in COUNTED
        }
        where = "cpu" if device is None or device.type == "meta" else str(device)
        measure = lambda name: summed(
            network, image_size, lambda op, *size: seconds(op, *size, batch_size, where, name == "training")
        )
        return cls(counted, measure, device)

    @property
    def prices(self) -> dict[str, Float64[ndarray, "cell edge op"]]:
        """The normalised tables by resource; those of ``MEASURED`` are among them once they have been."""
        return dict(self._prices)

    @property
    def measured(self) -> dict[str, Float64[Tensor, "cell edge op"]]:
        """What has been measured so far, normalised; another run takes it by ``reuse``."""
        return {name: torch.tensor(self._prices[name]) for name in MEASURED if name in self._prices}

    def reuse(self, tables: Mapping[str, Any]) -> None:
        """Take the measured ones among ``tables``, by resource, instead of a measurement; None is none."""
        for name in MEASURED:
            if tables.get(name) is not None:
                # As it is: to normalise a table again would change its last bits, and with them a resumed run.
                self._prices[name] = torch.as_tensor(tables[name], dtype=torch.float64).numpy().copy()
                self._latest = None

    def measure(self, name: str) -> Float64[ndarray, "cell edge op"]:
        """Time every operation on this machine, unless that was done or given before.

        ``name`` is "latency", a forward pass, or "training", a forward and a backward pass.

        Raises:
            UserError: an unknown name.
        """
        if choose("resource", name, MEASURED) not in self._prices:
            self.reuse({name: normalised(self._measure(name))})
        return self._prices[name]

    def price(self, weights: Any = None) -> Float[Tensor, "cell edge op"]:
        """The weighted mean of the resources.

        Args:
            weights: ``Knobs`` or a mapping with ``w_parameters``, ``w_madds``, ``w_memory``, ``w_latency``,
                ``w_training``; what is missing weighs 0, all of them missing means a third for each of the first three.
                If all are 0, everything is free.
        """
        values = weights if isinstance(weights, Mapping) else {} if weights is None else weights.values()
        given = {name: values[name] for name in DEFAULT if name in values} or DEFAULT
        key = tuple(given.get(name, 0.0) for name in DEFAULT)
        if self._latest is None or self._latest[0] != key:
            total = sum(key) or 1.0
            mean = np.zeros_like(self._prices["parameters"])
            for name, weight in zip(RESOURCES, key, strict=True):
                if weight > 0:
                    mean += weight / total * (self.measure(name) if name in MEASURED else self._prices[name])
            self._latest = key, torch.tensor(mean, dtype=torch.float32, device=self._device)
        return self._latest[1]

    def expected(self, z: Float[Tensor, "cell edge op"], weights: Any = None) -> Float[Tensor, ""]:
        """C(z) = Σ c·z, eq. (8): 0 for a network of *none* alone, 1 for the dearest one; linear in the gates."""
        return (z * self.price(weights)).sum()  # eq. (8)


def exact(p: Float[Tensor, "*edges op"], price: Float[Tensor, "*edges op"]) -> Float[Tensor, "*edges op"]:
    """∇_α E[c·Z] = p (c − p·c) for one-hot Z from p = softmax(α): eq. (8)."""
    return p * (price - (p * price).sum(-1, keepdim=True))  # eq. (8)


def pathwise(
    z: Float[Tensor, "*edges op"], price: Float[Tensor, "*edges op"], tau: float
) -> Float[Tensor, "*edges op"]:
    """Z (c − c·Z) / τ, one draw's estimate of ∇_α E[c·Z] for concrete Z: eq. (4) with the price for the loss."""
    return z * (price - (z * price).sum(-1, keepdim=True)) / tau


def score(
    g: Float[Tensor, "*edges op"],
    z: Float[Tensor, "*edges op"],
    price: Float[Tensor, "*edges op"],
    live: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*edges op"]:
    """(1 − K softmax(−G)) c·Z, the score estimate of the same gradient from the Gumbel draws G behind Z: eq. (7).

    Edges are independent, so each is credited with its own cost alone, which lowers the variance.
    """
    return concrete_score(g, live) * (z * price).sum(-1, keepdim=True)


def surrogate(alpha: Float[Tensor, "*edges op"], gradient: Float[Tensor, "*edges op"]) -> Float[Tensor, "*edges"]:
    """Numbers whose gradient with respect to α is ``gradient``, to add to a loss; their values mean nothing."""
    return (alpha * gradient.detach()).sum(-1)


def normalised(table: Float64[ndarray, "cell edge op"]) -> Float64[ndarray, "cell edge op"]:
    """``table`` divided by the cost of the dearest network; zeros stay zeros."""
    dearest = float(table.max(-1).sum())
    return table / dearest if dearest > 0 else table


def summed(network: Supernet, image_size: int, price: Callable[..., float]) -> Float64[ndarray, "cell edge op"]:
    """``price(op, channels, height, width, stride)`` summed over the cells of each kind; 0 where not allowed."""
    space: Space = network.space
    table = np.zeros(space.shape)
    for row, edges in network.layout(image_size):
        for e, size in enumerate(edges):
            for k in np.flatnonzero(space.allowed[row, e]):
                table[row, e, k] += price(space.ops[k], *size)
    return table


@cache
def seconds(
    op: str,
    channels: int,
    height: int,
    width: int,
    stride: int,
    batch_size: int,
    device: str = "cpu",
    training: bool = False,
) -> float:
    """Median time of a forward pass through ``op``, of 20 after 3 to warm up; the same figure all process long.

    In ``training`` it is that of a forward and a backward pass, to the input and to the weights.  On a CPU it is the
    processor time of one thread, to which other programs do not add.
    """
    if op == "none":  # the edge is left out
        return 0.0
    clock = time.process_time if device == "cpu" else time.perf_counter
    with torch.random.fork_rng(devices=[]), torch_threads(1), torch.inference_mode(not training):
        module = OPS[op](channels, channels, stride).to(device).train(training)
        x = torch.zeros(batch_size, channels, height, width, device=device, requires_grad=training)
        times = []
        for _ in range(23):
            start = clock()
            y = module(x)
            if training:
                torch.autograd.grad(y, [x, *module.parameters()], torch.ones_like(y))
            if device != "cpu":
                torch.accelerator.synchronize()
            times.append(clock() - start)
    return float(np.median(times[3:]))
