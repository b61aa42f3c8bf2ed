"""`sluice migrate`: bring the schema of a database forward.

Which database: --dsn, else $SLUICE_DSN, else the embedded server of the data root (gateway.store.embedded).
Not here: how it is done (gateway.store.migrate).
"""

import asyncio
import contextlib

import click

from gateway.errors import StoreError


@click.command()
@click.option("--dsn", envvar="SLUICE_DSN", help="A database, as postgresql://…; else the embedded one.")
@click.option("--data-root", envvar="SLUICE_HOME", type=click.Path(file_okay=False), help="Of the embedded server.")
@click.option("--pending", "only_list", is_flag=True, help="Name what is missing, and change nothing.")
def migrate(dsn: str | None, data_root: str | None, only_list: bool) -> None:
    """Bring the schema of the database forward, and name the files applied."""
    from gateway.store import migrate as runner
    from gateway.store.embedded import Embedded

    try:
        with contextlib.ExitStack() as stack:
            if not dsn:
                dsn = stack.enter_context(Embedded(data_root)).dsn
            names = asyncio.run(runner.pending(dsn) if only_list else runner.migrate(dsn))
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    for name in names:
        click.echo(name)
    if not names:
        click.echo("nothing to apply", err=True)
