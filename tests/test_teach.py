"""Lessons: predictions stay locked, checks hint instead of raising."""

import pytest

from nasviz.teach import check, predict


def test_a_stub_gets_the_hint_and_no_traceback():
    answer = ...
    verdict = check(("`answer` must be a number", lambda: answer > 0))
    assert not verdict.passed
    assert verdict.text.startswith("Not yet: `answer` must be a number (TypeError")


def test_the_first_failing_condition_speaks():
    assert check(("a", lambda: True), ("b", lambda: False), ("c", lambda: 1 / 0)).text == "Not yet: b"


def test_all_conditions_hold():
    assert check(("a", lambda: 1), done="Well seen.").passed


def test_prediction_compares_with_an_answer_computed_on_reveal():
    asked = []
    prediction = predict("Which?", ["up", "down"], lambda: asked.append(1) or "up", because=lambda: "It was 3.")
    assert not asked
    assert prediction.verdict("up").passed
    assert prediction.verdict("down").text == "You said “down”. It is: up. It was 3."


def test_reveal_is_locked_until_a_choice_is_made():
    box = predict("Which?", ["up", "down"], "up").widget()
    _, radio, reveal, outcome = box.children
    assert reveal.disabled
    radio.value = "down"
    assert not reveal.disabled
    reveal.click()
    assert "You said “down”" in outcome.value
    assert radio.disabled


def test_static_prediction_shows_no_answer_and_no_widget(monkeypatch):
    monkeypatch.setenv("NASVIZ_STATIC", "1")
    bundle = predict("<b>Which?", ["up", "down"], "up", "because")._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "because" not in bundle["text/html"]
    assert "<b>Which" not in bundle["text/html"]


@pytest.mark.parametrize(("choices", "answer"), [(["up"], "up"), (["up", "down"], "left")])
def test_wrong_predictions_are_refused(choices, answer):
    with pytest.raises(ValueError, match="predict: "):
        predict("Which?", choices, answer)
