"""`sluice inbound`: what handsets have written, and with --follow what they write from now on."""

import contextlib
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gateway import app
from gateway.commands._options import config_option, dsn_option, plain, said_plainly, say, settings_of
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.store import events, migrate, postgres, runs
from gateway.store import inbound as handsets
from gateway.store.inbound import Message

# Without a ring for so long it looks by itself: a NOTIFY may be lost, an event may not.
LOOK_S = 1.0


@click.command()
@config_option
@dsn_option
@click.option("--carrier", default="", help="Messages that came by this one; by default by any.")
@click.option(
    "--limit", type=click.IntRange(0, 10_000), default=20, show_default=True, help="How many of the newest to show."
)
@click.option("--follow", is_flag=True, help="Go on with every message that comes, until stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def inbound(config: Path | None, dsn: str, carrier: str, limit: int, follow: bool, as_json: bool) -> None:
    """Show the messages that handsets have written, the oldest first."""
    with said_plainly():
        settings = settings_of(config, dsn)
        if not app.has_database(settings):
            say(f"no database in {settings.data_root} yet: nothing has come")
            return
        app.run(show(settings, carrier, limit, follow, as_json))


async def show(settings: Settings, carrier: str, limit: int, follow: bool, as_json: bool) -> None:
    """Print what there is, then what comes; raises StoreError, ConfigError for a carrier that never was."""
    async with app.open_database(settings, migrates=False) as database:
        await migrate.require(database.dsn)
        async with database.connection() as connection:
            names = lanes_of(await runs.lanes(connection), carrier)
            # Where to go on is read first: what comes in between is shown twice rather than not at all, and once below.
            last = {lane: await events.last(connection, lane) for lane in names}
            found: list[tuple[str, Message]] = []
            for lane, name in names.items():
                found += [(name, message) for message in await handsets.newest(connection, lane, limit)]
        found.sort(key=lambda one: (one[1].at, one[1].id))
        shown = found[-limit:] if limit else []
        for name, message in shown:
            show_one(document_of(name, message), as_json)
        if follow:
            await go_on(database, settings, carrier, last, {(name, message.id) for name, message in shown}, as_json)


async def go_on(
    database: app.Database,
    settings: Settings,
    carrier: str,
    last: dict[int, int],
    shown: set[tuple[str, int]],
    as_json: bool,
) -> None:
    """Print every message behind those events until a signal; a carrier that is new is looked for with each look."""
    deadline_s = settings.database.deadline_s
    connection = await postgres.connect(
        database.dsn, statement_timeout_s=deadline_s, allow_fsync_off=settings.database.allow_data_loss
    )
    stack = contextlib.ExitStack()
    try:
        bell = events.Bell(connection)
        stopped = False

        def stop() -> None:
            nonlocal stopped
            stopped = True
            bell.ring()

        async with postgres.deadline(connection, deadline_s, "listen"):
            await bell.hang()
        stack.enter_context(app.stop_signals(stop))
        say("following; stop with Ctrl-C")
        while not stopped:
            async with postgres.deadline(connection, deadline_s, "events"):
                for lane, name in lanes_of(await runs.lanes(connection), carrier).items():
                    while numbered := await events.after(connection, lane, last.get(lane, 0)):
                        last[lane] = numbered[-1].id
                        for one in numbered:
                            if one.kind == "inbound.received" and (name, one.body["message"]) not in shown:
                                show_one({"carrier": name, "at": one.at, "source": one.subject, **one.body}, as_json)
            shown.clear()
            await bell.wait(LOOK_S)
    finally:
        stack.close()
        await postgres.close(connection)


def lanes_of(names: dict[int, str], carrier: str) -> dict[int, str]:
    """Lanes by number, of one carrier or of all; ConfigError for one that never was."""
    if not carrier:
        return names
    found = {lane: name for lane, name in names.items() if name == carrier}
    if not found:
        raise ConfigError([("--carrier", f"one of {', '.join(sorted(names.values())) or 'none yet'}", repr(carrier))])
    return found


def document_of(name: str, message: Message) -> dict[str, Any]:
    """A message as its event has it."""
    return {
        "carrier": name,
        "at": message.at,
        "source": message.source,
        **handsets.received(message).body,
    }


def show_one(document: dict[str, Any], as_json: bool) -> None:
    """Print one message; what a stranger wrote stays on its line and does nothing to a terminal."""
    at: datetime = document["at"]
    if as_json:
        click.echo(json.dumps({**document, "at": at.isoformat()}))
        return
    remarks = said_of(document["parts"], document["missing"], document["is_lossy"])
    click.echo(
        f"{at:%Y-%m-%d %H:%M:%S}  {plain(document['carrier'])}  {plain(document['source'])} > "
        f"{plain(document['destination'])}  {plain(document['text'])}{remarks}"
    )


def said_of(parts: int, missing: Sequence[int], is_lossy: bool) -> str:
    """What a reader should know of a text that is not all there."""
    remarks = []
    if missing:
        remarks.append(f"parts {', '.join(map(str, missing))} of {parts} never came")
    if is_lossy:
        remarks.append("not all of it could be read")
    return f"  ({'; '.join(remarks)})" if remarks else ""
