"""Steps do what they say, once: texts, codes, questions, experiments, what changes a person."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gateway.coupon import Coupon, Discount
from gateway.message import MessageClass, Refusal
from gateway.person import Item, Who
from gateway.reasons import Reason
from gateway.store import coupons, experiments, lists, profiles, templates
from tests.fixtures.campaign import make_list
from tests.fixtures.shop import NOW, Shop, settings_of

ANN, BOB, CAT = 447700900001, 447700900002, 447700900003


ORDER = """
name = "orders"
kind = "workflow"
brand = "acme"
aim = "a"
class = "transactional"
[trigger]
on = "event"
event = "order_placed"
key = "order_id"
[[exceptions]]
event = "order_cancelled"
key = "order_id"
[[steps]]
do = "wait"
for = "1m"
[[steps]]
do = "send"
to = "staff"
text = "{{ first_name }} has ordered {{ order_id }}"
[[steps]]
do = "send"
to = "staff"
staff = ["kitchen"]
text = "Cook {{ dish }}"
[[steps]]
do = "send"
text = "We cook {{ order_id }}."
"""


KITCHEN, BOSS = 447700900111, 447700900112


@pytest.mark.covers("S1.6")
async def test_people_of_ours_are_told_of_a_customer_beside_or_instead_of_them(shop: Shop) -> None:
    """Once per enrolment and step, and in no caps, history or figures of anybody (RP-3)."""
    shop.has_staff({"kitchen": ("+447700900111",), "boss": ("+447700900112", "+447700900111")})
    for number in (KITCHEN, BOSS):
        await templates.add_test_number(shop.connection, number, "test", NOW)
    await shop.people([ANN, BOB], {"first_name": "Ann"})
    await shop.apply(ORDER)
    for number, order in ((ANN, "a1"), (ANN, "a2"), (BOB, "b1")):
        await shop.tells(number, "order_placed", {"order_id": order, **({"dish": "soup"} if order == "a1" else {})})
    await shop.goes_on(timedelta(seconds=1))
    await shop.tells(BOB, "order_cancelled", {"order_id": "b1"})
    await shop.goes_on(timedelta(minutes=2))
    await shop.goes_on(timedelta(minutes=2))
    told = [(ANN, "We cook a1."), (ANN, "We cook a2."), (KITCHEN, "Cook soup")]
    told += [(of, f"Ann has ordered {order}") for of in (KITCHEN, BOSS) for order in ("a1", "a2")]
    assert sorted(await shop.texts()) == sorted(told)
    # Whose text was not to be written goes on; the one about the soup is the only one that was.
    rows = await shop.connection.fetch("SELECT step, outcome, run IS NULL AS untold FROM step_run ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [
        (0, Reason.EXCEPTION, True), (0, 0, True), (0, 0, True), (1, 0, True), (1, 0, True),
        (2, Refusal.MISSING_FIELD, True), (2, 0, True), (3, 0, False), (3, 0, False),
    ]  # fmt: skip
    runs_ = await shop.connection.fetch("SELECT is_test, gate IS NULL AS free, class FROM run ORDER BY id")
    assert [tuple(row) for row in runs_] == [(True, True, MessageClass.TRANSACTIONAL)] * 2 + [
        (False, False, MessageClass.TRANSACTIONAL)
    ]


async def test_whoever_has_no_number_and_no_consent_may_be_what_people_of_ours_are_told_of(shop: Shop) -> None:
    """S1.6: nothing goes to the customer, so nothing is asked of them."""
    shop.has_staff({"kitchen": ("+447700900111",)})
    await templates.add_test_number(shop.connection, KITCHEN, "test", NOW)
    await shop.people([ANN], consents_=False)
    only = 'name = "only"\nbrand = "acme"\naim = "a"\nmessage = {text = "{{ order_id }}", to = "staff"}\n'
    await shop.apply(only + '[trigger]\non = "event"\nevent = "order_placed"\n')
    await shop.tells(ANN, "order_placed", {"order_id": "a1"})
    await profiles.ingest(
        shop.connection,
        [
            Item(
                who=Who(email="bob@example.com"), name="order_placed", properties={"order_id": "b1"}, event_id="b",
                occurred_at=shop.now,
            )
        ],
        shop.now, shop.chance,
    )  # fmt: skip
    await shop.goes_on(timedelta(minutes=1))
    assert sorted(await shop.texts()) == [(KITCHEN, "a1"), (KITCHEN, "b1")]


SPRING = """
name = "spring"
brand = "acme"
aim = "a"
[message]
text = "20 % off for {{ first_name }}"
content = {key = "spring-20"}
[trigger]
on = "event"
event = "seen"
"""


@pytest.mark.covers("S4.59")
async def test_who_had_the_offer_on_another_channel_is_skipped_or_gets_another_text(shop: Shop) -> None:
    """XC-2: within 72 hours; asked when the text is due, and by the gate once more."""
    await shop.people([ANN, BOB, CAT], {"first_name": "Ann"})
    other = SPRING.replace('"spring"', '"short"').replace('"spring-20"}', '"spring-20", otherwise = "still"}')
    other = other.replace("[trigger]", 'variants = {still = "Still 20 % off, {{ first_name }}"}\n[trigger]')
    for text in (SPRING, other):
        await shop.apply(text)
    await shop.tells(ANN, "email_sent", {"content_key": "spring-20"}, at=NOW - timedelta(hours=71))
    await shop.tells(BOB, "email_sent", {"content_key": "spring-20"}, at=NOW - timedelta(hours=73))
    await shop.tells(CAT, "email_sent", {"content_key": "summer"})
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "seen")
    await shop.goes_on(timedelta(minutes=1))
    assert await shop.texts("spring") == [(BOB, "20 % off for Ann"), (CAT, "20 % off for Ann")]
    assert await shop.texts("short") == [
        (ANN, "Still 20 % off, Ann"), (BOB, "20 % off for Ann"), (CAT, "20 % off for Ann"),
    ]  # fmt: skip
    outcomes = await shop.connection.fetch("SELECT outcome FROM step_run ORDER BY outcome")
    assert [row["outcome"] for row in outcomes] == [Reason.EXCEPTION, 0, 0, 0, 0, 0]
    gates = await shop.connection.fetch("SELECT name, gate FROM run")
    asked = {row["name"]: "spring-20" in row["gate"] for row in gates}
    assert asked == {"spring": True, "short": False}


OFFER = """
name = "offer"
brand = "acme"
message = {text = "Acme: {{ coupon.code }} {{ link.shop }}", coupon = "spring"}
aim = "a"
links = {shop = {url = "https://shop.example/?code={code}"}}
[trigger]
on = "event"
event = "left"
[[exceptions]]
event = "bought"
"""


async def pool(shop: Shop, codes: list[str]) -> None:
    made = await coupons.create(
        shop.connection, "spring", Coupon(kind="pool", discount=Discount(percent=10), life="48h"), b"x" * 32, NOW
    )
    await coupons.add(shop.connection, made, codes)


@pytest.fixture
async def linked(dsn: str) -> AsyncIterator[Shop]:
    settings = settings_of(dsn)
    brand = msgspec.structs.replace(settings.brands["acme"], link_domain="go.acme.example")
    made = await Shop.open(dsn, msgspec.structs.replace(settings, brands={"acme": brand}))
    yield made
    made.close()


@pytest.mark.covers("S1.19", "S1.20", "S0.15", "S0.28")
async def test_each_gets_a_code_and_a_link_of_their_own_and_an_empty_pool_holds(linked: Shop) -> None:
    """TP-5, TP-6: whoever finds the pool empty waits for it."""
    await linked.people([ANN, BOB, CAT])
    await pool(linked, ["AAA", "BBB"])
    await linked.apply(OFFER)
    for number in (ANN, BOB, CAT):
        await linked.tells(number, "left")
        await linked.goes_on(timedelta(seconds=1))
    texts = dict(await linked.texts())
    assert set(texts) == {ANN, BOB}
    assert {text.split()[1] for text in texts.values()} == {"AAA", "BBB"}
    found = [text.split()[2] for text in texts.values()]
    assert len(set(found)) == 2
    assert all(re.fullmatch(r"https://go\.acme\.example/[0-9A-Za-z]{11}", one) for one in found)
    kept = await coupons.find(linked.connection, "spring")
    assert kept is not None
    await coupons.add(linked.connection, kept, ["CCC"])
    await linked.goes_on(timedelta(seconds=30))
    assert len(await linked.texts()) == 2
    await linked.goes_on(timedelta(seconds=31))
    assert dict(await linked.texts())[CAT].split()[1] == "CCC"


async def test_code_of_who_gets_no_text_goes_back(linked: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-5: released only if certainly not sent."""
    await linked.people([ANN])
    await pool(linked, ["AAA"])
    await linked.apply(OFFER)
    await linked.tells(ANN, "left")
    prepare = linked.stepping._carrying.prepare

    async def and_bought(*arguments: Any) -> None:
        await prepare(*arguments)
        if arguments[1]:
            await linked.tells(ANN, "bought", at=linked.now + timedelta(milliseconds=1))

    monkeypatch.setattr(linked.stepping._carrying, "prepare", and_bought)
    await linked.goes_on(timedelta(seconds=1))
    assert await linked.texts() == []
    kept = await coupons.find(linked.connection, "spring")
    assert kept is not None
    assert (await coupons.states(linked.connection, kept)).get("free") == 1


WORK = """
name = "work"
kind = "workflow"
brand = "acme"
aim = "a"
[trigger]
on = "event"
event = "began"
"""


@pytest.mark.covers("S0.35")
async def test_steps_that_change_a_person_do_so_once(shop: Shop) -> None:
    """WF-1, WF-2: attribute, list, suppression; S0.35: sunset, and not the person's own word."""
    list_id = await make_list(shop.connection, [BOB], "active")
    await shop.people([ANN])
    text = (
        WORK
        + """
[[steps]]
do = "wait"
for = "1h"
[[steps]]
do = "set_attribute"
attribute = "seen"
value = 3
[[steps]]
do = "list_add"
list = "active"
[[steps]]
do = "unsubscribe"
"""
    )
    await shop.apply(text)
    await shop.tells(ANN, "began")
    await shop.goes_on(timedelta(hours=1))
    profile = await shop.connection.fetchval("SELECT attributes FROM profile WHERE number = $1", ANN)
    assert msgspec.json.decode(profile)["seen"] == 3
    assert await lists.has(shop.connection, list_id, ANN)
    rows = await shop.connection.fetch("SELECT source FROM stop_feed WHERE number = $1", ANN)
    assert [row["source"] for row in rows] == ["sunset"]
    assert await shop.standing("work") == [(ANN, 4, 1, 0)]
    # Each was done at one visit.
    told = await shop.connection.fetchval("SELECT count(*) FROM person_event WHERE name = 'attributes_set'")
    assert told == 1


@pytest.mark.covers("S0.32", "S3.7")
async def test_who_clicked_goes_another_way_than_who_did_not(shop: Shop) -> None:
    """WF-6: wait_for and its time-out."""
    text = (
        WORK
        + """
[[steps]]
do = "send"
text = "one"
[[steps]]
do = "wait_for"
event = "clicked"
within = "1d"
then = "exit"
[[steps]]
do = "send"
text = "two"
"""
    )
    await shop.people([ANN, BOB])
    await shop.apply(text)
    for number in (ANN, BOB):
        await shop.tells(number, "began")
    await shop.goes_on(timedelta(minutes=1))
    await shop.tells(ANN, "clicked", {"verdict": "human"})
    await shop.goes_on(timedelta(hours=23))
    assert len(await shop.texts()) == 2
    await shop.goes_on(timedelta(hours=2))
    assert sorted(await shop.texts()) == [(ANN, "one"), (BOB, "one"), (BOB, "two")]


async def test_branch_asks_of_now_and_another_workflow_is_entered_once(shop: Shop) -> None:
    """WF-4, WF-1."""
    await shop.apply(
        WORK.replace('"work"', '"other"').replace('on = "event"\nevent = "began"', 'on = "call"')
        + """
[[steps]]
do = "send"
text = "other"
"""
    )
    await shop.apply(
        WORK
        + """
[[steps]]
do = "branch"
cases = [{if = "vip = true", then = "call"}]
otherwise = "exit"
[[steps]]
do = "enter_workflow"
name = "call"
workflow = "other"
"""
    )
    await shop.people([ANN], {"vip": True})
    await shop.people([BOB])
    for number in (ANN, BOB):
        await shop.tells(number, "began")
    await shop.goes_on(timedelta(minutes=1))
    assert await shop.texts() == [(ANN, "other")]


VARIED = """
name = "varied"
brand = "acme"
message = {text = "none of them"}
aim = "a"
[experiment]
name = "spring"
metric = "click"
holdout = 10
[[experiment.variant]]
name = "A"
text = "A for {{ n }}"
[[experiment.variant]]
name = "B"
text = "B for {{ n }}"
[trigger]
on = "event"
event = "seen"
"""


@pytest.mark.covers("S4.75")
async def test_experiment_gives_each_the_same_text_for_life_and_the_control_none(shop: Shop) -> None:
    """AB-1, AB-2, AB-6: whoever is held out is counted as reached where the others are."""
    numbers = list(range(447700900000, 447700900060))
    await shop.people(numbers)
    await shop.apply(VARIED)
    for turn in (1, 2):
        for number in numbers:
            await shop.tells(number, "seen", {"n": turn})
        await shop.goes_on(timedelta(minutes=1))
    texts = await shop.texts()
    first = {number: text[0] for number, text in texts if text.endswith("1")}
    assert first == {number: text[0] for number, text in texts if text.endswith("2")}
    assert {"A", "B"} == set(first.values())
    rows = await shop.connection.fetch("SELECT number, arm, reached_at FROM assignment")
    assert {row["number"] for row in rows} == set(numbers)
    assert all(row["reached_at"] is not None for row in rows)
    control = {row["number"] for row in rows if row["arm"] == 0}
    assert 0 < len(control) < 20
    assert control == set(numbers) - set(first)
    outcomes = await shop.connection.fetch("SELECT outcome, count(*) FROM step_run GROUP BY 1")
    assert {row[0] for row in outcomes} == {0, Reason.CONTROL_GROUP}


async def test_rest_waits_for_the_winner_and_gets_that(shop: Shop) -> None:
    """AB-5."""
    numbers = list(range(447700900000, 447700900040))
    await shop.people(numbers)
    await shop.apply(VARIED.replace("holdout = 10", "test_share = 20"))
    for number in numbers:
        await shop.tells(number, "seen", {"n": 1})
    await shop.goes_on(timedelta(minutes=1))
    before = await shop.texts()
    assert 0 < len(before) < 25
    async with shop.connection.transaction():
        kept = await experiments.hold(shop.connection, "spring")
        assert kept is not None
        await experiments.settle(shop.connection, kept, "decided", 2, at=shop.now, by="test", why="B")
    await shop.goes_on(timedelta(minutes=2))
    after = dict(await shop.texts())
    assert len(after) == len(numbers)
    assert {after[number][0] for number in set(numbers) - {number for number, _ in before}} == {"B"}


@pytest.mark.parametrize("outcome", ["attempted", "submitted", "delivered"])
async def test_a_send_goes_on_when_its_text_was_handed_on_submitted_or_delivered_WF_3(shop: Shop, outcome: str) -> None:
    """The second text is of who has come so far; who has not within a day goes the other way."""
    await shop.people([ANN, BOB])
    await shop.apply(f"""
name = "two"
kind = "workflow"
brand = "acme"
aim = "a"
class = "transactional"
[trigger]
on = "event"
event = "ordered"
[[steps]]
do = "send"
text = "First."
goes_on = "{outcome}"
otherwise = "call"
[[steps]]
do = "send"
text = "Second."
next = "exit"
[[steps]]
name = "call"
do = "send"
text = "We shall call."
""")
    for number in (ANN, BOB):
        await shop.tells(number, "ordered")
    await shop.goes_on(timedelta(minutes=1))

    async def said() -> list[tuple[int, str]]:
        return sorted(await shop.texts())

    first = [(ANN, "First."), (BOB, "First.")]
    assert await said() == (sorted(first + [(ANN, "Second."), (BOB, "Second.")]) if outcome == "attempted" else first)
    if outcome == "attempted":
        return
    # Of ANN both come, one after the other; BOB's text comes to something else, and somebody else's is not BOB's.
    for name in ("submitted", "delivered"):
        assert await said() == first
        await shop.tells(ANN, name, {"campaign": "two"})
        await shop.tells(BOB, name, {"campaign": "another"})
        await shop.goes_on(timedelta(minutes=1))
        if name == outcome:
            break
    assert await said() == sorted([*first, (ANN, "Second.")])
    await shop.goes_on(timedelta(hours=23))
    assert await said() == sorted([*first, (ANN, "Second.")])
    await shop.goes_on(timedelta(hours=1))
    assert await said() == sorted([*first, (ANN, "Second."), (BOB, "We shall call.")])
