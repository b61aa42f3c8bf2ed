"""Causes bring people once, those alone whom a campaign is for."""

from datetime import timedelta
from typing import Any

import pytest

from gateway import predicate
from gateway.reasons import Reason
from tests.fixtures.shop import CART, NOW, Shop

ANN, BOB, CAT = 447700900001, 447700900002, 447700900003


async def test_goal_ends_it_and_nobody_without_consent_enters(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.people([BOB], consents_=False)
    await shop.apply(CART)
    for number in (ANN, BOB):
        await shop.tells(number, "cart_updated", {"cart_id": "c", "total": 80})
    await shop.goes_on(timedelta(minutes=10))
    await shop.tells(ANN, "order_placed", {"order_id": "1"})
    await shop.goes_on(timedelta(minutes=30))
    assert await shop.texts() == []
    assert [one[2:] for one in await shop.standing("cart")] == [(1, Reason.GOAL_MET), (2, Reason.NO_CONSENT)]


async def test_cause_told_twice_enters_once(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.apply(CART)
    for _ in range(2):
        await shop.tells(ANN, "cart_updated", {"cart_id": "c", "total": 80}, at=NOW, event_id="same")
    await shop.goes_on(timedelta(hours=1))
    assert len(await shop.texts()) == 1


GREETING = """
name = "greeting"
brand = "acme"
wait = "1h"
message = {text = "Hi"}
[trigger]
on = "event"
event = "seen"
[[goals]]
"""


@pytest.mark.parametrize(
    ("goal", "name", "properties", "is_met"),
    [
        ('event = "order_placed"\nwhere = "total > 5"', "order_placed", {"order_id": "1", "total": 9}, True),
        ('event = "order_placed"\nwhere = "total > 5"', "order_placed", {"order_id": "1", "total": 2}, False),
        ('event = "order_placed"\nexits = false', "order_placed", {"order_id": "1", "total": 9}, False),
        ('event = "page"\nurl = "https://x.example/thanks"', "page", {"url": "https://x.example/thanks?n=1"}, True),
        ('url = "https://x.example/t*"', "page_viewed", {"url": "https://x.example/thanks/"}, True),
        ('url = "https://x.example/t*"', "page", {"url": "https://x.example/other"}, False),
        ("reply = true", "replied", {"campaign": "greeting"}, True),
        ("reply = true", "replied", {"campaign": "greeting", "wish": "help"}, False),
        ("reply = true", "replied", {"campaign": "another"}, False),
        ("redeemed = true", "coupon_redeemed", {"campaign": "greeting", "code": "A"}, True),
        ('reply = true\n[[goals]]\nevent = "order_placed"', "order_placed", {"order_id": "1"}, False),
    ],
)
async def test_who_met_the_primary_goal_leaves_and_who_met_it_before_entry_gets_nothing_GL_1_GL_7(
    shop: Shop, goal: str, name: str, properties: dict[str, Any], is_met: bool
) -> None:
    """Ann met it before the cause was looked at, Bob while he waits; Cat before the cause, which counts for nothing."""
    await shop.people([ANN, BOB, CAT])
    await shop.apply(GREETING + goal)
    await shop.tells(CAT, name, properties, at=NOW - timedelta(minutes=1))
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "seen", at=NOW)
    await shop.tells(ANN, name, properties, at=NOW + timedelta(seconds=1))
    await shop.goes_on(timedelta(minutes=10))
    await shop.tells(BOB, name, properties)
    await shop.goes_on(timedelta(minutes=1))
    met = {one[0]: one[3] for one in await shop.standing("greeting") if one[2] == 1}
    assert met == (dict.fromkeys((ANN, BOB), Reason.GOAL_MET) if is_met else {})
    await shop.goes_on(timedelta(hours=1))
    assert {number for number, _ in await shop.texts()} == ({CAT} if is_met else {ANN, BOB, CAT})


@pytest.mark.parametrize(("goal", "is_in"), [('joined = "vip"', True), ('left = "vip"', False)])
async def test_goal_of_an_audience_is_met_by_who_is_in_it_or_has_left_it_GL_7(
    shop: Shop, goal: str, is_in: bool
) -> None:
    """It is watched from the launch on; who joined it before the cause is not written to, who left it again is."""
    await shop.people([ANN, BOB, CAT])
    vip = await shop.connection.fetchval(
        "INSERT INTO audience (name, text, tree, zone, created_at, updated_at) "
        "VALUES ('vip', 'everyone', $2, 'UTC', $1, $1) RETURNING id", NOW, predicate.encode(predicate.Everyone()),
    )  # fmt: skip
    await shop.apply(GREETING + goal)
    assert await shop.connection.fetchval("SELECT watch IS NOT NULL OR is_watched FROM audience WHERE id = $1", vip)
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "seen")
    await shop.goes_on(timedelta(minutes=1))
    for number, turns in ((ANN, (is_in,)), (BOB, (is_in, not is_in))):
        for seq, turn in enumerate(turns, 1):
            await shop.connection.execute(
                "INSERT INTO audience_change (bucket, seq, audience, profile, at, version, is_in, by_edit) "
                "SELECT bucket, $2, $3, id, $4, 1, $5, false FROM profile WHERE number = $1",
                number, seq, vip, NOW, turn,
            )  # fmt: skip
    await shop.goes_on(timedelta(hours=1))
    assert {number for number, _ in await shop.texts()} == {BOB, CAT}
    assert (await shop.standing("greeting"))[0][3] == Reason.GOAL_MET
