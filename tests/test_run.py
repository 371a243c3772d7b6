"""Knobs, steps and the run that advances a method."""

import itertools
import math
import time

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from walk import small, walk

from nascore import methods
from nascore.errors import UserError, choose, number
from nascore.record import Recording
from nascore.run import HALF_PHASES, Knob, Knobs, Run, Step, Traits, declare
from nascore.task import make_task

# ------------------------------------------------------------------------------------------- sentences


def test_choose_names_the_argument_the_value_the_choices_and_the_near_match():
    assert choose("method", "snas", ["snas", "darts"]) == "snas"
    with pytest.raises(UserError) as caught:
        choose("method", "snass", ["snas", "darts"])
    assert str(caught.value) == "method: 'snass' is not one of darts, snas. Did you mean 'snas'?"
    with pytest.raises(UserError, match="Did you mean 'TOY'"):
        choose("space", "toy", ["TOY", "DARTS"])
    with pytest.raises(UserError) as caught:
        choose("method", None, ["snas"])
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "x", "", None, True, [1], -1, 11, "nan", 1e400])
def test_number_refuses_what_is_no_number_within_the_bounds(value):
    with pytest.raises(UserError, match=r"^lam: .* is not a number from 0 to 10\.$") as caught:
        number("lam", value, 0, 10)
    assert str(value) in str(caught.value)


def test_number_takes_numbers_and_text_that_spells_them():
    assert number("lam", "0.5", 0, 1) == 0.5
    assert number("epochs", "3", low=1, integer=True) == 3
    assert isinstance(number("epochs", 3.0, low=1, integer=True), int)
    assert number("seed", 2**60 + 1, low=0, integer=True) == 2**60 + 1
    with pytest.raises(UserError, match="at least 1"):
        number("epochs", 0, low=1, integer=True)
    with pytest.raises(UserError, match="whole number"):
        number("epochs", 1.5, integer=True)
    with pytest.raises(UserError, match="at most 3 s"):
        number("wait", 4, high=3, unit="s")


# ----------------------------------------------------------------------------------------------- knobs


def test_a_knob_moves_only_when_it_is_applied():
    knobs = Knobs(lam=Knob(0.5, 0, 10, "penalty"), tau=Knob(1, 0.1, 5, "temperature"))
    knobs.set(lam=2, tau=1)
    assert (knobs.lam, knobs.tau) == (0.5, 1)
    assert knobs.apply() == {"lam": 2}  # tau was set to the value it had
    assert knobs.lam == 2
    assert knobs.apply() == {}
    assert knobs.values() == {"lam": 2, "tau": 1}


def test_the_outside_wins_over_the_script():
    knobs = Knobs(lam=Knob(0, 0, 10, "penalty"), tau=Knob(1, 0.1, 5, "temperature"))
    knobs.set(lam=3)
    assert knobs.apply({"lam": 1, "tau": 2}) == {"lam": 3, "tau": 2}


def test_bad_knob_values_are_refused_at_once_and_together():
    knobs = Knobs(lam=Knob(0, 0, 10, "penalty"), on=Knob(0, 0, 1, "switch", toggle=True))
    with pytest.raises(UserError, match=r"lamb: there is no such knob; the knobs are lam, on\. Did you mean 'lam'"):
        knobs.set(lamb=1)
    with pytest.raises(ValueError, match=r"lam: -1 is not a number from 0 to 10\."):
        knobs.set(on=1, lam=-1)
    with pytest.raises(UserError, match=r"on: 0\.5 is not a whole number from 0 to 1"):
        knobs.set(on=0.5)
    assert knobs.apply() == {}
    with pytest.raises(AttributeError, match="Did you mean 'lam'"):
        _ = knobs.lamm


def test_a_knob_cannot_hide_what_knobs_can_do():
    with pytest.raises(UserError, match="'set' cannot name a knob"):
        Knobs(set=Knob(0, 0, 1, "x"))


def test_declare_tells_what_the_outside_may_know():
    assert walk.knobs["lam"].label == "penalty λ"
    assert walk.options == {"stride": 0.5, "fail_at": -1, "halves": False}
    assert walk.own_rule == "argmax"
    assert declare("top2")(lambda task, knobs: iter(())).own_rule == "top2"


# ------------------------------------------------------------------------------------------------- run


def test_a_run_numbers_yields_and_adds_what_follows_from_probs():
    task = small()
    steps = list(itertools.islice(Run(walk, task), 3))
    assert [step.t for step in steps] == [0, 1, 2]
    price = np.asarray(task.resource.price(), np.float64)
    for step in steps:
        p = np.asarray(step.probs, np.float64)
        brute = [-sum(q * math.log(q) for q in row if q > 0) for row in p.reshape(-1, p.shape[-1])]
        assert step.metrics["entropy"] == pytest.approx(sum(brute) / len(brute), rel=1e-6)
        assert step.metrics["cost"] == pytest.approx((p * price).sum(), rel=1e-6)
        child = np.eye(p.shape[-1])[p.argmax(-1)]
        assert step.metrics["child_cost"] == pytest.approx((child * price).sum(), rel=1e-6)
        assert step.metrics["updates"] == step.t + 1
        assert all(type(value) in (int, float) for value in step.metrics.values())


@pytest.mark.parametrize("kind", ["simplex", "bernoulli", "box", "none"])
def test_entropy_and_expected_cost_are_those_of_a_distribution(kind):
    """−Σ p ln p of one draw an edge; of bernoulli options by enumeration of all subsets; else absent."""

    @declare("argmax", Traits(probs=kind))
    def told(task, knobs):
        table = torch.rand(task.space.shape, generator=torch.Generator().manual_seed(0))
        table = table / table.sum(-1, keepdim=True) if kind == "simplex" else table
        yield task.step(0, table, table, loss=table.sum())

    run = Run(told, small())
    step = next(run)
    assert run.meta["probs"] == kind
    assert ("entropy" in step.metrics) == ("cost" in step.metrics) == (kind in ("simplex", "bernoulli"))
    assert "child_cost" in step.metrics
    p = np.asarray(step.probs, np.float64).reshape(-1, 5)
    if kind == "simplex":
        assert step.metrics["entropy"] == pytest.approx(-(p * np.log(p)).sum(-1).mean())
    if kind == "bernoulli":
        subsets = np.array(list(itertools.product([0, 1], repeat=5)))
        chances = np.where(subsets, p[:, None], 1 - p[:, None]).prod(-1)  # [edge, subset]
        assert step.metrics["entropy"] == pytest.approx(-(chances * np.log(chances)).sum(-1).mean())
        prices = np.asarray(run.task.resource.price(), np.float64).reshape(-1, 5)
        expected = sum(float(chance @ (subsets @ price)) for chance, price in zip(chances, prices, strict=True))
        assert step.metrics["cost"] == pytest.approx(expected)


def test_a_run_can_be_kept_in_memory():
    run = Run(walk, small(), script={2: {"lam": 0.7}})
    recording = Recording.from_steps(itertools.islice(run, 4), run.meta, run.script)
    assert recording.metric("lam").tolist() == [0.1, 0.1, 0.7, 0.7]
    assert recording.column("probs").shape == (4, *run.task.space.shape)
    assert recording.values(3)["lam"] == 0.7


def test_steps_are_copies_that_later_steps_do_not_change():
    @declare()
    def still(task, knobs):
        table = torch.full(task.space.shape, 0.2)
        for _ in range(3):
            yield Step(0, "update", {"loss": table.sum()}, table, table)  # the same tensor each time
            table.mul_(2)

    task = small()
    steps = list(Run(still, task))
    assert [float(step.probs[0, 0, 0]) for step in steps] == pytest.approx([0.2, 0.4, 0.8])


def test_everything_is_read_in_one_transfer(monkeypatch):
    transfers = []
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: transfers.append(tensor.shape) or cpu(tensor))
    run = Run(walk, small())
    next(run)
    assert len(transfers) == 1
    next(run)
    assert len(transfers) == 2


def test_measurements_come_every_few_whole_steps_and_at_the_end():
    run = Run(walk, small(), options={"halves": True})  # 15 steps of two halves, measured every 10
    measured = [step.t for step in run if "child_accuracy" in step.metrics]
    assert measured == [19, 29]
    assert run.status == "finished"
    assert "credit" in HALF_PHASES


def test_script_and_slider_hold_from_the_next_yield_on():
    run = Run(walk, small(), script={0: {"lam": 0.2}, 3: {"lam": 0.5}})
    seen = [next(run).metrics["lam"] for _ in range(4)]
    run.knobs.set(lam=0.7)
    assert run.knobs.lam == 0.5
    assert [*seen, next(run).metrics["lam"]] == [0.2, 0.2, 0.2, 0.5, 0.7]
    with pytest.raises(UserError, match="lam: 20 is not"):
        Run(walk, small(), script={1: {"lam": 20}})


@pytest.mark.parametrize("where", ["loss", "probs", "gates"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_fails_the_run_and_is_named(where, value, tmp_path):
    @declare()
    def diverges(task, knobs):
        good = torch.full(task.space.shape, 0.2)
        for t in itertools.count():
            bad = good * value if t == 2 else good
            parts = {"probs": good, "gates": good} | ({where: bad} if where != "loss" else {})
            yield Step(t, "update", {"loss": bad.mean() if where == "loss" else good.mean()}, **parts)

    run = Run(diverges, small(), record=tmp_path / "run.sqlite")
    with pytest.raises(FloatingPointError, match=rf"^{where} is .* at t = 2"):
        list(run)
    assert run.status == "failed"
    assert list(run) == []


def test_closing_runs_the_methods_finally_and_errors_end_the_run():
    ended = []

    @declare()
    def careful(task, knobs):
        try:
            while True:
                yield task.step(0, torch.full(task.space.shape, 0.2))
        finally:
            ended.append(True)

    with Run(careful, small()) as run:
        next(run)
        assert run.status == "running"
    assert ended == [True]
    assert run.status == "stopped"
    assert list(run) == []
    run.close()

    run = Run(walk, small(), options={"fail_at": 2})
    with pytest.raises(RuntimeError, match="the walk fell"):
        list(run)
    assert run.status == "failed"
    assert run.t == 2


def test_the_thread_count_is_set_for_the_method_and_given_back():
    inside = []

    @declare()
    def looks(task, knobs):
        while True:
            inside.append(torch.get_num_threads())
            yield task.step(0, torch.full(task.space.shape, 0.2))

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        next(Run(looks, small()))
        next(Run(looks, small(), threads=3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert inside == [1, 3]


def test_processor_time_is_the_methods_alone(tmp_path):
    def spin(seconds):
        began = time.process_time()
        while time.process_time() - began < seconds:
            pass

    def measure(step):
        spin(0.2)
        return {"accuracy": 0.5}

    @declare()
    def works(task, knobs):
        for t in task.clock():
            spin(0.01)
            yield task.step(t, torch.full(task.space.shape, 0.2))

    task = small()
    task.measure, task.measure_every = measure, 5
    *_, last = Run(works, task, record=tmp_path / "run.sqlite")
    assert last.metrics["accuracy"] == 0.5
    assert 15 * 0.01 <= last.metrics["cpu_seconds"] < 15 * 0.01 + 0.2  # three measurements took 0.6 s


@hypothesis.given(st.lists(st.dictionaries(st.sampled_from(["lam", "fast"]), st.sampled_from([0, 1]), max_size=2)))
@hypothesis.settings(max_examples=20)
def test_applied_changes_add_up_to_the_values(moves):
    knobs = Knobs(**walk.knobs)
    log = knobs.values()
    for move in moves:
        knobs.set(**move)
        changed = knobs.apply()
        assert all(log[name] != value for name, value in changed.items())
        log |= changed
        assert log == knobs.values()


@pytest.mark.parametrize("name", methods.METHODS)
def test_same_seed_and_script_give_the_same_rows(name):
    def rows():
        run = Run(methods.get(name), make_task("digits", 3, 1, measure_every=4), script={2: {"lam": 0.4}})
        return list(itertools.islice(run, 5))

    for one, other in zip(rows(), rows(), strict=True):
        same = {k: v for k, v in one.metrics.items() if k != "cpu_seconds"}
        assert same == {k: v for k, v in other.metrics.items() if k != "cpu_seconds"}
        assert torch.equal(one.probs, other.probs)
        assert torch.equal(one.gates, other.gates)
