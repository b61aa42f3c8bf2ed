"""What filters do to a value, and what becomes of what anybody may have typed (TP-1, TP-4)."""

import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.alphabet import is_gsm
from gateway.campaign.filters import (
    MOST_CHARACTERS,
    NAME_GRAPHEMES,
    Filters,
    clean,
    first_name,
    gsm,
    number_of,
    pluralize,
    truncate,
    truncatewords,
)
from gateway.templatetext import FILTERS

ENGLISH, GERMAN = Filters("en"), Filters("de-AT", "Europe/Berlin")


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Anna\r\n  Maria", "Anna Maria"),
        (" Anna\t", "Anna"),
        ("An\x00na\x1b[0m", "Anna[0m"),
        ("\u202eanna\u202c\u200b", "anna"),
        ("Anna http://evil.com/x", "Anna evil com/x"),
        ("www.evil.com", "www evil com"),
        ("bit.ly/abc", "bit ly/abc"),
        ("t.co/abc", "t co/abc"),
        ("tel:+441234", "+441234"),
        ("https:evil.com", "evil com"),
        ("anna@evil.com", "anna evil com"),
        ("x.com", "x com"),
        ("J.R.R. Tolkien", "J.R.R. Tolkien"),
        ("Dr. Seuss", "Dr. Seuss"),
        ("O'Brien-Smith", "O'Brien-Smith"),
        ("evil\u3002com", "evil com"),
        ("\n\u2028", ""),
    ],
)
def test_TP_4_a_name_is_one_line_without_controls_and_without_links(typed, name):
    assert clean(typed, is_name=True) == name


def test_TP_4_a_name_has_forty_graphemes_at_most():
    family = "👩‍👩‍👧"
    assert clean("a" * 50, is_name=True) == "a" * NAME_GRAPHEMES
    assert regex.findall(r"\X", clean(family * 50, is_name=True)) == [family] * NAME_GRAPHEMES
    assert len(clean("a" + "\u0301" * 5000, is_name=True)) <= NAME_GRAPHEMES * 8


def test_TP_4_what_is_no_name_keeps_its_links_and_is_not_endless_either():
    assert clean("https://shop.example/a?b=1\n") == "https://shop.example/a?b=1"
    assert len(clean("x" * 5000)) == MOST_CHARACTERS


@given(st.text(max_size=80), st.booleans())
def test_TP_4_nothing_of_a_value_is_a_control_and_cleaning_twice_changes_nothing(value, named):
    found = clean(value, is_name=named)
    assert not [one for one in found if unicodedata.category(one) == "Cc" or one in "\u2028\u2029\u202e\u200b"]
    assert found == found.strip()
    if not named:
        assert clean(found) == found


@given(st.lists(st.sampled_from([*"abÄ.:/@-_ 9", "http", "www", "com", "\u3002", "。"]), max_size=20).map("".join))
def test_TP_4_no_handset_finds_a_link_in_a_name(value):
    found = clean(value, is_name=True)
    assert "//" not in found
    assert not regex.search(r"\w\.\w{2,}", found)


def test_every_filter_of_the_language_is_there_and_no_other():
    assert {*ENGLISH.by_name, "default"} == {*FILTERS}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Anna Maria Schmidt", "Anna"),
        ("Dr. ANNA-MARIA SCHMIDT", "Anna-Maria"),
        ("Schmidt, anna", "Anna"),
        ("mr john", "John"),
        ("Frau Prof. Dr. Müller", "Müller"),
        ("McDonald", "McDonald"),
        ("Dr.", ""),
        ("d'arc", "D'Arc"),
        ("", ""),
        ("李小龍", "李小龍"),
    ],
)
def test_S1_18_the_first_name_is_what_somebody_is_called_by(value, found):
    assert first_name(value) == found


def test_truncate_cuts_no_grapheme():
    flag = "🇭🇷"
    assert truncate(flag * 5, 3, "…") == flag * 2 + "…"
    assert truncate("hello world", 8) == "hello..."
    assert truncate("hello", 5) == "hello" and truncate("hello", 2) == "he" and truncate("a", 0) == ""


@given(st.text(max_size=30), st.integers(0, 30))
def test_truncate_leaves_so_many_graphemes_at_most(value, most):
    found = truncate(value, most, "…")
    assert len(regex.findall(r"\X", found)) <= max(most, 0) or found == value


def test_words_are_cut_between_words():
    assert truncatewords("one two  three four", 2) == "one two..." and truncatewords("one two", 5) == "one two"
    assert truncatewords("one two", 0, "") == "one"


def test_dates_are_told_by_the_clock_and_in_the_way_of_the_language():
    assert GERMAN.date("2026-07-01T22:30:00Z") == "02.07.2026"
    assert ENGLISH.date("2026-07-01T22:30:00Z") == "01/07/2026"
    assert ENGLISH.date("2026-07-01T22:30:00Z", "%H:%M", "America/New_York") == "18:30"
    assert ENGLISH.date("2026-07-01T22:30:00", "Europe/London") == "01/07/2026"
    assert GERMAN.date("2026-07-01") == "01.07.2026"
    GERMAN.turn_to("Asia/Tokyo", "Europe/Berlin")
    assert GERMAN.date("2026-07-01T22:30:00Z", "%H:%M") == "07:30"
    GERMAN.turn_to("Nowhere/None", "Europe/Berlin")
    assert GERMAN.date("2026-07-01T22:30:00Z", "%H:%M") == "00:30"


@pytest.mark.parametrize("wrong", ["soon", "", None, 20, [1], "2026-13-01"])
def test_what_is_no_time_is_said(wrong):
    with pytest.raises(ValueError, match="expected"):
        ENGLISH.date(wrong)
    with pytest.raises(ValueError, match=r"expected a zone such as Europe/Berlin, found 'x/y'"):
        ENGLISH.date("2026-07-01T22:30:00Z", "%H", "x/y")


def test_numbers_are_written_as_the_language_does():
    assert ENGLISH.number(12345.678) == "12,345.68" and GERMAN.number("12345.678", 1) == "12.345,7"
    assert ENGLISH.number(5) == "5" and ENGLISH.number(5, 2) == "5.00" and ENGLISH.number(-0.5) == "-0.5"
    with pytest.raises(ValueError, match="number: expected a number, found 'many'"):
        ENGLISH.number("many")


@pytest.mark.parametrize(
    ("value", "currency", "english", "german"),
    [
        ({"amount": 1234.5, "currency": "EUR"}, "", "€1,234.50", "1.234,50 €"),
        (20, "GBP", "£20.00", "20,00 £"),
        ("-3", "usd", "-$3.00", "-3,00 $"),
        ({"amount": 1000, "currency": "JPY"}, "", "1,000 JPY", "1.000 JPY"),
        (1.5, "CHF", "1.50 CHF", "1,50 CHF"),
    ],
)
def test_money_is_written_as_the_language_does_with_the_decimals_of_its_currency(value, currency, english, german):
    assert ENGLISH.money(value, currency) == english and GERMAN.money(value, currency) == german


@pytest.mark.parametrize("wrong", [5, "x", {"amount": None, "currency": "EUR"}, float("nan"), None])
def test_what_is_no_money_is_said(wrong):
    with pytest.raises(ValueError, match="expected"):
        ENGLISH.money(wrong)


def test_one_of_a_thing_has_its_own_word():
    assert [pluralize(n, "point", "points") for n in (1, "1", 0, 2, 1.5)] == [
        "point",
        "point",
        "points",
        "points",
        "points",
    ]
    assert pluralize(2, "shoe") == "shoes"
    with pytest.raises(ValueError, match="pluralize: expected a number"):
        pluralize("x", "a")


@given(st.text(max_size=40))
def test_gsm_leaves_what_gsm_can_write(value):
    assert is_gsm(gsm(value))


def test_gsm_puts_a_letter_in_the_place_of_what_gsm_lacks():
    assert gsm("Ștefan “x”") == 'Stefan "x"' and gsm("日本 a") == "a" and gsm("é€") == "é€"


def test_numbers_are_found_in_texts_and_in_money():
    assert [number_of(v) for v in ("17", " 1.5 ", {"amount": "3", "currency": "EUR"}, True, None, "x", "1e99", [])] == [
        17, 1.5, 3, None, None, None, None, None,
    ]  # fmt: skip


def test_cases_and_links_are_written():
    by = ENGLISH.by_name
    assert by["capitalize"]("ANNA") == "Anna" and by["upcase"]("ä") == "Ä" and by["downcase"]("Ä") == "ä"
    assert by["url_encode"]("a b&c/é") == "a%20b%26c%2F%C3%A9"
    with pytest.raises(ValueError, match="found a list or a table"):
        by["upcase"]([1])
