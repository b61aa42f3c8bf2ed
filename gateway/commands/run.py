"""`sluice run`: a worker that claims and sends until it is told to stop."""

import asyncio
from pathlib import Path

import click

from gateway import app
from gateway.commands._options import (
    Finite,
    config_option,
    dsn_option,
    said_plainly,
    say,
    set_up_logging,
    settings_of,
)
from gateway.config import Settings
from gateway.dispatch.worker import Worker
from gateway.errors import ConfigError


@click.command()
@config_option
@dsn_option
@click.option("--carrier", "carriers", multiple=True, metavar="NAME", help="Serve these carriers alone.")
@click.option("--report-every", type=Finite(), default=10.0, show_default=True, help="Seconds; 0 = never.")
@click.option("-v", "--verbose", count=True)
def run(config: Path | None, dsn: str, carriers: tuple[str, ...], report_every: float, verbose: int) -> None:
    """Send what is queued, until SIGTERM or Ctrl-C; then drain the windows, unbind, and give back what is left."""
    set_up_logging(verbose)
    with said_plainly():
        settings = settings_of(config, dsn)
        if not settings.carriers:
            raise ConfigError([("carriers", "at least one [carriers.NAME] section", "none")])
        for name in carriers:
            settings.carrier(name)
        app.run(serve(settings, list(dict.fromkeys(carriers)) or None, report_every))


async def serve(settings: Settings, carriers: list[str] | None, report_every: float) -> None:
    """Run a worker until a signal."""
    stop = asyncio.Event()
    with app.stop_signals(stop.set):
        async with app.open_database(settings) as database, app.open_worker(settings, database, carriers) as worker:
            names = ", ".join(lane.name for lane in worker.lanes)
            say(f"running {worker.instance}: {names}")
            assert worker.failed is not None
            stopped = asyncio.create_task(stop.wait())
            while not stopped.done():
                await asyncio.wait(
                    (stopped, worker.failed), timeout=report_every or None, return_when=asyncio.FIRST_COMPLETED
                )
                if worker.failed.done():
                    worker.failed.result()
                if report_every:
                    report(worker)
            say("stopping: draining the windows")


def report(worker: Worker) -> None:
    """Say how each carrier stands, a line each."""
    for lane in worker.lanes:
        ledger = lane.carrier.ledger
        say(
            f"{lane.name}: {'up' if lane.carrier.is_up else 'down'} {lane.intents.rate_per_s:,.0f}/s "
            f"window {lane.carrier.in_flight}/{lane.carrier.window_size} sent {ledger.submitted:,} "
            f"accepted {ledger.accepted:,} receipts {ledger.receipts_matched + lane.rescue.matched:,}"
        )
