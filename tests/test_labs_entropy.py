"""Sharpening by its definition, the temperature that meets an entropy, and networks that are those recorded."""

import json

import numpy as np
import pytest
import torch

from nascore import evaluate
from nascore.errors import UserError
from nascore.record import Recording
from nasviz.labs import entropy as lab


@pytest.fixture
def p():
    return torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(5), size=(2, 5)))


@pytest.fixture(scope="module", params=["darts", "snas"])
def search(request):
    return lab.finished(request.param)


def test_entropy_is_that_of_its_definition(p):
    edges = p.flatten(0, 1).numpy()
    assert lab.entropy(p) == pytest.approx(np.mean([-(edge * np.log(edge)).sum() for edge in edges]))
    assert lab.entropy(torch.full((2, 5, 5), 0.2)) == pytest.approx(np.log(5))
    assert lab.entropy(torch.eye(5)) == 0


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0, 3.0])
def test_sharpening_is_a_power(p, tau):
    power = p.numpy() ** (1 / tau)
    assert np.allclose(lab.sharpen(p, tau), power / power.sum(-1, keepdims=True))


def test_sharpening_keeps_the_order_and_goes_to_the_ends(p):
    entropies = []
    for tau in (0.02, 0.1, 0.5, 1.0, 2.0, 8.0, 1000.0):
        z = lab.sharpen(p, tau)
        assert torch.equal(z.argmax(-1), p.argmax(-1))
        entropies.append(lab.entropy(z))
    assert entropies == sorted(entropies)
    assert entropies[-1] == pytest.approx(np.log(5), abs=1e-4)
    gone = torch.tensor([0.0, 0.25, 0.75])
    assert lab.sharpen(gone, 0.5).tolist() == pytest.approx([0.0, 0.1, 0.9])
    assert lab.sharpen(gone, 100.0)[0] == 0  # what is pruned does not come back


@pytest.mark.parametrize("target", [0.2, 0.8, 1.3])
def test_the_temperature_meets_the_entropy(p, target):
    assert lab.entropy(lab.sharpen(p, lab.temperature(p, target))) == pytest.approx(target, abs=1e-6)
    with pytest.raises(UserError, match=r"target: 1\.7 is not a number from"):
        lab.temperature(p, 1.7)


def test_an_unknown_search():
    with pytest.raises(UserError, match=r"name: 'dart' is not one of darts, snas\. Did you mean 'darts'"):
        lab.finished("dart")


def test_the_network_is_the_one_recorded(search):
    """Its supernet and its child have the accuracies that the recording tells of its last row."""
    recording = Recording.open(f"digits-{search.name}")
    assert lab.entropy(search.p) == pytest.approx(recording.metric("entropy")[-1], abs=1e-6)
    child = search.child()
    for name in ("child_accuracy", "child_accuracy_recalibrated"):
        assert child[name] == recording.metric(name)[-1]
    if search.name == "darts":  # its last gates are its probabilities, one step before
        assert search.under(1.0).stale == pytest.approx(recording.metric("accuracy")[-1], abs=0.01)


def test_measuring_changes_nothing(search):
    before = {name: tensor.clone() for name, tensor in search.task.network.state_dict().items()}
    search.under(0.77)
    lab.settle(search, 0.5, epochs=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in search.task.network.state_dict().items())
    assert search.under(0.77) is search.under(0.77)


def test_in_the_cold_the_supernet_is_the_child(search):
    cold, child = search.under(lab.COLDEST / 4), search.child()
    assert cold.entropy < 0.02
    assert cold.stale == pytest.approx(child["child_accuracy"], abs=1 / 300 + 1e-9)
    assert cold.recalibrated == pytest.approx(child["child_accuracy_recalibrated"], abs=1 / 300 + 1e-9)


def test_equal_certainty_is_equal(search):
    (found,) = lab.together([search], [0.5])
    assert found[0] == lab.NAMES[search.name]
    assert found[1].entropy == pytest.approx(0.5, abs=1e-5)


def test_settling_trains_the_child_that_is_measured(search):
    points = lab.settle(search, 0.02, epochs=2)
    assert [step for step, _ in points] == [0, 15, 30]
    assert points[0][1] == search.child()["child_accuracy_recalibrated"]
    assert points == lab.settle(search, 0.02, epochs=2)
    assert all(0 <= accuracy <= 1 for _, accuracy in points)
    assert "trained on" in lab.settled({"cold": points}).svg()


def test_the_picture_of_sharpening(search):
    for tau in (1.0, 0.1):
        svg = lab.sharpening(search, np.log10(tau), search).svg()
        now = search.under(float(10 ** np.log10(tau)))
        assert f"{now.entropy:.2f} nats an edge, accuracy {now.recalibrated:.3f}" in svg
        assert f"τ = {tau:.2g}" in svg


def test_the_gaps_are_those_of_the_rows():
    rows = lab.runs()
    json.dumps(rows, allow_nan=False)
    assert {row["epochs"] for row in rows} == {lab.EPOCHS}
    assert all(row["entropy"] == 0 for row in rows if row["method"] == "nasp")
    assert not {"random", "pcdarts"} & {row["method"] for row in rows}
    grey, blue, names = lab.gaps(rows).figure.data
    assert len(grey.y) == len(rows)
    assert grey.y[0] == rows[0]["supernet"] - rows[0]["argmax_recalibrated"]
    assert len(blue.y) == len(names.text) == len({row["name"] for row in rows})


def test_curves_are_those_recorded():
    recording = Recording.open("digits-snas")
    (line,) = lab.curves({"SNAS": recording}).figure.data
    assert set(line.y) <= set(recording.metric("entropy"))
    assert line.y[0] > 1.5 > 0.5 > line.y[-1]


def test_evaluate_agrees_with_what_is_stored(search):
    images = search.task.images("valid")
    assert evaluate.accuracy(search.task.network, images, lab.sharpen(search.p, 1.0)) == search.under(1.0).stale
