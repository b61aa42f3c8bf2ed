"""What stops, and that it goes on by itself; the readers, the clocks and the loops that ask are the test's own."""

import asyncio
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.dispatch.clock import Clock
from gateway.dispatch.control import Control
from gateway.dispatch.guards import SILENCE_S, Guards, Surroundings
from gateway.dispatch.memory import Limits
from gateway.message import MessageClass
from gateway.simulator.behaviour import Account, Receipts
from gateway.store import control, runs
from gateway.store.control import Order, State
from gateway.store.standing import Bloated, History, Standing
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import engine, only_lane, until
from tests.fixtures.now import Now

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Fake:
    """Guards over one carrier that is nothing but what they touch."""

    def __init__(self) -> None:
        self.now, self.wall = Now(), AT
        self.sizes, self.free = (0, 0), 1000 << 20
        self.history = History(lambda: self.wall)
        self.control = Control(Clock(self.now, lambda: self.wall), self.connect, 1.0, "test")
        self.backlog = SimpleNamespace(paused=False)
        self.rests: list[bool] = []
        link = SimpleNamespace(rest=self.rests.append)
        self.pumps = 0
        self.carrier: Any = SimpleNamespace(
            settings=None, is_stopped=False, backlog=self.backlog, binds=[SimpleNamespace(link=link)], pump=self.pump
        )
        self.dispatcher: Any = SimpleNamespace(barred="", is_short=False, watch=None)
        self.asker = SimpleNamespace(asked_at=None, answered_at=-math.inf, is_away=False)
        self.guards = Guards(
            self.control, Clock(self.now, lambda: self.wall), self.connect, 1.0,
            Surroundings(
                sizes=lambda: self.sizes, memory=Limits(resident=1000), free_octets=lambda: self.free,
                min_free=100 << 20, history=self.history,
            ),
        )  # fmt: skip
        self.control.steer("acme", self.carrier, self.dispatcher)
        self.guards.guard("acme", self.carrier, self.dispatcher, self.asker)

    def pump(self) -> None:
        self.pumps += 1

    async def connect(self) -> Any:
        raise AssertionError("nobody connects here")

    def go_on(self, seconds: float) -> None:
        self.now.forward(seconds)
        self.wall += timedelta(seconds=seconds)

    def order(self, id: int, scope: str, key: str) -> None:
        one = Order(id=id, at=AT, by="me", action="resume", scope=scope, key=key, until=None, reason="")
        self.control.state = State((*self.control.state.orders, one))


def test_answer_that_is_owed_for_long_stops_the_carrier_and_the_answer_lets_it_go_on() -> None:
    """Faults 70 and 71: at 0.8 s, so that sending stops within a second."""
    fake = Fake()
    fake.guards.answered_at = math.inf
    fake.asker.asked_at = fake.now()
    fake.go_on(SILENCE_S - 0.01)
    fake.guards.look_at_postgres(fake.now())
    assert not fake.backlog.paused
    fake.go_on(0.02)
    fake.guards.look_at_postgres(fake.now())
    assert fake.backlog.paused and fake.control.report("acme")["halted"] == "Postgres does not answer"
    fake.asker.asked_at, fake.asker.answered_at = None, fake.now()
    fake.guards.look_at_postgres(fake.now())
    assert not fake.backlog.paused and fake.pumps == 2


def test_error_of_postgres_stops_the_carrier_at_once() -> None:
    """Fault 63."""
    fake = Fake()
    fake.asker.is_away = True
    fake.guards.look_at_postgres(fake.now())
    assert fake.backlog.paused


def test_beat_without_an_answer_stops_a_carrier_that_has_none_either_and_no_other() -> None:
    """Fault 72: a beat that gets no connection is no reason to stop what has its own."""
    fake = Fake()
    fake.guards.is_away = True
    fake.asker.answered_at = fake.now()
    fake.guards.look_at_postgres(fake.now())
    assert not fake.backlog.paused
    fake.go_on(1.0)
    fake.guards.look_at_postgres(fake.now())
    assert fake.backlog.paused


def test_end_of_silence_does_not_lift_a_pause_by_order_and_the_other_way_round() -> None:
    fake = Fake()
    pause = Order(id=1, at=AT, by="me", action="pause", scope="carrier", key="acme", until=None, reason="")
    (steered,) = fake.control._steered
    fake.control.state = State((pause,))
    fake.control._stand(steered)
    fake.asker.is_away = True
    fake.guards.look_at_postgres(fake.now())
    fake.asker.is_away = False
    fake.guards.look_at_postgres(fake.now())
    assert fake.backlog.paused and fake.control.report("acme")["stands"] == "paused"
    fake.asker.is_away = True
    fake.guards.look_at_postgres(fake.now())
    fake.control.state = State()
    fake.control._stand(steered)
    assert fake.backlog.paused and fake.control.report("acme")["stands"] == "halted"


def test_little_room_on_the_disk_bars_claims_until_there_is_more() -> None:
    """Fault 67, case 12: there must be room to end what was begun."""
    fake = Fake()
    fake.free = 99 << 20
    fake.guards.look()
    assert "99 MB" in fake.dispatcher.barred and not fake.backlog.paused
    assert "disk" in fake.guards.report()["alarms"]
    fake.free = 100 << 20
    fake.guards.look()
    assert fake.dispatcher.barred == "" and fake.guards.report()["alarms"] == {}


def test_memory_shortens_claims_at_80_percent_and_ends_them_and_the_reading_at_95() -> None:
    """Fault 10."""
    fake = Fake()
    seen = []
    for used in (700, 850, 960, 700):
        fake.sizes = (used, 0)
        fake.guards.look()
        seen.append((fake.dispatcher.is_short, bool(fake.dispatcher.barred), fake.rests[-1]))
    assert seen == [(False, False, False), (True, False, False), (False, True, True), (False, False, False)]


def test_recovery_hold_stops_all_before_the_connection_that_showed_it_is_used_and_ends_by_its_order() -> None:
    """Case 11, fault 77."""
    fake = Fake()
    fake.history.judge(Standing(system=7, timeline="00000001", lsn=5000), None)
    fake.history.judge(Standing(system=7, timeline="00000002", lsn=4500), "1\t0/1000\tx\n")
    assert fake.backlog.paused and fake.dispatcher.barred == fake.guards.hold != ""
    fake.order(1, "failover", "7/00000001")
    fake.guards.look()
    assert fake.backlog.paused, "an order for another history accepts nothing"
    fake.order(2, "failover", "7/00000002")
    fake.guards.look()
    assert not fake.backlog.paused and fake.dispatcher.barred == ""
    fake.history.judge(Standing(system=7, timeline="00000002", lsn=9 << 20), None)
    fake.history.judge(Standing(system=7, timeline="00000002", lsn=5000), None)
    fake.guards.look()
    assert fake.backlog.paused, "an order accepts one loss of history"
    fake.order(3, "failover", "7/00000002")
    fake.guards.look()
    assert not fake.backlog.paused


def test_order_that_was_read_just_before_the_hold_began_does_not_end_it() -> None:
    fake = Fake()
    fake.history.judge(Standing(system=7, timeline="00000001", lsn=5 << 20), None)
    fake.order(1, "failover", "7/00000001")
    fake.history.judge(Standing(system=7, timeline="00000001", lsn=5000), None)
    fake.guards.look()
    assert fake.backlog.paused


def test_grant_that_is_missing_is_advice_that_stops_nothing_and_no_alarm() -> None:
    fake = Fake()
    fake.history.judge(Standing(system=7, timeline="00000001", lsn=5, missing_grant="GRANT x", database="d"), None)
    fake.guards.look()
    report = fake.guards.report()
    assert report["alarms"] == {} and report["advice"] == [fake.history.advice]
    assert fake.history.advice.endswith("run, in the database d: GRANT x")
    assert not fake.backlog.paused and fake.dispatcher.barred == ""
    fake.history.judge(Standing(system=7, timeline="00000001", lsn=5), None)
    assert fake.guards.report()["advice"] == []


def test_old_transactions_are_told_once_and_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Fault 76."""
    fake = Fake()
    alarms = []
    for age in (200_000_000, 999_999_999, 1_000_000_000, 1_900_000_000, 50_000_000):
        fake.history.judge(Standing(system=7, timeline="00000001", lsn=5, xid_age=age), None)
        fake.guards.look()
        alarms.append(fake.guards.report()["alarms"].get("transactions", ""))
    assert alarms[:2] == ["", ""] and alarms[4] == ""
    assert "1,000 million old" in alarms[2] and "1,900 million old" in alarms[3]
    assert len(caplog.records) == 2 and caplog.records[0].getMessage() == f"! {alarms[2]}"
    assert not fake.backlog.paused and fake.dispatcher.barred == ""


def test_table_that_stays_full_of_dead_rows_is_advice_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Fault 75."""
    fake = Fake()
    chunk, flush = Bloated("chunk", 600_000, 100_000), Bloated("flush", 200_000, 9)
    fake.guards.look_at_bloat(0.0, [chunk])
    fake.guards.look_at_bloat(599.0, [chunk, flush])
    assert fake.guards.report()["advice"] == []
    for now in (600.0, 660.0):
        fake.guards.look_at_bloat(now, [chunk, flush])
        (advice,) = fake.guards.report()["advice"]
        assert "600,000 beside 100,000" in advice and advice.endswith("then VACUUM chunk")
    assert [record.getMessage() for record in caplog.records] == [
        "! bloat: chunk has held far more dead rows than living ones for 10 min, now 600,000 beside 100,000: see what "
        "holds the vacuum up (autovacuum, a transaction, a prepared one or a replication slot that is open for long), "
        "then VACUUM chunk"
    ]
    fake.guards.look_at_bloat(720.0, [flush])
    assert fake.guards.report()["advice"] == [] and fake.guards.report()["alarms"] == {}
    assert not fake.backlog.paused and fake.dispatcher.barred == ""


def test_distrusted_clock_is_believed_by_an_order_that_came_after_the_jump() -> None:
    """Fault 82."""
    fake = Fake()
    fake.order(1, "clock", "wall")
    fake.wall += timedelta(hours=1)
    fake.guards.look()
    fake.go_on(1.0)
    fake.guards.look()
    assert fake.guards.watch.distrusts and "clock" in fake.guards.report()["alarms"]
    fake.order(2, "clock", "wall")
    fake.guards.look()
    assert not fake.guards.watch.distrusts


# With a real worker ---------------------------------------------------------------------------------------------------


async def test_forward_jump_starts_no_campaign_of_tomorrow_and_codes_go_on(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 82: the wall clock of the worker jumps a day; the campaign waits, a code leaves, and an order ends it."""
    jump = timedelta()
    from gateway import app

    real = app.CLOCK
    monkeypatch.setattr(app, "CLOCK", Clock(real.monotonic, lambda: real.wall() + jump))
    async with engine(dsn, tmp_path / "ledger.csv", account=(Account(tps=1000),)) as e:
        worker = await e.start()
        lane = only_lane(worker)
        await until(lambda: lane.carrier.is_up, "the carrier is up")
        await until(lambda: worker.guards.watch.distrusts is False, "the clock is believed")
        jump = timedelta(days=1)
        await until(lambda: worker.guards.watch.distrusts, "the jump is seen")
        later = await e.run(numbers(50), class_=MessageClass.BULK, now=real.wall() + timedelta(hours=3))
        code = await e.run(numbers(5), class_=MessageClass.OTP, now=real.wall())
        await e.ends(code)
        assert await e.connection.fetchval("SELECT count(*) FROM chunk WHERE run = $1 AND state <> 0", later.id) == 0
        assert "clock_distrust" in worker.report()
        await control.give(
            e.connection, "resume", "clock", ["wall"], at=real.wall(), by="test", until=None, reason="it is right"
        )
        await e.ends(later)


async def test_memory_short_to_the_end_claims_nothing_and_goes_on_with_more(dsn: str, tmp_path: Path) -> None:
    """Fault 10, with a worker: the reader of sizes is the test's."""
    from gateway import app

    size = 990
    async with engine(dsn, tmp_path / "ledger.csv") as e:
        around = Surroundings(sizes=lambda: (size, 0), memory=Limits(resident=1000))
        worker = app.new_worker(e.settings(), dsn, chance=random.Random(1), around=around)
        worker.guards.look()
        await worker.start()
        e.workers.append(worker)
        run = await e.run(numbers(100))
        await until(lambda: only_lane(worker).carrier.is_up, "the carrier is up")
        assert "takes no receipts" in only_lane(worker).dispatcher.barred
        assert await runs.open_chunks(e.connection, run.id)
        size = 100
        await e.ends(run)


async def test_receipts_wait_at_the_smsc_while_memory_is_short(dsn: str, tmp_path: Path) -> None:
    """Fault 10 with 57: a socket that owes receipts is not read, the session lives, and nothing is lost."""
    from gateway import app

    size = 100
    async with engine(dsn, tmp_path / "ledger.csv", receipts=Receipts(delay_ms=200)) as e:
        around = Surroundings(sizes=lambda: (size, 0), memory=Limits(resident=1000))
        worker = app.new_worker(e.settings(), dsn, chance=random.Random(1), around=around)
        await worker.start()
        e.workers.append(worker)
        run = await e.run(numbers(200))
        lane = only_lane(worker)
        await until(lambda: lane.carrier.ledger.accepted == 200, "all is accepted")
        size = 990
        await until(lambda: bool(lane.dispatcher.barred), "the ladder is at its end")
        binds = lane.carrier.binds[0].binds
        size = 100
        await e.ends(run)
        assert await e.states(run) == {"delivered": 200} and lane.carrier.binds[0].binds == binds


async def test_loops_of_a_worker_that_is_dropped_where_they_wait_say_nothing() -> None:
    """As a worker of the simulation is, which is killed or lives to the end of its world."""
    fake = Fake()
    loops = [asyncio.create_task(fake.guards.run()), asyncio.create_task(fake.guards.beat())]
    await asyncio.sleep(0)
    for task in loops:
        coroutine: Any = task.get_coro()
        coroutine.close()
        task.cancel()
    await asyncio.gather(*loops, return_exceptions=True)


async def test_guards_end_with_their_worker(dsn: str, tmp_path: Path) -> None:
    async with engine(dsn, tmp_path / "ledger.csv") as e:
        worker = await e.start()
        started = worker.guards.answered_at
        await until(lambda: worker.guards.answered_at > started, "a beat is answered")
        await e.stop(worker)
        assert not {"guards", "history", "beat"} & {task.get_name() for task in asyncio.all_tasks()}
