"""Texts come into their lanes once, whoever dies between."""

from datetime import timedelta

import msgspec
import pytest

from gateway.automation import sending
from gateway.store import enrolments
from tests.fixtures.keeper import Keeper
from tests.fixtures.shop import Shop, settings_of

TEXT = """
name = "c"
brand = "acme"
message = {text = "Hi {{ n }}"}
[trigger]
on = "event"
event = "seen"
"""


async def test_texts_of_many_buckets_that_go_one_way_are_one_chunk(shop: Shop) -> None:
    numbers = range(447700900000, 447700900040)
    await shop.people(numbers)
    await shop.apply(TEXT)
    for number in numbers:
        await shop.tells(number, "seen", {"n": number})
    await shop.goes_on(timedelta(seconds=1))
    assert sorted(await shop.texts()) == [(number, f"Hi {number}") for number in numbers]
    assert await shop.connection.fetchval("SELECT count(*) FROM chunk") == 1
    assert await shop.connection.fetchval("SELECT count(*) FROM outgoing") == 0
    assert await shop.connection.fetchval("SELECT count(*) FROM outgoing_taken") == 0


async def test_text_that_is_in_its_lane_is_not_queued_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.people([447700900001])
    await shop.apply(TEXT)
    await shop.tells(447700900001, "seen", {"n": 1})

    async def dies(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(enrolments, "drop_outgoing", dies)
        with pytest.raises(RuntimeError):
            await shop.goes_on(timedelta(seconds=1))
    assert len(await shop.texts()) == 1
    await sending.move(shop.connection, 0, 255, shop.now)
    assert len(await shop.texts()) == 1
    assert await shop.connection.fetchval("SELECT count(*) FROM outgoing") == 0


async def test_two_texts_to_one_number_are_in_chunks_of_their_own(shop: Shop) -> None:
    """The gate asks by the number: of two in one chunk it would ask for one (EX-2)."""
    numbers = range(447700900000, 447700900003)
    await shop.people(numbers)
    await shop.apply(TEXT.replace("[trigger]", '[trigger]\nkey = "n"'))
    for number in numbers:
        for n in range(2):
            await shop.tells(number, "seen", {"n": n})
    await shop.goes_on(timedelta(seconds=1))
    await shop.tells(numbers[1], "seen", {"n": 7})
    await shop.goes_on(timedelta(seconds=1))
    chunks = [row["msisdn"] for row in await shop.connection.fetch("SELECT msisdn FROM chunk_payload")]
    assert sum(map(len, chunks)) == 7 and len(chunks) == 3
    assert [chunk for chunk in chunks if len(set(chunk)) < len(chunk)] == []


async def test_texts_of_one_step_on_one_day_count_against_each_other_CP_1(dsn: str) -> None:
    """They are of one run: at most two a day, whether they wait for the gate together or one comes later."""
    settings = settings_of(dsn)
    brand = msgspec.structs.replace(settings.brands["acme"], caps=("2 per day",))
    keeper = Keeper(await Shop.open(dsn, msgspec.structs.replace(settings, brands={"acme": brand})), dsn)
    shop, ann, bob = keeper.shop, 447700900001, 447700900002
    await shop.people([ann, bob])
    await shop.apply(TEXT.replace("[trigger]", '[trigger]\nkey = "n"'))
    for at in range(4):
        await shop.tells(ann, "seen", {"n": at})
    await shop.tells(bob, "seen", {"n": 4})
    await shop.goes_on(timedelta(seconds=1))
    passed = await keeper.claims()
    assert sorted(one.number for one in passed) == [ann, ann, bob]
    for at, number in enumerate((ann, bob, bob), 5):
        await shop.tells(number, "seen", {"n": at})
    await shop.goes_on(timedelta(hours=1))
    later = await keeper.claims()
    assert [one.number for one in later] == [bob]
    assert len({one.run for one in [*passed, *later]}) == 1
    await keeper.close()
    shop.close()
