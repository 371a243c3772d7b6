"""The benchmarks' own arithmetic, and the form of what they stored."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import claims  # noqa: E402
import presets  # noqa: E402
from grid import LAMBDAS, Setting, grid, load  # noqa: E402


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(1, 2, "reproduced"), (-1, 2, "partly"), (-2, -1, "not reproduced")]
)
def test_a_verdict_needs_the_whole_interval(low, high, verdict):
    assert claims.grade(low, high, lambda value: value > 0) == verdict


def test_pairs_are_matched_by_seed_whatever_their_order():
    rows = {Setting("snas", seed=seed): {"cost": float(seed)} for seed in (2, 0, 1)}
    assert claims.values(rows, "snas λ=0", "cost").tolist() == [0, 1, 2]
    found = claims.paired("a", "b", np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 5.0]))
    assert found["n"] == 3
    assert found["ours"] == 1
    assert "(2 of 3 seeds)" in found["claim"]


def test_theorems_hold_to_rounding():
    assert {entry["verdict"] for entry in claims.exact()} == {"exact"}


def test_the_grid_gives_every_method_the_same_seeds():
    found = list(grid(2, (0.0, 0.5)))
    assert len(found) == len(set(found)) == 2 * (2 + 3)
    assert {setting.seed for setting in found} == {0, 1}


def test_a_preset_is_the_first_lambda_with_its_effect_in_most_seeds():
    def row(lam: float) -> dict[str, float]:
        return {
            "edges": 10 - 2 * (lam >= 0.25),
            "lost_nodes": int(lam >= 1.0),
            "child_cost": 1 / (1 + 2 * lam),
            "cost": 1.0,
            "argmax_recalibrated": 0.9,
        }

    rows = {Setting("snas", lam, seed=seed): row(lam) for lam in LAMBDAS for seed in range(3)}
    found = presets.presets(rows, 3)
    assert [found[name]["knobs"]["lam"] for name in ("none", "mild", "moderate", "aggressive")] == [0, 0.25, 0.5, 1.0]


def test_a_finished_search_is_read_back(tmp_path):
    cache = tmp_path / "grid.jsonl"
    setting = {"method": "darts", "lam": 0.0, "options": [["level", "bi"]], "seed": 3, "epochs": 32}
    cache.write_text(json.dumps({"setting": setting, "found": {"cost": 1.0}}) + "\n")
    assert load(cache) == {Setting("darts", options=(("level", "bi"),), seed=3): {"cost": 1.0}}


def test_stored_claims_have_the_agreed_form():
    stored = json.loads((ROOT / "benchmarks" / "results" / "claims.json").read_text("utf-8"))
    assert len(stored) > 10
    for entry in stored:
        assert set(entry) == {"claim", "verdict", "n", "ours", "low", "high", "paper", "command"}
        assert entry["verdict"] in ("exact", "reproduced", "partly", "not reproduced", "quoted")
        if entry["verdict"] != "quoted":
            assert entry["low"] <= entry["ours"] <= entry["high"]
            assert entry["n"] >= 4
