"""`sluice product`: the feed of a shop, its shops, and what is to be had again; see docs/products.md."""

import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway import app
from gateway.commands._control import open_orders, run
from gateway.commands._options import Refused, config_option, dsn_option, plain
from gateway.config import Settings
from gateway.contacts import feeds
from gateway.store import migrate, postgres, products

WORK_S = 600.0


@click.group()
def product() -> None:
    """What a shop sells, and where."""


def _import(
    config: Path | None,
    dsn: str,
    open_feed: Callable[[], feeds.Feed[Any]],
    write: Callable[[postgres.Connection, list[Any]], Awaitable[None]],
) -> None:
    async def work(settings: Settings) -> tuple[int, feeds.Feed[Any]]:
        written = 0
        with open_feed() as feed:
            async with app.open_database(settings, migrates=not app.has_database(settings)) as database:
                await migrate.require(database.dsn)
                async with database.connection() as connection:
                    for batch in feed.batches():
                        async with postgres.deadline(connection, WORK_S, "feed"):
                            await write(connection, batch)
                        written += len(batch)
        return written, feed

    written, feed = run(config, dsn, work)
    click.echo(feeds.told(feed, written))
    for line in feed.lines():
        click.echo(line, err=True)
    if feed.damage:
        sys.exit(1)


@product.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--currency", default="", metavar="EUR", help="Of prices that name none.")
@config_option
@dsn_option
def import_(file: Path, currency: str, config: Path | None, dsn: str) -> None:
    """Write the products of FILE; those that had no stock and have some are back."""
    now = datetime.now(UTC)
    _import(
        config, dsn, lambda: feeds.products(str(file), currency.upper()),
        lambda connection, batch: products.write(connection, batch, now),
    )  # fmt: skip


@product.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@dsn_option
def shops(file: Path, config: Path | None, dsn: str) -> None:
    """Write the shops of FILE: where people are sent to."""
    _import(config, dsn, lambda: feeds.shops(str(file)), products.write_shops)


@product.command()
@click.argument("ids", nargs=-1, required=True)
@config_option
@dsn_option
def restock(ids: tuple[str, ...], config: Path | None, dsn: str) -> None:
    """Say that the products IDS are to be had again: who waits for them is told."""

    async def work(settings: Settings) -> list[str]:
        now = datetime.now(UTC)
        async with open_orders(settings) as (connection, _), postgres.deadline(connection, WORK_S, "feed"):
            return [one for one in ids if not await products.restock(connection, one, now)]

    if unknown := run(config, dsn, work):
        raise Refused(f"product: expected ones of the feed, found {', '.join(map(plain, unknown))}")
    click.echo(f"{len(ids):,} are back")
