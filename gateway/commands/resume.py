"""`sluice resume`: what was paused or drained goes on."""

from pathlib import Path

import click

from gateway.commands._control import SCOPES, run, stand, tell
from gateway.commands._options import config_option, dsn_option


@click.command()
@config_option
@dsn_option
@click.argument("scope", type=click.Choice(SCOPES))
@click.argument("key")
@click.option("--reason", default="", help="Kept with the order.")
def resume(config: Path | None, dsn: str, scope: str, key: str, reason: str) -> None:
    """Go on with KEY, as it was named to `pause` or `drain`; `carrier all`: with every carrier that stands still."""
    tell(run(config, dsn, lambda settings: stand(settings, "resume", scope, key, None, reason)))
