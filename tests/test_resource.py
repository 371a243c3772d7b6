"""Prices and the gradients of the expected cost, eqs. (7) and (8) of SNAS."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Generator

from nascore import credit, gates, resource
from nascore.errors import UserError
from nascore.methods import get
from nascore.ops import OPS
from nascore.resource import Resource
from nascore.run import Knob, Knobs
from nascore.space import DARTS, TOY
from nascore.supernet import Supernet

ALPHA = torch.tensor([0.5, -0.3, 1.0, 0.0], dtype=torch.float64)
PRICE = torch.tensor([-1.0, 0.5, 1.0, 2.0], dtype=torch.float64)
DRAWS = 200_000


def seeded(seed=0):
    return Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def toy():
    return Resource.of(Supernet(TOY, 8, 2, 10, 1), 8, 64)


def test_exact_gradient_by_enumeration():
    """Eq. (8): p_k (c_k − p·c) against the derivative of Σ_Z p(Z) C(Z) over all K² one-hot choices on two edges."""
    alpha = torch.stack([ALPHA, -ALPHA]).requires_grad_()
    price = torch.stack([PRICE, PRICE.square()])
    p = alpha.softmax(-1)
    total = sum(p[0, a] * p[1, b] * (price[0, a] + price[1, b]) for a, b in product(range(4), repeat=2))
    (expected,) = torch.autograd.grad(total, alpha, retain_graph=True)
    torch.testing.assert_close(resource.exact(p.detach(), price), expected)
    torch.testing.assert_close((p * price).sum(), total)  # linear: the cost of the mean is the mean cost


def test_one_hot_score_agrees_with_the_exact_gradient():
    """E[(Z − p) c·Z] over one-hot Z is eq. (8), exactly."""
    p, eye = ALPHA.softmax(-1), torch.eye(4, dtype=torch.float64)
    scores = credit.one_hot_score(eye, ALPHA.expand(4, 4)) * (eye @ PRICE)[:, None]
    torch.testing.assert_close(p @ scores, resource.exact(p, PRICE))


@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_pathwise_and_score_agree_and_the_score_varies_more(tau):
    """Both are ∇E_concrete[c·Z] at any τ (within 4 standard errors); the score's variance is several times larger."""
    g = gates.gumbel(ALPHA.expand(DRAWS, 4), seeded(1))
    z = gates.concrete(ALPHA.expand(DRAWS, 4), tau, g)
    path = resource.pathwise(z, PRICE.expand_as(z), tau)
    score = resource.score(g, z, PRICE.expand_as(z))
    difference = path - score
    assert (difference.mean(0).abs() < 4 * difference.std(0) / DRAWS**0.5).all()
    assert score.var(0).sum() > 2 * path.var(0).sum()


def test_relaxed_gradient_is_biased_until_the_temperature_vanishes():
    """For τ > 0 both relaxed estimators differ from eq. (8), because E[Z] ≠ p; the gap closes with τ."""
    exact = resource.exact(ALPHA.softmax(-1), PRICE)
    gaps = []
    for tau in (1.0, 0.3, 0.1):
        z = gates.concrete(ALPHA.expand(DRAWS, 4), tau, seeded(2))
        gaps.append(float((resource.pathwise(z, PRICE.expand_as(z), tau).mean(0) - exact).norm()))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[0] > 0.05
    assert gaps[2] < 0.02


def test_pathwise_is_the_derivative_of_the_cost_of_a_sample():
    """Z (c − c·Z)/τ is what automatic differentiation gives for C(Z), eq. (3) with the noise frozen."""
    alpha = ALPHA.clone().requires_grad_()
    z = gates.concrete(alpha, 0.4, seeded(3))
    (z * PRICE).sum().backward()
    torch.testing.assert_close(resource.pathwise(z.detach(), PRICE, 0.4), alpha.grad)


def test_surrogate_has_the_given_gradient():
    alpha = ALPHA.clone().requires_grad_()
    resource.surrogate(alpha, PRICE).backward()
    assert torch.equal(alpha.grad, PRICE)


@pytest.mark.parametrize("space", [TOY, DARTS], ids=["toy", "darts"])
def test_prices_add_up_to_the_operations_of_the_network(space):
    """Parameters of every module on the edges, counted in the network itself, over those of the dearest network."""
    network = Supernet(space, 8, 4, 10, 1, engine="reference")  # a module for each operation
    prices = Resource.of(network, 8, 64).prices["parameters"]
    raw = np.zeros(space.shape)
    for cell, plan in zip(network.cells, network.plans, strict=True):
        for edge, module in zip(cell.graph.edges, cell.ops, strict=True):
            e, k = space.edges.index(edge[:2]), space.ops.index(edge[2])
            raw[plan.row, e, k] += sum(p.numel() for p in module.parameters())
    np.testing.assert_allclose(prices, raw / raw.max(-1).sum())


def test_the_dearest_network_costs_one_and_none_nothing(toy):
    for name in ("parameters", "madds", "memory"):
        weights = {f"w_{name}": 0.7}
        price = toy.price(weights)
        dearest = gates.one_hot(price)
        assert float(toy.expected(dearest, weights)) == pytest.approx(1)
        nothing = torch.zeros(TOY.shape)
        nothing[..., 0] = 1
        assert toy.expected(nothing, weights) == 0


def test_cost_is_linear_in_the_gates(toy):
    """C(Z) = Σ c·Z, eq. (8)."""
    a, b = torch.rand(2, *TOY.shape, generator=seeded())
    torch.testing.assert_close(toy.expected(0.3 * a + 2 * b), 0.3 * toy.expected(a) + 2 * toy.expected(b))


def test_weights_from_knobs_mappings_and_defaults(toy):
    third = Knob(1 / 3, 0, 1, "weight")
    knobs = Knobs(w_parameters=third, w_madds=third, w_memory=third, w_latency=Knob(0, 0, 1, "weight"))
    torch.testing.assert_close(toy.price(knobs), toy.price())
    torch.testing.assert_close(
        toy.price({"w_madds": 0.2, "w_memory": 0.6}),
        0.25 * toy.price({"w_madds": 1}) + 0.75 * toy.price({"w_memory": 1}),
    )
    torch.testing.assert_close(toy.price(Knobs(lam=Knob(0, 0, 1, "penalty"))), toy.price())
    assert toy.price({"w_madds": 0.0}).abs().sum() == 0


def test_latency_is_measured_once_and_can_be_reused():
    network = Supernet(TOY, 8, 2, 10, 1)
    one = Resource.of(network, 8, 64)
    assert "latency" not in one.prices
    price = one.price({"w_latency": 1.0})
    assert torch.equal(price, one.price({"w_latency": 0.5}))
    assert price[..., 0].abs().sum() == 0
    assert (price[..., TOY.ops.index("conv3")] > price[..., TOY.ops.index("skip")]).all()
    assert float(price.amax(-1).sum()) == pytest.approx(1)

    other = Resource.of(network, 8, 64)
    other.reuse({name: table.tolist() for name, table in one.prices.items()})
    assert torch.equal(other.price({"w_latency": 1}), price)
    other.reuse({"latency": one.measured["latency"] / 2})
    assert torch.equal(other.price({"w_latency": 1}), price / 2)


def test_training_time_is_a_price_of_its_own():
    """It is asked for by its own weight, does not touch what weighs nothing, and is mixed as the others are."""
    asked = []
    tables = {name: np.random.default_rng(i).random((1, 2, 3)) for i, name in enumerate(resource.RESOURCES)}

    def measure(name):
        asked.append(name)
        return tables[name]

    one = Resource({name: tables[name] for name in resource.COUNTED}, measure)
    before = one.price()
    assert torch.equal(one.price(resource.DEFAULT), before)
    assert asked == []
    price = one.price({"w_training": 0.5})
    dearest = {name: table.max(-1).sum() for name, table in tables.items()}
    np.testing.assert_allclose(price, tables["training"] / dearest["training"], rtol=1e-6)
    one.price({"w_training": 1.0})
    mixed = one.price({"w_training": 0.3, "w_latency": 0.1})
    parts = [tables[name] / dearest[name] for name in ("training", "latency")]
    np.testing.assert_allclose(mixed, 0.75 * parts[0] + 0.25 * parts[1], rtol=1e-6)
    assert asked == ["training", "latency"]
    assert torch.equal(one.price(), before)
    assert list(one.prices) == [*resource.COUNTED, "training", "latency"]
    with pytest.raises(UserError, match=r"resource: 'latncy' is not one of .* Did you mean 'latency'\?"):
        one.measure("latncy")


def test_methods_that_are_rewarded_alone_can_price_training_time():
    """The knobs of the others are those of their recordings."""
    assert "w_training" in get("reinforce").knobs
    assert "w_training" not in get("snas").knobs


def test_seconds_measures_longer_work_as_longer():
    small, large = (resource.seconds("conv3", 8, side, side, 1, 64) for side in (4, 32))
    assert large > 2 * small > 0
    assert resource.seconds("none", 8, 8, 8, 1, 64) == 0


def test_a_backward_pass_takes_time_too():
    """Also where autograd is switched off, as it is while a method samples; chance is left as it was."""
    before = torch.random.get_rng_state()
    with torch.no_grad():
        assert resource.seconds("conv3", 8, 16, 16, 1, 64, training=True) > resource.seconds("conv3", 8, 16, 16, 1, 64)
        for op in set(OPS) - {"none"}:  # also those without weights
            assert resource.seconds(op, 4, 8, 8, 2, 4, training=True) > 0
        assert not torch.is_grad_enabled()
    assert torch.equal(before, torch.random.get_rng_state())


def test_every_operation_has_a_price():
    for name, op in OPS.items():
        assert (op.madds(8, 8, 8, 1) > 0) == (name not in ("none", "skip"))
