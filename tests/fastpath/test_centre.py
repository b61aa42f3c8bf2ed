"""The compiled message centre: no socket, no clock; octets in, octets out.

Fuzz invariant: any octets, in any chunks, either are answered or raise LostFraming; never another error.
"""

import re
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.centre import Centre
from _fastpath.faults import LostFraming

SECOND = 1_000_000_000
MS = 1_000_000
TRX = (True, True)


def submit(
    sequence, *, source=b"Brand", destination=b"447700900001", text=b"hello", registered=1, esm_class=0, tlvs=b""
):
    """Build a submit_sm."""
    body = b"\0\x05\0" + source + b"\0\x01\x01" + destination + b"\0" + bytes([esm_class, 0, 0]) + b"\0\0"
    body += bytes([registered, 0, 0, 0, len(text)]) + text + tlvs
    return struct.pack(">IIII", 16 + len(body), 4, 0, sequence) + body


def response(sequence, status=0, command=0x80000005):
    """Build a deliver_sm_resp."""
    return struct.pack(">IIIIB", 17, command, status, sequence, 0)


def split(octets):
    """Cut a stream into (command_id, status, sequence, body)."""
    pdus = []
    while octets:
        length, command, status, sequence = struct.unpack(">IIII", octets[:16])
        assert length <= len(octets)
        pdus.append((command, status, sequence, octets[16:length]))
        octets = octets[length:]
    return pdus


def bound(now=SECOND, version=0x34, mode=TRX, **behaviour):
    """Make a centre with one bound link."""
    centre = Centre(now, **behaviour)
    link = centre.open()
    centre.bind(link, 0, *mode, version, now)
    return centre, link


def take(centre, link, now=SECOND):
    """Take all output, as the kernel would."""
    view = centre.pending(link)
    octets = bytes(view) if view is not None else b""
    centre.handed(link, len(octets), now)
    return octets


def turn(centre, link, octets, now=SECOND):
    """Hand octets in and take what is answered at once."""
    assert centre.turn(link, octets, 0, len(octets), now) == len(octets)
    return split(take(centre, link, now))


def later(centre, link, now):
    """Let time come to `now`."""
    centre.advance(now)
    return split(take(centre, link, now))


def statuses(pdus):
    return [status for command, status, _, _ in pdus if command == 0x80000004]


def receipts(pdus):
    """Give the texts of the receipts."""
    return [re.search(rb"id:[^\0]*", body)[0].decode() for command, _, _, body in pdus if command == 5]


# -- answers ----------------------------------------------------------------------------------------------------------


def test_submit_is_answered_with_an_id_in_the_same_pass_and_the_receipt_carries_it():
    centre, link = bound()
    answer, receipt = turn(centre, link, submit(7))
    assert answer == (0x80000004, 0, 7, b"0268435457\0")
    assert receipt[0] == 5 and receipts([receipt])[0].startswith("id:0268435457 ")
    # Source and destination have changed sides, and the TLVs say the same as the text.
    assert receipt[3].startswith(b"\0\x01\x01447700900001\0\x05\0Brand\0\x04")
    assert receipt[3].endswith(b"\x00\x1e\x00\x0b0268435457\0\x04\x27\x00\x01\x02")


def test_receipt_is_sent_only_as_registered_delivery_asks():
    centre, link = bound(states=(("DELIVRD", 2, "000", 1.0),))
    wanted = [len(receipts(turn(centre, link, submit(1, registered=r)))) for r in range(4)]
    assert wanted == [0, 1, 0, 1]
    centre, link = bound(states=(("UNDELIV", 5, "050", 1.0),))
    assert [len(receipts(turn(centre, link, submit(1, registered=r)))) for r in range(4)] == [0, 1, 1, 0]
    assert receipts(turn(centre, link, submit(1, esm_class=2))) == []


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (submit(1, destination=b""), 0x0B),
        (submit(1, destination=b"1" * 21), 0x0B),
        (submit(1, source=b"1" * 21), 0x0A),
        (submit(1, tlvs=b"\x04\x24\x00\x20abc"), 0xC0),
        (submit(1, tlvs=b"\x04\x24\x00"), 0xC0),
        (submit(1, tlvs=b"\x02\x04\x00\x01\x07"), 0xC2),
        (submit(1, tlvs=b"\x14\x01\x00\x02ab"), 0),
        (submit(1, tlvs=b"\x00"), 0),
        (submit(1, text=b"", tlvs=b"\x04\x24\x01\x00" + b"x" * 256), 0),
    ],
)
def test_malformed_submit_is_answered_by_the_table_and_the_next_one_is_taken(octets, status):
    centre, link = bound()
    assert statuses(turn(centre, link, octets + submit(2))) == [status, 0]


def test_every_truncation_of_a_submit_is_answered_and_the_session_stays():
    whole = submit(1, tlvs=b"\x02\x04\x00\x02ab")
    for length in range(16, len(whole)):
        centre, link = bound()
        cut = struct.pack(">I", length) + whole[4:length]
        first, second = statuses(turn(centre, link, cut + submit(2)))
        # Behind short_message the cut may fall between TLVs, where nothing is wrong.
        assert second == 0 and (first in (0x01, 0x02, 0xC0) or length == len(whole) - 6)


def test_pdus_of_others_are_handed_out_in_their_place():
    centre, link = bound()
    unbind = struct.pack(">IIII", 16, 6, 0, 9)
    octets = submit(1) + unbind + submit(2)
    at = centre.turn(link, octets, 0, len(octets), SECOND)
    assert centre.other == unbind and at == len(submit(1) + unbind)
    assert statuses(split(take(centre, link))) == [0]
    assert centre.turn(link, octets, at, len(octets), SECOND) == len(octets)
    assert centre.other is None


def test_nothing_is_taken_before_the_bind_and_submits_of_a_receiver_are_handed_out():
    centre = Centre(SECOND)
    link = centre.open()
    octets = submit(1)
    centre.turn(link, octets, 0, len(octets), SECOND)
    assert centre.other == octets
    centre.bind(link, 0, False, True, 0x34, SECOND)
    centre.turn(link, octets, 0, len(octets), SECOND)
    assert centre.other == octets and centre.totals()["submits"] == 0


@pytest.mark.parametrize("length", [0, 15, 66561, 0x7FFFFFFF, 0xFFFFFFFF])
def test_impossible_length_loses_the_framing_after_what_stood_before_it(length):
    centre, link = bound()
    octets = submit(1) + struct.pack(">I", length)
    with pytest.raises(LostFraming):
        centre.turn(link, octets, 0, len(octets), SECOND)
    assert statuses(split(take(centre, link))) == [0]


def test_enquire_link_is_answered_with_its_number():
    centre, link = bound()
    assert turn(centre, link, struct.pack(">IIII", 16, 0x15, 0, 0xFFFFFFFF)) == [(0x80000015, 0, 0xFFFFFFFF, b"")]


# -- time -------------------------------------------------------------------------------------------------------------


def test_response_is_never_early_and_at_most_a_tick_late():
    centre, link = bound(delay_ns=20 * MS)
    assert turn(centre, link, submit(1)) == []
    due = centre.next_due()
    assert SECOND + 20 * MS <= due <= SECOND + 20 * MS + (1 << 18)
    assert later(centre, link, due - 1) == []
    assert statuses(later(centre, link, due)) == [0]


@pytest.mark.parametrize("delay_s", [0.0005, 0.9, 1.2, 60, 5000, 20_000])
def test_wheel_fires_at_any_distance(delay_s):
    delay = int(delay_s * SECOND)
    centre, link = bound(delay_ns=delay)
    turn(centre, link, submit(1, registered=0))
    answered = None
    for _ in range(100_000):
        due = centre.next_due()
        if due < 0:
            break
        pdus = later(centre, link, due)
        if pdus:
            answered = due
    assert answered is not None and 0 <= answered - SECOND - delay <= 1 << 18


@given(st.lists(st.integers(0, 4000 * MS), min_size=1, max_size=30), st.lists(st.integers(1, 700 * MS), max_size=30))
def test_wheel_fires_each_node_once_and_never_early(jitters, steps):
    centre, link = bound(receipt_delay_ns=1)
    expected = 0
    now = SECOND
    for gap in jitters:
        turn(centre, link, submit(1), now)
        expected += 1
        now += gap % (50 * MS)
    for step in steps:
        now += step
        later(centre, link, now)
    later(centre, link, now + 10 * SECOND)
    assert centre.totals()["receipts"] == expected
    assert centre.next_due() == -1


def test_jitter_puts_responses_out_of_order_and_loses_none():
    centre, link = bound(delay_ns=5 * MS, jitter_ns=20 * MS)
    turn(centre, link, b"".join(submit(n, registered=0) for n in range(1, 201)))
    answered = []
    for now in range(SECOND, SECOND + 30 * MS, MS):
        answered += [sequence for _, _, sequence, _ in later(centre, link, now)]
    assert sorted(answered) == list(range(1, 201)) and answered != sorted(answered)


def test_late_share_alone_puts_only_those_out_of_order():
    centre, link = bound(late_share=0.1, late_ns=3 * MS)
    now_answered = turn(centre, link, b"".join(submit(n, registered=0) for n in range(1, 1001)))
    rest = later(centre, link, SECOND + 4 * MS)
    assert 50 < len(rest) < 160 and len(rest) + len(now_answered) == 1000


def test_seed_repeats_every_fate_and_chunks_do_not_matter():
    behaviour = dict(errors=((0x58, 0.1), (0x14, 0.1)), states=(("DELIVRD", 2, "000", 0.7), ("UNDELIV", 5, "1", 0.3)),
                     duplicate_share=0.1, missing_share=0.1, seed=11)  # fmt: skip
    octets = b"".join(submit(n) for n in range(1, 300))
    centre, link = bound(**behaviour)
    whole = turn(centre, link, octets)
    centre, link = bound(**behaviour)
    pieces = []
    at = 0
    for end in [*range(1, len(octets), 37), len(octets)]:
        at = centre.turn(link, octets, at, end, SECOND)
        pieces.append(take(centre, link))
    assert split(b"".join(pieces)) == whole
    centre, link = bound(**{**behaviour, "seed": 12})
    assert turn(centre, link, octets) != whole


# -- limits -----------------------------------------------------------------------------------------------------------


def limited(model, tps, times, **behaviour):
    """Send one message at each time; give the statuses."""
    centre, link = bound(times[0], accounts=(("a", tps, 0),), limit=model, **behaviour)
    return [statuses(turn(centre, link, submit(1, registered=0), now))[0] for now in times]


def test_count_by_second_of_the_clock_begins_anew_with_each():
    times = [5 * SECOND + n * 10 * MS for n in range(100)] + [6 * SECOND + n for n in range(15)]
    found = limited("second", 10, times)
    assert found[:100].count(0) == 10 and found[100:].count(0) == 10


def test_sliding_second_never_lets_more_than_the_limit_into_any_second():
    times = [5 * SECOND + n * 7 * MS for n in range(600)]
    passed = [now for now, status in zip(times, limited("sliding", 20, times), strict=True) if status == 0]
    assert all(b - a >= SECOND for a, b in zip(passed, passed[20:], strict=False))
    assert len(passed) >= 80


def test_gap_refuses_what_comes_too_soon_and_forgives_the_slack():
    times = [5 * SECOND, 5 * SECOND + 50 * MS, 5 * SECOND + 95 * MS, 5 * SECOND + 195 * MS]
    assert limited("gap", 10, times, gap_slack=0.1, limit_status=0x14) == [0, 0x14, 0, 0]


def test_slow_limit_answers_all_at_the_limit_s_rate():
    centre, link = bound(accounts=(("a", 100, 0),), limit="slow")
    turn(centre, link, b"".join(submit(n, registered=0) for n in range(1, 201)))
    assert centre.totals()["throttled"] == 0
    by_1s = len(later(centre, link, SECOND + SECOND))
    by_2s = len(later(centre, link, SECOND + 2 * SECOND + MS))
    assert 99 <= by_1s <= 100 and by_1s + by_2s == 200


def test_window_is_counted_at_every_octet():
    centre, link = bound(accounts=(("a", 0, 10),), delay_ns=MS)
    turn(centre, link, b"".join(submit(n, registered=0) for n in range(1, 16)))
    found = statuses(later(centre, link, SECOND + 2 * MS))
    assert found.count(0) == 10 and found.count(0x58) == 5
    assert centre.totals()["peak_window"] == 15 and centre.unanswered(link) == 0


def test_another_limit_holds_from_the_moment_it_is_set():
    centre, link = bound(accounts=(("a", 5, 0),), limit="second")
    octets = b"".join(submit(n, registered=0) for n in range(20))
    assert statuses(turn(centre, link, octets, 5 * SECOND)).count(0) == 5
    centre.set_tps(0, 15)
    assert statuses(turn(centre, link, octets, 6 * SECOND)).count(0) == 15


# -- mixes ------------------------------------------------------------------------------------------------------------


def test_errors_and_states_come_in_their_shares():
    centre, link = bound(
        errors=((0x58, 0.2), (0x0B, 0.05)), states=(("DELIVRD", 2, "0", 0.9), ("EXPIRED", 3, "9", 0.1))
    )
    pdus = turn(centre, link, b"".join(submit(n) for n in range(1, 4001)))
    found = statuses(pdus)
    assert 700 < found.count(0x58) < 900 and 130 < found.count(0x0B) < 270
    texts = receipts(pdus)
    assert len(texts) == found.count(0)
    assert 0.07 < sum("stat:EXPIRED err:9" in text for text in texts) / len(texts) < 0.13


def test_silent_share_is_accepted_and_never_answered():
    centre, link = bound(silent_share=1.0)
    assert turn(centre, link, submit(1, registered=0)) == []
    assert centre.next_due() == -1 and centre.totals()["accepted"] == 1 and centre.unanswered(link) == 1


def test_early_receipt_stands_before_its_response():
    centre, link = bound(early_share=1.0)
    assert [command for command, *_ in turn(centre, link, submit(1))] == [5, 0x80000004]
    centre, link = bound(early_share=1.0, early_ns=5 * MS)
    assert [command for command, *_ in turn(centre, link, submit(1))] == [5]
    assert [command for command, *_ in later(centre, link, SECOND + 6 * MS)] == [0x80000004]


def test_duplicate_receipts_differ_in_nothing_but_the_number():
    centre, link = bound(duplicate_share=1.0)
    _, first, second = turn(centre, link, submit(1))
    assert first[3] == second[3] and first[2] != second[2]


def test_refusal_has_the_body_that_is_asked_for():
    for body, expected in ((0, b""), (1, b"\0"), (2, b"0268435457\0")):
        centre, link = bound(errors=((0x45, 1.0),), error_body=body)
        assert turn(centre, link, submit(1)) == [(0x80000004, 0x45, 1, expected)]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (("decimal", 0), b"3735928559"),
        (("decimal", 12), b"003735928559"),
        (("hex", 0), b"deadbeef"),
        (("HEX", 10), b"00DEADBEEF"),
    ],
)
def test_ids_take_their_form(form, expected):
    centre, link = bound(
        first_id=0xDEADBEEE, shapes=[{"response_id": form, "receipt_id": ("decimal", 0), "tlv_id": form}]
    )
    answer, receipt = turn(centre, link, submit(1))
    assert answer[3] == expected + b"\0"
    assert receipts([receipt])[0].startswith("id:3735928559 ") and expected + b"\0\x04\x27" in receipt[3]


def test_uuid_ids_look_like_uuids_and_are_found_again():
    centre, link = bound(shapes=[{"response_id": ("uuid", 0)}], receipt_delay_ns=SECOND)
    ((_, _, _, body),) = turn(centre, link, submit(1))
    assert re.fullmatch(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\0", body)
    assert centre.state_of(body[:-1], SECOND) == (1, 0)


def test_messages_take_their_shape_by_share_and_the_ids_of_it():
    shapes = [
        {"share": 0.5, "response_id": ("hex", 0), "receipt_id": ("decimal", 0), "tlvs": 0},
        {"share": 0.3, "response_id": ("UUID", 0), "receipt_id": ("uuid", 0), "tlvs": 0, "data_coding": 8},
        {"share": 0.1, "response_id": ("sar", 0), "text": (), "tlvs": 0xF},
        {"share": 0.1, "response_id": ("base32", 0), "receipt_id": ("base32", 0), "tlvs": 0},
    ]
    centre, link = bound(first_id=0x812FC74700000000, shapes=shapes)
    told = turn(centre, link, b"".join(submit(n) for n in range(1, 1001)))
    ids = [pdu[3][:-1] for pdu in told if pdu[0] == 0x80000004]
    assert all(centre.state_of(one, SECOND) == (2, 1) for one in ids)
    kinds = (rb"812fc747[0-9a-f]{8}", rb"[0-9A-F]{8}-.*", rb"SAR-\d{13}-812FC747[0-9A-F]{8}-2-1", rb"[A-Z2-7]{26}")
    counts = [sum(bool(re.fullmatch(kind, one)) for one in ids) for kind in kinds]
    assert sum(counts) == 1000 and all(abs(n - want) < 60 for n, want in zip(counts, (500, 300, 100, 100), strict=True))
    bodies = [pdu[3] for pdu in told if pdu[0] == 5]
    assert sum(b"id:930887" in body for body in bodies) == counts[0]
    assert sum("id:".encode("utf-16-be") in body for body in bodies) == counts[1]
    assert sum(b"\x04\x23\x00\x03\x03\x00\x00\x14\x54\x00\x01x" in body for body in bodies) == counts[2]


def test_version_33_gets_short_ids_and_no_tlvs():
    centre, link = bound(version=0x33)
    answer, receipt = turn(centre, link, submit(1))
    assert answer[3] == b"10000001\0"
    assert receipts([receipt])[0].startswith("id:10000001 ") and b"\x04\x27" not in receipt[3]


def test_version_50_is_told_the_congestion():
    centre, link = bound(version=0x50, congestion=85)
    assert turn(centre, link, submit(1, registered=0))[0][3].endswith(b"\x04\x28\x00\x01\x55")
    centre, link = bound(version=0x34, congestion=85)
    assert b"\x04\x28" not in turn(centre, link, submit(1, registered=0))[0][3]


def test_receipt_text_is_written_by_its_form():
    form = ("id:", ("id", 0), " s:", ("submit", 2), " d:", ("done", 0), " x:", ("done", 4), " ", ("text", 0), "|",
            ("source", 0), "|", ("destination", 0), "|", ("dlvrd", 0), ("code", 0))  # fmt: skip
    # 2024-02-29 23:59:58 UTC
    centre, link = bound(epoch_ns=1709251198 * SECOND - SECOND, shapes=[{"text": form}], receipt_delay_ns=3 * SECOND)
    turn(centre, link, submit(1, text="Hello wörld, this is long".encode("latin-1")))
    (text,) = receipts(later(centre, link, SECOND + 3 * SECOND + MS))
    assert text.startswith(
        "id:0268435457 s:20240229235958 d:2403010000 x:240301000001000+ Hello w.rld, this is|Brand|4477"
    )


def test_receipt_may_come_as_data_sm_or_in_a_payload_with_esm_class_zero():
    centre, link = bound(shapes=[{"data_sm": True}])
    _, receipt = turn(centre, link, submit(1))
    assert receipt[0] == 0x103 and b"\x04\x24\x00" in receipt[3]
    assert turn(centre, link, response(receipt[2], command=0x80000103)) == []
    assert centre.totals()["receipts_acked"] == 1
    centre, link = bound(shapes=[{"payload": True, "esm_class": 0}])
    _, receipt = turn(centre, link, submit(1))
    assert b"Brand\0\0\0\0\0\0\0\0\0\0\0\x04\x24" in receipt[3]


def test_header_of_user_data_is_not_shown_in_the_receipt():
    centre, link = bound()
    _, receipt = turn(centre, link, submit(1, esm_class=0x40, text=b"\x05\x00\x03\x01\x02\x01hello"))
    assert receipts([receipt])[0].endswith("text:hello")
    turn(centre, link, submit(2, esm_class=0x40, text=b"\xff\x00"))


# -- receipts and their answers ---------------------------------------------------------------------------------------


def test_receipts_go_round_robin_to_receivers_and_wait_while_there_is_none():
    centre = Centre(SECOND)
    sender = centre.open()
    centre.bind(sender, 0, True, False, 0x34, SECOND)
    turn(centre, sender, b"".join(submit(n) for n in range(1, 11)))
    assert centre.waiting() == (10, 10)
    first = centre.open()
    centre.bind(first, 0, False, True, 0x34, SECOND)
    assert len(receipts(split(take(centre, first)))) == 10
    second = centre.open()
    centre.bind(second, 0, True, True, 0x34, SECOND)
    turn(centre, sender, b"".join(submit(n) for n in range(11, 21)))
    assert len(receipts(split(take(centre, first)))) == 5 and len(receipts(split(take(centre, second)))) == 5


def test_receipts_go_to_no_other_account():
    centre = Centre(SECOND, accounts=(("a", 0, 0), ("b", 0, 0)))
    one, other = centre.open(), centre.open()
    centre.bind(one, 0, True, False, 0x34, SECOND)
    centre.bind(other, 1, True, True, 0x34, SECOND)
    turn(centre, one, submit(1))
    assert take(centre, other) == b"" and centre.waiting() == (1, 1)


def test_temporary_refusal_of_a_receipt_brings_it_again_and_a_permanent_one_ends_it():
    centre, link = bound(retry_ns=SECOND)
    _, first = turn(centre, link, submit(1))
    turn(centre, link, response(first[2], 0x64))
    (again,) = later(centre, link, 3 * SECOND)
    assert again[3] == first[3].replace(b"", b"") and again[2] != first[2]
    turn(centre, link, response(again[2], 0x65), 3 * SECOND)
    assert centre.waiting() == (0, 0) and centre.next_due() == -1


def test_unanswered_receipts_of_a_dead_link_go_out_on_the_next():
    centre, link = bound()
    turn(centre, link, submit(1) + submit(2))
    centre.close(link, SECOND)
    fresh = centre.open()
    centre.bind(fresh, 0, True, True, 0x34, SECOND)
    texts = receipts(split(take(centre, fresh)))
    assert [text[:13] for text in texts] == ["id:0268435457", "id:0268435458"]
    assert centre.totals()["receipts_redelivered"] == 2


def test_window_of_receipts_holds_the_rest_back_until_answers_come():
    centre, link = bound(receipt_window=2)
    pdus = turn(centre, link, b"".join(submit(n) for n in range(1, 6)))
    assert len(receipts(pdus)) == 2
    assert len(receipts(turn(centre, link, response(1) + response(2)))) == 2


def test_answer_to_nothing_is_counted():
    centre, link = bound()
    turn(centre, link, response(99) + response(0, command=0x80000103))
    assert centre.totals()["unknown_responses"] == 2


def test_a_hundred_thousand_unanswered_receipts_are_kept_apart():
    centre, link = bound()
    for start in range(1, 100_001, 1000):
        turn(centre, link, b"".join(submit(n) for n in range(start, start + 1000)))
    turn(centre, link, b"".join(response(n) for n in range(100_000, 0, -1)))
    assert centre.totals()["receipts_acked"] == 100_000 and centre.waiting() == (0, 0)


def test_inbound_messages_come_at_their_rate_and_stop_without_a_receiver():
    centre, link = bound(inbound_texts=(((b"STOP",), 0), ((b"yes",), 0)), inbound_per_s=10.0)
    found = []
    for step in range(1, 21):
        found += later(centre, link, SECOND + step * 100 * MS + MS)
    assert 19 <= len(found) <= 20 and {body.rsplit(b"\0", 1)[1][1:] for *_, body in found} <= {b"STOP", b"yes"}
    centre.close(link, 3 * SECOND)
    centre.advance(9 * SECOND)
    assert centre.waiting() == (0, 0) or centre.waiting()[1] <= 20


@pytest.mark.parametrize("how", [1, 2, 3])
def test_long_inbound_messages_come_in_parts_out_of_order_and_some_twice(how):
    texts = ((tuple(b"part%d" % n for n in range(9)), 0),)
    centre, link = bound(inbound_texts=texts, inbound_per_s=10.0, inbound_how=how, inbound_duplicate_share=0.5)
    found = [body for step in range(1, 12) for *_, body in later(centre, link, SECOND + step * 100 * MS + MS)]
    heads = []
    for body in found:
        if how == 3:
            head, (total, number) = body[-12:-10], (body[-6], body[-1])
            assert body[-16:-12] == b"\x02\x0c\x00\x02" and body[-16 - 5 : -16] == b"part%d" % (number - 1)
        else:
            udh = body[-5 - (6 if how == 1 else 7) : -5]
            assert udh[:3] == (b"\x05\x00\x03" if how == 1 else b"\x06\x08\x04")
            head, total, number = udh[3:-2], udh[-2], udh[-1]
            assert body[-5:] == b"part%d" % (number - 1)
        heads.append((head, total, number))
    messages = {}
    for head, total, number in heads:
        messages.setdefault(head, []).append(number)
        assert total == 9
    assert len(messages) >= 10 and all(set(numbers) == set(range(1, 10)) for numbers in messages.values())
    assert any(numbers != sorted(numbers) for numbers in messages.values())
    assert any(len(numbers) > 9 for numbers in messages.values())


def test_handset_replies_from_the_number_that_was_written_to():
    centre, link = bound(inbound_texts=(((b"STOP",), 0),), reply_share=1.0, reply_delay_ns=10 * MS)
    turn(centre, link, submit(1, registered=0))
    ((command, _, _, body),) = later(centre, link, SECOND + 20 * MS)
    assert command == 5 and body.startswith(b"\0\x01\x01447700900001\0\x05\0Brand\0\0") and body.endswith(b"\x04STOP")


def test_query_knows_states_and_cancel_makes_the_receipt_say_deleted():
    centre, link = bound(receipt_delay_ns=SECOND)
    ((_, _, _, body),) = turn(centre, link, submit(1))
    message_id = body[:-1]
    assert centre.state_of(message_id, SECOND) == (1, 0)
    assert centre.state_of(message_id, SECOND, b"Other") is None and centre.state_of(b"77", SECOND) is None
    assert centre.state_of(b"x", SECOND) is None and centre.state_of(b"9" * 60, SECOND) is None
    assert centre.cancel(message_id, SECOND) and not centre.cancel(message_id, SECOND)
    (text,) = receipts(later(centre, link, 3 * SECOND))
    assert "stat:DELETED" in text and centre.state_of(message_id, 3 * SECOND)[0] == 4


def test_other_pdus_bring_their_messages_through_accept():
    centre, link = bound()
    status, first = centre.accept(link, 5, 0x80000021, (0, 0, b"S"), (1, 1, b"44771"), 0, 1, 0, b"text", SECOND)
    assert status == 0
    assert centre.accept(link, 5, 0, (0, 0, b"S"), (1, 1, b"44772"), 0, 1, 0, b"t", SECOND, first) == (0, first)
    answer, *found = split(take(centre, link))
    assert answer == (0x80000021, 0, 5, first + b"\0\0") and len(found) == 2
    assert receipts(found)[0] [:14] == receipts(found)[1][:14]  # fmt: skip


# -- cuts, ledger -----------------------------------------------------------------------------------------------------


def test_link_is_cut_at_every_so_many_messages_and_takes_no_more():
    centre, link = bound(drop_every=3)
    octets = b"".join(submit(n, registered=0) for n in range(1, 6))
    at = centre.turn(link, octets, 0, len(octets), SECOND)
    assert centre.is_cut(link) and at == 3 * len(submit(1)) and centre.totals()["accepted"] == 3
    # The third one's answer is not there: it was accepted, and its sender cannot know.
    assert statuses(split(take(centre, link))) == [0, 0]


def test_ledger_tells_of_every_message_answer_and_receipt_in_order():
    centre, link = bound(ledger=True, delay_ns=MS)
    turn(centre, link, submit(1, source=b"a,b%\xff", text=b"hello"))
    (answer, receipt) = later(centre, link, SECOND + 2 * MS)
    turn(centre, link, response(receipt[2]), SECOND + 3 * MS)
    lines = [line.split(",") for line in centre.take_ledger().decode().splitlines()]
    assert [line[0] for line in lines] == ["S", "R", "D", "O", "K"]
    assert lines[0][3:] == ["test", "1", "a%2Cb%25%FF", "447700900001", "0", "0", "1", "5", "a430d84680aabd0b", "0",
                            "0268435457", "0"]  # fmt: skip
    assert lines[1][3:6] == ["1", "0", "0268435457"] and lines[2][4:6] == ["0268435457", "DELIVRD"]
    assert lines[3][3] == lines[2][6] and lines[4][3:] == ["1", "0268435457", "0"]
    assert centre.take_ledger() is None


def test_ledger_holds_the_octets_when_asked():
    centre, link = bound(ledger=True, ledger_text=True)
    turn(centre, link, submit(1, text=b"\x00\xffA"))
    assert b",3,00ff41,0," in centre.take_ledger()


def test_memory_does_not_grow_with_messages_that_are_done():
    centre, link = bound()
    for start in range(1, 60_001, 100):
        pdus = turn(centre, link, b"".join(submit(n) for n in range(start, start + 100)))
        turn(centre, link, b"".join(response(pdu[2]) for pdu in pdus if pdu[0] == 5))
    assert centre.waiting() == (0, 0) and centre.totals()["receipts_acked"] == 60_000


# -- misuse and fuzz --------------------------------------------------------------------------------------------------


def test_wrong_settings_are_refused():
    for wrong in (
        {"limit": "x"}, {"receipts": "x"}, {"states": ()}, {"accounts": ()}, {"shapes": ({"response_id": ("oct", 0)},)},
        {"shapes": ({"receipt_id": ("hex", 61)},)}, {"shapes": ({"text": (("x", 0),)},)}, {"shapes": ()},
        {"shapes": ({"text": ("y" * 2000,)},)}, {"shapes": ({"colour": 1},)}, {"shapes": ({"share": 0.0},)},
        {"accounts": (("a", 10**8, 0),)}, {"inbound_texts": (((b"x" * 255,), 0),)},
        {"inbound_texts": (((b"x" * 248, b""), 0),)}, {"inbound_how": 4},
        {"inbound_texts": (((), 0),)}, {"states": (("w" * 30, 2, "0", 1.0),)},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            Centre(SECOND, **wrong)


def test_links_that_are_gone_are_keyerrors_not_crashes():
    centre, link = bound()
    centre.close(link, SECOND)
    centre.close(link, SECOND)
    for call in (
        lambda: centre.pending(link),
        lambda: centre.turn(99, b"", 0, 0, SECOND),
        lambda: centre.write(0, b"x"),
        lambda: centre.is_cut(0),
    ):
        with pytest.raises(KeyError):
            call()
    with pytest.raises(ValueError):
        centre.turn(centre.open(), b"abc", 0, 4, SECOND)


def test_response_to_a_link_that_died_is_counted_and_its_receipt_still_comes():
    centre, link = bound(delay_ns=MS)
    turn(centre, link, submit(1))
    centre.close(link, SECOND)
    fresh = centre.open()
    centre.bind(fresh, 0, True, True, 0x34, SECOND)
    assert len(receipts(later(centre, fresh, SECOND + 5 * MS))) == 1
    assert centre.totals()["responses_to_dead_links"] == 1


PDU = st.one_of(
    st.builds(
        lambda command, status, sequence, body: struct.pack(">IIII", 16 + len(body), command, status, sequence) + body,
        st.sampled_from([4, 5, 6, 9, 0x15, 0x103, 0x80000000, 0x80000004, 0x80000005, 0x80000103, 0x999]),
        st.sampled_from([0, 0x64, 0x58, 1]),
        st.integers(0, 0xFFFFFFFF) | st.integers(0, 20),
        st.binary(max_size=300),
    ),
    st.integers(1, 50).map(submit),
    st.builds(lambda octets, at, value: octets[:at] + bytes([value]) + octets[at + 1 :],
              st.integers(1, 9).map(submit), st.integers(16, 70), st.integers(0, 255)),
    st.binary(max_size=60),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.lists(PDU, max_size=30).map(b"".join),
    st.lists(st.integers(1, 200), max_size=20),
    st.sampled_from([{}, {"delay_ns": MS, "ledger": True, "ledger_text": True}, {"drop_share": 0.05},
                     {"early_share": 0.5, "duplicate_share": 0.5, "retry_ns": 0}]),
    st.sampled_from([0x33, 0x34, 0x50]),
)  # fmt: skip
def test_any_octets_in_any_chunks_are_answered_or_lose_the_framing(octets, cuts, behaviour, version):
    centre, link = bound(version=version, **behaviour)
    ends = sorted({min(sum(cuts[: n + 1]), len(octets)) for n in range(len(cuts))} | {len(octets)})
    at, now = 0, SECOND
    try:
        for end in ends:
            now += MS
            while not centre.is_cut(link):
                at = centre.turn(link, octets, at, end, now)
                if centre.other is None:
                    break
            split(take(centre, link, now))
    except LostFraming:
        pass
    centre.advance(now + 10 * SECOND)
    split(take(centre, link, now))
    totals = centre.totals()
    assert totals["submits"] == totals["accepted"] + totals["refused"]
