"""Keyed hashes of erased numbers: rule CN-12, held to SipHash-2-4 as its authors publish it."""

import array

import pytest

from _fastpath.numbers import NumberSet
from _fastpath.pseudonym import FIRST, Pseudonyms

KEY = bytes(range(16))
MASK = (1 << 64) - 1


def siphash(key: bytes, octets: bytes) -> int:
    """SipHash-2-4, written from its paper."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(n: int) -> None:
        def rotated(x: int, bits: int) -> int:
            return (x << bits | x >> 64 - bits) & MASK

        for _ in range(n):
            v[0], v[2] = (v[0] + v[1]) & MASK, (v[2] + v[3]) & MASK
            v[1], v[3] = rotated(v[1], 13) ^ v[0], rotated(v[3], 16) ^ v[2]
            v[0] = rotated(v[0], 32)
            v[2], v[0] = (v[2] + v[1]) & MASK, (v[0] + v[3]) & MASK
            v[1], v[3] = rotated(v[1], 17) ^ v[2], rotated(v[3], 21) ^ v[0]
            v[2] = rotated(v[2], 32)

    padded = octets + bytes(7 - len(octets) % 8) + bytes([len(octets) & 255])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 255
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_oracle_is_the_siphash_of_its_authors() -> None:
    assert siphash(KEY, bytes(range(8))) == 0x93F5F5799A932462
    assert siphash(KEY, b"") == 0x726FDB47DD0E0E31


def test_a_pseudonym_is_the_siphash_of_the_number_behind_a_bit_that_no_number_has() -> None:
    for key in (KEY, bytes(16), b"\xff" * 16):
        made = Pseudonyms(key)
        for number in (1, 447700900123, 10**15 - 1, int.from_bytes(bytes(range(8)), "little"), (1 << 63) - 1):
            assert made.of(number) == FIRST | siphash(key, number.to_bytes(8, "little")) & FIRST - 1
            assert FIRST <= made.of(number) < 1 << 63


def test_erased_numbers_are_found_in_an_array_by_place_and_nought_is_none() -> None:
    made = Pseudonyms(KEY)
    erased = NumberSet([made.of(number) for number in (5, 447700900123)])
    numbers = array.array("q", [447700900123, 0, 447700900124, 5, 447700900123])
    assert made.places(numbers, erased) == [0, 3, 4]
    assert Pseudonyms(bytes(16)).places(numbers, erased) == [], "another key knows nobody"
    assert made.places(array.array("q"), erased) == []


def test_what_is_no_key_and_what_is_no_array_of_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 16 octets, got 15"):
        Pseudonyms(bytes(15))
    for wrong in (array.array("i", [1]), array.array("d", [1.0]), b"12345678"):
        with pytest.raises(ValueError, match="signed integers of 8 octets"):
            Pseudonyms(KEY).places(wrong, NumberSet())
