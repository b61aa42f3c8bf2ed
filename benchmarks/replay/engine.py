"""Plays a world through the product, a look a day, and holds its reports to the truth.

    a look    events ─► profiles.ingest · consents ─► their ledger · STOPs ─► feed ─► ledger (the job's own functions)
              ─► Stepping (the job itself, by the clock of the look) ─► chunks in the queue
              ─► a carrier of this file: chunks read, outcomes and receipts written as a worker's flush does
              ─► store.feeds (what the feeding job tells of persons) · every few days store.ledger
    the end   reports.refresh ─► views ─► compared with truth.py, to the last unit

Not played: claiming, the gate but for STOPs, SMPP: tests of the worker and bench `life` have those. The carrier decides
what becomes of a text. Not here: who does what (world.py), what is true (truth.py).
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from benchmarks.replay import truth
from benchmarks.replay.truth import Cells
from benchmarks.replay.world import (
    BACK,
    BRAND,
    CAMPAIGNS,
    CART,
    CURRENCY,
    MINUTE,
    PARTS,
    REFILL,
    START,
    TEXTS,
    VIP,
    VIP_DAY,
    VIP_ORDERS,
    World,
    micros,
    moment,
)
from gateway import document
from gateway.automation import launching
from gateway.automation.feeding import name_of_stop
from gateway.automation.stepping import Stepping
from gateway.brand import BrandSettings
from gateway.campaign import formulas
from gateway.campaign.consent import proof_of_stop, states_at
from gateway.config import CarrierSettings, DatabaseSettings, Settings
from gateway.dispatch.route import plan_of, table_of
from gateway.goal import Goal
from gateway.keywords import words
from gateway.person import Item, hash_of
from gateway.reasons import Reason
from gateway.reporting import ReportSettings
from gateway.store import consents, conversions, feeds, ledger, months, postgres, profiles, reports, runs, stops
from gateway.store.postgres import Connection

BATCH = 2000
CALLERS = 4
LEDGER_EVERY = 5
BETWEEN = 100 * 1000  # microseconds between two texts of a look
LAPSE = 2.0
DOCUMENTS = {
    CART: """wait = "1h"
[trigger]
on = "event"
event = "cart_updated"
key = "cart_id"
[[exceptions]]
event = "order_placed"
""",
    REFILL: """wait = "25d"
[trigger]
on = "event"
event = "order_placed"
key = "order_id"
[[goals]]
event = "order_placed"
""",
    BACK: """[trigger]
on = "inactivity"
days = 30
at = "10:00"
""",
    VIP: f"""filter = "orders >= {VIP_ORDERS}"
[trigger]
on = "schedule"
schedule = {{every = "month", day = {VIP_DAY}, at = "10:00", max_lateness = "24h"}}
""",
}  # fmt: skip


class Figure(Struct, frozen=True, kw_only=True):
    """A number of a report beside the truth."""

    name: str
    true: Any
    told: Any

    @property
    def is_equal(self) -> bool:
        """Whether they are the same, to the last unit."""
        return bool(self.true == self.told)


class Played(Struct, frozen=True, kw_only=True):
    """What came of it; took: seconds by what was done."""

    figures: list[Figure]
    counts: dict[str, int]
    took: dict[str, float]

    @property
    def wrong(self) -> list[Figure]:
        """Those that are not what is true."""
        return [one for one in self.figures if not one.is_equal]


def settings_of(dsn: str) -> Settings:
    """One carrier; one brand, that writes at any hour and as often as it likes: what the gate asks is not played."""
    return Settings(
        database=DatabaseSettings(dsn=dsn),
        carriers={"acme": CarrierSettings(host="127.0.0.1")},
        brands={BRAND: BrandSettings(country="GB", zone="UTC", caps=(), gap_s=0)},
    )


class Open:
    """A gate that lets everybody pass: what it asks is not played."""

    async def ask(
        self, connection: Connection, run: runs.Run, sender: str, numbers: Collection[int], now: datetime,
        left: Mapping[int, Sequence[datetime]] = MappingProxyType({}),
    ) -> dict[int, tuple[int, datetime | None]]:  # fmt: skip
        """Say of each that it may go."""
        return dict.fromkeys(numbers, (0, None))


class Shop:
    """A world and the product that it is played through."""

    def __init__(self, connection: Connection, settings: Settings, world: World, seed: int):
        self.connection, self.settings, self.world = connection, settings, world
        self.now = START
        self.chance = random.Random(seed)
        self.kinds = profiles.Kinds()
        self.words = words()
        self.lane = 0
        self.took: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        # Texts that were written to somebody against the rules, and those that were missing.
        self.extra: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        self.reporting = ReportSettings(
            currency=CURRENCY, staff_numbers=tuple(f"+{world.customers[one].number}" for one in sorted(world.staff))
        )
        table = table_of(settings)
        # The others who tell of persons.
        self.beside: list[Connection] = []

        async def connect() -> Connection:
            return await postgres.connect(settings.database.dsn, statement_timeout_s=600, allow_fsync_off=True)

        self._connect = connect
        self.stepping = Stepping(
            settings, lambda: self.now, connect, "replay", random.Random(seed + 1),
            lambda lanes, class_, sender, at, living: plan_of(table, lanes, class_, sender, at, living),
            random.Random(seed + 2), Open(),
        )  # fmt: skip
        # As where the loop of jobs turns it: with hands of its own beside this connection.
        self.stepping._connection = connection

    async def open(self) -> None:
        """Begin: a worker that has the job, a carrier, and nothing counted yet."""
        await self.connection.execute(
            "INSERT INTO worker (instance, host, boot, pid, started_at, seen_at, node, report) "
            "VALUES ('replay', 'h', 'b', 1, $1, $1, 'replay', $2)",
            START, '{"carriers": {"acme": {"up": true, "binds": []}}}',
        )  # fmt: skip
        await self.connection.execute("INSERT INTO job (name, owner, epoch) VALUES ('step', 'replay', 1)")
        self.lane = await runs.lane_of(self.connection, "acme", START)
        await reports.refresh(self.connection, self.reporting, START)

    async def launch(self, text: str) -> None:
        """Have people enter a campaign from now on."""
        found, problems = document.read(text.encode())
        if found is None:
            raise ValueError(f"a campaign: {problems}")
        await launching.apply(self.connection, self.settings, found, "replay", self.now)
        await launching.launch(self.connection, self.settings, found.name, self.now)

    async def launch_all(self) -> None:
        """Launch those that a world knows, each with the goal that it is judged by."""
        for name, parts in DOCUMENTS.items():
            aim = "" if "[[goals]]" in parts else 'aim = "reports have their own"\n'
            await self.launch(f'name = "{name}"\nbrand = "{BRAND}"\nmessage = {{text = "{TEXTS[name]}"}}\n{aim}{parts}')
            goal = Goal(event="order_placed", within="3d")
            await conversions.declare(self.connection, name, [(goal, None)], self.now)

    async def play(self, look: int) -> None:
        """Let a day go by."""
        world = self.world
        begun = time.perf_counter()
        happened = world.happens(look)
        begun = self.took_since("world", begun)
        self.now = moment(world.look_at)
        await runs.ensure_partitions(self.connection, self.now)
        await months.ensure(self.connection, "person_event", [self.now - timedelta(days=1), self.now])
        await self.tell(happened.items)
        if happened.grants:
            await consents.append(self.connection, happened.grants, lambda some: states_at(some, self.now))
        begun = self.took_since("events", begun)
        await self._hear(happened.words)
        await self._feed("replies", self.now - timedelta(days=1), self.now)
        begun = self.took_since("handsets", begun)
        await self.go_on()
        begun = self.took_since("campaigns", begun)
        await self._carry()
        begun = self.took_since("carrier", begun)
        until = self.now + timedelta(hours=20)
        since, self.now = self.now, until
        for kind in ("outcomes", "receipts"):
            await self._feed(kind, since, until)
        begun = self.took_since("feed", begun)
        if look % LEDGER_EVERY == 0:
            await self._count_days()
            self.took_since("ledger", begun)

    async def tell(self, items: Sequence[Item]) -> None:
        """Tell what happened, as of now: by several callers, each of them of its own persons."""
        of: list[list[Item]] = [[] for _ in range(CALLERS)]
        for item in items:
            of[hash_of(item.who.phone or 0) % CALLERS].append(item)
        while len(self.beside) < CALLERS - 1:
            self.beside.append(await self._connect())
        callers = (self.connection, *self.beside)
        await asyncio.gather(*(self._tell(one, some) for one, some in zip(callers, of, strict=True) if some))

    async def _tell(self, connection: Connection, items: Sequence[Item]) -> None:
        for at in range(0, len(items), BATCH):
            done = await profiles.ingest(
                connection, items[at : at + BATCH], self.now, self.chance, self.kinds, is_alone=True
            )
            self.counts["events"] += done.events

    async def close(self) -> None:
        """Close every connection."""
        await self.stepping.close()
        for one in self.beside:
            await postgres.close(one)

    async def go_on(self) -> None:
        """Carry campaigns out as far as they have come by now."""
        while await self.stepping.step(self.connection):
            pass

    async def _hear(self, said: Sequence[tuple[int, int, str]]) -> None:
        """Write down what handsets wrote, and carry their STOPs where they have to be."""
        if not said:
            return
        self.counts["replies"] += len(said)
        first = self.counts["replies"]
        await self.connection.copy_records_to_table(
            "inbound_message",
            records=[
                (self.lane, first - place, moment(at), str(number), "12345", text, 1, [], "gsm", False, [])
                for place, (at, number, text) in enumerate(said)
            ],
            columns=(
                "lane", "id", "at", "source", "destination", "text", "parts", "missing", "alphabet", "is_lossy", "pdus",
            ),
        )  # fmt: skip
        for at, number, text in said:
            if self.words.wish(text, number) == "stop":
                await stops.enter_heard(self.connection, [(number, stops.EVERYTHING, True)], at=moment(at))
        while await consents.prove(self.connection, proof_of_stop, lambda some: states_at(some, self.now)):
            pass
        more = True
        while more:
            items, seq, more = await feeds.stops(self.connection, name_of_stop, 0)
            await self.tell(items)
            await feeds.note_stops(self.connection, seq)

    async def _feed(self, kind: str, since: datetime, until: datetime) -> None:
        """Tell of persons what came of a lane, in spans with a page or so each."""
        span = timedelta(minutes=10)
        while since < until:
            items, since, more = await feeds.told(
                self.connection, self.lane, kind, since, min(until, since + span), "44", self.words.wish
            )
            await self.tell(items)
            span = max(timedelta(seconds=1), span / 2) if more else span * 2

    async def _carry(self) -> None:
        """Take what is queued, and write what a worker would write of it."""
        rows = await self.connection.fetch(
            "SELECT c.id, c.run, r.name, p.msisdn FROM chunk c JOIN run r ON r.id = c.run "
            "JOIN chunk_payload p ON p.lane = c.lane AND p.chunk_id = c.id "
            "WHERE c.lane = $1 AND c.state = 0 ORDER BY c.id",
            self.lane,
        )
        outcomes: list[tuple[Any, ...]] = []
        receipts: list[tuple[Any, ...]] = []
        items: list[Item] = []
        queued: Counter[tuple[str, int]] = Counter()
        at = self.world.look_at + MINUTE
        # All of them within the hour behind the look.
        between = min(BETWEEN, 55 * MINUTE // max(1, sum(len(row["msisdn"]) for row in rows)))
        for row in rows:
            name, chunk, run = row["name"], row["id"], row["run"]
            parts = PARTS[name]
            for pos, number in enumerate(row["msisdn"]):
                at += between
                queued[name, self.world.by_number[number]] += 1
                answer, told = self.world.carry(name, run, number, at)
                items += told
                segments = range(1, parts + 1) if answer.status == 0 else range(1, 2)
                for segment in segments:
                    outcomes.append((self.lane, chunk, pos, 1, moment(at), answer.status, 1500, segment, parts))
                    if answer.end:
                        receipts.append((self.lane, chunk, pos, moment(answer.end_at), segment, answer.end, number))
        self.extra.update(key[0] for key in (queued - self.world.expected).elements())
        self.missing.update(key[0] for key in (self.world.expected - queued).elements())
        if not rows:
            return
        self.counts["texts"] += queued.total()
        async with self.connection.transaction():
            await self.connection.copy_records_to_table(
                "outcome", records=outcomes,
                columns=("lane", "chunk_id", "pos", "epoch", "at", "status", "rtt_us", "segment", "segments"),
            )  # fmt: skip
            await self.connection.copy_records_to_table(
                "receipt", records=receipts, columns=("lane", "chunk_id", "pos", "at", "segment", "state", "number")
            )
            await self.connection.execute(
                "UPDATE chunk SET state = 2, epoch = 1, sent_upto = n WHERE lane = $1 AND id = ANY($2::bigint[])",
                self.lane, [row["id"] for row in rows],
            )  # fmt: skip
        await self.tell(items)

    async def _count_days(self) -> None:
        house = await conversions.house(
            self.connection, zone="UTC", currency=CURRENCY, lists=(),
            numbers=[int(one.removeprefix("+")) for one in self.reporting.staff_numbers],
        )  # fmt: skip
        await ledger.refresh(self.connection, self.lane, house, self.now, house.numbers)

    def took_since(self, what: str, begun: float) -> float:
        """Note how long something took; -> now."""
        now = time.perf_counter()
        self.took[what] = self.took.get(what, 0.0) + now - begun
        return now


async def play(dsn: str, world: World, seed: int, say: Callable[[str], None] = lambda line: None) -> Played:
    """Play a world to its end, over a database that has its schema and nothing else."""
    connection = await postgres.connect(dsn, statement_timeout_s=600, allow_fsync_off=True)
    shop = Shop(connection, settings_of(dsn), world, seed)
    try:
        await shop.open()
        await shop.launch_all()
        begun = time.perf_counter()
        for look in range(world.days + 1):
            await shop.play(look)
            if look % 20 == 0:
                said = ", ".join(f"{what} {seconds:.0f}" for what, seconds in shop.took.items())
                say(f"day {look}: {time.perf_counter() - begun:.0f} s ({said}); {dict(shop.counts)}")
        counted = time.perf_counter()
        await reports.refresh(connection, shop.reporting, shop.now)
        counted = shop.took_since("reports", counted)
        figures = await compare(shop)
        shop.took_since("compared", counted)
        return Played(figures=figures, counts=dict(shop.counts), took=dict(shop.took))
    finally:
        await shop.close()


# -- the reports, held to the truth ------------------------------------------------------------------------------------


async def compare(shop: Shop) -> list[Figure]:
    """Read every report of a shop, beside what is true."""
    world, connection = shop.world, shop.connection
    now = micros(shop.now)
    figures: list[Figure] = []
    for name in CAMPAIGNS:
        figures.append(Figure(name=f"{name}: texts against the rules", true=0, told=shop.extra[name]))
        figures.append(Figure(name=f"{name}: texts that are missing", true=0, told=shop.missing[name]))
    figures += await _entered(connection, world)
    whole, daily = truth.campaigns(world)
    figures += one_by_one("campaign", whole, await reports.rows(connection, "report_campaign"), ("campaign",))
    figures += together("campaign by day", daily, await reports.rows(connection, "report_campaign_day"),
                         ("campaign", "day"))  # fmt: skip
    figures += together("month", truth.months(world), await reports.rows(connection, "report_customer_month"),
                         ("month",))  # fmt: skip
    figures += together("cohort", truth.cohorts(world), await reports.rows(connection, "report_cohort"),
                         ("cohort", "months_later"))  # fmt: skip
    figures += together("texts a week", truth.weeks(world), await reports.rows(connection, "report_messages_week"),
                         ("messages",))  # fmt: skip
    gained = await reports.ask(connection, "report_growth", "UTC")
    days: dict[Any, Counter[str]] = {}
    for row in gained:
        days.setdefault(row["day"], Counter()).update(gained=row["gained"], lost=row["lost"])
    figures += together("list", truth.growth(world), [{"day": day, **cell} for day, cell in days.items()], ("day",))
    lives = truth.lives(world, now, LAPSE)
    figures += together("lifetime", lives, await reports.ask(connection, "report_lives", shop.now, LAPSE), ("days",))
    [year] = await reports.ask(connection, "report_year", shop.now, CURRENCY)
    figures += one_by_one("year", {(): truth.year(world, now)}, [year], ())
    for name in CAMPAIGNS:
        told = await reports.reactivated(connection, name, timedelta(days=90), timedelta(days=90))
        figures.append(Figure(name=f"{name}: asleep, and reactivated", true=truth.reactivated(world, name), told=told))
    bought = [order for one in world.customers for order in one.orders if order.is_counted]
    row = await connection.fetchrow(
        "SELECT count(*) AS people, sum(orders)::bigint AS orders, sum((spent ->> $1)::bigint)::bigint AS spent "
        "FROM profile",
        CURRENCY,
    )  # fmt: skip
    true = (sum(one.is_here for one in world.customers), len(bought), sum(order.net for order in bought))
    figures.append(Figure(name="profiles: people, their orders, what they spent", true=true, told=tuple(row or ())))
    return figures


async def _entered(connection: Connection, world: World) -> list[Figure]:
    rows = await connection.fetch(
        "SELECT c.name, e.reason, count(*) AS n FROM enrolment e JOIN campaign c ON c.id = e.campaign GROUP BY 1, 2"
    )
    told = Counter({(row["name"], row["reason"]): row["n"] for row in rows})
    refused = sum(count for (_, reason), count in told.items() if reason == Reason.NO_CONSENT)
    prevented = {name: world.prevented[name] + world.waiting_in_vain(name) for name in (CART, REFILL)}
    return [
        Figure(name="cart: prevented by an order", true=prevented[CART], told=told[CART, Reason.EXCEPTION]),
        Figure(name="refill: prevented by an order", true=prevented[REFILL], told=told[REFILL, Reason.GOAL_MET]),
        Figure(name="all: not entered without consent", true=world.refused_entry, told=refused),
    ]


def one_by_one(name: str, cells: Cells, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[Figure]:
    """Compare each figure of each row, and each share that the catalogue makes of them."""
    figures = []
    by_key = {tuple(row[key] for key in keys): row for row in rows}
    for key in sorted({*cells, *by_key}):
        cell, row = cells.get(key, Counter()), by_key.get(key, {})
        said = " ".join(str(part) for part in key) or name
        for column in [one for one in row if one not in keys and _is_counted(name, one)] or cell:
            figures.append(Figure(name=f"{said}: {column}", true=cell[column], told=row.get(column)))
        for formula in formulas.of("campaign").values() if name == "campaign" else ():
            true = formulas.share(_sum(cell, formula.numerator), _sum(cell, formula.denominator))
            figures.append(Figure(name=f"{said}: {formula.name}", true=true, told=row.get(formula.name)))
    return figures


def together(name: str, cells: Cells, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[Figure]:
    """Compare all cells of a table as one figure for each column: its sum, and how many cells are wrong."""
    by_key = {tuple(row[key] for key in keys): row for row in rows}
    figures = [Figure(name=f"{name}: lines", true=len(cells), told=len(by_key))]
    columns = sorted({column for cell in cells.values() for column in cell})
    for column in columns:
        true = {key: cell[column] for key, cell in cells.items()}
        told = {key: row.get(column) for key, row in by_key.items()}
        wrong = [key for key in {*true, *told} if true.get(key, 0) != (told.get(key) or 0)]
        figures.append(
            Figure(
                name=f"{name}: {column}" + (f" (first at {min(wrong)})" if wrong else ""),
                true=(sum(true.values()), 0),
                told=(sum(value or 0 for value in told.values()), len(wrong)),
            )
        )
    return figures


def _is_counted(name: str, column: str) -> bool:
    """Say whether a column is a count of this report: neither a share nor what the world knows nothing of."""
    unknown = {"recency_days", "uncertain", "opened_endpoints", "goal_2", "goal_3", "goal_4"}
    return column not in unknown and column not in formulas.of("campaign")


def _sum(cell: Mapping[str, int], words_: str) -> int:
    first, *others = words_.split(" - ")
    return cell.get(first, 0) - sum(cell.get(one, 0) for one in others)
