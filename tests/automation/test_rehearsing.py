"""A rehearsal says what the same people would get if they entered for real, and leaves no trace (WF-11)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gateway import document
from gateway.automation import rehearsing
from gateway.automation.rehearsing import Rehearsal, parts_of
from gateway.campaign.workflow import plan_of
from gateway.rate import CostSettings
from tests.fixtures.shop import NOW, Shop, settings_of

PEOPLE = [447700900000 + at for at in range(40)]
FLOW = """
name = "flow"
brand = "acme"
kind = "workflow"
filter = "country = 'GB'"
[[steps]]
do = "send"
name = "first"
text = 'Hi {{ first_name|default("there") }}'
[[steps]]
do = "wait_for"
event = "clicked"
within = "2d"
then = "exit"
[[steps]]
do = "branch"
otherwise = "exit"
cases = [{if = "vip = true", then = "again"}]
[[steps]]
do = "send"
name = "again"
text = "Привет, важный клиент: это последнее напоминание о корзине, она ждёт вас до завтрашнего вечера!"
[trigger]
on = "event"
event = "began"
[[goals]]
event = "order_placed"
"""


@pytest.fixture
async def shop(dsn: str) -> AsyncIterator[Shop]:
    costs = CostSettings(currency="EUR", countries={"GB": 0.05})
    made = await Shop.open(dsn, msgspec.structs.replace(settings_of(dsn), costs=costs))
    await made.people(PEOPLE[:20], {"country": "GB", "vip": True, "first_name": "Vi"})
    await made.people(PEOPLE[20:30], {"country": "GB", "vip": False})
    await made.people(PEOPLE[30:35], {"country": "DE"})
    await made.people(PEOPLE[35:], {"country": "GB"}, consents_=False)
    yield made
    made.close()


async def rehearsed(shop: Shop, text: str = FLOW, *, days: int = 30, at: Any = NOW, **assumed: float) -> Rehearsal:
    found, _ = document.read(text.encode())
    assert found is not None
    plan, problems = plan_of(found)
    assert problems == []
    return await rehearsing.rehearse(shop.connection, shop.settings, plan, None, at, days, assumed, "salt", 1000)


async def test_wf_11_what_is_rehearsed_is_what_is_then_sent_and_nothing_is_written(shop: Shop) -> None:
    await shop.apply(FLOW)
    tables = ("enrolment", "step_run", "outgoing", "chunk", "cause")
    before = [await shop.connection.fetchval(f"SELECT count(*) FROM {one}") for one in tables]
    found = await rehearsed(shop)
    assert [await shop.connection.fetchval(f"SELECT count(*) FROM {one}") for one in tables] == before
    for number in PEOPLE:
        await shop.tells(number, "began")
    await shop.goes_on(timedelta(days=3), timedelta(hours=12))
    assert sorted((one.number, one.text) for one in found.texts) == sorted(await shop.texts())
    assert found.people == 35 and dict(found.refused) == {"no_consent": 5}
    assert dict(found.ends) == {"came to the end": 30}
    again = [one for one in found.texts if one.step == "again"]
    assert {one.at - NOW for one in again} == {timedelta(days=2)}
    assert [(one.parts, one.cost, one.local) for one in again[:1]] == [(2, 0.1, "2026-03-04 12:00 GMT")]


async def test_wf_11_what_is_assumed_happens_to_that_share_and_the_same_ones_each_time(shop: Shop) -> None:
    some, once_more = await rehearsed(shop, clicked=0.5), await rehearsed(shop, clicked=0.5)
    again = [one.number for one in some.texts if one.step == "again"]
    assert 2 <= len(again) <= 18
    assert again == [one.number for one in once_more.texts if one.step == "again"]
    assert dict((await rehearsed(shop, order_placed=1.0)).ends) == {"goal_met": 30}


async def test_wf_11_windows_hold_texts_and_days_end_what_is_rehearsed(shop: Shop) -> None:
    brand = msgspec.structs.replace(shop.settings.brands["acme"], windows={"daytime": {"all": ["09:00-17:00"]}})
    shop.settings = msgspec.structs.replace(shop.settings, brands={"acme": brand})
    found = await rehearsed(shop, at=NOW + timedelta(hours=10), days=1)
    assert {one.local for one in found.texts} == {"2026-03-03 09:00 GMT"} and all(one.held for one in found.texts)
    assert dict(found.ends) == {"under way": 30}


@pytest.mark.parametrize(
    ("text", "parts"), [("a" * 160, 1), ("a" * 161, 2), ("ж" * 70, 1), ("ж" * 71, 2), ("€" * 81, 2)]
)
def test_parts_are_those_of_septets_or_ucs_2(text: str, parts: int) -> None:
    assert parts_of(text) == parts


async def test_wf_11_people_of_ours_are_told_and_nobody_of_them_clicks_or_buys(shop: Shop) -> None:
    """S1.6."""
    shop.has_staff({"kitchen": ("+447700900111", "+447700900112")})
    to_staff = FLOW.replace('name = "first"', 'name = "first"\nto = "staff"')
    found = await rehearsed(shop, to_staff, clicked=1.0)
    first = [one for one in found.texts if one.step == "first"]
    assert len(first) == 60 and {one.number for one in first} == {447700900111, 447700900112}
    assert {one.cost for one in first} == {0.05} and {one.at for one in first} == {NOW}
    # Whoever was not written to does not click either.
    assert len(found.texts) - len(first) == 20
