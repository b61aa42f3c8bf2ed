"""The memory of message_ids against a dict in order of remembering."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.recall import Recall

IDS = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.binary(min_size=60, max_size=255),
    st.integers(0, 300).map(lambda n: b"%d" % n),
)


@settings(max_examples=150)
@given(capacity=st.integers(1, 200), ids=st.lists(IDS, max_size=600), asks=st.data())
def test_last_ids_are_known_as_many_as_the_capacity_says(capacity, ids, asks):
    recall = Recall(capacity)
    latest: dict[bytes, tuple[int, int, int]] = {}
    for number, message_id in enumerate(ids):
        where = (number * 2**32 + 7, number, number % 255 + 1)
        recall.add(message_id, *where, sent_at=number / 10)
        latest.pop(message_id, None)
        latest[message_id] = where
        if asks.draw(st.integers(0, 15)) == 0:
            assert recall.get(message_id) == where
    for message_id in list(latest)[-capacity:]:
        assert recall.get(message_id) == latest[message_id]
    # An older one is known as it was last remembered, or not at all; never as another's.
    for message_id in list(latest)[:-capacity]:
        assert recall.get(message_id) in (None, latest[message_id])


@given(ids=st.sets(IDS, max_size=50), strange=st.sets(IDS, max_size=50))
def test_id_that_was_never_remembered_is_not_known(ids, strange):
    recall = Recall(100)
    for message_id in ids:
        recall.add(message_id, 1, 2)
    assert [recall.get(message_id) for message_id in strange - ids] == [None] * len(strange - ids)


@pytest.mark.parametrize("capacity", [1, 15, 16, 17, 63, 64, 1000, 40_000])
def test_both_generations_are_known_and_those_before_them_forgotten(capacity):
    recall = Recall(capacity)
    n = 3 * capacity + 100
    for number in range(n):
        recall.add(b"%x" % number, number, 0)
    known = [recall.get(b"%x" % number) is not None for number in range(n)]
    assert all(known[-capacity:])
    # Two tables, and the ring in front of them.
    assert not any(known[: n - 2 * capacity - 16])
    assert recall.kept <= capacity


def test_table_grows_while_everything_in_it_stays_known():
    recall = Recall(1 << 17)
    for number in range(100_000):
        recall.add(b"id-%d" % number, number, number, number % 255 + 1)
    assert all(recall.get(b"id-%d" % number) == (number, number, number % 255 + 1) for number in range(0, 100_000, 97))


def test_ids_that_differ_in_one_octet_or_in_length_are_different():
    recall = Recall(10_000)
    ids = {bytes(length) for length in range(1, 256)}
    ids |= {bytes(at) + b"\x01" + bytes(20 - at) for at in range(21)}
    where = {message_id: (number, 0, 1) for number, message_id in enumerate(sorted(ids))}
    for message_id, (chunk, pos, segment) in where.items():
        recall.add(message_id, chunk, pos, segment)
    assert {message_id: recall.get(message_id) for message_id in ids} == where


@pytest.mark.parametrize("capacity", [0, -5, (1 << 24) + 1])
def test_capacity_outside_its_bounds_is_refused(capacity):
    with pytest.raises(ValueError, match="recall: expected"):
        Recall(capacity)


def test_id_is_octets():
    with pytest.raises(TypeError):
        Recall().add(None, 1, 1)
    with pytest.raises(TypeError):
        Recall().get("a")


# ------------------------------------------------------------------------------------------------------- rules of an id

TO, SENDER, STRANGER = 447700900123, 12345, 447700900999
# The rule, the id as the response had it, the id as the receipt has it.
SPELLINGS = [
    ("verbatim", b"SAR-2347039245475-1EEDF843-2-1", b"SAR-2347039245475-1EEDF843-2-1"),  # receipt form 16
    ("verbatim", b"0118Z-0122I-2309U-57DGB", b"0118Z-0122I-2309U-57DGB"),  # receipt form 9
    ("loose", b"6ba7b810-9dad-11d1-80b4-00c04fd430c8", b"6BA7B810-9DAD-11D1-80B4-00C04FD430C8"),  # receipt form 16
    ("loose", b"221067780", b"0221067780"),  # receipt form 18
    ("loose", b"0913121205", b"913121205"),  # receipt form 18
    ("hex", b"33e95179", b"870928761"),  # receipt form 19
    ("hex", b"00B8BE19", b"12107289"),  # receipt form 18
    ("hex", b"812FC7470000001B", b"9308878062554710043"),  # receipt form 17: above 2**63
    ("hex", b"f4240", b"0000000001000000"),  # receipt form 2
    ("decimal", b"870928761", b"33E95179"),
]


@pytest.mark.parametrize(("rule", "response", "receipt"), SPELLINGS)
def test_an_id_spelt_otherwise_is_found_by_its_rule_where_the_number_agrees(rule, response, receipt):
    recall = Recall()
    recall.add(response, 7, 3, 2, number=TO)
    assert recall.receipt(receipt, TO, SENDER) == ((7, 3, 2), rule)
    assert recall.matches[rule] == 1


@pytest.mark.parametrize(
    ("source", "destination"),
    [(TO, SENDER), (SENDER, TO), (7700900123, 0), (0, 7700900123), (700900123, SENDER), (900123 + 7 * 10**6, 0)],
)
def test_the_number_agrees_as_source_or_destination_international_or_national(source, destination):
    """Quirk 36: turned round or not, with the country or without it, seven digits at the least."""
    recall = Recall()
    recall.add(b"33e95179", 7, 3, number=447007900123 if source == 7900123 else TO)
    assert recall.receipt(b"870928761", source, destination) == ((7, 3, 1), "hex")


@pytest.mark.parametrize("numbers", [(STRANGER, SENDER), (0, 0), (900123, 0), (23, 123)])
@pytest.mark.parametrize(("rule", "response", "receipt"), [one for one in SPELLINGS if one[0] in ("hex", "decimal")])
def test_an_id_of_another_form_is_nobodys_without_its_number(rule, response, receipt, numbers):
    recall = Recall()
    recall.add(response, 7, 3, number=TO)
    assert recall.receipt(receipt, *numbers) is None


def test_an_id_that_is_two_messages_goes_to_the_one_whose_number_it_names():
    recall = Recall()
    recall.add(b"16", 1, 1, number=STRANGER)
    recall.add(b"10", 2, 2, number=TO)
    assert recall.receipt(b"16", TO) == ((2, 2, 1), "hex")
    assert recall.receipt(b"16", STRANGER) == ((1, 1, 1), "verbatim")
    assert recall.receipt(b"16", 4912345678) is None
    assert recall.receipt(b"16") is None


def test_one_number_with_two_messages_that_an_id_may_mean_settles_neither():
    recall = Recall()
    recall.add(b"16", 1, 1, number=TO)
    recall.add(b"10", 2, 2, number=TO)
    assert recall.receipt(b"16", TO) is None


def test_ids_that_differ_in_case_alone_are_told_apart():
    recall = Recall()
    recall.add(b"aB3x", 1, 1, number=TO)
    recall.add(b"Ab3X", 2, 2, number=TO)
    assert recall.receipt(b"aB3x", TO) == ((1, 1, 1), "verbatim")
    assert recall.receipt(b"Ab3X", TO) == ((2, 2, 1), "verbatim")
    assert recall.receipt(b"AB3X", TO) is None


@pytest.mark.parametrize(("rule", "response", "receipt"), [SPELLINGS[0], SPELLINGS[3], SPELLINGS[5], SPELLINGS[9]])
def test_after_two_hundred_receipts_the_rule_is_believed_without_a_number(rule, response, receipt):
    recall = Recall()
    forms = {
        "verbatim": (b"SAR-%d-2-1", b"SAR-%d-2-1"),
        "loose": (b"%d", b"0%d"),
        "hex": (b"%x", b"%d"),
        "decimal": (b"%d", b"%x"),
    }
    told, tells = forms[rule]
    ids = range(10**9, 10**9 + 250)
    for number in ids:
        recall.add(told % number, number, 0, number=TO + number)
    for number in ids[:199]:
        assert recall.receipt(tells % number, TO + number) == ((number, 0, 1), rule)
    assert recall.rule == "auto"
    assert recall.receipt(tells % ids[199], TO + ids[199]) is not None
    assert recall.rule == rule
    assert recall.receipt(tells % ids[200]) == ((ids[200], 0, 1), rule)
    assert recall.receipt(tells % ids[201], STRANGER) == ((ids[201], 0, 1), rule)


def test_another_rule_that_begins_to_match_is_counted_and_still_needs_the_number():
    recall = Recall()
    recall.set_rule("verbatim")
    recall.add(b"33e95179", 7, 3, number=TO)
    assert recall.receipt(b"870928761") is None and recall.strays == 0
    assert recall.receipt(b"870928761", TO) == ((7, 3, 1), "hex")
    assert (recall.rule, recall.strays) == ("verbatim", 1)


def test_two_hundred_matches_by_one_other_rule_in_a_row_teach_anew():
    recall = Recall()
    recall.set_rule("verbatim")
    for number in range(400):
        recall.add(b"%x" % (10**9 + number), number, 0, number=TO + number)
    for number in range(199):
        assert recall.receipt(b"%d" % (10**9 + number), TO + number) == ((number, 0, 1), "hex")
    # One by the learnt rule: what came before were strays.
    assert recall.receipt(b"%x" % 10**9, TO) == ((0, 0, 1), "verbatim")
    for number in range(199):
        recall.receipt(b"%d" % (10**9 + number), TO + number)
    assert (recall.rule, recall.changes, recall.strays) == ("verbatim", 0, 398)
    recall.receipt(b"%d" % (10**9 + 199), TO + 199)
    assert (recall.rule, recall.changes) == ("hex", 1)
    assert recall.receipt(b"%d" % (10**9 + 300)) == ((300, 0, 1), "hex")


def test_matches_noted_elsewhere_teach_anew_and_case_and_zeros_are_one_rule():
    recall = Recall()
    recall.set_rule("hex")
    recall.note("verbatim", 150)
    recall.note("loose", 30)
    recall.note("decimal", 1)
    assert recall.rule == "hex"
    recall.note("verbatim", 150)
    recall.note("loose", 50)
    assert (recall.rule, recall.changes) == ("loose", 1)
    recall.set_rule("hex", fixed=True)
    recall.note("verbatim", 500)
    assert (recall.rule, recall.changes) == ("hex", 1)


def test_a_rule_that_is_set_is_the_only_one():
    recall = Recall()
    recall.set_rule("hex", fixed=True)
    recall.add(b"16", 1, 1, number=TO)
    recall.add(b"10", 2, 2, number=STRANGER)
    assert recall.receipt(b"16", TO) == ((2, 2, 1), "hex")
    recall.set_rule("verbatim", fixed=True)
    assert recall.receipt(b"16", STRANGER) == ((1, 1, 1), "verbatim")
    assert recall.receipt(b"0016", TO) is None
    recall.set_rule("loose", fixed=True)
    assert recall.receipt(b"0016") == ((1, 1, 1), "loose")


def test_two_hundred_receipts_that_mask_their_numbers_are_believed_where_nothing_else_matches():
    recall = Recall()
    for number in range(10**9, 10**9 + 300):
        recall.add(b"%d" % number, number, 0, number=TO)
    found = [recall.receipt(b"%d" % number, STRANGER) is not None for number in range(10**9, 10**9 + 300)]
    assert found == [False] * 200 + [True] * 100 and recall.rule == "verbatim"


@pytest.mark.parametrize("name", ["", "HEX", "base64"])
def test_a_rule_without_a_name_is_refused(name):
    with pytest.raises(ValueError, match="rule: expected one of"):
        Recall().set_rule(name)
    with pytest.raises(ValueError, match="rule: expected one of"):
        Recall().note(name, 1)


@settings(max_examples=60)
@given(
    base=st.integers(1, 400),
    told=st.sampled_from([b"%d", b"%x", b"%X", b"%08d", b"%010x"]),
    tells=st.sampled_from([b"%d", b"%x", b"%X", b"%016d", b"%x"]),
    known=st.sets(st.integers(0, 120)),
)
def test_no_receipt_goes_to_the_wrong_message_however_dense_the_ids(base, told, tells, known):
    recall = Recall()
    for at in known:
        recall.add(told % (base + at), at, 0, number=TO + at)
    for at in range(121):
        found = recall.receipt(tells % (base + at), TO + at)
        assert found is None or found[0] == (at, 0, 1)
