"""Seconds per search step beside NNI 3.0, the other implementation that still installs: same task, same run.

``python benchmarks/peers.py [--quick] [--engine fused] [--json FILE]`` makes the peer's own environment in ``.peers/``
(once; a minute or two, 1.5 GB), starts one process for each variant and lets them work in turn, one thread each, never
two at a time. The peer cannot be an extra of the kit: it needs filelock below 3.12, and the kit needs a later one.

Both search the DARTS space in a network of the same cells, channels and nodes, on random images, with SGD (momentum
0.9, gradient norm clipped to 5) for weights and Adam for logits, under the same release of PyTorch.

What NNI does (version 3.0; files are below ``nni/nas/``):

- ``hub/pytorch/nasnet.py``, ``DARTS.DARTS_OPS`` and ``NDS.__init__``: 7 operations, reductions at a third and at two
  thirds of the depth, a stem three times as wide as the first cell, 10 classes. ``NDS`` is the class behind its DARTS
  space, and takes the number of nodes, which ``DARTS`` fixes to 4.
- ``oneshot/pytorch/supermodule/differentiable.py``, ``DifferentiableMixedCell``: each edge has one logit more than
  operations, and its output is zeros: *none* after all, so our space has its 8 operations. ``forward`` stacks the
  outputs on an edge and sums them weighted. Each cell takes the softmax anew, so that under Gumbel noise cells of one
  kind get different gates; ours get the same ones, as in the paper.
- ``oneshot/pytorch/differentiable.py``, ``DartsLightningModule.training_step``: first order. A batch for the logits,
  whose loss gives gradients to weights and logits alike (then Adam with weight decay 0.001 moves the logits), and a
  batch for the weights (again both gradients, clipping, SGD). ``GumbelDartsLightningModule`` inherits it: GumbelDARTS
  takes two losses a step where SNAS takes one. *Gumbel gates* are the peer's two losses on our network, *SNAS* is
  ``nascore.methods.snas`` against the same peer.
- ``hub/pytorch/nasnet.py``, ``CellBuilder.op_factory``: in the search too, batch norm has scale and shift, and pools
  have no batch norm. Ours follows the DARTS authors' code: no scale or shift, and a batch norm behind each pool. The
  other parameters are equally many, and the benchmark stops where they are not.

*With loop* is the peer as its users run it, ``Trainer.fit`` of PyTorch Lightning on the strategy's module, with data
loaders, accuracy, progress bar and logger (ends of epochs are left out), and ours as ``nascore.run.Run`` with a
recording. *Alone* is the forward, backward and optimiser steps of the peer's ``training_step`` in its order, without
Lightning, and our method's generator without ``Run``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".peers" / "nni"
PYTHON = HOME / "bin" / "python"
STAMP = HOME / "set-up-is-complete"
# nni asks for nothing but itself; its search needs the rest, and pkg_resources, which setuptools had until 81.
PEER = ("nni==3.0", "pytorch-lightning==2.6.6", "torchmetrics==1.9.0", "numpy==2.4.6", "setuptools==80.10.2")

METHODS = {"darts": "darts", "gumbel": "gumbel", "snas": "gumbel"}  # ours: the peer's
TITLES = {
    "darts": "DARTS, first order",
    "gumbel": "Gumbel gates, two losses",
    "snas": "SNAS, one loss, against GumbelDARTS",
}
ENGINES = ("fused", "reference")
CLIP = 5.0
MOMENTUM = 0.9
WEIGHT_LR = 0.025


@dataclass(frozen=True)
class Setting:
    """One configuration: a square image of 3 channels, width of the first cell, cells, nodes, images in a batch."""

    image: int
    channels: int
    cells: int
    nodes: int
    batch: int

    def __str__(self) -> str:
        return (
            f"{self.image}×{self.image}×3, {self.channels} channels, {self.cells} cells, {self.nodes} nodes, "
            f"batch {self.batch}"
        )


SMALL = Setting(image=16, channels=8, cells=3, nodes=4, batch=16)
LARGE = Setting(image=32, channels=16, cells=4, nodes=4, batch=16)


@dataclass(frozen=True)
class Variant:
    """What one process runs. ``engine`` is empty for the peer."""

    method: str
    loop: bool
    engine: str = ""

    @property
    def python(self) -> str:
        return sys.executable if self.engine else str(PYTHON)


# The peer's environment --------------------------------------------------------------------------------------------


def requirements() -> str:
    """What the peer's environment holds, one requirement a line; PyTorch as the kit has it."""
    return "\n".join([*PEER, f"torch=={metadata.version('torch').partition('+')[0]}"])


def is_ready() -> bool:
    """Whether the peer's environment is there, complete and of these versions."""
    return STAMP.is_file() and STAMP.read_text() == requirements()


def set_up() -> None:
    """Make the peer's environment unless it is there."""
    if is_ready():
        return
    print(f"Making the peer's environment in {HOME}; this takes a minute or two ...", flush=True)
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(HOME)],
        [*pip, *requirements().splitlines()],
    ):
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"The peer's environment could not be made; this failed: {' '.join(command)}")
    STAMP.write_text(requirements())


# A process that works on command -----------------------------------------------------------------------------------


class Pace:
    """Holds a search between two of its steps until it is told how many more to do; answers what they took."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed is no answer
        self.left = 0

    def ready(self, network: Any, architecture: list[Any]) -> None:
        """Tell the numbers of parameters, those of ``architecture`` apart; then wait for the first command."""
        from torch import nn

        def count(tensors: Iterable[Any]) -> int:
            return sum(tensor.numel() for tensor in tensors)

        logits = {id(alpha) for alpha in architecture}
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        self._answer(
            weights=count(p for p in network.parameters() if id(p) not in logits),
            norm=sum(count(norm.parameters()) for norm in norms),
            logits=count(architecture),
            torch=metadata.version("torch"),
        )

    def step(self) -> None:
        """To be called at the end of every search step."""
        self.left -= 1
        if self.left == 0:
            self._answer(wall=time.perf_counter() - self.wall, cpu=time.process_time() - self.cpu)

    def _answer(self, **found: Any) -> None:
        print(json.dumps(found), file=self.answers, flush=True)
        command = sys.stdin.readline()
        if not command:  # the benchmark has ended
            os._exit(0)
        self.left = int(command)
        self.wall, self.cpu = time.perf_counter(), time.process_time()


def serve(setting: Setting, variant: Variant) -> None:
    """Build the search of ``variant`` and run it at the pace of standard input."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    (ours if variant.engine else peer)(setting, variant, Pace())


def ours(setting: Setting, variant: Variant, pace: Pace) -> None:
    """The search by this kit."""
    import numpy as np
    import torch

    from nascore.data import Images
    from nascore.methods.darts import darts
    from nascore.methods.snas import snas
    from nascore.run import HALF_PHASES, Knobs, Run, declare
    from nascore.space import DARTS, Space
    from nascore.supernet import Supernet
    from nascore.task import Task

    rng = np.random.default_rng(0)
    n = 4 * setting.batch
    images = Images(
        "random",
        rng.standard_normal((4 * n, 3, setting.image, setting.image), dtype=np.float32),
        rng.integers(10, size=4 * n),
        classes=10,
        rows=dict(zip(("train", "search", "valid", "test"), np.arange(4 * n).reshape(4, n), strict=True)),
    )
    space = Space(2, setting.nodes, DARTS.ops)
    size = {"channels": setting.channels, "cells": setting.cells}
    # No measurement and no end come into a turn.
    task = Task(images, space, **size, batch_size=setting.batch, epochs=10**6, measure_every=10**9)
    task.network = Supernet(space, **size, classes=10, in_channels=3, engine=variant.engine)
    method = {"darts": darts, "gumbel": declare(**darts.knobs)(gumbel), "snas": snas}[variant.method]
    steps = Run(method, task, record="run.sqlite") if variant.loop else method(task, Knobs(**method.knobs))
    pace.ready(task.network, [torch.empty(space.shape)])
    for step in steps:
        if step.phase not in HALF_PHASES:
            pace.step()


def gumbel(task: Any, knobs: Any) -> Iterator[Any]:
    """The peer's GumbelDARTS as a method of the kit: the two losses of DARTS, each under a sample of its own."""
    from nascore import gates

    alpha = task.logits()
    optimiser = task.optimisers(weights=task.network, architecture=alpha, knobs=knobs)
    for t in task.clock(alpha=alpha, optimiser=optimiser):
        z = gates.concrete(alpha, 1.0, task.noise)
        loss = task.loss(task.batch("search"), z)
        optimiser.step_architecture(loss)
        yield task.step(t, alpha.softmax(-1), z, phase="architecture", loss=loss)

        p = alpha.detach().softmax(-1)
        z = gates.concrete(alpha.detach(), 1.0, task.noise)
        loss = task.loss(task.batch("train"), z)
        optimiser.step_weights(loss)
        yield task.step(t, p, z, phase="weights", loss=loss)


def peer(setting: Setting, variant: Variant, pace: Pace) -> None:
    """The search by NNI."""
    import torch
    from nni.nas import strategy as strategies
    from nni.nas.evaluator.pytorch import Classification, DataLoader
    from nni.nas.hub.pytorch.nasnet import DARTS, NDS
    from pytorch_lightning import Callback
    from torch import nn
    from torch.utils.data import RandomSampler, TensorDataset

    n = 4 * setting.batch

    def loader() -> Any:
        images = TensorDataset(torch.randn(n, 3, setting.image, setting.image), torch.randint(10, (n,)))
        endless = RandomSampler(images, replacement=True, num_samples=10**7)
        return DataLoader(images, batch_size=setting.batch, sampler=endless)

    train, val = loader(), loader()

    class Paced(Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            pace.ready(module.model, module.arch_parameters())

        def on_train_batch_end(self, *_: Any) -> None:
            pace.step()

    name = {"darts": "DARTS", "gumbel": "GumbelDARTS"}[variant.method]
    strategy = getattr(strategies, name)(gradient_clip_val=CLIP)
    model = strategy.mutate_model(
        NDS(DARTS.DARTS_OPS, "all", setting.nodes, width=setting.channels, num_cells=setting.cells, dataset="cifar")
    )
    evaluator = strategy.mutate_evaluator(
        Classification(
            optimizer=partial(torch.optim.SGD, momentum=MOMENTUM),
            learning_rate=WEIGHT_LR,
            num_classes=10,
            train_dataloaders=train,
            val_dataloaders=val,
            max_epochs=1,
            accelerator="cpu",
            callbacks=[Paced()],
        )
    )
    if variant.loop:
        evaluator.evaluate(model)
        return

    module = evaluator.module
    module.set_model(model)
    sgd, adam = module.configure_optimizers()
    weights = list(sgd.param_groups[0]["params"])
    pace.ready(model.train(), module.arch_parameters())
    for (x_val, y_val), (x, y) in zip(val, train, strict=True):
        adam.zero_grad()
        nn.functional.cross_entropy(model(x_val), y_val).backward()
        adam.step()
        sgd.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(weights, CLIP)
        sgd.step()
        pace.step()


# The benchmark -----------------------------------------------------------------------------------------------------


Facts = dict[str, dict[str, Any]]  # of "peer" and "ours": numbers of parameters, release of PyTorch
Turns = dict[Variant, list[dict[str, float]]]  # seconds a step


class Child:
    """A process that runs one variant; it sleeps unless told to work."""

    def __init__(self, setting: Setting, variant: Variant, folder: Path):
        self.variant, self.log = variant, folder / "log"
        folder.mkdir(parents=True)
        request = json.dumps([asdict(setting), asdict(variant)])
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [variant.python, "-W", "ignore", str(Path(__file__).resolve()), "--serve", request],
                cwd=folder,
                env=os.environ | threads,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.steps = 1

    def answer(self) -> dict[str, Any]:
        """The next answer; ends the benchmark where the process has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.log.read_text()[-3000:]}\n{self.variant} has failed; its log ends as above.")
        found: dict[str, Any] = json.loads(line)
        return found

    def work(self) -> dict[str, float]:
        """Run ``self.steps`` search steps; seconds a step on the wall and of the processor."""
        assert self.process.stdin is not None
        print(self.steps, file=self.process.stdin, flush=True)
        return {clock: seconds / self.steps for clock, seconds in self.answer().items()}

    def warm_up(self, seconds: float) -> None:
        """Two steps, then as many to a turn as take about ``seconds``, at least one."""
        self.work()
        self.steps = max(1, round(seconds / self.work()["wall"]))

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # the other end is gone
                pipe.close()


def measure(setting: Setting, variants: list[Variant], pairs: int, seconds: float) -> tuple[Facts, Turns]:
    """Let all variants work in turn, ``pairs`` times each; never two at a time."""
    from tqdm import tqdm

    facts: Facts = {}
    turns: Turns = {variant: [] for variant in variants}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        children = [stack.enter_context(Child(setting, variant, folder / str(i))) for i, variant in enumerate(variants)]
        for child in children:  # all have started before the first one works
            facts["ours" if child.variant.engine else "peer"] = child.answer()
            require_same(facts)
        for child in children:
            child.warm_up(seconds)
        for k in tqdm(range(pairs), desc="turns", leave=False):
            for child in children if k % 2 == 0 else reversed(children):  # a drift falls on both alike
                turns[child.variant].append(child.work())
    return facts, turns


def require_same(facts: Facts) -> None:
    """Stop unless both networks have the same parameters but for batch norm's, and run on the same PyTorch."""
    told = {
        side: (f"{found['weights'] - found['norm']} weights", f"{found['logits']} logits", f"PyTorch {found['torch']}")
        for side, found in facts.items()
    }
    if len(set(told.values())) > 1:
        sys.exit(f"The two do not run the same search: {told}")


def rows(setting: Setting, turns: Turns) -> list[dict[str, Any]]:
    """A row for each of our variants: medians, and the peer's time over ours, turn by turn, with its 95 % interval."""
    import numpy as np

    from nascore.evaluate import interval
    from nascore.space import DARTS

    found = []
    for variant in (variant for variant in turns if variant.engine):
        theirs, mine = (
            {clock: np.array([turn[clock] for turn in turns[v]]) for clock in ("wall", "cpu")}
            for v in (Variant(METHODS[variant.method], variant.loop), variant)
        )
        ratio, low, high = interval(theirs["wall"] / mine["wall"])
        found.append(
            {
                "what": f"step {variant.method}",
                "loop": variant.loop,
                "engine": variant.engine,
                "ops": len(DARTS.ops),
                **asdict(setting),
                "peer_s": float(np.median(theirs["wall"])),
                "ours_s": float(np.median(mine["wall"])),
                "ratio": ratio,
                "low": low,
                "high": high,
                "cpu_ratio": float(np.median(theirs["cpu"] / mine["cpu"])),
                "pairs": len(mine["wall"]),
            }
        )
    return found


def table(found: list[dict[str, Any]]) -> str:
    """One configuration's rows, ``cpu`` being the ratio in processor time."""
    lines = [f"{'search step':36} {'':9} {'engine':9} {'NNI, s':>8} {'ours, s':>8} {'ratio':>7} {'95 %':14} {'cpu':>6}"]
    lines += [
        f"{TITLES[row['what'].removeprefix('step ')]:36} {'with loop' if row['loop'] else 'alone':9} {row['engine']:9} "
        f"{row['peer_s']:8.3f} {row['ours_s']:8.3f} {row['ratio']:6.2f}× [{row['low']:.2f}, {row['high']:.2f}]"
        f"{'':2} {row['cpu_ratio']:5.2f}×"
        for row in found
    ]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the small configuration, one engine; three minutes")
    parser.add_argument("--engine", choices=ENGINES, help="of our network (default: both; fused if --quick)")
    parser.add_argument("--pairs", type=int, default=9, help="turns of each variant (default 9)")
    parser.add_argument("--seconds", type=float, default=0.5, help="a turn's length, at least a step (default 0.5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows and where they were measured")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        setting, variant = json.loads(arguments.serve)
        serve(Setting(**setting), Variant(**variant))
        return
    if arguments.pairs < 2:
        parser.error(f"--pairs: {arguments.pairs} is too few; an interval needs at least 2")
    engines = [arguments.engine] if arguments.engine else ENGINES[:1] if arguments.quick else ENGINES
    set_up()
    found, networks = [], {}
    for setting in (SMALL,) if arguments.quick else (SMALL, LARGE):
        block = []
        for method, theirs in METHODS.items():  # six processes at a time: each may keep 2 GB
            variants = [Variant(theirs, loop) for loop in (True, False)]
            variants += [Variant(method, *rest) for rest in itertools.product((True, False), engines)]
            facts, turns = measure(setting, variants, arguments.pairs, arguments.seconds)
            block += rows(setting, turns)
        networks[str(setting)] = facts
        print(f"{setting}; parameters {told(facts['peer'])} in NNI's network, {told(facts['ours'])} in ours.")
        print(table(block), end="\n\n", flush=True)
        found += block
    busy = os.getloadavg()[1]
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, one thread; {PEER[0]}, PyTorch "
        f"{metadata.version('torch')}; {busy:.1f} processes wanted a core on average over the last five minutes."
    )
    if arguments.json:
        where = {"cores": os.cpu_count(), "load": busy, "peer": PEER}
        arguments.json.write_text(json.dumps({"rows": found, "networks": networks, **where}, indent=1) + "\n", "utf-8")


def told(facts: dict[str, Any]) -> str:
    """How many parameters a network has, batch norm's apart."""
    return f"{facts['weights']} (batch norm {facts['norm']})"


if __name__ == "__main__":
    main()
