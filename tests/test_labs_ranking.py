"""The scatter of children: planted rankings, what is said of them, and a supernet trained while one looks."""

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from nascore import methods, ranking
from nascore.errors import UserError
from nascore.run import Run
from nascore.space import TOY
from nascore.task import make_task
from nasviz.labs import ranking as lab

N = 12


@pytest.fixture
def data() -> lab.Measured:
    """Twelve children: a uniform supernet that ranks them rightly once recalibrated, and the wrong way round before."""
    right = list(range(100, 100 + 10 * N, 10))
    wrong, flat = right[::-1], [150] * N
    swapped = [right[1], right[0], *right[2:]]
    return lab.of(
        {
            "task": "digits",
            "space": TOY.to_json(),
            "children": ranking.draw(TOY, N).tolist(),
            "images": {"valid": 300, "test": 497},
            "parameters": flat,
            "alone": [{"seed": 0, "valid": right, "test": right}, {"seed": 1, "valid": swapped, "test": swapped}],
            "searches": [
                {"method": "random", "seed": seed, "valid_stale": wrong, "valid_recalibrated": right} for seed in (0, 1)
            ]
            + [{"method": "darts", "seed": 0, "valid_stale": flat, "valid_recalibrated": swapped}],
        }
    )


def test_measurements_are_shares(data):
    assert len(data) == N
    assert data.alone()[0] == 100 / 497
    assert data.alone(1, "valid")[0] == 110 / 300
    assert data.inherited("random", "stale")[0] == 210 / 300
    assert data.methods == ["random", "darts"]
    assert data.seeds("random") == [0, 1]
    assert TOY.one_hot(data.graphs(3)).argmax(-1).tolist() == data.children[3].tolist()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda data: data.inherited("dart"), "method: 'dart' is not one of darts, random. Did you mean 'darts'"),
        (lambda data: data.inherited("random", "fresh"), "how: 'fresh' is not one of recalibrated, stale"),
        (lambda data: data.inherited("darts", seed=3), "seed: 3 is not one of 0"),
        (lambda data: data.alone(2), "run: 2 is not a whole number from 0 to 1"),
        (lambda data: data.alone(0, "train"), "split: 'train' is not one of test, valid"),
        (lambda data: lab.scatter(data, by="luck"), "by: 'luck' is not one of again, darts, parameters, random"),
        (lambda data: lab.scatter(data, child=N), "child: 12 is not a whole number from 0 to 11"),
        (lambda data: lab.live(children=2, data=data), "children: 2 is not a whole number from 3 to 12"),
        (lambda data: lab.live(epochs=0, data=data), "epochs: 0 is not"),
        (lambda data: lab.live(every=0, data=data), "every: 0 is not"),
    ],
)
def test_bad_arguments(data, ask, words):
    with pytest.raises(UserError, match=words):
        ask(data)


def test_the_planted_order_is_told(data):
    view = lab.scatter(data)
    assert view.way["tau"] == pytest.approx(1)
    assert "τ = 1.00 (95 % interval 1.00 to 1.00, n = 12); 4 of the 4 best" in view.sentence()
    assert lab.scatter(data, how="stale").way["tau"] == pytest.approx(-1)
    assert "τ = −1.00" in lab.scatter(data, how="stale").sentence()
    one_swap = 1 - 4 / (N * (N - 1))
    assert lab.scatter(data, by="darts").way["tau"] == pytest.approx(one_swap)
    assert lab.scatter(data, by="again").way["tau"] == pytest.approx(one_swap)
    assert lab.scatter(data, by="parameters").way["tau"] == 0
    assert "100% of the pairs tie" in lab.scatter(data, by="parameters").sentence()


def test_ranks_share_ties():
    assert lab.ranked([0.5, 0.9, 0.9, 0.1]).tolist() == [3, 1.5, 1.5, 4]


def test_what_the_browser_gets_is_plain_and_complete(data):
    shown = lab.scatter(data).shown
    json.dumps(shown, allow_nan=False)
    for source in shown["sources"]:
        low, high = source["range"]
        assert all(low <= tick <= high for tick in source["ticks"])
        for way in source["ways"].values():
            assert len(way["values"]) == N
            assert all(low <= value <= high for value in way["values"])
    low, high = shown["truthRange"]
    assert all(low < value < high for value in shown["truth"])
    assert len(shown["children"]) == len(shown["names"]) == len(shown["parameters"]) == N
    assert [ops[shown["none"]] for ops in (shown["ops"],)] == ["none"]


def test_the_still_picture_judges_the_pairs_of_a_child(data):
    """Every pair of child 0 is ranked wrongly by the planted reversal, and none by the recalibrated one."""
    wrong = lab.scatter(data, how="stale", child=0).picture().svg()
    assert wrong.count(f'fill="{lab.MARK}" fill-opacity') == N - 1
    assert "of its 11 pairs 0 are ranked rightly" in wrong
    right = lab.scatter(data, child=0, ranks=False).picture().svg()
    assert f'fill="{lab.MARK}" fill-opacity' not in right
    assert "of its 11 pairs 11 are ranked rightly" in right
    nobody = lab.scatter(data).picture().svg()
    assert "point at a dot" in nobody
    assert "not trained yet" in lab.live(children=4, data=data).scatter.picture().svg()


def test_the_widget_tells_what_was_chosen(data):
    view = lab.scatter(data)
    widget = view.widget()
    assert widget is view.widget()
    widget.source, widget.how, widget.child, widget.ranks = "darts", "stale", 4, False
    assert view.chosen == {"source": "darts", "how": "stale", "child": 4, "ranks": False}
    assert view.sentence().startswith("Ranked by weights of DARTS: τ = 0.00")


def test_other_pictures(data):
    svg = lab.strands(data, 5).svg()
    thick, thin = svg.count('stroke-width="3.2"'), svg.count('stroke-width="1.2" stroke-opacity')
    own = sum(len(graph.edges) for graph in data.graphs(5).values())
    assert (thick, thin) == (own, 2 * 5 * 4 - own)  # two cells of five edges with four operations besides none
    bump = lab.bump({"a": data.inherited("random", "stale"), "b": data.inherited("random"), "c": data.alone()}, 3)
    assert "τ = −1.00" in bump.svg()
    assert "τ = 1.00" in bump.svg()
    rows = lab.taus(data).svg()
    for words in (
        "uniform sampling, stale",
        "DARTS, recalibrated",
        "training alone once more",
        "the number of parameters",
    ):
        assert words in rows


def test_the_best_are_counted_for_every_k(data):
    """A second training that swaps the two worst misses one of the best N − 1; one that reverses all finds no half."""
    again, luck = lab.tops(data, ("again",), most=N).figure.data
    assert list(again.x) == list(range(1, N + 1))
    assert list(again.y) == [1] * (N - 2) + [pytest.approx((N - 2) / (N - 1)), 1]
    assert list(luck.y) == [k / N for k in range(1, N + 1)]
    worst = lab.of(data.data | {"alone": [data.data["alone"][0], {"seed": 1, "valid": list(range(N, 0, -1))}]})
    assert list(lab.tops(worst, ("again",)).figure.data[0].y)[: N // 2] == [0] * (N // 2)


def test_live_ranks_as_its_supernet_does(data):
    """The last values are those of the same search run by itself, and τ is theirs."""
    view = lab.live(children=4, epochs=1, every=6, seed=3, data=data)
    assert view.children == sorted({0, 4, 7, 11})  # spread over the ranking
    buttons = view.widget().children[0].children
    assert [button.disabled for button in buttons[:2]] == [False, True]
    view.train()
    assert view.state == "finished", view.error
    assert [step for step, _ in view.history] == [6, 12, 15]
    assert all(a < b for (a, _), (b, _) in pairwise(view.history))

    task = make_task("digits", 3, 1)
    task.measure_every = task.steps
    run = Run(methods.get("random"), task)
    run.children = False
    for _ in run:
        pass
    counts = ranking.inherited(task, [data.graphs(child) for child in view.children])
    ways = view.scatter.shown["sources"][0]["ways"]
    for how in ("stale", "recalibrated"):
        assert ways[how]["values"] == (np.array(counts[f"valid_{how}"]) / 300).tolist()
    assert view.history[-1][1] == ranking.agree(ways["recalibrated"]["values"], view.truth, 1).tau
    assert view.scatter.shown["history"] == [list(point) for point in view.history]
    assert "finished: step 15 of 15" in buttons[3].value
    assert (buttons[2].value, buttons[2].max) == (15, 15)


def test_live_stops_and_says_what_failed(data, monkeypatch):
    view = lab.live(children=3, epochs=1, data=data)
    view.stop()
    view.train()
    assert (view.state, view.step, view.history) == ("stopped", 1, [])

    def broken(*_):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(ranking, "inherited", broken)
    failing = lab.live(children=3, epochs=1, every=1, data=data)
    told = failing.widget().children[0].children[3]
    failing.train()
    assert failing.state == "failed"
    assert "on purpose" in told.value


def test_starting_twice_is_refused(data):
    view = lab.live(children=3, epochs=1, data=data)
    view.state = "running"
    with pytest.raises(UserError, match="it is running already"):
        view.start()


def test_looking_at_measurements_loads_no_torch():
    code = "import sys; from nasviz.labs import ranking; assert 'torch' not in sys.modules, 'torch was loaded'"
    subprocess.run([sys.executable, "-c", code], check=True)
