"""The arithmetic of `benchmarks/futures.py`: what is planted, how pairs are made, what is counted."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import futures  # noqa: E402

from nascore.verdict import CONFIDENCE  # noqa: E402
from nasviz.labs.futures import METRICS  # noqa: E402


class Future:
    """Every metric is 10 · seed + 0.1 · seed² · arm throughout."""

    def __init__(self, arm: int, seed: int, steps: int):
        self.meta = {"future": {"arm": arm, "seed": seed}}
        self.phases = ["update"] * steps
        self.values = np.full(steps, 10.0 * seed + 0.1 * seed**2 * arm)

    def metric(self, name: str) -> np.ndarray:
        assert name in METRICS
        return self.values

    def __len__(self) -> int:
        return len(self.values)


@pytest.fixture(autouse=True)
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork(recording, t, knobs, seeds, steps, record):
        return [Future(arm, seed, steps) for seed in reversed(range(seeds)) for arm in (1, 0)]

    monkeypatch.setattr(futures, "nascore", SimpleNamespace(futures=fork))


def test_pairs():
    found = futures.forked(None, 60, {"lam": 1.5}, 4)
    assert set(found) == set(METRICS)
    unchanged, changed = found["cost"]
    assert unchanged.shape == changed.shape == (4, futures.STEPS)
    assert unchanged[:, 0].tolist() == [0, 10, 20, 30]
    assert changed[:, -1] == pytest.approx([0, 10.1, 20.4, 30.9])


def test_cases():
    nulls = list(futures.nulls(None, 0, 60, {"lam": 1e-5}, "loss"))
    planted = [case for case in nulls if case.main]
    assert [(case.kind, case.metric) for case in planted] == [("null, nudged", "loss"), ("null, unpaired", "loss")]
    nudged, unpaired = (case.found for case in planted)
    assert nudged.mean == pytest.approx(0.1 * (0 + 1 + 4 + 9) / 4)
    assert unpaired.mean == pytest.approx(40 + 0.1 * (16 + 25 + 36 + 49) / 4)  # seeds 4…7 against seeds 0…3
    real, took = futures.real(None, 1, 120, {"lam": 1.5}, "cost")
    assert [case.metric for case in real if case.main] == ["cost"]
    assert took > 0
    text, rows = futures.report([*nulls, *real], [2.0, 4.0, 30.0])
    assert "median 4.0 s, longest 30.0 s of 3, target ≤ 10 s: met" in text
    value = {row["what"]: row.get("value", row.get("median_s")) for row in rows}
    assert value["error on nulls"] == sum(case.found.verdict == "effect" for case in planted) / 2
    assert value["fork"] == 4
    assert len([row for row in rows if row["what"] == "case"]) == 3 * len(METRICS)
    tallied = {row["group"]: row for row in rows if row["what"] == "tally"}
    assert tallied["null"]["cases"] == 2
    assert tallied["real, by every metric"]["cases"] == len(METRICS)


def test_forty_cases_are_planted(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["futures.py", "--json", str(tmp_path / "rows.json")])
    monkeypatch.setattr(futures, "coverage", lambda fans: [])
    futures.nascore.search = lambda *arguments, **options: None
    futures.main()
    rows = json.loads((tmp_path / "rows.json").read_text("utf-8"))
    kinds = [row["kind"] for row in rows if row["what"] == "case" and row["main"]]
    assert {kind: kinds.count(kind) for kind in kinds} == {"null, nudged": 10, "null, unpaired": 10, "real": 20}


def test_the_interval_covers_as_it_says():
    covered = {row["differences"]: row["covered"] for row in futures.coverage(2000)}
    assert abs(covered["normal"] - CONFIDENCE) < 3 * np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / 2000)
    assert all(share > 1 - futures.ERRORS for name, share in covered.items() if "no null" not in name)
