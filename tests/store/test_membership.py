"""Workers and bind slots: one holder of a place, a fence that a beat escapes, locked changes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest_asyncio

from gateway.store import membership, runs
from gateway.store.membership import Slot
from tests.fixtures.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LANE = 1


def a_worker(instance: str, node: str = "", place: int = 0) -> runs.Worker:
    return runs.Worker(
        instance=instance, host="h", boot="b", pid=1, started_at=NOW, seen_at=NOW, node=node or instance, place=place
    )


@pytest_asyncio.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    made = await database.connect()
    await membership.make_slots(made, LANE, 3)
    yield made
    made.terminate()


async def take(connection: Any, instance: str, slot: int, share: int = 0) -> bool:
    def decide(locked: list[Slot]) -> list[Slot]:
        return [
            msgspec.structs.replace(one, owner=instance, share=share)
            for one in locked
            if one.slot == slot and one.owner is None
        ]

    return await membership.change(connection, LANE, instance, decide)


async def test_a_place_of_a_node_has_one_holder(connection: Any) -> None:
    assert await membership.register(connection, a_worker("a", "north"))
    assert not await membership.register(connection, a_worker("b", "north"))
    assert await membership.register(connection, a_worker("b", "north", 1))
    holder = await membership.holder(connection, "north", 0)
    assert holder is not None and holder.instance == "a"
    assert await membership.holder(connection, "south", 0) is None


async def test_a_beat_counts_and_says_what_is_served_until_the_fence(connection: Any) -> None:
    await membership.register(connection, a_worker("a"))
    assert await membership.beat(connection, "a", NOW, ["acme"]) == 1
    assert await membership.beat(connection, "a", NOW, ["acme", "beta"]) == 2
    (row,) = await runs.workers(connection)
    assert (row.beat, list(row.carriers)) == (2, ["acme", "beta"])
    assert not await membership.fence(connection, "a", 1), "it has beaten since"
    assert await membership.fence(connection, "a", 2)
    assert await membership.beat(connection, "a", NOW, []) is None


async def test_a_fence_frees_the_slots_in_the_same_moment(connection: Any) -> None:
    await membership.register(connection, a_worker("a"))
    assert await take(connection, "a", 2, share=50)
    assert await membership.fence(connection, "a", 0)
    assert await membership.slots(connection, LANE) == [Slot(slot=1), Slot(slot=2, epoch=1), Slot(slot=3)]


async def test_who_was_fenced_takes_no_slot(connection: Any) -> None:
    await membership.register(connection, a_worker("a"))
    await membership.fence(connection, "a", 0)
    assert not await take(connection, "a", 1)
    assert all(one.owner is None for one in await membership.slots(connection, LANE))


async def test_a_fence_waits_for_a_take_under_way_and_frees_what_it_took(connection: Any, database: Database) -> None:
    await membership.register(connection, a_worker("a"))
    other = await database.connect()
    fences: list[asyncio.Task[bool]] = []

    def decide(locked: list[Slot]) -> list[Slot]:
        fences.append(asyncio.create_task(membership.fence(other, "a", 0)))
        return [msgspec.structs.replace(locked[0], owner="a")]

    assert await membership.change(connection, LANE, "a", decide)
    assert await asyncio.wait_for(fences[0], 10)
    assert all(one.owner is None for one in await membership.slots(connection, LANE))
    other.terminate()


async def test_two_who_take_at_once_never_get_the_same_slot(connection: Any, database: Database) -> None:
    others = [await database.connect() for _ in range(4)]
    for name in "abcd":
        await membership.register(connection, a_worker(name))
    await asyncio.gather(*(take(other, name, 1) for other, name in zip(others, "abcd", strict=True)))
    (first, *_) = await membership.slots(connection, LANE)
    assert first.owner in set("abcd")
    for other in others:
        other.terminate()


async def test_everybody_hears_that_slots_have_changed(connection: Any, database: Database) -> None:
    other, heard = await database.connect(), asyncio.Event()
    await membership.listen(other, heard.set)
    await membership.register(connection, a_worker("a"))
    await take(connection, "a", 1)
    await asyncio.wait_for(heard.wait(), 10)
    heard.clear()
    await membership.leave(connection, "a")
    await asyncio.wait_for(heard.wait(), 10)
    assert await runs.workers(connection) == []
    other.terminate()


async def test_slots_are_made_once_and_more_are_added(connection: Any) -> None:
    await membership.register(connection, a_worker("a"))
    await take(connection, "a", 3)
    await membership.make_slots(connection, LANE, 4)
    assert [one.owner for one in await membership.slots(connection, LANE)] == [None, None, "a", None]
