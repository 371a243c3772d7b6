"""What was stored of `benchmarks/tuning.py` is whole, and the methods' defaults are what it says."""

import json
import sys
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import tuning  # noqa: E402

from nascore import methods  # noqa: E402

ROWS = json.loads(tuning.RESULTS.read_text())["rows"]


def middle(method, rate, column="inherited", **knobs):
    rows = [r for r in ROWS if (r["method"], r["knobs"], r["architecture_lr"]) == (method, knobs, rate)]
    return median(row[column][-1] if isinstance(row[column], list) else row[column] for row in rows)


def test_every_setting_has_its_seeds():
    wanted = {(m, str(knobs), rate, seed) for m, knobs, rates in tuning.GRID for rate in rates for seed in tuning.SEEDS}
    found = [(r["method"], str(r["knobs"]), r["architecture_lr"], r["seed"]) for r in ROWS]
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert len(tuning.table(ROWS).splitlines()) == 1 + sum(len(rates) for *_, rates in tuning.GRID)


@pytest.mark.parametrize(("method", "knobs"), [("reinforce", {}), ("td", {"trace": 0}), ("rudder", {})])
def test_the_default_rate_is_one_of_the_best(method, knobs):
    """Within a hundredth of the best rate of the grid, less than any seed's spread; the slowest such rate."""
    own = methods.get(method).knobs
    assert all(own[name].value == value for name, value in knobs.items())
    rates = next(rates for name, other, rates in tuning.GRID if (name, other) == (method, knobs))
    found = {rate: middle(method, rate, **knobs) for rate in rates}
    good = [rate for rate in rates if found[rate] > max(found.values()) - 0.01]
    assert own["architecture_lr"].value == min(good)


def test_slow_rates_have_not_decided_and_fast_ones_decide_at_once():
    """What the story rests on: entropy after a tenth of the search, and at its end."""
    early = {rate: [r["entropy"][0] for r in ROWS if r["architecture_lr"] == rate] for rate in (0.02, 0.8)}
    assert min(early[0.02]) > 1.5
    assert max(early[0.8]) < 0.1
    assert middle("reinforce", 0.02, "entropy") > 1
