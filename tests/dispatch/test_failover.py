"""Carriers that die, that fail messages, and time that runs out: real links, a real Postgres."""

import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import app, routing
from gateway.config import CarrierSettings, DatabaseSettings, Settings, WorkerSettings
from gateway.dispatch import failover
from gateway.dispatch.worker import Worker
from gateway.message import ChunkState, MessageClass, Policy
from gateway.routing import RouteCarrier, RouteSettings, RouteTable
from gateway.simulator import behaviour
from gateway.simulator.behaviour import Receipts, Responses
from gateway.simulator.ledger import read
from gateway.simulator.smsc import Smsc
from gateway.store import postgres, runs
from gateway.store.runs import Run
from tests.fixtures.campaign import make_list, numbers, states
from tests.fixtures.engine import until
from tests.fixtures.node_away import Nodes

CARRIERS = ("acme", "beta")


class Pair:
    """Two simulators, one worker, and a route that prefers acme."""

    def __init__(self, dsn: str, folder: Path, connection: Any):
        self.dsn, self.folder, self.connection = dsn, folder, connection
        self.centres: dict[str, Smsc] = {}
        self.extra: dict[str, dict[str, Any]] = {"acme": {}, "beta": {}}
        self.worker: Worker | None = None

    async def serve(self, name: str, **carrier: Any) -> None:
        """Start a simulator."""
        ledger = str(self.folder / f"{name}.csv")
        self.centres[name] = Smsc(
            behaviour.Settings(seed=1, ledger=ledger, carrier=(behaviour.Carrier(**carrier),))
        )  # fmt: skip
        await self.centres[name].start()

    async def start(self) -> Worker:
        """Start the worker."""
        route = RouteSettings(carriers=(RouteCarrier(carrier="acme"), RouteCarrier(carrier="beta", priority=2)))
        settled: dict[str, Any] = {
            "host": "127.0.0.1", "system_id": "test", "window": 20, "reconnect_first_s": 0.05,
            "reconnect_longest_s": 0.2, "response_timeout_s": 2.0, "failover_after_s": 0.3, "max_attempts": 1,
        }  # fmt: skip
        settings = Settings(
            database=DatabaseSettings(dsn=self.dsn, deadline_s=5.0),
            worker=WorkerSettings(flush_interval_s=0.005, match_interval_s=0.05, evidence_s=0.0),
            carriers={
                name: CarrierSettings(**settled, port=self.centres[name].port, **self.extra[name]) for name in CARRIERS
            },
            routes=(route,),
        )
        self.worker = app.new_worker(settings, self.dsn, chance=random.Random(1))
        await self.worker.start()
        return self.worker

    async def enqueue(self, people: Any, expires_at: datetime | None = None) -> Run:
        """Queue people by the route, as if both were up."""
        now = app.CLOCK.wall()
        lanes = {name: await runs.lane_of(self.connection, name, now) for name in CARRIERS}
        list_id = await make_list(self.connection, people, f"list {now}")
        run = await runs.add_run(
            self.connection, name="x", template="Hi", fields=(), class_=MessageClass.BULK, policy=Policy.ONCE,
            lanes=list(lanes.values()), list_id=list_id, source=None, now=now, expires_at=expires_at,
        )  # fmt: skip
        route = RouteSettings(carriers=(RouteCarrier(carrier="acme"), RouteCarrier(carrier="beta", priority=2)))
        table = RouteTable(dict.fromkeys(CARRIERS, 1), (route,))
        plan = routing.plan(lanes, MessageClass.BULK, "", now, {}, table)
        await runs.materialise(self.connection, run, [], len(people), now, plan)
        found = await runs.run_by_id(self.connection, run.id)
        assert found is not None
        return found

    def taken(self) -> Counter[int]:
        """How often each number was taken, by both together."""
        found: Counter[int] = Counter()
        for name in CARRIERS:
            path = self.folder / f"{name}.csv"
            if path.exists():
                found += Counter(int(message.destination) for message in read(path) if message.status == 0)
        return found

    async def ends(self, run: Run, expected: dict[str, int]) -> None:
        """Wait for the states of a run."""
        found: dict[str, int] = {}

        async def is_so() -> bool:
            nonlocal found
            assert self.worker is not None and self.worker.failed is not None
            if self.worker.failed.done():
                self.worker.failed.result()
            found = await states(self.connection, run)
            return found == expected and not await runs.open_chunks(self.connection, run.id)

        try:
            await until(is_so, f"{expected}")
        except AssertionError as error:
            raise AssertionError(f"{error}, found {found}") from None


@pytest.fixture
async def pair(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr(failover, "STEP_S", 0.05)
    connection = await postgres.connect(dsn)
    await runs.ensure_partitions(connection, app.CLOCK.wall())
    made = Pair(dsn, tmp_path, connection)
    yield made
    if made.worker is not None:
        await made.worker.stop(2.0)
    for centre in made.centres.values():
        with contextlib.suppress(Exception):
            await centre.stop()
    connection.terminate()


async def test_what_waits_for_a_carrier_that_dies_goes_to_the_next_and_nobody_gets_it_twice(pair: Pair) -> None:
    await pair.serve("acme", responses=Responses(delay_ms=20), receipts=Receipts(delay_ms=1))
    await pair.serve("beta", receipts=Receipts(delay_ms=1))
    pair.extra["acme"] = {"tps": 400}
    run = await pair.enqueue(list(numbers(3000)))
    worker = await pair.start()
    ledger = next(lane for lane in worker.lanes if lane.name == "acme").carrier.ledger
    await until(lambda: ledger.accepted > 100, "acme has taken some")
    await pair.centres["acme"].stop()

    async def is_over() -> bool:
        if await runs.open_chunks(pair.connection, run.id):
            return False
        counted = await states(pair.connection, run)
        return sum(counted.values()) == 3000 and worker.failover.moved_chunks > 0

    await until(is_over, "every message has its state")
    counted, taken = await states(pair.connection, run), pair.taken()
    assert max(taken.values()) == 1
    # What was in flight when acme died is in doubt or without its receipt; all else has arrived.
    assert counted["delivered"] > 2000 and set(counted) <= {"delivered", "submitted", "uncertain"}
    assert len(taken) >= 3000 - counted.get("uncertain", 0)
    moved = await pair.connection.fetchval("SELECT count(*) FROM chunk WHERE state = $1", ChunkState.MOVED)
    assert moved == worker.failover.moved_chunks


async def test_a_worker_starts_and_serves_its_lanes_while_the_node_of_one_is_away(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 46 of writing for Citus: with a node down its lanes fail, and the others go on."""
    await pair.serve("acme", receipts=Receipts(delay_ms=1))
    await pair.serve("beta", receipts=Receipts(delay_ms=1))
    lanes = {name: await runs.lane_of(pair.connection, name, app.CLOCK.wall()) for name in CARRIERS}
    made = []
    for name in CARRIERS:
        list_id = await make_list(pair.connection, list(numbers(300)), name)
        run = await runs.add_run(
            pair.connection, name=name, template="Hi", fields=(), class_=MessageClass.BULK, policy=Policy.ONCE,
            lanes=[lanes[name]], list_id=list_id, source=None, now=app.CLOCK.wall(),
        )  # fmt: skip
        await runs.materialise(pair.connection, run, [1], 300, app.CLOCK.wall())
        made.append(run)
    nodes = Nodes(lambda: postgres.connect(pair.dsn))
    nodes.away.add(lanes["acme"])
    monkeypatch.setattr(app, "connector", lambda *of: nodes.connect)
    worker = await pair.start()
    await pair.ends(made[1], {"delivered": 300})
    assert sum(pair.taken().values()) == 300 and "n2:5432" in worker.failover.last_error
    nodes.away.clear()
    await pair.ends(made[0], {"delivered": 300})
    assert worker.lanes[0].dispatcher.last_error == "" and worker.lanes[0].rescue.last_error == ""


async def test_messages_that_a_carrier_fails_go_on_hidden_and_the_customer_sees_the_last_word(pair: Pair) -> None:
    """Some by a status whose word is reroute, some by the err of a receipt."""
    await pair.serve(
        "acme", responses=Responses(errors={"RSUBMITFAIL": 0.3}),
        receipts=Receipts(delay_ms=1, states={"DELIVRD": 0.5, "UNDELIV:050": 0.3, "UNDELIV:001": 0.2}),
    )  # fmt: skip
    await pair.serve("beta", receipts=Receipts(delay_ms=1))
    pair.extra["acme"] = {"statuses": {"0x45": "reroute"}, "reroute_errors": ("050",)}
    run = await pair.enqueue(list(numbers(600)))
    worker = await pair.start()
    lost = await until_receipts(pair, "UNDELIV:001", 600)
    await pair.ends(run, {"delivered": 600 - lost, "undeliverable": lost})
    went = worker.failover.rerouted
    assert 200 < went < 400 and went == sum(1 for m in read(pair.folder / "beta.csv") if m.status == 0)
    assert await pair.connection.fetchval("SELECT count(*) FROM repeated") == went


async def until_receipts(pair: Pair, word: str, people: int) -> int:
    """Wait until every message has its answer at both; -> receipts of acme with this err."""

    async def is_settled() -> bool:
        return bool(
            await pair.connection.fetchval(
                "SELECT (SELECT count(*) FROM outcome WHERE status = 0 AND lane = 1) = "
                "(SELECT count(*) FROM receipt WHERE lane = 1) AND (SELECT count(*) FROM outcome WHERE lane = 1) = $1",
                people,
            )
        )

    await until(is_settled, "acme has answered for everybody")
    err = word.partition(":")[2]
    return int(await pair.connection.fetchval("SELECT count(*) FROM receipt WHERE lane = 1 AND err = $1", err))


async def test_queued_messages_expire_although_their_carrier_is_down(pair: Pair) -> None:
    for name in CARRIERS:
        await pair.serve(name)
        await pair.centres[name].stop()
    run = await pair.enqueue(list(numbers(50)), expires_at=datetime.now(UTC) + timedelta(seconds=1))
    await pair.start()
    await pair.ends(run, {"refused": 50})


async def test_a_closed_carrier_loses_what_waits_though_it_is_up(pair: Pair) -> None:
    for name in CARRIERS:
        await pair.serve(name, receipts=Receipts(delay_ms=1))
    worker = await pair.start()
    await until(lambda: all(lane.carrier.is_up for lane in worker.lanes), "both are up")
    worker.lanes[0].dispatcher._wanted = lambda: (0, 0)  # type: ignore[method-assign]
    worker.failover._closed = lambda: ("acme",)
    run = await pair.enqueue(list(numbers(50)))
    await pair.ends(run, {"delivered": 50})
    assert worker.failover.moved_chunks == 1 and max(pair.taken().values()) == 1
    assert len(read(pair.folder / "beta.csv")) == 50
