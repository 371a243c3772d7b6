"""The lesson on fair races: the shipped results, and the numbers behind its pictures, by plain ways."""

import json
from itertools import permutations
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from nascore.errors import UserError
from nascore.paired import compare
from nascore.record import SHIPPED
from nasviz import race
from nasviz.labs import fair
from nasviz.labs.race import curve

STORED = json.loads((SHIPPED / "digits-methods.json").read_text("utf-8"))["runs"]
SVG = "{http://www.w3.org/2000/svg}"


def made(name: str, seed: int, test: float, valid: float, search: float = 10, again: float = 5, parameters: int = 1000):
    trained = {"test": test, "valid": valid, "cpu_seconds": again, "parameters": parameters}
    stages = {"supernet": test, "argmax_stale": test / 2, "argmax_recalibrated": test - 0.1}
    return {"name": name, "seed": seed, "cpu_seconds": search, "retrained": trained, **stages}


def words(chart) -> list[str]:
    return ["".join(each.itertext()) for each in ET.fromstring(chart.svg()).iter(f"{SVG}text")]


# ------------------------------------------------------------------------------------------- the shipped results


def test_rows_are_those_of_the_file():
    found = fair.rows()
    assert found
    assert all(row["retrained"] and row["space"] == "TOY" for row in found)
    one = STORED[0]["name"]
    assert fair.rows(one) == [row for row in STORED if row["name"] == one]
    seeds = fair.scores(fair.rows(one), "retrained.test")[one]
    assert seeds == {row["seed"]: row["retrained"]["test"] for row in STORED if row["name"] == one}
    with pytest.raises(UserError, match=r"names: 'SNAZ' is not one of .* Did you mean 'SNAS'"):
        fair.rows("SNAZ")
    with pytest.raises(UserError, match=r"column: 'tset' is not one of .* Did you mean 'test'"):
        fair.value(found[0], "retrained.tset")


def test_variants_are_shown_where_they_are_asked_for():
    variants = {row["name"] for row in STORED if row["variant"]}
    assert len(variants) > 1
    assert not variants & {row["name"] for row in fair.rows()}
    for name in variants:
        assert {row["name"] for row in fair.rows(name)} == {name}


def test_every_race_has_random_search_and_ten_seeds():
    """What the lesson says of pairs needs them."""
    known = fair.scores(fair.rows(), "retrained.test")
    assert "random, weight sharing" in known
    assert all(len(seeds) >= 10 for seeds in known.values())


def test_a_row_becomes_a_recording_of_its_curve():
    rows = fair.rows("DARTS, 1st order")
    row, recording = rows[0], fair.recordings(rows)[0]
    for column, metric in (
        ("supernet", "accuracy"),
        ("stale", "child_accuracy"),
        ("recalibrated", "child_accuracy_recalibrated"),
    ):
        for axis in ("updates", "examples", "cpu_seconds"):
            x, y = curve(recording, metric, axis)
            assert x.tolist() == [point[axis] for point in row["curve"]]
            assert y.tolist() == [point[column] for point in row["curve"]]
    last = recording.graphs(len(recording) - 1)
    for cell, edges in row["argmax_graphs"].items():
        assert [list(edge) for edge in last[cell].edges] == edges
    assert recording.meta["label"] == "DARTS, 1st order"
    field = race(fair.recordings(fair.rows())).field
    assert {entrant.name for entrant in field} == {row["name"] for row in fair.rows()} | {"uniform α"}
    assert not any(entrant.pale for entrant in field if entrant.metric is None)  # random search is one of them


def test_the_pool_is_the_mean_over_trainings():
    stored = json.loads((SHIPPED / "digits-ranking.json").read_text("utf-8"))
    sizes, accuracies = fair.pool()
    assert len(sizes) == len(accuracies) == len(stored["children"]) >= 50
    by_hand = [
        np.mean([trained["test"][k] for trained in stored["alone"]]) / stored["images"]["test"] for k in range(3)
    ]
    assert accuracies[:3] == pytest.approx(by_hand)


# ------------------------------------------------------------------------------------------------------ pictures


def test_wins_are_counted_pair_by_pair():
    rng = np.random.default_rng(0)
    values = {"a": rng.uniform(0.8, 0.9, 6), "b": rng.uniform(0.7, 0.9, 6), "c": rng.uniform(0.6, 0.7, 6)}
    found = [made(name, seed, float(v), 0.9) for name in values for seed, v in enumerate(values[name])]
    told = words(fair.win_chart(found))
    for one, other in permutations(values.values(), 2):
        says = f"{int((one > other).sum())}/6" + ("*" if compare(one, other).p < 0.05 else "")
        assert says in told
    cells = [word for word in told if "/" in word]
    assert len(cells) == 6
    order = sorted(values, key=lambda name: -np.median(values[name]))
    assert [word for word in told if word in values][::2] == order  # line and column of each, the best first


def test_stages_stand_where_their_medians_are():
    found = [made("a", seed, 0.8 + 0.02 * seed, 0.9) for seed in range(3)]
    svg = ET.fromstring(fair.stage_chart(found).svg())
    dots = [float(each.get("cx")) for each in svg.iter(f"{SVG}circle")][:4]
    grid = [float(each.get("x1")) for each in svg.iter(f"{SVG}line")]
    low, high = min(grid), max(grid)
    shares = [0.4 + (x - low) / (high - low) * 0.6 for x in dots]  # the axis starts at the tenth below the least
    assert shares == pytest.approx([0.82, 0.41, 0.72, 0.82], abs=0.002)


def test_a_bill_has_three_lines():
    found = [
        made("a", seed, test, valid, search=10 + seed)
        for seed, (test, valid) in enumerate([(0.8, 0.7), (0.9, 0.6), (0.7, 0.9)])
    ]
    single = fair.bill(found)["a"]
    assert single == {"search": 11, "retraining": 5, "accuracy": pytest.approx(0.8)}
    double = fair.bill(found, 2)["a"]
    # Pairs in a row are seeds (0, 1), (1, 2), (2, 0); the best on validation data are 0, 2 and 2.
    assert double == {"search": 22, "retraining": 10, "accuracy": pytest.approx((0.8 + 0.7 + 0.7) / 3)}
    with pytest.raises(UserError, match="searches: 4 is more than the 3 seeds of a"):
        fair.bill(found, 4)
    assert "16 s → .800" in words(fair.bill_chart(found))
    assert "32 s → .733" in words(fair.bill_chart(found, 2))


def test_sizes_are_drawn_among_random_children():
    found = [made("a", seed, 0.9, 0.9, parameters=2000 + 100 * seed) for seed in range(3)]
    chart = fair.size_chart(found)
    svg = ET.fromstring(chart.svg())
    assert len(list(svg.iter(f"{SVG}circle"))) == len(fair.pool()[0]) + 1
    assert "a" in words(chart)


@pytest.mark.parametrize("draw", [fair.win_chart, fair.stage_chart, fair.size_chart, fair.bill_chart])
def test_pictures_of_the_shipped_results_stay_on_their_page(draw):
    chart = draw(fair.rows())
    assert chart.svg() == draw(fair.rows()).svg()
    svg = ET.fromstring(chart.svg())
    width, height = float(svg.get("width")), float(svg.get("height"))
    for each in svg.iter(f"{SVG}text"):
        room = 5.2 * len("".join(each.itertext()))
        x, y = float(each.get("x")), float(each.get("y"))
        if (x, y) == (0, 0):  # turned
            continue
        start = x - room if each.get("text-anchor") == "end" else x - room / 2 if each.get("text-anchor") else x
        assert start > -4
        assert start + room < width + 12
        assert 0 <= y <= height
