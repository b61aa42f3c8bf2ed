"""What begins a campaign and whom it is for, row by row, as somebody would put it together."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway import document
from gateway.automation import launching
from gateway.automation.ageing import Ageing
from gateway.automation.sessions import Sessions
from gateway.campaign.audience import parse
from gateway.coupon import Coupon, Discount
from gateway.person import Item, Who
from gateway.reasons import Reason
from gateway.store import coupons, lists, months, postgres, profiles, selection
from tests.fixtures.campaign import make_list
from tests.fixtures.shop import NOW, Shop

ANN, BOB, CAT, DAN = 447700900001, 447700900002, 447700900003, 447700900004
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


def campaign(trigger: str, more: str = "", name: str = "c", text: str = "Hi") -> str:
    return f"name = '{name}'\nbrand = 'acme'\nmessage = {{text = '{text}'}}\naim = 'a'\n{more}\n[trigger]\n{trigger}\n"


def series(trigger: str, *steps: str) -> str:
    head = f"name = 'c'\nkind = 'workflow'\nbrand = 'acme'\naim = 'a'\n[trigger]\n{trigger}\n"
    return head + "".join(f"[[steps]]\n{step}\n" for step in steps)


async def reached(shop: Shop, name: str = "") -> list[int]:
    return sorted(number for number, _ in await shop.texts(name))


async def says(shop: Shop, who: Who, name: str = "", properties: Mapping[str, Any] | None = None) -> None:
    """Tell of somebody who goes by any name."""
    shop.told += 1
    item = Item(who=who, name=name, properties=properties or {}, occurred_at=shop.now, event_id=f"said {shop.told}")
    await months.ensure(shop.connection, "person_event", [shop.now])
    await profiles.ingest(shop.connection, [item], shop.now, shop.chance)


@pytest.mark.covers("S2.13", "S3.1", "S3.9")
@pytest.mark.parametrize("event", ["page_view", "order_placed", "Something of Our Own!"])
async def test_only_whoever_does_the_thing_is_written_to(shop: Shop, event: str) -> None:
    """TR-1: any event, also of a name that nobody has heard before."""
    await shop.people([ANN, BOB, CAT])
    await shop.apply(campaign(f"on = 'event'\nevent = '{event}'"))
    await shop.tells(ANN, event)
    await shop.tells(BOB, "another")
    await shop.goes_on(DAY)
    assert await reached(shop) == [ANN]


@pytest.mark.covers("S3.2", "S3.3", "S3.5", "S2.19")
async def test_a_session_a_visit_and_a_purchase_each_begin_their_own(shop: Shop) -> None:
    await shop.people([ANN, BOB, CAT])
    for event in ("session_started", "visit", "order_placed"):
        await shop.apply(campaign(f"on = 'event'\nevent = '{event}'", "filter = 'orders <= 1'", name=event, text=event))
    await shop.tells(ANN, "session_started")
    await shop.tells(BOB, "visit", {"url": "https://shop.example/"})
    await shop.tells(CAT, "order_placed", {"order_id": "1", "total": 20, "currency": "EUR"})
    await shop.goes_on(SECOND)
    assert sorted(await shop.texts()) == [(ANN, "session_started"), (BOB, "visit"), (CAT, "order_placed")]
    assert await shop.connection.fetchval("SELECT orders FROM profile WHERE number = $1", CAT) == 1


@pytest.mark.covers("S3.4")
async def test_who_leaves_a_cart_is_told_when_the_session_is_over_and_who_buys_in_it_is_not(
    shop: Shop, dsn: str
) -> None:
    """TR-8, EV-10: the end of a session is half an hour without a sign, or an event."""
    await shop.people([ANN, BOB, CAT])
    await shop.apply(
        campaign(
            "on = 'event'\nevent = 'session_ended'", "filter = 'did(cart_updated, 2h) and not did(order_placed, 2h)'"
        )
    )
    sessions = Sessions(lambda: shop.now, lambda: postgres.connect(dsn), "shop", random.Random(1))
    for number in (ANN, BOB):
        await shop.tells(number, "cart_updated", {"cart_id": "x"})
    await shop.tells(CAT, "visit")
    await shop.goes_on(timedelta(minutes=10))
    await shop.tells(BOB, "order_placed", {"order_id": "1", "total": 20, "currency": "EUR"})
    await shop.goes_on(timedelta(minutes=19, seconds=50))
    await sessions.round()
    await shop.goes_on(SECOND)
    assert await reached(shop) == []
    await shop.goes_on(timedelta(minutes=30))
    await sessions.round()
    await sessions.close()
    await shop.goes_on(SECOND)
    assert await reached(shop) == [ANN]


@pytest.mark.covers("S3.4", "S3.7", "S4.54")
async def test_what_did_not_happen_in_time_begins_it_at_the_end_of_that_time_and_not_before(shop: Shop) -> None:
    """TR-8: a mail that nobody opened; what happens one second behind the time is too late."""
    await shop.people([ANN, BOB, CAT])
    await shop.apply(
        campaign(
            "on = 'sequence'\nevent = 'email_sent'\nwhere = \"mailing = 'spring'\"\nwithin = '2d'\n"
            "unless = {event = 'email_opened', key = 'mailing'}"
        )
    )
    for number in (ANN, BOB):
        await shop.tells(number, "email_sent", {"mailing": "spring"})
    await shop.tells(CAT, "email_sent", {"mailing": "another"})
    await shop.goes_on(DAY)
    await shop.tells(ANN, "email_opened", {"mailing": "another"})
    await shop.tells(BOB, "email_opened", {"mailing": "spring"})
    await shop.goes_on(DAY - SECOND)
    assert await reached(shop) == []
    await shop.goes_on(SECOND)
    assert await reached(shop) == [ANN]


@pytest.mark.covers("S4.53", "S0.9")
async def test_a_click_in_a_mail_brings_a_text(shop: Shop) -> None:
    await shop.people([ANN, BOB])
    await shop.apply(
        campaign("on = 'event'\nevent = 'email_clicked'\nwhere = \"link starts_with 'https://acme.example/sale'\"")
    )
    await shop.tells(ANN, "email_clicked", {"link": "https://acme.example/sale?x=1"})
    await shop.tells(BOB, "email_clicked", {"link": "https://acme.example/imprint"})
    await shop.goes_on(SECOND)
    assert await reached(shop) == [ANN]


@pytest.mark.covers("S3.6", "S3.7")
async def test_what_became_of_an_earlier_message_begins_the_next_one(shop: Shop) -> None:
    """TR-1: delivered, clicked by a human, answered; and nothing of it within a time."""
    await shop.people([ANN, BOB, CAT, DAN])
    await shop.apply(campaign("on = 'call'", name="first"), launches=False)
    for outcome in ("delivered", "clicked", "replied", "nothing"):
        trigger = f"on = 'message'\ncampaign = 'first'\noutcome = '{outcome}'\nwithin = '1d'"
        await shop.apply(campaign(trigger, name=outcome, text=outcome))
    for number in (ANN, BOB, CAT, DAN):
        await shop.tells(number, "submitted", {"campaign": "first"})
    await shop.goes_on(SECOND)
    await shop.tells(ANN, "delivered", {"campaign": "first"})
    await shop.tells(BOB, "clicked", {"campaign": "first", "verdict": "human"})
    await shop.tells(CAT, "replied", {"campaign": "first"})
    await shop.tells(DAN, "clicked", {"campaign": "first", "verdict": "bot"})
    await shop.tells(DAN, "delivered", {"campaign": "another"})
    await shop.goes_on(HOUR)
    assert sorted(await shop.texts()) == [(ANN, "delivered"), (BOB, "clicked"), (CAT, "replied")]
    await shop.goes_on(23 * HOUR)
    assert await reached(shop, "nothing") == [ANN, DAN]


@pytest.mark.covers("S3.8")
async def test_who_comes_to_a_place_is_written_to(shop: Shop) -> None:
    await shop.people([ANN, BOB])
    await shop.apply(campaign("on = 'place'\nlat = 52.52\nlon = 13.405\nkm = 1.0"))
    await shop.tells(ANN, "location", {"lat": 52.521, "lon": 13.41})
    await shop.tells(BOB, "location", {"lat": 52.54, "lon": 13.41})
    await shop.goes_on(SECOND)
    assert await reached(shop) == [ANN]


@pytest.mark.covers("S2.1", "S2.11", "S3.21")
async def test_who_comes_into_an_audience_by_time_alone_is_told_step_by_step(shop: Shop, dsn: str) -> None:
    """SG-4, SG-5: who is in it already when it begins is not told; 2 days, 3 days, a week, a month behind that."""
    await shop.people([ANN, BOB])
    await selection.keep(shop.connection, "sleepers", "orders.last > 30d", parse("orders.last > 30d"), "UTC", shop.now)
    ageing = Ageing(lambda: shop.now, lambda: postgres.connect(dsn), "shop", random.Random(1))
    order = {"order_id": "1", "total": 5, "currency": "EUR"}
    await shop.tells(BOB, "order_placed", order | {"order_id": "2"}, at=shop.now - 31 * DAY)
    await shop.tells(ANN, "order_placed", order)
    waits = {"2 days": "'2d'", "3 days": "'3d'", "a week": "'1w'", "a month": "{at = {months = 1, time = '12:00'}}"}
    steps = [f"do = 'wait'\nfor = {wait}\n[[steps]]\ndo = 'send'\ntext = '{text}'" for text, wait in waits.items()]
    await shop.apply(series("on = 'audience'\naudience = 'sleepers'", *steps))
    for _ in range(31):
        await ageing.round()
        await shop.goes_on(DAY)
    await ageing.round()
    await shop.goes_on(SECOND)
    entered = shop.now - SECOND
    found = []
    for _ in range(50):
        await shop.goes_on(DAY)
        while len(found) < len(await shop.texts()):
            found.append((await shop.texts())[len(found)])
    await ageing.close()
    assert found == [(ANN, "2 days"), (ANN, "3 days"), (ANN, "a week"), (ANN, "a month")]
    assert entered > NOW + 30 * DAY


@pytest.mark.covers("S2.1")
async def test_who_is_put_onto_a_list_is_written_to_once(shop: Shop) -> None:
    """SG-7, TR-4: of a list, once for life unless it is said otherwise."""
    await shop.people([ANN, BOB])
    vip = await make_list(shop.connection, [BOB], "vip")
    await shop.apply(campaign("on = 'list'\nlist = 'vip'"))
    for at in range(2):
        await lists.add(shop.connection, vip, [ANN, BOB], f"round {at}", shop.now, shop.chance)
        await shop.goes_on(HOUR)
        await lists.remove(shop.connection, vip, [ANN], f"round {at}", shop.now, shop.chance)
        await shop.goes_on(HOUR)
    assert await reached(shop) == [ANN]


@pytest.mark.covers("S2.17", "S2.16")
async def test_first_seen_within_three_days_is_asked_when_the_wait_is_over(shop: Shop) -> None:
    """The filter holds at the entry and not any more behind the wait: nobody is written to then."""
    await shop.people([ANN])
    await shop.apply(campaign("on = 'event'\nevent = 'page_view'", "filter = 'first_seen within 3d'\nwait = '50h'"))
    await shop.tells(ANN, "page_view")
    await shop.goes_on(DAY)
    await shop.people([BOB])
    await shop.tells(BOB, "page_view")
    await shop.goes_on(DAY + 2 * HOUR)
    assert await reached(shop) == [ANN]
    await shop.goes_on(DAY)
    assert await reached(shop) == [ANN, BOB]
    # Ann is known for four days by now, and was for less than three when this began anew.
    await shop.apply(
        campaign("on = 'event'\nevent = 'visit'", "filter = 'first_seen within 5d'\nwait = '50h'", name="later")
    )
    await shop.tells(ANN, "visit")
    await shop.tells(BOB, "visit")
    await shop.goes_on(50 * HOUR)
    assert await reached(shop, "later") == [BOB]
    assert {one[0]: one[3] for one in await shop.standing("later")} == {ANN: Reason.AUDIENCE_LEFT, BOB: 0}


@pytest.mark.covers("S2.18", "S2.19")
async def test_bought_for_nothing_is_not_the_same_as_not_known(shop: Shop) -> None:
    """EV-8: an amount that is missing is no zero unless that is written, by `not`; orders are counted, so none is 0."""
    await shop.people([ANN, BOB, CAT])
    await shop.tells(BOB, "order_placed", {"order_id": "1", "total": 0, "currency": "EUR"})
    await shop.tells(CAT, "order_placed", {"order_id": "2", "total": 9, "currency": "EUR"})
    kinds = {"known": "spent <= 9 EUR", "unsaid": "not spent > 0 EUR", "count": "orders = 0"}
    for name, filter_ in kinds.items():
        await shop.apply(campaign("on = 'event'\nevent = 'visit'", f"filter = '{filter_}'", name=name))
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "visit")
    await shop.goes_on(SECOND)
    assert {name: await reached(shop, name) for name in kinds} == {"known": [CAT], "unsaid": [ANN, BOB], "count": [ANN]}


@pytest.mark.covers("S2.20")
async def test_the_first_and_the_last_way_somebody_came_are_both_kept(shop: Shop) -> None:
    await shop.people([ANN, BOB])
    for number, terms in ((ANN, ("shoes", "boots")), (BOB, ("boots", "shoes"))):
        for term in terms:
            await shop.tells(number, "page_view", {"url": "https://acme.example", "utm_term": term, "utm_source": "ad"})
            shop.now += HOUR
    for touch in ("first", "last"):
        filter_ = f'''filter = "utm.{touch}.term = 'shoes' and utm.{touch}.source = 'ad'"'''
        await shop.apply(campaign("on = 'event'\nevent = 'visit'", filter_, name=touch))
    for number in (ANN, BOB):
        await shop.tells(number, "visit")
    await shop.goes_on(SECOND)
    assert (await reached(shop, "first"), await reached(shop, "last")) == ([ANN], [BOB])


@pytest.mark.covers("S2.32")
async def test_a_visitor_whom_nobody_knows_is_written_to_once_a_number_that_has_agreed_is_theirs(shop: Shop) -> None:
    """EV-7: what they did before is kept; until then there is nobody to write to."""
    await shop.people([ANN])
    await shop.people([BOB], consents_=False)
    await shop.apply(campaign("on = 'event'\nevent = 'page_view'", "filter = 'did(product_viewed, 7d)'"))
    for device in ("a", "b", "c"):
        await says(shop, Who(anonymous_id=device), "product_viewed", {"product": "p"})
        await says(shop, Who(anonymous_id=device), "page_view")
    await shop.goes_on(HOUR)
    assert await reached(shop) == []
    assert {one[3] for one in await shop.standing("c")} == {Reason.NO_NUMBER}
    await says(shop, Who(anonymous_id="a", external_id=str(ANN)))
    await says(shop, Who(anonymous_id="b", external_id=str(BOB)))
    for device in ("a", "b", "c"):
        await says(shop, Who(anonymous_id=device), "page_view")
    await shop.goes_on(HOUR)
    assert await reached(shop) == [ANN]


@pytest.mark.covers("S2.22", "S1.34", "S3.20")
async def test_a_goal_has_conditions_or_none_and_ends_it(shop: Shop) -> None:
    await shop.people([ANN, BOB, CAT])
    text = campaign("on = 'event'\nevent = 'visit'", "wait = '1d'").replace("aim = 'a'\n", "")
    await shop.apply(text + "[[goals]]\nevent = 'order_placed'\nwhere = 'total >= 50'\nwithin = '30d'\n")
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "visit")
    await shop.goes_on(HOUR)
    await shop.tells(ANN, "order_placed", {"order_id": "1", "total": 50, "currency": "EUR"})
    await shop.tells(BOB, "order_placed", {"order_id": "2", "total": 49, "currency": "EUR"})
    await shop.goes_on(DAY)
    assert await reached(shop) == [BOB, CAT]
    assert {one[0]: one[3] for one in await shop.standing("c")} == {ANN: Reason.GOAL_MET, BOB: 0, CAT: 0}


@pytest.mark.covers("S3.19", "S3.20")
async def test_an_exception_a_millisecond_before_the_text_prevents_it_and_is_counted(shop: Shop) -> None:
    """EX-1: of the same product alone."""
    await shop.people([ANN, BOB])
    text = campaign("on = 'event'\nevent = 'product_viewed'\nkey = 'product'", "wait = '1d'")
    await shop.apply(text + "[[exceptions]]\nevent = 'order_placed'\nkey = 'product'\n")
    for number in (ANN, BOB):
        await shop.tells(number, "product_viewed", {"product": "p"})
    await shop.goes_on(DAY - timedelta(milliseconds=1))
    order = {"total": 5, "currency": "EUR"}
    await shop.tells(ANN, "order_placed", order | {"order_id": "1", "product": "p"})
    await shop.tells(BOB, "order_placed", order | {"order_id": "2", "product": "q"})
    await shop.goes_on(timedelta(milliseconds=1))
    assert await reached(shop) == [BOB]
    assert [one[3] for one in await shop.standing("c")] == [Reason.EXCEPTION, 0]


@pytest.mark.covers("S3.22")
async def test_nobody_enters_before_the_start_or_from_the_end_on(shop: Shop) -> None:
    await shop.people([ANN, BOB, CAT])
    ends = "starts_at = '2026-03-02T13:00:00Z'\nends_at = '2026-03-02T14:00:00Z'\nat_end = 'drain'\nwait = '2h'"
    await shop.apply(campaign("on = 'event'\nevent = 'visit'", ends))
    for number, at in ((ANN, HOUR - SECOND), (BOB, HOUR), (CAT, 2 * HOUR)):
        shop.now = NOW + at
        await shop.tells(number, "visit")
        await shop.goes_on(timedelta(0))
    await shop.goes_on(DAY)
    assert await reached(shop) == [BOB]


async def test_what_was_told_before_a_launch_begins_nothing_though_nobody_has_decided_about_it_SG_5(shop: Shop) -> None:
    """A worker that was away finds what an ended campaign was told of."""
    await shop.people([ANN, BOB])
    await shop.apply(campaign("on = 'event'\nevent = 'visit'", name="old"))
    await shop.tells(ANN, "visit")
    await launching.set_state(shop.connection, "old", "ended", shop.now)
    shop.now += HOUR
    await shop.apply(campaign("on = 'event'\nevent = 'visit'"))
    await shop.tells(BOB, "visit")
    await shop.goes_on(SECOND)
    assert await reached(shop) == [BOB]
    assert await shop.connection.fetchval("SELECT count(*) FROM cause") == 0


async def test_campaign_that_drains_is_ended_when_the_last_person_has_left_and_not_before_TR_9(shop: Shop) -> None:
    await shop.people([ANN])

    async def state() -> str:
        return str(await shop.connection.fetchval("SELECT state FROM campaign WHERE name = 'c'"))

    ends = "ends_at = '2026-03-02T14:00:00Z'\nat_end = 'drain'\nwait = '4h'"
    await shop.apply(campaign("on = 'event'\nevent = 'visit'", ends))
    await shop.tells(ANN, "visit")
    await shop.goes_on(4 * HOUR - SECOND, step=HOUR / 2)
    assert await state() == "live" and await reached(shop) == []
    await shop.goes_on(SECOND)
    assert await reached(shop) == [ANN]
    await shop.goes_on(2 * timedelta(minutes=1))
    assert await state() == "ended"
    assert await shop.connection.fetchval("SELECT count(*) FROM listened") == 0
    assert await reached(shop) == [ANN], "what it has queued is sent"
    assert await shop.connection.fetchval("SELECT count(*) FROM run WHERE cancelled_at IS NOT NULL") == 0


@pytest.mark.covers("S3.25", "S3.21")
async def test_several_campaigns_stand_beside_one_another_and_none_knows_of_another(shop: Shop) -> None:
    """A pause of one, and an exit of one, leave the other as it is; without an end both go on."""
    await shop.people([ANN])
    for name, wait in (("one", "1h"), ("two", "2h"), ("three", "3h")):
        text = campaign("on = 'event'\nevent = 'visit'", f"wait = '{wait}'", name=name, text=name)
        await shop.apply(text + ("[[exceptions]]\nevent = 'bought'\n" if name == "two" else ""))
    await shop.tells(ANN, "visit")
    await shop.goes_on(timedelta(minutes=1))
    await launching.set_state(shop.connection, "one", "paused", shop.now)
    await shop.tells(ANN, "bought")
    await shop.goes_on(4 * HOUR)
    assert await shop.texts() == [(ANN, "three")]
    await launching.set_state(shop.connection, "one", "live", shop.now)
    await shop.goes_on(SECOND)
    assert sorted(await shop.texts()) == [(ANN, "one"), (ANN, "three")]
    shop.now += 400 * DAY - 4 * HOUR
    await shop.tells(ANN, "visit")
    await shop.goes_on(4 * HOUR)
    assert sorted(text for _, text in await shop.texts()) == ["one", "one", "three", "three", "two"]


@pytest.mark.covers("S3.17", "S2.8")
async def test_a_campaign_says_its_aim_or_is_told_that_it_has_none(shop: Shop) -> None:
    silent = campaign("on = 'call'").replace("aim = 'a'\n", "")
    for text, says_so in (
        (silent, True),
        (silent + "[[goals]]\nevent = 'order_placed'\n", False),
        (campaign("on = 'call'"), False),
    ):
        found, problems = document.read(text.encode())
        assert found is not None and problems == []
        _, problems, slips = await launching.check(shop.connection, shop.settings, found)
        assert problems == [] and any("S3.17" in slip for slip in slips) is says_so


@pytest.mark.covers("S2.12")
def test_the_six_parts_are_what_a_campaign_is_made_of() -> None:
    parts = {
        "message": {"text": "Hi"}, "trigger": {"on": "event", "event": "visit"}, "wait": "50h", "filter": "orders = 0",
        "hours": {"mon-fri": ["09:00-18:00"]}, "goals": [{"event": "order_placed"}],
    }  # fmt: skip
    found, problems = document.of({"name": "c", "brand": "acme"} | parts)
    assert problems == [] and found is not None
    for part in parts:
        wrong = 7 if part != "wait" else parts[part]
        _, problems = document.of({"name": "c", "brand": "acme"} | parts | {part: wrong, "trigger": parts["trigger"]})
        assert bool(problems) is (part not in ("wait", "trigger", "hours")), part
    assert document.of({"name": "c", "brand": "acme"})[1] == [("trigger", "a value", "nothing")]


@pytest.mark.covers("S4.81", "S4.46")
async def test_a_company_is_an_attribute_that_audiences_and_texts_ask_for(shop: Shop) -> None:
    """EV-8: its fields go as deep as they are told."""
    await shop.people([ANN], {"company": {"name": "Bolt Ltd", "seats": 40, "plan": "pro"}, "gender": "f"})
    await shop.people([BOB], {"company": {"name": "Nut Ltd", "seats": 4, "plan": "pro"}, "gender": "m"})
    await shop.people([CAT], {"gender": "f"})
    await shop.apply(
        campaign(
            "on = 'event'\nevent = 'trial_ended'", 'filter = "company.seats >= 10"',
            text="Hello {{ company.name }}",
        )
    )  # fmt: skip
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "trial_ended")
    await shop.goes_on(SECOND)
    assert await shop.texts() == [(ANN, "Hello Bolt Ltd")]


@pytest.mark.covers("S1.32", "S1.31", "S0.40")
async def test_why_somebody_left_says_which_offer_they_get(shop: Shop) -> None:
    """The table of offers by reason is a branch, asked as of the moment the text is due."""
    reasons = {ANN: "price", BOB: "shipping", CAT: "service", DAN: None}
    for number, reason in reasons.items():
        await shop.people([number], {"churn_reason": reason} if reason else {})
    offers = {"price": "20% off", "shipping": "Free shipping", "service": "We have changed"}
    cases = ", ".join(f"""{{if = "churn_reason = '{one}'", then = "{one}"}}""" for one in offers)
    steps = [
        f"do = 'branch'\ncases = [{cases}]\notherwise = 'any'",
        "do = 'send'\nname = 'any'\ntext = 'Come back'\nnext = 'exit'",
    ]
    steps += [f"do = 'send'\nname = '{one}'\ntext = '{text}'\nnext = 'exit'" for one, text in offers.items()]
    await shop.apply(series("on = 'event'\nevent = 'lapsed'", *steps))
    for number in reasons:
        await shop.tells(number, "lapsed")
    await shop.goes_on(SECOND)
    assert dict(await shop.texts()) == {
        number: offers.get(reason or "", "Come back") for number, reason in reasons.items()
    }


@pytest.mark.covers("S4.57")
async def test_a_text_follows_a_call_when_a_program_says_so(shop: Shop) -> None:
    await shop.people([ANN, BOB])
    await shop.apply(
        campaign(
            "on = 'event'\nevent = 'call_ended'\nwhere = 'minutes > 1'", "wait = '10m'", text="How was {{ agent }}?"
        )
    )
    await shop.tells(ANN, "call_ended", {"minutes": 3, "agent": "Eve"})
    await shop.tells(BOB, "call_ended", {"minutes": 0.5, "agent": "Eve"})
    await shop.goes_on(HOUR)
    assert await shop.texts() == [(ANN, "How was Eve?")]


@pytest.mark.covers("S3.10", "S3.11")
async def test_a_category_that_was_looked_at_and_a_price_narrow_it(shop: Shop) -> None:
    await shop.people([ANN, BOB, CAT])
    await shop.apply(campaign("on = 'event'\nevent = 'product_viewed'\nwhere = \"category = 'shoes' and price > 100\""))
    for number, category, price in ((ANN, "shoes", 101), (BOB, "shoes", 100), (CAT, "hats", 101)):
        await shop.tells(number, "product_viewed", {"category": category, "price": price})
    await shop.goes_on(SECOND)
    assert await reached(shop) == [ANN]


@pytest.mark.covers("S3.29")
async def test_a_broadcast_goes_to_all_who_match_once_at_its_hour(shop: Shop) -> None:
    """TR-1: on a schedule, once."""
    await shop.people([ANN, BOB], {"city": "Wien"})
    await shop.people([CAT])
    schedule = "on = 'schedule'\nschedule = {once = '2026-03-03T09:00'}"
    await shop.apply(campaign(schedule, "filter = \"city = 'Wien'\""))
    await shop.goes_on(datetime(2026, 3, 3, 8, 59, 59, tzinfo=UTC), step=HOUR)
    assert await reached(shop) == []
    await shop.goes_on(3 * DAY, step=HOUR)
    assert await reached(shop) == [ANN, BOB]


@pytest.mark.covers("S0.19", "S0.18")
async def test_who_completes_a_survey_gets_a_code_exactly_once(shop: Shop) -> None:
    """TP-5: whoever answers again, and whoever does not answer, has none; codes that nobody got stay free."""
    await shop.people([ANN, BOB])
    offer = Coupon(kind="pool", discount=Discount(percent=10), life="48h")
    pool = await coupons.create(shop.connection, "thanks", offer, b"x" * 32, shop.now)
    await coupons.add(shop.connection, pool, ["AAA", "BBB", "CCC"])
    await shop.apply(
        series(
            "on = 'event'\nevent = 'order_delivered'",
            "do = 'ask'\nname = 'size'\ntext = 'Small or large?'\nwithin = '2d'\nthen = 'thanks'\notherwise = 'exit'\n"
            "[steps.question]\ntype = 'choice'\nchoices = [{value = 'small'}, {value = 'large'}]",
            "do = 'send'\nname = 'thanks'\ntext = 'Thank you: {{ coupon.code }}'\ncoupon = 'thanks'",
        )
    )
    for number in (ANN, BOB):
        await shop.tells(number, "order_delivered")
    await shop.goes_on(HOUR)
    assert sorted(await shop.texts()) == [(number, "Small or large?") for number in (ANN, BOB)]
    for _ in range(2):
        await shop.tells(ANN, "answered", {"question": "size", "value": "large"})
        await shop.goes_on(HOUR)
    await shop.goes_on(3 * DAY)
    given = [(number, text) for number, text in await shop.texts() if text.startswith("Thank")]
    assert len(given) == 1 and given[0][0] == ANN and given[0][1].split(": ")[1] in {"AAA", "BBB", "CCC"}
    assert (await coupons.states(shop.connection, pool))["free"] == 2
