"""Places and scores of texts: what counts, what is cut off, and the same sum as a slow twin."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.ngrams import places_of, score

MASK = 0xFFFFFFFF
FNV, PRIME = 2166136261, 16777619


def mixed(h: int) -> int:
    h ^= h >> 15
    h = h * 0x2C1B3C6D & MASK
    return h ^ h >> 13


def slow_places(text: str, bits: int) -> set[int]:
    """The same, from the drawing at the head of ngrams.pyx."""
    text = text[:400]
    hashes = []
    for at in range(len(text)):
        h = FNV
        for character in text[at : at + 5]:
            h = (h ^ ord(character)) * PRIME & MASK
            hashes.append(h)
    words = []
    for word in text.split(" "):
        h = FNV ^ 0x57
        for character in word:
            h = (h ^ ord(character)) * PRIME & MASK
        if word:
            words.append(h)
    hashes += words
    hashes += [(a * 31 + b & MASK) ^ 0xB1 for a, b in zip(words, words[1:], strict=False)]
    hashes += [(a * 37 + b & MASK) ^ 0x5C for a, b in zip(words, words[2:], strict=False)]
    return {mixed(h) & (1 << bits) - 1 for h in hashes}


@given(st.text(alphabet=st.sampled_from(" aest?0яб退订\U0001f6d1"), max_size=60), st.integers(3, 17))
def test_places_are_those_of_the_slow_twin_and_each_is_there_once(text: str, bits: int) -> None:
    found = places_of(text, bits)
    assert set(found) == slow_places(text, bits) and len(set(found)) == len(found)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=500))
def test_a_score_is_the_sum_over_the_root_of_how_many_places_there_are(text: str) -> None:
    weights = bytes(random.Random(1).randbytes(1 << 12))
    signed = [octet - 256 if octet > 127 else octet for octet in weights]
    places = places_of(text, 12)
    expected = sum(signed[place] for place in places) / math.sqrt(len(places)) if places else 0.0
    assert score(text, weights) == pytest.approx(expected)


def test_only_the_first_four_hundred_characters_count() -> None:
    weights = random.Random(2).randbytes(1 << 17)
    text = "".join(random.Random(3).choices("abcdefgh ", k=400))
    assert score(text + "stop" * 100, weights) == score(text, weights)
    assert len(places_of("".join(map(chr, range(0x4E00, 0x4E00 + 1000))), 17)) < 400 * 8


@pytest.mark.parametrize("weights", [b"", bytes(4), bytes(9), bytes(1 << 18)])
def test_weights_of_another_size_are_refused(weights: bytes) -> None:
    with pytest.raises(ValueError, match="a power of two"):
        score("a", weights)


@pytest.mark.parametrize("bits", [2, 18, -1])
def test_tables_of_another_size_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="3 to 17 bits"):
        places_of("a", bits)
