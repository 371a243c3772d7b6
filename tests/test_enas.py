"""ENAS: what moves the controller, what is derived, and cells that have an operation twice."""

from itertools import islice

import pytest
import torch

from nascore import controllers, evaluate, methods, rewards
from nascore.controllers import decisions_of, gates_of
from nascore.errors import UserError
from nascore.methods import enas as module
from nascore.run import Knobs, Run
from nascore.space import TOY, Space
from nascore.supernet import Child
from nascore.task import make_task

SMALL = {"channels": 2, "batch_size": 16, "measure_every": 10**6}


def begin(task, values=None, **options):
    method = methods.get("enas")
    knobs = Knobs(**method.knobs)
    knobs.set(**(values or {}))
    knobs.apply()
    return method(task, knobs, **options)


def small(**changes):
    return make_task("digits", seed=0, **{"epochs": 4, **SMALL, **changes})


@pytest.fixture
def drawn(monkeypatch):
    """All that controllers draw, call by call."""
    kept, sample = [], controllers.LSTM.sample
    monkeypatch.setattr(controllers.LSTM, "sample", lambda *args: kept.append(sample(*args)) or kept[-1])
    return kept


@pytest.mark.parametrize("update", ["reinforce", "ppo"])
def test_the_controller_learns_what_is_rewarded(update, monkeypatch):
    """The share of edges with *skip* as the reward: nothing but the reward tells the controller of it."""
    monkeypatch.setattr(rewards, "reward", lambda task, outcome, z, knobs: z[..., 1].mean((-2, -1)))
    values, space = {"tanh_constant": 0, "controller_lr": 0.05}, Space(2, 1, TOY.ops, ("normal",), "pool")
    steps = list(islice(begin(small(space=space, cells=1), values, update=update), 120))
    assert float(steps[0].probs[..., 1].mean()) == pytest.approx(0.2, abs=0.02)
    assert float(steps[-1].probs[..., 1].mean()) > 0.6
    assert float(steps[-2].metrics["entropy"]) < float(steps[0].metrics["entropy"])


def test_what_a_step_tells_is_what_the_controller_drew(drawn):
    steps = list(islice(begin(small(space="NASP_12", cells=3), {"bonus": 0.1, "lam": 0.3}), 8))[::2]
    draws, sums, b = [d for d in drawn if len(d.taken) == module.PATHS], [0.0, 0.0], None
    for step, draw in zip(steps, draws, strict=True):
        assert torch.equal(step.gates, draw.taken[0].view_as(step.gates))
        torch.testing.assert_close(step.probs, draw.p.mean(0).view_as(step.gates))
        entropy = -torch.xlogy(draw.p, draw.p).sum(-1)
        torch.testing.assert_close(step.metrics["entropy"], entropy.mean())
        reward = float(step.metrics["reward"])
        b = sums[0] / sums[1] if sums[1] else reward
        assert float(step.metrics["baseline"]) == pytest.approx(b, abs=1e-6)
        sums = [0.95 * sums[0] + reward, 0.95 * sums[1] + 1]
        at = step.gates > 0
        torch.testing.assert_close(
            step.advantage[at], torch.full_like(step.advantage[at], reward - b), atol=1e-6, rtol=0
        )
        assert step.advantage[~at].isnan().all()
        assert reward < 1.2 + 0.1 * float(entropy[0].sum())


def test_the_reward_is_the_accuracy_of_search_less_the_price_and_the_bonus(drawn):
    values = {"bonus": 0.1, "lam": 0.3}
    step = next(begin(small(), values))
    other, z = small(), step.gates
    accuracy = float(other.outcome(other.batch("search"), z).accuracy)
    entropy = float(drawn[-1].entropy[0].sum())
    expected = accuracy - 0.3 * float(other.resource.expected(z)) + 0.1 * entropy
    assert float(step.metrics["reward"]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("update", ["reinforce", "ppo"])
def test_the_controller_moves_once_enough_children_are_collected(update, monkeypatch):
    made, init = [], controllers.LSTM.__init__
    monkeypatch.setattr(controllers.LSTM, "__init__", lambda self, *args: made.append(self) or init(self, *args))
    iterator, before, moved = begin(small(), update=update), None, []
    for _ in range(12):
        next(iterator)
        now = made[0].head.detach().clone()
        moved.append(before is not None and not torch.equal(now, before))
        before = now
        next(iterator)
    assert [t for t, each in enumerate(moved) if each] == [module.COLLECTED - 1]


def test_the_child_derived_is_the_best_of_those_drawn(monkeypatch):
    task = small()
    decisions = decisions_of(TOY)
    taken = controllers.LSTM(decisions, task.stream("c")).sample(6, task.noise).taken
    z = gates_of(TOY, "edges", taken, taken)
    found = {}

    def spied(task, outcome, child, knobs):
        found[child] = outcome.accuracy
        return outcome.accuracy

    monkeypatch.setattr(rewards, "reward", spied)
    best = module.derive(task, Knobs(**methods.get("enas").knobs), z, z > 0)
    assert torch.equal(best, max(found, key=lambda child: float(found[child])))


def test_the_micro_search_takes_two_inputs_a_node_and_its_probabilities_sum_to_one_a_node():
    task = small(measure_every=2)
    into = torch.tensor([[target == node for _, target in TOY.edges] for node in (2, 3)])
    for step in islice(begin(task, cell="micro"), 8):
        for node in into:
            torch.testing.assert_close(step.probs[:, node].sum((1, 2)), torch.ones(2))
            assert step.gates[:, node].sum((1, 2)).tolist() == [2, 2]
            assert TOY.counts(step.graphs)[:, node.numpy(), 1:].sum((1, 2)).tolist() == [2, 2]
        assert (step.gates[..., 0] == 0).all()
        assert (step.probs[..., 0] == 0).all()


def test_a_child_with_an_operation_twice_is_the_supernet_with_that_gate_two():
    """As it is, and where its operations keep the gates they were trained under."""
    task = small()
    twice = [(0, 2, "conv3"), (0, 2, "conv3"), (1, 3, "avg3"), (1, 3, "skip")]
    graphs = {name: TOY.graph(twice) for name in TOY.cells}
    counts = torch.tensor(TOY.counts(graphs), dtype=torch.float32)
    assert counts[0, 0].tolist() == [0, 0, 0, 2, 0]
    assert counts[0, TOY.edges.index((1, 3))].tolist() == [0, 1, 0, 0, 1]
    with pytest.raises(UserError, match=r"edge \(0, 2\) twice"):
        TOY.one_hot(graphs)
    images = task.batch("train").images
    with torch.no_grad():
        torch.testing.assert_close(Child.inherit(task.network, graphs)(images), task.network(images, counts))
        for gates in (counts, counts * 0.5):
            child = evaluate.inherit(task, graphs, gates)
            torch.testing.assert_close(child(images), task.network(images, gates))


def test_a_run_of_the_micro_search_is_measured():
    task = small(measure_every=3, batch_size=64)
    run = Run(methods.get("enas"), task, options={"cell": "micro"})
    step = list(islice(run, 6))[5]
    counts = torch.tensor(TOY.counts(step.graphs))
    assert step.metrics["child_cost"] == pytest.approx(float((task.resource.price() * counts).sum()), rel=1e-5)
    assert 0 <= step.metrics["child_accuracy_recalibrated"] <= 1
    retrained = evaluate.retrain(task, step.graphs, epochs=1)
    assert retrained["cost"] == pytest.approx(step.metrics["child_cost"], rel=1e-5)


def test_expected_cost_is_that_of_the_gates():
    step = next(begin(small(), cell="micro"))
    price = small().resource.price()
    torch.testing.assert_close(step.metrics["cost"], (price * step.probs * 2).sum())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update": "ppoo"}, r"update: 'ppoo' is not one of ppo, reinforce. Did you mean 'ppo'"),
        ({"cell": "macro"}, r"cell: 'macro' is not one of edges, micro. Did you mean 'micro'"),
    ],
)
def test_unknown_options(options, message):
    with pytest.raises(UserError, match=message):
        next(begin(small(), **options))
