"""Stopped or killed anywhere, a run goes on bit for bit as if nothing had happened; branches start from checkpoints."""

import itertools
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from walk import small, walk

import nascore
from nascore import methods
from nascore.errors import UserError
from nascore.jobs import Job, branch_jobs, execute
from nascore.record import Recording, runs
from nascore.run import COLUMNS, Knob, Knobs, Run, declare

# Every method, and every phase of those that yield more than once a step.
KINDS = {
    "snas": ("snas", {"lam": 0.3}),
    "snas in halves": ("snas", {"half_steps": 1, "budget": 0.2}),
    "snas score": ("snas", {"estimator": "score", "lam": 0.3}),
    "darts in two phases": ("darts", {"level": "bi"}),
    "darts in one": ("darts", {"level": "single", "lam": 0.1}),
    "darts of second order": ("darts", {"order": "second"}),
    "nasp as released": ("nasp", {"variant": "released"}),
    "walk": (walk, {"halves": True}),
} | {name: (name, {}) for name in methods.METHODS if name not in ("snas", "darts")}


SMALL = {"measure_every": 4, "batch_size": 100, "channels": 2}  # 10 steps


def rows(recording):
    """Everything that has to be the same: all but the processor time."""
    return [
        (
            step.t,
            step.phase,
            {name: value for name, value in step.metrics.items() if name != "cpu_seconds"},
            step.graphs,
            [None if getattr(step, name) is None else getattr(step, name).tobytes() for name in COLUMNS],
        )
        for step in recording
    ]


def job(method, settings, path, resume=None, **more):
    task = "digits" if isinstance(method, str) else small
    settings = settings | (SMALL if isinstance(task, str) else {})
    return Job(method, task, 1, 1, settings, record=path, resume=resume, checkpoint_every=4, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_at_any_phase_goes_on_bit_identically(tmp_path, kind):
    method, settings = KINDS[kind]
    drag = {3: {"lam": 0.7}, 9: {"lam": 0.2}}  # the penalty was dragged on the way
    whole = execute(job(method, settings, tmp_path / "whole.sqlite", script=drag))
    assert whole.status == "finished"
    for stop in (0, 1, 2, 4, 5, 9, 10) if method is walk else (1, 6, 9):
        path = tmp_path / f"{stop}.sqlite"
        run = job(method, settings, path).open()
        for t in range(stop):
            run.knobs.set(**drag.get(t, {}))
            next(run)
        run.close()
        part = Recording.open(path)
        assert (part.status, len(part)) == ("stopped", stop)

        run = job(method, settings, path, resume=True).open()
        assert run.t <= stop
        while run.t < len(whole):
            if run.t >= stop:  # what was dragged before is in the recording
                run.knobs.set(**drag.get(run.t, {}))
            next(run)
        assert list(run) == []
        again = Recording.open(path)
        assert [info.id for info in runs(path)] == [part.id]
        assert again.status == "finished"
        assert again.script() == whole.script()
        assert rows(again) == rows(whole)


def test_a_resumed_run_starts_at_its_last_checkpoint(tmp_path):
    path = tmp_path / "run.sqlite"
    with job(walk, {}, path).open() as run:
        list(itertools.islice(run, 11))
    again = job(walk, {}, path, resume=True)
    run = again.open()
    assert (run.t, run.whole) == (8, 8)
    run.close()
    assert len(Recording.open(path)) == 11  # nothing that was recorded is lost


def test_a_method_without_a_clock_is_run_again_from_its_start(tmp_path):
    @declare(lam=Knob(0.0, 0, 10, "penalty"))
    def free(task, knobs):
        alpha = task.logits()
        for t in range(12):
            yield task.step(t, (alpha * (t + knobs.lam)).softmax(-1), loss=knobs.lam)

    whole = execute(job(free, {}, tmp_path / "whole.sqlite", script={5: {"lam": 3.0}}))
    with job(free, {}, tmp_path / "part.sqlite", script={5: {"lam": 3.0}}).open() as run:
        list(itertools.islice(run, 8))
    again = execute(job(free, {}, tmp_path / "part.sqlite", resume=True))
    assert rows(again) == rows(whole)


def test_resume_takes_what_was_not_said_from_the_run_and_starts_what_is_missing(tmp_path, capsys):
    path = tmp_path / "run.sqlite"
    path.touch()  # killed before the first byte
    first = job(walk, {"lam": 0.5}, path, resume=True)
    with first.open() as run:
        list(itertools.islice(run, 3))
    assert Recording.open(path).values()["lam"] == 0.5
    silent = Job(walk, small, 1, record=path, resume=True)
    silent.register()
    assert silent.run == first.run
    other = job(walk, {"lam": 0.6}, path, resume=True)
    other.register()
    assert other.run != first.run
    assert Job(walk, small, 2, record=path, resume=True).register() not in (first.run, other.run)
    named = Job(walk, small, 9, record=path, resume=first.run)
    done = execute(named)
    assert (done.status, done.meta["seed"], done.values()["lam"]) == ("finished", 1, 0.5)
    before = path.read_bytes()
    assert execute(Job(walk, small, 1, record=path, resume=first.run)).id == first.run
    assert f"Run {first.run} in {path} is finished." in capsys.readouterr().err
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="is finished; branch from it instead"):
        Job(walk, small, 1, record=path, resume=first.run).open()
    with pytest.raises(UserError, match="resume: 'nobody' is not one of"):
        Job(walk, small, 1, record=path, resume="nobody").register()
    with pytest.raises(UserError, match="method: 'snas' is not that of the run, 'walk'"):
        Job("snas", record=path, resume=first.run).register()


def test_a_run_that_never_began_is_started_with_what_it_was_entered_with(tmp_path):
    path = tmp_path / "run.sqlite"
    entered = job(walk, {"lam": 0.5, "stride": 0.25}, path)
    entered.register()
    again = Job(walk, small, 1, record=path, resume=True)
    done = execute(again)
    assert done.id == entered.run
    assert done.meta["options"]["stride"] == 0.25
    assert rows(done) == rows(execute(job(walk, {"lam": 0.5, "stride": 0.25}, tmp_path / "other.sqlite")))


def test_bad_settings_take_the_empty_run_back(tmp_path):
    path = tmp_path / "run.sqlite"
    for settings, match in [({"lam": -1}, "lam: -1 is not"), ({"strid": 1}, "Did you mean 'stride'")]:
        with pytest.raises(UserError, match=match):
            job(walk, settings, path).open()
        assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_keeps_its_rows_and_tells_its_error(tmp_path):
    path = tmp_path / "run.sqlite"
    with pytest.raises(RuntimeError, match="the walk fell"):
        execute(job(walk, {"fail_at": 5}, path))
    recording = Recording.open(path)
    assert (recording.status, len(recording)) == ("failed", 5)
    assert recording.error.startswith("RuntimeError: the walk fell (walk.py, line ")


def test_a_run_that_cannot_begin_has_failed(tmp_path):
    def broken(seed, epochs):
        raise OSError("no such data")

    with pytest.raises(OSError, match="no such data"):
        execute(Job(walk, broken, record=tmp_path / "run.sqlite"))
    recording = Recording.open(tmp_path / "run.sqlite")
    assert recording.status == "failed"
    assert recording.error.startswith("OSError: no such data (test_resume.py, line ")


def test_a_run_goes_on_with_the_knobs_it_was_given(tmp_path):
    path = tmp_path / "run.sqlite"
    own = Knobs(**{**walk.knobs, "lam": Knob(20.0, 0, 50, "penalty")})
    whole = list(Run(walk, small(1), own))
    own = Knobs(**{**walk.knobs, "lam": Knob(20.0, 0, 50, "penalty")})
    with Run(walk, small(1), own, record=path) as run:
        list(itertools.islice(run, 3))
    again = execute(Job(walk, small, 1, record=path, resume=run.writer.run))
    assert again.metric("total").tolist() == [step.metrics["total"] for step in whole]
    assert again.metric("loss").tolist() == [step.metrics["loss"] for step in whole]


def test_measured_latency_is_kept_and_used_again(tmp_path):
    path = tmp_path / "run.sqlite"
    with job("snas", {"w_latency": 1.0}, path).open() as run:
        list(itertools.islice(run, 2))
    measured = Recording.open(path).meta["prices"]["latency"]
    assert np.sum(np.max(measured, -1)) == pytest.approx(1)
    run = job("snas", {"w_latency": 1.0}, path, resume=True).open()
    assert run.task.resource.prices["latency"].tolist() == measured
    run.close()


# ---------------------------------------------------------------------------------------------- kill -9


def command(path, *more):
    return [
        sys.executable,
        "-m",
        "nascore",
        "search",
        "snas",
        "--epochs",
        "3",
        "--lam",
        "0.2",
        "--channels",
        "2",
        "--record",
        str(path),
        *more,
    ]


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run.sqlite"
    subprocess.run(command(path), check=True, capture_output=True)
    return Recording.open(path)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["while it starts", "kill -9", "Ctrl-C"])
def test_a_killed_search_is_resumed_bit_identically(tmp_path, uninterrupted, how):
    path = tmp_path / "run.sqlite"
    with subprocess.Popen(command(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            wait_for(lambda: path.exists() and runs(path))
            if how != "while it starts":
                wait_for(lambda: len(Recording.open(path)) >= 37)  # read from outside while it writes
        finally:
            child.send_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGKILL)
        _, errors = child.communicate(timeout=60)
    part = Recording.open(path)
    assert part.status == ("starting" if how == "while it starts" else "stopped")
    if how == "Ctrl-C":
        assert child.returncode == 130
        assert f"{len(part)} rows are kept: run {part.id}" in errors
        assert "Traceback" not in errors
        assert [file.name for file in tmp_path.iterdir()] == ["run.sqlite"]
    assert rows(part) == rows(uninterrupted)[: len(part)]
    done = subprocess.run(command(path, "--resume"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = Recording.open(path)
    assert (again.id, again.status) == (part.id, "finished")
    assert rows(again) == rows(uninterrupted)
    assert [file.name for file in tmp_path.iterdir()] == ["run.sqlite"]
    if how == "kill -9":  # the end is the same for all
        finished = subprocess.run(command(path, "--resume"), capture_output=True, text=True, check=False)
        assert finished.returncode == 0
        assert "is finished" in finished.stderr


# ----------------------------------------------------------------------------------------------- branch


@pytest.fixture
def source(tmp_path):
    return execute(job(walk, {"lam": 0.5}, tmp_path / "run.sqlite", script={6: {"lam": 2.0}, 12: {"lam": 0.0}}))


@pytest.mark.parametrize("t", [0, 3, 4, 6, 10])
def test_a_branch_shares_the_past_and_goes_on_under_the_new_knobs(tmp_path, source, t):
    branch = nascore.branch(source, t, method=walk, task=small, lam=9.0)
    assert branch.path == source.path
    assert branch.parent == {"run": source.id, "t": t}
    assert rows(branch)[:t] == rows(source)[:t]
    expected = execute(job(walk, {"lam": 0.5}, tmp_path / "straight.sqlite", script=branch.script()))
    assert rows(branch) == rows(expected)
    assert branch.values(t)["lam"] == 9.0
    assert branch.values(14)["lam"] == 9.0  # what the source did later is not repeated
    assert source.script() == Recording.open(source.path, source.id).script()


def test_a_branch_of_a_branch_may_start_before_it(source):
    late = nascore.branch(source, 10, method=walk, task=small, lam=9.0)
    early = nascore.branch(late, 2, method=walk, task=small, lam=1.0)
    assert early.parent == {"run": late.id, "t": 2}
    assert rows(early)[:2] == rows(source)[:2]
    assert len(early) == len(source)


def test_a_live_run_can_be_branched_and_goes_on_undisturbed(tmp_path):
    path = tmp_path / "run.sqlite"
    whole = execute(job(walk, {}, tmp_path / "whole.sqlite"))
    with job(walk, {}, path).open() as run:
        list(itertools.islice(run, 9))
        live = Recording.open(path)
        began = time.monotonic()
        (planned,) = branch_jobs(live, 6, {"lam": 9.0}, method=walk, task=small)
        planned.register()
        assert time.monotonic() - began < 0.9  # it does not wait for the file to be left
        branch = execute(planned)
        list(run)
    assert rows(branch)[:6] == rows(whole)[:6]
    assert rows(Recording.open(path, live.id)) == rows(whole)
    assert [file.name for file in path.parent.glob("run.sqlite*")] == ["run.sqlite"]


def test_a_killed_branch_is_resumed(source):
    (planned,) = branch_jobs(source, 6, {"lam": 9.0}, method=walk, task=small)
    with planned.open() as run:
        list(itertools.islice(run, 1))
    assert run.t < 6  # not yet where the knob turns
    again = execute(Job(walk, small, record=source.path, resume=planned.run))
    assert rows(again) == rows(nascore.branch(source, 6, method=walk, task=small, lam=9.0))


def test_without_a_checkpoint_a_control_is_run_and_the_branch_starts_from_it(tmp_path, source):
    shared = Recording.open(source.save(tmp_path / "shared.sqlite"))
    branch = nascore.branch(shared, 6, method=walk, task=small, record=tmp_path / "new.sqlite", lam=9.0)
    control = Recording.open(tmp_path / "new.sqlite", branch.parent["run"])
    assert rows(control) == rows(source)
    assert control.meta["control_of"] == shared.id
    assert control.script() == source.script()
    assert branch.meta["control"] == {"of": shared.id, "rows": 15, "largest_difference": 0.0}
    assert rows(branch)[:6] == rows(control)[:6]
    assert rows(branch)[6:] != rows(control)[6:]
    assert [info.id for info in runs(tmp_path / "new.sqlite")] == [control.id, branch.id]


def test_bad_branches_are_refused(source):
    with pytest.raises(UserError, match="t: 99 is not a whole number from 0 to 15"):
        nascore.branch(source, 99, method=walk, task=small, lam=1.0)
    with pytest.raises(UserError, match="lam: -1 is not"):
        nascore.branch(source, 3, method=walk, task=small, lam=-1)
    with pytest.raises(UserError, match="lamb: there is no such knob"):
        nascore.branch(source, 3, method=walk, task=small, lamb=1)
    assert [info.id for info in runs(source.path)] == [source.id]
