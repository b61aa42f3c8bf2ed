"""What `send` asks of a brand: the options of a gated run, the gate they make, and a run over an audience.

options ─► gate_of ─► run.gate
audience NAME ─► count (said before anybody is asked) ─► list of the run, frozen ─► chunks     store/considered.py
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec

from _fastpath.template import Template
from gateway import app, content, reasons
from gateway.brand import BrandSettings, gate_of_brand, may_bypass, with_footer
from gateway.campaign.quiet_hours import Occurrence
from gateway.commands._control import whoever
from gateway.commands._countries import judge_countries, labels_of, say_countries
from gateway.commands._links import link_list
from gateway.commands._options import Refused, plain, say
from gateway.commands._rates import judge_rate, keep_rate
from gateway.commands._rendering import Wording, dress_run
from gateway.commands.audience import kept_audience, read_tree, terms_of
from gateway.config import Settings
from gateway.content import Content
from gateway.countries import heads_by_country
from gateway.dispatch.identity import is_dead
from gateway.dispatch.preview import by_zone
from gateway.dispatch.route import plan_of
from gateway.errors import AudienceFault, ConfigError
from gateway.gate import MOST_PRIORITY, MOST_VALUE, Gate, Local
from gateway.message import MessageClass
from gateway.predicate import Predicate
from gateway.routing import RouteTable
from gateway.store import considered, people, postgres, runs
from gateway.store.audiences import Terms
from gateway.store.shares import Opener

# The same text to the same audience is looked for among so many runs.
LOOKED_AT = 200


class ClockTime(click.ParamType["int"]):
    """A time of the day as minutes: 10:00."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Refuse what is no time of a day."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value, re.ASCII)
        if found is None:
            self.fail(f"expected a time of the day such as 10:00, found {value!r}", param, ctx)
        return int(found[1]) * 60 + int(found[2])


def gate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a gated run."""
    for option in reversed(
        [
            click.option("--brand", default="", metavar="NAME", help="Who writes: everybody passes its gate."),
            click.option("--programme", default="", metavar="NAME", help="Of the brand: whose consent is asked for."),
            click.option("--tag", "tags", multiple=True, metavar="NAME", help="Of these messages, for caps."),
            click.option("--exception", default="", metavar="TEXT", help="Not to whom this happens from now on."),
            click.option(
                "--content",
                "offer",
                default="",
                metavar="KEY",
                help="What it offers: not to who had that by mail or otherwise lately, by its `content_key` (XC-2).",
            ),
            click.option("--content-within", metavar="72h", help="What counts as lately; by default 72h."),
            click.option(
                "--priority",
                type=click.IntRange(-MOST_PRIORITY, MOST_PRIORITY),
                default=0,
                help="The lower goes before, and has the place under a cap that both want (CP-4); others have 0.",
            ),
            click.option(
                "--value",
                type=click.IntRange(0, MOST_VALUE),
                default=0,
                help="What a message is worth: of two runs of one priority the dearer goes before.",
            ),
            click.option(
                "--at-local", type=ClockTime(), metavar="HH:MM", help="Not before that time of each recipient's clock."
            ),
            click.option(
                "--on",
                "local_day",
                type=click.DateTime(["%Y-%m-%d"]),
                metavar="DATE",
                help="The day of --at-local; by default today by the clock of the brand.",
            ),
            click.option(
                "--passed",
                type=click.Choice(["next_day", "now_if_open", "skip"]),
                default="next_day",
                show_default=True,
                help="Where that time has passed.",
            ),
            click.option("--bypass", default="", metavar="WHY", help="Pass over caps that are no law, and say why."),
        ]
    ):
        command = option(command)
    return command


def judge_gate_options(settings: Settings, options: dict[str, Any]) -> None:
    """Refuse what does not go together; what the brand says of the text and the file is laid into the options."""
    if not options["brand"]:
        for name, given in (
            ("programme", "programme"),
            ("tag", "tags"),
            ("exception", "exception"),
            ("content", "offer"),
            ("bypass", "bypass"),
            ("value", "value"),
            ("at-local", "at_local"),
            ("on", "local_day"),
        ):
            if options[given]:
                raise click.UsageError(f"Option '--{name}' stands with '--brand'.")
        return
    offer_of(options)
    brand = settings.brand(options["brand"])
    if options["programme"] and options["programme"] not in brand.programmes:
        known = f"one of {', '.join(brand.programmes)}" if brand.programmes else "one that the brand has"
        raise ConfigError([(f"brands.{options['brand']}.programmes", known, repr(options["programme"]))])
    who = whoever()
    if options["bypass"] and not may_bypass(brand, MessageClass[options["class_"].upper()], who):
        expected = f"{who.partition('@')[0]!r}, for --bypass with a text that advertises"
        raise ConfigError([(f"brands.{options['brand']}.may_bypass", expected, repr(list(brand.may_bypass)))])
    options["text"] = with_footer(options["text"], brand, MessageClass[options["class_"].upper()])
    options["region"] = options.get("region") or brand.country or None


async def gate_of(
    settings: Settings, database: app.Database, options: dict[str, Any], kept: tuple[Predicate, str] | None = None
) -> Gate | None:
    """Make the gate of a run; None without a brand.

    kept  the tree of its audience, whole, and the zone of its days
    """
    if not options["brand"]:
        return None
    exception = None
    if options["exception"]:
        async with database.connection() as connection:
            exception = await exception_of(connection, options["exception"])
    excepted = content.excepting(exception, offer_of(options))
    return gate_of_brand(
        options["brand"],
        settings.brand(options["brand"]),
        MessageClass[options["class_"].upper()],
        programme=options["programme"],
        tags=options["tags"],
        audience=None if kept is None else msgspec.to_builtins(kept[0]),
        exception=None if excepted is None else msgspec.to_builtins(excepted),
        days_zone="" if kept is None else kept[1],
        bypass=options["bypass"],
        bypass_by=whoever(),
        value=options["value"],
        local=local_of(settings.brand(options["brand"]), options),
        labels=labels_of(settings.brand(options["brand"]), MessageClass[options["class_"].upper()]),
    )


def offer_of(options: dict[str, Any]) -> Content | None:
    """Read what a run offers that other channels may have told already; None: nothing is said. Refused."""
    if not options["offer"]:
        if options["content_within"]:
            raise click.UsageError("Option '--content-within' stands with '--content'.")
        return None
    try:
        offer = msgspec.convert({"key": options["offer"]}, Content)
    except msgspec.ValidationError as error:
        raise Refused(f"--content: {error}, found {len(options['offer'])} characters") from error
    if options["content_within"]:
        offer = msgspec.structs.replace(offer, within=options["content_within"])
    for _, expected, found in content.problems_of("--content", offer):
        raise Refused(f"--content-within: expected {expected}, found {found}")
    return offer


def local_of(brand: BrandSettings, options: dict[str, Any]) -> Local | None:
    """Read the local time of a run; decided once, so that what is said before is what is done."""
    if options["at_local"] is None:
        if options["local_day"] is not None:
            raise click.UsageError("Option '--on' stands with '--at-local'.")
        return None
    since = options.setdefault("local_since", datetime.now(UTC).replace(microsecond=0))
    day = (
        options["local_day"].date()
        if options["local_day"] is not None
        else since.astimezone(ZoneInfo(brand.zone)).date()
    )
    return Local(
        minute=options["at_local"], day=day.isoformat(), passed=options["passed"], since=int(since.timestamp())
    )


def say_zones(found: Sequence[Occurrence]) -> None:
    """Say when a run at local time leaves in each zone, and to how many."""
    for one in found:
        when = "never: the time has passed" if one.at is None else f"{one.at:%Y-%m-%d %H:%M} UTC"
        said = f"{one.zone}: {one.people:,} people, {when}"
        say(f"            {said}{' (next day)' * (one.outcome == 'next_day')}{', held by quiet hours' * one.is_quiet}")


async def exception_of(connection: postgres.Connection, text: str) -> Predicate:
    """Read what must not happen; Refused with its place."""
    try:
        return (await read_tree(connection, text, allow_unknown=False))[1]
    except (AudienceFault, msgspec.DecodeError) as error:
        raise Refused(f"--exception: {error}") from error


async def judge_audience(settings: Settings, table: RouteTable, options: dict[str, Any]) -> int:
    """Say who is in the audience and who of them is in no chunk; -> numbers that a run is for. Refused: nobody.

    What the laws of their countries ask of the text is asked, too.
    """
    async with app.open_database(settings) as database, database.connection() as connection:
        tree, zone = await kept_audience(connection, options["audience"])
        gate = await gate_of(settings, database, options, (tree, zone))
        assert gate is not None
        terms = await terms_of(connection, ZoneInfo(zone), None)
        found = await considered.count(connection, tree, terms, gate)
        countries = heads_by_country(await considered.heads(connection, tree, terms, gate))
        zones = []
        if gate.local is not None:
            octets = await considered.numbers(connection, tree, terms, gate)
            zones = await by_zone(connection, octets, gate, MessageClass[options["class_"].upper()], terms.now)
    labelled = judge_countries(settings, table, options, countries)
    by_word = {reasons.word_of(reason): people for reason, people in sorted(found.skipped.items(), reverse=True)}
    if options["as_json"] and options["dry_run"]:
        told = {"people": found.people, "numbers": found.numbers, "skipped": by_word}
        if labelled:
            told["labels"] = msgspec.to_builtins(labelled)
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        named = plain(options["audience"])
        say(f"audience    {named}: {found.people:,} people, {found.numbers:,} to be asked at the gate")
        for word, number in by_word.items():
            say(f"            {number:,} {word}")
        say_zones(zones)
        say_countries(settings, options, countries, labelled)
    if not found.numbers:
        raise Refused("nobody to send to")
    if options["strict"] and found.skipped:
        raise Refused("--strict: some people would not be sent to, so nobody is")
    return found.numbers


async def enqueue_audience(
    settings: Settings, database: app.Database, table: RouteTable, template: Template, options: dict[str, Any]
) -> runs.Run:
    """Freeze an audience as it is now into a list of its own and put a run over it into the queue.

    Cut off before the end, a run stays that is never sent: what it has frozen is of no other.
    raises  Refused when the same text went to the same audience before, unless asked for; StoreError
    """
    database.check_room()
    source = f"audience {options['audience']}"[:200]
    wording: Wording | None = options.get("wording")
    texts = {template.text} if wording is None else wording.texts
    async with database.connection() as connection:
        for before in await runs.recent_runs(connection, LOOKED_AT):
            is_same = before.source == source and before.template in texts and before.enqueued_at is not None
            if is_same and not options["again"]:
                made = f"run {before.id} of {before.created_at:%Y-%m-%d %H:%M}"
                raise Refused(f"this text went to this audience already, as {made}: send it once more with --again")
        tree, zone = await kept_audience(connection, options["audience"])
        gate = await gate_of(settings, database, options, (tree, zone))
        assert gate is not None
        terms = await terms_of(connection, ZoneInfo(zone), None)
        now, us = datetime.now(UTC), app.identity()
        class_ = MessageClass[options["class_"].upper()]
        lanes = {name: await runs.lane_of(connection, name, now) for name in table.carriers}
        run = await freeze_run(
            connection,
            name=plain(options["name"])[:200] or options["audience"],
            source=source,
            template=template.text,
            fields=options["fields"],
            class_=class_,
            lanes=list(lanes.values()),
            tree=tree,
            terms=msgspec.structs.replace(terms, now=now),
            gate=gate,
            policy=options["policy"],
            expires_at=None if options["expires_after"] is None else now + timedelta(seconds=options["expires_after"]),
            encoding=options["asked"],
            receipt_policy=options["receipt_policy"],
            priority=options["priority"],
            beside=database.connection,
        )
        assert run.list is not None
        await link_list(
            connection, settings, options["brand"], options["links"], campaign=run.name, list_id=run.list,
            run=run.id, now=now,
        )  # fmt: skip
        if wording is not None and wording.context is not None:
            run = await dress_run(
                connection, run, wording.context, fields=wording.fields, keep=options["keep"], now=now, owns_list=True
            )
        living = [worker for worker in await runs.workers(connection) if not is_dead(worker, us, now)]
        await judge_rate(
            connection, settings, lanes, options["plan"], run.recipients, class_, now, options, options["parts"]
        )
        await keep_rate(connection, run.id, options["plan"], run.recipients)
        plan = plan_of(table, lanes, class_, options["sender"], run.not_before, living)
        await runs.materialise(connection, run, [], run.recipients, datetime.now(UTC), plan)
        enqueued = await runs.run_by_id(connection, run.id)
    assert enqueued is not None
    return enqueued


async def freeze_run(
    connection: postgres.Connection,
    *,
    source: str,
    fields: tuple[str, ...],
    tree: Predicate,
    terms: Terms,
    gate: Gate,
    beside: Opener | None = None,
    **of_run: Any,
) -> runs.Run:
    """Make a run over the people of an audience, in a list of its own; `recipients` says how many, none queued yet.

    beside  opens one more connection, for a large audience
    """
    digest = hashlib.sha256(f"{source}\0{terms.now.isoformat()}\0{terms.salt}".encode()).digest()
    made = await people.open_list(
        connection,
        people.name_of_file(source, digest),
        source_name=source,
        source_sha256=digest,
        fields=list(fields),
        now=terms.now,
    )
    run = await runs.add_run(
        connection, list_id=made.id, source=source, fields=fields, now=terms.now, gate=gate, **of_run
    )
    count = await considered.freeze(connection, tree, terms, gate, run.id, made.id, fields, beside=beside)
    await people.finish_list(connection, made.id, terms.now)
    return msgspec.structs.replace(run, recipients=count)
