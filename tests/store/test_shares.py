"""Work on all people that two connections share: the same instant, all of it or nothing."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.campaign.audience import parse
from gateway.campaign.evaluation import Person
from gateway.errors import StoreError
from gateway.gate import Gate
from gateway.store import considered, people, postgres, selection, shares
from gateway.store.audiences import Terms
from tests.fixtures.audiences import NOW, write_people

TERMS = Terms(now=NOW)
FIRST = 447700900000
# Numbers in buckets of both halves.
STEP = 7919
PLACE = "INSERT INTO list_entry (bucket, list, number, attributes) VALUES ($1::int, 1, $1::int, '{}')"


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


@pytest.fixture
def beside(dsn: str, monkeypatch: pytest.MonkeyPatch) -> shares.Opener:
    """Open one more connection; every audience is worth it."""
    monkeypatch.setattr(selection, "WORTH_SHARING", 0.0)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        one = await postgres.connect(dsn)
        try:
            yield one
        finally:
            await postgres.close(one)

    return opened


async def placed(connection: Any) -> list[int]:
    return [row[0] for row in await connection.fetch("SELECT bucket FROM list_entry WHERE list = 1 ORDER BY 1")]


async def take_away(connection: Any) -> None:
    await connection.execute("DELETE FROM list_entry WHERE list = 1")


async def test_every_bucket_is_in_one_share_and_all_shares_see_one_instant(
    connection: Any, beside: shares.Opener
) -> None:
    for count in (1, 2, 3, 256):
        assert [one for low, high in shares.divided(count) for one in range(low, high + 1)] == [*range(256)]
    seen = []

    async def work(one: Any, buckets: shares.Buckets) -> int:
        snapshot = await one.fetchval("SELECT pg_current_snapshot()::text")
        seen.append((buckets, snapshot, one.get_server_pid()))
        await one.execute(PLACE, buckets[0])
        return 1 + buckets[1] - buckets[0]

    assert await shares.in_shares(connection, beside, 30.0, "test", work, take_away) == 256
    assert len({pid for _, _, pid in seen}) == 2 and len({snapshot for _, snapshot, _ in seen}) == 1
    assert await placed(connection) == [0, 128]
    await take_away(connection)
    assert await shares.in_shares(connection, None, 30.0, "test", work, take_away) == 256
    assert await placed(connection) == [0]


async def test_when_a_share_fails_nothing_is_written(connection: Any, beside: shares.Opener) -> None:
    for failing in (0, 128):

        async def work(one: Any, buckets: shares.Buckets, failing: int = failing) -> int:
            await one.execute(PLACE, buckets[0])
            if buckets[0] == failing:
                await one.execute("SELECT 1 / 0")
            return 1

        with pytest.raises(StoreError, match="division by zero"):
            await shares.in_shares(connection, beside, 30.0, "test", work, take_away)
        assert await placed(connection) == []


async def test_a_share_that_was_committed_is_taken_away_when_the_other_cannot_be(
    connection: Any, beside: shares.Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one beside is the first to COMMIT; then the first one's COMMIT fails, by a constraint that waits for it."""
    await connection.execute("CREATE TABLE late (n int, CONSTRAINT late_n UNIQUE (n) DEFERRABLE INITIALLY DEFERRED)")

    async def work(one: Any, buckets: shares.Buckets) -> int:
        await one.execute(PLACE, buckets[0])
        if buckets[0] == 0:
            await one.execute("INSERT INTO late VALUES (1), (1)")
        return 1

    taken = []

    async def counted(one: Any) -> None:
        taken.append(await placed(one))
        await take_away(one)

    with pytest.raises(StoreError, match="late_n"):
        await shares.in_shares(connection, beside, 30.0, "test", work, counted)
    assert taken == [[128]] and await placed(connection) == []


async def entries(connection: Any, list_id: int) -> list[tuple[int, str]]:
    rows = await connection.fetch(
        "SELECT number, attributes::text AS a FROM list_entry WHERE list = $1 ORDER BY number", list_id
    )
    return [(row["number"], row["a"]) for row in rows]


async def opened_list(connection: Any, name: str) -> int:
    made = await people.open_list(connection, name, source_name="", source_sha256=b"", fields=[], now=NOW)
    return made.id


CROWD = [
    *(Person(number=FIRST + at % 70 * STEP, attributes={"name": f"p{at}", "points": at}) for at in range(100)),
    *(Person(attributes={"points": 50}) for _ in range(8)),
]


async def test_a_list_is_the_same_whether_one_or_two_have_written_it(connection: Any, beside: shares.Opener) -> None:
    """SG-6, TH-9: of people who share a number the fields of the oldest."""
    await write_people(connection, CROWD)
    tree = parse("points > 20 and (not did(visit, 3d)) and not in_list('vip')")
    whole, divided = [await opened_list(connection, name) for name in ("whole", "divided")]
    count = await selection.freeze(connection, tree, TERMS, whole, ["name"])
    assert await selection.freeze(connection, tree, TERMS, divided, ["name"], beside=beside) == count == 70
    assert await entries(connection, divided) == await entries(connection, whole)
    # A list that has some already is nobody's to take away: one transaction.
    assert await selection.freeze(connection, parse("everyone"), TERMS, divided, beside=beside) == 0
    assert await entries(connection, divided) == await entries(connection, whole)


async def test_a_run_considers_the_same_people_whether_one_or_two_have_frozen_it(
    connection: Any, beside: shares.Opener
) -> None:
    """SG-10."""
    await write_people(connection, CROWD)
    await connection.execute(
        "INSERT INTO consent_state (bucket, number, brand, promotional, transactional, night) "
        "SELECT DISTINCT bucket, number, 'acme', number % 4, 0, 0 FROM profile WHERE number IS NOT NULL"
    )
    found = []
    for run, opener in ((1, None), (2, beside)):
        made = await opened_list(connection, f"run {run}")
        gate = Gate(brand="acme", needs="promotional")
        count = await considered.freeze(
            connection, parse("points > 20"), TERMS, gate, run, made, ["name"], beside=opener
        )
        skipped = await considered.skipped(connection, run)
        found.append((count, skipped, await entries(connection, made)))
    assert found[0] == found[1] and found[0][0] and len(found[0][1]) == 4


KILLED = """
import asyncio, os, signal, sys
from contextlib import asynccontextmanager
from asyncpg.transaction import Transaction
from gateway.campaign.audience import parse
from gateway.store import postgres, selection
from gateway.store.audiences import Terms
from tests.fixtures.audiences import NOW

commit, commits = Transaction.commit, []

async def second_kills(transaction):
    commits.append(1)
    if len(commits) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    await commit(transaction)

async def main():
    first, second = [await postgres.connect(sys.argv[1], allow_fsync_off=True) for _ in range(2)]

    @asynccontextmanager
    async def beside():
        yield second

    selection.WORTH_SHARING = 0.0
    Transaction.commit = second_kills
    await selection.freeze(first, parse("everyone"), Terms(now=NOW), int(sys.argv[2]), beside=beside)

asyncio.run(main())
"""


async def test_a_kill_between_two_commits_leaves_a_list_that_is_not_ready_and_is_frozen_anew(
    connection: Any, dsn: str, beside: shares.Opener
) -> None:
    await write_people(connection, CROWD)
    made = await people.open_list(
        connection, "spring", source_name=f"{selection.FROZEN}now", source_sha256=b"", fields=[], now=NOW
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, dsn, str(made.id))
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGKILL
    assert 0 < len(await entries(connection, made.id)) < 70
    again = await people.find_list(connection, "spring")
    assert again is not None and again.state == "loading"
    assert "spring" not in (await selection.known(connection)).lists
    # Who has left meanwhile is not in it, though the half that was committed had him.
    await connection.execute("DELETE FROM profile WHERE number > $1", FIRST + 60 * STEP)
    await selection.empty(connection, made.id)
    assert await selection.freeze(connection, parse("everyone"), TERMS, made.id, beside=beside) == 61
    assert await people.finish_list(connection, made.id, NOW) == 61
    assert "spring" in (await selection.known(connection)).lists
