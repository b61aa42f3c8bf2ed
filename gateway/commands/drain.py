"""`sluice drain`: what is claimed still leaves, nothing more is claimed; a carrier unbinds then."""

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
def drain(
    config: Path | None, dsn: str, scope: str, key: str, length: timedelta | None, reason: str, yes: bool
) -> None:
    """Take a carrier down in order: answers are waited for, then every bind is unbound; `sluice resume` binds again.

    Messages that wait for it go to the next of their routes that is up, where they have one. Of a campaign (name or
    run), a country (DE) or a sender what workers have claimed still leaves, and nothing more is claimed; `sluice pause`
    stops that, too.
    """
    if scope == "carrier":
        sure_of(key, yes, "drain")
    tell(run(config, dsn, lambda settings: stand(settings, "drain", scope, key, length, reason)))
