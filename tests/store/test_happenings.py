"""What has happened since a cause: strictly since, of the same key, and what a human did alone."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.happening import Sought
from gateway.person import hash_of
from gateway.predicate import Attribute, Compare
from gateway.store import happenings
from gateway.store.audiences import Terms
from tests.fixtures.shop import NOW, Shop

ANN, BOB = 447700900001, 447700900002
TEXT = """
name = "c"
brand = "acme"
wait = "9d"
message = {text = "Hi"}
[trigger]
on = "event"
event = "seen"
key = "cart"
"""


@pytest.fixture
async def shop(dsn: str) -> AsyncIterator[Shop]:
    made = await Shop.open(dsn)
    await made.people([ANN, BOB])
    await made.apply(TEXT)
    for number in (ANN, BOB):
        await made.tells(number, "seen", {"cart": "a"})
    await made.goes_on(timedelta(minutes=1))
    yield made
    made.close()


async def happened(shop: Shop, since: datetime | None = None, **sought: Any) -> dict[int, datetime]:
    rows = await shop.connection.fetch("SELECT bucket, id, number FROM enrolment")
    of: dict[int, dict[int, datetime | None]] = {}
    for row in rows:
        assert row["bucket"] == hash_of(row["number"])
        of.setdefault(row["bucket"], {})[row["id"]] = since
    numbers = {row["id"]: row["number"] for row in rows}
    found = await happenings.happened(shop.connection, of, Sought(**sought), NOW - timedelta(days=9), Terms(now=NOW))
    return {numbers[id_]: at for id_, at in found.items()}


@pytest.mark.covers("S3.19", "S3.20")
@pytest.mark.parametrize(
    ("at", "counts"),
    [(timedelta(0), True), (timedelta(milliseconds=1), True), (-timedelta(milliseconds=1), False)],
)
async def test_it_counts_from_the_cause_on(shop: Shop, at: timedelta, counts: bool) -> None:
    """EX-1: strictly later, or at the same instant and told later."""
    await shop.tells(ANN, "bought", at=NOW + at)
    assert (await happened(shop, event="bought") == {ANN: NOW + at}) is counts


async def test_cause_itself_does_not_forestall_it(shop: Shop) -> None:
    assert await happened(shop, event="seen") == {}
    await shop.tells(ANN, "seen", at=NOW)
    assert await happened(shop, event="seen") == {ANN: NOW}


async def test_key_has_to_be_that_of_the_cause(shop: Shop) -> None:
    await shop.tells(ANN, "bought", {"cart": "a"})
    await shop.tells(BOB, "bought", {"cart": "b"})
    assert set(await happened(shop, event="bought", key="cart")) == {ANN}
    assert set(await happened(shop, event="bought")) == {ANN, BOB}


async def test_conditions_and_addresses_narrow_it(shop: Shop) -> None:
    await shop.tells(ANN, "page", {"url": "https://a.example/thanks?id=1", "n": 3})
    await shop.tells(BOB, "page", {"url": "https://a.example/other", "n": 1})
    assert set(await happened(shop, event="page", url="https://a.example/thanks")) == {ANN}
    assert set(await happened(shop, event="page", where=Compare(Attribute(("n",)), "<", 2))) == {BOB}


async def test_click_of_a_machine_is_none(shop: Shop) -> None:
    """GL-5."""
    await shop.tells(ANN, "clicked", {"verdict": "human"})
    await shop.tells(BOB, "clicked", {"verdict": "bot"})
    assert set(await happened(shop, event="clicked")) == {ANN}


async def test_since_a_step_what_was_before_it_does_not_count(shop: Shop) -> None:
    await shop.tells(ANN, "bought", at=NOW + timedelta(seconds=10))
    assert await happened(shop, since=NOW + timedelta(seconds=11), event="bought") == {}
    assert set(await happened(shop, since=NOW + timedelta(seconds=10), event="bought")) == {ANN}
