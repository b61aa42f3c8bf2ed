"""The gate at the claim, alone: what it costs to ask about claimed chunks, in Postgres and in the worker.

    python -m benchmarks.gate [--rounds N] [--people N] [--quick]

A database of its own with so many people, who have consent and four messages of the last week behind them (`make_past`
of gateway/commands/_life.py). Chunks of a gated run are claimed before the clock starts; then the gate is asked about
1, 4 and 16 of them at a time, by the way of a worker (dispatch/admission.py): buckets held, pages read, everybody
judged, places reserved, COMMIT. After each round what it reserved is taken out again.
Then the same for messages that were triggered one by one: chunks of 1 and of 10 people, 8 of them a claim.
CPU is that of all processes of Postgres and of this one. Not measured: the claim, the sending (`life` has them), runs
that race for the same people, a Postgres on another machine.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from _fastpath.batch import Batch
from benchmarks import figures, machine
from gateway import app
from gateway.commands import _life
from gateway.config import CarrierSettings, DatabaseSettings, Settings
from gateway.dispatch.admission import Admission, Asked
from gateway.gate import gate_of
from gateway.message import MessageClass, Policy
from gateway.store import postgres, queue, runs
from gateway.store.runs import Run

PEOPLE = 1_000_000
ROUNDS = 3
CHUNKS_A_ROUND = 192
SIZES = (1, 4, 16)
# People of a triggered chunk, chunks of a claim, claims of a round.
FEW = (1, 10)
FEW_CHUNKS = 8
FEW_CLAIMS = 60
LANE = "bench"


async def new_run(connection: postgres.Connection, list_id: int, class_: MessageClass) -> Run:
    lane = await runs.lane_of(connection, LANE, app.CLOCK.wall())
    return await runs.add_run(
        connection, name="bench", template=_life.TEXT, fields=(), class_=class_, policy=Policy.ONCE, lanes=[lane],
        list_id=list_id, source=None, now=app.CLOCK.wall(), gate=_life.gate_of(list_id),
    )  # fmt: skip


async def forget(connection: postgres.Connection, run: Run) -> None:
    """Take out what a run has reserved, and its chunks."""
    await connection.execute("DELETE FROM contact_page WHERE run = $1", run.id, timeout=600)
    await connection.execute("DELETE FROM chunk WHERE run = $1", run.id, timeout=600)
    await connection.execute("DELETE FROM chunk_payload WHERE run = $1", run.id, timeout=600)
    await connection.execute("VACUUM contact_page", timeout=600)
    await connection.execute("CHECKPOINT", timeout=600)


async def ask(
    database: app.Database, admission: Admission, run: Run, batches: Sequence[Batch], size: int
) -> dict[str, Any]:
    """Ask about some batches, so many at a time; -> CPU and time."""
    people, gate = sum(batch.n for batch in batches), gate_of(run.gate)
    assert gate is not None
    before, taken = admission.admitted, []
    postgres_s, began, cpu = database.cpu_s() or 0.0, time.perf_counter(), time.process_time()
    for at in range(0, len(batches), size):
        asked = time.perf_counter()
        (waiting,) = await admission.admit([Asked(batches[at : at + size], run, "")])
        taken.append(time.perf_counter() - asked)
        if waiting:
            raise SystemExit(f"{len(waiting)} batches wait: everybody was meant to go")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    postgres_s = (database.cpu_s() or 0.0) - postgres_s
    if admission.admitted - before != people:
        raise SystemExit(f"{admission.admitted - before} of {people} were admitted: everybody was meant to be")
    taken.sort()
    return {
        "people": people,
        "postgres_us": postgres_s / people * 1e6,
        "worker_us": cpu / people * 1e6,
        "ms": taken[len(taken) // 2] * 1e3,
        "p99_ms": taken[int(len(taken) * 0.99)] * 1e3,
        "people_per_s": people / wall,
    }


async def measure(people: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """-> what was measured, by what was asked."""
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        settings = Settings(
            database=DatabaseSettings(data_root=folder, deadline_s=60.0),
            carriers={LANE: CarrierSettings(host="127.0.0.1", port=1, system_id="x")},
        )
        async with app.open_database(settings) as database, database.connection() as connection:
            list_id = await _life.make_people(connection, people)
            await _life.make_past(connection, list_id, app.CLOCK.wall())
            admission = Admission(lambda: postgres.connect(database.dsn), app.CLOCK, 60.0)
            chance = random.Random(7)
            for round_ in range(rounds):
                run = await new_run(connection, list_id, MessageClass.BULK)
                await runs.materialise(connection, run, [1], people, app.CLOCK.wall())
                batches: list[Batch] = []
                while len(batches) < CHUNKS_A_ROUND * len(SIZES):
                    claimed = await queue.claim(connection, run.lanes[0], "bench", app.CLOCK.wall(), 64)
                    batches += claimed.batches
                    if not claimed.batches:
                        break
                share = min(CHUNKS_A_ROUND, len(batches) // len(SIZES))
                if not round_:
                    # What is made once a process, or once a run, is told apart.
                    began = time.perf_counter()
                    await admission.admit([Asked(batches[-1:], run, "")])
                    found["the first question of a process"] = [{"ms": (time.perf_counter() - began) * 1e3}]
                    batches.pop()
                for at, size in enumerate(SIZES):
                    chunks = batches[at * share : (at + 1) * share]
                    found.setdefault(f"{size} chunks a claim", []).append(
                        await ask(database, admission, run, chunks, size)
                    )
                del batches, chunks
                await forget(connection, run)
                for few in FEW:
                    run = await new_run(connection, list_id, MessageClass.TRIGGERED)
                    numbers = chance.sample(range(447700000000, 447700000000 + people), few * FEW_CHUNKS * FEW_CLAIMS)
                    batches = [
                        Batch.of(1 + at, numbers[at * few : (at + 1) * few], run=run.id)
                        for at in range(FEW_CHUNKS * FEW_CLAIMS)
                    ]
                    found.setdefault(f"{FEW_CHUNKS} chunks of {few} a claim", []).append(
                        await ask(database, admission, run, batches, FEW_CHUNKS)
                    )
                    await forget(connection, run)
            await admission.close()
    return found


def figures_of(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What was measured, as figures."""
    taken = []
    for what, rounds in found.items():
        for key, name, unit, floor in (
            ("postgres_us", "CPU, Postgres", "us/person", 3.0 if "chunks a claim" in what else None),
            ("worker_us", "CPU, worker", "us/person", None),
            ("ms", "a claim, median", "ms", None),
            ("p99_ms", "a claim, p99", "ms", None),
        ):
            if key in rounds[0]:
                values = [one[key] for one in rounds]
                taken.append(figures.figure(f"{what}: {name}", values, unit, better=figures.LOWER, floor=floor))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask the gate about claimed chunks.")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--people", type=int)
    parser.add_argument("--quick", action="store_true", help="one round of 200,000 people")
    options = parser.parse_args()
    load = machine.load()
    people = options.people or (200_000 if options.quick else PEOPLE)
    found = app.run(measure(people, options.rounds or (1 if options.quick else ROUNDS)))
    details = {"people": people, "runs": found}
    result = figures.result("gate", figures_of(found), details, quick=options.quick, load=load)
    print(figures.table(result["figures"]), file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
