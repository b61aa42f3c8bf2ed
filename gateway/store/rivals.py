"""Which run goes before which, told where it matters: as a run is enqueued (CP-4). Statements: sql/rivals.sql.

    a run is enqueued ─┬─ some that live go behind it ─► it announces: the people of its list are due
                       └─ some go before it ──────────► those announce, from now on: whom they have not claimed yet

Who is due is a row of contact_page; the gate lets nobody behind take a place that they need (_fastpath/gate.pyx). Where
all runs are alike, as they are unless somebody says otherwise, nothing is announced and nothing is paid.
Not here: what a claim withdraws and announces anew (dispatch/admission.py).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway.gate import Gate, announces, gate_of, is_counted, rank_of
from gateway.store import admission
from gateway.store.people import BUCKETS
from gateway.store.postgres import Connection
from gateway.store.queries import query

CHUNKS = 64


async def announce(connection: Connection, run: Mapping[str, Any], now: datetime) -> bool:
    """Tell whom a run over a list means to write to, and whom those that go before it do; before it is enqueued.

    run     its row, as run_by_id reads it
    ->      False: it goes before nobody
    raises  StoreError
    cost    about 1 us of Postgres a person whose run announces; otherwise a look through the table of runs
    """
    gate = gate_of(run["gate"])
    if gate is None or not is_counted(run["class"]):
        return False
    rank = rank_of(run["priority"], gate.value)
    is_told = announces(run["class"], rank, gate)
    for row in await connection.fetch(query("live_gates"), run["id"], now):
        other = gate_of(row["gate"])
        assert other is not None
        others_rank = rank_of(row["priority"], other.value)
        if others_rank == rank or not is_counted(row["class"]):
            continue
        if is_told if others_rank > rank else announces(row["class"], others_rank, other):
            continue
        if row["is_enqueued"] and not await connection.fetchval(query("open_chunks"), row["id"]):
            continue
        # First the word, then the people: a claim in between withdraws whom it refuses.
        await connection.execute(query("set_announces"), run["id"] if others_rank > rank else row["id"])
        if others_rank > rank:
            is_told = True
        elif row["is_enqueued"]:
            await _announce_ready(connection, row, await _what(connection, row, other))
    if is_told:
        what = await _what(connection, run, gate)
        await connection.execute(query("announce"), run["list"], range(BUCKETS), *what)
    return is_told


async def _what(connection: Connection, run: Mapping[str, Any], gate: Gate) -> tuple[Any, ...]:
    """What the contacts of a run say: when, run, class, brand, rank, tags."""
    brand = await admission.id_of(connection, "brand", gate.brand) if gate.brand else 0
    tags = 0
    for name in gate.tags:
        tags |= 1 << await admission.id_of(connection, "tag", name)
    return run["not_before"], run["id"], run["class"], brand, rank_of(run["priority"], gate.value), tags


async def _announce_ready(connection: Connection, run: Mapping[str, Any], what: tuple[Any, ...]) -> None:
    """Announce whom nobody has claimed, lane by lane; who was written to before is due no more, being so since."""
    for lane in run["lanes"]:
        behind = 0
        while rows := await connection.fetch(query("ready_numbers"), lane, run["id"], behind, CHUNKS):
            numbers = [number for row in rows for number in row["numbers"]]
            await connection.execute(query("announce_numbers"), numbers, *what)
            behind = rows[-1]["id"]
