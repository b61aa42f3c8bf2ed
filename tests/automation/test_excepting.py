"""What became of texts that were made before an exception of theirs was told: EX-3, EX-5."""

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.automation.excepting import GIVEN_UP, SETTLES, Excepting, judge
from gateway.reasons import Reason
from gateway.store import excepted, reports, runs, unsends
from gateway.store.excepted import LATE, OPEN, PREVENTED, Open, Told
from gateway.store.unsends import End
from tests.fixtures.keeper import Keeper
from tests.fixtures.shop import NOW, Shop, settings_of

ANN, BOB, CAT = 447700900001, 447700900002, 447700900003
MINUTE = timedelta(minutes=1)
CART = """
name = "cart"
brand = "acme"
wait = "30m"
message = {text = "Your cart waits."}
aim = "a"
[trigger]
on = "event"
event = "cart_updated"
key = "cart_id"
[[exceptions]]
event = "order_placed"
key = "cart_id"
[[exceptions]]
event = "cart_emptied"
key = "cart_id"
"""


def job_of(keeper: Keeper) -> Excepting:
    async def connect() -> Any:
        return keeper.shop.connection

    return Excepting(keeper.shop.settings, lambda: keeper.shop.now, connect, keeper.shop.instance, random.Random(3))


async def states(keeper: Keeper) -> list[tuple[int, int, str]]:
    rows = await keeper.shop.connection.fetch(
        "SELECT e.number, x.state, x.name FROM excepted x JOIN enrolment e ON e.id = x.enrolment ORDER BY 1, 2"
    )
    return [tuple(row) for row in rows]


async def test_exception_behind_the_gate_and_before_the_receipt_is_late_and_told_of_the_person_EX_3(
    keeper: Keeper,
) -> None:
    shop = keeper.shop
    await shop.people([ANN, BOB, CAT])
    await shop.apply(CART)
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "cart_updated", {"cart_id": "c"})
    await shop.goes_on(30 * MINUTE)
    passed = await keeper.claims()
    assert [one.number for one in passed] == [ANN, BOB, CAT]
    await keeper.sends(passed)
    await keeper.ends([one for one in passed if one.number == BOB], "delivered")
    shop.now += MINUTE
    # Ann's is still under way, Bob has his, and what Cat does is not of the same cart.
    await shop.tells(ANN, "order_placed", {"cart_id": "c"})
    await shop.tells(BOB, "order_placed", {"cart_id": "c"})
    await shop.tells(CAT, "order_placed", {"cart_id": "another"})
    await shop.goes_on()
    assert await states(keeper) == [(ANN, OPEN, "order_placed"), (BOB, OPEN, "order_placed")]
    job = job_of(keeper)
    # A receipt that was here before it may not be written yet.
    await job.work(shop.connection, shop.now)
    assert await states(keeper) == [(ANN, OPEN, "order_placed")]
    shop.now += SETTLES
    for _ in range(2):
        await job.work(shop.connection, shop.now)
    assert await states(keeper) == [(ANN, LATE, "order_placed")]
    told = await shop.connection.fetch(
        "SELECT p.number, v.properties ->> 'campaign', v.properties ->> 'exception' FROM person_event v "
        "JOIN profile p ON p.id = v.profile WHERE v.name = 'late_exception'"
    )
    assert [tuple(row) for row in told] == [(ANN, "cart", "order_placed")]
    [row] = await reports.rows(shop.connection, "report_exception", campaign="cart")
    assert (row["exception"], row["prevented"], row["late"], row["cancelled"]) == ("order_placed", 0, 1, 0)


async def test_carrier_is_asked_to_take_back_what_is_late_and_that_is_reported_and_not_prevented_EX_3(dsn: str) -> None:
    keeper = Keeper(await Shop.open(dsn, settings_of(dsn, cancel_sm=True)), dsn)
    shop = keeper.shop
    people = [ANN, BOB, CAT]
    await shop.people(people)
    await shop.apply(CART)
    for number in people:
        await shop.tells(number, "cart_updated", {"cart_id": "c"})
    await shop.goes_on(30 * MINUTE)
    passed = await keeper.claims()
    await keeper.sends(passed)
    shop.now += MINUTE
    for number in people:
        await shop.tells(number, "order_placed", {"cart_id": "c"})
    await shop.goes_on(MINUTE)
    job = job_of(keeper)
    for _ in range(2):
        await job.work(shop.connection, shop.now)
    lane = passed[0].lane
    asked = await unsends.take(shop.connection, lane, shop.now, shop.now, 9)
    assert sorted(asked) == sorted((one.chunk, one.pos) for one in passed)
    ends = [End(asked[0], unsends.TAKEN_BACK), End(asked[1], unsends.NOT_TAKEN_BACK, 0x11)]
    await unsends.end(shop.connection, lane, ends, shop.now)
    await job.work(shop.connection, shop.now)
    [row] = await reports.rows(shop.connection, "report_exception", campaign="cart")
    assert (row["prevented"], row["late"], row["cancelled"], row["refused"]) == (0, 3, 1, 1)
    assert await job.is_wanted(shop.connection, shop.now), "one has no answer yet"
    await keeper.close()
    shop.close()


async def test_report_counts_what_exceptions_prevented_and_how_long_before_EX_5(keeper: Keeper) -> None:
    shop = keeper.shop
    await shop.people([ANN, BOB, CAT])
    await shop.apply(CART)
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "cart_updated", {"cart_id": "c"})
    await shop.goes_on(10 * MINUTE)
    await shop.tells(ANN, "order_placed", {"cart_id": "c"})
    await shop.goes_on(15 * MINUTE)
    await shop.tells(BOB, "order_placed", {"cart_id": "c"})
    await shop.goes_on(5 * MINUTE)
    assert len(await shop.texts()) == 1
    # Cat's text stands in the queue, and the gate is asked before anybody looks at what was told.
    await shop.tells(CAT, "cart_emptied", {"cart_id": "c"})
    shop.now += MINUTE
    assert await keeper.claims() == []
    await shop.goes_on()
    await job_of(keeper).work(shop.connection, shop.now)
    assert await states(keeper) == [
        (ANN, PREVENTED, "order_placed"), (BOB, PREVENTED, "order_placed"), (CAT, PREVENTED, "cart_emptied"),
    ]  # fmt: skip
    day = (NOW.date(), NOW.date(), "Europe/London")
    found = await reports.ask(shop.connection, "report_exceptions", "cart", *day)
    assert [(one["exception"], one["prevented"], one["lead_s"], one["late"]) for one in found] == [
        ("cart_emptied", 1, 60.0, 0), ("order_placed", 2, (20 + 5) * 60 / 2, 0),
    ]  # fmt: skip
    view = await reports.rows(shop.connection, "report_exception", campaign="cart")
    assert [{**one, "campaign": "cart"} for one in found] == view
    assert (
        await reports.ask(shop.connection, "report_exceptions", "cart", *(NOW.date() + timedelta(1),) * 2, "UTC") == []
    )


async def test_who_has_no_text_ahead_leaves_and_nothing_was_prevented(keeper: Keeper) -> None:
    shop = keeper.shop
    await shop.people([ANN])
    await shop.apply(
        'name = "after"\nbrand = "acme"\nkind = "workflow"\naim = "a"\n[trigger]\non = "event"\nevent = "left"\n'
        '[[exceptions]]\nevent = "back"\n[[steps]]\ndo = "send"\ntext = "Bye."\n[[steps]]\ndo = "wait"\nfor = "2d"\n'
        '[[steps]]\ndo = "exit"\n'
    )
    await shop.tells(ANN, "left")
    await shop.goes_on(MINUTE)
    passed = await keeper.claims()
    await keeper.sends(passed)
    await keeper.ends(passed, "delivered")
    shop.now += MINUTE
    await shop.tells(ANN, "back")
    await shop.goes_on(MINUTE)
    await job_of(keeper).work(shop.connection, shop.now)
    assert await states(keeper) == []


def text(**how: Any) -> Open:
    return Open(
        **{
            "bucket": 1, "enrolment": 7, "visit": 1, "profile": 9, "run": 3, "campaign": "c", "name": "bought",
            "happened_at": NOW, "told_at": NOW, "planned_at": NOW - MINUTE, "found_at": NOW, "number": ANN,
        } | how
    )  # fmt: skip


def event(name: str, at: datetime, pos: int = 0, status: int = 0) -> Told:
    return Told(name, 1, 5, pos, at, status)


@pytest.mark.parametrize(
    ("events", "after", "expected"),
    [
        ([], MINUTE, "open"),
        ([], GIVEN_UP + MINUTE, "over"),
        ([event("skipped", NOW, status=Reason.GOAL_MET)], MINUTE, "over"),
        ([event("skipped", NOW, status=Reason.EXCEPTION)], MINUTE, "prevented"),
        ([event("submitted", NOW + MINUTE)], MINUTE, "late"),
        ([event("submitted", NOW - MINUTE)], SETTLES / 2, "open"),
        ([event("submitted", NOW - MINUTE)], SETTLES, "late"),
        ([event("submitted", NOW - MINUTE), event("delivered", NOW + SETTLES / 2)], SETTLES / 2, "late"),
        ([event("submitted", NOW - MINUTE), event("delivered", NOW)], MINUTE, "over"),
        ([event("submitted", NOW - MINUTE), event("delivered", NOW, pos=1)], MINUTE, "late"),
    ],
)
def test_late_is_what_was_told_before_the_end_of_what_had_left(
    events: list[Told], after: timedelta, expected: str
) -> None:
    one = text()
    late, over, prevented = judge([one], {one.key: events} if events else {}, NOW + after)
    assert ("late" if late else "over" if over else "prevented" if prevented else "open") == expected


async def test_what_the_lane_knows_and_nobody_was_told_is_late_two_seconds_behind_the_exception_EX_3(
    keeper: Keeper,
) -> None:
    """Ann's text has left, Bob's was delivered before, Cat's is still on its way to the carrier."""
    shop = keeper.shop
    await shop.people([ANN, BOB, CAT])
    await shop.apply(CART)
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "cart_updated", {"cart_id": "c"})
    await shop.goes_on(30 * MINUTE)
    await runs.ensure_partitions(shop.connection, shop.now)
    for one in await keeper.claims():
        if one.number != CAT:
            await shop.connection.execute(
                "INSERT INTO outcome (chunk_id, at, lane, pos, epoch, status, rtt_us, segment, segments, message_id) "
                "VALUES ($1, $2, $3, $4, 1, 0, 9, 1, 1, 'x')", one.chunk, shop.now, one.lane, one.pos,
            )  # fmt: skip
        if one.number == BOB:
            await shop.connection.execute(
                "INSERT INTO receipt (chunk_id, at, lane, pos, segment, state) VALUES ($1, $2, $3, $4, 1, 2)",
                one.chunk, shop.now, one.lane, one.pos,
            )  # fmt: skip
    shop.now += timedelta(milliseconds=100)
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "order_placed", {"cart_id": "c"})
    await shop.goes_on()
    shop.now += timedelta(seconds=1.5)
    await job_of(keeper).work(shop.connection, shop.now)
    assert await states(keeper) == [(ANN, LATE, "order_placed"), (CAT, OPEN, "order_placed")]


async def test_what_was_taken_out_by_who_died_behind_it_is_prevented(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = keeper.shop
    await shop.people([ANN, BOB])
    await shop.apply(CART)
    for number in (ANN, BOB):
        await shop.tells(number, "cart_updated", {"cart_id": "c"})
    await shop.goes_on(30 * MINUTE)
    await shop.tells(ANN, "order_placed", {"cart_id": "c"})

    async def dies(*_: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(excepted, "prevented", dies)
        with pytest.raises(RuntimeError):
            await shop.goes_on()
    assert await states(keeper) == [(ANN, OPEN, "order_placed")]
    await job_of(keeper).work(shop.connection, shop.now)
    assert await states(keeper) == [(ANN, PREVENTED, "order_placed")]
