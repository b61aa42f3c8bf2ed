"""A newer version, a pause and an end: what becomes of who is under way, and of what is queued (WF-8, WF-9, TR-9)."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gateway.automation import launching
from gateway.automation.turning import Under
from gateway.errors import StoreError
from gateway.reasons import Reason
from gateway.store import control
from tests.fixtures.shop import Shop

ANN, BOB = 447700900001, 447700900002
DAY = timedelta(days=1)


@pytest.fixture
async def shop(dsn: str) -> AsyncIterator[Shop]:
    made = await Shop.open(dsn)
    await made.people([ANN, BOB])
    yield made
    made.close()


def flow(text: str = "one", wait: str = "2d", name: str = "rest", more: str = "", head: str = "") -> str:
    return f"""
name = "flow"
brand = "acme"
kind = "workflow"
aim = "a"
{head}
[[steps]]
do = "wait"
name = "{name}"
for = "{wait}"
[[steps]]
do = "send"
text = "{text}"
{more}
[trigger]
on = "event"
event = "began"
"""


async def begun(shop: Shop) -> None:
    await shop.apply(flow())
    await shop.tells(ANN, "began")
    await shop.goes_on(timedelta(hours=1))


@pytest.mark.parametrize(
    ("way", "recomputes", "after", "text"),
    [
        ("keep", False, 2 * DAY, "one"), ("move", False, 2 * DAY, "two"), ("move", True, 4 * DAY, "two"),
        ("restart", False, 4 * DAY + timedelta(hours=1), "two"),
    ],
)  # fmt: skip
async def test_wf_8_people_go_on_as_was_said_when_a_newer_version_is_launched(
    shop: Shop, way: launching.Way, recomputes: bool, after: timedelta, text: str
) -> None:
    """WF-8, DL-3: who waits keeps the end of the wait, unless it is reckoned anew."""
    begin = shop.now
    await begun(shop)
    await shop.apply(flow("two", "4d"), launches=False)
    told: list[list[Under]] = []
    await launching.launch(
        shop.connection, shop.settings, "flow", shop.now, way=way, recomputes=recomputes, say=told.append
    )
    ((one,),) = told
    assert (one.version, one.name, one.people, one.to) == (1, "rest", 1, 0)
    await shop.goes_on(begin + after - timedelta(seconds=1))
    assert await shop.texts() == []
    await shop.goes_on(timedelta(seconds=1))
    assert await shop.texts() == [(ANN, text)]


async def test_wf_8_who_leaves_by_a_launch_gets_nothing(shop: Shop) -> None:
    await begun(shop)
    await shop.apply(flow("two"), launches=False)
    await launching.launch(shop.connection, shop.settings, "flow", shop.now, way="exit")
    await shop.goes_on(5 * DAY)
    assert await shop.texts() == [] and (await shop.standing("flow"))[0][2:] == (1, Reason.CAMPAIGN_ENDED)


async def test_wf_8_a_step_with_people_on_it_is_not_taken_away_without_a_word(shop: Shop) -> None:
    await begun(shop)
    await shop.apply(flow("two", name="other"), launches=False)
    for way in (None, "move"):
        with pytest.raises(StoreError, match=r"rest of version 1 \(1 people\): say --people keep, restart or exit"):
            await launching.launch(shop.connection, shop.settings, "flow", shop.now, way=way)
    await launching.launch(shop.connection, shop.settings, "flow", shop.now, way="restart")
    await shop.goes_on(2 * DAY)
    assert await shop.texts() == [(ANN, "two")]


async def holds(shop: Shop) -> bool:
    return "flow" in (await control.state(shop.connection, shop.now)).standing("campaign")


@pytest.mark.covers("X.5")
async def test_wf_9_a_pause_holds_what_is_queued_and_a_resume_lets_it_go(shop: Shop) -> None:
    await shop.apply(flow(wait="1h"))
    await shop.tells(ANN, "began")
    await shop.goes_on(timedelta(hours=2))
    assert await launching.set_state(shop.connection, "flow", "paused", shop.now) and await holds(shop)
    assert await launching.set_state(shop.connection, "flow", "live", shop.now) and not await holds(shop)


@pytest.mark.parametrize(("entries", "texts"), [("drop", []), ("queue", [(ANN, "one")])])
async def test_wf_9_who_comes_while_it_is_paused_is_left_out_or_goes_on_with_it(
    shop: Shop, entries: str, texts: list[tuple[int, str]]
) -> None:
    await shop.apply(flow(wait="1h", head=f'paused_entries = "{entries}"'))
    await launching.set_state(shop.connection, "flow", "paused", shop.now)
    await shop.tells(ANN, "began")
    await shop.goes_on(timedelta(hours=2))
    assert await shop.texts() == []
    await launching.set_state(shop.connection, "flow", "live", shop.now)
    await shop.goes_on(timedelta(seconds=1))
    assert await shop.texts() == texts


async def test_wf_9_who_opts_out_leaves_at_once_and_whose_number_is_lost_too(shop: Shop) -> None:
    await shop.apply(flow())
    for number in (ANN, BOB):
        await shop.tells(number, "began")
    await shop.goes_on(timedelta(hours=1))
    await shop.tells(ANN, "opted_out")
    await shop.connection.execute("UPDATE consent_state SET promotional = 3 WHERE number = $1", ANN)
    await shop.connection.execute("UPDATE enrolment SET number = NULL WHERE number = $1", BOB)
    await shop.goes_on(timedelta(seconds=1))
    assert (await shop.standing("flow"))[0] == (ANN, 0, 1, Reason.STOP)
    await shop.goes_on(2 * DAY)
    assert await shop.texts() == []
    assert {one[3] for one in await shop.standing("flow")} == {Reason.STOP, Reason.NO_NUMBER}


@pytest.mark.covers("X.5")
async def test_tr_9_a_stop_cancels_what_is_queued_and_a_launch_begins_another_run(shop: Shop) -> None:
    await shop.apply(flow(wait="1h"))
    await shop.tells(ANN, "began")
    await shop.goes_on(timedelta(hours=1))
    assert len(await shop.texts()) == 1
    assert await launching.set_state(shop.connection, "flow", "ended", shop.now)
    rows = await shop.connection.fetch("SELECT cancelled_at FROM run WHERE name = 'flow'")
    assert [row["cancelled_at"] for row in rows] == [shop.now]
    await shop.goes_on(timedelta(minutes=1))
    await launching.launch(shop.connection, shop.settings, "flow", shop.now)
    await shop.tells(BOB, "began")
    await shop.goes_on(timedelta(hours=1))
    assert BOB in {number for number, _ in await shop.texts()}


async def test_a_cancel_of_a_run_takes_its_texts_and_the_campaign_goes_on_in_another(shop: Shop) -> None:
    await shop.apply(flow(wait="1h"))
    await shop.goes_on(timedelta(seconds=1))
    await shop.connection.execute("UPDATE run SET cancelled_at = $1, cancelled_by = 'me'", shop.now)
    for number in (ANN, BOB):
        await shop.tells(number, "began")
        await shop.goes_on(timedelta(hours=1))
    assert await shop.texts() == [(BOB, "one")]
