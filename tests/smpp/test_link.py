"""One link against octets of every kind: cut, dripped, coalesced, broken, flooded, and not read at all."""

import asyncio
import resource
import socket

import pytest

from gateway.smpp import link as links
from gateway.smpp.bind import Phase
from tests.fixtures.carriers import UNCERTAIN, add, all_bound, outcomes
from tests.fixtures.now import PATIENCE_S, Now, until
from tests.oracle.throttle import most_in_a_second

RECEIPT = {
    "esm_class": 4,
    "source_addr": "447700900000",
    "destination_addr": "Brand",
    "short_message": b"id:A1 sub:001 dlvrd:001 stat:DELIVRD err:000 text:hi",
}
SUBMIT = {
    "source_addr_ton": 5,
    "source_addr": "Brand",
    "dest_addr_ton": 1,
    "dest_addr_npi": 1,
    "destination_addr": "447700900000",
    "short_message": b"x" * 160,
}
MESSAGE = {"source_addr": "447700900000", "destination_addr": "Brand", "short_message": b"STOP"}


async def bound(esme, scripted_smsc, **settings):
    """Bring one bind up; -> the carrier and the SMSC's end."""
    carrier = esme(scripted_smsc.port, **settings)
    peer = await scripted_smsc.accept()
    await peer.bind()
    await all_bound(carrier)
    return carrier, peer


async def ping(peer, number=900):
    """Ask whether the session lives and wait for the answer; whatever comes before is passed over."""
    peer.send("enquire_link", number)
    while True:
        pdu = await peer.next()
        if pdu.command == "enquire_link_resp" and pdu.sequence_number == number:
            return


# -- how octets come --------------------------------------------------------------------------------------------------


async def test_bind_resp_and_deliver_sm_in_one_segment_are_both_taken(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port)
    peer = await scripted_smsc.accept()
    request = await peer.next("bind_transceiver")
    peer.write(peer.octets_of_answer(request, system_id="x") + peer.octets_of("deliver_sm", 5, fields=MESSAGE))
    await until(lambda: carrier.requests, "the message is handed on")
    link, pdu = carrier.requests[0]
    assert (pdu.command, pdu.sequence_number, pdu.message) == ("deliver_sm", 5, b"STOP")
    link.owe(pdu)
    await all_bound(carrier)
    assert (await peer.next("deliver_sm_resp")).sequence_number == 5


async def test_octets_may_come_one_at_a_time(esme, scripted_smsc, flaky_proxy):
    proxy = await flaky_proxy(scripted_smsc.port)
    proxy.piece = 1
    carrier, peer = await bound(esme, proxy_of(proxy, scripted_smsc))
    add(carrier, 3, receipts=True)
    for n in range(3):
        peer.answer(await peer.next("submit_sm"), message_id=f"A{n}")
    await until(lambda: carrier.ledger.responses == 3, "all is answered")
    for n in range(3):
        peer.send("deliver_sm", n + 1, fields=RECEIPT)
        assert (await peer.next("deliver_sm_resp")).sequence_number == n + 1
    assert [(outcome.status, outcome.message_id) for outcome in outcomes(carrier)] == [
        (0, b"A0"),
        (0, b"A1"),
        (0, b"A2"),
    ]
    assert carrier.ledger.receipts_matched + carrier.ledger.receipts_waiting == 3


class proxy_of:  # noqa: N801
    """The scripted SMSC behind a proxy's port."""

    def __init__(self, proxy, scripted):
        self.port, self.accept = proxy.port, scripted.accept


async def test_many_pdus_in_one_segment_are_all_taken(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=100)
    add(carrier, 100)
    submits = [await peer.next("submit_sm") for _ in range(100)]
    octets = b"".join(peer.octets_of_answer(submit, message_id="1") for submit in reversed(submits))
    peer.write(octets + peer.octets_of("enquire_link", 9))
    assert (await peer.next("enquire_link_resp")).sequence_number == 9
    assert len(outcomes(carrier)) == 100 and carrier.in_flight == 0


# -- requests of the SMSC ---------------------------------------------------------------------------------------------


async def test_enquire_link_is_answered_with_its_number_while_the_window_is_full(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=2)
    add(carrier, 10)
    await peer.next("submit_sm")
    await peer.next("submit_sm")
    for number in (1, 0x7FFFFFFF, 0xFFFFFFFF, 0):
        peer.send("enquire_link", number)
        assert (await peer.next("enquire_link_resp")).sequence_number == number
    assert carrier.in_flight == 2


@pytest.mark.parametrize("octets", [16, 20, 4000])
async def test_unknown_command_is_nacked_and_the_session_stays(esme, scripted_smsc, octets):
    carrier, peer = await bound(esme, scripted_smsc)
    peer.write(octets.to_bytes(4, "big") + bytes.fromhex("00000999 00000000 0000004d") + bytes(octets - 16))
    nack = await peer.next("generic_nack")
    assert (nack.command_status, nack.sequence_number) == (3, 77)
    await ping(peer)
    assert carrier.is_up


async def test_response_to_nothing_is_passed_over(esme, scripted_smsc):
    """Case 21 of the write protocol."""
    carrier, peer = await bound(esme, scripted_smsc)
    for command in ("submit_sm_resp", "query_sm_resp", "enquire_link_resp", "unbind_resp", "deliver_sm_resp"):
        peer.send(command, 4711)
    peer.write(bytes.fromhex("00000010 80000999 00000000 00000005"))
    await ping(peer)
    assert carrier.is_up and carrier.ledger.unknown_responses == 1


async def test_request_that_only_an_esme_may_send_is_refused(esme, scripted_smsc):
    _, peer = await bound(esme, scripted_smsc)
    peer.send("submit_sm", 8, fields={"destination_addr": "1"})
    answer = await peer.next("submit_sm_resp")
    assert (answer.command_status, answer.sequence_number) == (4, 8)


async def test_receipt_of_odd_form_does_not_hold_up_the_unbind_of_the_smsc(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc)
    peer.send("deliver_sm", 6, fields={**RECEIPT, "esm_class": 0})
    await until(lambda: carrier.requests, "it is handed on")
    link, pdu = carrier.requests[0]
    link.owe(pdu)
    peer.send("unbind", 7)
    assert (await peer.next()).command == "deliver_sm_resp"
    assert (await peer.next()).command == "unbind_resp"


async def test_unbind_of_the_smsc_waits_for_the_answer_to_its_message_and_nothing_is_submitted_meanwhile(
    esme, scripted_smsc
):
    carrier, peer = await bound(esme, scripted_smsc)
    peer.send("deliver_sm", 6, fields=MESSAGE)
    await until(lambda: carrier.requests, "it is handed on")
    peer.send("unbind", 7)
    await until(lambda: not carrier.binds[0].link.exchange.may_submit, "the unbind has come")
    add(carrier, 5)
    link, pdu = carrier.requests[0]
    link.session.respond(pdu, now=0.0)
    link.flush_session()
    assert [(await peer.next()).command for _ in range(2)] == ["deliver_sm_resp", "unbind_resp"]
    assert await peer.gone() == b"" and carrier.ledger.submitted == 0


async def test_answer_after_the_link_is_lost_goes_nowhere(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, at_once=False)
    peer.send("deliver_sm", 6, fields=RECEIPT)
    link = carrier.binds[0].link
    await until(lambda: link.exchange.owed_waiting, "the receipt is taken")
    mark = link.exchange.owed_upto
    peer.reset()
    await until(lambda: link.is_lost, "the link is lost")
    link.acknowledge(mark)
    link.flush_session()
    link.tick(0.0)
    link.retire("again")
    link.close("again")
    link.abort("again")
    assert link.pump(0.0) == 0 and link.exchange.owed_waiting == 0 and link.exchange.out_waiting == 0


# -- octets that are no PDU -------------------------------------------------------------------------------------------

BOMBS = {
    "length of 0": bytes(16),
    "length of 4": (4).to_bytes(4, "big"),
    "length of 15": (15).to_bytes(4, "big") + bytes(11),
    "two gigaoctets": bytes.fromhex("7fffffff 00000005 00000000 00000001"),
    "four gigaoctets": bytes.fromhex("ffffffff 80000004 00000000 00000001"),
    "just over the cap": (66561).to_bytes(4, "big"),
    "a web server": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a blank line": b"\r\n\r\n",
    "TLS": bytes.fromhex("15030100020246 00000000000000000000"),
}


@pytest.mark.parametrize("octets", BOMBS.values(), ids=BOMBS.keys())
async def test_length_that_cannot_be_closes_at_once_with_a_nack(esme, scripted_smsc, octets):
    carrier, peer = await bound(esme, scripted_smsc, reconnect_longest_s=60.0)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peer.write(octets)
    nack = await peer.next("generic_nack")
    assert (nack.command_status, nack.sequence_number) == (2, 0)
    assert await peer.gone() == b""
    assert carrier.binds[0].last_error.startswith("framing lost: ")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss < 64 << 10
    if octets.startswith(b"HTTP"):
        assert "the peer speaks HTTP" in carrier.binds[0].last_error


@pytest.mark.parametrize("octets", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(64), b"\xff" * 64])
async def test_octets_in_place_of_the_bind_resp_end_the_attempt(esme, scripted_smsc, octets):
    carrier = esme(scripted_smsc.port, bind_timeout_s=600.0)
    peer = await scripted_smsc.accept()
    await peer.next("bind_transceiver")
    peer.write(octets)
    await until(lambda: "framing lost" in carrier.binds[0].last_error, "the attempt ends with its reason")
    await (await scripted_smsc.accept()).bind()
    await all_bound(carrier)


async def test_biggest_pdu_that_is_allowed_is_taken(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc)
    fields = {"source_addr": "1", "destination_addr": "2"}
    octets = peer.octets_of("deliver_sm", 3, fields=fields)
    tlv = bytes.fromhex("0424 fff0") + bytes(0xFFF0)
    octets = (len(octets) + len(tlv)).to_bytes(4, "big") + octets[4:] + tlv
    peer.write(octets)
    await until(lambda: carrier.requests, "it is handed on")
    assert len(carrier.requests[0][1].message) == 0xFFF0


async def test_pdu_that_drips_is_given_up_after_ten_seconds_and_not_before(esme, scripted_smsc):
    now = Now()
    carrier, peer = await bound(esme, scripted_smsc, clock=now, reconnect_longest_s=60.0, enquire_link_s=3600.0)
    link = carrier.binds[0].link
    whole = peer.octets_of("enquire_link", 3)
    now.forward(1.0)  # the bind's answer came before
    for octet in whole[:9]:
        taken = carrier.ledger.octets_in
        peer.write(bytes((octet,)))
        await until(lambda taken=taken: carrier.ledger.octets_in > taken, "it is read")
        now.forward(1.1)
        link.tick(now())
    assert not link.is_ending
    now.forward(0.2)
    link.tick(now())
    assert link.is_ending and "did not end within 10 s" in link.reason


async def test_pdus_that_end_in_time_are_no_drip_however_slow_their_stream(esme, scripted_smsc):
    now = Now()
    carrier, peer = await bound(esme, scripted_smsc, clock=now, enquire_link_s=3600.0)
    link = carrier.binds[0].link
    whole = peer.octets_of("enquire_link", 3)
    for half in (whole[:8], whole[8:]) * 4:
        taken = carrier.ledger.octets_in
        peer.write(half)
        await until(lambda taken=taken: carrier.ledger.octets_in > taken, "it is read")
        now.forward(6.0)
        link.tick(now())
    assert not link.is_ending


async def test_session_of_too_many_pdus_that_cannot_be_read_is_unbound_and_bound_anew(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, unreadable_most=3)
    first = carrier.binds[0].link
    for number in range(3):
        peer.write(b"\0\0\0\x10\0\0\xff\xff\0\0\0\0\0\0\0" + bytes((number + 1,)))
        assert (await peer.next("generic_nack")).command_status == 3
    peer.answer(await peer.next("unbind"))
    assert first.reason.startswith("3 PDUs could not be read")
    await (await scripted_smsc.accept()).bind()
    await until(lambda: carrier.binds[0].link is not first and carrier.is_up, "it is bound anew")


# -- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_lost_link_puts_every_unanswered_segment_in_doubt_once_and_the_rest_goes_on(esme, scripted_smsc, way):
    """Case 2 of the write protocol."""
    carrier, peer = await bound(esme, scripted_smsc, window=10)
    add(carrier, 25)
    submits = [await peer.next("submit_sm") for _ in range(10)]
    for submit in submits[:4]:
        peer.answer(submit, message_id="1")
    submits += [await peer.next("submit_sm") for _ in range(4)]
    getattr(peer, way)()
    peer = await scripted_smsc.accept()
    await peer.bind()
    rest = []
    for _ in range(11):
        rest.append(await peer.next("submit_sm"))
        peer.answer(rest[-1], message_id="1")
    await until(lambda: carrier.backlog.is_empty or not carrier.backlog.in_flight, "all is settled")
    found = outcomes(carrier)
    assert sorted(outcome.pos for outcome in found) == list(range(25))
    assert [outcome.status for outcome in found].count(UNCERTAIN) == 10 == carrier.ledger.uncertain
    numbers = [pdu.fields["destination_addr"] for pdu in (*submits, *rest)]
    assert len(set(numbers)) == 25, "nothing was sent twice"


@pytest.mark.parametrize("octets", [1, 17, 60, 61, 62, 500])
async def test_cut_at_any_octet_puts_each_message_in_one_place(esme, smsc, flaky_proxy, octets):
    centre = await smsc()
    proxy = await flaky_proxy(centre.port)
    carrier = esme(proxy.port, window=10)
    await all_bound(carrier)
    proxy.cut_after(octets)
    add(carrier, 50)
    await until(lambda: not carrier.backlog.unsent and not carrier.backlog.in_flight, "all is settled")
    found = outcomes(carrier)
    assert proxy.cuts == 1 and sorted(outcome.pos for outcome in found) == list(range(50))
    doubted = [outcome.status for outcome in found].count(UNCERTAIN)
    assert 1 <= doubted <= 10
    assert 50 - doubted <= centre.totals()["submits"] <= 50


async def test_octets_that_never_become_a_pdu_are_no_sign_of_life(esme, scripted_smsc):
    now = Now()
    carrier, peer = await bound(esme, scripted_smsc, clock=now, enquire_link_s=10.0)
    link = carrier.binds[0].link
    heard = link.exchange.received_at
    now.forward(0.9)
    before = carrier.ledger.octets_in
    peer.write(bytes.fromhex("000000"))
    await until(lambda: carrier.ledger.octets_in == before + 3, "the octets are there")
    assert link.exchange.received_at == heard


async def test_link_that_ends_composes_nothing_more(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=10)
    link = carrier.binds[0].link
    link.abort("enough")
    add(carrier, 10)
    assert carrier.ledger.submitted == 0 and not link.is_lost
    await until(lambda: link.is_lost, "it is gone")
    assert outcomes(carrier) == [] and carrier.backlog.unsent == 10
    assert await peer.gone() == b""


# -- pressure ---------------------------------------------------------------------------------------------------------


def small_buffers(link):
    """Let little fill the kernel's buffer."""
    link._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)


async def test_smsc_that_stops_reading_stops_us_and_all_goes_on_when_it_reads(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=65536)
    link = carrier.binds[0].link
    small_buffers(link)
    total = 60_000
    for chunk in range(total // 1000):
        add(carrier, 1000, "x" * 160, chunk_id=chunk + 1)
        await asyncio.sleep(0)
    await until(lambda: link._paused, "nobody takes our octets")
    written = carrier.ledger.submitted
    for _ in range(50):
        carrier.pump()
        await asyncio.sleep(0)
    assert carrier.ledger.submitted == written < total
    assert link.exchange.out_waiting + link._transport.get_write_buffer_size() <= 1 << 19
    left = total * len(peer.octets_of("submit_sm", 1, fields=SUBMIT))
    async with asyncio.timeout(PATIENCE_S):
        while left:
            left -= len(await peer.reader.read(1 << 20))
    assert carrier.ledger.submitted == total and carrier.in_flight == total and not link._paused


async def test_smsc_that_sends_and_never_reads_is_not_read_from_for_ever(esme, scripted_smsc, monkeypatch):
    monkeypatch.setattr(links, "OUTBOX_HIGH", 1 << 16)
    monkeypatch.setattr(links, "OUTBOX_LOW", 1 << 14)
    carrier, peer = await bound(esme, scripted_smsc)
    link = carrier.binds[0].link
    small_buffers(link)
    flood = b"".join(peer.octets_of("deliver_sm", n, fields=RECEIPT) for n in range(1, 1001))
    sent = 0
    while link._reading:
        peer.write(flood)
        sent += 1000
        async with asyncio.timeout(PATIENCE_S):
            while link._reading and carrier.ledger.receipts_waiting < sent:
                await asyncio.sleep(0)
        carrier.ledger.waiting.take()
    assert link.exchange.out_waiting < 1 << 20
    left = sent * 17
    async with asyncio.timeout(PATIENCE_S):
        while left:
            left -= len(await peer.reader.read(1 << 20))
    assert link._reading


async def test_receipts_that_are_not_durable_stop_the_reading_and_are_answered_in_order(
    esme, scripted_smsc, monkeypatch
):
    """Case 7 of the write protocol."""
    monkeypatch.setattr(links, "OWED_HIGH", 100)
    monkeypatch.setattr(links, "OWED_LOW", 10)
    carrier, peer = await bound(esme, scripted_smsc, at_once=False)
    link = carrier.binds[0].link
    peer.write(b"".join(peer.octets_of("deliver_sm", n, fields=RECEIPT) for n in range(1, 151)))
    await until(lambda: link.exchange.owed_waiting > 100, "more is owed than allowed")
    assert not link._reading and not link.hears(carrier._clock())
    while link.exchange.owed_waiting or link.exchange.owed_upto < 150:
        link.acknowledge(link.exchange.owed_upto)
        await asyncio.sleep(0)
    assert [(await peer.next("deliver_sm_resp")).sequence_number for _ in range(150)] == list(range(1, 151))
    assert link._reading


async def test_close_does_not_wait_for_ever_on_a_peer_that_does_not_read(esme, scripted_smsc):
    carrier, peer = await bound(esme, scripted_smsc, window=65536, unbind_timeout_s=0.05)
    link = carrier.binds[0].link
    small_buffers(link)
    for chunk in range(60):
        add(carrier, 1000, "x" * 160, chunk_id=chunk + 1)
        await asyncio.sleep(0)
    await until(lambda: link._paused, "nobody takes our octets")
    link.close("enough")
    await until(lambda: link.is_lost, "it is gone")
    assert carrier.binds[0].last_error == "enough" and carrier.binds[0].phase is not Phase.BOUND


async def test_what_is_written_long_after_it_was_decided_counts_in_the_second_that_it_left_in(
    esme, scripted_smsc, monkeypatch
):
    clock = Now()
    carrier, _ = await bound(esme, scripted_smsc, clock=clock, tps=200, window=2000)
    link, late_s, left_at = carrier.binds[0].link, 0.0, []
    compose = link._compose

    def compose_late(now):
        before = carrier.ledger.submitted
        compose(now)
        clock.forward(late_s)
        left_at.extend([clock.at] * (carrier.ledger.submitted - before))

    monkeypatch.setattr(link, "_compose", compose_late)
    add(carrier, 1200)
    # A turn every 5 ms, or later and with more to send; of some the writing is late, for the processor was another's.
    for turn in range(1000):
        clock.forward(0.005 if turn % 400 else 0.06)
        late_s = {0: 0.3, 7: 0.003, 14: 0.02}.get(turn % 400, 0.0)
        link.pump(clock())
    assert most_in_a_second(left_at) <= 200 and len(left_at) >= 800


async def test_nodelay_is_on(esme, scripted_smsc):
    carrier, _ = await bound(esme, scripted_smsc)
    raw = carrier.binds[0].link._transport.get_extra_info("socket")
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
