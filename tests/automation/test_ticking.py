"""What the calendar begins: once, at the right local time, and not when it is too late."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from gateway.person import Item, Who
from gateway.store import ticks
from gateway.store.profiles import ingest
from tests.fixtures.shop import NOW, Shop

ANN, BOB, CAT = 447700900001, 447700900002, 447700900003
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def text(trigger: str, more: str = "") -> str:
    return f'name = "c"\nbrand = "acme"\nmessage = {{text = "Hi"}}\naim = "a"\n{more}[trigger]\n{trigger}\n'


async def numbers(shop: Shop) -> list[int]:
    return [number for number, _ in await shop.texts()]


async def order(shop: Shop, number: int, at: datetime) -> None:
    await shop.tells(number, "order_placed", {"order_id": f"{number}{at}", "total": 5, "currency": "EUR"}, at=at)


SILENCE = text('on = "inactivity"\ndays = 30\nat = "10:00"')


@pytest.mark.covers("S1.3", "S1.4", "S1.5", "S1.7", "S1.8", "S0.30")
async def test_silence_is_told_once_at_the_next_tick_and_a_new_order_begins_a_new_one(shop: Shop) -> None:
    """TR-6: unique on the episode; never-buyers are not in it."""
    await shop.people([ANN, BOB])
    await shop.apply(SILENCE)
    await order(shop, ANN, NOW)
    await shop.goes_on(timedelta(days=29, hours=23), step=12 * HOUR)
    assert await numbers(shop) == []
    # 30 days after noon is noon; the next tick is at 10:00 of the day after it.
    await shop.goes_on(datetime(2026, 4, 2, 8, 59, 59, tzinfo=UTC), step=6 * HOUR)
    assert await numbers(shop) == []
    await shop.goes_on(datetime(2026, 4, 2, 9, 0, tzinfo=UTC))  # 10:00 in London, in summer
    assert await numbers(shop) == [ANN]
    await shop.goes_on(5 * DAY, step=6 * HOUR)
    assert await numbers(shop) == [ANN]
    await order(shop, ANN, shop.now)
    await shop.goes_on(31 * DAY, step=6 * HOUR)
    assert await numbers(shop) == [ANN, ANN]


@pytest.mark.covers("S0.6")
@pytest.mark.parametrize(("back", "brought"), [(DAY * 29, True), (DAY * 31, False)])
async def test_who_was_silent_before_it_began_is_backlog(shop: Shop, back: timedelta, brought: bool) -> None:
    await shop.people([ANN])
    await order(shop, ANN, NOW - back)
    await shop.apply(SILENCE)
    await shop.goes_on(3 * DAY, step=6 * HOUR)
    assert (await numbers(shop) == [ANN]) is brought


async def test_backlog_may_be_asked_for(shop: Shop) -> None:
    await shop.people([ANN, BOB])
    await order(shop, ANN, NOW - 35 * DAY)
    await order(shop, BOB, NOW - 90 * DAY)
    await shop.apply(SILENCE.replace("days = 30", 'days = 30\nbacklog = "10d"'))
    await shop.goes_on(DAY, step=6 * HOUR)
    assert await numbers(shop) == [ANN]


async def test_tick_that_is_missed_is_noted_and_not_carried_out(shop: Shop) -> None:
    """TR-7: lateness of a schedule."""
    await shop.people([ANN])
    await shop.apply(text('on = "schedule"\nschedule = {every = "day", at = "10:00", max_lateness = "2h"}'))
    shop.now = datetime(2026, 3, 5, 11, 0, tzinfo=UTC)  # nobody was there for three days
    await shop.goes_on()
    assert await numbers(shop) == [ANN]
    campaign = await shop.connection.fetchval("SELECT id FROM campaign")
    found = await ticks.newest(shop.connection, campaign)
    assert [(one.at.day, one.state, one.people) for one in found] == [
        (5, "done", 1),
        (4, "missed", 0),
        (3, "missed", 0),
    ]


async def test_schedule_by_the_recipients_clock_comes_to_each_at_their_own_ten(shop: Shop) -> None:
    """S1.10, QH-8: one occurrence for each zone."""
    zones = {ANN: "Europe/London", BOB: "America/New_York", CAT: "Asia/Tokyo"}
    for number, zone in zones.items():
        await shop.people([number], {"zone": zone})
    # Of a class that waits for no window: the gate goes by the zone of a British number.
    trigger = 'on = "schedule"\nschedule = {every = "day", at = "10:00", clock = "recipient"}'
    await shop.apply(text(trigger, 'class = "transactional"\n'))
    shop.now = datetime(2026, 3, 3, 0, 59, tzinfo=UTC)
    seen = {}
    for hour in (1, 10, 15):
        await shop.goes_on(datetime(2026, 3, 3, hour, 0, tzinfo=UTC))
        seen[hour] = await numbers(shop)
    assert seen == {1: [CAT], 10: [CAT, ANN], 15: [CAT, ANN, BOB]}


@pytest.mark.covers("S4.11")
async def test_birthday_comes_once_a_year_and_29_february_on_the_28th(shop: Shop) -> None:
    """TR-10."""
    await shop.people([ANN], {"birthday": "1990-03-04"})
    await shop.people([BOB], {"birthday": "2000-02-29"})
    await shop.apply(text('on = "date"\ndate = {attribute = "birthday", at = "09:00", yearly = true}'))
    await shop.goes_on(datetime(2026, 3, 4, 8, 59, tzinfo=UTC), step=HOUR)
    assert await numbers(shop) == []
    await shop.goes_on(datetime(2026, 3, 6, tzinfo=UTC), step=HOUR)
    assert await numbers(shop) == [ANN]
    shop.now = datetime(2027, 2, 27, tzinfo=UTC)
    await shop.goes_on(datetime(2027, 3, 5, tzinfo=UTC), step=HOUR)
    assert await numbers(shop) == [ANN, BOB, ANN]


@pytest.mark.covers("S4.15")
async def test_appointment_that_is_moved_is_told_at_its_new_time_alone(shop: Shop) -> None:
    """TR-10: the old due is cancelled, the new one computed."""
    await shop.people([ANN, BOB])
    await shop.apply(text('on = "date"\ndate = {attribute = "visit", offset = "-24h"}'))

    async def says(number: int, at: str) -> None:
        told = Item(who=Who(phone=number), attributes={"visit": at}, occurred_at=shop.now)
        await ingest(shop.connection, [told], shop.now, Random(9))

    await says(ANN, "2026-03-03T13:00:00Z")
    await says(BOB, "2026-03-03T13:00:00Z")
    await shop.goes_on(30 * timedelta(minutes=1))
    await says(ANN, "2026-03-04T13:00:00Z")
    await shop.goes_on(datetime(2026, 3, 2, 14, 0, tzinfo=UTC), step=10 * timedelta(minutes=1))
    assert await numbers(shop) == [BOB]
    await shop.goes_on(datetime(2026, 3, 3, 12, 59, tzinfo=UTC), step=10 * timedelta(minutes=1))
    assert await numbers(shop) == [BOB]
    await shop.goes_on(datetime(2026, 3, 3, 13, 30, tzinfo=UTC), step=10 * timedelta(minutes=1))
    assert await numbers(shop) == [BOB, ANN]
