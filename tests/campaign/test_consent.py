"""How the facts of a number make its state: every rule of the ledger, without a database."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.campaign.consent import (
    confirmed,
    may_ask,
    merged,
    problems,
    proof_of_stop,
    state_now,
    states_at,
    states_of,
)
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


def test_cn_7_a_yes_to_a_brand_reaches_a_programme_that_nothing_was_said_of_and_no_other() -> None:
    granted = Standing(State.GRANTED, State.NONE, State.NONE, AT)
    assert merged({"acme": granted}, "acme/news") == granted
    assert merged({"acme/news": granted}, "acme").promotional == State.NONE
    assert merged({"acme/news": granted}, "acme/club").promotional == State.NONE
    assert merged({"acme": granted}, "acmeology").promotional == State.NONE
    nothing = Standing(State.NONE, State.NONE, State.NONE, None)
    assert merged({"acme": granted, "acme/news": nothing}, "acme/news") == nothing
    everything = Standing(State.REVOKED, State.GRANTED, State.REVOKED, AT)
    assert merged({"*": everything}, "new") == Standing(State.REVOKED, State.NONE, State.REVOKED, AT)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([fact("revoke", 0, brand="acme/news"), fact(hours=5)], State.REVOKED),
        ([fact("pending", 0, brand="acme/news"), fact(hours=5)], State.PENDING),
        ([fact("pending", 0, brand="acme/news"), fact("revoke", 5)], State.REVOKED),
        ([fact(hours=0, brand="acme/news"), fact("revoke", 1)], State.REVOKED),
        ([fact("revoke", 1), fact(hours=2, brand="acme/news")], State.GRANTED),
        ([fact(hours=0, brand="acme/news"), fact("revoke", 1), fact(hours=2)], State.GRANTED),
        ([fact("revoke", 0, brand="acme/news"), fact("revoke", 1), fact(hours=2)], State.REVOKED),
        ([fact("revoke", 0, brand="acme/news", class_="night"), fact(hours=5)], State.GRANTED),
    ],
)
def test_cn_7_what_was_said_of_a_programme_itself_is_not_taken_back_by_a_yes_to_its_brand(
    facts: list[Fact], expected: State
) -> None:
    assert state(*facts, brand="acme/news") == expected == state(*reversed(facts), brand="acme/news")


def test_cn_4_a_request_for_a_programme_that_nobody_answered_is_a_no_to_it_whatever_the_brand_has() -> None:
    facts = [fact(), fact("pending", brand="acme/news")]
    assert states_at(facts, AT + 25 * HOUR)["acme/news"].promotional == State.NONE
    assert may_ask(facts, "acme/news", AT + timedelta(days=91)) and not may_ask([fact()], "acme/news", AT + HOUR)
    (made,) = confirmed(facts, AT + HOUR, 99, "Yes")
    assert made.brand == "acme/news" and state(*facts, made, brand="acme/news") == State.GRANTED


FACTS = st.lists(
    st.builds(
        fact,
        st.sampled_from(["grant", "pending", "revoke"]),
        st.integers(0, 8),
        brand=st.sampled_from(["*", "acme", "acme/news", "acme/club"]),
        class_=st.sampled_from(["promotional", "night", "all"]),
    ).filter(lambda one: one.action == "revoke" or (one.brand != "*" and one.class_ != "all")),
    max_size=9,
)


def told(facts: list[Fact], brand: str, class_: str) -> State:
    """The obvious way: hear what was said one after the other; of words of one time a no is heard last."""
    said: dict[str, str] = {}
    for one in sorted(facts, key=lambda one: (one.effective_at, one.action == "revoke", one.action == "grant")):
        if one.class_ not in (class_, "all"):
            continue
        if one.action == "pending":
            said.setdefault(one.brand, "asked")
        elif one.action == "grant":
            said[one.brand] = "yes"
        else:
            said[one.brand] = "no"
            for below in said:
                if (one.brand == "*" or below.startswith(one.brand + "/")) and said[below] == "yes":
                    said[below] = "ended"
    found = State.NONE
    for name in ("*", "acme", brand) if brand.startswith("acme/") else ("*", brand):
        match said.get(name):
            case "yes":
                found = State.GRANTED
            case "no":
                found = State.REVOKED
            case "asked" if found != State.REVOKED:
                found = State.PENDING
    return found


@given(FACTS, st.randoms(use_true_random=False))
def test_cn_7_brands_and_programmes_stand_as_they_were_spoken_of_in_whatever_order_it_is_recorded(
    facts: list[Fact], chance: random.Random
) -> None:
    chance.shuffle(facts)
    found = states_of(facts)
    for brand in ("acme", "acme/news", "acme/club", "other"):
        one = merged(found, brand)
        assert one.promotional == told(facts, brand, "promotional"), brand
        assert one.night == told(facts, brand, "night"), brand


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
