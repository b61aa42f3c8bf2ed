"""What the gate asks Postgres: names that become numbers, chunks that wait, and locks that others wait for."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from _fastpath.batch import Batch
from _fastpath.gate import Questions, Rules, Zones, contacts
from gateway.store import admission, queue, runs
from tests.fixtures.campaign import make_run, numbers
from tests.fixtures.database import Database
from tests.fixtures.pages import contacts_of, note_contacts, set_consent

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    connection = await database.connect()
    await runs.ensure_partitions(connection, NOW)
    yield connection


async def test_a_name_has_one_number_however_many_ask_for_it_at_once(database: Database, connection: Any) -> None:
    others = [await database.connect() for _ in range(8)]
    found = await asyncio.gather(*(admission.id_of(one, "brand", "acme") for one in others))
    assert set(found) == {1} and await admission.id_of(connection, "brand", "other") == 2
    assert await admission.id_of(connection, "tag", "sale") == 0
    zone = await admission.id_of(connection, "zone", "Europe/Berlin")
    assert await admission.zone_names(connection) == {zone: "Europe/Berlin"}


async def test_consent_and_contacts_come_back_for_those_who_were_asked_for(connection: Any) -> None:
    people = numbers(500)
    await set_consent(connection, "acme", people[:300], zone=7)
    await set_consent(connection, "other", people[300:])
    await note_contacts(connection, people[100:200], NOW - timedelta(days=2), run=9)
    await note_contacts(connection, people, NOW - timedelta(days=9), run=8)
    questions = Questions([Batch.of(1, list(people))], Zones([0], [1]))
    spans = questions.spans()
    questions.read_consent(await admission.consent(connection, spans, "acme"))
    assert questions.keys() == {(1, 7, False), (1, 0, False)}
    octets = await admission.contacts(connection, spans, NOW - timedelta(days=7), NOW)
    questions.read_contacts(octets)
    assert await contacts_of(connection, 9) == list(people[100:200])


async def test_who_decides_about_the_same_people_waits_for_the_first_to_end(
    database: Database, connection: Any
) -> None:
    other = await database.connect()
    async with connection.transaction():
        await admission.hold_buckets(connection, [7, 3])
        async with other.transaction():
            await admission.hold_buckets(other, [4, 8])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await admission.hold_buckets(other, [3])


async def test_a_chunk_that_waits_is_not_claimed_before_its_moment(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await make_run(connection, numbers(10), [lane], now=NOW)
    (batch,) = (await queue.claim(connection, lane, "me", NOW, 9)).batches
    later = NOW + timedelta(hours=3)
    assert await admission.put_off(connection, lane, [(batch.chunk_id, batch.epoch, 4, later)]) == 1
    assert (await queue.claim(connection, lane, "me", later - timedelta(seconds=1), 9)).batches == []
    (again,) = (await queue.claim(connection, lane, "me", later, 9)).batches
    assert (again.run, again.next_rank) == (run.id, 4)
    # Who has lost it puts nothing off.
    assert await admission.put_off(connection, lane, [(batch.chunk_id, batch.epoch, 4, later)]) == 0


async def test_what_waits_and_is_set_aside_twice_waits_once(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await make_run(connection, numbers(10), [lane], now=NOW)
    (batch,) = (await queue.claim(connection, lane, "me", NOW, 9)).batches
    for _ in range(2):
        assert await admission.put_aside(
            connection,
            lane,
            batch.chunk_id,
            batch.epoch,
            {NOW + timedelta(hours=1): [1, 2], NOW + timedelta(hours=2): [3]},
            NOW,
        )
    rows = await connection.fetch(
        "SELECT n, not_before FROM chunk WHERE run = $1 AND repeats IS NOT NULL ORDER BY id", run.id
    )
    assert [(row["n"], (row["not_before"] - NOW) / timedelta(hours=1)) for row in rows] == [(2, 1), (1, 2)]
    assert await admission.set_aside(connection, lane, [batch.chunk_id, 7]) == {batch.chunk_id: {1, 2, 3}}


async def test_what_is_no_contact_row_is_refused_whole(connection: Any) -> None:
    octets = contacts([447700900001], Rules(run=1, class_=5), 1, 10**15)
    with pytest.raises(Exception, match="COPY|copy|EOF|unexpected"):
        await admission.reserve(connection, octets[:-12])
    assert await contacts_of(connection, 1) == []
