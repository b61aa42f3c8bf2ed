"""What a handset wrote is kept once, whole, whichever worker its parts came to. Quirks 34, 41 and 42."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _fastpath.inbound import Reading
from gateway import app
from gateway.config import CarrierSettings
from gateway.dispatch import assembly
from gateway.dispatch.intake import Intake
from gateway.store import events, inbound, postgres, queue
from gateway.store.inbound import Arrival, Came, Message
from gateway.store.queue import Flush
from tests.fixtures import handset
from tests.fixtures.database import Database

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
TEN_MINUTES = timedelta(minutes=10)
_ids = itertools.count(1)


def came(*arrivals: Arrival, at: datetime = NOW, **how: Any) -> Came:
    def join(parts: Any, now: datetime) -> Any:
        return assembly.join(parts, now, DAY, {0: "gsm7"})

    return Came(at=at, join=join, dedupe=TEN_MINUTES, parts_timeout=DAY, arrivals=arrivals, **how)


def arrival(text: str, number: int = 1, total: int = 1, *, at: datetime = NOW, **how: Any) -> Arrival:
    id, source = next(_ids), how.get("source", "447700900000")
    how.setdefault("fingerprint", f"{source} {text} {number} {total} {how.get('reference', 0)}".encode())
    message = Message(
        id=id, at=at, source=source, destination="12345", text=text, alphabet="gsm7", is_lossy=False, pdus=(id,)
    )
    return Arrival(
        id=id, at=at, command="deliver_sm", source=source, destination="12345", esm_class=0, data_coding=0,
        octets=text.encode(), pdu=b"pdu", message=None if total > 1 else message, kind=16 if total > 1 else 0,
        total=total, number=number, is_named=total > 1, reference=how.get("reference", 0),
        fingerprint=how["fingerprint"],
    )  # fmt: skip


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await database.connect()
    yield opened
    opened.terminate()


async def keep(connection: Any, what: Came, lane: int = 1) -> None:
    async with connection.transaction():
        await inbound.keep(connection, lane, what)


async def texts(connection: Any, lane: int = 1) -> list[str]:
    return [message.text for message in reversed(await inbound.newest(connection, lane, 1000))]


async def counts(connection: Any) -> list[int]:
    tables = ("inbound", "inbound_message", "inbound_part", "inbound_seen", "event")
    return [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


async def test_message_is_kept_with_its_event(connection: Any) -> None:
    await keep(connection, came(arrival("Yes")))
    (message,) = await inbound.newest(connection, 1, 10)
    assert (message.text, message.source, message.parts, message.missing) == ("Yes", "447700900000", 1, ())
    (told,) = await events.after(connection, 1, 0)
    assert (told.kind, told.subject, told.at) == ("inbound.received", "447700900000", NOW)
    assert told.body == {
        "message": message.id, "destination": "12345", "text": "Yes", "parts": 1, "missing": [], "alphabet": "gsm7",
        "is_lossy": False,
    }  # fmt: skip
    assert await connection.fetchval("SELECT pdu FROM inbound WHERE lane = 1 AND id = $1", message.pdus[0]) == b"pdu"


async def test_same_again_is_dropped_until_its_answer_has_arrived(connection: Any) -> None:
    first = arrival("Yes")
    await keep(connection, came(first))
    await keep(connection, came(arrival("Yes"), arrival("Yes")))
    assert await texts(connection) == ["Yes"]
    await keep(connection, came(arrival("Yes"), answered=(first.fingerprint,)))
    assert await texts(connection) == ["Yes", "Yes"]


async def test_same_again_after_the_time_is_another_message(connection: Any) -> None:
    await keep(connection, came(arrival("Yes")))
    late = NOW + TEN_MINUTES + timedelta(seconds=1)
    await keep(connection, came(arrival("Yes", at=late), at=late))
    assert await texts(connection) == ["Yes", "Yes"]


async def test_part_that_names_itself_is_a_repeat_whatever_was_answered(connection: Any) -> None:
    first, second = arrival("one ", 1, 2), arrival("two", 2, 2)
    await keep(connection, came(first, second))
    await keep(connection, came(arrival("two", 2, 2), answered=(first.fingerprint, second.fingerprint)))
    assert await texts(connection) == ["one two"] and await counts(connection) == [2, 1, 0, 2, 1]


async def test_parts_of_many_flushes_are_one_message_and_wait_in_postgres_until_then(connection: Any) -> None:
    for number in (3, 1):
        await keep(connection, came(arrival(f"{number} ", number, 3)))
    assert await counts(connection) == [2, 0, 2, 2, 0]
    await keep(connection, came(arrival("2 ", 2, 3)))
    assert await texts(connection) == ["1 2 3 "] and (await counts(connection))[2] == 0


async def test_sweep_tells_of_what_stays_incomplete_once_and_forgets_what_is_old(connection: Any) -> None:
    await keep(connection, came(arrival("one ", 1, 3), arrival("three", 3, 3), arrival("Yes", source="45")))
    await keep(connection, came(at=NOW + DAY - timedelta(seconds=1), sweeps=True))
    assert await texts(connection) == ["Yes"]
    for _ in range(2):
        await keep(connection, came(at=NOW + DAY + timedelta(seconds=1), sweeps=True))
    message = next(one for one in await inbound.newest(connection, 1, 10) if one.parts == 3)
    assert (message.text, message.missing) == ("one three", (2,))
    assert await counts(connection) == [3, 2, 0, 0, 2]


async def test_lanes_know_nothing_of_each_other(connection: Any) -> None:
    await keep(connection, came(arrival("Yes"), arrival("a", 1, 2)))
    await keep(connection, came(arrival("Yes"), arrival("b", 2, 2)), lane=2)
    assert await texts(connection) == ["Yes"] and await texts(connection, 2) == ["Yes"]


async def test_a_flush_that_fails_behind_it_keeps_nothing(connection: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction():
            await inbound.keep(connection, 1, came(arrival("Yes"), arrival("a", 1, 2)))
            _ = 1 // 0
    assert await counts(connection) == [0, 0, 0, 0, 0]


async def test_the_last_two_parts_at_two_workers_at_once_make_one_message(database: Database, connection: Any) -> None:
    """Neither would see the other's part, and both would leave the message waiting, if they did not take turns."""
    other = await database.connect()
    for reference in range(20):
        await asyncio.gather(
            keep(connection, came(arrival("one ", 1, 2, reference=reference))),
            keep(other, came(arrival("two", 2, 2, reference=reference))),
        )
    assert await texts(connection) == ["one two"] * 20 and (await counts(connection))[2] == 0
    other.terminate()


async def test_repeat_at_another_worker_at_the_same_time_is_dropped(database: Database, connection: Any) -> None:
    other = await database.connect()
    for number in range(20):
        await asyncio.gather(keep(connection, came(arrival(f"{number}"))), keep(other, came(arrival(f"{number}"))))
    assert sorted(await texts(connection), key=int) == [f"{number}" for number in range(20)]
    other.terminate()


class Ledgerless:
    """Reads receipts as the settings have it by default, of which there are none here."""

    reading = Reading()


def test_any_texts_in_parts_in_any_order_with_repeats_at_two_workers_come_once(dsn: str) -> None:
    """Every part goes to either worker, some go to both; flushes of any size run at the same time."""
    carrier = CarrierSettings(host="x", inbound_data_coding={"0": "gsm7", "3": "latin1", "8": "ucs2"})
    loop = asyncio.new_event_loop()
    workers = [loop.run_until_complete(postgres.connect(dsn)) for _ in range(2)]
    rounds = itertools.count(1)
    characters = {
        "gsm7": st.sampled_from("@£ ABCabc019€[]{}\nßäöü"),
        "latin1": st.characters(min_codepoint=1, max_codepoint=255),
        "ucs2": st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff\ufffe\ufffd"),
    }
    written = st.sampled_from(sorted(characters)).flatmap(
        lambda name: st.tuples(st.text(characters[name], min_size=1, max_size=60), st.just(name))
    )
    one = st.tuples(written, st.sampled_from(handset.HOWS))

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(messages=st.lists(one, min_size=1, max_size=5), seed=st.integers(0, 1 << 32))
    def run(messages: Any, seed: int) -> None:
        lane, mix = next(rounds), random.Random(seed)
        intakes = [Intake(Ledgerless(), app.CLOCK, base, carrier) for base in (1, 1_000_000)]  # type: ignore[arg-type]
        pdus = []
        for reference, ((text, alphabet), how) in enumerate(messages):
            parts = handset.written(text, alphabet, how, mix, "4477009", reference)
            pdus += parts + mix.choices(parts, k=mix.randrange(3))
        mix.shuffle(pdus)

        async def flushes() -> None:
            waiting: list[list[Came | None]] = [[], []]
            for pdu in pdus:
                for which in {mix.randrange(2), mix.randrange(2)}:
                    intakes[which].on_request(object(), pdu)  # type: ignore[arg-type]
                    if mix.random() < 0.5:
                        waiting[which].append(intakes[which].take().came)
            for which, intake in enumerate(intakes):
                waiting[which].append(intake.take().came)

            async def one_worker(which: int) -> None:
                for number, what in enumerate(waiting[which]):
                    flush = Flush(id=2 * number + which, at=NOW, inbound=what)
                    await queue.flush(workers[which], lane, flush)

            await asyncio.gather(*(one_worker(which) for which in range(2)))
            found = await texts(workers[0], lane)
            assert sorted(found) == sorted(text for (text, _), _ in messages)
            told = [each.body["text"] for each in await events.after(workers[0], lane, 0)]
            assert sorted(told) == sorted(found)
            assert await workers[0].fetchval("SELECT count(*) FROM inbound_part") == 0

        loop.run_until_complete(flushes())

    try:
        run()
    finally:
        for worker in workers:
            worker.terminate()
        loop.close()
