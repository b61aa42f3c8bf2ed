"""Pages are kept by version, and what is filled in on them once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.page import Page, page_of
from gateway.person import hash_of
from gateway.store import pages, postgres
from gateway.store.pages import Entry
from tests.fixtures.doors import ADA, BOB, SURVEY

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


def made(**changed: Any) -> Page:
    page, problems = page_of(SURVEY | changed)
    assert page is not None, problems
    return page


def entry(number: int = ADA, id_: int = 1, **changed: Any) -> Entry:
    told: dict[str, Any] = {
        "bucket": hash_of(number), "id": id_, "number": number, "target": 5, "run": 7, "at": NOW, "form": "sizes",
        "page": "survey", "version": 1, "answers": {"size": "M"}, "scope": 5,
    }  # fmt: skip
    return Entry(**told | changed)


@pytest.mark.covers("S0.26")
async def test_a_page_that_is_applied_is_its_next_version_and_the_same_is_none(connection: Any) -> None:
    assert await pages.newest(connection, "survey") is None
    assert await pages.apply(connection, made(), NOW, "me") == (1, True)
    assert await pages.apply(connection, made(), NOW, "you") == (1, False)
    assert await pages.apply(connection, made(title="Another"), NOW, "you") == (2, True)
    assert await pages.apply(connection, made(), NOW, "me") == (3, True)
    await pages.apply(connection, made(name="other"), NOW, "me")
    newest = await pages.newest(connection, "survey")
    assert newest is not None and (newest.version, newest.page) == (3, made())
    assert await pages.version_of(connection, "survey", 2) == made(title="Another")
    assert await pages.version_of(connection, "survey", 9) is None
    assert [(one.page.name, one.version, one.by) for one in await pages.all_of(connection)] == [
        ("other", 1, "me"), ("survey", 3, "me"),
    ]  # fmt: skip


async def test_two_who_apply_a_page_at_once_make_two_versions(connection: Any, dsn: str) -> None:
    other = await postgres.connect(dsn)
    try:
        found = await asyncio.gather(
            pages.apply(connection, made(title="One"), NOW, "a"), pages.apply(other, made(title="Two"), NOW, "b")
        )
    finally:
        await postgres.close(other)
    assert sorted(found) == [(1, True), (2, True)]


@pytest.mark.covers("S0.21")
async def test_s0_21_an_entry_is_kept_once_for_its_number_form_and_scope(connection: Any) -> None:
    assert await pages.enter(connection, entry())
    assert not await pages.enter(connection, entry(id_=2, answers={"size": "L"}))
    assert await pages.enter(connection, entry(id_=3, scope=6)) and await pages.enter(connection, entry(BOB))
    assert await pages.enter(connection, entry(id_=4, form="win", scope=0))
    assert not await pages.enter(connection, entry(id_=5, form="win", scope=0, target=9))
    assert await pages.count(connection, "survey") == {"sizes": 3, "win": 1}


async def test_entries_wait_until_they_are_told_the_oldest_first(connection: Any) -> None:
    await pages.enter(connection, entry(at=NOW + timedelta(seconds=1)))
    await pages.enter(connection, entry(BOB))
    waiting = await pages.untold(connection, 10)
    assert [one.number for one in waiting] == [BOB, ADA] and waiting[0].answers == {"size": "M"}
    assert [one.number for one in await pages.untold(connection, 1)] == [BOB]
    await pages.told(connection, waiting[:1])
    await pages.told(connection, [])
    assert [one.number for one in await pages.untold(connection, 10)] == [ADA]
