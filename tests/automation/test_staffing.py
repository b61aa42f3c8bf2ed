"""What people of ours do in a conversation: rules IN-4, IN-7, IN-8."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from gateway.automation.staffing import Desk, paused
from gateway.campaign.conversation import Refused
from gateway.errors import StoreError
from gateway.message import MessageClass
from gateway.store import conversations, stops
from tests.fixtures.conversations import NOW, NUMBER, World, world


def desk(w: World, by: str = "anna") -> Desk:
    return Desk(w.connection, w.settings, by, w.now, Random(5))


async def opened(w: World, text: str = "where is it?") -> int:
    await w.knows()
    await w.writes(text)
    await w.hears()
    w.after(minutes=1)
    return (await w.conversation()).id


@pytest.mark.covers("S4.21", "S2.6")
async def test_in_8_an_answer_within_a_day_is_queued_as_conversation_from_the_number_they_wrote_to(dsn: str) -> None:
    async with world(dsn) as w:
        id_ = await opened(w)
        found = await desk(w).reply(id_, "On its way. Code {{ FREE }}: https://shop.example/x")
        assert not isinstance(found, Refused)
        await w.hears()
        assert await w.texts() == ["On its way. Code {{ FREE }}: https://shop.example/x"]
        row = await w.connection.fetchrow("SELECT k.class, k.source FROM chunk k")
        assert (row["class"], row["source"]) == (MessageClass.CONVERSATION, "12345")
        one = await w.conversation()
        assert one.waits_since is None and one.answer_due is None and one.has_person
        said = await conversations.said(w.connection, one)
        assert [(each.direction, each.by) for each in said] == [(0, ""), (1, "anna")]
        assert "conversation_taken_over" in [name for name, _ in await w.told()]


async def test_in_8_an_answer_behind_a_day_is_transactional_and_stands_under_its_gate(dsn: str) -> None:
    async with world(dsn) as w:
        id_ = await opened(w)
        w.after(hours=25)
        await desk(w).reply(id_, "Sorry for the delay")
        await w.hears()
        assert await w.connection.fetchval("SELECT class FROM chunk") == MessageClass.TRANSACTIONAL


@pytest.mark.parametrize("scope", ["*", "sender:12345"])
async def test_in_8_who_has_said_stop_cannot_be_answered_and_it_is_said_why(dsn: str, scope: str) -> None:
    async with world(dsn) as w:
        id_ = await opened(w)
        await stops.enter(w.connection, [NUMBER], [scope], is_stop=True, at=NOW, source="keyword")
        before = await w.conversation()
        found = await desk(w).reply(id_, "hello?")
        assert found == Refused("they are not written to: keyword, since 2026-03-02 12:00 UTC")
        assert await w.conversation() == before
        await w.hears()
        assert await w.texts() == []


async def test_in_8_a_pause_of_what_is_promotional_stops_no_answer(dsn: str) -> None:
    async with world(dsn) as w:
        id_ = await opened(w)
        await stops.enter(w.connection, [NUMBER], [stops.PROMOTIONAL], is_stop=True, at=NOW, source="doubt")
        assert not isinstance(await desk(w).reply(id_, "hello"), Refused)


async def test_in_10_nobody_sends_the_number_of_a_card(dsn: str) -> None:
    async with world(dsn) as w:
        id_ = await opened(w)
        assert isinstance(await desk(w).reply(id_, "yours is 4111 1111 1111 1111"), Refused)
        assert isinstance(await desk(w).reply(id_, " "), Refused)


async def test_in_7_what_is_promotional_waits_while_a_person_answers_and_a_day_behind_it(dsn: str) -> None:
    async with world(dsn) as w:
        id_ = await opened(w)
        some = [NUMBER, NUMBER + 256 * 256]

        async def until() -> list[datetime | None]:
            return await paused(w.connection, w.settings, some, w.now)

        assert await until() == [None, None]
        await desk(w).reply(id_, "hello")
        assert await until() == [datetime.max.replace(tzinfo=UTC), None]
        closed = w.after(hours=2)
        await desk(w).close(id_)
        assert await until() == [closed + timedelta(hours=24), None]
        w.after(hours=24)
        assert await until() == [None, None]


async def test_in_7_giving_it_back_ends_the_pause_and_lets_what_answers_by_itself_answer(dsn: str) -> None:
    async with world(dsn) as w:
        id_ = await opened(w)
        await desk(w).reply(id_, "hello")
        one = await desk(w).give_back(id_)
        assert not one.has_person and not one.is_handed_over and one.assigned_to == ""
        assert await paused(w.connection, w.settings, [NUMBER], w.now) == [None]


async def test_in_4_a_conversation_is_given_to_an_agent_of_its_inbox_and_to_nobody_else(dsn: str) -> None:
    async with world(dsn) as w:
        id_ = await opened(w)
        assert isinstance(await desk(w).assign(id_, "zoe"), Refused)
        found = await desk(w).assign(id_, "bert")
        assert not isinstance(found, Refused) and found.assigned_to == "bert"
        assert found.return_at == w.now + timedelta(minutes=30)
        nobody = await desk(w).assign(id_, "")
        assert not isinstance(nobody, Refused) and nobody.assigned_at is None and nobody.return_at is None


async def test_in_1_what_is_snoozed_wakes_by_a_message_or_in_its_time(dsn: str) -> None:
    async with world(dsn) as w:
        id_ = await opened(w)
        await desk(w).snooze(id_, w.now + timedelta(hours=1))
        w.after(minutes=5)
        await w.writes("one more thing")
        await w.hears()
        assert (await w.conversation()).state == conversations.OPEN
        await desk(w).snooze(id_, w.now + timedelta(hours=1))
        w.after(hours=1)
        await w.hears()
        assert (await w.conversation()).state == conversations.OPEN


async def test_a_note_is_sent_to_nobody_and_closing_is_told_once(dsn: str) -> None:
    async with world(dsn) as w:
        id_ = await opened(w)
        await desk(w).note(id_, "called them")
        await desk(w).close(id_)
        await desk(w).close(id_)
        await w.hears()
        assert await w.texts() == []
        assert [name for name, _ in await w.told()].count("conversation_closed") == 1
        assert (await conversations.said(w.connection, await w.conversation()))[-1].text == "called them"


async def test_a_conversation_that_there_is_not_is_refused_by_name(dsn: str) -> None:
    async with world(dsn) as w:
        with pytest.raises(StoreError, match="conversation 5"):
            await desk(w).close(5)
