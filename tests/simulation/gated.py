"""Worlds with a gate: one seed in five asks of its people what a campaign asks, and sends them several runs.

    people       some have no consent, or not enough of it; a day opens, or closes and opens again, soon after the start
    runs         two or three to the same people, over all carriers at once, under a cap for each of them
    at the wire  G1 nobody without a consent · G2 nobody more often than the cap lets him · G3 nothing outside the
                 window, and no validity beyond it
    at the end   G4 everything has its end, and who was refused was refused rightly

A message of such a run begins with its run's digit, and wherever the checks speak of a number they speak of
    key = run · PERSON + number
so that what they say of a message is said of this one and not of what else the same person was sent.
Not here: the gate (gateway/dispatch/admission.py); what holds in every world (checks.py).
"""

import random
from collections import Counter
from collections.abc import Callable, Container, Iterable
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from _fastpath.gate import page
from _fastpath.peoplerows import bucket
from gateway.gate import Cap, Gate
from gateway.message import MessageClass, Refusal
from gateway.reasons import FIRST_CAP, MOST_CAPS, Reason
from tests.simulation.loop import BEGIN

PERSON = 10**12
MOST_RUNS = 3
EVERY = 5
BRAND = "acme"
# Of a world with a gate: so many people at most.
PEOPLE = 12_000
GRANTED, PENDING, REVOKED, ONLY_TRANSACTIONAL = 2, 1, 3, 2 << 2
# What somebody of that state is refused for; None: not for that.
REFUSED_FOR = {
    GRANTED: None, 0: Reason.NO_CONSENT, PENDING: Reason.PENDING_CONSENT, REVOKED: Reason.STOP,
    ONLY_TRANSACTIONAL: Reason.NO_CONSENT,
}  # fmt: skip
# What may become of anybody's message: not the gate's business.
ELSEWHERE = {Refusal.UNCERTAIN, Refusal.SUPPRESSED, Refusal.ABANDONED, Refusal.NO_ROUTE, Refusal.CANCELLED}
# Words for a STOP that the gate knows of.
SUPPRESSED = range(Reason.ERASED, Reason.STOP + 1)
# A drifting clock, and the turn in which it is looked at.
TOLERANCE_S = 0.05
# A relative validity is a second at least, and whole ones.
VALIDITY_S = 1.0 + TOLERANCE_S
NOON = BEGIN.replace(hour=10)
EVENING = BEGIN.replace(hour=19)
# A minute is the shortest that a window may be closed.
BREAK = timedelta(minutes=1)


class GatePlan(Struct, kw_only=True):
    """What is asked, from when on, and of whom.

    begin   the wall clock at the world's start
    open_s  when promotional messages may leave, in the world's seconds, half-open
    states  of consent, by number
    """

    gate: Gate
    begin: datetime
    open_s: list[tuple[float, float]]
    states: dict[int, int]
    limit: int


def is_gated(seed: int) -> bool:
    """Tell whether the world of a seed has a gate."""
    return seed % EVERY == 0


def gate_plan(chance: random.Random, numbers: Iterable[int]) -> GatePlan:
    """Draw what is asked."""
    limit = chance.choice((1, 1, 1, 2))
    kind = chance.choice(("dawn", "dawn", "noon", "day"))
    spans = ["09:00-19:00"]
    if kind == "dawn":
        begin = BEGIN - timedelta(seconds=chance.uniform(0.5, 3.0))
        opens = [(BEGIN, EVENING)]
    elif kind == "noon":
        begin = NOON - timedelta(seconds=chance.uniform(0.5, 6.0))
        opens, spans = [(BEGIN, NOON), (NOON + BREAK, EVENING)], ["09:00-10:00", "10:01-19:00"]
    else:
        begin, opens = NOON, [(BEGIN, EVENING)]
    share = chance.choice((0.5, 0.9, 1.0))
    others = (0, PENDING, REVOKED, ONLY_TRANSACTIONAL)
    return GatePlan(
        gate=Gate(
            brand=BRAND,
            caps=(Cap(limit=limit, per=chance.choice(("day", "48h", "7d"))),),
            gap_s=chance.choice((0, 0, 3)),
            on_cap=chance.choice(("skip", "defer")),
            defer_s=20,
            windows={"campaign": {"daily": spans}},
            least_left_s=chance.choice((0, 1)),
            spread_s=chance.choice((0, 6)),
            arbitration_s=0,
        ),
        begin=begin,
        open_s=[((since - begin).total_seconds(), (until - begin).total_seconds()) for since, until in opens],
        states={number: GRANTED if chance.random() < share else chance.choice(others) for number in numbers},
        limit=limit,
    )


def draw(seed: int, plan: Any, run_of: Callable[..., Any]) -> None:
    """Give a world a gate: other runs, of the same people.

    run_of  makes a run (world.RunPlan)
    """
    chance = random.Random(f"{seed} gate")
    total = sum(len(run.numbers) for run in plan.runs)
    first = min(run.numbers[0] for run in plan.runs)
    several = chance.choice((2, 2, MOST_RUNS))
    people = range(first, first + max(2, min(PEOPLE, total // several)))
    plan.gate = gate_plan(chance, people)
    size = chance.choice((7, 50, 200, 1000))
    runs = []
    for place in range(several):
        numbers = [number for number in people if chance.random() < 0.9] or list(people)
        chunks, at = [], 0
        while at < len(numbers):
            n = max(1, round((size if len(chunks) < 40 else 1000) * chance.uniform(0.5, 1.0)))
            chunks.append((chance.randrange(len(plan.carriers)), numbers[at : at + n]))
            at += n
        before = plan.runs[place % len(plan.runs)]
        runs.append(
            run_of(
                policy=before.policy,
                class_=chance.choice((MessageClass.BULK, MessageClass.TRIGGERED)),
                text=f"{place}: hello",
                at_s=chance.choice((0.0, 0.0, chance.uniform(0.0, 3.0))),
                chunks=chunks,
                parts=1,
                falls_back=before.falls_back,
                offset=place * PERSON,
            )  # fmt: skip
        )
    plan.runs = runs
    for carrier in plan.carriers:
        carrier.settings["validity"] = chance.choice(("none", "relative", "absolute"))


def consent_rows(states: dict[int, int]) -> list[dict[str, Any]]:
    """Pages of consent as the gate reads them."""
    pages: dict[tuple[int, int], list[int]] = {}
    for number in sorted(states):
        if states[number]:
            pages.setdefault((bucket(number), page(number)), []).append(number)
    return [
        {
            "bucket": place[0], "page": place[1], "brand": BRAND, "zones": b"",
            "numbers": b"".join(number.to_bytes(8) for number in numbers),
            "states": bytes(states[number] for number in numbers),
        }
        for place, numbers in pages.items()
    ]  # fmt: skip


def text_of(pdu: bytes) -> tuple[bytes, bytes]:
    """Read the validity_period and the text of a submit_sm."""
    at = pdu.index(0, 16) + 1  # service_type
    at = pdu.index(0, at + 2) + 1  # source
    at = pdu.index(0, at + 2) + 4  # destination, esm_class, protocol_id, priority_flag
    at = pdu.index(0, at) + 1  # schedule_delivery_time
    end = pdu.index(0, at)
    return pdu[at:end], pdu[end + 6 : end + 6 + pdu[end + 5]]


class GateChecks:
    """Watches what passes the gate of one world.

    say      Checks.say
    reached  Checks.reached
    """

    def __init__(self, plan: GatePlan, say: Callable[..., None], reached: Counter[str]):
        self.plan, self._say, self._reached = plan, say, reached
        # Of each person: keys that were written and not refused by the carrier; of those, which it has taken.
        self.written: dict[int, dict[int, None]] = {}
        self._taken: dict[int, None] = {}
        # Instances whose wall clock is wrong, and that cannot know: it was so at their start, or is by little.
        self.astray: dict[str, None] = {}
        # Those whose wall clock has jumped: an absolute validity is by that clock.
        self.jumped: dict[str, None] = {}

    def key_of(self, number: int, pdu: bytes) -> int:
        """Say which message a submit_sm is: its run's place and its number."""
        return number + (text_of(pdu)[1][0] - 0x30) * PERSON

    def submitted(self, key: int, pdu: bytes, now: float, owner: str) -> None:
        """Judge a message as it is written."""
        person = key % PERSON
        if self.plan.states.get(person) != GRANTED:
            self._say("G1", f"{person} was written to and has given no consent", key)
        keys = self.written.setdefault(person, {})
        keys[key] = None
        if len(keys) > self.plan.limit:
            self._say("G2", f"{person} was written to {len(keys)} times, at most {self.plan.limit}", key)
        if owner in self.astray:
            return
        closes = self._closes(now)
        if closes is None:
            self._say("G3", f"{person} was written to at {now:.3f} s, open is {self.plan.open_s}", key)
        elif (ends := self._ends(text_of(pdu)[0], now, is_sure=owner not in self.jumped)) is not None:
            self._reached["validity"] += 1
            if ends > closes + VALIDITY_S:
                self._say("G3", f"{person} may be delivered until {ends:.3f} s, the window closes at {closes:.3f}", key)

    def answered(self, key: int, status: int) -> None:
        """Hear what the carrier says to a message: what it does not take is not counted."""
        if status == 0:
            self._taken[key] = None
        elif key not in self._taken:
            self.written.get(key % PERSON, {}).pop(key, None)

    def _closes(self, now: float) -> float | None:
        """When the window closes that is open now; None: none is."""
        for since, until in self.plan.open_s:
            if since - TOLERANCE_S <= now < until + TOLERANCE_S:
                return until
        return None

    def _ends(self, validity: bytes, now: float, *, is_sure: bool) -> float | None:
        """The moment of a validity_period, in the world's seconds; None: it says nothing, or who knows what."""
        if not validity or not (is_sure or validity.endswith(b"R")):
            return None
        text = validity.decode()
        year, month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(0, 12, 2))
        if text.endswith("R"):
            return now + ((year * 365 + month * 30 + day) * 24 + hour) * 3600 + minute * 60 + second
        ahead = timedelta(minutes=15 * int(text[13:15]) * (1 if text[15] == "+" else -1))
        at = datetime(2000 + year, month, day, hour, minute, second, tzinfo=self.plan.begin.tzinfo) - ahead
        return (at - self.plan.begin).total_seconds()

    def at_end(
        self, keys: Iterable[int], rows: dict[int, list[Any]], reserved: dict[int, set[int]], stopped: Container[int]
    ) -> None:
        """Judge who was refused.

        stopped   who has said STOP
        reserved  by person, the places of the runs that have reserved a message
        """
        for key in keys:
            person, statuses = key % PERSON, {row.status for row in rows.get(key, ())}
            wanted = REFUSED_FOR[self.plan.states[person]]
            if wanted is not None:
                self._reached["unconsented"] += 1
                # Where a worker ended before it wrote that down, it is in doubt.
                if not statuses <= {
                    wanted,
                    Refusal.UNCERTAIN,
                    Refusal.CANCELLED,
                    *(SUPPRESSED if person in stopped else ()),
                }:
                    self._say("G4", f"{person} has no consent, expected {wanted}, found {sorted(statuses)}", key)
                continue
            for status in statuses - ELSEWHERE:
                if status >= 0 or (status in SUPPRESSED and person in stopped):
                    continue
                others = reserved.get(person, set()) - {key // PERSON}
                if FIRST_CAP - MOST_CAPS < status <= FIRST_CAP and len(others) >= self.plan.limit:
                    self._reached["capped"] += 1
                elif status != Reason.MIN_GAP or not others or not self.plan.gate.gap_s:
                    self._say("G4", f"{person} was refused for {status}; runs {sorted(others)} wrote to him", key)
