"""Why numbers are suppressed, and what lifts each reason."""

import pytest

from gateway.consent import Source
from gateway.reasons import BY_SOURCE
from gateway.suppression import BY_CARRIER, BY_GRANT, BY_PERSON, BY_START, KINDS, code_of, problems


def test_cn_9_a_start_lifts_no_complaint_no_law_no_erasure_no_age_and_nothing_that_others_entered() -> None:
    assert not set(BY_START) & {"complaint", "legal", "erased", "age", "command", "api", "import", "agent", "manual"}
    assert {"keyword", "carrier"} <= set(BY_START)


def test_cn_11_a_new_grant_lifts_a_sunset_and_no_stop() -> None:
    assert "sunset" in BY_GRANT and "keyword" not in BY_GRANT


def test_every_reason_that_is_given_is_known_everywhere() -> None:
    assert {*BY_PERSON, *BY_CARRIER} <= KINDS.keys() and set(KINDS) <= set(Source.__args__)
    assert set(BY_SOURCE) <= KINDS.keys()
    assert {name for name, kind in KINDS.items() if not kind.by_person} == {"erased"}


@pytest.mark.parametrize(("key", "code"), [("0x0B", 11), ("1025", 1025), ("err:034", "034"), ("err: 21b", "21b")])
def test_answers_of_a_carrier_are_read(key: str, code: int | str) -> None:
    assert code_of(key) == code and problems({key: "invalid"}) == []


@pytest.mark.parametrize("key", ["0", "-1", "RINV", "err:", "", "0x100000000"])
def test_what_is_no_answer_of_a_carrier_is_named(key: str) -> None:
    assert [one[0] for one in problems({key: "invalid"})] == [key]
