"""`sluice pause`: within a second nothing more leaves of a carrier, a campaign, a country or a sender."""

from datetime import timedelta
from pathlib import Path

import click

from gateway.commands._control import SCOPES, Span, run, stand, sure_of, tell
from gateway.commands._options import config_option, dsn_option


@click.command()
@config_option
@dsn_option
@click.argument("scope", type=click.Choice(SCOPES))
@click.argument("key")
@click.option("--for", "length", type=Span(), help="Goes on by itself after 90s, 10m, 2h, 1d.")
@click.option("--reason", default="", help="Shown by status and top.")
@click.option("--yes", is_flag=True, help="Needed for `carrier all`.")
def pause(
    config: Path | None, dsn: str, scope: str, key: str, length: timedelta | None, reason: str, yes: bool
) -> None:
    """Send nothing more of KEY until `sluice resume`: a carrier, a campaign (name or run), a country (DE) or a sender.
    A campaign stands still on one carrier alone as spring@acme.

    Binds stay up, answers and receipts are taken, the queue stays where it is; what has left has left.
    """
    if scope == "carrier":
        sure_of(key, yes, "pause")
    tell(run(config, dsn, lambda settings: stand(settings, "pause", scope, key, length, reason)))
