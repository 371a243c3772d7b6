"""The benchmarks' own arithmetic, and the form of what they stored."""

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from torch.func import functional_call

from nascore.gates import active, one_hot
from nascore.methods.darts import darts
from nascore.ops import OPS, Pool
from nascore.run import Knobs
from nascore.task import make_task

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import engine  # noqa: E402
import limits  # noqa: E402
import peers  # noqa: E402
import searches  # noqa: E402
from searches import ENGINES, Search  # noqa: E402

NO_PEER = pytest.mark.skipif(not peers.is_ready(), reason="needs the environment that benchmarks/peers.py makes")


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


SMALL = searches.Setting(ops=5, image=6, channels=2, nodes=2, cells=2, batch=6)


def searches_of(setting, dtype=torch.float64):
    return {engine: Search(setting, engine, dtype=dtype) for engine in ENGINES}


@pytest.mark.parametrize("step", ["snas", "darts", "darts2", "nasp"])
@pytest.mark.parametrize("ops", [5, 8])
def test_both_engines_take_the_same_step(step, ops):
    pair = searches_of(replace(SMALL, ops=ops))
    for search in pair.values():
        before = search.weights[0].detach().clone()
        for _ in range(2):  # the second one has momentum
            laps = getattr(search, step)()
            assert min(laps.values()) > 0
        assert not torch.equal(search.weights[0], before)
    reference, fused = pair.values()
    moved = {"nasp": "tables"}.get(step, "alpha")
    for ours, theirs in zip(getattr(fused, moved), getattr(reference, moved), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)
    x, gates = fused.valid[0], fused.alpha.softmax(-1)
    torch.testing.assert_close(fused.net(x, gates), reference.net(x, gates), rtol=1e-6, atol=1e-6)


def test_second_order_is_the_derivative_of_the_virtual_step():
    search = Search(SMALL, "reference", dtype=torch.float64)
    for _ in range(2):  # so that there is momentum
        search.darts()
    names = [name for name, _ in search.net.named_parameters()]
    search.net.eval()  # running statistics stay as they are, whatever the weights of the call

    def loss(weights, alpha, batch):
        logits = functional_call(search.net, dict(zip(names, weights, strict=True)), (batch[0], alpha.softmax(-1)))
        return torch.nn.functional.cross_entropy(logits, batch[1])

    gradients = torch.autograd.grad(loss(search.weights, search.alpha, search.train), search.weights, create_graph=True)
    moved = [
        w - search.WEIGHT_LR * (g + search.WEIGHT_DECAY * w + search.MOMENTUM * search.sgd.state[w]["momentum_buffer"])
        for w, g in zip(search.weights, gradients, strict=True)
    ]
    (exact,) = torch.autograd.grad(loss(moved, search.alpha, search.valid), search.alpha)
    (first,) = torch.autograd.grad(loss(search.weights, search.alpha, search.valid), search.alpha)
    found = search.hypergradient("exact")
    assert (exact - first).abs().max() > 1e-5
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-12)


def test_credit_at_a_discrete_point_is_the_dense_gradient():
    for search in searches_of(replace(SMALL, ops=8)).values():
        table = search.tables[0]
        dense = search.architecture_gradient(table, dense=True)
        if search.engine == "fused":
            torch.testing.assert_close(search.architecture_gradient(table, dense=False), dense, rtol=0, atol=1e-12)
        else:
            first = dense
    torch.testing.assert_close(dense, first, rtol=0, atol=1e-12)


def test_the_child_is_what_the_sparse_step_computes():
    search = Search(SMALL, "fused", dtype=torch.float64)
    z = one_hot(search.tables[1])
    assert z[..., 0].sum() == 0  # none is never drawn
    for layout in (torch.contiguous_format, torch.channels_last):
        child, _ = search.children[layout][1]
        torch.testing.assert_close(child(search.train[0]), search.net(search.train[0], z, active=active(z)))


def test_every_comparison_of_a_setting_becomes_a_row():
    found = engine.rows_of(SMALL, engine.take_turns(SMALL, engine.ALL_METHODS, 0))
    assert {row["what"] for row in found} >= set(engine.AGAINST) | {"forward+backward", "step darts2", "step nasp"}
    keys = {"what", "ops", "image", "channels", "nodes", "cells", "batch", "ratio", "low", "high", "pairs"}
    for row in found:
        assert set(row) - keys in ({"reference_s", "fused_s"}, {"slow", "fast", "slow_s", "fast_s"})
        assert row["low"] <= row["ratio"] <= row["high"]
        assert row["pairs"] == 9
        assert row["what"] in engine.table(found)
    drawn = engine.picture([{**row, "channels": 8, "ops": 8, "image": 8, "nodes": 3} for row in found])
    assert ET.fromstring(drawn).tag.endswith("svg")
    assert "prefers-color-scheme" in drawn


def test_a_ratio_is_taken_round_by_round():
    found = engine.compared([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found == {"ratio": 2, "low": 2, "high": 2, "pairs": 3}
    missed = {"what": "forward+backward", "ops": 8, "image": 8, "channels": 8, "nodes": 3, **found}
    assert engine.verdict(missed) == "≥ 2.5 missed"
    assert engine.verdict({**missed, "low": 2.6}) == "≥ 2.5 met"


def test_the_slope_is_the_exponent():
    values = np.array([2.0, 4.0, 8.0])
    assert engine.slope(values, 3 * values**1.5) == pytest.approx(1.5)


def test_saved_bytes_count_each_storage_once():
    search = Search(SMALL, "reference")
    x = torch.ones(100, requires_grad=True)
    w = search.weights[0]
    # exp keeps its output, the product keeps it again, as a view, beside a weight.
    assert engine.saved_bytes(search, lambda: x.exp().view(10, 10)[:1] * w.flatten()[0]) == 400


@pytest.mark.parametrize("groups", [1, 4])
def test_arithmetic_is_counted_by_hand(groups):
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    conv = torch.nn.Conv2d(4, 8, 3, padding=1, groups=groups, bias=False)
    found = limits.operators(lambda: conv(x).sum().backward())
    once = 2 * 2 * 36 * 8 * (4 // groups) * 9  # two flops a multiply-add
    assert sum(flops for _, flops, _ in found) == 3 * once
    sizes = {name: size for name, _, size in found}
    assert sizes["convolution"] == 4 * (x.numel() + conv.weight.numel() + 2 * 8 * 36)


def test_the_reference_counts_as_many_flops_as_the_prices_say():
    setting = searches.Setting(ops=8, image=8, channels=4, nodes=2, cells=1, batch=2)
    search = Search(setting, "reference")
    with torch.no_grad():
        counted = limits.operators(lambda: search.loss(search.train, search.alpha.softmax(-1)))
    (layout,) = search.net.layout(setting.image)
    expected = sum(
        OPS[op].madds(*edge) for edge in layout.edges for op in setting.space.ops if not isinstance(OPS[op], Pool)
    )
    plan = search.net.plans[0]
    expected += 64 * sum(channels for channels, _ in plan.inputs) * plan.channels  # bringing the inputs to its width
    expected += 64 * search.net.stem[0][0].weight.numel() + search.net.classifier.weight.numel()
    assert sum(flops for _, flops, _ in counted) == 2 * setting.batch * expected


def test_a_quick_run_has_the_agreed_settings():
    wanted = [arguments for _, arguments in engine.parts(quick=True).values()]
    settings = {(s.ops, s.image, s.nodes) for s, _, _ in wanted}
    assert settings == {(8, 8, 3), (8, 16, 3), (8, 32, 3), (5, 8, 2), (5, 8, 3)}
    assert {(s.channels, s.cells, s.batch) for s, _, _ in wanted} == {(8, 3, 64)}


def test_the_whole_grid_is_measured():
    found = [arguments for function, arguments in engine.parts(quick=False).values() if function == "steps"]
    assert len({setting for setting, *_ in found}) == 3 * 3 * 2 * 3
    assert all("snas" in methods for _, methods, _ in found)


def test_a_stopped_benchmark_goes_on(tmp_path, monkeypatch):
    store = tmp_path / "parts.jsonl"
    store.write_text(json.dumps(["kept", [{"what": "a"}]]) + "\n" + json.dumps(["old", []]) + "\n")
    assert engine.measure_all({"kept": ("steps", ())}, 1, store) == [{"what": "a"}]


ENGINE = ROOT / "benchmarks" / "results" / "engine.json"


@pytest.mark.skipif(not ENGINE.exists(), reason="benchmarks/engine.py has not stored its results")
def test_stored_steps_of_the_engine_have_the_agreed_form():
    stored = json.loads(ENGINE.read_text("utf-8"))
    grid = {
        (row["ops"], row["image"], row["channels"], row["nodes"])
        for row in stored
        if row["what"] == "forward+backward" and (row["cells"], row["batch"]) == (3, 64)
    }
    assert grid == set(itertools.product((5, 8, 12), (8, 16, 32), (8, 16), (2, 3, 4)))
    for row in stored:
        if "pairs" in row:
            assert row["pairs"] >= 9
            assert row["low"] <= row["ratio"] <= row["high"]
    assert set(engine.AGAINST) <= {row["what"] for row in stored}
