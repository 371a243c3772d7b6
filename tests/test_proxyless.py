"""ProxylessNAS: eqs. (1) to (5) of ``nascore.methods.proxyless``."""

from itertools import combinations

import pytest
import torch
from torch import Generator

from nascore import gates, methods, resource
from nascore.methods.proxyless import binary, rescale
from nascore.run import Knobs
from nascore.task import make_task

PRICE = torch.tensor([-1.0, 0.5, 1.0, 2.0], dtype=torch.float64)
ALPHA = torch.tensor([0.5, -0.3, 1.0, 0.0], dtype=torch.float64)
ALL = torch.tensor([True] * 4)


def mask(*chosen, n=4):
    return torch.tensor([k in chosen for k in range(n)])


def steps(n, seed=0, lam=0.0):
    task, method = make_task("digits", seed=seed, epochs=2), methods.get("proxyless")
    knobs = Knobs(**method.knobs)
    knobs.set(lam=lam)
    knobs.apply()
    iterator = method(task, knobs)
    return task, [next(iterator) for _ in range(n)]


@pytest.mark.parametrize("pair", list(combinations(range(4), 2)))
def test_the_gate_gradient_is_its_formula(pair):
    """Eqs. (2) and (3): Σ_j ∂L/∂g_j p̂_j (δ_ij − p̂_i) over the two paths, p̂ = softmax of their logits; 0 elsewhere."""
    alpha, towards = ALPHA.clone().requires_grad_(), torch.tensor([0.7, -1.1, 0.3, 2.0], dtype=torch.float64)
    g = binary(alpha, mask(*pair), mask(pair[1]))
    assert torch.equal(g.detach(), mask(pair[1]).double())
    (g * towards).sum().backward()
    p = dict(zip(pair, ALPHA[list(pair)].softmax(-1), strict=True))
    for i in range(4):
        expected = sum(towards[j] * p[j] * (float(i == j) - p[i]) for j in pair) if i in pair else 0
        assert float(alpha.grad[i]) == pytest.approx(float(expected), abs=1e-14)


def test_two_operations_have_the_full_formula():
    """Eq. (3) is eq. (2) itself if K = 2; of a linear loss it is then the exact gradient, whichever path is drawn."""
    for drawn in range(2):
        alpha, price = ALPHA[:2].clone().requires_grad_(), PRICE[:2]
        (binary(alpha, mask(0, 1, n=2), mask(drawn, n=2)) * price).sum().backward()
        torch.testing.assert_close(alpha.grad, resource.exact(ALPHA[:2].softmax(-1), price))


def test_expected_price_by_finite_differences():
    """Eq. (5): ∂/∂α_k Σ p_k F_k = p_k (F_k − E[C]), which is what eq. (2) makes of ∂C/∂g_j = F_j over all paths."""
    h, numeric = 1e-6, []
    for k in range(4):
        shift = h * mask(k).double()
        low, high = (((ALPHA + s * shift).softmax(-1) * PRICE).sum() for s in (-1, 1))
        numeric.append((high - low) / (2 * h))
    alpha = ALPHA.clone().requires_grad_()
    (binary(alpha, ALL, mask(2)) * PRICE).sum().backward()
    torch.testing.assert_close(alpha.grad, torch.stack(numeric), atol=1e-8, rtol=1e-7)
    torch.testing.assert_close(alpha.grad, resource.exact(ALPHA.softmax(-1), PRICE))


def test_two_of_more_paths_are_biased():
    """Eq. (3) with K = 4 and a linear loss: the mean over the pairs, by enumeration, is not the exact gradient, though
    every pair lowers the dearer of its two paths."""
    p, mean = ALPHA.softmax(-1), torch.zeros(4, dtype=torch.float64)
    for a, b in combinations(range(4), 2):
        alpha = ALPHA.clone().requires_grad_()
        (binary(alpha, mask(a, b), mask(a)) * PRICE).sum().backward()
        dearer, cheaper = (a, b) if PRICE[a] > PRICE[b] else (b, a)
        assert alpha.grad[dearer] > 0 > alpha.grad[cheaper]
        mean += p[a] * p[b] * (1 / (1 - p[a]) + 1 / (1 - p[b])) * alpha.grad
    exact = resource.exact(p, PRICE)
    assert torch.nn.functional.cosine_similarity(mean, exact, 0) > 0.9
    assert (mean / exact).std() > 0.05  # not a multiple of it either


def test_rescaling_keeps_the_other_probabilities():
    """Eq. (4): Σ p = 1, every unsampled p and hence each ratio of two of them is as before, and the two paths keep the
    ratio that the update gave them."""
    generator = Generator().manual_seed(0)
    before = torch.randn(2, 50, 6, generator=generator, dtype=torch.float64)
    live = torch.rand(2, 50, 6, generator=generator) < 0.8
    live[..., :2] = True
    pair = gates.draw(before, generator, live, 2)
    moved = before + torch.randn(
        before.shape, generator=generator, dtype=torch.float64
    )  # as momentum would: all of them
    alpha = moved.clone()
    rescale(alpha, before, pair)
    old, new = gates.softmax(before, live), gates.softmax(alpha, live)
    torch.testing.assert_close(new.sum(-1), torch.ones(2, 50, dtype=torch.float64))
    torch.testing.assert_close(new[~pair], old[~pair], atol=0, rtol=1e-12)
    torch.testing.assert_close(gates.softmax(alpha, pair), gates.softmax(moved, pair))
    assert not torch.allclose(new[pair], old[pair])


def test_a_search_moves_two_probabilities_an_edge():
    """Eqs. (3) and (4) on the real network: what has credit is what moved, and the gates are one of the two."""
    task, found = steps(12, lam=0.2)
    p = gates.softmax(task.twin().logits().detach(), task.allowed)
    for architecture, weights in zip(found[::2], found[1::2], strict=True):
        assert (architecture.phase, weights.phase) == ("architecture", "weights")
        moved = (architecture.probs - p).abs() > 1e-6
        ran = ~architecture.credit.isnan() & ((torch.arange(5) > 0) | moved)
        assert (moved.sum(-1) == 2).all()
        assert torch.equal(ran, moved)
        assert (architecture.gates[~moved] == 0).all()
        torch.testing.assert_close(architecture.probs.sum(-1), torch.ones(2, 5))
        assert torch.equal(weights.probs, architecture.probs)
        p = architecture.probs


def test_the_price_joins_at_the_gates(monkeypatch):
    """Eq. (5) over the two paths: λ adds λ p̂_i (F_i − p̂·F) to the gradient of the logits, and nothing to the credit."""
    found = {}
    for lam in (0.0, 0.7):
        task, kept = make_task("digits", seed=0, epochs=1), []
        logits = task.logits
        monkeypatch.setattr(task, "logits", lambda logits=logits, kept=kept: kept.append(logits()) or kept[-1])
        method = methods.get("proxyless")
        knobs = Knobs(**method.knobs)
        knobs.set(lam=lam)
        knobs.apply()
        found[lam] = next(method(task, knobs)), kept[0].grad
    (plain, without), (step, gradient) = found[0.0], found[0.7]
    pair = (step.probs - gates.softmax(task.twin().logits().detach(), task.allowed)).abs() > 1e-6
    p = gates.softmax(task.twin().logits().detach(), pair)
    expected = 0.7 * resource.exact(p, task.resource.price())
    torch.testing.assert_close(gradient - without, expected, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(step.credit, plain.credit, equal_nan=True)


def test_the_measured_latency_can_be_the_price():
    task, method = make_task("digits", seed=0, epochs=1), methods.get("proxyless")
    task.resource.reuse({"latency": torch.rand(task.space.shape, generator=Generator().manual_seed(0))})
    knobs = Knobs(**method.knobs)
    knobs.set(lam=5, w_parameters=0, w_madds=0, w_memory=0, w_latency=1)
    knobs.apply()
    costs = [float((step.probs * task.resource.measured["latency"]).sum()) for step in method(task, knobs)]
    assert costs[-1] < costs[0]
