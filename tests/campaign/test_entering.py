"""Who enters, and why not: TR-2 in its order, TR-4 and TR-5."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from gateway import document
from gateway.campaign import entering, workflow
from gateway.campaign.entering import Candidate, Facts, Live
from gateway.reasons import Reason

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TEXT = """
name = "c"
brand = "acme"
message = {text = "Hi"}
[trigger]
on = "event"
event = "seen"
"""


class Told(Struct, frozen=True, kw_only=True):
    """A cause."""

    profile: int = 1
    id: int = 1
    kind: str = "event"
    name: str = "seen"
    told: str = "a"
    occurred_at: datetime = NOW
    received_at: datetime = NOW
    properties: str = "{}"


class Was(Struct, frozen=True, kw_only=True):
    """An earlier enrolment."""

    id: int = 7
    campaign: int = 3
    profile: int = 1
    state: int = 1
    entered_at: datetime = NOW - timedelta(days=1)
    key: str = ""
    cause: str = "before"


def live(text: str = TEXT) -> Live:
    found, problems = document.read(text.encode())
    assert found is not None, problems
    plan, wrong = workflow.plan_of(found)
    assert wrong == []
    return Live(id=3, version=1, plan=plan)


def candidates(text: str, *told: Told) -> list[Candidate]:
    return entering.candidates([live(text)], told or [Told()], NOW)


def facts(**more: Any) -> Facts:
    of = {(3, 1), (3, 2)}
    return Facts(**{"fits": frozenset(of), "agreed": frozenset(of), "numbers": {1: 4477, 2: 4478}, **more})


def reasons(text: str, *known: Was, told: tuple[Told, ...] = (), **more: Any) -> list[int]:
    return [one.reason for one in entering.decide(candidates(text, *told), known, facts(**more), NOW)]


def test_reasons_come_in_the_order_of_the_rule() -> None:
    """TR-2: the first failing reason is recorded."""
    text = 'filter = "orders > 1"\n' + TEXT + '[entry]\nagain = "once"\n'
    nothing: Any = {"fits": frozenset(), "agreed": frozenset(), "numbers": {1: None}}
    old = (Told(occurred_at=NOW - timedelta(hours=73)),)
    ended = text.replace("[trigger]", 'ends_at = "2026-03-01"\n[trigger]')
    assert reasons(ended, Was(), told=old, **nothing) == [Reason.CAMPAIGN_ENDED]
    assert reasons(text, Was(), told=old, **nothing) == [Reason.LATE]
    assert reasons(text, Was(), **nothing) == [Reason.AUDIENCE_LEFT]
    assert reasons(text, Was(), agreed=frozenset(), numbers={1: None}) == [Reason.DUPLICATE_ENDPOINT]
    assert reasons(text, agreed=frozenset(), numbers={1: None}) == [Reason.NO_NUMBER]
    assert reasons(text, agreed=frozenset()) == [Reason.NO_CONSENT]
    assert reasons(text) == [0]


@pytest.mark.covers("S3.22")
def test_nobody_enters_before_the_start_and_from_the_end_on() -> None:
    """TR-9: [start, end)."""
    for start, end, reason in (
        ("2026-03-02T12:00:00Z", "2026-03-03", 0),
        ("2026-03-02T12:00:01Z", "2026-03-03", Reason.CAMPAIGN_ENDED),
        ("2026-03-01", "2026-03-02T12:00:00Z", Reason.CAMPAIGN_ENDED),
    ):
        assert reasons(f'starts_at = "{start}"\nends_at = "{end}"\n' + TEXT) == [reason]


@pytest.mark.parametrize(
    ("entry", "known", "reason"),
    [
        ('again = "once"', Was(), Reason.DUPLICATE_ENDPOINT),
        ('again = "every"', Was(), 0),
        ('again = "period"\nperiod = "1d"', Was(), 0),
        ('again = "period"\nperiod = "2d"', Was(), Reason.DUPLICATE_ENDPOINT),
        ('again = "per_key"', Was(key=""), Reason.DUPLICATE_ENDPOINT),
        ('again = "per_key"', Was(key="other"), 0),
        ('running = "single"', Was(state=0), entering.RUNNING),
        ('running = "parallel"\nmost = 2', Was(state=0), 0),
        ('running = "parallel"\nmost = 1', Was(state=0), entering.RUNNING),
        ('running = "restart"', Was(state=0), 0),
    ],
)
def test_once_more_and_side_by_side(entry: str, known: Was, reason: int) -> None:
    """TR-4, TR-5."""
    assert reasons(TEXT + f"[entry]\n{entry}\n", known) == [reason]


def test_restart_cancels_who_is_under_way() -> None:
    [one] = entering.decide(candidates(TEXT + '[entry]\nrunning = "restart"\n'), [Was(state=0)], facts(), NOW)
    assert one.cancels == (7,)


def test_of_two_causes_of_one_person_the_second_sees_the_first() -> None:
    """EV-6: serial by occurred_at."""
    told = (Told(told="a"), Told(told="b", id=2), Told(told="c", id=3, profile=2))
    assert reasons(TEXT, told=told) == [0, entering.RUNNING, 0]


def test_cause_that_had_its_turn_has_none_again() -> None:
    """TR-3."""
    assert reasons(TEXT, Was(cause="a")) == []


@pytest.mark.covers("S3.10", "S3.11")
def test_what_was_said_of_the_event_decides_whether_it_is_one() -> None:
    text = TEXT + "where = \"total > 100 and category = 'shoes'\"\n"
    told = [Told(properties=msgspec.json.encode(one).decode()) for one in (
        {"total": 101, "category": "shoes"}, {"total": 100, "category": "shoes"}, {"total": 200}
    )]  # fmt: skip
    assert [len(candidates(text, one)) for one in told] == [1, 0, 0]


@pytest.mark.covers("S3.8")
def test_place_is_a_circle_or_a_polygon() -> None:
    circle = TEXT.replace(
        'on = "event"\nevent = "seen"', 'on = "place"\nevent = "seen"\nlat = 52.52\nlon = 13.40\nkm = 1'
    )
    square = TEXT.replace(
        'on = "event"\nevent = "seen"', 'on = "place"\nevent = "seen"\npolygon = [[0, 0], [0, 2], [2, 2], [2, 0]]'
    )
    for text, at, inside in (
        (circle, {"lat": 52.521, "lon": 13.401}, True), (circle, {"lat": 52.6, "lon": 13.4}, False),
        (circle, {"lat": "52", "lon": 13.4}, False), (circle, {}, False),
        (square, {"lat": 1, "lon": 1}, True), (square, {"lat": 3, "lon": 1}, False),
        (square, {"lat": 1, "lon": -1}, False),
    ):  # fmt: skip
        told = Told(properties=msgspec.json.encode(at).decode())
        assert bool(candidates(text, told)) is inside


def test_click_of_a_machine_begins_nothing() -> None:
    """GL-5."""
    text = TEXT.replace('event = "seen"', 'event = "clicked"')
    for verdict, count in (("human", 1), ("bot", 0), ("unsure", 0)):
        told = Told(name="clicked", properties=msgspec.json.encode({"verdict": verdict}).decode())
        assert len(candidates(text, told)) == count
