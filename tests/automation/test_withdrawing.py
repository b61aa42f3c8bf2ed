"""Texts leave the queue as soon as they are not wanted: the first line of EX-2."""

from datetime import timedelta
from typing import Any

import pytest

from _fastpath.eventrows import microseconds
from gateway import predicate
from gateway.automation import sending
from gateway.reasons import Reason
from gateway.store import admission, causes, excepted, reports, unwanted
from tests.fixtures.keeper import Keeper
from tests.fixtures.shop import NOW, Shop

ANN, BOB, CAT, DAN = range(447700900001, 447700900005)
MINUTE = timedelta(minutes=1)
CART = """
name = "cart"
brand = "acme"
message = {text = "Your cart waits."}
aim = "a"
[trigger]
on = "event"
event = "cart_updated"
key = "cart_id"
[[goals]]
event = "order_placed"
[[exceptions]]
event = "cart_emptied"
key = "cart_id"
"""


async def texts_of(keeper: Keeper, *numbers: int, goal: str = 'event = "order_placed"') -> None:
    """Have a text to each in the queue, all of them in one chunk."""
    shop = keeper.shop
    await shop.people(numbers)
    await shop.apply(CART.replace('event = "order_placed"', goal))
    for number in numbers:
        await shop.tells(number, "cart_updated", {"cart_id": "c"})
    await shop.goes_on(MINUTE)


async def ended(shop: Shop) -> list[tuple[int, int]]:
    """(number, reason) of messages that have an end, but for such that went on in another chunk."""
    rows = await shop.connection.fetch(
        "SELECT p.msisdn[o.pos + 1], o.status FROM outcome o JOIN chunk_payload p ON p.chunk_id = o.chunk_id "
        "WHERE NOT EXISTS (SELECT FROM repeated x WHERE x.chunk_id = o.chunk_id AND x.pos = o.pos) ORDER BY 1, 2"
    )
    return [tuple(row) for row in rows]


async def waiting(shop: Shop) -> int:
    """How many chunks stand in the queue."""
    return int(await shop.connection.fetchval("SELECT count(*) FROM chunk WHERE state = 0"))


async def test_exception_a_goal_and_a_stop_take_what_is_queued_out_at_once_and_nobody_elses_EX_2(
    keeper: Keeper,
) -> None:
    shop = keeper.shop
    await texts_of(keeper, ANN, BOB, CAT, DAN)
    await shop.tells(ANN, "cart_emptied", {"cart_id": "c"})
    await shop.tells(BOB, "order_placed")
    await shop.connection.execute("UPDATE consent_state SET promotional = 3 WHERE number = $1", CAT)
    await shop.tells(CAT, "opted_out")
    await shop.tells(DAN, "cart_emptied", {"cart_id": "another"})
    await shop.goes_on()
    assert await ended(shop) == [(ANN, Reason.EXCEPTION), (BOB, Reason.GOAL_MET), (CAT, Reason.STOP)]
    assert await shop.connection.fetchval("SELECT count(*) FROM unwanted") == 0
    assert [one.number for one in await keeper.claims()] == [DAN]
    assert await waiting(shop) == 0
    [row] = await reports.rows(shop.connection, "report_exception", campaign="cart")
    assert (row["exception"], row["prevented"], row["late"]) == ("cart_emptied", 1, 0)


async def test_chunk_of_which_nobody_wants_anything_is_closed(keeper: Keeper) -> None:
    shop = keeper.shop
    await texts_of(keeper, ANN, BOB)
    for number in (ANN, BOB):
        await shop.tells(number, "order_placed")
    await shop.goes_on()
    assert await shop.connection.fetch("SELECT state, sent_upto FROM chunk") == [(2, 2)]
    assert await ended(shop) == [(ANN, Reason.GOAL_MET), (BOB, Reason.GOAL_MET)]


async def test_text_that_was_held_in_a_chunk_of_its_own_is_found_there(keeper: Keeper) -> None:
    """Who waits for the morning stands in a copy of the chunk that was made."""
    shop = keeper.shop
    await texts_of(keeper, ANN, BOB, CAT)
    [chunk] = await shop.connection.fetch("SELECT lane, id FROM chunk")
    await shop.connection.execute("UPDATE chunk SET state = 1, epoch = 1")
    morning = shop.now + timedelta(hours=9)
    assert await admission.put_aside(shop.connection, *chunk, 1, {morning: [0, 1]}, shop.now)
    rows = await shop.connection.fetch("SELECT msisdn FROM chunk_payload ORDER BY chunk_id")
    held, _ = rows[1]["msisdn"]
    await shop.tells(held, "cart_emptied", {"cart_id": "c"})
    await shop.goes_on()
    assert await ended(shop) == [(held, Reason.EXCEPTION)]
    planned = await shop.connection.fetch("SELECT state, planned_at FROM excepted")
    assert planned == [(excepted.PREVENTED, morning)], "it would have left in the morning (EX-5)"


async def test_claimed_text_is_left_to_the_gate_and_to_who_finds_out_what_is_late(keeper: Keeper) -> None:
    shop = keeper.shop
    await texts_of(keeper, ANN)
    await shop.connection.execute("UPDATE chunk SET state = 1, epoch = 1")
    await shop.tells(ANN, "cart_emptied", {"cart_id": "c"})
    await shop.goes_on()
    assert await ended(shop) == []
    assert await shop.connection.fetch("SELECT state FROM excepted") == [(excepted.OPEN,)]
    assert await shop.connection.fetchval("SELECT count(*) FROM unwanted") == 0


async def test_text_that_has_left_stays_as_it_is(keeper: Keeper) -> None:
    """Below the watermark of a chunk that was given back nothing is taken out."""
    shop = keeper.shop
    await texts_of(keeper, ANN, BOB)
    [row] = await shop.connection.fetch("UPDATE chunk SET sent_upto = 1 RETURNING id, n")
    [numbers] = await shop.connection.fetch("SELECT msisdn FROM chunk_payload")
    first = numbers["msisdn"][row["id"] % row["n"]]
    for number in (ANN, BOB):
        await shop.tells(number, "order_placed")
    await shop.goes_on()
    assert await ended(shop) == [(BOB if first == ANN else ANN, Reason.GOAL_MET)]


@pytest.mark.parametrize("dies_in", ["prevented", "forget"])
async def test_whoever_dies_between_lane_and_people_leaves_it_to_the_next_look_and_nothing_is_done_twice(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    shop = keeper.shop
    await texts_of(keeper, ANN, BOB)
    await shop.tells(ANN, "cart_emptied", {"cart_id": "c"})

    async def dies(*_: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(excepted if dies_in == "prevented" else unwanted, dies_in, dies)
        with pytest.raises(RuntimeError):
            await shop.goes_on()
    assert await ended(shop) == [(ANN, Reason.EXCEPTION)]
    await shop.goes_on()
    assert await ended(shop) == [(ANN, Reason.EXCEPTION)]
    assert await shop.connection.fetchval("SELECT count(*) FROM unwanted") == 0
    assert [one.number for one in await keeper.claims()] == [BOB]


async def test_enrolment_that_is_begun_anew_takes_its_text_along(keeper: Keeper) -> None:
    """TR-5, restart: the old one is cancelled, whatever of it waits."""
    shop = keeper.shop
    await shop.people([ANN])
    await shop.apply(
        'name = "again"\nbrand = "acme"\nkind = "workflow"\naim = "a"\n[trigger]\non = "event"\nevent = "left"\n'
        '[entry]\nrunning = "restart"\n[[steps]]\ndo = "send"\ntext = "First."\n[[steps]]\ndo = "wait"\nfor = "2d"\n'
        '[[steps]]\ndo = "send"\ntext = "Second."\n'
    )
    await shop.tells(ANN, "left")
    await shop.goes_on(MINUTE)
    await shop.tells(ANN, "left")
    await shop.goes_on(MINUTE)
    assert await ended(shop) == [(ANN, Reason.CAMPAIGN_ENDED)]
    assert [(one.number, one.visit) for one in await keeper.claims()] == [(ANN, 1)]


@pytest.mark.parametrize("is_in", [True, False])
async def test_turn_in_an_audience_that_is_the_goal_takes_the_text_out_at_once_GL_1(
    keeper: Keeper, is_in: bool
) -> None:
    """Who joins the segment, or leaves it, where the campaign says so."""
    shop = keeper.shop
    vip = await shop.connection.fetchval(
        "INSERT INTO audience (name, text, tree, zone, created_at, updated_at) "
        "VALUES ('vip', 'everyone', $2, 'UTC', $1, $1) RETURNING id", NOW, predicate.encode(predicate.Everyone()),
    )  # fmt: skip
    kind: causes.Kind = "entered" if is_in else "left"
    await texts_of(keeper, ANN, BOB, goal='joined = "vip"' if is_in else 'left = "vip"')
    assert await causes.listened(shop.connection, kind, [str(vip)])
    [ann] = await shop.connection.fetch("SELECT bucket, id FROM profile WHERE number = $1", ANN)
    await shop.connection.execute(
        "INSERT INTO audience_change (bucket, seq, audience, profile, at, version, is_in, by_edit) "
        "VALUES ($1, 1, $2, $3, $4, 1, $5, false)", ann["bucket"], vip, ann["id"], shop.now, is_in,
    )  # fmt: skip
    told = causes.Telling(ann["bucket"], 0, ann["id"], 1, microseconds(shop.now), str(vip), f"{kind}:{vip}:1")
    await causes.tell(shop.connection, kind, [told], shop.now)
    await shop.goes_on()
    assert await ended(shop) == [(ANN, Reason.GOAL_MET)]
    assert [one.number for one in await keeper.claims()] == [BOB]


async def test_place_that_the_gate_had_reserved_is_given_back(keeper: Keeper) -> None:
    """CP-2: nothing went. The chunk was given back behind the gate's yes, since its carrier went down."""
    shop = keeper.shop
    await texts_of(keeper, ANN, BOB)
    assert len(await keeper.claims()) == 2
    await shop.connection.execute("UPDATE chunk SET state = 0")
    await shop.tells(ANN, "order_placed")
    await shop.goes_on()
    rows = await shop.connection.fetch("SELECT kind, numbers FROM contact_page ORDER BY at, kind")
    of_ann = [row["kind"] for row in rows if ANN.to_bytes(8, "big") in row["numbers"]]
    assert of_ann == [1, 2], "reserved, and returned"
    assert [row["kind"] for row in rows if BOB.to_bytes(8, "big") in row["numbers"]] == [1]


async def test_places_of_texts_are_forgotten_when_nothing_of_their_chunk_can_wait(keeper: Keeper) -> None:
    shop = keeper.shop
    await texts_of(keeper, ANN, BOB)
    lane = await shop.connection.fetchval("SELECT lane FROM outgoing_place")
    for is_closed, left in ((False, 1), (True, 0)):
        await shop.connection.execute("UPDATE chunk SET state = $1", 2 if is_closed else 0)
        await sending.forget(shop.connection, [lane], shop.now + 2 * sending.OLD)
        assert await shop.connection.fetchval("SELECT count(*) FROM outgoing_place") == left
