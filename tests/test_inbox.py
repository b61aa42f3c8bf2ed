"""Inboxes of the settings: rules IN-1, IN-4, IN-6."""

from typing import Any

import pytest

from gateway.config import Problem, decode
from gateway.inbox import InboxSettings, address_of, inbox_of, problems_of


def read(**inboxes: Any) -> tuple[dict[str, InboxSettings], list[Problem]]:
    problems: list[Problem] = []
    settings = decode({"inboxes": inboxes, "brands": {"acme": {}}}, "", problems)
    return settings.inboxes, problems


def test_in_1_an_inbox_has_what_is_written_to_its_senders_and_one_without_has_the_rest() -> None:
    inboxes, problems = read(a={"senders": ["12345", "+44 7700 900123"]}, rest={})
    assert not problems
    wanted = {"12345": "a", "447700900123": "a", "00447700900123": "a", "999": "rest", "Acme": "rest"}
    assert {sender: inbox_of(inboxes, sender) for sender in wanted} == wanted
    assert inbox_of({"a": inboxes["a"]}, "999") == ""


def test_addresses_are_compared_however_they_are_written() -> None:
    assert {address_of(one) for one in ("+44 7700-900123", "447700900123", "0044 7700 900123")} == {"447700900123"}
    assert address_of("ACME Shop") == address_of("acmeshop")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"brand": "acne"}, "brand"),
        ({"zone": "Europe/Londn"}, "zone"),
        ({"hours": "9 to 5"}, "hours"),
        ({"agents": {"anna": {"hours": "25:00-26:00"}}}, "agents.anna.hours"),
        ({"agents": {"anna": {}}, "rules": [{"agents": ["bert"], "words": ["x"]}]}, "rules[0].agents"),
        ({"agents": {"anna": {}}, "rules": [{"agents": ["anna"]}]}, "rules[0]"),
        ({"agents": {"anna": {}}, "rules": [{"agents": ["anna"], "words": ["?!"]}]}, "rules[0].words"),
        ({"two_way": False}, "away"),
        ({"answering": {"enabled": True}}, "answering.knowledge"),
        ({"answering": {"enabled": True, "knowledge": "x", "disclosure": " "}}, "answering.disclosure"),
        ({"first_answer_s": -1}, "first_answer_s"),
        ({"agent": {}}, "agent"),
    ],
)  # fmt: skip
def test_in_4_what_is_wrong_with_an_inbox_is_said_with_its_place(section: dict[str, Any], key: str) -> None:
    _, problems = read(support=section)
    assert [one[0] for one in problems] == [f"inboxes.support.{key}"], problems


def test_in_1_two_inboxes_cannot_have_one_sender() -> None:
    _, problems = read(a={"senders": ["+12345"]}, b={"senders": ["12345"]}, c={}, d={})
    assert [one[0] for one in problems] == ["inboxes.b.senders", "inboxes.d.senders"]


def test_in_6_nothing_answers_by_itself_unless_somebody_turns_it_on() -> None:
    assert not InboxSettings().answering.enabled
    assert problems_of("x", InboxSettings(), {}) == []
