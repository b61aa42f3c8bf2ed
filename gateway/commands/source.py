"""`sluice source`: queries of somebody else's Postgres whose answers are lists, asked by roles that can only read."""

import os
import random
import secrets
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.commands._control import run
from gateway.commands._options import Refused, config_option, dsn_option, plain, say
from gateway.commands._stops import open_door, open_feed
from gateway.config import Settings
from gateway.contacts.numbers import Numbers
from gateway.errors import SourceFault
from gateway.secret import key_of, seal, unseal
from gateway.store import people, postgres, profiles, sources
from gateway.store.sources import Source

WAIT_S = 1200.0


@click.group()
def source() -> None:
    """Let queries of another Postgres be lists."""


@source.command()
@config_option
@dsn_option
@click.argument("name")
@click.option("--of", "of", envvar="SLUICE_SOURCE_DSN", required=True, help="The other Postgres ($SLUICE_SOURCE_DSN).")
@click.option("--query", required=True, help="Rows with external_id or phone; other columns go with the entry.")
@click.option("--region", default="", metavar="GB", help="Country of numbers written without +.")
@click.option("--most-rows", type=click.IntRange(1, 5_000_000), default=1_000_000, show_default=True)
@click.option("--timeout-s", type=click.IntRange(1, 3600), default=60, show_default=True)
def add(
    config: Path | None, dsn: str, name: str, of: str, query: str, region: str, most_rows: int, timeout_s: int
) -> None:
    """Keep a query under NAME; its list has the same name. The query is tried, and its role looked at, first."""
    if people.is_of_file(name) or not name.strip() or "\0" in name:
        raise click.UsageError(f"NAME: expected the name of a list of yours, found {name!r}")
    if region:
        Numbers(region)

    async def work(settings: Settings) -> str:
        now = datetime.now(UTC)
        sealed = seal(of, key_of(os.environ), secrets.token_bytes(12))
        async with open_feed(settings) as (_, connection):
            async with postgres.deadline(connection, WAIT_S, "source"):
                answer = await _asked(of, query, most_rows, timeout_s)
                if any(one.name == name for one in await sources.all_of(connection)):
                    raise Refused(f"{plain(name)}: expected a name that no source has")
                if await people.find_list(connection, name) is not None:
                    raise Refused(f"{plain(name)}: expected a name that no list has")
                made = await people.open_list(
                    connection, name, source_name="sql", source_sha256=b"", fields=[], now=now
                )
                kept = Source(
                    name=name, dsn=sealed, query=query, region=region, most_rows=most_rows, timeout_s=timeout_s,
                    list=made.id, at=now,
                )  # fmt: skip
                await sources.add(connection, kept)
        return f"{plain(name)}: {len(answer.rows):,} rows by {answer.key}; sluice source run {plain(name)} takes them"

    click.echo(run(config, dsn, work))


async def _asked(of: str, text: str, most_rows: int, timeout_s: int) -> sources.Answer:
    try:
        return await sources.ask(of, text, most_rows=most_rows, timeout_s=timeout_s)
    except SourceFault as error:
        raise Refused(f"{error.fault}: {plain(str(error))}") from None


@source.command("run")
@config_option
@dsn_option
@click.argument("name")
def run_(config: Path | None, dsn: str, name: str) -> None:
    """Ask the query of NAME, and let its list be the answer; who came and who went is written down."""

    async def work(settings: Settings) -> str:
        async with open_feed(settings) as (_, connection):
            async with postgres.deadline(connection, WAIT_S, "source"):
                found = [one for one in await sources.all_of(connection) if one.name == name]
                if not found:
                    raise Refused(f"{plain(name)}: expected a source, found none of that name")
                one = found[0]
                of = unseal(one.dsn, key_of(os.environ), f"source {name}")
                answer = await _asked(of, one.query, one.most_rows, one.timeout_s)
                rows, unknown = await _numbered(connection, one, answer)
                gone = (await open_door(connection)).among(rows)
                rows = {number: told for number, told in rows.items() if number not in gone}
                now = datetime.now(UTC)
                try:
                    done = await sources.apply(connection, one, rows, now, profiles.first_id(now, random.Random()))
                except SourceFault as error:
                    raise Refused(f"{error.fault}: {plain(str(error))}") from None
        if unknown:
            say(f"{unknown:,} customers are not known here, or have no number")
        return f"{plain(name)}: {done.rows:,} in the list, {done.entered:,} entered, {done.left:,} left"

    click.echo(run(config, dsn, work))


async def _numbered(
    connection: postgres.Connection, one: Source, answer: sources.Answer
) -> tuple[dict[int, dict[str, object]], int]:
    """Rows by number, and how many have none; Refused where a number is none."""
    if answer.key == "external_id":
        numbers = await sources.numbers_of(connection, list(answer.rows))
    else:
        read = Numbers(one.region or None)
        verdicts = {written: read.read(written) for written in answer.rows}
        wrong = [f"{plain(written)}: {each.fault}" for written, each in verdicts.items() if not each.number]
        if wrong:
            more = f" and {len(wrong) - 5:,} more" if len(wrong) > 5 else ""
            raise Refused(f"number: expected phone numbers, found {'; '.join(wrong[:5])}{more}")
        numbers = {written: each.number for written, each in verdicts.items()}
    rows = {numbers[name]: dict(told) for name, told in answer.rows.items() if name in numbers}
    if answer.key == "phone" and len(rows) < len(answer.rows) and not sources.has_order(one.query):
        raise Refused("duplicate_key: expected each number once, or an ORDER BY, found one written in two ways")
    return rows, len(answer.rows) - len(numbers)


@source.command("list")
@config_option
@dsn_option
def list_(config: Path | None, dsn: str) -> None:
    """Show the sources; where they ask is not shown."""

    async def work(settings: Settings) -> list[str]:
        async with open_feed(settings) as (_, connection), postgres.deadline(connection, WAIT_S, "source"):
            return [
                f"{plain(one.name)}: ran {'never' if one.ran_at is None else f'{one.ran_at:%Y-%m-%d %H:%M} UTC'}; "
                f"{plain(one.query)}"
                for one in await sources.all_of(connection)
            ]

    for line in run(config, dsn, work):
        click.echo(line)


@source.command()
@config_option
@dsn_option
@click.argument("name")
def remove(config: Path | None, dsn: str, name: str) -> None:
    """Forget the source NAME; its list stays as it is."""

    async def work(settings: Settings) -> bool:
        async with open_feed(settings) as (_, connection), postgres.deadline(connection, WAIT_S, "source"):
            return await sources.drop(connection, name)

    if not run(config, dsn, work):
        raise Refused(f"{plain(name)}: expected a source, found none of that name")
