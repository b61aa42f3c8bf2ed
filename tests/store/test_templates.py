"""Templates in Postgres: versions, tests, and lists that become texts."""

import json
from datetime import UTC, datetime

import pytest

from _fastpath.copyrows import SIGNATURE
from gateway.dispatch.rendering import read_rows
from gateway.errors import StoreError
from gateway.person import hash_of
from gateway.store import considered, people, postgres, runs, templates

NOW = datetime(2026, 7, 1, tzinfo=UTC)
# Of one bucket.
NUMBERS = [number for number in range(1000, 9000) if hash_of(number) == 3][:10]


@pytest.fixture
async def connection(dsn):
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


@pytest.fixture
async def listed(connection):
    """A list of ten numbers in bucket 3, the names of two of which are no data."""
    made = await people.open_list(connection, "l", source_name="s", source_sha256=b"", fields=["a", "name"], now=NOW)
    values = [{"a": "x", "name": f"n{at}"} for at in range(8)] + [{"a": "", "name": "ok"}, {"a": "y", "name": "x.com"}]
    rows = [(3, made.id, number, json.dumps(value)) for number, value in zip(NUMBERS, values, strict=True)]
    await connection.executemany("INSERT INTO list_entry VALUES ($1, $2, $3, $4)", rows)
    return made.id


async def run_of(connection, list_id):
    lane = await runs.lane_of(connection, "north", NOW)
    return await runs.add_run(
        connection, name="r", template="x", fields=["a"], class_=5, policy="once", lanes=[lane], list_id=list_id,
        source=None, now=NOW,
    )  # fmt: skip


async def test_a_page_holds_the_people_of_a_bucket(connection, listed):
    rows = read_rows(await templates.page(connection, 3, listed))
    assert [number for number, _ in rows] == NUMBERS and json.loads(rows[0][1]) == {
        "a": "x",
        "name": "n0",
    }
    assert read_rows(await templates.page(connection, 4, listed)) == []


async def test_TP_2_who_gets_nothing_is_counted_by_the_words_of_the_template(connection, listed):
    run = await run_of(connection, listed)
    for bucket in (3, 4):
        skipped = {-12: {"render_missing:a": [1, 2], "render_missing:b": [3]}, -53: {"abort:x": [4]}}
        await templates.write_page(connection, bucket, run.id, SIGNATURE + b"\xff\xff", skipped)
    assert await considered.skipped(connection, run.id) == {-12: 6, -53: 2}
    words = {-12: {"render_missing:a": 4, "render_missing:b": 2}, -53: {"abort:x": 2}}
    assert await considered.words_of_skipped(connection, run.id) == words
    assert await considered.why_skipped(connection, 3, run.id, 3) == [-12]


async def test_TP_4_values_that_are_no_data_are_found(connection, listed):
    assert await templates.is_clean(connection, listed, [])
    assert not await templates.is_clean(connection, listed, ["a"])
    assert await templates.is_clean(connection, listed, ["name"])
    assert not await templates.is_clean(connection, listed, ["name"], ["name"])
    await connection.execute("DELETE FROM list_entry WHERE number >= $1", NUMBERS[8])
    assert await templates.is_clean(connection, listed, ["a", "name", "nothing"], ["name"])
    for wrong in ("a\nb", " a", "a\u202e", '{"x": 1}', "\u200b", "x" * 1601):
        await connection.execute(
            "UPDATE list_entry SET attributes = $1 WHERE number = $2", json.dumps({"a": wrong}), NUMBERS[0]
        )
        assert not await templates.is_clean(connection, listed, ["a"]), wrong


async def test_a_run_has_another_text_until_it_is_enqueued(connection, listed):
    run = await run_of(connection, listed)
    await templates.redress(connection, run.id, "{{ text }}", ["text"], listed)
    found = await runs.run_by_id(connection, run.id)
    assert (found.template, found.fields, found.list) == ("{{ text }}", ["text"], listed)
    await connection.execute("UPDATE run SET enqueued_at = now()")
    with pytest.raises(StoreError, match="expected one that is not enqueued"):
        await templates.redress(connection, run.id, "y", [], listed)


async def test_TP_13_a_version_was_tested_when_it_was_sent_as_a_test(connection):
    assert not await templates.was_tested(connection, b"v1")
    await templates.note(connection, b"v1", b'{"text": "x"}', NOW)
    await templates.note(connection, b"v1", b'{"text": "x"}', NOW)
    assert not await templates.was_tested(connection, b"v1")
    await templates.note_tested(connection, b"v1", 7, NOW)
    assert await templates.was_tested(connection, b"v1") and not await templates.was_tested(connection, b"v2")


async def test_TP_13_test_numbers_are_added_and_removed_by_hand(connection):
    assert await templates.add_test_number(connection, 4479, "me", NOW)
    assert not await templates.add_test_number(connection, 4479, "you", NOW)
    assert [(one.number, one.added_by) for one in await templates.test_numbers(connection)] == [(4479, "me")]
    assert await templates.remove_test_number(connection, 4479)
    assert not await templates.remove_test_number(connection, 4479)
