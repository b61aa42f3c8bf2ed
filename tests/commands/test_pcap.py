"""`sluice pcap` writes a file a bind from the workers that run, and says what is in it."""

import json
import shutil
import stat
import subprocess

import pytest

from gateway.commands.pcap import files_of
from gateway.smpp.capture import Tape
from gateway.smpp.pdu import CARRIER, decode
from tests.commands.conftest import RIGHT
from tests.oracle import pcap as oracle


def pdus_of(octets):
    found = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        found.append(decode(octets[:length], CARRIER))
        octets = octets[length:]
    return found


@pytest.fixture
def sending(serving, sluice, eventually, people):
    """A worker that goes on, and three people who have been sent to through guarded."""
    serving("guarded")
    result = sluice("send", "--contacts", people(3), "--text", "Secret", "--carrier", "guarded")
    assert result.code == 0, result.err
    eventually("SELECT count(*) = 3 FROM receipt")


def test_last_octets_of_a_bind_are_written_for_wireshark_and_for_nobody_else(sending, sluice, tmp_path):
    result = sluice("pcap", "guarded")
    path = tmp_path / "guarded.pcap"
    assert result.code == 0, result.err
    assert result.out.startswith("guarded.pcap  guarded#1 of ") and "1 connection" in result.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    octets = path.read_bytes()
    assert RIGHT.encode() not in octets
    ours, theirs = oracle.streams(oracle.segments(octets)).values()
    said = pdus_of(ours)
    assert said[0].command == "bind_transceiver" and said[0].fields["password"] == "*" * len(RIGHT)
    assert {pdu.fields["short_message"] for pdu in said if pdu.command == "submit_sm"} == {b"Secret"}
    assert {"submit_sm_resp", "deliver_sm"} <= {pdu.command for pdu in pdus_of(theirs)}


def test_redacted_file_holds_no_text_and_no_whole_number(sending, sluice, tmp_path):
    assert sluice("pcap", "guarded", "safe.pcap", "--redact", "--bind", "1").code == 0
    octets = (tmp_path / "safe.pcap").read_bytes()
    assert b"Secret" not in octets and b"447911123400" not in octets and b"44791112****" in octets


@pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed: Wireshark's own reading is not tried"
)
def test_wireshark_finds_what_was_sent(sending, sluice, ports, tmp_path):
    assert sluice("pcap", "guarded").code == 0
    asked = ["tshark", "-r", tmp_path / "guarded.pcap", "-d", f"tcp.port=={ports['guarded']},smpp"]
    shown = subprocess.run([*asked, "-T", "json", "-Y", "smpp"], capture_output=True, text=True, check=True).stdout
    commands = [packet["_source"]["layers"]["smpp"] for packet in json.loads(shown)]
    assert "0x00000004" in str(commands) and "0x00000005" in str(commands)


def test_bind_that_is_not_there_and_file_that_cannot_be_written_are_said(sending, sluice):
    result = sluice("pcap", "guarded", "--bind", "7")
    assert (result.code, result.out) == (1, "") and "guarded: no running worker has such a bind" in result.err
    result = sluice("pcap", "guarded", "nowhere/x.pcap")
    assert result.code == 1 and "nowhere/x.pcap: No such file" in result.err


def test_carrier_that_keeps_nothing_and_one_without_a_worker_are_said(here, settings, queue):
    result = here("pcap", "north")
    assert result.code == 1 and "north: no running worker has such a bind; start one with `sluice run`" in result.err
    settings(north={"pcap_octets": 0})
    result = here("pcap", "north")
    assert result.code == 1 and "carriers.north.pcap_octets is 0: nothing is kept" in result.err


def test_without_a_database_nothing_is_asked_and_none_is_made(here, settings, tmp_path):
    assert "no worker has ever run" in here("pcap", "north").err
    assert not (tmp_path / "home").exists()


def test_files_of_several_binds_and_workers_bear_their_numbers(tmp_path):
    def tape(bind):
        return Tape(bind=bind, ends={}, cuts=[])

    file = tmp_path / "x.pcap"
    assert files_of([("a", tape("n#1"))], file) == [(file, ("a", tape("n#1")))]
    found = [("a", tape("n#1tx")), ("a", tape("n#1rx"))]
    assert [path.name for path, _ in files_of(found, file)] == ["x-1tx.pcap", "x-1rx.pcap"]
    found = [("b", tape("n#1")), ("a", tape("n#1"))]
    assert [path.name for path, _ in files_of(found, file)] == ["x-1-worker2.pcap", "x-1-worker1.pcap"]
