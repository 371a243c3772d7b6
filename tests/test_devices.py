"""How a network is run: the same numbers by recomputation, near ones in bfloat16, a message where there is no way."""

import json
import subprocess
import sys
import warnings
import weakref
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from traceback import extract_stack

import numpy as np
import pytest
import torch
from nets import ENGINES, SPACES, images, seeded, simplex, supernet
from torch import nn
from torch._inductor import config as inductor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nascore import credit, devices, gates, methods, runner
from nascore.__main__ import main
from nascore.depthwise import depthwise
from nascore.devices import Execution
from nascore.errors import LeftOut, UserError
from nascore.fused import Trace
from nascore.jobs import search
from nascore.record import Recording
from nascore.run import HALF_PHASES, Knobs
from nascore.supernet import frozen_statistics
from nascore.task import make_task
from nascore.together import Together

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
METHODS = [("snas", {}), ("darts", {}), ("darts", {"level": "single"}), ("random", {})]
every_method = pytest.mark.parametrize(("method", "options"), METHODS)
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def begun(task, method, options):
    """A method after two whole steps: what is made once is there."""
    function, whole = methods.get(method), 0
    iterator = function(task, Knobs(**function.knobs), **options)
    while whole < 2:
        whole += next(iterator).phase not in HALF_PHASES
    return iterator


class Alive(TorchDispatchMode):
    """Bytes of the storages that operations have made and nobody has let go of; ``peak`` is their most."""

    def __init__(self):
        super().__init__()
        self.bytes, self.peak, self.known = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.bytes += storage.nbytes()
                    self.peak = max(self.peak, self.bytes)
                    weakref.finalize(storage, self.free, storage._cdata, storage.nbytes())
        return out

    def free(self, key, size):
        self.known.discard(key)
        self.bytes -= size


# Recomputation -------------------------------------------------------------------------------------------------------


def derivatives(net, space, frozen):
    """Class scores, first and second derivatives, and batch norm's statistics after them."""
    z, x = simplex(space).requires_grad_(), images(batch=3).requires_grad_()
    leaves = [z, x, *net.parameters()]
    with frozen_statistics(net) if frozen else nullcontext():
        y = net(x, z)
    first = torch.autograd.grad(y.square().mean(), leaves, create_graph=True, allow_unused=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first if g is not None), leaves, allow_unused=True)
    return y, *first, *second, *net.buffers()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["TOY", "ONE_STRIDED"])
def test_recomputation_changes_no_number(name, engine):
    space, cells = SPACES[name]
    for frozen in (False, True):
        plain, sparing = (supernet(space, cells=cells, engine=engine) for _ in range(2))
        sparing.checkpoint = True
        before = [buffer.clone() for buffer in plain.buffers()]
        expected, found = derivatives(plain, space, frozen), derivatives(sparing, space, frozen)
        for one, other in zip(expected, found, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
        moved = [not torch.equal(a, b) for a, b in zip(before, sparing.buffers(), strict=True)]
        assert any(moved) != frozen


@pytest.mark.parametrize("engine", ENGINES)
def test_recomputation_keeps_less(engine):
    space, _ = SPACES["ONE_STRIDED"]
    kept, peak = [], []
    for checkpoint in (False, True):
        net, z, x = supernet(space, cells=9, engine=engine), simplex(space).requires_grad_(), images(16)
        net.checkpoint = checkpoint
        with Alive() as alive:
            loss = net(x, z).square().mean()
            kept.append(alive.bytes)
            loss.backward()
        peak.append(alive.peak)
    assert kept[1] < kept[0] / 10
    assert peak[1] < peak[0] / 2


def test_a_trace_is_kept_whole():
    """The credit of all operations needs the nodes of the first pass."""
    space, _ = SPACES["TOY"]
    found = []
    for checkpoint in (False, True):
        net, trace = supernet(space), Trace()
        net.checkpoint = checkpoint
        net(images(), simplex(space), trace=trace).square().mean().backward()
        found.append(net.marginals(trace))
    assert torch.equal(*found)


# bfloat16 ------------------------------------------------------------------------------------------------------------


def apart(one, other):
    """‖one − other‖ / ‖other‖ over all tensors together."""
    pairs = [(a.detach().float(), b.detach()) for a, b in zip(one, other, strict=True) if b is not None]
    return float(sum((a - b).square().sum() for a, b in pairs) / sum(b.square().sum() for _, b in pairs)) ** 0.5


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_depthwise_in_bfloat16(kernel, stride, dilation):
    """Output, gradients and second derivatives are float32's but for the eight bits of a bfloat16."""
    for side in (8, 5):
        x = torch.randn(4, 6, side, side, generator=seeded(0), requires_grad=True)
        w = torch.randn(6, 1, kernel, kernel, generator=seeded(1), requires_grad=True)
        found = []
        for cast in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                y = depthwise(x, w, stride, dilation)
            assert y.dtype == (torch.bfloat16 if cast else torch.float32)
            loss = (y.float() * torch.randn(y.shape, generator=seeded(2))).sum() + y.float().square().sum()
            first = torch.autograd.grad(loss, [x, w], create_graph=True)
            found.append((y, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), [x, w])))
        assert {tensor.dtype for tensor in found[1][1:]} == {torch.float32}
        for one, other in zip(*found[::-1], strict=True):
            assert apart([one], [other]) < 2**-6


def test_autocast_leaves_float64_alone():
    x, w = images(), torch.randn(3, 1, 5, 5, generator=seeded(0), dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        y = depthwise(x, w)
    torch.testing.assert_close(y, F.conv2d(x, w, padding=2, groups=3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("space", ["TOY", "ONE_STRIDED"])
def test_a_network_in_bfloat16(space):
    """As near to float32 as the reference's own autocast; weights, statistics, gradients and losses stay float32."""
    space, cells = SPACES[space]
    distance = {}
    for engine in ENGINES:
        found = []
        for precision in ("float32", "bf16"):
            task = make_task("digits", space=space, cells=cells, precision=precision)
            task.network = task.network.converted(engine)
            z = torch.rand(space.shape, generator=seeded(0)).softmax(-1).requires_grad_()
            leaves = [z, *task.network.parameters()]
            loss = task.loss(task.batch("train"), z)
            first = torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
            second = torch.autograd.grad(sum(g.square().sum() for g in first if g is not None), z)
            found.append(([loss], list(task.network.buffers()), first[:1], first[1:], second))
            assert {x.dtype for x in (loss, *leaves, *first, *second) if x is not None} == {torch.float32}
            assert {x.dtype for x in task.network.buffers()} == {torch.float32, torch.int64}
        distance[engine] = [apart(one, other) for one, other in zip(*found[::-1], strict=True)]
    for reference, fused in zip(*(distance[engine] for engine in ENGINES), strict=True):
        assert 0 < fused < max(1.5 * reference, 0.01)


def test_batch_norm_computes_in_float32():
    """The statistics of bfloat16 values are those of the same values in float32, far from what eight bits hold."""
    x, norms = (torch.randn(64, 3, 8, 8, generator=seeded(0)) + 100).bfloat16(), []
    for image in (x, x.float()):
        norms.append(nn.BatchNorm2d(3))
        with torch.autocast("cpu", torch.bfloat16):
            norms[-1](image)
    for one, other in zip(*(norm.buffers() for norm in norms), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_complete_credit_in_bfloat16():
    found = []
    for precision in ("float32", "bf16"):
        task, trace = make_task("digits", precision=precision), Trace()
        z = gates.uniform_one_hot(torch.tensor(task.space.allowed), task.noise)
        task.loss(task.batch("train"), z, active=z, trace=trace).backward(inputs=trace.nodes)
        found.append(credit.complete(task.network, trace))
    assert {x.dtype for x in found} == {torch.float32}
    assert 0 < apart(found[1:], found[:1]) < 0.1


# Options -------------------------------------------------------------------------------------------------------------


def test_nothing_is_on_unless_asked_for():
    report = Execution(CPU).report()
    assert report | {"name": ""} == {
        "device": "cpu",
        "name": "",
        "precision": "float32",
        "compile": False,
        "cuda_graphs": False,
        "checkpoint": False,
        "left_out": {},
    }


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"precision": "tf32"}, "precision: 'tf32' was asked for, but .* is no NVIDIA GPU .*; float32 is used"),
        ({"compile": True}, "compile: True was asked for, but off a GPU .* minutes .*'force'.*; it is left out"),
        ({"cuda_graphs": True}, "cuda_graphs: True was asked for, but .* is no NVIDIA GPU; it is left out"),
        ({"compile": "force", "checkpoint": True}, "compile: 'force' was asked for, but .* leave checkpoint off"),
    ],
)
def test_what_a_device_cannot_do_is_left_out_with_one_message(device, asked, message):
    with pytest.warns(LeftOut, match=message) as told:
        execution = Execution(torch.device(device), **asked)
    assert len(told) == 1
    (option,) = execution.left_out
    assert execution.uses(option) in (False, "float32")
    assert execution.report()[option] == asked[option]
    assert execution.report()["left_out"][option] in str(told[0].message)


def test_bfloat16_needs_a_device_that_multiplies_it():
    with pytest.warns(LeftOut, match="'bf16' was asked for, but the device meta has no products in bfloat16; float32"):
        Execution(torch.device("meta"), "bf16")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"precision": "bf61"}, "precision: 'bf61' is not one of bf16, float32, tf32. Did you mean 'bf16'"),
        ({"precision": 16}, "precision: 16 is not one of bf16, float32, tf32"),
        ({"compile": "forse"}, "compile: 'forse' is not one of 0, 1, false, force, true. Did you mean 'force'"),
        ({"checkpoint": "force"}, "checkpoint: 'force' is not one of 0, 1, false, true"),
        ({"cuda_graphs": 2}, "cuda_graphs: '2' is not one of 0, 1, false, true"),
        ({"cuda_graph": True}, "task option: 'cuda_graph' is not one of .* Did you mean 'cuda_graphs'"),
    ],
)
def test_wrong_values_get_a_sentence(asked, message):
    with pytest.raises(UserError, match=message):
        make_task("digits", **asked)


def test_a_run_records_what_was_asked_and_what_was_done(tmp_path):
    with pytest.warns(LeftOut, match="tf32"):
        recording = search(
            "snas", epochs=1, channels=4, batch_size=200, precision="tf32", checkpoint=True, record=tmp_path / "a"
        )
    assert recording.meta["settings"] == {"channels": 4, "batch_size": 200, "precision": "tf32", "checkpoint": True}
    execution = recording.meta["execution"]
    assert (execution["precision"], execution["checkpoint"], list(execution["left_out"])) == (
        "tf32",
        True,
        ["precision"],
    )
    plain = search("snas", epochs=1, channels=4, batch_size=200, record=tmp_path / "b")
    assert np.array_equal(recording.column("probs"), plain.column("probs"))  # recomputation changes nothing


def test_bfloat16_steps_end_to_end(tmp_path):
    for method, options in METHODS[:2] + METHODS[3:]:
        recording = search(
            method, epochs=1, batch_size=200, precision="bf16", record=tmp_path / f"{method}.sqlite", **options
        )
        assert recording.status == "finished"
        assert recording.meta["execution"]["left_out"] == {}


def test_a_batch_of_runs_takes_the_options():
    """Losses and gradients of each run are those of the run alone under the same options."""
    for asked in ({"checkpoint": True}, {"precision": "bf16"}):
        alone, tasks = ([make_task("digits", seed=seed, **asked) for seed in (0, 1)] for _ in range(2))
        batch = Together(tasks)
        z = torch.rand(2, *batch.space.shape, generator=seeded(0)).softmax(-1).requires_grad_()
        losses = batch.loss(batch.batch("train"), z)
        (gradients,) = torch.autograd.grad(losses.sum(), z)
        for task, own, loss, gradient in zip(alone, z, losses, gradients, strict=True):
            expected = task.loss(task.batch("train"), own)
            bound = 1e-4 if "checkpoint" in asked else 0.05
            assert apart([loss], [expected]) < bound
            assert apart([gradient], torch.autograd.grad(expected, own)) < bound
        assert batch.network.checkpoint == asked.get("checkpoint", False)


def test_the_command_line_takes_switches_without_a_value(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = "search snas --epochs 1 --channels 4 --batch_size 200 --compile --precision=tf32 --record a --checkpoint"
    with warnings.catch_warnings():
        warnings.simplefilter("always", LeftOut)
        assert main(line.split()) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "asked for" in line]
    assert [line.split(":")[0] for line in told] == ["precision", "compile"]
    assert Recording.open("a").meta["settings"] == {
        "channels": 4,
        "batch_size": 200,
        "compile": True,
        "precision": "tf32",
        "checkpoint": True,
    }
    assert main(["search", "snas", "--precision", "b16"]) == 2
    assert "precision: 'b16' is not one of" in capsys.readouterr().err
    assert main(["search", "snas", "--precision"]) == 2
    assert "precision: a value is missing" in capsys.readouterr().err
    assert main(["search", "snas", "--help"]) == 0
    assert "bf16 (autocast)" in capsys.readouterr().out


def test_tf32_is_switched_for_the_step_and_back():
    """Only the switches: what they do takes a GPU."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    for before in (False, True):
        products.allow_tf32 = convolutions.allow_tf32 = before
        for precision in ("float32", "tf32"):
            execution = Execution(CPU)
            execution.asked["precision"], execution.device = precision, CUDA
            old = products.fp32_precision, convolutions.conv.fp32_precision
            with execution.arithmetic():
                assert products.allow_tf32 == convolutions.allow_tf32 == (precision == "tf32")
            assert (products.fp32_precision, convolutions.conv.fp32_precision) == old
    products.allow_tf32, convolutions.allow_tf32 = False, True  # as torch begins


# Compilation ---------------------------------------------------------------------------------------------------------


def apart_from_plain(device, **asked):
    """What ``tests/compiling.py`` tells."""
    program = Path(__file__).with_name("compiling.py")
    done = subprocess.run([sys.executable, program, device, json.dumps(asked)], check=True, capture_output=True)
    return json.loads(done.stdout)


def test_a_compiled_supernet_gives_the_same_numbers():
    told = apart_from_plain("cpu", compile="force")
    assert told["left_out"] == {}
    assert told["modes"] == ["default"]
    assert told["apart"] < 1e-5


def test_a_compiler_that_fails_is_left_out():
    network, x = nn.Sequential(nn.Linear(5, 4), nn.ReLU()), torch.randn(3, 5)
    execution = Execution(CPU, compile="force")
    broken = inductor.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    with broken, pytest.warns(LeftOut, match="compile: 'force' .* torch could not do it .*No working C") as told:
        assert torch.equal(execution.compiled(network)(x), network(x))
    assert len(told) == 1
    assert execution.compiled(network) is network


# Transfers -----------------------------------------------------------------------------------------------------------


class Waits(TorchFunctionMode):
    """Refuses every way to another device but ``devices.move``, by which nothing waits."""

    class Crossings(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            Waits.check(function, tree_leaves((args, kwargs, out)))
            return out

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or CPU) != CPU:
            raise AssertionError(f"{function} copies to the device, and the CPU waits")
        return function(*args, **kwargs)

    @staticmethod
    def check(function, leaves):
        if len({x.device for x in leaves if isinstance(x, torch.Tensor) and x.dim()}) > 1:
            allowed = any(f.name == "move" and Path(f.filename) == Path(devices.__file__) for f in extract_stack())
            assert allowed, f"{function} crosses devices"


@pytest.mark.parametrize("checkpoint", [False, True])
@every_method
def test_a_step_waits_for_no_transfer(method, options, checkpoint):
    """On ``meta`` nothing can be read; and all that goes there goes by ``move``."""
    task = make_task("digits", epochs=1, device="meta", measure_every=2, checkpoint=checkpoint)
    iterator = begun(task, method, options)
    with Waits(), Waits.Crossings():
        found = list(islice(iterator, 4))
    assert all(step.probs.is_meta for step in found)


def test_the_worker_does_not_spin(monkeypatch):
    environment = {}

    def refuse(*_, env, **__):
        environment.update(env)
        raise FileNotFoundError

    monkeypatch.setattr(runner.subprocess, "Popen", refuse)
    with pytest.raises(FileNotFoundError):
        runner._Process(print)
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


# With a GPU ----------------------------------------------------------------------------------------------------------


@gpu
@every_method
def test_a_step_does_not_wait_for_the_gpu(method, options, monkeypatch):
    """But in ``gates.active``, which reads it."""
    active = gates.active

    def reading(z):
        torch.cuda.set_sync_debug_mode("default")
        found = active(z)
        torch.cuda.set_sync_debug_mode("error")
        return found

    task = make_task("digits", epochs=1, device="cuda", measure_every=10**6)
    iterator = begun(task, method, options)
    monkeypatch.setattr(gates, "active", reading)
    torch.cuda.set_sync_debug_mode("error")
    try:
        next(iterator)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@gpu
@pytest.mark.parametrize(
    ("asked", "bound"),
    [
        ({"precision": "bf16"}, 0.1),
        ({"precision": "tf32"}, 0.02),
        ({"compile": True}, 1e-3),
        ({"cuda_graphs": True}, 1e-3),
        ({"compile": True, "cuda_graphs": True}, 1e-3),
        ({"checkpoint": True}, 1e-3),
    ],
)
def test_options_on_the_gpu(asked, bound):
    told = apart_from_plain("cuda", **asked)
    assert told["left_out"] == {}
    assert told["apart"] < bound
