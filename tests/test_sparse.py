"""Sparse paths, the credit of all operations at a discrete point, and networks side by side."""

import copy
import functools

import numpy as np
import pytest
import torch
from nets import (
    ONE_STRIDED,
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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from nascore import credit, evaluate, gates
from nascore import fused as engine_module
from nascore.errors import UserError
from nascore.fused import Trace
from nascore.ops import OPS, Convolutions, Pool
from nascore.space import TOY
from nascore.supernet import Child, Supernet, batch_norms, frozen_statistics
from nascore.task import make_task

every_space = pytest.mark.parametrize("name", SPACES)
POOLS = {name for name, op in OPS.items() if isinstance(op, Pool)}


@functools.cache
def prepared(space, cells, channels=2, partial=1):
    """A fused network with statistics of its own, and its state in its own terms and in those of the reference."""
    net = supernet(space, channels, cells, partial=partial).train()
    net(images(6, seed=9), simplex(space, seed=9))
    return net, copy.deepcopy(net.state_dict()), net.converted("reference").state_dict()


def fresh(*arguments, training=True, **options):
    """The network as it was prepared, without gradients."""
    net, state, _ = prepared(*arguments, **options)
    net.load_state_dict(state)
    net.zero_grad()
    return net.train(training)


def drawn(space, kind, seed=0):
    """Gates and which of them are active: one operation an edge, by index; or several, by truth values.

    Of the several some edges have two or more, some none, and nothing at all feeds the second node.
    """
    rng = np.random.default_rng(seed)
    if kind == "one-hot":
        scores = torch.from_numpy(np.where(space.allowed, rng.random(space.shape), -1))
        return gates.one_hot(scores), gates.active(scores)
    table = space.allowed & (rng.random(space.shape) < 2.5 / space.allowed.sum(-1, keepdims=True))
    table[:, [target == space.inputs + 1 for _, target in space.edges]] = False
    assert (table.sum(-1) > 1).any()
    assert (table.sum(-1) == 0).any()
    return torch.from_numpy(np.where(table, rng.random(space.shape) + 0.2, 0)), table


def truth(space, active):
    """``active`` as truth values, without *none*."""
    table = np.asarray(active)
    table = table if table.dtype == bool else np.eye(len(space.ops), dtype=bool)[table]
    return table & np.array([op != "none" for op in space.ops])


def moved(net, table):
    """Names in the reference of the batch norms of active operations; pools of one node share theirs."""
    places = []
    for c, plan in enumerate(net.plans):
        live = {edge for edge in net.graphs[plan.row].edges if table[plan.row][place(net.space, edge)]}
        pools = {(source, op) for source, _, op in live if op in POOLS}
        for i, (source, target, op) in enumerate(net.graphs[plan.row].edges):
            if (source, target, op) in live or (source, op) in pools:
                places.append(f"cells.{c}.ops.{i}.")
    return tuple(places)


def place(space, edge):
    return space.edges.index(edge[:2]), space.ops.index(edge[2])


# --- the same numbers ------------------------------------------------------------------------------------------------


SLOW = ("SNAS", "NASNET", "AMOEBA")  # and made of operations that other spaces have


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in SPACES for kind in ("several", "one-hot")[: 1 if name in SLOW else 2]]
)
def test_what_is_active_equals_the_dense_network(name, kind):
    """Outputs, gradients towards images, gates and weights, and statistics; those of the others do not change."""
    arguments = SPACES[name]
    z, active = drawn(arguments[0], kind)
    before = prepared(*arguments)[2]
    for training, size in ((True, (5, 7)), (False, 6))[: 1 if name in SLOW else 2]:
        dense = gradients_of(fresh(*arguments, training=training), images(size, 3), z)
        net = fresh(*arguments, training=training)
        sparse = gradients_of(net, images(size, 3), z, active=active)
        table = truth(net.space, active)
        assert (sparse["gates"][torch.from_numpy(~table)] == 0).all()
        dense["gates"] *= torch.from_numpy(table)
        for key, value in before.items():
            still = key.startswith("cells") and ".ops." in key and not key.startswith(moved(net, table))
            if still and "weight" in key:
                assert (sparse[key] == 0).all(), key
            elif still:  # running statistics and the count of batches
                assert torch.equal(sparse.pop(key), value), key
                dense.pop(key)
        assert_same(sparse, dense, 1e-12)


@pytest.mark.parametrize("name", ["TOY", "SNAS", "NASP_12", "NASNET", "ONE_STRIDED"])
def test_one_active_operation_an_edge_equals_the_child(name):
    arguments = SPACES[name]
    for seed, training in ((0, True), (1, False)):
        net = fresh(*arguments, training=training)
        graphs = random_graphs(net.space, seed)
        z, child = one_hot(net.space, graphs), Child.inherit(net, graphs)
        found = net(images((7, 6)), z, active=z.argmax(-1).tolist())
        assert (found - child(images((7, 6)))).abs().max() <= 1e-12
        for c, cell in enumerate(child.cells):
            for module, edge in zip(cell.ops, cell.graph.edges, strict=True):
                for own, other in zip(module.buffers(), net.cells[c].operation(edge).buffers(), strict=True):
                    torch.testing.assert_close(own, other, rtol=0, atol=1e-12)


def test_masks_reads_and_partial_channels_of_active_operations():
    z, active = drawn(TOY, "several")
    width = [torch.rand(*TOY.shape, 2, generator=seeded(seed), dtype=torch.float64) + 0.1 for seed in (3, 4)]
    for arguments in ((TOY, 2, 2), (TOY, 2, 4, 2)):
        more = dict(zip(("masks", "reads"), width, strict=True))
        dense = gradients_of(fresh(*arguments), images(5), z, **more)
        sparse = gradients_of(fresh(*arguments), images(5), z, active=active, **more)
        for name in ("output", "images", "stem.0.0.weight"):
            assert_same({name: sparse[name]}, {name: dense[name]}, 1e-12)


def test_what_is_active_may_be_said_in_three_ways():
    net = fresh(TOY, 2, training=False)
    z, active = drawn(TOY, "one-hot")
    expected = net(images(), z)
    for said in (active, np.array(active), torch.tensor(active), z != 0, truth(TOY, active), z):
        torch.testing.assert_close(net(images(), z, active=said), expected, rtol=0, atol=1e-12)
    everything = np.ones(TOY.shape, dtype=bool)
    torch.testing.assert_close(net(images(), simplex(TOY), active=everything), net(images(), simplex(TOY)))
    reference = net.converted("reference")
    torch.testing.assert_close(reference(images(), z, active=active), expected, rtol=0, atol=1e-12)


def test_a_plain_mean_over_batches_needs_the_same_operations_in_each():
    class Sparse(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = copy.deepcopy(fresh(TOY, 2))

        def forward(self, x):
            return self.net(x, z, active=active)

    z, active = drawn(TOY, "one-hot")
    net, child = Sparse(), Child.inherit(fresh(TOY, 2), TOY.decode(z))
    for each in (net, child):
        evaluate.recalibrate(each, [images(seed=seed) for seed in range(3)])
    torch.testing.assert_close(net.eval()(images()), child.eval()(images()), rtol=0, atol=1e-12)
    for norm in batch_norms(net):
        norm.momentum = None
    active = np.ones(TOY.shape, dtype=bool)
    with pytest.raises(UserError, match=r"active: a plain mean over batches needs .*; these saw 1 to 4 of them\."):
        net.train()(images())


# --- what it costs ---------------------------------------------------------------------------------------------------


class Pools(TorchDispatchMode):
    """Counts pools that run."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += any(name in str(function) for name in ("max_pool2d", "avg_pool2d"))
        return function(*args, **(kwargs or {}))


def padding(net, graphs, size):
    """Multiply-adds by zeros: kernels of one family are as large as the largest, and halvings are 2×2."""
    total = 0
    for plan, before, after in net.sizes(size):
        edges = [edge for edge in graphs[net.space.cells[plan.row]].edges if edge[2] != "none"]
        pixels, inputs = after[0] * after[1], len(plan.inputs)
        total += sum(3 * width * plan.channels * before[0] * before[1] for width, stride in plan.inputs if stride == 2)
        for source, _, name in edges:
            strided = plan.stride == 2 and source < inputs
            if name == "skip" and strided:
                total += 3 * plan.channels**2 * pixels
            if isinstance(OPS[name], Convolutions) and name[:3] in ("sep", "dil"):
                largest = max(int(op[3:]) for start, _, op in edges if start == source and op[:3] == name[:3])
                times = len(OPS[name].blocks)
                total += times * (largest**2 - int(name[3:]) ** 2) * plan.channels * pixels
    return total


@pytest.mark.parametrize("name", ["TOY", "SNAS", "NASP_12", "NASNET"])
def test_only_active_operations_are_computed(name):
    """The child's own multiply-adds but for zeros; a pool once a node; 32×32 images, in which every kernel has room."""
    net = fresh(*SPACES[name], training=False)
    for seed in range(2):
        graphs = random_graphs(net.space, seed)
        child, z = Child.inherit(net, graphs), one_hot(net.space, graphs)
        pools = sum(
            len({(source, op) for source, _, op in graphs[net.space.cells[plan.row]].edges if op in POOLS})
            for plan in net.plans
        ) + 2 * sum(plan.pooled for plan in net.plans)
        with FlopCounterMode(display=False) as counter, Pools() as counted, torch.no_grad():
            net(images(32, batch=1), z, active=z.argmax(-1).tolist())
        assert counter.get_total_flops() == 2 * (child.madds(32) + padding(net, graphs, 32))
        assert counted.count == pools


def saved_bytes(forward):
    """Bytes that a forward pass keeps for the backward pass, each piece of memory once."""
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor  # alive with the graph, so that no address comes twice

    with saved_tensors_hooks(note, lambda tensor: tensor):
        out = forward()
    assert out.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("name", ["TOY", "DARTS"])
def test_memory_follows_the_active_path(name):
    net, x = fresh(*SPACES[name]), images(16, batch=16)
    graphs = random_graphs(net.space, 0)
    z, child = one_hot(net.space, graphs), Child.inherit(net, graphs)
    sparse = saved_bytes(lambda: net(x, z, active=z.argmax(-1).tolist()))
    assert sparse < 0.5 * saved_bytes(lambda: net(x, z))
    assert sparse < 1.25 * saved_bytes(lambda: child(x))


# --- credit of all operations ----------------------------------------------------------------------------------------


def dense_credit(net, x, z, target, **more):
    """−∂L/∂z from a backward pass through everything."""
    seen = z.clone().requires_grad_()
    with frozen_statistics(net):
        loss = torch.nn.functional.cross_entropy(net(x, seen, **more), target)
    return -torch.autograd.grad(loss, seen)[0]


def complete_credit(net, x, z, target, active, whole=False, **more):
    trace = Trace()
    with frozen_statistics(net):
        loss = torch.nn.functional.cross_entropy(net(x, z, active=active, trace=trace, **more), target)
    loss.backward(inputs=None if whole else trace.nodes)
    return credit.complete(net, trace)


@every_space
@pytest.mark.parametrize("kind", ["one-hot", "several"])
def test_credit_of_all_operations_equals_the_dense_gradient(name, kind):
    arguments, target = SPACES[name], torch.tensor([0, 3, 1])
    z, active = drawn(arguments[0], kind, seed=1)
    for training, size, whole in ((True, (5, 7), True), (True, 6, False), (False, (7, 5), False)):
        net = fresh(*arguments, training=training)
        before = copy.deepcopy(net.state_dict())
        found = complete_credit(net, images(size, 3), z, target, active, whole)
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
        assert all((parameter.grad is not None) <= whole for parameter in net.parameters())
        expected = dense_credit(net, images(size, 3), z, target)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-12 * max(1, expected.abs().max())
        assert (expected[torch.from_numpy(~truth(net.space, active) & net.space.allowed)] != 0).any()


def test_credit_of_everything_computed_and_of_weighted_channels():
    """Also where the pass was dense, with masks and reads, and with a part of the channels; nodes one by one too."""
    target = torch.tensor([0, 3, 1, 2])
    width = [torch.rand(*TOY.shape, 2, generator=seeded(seed), dtype=torch.float64) + 0.1 for seed in (3, 4)]
    z, active = drawn(TOY, "several")
    for arguments in ((TOY, 2, 2), (TOY, 2, 4, 2)):
        for more in ({}, {"masks": width[0]}, {"reads": width[1]}, {"masks": width[0], "reads": width[1]}):
            net = fresh(*arguments)
            for gate, some in ((z, active), (simplex(TOY), None)):
                found = complete_credit(net, images(5), gate, target, some, **more)
                expected = dense_credit(net, images(5), gate, target, **more)
                assert (found - expected).abs().max() <= 1e-12


def test_credit_on_large_images(monkeypatch):
    monkeypatch.setattr(engine_module, "LARGE", 0)
    target = torch.tensor([0, 3, 1])
    for arguments in ((TOY, 2), SPACES["ONE_STRIDED"]):
        z, active = drawn(arguments[0], "several")
        net = fresh(*arguments)
        found = complete_credit(net, images(5, 3), z, target, active)
        assert (found - dense_credit(net, images(5, 3), z, target)).abs().max() <= 1e-12


@pytest.mark.parametrize("path", ["nodes", "optimiser"])
def test_credit_in_a_search(path):
    """As a method asks for it; the weights' gradients are what a step of the active operations needs."""
    task = make_task("digits", seed=0, epochs=1)
    batch = task.batch("search")
    z, active = drawn(TOY, "one-hot")
    z, trace, optimiser = z.float(), Trace(), task.optimisers(weights=task.network)
    seen = gates.tap(z)
    task.loss(batch, seen, update_statistics=False).backward()
    weights = [parameter.grad.clone() for parameter in task.network.parameters()]
    task.network.zero_grad()
    before = copy.deepcopy(task.network.state_dict())
    loss = task.loss(batch, z, active=active, trace=trace, update_statistics=False)
    optimiser.backward(loss) if path == "optimiser" else loss.backward(inputs=trace.nodes)
    torch.testing.assert_close(credit.complete(task.network, trace), credit.marginal(seen), rtol=1e-4, atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in task.network.state_dict().items())
    for parameter, expected in zip(task.network.parameters(), weights, strict=True):
        if path == "optimiser":
            gradient = torch.zeros_like(expected) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)
        else:
            assert parameter.grad is None


def test_none_has_no_credit():
    net = fresh(TOY, 2)
    z, active = drawn(TOY, "one-hot")
    found = complete_credit(net, images(), z, torch.tensor([0, 3, 1, 2]), active)[..., 0]
    assert (found == 0).all()
    assert not torch.signbit(found).any()


# --- networks side by side -------------------------------------------------------------------------------------------

RUNS = 3


@functools.cache
def several(space, cells, channels=2, partial=1):
    """Networks of other seeds, each with statistics of its own."""
    nets = [supernet(space, channels, cells, seed=seed, partial=partial).train() for seed in range(RUNS)]
    for seed, net in enumerate(nets):
        net(images(6, seed=seed + 10), simplex(space, seed=seed + 10))
    return nets


def stacked(space, size, batch=3):
    x = torch.stack([images(size, batch, seed=seed) for seed in range(RUNS)])
    return x, torch.stack([simplex(space, seed=seed) for seed in range(RUNS)])


def halves(table):
    """A table for every run of which each uses another part, and all that any of them uses."""
    own = torch.stack([torch.roll(table, run, 1) for run in range(RUNS)])
    return own, (own != 0).any(0).numpy()


@pytest.mark.parametrize("name", ["TOY", "NASP_12", "ONE_STRIDED"])
def test_side_by_side_equals_the_separate_networks(name):
    space, cells = SPACES[name]
    for training, size, sparse in ((True, (5, 7), False), (False, 6, False), (True, 6, True), (False, (5, 7), True)):
        nets = [copy.deepcopy(net).train(training) for net in several(space, cells)]
        before = copy.deepcopy(nets[0].state_dict())
        whole = Supernet.beside(nets)
        assert (whole.runs, whole.training) == (RUNS, training)
        x, z = stacked(space, size)
        given = {}
        if sparse:
            z, union = halves(drawn(space, "several")[0])
            z = z * torch.tensor(space.allowed)
            given["active"] = union
        inputs = x.requires_grad_(), z.requires_grad_()
        out = whole(*inputs, **given)
        cotangent = torch.randn(out.shape, generator=seeded(7), dtype=out.dtype)
        weights = list(whole.named_parameters())
        wanted = [*inputs, *(weight for _, weight in weights)]
        found = torch.autograd.grad((out * cotangent).sum(), wanted, allow_unused=True)
        assert all(torch.equal(value, before[key]) for key, value in nets[0].state_dict().items())  # it has copies
        for run, net in enumerate(nets):
            own = x[run].detach().requires_grad_(), z[run].detach().requires_grad_()
            alone = net(*own, **given)
            assert (out[run] - alone).abs().max() <= 1e-12
            parts = [found[0][run], found[1][run]]
            parts += [None if gradient is None else gradient.chunk(RUNS)[run] for gradient in found[2:]]
            wanted = [*own, *net.parameters()]
            expected = torch.autograd.grad((alone * cotangent[run]).sum(), wanted, allow_unused=True)
            for one, other in zip(parts, expected, strict=True):
                assert (one is None) == (other is None)
                assert other is None or (one - other).abs().max() <= 1e-11 * max(1, other.abs().max())
            for (key, one), other in zip(whole.named_buffers(), net.buffers(), strict=True):
                part = one.chunk(RUNS)[run] if one.dim() else one
                assert (part - other).abs().max() <= 1e-12, key


def test_side_by_side_with_masks_reads_and_partial_channels():
    widths = [torch.rand(RUNS, *TOY.shape, 2, generator=seeded(seed), dtype=torch.float64) + 0.1 for seed in (3, 4)]
    x, z = stacked(TOY, 5)
    for nets in (several(TOY, 2), several(TOY, 2, 4, 2)):
        nets = [net.eval() for net in nets]
        out = Supernet.beside(nets)(x, z, masks=widths[0], reads=widths[1])
        for run, net in enumerate(nets):
            alone = net(x[run], z[run], masks=widths[0][run], reads=widths[1][run])
            assert (out[run] - alone).abs().max() <= 1e-12


@pytest.mark.parametrize("name", ["TOY", "DARTS", "ONE_STRIDED"])
def test_credit_of_all_operations_side_by_side(name):
    space, cells = SPACES[name]
    nets = several(space, cells)
    whole, (x, _) = Supernet.beside(nets).train(), stacked(space, (5, 6))
    z, union = halves(drawn(space, "several")[0])
    z = z * torch.tensor(space.allowed)
    targets = torch.tensor([[0, 3, 1], [2, 2, 4], [1, 0, 0]])
    trace = Trace()
    with frozen_statistics(whole):
        out = whole(x, z, active=union, trace=trace)
    losses = [torch.nn.functional.cross_entropy(one, target) for one, target in zip(out, targets, strict=True)]
    sum(losses).backward(inputs=trace.nodes)
    found = credit.complete(whole, trace)
    for run, net in enumerate(nets):
        expected = dense_credit(net.train(), x[run], z[run], targets[run])
        assert (found[run] - expected).abs().max() <= 1e-12 * max(1, expected.abs().max())


def test_side_by_side_on_large_images(monkeypatch):
    """Nodes one by one, as a single network has them there."""
    for name in ("TOY", "ONE_STRIDED"):
        nets, (x, z) = [net.train() for net in several(*SPACES[name])], stacked(SPACES[name][0], (5, 6))
        for large in (0, engine_module.LARGE):
            monkeypatch.setattr(engine_module, "LARGE", large)
            found = gradients_beside(Supernet.beside(nets), x, z)
            if large == 0:
                expected = found
        assert all((one - other).abs().max() <= 1e-11 for one, other in zip(found, expected, strict=True))


def gradients_beside(whole, x, z):
    """Output, gradient towards the gates, statistics."""
    z = z.clone().requires_grad_()
    out = whole(x, z)
    return out, *torch.autograd.grad(out.square().sum(), z), *(b.double() for b in whole.buffers())


def test_side_by_side_on_the_meta_device():
    nets = [copy.deepcopy(net).float().to("meta") for net in several(*SPACES["ONE_STRIDED"])]
    x, z = (tensor.float().to("meta") for tensor in stacked(ONE_STRIDED, 6))
    trace, union = Trace(), drawn(ONE_STRIDED, "several")[1]
    whole = Supernet.beside(nets).train()
    whole(x, z, active=union, trace=trace).sum().backward(inputs=trace.nodes)
    assert credit.complete(whole, trace).shape == z.shape


# --- wrong arguments -------------------------------------------------------------------------------------------------


def forward_alone(net):
    """The trace of a forward pass without the backward pass."""
    trace = Trace()
    net(images(), simplex(TOY), trace=trace)
    return trace


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda net: net(images(), simplex(TOY), active=np.ones((2, 5, 4), dtype=bool)),
            r"active: the shape is \(2, 5, 4\); give the indices of operations \(2, 5\) or a table \(2, 5, 5\)",
        ),
        (lambda net: net(images(), simplex(TOY), active=[[0] * 4] * 2), r"active: the shape is \(2, 4\); give"),
        (
            lambda net: net.converted("reference")(images(), simplex(TOY), trace=Trace()),
            "trace: the reference engine keeps none; use engine='fused'",
        ),
        (
            lambda net: Supernet.beside([net] * 2)(torch.stack([images()] * 3), torch.stack([simplex(TOY)] * 3)),
            r"gates: the shape is \(3, 2, 5, 5\); this supernet's is \(2, 2, 5, 5\)",
        ),
        (lambda net: net(images(), simplex(TOY), active=[[5] * 5] * 2), "active: 5 is not a whole number from 0 to 4"),
        (
            lambda net: net(images(), simplex(TOY), active=[[-1] * 5] * 2),
            "active: -1 is not a whole number from 0 to 4",
        ),
        (lambda net: credit.complete(net, Trace()), "trace: no gradient has reached its nodes; run the backward pass"),
        (lambda net: credit.complete(net, forward_alone(net)), "trace: no gradient has reached its nodes"),
    ],
)
def test_a_wrong_argument_gets_a_sentence(call, says):
    with pytest.raises(UserError, match=says):
        call(fresh(TOY, 2))
