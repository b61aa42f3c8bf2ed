"""Parts become messages in whatever order they come, each once; what is missing is told of. Quirk 41."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.alphabet import encode
from gateway.dispatch import assembly
from gateway.store.inbound import Joined, Part

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
# What is said of a coding is read so, and nothing is guessed.
EXACT = {0: "gsm7", 3: "latin1", 8: "ucs2"}
CODINGS = {"gsm7": 0, "latin1": 3, "ucs2": 8}


def part(number: int, total: int, octets: bytes, *, id: int = 0, at: datetime = NOW, **how) -> Part:
    return Part(
        id=id or number, at=at, source=how.get("source", "44"), destination="1", kind=16,
        reference=how.get("reference", 7), total=total, number=number, esm_class=how.get("esm_class", 0x40),
        data_coding=how.get("data_coding", 0),
        octets=how.get("header", b"\x06\x08\x04\x00\x07" + bytes([total, number])) + octets,
    )  # fmt: skip


def join(*parts: Part, now: datetime = NOW, alphabets=EXACT) -> Joined:
    return assembly.join(parts, now, DAY, alphabets)


def test_parts_in_any_order_are_one_message():
    joined = join(part(3, 3, b"three"), part(1, 3, b"one "), part(2, 3, b"two "))
    (message,) = joined.messages
    assert (message.text, message.parts, message.missing, message.pdus) == ("one two three", 3, (), (1, 2, 3))
    assert (message.id, sorted(joined.done)) == (1, [1, 2, 3])


def test_parts_of_several_people_and_references_do_not_mix():
    joined = join(part(1, 2, b"a"), part(1, 2, b"b", id=5, source="45"), part(2, 2, b"B", id=6, source="45"),
                  part(2, 2, b"x", id=7, reference=8))  # fmt: skip
    assert [message.text for message in joined.messages] == ["bB"] and sorted(joined.done) == [5, 6]


def test_part_that_comes_twice_counts_once():
    joined = join(part(1, 2, b"a"), part(1, 2, b"a", id=9), part(2, 2, b"b"))
    assert [message.text for message in joined.messages] == ["ab"]
    assert joined.messages[0].pdus == (1, 2) and sorted(joined.done) == [1, 2, 9]


def test_quirk_41_reference_that_is_used_anew_ends_the_message_before_it():
    joined = join(part(1, 2, b"old"), part(1, 2, b"new ", id=11), part(2, 2, b"one", id=12))
    assert [(message.text, message.missing) for message in joined.messages] == [("old", (2,)), ("new one", ())]


def test_quirk_41_reference_of_yesterday_belongs_to_another_message():
    later = NOW + DAY
    joined = join(part(1, 2, b"old"), part(2, 2, b"new", id=11, at=later), now=later)
    assert [(message.text, message.missing) for message in joined.messages] == [("old", (2,))] and joined.done == [1]


def test_message_whose_time_is_over_is_told_of_in_order_and_says_what_is_missing():
    parts = [part(4, 5, b"four"), part(1, 5, b"one ", at=NOW + DAY / 2)]
    assert join(*parts, now=NOW + DAY - timedelta(seconds=1)) == Joined([], [])
    (message,) = join(*parts, now=NOW + DAY).messages
    assert (message.text, message.missing, message.parts) == ("one four", (2, 3, 5), 5)
    assert message.at == NOW + DAY / 2


def test_octets_on_both_sides_of_a_gap_do_not_spoil_each_other():
    octets = "Привет".encode("utf-16-be")
    parts = [part(1, 3, octets[:3], data_coding=8), part(3, 3, octets[6:], data_coding=8)]
    (message,) = join(*parts, now=NOW + DAY).messages
    assert message.text == "П\ufffdвет" and message.is_lossy


def test_parts_of_two_codings_are_each_read_by_their_own():
    joined = join(part(1, 2, b"Hello "), part(2, 2, "мир".encode("utf-16-be"), data_coding=8))
    assert joined.messages[0].text == "Hello мир"


def test_escape_pair_cut_between_parts_is_one_character():
    octets = encode("5 € a", "gsm7")
    place = octets.index(0x1B) + 1
    assert join(part(1, 2, octets[:place]), part(2, 2, octets[place:])).messages[0].text == "5 € a"


def test_national_tables_hold_for_their_part():
    header = b"\x09\x08\x04\x00\x07\x02\x01\x25\x01\x01"
    joined = join(part(1, 2, encode("ş ", "gsm7", locking=1), header=header), part(2, 2, b"@\x00"))
    assert joined.messages[0].text == "ş ¡@"


@pytest.mark.parametrize("alphabet", CODINGS)
@given(data=st.data())
def test_any_text_cut_anywhere_in_any_order_with_repeats_is_one_message(alphabet, data):
    characters = {
        "gsm7": st.sampled_from("@£$èΔΦ ABCabc019€[]{}~\\|^\nßäöñüà"),
        "latin1": st.characters(min_codepoint=1, max_codepoint=255),
        # A mark at the start says the order of the octets, and is no letter.
        "ucs2": st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff\ufffe\ufffd"),
    }[alphabet]
    text = data.draw(st.text(characters, min_size=1, max_size=200))
    octets = encode(text, alphabet)
    chance = random.Random(data.draw(st.integers(0, 1 << 32)))
    places = sorted(chance.randrange(len(octets) + 1) for _ in range(chance.randrange(1, 8)))
    pieces = [octets[a:b] for a, b in zip([0, *places], [*places, len(octets)], strict=True)]
    parts = [part(n, len(pieces), piece, data_coding=CODINGS[alphabet]) for n, piece in enumerate(pieces, 1)]
    again = [part(n, len(pieces), parts[n - 1].octets[7:], id=100 + n, data_coding=CODINGS[alphabet])
             for n in chance.choices(range(1, len(parts) + 1), k=3)]  # fmt: skip
    chance.shuffle(parts)
    last = parts.pop()
    again = [one for one in again if one.number != last.number]
    mixed = parts + again
    chance.shuffle(mixed)
    joined = join(*mixed, last)
    assert [message.text for message in joined.messages] == [text] and not joined.messages[0].missing
    assert sorted(joined.done) == sorted(one.id for one in [*mixed, last])


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 30)), max_size=20))
def test_every_part_is_in_one_message_or_waits(steps):
    """Whatever comes when: no part is lost, none is told of twice."""
    at, parts = NOW, []
    for id, (number, octet, hours) in enumerate(steps, 1):
        at += timedelta(hours=hours)
        parts.append(part(number, 3, bytes([65 + octet]), id=id, at=at))
    joined = join(*parts, now=at)
    told = [id for message in joined.messages for id in message.pdus]
    assert len(told) == len(set(told)) and set(told) <= set(joined.done) and len(joined.done) == len(set(joined.done))
    assert all(at - one.at < DAY for one in parts if one.id not in joined.done)
    rest = [one for one in parts if one.id not in joined.done]
    assert len(join(*rest, now=at + DAY).done) == len(rest)
