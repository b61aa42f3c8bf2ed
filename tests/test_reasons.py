"""The closed list of reasons: each has one word, one rule, and a value that no other has."""

from pathlib import Path

import pytest

from gateway import reasons
from gateway.message import Refusal
from gateway.reasons import WORDS, Reason


def test_every_refusal_and_reason_has_a_word_and_no_two_have_one():
    assert set(reasons.WORDS) == set(Reason) | set(Refusal)
    words = [word for word, _ in reasons.WORDS.values()]
    assert len(set(words)) == len(words)


def test_no_reason_has_the_value_of_a_refusal_or_of_a_cap():
    assert not set(Reason) & set(Refusal)
    caps = {reasons.cap(place) for place in range(reasons.MOST_CAPS)}
    assert len(caps) == reasons.MOST_CAPS and not caps & (set(Reason) | set(Refusal))


def test_a_cap_is_named_as_its_run_has_written_it():
    assert reasons.word_of(reasons.cap(1), ["1 per day", "4 per 7d"]) == "cap:4 per 7d"
    assert reasons.word_of(reasons.cap(2)) == "cap:2"
    assert reasons.rule_of(reasons.cap(0)) == "CP-1"


def test_the_smscs_own_word_is_told_as_it_came():
    assert reasons.word_of(0x0B) == "smsc:0x000b" and reasons.word_of(0) == ""
    assert reasons.rule_of(0x0B) == ""


def test_a_suppression_is_named_by_what_entered_it():
    assert reasons.of_source("sunset") == Reason.SUNSET and reasons.of_source("keyword") == Reason.STOP


def test_more_caps_than_there_are_values_are_refused():
    with pytest.raises(ValueError, match="expected a place from 0 to 15, got 16"):
        reasons.cap(reasons.MOST_CAPS)


def test_the_page_of_the_gate_has_every_reason_with_its_rule_and_no_other():
    page = (Path(__file__).parents[1] / "docs" / "gate.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| -")]
    told = sorted(WORDS.items(), key=lambda one: -one[0])
    assert rows == [f"| {int(status)} | `{word}` | {rule} |" for status, (word, rule) in told]
