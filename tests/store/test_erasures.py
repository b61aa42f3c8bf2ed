"""Erasure: rule CN-12. Nothing of a number and its persons is left, its number stays as a keyed hash."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from _fastpath.gate import page
from gateway.campaign.consent import proof_of_stop, states_at
from gateway.consent import Fact, faults_of
from gateway.erasure import derived
from gateway.errors import StoreError
from gateway.link import read_token
from gateway.person import Item, Who, hash_of
from gateway.store import consents, erasures, experiments, identities, links, lists, pages, people, runs, stops
from gateway.store.links import Click, Wanted
from gateway.store.pages import Entry
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBER, OTHER = 447700900123, 447700900124
KEY = derived(bytes(32))
PSEUDONYM = KEY.of([NUMBER])[0]
LANE = 1
# Digits and names that nothing may show behind an erasure.
TRACES = ("447700900123", "ada@example.org", "Ada", "hello from ada")


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


def fold(facts: Any) -> Any:
    return states_at(facts, NOW)


async def populate(connection: Any) -> int:
    """Fill every table that knows of persons with one who is to be erased and one who is to stay; -> the run."""
    await runs.ensure_partitions(connection, NOW)
    assert await runs.lane_of(connection, "acme", NOW) == LANE
    for number, name in ((NUMBER, "Ada"), (OTHER, "Bob")):
        who = Who(external_id=f"c-{name}", email=f"{name.lower()}@example.org", phone=number)
        told = [
            Item(who=who, attributes={"first_name": name}, occurred_at=NOW),
            Item(who=who, name="visit", occurred_at=NOW, properties={"said": f"hello from {name.lower()}"}),
            Item(who=who, name="order_placed", occurred_at=NOW, properties={"order_id": name, "total": 5}),
        ]
        await ingest(connection, told, NOW, Random(number))
    found = await people.open_list(
        connection, "vip", source_name="hand", source_sha256=b"", fields=["first_name"], now=NOW
    )
    await people.finish_list(connection, found.id, NOW)
    await lists.add(connection, found.id, [NUMBER, OTHER], "hand", NOW, Random(1))
    facts = [
        Fact(
            number=number, brand="acme", class_="promotional", action="grant", source="form", method="box ticked",
            wording=f"Texts of Acme to {name}", recorded_at=NOW, effective_at=NOW, ip="192.0.2.1",
        ) for number, name in ((NUMBER, "Ada"), (OTHER, "Bob"))
    ]  # fmt: skip
    await consents.append(connection, facts, fold)
    for number, note in ((NUMBER, "447700900123 Ada"), (OTHER, "Bob")):
        await stops.enter(connection, [number], ["*"], is_stop=True, at=NOW, source="keyword", note=note)
    await consents.prove(connection, proof_of_stop, fold)
    run = await runs.add_run(
        connection, name="spring", template="Hi {first_name}", fields=("first_name", "city"), class_=5, policy="once",
        lanes=[LANE], list_id=None, source=None, now=NOW,
    )  # fmt: skip
    params = [["Bob", "Rome"], ["Ada", "Bonn"], ["Bob", None]]
    chunk = await runs.enqueue_few(connection, run, LANE, [OTHER, NUMBER, OTHER], params, NOW)
    await connection.execute(
        "INSERT INTO receipt (chunk_id, at, lane, pos, number, segment, state, raw) "
        "VALUES ($1, $2, 1, 1, $3, 0, 2, $4)",
        chunk, NOW, NUMBER, b"id:1 text:hello from ada",
    )  # fmt: skip
    for table in ("receipt_waiting", "orphan_receipt"):
        await connection.execute(
            f"INSERT INTO {table} (lane, at, number, other, state, message_id, raw) VALUES (1, $1, $2, $3, 2, 'x', $4)",
            NOW, OTHER, NUMBER, b"text:hello from ada",
        )  # fmt: skip
    for at, source in enumerate(("+447700900123", "07700900123", str(OTHER))):
        await connection.execute(
            "INSERT INTO inbound (lane, id, at, command, source, destination, esm_class, data_coding, octets, pdu) "
            "VALUES (1, $1, $2, 'deliver_sm', $3, '123', 0, 0, $4, $4)", at, NOW, source,
            b"hello from ada" if at < 2 else b"hi",
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO inbound_message (lane, id, at, source, destination, text, parts, missing, alphabet, is_lossy, "
            "pdus) VALUES (1, $1, $2, $3, '123', $4, 1, '{}', 'gsm', false, '{}')",
            at, NOW, source, "hello from ada" if at < 2 else "hi",
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO event (lane, id, at, kind, subject, body) VALUES (1, $1, $2, 'inbound.received', $3, $4)",
            at + 1, NOW, source, '{"text": "hello from ada", "message": 1}' if at < 2 else '{"text": "hi"}',
        )  # fmt: skip
    both = b"".join(number.to_bytes(8, "big") for number in (NUMBER, OTHER))
    theirs = OTHER.to_bytes(8, "big")
    for number, numbers in ((NUMBER, both), (NUMBER, NUMBER.to_bytes(8, "big")), (OTHER, theirs)):
        await connection.execute(
            "INSERT INTO contact_page (bucket, page, at, run, sender, kind, class, brand, priority, tags, numbers) "
            "VALUES ($1, $2, $3, $4, 0, 1, 5, 0, 0, 0, $5)", hash_of(number), page(number), NOW, run.id, numbers,
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO run_skipped (bucket, reason, people, run, numbers) VALUES ($1, -30, 2, $2, $3)",
        hash_of(NUMBER), run.id, both,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO strike (bucket, lane, number, chunk_id, at, pos, kind) VALUES ($1, 1, $2, 1, $3, 0, 'invalid')",
        hash_of(NUMBER), NUMBER, NOW,
    )  # fmt: skip
    for number in (NUMBER, OTHER):
        await experiments.assign(connection, 1, hash_of(number), [number], [2], version=1, at=NOW)
        bucket, text = hash_of(number), "hello from ada" if number == NUMBER else "hi"
        await connection.execute(
            "INSERT INTO conversation (bucket, id, number, inbox, brand, sender, lane, state, opened_at) "
            "VALUES ($1, 1, $2, 'desk', '', '123', 1, 0, $3)", bucket, number, NOW,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO conversation_message (bucket, number, key, conversation, at, direction, text) "
            "VALUES ($1, $2, 'in:1:1', 1, $3, 0, $4)", bucket, number, NOW, text,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO open_question (bucket, number, enrolment, step, visit, inbox, asked_at, until, campaign, "
            "question) VALUES ($1, $2, 1, 's', 1, '', $3, $3, 'c', '{}')", bucket, number, NOW,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO conversation_owed (bucket, id, number, due_at, body) VALUES ($1, 1, $2, $3, $4)",
            bucket, number, NOW, f'{{"text": "{text}"}}',
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO person_owed (bucket, number, at, name, told, properties) VALUES ($1, $2, $3, 'goal', 'g', '{}')",
        hash_of(NUMBER), NUMBER, NOW,
    )  # fmt: skip
    profile = await connection.fetchval("SELECT id FROM profile WHERE number = $1", NUMBER)
    await connection.execute(
        "INSERT INTO audience_member (bucket, seq, audience, profile, since, is_in) VALUES ($1, 1, 1, $2, $3, true)",
        hash_of(NUMBER), profile, NOW,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO audience_change (bucket, seq, audience, profile, at, version, is_in, by_edit) "
        "VALUES ($1, 1, 1, $2, $3, 1, true, false)", hash_of(NUMBER), profile, NOW,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO rfm (bucket, version, profile, r, f, m, named) VALUES ($1, 1, $2, 1, 1, 1, 'lost')",
        hash_of(NUMBER), profile,
    )  # fmt: skip
    for number, name in ((NUMBER, "Ada"), (OTHER, "Bob")):
        (token,) = await links.mint_all(connection, [Wanted(number, 1, run.id, NOW, NOW, (name,))], Random(number))
        place = read_token(token)
        assert place is not None
        clicked = Click(
            bucket=place[0], id=1, token=place[1], number=number, target=1, run=run.id, at=NOW, made_at=NOW,
            agent=f"{name}'s phone",
        )  # fmt: skip
        await links.add_clicks(connection, [clicked])
        entry = Entry(
            bucket=place[0], id=1, number=number, target=1, run=run.id, at=NOW, form="f", page="p", version=1,
            answers={"why": name},
        )  # fmt: skip
        assert await pages.enter(connection, entry)
    while await stops.copy(connection):
        pass
    return int(run.id)


async def begin(connection: Any, *numbers: int) -> None:
    await erasures.enter(connection, numbers, KEY, at=NOW, note="me by letter")


async def erase(connection: Any, *numbers: int) -> erasures.Done:
    await consents.prove(connection, proof_of_stop, fold)
    return await erasures.erase(connection, numbers, KEY, {LANE: "44"}, NOW, fold)


async def found_in(connection: Any, *texts: str) -> list[str]:
    """Name the tables with a row that shows one of some texts, or the number as 8 octets."""
    tables = await connection.fetch(
        "SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"
    )
    octets = NUMBER.to_bytes(8, "big").hex()
    found = []
    for row in tables:
        shown = [one[0] for one in await connection.fetch(f"SELECT to_jsonb(t)::text FROM {row['name']} t")]
        hexes = [text.encode().hex() for text in texts]
        if any(text in one for one in shown for text in (*texts, *hexes, octets)):
            found.append(row["name"])
    return found


async def test_cn_12_nothing_of_an_erased_person_is_left_in_any_table_and_the_others_are_as_they_were(
    connection: Any,
) -> None:
    run = await populate(connection)
    before = await found_in(connection, *TRACES)
    assert {"profile", "identity", "person_event", "chunk_payload", "receipt", "inbound", "consent"} <= set(before)
    assert "assignment" in before
    await begin(connection, NUMBER)
    done = await erase(connection, NUMBER)
    assert await found_in(connection, *TRACES) == []
    assert (done.persons, done.events, done.entries, done.messages, done.replies, done.consents) == (1, 2, 1, 1, 2, 2)
    # The others.
    assert await connection.fetchval("SELECT external_id FROM profile") == "c-Bob"
    assert await connection.fetchval("SELECT count(*) FROM person_event") == 2
    payload = await connection.fetchrow("SELECT msisdn, params FROM chunk_payload WHERE run = $1", run)
    assert payload["msisdn"] == [OTHER, PSEUDONYM, OTHER]
    assert payload["params"] == [["Bob", "Rome"], [None, None], ["Bob", None]]
    assert await connection.fetchval("SELECT count(*) FROM inbound_message") == 1
    assert await connection.fetchval("SELECT number FROM assignment") == OTHER
    assert [row["text"] for row in await connection.fetch("SELECT body ->> 'text' AS text FROM event ORDER BY id")] == [
        "", "", "hi"
    ]  # fmt: skip
    kept = await connection.fetch("SELECT numbers FROM contact_page")
    assert [row["numbers"] for row in kept] == [OTHER.to_bytes(8, "big")] * 2
    skipped = await connection.fetchrow("SELECT people, numbers FROM run_skipped")
    assert skipped["people"] == 2
    assert skipped["numbers"] == OTHER.to_bytes(8, "big") + PSEUDONYM.to_bytes(8, "big")
    assert await connection.fetchval("SELECT entries FROM contact_list") == 1


async def test_cn_12_the_number_stays_in_the_suppression_set_as_a_keyed_hash_and_no_import_takes_it(
    connection: Any,
) -> None:
    await populate(connection)
    await begin(connection, NUMBER)
    await erase(connection, NUMBER)
    while await stops.copy(connection):
        pass
    rows = await connection.fetch("SELECT number, source FROM suppression ORDER BY number")
    assert [(row["number"], row["source"]) for row in rows] == [(OTHER, "keyword"), (PSEUDONYM, "erased")]
    erased = await erasures.door(connection, KEY)
    assert erased.among([NUMBER, OTHER]) == {NUMBER}
    for wrong in (None, derived(b"x" * 32)):
        with pytest.raises(StoreError, match="SLUICE_KEY"):
            await erasures.door(connection, wrong)
    assert not await stops.lift(connection, [PSEUDONYM], lambda source, _: source != "erased", at=NOW, note="")


async def test_cn_12_of_the_ledger_the_proof_of_the_erasure_is_left_and_its_chain_is_whole(connection: Any) -> None:
    await populate(connection)
    head = (await consents.rows_of(connection, [NUMBER]))[NUMBER]
    await begin(connection, NUMBER)
    await erase(connection, NUMBER)
    await erase(connection, NUMBER)
    await consents.prove(connection, proof_of_stop, fold)
    rows = await consents.rows_of(connection, [NUMBER, PSEUDONYM, OTHER])
    assert not rows[NUMBER].links and not rows[NUMBER].head_id
    for number in (PSEUDONYM, OTHER):
        assert faults_of(rows[number].links, rows[number].head_id, rows[number].head_hash) == []
    facts = [link.fact for link in rows[PSEUDONYM].links]
    assert {(fact.action, fact.source) for fact in facts} == {("suppress", "erased")}
    assert [fact.wording for fact in facts if fact.method == erasures.METHOD] == [
        f"2 rows were erased, the last one was {head.head_hash.hex()}"
    ]
    assert await consents.states_of(connection, [NUMBER, PSEUDONYM]) == {NUMBER: {}, PSEUDONYM: {}}


async def test_cn_12_erasing_again_and_by_two_at_once_changes_nothing(dsn: str, connection: Any) -> None:
    await populate(connection)
    await begin(connection, NUMBER)
    other = await asyncpg.connect(dsn)
    try:
        await begin(other, NUMBER)
        async with asyncio.timeout(60):
            await asyncio.gather(erase(connection, NUMBER), erase(other, NUMBER), return_exceptions=True)
    finally:
        await other.close()
    done = await erase(connection, NUMBER)
    assert done == erasures.Done()
    assert "447700900123" not in str(await found_in(connection, "447700900123", "Ada@"))
    assert await erasures.begun(connection, NOW + timedelta(days=1)) == []


KILLED = """
import asyncio, sys
import asyncpg
from tests.store.test_erasures import KEY, NUMBER, erase, begin

class Dying(asyncpg.Connection):
    left = int(sys.argv[2])
    async def execute(self, *a, **k):
        Dying.left -= 1
        if Dying.left == 0:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().execute(*a, **k)

async def main():
    connection = await asyncpg.connect(sys.argv[1], connection_class=Dying)
    await begin(connection, NUMBER)
    await erase(connection, NUMBER)
    await connection.close()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("statement", [4, 6, 8, 12, 17, 21, 26, 33, 41])
async def test_cn_12_an_erasure_that_is_killed_at_any_statement_is_ended_by_whoever_goes_on(
    dsn: str, connection: Any, statement: int
) -> None:
    await populate(connection)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, dsn, str(statement))
    async with asyncio.timeout(60):
        code = await process.wait()
    assert code in (-9, 0)
    left = await erasures.begun(connection, NOW + timedelta(days=1))
    if left:
        assert [one.is_stop for one in await stops.standing(connection, [NUMBER])] == [True], "nobody writes to them"
    elif code:
        # Killed before it had begun: whoever asked for it asks again.
        assert await connection.fetchval("SELECT count(*) FROM profile WHERE number = $1", NUMBER) == 1
        await begin(connection, NUMBER)
    await erase(connection, NUMBER)
    assert await found_in(connection, *TRACES) == []
    assert await erasures.begun(connection, NOW + timedelta(days=1)) == []


async def test_a_person_whose_number_another_shares_goes_and_the_number_stays(connection: Any) -> None:
    for name in ("ada", "bob"):
        await ingest(connection, [Item(who=Who(external_id=name, phone=NUMBER), name="visit")], NOW, Random(len(name)))
    bucket, id_ = await connection.fetchrow("SELECT bucket, id FROM profile WHERE external_id = 'ada'")
    assert (await erasures.erase_persons(connection, {id_: bucket}, NOW)).persons == 1
    assert await connection.fetchval("SELECT external_id FROM profile WHERE number = $1", NUMBER) == "bob"
    assert await connection.fetchval("SELECT count(*) FROM person_event") == 1


def test_every_table_that_moves_with_a_person_is_erased_with_them() -> None:
    from gateway.store.queries import query

    for table in (*identities.MOVED, "audience_change"):
        assert f"DELETE FROM {table} " in query(f"erase_{table}")


def test_numbers_of_handsets_are_known_however_the_smsc_writes_them() -> None:
    assert erasures.forms_of(NUMBER, "44") == ["447700900123", "00447700900123", "07700900123"]
    assert erasures.forms_of(NUMBER, "49") == erasures.forms_of(NUMBER, "")
