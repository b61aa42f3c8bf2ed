"""`sluice consent`: what people have agreed to and taken back, as it was recorded, and the proof of it."""

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.campaign.consent import agrees, asks_twice, problems, proof_of_stop, request, states_at
from gateway.commands._consents import CLASSES, as_json, as_page, facts_in, proof_of, shown, time_of
from gateway.commands._control import run, whoever
from gateway.commands._options import EXIT_DATA, Refused, config_option, dsn_option, plain, say
from gateway.commands._stops import numbers_of, open_door, open_feed, reader_of
from gateway.config import Settings
from gateway.consent import EVERYTHING, Fact, Source, Standing, faults_of
from gateway.contacts.table import Table
from gateway.dispatch import requests
from gateway.dispatch.stops import Stops
from gateway.store import consents, postgres, runs, stops
from gateway.suppression import BY_GRANT

# Refusals of an import that are said one by one.
MOST_SAID = 20
PIECE_S = 60.0
PIECE = 20_000
BUCKETS = 256


@click.group()
def consent() -> None:
    """Show, record, import, prove and verify consent."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    return config_option(dsn_option(command))


def _programmes(settings: Settings) -> list[str]:
    """Name the programmes of all brands, as the ledger calls them."""
    return [f"{name}/{one}" for name, brand in settings.brands.items() for one in brand.programmes]


def _fold(facts: Sequence[Fact]) -> Mapping[str, Standing]:
    return states_at(facts, datetime.now(UTC))


async def _catch_up(connection: postgres.Connection) -> None:
    """Bring what the feed of STOPs says into the ledger."""
    found = 1
    while found:
        async with postgres.deadline(connection, PIECE_S, "prove stops"):
            found = await consents.prove(connection, proof_of_stop, _fold)


async def _append(connection: postgres.Connection, facts: list[Fact], *, is_quiet: bool = False) -> int:
    written = 0
    if gone := (await open_door(connection)).among(fact.number for fact in facts):
        say(f"{len(gone):,} numbers were erased: nothing is recorded of them")
        facts = [fact for fact in facts if fact.number not in gone]
    for at in range(0, len(facts), PIECE):
        async with postgres.deadline(connection, PIECE_S, "append consent"):
            written += await consents.append(connection, facts[at : at + PIECE], _fold, is_quiet=is_quiet)
    return written


async def _welcome(connection: postgres.Connection, facts: Sequence[Fact]) -> None:
    """Lift of those who have just agreed what a new grant lifts (CN-11): a sunset, a number that was another's."""
    given = [fact.number for fact in facts if fact.action == "grant" and fact.effective_at is not None]
    since = {fact.number: fact.effective_at for fact in facts if fact.action == "grant" and fact.effective_at}
    for at in range(0, len(given), PIECE):
        some = given[at : at + PIECE]
        async with postgres.deadline(connection, PIECE_S, "lift"):
            found = await stops.reasons(connection, some)
            newer = [one for one in found if all(when <= since[one] for when in found[one].values())]
            await stops.lift(
                connection, newer, lambda source, _: source in BY_GRANT, at=datetime.now(UTC), note="a new grant"
            )


async def _stop(made: Stops, numbers: list[int], brand: str, source: str, note: str) -> None:
    """Let the feed have a revoke of everything first: it is in force before it is proven."""
    if numbers and brand == EVERYTHING:
        await made.stop(numbers, EVERYTHING, source, note)


@consent.command()
@_options
@click.argument("numbers", nargs=-1, required=True)
@click.option("--region", metavar="CC", help="Country of numbers without their +, such as GB.")
def show(config: Path | None, dsn: str, numbers: tuple[str, ...], region: str | None) -> None:
    """Show how NUMBERS stand with each brand."""

    async def work(settings: Settings) -> list[str]:
        wanted = numbers_of(numbers, region)
        async with open_feed(settings) as (_, connection):
            await _catch_up(connection)
            async with postgres.deadline(connection, PIECE_S, "show consent"):
                found = await consents.states_of(connection, wanted)
            return [plain(line) for number in wanted for line in shown(number, found[number], _programmes(settings))]

    for line in run(config, dsn, work):
        click.echo(line)


@consent.command()
@_options
@click.argument("number")
@click.option("--brand", required=True, help="Whose messages; NAME/PROGRAMME: of one programme.")
@click.option("--class", "class_", type=click.Choice(CLASSES), default="promotional", show_default=True)
@click.option("--wording", required=True, help="The words that were shown.")
@click.option("--method", required=True, help="How it was given: a box ticked, a paper signed.")
@click.option("--at", default="", help="When, with the offset from UTC; by default now.")
@click.option("--url", default="", help="The page it was given on.")
@click.option("--region", metavar="CC", help="Country of a number without its +, such as GB.")
def grant(
    config: Path | None,
    dsn: str,
    number: str,
    brand: str,
    class_: Any,
    wording: str,
    method: str,
    at: str,
    url: str,
    region: str | None,
) -> None:
    """Record that NUMBER agreed. It lifts no STOP: that is `sluice start`."""
    effective = time_of(at) if at else None
    if at and effective is None:
        raise click.UsageError(f"--at: expected a time such as 2026-03-01T12:00:00+01:00, found {at!r}")

    async def work(settings: Settings) -> list[str]:
        now = datetime.now(UTC)
        fact = Fact(
            number=numbers_of([number], region)[0], brand=brand, class_=class_, action="grant", source="agent",
            effective_at=effective or now, recorded_at=now, method=method, wording=wording, url=url, agent=whoever(),
        )  # fmt: skip
        if found := problems(fact):
            raise Refused("; ".join(f"{field}: expected {expected}, found {what}" for field, expected, what in found))
        async with open_feed(settings) as (_, connection):
            await _catch_up(connection)
            await _append(connection, [fact])
            await _welcome(connection, [fact])
            async with postgres.deadline(connection, PIECE_S, "read consent"):
                states = (await consents.states_of(connection, [fact.number]))[fact.number]
                lines = shown(fact.number, states, _programmes(settings))
                if any(one.is_stop for one in await stops.standing(connection, [fact.number])):
                    say("the number is still stopped: nothing is sent to it")
            return [plain(line) for line in lines]

    for line in run(config, dsn, work):
        click.echo(line)


@consent.command()
@_options
@click.argument("numbers", nargs=-1, required=True)
@click.option("--brand", default="*", show_default=True, help="Whose messages; *: everybody's, as `sluice stop` does.")
@click.option("--reason", default="", help="How they have asked; kept as the proof.")
@click.option("--region", metavar="CC", help="Country of numbers without their +, such as GB.")
def revoke(
    config: Path | None, dsn: str, numbers: tuple[str, ...], brand: str, reason: str, region: str | None
) -> None:
    """Record that NUMBERS took their consent back; of everything it is in force on every node when this ends."""

    async def work(settings: Settings) -> str:
        now, wanted = datetime.now(UTC), numbers_of(numbers, region)
        async with open_feed(settings) as (made, connection):
            await _stop(made, wanted, brand, "agent", " ".join(filter(None, (whoever(), reason))))
            if brand != EVERYTHING:
                facts = [
                    Fact(
                        number=number, brand=brand, class_="all", action="revoke", source="agent", effective_at=now,
                        recorded_at=now, method="told to a person", wording=reason, agent=whoever(),
                    ) for number in wanted
                ]  # fmt: skip
                await _append(connection, facts)
            await _catch_up(connection)
        return f"{len(wanted):,} took back their consent to {'everything' if brand == '*' else plain(brand)}"

    click.echo(run(config, dsn, work))


async def _question(
    settings: Settings, connection: postgres.Connection, carrier: str, sender: str, brand: str, class_: Any, text: str,
    source: Source,
) -> requests.Question:  # fmt: skip
    """Say by which account and in whose name people are asked."""
    names = list(settings.carriers)
    if not carrier and len(names) != 1:
        raise Refused(f"--carrier: expected one of {', '.join(names) or 'the carriers of sluice.toml'}, found none")
    name = carrier or names[0]
    made = settings.carrier(name)
    async with postgres.deadline(connection, PIECE_S, "lane"):
        lane = await runs.lane_of(connection, name, datetime.now(UTC))
    return requests.Question(
        brand=brand, class_=class_, words=text, lane=lane, carrier=name, sender=sender or made.source, by=whoever(),
        source=source,
    )  # fmt: skip


async def _ask(
    connection: postgres.Connection, numbers: Sequence[int], what: requests.Question, *, keeps_hours: bool
) -> tuple[int, list[str]]:
    """Ask people; -> how many, and a line for each who is not asked."""
    gone = (await open_door(connection)).among(numbers)
    numbers = [number for number in numbers if number not in gone]
    count, lines = 0, [f"+{number} is not asked: it was erased" for number in sorted(gone)]
    for at in range(0, len(numbers), requests.MOST_ASKED):
        some = numbers[at : at + requests.MOST_ASKED]
        async with postgres.deadline(connection, PIECE_S, "ask for consent"):
            asked = await requests.ask(connection, some, what, datetime.now(UTC), keeps_hours=keeps_hours)
        count += len(asked.numbers)
        lines += [f"+{number} is not asked: {plain(why)}" for number, why in asked.refused.items()]
    return count, lines


@consent.command()
@_options
@click.argument("numbers", nargs=-1, required=True)
@click.option("--brand", required=True, help="Whose messages; NAME/PROGRAMME: of one programme.")
@click.option("--class", "class_", type=click.Choice(CLASSES), default="promotional", show_default=True)
@click.option("--text", required=True, help="The request: who asks, for what, how often, and that YES is the answer.")
@click.option("--carrier", default="", help="By which account; by default the only one.")
@click.option("--sender", default="", help="From which number; by default the carrier's source.")
@click.option("--region", metavar="CC", help="Country of numbers without their +, such as GB.")
def ask(
    config: Path | None, dsn: str, numbers: tuple[str, ...], brand: str, class_: Any, text: str, carrier: str,
    sender: str, region: str | None,
) -> None:  # fmt: skip
    """Ask NUMBERS by one text whether they want messages of a brand. A YES of the handset within 24 hours is a grant.

    Nobody is asked who has said yes or no, or was asked in the last 90 days; where a country says so, never again.
    """

    async def work(settings: Settings) -> list[str]:
        wanted, now = numbers_of(numbers, region), datetime.now(UTC)
        probe = request(wanted[0], brand, class_, words=text, sender=sender, by="", now=now)
        if found := problems(probe):
            raise Refused("; ".join(f"{field}: expected {expected}, found {what}" for field, expected, what in found))
        async with open_feed(settings) as (_, connection):
            await _catch_up(connection)
            what = await _question(settings, connection, carrier, sender, brand, class_, text, "agent")
            count, lines = await _ask(connection, wanted, what, keeps_hours=False)
        return [*lines, f"{count:,} asked"]

    for line in run(config, dsn, work):
        click.echo(line)


@consent.command("import")
@_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--brand", default="*", show_default=True, help="Of rows that name none; a grant needs a name.")
@click.option("--class", "class_", type=click.Choice(CLASSES), default="promotional", show_default=True)
@click.option("--region", metavar="CC", help="Country of numbers without their +, such as GB.")
@click.option("--ask", "text", default="", help="The request that is sent to whose country wants a YES of the handset.")
@click.option("--carrier", default="", help="By which account they are asked; by default the only one.")
@click.option("--sender", default="", help="From which number they are asked; by default the carrier's source.")
@click.option("--fires", is_flag=True, help="Who enters or leaves watched audiences by it starts something.")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken and refused.")
def import_(
    config: Path | None, dsn: str, file: Path, brand: str, class_: str, region: str | None, text: str, carrier: str,
    sender: str, fires: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Take a FILE of consent or of opt-outs, with columns number, action, brand, class, at, wording and method.

    Without a column `action` every row is an opt-out. Opt-outs are applied first. A row that cannot be taken is
    refused with its line and column. Where a country wants double opt-in (sluice packs DE), a grant is no more than a
    reason to ask: with --ask, by day; its method may say that the double opt-in was made already.

    Exit code: 0 all rows are taken, 65 some were refused.
    """

    async def work(settings: Settings) -> tuple[list[str], int]:
        now = datetime.now(UTC)
        with Table(str(file)) as table:
            facts, refusals, repeated = facts_in(
                table, reader_of(region), brand=brand, class_=class_, now=now, may_ask=bool(text)
            )
        for one in refusals[:MOST_SAID]:
            say(plain(str(one)))
        if len(refusals) > MOST_SAID:
            say(f"and {len(refusals) - MOST_SAID:,} more")
        asking = [fact for fact in facts if asks_twice(fact, requests.pack_of(fact.number).optin.double)]
        left_out = {id(fact) for fact in asking}
        facts = [fact for fact in facts if id(fact) not in left_out]
        gone = [fact for fact in facts if fact.action == "revoke"]
        told = f"{len(gone):,} opt-outs and {len(facts) - len(gone):,} grants"
        told += f", {repeated:,} said twice, {len(refusals):,} refused"
        if dry_run:
            return [f"would take {told}" + (f", and ask {len(asking):,}" if asking else "")], len(refusals)
        lines = []
        async with open_feed(settings) as (made, connection):
            of_all = sorted({fact.number for fact in gone if fact.brand == EVERYTHING})
            await _stop(made, of_all, EVERYTHING, "import", f"{whoever()} {file.name}")
            await _append(connection, facts, is_quiet=not fires)
            await _welcome(connection, facts)
            await _catch_up(connection)
            by_kind: dict[tuple[str, str], list[int]] = {}
            for fact in asking:
                by_kind.setdefault((fact.brand, fact.class_), []).append(fact.number)
            for (whose, kind), numbers in sorted(by_kind.items()):
                what = await _question(settings, connection, carrier, sender, whose, kind, text, "import")
                count, refused = await _ask(connection, numbers, what, keeps_hours=True)
                for line in refused[:MOST_SAID]:
                    say(line)
                lines.append(f"{plain(whose)}: {count:,} asked, {len(refused):,} not")
        return [f"took {told}", *lines], len(refusals)

    lines, refused = run(config, dsn, work)
    for line in lines:
        click.echo(line)
    sys.exit(EXIT_DATA if refused else 0)


@consent.command()
@_options
@click.argument("number")
@click.option("--html", "is_page", is_flag=True, help="A page for people instead of JSON.")
@click.option("--region", metavar="CC", help="Country of a number without its +, such as GB.")
def proof(config: Path | None, dsn: str, number: str, is_page: bool, region: str | None) -> None:
    """Print everything recorded of NUMBER, with the verification of its chain."""

    async def work(settings: Settings) -> str:
        wanted = numbers_of([number], region)[0]
        async with open_feed(settings) as (_, connection):
            await _catch_up(connection)
            async with postgres.deadline(connection, PIECE_S, "prove consent"):
                rows = (await consents.rows_of(connection, [wanted]))[wanted]
                states = (await consents.states_of(connection, [wanted]))[wanted]
        made = proof_of(wanted, rows.links, rows.head_id, rows.head_hash, states, datetime.now(UTC))
        return as_page(made) if is_page else as_json(made)

    click.echo(run(config, dsn, work))


@consent.command()
@_options
def verify(config: Path | None, dsn: str) -> None:
    """Verify every chain and what is kept beside it; print a digest of all heads, to be kept elsewhere.

    Exit code 65 when a row was changed, is missing or was exchanged; each is named.
    """

    async def work(settings: Settings) -> tuple[list[str], int, str]:
        found: list[str] = []
        count, digest = 0, hashlib.sha256()
        async with open_feed(settings) as (_, connection):
            await _catch_up(connection)
            for key in range(BUCKETS):
                after = 0
                while True:
                    async with postgres.deadline(connection, PIECE_S, "verify consent"):
                        numbers = await consents.numbers_of(connection, key, after)
                        rows = await consents.rows_of(connection, numbers)
                        states = await consents.states_of(connection, numbers)
                    if not numbers:
                        break
                    after = numbers[-1]
                    for number in numbers:
                        one = rows[number]
                        count += len(one.links)
                        digest.update(b"%d %d %s\n" % (number, one.head_id, one.head_hash.hex().encode()))
                        wrong = faults_of(one.links, one.head_id, one.head_hash)
                        if not agrees(states[number], [link.fact for link in one.links], datetime.now(UTC)):
                            wrong.append("the state beside it is not what follows from its rows")
                        found += [f"+{number}: {fault}" for fault in wrong]
        return found, count, digest.hexdigest()

    found, count, digest = run(config, dsn, work)
    for line in found:
        click.echo(line)
    if found:
        raise Refused(f"{len(found):,} faults in {count:,} rows")
    click.echo(f"{count:,} rows, every chain whole; heads {digest}")
