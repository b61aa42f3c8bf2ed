"""Windows and packs as words: what is read, what is refused and how it is said."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing import DAYS
from gateway.rules import (
    ALWAYS,
    DAY,
    WEEK,
    Problem,
    Window,
    meet,
    read_pack,
    read_window,
    text_of,
    weekly,
    words_of,
)


def read(value: Any) -> Window:
    problems: list[Problem] = []
    window = read_window(value, "window", problems)
    assert problems == [] and window is not None
    return window


def refused(value: Any) -> list[Problem]:
    problems: list[Problem] = []
    assert read_window(value, "window", problems) is None
    return problems


def test_days_by_name_by_range_and_by_list_are_read_alike() -> None:
    expected = read({"mon": ["09:00-20:00"], "tue": ["09:00-20:00"], "sun": ["10:00-12:00"]})
    assert read({"mon-tue": "09:00-20:00", "Sunday": ["10:00-12:00"]}) == expected
    assert read({"mon,tue": ["09:00", "20:00"], "sun": ["10:00", "12:00"]}) == expected
    assert read({"sat-mon": "09:00-20:00"}).days[5:] == (((540, 1200),),) * 2


def test_day_that_is_not_named_is_closed() -> None:
    assert read({"mon-sat": ["08:00-20:00"]}).days[6] == ()


def test_span_over_midnight_belongs_to_the_day_it_starts_on_qh_2() -> None:
    window = read({"fri": ["22:00-06:00"]})
    assert window.days[4] == ((22 * 60, DAY + 6 * 60),) and window.days[5] == ()
    assert weekly([window]) == [(4 * DAY + 22 * 60, 5 * DAY + 6 * 60)]


def test_span_from_sunday_goes_on_at_the_begin_of_the_week() -> None:
    assert weekly([read({"sun": ["22:00-06:00"]})]) == [(0, 360), (6 * DAY + 22 * 60, WEEK)]


def test_whole_day_is_written_from_0_to_24_qh_2() -> None:
    assert read("00:00-24:00") == ALWAYS == read("always") == read({"daily": "always"})


@pytest.mark.parametrize("span", ["09:00-09:00", "24:00-09:00", "00:00-00:00"])
def test_span_whose_start_is_its_end_is_refused_qh_2(span: str) -> None:
    [(key, expected, found)] = refused({"mon": [span]})
    assert key == "window.mon" and "00:00-24:00" in expected and "empty span" in found


@pytest.mark.parametrize(
    ("value", "key", "word"),
    [
        ({"mo": ["09:00-20:00"]}, "window.mo", "days such as mon"),
        ({"mnday": ["09:00-20:00"]}, "window.mnday", "did you mean monday?"),
        ({"mon": ["9-20"]}, "window.mon", "a span such as"),
        ({"mon": ["09:00-25:00"]}, "window.mon", "a span such as"),
        ({"mon": 9}, "window.mon", "spans such as"),
        ({"mon-fri": ["09:00-20:00"], "fri": ["10:00-11:00"]}, "window.fri", "each day once"),
        ({"mon-fri-sun": ["09:00-20:00"]}, "window.mon-fri-sun", "days such as"),
        ({}, "window", "at least one span"),
        ({"mon": []}, "window", "at least one span"),
        ([], "window", "a span such as"),
        (None, "window", "a table such as"),
        (float("nan"), "window", "a table such as"),
    ],
)
def test_ill_formed_window_is_refused_with_its_key(value: Any, key: str, word: str) -> None:
    assert [(found, word in expected) for found, expected, _ in refused(value)] == [(key, True)]


def test_every_problem_of_a_window_is_reported() -> None:
    assert [key for key, _, _ in refused({"mo": ["09:00-20:00"], "tue": ["x"]})] == ["window.mo", "window.tue"]


def test_holidays_may_be_closed_open_at_other_hours_or_as_the_weekday() -> None:
    assert read({"mon": "09:00-20:00"}).holidays is None
    assert read({"mon": "09:00-20:00", "holidays": []}).holidays == ()
    assert read({"mon": "09:00-20:00", "holidays": "10:00-12:00"}).holidays == ((600, 720),)


minutes = st.integers(0, DAY)
spans = st.lists(st.tuples(st.integers(0, DAY - 1), st.integers(0, DAY)).filter(lambda s: s[0] != s[1]), max_size=4)


def clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@given(st.dictionaries(st.sampled_from([*DAYS, "holidays"]), spans, min_size=1))
def test_window_said_in_words_is_read_the_same(days: dict[str, list[tuple[int, int]]]) -> None:
    value = {day: [f"{clock(a)}-{clock(b)}" for a, b in each] for day, each in days.items()}
    if not any(spans for day, spans in value.items() if day != "holidays"):
        assert refused(value)
        return
    window = read(value)
    again = read(words_of(window))
    assert weekly([again]) == weekly([window])
    assert text_of(window)


@given(spans, spans)
def test_what_two_lists_of_spans_have_in_common_is_what_both_hold(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    def minutes_of(found: list[tuple[int, int]]) -> set[int]:
        return {minute for begin, end in found for minute in range(begin, end)}

    mine, theirs = ([(s, e) for s, e in weekly([read({"mon": [f"{clock(a)}-{clock(b)}"]})])] for a, b in (
        (one or [(0, DAY)])[0], (other or [(0, DAY)])[0]
    ))  # fmt: skip
    assert minutes_of(meet(mine, theirs)) == minutes_of(mine) & minutes_of(theirs)


def leaf(value: Any, **more: Any) -> dict[str, Any]:
    return {"v": value, "src": "somebody", "conf": "B", **more}


def test_leaf_of_a_pack_without_source_or_confidence_is_refused() -> None:
    problems: list[Problem] = []
    document = {"promo_window": {"v": "always"}, "zone_mode": leaf("strict", conf="E"), "holidays": []}
    assert read_pack("XX", [("XX", document)], problems) is None
    keys = {key for key, _, _ in problems}
    assert {"XX.promo_window.src", "XX.promo_window.conf", "XX.zone_mode.conf", "XX.holidays"} <= keys


def test_unknown_key_of_a_pack_is_refused_with_the_one_that_was_meant() -> None:
    problems: list[Problem] = []
    assert read_pack("XX", [("XX", {"promo_windw": leaf("always")})], problems) is None
    assert any("did you mean promo_window?" in expected for _, expected, _ in problems)
