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
from gateway.dispatch.preview import Foresight
from gateway.gate import Cap, Gate
from gateway.message import MessageClass
from gateway.rate import CostSettings
from gateway.store import admission
from tests.fixtures.pages import note_contacts
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

LOOP = """
name = "loop"
brand = "acme"
kind = "workflow"
filter = "country = 'GB'"
[[steps]]
do = "send"
name = "again"
text = "Hi"
[[steps]]
do = "wait"
for = "4h"
next = "again"
[trigger]
on = "event"
event = "began"
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

    def foresee(gate: Gate, class_: MessageClass, priority: int, sender: str) -> Foresight:
        return Foresight(shop.connection, gate, class_=class_, priority=priority, sender=sender)

    return await rehearsing.rehearse(
        shop.connection, shop.settings, plan, None, at, days, assumed, "salt", 1000, foresee
    )  # fmt: skip


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
    # What waited is released over half an hour (QH-7).
    released = {one.local for one in found.texts}
    assert len(released) > 1 and released <= {f"2026-03-03 09:{minute:02} GMT" for minute in range(30)}
    assert all(one.held for one in found.texts)
    assert dict(found.ends) == {"under way": 30}


def of_brand(shop: Shop, **more: Any) -> None:
    brand = msgspec.structs.replace(shop.settings.brands["acme"], **more)
    shop.settings = msgspec.structs.replace(shop.settings, brands={"acme": brand})


async def test_wf_11_caps_count_what_has_left_and_what_would_have_by_then_CP_1(shop: Shop) -> None:
    of_brand(shop, caps=(Cap(limit=1, per="7d"),))
    some = PEOPLE[:20]
    found = await rehearsed(shop)
    assert [one.number for one in found.texts] == PEOPLE[:30], "the second within two days meets the cap"
    assert dict(found.skipped) == {"cap:1 per 7d": 20} and found.ends == {"came to the end": 30}
    # Those who were written to for real three days ago meet it at once, and not any more with the second text.
    acme = await admission.id_of(shop.connection, "brand", "acme")
    await note_contacts(shop.connection, some[:5], NOW - timedelta(days=6), class_=MessageClass.TRIGGERED, brand=acme)
    found = await rehearsed(shop)
    assert [one.number for one in found.texts if one.step == "first"] == PEOPLE[5:30]
    assert [one.number for one in found.texts if one.step == "again"] == some[:5]


async def test_wf_11_the_text_of_one_step_counts_against_its_next_visit_CP_1(shop: Shop) -> None:
    """Again within a day, when all are of one run for real, too."""
    of_brand(shop, caps=(Cap(limit=1, per="36h"),))
    found = await rehearsed(shop, LOOP, days=1)
    assert [(one.number, one.at) for one in found.texts] == [(number, NOW) for number in PEOPLE[:30]]
    # At night they wait at the step, and the next wait begins in the morning.
    assert dict(found.skipped) == {"cap:1 per 36h": 60}, "after four hours, and in the morning"


async def test_wf_11_what_a_gap_defers_leaves_behind_it_CP_5(shop: Shop) -> None:
    of_brand(shop, gap_s=4 * 86_400, on_cap="defer", defer_s=3 * 86_400)
    found = await rehearsed(shop, FLOW.replace('kind = "workflow"', 'kind = "workflow"\nexpires = "5d"'))
    again = [one for one in found.texts if one.step == "again"]
    assert {one.at - NOW for one in again} == {timedelta(days=4)} and {one.held for one in again} == {1}


async def test_wf_11_arms_are_those_that_people_will_get_and_who_is_held_out_gets_none_AB_1(shop: Shop) -> None:
    trial = """
name = "trial"
brand = "acme"
message = {text = "Hello"}
aim = "words"
[trigger]
on = "event"
event = "began"
[experiment]
name = "words"
holdout = 20
variant = [{name = "a", text = "Hi"}, {name = "b", text = "Ho"}]
"""
    found = await rehearsed(shop, trial)
    assert {one.variant: one.text for one in found.texts} == {"a": "Hi", "b": "Ho"}
    held_out = found.skipped["control_group"]
    assert 0 < held_out and len(found.texts) + held_out == 35
    await shop.apply(trial)
    for number in PEOPLE:
        await shop.tells(number, "began")
    await shop.goes_on()
    assert sorted((one.number, one.text) for one in found.texts) == sorted(await shop.texts())
    assert sorted((one.number, one.text) for one in (await rehearsed(shop, trial)).texts) == sorted(await shop.texts())


async def test_wf_11_who_waits_for_the_gate_goes_on_behind_it_as_it_will_be_for_real(shop: Shop) -> None:
    """TP-3, AB-6: moments, texts and the reasons of those held out are those of the steps."""
    of_brand(shop, windows={"daytime": {"all": ["09:00-17:00"]}}, caps=(Cap(limit=1, per="7d"),))
    trial = """
name = "trial"
brand = "acme"
kind = "workflow"
aim = "words"
[[steps]]
do = "send"
text = "none of them"
[[steps]]
do = "wait"
for = "1h"
[[steps]]
do = "set_attribute"
attribute = "seen"
value = "yes"
[trigger]
on = "event"
event = "began"
[experiment]
name = "words"
holdout = 30
variant = [{name = "a", text = 'Hi {{ first_name|default("you") }}'}]
"""
    shop.stepping = shop.new_stepping()
    shop.now = NOW + timedelta(hours=8)
    acme = await admission.id_of(shop.connection, "brand", "acme")
    await note_contacts(shop.connection, PEOPLE[::2], NOW, class_=MessageClass.TRIGGERED, brand=acme)
    found = await rehearsed(shop, trial, at=shop.now, days=2)
    await shop.apply(trial)
    for number in PEOPLE:
        await shop.tells(number, "began")
    await shop.goes_on(timedelta(days=1), timedelta(minutes=5))
    rows = await shop.connection.fetch("SELECT outcome, count(*) FROM step_run WHERE step = 0 GROUP BY 1")
    outcomes = dict(rows)
    passed, capped = {one.number for one in found.texts}, {*PEOPLE[::2]}
    assert outcomes[-59] == found.skipped["control_group"] > 2 and outcomes[-100] > 2
    # Of real arms the claim says it, of what was written nevertheless.
    texts = await shop.texts()
    assert not passed & capped and {one for one, _ in texts if one not in capped} == passed
    assert found.skipped["cap:1 per 7d"] == outcomes[-100] + len(texts) - len(passed)
    assert {one.held for one in found.texts} == {1}
    assert {one.text for one in found.texts} == {text for number, text in texts if number in passed}
    rows = await shop.connection.fetch(
        "SELECT e.number, r.at FROM step_run r JOIN enrolment e ON e.id = r.enrolment WHERE r.step = 0 AND outcome = 0"
    )
    starts = {row["number"]: row["at"] for row in rows}
    # Each is released at the moment that was said, at the first look of each five minutes from there.
    assert all(timedelta() <= starts[one.number] - one.at < timedelta(minutes=5) for one in found.texts)


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


async def test_wf_11_who_had_the_offer_elsewhere_is_skipped_or_gets_the_other_text(shop: Shop) -> None:
    """XC-2."""
    for number in PEOPLE[:3]:
        await shop.tells(number, "email_sent", {"content_key": "k"})
    offered = FLOW.replace('name = "first"', 'name = "first"\ncontent = {key = "k"}')
    found = await rehearsed(shop, offered)
    assert found.skipped["exception"] == 3 and sum(one.step == "first" for one in found.texts) == 27
    other = offered.replace('"k"}', '"k", otherwise = "b"}\nvariants = {b = "Still {{ first_name }}"}')
    first = [one.text for one in (await rehearsed(shop, other)).texts if one.step == "first"]
    assert len(first) == 30 and first.count("Still Vi") == 3
