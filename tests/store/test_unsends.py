"""Messages that the carrier is asked to take back, as they are kept."""

from datetime import UTC, datetime, timedelta

from gateway.store import postgres, unsends
from gateway.store.unsends import NOT_TAKEN_BACK, OPEN, TAKEN_BACK, End

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def test_one_is_taken_by_one_worker_and_by_another_after_a_while_and_ends_once(dsn: str) -> None:
    connection = await postgres.connect(dsn)
    some = [(7, 0), (7, 1), (8, 0)]
    for _ in range(2):
        await unsends.add(connection, 1, some, NOW)
    await unsends.add(connection, 2, some[:1], NOW)
    assert sorted(await unsends.take(connection, 1, NOW, NOW - MINUTE, 9)) == some
    assert await unsends.take(connection, 1, NOW + MINUTE, NOW, 9) == []
    await unsends.end(connection, 1, [End(some[0], TAKEN_BACK), End(some[1], NOT_TAKEN_BACK, 0x11)], NOW)
    await unsends.end(connection, 1, [End(some[0], NOT_TAKEN_BACK, 0x11)], NOW)
    assert await unsends.take(connection, 1, NOW + 2 * MINUTE, NOW + MINUTE, 9) == [some[2]]
    states = dict(zip(some, (TAKEN_BACK, NOT_TAKEN_BACK, OPEN), strict=True))
    assert await unsends.states(connection, 1, some) == states
    await unsends.forget(connection, 1, NOW + MINUTE)
    assert await unsends.states(connection, 1, some) == {} and await unsends.states(connection, 2, some) == {
        some[0]: OPEN
    }
    await postgres.close(connection)
