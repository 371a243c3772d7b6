"""The searches that the claims and the presets are measured on: one JSON line a run, kept and reused.

``python benchmarks/grid.py --seeds 10 [--jobs 2]`` runs what is missing. Parts come in the order of ``PARTS``, each
seed by seed. A finished line is never run again under the same settings, so the grid can be stopped at any time, also
in the middle of a line, and grown later; delete lines to measure them anew.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nascore.space import TOY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nascore.graph import CellGraph
    from nascore.run import Run, Step

LAMBDAS = (0.0, 0.05, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 5.0)  # of the presets
PENALTIES = (0.15, 0.5, 1.5)  # of the claims, besides 0
ETAS = (0.1, 0.3, 1.0)
# Epochs in which DARTS, first and second order, takes the processor time that NASP takes in 32.
SHORT, SHORT_SECOND = 29, 12
LARGE = "NASP_7"  # where NASP's steps cost half of DARTS's: 7 operations, 4 nodes
LARGE_EPOCHS, LARGE_SHORT = 16, 9
LONG = 128
WITHOUT_NONE = replace(TOY, ops=tuple(op for op in TOY.ops if op != "none"), name="TOY without none").to_json()
TOGETHER = 5  # long searches that share one network
EVERY = 60  # iterations between two points of a curve
DRAWN = 5  # children drawn last, whose mean accuracy is that of the policy
UNDERTUNED = 0.02  # learning rate of logits, the default of gradient methods; for a reward too small, see tuning.py
TUNED = 0.3  # what tuning.py found for REINFORCE and TD; of 0.02, 0.05, 0.1 and 0.3 the fastest for SNAS, too
REWARDED = 64  # epochs in which a method that learns from a reward takes the processor time that SNAS takes in 32
ROOT = Path(__file__).parents[1]
CACHE = ROOT / "runs" / "grid.jsonl"
SYMBOLS = {"lam": "λ", "eta": "η"}

Found = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One search and what is measured of it.

    Attributes:
        method, options, knobs: what is searched with; ``of`` writes them more simply.
        seed, epochs: of the task.
        retrain: epochs for which its child (own rule) is also trained from new weights; 0 is not at all.
        ranking: whether the 60 children of ``nascore.ranking`` are measured with its weights.
        space, partial: of the task; the space by name, or its JSON.
        drawn: whether the accuracy of children drawn from the policy is measured on the way.
    """

    method: str
    options: tuple[tuple[str, str], ...] = ()
    knobs: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    epochs: int = 32
    retrain: int = 0
    ranking: bool = False
    space: str = "TOY"
    partial: int = 1
    drawn: bool = False

    @property
    def name(self) -> str:
        """How tables call it, without the seed."""
        words = [self.method, *(value for _, value in self.options)]
        words += [f"{SYMBOLS.get(knob, knob)}={value:g}" for knob, value in self.knobs]
        words[-1] += "" if self.epochs == 32 else f", {self.epochs} epochs"
        space = json.loads(self.space)["name"] if self.space.startswith("{") else self.space
        return " ".join(words) + ("" if space == "TOY" else f", {space}")


MEASURED = ("retrain", "ranking", "space", "partial", "drawn")


def of(method: str, seed: int = 0, epochs: int = 32, **given: Any) -> Setting:
    """A setting from plain arguments: of those that are not fields, text is an option and a number a knob."""
    measured = {name: given.pop(name) for name in MEASURED if name in given}
    options = tuple((name, value) for name, value in given.items() if isinstance(value, str))
    knobs = tuple((name, float(value)) for name, value in given.items() if not isinstance(value, str))
    return Setting(method, options, knobs, seed, epochs, **measured)


Group = tuple[Setting, ...]
"""Settings that differ in seeds and knobs alone and share one network, or a single one."""

# Every search that the claims compare.
CORE = (
    of("snas", retrain=32, ranking=True, drawn=True),
    of("darts", level="bi", retrain=32, ranking=True),
    of("nasp", retrain=32, ranking=True),
    of("random", retrain=32, ranking=True, drawn=True),
    of("darts", level="single", retrain=32),
    of("darts", order="second", retrain=32),
    of("darts", epochs=SHORT, level="bi", retrain=32),
    of("darts", epochs=SHORT_SECOND, order="second", retrain=32),
    of("gdas", retrain=32),
    of("asng", retrain=32),
    of("asap", retrain=32),
    of("bayesnas", retrain=32),
    of("proxyless", retrain=32),
    of("pcdarts", retrain=32, partial=4, warm_up=0.3),
)
LARGER = (
    of("nasp", epochs=LARGE_EPOCHS, retrain=LARGE_EPOCHS, space=LARGE),
    of("darts", epochs=LARGE_SHORT, level="bi", retrain=LARGE_EPOCHS, space=LARGE),
)

# Credit by a reward, against SNAS and uniform sampling, which are in ``CORE``.
CREDIT = (
    of("reinforce", retrain=32, drawn=True),
    of("reinforce", retrain=32, drawn=True, architecture_lr=UNDERTUNED),
    of("td", retrain=32, drawn=True),
    of("rudder", retrain=32, drawn=True),
    of("enas", retrain=32, drawn=True),
    of("enas", retrain=32, drawn=True, tanh_constant=2.5, op_tanh_reduce=1),  # free to decide
    of("enas", retrain=32, drawn=True, cell="micro"),
    of("snas", retrain=32, drawn=True, architecture_lr=TUNED),
)
PATIENT = tuple(replace(CREDIT[k], epochs=REWARDED) for k in (0, 2, 3))


def core(seeds: Sequence[int]) -> Iterator[Group]:
    """All methods as they are by default."""
    for seed in seeds:
        yield from ((replace(setting, seed=seed),) for setting in CORE)


def credit(seeds: Sequence[int]) -> Iterator[Group]:
    """Methods that learn from a reward, at SNAS's updates and at its processor time."""
    for seed in seeds:
        yield from ((replace(setting, seed=seed),) for setting in (*CREDIT, *PATIENT))


def sweeps(seeds: Sequence[int]) -> Iterator[Group]:
    """SNAS's λ, side by side in one network, and NASP's η."""
    for seed in seeds:
        yield tuple(of("snas", seed, lam=lam) for lam in PENALTIES)
        yield from ((of("nasp", seed, eta=eta),) for eta in ETAS)


def long(seeds: Sequence[int]) -> Iterator[Group]:
    """DARTS four times as long, some seeds side by side."""
    for start in range(0, len(seeds), TOGETHER):
        yield tuple(of("darts", seed, LONG, level="bi", retrain=32) for seed in seeds[start : start + TOGETHER])


def larger(seeds: Sequence[int]) -> Iterator[Group]:
    """NASP and DARTS at equal processor time in a larger space."""
    for seed in seeds:
        yield from ((replace(setting, seed=seed),) for setting in LARGER)


def without_none(seeds: Sequence[int]) -> Iterator[Group]:
    """DARTS as long where every edge needs an operation, some seeds side by side."""
    for start in range(0, len(seeds), TOGETHER):
        part = seeds[start : start + TOGETHER]
        yield tuple(of("darts", seed, LONG, level="bi", space=WITHOUT_NONE) for seed in part)


PARTS: tuple[Callable[[Sequence[int]], Iterator[Group]], ...] = (core, credit, sweeps, long, larger, without_none)


def grid(seeds: int) -> list[Group]:
    """Every search of the claims: part by part, and within a part seed by seed."""
    return [group for part in PARTS for group in part(range(seeds))]


# Measuring a search -------------------------------------------------------------------------------------------------


class Watch:
    """What is kept of a run as it goes: a curve now and then, and which operation leads on every edge, at every step.

    Accuracies of the curve are on valid; the child is the argmax one, with its inherited weights. With ``drawn`` they
    are also of the ``DRAWN`` children drawn last, recalibrated, in the mean.
    """

    def __init__(self, run: Run, drawn: bool = False):
        self.run = run
        self.last: Step | None = None
        self.entropy: float | None = None  # of the policy, where one is told
        self.curve: list[Found] = []
        self._gates: deque[Any] | None = deque(maxlen=DRAWN) if drawn else None
        self._leaders: list[NDArray[np.int64]] = []

    def see(self, step: Step) -> None:
        import numpy as np
        import torch

        from nascore import evaluate
        from nascore.run import HALF_PHASES

        self.last = step
        if self.run.method.traits.probs in ("simplex", "conditional"):
            self.entropy = step.metrics.get("entropy", self.entropy)
        if step.phase in HALF_PHASES:
            return
        task = self.run.task
        if self._gates is not None:
            self._gates.append(np.asarray(step.gates))
        probs = np.where(task.space.allowed, np.asarray(step.probs), -np.inf)
        self._leaders.append(probs.argmax(-1))
        if len(self._leaders) % EVERY == 0:
            graphs = evaluate.derive(task.space, step)
            child = evaluate.inherited(task, graphs, gates=torch.as_tensor(step.gates))
            self.curve.append(
                {
                    "supernet": float(step.metrics["accuracy"]),
                    "stale": child["child_accuracy"],
                    "recalibrated": child["child_accuracy_recalibrated"],
                    **{name: float(step.metrics[name]) for name in ("updates", "examples", "cpu_seconds")},
                    "skips": skips(task.space.ops, probs),
                    **self._policy(),
                }
            )

    def _policy(self) -> Found:
        """The policy's entropy in nats a decision, and what its children are worth."""
        from nascore import evaluate

        found: Found = {} if self.entropy is None else {"entropy": self.entropy}
        if self._gates:
            each = [evaluate.inherited(self.run.task, cells_drawn(self.run, gates)) for gates in self._gates]
            found["drawn"] = sum(one["child_accuracy_recalibrated"] for one in each) / len(each)
        return found

    def history(self) -> Found:
        """How often a leader changed, and for every edge when it last appeared or went, as a share of the search.

        ``born[cell][edge]`` is since when the edge has been there (0: all along), None if it is not there at the end;
        ``died`` is since when it has been gone, None if it is there.
        """
        import numpy as np

        leaders = np.stack(self._leaders)
        found: Found = {"flips": int((leaders[1:] != leaders[:-1]).sum())}
        ops = self.run.task.space.ops
        if "none" in ops:
            found |= lives(leaders != ops.index("none"))
        return found


def cells_drawn(run: Run, gates: NDArray[Any]) -> dict[str, CellGraph]:
    """The child behind a step's gates. The largest gate of a relaxed draw is an exact draw, at any temperature."""
    import torch

    from nascore import controllers

    if run.method.traits.gates == "controller":  # gates count, and an edge may have two operations
        return controllers.cells_of(run.task.space, torch.as_tensor(gates).round().long())
    return run.task.space.decode(gates)


def lives(there: NDArray[np.bool_]) -> Found:
    """``born`` and ``died`` of every edge from whether it was ``there`` [step, cell, edge]: see ``Watch.history``."""
    import numpy as np

    other = there != there[-1]
    since = np.where(other.any(0), len(there) - other[::-1].argmax(0), 0) / len(there)
    kept = there[-1]
    part = lambda wanted: [
        [float(share) if is_wanted else None for share, is_wanted in zip(*row, strict=True)]
        for row in zip(since, wanted, strict=True)
    ]
    return {"born": part(kept), "died": part(~kept)}


def skips(ops: Sequence[str], probs: NDArray[Any]) -> float:
    """Share of the edges on which *skip* is the strongest operation, *none* apart."""
    import numpy as np

    real = np.array([op != "none" for op in ops])
    return float((np.where(real, probs, -np.inf).argmax(-1) == ops.index("skip")).mean())


def search(group: Group) -> list[Found]:
    """Run the searches of a group to their end and measure each on the test images, which nothing else reads."""
    from nascore import methods
    from nascore.run import Knobs, Run
    from nascore.task import make_task
    from nascore.together import RunsTogether

    watches = []
    for setting in group:
        method = methods.get(setting.method)
        knobs = Knobs(**method.knobs)
        knobs.set(**dict(setting.knobs))
        own = {"space": setting.space, "partial": setting.partial}
        task = make_task("digits", seed=setting.seed, epochs=setting.epochs, **own)
        run = Run(method, task, knobs, options=dict(setting.options))
        run.children = False  # the curve measures fewer of them
        watches.append(Watch(run, setting.drawn))
    if len(group) == 1:
        for step in watches[0].run:
            watches[0].see(step)
    else:
        for steps in RunsTogether([watch.run for watch in watches]):
            for watch, step in zip(watches, steps, strict=True):
                watch.see(step)
    return [measure(setting, watch, len(group)) for setting, watch in zip(group, watches, strict=True)]


def measure(setting: Setting, watch: Watch, together: int = 1) -> Found:
    """Everything the claims read of one finished search."""
    import torch

    from nascore import evaluate, ranking

    task, step, own_rule = watch.run.task, watch.last, watch.run.method.own_rule
    assert step is not None
    kept = ["child_cost", "cpu_seconds", "updates", "examples"]
    if watch.run.method.traits.probs == "simplex":  # of other probabilities it says nothing
        kept.append("cost")
    found: Found = {name: float(step.metrics[name]) for name in kept}
    if watch.entropy is not None:
        found["entropy"] = watch.entropy
    found |= watch.history()
    test, gates = task.images("test"), torch.as_tensor(step.gates)
    found["supernet"] = evaluate.accuracy(task.network, test, gates)
    rules = {rule: evaluate.derive(task.space, step, rule) for rule in ("argmax", own_rule)}
    for name, rule in (("argmax", "argmax"), ("own", own_rule)):
        child = evaluate.inherited(task, rules[rule], "test", gates)
        found[f"{name}_stale"] = child["child_accuracy"]
        found[f"{name}_recalibrated"] = child["child_accuracy_recalibrated"]
        found[f"{name}_graphs"] = edges_of(rules[rule])
    found["largest_difference"] = largest_difference(task, rules["argmax"], gates)
    cells = rules["argmax"].values()
    found["edges"] = sum(len(graph.edges) for graph in cells)
    found["lost_nodes"] = sum(not graph.into(node) for graph in cells for node in graph.output)
    found["parameters"] = evaluate.inherit(task, rules["argmax"]).parameter_count()
    found["skips"] = skips(task.space.ops, step.probs)
    found["curve"] = watch.curve
    found["together"] = together
    if setting.ranking:
        found["ranking"] = ranking.inherited(task, splits=("valid", "test"))
    if setting.retrain:
        trained = evaluate.trained(task, rules[own_rule], setting.retrain)
        accuracies = {split: evaluate.accuracy(trained.child, task.images(split)) for split in ("valid", "test")}
        found["retrained"] = accuracies | {
            "parameters": trained.child.parameter_count(),
            "cpu_seconds": trained.cpu_seconds,
            "examples": trained.examples,
        }
    return found


def edges_of(graphs: Mapping[str, CellGraph]) -> dict[str, list[Any]]:
    """The cells as plain lists of (source, target, operation)."""
    return {name: [list(edge) for edge in graph.edges] for name, graph in graphs.items()}


def largest_difference(task: Any, graphs: Mapping[str, CellGraph], gates: Any) -> float:
    """Largest difference between the logits of the supernet under its last gates and those of its argmax child."""
    import torch

    from nascore import evaluate

    child, images = evaluate.inherit(task, graphs, gates).eval(), task.images("test").images
    was_training = task.network.training
    task.network.eval()
    with torch.no_grad():
        difference = (task.network(images, gates) - child(images)).abs().max()
    task.network.train(was_training)
    return float(difference)


# Keeping what was measured ------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """What the figures depend on besides the settings."""
    from importlib import metadata

    asked = ["git", "rev-parse", "--short", "HEAD"]
    told = subprocess.run(asked, check=False, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {"torch": metadata.version("torch"), "python": platform.python_version()} | (
        {"commit": told} if told else {}
    )


def load(cache: Path = CACHE) -> dict[Setting, Found]:
    """Every finished run in ``cache``; half a line, or one of an earlier form, is no finished run."""
    rows = {}
    for line in cache.read_text("utf-8").splitlines() if cache.exists() else ():
        with suppress(json.JSONDecodeError, KeyError, TypeError):
            row = json.loads(line)
            pairs = {name: tuple(map(tuple, row["setting"][name])) for name in ("options", "knobs")}
            rows[Setting(**row["setting"] | pairs)] = row["found"]
    return rows


def keep(cache: Path, setting: Setting, found: Found) -> None:
    """Add a line to ``cache``, on a line of its own even after half a line."""
    line = json.dumps({"setting": asdict(setting), "found": found}, ensure_ascii=False) + "\n"
    with cache.open("ab+") as file:
        if file.tell():
            file.seek(-1, 2)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(line.encode())


def missing(setting: Setting) -> str | None:
    """Why this setting cannot be run: there is no such method, option or knob."""
    from nascore import methods

    if setting.method not in methods.METHODS:
        return f"there is no method {setting.method!r} yet"
    method = methods.get(setting.method)
    for kind, names, known in (
        ("option", dict(setting.options), method.options),
        ("knob", dict(setting.knobs), method.knobs),
    ):
        for name in names:
            if name not in known:
                return f"{setting.method!r} has no {kind} {name!r} yet"
    return None


def work(group: Group) -> tuple[Group, list[Found] | str]:
    """Measure a group, or tell in a sentence why it failed: one search that fails must not stop the others."""
    from nascore.run import tell

    try:
        return group, search(group)
    except Exception as error:
        return group, tell(error)


def prepare() -> None:
    """One thread a process; an interrupt is the parent's to handle."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def complete(groups: Iterable[Group], cache: Path = CACHE, jobs: int = 1) -> dict[Setting, Found]:
    """Run what is missing, ``jobs`` groups at a time, and return every setting that has been measured.

    An interrupt keeps what is finished. What cannot be run, or fails, is told and left out.
    """
    from tqdm import tqdm

    wanted, done = list(groups), load(cache)
    cache.parent.mkdir(parents=True, exist_ok=True)
    todo = []
    for group in wanted:
        reason = missing(group[0])
        if reason:
            tqdm.write(f"{group[0].name}: not measured, {reason}")
        elif any(setting not in done for setting in group):
            todo.append(group)
    told = versions()
    with suppress(KeyboardInterrupt), tqdm(total=len(todo), desc="searches") as bar:
        for group, found in _results(todo, jobs):
            bar.update()
            bar.set_postfix_str(f"{group[0].name}, seed {group[0].seed}")
            if isinstance(found, str):
                tqdm.write(f"{group[0].name}, seed {group[0].seed}: failed, {found}")
                continue
            for setting, row in zip(group, found, strict=True):
                done[setting] = row | {"versions": told}
                keep(cache, setting, done[setting])
    return {setting: done[setting] for group in wanted for setting in group if setting in done}


def _results(todo: Sequence[Group], jobs: int) -> Iterator[tuple[Group, list[Found] | str]]:
    if jobs == 1:
        yield from map(work, todo)
        return
    with get_context("spawn").Pool(jobs, prepare) as pool:
        yield from pool.imap(work, todo)  # in their order, so that an early stop leaves whole seeds


def main() -> None:
    """Command line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", nargs="*", metavar="NAME", help="these alone (default all)")
    parser.add_argument("--jobs", type=int, default=1, help="searches at a time; times are honest with free cores only")
    parser.add_argument("--cache", type=Path, default=CACHE, help="finished searches are kept here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [group for group in grid(arguments.seeds) if group[0].method in (arguments.methods or [group[0].method])]
    rows = complete(wanted, arguments.cache, arguments.jobs)
    seconds = sum(row["cpu_seconds"] for row in rows.values())
    print(f"{len(rows)} searches in {arguments.cache}, {seconds:.0f} s of computing")


if __name__ == "__main__":
    main()
