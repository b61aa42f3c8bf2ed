"""`sluice pcap`: the last octets of a carrier's binds, from the running workers, as files that Wireshark opens."""

import os
from pathlib import Path

import click

from gateway import app
from gateway.commands import _wire
from gateway.commands._options import config_option, dsn_option, plain, said_plainly, say, settings_of
from gateway.config import Settings
from gateway.smpp.capture import Tape, pcap_of, pdus_of
from gateway.store import migrate

QUERY_S = 30.0


@click.command()
@config_option
@dsn_option
@click.option("--bind", "place", type=click.IntRange(1, 256), help="One bind of the account alone, from 1.")
@click.option("--redact", "redacts", is_flag=True, help="Mask texts, and the last digits of numbers.")
@click.option(
    "--wait",
    "patience_s",
    type=click.FloatRange(0.1, 20.0),
    default=5.0,
    show_default=True,
    help="Seconds for answers.",
)
@click.argument("carrier")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
def pcap(
    config: Path | None, dsn: str, place: int | None, redacts: bool, patience_s: float, carrier: str, file: Path | None
) -> None:
    """Write what the binds of CARRIER sent and received last, one file a bind, to FILE or CARRIER.pcap.

    Of several binds or workers each one's file bears its number. Passwords are masked always; texts and numbers
    stand in it unless --redact is given. Under TLS it holds what went through inside. The worker keeps pcap_octets of
    every bind; each connection is a TCP stream of its own.
    """
    with said_plainly():
        settings = settings_of(config, dsn)
        section = settings.carrier(carrier)
        if not section.pcap_octets:
            raise click.ClickException(f"carriers.{carrier}.pcap_octets is 0: nothing is kept")
        if not app.has_database(settings):
            raise click.ClickException(f"no database in {settings.data_root} yet: no worker has ever run")
        found, silent = app.run(collect(settings, carrier, place, redacts, patience_s))
        for instance in sorted(silent):
            say(f"worker {instance}: no answer within {patience_s:g} s")
        if not found:
            raise click.ClickException(f"{carrier}: no running worker has such a bind; start one with `sluice run`")
        for path, (instance, tape) in files_of(found, file or Path(f"{carrier}.pcap")):
            write(path, pcap_of(tape))
            click.echo(f"{plain(str(path))}  {tape.bind} of {instance}: {described(tape)}")
    if silent:
        raise SystemExit(1)


async def collect(
    settings: Settings, carrier: str, place: int | None, redacts: bool, patience_s: float
) -> tuple[list[tuple[str, Tape]], set[str]]:
    """Ask; raises StoreError."""
    async with app.open_database(settings, migrates=False) as database:
        await migrate.require(database.dsn)
        async with database.connection(QUERY_S) as connection:
            return await _wire.tapes(connection, carrier, patience_s, place=place, redacts=redacts)


def files_of(found: list[tuple[str, Tape]], file: Path) -> list[tuple[Path, tuple[str, Tape]]]:
    """Name a file for each: the one that was given where there is one, else with the bind's number and the worker's."""
    if len(found) == 1:
        return [(file, found[0])]
    workers = sorted({instance for instance, _ in found})
    named = []
    for instance, tape in found:
        marks = f"-{tape.bind.rpartition('#')[2]}" + (f"-worker{workers.index(instance) + 1}" if workers[1:] else "")
        named.append((file.with_name(f"{file.stem}{marks}{file.suffix}"), (instance, tape)))
    return named


def write(path: Path, octets: bytes) -> None:
    """Write a file that nobody else may read: texts and numbers of people stand in it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(octets)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from error


def described(tape: Tape) -> str:
    """Say how much it is, for a person."""
    if not tape.cuts:
        return "nothing has crossed it"
    seconds = tape.cuts[-1].at - tape.cuts[0].at
    connections = len({cut.connection for cut in tape.cuts})
    return (
        f"{len(pdus_of(tape)):,} PDUs, {sum(len(cut.octets) for cut in tape.cuts):,} octets, {seconds:.1f} s, "
        f"{connections} connection{'s' if connections > 1 else ''}"
    )
