"""Runs side by side in one network: each step is that of the run alone, and forks share their chance in pairs."""

import copy
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nets import in_double

import nascore
from nascore import gates, methods
from nascore.__main__ import main
from nascore.errors import UserError
from nascore.jobs import Job, branch, execute, search, search_together
from nascore.record import Recording, runs
from nascore.run import COLUMNS, Knob, Knobs, Run, declare
from nascore.space import SPACES
from nascore.task import make_task
from nascore.together import KnobsTogether, RunsTogether, Together, fork, futures, grouped, largest, units

SMALL = {"measure_every": 4, "batch_size": 100, "channels": 4}  # 10 steps an epoch
BRIEF = {**SMALL, "batch_size": 250}  # 4 steps an epoch
KINDS = {
    "snas": ("snas", {}),
    "snas score": ("snas", {"estimator": "score"}),
    "snas expectation": ("snas", {"estimator": "expectation"}),
    "darts": ("darts", {}),
    "darts in one": ("darts", {"level": "single"}),
    "darts of second order": ("darts", {"order": "second"}),
    "snas one-hot": ("snas", {"sample": "one-hot"}),
    "nasp as released": ("nasp", {"variant": "released"}),
} | {
    name: (name, {}) for name in methods.METHODS if name not in ("snas", "darts") and methods.get(name).traits.together
}
FREE = {
    "snas": {"lam": 0.3, "budget": 0.3, "tau_start": 2.0, "weight_lr": 0.05, "w_madds": 0.9},
    "darts": {"lam": 0.4, "architecture_lr": 0.1, "w_memory": 0.0},
    "random": {"lam": 5.0, "weight_lr": 0.3},
    "nasp": {"lam": 0.3, "eta": 0.5, "architecture_lr": 0.1},
}


def run(name, seed, options=None, values=None, task=None, record=None):
    task = make_task("digits", seed, 1, **SMALL) if task is None else task
    return Run(methods.get(name), task, script={0: values or {}}, options=options, record=record)


def state(one):
    """Everything a step changes: weights, statistics, logits, momenta, counters."""
    return read(one.task.snapshot()[0]), dict(one.task.counters)


def read(tensors):
    """All but the counts of batches, which batch norm with a momentum does not read: a batch has one for all runs."""
    return {key: x.clone() for key, x in tensors.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_equals_the_separate_runs_from_the_same_state(kind, double):
    """Three seeds with other knobs in each, in float64 where rounding does not hide a fault; several steps, because
    the later ones start from momenta, statistics and logits that have to be equal too.
    """
    name, options = KINDS[kind]
    free = FREE.get(name, {"lam": 0.3, "weight_lr": 0.05})
    values = [{}, free, {**free, "lam": 1.7}]
    alone, beside = (
        [
            run(name, seed, options, own, in_double(make_task("digits", seed, 1, **BRIEF)))
            for seed, own in enumerate(values)
        ]
        for _ in range(2)
    )
    together = RunsTogether(beside)
    for t, steps in enumerate(zip(*alone, strict=True)):
        for one, step, other, found in zip(alone, steps, beside, next(together), strict=True):
            assert found.phase == step.phase
            assert found.t == step.t == t
            assert list(found.metrics) == list(step.metrics)
            for metric in set(step.metrics) - {"cpu_seconds"}:
                assert found.metrics[metric] == pytest.approx(step.metrics[metric], rel=1e-10, abs=1e-12), (t, metric)
            for column in COLUMNS:
                expected = getattr(step, column)
                if expected is None:
                    assert getattr(found, column) is None
                else:
                    torch.testing.assert_close(getattr(found, column), expected, rtol=1e-10, atol=1e-12, equal_nan=True)
            assert found.graphs == step.graphs
            tensors, counters = state(one)
            others, counted = state(other)
            assert counted == counters
            assert tensors.keys() == others.keys()
            for key, tensor in tensors.items():
                torch.testing.assert_close(
                    others[key], tensor, rtol=1e-9, atol=1e-12, msg=lambda m, key=key: f"{key}: {m}"
                )
    assert np.asarray(found.metrics["loss"]) != np.asarray(steps[0].metrics["loss"])  # the runs are not one run


def test_each_run_clips_its_own_gradient():
    """A run with a huge gradient must not shrink the steps of the others."""
    tasks = [make_task("digits", seed, 1, **SMALL) for seed in range(3)]
    together = Together(tasks)
    optimiser = together.optimisers(weights=together.network)
    factor = torch.tensor([1e6, 1.0, 1e-3])

    def moved(task, move, scale):
        before = read(task.network.state_dict())
        loss = task.loss(task.batch("train"), torch.rand(task.space.shape, generator=torch.Generator().manual_seed(3)))
        move(loss * scale)
        return {name: value - before[name] for name, value in read(task.network.state_dict()).items()}

    expected = []
    for seed in range(3):
        alone = make_task("digits", seed, 1, **SMALL)
        expected.append(moved(alone, alone.optimisers(weights=alone.network).step_weights, factor[seed]))
    before = [read(task.network.state_dict()) for task in tasks]
    z = torch.rand(together.space.shape, generator=torch.Generator().manual_seed(3)).expand(3, -1, -1, -1)
    optimiser.step_weights(together.loss(together.batch("train"), z) * factor)
    for task, was, want in zip(tasks, before, expected, strict=True):
        for name, value in read(task.network.state_dict()).items():
            torch.testing.assert_close(value - was[name], want[name], rtol=1e-3, atol=1e-6)
    # Clipped to a norm of 5 and multiplied by the rate of 0.1: no further than 0.5, and the huge one as far as that.
    lengths = [
        sum(float((p.detach() - was[n]).square().sum()) for n, p in task.network.named_parameters()) ** 0.5
        for task, was in zip(tasks, before, strict=True)
    ]
    assert lengths[0] == pytest.approx(0.5, rel=1e-3)
    assert 1e-6 < lengths[2] < lengths[1]


def test_the_networks_of_the_tasks_are_those_of_the_batch():
    tasks = [make_task("digits", seed, 1, **SMALL) for seed in range(2)]
    own = [copy.deepcopy(task.network) for task in tasks]
    together = Together(tasks)
    z = torch.rand(together.space.shape).softmax(-1)
    images = tasks[0].images("valid").images[:10]
    found = together.network(images.expand(2, -1, -1, -1, -1), z.expand(2, -1, -1, -1)).detach()
    for task, network, out in zip(tasks, own, found, strict=True):
        torch.testing.assert_close(out, network(images, z), rtol=1e-4, atol=1e-5)
        others = read(network.state_dict())
        for name, value in read(task.network.state_dict()).items():
            torch.testing.assert_close(value, others[name], rtol=1e-4, atol=1e-5)  # statistics moved alike
    with torch.no_grad():
        for parameter in together.network.parameters():
            parameter.zero_()
    assert not any(p.any() for task in tasks for p in task.network.parameters())


def test_chance_is_that_of_each_run():
    streams = [torch.Generator().manual_seed(seed) for seed in (4, 5)]
    like = torch.zeros(2, 2, 5, 5)
    allowed = torch.ones(2, 5, 5, dtype=torch.bool)
    drawn, chosen = gates.gumbel(like, streams), gates.uniform_one_hot(allowed, streams)
    for seed, own, one in zip((4, 5), drawn, chosen, strict=True):
        stream = torch.Generator().manual_seed(seed)
        assert torch.equal(own, gates.gumbel(like[0], stream))
        assert torch.equal(one, gates.uniform_one_hot(allowed, stream))
    z = gates.concrete(like, torch.tensor([0.5, 2.0]), drawn)
    for tau, own, g in zip((0.5, 2.0), z, drawn, strict=True):
        assert torch.equal(own, gates.concrete(like[0], tau, g))


def test_knobs_are_numbers_until_they_differ():
    each = [Knobs(lam=Knob(0.5, 0, 1, "λ"), on=Knob(0, 0, 1, "on", toggle=True)) for _ in range(2)]
    knobs = KnobsTogether(each, torch.device("cpu"))
    assert (knobs.lam, knobs.on) == (0.5, 0)
    each[1].set(lam=0.25, on=1)
    each[1].apply()
    assert knobs.lam.tolist() == [0.5, 0.25]
    with pytest.raises(UserError, match=r"^on: it differs between the runs"):
        _ = knobs.on


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "sweep.sqlite"
    return search_together(
        "snas", seeds=2, epochs=1, lam=[0.0, 0.6], record=path, batched=True, progress=False, **SMALL
    )


def test_recordings_of_a_sweep_hold_what_single_ones_do(swept, tmp_path):
    single = search("snas", seed=1, epochs=1, lam=0.6, record=tmp_path / "one.sqlite", progress=False, **SMALL)
    assert [(r.meta["seed"], r.values()["lam"]) for r in swept] == [(0, 0), (1, 0), (0, 0.6), (1, 0.6)]
    assert len({recording.path for recording in swept}) == 1
    for place, recording in enumerate(swept):
        assert recording.status == "finished"
        assert recording.columns == single.columns
        assert len(recording) == len(single) == 10
        assert [list(step.metrics) for step in recording] == [list(step.metrics) for step in single]
        assert recording.meta["batched"] == {"runs": 4, "place": place}
        assert recording.meta["sweep"] == {"runs": 4, "batched": True, "why": "as asked"}
        assert recording.checkpoint(len(recording)) is None
        assert set(single.meta) | {"batched", "sweep"} == set(recording.meta)
    np.testing.assert_allclose(swept[3].column("probs"), single.column("probs"), atol=1e-3)
    assert abs(swept[2].column("probs") - single.column("probs")).max() > 2e-3  # another seed


def test_a_batched_run_is_neither_resumed_nor_branched(swept):
    one = swept[1]
    match = f"run {one.id} was one of 4 in a batch, .* seed=1 alone first"
    with pytest.raises(UserError, match=f"^resume: {match}"):
        Job("snas", record=one.path, resume=one.id).open()
    with pytest.raises(UserError, match=f"^branch: {match}"):
        branch(one, 3, lam=1)
    with pytest.raises(UserError, match=f"^branch: {match}"):
        Job("snas", record=one.path, branch={"run": one.id, "t": 3, "knobs": {}}).open()
    with pytest.raises(UserError, match=f"^fork: {match}"):
        fork(one, 3, {"lam": 1})


def test_what_is_not_alike_runs_apart(tmp_path):
    """Switches and options differ between batches, never within one."""
    made = [
        run("snas", seed, {"estimator": estimator}, {"schedule": schedule})
        for estimator, schedule, seed in itertools.product(("pathwise", "score"), (0, 1), (0, 1))
    ]
    made.append(run("snas", 0, {"estimator": "score"}, task=make_task("digits", 0, 2, **SMALL)))
    found = [[made.index(one) for one in some] for some, _, _ in grouped(made, True)]
    assert found == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]
    found = units(made, True)
    assert [type(unit) for unit in found] == [RunsTogether] * 4 + [Run]
    assert "no other run is alike" in made[8].meta["sweep"]["why"]
    assert not made[8].meta["sweep"]["batched"]


def test_one_after_another_is_the_separate_run(tmp_path):
    found = search_together("random", seeds=[3], epochs=1, record=tmp_path / "a.sqlite", progress=False, **BRIEF)
    apart = search_together("random", seeds=[3, 1], epochs=1, record=tmp_path / "b.sqlite", batched=False, **BRIEF)
    single = search("random", seed=3, epochs=1, record=tmp_path / "c.sqlite", progress=False, **BRIEF)
    for one in (found[0], apart[0]):
        assert one.column("gates").tobytes() == single.column("gates").tobytes()
        assert one.metric("loss").tobytes() == single.metric("loss").tobytes()
        assert "batched" not in one.meta
    assert apart[1].meta["sweep"] == {"runs": 2, "batched": False, "why": "as asked"}


@declare(lam=Knob(0, 0, 10, "λ"))
def doomed(task, knobs):
    """The loss of the runs with a penalty is not finite from the third step on."""
    alpha = task.logits()
    for t in task.clock(alpha=alpha):
        loss = task.loss(task.batch("train"), alpha.softmax(-1)).detach()
        loss = torch.where(torch.as_tensor(knobs.lam > 0) & (t >= 2), torch.nan, loss)
        yield task.step(t, alpha.softmax(-1), alpha.softmax(-1), loss=loss)


def test_a_run_that_fails_leaves_the_others_alone(tmp_path):
    arguments = {"task": "digits", "epochs": 1, "progress": False, "batched": True, **BRIEF}
    found = search_together(doomed, seeds=1, lam=[0, 1, 0], record=tmp_path / "a.sqlite", **arguments)
    assert [(one.status, len(one)) for one in found] == [("finished", 4), ("failed", 2), ("finished", 4)]
    assert "loss is nan at t = 2" in found[1].error
    with pytest.raises(FloatingPointError, match=r"every run has failed.*loss is nan"):
        search_together(doomed, seeds=2, lam=1, record=tmp_path / "b.sqlite", **arguments)
    assert [info.status for info in runs(tmp_path / "b.sqlite")] == ["failed", "failed"]


def test_stopping_keeps_the_rows(tmp_path):
    made = [run("snas", seed, record=tmp_path / "a.sqlite") for seed in (0, 1)]
    with RunsTogether(made) as together:
        for _ in range(3):
            next(together)
    assert [(info.status, info.rows) for info in runs(tmp_path / "a.sqlite")] == [("stopped", 3)] * 2
    assert list(together) == []

    @declare()
    def interrupted(task, knobs):
        alpha = task.logits().detach()
        for t in task.clock(alpha=alpha):
            if t == 2:
                raise KeyboardInterrupt
            yield task.step(t, alpha.softmax(-1))

    with pytest.raises(KeyboardInterrupt) as stopped:
        search_together(interrupted, seeds=2, record=tmp_path / "b.sqlite", progress=False, batched=True)
    assert "4 rows of 2 runs are kept" in stopped.value.__notes__[0]
    assert [(info.status, info.rows) for info in runs(tmp_path / "b.sqlite")] == [("stopped", 2)] * 2


def test_wrong_arguments_are_told_and_nothing_is_left(tmp_path):
    path = tmp_path / "a.sqlite"
    cases = [
        ({"lam": [0, 99]}, "^lam: 99 is not a number from 0 to 10"),
        ({"lma": [0, 1]}, "^lma: 0 was given, .* Did you mean 'lam'?"),
        ({"lam": []}, r"^lam: \[\] is empty"),
        ({"seeds": 0}, "^seeds: 0 is not a whole number of at least 1"),
        ({"seeds": [0, -1]}, "^seed: -1 is not a whole number"),
    ]
    for given, match in cases:
        with pytest.raises(UserError, match=match):
            search_together("snas", record=path, progress=False, **{"seeds": 2, "epochs": 1, **given})
        assert not path.exists()
    with pytest.raises(UserError, match=r"^tasks: 1 make no batch"):
        Together([make_task("digits")])
    with pytest.raises(UserError, match=r"^tasks: .* differ in their seeds alone, but one has \('channels', 4\)"):
        Together([make_task("digits"), make_task("digits", 1, channels=4)])
    with pytest.raises(UserError, match=r"^runs: those of a batch have one method and the same options"):
        RunsTogether([run("snas", 0), run("random", 0)])
    together = Together([make_task("digits", seed, 1, **SMALL) for seed in (0, 1)])
    with pytest.raises(UserError, match=r"^clock: best=.* cannot be parted among the runs"):
        next(together.clock(best=make_task("digits").state(best=1)))
    with pytest.raises(UserError, match=r"^weights: Linear is not task.network"):
        together.optimisers(weights=torch.nn.Linear(1, 1))


# ------------------------------------------------------------------------------------- fan of futures


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A run with a checkpoint every four steps, whose penalty was turned on the way."""
    path = tmp_path_factory.mktemp("searched") / "run.sqlite"
    script = {3: {"lam": 0.7}, 8: {"lam": 0.1}}
    job = Job("snas", "digits", 1, 2, SMALL, script=script, record=path, checkpoint_every=4)
    return execute(job, progress=False)


def told(generator):
    """What a fork gives, and what it returns."""
    said = []
    while True:
        try:
            said.append(next(generator))
        except StopIteration as end:
            return said, end.value


def test_futures_fork_from_the_state_and_share_their_chance_in_pairs(searched, tmp_path):
    said, found = told(fork(searched, 6, {"lam": 3.0}, seeds=2, steps=5, record=tmp_path / "f.sqlite"))
    assert said == [("again", 1, 2), ("again", 2, 2)] + [("fork", k + 1, 5) for k in range(5)]
    marks = [recording.meta["future"] for recording in found]
    assert marks == [
        {"of": searched.id, "t": 6, "arm": arm, "seed": seed, "knobs": {"lam": 3.0}}
        for arm, seed in itertools.product((0, 1), (0, 1))
    ]
    for recording in found:
        assert recording.status == "finished"
        assert len(recording) == 5
        assert recording.columns == searched.columns
        assert recording.values()["lam"] == (3.0 if recording.meta["future"]["arm"] else 0.7)
        # One batch after those of the first six rows, and measured when the search would have been.
        assert recording.metric("updates").tolist() == [7, 8, 9, 10, 11]
        assert np.isfinite(recording.metric("accuracy")).tolist() == [False, True, False, False, False]
        assert np.isnan(recording.metric("child_accuracy")).all()
    # The first gates are drawn from the same logits with the same noise, whatever the knob; then the knob tells.
    first = [recording.column("gates")[0] for recording in found]
    np.testing.assert_allclose(first[0], first[2], rtol=1e-5)
    np.testing.assert_allclose(first[1], first[3], rtol=1e-5)
    assert abs(first[0] - first[1]).max() > 0.1
    np.testing.assert_allclose(found[0].metric("loss")[0], found[2].metric("loss")[0], rtol=1e-5)
    assert found[0].metric("loss")[0] != pytest.approx(found[1].metric("loss")[0], rel=1e-3)
    assert abs(found[0].column("probs")[-1] - found[2].column("probs")[-1]).max() > 1e-3


def test_futures_start_from_the_weights_logits_and_momenta_at_the_row(searched, tmp_path):
    """One step of a future is a step of the run itself, from the state at the row, on the future's batch and noise."""
    (now, *_) = futures(searched, 6, {}, seeds=1, steps=1, record=tmp_path / "f.sqlite")
    job = Job("snas", "digits")
    alone = job.again(searched, 6)
    caught = []
    alone.task.on_boundary = lambda _: caught.append((alone.t, alone.task.snapshot(chance=False)))
    while alone.t < 7:
        next(alone)
    state = dict(caught)[6]
    twin = alone.task.twin(seed=now.meta["seed"])
    twin.restore_later(*state)
    step = next(Run(alone.method, twin, script={0: searched.values(6)}))
    assert now[0].metrics["loss"] == pytest.approx(step.metrics["loss"], rel=1e-5)
    for column in now.columns:
        np.testing.assert_allclose(getattr(now[0], column), getattr(step, column), rtol=1e-3, atol=1e-5)


def test_equal_knobs_give_equal_futures(searched, tmp_path):
    """Nothing but the knob differs between the arms: without a change their rows are identical."""
    a, b, c, d = futures(searched, 5, {"lam": 0.7}, seeds=2, steps=4, record=tmp_path / "f.sqlite")
    for one, other in ((a, c), (b, d)):
        for column in COLUMNS:
            np.testing.assert_allclose(one.column(column), other.column(column), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.metric("loss"), other.metric("loss"), rtol=1e-5)
    assert abs(a.column("gates") - b.column("gates")).max() > 0.1


def test_a_recording_without_checkpoints_is_run_again(searched, tmp_path):
    copied = Recording.open(searched.save(tmp_path / "copy.sqlite"))
    assert copied.checkpoint(len(copied)) is None
    calls = []
    found = futures(copied, 5, {"lam": 2}, 1, 2, lambda *told: calls.append(told), tmp_path / "f.sqlite")
    assert calls == [("again", k + 1, 5) for k in range(5)] + [("fork", 1, 2), ("fork", 2, 2)]
    expected = futures(searched, 5, {"lam": 2}, 1, 2, record=tmp_path / "g.sqlite")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.column("gates"), other.column("gates"), rtol=1e-4, atol=1e-6)


def test_a_switch_forks_into_two_batches(searched, tmp_path):
    found = futures(searched, 4, {"schedule": 0}, seeds=2, steps=2, record=tmp_path / "f.sqlite")
    assert [one.meta["batched"]["runs"] for one in found] == [2] * 4
    assert [len(one) for one in found] == [2] * 4
    assert found[0].metric("tau")[0] != found[2].metric("tau")[0] == 1


def test_a_row_amid_a_step_stands_for_its_first(tmp_path):
    path = tmp_path / "d.sqlite"
    recording = search("darts", seed=0, epochs=1, record=path, progress=False, **BRIEF)
    found = futures(recording, 3, {"lam": 1}, seeds=1, steps=2, record=tmp_path / "f.sqlite")
    assert found[0].meta["future"]["t"] == 2
    assert found[0].phases == ["architecture", "weights"] * 2


def test_a_fork_that_is_closed_keeps_its_rows(searched, tmp_path):
    going = fork(searched, 4, {"lam": 1}, seeds=1, steps=5, record=tmp_path / "f.sqlite")
    for _ in range(2):
        next(going)
    going.close()
    assert [(info.status, info.rows) for info in runs(tmp_path / "f.sqlite")] == [("stopped", 2)] * 2


def test_wrong_questions_are_refused_before_anything_runs(searched, tmp_path):
    for given, match in (
        ({"t": 21}, "^t: 21 is not a whole number from 0 to 20"),
        ({"t": 20}, "^t: row 20 is the end of the search"),
        ({"knobs": {"lma": 1}}, "^lma: there is no such knob"),
        ({"knobs": {"lam": 11}}, "^lam: 11 is not a number from 0 to 10"),
        ({"seeds": 0}, "^seeds: 0 is not"),
        ({"steps": 16}, "^steps: 16 is not a whole number from 1 to 15"),
    ):
        with pytest.raises(UserError, match=match):
            fork(searched, **{"t": 5, "knobs": {"lam": 1}, "record": tmp_path / "f.sqlite", **given})
    assert not (tmp_path / "f.sqlite").exists()
    assert nascore.futures is futures


# --------------------------------------------------------------------------------------- command line


def test_a_sweep_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    brief = [word for name, value in BRIEF.items() for word in (f"--{name}", str(value))]
    assert main(["search", "snas", "--seed", "3", "--lam", "0,0.5", "--epochs", "1", *brief]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split(", ", 1)[1] for line in told[:2]] == [
        f"seed 3, lam {lam}: finished, 4 rows" for lam in ("0", "0.5")
    ]
    assert told[2].startswith("side by side: 8×8 images")
    (path,) = Path("runs").iterdir()
    assert [(info.seed, info.knobs["lam"]) for info in runs(path)] == [(3, 0), (3, 0.5)]

    assert (
        main(["search", "snas", "--seeds", "2", "--batched", "no", "--epochs", "1", "--record", "b.sqlite", *brief])
        == 0
    )
    assert capsys.readouterr().out.splitlines()[-1] == "one after another: as asked"
    for words, message in (
        (["--seeds", "x"], "seeds: 'x' is not a whole number of at least 1."),
        (["--seeds", "2", "--resume"], "resume: True is for a single run"),
        (["--lam", "0,1", "--html", "a.html"], "html: 'a.html' is for a single run"),
        (["--lam", "0,11", "--epochs", "1"], "lam: 11 is not a number from 0 to 10."),
    ):
        assert main(["search", "snas", *words]) == 2
        assert message in capsys.readouterr().err


RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "together.json"


@pytest.mark.skipif(not RESULTS.exists(), reason="benchmarks/together.py has not stored its results")
def test_batching_is_chosen_where_it_was_measured_to_pay():
    rows = json.loads(RESULTS.read_text("utf-8"))
    steps = [row for row in rows if row["what"] == "step"]
    assert len(steps) > 20
    for row in steps:
        task = SimpleNamespace(
            space=SPACES[row["space"]],
            network=SimpleNamespace(channels=row["channels"]),
            images=lambda _, side=row["image"]: SimpleNamespace(images=torch.empty(1, 3, side, side)),
        )
        assert row["chosen"] == (row["runs"] <= largest(task)[0]), row
        assert row["high"] < 1 if row["chosen"] else row["high"] > 0.97, row
    (sweep,) = (row for row in rows if row["what"] == "sweep")
    assert sweep["ratio"] <= 0.8
