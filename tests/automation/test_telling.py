"""Who enters a workflow, leaves it or reaches a goal is told of it where anybody asks: once, whoever dies (EV-11)."""

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gateway.automation import launching
from gateway.automation.feeding import Feeding
from gateway.automation.launching import Unfit
from gateway.campaign import audience
from gateway.errors import StoreError
from gateway.person import Item, Who
from gateway.reporting import ReportSettings
from gateway.store import conversions, feeds, profiles, reports, selection
from tests.fixtures.shop import Shop

ANN, BOB, CAT = 447700900001, 447700900002, 447700900003
FIRST = """
name = "first"
brand = "acme"
aim = "a"
wait = "1h"
message = {text = "Hi"}
[trigger]
on = "event"
event = "seen"
[[exceptions]]
event = "gone"
"""
THEN = """
name = "then"
brand = "acme"
aim = "a"
message = {text = "And now?"}
[trigger]
on = "event"
event = "workflow_exited"
where = "campaign = 'first' and reason = 'done'"
"""


async def tells(shop: Shop) -> None:
    """Have what is owed told, as the job does it."""

    async def connect() -> Any:
        return shop.connection

    await Feeding(shop.settings, lambda: shop.now, connect, "shop", random.Random(3))._pay(shop.connection, shop.now)


async def told(shop: Shop) -> list[tuple[int, str, dict[str, Any]]]:
    rows = await shop.connection.fetch(
        "SELECT p.number, v.name, v.properties::text FROM person_event v JOIN profile p ON p.id = v.profile "
        "WHERE v.name IN ('workflow_entered', 'workflow_exited', 'goal') ORDER BY v.occurred_at, p.number, v.name"
    )
    return [(number, name, msgspec.json.decode(said)) for number, name, said in rows]


async def test_campaign_begins_when_another_one_has_come_to_its_end_and_not_otherwise(shop: Shop) -> None:
    await shop.people([ANN, BOB])
    await shop.apply(FIRST)
    await shop.apply(THEN)
    for number in (ANN, BOB):
        await shop.tells(number, "seen")
    await shop.goes_on(timedelta(minutes=1))
    await shop.tells(BOB, "gone")
    await shop.goes_on()
    await shop.goes_on(timedelta(hours=1))
    await tells(shop)
    await shop.goes_on(timedelta(seconds=1))
    assert [number for number, _ in await shop.texts("then")] == [ANN]
    exits = [(number, said["campaign"], said["reason"]) for number, _, said in await told(shop)]
    assert exits == [(BOB, "first", "exception"), (ANN, "first", "done")]
    # Its own end is told, too, and begins nothing.
    await tells(shop)
    assert (await told(shop))[-1][2]["campaign"] == "then"
    assert await shop.connection.fetchval("SELECT count(*) FROM person_owed") == 0


async def test_what_nobody_asks_for_is_told_to_nobody(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.apply(FIRST)
    await shop.tells(ANN, "seen")
    await shop.goes_on(timedelta(hours=2))
    assert await shop.connection.fetchval("SELECT count(*) FROM person_owed") == 0


async def test_whom_an_audience_counts_is_told_and_once_though_the_teller_dies(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = audience.parse("count(workflow_entered, campaign = 'first') > 0")
    await selection.keep(shop.connection, "entered", "text", tree, "UTC", shop.now)
    await shop.people([ANN, BOB])
    await shop.apply(FIRST)
    for number in (ANN, BOB):
        await shop.tells(number, "seen")
    await shop.goes_on()

    async def dies(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(feeds, "paid", dies)
        with pytest.raises(StoreError):
            await tells(shop)
    await tells(shop)
    assert [(number, name) for number, name, _ in await told(shop)] == [
        (ANN, "workflow_entered"), (BOB, "workflow_entered"),
    ]  # fmt: skip


async def test_whose_campaign_is_ended_by_hand_or_by_another_cause_leaves_it(shop: Shop) -> None:
    listens = THEN.replace(" and reason = 'done'", "")
    await shop.people([ANN, BOB])
    await shop.apply(FIRST + '[entry]\nrunning = "restart"\n')
    await shop.apply(listens)
    for number in (ANN, BOB, BOB):
        await shop.tells(number, "seen")
        await shop.goes_on(timedelta(seconds=1))
    await launching.set_state(shop.connection, "first", "ended", shop.now)
    await shop.goes_on(timedelta(seconds=1))
    await tells(shop)
    exits = [(number, said["reason"]) for number, _, said in await told(shop)]
    assert exits == [(BOB, "campaign_ended"), (ANN, "campaign_ended"), (BOB, "campaign_ended")]


GOAL = """
name = "sold"
brand = "acme"
message = {text = "Hi"}
[trigger]
on = "event"
event = "seen"
[[goals]]
event = "order_placed"
within = "3d"
exits = false
"""
THANKS = """
name = "thanks"
brand = "acme"
aim = "a"
message = {text = "{{ event.value.amount }}"}
[trigger]
on = "event"
event = "goal"
where = "campaign = 'sold'"
max_age = "3d"
"""


async def test_goals_are_told_when_they_are_reached_first_and_when_once_more(shop: Shop) -> None:
    """GL-3: once for each case; what comes behind adds to it."""
    await shop.people([ANN, CAT])
    await shop.apply(GOAL)
    await shop.apply(THANKS)
    for number in (ANN, CAT):
        sent = Item(
            who=Who(phone=number), name="submitted", properties={"campaign": "sold", "run": 1}, source="sluice",
            event_id=f"submitted:1:{number}:0", occurred_at=shop.now, is_ours=True,
        )  # fmt: skip
        await profiles.ingest(shop.connection, [sent], shop.now, shop.chance)
    settings = ReportSettings()
    for order, amount in ((1, 20), (2, 5)):
        shop.now += timedelta(hours=1)
        bought = {"order_id": f"o{order}", "total": amount, "currency": "EUR"}
        await shop.tells(ANN, "order_placed", bought)
        for _ in range(2):
            await reports.refresh(shop.connection, settings, shop.now)
            await tells(shop)
        await shop.goes_on(timedelta(minutes=1))
    found = [(number, said["goal"], said["is_first"], said["value"]["amount"]) for number, _, said in await told(shop)]
    assert found == [(ANN, "event order_placed", True, 20.0), (ANN, "event order_placed", False, 5.0)]
    assert await shop.texts("thanks") == [(ANN, "20.0"), (ANN, "5.0")]


async def refused(shop: Shop, text: str) -> str:
    with pytest.raises(Unfit) as caught:
        await shop.apply(text)
    return str(caught.value)


async def test_campaigns_that_would_begin_one_another_without_end_are_refused(shop: Shop) -> None:
    """WF-7: by their coming and going, by their goals, by steps that enter, and by all of these in turn."""
    assert "trigger.where: expected campaign = 'NAME': whose" in await refused(
        shop, THEN.replace("campaign = 'first' and", "")
    )
    assert "found then → then" in await refused(shop, THEN.replace("'first'", "'then'"))
    await shop.apply(THEN)
    back = THEN.replace('"then"', '"first"').replace("'first'", "'then'")
    assert "trigger.where: expected workflows that do not lead back to this one, found first → then → first" in (
        await refused(shop, back)
    )
    goal = FIRST.replace('aim = "a"', "") + '[[goals]]\nevent = "workflow_entered"\nwhere = "campaign = \'then\'"\n'
    assert "goals[0].where: expected workflows that do not lead back" in await refused(shop, goal)
    called = FIRST.replace('name = "first"', 'name = "called"').replace('on = "event"\nevent = "seen"', 'on = "call"')
    await shop.apply(called.replace("aim", "about").replace('wait = "1h"', 'aim = "b"'))
    enters = THEN.replace('"then"', '"enters"').replace("'first'", "'called'").replace("reason = 'done'", "true = true")
    steps = 'kind = "workflow"\nsteps = [{do = "enter_workflow", workflow = "called"}]'
    enters = enters.replace('message = {text = "And now?"}', steps).replace(" and true = true", "")
    assert "steps[0].workflow: expected workflows that do not lead back to this one" in await refused(shop, enters)


async def test_goals_that_an_audience_counts_are_told_though_nothing_begins_by_them(shop: Shop) -> None:
    tells_ = []
    for text in ("count(goals) > 0", "not (count(goal, campaign = 'sold') > 1)"):
        await selection.keep(shop.connection, "reached", text, audience.parse(text), "UTC", shop.now)
        house = await conversions.house(shop.connection, zone="UTC", currency="", lists=(), numbers=())
        tells_.append(house.tells)
    assert tells_ == [False, True]
