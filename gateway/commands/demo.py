"""`sluice demo`: everything on this machine, from a file of made-up customers to the last receipt.

    customers.csv ─► dry run ─► Postgres ─► worker ─► simulator: north (two trx binds), south (tx + rx)

The folder stays: its settings, its file and its database are there to go on with.
"""

import asyncio
import contextlib
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from _fastpath.template import Template
from gateway import app
from gateway.commands import _life, send
from gateway.commands._campaign import print_report, report_of, send_to_end
from gateway.commands._options import said_plainly, set_up_logging
from gateway.config import load

TEXT = (
    'Hi {{ first_name|default("there") }}, we have missed you in {{ city|default("our shop") }}. '
    "Your code {{ code }} gives 20 % off until Sunday. Reply STOP to end."
)
FIRST_NAMES = (
    "Ann", "Katarina", "Mohammed", "José", "Zoë", "Li", "Jürgen", "Amélie", "Olga", "Noah", "Søren", "Elif", "Ivo",
    "Мария", "Θάλεια",
)  # fmt: skip
CITIES = ("London", "Köln", "Paris", "Zagreb", "Kraków", "Málaga", "Tromsø", "")
# Ranges of mobile numbers that are in use, so that the dry run has something to verify: prefix, digits that follow.
RANGES = (("+447400", 6), ("+4915112", 6), ("+336123", 5), ("+385911", 6), ("+3467712", 4), ("+4790012", 3))
DAMAGED = 0.002

SIMULATOR = """\
seed = {seed}

[[carrier]]
name = "north"
port = {north}
[[carrier.account]]
system_id = "north"
password = "demo"
[carrier.responses]
delay_ms = 2
jitter_ms = 3
[carrier.receipts]
delay_ms = 150
jitter_ms = 400
states = {{ DELIVRD = 0.955, UNDELIV = 0.03, EXPIRED = 0.015 }}

[[carrier]]
name = "south"
port = {south}
first_id = 5000000000
[[carrier.account]]
system_id = "south"
password = "demo"
tps = 14000
[carrier.limit]
model = "sliding"
[carrier.responses]
delay_ms = 5
jitter_ms = 10
errors = {{ RINVDSTADR = 0.004 }}
[carrier.receipts]
delay_ms = 300
jitter_ms = 900
format = "short"
tlvs = false
states = {{ DELIVRD = 0.93, UNDELIV = 0.05, REJECTD = 0.02 }}
"""

SETTINGS = """\
# The demo's settings. `sluice simulate --config simulator.toml` is the other side of it.
[database]
data_root = "."

[carriers.north]
host = "127.0.0.1"
port = {north}
system_id = "north"
password = "demo"
binds = 2
window = 100
source = "Demo"
weight = 3

[carriers.south]
host = "127.0.0.1"
port = {south}
system_id = "south"
password = "demo"
bind = "tx+rx"
window = 400
tps = 13000
source = "12345"
source_ton = 3
weight = 2
"""


@click.command()
@click.option("--people", type=click.IntRange(1, 10_000_000), default=100_000, show_default=True)
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="By default .sluice/demo, or $SLUICE_HOME/demo."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of names, numbers and the simulator's chance.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option("-v", "--verbose", count=True)
def demo(people: int, folder: Path | None, seed: int, as_json: bool, verbose: int) -> None:
    """Import customers, send a campaign to them through a simulator with two carriers, and report."""
    set_up_logging(verbose)
    home = os.environ.get("SLUICE_HOME")
    folder = (folder or (Path(home) if home else Path(".sluice")) / "demo").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with said_plainly():
        app.run(play(folder, people, seed, as_json))


def write_people(path: Path, people: int, seed: int) -> None:
    """Write a file as customers' systems do: semicolons, accents, a few rows that are wrong."""
    chance = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("mobile;first_name;city;code\r\n")
        seen: set[str] = set()
        while len(seen) < people:
            prefix, digits = RANGES[chance.randrange(len(RANGES))] if len(seen) < 5000 else RANGES[chance.randrange(4)]
            number = f"{prefix}{chance.randrange(10**digits):0{digits}}"
            if number in seen:
                continue
            seen.add(number)
            code = f"{chance.randrange(36**5):x}"
            file.write(f"{number};{chance.choice(FIRST_NAMES)};{chance.choice(CITIES)};{code}\r\n")
            if chance.random() < DAMAGED:
                wrong = (
                    f"{number};{chance.choice(FIRST_NAMES)};;twice",
                    "4,477E+11;Excel;;x",
                    f"{prefix[:6]};short;;x",
                    "n/a;;;x",
                )
                file.write(chance.choice(wrong) + "\r\n")


async def play(folder: Path, people: int, seed: int, as_json: bool) -> None:
    """Run the demo to its report."""
    started = time.monotonic()
    contacts = folder / "customers.csv"
    write_people(contacts, people, seed)
    north, south = _free_ports(2)
    (folder / "simulator.toml").write_text(SIMULATOR.format(seed=seed, north=north, south=south), encoding="utf-8")
    (folder / "sluice.toml").write_text(SETTINGS.format(north=north, south=south), encoding="utf-8")
    settings = load(folder / "sluice.toml", environment={})
    options: dict[str, Any] = {
        **dict.fromkeys(("encoding", "delimiter", "header", "region", "number_column", "expires_after")),
        **dict.fromkeys(("mobile_only", "show_numbers"), False),
        "contacts": str(contacts),
        "forms": "mixed",
        "again": True,
        "name": "win-back, 20 % off",
        "class_": "bulk",
        "policy": "once",
    }
    template = Template(TEXT)
    _say(f"folder      {folder}")
    reading = send.open_reading(options, template.fields)
    with reading.table:
        report = reading.run()
    click.echo(report.as_text(), nl=False, err=True)
    stop = asyncio.Event()
    with app.stop_signals(stop.set):
        async with app.open_database(settings) as database:
            async with _life.simulator("--config", str(folder / "simulator.toml")):
                imported = time.monotonic()
                run = await send.enqueue(settings, database, ["north", "south"], template, options, report.sha256)
                took = time.monotonic() - imported
                _say(f"enqueued    {run.recipients:,} messages in {took:.1f} s ({run.recipients / took:,.0f} rows/s)")
                async with app.open_worker(settings, database, chance=random.Random(seed)) as worker:
                    ended = await send_to_end(database, worker, run, wait_receipts_s=5.0, quiet=as_json, stop=stop)
            async with database.connection() as connection:
                result = await report_of(connection, run)
    print_report(result, as_json)
    command = shutil.which("sluice") or ".venv/bin/sluice"
    with contextlib.suppress(ValueError):
        command = os.path.relpath(Path(sys.executable).with_name("sluice"))
    config = folder / "sluice.toml"
    with contextlib.suppress(ValueError):
        config = Path(os.path.relpath(config))
    _say(f"took        {time.monotonic() - started:.1f} s, from the file to this report")
    if not ended:
        _say("stopped before the end")
        sys.exit(1)
    _say(
        f"""
how to go on
  {command} status --config {config}
  {command} simulate --config {config.with_name("simulator.toml")}          # the two carriers again
  {command} send --config {config} --contacts FILE.csv --carrier north --text 'Hi {{{{ first_name|default("there") }}}}'
  {command} bench life --messages 1000000 --receipts
The path of a message, in ten minutes: docs/tour.md"""
    )


def _say(text: str) -> None:
    click.echo(text, err=True)


def _free_ports(count: int) -> list[int]:
    import socket

    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
