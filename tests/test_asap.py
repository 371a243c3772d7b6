"""ASAP: eqs. (1) to (4) of ``nascore.methods.asap``, and what pruning does to gates, loss and resumed runs."""

import numpy as np
import pytest
import torch

from nascore import evaluate, gates, methods
from nascore.errors import UserError
from nascore.methods import asap as module
from nascore.run import Knobs
from nascore.task import make_task


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def begin(task, warm_up=0.2, **values):
    method = methods.get("asap")
    knobs = Knobs(**method.knobs)
    knobs.set(**values)
    knobs.apply()
    return method(task, knobs, warm_up=warm_up)


@pytest.fixture(scope="module")
def search():
    """A search short enough for a test and hot enough to prune all but one operation of every edge."""
    task = make_task("digits", seed=0, epochs=3, measure_every=50)
    return task, list(begin(task, architecture_lr=0.1, tau_end=0.01, threshold=1))


def test_shares_are_a_softmax_over_the_live_operations():
    """Eq. (1), term by term; what was pruned has exactly 0, however large its logit."""
    alpha, tau = normal(2, 3, 5), 0.3
    alpha[0, 0, 1] = 50.0
    live = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(1)) < 0.6
    live[..., 4], live[0, 0, 1] = True, False
    phi = gates.annealed(alpha, tau, live)
    for edge in np.ndindex(2, 3):
        weights = {k: np.exp(float(alpha[edge][k]) / tau) for k in range(5) if live[edge][k]}
        for k in range(5):
            assert float(phi[edge][k]) == pytest.approx(weights.get(k, 0.0) / sum(weights.values()), rel=1e-12)
    assert (phi[~live] == 0).all()


def test_one_operation_is_left_as_the_temperature_goes_to_0():
    """Eq. (1), T → 0: the share of the largest logit goes to 1."""
    alpha, live = normal(4, 5), torch.ones(4, 5, dtype=torch.bool)
    torch.testing.assert_close(gates.annealed(alpha, 1e-3, live), gates.one_hot(alpha))


def test_an_operation_survives_by_its_share_or_as_the_last():
    """Eq. (4) edge by edge: everything below θ goes, but never the largest share, even if θ is above all."""
    phi = normal(50, 5).softmax(-1)
    for theta in (0.0, 0.05, 0.15, 0.9):
        stays = module.survive(phi, torch.full((50, 1), theta, dtype=torch.float64))
        for row, kept in zip(phi.tolist(), stays.tolist(), strict=True):
            assert kept == [share >= theta or k == row.index(max(row)) for k, share in enumerate(row)]
    assert module.survive(torch.full((1, 5), 0.2), torch.ones(1, 1)).sum() == 1  # equal shares too


def test_temperature_and_threshold(monkeypatch):
    """Eqs. (2) and (3): T falls exponentially and θ rises from 0, both once the warm-up is over."""
    thresholds, survive = [], module.survive
    monkeypatch.setattr(module, "survive", lambda phi, theta: thresholds.append(theta) or survive(phi, theta))
    task = make_task("digits", seed=0, epochs=2)  # 30 steps
    steps = list(begin(task, warm_up=0.4, tau_start=2, tau_end=0.02, threshold=0.5))
    assert [step.phase for step in steps] == ["update"] * 12 + ["architecture", "weights"] * 18
    s = np.array([0] * 12 + [k / 18 for k in range(18) for _ in range(2)])
    np.testing.assert_allclose([step.metrics["tau"] for step in steps], 2 * (0.02 / 2) ** s)
    for theta, share in zip(thresholds, s[12::2], strict=True):
        torch.testing.assert_close(theta, torch.full((2, 5, 1), float(0.5 * share / 5)))


def test_the_warm_up_is_single_level_and_the_rest_bi_level(monkeypatch):
    task, splits = make_task("digits", seed=0, epochs=1), []
    batch = task.batch
    monkeypatch.setattr(task, "batch", lambda split: splits.append(split) or batch(split))
    list(begin(task, warm_up=0.4))
    assert splits == ["train+search"] * 6 + ["search", "train"] * 9


def test_the_live_set_never_grows_and_ends_with_one_operation_an_edge(search):
    """Claim 39's pruning: S_e(t + 1) ⊆ S_e(t), and at a low temperature the supernet is its own child."""
    task, steps = search
    live = torch.stack([step.probs > 0 for step in steps])
    assert not (live[1:] & ~live[:-1]).any()
    sizes = live.sum((1, 2, 3))
    assert sizes[0] == 50
    assert len(sizes.unique()) > 5  # bit by bit
    assert (live[-1].sum(-1) == 1).all()
    images, last = task.images("valid"), steps[-1]
    child = evaluate.inherit(task, task.space.decode(last.probs))
    assert evaluate.accuracy(task.network, images, last.gates) == evaluate.accuracy(child, images)


def test_the_mass_of_what_was_pruned_goes_to_the_others_in_proportion(search):
    """Eq. (1) after (4): rows sum to 1, and Φ'_k = Φ_k / (1 − m), m the mass that was pruned."""
    _, steps = search
    for step in steps:
        torch.testing.assert_close(step.probs.sum(-1), torch.ones(2, 5))
    alpha, live = normal(2, 5, 5), torch.ones(2, 5, 5, dtype=torch.bool)
    for _ in range(4):
        before = gates.annealed(alpha, 0.5, live)
        live &= module.survive(before, torch.full((2, 5, 1), 0.08))
        mass = (before * ~live).sum(-1, keepdim=True)
        torch.testing.assert_close(gates.annealed(alpha, 0.5, live), before * live / (1 - mass))
        alpha += 0.3 * normal(2, 5, 5, seed=int(live.sum()))


def test_a_prune_changes_the_loss_by_the_mass_removed():
    """To first order L(Φ') − L(Φ) = ∂L/∂Φ · (Φ' − Φ) = m (⟨g, Õ'⟩ − ⟨g, O_k⟩); what is left falls as m²."""
    task = make_task("digits", seed=0, epochs=1)
    task.network.double()
    batch = task.batch("train")
    batch = batch._replace(images=batch.images.double())
    live = torch.ones(2, 5, 5, dtype=torch.bool)
    kept = live.clone()
    kept[0, 3, 3] = False
    changes, errors = [], []
    for mass in (1e-3, 1e-4, 1e-5):
        alpha = normal(2, 5, 5)
        rest = alpha[0, 3, kept[0, 3]].exp().sum()
        alpha[0, 3, 3] = torch.log(rest * mass / (1 - mass))
        seen = gates.tap(gates.annealed(alpha, 1.0, live))
        before = task.loss(batch, seen, update_statistics=False)
        before.backward()
        after = gates.annealed(alpha, 1.0, kept)
        change = float((task.loss(batch, after, update_statistics=False) - before).detach())
        shifted = after - seen.detach()
        assert float(shifted.abs().sum()) == pytest.approx(2 * mass)  # as much is gained as lost
        first_order = float((seen.grad * shifted).sum())
        gained = (seen.grad * after)[0, 3].sum() - seen.grad[0, 3, 3]
        assert first_order == pytest.approx(float(mass * gained), rel=1e-9)
        changes.append(abs(change))
        errors.append(abs(change - first_order))
    assert changes[1] == pytest.approx(changes[0] / 10, rel=0.1)
    assert errors[1] < errors[0] / 30  # 1/100 but for kinks and rounding
    assert errors[2] < 1e-3 * changes[2]


def test_what_was_pruned_is_not_computed(monkeypatch):
    """The table of what is computed has every live operation and nothing that was pruned before this iteration."""
    task, tables = make_task("digits", seed=0, epochs=3, measure_every=50), []
    loss = task.loss
    monkeypatch.setattr(
        task, "loss", lambda *args, active, **rest: tables.append(active) or loss(*args, active=active, **rest)
    )
    steps = list(begin(task, architecture_lr=0.1, tau_end=0.01, threshold=1))
    before = torch.ones(2, 5, 5, dtype=torch.bool)
    for step, table in zip(steps, tables, strict=True):
        assert torch.equal(table, before)
        if step.phase == "architecture":
            assert torch.equal(step.credit.isnan(), ~before)
        else:
            before = step.probs > 0
    assert before.sum() == 10


def test_a_resumed_run_keeps_its_mask(search):
    """The mask is in the clock: from a snapshot between two prunes on, the same numbers follow."""
    settings = {"architecture_lr": 0.1, "tau_end": 0.01, "threshold": 1}
    task, kept = make_task("digits", seed=0, epochs=3, measure_every=50), {}
    iterator = begin(task, **settings)
    task.on_boundary = lambda iteration: kept.update({iteration: task.snapshot()})
    while task.iteration < 14:
        next(iterator)
    live = kept[14][0]["/owned/live"]
    assert 10 < live.sum() < 50
    again = make_task("digits", seed=0, epochs=3, measure_every=50)
    resumed = begin(again, **settings)
    again.restore_later(*kept[14])
    first = next(resumed)
    assert not (first.probs > 0)[~live].any()
    others = [step for step in search[1] if step.t >= 14]
    for a, b in zip(others, [first, *resumed], strict=True):
        assert (a.t, a.phase) == (b.t, b.phase)
        assert torch.equal(a.probs, b.probs)
        assert torch.equal(a.metrics["loss"], b.metrics["loss"])


def test_warm_up_is_a_share():
    with pytest.raises(UserError, match=r"warm_up: 2 is not a number from 0 to 1"):
        next(begin(make_task("digits", epochs=1), warm_up=2))
    phases = {step.phase for step in begin(make_task("digits", epochs=1), warm_up=1)}
    assert phases == {"update"}
