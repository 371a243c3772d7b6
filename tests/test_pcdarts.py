"""PC-DARTS: edge normalisation against sums by hand, its gradient, partial channels, the warm-up, the derived child."""

from itertools import islice

import pytest
import torch
from nets import seeded

from nascore import methods
from nascore.methods.pcdarts import parts, siblings
from nascore.run import Knobs
from nascore.space import DARTS
from nascore.task import make_task

PCDARTS = methods.get("pcdarts")


def begin(task, **values):
    knobs = Knobs(**PCDARTS.knobs)
    knobs.set(**values)
    knobs.apply()
    return PCDARTS(task, knobs)


def logits(task, seed=0):
    cells, edges, ops = task.space.shape
    return torch.randn(cells, edges, ops + 1, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("space", ["TOY", "DARTS", "NASP_12"])
def test_edges_into_a_node_share_its_weight(space):
    """Eq. (2) edge by edge: β̃_ij = exp β_ij / Σ exp β_i'j over the edges into j."""
    task = make_task("digits", epochs=1, device="cpu", space=space, channels=2, cells=3)
    theta = logits(task)
    p, share = parts(theta, task.allowed, siblings(task))
    torch.testing.assert_close(p.sum(-1), torch.ones_like(p[..., 0]))
    for cell in range(len(task.space.cells)):
        for e, (_, target) in enumerate(task.space.edges):
            into = [k for k, (_, other) in enumerate(task.space.edges) if other == target]
            expected = theta[cell, e, -1].exp() / theta[cell, into, -1].exp().sum()
            torch.testing.assert_close(share[cell, e, 0], expected)
    each = (share * p).sum((-1, -2))
    nodes = len({target for _, target in task.space.edges})
    torch.testing.assert_close(each, torch.full_like(each, nodes))  # the gates into every node sum to 1


def test_the_gradient_of_the_edges_by_finite_differences():
    """∂L/∂β and ∂L/∂α through eqs. (1) and (2) on the network with partial channels, in float64."""
    task = make_task("digits", seed=0, epochs=1, partial=4)
    task.network.double()
    batch = task.batch("train")
    batch = batch._replace(images=batch.images.double())

    def loss(theta):
        p, share = parts(theta, task.allowed, siblings(task))
        return task.loss(batch, share * p, update_statistics=False)

    theta, h = logits(task).requires_grad_(), 1e-7
    (slope,) = torch.autograd.grad(loss(theta), theta)
    for index in [(0, 1, 5), (0, 4, 5), (1, 2, 5), (1, 0, 2), (0, 3, 3)]:
        shift = torch.zeros_like(theta)
        shift[index] = h
        low, high = (float(loss(theta.detach() + sign * shift).detach()) for sign in (-1, 1))
        assert float(slope[index]) == pytest.approx((high - low) / (2 * h), rel=1e-4, abs=1e-8)
    into = [e for e, (_, target) in enumerate(task.space.edges) if target == 3]
    assert slope[..., into, -1].sum(-1).abs().max() < 1e-12  # of a softmax over siblings


def test_equal_logits_are_darts_with_gates_divided_by_the_edges_into_a_node():
    """β = 0: every β̃ is one over the number of edges into the node."""
    task = make_task("digits", seed=3, epochs=1)
    first = next(begin(task))
    theta = task.twin().logits().softmax(-1)
    count = torch.tensor([sum(other == target for _, other in task.space.edges) for _, target in task.space.edges])
    torch.testing.assert_close(first.gates, theta.detach() / count[:, None])


def test_partial_channels_cost_less():
    """Eq. (1) with a quarter of the channels: kernels of the operations read and give a quarter each."""
    whole, part = (make_task("digits", epochs=1, device="meta", partial=k).network for k in (1, 4))
    conv3 = [sum(w.numel() for w in net.cells.parameters()) for net in (whole, part)]
    assert conv3[1] < conv3[0] / 3


def test_the_weights_move_alone_at_first():
    """Eq. (3): during the warm-up there are no architecture half steps and the gates stand still."""
    task = make_task("digits", seed=0, epochs=1, batch_size=100, partial=4)
    steps = list(begin(task, warm_up=0.3))
    assert task.steps == 10
    assert [step.phase for step in steps] == ["weights"] * 3 + ["architecture", "weights"] * 7
    assert torch.equal(steps[0].gates, steps[2].gates)
    assert not torch.equal(steps[2].gates, steps[-1].gates)
    share = [step.gates.sum(-1)[:, :2] for step in steps]  # of the edges into the first node
    assert (share[-1] - share[0]).abs().max() > 1e-3  # β has moved
    assert task.counters["updates"] == 10


def test_the_child_is_derived_by_the_edges_too():
    """An edge with a certain operation but a small β̃ loses against one that matters more."""
    p = torch.full(DARTS.shape, 0.01)
    p[..., 4] = 0.5
    p[:, 2:5, 4] = 0.9  # by p alone the second node would keep two of its first edges
    share = torch.ones(DARTS.shape[:2])
    share[:, 2], share[:, 3], share[:, 4] = 0.1, 0.5, 0.4
    kept = {edge[:2] for edge in DARTS.decode(share[..., None] * p, "top2")["normal"].edges}
    into = [edge for edge in DARTS.edges if edge[1] == DARTS.edges[2][1]]
    assert {edge for edge in into if edge in kept} == {DARTS.edges[3], DARTS.edges[4]}


def test_resuming_keeps_the_edges():
    task, kept = make_task("digits", seed=0, epochs=1, batch_size=100), {}
    task.on_boundary = lambda iteration: kept.update({iteration: task.snapshot()})
    original = list(islice(begin(task), 12))
    again = make_task("digits", seed=0, epochs=1, batch_size=100)
    again.restore_later(*kept[4])
    for a, b in zip(original[8:], begin(again), strict=False):
        assert torch.equal(a.probs, b.probs)
