"""`sluice demo`: everything on this machine, from a file of made-up customers to the last receipt.

    customers.csv ─► dry run ─► Postgres ─► worker ─► simulator: north (two trx binds), south (tx + rx)

The folder stays: its settings, its file and its database are there to go on with.
"""

import asyncio
import contextlib
import fcntl
import os
import random
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from _fastpath.template import Template
from gateway import app
from gateway.commands import _life, send
from gateway.commands._campaign import RunReport, print_report, report_of, send_to_end
from gateway.commands._options import dsn_option, plain, said_plainly, say, set_up_logging
from gateway.config import Settings, load
from gateway.contacts.report import Report
from gateway.dispatch.route import table_of
from gateway.errors import StoreError
from gateway.message import Encoding
from gateway.store import runs

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
CARRIERS = ("north", "south")

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
adaptive_start = 1.0
source = "12345"
source_ton = 3
weight = 2
"""


# The ranges above hold three million numbers; near that, new ones are hard to draw.
MOST_PEOPLE = 2_000_000
# A simulator whose demo was killed ends by itself.
IDLE_S = 60


@click.command()
@click.option("--people", type=click.IntRange(1, MOST_PEOPLE), default=100_000, show_default=True)
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="By default .sluice/demo, or $SLUICE_HOME/demo."
)
@dsn_option
@click.option("--seed", type=int, default=1, show_default=True, help="Of names, numbers and the simulator's chance.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option("-v", "--verbose", count=True)
def demo(people: int, folder: Path | None, dsn: str, seed: int, as_json: bool, verbose: int) -> None:
    """Import customers, send a campaign to them through a simulator with two carriers, and report."""
    set_up_logging(verbose)
    started = time.monotonic()
    home = os.environ.get("SLUICE_HOME")
    folder = (folder or (Path(home) if home else Path(".sluice")) / "demo").absolute()
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / "lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write_people(folder / "customers.csv", people, seed)
            write_settings(folder, seed, dict.fromkeys(CARRIERS, 0))
        except BlockingIOError as error:
            raise click.ClickException(f"a demo runs in {plain(str(folder))}: wait for it, or give --folder") from error
        except OSError as error:
            raise click.ClickException(f"{plain(str(error.filename or folder))}: {error.strerror}") from error
        stack.enter_context(said_plainly())
        is_ended = app.run(play(folder, dsn, seed, as_json))
    say(f"took        {time.monotonic() - started:.1f} s, from the file to this report")
    if not is_ended:
        say("stopped before the end")
        sys.exit(1)
    say(how_to_go_on(folder))


def write_settings(folder: Path, seed: int, ports: dict[str, int]) -> None:
    """Write the simulator's settings and ours. Port 0: any that is free."""
    (folder / "simulator.toml").write_text(SIMULATOR.format(seed=seed, **ports), encoding="utf-8")
    (folder / "sluice.toml").write_text(SETTINGS.format(**ports), encoding="utf-8")


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


async def play(folder: Path, dsn: str, seed: int, as_json: bool) -> bool:
    """Run the demo to its report; -> whether it came to its end."""
    contacts = folder / "customers.csv"
    options: dict[str, Any] = {
        **dict.fromkeys(("encoding", "delimiter", "header", "region", "number_column", "expires_after")),
        **dict.fromkeys(("mobile_only", "show_numbers"), False),
        "contacts": str(contacts),
        "forms": "mixed",
        "again": True,
        "plan": None,
        "parts": 1,
        "accept_shortfall": True,
        "name": "win-back, 20 % off",
        "class_": "bulk",
        "policy": "once",
        "receipt_policy": "worst",
        "priority": 0,
        "sender": "",
        "asked": Encoding(),
    }
    template = Template(TEXT)
    options |= {"fields": template.fields, "links": {}, "brand": ""}
    say(f"folder      {plain(str(folder))}")
    reading = send.open_reading(options, template.fields)
    with reading.table:
        report = reading.run()
    say(report.as_text().rstrip("\n"))
    stop = asyncio.Event()
    with app.stop_signals(stop.set):
        async with contextlib.AsyncExitStack() as stack:
            arguments = ("--config", str(folder / "simulator.toml"), "--exit-after-idle", str(IDLE_S))
            _, first = await stack.enter_async_context(_life.simulator(*arguments))
            # Whoever goes on finds the carriers where they were.
            write_settings(folder, seed, {each["carrier"]: each["port"] for each in first["listening"]})
            settings = load(folder / "sluice.toml", environment={"SLUICE__DATABASE__DSN": dsn} if dsn else {})
            try:
                database = await stack.enter_async_context(app.open_database(settings))
            except StoreError as error:
                if error.retryable or dsn:
                    raise
                hint = f"the demo's own database does not fit: remove {folder / 'postgres'}, or give another --folder"
                raise StoreError(f"{error}\n{hint}") from error
            run = await _enqueue(settings, database, template, options, report)
            async with app.open_worker(settings, database, chance=random.Random(seed)) as worker:
                is_ended = await send_to_end(database, worker, run, wait_receipts_s=5.0, quiet=as_json, stop=stop)
            async with database.connection() as connection:
                result: RunReport = await report_of(connection, run)
    print_report(result, as_json)
    return is_ended


async def _enqueue(
    settings: Settings, database: app.Database, template: Template, options: dict[str, Any], report: Report
) -> runs.Run:
    started = time.monotonic()
    run = await send.enqueue(settings, database, table_of(settings, CARRIERS), template, options, report.sha256)
    took = time.monotonic() - started
    say(f"enqueued    {run.recipients:,} messages in {took:.1f} s ({run.recipients / took:,.0f} rows/s)")
    return run


def how_to_go_on(folder: Path) -> str:
    """Commands to copy, from the current folder."""
    command = shutil.which("sluice") or ".venv/bin/sluice"
    config = str(folder / "sluice.toml")
    with contextlib.suppress(ValueError):
        command = os.path.relpath(Path(sys.executable).with_name("sluice"))
        config = os.path.relpath(config)
    command, config, simulator = (
        shlex.quote(plain(each)) for each in (command, config, config.replace("sluice.toml", "simulator.toml"))
    )
    return f"""
how to go on
  {command} status --config {config}
  {command} simulate --config {simulator}          # the two carriers again
  {command} send --config {config} --contacts FILE.csv --carrier north --text 'Hi {{{{ first_name|default("there") }}}}'
  {command} bench life --messages 1000000 --receipts
The path of a message, in ten minutes: docs/tour.md"""
