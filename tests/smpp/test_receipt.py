"""The 34 published forms of a receipt, each a PDU on the way that a link takes: the compiled path, then this room."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import inbound
from _fastpath.inbound import Reading
from gateway.config import CarrierSettings
from gateway.smpp import receipt
from gateway.smpp.pdu import Pdu, Tlv, decode, encode
from gateway.smpp.receipt import Receipt

ID, STATE, ERROR, PAYLOAD = 0x001E, 0x0427, 0x0423, 0x0424
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
COUNTS = "sub:001 dlvrd:001"
DATED = "submit date:1809031605 done date:1809031606"
DONE = datetime(2018, 9, 3, 16, 6, tzinfo=UTC)


def pdu_of(text: bytes, *tlvs: Tlv, esm_class: int = 4, command: str = "deliver_sm", data_coding: int = 0) -> Pdu:
    fields: dict[str, Any] = {
        "service_type": "",
        "source_addr_ton": 1,
        "source_addr_npi": 1,
        "source_addr": "447700900123",
        "dest_addr_ton": 3,
        "dest_addr_npi": 0,
        "destination_addr": "12345",
        "esm_class": esm_class,
        "registered_delivery": 0,
        "data_coding": data_coding,
    }
    if command == "deliver_sm":
        fields |= {
            "protocol_id": 0,
            "priority_flag": 0,
            "schedule_delivery_time": "",
            "validity_period": "",
            "replace_if_present_flag": 0,
            "sm_default_msg_id": 0,
            "short_message": text,
        }
    return Pdu(command=command, sequence_number=1, fields=fields, tlvs=tlvs)


def read(pdu: Pdu, reading: Reading | None = None) -> tuple[Receipt | None, bool]:
    """What a link makes of it, and whether the compiled path took it."""
    reading = reading or Reading()
    octets = encode(pdu)
    found = inbound.receipt(octets, reading) if pdu.command == "deliver_sm" else None
    if found is None:
        return receipt.read(decode(octets), reading), False
    return Receipt(
        **{name: found[name] for name in Receipt.__struct_fields__ if name != "raw"}, raw=found["text"]
    ), True


def done_of(found: Receipt) -> datetime | None:
    return None if found.done_at_us is None else EPOCH + timedelta(microseconds=found.done_at_us)


A, B, C = b"\x02", b"\x05", b"\x08"
HEX32 = "c449ab9744f47b6af1879e49e75e4f40"
LONG = datetime(2015, 6, 20, 16, 41, tzinfo=UTC)
# form, PDU, carrier's settings, id, state, err, done, whether the compiled path takes it. Shapes as published.
FORMS: list[Any] = [
    (1, pdu_of(f"id:1234567890 {COUNTS} {DATED} stat:DELIVRD err:000 Text:Hi there".encode()),
     {}, "1234567890", 2, "000", DONE, True),
    (2, pdu_of(f"id:0000000012345678 {COUNTS} {DATED} stat:DELIVRD err:000 text:none".encode()),
     {}, "0000000012345678", 2, "000", DONE, True),
    (3, pdu_of(f"id:7 {COUNTS} submit date:180903160501 done date:180903160659 stat:DELIVRD err:000 text:".encode()),
     {}, "7", 2, "000", DONE.replace(second=59), True),
    (4, pdu_of(b"id:7 submit date:201506201641 done date:201506201641 stat:UNDELIV err:100"),
     {}, "7", 5, "100", LONG, True),
    (5, pdu_of(f"id:{HEX32} submit date:20150620164100 done date:20150620164133 stat:DELIVRD err:0".encode()),
     {}, HEX32, 2, "0", LONG.replace(second=33), True),
    (6, pdu_of(f"id:7 {COUNTS} submit date:180711070003912+ done date:180711070009012+ stat:DELIVRD err:000".encode()),
     {}, "7", 2, "000", datetime(2018, 7, 11, 4, 0, 9, tzinfo=UTC), True),
    (7, pdu_of(f"id:7 {DATED} stat:DELIVRD err:000 text:Hello".encode()), {}, "7", 2, "000", DONE, True),
    (8, pdu_of(f"id:7 {DATED} stat:DELIVRD err:000".encode()), {}, "7", 2, "000", DONE, True),
    (9, pdu_of(b"id:0118Z-0122I-2309U-57DGB sub:001 dlvrd:000 submitdate:180903160500 donedate:000000000000 "
               b"stat:REJECTD err:375 text:"),
     {}, "0118Z-0122I-2309U-57DGB", 8, "375", None, True),
    (10, pdu_of(b"id:7 sub:001 dlvrd:001 submit date:1809031605 done date:0000000000 stat:FAILED err:002 Text:x"),
     {}, "7", 5, "002", None, True),
    (11, pdu_of(f"id:7 {COUNTS} {DATED} stat:BUFFRED err:000 text:".encode()), {}, "7", 1, "000", DONE, True),
    (11, pdu_of(f"id:7 {COUNTS} {DATED} stat:ACKED err:000 text:".encode()), {}, "7", 6, "000", DONE, True),
    (11, pdu_of(f"id:7 {COUNTS} {DATED} stat:BUFFERD err:000 text:".encode()), {}, "7", 1, "000", DONE, True),
    (12, pdu_of(f"id:7 {COUNTS} {DATED} err:123 stat:DND_REJECTED text:x".encode()), {}, "7", -1, "123", DONE, True),
    (12, pdu_of(f"id:7 {COUNTS} {DATED} err:123 stat:DND_REJECTED text:x".encode()),
     {"receipt_states": {"dnd_rejected": "rejected"}}, "7", 8, "123", DONE, True),
    (13, pdu_of(f"id:7 {COUNTS} {DATED} stat:DELIVRD err:0000 text:".encode(),
                Tlv(ERROR, b"\x03\x00\x00"), Tlv(0x1454, b"x"), Tlv(0x1418, b"yy")),
     {}, "7", 2, "0000", DONE, True),
    (13, pdu_of(f"id:7 {COUNTS} {DATED} stat:UNDELIV text:".encode(), Tlv(ERROR, b"\x03\x00\x1b")),
     {}, "7", 5, "027", DONE, True),
    (14, pdu_of(f"id:7 {COUNTS} {DATED} stat:UNDELIV err:21b text:Hi".encode()), {}, "7", 5, "21b", DONE, True),
    (15, pdu_of(b"sub:001 id:7 err:000 dlvrd:001 done date:1809031606 submit date:1809031605 text: stat:DELIVRD"),
     {}, "7", 2, "000", DONE, True),
    (16, pdu_of(f"id:6ba7b810-9dad-11d1-80b4-00c04fd430c8 {DATED} stat:DELIVRD err:000".encode()),
     {}, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", 2, "000", DONE, True),
    (16, pdu_of(f"id:SAR-2347039245475-1EEDF843-2-1 {DATED} stat:DELIVRD err:000".encode()),
     {}, "SAR-2347039245475-1EEDF843-2-1", 2, "000", DONE, True),
    (17, pdu_of(f"id:9308878062554710043 {COUNTS} {DATED} stat:DELIVRD err:000 text:".encode()),
     {}, "9308878062554710043", 2, "000", DONE, True),
    (18, pdu_of(f"id:0221067780 {COUNTS} {DATED} stat:DELIVRD err:000 text:".encode()),
     {}, "0221067780", 2, "000", DONE, True),
    (19, pdu_of(f"id:870928761 {COUNTS} {DATED} stat:DELIVRD err:000 text:".encode()),
     {}, "870928761", 2, "000", DONE, True),
    (20, pdu_of(f"id:7 {COUNTS} {DATED} stat:DELIVRD err:000\x00".encode()), {}, "7", 2, "000", DONE, True),
    (21, pdu_of(f"id:7 {COUNTS} {DATED} stat:DELIVRD err:000 text:".encode() + b"\x04\x1a\x84A\x89O\x00\xff"),
     {}, "7", 2, "000", DONE, True),
    (22, pdu_of(f"id:7 {COUNTS} {DATED} stat:DELIVRD err:000 text:Привет".encode("utf-16-be"), data_coding=8),
     {}, "7", 2, "000", DONE, False),
    (23, pdu_of(b"", Tlv(ID, b"3afe1c\x00"), Tlv(STATE, A)), {}, "3afe1c", 2, None, None, True),
    (23, pdu_of(b"", Tlv(ID, b"3afe1c\x00"), Tlv(STATE, B), Tlv(ERROR, b"\x03\x03\xe9")),
     {}, "3afe1c", 5, "1001", None, True),
    (24, pdu_of(f"{COUNTS} {DATED} stat:UNDELIV err:005 text:".encode(), Tlv(ID, b"3afe1c\x00")),
     {}, "3afe1c", 5, "005", DONE, True),
    (24, pdu_of(b"", Tlv(ID, b"3afe1c\x00")), {}, "3afe1c", -1, None, None, False),
    (25, pdu_of(b"", Tlv(PAYLOAD, f"id:7 {COUNTS} {DATED} stat:DELIVRD err:000 text:".encode())),
     {}, "7", 2, "000", DONE, True),
    (25, pdu_of(b"", Tlv(PAYLOAD, f"id:7 {COUNTS} {DATED} stat:EXPIRED err:000 text:".encode()), command="data_sm"),
     {}, "7", 3, "000", DONE, False),
    (25, pdu_of(b"", Tlv(ID, b"7\x00"), Tlv(STATE, A), command="data_sm"), {}, "7", 2, None, None, False),
    (26, pdu_of(b"00,0210021543,0210021500,,447887123456,10110200000000,we2345678i9o03er45ty67u"),
     {}, "we2345678i9o03er45ty67u", 2, None, None, False),
    (26, pdu_of(b"01,0210021543,0210021500,30,447887123456,10110200000000,we2345678i9o03er45ty67u"),
     {}, "we2345678i9o03er45ty67u", 1, "30", None, False),
    (26, pdu_of(b"01,0210021543,0210021500,12,447887123456,10110200000000,we2345678i9o03er45ty67u"),
     {}, "we2345678i9o03er45ty67u", 5, "12", None, False),
    (27, pdu_of(f"id:7 sub:null dlvrd:null {DATED} stat:DELIVRD err:0 text:".encode()), {}, "7", 2, "0", DONE, True),
    (27, pdu_of(f"id:7 sub:... dlvrd:... {DATED} stat:DELIVRD err:0 text:".encode()), {}, "7", 2, "0", DONE, True),
    (28, pdu_of(f"id:7 sub:1 dlvrd:13 {DATED} stat:DELIVRD err:0 Text:..".encode()), {}, "7", 2, "0", DONE, True),
    (28, pdu_of(f"id:7 sub:0 dlvrd:28 {DATED} stat:UNDELIV err:21 Text:*100#".encode()), {}, "7", 5, "21", DONE, True),
    (29, pdu_of(f"id:7 {COUNTS} {DATED} stat:UNDELIV err:075 text:-PROFILE".encode()), {}, "7", 5, "075", DONE, True),
    (29, pdu_of(f"id:7 {COUNTS} {DATED} stat:UNDELIV err:954 text:".encode()), {}, "7", 5, "954", DONE, True),
    (30, pdu_of(f"id:7 {COUNTS} {DATED} stat:0 err:0 text:".encode()), {}, "7", -1, "0", DONE, True),
    (30, pdu_of(f"id:7 {COUNTS} {DATED} stat:0 err:0 text:".encode()),
     {"receipt_states": {"0": "delivered"}}, "7", 2, "0", DONE, True),
    (30, pdu_of(f"id:7 {COUNTS} {DATED} stat:UNDELIVERABLE err:0 text:".encode()), {}, "7", 5, "0", DONE, True),
    (30, pdu_of(f"id:7 {COUNTS} {DATED} stat:DELIVERED err:0 text:".encode()), {}, "7", 2, "0", DONE, True),
    (31, pdu_of(f"id:7 {COUNTS} {DATED} stat:SCHEDLD err:0 text:".encode()), {}, "7", 0, "0", DONE, True),
    (31, pdu_of(f"id:7 {COUNTS} {DATED} stat:SKIPPED err:0 text:".encode()), {}, "7", 9, "0", DONE, True),
    (32, pdu_of(b"id: 7   sub:001  dlvrd:001   submit date: 1809031605  done date: 1809031606  stat: DELIVRD   err: 0"),
     {}, "7", 2, "0", DONE, True),
    (33, pdu_of(f"id:7 {COUNTS} {DATED} stat:DELIVRD err:000 text:your id:9 stat:UNDELIV".encode()),
     {}, "7", 2, "000", DONE, True),
    (34, pdu_of(b"id:1 stat:ok", esm_class=0), {}, None, None, None, None, False),
    (34, pdu_of(b"id:1 stat:ok", esm_class=0), {"receipt_recognised_by": "pattern"}, "1", -1, None, None, True),
    (34, pdu_of(b"id:1 stat:ok", esm_class=0), {"receipt_recognised_by": "either"}, "1", -1, None, None, True),
]  # fmt: skip


def test_every_form_is_listed() -> None:
    assert {form for form, *_ in FORMS} == set(range(1, 35))


@pytest.mark.parametrize(
    ("pdu", "settings", "message_id", "state", "err", "done", "is_compiled"),
    [case[1:] for case in FORMS],
    ids=[f"receipt form {case[0]}" for case in FORMS],
)
def test_receipt_form(
    pdu: Pdu,
    settings: Any,
    message_id: str | None,
    state: int,
    err: str | None,
    done: datetime | None,
    is_compiled: bool,
) -> None:
    reading = receipt.reading_of(CarrierSettings(host="h", **settings))
    found, by_compiled = read(pdu, reading)
    if message_id is None:
        assert found is None
        return
    assert found is not None and by_compiled == is_compiled
    assert (found.message_id.decode(), found.state) == (message_id, state)
    assert (None if found.err is None else found.err.decode()) == err
    assert done_of(found) == done
    assert (found.number, found.other) == (447700900123, 12345)


@pytest.mark.parametrize(
    "case", [case for case in FORMS if case[0] != 34 and case[2] == {}], ids=lambda c: f"form {c[0]}"
)
def test_both_ways_read_the_same(case: Any) -> None:
    """What the compiled path takes reads alike when the session hands it here (links that were only just bound)."""
    pdu = case[1]
    assert read(pdu)[0] == receipt.read(decode(encode(pdu)), Reading())


BOOK = f"id:7 {COUNTS} {DATED} stat:DELIVRD err:000 text:x".encode()


def test_receipts_of_esm_class_0_are_messages_unless_the_carrier_says_otherwise() -> None:
    """Quirk 31."""
    plain = pdu_of(BOOK, esm_class=0)
    assert read(plain)[0] is None
    for how in ("pattern", "either"):
        found, _ = read(plain, Reading(how))
        assert found is not None and found.message_id == b"7"
        assert read(pdu_of(b"Yes please, id:7", esm_class=0), Reading(how))[0] is None
    typed = pdu_of(b"", Tlv(ID, b"9\x00"))
    assert read(typed, Reading("either"))[0] is not None
    # An id alone is no pattern.
    assert read(typed, Reading("pattern"))[0] is None


@pytest.mark.parametrize("esm_class", [0x04, 0x20])
def test_interim_receipts_are_receipts(esm_class: int) -> None:
    """Quirk 31: 0x20 is an intermediate notification; 0x08 and 0x10 are acknowledgements of a handset."""
    assert read(pdu_of(BOOK, esm_class=esm_class))[0] is not None
    assert read(pdu_of(BOOK, esm_class=0x08))[0] is None
    assert read(pdu_of(BOOK, esm_class=0x10))[0] is None


def test_where_tlv_and_text_disagree_the_carrier_s_preference_counts() -> None:
    """Quirk 32."""
    pdu = pdu_of(BOOK, Tlv(ID, b"0x7\x00"), Tlv(STATE, C))
    for prefers, expected in (("tlv", (b"0x7", 8)), ("text", (b"7", 2))):
        found, _ = read(pdu, Reading(prefers=prefers))
        assert found is not None and (found.message_id, found.state) == expected


def test_state_that_nobody_knows_leaves_the_word_to_the_other_place() -> None:
    """Quirk 32: a message_state above 9, or a word of no list, says nothing; the text or the TLV beside it does."""
    absurd, rejected = Tlv(STATE, b"\x4d"), Tlv(STATE, C)
    unknown = BOOK.replace(b"DELIVRD", b"WHATEVR")
    for pdu, prefers, state in (
        (pdu_of(BOOK, absurd), "tlv", 2),
        (pdu_of(BOOK, absurd), "text", 2),
        (pdu_of(unknown, rejected), "text", 8),
        (pdu_of(unknown, rejected), "tlv", 8),
        (pdu_of(unknown, absurd), "tlv", -1),
        (pdu_of(unknown), "text", -1),
    ):
        found, _ = read(pdu, Reading(prefers=prefers))
        assert found is not None and found.state == state


def test_an_id_of_36_characters_fits_its_tlv_and_one_of_65_is_nobody_s() -> None:
    """Quirk 32."""
    found, _ = read(pdu_of(b"", Tlv(ID, b"6ba7b810-9dad-11d1-80b4-00c04fd430c8\x00"), Tlv(STATE, A)))
    assert found is not None and len(found.message_id) == 36
    assert receipt.read(pdu_of(b"", Tlv(ID, b"7" * 65), Tlv(STATE, A)), Reading()) is None


@pytest.mark.parametrize(
    ("zone", "done"),
    [
        ("UTC", DONE),
        ("+03:00", DONE - timedelta(hours=3)),
        ("-05:30", DONE + timedelta(hours=5, minutes=30)),
        ("Europe/Vienna", DONE - timedelta(hours=2)),
    ],
)
def test_dates_are_in_the_zone_of_the_carrier(zone: str, done: datetime) -> None:
    """Quirk 37."""
    reading = Reading()
    reading.zone_s = receipt.zone_s(zone, datetime(2018, 9, 3, tzinfo=timezone(timedelta(hours=7))))
    for pdu in (pdu_of(BOOK), pdu_of(BOOK.decode().encode("utf-16-be"), data_coding=8)):
        found, _ = read(pdu, reading)
        assert found is not None and done_of(found) == done


@pytest.mark.parametrize("date", ["0000000000", "000000000000", "9999999999", "1813319999", "180230", "null", "-", ""])
def test_an_absurd_date_is_none(date: str) -> None:
    """Quirk 37."""
    found, _ = read(pdu_of(f"id:7 submit date:{date} done date:{date} stat:DELIVRD err:000".encode()))
    assert found is not None and found.done_at_us is None and found.state == 2


def test_counts_say_nothing_of_the_state() -> None:
    """Quirk 38."""
    for counts in ("sub:001 dlvrd:000", "sub:0 dlvrd:28", "sub:null dlvrd:null", "sub:... dlvrd:..."):
        found, _ = read(pdu_of(f"id:7 {counts} {DATED} stat:DELIVRD err:000".encode()))
        assert found is not None and found.state == 2


@pytest.mark.parametrize("text", [b"00,a,b,,c,d,e,f", b"00,a,b,,c,d,", b"0,a,b,,c,d,e", b"xx,a,b,,c,d,e"])
def test_a_list_of_another_shape_is_no_receipt(text: bytes) -> None:
    assert receipt.read(pdu_of(text), Reading()) is None
    assert receipt.read(pdu_of(b"00,a,b,,c,d,e", esm_class=0), Reading("either")) is None


def test_a_header_before_the_text_is_passed_over() -> None:
    found, _ = read(pdu_of(b"\x05\x00\x03\x01\x01\x01" + BOOK, esm_class=0x44))
    assert found is not None and found.message_id == b"7"


@given(
    text=st.binary(max_size=254),
    tlvs=st.lists(st.tuples(st.sampled_from([ID, STATE, ERROR, PAYLOAD, 0x1400]), st.binary(max_size=70)), max_size=4),
    esm_class=st.sampled_from([0, 4, 0x20, 0x44]),
    data_coding=st.integers(0, 255),
    how=st.sampled_from(["esm_class", "pattern", "either"]),
)
def test_any_octets_are_a_receipt_or_none(
    text: bytes, tlvs: list[tuple[int, bytes]], esm_class: int, data_coding: int, how: str
) -> None:
    pdu = pdu_of(text, *(Tlv(*one) for one in tlvs), esm_class=esm_class, data_coding=data_coding)
    found = receipt.read(pdu, Reading(how))
    assert found is None or (0 < len(found.message_id) <= 64 and -1 <= found.state <= 9)


def test_words_of_a_reading_are_few_short_and_states() -> None:
    for states in ({"x" * 24: 1}, {"": 1}, {"x": 10}, {str(word): 1 for word in range(33)}):
        with pytest.raises(ValueError, match="states: expected at most 32 words"):
            Reading(states=states)
    with pytest.raises(ValueError, match="recognised_by: expected"):
        Reading("guess")
    with pytest.raises(ValueError, match="prefers: expected"):
        Reading(prefers="both")
