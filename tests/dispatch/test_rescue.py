"""What did not end by itself: early receipts, those of a worker before, chunks of the dead, doubt."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.dispatch import rescue as rescues
from gateway.message import ChunkState, Policy
from gateway.simulator.behaviour import Receipts, Responses
from gateway.store import events, queue
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import Engine, engine, only_lane, until


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescues, "FIRST_S", 0.1)


async def test_receipts_before_their_responses_are_matched(dsn: str, ledger: Path) -> None:
    """Case 3 of the write protocol."""
    receipts = Receipts(early_share=1.0, early_ms=40)
    async with engine(dsn, ledger, responses=Responses(delay_ms=50), receipts=receipts) as e:
        run = await e.run(numbers(300))
        worker = await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 300}
        assert only_lane(worker).rescue.matched > 0
        assert not await e.connection.fetchval("SELECT count(*) FROM receipt_waiting")


async def test_quirk_33_early_double_and_strange_receipts_flip_no_state(dsn: str, ledger: Path) -> None:
    """Case 7 of the write protocol."""
    receipts = Receipts(early_share=0.5, early_ms=30, delay_ms=1, duplicate_share=1.0)
    async with engine(dsn, ledger, responses=Responses(delay_ms=40), receipts=receipts) as e:
        run = await e.run(numbers(200), template="x" * 200)
        worker = await e.start()
        await e.ends(run)
        told = only_lane(worker).carrier.ledger
        ours = await e.connection.fetchval("SELECT message_id FROM outcome WHERE pos = 0 AND segment = 1")
        # Another verdict after the final one, days late; and one for an id of somebody else's.
        told.take_receipt(ours.encode(), 5, b"001", None, b"late", app.CLOCK.monotonic())
        told.take_receipt(b"somebody-elses", 5, b"001", None, b"strange", app.CLOCK.monotonic())
        strange = "SELECT count(*) = 1 FROM receipt_waiting WHERE message_id = 'somebody-elses'"
        await until(lambda: e.connection.fetchval(strange), "the strange one is kept")
        await until(
            lambda: e.connection.fetchval("SELECT count(*) = 1 FROM receipt WHERE raw = 'late'"), "the late one"
        )
        assert await e.states(run) == {"delivered": 200}


async def test_receipts_for_messages_of_a_worker_before_are_matched(dsn: str, ledger: Path) -> None:
    """Case 4 of the write protocol."""
    async with engine(dsn, ledger, receipts=Receipts(delay_ms=800)) as e:
        run = await e.run(numbers(500))
        first = await e.start()
        await until(lambda: only_lane(first).carrier.ledger.accepted == 500, "all are accepted")
        await e.stop(first)
        assert await e.states(run) == {"submitted": 500}
        second = await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 500}
        assert only_lane(second).rescue.matched == 500


async def test_messages_whose_answer_was_lost_with_the_link_are_settled_by_their_receipts(
    dsn: str, ledger: Path
) -> None:
    """The SMSC took them and tells of their end; we never heard their ids. Nothing is sent again."""
    async with engine(dsn, ledger, responses=Responses(delay_ms=200), receipts=Receipts(delay_ms=100)) as e:
        e.worker_settings = {"lease_s": 2.0}
        run = await e.run(numbers(40))
        worker = await e.start()
        carrier = only_lane(worker).carrier
        await until(lambda: carrier.in_flight == 40, "all are on their way")
        await until(lambda: len(ledger.read_bytes().split(b"\nS,")) > 40, "all have arrived")
        assert carrier.binds[0].link is not None
        carrier.binds[0].link.abort("cut by the test")
        await until(lambda: only_lane(worker).rescue.adopted == 40, "receipts are adopted")
        await e.ends(run)
        assert await e.states(run) == {"delivered": 40}
        assert len((await e.audit(run)).taken) == 40


async def doubt_everything(e: Engine, policy: Policy) -> Any:
    """A run whose whole window falls into doubt, without evidence to come."""
    run = await e.run(numbers(40), policy=policy)
    worker = await e.start()
    carrier = only_lane(worker).carrier
    await until(lambda: carrier.in_flight == 40, "all are on their way")
    assert carrier.binds[0].link is not None
    carrier.binds[0].link.abort("cut by the test")
    return run


@pytest.mark.parametrize("policy", list(Policy))
async def test_policy_decides_what_is_in_doubt(dsn: str, ledger: Path, policy: Policy) -> None:
    silent = Responses(delay_ms=300)
    async with engine(dsn, ledger, responses=silent, receipts=Receipts(when="never")) as e:
        e.carrier_settings = {"registered_delivery": 0}
        run = await doubt_everything(e, policy)

        async def is_over() -> bool:
            state = "submitted" if policy == Policy.AT_LEAST_ONCE else "uncertain"
            return await e.states(run) == {state: 40}

        await until(is_over, "the policy is followed")
        # One more slow round shows that nothing more comes of it.
        await queue.repeat(e.connection, 1, app.CLOCK.wall(), app.CLOCK.wall())
        again = 40 if policy == Policy.AT_LEAST_ONCE else 0
        assert await e.connection.fetchval("SELECT count(*) FROM repeated") == again
        (await e.audit(run)).check(doubt_at_most=40)


async def test_a_living_worker_keeps_what_it_has(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=100)) as e:
        e.carrier_settings = {"tps": 200, "binds": 2}
        run = await e.run(numbers(300))
        first = await e.start()
        await until(lambda: only_lane(first).carrier.ledger.accepted > 20, "the first one sends")
        second = await e.start()
        assert second.membership.dead_of([first.instance]) == []
        await e.ends(run)
        assert only_lane(second).rescue.rescued == 0
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)


async def test_a_worker_that_was_robbed_stops_sending(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        e.carrier_settings = {"tps": 500}
        run = await e.run(numbers(900))
        worker = await e.start()
        lane = only_lane(worker)
        await until(lambda: lane.carrier.ledger.accepted > 50, "it sends")
        now = app.CLOCK.wall()
        assert (await queue.rescue(e.connection, 1, [worker.instance], now))[0] == 1
        taken = await queue.claim(e.connection, 1, "robber", now, 1)
        (batch,) = taken.batches
        await until(lambda: lane.carrier.backlog.is_empty, "it has let go")
        # Never a rank above the watermark that the robber found.
        sent = {int(message.destination) for message in (await e.audit(run)).taken}
        above = {batch.number(pos) for pos in batch.ranks(batch.next_rank, batch.n)}
        assert above and not sent & above
        assert await e.connection.fetchval("SELECT state FROM chunk") == ChunkState.CLAIMED


async def test_the_rule_of_ids_is_learnt_and_known_after_a_restart(dsn: str, ledger: Path) -> None:
    """Case 5 of the write protocol; receipt forms 2, 17, 19: hexadecimal in the response, decimal in the receipt."""
    receipts = Receipts(id="decimal:10", tlvs=False, delay_ms=20, early_share=0.5, early_ms=5)
    async with engine(dsn, ledger, responses=Responses(delay_ms=10, id="hex"), receipts=receipts) as e:
        run = await e.run(numbers(600))
        first = await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 600}
        recall = only_lane(first).carrier.ledger.recall
        assert recall.rule == "hex" and recall.matches["hex"] == 600 and recall.strays == 0
        await until(lambda: only_lane(first).rescue.rule_kept == "hex", "the rule is kept")
        await e.stop(first)
        assert await queue.receipt_rule(e.connection, await e.lane()) == "hex"
        second = await e.start()
        assert only_lane(second).carrier.ledger.recall.rule == "hex"


async def test_receipts_by_another_rule_than_the_learnt_one_match_and_are_told_of(
    dsn: str, ledger: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receipts = Receipts(id="decimal", tlvs=False)
    async with engine(dsn, ledger, responses=Responses(id="hex"), receipts=receipts) as e:
        await queue.learn_receipt_rule(e.connection, await e.lane(), "verbatim", app.CLOCK.wall())
        run = await e.run(numbers(50))
        worker = await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 50}
        recall = only_lane(worker).carrier.ledger.recall
        assert recall.rule == "verbatim" and recall.strays == 50
        await until(lambda: "match by another rule than verbatim" in caplog.text, "the log tells of it")


async def test_a_rule_that_has_changed_is_learnt_anew_and_kept_with_an_alarm(
    dsn: str, ledger: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receipts = Receipts(id="decimal", tlvs=False, delay_ms=5)
    async with engine(dsn, ledger, responses=Responses(id="hex"), receipts=receipts) as e:
        lane = await e.lane()
        await queue.learn_receipt_rule(e.connection, lane, "verbatim", app.CLOCK.wall())
        run = await e.run(numbers(250))
        worker = await e.start()
        await e.ends(run)
        await until(lambda: only_lane(worker).rescue.rule_kept == "hex", "the new rule is kept")
        assert await queue.receipt_rule(e.connection, lane) == "hex"
        (told,) = await events.after(e.connection, lane, 0)
        assert (told.kind, told.subject) == ("receipts.rule_changed", "acme")
        assert told.body == {"before": "verbatim", "now": "hex"}
        assert "alarm: the rule of its receipts' ids has changed from verbatim to hex" in caplog.text
        assert '"rule_changes":1' in worker.report()


async def test_quirk_8_receipts_of_messages_without_an_id_are_matched_by_number_and_time(
    dsn: str, ledger: Path
) -> None:
    receipts = Receipts(id="decimal:10", tlvs=False, delay_ms=20)
    async with engine(dsn, ledger, responses=Responses(id="none"), receipts=receipts) as e:
        e.worker_settings = {"evidence_s": 2.0}
        run = await e.run(numbers(60))
        worker = await e.start()
        await e.ends(run)
        lane = only_lane(worker)
        assert await e.states(run) == {"delivered": 60}
        assert (lane.carrier.ledger.nameless, lane.rescue.adopted) == (60, 60)
        assert '"nameless":60' in worker.report()


async def test_receipts_of_strangers_are_set_aside_and_looked_at_ever_more_rarely(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        e.carrier_settings = {"receipt_waiting_days": 1.0}
        lane, now = await e.lane(), app.CLOCK.wall()
        for hours in (0, 12, 30, 50):
            await e.connection.execute(
                "INSERT INTO receipt_waiting (lane, at, state, message_id, id_key) VALUES ($1, $2, 2, 'x', 'x')",
                lane, now - timedelta(hours=hours),
            )  # fmt: skip
        rescue = only_lane(await e.start()).rescue
        assert rescue.orphaned == 2
        assert await e.connection.fetchval("SELECT count(*) FROM receipt_waiting") == 2
        backs = [
            now - rescue.look_back(now + timedelta(seconds=after)) + timedelta(seconds=after)
            for after in (10, 20, 310, 320, 4000, 4010)
        ]
        minutes, day = timedelta(minutes=10), timedelta(days=1)
        assert backs[:4] == [minutes, minutes, day, minutes] and backs[4] > 1000 * day and backs[5] == minutes
        # A wall clock that was put back by an hour makes it look at everything, and does not end the worker.
        before = now - timedelta(hours=1)
        assert before - rescue.look_back(before) > 1000 * day
        assert before + timedelta(seconds=10) - rescue.look_back(before + timedelta(seconds=10)) == minutes
