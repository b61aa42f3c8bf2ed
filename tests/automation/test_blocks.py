"""What carriers say of numbers reaches the feed of STOPs, and time lifts what time may (CN-7, CN-11)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.automation.blocks import Blocks
from gateway.config import CarrierSettings, RetentionSettings, Settings
from gateway.message import MessageClass, Policy
from gateway.store import membership, postgres, runs, stops
from gateway.suppression import BY_GRANT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBER = 447700900001
ANSWERS = {"0x0B": "invalid", "err:034": "carrier", "0x401": "complaint"}


class World:
    """A database with one lane, and the job that follows it."""

    def __init__(self, connection: Any, dsn: str):
        self.connection, self.now = connection, NOW
        settings = Settings(
            carriers={"acme": CarrierSettings(host="x", suppress=ANSWERS)}, retention=RetentionSettings(invalid_days=10)
        )
        self.job = Blocks(settings, lambda: self.now, lambda: postgres.connect(dsn), "one")
        self.lane = 0

    async def say(self, number: int, status: int = 0, err: str = "", at: datetime | None = None) -> None:
        """A message to a number, and what its carrier answers; segments of one message answer alike."""
        at = at or self.now
        await runs.ensure_partitions(self.connection, at)
        run = await runs.add_run(
            self.connection, name="r", template="x", fields=(), class_=MessageClass.BULK, policy=Policy.ONCE,
            lanes=[self.lane], list_id=None, source=None, now=NOW,
        )  # fmt: skip
        chunk = await runs.enqueue_few(self.connection, run, self.lane, [number], None, NOW)
        for segment in (1, 2):
            await self.connection.execute(
                "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, at, epoch, status, rtt_us, message_id) "
                "VALUES ($1, $2, 0, $3, 2, $4, 1, $5, 1, NULL)",
                self.lane, chunk, segment, at, status,
            )  # fmt: skip
        if err:
            await self.connection.execute(
                "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state, err) VALUES ($1, $2, 0, 1, $3, 5, $4)",
                self.lane, chunk, at, err,
            )  # fmt: skip

    async def why(self, number: int = NUMBER) -> set[str]:
        """Look, and say why a number is stopped."""
        await self.job.round()
        return set((await stops.reasons(self.connection, [number])).get(number, {}))

    async def start(self) -> None:
        """A START of the handset."""
        await stops.enter_heard(self.connection, [(NUMBER, "*", False)], at=self.now)


@pytest.fixture
async def world(dsn: str) -> AsyncIterator[World]:
    opened = await postgres.connect(dsn)
    await runs.ensure_partitions(opened, NOW)
    worker = runs.Worker(instance="one", host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node="one")
    await membership.register(opened, worker)
    made = World(opened, dsn)
    made.lane = await runs.lane_of(opened, "acme", NOW)
    yield made
    await made.job.close()
    await postgres.close(opened)


async def test_cn_7_a_carriers_block_is_mirrored_by_a_receipt_and_a_start_lifts_it_until_it_is_said_again(
    world: World,
) -> None:
    await world.say(NUMBER, err="034")
    assert await world.why() == {"carrier"} and await world.why() == {"carrier"}
    world.now += timedelta(minutes=1)
    await world.start()
    # What was said before the START is read again, and says nothing any more: one message is tried.
    assert await world.why() == set()
    world.now += timedelta(minutes=1)
    await world.say(NUMBER, err="034")
    assert await world.why() == {"carrier"} and world.job.suppressed == 2


async def test_cn_11_a_number_is_invalid_by_two_messages_and_not_by_two_parts_of_one(world: World) -> None:
    await world.say(NUMBER, status=0x0B)
    assert await world.why() == set() and await world.why() == set()
    world.now += timedelta(hours=1)
    await world.say(NUMBER, status=0x0B)
    await world.say(NUMBER + 1, status=0x0A)
    assert await world.why() == {"invalid"} and await world.why(NUMBER + 1) == set()


async def test_cn_11_two_failures_with_months_between_are_none(world: World) -> None:
    await world.say(NUMBER, status=0x0B)
    assert await world.why() == set()
    world.now += timedelta(days=100)
    await world.say(NUMBER, status=0x0B)
    assert await world.why() == set()


async def test_cn_11_time_lifts_what_is_invalid_and_no_stop_beside_it(world: World) -> None:
    for number in (NUMBER, NUMBER + 1):
        await stops.enter(world.connection, [number], ["*"], is_stop=True, at=NOW, source="invalid")
    await stops.enter(world.connection, [NUMBER + 1], ["*"], is_stop=True, at=NOW, source="keyword")
    await stops.enter(world.connection, [NUMBER + 2], ["*"], is_stop=True, at=NOW, source="complaint")
    while await stops.copy(world.connection):
        pass
    world.now += timedelta(days=9)
    assert await world.why() == {"invalid"}
    world.now += timedelta(days=2)
    assert await world.why() == set() and world.job.lifted == 1
    assert await world.why(NUMBER + 1) == {"invalid", "keyword"} and await world.why(NUMBER + 2) == {"complaint"}


async def test_cn_9_a_start_lifts_no_complaint(world: World) -> None:
    await world.say(NUMBER, status=0x401)
    assert await world.why() == {"complaint"}
    world.now += timedelta(minutes=1)
    await world.start()
    assert await world.why() == {"complaint"}


async def test_cn_11_a_new_grant_lifts_a_sunset_and_not_with_a_stop_beside_it(world: World) -> None:
    for number, sources in ((NUMBER, ("sunset",)), (NUMBER + 1, ("sunset", "keyword"))):
        for source in sources:
            await stops.enter(world.connection, [number], ["*"], is_stop=True, at=NOW, source=source)
    lifted = await stops.lift(
        world.connection, [NUMBER, NUMBER + 1], lambda source, _: source in BY_GRANT, at=NOW, note="a new grant"
    )
    assert lifted == [NUMBER] and await world.why() == set() and await world.why(NUMBER + 1) == {"sunset", "keyword"}
