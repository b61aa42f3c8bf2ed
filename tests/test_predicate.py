"""The tree, and what statements and meaning read alike."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import predicate
from gateway.predicate import And, Attribute, Compare, Count, Duration, Everyone, Money, Not, Selected, Window


def test_a_tree_is_json_with_its_kind_in_each_node():
    tree = And((Not(Everyone()), Compare(Attribute(("home", "city")), "=", "Berlin")))
    assert predicate.encode(tree) == (
        '{"is":"and","of":[{"is":"not","of":{"is":"everyone"}},'
        '{"is":"compare","what":{"is":"attr","path":["home","city"]},"op":"=","to":"Berlin"}]}'
    )
    assert predicate.decode(predicate.encode(tree)) == tree


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "truncated"),
        ('{"is":"nor"}', "Invalid value 'nor'"),
        ('{"is":"and","of":[{"is":"everyone"}]}', "$.of"),
        ('{"is":"list"}', "name"),
        ('{"is":"list","name":""}', "$.name"),
        ('{"is":"list","name":"x","more":1}', "more"),
        ('{"is":"compare","what":{"is":"field","name":"orders"},"op":"~","to":1}', "$.op"),
        ('{"is":"compare","what":{"is":"count","event":"x"},"op":"=","to":[1]}', "$.to"),
        ('{"is":"geo","lat":NaN,"lon":0,"km":1}', "invalid"),
    ],
)
def test_what_is_no_tree_is_refused_with_its_place(text, said):
    with pytest.raises(msgspec.DecodeError, match=said.replace("$", r"\$").replace(".", r"\.")):
        predicate.decode(text)


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("-0", 0), ("7.50", Decimal("7.5")), ("0.1", Decimal("0.1"))])
def test_a_number_in_a_string_is_read_strictly(text, number):
    """EV-8."""
    assert predicate.number_in(text) == number


@pytest.mark.parametrize(
    "text", ["", " 7", "7 ", "7\n", "07", "+7", "1e2", "7.", ".5", "1,000", "0x7", "٧", "NaN", "9" * 200]
)
def test_what_only_looks_like_a_number_is_none(text):
    assert predicate.number_in(text) is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2026-01-31T18:00Z", datetime(2026, 1, 31, 18, tzinfo=UTC)),
        ("2026-01-31T18:00:01.5+02:00", datetime(2026, 1, 31, 16, 0, 1, 500_000, tzinfo=UTC)),
    ],
)
def test_a_time_in_a_string_is_read_strictly(text, at):
    assert predicate.time_in(text) == at


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29",
        "2100-02-29",
        "2026-04-31",
        "2026-1-31",
        "2026-01-31T18:00",
        "2026-01-31T24:00Z",
        "2026-01-31 18:00Z",
        "2026-01-31\n",
        "31.01.2026",
        "",
    ],
)
def test_a_day_that_does_not_exist_or_a_clock_without_its_zone_is_no_time(text):
    assert predicate.time_in(text) is None


@given(st.dates(date(1600, 1, 1), date(2999, 12, 31)))
def test_every_day_that_exists_is_a_time(day):
    assert predicate.time_in(day.isoformat()) == datetime(day.year, day.month, day.day, tzinfo=UTC)


def test_letters_fold_one_by_one():
    assert predicate.folded("STRASSE Straße İi ΣΑΣ \u212a") == "strasse straße İi σασ k"


@given(st.text(), st.text())
def test_texts_are_equal_when_folded_exactly_when_one_becomes_the_other_by_the_letters_named(text, other):
    wanted = predicate.folded(other)
    letters, into = predicate.folds_to(wanted)
    translated = text.translate(str.maketrans(letters, into))
    assert (translated == wanted) == (predicate.folded(text) == wanted)
    assert (wanted in translated) == (wanted in predicate.folded(text))


def test_minor_units_follow_the_currency():
    assert [predicate.minor_units(Money("10.5", currency)) for currency in ("EUR", "JPY", "KWD")] == [
        1050,
        Decimal("10.5"),
        10500,
    ]


def test_a_bucket_is_for_life_and_spread_evenly():
    """SG-8."""
    assert predicate.random_bucket(447700900123, "salt") == predicate.random_bucket(447700900123, "salt")
    found = [predicate.random_bucket(447700900000 + at, "salt") for at in range(10_000)]
    assert 400 < sum(1 for one in found if one < 500) < 600
    assert found != [predicate.random_bucket(447700900000 + at, "other") for at in range(10_000)]


def test_a_duration_is_elapsed_time_and_days_of_the_calendar_end_at_midnight():
    """SG-3: a month is 30 days of 24 hours; of the calendar a day has 23 in March."""
    now = datetime(2026, 3, 30, 12, tzinfo=UTC)
    zone = ZoneInfo("Europe/Berlin")
    assert predicate.boundary(now, Duration(1, "mo"), zone) == now - timedelta(days=30)
    microsecond = timedelta(microseconds=1)
    assert predicate.boundary(now, Duration(1, "d", True), zone) == datetime(2026, 3, 29, 22, tzinfo=UTC) - microsecond
    assert predicate.boundary(now, Duration(2, "d", True), zone) == datetime(2026, 3, 28, 23, tzinfo=UTC) - microsecond


def test_a_day_without_midnight_begins_when_its_clocks_do():
    assert predicate.midnight(date(2026, 3, 29), ZoneInfo("Asia/Beirut")) == datetime(2026, 3, 28, 22, tzinfo=UTC)


def test_what_is_asked_of_events_is_named():
    count = Count("visit", Window(Duration(7, "d")))
    tree = Not(And((Compare(count, ">", 1), Compare(Selected("last", "order"), ">", Duration(1, "d")), Everyone())))
    assert predicate.events_of(tree) == [count, Selected("last", "order")]


def test_a_path_goes_into_objects_alone():
    assert predicate.at_path({"a": {"b": None}}, ("a", "b")) is None
    assert predicate.at_path({"a": [1]}, ("a", "0")) is predicate.MISSING
    assert repr(predicate.MISSING) == "MISSING"


def test_a_tree_of_what_happened_can_be_asked_of_what_happens_from_a_moment_on() -> None:
    """EX-1: events and messages of all time count from there, what names a window of its own or is no event stays."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    window = predicate.Window(since=predicate.Moment(at.isoformat()), until=predicate.Moment("2999-12-31"))
    count = predicate.Compare(predicate.Count("order"), ">=", 1)
    month = predicate.Compare(predicate.Count("order", predicate.Window(rolling=predicate.Duration(30, "d"))), ">=", 1)
    said = predicate.Message("replied")
    tree = predicate.And((count, predicate.Or((predicate.Not(said), month)), predicate.Everyone()))
    assert predicate.since(tree, at) == predicate.And(
        (
            predicate.Compare(predicate.Count("order", window), ">=", 1),
            predicate.Or((predicate.Not(predicate.Message("replied", window=window)), month)),
            predicate.Everyone(),
        )
    )
