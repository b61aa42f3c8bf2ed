"""Audiences in Postgres: every statement against the meaning in Python."""

import asyncio
import json
from datetime import timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.campaign import evaluation
from gateway.campaign.audience import parse
from gateway.predicate import Attribute, Compare, Moment, Money
from gateway.store import audiences
from tests.fixtures.audiences import GOOD_TIMES, LEAVES, NOW, NUMBERS, TEXTS, crowd, trees, write_people
from tests.fixtures.citus_rules import faults_of_all_lanes

ZONES = [ZoneInfo(name) for name in ("UTC", "America/Havana", "Asia/Beirut", "Europe/Berlin", "Pacific/Kiritimati")]
MICROSECOND = timedelta(microseconds=1)
INSTANTS = tuple(NOW + timedelta(seconds=s) for s in (0, -1, 60, 3600, 86_400, 40 * 86_400))
# Where the schema has no consents yet: as the statements ask for them.
CONSENT = """
CREATE TABLE IF NOT EXISTS consent_state (
    bucket int NOT NULL, number bigint NOT NULL, brand text NOT NULL, promotional smallint NOT NULL,
    transactional smallint NOT NULL, night smallint NOT NULL, since timestamptz NOT NULL,
    PRIMARY KEY (bucket, number, brand))
"""


PEOPLE = crowd(200)


class Loop:
    """A loop of its own and a connection on it, since hypothesis calls plain functions."""

    def __init__(self, dsn):
        self._loop = asyncio.new_event_loop()
        # A zone that no statement may depend on.
        self.connection = self.run(asyncpg.connect(dsn, server_settings={"TimeZone": "Australia/Lord_Howe"}))
        self.run(self.connection.execute(CONSENT))
        self.run(write_people(self.connection, PEOPLE))

    def run(self, waits):
        """Wait for something."""
        return self._loop.run_until_complete(waits)

    def close(self):
        """Close both."""
        self.run(self.connection.close())
        self._loop.close()


@pytest.fixture
def peopled(dsn):
    """The people of PEOPLE in a database, their ids from 1."""
    found = Loop(dsn)
    yield found
    found.close()


async def found_by_postgres(connection, tree, terms, *, by_person):
    """Who is in the audience, and when each may change, by id."""
    compiled = audiences.compile(tree, terms, by_person=by_person, with_changes=True)
    columns = f"p.id, ({compiled.condition}) IS TRUE AS is_in, {compiled.next_change} AS next"
    sql = f"SELECT {columns} FROM profile p{compiled.joins}"
    assert faults_of_all_lanes(sql) == [], sql
    changing = {row["id"]: (row["is_in"], row["next"]) for row in await connection.fetch(sql, *compiled.parameters)}
    plain = audiences.compile(tree, terms, by_person=by_person, buckets=(0, 255))
    ids = {row["id"] for row in await connection.fetch(plain.select("p.id"), *plain.parameters)}
    assert ids == {person for person, (is_in, _) in changing.items() if is_in}, tree
    return changing


def found_by_python(tree, now, zone):
    """Who is in the audience by its meaning."""
    terms = evaluation.Terms(now=now, zone=zone, salt="salt")
    return {at: evaluation.matches(tree, person, terms) for at, person in enumerate(PEOPLE, 1)}


@pytest.mark.covers("S0.14")
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tree=st.one_of(LEAVES, LEAVES, trees()),
    now=st.sampled_from(INSTANTS),
    zone=st.sampled_from(ZONES),
    by_person=st.booleans(),
)
def test_postgres_and_python_agree_on_every_tree_person_and_instant(peopled, tree, now, zone, by_person):
    """SG-1 to SG-4, EV-8: who belongs; and nobody comes or goes before next_change_at without an event."""
    found = peopled.run(
        found_by_postgres(
            peopled.connection, tree, audiences.Terms(now=now, zone=zone, salt="salt"), by_person=by_person
        )
    )
    expected = found_by_python(tree, now, zone)
    different = {person for person, (is_in, _) in found.items() if is_in != expected[person]}
    assert not different, (tree, [PEOPLE[person - 1] for person in different][:1])
    assert all(next_change is None or next_change > now for _, next_change in found.values())
    nexts = sorted({next_change for _, next_change in found.values() if next_change is not None})
    later = [now + timedelta(seconds=s) for s in (1, 3599, 86_399, 3 * 86_400, 61 * 86_400, 3 * 365 * 86_400)]
    for at in {*later, *(one - MICROSECOND for one in nexts[:: max(1, len(nexts) // 6)] if one - MICROSECOND > now)}:
        then = found_by_python(tree, at, zone)
        early = [
            person
            for person, (is_in, next_change) in found.items()
            if (next_change is None or at < next_change) and then[person] != is_in
        ]
        assert not early, (tree, at, [(found[person], PEOPLE[person - 1]) for person in early][:1])


CITY = Attribute(("city",))


def orders(value):
    """Whether something is less or more than a value."""
    return value is not None and not isinstance(value, bool)


TIMED = (
    "orders.last > {}",
    "orders.last < {}",
    "first_seen within {}",
    "last(visit) > {}",
    "count(visit, {}) >= 1",
    "count(visit, {}) < 2",
    "count(order, {}) > 1",
    "last_seen within next {}",
    "since > {}",
    "last(visit, {}) exists",
)


@pytest.mark.parametrize("text", TIMED)
@pytest.mark.parametrize("by", ["3h", "2d", "2d calendar", "1mo"])
def test_one_condition_on_time_changes_exactly_when_it_is_said_to(peopled, text, by):
    """SG-4: at next_change_at the answer is another one, in every zone."""
    tree = parse(text.format(by))
    turns = 0
    for zone in ZONES:
        found = peopled.run(
            found_by_postgres(peopled.connection, tree, audiences.Terms(now=NOW, zone=zone), by_person=False)
        )
        nexts = {next_change for _, next_change in found.values() if next_change is not None}
        for at in sorted(nexts)[:: max(1, len(nexts) // 5)]:
            terms = audiences.Terms(now=at, zone=zone)
            then = peopled.run(found_by_postgres(peopled.connection, tree, terms, by_person=False))
            assert {person: is_in for person, (is_in, _) in then.items()} == found_by_python(tree, at, zone), at
        for person, (is_in, next_change) in found.items():
            who = PEOPLE[person - 1]
            # An event that is still to come may keep a count where it is.
            if next_change is not None and not any(event.occurred_at > NOW for event in who.events):
                terms = evaluation.Terms(now=next_change, zone=zone)
                assert evaluation.matches(tree, who, terms) != is_in, (who, next_change)
                turns += 1
    assert turns or text.startswith(("last_seen", "since"))


LITERALS = (*TEXTS, *NUMBERS, True, False, None, *(Moment(one) for one in GOOD_TIMES), *GOOD_TIMES)
MONEYS = tuple(Money(amount, currency) for amount in ("0", "10", "10.50") for currency in ("EUR", "JPY"))
PATTERNS = ("B*n", "?e*", "*", "a%*", "caf?", "*\n?", "a_b*", "*\\")
EACH_VALUE = [
    *(Compare(CITY, op, value) for op in ("=", "!=") for value in (*LITERALS, *MONEYS)),
    *(Compare(CITY, op, value) for op in ("<", "<=", ">", ">=") for value in (*LITERALS, *MONEYS) if orders(value)),
    *(Compare(CITY, op, value, ci=True) for op in ("=", "!=", "contains", "starts_with") for value in TEXTS),
    *(Compare(CITY, op, value) for op in ("contains", "starts_with", "matches") for value in (*TEXTS, *PATTERNS)),
    *(Compare(CITY, "matches", value, ci=True) for value in (*TEXTS, *PATTERNS)),
    *(Compare(CITY, "contains", value) for value in (*NUMBERS, True, False)),
    *(Compare(CITY, op, among=LITERALS[at : at + 4]) for op in ("in", "not_in") for at in range(0, len(LITERALS), 3)),
    *(
        Compare(CITY, op, among=TEXTS[at : at + 4], ci=True)
        for op in ("in", "not_in")
        for at in range(0, len(TEXTS), 3)
    ),
    *(
        Compare(CITY, op, value, each=each)
        for each in ("any", "all", "none")
        for op in ("=", "!=")
        for value in LITERALS
    ),
]


def test_every_operator_with_every_value_says_what_it_means(peopled):
    """EV-8: each against whatever an attribute may hold."""
    terms = audiences.Terms(now=NOW)
    matched = 0
    for tree in EACH_VALUE:
        compiled = audiences.compile(tree, terms)
        rows = peopled.run(peopled.connection.fetch(compiled.select("p.id"), *compiled.parameters))
        expected = {person for person, is_in in found_by_python(tree, NOW, terms.zone).items() if is_in}
        assert {row["id"] for row in rows} == expected, tree
        matched += bool(expected)
    assert matched > len(EACH_VALUE) * 0.8


ODD_NAMES = [
    ("points",),
    ("a", "b.c", "d"),
    ("last",),
    ("",),
    ('say "x"',),
    ("back\\slash", "'"),
    ("$", "*"),
    ("\n\t\x01\x7f",),
    ("\u2028", "ключ", "😀"),
]


@pytest.mark.parametrize("names", ODD_NAMES)
def test_more_than_a_number_is_asked_of_any_name_and_of_numbers_alone(peopled, names):
    """EV-8: a number, or a string that is one to the last digit; an array is not asked for what is in it."""
    compiled = audiences.compile(Compare(Attribute(names), ">", 500), audiences.Terms(now=NOW))
    sql = (
        f"SELECT ({compiled.condition}) IS TRUE "
        f"FROM (SELECT ${len(compiled.parameters) + 1}::text::jsonb AS attributes) p"
    )
    more = ["501", "500.00000000000000000001", '"600"', '"500.00000000000000000001"', "1e300"]
    others = ["500", "-501", '"500"', '"many"', "[600]", '{"": 600}', "true", "null"]
    for value in more + others:
        attributes = value
        for name in reversed(names):
            attributes = f"{{{json.dumps(name)}: {attributes}}}"
        assert peopled.run(peopled.connection.fetchval(sql, *compiled.parameters, attributes)) == (value in more), value
    assert not peopled.run(peopled.connection.fetchval(sql, *compiled.parameters, "{}"))
