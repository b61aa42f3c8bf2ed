"""Receipt texts: the public vectors, each form seen at a carrier, and any octets at all."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.receipttext import parse

VECTORS = json.loads((Path(__file__).parents[1] / "golden/vectors/receipts.json").read_text("utf-8"))
ABSENT = {"sub": None, "dlvrd": None, "submit_date": None, "done_date": None, "err": None, "text": None}


def receipt(**fields):
    """The whole answer, of the fields that are not absent."""
    return ABSENT | {"message_state": None} | fields


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["id"])
def test_public_vector_is_read_to_its_fields(vector):
    got = parse(vector["text"].encode())
    expected = vector["fields"]
    assert got == (None if expected is None else expected | {"message_state": vector["message_state"]})


FORMS = {
    "capital Text, ten digits": (
        b"id:77 sub:001 dlvrd:001 submit date:2611211840 done date:2611211841 stat:DELIVRD err:000 Text:hi there",
        receipt(id="77", sub="001", dlvrd="001", submit_date="2026-11-21T18:40:00", done_date="2026-11-21T18:41:00",
                stat="DELIVRD", err="000", text="hi there", message_state=2),
    ),
    "zero-padded decimal id": (
        b"id:0000870928761123 stat:DELIVRD text:none",
        receipt(id="0000870928761123", stat="DELIVRD", text="none", message_state=2),
    ),
    "seconds": (
        b"id:1 submit date:261121184001 done date:261121184102 stat:EXPIRED err:1",
        receipt(id="1", submit_date="2026-11-21T18:40:01", done_date="2026-11-21T18:41:02", stat="EXPIRED", err="1",
                message_state=3),
    ),
    "twelve digits with a century": (
        b"id:1 submit date:201506201641 done date:201506201642 stat:DELIVRD err:000",
        receipt(id="1", submit_date="2015-06-20T16:41:00", done_date="2015-06-20T16:42:00", stat="DELIVRD", err="000",
                message_state=2),
    ),
    "fourteen digits, 32 hex digits of id": (
        b"id:0123456789abcdef0123456789ABCDEF submit date:20261121184001 done date:20261121184102 stat:DELIVRD err:0",
        receipt(id="0123456789abcdef0123456789ABCDEF", submit_date="2026-11-21T18:40:01",
                done_date="2026-11-21T18:41:02", stat="DELIVRD", err="0", message_state=2),
    ),
    "SMPP absolute time": (
        b"id:1 submit date:180711070003912+ done date:180711070103912+ stat:DELIVRD err:000 text:",
        receipt(id="1", submit_date="2018-07-11T07:00:03", done_date="2018-07-11T07:01:03", stat="DELIVRD", err="000",
                text="", message_state=2),
    ),
    "no blank in the keys, zero date, dashes in the id": (
        b"id:0118Z-0122I-2309U-57DGB submitdate:2611211840 donedate:000000000000 stat:REJECTD err:375 text:",
        receipt(id="0118Z-0122I-2309U-57DGB", submit_date="2026-11-21T18:40:00", stat="REJECTD", err="375", text="",
                message_state=8),
    ),
    "six letters of state": (
        b"id:1 sub:001 dlvrd:001 submit date:2611211840 done date:0000000000 stat:FAILED err:002 Text:",
        receipt(id="1", sub="001", dlvrd="001", submit_date="2026-11-21T18:40:00", stat="FAILED", err="002", text=""),
    ),
    "state of one carrier": (b"id:1 stat:BUFFRED", receipt(id="1", stat="BUFFRED")),
    "state of five letters": (b"id:1 stat:ACKED", receipt(id="1", stat="ACKED")),
    "err before a long state": (
        b"id:1 err:123 stat:DND_REJECTED text:x", receipt(id="1", err="123", stat="DND_REJECTED", text="x"),
    ),
    "four digits of err": (b"id:1 stat:UNDELIV err:0000", receipt(id="1", stat="UNDELIV", err="0000", message_state=5)),
    "err in hex": (b"id:1 stat:UNDELIV err:21b", receipt(id="1", stat="UNDELIV", err="21b", message_state=5)),
    "any order, text not last": (
        b"sub:001 id:1 err:000 dlvrd:001 done date:2611211841 submit date:2611211840 text: stat:DELIVRD",
        receipt(sub="001", id="1", err="000", dlvrd="001", done_date="2026-11-21T18:41:00",
                submit_date="2026-11-21T18:40:00", text="", stat="DELIVRD", message_state=2),
    ),
    "text first": (
        b"text:see you at 10: id:1 sub:001 done date:2611211841 stat:DELIVRD err:000",
        receipt(text="see you at 10:", id="1", sub="001", done_date="2026-11-21T18:41:00", stat="DELIVRD", err="000",
                message_state=2),
    ),
    "text in the middle": (
        b"id:1 text:two words err:1b4 stat:dnd_rejected",
        receipt(id="1", text="two words", err="1b4", stat="dnd_rejected"),
    ),
    "state amid words behind the text": (
        b"id:1 text:two words stat:DELIVRD and more",
        receipt(id="1", text="two words", stat="DELIVRD", message_state=2),
    ),
    "id with words and numbers": (
        b"id:SAR-2347039245475-1-1EEDF843-2-1 stat:DELIVRD",
        receipt(id="SAR-2347039245475-1-1EEDF843-2-1", stat="DELIVRD", message_state=2),
    ),
    "id with dots": (b"id:a.b.c stat:DELIVRD", receipt(id="a.b.c", stat="DELIVRD", message_state=2)),
    "id above 63 bits": (
        b"id:9308878062554710043 stat:DELIVRD", receipt(id="9308878062554710043", stat="DELIVRD", message_state=2),
    ),
    "NUL at the end": (b"id:1 stat:DELIVRD err:000\0", receipt(id="1", stat="DELIVRD", err="000", message_state=2)),
    "NUL behind the text": (
        b"id:1 stat:DELIVRD text:hi\0\0", receipt(id="1", stat="DELIVRD", text="hi", message_state=2),
    ),
    "raw octets in the text": (
        b"id:1 stat:DELIVRD text:\x04\x1a\x84A\x89O\x00z",
        receipt(id="1", stat="DELIVRD", text="\x04\x1a\x84A\x89O\x00z", message_state=2),
    ),
    "UTF-8 in the text": (
        "id:1 stat:DELIVRD text:čaj".encode(), receipt(id="1", stat="DELIVRD", text="čaj", message_state=2),
    ),
    "counts that are none": (
        b"id:1 sub:null dlvrd:... stat:DELIVRD",
        receipt(id="1", sub="null", dlvrd="...", stat="DELIVRD", message_state=2),
    ),
    "nonsense counts": (
        b"id:1 sub:0 dlvrd:28 stat:UNDELIV err:21 Text:*100#",
        receipt(id="1", sub="0", dlvrd="28", stat="UNDELIV", err="21", text="*100#", message_state=5),
    ),
    "err with a word in the text": (
        b"id:1 stat:UNDELIV err:075 text:-PROFILE",
        receipt(id="1", stat="UNDELIV", err="075", text="-PROFILE", message_state=5),
    ),
    "number for a state": (b"id:1 stat:0 err:000", receipt(id="1", stat="0", err="000")),
    "long names": (b"id:1 stat:UNDELIVERABLE", receipt(id="1", stat="UNDELIVERABLE", message_state=5)),
    "scheduled": (b"id:1 stat:SCHEDLD", receipt(id="1", stat="SCHEDLD", message_state=0)),
    "skipped": (b"id:1 stat:SKIPPED", receipt(id="1", stat="SKIPPED", message_state=9)),
    "small letters everywhere": (b"ID:a STAT:enroute ERR:1", receipt(id="a", stat="enroute", err="1", message_state=1)),
    "many blanks and line ends": (
        b"  id: 7   sub:  001\r\nsubmit  date: 2611211840\tstat: DELIVRD err: 0",
        receipt(id="7", sub="001", submit_date="2026-11-21T18:40:00", stat="DELIVRD", err="0", message_state=2),
    ),
    "empty fields": (
        b"id:7 sub: dlvrd: submit date: stat:DELIVRD err: text:",
        receipt(id="7", sub="", dlvrd="", stat="DELIVRD", err="", text="", message_state=2),
    ),
    "text quotes a receipt": (
        b"id:8 stat:DELIVRD err:000 text:id:9 stat:UNDELIV in the text",
        receipt(id="8", stat="DELIVRD", err="000", text="id:9 stat:UNDELIV in the text", message_state=2),
    ),
    "text quotes what is missing": (
        b"id:8 stat:DELIVRD text:error err:404 was found",
        receipt(id="8", stat="DELIVRD", text="error err:404 was found", message_state=2),
    ),
    "second key of a kind": (
        b"id:8 id:9 stat:DELIVRD stat:UNDELIV", receipt(id="8", stat="DELIVRD", message_state=2),
    ),
    "words between fields": (
        b"Receipt for you - id:8 (final) stat:DELIVRD", receipt(id="8", stat="DELIVRD", message_state=2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_form_seen_at_a_carrier_is_read(form):
    octets, expected = FORMS[form]
    assert parse(octets) == expected


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"   ", b"\0", b"id:", b"id:5", b"stat:DELIVRD", b"id: stat:DELIVRD", b"id:5 stat:", b"id:5 stat: err:0",
        b"Your parcel has arrived", b"paid:5 status:fine", b"bid:5 restat:DELIVRD", b"text:hello",
        b"00,0210021543,0210021500,,447887123456,10110200000000,we2345678i9o03er45ty67u",
    ],
)  # fmt: skip
def test_what_lacks_an_id_or_a_state_is_no_receipt(octets):
    assert parse(octets) is None


STATES = {
    0: "SCHEDLD SCHEDULED", 1: "ENROUTE", 2: "DELIVRD DELIVERED delivrd Delivered", 3: "EXPIRED", 4: "DELETED",
    5: "UNDELIV UNDELIVERABLE UNDELIVERED", 6: "ACCEPTD ACCEPTED", 7: "UNKNOWN", 8: "REJECTD REJECTED", 9: "SKIPPED",
    None: "FAILED BUFFRED BUFFERD ACKED DND_REJECTED 0 2 DELIVR DELIVRDX DELIVERABLES UNDELIVERABLENESSES ok",
}  # fmt: skip


@pytest.mark.parametrize(("number", "word"), [(n, word) for n, words in STATES.items() for word in words.split()])
def test_state_word_has_the_number_of_smpp_or_none(number, word):
    got = parse(f"id:1 stat:{word}".encode())
    assert (got["stat"], got["message_state"]) == (word, number)


@pytest.mark.parametrize(
    ("digits", "read"),
    [
        ("2602291200", None),
        ("2402291200", "2024-02-29T12:00:00"),
        ("2613011200", None),
        ("2600011200", None),
        ("2611310000", None),
        ("2611212400", None),
        ("2611212360", None),
        ("261121235959", "2026-11-21T23:59:59"),
        ("202001021530", "2020-01-02T15:30:00"),  # as YYMMDD… its month would be 20
        ("201112131415", "2020-11-12T13:14:15"),  # both readings are sound: the one with seconds
        ("311321000000", None),
        ("19991231235959", "1999-12-31T23:59:59"),
        ("20000229000000", "2000-02-29T00:00:00"),
        ("21000229000000", None),
        ("00000000000000", None),
        ("0000000000", None),
        ("0", None),
        ("26112118", None),
        ("2611211840X", None),
        ("180711070003912-", "2018-07-11T07:00:03"),
        ("000000000000000+", None),
        ("000007000000000R", None),
        ("26-11-21", None),
    ],
)
def test_date_is_read_by_its_digits_or_not_at_all(digits, read):
    assert parse(f"id:1 done date:{digits} stat:DELIVRD".encode())["done_date"] == read


@given(st.datetimes().map(lambda at: at.replace(microsecond=0)))
def test_every_moment_of_fourteen_digits_is_read_back(at):
    octets = f"id:1 submit date:{at:%m%d%H%M%S} done date:{at.year:04}{at:%m%d%H%M%S} stat:DELIVRD".encode()
    assert parse(octets)["done_date"] == at.isoformat()


PIECES = [b"id:", b"stat:", b"err:", b"sub:", b"dlvrd:", b"submit date:", b"donedate:", b"text:", b" ", b"\0",
          b"DELIVRD", b"001", b"2611211840", b"x", b"\xff", b"submit", b"done ", b":"]  # fmt: skip


@given(st.one_of(st.binary(max_size=120), st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join)))
def test_any_octets_are_read_or_refused_and_what_is_read_was_there(octets):
    got = parse(octets)
    if got is None:
        return
    for field in ("id", "stat", "sub", "dlvrd", "err", "text"):
        value = got[field]
        assert value is None or value.encode("utf-8") in octets or value.encode("latin-1") in octets
    assert got["id"] and got["stat"]


@given(
    st.permutations(["id:7", "sub:001", "dlvrd:001", "submit date:2611211840", "done date:2611211841", "stat:DELIVRD",
                     "err:000", "text:two words"]),
)  # fmt: skip
def test_order_of_the_fields_does_not_matter(fields):
    assert parse(" ".join(fields).encode()) == receipt(
        id="7", sub="001", dlvrd="001", submit_date="2026-11-21T18:40:00", done_date="2026-11-21T18:41:00",
        stat="DELIVRD", err="000", text="two words", message_state=2,
    )  # fmt: skip
