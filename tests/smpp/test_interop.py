"""Our client and our simulator against other people's SMPP: npm's `smpp`, smpp34 (Rust), smpplib's reading of octets.

Each part is skipped, with its reason, where the other is not to be had. smpplib's client against the simulator is in
tests/simulator/test_smsc.py.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shutil
import socket
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from gateway.simulator.behaviour import Receipts
from tests.fixtures.carriers import FIRST_NUMBER, add, all_bound, outcomes
from tests.fixtures.now import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
# Kept between runs: an install takes a second, and needs a network.
CACHE = ROOT / "build/interop"
PACKAGE = "smpp@0.5.1"
INSTALL_S = 60

logging.getLogger("smpplib").setLevel(logging.CRITICAL)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


async def settled(carrier):
    await until(lambda: not carrier.backlog.unsent and not carrier.backlog.in_flight, "all is settled")


# -- npm's smpp -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def node_modules():
    """Install the package once; -> the folder that NODE_PATH takes."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        pytest.skip("node is not installed")
    installed = CACHE / "node_modules"
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        with open(CACHE / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (installed / "smpp/package.json").exists():
                if npm is None:
                    pytest.skip("npm is not installed")
                subprocess.run(
                    [npm, "install", "--prefix", CACHE, "--no-save", "--no-audit", "--no-fund", PACKAGE],
                    check=True,
                    capture_output=True,
                    timeout=INSTALL_S,
                )
    except OSError as error:
        pytest.skip(f"no folder for npm's package: {error}")
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {PACKAGE} within {INSTALL_S} s")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm could not install {PACKAGE}: {error.stderr.decode(errors='replace')[-200:]}")
    return installed


class NodeSmsc:
    """The process and what it said."""

    def __init__(self, process):
        self._process = process
        self.said = []
        self._heard = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self):
        while line := await self._process.stdout.readline():
            self.said.append(json.loads(line))
            self._heard.set()

    def of(self, event):
        return [one for one in self.said if one["event"] == event]

    async def wait_for(self, event, n=1):
        async with asyncio.timeout(PATIENCE_S):
            while len(self.of(event)) < n:
                self._heard.clear()
                await self._heard.wait()
        return self.of(event)

    async def stop(self):
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), PATIENCE_S)
        finally:
            if self._process.returncode is None:
                self._process.kill()
            await self._reading


@contextlib.asynccontextmanager
async def node_smsc(node_modules):
    """Start it; -> it, with its port."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(ROOT / "tests/interop/server.js"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PATH": str(node_modules)},
    )
    made = NodeSmsc(process)
    try:
        made.port = (await made.wait_for("listening"))[0]["port"]
        yield made
    finally:
        await made.stop()


@pytest.mark.parametrize("bind", ["trx", "tx+rx"])
async def test_our_client_submits_to_npms_server_and_matches_its_receipts(esme, node_modules, bind):
    async with node_smsc(node_modules) as smsc:
        carrier = esme(smsc.port, bind=bind, window=10)
        await all_bound(carrier)
        # Its receipts go to the session that submitted, whatever that session is bound as.
        add(carrier, 300, receipts=bind == "trx")
        await settled(carrier)
        found = outcomes(carrier)
        assert sorted(outcome.pos for outcome in found) == list(range(300)) and {one.status for one in found} == {0}
        assert len({outcome.message_id for outcome in found}) == 300
        if bind == "trx":
            answered = await smsc.wait_for("receipt_answered", 300)
            assert {one["status"] for one in answered} == {0} and carrier.ledger.receipts_matched == 300
        await carrier.stop()
        submits = smsc.of("submit_sm")
        assert {int(one["to"]) for one in submits} == {FIRST_NUMBER + n for n in range(300)} and len(submits) == 300
        await smsc.wait_for("unbind", len(carrier.binds))
        assert not smsc.of("error") and carrier.ledger.uncertain == 0


@pytest.mark.parametrize("text", ["hello", "caf\u00e9 \u00a3 @ {[~]} \u20ac", "\u65e5\u672c\u8a9e \U0001f600"])
async def test_npms_server_reads_the_text_that_we_wrote(esme, node_modules, text):
    async with node_smsc(node_modules) as smsc:
        carrier = esme(smsc.port)
        await all_bound(carrier)
        add(carrier, 1, text)
        await settled(carrier)
        (one,) = await smsc.wait_for("submit_sm")
        assert (one["text"], one["from"], one["header"]) == (text, "Brand", "")


async def test_npms_server_reads_the_parts_of_a_long_message_with_their_headers(esme, node_modules):
    text = "0123456789" * 40
    async with node_smsc(node_modules) as smsc:
        carrier = esme(smsc.port)
        await all_bound(carrier)
        add(carrier, 1, text)
        await settled(carrier)
        parts = await smsc.wait_for("submit_sm", 3)
        assert "".join(part["text"] for part in parts) == text
        headers = [bytes.fromhex(part["header"]) for part in parts]
        assert [header[-2:] for header in headers] == [bytes((3, n)) for n in (1, 2, 3)]
        assert len({header[:-1] for header in headers}) == 1


async def test_npms_server_refuses_a_wrong_password_and_we_say_so(esme, node_modules):
    async with node_smsc(node_modules) as smsc:
        carrier = esme(smsc.port, password="wrong", reconnect_longest_s=600.0)
        await until(lambda: carrier.binds[0].last_error, "the refusal is known")
        assert "ESME_RINVPASWD" in carrier.binds[0].last_error
        assert [one["refused"] for one in await smsc.wait_for("bind_transceiver")] == [True]


# -- smpp34 -----------------------------------------------------------------------------------------------------------


async def test_smpp34s_client_sends_and_receives_at_our_simulator(smsc):
    smpp34 = pytest.importorskip("smpp34")
    centre = await smsc(receipts=Receipts(delay_ms=1))
    client = smpp34.Client("127.0.0.1", centre.port, "test", "secret", bind_type="TRX", window_size=10)
    async with asyncio.timeout(PATIENCE_S):
        session = await client.connect()
        answers = await asyncio.gather(
            *(
                session.submit_sm(f"4477009{n:05}", b"hello", source_addr="Brand", registered_delivery=1)
                for n in range(50)
            )
        )
        ids = {answer.message_id for answer in answers}
        receipts = []
        while len(receipts) < 50:
            event = await session.next()
            receipts.append(event.short_message)
        await session.unbind()
        await client.stop()
    assert len(ids) == 50 and {text.split(b" ")[0][3:].decode() for text in receipts} == ids
    await until(lambda: centre.totals()["receipts_acked"] == 50, "every receipt is answered")
    assert centre.totals()["submits"] == 50 == centre.totals()["accepted"]


async def test_our_client_submits_to_smpp34s_server(esme):
    smpp34 = pytest.importorskip("smpp34")
    port = free_port()
    server = smpp34.Server("127.0.0.1", port, system_id="rust")
    await server.start()
    numbers = Counter()

    async def serve():
        esmes = {}
        while True:
            event = await server.next()
            if isinstance(event, smpp34.Esme):
                esmes[event.session_id] = event
            elif isinstance(event, smpp34.SubmitSmEvent):
                numbers[event.destination_addr, event.short_message] += 1
                event.accept(f"{numbers.total():x}")

    serving = asyncio.create_task(serve())
    try:
        carrier = esme(port, window=10, binds=2)
        await all_bound(carrier)
        add(carrier, 200)
        await settled(carrier)
        found = outcomes(carrier)
        assert {outcome.status for outcome in found} == {0} and len({outcome.message_id for outcome in found}) == 200
        assert numbers == Counter((str(FIRST_NUMBER + n), b"hello") for n in range(200))
        await carrier.stop()
        assert carrier.ledger.uncertain == 0
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await server.stop()


# -- smpplib's reading ------------------------------------------------------------------------------------------------


async def test_smpplib_reads_all_that_a_bind_of_ours_says_in_its_life(esme, scripted_smsc):
    smpp = pytest.importorskip("smpplib.smpp")
    client = pytest.importorskip("smpplib.client").Client("127.0.0.1", 1, allow_unknown_opt_params=True)

    async def heard(peer):
        head = await peer.reader.readexactly(4)
        octets = head + await peer.reader.readexactly(int.from_bytes(head, "big") - 4)
        return smpp.parse_pdu(octets, client=client, allow_unknown_opt_params=True), octets

    carrier = esme(scripted_smsc.port, window=2)
    peer = await scripted_smsc.accept()
    async with asyncio.timeout(PATIENCE_S):
        pdu, _ = await heard(peer)
        assert (pdu.command, pdu.system_id, pdu.password) == ("bind_transceiver", b"test", b"secret")
        peer.send("bind_transceiver_resp", pdu.sequence)
        await all_bound(carrier)
        add(carrier, 2)
        for _ in range(2):
            pdu, _ = await heard(peer)
            assert (pdu.command, pdu.short_message, pdu.source_addr) == ("submit_sm", b"hello", b"Brand")
            peer.send("submit_sm_resp", pdu.sequence, fields={"message_id": "1"})
        peer.send("enquire_link", 5)
        assert (await heard(peer))[0].command == "enquire_link_resp"
        await settled(carrier)
        stopping = asyncio.create_task(carrier.stop())
        pdu, _ = await heard(peer)
        assert pdu.command == "unbind"
        peer.send("unbind_resp", pdu.sequence)
        await stopping
