"""What steps do outside of their bucket: codes, consents, conversations, other systems; once each (WF-1, WF-2)."""

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest

from gateway import document
from gateway.automation import launching
from gateway.coupon import Coupon, Discount
from gateway.inbox import InboxSettings
from gateway.person import Item, Who
from gateway.reasons import Reason
from gateway.store import calls, conversations, coupons, profiles
from gateway.webhook import WebhookSettings
from tests.fixtures.shop import NOW, Shop, settings_of

ANN, BOB = 447700900001, 447700900002
SECRET = "a secret of the tests"


@pytest.fixture
async def shop(dsn: str) -> AsyncIterator[Shop]:
    settings = msgspec.structs.replace(
        settings_of(dsn), inboxes={"support": InboxSettings(brand="acme", senders=("12345",))},
        webhooks=WebhookSettings(secret=SECRET, allow_private=True),
    )  # fmt: skip
    made = await Shop.open(dsn, settings)
    yield made
    made.close()


def workflow(steps: str, name: str = "flow") -> str:
    return (
        f'name = "{name}"\nbrand = "acme"\nkind = "workflow"\naim = "a"\n'
        + steps
        + '\n[trigger]\non = "event"\nevent = "began"\n'
    )


TWO_TEXTS = workflow("""
[[steps]]
do = "issue_coupon"
pool = "spring"
[[steps]]
do = "send"
text = "Acme: {{ coupon.code }}"
[[steps]]
do = "wait"
for = "1d"
[[steps]]
do = "send"
text = "Acme: still {{ coupon.code }}"
""")


async def pool(shop: Shop, codes: list[str]) -> coupons.Pool:
    made = await coupons.create(
        shop.connection, "spring", Coupon(kind="pool", discount=Discount(percent=10), life="48h"), b"x" * 32, NOW
    )
    await coupons.add(shop.connection, made, codes)
    return made


async def crash(shop: Shop) -> None:
    """Another worker goes on: what the one before knew is gone."""
    shop.stepping = shop.new_stepping()


@pytest.mark.covers("S1.19")
async def test_tp_5_one_code_stands_in_all_texts_behind_the_step_that_issues_it(shop: Shop) -> None:
    await shop.people([ANN], {"coupon": "none of ours"})
    await pool(shop, ["AAA", "BBB"])
    await shop.apply(TWO_TEXTS)
    await shop.tells(ANN, "began", {"coupon": "theirs"})
    await shop.goes_on(timedelta(seconds=1))
    await crash(shop)
    await shop.goes_on(timedelta(days=1))
    assert [text for _, text in await shop.texts()] == ["Acme: AAA", "Acme: still AAA"]
    (row,) = await shop.connection.fetch(
        "SELECT code, state, issued_at, expires_at FROM coupon WHERE number IS NOT NULL"
    )
    assert (row["code"], row["state"], row["expires_at"] - row["issued_at"]) == ("AAA", 2, timedelta(hours=48))
    told = await shop.connection.fetch(
        "SELECT properties ->> 'code' AS code FROM person_event WHERE name = 'coupon_issued'"
    )
    assert [one["code"] for one in told] == ["AAA"]


async def test_tp_5_an_empty_pool_is_waited_for_by_the_step(shop: Shop) -> None:
    await shop.people([ANN, BOB])
    kept = await pool(shop, ["AAA"])
    await shop.apply(TWO_TEXTS)
    for number in (ANN, BOB):
        await shop.tells(number, "began")
        await shop.goes_on(timedelta(seconds=1))
    assert await shop.texts() == [(ANN, "Acme: AAA")]
    await coupons.add(shop.connection, kept, ["BBB"])
    await shop.goes_on(timedelta(minutes=2))
    assert await shop.texts() == [(ANN, "Acme: AAA"), (BOB, "Acme: BBB")]


CALL = workflow("""
[[steps]]
do = "webhook"
name = "crm"
url = "http://127.0.0.1:1/hook"
on_fail = "sorry"
[[steps]]
do = "send"
text = "told"
next = "exit"
[[steps]]
do = "send"
name = "sorry"
text = "not told"
""")


@pytest.mark.parametrize(("state", "text"), [(calls.TOLD, "told"), (calls.FAILED, "not told")])
async def test_wf_10_a_step_waits_for_its_call_and_goes_the_way_that_it_came_to(
    shop: Shop, state: int, text: str
) -> None:
    await shop.people([ANN])
    await shop.apply(CALL)
    await shop.tells(ANN, "began")
    await shop.goes_on(timedelta(seconds=1))
    await crash(shop)
    await shop.goes_on(timedelta(minutes=3))
    (call,) = await calls.due(shop.connection, shop.now, 8)
    assert (call.url, call.step, await shop.texts()) == ("http://127.0.0.1:1/hook", "crm", [])
    await calls.end(shop.connection, [calls.End(call=call, state=state, tries=1, status=200)], shop.now)
    await shop.goes_on(timedelta(milliseconds=1))
    assert await shop.texts() == [(ANN, text)]


TALK = workflow("""
[[steps]]
do = "create_conversation"
note = "wants a size that is sold out"
""")


async def test_wf_1_a_conversation_is_opened_once_for_people_of_ours(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.apply(TALK)
    await shop.tells(ANN, "began")
    await shop.goes_on(timedelta(seconds=1))
    (one,) = await conversations.of_number(shop.connection, ANN)
    assert (one.inbox, one.brand, one.sender, one.waits_since) == ("support", "acme", "12345", shop.now)
    assert one.lane in (await shop.connection.fetchval("SELECT array_agg(lane) FROM carrier"))
    said = await conversations.said(shop.connection, one)
    assert [(each.direction, each.text) for each in said] == [(conversations.NOTE, "wants a size that is sold out")]
    await shop.tells(ANN, "began")
    await shop.goes_on(timedelta(seconds=1))
    (again,) = await conversations.of_number(shop.connection, ANN)
    assert (again.id, len(await conversations.said(shop.connection, again))) == (one.id, 2)


OPT_IN = workflow("""
class = "transactional"
[[steps]]
do = "ask"
name = "news"
text = "News from Acme? YES or NO"
question = {type = "yes_no"}
[[steps]]
do = "subscribe"
answer = "news"
otherwise = "exit"
[[steps]]
do = "set_attribute"
attribute = "subscribed"
value = true
""")


async def answers(shop: Shop, number: int, value: bool) -> None:
    item = Item(
        who=Who(phone=number), name="answered", source="declared", event_id=f"a{number}{value}", occurred_at=shop.now,
        properties={"question": "news", "campaign": "flow", "value": value, "type": "yes_no"},
    )  # fmt: skip
    await profiles.ingest(shop.connection, [item], shop.now, shop.chance)


@pytest.mark.covers("S4.1")
async def test_cn_2_who_says_yes_is_subscribed_with_the_question_as_proof_and_nobody_else(shop: Shop) -> None:
    await shop.people([ANN, BOB])
    await shop.apply(OPT_IN)
    for number in (ANN, BOB):
        await shop.tells(number, "began")
    await shop.goes_on(timedelta(seconds=1))
    for number in (ANN, BOB):
        await answers(shop, number, number == ANN)
    await shop.goes_on(timedelta(seconds=1))
    rows = await shop.connection.fetch("SELECT * FROM consent WHERE method LIKE 'answer%'")
    (fact,) = rows
    told = tuple(fact[name] for name in ("number", "action", "class", "brand", "wording"))
    assert told == (ANN, "grant", "promotional", "acme", "News from Acme? YES or NO")
    assert [one[0] for one in await shop.standing("flow") if one[2:] == (1, 0)] == [ANN, BOB]
    rows = await shop.connection.fetch("SELECT number, attributes ->> 'subscribed' AS it FROM profile ORDER BY number")
    assert [(row["number"], row["it"]) for row in rows] == [(ANN, "true"), (BOB, None)]


async def test_steps_that_cannot_work_here_are_refused_each_with_its_place(dsn: str) -> None:
    shop = await Shop.open(dsn)
    text = workflow("""
[[steps]]
do = "issue_coupon"
pool = "nowhere"
[[steps]]
do = "webhook"
url = "http://crm.example/hook"
[[steps]]
do = "create_conversation"
[[steps]]
do = "subscribe"
answer = "nobody"
""")
    found, _ = document.read(text.encode())
    assert found is not None
    _, problems, _ = await launching.check(shop.connection, shop.settings, found)
    shop.close()
    assert sorted(key for key, _, _ in problems) == [
        "steps[0].pool", "steps[1]", "steps[1].url", "steps[2]", "steps[3].answer",
    ]  # fmt: skip


async def test_who_has_no_number_gets_no_code(shop: Shop) -> None:
    await shop.people([ANN])
    await pool(shop, ["AAA"])
    await shop.apply(workflow('[[steps]]\ndo = "issue_coupon"\npool = "spring"\n'))
    item = Item(who=Who(external_id="anon"), name="began", event_id="b", occurred_at=shop.now)
    await profiles.ingest(shop.connection, [item], shop.now, shop.chance)
    await shop.goes_on(timedelta(seconds=1))
    assert await shop.connection.fetchval("SELECT count(*) FROM coupon WHERE number IS NOT NULL") == 0
    rows = await shop.connection.fetch("SELECT outcome FROM step_run")
    assert [row["outcome"] for row in rows] in ([], [int(Reason.NO_NUMBER)])
