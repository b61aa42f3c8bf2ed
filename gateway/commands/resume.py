"""`sluice resume`: what was paused or drained goes on."""

from pathlib import Path

import click

from gateway.commands._control import SCOPES, accept, run, stand, tell
from gateway.commands._options import config_option, dsn_option


@click.command()
@config_option
@dsn_option
@click.argument("scope", type=click.Choice(SCOPES), required=False)
@click.argument("key", required=False)
@click.option("--after-failover", is_flag=True, help="End the recovery hold: send although Postgres has lost history.")
@click.option("--clock", is_flag=True, help="Believe the wall clock again, as it is.")
@click.option("--reason", default="", help="Kept with the order.")
def resume(
    config: Path | None, dsn: str, scope: str | None, key: str | None, after_failover: bool, clock: bool, reason: str
) -> None:
    """Go on with KEY, as it was named to `pause` or `drain`; `carrier all`: with every carrier that stands still.

    \b
    After a failover that lost history, messages of that time may leave twice: look at the carrier's figures first.
    """
    if after_failover or clock:
        if scope or (after_failover and clock):
            raise click.UsageError("--after-failover and --clock stand alone")
        tell(run(config, dsn, lambda settings: accept(settings, "failover" if after_failover else "clock", reason)))
        return
    if scope is None or key is None:
        raise click.UsageError("expected SCOPE and KEY, or --after-failover, or --clock")
    tell(run(config, dsn, lambda settings: stand(settings, "resume", scope, key, None, reason)))
