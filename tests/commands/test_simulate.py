"""`sluice simulate` as a process of its own: its first line, its last, its refusals."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from gateway.commands.simulate import simulate
from gateway.simulator.ledger import read
from gateway.smpp.pdu import Pdu, encode

PATIENCE_S = 20
BIND = {"system_id": "any", "password": "one", "interface_version": 0x34}
MESSAGE = {"source_addr": "B", "destination_addr": "447700900001", "short_message": b"hi"}


def started(*options):
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", "simulate", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def sent(port, count):
    """Bind, send and wait for all answers; the connection stays open until the caller lets it go."""
    link = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    link.sendall(encode(Pdu(command="bind_transceiver", sequence_number=1, fields=BIND)))
    link.recv(1000)
    link.sendall(
        b"".join(encode(Pdu(command="submit_sm", sequence_number=n + 2, fields=MESSAGE)) for n in range(count))
    )
    answers = b""
    while answers.count(b"\x80\0\0\x04\0\0\0\0") < count:
        answers += link.recv(65536)
    return link


def test_first_line_names_the_port_and_a_signal_ends_with_the_totals():
    process = started("--port", "0", "--json", "--seed", "5")
    port = json.loads(process.stdout.readline())["port"]
    with sent(port, 10):
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE_S)
    totals = json.loads(output)
    assert process.returncode == 0 and errors == b""
    assert totals["submits"] == totals["accepted"] == 10 and totals["cpu_s"] > 0 and len(totals["carriers"]) == 1


def test_process_ends_by_itself_when_idle():
    process = started("--json", "--exit-after-idle", "0.05")
    sent(json.loads(process.stdout.readline())["port"], 3).close()
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert json.loads(output)["submits"] == 3


def test_kill_leaves_every_answered_message_in_the_ledger(tmp_path):
    path = tmp_path / "ledger.csv"
    process = started("--ledger", str(path))
    with sent(json.loads(process.stdout.readline())["port"], 500):
        process.kill()
        process.communicate(timeout=PATIENCE_S)
    messages = read(path)
    assert len(messages) == 500 and all(entry.answered and entry.status == 0 for entry in messages)


def test_ready_descriptor_gets_the_first_line():
    readable, writable = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "simulate", "--ready-fd", str(writable)],
        stdout=subprocess.DEVNULL,
        pass_fds=(writable,),
    )
    os.close(writable)
    with open(readable, "rb") as file:
        assert json.loads(file.readline())["listening"][0]["port"] > 0
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE_S) == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--error", "RTHROTTLED"],
        ["--error", "=0.5"],
        ["--error", "RNOSUCH=0.5"],
        ["--receipt-format", "nosuch"],
        ["--response-id", "octal"],
        ["--config", "/nonexistent.toml"],
        ["--tps", "99999999999"],
        ["--silent-share", "2"],
    ],
)
def test_wrong_option_is_named_without_a_traceback(options):
    result = CliRunner().invoke(simulate, options)
    assert result.exit_code in (1, 2) and "Error: " in result.output and "Traceback" not in result.output


def test_options_go_over_the_file(tmp_path):
    from gateway.commands import simulate as module

    path = tmp_path / "sim.toml"
    path.write_text('[[carrier]]\nname = "n"\n[[carrier.account]]\nsystem_id = "a"\ntps = 5\n')
    seen = []
    original = module._run
    module._run = lambda main: (main.close(), seen.append(main.cr_frame), {})[2]
    try:
        result = CliRunner().invoke(simulate, ["--config", str(path), "--tps", "9", "--limit", "gap"])
    finally:
        module._run = original
    assert result.exit_code == 0
