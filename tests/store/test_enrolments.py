"""Enrolments: once for a cause, held while they are carried on, and with their person wherever that goes."""

from datetime import timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from gateway.automation import launching
from gateway.person import Item, Who, hash_of
from gateway.reasons import Reason
from gateway.store import campaigns, enrolments
from gateway.store.enrolments import Lag, New, Outgoing
from gateway.store.profiles import ingest
from tests.fixtures.shop import NOW, Shop

ANN, ZOE = 447700900001, 447700999999
TEXT = """
name = "c"
brand = "acme"
wait = "1d"
message = {text = "Hi"}
[trigger]
on = "event"
event = "seen"
"""


def new(id_: int, profile: int, number: int | None = ANN, cause: str = "a", reason: int = 0) -> New:
    return New(
        bucket=hash_of(ANN), id=id_, campaign=1, version=1, profile=profile, number=number, cause=cause, key="",
        anchor_id=1, anchor_at=NOW, context="{}", reason=reason,
    )  # fmt: skip


async def test_cause_enters_a_number_once_whoever_of_two_persons_has_it(dsn: str) -> None:
    """TR-3, TH-9."""
    connection = await asyncpg.connect(dsn)
    bucket = hash_of(ANN)
    assert await enrolments.add(connection, [new(1, 11), new(2, 12)], NOW) == {1}
    assert await enrolments.add(connection, [new(3, 11), new(4, 11, cause="b")], NOW) == {4}
    assert [one.id for one in await enrolments.due(connection, [bucket], NOW, 10, [])] == [1, 4]
    await connection.close()


async def test_who_is_held_is_taken_by_nobody_else(dsn: str) -> None:
    one, other = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    bucket = hash_of(ANN)
    await enrolments.add(one, [new(1, 11)], NOW)
    async with one.transaction():
        assert len(await enrolments.due(one, [bucket], NOW, 10, [])) == 1
        assert await enrolments.due(other, [bucket, 1], NOW, 10, []) == []
    assert await enrolments.due(other, [bucket, 1], NOW, 10, [1]) == []  # paused
    await one.close()
    await other.close()


async def test_text_is_taken_by_its_lane_once_whoever_dies_between(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    text = Outgoing(
        bucket=3, lane=1, country=0, id=7, run=5, source="", fallback=(), numbers=[ANN], params=[["a", "1"]]
    )
    await enrolments.put_out(connection, [text], NOW)
    assert await enrolments.take_outgoing(connection, 1, [(3, 7)], NOW) == {(3, 7)}
    # Died before it was dropped: the next one finds it waiting, and taken.
    assert [one.id for one in await enrolments.waiting(connection, 0, 255, 10)] == [7]
    assert await enrolments.take_outgoing(connection, 1, [(3, 7)], NOW) == set()
    assert await enrolments.forget_old(connection, 1, NOW + timedelta(hours=2)) == 0
    await enrolments.drop_outgoing(connection, 1, [(3, 7)])
    assert await connection.fetchval("SELECT count(*) FROM outgoing_taken") == 0
    # Died after it was dropped: what is left is forgotten once it is old.
    await enrolments.put_out(connection, [text], NOW)
    await enrolments.take_outgoing(connection, 1, [(3, 7)], NOW)
    await connection.execute("DELETE FROM outgoing")
    assert await enrolments.forget_old(connection, 1, NOW + timedelta(hours=2)) == 1
    await connection.close()


async def standing(connection: Any) -> list[tuple[int, int | None, int]]:
    rows = await connection.fetch("SELECT e.bucket, e.number, e.state FROM enrolment e ORDER BY e.id")
    return [tuple(row) for row in rows]


async def test_who_gets_another_number_is_written_to_there(shop: Shop) -> None:
    """WF-9, EV-7: an enrolment goes with its person."""
    await shop.people([ANN])
    await shop.apply(TEXT)
    await shop.tells(ANN, "seen")
    await shop.goes_on(timedelta(minutes=1))
    assert await standing(shop.connection) == [(hash_of(ANN), ANN, 0)]
    moved = Item(who=Who(external_id=str(ANN)), attributes={"phone": ZOE}, occurred_at=shop.now)
    await ingest(shop.connection, [moved], shop.now, Random(3))
    assert await standing(shop.connection) == [(hash_of(ZOE), ZOE, 0)]
    await shop.goes_on(timedelta(days=1))
    assert [number for number, _ in await shop.texts()] == [ZOE]


@pytest.mark.covers("S3.12")
async def test_two_who_become_one_go_on_as_one(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.apply(TEXT.replace('wait = "1d"', 'entry = {running = "parallel", most = 9}\nwait = "1d"'))
    anonymous = [Item(who=Who(anonymous_id="x"), name="seen", event_id="1", occurred_at=shop.now)]
    await ingest(shop.connection, anonymous, shop.now, Random(3))
    await shop.goes_on(timedelta(minutes=1))
    assert [one[2] for one in await standing(shop.connection)] == [2]  # no number: not entered
    both = [Item(who=Who(anonymous_id="x", external_id=str(ANN)), name="seen", event_id="2", occurred_at=shop.now)]
    await ingest(shop.connection, both, shop.now, Random(4))
    await shop.goes_on(timedelta(days=1))
    assert [number for number, _ in await shop.texts()] == [ANN]


async def test_refused_one_was_never_in_it(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    bucket = hash_of(ANN)
    await enrolments.add(connection, [new(1, 11, reason=Reason.NO_CONSENT)], NOW)
    assert await enrolments.known(connection, [(bucket, 11)], [1]) == []
    assert await enrolments.due(connection, [bucket], NOW, 10, []) == []
    assert [(one.state, one.reason) for one in await enrolments.counts(connection, 1)] == [(2, Reason.NO_CONSENT)]
    await connection.close()


async def test_what_of_campaigns_waits_is_told_with_its_age_and_nothing_of_one_that_is_paused(shop: Shop) -> None:
    await shop.people([ANN, ZOE])
    kept = await shop.apply(TEXT)
    await shop.tells(ANN, "seen")
    await shop.tells(ZOE, "seen", at=NOW)
    assert await enrolments.lags(shop.connection, NOW) == [
        Lag(campaign="c", what="causes", waiting=2, since=NOW)
    ]  # fmt: skip
    await shop.goes_on()
    assert await enrolments.lags(shop.connection, NOW) == []
    due_at = NOW + timedelta(days=1)
    later = due_at + timedelta(minutes=5)
    assert await enrolments.lags(shop.connection, later) == [
        Lag(campaign="c", what="people", waiting=2, since=due_at)
    ]  # fmt: skip
    await launching.set_state(shop.connection, "c", "paused", later)
    assert await enrolments.lags(shop.connection, later) == []
    run = (await campaigns.runs_of(shop.connection, kept.id))[-1].run
    text = Outgoing(
        bucket=1, lane=1, country=0, id=1, run=run, source="", fallback=(), numbers=(ANN, ZOE), params=((), ())
    )
    await enrolments.put_out(shop.connection, [text], later)
    assert await enrolments.lags(shop.connection, later) == [
        Lag(campaign="c", what="texts", waiting=2, since=later)
    ]  # fmt: skip
