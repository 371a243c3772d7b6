"""What a search found: derive the child, measure it with inherited weights or retrain it, compare over seeds.

This module is the only one that looks at the test images, and no method imports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor, nn

from nascore.errors import UserError
from nascore.graph import CellGraph
from nascore.supernet import Child, batch_norms

if TYPE_CHECKING:
    from nascore.task import Batch, Task

CHUNK = 100  # images at once: as fast as any on a CPU, and little memory


def inherit(task: Task, graphs: Mapping[str, CellGraph]) -> Child:
    """The child ``graphs`` with a copy of the weights and statistics that it has in ``task.network``."""
    with torch.random.fork_rng(devices=[]):  # building a network draws from the global generator
        return Child.inherit(task.network, graphs)


@torch.no_grad()
def accuracy(network: nn.Module, images: Batch, gates: Float[Tensor, "cell edge op"] | None = None) -> float:
    """Share of ``images`` classified rightly, batch norm using its running statistics."""
    was_training = network.training
    network.eval()
    right = torch.zeros((), dtype=torch.int64, device=images.labels.device)
    for x, y in zip(torch.split(images.images, CHUNK), torch.split(images.labels, CHUNK), strict=True):
        logits = network(x) if gates is None else network(x, gates)
        right += (logits.argmax(-1) == y).sum()
    network.train(was_training)
    return int(right) / len(images.labels)


@torch.no_grad()
def recalibrate(
    network: nn.Module,
    batches: Iterable[Float[Tensor, "image channel height width"]],
    gates: Float[Tensor, "cell edge op"] | None = None,
) -> None:
    """Replace batch norm's running statistics by their plain mean over ``batches``; weights stay as they are.

    A child inherits statistics of sums over many operations; its own sums have others.
    """
    norms = batch_norms(network)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean instead of an exponential one
    was_training = network.training
    network.train()
    for x in batches:
        network(x) if gates is None else network(x, gates)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)


def inherited(task: Task, graphs: Mapping[str, CellGraph], split: str = "valid") -> dict[str, float]:
    """Accuracy of the child with the supernet's weights, before and after recalibrating batch norm on train."""
    child = inherit(task, graphs)
    found = {"child_accuracy": accuracy(child, task.images(split))}
    recalibrate(child, torch.split(task.images("train").images, CHUNK))
    return found | {"child_accuracy_recalibrated": accuracy(child, task.images(split))}


def trained(task: Task, graphs: Mapping[str, CellGraph], epochs: int | None = None) -> tuple[Child, float]:
    """The child trained from new weights on train ∪ search as ``task`` trains its supernet, and its last loss.

    Initial weights and batches come from the task's seed alone, so children are compared on equal terms.
    """
    fresh = task.twin(epochs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fresh.seed)
        net = fresh.network
        size = net.channels, len(net.cells), net.classes
        child = Child(fresh.space, graphs, *size, in_channels=net.in_channels).to(fresh.device)
    optimiser = fresh.optimisers(weights=child)
    loss = torch.zeros(())
    with fresh.execution.arithmetic():
        for _ in fresh.clock(optimiser=optimiser):
            loss = fresh.loss(fresh.batch("train+search"), None, network=child)
            optimiser.step_weights(loss)
    return child, float(loss.detach())


def retrain(
    task: Task, graphs: Mapping[str, CellGraph], epochs: int | None = None, split: str = "valid"
) -> dict[str, float]:
    """Train the child from scratch (see ``trained``) and measure it on ``split``."""
    child, loss = trained(task, graphs, epochs)
    return {
        "loss": loss,
        "accuracy": accuracy(child, task.images(split)),
        "cost": float(task.resource.expected(torch.tensor(task.space.one_hot(graphs)))),
        "parameters": float(child.parameter_count()),
    }


@dataclass(frozen=True)
class Comparison:
    """Paired runs a − b: median difference with its 95 % bootstrap interval, and how often a was larger."""

    n: int
    median: float
    low: float
    high: float
    wins: int


def interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Median of ``values`` (one a seed) and its bootstrap interval: (median, low, high).

    Percentile bootstrap with 9 999 resamples and a fixed seed (Efron, 1979).
    """
    from scipy.stats import bootstrap

    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or len(sample) < 2 or not np.isfinite(sample).all():
        raise UserError(f"values: {values!r} must be two or more finite numbers, one a seed.")
    centre = float(np.median(sample))
    if np.ptp(sample) == 0:  # every resample is the sample itself
        return centre, centre, centre
    found = bootstrap(
        (sample,), np.median, confidence_level=confidence, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return centre, float(found.low), float(found.high)


def compare(a: ArrayLike, b: ArrayLike) -> Comparison:
    """Compare two methods on the same seeds, value by value: median of a − b, its interval, and a's wins."""
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return Comparison(len(difference), *interval(difference), wins=int((difference > 0).sum()))
