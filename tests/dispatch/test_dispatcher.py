"""Claims: only what can leave soon, nothing that cannot be composed, nothing left in nobody's hands."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.brand import BrandSettings
from gateway.commands._countries import labels_of
from gateway.config import LimitSettings
from gateway.dispatch.route import plan_of
from gateway.errors import StoreError
from gateway.gate import Gate
from gateway.message import ChunkState, MessageClass, Policy
from gateway.routing import Plan, RouteTable
from gateway.simulator import ledger as simulated
from gateway.simulator.behaviour import Account, Responses
from gateway.store import admission, queue, runs
from tests.fixtures.campaign import make_run, numbers
from tests.fixtures.engine import WINDOW, Engine, engine, only_lane, until
from tests.fixtures.pages import set_consent


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


async def chunks(connection: Any, run_id: int) -> dict[int, int]:
    """Chunks of a run by state."""
    rows = await connection.fetch("SELECT state, count(*) AS n FROM chunk WHERE run = $1 GROUP BY state", run_id)
    return {row["state"]: row["n"] for row in rows}


@pytest.mark.parametrize(
    ("text", "fields"), [("{% if x %}a{% endif %}", ()), ("Hi {{ a }} {{ b }}", ("a",))], ids=["grammar", "columns"]
)
async def test_a_run_that_cannot_be_composed_is_held_and_the_others_go_on(
    dsn: str, ledger: Path, text: str, fields: tuple[str, ...]
) -> None:
    async with engine(dsn, ledger) as e:
        bad = await e.run(numbers(1500), template=text, fields=fields)
        good = await e.run(numbers(100, 447711000000))
        worker = await e.start()
        await e.ends(good)
        held = sum((await chunks(e.connection, bad.id)).values())
        await until(lambda: only_lane(worker).dispatcher.held == held, "every chunk of it is held")
        assert await chunks(e.connection, bad.id) == {ChunkState.HELD: held}
        assert len((await e.audit(good)).taken) == 100
        assert f'"held_chunks":{held}' in worker.report()


async def test_a_message_that_cannot_be_composed_is_refused_with_its_reason_and_the_rest_goes_on(
    dsn: str, ledger: Path
) -> None:
    """Case 22 of the write protocol."""
    async with engine(dsn, ledger) as e:
        people: dict[int, dict[str, str]] = {number: {"name": "Ann"} for number in numbers(90)}
        people |= {number: {} for number in numbers(10, 447711000000)}
        run = await e.run(people, template="Hi {{ name }}", fields=("name",))
        await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 90, "refused": 10}


async def test_an_expired_run_ends_without_sending(dsn: str, ledger: Path) -> None:
    """Case 25 of the write protocol."""
    async with engine(dsn, ledger) as e:
        run = await e.run(numbers(100), lifetime=timedelta(microseconds=1))
        await e.start()
        await e.ends(run)
        assert await e.states(run) == {"refused": 100}
        assert (await e.audit(run)).taken == []


async def test_only_what_can_leave_soon_is_claimed(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=50)) as e:
        e.carrier_settings = {"window": 10, "tps": 100}
        run = await e.run(numbers(20_000))
        worker = await e.start()
        await until(lambda: only_lane(worker).carrier.ledger.accepted > 20, "some are accepted")
        found = await chunks(e.connection, run.id)
        assert found[ChunkState.CLAIMED] <= 2 and found[ChunkState.READY] >= 17


async def test_a_claim_whose_answer_was_lost_is_given_back_and_sent(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lost = queue.claim, []

    async def claim(*arguments: Any) -> queue.Claimed:
        claimed = await real(*arguments)
        if claimed.batches and not lost:
            lost.extend(batch.chunk_id for batch in claimed.batches)
            raise StoreError("the payload did not come", retryable=True)
        return claimed

    monkeypatch.setattr(queue, "claim", claim)
    async with engine(dsn, ledger) as e:
        e.worker_settings = {"lease_s": 600.0}
        run = await e.run(numbers(2500))
        await e.start()
        await e.ends(run)
        assert lost
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)


async def test_a_chunk_goes_back_when_what_came_of_it_is_written_and_not_before(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, may_flush = queue.flush, asyncio.Event()

    async def flush(*arguments: Any) -> None:
        await may_flush.wait()
        await real(*arguments)

    monkeypatch.setattr(queue, "flush", flush)
    async with engine(dsn, ledger) as e:
        e.worker_settings = {"lease_s": 600.0}
        e.carrier_settings = {"tps": 50}
        e.deadline_s = 60.0
        run = await e.run(numbers(40))
        worker = await e.start()
        lane = only_lane(worker)

        async def is_given_back() -> bool:
            if lane.carrier.ledger.accepted > 5:
                await lane.dispatcher.give_back()
            return bool(lane.dispatcher.returning)

        await until(is_given_back, "nothing of it waits for an answer")
        ((_, _, left),) = lane.dispatcher.returning
        assert left > 5 and await chunks(e.connection, run.id) == {ChunkState.CLAIMED: 1}
        assert await e.connection.fetchval("SELECT count(*) FROM outcome") == 0
        may_flush.set()
        await e.ends(run)
        assert not lane.dispatcher.returning
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)
        assert await e.connection.fetchval("SELECT max(epoch) FROM chunk") > 1, "it was claimed again"


async def test_a_stop_gives_back_a_claim_whose_answer_was_lost(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = queue.claim
    claimed = []

    async def claim(*arguments: Any) -> queue.Claimed:
        claimed.append(await real(*arguments))
        raise StoreError("the payload did not come", retryable=True)

    async with engine(dsn, ledger) as e:
        run = await e.run(numbers(100))
        monkeypatch.setattr(queue, "claim", claim)
        worker = await e.start()
        await until(lambda: bool(claimed), "a claim is lost")
        await e.stop(worker)
        assert await chunks(e.connection, run.id) == {ChunkState.READY: 1}


async def test_an_account_at_its_limit_sends_everything_once_all_the_same(dsn: str, ledger: Path) -> None:
    """The SMSC allows less than we were told: refusals for speed burn no attempt."""
    async with engine(dsn, ledger, account=(Account(tps=800),)) as e:
        e.carrier_settings = {"throttle_pause_s": 0.02}
        run = await e.run(numbers(2000))
        worker = await e.start()
        await e.ends(run)
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)
        assert only_lane(worker).carrier.ledger.throttled > 0


async def test_a_code_overtakes_the_bulk_that_is_claimed_already(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, account=(Account(tps=200),)) as e:
        e.carrier_settings = {"tps": 200, "adaptive": False, "window": 4}
        bulk = await e.run(numbers(4000))
        worker = await e.start()
        carrier = only_lane(worker).carrier
        await until(lambda: carrier.ledger.accepted > 20, "bulk flows")
        code = await e.run(numbers(3, 447711000000), class_=MessageClass.OTP)
        await e.ends(code)
        assert carrier.backlog.unsent > 0
        # The wait for the claim, a watermark and a token: nothing like the 4000 before it.
        waited = await e.connection.fetchval(
            "SELECT max(extract(epoch FROM o.at - r.enqueued_at)) FROM outcome o JOIN chunk k ON k.lane = o.lane "
            "AND k.id = o.chunk_id JOIN run r ON r.id = k.run WHERE r.id = $1",
            code.id,
        )
        assert waited < 2.0
        assert bulk.id != code.id


async def test_what_left_before_a_restart_counts_under_the_limit_of_its_sender(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        e.carrier_settings = {"sender_limits": {"Sluice": LimitSettings(per_day=30)}}
        run = await e.run(numbers(50))
        worker = await e.start()
        await until(lambda: only_lane(worker).carrier.ledger.accepted == 30, "the limit is used up")
        await e.stop(worker)
        again = await e.start()
        flow = only_lane(again).carrier
        await until(lambda: only_lane(again).dispatcher.claimed > 0, "the rest is claimed")
        await until(lambda: flow.limits.used(app.CLOCK.monotonic()).get("sender Sluice") == (0, 30), "it is counted")
        assert flow.ledger.submitted == 0
        assert (await e.states(run))["delivered"] == 30


async def test_a_sender_of_a_chunk_is_written_on_its_messages(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        run = await make_run(e.connection, [], [await e.lane()], template="hello")
        now = app.CLOCK.wall()
        found = await runs.run_by_id(e.connection, run.id)
        assert found is not None
        lane = await e.lane()
        await runs.enqueue_few(e.connection, found, lane, [447700900001], None, now, source="12345")
        await runs.enqueue_few(e.connection, found, lane, [447700900002], None, now)
        e.carrier_settings = {"source": "Acme"}
        await e.start()
        await until(lambda: e.ledger.exists() and e.ledger.read_text().count("447700900") >= 2, "both are there")
        text = e.ledger.read_text()
        assert "12345" in text and "Acme" in text


async def test_what_waits_for_another_try_when_a_worker_stops_goes_back_to_the_queue_and_is_sent_once(
    dsn: str, ledger: Path
) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1, errors={"RTHROTTLED": 0.3})) as e:
        e.carrier_settings = {"throttle_pause_s": 600.0, "response_timeout_s": 1.0}
        run = await e.run(numbers(2000))
        for _ in range(2):
            worker = await e.start()
            backlog = only_lane(worker).carrier.backlog
            await until(lambda backlog=backlog: len(backlog.throttled) > 50, "some were refused for speed")
            await e.stop(worker)
        e.carrier_settings = {"throttle_pause_s": 0.01}
        await e.start()
        await e.ends(run)
        audit = await e.audit(run)
        audit.check(doubt_at_most=0, receipts=True)
        assert audit.states == {"delivered": 2000}


class Failing:
    """Stands before queue.requeue: fails for some runs, for as long as it holds."""

    def __init__(self, patched: pytest.MonkeyPatch, *, retryable: bool):
        self._real, self._retryable = queue.requeue, retryable
        self.runs: set[int] = set()
        self.tried: list[int] = []
        self.kept = 0
        patched.setattr(queue, "requeue", self)

    async def __call__(
        self, connection: Any, lane: int, chunk_id: int, epoch: int, positions: list[int], now: datetime
    ) -> int:
        self.tried.append(chunk_id)
        if chunk_id >> queue.CHUNK_BITS in self.runs:
            self.kept = len(positions)
            raise StoreError("not now", retryable=self._retryable)
        return await self._real(connection, lane, chunk_id, epoch, positions, now)


@pytest.mark.parametrize("retryable", [True, False], ids=["lost for a moment", "refused"])
async def test_what_cannot_be_queued_again_keeps_nothing_else_from_going_on(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch, *, retryable: bool
) -> None:
    """It stays ours and is said; the others go back, what is claimed is not given up, and more is claimed."""
    failing = Failing(monkeypatch, retryable=retryable)
    async with engine(dsn, ledger, responses=Responses(delay_ms=60, errors={"RTHROTTLED": 0.5})) as e:
        e.worker_settings = {"lease_s": 600.0}
        e.carrier_settings = {"throttle_pause_s": 0.2, "tps": 10_000, "adaptive": False, "window": 200}
        # The first two fill the window; nothing of the third is begun when they are refused.
        all_ = [
            await e.run(numbers(n, first))
            for n, first in ((100, 447700900000), (100, 447711000000), (50, 447722000000))
        ]
        both = all_[:2]
        failing.runs.add(both[0].id)
        worker = await e.start()
        dispatcher, backlog = only_lane(worker).dispatcher, only_lane(worker).carrier.backlog
        await until(lambda: len(backlog.throttled) > 75, "some of both were refused for speed")
        # As when it goes down; it is up again before they are queued.
        dispatcher._take_waiting(backlog.take_waiting())
        await until(lambda: "not now" in dispatcher.unreturned, "one could not")
        assert "not now" in worker.report()
        assert not dispatcher.returning, "nothing else is given up"
        later = await e.run(numbers(20, 447733000000))
        for run in (*all_[1:], later):
            await e.ends(run)
        assert await chunks(e.connection, both[0].id) == {ChunkState.CLAIMED: 1}, "under its lease"
        failing.runs.clear()
        await e.ends(both[0])
        await until(lambda: not dispatcher.unreturned, "nothing is to be said any more")
        assert {one >> queue.CHUNK_BITS for one in failing.tried} == {one.id for one in both}
        for run in (*all_, later):
            (await e.audit(run)).check(doubt_at_most=0, receipts=True)
        assert await e.connection.fetchval("SELECT max(epoch) FROM chunk") == 1, "each was claimed once"


async def test_what_cannot_be_queued_again_at_a_stop_keeps_nothing_else_until_the_lease_ends(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, retryable=False)
    async with engine(dsn, ledger, responses=Responses(delay_ms=1, errors={"RTHROTTLED": 0.3})) as e:
        e.worker_settings = {"lease_s": 1.0}
        e.carrier_settings = {"throttle_pause_s": 600.0, "response_timeout_s": 0.5}
        small, large = await e.run(numbers(60)), await e.run(numbers(900, 447711000000))
        failing.runs.add(small.id)
        worker = await e.start()
        dispatcher, backlog = only_lane(worker).dispatcher, only_lane(worker).carrier.backlog
        await until(lambda: len(backlog.throttled) > 0 and dispatcher.claimed == 2, "some wait, and both are in hand")
        await e.stop(worker)
        assert failing.kept and ChunkState.CLAIMED not in await chunks(e.connection, large.id)
        e.carrier_settings = {"throttle_pause_s": 0.01}
        await e.start()
        await e.ends(small)
        await e.ends(large)
        audit = await e.audit(small)
        # What it could not give back is in doubt, and of the others at most what the watermark was ahead.
        audit.check(doubt_at_most=failing.kept + WINDOW, receipts=True)
        assert audit.states["delivered"] == len(audit.taken) == 60 - audit.states["uncertain"]
        (await e.audit(large)).check(doubt_at_most=0, receipts=True)


async def test_part_that_waits_when_a_worker_stops_ends_with_what_the_smsc_said_last(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1, errors={"RTHROTTLED": 0.2})) as e:
        e.carrier_settings = {"throttle_pause_s": 600.0, "response_timeout_s": 1.0}
        run = await e.run(numbers(300), template="x" * 400)
        worker = await e.start()
        backlog = only_lane(worker).carrier.backlog
        await until(lambda: len(backlog.throttled) > 20, "some parts were refused for speed")
        await e.stop(worker)
        e.carrier_settings = {"throttle_pause_s": 0.01}
        await e.start()
        await e.ends(run)
        states = await e.states(run)
        assert set(states) == {"delivered", "partial"} and sum(states.values()) == 300


async def test_a_code_told_of_while_its_carrier_is_down_does_not_stop_the_worker(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        e.port = 1  # nobody listens there
        worker = await e.start()
        dispatcher = only_lane(worker).dispatcher
        await until(lambda: dispatcher.claimed == 0 and not only_lane(worker).carrier.is_up, "it is down")
        # What a NOTIFY of an urgent chunk does; the loop of the dispatcher must still give way to everybody else.
        dispatcher._wake.set()
        await until(lambda: not dispatcher._wake.is_set(), "it has looked, and waits again", 5.0)


# What handsets of several countries show.

KOREA, CHINA, BRITAIN = 821012345600, 8613912345600, 447700900000
SALE = "Sale at {{ name }}"
LABELS = labels_of(BrandSettings(label={"optout_080": "080-123-4567"}), MessageClass.BULK)


async def noon(connection: Any) -> int:
    """A zone in which it is noon, for everybody whom a window must let through at any hour of the test."""
    ahead = (12 - datetime.now(UTC).hour + 11) % 24 - 11
    return await admission.id_of(connection, "zone", f"Etc/GMT{-ahead:+d}")


def by_country(lane: int) -> Plan:
    """All numbers through one carrier, chunks being alike in country."""
    return plan_of(RouteTable({"acme": 1}), {"acme": lane}, MessageClass.BULK, "", datetime.now(UTC), [])


def shown(ledger: Path) -> dict[int, str]:
    """What each handset shows, its parts put together in the order in which they came."""
    found: dict[int, str] = {}
    for message in simulated.read(ledger):
        octets = bytes.fromhex(message.content)
        octets = octets[octets[0] + 1 :] if message.esm_class & 0x40 else octets
        text = octets.decode("utf-16-be") if message.data_coding == 8 else octets.decode("ascii")
        found[int(message.destination)] = found.get(int(message.destination), "") + text
    return found


async def labelled_run(e: Engine, people: dict[int, dict[str, str]], **how: Any) -> runs.Run:
    await set_consent(e.connection, "acme", people, zone=await noon(e.connection))
    gate = Gate(brand="acme", needs="promotional", gap_s=0, labels=LABELS)
    return await e.run(people, template=SALE, fields=("name",), gate=gate, **how)


async def test_a_text_that_advertises_wears_the_label_of_its_country_and_each_handset_shows_it_QH_TP_8(
    dsn: str, ledger: Path
) -> None:
    long = "x" * 40
    people = {first + at: {"name": "Acme"} for first in (KOREA, BRITAIN) for at in range(30)}
    people |= {KOREA + 99: {"name": long}, BRITAIN + 99: {"name": long}, CHINA: {"name": "Acme"}}
    async with engine(dsn, ledger, ledger_text=True) as e:
        run = await labelled_run(e, people, plan=by_country(await e.lane()))
        worker = await e.start()
        dispatcher = only_lane(worker).dispatcher
        await until(lambda: dispatcher.held == 1, "the chunk of China is held: nobody has said the signature")

        async def has_left() -> bool:
            return (await e.states(run)).get("delivered") == 62

        await until(has_left, "everybody else has it")
        found = shown(ledger)
        assert CHINA not in found and len(found) == 62
        assert {found[KOREA + at] for at in range(30)} == {"(광고) Sale at Acme 무료수신거부 080-123-4567"}
        assert {found[BRITAIN + at] for at in range(30)} == {"Sale at Acme"}
        assert (found[KOREA + 99], found[BRITAIN + 99]) == (
            f"(광고) Sale at {long} 무료수신거부 080-123-4567", f"Sale at {long}",
        )  # fmt: skip
        # The label is counted: 74 characters of UCS-2 are two parts, though 48 of GSM would be one.
        counted = await e.connection.fetch(
            "SELECT p.msisdn[o.pos + 1] AS number, max(o.segments) AS parts FROM outcome o "
            "JOIN chunk_payload p USING (lane, chunk_id) WHERE p.run = $1 GROUP BY 1", run.id,
        )  # fmt: skip
        assert {row["number"] for row in counted if row["parts"] == 2} == {KOREA + 99}


async def test_a_chunk_that_nobody_has_routed_wears_the_label_of_its_numbers_or_is_held(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, ledger_text=True) as e:
        people = {KOREA: {"name": "A"}, KOREA + 1: {"name": "A"}, BRITAIN: {"name": "A"}}
        await set_consent(e.connection, "acme", people, zone=await noon(e.connection))
        lane, now = await e.lane(), datetime.now(UTC)
        run = await runs.add_run(
            e.connection, name="open", template=SALE, fields=("name",), class_=MessageClass.BULK, policy=Policy.ONCE,
            lanes=[lane], list_id=None, source=None, now=now,
            gate=Gate(brand="acme", needs="promotional", gap_s=0, labels=LABELS),
        )  # fmt: skip
        for some in ([KOREA], [KOREA + 1, BRITAIN], [BRITAIN]):
            await runs.enqueue_few(e.connection, run, lane, some, [["A"]] * len(some), now)
        worker = await e.start()
        await until(lambda: only_lane(worker).dispatcher.held == 1, "the chunk of two countries is held")
        await until(lambda: len(shown(ledger)) == 2, "the others are sent")
        assert shown(ledger) == {KOREA: "(광고) Sale at A 무료수신거부 080-123-4567", BRITAIN: "Sale at A"}


async def test_a_run_with_labels_is_not_shared_by_weight_which_parts_no_countries(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        with pytest.raises(StoreError, match="expected a plan"):
            await labelled_run(e, {KOREA: {"name": "A"}})
