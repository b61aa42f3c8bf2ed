"""`sluice send`: a file of customers and a text, to the last receipt.

dry run (report) ─► import ─► enqueue ─► a worker of our own, if none runs ─► progress ─► report
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from _fastpath.template import Template
from gateway import app
from gateway.commands._campaign import print_report, report_of, send_to_end
from gateway.commands._options import EXIT_DATA, config_option, dsn_option, said_plainly, set_up_logging, settings_of
from gateway.config import Settings
from gateway.contacts.loading import load
from gateway.contacts.numbers import Numbers
from gateway.contacts.reading import Reading
from gateway.contacts.report import Report
from gateway.contacts.table import Table
from gateway.dispatch.compose import form_of
from gateway.dispatch.worker import boot_id, is_dead
from gateway.errors import ConfigError, EncodeError
from gateway.message import MessageClass, Policy
from gateway.store import runs


@click.command()
@config_option
@dsn_option
@click.option("--contacts", required=True, type=click.Path(), metavar="FILE", help="CSV of the people to write to.")
@click.option(
    "--text", required=True, help='The message: {{ field }} and {{ field|default("…") }} are columns of the file.'
)
@click.option(
    "--carrier", "carriers", multiple=True, required=True, metavar="NAME", help="Several share the run by weight."
)
@click.option("--policy", type=click.Choice([policy.value for policy in Policy]), default="once", show_default=True)
@click.option(
    "--class", "class_", type=click.Choice([c.name.lower() for c in MessageClass]), default="bulk", show_default=True
)
@click.option("--name", default="", help="Of the run; by default the file's name.")
@click.option(
    "--expires-after", type=click.FloatRange(1), metavar="SECONDS", help="Send nothing of it later than this."
)
@click.option("--region", metavar="GB", help="Country of numbers written without +.")
@click.option("--number-column", metavar="NAME", help="Column of the phone numbers.")
@click.option(
    "--numbers", "forms", type=click.Choice(["mixed", "national", "international"]), default="mixed", show_default=True
)
@click.option("--mobile-only", is_flag=True, help="Refuse landlines.")
@click.option("--encoding", metavar="NAME", help="Encoding of the file.")
@click.option("--delimiter", metavar="CHAR", help="Delimiter of the file.")
@click.option("--header/--no-header", "header", default=None, help="Whether the first row names columns.")
@click.option("--show-numbers", is_flag=True, help="Do not cover the numbers in examples.")
@click.option("--dry-run", is_flag=True, help="Print the report and stop; nothing is written anywhere.")
@click.option("--strict", is_flag=True, help="Send nothing when any row would not be sent.")
@click.option("--again", is_flag=True, help="The same text to the same file once more.")
@click.option("--detach", is_flag=True, help="Enqueue and leave; a `sluice run` sends it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--wait-receipts",
    type=click.FloatRange(0),
    default=15.0,
    show_default=True,
    help="Seconds without any receipt until the report.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option("-v", "--verbose", count=True)
def send(config: Path | None, dsn: str, verbose: int, **options: Any) -> None:
    """Send one text to everybody in a file.

    A dry run comes first: what is wrong with the file, row by row, and who would be written to. Rows that are wrong are
    left out and said; nothing about them is guessed. On a terminal you are asked before anything leaves.

    Exit code: 0 sent, 65 the file or the text cannot be used, 75 the database is away, 78 a setting is wrong.
    """
    set_up_logging(verbose)
    with said_plainly():
        settings = settings_of(config, dsn)
        names = list(dict.fromkeys(options.pop("carriers")))
        for name in names:
            settings.carrier(name)
        try:
            template = Template(options["text"])
            for name in names:
                form_of(options["text"], settings.carriers[name])
        except (ValueError, EncodeError) as error:
            click.echo(f"--text: {error}", err=True)
            sys.exit(EXIT_DATA)
        report = _dry_run(template, options)
        _judge(report, template, options)
        if options["dry_run"]:
            return
        if sys.stdin.isatty() and not options["yes"]:
            click.confirm(f"Send to {report.sent:,} people through {', '.join(names)}?", abort=True, err=True)
        app.run(_send(settings, names, template, options, report.sha256))


def open_reading(options: dict[str, Any], fields: tuple[str, ...]) -> Reading:
    """Open the file anew: it is read twice, once to judge it and once to import it."""
    table = Table(
        options["contacts"], encoding=options["encoding"], delimiter=options["delimiter"], header=options["header"]
    )
    try:
        return Reading(
            table,
            Numbers(options["region"], forms=options["forms"], mobile=options["mobile_only"]),
            number_column=options["number_column"],
            template_fields=fields,
            shows_numbers=options["show_numbers"],
        )
    except BaseException:
        table.close()
        raise


def _dry_run(template: Template, options: dict[str, Any]) -> Report:
    reading = open_reading(options, template.fields)
    with reading.table:
        return reading.run()


def _judge(report: Report, template: Template, options: dict[str, Any]) -> None:
    """Print the dry run; end here when nothing, or not all of it, may be sent."""
    if options["as_json"] and options["dry_run"]:
        click.echo(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        click.echo(report.as_text(), nl=False, err=options["as_json"])
    missing = [name for name in report.missing_fields if name in template.required]
    if missing:
        click.echo(f"--text: the file has no column {', '.join(missing)}, and the text has no default for it", err=True)
        sys.exit(EXIT_DATA)
    if not report.sent:
        click.echo("nobody to send to", err=True)
        sys.exit(EXIT_DATA)
    if options["strict"] and (report.refused or report.duplicates):
        click.echo("--strict: some rows would not be sent, so none is", err=True)
        sys.exit(EXIT_DATA)


async def _send(settings: Settings, names: list[str], template: Template, options: dict[str, Any], sha256: str) -> None:
    stop = asyncio.Event()
    with app.stop_signals(stop.set):
        async with app.open_database(settings) as database:
            run = await enqueue(settings, database, names, template, options, sha256)
            click.echo(f"enqueued    run {run.id}: {run.recipients:,} messages", err=True)
            if options["detach"]:
                click.echo("to send it: `sluice run`; to watch it: `sluice status`", err=True)
                return
            async with database.connection() as connection:
                now = datetime.now(UTC)
                import socket

                others = [
                    w for w in await runs.workers(connection) if not is_dead(w, socket.gethostname(), boot_id(), now)
                ]
            if others:
                click.echo(
                    f"a worker runs already ({others[0].instance}): it sends; watch it by `sluice status`", err=True
                )
                return
            async with app.open_worker(settings, database, names) as worker:
                ended = await send_to_end(
                    database, worker, run, wait_receipts_s=options["wait_receipts"], quiet=False, stop=stop
                )
            async with database.connection() as connection:
                print_report(await report_of(connection, run), options["as_json"])
            if not ended:
                click.echo("stopped; what is left waits: go on with `sluice run`", err=True)


async def enqueue(
    settings: Settings,
    database: app.Database,
    names: list[str],
    template: Template,
    options: dict[str, Any],
    sha256: str,
) -> runs.Run:
    """Import the file into a list of its own and put a run of it into the queue.

    The list is named by the file's content, so the same file is imported once however often it is sent.
    raises  ConfigError when the same text went to the same list before, unless asked for
    """
    reading = open_reading(options, template.fields)
    file_name = Path(options["contacts"]).name
    with reading.table:
        shape = json.dumps(
            [
                options[key]
                for key in ("region", "forms", "mobile_only", "number_column", "encoding", "delimiter", "header")
            ]
        )
        import hashlib

        digest = hashlib.sha256((sha256 + shape).encode()).hexdigest()[:16]
        loaded = await load(reading, database.dsn, f"{file_name}@{digest}", now=datetime.now(UTC))
    now = datetime.now(UTC)
    async with database.connection() as connection:
        before = await runs.same_run(connection, loaded.list_id, template.text)
        if before is not None and not options["again"]:
            raise ConfigError(
                [
                    (
                        "send",
                        "a text that this file has not been sent yet, or --again",
                        f"run {before.id} of {before.created_at:%Y-%m-%d %H:%M}",
                    )
                ]
            )
        lanes = [await runs.lane_of(connection, name, now) for name in names]
        expires = options["expires_after"]
        run = await runs.add_run(
            connection, name=options["name"] or file_name, template=template.text, fields=template.fields,
            class_=MessageClass[options["class_"].upper()], policy=options["policy"], lanes=lanes,
            list_id=loaded.list_id, source=file_name, now=now,
            expires_at=None if expires is None else now + timedelta(seconds=expires),
        )  # fmt: skip
        await runs.materialise(
            connection, run, [settings.carriers[name].weight for name in names], loaded.entries, datetime.now(UTC)
        )
        enqueued = await runs.run_by_id(connection, run.id)
    assert enqueued is not None
    return enqueued
