"""`sluice list`: put numbers into a static list by hand or take them out, and say how they came there."""

import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.commands._control import open_orders, run, whoever
from gateway.commands._options import Refused, config_option, dsn_option, plain, say
from gateway.commands._stops import numbers_in, numbers_of, open_door
from gateway.config import Settings
from gateway.store import lists, people, postgres

WORK_S = 600.0
_region_option = click.option("--region", metavar="CC", help="Country of numbers without their +, such as GB.")


@click.group()
def list() -> None:
    """Change a static list, and look at it. Files are imported by `sluice contacts import`."""


def _numbers_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        [
            click.argument("name"),
            click.argument("numbers", nargs=-1),
            click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="A file of numbers too."),
            click.option("--source", help="Why; who does it where nothing is said."),
            _region_option,
        ]
    ):
        command = option(command)
    return config_option(dsn_option(command))


def _told(numbers: tuple[str, ...], file: Path | None, region: str | None) -> tuple[set[int], int]:
    found, refused = numbers_in(file, region) if file is not None else ([], 0)
    told = {*numbers_of(numbers, region), *found}
    if not told:
        raise Refused("list: expected a number, or a file of some, found none")
    return told, refused


@list.command()
@_numbers_options
def add(
    name: str,
    numbers: tuple[str, ...],
    file: Path | None,
    source: str | None,
    region: str | None,
    config: Path | None,
    dsn: str,
) -> None:
    """Put NUMBERS into the list NAME, which is made where there is none. Who is in it already stays as they are."""
    if people.is_of_file(name):
        raise Refused(f"list: expected a name that does not end like those of files, found {name!r}")
    _change(name, numbers, file, source, region, config, dsn, is_in=True)


@list.command()
@_numbers_options
def remove(
    name: str,
    numbers: tuple[str, ...],
    file: Path | None,
    source: str | None,
    region: str | None,
    config: Path | None,
    dsn: str,
) -> None:
    """Take NUMBERS out of the list NAME."""
    _change(name, numbers, file, source, region, config, dsn, is_in=False)


def _change(
    name: str,
    numbers: tuple[str, ...],
    file: Path | None,
    source: str | None,
    region: str | None,
    config: Path | None,
    dsn: str,
    *,
    is_in: bool,
) -> None:
    async def work(settings: Settings) -> tuple[int, int, int]:
        told, refused = _told(numbers, file, region)
        now = datetime.now(UTC)
        async with open_orders(settings) as (connection, _), postgres.deadline(connection, WORK_S, "list"):
            gone = (await open_door(connection)).among(told) if is_in else set()
            if gone:
                say(f"{len(gone):,} numbers were erased: they are left out")
            await people.lock_list(connection, name)
            found = await people.find_list(connection, name)
            if found is None and is_in:
                found = await people.open_list(
                    connection, name, source_name="by hand", source_sha256=b"", fields=[], now=now
                )
                await people.finish_list(connection, found.id, now)
            if found is None:
                raise Refused(f"list: expected one that there is, found {name!r}")
            change = lists.add if is_in else lists.remove
            changed = await change(connection, found.id, told - gone, source or whoever(), now, random.Random())
        return changed, len(told - gone), refused

    changed, told, refused = run(config, dsn, work)
    verb, rest = ("added to", "were in it") if is_in else ("removed from", "were not in it")
    click.echo(f"{changed:,} {verb} {name!r}, {told - changed:,} {rest}")
    if refused:
        click.echo(f"{refused:,} rows have no number", err=True)
        sys.exit(1)


@list.command()
@click.argument("name")
@click.argument("number", required=False)
@_region_option
@config_option
@dsn_option
def show(name: str, number: str | None, region: str | None, config: Path | None, dsn: str) -> None:
    """Say how large the list NAME is and by what it changed; with NUMBER whether that one is in it, and since when."""

    async def work(settings: Settings) -> Any:
        wanted = numbers_of([number], region)[0] if number is not None else None
        async with open_orders(settings) as (connection, _), postgres.deadline(connection, WORK_S, "list"):
            found = await people.find_list(connection, name)
            if found is None:
                raise Refused(f"list: expected one that there is, found {name!r}")
            if wanted is None:
                return found, await lists.sources(connection, found.id)
            changes = await lists.changes(connection, found.id, wanted)
            return wanted, await lists.has(connection, found.id, wanted), changes

    found = run(config, dsn, work)
    if number is None:
        made, sources = found
        click.echo(f"list {name!r}: {made.entries:,} numbers, {made.state}, from {plain(made.source_name)}")
        for one in sources:
            click.echo(f"{one.n:,} {'in' if one.is_in else 'out'} by {plain(one.source)}, last {_when(one.at)}")
        return
    wanted, is_in, changes = found
    click.echo(f"+{wanted} is {'' if is_in else 'not '}in {name!r}")
    for change in changes:
        click.echo(f"{_when(change.at)} {'in' if change.is_in else 'out'} by {plain(change.source)}")


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
