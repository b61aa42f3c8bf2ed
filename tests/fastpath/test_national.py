"""National tables: every character finds its code, and what is written is read again."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import alphabet
from _fastpath.national import LANGUAGE_BY_NAME, National, shifts_of

TABLES = Path(__file__).parents[2] / "_fastpath/tables"
PAIRS = [(language, *pair) for language in LANGUAGE_BY_NAME.values() for pair in shifts_of(language)]


def characters(language: int, key: str) -> set[str]:
    (path,) = TABLES.glob(f"national_{language:02d}_*.json")
    return set((json.loads(path.read_text("utf-8"))[key] or {}).values())


def test_names_are_those_of_the_tables():
    found = {path.stem[12:]: int(path.stem[9:11]) for path in TABLES.glob("national_*.json")}
    assert found == LANGUAGE_BY_NAME


def test_spanish_has_no_locking_table():
    assert shifts_of(2) == [(2, 0)]
    assert shifts_of(1) == [(1, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize(("language", "single_shift", "locking"), PAIRS)
def test_every_character_of_the_tables_is_written_as_the_slow_encoder_writes_it(language, single_shift, locking):
    tables = National(single_shift, locking)
    known = (characters(language, "single_shift") if single_shift else set()) | (
        characters(language, "locking") if locking else set()
    )
    assert known
    for character in known:
        slow = alphabet.encode(character, "gsm7", single_shift=single_shift, locking=locking)
        assert tables.encode(character) == slow
        assert alphabet.decode(slow, "gsm7", single_shift=single_shift, locking=locking) == character


@given(pair=st.sampled_from(PAIRS), text=st.text(st.characters(max_codepoint=0x0D7F), max_size=40))
def test_what_is_written_is_read_again(pair, text):
    _, single_shift, locking = pair
    octets = National(single_shift, locking).encode(text)
    if octets is not None:
        assert alphabet.decode(octets, "gsm7", single_shift=single_shift, locking=locking) == text


def test_characters_outside_the_tables_are_refused():
    assert National(1, 0).encode("ж") is None
    assert National(1, 0).encode("\U0001f600") is None
    assert National(1, 0).encode("") == b""


@pytest.mark.parametrize(("single_shift", "locking"), [(14, 0), (-1, 0), (0, 14), (0, 2), (0, -1)])
def test_tables_that_are_none_are_refused(single_shift, locking):
    with pytest.raises(ValueError, match="expected 0"):
        National(single_shift, locking)
