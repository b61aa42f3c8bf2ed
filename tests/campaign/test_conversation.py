"""What follows from a message of a handset: rules IN-1, IN-2, IN-4 to IN-8, as functions of facts."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.campaign.answers import Answer
from gateway.campaign.conversation import (
    Decision,
    Heard,
    Load,
    Refused,
    assigned,
    decide,
    due_at,
    hand_over,
    has_words,
    is_away_due,
    is_negative,
    is_staffed,
    most_amount,
    paused_until,
    reply_class,
    thread,
)
from gateway.inbox import Agent, Answering, InboxSettings, Rule
from gateway.message import MessageClass

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
VALID, RETRY, UNREADABLE = Answer("answer", 3), Answer("retry"), Answer("unreadable")
SHOP = InboxSettings(
    zone="Europe/London", hours={"mon-fri": "09:00-17:00"}, away="We are back at 9",
    agents={"anna": Agent(languages=("fr",)), "bert": Agent(capacity=2), "cleo": Agent(hours="14:00-17:00")},
    rules=(Rule(words=("refund",), agents=("bert",)), Rule(campaign="spring*", agents=("anna",)),
           Rule(audience="vip", language="fr", agents=("cleo",))),
)  # fmt: skip


def test_in_2_precedence_is_compliance_then_answer_then_keyword_then_retry_then_auto_then_people() -> None:
    every = {"reading": VALID, "is_of_order": True, "keyword": "JOIN", "auto": True}
    said = []
    for drop in ("", "reading", "is_of_order", "keyword", "auto"):
        every.pop(drop, None)
        said.append(decide(Heard(**every)).kind)  # type: ignore[arg-type]
    assert said == ["answer", "order", "keyword", "auto", "people"]
    assert decide(Heard(reading=RETRY, keyword="JOIN", auto=True)).kind == "keyword"
    assert decide(Heard(reading=RETRY, auto=True)) == Decision(kind="retry", line=2)
    assert decide(Heard(reading=UNREADABLE, auto=True)) == Decision(kind="unreadable", line=5, needs_people=True)


@pytest.mark.parametrize("wish", ["stop", "start", "help", "doubt"])
def test_in_2_words_of_compliance_beat_everything_always(wish: str) -> None:
    choices = itertools.product(
        (None, VALID, RETRY, UNREADABLE), (True, False), ("", "STOP"), (True, False), (True, False)
    )
    for reading, order, keyword, may, auto in choices:
        heard = Heard(wish=wish, reading=reading, is_of_order=order, keyword=keyword, may_write=may, auto=auto)  # type: ignore[arg-type]
        found = decide(heard)
        assert found.kind == "compliance" and found.line == 1
        assert found.needs_people == (wish == "doubt"), "what may be a STOP is read by somebody (CN-5)"


def test_in_2_a_yes_is_an_answer_unless_it_was_obeyed() -> None:
    assert decide(Heard(wish="yes", reading=VALID)).kind == "answer"
    assert decide(Heard(wish="yes", reading=VALID, was_obeyed=True)).kind == "compliance"
    assert decide(Heard(wish="yes", is_of_order=True)).kind == "order"


@given(
    st.sampled_from([None, VALID, RETRY, UNREADABLE, Answer("skip")]),
    st.booleans(),
    st.sampled_from(["", "JOIN"]),
    st.booleans(),
)
def test_in_2_who_has_said_stop_is_sent_nothing_by_itself(
    reading: Answer | None, order: bool, keyword: str, auto: bool
) -> None:
    heard = Heard(reading=reading, is_of_order=order, keyword=keyword, auto=auto, may_write=False)
    assert decide(heard).kind in ("answer", "skip", "keyword", "people")


def test_in_1_what_comes_in_reopens_and_what_is_closed_for_more_than_a_week_begins_anew() -> None:
    week = timedelta(days=7)
    assert thread("open", None, NOW) == "goes_on"
    assert thread("snoozed", None, NOW) == "reopened"
    assert thread("closed", NOW - week, NOW) == "reopened"
    assert thread("closed", NOW - week - timedelta(seconds=1), NOW) == "new"


def loads(**open_: int) -> list[Load]:
    return [Load(name=name, open=n) for name, n in open_.items()]


def test_in_4_the_first_rule_that_fits_says_who_and_then_the_least_busy() -> None:
    assert assigned(SHOP, loads(anna=0, bert=1), NOW, text="I want a REFUND!") == "bert"
    assert assigned(SHOP, loads(anna=9, bert=0), NOW, campaign="spring sale") == "anna"
    assert assigned(SHOP, loads(anna=9, bert=1), NOW, language="en") == "bert"
    assert assigned(SHOP, loads(anna=9, bert=1), NOW, language="fr-CA") == "anna", "who speaks it goes first"
    assert assigned(SHOP, [], NOW + timedelta(hours=3), language="fr", audiences=["vip"]) == "cleo"


def test_in_4_nobody_is_given_more_than_their_capacity_or_anything_outside_their_hours() -> None:
    assert assigned(SHOP, loads(bert=2), NOW, text="refund") == ""
    assert assigned(SHOP, [], NOW, language="fr", audiences=["vip"]) == "", "cleo is there from two"
    assert assigned(SHOP, [], NOW + timedelta(hours=6)) == "", "nobody is there at six"
    assert assigned(SHOP, [], NOW - timedelta(days=1)) == "", "nor on a Sunday"


def test_in_4_round_robin_takes_who_had_their_last_the_longest_ago() -> None:
    inbox = InboxSettings(assign="round_robin", agents={name: Agent() for name in "abc"})
    last: dict[str, Load] = {}
    order = []
    for turn in range(7):
        at = NOW + timedelta(minutes=turn)
        name = assigned(inbox, list(last.values()), at)
        last[name] = Load(name=name, open=last[name].open + 1 if name in last else 1, last_at=at)
        order.append(name)
    assert order == list("abcabca")


def test_in_4_who_gave_it_back_gets_it_again_only_where_nobody_else_fits() -> None:
    inbox = InboxSettings(agents={"a": Agent(), "b": Agent(capacity=1)})
    assert assigned(inbox, loads(b=0), NOW, but="a") == "b"
    assert assigned(inbox, loads(b=1), NOW, but="a") == "a"


def test_in_4_answers_are_due_in_staffed_time() -> None:
    friday = datetime(2026, 11, 20, 16, 30, tzinfo=UTC)
    assert due_at(SHOP, friday, 3600) == datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    assert due_at(SHOP, NOW, 3600) == NOW + timedelta(hours=1)
    assert due_at(SHOP, datetime(2026, 11, 22, 3, tzinfo=UTC), 60) == datetime(2026, 11, 23, 9, 1, tzinfo=UTC)
    assert due_at(SHOP, NOW, 0) is None
    assert due_at(InboxSettings(), NOW, 10) == NOW + timedelta(seconds=10)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)), st.integers(1, 200_000))
def test_in_4_what_is_due_is_due_while_somebody_is_there_and_no_sooner(at: datetime, seconds: int) -> None:
    since = at.replace(tzinfo=UTC)
    due = due_at(SHOP, since, seconds)
    assert due is not None and due - since >= timedelta(seconds=seconds) - timedelta(milliseconds=1)
    assert is_staffed(SHOP, due - timedelta(seconds=1))


def test_in_5_the_answer_for_closed_hours_goes_out_once_in_twelve_hours() -> None:
    night = datetime(2026, 11, 23, 22, tzinfo=UTC)
    assert not is_away_due(SHOP, NOW, None), "somebody is there"
    assert is_away_due(SHOP, night, None)
    assert not is_away_due(SHOP, night, night - timedelta(hours=11, minutes=59))
    assert is_away_due(SHOP, night, night - timedelta(hours=12))
    assert not is_away_due(InboxSettings(hours="09:00-10:00"), night, None), "there is nothing to say"


@pytest.mark.covers("S4.60")
def test_in_5_where_nobody_reads_the_answer_says_so_at_any_hour() -> None:
    assert is_away_due(InboxSettings(two_way=False, away="Nobody reads here: call 123"), NOW, None)


ON = Answering(enabled=True, knowledge="faq.toml")


@pytest.mark.covers("S4.23", "S4.24")
def test_in_6_what_a_person_has_to_answer_is_handed_over_with_the_reason() -> None:
    def why(text: str, confidence: float | None = 0.99, misses: int = 0) -> str:
        return hand_over(ON, text, confidence=confidence, misses=misses)

    assert why("when do you open?") == ""
    assert why("when do you open?", 0.74, 1) == "unsure"
    assert why("when do you open?", None, 1) == "no answer"
    assert why("when do you open?", None, 2) == "misses"
    assert why("let me talk to a human") == "asked for a person"
    assert why("Ich will mit einem Mitarbeiter sprechen") == "asked for a person"
    assert why("人工客服") == "asked for a person"
    assert why("delete my data") == "about consent"
    assert why("I will see you in court") == "about law"
    assert why("is it ok with my medicine") == "about health"
    assert why("I was charged twice") == "about payment dispute"
    assert why("this is useless") == "negative"
    assert why("WHERE IS MY ORDER") == "negative"
    assert why("where is it!!!") == "negative"
    assert why("can I return the one for 250 EUR") == "amount"
    assert why("can I return the one for €99.50") == ""


def test_in_6_an_answerer_is_off_until_somebody_turns_it_on() -> None:
    assert hand_over(Answering(), "when do you open?", confidence=1.0, misses=0) == "off"
    assert not InboxSettings().answering.enabled


def test_in_6_topics_of_ones_own_are_forbidden_beside_those_that_always_are() -> None:
    more = Answering(enabled=True, knowledge="x", forbidden={"rivals": ("globex",), "health": ("vitamin",)})
    assert hand_over(more, "is Globex better?", confidence=1.0, misses=0) == "about rivals"
    assert hand_over(more, "any vitamin?", confidence=1.0, misses=0) == "about health"
    assert hand_over(more, "my doctor says", confidence=1.0, misses=0) == "about health"


def test_words_are_whole_words_but_where_none_are_parted() -> None:
    assert has_words("Please, a Refund now", ["refund"]) and not has_words("refunding", ["refund"])
    assert has_words("请转人工服务", ["人工"]) and not has_words("", ["x"]) and not has_words("x", ["!!"])


@given(st.text(max_size=60))
def test_in_6_any_text_is_judged(text: str) -> None:
    assert isinstance(hand_over(ON, text, confidence=None, misses=1), str)
    assert most_amount(text) >= 0 and isinstance(is_negative(text), bool)


def test_amounts_are_read_with_and_without_their_cents() -> None:
    texts = {
        "$1,250": 1250,
        "1.250,50 €": 1250.5,
        "20 quid": 20,
        "order 12345": 0,
        "EUR 7.5 or £30": 75,
        "£1,250.99": 1250.99,
    }
    assert {text: most_amount(text) for text in texts} == texts


def test_in_7_what_is_promotional_waits_from_the_takeover_until_a_day_behind_the_end() -> None:
    assert paused_until(SHOP, has_person=False, closed_at=None) is None
    assert paused_until(SHOP, has_person=True, closed_at=None) == datetime.max
    assert paused_until(SHOP, has_person=True, closed_at=NOW) == NOW + timedelta(hours=24)


def test_in_8_nobody_answers_who_is_stopped_and_it_is_said_why() -> None:
    refused = reply_class({"complaint": NOW, "keyword": NOW - timedelta(days=1)}, NOW, NOW)
    assert refused == Refused("they are not written to: keyword, since 2026-11-22 12:00 UTC")


def test_in_8_an_answer_within_a_day_is_of_the_conversation_and_a_later_one_is_transactional() -> None:
    day = timedelta(hours=24)
    assert reply_class({}, NOW - day, NOW) == MessageClass.CONVERSATION
    assert reply_class({}, NOW - day - timedelta(seconds=1), NOW) == MessageClass.TRANSACTIONAL
    assert reply_class({}, None, NOW) == MessageClass.TRANSACTIONAL
