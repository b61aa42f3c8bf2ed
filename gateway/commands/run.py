"""`sluice run`: a worker that claims and sends until it is told to stop."""

import asyncio
from pathlib import Path

import click

from gateway import app
from gateway.commands._options import config_option, dsn_option, said_plainly, set_up_logging, settings_of
from gateway.config import Settings
from gateway.errors import ConfigError


@click.command()
@config_option
@dsn_option
@click.option("--carrier", "carriers", multiple=True, metavar="NAME", help="Serve these carriers alone.")
@click.option("--report-every", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds; 0 = never.")
@click.option("-v", "--verbose", count=True)
def run(config: Path | None, dsn: str, carriers: tuple[str, ...], report_every: float, verbose: int) -> None:
    """Send what is queued, until SIGTERM or Ctrl-C; then drain the windows, unbind, and give back what is left."""
    set_up_logging(verbose)
    with said_plainly():
        settings = settings_of(config, dsn)
        if not settings.carriers:
            raise ConfigError([("carriers", "at least one [carriers.NAME] section", "none")])
        app.run(serve(settings, list(carriers) or None, report_every))


async def serve(settings: Settings, carriers: list[str] | None, report_every: float) -> None:
    """Run a worker until a signal."""
    stop = asyncio.Event()
    with app.stop_signals(stop.set):
        async with app.open_database(settings) as database, app.open_worker(settings, database, carriers) as worker:
            names = ", ".join(lane.name for lane in worker.lanes)
            click.echo(f"running {worker.instance}: {names}", err=True)
            while not stop.is_set():
                if worker.failed is not None and worker.failed.done():
                    worker.failed.result()
                try:
                    await asyncio.wait_for(stop.wait(), report_every or 1.0)
                except TimeoutError:
                    pass
                if report_every:
                    for lane in worker.lanes:
                        ledger = lane.carrier.ledger
                        click.echo(
                            f"{lane.name}: {'up' if lane.carrier.is_up else 'down'} {lane.intents.rate_per_s:,.0f}/s "
                            f"window {lane.carrier.in_flight}/{lane.carrier.window_size} sent {ledger.submitted:,} "
                            f"accepted {ledger.accepted:,} receipts {ledger.receipts_matched + lane.rescue.matched:,}",
                            err=True,
                        )
            click.echo("stopping: draining the windows", err=True)
