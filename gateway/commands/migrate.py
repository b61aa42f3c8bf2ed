"""`sluice migrate`: bring the schema of a database forward.

Which database: as every command, by --dsn, the settings, or the embedded server of the data root.
Not here: how it is done (gateway.store.migrate), and what stands where on a cluster (gateway.store.placement).
"""

import asyncio
from pathlib import Path

import click
import msgspec

from gateway import app
from gateway.commands._options import config_option, dsn_option, said_plainly, say, settings_of
from gateway.store import migrate as runner
from gateway.store import placement


@click.command()
@config_option
@dsn_option
@click.option("--data-root", type=click.Path(file_okay=False), help="Of the embedded server, instead of the settings'.")
@click.option("--pending", "only_list", is_flag=True, help="Name what is missing, and change nothing.")
@click.option("--distributed", is_flag=True, help="Then spread the tables over the nodes of a Citus cluster.")
@click.option(
    "--plan", "only_plan", is_flag=True, help="Print the calls that --distributed would make, and change nothing."
)
def migrate(
    config: Path | None, dsn: str, data_root: str | None, only_list: bool, distributed: bool, only_plan: bool
) -> None:
    """Bring the schema of the database forward, and name the files applied."""
    if only_plan and not distributed:
        raise click.UsageError("--plan goes with --distributed: without it there is --pending")
    if only_list and distributed:
        raise click.UsageError("--pending names files of the schema: what would be distributed says --plan")
    with said_plainly():
        settings = settings_of(config, dsn)
        if data_root:
            database = msgspec.structs.replace(settings.database, dsn=dsn, data_root=str(Path(data_root).absolute()))
            settings = msgspec.structs.replace(settings, database=database)
        with app.open_server(settings) as (found, _):
            if only_plan:
                has_citus, names = asyncio.run(placement.missing(found))
                if not has_citus:
                    say("the extension citus is not in this database: nothing could be called yet")
            else:
                names = asyncio.run(runner.pending(found) if only_list else runner.migrate(found))
                if distributed:
                    for name in names:
                        click.echo(name)
                    names = asyncio.run(placement.distribute(found))
    for name in names:
        click.echo(f"{name};" if distributed else name)
    if not names:
        say("nothing to distribute" if distributed else "nothing to apply")
