"""Experiments in Postgres: who is assigned to what, once and for good, and the sums of arms: rules AB-1, AB-6, AB-7."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from gateway.errors import ConfigError
from gateway.experiment import CONTROL, REST, Arm, Experiment, Variant, allocation_of
from gateway.person import Item, Who, hash_of
from gateway.store import experiments
from gateway.store.experiments import Kept
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIRST = 447_700_900_000


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


def made(*weights: float, **more: object) -> Experiment:
    variants = tuple(Variant(name=chr(65 + at), weight=weight) for at, weight in enumerate(weights))
    return Experiment(name="spring", variants=variants, **more)  # type: ignore[arg-type]


async def keep(connection: Any, experiment: Experiment, campaign: str = "") -> Kept:
    return await experiments.apply(connection, experiment, campaign=campaign, at=NOW, by="ada")


async def give(connection: Any, kept: Kept, arms: Mapping[int, int], reached: bool = True, at: datetime = NOW) -> None:
    for number, arm in arms.items():
        bucket = hash_of(number)
        await experiments.assign(connection, kept.id, bucket, [number], [arm], version=kept.version, at=at)
        if reached:
            await experiments.reach(connection, kept.id, bucket, [number], at=at)


async def tell(connection: Any, number: int, name: str, after: timedelta, **properties: Any) -> None:
    key = f"{number} {name} {after} {properties}"
    item = Item(
        who=Who(phone=number), event_id=key, name=name, occurred_at=NOW + after, properties=properties, is_ours=True
    )
    await ingest(connection, [item], NOW + 30 * DAY, random.Random(key))


async def counted(connection: Any, kept: Kept, now: datetime = NOW + 30 * DAY) -> dict[int, Arm]:
    return {arm.arm: arm for arm in (await experiments.arms(connection, kept, now)).arms}


@pytest.mark.parametrize(
    "experiment",
    [
        made(1, 1),
        made(50, 30, 20, holdout=5, test_share=20),
        made(1, holdout=20),
        made(0, 1, 0, 1, holdout=10),
        made(1, 1, salt="ö:'x"),
        made(1, 1, 0, test_share=0.01),
    ],
)
async def test_ab_1_sql_gives_everybody_the_arm_that_python_does(connection: Any, experiment: Experiment) -> None:
    kept = await keep(connection, experiment)
    allocation = allocation_of(experiment)
    random_ = random.Random(1)
    for bucket in (0, 17, 255):
        numbers = [n for n in (random_.randrange(10**7, 10**14) for _ in range(60_000)) if hash_of(n) == bucket]
        found = await experiments.assign_by_hash(connection, kept, bucket, numbers, at=NOW)
        assert found == {n: arm for n in numbers if (arm := allocation.arm_of(n)) != REST}


async def test_ab_1_the_first_arm_stays_whatever_the_weights_become(connection: Any) -> None:
    kept = await keep(connection, made(1, 0))
    numbers = [n for n in range(FIRST, FIRST + 5000) if hash_of(n) == 7]
    assert set((await experiments.assign_by_hash(connection, kept, 7, numbers, at=NOW)).values()) == {1}
    other = await keep(connection, made(0, 1))
    assert (other.id, other.version) == (kept.id, 2)
    more = [n for n in range(FIRST + 5000, FIRST + 6000) if hash_of(n) == 7]
    found = await experiments.assign_by_hash(connection, other, 7, [*numbers, *more], at=NOW)
    assert all(found[n] == 1 for n in numbers) and all(found[n] == 2 for n in more)
    assert set(
        (await experiments.assign(connection, kept.id, 7, numbers, [2] * len(numbers), version=2, at=NOW)).values()
    ) == {1}
    counted = await experiments.arms(connection, other, NOW)
    assert [split.shares for split in counted.splits] == [(0, 1, 0), (0, 0, 1)]
    assert [split.assigned for split in counted.splits] == [(0, len(numbers), 0), (0, 0, len(more))]


async def test_ab_1_of_two_who_assign_the_same_people_at_once_the_first_has_his_way(connection: Any, dsn: str) -> None:
    kept = await keep(connection, made(1, 1))
    numbers = [n for n in range(FIRST, FIRST + 5000) if hash_of(n) == 7]
    other = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            first = await experiments.assign(connection, kept.id, 7, numbers, [1] * len(numbers), version=1, at=NOW)
            late = asyncio.create_task(
                experiments.assign(other, kept.id, 7, numbers[::-1], [2] * len(numbers), version=1, at=NOW)
            )
            waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'"
            async with asyncio.timeout(10):
                while not await connection.fetchval(waits, other.get_server_pid()):
                    await asyncio.sleep(0)
        assert await late == first == dict.fromkeys(numbers, 1)
    finally:
        await other.close()


async def test_ab_8_nobody_is_assigned_to_an_arm_that_was_stopped(connection: Any) -> None:
    kept = await keep(connection, made(1, 1))
    async with connection.transaction():
        held = await experiments.hold(connection, "spring")
        assert held == kept
        await experiments.stop_arms(connection, kept, [2])
        await experiments.stop_arms(connection, kept, [2])
    kept = await experiments.named(connection, "spring")
    assert kept is not None and kept.stopped == (2,) and kept.standing.stopped == (2,)
    numbers = [n for n in range(FIRST, FIRST + 5000) if hash_of(n) == 7]
    found = await experiments.assign_by_hash(connection, kept, 7, numbers, at=NOW)
    assert set(found.values()) == {1} and 0 < len(found) < len(numbers)


async def test_ab_6_arms_are_summed_by_assignment_and_by_who_was_reached(connection: Any) -> None:
    kept = await keep(connection, made(1, 1, holdout=10))
    one, two, three, four = range(FIRST, FIRST + 4)
    await give(connection, kept, {one: 1, two: 1, three: CONTROL})
    await give(connection, kept, {four: 1}, reached=False)
    for number in (one, three, four):
        await tell(connection, number, "order_placed", HOUR, order_id=f"{number}", total=10, currency="EUR")
    found = await counted(connection, kept)
    assert (found[1].assigned.people, found[1].assigned.conversions) == (3, 2)
    assert (found[1].reached.people, found[1].reached.conversions) == (2, 1)
    assert (found[CONTROL].assigned.people, found[CONTROL].reached.conversions) == (1, 1)
    assert found[2] == Arm(arm=2)
    whole = await experiments.arms(connection, kept, NOW)
    assert whole.first_at == NOW and whole.splits[0].reached == (1, 2, 0)
    assert (await experiments.arms(connection, kept, NOW - HOUR)).first_at is None


async def test_gl_2_the_window_begins_with_the_message_and_of_the_control_with_its_virtual_send(
    connection: Any,
) -> None:
    kept = await keep(connection, made(1, 1, holdout=10, window="1d"))
    early, late, control, never = range(FIRST, FIRST + 4)
    await give(connection, kept, {early: 1, late: 1, control: CONTROL, never: 2}, reached=False)
    for number in (early, late, control):
        await experiments.reach(connection, kept.id, hash_of(number), [number], at=NOW + 5 * HOUR)
        await experiments.reach(connection, kept.id, hash_of(number), [number], at=NOW + 9 * DAY)
    await tell(connection, early, "order_placed", 4 * HOUR, order_id="before", total=10)
    await tell(connection, late, "order_placed", 28 * HOUR, order_id="within", total=10)
    await tell(connection, control, "order_placed", 29 * HOUR, order_id="behind", total=10)
    await tell(connection, never, "order_placed", 23 * HOUR, order_id="from the assignment on", total=10)
    found = await counted(connection, kept)
    assert [found[arm].assigned.conversions for arm in (CONTROL, 1, 2)] == [0, 1, 1]


async def test_gl_3_and_gl_8_one_conversion_a_person_whose_orders_add_up_less_what_was_refunded(
    connection: Any,
) -> None:
    kept = await keep(connection, made(1, 1, metric="revenue", currency="EUR", minimum_effect=1, deviation=100))
    one, two, three = range(FIRST, FIRST + 3)
    await give(connection, kept, {one: 1, two: 1, three: 2})
    await tell(connection, one, "order_placed", HOUR, order_id="a", total=10, currency="EUR")
    await tell(connection, one, "order_placed", 2 * HOUR, order_id="b", total=20, currency="EUR")
    await tell(connection, one, "refunded", 3 * HOUR, order_id="b", amount=5, currency="EUR")
    await tell(connection, one, "order_placed", 4 * HOUR, order_id="c", total=7, currency="USD")
    await tell(connection, two, "order_placed", HOUR, order_id="d", total=3, currency="EUR")
    await tell(connection, two, "order_cancelled", 2 * HOUR, order_id="d")
    await tell(connection, three, "order_placed", 4 * DAY, order_id="e", total=9, currency="EUR")
    found = await counted(connection, kept)
    sums = found[1].assigned
    assert (sums.people, sums.conversions, sums.payers) == (2, 2, 1)
    assert (sums.revenue, sums.squares) == (2500, 2500**2)
    assert found[2].assigned.conversions == 0 and found[2].assigned.revenue == 0


async def test_gl_5_clicks_of_bots_count_for_nothing_and_those_of_other_campaigns_neither(connection: Any) -> None:
    kept = await keep(connection, made(1, 1, metric="click"), campaign="spring sale")
    human, bot, elsewhere, twice = range(FIRST, FIRST + 4)
    await give(connection, kept, dict.fromkeys((human, bot, elsewhere, twice), 1))
    for number, verdict, campaign in (
        (human, "human", "spring sale"), (bot, "bot", "spring sale"), (elsewhere, "human", "other"),
        (twice, "bot", "spring sale"), (twice, "human", "spring sale"),
    ):  # fmt: skip
        await tell(connection, number, "clicked", HOUR, verdict=verdict, campaign=campaign)
    assert (await counted(connection, kept))[1].assigned.conversions == 2


async def test_ab_8_opt_outs_and_failures_count_within_72_hours_of_the_message(connection: Any) -> None:
    kept = await keep(connection, made(1, 1), campaign="spring sale")
    one, two, three, four, unreached = range(FIRST, FIRST + 5)
    await give(connection, kept, {one: 1, two: 1, three: 2, four: 2})
    await give(connection, kept, {unreached: 2}, reached=False)
    await tell(connection, one, "opted_out", HOUR, scope="*")
    await tell(connection, two, "opted_out", 73 * HOUR, scope="*")
    await tell(connection, unreached, "opted_out", HOUR, scope="*")
    await tell(connection, three, "failed", HOUR, campaign="spring sale", status=5)
    await tell(connection, four, "failed", HOUR, campaign="other", status=5)
    found = await counted(connection, kept)
    assert [(found[arm].opt_outs, found[arm].failures) for arm in (1, 2)] == [(1, 0), (0, 1)]


async def test_people_who_share_a_number_are_one_unit(connection: Any) -> None:
    kept = await keep(connection, made(1, 1))
    await give(connection, kept, {FIRST: 1})
    for who in ("ada", "bob"):
        item = Item(
            who=Who(phone=FIRST, external_id=who), event_id=who, name="order_placed", occurred_at=NOW + HOUR,
            properties={"order_id": who, "total": 10},
        )  # fmt: skip
        await ingest(connection, [item], NOW + DAY, random.Random(who))
    found = (await counted(connection, kept))[1].assigned
    assert (found.people, found.conversions) == (1, 1)


async def test_sums_are_those_of_a_plain_reckoning(connection: Any) -> None:
    chance = random.Random(8)
    kept = await keep(connection, made(1, 1, holdout=20, currency="EUR", window="2d"))
    want: dict[int, list[float]] = {arm: [] for arm in range(3)}
    for number in range(FIRST, FIRST + 60):
        arm = chance.randrange(3)
        await give(connection, kept, {number: arm}, reached=chance.random() < 0.7)
        paid = 0
        for at in range(chance.choice((0, 0, 1, 2))):
            after, total = chance.uniform(-1, 4), chance.randrange(1, 100)
            await tell(connection, number, "order_placed", after * DAY, order_id=f"{at}", total=total, currency="EUR")
            paid += 100 * total * (0 <= after < 2)
        want[arm].append(paid)
    found = await counted(connection, kept)
    for arm, values in want.items():
        sums = found[arm].assigned
        assert (sums.people, sums.conversions) == (len(values), sum(value > 0 for value in values))
        assert sums.revenue == sum(values) and sums.squares == sum(value**2 for value in values)


async def test_the_same_document_once_more_makes_no_version(connection: Any) -> None:
    one = await keep(connection, made(1, 1))
    assert await keep(connection, made(1, 1)) == one and one.version == 1
    assert (await keep(connection, made(1, 2))).version == 2
    assert [kept.name for kept in await experiments.all_of(connection)] == ["spring"]
    assert await experiments.named(connection, "autumn") is None


async def test_variants_that_people_have_are_neither_renamed_nor_taken_away(connection: Any) -> None:
    await keep(connection, made(1, 1))
    fewer = msgspec.structs.replace(made(1, 1), variants=(Variant(name="B"), Variant(name="A")))
    with pytest.raises(ConfigError, match=r"variant: expected A, B first, in this order, .* found B, A"):
        await keep(connection, fewer)
    more = await keep(connection, made(1, 1, 1))
    assert more.body.names() == ("control", "A", "B", "C")
    await give(connection, more, {FIRST: 3})
    split = (await experiments.arms(connection, more, NOW)).splits
    assert [len(one.shares) for one in split] == [3, 4]


async def test_what_is_decided_is_not_applied_anew(connection: Any) -> None:
    kept = await keep(connection, made(1, 1))
    assert await experiments.any_open(connection)
    await experiments.settle(connection, kept, "decided", 2, at=NOW, by="ada", why="it is better")
    found = await experiments.named(connection, "spring")
    assert found is not None and (found.state, found.winner, found.decided_at) == ("decided", 2, NOW)
    assert (found.decided_by, found.why, found.standing.winner) == ("ada", "it is better", 2)
    assert not await experiments.any_open(connection)
    assert await experiments.all_of(connection, "running") == [] and await experiments.all_of(connection, "decided")
    with pytest.raises(ConfigError, match="expected one that runs or is held; or another name, found decided"):
        await keep(connection, made(1, 2))
