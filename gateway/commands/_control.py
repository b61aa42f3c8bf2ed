"""What the commands of operators share: reaching the orders, giving one, and seeing that every worker obeys it.

Not here: what an order does (gateway.dispatch.control), how it is kept (gateway.store.control).
"""

import asyncio
import contextlib
import getpass
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from gateway import app
from gateway.commands._options import plain, said_plainly, say, settings_of
from gateway.config import Settings
from gateway.countries import countries
from gateway.dispatch.identity import is_dead
from gateway.errors import GatewayError, StoreError
from gateway.store import control, migrate, postgres, rates, runs, standing
from gateway.store.control import Order

SCOPES = ("carrier", "campaign", "country", "sender")
EVERY = "all"
# Every worker obeys within a second and says so soon; longer than that is worth a word.
OBEYED_S = 3.0
LOOK_S = 0.05
_AFTER_FAILOVER = (
    "look at the carrier's figures, enter the STOPs of that time again, and then, while a worker runs, "
    "`sluice resume --after-failover`"
)
_FULL = "make room where Postgres is, or lower database.min_free_mb"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Span(click.ParamType["timedelta"]):
    """A length of time with its unit: 90s, 10m, 2h, 1d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Refuse what has no unit or is nothing."""
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d{1,6})([smhd])", value, re.ASCII)
        seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0
        if not 0 < seconds <= 3650 * 86400:
            self.fail(f"expected a time such as 90s, 10m, 2h or 1d, found {value!r}", param, ctx)
        return timedelta(seconds=seconds)


def whoever() -> str:
    """Name who gives an order: the user and the machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


@contextlib.asynccontextmanager
async def open_orders(settings: Settings) -> AsyncIterator[tuple[postgres.Connection, control.State]]:
    """Reach the database where it is, and read what is in force; StoreError when there are no orders to be had."""
    if not app.has_database(settings):
        raise StoreError(f"no database in {settings.data_root} yet: nothing was sent from here")
    async with app.open_database(settings, migrates=False) as database:
        await migrate.require(database.dsn)
        async with database.connection() as connection:
            yield connection, await control.state(connection, datetime.now(UTC))


async def living(connection: postgres.Connection) -> list[runs.Worker]:
    """The workers that are not known to be gone."""
    now, us = datetime.now(UTC), app.identity()
    return [worker for worker in await runs.workers(connection) if not is_dead(worker, us, now)]


async def obeyed(connection: postgres.Connection, ids: Sequence[int], patience_s: float = OBEYED_S) -> str:
    """Wait until every living worker reports these orders as what it goes by; -> in words how far that went."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while True:
        workers = await living(connection)
        behind = [
            worker.instance
            for worker in workers
            if not set(ids) <= set(json.loads(worker.report).get("control", {}).get("orders", []))
        ]
        if not workers:
            return "no worker runs: those that start will obey"
        if not behind:
            return f"obeyed by {len(workers)} worker{'s' if len(workers) > 1 else ''}"
        if loop.time() >= deadline:
            return f"not obeyed yet by {', '.join(behind)}"
        await asyncio.sleep(LOOK_S)


def said(order: Order) -> str:
    """An order as a person reads it."""
    verb = {"pause": "paused", "drain": "drained", "resume": "goes on"}[order.action]
    text = f"{order.scope} {plain(order.key)}: {verb} since {order.at:%Y-%m-%d %H:%M:%S} UTC by {plain(order.by)}"
    if order.until is not None:
        text += f", until {order.until:%Y-%m-%d %H:%M:%S} UTC"
    return text + (f": {plain(order.reason)}" if order.reason else "")


async def keys_of(connection: postgres.Connection, settings: Settings, scope: str, key: str) -> list[str]:
    """Find what is meant; GatewayError when there is no such thing, with what there is."""
    if scope == "carrier":
        names = sorted({*settings.carriers, *(await runs.lanes(connection)).values()})
        if key in names:
            return [key]
        if key == EVERY and names:
            return names
        raise GatewayError(f"carrier {key!r}: expected one of {', '.join(names) or '(there is none)'}")
    if scope == "campaign":
        if await control.runs_of(connection, [key]):
            return [key]
        campaign, _, name = key.rpartition("@")
        if name in settings.carriers and await control.runs_of(connection, [campaign]):
            return [key]
        newest = [f"{run.name!r} ({run.id})" for run in await runs.recent_runs(connection, 5)]
        raise GatewayError(
            f"campaign {key!r}: expected the name of a campaign or the number of a run, the newest are "
            f"{', '.join(newest) or '(there is none)'}"
        )
    if scope == "country":
        if key.upper() in countries():
            return [key.upper()]
        raise GatewayError(f"country {key!r}: expected the two letters of a country, such as DE")
    senders = {carrier.source for carrier in settings.carriers.values()}
    for sender in settings.senders.values():
        senders |= {sender.alphanumeric, sender.short_code, sender.number}
    if key in senders or (key and await control.sender_waits(connection, key)):
        return [key]
    raise GatewayError(
        f"sender {key!r}: no message of it waits, and no settings name it; "
        f"expected one of {', '.join(sorted(senders - {''})) or '(there is none)'}"
    )


async def stand(
    settings: Settings, action: str, scope: str, key: str, length: timedelta | None = None, reason: str = ""
) -> list[str]:
    """Give an order to stop or to go on; -> a line for each, and how far it is obeyed."""
    async with open_orders(settings) as (connection, state):
        standing = state.standing(scope)
        if action != "resume":
            keys = await keys_of(connection, settings, scope, key)
        elif scope == "carrier" and key == EVERY and standing:
            keys = sorted(standing)
        else:
            keys = [each for each in (key, key.upper() if scope == "country" else key) if each in standing][:1]
            # A ramp that holds goes on by the same word.
            held = await rates.tell(connection, await control.runs_of(connection, [key])) if scope == "campaign" else []
            if held and not keys:
                return [f"run {run}: its ramp goes on" for run in held] + ["who steers it hears of it within a second"]
            if not keys:
                paused = ", ".join(sorted(standing)) or "nothing"
                raise GatewayError(f"{scope} {key!r}: expected what is paused or drained, which is {paused}")
        now = datetime.now(UTC)
        ids = await control.give(
            connection, action, scope, keys, at=now, by=whoever(), until=now + length if length else None, reason=reason
        )
        how_far = await obeyed(connection, ids)
        after = await control.state(connection, datetime.now(UTC))
        lines = [said(order) for order in after.orders if order.id in ids]
        return [*lines, how_far]


async def accept(settings: Settings, scope: str, reason: str) -> list[str]:
    """Say that sending goes on after a failover, or that the clock is right; -> a line, and how far it is obeyed.

    raises  GatewayError: no worker that lives waits for it
    """
    async with open_orders(settings) as (connection, _):
        told = [json.loads(worker.report).get("guards", {}).get("alarms", {}) for worker in await living(connection)]
        alarm = "hold" if scope == "failover" else "clock"
        waits = [one[alarm] for one in told if alarm in one]
        if not waits:
            held = "is in a recovery hold" if scope == "failover" else "distrusts its clock"
            raise GatewayError(f"expected a worker that {held}, found none among {len(told)}")
        key = (await standing.read(connection)).key if scope == "failover" else "wall"
        now = datetime.now(UTC)
        ids = await control.give(connection, "resume", scope, [key], at=now, by=whoever(), until=None, reason=reason)
        return [f"{scope}: goes on: {plain(waits[0])}", await obeyed(connection, ids)]


async def check_holds(settings: Settings, database: app.Database) -> None:
    """Refuse to put in more where nothing of it would leave: for a recovery hold, or a disk that is full.

    By what was acknowledged to a worker of this data root before, and by what the workers say that live.
    raises  StoreError
    """
    database.check_room()
    history = app.surroundings(settings, database.dsn).history
    async with database.connection() as connection:
        found = await standing.read(connection)
        if history is not None:
            await history.look(connection, found)
            orders = (await control.state(connection, datetime.now(UTC))).orders
            if history.hold is not None and not history.ends_by(orders):
                raise StoreError(
                    f"recovery hold: {history.hold.reason}; nothing was enqueued: {_AFTER_FAILOVER}", retryable=True
                )
        for worker in await living(connection):
            alarms = json.loads(worker.report).get("guards", {}).get("alarms", {})
            for alarm, remedy in (("hold", _AFTER_FAILOVER), ("disk", _FULL)):
                if alarm in alarms:
                    told = f"{worker.instance}: {plain(alarms[alarm])}"
                    raise StoreError(f"{told}; nothing was enqueued: {remedy}", retryable=True)


def run(config: Path | None, dsn: str, make: Callable[[Settings], Any]) -> Any:
    """Load the settings and run what `make` makes of them, errors said plainly."""
    with said_plainly():
        return app.run(make(settings_of(config, dsn)))


def sure_of(key: str, is_sure: bool, verb: str) -> None:
    """Refuse to stop every carrier at once without a second word."""
    if key == EVERY and not is_sure:
        raise click.UsageError(f"{verb} carrier {EVERY} stops everything: say --yes as well")


def tell(lines: Sequence[str]) -> None:
    """Print orders; how far they are obeyed goes to standard error."""
    for line in lines[:-1]:
        click.echo(line)
    say(lines[-1])
