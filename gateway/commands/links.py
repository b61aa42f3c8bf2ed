"""`sluice links`: the door that links of messages lead to, links for a whole list, and who has opened them."""

import asyncio
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway import app
from gateway.campaign.clicks import Networks, prefixes_in, words
from gateway.commands._control import run as run_
from gateway.commands._options import (
    Refused,
    config_option,
    dsn_option,
    plain,
    said_plainly,
    say,
    set_up_logging,
    settings_of,
)
from gateway.commands._stops import numbers_of, open_feed
from gateway.config import Settings, endpoint
from gateway.errors import ConfigError
from gateway.link import Link, Verdict, length_of, problems_of, shorteners_in, target_of
from gateway.store import links as store
from gateway.store import migrate, people, postgres

WAIT_S = 600.0


@click.group()
def links() -> None:
    """Answer short links, make them, and show who has opened them."""


@links.command()
@config_option
@dsn_option
@click.option("--listen", default="127.0.0.1:8480", show_default=True, help="Address and port; TLS stands before it.")
@click.option("-v", "--verbose", count=True, help="Say more.")
def serve(config: Path | None, dsn: str, listen: str, verbose: int) -> None:
    """Answer links until SIGTERM: redirects, landing pages, the way out. Any number of these may run."""
    set_up_logging(verbose)
    with said_plainly():
        try:
            endpoint(listen, lowest=0)
        except ValueError as error:
            raise ConfigError([("--listen", str(error), repr(listen))]) from None
        settings = settings_of(config, dsn)
        app.run(_serve(settings, listen, networks_of(settings)))


def networks_of(settings: Settings) -> Networks:
    """Read the networks in which no handset is: ours and those of the files of the settings.

    raises  ConfigError
    """
    prefixes = list(words().networks)
    for name in settings.links.networks:
        path = settings.beside / name
        try:
            prefixes += prefixes_in(path.read_text(encoding="utf-8"), str(path))
        except (OSError, ValueError) as error:
            found = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError([("links.networks", "files of networks, one a line", f"{path}: {found}")]) from None
    return Networks(prefixes)


async def _serve(settings: Settings, listen: str, networks: Networks) -> None:
    stop = asyncio.Event()
    with app.stop_signals(stop.set):
        if not await app.until_it_answers(settings, stop, say):
            return
        async with app.open_database(settings) as database:
            async with app.open_door(settings, database, listen, networks) as address:
                say(f"links are answered on http://{address}")
                await stop.wait()
                say("stopping")


@links.command()
@config_option
@dsn_option
@click.argument("name")
@click.option("--brand", required=True, help="Whose link_domain it has.")
@click.option("--field", default="link", show_default=True, help="The value of each entry that the link becomes.")
@click.option("--url", default="", help="Where it leads; {name} is a value of each entry, such as a code.")
@click.option("--page", default="", help="A landing page by name, instead.")
@click.option("--optout", is_flag=True, help="The way out, instead.")
@click.option("--campaign", default="", help="Of utm_campaign, and of the events.")
@click.option("--life", default="30d", show_default=True, help="30m, 48h, 30d; then a page says that it is over.")
def make(
    config: Path | None, dsn: str, name: str, brand: str, field: str, url: str, page: str, optout: bool, campaign: str,
    life: str,
) -> None:  # fmt: skip
    """Give every number of the list NAME a link of its own; whoever has one keeps it. Texts have it as {{ link }}."""
    with said_plainly():
        settings = settings_of(config, dsn)
        domain = settings.brand(brand).link_domain
        if not domain:
            raise ConfigError([(f"brands.{brand}.link_domain", "a domain of yours, such as go.acme.example", "none")])
        wanted = Link(url=url, page=page, optout=optout, life=life)
        problems = problems_of("link", wanted)
        if problems:
            raise ConfigError([(option_of(key), expected, found) for key, expected, found in problems])

    async def work(settings: Settings) -> str:
        now = datetime.now(UTC)
        async with open_feed(settings) as (_, connection):
            async with postgres.deadline(connection, WAIT_S, "links"):
                listed = await people.find_list(connection, name)
                if listed is None:
                    raise Refused(f"{plain(name)}: expected a list, found none of that name")
                target = target_of(wanted, field, brand=brand, campaign=campaign)
                id_ = await store.keep_target(connection, target, now)
                made = await store.mint_list(
                    connection, listed.id, field, domain, id_, target.fields, run=0, now=now,
                    expires_at=now + wanted.lifetime, chance=random.SystemRandom(),
                )  # fmt: skip
        return f"{plain(name)}: {made:,} links of {length_of(domain)} characters, as {{{{ {field} }}}}"

    click.echo(run_(config, dsn, work))


def option_of(key: str) -> str:
    """Name the option that a key of a link stands for."""
    return f"--{key.removeprefix('link').lstrip('.') or 'url'}"


@links.command()
@config_option
@dsn_option
@click.option("--run", type=click.IntRange(0), help="Of a run: how many, by link and verdict.")
@click.option("--number", help="Of a number: what was opened, newest first.")
@click.option("--json", "as_json", is_flag=True)
def show(config: Path | None, dsn: str, run: int | None, number: str | None, as_json: bool) -> None:
    """Show who has opened links; only what a human has opened counts, the rest is shown apart."""
    if (run is None) == (number is None):
        raise click.UsageError("expected --run or --number")

    async def work(settings: Settings) -> list[str]:
        async with app.open_database(settings, migrates=False) as database:
            await migrate.require(database.dsn)
            async with database.connection() as connection:
                if run is not None:
                    return [_opened(one, as_json) for one in await store.opened(connection, run)]
                (wanted,) = numbers_of([number or ""], None)
                return [_clicked(one, as_json) for one in await store.clicks_of(connection, wanted)]

    for line in run_(config, dsn, work):
        click.echo(line)


def _opened(one: store.Opened, as_json: bool) -> str:
    told = {verdict.name.lower(): one.people.get(verdict, 0) for verdict in Verdict}
    if as_json:
        clicks = {verdict.name.lower(): one.clicks.get(verdict, 0) for verdict in Verdict}
        return json.dumps(
            {"link": one.name, "campaign": one.campaign, "links": one.links, "people": told, "clicks": clicks}
        )
    share = f" ({100 * told['human'] / one.links:.1f} %)" if one.links else ""
    return (
        f"{plain(one.name)}: {one.links:,} links, opened by {told['human']:,} people{share}, "
        f"{sum(one.clicks.values()):,} times in all; unsure {told['unsure']:,}, bots {told['bot']:,}, "
        f"not decided yet {told['undecided']:,}"
    )


def _clicked(one: dict[str, object], as_json: bool) -> str:
    verdict = Verdict(int(str(one["verdict"]))).name.lower()
    if as_json:
        return json.dumps({**one, "verdict": verdict}, default=str)
    return f"{one['at']:%Y-%m-%d %H:%M:%S} UTC {verdict} ({one['rule'] or 'not yet'}) {plain(str(one['agent']))}"


@links.command()
@click.argument("text")
def check(text: str) -> None:
    """Find public shorteners in TEXT, for which carriers block messages."""
    found = shorteners_in(text)
    for at, host in found:
        click.echo(f"{at}: {host}: expected a link of your own domain: carriers block public shorteners")
    if found:
        raise SystemExit(1)
