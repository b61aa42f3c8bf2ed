"""An SMSC that calls us: who is heard, and that the bind comes on the very connection."""

import asyncio
import socket

import pytest_asyncio

from gateway.config import CarrierSettings
from gateway.smpp.attempts import ALARM_AT, FREE
from gateway.smpp.outbind import MOST_CALLERS, STRANGER_OCTETS, Outbinds
from gateway.smpp.session import State
from tests.fixtures.carriers import add, all_bound, outcomes
from tests.fixtures.now import Now, until
from tests.fixtures.scripted_smsc import Peer

DOOR = {"outbind_listen": "127.0.0.1:0", "outbind_password": "hello"}


@pytest_asyncio.fixture
async def call():
    """Connect to a carrier as an SMSC does."""
    peers = []

    async def connect(carrier, **fields):
        await until(lambda: carrier.outbind_port, "it listens")
        peer = Peer(*await asyncio.open_connection("127.0.0.1", carrier.outbind_port))
        peers.append(peer)
        if fields:
            peer.send("outbind", 1, fields={"system_id": "smsc", "password": "hello", **fields})
        return peer

    yield connect
    for peer in peers:
        peer.writer.transport.abort()


async def test_outbind_is_answered_with_a_bind_on_the_same_connection(esme, call):
    carrier = esme(9, **DOOR)
    peer = await call(carrier, system_id="smsc")
    request = await peer.bind()
    assert request.command == "bind_transceiver" and request.fields["system_id"] == "test"
    await all_bound(carrier)
    assert carrier.binds[0].host.startswith("127.0.0.1:") and carrier.binds[0].host != "127.0.0.1:9"
    add(carrier, 3)
    for _ in range(3):
        peer.answer(await peer.next("submit_sm"), message_id="1")
    await until(lambda: carrier.ledger.accepted == 3, "all are accepted")
    assert [outcome.status for outcome in outcomes(carrier)] == [0, 0, 0]


async def test_pair_calls_with_its_transmitter_and_is_called_by_its_receiver(esme, scripted_smsc, call):
    carrier = esme(scripted_smsc.port, bind="tx+rx", **DOOR)
    assert (await (await scripted_smsc.accept()).bind()).command == "bind_transmitter"
    peer = await call(carrier, system_id="smsc")
    assert (await peer.bind()).command == "bind_receiver"
    await all_bound(carrier)
    assert scripted_smsc.connections == 1 and carrier.is_up


async def test_next_outbind_brings_the_bind_up_again(esme, call):
    carrier = esme(9, **DOOR)
    for n in (1, 2):
        peer = await call(carrier, system_id="smsc")
        await peer.bind()
        await until(lambda n=n: carrier.binds[0].binds == n, "it is bound")
        peer.close()
        await until(lambda: not carrier.binds[0].is_bound, "it is lost")


async def test_wrong_password_or_name_is_hung_up_on_without_a_word(esme, call):
    carrier = esme(9, outbind_system_id="smsc", **DOOR)
    for fields in ({"password": "wrong"}, {"password": ""}, {"system_id": "other"}, {"password": "héllo"}):
        assert await (await call(carrier, **fields)).gone() == b""
        carrier._outbinds._attempts.succeeded("127.0.0.0/24")
    await (await call(carrier, system_id="smsc")).bind()
    await all_bound(carrier)


async def test_peer_that_is_not_on_the_list_is_hung_up_on(esme, call):
    carrier = esme(9, outbind_peers=("192.0.2.0/24", "2001:db8::1"), **DOOR)
    assert await (await call(carrier)).gone() == b"" and not carrier._outbinds._callers


async def test_flood_of_strangers_is_a_line_a_second_that_says_how_many(esme, call, caplog):
    """Fault 11: a log that each knock fills is another end of a resource."""
    carrier = esme(9, outbind_peers=("192.0.2.0/24",), **DOOR)
    for _ in range(30):
        assert await (await call(carrier)).gone() == b""
    lines = [record.getMessage() for record in caplog.records if "not taken" in record.getMessage()]
    # The first is said at once; of the others one a second, and all of this is over sooner than that, or nearly.
    assert lines[0] == "! acme: connection of 127.0.0.1 not taken: not in outbind_peers" and len(lines) < 5


async def test_peer_of_a_network_on_the_list_is_heard_without_a_password(esme, call):
    carrier = esme(9, outbind_listen="127.0.0.1:0", outbind_peers=("127.0.0.0/8",))
    await (await call(carrier, password="")).bind()
    await all_bound(carrier)


async def test_caller_that_says_nothing_is_left_after_the_time_for_a_bind(esme, call):
    now = Now()
    carrier = esme(9, clock=now, bind_timeout_s=5.0, **DOOR)
    peer = await call(carrier)
    await until(lambda: carrier._outbinds._callers, "the connection is taken")
    (link,) = carrier._outbinds._callers
    now.forward(4.0)
    link._reads_since = 0.0
    link.tick(now())
    assert not link.is_ending
    now.forward(1.0)
    link.tick(now())
    assert await peer.gone() == b"" and link.reason == "no bind in time"


async def test_outbind_while_every_bind_is_up_is_hung_up_on_in_the_end_and_the_bind_stays(esme, call):
    carrier = esme(9, bind_timeout_s=0.2, **DOOR)
    await (await call(carrier, system_id="smsc")).bind()
    await all_bound(carrier)
    assert await (await call(carrier, system_id="smsc")).gone() == b""
    assert carrier.is_up and carrier.binds[0].binds == 1 and not carrier._outbinds._called


async def test_outbind_that_comes_before_the_old_bind_is_known_to_be_lost_is_answered_then(esme, call):
    carrier = esme(9, **DOOR)
    first = await call(carrier, system_id="smsc")
    await first.bind()
    await all_bound(carrier)
    second = await call(carrier, system_id="smsc")
    await until(lambda: carrier._outbinds._called, "the call waits")
    first.close()
    await second.bind()
    await until(lambda: carrier.binds[0].binds == 2, "it is bound again")


async def test_anything_before_the_outbind_is_answered_by_the_rules_and_no_bind(esme, call):
    carrier = esme(9, **DOOR)
    peer = await call(carrier)
    peer.send("enquire_link", 3)
    assert (await peer.next("enquire_link_resp")).sequence_number == 3
    peer.send("deliver_sm", 4, fields={"source_addr": "1", "destination_addr": "2"})
    assert (await peer.next("deliver_sm_resp")).command_status == 4
    peer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert b"\x80\x00\x00\x00" in await peer.gone() and carrier.binds[0].binds == 0


async def test_more_callers_than_anybody_needs_are_not_taken(esme, call):
    carrier = esme(9, **DOOR)
    peers = [await call(carrier) for _ in range(MOST_CALLERS)]
    await until(lambda: len(carrier._outbinds._callers) == MOST_CALLERS, "all are taken")
    assert await (await call(carrier)).gone() == b""
    peers[0].close()
    await until(lambda: len(carrier._outbinds._callers) < MOST_CALLERS, "one has gone")
    await (await call(carrier, system_id="smsc")).bind()
    await all_bound(carrier)


async def test_port_that_is_taken_is_an_alarm_and_the_carrier_stops_all_the_same(esme):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        carrier = esme(9, outbind_listen=f"127.0.0.1:{port}", outbind_password="hello")
        await until(lambda: carrier.alarm, "the alarm")
        assert carrier.reports()[0].alarm.startswith(f"outbind_listen 127.0.0.1:{port}: ")
        await carrier.stop()


async def test_stop_hangs_up_on_those_who_wait(esme, call):
    carrier = esme(9, **DOOR)
    peer = await call(carrier)
    await until(lambda: carrier._outbinds._callers, "the connection is taken")
    await carrier.stop()
    assert await peer.gone() == b""


async def test_call_that_nobody_waits_for_any_more_leaves_nothing_behind():
    settings = CarrierSettings(host="h", **DOOR)
    outbinds = Outbinds("acme", settings, lambda listener: None, Now())
    call = asyncio.create_task(outbinds.call())
    await until(lambda: outbinds._waiting, "it waits")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert not outbinds._waiting


async def test_link_of_an_outbind_waits_in_the_state_of_the_standard(esme, call):
    carrier = esme(9, begin=False, **DOOR)
    link = carrier._awaiting_outbind(carrier._outbinds)
    assert link.session.state is State.OPEN and link.session.may_receive("outbind")


async def test_network_that_fails_again_and_again_is_not_heard_for_a_while_then_is_and_told_of(esme, call):
    now = Now()
    carrier = esme(9, clock=now, **DOOR)
    for count in range(1, ALARM_AT + 1):
        assert await (await call(carrier, password="wrong")).gone() == b""
        if count >= FREE:
            assert await (await call(carrier)).gone() == b""  # the right one is not even read
            assert not carrier._outbinds._callers and carrier.binds[0].binds == 0
        now.forward(4000.0)
    assert "10 outbinds of 127.0.0.0/24" in carrier._outbinds.last_error and "wrong" in carrier.alarm
    assert "hello" not in carrier.alarm
    await (await call(carrier, system_id="smsc")).bind()
    await all_bound(carrier)
    assert carrier._outbinds.last_error == "" and len(carrier._outbinds._attempts) == 0


async def test_stranger_may_send_a_kib_and_the_one_who_said_his_outbind_more(esme, call):
    carrier = esme(9, **DOOR)
    peer = await call(carrier)
    peer.write((STRANGER_OCTETS + 1).to_bytes(4, "big"))
    assert b"\x80\x00\x00\x00" in await peer.gone()
    peer = await call(carrier, system_id="smsc")
    await peer.bind()
    await all_bound(carrier)
    assert carrier.binds[0].link.exchange.cap > 1 << 16 and not carrier._outbinds._cap_by_link
    octets = peer.octets_of("deliver_sm", 3, fields={"source_addr": "1", "destination_addr": "2"})
    tlv = bytes.fromhex("0424 1388") + bytes(5000)
    peer.write((len(octets) + len(tlv)).to_bytes(4, "big") + octets[4:] + tlv)
    await until(lambda: carrier.requests, "it is handed on")
