"""What `sluice stop` and `sluice start` share: reading numbers as people write them, reaching the feed, showing it.

Not here: what a STOP does (gateway.dispatch.stops).
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from gateway import app
from gateway.commands._options import Refused, plain
from gateway.config import Settings
from gateway.contacts.numbers import Numbers
from gateway.contacts.reading import Reading
from gateway.contacts.table import Table
from gateway.dispatch.stops import Stops
from gateway.erasure import Erased
from gateway.erasure import shown as number_shown
from gateway.store import erasures, migrate, postgres, stops


def reader_of(region: str | None) -> Numbers:
    """Take any number of the right length; digits alone are international where no country is said."""
    return Numbers(region, forms="mixed" if region else "international", possible=True)


def numbers_of(written: Sequence[str], region: str | None) -> list[int]:
    """Read numbers; Refused with every one that is none."""
    read = reader_of(region)
    verdicts = [read.read(text) for text in written]
    wrong = [f"{plain(text)}: {one.fault}" for text, one in zip(written, verdicts, strict=True) if not one.number]
    if wrong:
        raise Refused(f"expected phone numbers such as +447700900123, found {'; '.join(wrong)}")
    return list(dict.fromkeys(one.number for one in verdicts))


def numbers_in(path: Path, region: str | None) -> tuple[list[int], int]:
    """Read a file of numbers, with other columns or without; -> each once, and how many rows have none. FileFault."""
    with Table(str(path)) as table:
        reading = Reading(table, reader_of(region))
        found = [number for batch in reading.batches() for number in batch.numbers if number]
        return found, reading.report.refused


@contextlib.asynccontextmanager
async def open_feed(settings: Settings) -> AsyncIterator[tuple[Stops, postgres.Connection]]:
    """Reach the feed, making the database if there is none: STOPs are taken before anything is sent. StoreError."""
    async with app.open_database(settings, migrates=not app.has_database(settings)) as database:
        await migrate.require(database.dsn)

        async def connect() -> postgres.Connection:
            return await postgres.connect(
                database.dsn,
                statement_timeout_s=settings.database.deadline_s,
                allow_fsync_off=settings.database.allow_data_loss,
            )

        made = Stops(app.CLOCK, connect, settings.database.deadline_s, settings.worker.lease_s, app.identity())
        try:
            async with database.connection() as connection:
                yield made, connection
        finally:
            await made.close()


async def open_door(connection: postgres.Connection) -> Erased:
    """Read who was erased, before numbers are taken in; StoreError where nobody can say."""
    return await erasures.door(connection, app.erasure_key())


def shown(one: stops.Standing) -> str:
    """An entry as a person reads it."""
    names = {stops.EVERYTHING: "everything", stops.PROMOTIONAL: "what is promotional"}
    where = names.get(one.scope) or plain(one.scope).replace("sender:", "sender ", 1)
    verb = "stopped" if one.is_stop else "may be written to"
    text = f"{number_shown(one.number)} {where}: {verb} since {one.at:%Y-%m-%d %H:%M:%S} UTC"
    text += f" by {plain(one.source)} ({one.seq})"
    return text + (f": {plain(one.note)}" if one.note else "")
