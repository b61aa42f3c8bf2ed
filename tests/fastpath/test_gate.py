"""The gate over columns, held against the obvious one, and its octets."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath import gate
from _fastpath.batch import Batch
from _fastpath.gate import Questions, Returns, Rules, Windows, Zones
from _fastpath.numbers import NumberSet
from _fastpath.peoplerows import bucket
from gateway import reasons
from gateway.reasons import Reason
from tests.oracle.gate import judge, undone

NOW = 1_770_000_000_000_000
MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SPANS = [(NOW - 9 * HOUR, NOW + 15 * HOUR), (NOW - 3 * DAY, NOW + 4 * DAY), (NOW - 20 * DAY, NOW + 9 * DAY)]
ANYWHERE = Zones([0], [1])
SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
MILLENNIUM_US = 946684800000000


def batch_of(numbers, chunk_id=1, sent_upto=0):
    return Batch.of(chunk_id, numbers, sent_upto=sent_upto)


def rows(*found):
    """Octets of a binary COPY: a value is (struct code, number) or octets."""
    out = bytearray(SIGNATURE)
    for row in found:
        out += struct.pack(">h", len(row))
        for value in row:
            packed = value if isinstance(value, bytes) else struct.pack(">" + value[0], value[1])
            out += struct.pack(">i", len(packed)) + packed
    return bytes(out + b"\xff\xff")


def records(*found):
    """Rows as record_send has them: of values as in `rows`. Types are not looked at."""
    return records_of(rows(*found))


def records_of(copied):
    """What was written by a binary COPY, as it is read."""
    assert copied[: len(SIGNATURE)] == SIGNATURE
    found, at = [], len(SIGNATURE)
    while copied[at : at + 2] != b"\xff\xff":
        (columns,), at = struct.unpack_from(">h", copied, at), at + 2
        row = []
        for _ in range(columns):
            (length,) = struct.unpack_from(">i", copied, at)
            row.append(copied[at + 4 : at + 4 + length])
            at += 4 + length
        found.append(row)
    out = bytearray()
    for row in found:
        out += struct.pack(">i", len(row)) + b"".join(struct.pack(">ii", 0, len(one)) + one for one in row)
    return bytes(out)


def packed(numbers):
    return b"".join(struct.pack(">q", number) for number in sorted(numbers))


def consent_rows(people):
    """One row a page; people: number -> (state octet, zone)."""
    pages = {}
    for number in sorted(people):
        pages.setdefault((bucket(number), gate.page(number)), []).append(number)
    return records(
        *(
            (
                ("i", place[0]), ("i", place[1]), packed(numbers), bytes(people[number][0] for number in numbers),
                b"".join(struct.pack(">H", people[number][1]) for number in numbers),
            )
            for place, numbers in pages.items()
        )
    )  # fmt: skip


def contact_rows(*contacts):
    return records(
        *(
            (
                ("i", bucket(one["number"])), ("i", gate.page(one["number"])), ("q", one["at_us"] - MILLENNIUM_US),
                ("q", one["run"]), ("h", one["kind"]), ("h", one["class"]), ("h", one["brand"]), ("h", one["priority"]),
                ("i", one["sender"]), ("q", one["tags"]), packed([one["number"]]),
            )
            for one in contacts
        )
    )  # fmt: skip


def contact(number, at_us=NOW - HOUR, run=99, kind=gate.RESERVED, **more):
    values = {"class": 5, "brand": 1, "priority": 0, "sender": 0, "tags": 0}
    return values | {"number": number, "at_us": at_us, "run": run, "kind": kind} | more


def windows(key=1, closes=NOW + 5 * HOUR, opens=NOW + 20 * HOUR, due=0):
    table = Windows(NOW)
    due_us = 2**63 - 1 if due is None else due
    table.enter(key, 0, False, closes, opens, spans=SPANS, due_us=due_us)
    table.enter(key, 0, True, NOW + HOUR, NOW + DAY, spans=SPANS, due_us=due_us)
    return table


def test_the_reasons_of_the_gate_are_those_of_the_closed_list():
    questions = Questions([batch_of([447700900001])], ANYWHERE)
    questions.judge(Rules(run=1, class_=5, needs=1), windows())
    assert questions.verdicts() == {Reason.NO_CONSENT: 1}
    assert gate.HOLD == 1 and len(gate.CHECKS) == 8


@pytest.mark.parametrize(
    ("state", "needs", "verdict"),
    [(0b10, 1, 0), (0b01, 1, Reason.PENDING_CONSENT), (0b11, 1, Reason.STOP), (0b1000, 1, Reason.NO_CONSENT),
     (0b1000, 2, 0), (0b10, 2, 0), (0b1111, 2, Reason.STOP), (0b1011, 2, 0)],
)  # fmt: skip
def test_promotional_consent_includes_transactional_and_not_the_other_way_round_CN_2(state, needs, verdict):
    questions = Questions([batch_of([447700900001])], ANYWHERE)
    questions.read_consent(consent_rows({447700900001: (state, 0)}))
    questions.judge(Rules(run=1, class_=5, needs=needs), windows())
    assert questions.verdict(447700900001)[0] == verdict


def test_a_number_whose_zone_is_known_is_judged_by_it_and_not_by_its_digits_QH_3():
    questions = Questions([batch_of([14155550100, 14155550101])], Zones([0, 141555501000000], [1, 7]))
    questions.read_consent(consent_rows({14155550100: (2, 9), 14155550101: (2, 0)}))
    assert questions.keys() == {(7, 9, False), (7, 0, False)}
    table = Windows(NOW)
    table.enter(7, 9, False, None, NOW + HOUR, spans=SPANS)
    table.enter(7, 0, False, NOW + HOUR, NOW + DAY, spans=SPANS)
    questions.judge(Rules(run=1, class_=5, hold_until_us=NOW + DAY), table)
    assert questions.verdict(14155550100) == (gate.HOLD, NOW + HOUR)
    assert questions.verdict(14155550101)[0] == gate.SEND


def test_less_than_five_minutes_of_a_window_are_none_QH_6():
    questions = Questions([batch_of([447700900001])], ANYWHERE)
    rules = Rules(run=1, class_=5, hold_until_us=NOW + 2 * DAY, min_left_us=5 * MINUTE)
    questions.judge(rules, windows(closes=NOW + 5 * MINUTE - 1))
    assert questions.verdict(447700900001) == (gate.HOLD, NOW + 20 * HOUR)
    questions.judge(rules, windows(closes=NOW + 5 * MINUTE))
    assert questions.verdict(447700900001)[0] == gate.SEND


def test_what_a_window_lets_go_may_not_lie_with_the_carrier_beyond_it_QH_6():
    batch = batch_of([447700900001, 447700900002])
    questions = Questions([batch], ANYWHERE)
    questions.judge(Rules(run=1, class_=5), windows(closes=NOW + HOUR))
    assert questions.apply(1000.0) == {}
    assert batch.closes_at == 1000.0 + 3600.0 and batch.verdict(0) == 0


def test_what_waits_is_released_over_a_time_and_not_at_the_first_second_QH_7():
    numbers = list(range(447700900000, 447700900300))
    questions = Questions([batch_of(numbers)], ANYWHERE)
    rules = Rules(run=1, class_=5, hold_until_us=NOW + 2 * DAY, spread_us=30 * MINUTE)
    questions.judge(rules, windows(closes=None))
    until = [questions.verdict(number)[1] - NOW - 20 * HOUR for number in numbers]
    assert set(until) == {5 * MINUTE * slot for slot in range(6)}
    assert max(until.count(one) for one in set(until)) < 80


def test_a_window_that_opens_too_late_ends_the_message_QH_5():
    questions = Questions([batch_of([447700900001])], ANYWHERE)
    questions.judge(Rules(run=1, class_=5, hold_until_us=NOW + HOUR), windows(closes=None))
    assert questions.verdict(447700900001)[0] == Reason.WINDOW_EXPIRED
    questions.judge(Rules(run=1, class_=5), windows(closes=None))
    assert questions.verdict(447700900001)[0] == Reason.OUTSIDE_WINDOW


def test_one_number_twice_in_a_run_is_admitted_once_TH_9():
    batches = [batch_of([447700900001, 447700900002]), batch_of([447700900001], chunk_id=2)]
    questions = Questions(batches, ANYWHERE)
    questions.judge(Rules(run=1, class_=5), windows())
    assert questions.verdicts() == {0: 2, Reason.DUPLICATE_ENDPOINT: 1}


def test_what_this_run_has_reserved_before_is_reserved_no_second_time_and_not_counted_CP_3():
    questions = Questions([batch_of([447700900001, 447700900002])], ANYWHERE)
    rules = Rules(run=7, class_=5, caps=[(1, 0, DAY, 0b110000, 0, -1, 0, False)])
    questions.read_contacts(contact_rows(contact(447700900001, at_us=NOW - 5 * MINUTE, run=7)))
    questions.judge(rules, windows())
    assert questions.admitted == 2
    again = Questions([batch_of([447700900001, 447700900002])], ANYWHERE)
    again.read_contacts(records_of(questions.reservations(rules)))
    again.judge(Rules(run=8, class_=5, caps=[(1, 0, DAY, 0b110000, 0, -1, 0, False)]), windows())
    assert again.verdict(447700900002)[0] == reasons.cap(0)
    assert again.verdict(447700900001)[0] == gate.SEND


def test_what_was_reserved_long_ago_and_waited_is_reserved_anew_and_counts_once_CP_5():
    caps = [(1, 0, 7 * DAY, 0b110000, 0, -1, 0, False)]
    questions = Questions([batch_of([447700900001, 447700900002])], ANYWHERE)
    questions.read_contacts(contact_rows(contact(447700900001, at_us=NOW - 11 * HOUR, run=7)))
    rules = Rules(run=7, class_=5, caps=caps)
    questions.judge(rules, windows())
    again = Questions([batch_of([447700900001, 447700900002])], ANYWHERE)
    again.read_contacts(contact_rows(contact(447700900001, at_us=NOW - 11 * HOUR, run=7)))
    again.read_contacts(records_of(questions.reservations(rules)))
    facts, _ = again.explain(447700900001, Rules(run=8, class_=5, caps=caps), windows())
    assert facts["counts"] == [1] and facts["last_us"] == NOW
    facts, _ = again.explain(447700900002, Rules(run=8, class_=5, caps=caps), windows())
    assert facts["counts"] == [1]


def test_nobody_is_asked_about_what_waits_in_another_chunk_since_an_earlier_claim():
    """A worker put them aside and died: the chunk is claimed anew, and its copies are there already."""
    batch = batch_of([447700900001, 447700900002, 447700900003])
    questions = Questions([batch], ANYWHERE, {batch.chunk_id: [0, 2]})
    questions.judge(Rules(run=1, class_=5), windows())
    assert questions.apply(0.0) == {}
    assert [batch.verdict(pos) for pos in range(3)] == [gate.HOLD, gate.SEND, gate.HOLD]


def test_a_reservation_that_was_returned_is_none_CP_2():
    questions = Questions([batch_of([447700900001])], ANYWHERE)
    questions.read_contacts(
        contact_rows(
            contact(447700900001),
            contact(447700900001, at_us=NOW - MINUTE, kind=gate.RETURNED),
        )
    )
    questions.judge(Rules(run=7, class_=5, caps=[(1, 0, DAY, 0b110000, 0, -1, 0, False)]), windows())
    assert questions.admitted == 1


def test_a_message_of_higher_priority_that_is_due_soon_has_the_last_place_CP_4():
    due = contact(447700900001, at_us=NOW + 10 * MINUTE, kind=gate.DUE, priority=-5)
    rules = {"run": 7, "class_": 5, "caps": [(1, 0, DAY, 0b110000, 0, -1, 0, False)], "arbitration_us": 15 * MINUTE}
    questions = Questions([batch_of([447700900001])], ANYWHERE)
    questions.read_contacts(contact_rows(due))
    questions.judge(Rules(**rules), windows())
    assert questions.verdict(447700900001)[0] == Reason.ARBITRATION_LOST
    questions.judge(Rules(**rules, priority=-6), windows())
    assert questions.admitted == 1


def test_only_positions_that_were_not_handed_out_are_asked_for():
    batch = batch_of([447700900001, 447700900002, 447700900003], sent_upto=2)
    questions = Questions([batch], ANYWHERE)
    assert len(questions) == 1
    assert questions.numbers_text() == f"{{{batch.number(batch.ranks(2, 3)[0])}}}"


def test_pages_near_each_other_are_asked_for_as_one_span():
    by_page = {}
    for number in range(447700000000, 447700600000):
        if bucket(number) == 7:
            by_page.setdefault(gate.page(number), number)
    asked = [by_page[at] for at in (3, 4, 7, 11, 12, 250)]
    other = next(number for number in range(447700900000, 447700900999) if bucket(number) == 8)
    found = Questions([batch_of(asked[::-1]), batch_of([other, asked[0]], 2)], ANYWHERE).spans()
    assert found == ([7, 7, 7, 8], [3, 11, 250, gate.page(other)], [7, 12, 250, gate.page(other)])


def test_what_is_not_of_the_form_is_refused_with_its_place():
    questions = Questions([batch_of([447700900001])], ANYWHERE)
    with pytest.raises(ValueError, match="expected 5 columns, got 1852796517"):
        questions.read_consent(b"none of a record")
    with pytest.raises(ValueError, match="expected 5 columns, got 2"):
        questions.read_consent(records((("i", 1), ("i", 2))))
    with pytest.raises(ValueError, match="end early"):
        questions.read_consent(consent_rows({447700900001: (2, 0)})[:-7])
    with pytest.raises(ValueError, match="1 octets of numbers"):
        questions.read_consent(records((("i", 1), ("i", 2), b"1", b"", b"")))
    with pytest.raises(ValueError, match="expected a reason below 0"):
        questions.read_refusals(records((("q", 447700900001), ("h", 3))))
    with pytest.raises(ValueError, match="key 1 and zone 0 of 447700900001 were not entered"):
        questions.judge(Rules(run=1, class_=5), Windows(NOW))


def test_every_check_of_a_chain_is_told_though_the_first_decides():
    questions = Questions([batch_of([447700900001])], ANYWHERE)
    questions.read_refusals(records((("q", 447700900001), ("h", Reason.EXCEPTION))))
    questions.read_contacts(contact_rows(contact(447700900001)))
    caps = [(1, 0, DAY, 0b110000, 0, -1, 0, False)]
    facts, checks = questions.explain(447700900001, Rules(run=7, class_=5, needs=1, caps=caps), windows())
    assert facts["counts"] == [1] and facts["last_us"] == NOW - HOUR and facts["promotional"] == gate.NONE
    assert [name for name, _, _ in checks] == list(gate.CHECKS)
    assert [verdict for _, verdict, _ in checks] == [0, Reason.NO_CONSENT, Reason.EXCEPTION, 0, 0, reasons.cap(0), 0, 0]
    with pytest.raises(KeyError):
        questions.explain(447700900009, Rules(run=7, class_=5), windows())


def test_what_is_said_of_a_programme_holds_and_else_what_is_said_of_its_brand_CN_7():
    numbers = range(447700900001, 447700900007)
    questions = Questions([batch_of(list(numbers))], ANYWHERE)
    of_brand, of_programme = (2, 2, 2, 3, 1, 0), {1: 3, 2: 0, 3: 2}
    questions.read_consent(consent_rows({number: (of_brand[at], 9) for at, number in enumerate(numbers)}))
    questions.read_consent(consent_rows({numbers[at]: (state, 0) for at, state in of_programme.items()}))
    # A zone that one of the pages knows stays.
    assert questions.keys() == {(1, 9, False)}
    open_ = Windows(NOW)
    open_.enter(1, 9, False, NOW + HOUR, None, spans=SPANS)
    questions.judge(Rules(run=1, class_=5, needs=1), open_)
    found = [questions.verdict(number)[0] for number in numbers]
    assert found == [0, Reason.STOP, Reason.NO_CONSENT, 0, Reason.PENDING_CONSENT, Reason.NO_CONSENT]


def test_who_has_granted_the_night_is_judged_by_its_windows():
    questions = Questions([batch_of([447700900001, 447700900002])], ANYWHERE)
    questions.read_consent(consent_rows({447700900001: (0b100010, 0), 447700900002: (0b110010, 0)}))
    assert questions.keys() == {(1, 0, True), (1, 0, False)}
    questions.judge(Rules(run=1, class_=5, needs=1), windows(closes=None))
    assert questions.verdict(447700900001)[0] == gate.SEND
    assert questions.verdict(447700900002)[0] == Reason.OUTSIDE_WINDOW


def test_a_law_of_one_country_caps_nobody_elsewhere_CP_7():
    caps = [(1, 0, DAY, 0b110000, 0, -1, 0, True)]
    for mask, verdict in ((1, Reason.LEGAL_CAP), (0, gate.SEND)):
        questions = Questions([batch_of([447700900001])], ANYWHERE)
        questions.read_contacts(contact_rows(contact(447700900001)))
        table = Windows(NOW)
        table.enter(1, 0, False, NOW + HOUR, NOW + DAY, spans=SPANS, caps=mask)
        questions.judge(Rules(run=7, class_=5, caps=caps, has_bypass=True), table)
        assert questions.verdict(447700900001)[0] == verdict


def test_windows_of_many_zones_are_all_found_again():
    table = Windows(NOW)
    for zone in range(1000):
        table.enter(zone * 7 % 300, zone, False, None, NOW + 1 + zone, spans=SPANS)
    assert all(table.knows(zone * 7 % 300, zone) for zone in range(1000)) and not table.knows(1, 0)
    with pytest.raises(ValueError, match="opens_us: expected behind"):
        table.enter(1, 0, False, None, NOW, spans=SPANS)


NO_WORDS = {"promotional": 3, "transactional": 1, "night": 2}
TIMES = st.integers(min_value=NOW - 9 * DAY, max_value=NOW + HOUR)
CONTACTS = st.fixed_dictionaries(
    {
        "kind": st.integers(0, 2), "run": st.integers(1, 4), "class": st.integers(0, 5), "brand": st.integers(1, 2),
        "priority": st.integers(-2, 2), "sender": st.integers(0, 2), "tags": st.integers(0, 3), "at_us": TIMES,
    }
)  # fmt: skip
CAPS = st.tuples(
    st.integers(0, 3), st.integers(0, 3), st.sampled_from([HOUR, DAY, 7 * DAY]), st.integers(1, 63), st.integers(0, 3),
    st.sampled_from([-1, 1, 2]), st.sampled_from([0, 1]), st.booleans(),
)  # fmt: skip
WORDS = {"promotional": st.integers(0, 3), "transactional": st.integers(0, 3), "night": st.integers(0, 3)}
PEOPLE = st.fixed_dictionaries(
    {
        **WORDS, "above": st.none() | st.fixed_dictionaries(WORDS),
        "refusal": st.sampled_from([0, 0, 0, Reason.STOP, Reason.ERASED, Reason.EXCEPTION, Reason.AUDIENCE_LEFT]),
        "contacts": st.lists(CONTACTS, max_size=5),
    }
)  # fmt: skip
RULES = st.fixed_dictionaries(
    {
        "run": st.integers(1, 4), "class_": st.integers(0, 5), "brand": st.integers(1, 2),
        "priority": st.integers(-2, 2), "needs": st.integers(0, 2), "caps": st.lists(CAPS, max_size=3),
        "gap_us": st.sampled_from([0, 10 * MINUTE, DAY]),
        "defer_until_us": st.sampled_from([0, NOW + HOUR, NOW + 9 * DAY]),
        "hold_until_us": st.sampled_from([0, NOW + HOUR, NOW + 2 * DAY]),
        "min_left_us": st.sampled_from([0, 5 * MINUTE]),
        "arbitration_us": st.sampled_from([0, 15 * MINUTE]), "has_bypass": st.booleans(), "has_windows": st.booleans(),
    }
)  # fmt: skip
OPENINGS = st.fixed_dictionaries(
    {
        "closes": st.sampled_from([None, NOW + 1, NOW + 5 * MINUTE - 1, NOW + 5 * MINUTE, NOW + HOUR]),
        "opens": st.sampled_from([None, NOW + HOUR, NOW + HOUR + 1, NOW + DAY]),
        "due": st.sampled_from([0, 0, 0, NOW, NOW + 1, NOW + HOUR, None]),
        "begins": st.just([begin for begin, _ in SPANS]),
        "ends": st.just([end for _, end in SPANS]),
    }
)


@settings(max_examples=400)
@given(st.dictionaries(st.integers(1, 10**15 - 1), PEOPLE, min_size=1, max_size=12), RULES, OPENINGS)
def test_columns_decide_as_the_obvious_gate_does(people, rules, opening):
    numbers = list(people)
    batches = [batch_of(numbers[at : at + 5], chunk_id=at) for at in range(0, len(numbers), 5)]
    questions = Questions(batches, ANYWHERE)

    def states_of(people):
        return {
            number: (one["promotional"] | one["transactional"] << 2 | one["night"] << 4, 0)
            for number, one in people.items()
        }

    # Of a brand everybody has said something; what is said of the programme itself is read behind that (CN-7).
    questions.read_consent(
        consent_rows(states_of({number: one["above"] or NO_WORDS for number, one in people.items()}))
    )
    questions.read_consent(consent_rows(states_of({n: one for n, one in people.items() if one["above"] is None})))
    questions.read_contacts(
        contact_rows(*(one | {"number": number} for number, person in people.items() for one in person["contacts"]))
    )
    questions.read_refusals(
        records(*((("q", number), ("h", one["refusal"])) for number, one in people.items() if one["refusal"]))
    )
    questions.judge(Rules(**rules), windows(closes=opening["closes"], opens=opening["opens"], due=opening["due"]))
    for number, person in people.items():
        at_night = opening | {"closes": NOW + HOUR, "opens": NOW + DAY}
        has_night = (person["above"] or person)["night"] == gate.GRANTED
        expected, until = judge(person, rules, at_night if has_night else opening, NOW)
        verdict, found = questions.verdict(number)
        assert verdict == expected
        if verdict == gate.HOLD:
            assert found == until
    assert questions.admitted + questions.held + questions.refused == len(questions) == len(numbers)
    assert sum(questions.verdicts().values()) == len(numbers)


@settings(max_examples=100)
@given(st.dictionaries(st.integers(1, 10**15 - 1), PEOPLE, min_size=1, max_size=12), RULES, OPENINGS)
def test_a_message_with_an_act_of_its_own_counts_what_others_of_its_run_have_reserved_CP_1(people, rules, opening):
    """As if each chunk were a run: what was reserved by its own act alone does not count against it."""
    numbers = list(people)
    acts = {at: 1 + at // 3 % 4 for at in range(0, len(numbers), 3)}
    batches = [batch_of(numbers[at : at + 3], chunk_id=at) for at in acts]
    questions = Questions(batches, ANYWHERE, acts=acts)
    questions.read_consent(consent_rows({number: (gate.GRANTED, 0) for number in people}))
    contacts = [one | {"number": number} for number, person in people.items() for one in person["contacts"]]
    questions.read_contacts(contact_rows(*contacts))
    questions.judge(Rules(**rules), windows(closes=opening["closes"], opens=opening["opens"], due=opening["due"]))
    for at, number in enumerate(numbers):
        person = people[number] | {"promotional": gate.GRANTED, "night": 0, "refusal": 0, "above": None}
        expected = judge(person, rules | {"run": acts[at - at % 3]}, opening, NOW)
        found = questions.verdict(number)
        assert found[0] == expected[0] and (found[0] != gate.HOLD or found[1] == expected[1])
    reserved = questions.reservations(Rules(**rules))
    for at, number in enumerate(numbers):
        # By whom a number is reserved tells which of two messages to it counts against which.
        act = acts[at - at % 3]
        mine = any(
            one["kind"] == gate.RESERVED and one["run"] == act and not undone(one, people[number]["contacts"])
            for one in people[number]["contacts"]
        )  # fmt: skip
        again = Questions([batch_of([number], chunk_id=7)], ANYWHERE, acts={7: act})
        again.read_contacts(records_of(reserved) if reserved else b"")
        facts, _ = again.explain(number, Rules(**rules), windows())
        assert facts["is_reserved"] or mine or questions.verdict(number)[0] != gate.SEND


def test_two_messages_of_one_run_to_one_number_count_each_where_each_is_an_act_CP_1():
    rules = Rules(run=7, class_=5, caps=[(2, 0, DAY, 0b110000, 0, -1, 0, False)])
    octets, verdicts = b"", []
    for chunk_id in (1, 2, 3, 2):
        questions = Questions([batch_of([PERSON], chunk_id=chunk_id)], ANYWHERE, acts={chunk_id: 1000 + chunk_id})
        questions.read_contacts(octets)
        questions.judge(rules, windows())
        verdicts.append(questions.verdict(PERSON)[0])
        if reserved := questions.reservations(rules):
            octets += records_of(reserved)
    # The third finds no place; the second, claimed once more after a crash, has its own still.
    assert verdicts == [gate.SEND, gate.SEND, reasons.cap(0), gate.SEND]


def test_questions_of_numbers_are_asked_as_those_of_a_batch_are():
    numbers = [447700900000 + at * 37 for at in range(500)]
    mine, theirs = (
        Questions.of_numbers(rows(*((("q", n),) for n in numbers)), ANYWHERE),
        Questions([batch_of(numbers)], ANYWHERE),
    )
    assert (mine.spans(), mine.numbers_text(), len(mine)) == (theirs.spans(), theirs.numbers_text(), 500)
    for questions in (mine, theirs):
        questions.read_consent(consent_rows(dict.fromkeys(numbers[::3], (gate.GRANTED, 0))))
        rules = Rules(run=1, class_=5, needs=1)
        questions.judge(rules, windows())
    assert mine.verdicts() == theirs.verdicts() == {0: 167, Reason.NO_CONSENT: 333}
    assert len(Questions.of_numbers(rows(), ANYWHERE)) == 0
    for broken in (rows((("q", 0),)), rows((("i", 5),)), rows((("q", 1), ("q", 2))), SIGNATURE):
        with pytest.raises(ValueError):
            Questions.of_numbers(broken, ANYWHERE)


def test_who_is_in_a_set_is_named_once_and_refused_for_a_reason_of_his_own_CN_11():
    questions = Questions([batch_of([5, 6, 7, 8]), batch_of([7, 9], 2)], ANYWHERE)
    assert questions.among(()) == []
    assert sorted(questions.among((NumberSet([7, 100]), NumberSet([5, 7])))) == [5, 7]
    questions.refuse({7: Reason.COMPLAINT, 5: Reason.AUDIENCE_LEFT, 100: Reason.STOP})
    questions.refuse({7: Reason.ERASED})
    questions.judge(Rules(run=1, class_=5), windows())
    assert questions.verdicts() == {0: 3, Reason.COMPLAINT: 2, Reason.AUDIENCE_LEFT: 1}
    with pytest.raises(ValueError, match="below 0"):
        questions.refuse({5: 0})
    with pytest.raises(TypeError, match="NumberSet"):
        questions.among([{5}])


def times(*at_us):
    return b"".join(struct.pack(">q", at) for at in at_us)


CAPS = [(1, 0, DAY, 0b110000, 0, -1, 0, False)]
PERSON, OTHER = 447700900001, 447700900002


def test_a_return_stands_where_the_reservation_stands_that_it_takes_back_CP_2():
    rules = Rules(run=7, class_=5, caps=CAPS)
    questions = Questions([batch_of([PERSON, OTHER])], ANYWHERE)
    questions.judge(rules, windows())
    reserved = records_of(questions.reservations(rules))
    returns = Returns(7, packed([PERSON]), times(NOW + HOUR))
    assert len(returns) == 1 and returns.places() == ([bucket(PERSON)], [gate.page(PERSON)])
    returns.read_contacts(reserved)
    octets, people = returns.rows_returned()
    assert people == 1
    later = Questions([batch_of([PERSON, OTHER])], ANYWHERE)
    later.read_contacts(reserved)
    later.read_contacts(records_of(octets))
    later.judge(Rules(run=8, class_=5, caps=CAPS), windows())
    assert (later.verdict(PERSON)[0], later.verdict(OTHER)[0]) == (gate.SEND, reasons.cap(0))
    again = Returns(7, packed([PERSON]), times(NOW + HOUR))
    again.read_contacts(reserved)
    again.read_contacts(records_of(octets))
    assert again.rows_returned() == (b"", 0)


def test_nothing_is_taken_back_that_another_run_or_a_later_message_has_reserved_CP_2():
    contacts = contact_rows(contact(PERSON, run=7), contact(OTHER, run=8))
    for run, failed_at, expected in (
        (7, NOW - HOUR, 1), (7, NOW - HOUR - 1, 0), (9, NOW, 0), (8, NOW, 0),
    ):  # fmt: skip
        returns = Returns(run, packed([PERSON]), times(failed_at))
        returns.read_contacts(contacts)
        assert returns.rows_returned()[1] == expected
    tolerant = Returns(7, packed([PERSON]), times(NOW - HOUR - 1), leeway_us=1)
    tolerant.read_contacts(contacts)
    assert tolerant.rows_returned()[1] == 1


def test_of_two_failures_of_a_number_the_later_one_counts_and_it_is_returned_once():
    returns = Returns(7, packed([PERSON, PERSON]), times(NOW - 2 * HOUR, NOW))
    returns.read_contacts(contact_rows(contact(PERSON, run=7)))
    assert returns.rows_returned()[1] == 1
    assert Returns(7, b"", b"").rows_returned() == (b"", 0)
    with pytest.raises(ValueError, match="expected 8 octets a number"):
        Returns(7, b"1234567", b"1234567")


def test_who_waits_or_is_refused_after_all_gives_his_place_back_at_the_gate_CP_5():
    mine = contact_rows(contact(PERSON, run=7, at_us=NOW - MINUTE), contact(OTHER, run=7, at_us=NOW - MINUTE))
    rules = Rules(run=7, class_=5, caps=CAPS, hold_until_us=NOW + 2 * DAY)
    questions = Questions([batch_of([PERSON, OTHER])], ANYWHERE)
    questions.read_contacts(mine)
    questions.read_refusals(records((("q", OTHER), ("h", Reason.STOP))))
    questions.judge(rules, windows(closes=None))
    assert questions.verdicts() == {gate.HOLD: 1, Reason.STOP: 1} and questions.reservations(rules) == b""
    other = Questions([batch_of([PERSON, OTHER])], ANYWHERE)
    other.read_contacts(mine)
    other.read_contacts(records_of(questions.withdrawals(rules)))
    other.judge(Rules(run=8, class_=5, caps=CAPS), windows())
    assert other.admitted == 2
    # Who may go keeps his place, and so does the first of two of one number.
    going = Questions([batch_of([PERSON]), batch_of([PERSON], chunk_id=2)], ANYWHERE)
    going.read_contacts(mine)
    going.judge(rules, windows())
    assert going.admitted == 1 and going.withdrawals(rules) == b""


def test_who_talks_with_a_person_waits_though_nothing_else_is_in_the_way_and_no_longer_IN_7():
    numbers = [447700900001, 447700900002, 447700900003]
    questions = Questions([batch_of(numbers)], ANYWHERE)
    questions.put_off({numbers[0]: NOW + HOUR, numbers[1]: NOW, 447700900009: NOW + HOUR})
    questions.judge(Rules(run=1, class_=5), windows())
    assert [questions.verdict(number) for number in numbers[:2]] == [(gate.HOLD, NOW + HOUR), (0, NOW + 5 * HOUR)]
    assert (questions.admitted, questions.held) == (2, 1)
    questions.refuse({numbers[0]: Reason.EXCEPTION})
    questions.judge(Rules(run=1, class_=5), windows())
    assert questions.verdict(numbers[0])[0] == Reason.EXCEPTION
