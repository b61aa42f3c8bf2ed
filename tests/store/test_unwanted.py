"""Texts that are taken out of the chunks of a lane: found wherever they went, once, and none that is claimed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.message import MessageClass, Policy
from gateway.reasons import Reason
from gateway.store import admission, postgres, queue, results, runs, transfer, unwanted
from gateway.store.unwanted import Place, Unwanted, key_of

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
FIRST = 447700900001


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    await runs.ensure_partitions(opened, NOW)
    for name in "ab":
        await runs.lane_of(opened, name, NOW)
    yield opened
    await postgres.close(opened)


async def queued(connection: Any, people: int, chunks: int = 1, policy: Policy = Policy.ONCE) -> list[Unwanted]:
    """Texts to so many people in each of some chunks of one run, as sending.py puts them there; none is wanted."""
    run = await runs.add_run(
        connection, name="c", template="Hi", fields=["#enrolment"], class_=MessageClass.TRIGGERED, policy=policy,
        lanes=[1, 2], list_id=None, source=None, now=NOW,
    )  # fmt: skip
    found = []
    for chunk in range(chunks):
        some = [
            Unwanted(bucket=0, enrolment=chunk * people + at, visit=1, outgoing=chunk + 70, reason=Reason.EXCEPTION)
            for at in range(people)
        ]
        chunk_id = await runs.enqueue_few(
            connection, run, 1, [FIRST + one.enrolment for one in some], [[one.key] for one in some], NOW, fallback=(2,)
        )
        await unwanted.keep_place(connection, 1, [chunk + 70], chunk_id, NOW)
        found += some
    return found


async def places(connection: Any, some: list[Unwanted]) -> dict[str, Place]:
    return await unwanted.locate(connection, 1, {one.key: one.outgoing for one in some})


async def test_text_is_found_in_the_copy_of_a_copy_that_it_went_on_in_and_in_no_other_lane(connection: Any) -> None:
    some = await queued(connection, 4)
    where = await places(connection, some)
    assert {key: one.number for key, one in where.items()} == {one.key: FIRST + one.enrolment for one in some}
    chunk = where["0:1"].chunk
    held, _ = await queue.copy_positions(connection, 1, chunk, [1, 2, 3], NOW)
    again, _ = await queue.copy_positions(connection, 1, held, [2], NOW)
    assert await transfer.leave_closed(connection, 1, {2}, NOW) == 3
    await transfer.carry(connection, 1, NOW)
    assert {key: one.chunk for key, one in (await places(connection, some)).items()} == {
        "0:1": chunk, "1:1": held, "2:1": held, "3:1": again,
    }  # fmt: skip
    moved = await connection.fetch("SELECT params FROM chunk_payload WHERE lane = 2")
    assert sorted(key for row in moved for (key,) in row["params"]) == ["0:1", "1:1", "2:1", "3:1"], "each once (TH-9)"
    assert await unwanted.take_out(connection, 1, some, NOW) == [], "all of them are the other lane's by now"


async def test_two_reasons_of_one_chunk_are_kept_apart_and_nothing_is_taken_out_twice(connection: Any) -> None:
    some = await queued(connection, 5)
    wanted = [
        one if one.enrolment else Unwanted(bucket=0, enrolment=0, visit=1, outgoing=70, reason=Reason.STOP)
        for one in some[:3]
    ]
    out = await unwanted.take_out(connection, 1, wanted, NOW)
    assert sorted(one.of.enrolment for one in out) == [0, 1, 2]
    assert await unwanted.take_out(connection, 1, wanted, NOW) == []
    run = int(await connection.fetchval("SELECT id FROM run"))
    refused = await results.refusals(connection, run, NOW - timedelta(days=1))
    assert {(one.status, one.messages) for one in refused} == {(Reason.STOP, 1), (Reason.EXCEPTION, 2)}
    [batch] = (await queue.claim(connection, 1, "me", NOW, 9)).batches
    aside = await admission.set_aside(connection, 1, [batch.chunk_id])
    assert batch.epoch > 1 and aside == {batch.chunk_id: {0, 1, 2}}
    assert await unwanted.take_out(connection, 1, some, NOW) == [], "it is claimed"


async def test_what_may_have_left_before_stays_in_doubt(connection: Any) -> None:
    """A copy that is made since nobody knows: case 13 of the write protocol."""
    some = await queued(connection, 1, policy=Policy.AT_LEAST_ONCE)
    [batch] = (await queue.claim(connection, 1, "dead", NOW, 9)).batches
    await queue.advance(connection, 1, [(batch.chunk_id, batch.epoch, 1)])
    assert await queue.rescue(connection, 1, ["dead"], NOW) == (1, 1)
    assert await queue.repeat(connection, 1, NOW, NOW) == 1
    assert len(await unwanted.take_out(connection, 1, some, NOW)) == 1
    assert [row["status"] for row in await connection.fetch("SELECT status FROM outcome")] == [-1, -1]
    assert (await queue.claim(connection, 1, "me", NOW, 9)).batches == []


async def test_text_is_either_claimed_or_out_whoever_comes_first(connection: Any, dsn: str) -> None:
    some = await queued(connection, 6, chunks=40)
    half = [one for one in some if one.enrolment % 2]
    others = [await postgres.connect(dsn) for _ in range(2)]

    async def claims() -> list[tuple[int, int]]:
        found = []
        while batches := (await queue.claim(others[0], 1, "me", NOW, 3)).batches:
            again = [batch.chunk_id for batch in batches if batch.epoch > 1]
            aside = await admission.set_aside(others[0], 1, again) if again else {}
            found += [
                (batch.chunk_id, pos)
                for batch in batches
                for pos in range(batch.n)
                if pos not in aside.get(batch.chunk_id, ())
            ]
        return found

    async def takes_out() -> list[str]:
        found = []
        for first in range(0, len(half), 6):
            found += await unwanted.take_out(others[1], 1, list(reversed(half))[first : first + 6], NOW)
        return [one.of.key for one in found]

    before = await places(connection, some)
    keys = {(one.chunk, one.pos): key for key, one in before.items()}
    claimed, out = await asyncio.gather(claims(), takes_out())
    # The last ones may have been held when they were asked for.
    claimed += await claims()
    assert sorted([keys[place] for place in claimed] + out) == sorted(keys.values())
    for one in others:
        await postgres.close(one)


async def test_what_is_in_no_lane_yet_is_left_for_the_next_look(connection: Any) -> None:
    one = Unwanted(bucket=3, enrolment=5, visit=2, outgoing=9, reason=Reason.GOAL_MET)
    await unwanted.add(connection, [one], NOW)
    await unwanted.add(connection, [Unwanted(bucket=3, enrolment=5, visit=2, outgoing=9, reason=Reason.STOP)], NOW)
    await connection.execute(
        "INSERT INTO outgoing (bucket, lane, id, run, made_at, numbers) VALUES (7, 1, 9, 1, $1, '{1}')", NOW
    )
    assert await unwanted.waiting(connection, 0, 255, 10) == ([one], {9})
    assert one.key == key_of(5, 2) == "5:2"
    await unwanted.forget(connection, [one])
    assert await unwanted.waiting(connection, 0, 255, 10) == ([], set())


async def test_texts_of_an_enrolment_are_those_of_its_steps_since_a_moment(connection: Any) -> None:
    for visit, outgoing, at in ((1, 11, NOW - timedelta(days=9)), (2, None, NOW), (3, 12, NOW)):
        await connection.execute(
            "INSERT INTO step_run (bucket, step, visit, enrolment, profile, campaign, at, run, outgoing) "
            "VALUES (1, 0, $1, 5, 5, 5, $3, 1, $2)", visit, outgoing, at,
        )  # fmt: skip
    await unwanted.add_of(connection, {(1, 5): -41, (1, 6): -41}, NOW - timedelta(days=1), NOW)
    some, _ = await unwanted.waiting(connection, 0, 255, 10)
    assert [(one.visit, one.outgoing, one.reason) for one in some] == [(3, 12, -41)]
