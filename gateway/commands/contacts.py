"""`sluice contacts`: look at a file of customers, or import it into a list."""

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from gateway import app
from gateway.commands._options import DELIMITER_NAMES
from gateway.contacts.loading import Loaded, load
from gateway.contacts.numbers import Forms, Numbers
from gateway.contacts.reading import Reading
from gateway.contacts.table import Table
from gateway.errors import ConfigError, FileFault, StoreError
from gateway.store import people


@click.group()
def contacts() -> None:
    """Check a file of customers, or import it."""


def _reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        [
            click.argument("file", type=click.Path()),
            click.option("--region", metavar="GB", help="Country of numbers written without +."),
            click.option("--number-column", metavar="NAME", help="Column of the phone numbers: name or position."),
            click.option(
                "--numbers",
                "forms",
                type=click.Choice(["mixed", "national", "international"]),
                default="mixed",
                show_default=True,
                help="What digits without + are.",
            ),
            click.option("--mobile-only", is_flag=True, help="Refuse landlines and other lines."),
            click.option("--possible", is_flag=True, help="Take numbers of ranges that phonenumbers does not know."),
            click.option("--encoding", metavar="NAME", help="Encoding of the file, such as cp1251."),
            click.option("--delimiter", metavar="CHAR", help="Delimiter: a character, or tab."),
            click.option("--header/--no-header", "header", default=None, help="Whether the first row names columns."),
            click.option("--field", "fields", multiple=True, metavar="NAME", help="A field the message will need."),
            click.option("--show-numbers", is_flag=True, help="Do not cover the numbers in examples."),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        ]
    ):
        command = option(command)
    return command


def _open(
    file: str,
    region: str | None,
    number_column: str | None,
    forms: Forms,
    mobile_only: bool,
    possible: bool,
    encoding: str | None,
    delimiter: str | None,
    header: bool | None,
    fields: tuple[str, ...],
    show_numbers: bool,
) -> Reading:
    if delimiter is not None:
        delimiter = DELIMITER_NAMES.get(delimiter.lower(), delimiter)
    table = Table(file, encoding=encoding, delimiter=delimiter, header=header)
    try:
        return Reading(
            table,
            Numbers(region, forms=forms, mobile=mobile_only, possible=possible),
            number_column=number_column,
            template_fields=fields,
            shows_numbers=show_numbers,
        )
    except BaseException:
        table.close()
        raise


async def _load(reading: Reading, dsn: str, name: str, connections: int, fires: bool) -> Loaded:
    return await load(
        reading, dsn, name, now=datetime.now(UTC), connections=connections, fires=fires, key=app.erasure_key()
    )


def _print_fault(error: Exception, as_json: bool) -> None:
    if as_json:
        fault = error.fault if isinstance(error, FileFault) else type(error).__name__
        click.echo(json.dumps({"error": str(error), "fault": fault}, ensure_ascii=False))
    else:
        click.echo(f"contacts: {error}", err=True)


@contacts.command()
@_reading_options
def check(as_json: bool, **options: Any) -> None:
    """Read FILE and say what an import would do; nothing is written.

    Exit code: 0 all rows would be sent to, 1 some would not, 2 the file cannot be read.
    """
    try:
        reading = _open(**options)
        with reading.table:
            report = reading.run()
    except (FileFault, ConfigError) as error:
        _print_fault(error, as_json)
        sys.exit(2)
    click.echo(json.dumps(report.as_json(), ensure_ascii=False) if as_json else report.as_text(), nl=as_json)
    sys.exit(1 if report.refused or report.duplicates or report.missing_fields else 0)


@contacts.command(name="import")
@_reading_options
@click.option("--list", "name", required=True, metavar="NAME", help="The list to import into.")
@click.option("--dsn", envvar="SLUICE_DSN", required=True, help="Postgres to write to ($SLUICE_DSN).")
@click.option("--connections", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--fires", is_flag=True, help="Who enters or leaves watched audiences by it starts something.")
def import_(as_json: bool, name: str, dsn: str, connections: int, fires: bool, **options: Any) -> None:
    """Import FILE into a list. The same file again changes nothing; a broken import is completed by a repeat.

    Exit code: 0 imported (rows may be refused: see the report), 2 the file cannot be read, 3 the database failed.
    """
    if people.is_of_file(name):
        raise click.BadParameter(
            f"expected a name that does not end like those of files ({people.LIST_OF_FILE}), which are dropped after "
            f"a time, found {name!r}",
            param_hint="--list",
        )
    try:
        reading = _open(**options)
        with reading.table:
            loaded = asyncio.run(_load(reading, dsn, name, connections, fires))
    except (FileFault, ConfigError, StoreError) as error:
        _print_fault(error, as_json)
        sys.exit(3 if isinstance(error, StoreError) else 2)
    if as_json:
        outcome = {
            "list": name,
            "list_id": loaded.list_id,
            "entries": loaded.entries,
            "endpoints_written": loaded.endpoints_written,
            "report": reading.report.as_json(),
        }
        click.echo(json.dumps(outcome, ensure_ascii=False))
    else:
        click.echo(reading.report.as_text(), nl=False)
        click.echo(f"\nlist        {name!r}: {loaded.entries:,} people, {loaded.endpoints_written:,} new or changed")
