"""The command line as processes: their environment, their settings, and carriers to send through.

    sluice("send", "--contacts", …)     run a command to its end, in a process of its own where it sends; -> Finished
    here("check-config")                the same in this process, for one that starts nothing
    start("run", …)                     start one that goes on; -> Running
    settings(guarded={"password": "x"}) write sluice.toml: the carriers below, some keys changed

Carriers: north and south take everybody, slow answers late, busy mostly says it is busy, guarded knows one password,
nowhere is a closed port.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from gateway.__main__ import main

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30
RIGHT = "r1ght-pw"
WRONG = "wr0ng-pw"
DSN_PASSWORD = "dsn-s3cret"
SECRETS = (RIGHT, WRONG, DSN_PASSWORD)
# What asks a database, and tells it: no worker, server or watch of its own is begun by it.
ASKING = frozenset(
    "audience audit brand consent contacts events explain goal import inbound list migrate page profile route source "
    "start status stop".split()
)
SIMULATOR = """
seed = 1
[[carrier]]
name = "north"
anybody = true
[carrier.receipts]
delay_ms = 1
[[carrier]]
name = "south"
anybody = true
[carrier.receipts]
delay_ms = 1
[[carrier]]
name = "slow"
anybody = true
[carrier.responses]
delay_ms = 150
[carrier.receipts]
delay_ms = 1
[[carrier]]
name = "busy"
anybody = true
[carrier.responses]
errors = { RSYSERR = 0.9 }
[carrier.receipts]
delay_ms = 1
[[carrier]]
name = "guarded"
[[carrier.account]]
system_id = "guard"
password = "r1ght-pw"
[carrier.receipts]
delay_ms = 1
"""


def pytest_collection_modifyitems(items):
    """Mark what starts processes: each costs half a second, and ./dev quick has ten."""
    for item in items:
        if {"sluice", "start"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@dataclass(frozen=True)
class Finished:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one object that it printed."""
        return json.loads(self.out)


def checked(code, out, err):
    """No command ever shows a traceback or a secret."""
    assert "Traceback" not in out + err, err
    assert not [secret for secret in SECRETS if secret in out + err]
    return Finished(code, out, err)


class Running:
    """A command that goes on; its standard error is read line by line."""

    def __init__(self, arguments, environment, folder):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *arguments],
            env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, encoding="utf-8",
        )  # fmt: skip
        self._said = []
        # A command that never says what it is waited for ends here, and the wait with it.
        self._patience = threading.Timer(PATIENCE_S, self.process.kill)
        self._patience.start()

    def says(self, text):
        """Wait for a line with this text in it; -> the line."""
        for line in self.process.stderr:
            self._said.append(line)
            if text in line:
                return line
        raise AssertionError(f"never said {text!r}: {''.join(self._said)}")

    def ends(self, number=signal.SIGTERM):
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.finishes()

    def finishes(self):
        """Wait for the end."""
        out, err = self.process.communicate()
        self._patience.cancel()
        return checked(self.process.returncode, out, "".join(self._said) + err)

    def cut_off(self):
        """End it, whatever it does."""
        self._patience.cancel()
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="session")
def ports(tmp_path_factory):
    """A simulator for all tests of this process; -> port by carrier."""
    path = tmp_path_factory.mktemp("simulator") / "simulator.toml"
    path.write_text(SIMULATOR)
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "simulate", "--config", str(path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = closed.getsockname()[1]
    found = {each["carrier"]: each["port"] for each in json.loads(process.stdout.readline())["listening"]}
    yield {**found, "nowhere": nowhere}
    process.terminate()
    process.communicate()


@pytest.fixture
def environment(tmp_path):
    """No settings of whoever runs the tests, and a data root of the test's own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SLUICE")}
    return kept | {
        "SLUICE_ALLOW_FSYNC_OFF": "1",
        "SLUICE_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
    }


def toml_of(value):
    """A value as TOML writes it in a line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_of(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    return json.dumps(value)


@pytest.fixture
def settings(tmp_path, ports):
    """Write sluice.toml into the test's folder."""

    def write(**changed):
        text = ""
        for name, port in ports.items():
            system_id, password = ("guard", RIGHT) if name == "guarded" else (name, "")
            values = {
                "host": "127.0.0.1", "port": port, "system_id": system_id, "password": password,
                "reconnect_first_s": 0.05, "reconnect_longest_s": 0.2, **changed.get(name, {}),
            }  # fmt: skip
            text += f"[carriers.{name}]\n" + "".join(f"{key} = {toml_of(value)}\n" for key, value in values.items())
        (tmp_path / "sluice.toml").write_text(text)

    write()
    return write


@pytest.fixture
def sluice(tmp_path, environment):
    """Run commands to their ends in the test's folder; those that only ask and tell its database in this process."""

    def run(*arguments, **changed):
        if "SLUICE_DSN" in environment and arguments[0] in ASKING and all(key.startswith("SLUICE") for key in changed):
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop()
                raise AssertionError(f"{arguments[0]}: in a loop of the test there is no other")
            return in_this_process(arguments, environment | changed, tmp_path)
        process = subprocess.run(
            [sys.executable, "-m", "gateway", *map(os.fsdecode, arguments)],
            env=environment | changed, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            encoding="utf-8", timeout=PATIENCE_S,
        )  # fmt: skip
        return checked(process.returncode, process.stdout, process.stderr)

    return run


@pytest.fixture
def here(tmp_path, environment):
    """Run commands that start nothing in this process, which is ten times as fast."""
    return lambda *arguments: in_this_process(arguments, environment, tmp_path)


def in_this_process(arguments, environment, folder):
    """Run a command that starts nothing, and finds nothing of ours in its environment; -> Finished."""
    given = {key: value for key, value in environment.items() if key.startswith("SLUICE")}
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for name in [name for name in os.environ if name.startswith("SLUICE")]:
            patched.delenv(name)
        result = CliRunner().invoke(main, list(map(os.fsdecode, arguments)), env=given, prog_name="sluice")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return checked(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def start(tmp_path, environment):
    """Start commands in the test's folder; they are cut off with the test."""
    started = []

    def run(*arguments):
        started.append(Running(arguments, environment, tmp_path))
        return started[-1]

    yield run
    for running in started:
        running.cut_off()


@pytest.fixture
def queue(dsn, settings, environment):
    """Let every command use a database of the test's own, by a DSN with a password; -> fetch(sql): rows."""
    environment["SLUICE_DSN"] = dsn.replace("@", f":{DSN_PASSWORD}@", 1) if ":" not in dsn.split("@")[0][13:] else dsn

    def fetch(sql):
        async def ask():
            connection = await asyncpg.connect(dsn)
            try:
                return [tuple(row) for row in await connection.fetch(sql)]
            finally:
                await connection.close()

        return asyncio.new_event_loop().run_until_complete(ask())

    return fetch


@pytest.fixture
def eventually(queue):
    """Wait until a statement says true; each asking is a connection, which is pause enough."""

    def wait(sql):
        until = time.monotonic() + PATIENCE_S
        while queue(sql) != [(True,)]:
            assert time.monotonic() < until, f"never true: {sql}"

    return wait


@pytest.fixture
def serving(start, eventually):
    """Start a worker that goes on, and wait until its binds to a carrier are up."""

    def run(carrier):
        running = start("run")
        eventually(
            f"SELECT coalesce(bool_or((report::jsonb #>> '{{carriers,{carrier},up}}')::boolean), false) FROM worker"
        )
        return running

    return run


@pytest.fixture
def people(tmp_path):
    """Write people.csv with so many people in it, or these lines; -> its name."""

    def write(lines=20, name="people.csv"):
        if isinstance(lines, int):
            rows = [f"+44{7911123400 + n},Person{n}" for n in range(lines)]
            lines = "phone,first_name\n" + "\n".join(rows) + "\n"
        (tmp_path / name).write_bytes(lines if isinstance(lines, bytes) else lines.encode())
        return name

    return write
