"""A preview says what the gate does: to the last person, at the same instant, and it leaves no trace."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _fastpath import gate as compiled
from _fastpath.peoplerows import bucket
from gateway.campaign.audience import parse
from gateway.campaign.evaluation import Person
from gateway.commands._gated import freeze_run
from gateway.config import CarrierSettings
from gateway.dispatch.admission import Admission, Asked
from gateway.dispatch.clock import Clock
from gateway.dispatch.compose import form_of
from gateway.dispatch.preview import Preview, chain, preview, silent, suppressed_of
from gateway.gate import Cap, Gate
from gateway.message import MessageClass
from gateway.reasons import Reason
from gateway.store import admission, considered, postgres, queue, runs, stops
from gateway.store.audiences import Terms
from gateway.store.migrate import migrate
from tests.fixtures.audiences import write_people
from tests.fixtures.pages import contacts_of, note_contacts

pytestmark = pytest.mark.database
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
# London, New York, California, Korea, Brazil; neighbours share pages.
FIRSTS = (447700900000, 12125550100, 14155550100, 821012345000, 5511912345000)
ZONES = ("Europe/London", "Asia/Tokyo", "America/New_York", "Mars/Base")
TABLES = (
    "profile, consent_state, consent_page, contact_page, suppression, stop_feed, endpoint, run, chunk, chunk_payload, "
    "list_entry, contact_list, run_skipped, conversation"
)
CARRIER = CarrierSettings(host="127.0.0.1", port=1, system_id="test", password="x")
EVERYONE = parse("everyone")
# Of whom something was said: most of the brand, some of its programme, or of both (CN-7).
SAID = {"acme": 0.9, "acme/club": 0.3}

GATES = st.builds(
    Gate,
    brand=st.just("acme"),
    programme=st.sampled_from(["", "club"]),
    needs=st.sampled_from(["none", "transactional", "promotional"]),
    caps=st.lists(
        st.builds(
            Cap,
            limit=st.integers(0, 2),
            per=st.sampled_from(["day", "week", "36h", "7d"]),
            classes=st.just(("transactional", "triggered", "bulk")),
            tags=st.sampled_from([(), ("exclusive",)]),
            scope=st.sampled_from(["brand", "endpoint", "sender"]),
        ),
        max_size=2,
    ).map(tuple),
    gap_s=st.sampled_from([0, 600, 7200]),
    on_cap=st.sampled_from(["skip", "defer"]),
    outside=st.sampled_from(["hold", "skip"]),
    windows=st.sampled_from([{}, {"shop": "09:00-18:00"}, {"shop": {"tue-fri": ["10:00-12:00"]}}]),
    bypass=st.sampled_from(["", "recall"]),
)


async def people_of(connection: Any, chance: random.Random, now: datetime) -> None:
    """Write a crowd down: numbers that are shared, or none; consents; zones; contacts; STOPs, not all copied yet."""
    await connection.execute(f"TRUNCATE {TABLES}")
    await connection.execute("UPDATE stop_head SET seq = 0")
    await connection.execute("UPDATE suppression_upto SET seq = 0")
    numbers = [first + chance.randrange(12) for first in FIRSTS for _ in range(10)]
    await write_people(connection, [Person(number=one if chance.random() < 0.9 else None) for one in numbers])
    known = sorted(set(numbers))
    brand = await admission.id_of(connection, "brand", "acme")
    tag = 1 << await admission.id_of(connection, "tag", "exclusive")
    for name in ZONES:
        await admission.id_of(connection, "zone", name)
    await connection.executemany(
        "INSERT INTO endpoint (bucket, number, attributes, created_at, updated_at, zone) "
        "VALUES ($1, $2, '{}', $3, $3, $4)",
        [(bucket(one), one, now, chance.choice(ZONES)) for one in known if chance.random() < 0.4],
    )
    await connection.executemany(
        "INSERT INTO consent_state (bucket, number, brand, promotional, transactional, night) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        [
            (bucket(one), one, name, chance.choice((0, 1, 2, 2, 2, 2, 3)), chance.randrange(4), chance.choice((0, 2)))
            for name, share in SAID.items()
            for one in known
            if chance.random() < share
        ],
    )
    await admission.refresh_consent_pages(connection, [(one, name) for name in SAID for one in known])
    for at in range(6):
        some = chance.sample(known, len(known) // 4)
        how = {"class_": chance.choice((3, 4, 5)), "brand": chance.choice((0, brand)), "tags": chance.choice((0, tag))}
        kind, when = chance.choice((0, 1, 1, 2)), now - timedelta(minutes=chance.choice((-8, 3, 45, 600, 2000, 9000)))
        if kind or when > now:
            await note_contacts(connection, some, when, run=100 + at, kind=kind, **how)
    await connection.executemany(
        "INSERT INTO conversation (bucket, id, number, inbox, brand, sender, lane, state, opened_at, closed_at, "
        "has_person) VALUES ($1, $2, $2, 'desk', 'acme', '1', 1, $3, $4, $5, $6)",
        [
            (bucket(one), one, 0 if ago is None else 2, now, None if ago is None else now - timedelta(hours=ago), talks)
            for one in chance.sample(known, 12)
            for ago, talks in [(chance.choice((None, 1, 23, 25)), chance.random() < 0.8)]
        ],
    )
    for source in ("keyword", "complaint", "erased", "invalid"):
        some = chance.sample(known, 3)
        await stops.enter(connection, some, ["*"] * 3, is_stop=True, at=now, source=source)
        if source == "complaint":
            await stops.copy(connection)


async def gate_says(
    dsn: str, connection: Any, lane: int, gate: Gate, class_: MessageClass, terms: Terms
) -> dict[int, int]:
    """Send to everyone: enqueue, claim, ask the gate; -> how many of each verdict or reason, people in no chunk too."""
    run = await freeze_run(
        connection, name="run", source="audience everyone", template="Hello", fields=(), class_=class_, policy="once",
        lanes=[lane], tree=EVERYONE, terms=terms, gate=gate,
    )  # fmt: skip
    await runs.materialise(connection, run, [1], run.recipients, terms.now)
    found = dict(await considered.skipped(connection, run.id))
    clock = Clock(monotonic=lambda: terms.now.timestamp(), wall=lambda: terms.now)
    asked = Admission(lambda: postgres.connect(dsn), clock, 10.0)
    suppressed = await suppressed_of(connection, class_, "")
    claimed = await queue.claim(connection, lane, "me", terms.now, 64)
    for batch in claimed.batches:
        batch.dress(form_of("Hello", CARRIER), suppressed=suppressed)
    if claimed.batches:
        await asked.admit([Asked(claimed.batches, run, "")])
    for batch in claimed.batches:
        for pos in range(batch.n):
            verdict = batch.verdict(pos) or 0
            found[verdict] = found.get(verdict, 0) + 1
    await asked.close()
    return found


def totals(found: Preview) -> dict[int, int]:
    added = dict(found.skipped)
    for verdict, number in found.verdicts.items():
        added[verdict] = added.get(verdict, 0) + number
    return added


@pytest.mark.covers("S4.31", "S2.25")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gate=GATES,
    class_=st.sampled_from([MessageClass.TRANSACTIONAL, MessageClass.TRIGGERED, MessageClass.BULK, MessageClass.OTP]),
    seed=st.integers(0, 2**32),
    hour=st.integers(0, 47),
)
def test_a_preview_equals_the_gate_at_the_same_instant_SG_10(
    dsn: str, gate: Gate, class_: MessageClass, seed: int, hour: int
) -> None:
    """Invariant 7: whatever people, consents, zones, contacts, STOPs, caps and windows there are."""

    async def compare() -> None:
        await migrate(dsn)
        connection = await postgres.connect(dsn)
        terms = Terms(now=MONDAY + timedelta(hours=hour, minutes=seed % 60))
        lane = await runs.lane_of(connection, "acme", MONDAY)
        await people_of(connection, random.Random(seed), terms.now)
        rows = "SELECT (SELECT count(*) FROM contact_page), (SELECT count(*) FROM run), (SELECT max(id) FROM brand)"
        before = await connection.fetchrow(rows)
        expected = await preview(connection, EVERYONE, terms, gate, class_=class_)
        assert await connection.fetchrow(rows) == before, "a preview leaves no trace"
        assert totals(expected) == await gate_says(dsn, connection, lane, gate, class_, terms)
        # Of everybody there is exactly one end.
        assert sum(totals(expected).values()) == expected.people == 50
        await postgres.close(connection)

    asyncio.run(compare())


async def test_a_brand_and_a_tag_that_nobody_has_used_get_no_number_by_a_preview(dsn: str) -> None:
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    await write_people(connection, [Person(number=FIRSTS[0])])
    gate = Gate(brand="new", needs="none", tags=("fresh",), caps=(Cap(limit=1, per="7d", tags=("fresh",)),))
    terms = Terms(now=MONDAY + timedelta(hours=12))
    found = await preview(connection, EVERYONE, terms, gate, class_=MessageClass.BULK)
    assert (found.reachable, found.by_word) == (1, {})
    assert await connection.fetchval("SELECT count(*) FROM brand") == 0
    assert await connection.fetchval("SELECT count(*) FROM tag") == 0
    await postgres.close(connection)


async def test_of_one_number_every_check_is_told_to_its_end(dsn: str) -> None:
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    now, number = MONDAY + timedelta(hours=23), FIRSTS[0]
    await stops.enter(connection, [number], ["*"], is_stop=True, at=now, source="complaint")
    await stops.copy(connection)
    await note_contacts(connection, [number], now - timedelta(hours=1))
    gate = Gate(brand="acme", caps=(Cap(limit=1, per="7d", scope="endpoint"),), gap_s=7200, spread_s=0)
    run = await runs.add_run(
        connection, name="spring", template="x", fields=(), class_=5, policy="once", lanes=[], list_id=None,
        source=None, now=now, gate=gate,
    )  # fmt: skip
    found = await chain(connection, run, gate, number, now)
    opens = MONDAY + timedelta(days=1, hours=9)
    assert found.checks == [
        ("suppressed", Reason.COMPLAINT, None),
        ("consent", Reason.NO_CONSENT, None),
        ("refused", 0, None),
        ("window", 1, opens),
        ("legal cap", 0, None),
        ("cap", -100, None),
        ("gap", Reason.MIN_GAP, None),
        ("talk", 0, None),
    ]
    assert found.verdict == (Reason.COMPLAINT, None)
    assert found.caps[0] == ("1 per 7d a endpoint", 1, 1) and found.zone == "Europe/London"
    assert [window.is_open for window in found.windows] == [False]
    assert await contacts_of(connection, run.id) == []
    await postgres.close(connection)


@pytest.mark.covers("S1.30", "S4.52")
async def test_who_has_agreed_can_be_reached_and_was_sent_nothing_for_so_long_is_named_CP_9(dsn: str) -> None:
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    now, people = datetime.now(UTC), [447700900000 + at for at in range(10)]
    await connection.executemany(
        "INSERT INTO consent_state (bucket, number, brand, promotional, transactional, night) "
        "VALUES ($1, $2, $3, $4, 0, 0)",
        [(bucket(number), number, "acme", 3 if at == 9 else 2) for at, number in enumerate(people)],
    )
    await admission.refresh_consent_pages(connection, [(number, "acme") for number in people])
    brand = await admission.id_of(connection, "brand", "acme")
    day = timedelta(days=1)
    await note_contacts(connection, people[:3], now - 59 * day, run=7, brand=brand)
    await note_contacts(connection, people[3:5], now - 61 * day, run=8, brand=brand)
    # What came to nothing was not received, and what another brand wrote is not of this one.
    await note_contacts(connection, people[:1], now - 59 * day, run=7, brand=brand, kind=compiled.RETURNED)
    await note_contacts(connection, people[5:6], now - day, run=9, brand=brand + 1)
    await stops.enter(connection, [people[6]], ["*"], is_stop=True, at=now, source="keyword")
    found = sorted([number async for some in silent(connection, "acme", 60, now) for number in some])
    assert found == [people[0], *people[3:6], *people[7:9]]
    # Of a programme: who has agreed to the brand, and has not said no to the programme itself (CN-7).
    club = [(bucket(number), number, "acme/club", state) for number, state in ((people[0], 3), (people[9], 2))]
    await connection.executemany(
        "INSERT INTO consent_state (bucket, number, brand, promotional, transactional, night) "
        "VALUES ($1, $2, $3, $4, 0, 0)",
        club,
    )
    await admission.refresh_consent_pages(connection, [(number, name) for _, number, name, _ in club])
    found = sorted([number async for some in silent(connection, "acme", 60, now, programme="club") for number in some])
    assert found == [*people[3:6], *people[7:10]]
    assert [number async for some in silent(connection, "nobody", 60, now) for number in some] == []
    await connection.close()
