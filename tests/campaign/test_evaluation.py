"""What an audience means for one person, rule by rule."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.campaign.audience import parse
from gateway.campaign.evaluation import Event, Person, Terms, distance_km, matches
from gateway.predicate import InSegment

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def asked(text, person=None, now=NOW, zone="UTC", **known):
    return matches(parse(text), person or Person(**known), Terms(now=now, zone=ZoneInfo(zone), salt="salt"))


@pytest.mark.parametrize(
    ("value", "text", "answer"),
    [
        ("Berlin", "x = 'Berlin'", True),
        ("berlin", "x = 'Berlin'", False),
        ("berlin", "x = ci 'BERLIN'", True),
        ("caf\u00e9", "x = 'cafe\u0301'", True),
        ("Berlin", "x != 'Wien'", True),
        ("Berlin", "x in ('Wien', 'Berlin')", True),
        ("Berlin", "x not in ('Wien')", True),
        ("Berlin", "x contains 'erl'", True),
        ("Berlin", "x starts_with 'Ber'", True),
        ("Berlin", "x matches 'B*l?n'", True),
        ("Berlin", "x matches 'B*l'", False),
        ("a", "x < 'b'", True),
        ("Z", "x < 'a'", True),
        (7, "x = 7.0", True),
        ("7", "x = 7", True),
        ("7.0", "x = 7", True),
        (" 7", "x = 7", False),
        ("seven", "x != 7", False),
        (7, "x = '7'", True),
        (7, "x = 'seven'", False),
        (7, "x != 'seven'", False),
        (0.1, "x = 0.1", True),
        (True, "x = true", True),
        (1, "x = true", False),
        (True, "x = 1", False),
        (None, "x = null", True),
        (None, "x exists", True),
        (None, "x = ''", False),
        (None, "x != ''", True),
        ("", "x != null", True),
        ("", "x = null", False),
        (None, "x < 5", False),
        (["a", "b"], "x contains 'a'", True),
        (["a", "b"], "any(x) = 'b'", True),
        (["a", "b"], "all(x) = 'b'", False),
        (["a", "b"], "none(x) = 'c'", True),
        ([], "any(x) = 'a'", False),
        ([], "all(x) = 'a'", True),
        ([], "none(x) = 'a'", True),
        ("a", "none(x) = 'b'", False),
        ({"city": "Berlin"}, "x.city = 'Berlin'", True),
        ({"amount": "10.50", "currency": "EUR"}, "x > 10 EUR", True),
        ({"amount": 10, "currency": "USD"}, "x != 10 EUR", False),
        (10, "x = 10 EUR", False),
        ("2026-11-20", "x within 3d", True),
        ("2026-11-24T00:00:00+02:00", "x within next 2d", True),
        ("2026-11-20", "x before 2026-11-21", True),
        ("2026-11-21", "x after 2026-11-21", True),
        ("2026-11-31", "x before 2027-01-01", False),
    ],
)
def test_values_are_compared_by_their_types(value, text, answer):
    """EV-8."""
    assert asked(text, attributes={"x": value}) is answer


@pytest.mark.parametrize(
    "text",
    ["x = 'a'", "x != 'a'", "x not in ('a')", "x > 5", "x = null", "x != null", "x exists", "none(x) = 'a'", "x < 30d"],
)
def test_nothing_holds_of_what_is_missing_and_not_turns_that(text):
    """EV-8: negative forms too; SG-1: not is real."""
    assert not asked(text)
    assert asked(f"not ({text})")
    assert asked("x not exists or x != 'a'")


def test_types_that_do_not_fit_are_counted_and_null_is_not_among_them():
    terms = Terms(now=NOW)
    person = Person(attributes={"x": "seven", "y": None})
    assert not matches(parse("x = 7 or x = true or y = 7"), person, terms)
    assert terms.mismatches == 2


@pytest.mark.parametrize(
    ("age", "older"),
    [(timedelta(days=30), True), (timedelta(days=30) - timedelta(seconds=1), False), (timedelta(days=31), True)],
)
@pytest.mark.parametrize(
    ("text", "what"),
    [("orders.last > 30d", "orders.last"), ("last_seen > 30d", "last_seen"), ("last_click > 1mo", "last_click")],
)
def test_thirty_days_ago_begins_after_thirty_times_24_hours(text, what, age, older):
    """SG-3; S0.6, S0.7: exactly N days, N days less a second, never."""
    assert asked(text, fields={what: NOW - age}) is older
    assert asked(text.replace(">", "<"), fields={what: NOW - age}) is not older
    assert not asked(text)
    assert not asked(text.replace(">", "<"))


def test_days_of_the_calendar_pass_at_local_midnight():
    """SG-3, calendar."""
    bought = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)  # 23:30 in Berlin
    assert not asked(
        "orders.last > 2d calendar",
        fields={"orders.last": bought},
        now=datetime(2026, 11, 21, 22, 59, tzinfo=UTC),
        zone="Europe/Berlin",
    )
    assert asked(
        "orders.last > 2d calendar",
        fields={"orders.last": bought},
        now=datetime(2026, 11, 21, 23, tzinfo=UTC),
        zone="Europe/Berlin",
    )


def test_a_window_that_rolls_is_open_at_its_old_end_and_closed_at_now():
    """SG-2."""
    for at, count in (
        (NOW, 1),
        (NOW + MICROSECOND, 0),
        (NOW - timedelta(days=7), 0),
        (NOW - timedelta(days=7) + MICROSECOND, 1),
    ):
        assert asked(f"count(visit, 7d) = {count}", events=[Event(name="visit", occurred_at=at)])


def test_a_window_between_two_days_has_the_first_and_not_the_last():
    events = [Event(name="visit", occurred_at=datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 2, 3)]
    assert asked("count(visit, between 2026-01-01 and 2026-01-03) = 2", events=events)


def test_the_last_event_that_matches_is_chosen_and_then_looked_at():
    """SG-2."""
    events = [
        Event(name="order", occurred_at=NOW - timedelta(days=day), id=day, properties={"total": total, "shop": shop})
        for day, total, shop in ((3, 50, "a"), (2, 10, "a"), (1, 90, "b"))
    ]
    person = Person(events=events)
    assert asked("last(order).total = 90 and first(order).total = 50 and last(order, shop = 'a').total = 10", person)
    assert not asked("last(order, total > 1000).total != 5", person)
    assert asked("last(order, shop = 'a') > 2d and not last(order) > 2d", person)


def test_two_events_at_one_instant_are_told_apart_by_their_ids():
    events = [Event(name="order", occurred_at=NOW, id=at, properties={"n": at}) for at in (2, 1)]
    assert asked("last(order).n = 2 and first(order).n = 1", events=events)


def test_only_a_humans_click_is_one():
    """GL-5."""

    def clicked(verdict):
        return [Event(name="clicked", occurred_at=NOW, properties={"campaign": "spring", "verdict": verdict})]

    assert asked("clicked('spring')", events=clicked("human"))
    assert not asked("clicked('spring') or clicked() or clicked(last_campaign)", events=clicked("bot"))


def test_the_last_campaign_is_that_of_the_newest_message():
    sent = [
        Event(name="submitted", occurred_at=NOW - timedelta(days=day), id=day, properties={"campaign": name})
        for day, name in ((9, "spring"), (1, "autumn"))
    ]
    click = Event(name="clicked", occurred_at=NOW, id=5, properties={"campaign": "spring", "verdict": "human"})
    assert asked("clicked('spring') and not clicked(last_campaign)", events=[*sent, click])
    assert asked("clicked(last_campaign)", events=[sent[0], click])
    assert not asked("clicked(last_campaign)", events=[click])


def test_what_was_spent_is_asked_in_a_currency_and_missing_is_not_nought():
    """S2.18."""
    assert (
        asked("spent = 0 EUR", spent={"EUR": 0})
        and not asked("spent = 0 EUR")
        and not asked("spent = 0 EUR", spent={"USD": 0})
    )
    assert asked("spent >= 73.50 EUR and spent > 7000 JPY", spent={"EUR": 7350, "JPY": 7350})
    assert asked("aov = 36.75 EUR", spent={"EUR": 7350}, fields={"orders": 2})
    assert not asked("aov > 0 EUR", spent={"EUR": 7350, "USD": 1}, fields={"orders": 2})


def test_lists_consents_scores_buckets_and_utm_are_asked():
    """SG-7, SG-8, SG-9, S2.20."""
    person = Person(
        number=447700900123,
        lists=frozenset({"vip"}),
        consents=frozenset({("acme", "promotional")}),
        brands=frozenset({"acme", "acme/news"}),
        rfm={"r": 5, "f": 1, "m": 2, "group": "new"},
        utm={"first": {"term": "shoes"}},
    )
    assert asked(
        "in_list('vip') and consent(promotional, acme) and rfm.r = 5 and rfm.group = 'new' "
        "and utm.first.term = 'shoes'",
        person,
    )
    # What is said of a programme holds for it, and where nothing is, what is said of its brand (CN-7).
    assert asked("consent(promotional, 'acme/club') and not consent(promotional, 'acme/news')", person)
    assert not asked("in_list('x') or consent(promotional) or utm.last.term = 'shoes'", person)
    assert asked("bucket >= 0 and bucket < 10000 and number starts_with '+44'", person)
    nobody = Person()
    assert not asked("in_list('vip') or bucket >= 0 or rfm.r > 0 or number exists", nobody)


def test_first_access_within_three_days():
    """S2.17."""
    assert asked("first_seen within 3d", fields={"first_seen": NOW - timedelta(days=2)})
    assert not asked("first_seen within 3d", fields={"first_seen": NOW - timedelta(days=3)})


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("clicked", [True, False])
@pytest.mark.parametrize("bought", [True, False])
@pytest.mark.parametrize("logged_in", [True, False])
def test_signs_of_life_are_combined(opened, clicked, bought, logged_in):
    """S0.10: the whole table of truth."""
    signs = {"email_opened": opened, "email_clicked": clicked, "order_placed": bought, "logged_in": logged_in}
    events = [
        Event(name=name, occurred_at=NOW - timedelta(days=1 if is_recent else 90)) for name, is_recent in signs.items()
    ]
    text = "not (did(email_opened, 60d) or did(email_clicked, 60d) or did(order_placed, 60d) or did(logged_in, 60d))"
    assert asked(text, events=events) is not any(signs.values())


def test_places_are_near_by_the_great_circle():
    assert round(distance_km(52.52, 13.405, 48.8566, 2.3522)) == 877
    assert asked("near(52.5, 13.4, 5km)", attributes={"location": {"lat": 52.52, "lon": 13.405}})
    assert not asked("near(52.5, 13.4, 5km)", attributes={"location": {"lat": "52.52", "lon": 13.405}})


def test_the_name_of_another_audience_is_no_condition_yet():
    with pytest.raises(ValueError, match="in its place"):
        matches(InSegment("x"), Person(), Terms(now=NOW))
