"""`sluice profile`: what is kept of a person: shown, handed out as a whole, joined with another's, erased."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway import app
from gateway.automation.erasing import end, prefixes_of
from gateway.commands._consents import proof_of
from gateway.commands._control import run, whoever
from gateway.commands._options import Refused, config_option, dsn_option, plain, say
from gateway.commands._stops import numbers_in, numbers_of, open_feed
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.person import Who
from gateway.store import consents, dossiers, erasures, identities, postgres, runs
from gateway.store.identities import Again

STEP_S = 60.0
TRIES = 5


@click.group()
def profile() -> None:
    """Show, export, merge and erase what is kept of people."""


def _who_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        [
            config_option,
            dsn_option,
            click.option("--number", default="", help="Whose phone number it is; several persons may share it."),
            click.option("--id", "id_", type=click.IntRange(1, 2**63 - 1), default=None, help="Of one person."),
            click.option("--external-id", default="", help="Of one person."),
            click.option("--email", default="", help="Of one person."),
            click.option("--region", metavar="CC", help="Country of a number without its +, such as GB."),
        ]
    ):
        command = option(command)
    return command


def _names(number: str, external_id: str, email: str, id_: int | None, region: str | None) -> tuple[Who, int]:
    """Read who is meant; one way alone."""
    if sum(map(bool, (number, external_id, email, id_))) != 1:
        raise click.UsageError("expected one of --number, --id, --external-id and --email")
    phone = numbers_of([number], region)[0] if number else 0
    return Who(external_id=external_id, email=email, phone=phone), id_ or 0


async def _places(connection: postgres.Connection, names: Who, id_: int) -> list[tuple[int, int, int | None]]:
    found = await dossiers.who(connection, names, id_)
    if not found and not names.phone:
        raise Refused("profile: expected a person of that name, found nobody")
    return found


@profile.command()
@_who_options
def show(
    config: Path | None, dsn: str, number: str, id_: int | None, external_id: str, email: str, region: str | None
) -> None:
    """Show who somebody is, and what follows from what they did."""
    names, id_ = _names(number, external_id, email, id_, region)

    async def work(settings: Settings) -> list[str]:
        async with open_feed(settings) as (_, connection):
            found = [await dossiers.person(connection, *one[:2]) for one in await _places(connection, names, id_)]
        return [line for one in found for line in _lines(one)] or [f"+{names.phone}: nobody is known by it"]

    for line in run(config, dsn, work):
        click.echo(line)


def _lines(one: dict[str, Any]) -> list[str]:
    said = [f"person {one['id']}" + (f", +{one['number']}" if one["number"] else ", no number")]
    said += [f"  {row['kind']}: {plain(row['value'])}" for row in one["identities"]]
    shown = ("country", "language", "zone", "first_seen_at", "last_seen_at", "sessions", "orders", "last_order_at")
    said += [f"  {name}: {plain(str(one[name]))}" for name in shown if one[name]]
    if one["spent"]:
        said.append(f"  spent, in minor units: {', '.join(f'{name} {net:,}' for name, net in one['spent'].items())}")
    said += [
        f"  {plain(name)} = {plain(json.dumps(value, ensure_ascii=False))}" for name, value in one["attributes"].items()
    ]
    said += [f"  {row['count']:,} x {plain(row['name'])}, last {row['last_at']}" for row in one["totals"]]
    return said


@profile.command()
@_who_options
def export(
    config: Path | None, dsn: str, number: str, id_: int | None, external_id: str, email: str, region: str | None
) -> None:
    """Print everything that is kept of somebody as one JSON object: for the person themselves (CN-12).

    Of a number: the persons who have it, what they did, lists, STOPs, consent with its proof, messages with what came
    of them, and what the handset wrote. Of a person without a number: the person.
    """
    names, id_ = _names(number, external_id, email, id_, region)

    async def work(settings: Settings) -> dict[str, Any]:
        now = datetime.now(UTC)
        async with open_feed(settings) as (_, connection):
            places = await _places(connection, names, id_)
            phones = {names.phone} if names.phone else {one[2] for one in places if one[2]}
            if not phones:
                persons = [await dossiers.person(connection, *one[:2]) for one in places]
                return {"number": None, "made_at": now, "persons": persons}
            phone = phones.pop() or 0
            async with postgres.deadline(connection, STEP_S, "consent"):
                lanes = await runs.lanes(connection)
                rows = (await consents.rows_of(connection, [phone]))[phone]
                states = (await consents.states_of(connection, [phone]))[phone]
            found = await dossiers.dossier(connection, phone, prefixes_of(settings, lanes))
            proof = proof_of(phone, rows.links, rows.head_id, rows.head_hash, states, now)
            return {"number": f"+{phone}", "made_at": now, **found, "consent": proof}

    click.echo(json.dumps(msgspec.to_builtins(run(config, dsn, work)), indent=2, ensure_ascii=False))


@profile.command()
@config_option
@dsn_option
@click.argument("one", type=click.IntRange(1, 2**63 - 1))
@click.argument("other", type=click.IntRange(1, 2**63 - 1))
def merge(config: Path | None, dsn: str, one: int, other: int) -> None:
    """Make one of two persons, by their ids: their history counts as one (EV-7). It cannot be undone.

    Who has an external_id stays, then the elder; what is known of both is theirs who told it last.
    """
    if one == other:
        raise click.UsageError(f"expected two persons, found {one} twice")

    async def work(settings: Settings) -> str:
        async with open_feed(settings) as (_, connection):
            for _ in range(TRIES):
                places = [(await _places(connection, Who(), id_))[0][:2] for id_ in (one, other)]
                try:
                    async with postgres.deadline(connection, STEP_S, "merge"):
                        stays = await identities.merge(connection, places[0], places[1], datetime.now(UTC))
                except Again:
                    continue
                return f"{one} and {other} are person {stays.id}"
        raise Refused("merge: others change these persons all the time")

    click.echo(run(config, dsn, work))


@profile.command()
@config_option
@dsn_option
@click.option("--number", "numbers", multiple=True, help="Whose: every person who has it, and the number itself.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Many numbers, as CSV.")
@click.option("--id", "ids", multiple=True, type=click.IntRange(1, 2**63 - 1), help="One person.")
@click.option("--external-id", "external_ids", multiple=True, help="One person.")
@click.option("--region", metavar="CC", help="Country of numbers without their +, such as GB.")
@click.option("--reason", required=True, help="How they have asked for it; kept, so name nobody in it.")
def erase(
    config: Path | None, dsn: str, numbers: tuple[str, ...], file: Path | None, ids: tuple[int, ...],
    external_ids: tuple[str, ...], region: str | None, reason: str,
) -> None:  # fmt: skip
    """Erase people: what is known of them, what they did, wrote and were written (CN-12). It cannot be undone.

    Nobody can write to them from the first moment on, and no import brings them back: their number stays as a keyed
    hash, made with SLUICE_KEY. A person whose number others share is erased, and the number stays. If it breaks off,
    repeat it, or a worker ends it.
    """
    if not (numbers or file or ids or external_ids) or not reason.strip():
        raise click.UsageError("expected somebody to erase, and a --reason")

    async def work(settings: Settings) -> str:
        key = app.erasure_key()
        told = numbers_of(numbers, region)
        if file is not None:
            found, refused = numbers_in(file, region)
            told += found
            if refused:
                say(f"{refused:,} rows have no number")
        done = erasures.Done()
        async with open_feed(settings) as (made, connection):
            alone: dict[int, int] = {}
            for names, id_ in [*((Who(), one) for one in ids), *((Who(external_id=one), 0) for one in external_ids)]:
                for bucket, person, number in await _places(connection, names, id_):
                    if number and len(await dossiers.who(connection, Who(phone=number))) == 1:
                        told.append(number)
                    else:
                        alone[person] = bucket
            wanted = list(dict.fromkeys(told))
            if wanted and key is None:
                raise ConfigError([("SLUICE_KEY", "the key that the numbers of the erased are hashed with", "none")])
            now = datetime.now(UTC)
            if wanted and key is not None:
                async with postgres.deadline(connection, STEP_S, "enter erasures"):
                    seq = await erasures.enter(connection, wanted, key, at=now, note=f"{whoever()} {reason}")
                await made.acknowledge(seq)
            done.add(await erasures.erase_persons(connection, alone, now))
            for some in _pieces(wanted):
                assert key is not None
                done.add(await end(connection, settings, some, key, datetime.now(UTC)))
        return (
            f"{len(wanted):,} numbers and {done.persons:,} persons erased: {done.events:,} events, {done.messages:,} "
            f"messages, {done.replies:,} replies, {done.entries:,} entries of lists, {done.consents:,} rows of consent"
        )

    click.echo(run(config, dsn, work))


def _pieces(numbers: Sequence[int]) -> list[list[int]]:
    size = erasures.MOST_NUMBERS
    return [list(numbers[at : at + size]) for at in range(0, len(numbers), size)]
