"""`sluice stop`: nobody writes to a number any more, and when this says so it is so on every node."""

import time
from pathlib import Path

import click

from gateway.commands._control import run, whoever
from gateway.commands._options import config_option, dsn_option, say
from gateway.commands._stops import numbers_in, numbers_of, open_feed, shown
from gateway.config import Settings
from gateway.store import stops
from gateway.suppression import BY_PERSON


@click.command()
@config_option
@dsn_option
@click.argument("numbers", nargs=-1)
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Many numbers, as CSV.")
@click.option("--sender", default="", help="Of this sender alone; by default of every one.")
@click.option("--region", metavar="CC", help="Country of numbers without their +, such as GB.")
@click.option("--source", type=click.Choice(BY_PERSON), help="Why; each has its own way out (docs/stops.md).")
@click.option("--note", default="", help="Kept with it.")
@click.option("--check", is_flag=True, help="Only show how the numbers stand.")
@click.option("--list", "lists", type=click.IntRange(1, 100_000), help="Only show the newest so many entries.")
def stop(
    config: Path | None,
    dsn: str,
    numbers: tuple[str, ...],
    file: Path | None,
    sender: str,
    region: str | None,
    source: str | None,
    note: str,
    check: bool,
    lists: int | None,
) -> None:
    """Write to NUMBERS no more: nothing transactional, triggered or bulk; codes and replies go on.

    Ends when no worker can write to them, on whatever node. It holds for good, whatever is imported later.
    """
    if sum([bool(numbers), file is not None, lists is not None]) != 1 or (check and not numbers):
        raise click.UsageError("expected numbers, or --file, or --list")

    async def work(settings: Settings) -> list[str]:
        wanted, refused = (numbers_of(numbers, region), 0) if file is None else numbers_in(file, region)
        async with open_feed(settings) as (made, connection):
            if lists is not None:
                return [shown(one) for one in await stops.newest(connection, lists)]
            if check:
                found = await stops.standing(connection, wanted)
                free = set(wanted) - {one.number for one in found}
                return [shown(one) for one in found] + [f"+{one} never stopped" for one in sorted(free)]
            if refused:
                say(f"{refused:,} rows have no number that can be stopped")
            if not wanted:
                return ["nobody is stopped"]
            began = time.monotonic()
            why = source or ("command" if file is None else "import")
            done = await made.stop(wanted, stops.scope_of(sender), why, " ".join(filter(None, (whoever(), note))))
            ms = (time.monotonic() - began) * 1000
            text = f"{len(wanted):,} stopped, entry {done.seq}, in {ms:,.0f} ms"
            text += f"; confirmed by {len(done.confirmed_by)} workers" if done.confirmed_by else "; no worker sends"
            text += f"; gone without a word: {', '.join(done.gone)}" if done.gone else ""
            return [text + (f"; fenced, since they did not: {', '.join(done.fenced)}" if done.fenced else "")]

    for line in run(config, dsn, work):
        click.echo(line)
