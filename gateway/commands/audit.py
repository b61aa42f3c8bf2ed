"""`sluice audit`: who passed over caps or lowered limits, when and why."""

from datetime import timedelta
from pathlib import Path

import click
import msgspec

from gateway import app
from gateway.commands._control import Span
from gateway.commands._options import config_option, dsn_option, plain, said_plainly, settings_of
from gateway.config import Settings
from gateway.store import audit as store


@click.command()
@config_option
@dsn_option
@click.option("--for", "length", type=Span(), default="30d", show_default=True, help="Of so long: 90s, 10m, 2h, 1d.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def audit(config: Path | None, dsn: str, length: timedelta, limit: int, as_json: bool) -> None:
    """List who passed over caps or lowered limits, the newest first."""
    with said_plainly():
        found = app.run(_noted(settings_of(config, dsn), length, limit))
        if as_json:
            click.echo(msgspec.json.encode(found).decode())
            return
        for one in found:
            said = f"{one.at:%Y-%m-%d %H:%M:%S}  {plain(one.by):<20} {one.action:<7} {one.about}: {plain(one.reason)}"
            click.echo(said)


async def _noted(settings: Settings, length: timedelta, limit: int) -> list[store.Noted]:
    async with app.open_database(settings, migrates=False) as database, database.connection() as connection:
        return await store.noted(connection, app.CLOCK.wall() - length, limit)
