"""`sluice status`: what Postgres knows of workers, queues and runs. It looks, and changes nothing."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from gateway import app
from gateway.commands._campaign import RunReport, print_report, report_of
from gateway.commands._control import said
from gateway.commands._options import config_option, dsn_option, plain, said_plainly, say, settings_of
from gateway.config import Settings
from gateway.dispatch.identity import is_dead
from gateway.message import MessageClass
from gateway.rate import rate_words
from gateway.store import control, enrolments, migrate, postgres, rates, results, runs
from gateway.store.control import Order
from gateway.store.enrolments import Lag
from gateway.store.rates import Planned

WAITS = {
    "people": "people due, the first since",
    "causes": "causes to be decided about, the first of",
    "texts": "texts for the queue, the first of",
}


class Standing(Struct, frozen=True, kw_only=True):
    """All that is known at one moment. `alive`: the workers that are not known to be gone."""

    at: datetime
    workers: list[runs.Worker] = []
    alive: frozenset[str] = frozenset()
    queues: list[dict[str, Any]] = []
    names: dict[int, str] = {}
    orders: list[Order] = []
    reports: list[RunReport] = []
    planned: list[Planned] = []
    lags: list[Lag] = []


@click.command()
@config_option
@dsn_option
@click.option("--run", "run_id", type=click.IntRange(1, 2**63 - 1), help="One run alone; by default the newest ones.")
@click.option(
    "--runs", "limit", type=click.IntRange(0, 100), default=3, show_default=True, help="How many runs to count."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(config: Path | None, dsn: str, run_id: int | None, limit: int, as_json: bool) -> None:
    """Show workers and their binds, what waits on each carrier and why, and what became of the newest runs."""
    with said_plainly():
        settings = settings_of(config, dsn)
        if app.has_database(settings):
            standing = app.run(look(settings, run_id, limit))
        else:
            say(f"no database in {settings.data_root} yet: nothing was sent from here")
            standing = Standing(at=datetime.now(UTC))
    if run_id is not None and not standing.reports:
        raise click.ClickException(f"run {run_id}: not known")
    if as_json:
        click.echo(json.dumps(as_document(standing)))
    else:
        show(standing)


async def look(settings: Settings, run_id: int | None, limit: int) -> Standing:
    """Read all of it; raises StoreError."""
    async with app.open_database(settings, migrates=False) as database:
        if any(name.startswith("0001_") for name in await migrate.pending(database.dsn)):
            say("the database has no tables yet: nothing was sent from here")
            return Standing(at=datetime.now(UTC))
        await migrate.require(database.dsn)
        async with database.connection() as connection:
            return await look_through(connection, run_id, limit)


async def look_through(connection: postgres.Connection, run_id: int | None, limit: int) -> Standing:
    """Read all of it from a database whose schema is this program's."""
    now = datetime.now(UTC)
    workers = await runs.workers(connection)
    us = app.identity()
    if run_id is not None:
        found = await runs.run_by_id(connection, run_id)
        wanted = [] if found is None else [found]
    else:
        wanted = await runs.recent_runs(connection, limit) if limit else []
    return Standing(
        at=now,
        workers=workers,
        alive=frozenset(worker.instance for worker in workers if not is_dead(worker, us, now)),
        queues=await results.queue_by_lane(connection),
        names=await runs.lanes(connection),
        orders=[order for order in (await control.state(connection, now)).orders if order.stops],
        reports=[await report_of(connection, run) for run in wanted],
        planned=await rates.live(connection),
        lags=await enrolments.lags(connection, now),
    )


def as_document(standing: Standing) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "workers": [
            {
                "instance": worker.instance,
                "pid": worker.pid,
                "node": worker.node,
                "place": worker.place,
                "alive": worker.instance in standing.alive,
                "seen_s_ago": (standing.at - worker.seen_at).total_seconds(),
                "carriers": {},
                **json.loads(worker.report),
            }
            for worker in standing.workers
        ],
        "queues": [
            {
                "carrier": standing.names.get(queue["lane"], str(queue["lane"])),
                "class": MessageClass(queue["class"]).name.lower(),
                "chunks": queue["chunks"],
                "messages": queue["positions"],
                "oldest": queue["oldest"].isoformat(),
            }
            for queue in standing.queues
        ],
        "orders": [msgspec.to_builtins(order) for order in standing.orders],
        "rates": [msgspec.to_builtins(planned) for planned in standing.planned],
        "campaigns": [msgspec.to_builtins(lag) for lag in standing.lags],
        "runs": [msgspec.to_builtins(report) for report in standing.reports],
    }


def show(standing: Standing) -> None:
    """Print it for a person."""
    if not standing.alive:
        click.echo("workers     none: nothing is sent; start one with `sluice run`")
    for worker in standing.workers:
        ago = (standing.at - worker.seen_at).total_seconds()
        if worker.instance not in standing.alive:
            click.echo(f"worker      {worker.instance}, gone, seen {ago:.0f} s ago; the next one takes over from it")
            continue
        place = f", place {worker.place} of node {worker.node}" if worker.node != worker.instance else ""
        click.echo(f"worker      {worker.instance}{place}, seen {ago:.0f} s ago")
        for name, carrier in json.loads(worker.report).get("carriers", {}).items():
            click.echo(f"  {name}: {_said(carrier)}")
            for bind in carrier["binds"]:
                why = f": {plain(bind['last_error'])}" if bind["last_error"] and bind["phase"] != "bound" else ""
                click.echo(f"    {bind['name']} {bind['phase']}{why}")
        told = json.loads(worker.report)
        if following := told.get("stops"):
            click.echo(f"  stops: {following['numbers']:,} numbers, entry {following['upto']}")
        for part in ("control", "stops"):
            if trouble := told.get(part, {}).get("trouble"):
                click.echo(f"  alarm: {plain(trouble)}")
        for text in told.get("guards", {}).get("alarms", {}).values():
            click.echo(f"  alarm: {plain(text)}")
        for text in told.get("guards", {}).get("advice", []):
            click.echo(f"  advice: {plain(text)}")
    for order in standing.orders:
        click.echo(f"order       {said(order)}")
    for queue in standing.queues:
        name = standing.names.get(queue["lane"], str(queue["lane"]))
        click.echo(
            f"queue       {name}, {MessageClass(queue['class']).name.lower()}: {queue['positions']:,} messages in "
            f"{queue['chunks']:,} chunks, due since {queue['oldest']:%Y-%m-%d %H:%M:%S}"
        )
    for planned in standing.planned:
        click.echo(f"rate        {rate_said(planned)}")
    for lag in standing.lags:
        click.echo(
            f"campaign    {plain(lag.campaign)}: {lag.waiting:,} {WAITS[lag.what]} {lag.since:%Y-%m-%d %H:%M:%S}"
        )
    for report in standing.reports:
        print_report(report, as_json=False)


def rate_said(planned: Planned) -> str:
    """A run's rate as a person reads it."""
    of = f" of {planned.total:,}" if planned.total else ""
    text = f"run {planned.run}: {planned.plan.words}; {planned.granted:,}{of} granted"
    if planned.per_s:
        text += f", {rate_words(round(planned.per_s, 2))} now"
    if planned.plan.budget:
        text += f", {planned.spent:.2f} {planned.plan.currency} spent"
    if planned.held_since is not None:
        text += f", holds since {planned.held_since:%Y-%m-%d %H:%M:%S}: `sluice resume campaign {planned.run}` goes on"
    return text


def _said(carrier: dict[str, Any]) -> str:
    up = "up" if carrier["up"] else "down"
    text = f"{up}, {carrier['account']['sent_per_s']:,.0f}/s, window {carrier['in_flight']}/{carrier['window']}"
    if slots := carrier.get("slots"):
        text += f", binds {len(slots['held'])} of {slots['of']}"
        if slots["share"] is not None:
            text += f", {slots['share']:,} of {slots['tps']:,} tps"
    if carrier["held_chunks"]:
        text += f", {carrier['held_chunks']} chunks held"
    ordered = carrier.get("control", {})
    if ordered.get("stands"):
        text += f", {ordered['stands']}" + (f": {plain(ordered['halted'])}" if ordered.get("halted") else "")
    if ordered.get("tuned"):
        text += ", tuned: " + ", ".join(
            f"{key} = {json.dumps(ordered['tuned'][key])}" for key in sorted(ordered["tuned"])
        )
    if ordered.get("trouble"):
        text += f", not tuned: {plain(ordered['trouble'])}"
    encoding = carrier.get("encoding", {})
    if encoding.get("transliterated"):
        text += f", {encoding['transliterated']:,} texts transliterated to save {encoding['segments_saved']:,} segments"
    if carrier["trouble"]:
        text += f", {plain(carrier['trouble'])}"
    return text
