"""How a network is run: the same numbers by recomputation, near ones in bfloat16, a message where there is no way."""

import weakref
from contextlib import nullcontext

import pytest
import torch
from nets import ENGINES, SPACES, images, seeded, simplex, supernet
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nascore.depthwise import depthwise
from nascore.fused import Trace
from nascore.supernet import frozen_statistics


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
@pytest.mark.parametrize("name", ["TOY", "ONE_INPUT", "ONE_STRIDED"])
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
