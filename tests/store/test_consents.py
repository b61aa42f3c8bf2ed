"""The ledger in Postgres: one chain for each number whoever writes, the state beside it, every tampering named."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.campaign.consent import proof_of_stop, states_of
from gateway.consent import Fact, State, faults_of
from gateway.store import consents, stops
from tests.fixtures.database import ON_POSTGRES, Database

pytestmark = ON_POSTGRES
AT = datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)
NUMBER = 447700900001


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    yield await database.connect()


def grant(number: int = NUMBER, **how: Any) -> Fact:
    values = {
        "brand": "acme", "class_": "promotional", "action": "grant", "source": "form", "recorded_at": AT,
        "effective_at": AT - timedelta(days=1), "method": "box ticked", "wording": "Texts of Acme, 4 a month",
    }  # fmt: skip
    return Fact(number=number, **{**values, **how})


async def faults(connection: Any, number: int = NUMBER) -> list[str]:
    rows = (await consents.rows_of(connection, [number]))[number]
    return faults_of(rows.links, rows.head_id, rows.head_hash)


async def test_cn_1_rows_come_back_as_they_were_and_their_chain_is_whole(connection: Any) -> None:
    facts = [
        grant(
            url="https://acme.example/join",
            ip="2001:db8::1",
            agent="Mozilla",
            proof=b"\x00\xff",
            message_id=7,
            wording_version="3",
        ),
        grant(action="revoke", source="keyword", effective_at=None, wording="STOP ’😀"),
        grant(NUMBER + 1),
    ]
    assert await consents.append(connection, facts, states_of) == 3
    rows = await consents.rows_of(connection, [NUMBER, NUMBER + 1])
    assert [link.fact for link in rows[NUMBER].links] == facts[:2] and len(rows[NUMBER + 1].links) == 1
    assert await faults(connection) == [] == await faults(connection, NUMBER + 1)


async def test_cn_2_state_is_kept_beside_the_rows_and_a_rebuild_finds_the_same(connection: Any) -> None:
    await consents.append(connection, [grant(), grant(class_="night"), grant(brand="acme/news")], states_of)
    await consents.append(
        connection, [grant(action="revoke", class_="all", source="api", effective_at=AT, brand="acme")], states_of
    )
    kept = (await consents.states_of(connection, [NUMBER]))[NUMBER]
    rows = (await consents.rows_of(connection, [NUMBER]))[NUMBER]
    assert kept == states_of([link.fact for link in rows.links])
    assert kept["acme"].promotional == kept["acme"].night == kept["acme/news"].promotional == State.REVOKED


async def test_cn_1_sixty_four_writers_on_one_number_leave_one_whole_chain(database: Database) -> None:
    connections = [await database.connect() for _ in range(16)]

    async def write(writer: int) -> None:
        connection = connections[writer % 16]
        async with locks[writer % 16]:
            await consents.append(connection, [grant(wording=f"text {writer}"), grant(NUMBER + 256)], states_of)

    locks = [asyncio.Lock() for _ in connections]
    async with asyncio.timeout(60):
        await asyncio.gather(*(write(writer) for writer in range(64)))
    rows = (await consents.rows_of(connections[0], [NUMBER]))[NUMBER]
    assert len({link.fact.wording for link in rows.links}) == 64 == rows.head_id
    assert await faults(connections[0]) == [] == await faults(connections[0], NUMBER + 256)


@pytest.mark.parametrize(
    ("tampering", "named"),
    [
        ("UPDATE consent SET wording = 'other' WHERE id = 2", "row 2 was changed"),
        ("UPDATE consent SET effective_at = effective_at - interval '1 microsecond' WHERE id = 3", "row 3 was changed"),
        ("DELETE FROM consent WHERE id = 2", "row 2 is missing"),
        ("DELETE FROM consent WHERE id = 4", "the last one that is there is 3"),
        ("DELETE FROM consent WHERE id IN (1, 2)", "rows 1 to 2 are missing"),
        ("UPDATE consent SET id = CASE id WHEN 2 THEN 3 ELSE 2 END + 10 WHERE id IN (2, 3);"
         "UPDATE consent SET id = id - 10 WHERE id > 10", "row 2 does not follow row 1"),
        ("UPDATE consent_head SET hash = '\\x00'", "the head does not agree with row 4"),
    ],
)  # fmt: skip
async def test_cn_1_a_changed_missing_or_exchanged_row_is_found_and_named(
    connection: Any, tampering: str, named: str
) -> None:
    await consents.append(connection, [grant(wording=f"text {at}") for at in range(4)], states_of)
    await connection.execute(tampering)
    assert named in "; ".join(await faults(connection))


async def test_cn_10_a_stop_of_the_feed_is_proven_in_the_ledger_exactly_once(database: Database) -> None:
    connection, other = await database.connect(), await database.connect()
    await consents.append(connection, [grant()], states_of)
    await stops.enter_heard(connection, [(NUMBER, "*", True)], at=AT, note="acme 5")
    await stops.enter(connection, [NUMBER + 1], ["*"], is_stop=True, at=AT, source="invalid")

    async def prove(using: Any) -> int:
        return await consents.prove(using, proof_of_stop, states_of)

    await asyncio.gather(prove(connection), prove(other))
    assert await prove(connection) == 0
    # As after a crash between the rows and the note.
    await connection.execute("UPDATE consent_upto SET seq = 1")
    assert await prove(connection) == 2
    rows = await consents.rows_of(connection, [NUMBER, NUMBER + 1])
    assert [link.fact.action for link in rows[NUMBER].links] == ["grant", "revoke"]
    assert [link.fact.action for link in rows[NUMBER + 1].links] == ["suppress"]
    assert (await consents.states_of(connection, [NUMBER]))[NUMBER]["acme"].promotional == State.REVOKED


async def test_cn_9_a_start_of_the_feed_restores_what_the_handset_had_granted(connection: Any) -> None:
    await consents.append(connection, [grant()], states_of)
    await stops.enter_heard(connection, [(NUMBER, "*", True)], at=AT)
    await stops.enter_heard(connection, [(NUMBER, "*", False)], at=AT + timedelta(minutes=1))
    await consents.prove(connection, proof_of_stop, states_of)
    assert (await consents.states_of(connection, [NUMBER]))[NUMBER]["acme"].promotional == State.GRANTED


async def test_cn_11_the_copy_of_the_feed_says_why_a_number_is_suppressed(connection: Any) -> None:
    await stops.enter(connection, [NUMBER], ["*"], is_stop=True, at=AT, source="sunset")
    await stops.copy(connection)
    assert await connection.fetchval("SELECT source FROM suppression WHERE number = $1::bigint", NUMBER) == "sunset"


async def test_cn_2_the_page_that_the_gate_reads_changes_with_the_state(connection: Any) -> None:
    await consents.append(connection, [grant(), grant(NUMBER + 1)], states_of)
    asked = "SELECT numbers, states FROM consent_page WHERE brand = 'acme' AND numbers = int8send($1::bigint)"
    assert (await connection.fetchrow(asked, NUMBER))["states"] == bytes([State.GRANTED])
    await consents.append(connection, [grant(action="revoke", class_="all", effective_at=AT)], states_of)
    everything = State.REVOKED | State.REVOKED << 2 | State.REVOKED << 4
    assert (await connection.fetchrow(asked, NUMBER))["states"] == bytes([everything])
