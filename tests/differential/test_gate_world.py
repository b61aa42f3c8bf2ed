"""A year of campaigns in virtual time through the compiled gate: what may never be, never is (section 19).

People of nine countries, some of whose zone nobody knows; consent that comes and goes; runs with caps, gaps, windows,
priorities, holds and deferrals; gates that die before their COMMIT or after it; messages that fail and give their place
back, and some that stay in doubt; STOPs and STARTs; orders that somebody must not be written to after. What was
committed is kept as the octets that the gate wrote.

Each decision is compared with the obvious gate (tests/oracle/gate.py), and each message that leaves is held against the
wall clock of its recipient, the consent of that moment and the messages that left before. SLUICE_GATE_DECISIONS=1000000
asks for more of them.
"""

import os
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from _fastpath import gate as compiled
from _fastpath.batch import Batch
from _fastpath.gate import Questions, Returns, Rules, Zones
from gateway.campaign.admission import RunRules, micros, place_sets
from gateway.campaign.quiet_hours import NEVER
from gateway.gate import Cap, Gate
from gateway.message import MessageClass
from gateway.reasons import Reason
from tests.fastpath.test_gate import consent_rows, records_of
from tests.oracle.gate import judge

DECISIONS = int(os.environ.get("SLUICE_GATE_DECISIONS", "40000"))
# Two days before clocks change in America, three weeks before they do in Europe.
BEGIN = datetime(2026, 3, 6, 5, tzinfo=UTC)
COUNTRIES = (4477009, 4915112, 1212555, 1415555, 1808555, 8210123, 9198765, 5511987, 6141234)
MILLENNIUM_US = 946684800000000
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KINDS = ("at_us", "run", "kind", "class", "brand", "priority", "sender", "tags")


def contacts_in(octets: bytes) -> list[dict[str, int]]:
    """Read the octets of a binary COPY of contacts by its definition; one a number."""
    found, at = [], 19
    while (columns := struct.unpack_from(">h", octets, at)[0]) != -1:
        at += 2
        values = []
        for _ in range(columns):
            (length,) = struct.unpack_from(">i", octets, at)
            values.append(octets[at + 4 : at + 4 + length])
            at += 4 + length
        head = [int.from_bytes(value, signed=True) for value in values[2:10]]
        row = dict(zip(KINDS, head, strict=True))
        row["at_us"] += MILLENNIUM_US
        found += [row | {"number": int.from_bytes(values[10][i : i + 8])} for i in range(0, len(values[10]), 8)]
    return found


class Campaign:
    """A run: whom it has still to decide about, and since when each of them waits."""

    def __init__(self, world: "World", run: int):
        chance = world.chance
        caps = chance.sample(
            [Cap(limit=1, per="day"), Cap(limit=2, per="48h"), Cap(limit=3, per="week"), Cap(limit=4, per="7d"),
             Cap(limit=1, per="30h", scope="endpoint"), Cap(limit=5, per="month")],
            chance.randint(0, 3),
        )  # fmt: skip
        self.opens, self.closes = chance.choice([(9, 18), (10, 20), (12, 15)])
        self.gate = Gate(
            brand="acme", needs=chance.choice(["promotional", "promotional", "none"]), caps=tuple(caps),
            gap_s=chance.choice([0, 600, 7200]), on_cap=chance.choice(["skip", "defer"]),
            defer_s=chance.choice([3600, 86400 * 3]), outside=chance.choice(["hold", "hold", "skip"]),
            windows={"campaign": f"{self.opens:02}:00-{self.closes:02}:00"}, arbitration_s=chance.choice([0, 900]),
        )  # fmt: skip
        self.run, self.priority = run, chance.randint(-1, 1)
        # Nobody who has ordered since it began.
        self.begun_us, self.has_exception = micros(world.now), chance.random() < 0.5
        self.expires_at = world.now + chance.randint(1, 6) * DAY
        self.rules = RunRules(
            self.gate, run=run, class_=MessageClass.BULK, priority=self.priority, sender="ACME",
            brand_id=1, tags={}, places=place_sets(),
        )  # fmt: skip
        people = chance.sample(world.people, min(len(world.people), chance.randint(20, 150)))
        self.waiting: dict[int, int] = dict.fromkeys(people, micros(world.now))
        self.size = len(people)
        self.ends: dict[int, int] = {}


class World:
    """What Postgres would keep, and what carriers were handed."""

    def __init__(self, seed: int):
        self.chance, self.now = Random(seed), BEGIN
        self.places = place_sets()
        self.zones = Zones(self.places.starts, self.places.ids)
        self.people = [first * 10**5 + at for first in COUNTRIES for at in range(30)]
        self.promotional = {number: self.chance.choice([2, 2, 2, 0, 1, 3]) for number in self.people}
        self.stopped: dict[int, int] = {}
        self.ordered_us: dict[int, int] = {}
        self.octets: list[tuple[int, bytes]] = []
        self.contacts: dict[int, list[dict[str, int]]] = {number: [] for number in self.people}
        # By number, the moment of each run's message of the last weeks; of those that failed it is taken out.
        self.sent: dict[int, dict[int, int]] = {number: {} for number in self.people}
        self.failing: list[tuple[int, int, int]] = []
        self.decisions, self.run = 0, 0
        self.log: list[tuple[int, int, int]] = []
        self.counted: Counter[int] = Counter()

    def commit(self, octets: bytes) -> None:
        """Keep contacts."""
        if octets:
            self.octets.append((micros(self.now), records_of(octets)))
            for one in contacts_in(octets):
                self.contacts[one["number"]].append(one)

    def pages(self) -> bytes:
        """All contacts that were committed, as Postgres hands them out."""
        return b"".join(octets for _, octets in self.octets)

    def live(self) -> None:
        """Let some time pass: consent comes and goes, some say STOP or START, some order, and messages fail."""
        self.now += self.chance.choice([timedelta(minutes=3), timedelta(minutes=40), 3 * HOUR, 7 * HOUR])
        for number in self.chance.sample(self.people, 3):
            self.promotional[number] = self.chance.choice([2, 2, 3, 1])
        for number in self.chance.sample(self.people, 2):
            if self.stopped.pop(number, None) is None and self.chance.random() < 0.5:
                self.stopped[number] = self.chance.choice([Reason.STOP, Reason.COMPLAINT, Reason.ERASED])
        for number in self.chance.sample(self.people, 4):
            self.ordered_us[number] = micros(self.now)
        keep = micros(self.now - 40 * DAY)
        self.octets = [one for one in self.octets if one[0] >= keep]
        for number, some in self.contacts.items():
            self.contacts[number] = [one for one in some if one["at_us"] >= keep]
        for number, moments in self.sent.items():
            self.sent[number] = {run: at for run, at in moments.items() if at >= keep}
        failed, self.failing = self.failing, []
        for run, number, at_us in failed:
            # Twice, as by a job that was killed before it noted how far it was.
            for _ in range(2):
                returns = Returns(run, number.to_bytes(8), at_us.to_bytes(8))
                returns.read_contacts(self.pages())
                self.commit(returns.rows_returned()[0])
            self.sent[number].pop(run, None)

    def refusals(self, campaign: Campaign, some: Iterable[int]) -> dict[int, int]:
        """What Postgres would say against some numbers: a STOP goes before what must not have happened."""
        found: dict[int, int] = {}
        for number in some:
            if number in self.stopped:
                found[number] = self.stopped[number]
            elif campaign.has_exception and self.ordered_us.get(number, -1) >= campaign.begun_us:
                found[number] = Reason.EXCEPTION
        return found

    def opening(self, campaign: Campaign, set_: int) -> dict[str, Any]:
        """What the obvious gate has to know of a zone."""
        table = campaign.rules._hours[False].table_at(micros(self.now) // 1_000_000, {set_})
        here = self.now.astimezone(ZoneInfo(self.places[set_][0].zone))
        day = here.replace(hour=0, minute=0, second=0, microsecond=0)
        monday, first = day - timedelta(days=day.weekday()), day.replace(day=1)
        begins = [day, monday, first]
        ends = [day + DAY, monday + 7 * DAY, (first + 32 * DAY).replace(day=1)]
        opens = table.opens_at[set_]
        return {
            "closes": table.closes_at[set_] * 1_000_000 if table.is_open[set_] else None,
            "opens": None if opens >= NEVER else opens * 1_000_000,
            "begins": [micros(one.astimezone(UTC)) for one in begins],
            "ends": [micros(one.astimezone(UTC)) for one in ends],
        }

    def decide(self, campaign: Campaign) -> None:
        """Ask the gate about some of those who wait, and die now and then."""
        us = micros(self.now)
        due = [number for number, at in campaign.waiting.items() if at <= us]
        some = self.chance.sample(due, min(len(due), 60))
        if not some:
            return
        batch = Batch.of(campaign.run << 20, some)
        questions = Questions([batch], self.zones)
        questions.read_consent(consent_rows({number: (self.promotional[number], 0) for number in some}))
        rules = campaign.rules.rules(self.now, campaign.expires_at)
        refusals = self.refusals(campaign, some)
        questions.refuse(refusals)
        questions.read_contacts(self.pages())
        questions.judge(rules, campaign.rules.windows(self.now, questions.keys(), {}))
        self.agrees(campaign, questions, rules, some, refusals)
        if self.chance.random() < 0.05:
            return  # killed before the COMMIT
        self.commit(questions.reservations(rules))
        self.commit(questions.withdrawals(rules))
        if self.chance.random() < 0.05:
            return  # killed behind it: nothing has left, and all of them are asked about again
        for number in some:
            verdict, until_us = questions.verdict(number)
            self.decisions += 1
            self.counted[verdict] += 1
            self.log.append((campaign.run, number, verdict))
            if verdict == compiled.HOLD:
                assert us < until_us
                campaign.waiting[number] = until_us
                continue
            del campaign.waiting[number]
            campaign.ends[number] = verdict
            if verdict == 0:
                self.leaves(campaign, number, until_us)

    def agrees(
        self, campaign: Campaign, questions: Questions, rules: Rules, some: list[int], refusals: Mapping[int, int]
    ) -> None:
        """Hold every verdict against the obvious gate's."""
        caps = [campaign.rules._cap(cap, at) for at, cap in enumerate(campaign.rules.caps)]
        openings: dict[int, dict[str, Any]] = {}
        for number in some:
            set_ = self.zones.key(number)
            if set_ not in openings:
                openings[set_] = self.opening(campaign, set_)
            held = campaign.rules._caps_in(set_)
            person = {"promotional": self.promotional[number], "transactional": 0}
            person["refusal"] = refusals.get(number, 0)
            asked = {name: getattr(rules, name) for name in (
                "run", "needs", "priority", "gap_us", "defer_until_us", "hold_until_us", "min_left_us",
                "arbitration_us", "has_bypass", "has_windows")}  # fmt: skip
            # A law that holds elsewhere is none here.
            asked["caps"] = [(254, *cap[1:]) if not held >> at & 1 else cap for at, cap in enumerate(caps)]
            verdict, until = judge(
                person | {"contacts": self.contacts[number]}, asked, openings[set_], micros(self.now)
            )
            found, until_us = questions.verdict(number)
            assert found == verdict, (number, found, verdict, self.now)
            if verdict == compiled.HOLD and until is not None:
                # Who waits for a window is released over half an hour.
                assert until <= until_us <= until + rules.spread_us

    def leaves(self, campaign: Campaign, number: int, until_us: int) -> None:
        """Hand a message to the carrier: nothing of section 19 may be broken by it."""
        us = micros(self.now)
        assert self.promotional[number] == 2 or campaign.gate.needs == "none", "1: without a grant in force"
        ordered_us = self.ordered_us.get(number, -1)
        assert not campaign.has_exception or ordered_us < campaign.begun_us, "2: after an exception"
        assert campaign.run not in self.sent[number], "5: twice"
        assert number not in self.stopped, "11: after STOP"
        set_ = self.zones.key(number)
        table = campaign.rules._hours[False].table_at(us // 1_000_000, {set_})
        # Where no hour of the day suits all zones that a number may mean, it is that of most people (QH-4).
        for place in self.places[set_][:1] if table.is_guess[set_] else self.places[set_]:
            here = self.now.astimezone(ZoneInfo(place.zone))
            assert campaign.opens <= here.hour < campaign.closes, f"3: at {here} in {place.zone}"
            ends = datetime.fromtimestamp(until_us / 1e6, UTC).astimezone(ZoneInfo(place.zone))
            last = here.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=campaign.closes)
            assert ends <= last, f"3: it may lie with the carrier until {ends}"
        before = self.sent[number].values()
        for cap in campaign.gate.caps:
            if cap.hours:
                assert sum(at > us - cap.hours * 3600 * 10**6 for at in before) < cap.limit, f"4: {cap.words}"
            elif cap.per == "day":
                zone = ZoneInfo(self.places[self.zones.key(number)][0].zone)
                days = [datetime.fromtimestamp(at / 1e6, UTC).astimezone(zone).date() for at in before]
                assert days.count(self.now.astimezone(zone).date()) < cap.limit, f"4: {cap.words}"
        self.sent[number][campaign.run] = us
        luck = self.chance.random()
        if luck < 0.1:
            # It fails for good; one in doubt (the rest of them) keeps its place.
            self.failing.append((campaign.run, number, us + 1_000_000))

    def go_on(self, decisions: int) -> None:
        """Live until so much is decided."""
        campaigns: list[Campaign] = []
        while self.decisions < decisions:
            self.live()
            if len(campaigns) < 12:
                self.run += 1
                campaigns.append(Campaign(self, self.run))
            for campaign in campaigns:
                if self.now >= campaign.expires_at:
                    campaign.ends |= dict.fromkeys(campaign.waiting, -13)
                    campaign.waiting.clear()
                else:
                    self.decide(campaign)
            for campaign in campaigns:
                if not campaign.waiting:
                    assert len(campaign.ends) == campaign.size, "6: everybody has one end"
            campaigns = [campaign for campaign in campaigns if campaign.waiting]


@pytest.mark.covers("S4.31", "S4.33")
def test_no_message_leaves_against_what_holds_and_everybody_has_one_end_invariants_1_2_3_4_5_6_11() -> None:
    world = World(1)
    world.go_on(DECISIONS)
    # Of each kind of verdict there were some, or the world asks too little.
    assert {0, compiled.HOLD, Reason.EXCEPTION, Reason.STOP} <= set(world.counted), world.counted
    assert len(world.counted) >= 10, world.counted
    assert any(one["kind"] == compiled.RETURNED for some in world.contacts.values() for one in some)


def test_the_same_seed_and_clock_decide_the_same_invariant_9() -> None:
    logs = []
    for _ in range(2):
        world = World(7)
        world.go_on(1500)
        logs.append(world.log)
    assert logs[0] == logs[1]


@pytest.mark.parametrize("seed", [2, 3])
def test_a_gate_that_loses_its_reservations_is_found_by_the_world(seed: int) -> None:
    """The world can fail: where what is reserved is forgotten, a cap is exceeded and it says so."""
    world = World(seed)
    world.commit = lambda octets: None  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="4: "):
        world.go_on(20000)
