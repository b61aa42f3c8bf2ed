"""`sluice status`: what Postgres knows of workers, queues and runs."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway import app
from gateway.commands._campaign import print_report, report_of
from gateway.commands._options import config_option, dsn_option, said_plainly, settings_of
from gateway.config import Settings
from gateway.message import MessageClass
from gateway.store import results, runs


@click.command()
@config_option
@dsn_option
@click.option("--run", "run_id", type=int, help="One run alone; by default the newest ones.")
@click.option(
    "--runs", "limit", type=click.IntRange(0, 100), default=3, show_default=True, help="How many runs to count."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(config: Path | None, dsn: str, run_id: int | None, limit: int, as_json: bool) -> None:
    """Show workers and their binds, what waits on each carrier and why, and what became of the newest runs."""
    with said_plainly():
        app.run(show(settings_of(config, dsn), run_id, limit, as_json))


async def show(settings: Settings, run_id: int | None, limit: int, as_json: bool) -> None:
    """Read and print."""
    import msgspec

    async with app.open_database(settings) as database, database.connection() as connection:
        now = datetime.now(UTC)
        names = await runs.lanes(connection)
        workers = await runs.workers(connection)
        queues = await results.queue_by_lane(connection)
        if run_id is not None:
            found = await runs.run_by_id(connection, run_id)
            if found is None:
                raise click.ClickException(f"run {run_id}: not known")
            wanted = [found]
        else:
            wanted = await runs.recent_runs(connection, limit) if limit else []
        reports = [await report_of(connection, run) for run in wanted]
    if as_json:
        document = {
            "workers": [
                {
                    "instance": w.instance,
                    "pid": w.pid,
                    "seen_s_ago": (now - w.seen_at).total_seconds(),
                    **json.loads(w.report),
                }
                for w in workers
            ],
            "queues": [
                {
                    "carrier": names.get(queue["lane"], str(queue["lane"])),
                    "class": MessageClass(queue["class"]).name.lower(),
                    "chunks": queue["chunks"],
                    "messages": queue["positions"],
                    "oldest": queue["oldest"].isoformat(),
                }
                for queue in queues
            ],
            "runs": [msgspec.to_builtins(report) for report in reports],
        }
        click.echo(json.dumps(document))
        return
    if not workers:
        click.echo("workers     none: nothing is sent; start one with `sluice run`")
    for worker in workers:
        ago = (now - worker.seen_at).total_seconds()
        click.echo(f"worker      {worker.instance}, seen {ago:.0f} s ago")
        for name, carrier in json.loads(worker.report).get("carriers", {}).items():
            click.echo(f"  {name}: {_said(carrier)}")
            for bind in carrier["binds"]:
                why = f": {bind['last_error']}" if bind["last_error"] and bind["phase"] != "bound" else ""
                click.echo(f"    {bind['name']} {bind['phase']}{why}")
    for queue in queues:
        name = names.get(queue["lane"], str(queue["lane"]))
        click.echo(
            f"queue       {name}, {MessageClass(queue['class']).name.lower()}: {queue['positions']:,} messages in "
            f"{queue['chunks']:,} chunks, due since {queue['oldest']:%Y-%m-%d %H:%M:%S}"
        )
    for report in reports:
        print_report(report, as_json=False)


def _said(carrier: dict[str, Any]) -> str:
    up = "up" if carrier["up"] else "down"
    text = f"{up}, {carrier['rate_per_s']:,.0f}/s, window {carrier['in_flight']}/{carrier['window']}"
    if carrier["held_chunks"]:
        text += f", {carrier['held_chunks']} chunks held"
    if carrier["trouble"]:
        text += f", {carrier['trouble']}"
    return text
