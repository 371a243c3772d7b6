"""Credit: eqs. (4)–(7) of SNAS on small networks whose every architecture or node can be checked by hand."""

from itertools import product

import numpy as np
import pytest
import torch
from nets import in_double, simplex
from torch import Generator, nn
from torch.nn import functional as F

from nascore import credit, gates
from nascore.space import TOY
from nascore.task import make_task

DIM = 4
REFERENCE = {"engine": "reference"}


def seeded(seed=0):
    return Generator().manual_seed(seed)


def normal(*shape, seed):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


class Dag:
    """Nodes 0 … 4, every earlier node feeds every later one; ops none, skip and two linear maps after ``relu``."""

    edges = [(i, j) for j in range(1, 5) for i in range(j)]

    def __init__(self, relu=F.relu, norm=False):
        self.matrices = [normal(2, DIM, DIM, seed=10 + e) for e in range(len(self.edges))]
        self.relu = relu
        self.norms = (
            [nn.BatchNorm1d(DIM, affine=False, eps=1e-14, dtype=torch.float64) for _ in self.edges] if norm else None
        )

    def operations(self, e, x):
        linear = [self.relu(x) @ m.T for m in self.matrices[e]]
        if self.norms:
            linear = [self.norms[e](value) for value in linear]
        return torch.stack([torch.zeros_like(x), x, *linear], -1)

    def forward(self, x, z):
        """All nodes, each keeping its gradient."""
        nodes = [x.requires_grad_()]
        for j in range(1, 5):
            parts = [self.operations(e, nodes[i]) @ z[0, e] for e, (i, t) in enumerate(self.edges) if t == j]
            nodes.append(torch.stack(parts).sum(0))
            nodes[-1].retain_grad()
        return nodes


def run(dag, tau=0.8, seed=3):
    """Nodes, gates and logits after the backward pass of a non-linear loss on the last node."""
    alpha = normal(1, len(dag.edges), 4, seed=1).requires_grad_()
    z = gates.concrete(alpha, tau, seeded(seed))
    seen = gates.tap(z)
    nodes = dag.forward(normal(6, DIM, seed=2), seen)
    (nodes[-1].square().sum(-1).add(1).log() + nodes[-1][:, 0]).sum().backward()
    return nodes, seen, alpha


def inner(a, b):
    return float((a * b).sum().detach())


def test_gradient_of_the_logits_by_finite_differences():
    """Eq. (4): Z_k/τ (⟨g_j, O_k⟩ − ⟨g_j, Õ⟩) against central differences with the noise frozen; rows sum to 0."""
    dag, tau = Dag(), 0.8
    nodes, seen, alpha = run(dag, tau)
    g = gates.gumbel(alpha.detach(), seeded(3))

    def loss(a):
        last = dag.forward(normal(6, DIM, seed=2), gates.concrete(a, tau, g))[-1]
        return float((last.square().sum(-1).add(1).log() + last[:, 0]).sum().detach())

    numeric, h = torch.zeros_like(alpha), 1e-5
    for index in np.ndindex(*alpha.shape):
        shift = torch.zeros_like(alpha)
        shift[index] = h
        numeric[index] = (loss(alpha.detach() + shift) - loss(alpha.detach() - shift)) / (2 * h)
    torch.testing.assert_close(alpha.grad, numeric, atol=1e-7, rtol=1e-7)

    by_hand = torch.zeros_like(alpha)
    for e, (i, j) in enumerate(dag.edges):
        each = torch.einsum("bd,bdk->k", nodes[j].grad, dag.operations(e, nodes[i].detach()))
        z = seen[0, e].detach()
        by_hand[0, e] = z / tau * (each - z @ each)
    torch.testing.assert_close(alpha.grad, by_hand)
    assert alpha.grad.sum(-1).abs().max() < 1e-12


def test_softmax_gradient_is_the_case_without_noise():
    """DARTS: ∂L/∂α_k = p_k(⟨g, o_k⟩ − Σ_l p_l⟨g, o_l⟩), eq. (4) at τ = 1 with G = 0; rows sum to 0."""
    alpha = normal(1, 3, 4, seed=1).requires_grad_()
    torch.testing.assert_close(gates.concrete(alpha, 1.0, torch.zeros(1, 3, 4)), alpha.softmax(-1))
    g = normal(1, 3, 4, seed=2)
    p = alpha.softmax(-1)
    (p * g).sum().backward()
    p = p.detach()
    torch.testing.assert_close(alpha.grad, p * (g - (p * g).sum(-1, keepdim=True)))
    assert alpha.grad.sum(-1).abs().max() < 1e-15


def test_marginal_is_the_loss_that_an_operation_saves():
    """Step.credit = −∂L/∂z: finite difference in the gate itself; *none* is exactly +0."""
    dag = Dag()
    _, seen, _ = run(dag)
    found = credit.marginal(seen)
    z, h = seen.detach(), 1e-6

    def loss(gate):
        last = dag.forward(normal(6, DIM, seed=2), gate)[-1]
        return float((last.square().sum(-1).add(1).log() + last[:, 0]).sum().detach())

    for index in [(0, 0, 1), (0, 4, 2), (0, 9, 3)]:
        shift = torch.zeros_like(z)
        shift[index] = h
        assert found[index] == pytest.approx((loss(z - shift) - loss(z + shift)) / (2 * h), rel=1e-5)
    assert (found[..., 0] == 0).all()
    assert not torch.signbit(found[..., 0]).any()


def test_marginal_is_nan_where_nothing_was_computed():
    assert credit.marginal(gates.tap(torch.ones(1, 2, 3, requires_grad=True))).isnan().all()


def test_credit_of_what_was_not_computed_is_nan():
    """Step.credit: −∂L/∂z where an operation ran, 0 for *none* in any case, NaN elsewhere."""
    seen = gates.tap(torch.tensor([[[1.0, 0, 0], [0, 0, 1.0]]]))
    (seen * torch.tensor([[[0.0, 2, 3], [0, 5, 6]]])).sum().backward()
    found = credit.computed(seen, seen > 0, ("none", "skip", "conv3"))
    torch.testing.assert_close(found, torch.tensor([[[0, torch.nan, torch.nan], [0, torch.nan, -6.0]]]), equal_nan=True)
    assert credit.computed(seen, seen > 0, ("max3", "skip", "conv3"))[0, 1, 0].isnan()


def test_node_sum():
    """Eq. (5): Σ_i R_ij = ⟨g_j, x_j⟩ for every node."""
    dag = Dag()
    nodes, seen, _ = run(dag)
    r = credit.edge_credit(seen.detach(), seen.grad)[0]
    for j in range(1, 5):
        total = sum(float(r[e]) for e, edge in enumerate(dag.edges) if edge[1] == j)
        assert total == pytest.approx(inner(nodes[j].grad, nodes[j]), abs=1e-12)
    torch.testing.assert_close(credit.taylor(seen.detach(), credit.marginal(seen)).sum(-1)[0], -r)


def outgoing(dag, nodes, seen, node):
    r = credit.edge_credit(seen.detach(), seen.grad)[0]
    return sum(float(r[e]) for e, edge in enumerate(dag.edges) if edge[0] == node)


def test_credit_is_conserved_by_homogeneous_operations():
    """Euler: ⟨g_i, x_i⟩ = Σ_j R_ij where every op is positively homogeneous of degree 1."""
    dag = Dag()
    nodes, seen, _ = run(dag)
    for i in range(4):
        assert outgoing(dag, nodes, seen, i) == pytest.approx(inner(nodes[i].grad, nodes[i]), rel=1e-10, abs=1e-12)


def test_batch_norm_breaks_the_conservation_of_credit():
    """BN in training mode ignores the scale of its input: what flows on through it is not credited to its source."""
    dag = Dag(norm=True)
    nodes, seen, _ = run(dag)
    z, gradient = seen.detach(), seen.grad
    for i in range(4):
        through_skip = sum(float(z[0, e, 1] * gradient[0, e, 1]) for e, edge in enumerate(dag.edges) if edge[0] == i)
        through_all = outgoing(dag, nodes, seen, i)
        received = inner(nodes[i].grad, nodes[i])
        assert received == pytest.approx(through_skip, abs=1e-10)
        assert abs(received - through_all) > 1e-2


def test_flow_of_credit_through_a_supernet():
    """Without batch norm every node passes on what it received, exactly; with it, only the last node of a cell does.

    Both are derivatives: ⟨∂L/∂x_j, x_j⟩ of scaling all edges into j, and, of scaling all edges out of j, its share.
    """
    space = TOY
    for norm in (True, False):
        task = in_double(make_task("digits", space=space, cells=2, channels=4, epochs=1, batch_size=8, **REFERENCE))
        if not norm:
            credit.without_norms(task.network.cells)
        batch, z = task.batch("search"), simplex(space)
        flow = credit.conservation(task, batch, z)
        scale = max(1.0, float(flow.received.abs().max()))
        if norm:
            assert (flow.received - flow.passed)[:, 0].abs().min() > 1e-4
        else:
            assert (flow.received - flow.passed).abs().max() < 1e-10 * scale
        torch.testing.assert_close(flow.passed[:, -1], flow.output[:, -1])  # no edge leaves it

        loss = lambda gates, task=task, batch=batch: float(task.loss(batch, gates, update_statistics=False).detach())
        for side, told in ((1, flow.received), (0, flow.passed - flow.output)):
            ends, h = torch.tensor([edge[side] == space.inputs for edge in space.edges])[:, None], 1e-6
            step = torch.zeros_like(z)
            step[0] = h * ends
            slope = (loss(z * (1 + step)) - loss(z * (1 - step))) / (2 * h)
            assert float(told[0, 0]) == pytest.approx(slope, rel=1e-4, abs=1e-7)


TAU, DRAWS = 1.0, 100_000
OPS = normal(3, 4, seed=20)  # the outputs of four operations on one edge
EDGE = torch.tensor([0.5, -0.3, 1.0, 0.0], dtype=torch.float64)


def both_estimates(loss):
    """Per draw: the pathwise gradient of E[ℓ] and its credit form, for one edge whose node value is OPS @ Z."""
    alpha = EDGE.expand(DRAWS, 4).clone().requires_grad_()
    g = gates.gumbel(alpha, seeded(5))
    seen = gates.tap(gates.concrete(alpha, TAU, g))
    loss(seen @ OPS.T).sum().backward()
    r = credit.edge_credit(seen.detach(), seen.grad)
    return alpha.grad, credit.credit_form(credit.concrete_score(g), r)


def assert_same_mean(a, b):
    difference = a - b
    assert (difference.mean(0).abs() < 4 * difference.std(0) / len(difference) ** 0.5).all()


def test_score_of_the_concrete_density():
    """Eq. (7) against the derivative of the log density written out, and its mean, which is 0."""
    alpha, tau, k = EDGE.clone().requires_grad_(), 0.7, 4
    g = gates.gumbel(EDGE, seeded(6))
    z = gates.concrete(EDGE, tau, g)
    log_density = (alpha - (tau + 1) * z.log()).sum() - k * torch.logsumexp(
        alpha - tau * z.log(), 0
    )  # up to Γ(K) τ^{K−1}
    (expected,) = torch.autograd.grad(log_density, alpha)
    torch.testing.assert_close(credit.concrete_score(g), expected)

    score = credit.concrete_score(gates.gumbel(EDGE.expand(DRAWS, 4), seeded(7)))
    assert (score.mean(0).abs() < 4 * score.std(0) / DRAWS**0.5).all()


def test_score_over_the_live_operations():
    """Eq. (7) on an edge that lacks an operation is that of an edge with the others alone; the missing one has 0."""
    g, live = gates.gumbel(EDGE, seeded(6)), torch.tensor([True, False, True, True])
    found = credit.concrete_score(g, live)
    torch.testing.assert_close(found[live], credit.concrete_score(g[live]))
    assert found[1] == 0


def test_one_hot_score():
    """∇ log p(Z) = Z − p: the derivative of log p, and its exact mean 0 by enumeration."""
    p = EDGE.softmax(-1)
    for k in range(4):
        alpha = EDGE.clone().requires_grad_()
        alpha.log_softmax(-1)[k].backward()
        torch.testing.assert_close(credit.one_hot_score(torch.eye(4, dtype=torch.float64)[k], EDGE), alpha.grad)
    scores = credit.one_hot_score(torch.eye(4, dtype=torch.float64), EDGE.expand(4, 4))
    assert (p @ scores).abs().max() < 1e-15


def test_credit_form_is_exact_for_an_affine_loss():
    """Eq. (6) with R = ℓ + const: score · R and the pathwise gradient have the same mean."""
    pathwise, form = both_estimates(lambda x: x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + 3)
    assert_same_mean(pathwise, form)


def test_credit_form_doubles_the_gradient_of_a_quadratic():
    """Eq. (6) with ℓ homogeneous of degree 2: R = 2ℓ, so the credit form is exactly twice the gradient."""
    pathwise, form = both_estimates(lambda x: 0.5 * x.square().sum(-1))
    assert_same_mean(2 * pathwise, form)
    difference = form - pathwise
    assert (difference.mean(0).abs() > 4 * difference.std(0) / DRAWS**0.5).any()  # and is not the gradient itself


@pytest.mark.parametrize("degree", [1, 2])
def test_credit_of_one_hot_samples_by_enumeration(degree):
    """Eq. (9), DSNAS: E[(Z − p) R] over all one-hot Z is m times ∇E[ℓ] for ℓ homogeneous of degree m, as in eq. (6)."""
    way = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    loss = lambda x: x @ way if degree == 1 else 0.5 * x.square().sum(-1)
    eye, alpha = torch.eye(4, dtype=torch.float64), EDGE.clone().requires_grad_()
    p = alpha.softmax(-1)
    (exact,) = torch.autograd.grad(p @ loss(eye @ OPS.T), alpha, retain_graph=True)

    each = []
    for drawn in eye:
        seen = gates.tap(gates.scored(drawn, p))
        each.append(torch.autograd.grad(loss(seen @ OPS.T), alpha, retain_graph=True)[0])
    torch.testing.assert_close(p.detach() @ torch.stack(each), degree * exact)


def test_variance_grows_as_the_temperature_falls():
    """Var of the pathwise gradient ~ 1/τ, and at τ → 0 credit goes to the chosen operation only."""
    variances = []
    for tau in (1.0, 0.3, 0.1, 0.03):
        alpha = EDGE.expand(DRAWS, 4).clone().requires_grad_()
        z = gates.concrete(alpha, tau, seeded(8))
        (z @ OPS.T @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)).sum().backward()
        variances.append(float(alpha.grad.var(0).sum()))
    assert variances == sorted(variances)
    assert variances[3] / variances[2] == pytest.approx(0.1 / 0.03, rel=0.25)

    _, seen, _ = run(Dag(), tau=1e-3)
    share = credit.taylor(seen.detach(), credit.marginal(seen))[0]
    chosen = gates.one_hot(seen.detach())[0].bool()
    assert share[~chosen].abs().max() < 1e-12


# Expectation inside or outside the network: section 5 of the DARTS notes, all K^E architectures enumerated.

CHOICES = 3
LAYERS = normal(2, CHOICES, DIM, DIM, seed=30)
ALPHAS = normal(2, CHOICES, seed=31)


def two_layers(z, slope=1.0, shared=False):
    """Two edges in a row, each choosing one of three leaky-ReLU-after-linear maps; a slope of 1 makes them linear."""
    x = normal(DIM, seed=32)
    for layer in range(2):
        x = torch.einsum("k,kab,b->a", z[0 if shared else layer], LAYERS[layer], x)
        if slope != 1:
            x = F.leaky_relu(x, slope)
    return x


def each_activated(z, slope):
    """As two_layers, but with the activation inside each operation, as in an edge's operations."""
    x = normal(DIM, seed=32)
    for layer in range(2):
        x = torch.einsum("k,ka->a", z[layer], F.leaky_relu(torch.einsum("kab,b->ka", LAYERS[layer], x), slope))
    return x


def expected(function, shared=False):
    """Σ over all architectures of p(Z) · function(Z)."""
    p, eye = ALPHAS.softmax(-1), torch.eye(CHOICES, dtype=torch.float64)
    if shared:
        return sum(p[0, a] * function(torch.stack([eye[a], eye[a]])) for a in range(CHOICES))
    pairs = product(range(CHOICES), repeat=2)
    return sum(p[0, a] * p[1, b] * function(torch.stack([eye[a], eye[b]])) for a, b in pairs)


def test_expectation_of_linear_operations_is_the_mixture():
    """Independent decisions and linear ops: E[net(Z)] = net(E[Z]), to rounding."""
    torch.testing.assert_close(expected(two_layers), two_layers(ALPHAS.softmax(-1)), atol=1e-12, rtol=1e-12)


def test_expectation_of_a_shared_decision_is_not_the_mixture():
    """One decision used twice: E[Z_a Z_b] ≠ E[Z_a] E[Z_b], even with linear ops."""
    mixture = two_layers(ALPHAS.softmax(-1), shared=True)
    outside = expected(lambda z: two_layers(z, shared=True), shared=True)
    assert (outside - mixture).norm() > 0.05 * outside.norm()


def test_expectation_with_relu_is_not_the_mixture():
    """With ReLU in the ops the gap is of the order of the activations; it closes as the slope goes to 1."""
    gaps = []
    for slope in (0.0, 0.9, 0.99, 1.0):
        outside = expected(lambda z, slope=slope: each_activated(z, slope))
        gaps.append(float((outside - each_activated(ALPHAS.softmax(-1), slope)).norm() / outside.norm()))
    assert gaps[0] > 0.05
    assert gaps[1] > gaps[2] > gaps[3]
    assert gaps[3] < 1e-12


def test_convex_loss_has_a_gap_even_with_linear_operations():
    """Jensen: L(E f) < E L(f) for the cross-entropy of linear features."""
    loss = lambda features: F.cross_entropy(features, torch.tensor(1))
    inside = loss(two_layers(ALPHAS.softmax(-1)))
    outside = expected(lambda z: loss(two_layers(z)))
    assert inside < outside - 1e-2
