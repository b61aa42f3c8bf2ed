"""`sluice send`: a file of customers and a text, to the last receipt.

dry run (report) ─► import ─► enqueue ─► a worker of our own, if none runs ─► progress ─► report
"""

import asyncio
import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from msgspec import structs, to_builtins

from _fastpath.outbound import explain
from _fastpath.template import Template
from gateway import app
from gateway.automation.composing import with_footers
from gateway.commands._campaign import MEANINGS, print_report, reason_of, report_of, send_to_end
from gateway.commands._control import check_holds, whoever
from gateway.commands._countries import Labelled, judge_countries, say_countries
from gateway.commands._gated import (
    LOOKED_AT,
    enqueue_audience,
    gate_of,
    gate_options,
    judge_audience,
    judge_gate_options,
    say_zones,
)
from gateway.commands._links import judge_links, link_list, links_of
from gateway.commands._options import (
    DELIMITER_NAMES,
    EXIT_NOT_NOW,
    Finite,
    Refused,
    config_option,
    dsn_option,
    plain,
    said_plainly,
    say,
    set_up_logging,
    settings_of,
)
from gateway.commands._rates import judge_rate, keep_rate, rate_of, rate_options
from gateway.commands._rendering import (
    Wording,
    checked,
    dress_run,
    has_aliases,
    is_compiled,
    read_file,
    wording_of,
)
from gateway.config import CarrierSettings, Settings
from gateway.contacts.loading import load
from gateway.contacts.numbers import Numbers
from gateway.contacts.reading import Reading
from gateway.contacts.report import Report
from gateway.contacts.table import Table
from gateway.countries import HEAD_DIGITS, heads_by_country
from gateway.dispatch.compose import PLAIN, fields_of, form_of, required_of
from gateway.dispatch.identity import is_dead
from gateway.dispatch.preview import by_zone
from gateway.dispatch.route import plan_of, table_of
from gateway.errors import EncodeError, FileFault, StoreError
from gateway.gate import Gate
from gateway.message import Encoding, MessageClass, Policy, ReceiptPolicy
from gateway.routing import RouteTable
from gateway.store import audit, considered, people, postgres, runs, templates
from gateway.template import Template as Document
from gateway.template import sha_of

# Of a run, its source and a list: names are for people, and an index holds them.
NAME_CHARACTERS = 200


@click.command()
@config_option
@dsn_option
@click.option("--contacts", type=click.Path(), metavar="FILE", help="CSV of the people to write to.")
@click.option("--audience", default="", metavar="NAME", help="Who is written to, as of now: one that is kept.")
@gate_options
@rate_options
@click.option("--text", help="The message: {{ field }} is a column of the file; the language: docs/templates.md.")
@click.option("--template", type=click.Path(), metavar="FILE", help="What is said, as a document: TOML or JSON.")
@click.option(
    "--carrier",
    "carriers",
    multiple=True,
    metavar="NAME",
    help="Several share the run by weight; without it the settings' routes decide.",
)
@click.option("--sender", default="", help="From whom; by default as [senders] says.")
@click.option("--policy", type=click.Choice([policy.value for policy in Policy]), default="once", show_default=True)
@click.option(
    "--receipts",
    "receipt_policy",
    type=click.Choice([policy.value for policy in ReceiptPolicy]),
    default="worst",
    show_default=True,
    help="How a long message ends, from the ends of its segments.",
)
@click.option(
    "--class",
    "class_",
    type=click.Choice([c.name.lower() for c in MessageClass]),
    help="By default the document's; bulk.",
)
@click.option("--flash", is_flag=True, help="Shown at once and not kept (message class 0).")
@click.option("--binary", is_flag=True, help="The text is hexadecimal digits: send their octets.")
@click.option(
    "--ports",
    metavar="TO[:FROM]",
    help="Ports of an application on the handset, 0 to 65535; 8-bit ones as 8/TO[:FROM].",
)
@click.option(
    "--link", "links", multiple=True, metavar="NAME=URL", help="{{ link.NAME }}: a short link for each; page:P, optout."
)
@click.option("--link-life", default="30d", show_default=True, help="Then a page says that it is over.")
@click.option("--name", default="", help="Of the run; by default the file's name.")
@click.option("--expires-after", type=Finite(1), metavar="SECONDS", help="Send nothing of it later than this.")
@click.option("--region", metavar="GB", help="Country of numbers written without +.")
@click.option("--number-column", metavar="NAME", help="Column of the phone numbers.")
@click.option(
    "--numbers", "forms", type=click.Choice(["mixed", "national", "international"]), default="mixed", show_default=True
)
@click.option("--mobile-only", is_flag=True, help="Refuse landlines.")
@click.option("--encoding", metavar="NAME", help="Encoding of the file.")
@click.option("--delimiter", metavar="CHAR", help="Delimiter of the file: a character, or tab.")
@click.option("--header/--no-header", "header", default=None, help="Whether the first row names columns.")
@click.option("--show-numbers", is_flag=True, help="Do not cover the numbers in examples.")
@click.option("--dry-run", is_flag=True, help="Print the report and stop; nothing is written anywhere.")
@click.option("--strict", is_flag=True, help="Send nothing when any row would not be sent.")
@click.option("--untested", is_flag=True, help="Though no test was sent of it, and the brand wants one; it is noted.")
@click.option("--again", is_flag=True, help="The same text to the same file once more.")
@click.option("--detach", is_flag=True, help="Enqueue and leave; a `sluice run` sends it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--wait-receipts",
    type=Finite(),
    default=15.0,
    show_default=True,
    help="Seconds without any receipt until the report.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option("-v", "--verbose", count=True)
def send(config: Path | None, dsn: str, verbose: int, **options: Any) -> None:
    """Send one text to everybody in a file or an audience.

    With a brand everybody passes its gate at the moment of sending: consent, windows, caps (docs/gate.md).

    A dry run comes first: what is wrong with the file, row by row, and who would be written to. Rows that are wrong are
    left out and said; nothing about them is guessed. On a terminal you are asked before anything leaves.

    Exit code: 0 sent or enqueued, 65 the file or the text cannot be used, 75 not now (the database is away, or it was
    stopped before the end: `sluice run` goes on), 78 a setting is wrong.
    """
    set_up_logging(verbose)
    with said_plainly():
        settings = settings_of(config, dsn)
        document = _document_of(options)
        judge_gate_options(settings, options)
        options["tested_as"] = _tested_as(settings, document, options)
        if not options["contacts"] and not options["audience"]:
            raise click.UsageError("Missing option '--contacts' or '--audience'.")
        if options["audience"] and (options["contacts"] or not options["brand"]):
            raise click.UsageError("Option '--audience' stands with '--brand', and without '--contacts'.")
        names = list(dict.fromkeys(options.pop("carriers")))
        for name in names:
            settings.carrier(name)
        if not names and not settings.routes:
            raise click.UsageError("Missing option '--carrier': the settings have no [[routes]].")
        table = table_of(settings, names or None)
        names = list(table.carriers)
        options["asked"] = _encoding_of(options)
        options["links"] = links_of(options["links"], options["link_life"])
        template, options["wording"] = _worded(settings, names, document, options)
        carriers = [settings.carriers[name] for name in names]
        whole = template if options["wording"] is None else Template(options["wording"].outline)
        options["parts"] = parts_of(whole, carriers, options["asked"])
        options["plan"] = rate_of(settings, names, options, options["parts"])
        options["fields"] = fields_of(template, carriers)
        options["required"] = required_of(template, carriers)
        wording = options["wording"]
        used = template.fields
        if wording is not None:
            options["keep"] = options["fields"][len(template.fields) :]
            options["fields"] = tuple(dict.fromkeys((*wording.fields, *options["keep"])))
            used = wording.links
        judge_links(settings, options["brand"], options["text"], options["links"], used)
        # Columns that stand in their addresses come with the others.
        of_links = [name for link in options["links"].values() for name in link.fields]
        options["fields"] = tuple(dict.fromkeys((*options["fields"], *of_links)))
        sha256 = ""
        if options["audience"]:
            people_now = app.run(judge_audience(settings, table, options))
        else:
            report, countries = _dry_run(options)
            labelled = judge_countries(settings, table, options, countries)
            _judge(report, template, options, labelled)
            say_countries(settings, options, countries, labelled)
            people_now, sha256 = report.sent, report.sha256
        if options["dry_run"]:
            return
        if sys.stdin is not None and sys.stdin.isatty() and not options["yes"]:
            click.confirm(f"Send to {people_now:,} people through {', '.join(names)}?", abort=True, err=True)
        if not app.run(_send(settings, table, template, options, sha256)):
            sys.exit(EXIT_NOT_NOW)


def _document_of(options: dict[str, Any]) -> Document | None:
    """Read what is said, if it is a document; the class of the run is that of the text, unless it is asked for."""
    if options["text"] is None and options["template"] is None:
        raise click.UsageError("Missing option '--text' or '--template'.")
    if options["text"] is not None and options["template"] is not None:
        raise click.UsageError("Option '--template' stands without '--text'.")
    options["text"] = options["text"] or ""
    document = read_file(options["template"]) if options["template"] else None
    if document is not None and options["binary"]:
        raise click.UsageError("Option '--binary' stands with '--text'.")
    options["class_"] = options["class_"] or (document.class_ if document is not None else "bulk")
    return document if document is None else structs.replace(document, class_=options["class_"])


def _tested_as(settings: Settings, document: Document | None, options: dict[str, Any]) -> bytes:
    """Name what `sluice template test` would have noted of the same text; empty: nobody's, or no text."""
    if not options["brand"] or options["binary"]:
        return b""
    if document is None:
        try:
            document = checked({"text": options["text"]}, "--text")
        except Refused:
            # Judged where it is composed.
            return b""
    document = structs.replace(document, class_=options["class_"])
    return sha_of(with_footers(document, settings.brand(options["brand"])))


async def _judge_tested(settings: Settings, connection: postgres.Connection, options: dict[str, Any]) -> None:
    """Say that no test was sent of a text, or refuse it where its brand wants one (S1.28)."""
    if not options["tested_as"] or await templates.was_tested(connection, options["tested_as"]):
        return
    asked = "a test of exactly this text (`sluice template test`)"
    if settings.brand(options["brand"]).untested == "nag":
        say(f"? text: expected {asked}, found none")
    elif not options["untested"]:
        raise Refused(f"text: expected {asked}, found none: --untested sends it all the same")
    else:
        about = options["name"] or options["contacts"] or options["audience"]
        await audit.note(
            connection, at=datetime.now(UTC), by=whoever(), action="untested", about=f"send {about}",
            reason="no test of the text",
        )  # fmt: skip


def _worded(
    settings: Settings, names: list[str], document: Document | None, options: dict[str, Any]
) -> tuple[Template, Wording | None]:
    """Judge what is said; -> as the claim composes it, and how it comes to that, where the text alone is not all.

    A text of fields alone is composed from the file as it stands there: its columns are the sender's own words. What is
    known of an audience others have said.
    """
    if document is None:
        asked, is_old = options["asked"], has_aliases(options["text"])
        try:
            options["text"].encode()
        except UnicodeEncodeError as error:
            raise Refused("--text: expected UTF-8") from error
        stands = not is_old and is_compiled(options["text"])
        # A link of each person is a column of the list like any other.
        if options["binary"] or (stands and (options["links"] or not options["audience"])):
            return judge_text(options["text"], settings, names, asked), None
        if is_compiled(options["text"]) and not is_old:
            judge_text(options["text"], settings, names, asked)
        links = {name.partition(".")[2]: "https://" for name in options["links"]}
        document = checked({"text": options["text"], "class": options["class_"], "links": links}, "--text")
        document = structs.replace(document, max_parts=255)
    brand = settings.brand(options["brand"]) if options["brand"] else None
    if brand is not None:
        document = with_footers(document, brand)
    wording = wording_of(
        document,
        options["brand"],
        brand.zone if brand is not None else "UTC",
        datetime.now(UTC),
        tuple(options["links"]),
    )
    options["text"] = wording.outline
    options["asked"] = structs.replace(options["asked"], max_parts=wording.max_parts)
    judge_text(wording.text, settings, names, options["asked"])
    return Template(wording.text), wording


def _encoding_of(options: dict[str, Any]) -> Encoding:
    """What is asked for beside the text; Refused for ports that are none."""
    ports = options["ports"]
    if ports is None:
        return Encoding(flash=options["flash"], binary=options["binary"])
    found = re.fullmatch(r"(8/)?(\d{1,5})(?::(\d{1,5}))?", ports, re.ASCII)
    limit = 255 if found and found[1] else 65535
    if found is None or int(found[2]) > limit or int(found[3] or 0) > limit:
        raise Refused(f"--ports: expected TO, TO:FROM, 8/TO or 8/TO:FROM, of at most {limit}, got {plain(ports)}")
    return Encoding(
        flash=options["flash"],
        binary=options["binary"],
        destination_port=int(found[2]),
        source_port=int(found[3] or 0),
        port_bits=8 if found[1] else 16,
    )


def judge_text(text: str, settings: Settings, names: list[str], asked: Encoding = PLAIN) -> Template:
    """Compile the text for every carrier; Refused where nobody at all could be sent it."""
    try:
        text.encode()
        template = Template(text)
        for name in names:
            form_of(text, settings.carriers[name], encoding=asked)
    except UnicodeEncodeError as error:
        raise Refused("--text: expected UTF-8") from error
    except (ValueError, EncodeError) as error:
        raise Refused(f"--text: {error}") from error
    for name in names if not template.fields else ():
        # Its own fields alone are judged here, not those that a carrier wants beside the text.
        form = form_of(text, structs.replace(settings.carriers[name], tlvs=()), encoding=asked)
        found = explain(form)
        if found["reason"] is not None:
            reason = reason_of(found["reason"])
            count = (
                f" ({found['needed'] or 'over 255'} parts, at most {form.max_parts})"
                if found["needed"] is not None
                else ""
            )
            raise Refused(f"--text: cannot be sent through {name}: {reason}, {MEANINGS.get(reason, '')}{count}")
    return template


def parts_of(template: Template, carriers: Sequence[CarrierSettings], asked: Encoding) -> int:
    """Count the parts of a text whose fields are empty, on the carrier where they are most."""
    empty = [""] * len(template.fields)
    # Its own fields alone are judged, not those that a carrier wants beside the text.
    forms = (form_of(template.text, structs.replace(carrier, tlvs=()), encoding=asked) for carrier in carriers)
    return max([1, *(int(explain(form, empty)["segments"]) for form in forms)])


def open_reading(options: dict[str, Any], fields: tuple[str, ...]) -> Reading:
    """Open the file anew: it is read twice, once to judge it and once to import it."""
    delimiter = options["delimiter"]
    if delimiter is not None:
        delimiter = DELIMITER_NAMES.get(delimiter.lower(), delimiter)
    table = Table(options["contacts"], encoding=options["encoding"], delimiter=delimiter, header=options["header"])
    try:
        return Reading(
            table,
            Numbers(options["region"], forms=options["forms"], mobile=options["mobile_only"]),
            number_column=options["number_column"],
            template_fields=tuple(name for name in fields if name not in options["links"]),
            shows_numbers=options["show_numbers"],
        )
    except BaseException:
        table.close()
        raise


def _dry_run(options: dict[str, Any]) -> tuple[Report, dict[str, int]]:
    """Read the file to its end; -> the report, and with a brand how many people each country has."""
    reading = open_reading(options, options["fields"])
    heads: Counter[str] = Counter()
    with reading.table:
        for batch in reading.batches():
            if options["brand"]:
                heads.update(str(number)[:HEAD_DIGITS] for number in batch.numbers if number)
    return reading.report, heads_by_country(heads)


def _judge(report: Report, template: Template, options: dict[str, Any], labelled: list[Labelled]) -> None:
    """Print the dry run; end here when nothing, or not all of it, may be sent."""
    if options["as_json"] and options["dry_run"]:
        told = report.as_json()
        if labelled:
            told["labels"] = to_builtins(labelled)
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(report.as_text(), nl=False, err=options["as_json"])
    wording = options.get("wording")
    required = template.required if wording is None else wording.required
    missing = [name for name in report.missing_fields if name in required]
    if missing:
        raise Refused(f"--text: the file has no column {', '.join(missing)}, and the text has no default for it")
    missing = [name for name in report.missing_fields if name in options["required"]]
    if missing:
        raise Refused(f"--carrier: the file has no column {', '.join(missing)}, which the carrier requires (tlvs)")
    missing = [name for link in options["links"].values() for name in link.fields if name in report.missing_fields]
    if missing:
        raise Refused(f"--link: the file has no column {', '.join(missing)}, which an address has")
    if not report.sent:
        raise Refused("nobody to send to")
    if options["strict"] and (report.refused or report.duplicates):
        raise Refused("--strict: some rows would not be sent, so none is")


async def _send(
    settings: Settings, table: RouteTable, template: Template, options: dict[str, Any], sha256: str
) -> bool:
    """Enqueue, and send to the end unless others do; -> whether what was asked is done."""
    stop = asyncio.Event()
    is_ended = True
    with app.stop_signals(stop.set):
        async with app.open_database(settings) as database:
            names = list(table.carriers)
            await check_holds(settings, database)
            async with database.connection() as connection:
                await _judge_tested(settings, connection, options)
            if options["audience"]:
                run = await enqueue_audience(settings, database, table, template, options)
            else:
                gate = await gate_of(settings, database, options)
                run = await enqueue(settings, database, table, template, options, sha256, gate)
            say(f"enqueued    run {run.id}: {run.recipients:,} messages")
            is_ended = await carry(settings, database, names, run, options, stop)
    return is_ended


async def carry(
    settings: Settings,
    database: app.Database,
    names: list[str],
    run: runs.Run,
    options: dict[str, Any],
    stop: asyncio.Event,
) -> bool:
    """Send a run to its end through the carriers that no other worker serves, and report; -> whether it is done.

    options  detach, wait_receipts, as_json
    """
    is_ended = True
    served = {} if options["detach"] else await _served(database, names)
    ours = [] if options["detach"] else [name for name in names if name not in served]
    if options["detach"]:
        say("to send it: `sluice run`; to watch it: `sluice status`")
    for instance in sorted(set(served.values())):
        theirs = ", ".join(name for name in names if served.get(name) == instance)
        say(f"a worker runs already ({instance}): it sends through {theirs}; watch it by `sluice status`")
    if ours:
        try:
            async with app.open_worker(settings, database, ours) as worker:
                is_ended = await send_to_end(database, worker, run, wait_receipts_s=options["wait_receipts"], stop=stop)
        except StoreError:
            say("what is left waits in the queue: go on with `sluice run`")
            raise
    if ours or options["as_json"]:
        async with database.connection() as connection:
            print_report(await report_of(connection, run), options["as_json"])
    if not is_ended:
        say("stopped; what is left waits: go on with `sluice run`")
    return is_ended


async def _served(database: app.Database, names: list[str]) -> dict[str, str]:
    """Carriers that a living worker serves -> its name. Two workers would open more binds than the account may have."""
    now, us = datetime.now(UTC), app.identity()
    served: dict[str, str] = {}
    async with database.connection() as connection:
        for worker in await runs.workers(connection):
            if not is_dead(worker, us, now):
                # One that has just begun has not said yet whom it serves.
                theirs = json.loads(worker.report).get("carriers") or names
                served.update(dict.fromkeys(set(theirs).intersection(names), worker.instance))
    return served


async def enqueue(
    settings: Settings,
    database: app.Database,
    table: RouteTable,
    template: Template,
    options: dict[str, Any],
    sha256: str,
    gate: Gate | None = None,
) -> runs.Run:
    """Import the file into a list of its own and put a run of it into the queue.

    The list is named by the file's content, so the same file is imported once however often it is sent.
    raises  Refused when the same text went to the same list before, unless asked for; FileFault, StoreError
    """
    database.check_room()
    reading = open_reading(options, options["fields"])
    # A file's name may be octets that are no text.
    file_name = os.fsencode(Path(options["contacts"]).name).decode(errors="replace")[:NAME_CHARACTERS]
    with reading.table:
        if reading.table.sha256.hex() != sha256:
            raise FileFault("changed", f"{options['contacts']}: has changed since it was judged; nothing was sent")
        keys = ("region", "forms", "mobile_only", "number_column", "encoding", "delimiter", "header")
        shape = json.dumps([options[key] for key in keys])
        name = people.name_of_file(file_name, hashlib.sha256((sha256 + shape).encode()).digest())
        loaded = await load(reading, database.dsn, name, now=datetime.now(UTC), key=app.erasure_key())
    now, us = datetime.now(UTC), app.identity()
    async with database.connection() as connection:
        before = await runs.same_run(connection, loaded.list_id, template.text)
        wording = options.get("wording")
        if before is None and wording is not None:
            recent = await runs.recent_runs(connection, LOOKED_AT)
            before = next(
                (
                    one
                    for one in recent
                    if one.source == file_name and one.template in wording.texts and one.enqueued_at is not None
                ),
                None,
            )
        if before is not None and not options["again"]:
            raise Refused(
                f"this text went to this file already, as run {before.id} of {before.created_at:%Y-%m-%d %H:%M}: "
                "send it once more with --again"
            )
        lanes = {name: await runs.lane_of(connection, name, now) for name in table.carriers}
        expires = options["expires_after"]
        class_ = MessageClass[options["class_"].upper()]
        await judge_rate(
            connection, settings, lanes, options["plan"], loaded.entries, class_, now, options, options["parts"]
        )
        run = await runs.add_run(
            connection, name=plain(options["name"])[:NAME_CHARACTERS] or file_name, template=template.text,
            fields=options["fields"], class_=MessageClass[options["class_"].upper()], policy=options["policy"],
            lanes=list(lanes.values()), list_id=loaded.list_id, source=file_name, now=now,
            expires_at=None if expires is None else now + timedelta(seconds=expires), encoding=options["asked"],
            receipt_policy=options["receipt_policy"], gate=gate, priority=options["priority"],
        )  # fmt: skip
        await link_list(
            connection, settings, options["brand"], options["links"], campaign=run.name, list_id=loaded.list_id,
            run=run.id, now=now,
        )  # fmt: skip
        entries = loaded.entries
        if wording is not None and wording.context is not None:
            run = structs.replace(run, recipients=entries)
            run = await dress_run(
                connection, run, wording.context, fields=wording.fields, keep=options["keep"], now=now, owns_list=False
            )
            entries = run.recipients
        living = [worker for worker in await runs.workers(connection) if not is_dead(worker, us, now)]
        await keep_rate(connection, run.id, options["plan"], entries)
        plan = plan_of(table, lanes, class_, options["sender"], run.not_before, living)
        await runs.materialise(connection, run, [], entries, datetime.now(UTC), plan)
        if gate is not None and gate.local is not None:
            octets = await considered.numbers_of_list(connection, run.list or loaded.list_id)
            say_zones(await by_zone(connection, octets, gate, class_, now))
        enqueued = await runs.run_by_id(connection, run.id)
    assert enqueued is not None
    return enqueued
