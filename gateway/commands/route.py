"""`sluice route`: which carrier would take a message, and why; nothing is sent."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from gateway import app
from gateway.commands._options import config_option, dsn_option, plain, said_plainly, say, settings_of
from gateway.config import Settings
from gateway.dispatch.identity import is_dead
from gateway.dispatch.route import health_of, table_of
from gateway.errors import ConfigError, StoreError
from gateway.message import MessageClass
from gateway.routing import NUMBER_DIGITS, Decision, Standing, decide
from gateway.store import migrate, runs


class Number(click.ParamType["int"]):
    """An E.164 number, with or without its +."""

    name = "number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Refuse what is no number."""
        digits = str(value).removeprefix("+").replace(" ", "")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= NUMBER_DIGITS and digits[0] != "0"):
            self.fail(f"expected an international number such as +447700900123, found {value!r}", param, ctx)
        return int(digits)


@click.command()
@config_option
@dsn_option
@click.argument("number", type=Number())
@click.option(
    "--class", "class_", type=click.Choice([c.name.lower() for c in MessageClass]), default="bulk", show_default=True
)
@click.option("--sender", default="", help="From whom; by default as [senders] says.")
@click.option("--at", type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]), help="Moment, in UTC; by default now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def route(
    config: Path | None, dsn: str, number: int, class_: str, sender: str, at: datetime | None, as_json: bool
) -> None:
    """Print the carrier that would take a message to NUMBER, and of every route and carrier why or why not.

    How the carriers stand is read from the workers' reports, if there is a database; else all count as up, and it says
    so. Exit code: 0 a carrier takes it, 1 nobody does, 78 a setting is wrong.
    """
    with said_plainly():
        settings = settings_of(config, dsn)
        if not settings.carriers:
            raise ConfigError([("carriers", "at least one [carriers.NAME] section", "none")])
        table = table_of(settings)
        health = _health(settings)
    moment = at.replace(tzinfo=UTC) if at is not None else datetime.now(UTC)
    decision = decide(number, MessageClass[class_.upper()], sender, moment, health or {}, table)
    if as_json:
        click.echo(json.dumps({**msgspec.to_builtins(decision), "health_is_known": health is not None}))
    else:
        show(decision, settings.carriers[decision.carrier].source if decision.carrier else "")
    if not decision.carrier:
        raise SystemExit(1)


def _health(settings: Settings) -> dict[str, Standing] | None:
    """How the carriers stand; None, and said, where nobody can tell."""
    if not app.has_database(settings):
        say("no database yet: how the carriers stand is not known, all count as up")
        return None
    try:
        return app.run(_look(settings))
    except StoreError as error:
        say(f"postgres: {error}: how the carriers stand is not known, all count as up")
        return None


async def _look(settings: Settings) -> dict[str, Standing]:
    async with app.open_database(settings, migrates=False) as database:
        if any(name.startswith("0001_") for name in await migrate.pending(database.dsn)):
            raise StoreError("the database has no tables yet")
        async with database.connection() as connection:
            now, us = datetime.now(UTC), app.identity()
            living = [worker for worker in await runs.workers(connection) if not is_dead(worker, us, now)]
            return health_of(living)


def show(decision: Decision, own: str = "") -> None:
    """Print it for a person; `own` is the carrier's sender, which is used where nobody says another."""
    network = f", network {decision.network}" if decision.network else ""
    click.echo(f"number    +{decision.number}: {decision.country or 'country not known'}{network}")
    click.echo(f"carrier   {decision.carrier or 'none: no route takes it'}")
    if decision.fallback:
        click.echo(f"then      {', '.join(decision.fallback)}")
    source = plain(decision.source or own) or "(whom the carrier puts there)"
    click.echo(f"sender    {source}: {plain(decision.source_why)}")
    for one in decision.considered:
        mark = "*" if one.is_chosen else " "
        click.echo(f"  {mark} {plain(one.route)}{': ' + one.carrier if one.carrier else ''}: {plain(one.why)}")
