"""Supernet and child: the defining sum, purity, derivatives of both orders, and exact equality of the two networks."""

import copy
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import ENGINES, ONE_INPUT, SMALL, images, one_hot, random_graphs, simplex, supernet
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nascore.errors import UserError
from nascore.ops import OPS
from nascore.space import DARTS, NASP_12, TOY, Space
from nascore.supernet import Child, Supernet

every_engine = pytest.mark.parametrize("engine", ENGINES)


# --- the forward pass ------------------------------------------------------------------------------------------------


@every_engine
def test_each_node_is_the_gated_sum_of_all_operations_on_all_edges(engine):
    net, x, z = supernet(engine=engine).eval(), images(), simplex(TOY)
    cells = net.converted("reference").cells  # each operation a module of its own
    states = [net.stem[0](x)] * 2
    for cell, row in ((0, 0), (1, 1)):
        if cell == 1:  # the max pool between the two cells
            states = [nn.functional.max_pool2d(state, 2) for state in states]
        module, mother = cells[cell], TOY.mother[TOY.cells[row]].edges
        node = [preprocess(state) for preprocess, state in zip(module.preprocess, states, strict=True)]
        for j in (2, 3):
            terms = []
            for e, (source, target) in enumerate(TOY.edges):
                for k, name in enumerate(TOY.ops):
                    if target == j and name != "none":
                        terms.append(z[row, e, k] * module.ops[mother.index((source, target, name))](node[source]))
            node.append(torch.stack(terms).sum(0))
        states = [states[1], torch.cat(node[2:], 1)]
    expected = net.classifier(states[-1].mean((2, 3)))
    torch.testing.assert_close(net(x, z), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_fused_engine_works_channels_last(channels):
    net = Supernet(TOY, 4, 2, 5, channels)
    seen = []
    for cell in net.cells:
        cell.register_forward_pre_hook(lambda _, given: seen.extend(given[0]))
    net(torch.randn(2, channels, 8, 8), torch.rand(TOY.shape))
    assert len(seen) == 4
    for x in seen:
        assert x.stride()[1] == 1


@every_engine
def test_none_contributes_exactly_nothing(engine):
    net, x, z = supernet(engine=engine), images(), simplex(TOY).requires_grad_()
    louder = z.detach().clone()
    louder[..., TOY.ops.index("none")] = 1e6
    net.eval()
    assert torch.equal(net(x, z), net(x, louder))
    (gradient,) = torch.autograd.grad(net(x, z).sum(), z)
    assert torch.equal(gradient[..., 0], torch.zeros(2, 5, dtype=torch.float64))
    assert (gradient[..., 1:] != 0).all()


@every_engine
def test_forward_is_pure_in_the_gates(engine):
    net, x, z = supernet(engine=engine).eval(), images(), simplex(TOY)
    first = net(x, z)
    net(x, simplex(TOY, seed=9))
    net(images(6), z)
    assert torch.equal(net(x, z), first)
    for weight in net.cells.parameters():
        before = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(2)
        assert not torch.equal(net(x, z), first)  # no composed weight was kept
        with torch.no_grad():
            weight.copy_(before)
    assert torch.equal(net(x, z), first)


@every_engine
@pytest.mark.parametrize("mode", [True, False])
def test_gradients_of_both_orders_agree_with_finite_differences(mode, engine):
    space = Space(2, 2, ("none", "skip", "conv3", "avg3", "max3"), reduction="pool")
    net = supernet(space, channels=2, engine=engine).train(mode)
    x, target = images(size=4, batch=3), torch.tensor([0, 1, 4])

    def loss(z, w):
        # Running statistics move in train mode but do not enter the output there.
        weights = dict(net.named_parameters()) | {"classifier.weight": w}
        return nn.functional.cross_entropy(torch.func.functional_call(net, weights, (x, z)), target)

    z = simplex(space).requires_grad_()
    w = net.classifier.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (z, w), atol=1e-6)
    assert torch.autograd.gradgradcheck(loss, (z, w), atol=1e-5)


@every_engine
def test_every_weight_has_second_derivatives_towards_the_gates(engine):
    net, x, z = supernet(SMALL, cells=3, engine=engine), images(), simplex(SMALL).requires_grad_()
    loss = net(x, z).square().sum()
    gradients = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
    (mixed,) = torch.autograd.grad(sum(g.square().sum() for g in gradients), z)
    assert torch.isfinite(mixed).all()
    assert (mixed[..., 1:] != 0).any(-1).all()


@every_engine
def test_masks_weight_channels_on_top_of_the_gates(engine):
    net, x, z = supernet(engine=engine).eval(), images(), simplex(TOY)
    assert torch.equal(net(x, z, torch.ones(2, 5, 5, 1, dtype=torch.float64)), net(x, z))
    halves = torch.full((2, 5, 5, 4), 0.5, dtype=torch.float64)
    torch.testing.assert_close(net(x, z, halves), net(x, z / 2))
    # Silencing channel 2 of skip on the first edge equals zeroing it in the operation's output.
    masks = torch.ones(2, 5, 5, 4, dtype=torch.float64)
    masks[0, 0, 1, 2] = 0
    place = TOY.mother["normal"].edges.index((0, 2, "skip"))
    silent = net.converted("reference")
    silent.cells[0].ops[place].register_forward_hook(lambda _, __, out: out * masks[0, 0, 1].view(1, -1, 1, 1))
    torch.testing.assert_close(net(x, z, masks), silent(x, z), rtol=0, atol=0 if engine == "reference" else 1e-13)
    assert (net(x, z, masks) - net(x, z)).abs().max() > 1e-4


@every_engine
@pytest.mark.parametrize("op", ["skip", "conv3", "avg3"])
def test_reads_weight_channels_that_operations_read(op, engine):
    """Before an operation with kernels; a pool or the identity keeps channels apart, so behind its batch norm."""
    net, x, z = supernet(engine=engine).eval(), images(), simplex(TOY)
    reads = torch.ones(2, 5, 5, 4, dtype=torch.float64)
    reads[0, 0, TOY.ops.index(op)] = torch.tensor([0.3, 1, 0, 2], dtype=torch.float64)
    weights = reads[0, 0, TOY.ops.index(op)].view(1, -1, 1, 1)
    half = net.converted("reference")
    module = half.cells[0].ops[TOY.mother["normal"].edges.index((0, 2, op))]
    if op == "conv3":
        module.register_forward_pre_hook(lambda _, inputs: (inputs[0] * weights,))
    else:
        module.register_forward_hook(lambda _, __, out: out * weights)
    torch.testing.assert_close(net(x, z, reads=reads), half(x, z), rtol=0, atol=1e-13)
    assert (net(x, z, reads=reads) - net(x, z)).abs().max() > 1e-4


@every_engine
def test_channels_past_the_operations(engine):
    """One channel in 2 through the operations, the rest of each source times its edge's gates, dealt out in turn."""
    space = Space(2, 2, ("none", "conv3", "skip"), name="HALF")
    net, x, z = supernet(space, cells=1, partial=2, engine=engine).eval(), images(6), simplex(space)
    cell, mother = net.converted("reference").cells[0], space.mother["reduce"].edges
    states = [net.stem[0](x)] * 2
    node = [preprocess(state) for preprocess, state in zip(cell.preprocess, states, strict=True)]
    width = node[0].shape[1] // 2
    for j in (2, 3):
        through, past = [], []
        for e, (source, target) in enumerate(space.edges):
            if target == j:
                image, rest = node[source].split(width, 1)
                for k, name in enumerate(space.ops[1:], start=1):
                    through.append(z[1, e, k] * cell.ops[mother.index((source, target, name))](image))
                past.append(z[1, e, 1:].sum() * (nn.functional.max_pool2d(rest, 2) if source < 2 else rest))
        both = torch.stack([sum(through), sum(past)], 2)  # a channel of the one, a channel of the other, and so on
        node.append(both.flatten(1, 2))
    expected = net.classifier(torch.cat(node[2:], 1).mean((2, 3)))
    torch.testing.assert_close(net(x, z), expected, rtol=0, atol=1e-12)
    graphs = random_graphs(space, 0)
    torch.testing.assert_close(net(x, one_hot(space, graphs)), Child.inherit(net, graphs)(x), rtol=0, atol=1e-12)


@every_engine
@pytest.mark.parametrize(("space", "cells"), [(TOY, 2), (SMALL, 3), (NASP_12, 3), (ONE_INPUT, 3)])
def test_a_step_runs_on_the_meta_device(space, cells, engine):
    with torch.device("meta"):
        net = Supernet(space, 4, cells, 5, 3, engine=engine)
        z = torch.rand(space.shape).requires_grad_()
        loss = net(torch.rand(2, 3, 8, 8), z).sum()
        loss.backward()
    assert z.grad.shape == space.shape
    assert Child.inherit(net, random_graphs(space, 0))(torch.rand(2, 3, 8, 8, device="meta")).shape == (2, 5)


# --- arrangement and sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "cells", "rows"),
    [
        (TOY, 1, [0]),
        (TOY, 2, [0, 1]),
        (TOY, 3, [0, 0, 1]),
        (TOY, 4, [0, 0, 1, 1]),
        (DARTS, 8, [0, 0, 1, 0, 0, 1, 0, 0]),
        (SMALL, 3, [0, 1, 1]),
        (ONE_INPUT, 4, [0, 0, 0, 0]),
    ],
)
def test_which_row_of_the_table_a_cell_reads(space, cells, rows):
    with torch.device("meta"):
        net = Supernet(space, 2, cells, 5, 3)
    assert [net.cell_of(i) for i in range(cells)] == rows


@pytest.mark.parametrize(
    ("space", "cells", "size"), [(TOY, 2, (8, 8)), (TOY, 3, (9, 14)), (SMALL, 5, (8, 12)), (SMALL, 4, (7, 7))]
)
def test_layout_tells_what_every_operation_really_sees(space, cells, size):
    net = supernet(space, cells=cells, engine="reference")
    seen = {}

    def note(c, edge):
        def hook(_, inputs, output):
            _, channels, height, width = inputs[0].shape
            seen[c, edge] = (channels, height, width, 1 if output.shape[2] == height else 2)

        return hook

    for c, cell in enumerate(net.cells):
        for module, (source, target, _) in zip(cell.ops, cell.graph.edges, strict=True):
            module.register_forward_hook(note(c, space.edges.index((source, target))))
    net(torch.rand(2, 3, *size, dtype=torch.float64), simplex(space))
    layout = net.layout(size)
    assert {(c, e): tuple(edge) for c, cell in enumerate(layout) for e, edge in enumerate(cell.edges)} == seen
    assert [cell.row for cell in layout] == [net.cell_of(c) for c in range(cells)]
    assert net.layout(8) == net.layout((8, 8))


def test_reductions_by_stride_double_the_channels_and_pools_do_not():
    assert [cell.edges[0].channels for cell in supernet(SMALL, cells=6).layout(32)] == [4, 4, 8, 8, 16, 16]
    assert [cell.edges[0].channels for cell in supernet(TOY, cells=4).layout(32)] == [4, 4, 4, 4]


@pytest.mark.parametrize(
    ("cells", "reductions", "places"), [(9, 0, []), (9, 1, [4]), (20, 2, [6, 13]), (8, 3, [2, 4, 6])]
)
def test_reductions_split_the_depth_into_equal_parts(cells, reductions, places):
    child = Child(DARTS, random_graphs(DARTS, 0), 2, cells, 5, reductions=reductions)
    assert [index for index, plan in enumerate(child.plans) if plan.stride == 2] == places
    assert child.plans[-1].channels == 2 * 2**reductions


@every_engine
def test_the_toy_supernet_has_the_parameters_one_can_count_by_hand(engine):
    c = 8
    stem = 9 * c + 2 * c  # 3×3 on one channel; its batch norm has a scale and a shift
    edges = 10 * (c * c + 9 * c * c)  # conv1 and conv3 on every edge
    preprocess = c * c + c * c + c * c + 2 * c * c  # to 8 channels from 8, 8 and from 8, 16
    classifier = 2 * c * 10 + 10
    net = Supernet(TOY, c, 2, 10, 1, engine=engine)
    assert sum(p.numel() for p in net.parameters()) == stem + edges + preprocess + classifier == 6978


@every_engine
def test_the_darts_supernet_has_the_authors_parameters(engine):
    # "param size = 1.930618MB" in the search logs of quark0/darts: 16 channels, 8 cells, CIFAR-10.
    with torch.device("meta"):
        net = Supernet(DARTS, 16, 8, 10, 3, engine=engine)
    assert sum(p.numel() for p in net.parameters()) == 1_930_618


# --- children --------------------------------------------------------------------------------------------------------


@functools.cache
def trained(space, cells, engine):
    """A network whose running statistics are away from their start; kept, as building it takes longest."""
    net = supernet(space, channels=2, cells=cells, engine=engine).train()
    for seed in range(2):
        net(images(6, seed=seed), simplex(space, seed=seed))
    return net


@every_engine
@pytest.mark.parametrize(("space", "cells"), [(TOY, 2), (SMALL, 3), (NASP_12, 3), (ONE_INPUT, 3)])
@settings(max_examples=4)
@given(seed=st.integers(0, 10**6), training=st.booleans())
def test_an_inherited_child_equals_the_supernet_under_one_hot_gates(space, cells, engine, seed, training):
    net, x = trained(space, cells, engine).train(training), images(6)
    graphs = random_graphs(space, seed)
    child = Child.inherit(net, graphs)
    assert child.training is training
    assert (net(x, one_hot(space, graphs)) - child(x)).abs().max() <= 1e-12
    # One step in train mode has moved both networks' running statistics in the same way.
    for c, cell in enumerate(child.cells):
        for module, edge in zip(cell.ops, cell.graph.edges, strict=True):
            for own, other in zip(module.buffers(), net.cells[c].operation(edge).buffers(), strict=True):
                torch.testing.assert_close(own, other, rtol=0, atol=1e-12)
    net.eval(), child.eval()
    assert (net(x, one_hot(space, graphs)) - child(x)).abs().max() <= 1e-12


@every_engine
def test_a_child_has_copies_only_of_what_it_chose(engine):
    net = supernet(engine=engine)
    graphs = {"normal": TOY.graph([(0, 2, "conv1"), (2, 3, "avg3")]), "reduce": TOY.graph([])}
    before = copy.deepcopy(net.state_dict())
    state = torch.get_rng_state()
    child = Child.inherit(net, graphs)
    assert torch.equal(torch.get_rng_state(), state)  # no random number was drawn
    edge_weights = sum(p.numel() for cell in child.cells for p in cell.ops.parameters())
    assert edge_weights == 4 * 4
    child(images()).sum().backward()
    with torch.no_grad():
        for parameter in child.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_node_that_nothing_feeds_is_zeros_of_the_right_size():
    for space, cells in ((TOY, 2), (SMALL, 3)):
        empty = dict.fromkeys(space.cells, space.graph([]))
        net = supernet(space, cells=cells).eval()
        weighted = one_hot(space, empty)
        for engine in ENGINES:
            bare = net.converted(engine)(images(), weighted)
            torch.testing.assert_close(bare, net.classifier.bias.expand(4, -1), rtol=0, atol=0)
        child = Child.inherit(net, empty)
        torch.testing.assert_close(child(images()), net.classifier.bias.expand(4, -1), rtol=0, atol=0)
        half = dict.fromkeys(space.cells, space.graph([(0, 2, "skip")]))
        widths = [out.shape for out in Child.inherit(net, half).features(images())]
        reference = net.converted("reference")
        assert widths == [out.shape for out in reference.features(images(), [()] * 2)]


def test_explicit_none_edges_count_as_absent():
    net = supernet()
    absent = {"normal": TOY.graph([(0, 2, "conv3")]), "reduce": TOY.graph([(1, 3, "skip")])}
    present = {name: TOY.graph([*graph.edges, (2, 3, "none")]) for name, graph in absent.items()}
    assert torch.equal(Child.inherit(net, absent)(images()), Child.inherit(net, present)(images()))


def test_a_child_with_its_own_output_nodes_and_repeated_edges():
    graphs = {
        "normal": SMALL.graph([(0, 2, "max3"), (0, 2, "max3"), (2, 3, "skip")], output=(2, 3)),
        "reduce": SMALL.graph([(1, 3, "sep3")], output=(3,)),
    }
    child = Child(SMALL, graphs, 4, 6, 5)
    shapes = [tuple(out.shape[1:]) for out in child.features(torch.rand(2, 3, 16, 16))]
    assert shapes == [(8, 16, 16), (8, 16, 16), (8, 8, 8), (16, 8, 8), (16, 4, 4), (32, 4, 4)]


def test_nodes_may_be_numbered_in_any_order():
    forwards = SMALL.graph([(0, 2, "skip"), (2, 3, "conv3")])
    backwards = SMALL.graph([(0, 3, "skip"), (3, 2, "conv3")])
    assert forwards.canonical_hash() == backwards.canonical_hash()
    counts = [Child(SMALL, dict.fromkeys(SMALL.cells, g), 4, 3, 5).parameter_count() for g in (forwards, backwards)]
    assert counts[0] == counts[1]
    assert Child(SMALL, dict.fromkeys(SMALL.cells, backwards), 4, 3, 5)(torch.rand(2, 3, 8, 8)).shape == (2, 5)


@pytest.mark.parametrize(("stem", "size"), [("cifar", 32), ("imagenet", 224)])
def test_auxiliary_head(stem, size):
    graphs = dict.fromkeys(SMALL.cells, SMALL.graph([(0, 2, "skip"), (1, 3, "max3")]))
    with torch.device("meta"):
        child = Child(SMALL, graphs, 8, 5, 7, stem, auxiliary=True)
        bare = Child(SMALL, graphs, 8, 5, 7, stem)
        logits, auxiliary = child.heads(torch.rand(2, 3, size, size))
        assert child(torch.rand(2, 3, size, size)).shape == (2, 7)
    assert logits.shape == auxiliary.shape == (2, 7)
    width = 64  # 2 nodes × 8 channels × 4 after two reductions
    norm = 2 * 768 if stem == "cifar" else 0
    head = width * 128 + 2 * 128 + 128 * 768 * 4 + norm + 768 * 7 + 7
    assert child.parameter_count(auxiliary=True) - child.parameter_count() == head
    assert child.parameter_count() == bare.parameter_count() == bare.parameter_count(auxiliary=True)
    with pytest.raises(UserError, match=r"auxiliary: this child has no auxiliary head; build it with auxiliary=True\."):
        bare.heads(torch.rand(2, 3, size, size, device="meta"))


def test_multiply_adds_are_those_of_convolutions_and_classifier():
    graphs = {
        "normal": TOY.graph([(0, 2, "conv3"), (1, 3, "avg3")]),
        "reduce": TOY.graph([(1, 2, "conv1"), (2, 3, "skip")]),
    }
    child = Child(TOY, graphs, 8, 2, 10, in_channels=1)
    preprocess = [(2 * 8 * 8) * 64, (8 * 8 + 16 * 8) * 16]
    edges = OPS["conv3"].madds(8, 8, 8) + OPS["conv1"].madds(8, 4, 4)
    assert child.madds(8) == 9 * 8 * 64 + sum(preprocess) + edges + 16 * 10
    with FlopCounterMode(display=False) as counter:  # an independent count; a multiply-add is two operations there
        child(torch.rand(1, 1, 8, 8))
    assert counter.get_total_flops() == 2 * child.madds(8)
    assert next(child.parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Supernet(TOY, 0, 2, 5, 3), "channels: 0 is not a whole number of at least 1"),
        (lambda: Supernet(TOY, 4, 0, 5, 3), "cells: 0 is not"),
        (lambda: Supernet(TOY, 4, 2, 5.5, 3), "classes: 5.5 is not"),
        (lambda: Supernet(TOY, 4, 2, 5, -1), "in_channels: -1 is not"),
        (lambda: Supernet(TOY, 4, 2, 5, 3, engine="refrence"), r"engine: 'refrence' is not one of .* 'reference'"),
        (lambda: Supernet(TOY, 4, 2, 5, 3, partial=3), "partial: 4 channels cannot be parted into 3 equal shares"),
        (lambda: Supernet(TOY, 4, 2, 5, 3, partial=0), "partial: 0 is not a whole number of at least 1"),
        (lambda: Supernet(Space(3, 2, ("skip",)), 4, 2, 5, 3), r"space\.inputs: 3 is not a whole number from 1 to 2"),
        (
            lambda: supernet()(images(), torch.ones(2, 5, 4)),
            r"gates: the shape is \(2, 5, 4\); this supernet's is \(2, 5, 5\)",
        ),
        (lambda: Child(TOY, {"normal": TOY.graph([])}, 4, 2, 5), "graphs: the cell 'reduce' is missing"),
        (
            lambda: Child(TOY, dict.fromkeys(TOY.cells, TOY.graph([], output=())), 4, 2, 5),
            "graphs: 'normal' has no output; name the nodes to concatenate",
        ),
        (lambda: Child(TOY, random_graphs(TOY, 0), 4, 2, 5, stem="cifr"), r"stem: 'cifr' is not one of .*'cifar'"),
        (lambda: Child.inherit(supernet(), random_graphs(DARTS, 0)), "graphs: 'normal' has other nodes"),
        (
            lambda: Child.inherit(supernet(), dict.fromkeys(TOY.cells, TOY.graph([(0, 2, "sep3")]))),
            "operation: 'sep3' is not one of",
        ),
        (
            lambda: Child(TOY, dict.fromkeys(TOY.cells, TOY.graph([(0, 2, "conv2")])), 4, 2, 5),
            r"operation: 'conv2' is not one of .* Did you mean 'conv",
        ),
    ],
)
def test_bad_arguments_are_refused_with_a_sentence(call, says):
    with pytest.raises(UserError, match=says):
        call()
