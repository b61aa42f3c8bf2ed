"""`sluice check-config`: read the settings, say every problem, start nothing."""

from pathlib import Path

import click

from gateway.commands._options import config_option, said_plainly, settings_of
from gateway.dispatch.compose import form_of
from gateway.dispatch.route import table_of
from gateway.errors import ConfigError, EncodeError, TlsFault
from gateway.smpp import tls


@click.command(name="check-config")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@config_option
def check_config(file: Path | None, config: Path | None) -> None:
    """Check FILE (or the settings that would be used). Exit code 0 when nothing is wrong, 78 otherwise."""
    with said_plainly():
        settings = settings_of(file or config)
        problems = []
        for name, carrier in settings.carriers.items():
            try:
                form_of("x", carrier)
            except EncodeError as error:
                problems.append((f"carriers.{name}", "settings that fit submit_sm", str(error)))
            try:
                if carrier.tls:
                    tls.context_of(carrier)
            except TlsFault as error:
                problems.append((f"carriers.{name}.tls", "files that TLS can use", str(error)))
        try:
            table_of(settings)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)
        where = settings.source or "defaults"
        count = len(settings.carriers)
        carriers = "1 carrier" if count == 1 else f"{count or 'no'} carriers"
        click.echo(f"{where}: {carriers}, nothing wrong")
