"""What steps of campaigns do outside of the bucket that somebody stands in, one person after the other.

Each is named by enrolment and visit, so that once more changes nothing: a crash repeats a step, but no effect (WF-2).
What comes to nothing says so by a reason, and the step goes its other way.
Not here: texts and their codes (composing.py), other systems being called (calling.py), when (stepping.py).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from _fastpath.eventrows import microseconds
from gateway.automation import staffing
from gateway.automation.composing import HELD, told_of_code
from gateway.campaign.consent import states_at
from gateway.campaign.workflow import Plan
from gateway.config import Settings
from gateway.consent import Fact
from gateway.document import (
    CreateConversation,
    EnterWorkflow,
    IssueCoupon,
    ListAdd,
    ListRemove,
    SetAttribute,
    Step,
    Subscribe,
    Unsubscribe,
    Webhook,
)
from gateway.person import COUPON_ISSUED, OUR_SOURCE, Item, Who
from gateway.predicate import CAMPAIGN_PROPERTY
from gateway.reasons import Reason
from gateway.store import calls, causes, consents, coupons, enrolments, lists, people, profiles, stops
from gateway.store.enrolments import Enrolment
from gateway.store.postgres import Connection

LaneOf = Callable[[int], int]
"""Which lane writes to a number, 0: none does."""


class Need(Struct, frozen=True):
    """Somebody whose step has something to be done outside of the bucket, at a visit."""

    plan: Plan
    place: int
    enrolment: Enrolment
    visits: int

    @property
    def step(self) -> Step:
        """What is to be done."""
        return self.plan.steps[self.place].step

    @property
    def key(self) -> str:
        """What names it."""
        return f"{self.enrolment.id}:{self.visits}"


class Effects:
    """What does them."""

    def __init__(self, settings: Settings, chance: Random, kinds: profiles.Kinds):
        self._settings = settings
        self._chance = chance
        self._kinds = kinds

    async def do(self, connection: Connection, bucket: int, need: Need, lane_of: LaneOf, now: datetime) -> int:
        """Do what a step does outside of the bucket; -> 0, the reason why it came to nothing, or HELD: not yet."""
        one, step = need.enrolment, need.step
        match step:
            case EnterWorkflow(workflow=name):
                await self._call(connection, bucket, name, need, now)
                return 0
            case Webhook(url=url):
                await calls.ask(connection, (one.id, need.visits), bucket, url, step.name or f"{need.place}", now)
                return 0
        if one.number is None:
            return int(Reason.NO_NUMBER)
        name = need.plan.document.name
        match step:
            case SetAttribute(attribute=attribute, value=value):
                await self._tell(connection, need, one.number, "attributes_set", now, attributes={attribute: value})
            case ListAdd(list=of) | ListRemove(list=of):
                found = await people.find_list(connection, of)
                if found is None:
                    return int(Reason.MISSED)
                change = lists.add if isinstance(step, ListAdd) else lists.remove
                await change(connection, found.id, [one.number], f"campaign {name}", now, self._chance)
            case Unsubscribe(source=source):
                await stops.enter(
                    connection, [one.number], [stops.EVERYTHING], is_stop=True, at=now, source=source,
                    note=f"campaign {name}",
                )  # fmt: skip
            case Subscribe():
                await self._subscribe(connection, need, one.number, step, now)
            case IssueCoupon(pool=of):
                return await self._issue(connection, bucket, need, one.number, of, now)
            case CreateConversation(note=note):
                inbox = staffing.inbox_of_brand(self._settings, need.plan.document.brand)
                if inbox is None:
                    return int(Reason.MISSED)
                senders = self._settings.inboxes[inbox].senders
                await staffing.open_by_step(
                    connection, self._settings, inbox, one.number, key=f"step:{need.key}", note=note, campaign=name,
                    sender=senders[0] if senders else "", lane=lane_of(one.number), now=now, chance=self._chance,
                )  # fmt: skip
        return 0

    async def _tell(
        self, connection: Connection, need: Need, number: int, name: str, now: datetime, *,
        attributes: Mapping[str, Any] | None = None, properties: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Say something of a person, by the number that they go by."""
        item = Item(
            who=Who(phone=number), source=OUR_SOURCE, event_id=f"step:{need.key}", name=name, occurred_at=now,
            attributes=attributes or {}, properties=properties or {}, is_ours=True,
        )  # fmt: skip
        await profiles.ingest(connection, [item], now, self._chance, self._kinds)

    async def _issue(
        self, connection: Connection, bucket: int, need: Need, number: int, name: str, now: datetime
    ) -> int:
        """Give a person a code that all texts behind may name: issued with the step, whichever of them is sent."""
        pool = await coupons.find(connection, name)
        if pool is None:
            return int(Reason.COUPON_EMPTY)
        (code,) = await coupons.reserve(connection, pool, [(need.key, number)], now)
        if code is None:
            return HELD
        async with connection.transaction():
            coupon = told_of_code(code, pool, now)
            await enrolments.say(connection, bucket, {need.enrolment.id: {"coupon": coupon}})
        ends_at = await coupons.issue_now(connection, pool, need.key, now)
        told: dict[str, Any] = {"pool": name, "code": code.code, CAMPAIGN_PROPERTY: need.plan.document.name}
        if ends_at is not None:
            told["expires_at"] = f"{ends_at:%Y-%m-%dT%H:%M:%SZ}"
        await self._tell(connection, need, number, COUPON_ISSUED, now, properties=told)
        return 0

    async def _subscribe(
        self, connection: Connection, need: Need, number: int, step: Subscribe, now: datetime
    ) -> None:  # fmt: skip
        """Write down a consent with its proof: which question was answered, as it was asked (CN-2)."""
        document = need.plan.document
        asked = next(at.step for at in need.plan.steps if getattr(at.step, "name", "") == step.answer)
        fact = Fact(
            number=number, brand=f"{document.brand}/{document.programme}" if document.programme else document.brand,
            class_=step.consent, action="grant", source="keyword", recorded_at=now, effective_at=now,
            method=f"answer to {step.answer} of campaign {document.name}, step {need.key}",
            wording=getattr(asked, "text", ""),
        )  # fmt: skip

        def is_new(rows: Sequence[Fact], wanted: Fact) -> bool:
            return all(row.method != wanted.method for row in rows)

        await consents.append_where(connection, [fact], is_new, lambda facts: states_at(facts, now))

    async def _call(self, connection: Connection, bucket: int, name: str, need: Need, now: datetime) -> None:
        """Have a person enter another workflow: named by the step, so that a crash calls once (TR-3)."""
        one = need.enrolment
        told = causes.Telling(
            bucket, 0, one.profile, one.anchor_id, microseconds(now), name, f"call:{need.key}",
            msgspec.json.encode(one.context).decode(),
        )  # fmt: skip
        async with connection.transaction():
            await causes.tell(connection, "call", [told], now)
