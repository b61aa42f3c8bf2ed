"""What came of messages, set-wise, against the rules over lists: GL-1 to GL-9, RP-1, RP-3."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.campaign import attribution
from gateway.campaign.attribution import RULES, Aim, Bought, Hit, where_of
from gateway.goal import Goal
from gateway.person import Item, Who, hash_of
from gateway.store import conversions, feeds, postgres, reports, runs
from gateway.store.profiles import ingest
from tests.fixtures.shop import Shop
from tests.oracle.touches import codes_in, orders_of, sent_of, touches_of

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NUMBER = 447700900100
RUNS = {1: "spring", 2: "spring", 3: "cart"}


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


def of(person: int, name: str, at: datetime, event_id: str = "", **properties: Any) -> Item:
    ours = name not in ("order_placed", "order_cancelled", "refunded", "page", "visit")
    return Item(
        who=Who(phone=NUMBER + person),
        name=name,
        occurred_at=at,
        event_id=event_id or f"{name}{person}{at}{properties}",
        source="sluice" if ours else "shop",
        properties=properties,
        is_ours=ours,
    )


def message(person: int, name: str, at: datetime, run: int, chunk: int) -> Item:
    return of(person, name, at, f"{name}:1:{chunk}:{person}", campaign=RUNS[run], run=run)


async def refreshed(connection: Any, **terms: Any) -> None:
    house = await conversions.house(connection, zone="UTC", currency="EUR", lists=(), numbers=())
    news = await conversions.told(connection)
    for bucket in range(256):
        await conversions.refresh(connection, bucket, house, NOW, news)


async def reckoned(connection: Any) -> dict[str, list[tuple[Any, ...]]]:
    """All that is kept, without what is ours alone."""
    return {
        table: [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY bucket, profile, {key}")]
        for table, key in (
            ("touch", "lane, chunk, pos"),
            ("attribution", "key"),
            ("conversion", "campaign, place, case_id"),
        )
    }


@pytest.mark.covers("S2.24")
async def test_a_click_beats_a_delivery_and_a_coupon_beats_both_GL_4(connection: Any) -> None:
    told = [
        message(0, "submitted", NOW - 3 * DAY, 1, 10),
        message(0, "delivered", NOW - 3 * DAY, 1, 10),
        of(0, "clicked", NOW - 2 * DAY, campaign="spring", run=1, verdict="human"),
        message(0, "submitted", NOW - 2 * HOUR, 3, 11),
        message(0, "delivered", NOW - 2 * HOUR, 3, 11),
        of(0, "order_placed", NOW - HOUR, order_id="1", total=10, currency="EUR"),
    ]
    await ingest(connection, told, NOW, random.Random(1))
    await refreshed(connection)
    [row] = await connection.fetch("SELECT campaign, rule, gross, net, influenced FROM attribution")
    assert tuple(row) == ("spring", 2, 1000, 1000, ["cart", "spring"])
    issued = [
        of(0, "coupon_issued", NOW - 2 * HOUR, campaign="cart", run=3, code="Ten"),
        of(0, "order_placed", NOW - HOUR, order_id="2", total=5, currency="EUR", coupon="ten"),
    ]
    await ingest(connection, issued, NOW, random.Random(2))
    await refreshed(connection)
    row = await connection.fetchrow("SELECT campaign, rule FROM attribution WHERE key = 'order:2'")
    assert tuple(row) == ("cart", 1)


async def test_clicks_of_bots_and_of_nobody_knows_whom_owe_nothing_GL_5(connection: Any) -> None:
    told = [message(0, "submitted", NOW - DAY, 1, 10)]
    told += [of(0, "clicked", NOW - HOUR, campaign="spring", run=1, verdict=one) for one in ("bot", "unsure")]
    told += [of(0, "order_placed", NOW, order_id="1", total=10, currency="EUR")]
    await ingest(connection, told, NOW, random.Random(1))
    await conversions.declare(
        connection, "spring", [(Goal(event="order_placed", starts="clicked"), None)], NOW - 9 * DAY
    )
    await refreshed(connection)
    assert await connection.fetchval("SELECT count(*) FROM attribution") == 0
    assert await connection.fetchval("SELECT count(*) FROM conversion") == 0
    assert tuple(await connection.fetchrow("SELECT clicks, unsure, bots FROM touch")) == ([], 1, 1)


@pytest.mark.covers("S2.24")
async def test_a_refund_takes_revenue_from_the_day_of_the_order_and_leaves_the_conversion_GL_8(connection: Any) -> None:
    told = [
        message(0, "submitted", NOW - 5 * DAY, 1, 10),
        message(0, "delivered", NOW - 5 * DAY, 1, 10),
        of(0, "order_placed", NOW - 5 * DAY + HOUR, order_id="1", total=10, currency="EUR"),
        of(0, "order_placed", NOW - 5 * DAY + 2 * HOUR, order_id="2", total=7, currency="EUR"),
    ]
    await ingest(connection, told, NOW, random.Random(1))
    await conversions.declare(connection, "spring", [(Goal(event="order_placed"), None)], NOW - 9 * DAY)
    await refreshed(connection)
    sums = "SELECT sum(gross)::int, sum(net)::int, min(placed_at), count(*)::int FROM attribution"
    assert tuple(await connection.fetchrow(sums)) == (1700, 1700, NOW - 5 * DAY + HOUR, 2)
    back = [of(0, "refunded", NOW, order_id="1", amount=4, currency="EUR"), of(0, "order_cancelled", NOW, order_id="2")]
    await ingest(connection, back, NOW, random.Random(2))
    await refreshed(connection)
    assert tuple(await connection.fetchrow(sums)) == (1700, 600, NOW - 5 * DAY + HOUR, 2)
    [row] = await connection.fetch("SELECT hits, gross, net, day FROM conversion")
    assert tuple(row) == (2, 1700, 600, (NOW - 5 * DAY).date())


async def test_what_is_told_late_still_converts_in_its_window_and_not_behind_it_GL_9(connection: Any) -> None:
    sent = NOW - 20 * DAY
    await ingest(connection, [message(0, "submitted", sent, 1, 10)], sent, random.Random(1))
    await ingest(connection, [message(1, "submitted", sent, 1, 11)], sent, random.Random(2))
    goal = Goal(event="signed_up", where="plan = 'gold'", within="3d")
    await conversions.declare(connection, "spring", [(goal, where_of(goal))], sent - DAY)
    await refreshed(connection)
    late = [
        of(0, "signed_up", sent + 3 * DAY - timedelta(microseconds=1), plan="gold"),
        of(1, "signed_up", sent + 3 * DAY, plan="gold"),
        of(1, "signed_up", sent + DAY, plan="tin"),
    ]
    await ingest(connection, late, NOW, random.Random(3))
    await refreshed(connection)
    assert await connection.fetchval("SELECT count(*) FROM conversion") == 1


async def test_an_edit_of_goals_holds_for_later_messages_until_a_recompute_is_asked_for_GL_6(connection: Any) -> None:
    told = [
        message(0, "submitted", NOW - 5 * DAY, 1, 10),
        of(0, "visit", NOW - 4 * DAY),
        message(0, "submitted", NOW - DAY, 2, 11),
        of(0, "visit", NOW - HOUR),
    ]
    await ingest(connection, told, NOW, random.Random(1))
    assert await conversions.declare(connection, "spring", [(Goal(event="order_placed"), None)], NOW - 9 * DAY) == 1
    assert await conversions.declare(connection, "spring", [(Goal(event="visit"), None)], NOW - 2 * DAY) == 1
    assert await conversions.declare(connection, "spring", [(Goal(event="visit"), None)], NOW) == 0
    await refreshed(connection)
    assert [row["run"] for row in await connection.fetch("SELECT run FROM conversion")] == [2]
    await conversions.declare(connection, "spring", [(Goal(event="visit"), None)], NOW, is_retroactive=True)
    await refreshed(connection)
    assert [row["run"] for row in await connection.fetch("SELECT run FROM conversion ORDER BY run")] == [1, 2]


async def test_tests_and_the_numbers_of_the_house_count_for_nothing_RP_3(connection: Any) -> None:
    await connection.execute(
        "INSERT INTO run (id, name, template, fields, class, priority, policy, lanes, not_before, created_at, gate) "
        "VALUES (3, 'cart', 'x', '{}', 5, 0, 'once', '{1}', $1, $1, '{\"tags\": [\"test\"]}')",
        NOW,
    )
    told = [
        message(0, "submitted", NOW, 1, 10),
        message(1, "submitted", NOW, 1, 11),
        message(1, "submitted", NOW, 3, 12),
    ]
    await ingest(connection, told, NOW, random.Random(1))
    house = await conversions.house(connection, zone="UTC", currency="", lists=(), numbers=(NUMBER,))
    news = await conversions.told(connection)
    for bucket in (hash_of(NUMBER), hash_of(NUMBER + 1)):
        await conversions.refresh(connection, bucket, house, NOW, news)
    rows = await connection.fetch("SELECT chunk, is_excluded FROM touch ORDER BY chunk")
    assert [tuple(row) for row in rows] == [(10, True), (11, False), (12, True)]


async def test_every_kind_of_goal_is_found(connection: Any) -> None:
    await connection.execute(
        "INSERT INTO audience (id, name, text, tree, zone, created_at, updated_at) "
        "VALUES (7, 'vip', '', '{}', 'UTC', $1, $1)",
        NOW,
    )
    told = [
        message(0, "submitted", NOW - DAY, 3, 10),
        of(0, "coupon_issued", NOW - DAY, campaign="cart", run=3, code="abc"),
        of(0, "page", NOW - HOUR, url="https://shop.example/sale/shoes?x=1#top"),
        of(0, "replied", NOW - 3 * HOUR, campaign="cart"),
        of(0, "replied", NOW - 2 * HOUR, campaign="cart", wish="stop"),
        of(0, "order_placed", NOW - HOUR, order_id="1", total=1, currency="EUR", discount_codes=[{"code": "ABC"}]),
    ]
    await ingest(connection, told, NOW, random.Random(1))
    bucket, profile = await connection.fetchrow("SELECT bucket, id FROM profile")
    await connection.execute(
        "INSERT INTO audience_change (bucket, seq, audience, profile, at, version, is_in, by_edit) VALUES "
        "($1, 1, 7, $2, $3, 1, true, false), ($1, 2, 7, $2, $4, 1, false, false)",
        bucket,
        profile,
        NOW - HOUR,
        NOW - HOUR / 2,
    )
    for goals in (
        [Goal(url="https://shop.example/sale/*"), Goal(joined="vip"), Goal(left="vip"), Goal(reply=True)],
        [Goal(redeemed=True), Goal(url="https://shop.example/sale/shoes"), Goal(url="https://shop.example/sale")],
    ):
        await conversions.declare(connection, "cart", [(one, None) for one in goals], NOW, is_retroactive=True)
        await refreshed(connection)
        rows = await connection.fetch("SELECT place, hits FROM conversion ORDER BY place")
        expected = [(1, 1), (2, 1), (3, 1), (4, 1)] if len(goals) == 4 else [(1, 1), (2, 1)]
        assert [tuple(row) for row in rows] == expected


VARIED = """
name = "varied"
brand = "acme"
message = {text = "none of them"}
[experiment]
name = "spring"
holdout = 20
[[experiment.variant]]
name = "A"
text = "A for {{ n }}"
[[experiment.variant]]
name = "B"
text = "B for {{ n }}"
[trigger]
on = "event"
event = "seen"
[[goals]]
event = "order_placed"
exits = false
"""


@pytest.mark.covers("S4.75")
async def test_messages_are_of_their_enrolment_and_variant_and_virtual_sends_of_the_control_count_GL_2_GL_3_AB_6(
    dsn: str,
) -> None:
    shop = await Shop.open(dsn)
    shop.now = NOW
    numbers = [NUMBER + at for at in range(40)]
    await shop.people(numbers)
    await shop.apply(VARIED)
    for turn in (1, 2):
        for number in numbers:
            await shop.tells(number, "seen", {"n": turn})
        await shop.goes_on(timedelta(minutes=1))
    lane = await shop.connection.fetchval("SELECT min(lane) FROM chunk_payload")
    await runs.ensure_partitions(shop.connection, shop.now)
    await shop.connection.execute(
        "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
        "SELECT p.lane, p.chunk_id, n.place - 1, 1, 1, 1, 0, $1, 0 "
        "FROM chunk_payload p CROSS JOIN LATERAL unnest(p.msisdn) WITH ORDINALITY AS n (number, place)", shop.now,
    )  # fmt: skip
    window = (shop.now - HOUR, shop.now + HOUR)
    items, _, _ = await feeds.told(shop.connection, lane, "outcomes", *window, "")
    enrolled = {
        row["id"]: (row["number"], row["entered_at"])
        for row in await shop.connection.fetch("SELECT id, number, entered_at FROM enrolment")
    }
    texts = {}
    for number, text in await shop.texts():
        texts.setdefault(number, []).append(text[0])
    assert len(items) == 2 * len(texts) and 20 < len(texts) < 40
    assert all(enrolled[item.properties["enrolment"]][0] == item.who.phone for item in items)
    assert {(item.who.phone, item.properties["variant"]) for item in items} == {
        (number, name) for number, names in texts.items() for name in names
    }
    await ingest(shop.connection, items, shop.now, random.Random(2))
    await refreshed(shop.connection)
    # One order a person, behind both of their messages: two enrolments, two conversions, one hit each.
    control = [number for number in numbers if number not in texts]
    buyers = [*list(texts)[:6], *control[:2]]
    for at, number in enumerate(buyers):
        await shop.tells(number, "order_placed", {"order_id": f"{at}", "total": 10, "currency": "EUR"},
                         at=shop.now + HOUR)  # fmt: skip
    for _ in range(2):
        await refreshed(shop.connection)
        rows = await shop.connection.fetch(
            "SELECT c.case_id, c.variant, c.hits, c.is_excluded FROM conversion c ORDER BY c.case_id"
        )
        assert sorted(enrolled[row["case_id"]][0] for row in rows) == sorted([*buyers, *buyers])
        assert {row["is_excluded"] for row in rows if row["variant"] == "control"} == {True}
    arms = {row["variant"]: row for row in await reports.rows(shop.connection, "report_arm", campaign="varied")}
    assert set(arms) == {"A", "B", "control"}
    assert (arms["control"]["people"], arms["control"]["cases"]) == (len(control), 2 * len(control))
    assert arms["control"]["converted"] == 4 and arms["A"]["converted"] + arms["B"]["converted"] == 12
    assert arms["control"]["goal_rate"] == 4 / (2 * len(control))
    # Of what was sent, the control is nothing.
    [whole] = await reports.rows(shop.connection, "report_campaign", campaign="varied")
    assert whole["endpoints"] == len(texts) and whole["converted"] == 12
    entered = await shop.connection.fetch("SELECT enrolment, entered_at FROM touch")
    assert len(entered) == 80
    assert all(row["entered_at"] == enrolled[row["enrolment"]][1] for row in entered)
    shop.close()


async def test_two_persons_who_become_one_have_the_messages_of_both_once_RP_1(connection: Any) -> None:
    one, two = Who(phone=NUMBER), Who(external_id="ada")
    told = [
        message(0, "submitted", NOW - DAY, 1, 10),
        of(0, "clicked", NOW - HOUR, campaign="spring", run=1),
        Item(
            who=two,
            name="order_placed",
            occurred_at=NOW - HOUR / 2,
            properties={"order_id": "1", "total": 3, "currency": "EUR"},
        ),
    ]
    await ingest(connection, told, NOW, random.Random(1))
    await refreshed(connection)
    assert await connection.fetchval("SELECT count(*) FROM attribution") == 0
    await ingest(connection, [Item(who=two, absorbs=one)], NOW + DAY, random.Random(2))
    house = await conversions.house(connection, zone="UTC", currency="EUR", lists=(), numbers=())
    news = await conversions.told(connection)
    for bucket in range(256):
        await conversions.refresh(connection, bucket, house, NOW + 3 * DAY, news)
    assert await connection.fetchval("SELECT count(*) FROM touch") == 1
    assert await connection.fetchval("SELECT campaign FROM attribution") == "spring"
    assert await connection.fetchval("SELECT count(*) FROM report_due") == 0


# -- against the rules over lists --------------------------------------------------------------------------------------

MOMENTS = st.integers(0, 20 * 24 * 4).map(lambda quarter: NOW - 21 * DAY + quarter * timedelta(minutes=15))
CODES = st.sampled_from(["A1", "b2", "C3"])
EVENTS = st.one_of(
    st.tuples(st.just("message"), MOMENTS, st.sampled_from(sorted(RUNS)), st.sampled_from(["", "d", "f", "only d"])),
    st.tuples(st.just("clicked"), MOMENTS, st.sampled_from(sorted(RUNS)), st.sampled_from([None, "human", "bot"])),
    st.tuples(st.just("replied"), MOMENTS, st.sampled_from([None, "spring", "cart"]), st.sampled_from([None, "stop"])),
    st.tuples(st.just("opted_out"), MOMENTS, st.none(), st.none()),
    st.tuples(st.just("coupon_issued"), MOMENTS, CODES, st.one_of(st.none(), MOMENTS)),
    st.tuples(st.just("workflow_entered"), MOMENTS, st.just("cart"), st.none()),
    st.tuples(st.just("order"), MOMENTS, st.one_of(st.none(), CODES), st.integers(1, 50)),
    st.tuples(st.just("back"), MOMENTS, st.integers(0, 8), st.one_of(st.none(), st.integers(1, 60))),
    st.tuples(st.just("coupon_redeemed"), MOMENTS, CODES, st.integers(0, 8)),
)
TIED = [[("coupon_issued", NOW - 21 * DAY, "b2", None), ("message", NOW - 21 * DAY, 3, ""),
         ("coupon_issued", NOW - 21 * DAY, "A1", None)]]  # fmt: skip
LIVES = st.lists(st.lists(EVENTS, max_size=14), min_size=1, max_size=3)
AIMS = [
    (Goal(event="order_placed"), NOW - 99 * DAY),
    (Goal(event="order_placed", where="total > 20", within="12h", starts="clicked"), NOW - 10 * DAY),
    (Goal(reply=True, within="2d", starts="entered"), NOW - 99 * DAY),
    (Goal(redeemed=True, within="10d"), NOW - 99 * DAY),
]


def lived(person: int, events: list[tuple[Any, ...]]) -> list[Item]:
    """Write the events of one person as they would be told."""
    items = []
    for number, (kind, at, what, more) in enumerate(events):
        unique = f"{kind}{person}.{number}"
        if kind == "message":
            if more != "only d":
                items.append(message(person, "submitted", at, what, number))
            if "d" in more:
                items.append(message(person, "delivered", at + HOUR, what, number))
            if more == "f":
                items.append(message(person, "failed", at + HOUR, what, number))
        elif kind == "clicked":
            verdict = {} if more is None else {"verdict": more}
            items.append(of(person, kind, at, unique, run=what, campaign=RUNS[what], **verdict))
        elif kind == "replied":
            properties = {"campaign": what, "wish": more}
            items.append(
                of(
                    person,
                    kind,
                    at,
                    f"replied:1:{number}{person}",
                    **{name: one for name, one in properties.items() if one is not None},
                )
            )
        elif kind == "coupon_issued":
            until = {} if more is None else {"expires_at": more.isoformat()}
            items.append(of(person, kind, at, unique, run=3, campaign="cart", code=what, **until))
        elif kind == "order":
            code = {} if what is None else {"discount_codes": [what.lower(), {"code": "other"}]}
            items.append(of(person, "order_placed", at, unique, order_id=number, total=more, currency="EUR", **code))
        elif kind == "back":
            name = "order_cancelled" if more is None else "refunded"
            items.append(of(person, name, at, unique, order_id=what, **({} if more is None else {"amount": more})))
        elif kind == "coupon_redeemed":
            items.append(of(person, kind, at, unique, order_id=more, code=what))
        else:
            items.append(of(person, kind, at, unique, **({} if what is None else {"campaign": what})))
    return items


def expected_of(items: list[Item]) -> tuple[list[Any], list[Any], list[Any]]:
    """The rows of one person, by the rules over lists."""
    sent, touches = sent_of(items), touches_of(items)
    messages = [
        (
            *one.place,
            one.submitted_at,
            one.delivered_at,
            one.entered_at,
            one.opted_out_at,
            one.clicks,
            one.replies,
            sorted(one.codes, key=str),
        )
        for one in sent
    ]
    orders = []
    for key, (order, codes) in orders_of(items).items():
        if order.placed_at is None:
            continue
        bought = Bought(
            key=key, placed_at=order.placed_at, gross=order.amount, back=order.amount - order.net, codes=tuple(codes)
        )
        if (found := attribution.owed(bought, touches)) is not None:
            rule = RULES.index(found.rule) + 1
            orders.append((key, *sent[found.touch].place, rule, bought.gross, bought.net, list(found.influenced)))
    reached = []
    for place, (goal, since) in enumerate(AIMS, 1):
        if goal.event:
            hits = [
                Hit(at=item.occurred_at)
                for item in items
                if item.name == "order_placed" and (not goal.where or item.properties["total"] > 20)
            ]
        elif goal.reply:
            hits = [Hit(at=at, campaigns=frozenset((one.campaign,))) for one in sent for at in one.replies]
        else:
            carried = {code for one in sent for code, _ in one.codes}
            used = {
                code: [
                    item.occurred_at
                    for item in items
                    if item.name in ("order_placed", "coupon_redeemed") and code in codes_in(item.properties)
                ]
                for code in carried
            }
            hits = [Hit(at=min(times), campaigns=frozenset(("cart",))) for times in used.values() if times]
        aim = Aim(campaign="cart", place=place, within=goal.window, starts=goal.starts, since=since)
        reached += [
            (one.place, one.case, one.at, *sent[one.touch].place, one.hits)
            for one in attribution.reached(aim, touches, hits)
        ]
    return sorted(messages), sorted(orders), sorted(reached)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LIVES, st.randoms(use_true_random=False))
@example(TIED, random.Random(1))
@example(TIED, random.Random(2))
def test_statements_say_what_the_rules_over_lists_say_and_a_rebuild_says_it_again_GL_3_GL_4_RP_1(
    world: Any, lives: list[list[tuple[Any, ...]]], chance: random.Random
) -> None:
    """Told in any order, in two batches with a refresh between: what is kept is what the rules find in all of it."""
    people = {person: lived(person, events) for person, events in enumerate(lives)}
    told = [item for items in people.values() for item in items]
    chance.shuffle(told)
    world(told, {NUMBER + person: expected_of(items) for person, items in people.items()})


@pytest.fixture
def world(dsn: str) -> Any:
    """Tell events, and hold what is kept against what is expected, each time in an empty world."""

    async def go(told: list[Item], expected: dict[int, Any]) -> None:
        opened = await postgres.connect(dsn)
        try:
            await opened.execute(
                "TRUNCATE profile, identity, person_event, event_seen, event_total, person_order, session_open, touch, "
                "attribution, conversion, report_due, report_upto, campaign_goal"
            )
            await conversions.declare(opened, "cart", [(goal, where_of(goal)) for goal, _ in AIMS], NOW - 99 * DAY)
            for place, (_, since) in enumerate(AIMS, 1):
                await opened.execute("UPDATE campaign_goal SET since = $1 WHERE place = $2", since, place)
            half = len(told) // 2
            for number, some in enumerate((told[:half], told[half:])):
                await ingest(opened, some, NOW, random.Random(number))
                await refreshed_of(opened, expected)
            kept = await reckoned(opened)
            for number, (messages, orders, reached) in expected.items():
                ids = [row["id"] for row in await opened.fetch("SELECT id FROM profile WHERE number = $1", number)]
                found = await opened.fetch(
                    "SELECT lane, chunk, pos, submitted_at, delivered_at, entered_at, opted_out_at, clicks, replies, "
                    "codes, codes_until FROM touch WHERE profile = ANY($1::bigint[]) ORDER BY 1, 2, 3",
                    ids,
                )
                # Codes of one moment have no order of their own.
                rows = [(*row[:-2], sorted(zip(row[-2], row[-1], strict=True), key=str)) for row in map(tuple, found)]
                assert rows == messages
                found = await opened.fetch(
                    "SELECT key, lane, chunk, pos, rule, gross, net, influenced FROM attribution "
                    "WHERE profile = ANY($1::bigint[])",
                    ids,
                )
                assert sorted(tuple(row) for row in found) == orders
                found = await opened.fetch(
                    "SELECT place, case_id, at, lane, chunk, pos, hits FROM conversion "
                    "WHERE profile = ANY($1::bigint[])",
                    ids,
                )
                assert sorted(tuple(row) for row in found) == reached
            await opened.execute("TRUNCATE report_upto")
            await refreshed_of(opened, expected)
            assert await reckoned(opened) == kept
        finally:
            await postgres.close(opened)

    async def refreshed_of(opened: Any, numbers: Any) -> None:
        house = await conversions.house(opened, zone="UTC", currency="EUR", lists=(), numbers=())
        news = await conversions.told(opened)
        for bucket in {hash_of(number) for number in numbers}:
            await conversions.refresh(opened, bucket, house, NOW, news)

    return lambda told, expected: asyncio.run(go(told, expected))
