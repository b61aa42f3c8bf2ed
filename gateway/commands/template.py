"""`sluice template`: what a text comes to before it is sent: its preview, its linter, its test."""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec

from gateway import app
from gateway.brand import BrandSettings, gate_of_brand
from gateway.commands._countries import labels_of
from gateway.commands._options import Refused, config_option, dsn_option, plain, said_plainly, settings_of
from gateway.commands._rendering import (
    Wording,
    checked,
    compiled_of,
    pages,
    read_file,
    with_footers,
    wording_of,
)
from gateway.commands.audience import kept_audience, terms_of
from gateway.config import Settings
from gateway.dispatch import rendering
from gateway.dispatch.rendering import TEXT
from gateway.dispatch.route import table_of
from gateway.dispatch.survey import Forms, Reckoner, Reckoning, batches_of, parts_of, with_placeholders
from gateway.errors import EncodeError
from gateway.gate import Gate
from gateway.message import Encoding
from gateway.routing import RouteTable
from gateway.store import considered, people, postgres, templates
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
    page: Callable[[tuple[str, ...], int, int], Awaitable[bytes]]
    longest: Callable[[tuple[str, ...]], Awaitable[dict[str, int]]]


async def _people(connection: postgres.Connection, gate: Gate, options: Mapping[str, Any]) -> People:
    if options["list_name"]:
        kept = await people.find_list(connection, options["list_name"])
        if kept is None:
            raise Refused(f"--list: expected the name of a list, found {plain(options['list_name'])!r}")
        list_id = kept.id

        async def of_list(fields: tuple[str, ...], low: int, high: int) -> bytes:
            assert low == high
            return await templates.page(connection, low, list_id)

        async def longest_of_list(fields: tuple[str, ...]) -> dict[str, int]:
            return await templates.longest(connection, list_id, fields)

        return People(count=kept.entries, by_bucket=True, page=of_list, longest=longest_of_list)
    tree, zone = await kept_audience(connection, options["audience"])
    terms = await terms_of(connection, ZoneInfo(zone), None)
    counted = await considered.count(connection, tree, terms, gate)

    async def of_audience(fields: tuple[str, ...], low: int, high: int) -> bytes:
        return await considered.values(connection, tree, terms, gate, fields, (low, high))

    async def longest_of_audience(fields: tuple[str, ...]) -> dict[str, int]:
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
        share = await _add_all(reckoner, people_of, wording, compiled is not None, most)
        longest: dict[str, int] = {}
        bound: int | None = None
        if share < 1.0:
            longest = await people_of.longest(wording.fields)
            bound = _bound(forms, reckoner.reckoning(), wording, columns, longest)
        return reckoner.reckoning(share, longest, bound)
    except EncodeError as error:
        raise Refused(f"--text: {error}") from error


async def _add_all(reckoner: Reckoner, people_of: People, wording: Wording, is_plain: bool, most: int) -> float:
    """Add everybody, or the people of some buckets; -> what part of all those are."""
    spans = _spans(people_of.count, most, people_of.by_bucket)
    context = wording.context
    assert context is not None
    named = [field for field in wording.fields if is_name(field, context.template.names)]
    if is_plain:
        for low, high in spans:
            for batch in batches_of(await people_of.page(wording.fields, low, high), wording.fields, named):
                reckoner.add(batch)
    else:
        async with pages(context, min(people_of.count, most)) as (render, ahead):
            waiting: list[Any] = []
            for low, high in spans:
                octets = await people_of.page(wording.fields, low, high)
                waiting.append(render(rendering.work_texts, octets))
                if len(waiting) > ahead:
                    done = await waiting.pop(0)
                    reckoner.add_texts(done.numbers, done.texts, done.skipped)
            for one in waiting:
                done = await one
                reckoner.add_texts(done.numbers, done.texts, done.skipped)
    return (spans[-1][1] + 1) / people.BUCKETS


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
    """What a part costs through a carrier: as its route says."""
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
