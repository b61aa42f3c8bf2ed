"""Options, exit codes and the shape of errors that several commands share."""

import contextlib
import logging
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway import logs
from gateway.config import Settings, dsn_problem, load
from gateway.errors import ConfigError, FileFault, GatewayError, OrderFault, StoreError
from gateway.smpp import status as statuses

# As sysexits.h has them: a script can tell a wrong setting from a database that is away.
EXIT_DATA = 65
EXIT_NOT_NOW = 75
EXIT_CONFIG = 78

DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|"}


class Finite(click.FloatRange):
    """A number of seconds, which is neither nan nor inf: those pass the limits of a FloatRange, and no clock."""

    # Ten years: a deadline further away is out of the range of dates and timers.
    LONGEST = 315_360_000.0

    def __init__(self, low: float = 0.0):
        super().__init__(low, self.LONGEST)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuse what is no number of seconds."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number


class Refused(click.ClickException):
    """The file or the text cannot be used: a sentence on standard error, and exit code 65."""

    exit_code = EXIT_DATA


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
    """Load the settings; a DSN given goes over theirs. raises ConfigError."""
    settings = load(config)
    problems = [
        (f"carriers.{name}.{field}.{key}", expected, found)
        for name, carrier in settings.carriers.items()
        for field, words in (("statuses", carrier.statuses), ("bind_statuses", carrier.bind_statuses))
        for key, expected, found in statuses.problems(words)
    ] + [
        (f"carriers.{name}.network_errors.{key}", expected, found)
        for name, carrier in settings.carriers.items()
        for key, expected, found in statuses.network_problems(carrier.network_errors)
    ]
    if problems:
        raise ConfigError(problems)
    if dsn:
        if problem := dsn_problem("--dsn", dsn):
            raise ConfigError([problem])
        settings = msgspec.structs.replace(settings, database=msgspec.structs.replace(settings.database, dsn=dsn))
    return settings


@contextlib.contextmanager
def said_plainly() -> Iterator[None]:
    """Turn the errors that are raised on purpose into a sentence and an exit code; all others are bugs and stay."""
    try:
        yield
    except ConfigError as error:
        for key, expected, found in error.problems:
            say(f"config: {key}: expected {expected}, found {found}")
        sys.exit(EXIT_CONFIG)
    except FileFault as error:
        say(f"contacts: {plain(str(error))}")
        sys.exit(EXIT_DATA)
    except OrderFault as error:
        say(f"Error: {plain(str(error))}")
        sys.exit(EXIT_DATA)
    except StoreError as error:
        say(f"postgres: {error}")
        sys.exit(EXIT_NOT_NOW)
    except GatewayError as error:
        say(str(error))
        sys.exit(1)


def say(text: str) -> None:
    """Write a line to standard error. A reader of it that has left, or reads no more, is no reason to stop sending."""
    if (sink := logs.current()) is not None:
        sink.put(text)
        return
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def plain(text: str) -> str:
    """Text of a stranger on one line, so that a terminal only shows it: no control characters, no escapes."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in " ".join(text.splitlines()))


def set_up_logging(verbose: int) -> None:
    """Log to standard error, never waiting for it: warnings, with -v events, with -vv every step.

    Until the command ends what `say` says goes the same way.
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    try:
        sink = logs.Sink(sys.stderr.fileno(), sys.stderr.encoding)
    except (AttributeError, OSError, ValueError):  # none at all, or a stream of the caller's in its place
        logging.basicConfig(level=level, format=logs.FORMAT, stream=sys.stderr)
        return
    sink.setFormatter(logging.Formatter(logs.FORMAT))
    root = logging.getLogger()
    before = root.level
    root.addHandler(sink)
    root.setLevel(level)

    def end() -> None:
        root.removeHandler(sink)
        root.setLevel(before)
        sink.close()

    if (context := click.get_current_context(silent=True)) is not None:
        context.call_on_close(end)
