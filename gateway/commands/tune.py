"""`sluice tune`: settings of a running carrier, on every worker at once, taken back when they make it worse."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway import app
from gateway.commands._control import obeyed, open_orders, whoever
from gateway.commands._options import config_option, dsn_option, plain, said_plainly, say, settings_of
from gateway.config import LIVE, CarrierSettings, Settings, tuned
from gateway.errors import GatewayError
from gateway.store import control
from gateway.store.control import State

_WORDS = {"on": True, "true": True, "off": False, "false": False}


def value_of(text: str) -> Any:
    """Read a value as it is written in a terminal: a number, on or off, or a text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return msgspec.json.decode(text.encode(), type=int | float)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


def changes_of(arguments: Sequence[str]) -> dict[str, Any]:
    """Read `tps=500 window=50`; UsageError for what has another form or comes twice."""
    changes: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not name or name in changes:
            raise click.UsageError(f"expected NAME=VALUE, each name once, such as tps=500, found {argument!r}")
        changes[name] = value_of(text)
    return changes


def in_force(settings: Settings, name: str, state: State) -> dict[str, dict[str, Any]]:
    """Every setting that can be tuned: its value, and where that comes from."""
    carrier = settings.carrier(name)
    found: dict[str, dict[str, Any]] = {}
    for field in LIVE:
        origin = settings.origins.get(name, {}).get(field, "default")
        found[field] = {
            "value": getattr(carrier, field),
            "from": origin if origin == "default" else f"settings: {origin}",
        }
    for each in state.tuned:
        if each.carrier == name and each.value is not None and each.setting in found:
            word = "rollback" if each.action == "rollback" else "order"
            whence = f"{word} {each.id} by {each.by}, {each.at:%Y-%m-%d %H:%M:%S} UTC"
            found[each.setting] = {"value": each.value, "from": whence + (f": {each.reason}" if each.reason else "")}
        elif each.carrier == name and each.action == "rollback" and each.setting in found:
            found[each.setting]["from"] += f" (rollback {each.id}, {each.at:%Y-%m-%d %H:%M:%S} UTC: {each.reason})"
    return found


@click.command()
@config_option
@dsn_option
@click.argument("carrier")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--keep", is_flag=True, help="Do not take it back, whatever comes of it.")
@click.option("--reset", is_flag=True, help="Go by the settings again.")
@click.option("--reason", default="", help="Kept with the order.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def tune(
    config: Path | None,
    dsn: str,
    carrier: str,
    values: tuple[str, ...],
    keep: bool,
    reset: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Change settings of a running CARRIER (tps=500 window=50 adaptive=off); without any show what is in force.

    Every worker takes them at once, and those that start later too. For a minute workers compare what the carrier
    answers with the ten seconds before: when errors or response times rise, the change is taken back.
    """
    changes = changes_of(values)
    if reset and (changes or keep):
        raise click.UsageError("--reset takes neither values nor --keep")
    with said_plainly():
        settings = settings_of(config, dsn)
        settings.carrier(carrier)
        document = app.run(change(settings, carrier, changes, keep, reset, reason))
    if as_json:
        click.echo(json.dumps(document))
        return
    for name, one in document["settings"].items():
        if not changes or name in changes:
            click.echo(f"{name} = {json.dumps(one['value'])}   {plain(one['from'])}")
    if document["obeyed"]:
        say(document["obeyed"])


async def change(
    settings: Settings, name: str, changes: Mapping[str, Any], keep: bool, reset: bool, reason: str
) -> dict[str, Any]:
    """Give the order, if there is one to give; -> what is in force then."""
    own: CarrierSettings = settings.carrier(name)
    if changes:
        tuned(name, own, changes)  # what is wrong by itself is said without a database
    async with open_orders(settings) as (connection, state):
        ids: list[int] = []
        how_far = ""
        if reset:
            fields = {each.setting for each in state.tuned if each.carrier == name and each.value is not None}
            if not fields:
                raise GatewayError(f"carrier {name}: nothing is tuned, expected an order to take back")
            action, value = "reset", dict.fromkeys(sorted(fields))
        else:
            action, value = "tune", dict(changes)
            tuned(name, own, {**state.overlay(name), **changes})
        if value:
            ids = await control.give(
                connection, action, "carrier", [name], at=datetime.now(UTC), by=whoever(), reason=reason, value=value,
                is_kept=keep,
            )  # fmt: skip
            how_far = await obeyed(connection, ids)
            state = await control.state(connection, datetime.now(UTC))
        return {"carrier": name, "order": ids[0] if ids else None, "obeyed": how_far,
                "settings": in_force(settings, name, state)}  # fmt: skip
