"""`sluice goal`: what campaigns are for, and from which message on (GL-1, GL-6)."""

import asyncio
import json
import tomllib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway import app
from gateway.campaign import attribution
from gateway.commands._options import Refused, config_option, dsn_option, plain, said_plainly, settings_of
from gateway.errors import AudienceFault
from gateway.goal import Goal, read_goals
from gateway.routing import Problem
from gateway.store import conversions, migrate, postgres

Result = TypeVar("Result")
PATIENCE_S = 600.0


@click.group()
def goal() -> None:
    """Say what a campaign is for: docs/numbers.md."""


def _run(config: Path | None, dsn: str, work: Callable[[postgres.Connection], Awaitable[Result]]) -> Result:
    async def connected() -> Result:
        settings = settings_of(config, dsn)
        async with app.open_database(settings, migrates=not app.has_database(settings)) as database:
            await migrate.require(database.dsn)
            async with database.connection(PATIENCE_S) as connection:
                return await work(connection)

    with said_plainly():
        return asyncio.run(connected())


def _fault(event: str, where: str) -> str:
    try:
        attribution.where_of(Goal(event=event, where=where))
    except AudienceFault as error:
        return str(error)
    return ""


def read_file(path: Path) -> tuple[Goal, ...]:
    """Read the goals of a file, [[goal]] each; Refused with every problem."""
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{path}: expected TOML in UTF-8, found {error}") from error
    problems: list[Problem] = [(str(key), "[[goal]] alone", "an unknown key") for key in document if key != "goal"]
    goals = read_goals(document.get("goal", []), "goal", problems, _fault)
    if problems:
        told = "\n".join(f"{key}: expected {expected}, found {found}" for key, expected, found in problems)
        raise Refused(f"{path}:\n{told}")
    return goals


@goal.command(name="set")
@click.argument("campaign")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--recompute", is_flag=True, help="For the messages that were sent already, too: what was reported changes."
)
@config_option
@dsn_option
def set_(campaign: str, file: Path, recompute: bool, config: Path | None, dsn: str) -> None:
    """Let CAMPAIGN have the goals of FILE, for the messages that are sent from now on; the first is the primary one."""
    goals = read_file(file)

    async def work(connection: postgres.Connection) -> int:
        wanted = [(one, attribution.where_of(one)) for one in goals]
        return await conversions.declare(connection, campaign, wanted, datetime.now(UTC), is_retroactive=recompute)

    changed = _run(config, dsn, work)
    since = "for all of its messages: the next report counts them anew" if recompute else "for messages from now on"
    click.echo(f"{plain(campaign)}: {len(goals)} goals, {changed} of them new or changed, {since}")


@goal.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@config_option
@dsn_option
def list_(as_json: bool, config: Path | None, dsn: str) -> None:
    """Name the goals of all campaigns, and since when they hold."""
    for one in _run(config, dsn, conversions.goals):
        told = {
            "campaign": one.campaign,
            "place": one.place,
            "goal": one.goal.title,
            "within": one.goal.within,
            "starts": one.goal.starts,
            "since": one.since.isoformat(),
            "until": None if one.until is None else one.until.isoformat(),
        }
        if as_json:
            click.echo(json.dumps(told, ensure_ascii=False))
        else:
            ended = "" if one.until is None else f", until {one.until:%Y-%m-%d %H:%M}"
            click.echo(
                f"{plain(one.campaign)}\t{one.place}\t{plain(one.goal.title)}\t"
                f"within {one.goal.within} of {one.goal.starts}\tsince {one.since:%Y-%m-%d %H:%M}{ended}"
            )
