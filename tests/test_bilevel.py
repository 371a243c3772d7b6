"""The gradient through a step of the weights, and the dominant eigenvalue, by other means. Equations of ``bilevel``."""

import inspect
from itertools import islice, pairwise

import pytest
import torch
from nets import seeded
from torch.nn import functional as F

from nascore import bilevel, gates, methods
from nascore.bilevel import Inner, curvature, dominant, hypergradient
from nascore.errors import UserError
from nascore.run import Knobs
from nascore.space import DARTS, NASP_12
from nascore.task import make_task
from nascore.together import KnobsTogether, Together

# On the network -----------------------------------------------------------------------------------------------------


class Problem:
    """L_train and L_val of a task in float64, weights, gates, and a step that has momentum and weight decay."""

    def __init__(self, **options):
        self.task = make_task("digits", seed=0, epochs=1, **options)
        self.task.network.double()
        train, search = (self.task.batch(split) for split in ("train", "search"))
        self.train, self.valid = self.loss_on(train), self.loss_on(search)
        self.weights = dict(self.task.network.named_parameters())
        self.p = torch.randn(self.task.space.shape, generator=seeded(1), dtype=torch.float64).softmax(-1)
        like = enumerate(self.weights.values())
        buffers = [0.1 * torch.randn(w.shape, generator=seeded(i), dtype=w.dtype) for i, w in like]
        self.inner = Inner(0.05, 0.9, 3e-4, buffers)

    def loss_on(self, batch):
        batch = batch._replace(images=batch.images.double())
        return lambda w, z: self.task.loss(batch, z, weights=w, update_statistics=False)

    def found(self, function=hypergradient, **options):
        return function(self.train, self.valid, self.weights, self.p, self.inner, **options)

    def through_the_step(self):
        """∇_α L_val(w′(α), α) with the whole step in one graph: eq. (6), differentiated by autograd."""
        z, inner, w = self.p.clone().requires_grad_(), self.inner, self.weights
        towards = torch.autograd.grad(self.train(w, z), list(w.values()), create_graph=True)
        ahead = {
            name: x - inner.rate * (inner.momentum * m + g + inner.decay * x)
            for (name, x), g, m in zip(w.items(), towards, inner.buffers, strict=True)
        }
        return torch.autograd.grad(self.valid(ahead, z), z)[0]


SIZES = {"toy": {}, "DARTS": {"space": DARTS, "channels": 2, "cells": 3, "batch_size": 8}}


def agrees(found, expected):
    """What the tests below ask of eq. (7)."""
    return torch.allclose(found.total, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_eq_7_is_the_gradient_through_the_whole_step(size):
    """Exactly, and by eq. (8) below the nearest kink; the second term is no trifle."""
    problem = Problem(**SIZES[size])
    before = {name: w.detach().clone() for name, w in problem.weights.items()}
    expected, exact = problem.through_the_step(), problem.found(hessian="exact")
    torch.testing.assert_close(exact.total, expected, rtol=1e-9, atol=1e-12)
    assert problem.inner.rate * exact.mixed.norm() > 0.1 * expected.norm()
    finite = problem.found(radius=1e-7)
    torch.testing.assert_close(finite.mixed, exact.mixed, rtol=1e-5, atol=1e-7)
    assert torch.equal(finite.direct, exact.direct)
    assert agrees(finite, expected)
    assert all(torch.equal(w, before[name]) for name, w in problem.weights.items())


@pytest.mark.parametrize(
    ("line", "mutant", "hessian"),
    [
        ("direct - times(inner.rate, mixed)", "direct - 2 * times(inner.rate, mixed)", "exact"),
        ("direct - times(inner.rate, mixed)", "direct - times(inner.rate, mixed) / 2", "exact"),
        ("direct - times(inner.rate, mixed)", "direct + times(inner.rate, mixed)", "exact"),
        ("times(0.5 / size,", "times(1 / size,", "finite"),
        ("loss = valid(ahead, alpha)", "loss = valid(w, alpha)", "exact"),
        ("train(moved, alpha)", "valid(moved, alpha)", "finite"),
    ],
)
def test_a_factor_of_two_in_the_second_order_term_fails(line, mutant, hessian):
    """Eqs. (7) and (8): the code with one mistake in it does not agree with the gradient through the step."""
    problem, source = Problem(), inspect.getsource(hypergradient)
    assert source.count(line) == 1
    names = dict(vars(bilevel))
    exec(source.replace(line, mutant), names)
    options = {"hessian": hessian, "radius": 1e-7}
    expected = problem.through_the_step()
    assert agrees(problem.found(**options), expected)
    assert not agrees(problem.found(names["hypergradient"], **options), expected)


def test_finite_differences_converge_as_their_radius_squared(monkeypatch):
    """Eq. (8) on the network with its kinks smoothed: a tenth of ε has a hundredth of the error."""
    monkeypatch.setattr(F, "relu", lambda x, inplace=False: F.softplus(x))
    monkeypatch.setattr(F, "max_pool2d", F.avg_pool2d)
    problem = Problem()
    exact = problem.found(hessian="exact").mixed
    errors = [float((problem.found(radius=10.0**-k).mixed - exact).norm() / exact.norm()) for k in (3, 4, 5)]
    assert errors[0] < 1e-3
    for large, small in pairwise(errors):
        assert large / small == pytest.approx(100, rel=0.02)


def test_the_step_looked_at_is_the_one_that_sgd_takes():
    """Eq. (6′) against ``torch.optim.SGD`` with momentum and weight decay, over several steps of a search."""
    task = make_task("digits", seed=0, epochs=2, batch_size=100)
    task.network.double()
    knobs = Knobs(**methods.get("darts").knobs)
    knobs.set(weight_decay=0.01)
    knobs.apply()
    optimiser = task.optimisers(weights=task.network, knobs=knobs)
    weights = dict(task.network.named_parameters())
    twin = [w.detach().clone().requires_grad_() for w in weights.values()]
    sgd = torch.optim.SGD(twin, lr=0.1, momentum=0.9, weight_decay=0.01)
    z = torch.full(task.space.shape, 0.2, dtype=torch.float64)
    for _ in islice(task.clock(optimiser=optimiser), 4):
        batch = task.batch("train")
        loss = 0.1 * task.loss(batch._replace(images=batch.images.double()), z)  # too small a gradient to be clipped
        optimiser.backward(loss)
        towards = [w.grad.clone() for w in weights.values()]
        assert torch.nn.utils.get_total_norm(towards) < 5
        ahead = optimiser.inner().unrolled(weights, towards)
        optimiser.move_weights()
        for own, gradient in zip(twin, towards, strict=True):
            own.grad = gradient
        sgd.param_groups[0]["lr"] = optimiser.rate
        sgd.step()
        for (name, w), own in zip(weights.items(), twin, strict=True):
            torch.testing.assert_close(ahead[name], w, rtol=1e-12, atol=1e-14)
            torch.testing.assert_close(own, w, rtol=1e-12, atol=1e-14)


# In closed form -----------------------------------------------------------------------------------------------------


def number(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("hessian", ["finite", "exact"])
def test_first_order_can_stand_still_where_second_order_moves(hessian):
    """L_train = ½(w − α)², L_val = ½(w − 1)²: eq. (7) is 0 + ξ(w′ − 1), and the true hypergradient w* − 1 = α − 1."""
    xi, w, alpha = 0.3, number(0.7), number(-0.4)
    inner = Inner(xi)
    train, valid = (lambda w, a: (w["w"] - a).square() / 2), (lambda w, a: (w["w"] - 1).square() / 2)
    found = hypergradient(train, valid, {"w": w}, alpha, inner, hessian)
    ahead = w - xi * (w - alpha)
    assert float(found.direct) == 0
    torch.testing.assert_close(found.loss, (ahead - 1).square() / 2)
    torch.testing.assert_close(found.total, xi * (ahead - 1))
    for _ in range(400):
        alpha = alpha - 0.2 * hypergradient(train, valid, {"w": w}, alpha, inner, hessian).total
        w = w - xi * (w - alpha)
    torch.testing.assert_close(alpha, number(1.0))
    torch.testing.assert_close(w, number(1.0))


@pytest.mark.parametrize("xi", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("hessian", ["finite", "exact"])
def test_the_authors_own_example(xi, hessian):
    """Their figure 2: L_val = αw − 2α + 1, L_train = w² − 2αw + α², from (α, w) = (2, −2).

    w′ = w − 2ξ(w − α), so eq. (7) is w′ − 2 + 2ξα, which with w = α vanishes at α = 2 / (1 + 2ξ): at the optimum
    (1, 1) for ξ = ½, at (2, 2) for first order.
    """
    train = lambda w, a: (w["w"] - a).square()
    valid = lambda w, a: a * w["w"] - 2 * a + 1
    alpha, w = number(2.0), number(-2.0)
    found = hypergradient(train, valid, {"w": w}, alpha, Inner(xi), hessian)
    torch.testing.assert_close(found.direct, w - 2 * xi * (w - alpha) - 2)
    torch.testing.assert_close(found.mixed, -2 * alpha)
    for _ in range(500):
        alpha = alpha - 0.1 * hypergradient(train, valid, {"w": w}, alpha, Inner(xi), hessian).total
        w = w - 0.2 * (w - alpha)
    torch.testing.assert_close(alpha, number(2 / (1 + 2 * xi)))


def test_a_quadratic_has_its_mixed_derivative_at_any_radius():
    """L_train = ½ wᵀAw + wᵀBα gives ∇²_α,w L_train v = Bᵀv; momentum and weight decay move w′ alone."""
    root, b, w, m, alpha, to = (torch.randn(shape, generator=seeded(i), dtype=torch.float64)
                                for i, shape in enumerate([(4, 4), (4, 3), (4,), (4,), (3,), (4,)]))  # fmt: skip
    a = root @ root.T
    train = lambda x, z: x["w"] @ a @ x["w"] / 2 + x["w"] @ b @ z
    valid = lambda x, z: (x["w"] - to).square().sum() / 2 + z.square().sum()
    inner = Inner(0.1, 0.9, 0.03, [m])
    v = w - 0.1 * (0.9 * m + a @ w + b @ alpha + 0.03 * w) - to
    for options in ({"hessian": "exact"}, {"radius": 1e-2}, {"radius": 10.0}):
        found = hypergradient(train, valid, {"w": w}, alpha, inner, **options)
        torch.testing.assert_close(found.mixed, b.T @ v)
        torch.testing.assert_close(found.total, 2 * alpha - 0.1 * b.T @ v)


# The method ---------------------------------------------------------------------------------------------------------


def begin(task, order, **values):
    knobs = Knobs(**methods.get("darts").knobs)
    knobs.set(**values)
    knobs.apply()
    return methods.get("darts")(task, knobs, order=order), knobs


@pytest.mark.parametrize("order", ["second", "second-exact"])
def test_darts_follows_eq_7_through_the_softmax(order, monkeypatch):
    """The logits' gradient is the softmax Jacobian times eq. (7) at the second iteration, when there is momentum."""
    task, alphas, kept = make_task("digits", seed=0, epochs=1, batch_size=100), [], []
    logits, original = task.logits, bilevel.hypergradient
    monkeypatch.setattr(task, "logits", lambda: alphas.append(logits()) or alphas[0])
    monkeypatch.setattr(bilevel, "hypergradient", lambda *a: kept.append((original(*a), a)) or kept[-1][0])
    iterator, knobs = begin(task, order, lam=0.7, weight_decay=1e-3)
    half, _, second = islice(iterator, 3)
    assert (half.phase, second.phase) == ("architecture", "architecture")
    found, (train, valid, weights, p, inner, hessian) = kept[1]
    assert hessian == {"second": "finite", "second-exact": "exact"}[order]
    assert inner.decay == 1e-3
    assert all(m.abs().sum() > 0 for m in inner.buffers)
    p = p.detach()
    total = found.total + 0.7 * task.resource.price(knobs)
    torch.testing.assert_close(alphas[0].grad, p * (total - (p * total).sum(-1, keepdim=True)))
    assert torch.equal(second.gates, p)
    torch.testing.assert_close(second.credit, -found.direct)
    assert float(second.metrics["loss"]) == float(found.loss)
    # The losses are those of the batches that the step is about, the next of each split.
    twin = make_task("digits", seed=0, epochs=1, batch_size=100)
    for _ in range(2):
        batches = [twin.batch(split) for split in ("train", "search")]
    for loss, batch in zip((train, valid), batches, strict=True):
        expected = task.loss(batch, p, weights=weights, update_statistics=False)
        torch.testing.assert_close(loss(weights, p), expected)


def test_looking_ahead_changes_nothing_but_the_logits():
    """Weights, momentum and batch norm's statistics are as before the architecture's half step."""
    task = make_task("digits", seed=0, epochs=1)
    iterator, _ = begin(task, "second")
    next(iterator), next(iterator)
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    next(iterator)
    assert all(torch.equal(value, before[name]) for name, value in task.network.state_dict().items())


def test_second_order_in_a_batch_is_that_of_each_run():
    """ε, ξ, m and λ are each run's own."""
    settings = [{"weight_lr": 0.1, "weight_decay": 1e-3}, {"weight_lr": 0.03, "weight_decay": 0.02}, {"lam": 0.5}]
    options = {"epochs": 1, "batch_size": 100, "channels": 4}
    for order in ("second", "second-exact"):
        alone = [begin(make_task("digits", seed=s, **options), order, **it) for s, it in enumerate(settings)]
        batch = Together([make_task("digits", seed=s, **options) for s in range(3)])
        knobs = KnobsTogether([begin(task, order, **it)[1] for task, it in zip(batch.tasks, settings, strict=True)],
                              batch.device)  # fmt: skip
        for step in islice(methods.get("darts")(batch, knobs, order=order), 6):
            for own, (iterator, _) in zip(batch.split(step), alone, strict=True):
                expected = next(iterator)
                assert own.phase == expected.phase
                torch.testing.assert_close(own.probs, expected.probs, rtol=1e-3, atol=1e-5)
                torch.testing.assert_close(own.metrics["loss"], expected.metrics["loss"], rtol=1e-3, atol=1e-5)


def test_one_level_has_no_second_order():
    task = make_task("digits", epochs=1, device="meta")
    with pytest.raises(UserError, match=r"order: 'second' differentiates .* level='bi' or order='first'"):
        next(methods.get("darts")(task, Knobs(**methods.get("darts").knobs), level="single", order="second"))
    with pytest.raises(UserError, match=r"order: 'secnd' is not one of .* Did you mean 'second'"):
        next(methods.get("darts")(task, Knobs(**methods.get("darts").knobs), order="secnd"))
    with pytest.raises(UserError, match=r"hessian: 'finit' is not one of exact, finite"):
        hypergradient(None, None, {}, number(0.0), Inner(0.1), "finit")


# The dominant eigenvalue --------------------------------------------------------------------------------------------


def symmetric(values):
    q, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=seeded(3), dtype=torch.float64))
    return q @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ q.T


@pytest.mark.parametrize("values", [(3.0, 1, -2, 0), (-3.0, 1, 2.5, 0), (1e-9, 1e-10, 0, 0), (5.0, 5, 1, -1)])
def test_dominant_is_the_largest_by_modulus_with_its_sign(values):
    """Of H = ∇² ½αᵀHα, against ``torch.linalg.eigvalsh``."""
    h = symmetric(values)
    all_of_them = torch.linalg.eigvalsh(h)
    found = dominant(lambda a: a @ h @ a / 2, torch.zeros(4, dtype=torch.float64), seeded(0), tolerance=1e-6)
    assert found.converged
    assert found.value == pytest.approx(float(all_of_them[all_of_them.abs().argmax()]), rel=1e-5)
    assert float((h @ found.vector - found.value * found.vector).norm()) == pytest.approx(found.residual, rel=1e-3)


def test_two_of_one_modulus_never_converge():
    h = symmetric((2.0, -2, 1, 0))
    found = dominant(lambda a: a @ h @ a / 2, torch.zeros(4, dtype=torch.float64), seeded(0), most=50)
    assert not found.converged
    assert found.products == 50


@pytest.mark.parametrize("space", ["TOY", "NASP_12"])
def test_curvature_of_a_search_against_the_whole_hessian(space):
    """∇²_α L_val(w, α) row by row, all eigenvalues of it; α = log p stands for any logits of these p."""
    task = make_task("digits", seed=0, epochs=1, space=space, batch_size=16, channels=2, cells=3)
    task.network.double()
    alpha = torch.randn(task.space.shape, generator=seeded(2), dtype=torch.float64).requires_grad_()
    images = task.batch("search")
    images = images._replace(images=images.images.double())
    statistics = {name: value.clone() for name, value in task.network.named_buffers()}
    found = curvature(task.network, images, gates.softmax(alpha, task.allowed).detach(), seeded(0))
    assert all(torch.equal(value, statistics[name]) for name, value in task.network.named_buffers())

    (slope,) = torch.autograd.grad(
        task.loss(images, gates.softmax(alpha, task.allowed), update_statistics=False), alpha, create_graph=True
    )
    if space == "NASP_12":  # too large to be written out: the pair that was found solves H v = λ v
        assert task.space == NASP_12
        (hv,) = torch.autograd.grad(slope, alpha, found.vector)
        torch.testing.assert_close(hv, found.value * found.vector, atol=0.01 * abs(found.value), rtol=0)
        return
    whole = torch.stack([torch.autograd.grad(one, alpha, retain_graph=True)[0].flatten() for one in slope.flatten()])
    torch.testing.assert_close(whole, whole.T)
    all_of_them = torch.linalg.eigvalsh(whole)
    assert found.converged
    assert found.value == pytest.approx(float(all_of_them[all_of_them.abs().argmax()]), rel=1e-3)


def test_measuring_curvature_changes_nothing_of_a_search():
    steps, found = {}, {}
    for on in (0, 1):
        task = make_task("digits", seed=0, epochs=1, batch_size=250, channels=4, curvature=on)
        found[on] = {}
        for step in begin(task, "first")[0]:
            found[on] |= task.measure(step, children=False) if step.t == 1 else {}
        steps[on] = step, dict(task.counters)
    assert torch.equal(steps[0][0].probs, steps[1][0].probs)
    assert steps[0][1] == steps[1][1]
    assert set(found[1]) - set(found[0]) == {"eigenvalue"}
    assert found[1]["eigenvalue"] != 0
    with pytest.raises(UserError, match="curvature: 2 is not a whole number from 0 to 1"):
        make_task("digits", epochs=1, curvature=2)
