"""The simulated Postgres: what it does with time, locks, lost answers, crashes and frozen servers."""

import ast
import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway import dispatch, store
from gateway.errors import StoreError
from gateway.store import control, postgres, queue, runs
from gateway.store.queries import all_queries
from gateway.store.queue import Flush
from tests.fixtures.campaign import make_run, numbers
from tests.simulation.postgres import ROOMS, Faults, SimPostgres
from tests.simulation.queries import MODELS

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
# No worker of a world runs these: what people do, what is told of them and their consent come in at doors, looking back
# is the command line's, and what is old is dropped by a job that no simulated worker is given. By file, and the
# modules of gateway/store that run them.
NOT_THE_WORKERS = {
    "aggregates.sql": ("aggregates", "sessions"),
    "blocks.sql": ("blocks",),
    "brands.sql": ("brands",),
    "calls.sql": ("calls",),
    "campaigns.sql": ("campaigns",),
    "consents.sql": ("consents",),
    # What the gate asks of conversations has its model; a YES, which asks whether there is a question, no world says.
    "conversations.sql": (),
    "conversions.sql": ("conversions",),
    "coupons.sql": ("coupons",),
    "dossiers.sql": ("dossiers",),
    "enrolments.sql": ("enrolments", "causes"),
    "erasures.sql": ("erasures",),
    # Of people of campaigns alone, which no world has: the gate asks of them what it asks of enrolments.
    "excepted.sql": (),
    "experiments.sql": ("experiments",),
    "bygones.sql": ("bygones",),
    "feeds.sql": ("feeds",),
    "ledger.sql": ("ledger",),
    "reports.sql": ("reports",),
    "identities.sql": ("identities",),
    "imports.sql": ("imports",),
    "inactivity.sql": ("inactivity",),
    "jobs.sql": ("jobs",),
    "links.sql": ("links",),
    "lists.sql": ("lists",),
    "orders.sql": ("orders",),
    "pages.sql": ("pages",),
    "products.sql": ("products",),
    "profiles.sql": ("profiles", "eventfiles"),
    "retention.sql": ("retention", "months"),
    "returns.sql": ("returns",),
    "rfm.sql": ("rfm",),
    "sources.sql": ("sources",),
    "traces.sql": ("traces",),
    "watched.sql": ("watched",),
    "templates.sql": ("templates",),
    "ticks.sql": ("ticks",),
    "unsends.sql": ("unsends",),
    "unwanted.sql": ("unwanted",),
}
# Single ones of files that workers need: the latencies of a report, what writes the page that the
# gate reads. The job of retention is taken, where there is one, by a statement that has its model.
# Reasons of suppression are lifted by jobs and commands.
NOT_SIMULATED = {
    # Who steers runs that have a rate is a job of automation.
    "add_rate_plan",
    "live_rate_plans",
    "steer_rate",
    "tell_rate",
    "drop_rate_plans",
    "left_of_run",
    "tally_outcomes",
    "tally_receipts",
    "clicks_of_rate",
    "stops_since",
    "written_of_run",
    "stop_reasons",
    # What people have done, and what they ask for.
    "note_audit",
    "audit",
    "data_of",
    "last_lifted",
    "old_suppressions",
    "latency_counts",
    "open_consent_pages",
    "fill_consent_pages",
    # Where a run is enqueued that goes before others; those of a world are alike.
    "announce",
    "announce_numbers",
    "ready_numbers",
    "set_announces",
} | {
    name
    for name, one in all_queries().items()
    if one.file in NOT_THE_WORKERS and name not in ("take_job", "persons_talk")
}
DISPATCH = Path(dispatch.__file__).parent
# No simulated worker is given these: jobs, the answers to requests for consent, what commands ask the gate.
JOBS = {DISPATCH / f"{name}.py" for name in ("preview", "requests", "retention", "returns", "unsending")}


@pytest.fixture
def server() -> SimPostgres:
    made = SimPostgres(random.Random(1))
    made.tables.add_days(NOW - timedelta(days=1), 5)
    return made


async def claimed(server: SimPostgres, people: int = 10) -> tuple[Any, int, int]:
    """A connection, a lane, and a chunk of it that w1 has claimed."""
    connection = await server.connect()
    lane = await runs.lane_of(connection, "acme", NOW)
    await make_run(connection, numbers(people), [lane], now=NOW)
    (batch,) = (await queue.claim(connection, lane, "w1", NOW, 1)).batches
    return connection, lane, batch.chunk_id


def test_every_statement_that_a_worker_runs_has_its_model() -> None:
    assert ROOMS
    assert all_queries().keys() - MODELS.keys() == NOT_SIMULATED
    assert MODELS.keys() <= all_queries().keys()


def test_no_room_of_the_worker_uses_what_is_not_simulated() -> None:
    rooms = {room for some in NOT_THE_WORKERS.values() for room in some}
    assert all((Path(store.__file__).parent / f"{room}.py").exists() for room in rooms)
    for path in sorted(DISPATCH.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if path not in JOBS and isinstance(node, ast.ImportFrom) and node.module == "gateway.store":
                assert not rooms & {one.name for one in node.names}, path.name


async def test_statement_that_is_not_known_is_named(server: SimPostgres) -> None:
    connection: Any = await server.connect()
    with pytest.raises(NotImplementedError, match="'trace_chunk'"):
        await connection.fetch(all_queries()["trace_chunk"].sql, 1, 1, 0)
    with pytest.raises(NotImplementedError, match="VACUUM"):
        await connection.execute("VACUUM")


async def test_update_waits_for_the_holder_and_looks_at_the_row_anew(server: SimPostgres) -> None:
    first, lane, chunk_id = await claimed(server)
    second = await server.connect()
    transaction = first.transaction()
    await transaction.start()
    assert await queue.rescue(first, lane, ["w1"], NOW) == (1, 0)
    late = asyncio.create_task(queue.advance(second, lane, [(chunk_id, 1, 5)]))
    while not server.tables.waiting:
        await asyncio.sleep(0)
    await transaction.commit()
    assert await late == set()


async def test_two_who_wait_for_each_other_end_in_a_deadlock_of_one() -> None:
    server = SimPostgres(random.Random(1))
    first, second = await server.connect(), await server.connect()
    for name in ("a", "b"):
        await runs.lane_of(first, name, NOW)

    async def write(connection: Any, lanes: tuple[int, int], may_go_on: asyncio.Event, held: asyncio.Event) -> None:
        async with connection.transaction():
            for lane in lanes:
                habit = {"delivered_wins": False, "unknown_is_final": False, "deadline_s": None}
                await queue.keep_receipt_habit(connection, lane, **habit)
                held.set()
                await may_go_on.wait()

    one, other = asyncio.Event(), asyncio.Event()
    found = await asyncio.gather(
        write(first, (1, 2), other, one), write(second, (2, 1), one, other), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in found) == ["DeadlockDetectedError", "NoneType"]


async def test_commit_whose_answer_is_lost_is_carried_out_and_found(server: SimPostgres) -> None:
    connection = await server.connect()
    server.faults = Faults(lost_answer=0.0)
    with pytest.raises(StoreError) as caught:
        async with postgres.deadline(connection, 5.0):
            async with connection.transaction():
                await queue.flush(connection, 1, Flush(id=7, at=NOW))
                server.faults.lost_answer = 1.0
    assert caught.value.retryable and connection.is_closed()
    server.faults.lost_answer = 0.0
    assert await queue.flush_known(await server.connect(), 1, 7)


async def test_request_that_is_lost_has_done_nothing(server: SimPostgres) -> None:
    connection = await server.connect()
    server.faults.lost_request = 1.0
    with pytest.raises(StoreError):
        async with postgres.deadline(connection, 5.0):
            await queue.flush(connection, 1, Flush(id=7, at=NOW))
    server.faults.lost_request = 0.0
    assert not await queue.flush_known(await server.connect(), 1, 7)


async def test_frozen_server_answers_nobody_until_it_thaws(server: SimPostgres) -> None:
    connection = await server.connect()
    server.freeze()
    with pytest.raises(StoreError, match="no answer within"):
        async with postgres.deadline(connection, 0.05):
            await queue.flush_known(connection, 1, 1)
    assert connection.is_closed()
    late = asyncio.create_task(server.connect())
    await asyncio.sleep(0)
    server.thaw()
    assert not await queue.flush_known(await late, 1, 1)


async def test_crash_undoes_what_is_open_and_keeps_what_is_committed(server: SimPostgres) -> None:
    connection, lane, chunk_id = await claimed(server)
    assert await queue.advance(connection, lane, [(chunk_id, 1, 3)]) == {chunk_id}
    transaction = connection.transaction()
    await transaction.start()
    await queue.advance(connection, lane, [(chunk_id, 1, 8)])
    server.crash()
    assert connection.is_closed()
    with pytest.raises(StoreError, match="refused") as caught:
        await server.connect()
    assert caught.value.retryable
    server.start()
    again: Any = await server.connect()
    assert await again.fetchval("SELECT sent_upto FROM chunk WHERE id = $1", chunk_id) == 3


async def test_client_that_is_cut_off_loses_its_transaction_and_its_locks(server: SimPostgres) -> None:
    first, lane, chunk_id = await claimed(server)
    gone = await server.connect(client="w1")
    await gone.transaction().start()
    await queue.advance(gone, lane, [(chunk_id, 1, 8)])
    waits = asyncio.create_task(queue.advance(first, lane, [(chunk_id, 1, 5)]))
    while not server.tables.waiting:
        await asyncio.sleep(0)
    server.cut("w1")
    assert await waits == {chunk_id}
    assert await first.fetchval("SELECT sent_upto FROM chunk WHERE id = $1", chunk_id) == 5
    assert server.connections("w1") == []


async def test_full_disk_refuses_what_writes_and_nothing_else(server: SimPostgres) -> None:
    connection = await server.connect()
    server.refuses_writes = asyncpg.DiskFullError("could not extend file: No space left on device")
    with pytest.raises(StoreError) as caught:
        async with postgres.deadline(connection, 5.0):
            await queue.flush(connection, 1, Flush(id=7, at=NOW))
    assert caught.value.retryable and not await queue.flush_known(connection, 1, 7)
    server.refuses_writes = None
    await queue.flush(connection, 1, Flush(id=7, at=NOW))


async def test_what_is_told_is_heard_with_the_commit_and_not_without(server: SimPostgres) -> None:
    listening, telling = await server.connect(), await server.connect()
    heard: list[str] = []
    await control.listen(listening, heard.append)
    transaction = telling.transaction()
    await transaction.start()
    await control.watch(telling)
    await transaction.rollback()
    await control.watch(telling)
    while not heard:
        await asyncio.sleep(0)
    assert heard == [control.WATCH]


async def test_one_seed_makes_the_same_run_again() -> None:
    async def run(seed: int) -> list[str]:
        server = SimPostgres(random.Random(seed), Faults(lost_answer=0.2, lost_request=0.2))
        told = []
        for at in range(100):
            connection = await server.connect()
            try:
                async with postgres.deadline(connection, 5.0):
                    await queue.flush(connection, 1, Flush(id=at // 2, at=NOW))
                told.append("done")
            except StoreError as error:
                told.append(str(error))
        return told

    assert await run(1) == await run(1) != await run(2)
