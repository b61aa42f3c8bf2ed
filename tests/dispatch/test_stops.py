"""STOP on real workers: nothing after the acknowledgement, nothing promotional where the feed is stale, codes go on."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.dispatch.stops import CONFIRM_S, FRESH_S, Feed, Stops
from gateway.dispatch.worker import Worker
from gateway.errors import StoreError
from gateway.message import MessageClass, Policy, Refusal
from gateway.simulator.behaviour import Account, Receipts, Responses
from gateway.simulator.ledger import read
from gateway.store import membership, postgres, runs, stops
from gateway.store.stops import EVERYTHING, scope_of
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import Engine, engine, only_lane, until

FIRST = 447700900000


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


def stops_of(e: Engine, lease_s: float = 2.0) -> Stops:
    return Stops(app.CLOCK, lambda: postgres.connect(e.dsn), 5.0, lease_s, app.identity())


def submitted(workers: list[Worker]) -> int:
    return sum(only_lane(worker).carrier.ledger.submitted for worker in workers)


def last_submits(ledger: Path) -> dict[int, int]:
    """The moment, in nanoseconds, of the last submit_sm to each number, whatever became of it."""
    found: dict[int, int] = {}
    for message in read(ledger):
        number = int(message.destination)
        found[number] = max(found.get(number, 0), message.at_ns)
    return found


async def refused(e: Engine) -> set[int]:
    rows = await e.connection.fetch(
        "SELECT p.msisdn[o.pos + 1] AS number FROM outcome o "
        "JOIN chunk_payload p ON p.lane = o.lane AND p.chunk_id = o.chunk_id WHERE o.status = $1",
        Refusal.SUPPRESSED,
    )
    return {row["number"] for row in rows}


async def test_nothing_reaches_those_who_stop_in_the_middle_of_a_campaign(
    dsn: str, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 14 of the write protocol (S1): 200 STOPs at random moments, two workers, an SMSC that throttles."""
    chance = random.Random(4)
    many = 6_000
    async with engine(dsn, ledger, responses=Responses(delay_ms=5, errors={"RTHROTTLED": 0.002})) as e:
        e.carrier_settings = {"tps": 1500, "adaptive": False, "throttle_hold_s": 0.01, "window": 200}
        made = stops_of(e)
        run = await e.run(numbers(many))
        workers = list(await asyncio.gather(e.start(), e.start()))
        await until(lambda: submitted(workers) > 100, "they send")
        committed: dict[int, int] = {}
        acknowledged: dict[int, int] = {}

        async def stop(number: int) -> None:
            seq = await made.enter([number], EVERYTHING, True, "api", "")
            committed[number] = time.monotonic_ns()
            done = await made.acknowledge(seq)
            acknowledged[number] = time.monotonic_ns()
            assert len(done.confirmed_by) == 2 and not done.fenced

        def about_to_leave() -> int:
            """Somebody among the next hundred of a batch in hand."""
            batches = only_lane(chance.choice(workers)).carrier.backlog.batches()
            ready = [batch for batch in batches if batch.next_rank < batch.n]
            if not ready:
                return FIRST + chance.randrange(many)
            batch = ready[0]
            return batch.number(chance.choice(batch.ranks(batch.next_rank, batch.next_rank + 100)))

        while len(committed) < 200:
            some = {FIRST + chance.randrange(many), about_to_leave(), about_to_leave(), about_to_leave()}
            await asyncio.gather(*(stop(number) for number in some - committed.keys()))
        assert submitted(workers) < many, "the campaign was over before the last STOP"
        await e.ends(run, patience_s=120.0)
        last = last_submits(ledger)
        after = {number for number, at in acknowledged.items() if last.get(number, 0) > at}
        late_ms = sorted(max(0.0, (last.get(n, 0) - at) / 1e6) for n, at in committed.items())
        took_ms = sorted((acknowledged[n] - at) / 1e6 for n, at in committed.items())
        with capsys.disabled():
            print(
                f"\n200 STOPs: {len(after)} submits after the acknowledgement; commit to last submit p99 "
                f"{late_ms[198]:.1f} ms, most {late_ms[-1]:.1f} ms; commit to acknowledgement p50 {took_ms[100]:.1f} "
                f"ms, p99 {took_ms[198]:.1f} ms; {len(await refused(e))} refused"
            )
        assert not after and late_ms[198] <= 250
        never = {number for number in committed if number not in last}
        assert never and await refused(e) == never
        (await e.audit(run)).check(doubt_at_most=0)
        await made.close()


@pytest.mark.parametrize("class_", [MessageClass.TRANSACTIONAL, MessageClass.TRIGGERED, MessageClass.BULK])
async def test_who_has_stopped_is_written_to_by_no_later_run_and_no_other_worker(
    dsn: str, ledger: Path, class_: MessageClass
) -> None:
    """A restart and a list that is imported anew change nothing (S1)."""
    async with engine(dsn, ledger) as e:
        made = stops_of(e)
        assert (await made.stop([FIRST + 3], EVERYTHING, "import", "old list")).confirmed_by == ()
        for _ in range(2):
            worker = await e.start()
            await e.ends(await e.run(numbers(10), class_=class_))
            await e.stop(worker)
            await made.copy()
        assert sorted({int(message.destination) for message in read(ledger)}) == sorted({*numbers(10)} - {FIRST + 3})
        await made.close()


@pytest.mark.parametrize("class_", [MessageClass.OTP, MessageClass.COMPLIANCE, MessageClass.CONVERSATION])
async def test_what_a_person_has_asked_for_passes_a_stop(dsn: str, ledger: Path, class_: MessageClass) -> None:
    async with engine(dsn, ledger) as e:
        made = stops_of(e)
        await made.stop([FIRST])
        await e.start()
        await e.ends(await e.run([FIRST], class_=class_))
        assert [int(message.destination) for message in read(ledger)] == [FIRST]
        await made.close()


async def test_stop_of_one_sender_leaves_the_others(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        e.carrier_settings = {"source": "House", "source_ton": 5}
        made = stops_of(e)
        await made.stop([FIRST], scope_of("HOUSE"))
        await made.stop([FIRST + 1], scope_of("Brand"))
        await e.start()
        await e.ends(await e.run(numbers(2)))
        assert [int(message.destination) for message in read(ledger)] == [FIRST + 1]
        await made.close()


async def test_repeats_under_at_least_once_ask_again(dsn: str, ledger: Path) -> None:
    """In doubt, then stopped, then due to be sent once more: it is not."""
    async with engine(dsn, ledger, responses=Responses(silent_share=1.0), receipts=Receipts(when="never")) as e:
        e.worker_settings = {"evidence_s": 0.2}
        e.carrier_settings = {"response_timeout_s": 0.3}
        worker = await e.start()
        run = await e.run([FIRST], policy=Policy.AT_LEAST_ONCE)
        await until(lambda: submitted([worker]) == 1, "it left")
        await worker.stops.stop([FIRST])
        await until(lambda: only_lane(worker).carrier.ledger.suppressed == 1, "the repeat is refused")
        assert submitted([worker]) == 1 and run.recipients == 1


async def frozen(*_: Any) -> None:
    await asyncio.Event().wait()


async def test_bells_put_the_next_look_at_the_feed_off_no_further() -> None:
    """A burst of STOPs is no silence: by a beat that each bell put off, nothing promotional went for as long."""
    feed = Feed(app.CLOCK, lambda: pytest.fail("nobody is asked"), 5.0, "bells")
    looks = []

    async def look() -> None:
        looks.append(app.CLOCK.monotonic())

    feed.step = look  # type: ignore[method-assign]
    following = asyncio.create_task(feed.run())
    for bell in range(100):
        feed._rung.set()
        await until(lambda bell=bell: len(looks) > bell, "it is heard")
    await until(lambda: len(looks) >= 103, "it looks again by itself", FRESH_S * 2)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_stale_feed_ends_promotional_messages_within_a_second_while_codes_go_on(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X1: whoever cannot hear of STOPs sends nothing that a STOP may be about."""
    async with engine(dsn, ledger, responses=Responses(delay_ms=1)) as e:
        e.carrier_settings = {"tps": 500, "adaptive": False}
        run = await e.run(numbers(2000))
        worker = await e.start()
        await until(lambda: submitted([worker]) > 100, "it sends")
        read_feed = stops.after
        monkeypatch.setattr(stops, "after", frozen)
        cut_at = time.monotonic_ns()
        await until(lambda: worker.feed.trouble != "", "it notices", 3.0)
        assert "promotional messages wait" in worker.report()
        codes = await e.run(numbers(20, FIRST + 100_000), class_=MessageClass.OTP)
        await e.ends(codes)
        bulk = [message.at_ns for message in read(ledger) if int(message.destination) < FIRST + 100_000]
        assert (max(bulk) - cut_at) / 1e9 <= FRESH_S + 0.1
        monkeypatch.setattr(stops, "after", read_feed)
        await e.ends(run)
        assert worker.feed.trouble == ""


async def test_worker_that_does_not_confirm_is_fenced_and_its_lease_awaited(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(dsn, ledger) as e:
        worker = await e.start()
        monkeypatch.setattr(stops, "confirm", lambda *_: asyncio.sleep(0, False))
        made = stops_of(e, lease_s=1.0)
        began = time.monotonic()
        done = await made.stop([FIRST])
        assert CONFIRM_S + 1.0 <= time.monotonic() - began
        assert done.fenced == (worker.instance,) and done.confirmed_by == ()
        assert await e.connection.fetchval("SELECT instance FROM stop_fenced") == worker.instance
        # It knows of it nevertheless, and once it is gone nobody remembers.
        assert FIRST in worker.feed.suppressed(MessageClass.BULK, "")[0]
        await e.stop(worker)
        await stops.forget_fenced(e.connection)
        assert await e.connection.fetchval("SELECT count(*) FROM stop_fenced") == 0
        await made.close()


@pytest.mark.parametrize("is_ours", [True, False], ids=["of this boot", "of another boot"])
async def test_process_of_this_boot_that_is_gone_is_not_waited_for(dsn: str, ledger: Path, is_ours: bool) -> None:
    """It had a pid, it was killed, and nothing of it is left that could write; of another boot nothing is known."""
    child = await asyncio.create_subprocess_exec("sleep", "600")
    us = app.identity()
    async with engine(dsn, ledger) as e:
        now = app.CLOCK.wall()
        boot = us.boot if is_ours else "another"
        one = runs.Worker(
            instance="one", host=us.host, boot=boot, pid=child.pid, started_at=now, seen_at=now, node="one"
        )
        await membership.register(e.connection, one)
        await stops.confirm(e.connection, "one", 1)
        made = stops_of(e, lease_s=0.5)
        seq = await made.enter([FIRST], EVERYTHING, True, "api", "")
        waiting = asyncio.create_task(made.acknowledge(seq))
        done, _ = await asyncio.wait([waiting], timeout=CONFIRM_S / 4)
        assert not done, "it lives and has not confirmed"
        child.kill()
        await child.wait()
        killed_at = time.monotonic()
        found = await waiting
        took_s = time.monotonic() - killed_at
        assert (found.gone, found.fenced) == ((("one",), ()) if is_ours else ((), ("one",)))
        assert (took_s < CONFIRM_S / 4) is is_ours
        assert await e.connection.fetchval("SELECT count(*) FROM stop_fenced") == (0 if is_ours else 1)
        await made.close()


async def test_worker_that_loads_its_sets_keeps_nobody_waiting_and_knows_all_when_it_sends(
    dsn: str, ledger: Path
) -> None:
    async with engine(dsn, ledger) as e:
        now = app.CLOCK.wall()
        one = runs.Worker(instance="new", host="h", boot="b", pid=1, started_at=now, seen_at=now, node="new")
        await membership.register(e.connection, one)
        made = stops_of(e)
        began = time.monotonic()
        assert (await made.stop([FIRST])).confirmed_by == () and time.monotonic() - began < CONFIRM_S
        feed = Feed(app.CLOCK, lambda: postgres.connect(dsn), 5.0, "new")
        await feed.load()
        assert feed.upto == 2 and feed.numbers == 1
        one_is = stops.Follower(instance="new", upto=2, host="h", boot="b", pid=1)
        assert await stops.confirmed(e.connection) == [one_is]
        await feed.close()
        await made.close()


async def test_no_acknowledgement_while_postgres_is_away(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:

        async def away() -> Any:
            raise StoreError("away", retryable=True)

        made = Stops(app.CLOCK, away, 1.0, 1.0, app.identity())
        with pytest.raises(StoreError, match="away"):
            await made.stop([FIRST])
        assert await stops.head(e.connection) == 1


async def test_hundred_thousand_are_entered_by_ten_thousand_and_followed(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        worker = await e.start()
        done = await worker.stops.stop(list(numbers(100_000)), EVERYTHING, "import")
        assert done.seq == 100_001 and worker.feed.numbers == 100_000
        assert await worker.stops.copy() + await e.connection.fetchval("SELECT count(*) FROM suppression") >= 100_000


async def test_without_a_notification_the_poll_is_soon_enough(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(_: Any, __: Callable[[], None]) -> None:
        pass

    monkeypatch.setattr(stops, "listen", deaf)
    async with engine(dsn, ledger, account=(Account(),)) as e:
        worker = await e.start()
        began = time.monotonic()
        assert (await worker.stops.stop([FIRST])).confirmed_by == (worker.instance,)
        assert time.monotonic() - began < 1.0
