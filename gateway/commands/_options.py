"""Options and the shape of errors that several commands share."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from gateway.config import Settings, load
from gateway.errors import ConfigError, FileFault, GatewayError, StoreError

# As sysexits.h has them: a script can tell a wrong setting from a database that is away.
EXIT_CONFIG = 78
EXIT_DATA = 65
EXIT_STORE = 75


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--config`."""
    return click.option(
        "--config",
        "config",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Settings; by default $SLUICE_CONFIG, then sluice.toml here.",
    )(command)


def dsn_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--dsn`."""
    return click.option(
        "--dsn", envvar="SLUICE_DSN", default="", help="Postgres instead of the settings' ($SLUICE_DSN)."
    )(command)


def settings_of(config: Path | None, dsn: str = "") -> Settings:
    """Load the settings; a DSN given goes over theirs."""
    settings = load(config)
    if dsn:
        import msgspec

        settings = msgspec.structs.replace(settings, database=msgspec.structs.replace(settings.database, dsn=dsn))
    return settings


@contextlib.contextmanager
def said_plainly() -> Iterator[None]:
    """Turn the errors that are raised on purpose into a sentence and an exit code; all others are bugs and stay."""
    try:
        yield
    except ConfigError as error:
        for key, expected, found in error.problems:
            click.echo(f"config: {key}: expected {expected}, found {found}", err=True)
        sys.exit(EXIT_CONFIG)
    except FileFault as error:
        click.echo(f"contacts: {error}", err=True)
        sys.exit(EXIT_DATA)
    except StoreError as error:
        click.echo(f"postgres: {error}", err=True)
        sys.exit(EXIT_STORE)
    except GatewayError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def set_up_logging(verbose: int) -> None:
    """Log to standard error: warnings, with -v events, with -vv every step."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(asctime)s %(levelname).1s %(message)s", stream=sys.stderr)
