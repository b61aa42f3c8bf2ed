"""X1: a whole life at -vv with canaries for passwords, texts and numbers; none of them is ever told.

What a person asks to see he is shown: `trace`, `inbound`, `pcap` and an import with --show-numbers. Of them all only
the passwords are looked for. Everything else (logs, errors, reports, metrics, arguments of processes, what a crash
leaves) holds none of the canaries, numbers as their last digits at most.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.commands.conftest import DSN_PASSWORD, PATIENCE_S, ROOT

PASSWORD, WRONG, OUTBIND = "c4nPass1", "c4nPass2", "c4nPass3"
TEXT, NAME, WRITTEN = "c4nText-out", "C4nName", "c4nText-in"
# Of +44 7911 1234nn and +44 7700 900777; a report may tell the last three digits.
PEOPLE, HANDSET = "79111234", "447700900777"
PASSWORDS = (PASSWORD, WRONG, OUTBIND, DSN_PASSWORD)
CANARIES = (*PASSWORDS, TEXT, NAME, WRITTEN, PEOPLE, HANDSET[2:-3])
SIMULATOR = f"""
seed = 3
[[carrier]]
name = "watched"
[[carrier.account]]
system_id = "me"
password = "{PASSWORD}"
[carrier.responses]
errors = {{ RSYSERR = 0.2, RINVDSTADR = 0.2, RMSGQFUL = 0.1 }}
[carrier.receipts]
delay_ms = 1
[carrier.inbound]
per_s = 40
source = "{HANDSET}"
texts = ["{WRITTEN}", "STOP {WRITTEN}"]
[carrier.drops]
every = 60
"""
SETTINGS = """
[worker]
metrics_listen = "127.0.0.1:{metrics}"
flush_interval_s = 0.01
[carriers.watched]
host = "127.0.0.1"
port = {port}
system_id = "me"
password = "{password}"
reconnect_first_s = 0.05
reconnect_longest_s = 0.2
retry_delay_s = 0.01
retry_longest_s = 0.02
[carriers.locked]
host = "127.0.0.1"
port = {port}
system_id = "me"
password = "{wrong}"
reconnect_first_s = 0.05
reconnect_longest_s = 0.1
[carriers.called]
host = "127.0.0.1"
port = {port}
system_id = "me"
password = "{wrong}"
outbind_listen = "127.0.0.1:{outbind}"
outbind_password = "{outbind_password}"
"""


def found(said, canaries=CANARIES):
    """The canaries that are told, each with what stands around it."""
    said = re.sub(r"[ ()-](?=\d)", "", said)  # a number is one however it is written
    return [said[max(0, at.start() - 60) : at.end() + 20] for one in canaries for at in re.finditer(one, said)]


def arguments_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return closed.getsockname()[1]


@pytest.fixture
def watched(tmp_path):
    """A carrier with passwords, refusals, handsets and cuts, and settings for it; -> its process, the metrics' port."""
    (tmp_path / "simulator.toml").write_text(SIMULATOR)
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "simulate", "--config", "simulator.toml"], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    port = json.loads(process.stdout.readline())["port"]
    metrics = free_port()
    given = {"password": PASSWORD, "wrong": WRONG, "outbind_password": OUTBIND, "outbind": free_port()}
    (tmp_path / "sluice.toml").write_text(SETTINGS.format(port=port, metrics=metrics, **given))
    yield process, metrics
    process.kill()
    process.communicate()


@pytest.fixture
def settings(watched):
    """Stand in for the settings of other tests: `queue` asks for them."""


@pytest.fixture
def people(tmp_path):
    rows = "".join(f"+44{PEOPLE}{n:02},{NAME}\n" for n in range(30)) + f"+44{PEOPLE},{NAME}\n"
    (tmp_path / "people.csv").write_text("phone,first_name\n" + rows)
    return "people.csv"


def test_whole_life_tells_none_of_its_canaries(watched, start, sluice, here, queue, eventually, people, tmp_path):
    simulator, metrics = watched
    worker = start("run", "-vv", "--report-every", "0.1")
    worker.says("RINVPASWD")  # of the carrier whose password is wrong
    told = [
        sluice("send", "--contacts", people, "--text", f"{TEXT} {{{{ first_name }}}}", "--carrier", "watched", *more)
        for more in (("-vv", "--dry-run"), ("-vv", "--detach"))
    ]
    eventually("SELECT count(DISTINCT (chunk_id, pos)) >= 20 FROM outcome")
    eventually("SELECT count(*) > 20 FROM inbound_message")
    eventually("SELECT count(*) > 0 FROM receipt")
    asked = [(word, *more) for word in ("status", "top", "check-config", "carriers") for more in ((), ("--json",))]
    told += [here(*each, *(("--once",) if each[0] == "top" else ())) for each in asked]
    shown = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5).read().decode()
    assert "sluice_" in shown and not found(shown)
    for pid in (worker.process.pid, simulator.pid):
        assert arguments_of(pid) and not found(arguments_of(pid))
    # What is asked for is shown, but never a password.
    [(message_id,)] = queue("SELECT message_id FROM outcome WHERE status = 0 LIMIT 1")
    for each in (("trace", message_id), ("inbound",), ("pcap", "watched", "wire.pcap")):
        result = here(*each)
        assert result.code == 0 and not found(result.out + result.err, PASSWORDS)
    assert not [one for one in PASSWORDS if one.encode() in (tmp_path / "wire.pcap").read_bytes()]
    worker.process.send_signal(signal.SIGTERM)
    worker.says("stopping")
    worker.process.kill()  # what waits for another try would hold the end up
    ended = worker.finishes()
    told.append(ended)
    simulator.terminate()
    assert not found("".join(simulator.communicate()))
    for each in told:
        assert not found(each.out + each.err)


def test_what_postgres_says_of_a_row_it_refuses_is_not_told(watched, start, sluice, queue, eventually, people):
    """A constraint that fails names the whole row: text and number, in a detail of the error."""
    queue("ALTER TABLE inbound ADD CHECK (octet_length(pdu) = 0) NOT VALID")
    worker = start("run", "-vv")
    worker.says("23514")
    worker.process.send_signal(signal.SIGTERM)
    worker.says("stopping")
    # It would try to write what it has for half a minute.
    worker.process.kill()
    out, err = worker.process.communicate()
    said = "".join(worker._said) + out + err
    assert not found(said) and HANDSET.encode().hex() not in said and WRITTEN.encode().hex() not in said


def test_crash_leaves_neither_core_nor_canary(watched, environment, start, sluice, queue, eventually, people, tmp_path):
    environment["PYTHONFAULTHANDLER"] = "1"
    worker = start("run", "-vv")
    worker.says("running")
    sluice("send", "--contacts", people, "--text", f"{TEXT} {{{{ first_name }}}}", "--carrier", "watched", "--detach")
    eventually("SELECT count(*) > 5 FROM outcome")
    worker.process.send_signal(signal.SIGABRT)
    out, err = worker.process.communicate(timeout=PATIENCE_S)
    said = "".join(worker._said) + out + err
    assert "Fatal Python error" in said and not found(said)
    assert not list(tmp_path.glob("core*"))


@pytest.mark.parametrize(
    "line",
    [
        f'password = ["{PASSWORD}"]',
        f'password = "{PASSWORD}-longer-than-any-carrier-takes"',
        f'outbind_password = {{ a = "{PASSWORD}" }}',
        f'password_env = "NOT_SET"\npassword = "{PASSWORD}"',
        f'passwort = "{PASSWORD}"',
        f'password = "{PASSWORD}',
        f'password = "{PASSWORD}\\q"',
    ],
)
def test_settings_that_are_wrong_are_told_without_their_secrets(here, tmp_path, line):
    (tmp_path / "sluice.toml").write_text(f'[carriers.a]\nhost = "h"\nsystem_id = "a"\n{line}\n')
    result = here("check-config")
    assert result.code == 78 and not found(result.out + result.err)


@pytest.mark.parametrize("option", [("--dsn", "{}"), ("--dsn={}",)])
@pytest.mark.parametrize(
    "dsn",
    [f"postgresql://u:{DSN_PASSWORD}@127.0.0.1:1/d", f"postgresql://127.0.0.1:1/d?user=u&password={DSN_PASSWORD}"],
)
def test_database_that_is_away_is_told_of_without_its_password(sluice, tmp_path, option, dsn):
    result = sluice("status", *(word.format(dsn) for word in option))
    assert result.code == 75 and not found(result.out + result.err)
