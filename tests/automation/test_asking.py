"""A step asks the gate before it writes: who waits, waits at the step; who is held out is asked, too (TP-3, AB-6)."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from _fastpath.numbers import NumberSet
from _fastpath.peoplerows import bucket
from gateway.automation import launching
from gateway.coupon import Coupon, Discount
from gateway.gate import Cap
from gateway.message import Refusal
from gateway.reasons import Reason
from gateway.store import admission, coupons, enrolments
from tests.fixtures.keeper import Keeper
from tests.fixtures.pages import note_contacts
from tests.fixtures.shop import NOW, Shop, settings_of

ANN, BOB = 447700900001, 447700900002
HOUR = timedelta(hours=1)
EVENING = datetime(2026, 3, 2, 22, 0, tzinfo=UTC)
MORNING = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
OFFER = """
name = "offer"
brand = "acme"
message = {text = 'Hi {{ first_name }}, {{ coupon.code }} {{ link.shop }}', coupon = "spring"}
aim = "a"
links = {shop = {url = "https://shop.example/"}}
[trigger]
on = "event"
event = "left"
[[exceptions]]
event = "bought"
"""
FLOW = """
name = "flow"
brand = "acme"
kind = "workflow"
aim = "a"
[[steps]]
do = "send"
text = "one"
[[steps]]
do = "wait"
for = "1h"
[[steps]]
do = "send"
text = "two"
[trigger]
on = "event"
event = "left"
"""


async def opened(dsn: str, **brand: Any) -> Shop:
    """A shop that writes from nine to seven, unless it is told otherwise."""
    settings_ = settings_of(dsn)
    brand = {"windows": {"daytime": {"all": ["09:00-19:00"]}}, "link_domain": "go.acme.example"} | brand
    kept = msgspec.structs.replace(settings_.brands["acme"], **brand)
    return await Shop.open(dsn, msgspec.structs.replace(settings_, brands={"acme": kept}))


@pytest.fixture
async def shop(dsn: str) -> AsyncIterator[Shop]:
    made = await opened(dsn)
    made.now = EVENING
    yield made
    made.close()


async def waits_until(shop: Shop) -> list[datetime]:
    return [row[0] for row in await shop.connection.fetch("SELECT due_at FROM enrolment WHERE state = 0 ORDER BY 1")]


async def test_text_that_waits_for_the_morning_says_what_is_so_then_and_takes_nothing_before(shop: Shop) -> None:
    """TP-3, QH-5, QH-7: no text, no code and no link over night; released within half an hour."""
    people = [ANN + at for at in range(20)]
    await shop.people(people, {"first_name": "Ann"})
    pool = await coupons.create(
        shop.connection, "spring", Coupon(kind="pool", discount=Discount(percent=10), life="48h"), b"x" * 32, NOW
    )
    await coupons.add(shop.connection, pool, [f"CODE{at:04}" for at in range(20)])
    await shop.apply(OFFER)
    for number in people:
        await shop.tells(number, "left")
    await shop.goes_on(timedelta(minutes=1))
    assert await shop.standing("offer") == [(number, 0, 0, 0) for number in people]
    due = await waits_until(shop)
    assert len(set(due)) > 3 and MORNING <= due[0] and due[-1] < MORNING + timedelta(minutes=30)
    (counted,) = await enrolments.counts(shop.connection, 1)
    assert (counted.people, counted.state, counted.next_at) == (20, 0, due[0])
    await shop.goes_on(MORNING - timedelta(seconds=1), 2 * HOUR)
    assert await shop.texts() == [] and await waits_until(shop) == due
    assert (await coupons.states(shop.connection, pool)).get("free") == 20
    assert await shop.connection.fetchval("SELECT count(*) FROM link") == 0
    await shop.people(people, {"first_name": "Bea"})
    await shop.goes_on(MORNING + timedelta(minutes=31), timedelta(minutes=8))
    texts = await shop.texts()
    assert {text.split(",")[0] for _, text in texts} == {"Hi Bea"} and len({text.split()[2] for _, text in texts}) == 20
    # The gate of the claim says the same.
    assert [one[2:] for one in await shop.standing("offer")] == [(1, 0)] * 20


async def test_question_that_waits_for_the_gate_is_open_from_when_it_goes(shop: Shop) -> None:
    """TP-3, IN-9: of its two hours none is of the night."""
    ask = 'do = "ask"\nname = "size"\nattribute = "size"\nwithin = "2h"\nquestion = {type = "yes_no"}\ntext = "one"'
    await shop.people([ANN])
    await shop.apply(FLOW.replace('do = "send"\ntext = "one"', ask))
    await shop.tells(ANN, "left")
    await shop.goes_on(MORNING - timedelta(seconds=1), 2 * HOUR)
    assert await shop.connection.fetchval("SELECT count(*) FROM open_question") == 0
    (until,) = await waits_until(shop)
    await shop.goes_on(until)
    assert [tuple(row) for row in await shop.connection.fetch("SELECT asked_at, until FROM open_question")] == [
        (until, until + 2 * HOUR)
    ]


async def test_exception_finds_who_waits_for_the_gate_and_is_told_as_prevented(shop: Shop) -> None:
    """EX-2, EX-5."""
    await shop.people([ANN, BOB])
    await shop.apply(FLOW + '[[exceptions]]\nevent = "bought"\n')
    for number in (ANN, BOB):
        await shop.tells(number, "left")
    await shop.goes_on(timedelta(minutes=1))
    (until, _) = await waits_until(shop)
    await shop.tells(ANN, "bought", at=shop.now + HOUR)
    await shop.goes_on(HOUR)
    assert (await shop.standing("flow"))[0] == (ANN, 0, 1, Reason.EXCEPTION)
    rows = await shop.connection.fetch("SELECT state, planned_at FROM excepted")
    assert [row["state"] for row in rows] == [1] and until <= rows[0]["planned_at"] < MORNING + HOUR
    await shop.goes_on(MORNING + HOUR)
    assert await shop.texts() == [(BOB, "one")]


async def test_wait_behind_a_text_begins_when_that_goes(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.apply(FLOW)
    await shop.tells(ANN, "left")
    await shop.goes_on(timedelta(seconds=1))
    (until,) = await waits_until(shop)
    await shop.goes_on(until)
    assert await shop.texts() == [(ANN, "one")] and await waits_until(shop) == [until + HOUR]
    await shop.goes_on(HOUR)
    assert await shop.texts() == [(ANN, "one"), (ANN, "two")]


async def test_text_that_would_go_later_than_it_is_worth_anything_is_none(shop: Shop) -> None:
    """TH-6: eleven hours are too long for it."""
    await shop.people([ANN])
    await shop.apply(FLOW.replace('text = "one"', 'text = "one"\nexpires = "10h"'))
    await shop.tells(ANN, "left")
    await shop.goes_on(timedelta(seconds=1))
    assert [row[0] for row in await shop.connection.fetch("SELECT outcome FROM step_run")] == [Refusal.EXPIRED]
    await shop.goes_on(MORNING + HOUR, HOUR)
    assert await shop.texts() == [(ANN, "two")]


async def test_who_waits_ends_with_the_campaign_and_stands_still_with_it(shop: Shop) -> None:
    """TR-9, WF-9: whoever is let go on at night is asked for anew."""
    await shop.people([ANN])
    await shop.apply(FLOW.replace('aim = "a"', 'aim = "a"\nends_at = "2026-03-03T03:00:00Z"'))
    await shop.apply(FLOW.replace('"flow"', '"other"\nexpires = "3d"'))
    await shop.tells(ANN, "left")
    await shop.goes_on(timedelta(seconds=1))
    await launching.set_state(shop.connection, "other", "paused", shop.now)
    await shop.goes_on(MORNING + 14 * HOUR, 5 * HOUR)
    assert await shop.standing("flow") == [(ANN, 0, 1, Reason.CAMPAIGN_ENDED)]
    await launching.set_state(shop.connection, "other", "live", shop.now)
    await shop.goes_on(timedelta(seconds=1))
    assert await shop.texts() == []
    await shop.goes_on(MORNING + timedelta(days=1, hours=1))
    assert await shop.texts() == [(ANN, "one")]


# -- who is held out ---------------------------------------------------------------------------------------------------

TRIAL = """
name = "trial"
brand = "acme"
message = {text = "Hi"}
aim = "a"
wait = "1h"
[experiment]
name = "words"
holdout = 40
[[experiment.variant]]
name = "A"
text = "A"
[trigger]
on = "event"
event = "seen"
key = "n"
"""
PLAIN = """
name = "plain"
brand = "acme"
message = {text = "Hi"}
aim = "a"
wait = "1h"
[trigger]
on = "event"
event = "seen"
"""
GATES: tuple[dict[str, Any], ...] = (
    {"caps": (), "gap_s": 7200},
    {"caps": (Cap(limit=1, per="7d"),), "gap_s": 7200},
    {"caps": (Cap(limit=1, per="day"), Cap(limit=2, per="36h")), "gap_s": 0},
    {"caps": (Cap(limit=1, per="36h"),), "gap_s": 7200, "on_cap": "defer", "defer_s": 5 * 86_400},
    {"caps": (), "gap_s": 7200, "on_cap": "defer", "defer_s": 5 * 86_400},
)


async def outcomes(shop: Shop, campaign: str = "trial") -> dict[int, list[int]]:
    """What came of the texts of a campaign, by number."""
    rows = await shop.connection.fetch(
        "SELECT e.number, r.outcome FROM step_run r JOIN enrolment e ON e.bucket = r.bucket AND e.id = r.enrolment "
        "JOIN campaign c ON c.id = r.campaign WHERE c.name = $1 AND r.step = 1 ORDER BY r.at, r.enrolment", campaign
    )  # fmt: skip
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(row["number"], []).append(row["outcome"])
    return found


async def arms(shop: Shop) -> dict[int, tuple[int, bool]]:
    """The arm of each number, and whether it was reached."""
    rows = await shop.connection.fetch("SELECT number, arm, reached_at IS NOT NULL AS was FROM assignment")
    return {row["number"]: (row["arm"], row["was"]) for row in rows}


async def test_who_is_held_out_meets_the_gate_that_the_others_meet_AB_6(dsn: str) -> None:
    """Whatever consents, zones, STOPs and texts there are: their reason is that which the claim has for a text."""
    shop = await opened(dsn)
    keeper, chance = Keeper(shop, dsn), random.Random(1)
    words = set()
    for turn, hour in enumerate((12, 2, 17, 14, 10)):
        brand = msgspec.structs.replace(shop.settings.brands["acme"], **GATES[turn])
        shop.settings = msgspec.structs.replace(shop.settings, brands={"acme": brand})
        shop.stepping = shop.new_stepping()
        shop.now = datetime(2026, 3, 2, hour, 5, tzinfo=UTC) + timedelta(days=10 * turn)
        people = [first + 20 * turn + at for first in (447700900000, 12125550100, 821012345000) for at in range(14)]
        await shop.people(people)
        trial, plain = (text.replace('"seen"', f'"seen{turn}"') for text in (TRIAL, PLAIN))
        await shop.apply(trial.replace('"trial"', f'"trial{turn}"').replace('"words"', f'"words{turn}"'))
        await shop.apply(plain.replace('"plain"', f'"plain{turn}"'))
        for number in people:
            await shop.tells(number, f"seen{turn}", {"n": 1})
        await shop.goes_on(timedelta(seconds=1))
        await changes(shop, people, chance)
        await shop.goes_on(HOUR)
        await keeper.claims()
        said = {number: verdict for (name, number), verdict in keeper.said.items() if name == f"plain{turn}"}
        held = {
            one: {row[0] for row in await shop.standing(f"{one}{turn}") if not row[2]} for one in ("trial", "plain")
        }
        over = {one for one, found in (await outcomes(shop, f"plain{turn}")).items() if found == [Refusal.EXPIRED]}
        assert held["trial"] == held["plain"] == set(people) - said.keys() - over and 1 not in said.values()
        known = {number: arm for number, arm in (await arms(shop)).items() if number in people}
        out = {number: found[0] for number, found in (await outcomes(shop, f"trial{turn}")).items() if found[0]}
        control = {number for number, (arm, _) in known.items() if arm == 0}
        assert known.keys() == set(people) and len(control) > 8
        expected = {one: said[one] or Reason.CONTROL_GROUP for one in control & said.keys()}
        # What would wait for longer than it is worth anything is over in every arm.
        assert out == expected | dict.fromkeys(over, Refusal.EXPIRED)
        # Reached is whoever the gate lets pass, in every arm.
        assert {one for one, (_, was) in known.items() if was} == {one for one in said if not said[one]}
        words |= {*out.values()} | ({1} if control & held["plain"] else set())
    assert {1, -100, Reason.CONTROL_GROUP, Reason.NO_CONSENT, Reason.STOP, Reason.MIN_GAP} <= words
    await keeper.close()
    shop.close()


async def changes(shop: Shop, people: list[int], chance: random.Random) -> None:
    """Let consents, zones, STOPs and texts of others happen, of which no campaign is told."""
    connection = shop.connection
    brand = await admission.id_of(connection, "brand", "acme")
    for number in chance.sample(people, 15):
        await connection.execute(
            "UPDATE consent_state SET promotional = $2, night = $3 WHERE bucket = $4 AND number = $1",
            number, chance.choice((0, 1, 2, 3)), chance.choice((0, 2)), bucket(number),
        )  # fmt: skip
    for name in ("Asia/Tokyo", "America/New_York"):
        await admission.id_of(connection, "zone", name)
        await connection.executemany(
            "INSERT INTO endpoint (bucket, number, attributes, created_at, updated_at, zone) "
            "VALUES ($1, $2, '{}', $3, $3, $4) ON CONFLICT (bucket, number) DO UPDATE SET zone = $4",
            [(bucket(one), one, shop.now, name) for one in chance.sample(people, 6)],
        )
    await admission.refresh_consent_pages(connection, [(one, "acme") for one in people])
    for at, ago in enumerate((3, 45, 600, 2000), 100):
        some = chance.sample(people, 10)
        await note_contacts(connection, some, shop.now - timedelta(minutes=ago), run=at, class_=4, brand=brand)
    stopped = NumberSet()
    for number in chance.sample(people, 5):
        stopped.add(number)
    shop.stopped = [stopped]


async def test_virtual_send_counts_for_what_is_virtual_alone(dsn: str) -> None:
    """AB-6, CP-1: one text a day, of which a second cart of the same person would be another; no text of others."""
    shop = await opened(dsn, caps=(Cap(limit=1, per="day"),))
    keeper, people = Keeper(shop, dsn), [447700900000 + at for at in range(30)]
    await shop.people(people)
    await shop.apply(TRIAL)
    for number in people:
        for cart in (1, 2):
            await shop.tells(number, "seen", {"n": cart})
    await shop.goes_on(HOUR)
    for number in people:
        await shop.tells(number, "seen", {"n": 3})
    await shop.goes_on(HOUR)
    control = {number for number, (arm, _) in (await arms(shop)).items() if arm == 0}
    assert 0 < len(control) < 30
    assert {tuple(found) for number, found in (await outcomes(shop)).items() if number in control} == {
        (Reason.CONTROL_GROUP, -100, -100)
    }
    assert {found for number, found in (await arms(shop)).items() if number in control} == {(0, True)}
    await shop.apply(PLAIN)
    for number in people:
        await shop.tells(number, "seen", {"n": 4})
    await shop.goes_on(HOUR)
    passed = await keeper.claims()
    assert control <= {one.number for one in passed if one.campaign == "plain"}
    await keeper.close()
    shop.close()
