"""`sluice start`: a number may be written to again, since its owner has said so."""

from pathlib import Path

import click

from gateway.commands._control import run, whoever
from gateway.commands._options import config_option, dsn_option, say
from gateway.commands._stops import numbers_of, open_feed
from gateway.config import Settings
from gateway.store import stops
from gateway.suppression import KINDS


@click.command()
@config_option
@dsn_option
@click.argument("numbers", nargs=-1, required=True)
@click.option("--sender", default="", help="Of this sender alone; by default what was stopped for every one.")
@click.option("--region", metavar="CC", help="Country of numbers without their +, such as GB.")
@click.option("--reason", required=True, help="How they have asked for it; kept as the proof.")
def start(
    config: Path | None, dsn: str, numbers: tuple[str, ...], sender: str, region: str | None, reason: str
) -> None:
    """Lift the STOP of NUMBERS. A STOP of everything and one of a sender are lifted each by itself."""
    if not reason.strip():
        raise click.UsageError("expected a --reason: how they have asked for it")

    async def work(settings: Settings) -> str:
        wanted = numbers_of(numbers, region)
        scope = stops.scope_of(sender)
        async with open_feed(settings) as (made, connection):
            standing = await stops.standing(connection, wanted)
            kept = {
                number
                for number, why in (await stops.reasons(connection, wanted)).items()
                if not all(KINDS[source].by_person for source in why if source in KINDS)
            }
            if kept:
                say(f"{len(kept):,} have asked to be forgotten: no command lifts that")
            free = [one for one in standing if one.is_stop and one.number not in kept]
            seq, lifted = 0, set[int]()
            for each in (scope, stops.PROMOTIONAL) if scope == stops.EVERYTHING else (scope,):
                if some := [one.number for one in free if one.scope == each]:
                    seq = await made.start(some, each, "command", f"{whoever()} {reason}")
                    lifted.update(some)
            if not lifted:
                return "none of them is stopped there"
            return f"{len(lifted):,} may be written to again, entry {seq}"

    click.echo(run(config, dsn, work))
