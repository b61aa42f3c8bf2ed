"""The SMSC on loopback sockets: against smpplib's client, and against raw octets where a client is too polite."""

import asyncio
import contextlib
import logging
import socket
import struct
from collections import Counter

import pytest
import smpplib.client
import smpplib.consts
import smpplib.exceptions

from gateway.simulator.behaviour import Account, Carrier, Drops, Limit, Receipts, Responses, Settings, Timers
from gateway.simulator.ledger import read
from gateway.simulator.smsc import Smsc
from gateway.smpp.pdu import Pdu, decode, encode

PATIENCE_S = 10

logging.getLogger("smpplib").setLevel(logging.CRITICAL)


def one(**carrier):
    """Make the settings of one carrier."""
    return Settings(carrier=(Carrier(**carrier),))


class Peer:
    """A client of raw octets: sends what it is told and gives the PDUs that come."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.number = 0

    def send(self, command, fields=None, tlvs=(), *, number=None):
        self.number += 1
        sequence = self.number if number is None else number
        self.writer.write(encode(Pdu(command=command, sequence_number=sequence, fields=fields or {}, tlvs=tuple(tlvs))))
        return sequence

    async def next(self):
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readexactly(4)
            return decode(head + await self.reader.readexactly(int.from_bytes(head, "big") - 4))

    async def ask(self, command, fields=None, tlvs=()):
        """Send and wait for the response of that number, passing over requests."""
        sequence = self.send(command, fields, tlvs)
        while True:
            pdu = await self.next()
            if pdu.is_response and pdu.sequence_number == sequence:
                return pdu

    async def bind(self, kind="transceiver", system_id="test", password="x", version=0x34):
        return await self.ask(
            f"bind_{kind}", {"system_id": system_id, "password": password, "interface_version": version}
        )

    async def gone(self):
        """Wait until the other side has closed; give what came before."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@contextlib.asynccontextmanager
async def peer(smsc, **bind):
    reader, writer = await asyncio.open_connection("127.0.0.1", smsc.port)
    made = Peer(reader, writer)
    try:
        if bind.pop("bound", True):
            assert (await made.bind(**bind)).command_status == 0
        yield made
    finally:
        writer.close()


def message(destination="447700900001", registered=1, text=b"hello"):
    return {
        "source_addr": "Brand",
        "dest_addr_ton": 1,
        "dest_addr_npi": 1,
        "destination_addr": destination,
        "registered_delivery": registered,
        "short_message": text,
    }


# -- a third party's client -------------------------------------------------------------------------------------------


class Seen:
    """What smpplib's client saw."""

    def __init__(self):
        self.ids, self.statuses, self.receipts = [], [], []


def talk(port, count, expected_receipts):
    """Bind with smpplib, send `count` messages, read until all is answered."""
    seen = Seen()
    client = smpplib.client.Client("127.0.0.1", port, timeout=PATIENCE_S, allow_unknown_opt_params=True)

    def answered(pdu):
        seen.statuses.append(pdu.status)
        if pdu.status == 0:
            seen.ids.append(pdu.message_id.decode())

    def received(pdu):
        seen.receipts.append(pdu.receipted_message_id.rstrip(b"\0").decode())
        return 0

    client.set_message_sent_handler(answered)
    client.set_message_received_handler(received)
    # Without one of its own, smpplib raises at a refusal; the sent handler has seen it by then.
    client.set_error_pdu_handler(lambda pdu: None)
    client.connect()
    client.bind_transceiver(system_id="test", password="pw")
    for n in range(count):
        client.send_message(
            source_addr="Brand", destination_addr=f"4477009{n:05}", short_message=b"hello", registered_delivery=True
        )
    while len(seen.statuses) < count or len(seen.receipts) < expected_receipts(seen):
        client.read_once()
    client.unbind()
    client.disconnect()
    return seen


async def test_ledger_equals_what_a_third_party_client_saw(tmp_path):
    settings = Settings(
        seed=3,
        ledger=str(tmp_path / "ledger.csv"),
        carrier=(
            Carrier(
                responses=Responses(delay_ms=2, jitter_ms=5, errors={"RSUBMITFAIL": 0.1}),
                receipts=Receipts(delay_ms=2, jitter_ms=10),
            ),
        ),
    )
    async with Smsc(settings) as smsc:
        seen = await asyncio.to_thread(talk, smsc.port, 200, lambda seen: len(seen.ids))
        totals = smsc.totals()
    messages = read(tmp_path / "ledger.csv")
    assert len(messages) == 200 and all(entry.answered and entry.left for entry in messages)
    assert Counter(entry.status for entry in messages) == Counter(seen.statuses)
    assert {entry.message_id for entry in messages if entry.status == 0} == set(seen.ids) == set(seen.receipts)
    accepted = [entry for entry in messages if entry.status == 0]
    assert all(len(entry.receipts) == 1 and entry.receipts[0].left for entry in accepted)
    assert totals["receipts_acked"] == len(seen.ids) == totals["accepted"]
    assert {entry.destination for entry in messages} == {f"4477009{n:05}" for n in range(200)}


# -- binds ------------------------------------------------------------------------------------------------------------


async def test_binds_are_admitted_by_account_password_kind_and_number():
    accounts = (
        Account(system_id="acme", password="secret", max_binds=1),
        Account(system_id="rx", binds=("rx",)),
        Account(system_id="moody", bind_refusals=("RBINDFAIL", "RSYSERR")),
        Account(system_id="shut", bind_refusals=("RINVSYSTYP",), refuse_always=True),
    )
    async with Smsc(one(account=accounts)) as smsc:

        async def tried(**bind):
            async with peer(smsc, bound=False) as made:
                return (await made.bind(**bind)).command_status

        assert await tried(system_id="nobody") == 0x0F
        assert await tried(system_id="acme", password="wrong") == 0x0E
        async with peer(smsc, system_id="acme", password="secret"):
            assert await tried(system_id="acme", password="secret") == 0x05
        assert await tried(system_id="rx", kind="transmitter") == 0x0D
        assert await tried(system_id="rx", kind="receiver") == 0
        assert [await tried(system_id="moody") for _ in range(3)] == [0x0D, 0x08, 0]
        assert [await tried(system_id="shut") for _ in range(3)] == [0x53] * 3
        assert smsc.totals()["binds_refused"] == 9


async def test_second_bind_and_submit_of_a_receiver_are_refused_and_the_session_stays():
    async with Smsc() as smsc, peer(smsc, kind="receiver") as made:
        assert (await made.bind()).command_status == 0x05
        assert (await made.ask("submit_sm", message())).command_status == 0x04
        assert (await made.ask("enquire_link")).command == "enquire_link_resp"


async def test_receipt_goes_to_the_receiver_of_the_same_account():
    async with Smsc() as smsc, peer(smsc, kind="transmitter") as sender:
        answer = await sender.ask("submit_sm", message())
        assert smsc.totals()["waiting_for_receiver"] == 1
        async with peer(smsc, kind="receiver") as receiver:
            receipt = await receiver.next()
            assert receipt.tlv("receipted_message_id") == answer.fields["message_id"].encode() + b"\0"
            receiver.send("deliver_sm_resp", number=receipt.sequence_number)
            await receiver.ask("enquire_link")
            assert smsc.totals()["receipts_acked"] == 1


@pytest.mark.parametrize(
    ("version", "theirs", "spoken"), [("3.3", 0x34, 0x33), ("5.0", 0x34, 0x34), ("5.0", 0x50, 0x50)]
)
async def test_lower_version_is_spoken(version, theirs, spoken):
    settings = one(version=version, responses=Responses(congestion=42))
    async with Smsc(settings) as smsc, peer(smsc, kind="receiver", version=theirs) as receiver:
        async with peer(smsc, kind="transmitter", version=theirs) as sender:
            answer = await sender.ask("submit_sm", message())
        receipt = await receiver.next()
    assert (answer.tlv("congestion_state") is not None) == (spoken == 0x50)
    assert bool(receipt.tlvs) == (spoken >= 0x34)


# -- requests that are not hot ----------------------------------------------------------------------------------------


async def test_query_cancel_and_replace_know_the_message():
    async with Smsc(one(receipts=Receipts(delay_ms=600_000))) as smsc, peer(smsc) as made:
        message_id = (await made.ask("submit_sm", message())).fields["message_id"]
        asked = {"message_id": message_id, "source_addr": "Brand"}
        state = await made.ask("query_sm", asked)
        assert (state.command_status, state.fields["message_state"], state.fields["final_date"]) == (0, 1, "")
        assert (await made.ask("query_sm", {**asked, "source_addr": "x"})).command_status == 0x0C
        assert (await made.ask("replace_sm", {**asked, "short_message": b"new"})).command_status == 0
        assert (await made.ask("cancel_sm", asked)).command_status == 0
        state = await made.ask("query_sm", asked)
        assert state.fields["message_state"] == 4 and len(state.fields["final_date"]) == 16
        assert (await made.ask("cancel_sm", asked)).command_status == 0x11


async def test_data_sm_and_submit_multi_are_taken():
    async with Smsc() as smsc, peer(smsc) as made:
        data = {name: value for name, value in message().items() if name != "short_message"}
        made.send("data_sm", data, [(0x0424, b"hello")])
        answer, receipt = await made.next(), await made.next()
        assert answer.command == "data_sm_resp" and receipt.message.startswith(
            b"id:" + answer.fields["message_id"].encode()
        )
        several = {key: value for key, value in message().items() if not key.startswith("dest")}
        several["dest_address"] = [
            {"dest_flag": 1, "dest_addr_ton": 1, "dest_addr_npi": 1, "destination_addr": f"44770090000{n}"}
            for n in range(3)
        ]
        answer = await made.ask("submit_multi", several)
        assert answer.command_status == 0 and answer.fields["unsuccess_sme"] == []
        found = [await made.next() for _ in range(3)]
        assert {pdu.fields["source_addr"] for pdu in found} == {f"44770090000{n}" for n in range(3)}
        several["dest_address"] = [{"dest_flag": 2, "dl_name": "all"}]
        assert (await made.ask("submit_multi", several)).command_status == 0x34


async def test_unbind_waits_for_answers_that_are_owed_and_then_closes():
    async with Smsc(one(responses=Responses(delay_ms=50))) as smsc, peer(smsc) as made:
        for _ in range(5):
            made.send("submit_sm", message(registered=0))
        made.send("unbind")
        commands = [(await made.next()).command for _ in range(6)]
        assert commands == ["submit_sm_resp"] * 5 + ["unbind_resp"]
        assert await made.gone() == b""


async def test_unbind_does_not_wait_for_what_is_never_answered():
    async with Smsc(one(responses=Responses(silent_share=1))) as smsc, peer(smsc) as made:
        made.send("submit_sm", message(registered=0))
        assert (await made.ask("unbind")).command == "unbind_resp"


# -- bad octets -------------------------------------------------------------------------------------------------------


async def test_lost_framing_is_nacked_and_closed():
    async with Smsc() as smsc, peer(smsc) as made:
        made.writer.write(b"\x7f\xff\xff\xff" + b"GET / HTTP/1.1\r\n")
        nack = await made.next()
        assert (nack.command, nack.command_status, nack.sequence_number) == ("generic_nack", 2, 0)
        assert await made.gone() == b""


async def test_unknown_command_is_nacked_with_its_number_and_the_session_stays():
    async with Smsc() as smsc, peer(smsc) as made:
        made.writer.write(struct.pack(">IIII", 16, 0x999, 0, 77))
        nack = await made.next()
        assert (nack.command, nack.command_status, nack.sequence_number) == ("generic_nack", 3, 77)
        assert (await made.ask("submit_sm", message())).command_status == 0


async def test_octets_may_come_one_at_a_time():
    async with Smsc() as smsc, peer(smsc) as made:
        raw = made.writer.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in encode(Pdu(command="submit_sm", sequence_number=9, fields=message(registered=0))):
            made.writer.write(bytes([octet]))
            await asyncio.sleep(0)
        assert (await made.next()).sequence_number == 9


async def test_link_that_never_binds_is_closed():
    async with Smsc(one(timers=Timers(session_init_s=0.05))) as smsc, peer(smsc, bound=False) as made:
        assert await made.gone() == b""
        assert smsc.totals()["timed_out"] == 1


# -- accidents and pressure -------------------------------------------------------------------------------------------


async def test_cut_link_leaves_an_accepted_message_without_an_answer(tmp_path):
    settings = Settings(ledger=str(tmp_path / "x.csv"), carrier=(Carrier(drops=Drops(every=3)),))
    async with Smsc(settings) as smsc, peer(smsc) as made:
        for _ in range(5):
            made.send("submit_sm", message(registered=0))
        await made.gone()
        assert smsc.totals()["cuts"] == 1
    messages = read(tmp_path / "x.csv")
    assert len(messages) == 3 and not messages[2].answered and messages[2].status == 0


async def test_peer_that_does_not_read_is_not_read_from_and_nothing_is_lost():
    async with Smsc() as smsc, peer(smsc) as made:
        total = 400_000
        pdu = encode(Pdu(command="submit_sm", sequence_number=2, fields=message(registered=0)))

        async def push():
            for _ in range(total // 1000):
                made.writer.write(pdu * 1000)
                await made.writer.drain()

        pushing = asyncio.create_task(push())
        async with asyncio.timeout(3 * PATIENCE_S):
            while not smsc.totals().get("stops_reading") and not pushing.done():
                await asyncio.sleep(0)
            assert not pushing.done() and smsc.totals()["submits"] < total
            # Each answer is a header and an id of ten digits with its NUL.
            owed = total * 27
            while owed:
                owed -= len(await made.reader.read(1 << 20))
            await pushing
        assert smsc.totals()["responses"] == total


async def test_limit_changes_at_its_step():
    settings = one(account=(Account(tps=1),), limit=Limit(model="second", steps=((0.02, 0),)))
    async with Smsc(settings) as smsc, peer(smsc) as made:
        async with asyncio.timeout(PATIENCE_S):
            while [(await made.ask("submit_sm", message(registered=0))).command_status for _ in range(3)] != [0, 0, 0]:
                pass


async def test_several_carriers_listen_on_ports_of_their_own(tmp_path):
    settings = Settings(
        ledger=str(tmp_path / "x.csv"),
        carrier=(Carrier(name="north"), Carrier(name="south", account=(Account(system_id="s"),))),
    )
    async with Smsc(settings) as smsc:
        assert len(set(smsc.ports.values())) == 2
        async with peer(smsc) as made:
            await made.ask("submit_sm", message())
        assert smsc.totals()["submits"] == 1
    assert len(read(tmp_path / "x-north.csv")) == 1 and read(tmp_path / "x-south.csv") == []


async def test_ids_of_a_second_start_do_not_repeat_those_of_the_first(tmp_path):
    settings = Settings(ledger=str(tmp_path / "x.csv"), ledger_sync=True)
    ids = set()
    for _ in range(3):
        async with Smsc(settings) as smsc, peer(smsc) as made:
            for _ in range(4):
                ids.add((await made.ask("submit_sm", message(registered=0))).fields["message_id"])
    assert len(ids) == 12 and [entry.run for entry in read(tmp_path / "x.csv")] == [1] * 4 + [2] * 4 + [3] * 4


async def test_port_that_is_taken_is_an_oserror_and_leaves_nothing_open():
    async with Smsc() as smsc:
        with pytest.raises(OSError):
            await Smsc(one(port=smsc.port)).start()
