"""Orders and workers between a real Postgres and the simulator: who stops, how soon, and what is taken back."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.dispatch.worker import Worker
from gateway.errors import StoreError
from gateway.message import ChunkState
from gateway.simulator.behaviour import Account, Limit, Responses
from gateway.store import control, postgres
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import Engine, engine, only_lane, until

# What every worker obeys within.
BOUND_S = 1.0


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


async def give(e: Engine, action: str, key: str = "acme", scope: str = "carrier", **how: Any) -> int:
    (order,) = await control.give(
        e.connection, action, scope, [key], **{"at": datetime.now(UTC), "by": "ann@here", **how}
    )
    return order


def report(worker: Worker) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(worker.report())
    return found


def submitted(workers: list[Worker]) -> int:
    return sum(only_lane(worker).carrier.ledger.submitted for worker in workers)


async def rests(workers: list[Worker]) -> bool:
    """Whether nothing leaves for a tenth of a second."""
    before = submitted(workers)
    await asyncio.sleep(0.1)
    return submitted(workers) == before


@pytest.mark.covers("X.5")
async def test_two_workers_stop_within_a_second_of_a_pause_and_go_on_after_it(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1)) as e:
        e.carrier_settings = {"tps": 500, "adaptive": False, "binds": 2}
        run = await e.run(numbers(4000))
        workers = list(await asyncio.gather(e.start(), e.start()))
        await until(lambda: all(submitted([worker]) > 50 for worker in workers), "both send")
        await give(e, "pause", reason="asked by the carrier")
        await until(lambda: all(only_lane(worker).carrier.backlog.paused for worker in workers), "both obey", BOUND_S)
        assert await rests(workers) and submitted(workers) < 4000
        assert all(report(worker)["carriers"]["acme"]["control"]["stands"] == "paused" for worker in workers)
        await give(e, "resume")
        await e.ends(run)
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)


async def test_without_a_notification_the_poll_is_soon_enough(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(*_: Any) -> None:
        pass

    monkeypatch.setattr(control, "listen", deaf)
    async with engine(dsn, ledger) as e:
        worker = await e.start()
        await give(e, "pause")
        await until(lambda: only_lane(worker).carrier.backlog.paused, "it obeys", BOUND_S)


async def test_pause_with_an_end_ends_by_itself(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        await give(e, "pause", until=datetime.now(UTC) + timedelta(seconds=1))
        run = await e.run(numbers(100))
        worker = await e.start()
        assert only_lane(worker).carrier.backlog.paused
        await e.ends(run)
        assert not only_lane(worker).carrier.backlog.paused


async def test_worker_that_starts_reads_the_orders_before_it_claims(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        await give(e, "pause")
        run = await e.run(numbers(100))
        worker = await e.start()
        await until(lambda: only_lane(worker).carrier.is_up, "it is bound")
        assert await rests([worker])
        assert {row["state"] for row in await e.connection.fetch("SELECT state FROM chunk")} == {ChunkState.READY}
        await give(e, "resume")
        await e.ends(run)


@pytest.mark.covers("X.5")
@pytest.mark.parametrize("scope", ["campaign", "country", "sender"])
async def test_paused_part_rests_claimed_or_not_while_the_others_go_on(dsn: str, ledger: Path, scope: str) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1)) as e:
        e.carrier_settings = {"tps": 400, "adaptive": False, "source": "House", "source_ton": 5}
        stopped = await e.run(numbers(3000), name="spring")
        key = {"campaign": "spring", "country": "DE", "sender": "Brand"}[scope]
        await e.connection.execute("UPDATE chunk SET country = 133, source = 'Brand'")
        worker = await e.start()
        await until(lambda: submitted([worker]) > 50, "it sends")
        assert only_lane(worker).carrier.backlog.batches()
        await give(e, "pause", key, scope)
        await until(lambda: rests([worker]), "it obeys", BOUND_S)
        before = submitted([worker])
        other = await e.run(numbers(100, 447711000000), name="autumn")
        await e.ends(other)
        assert submitted([worker]) == before + 100
        await give(e, "resume", key, scope)
        await e.ends(stopped)
        assert await e.states(stopped) == {"delivered": 3000} and submitted([worker]) == 3100


async def test_of_a_drained_part_what_is_claimed_leaves_and_nothing_more_is_claimed(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1)) as e:
        e.carrier_settings = {"tps": 2000, "adaptive": False}
        run = await e.run(numbers(8000), name="spring")
        worker = await e.start()
        await until(lambda: submitted([worker]) > 50, "it sends")
        order = await give(e, "drain", "spring", "campaign")
        await until(lambda: order in report(worker)["control"]["orders"], "it obeys", BOUND_S)
        backlog = only_lane(worker).carrier.backlog
        begun = submitted([worker]) + backlog.unsent
        assert backlog.unsent and not any(batch.paused for batch in backlog.batches())
        await until(lambda: not backlog.unsent, "what was claimed has left")
        assert await rests([worker]) and begun <= submitted([worker]) < 8000
        await give(e, "resume", "spring", "campaign")
        await e.ends(run)
        assert await e.states(run) == {"delivered": 8000}


async def test_pause_of_the_carriers_own_sender_takes_in_messages_that_name_none(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        e.carrier_settings = {"source": "House", "source_ton": 5}
        await give(e, "pause", "House", "sender")
        run = await e.run(numbers(100))
        worker = await e.start()
        await until(lambda: only_lane(worker).carrier.is_up, "it is bound")
        assert await rests([worker]) and submitted([worker]) == 0
        await give(e, "resume", "House", "sender")
        await e.ends(run)


async def test_drained_carrier_finishes_what_is_begun_unbinds_and_binds_again(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=100)) as e:
        e.carrier_settings = {"binds": 2, "window": 10}
        run = await e.run(numbers(2000))
        worker = await e.start()
        lane = only_lane(worker)
        await until(lambda: lane.carrier.ledger.accepted > 30, "some are accepted")
        assert lane.carrier.in_flight
        await give(e, "drain")
        await until(lambda: report(worker)["carriers"]["acme"]["control"]["stands"] == "drained", "it is drained")
        # Down, and from the next look at the slots on no binds of ours at all.
        assert {bind.phase for bind in lane.carrier.binds} <= {"down"}

        async def is_given_back() -> bool:
            return {row["state"] for row in await e.connection.fetch("SELECT DISTINCT state FROM chunk")} <= {
                ChunkState.READY, ChunkState.DONE,
            }  # fmt: skip

        await until(is_given_back, "what nobody began is for others")
        assert await e.connection.fetchval("SELECT count(*) FROM outcome WHERE status = -1") == 0
        await give(e, "resume")
        await e.ends(run)
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)


async def test_drained_carrier_stays_down_when_a_worker_starts(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        await give(e, "drain")
        run = await e.run(numbers(10))
        worker = await e.start()
        await until(lambda: report(worker)["carriers"]["acme"]["control"]["stands"] == "drained", "it stays as it is")
        assert not only_lane(worker).carrier.is_any_bound
        await give(e, "resume")
        await e.ends(run)


async def test_tuned_settings_hold_on_every_worker_and_after_a_restart_until_they_are_reset(
    dsn: str, ledger: Path
) -> None:
    async with engine(dsn, ledger) as e:
        # Two workers have a bind and half of the rate each; what is raised is used when a second has passed over it.
        e.carrier_settings = {"tps": 100, "adaptive": False, "max_attempts": 3, "binds": 2}
        workers = list(await asyncio.gather(e.start(), e.start()))
        await give(e, "tune", value={"tps": 700, "window": 77, "max_attempts": 9, "retry_delay_s": 0.5})

        def in_force(worker: Worker) -> tuple[Any, ...]:
            carrier = only_lane(worker).carrier
            if len(carrier.binds) != 1 or carrier.binds[0].link is None:
                return ()
            exchange = carrier.binds[0].link.exchange
            return carrier.throttle.per_s, exchange.window.size, exchange.max_attempts, exchange.retry_delay_s

        await until(lambda: all(in_force(one) == (350, 77, 9, 0.5) for one in workers), "both obey", 4 * BOUND_S)
        await e.stop(workers[0])
        third = await e.start()
        await until(lambda: in_force(third) == (350, 77, 9, 0.5), "a new one obeys")
        assert report(third)["carriers"]["acme"]["control"]["tuned"]["tps"] == 700
        await give(e, "reset", value=dict.fromkeys(("tps", "window", "max_attempts", "retry_delay_s")))
        await until(lambda: in_force(third) == (50, 50, 3, 1.0), "the settings hold again", BOUND_S)


async def test_account_becomes_adaptive_and_fixed_while_it_runs(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        e.carrier_settings = {"tps": 1000, "adaptive": False}
        run = await e.run(numbers(2000))
        worker = await e.start()
        carrier = only_lane(worker).carrier
        await give(e, "tune", value={"adaptive": True})
        await until(lambda: carrier.flow.pace is not None, "it is adaptive", BOUND_S)
        assert carrier.throttle.per_s < 1000
        await give(e, "tune", value={"adaptive": False})
        await until(lambda: carrier.flow.pace is None and carrier.throttle.per_s == 1000, "it is fixed", BOUND_S)
        await e.ends(run)


async def test_limit_set_half_over_what_the_carrier_bears_is_taken_back_within_ten_seconds(
    dsn: str, ledger: Path
) -> None:
    """Real sockets, a hidden limit of 200 in every sliding second, adaptive off."""
    limited = Limit(model="sliding")
    async with engine(dsn, ledger, account=(Account(tps=200),), limit=limited, responses=Responses(delay_ms=5)) as e:
        e.carrier_settings = {"tps": 190, "adaptive": False, "throttle_pause_s": 0.02}
        await e.run(numbers(6000))
        worker = await e.start()
        carrier = only_lane(worker).carrier
        await until(lambda: carrier.ledger.accepted > 400, "it sends for a while")
        assert carrier.ledger.throttled == 0
        loop = asyncio.get_running_loop()
        order, ordered_at = await give(e, "tune", value={"tps": 285}), loop.time()
        await until(lambda: carrier.throttle.per_s == 285, "it is in force", BOUND_S)
        await until(lambda: carrier.throttle.per_s == 190, "it is taken back", 10.0)
        took_s = loop.time() - ordered_at
        assert took_s < 10.0
        back = await e.connection.fetchrow("SELECT * FROM control WHERE undoes = $1", order)
        assert back["action"] == "rollback" and "throttled answers rose from 0.0%" in back["reason"]
        assert back["by"] == worker.instance


async def test_change_that_is_to_be_kept_is_kept(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, account=(Account(tps=200),), limit=Limit(model="sliding")) as e:
        e.carrier_settings = {"tps": 190, "adaptive": False, "throttle_pause_s": 0.02}
        await e.run(numbers(4000))
        worker = await e.start()
        carrier = only_lane(worker).carrier
        await until(lambda: carrier.ledger.accepted > 100, "it sends for a while")
        await give(e, "tune", value={"tps": 400}, is_kept=True)
        await until(lambda: carrier.ledger.throttled > 200, "the carrier refuses")
        assert carrier.throttle.per_s == 400
        assert await e.connection.fetchval("SELECT count(*) FROM control WHERE action = 'rollback'") == 0


async def test_order_that_does_not_fit_the_settings_is_told_of_and_changes_nothing(dsn: str, ledger: Path) -> None:
    """Given under other settings, for example."""
    async with engine(dsn, ledger) as e:
        e.carrier_settings = {"tps": 100, "adaptive": False}
        worker = await e.start()
        await give(e, "tune", value={"window": 0})
        await until(
            lambda: "carriers.acme.window" in report(worker)["carriers"]["acme"]["control"]["trouble"], "it is told"
        )
        assert only_lane(worker).carrier.settings.window == 50


async def test_orders_that_cannot_be_read_leave_the_last_ones_in_force_and_the_report_says_so(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(dsn, ledger) as e:
        await give(e, "pause")
        worker = await e.start()

        async def away(*_: Any) -> None:
            raise StoreError("nobody answers", retryable=True)

        with monkeypatch.context() as patched:
            patched.setattr(control, "state", away)
            await until(lambda: "nobody answers" in report(worker)["control"]["trouble"], "it is told")
            assert only_lane(worker).carrier.backlog.paused
            await give(e, "resume")
        await until(lambda: not only_lane(worker).carrier.backlog.paused, "it reads again")
        assert report(worker)["control"]["trouble"] == ""


async def test_worker_reports_every_second_while_somebody_looks(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.dispatch.worker.HEARTBEAT_S", 3600.0)
    monkeypatch.setattr("gateway.dispatch.worker.WATCHED_S", 0.05)
    async with engine(dsn, ledger) as e:
        worker = await e.start()
        await until(lambda: only_lane(worker).carrier.is_up, "it is bound")
        seen = "SELECT seen_at FROM worker"

        async def is_told() -> bool:
            return bool(
                await e.connection.fetchval("SELECT report -> 'carriers' -> 'acme' ->> 'up' = 'true' FROM worker")
            )

        await until(is_told, "the bind is told of")
        before = await e.connection.fetchval(seen)
        watching = await postgres.connect(dsn)
        try:
            await control.watch(watching)
        finally:
            watching.terminate()

        async def has_beaten() -> bool:
            return bool(await e.connection.fetchval(seen) > before)

        await until(has_beaten, "a beat of its own", 5.0)
