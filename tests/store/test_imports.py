"""How far imports are, and what is asked of numbers."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from gateway.campaign.consent import states_of
from gateway.consent import Fact
from gateway.errors import StoreError
from gateway.store import consents, imports, stops

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


async def test_im_1_an_import_keeps_its_time_and_how_far_it_is_and_is_done_once(dsn: str) -> None:
    connection, other = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    try:
        begun = await imports.begin(connection, b"a" * 32, b"p", "people", "x.csv", NOW, NOW)
        assert (begun.line, begun.as_of, begun.is_done) == (0, NOW, False)
        for line in (900, 400):
            await imports.went(connection, b"a" * 32, b"p", line, NOW)
        with pytest.raises(StoreError, match="another import of it is running"):
            await imports.begin(other, b"a" * 32, b"p", "people", "x.csv", NOW, NOW)
        later = NOW + timedelta(days=1)
        again = await imports.begin(connection, b"a" * 32, b"p", "people", "x.csv", later, later)
        assert (again.line, again.as_of, again.is_done) == (900, NOW, False)
        await imports.finish(connection, b"a" * 32, b"p", later)
        assert (await imports.begin(connection, b"a" * 32, b"p", "people", "x.csv", later, later)).is_done
        assert not (await imports.begin(connection, b"a" * 32, b"q", "people", "x.csv", later, later)).is_done
    finally:
        await connection.close()
        await other.close()


async def test_kinds_of_line_are_kept_and_corrected(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for kind in ("fixed_line", "mobile", "mobile"):
            await imports.note_kinds(connection, {4915112345671: kind}, NOW)
        assert await connection.fetchval("SELECT kind FROM endpoint") == "mobile"
    finally:
        await connection.close()


async def test_who_is_stopped_and_who_has_agreed_is_said_of_many_numbers(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for number, is_stop in ((491, True), (492, True), (492, False)):
            await stops.enter(connection, [number], ["*"], is_stop=is_stop, at=NOW, source="import")
        await stops.enter(connection, [493], ["sender:acme"], is_stop=True, at=NOW, source="import")
        assert await imports.stopped_among(connection, [491, 492, 493, 494]) == {491}
        for number, action in ((491, "grant"), (492, "revoke")):
            fact = Fact(
                number=number, brand="acme", class_="promotional", action=action, source="import", recorded_at=NOW,
                effective_at=NOW, method="form", wording="SMS",
            )  # type: ignore[arg-type]  # fmt: skip
            await consents.append(connection, [fact], states_of)
        assert await imports.agreed_among(connection, [491, 492, 493], "acme") == {491}
        assert await imports.agreed_among(connection, [491], "other") == set()
    finally:
        await connection.close()
