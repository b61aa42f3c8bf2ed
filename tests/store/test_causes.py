"""Causes: told with what they tell, of what is listened to alone, and taken away once."""

from datetime import timedelta
from random import Random

import pytest

from gateway.person import Item, Who, hash_of
from gateway.store import causes
from gateway.store.profiles import ingest
from tests.fixtures.shop import NOW, Shop

ANN = 447700900001
TEXT = """
name = "c"
brand = "acme"
message = {text = "Hi"}
[trigger]
on = "event"
event = "seen"
"""


async def count(shop: Shop) -> int:
    return int(await shop.connection.fetchval("SELECT count(*) FROM cause"))


async def test_what_nobody_listens_to_is_no_cause(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.tells(ANN, "seen")
    assert await count(shop) == 0
    await shop.apply(TEXT)
    await shop.tells(ANN, "other")
    assert await count(shop) == 0
    await shop.tells(ANN, "seen", {"a": 1})
    [cause] = await causes.take(shop.connection, [hash_of(ANN)], 10)
    assert (cause.name, cause.occurred_at, cause.said) == ("seen", NOW, {"a": 1})
    assert await count(shop) == 0


async def test_history_starts_nothing(shop: Shop) -> None:
    """EV-3."""
    await shop.people([ANN])
    await shop.apply(TEXT)
    told = Item(who=Who(phone=ANN), name="seen", occurred_at=NOW - timedelta(days=9), historical=True)
    await ingest(shop.connection, [told], NOW, Random(1))
    assert await count(shop) == 0


async def test_causes_come_in_the_order_in_which_they_happened(shop: Shop) -> None:
    """EV-6."""
    await shop.people([ANN])
    await shop.apply(TEXT)
    for minutes in (3, 1, 2):
        await shop.tells(ANN, "seen", {"n": minutes}, at=NOW - timedelta(minutes=minutes))
    taken = await causes.take(shop.connection, [hash_of(ANN), 1], 10)
    assert [one.said["n"] for one in taken] == [3, 2, 1]


async def test_batch_that_fails_leaves_no_cause(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.apply(TEXT)
    with pytest.raises(RuntimeError):
        async with shop.connection.transaction():
            await shop.tells(ANN, "seen")
            assert await count(shop) == 1
            raise RuntimeError
    assert await count(shop) == 0
