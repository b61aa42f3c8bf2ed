"""Which binds of an account are ours, and how much of its rate: divided over all workers by way of the table bind_slot.

    free slots ─ taken under a lock ─► binds up ─► share raised, committed, and used 1.005 s later
    too many for a fair share ─► binds drained ─► throttle lowered ─► slot freed

Everybody reads the same slots and the same list of workers, and decides by the same rules: a worker takes until it has
its part, and gives while somebody lacks his. `tps` is divided evenly over the slots that have an owner; lower ones have
the remainder. Lowering: our own throttle first, then the COMMIT. Raising: the COMMIT first, under the lock of all slots
of the lane, so that the sum never exceeds the account's; it is used when whatever anybody sent before his lowering is
over a second old. So no sliding second over all workers holds more than tps, whoever lives or dies.

An account with limits that cannot be divided without a remainder (minutes, days, senders, campaigns, countries, hosts,
messages waiting for one number), or with a port of ours that its SMSC calls, is served by one worker at a time, who has
all its binds; the others stand by.
Not here: who is alive (membership.py), binds and throttle (smpp/carrier.py).
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec
from msgspec import Struct

from gateway.config import CarrierSettings
from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.rest import Rest
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier
from gateway.store import membership, postgres
from gateway.store.membership import Slot

log = logging.getLogger(__name__)

POLL_S = 0.25
RETRY_S = 0.25
# A second, and what the way to the SMSC may squeeze together (throttle.pyx says how much).
SETTLED_S = 1.005


# -- the rules: functions of what was read --------------------------------------------------------------------------


def is_sole(settings: CarrierSettings) -> bool:
    """Tell whether an account is served by one worker at a time."""
    scoped = (settings.sender_limits, settings.campaign_limits, settings.country_limits)
    return bool(
        settings.outbind_listen
        or settings.host_tps
        or settings.per_minute
        or settings.per_day
        or settings.destination_outstanding
        or any(scoped)
    )


def to_take(slots: Sequence[Slot], us: str, serving: Collection[str], sole: bool) -> list[int]:
    """Name the free slots that are ours to take now."""
    free = [one.slot for one in slots if one.owner is None]
    held = held_by(slots)
    if sole:
        return free if not held.keys() - {us} else []
    others = set(serving) - {us}
    least, rest = divmod(len(slots), len(others) + 1)
    most = least + bool(rest)
    mine = held.get(us, 0)
    # Beyond the least that everybody has, only what nobody lacks.
    lacking = sum(max(0, least - held.get(other, 0)) for other in others)
    wanted = max(0, least - mine)
    wanted += max(0, min(most - max(mine, least), len(free) - wanted - lacking))
    return free[:wanted]


def to_give(slots: Sequence[Slot], us: str, serving: Collection[str], sole: bool) -> list[int]:
    """Name the slots that we are to give up: the highest of ours, while somebody has too many or lacks his part."""
    held = held_by(slots)
    mine = [one.slot for one in slots if one.owner == us]
    if sole:
        first = next((one.owner for one in slots if one.owner is not None), us)
        return mine if first != us else []
    others = set(serving) - {us}
    least, rest = divmod(len(slots), len(others) + 1)
    most = least + bool(rest)
    counts = {owner: held.get(owner, 0) for owner in (*others, us)}
    lacking = sum(max(0, least - count) for count in counts.values()) - sum(one.owner is None for one in slots)
    beyond = sum(max(0, count - most) for count in counts.values())
    given = 0
    for _ in range(max(lacking, beyond)):
        # Everybody counts the same: the one with most, and of several the first by name, gives next.
        giver = min(counts, key=lambda owner: (-counts[owner], owner))
        if counts[giver] <= least:
            break
        counts[giver] -= 1
        given += giver == us
    return mine[len(mine) - given :]


def held_by(slots: Iterable[Slot]) -> dict[str, int]:
    """Count slots by owner."""
    held: dict[str, int] = {}
    for one in slots:
        if one.owner is not None:
            held[one.owner] = held.get(one.owner, 0) + 1
    return held


def parts(total: int, slots: Sequence[Slot]) -> dict[int, int]:
    """Divide a rate over the slots that have an owner, the remainder to the lower ones; -> slot: part."""
    live = [one.slot for one in slots if one.owner is not None]
    if not live:
        return {}
    each, rest = divmod(total, len(live))
    return {slot: each + (place < rest) for place, slot in enumerate(live)}


def shared(slots: Sequence[Slot], us: str, total: int) -> list[Slot]:
    """Say what our slots become: lowered to their part at once, raised to it as far as others have lowered theirs."""
    wanted = parts(total, slots)
    lowered = [
        msgspec.structs.replace(one, share=min(one.share, wanted[one.slot])) if one.owner == us else one
        for one in slots
    ]
    room = max(0, total - sum(one.share for one in lowered))
    made = []
    for one in lowered:
        if one.owner == us:
            more = min(room, wanted[one.slot] - one.share)
            room -= more
            made.append(msgspec.structs.replace(one, share=one.share + more))
    return made


class Share:
    """How much of the account we may use, of what is committed as ours: less at once, more when it has settled."""

    def __init__(self) -> None:
        self.usable = 0
        self._raises: list[tuple[float, int]] = []

    def lower(self, total: int) -> None:
        """Use no more than this from now on; before it is committed."""
        self.usable = min(self.usable, total)
        self._raises = [(at, min(each, total)) for at, each in self._raises]

    def settle(self, total: int, at: float) -> None:
        """Use so much from that moment on; after it was committed."""
        self._raises.append((at, total))

    def at(self, now: float) -> int:
        """Say what is usable now."""
        self.usable = max([self.usable, *(total for at, total in self._raises if at <= now)])
        self._raises = [(at, total) for at, total in self._raises if at > now]
        return self.usable

    def promised(self) -> int:
        """The most that is usable now or will be."""
        return max([self.usable, *(total for _, total in self._raises)])

    def next_at(self) -> float:
        """When more becomes usable; inf: nothing is on its way."""
        return min((at for at, _ in self._raises), default=math.inf)


# -- the loop -------------------------------------------------------------------------------------------------------


class Divided(Struct, kw_only=True):
    """One carrier of this worker, and what of its account is ours.

    leaving      slot -> the drain of its binds
    slots        as they were read last
    whole_since  when they were first seen to be ours, all of them; None: they are not
    """

    name: str
    carrier: Carrier
    share: Share
    leaving: dict[int, asyncio.Task[None]] = {}
    slots: list[Slot] = []
    whole_since: float | None = None


class Slots:
    """The loop of one worker.

    us        our instance
    serving   names the living workers that serve a carrier, us among them once our beat has said so
    on_gain   called with a carrier's name before its first slot becomes ours
    on_lose   called with it behind the last one
    """

    def __init__(
        self,
        us: str,
        clock: Clock,
        connect: Connect,
        deadline_s: float,
        serving: Callable[[str], list[str]],
        on_gain: Callable[[str], None],
        on_lose: Callable[[str], None],
    ):
        self._us = us
        self._clock = clock
        self._deadline_s = deadline_s
        self._serving = serving
        self._on_gain = on_gain
        self._on_lose = on_lose
        self._divided: list[Divided] = []
        self._line = Line(connect, self._listen)
        self._rung = Rest()
        self.last_error = ""

    def divide(self, name: str, carrier: Carrier) -> None:
        """Take in a carrier; before `start`."""
        self._divided.append(Divided(name=name, carrier=carrier, share=Share()))

    def ring(self) -> None:
        """Look soon."""
        self._rung.set()

    async def start(self) -> None:
        """Have the rows, and do a first round; StoreError."""
        connection = await self._line.opened()
        for one in self._divided:
            async with postgres.deadline(connection, self._deadline_s, f"slots of {one.name}"):
                await membership.make_slots(connection, one.carrier.lane, one.carrier.settings.binds)
        await self.step()

    async def run(self) -> None:
        """Take, give and divide until cancelled."""
        while True:
            next_at = min((one.share.next_at() for one in self._divided), default=math.inf)
            pause_s = min(POLL_S, max(0.0, next_at - self._clock.monotonic()))
            await self._rung.wait(pause_s)
            self._rung.clear()
            try:
                await self.step()
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! slots cannot be read, those that we have stay: %s", error)
                self.last_error = str(error)
                await self.close()
                await asyncio.sleep(RETRY_S)
            finally:
                self._use()

    async def step(self) -> None:
        """Do one round over all carriers."""
        self._use()
        connection = await self._line.opened()
        for one in self._divided:
            async with postgres.deadline(connection, self._deadline_s, f"slots of {one.name}"):
                await self._step(connection, one)
        self._use()

    async def _step(self, connection: postgres.Connection, one: Divided) -> None:
        carrier = one.carrier
        one.slots = await membership.slots(connection, carrier.lane)
        mine = [slot for slot in one.slots if slot.owner == self._us]
        self._keep(one, SETTLED_S)
        within, serving, sole = self._within(one), self._serving(one.name), is_sole(carrier.settings)
        stays = not carrier.is_stopped and self._us in serving
        if stays:
            giving = to_give(within, self._us, serving, sole)
            # One that is drained already is given, even where it could stay by now.
        elif carrier.is_stopped and not carrier.is_any_bound:
            giving = [slot.slot for slot in mine]
        else:
            giving = []
        for place in giving:
            if place not in one.leaving:
                log.info("= %s: gives bind %d to other workers", one.name, place)
                one.leaving[place] = asyncio.create_task(self._leave(one, place), name=f"leave {one.name} {place}")
        left = [slot for slot, task in one.leaving.items() if task.done()]
        takes = bool(to_take(within, self._us, serving, sole)) if stays else False
        divides = shared(one.slots, self._us, self._total(one)) != mine
        if not (left or takes or divides):
            return
        decided: list[Slot] = []
        is_first = all(slot.owner is None and slot.epoch == 0 for slot in one.slots)

        def decide(locked: list[Slot]) -> list[Slot]:
            nonlocal decided, is_first
            is_first = all(slot.owner is None and slot.epoch == 0 for slot in locked)
            after = {slot.slot: slot for slot in locked}
            for place in left:
                if after[place].owner == self._us:
                    after[place] = Slot(slot=place, epoch=after[place].epoch + 1)
            if stays:
                known = [slot for slot in after.values() if slot.slot <= carrier.settings.binds]
                for place in to_take(known, self._us, serving, sole):
                    after[place] = Slot(slot=place, owner=self._us, epoch=after[place].epoch)
            for each in shared(list(after.values()), self._us, self._total(one)):
                after[each.slot] = each
            decided = list(after.values())
            # Before the COMMIT: what is lowered is lowered here first.
            one.share.lower(sum(each.share for each in decided if each.owner == self._us))
            self._apply(one)
            return [each for each, before in zip(decided, locked, strict=True) if each != before]

        if not await membership.change(connection, carrier.lane, self._us, decide):
            return  # fenced: the next beat tells
        for place in left:
            one.leaving.pop(place).result()
        one.slots = decided
        # Slots that nobody ever had: nobody can have sent anything a second ago.
        self._keep(one, 0.0 if is_first else SETTLED_S)

    def _keep(self, one: Divided, settled_s: float) -> None:
        """Act on what is committed as ours: a COMMIT whose answer was lost is found here as well."""
        carrier, ours = one.carrier, [slot for slot in one.slots if slot.owner == self._us]
        total = sum(slot.share for slot in ours)
        now = self._clock.monotonic()
        if total > one.share.promised():
            # Where nobody else has had a bind for so long, nobody else can have sent in the last second.
            is_alone = one.whole_since is not None and now - one.whole_since >= SETTLED_S
            one.share.settle(total, now if is_alone else now + settled_s)
        is_whole = len(ours) == len(one.slots)
        one.whole_since = None if not is_whole else now if one.whole_since is None else one.whole_since
        taken = [slot.slot for slot in ours if slot.slot - 1 not in carrier.places and slot.slot not in one.leaving]
        if taken and not carrier.is_stopped:
            if not carrier.places:
                self._on_gain(one.name)
            for place in taken:
                carrier.take_place(place - 1)

    def _within(self, one: Divided) -> list[Slot]:
        """The slots that our settings know; what is on its way out is not free for us."""
        return [slot for slot in one.slots if slot.slot <= one.carrier.settings.binds]

    def _total(self, one: Divided) -> int:
        """What is divided: the account's tps; without one the right to send, where it is one worker's at a time."""
        settings = one.carrier.settings
        return settings.tps or int(is_sole(settings))

    def _use(self) -> None:
        for one in self._divided:
            self._apply(one)

    def _apply(self, one: Divided) -> None:
        total = self._total(one)
        if total:
            one.carrier.take_share(min(one.share.at(self._clock.monotonic()), total), total)
        else:
            # No limit of any kind: nothing to divide but the binds.
            one.carrier.take_share(1, 1)

    async def _leave(self, one: Divided, slot: int) -> None:
        try:
            await one.carrier.leave_place(slot - 1)
        finally:
            if not one.carrier.places:
                self._on_lose(one.name)
            self._rung.set()

    def report(self, name: str) -> dict[str, object]:
        """How a carrier's account is divided, as far as we know."""
        for one in self._divided:
            if one.name == name:
                return {
                    "held": [slot.slot for slot in one.slots if slot.owner == self._us],
                    "of": one.carrier.settings.binds,
                    "share": one.share.usable if one.carrier.settings.tps else None,
                    "tps": one.carrier.settings.tps,
                    "sole": is_sole(one.carrier.settings),
                }
        return {}

    async def _listen(self, connection: postgres.Connection) -> None:
        async with postgres.deadline(connection, self._deadline_s, "listen to slots"):
            await membership.listen(connection, self._rung.set)

    async def stop(self) -> None:
        """Wait for drains that are under way; the worker stops, and frees its slots with its lease."""
        await asyncio.gather(*(task for one in self._divided for task in one.leaving.values()), return_exceptions=True)

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()
