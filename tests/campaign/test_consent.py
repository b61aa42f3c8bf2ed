"""How the facts of a number make its state: every rule of the ledger, without a database."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.campaign.consent import confirmed, may_ask, merged, problems, proof_of_stop, state_now, states_of
from gateway.consent import EVERYTHING, Fact, Standing, State

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def fact(action: Any = "grant", hours: float | None = 0, **how: Any) -> Fact:
    values: dict[str, Any] = {
        "number": 447700900001, "brand": "acme", "class_": "promotional", "source": "form", "recorded_at": AT,
        "effective_at": None if hours is None else AT + hours * HOUR, "method": "box ticked",
        "wording": "Texts of Acme",
    }  # fmt: skip
    return Fact(action=action, **{**values, **how})


def state(*facts: Fact, brand: str = "acme") -> State:
    return states_of(facts)[brand].promotional


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([fact()], State.GRANTED),
        ([fact(), fact("revoke", 1)], State.REVOKED),
        ([fact(hours=2), fact("revoke", 1)], State.GRANTED),
        ([fact("revoke", 0), fact(hours=0)], State.REVOKED),
        ([fact("pending")], State.PENDING),
        ([fact(), fact("pending", 1)], State.GRANTED),
        ([fact("revoke"), fact("pending", 1)], State.REVOKED),
        ([fact("pending"), fact("confirm", 1)], State.GRANTED),
        ([fact("suppress", 1, class_="all"), fact()], State.GRANTED),
    ],
)
def test_cn_2_state_is_the_latest_row_and_at_one_time_a_revoke_beats_a_grant(
    facts: list[Fact], expected: State
) -> None:
    for _ in range(5):
        random.Random(1).shuffle(facts)
        assert state(*facts) == expected


def test_cn_2_an_import_never_overrides_a_later_or_undated_opt_out() -> None:
    imported = fact(hours=5, source="import")
    assert state(fact("revoke", 6), imported) == State.REVOKED
    assert state(fact("revoke", None), imported) == State.REVOKED == state(imported, fact("revoke", None))
    assert state(fact("revoke", None), fact(hours=5)) == State.GRANTED


@pytest.mark.parametrize(
    ("lacking", "field"),
    [
        ({"effective_at": None}, "effective_at"), ({"wording": " "}, "wording"), ({"method": ""}, "method"),
        ({"brand": ""}, "brand"), ({"brand": EVERYTHING}, "brand"), ({"class_": "all"}, "class"),
        ({"effective_at": AT + HOUR}, "effective_at"), ({"number": 0}, "number"),
    ],
)  # fmt: skip
def test_cn_3_a_grant_without_time_words_method_or_brand_is_refused_by_field(lacking: Any, field: str) -> None:
    assert problems(fact()) == []
    assert field in [one[0] for one in problems(fact(**lacking))]


def test_cn_3_an_opt_out_needs_no_more_than_a_number_and_a_brand() -> None:
    assert problems(fact("revoke", None, brand=EVERYTHING, class_="all", wording="", method="")) == []


def test_cn_4_a_yes_within_a_day_confirms_with_both_proofs_and_later_it_confirms_nothing() -> None:
    asked = fact("pending", wording="Reply YES for 4 texts a month of Acme", wording_version="7")
    made = confirmed([asked], AT + 23 * HOUR, 99, "Yes")
    assert [(one.action, one.brand, one.message_id, one.wording_version) for one in made] == [
        ("confirm", "acme", 99, "7")
    ]
    assert "Reply YES" in made[0].wording and made[0].wording.endswith("Yes")
    assert state(asked, *made) == State.GRANTED
    assert confirmed([asked], AT + 24 * HOUR, 99, "Yes") == [] == confirmed([fact()], AT, 99, "Yes")


def test_cn_4_no_answer_is_a_no_and_nobody_is_asked_again_for_90_days() -> None:
    asked = fact("pending")
    assert state_now(State.PENDING, AT, AT + 24 * HOUR) == State.NONE
    assert may_ask([], "acme", AT)
    assert not may_ask([asked], "acme", AT + timedelta(days=89)) and may_ask([asked], "acme", AT + timedelta(days=90))
    assert not may_ask([fact("revoke")], "acme", AT + timedelta(days=900))


def test_cn_7_a_revoke_of_a_brand_reaches_its_programmes_and_one_of_a_programme_only_itself() -> None:
    facts = [fact(), fact(brand="acme/news"), fact(brand="acmeology")]
    found = states_of([*facts, fact("revoke", 1)])
    assert found["acme/news"].promotional == State.REVOKED and found["acmeology"].promotional == State.GRANTED
    found = states_of([*facts, fact("revoke", 1, brand="acme/news")])
    assert found["acme/news"].promotional == State.REVOKED and found["acme"].promotional == State.GRANTED
    assert {one.promotional for one in states_of([*facts, fact("revoke", 1, brand="*")]).values()} == {State.REVOKED}


def test_cn_7_who_has_no_row_of_a_brand_inherits_a_no_and_never_a_yes() -> None:
    granted = Standing(State.GRANTED, State.NONE, State.NONE, AT)
    assert merged({"acme": granted}, "acme/news").promotional == State.NONE
    assert merged({"*": Standing(State.REVOKED, State.REVOKED, State.REVOKED, AT)}, "new").promotional == State.REVOKED


def stop(source: str, seq: int, *, is_stop: bool = True, hours: float = 1) -> Fact:
    at = AT + hours * HOUR
    return proof_of_stop(
        {"seq": seq, "number": 447700900001, "at": at, "is_stop": is_stop, "scope": "*", "source": source, "note": ""}
    )


def test_cn_9_a_start_lifts_only_what_the_handset_itself_has_stopped() -> None:
    start = stop("keyword", 9, is_stop=False, hours=2)
    assert state(fact(), stop("keyword", 2), start) == State.GRANTED
    assert state(fact(), stop("api", 2), start) == State.REVOKED
    assert state(fact(), stop("keyword", 2), start, stop("keyword", 10, hours=3)) == State.REVOKED


def test_cn_5_a_doubt_and_its_end_leave_consent_as_it_was() -> None:
    entry = {"number": 447700900001, "scope": "promotional", "source": "doubt", "note": ""}
    doubt = proof_of_stop({**entry, "seq": 2, "at": AT + HOUR, "is_stop": True})
    lifted = proof_of_stop({**entry, "seq": 9, "at": AT + 3 * HOUR, "is_stop": False})
    assert (doubt.action, doubt.brand, doubt.class_) == ("suppress", "*", "promotional")
    assert state(fact(), doubt) == State.GRANTED == state(fact(), doubt, lifted)
    # An ordinary answer lifts no STOP that was said meanwhile.
    assert state(fact(), doubt, stop("keyword", 5, hours=2), lifted) == State.REVOKED


def test_cn_11_what_suppresses_a_number_for_another_reason_takes_no_consent_away() -> None:
    for source in ("invalid", "sunset", "complaint", "carrier", "legal", "age"):
        one = stop(source, 2)
        assert one.action == "suppress" and one.source == source and state(fact(), one) == State.GRANTED
