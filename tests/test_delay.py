"""Words of a document become waits, dates and schedules, or problems that say where, what was expected and found."""

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delay import (
    After,
    At,
    Every,
    Next,
    Offset,
    Once,
    OnDate,
    Supply,
    Until,
    attributes_of,
    read_date,
    read_delay,
    read_schedule,
    words_of,
)
from gateway.routing import Problem


def refused(read: Any, value: Any) -> list[Problem]:
    problems: list[Problem] = []
    assert read(value, "step.wait", problems) is None
    assert problems
    return problems


def read(reader: Any, value: Any) -> Any:
    problems: list[Problem] = []
    found = reader(value, "step.wait", problems)
    assert problems == []
    return found


@pytest.mark.covers("S2.15", "S3.18")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("30m", After(seconds=1800)),
        ("50h", After(seconds=50 * 3600)),
        ("7d", After(seconds=7 * 86400)),
        ({"after": "2 d", "max_lateness": "1h"}, After(seconds=2 * 86400, max_lateness_s=3600)),
        ({"at": {"days": 3, "time": "10:00"}}, At(days=3, minute=600)),
        ({"at": {"months": 1, "time": "00:00", "clock": "workspace"}}, At(months=1, minute=0, clock="workspace")),
        ({"at": {"weeks": 2, "time": "10:00", "clock": "Asia/Tokyo"}}, At(days=14, minute=600, clock="Asia/Tokyo")),
        ({"next": {"weekday": "mon", "time": "10:00"}}, Next(weekdays=(0,), minute=600)),
        ({"next": {"weekday": ["Friday", "tue"], "time": "23:59"}}, Next(weekdays=(1, 4), minute=1439)),
        (
            {"until": {"attribute": "appointment", "offset": "-24h"}},
            Until(attribute="appointment", offset=Offset(seconds=-86400)),
        ),
        (
            {"until": {"attribute": "trip.begins", "offset": "-1mo", "time": "09:00"}},
            Until(attribute="trip.begins", offset=Offset(months=-1), minute=540),
        ),
        (
            {"until": {"attribute": "due", "offset": "-1w", "time": "09:00"}},
            Until(attribute="due", offset=Offset(days=-7), minute=540),
        ),
        (
            {"after": {"days": {"field": "sku", "days": {"A": 30}, "times": "quantity"}, "offset": "-3d"}},
            After(supply=Supply(field="sku", days={"A": 30}, times="quantity"), seconds=-3 * 86400),
        ),
        (
            {"at": {"days": {"field": "supply_days"}, "time": "10:00"}},
            At(supply=Supply(field="supply_days"), minute=600),
        ),
    ],
    ids=str,
)  # fmt: skip
def test_waits_are_read_from_words_dl_1(value: Any, expected: Any) -> None:
    assert read(read_delay, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"once": "2026-03-02T10:00"}, Once(at="2026-03-02T10:00")),
        ({"once": datetime(2026, 3, 2, 10), "clock": "recipient"}, Once(at="2026-03-02T10:00", clock="recipient")),
        ({"every": "day", "at": "09:30"}, Every(unit="day", minute=570)),
        ({"every": "week", "weekday": "sun", "at": "10:00"}, Every(unit="week", weekdays=(6,), minute=600)),
        ({"every": "month", "day": 31, "at": "10:00"}, Every(unit="month", day=31, minute=600)),
        ({"every": "year", "on": "02-29", "at": "10:00"}, Every(unit="year", month=2, day=29, minute=600)),
        ({"every": "15m", "max_lateness": "0s"}, Every(unit="interval", seconds=900, max_lateness_s=0)),
    ],
    ids=str,
)
@pytest.mark.covers("S1.8", "S1.9")
def test_schedules_are_read_from_words_and_are_by_the_clock_of_the_shop(value: Any, expected: Any) -> None:
    assert read(read_schedule, value) == expected


def test_dates_of_triggers_are_read_from_words() -> None:
    said = {"attribute": "birthday", "offset": "-7d", "at": "09:00", "yearly": True}
    assert read(read_date, said) == OnDate(attribute="birthday", offset=Offset(days=-7), minute=540, yearly=True)
    said = {"attribute": "appointment", "offset": "-2h", "max_lateness": "30min"}
    expected = OnDate(attribute="appointment", offset=Offset(seconds=-7200), max_lateness_s=1800)
    assert read(read_date, said) == expected


@pytest.mark.parametrize(
    ("reader", "value", "where", "expected", "found"),
    [
        (read_delay, None, "step.wait", "a wait such as", "none"),
        (read_delay, 30, "step.wait", "a wait such as", "30"),
        (read_delay, "1mo", "step.wait.after", "a length such as 30m, in s, m, min, h, d, w", "'1mo'"),
        (read_delay, "-5m", "step.wait.after", "a length", "'-5m'"),
        (read_delay, "200000d", "step.wait.after", "at most a hundred years", "'200000d'"),
        (read_delay, {}, "step.wait", "exactly one of after, at, next, until", "{}"),
        (read_delay, {"after": "1h", "next": {}}, "step.wait", "exactly one of", "after and next"),
        (read_delay, {"after": 5}, "step.wait.after", "a table of what after needs", "5"),
        (read_delay, {"after": {}}, "step.wait.after", 'a length such as "30m"', "{}"),
        (read_delay, {"afer": "1h"}, "step.wait.afer", "did you mean after?", "'afer'"),
        (read_delay, {"at": {"days": 3}}, "step.wait.at.time", "a time of day", "none"),
        (read_delay, {"at": {"time": "10:00"}}, "step.wait.at.days", "how many days", "none"),
        (read_delay, {"at": {"days": True, "time": "10:00"}}, "step.wait.at.days", "a whole number", "True"),
        (read_delay, {"at": {"days": -1, "time": "10:00"}}, "step.wait.at.days", "from 0 to", "-1"),
        (read_delay, {"at": {"days": 1, "time": "24:00"}}, "step.wait.at.time", "00:00 to 23:59", "'24:00'"),
        (read_delay, {"at": {"days": 1, "time": "9:00"}}, "step.wait.at.time", "a time of day", "'9:00'"),
        (read_delay, {"at": {"days": 1, "time": "٠٩:00"}}, "step.wait.at.time", "a time of day", "'٠٩:00'"),
        (
            read_delay, {"at": {"days": 1, "time": "10:00", "clock": "europe/berlin"}},
            "step.wait.at.clock", "did you mean Europe/Berlin?", "'europe/berlin'",
        ),
        (read_delay, {"next": {"weekday": "someday", "time": "10:00"}}, "step.wait.next.weekday", "mon", "'someday'"),
        (read_delay, {"next": {"weekday": [], "time": "10:00"}}, "step.wait.next.weekday", "a weekday", "[]"),
        (read_delay, {"until": {"offset": "-24h"}}, "step.wait.until.attribute", "the name", "none"),
        (
            read_delay, {"until": {"attribute": "a", "offset": "-36h", "time": "10:00"}},
            "step.wait.until.offset", "days, weeks, months or years", "'-36h'",
        ),
        (read_delay, {"after": "1h", "max_lateness": "soon"}, "step.wait.max_lateness", "a length", "'soon'"),
        (
            read_delay, {"after": {"days": {"field": "sku", "days": {"A": "30"}}}},
            "step.wait.after.days.days.A", "a whole number", "'30'",
        ),
        (read_schedule, "daily", "step.wait", "a schedule such as", "'daily'"),
        (read_schedule, {"every": "5s"}, "step.wait.every", "a minute and more", "'5s'"),
        (read_schedule, {"every": "month", "at": "10:00", "day": 32}, "step.wait.day", "from 1 to 31", "32"),
        (read_schedule, {"every": "year", "at": "10:00", "on": "02-30"}, "step.wait.on", "12-24", "'02-30'"),
        (read_schedule, {"every": "day", "at": "10:00", "day": 3}, "step.wait.day", "one of", "'day'"),
        (read_schedule, {"once": "2026-02-30T10:00"}, "step.wait.once", "a local time", "'2026-02-30T10:00'"),
        (read_schedule, {"once": "2026-02-20"}, "step.wait.once", "a local time", "'2026-02-20'"),
        (read_date, {"attribute": "birthday", "yearly": 1}, "step.wait.yearly", "true or false", "1"),
        (
            read_date, {"attribute": "b", "offset": "-5h", "yearly": True},
            "step.wait.at", "a time of day", "none",
        ),
        (read_date, {"attribute": ""}, "step.wait.attribute", "the name", "''"),
    ],
    ids=lambda one: one.__name__ if callable(one) else str(one),
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(reader: Any, value: Any, where: str, expected: str, found: str) -> None:
    problems = refused(reader, value)
    assert any(key == where and expected in wanted and found == given for key, wanted, given in problems), problems


def test_every_problem_is_said_and_not_the_first_alone() -> None:
    said = {"at": {"days": "x", "time": "25:00", "clock": "there", "colour": "red"}, "max_lateness": "-1h"}
    places = {key for key, _, _ in refused(read_delay, said)}
    assert places == {
        "step.wait.at.days", "step.wait.at.time", "step.wait.at.clock", "step.wait.at.colour", "step.wait.max_lateness",
    }  # fmt: skip


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["1h", "10:00", "mon", "day"]),
    lambda each: (
        st.lists(each, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                "after at next until days weeks months time weekday attribute offset clock field every once on".split()
            ),
            each,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json)
def test_whatever_is_written_is_read_or_refused(value: Any) -> None:
    for reader in (read_delay, read_date, read_schedule):
        problems: list[Problem] = []
        assert (reader(value, "step", problems) is None) == bool(problems)
        assert all(key.startswith("step") and wanted and found for key, wanted, found in problems)


minutes = st.integers(0, 1439)
clocks = st.sampled_from(["recipient", "workspace", "Europe/Berlin", "Asia/Kathmandu"])
lateness = st.integers(0, 10**6)
weekdays = st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days)))
supplies = st.builds(
    Supply, field=st.sampled_from(["sku", "a.b"]), days=st.dictionaries(st.sampled_from("AB"), st.integers(0, 99)),
    times=st.sampled_from(["", "quantity"]),
)  # fmt: skip
by_calendar = st.builds(Offset, days=st.integers(-999, 999)) | st.builds(Offset, months=st.integers(-99, 99))
elapsed = st.builds(Offset, seconds=st.integers(-(10**6), 10**6)) | st.builds(Offset, months=st.integers(-99, 99))
known_times = {"attribute": st.sampled_from(["a", "a.b"]), "clock": clocks, "max_lateness_s": lateness}
delays = st.one_of(
    st.builds(After, seconds=st.integers(0, 10**8), max_lateness_s=lateness),
    st.builds(After, supply=supplies, seconds=st.integers(-(10**6), 10**6), max_lateness_s=lateness),
    st.builds(
        At, minute=minutes, months=st.integers(0, 99), days=st.integers(0, 999), clock=clocks, max_lateness_s=lateness
    ),
    st.builds(At, minute=minutes, days=st.integers(0, 9).map(lambda n: n * 7), supply=supplies, clock=clocks),
    st.builds(Next, weekdays=weekdays, minute=minutes, clock=clocks, max_lateness_s=lateness),
    st.builds(Until, offset=elapsed, **known_times),
    st.builds(Until, offset=by_calendar, minute=minutes, **known_times),
)
dates = st.builds(OnDate, offset=by_calendar, minute=minutes, yearly=st.booleans(), **known_times)
calendar_days = {"minute": minutes, "clock": clocks, "max_lateness_s": lateness}
schedules = st.one_of(
    st.builds(Once, at=st.datetimes(min_value=datetime(1, 1, 1)).map(lambda at: at.isoformat()[:16]), clock=clocks),
    st.builds(Every, unit=st.just("interval"), seconds=st.integers(60, 10**8), max_lateness_s=lateness),
    st.builds(Every, unit=st.just("day"), **calendar_days),
    st.builds(Every, unit=st.just("week"), weekdays=weekdays, **calendar_days),
    st.builds(Every, unit=st.just("month"), day=st.integers(1, 31), **calendar_days),
    st.builds(Every, unit=st.just("year"), month=st.just(2), day=st.integers(1, 29), **calendar_days),
)


@given(delays, dates, schedules)
def test_what_is_written_is_read_the_same(delay: Any, date: Any, schedule: Any) -> None:
    assert read(read_delay, words_of(delay)) == delay
    assert read(read_date, words_of(date)) == date
    assert read(read_schedule, words_of(schedule)) == schedule


def test_what_has_to_be_known_of_somebody_is_named() -> None:
    assert attributes_of(read(read_delay, "1h")) == ()
    assert attributes_of(read(read_delay, {"until": {"attribute": "trip.begins"}})) == ("trip.begins",)
    supply = {"after": {"days": {"field": "sku", "days": {"A": 3}, "times": "quantity"}}}
    assert attributes_of(read(read_delay, supply)) == ("sku", "quantity")
