"""When a message may leave, held against a clock that is read every minute."""

import time as clocks
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.campaign import law, zones
from gateway.campaign.public_holidays import of_year
from gateway.campaign.quiet_hours import (
    LEAST_LEFT_S,
    NEVER,
    Answer,
    Hours,
    Layer,
    Rules,
    instant_of,
    instants,
    judged,
    local_times,
    never_open,
    occurrences,
    offsets,
    released_at,
    shortfall,
    validity_s,
    versions,
)
from gateway.campaign.zones import Place, Places, PlaceSets
from gateway.message import MessageClass
from gateway.rules import ALWAYS, DAY, Problem, Window, meet, read_window
from tests.oracle.windows import open_minutes

BULK = Rules(class_=MessageClass.BULK)
EVERY_ZONE = sorted({name for names in zones.zones_by_country().values() for name in names})
# Days on which clocks are changed in odd ways, and a year's end.
ODD = [
    ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)),  # by half an hour
    ("Africa/Casablanca", datetime(2026, 2, 14, tzinfo=UTC)),  # back for Ramadan
    ("Africa/Casablanca", datetime(2026, 3, 21, tzinfo=UTC)),  # and on again
    ("America/New_York", datetime(2026, 3, 8, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, tzinfo=UTC)),  # at midnight
    ("America/Havana", datetime(2026, 3, 8, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 10, 29, tzinfo=UTC)),
    ("Europe/London", datetime(2026, 3, 28, tzinfo=UTC)),
    ("Europe/London", datetime(2026, 10, 24, tzinfo=UTC)),
    ("America/Nuuk", datetime(2026, 3, 28, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 28, tzinfo=UTC)),  # by two hours
    ("Asia/Kathmandu", datetime(2026, 12, 31, tzinfo=UTC)),  # +05:45, over the year's end
    ("Pacific/Chatham", datetime(2026, 4, 4, tzinfo=UTC)),  # +12:45
    ("Pacific/Apia", datetime(2011, 12, 29, tzinfo=UTC)),  # a day that never was
    ("Pacific/Kiritimati", datetime(1994, 12, 30, tzinfo=UTC)),  # another
    ("Asia/Pyongyang", datetime(2018, 5, 4, tzinfo=UTC)),
]


def window(value: Any) -> Window:
    problems: list[Problem] = []
    found = read_window(value, "window", problems)
    assert found is not None, problems
    return found


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zones.zone(zone)).astimezone(UTC)


def only(value: Any, zone: str, class_: MessageClass = MessageClass.BULK) -> tuple[Hours, Places]:
    """Hours of one window alone: in a place of no country, where the default's law is as wide as the window allows."""
    rules = Rules(class_=class_, layers=(Layer(name="campaign", window=window(value)),))
    return Hours(rules), (Place(zone, "", ""),)


spans = st.lists(
    st.tuples(st.integers(0, DAY - 1), st.integers(1, DAY)).filter(lambda span: span[0] != span[1]), max_size=2
).map(lambda found: tuple(sorted((a, b if a < b else b + DAY) for a, b in found)))
windows = st.builds(Window, st.tuples(*[spans] * 7), st.none() | spans)


def agrees(found: Window, zone: str, begin: datetime, days: int, days_off: frozenset[date]) -> None:
    end = begin + timedelta(days=days)
    pieces = instants(found, zone, days_off, int(begin.timestamp()), int(end.timestamp()))
    for first, last in pieces:
        assert first < last
    for moment, is_open in open_minutes(found, zones.zone(zone), days_off.__contains__, begin, end):
        second = int(moment.timestamp())
        assert any(a <= second < b for a, b in pieces) is is_open, (zone, moment, moment.astimezone(zones.zone(zone)))


@pytest.mark.covers("S3.23", "S2.21")
@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(windows, st.sampled_from(EVERY_ZONE), st.integers(0, 400), st.integers(0, 1439))
def test_windows_are_those_of_a_clock_that_is_read_every_minute(
    found: Window, zone: str, day: int, minute: int
) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day, minutes=minute)
    agrees(found, zone, begin, 2, frozenset({begin.date(), begin.date() + timedelta(days=1)}))


@pytest.mark.parametrize(("zone", "begin"), ODD, ids=lambda each: str(each)[:20])
@pytest.mark.parametrize(
    "value",
    [
        "00:00-24:00",
        "09:00-20:00",
        "22:00-01:30",
        "01:30-05:00",
        "00:30-01:15",
        "23:30-00:30",
        "02:15-02:45",
        "02:30-23:00",
        ["00:00-02:00", "03:00-12:00", "18:30-01:00"],
    ],
    ids=str,
)
def test_odd_days_are_those_of_a_clock_that_is_read_every_minute_dl_5(zone: str, begin: datetime, value: Any) -> None:
    agrees(window(value), zone, begin, 3, frozenset())


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(windows, st.sampled_from(EVERY_ZONE), st.data())
def test_every_change_of_the_clock_within_400_days_is_seen(found: Window, zone: str, data: st.DataObject) -> None:
    begin = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    changes = [since for since, _, _ in offsets(zone, begin, begin + 400 * 86400)[1:]]
    if changes:
        change = datetime.fromtimestamp(data.draw(st.sampled_from(changes)), UTC)
        agrees(found, zone, change - timedelta(hours=20), 2, frozenset())


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_ZONE)
def test_offsets_of_every_zone_are_exact_to_the_second_for_fifteen_months(name: str) -> None:
    begin = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    pieces = offsets(name, begin, begin + 456 * 86400)
    assert pieces[0][0] == begin and all(one[1] == other[0] for one, other in zip(pieces, pieces[1:], strict=False))

    def shown(second: int) -> float:
        offset = datetime.fromtimestamp(second, zones.zone(name)).utcoffset()
        assert offset is not None
        return offset.total_seconds()

    for since, until, offset in pieces:
        assert shown(since) == shown(until - 1) == offset
    known = iter(pieces)
    piece = next(known)
    for second in range(begin, begin + 456 * 86400, 12 * 3600):
        while second >= piece[1]:
            piece = next(known)
        assert shown(second) == piece[2]


def test_window_is_half_open_to_the_second_qh_2() -> None:
    hours, places = only("09:00-20:00", "Europe/London")
    for text, is_open in (
        ("2026-11-23T08:59:59.999999", False),
        ("2026-11-23T09:00:00", True),
        ("2026-11-23T19:59:59.999999", True),
        ("2026-11-23T20:00:00", False),
    ):
        assert hours.at(places, at(text, "Europe/London")).is_open is is_open


def test_answer_says_when_it_closes_and_when_it_opens_again() -> None:
    hours, places = only({"mon-fri": "09:00-20:00"}, "Europe/London")
    friday = hours.at(places, at("2026-11-27T10:00"))
    assert friday == Answer(
        True, int(at("2026-11-27T20:00").timestamp()), int(at("2026-11-30T09:00").timestamp()), False
    )
    night = hours.at(places, at("2026-11-28T10:00"))
    assert not night.is_open and night.opens_at == int(at("2026-11-30T09:00").timestamp())


def test_local_time_that_does_not_exist_is_the_first_instant_after_the_gap_dl_5() -> None:
    assert instant_of(date(2026, 3, 8), 150, "America/New_York") == at("2026-03-08T07:00")
    assert instant_of(date(2026, 3, 29), 90, "Europe/London") == at("2026-03-29T01:00")
    # A whole day that never was.
    assert instant_of(date(2011, 12, 30), 600, "Pacific/Apia") == at("2011-12-30T10:00")


def test_local_time_that_exists_twice_is_the_first_dl_5() -> None:
    assert instant_of(date(2026, 11, 1), 90, "America/New_York") == at("2026-11-01T05:30")
    assert instant_of(date(2026, 4, 5), 105, "Australia/Lord_Howe") == at("2026-04-04T14:45")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(EVERY_ZONE), st.integers(0, 400), st.integers(0, DAY - 1))
def test_instant_of_a_local_time_is_what_the_clock_first_shows(zone: str, day: int, minute: int) -> None:
    when = date(2026, 1, 1) + timedelta(days=day)
    found = instant_of(when, minute, zone)
    wall = datetime(when.year, when.month, when.day) + timedelta(minutes=minute)
    expected = wall.replace(tzinfo=zones.zone(zone)).astimezone(UTC)
    if expected.astimezone(zones.zone(zone)).replace(tzinfo=None) == wall:
        assert found == expected
    else:
        before, after = (
            at.astimezone(zones.zone(zone)).replace(tzinfo=None) for at in (found - timedelta(seconds=1), found)
        )
        assert before < wall < after


def test_window_that_ended_before_the_clock_went_back_does_not_open_twice_dl_5() -> None:
    saturday = window({"sat": "22:00-01:30"})
    begin, end = (int(at(f"2026-11-0{day}").timestamp()) for day in (1, 2))
    pieces = instants(saturday, "America/New_York", frozenset(), begin, end)
    assert pieces == [(int(at("2026-11-01T02:00").timestamp()), int(at("2026-11-01T05:30").timestamp()))]


def test_window_that_begins_in_the_repeated_hour_pauses_while_the_clock_shows_less_dl_5() -> None:
    sunday = window({"sun": "01:30-05:00"})
    begin, end = (int(at(f"2026-11-0{day}").timestamp()) for day in (1, 2))
    pieces = instants(sunday, "America/New_York", frozenset(), begin, end)
    walls = [("05:30", "06:00"), ("06:30", "10:00")]
    assert pieces == [tuple(int(at(f"2026-11-01T{text}").timestamp()) for text in each) for each in walls]


# Intersections.


def test_effective_window_is_what_law_and_every_layer_leave_qh_1() -> None:
    layers = (
        Layer(name="brand", window=window("08:00-19:00")),
        Layer(name="campaign", window=window({"mon-fri": "10:00-23:00"})),
        Layer(name="person", window=window("00:00-18:00")),
    )
    hours = Hours(Rules(class_=MessageClass.TRIGGERED, layers=layers))
    places = (Place("Europe/London", "GB", ""),)
    assert [hours.at(places, at(f"2026-11-23T{t}")).is_open for t in ("09:59", "10:00", "17:59", "18:00")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert not hours.at(places, at("2026-11-28T12:00")).is_open


def test_no_layer_widens_the_law_qh_1() -> None:
    hours = Hours(Rules(class_=MessageClass.BULK, layers=(Layer(name="brand", window=ALWAYS),)))
    assert not hours.at((Place("Europe/London", "GB", ""),), at("2026-11-23T20:00")).is_open


def test_shops_own_hours_are_by_the_shops_clock_s1_9() -> None:
    layers = (Layer(name="brand", window=window("09:00-17:00"), zone="Europe/Bucharest"),)
    hours = Hours(Rules(class_=MessageClass.BULK, layers=layers))
    places = (Place("Europe/London", "GB", ""),)
    # 09:00 in London is 11:00 in Bucharest, where the shop closes at 15:00 of London.
    assert [hours.at(places, at(f"2026-11-23T{t}")).is_open for t in ("08:59", "09:00", "14:59", "15:00")] == [
        False, True, True, False,
    ]  # fmt: skip


@pytest.mark.covers("S4.38")
@pytest.mark.parametrize("class_", list(MessageClass))
def test_only_promotional_messages_wait_for_the_morning_qh_10(class_: MessageClass) -> None:
    hours = Hours(Rules(class_=class_, layers=(Layer(name="brand", window=window("10:00-11:00")),)))
    answer = hours.at((Place("Europe/Paris", "FR", ""),), at("2026-11-22T02:00"))
    assert answer.is_open is (class_ not in (MessageClass.TRIGGERED, MessageClass.BULK))
    assert answer.is_open is (answer.closes_at == NEVER)


@settings(max_examples=40, deadline=None)
@given(st.lists(windows, min_size=1, max_size=3), st.integers(0, 300 * 1440))
def test_another_layer_never_lets_more_messages_out(found: list[Window], minute: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    places = (Place("America/Denver", "US", "CO"),)
    layers = tuple(Layer(name="step", window=each) for each in found)
    fewer = Hours(Rules(class_=MessageClass.BULK, layers=layers[1:])).at(places, now)
    if Hours(Rules(class_=MessageClass.BULK, layers=layers)).at(places, now).is_open:
        assert fewer.is_open


def test_windows_that_leave_no_time_together_are_named() -> None:
    morning, evening, noon = window("08:00-12:00"), window("18:00-21:00"), window("11:00-19:00")
    assert never_open({"law": morning, "brand": noon}) is None
    assert (
        never_open({"law": morning, "brand": noon, "step": evening})
        == "law and step have less than 5 minutes in common"
    )
    assert never_open({"law": morning, "brand": window("12:00-13:00")}) is not None
    assert never_open({"law": window("10:00-10:04")}) is not None


# Places.


@pytest.mark.covers("S3.23")
def test_with_several_places_it_must_be_open_in_each_qh_4() -> None:
    hours = Hours(BULK)
    places = (Place("America/New_York", "US", "FL"), Place("America/Chicago", "US", "FL"))
    monday = [hours.at(places, at(f"2026-11-23T{t}")).is_open for t in ("14:59", "15:00")]
    assert monday == [False, True]  # 09:00 of Chicago is 15:00
    evening = [hours.at(places, at(t)).is_open for t in ("2026-11-24T00:59", "2026-11-24T01:00")]
    assert evening == [True, False]  # 20:00 of New York is 01:00


def test_lower_48_states_under_8_to_20_leave_11_to_20_eastern_qh_4() -> None:
    lower = ("America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles")
    found = [(0, 1 << 40)]
    day = [int(at(t, "America/New_York").timestamp()) for t in ("2026-12-01T00:00", "2026-12-02T00:00")]
    for name in lower:
        found = meet(found, instants(window("08:00-20:00"), name, frozenset(), *day))
    assert found == [tuple(int(at(f"2026-12-01T{t}", "America/New_York").timestamp()) for t in ("11:00", "20:00"))]


def test_state_that_is_not_known_is_every_state_of_that_clock_qh_4() -> None:
    hours = Hours(BULK)
    denver, eastern = (Place("America/Denver", "US", ""),), (Place("America/New_York", "US", ""),)
    # By the clock of Denver only Texas has rules; in the east Rhode Island closes at 18:00, Kentucky opens at 10:00.
    assert hours.at(denver, at("2026-11-23T19:59", "America/Denver")).is_open
    assert not hours.at(eastern, at("2026-11-23T18:00", "America/New_York")).is_open
    assert not hours.at(eastern, at("2026-11-23T09:59", "America/New_York")).is_open
    assert hours.at(eastern, at("2026-11-23T10:00", "America/New_York")).is_open


def test_where_no_instant_suits_all_the_most_populous_place_decides_and_it_is_said_qh_4() -> None:
    hours = Hours(BULK)
    places = (Place("America/New_York", "US", "NY"), Place("Asia/Tokyo", "JP", ""), Place("Europe/London", "GB", ""))
    noon = hours.at(places, at("2026-11-23T12:00", "America/New_York"))
    assert noon.is_open and noon.is_guess
    night = hours.at(places, at("2026-11-23T22:00", "America/New_York"))
    assert night == Answer(
        False,
        int(at("2026-11-24T03:00").timestamp()),
        int(at("2026-11-24T09:00", "America/New_York").timestamp()),
        True,
    )


def test_sunday_without_sending_is_no_reason_to_guess_qh_4() -> None:
    layers = (Layer(name="brand", window=window({"mon-fri": "00:00-24:00"})),)
    hours = Hours(Rules(class_=MessageClass.BULK, layers=layers))
    places = (Place("America/New_York", "US", "NY"), Place("America/Los_Angeles", "US", "CA"))
    # From Friday evening to Monday nothing is open anywhere: 24 hours empty, and nobody is in doubt.
    saturday = hours.at(places, at("2026-11-28T03:00"))
    assert not saturday.is_guess and saturday.opens_at == int(at("2026-11-30T09:00", "America/Los_Angeles").timestamp())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(EVERY_ZONE), min_size=1, max_size=4, unique=True), st.integers(0, 400 * 1440))
def test_open_without_a_guess_means_open_by_every_clock_qh_4(names: list[str], minute: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    answer = Hours(BULK).at(tuple(Place(name, "", "") for name in names), now)
    inside = [9 <= now.astimezone(zones.zone(name)).hour < 20 for name in names]
    if answer.is_guess:
        assert answer.is_open is inside[0]
    else:
        assert answer.is_open is all(inside)


# The table that a batch takes.


def test_table_says_of_each_set_what_is_said_of_its_places_at_every_moment() -> None:
    sets = PlaceSets()
    hours, alone = Hours(BULK, sets), Hours(BULK)
    ids = [sets.of_number(n) for n in (447700900123, 12015550123, 18505550123, 61412345678, 5511987654321, 12645550123)]
    now = int(at("2026-10-30T00:00").timestamp())
    for step in range(4 * 24 * 12):
        moment = now + step * 300 + 7
        table = hours.table_at(moment, ids)
        for id_ in ids:
            found = Answer(
                bool(table.is_open[id_]), table.closes_at[id_], table.opens_at[id_], bool(table.is_guess[id_])
            )
            expected = alone.at(sets[id_], moment)
            if not found.is_open:
                found, expected = found._replace(closes_at=0), expected._replace(closes_at=0)
            assert found == expected, (sets[id_], moment)


def test_table_is_kept_until_the_next_change() -> None:
    sets = PlaceSets()
    hours = Hours(BULK, sets)
    london, jersey = sets.of_number(447700900123), sets.of_number(12015550123)
    first = hours.table_at(at("2026-11-23T10:00"), [london])
    assert hours.table_at(at("2026-11-23T13:59:59"), [london, jersey]) is first
    assert first.until == int(at("2026-11-23T14:00").timestamp())
    assert hours.table_at(at("2026-11-23T14:00"), [london, jersey]) is not first


def test_answers_for_all_sets_of_a_batch_cost_less_than_a_millisecond() -> None:
    sets = PlaceSets()
    hours = Hours(BULK, sets)
    ids = list(range(min(60, len(sets))))
    now = int(at("2026-11-23T10:00").timestamp())
    hours.table_at(now, ids)
    costs = []
    for step in range(20):
        began = clocks.perf_counter()
        # A new moment past the change before it: nothing of the table is left.
        hours._table = None
        hours.table_at(now + step, ids)
        costs.append(clocks.perf_counter() - began)
    assert min(costs) < 0.001


# What becomes of a message.

OPEN = Answer(True, 20_000, 60_000, False)
SHUT = Answer(False, 10_000, 60_000, False)


@pytest.mark.covers("S3.24")
def test_message_outside_its_window_is_held_skipped_or_given_up_qh_5() -> None:
    assert judged(OPEN, 10_000).act == "send"
    assert judged(SHUT, 10_000) == ("hold", 60_000, "outside_window")
    assert judged(SHUT, 10_000, outside="skip") == ("skip", 0, "outside_window")
    assert judged(SHUT, 10_000, gives_up_at=60_000) == ("expire", 0, "window_expired")
    assert judged(SHUT, 10_000, gives_up_at=60_001).act == "hold"
    assert judged(SHUT, 10_000, expires_at=50_000).reason == "window_expired"
    assert judged(OPEN, 10_000, expires_at=10_000) == ("expire", 0, "expired")
    assert judged(Answer(False, 10_000, NEVER, False), 10_000).act == "expire"


def test_message_with_less_than_five_minutes_left_waits_for_the_next_window_qh_6() -> None:
    assert judged(OPEN, 20_000 - LEAST_LEFT_S).act == "send"
    assert judged(OPEN, 20_000 - LEAST_LEFT_S + 1) == ("hold", 60_000, "outside_window")


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_validity_never_outlives_the_window_nor_the_message_qh_6(now: int, left: int, expires: int) -> None:
    answer = Answer(True, now + left, now + left + 50_000, False)
    found = validity_s(answer, now, now + expires)
    assert found == min(left, expires)
    assert validity_s(answer._replace(closes_at=NEVER), now) is None


def test_held_messages_are_spread_over_the_first_half_hour_qh_7() -> None:
    opens, closes = 1_000_000, 1_000_000 + 11 * 3600
    found = [released_at(447700900000 + n, opens, closes) for n in range(20_000)]
    assert opens <= min(found) < opens + 5 and opens + 1795 < max(found) < opens + 1800
    by_minute = [sum(1 for each in found if (each - opens) // 60 == m) for m in range(30)]
    assert max(by_minute) < 1.2 * 20_000 / 30 and min(by_minute) > 0.8 * 20_000 / 30
    assert released_at(447700900000, opens, closes) == found[0]


@given(st.integers(1, 10**15), st.integers(1, 100_000), st.integers(0, 7200))
def test_nothing_is_spread_into_the_last_minutes_of_a_window_qh_7(number: int, length: int, spread: int) -> None:
    found = released_at(number, 1000, 1000 + length, spread)
    assert 1000 <= found and (found == 1000 or 1000 + length - found > LEAST_LEFT_S)


def test_bulk_message_at_local_time_is_one_occurrence_a_zone_qh_8() -> None:
    people = {
        (Place("Asia/Tokyo", "JP", ""),): 30,
        (Place("Europe/London", "GB", ""),): 20,
        (Place("America/New_York", "US", "NY"),): 10,
    }
    now = at("2026-11-23T12:00")  # 21:00 of Tokyo, noon of London, 07:00 of New York
    hours = Hours(BULK)

    def laid(passed: Any) -> dict[str, tuple[str, datetime | None]]:
        found = occurrences(date(2026, 11, 23), time(10), people, now, hours, passed)
        assert sum(each.people for each in found) == 60
        return {each.zone: (each.outcome, each.at) for each in found}

    new_york = ("on_time", at("2026-11-23T15:00"))
    assert laid("next_day") == {
        "America/New_York": new_york,
        "Asia/Tokyo": ("next_day", at("2026-11-24T01:00")),
        "Europe/London": ("next_day", at("2026-11-24T10:00")),
    }
    assert laid("now_if_open") == {
        "America/New_York": new_york, "Asia/Tokyo": ("skip", None), "Europe/London": ("now", now),
    }  # fmt: skip
    assert laid("skip")["Europe/London"] == ("skip", None)


def test_occurrence_at_quiet_hours_is_marked_qh_8() -> None:
    [found] = occurrences(
        date(2026, 11, 23), time(21), {(Place("Europe/London", "GB", ""),): 5}, at("2026-11-23T12:00"), Hours(BULK)
    )
    assert found.is_quiet and found.at == at("2026-11-23T21:00")


def test_shops_time_is_told_by_the_clocks_of_customers_elsewhere_s1_10() -> None:
    people = {(Place("Asia/Tokyo", "JP", ""),): 30, (Place("Europe/Bucharest", "RO", ""),): 500}
    found = local_times(at("2026-11-23T18:00", "Europe/Bucharest"), people, Hours(BULK))
    assert [(each.zone, f"{each.shows:%a %H:%M}", each.people, each.is_quiet) for each in found] == [
        ("Europe/Bucharest", "Mon 18:00", 500, False), ("Asia/Tokyo", "Tue 01:00", 30, True),
    ]  # fmt: skip


def test_event_outside_the_window_starts_nothing_where_the_window_is_the_entrys_qh_9() -> None:
    # The same question, asked with the time of the event and not with that of the send.
    hours, places = only("09:00-21:00", "Europe/London", MessageClass.TRIGGERED)
    assert hours.at(places, at("2026-11-23T10:00")).is_open and not hours.at(places, at("2026-11-23T23:00")).is_open


def test_holiday_of_the_recipients_country_counts_where_the_window_names_holidays_qh_11() -> None:
    layers = (Layer(name="brand", window=window({"daily": "09:00-20:00", "holidays": "12:00-14:00"})),)
    hours = Hours(Rules(class_=MessageClass.BULK, layers=layers))
    british, irish = (Place("Europe/London", "GB", "ENG"),), (Place("Europe/Dublin", "IE", ""),)
    assert date(2026, 12, 25) in of_year("GB", 2026) & of_year("IE", 2026)
    for places in (british, irish):
        assert [hours.at(places, at(f"2026-12-25T{t}")).is_open for t in ("11:59", "12:00", "13:59", "14:00")] == [
            False, True, True, False,
        ]  # fmt: skip


def test_why_names_each_window_its_rule_and_its_place() -> None:
    layers = (Layer(name="brand", window=window("10:00-12:00")),)
    hours = Hours(Rules(class_=MessageClass.BULK, layers=layers))
    found = hours.why((Place("Europe/Paris", "FR", "57"),), at("2026-12-26T10:00"))
    assert [(each.layer, each.is_open, each.is_day_off) for each in found] == [
        ("law of FR-57", False, True), ("brand", True, False),
    ]  # fmt: skip


def test_openings_and_shortfall_of_a_flash_sale_s0_16() -> None:
    hours = Hours(BULK)
    places = (Place("Europe/London", "GB", ""),)
    begin, ends = at("2026-11-23T18:00"), at("2026-11-24T10:00")
    found = hours.openings(places, begin, ends)
    assert sum(b - a for a, b in found) == 3 * 3600
    assert shortfall(10_801, 1.0, found, int(begin.timestamp()), int(ends.timestamp())) == 1
    assert shortfall(10_800, 1.0, found, int(begin.timestamp()), int(ends.timestamp())) == 0


def test_versions_of_all_data_are_said_qh_12() -> None:
    found = versions()
    assert set(found) == {"tzdata", "packs", "holidays", "numbers"} and all(found.values())
    assert found["packs"] == law.version()
