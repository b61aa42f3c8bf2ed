"""Transliteration: only what the tables say, all of a text or nothing."""

import json
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import alphabet
from _fastpath.transliteration import transliterate

ROOT = Path(__file__).parents[2]
LISTS = json.loads((ROOT / "_fastpath/tables/transliteration.json").read_text("utf-8"))


def slow(text: str, level: str) -> str | None:
    """A text with every character GSM lacks replaced; None where one cannot be."""
    lists = [LISTS["safe"]] if level == "safe" else [LISTS["safe"], LISTS["lossy"], LISTS["greek_upper"]]
    found = ""
    for character in text:
        if alphabet.is_gsm(character):
            found += character
            continue
        instead = next((each[character] for each in lists if character in each), None)
        if instead is None:
            return None
        found += instead
    return found


def test_header_is_that_of_the_tables():
    generator = runpy.run_path(str(ROOT / "_fastpath/tables/generate_transliteration.py"))
    assert generator["HEADER"].read_text("utf-8") == generator["render"]()


@pytest.mark.parametrize("level", ["safe", "lossy"])
def test_every_character_of_the_tables_is_replaced(level):
    known = set(LISTS["safe"]) | (set() if level == "safe" else set(LISTS["lossy"]) | set(LISTS["greek_upper"]))
    for character in known:
        expected = slow(character, level)
        assert expected is not None
        octets, replaced = transliterate(character, level)
        assert alphabet.decode(octets, "gsm7") == expected
        assert replaced == (not alphabet.is_gsm(character))


@given(
    st.lists(
        st.one_of(
            st.sampled_from([*LISTS["safe"], *LISTS["lossy"], *LISTS["greek_upper"], "a", "€", "ж", "\U0001f600"]),
            st.characters(exclude_categories=["Cs"], max_codepoint=0x2FFF),
        ),
        max_size=20,
    ).map("".join),
    st.sampled_from(["safe", "lossy"]),
)
def test_text_is_that_of_the_slow_way(text, level):
    # What the slow encoder composes first is another question.
    if any(0x300 <= ord(character) < 0x370 for character in text):
        return
    found = transliterate(text, level)
    expected = slow(text, level)
    assert (None if found is None else alphabet.decode(found[0], "gsm7")) == expected


def test_quirk_24_typographic_quotes_and_backtick_become_gsm_and_cyrillic_never_does():
    assert transliterate("‘a’ “b” `c` – d…", "safe") == (b"'a' \"b\" 'c' - d...", 8)
    assert transliterate("а", "lossy") is None  # Cyrillic a


def test_other_levels_are_refused():
    with pytest.raises(ValueError, match="expected safe or lossy"):
        transliterate("a", "off")
