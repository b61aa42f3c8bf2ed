"""The gate that is asked before there is a text says what the claim says, and writes nothing (TP-3, AB-6)."""

import random
from datetime import timedelta
from typing import Any

import pytest

from gateway.dispatch.admission import Admission, Asked
from gateway.dispatch.beforehand import Beforehand
from gateway.dispatch.clock import Clock
from gateway.dispatch.compose import form_of
from gateway.dispatch.preview import suppressed_of
from gateway.gate import Cap, Gate
from gateway.message import MessageClass
from gateway.reasons import Reason
from gateway.store import admission, postgres, queue, runs
from gateway.store.migrate import migrate
from tests.dispatch.test_preview import CARRIER, MONDAY, people_of

pytestmark = pytest.mark.database
NOON = MONDAY + timedelta(hours=12)


async def run_of(
    connection: Any, lane: int, gate: Gate | None, class_: MessageClass = MessageClass.TRIGGERED
) -> runs.Run:
    return await runs.add_run(
        connection, name="step", template="Hello", fields=(), class_=class_, policy="once", lanes=[lane], list_id=None,
        source=None, now=MONDAY, gate=gate,
    )  # fmt: skip


GATES = (
    Gate(brand="acme", needs="promotional", windows={"shop": "09:00-18:00"}, gap_s=7200, tags=("exclusive",)),
    Gate(brand="acme", needs="transactional", caps=(Cap(limit=1, per="7d"),), gap_s=0, on_cap="defer"),
    Gate(brand="acme", programme="club", needs="promotional", caps=(Cap(limit=1, per="36h", scope="sender"),), gap_s=0),
    Gate(brand="acme", needs="none", windows={"shop": {"tue-fri": ["10:00-12:00"]}}, outside="skip", gap_s=600),
)


@pytest.mark.parametrize("at", range(len(GATES)))
async def test_what_it_says_of_each_number_is_what_a_claim_says_at_that_moment(dsn: str, at: int) -> None:
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    now, class_ = NOON + timedelta(hours=5 * at), MessageClass.TRIGGERED if at != 1 else MessageClass.TRANSACTIONAL
    lane = await runs.lane_of(connection, "acme", MONDAY)
    await people_of(connection, random.Random(at), now)
    # Whom a person of ours talks with is not asked here.
    await connection.execute("TRUNCATE conversation")
    run = await run_of(connection, lane, GATES[at], class_)
    numbers = sorted(row[0] for row in await connection.fetch("SELECT DISTINCT number FROM profile WHERE number > 0"))
    sets = await suppressed_of(connection, class_, "")
    counts = "SELECT (SELECT count(*) FROM contact_page), (SELECT count(*) FROM brand), (SELECT count(*) FROM tag)"
    before = await connection.fetchrow(counts)
    asked = await Beforehand(lambda class_, sender: sets).ask(connection, run, "", numbers, now)
    assert await connection.fetchrow(counts) == before
    await runs.enqueue_few(connection, run, lane, numbers, None, now)
    gate = Admission(lambda: postgres.connect(dsn), Clock(monotonic=now.timestamp, wall=lambda: now), 10.0)
    (batch,) = (await queue.claim(connection, lane, "me", now, 64)).batches
    batch.dress(form_of("Hello", CARRIER), suppressed=sets)
    await gate.admit([Asked([batch], run, "")])
    assert {number: verdict for number, (verdict, _) in asked.items()} == {
        batch.number(pos): batch.verdict(pos) or 0 for pos in range(batch.n)
    }
    assert all((until is not None and until > now) == (verdict > 0) for verdict, until in asked.values())
    assert len({verdict for verdict, _ in asked.values()}) > 2
    await gate.close()
    await postgres.close(connection)


async def test_texts_that_have_left_meanwhile_count_and_a_lowered_limit_holds_at_once(dsn: str) -> None:
    """CP-1, CP-8: also of a brand and tags that nobody has used yet."""
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    lane, ann, bob = await runs.lane_of(connection, "acme", MONDAY), 447700900001, 447700900002
    gate = Gate(
        brand="new", needs="none", tags=("one", "two"), caps=(Cap(limit=2, per="7d", tags=("one", "two")),), gap_s=0
    )
    run = await run_of(connection, lane, gate)
    door = Beforehand(lambda class_, sender: ())

    async def ask(*left: timedelta) -> list[int]:
        told = {ann: [NOON - ago for ago in left]} if left else {}
        found = await door.ask(connection, run, "", [ann, bob], NOON, told)
        return [found[number][0] for number in (ann, bob)]

    day = timedelta(days=1)
    assert await ask() == await ask(day) == await ask(day, 8 * day) == [0, 0]
    assert await ask(day, 2 * day) == [-100, 0]
    await connection.execute("UPDATE run SET gate = replace(gate::text, '\"limit\": 2', '\"limit\": 1')::jsonb")
    assert await ask(day) == [-100, 0]
    await admission.id_of(connection, "brand", "new")
    assert await ask(day) == [-100, 0] and await ask() == [0, 0]
    await postgres.close(connection)


async def test_run_without_a_gate_lets_all_pass_and_who_is_stopped_is_told_why(dsn: str) -> None:
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    lane, number = await runs.lane_of(connection, "acme", MONDAY), 447700900001
    await people_of(connection, random.Random(5), NOON)
    sets = await suppressed_of(connection, MessageClass.TRIGGERED, "")
    row = await connection.fetchrow("SELECT number FROM suppression LIMIT 1")
    door = Beforehand(lambda class_, sender: sets)
    assert await door.ask(connection, await run_of(connection, lane, None), "", [number], NOON) == {number: (0, None)}
    run = await run_of(connection, lane, Gate(brand="acme", needs="none", gap_s=0))
    assert await door.ask(connection, run, "", [], NOON) == {}
    found = await door.ask(connection, run, "", [row["number"]], NOON)
    assert Reason.CARRIER <= found[row["number"]][0] <= Reason.STOP or found[row["number"]][0] == Reason.ERASED
    await postgres.close(connection)
