"""What came of the messages of one person, from their events in any order, written from the rules: slow and obvious.

A message is known by the last three numbers of its events' ids. What names a run is of its latest message before; what
names a campaign, of the campaign's; all else of the latest message at all (store/sql/conversions.sql).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from gateway.campaign.attribution import Touch
from gateway.person import Item, Order, order_key

MESSAGE = ("submitted", "delivered", "failed", "expired")
ANSWER = timedelta(hours=72)


@dataclass
class Sent:
    """A message as it grows."""

    place: tuple[int, int, int]
    campaign: str
    run: int
    submitted_at: datetime
    delivered_at: datetime | None = None
    entered_at: datetime | None = None
    opted_out_at: datetime | None = None
    clicks: list[datetime] = field(default_factory=list)
    replies: list[datetime] = field(default_factory=list)
    codes: list[tuple[str, datetime | None]] = field(default_factory=list)


def sent_of(items: Sequence[Item]) -> list[Sent]:
    """Read the messages of a person, in the order they were sent."""
    by_place: dict[tuple[int, int, int], list[Item]] = {}
    for item in items:
        if item.name in MESSAGE and item.is_ours:
            _, lane, chunk, pos = item.event_id.split(":")
            by_place.setdefault((int(lane), int(chunk), int(pos)), []).append(item)
    found = []
    for place, told in by_place.items():
        at = {name: min((one.occurred_at for one in told if one.name == name), default=None) for name in MESSAGE}
        if at["submitted"] is None and at["delivered"] is None:
            continue
        properties = told[0].properties
        first = at["submitted"] or min(one.occurred_at for one in told)
        found.append(Sent(place, properties["campaign"], properties["run"], first, at["delivered"]))
    found.sort(key=lambda one: (one.submitted_at, one.place))
    for item in sorted(items, key=lambda one: one.occurred_at):
        _add(found, item)
    for one in found:
        entered = [item.occurred_at for item in items
                   if item.name == "workflow_entered" and item.properties.get("campaign") == one.campaign
                   and item.occurred_at <= one.submitted_at]  # fmt: skip
        one.entered_at = max(entered, default=None)
    return found


def _add(found: Sequence[Sent], item: Item) -> None:
    run, campaign = item.properties.get("run"), item.properties.get("campaign")
    if item.name == "opted_out":
        run = campaign = None
    of = [
        one for one in found
        if (run is None or one.run == run) and (run is not None or campaign is None or one.campaign == campaign)
    ]  # fmt: skip
    before = [one for one in of if one.submitted_at <= item.occurred_at]
    if item.name == "coupon_issued" and not before:
        before = of[:1]
    if not before:
        return
    last = before[-1]
    if item.name == "clicked" and item.properties.get("verdict") in (None, "human"):
        last.clicks.append(item.occurred_at)
    elif item.name == "replied" and item.properties.get("wish") not in ("stop", "start", "help"):
        last.replies.append(item.occurred_at)
    elif item.name == "opted_out" and item.occurred_at < last.submitted_at + ANSWER and last.opted_out_at is None:
        last.opted_out_at = item.occurred_at
    elif item.name == "coupon_issued":
        until = item.properties.get("expires_at")
        code = item.properties["code"].upper()
        last.codes.append((code, None if until is None else datetime.fromisoformat(until)))


def touches_of(items: Sequence[Item]) -> list[Touch]:
    """The same as campaign.attribution reads it."""
    return [
        Touch(
            at=at, campaign=one.campaign, case=one.run, submitted_at=one.submitted_at, entered_at=one.entered_at,
            delivered_at=one.delivered_at, clicks=tuple(one.clicks), replies=tuple(one.replies), codes=tuple(one.codes),
        )
        for at, one in enumerate(sent_of(items))
    ]  # fmt: skip


def orders_of(items: Sequence[Item]) -> dict[str, tuple[Order, set[str]]]:
    """The orders of a person, each with the codes that were used on it."""
    found: dict[str, tuple[Order, set[str]]] = {}
    for number, item in enumerate(items):
        if item.name not in ("order_placed", "order_cancelled", "refunded", "coupon_redeemed"):
            continue
        key = order_key(item.properties, item.event_id)
        order, codes = found.setdefault(key, (Order(key=key), set()))
        if item.name in ("order_placed", "coupon_redeemed"):
            codes |= codes_in(item.properties)
        if item.name != "coupon_redeemed":
            order.told(item.name, item.occurred_at, number, item.properties)
    return found


def codes_in(properties: Any) -> set[str]:
    """The codes that an event names."""
    told = [properties.get("code"), properties.get("coupon"), *properties.get("discount_codes", [])]
    named = [one["code"] if isinstance(one, dict) else one for one in told]
    return {one.upper() for one in named if one}
