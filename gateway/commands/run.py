"""`sluice run`: workers that claim and send until they are told to stop.

One worker runs in this process; with `--workers N` this one keeps N others (_workers.py), each of them `sluice run`
with a place. SIGTERM drains, SIGUSR1 rolls: one worker after the other is replaced.
"""

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import click
import msgspec

from gateway import app
from gateway.commands import _workers
from gateway.commands._options import (
    Finite,
    config_option,
    dsn_option,
    said_plainly,
    say,
    set_up_logging,
    settings_of,
)
from gateway.config import Settings, address_of
from gateway.dispatch.worker import Worker
from gateway.errors import ConfigError, LeaseLost, StoreError

MOST_WORKERS = 256
LOOK_S = 0.05
# A start that Postgres refused for the moment is tried again so often, after so long.
MOST_TRIES = 5
RETRY_S = 1.0


@click.command()
@config_option
@dsn_option
@click.option("--carrier", "carriers", multiple=True, metavar="NAME", help="Serve these carriers alone.")
@click.option(
    "--workers", type=click.IntRange(1, MOST_WORKERS), default=1, show_default=True, help="Processes on this node."
)
@click.option("--node", default="", metavar="NAME", help="Name of this node, another one on each.")
@click.option("--place", type=click.IntRange(0, MOST_WORKERS - 1), default=None, hidden=True)
@click.option("--report-every", type=Finite(), default=10.0, show_default=True, help="Seconds; 0 = never.")
@click.option("-v", "--verbose", count=True)
def run(
    config: Path | None,
    dsn: str,
    carriers: tuple[str, ...],
    workers: int,
    node: str,
    place: int | None,
    report_every: float,
    verbose: int,
) -> None:
    """Send what is queued, until SIGTERM or Ctrl-C; then drain the windows, unbind, and give back what is left.

    Any number of them may run on one database, here and on other hosts: they share the binds and the rate of every
    account. SIGUSR1 replaces the processes of `--workers` one after the other.
    """
    set_up_logging(verbose)
    with said_plainly():
        settings = settings_of(config, dsn)
        if not settings.carriers:
            raise ConfigError([("carriers", "at least one [carriers.NAME] section", "none")])
        for name in carriers:
            settings.carrier(name)
        names = list(dict.fromkeys(carriers)) or None
        node = node or settings.worker.node or f"{socket.gethostname()}-{os.getpid()}"
        if place is not None:
            app.run(serve(shifted(settings, place), names, report_every, node, place, is_kept=True))
        elif workers == 1:
            app.run(serve(settings, names, report_every, node))
        else:
            words = [
                "--node",
                node,
                "--report-every",
                str(report_every),
                *("-" + "v" * verbose for _ in range(verbose > 0)),
            ]
            words += [word for name in names or () for word in ("--carrier", name)]
            words += ["--config", str(config)] if config is not None else []
            raise SystemExit(app.run(_workers.keep(settings, workers, words)))


def shifted(settings: Settings, place: int) -> Settings:
    """Settings of one of several workers of a node: the port for its figures is `place` above the first one's."""
    listen = address_of(settings.worker.metrics_listen, 0)
    if listen is None or not listen[1]:
        return settings
    host, port = listen
    host = f"[{host}]" if ":" in host else host
    worker = msgspec.structs.replace(settings.worker, metrics_listen=f"{host}:{port + place}")
    return msgspec.structs.replace(settings, worker=worker)


async def serve(
    settings: Settings,
    carriers: list[str] | None,
    report_every: float,
    node: str,
    place: int = 0,
    *,
    is_kept: bool = False,
) -> None:
    """Run a worker until a signal; one that was taken for dead begins anew as another one.

    is_kept  somebody keeps this process: it is told when we are up, and when it has gone we stop
    """
    stop = asyncio.Event()
    with app.stop_signals(stop.set):
        if is_kept:
            _workers.stop_with_keeper(stop)
        if not await app.until_it_answers(settings, stop, say):
            return
        async with app.open_database(settings) as database:
            tries = 0
            while not stop.is_set():
                try:
                    async with app.open_worker(settings, database, carriers, node=node, place=place) as worker:
                        say(f"running {worker.instance}: {', '.join(lane.name for lane in worker.lanes)}")
                        await _until(stop, worker, report_every, is_kept)
                        say("stopping: draining the windows")
                except LeaseLost as lost:
                    tries = 0
                    say(f"{lost}; begins anew")
                except StoreError as error:
                    # A deadlock with who takes over from us, say: the same may succeed in a moment.
                    tries += 1
                    if not error.retryable or tries > MOST_TRIES:
                        raise
                    say(f"{error}; begins anew in {RETRY_S:g} s")
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(RETRY_S):
                            await stop.wait()


async def _until(stop: asyncio.Event, worker: Worker, report_every: float, is_kept: bool) -> None:
    """Report until a signal; raises what the worker failed of."""
    assert worker.failed is not None
    stopped = asyncio.create_task(stop.wait())
    is_told = not is_kept
    loop = asyncio.get_running_loop()
    report_at = loop.time() + report_every
    try:
        while not stopped.done():
            if not is_told and worker.is_up:
                is_told = True
                _workers.tell_up()
            pauses = [LOOK_S] if not is_told else []
            pauses += [max(0.0, report_at - loop.time())] if report_every else []
            await asyncio.wait(
                (stopped, worker.failed), timeout=min(pauses, default=None), return_when=asyncio.FIRST_COMPLETED
            )
            if worker.failed.done():
                worker.failed.result()
            if report_every and loop.time() >= report_at:
                report_at = loop.time() + report_every
                report(worker)
    finally:
        stopped.cancel()


def report(worker: Worker) -> None:
    """Say how each carrier stands, a line each."""
    for lane in worker.lanes:
        ledger = lane.carrier.ledger
        say(
            f"{lane.name}: {'up' if lane.carrier.is_up else 'down'} {lane.intents.rate_per_s:,.0f}/s "
            f"window {lane.carrier.in_flight}/{lane.carrier.window_size} sent {ledger.submitted:,} "
            f"accepted {ledger.accepted:,} receipts {lane.receipts_matched:,}"
        )
