"""When a wait is over and a trigger fires, held against a clock that is read every minute."""

import time as clocks_of_ours
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.campaign import zones
from gateway.campaign.delays import (
    Clocks,
    Occurrence,
    due_all,
    due_at,
    first_tick,
    inactive_at,
    judged,
    later_by,
    missed,
    next_occurrence,
    occurrence_of,
    occurrences_of,
)
from gateway.campaign.quiet_hours import first_instant, offsets
from gateway.delay import After, At, Delay, Every, Next, Offset, Once, OnDate, Supply, Until
from tests.oracle.clocks import AROUND, MINUTE, first_shown

EVERY_ZONE = sorted(name for name in available_timezones() if zones.is_zone(name))
BERLIN = Clocks("Europe/Berlin", "America/New_York")
every_zone = st.sampled_from(EVERY_ZONE)
every_minute = st.integers(0, 1439)
days = st.dates(date(2000, 1, 1), date(2040, 12, 31))
instants = st.datetimes(datetime(2000, 1, 1), datetime(2040, 12, 31), timezones=st.just(UTC))


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zones.zone(zone)).astimezone(UTC)


def wall_of(instant: datetime, zone: str) -> datetime:
    return instant.astimezone(zones.zone(zone)).replace(tzinfo=None)


# -- DL-5 --------------------------------------------------------------------------------------------------------------


def test_every_zone_of_the_pinned_data_is_asked() -> None:
    assert len(EVERY_ZONE) > 500


@settings(max_examples=400, deadline=None)
@given(every_zone, days, every_minute)
def test_a_local_time_is_due_when_a_clock_first_shows_it_or_has_passed_it_dl_5(
    zone: str, day: date, minute: int
) -> None:
    wall = datetime.combine(day, time()) + minute * MINUTE
    assert first_instant(wall, zone) == first_shown(wall, zones.zone(zone))


@pytest.mark.slow
@pytest.mark.parametrize("year", [2026, 2011])
def test_every_minute_around_every_change_of_every_clock_of_a_year_dl_5(year: int) -> None:
    begin, end = (int(datetime(each, 1, 1, tzinfo=UTC).timestamp()) for each in (year, year + 1))
    seen: set[tuple[int, int, int]] = set()
    for zone in EVERY_ZONE:
        pieces = offsets(zone, begin, end)
        for (_, since, before), (_, _, after) in zip(pieces, pieces[1:], strict=False):
            # Zones that change alike are one.
            if (since, before, after) in seen:
                continue
            seen.add((since, before, after))
            change = datetime.fromtimestamp(since, UTC)
            room = timedelta(seconds=abs(after - before)) + timedelta(hours=2)
            # First instants of all minutes around it, by one walk of the clock.
            now = change - room - AROUND
            wall = wall_of(change - MINUTE, zone) - room
            while wall <= wall_of(change, zone) + room:
                while wall_of(now, zone) < wall:
                    now += MINUTE
                assert first_instant(wall, zone) == now.astimezone(UTC), (zone, wall)
                wall += MINUTE
    assert len(seen) > 20


def test_the_offset_is_that_of_the_target_and_not_of_now_dl_5() -> None:
    # Asked in winter for a day in summer.
    delay = At(days=40, minute=600)
    assert due_at(delay, at("2026-03-01T12:00"), BERLIN, {}) == at("2026-04-10T08:00")
    # In New York it is still Sunday evening while it is Monday in UTC: the day is that of its clock.
    sunday = at("2026-03-02T01:00")
    assert wall_of(sunday, "America/New_York").weekday() == 6
    monday = Next(weekdays=(0,), minute=600, clock="workspace")
    assert due_at(monday, sunday, BERLIN, {}) == at("2026-03-02T10:00", "America/New_York")


def test_seconds_of_a_local_time_are_kept_and_those_in_a_gap_are_not() -> None:
    assert first_instant(datetime(2026, 7, 1, 10, 0, 7, 250), "Europe/Berlin") == at("2026-07-01T08:00:07.000250")
    assert first_instant(datetime(2026, 3, 29, 2, 30, 7, 250), "Europe/Berlin") == at("2026-03-29T01:00")


# -- DL-1, DL-2, DL-4 --------------------------------------------------------------------------------------------------


@pytest.mark.covers("S2.15", "S3.18")
@given(instants, st.integers(0, 10**8))
def test_elapsed_time_is_exact_whatever_clocks_do_dl_1(anchor: datetime, seconds: int) -> None:
    assert due_at(After(seconds=seconds), anchor, BERLIN, {}) == anchor + timedelta(seconds=seconds)


@settings(max_examples=200, deadline=None)
@given(every_zone, instants, st.integers(0, 60), every_minute)
def test_days_are_counted_by_the_clock_and_then_the_time_is_looked_for_dl_1(
    zone: str, anchor: datetime, n: int, minute: int
) -> None:
    found = due_at(At(days=n, minute=minute), anchor, Clocks(zone), {})
    wall = datetime.combine(wall_of(anchor, zone).date() + timedelta(days=n), time()) + minute * MINUTE
    assert found == first_shown(wall, zones.zone(zone))


@settings(max_examples=200, deadline=None)
@given(every_zone, instants, st.sets(st.integers(0, 6), min_size=1), every_minute)
def test_next_weekday_is_strictly_later_and_within_seven_days_dl_1(
    zone: str, anchor: datetime, weekdays: set[int], minute: int
) -> None:
    found = due_at(Next(weekdays=tuple(sorted(weekdays)), minute=minute), anchor, Clocks(zone), {})
    today = wall_of(anchor, zone).date()
    day = next(d for d in (today + timedelta(days=n) for n in range(1, 8)) if d.weekday() in weekdays)
    assert found == first_shown(datetime.combine(day, time()) + minute * MINUTE, zones.zone(zone))


@pytest.mark.parametrize("value", [After(seconds=86400), At(days=1, minute=600)])
def test_a_beginning_in_whatever_zone_is_the_same_instant_dl_1(value: Delay) -> None:
    # The day before clocks go forward: 24 hours later they show an hour more.
    here = datetime(2026, 3, 28, 10, tzinfo=zones.zone("Europe/Berlin"))
    found = due_at(value, here, BERLIN, {})
    assert (
        found == due_at(value, here.astimezone(UTC), BERLIN, {}) == due_all(value, [here], ["Europe/Berlin"], "UTC")[0]
    )
    assert found == at("2026-03-29T09:00" if isinstance(value, After) else "2026-03-29T08:00")


def test_next_monday_asked_on_a_monday_before_the_hour_is_in_seven_days_dl_1() -> None:
    assert due_at(Next(weekdays=(0,), minute=600), at("2026-03-02T08:00"), Clocks("UTC"), {}) == at("2026-03-09T10:00")


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2024-01-31", 1, "2024-02-29"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2026-03-31", -1, "2026-02-28"),
        ("2026-12-15", 1, "2027-01-15"),
        ("2026-01-15", -13, "2024-12-15"),
    ],
)
def test_months_are_clamped_to_the_last_day_dl_4(day: str, months: int, expected: str) -> None:
    assert later_by(date.fromisoformat(day), months) == date.fromisoformat(expected)
    delay = At(months=months, minute=600) if months > 0 else None
    if delay:
        assert due_at(delay, at(f"{day}T23:00"), Clocks("UTC"), {}) == at(f"{expected}T10:00")


def test_what_is_due_in_the_past_goes_now_or_is_late_dl_2() -> None:
    due = at("2026-03-02T10:00")
    assert judged(due, due - timedelta(microseconds=1), 7200) == "wait"
    assert judged(due, due, 0) == "now"
    assert judged(due, due + timedelta(seconds=7200), 7200) == "now"
    assert judged(due, due + timedelta(seconds=7200, microseconds=1), 7200) == "late"


# -- what is known of somebody -----------------------------------------------------------------------------------------


@pytest.mark.covers("S4.15")
@pytest.mark.parametrize(
    ("value", "until", "expected"),
    [
        # An instant: elapsed before it.
        ("2026-03-29T10:00:00Z", Until(attribute="a.b", offset=Offset(seconds=-86400)), "2026-03-28T10:00"),
        ("2026-03-29T10:00+0200", Until(attribute="a.b", offset=Offset(seconds=-3600)), "2026-03-29T07:00"),
        # What a clock shows, of the day on which it is set forward: 24 hours before are 09:00 of the day before.
        ("2026-03-29T10:00", Until(attribute="a.b", offset=Offset(seconds=-86400)), "2026-03-28T08:00"),
        # A day by the calendar before, at a time.
        ("2026-03-29T10:00", Until(attribute="a.b", offset=Offset(days=-1), minute=600), "2026-03-28T09:00"),
        ("2026-03-29", Until(attribute="a.b", minute=540), "2026-03-29T07:00"),
        ("2026-03-29", Until(attribute="a.b"), "2026-03-28T23:00"),
        (date(2026, 3, 29), Until(attribute="a.b"), "2026-03-28T23:00"),
        ("2026-03-31T10:00", Until(attribute="a.b", offset=Offset(months=-1)), "2026-02-28T09:00"),
        ("2026-03-31 10:00", Until(attribute="a.b", minute=0, clock="workspace"), "2026-03-31T04:00"),
    ],
    ids=str,
)
def test_a_known_time_and_its_offset(value: Any, until: Until, expected: str) -> None:
    found = due_at(until, at("2026-01-01T00:00"), BERLIN, {"a": {"b": value}})
    assert found == at(expected) and found.tzinfo is not None


@pytest.mark.parametrize(
    "value", [None, "", "soon", "2026-02-30", "20260302", "2026-W10", 5, True, {}, "2026-03-02T25:00"]
)
def test_what_is_no_time_is_never_due(value: Any) -> None:
    assert due_at(Until(attribute="a"), at("2026-01-01T00:00"), BERLIN, {"a": value}) is None
    assert due_at(Until(attribute="a"), at("2026-01-01T00:00"), BERLIN, {}) is None


@pytest.mark.parametrize("value", ["9999-12-31", "0001-01-01", "9999-12-31T23:59:59-14:00"])
def test_a_time_beyond_the_calendar_is_never_due_and_breaks_nothing(value: str) -> None:
    anchor = at("2026-01-01T00:00")
    for offset in (Offset(days=-36600), Offset(days=36600), Offset(months=1200), Offset(seconds=10**9)):
        due_at(Until(attribute="a", offset=offset), anchor, BERLIN, {"a": value})
        due_at(Until(attribute="a", offset=offset, minute=600), anchor, BERLIN, {"a": value})
        occurrence_of(OnDate(attribute="a", offset=offset, minute=600, yearly=True), value, BERLIN, anchor)
        occurrence_of(OnDate(attribute="a", offset=offset), value, BERLIN, anchor)


@pytest.mark.covers("S4.8")
def test_a_supply_is_due_when_it_runs_out() -> None:
    bought = at("2026-03-02T12:00")
    table = After(supply=Supply(field="sku", days={"A": 30, "7": 5}, times="quantity"), seconds=-3 * 86400)
    assert due_at(table, bought, BERLIN, {"sku": "A", "quantity": 2}) == bought + timedelta(days=57)
    assert due_at(table, bought, BERLIN, {"sku": 7, "quantity": "1"}) == bought + timedelta(days=2)
    assert due_at(table, bought, BERLIN, {"sku": "B", "quantity": 2}) is None
    assert due_at(table, bought, BERLIN, {"sku": "A"}) is None
    told = At(supply=Supply(field="item.supply_days"), minute=600)
    assert due_at(told, bought, BERLIN, {"item": {"supply_days": 10}}) == at("2026-03-12T10:00", "Europe/Berlin")
    assert due_at(told, bought, BERLIN, {"item": {"supply_days": -1}}) is None
    assert due_at(told, bought, BERLIN, {"item": {"supply_days": True}}) is None


# -- many at once ------------------------------------------------------------------------------------------------------

some_delays = st.one_of(
    st.builds(After, seconds=st.integers(0, 10**6)),
    st.builds(At, days=st.integers(0, 40), minute=every_minute, clock=st.sampled_from(["recipient", "workspace"])),
    st.builds(Next, weekdays=st.just((0, 3)), minute=every_minute, clock=st.sampled_from(["recipient", "Asia/Tokyo"])),
    st.builds(Until, attribute=st.just("a"), offset=st.builds(Offset, days=st.integers(-3, 3)), minute=every_minute),
    st.builds(After, supply=st.just(Supply(field="n"))),
    st.builds(At, supply=st.just(Supply(field="n")), minute=every_minute),
)
some_people = st.lists(
    st.tuples(
        instants,
        every_zone,
        st.fixed_dictionaries({}, optional={"a": st.sampled_from(["2026-03-02", "x"]), "n": st.integers(0, 9)}),
    ),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(some_delays, some_people)
def test_many_at_once_are_due_as_each_alone(delay: Delay, people: list[tuple[datetime, str, dict[str, Any]]]) -> None:
    anchors, names, known = ([each[i] for each in people] for i in range(3))
    found = due_all(delay, anchors, names, "America/New_York", known)
    assert found == [due_at(delay, a, Clocks(z, "America/New_York"), k) for a, z, k in people]


@pytest.mark.slow
@pytest.mark.parametrize(
    "delay",
    [After(seconds=1800), At(days=3, minute=600), Next(weekdays=(0,), minute=600), Until(attribute="a", minute=600)],
    ids=lambda delay: type(delay).__name__,
)  # fmt: skip
def test_two_hundred_thousand_are_computed_in_a_second(delay: Delay) -> None:
    n = 200_000
    begin = at("2026-03-25T00:00")
    anchors = [begin + timedelta(seconds=7 * i) for i in range(n)]
    names = [EVERY_ZONE[i % 20] for i in range(n)]
    known = [{"a": f"2026-03-{i % 28 + 1:02}"} for i in range(n)]
    best = 9.0
    for _ in range(3):
        since = clocks_of_ours.process_time()
        found = due_all(delay, anchors, names, "Europe/Berlin", known)
        best = min(best, clocks_of_ours.process_time() - since)
    assert len(found) == n and best < 1.0


# -- TR-10 -------------------------------------------------------------------------------------------------------------

BIRTHDAY = OnDate(attribute="birthday", minute=540, yearly=True)


@pytest.mark.covers("S4.11")
@pytest.mark.parametrize(
    ("value", "now", "expected", "key"),
    [
        ("1990-05-04", "2026-03-01T00:00", "2026-05-04T09:00", "2026"),
        ("1990-05-04", "2026-05-04T07:30", "2026-05-04T09:00", "2026"),  # half an hour late: still
        ("1990-05-04", "2026-05-04T09:01", "2027-05-04T09:00", "2027"),
        ("1992-02-29", "2026-01-01T00:00", "2026-02-28T09:00", "2026"),
        ("1992-02-29", "2028-01-01T00:00", "2028-02-29T09:00", "2028"),
        ("--02-29", "2027-12-31T23:30", "2028-02-29T09:00", "2028"),
        ("05-04", "2026-03-01T00:00", "2026-05-04T09:00", "2026"),
        ("2030-05-04", "2026-03-01T00:00", "2030-05-04T09:00", "2030"),  # the first is itself
    ],
)
def test_a_birthday_is_once_a_year_and_29_february_is_the_28th_tr_10(
    value: str, now: str, expected: str, key: str
) -> None:
    found = occurrence_of(BIRTHDAY, value, BERLIN, at(now))
    assert found == Occurrence(at(expected, "Europe/Berlin"), key, "Europe/Berlin")


def test_a_birthday_that_fired_does_not_fire_again_when_its_date_is_changed_tr_10() -> None:
    now = at("2026-05-04T08:00")
    first = occurrence_of(BIRTHDAY, "1990-05-04", BERLIN, now)
    assert first is not None and first.key == "2026"
    again = occurrence_of(BIRTHDAY, "1990-06-01", BERLIN, now, fired=first.key)
    assert again is not None and again.at == at("2027-06-01T09:00", "Europe/Berlin")


def test_an_offset_over_the_new_year_belongs_to_the_year_of_the_anniversary() -> None:
    week_before = OnDate(attribute="birthday", offset=Offset(days=-7), minute=540, yearly=True)
    found = occurrence_of(week_before, "1990-01-03", Clocks("UTC"), at("2026-12-01T00:00"))
    assert found == Occurrence(at("2026-12-27T09:00"), "2027", "UTC")
    after = occurrence_of(week_before, "1990-01-03", Clocks("UTC"), at("2026-12-27T09:30"), fired="2027")
    assert after is not None and after.at == at("2027-12-27T09:00")


@settings(max_examples=200, deadline=None)
@given(
    st.dates(date(1920, 1, 1), date(2020, 12, 31)), every_zone, instants, st.integers(-400, 400), every_minute
)  # fmt: skip
def test_no_anniversary_is_left_out_and_none_comes_twice_tr_10(
    born: date, zone: str, now: datetime, offset: int, minute: int
) -> None:
    form = OnDate(attribute="b", offset=Offset(days=offset), minute=minute, yearly=True, max_lateness_s=0)
    fired, found = "", list[Occurrence]()
    for _ in range(3):
        one = occurrence_of(form, born.isoformat(), Clocks(zone), now, fired)
        assert one is not None and one.at >= now
        found.append(one)
        fired, now = one.key, one.at
    assert [int(one.key) - int(found[0].key) for one in found] == [0, 1, 2]
    year_before = int(found[0].key) - 1
    day = date(year_before, born.month, min(born.day, 28 if (born.month, born.day) == (2, 29) else 31))
    if (born.month, born.day) != (2, 29) and year_before >= born.year:
        wall = datetime.combine(day + timedelta(days=offset), time()) + minute * MINUTE
        assert first_instant(wall, zone) < found[0].at


def test_a_date_that_is_changed_has_a_cause_of_its_own_and_one_that_is_past_none_tr_10() -> None:
    reminder = OnDate(attribute="appointment", offset=Offset(seconds=-7200))
    now = at("2026-03-02T08:00")
    first = occurrence_of(reminder, "2026-03-02T12:00Z", BERLIN, now)
    moved = occurrence_of(reminder, "2026-03-03T12:00Z", BERLIN, now)
    assert first is not None and moved is not None
    assert (first.at, moved.at) == (at("2026-03-02T10:00"), at("2026-03-03T10:00")) and first.key != moved.key
    assert occurrence_of(reminder, "2026-03-02T12:00Z", BERLIN, now, fired=first.key) is None
    assert occurrence_of(reminder, "2026-03-02T07:59Z", BERLIN, now) is None
    late = occurrence_of(reminder, "2026-03-02T08:00Z", BERLIN, now)
    assert late is not None and late.at == at("2026-03-02T06:00")


@pytest.mark.parametrize("value", [None, "", "13-01", "02-30", "soon", 5, "1990-02-29"])
def test_what_is_no_date_never_comes(value: Any) -> None:
    assert occurrence_of(BIRTHDAY, value, BERLIN, at("2026-01-01T00:00")) is None


@given(st.lists(st.tuples(st.sampled_from(["1990-05-04", "02-29", "x", None, 3]), every_zone), max_size=6), instants)
@settings(deadline=None)
def test_dates_of_many_are_those_of_each_alone(people: list[tuple[Any, str]], now: datetime) -> None:
    values, names = [value for value, _ in people], [name for _, name in people]
    expected = [occurrence_of(BIRTHDAY, value, Clocks(name), now) for value, name in people]
    assert occurrences_of(BIRTHDAY, values, names, "UTC", now) == expected


# -- schedules ---------------------------------------------------------------------------------------------------------

some_schedules = st.one_of(
    st.builds(Every, unit=st.just("day"), minute=every_minute, clock=st.just("recipient")),
    st.builds(Every, unit=st.just("week"), weekdays=st.just((1, 5)), minute=every_minute, clock=st.just("recipient")),
    st.builds(Every, unit=st.just("month"), day=st.integers(1, 31), minute=every_minute, clock=st.just("recipient")),
    st.builds(
        Every, unit=st.just("year"), month=st.just(2), day=st.integers(1, 29), minute=every_minute,
        clock=st.just("recipient"),
    ),
    st.builds(Every, unit=st.just("interval"), seconds=st.integers(60, 10**6)),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(some_schedules, every_zone, instants, st.timedeltas(timedelta(), timedelta(days=800)))
def test_occurrences_are_the_same_wherever_one_begins_to_look_tr_3(
    schedule: Every, zone: str, after: datetime, back: timedelta
) -> None:
    clocks = Clocks(zone)
    found = next_occurrence(schedule, after, clocks)
    assert found is not None and found.at > after
    assert next_occurrence(schedule, found.at - timedelta(microseconds=1), clocks) == found
    following = next_occurrence(schedule, found.at, clocks)
    assert following is not None and following.at > found.at and following.key != found.key
    if schedule.unit != "interval" or back < schedule.seconds * timedelta(seconds=50):
        steps, since = 0, after - back
        while (one := next_occurrence(schedule, since, clocks)) is not None and one.at <= after:
            since, steps = one.at, steps + 1
            assert steps < 1000
        assert one == found


@settings(max_examples=150, deadline=None)
@given(every_zone, instants, every_minute)
def test_a_daily_schedule_is_what_a_clock_shows_each_day(zone: str, after: datetime, minute: int) -> None:
    found = next_occurrence(Every(unit="day", minute=minute, clock="recipient"), after, Clocks(zone))
    assert found is not None
    first = after.astimezone(zones.zone(zone)).date() - timedelta(days=2)
    walls = [datetime.combine(first + timedelta(days=n), time()) + minute * MINUTE for n in range(6)]
    shown = [first_shown(wall, zones.zone(zone)) for wall in walls]
    assert found.at == min(each for each in shown if each > after)


@pytest.mark.covers("S1.4", "S1.9")
def test_the_key_of_an_occurrence_is_its_local_time_tr_3() -> None:
    daily = Every(unit="day", minute=600)
    after = at("2026-03-01T16:00")
    shop = next_occurrence(daily, after, Clocks("Asia/Tokyo", "Europe/Berlin"))
    assert shop == Occurrence(at("2026-03-02T09:00"), "2026-03-02T10:00/Europe/Berlin", "Europe/Berlin")
    theirs = Every(unit="day", minute=600, clock="recipient")
    one = next_occurrence(theirs, after, Clocks("Europe/Berlin"))
    other = next_occurrence(theirs, after, Clocks("Europe/London"))
    # Who moves from one zone to the other meets one cause, whichever came first.
    assert one is not None and other is not None and one.key == other.key == "2026-03-02T10:00/recipient"
    assert one.at != other.at and (one.zone, other.zone) == ("Europe/Berlin", "Europe/London")
    interval = next_occurrence(Every(unit="interval", seconds=900), at("2026-03-02T10:00"), BERLIN)
    assert interval == Occurrence(at("2026-03-02T10:15"), "2026-03-02T10:15:00Z", "UTC")


def test_no_local_time_comes_twice_where_a_clock_is_set_back_dl_5() -> None:
    daily = Every(unit="day", minute=90, clock="America/New_York")
    found = [one.key[:16] for one, _ in missed(daily, at("2026-10-31T00:00"), at("2026-11-03T00:00"), BERLIN)]
    assert found == ["2026-10-31T01:30", "2026-11-01T01:30", "2026-11-02T01:30"]


def test_a_day_that_never_was_is_the_midnight_after_it_and_not_twice_the_same_instant() -> None:
    midnight = Every(unit="day", minute=0, clock="Pacific/Apia")
    found = [one.key[:16] for one, _ in missed(midnight, at("2011-12-29T12:00"), at("2012-01-01T12:00"), BERLIN)]
    assert found == ["2011-12-31T00:00", "2012-01-01T00:00", "2012-01-02T00:00"]
    morning = Every(unit="day", minute=600, clock="Pacific/Apia")
    found_at = [one.at for one, _ in missed(morning, at("2011-12-29T21:00"), at("2012-01-01T00:00"), BERLIN)]
    assert found_at == [at("2011-12-30T10:00"), at("2011-12-30T20:00"), at("2011-12-31T20:00")]


def test_a_month_without_that_day_has_its_last_dl_4() -> None:
    monthly = Every(unit="month", day=31, minute=600, clock="UTC")
    found = [one.key[:10] for one, _ in missed(monthly, at("2026-01-01T00:00"), at("2026-06-01T00:00"), BERLIN)]
    assert found == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]


@pytest.mark.covers("S1.4")
def test_ticks_that_were_missed_run_while_not_too_late_and_are_said_to_be_late_else_tr_7() -> None:
    daily = Every(unit="day", minute=600, clock="UTC", max_lateness_s=7200)
    found = list(missed(daily, at("2026-03-01T10:00"), at("2026-03-04T11:00"), BERLIN))
    assert [(one.key[:10], verdict) for one, verdict in found] == [
        ("2026-03-02", "late"),
        ("2026-03-03", "late"),
        ("2026-03-04", "now"),
    ]
    assert list(missed(daily, at("2026-03-04T10:00"), at("2026-03-05T09:59"), BERLIN)) == []


def test_what_comes_once_comes_once() -> None:
    once = Once(at="2026-03-29T02:30", clock="Europe/Berlin")
    found = next_occurrence(once, at("2026-01-01T00:00"), BERLIN)
    assert found == Occurrence(at("2026-03-29T01:00"), "2026-03-29T02:30/Europe/Berlin", "Europe/Berlin")
    assert next_occurrence(once, found.at, BERLIN) is None
    assert first_tick(once, found.at, BERLIN) == found


@pytest.mark.covers("S1.7", "S1.8", "S1.9")
def test_somebody_is_inactive_at_the_first_tick_of_the_shops_clock_after_so_many_days_tr_6() -> None:
    tick = Every(unit="day", minute=600, max_lateness_s=86400)
    clocks = Clocks("Asia/Tokyo", "Europe/Berlin")
    exactly = inactive_at(tick, at("2026-03-02T09:00"), 30, clocks)
    assert exactly is not None and exactly.at == at(
        "2026-04-02T08:00"
    )  # 30 days are over at 09:00, summer time's 11:00
    before = inactive_at(tick, at("2026-03-03T08:00"), 30, clocks)
    assert before is not None and before.at == at("2026-04-02T08:00")  # to the second
    after = inactive_at(tick, at("2026-03-03T08:00:01"), 30, clocks)
    assert after is not None and after.at == at("2026-04-03T08:00")
