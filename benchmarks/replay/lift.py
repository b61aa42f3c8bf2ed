"""How often the true lift lies in the interval that is reported for it.

Each run is a week of a shop: a campaign with a holdout writes to all customers, by the product's own draw of who gets
it; then they buy. What each of them would buy with a text and without one is drawn for both at once, so that the true
lift of a run is known: what texts to everybody would add, by each person who is in the arm. Beside it the product's own
sums over Postgres and its own interval (store.experiments, campaign.experiments).

Customers stay the same from run to run, with their own chances; what they do in a week is drawn anew, and so is who is
held out, since each run is an experiment with a salt of its own.
"""

import math
import random
import time
from collections.abc import Callable
from datetime import timedelta

from msgspec import Struct

from benchmarks.replay.engine import Shop, settings_of
from benchmarks.replay.world import BRAND, CURRENCY, DAY, HOUR, START, World, micros, moment
from gateway.campaign import experiments as judging
from gateway.campaign.consent import states_at
from gateway.consent import Fact
from gateway.person import Item, Who
from gateway.store import consents, experiments, months, postgres, runs

HOLDOUT = 30
WINDOW = 3 * DAY
# Of a text that was accepted: whether it arrives.
ARRIVES = 0.95
WEEK = timedelta(days=7)


class Ran(Struct, frozen=True, kw_only=True):
    """The lift of one run: the true one, and the interval; of conversions, and of revenue in minor units."""

    people: int
    true: float
    low: float
    high: float
    true_revenue: float
    low_revenue: float
    high_revenue: float

    @property
    def is_covered(self) -> bool:
        """Whether the true one lies in it."""
        return self.low <= self.true <= self.high

    @property
    def is_revenue_covered(self) -> bool:
        """The same of revenue."""
        return self.low_revenue <= self.true_revenue <= self.high_revenue


class Buyer(Struct):
    """What somebody does in a week: orders they place anyhow, and those that a text would add."""

    anyhow: list[tuple[int, int]]
    added: list[tuple[int, int]]


def document_of(run: int) -> str:
    """The campaign as it is in a run: each has an experiment of its own."""
    return f"""
name = "lift"
brand = "{BRAND}"
aim = "the experiment has it"
message = {{text = "Only this week: everything for a little less."}}
[trigger]
on = "event"
event = "week_begins"
[experiment]
name = "lift-{run}"
holdout = {HOLDOUT}
window = "3d"
currency = "{CURRENCY}"
baseline = 0.1
[[experiment.variant]]
name = "text"
"""


def week_of(chance: random.Random, base: float, effect: float, at: int) -> Buyer:
    """Draw what somebody does in the window behind a look, in both worlds at once."""

    def order() -> tuple[int, int]:
        return at + HOUR + int(chance.random() * (WINDOW - 2 * HOUR)), int(1000 * math.exp(chance.gauss(0.5, 0.8)))

    anyhow = [order()] if chance.random() < base else []
    added = [order()] if chance.random() < effect and chance.random() < ARRIVES else []
    return Buyer(anyhow=anyhow, added=added)


async def measure(
    dsn: str, customers: int, times: int, seed: int, say: Callable[[str], None] = lambda line: None
) -> list[Ran]:
    """Run so many weeks over a database that has its schema and nothing else."""
    connection = await postgres.connect(dsn, statement_timeout_s=600, allow_fsync_off=True)
    world = World(customers, 0, seed, staff=0)
    shop = Shop(connection, settings_of(dsn), world, seed)
    try:
        chance = random.Random(seed)
        numbers = [one.number for one in world.customers]
        # Some buy often and some hardly ever; a text moves some, and others not at all.
        traits = [(chance.betavariate(2, 14), max(0.0, chance.gauss(0.05, 0.04))) for _ in numbers]
        await shop.open()
        await months.ensure(connection, "person_event", [START])
        await shop.tell([
            Item(who=Who(phone=number), source="shop", event_id=f"a{number}", name="signed_up", occurred_at=START)
            for number in numbers
        ])  # fmt: skip
        grants = [
            Fact(
                number=number, brand=BRAND, class_="promotional", action="grant", source="form", recorded_at=START,
                effective_at=START, method="box", wording="Yes, write to me.",
            )
            for number in numbers
        ]  # fmt: skip
        await consents.append(connection, grants, lambda some: states_at(some, START))
        found = []
        for run in range(times):
            begun = time.perf_counter()
            found.append(await _week(shop, run, numbers, traits, chance))
            if run % 10 == 0:
                covered = sum(one.is_covered for one in found)
                say(f"run {run}: {covered} of {len(found)} covered, {time.perf_counter() - begun:.1f} s each")
        return found
    finally:
        await shop.close()


async def _week(
    shop: Shop, run: int, numbers: list[int], traits: list[tuple[float, float]], chance: random.Random
) -> Ran:
    connection = shop.connection
    shop.now = START + run * WEEK
    await runs.ensure_partitions(connection, shop.now)
    await months.ensure(connection, "person_event", [shop.now, shop.now + WEEK])
    await shop.launch(document_of(run))
    # So that the campaign is looked at before anybody is brought to it.
    await shop.go_on()
    shop.now += timedelta(hours=1)
    await shop.tell([
        Item(
            who=Who(phone=number), source="shop", event_id=f"w{run}.{number}", name="week_begins",
            occurred_at=shop.now,
        )
        for number in numbers
    ])  # fmt: skip
    await shop.go_on()
    rows = await connection.fetch(
        "UPDATE chunk c SET state = 2, epoch = 1, sent_upto = n FROM chunk_payload p WHERE c.lane = $1 AND c.state = 0 "
        "AND p.lane = c.lane AND p.chunk_id = c.id RETURNING p.msisdn",
        shop.lane,
    )
    written_to = {number for row in rows for number in row["msisdn"]}
    kept = await experiments.named(connection, f"lift-{run}")
    assert kept is not None and written_to
    at = micros(shop.now)
    weeks = [week_of(chance, base, effect, at) for base, effect in traits]
    done = [
        (placed, number, amount)
        for number, week in zip(numbers, weeks, strict=True)
        for placed, amount in (week.anyhow + week.added if number in written_to else week.anyhow)
    ]
    shop.now += timedelta(days=4)
    await shop.tell([
        Item(
            who=Who(phone=number), source="shop", event_id=f"o{run}.{place}", name="order_placed",
            occurred_at=moment(placed),
            properties={"order_id": f"{run}.{place}", "total": amount / 100, "currency": CURRENCY},
        )
        for place, (placed, number, amount) in enumerate(sorted(done))
    ])  # fmt: skip
    counted = await experiments.arms(connection, kept, shop.now)
    verdict = judging.verdict(kept.body, counted.arms, counted.splits)
    [lift] = verdict.lifts
    assert lift.revenue is not None
    assert lift.people == len(written_to) and sum(arm.assigned.people for arm in counted.arms) == len(numbers)
    share = lift.people / len(numbers)
    return Ran(
        people=lift.people,
        true=share * sum(not week.anyhow and bool(week.added) for week in weeks),
        low=lift.conversions.low,
        high=lift.conversions.high,
        true_revenue=share * sum(amount for week in weeks for _, amount in week.added),
        low_revenue=lift.revenue.low,
        high_revenue=lift.revenue.high,
    )
