"""`sluice migrate`: bring the schema of a database forward.

Which database: as every command, by --dsn, the settings, or the embedded server of the data root.
Not here: how it is done (gateway.store.migrate).
"""

import asyncio
from pathlib import Path

import click
import msgspec

from gateway import app
from gateway.commands._options import config_option, dsn_option, said_plainly, say, settings_of
from gateway.store import migrate as runner


@click.command()
@config_option
@dsn_option
@click.option("--data-root", type=click.Path(file_okay=False), help="Of the embedded server, instead of the settings'.")
@click.option("--pending", "only_list", is_flag=True, help="Name what is missing, and change nothing.")
def migrate(config: Path | None, dsn: str, data_root: str | None, only_list: bool) -> None:
    """Bring the schema of the database forward, and name the files applied."""
    with said_plainly():
        settings = settings_of(config, dsn)
        if data_root:
            database = msgspec.structs.replace(settings.database, dsn=dsn, data_root=str(Path(data_root).absolute()))
            settings = msgspec.structs.replace(settings, database=database)
        with app.open_server(settings) as (found, _):
            names = asyncio.run(runner.pending(found) if only_list else runner.migrate(found))
    for name in names:
        click.echo(name)
    if not names:
        say("nothing to apply")
