"""`sluice events`: what persons did, out of files."""

import hashlib
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click
from msgspec import Struct

from gateway import app
from gateway.commands._control import run
from gateway.commands._options import EXIT_DATA, config_option, dsn_option, plain, say
from gateway.config import Settings
from gateway.contacts.events import Line, Refusal, read_events
from gateway.erasure import Erased
from gateway.person import Item
from gateway.store import erasures, eventfiles, months, postgres, profiles

BATCH = 1000
SHOWN = 20
# New months among them, and other batches of the same persons that go first.
BATCH_S = 120.0


class Imported(Struct):
    """What came of a file."""

    lines: int = 0
    events: int = 0
    duplicates: int = 0
    conflicts: int = 0
    created: int = 0
    merged: int = 0
    refused: int = 0
    erased: int = 0
    resumed_at: int = 0


@click.group()
def events() -> None:
    """Bring in what persons did."""


@events.command(name="import")
@config_option
@dsn_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", default="", help="Whose event ids they are; by default the file's name.")
@click.option("--historical", is_flag=True, help="All of it: nothing is ever started by it.")
def import_(config: Path | None, dsn: str, file: Path, source: str, historical: bool) -> None:
    """Import FILE, JSON by lines. Lines that are refused are told; the others are taken.

    The same file again changes nothing, and an import that broke off goes on where it was.

    Exit code: 0 all lines are taken, 65 some were refused.
    """
    name = source or file.name

    async def work(settings: Settings) -> Imported:
        async with app.open_database(settings) as database:
            connection = await postgres.connect(
                database.dsn, allow_fsync_off=settings.database.allow_data_loss, application_name="sluice events"
            )
            try:
                with file.open("rb") as octets:
                    return await _import(connection, octets, name, historical)
            finally:
                await postgres.close(connection)

    done = run(config, dsn, work)
    told = f"{done.lines:,} lines: {done.events:,} events taken, {done.duplicates:,} were here before"
    told += f" ({done.conflicts:,} said something else), {done.created:,} persons new, {done.merged:,} joined"
    click.echo(told + f", {done.refused:,} lines refused")
    if done.erased:
        click.echo(f"{done.erased:,} of those taken for nothing are of numbers that were erased")
    if done.resumed_at:
        click.echo(f"went on behind line {done.resumed_at:,}")
    sys.exit(EXIT_DATA if done.refused else 0)


async def _import(connection: postgres.Connection, file: BinaryIO, source: str, historical: bool) -> Imported:
    """Take the lines in by batches, each followed by how far it went: a crash between tells one twice, in vain."""
    whole = hashlib.sha256()
    while octets := file.read(1 << 20):
        whole.update(octets)
    sha256 = whole.digest()
    async with postgres.deadline(connection, BATCH_S, "event file"):
        begin = await eventfiles.upto(connection, sha256, source)
    async with postgres.deadline(connection, BATCH_S, "erased"):
        erased = await erasures.door(connection, app.erasure_key())
    done = Imported(resumed_at=begin.lines)
    kinds, chance = profiles.Kinds(), random.Random()
    lines: list[Line] = []
    for line in read_events(file, source, at=begin.octets, number=begin.lines):
        lines.append(line)
        if len(lines) == BATCH:
            await _take(connection, lines, (sha256, source), done, kinds, chance, historical, erased)
            lines = []
    if lines:
        await _take(connection, lines, (sha256, source), done, kinds, chance, historical, erased)
    return done


async def _take(
    connection: postgres.Connection,
    lines: list[Line],
    file: tuple[bytes, str],
    done: Imported,
    kinds: profiles.Kinds,
    chance: random.Random,
    historical: bool,
    erased: Erased,
) -> None:
    now = datetime.now(UTC)
    items: list[Item] = []
    for line in lines:
        done.lines += 1
        if isinstance(line.told, Refusal):
            done.refused += 1
            if done.refused <= SHOWN:
                say(plain(str(line.told)))
            elif done.refused == SHOWN + 1:
                say("more lines are refused")
        else:
            items.append(eventfiles.as_history(line.told) if historical else line.told)
    gone = erased.among(item.who.phone for item in items)
    done.erased += sum(item.who.phone in gone for item in items)
    items = [item for item in items if item.who.phone not in gone]
    async with postgres.deadline(connection, BATCH_S, "events"):
        await months.ensure(connection, "person_event", eventfiles.months(items, now))
        found = await profiles.ingest(connection, items, now, chance, kinds)
        await eventfiles.went(connection, *file, lines[-1].number, lines[-1].end, now)
    done.events += found.events
    done.duplicates += found.duplicates
    done.conflicts += found.conflicts
    done.created += found.created
    done.merged += found.merged
