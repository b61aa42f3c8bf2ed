"""A made-up shop whose behaviour is known: who arrives, buys, gives back and leaves, and what texts do to them.

    happens(k)   what customers did since the last look ─► items, grants of consent, words of handsets
    expected     whom texts have to be written to at a look, by the rules of the campaigns: worked out here by itself
    carry        what becomes of a text, and what its reader does then

A look is once a day, at 18:00 UTC; what is due between two looks is done at the second one. Times are microseconds
since 1970, none twice. Everything is drawn from one seed. Not here: sums (truth.py), the product (engine.py).
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from gateway.consent import Fact
from gateway.message import Refusal
from gateway.person import EPOCH, OUR_SOURCE, Item, Who, hash_of

START = datetime(2025, 1, 6, 18, tzinfo=UTC)
SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND
TICK = 10 * HOUR  # of the day: when silence and schedules are looked at
BRAND = "acme"
CURRENCY = "EUR"
FIRST_NUMBER = 447_700_000_000
# Of the 256 buckets people stand in; in fewer of them a day's work is of as many persons, in fewer transactions.
BUCKETS = 8

CART, REFILL, BACK, VIP = "cart", "refill", "back", "vip"
CAMPAIGNS = (CART, REFILL, BACK, VIP)
CART_WAIT, REFILL_WAIT, SILENCE = HOUR, 25 * DAY, 30 * DAY
VIP_ORDERS = 3
VIP_DAY = 15
CODE_LIFE = 14 * DAY
# One part; the text of `vip` takes two.
TEXTS = {
    CART: "Your basket waits: https://shop.example/basket",
    REFILL: "Time to refill? Just write back.",
    BACK: "We miss you. Your code is in your account: https://shop.example/back",
    VIP: "For our best customers: " + "new things have come in, and they are yours to see first. " * 3
    + "https://shop.example/vip",
}  # fmt: skip
PARTS = {name: 1 if len(text) <= 160 else -(-len(text) // 153) for name, text in TEXTS.items()}
LINKED = frozenset(name for name, text in TEXTS.items() if "https://" in text)

# What a receipt says, and what a carrier answers that knows better.
ARRIVED, LOST, WRONG_NUMBER = 2, 5, 0x0B

# -- what is true of people
AT_THE_START = 0.25
CONSENTS = 0.7
EVER_BUYS = 0.8
CHURNS = 0.2  # behind each order
CART_EVERY_DAYS = 150.0
CART_BUYS = 0.4
REFUNDED, CANCELLED = 0.06, 0.015
# -- what is true of texts: the effect of one that arrives is on the chance to buy within days
EFFECT = {CART: 0.08, REFILL: 0.05, BACK: 0.06, VIP: 0.04}
REJECTED, UNDELIVERABLE, SILENT = 0.01, 0.03, 0.02
CLICKS, BOTS, UNSURE, REPLIES, STOPS, USES_CODE = 0.08, 0.04, 0.01, 0.012, 0.006, 0.5


def moment(at: int) -> datetime:
    """The instant."""
    return EPOCH + timedelta(microseconds=at)


def micros(at: datetime) -> int:
    """Of an instant."""
    return (at - EPOCH) // timedelta(microseconds=1)


class Order:
    """What was bought."""

    __slots__ = ("amount", "at", "back", "code", "is_cancelled", "key")

    def __init__(self, at: int, key: str, amount: int, code: str):
        self.at, self.key, self.amount, self.code = at, key, amount, code
        self.back = 0
        self.is_cancelled = False

    @property
    def is_counted(self) -> bool:
        """Whether it stays an order: neither cancelled nor wholly given back."""
        return not self.is_cancelled and self.back < self.amount

    @property
    def net(self) -> int:
        """What stays of it."""
        return self.amount - self.back if self.is_counted else 0


class Text:
    """A message as it was, and what was done with it."""

    __slots__ = (
        "at", "bots", "campaign", "clicks", "code", "code_until", "delivered_at", "end", "opted_out_at", "replies",
        "run", "status", "unsure",
    )  # fmt: skip

    def __init__(self, campaign: str, run: int, at: int, status: int, end: int = 0, end_at: int | None = None):
        self.campaign, self.run, self.at, self.status, self.end = campaign, run, at, status, end
        self.delivered_at = end_at if end == ARRIVED else None
        self.clicks: list[int] = []
        self.replies: list[int] = []
        self.bots = self.unsure = 0
        self.opted_out_at: int | None = None
        self.code = ""
        self.code_until = 0


class Customer:
    """Somebody."""

    __slots__ = (
        "consents_at", "gap_days", "is_here", "number", "orders", "silences", "stopped_at", "texts",
    )  # fmt: skip

    def __init__(self, number: int, gap_days: float):
        self.number, self.gap_days = number, gap_days
        self.is_here = False
        self.consents_at: int | None = None
        self.stopped_at: int | None = None
        self.orders: list[Order] = []
        self.texts: list[Text] = []
        self.silences: set[int] = set()

    @property
    def may_be_written_to(self) -> bool:
        """Whether they have said yes, and not no since."""
        return self.consents_at is not None and self.stopped_at is None

    def last_order(self) -> Order | None:
        """The latest that counts."""
        return max((one for one in self.orders if one.is_counted), key=lambda one: one.at, default=None)

    def bought_within(self, since: int, until: int) -> bool:
        """Say whether an order was placed in (since, until], whatever became of it."""
        return any(since < one.at <= until for one in self.orders)


class Happened(NamedTuple):
    """What was done between two looks, in its order. words: (at, number, text) of handsets."""

    items: list[Item]
    grants: list[Fact]
    words: list[tuple[int, int, str]]


class Answer(NamedTuple):
    """What a carrier says to a text: its status, and at what time which end (0: it never says)."""

    status: int
    end: int = 0
    end_at: int = 0


class World:
    """The shop and its customers."""

    def __init__(self, customers: int, days: int, seed: int, staff: int = 5):
        self.chance = random.Random(seed)
        self.days = days
        self.customers = [
            Customer(number, min(400.0, self.chance.lognormvariate(4.2, 0.5)))
            for number in itertools.islice(_numbers(), customers)
        ]
        self.by_number = {one.number: index for index, one in enumerate(self.customers)}
        self.staff = frozenset(range(min(staff, customers)))
        self.expected: Counter[tuple[str, int]] = Counter()
        self.prevented: Counter[str] = Counter()
        self.refused_entry = 0
        self._agenda: list[list[tuple[int, int, str, Any]]] = [[] for _ in range(days + 1)]
        self._waiting: list[list[tuple[str, int, int]]] = [[] for _ in range(days + 2)]
        self._taken: set[int] = set()
        self._orders = 0
        self._codes = 0
        self.look_at = micros(START)
        self._look = -1
        for index in range(customers):
            first = self.chance.random() < AT_THE_START
            self._push(micros(START) + 1 + int(self.chance.random() * (DAY if first else days * DAY)), index, "arrives")

    def time_of(self, look: int) -> int:
        """When a look is."""
        return micros(START) + (look + 1) * DAY

    def waiting_in_vain(self, campaign: str) -> int:
        """Count those whose text is not due yet and never will be: they have bought already."""
        of = [one for some in self._waiting for one in some if one[0] == campaign]
        return sum(self._is_prevented(index, at) for _, index, at in of)

    def _is_prevented(self, index: int, since: int) -> bool:
        """Say whether they have bought since, and were not let go before because of a STOP."""
        one = self.customers[index]
        # Both are known at looks alone; what is bought counts first.
        until = self.look_at if one.stopped_at is None else self.time_of(self._look_of(one.stopped_at))
        return one.bought_within(since, min(until, self.look_at))

    # -- what customers do ---------------------------------------------------------------------------------------------

    def happens(self, look: int) -> Happened:
        """Let everything be done that is before a look, and work out who has to be written to at it."""
        self._look, self.look_at = look, self.time_of(look)
        found = Happened([], [], [])
        agenda = self._agenda[look]
        heapq.heapify(agenda)
        begun: list[tuple[str, int, int]] = []
        silent: set[int] = set()
        while agenda:
            at, index, what, more = heapq.heappop(agenda)
            getattr(self, f"_{what}")(at, index, more, found, begun, silent)
        self._taken = {at for at in self._taken if at > self.look_at}
        self.expected = Counter()
        self._expect(look, begun, silent)
        return found

    def _expect(self, look: int, begun: list[tuple[str, int, int]], silent: set[int]) -> None:
        for campaign, index, at in begun:
            if not self.customers[index].may_be_written_to:
                self.refused_entry += 1
                continue
            due = at + (CART_WAIT if campaign == CART else REFILL_WAIT)
            place = min(max(look, self._look_of(due)), self.days + 1)
            self._waiting[place].append((campaign, index, at))
        for campaign, index, at in self._waiting[look]:
            if self._is_prevented(index, at):
                self.prevented[campaign] += 1
            elif self.customers[index].may_be_written_to:
                self.expected[campaign, index] += 1
        self._waiting[look] = []
        tick = self.look_at - self.look_at % DAY + TICK
        for index in silent:
            one = self.customers[index]
            last = one.last_order()
            if last is not None and last.at <= tick - SILENCE and last.at not in one.silences:
                one.silences.add(last.at)
                if one.may_be_written_to:
                    self.expected[BACK, index] += 1
                else:
                    self.refused_entry += 1
        if moment(tick).day == VIP_DAY:
            for index, one in enumerate(self.customers):
                if len(one.orders) >= VIP_ORDERS and sum(order.is_counted for order in one.orders) >= VIP_ORDERS:
                    if one.may_be_written_to:
                        self.expected[VIP, index] += 1
                    else:
                        self.refused_entry += 1

    def _arrives(self, at: int, index: int, more: Any, found: Happened, begun: list[Any], silent: set[int]) -> None:
        one = self.customers[index]
        one.is_here = True
        draw = self.chance
        who = Who(phone=one.number, external_id=f"c{index}")
        found.items.append(Item(who=who, source="shop", event_id=f"a{index}", name="signed_up", occurred_at=moment(at)))
        if draw.random() < CONSENTS:
            one.consents_at = at
            found.grants.append(
                Fact(
                    number=one.number, brand=BRAND, class_="promotional", action="grant", source="form",
                    recorded_at=moment(self.look_at), effective_at=moment(at), method="box", wording="Write to me.",
                )
            )  # fmt: skip
        if draw.random() < EVER_BUYS:
            self._push(at + self._after(one.gap_days / 4), index, "buys", "")
        self._push(at + self._after(CART_EVERY_DAYS), index, "fills")

    def _buys(self, at: int, index: int, code: str, found: Happened, begun: list[Any], silent: set[int]) -> None:
        self._order(at, index, code, found, begun)
        one = self.customers[index]
        if self.chance.random() >= CHURNS:
            self._push(at + self._after(one.gap_days), index, "buys", "")

    def _moved(self, at: int, index: int, code: str, found: Happened, begun: list[Any], silent: set[int]) -> None:
        """Buy what would not have been bought otherwise."""
        self._order(at, index, code, found, begun)

    def _order(self, at: int, index: int, code: str, found: Happened, begun: list[Any]) -> None:
        one, draw = self.customers[index], self.chance
        self._orders += 1
        order = Order(at, f"o{self._orders}", min(1_000_000, int(500 * draw.paretovariate(1.4))), code)
        one.orders.append(order)
        told = {"order_id": order.key, "total": order.amount / 100, "currency": CURRENCY}
        if code:
            told["coupon"] = code
        found.items.append(self._told(at, index, "order_placed", f"p{order.key}", told))
        begun.append((REFILL, index, at))
        # The tick of the day on which the silence is long enough.
        due = at + SILENCE
        tick = due - due % DAY + TICK
        self._push(tick if tick >= due else tick + DAY, index, "silent")
        chosen = draw.random()
        if chosen < CANCELLED:
            self._push(at + self._after(2), index, "cancels", order)
        elif chosen < CANCELLED + REFUNDED:
            part = order.amount if draw.random() < 0.5 else max(1, int(order.amount * draw.random()))
            self._push(at + self._after(10), index, "returns", (order, part))

    def _silent(self, at: int, index: int, more: Any, found: Happened, begun: list[Any], silent: set[int]) -> None:
        silent.add(index)

    def _cancels(self, at: int, index: int, order: Order, found: Happened, begun: list[Any], silent: set[int]) -> None:
        order.is_cancelled = True
        found.items.append(self._told(at, index, "order_cancelled", f"c{order.key}", {"order_id": order.key}))
        # The latest that counts is an earlier one now.
        silent.add(index)

    def _returns(
        self, at: int, index: int, more: tuple[Order, int], found: Happened, begun: list[Any], silent: set[int]
    ) -> None:
        order, amount = more
        order.back += amount
        told = {"order_id": order.key, "amount": amount / 100, "currency": CURRENCY}
        found.items.append(self._told(at, index, "refunded", f"r{order.key}", told))
        silent.add(index)

    def _fills(self, at: int, index: int, more: Any, found: Happened, begun: list[Any], silent: set[int]) -> None:
        told = {"cart_id": f"k{index}.{at}"}
        found.items.append(self._told(at, index, "cart_updated", f"k{index}.{at}", told))
        begun.append((CART, index, at))
        if self.chance.random() < CART_BUYS:
            self._push(at + self._after(0.2), index, "moved", "")
        self._push(at + self._after(CART_EVERY_DAYS), index, "fills")

    def _clicks(
        self, at: int, index: int, more: tuple[Text, str], found: Happened, begun: list[Any], silent: set[int]
    ) -> None:
        text, verdict = more
        if verdict == "human":
            text.clicks.append(at)
        elif verdict == "bot":
            text.bots += 1
        else:
            text.unsure += 1
        told = {"campaign": text.campaign, "run": text.run, "verdict": verdict}
        found.items.append(self._told(at, index, "clicked", f"clicked:{index}:{at}", told))

    def _writes(self, at: int, index: int, words: str, found: Happened, begun: list[Any], silent: set[int]) -> None:
        one = self.customers[index]
        found.words.append((at, one.number, words))
        text = next((text for text in reversed(one.texts) if text.status == 0 and text.at <= at), None)
        if words == "STOP":
            if one.stopped_at is None:
                one.stopped_at = at
                if text is not None and at < text.at + 72 * HOUR:
                    text.opted_out_at = at
        elif text is not None:
            text.replies.append(at)

    # -- what becomes of texts -----------------------------------------------------------------------------------------

    def carry(self, campaign: str, run: int, number: int, at: int) -> tuple[Answer, list[Item]]:
        """Carry a text to somebody; -> what the carrier says, and what is told of its code."""
        index = self.by_number[number]
        one, draw = self.customers[index], self.chance
        if one.stopped_at is not None:
            # The gate's part: who has said STOP since the text was written gets none.
            one.texts.append(Text(campaign, run, at, int(Refusal.SUPPRESSED)))
            return Answer(int(Refusal.SUPPRESSED)), []
        chosen = draw.random()
        if chosen < REJECTED:
            one.texts.append(Text(campaign, run, at, WRONG_NUMBER))
            return Answer(WRONG_NUMBER), []
        end = 0 if chosen < REJECTED + SILENT else LOST if chosen < REJECTED + SILENT + UNDELIVERABLE else ARRIVED
        end_at = self._once(at + int((2 + 50 * draw.random()) * SECOND))
        text = Text(campaign, run, at, 0, end, end_at)
        one.texts.append(text)
        items = []
        if campaign == BACK:
            self._codes += 1
            text.code, text.code_until = f"BACK{self._codes}", at + CODE_LIFE
            told = {
                "campaign": campaign, "run": run, "code": text.code,
                "expires_at": moment(text.code_until).isoformat().replace("+00:00", "Z"),
            }  # fmt: skip
            items.append(self._told(at + 1, index, "coupon_issued", f"coupon_issued:{text.code}", told))
        if end == ARRIVED:
            self._reads(index, text, end_at)
        return Answer(0, end, end_at), items

    def _reads(self, index: int, text: Text, at: int) -> None:
        draw = self.chance
        if text.campaign in LINKED:
            if draw.random() < CLICKS:
                self._push(at + 3 * SECOND + self._after(0.1), index, "clicks", (text, "human"))
            if draw.random() < BOTS:
                self._push(at + SECOND, index, "clicks", (text, "bot"))
            if draw.random() < UNSURE:
                self._push(at + 2 * SECOND, index, "clicks", (text, "unsure"))
        # An hour behind the last text of a look, so that it is clear to which one they answer.
        if draw.random() < REPLIES:
            self._push(at + 75 * MINUTE + self._after(0.2), index, "writes", "Thanks, when do you open?")
        if draw.random() < STOPS:
            self._push(at + 75 * MINUTE + self._after(0.5), index, "writes", "STOP")
        if draw.random() < EFFECT[text.campaign]:
            code = text.code if draw.random() < USES_CODE else ""
            self._push(at + self._after(1.0), index, "moved", code)

    # -- time ----------------------------------------------------------------------------------------------------------

    def _told(self, at: int, index: int, name: str, event_id: str, properties: dict[str, Any]) -> Item:
        ours = name in ("clicked", "coupon_issued")
        return Item(
            who=Who(phone=self.customers[index].number), source=OUR_SOURCE if ours else "shop", event_id=event_id,
            name=name, occurred_at=moment(at), properties=properties, is_ours=ours,
        )  # fmt: skip

    def _after(self, days: float) -> int:
        return 1 + int(self.chance.expovariate(1 / days) * DAY)

    def _look_of(self, at: int) -> int:
        return -(-(at - micros(START)) // DAY) - 1

    def _once(self, at: int) -> int:
        while at in self._taken:
            at += 1
        self._taken.add(at)
        return at

    def _push(self, at: int, index: int, what: str, more: Any = None) -> None:
        at = self._once(at) if what != "silent" else at
        place = self._look_of(at)
        if place > self.days:
            return
        entry = (at, index, what, more)
        if place == self._look:
            heapq.heappush(self._agenda[place], entry)
        else:
            self._agenda[place].append(entry)


def _numbers() -> Iterator[int]:
    return (number for number in itertools.count(FIRST_NUMBER) if hash_of(number) < BUCKETS)
