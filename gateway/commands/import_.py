"""`sluice import`: people and receipts out of files, once, looked at as a whole first; opt-outs before anything."""

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from msgspec import Struct

from gateway import app
from gateway.campaign.consent import proof_of_stop, states_of
from gateway.commands._control import run, whoever
from gateway.commands._options import DELIMITER_NAMES, EXIT_DATA, Refused, config_option, dsn_option, plain, say
from gateway.commands._stops import open_feed, reader_of
from gateway.config import Settings
from gateway.contacts import cells, importing, mapping, persons, receipts
from gateway.contacts.cells import Ways
from gateway.contacts.mapping import Reader, RowReport
from gateway.contacts.numbers import Forms
from gateway.contacts.reading import Reading
from gateway.contacts.report import Report
from gateway.contacts.table import Table
from gateway.dispatch.stops import Stops
from gateway.store import consents, erasures, imports, migrate, postgres, stops

BATCH_S = 120.0
# A ledger for all rows of a large file.
WHOLE_S = 7200.0


class How(Struct, frozen=True, kw_only=True):
    """What was asked of a file."""

    maps: tuple[str, ...]
    sets: tuple[str, ...]
    region: str
    forms: Forms
    possible: bool
    ways: Ways
    only_mapped: bool
    has_receipts: bool
    brand: str
    source: str
    as_of: datetime | None
    max_refused: float
    encoding: str | None
    delimiter: str | None
    header: bool | None
    shows: bool
    connections: int
    fires: bool


class Imported(Struct, kw_only=True):
    """What came of a call, for programs."""

    optouts: dict[str, Any] = {}
    report: dict[str, Any] = {}
    is_done: bool = False
    is_refused: bool = False
    poured: importing.Poured | None = None


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        [
            config_option,
            dsn_option,
            click.argument("file", required=False, type=click.Path()),
            click.option("--optouts", multiple=True, metavar="FILE", help="Numbers that are stopped, before all else."),
            click.option("--receipts", "has_receipts", is_flag=True, help="Rows are receipts of tills."),
            click.option("--map", "maps", multiple=True, metavar="COLUMN=FIELD[:KIND]", help="What a column is."),
            click.option("--set", "sets", multiple=True, metavar="FIELD=VALUE", help="The same for every row."),
            click.option("--only-mapped", is_flag=True, help="Leave out the columns that nothing is said of."),
            click.option("--brand", default="", help="Whose consent rows tell of, and who asks who may be written to."),
            click.option("--source", default="", help="Whose word it is; by default file, or till of receipts."),
            click.option("--as-of", default="", metavar="TIME", help="When the file was true; by default now."),
            click.option("--region", default="", metavar="GB", help="Country of numbers written without +."),
            click.option(
                "--numbers", "forms", type=click.Choice(["mixed", "national", "international"]), default="mixed",
                show_default=True, help="What digits without + are.",
            ),
            click.option("--possible", is_flag=True, help="Take numbers of ranges that phonenumbers does not know."),
            click.option("--decimal", type=click.Choice([".", ","]), default=None, help="What is before a fraction."),
            click.option("--dates", type=click.Choice(["dmy", "mdy"]), default=None, help="Which way dates are."),
            click.option("--zone", default="", metavar="Europe/Berlin", help="Of times without an offset."),
            click.option("--encoding", metavar="NAME", help="Encoding of the file, such as cp1251."),
            click.option("--delimiter", metavar="CHAR", help="Delimiter: a character, or tab."),
            click.option("--header/--no-header", "header", default=None, help="Whether the first row names columns."),
            click.option(
                "--max-refused", type=click.FloatRange(0, 100), default=10.0, show_default=True, metavar="PERCENT",
                help="Write nothing where more rows are refused.",
            ),
            click.option("--fires", is_flag=True, help="Who enters or leaves audiences by it starts something."),
            click.option("--dry-run", is_flag=True, help="Only say what would be taken and refused."),
            click.option("--show-numbers", "shows", is_flag=True, help="Do not cover the numbers in examples."),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
            click.option("--connections", type=click.IntRange(1, 16), default=2, show_default=True),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@click.command(name="import")
@_options
def import_(
    config: Path | None,
    dsn: str,
    file: str | None,
    optouts: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    decimal: Literal["", ".", ","] | None,
    dates: Literal["dmy", "mdy"] | None,
    zone: str,
    as_of: str,
    **options: Any,
) -> None:
    """Import people of FILE, or receipts; look at all of it first, and say what is refused, by row and column.

    Opt-outs are in force on every node before a row of FILE is written. The same file again changes nothing, and an
    import that broke off goes on where it was.

    Exit code: 0 all rows are taken, 65 some were refused or nothing was written, 75 the database failed.
    """
    if file is None and not optouts:
        raise click.UsageError("expected FILE, or --optouts, or both")
    try:
        ways = Ways(decimal=decimal or "", dates=dates or "", zone=ZoneInfo(zone) if zone else None)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise click.UsageError(f"--zone: expected a zone such as Europe/Berlin, found {zone!r}") from None
    at = None
    if as_of:
        try:
            at = cells.instant(as_of, ways)
        except cells.Wrong as error:
            raise click.UsageError(f"--as-of: expected {mapping.FAULTS[error.fault]}, found {as_of!r}") from None
    if (delimiter := options.pop("delimiter")) is not None:
        delimiter = DELIMITER_NAMES.get(delimiter.lower(), delimiter)
    how = How(ways=ways, as_of=at, delimiter=delimiter, **options)

    async def work(settings: Settings) -> Imported:
        done = Imported()
        if optouts:
            done.optouts = await _stop(settings, optouts, how, dry_run)
        if file is not None:
            await _import(settings, file, how, dry_run, done)
        return done

    done = run(config, dsn, work)
    if as_json:
        click.echo(json.dumps(_builtins(done), ensure_ascii=False))
    elif done.poured is not None:
        click.echo(_said(done.poured))
    refused = done.report.get("refused", 0) + sum(one["refused"] for one in done.optouts.get("files", []))
    sys.exit(EXIT_DATA if done.is_refused or refused else 0)


def _builtins(done: Imported) -> dict[str, Any]:
    poured = (
        None if done.poured is None else {name: getattr(done.poured, name) for name in done.poured.__struct_fields__}
    )
    return {
        "optouts": done.optouts, "report": done.report, "is_done": done.is_done, "is_refused": done.is_refused,
        "poured": poured,
    }  # fmt: skip


def _said(poured: importing.Poured) -> str:
    text = f"{poured.told:,} told: {poured.created:,} persons new, {poured.merged:,} joined"
    if poured.events or poured.known:
        text += f", {poured.events:,} events, {poured.known:,} were here before"
        text += f" ({poured.conflicts:,} said something else)" if poured.conflicts else ""
    if poured.grants:
        text += f", {poured.grants:,} agreed"
    if poured.erased:
        text += f"; {poured.erased:,} of erased numbers were left out"
    if poured.disputed:
        text += f"; {poured.disputed:,} names were another person's, and stay so"
    return text + (f"; went on behind line {poured.resumed_at:,}" if poured.resumed_at else "")


async def _stop(settings: Settings, files: tuple[str, ...], how: How, dry_run: bool) -> dict[str, Any]:
    """Stop the numbers of files, all that can be read; Refused where some cannot: they would be written to."""
    found: dict[int, None] = {}
    told: list[dict[str, Any]] = []
    wrong: list[Report] = []
    for each in files:
        with Table(each, encoding=how.encoding, delimiter=how.delimiter, header=how.header) as table:
            reading = Reading(table, reader_of(how.region or None), shows_numbers=how.shows)
            for batch in reading.batches():
                found.update((number, None) for number in batch.numbers if number)
            told.append(reading.report.as_json())
            if reading.report.refused:
                wrong.append(reading.report)
    if found and not dry_run:
        async with open_feed(settings) as (made, connection):
            await _enter(made, list(found), files)
            proven = 1
            while proven:
                async with postgres.deadline(connection, BATCH_S, "prove stops"):
                    proven = await consents.prove(connection, proof_of_stop, states_of)
    say(f"{len(found):,} numbers {'would be ' * dry_run}stopped")
    for report in wrong:
        say(report.as_text())
    if wrong and not dry_run:
        rows = sum(report.refused for report in wrong)
        raise Refused(f"{rows:,} rows of opt-outs have no number that can be stopped: nothing else is imported")
    return {"numbers": len(found), "files": told}


async def _enter(made: Stops, numbers: list[int], files: tuple[str, ...]) -> None:
    note = " ".join([whoever(), *(Path(each).name for each in files)])
    await made.stop(numbers, stops.EVERYTHING, "import", note[:500])


async def _import(settings: Settings, file: str, how: How, dry_run: bool, done: Imported) -> None:
    if dry_run and not app.has_database(settings):
        say("no database yet: nobody was asked who is stopped")
        await _look(file, how, datetime.now(UTC), None, done)
        return
    async with app.open_database(settings, migrates=not app.has_database(settings)) as database:
        await migrate.require(database.dsn)
        connections = []
        try:
            allows = settings.database.allow_data_loss
            for _ in range(how.connections):
                connections.append(
                    await postgres.connect(database.dsn, allow_fsync_off=allows, application_name="sluice import")
                )
            await _bring(file, how, dry_run, connections, done)
        finally:
            for connection in connections:
                await postgres.close(connection)


async def _bring(file: str, how: How, dry_run: bool, connections: list[postgres.Connection], done: Imported) -> None:
    now = datetime.now(UTC)
    if dry_run:
        await _look(file, how, now, connections[0], done)
        return
    with _open(file, how) as table:
        which = _which(table, how, _reading(table, how, now, now)[1])
        async with postgres.deadline(connections[0], BATCH_S, "import"):
            begun = await imports.begin(
                connections[0], which.sha256, which.plan, which.kind, which.name, how.as_of or now, now
            )
        if begun.is_done:
            done.is_done = True
            say(f"{plain(which.name)}: taken in before, wholly")
            return
        if await _look(file, how, now, connections[0], done) != which:
            raise Refused(f"{plain(file)}: expected one file, found that it was changed meanwhile")
        if done.is_refused:
            return
        reading = _reading(table, how, begun.as_of, now)[0]
        async with postgres.deadline(connections[0], BATCH_S, "erased"):
            erased = await erasures.door(connections[0], app.erasure_key())
        done.poured = await importing.pour(
            reading, which, connections, begun, _wall, lambda rows: None, erased, fires=how.fires
        )
        if done.report["grants"]:
            again = _reading(table, how, begun.as_of, now)[0]
            async with postgres.deadline(connections[0], WHOLE_S, "consent"):
                done.poured.grants = await importing.agree(again, connections[0], erased, fires=how.fires)
        async with postgres.deadline(connections[0], BATCH_S, "import"):
            await imports.finish(connections[0], which.sha256, which.plan, _wall())


def _wall() -> datetime:
    return datetime.now(UTC)


async def _look(
    file: str, how: How, now: datetime, connection: "postgres.Connection | None", done: Imported
) -> importing.File:
    with _open(file, how) as table:
        reading, plan = _reading(table, how, how.as_of or now, now)
        report = await importing.look(reading, connection, how.brand, lambda rows: None)
        which = _which(table, how, plan)
        done.report = {"columns": {one.name: one.target for one in plan.columns}, **report.as_json()}
        say(_page(table, plan, report, how.brand))
    if report.rows and report.refused > report.rows * how.max_refused / 100:
        done.is_refused = True
        share = f"{report.refused / report.rows:.0%} of the rows"
        say(f"nothing is written: {share} would be refused, and --max-refused says {how.max_refused:g} %")
    return which


def _which(table: Table, how: How, plan: mapping.Plan) -> importing.File:
    kind = "receipts" if how.has_receipts else "people"
    # A file's name may be octets that are no text.
    name = os.fsencode(os.path.basename(table.path)).decode(errors="replace")
    return importing.File(sha256=table.sha256, plan=plan.digest, kind=kind, name=name)


def _open(file: str, how: How) -> Table:
    return Table(file, encoding=how.encoding, delimiter=how.delimiter, header=how.header)


def _reading(table: Table, how: How, at: datetime, now: datetime) -> tuple[importing.Pass, mapping.Plan]:
    fields = receipts.FIELDS if how.has_receipts else persons.FIELDS
    source = how.source or ("till" if how.has_receipts else "file")
    sets = how.sets
    if how.brand and not how.has_receipts and not any("=consent.brand" in each for each in how.maps):
        sets = (*sets, f"consent.brand={how.brand}")
    plan = mapping.plan(
        table, how.maps, sets, fields=fields, takes_rest=not how.only_mapped, ways=how.ways,
        settings=(how.region, how.forms, str(how.possible), source),
    )  # fmt: skip
    reader = Reader(
        table, plan, RowReport(shows=how.shows), ways=how.ways, region=how.region, forms=how.forms,
        possible=how.possible,
    )  # fmt: skip
    if how.has_receipts:
        return receipts.Receipts(reader, source, now), plan
    return persons.Persons(reader, source, at, now), plan


def _page(table: Table, plan: mapping.Plan, report: RowReport, brand: str) -> str:
    """The report of a look, for a person."""
    columns = ", ".join(f"{one.name} -> {one.target}" for one in plan.columns if one.index >= 0)
    lines = [
        f"file        {plain(table.path)}, {table.octets:,} octets",
        f"encoding    {table.encoding} ({table.encoding_reason})",
        f"delimiter   {DELIMITER_SHOWN.get(table.delimiter, repr(table.delimiter))} ({table.delimiter_reason})",
        f"columns     {plain(columns)}",
        *(f"note        {plain(note)}" for note in table.notes),
        report.as_text(),
        f"stopped     {report.suppressed:,} of those taken: nothing is sent to them",
    ]
    if brand:
        lines.append(f"no consent  {report.no_consent:,} of those taken have not agreed to {plain(brand)}")
    return "\n".join(lines)


DELIMITER_SHOWN = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
