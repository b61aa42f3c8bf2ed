"""`sluice page`: landing pages made of blocks, by file; what is applied is what links of them show."""

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway import app
from gateway.commands._control import run, whoever
from gateway.commands._options import Refused, config_option, dsn_option, plain, said_plainly, settings_of
from gateway.commands._stops import open_feed
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.page import Page, Problem, Theme, page_of
from gateway.redirect import rendering
from gateway.store import migrate, pages, postgres

WAIT_S = 60.0
MOST_OCTETS = 1_000_000


@click.group()
def page() -> None:
    """Make landing pages of blocks."""


def read(path: Path, settings: Settings) -> Page:
    """Read a page of a TOML or JSON file; ConfigError with every problem of it."""
    try:
        octets = path.read_bytes()
        if len(octets) > MOST_OCTETS:
            raise ValueError(f"{len(octets):,} octets")
        text = octets.decode("utf-8")
        document: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        if not isinstance(document, dict):
            raise ValueError(type(document).__name__)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError([(str(path), "a page as TOML or JSON", plain(str(error)))]) from None
    found, problems = page_of(document)
    if found is not None:
        if found.brand and found.brand not in settings.brands:
            problems.append(("brand", "a [brands.NAME] section of the settings", repr(found.brand)))
        problems += rendering.weight_problems(found, theme_of(found, settings))
    if found is None or problems:
        raise ConfigError([_placed(path, problem) for problem in problems])
    return found


def theme_of(found: Page, settings: Settings) -> Theme:
    """The theme of a page's brand."""
    return settings.brands[found.brand].theme if found.brand in settings.brands else Theme()


def _placed(path: Path, problem: Problem) -> Problem:
    return f"{path}: {problem[0]}", problem[1], problem[2]


@page.command()
@config_option
@dsn_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def apply(config: Path | None, dsn: str, file: Path) -> None:
    """Let links of the page of FILE show it; what they showed before stays as a version."""
    with said_plainly():
        found = read(file, settings_of(config, dsn))

    async def work(settings: Settings) -> str:
        async with open_feed(settings) as (_, connection), postgres.deadline(connection, WAIT_S, "page"):
            version, is_new = await pages.apply(connection, found, datetime.now(UTC), whoever())
        return f"{plain(found.name)}: version {version}" + ("" if is_new else ", as it was")

    click.echo(run(config, dsn, work))


@page.command()
@config_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Into a file, which a browser opens.")
@click.option("--value", "values", multiple=True, metavar="NAME=VALUE", help="Of a link, such as code=A1B2.")
def preview(config: Path | None, file: Path, out: Path | None, values: tuple[str, ...]) -> None:
    """Show the HTML of the page of FILE, and what it weighs; nothing is kept."""
    told = dict(value.partition("=")[::2] for value in values)
    with said_plainly():
        settings = settings_of(config)
        found = read(file, settings)
        made = rendering.page(found, theme_of(found, settings), found.brand, values=told, action="#")
    missing = [name for name in found.values if name not in told]
    if missing:
        click.echo(f"values that the link must have: {', '.join(missing)}", err=True)
    click.echo(f"{len(made.octets):,} octets", err=True)
    if out is None:
        click.echo(made.octets.decode())
    else:
        try:
            out.write_bytes(made.octets)
        except OSError as error:
            raise Refused(f"{out}: {error.strerror}") from None


@page.command("list")
@config_option
@dsn_option
def list_(config: Path | None, dsn: str) -> None:
    """Show the pages that there are, and how often each form of them was sent."""

    async def work(settings: Settings) -> list[str]:
        async with app.open_database(settings, migrates=False) as database:
            await migrate.require(database.dsn)
            async with database.connection(WAIT_S) as connection:
                found = []
                for one in await pages.all_of(connection):
                    sent = await pages.count(connection, one.page.name)
                    forms = "".join(f"; {plain(form)} {sent.get(form, 0):,} times" for form in one.page.forms)
                    found.append(
                        f"{plain(one.page.name)} version {one.version} of {one.at:%Y-%m-%d %H:%M} UTC by "
                        f"{plain(one.by)}: {plain(one.page.title)}{forms}"
                    )
                return found

    for line in run(config, dsn, work):
        click.echo(line)
