"""SMPP times: golden vectors, calendars, and both ways back to where they came from."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smpp.times import Relative, absolute, parse, relative

VECTORS = json.loads((Path(__file__).parents[1] / "golden/vectors/time.json").read_text("utf-8"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_golden_times_are_read_as_written(vector):
    expect = vector["expect"]
    if "error" in expect:
        with pytest.raises(ValueError, match="time"):
            parse(vector["smpp"])
        return
    found = parse(vector["smpp"])
    if "default" in expect:
        assert found is None
    elif "utc" in expect:
        assert found == datetime.fromisoformat(expect["utc"])
    else:
        assert found == Relative(**expect["relative"])


@pytest.mark.parametrize(
    "text",
    [
        "260229000000000+",  # no leap year
        "261301000000000+",
        "261100000000000+",
        "260431000000000+",
        "261224240000000+",
        "261224236000000+",
        "261224235960000+",
        "261224183000049+",
        "261224183000049-",
        "261224183000004 ",
        "261224183000004r",
        "26122418300000a+",
        "26122418300000٤+",
        " 61224183000004+",
        "-61224183000004+",
        "261224183000004",
        "261224183000004++",
        "000001120000100R",
        "000001120000004R",
        "001300000000000R",
        "000032000000000R",
        "000000240000000R",
        "000000006000000R",
        "000000000060000R",
    ],
)
def test_time_that_no_calendar_has_is_refused(text):
    with pytest.raises(ValueError):
        parse(text)


def test_final_date_takes_no_relative_time():
    with pytest.raises(ValueError, match="relative"):
        parse("000001120000000R", may_be_relative=False)
    assert parse("261224183000004+", may_be_relative=False) == datetime(2026, 12, 24, 17, 30, tzinfo=UTC)


def test_forty_eight_quarters_cross_the_year_both_ways():
    assert parse("270101000000048+") == datetime(2026, 12, 31, 12, tzinfo=UTC)
    assert parse("261231235959948-") == datetime(2027, 1, 1, 11, 59, 59, 900_000, tzinfo=UTC)


@given(
    at=st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC)),
    quarters=st.integers(-48, 48),
)
def test_absolute_time_reads_back_to_its_tenth(at, quarters):
    assert parse(absolute(at, quarters)) == at.replace(microsecond=at.microsecond // 100_000 * 100_000)


@given(
    st.builds(
        Relative,
        st.integers(0, 99),
        st.integers(0, 12),
        st.integers(0, 31),
        st.integers(0, 23),
        st.integers(0, 59),
        st.integers(0, 59),
    )
)
def test_relative_time_reads_back(span):
    assert parse(relative(span)) == span


@given(st.timedeltas(timedelta(0), timedelta(days=31)))
def test_timedelta_up_to_a_month_is_written_exactly(span):
    start = datetime(2026, 3, 1, tzinfo=UTC)
    read = parse(relative(span))
    assert isinstance(read, Relative)
    assert read.after(start) == start + timedelta(seconds=span.days * 86400 + span.seconds)


@given(st.timedeltas(timedelta(days=31), timedelta(days=99 * 365)))
def test_longer_timedelta_is_off_by_the_unequal_months_alone(span):
    start = datetime(2026, 3, 1, tzinfo=UTC)
    read = parse(relative(span))
    assert isinstance(read, Relative)
    # A day for each leap year, and five for months longer than 30 days.
    assert abs(read.after(start) - (start + span)) <= timedelta(days=span.days // 1461 + 1 + 8)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        parse(text)
    except ValueError:
        pass


def test_months_step_by_the_calendar_and_clip_the_day():
    assert Relative(months=1).after(datetime(2027, 1, 31)) == datetime(2027, 2, 28)
    assert Relative(months=12).after(datetime(2028, 2, 29)) == datetime(2029, 2, 28)
    assert Relative(years=1, months=11, days=1).after(datetime(2026, 2, 1)) == datetime(2028, 1, 2)
    with pytest.raises(OverflowError):
        Relative(years=99).after(datetime(9950, 1, 1))


@pytest.mark.parametrize(
    ("at", "quarters"),
    [
        (datetime(2026, 1, 1), 0),
        (datetime(1999, 1, 1, tzinfo=UTC), 0),
        (datetime(2100, 1, 1, tzinfo=UTC), 0),
        (datetime(2026, 1, 1, tzinfo=UTC), 49),
    ],
)
def test_moment_that_cannot_be_written_is_refused(at, quarters):
    with pytest.raises(ValueError):
        absolute(at, quarters)


def test_zone_of_the_moment_does_not_matter():
    at = datetime(2026, 12, 24, 18, 30, tzinfo=timezone(timedelta(hours=1)))
    assert absolute(at, 4) == "261224183000004+"
    assert absolute(at) == "261224173000000+"
    assert absolute(at, -20) == "261224123000020-"


@pytest.mark.parametrize("span", [timedelta(seconds=-1), timedelta(days=36600), Relative(months=13)])
def test_span_that_two_digits_cannot_hold_is_refused(span):
    with pytest.raises(ValueError):
        relative(span)
