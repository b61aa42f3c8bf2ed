"""A deliver_sm is read as a receipt, or left to the session; held against the table-driven decoder."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import inbound
from gateway.smpp.pdu import Pdu, Tlv, encode

BOOK = b"id:0123456789 sub:001 dlvrd:001 submit date:2611211840 done date:2611211841 stat:DELIVRD err:000 text:Hello"


def deliver(
    text: bytes = BOOK, *, esm_class: int = 4, source: str = "447700900123", tlvs: tuple[Tlv, ...] = ()
) -> bytes:
    fields = {
        "service_type": "",
        "source_addr_ton": 1,
        "source_addr_npi": 1,
        "source_addr": source,
        "dest_addr_ton": 5,
        "dest_addr_npi": 0,
        "destination_addr": "Sluice",
        "esm_class": esm_class,
        "protocol_id": 0,
        "priority_flag": 0,
        "schedule_delivery_time": "",
        "validity_period": "",
        "registered_delivery": 0,
        "replace_if_present_flag": 0,
        "data_coding": 0,
        "sm_default_msg_id": 0,
        "short_message": text,
    }
    return encode(Pdu(command="deliver_sm", sequence_number=77, fields=fields, tlvs=tlvs))


def test_a_receipt_by_the_book_is_read_with_its_number_and_time():
    found = inbound.receipt(deliver())
    assert found == {
        "sequence_number": 77,
        "message_id": b"0123456789",
        "state": 2,
        "err": b"000",
        "done_at_us": (datetime(2026, 11, 21, 18, 41) - datetime(2000, 1, 1)) // timedelta(microseconds=1),
        "number": 447700900123,
        "other": None,
        "text": BOOK,
    }


def test_tlvs_go_before_the_text():
    found = inbound.receipt(deliver(tlvs=(Tlv(0x001E, b"other\x00"), Tlv(0x0427, b"\x05"))))
    assert found is not None
    assert (found["message_id"], found["state"]) == (b"other", 5)


def test_a_receipt_of_tlvs_alone_needs_no_text():
    found = inbound.receipt(deliver(b"", tlvs=(Tlv(0x001E, b"abc"), Tlv(0x0427, b"\x02"))))
    assert found is not None
    assert (found["message_id"], found["state"], found["text"]) == (b"abc", 2, b"")


def test_text_in_message_payload_is_read():
    found = inbound.receipt(deliver(b"", tlvs=(Tlv(0x0424, BOOK),)))
    assert found is not None and found["message_id"] == b"0123456789" and found["text"] == BOOK


def test_the_first_of_two_equal_tlvs_counts():
    found = inbound.receipt(deliver(tlvs=(Tlv(0x001E, b"first\x00"), Tlv(0x001E, b"second\x00"))))
    assert found is not None and found["message_id"] == b"first"


@pytest.mark.parametrize(
    ("word", "state"),
    [(b"FAILED", 5), (b"BUFFRED", 1), (b"ACKED", 6), (b"SCHEDLD", 0), (b"DND_REJECTED", -1), (b"EXPIRED", 3)],
)
def test_words_outside_the_table_have_a_state_by_their_meaning(word: bytes, state: int):
    found = inbound.receipt(deliver(BOOK.replace(b"DELIVRD", word)))
    assert found is not None and found["state"] == state


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (deliver(esm_class=0), "an ordinary message, whatever its text looks like"),
        (deliver(esm_class=0x44), "a header stands in its text"),
        (deliver(b"Your parcel has arrived"), "no id and no state"),
        (deliver(b"id:1 text:no state"), "no state"),
        (deliver(tlvs=(Tlv(0x001E, b""),), text=b"stat:DELIVRD"), "an empty id"),
    ],
)
def test_what_is_no_receipt_is_left_to_the_session(octets: bytes, why: str):
    assert inbound.receipt(octets) is None, why


def test_a_source_that_is_no_number_leaves_the_number_unknown():
    for source in ("Brand", "", "1234567890123456789"):
        found = inbound.receipt(deliver(source=source))
        assert found is not None and found["number"] is None
    found = inbound.receipt(deliver(source="+4912345"))
    assert found is not None and found["number"] == 4912345


def test_every_truncation_is_left_to_the_session():
    whole = deliver(tlvs=(Tlv(0x001E, b"0123456789\x00"), Tlv(0x0427, b"\x02")))
    for size in range(16, len(whole)):
        cut = size.to_bytes(4, "big") + whole[4:size]
        found = inbound.receipt(cut)
        # Cut between two TLVs, or before the first, it is a whole receipt still.
        if found is not None:
            assert found["message_id"] == b"0123456789"


@given(st.binary(max_size=300))
def test_any_octets_are_read_or_left(body: bytes):
    octets = (16 + len(body)).to_bytes(4, "big") + b"\x00\x00\x00\x05" + bytes(4) + b"\x00\x00\x00\x01" + body
    found = inbound.receipt(octets)
    assert found is None or (1 <= len(found["message_id"]) <= 255 and -1 <= found["state"] <= 9)


def test_what_is_no_whole_deliver_sm_is_refused():
    for octets in (b"", bytes(16), deliver()[:-1], deliver() + b"\x00"):
        with pytest.raises(ValueError, match="deliver_sm"):
            inbound.receipt(octets)
