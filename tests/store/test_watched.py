"""What a look at a person writes, once and whole, whoever comes between."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from gateway.campaign.audience import parse
from gateway.campaign.consent import states_of
from gateway.consent import Fact
from gateway.person import Item, Who, hash_of
from gateway.store import consents, jobs, membership, people, postgres, runs, selection, watched
from gateway.store.profiles import ingest
from tests.fixtures.watching import changes, members

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA = 447_700_900_001
WHO = Who(external_id="ada", phone=ADA)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    worker = runs.Worker(instance="one", host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node="one")
    await membership.register(opened, worker)
    assert await jobs.take(opened, watched.JOB, "one")
    yield opened
    await postgres.close(opened)


async def watching(connection: Any, text: str) -> watched.Watching:
    """Watch one audience, carried into everybody who is there."""
    await selection.keep(connection, "a", text, parse(text), "UTC", NOW)
    await watched.set_watched(connection, "a", True, NOW)
    found = await watched.begin(connection, "one", "salt", lambda kept, _: kept.tree)
    while found.is_filling:
        await watched.fill(connection, found, NOW)
    return found


async def told(connection: Any, *, seed: int = 1, **more: Any) -> None:
    await ingest(connection, [Item(who=WHO, name="visit", **more)], NOW, Random(seed))


async def test_a_look_that_breaks_off_leaves_the_mark_and_changes_nothing(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await watching(connection, "sessions >= 1")
    await told(connection)

    async def breaks(*_: Any, **__: Any) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as broken:
        broken.setattr(watched, "_look", breaks)
        with pytest.raises(ConnectionResetError):
            await watched.look_at_changed(connection, found, hash_of(ADA), NOW)
    assert await connection.fetchval("SELECT count(*) FROM person_changed") == 1
    done, more = await watched.look_at_changed(connection, found, hash_of(ADA), NOW)
    assert (done.persons, done.entered, more) == (1, 1, False)
    assert await connection.fetchval("SELECT count(*) FROM person_changed") == 0
    assert len(await changes(connection, "a")) == 1


async def test_who_is_being_changed_is_looked_at_when_that_has_ended(connection: Any, dsn: str) -> None:
    found = await watching(connection, "orders >= 1")
    await told(connection)
    other = await postgres.connect(dsn)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("UPDATE person_changed SET at = $1", NOW)
        await other.execute("UPDATE profile SET orders = 1")
        done, _ = await watched.look_at_changed(connection, found, hash_of(ADA), NOW)
        assert done.persons == 0
        await transaction.commit()
        done, _ = await watched.look_at_changed(connection, found, hash_of(ADA), NOW)
        assert done.entered == 1
    finally:
        await postgres.close(other)


async def test_whoever_changes_a_person_who_is_looked_at_waits_and_is_seen_by_the_next_look(
    connection: Any, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await watching(connection, "count(visit) >= 2")
    await told(connection)
    other = await postgres.connect(dsn)
    looked = watched._look
    tasks = []

    async def slow(*arguments: Any, **more: Any) -> Any:
        tasks.append(asyncio.create_task(told(other, seed=2, occurred_at=NOW - timedelta(hours=1))))
        while not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not tasks[0].done()
        return await looked(*arguments, **more)

    try:
        with monkeypatch.context() as slowed:
            slowed.setattr(watched, "_look", slow)
            looks = watched.look_at_changed(connection, found, hash_of(ADA), NOW)
            done, _ = await asyncio.wait_for(looks, 30)
        assert done.entered == 0
        await tasks[0]
        done, _ = await watched.look_at_changed(connection, found, hash_of(ADA), NOW)
        assert done.entered == 1
    finally:
        await postgres.close(other)


async def test_consent_marks_whoever_has_the_number(connection: Any) -> None:
    found = await watching(connection, "consent(promotional, acme)")
    await told(connection)
    await watched.look_at_changed(connection, found, hash_of(ADA), NOW)
    fact = Fact(
        number=ADA, brand="acme", class_="promotional", action="grant", source="api", recorded_at=NOW,
        effective_at=NOW, method="form",
    )  # fmt: skip
    await consents.append(connection, [fact], states_of)
    done, _ = await watched.look_at_changed(connection, found, hash_of(ADA), NOW)
    assert done.entered == 1


async def test_a_list_that_was_imported_marks_those_in_it_where_anything_is_watched(connection: Any) -> None:
    await told(connection)
    await connection.execute("DELETE FROM person_changed")
    made = await people.open_list(connection, "vip", source_name="", source_sha256=b"", fields=[], now=NOW)
    into = "INSERT INTO list_entry (bucket, list, number, attributes) VALUES ($1, $2, $3, '{}')"
    await connection.execute(into, hash_of(ADA), made.id, ADA)
    await watched.mark_list(connection, made.id, NOW)
    assert await connection.fetchval("SELECT count(*) FROM person_changed") == 0
    await watching(connection, "in_list('vip')")
    await watched.mark_list(connection, made.id, NOW)
    assert await connection.fetchval("SELECT count(*) FROM person_changed") == 1
    assert len(await members(connection, "a")) == 1


async def test_what_is_kept_of_a_person_who_is_there_no_more_goes(connection: Any) -> None:
    found = await watching(connection, "last_seen < 3d")
    await told(connection)
    await watched.look_at_changed(connection, found, hash_of(ADA), NOW)
    await connection.execute("DELETE FROM profile")
    done, more = await watched.look_at_due(connection, found, hash_of(ADA), NOW + timedelta(days=3))
    assert (done.persons, done.left, more) == (1, 0, False)
    assert await connection.fetchval("SELECT count(*) FROM audience_member") == 0
