"""`sluice coupon`: offers and their codes; see docs/coupons.md."""

import json
import random
import secrets
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway import app
from gateway.automation.offers import redeemed_event
from gateway.commands._control import open_orders, run
from gateway.commands._options import Refused, config_option, dsn_option, plain
from gateway.commands.audience import Instant
from gateway.config import Settings
from gateway.contacts.codes import CodeFile
from gateway.coupon import Coupon, problems_of
from gateway.errors import ConfigError
from gateway.store import coupons, feeds, migrate, people, postgres, profiles, runs

WORK_S = 600.0


@click.group()
def coupon() -> None:
    """Offers, pools of codes, and who redeems them."""


@coupon.group()
def pool() -> None:
    """Make a pool of codes, fill it, look at it, take it out of use."""


def read_coupon(text: str, name: str) -> Coupon:
    """Read an offer of TOML or JSON: as a whole, or its table [coupons.NAME].

    raises  ConfigError: each place with what was expected and found
    """
    try:
        body: Any = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError as error:
        raise ConfigError([("file", "TOML or JSON", str(error))]) from error
    key = "coupon"
    if isinstance(body.get("coupons"), dict):
        body, key = body["coupons"].get(name), f"coupons.{name}"
        if body is None:
            raise ConfigError([(key, "the table of the offer", "none")])
    try:
        made = msgspec.convert(body, Coupon)
    except msgspec.ValidationError as error:
        raise ConfigError([(key, "an offer: kind, discount, life, until, url …", str(error))]) from error
    if problems := problems_of(key, made):
        raise ConfigError(problems)
    return made


async def _pool(connection: postgres.Connection, name: str) -> coupons.Pool:
    found = await coupons.find(connection, name)
    if found is None:
        raise Refused(f"coupon pool: expected one that there is, found {name!r}")
    return found


@pool.command()
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@dsn_option
def create(name: str, file: Path, config: Path | None, dsn: str) -> None:
    """Make the pool NAME of the offer in FILE, or let it say what FILE says now."""

    async def work(settings: Settings) -> coupons.Pool:
        try:
            made = read_coupon(file.read_text(encoding="utf-8"), name)
        except (OSError, UnicodeError) as error:
            raise Refused(f"{file}: expected a file of UTF-8, found {error}") from error
        async with app.open_database(settings, migrates=not app.has_database(settings)) as database:
            await migrate.require(database.dsn)
            async with database.connection() as connection, postgres.deadline(connection, WORK_S, "coupon"):
                secret = secrets.token_bytes(coupons.SECRET_OCTETS)
                return await coupons.create(connection, name, made, secret, datetime.now(UTC))

    click.echo(_line(run(config, dsn, work)))


@pool.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--column", default="", help="Of the codes: its name, or its place from 1.")
@config_option
@dsn_option
def import_(name: str, file: Path, column: str, config: Path | None, dsn: str) -> None:
    """Put the codes of FILE into the pool NAME. Those that it has stay as they are: a file may be told again."""

    async def work(settings: Settings) -> tuple[coupons.Added, CodeFile]:
        done = coupons.Added()
        with CodeFile(str(file), column) as codes:
            async with open_orders(settings) as (connection, _):
                async with postgres.deadline(connection, WORK_S, "coupon"):
                    one = await _pool(connection, name)
                for batch in codes.batches():
                    async with postgres.deadline(connection, WORK_S, "coupon"):
                        part = await coupons.add(connection, one, batch)
                    done.added += part.added
                    done.known += part.known
                    done.others += part.others
        return done, codes

    done, codes = run(config, dsn, work)
    click.echo(f"{codes.rows:,} rows: {done.added:,} added to {name!r}, {done.known:,} were in it")
    if done.others:
        click.echo(f"{done.others:,} are of another pool: left out", err=True)
    for line in codes.lines():
        click.echo(line, err=True)
    if done.others or codes.damage:
        sys.exit(1)


def _line(one: coupons.Pool) -> str:
    offer = one.coupon
    parts = [f"{one.name}: {offer.kind}"]
    if offer.kind == "static":
        parts.append(plain(offer.code))
    if offer.discount is not None:
        parts.append(offer.discount.words)
    if offer.life:
        parts.append(f"for {offer.life} from the sending on")
    if offer.until:
        parts.append(f"until {offer.until}")
    if offer.kind == "pool":
        parts.append(f"{one.total:,} codes")
    if offer.kind == "generator":
        parts.append(f"{max(0, offer.codes - one.next):,} codes to be made")
    return ", ".join(parts)


@pool.command("list")
@config_option
@dsn_option
def list_(config: Path | None, dsn: str) -> None:
    """List the pools."""

    async def work(settings: Settings) -> list[coupons.Pool]:
        async with open_orders(settings) as (connection, _), postgres.deadline(connection, WORK_S, "coupon"):
            return await coupons.pools(connection)

    for one in run(config, dsn, work):
        click.echo(_line(one))


@pool.command()
@click.argument("name")
@click.option("--people", type=click.IntRange(0), help="Whether there is a code for so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
@dsn_option
def show(name: str, people: int | None, as_json: bool, config: Path | None, dsn: str) -> None:
    """Say what became of the codes of the pool NAME."""

    async def work(settings: Settings) -> tuple[coupons.Pool, dict[str, int], int]:
        async with open_orders(settings) as (connection, _), postgres.deadline(connection, WORK_S, "coupon"):
            one = await _pool(connection, name)
            short = 0 if people is None else await coupons.shortfall(connection, one, people)
            return one, await coupons.states(connection, one), short

    one, states, short = run(config, dsn, work)
    if as_json:
        told = {"name": one.name, "offer": msgspec.to_builtins(one.coupon), "total": one.total, "states": states}
        click.echo(json.dumps(told if people is None else told | {"shortfall": short}))
    else:
        click.echo(_line(one))
        for state, n in states.items():
            click.echo(f"{n:>12,} {state}")
        if short:
            click.echo(f"for {short:,} of {people:,} people there is no code", err=True)
    if short:
        sys.exit(1)


@pool.command("void")
@click.argument("name")
@config_option
@dsn_option
def void_pool(name: str, config: Path | None, dsn: str) -> None:
    """Take what is free of the pool NAME out of use for ever; what somebody has stays good."""

    async def work(settings: Settings) -> int:
        async with open_orders(settings) as (connection, _), postgres.deadline(connection, WORK_S, "coupon"):
            return await coupons.void_free(connection, await _pool(connection, name))

    click.echo(f"{run(config, dsn, work):,} codes are void")


@coupon.command()
@click.argument("name")
@click.argument("list_name", metavar="LIST")
@click.option("--field", default="coupon", show_default=True, help="What texts call it: {coupon}.")
@config_option
@dsn_option
def assign(name: str, list_name: str, field: str, config: Path | None, dsn: str) -> None:
    """Give everybody of the list LIST a code of the pool NAME, in a field of theirs; whoever has one keeps it."""

    async def work(settings: Settings) -> tuple[int, int]:
        if not field.isidentifier():
            raise Refused(f"coupon: expected a field's name such as coupon, found {field!r}")
        async with open_orders(settings) as (connection, _), postgres.deadline(connection, WORK_S, "coupon"):
            one = await _pool(connection, name)
            if one.coupon.kind == "static":
                raise Refused(
                    f"coupon: expected a pool of many codes, found {name!r}: write {one.coupon.code} into the text"
                )
            await people.lock_list(connection, list_name)
            found = await people.find_list(connection, list_name)
            if found is None:
                raise Refused(f"coupon: expected a list that there is, found {list_name!r}")
            return await coupons.assign(connection, one, found.id, field, datetime.now(UTC))

    given, lacking = run(config, dsn, work)
    click.echo(f"{given:,} of {list_name!r} have a code now")
    if lacking:
        click.echo(f"{lacking:,} have none: the pool {name!r} is empty; import more, and assign again", err=True)
        sys.exit(1)


@coupon.command()
@click.argument("code")
@click.option("--order", required=True, help="By which the shop knows it.")
@click.option("--at", type=Instant(), help="When it was placed; now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
@dsn_option
def redeem(code: str, order: str, at: datetime | None, as_json: bool, config: Path | None, dsn: str) -> None:
    """Take CODE for an order, once: exit code 0 if it is good, 1 if it is not. One that has expired is refused."""

    async def work(settings: Settings) -> coupons.Redemption:
        now = datetime.now(UTC)
        when = at or now
        async with open_orders(settings) as (connection, _), postgres.deadline(connection, WORK_S, "coupon"):
            one = await coupons.redeem(connection, code, f"order:{order}"[:200], when)
            if one.verdict in ("redeemed", "again") and one.number and await feeds.known(connection, [one.number]):
                of = None if one.run is None else await runs.run_by_id(connection, one.run)
                names = {} if of is None else {of.id: of.name}
                await profiles.ingest(connection, [redeemed_event(one, when, names)], now, random.Random())
        return one

    one = run(config, dsn, work)
    words = {
        "redeemed": "redeemed",
        "again": "redeemed by this order before",
        "used": "refused: used for another order",
        "expired": "refused: expired",
        "unsent": "refused: nobody was sent it",
        "void": "refused: void",
        "unknown": "refused: not a code of ours",
    }
    if as_json:
        told = {"code": one.code, "verdict": one.verdict, "pool": one.pool, "order": order}
        click.echo(json.dumps(told | {"expires_at": one.expires_at.isoformat() if one.expires_at else None}))
    else:
        ends = f" on {one.expires_at:%Y-%m-%d %H:%M:%S} UTC" if one.verdict == "expired" and one.expires_at else ""
        click.echo(f"{plain(one.code)}: {words[one.verdict]}{ends}")
    if one.verdict not in ("redeemed", "again"):
        sys.exit(1)


@coupon.command()
@click.argument("code")
@config_option
@dsn_option
def void(code: str, config: Path | None, dsn: str) -> None:
    """Take CODE out of use for ever, whoever has it."""

    async def work(settings: Settings) -> str:
        async with open_orders(settings) as (connection, _), postgres.deadline(connection, WORK_S, "coupon"):
            return await coupons.void(connection, code)

    before = run(config, dsn, work)
    if before in ("unknown", "redeemed"):
        raise Refused(f"coupon: expected a code that is not redeemed, found {plain(code)}: {before}")
    click.echo(f"{plain(code)} is void, and was {before}")
