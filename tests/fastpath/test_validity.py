"""validity_period: what is written is what the slow room writes, and what it reads."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import validity
from gateway.smpp import times

# 2000-01-01 and the last second of 2099.
FIRST, LAST = 946684800, 4102444799


@given(at_s=st.integers(FIRST + 43200, LAST - 43200), quarters=st.integers(-48, 48))
def test_absolute_time_is_that_of_the_slow_writer(at_s, quarters):
    found = validity.absolute(at_s, quarters)
    assert found == times.absolute(datetime.fromtimestamp(at_s, UTC), quarters)
    assert times.parse(found) == datetime.fromtimestamp(at_s, UTC)


@pytest.mark.parametrize("year", range(2000, 2100))
@pytest.mark.parametrize("month_and_day", [(1, 1), (2, 28), (3, 1), (12, 31)])
def test_every_year_has_its_days(year, month_and_day):
    at = datetime(year, *month_and_day, 12, tzinfo=UTC)
    assert validity.absolute(int(at.timestamp())) == times.absolute(at)


@given(st.integers(1, 36000 * 86400))
def test_relative_time_is_that_of_the_slow_writer(span_s):
    assert validity.relative(span_s + 0.5) == times.relative(timedelta(seconds=span_s))


def test_life_is_at_least_a_second_and_at_most_99_years():
    assert validity.relative(0.0) == validity.relative(-5.0) == "000000000001000R"
    assert validity.relative(1e12) == "990000000000000R"
    assert validity.absolute(0) == "000101000000000+"
    assert validity.absolute(2**40) == "991231235959000+"


def test_quirk_28_tenth_is_one_digit_and_the_whole_is_sixteen_characters():
    assert len(validity.absolute(FIRST, -48)) == len(validity.relative(1.0)) == 16
    assert validity.absolute(FIRST + 86400, -5)[12:] == "005-"


def test_zones_beyond_the_standard_are_refused():
    with pytest.raises(ValueError, match="expected -48 to 48"):
        validity.absolute(0, 49)
