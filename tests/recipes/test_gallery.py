"""Every recipe runs: right people get right texts at right local times, nobody else does, and what it is for is met."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import pytest
from msgspec import Struct

from gateway import recipe
from gateway.automation import launching
from gateway.product import Product
from gateway.store import lists, people, products
from tests.fixtures.gallery import NOW, Event, Stage

Got = tuple[str, str, str]
"""When, by the clock of who gets it; who; what stands in the text."""


class Case(Struct, kw_only=True):
    """What happens to whom, and what comes of it.

    people   by name: attributes, as they are when it begins
    ends     how each stands in the campaign of the recipe at the end
    """

    recipe: str
    people: Mapping[str, Mapping[str, Any]]
    script: Sequence[Event]
    until: str
    got: Sequence[Got]
    ends: Mapping[str, Sequence[str]] = {}
    inputs: Mapping[str, str] = {}
    audiences: Mapping[str, str] = {}
    daily: Sequence[str] = ()
    hourly: bool = False
    jobs: Sequence[str] = ()
    feed: Sequence[Product] = ()


def order(when: str, who: str, number: int = 1, items: Sequence[str] = (), **more: Any) -> Event:
    lines = [{"product_id": one, "quantity": 1} for one in items]
    told = {"order_id": f"{who}-{number}", "total": 60, "currency": "EUR"} | more
    return when, who, "order_placed", told | ({"items": lines} if lines else {})


def tells(when: str, who: str, name: str, /, **properties: Any) -> Event:
    return when, who, name, properties


def stop(when: str) -> Event:
    return when, "", "", {}


ANY: Mapping[str, Any] = {}
# British law asks for the clock of a British number, too: mornings of New York and evenings of Athens are in its day.
NEW_YORK, ATHENS = {"zone": "America/New_York"}, {"zone": "Europe/Athens"}
FEED = (
    Product(
        id="shoes", name="Trail shoes", category="shoes", price=8000, currency="EUR", related=("socks",),
        new_since=NOW.replace(day=1), supply_days=10,
    ),
    Product(id="socks", name="Wool socks", category="socks", price=1500, currency="EUR"),
    Product(id="gloves", name="Red gloves", category="hats", new_since=NOW.replace(month=4)),
    Product(id="boots", name="Mountain boots", category="shoes", price=16000, currency="EUR"),
)  # fmt: skip

CASES = [
    # -- win-back ------------------------------------------------------------------------------------------------------
    Case(
        recipe="winback_30",
        people={"ann": ANY, "bob": ANY, "cat": {"consents": False}, "dan": ANY},
        script=[order("03-02 13:00", one) for one in ("ann", "bob", "cat")] + [order("03-20 12:00", "bob", 2)],
        until="04-15 12:00",
        daily=("10:00",),
        got=[("04-02 10:00", "ann", "Free shipping for 48 hours, code SHIP")],
        ends={"ann": ["through"], "cat": ["no_consent"]},
    ),
    Case(
        recipe="winback_60",
        people={"ann": ANY, "bob": ANY, "cat": ANY},
        feed=FEED,
        script=[order("03-02 13:00", one, items=["boots"]) for one in ("ann", "bob", "cat")]
        + [tells("04-05 12:00", "bob", "coupon_redeemed", pool="winback-30"), order("04-20 12:00", "cat", 2)],
        until="05-15 12:00",
        daily=("10:00",),
        got=[("05-02 10:00", "ann", "new for you: Red gloves. 15 % off everything for 72 hours, code MISS")],
        ends={"ann": ["through"]},
    ),
    Case(
        recipe="winback_60_fixed",
        people={"ann": ANY, "bob": ANY},
        script=[order("03-02 13:00", one) for one in ("ann", "bob")]
        + [tells("04-05 12:00", "bob", "coupon_redeemed", pool="winback-30")],
        until="05-15 12:00",
        daily=("10:00",),
        got=[("05-02 10:00", "ann", "10 off when you spend 50, for 72 hours, code TEN")],
    ),
    Case(
        recipe="winback_upsell",
        people={"ann": ANY, "bob": ANY},
        feed=FEED,
        script=[
            tells("03-02 13:00", "ann", "delivered", campaign="winback-30"),
            order("03-03 13:00", "ann", items=["shoes"]),
            order("03-03 13:00", "bob", items=["shoes"]),
        ],
        until="03-20 12:00",
        got=[("03-10 17:00", "ann", "like Wool socks, too")],
        ends={"ann": ["through"], "bob": ["segment_left"]},
    ),
    # -- visitors ------------------------------------------------------------------------------------------------------
    Case(
        recipe="first_visit",
        people={"ann": ANY, "bob": ANY, "cat": ANY, "dan": ATHENS},
        script=[
            tells("03-02 13:00", "ann", "page_view", url="https://shop.example/a"),
            tells("03-02 20:30", "bob", "page_view", url="https://shop.example/a"),
            tells("03-02 13:00", "cat", "page_view", url="https://shop.example/a"),
            tells("03-04 12:00", "cat", "page_view", url="https://shop.example/b"),
            tells("03-02 13:00", "dan", "page_view", url="https://shop.example/a"),
        ],
        until="03-10 12:00",
        # 50 hours later is 15:00, 17:00 by Dan's clock; at 22:30 it is too late, and the morning is soon enough.
        got=[
            ("03-04 17:00", "dan", "What you looked at is here"),
            ("03-04 15:00", "ann", "What you looked at is here"),
            ("03-05 10:00+", "bob", "What you looked at is here"),
        ],
        ends={"ann": ["through"]},
    ),
    Case(
        recipe="after_signup",
        people={"ann": ANY, "bob": ANY, "cat": ANY, "dan": ANY},
        script=[
            tells("03-02 21:00", one, "page_view", url="https://shop.example/welcome?n=1")
            for one in ("ann", "bob", "cat")
        ]
        + [
            order("03-04 12:00", "bob"),
            tells("03-05 12:00", "cat", "page_view", url="https://shop.example/order/complete"),
            tells("03-02 21:00", "dan", "page_view", url="https://shop.example/other"),
        ],
        until="03-15 12:00",
        got=[("03-10 10:00+", "ann", "a week with us!")],
        ends={"ann": ["through"], "bob": ["exception"], "cat": ["goal_met"]},
    ),
    Case(
        recipe="from_one_ad",
        people={"ann": ANY, "bob": ANY, "cat": ANY},
        script=[
            tells("03-02 13:00", "ann", "page_view", url="https://shop.example/a", utm_term="running shoes"),
            tells("03-02 13:00", "bob", "page_view", url="https://shop.example/a", utm_term="hats"),
            tells("03-02 13:00", "cat", "page_view", url="https://shop.example/a", utm_term="running shoes"),
            tells("03-03 12:00", "cat", "page_view", url="https://shop.example/b"),
        ],
        until="03-04 12:30",
        # Cat came back, and then not for a day.
        got=[("03-03 13:00", "ann", "what you were looking for"), ("03-04 12:00", "cat", "what you were looking for")],
        ends={"ann": ["through"], "bob": ["segment_left"]},
    ),
    # -- the journey ---------------------------------------------------------------------------------------------------
    Case(
        recipe="welcome",
        people={"ann": {"first_name": "Ann"}, "bob": ANY},
        script=[tells("03-02 13:00", "ann", "signed_up"), tells("03-04 13:00", "ann", "signed_up")],
        until="03-05 12:00",
        got=[("03-02 13:00", "ann", "welcome, Ann!")],
        ends={"ann": ["through", "duplicate_endpoint"]},
    ),
    Case(
        recipe="browse_abandoned",
        people={"ann": ANY, "bob": ANY},
        script=[tells("03-02 13:00", one, "product_viewed", name="Trail shoes") for one in ("ann", "bob")]
        + [tells("03-02 14:00", "bob", "cart_updated", cart_id="b", total=80)],
        until="03-04 12:00",
        got=[("03-02 17:00", "ann", "Trail shoes is still to be had")],
        ends={"ann": ["through"], "bob": ["exception"]},
    ),
    Case(
        recipe="cart_abandoned",
        people={"ann": ANY, "bob": ANY, "cat": ANY, "dan": ANY},
        jobs=("sessions",),
        script=[
            tells("03-02 13:00", "ann", "cart_updated", cart_id="a", total=50),
            tells("03-02 13:10", "ann", "cart_updated", cart_id="a", total=80),
            tells("03-02 13:00", "bob", "cart_updated", cart_id="b", total=80),
            order("03-02 13:50", "bob"),
            tells("03-02 13:00", "cat", "cart_updated", cart_id="c", total=5),
            tells("03-02 13:00", "dan", "cart_updated", cart_id="d", total=80),
            tells("03-02 13:05", "dan", "cart_emptied", cart_id="d"),
            stop("03-02 13:30"),
            stop("03-02 13:35"),
            stop("03-02 13:40"),
        ],
        until="03-04 12:00",
        got=[("03-02 14:10", "ann", "your cart waits for you")],
        ends={"ann": ["campaign_ended", "through"], "bob": ["goal_met"], "dan": ["exception"]},
    ),
    Case(
        recipe="order_confirmed",
        people={"ann": ATHENS, "bob": {"consents": False}},
        script=[order("03-02 23:30", one, receipt_url="https://shop.example/r/1") for one in ("ann", "bob")],
        until="03-03 23:00",
        got=[("03-03 01:30", "ann", "Order ann-1, 60 EUR, is confirmed. Receipt: https://shop.example/r/1")],
        ends={"ann": ["through"], "bob": ["no_consent"]},
    ),
    # -- shop ----------------------------------------------------------------------------------------------------------
    Case(
        recipe="replenishment",
        people={"ann": ANY, "bob": ANY},
        feed=FEED,
        jobs=("shop",),
        script=[order("03-02 13:00", one, items=["shoes"]) for one in ("ann", "bob")]
        + [order("03-10 13:00", "bob", 2, items=["shoes"]), stop("03-12 14:00")],
        until="03-13 12:00",
        got=[("03-12 14:00", "ann", "Trail shoes may be running out")],
        ends={"ann": ["through"]},
    ),
    Case(
        recipe="new_product",
        people={"ann": ANY, "bob": NEW_YORK, "cat": {"consents": False}},
        feed=FEED,
        script=[order("03-02 13:00", "ann", items=["shoes"])],
        until="03-06 12:00",
        daily=("11:00",),
        got=[("03-05 11:00", "bob", "new this week: Trail shoes")],
        ends={"ann": ["through"], "bob": ["through"], "cat": ["no_consent"]},
    ),
    Case(
        recipe="recommendation",
        people={"ann": ANY, "bob": ANY},
        feed=FEED,
        script=[order("03-02 13:00", one, items=["shoes"]) for one in ("ann", "bob")]
        + [order("03-10 13:00", "bob", 2)],
        until="03-20 12:00",
        got=[("03-16 11:00", "ann", "you will like Wool socks")],
        ends={"ann": ["through"], "bob": ["goal_met", "duplicate_endpoint"]},
    ),
    Case(
        recipe="cross_sell",
        people={"ann": ANY, "bob": ANY},
        feed=FEED,
        script=[order("03-02 21:00", one, items=["shoes"]) for one in ("ann", "bob")]
        + [tells("03-04 13:00", "bob", "refunded", order_id="bob-1", amount=60, currency="EUR")],
        until="03-10 12:00",
        got=[("03-06 10:00+", "ann", "Wool socks goes with what you bought")],
        ends={"ann": ["through"], "bob": ["exception"]},
    ),
    Case(
        recipe="up_sell",
        people={"ann": ANY, "bob": ANY},
        feed=FEED,
        script=[order("03-02 13:00", "ann", items=["shoes"]), order("03-02 13:00", "bob", items=["boots"])],
        # The boots are the dearest of their kind.
        until="04-10 12:00",
        got=[("04-02 11:00", "ann", "time for more? Mountain boots")],
        ends={"ann": ["through"]},
    ),
    Case(
        recipe="limited_offer",
        people={"ann": ANY, "bob": {"consents": False}},
        inputs={"when": "2026-03-05T09:00", "until": "2026-03-08T22:59:59Z"},
        script=[stop("03-05 09:00")],
        until="03-06 12:00",
        got=[("03-05 09:00", "ann", "until Sunday, code NOW20")],
        ends={"ann": ["through"], "bob": ["no_consent"]},
    ),
    Case(
        recipe="news",
        people={"ann": ANY, "bob": ATHENS, "cat": {"consents": False}},
        script=[],
        until="03-06 12:00",
        daily=("18:00",),
        got=[("03-05 18:00", "ann", "opens on Saturday"), ("03-05 18:00", "bob", "opens on Saturday")],
        ends={"cat": ["no_consent"]},
    ),
    # -- loyalty -------------------------------------------------------------------------------------------------------
    Case(
        recipe="vip_level",
        people={"ann": {"tier": "silver", "first_name": "Ann"}, "bob": {"tier": "gold"}},
        audiences={"vip-gold": "tier = 'gold'"},
        jobs=("ageing",),
        script=[
            stop("03-02 12:30"),
            ("03-02 13:00", "ann", "attributes", {"tier": "gold"}),
            ("03-03 13:00", "ann", "attributes", {"tier": "silver"}),
            ("03-04 13:00", "ann", "attributes", {"tier": "gold"}),
        ],
        # Bob was gold before.
        until="03-05 12:00",
        got=[("03-02 13:00", "ann", "welcome to Gold, Ann!")],
    ),
    Case(
        recipe="exclusive_offer",
        people={"ann": {"tier": "gold"}, "bob": {"tier": "silver"}},
        audiences={"vip-gold": "tier = 'gold'"},
        script=[],
        until="03-06 12:00",
        daily=("18:00",),
        got=[("03-05 18:00", "ann", "with your own code VIP")],
        ends={"ann": ["through"]},
    ),
    Case(
        recipe="birthday",
        people={
            "ann": {"birthday": "1990-03-04", "first_name": "Ann"},
            "bob": {"birthday": "1990-03-04", **NEW_YORK},
            "cat": {"birthday": "1990-04-04"},
        },
        script=[],
        until="03-05 12:00",
        hourly=True,
        got=[
            ("03-04 09:00", "ann", "happy birthday, Ann! 10 off for 14 days: BDAY"),
            ("03-04 09:00", "bob", "happy birthday, you!"),
        ],
        ends={"ann": ["through"], "bob": ["through"]},
    ),
    Case(
        recipe="points_reminder",
        people={"ann": {"points": 250}, "bob": {"points": 20}, "cat": {"points": 100, **NEW_YORK}},
        script=[],
        until="04-02 12:00",
        daily=("11:00",),
        got=[("04-01 11:00", "ann", "you have 250 points"), ("04-01 11:00", "cat", "you have 100 points")],
        ends={"ann": ["through"], "cat": ["through"]},
    ),
    # -- transactional -------------------------------------------------------------------------------------------------
    Case(
        recipe="shipped",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[
            tells(
                "03-02 13:00",
                "ann",
                "shipment_updated",
                order_id="7",
                status="shipped",
                tracking_url="https://t.example/7",
            )
        ],
        got=[("03-02 13:00", "ann", "order 7 is on its way. Follow it: https://t.example/7")],
    ),
    Case(
        recipe="delayed",
        people={"ann": ANY},
        until="03-05 12:00",
        script=[
            tells("03-02 13:00", "ann", "shipment_updated", order_id="7", status="shipped"),
            tells("03-02 14:00", "ann", "shipment_updated", order_id="7", status="delayed", eta="2026-03-06"),
            tells("03-04 14:00", "ann", "shipment_updated", order_id="7", status="delayed", eta="2026-03-09"),
        ],
        got=[("03-02 14:00", "ann", "It comes on 06 Mar"), ("03-04 14:00", "ann", "It comes on 09 Mar")],
    ),
    Case(
        recipe="delivered",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[tells("03-02 13:00", "ann", "shipment_updated", order_id="7", status="delivered")],
        got=[("03-02 13:00", "ann", "order 7 has arrived")],
    ),
    Case(
        recipe="payment_received",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[tells("03-02 13:00", "ann", "payment_received", order_id="7", amount=60, currency="EUR")],
        got=[("03-02 13:00", "ann", "we have received 60 EUR for 7")],
    ),
    Case(
        recipe="payment_failed",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[tells("03-02 13:00", "ann", "payment_failed", order_id="7", pay_url="https://shop.example/pay/7")],
        got=[("03-02 13:00", "ann", "did not go through. Pay here: https://shop.example/pay/7")],
    ),
    Case(
        recipe="appointment_booked",
        people={"ann": ANY, "bob": ATHENS},
        until="03-03 12:00",
        script=[
            tells("03-02 13:00", one, "appointment_booked", appointment_id="1", at="2026-03-09T15:00:00Z")
            for one in ("ann", "bob")
        ],
        got=[("03-02 13:00", "ann", "Mon 09 Mar, 15:00"), ("03-02 15:00", "bob", "Mon 09 Mar, 17:00")],
    ),
    Case(
        recipe="appointment_reminder",
        hourly=True,
        until="03-06 12:00",
        people={
            "ann": {"appointment": "2026-03-04T15:00:00Z"},
            "bob": {"appointment": "2026-03-04T15:00:00Z"},
            "cat": {"appointment": "2026-03-04T15:00:00Z"},
        },
        script=[
            ("03-03 09:00", "bob", "attributes", {"appointment": "2026-03-05T16:00:00Z"}),
            tells("03-04 09:00", "cat", "appointment_cancelled"),
        ],
        got=[
            ("03-03 15:00", "ann", "tomorrow, 15:00"),
            ("03-03 15:00", "cat", "tomorrow, 15:00"),
            ("03-04 13:00", "ann", "see you at 15:00"),
            ("03-04 16:00", "bob", "tomorrow, 16:00"),
            ("03-05 14:00", "bob", "see you at 16:00"),
        ],
        ends={"ann": ["through"], "cat": ["exception"]},
    ),
    Case(
        recipe="renewal",
        hourly=True,
        until="03-06 12:00",
        people={"ann": {"renews_on": "2026-03-10"}, "bob": {"renews_on": "2026-05-10"}},
        script=[],
        got=[("03-03 10:00", "ann", "is renewed on 10 March")],
        ends={"ann": ["through"]},
    ),
    Case(
        recipe="back_in_stock",
        people={"ann": ANY, "bob": ANY},
        jobs=("shop",),
        until="03-06 12:00",
        feed=[Product(id="cap", name="Red cap", stock=0)],
        script=[
            tells("03-02 13:00", "ann", "stock_alert_requested", product_id="cap"),
            tells("03-03 13:00", "ann", "stock_alert_requested", product_id="cap"),
            ("03-04 09:00", "", "restock", {"product": "cap"}),
            stop("03-04 10:00"),
        ],
        got=[("03-04 09:00", "ann", "Red cap is back in stock")],
        ends={"ann": ["through"]},
    ),
    Case(
        recipe="login_code",
        people={"ann": {"consents": False}, "bob": ANY},
        until="03-03 12:00",
        script=[
            tells("03-02 23:00", "ann", "login_code_requested", code="482913"),
            tells("03-02 23:01", "ann", "login_code_requested", code="117204"),
        ],
        got=[("03-02 23:00", "ann", "482913 is your code"), ("03-02 23:01", "ann", "117204 is your code")],
    ),
    Case(
        recipe="account_activity",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[tells("03-02 13:00", "ann", "account_activity", what="A new device", at="2026-03-02T13:00:00Z")],
        got=[("03-02 13:00", "ann", "A new device in your account at 13:00")],
    ),
    # -- conversation, engagement --------------------------------------------------------------------------------------
    Case(
        recipe="review",
        people={"ann": ANY, "bob": ANY, "cat": ANY, "dan": ANY},
        until="03-20 12:00",
        script=[
            tells("03-02 13:00", one, "shipment_updated", order_id=one, status="delivered")
            for one in ("ann", "bob", "cat", "dan")
        ]
        + [
            tells("03-05 13:00", "dan", "refunded", order_id="dan", amount=60, currency="EUR"),
            tells("03-09 19:00", "ann", "answered", question="rating", value=5, attribute="rating"),
            tells("03-09 20:00", "bob", "answered", question="rating", value=2, attribute="rating"),
        ],
        got=[
            *[("03-09 18:00", one, "from 1 (bad) to 5 (great)?") for one in ("ann", "bob", "cat")],
            ("03-09 19:00", "ann", "Would you tell others, too?"),
            ("03-09 20:00", "bob", "What went wrong?"),
        ],
        ends={"ann": ["through"], "bob": ["through"], "cat": ["through"], "dan": ["exception"]},
    ),
    Case(
        recipe="quiz",
        people={"ann": {"consents": False}, "bob": {"consents": False}},
        until="03-03 12:00",
        script=[
            tells("03-02 13:00", "ann", "keyword", word="quiz"),
            tells("03-02 13:00", "bob", "keyword", word="quiz"),
            tells("03-02 13:02", "ann", "answered", question="first", value="b", attribute="quiz_first"),
            tells("03-02 13:03", "bob", "answered", question="first", value="a", attribute="quiz_first"),
            tells("03-02 13:04", "ann", "answered", question="second", value="a", attribute="quiz_second"),
            tells("03-02 13:05", "bob", "answered", question="second", value="a", attribute="quiz_second"),
        ],
        got=[
            ("03-02 13:00", "ann", "1 of 2"),
            ("03-02 13:00", "bob", "1 of 2"),
            ("03-02 13:02", "ann", "2 of 2"),
            ("03-02 13:03", "bob", "2 of 2"),
            ("03-02 13:04", "ann", "all right!"),
            ("03-02 13:05", "bob", "not quite"),
        ],
        ends={"ann": ["through"], "bob": ["through"]},
    ),
    Case(
        recipe="tips",
        people={"ann": ANY, "bob": NEW_YORK, "cat": ANY},
        until="03-20 18:00",
        script=[order("03-02 13:00", one) for one in ("ann", "bob", "cat")] + [order("03-05 13:00", "cat", 2)],
        got=[
            ("03-04 10:00", "ann", "tip 1"),
            ("03-04 10:00", "bob", "tip 1"),
            ("03-04 10:00", "cat", "tip 1"),
            ("03-07 10:00", "ann", "tip 2"),
            ("03-07 10:00", "bob", "tip 2"),
            ("03-14 11:00", "ann", "tip 3"),
            ("03-14 11:00", "bob", "tip 3"),
        ],
        ends={"ann": ["through"], "bob": ["through"], "cat": ["goal_met", "duplicate_endpoint"]},
    ),
    Case(
        recipe="guides",
        people={"ann": ANY, "bob": {"consents": False}},
        script=[],
        until="03-19 12:00",
        daily=("18:00",),
        got=[
            ("03-04 18:00", "ann", "a new episode of our podcast"),
            ("03-15 18:00", "ann", "a new episode of our podcast"),
        ],
    ),
    Case(
        recipe="follow_us",
        people={"ann": ANY},
        script=[order("03-02 13:00", "ann")],
        until="04-03 12:00",
        got=[("04-01 18:00", "ann", "follow us on Instagram")],
        ends={"ann": ["through"]},
    ),
    # -- business ------------------------------------------------------------------------------------------------------
    Case(
        recipe="onboarding",
        people={"ann": ANY, "bob": ANY, "cat": ANY},
        until="03-12 12:00",
        script=[tells("03-02 20:00", one, "signed_up") for one in ("ann", "bob", "cat")]
        + [tells("03-03 12:00", "bob", "project_created"), tells("03-05 12:00", "cat", "project_created")],
        # Three days after a Wednesday is a Saturday.
        got=[
            ("03-04 10:00", "ann", "Begin in five minutes"),
            ("03-04 10:00", "cat", "Begin in five minutes"),
            ("03-09 10:00", "ann", "stuck?"),
        ],
        ends={"ann": ["through"], "bob": ["goal_met"], "cat": ["goal_met"]},
    ),
    Case(
        recipe="retarget_trial",
        people={"ann": ANY, "bob": ANY},
        until="03-08 12:00",
        script=[
            tells("03-02 13:00", one, "page_view", url="https://shop.example/pricing?x=1") for one in ("ann", "bob")
        ]
        + [tells("03-02 18:00", "bob", "demo_requested")],
        got=[("03-03 13:00", "ann", "questions about the prices?")],
        ends={"ann": ["through"], "bob": ["goal_met"]},
    ),
    Case(
        recipe="subscriber_lapsed",
        people={"ann": ANY, "bob": ANY},
        until="03-20 12:00",
        script=[
            tells("03-02 13:00", "ann", "used"),
            tells("03-02 13:00", "bob", "used"),
            tells("03-10 13:00", "bob", "used"),
        ],
        got=[("03-16 13:00", "ann", "two weeks without you")],
        ends={"ann": ["through"]},
    ),
    # -- sector packs --------------------------------------------------------------------------------------------------
    Case(
        recipe="food_order",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[tells("03-02 20:00", "ann", "food_order_placed", order_id="9", minutes=25)],
        got=[("03-02 20:00", "ann", "ready in about 25 minutes")],
    ),
    Case(
        recipe="food_delivery",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[tells("03-02 20:00", "ann", "food_order_sent", order_id="9")],
        got=[("03-02 20:00", "ann", "order 9 is on its way")],
    ),
    Case(
        recipe="food_tastes",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[
            tells("03-02 13:00", "ann", "keyword", word="taste"),
            tells("03-02 13:02", "ann", "answered", question="taste", value="pasta", attribute="taste"),
            tells("03-02 13:04", "ann", "answered", question="diet", value="vegan", attribute="diet"),
        ],
        got=[
            ("03-02 13:00", "ann", "what do you like best?"),
            ("03-02 13:02", "ann", "something you do not eat?"),
            ("03-02 13:04", "ann", "we will remember it"),
        ],
    ),
    Case(
        recipe="booking_reminder",
        people={"ann": {"arrival": "2026-03-06"}, "bob": {"arrival": "2026-03-20"}},
        script=[],
        hourly=True,
        until="03-05 12:00",
        got=[("03-03 10:00", "ann", "we expect you on Fri 06 Mar")],
        ends={"ann": ["through"]},
    ),
    Case(
        recipe="booking_changed",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[
            tells("03-02 13:00", "ann", "booking_changed", **{"booking_id": "B1", "from": "6 March", "to": "8 March"})
        ],
        got=[("03-02 13:00", "ann", "booking B1 is changed: 6 March to 8 March")],
    ),
    Case(
        recipe="booking_cancelled",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[tells("03-02 13:00", "ann", "booking_cancelled", booking_id="B1")],
        got=[("03-02 13:00", "ann", "booking B1 is cancelled")],
    ),
    Case(
        recipe="check_out",
        people={"ann": {"departure": "2026-03-04"}, "bob": {"departure": "2026-03-04", **ATHENS}},
        script=[],
        hourly=True,
        until="03-05 12:00",
        got=[
            ("03-03 18:00", "ann", "check-out is until 11:00 tomorrow"),
            ("03-03 18:00", "bob", "check-out is until 11:00 tomorrow"),
        ],
    ),
    Case(
        recipe="local_tips",
        people={"ann": {"arrival": "2026-03-03"}, "bob": {"arrival": "2026-03-03"}},
        hourly=True,
        until="03-05 12:00",
        script=[("03-02 18:00", "bob", "attributes", {"arrival": None})],
        got=[("03-04 09:30", "ann", "What people of here like best")],
        ends={"ann": ["through"]},
    ),
    Case(
        recipe="practice_appointment",
        hourly=True,
        until="03-05 12:00",
        people={one: {"appointment": "2026-03-04T15:00:00Z"} for one in ("ann", "bob", "cat", "dan")},
        script=[
            tells("03-03 16:00", "ann", "answered", question="coming", value="confirm", attribute="appointment_answer"),
            tells("03-03 16:05", "bob", "answered", question="coming", value="move", attribute="appointment_answer"),
            tells("03-03 16:10", "cat", "answered", question="coming", value="cancel", attribute="appointment_answer"),
        ],
        got=[
            *[("03-03 15:00", one, "Answer 1 to confirm") for one in ("ann", "bob", "cat", "dan")],
            ("03-03 16:00", "ann", "see you tomorrow"),
            ("03-03 16:05", "bob", "we call you to find another time"),
            ("03-03 16:10", "cat", "your appointment is cancelled"),
        ],
        ends={"dan": ["through"]},
    ),
    Case(
        recipe="prescription_ready",
        people={"ann": ANY},
        until="03-03 12:00",
        script=[
            tells("03-02 13:00", "ann", "prescription_ready", prescription_id="1", open_until="19:00", what="insulin")
        ],
        got=[("03-02 13:00", "ann", "what you ordered is ready for you. We are open until 19:00")],
    ),
    Case(
        recipe="prescription_refill",
        people={"ann": ANY, "bob": ANY},
        until="04-10 12:00",
        script=[
            tells("03-02 13:00", "ann", "prescription_filled", prescription_id="1", days=30),
            tells("03-02 13:00", "bob", "prescription_filled", prescription_id="2", days=30),
            tells("03-27 18:00", "ann", "answered", question="refill", value=True, attribute="refill"),
        ],
        got=[
            ("03-27 13:00", "ann", "it is time for your refill"),
            ("03-27 13:00", "bob", "it is time for your refill"),
            ("03-27 18:00", "ann", "we get it ready"),
        ],
        ends={"ann": ["through"], "bob": ["through"]},
    ),
]
# Shown by tests of their own, below.
APART = {"reengage", "reengage_back", "call_follow_up"}


def test_every_recipe_is_played() -> None:
    assert {one.recipe for one in CASES} | APART == set(recipe.gallery())


def in_order(one: Got) -> tuple[str, str]:
    return one[1], one[0]


def pairs(wanted: Sequence[Got], got: Sequence[Got]) -> Iterable[tuple[Got, Got]]:
    return zip_longest(wanted, got[: len(wanted)], fillvalue=("", "", ""))


def within(wanted: str, got: str) -> str:
    """Say what is wanted; of `10:00+`, when a window opens and those who have waited are spread, what came of it."""
    if not wanted.endswith("+"):
        return wanted
    return got if wanted[:-1] <= got < f"{wanted[:-3]}30" else wanted


async def prepared(stage: Stage, case: Case) -> None:
    if case.feed:
        await products.write(stage.shop.connection, case.feed, NOW)


@pytest.mark.covers(
    "S1.11", "S1.12", "S1.13", "S1.14", "S1.15", "S1.16", "S1.33", "S2.27", "S2.28", "S2.29", "S2.30", "S3.31", "S4.1",
    "S4.2", "S4.3", "S4.4", "S4.5", "S4.6", "S4.7", "S4.8", "S4.9", "S4.10", "S4.11", "S4.12", "S4.13", "S4.14",
    "S4.15", "S4.16", "S4.17", "S4.18", "S4.20", "S4.25", "S4.26", "S4.27", "S4.55", "S4.58", "S4.77", "S4.78",
    "S4.79", "S4.80",
)  # fmt: skip
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.recipe)
async def test_right_people_get_right_texts_at_right_local_times(dsn: str, case: Case) -> None:
    stage = await Stage.open(
        dsn, [recipe.gallery()[case.recipe]], case.people, inputs=case.inputs, audiences=case.audiences,
        before=lambda stage: prepared(stage, case),
    )  # fmt: skip
    try:
        await stage.play(case.script, case.until, daily=case.daily, hourly=case.hourly, jobs=case.jobs)
        got, wanted = sorted(stage.got, key=in_order), sorted(case.got, key=in_order)
        expected = [(who, within(when, at)) for (when, who, _), (at, _, _) in pairs(wanted, got)]
        assert [(who, when) for when, who, _ in got] == expected
        for (_, _, text), (_, _, words) in zip(got, wanted, strict=True):
            assert words in text
        ends = await stage.ends(recipe.gallery()[case.recipe].name.replace("_", "-"))
        assert {who: ends.get(who) for who in case.ends} == {who: list(said) for who, said in case.ends.items()}
    finally:
        stage.close()


SILENT = "orders >= 1 and orders.last > 30d and not did(visit, 30d)"


async def re_engaged(dsn: str, names: Sequence[str]) -> Stage:
    return await Stage.open(
        dsn, recipe.named("reengage"), dict.fromkeys(names, ANY), inputs={}, audiences={"silent-30": SILENT}
    )


@pytest.mark.covers("S0.31", "S0.32", "S0.33", "S0.34", "S0.35", "S0.36")
async def test_re_engagement_goes_from_survey_to_contest_to_code_and_ends_in_either_of_two_ways(dsn: str) -> None:
    """Opened at any step: onto the active list, once; nothing opened: sunset; an order in the middle: begins anew."""
    people_of = ("ann", "bob", "cat", "dan", "eve")
    stage = await re_engaged(dsn, people_of)
    connection = stage.shop.connection
    try:
        script = [order("03-02 13:00", one) for one in people_of]
        script += [
            stop("04-01 14:01"), tells("03-25 12:00", "eve", "visit"), stop("04-24 13:01"),
            tells("04-03 09:00", "bob", "clicked", campaign="reengage", verdict="human"),
            tells("04-03 09:05", "bob", "clicked", campaign="reengage", verdict="human"),
            order("04-16 12:00", "dan", 2), stop("05-16 12:01"),
            tells("05-03 09:00", "cat", "clicked", campaign="reengage", verdict="human"),
            tells("04-26 12:00", "eve", "visit"), stop("05-26 12:01"),
        ]  # fmt: skip
        await stage.play(script, "06-16 12:00", jobs=("ageing",))
        got = [(when, who, text.split()[1:3]) for when, who, text in sorted(stage.got, key=in_order)]
        survey, contest, code = ["we", "miss"], ["take", "part"], ["20", "%"]
        assert got == [
            ("04-02 10:00", "ann", survey), ("05-02 10:00", "ann", contest), ("06-01 10:00", "ann", code),
            ("04-02 10:00", "bob", survey),
            ("04-02 10:00", "cat", survey), ("05-02 10:00", "cat", contest),
            ("04-02 10:00", "dan", survey), ("05-17 10:00", "dan", survey), ("06-16 10:00", "dan", contest),
            ("04-25 10:00", "eve", survey), ("05-27 10:00", "eve", survey),
        ]  # fmt: skip
        ends = await stage.ends("reengage")
        assert (ends["ann"], ends["bob"], ends["cat"]) == (["through"], ["goal_met"], ["goal_met"])
        assert (ends["dan"], ends["eve"]) == (["exception", "under way"], ["exception", "under way"])
        of = await people.find_list(connection, "active")
        assert of is not None
        for who in people_of:
            found = await lists.changes(connection, of.id, stage.numbers[who])
            assert len(found) == (who in ("bob", "cat"))
        rows = await connection.fetch("SELECT number, source FROM stop_feed")
        assert [tuple(row) for row in rows] == [(stage.numbers["ann"], "sunset")]
    finally:
        stage.close()


@pytest.mark.covers("S4.57")
async def test_call_that_a_program_tells_is_followed_up(dsn: str) -> None:
    stage = await Stage.open(
        dsn, recipe.named("call_follow_up"), {"ann": ANY, "bob": ANY, "cat": ANY}, inputs={}, audiences={}
    )
    try:
        for who in ("ann", "bob"):
            properties = {"call_id": f"call-{who}"}
            for _ in range(2):
                # Told twice, as programs do.
                await launching.enter(
                    stage.shop.connection, "call-follow-up", stage.numbers[who], properties, stage.shop.now, f"1-{who}"
                )
        script = [
            stop("03-02 12:01"),
            tells("03-02 13:00", "ann", "answered", question="solved", value=False, attribute="call_solved"),
            tells("03-02 13:00", "bob", "answered", question="solved", value=True, attribute="call_solved"),
        ]
        await stage.play(script, "03-04 12:00")
        assert [(when, who) for when, who, _ in stage.got] == [
            ("03-02 12:05", "ann"), ("03-02 12:05", "bob"), ("03-02 13:00", "ann"),
        ]  # fmt: skip
        assert stage.got[2][2] == "Acme: then we call you back today."
    finally:
        stage.close()
