"""`sluice audience`: ask who belongs to an audience, keep it by a name, freeze it into a list."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click
import msgspec

from gateway import app, predicate
from gateway.brand import gate_of_brand
from gateway.campaign import audience as language
from gateway.campaign import inactivity
from gateway.commands._inactivity import (
    CURVE_DAYS,
    RHYTHM_DAYS,
    SHARE_DAYS,
    inactive_shares,
    proposal_lines,
    proposals,
    share_lines,
)
from gateway.commands._options import Refused, config_option, dsn_option, plain, said_plainly, settings_of
from gateway.dispatch.preview import Preview
from gateway.dispatch.preview import preview as preview_of
from gateway.dispatch.preview import silent as silent_of
from gateway.errors import AudienceFault
from gateway.message import MessageClass
from gateway.person import major_units
from gateway.predicate import Predicate
from gateway.rfm import GROUPS
from gateway.store import inactivity as silence
from gateway.store import migrate, people, postgres, selection, watched
from gateway.store import rfm as scores
from gateway.store.audiences import Terms
from gateway.store.shares import Opener

Result = TypeVar("Result")
PATIENCE_S = 600.0


class Zone(click.ParamType[ZoneInfo]):
    """An IANA zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        """Refuse what names none."""
        try:
            return value if isinstance(value, ZoneInfo) else ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            self.fail(f"expected a zone such as Europe/Berlin, found {value!r}", param, ctx)


class Instant(click.ParamType[datetime]):
    """A time with its offset."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Refuse what is none."""
        found = value if isinstance(value, datetime) else predicate.time_in(value)
        if found is None:
            self.fail(f"expected a time such as 2026-01-31T18:00:00Z, found {value!r}", param, ctx)
        return found


@click.group()
def audience() -> None:
    """Say who is meant: see docs/audiences.md for the language."""


def _database_options(command: Callable[..., Any]) -> Callable[..., Any]:
    return config_option(dsn_option(command))


def _asking_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        [
            click.argument("text"),
            click.option("--zone", type=Zone(), default="UTC", show_default=True, help="Of its calendar days."),
            click.option("--at", type=Instant(), help="As of then, and not now."),
            click.option("--allow-unknown", is_flag=True, help="Take names that nobody has used yet."),
        ]
    ):
        command = option(command)
    return _database_options(command)


def _read(text: str) -> str:
    """Take what is written, or what stands in the file behind an @."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Refused(f"{text[1:]}: expected a file of UTF-8, found {error}") from error


async def read_tree(connection: postgres.Connection, text: str, *, allow_unknown: bool) -> tuple[Predicate, Predicate]:
    """Read an audience, of JSON where it begins with a brace; -> the tree, and with others in their places."""
    segments = {name: one.tree for name, one in (await selection.kept(connection)).items()}
    names = await selection.known(connection)
    known = language.Known(
        attributes=None if allow_unknown else names.attributes,
        properties=None if allow_unknown else names.properties,
        lists=names.lists,
        segments=segments,
    )
    if text.lstrip().startswith("{"):
        tree = predicate.decode(text)
        language.check(tree, known)
    else:
        tree = language.parse(text, known)
    return tree, language.expand(tree, segments)


async def kept_audience(connection: postgres.Connection, name: str) -> tuple[Predicate, str]:
    """Find an audience, with the others that it asks for in their places; -> its tree and its zone. Refused."""
    kept = await selection.kept(connection)
    if name not in kept:
        known = f"one of {', '.join(kept)}" if kept else "one that `sluice audience add` has kept"
        raise Refused(f"--audience: expected {known}, found {plain(name)!r}")
    tree = language.expand(kept[name].tree, {one: each.tree for one, each in kept.items()})
    return tree, kept[name].zone


def _run(config: Path | None, dsn: str, work: Callable[[postgres.Connection], Awaitable[Result]]) -> Result:
    """Do something with a connection; say what is refused and end with 65."""

    async def alone(connection: postgres.Connection, beside: Opener) -> Result:
        return await work(connection)

    return _run_beside(config, dsn, alone)


def _run_beside(
    config: Path | None, dsn: str, work: Callable[[postgres.Connection, Opener], Awaitable[Result]]
) -> Result:
    """Do something with a connection, and with what opens one more, as `_run` does."""

    async def connected() -> Result:
        settings = settings_of(config, dsn)
        async with app.open_database(settings, migrates=not app.has_database(settings)) as database:
            await migrate.require(database.dsn)
            async with database.connection(PATIENCE_S) as connection:
                return await work(connection, lambda: database.connection(PATIENCE_S))

    with said_plainly():
        try:
            return asyncio.run(connected())
        except (AudienceFault, msgspec.DecodeError) as error:
            raise Refused(f"audience: {error}") from error


async def terms_of(connection: postgres.Connection, zone: ZoneInfo, at: datetime | None) -> Terms:
    salt = await selection.salt(connection, secrets.token_hex(16))
    return Terms(now=at or datetime.now(UTC), zone=zone, salt=salt)


@audience.command()
@click.option("--numbers", is_flag=True, help="How many numbers they have, too: people may share one.")
@_asking_options
def count(
    numbers: bool, text: str, zone: ZoneInfo, at: datetime | None, allow_unknown: bool, config: Path | None, dsn: str
) -> None:
    """Count the people whom TEXT matches; @FILE reads it from a file."""

    async def work(connection: postgres.Connection) -> selection.Counted:
        _, tree = await read_tree(connection, _read(text), allow_unknown=allow_unknown)
        return await selection.count(connection, tree, await terms_of(connection, zone, at), by_number=numbers)

    found = _run(config, dsn, work)
    told = f"{found.people:,} people, {found.with_number:,} of them with a number"
    click.echo(told if found.numbers is None else f"{told}; {found.numbers:,} numbers")


@audience.command()
@_asking_options
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True)
def members(
    text: str, zone: ZoneInfo, at: datetime | None, allow_unknown: bool, limit: int, config: Path | None, dsn: str
) -> None:
    """Name some of the people whom TEXT matches, one a line: profile and number."""

    async def work(connection: postgres.Connection) -> list[tuple[int, int | None]]:
        _, tree = await read_tree(connection, _read(text), allow_unknown=allow_unknown)
        return await selection.members(connection, tree, await terms_of(connection, zone, at), limit)

    for profile, number in _run(config, dsn, work):
        click.echo(f"{profile}\t{'' if number is None else f'+{number}'}")


@audience.command()
@_asking_options
@click.option("--list", "name", required=True, metavar="NAME", help="The list to write, which does not exist yet.")
@click.option("--field", "fields", multiple=True, metavar="NAME", help="An attribute that the message will need.")
def freeze(
    text: str,
    zone: ZoneInfo,
    at: datetime | None,
    allow_unknown: bool,
    name: str,
    fields: tuple[str, ...],
    config: Path | None,
    dsn: str,
) -> None:
    """Write the numbers of the people whom TEXT matches into a list, each once: what a run is then sent to."""

    async def work(connection: postgres.Connection, beside: Opener) -> int:
        asked, tree = await read_tree(connection, _read(text), allow_unknown=allow_unknown)
        terms = await terms_of(connection, zone, at)
        await people.lock_list(connection, name)
        before = await people.find_list(connection, name)
        if before is not None and before.state == "ready":
            raise Refused(f"audience: expected a list that does not exist yet, found {name!r}")
        if before is not None and not before.source_name.startswith(selection.FROZEN):
            raise Refused(f"audience: expected a list that does not exist yet, found {name!r}, half of an import")
        if before is not None:
            # What a freeze that was cut off has left in it.
            await selection.empty(connection, before.id)
        said = language.write(asked)
        made = await people.open_list(
            connection,
            name,
            source_name=f"{selection.FROZEN}{terms.now.isoformat()}: {said}"[:1000],
            source_sha256=hashlib.sha256(said.encode()).digest(),
            fields=list(fields),
            now=terms.now,
        )
        await selection.freeze(connection, tree, terms, made.id, fields, beside=beside)
        await watched.mark_list(connection, made.id, terms.now)
        return await people.finish_list(connection, made.id, terms.now)

    click.echo(f"list {name!r}: {_run_beside(config, dsn, work):,} numbers")


@audience.command()
@click.argument("name")
@_asking_options
def add(
    name: str, text: str, zone: ZoneInfo, at: datetime | None, allow_unknown: bool, config: Path | None, dsn: str
) -> None:
    """Keep TEXT as the audience NAME, or change the one of that name; others ask for it by in_segment('NAME')."""

    async def work(connection: postgres.Connection) -> selection.Audience:
        tree, whole = await read_tree(connection, _read(text), allow_unknown=allow_unknown)
        segments = {one: kept.tree for one, kept in (await selection.kept(connection)).items()} | {name: tree}
        for one in segments.values():
            language.expand(one, segments)
        await selection.estimate(connection, whole, await terms_of(connection, zone, at))
        now = at or datetime.now(UTC)
        return await selection.keep(connection, name, language.write(tree), tree, zone.key, now)

    made = _run(config, dsn, work)
    click.echo(f"audience {made.name!r}, version {made.version}: {made.text}")


@audience.command(name="list")
@_database_options
def list_(config: Path | None, dsn: str) -> None:
    """Name the audiences that are kept."""
    for made in _run(config, dsn, selection.kept).values():
        click.echo(f"{made.name}\tversion {made.version}{', watched' * made.is_watched}\t{made.text}")


@audience.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As a tree of JSON.")
@_database_options
def show(name: str, as_json: bool, config: Path | None, dsn: str) -> None:
    """Print what the audience NAME asks."""

    async def work(connection: postgres.Connection) -> tuple[selection.Audience | None, int]:
        found = (await selection.kept(connection)).get(name)
        return found, await watched.members(connection, found.id) if found is not None and found.is_watched else 0

    found, people_in = _run(config, dsn, work)
    if found is None:
        raise Refused(f"audience: expected one that is kept, found {name!r}")
    if found.is_watched:
        click.echo(f"audience {name!r} is watched: {people_in:,} people are in it", err=True)
    click.echo(
        json.dumps(json.loads(predicate.encode(found.tree)), ensure_ascii=False, indent=2) if as_json else found.text
    )


@audience.command()
@click.argument("name")
@click.option("--brand", "brand_name", required=True, metavar="NAME", help="Who would write.")
@click.option(
    "--class", "class_", type=click.Choice([c.name.lower() for c in MessageClass]), default="bulk", show_default=True
)
@click.option("--programme", default="", metavar="NAME", help="Of the brand: whose consent is asked for.")
@click.option("--tag", "tags", multiple=True, metavar="NAME", help="Of these messages, for caps.")
@click.option("--sender", default="", help="From whom.")
@click.option("--at", type=Instant(), help="As of then, and not now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_database_options
def preview(
    name: str, brand_name: str, class_: str, programme: str, tags: tuple[str, ...], sender: str, at: datetime | None,
    as_json: bool, config: Path | None, dsn: str,
) -> None:  # fmt: skip
    """Count who of the audience NAME would be written to now, and why the others would not, by the gate itself."""
    message_class = MessageClass[class_.upper()]
    with said_plainly():
        settings = settings_of(config, dsn)
        brand = settings.brand(brand_name)

    async def work(connection: postgres.Connection) -> Preview:
        tree, zone = await kept_audience(connection, name)
        terms = await terms_of(connection, ZoneInfo(zone), at)
        gate = gate_of_brand(brand_name, brand, message_class, programme=programme, tags=tags, days_zone=zone)
        return await preview_of(
            connection, tree, terms, gate, class_=message_class, sender=sender, inboxes=settings.inboxes
        )

    found = _run(config, dsn, work)
    if as_json:
        click.echo(json.dumps(found.as_json()))
        return
    click.echo("\n".join(f"{count:>12,}  {what}" for what, count in found.lines()))


@audience.command()
@click.option("--brand", "brand_name", required=True, metavar="NAME", help="Who would write.")
@click.option("--programme", default="", metavar="NAME", help="Of the brand: whose consent is asked for.")
@click.option("--days", type=click.IntRange(1, 366), default=60, show_default=True)
@click.option("--at", type=Instant(), help="As of then, and not now.")
@click.option("--list", "is_listed", is_flag=True, help="Name the numbers, one a line.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_database_options
def silent(
    brand_name: str, programme: str, days: int, at: datetime | None, is_listed: bool, as_json: bool,
    config: Path | None, dsn: str,
) -> None:  # fmt: skip
    """Count who has agreed to be written to by a brand, can be, and was sent nothing for --days (CP-9)."""
    with said_plainly():
        settings_of(config, dsn).brand(brand_name)

    async def work(connection: postgres.Connection) -> tuple[int, list[int]]:
        count, numbers = 0, []
        async for some in silent_of(connection, brand_name, days, at or datetime.now(UTC), programme=programme):
            count += len(some)
            numbers += some if is_listed else []
        return count, sorted(numbers)

    count, numbers = _run(config, dsn, work)
    if as_json:
        click.echo(json.dumps({"silent": count, "days": days} | ({"numbers": numbers} if is_listed else {})))
        return
    for number in numbers:
        click.echo(f"+{number}")
    click.echo(f"{count:,} people agreed to {brand_name} and were sent nothing for {days} days", err=is_listed)


@audience.command()
@click.option("--now", "is_now", is_flag=True, help="Score everybody first, and do not wait for the night.")
@_database_options
def rfm(is_now: bool, config: Path | None, dsn: str) -> None:
    """Count who is in each group of recency, frequency and money, and say by what they were scored."""
    with said_plainly():
        settings = settings_of(config, dsn).rfm

    async def work(connection: postgres.Connection) -> tuple[scores.Version | None, dict[str, int]]:
        if is_now:
            made = await scores.begin(connection, settings, datetime.now(UTC))
            while (await scores.step(connection, made.version, datetime.now(UTC)))[1]:
                pass
        return await scores.newest(connection), await scores.groups(connection)

    made, found = _run(config, dsn, work)
    if made is None:
        raise Refused("rfm: expected scores, found none yet: a worker makes them at night, --now at once")
    for group in GROUPS:
        click.echo(f"{found.get(group, 0):>12,}  {group}")
    click.echo(f"version {made.version}, {made.buyers:,} buyers as of {made.at:%Y-%m-%d %H:%M} UTC", err=True)
    if made.done_at is None:
        click.echo(f"under way: {made.upto} of {scores.BUCKETS} parts are written", err=True)
    for what, least in (
        ("r", [f"{-days} days" for days in made.scale.r]),
        ("f", [f"{orders} orders" for orders in made.scale.f]),
        ("m", [f"{major_units(units, made.currency)} {made.currency}" for units in made.scale.m]),
    ):
        limits = ", ".join(f"{score} from {one}" for score, one in enumerate(least, 2))
        click.echo(f"{what}: {limits or 'nobody to score'}", err=True)


@audience.command()
@click.option("--every", type=click.FloatRange(0.01, 3660), metavar="DAYS", help="How often people are written to.")
@click.option("--percentile", type=click.FloatRange(50, 99), default=90.0, show_default=True, help="Of gaps, proposed.")
@click.option("--at", type=Instant(), help="As of then, and not now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_database_options
def threshold(
    every: float | None, percentile: float, at: datetime | None, as_json: bool, config: Path | None, dsn: str
) -> None:
    """Propose from how many days without a sign people are inactive: by how often they are written to, and buy."""
    now = at or datetime.now(UTC)

    async def work(connection: postgres.Connection) -> tuple[list[int], dict[int, int], list[silence.Repeated]]:
        sent = [] if every is not None else await silence.sent_on(connection, now, RHYTHM_DAYS)
        gaps = await silence.gaps(connection, now)
        return sent, gaps, await silence.repeats(connection, now, CURVE_DAYS) if gaps else []

    sent, gaps, repeats = _run(config, dsn, work)
    told = proposals(every if every is not None else inactivity.rhythm_of(sent), gaps, repeats, percentile)
    click.echo(json.dumps(told) if as_json else "\n".join(proposal_lines(told)))


@audience.command()
@click.option("--days", multiple=True, type=click.IntRange(1, 36500), help="Threshold; several may be given.")
@click.option("--at", type=Instant(), help="As of then, and not now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_database_options
def inactive(days: tuple[int, ...], at: datetime | None, as_json: bool, config: Path | None, dsn: str) -> None:
    """Show what share of all people, and of all buyers, is inactive: by orders, by what they did, by messages."""

    async def work(connection: postgres.Connection) -> dict[str, dict[int | None, int]]:
        return await silence.silences(connection, at or datetime.now(UTC))

    shares = inactive_shares(_run(config, dsn, work), sorted(set(days)) or list(SHARE_DAYS))
    click.echo(json.dumps(shares) if as_json else "\n".join(share_lines(shares)))


@audience.command()
@click.argument("name")
@_database_options
def forget(name: str, config: Path | None, dsn: str) -> None:
    """Drop the audience NAME, which no other one may ask for."""

    async def work(connection: postgres.Connection) -> bool:
        kept = await selection.kept(connection)
        if name in kept and kept[name].is_watched:
            raise Refused(f"audience: {name!r} is watched: sluice audience unwatch {name}")
        for other in kept.values():
            if any(isinstance(node, predicate.InSegment) and node.name == name for node in predicate.walk(other.tree)):
                raise Refused(f"audience: {name!r} is asked for by {other.name!r}")
        if name in kept and not await selection.forget(connection, name):
            raise Refused(f"audience: {name!r} is left by its members right now, by a worker that runs: try again")
        return name in kept

    if not _run(config, dsn, work):
        raise Refused(f"audience: expected one that is kept, found {name!r}")


@audience.command()
@click.argument("name")
@_database_options
def watch(name: str, config: Path | None, dsn: str) -> None:
    """Keep who is in the audience NAME from now on, as persons change and as time passes. A worker does it.

    Who is in it already enters by an edit, which starts nothing.
    """
    _set_watched(config, dsn, name, is_watched=True)


@audience.command()
@click.argument("name")
@_database_options
def unwatch(name: str, config: Path | None, dsn: str) -> None:
    """Keep who is in the audience NAME no more: all leave by an edit, which starts nothing."""
    _set_watched(config, dsn, name, is_watched=False)


def _set_watched(config: Path | None, dsn: str, name: str, *, is_watched: bool) -> None:
    async def work(connection: postgres.Connection) -> bool:
        return await watched.set_watched(connection, name, is_watched, datetime.now(UTC))

    if not _run(config, dsn, work):
        raise Refused(f"audience: expected one that is kept, found {name!r}")
