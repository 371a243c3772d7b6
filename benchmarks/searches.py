"""The search steps that ``engine.py`` times: one supernet of either engine, its batches, its optimisers."""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from nascore.space import DARTS, NASP_12, TOY, Space

ENGINES = ("reference", "fused")
PAIRS = 9  # rounds at least
ARCHITECTURES = 3  # that NASP's rounds go through
Row = dict[str, Any]
Laps = dict[str, float]  # seconds by what they were spent on

# A few operations of every price early on, so that the sum grows evenly with their number.
GROWING = ("skip", "sep5", "max3", "conv3", "sep3", "avg3", "dil3", "max5", "conv1", "sep7", "conv3x1_1x3", "max7")


@dataclass(frozen=True)
class Setting:
    """One network and its batch. ``mixed``: the first ``ops`` of ``GROWING`` instead of a published list."""

    ops: int
    image: int
    channels: int
    nodes: int
    cells: int = 3
    batch: int = 64
    mixed: bool = False

    def __str__(self) -> str:
        return f"{self.ops} ops, {self.image}², {self.channels} channels, {self.nodes} nodes"

    @property
    def space(self) -> Space:
        """The search space: two kinds of cell, reduction by stride but for the toy operations."""
        if self.mixed:
            return Space(2, self.nodes, GROWING[: self.ops])
        published = {len(space.ops): space for space in (TOY, DARTS, NASP_12)}[self.ops]
        return Space(2, self.nodes, published.ops, reduction=published.reduction)

    @property
    def row(self) -> Row:
        """How its rows begin."""
        return {name: value for name, value in asdict(self).items() if name != "mixed"}


class Search:
    """A supernet of one engine with its batches and the optimisers of the DARTS authors' code."""

    WEIGHT_LR, MOMENTUM, WEIGHT_DECAY, CLIP = 0.025, 0.9, 3e-4, 5.0

    def __init__(self, setting: Setting, engine: str, seed: int = 0, dtype: Any = None):
        import torch

        from nascore.supernet import Child, Supernet

        self.setting, self.engine, space = setting, engine, setting.space
        torch.manual_seed(seed)
        self.net = Supernet(space, setting.channels, setting.cells, 10, 3, engine="reference").to(dtype)
        self.net = self.net.converted(engine)
        shape = setting.batch, 3, setting.image, setting.image
        self.train, self.valid = (
            (torch.randn(shape).to(dtype), torch.randint(10, shape[:1])) for _ in ("train", "valid")
        )
        self.alpha = (torch.randn(space.shape) * 1e-3).to(dtype).requires_grad_()
        self.noise = torch.Generator().manual_seed(seed)
        # NASP's A in [0, 1]: the largest entry of an edge is so far ahead that no step of Adam overtakes it.
        drawn = torch.randint(int("none" in space.ops), len(space.ops), (ARCHITECTURES, *space.shape[:2]))
        self.tables = [
            ((torch.rand(space.shape) + torch.nn.functional.one_hot(places, len(space.ops))) / 2).to(dtype)
            for places in drawn
        ]
        self.laid = copy.deepcopy(self.net).to(memory_format=torch.channels_last) if engine == "reference" else self.net
        self.weights = list(self.net.parameters())
        self.sgd = self.optimiser(self.weights)
        betas = {"lr": 3e-4, "betas": (0.5, 0.999), "weight_decay": 1e-3}
        self.adam = torch.optim.Adam([self.alpha, *self.tables], **betas)
        self.children: dict[Any, list[Any]] = {torch.contiguous_format: [], torch.channels_last: []}
        for layout, table in product(self.children, self.tables if engine == "fused" else ()):
            child = Child.inherit(self.net, space.decode(table)).to(memory_format=layout)
            self.children[layout].append((child, self.optimiser(list(child.parameters()))))
        self.turn = 0  # which architecture NASP is at

    def optimiser(self, weights: list[Any]) -> Any:
        import torch

        return torch.optim.SGD(
            weights, lr=self.WEIGHT_LR, momentum=self.MOMENTUM, weight_decay=self.WEIGHT_DECAY, foreach=True
        )

    def loss(self, batch: Any, gates: Any, **given: Any) -> Any:
        import torch

        images, labels = batch
        return torch.nn.functional.cross_entropy(self.net(images, gates, **given), labels)

    def forward_backward(self) -> None:
        """Gradients of the gates' logits and the weights."""
        self.clear()
        self.loss(self.train, self.alpha.softmax(-1)).backward()

    def clear(self) -> None:
        self.sgd.zero_grad()
        self.adam.zero_grad()

    def move_weights(self, loss: Any) -> None:
        """Gradient, clipping and SGD for the weights alone."""
        import torch

        self.clear()
        loss.backward(inputs=self.weights)
        torch.nn.utils.clip_grad_norm_(self.weights, self.CLIP)
        self.sgd.step()

    # Every step answers the processor time it took, by what it was spent on.

    def channels_last(self) -> Laps:
        """Forward and backward of the reference with its images as the fused engine lays them."""
        import torch

        net, (images, labels) = self.laid, self.train
        start = time.process_time()
        net.zero_grad()
        self.alpha.grad = None
        scores = net(images.contiguous(memory_format=torch.channels_last), self.alpha.softmax(-1))
        torch.nn.functional.cross_entropy(scores, labels).backward()
        return {"forward+backward, channels last": time.process_time() - start}

    def snas(self) -> Laps:
        import torch

        from nascore import gates

        start = time.process_time()
        self.clear()
        z = gates.concrete(self.alpha, 1.0, self.noise)
        before = time.process_time()
        self.loss(self.train, z).backward()
        after = time.process_time()
        torch.nn.utils.clip_grad_norm_(self.weights, self.CLIP)
        self.sgd.step()
        self.adam.step()
        return {"forward+backward": after - before, "step snas": time.process_time() - start}

    def darts(self) -> Laps:
        from nascore.supernet import frozen_statistics

        start = time.process_time()
        self.clear()
        with frozen_statistics(self.net):
            self.loss(self.valid, self.alpha.softmax(-1)).backward(inputs=[self.alpha])
        self.adam.step()
        self.move_weights(self.loss(self.train, self.alpha.detach().softmax(-1)))
        return {"step darts": time.process_time() - start}

    def darts2(self) -> Laps:
        start = time.process_time()
        self.clear()
        self.alpha.grad = self.hypergradient()
        self.adam.step()
        self.move_weights(self.loss(self.train, self.alpha.detach().softmax(-1)))
        return {"step darts2": time.process_time() - start}

    def hypergradient(self, hessian: Any = "finite") -> Any:
        """∇_α L_val(w′, α), w′ being the weights after the step that comes next: Liu et al. (2019), eq. 7."""
        import torch
        from torch.func import functional_call

        from nascore import bilevel
        from nascore.supernet import frozen_statistics

        def loss_on(batch: Any) -> bilevel.Loss:
            images, labels = batch

            def loss(weights: bilevel.Weights, alpha: Any) -> Any:
                scores = functional_call(self.net, dict(weights), (images, alpha.softmax(-1)))
                return torch.nn.functional.cross_entropy(scores, labels)

            return loss

        held = [self.sgd.state[w].get("momentum_buffer") for w in self.weights]
        buffers = [] if held[0] is None else held
        inner = bilevel.Inner(self.WEIGHT_LR, self.MOMENTUM, self.WEIGHT_DECAY, buffers)
        weights = dict(self.net.named_parameters())
        with frozen_statistics(self.net):
            losses = loss_on(self.train), loss_on(self.valid)
            return bilevel.hypergradient(*losses, weights, self.alpha, inner, hessian).total

    def nasp(self, published: bool = False) -> Laps:
        import torch

        from nascore import gates

        start = time.process_time()
        self.clear()
        table = self.tables[self.turn]
        table.grad = self.architecture_gradient(table, dense=published or self.engine == "reference")
        self.adam.step()
        with torch.no_grad():
            table.clamp_(0, 1)  # prox of the box
        half = time.process_time()
        z = gates.one_hot(table)
        self.move_weights(self.loss(self.train, z, active=gates.active(z)))
        now = time.process_time()
        return {"step nasp, published" if published else "step nasp": now - start, "weight step nasp": now - half}

    def published(self) -> Laps:
        return self.nasp(published=True)

    def architecture_gradient(self, table: Any, dense: bool) -> Any:
        """∂L_val/∂z of all operations at the discrete point, the largest entry of every edge of ``table``."""
        from nascore import credit, gates
        from nascore.fused import Trace
        from nascore.supernet import frozen_statistics

        z = gates.one_hot(table)
        with frozen_statistics(self.net):
            if dense:
                z.requires_grad_()
                self.loss(self.valid, z).backward(inputs=[z])
                return z.grad
            trace = Trace()
            self.loss(self.valid, z, active=gates.active(z), trace=trace).backward(inputs=trace.nodes)
        return -credit.complete(self.net, trace)

    def child(self) -> Laps:
        import torch

        return {"weight step child": self.train_child(torch.contiguous_format)}

    def child_last(self) -> Laps:
        import torch

        return {"weight step child, channels last": self.train_child(torch.channels_last)}

    def train_child(self, layout: Any) -> float:
        """Seconds of a training step of the child at this turn, its images and weights lying as ``layout`` says."""
        import torch

        child, sgd = self.children[layout][self.turn]
        images, labels = self.train
        start = time.process_time()
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(child(images.contiguous(memory_format=layout)), labels).backward()
        torch.nn.utils.clip_grad_norm_(child.parameters(), self.CLIP)
        sgd.step()
        return time.process_time() - start
