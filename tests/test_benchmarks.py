"""The benchmarks' own arithmetic, and the form of what they stored."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nascore.methods.darts import darts
from nascore.run import Knobs
from nascore.task import make_task

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import claims  # noqa: E402
import peers  # noqa: E402
import presets  # noqa: E402
from grid import LAMBDAS, Setting, grid, load  # noqa: E402

NO_PEER = pytest.mark.skipif(not peers.is_ready(), reason="needs the environment that benchmarks/peers.py makes")


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


TINY = peers.Setting(image=8, channels=4, cells=3, nodes=2, batch=8)


def test_a_ratio_is_taken_turn_by_turn_and_against_the_right_peer():
    def turns(*wall: float) -> list[dict[str, float]]:
        return [{"wall": seconds, "cpu": 2 * seconds} for seconds in wall]

    both = {
        peers.Variant("gumbel", True): turns(30, 60, 90),  # the machine gets slower
        peers.Variant("gumbel", False): turns(8, 8, 8),
        peers.Variant("snas", True, "fused"): turns(10, 20, 30),
        peers.Variant("snas", False, "fused"): turns(4, 2, 4),
    }
    loop, alone = peers.rows(TINY, both)
    assert (loop["ratio"], loop["low"], loop["high"], loop["cpu_ratio"]) == (3, 3, 3, 3)
    assert (loop["peer_s"], loop["ours_s"], loop["pairs"], loop["loop"]) == (60, 20, 3, True)
    assert (alone["ratio"], alone["low"], alone["high"]) == (2, 2, 4)
    assert "3.00× [3.00, 3.00]" in peers.table([loop, alone])


@pytest.mark.parametrize("engine", ["reference", pytest.param("", marks=NO_PEER)])
def test_a_process_works_on_command(tmp_path, engine):
    with peers.Child(TINY, peers.Variant("darts", True, engine), tmp_path / "child") as child:
        found = child.answer()
        assert found["logits"] == 2 * 5 * 8
        peers.require_same({"ours": found, "peer": found})
        with pytest.raises(SystemExit, match="81 logits"):
            peers.require_same({"ours": found, "peer": {**found, "logits": 81}})
        child.steps = 3
        took = child.work()
        assert 0 < took["cpu"] < 1
        assert 0 < took["wall"] < 10
    assert child.process.returncode


@NO_PEER
def test_both_networks_have_the_same_parameters(tmp_path):
    with (
        peers.Child(TINY, peers.Variant("darts", False, "reference"), tmp_path / "ours") as ours,
        peers.Child(TINY, peers.Variant("darts", False), tmp_path / "peer") as peer,
    ):
        peers.require_same({"ours": ours.answer(), "peer": peer.answer()})


def test_the_two_losses_of_gumbel_move_one_thing_each():
    task = make_task("digits", epochs=1)
    weights = lambda: torch.cat([p.detach().flatten() for p in task.network.parameters()])
    before = weights()
    first, second, third = itertools.islice(peers.gumbel(task, Knobs(**darts.knobs)), 3)
    assert (first.phase, second.phase, third.phase) == ("architecture", "weights", "architecture")
    assert torch.equal(first.probs, second.probs)
    assert not torch.equal(first.gates, second.gates)
    assert not torch.equal(second.probs, third.probs)
    assert not torch.equal(weights(), before)
    assert task.counters["updates"] == 1


PEERS = ROOT / "benchmarks" / "results" / "peers.json"


@pytest.mark.skipif(not PEERS.exists(), reason="benchmarks/peers.py has not stored its results")
def test_stored_steps_beside_the_peer_reach_the_target():
    stored = json.loads(PEERS.read_text("utf-8"))
    assert {(row["what"], row["loop"], row["engine"]) for row in stored["rows"]} == set(
        itertools.product([f"step {method}" for method in peers.METHODS], (True, False), peers.ENGINES)
    )
    for row in stored["rows"]:
        assert row["pairs"] >= 9
        assert row["low"] <= row["ratio"] <= row["high"]
        if (row["what"], row["engine"]) == ("step darts", "fused"):
            assert row["low"] >= 2
