"""Conversations in the store: once by their key, held by who changes them, done once (IN-1, IN-2)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from gateway.person import hash_of
from gateway.store import conversations, postgres
from gateway.store.conversations import IN, Conversation, Kept, Said, Text, Told, filled
from gateway.store.runs import open_chunks
from tests.fixtures.conversations import NOW, NUMBER, SIZE, World, world

BUCKET = hash_of(NUMBER)


@pytest.fixture
async def w(dsn: str) -> AsyncIterator[World]:
    async with world(dsn) as made:
        yield made


def begun(w: World, id_: int = 1, **more: Any) -> Conversation:
    return Conversation(
        bucket=BUCKET, id=id_, number=NUMBER, inbox="desk", brand="", sender="12345", lane=w.lane, opened_at=NOW, **more
    )


async def test_in_1_a_conversation_is_read_as_it_was_written_every_field(w: World) -> None:
    hour = timedelta(hours=1)
    whole = begun(
        w, state=1, last_in_at=NOW, last_out_at=NOW, closed_at=NOW, snoozed_until=NOW + hour, assigned_to="anna",
        assigned_at=NOW, return_at=NOW, waits_since=NOW, answer_due=NOW, late_at=NOW, first_answer_at=NOW, away_at=NOW,
        misses=2, is_handed_over=True, has_person=True, campaign="c", language="fr", before=7,
    )  # fmt: skip
    for one in (begun(w, before=7), whole):
        await conversations.keep(w.connection, BUCKET, Kept(conversations={1: one}), NOW)
        assert await conversations.of_number(w.connection, NUMBER) == [one]
    assert await conversations.place_of(w.connection, 1) == (BUCKET, NUMBER)
    assert await conversations.place_of(w.connection, 2) is None


async def test_in_1_what_was_said_is_there_once_by_its_key(w: World) -> None:
    said = Said(key="in:1:1", number=NUMBER, conversation=1, at=NOW, direction=IN, text="a\0b")
    for _ in range(2):
        await conversations.keep(w.connection, BUCKET, Kept(conversations={1: begun(w)}, said=[said]), NOW)
    found = await conversations.said(w.connection, begun(w))
    assert [one.text for one in found] == ["a\ufffdb"]


async def test_in_2_what_is_owed_is_taken_by_its_lane_once_however_often_it_is_offered(w: World) -> None:
    body = Text(inbox="desk", lane=w.lane, sender="12345", text="hi")
    await conversations.owe(w.connection, BUCKET, [(5, NUMBER, body)], NOW)
    assert await conversations.is_owed(w.connection, NOW)
    (one,) = await conversations.owed(w.connection, NOW, 10)
    assert one.body == body
    run = await conversations.run_of(w.connection, "desk", 2, w.lane, None, NOW)
    assert run == await conversations.run_of(w.connection, "desk", 2, w.lane, None, NOW)
    taken = [await conversations.send(w.connection, run, one, body, NOW) for _ in range(3)]
    assert taken == [True, False, False] and await open_chunks(w.connection, run.id) == 1
    assert await conversations.done(w.connection, BUCKET, [5]) == {5}
    assert await conversations.done(w.connection, BUCKET, [5]) == set()
    await conversations.forget_sent(w.connection, w.lane, NOW + timedelta(days=8))
    assert await w.connection.fetchval("SELECT count(*) FROM conversation_sent") == 0


async def test_what_cannot_be_done_waits_for_its_next_try(w: World) -> None:
    told = Told(event_id="x", name="n", at=NOW, source="s", properties={"a": [1]}, attributes={"b": "c"})
    await conversations.owe(w.connection, BUCKET, [(5, NUMBER, told)], NOW)
    await conversations.put_off(w.connection, BUCKET, [5], NOW + timedelta(minutes=1))
    assert await conversations.owed(w.connection, NOW, 10) == []
    (one,) = await conversations.owed(w.connection, NOW + timedelta(minutes=1), 10)
    assert one.tries == 1 and one.body == told


async def test_in_9_a_question_that_is_asked_again_by_the_same_visit_stays_as_it_is(w: World) -> None:
    for minutes in (0, 5):
        w.after(minutes=minutes)
        await w.asks(SIZE)
    async with w.connection.transaction():
        held = await conversations.hold(w.connection, BUCKET, [NUMBER])
    (asked,) = held.questions[NUMBER]
    assert asked.asked_at == NOW and asked.question == SIZE and asked.until == NOW + timedelta(days=1)
    assert await conversations.close_question(w.connection, BUCKET, asked)
    assert not await conversations.close_question(w.connection, BUCKET, asked)


async def test_a_question_is_open_until_its_time_is_over_or_its_workflow_left_CN_6(w: World) -> None:
    await w.asks(SIZE)
    day = timedelta(days=1)
    at = (NOW - timedelta(seconds=1), NOW, NOW + day)
    assert [await conversations.is_asked(w.connection, NUMBER, one) for one in at] == [False, True, False]
    assert not await conversations.is_asked(w.connection, NUMBER + 1, NOW)
    for state in (0, 1):
        await w.connection.execute(
            "INSERT INTO enrolment (bucket, version, state, id, campaign, profile, endpoint, anchor_id, anchor_at, "
            "entered_at, step_at, cause) SELECT bucket, 1, $1, enrolment, 1, 1, 1, 1, $2, $2, $2, 'x' "
            "FROM open_question ON CONFLICT (bucket, id) DO UPDATE SET state = excluded.state",
            state, NOW,
        )  # fmt: skip
        assert await conversations.is_asked(w.connection, NUMBER, NOW) is (state == 0)


async def test_who_changes_a_conversation_makes_others_wait(w: World, dsn: str) -> None:
    await conversations.keep(w.connection, BUCKET, Kept(conversations={1: begun(w)}), NOW)
    other = await postgres.connect(dsn)
    try:
        async with w.connection.transaction():
            one = await conversations.hold_one(w.connection, BUCKET, 1)
            assert one is not None
            waiting = asyncio.create_task(conversations.hold_one(other, BUCKET, 1))
            one.assigned_to = "anna"
            await conversations.keep(w.connection, BUCKET, Kept(conversations={1: one}), NOW)
            assert not waiting.done()
        async with asyncio.timeout(10):
            found = await waiting
        assert found is not None and found.assigned_to == "anna"
    finally:
        await postgres.close(other)


async def test_what_came_before_there_were_conversations_is_none(w: World) -> None:
    await w.writes("old", at=NOW - timedelta(days=2))
    await w.writes("new")
    ((lane, (since, last)),) = (await conversations.news(w.connection)).items()
    assert [one.text for one in await conversations.heard(w.connection, lane, since, last)] == ["new"]
    await conversations.note(w.connection, lane, last)
    assert await conversations.news(w.connection) == {}


def test_plain_fields_of_a_template_are_written_out_and_the_rest_stays() -> None:
    values = {"name": "Ada", "city": None}
    assert filled("Hi {{ name }} of {{city}}{{ more | upper }}", values) == "Hi Ada of {{ more | upper }}"
