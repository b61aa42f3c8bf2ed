"""What a worker knows of campaigns: those that stand still, are over or cannot be carried out, and what tags share."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.automation import launching
from gateway.automation.composing import Composer
from gateway.automation.rates import CLOSED, Rating
from gateway.commands.status import rate_said
from gateway.reasons import Reason
from gateway.store import rates
from tests.fixtures.shop import CART, Shop

ANN, BOB, CAT = 447700900001, 447700900002, 447700900003


WORK = """
name = "work"
kind = "workflow"
brand = "acme"
aim = "a"
[trigger]
on = "event"
event = "began"
"""


async def test_paused_campaign_stands_and_goes_on_where_it_was(shop: Shop) -> None:
    """WF-9: timers run on; X.5."""
    await shop.people([ANN])
    await shop.apply(CART)
    await shop.tells(ANN, "cart_updated", {"cart_id": "c", "total": 80})
    await shop.goes_on(timedelta(minutes=1))
    await launching.set_state(shop.connection, "cart", "paused", shop.now)
    await shop.goes_on(timedelta(hours=1))
    assert await shop.texts() == []
    await launching.set_state(shop.connection, "cart", "live", shop.now)
    await shop.goes_on(timedelta(seconds=1))
    assert len(await shop.texts()) == 1


@pytest.mark.covers("S3.22")
async def test_ended_campaign_lets_nobody_go_on(shop: Shop) -> None:
    """TR-9: cancel_pending."""
    await shop.people([ANN, BOB])
    await shop.apply('ends_at = "2026-03-02T12:10:00Z"\n' + CART)
    await shop.tells(ANN, "cart_updated", {"cart_id": "c", "total": 80})
    await shop.goes_on(timedelta(minutes=1))
    await shop.goes_on(timedelta(minutes=10))
    await shop.tells(BOB, "cart_updated", {"cart_id": "d", "total": 80})
    await shop.goes_on(timedelta(minutes=30))
    assert await shop.texts() == []
    assert [one[2:] for one in await shop.standing("cart")] == [(1, Reason.CAMPAIGN_ENDED)]


async def test_campaign_that_cannot_be_carried_out_is_paused_and_told_and_others_go_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = list(range(447700900000, 447700900020))
    await shop.people(numbers)
    await shop.apply(WORK.replace('"work"', '"bad"') + '[[steps]]\ndo = "send"\ntext = "bad"\n')
    await shop.apply(WORK.replace('"work"', '"good"') + '[[steps]]\ndo = "send"\ntext = "good"\n')
    rows = Composer.rows

    async def fails(self: Composer, *arguments: Any) -> Any:
        if self.text == "bad":
            raise ValueError("of its own")
        return await rows(self, *arguments)

    monkeypatch.setattr(Composer, "rows", fails)
    for number in numbers:
        await shop.tells(number, "began")
    await shop.goes_on(timedelta(minutes=1))
    assert sorted(await shop.texts()) == [(number, "good") for number in numbers]
    states = await shop.connection.fetch("SELECT name, state FROM campaign ORDER BY name")
    assert [tuple(row) for row in states] == [("bad", "paused"), ("good", "live")]
    assert await shop.connection.fetchval("SELECT subject FROM event WHERE kind = 'campaign.paused'") == "bad"
    # Nobody was lost: who had entered goes on when it is resumed.
    monkeypatch.undo()
    await launching.set_state(shop.connection, "bad", "live", shop.now)
    await shop.goes_on(timedelta(minutes=1))
    entered = await shop.connection.fetchval(
        "SELECT count(*) FROM enrolment e JOIN campaign c ON c.id = e.campaign WHERE c.name = 'bad' AND e.state < 2"
    )
    assert len(await shop.texts("bad")) == entered


async def test_exception_with_the_scope_of_a_tag_holds_for_all_workflows_that_have_it_EX_4(shop: Shop) -> None:
    await shop.people([ANN, BOB])
    tagged = CART.replace('aim = "a"', "").replace('name = "cart"', 'name = "{}"\ntags = {}')
    plain = tagged[: tagged.index("[[exceptions]]")]
    await shop.apply(plain.replace("{}", "same", 1).replace("{}", '["cart", "shop"]'))
    await shop.apply(plain.replace("{}", "other", 1).replace("{}", '["shop"]'))
    shares = plain + '[[exceptions]]\nevent = "left"\nwhere = "for_good = true"\nscope = "tag"\ntag = "cart"\n'
    await shop.apply(shares.replace("{}", "cart", 1).replace("{}", '["cart"]'))
    for number in (ANN, BOB):
        await shop.tells(number, "cart_updated", {"cart_id": "c", "total": 80})
    await shop.goes_on(timedelta(minutes=10))
    await shop.tells(ANN, "left", {"for_good": True})
    await shop.tells(BOB, "left", {"for_good": False})
    await shop.goes_on(timedelta(seconds=1))
    left = [(name, (await shop.standing(name))[0][2:]) for name in ("cart", "same", "other")]
    assert left == [("cart", (1, Reason.EXCEPTION)), ("same", (1, Reason.EXCEPTION)), ("other", (0, 0))]
    assert [(await shop.standing(name))[1][2] for name in ("cart", "same", "other")] == [0, 0, 0]
    # The gate asks for it, too; a worker that comes anew makes no other runs for it.
    counted = "SELECT count(*) FROM campaign_run"
    before = await shop.connection.fetchval(counted)
    shop.stepping = shop.new_stepping()
    await shop.goes_on(timedelta(minutes=30))
    assert await shop.connection.fetchval(counted) == before
    gates = await shop.connection.fetch("SELECT name, gate::text AS gate FROM run ORDER BY id")
    assert {row["name"]: "for_good" in row["gate"] for row in gates} == {"same": True, "other": False, "cart": True}
    # As long as it is not ended.
    await launching.set_state(shop.connection, "cart", "ended", shop.now)
    await shop.tells(ANN, "cart_updated", {"cart_id": "d", "total": 80})
    await shop.goes_on(timedelta(seconds=1))
    await shop.tells(ANN, "left", {"for_good": True})
    await shop.goes_on(timedelta(seconds=1))
    assert (await shop.standing("same"))[-2][2:] == (0, 0)


async def test_run_of_a_step_goes_as_fast_as_its_site_bears_and_is_steered_as_long_as_texts_may_come_TH_4(
    shop: Shop,
) -> None:
    await shop.people([ANN])
    await shop.apply(CART.replace("waits.'", "waits.', clicks = '60/m', click_share = '20%'").replace("30m", "1m"))
    await shop.tells(ANN, "cart_updated", {"cart_id": "c", "total": 80})
    await shop.goes_on(timedelta(minutes=1))
    assert len(await shop.texts()) == 1

    async def connect() -> Any:
        return shop.connection

    job = Rating(shop.settings, lambda: shop.now, connect, shop.instance, lambda: shop.now.timestamp())
    [plan] = await rates.live(shop.connection)
    assert (plan.plan.words, plan.per_s, plan.total) == ("at most 60 clicks a minute", pytest.approx(5.0), 0)
    assert rate_said(plan) == f"run {plan.run}: at most 60 clicks a minute; 0 granted, 5/s now"
    await shop.connection.execute("UPDATE chunk SET state = 2, sent_upto = n")
    for hours in (0, 2):
        shop.now += timedelta(hours=hours)
        assert await job.work(shop.connection, shop.now)
        assert [one.per_s for one in await rates.live(shop.connection)] == [pytest.approx(5.0)], "more may come"
    shop.now += CLOSED
    await job.work(shop.connection, shop.now)
    assert await rates.live(shop.connection) == []
    await shop.goes_on()
    [next_day] = await rates.live(shop.connection)
    assert next_day.run != plan.run and next_day.per_s == pytest.approx(5.0)
