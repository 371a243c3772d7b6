"""The arithmetic of `benchmarks/ranking.py` on planted counts, and what was stored against its own claims."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import grid  # noqa: E402
import ranking as benchmark  # noqa: E402

from nascore import evaluate, ranking  # noqa: E402
from nascore.space import TOY  # noqa: E402
from nascore.task import make_task  # noqa: E402

N = ranking.CHILDREN
METHODS = {"random", "snas", "darts", "nasp"}


def planted(seed: int, child: int) -> dict:
    """The first training ranks children by their number, the second the other way round."""
    right = 100 + child if seed == 0 else 200 - child
    return {"cpu_seconds": 0.5, "parameters": 1000 + 7 * (child % 5), "valid": right, "test": right}


def test_what_is_trained_is_not_trained_again(tmp_path):
    cache, asked = tmp_path / "ranking.jsonl", []

    def train(seed: int, child: int) -> dict:
        asked.append((seed, child))
        if len(asked) == 70:
            raise KeyboardInterrupt
        return planted(seed, child)

    with pytest.raises(KeyboardInterrupt):
        benchmark.trainings(cache, train)
    assert len(benchmark.load(cache)) == 69
    done = benchmark.trainings(cache, train)
    assert len(done) == 2 * N
    assert len(asked) == 2 * N + 1
    assert asked[70] == asked[69]  # the one that was interrupted
    assert benchmark.trainings(cache, train) == done
    assert len(asked) == 2 * N + 1


def test_planted_counts_give_planted_tau():
    done = {(seed, child): planted(seed, child) for seed in benchmark.ALONE for child in range(N)}
    right, wrong = list(range(N)), list(range(N))[::-1]
    counts = {"valid_stale": wrong, "valid_recalibrated": right, "test_stale": wrong, "test_recalibrated": right}
    searched = {setting: {"cpu_seconds": 1.0, "ranking": counts} for setting in benchmark.searches(range(3))}
    found = benchmark.collected(done, searched)
    json.dumps(found, allow_nan=False)
    assert [len(run["test"]) for run in found["alone"]] == [N, N]
    assert found["alone"][0]["cpu_seconds"] == N / 2
    lines = list(benchmark.table(found))
    assert sum("3 seeds: median -1.00, -1.00 to -1.00" in line for line in lines) == len(METHODS)
    assert sum("3 seeds: median 1.00, 1.00 to 1.00" in line for line in lines) == len(METHODS)
    assert "τ -1.00 [-1.00, -1.00],   0% of the top 10" in lines[1]  # the second training


def test_every_search_is_one_of_the_grid():
    """So that none is run twice."""
    groups = {setting for group in grid.grid(10) for setting in group}
    assert set(benchmark.searches(range(10))) <= groups
    assert {setting.method for setting in benchmark.searches([0])} == METHODS


def test_alone_counts_what_evaluate_measures():
    found = benchmark.alone(2, 5, epochs=1)
    task = make_task("digits", 2, 1)
    graphs = ranking.graphs(TOY, ranking.draw(TOY)[5])
    for split, images in (("valid", 300), ("test", 497)):
        assert found[split] == pytest.approx(evaluate.retrain(task, graphs, split=split)["accuracy"] * images)
    assert found["parameters"] == evaluate.retrain(task, graphs)["parameters"]


# ------------------------------------------------------------------------------------------------ what was stored


@pytest.fixture(scope="module")
def stored() -> dict:
    return json.loads(benchmark.SHIPPED.read_text("utf-8"))


def test_the_stored_children_are_those_drawn(stored):
    assert stored["children"] == ranking.draw(TOY).tolist()
    assert "benchmarks/ranking.py" in stored["command"]
    assert stored["machine"]["cores"]
    assert stored["images"] == {"valid": 300, "test": 497}
    task = make_task("digits")
    for child in (0, 17, 59):
        graphs = ranking.graphs(TOY, stored["children"][child])
        z = task.network.classifier.weight.new_tensor(TOY.one_hot(graphs))
        assert stored["cost"][child] == pytest.approx(float(task.resource.expected(z)), abs=1e-4)


def test_the_stored_counts_are_counts(stored):
    assert [run["seed"] for run in stored["alone"]] == list(benchmark.ALONE)
    assert {search["method"] for search in stored["searches"]} == METHODS
    assert len({(search["method"], search["seed"]) for search in stored["searches"]}) == len(stored["searches"])
    for row in [*stored["alone"], *stored["searches"]]:
        for name, counts in row.items():
            if name.startswith(("valid", "test")):
                assert len(counts) == N >= 50
                assert all(0 <= count <= stored["images"][name.split("_")[0]] for count in counts)


def test_what_the_stored_counts_show(stored):
    """τ recomputed: clearly above 0, clearly below 1, and no better than another training of the same children."""
    first, second = (run["test"] for run in stored["alone"])
    ceiling = kendalltau(first, second).statistic
    assert 0.4 < ceiling < 0.9
    for method in {search["method"] for search in stored["searches"]}:
        runs = [search for search in stored["searches"] if search["method"] == method]
        taus = [kendalltau(run["valid_recalibrated"], first).statistic for run in runs]
        assert np.median(taus) == pytest.approx(
            np.median([ranking.agree(run["valid_recalibrated"], first).tau for run in runs])
        )
        assert 0 < np.median(taus) < ceiling


def test_the_table_of_the_stored_counts_can_be_printed(stored):
    assert len(list(benchmark.table(stored))) >= 4 + 2 * 3
