"""Orders on a real Postgres: the newest that has not ended holds, and what is tuned holds setting by setting."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.store import control, runs
from gateway.store.control import State
from tests.fixtures.campaign import make_run, numbers
from tests.fixtures.database import Database

NOW = datetime.now(UTC)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await database.connect()
    yield opened
    opened.terminate()


async def give(connection: Any, action: str, key: str = "acme", scope: str = "carrier", **how: Any) -> int:
    (order,) = await control.give(connection, action, scope, [key], **{"at": NOW, "by": "ann@here", **how})
    return order


async def standing(connection: Any, at: datetime = NOW, scope: str = "carrier") -> dict[str, str]:
    return {key: one.action for key, one in (await control.state(connection, at)).standing(scope).items()}


async def test_nothing_stands_before_the_first_order(connection: Any) -> None:
    assert await control.state(connection, NOW) == State()


async def test_newest_order_of_a_scope_and_key_holds(connection: Any) -> None:
    await give(connection, "pause", reason="late receipts")
    await give(connection, "pause", "west")
    await give(connection, "pause", "acme", "sender")
    assert await standing(connection) == {"acme": "pause", "west": "pause"}
    await give(connection, "drain")
    assert await standing(connection) == {"acme": "drain", "west": "pause"}
    await give(connection, "resume")
    assert await standing(connection) == {"west": "pause"}
    assert await standing(connection, scope="sender") == {"acme": "pause"}


async def test_an_order_with_an_end_gives_way_to_the_one_before_it(connection: Any) -> None:
    await give(connection, "pause", until=NOW + timedelta(minutes=10))
    assert await standing(connection) == {"acme": "pause"}
    assert await standing(connection, NOW + timedelta(minutes=10)) == {}
    await give(connection, "drain", until=NOW + timedelta(minutes=5))
    assert await standing(connection, NOW + timedelta(minutes=6)) == {"acme": "pause"}
    await give(connection, "resume")
    assert await standing(connection, NOW) == {}


async def test_order_that_commits_late_is_seen_though_a_higher_one_was_before(
    database: Database, connection: Any
) -> None:
    late = await database.connect()
    try:
        transaction = late.transaction()
        await transaction.start()
        first = await give(late, "pause", "west")
        second = await give(connection, "pause", "acme")
        assert first < second and await standing(connection) == {"acme": "pause"}
        await transaction.commit()
        state = await control.state(connection, NOW)
        assert set(state.standing("carrier")) == {"acme", "west"} and state.ids == {first, second}
    finally:
        late.terminate()


async def test_what_is_tuned_holds_setting_by_setting_until_it_is_reset(connection: Any) -> None:
    await give(connection, "tune", value={"tps": 500, "window": 50})
    await give(connection, "tune", value={"tps": 600, "adaptive": False})
    await give(connection, "tune", "west", value={"tps": 9})
    state = await control.state(connection, NOW)
    assert state.overlay("acme") == {"tps": 600, "window": 50, "adaptive": False}
    await give(connection, "reset", value={"tps": None, "window": None, "adaptive": None})
    state = await control.state(connection, NOW)
    assert state.overlay("acme") == {} and state.overlay("west") == {"tps": 9}


async def test_rollback_gives_each_setting_what_the_order_before_gave_it(connection: Any) -> None:
    await give(connection, "tune", value={"tps": 500})
    order = await give(connection, "tune", value={"tps": 800, "window": 90})
    made = await control.roll_back(connection, order, at=NOW, by="worker", reason="throttled rose")
    state = await control.state(connection, NOW)
    assert state.overlay("acme") == {"tps": 500}
    assert {(each.setting, each.action, each.reason, each.id) for each in state.tuned} == {
        ("tps", "rollback", "throttled rose", made), ("window", "rollback", "throttled rose", made),
    }  # fmt: skip


async def test_an_order_is_taken_back_once_whoever_wants_it(database: Database, connection: Any) -> None:
    order = await give(connection, "tune", value={"tps": 800})
    others = [await database.connect() for _ in range(4)]
    try:
        made = await asyncio.gather(
            *(control.roll_back(each, order, at=NOW, by="worker", reason="") for each in others)
        )
        assert sum(one is not None for one in made) == 1
    finally:
        for each in others:
            each.terminate()


async def test_an_order_is_not_taken_back_over_a_newer_one_of_the_same_setting(connection: Any) -> None:
    order = await give(connection, "tune", value={"tps": 800})
    await give(connection, "tune", value={"window": 20})
    await give(connection, "tune", "west", value={"tps": 1})
    newer = await give(connection, "tune", value={"tps": 700})
    assert await control.roll_back(connection, order, at=NOW, by="worker", reason="") is None
    assert await control.roll_back(connection, newer, at=NOW, by="worker", reason="") is not None
    assert (await control.state(connection, NOW)).overlay("acme") == {"tps": 800, "window": 20}


async def test_whoever_listens_hears_of_orders_and_of_those_who_look(database: Database, connection: Any) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await database.connect()
    try:
        await control.listen(listener, heard.put_nowait)
        await give(connection, "pause")
        assert await asyncio.wait_for(heard.get(), 5) == control.ORDER
        await control.watch(connection)
        assert await asyncio.wait_for(heard.get(), 5) == control.WATCH
    finally:
        listener.terminate()


async def test_campaign_is_named_by_its_name_or_by_the_number_of_a_run(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    first, second, other = [
        await make_run(connection, numbers(5), [lane], name=name, now=NOW) for name in ("spring", "spring", "autumn")
    ]
    assert await control.runs_of(connection, ["spring"]) == sorted([first.id, second.id])
    assert await control.runs_of(connection, [str(other.id), "summer"]) == [other.id]
    assert await control.runs_of(connection, ["summer", "9" * 30]) == []


async def test_chunks_in_hand_are_held_by_run_country_or_sender(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    made = [await make_run(connection, numbers(5), [lane], now=NOW) for _ in range(4)]
    await connection.execute("UPDATE chunk SET country = 133 WHERE run = $1", made[1].id)
    await connection.execute("UPDATE chunk SET source = 'Brand' WHERE run = $1", made[2].id)
    run_by_chunk = {row["id"]: row["run"] for row in await connection.fetch("SELECT id, run FROM chunk")}
    ids = list(run_by_chunk)

    async def held(*paused: Any) -> set[int]:
        return {run_by_chunk[chunk] for chunk in await control.held_chunks(connection, lane, ids, *paused)}

    assert await held([made[0].id], [], []) == {made[0].id}
    assert await held([], [133], ["Brand"]) == {made[1].id, made[2].id}
    assert await held([], [], [""]) == {made[0].id, made[1].id, made[3].id}
    assert await held([], [], []) == set()
    assert await control.sender_waits(connection, "Brand") and not await control.sender_waits(connection, "Brent")
