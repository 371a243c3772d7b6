"""The fused engine against its specification, the reference: every op, stride, space and mode, to rounding."""

import copy
import functools
import inspect
from itertools import islice
from pathlib import Path

import pytest
import torch
from nets import (
    ENGINES,
    ONE_INPUT,
    SMALL,
    SPACES,
    assert_same,
    gradients_of,
    images,
    one_hot,
    random_graphs,
    seeded,
    simplex,
    supernet,
)
from torch.autograd.graph import saved_tensors_hooks

from nascore import evaluate, gates, methods
from nascore import fused as engine_module
from nascore.errors import UserError
from nascore.fused import FusedCell
from nascore.ops import OPS
from nascore.run import Knobs
from nascore.space import TOY, Space
from nascore.supernet import Child, Supernet, frozen_statistics
from nascore.task import make_task

FAMILIES = {
    "separable": ("sep3", "sep5", "sep7"),
    "dilated": ("dil3", "dil5"),
    "dense": ("conv1", "conv3", "conv3x1_1x3", "conv7x1_1x7"),
    "without weights": ("skip", "avg3", "max3", "max5", "max7", "avg3_bn", "max3_bn"),
    "all": tuple(OPS),
}
every_space = pytest.mark.parametrize("name", SPACES)


@functools.cache
def both(space, cells, channels=2, partial=1):
    """The same network in both engines; kept, as they move alike."""
    net = supernet(space, channels, cells, partial=partial, engine="reference")
    return net, net.converted("fused")


def compare(nets, x, z, training=True, tolerance=1e-11, **given):
    expected, found = (gradients_of(net.train(training), x, z, **given) for net in nets)
    assert_same(found, expected, tolerance)


def channels_of(space, width, seed=3):
    """Positive weights for the channels of every operation."""
    return torch.rand(*space.shape, width, generator=seeded(seed), dtype=torch.float64) + 0.1


# --- the same numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("ops", [*((name,) for name in OPS), *FAMILIES.values()], ids=[*OPS, *FAMILIES])
def test_every_operation(ops, stride, monkeypatch):
    """Alone and beside its like; even, odd and tiny images; an odd number of channels; derivatives of both orders."""
    # A network of one cell: all its edges have stride 1, or those from its inputs 2.
    nets = both(Space(2, 2, ops, reduction="stride" if stride == 2 else "pool"), 1, channels=3)
    for size in ((7, 4), (6, 6), (3, 3), (2, 2), (1, 1)):
        compare(nets, images(size), simplex(nets[0].space), second=size == (7, 4))
    for size in ((7, 4), (1, 1)):
        compare(nets, images(size), simplex(nets[0].space), training=False)
    monkeypatch.setattr(engine_module, "LARGE", 0)  # so that no image is small enough for nodes to go side by side
    for training in (True, False):
        compare(nets, images((7, 4)), simplex(nets[0].space), training)


@every_space
def test_every_space(name, monkeypatch):
    nets = both(*SPACES[name])
    compare(nets, images((5, 7), batch=3), simplex(nets[0].space))
    if name in ("SNAS", "NASNET", "AMOEBA"):  # the same again from operations seen above, and slow
        return
    compare(nets, images(6), simplex(nets[0].space), training=False)
    monkeypatch.setattr(engine_module, "LARGE", 150)  # the first cell's nodes one by one, later ones' side by side
    compare(nets, images((8, 5), batch=3), simplex(nets[0].space))


@pytest.mark.parametrize("name", ["TOY", "NASP_12", "ONE_INPUT", "ONE_STRIDED"])
def test_derivatives_of_second_order(name):
    nets = both(*SPACES[name])
    for training in (True, False):
        compare(nets, images((5, 6), batch=3), simplex(nets[0].space), training, second=True)


@pytest.mark.parametrize("space", [TOY, ONE_INPUT], ids=lambda space: space.name)
def test_weights_of_channels(space):
    """Masks of what operations give and, not negative, of what they read, one a channel or one an operation."""
    nets = both(space, 2, channels=3)
    for more in (
        {"masks": channels_of(space, 3)},
        {"reads": channels_of(space, 3)},
        {"masks": channels_of(space, 1), "reads": channels_of(space, 1, seed=4)},
    ):
        for training in (True, False):
            compare(nets, images((5, 6)), simplex(space), training, **more)


def test_channels_that_are_not_read():
    """Weights of 0 and masks of any sign. At 0 the derivative towards a read is one-sided: fused gives it, not 0."""
    reads, z = channels_of(TOY, 3, seed=4).round(), simplex(TOY)
    assert 0.2 < (reads == 0).double().mean() < 0.8
    reference, fused = (
        gradients_of(net.train(), images((5, 6)), z, channels_of(TOY, 3) - 0.6, reads) for net in both(TOY, 2, 3)
    )
    above = gradients_of(both(TOY, 2, 3)[0], images((5, 6)), z, channels_of(TOY, 3) - 0.6, reads.clamp(min=1e-9))
    torch.testing.assert_close(fused.pop("reads"), above["reads"], rtol=0, atol=1e-5)
    reference.pop("reads")
    assert_same(fused, reference)


@pytest.mark.parametrize("stride", [1, 2])
def test_weights_of_channels_of_every_operation(stride):
    space = Space(2, 2, tuple(OPS), reduction="stride" if stride == 2 else "pool")
    width = 3 * stride  # reductions by stride double the channels
    more = {"masks": channels_of(space, width), "reads": channels_of(space, width, seed=4)}
    compare(both(space, 1, channels=3), images((7, 4)), simplex(space), **more)


@pytest.mark.parametrize("name", ["TOY", "DARTS", "ONE_STRIDED"])
def test_part_of_the_channels(name):
    """One channel in 4, or in 2, through the operations; even and odd images; with masks and reads."""
    nets = both(*SPACES[name], channels=4, partial=4)
    compare(nets, images((5, 7), batch=3), simplex(nets[0].space))
    if name == "DARTS":
        return
    compare(nets, images(6), simplex(nets[0].space), training=False)
    nets, space = both(*SPACES[name], channels=4, partial=2), nets[0].space
    more = {"masks": channels_of(space, 2), "reads": channels_of(space, 2, seed=4)} if name == "TOY" else {}
    for training in (True, False):
        compare(nets, images((6, 3)), simplex(space), training, **more)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["channels first", "last"])
def test_images_may_lie_in_any_order(layout):
    nets = both(TOY, 2)
    compare(nets, images().contiguous(memory_format=layout), simplex(TOY))
    crossed = images().transpose(2, 3)
    compare(nets, crossed, simplex(TOY))


def test_single_precision():
    """What a search runs in: other kernels of the library than float64, the same numbers to their rounding."""
    for reduction in ("stride", "pool"):
        space = Space(2, 2, tuple(OPS), reduction=reduction)
        nets = [net.float() for net in copy.deepcopy(both(space, 1, channels=3))]
        for training in (True, False):
            expected, found = (gradients_of(n.train(training), images(8).float(), simplex(space).float()) for n in nets)
            assert_same(found, expected, 1e-4)


@pytest.mark.parametrize("op", ["conv3", "sep3", "skip"])
def test_one_operation_on_one_edge(op):
    """Its scale is one number for all channels: torch's gradient of batch norm, channels last, would misread it."""
    # Three cells: behind the last one comes a mean over pixels, whose gradient does not lie channels last.
    for space in (Space(1, 1, (op,), ("cell",), "pool"), Space(1, 1, (op, "max3"), ("cell",))):
        for size in (8, 3):
            compare(both(space, 3, channels=4), images(size), simplex(space) + 0.5, second=True)


def test_images_of_one_channel():
    """They lie the same channels first and last."""
    nets = [Supernet(TOY, 3, 2, 5, 1, engine="reference").double()]
    nets.append(nets[0].converted("fused"))
    for x in (images()[:, :1], images()[:, :1].contiguous(), images((5, 3))[:, 1:2]):
        compare(nets, x, simplex(TOY))


# --- statistics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TOY", "ONE_STRIDED"])
@pytest.mark.parametrize("large", [0, engine_module.LARGE])
def test_statistics_anew_as_a_plain_mean(name, large, monkeypatch):
    """Recalibration, where batch norm's momentum is None, counts its batches."""
    monkeypatch.setattr(engine_module, "LARGE", large)
    nets = [copy.deepcopy(net).train() for net in both(*SPACES[name])]
    z = simplex(nets[0].space)
    for net in nets:
        net(images(seed=8), z)
        evaluate.recalibrate(net, [images(seed=seed, batch=3) for seed in range(3)], z)
    assert_same(*(dict(net.converted("reference").state_dict()) for net in nets))
    for name, value in nets[1].state_dict().items():
        assert not name.endswith("num_batches_tracked") or (value == 3).all()
    assert all(net.training for net in nets)


def test_statistics_stay_where_they_are_asked_to():
    nets = [copy.deepcopy(net).train() for net in both(*SPACES["SNAS"])]
    before = copy.deepcopy(nets[1].state_dict())
    outs = []
    for net in nets:
        with frozen_statistics(net):
            outs.append(net(images(6), simplex(net.space)))
    torch.testing.assert_close(*outs, rtol=0, atol=1e-11)
    assert all(torch.equal(value, before[name]) for name, value in nets[1].state_dict().items())


# --- conversion and copies -------------------------------------------------------------------------------------------


def identical(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize("name", ["TOY", "DARTS", "NASP_12", "AMOEBA", "ONE_INPUT", "ONE_STRIDED"])
def test_a_round_trip_changes_no_bit(name):
    nets = both(*SPACES[name])
    for net in nets:
        net.train()(images(6), simplex(net.space))  # statistics of their own
    state = torch.get_rng_state()
    there = nets[0].converted("fused")
    assert identical(there.converted("reference").state_dict(), nets[0].state_dict())
    assert sum(p.numel() for p in there.parameters()) == sum(p.numel() for p in nets[0].parameters())
    if len(there.cells) == 2 or name == "NASP_12":
        assert identical(nets[1].converted("reference").converted("fused").state_dict(), nets[1].state_dict())
    assert torch.equal(torch.get_rng_state(), state)  # no random number was drawn


@pytest.mark.parametrize("name", ["TOY", "NASP_12"])
def test_the_same_seed_gives_the_same_numbers(name):
    space, cells = SPACES[name]
    fused, reference = (supernet(space, 2, cells, seed=4, engine=engine) for engine in ("fused", "reference"))
    assert identical(fused.converted("reference").state_dict(), reference.state_dict())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_conversion_keeps_the_mode(engine, training):
    net = supernet(ONE_INPUT, engine=engine).train(training)
    for other in ENGINES:
        converted = net.converted(other)
        assert converted.engine == other
        assert {module.training for module in converted.modules()} == {training}


@pytest.mark.parametrize("engine", ENGINES)
def test_conversions_and_copies_share_no_memory(engine):
    net, x, z = supernet(engine=engine), images(), simplex(TOY)
    out = net.eval()(x, z)
    for other in (net.converted("fused"), net.converted("reference"), copy.deepcopy(net)):
        torch.testing.assert_close(other(x, z), out, rtol=0, atol=1e-12)
        other.train()(x, z).sum().backward()
        with torch.no_grad():
            for tensor in other.parameters():
                tensor.add_(1)
        assert torch.equal(net(x, z), out)
        assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_dict_makes_another_network_the_same(engine):
    net, other = supernet(SMALL, cells=3, engine=engine), supernet(SMALL, cells=3, seed=1, engine=engine)
    net(images(6), simplex(SMALL))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net.eval()(images(6), simplex(SMALL)), other.eval()(images(6), simplex(SMALL)))


@pytest.mark.parametrize("name", ["TOY", "SNAS", "NASP_12", "ONE_STRIDED"])
def test_a_child_inherits_the_same_from_both(name):
    nets = both(*SPACES[name])
    for seed in range(2):
        graphs = random_graphs(nets[0].space, seed)
        one, other = (Child.inherit(net.train(), graphs) for net in nets)
        # Statistics have moved in each engine on its own, so they agree to rounding; weights exactly.
        assert_same(dict(other.state_dict()), dict(one.state_dict()))
        assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))
        found = nets[1].eval()(images(6), one_hot(nets[0].space, graphs))
        torch.testing.assert_close(other.eval()(images(6)), found, rtol=0, atol=1e-12)


# --- what it costs ---------------------------------------------------------------------------------------------------


def saved_bytes(net, x, z, **given):
    """Bytes that a forward pass keeps for the backward pass, each piece of memory once."""
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor  # alive with the graph, so that no address comes twice

    with saved_tensors_hooks(note, lambda tensor: tensor):
        out = net(x, z, **given)
    assert out.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize(("name", "size"), [("TOY", 8), ("DARTS", 8), ("DARTS", 16)])
def test_it_keeps_no_more_memory_than_the_reference(name, size):
    space, cells = SPACES[name]
    reference, fused = both(space, cells, channels=4)
    x, z = images(size, batch=16), simplex(space).requires_grad_()
    assert saved_bytes(fused.train(), x, z) <= saved_bytes(reference.train(), x, z)


# --- devices ---------------------------------------------------------------------------------------------------------


@every_space
def test_a_step_runs_on_the_meta_device(name):
    """Where there are no values: nothing that is computed depends on reading one."""
    space, cells = SPACES[name]
    net = both(space, cells)[1].converted("fused").train().float().to("meta")
    with torch.device("meta"):
        z, x = torch.rand(space.shape).requires_grad_(), torch.rand(2, 3, 8, 8)
        net(x, z).sum().backward()
    assert z.grad.shape == space.shape
    assert all(p.grad.shape == p.shape for p in net.parameters())
    assert Child.inherit(net, random_graphs(space, 0))(x).shape == (2, 5)


@pytest.mark.parametrize("name", ["snas", "darts", "random"])
def test_a_search_step_reads_the_device_through_active_alone(name, monkeypatch):
    reads = []
    active = gates.active
    monkeypatch.setattr(gates, "active", lambda z: reads.append(z) or active(z))
    method = methods.get(name)
    task = make_task("digits", epochs=1, device="meta", space="DARTS", channels=4, cells=1, measure_every=2)
    for step in islice(method(task, Knobs(**method.knobs)), 4):
        assert step.metrics["loss"].is_meta
        assert len(reads) <= 1
        reads.clear()


@pytest.mark.parametrize("name", ["snas", "darts", "random"])
def test_the_engine_reads_no_values(name, monkeypatch):
    """As on ``meta``, but on the CPU, where a read would go unnoticed."""
    for reader in ("item", "tolist", "numpy", "cpu", "nonzero", "__float__", "__int__", "__bool__", "__index__"):
        original = getattr(torch.Tensor, reader)

        def spy(self, *args, original=original, reader=reader, **kwargs):
            callers = {Path(frame.filename).name for frame in inspect.stack()[1:3]}
            assert not callers & {"fused.py", "depthwise.py", "ops.py"}, reader
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, reader, spy)
    method = methods.get(name)
    task = make_task("digits", epochs=1, channels=4)
    for _ in islice(method(task, Knobs(**method.knobs)), 3):
        pass


# --- wrong arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Supernet(TOY, 4, 2, 5, 3, engine="fusd"), r"engine: 'fusd' is not one of .*Did you mean 'fused'"),
        (lambda: supernet().converted("refrence"), r"engine: 'refrence' is not one of .*Did you mean 'reference'"),
        (
            lambda: supernet()(images(), torch.ones(2, 5, 4)),
            r"gates: the shape is \(2, 5, 4\); this supernet's is \(2, 5, 5\)",
        ),
        (lambda: supernet(partial=3), "partial: 4 channels cannot be parted into 3 equal shares"),
    ],
)
def test_a_wrong_argument_gets_a_sentence(call, says):
    with pytest.raises(UserError, match=says):
        call()


def test_every_part_of_the_supernet_is_fused():
    assert all(isinstance(cell, FusedCell) for cell in Supernet(TOY, 4, 2, 5, 3).cells)
