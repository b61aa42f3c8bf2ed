"""`sluice template`: what a text comes to before it is sent: its preview, its linter, its test."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec

from gateway import app
from gateway.automation.composing import with_footers
from gateway.brand import BrandSettings, gate_of_brand
from gateway.campaign import linter
from gateway.commands._control import whoever
from gateway.commands._countries import labels_of
from gateway.commands._options import (
    EXIT_NOT_NOW,
    Refused,
    config_option,
    dsn_option,
    plain,
    said_plainly,
    say,
    settings_of,
)
from gateway.commands._rendering import (
    Wording,
    checked,
    compiled_of,
    pages,
    read_file,
    wording_of,
)
from gateway.commands._stops import numbers_of
from gateway.commands.audience import kept_audience, terms_of
from gateway.commands.send import carry
from gateway.config import Settings
from gateway.countries import code_of
from gateway.dispatch import rendering
from gateway.dispatch.rendering import TEXT, Context, dressed, sha_of
from gateway.dispatch.route import table_of
from gateway.dispatch.survey import (
    Forms,
    Reckoner,
    Reckoning,
    batches_of,
    parts_of,
    with_code,
    with_placeholders,
)
from gateway.errors import EncodeError
from gateway.gate import Gate
from gateway.message import Encoding
from gateway.person import Who
from gateway.routing import RouteTable, decide
from gateway.store import audiences, considered, dossiers, people, postgres, runs, selection, templates
from gateway.template import Template, is_name

MOST_RENDERED = 200_000
"""Of more people a part is rendered (TP-8)."""
_BAR = 40


@click.group()
def template() -> None:
    """Look at what a text comes to before it is sent: see docs/templates.md."""


def text_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says which text is meant, and whose."""
    for option in reversed(
        [
            click.argument("file", type=click.Path(), required=False),
            click.option("--text", help="Instead of a file."),
            click.option("--brand", default="", metavar="NAME", help="Who writes."),
            click.option(
                "--class",
                "class_",
                type=click.Choice(["otp", "compliance", "conversation", "transactional", "triggered", "bulk"]),
                help="By default the document's; bulk.",
            ),
        ]
    ):
        command = option(command)
    return config_option(dsn_option(command))


def document_of(file: str | None, text: str | None, class_: str | None) -> Template:
    """Read the template that was asked for."""
    if (file is None) == (text is None):
        raise click.UsageError("Expected FILE or option '--text'.")
    found = read_file(file) if file is not None else checked({"text": text}, "--text")
    return msgspec.structs.replace(found, class_=class_ or found.class_)


@template.command()
@text_options
@click.option("--audience", default="", metavar="NAME", help="Whom it would go to, as of now.")
@click.option("--list", "list_name", default="", metavar="NAME", help="Whom it would go to: a list.")
@click.option("--carrier", "carriers", multiple=True, metavar="NAME", help="Without it the settings' routes decide.")
@click.option("--sender", default="", help="From whom; by default as [senders] says.")
@click.option("--budget", type=float, metavar="AMOUNT", help="Refuse what would cost more.")
@click.option("--show-numbers", is_flag=True, help="Do not cover the number of the longest message.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def preview(config: Path | None, dsn: str, as_json: bool, **options: Any) -> None:
    """Write the text of everybody it is for, and say how many parts that is and what it costs (TP-8).

    Exit code: 65 where it would cost more than --budget, or nobody is there.
    """
    with said_plainly():
        settings = settings_of(config, dsn)
        found = document_of(options["file"], options["text"], options["class_"])
        if bool(options["audience"]) == bool(options["list_name"]):
            raise click.UsageError("Expected option '--audience' or '--list'.")
        if not options["carriers"] and not settings.routes:
            raise click.UsageError("Missing option '--carrier': the settings have no [[routes]].")
        for name in options["carriers"]:
            settings.carrier(name)
        reckoning = app.run(_preview(settings, found, options))
        if as_json:
            click.echo(json.dumps(_as_json(reckoning, options["show_numbers"]), ensure_ascii=False))
        else:
            click.echo("\n".join(_lines(reckoning, options["show_numbers"])))
        budget = options["budget"]
        if budget is not None:
            if reckoning.cost is None:
                raise Refused("--budget: expected the cost of a part for every country ([costs] or routes), found none")
            cost = reckoning.cost / reckoning.share
            if cost > budget:
                raise Refused(f"--budget: expected {budget:,.2f} at most, found {cost:,.2f}")


async def _preview(settings: Settings, found: Template, options: Mapping[str, Any]) -> Reckoning:
    now = datetime.now(UTC)
    brand = settings.brand(options["brand"]) if options["brand"] else None
    table = table_of(settings, options["carriers"] or None)
    async with app.open_database(settings) as database, database.connection() as connection:
        gate = gate_for(options["brand"], brand, found)
        people_of = await _people(connection, gate, options)
        return await reckon(connection, settings, table, found, people_of, options["brand"], options["sender"], now)


def gate_for(name: str, brand: BrandSettings | None, found: Template) -> Gate:
    """Whom a text could go to at all; without a brand, whoever has a number."""
    return Gate(needs="none") if brand is None else gate_of_brand(name, brand, found.message_class)


class People(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a template is for: how many, and how to read them by buckets and measure their values.

    by_bucket  a page is one bucket
    """

    count: int
    by_bucket: bool
    page: Callable[[postgres.Connection, tuple[str, ...], int, int], Awaitable[bytes]]
    longest: Callable[[postgres.Connection, tuple[str, ...]], Awaitable[dict[str, int]]]


async def _people(connection: postgres.Connection, gate: Gate, options: Mapping[str, Any]) -> People:
    if options["list_name"]:
        kept = await people.find_list(connection, options["list_name"])
        if kept is None:
            raise Refused(f"--list: expected the name of a list, found {plain(options['list_name'])!r}")
        list_id = kept.id

        async def of_list(connection: postgres.Connection, fields: tuple[str, ...], low: int, high: int) -> bytes:
            assert low == high
            return await templates.page(connection, low, list_id)

        async def longest_of_list(connection: postgres.Connection, fields: tuple[str, ...]) -> dict[str, int]:
            return await templates.longest(connection, list_id, fields)

        return People(count=kept.entries, by_bucket=True, page=of_list, longest=longest_of_list)
    tree, zone = await kept_audience(connection, options["audience"])
    terms = await terms_of(connection, ZoneInfo(zone), None)
    counted = await considered.count(connection, tree, terms, gate)

    async def of_audience(connection: postgres.Connection, fields: tuple[str, ...], low: int, high: int) -> bytes:
        return await considered.values(connection, tree, terms, gate, fields, (low, high))

    async def longest_of_audience(connection: postgres.Connection, fields: tuple[str, ...]) -> dict[str, int]:
        return await considered.longest(connection, tree, terms, fields)

    return People(count=counted.numbers, by_bucket=False, page=of_audience, longest=longest_of_audience)


def _spans(count: int, most: int, by_bucket: bool) -> list[tuple[int, int]]:
    """Which buckets are read, and how many at once: pages of some thousand people."""
    buckets = people.BUCKETS if count <= most else max(1, people.BUCKETS * most // count)
    step = 1 if by_bucket else max(1, min(buckets, people.BUCKETS * 20_000 // max(1, count)))
    return [(low, min(low + step, buckets) - 1) for low in range(0, buckets, step)]


async def reckon(
    connection: postgres.Connection,
    settings: Settings,
    table: RouteTable,
    found: Template,
    people_of: People,
    brand_name: str,
    sender: str,
    now: datetime,
    *,
    most: int = MOST_RENDERED,
) -> Reckoning:
    """Add up what a template comes to over people; Refused where there is nobody.

    most  of more people a part is rendered: of whole buckets, which are a hash of the number
    """
    if not people_of.count:
        raise Refused("nobody to send to")
    brand = settings.brand(brand_name) if brand_name else None
    document = with_placeholders(found if brand is None else with_footers(found, brand))
    wording = wording_of(document, brand_name, brand.zone if brand is not None else "UTC", now)
    assert wording.context is not None
    compiled = compiled_of(wording.context)
    columns = wording.fields if compiled is not None else (TEXT,)
    try:
        forms = Forms(
            settings.carriers,
            table,
            text=wording.text,
            fields=columns,
            class_=document.message_class,
            sender=sender,
            at=now,
            encoding=Encoding(max_parts=wording.max_parts),
            labels={} if brand is None else labels_of(brand, document.message_class),
            price=lambda carrier, country: price_of(settings, table, carrier, country),
        )
        reckoner = Reckoner(forms)
        share = await _add_all(connection, reckoner, people_of, wording, compiled is not None, most)
        longest: dict[str, int] = {}
        bound: int | None = None
        if share < 1.0:
            longest = await people_of.longest(connection, wording.fields)
            bound = _bound(forms, reckoner.reckoning(), wording, columns, longest)
        return reckoner.reckoning(share, longest, bound)
    except EncodeError as error:
        raise Refused(f"--text: {error}") from error


async def _add_all(
    connection: postgres.Connection, reckoner: Reckoner, people_of: People, wording: Wording, is_plain: bool, most: int
) -> float:
    """Add everybody, or the people of some buckets; -> what part of all those are."""
    spans = _spans(people_of.count, most, people_of.by_bucket)
    context = wording.context
    assert context is not None
    named = [field for field in wording.fields if is_name(field, context.template.names)]
    if is_plain:
        async with aclosing(_ahead(connection, people_of, wording.fields, spans)) as octets_of:
            async for octets in octets_of:
                for batch in batches_of(octets, wording.fields, named):
                    reckoner.add(batch)
    else:
        async with (
            pages(context, min(people_of.count, most)) as (render, ahead),
            aclosing(_ahead(connection, people_of, wording.fields, spans)) as octets_of,
        ):
            waiting: list[Any] = []
            async for octets in octets_of:
                waiting.append(render(rendering.work_texts, octets))
                if len(waiting) > ahead:
                    done = await waiting.pop(0)
                    reckoner.add_texts(done.numbers, done.texts, done.skipped)
            for one in waiting:
                done = await one
                reckoner.add_texts(done.numbers, done.texts, done.skipped)
    return (spans[-1][1] + 1) / people.BUCKETS


async def _ahead(
    connection: postgres.Connection, people_of: People, fields: tuple[str, ...], spans: Sequence[tuple[int, int]]
) -> AsyncGenerator[bytes, None]:
    """Read pages; Postgres makes the next one while this one is worked on."""
    reading: asyncio.Task[bytes] | None = None
    try:
        for at in range(len(spans) + 1):
            octets = None if reading is None else await reading
            if at < len(spans):
                reading = asyncio.ensure_future(people_of.page(connection, fields, *spans[at]))
                # Its question is sent before anybody works.
                await asyncio.sleep(0)
            if octets is not None:
                yield octets
    finally:
        if reading is not None and not reading.done():
            reading.cancel()
            await asyncio.wait([reading])


def _bound(
    forms: Forms, sampled: Reckoning, wording: Wording, columns: tuple[str, ...], longest: Mapping[str, int]
) -> int | None:
    """Parts of a message that had the longest value of every field, in the widest alphabet that was met."""
    context = wording.context
    if sampled.worst is None or context is None:
        return None
    form = forms.form_of_number(sampled.worst.number)
    letter = "漢" if "ucs2" in sampled.alphabets else "x"
    row = {field: letter * size for field, size in longest.items() if size}
    if form is None:
        return None
    if columns != (TEXT,):
        return parts_of(form, [row.get(field) for field in columns])
    text, _ = context.renderer().render_one(row)
    return None if text is None else parts_of(form, [text])


def price_of(settings: Settings, table: RouteTable, carrier: str, country: str) -> float | None:
    """What a part costs: as [costs] says, or else the route of its carrier."""
    said = settings.costs.of(carrier, country)
    if said is not None:
        return said
    costs = [one.cost for route in table.routes for one in route.carriers if one.carrier == carrier and one.cost]
    return min(costs, default=None)


def _covered(number: int, shows: bool) -> str:
    digits = f"+{number}"
    return digits if shows else digits[:-4] + "••••"


def _as_json(found: Reckoning, shows_numbers: bool) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(found, str_keys=True)
    told |= {"parts": found.parts, "cost": found.cost}
    if found.worst is not None:
        told["worst"]["number"] = _covered(found.worst.number, shows_numbers)
    return told


def _lines(found: Reckoning, shows_numbers: bool) -> list[str]:
    """Lay it out for a person."""
    sent = sum(found.messages.values())
    whole = "everybody" if found.share == 1.0 else f"{found.share:.1%} of all, drawn by a hash of the number"
    lines = [f"{found.people:>11,}  people were looked at ({whole})"]
    for parts, messages in sorted(found.messages.items()):
        bar = "█" * max(1, round(_BAR * messages / sent))
        lines.append(f"{messages:>11,}  of {parts} part{'s' * (parts > 1)}  {bar}")
    lines += [f"{number:>11,}  {reason}" for reason, number in sorted(found.refused.items(), key=lambda one: -one[1])]
    lines.append(
        f"{found.parts:>11,}  parts in all, {', '.join(f'{n:,} {name}' for name, n in found.alphabets.items())}"
    )
    if found.transliterated:
        lines.append(f"{found.transliterated:>11,}  of them with signs that stand for others")
    for one in found.characters:
        way = "nothing can stand for it"
        if one.replacement is not None:
            way = f"{one.replacement!r} could stand for it" + (", if you say so" if one.is_letter else "")
        lines.append(f"{one.people:>11,}  are UCS-2 for {plain(one.character)!r} (U+{ord(one.character):04X}): {way}")
    for country in found.countries:
        cost = "" if country.cost is None else f", {country.cost:,.2f}"
        lines.append(
            f"{country.people:>11,}  {country.country or 'of no known country'}: {country.parts:,} parts{cost}"
        )
    if found.cost is not None and found.parts:
        sum_of_all = f" ({found.cost / found.share:,.2f} for all)" if found.share < 1.0 else ""
        lines.append(
            f"{'':>11}  cost {found.cost:,.2f}{sum_of_all}, {found.cost / found.parts:,.4f} for each part more"
        )
    if found.worst is not None:
        worst = found.worst
        covered = _covered(worst.number, shows_numbers)
        lines.append(f"{'':>11}  longest: {covered}, {worst.parts} parts: {plain(worst.text)!r}")
    if found.most is not None:
        values = ", ".join(f"{field} {size}" for field, size in found.longest.items())
        lines.append(
            f"{'':>11}  longest values of all people: {values}; a message that had all of them: {found.most} parts"
        )
    return lines


@template.command()
@text_options
@click.option("--known", is_flag=True, help="Ask the database which attributes there are, and whether it was tested.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def lint(config: Path | None, dsn: str, known: bool, as_json: bool, **options: Any) -> None:
    """Say what is wrong with a text, what is risky and what could be better (TP-11).

    Exit code: 65 where something is wrong.
    """
    with said_plainly():
        settings = settings_of(config, dsn)
        found = _unchecked(options["file"], options["text"], options["class_"])
        brand = settings.brand(options["brand"]) if options["brand"] else None
        facts = linter.Facts(
            brand=options["brand"],
            footer="" if brand is None else brand.footer,
            banned={name: carrier.banned_words for name, carrier in settings.carriers.items()},
        )
        if known:
            facts = app.run(_known(settings, found, brand, facts))
        said = linter.lint(found, facts)
        if as_json:
            click.echo(json.dumps({"findings": msgspec.to_builtins(said), "ease": round(linter.ease(found.text), 1)}))
        else:
            for one in said:
                click.echo(f"{one.severity:7}  {one.key}: {one.at}: {one.code}: {plain(one.words)}")
            click.echo(f"it reads as {linter.ease(found.text):.0f} of 100; {linter.EASY:.0f} is plain")
        if any(one.severity == "error" for one in said):
            raise Refused(f"{sum(one.severity == 'error' for one in said)} errors")


def _unchecked(file: str | None, text: str | None, class_: str | None) -> Template:
    """Read a template whose text the linter may find unreadable, with all its places."""
    if text is not None and file is None:
        return Template(text=text or " ", class_=class_ or "bulk")  # type: ignore[arg-type]
    return document_of(file, text, class_)


async def _known(settings: Settings, found: Template, brand: BrandSettings | None, facts: linter.Facts) -> linter.Facts:
    async with app.open_database(settings) as database, database.connection() as connection:
        names = await selection.known(connection)
        written = found if brand is None else with_footers(found, brand)
        tested = await templates.was_tested(connection, sha_of(written))
    return msgspec.structs.replace(facts, attributes=[*names.attributes, *audiences.COLUMNS], was_tested=tested)


@template.command()
@text_options
@click.option("--to", "numbers", multiple=True, required=True, metavar="NUMBER", help="A test number; several.")
@click.option("--as-profile", default="", metavar="WHO", help="Whose text it is: a number with +, or an external id.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A field as it would be.")
@click.option("--mark", is_flag=True, help="Begin it with [TEST].")
@click.option("--carrier", "carriers", multiple=True, metavar="NAME", help="Without it the settings' routes decide.")
@click.option("--sender", default="", help="From whom; by default as [senders] says.")
@click.option("--detach", is_flag=True, help="Enqueue and leave; a `sluice run` sends it.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def test(config: Path | None, dsn: str, **options: Any) -> None:
    """Send a text to test numbers, as it would be sent to somebody, and remember that it was (TP-13).

    A code is one that nobody has, of the right length. What is sent counts in no cap, no report over campaigns and
    nobody's history.
    """
    with said_plainly():
        settings = settings_of(config, dsn)
        found = document_of(options["file"], options["text"], options["class_"])
        if not options["carriers"] and not settings.routes:
            raise click.UsageError("Missing option '--carrier': the settings have no [[routes]].")
        for name in options["carriers"]:
            settings.carrier(name)
        if not app.run(_test(settings, found, options)):
            sys.exit(EXIT_NOT_NOW)


async def _test(settings: Settings, found: Template, options: Mapping[str, Any]) -> bool:
    brand = settings.brand(options["brand"]) if options["brand"] else None
    document = found if brand is None else with_footers(found, brand)

    async def alone(_: postgres.Connection) -> list[Template]:
        return [document]

    return await send_tests(settings, options["brand"], alone, options)


async def send_tests(
    settings: Settings,
    brand_name: str,
    find: Callable[[postgres.Connection], Awaitable[list[Template]]],
    options: Mapping[str, Any],
) -> bool:
    """Send texts to test numbers, as they leave, one behind the other; -> whether all are sent that are to be.

    options  those of `sluice template test`
    """
    now = datetime.now(UTC)
    brand = settings.brand(brand_name) if brand_name else None
    table = table_of(settings, options["carriers"] or None)
    numbers = numbers_of(list(options["numbers"]), brand.country or None if brand is not None else None)
    stop = asyncio.Event()
    with app.stop_signals(stop.set):
        async with app.open_database(settings) as database:
            database.check_room()
            async with database.connection() as connection:
                allowed = {one.number for one in await templates.test_numbers(connection)}
                wrong = [f"+{number}" for number in numbers if number not in allowed]
                if wrong:
                    raise Refused(f"--to: expected numbers of `sluice template numbers`, found {', '.join(wrong)}")
                row = {**await _row(connection, options["as_profile"]), **_values(options["values"])}
                texts = []
                for document in await find(connection):
                    zone = "UTC" if brand is None else brand.zone
                    context = Context(template=with_code(document), brand=brand_name, zone=zone, now=now)
                    text, reason = context.renderer().render_one(row)
                    if text is None:
                        raise Refused(f"--as-profile: that person would get nothing: {reason}")
                    texts.append((document, f"[TEST] {text}" if options["mark"] else text))
                made = [
                    await enqueue_test(connection, table, document, text, numbers, options["sender"], now)
                    for document, text in texts
                ]
            for run, (_, text) in zip(made, texts, strict=True):
                say(f"test        run {run.id}: {len(numbers)} messages: {plain(text)!r}")
            more = {"detach": options["detach"], "wait_receipts": 15.0, "as_json": options["as_json"]}
            names = list(table.carriers)
            return all([await carry(settings, database, names, run, more, stop) for run in made])


def _values(written: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE; Refused for what is none."""
    found: dict[str, Any] = {}
    for one in written:
        name, mark, value = one.partition("=")
        if not mark or not name:
            raise Refused(f"--set: expected NAME=VALUE, found {plain(one)!r}")
        found[name] = value
    return found


async def _row(connection: postgres.Connection, who: str) -> dict[str, Any]:
    """Read what is known of somebody, as a row to be rendered."""
    if not who:
        return {}
    names = Who(phone=numbers_of([who], None)[0]) if who.startswith("+") else Who(external_id=who)
    found = await dossiers.who(connection, names)
    if not found:
        raise Refused(f"--as-profile: expected a person, found nobody by {plain(who)!r}")
    known = await dossiers.person(connection, *found[0][:2])
    columns = {name: known.get(name) for name in ("language", "country", "zone", "orders", "sessions")}
    return {**{name: value for name, value in columns.items() if value is not None}, **known["attributes"]}


async def enqueue_test(
    connection: postgres.Connection,
    table: RouteTable,
    document: Template,
    text: str,
    numbers: Sequence[int],
    sender: str,
    now: datetime,
) -> runs.Run:
    """Put a test into the queue, and note that this version of the template was one. Refused: nobody takes a number."""
    sha = sha_of(document)
    class_ = document.message_class
    decisions = [decide(number, class_, sender, now, {}, table) for number in numbers]
    for one in decisions:
        if not one.carrier:
            raise Refused(f"--to: expected a number that a route takes, found +{one.number}")
    lanes = {name: await runs.lane_of(connection, name, now) for name in table.carriers}
    run = await runs.add_run(
        connection, name="test", template=dressed(document), fields=[TEXT], class_=class_, policy="once",
        lanes=list(lanes.values()), list_id=None, source="test", now=now, is_test=True,
        encoding=Encoding(max_parts=document.parts_allowed),
    )  # fmt: skip
    for one in decisions:
        await runs.enqueue_few(
            connection, run, lanes[one.carrier], [one.number], [[text]], now,
            country=code_of(one.country), source=one.source,
        )  # fmt: skip
    await templates.note(connection, sha, msgspec.json.encode(document), now)
    await templates.note_tested(connection, sha, run.id, now)
    made = await runs.run_by_id(connection, run.id)
    assert made is not None
    return made


@template.group()
def numbers() -> None:
    """Say which numbers tests may be sent to: handsets of your own."""


def _numbers_command(command: Callable[..., Any]) -> Callable[..., Any]:
    return config_option(dsn_option(command))


@numbers.command()
@_numbers_command
@click.argument("number", nargs=-1, required=True)
def add(config: Path | None, dsn: str, number: tuple[str, ...]) -> None:
    """Let tests be sent to numbers."""

    async def work(connection: postgres.Connection) -> None:
        for one in numbers_of(list(number), None):
            is_new = await templates.add_test_number(connection, one, whoever(), datetime.now(UTC))
            click.echo(f"+{one}: {'added' if is_new else 'was one already'}")

    _with_connection(config, dsn, work)


@numbers.command()
@_numbers_command
@click.argument("number", nargs=-1, required=True)
def remove(config: Path | None, dsn: str, number: tuple[str, ...]) -> None:
    """Send no tests to numbers any more."""

    async def work(connection: postgres.Connection) -> None:
        for one in numbers_of(list(number), None):
            was = await templates.remove_test_number(connection, one)
            click.echo(f"+{one}: {'removed' if was else 'was none'}")

    _with_connection(config, dsn, work)


@numbers.command(name="list")
@_numbers_command
def list_(config: Path | None, dsn: str) -> None:
    """List the numbers that tests may be sent to."""

    async def work(connection: postgres.Connection) -> None:
        for one in await templates.test_numbers(connection):
            click.echo(f"+{one.number}  since {one.added_at:%Y-%m-%d}, by {plain(one.added_by)}")

    _with_connection(config, dsn, work)


def _with_connection(config: Path | None, dsn: str, work: Callable[[postgres.Connection], Awaitable[None]]) -> None:
    async def begin(settings: Settings) -> None:
        async with app.open_database(settings) as database, database.connection() as connection:
            await work(connection)

    with said_plainly():
        app.run(begin(settings_of(config, dsn)))
