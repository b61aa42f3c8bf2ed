"""`sluice brand`: lower the limits of a brand while its runs go on."""

import json
from pathlib import Path

import click

from gateway import app
from gateway.commands._control import whoever
from gateway.commands._options import config_option, dsn_option, plain, said_plainly, settings_of
from gateway.config import Settings
from gateway.gate import read_caps
from gateway.store import brands


@click.group()
def brand() -> None:
    """Who writes, `[brands.NAME]` of sluice.toml: see docs/gate.md."""


@brand.command()
@config_option
@dsn_option
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def apply(config: Path | None, dsn: str, name: str, as_json: bool) -> None:
    """Let lower limits of the settings, caps and gap, hold for the runs of NAME that go on, from their next claim on.

    A limit that was raised holds for what is enqueued from now on; nobody who was skipped is written to after all.
    """
    with said_plainly():
        settings = settings_of(config, dsn)
        found = app.run(_apply(settings, name))
        if as_json:
            click.echo(json.dumps({"runs": [{"run": one.run, "changes": one.changes} for one in found]}))
            return
        for one in found:
            click.echo(f"run {one.run} {plain(one.name)}: {'; '.join(one.changes) or 'nothing is lower'}")
        if not found:
            click.echo(f"{name}: no run of it may still send")


async def _apply(settings: Settings, name: str) -> list[brands.Lowered]:
    known = settings.brand(name)
    caps = read_caps(known.caps, f"brands.{name}.caps", [])
    async with app.open_database(settings, migrates=False) as database, database.connection() as connection:
        return await brands.lower(connection, name, caps, known.gap_s, now=app.CLOCK.wall(), by=whoever())
