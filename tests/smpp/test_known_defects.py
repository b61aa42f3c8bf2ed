"""Defects that other SMPP programs had, as far as they concern what we have: each is held against ours by its name.

The rows are those of docs/security.md, "Known defects". Here is what comes over an SMPP link; what is forbidden in the
source (pickle, eval, shells) stands in tests/house/test_security.py.
"""

import asyncio
import itertools

import pytest

from _fastpath import alphabet, inbound, receipttext
from _fastpath.faults import LostFraming, MalformedPdu
from _fastpath.frame import Frames
from _fastpath.template import Template
from gateway.errors import EncodeError, RemoteProtocolError
from gateway.smpp import inboundtext, pdu
from gateway.smpp import link as links
from gateway.smpp.pdu import ANYTHING, CARRIER, STRICT, Pdu, decode, encode
from gateway.smpp.session import Refused, Request, Role, Session, State, Unmatched, Unreadable
from gateway.smpp.spec import COMMANDS
from tests.fixtures.now import until
from tests.fuzz import mutation
from tests.fuzz.targets import exchange_with_window

ENQUIRE_LINK = encode(Pdu(command="enquire_link", sequence_number=9))


def deliver(body: bytes, *, esm_class: int = 0, data_coding: int = 0, sm_length: int | None = None) -> bytes:
    """A deliver_sm whose sm_length may lie."""
    fields = b"\0\x01\x01447700900123\0\x00\x05Sluice\0" + bytes((esm_class, 0, 0)) + b"\0\0\0\0"
    fields += bytes((data_coding, 0, len(body) if sm_length is None else sm_length)) + body
    return (len(fields) + 16).to_bytes(4, "big") + b"\0\0\0\x05\0\0\0\0\0\0\0\x07" + fields


def session(role: Role = Role.ESME, state: State = State.BOUND_TRX) -> Session:
    return Session(role, now=0.0, state=state)


# -- OpenSIPS proto_smpp ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", range(256))
def test_opensips_3846_body_of_255_octets_is_read_in_every_coding(coding):
    for octets in (b"\x7f" * 255, b"\x1b" * 255, b"\xff" * 255, b"\xd8\x00" * 127 + b"\xd8"):
        (event,) = session().receive(deliver(octets, data_coding=coding), 0.0)
        assert isinstance(event, Request) and event.pdu.fields["short_message"] == octets
        assert len(inboundtext.read([inboundtext.Piece(octets, 0)], coding).text) <= 300


def test_opensips_3846_body_is_not_looked_at_before_a_bind():
    (event,) = session(Role.SMSC, State.OPEN).receive(b"\0\0\0\x20\0\0\0\x04\0\0\0\0\0\0\0\x01" + b"\xff" * 16, 0.0)
    assert isinstance(event, Refused) and event.answer == 4


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_opensips_3847_field_without_its_end_never_reaches_past_the_pdu(command):
    for octets in range(0, 300, 7):
        whole = (octets + 16).to_bytes(4, "big") + command.id.to_bytes(4, "big") + bytes(8) + b"A" * octets
        found, fault = pdu.salvage(whole, ANYTHING)
        assert fault is None or 0 <= fault.offset <= len(whole)
        assert sum(len(value) for value in found.fields.values() if isinstance(value, str | bytes)) <= octets


def test_opensips_3847_pdus_cut_short_at_every_octet_are_refused_or_whole():
    for whole in mutation.pdus():
        for end in range(16, len(whole)):
            short = end.to_bytes(4, "big") + whole[4:end]
            for tolerance in (STRICT, CARRIER, ANYTHING):
                try:
                    decode(short, tolerance)
                except MalformedPdu as fault:
                    assert fault.offset <= end
            exchange = exchange_with_window() if end % 16 == 0 else None
            if exchange is not None:
                exchange.feed(short + ENQUIRE_LINK, 1.0)
                assert not exchange.lost_framing and exchange.take_rare()[-1] == ENQUIRE_LINK


@pytest.mark.parametrize("total", [2, 3, 127, 255])
def test_opensips_1831_long_messages_with_sar_of_any_figures_are_read(total):
    for number, header in itertools.product(
        (0, 1, total, 255), ("050003{:02x}{:02x}{:02x}", "06080400{:02x}{:02x}{:02x}")
    ):
        octets = bytes.fromhex(header.format(7, total, number)) + b"x" * 134
        found = inboundtext.header_of(octets, 0x40)
        assert 1 <= found.number <= found.total and found.octets in (6, 7)


def test_opensips_1728_answer_is_that_of_the_request_and_not_of_another():
    one = session(Role.SMSC)
    requests = []
    for number in (5, 6):
        octets = encode(Pdu(command="submit_sm", sequence_number=number, fields={"destination_addr": "447700900123"}))
        requests += one.receive(octets, 0.0)
    for request in reversed(requests):
        one.respond(request.pdu, 0, {"message_id": f"id-{request.pdu.sequence_number}"}, now=0.0)
    answers = [decode(octets) for octets in Frames().feed(one.take_output())]
    assert [(a.sequence_number, a.fields["message_id"]) for a in answers] == [(6, "id-6"), (5, "id-5")]


# -- OpenBSC, OsmoMSC -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(16))
def test_openbsc_b6f01e77_command_length_below_a_header_loses_the_framing_and_nothing_else(length):
    frames = Frames()
    assert frames.feed(length.to_bytes(4, "big") + bytes(20)) == []
    assert isinstance(frames.lost, LostFraming) and frames.rest == b""
    exchange = exchange_with_window()
    exchange.feed(length.to_bytes(4, "big") + bytes(20), 1.0)
    assert exchange.lost_framing


def test_openbsc_b6f01e77_its_very_octets_lose_the_framing():
    frames = Frames()
    frames.feed(b"\x00\x00\x00\x02\x00")
    assert frames.lost is not None


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 66561])
def test_command_length_that_is_a_bomb_is_refused_before_anything_is_kept_for_it(length):
    frames = Frames()
    frames.feed(length.to_bytes(4, "big"))
    assert frames.lost is not None and frames.rest == b""


@pytest.mark.parametrize("coding", [0, 3, 4, 8, 0xF0])
def test_openbsc_dc50388c_header_bit_with_an_empty_body_is_an_empty_text(coding):
    (event,) = session().receive(deliver(b"", esm_class=0x40, data_coding=coding), 0.0)
    assert isinstance(event, Request)
    header = inboundtext.header_of(b"", 0x40)
    assert header.octets == 0 and inboundtext.read([inboundtext.Piece(b"", 0)], coding).text == ""
    assert inbound.receipt(deliver(b"", esm_class=0x44)) is None


# -- ksmppd -----------------------------------------------------------------------------------------------------------


def test_ksmppd_16_every_octet_that_waits_makes_progress_and_none_is_looked_at_twice_for_nothing():
    stream = b"".join(mutation.pdus()[:8])
    frames, pdus = Frames(), []
    for octet in stream:
        pdus += frames.feed(bytes((octet,)))
        if frames.lost is not None:
            break
        assert len(frames.rest) < 66560
    assert b"".join(pdus) + frames.rest == stream[: sum(map(len, pdus)) + len(frames.rest)]


@pytest.mark.parametrize(
    "tail", [b"\x14\x00", b"\x14\x00\x00", b"\x14\x00\xff\xff", b"\x04\x24\x00\x01", b"\0\0\0\0" * 300]
)
def test_ksmppd_133_tlvs_of_any_form_end(tail):
    whole = deliver(b"x")[4:] + tail
    whole = (len(whole) + 4).to_bytes(4, "big") + whole
    found, fault = pdu.salvage(whole, STRICT)
    assert fault is None or fault.command_status in (0xC0, 0xC2, 0x02)
    assert len(found.tlvs) <= 300
    inbound.receipt(whole)


def test_ksmppd_91_empty_fields_are_empty_texts_and_never_absent():
    body = b"\0" * 12 + b"\0" * 5
    whole = (16 + len(body)).to_bytes(4, "big") + b"\0\0\0\x05" + bytes(7) + b"\1" + body
    found = decode(whole, CARRIER)
    assert found.fields["source_addr"] == found.fields["destination_addr"] == ""


def test_ksmppd_28_thousands_of_empty_requests_in_one_read_are_answered_each_once():
    one = session()
    for _ in range(5000):
        one.receive(ENQUIRE_LINK, 0.0)
    assert len(Frames(1 << 20).feed(one.take_output())) == 5000


# -- node-smpp, python-smpplib, Cloudhopper, Kamailio -----------------------------------------------------------------


def test_node_smpp_152_stream_of_noughts_ends_at_once():
    frames = Frames()
    assert frames.feed(bytes(100_000)) == [] and frames.lost is not None


async def test_node_smpp_168_and_109_peer_that_speaks_http_ends_its_own_link_alone(scripted_smsc, esme):
    carrier = esme(scripted_smsc.port)
    first = await scripted_smsc.accept()
    first.write(b"AAAA HTTP/1.1 400 Bad Request\r\n\r\n")  # a command_length of 1094795585
    assert b"\x80\x00\x00\x00" in await first.gone()
    second = await scripted_smsc.accept()
    await second.bind()
    await until(lambda: carrier.is_up, "it is bound again")


@pytest.mark.parametrize("size", [*range(1, 34), 255, 1000])
def test_smpplib_82_pdus_cut_anyhow_are_the_same_pdus(size):
    whole = mutation.pdus()[:6]
    stream, frames, found = b"".join(whole), Frames(), []
    for at in range(0, len(stream), size):
        found += frames.feed(stream[at : at + size])
    assert found == Frames().feed(stream)


async def test_smpplib_170_end_of_the_stream_is_an_end_and_no_loop(scripted_smsc, esme):
    carrier = esme(scripted_smsc.port)
    first = await scripted_smsc.accept()
    await first.bind()
    await until(lambda: carrier.is_up, "it is bound")
    first.close()
    await until(lambda: not carrier.is_up, "the loss is seen")


async def test_smpplib_195_reset_is_a_loss_that_is_told_and_not_swallowed(scripted_smsc, esme):
    carrier = esme(scripted_smsc.port)
    first = await scripted_smsc.accept()
    await first.bind()
    await until(lambda: carrier.is_up, "it is bound")
    first.writer.transport.abort()
    await until(lambda: not carrier.is_up and carrier.binds[0].last_error, "the loss is told")


def test_smpplib_160_answer_to_what_cannot_be_read_bears_its_sequence_number():
    one = session()
    (event,) = one.receive(deliver(b"abc", sm_length=200), 0.0)
    assert isinstance(event, Unreadable)
    assert decode(one.take_output(), CARRIER).sequence_number == 7


def test_smpplib_19_and_cloudhopper_64_wrong_sm_length_is_answered_and_the_session_lives():
    one = session()
    for lie in (0, 1, 2, 4, 200, 255):
        one.receive(deliver(b"abc", sm_length=lie), 0.0)
    assert one.state is State.BOUND_TRX
    answers = [decode(octets, ANYTHING) for octets in Frames().feed(one.take_output())]
    assert answers and all(answer.command_status for answer in answers)
    one.receive(ENQUIRE_LINK, 0.0)
    assert decode(one.take_output()).command == "enquire_link_resp"


@pytest.mark.parametrize("octets", range(0, 301, 10))
def test_kamailio_4529_addresses_of_any_length_are_refused_by_name_or_taken(octets):
    address = b"1" * octets
    body = b"\0\x01\x01" + address + b"\0\x01\x01" + address + b"\0" + bytes(10)
    whole = (16 + len(body)).to_bytes(4, "big") + b"\0\0\0\x05" + bytes(7) + b"\1" + body
    _, fault = pdu.salvage(whole, CARRIER)
    assert (fault is not None) == (octets > 20)
    assert inbound.receipt(whole) is None
    if octets > 20:
        with pytest.raises(EncodeError, match="destination_addr"):
            encode(Pdu(command="submit_sm", fields={"destination_addr": "1" * octets}))


# -- responses, receipts, templates -----------------------------------------------------------------------------------


def test_answers_to_nothing_are_counted_and_never_nacked_back():
    one = session()
    for octets in (
        encode(Pdu(command="generic_nack", command_status=3, sequence_number=77)),
        encode(Pdu(command="submit_sm_resp", sequence_number=78, fields={"message_id": "x"})),
    ):
        assert all(isinstance(event, Unmatched) for event in one.receive(octets, 0.0))
    one.receive(b"\0\0\0\x10\x80\0\xff\xff" + bytes(8), 0.0)
    assert one.take_output() == b""


def test_octets_that_are_no_whole_pdu_end_the_session_with_the_words_of_the_standard():
    one = session()
    with pytest.raises(RemoteProtocolError):
        one.receive(b"\0\0\0\x11" + bytes(12), 0.0)
    assert one.state is State.CLOSED and one.receive(ENQUIRE_LINK, 1.0) == []


def test_wireshark_cousins_reader_of_receipts_moves_on_at_every_octet():
    for octet in range(256):
        receipttext.parse(bytes((octet,)) * 4096)
    receipttext.parse(b"id:" * 1000 + b"stat:" * 1000)
    receipttext.parse(b"submit date:" * 500)


@pytest.mark.parametrize("text", ["{{7*7}}", "{{''.__class__}}", "{{ a|attr('x') }}", "{% for x in y %}", "{{ a[0] }}"])
def test_playsms_cve_2020_8644_and_jinja_expressions_of_a_template_are_refused_or_stand_as_they_are(text):
    try:
        template = Template(text)
    except ValueError:
        return
    assert template.fields == () and template.encode([]) == alphabet.encode(text, "gsm7")


def test_jinja_cve_2025_27516_dot_in_a_field_is_a_letter_of_its_name_and_reaches_nothing():
    assert Template("{{ a.__class__ }}").encode(["b"]) == b"b"


@pytest.mark.parametrize(
    "value", ["{{7*7}}", "{{ b }}", "{% if a %}", "${x}", "<%= 1 %>", "$(reboot)", "`id`", "; rm -rf /"]
)
def test_playsms_double_rendering_and_phpsmssend_value_of_a_field_is_never_read_again(value):
    encoded = Template('Hi {{ a }}{{ b|default("x") }}').encode([value, None], "ucs2")
    assert encoded == alphabet.encode(f"Hi {value}x", "ucs2")


async def test_uvloop_548_peer_that_sends_and_never_reads_is_not_read_either(scripted_smsc, esme, monkeypatch):
    monkeypatch.setattr(links, "OUTBOX_HIGH", 1 << 16)
    carrier = esme(scripted_smsc.port)
    peer = await scripted_smsc.accept()
    await peer.bind()
    await until(lambda: carrier.is_up, "it is bound")
    link = carrier.binds[0].link
    flood, sent = ENQUIRE_LINK * 1024, 0
    peer.writer.transport.pause_reading()
    while link._reading and sent < 32 << 20:
        peer.writer.write(flood)
        sent += len(flood)
        await asyncio.sleep(0)
    assert not link._reading and link.exchange.out_waiting < 1 << 20
    peer.writer.transport.abort()
