"""`sluice experiment`: what is compared, what it says so far, and a person's word on it. docs/experiments.md."""

import json
import tomllib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from gateway import app
from gateway.automation import deciding
from gateway.commands import _experiment as words
from gateway.commands._control import whoever
from gateway.commands._options import Refused, config_option, dsn_option, plain, said_plainly, settings_of
from gateway.errors import ConfigError
from gateway.experiment import Experiment, problems_of
from gateway.store import experiments, migrate, postgres
from gateway.store.experiments import Kept

WAIT_S = 600.0
Result = TypeVar("Result")


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file with one experiment."""

    experiment: Experiment


@click.group()
def experiment() -> None:
    """Compare texts on real people, and know how surely one is better."""


def _run(config: Path | None, dsn: str, work: Callable[[postgres.Connection], Awaitable[Result]]) -> Result:
    """Do something with a connection; errors said plainly."""

    async def connected() -> Result:
        settings = settings_of(config, dsn)
        async with app.open_database(settings, migrates=not app.has_database(settings)) as database:
            await migrate.require(database.dsn)
            async with database.connection(WAIT_S) as connection:
                return await work(connection)

    with said_plainly():
        return app.run(connected())


async def _named(connection: postgres.Connection, name: str) -> Kept:
    kept = await experiments.named(connection, name)
    if kept is None:
        known = ", ".join(plain(one.name) for one in await experiments.all_of(connection))
        raise Refused(f"experiment {plain(repr(name))}: expected one of {known or '(there is none)'}")
    return kept


def read(path: Path) -> Experiment:
    """Read an experiment from a file of TOML or JSON.

    raises  Refused: it cannot be read; ConfigError: it means nothing, with every place
    """
    try:
        octets = path.read_bytes()
        if path.suffix == ".json":
            document: Any = msgspec.json.decode(octets)
        else:
            document = tomllib.loads(octets.decode("utf-8-sig"))
        found = msgspec.convert(document, Document).experiment
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise Refused(f"{plain(str(path))}: {plain(str(error))}") from error
    if problems := problems_of("experiment", found):
        raise ConfigError(problems)
    return found


@experiment.command()
@config_option
@dsn_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--campaign", default="", metavar="NAME", help="Whose messages are compared: their clicks and failures.")
def apply(config: Path | None, dsn: str, file: Path, campaign: str) -> None:
    """Keep the experiment of FILE, which runs from then on; who has a variant keeps it when weights change."""

    with said_plainly():
        made = read(file)

    async def work(connection: postgres.Connection) -> Kept:
        return await experiments.apply(connection, made, campaign=campaign, at=datetime.now(UTC), by=whoever())

    kept = _run(config, dsn, work)
    click.echo(f"experiment {plain(kept.name)}, version {kept.version}: {words.shares(kept.body)}")


@experiment.command("list")
@config_option
@dsn_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(config: Path | None, dsn: str, as_json: bool) -> None:
    """List the experiments, and how far each is."""

    found = _run(config, dsn, experiments.all_of)
    if as_json:
        click.echo(json.dumps([words.standing(kept) for kept in found]))
        return
    for kept in found:
        click.echo(words.standing_line(kept))


@experiment.command()
@config_option
@dsn_option
@click.argument("name")
@click.option("--attributed", type=float, metavar="MINOR", help="Attributed revenue, to be shown beside the lift.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(config: Path | None, dsn: str, name: str, attributed: float | None, as_json: bool) -> None:
    """Show what the arms of NAME say so far: intervals, who is ahead, what was gained, and what forbids a verdict."""

    async def work(connection: postgres.Connection) -> words.Shown:
        kept = await _named(connection, name)
        now = datetime.now(UTC)
        return words.shown(kept, await experiments.arms(connection, kept, now), now, attributed)

    found = _run(config, dsn, work)
    click.echo(json.dumps(words.told(found)) if as_json else "\n".join(words.lines(found)))


@experiment.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--people", type=click.IntRange(1), help="How many its audience has.")
@click.option("--per-day", type=click.FloatRange(0, min_open=True), help="How many come a day.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(file: Path, people: int | None, per_day: float | None, as_json: bool) -> None:
    """Say before it starts how many people the experiment of FILE takes, how long that is, and what it can tell."""

    with said_plainly():
        found = read(file)
    click.echo(
        json.dumps(words.planned(found, people, per_day))
        if as_json
        else "\n".join(words.plan_lines(found, people, per_day))
    )


@experiment.command()
@config_option
@dsn_option
@click.argument("name")
@click.option("--winner", required=True, metavar="VARIANT")
@click.option("--by", default="", help="Who says so; by default who runs this.")
@click.option("--why", default="", help="Why.")
def decide(config: Path | None, dsn: str, name: str, winner: str, by: str, why: str) -> None:
    """Declare a variant of NAME the winner: whoever waits gets it from now on."""

    async def work(connection: postgres.Connection) -> Kept | str:
        await _named(connection, name)
        return await deciding.declare(
            connection, name, winner, at=datetime.now(UTC), by=by or whoever(), why=why or "a person's word"
        )

    _said(_run(config, dsn, work), f"{plain(winner)} has won")


@experiment.command()
@config_option
@dsn_option
@click.argument("name")
@click.option("--by", default="", help="Who says so; by default who runs this.")
@click.option("--why", default="", help="Why.")
def stop(config: Path | None, dsn: str, name: str, by: str, why: str) -> None:
    """End NAME without a winner: nobody gets anything more by it."""

    async def work(connection: postgres.Connection) -> Kept | str:
        await _named(connection, name)
        return await deciding.end(connection, name, at=datetime.now(UTC), by=by or whoever(), why=why)

    _said(_run(config, dsn, work), "stopped")


def _said(found: Kept | str, became: str) -> None:
    if isinstance(found, str):
        raise Refused(plain(found))
    click.echo(f"experiment {plain(found.name)}: {became}")
