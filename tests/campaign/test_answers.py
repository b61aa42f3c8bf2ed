"""Answers to questions, as people write them: rule IN-9. The labelled ones are in answers.toml beside this file."""

import datetime
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.campaign import answers
from gateway.campaign.answers import Answer, answer, distance, read
from gateway.question import Choice, Question

TODAY = datetime.date(2026, 11, 22)
LABELLED: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix("").with_name("answers.toml").read_text("utf-8"))
SIZES = (
    Choice(value="s", labels={"en": "small", "fr": "petite"}),
    Choice(value="m", labels={"en": "medium", "fr": "moyenne"}),
    Choice(value="l", labels={"en": "large", "fr": "grande"}),
    Choice(value="36", also=("XL",)),
)


def question(type_: str, **more: Any) -> Question:
    return Question(name="q", type=type_, text="?", choices=SIZES if type_ == "choice" else (), **more)  # type: ignore[arg-type]


def labelled() -> list[tuple[str, str, str, Any]]:
    """(kind, language, text, value)."""
    found: list[tuple[str, str, str, Any]] = []
    for language, lists in LABELLED["yes_no"].items():
        for name, value in (("yes", True), ("no", False), ("neither", None)):
            found += [("yes_no", language, text, value) for text in lists.get(name, ())]
    for kind in ("number", "date", "past", "choice"):
        for language, texts in LABELLED[kind].items():
            found += [(kind, language, text, None) for text in texts.get("neither", ())]
            found += [(kind, language, text, value) for text, value in texts.items() if text != "neither"]
    return found


def test_in_9_three_hundred_labelled_answers_of_eight_languages_and_more_are_read() -> None:
    wrong = []
    some = labelled()
    for kind, where, text, value in some:
        language, _, country = where.partition("-")
        asked = question("date", when="past") if kind == "past" else question(kind)
        found = read(asked, text, today=TODAY, language="" if language == "nobody" else language, country=country)
        if found != value or isinstance(found, bool) != isinstance(value, bool):
            wrong.append((kind, where, text, value, found))
    assert not wrong
    assert len(some) >= 300
    assert len({where.partition("-")[0] for _, where, _, _ in some}) >= 20


def test_in_9_every_language_of_the_keywords_has_a_yes_and_a_no() -> None:
    assert answers.languages().keys() == answers.yes_by_language().keys()
    for name, one in answers.languages().items():
        for words, value in ((one.yes, True), (one.no, False)):
            found = [answers.yes_or_no(" ".join(word), name) for word in words]
            assert found and value in found and (not value) not in found, (name, value)


def test_in_9_an_answer_that_cannot_be_read_is_asked_for_twice_more_and_no_third_time() -> None:
    asked = question("number")
    assert [answer(asked, "many", tried=tried, today=TODAY).kind for tried in range(4)] == [
        "retry", "retry", "unreadable", "unreadable"
    ]  # fmt: skip
    assert answer(question("number", retries=0), "many", tried=0, today=TODAY) == Answer("unreadable")
    assert answer(asked, "3", tried=2, today=TODAY) == Answer("answer", 3)


def test_in_9_the_skip_word_passes_a_question_over_whatever_its_type() -> None:
    for type_ in ("choice", "number", "date", "text", "yes_no"):
        assert answer(question(type_, skip="Skip"), "  SKIP! ", tried=0, today=TODAY) == Answer("skip")


def test_in_9_a_number_outside_its_bounds_is_no_answer() -> None:
    asked = question("number", least=1, most=10, whole=True)
    found = {text: read(asked, text, today=TODAY) for text in ("1", "10", "0", "11", "2.5", "ten")}
    assert found == {"1": 1, "10": 10, "0": None, "11": None, "2.5": None, "ten": 10}


def test_in_9_a_text_is_an_answer_as_it_stands_and_up_to_its_length() -> None:
    assert read(question("text"), "  Zoë, at home \n", today=TODAY) == "Zoë, at home"
    assert read(question("text", longest=3), "abcd", today=TODAY) is None
    assert read(question("text"), " ", today=TODAY) is None


@given(
    st.text(max_size=80), st.sampled_from(["", "en", "de", "fr", "ja", "ar", "xx"]), st.sampled_from(["", "US", "JP"])
)
@example("९" * 40, "en", "")
@example("1" * 60, "", "")
def test_in_9_any_text_is_an_answer_of_its_type_or_none(text: str, language: str, country: str) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "choice": (str,), "number": (int, float), "date": (datetime.date,), "text": (str,), "yes_no": (bool,)
    }  # fmt: skip
    for type_, of in kinds.items():
        found = read(question(type_), text, today=TODAY, language=language, country=country)
        assert found is None or isinstance(found, of)
        if type_ == "choice":
            assert found in (None, "s", "m", "l", "36")


@given(st.integers(-(10**12), 10**12), st.sampled_from(["", "en", "de", "fr", "hi"]))
def test_in_9_a_whole_number_in_digits_is_itself_in_every_language(value: int, language: str) -> None:
    assert answers.number(str(value), language) == value


@given(st.dates(datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)), st.sampled_from(["GB", "US", "JP", ""]))
def test_in_9_a_day_written_by_the_order_of_the_country_is_that_day(day: datetime.date, country: str) -> None:
    form = {"US": "%m/%d/%Y", "JP": "%Y/%m/%d"}.get(country, "%d/%m/%Y")
    assert answers.date(day.strftime(form), today=TODAY, country=country) == day
    assert answers.date(day.isoformat(), today=TODAY, country=country) == day
    for language, one in answers.languages().items():
        months = {month: name for name, month in one.months.items()}
        if len(months) == 12:
            text = f"{day.day} {months[day.month]} {day.year}"
            assert answers.date(text, today=TODAY, language=language) == day, text


@given(st.dates(datetime.date(2000, 1, 1), datetime.date(2040, 12, 31)))
def test_in_9_a_day_without_its_year_is_the_next_or_the_last_one(today: datetime.date) -> None:
    for text in ("29/02", "1/1", "31/12"):
        after = answers.date(text, today=today, when="future")
        before = answers.date(text, today=today, when="past")
        assert after is not None and before is not None and before <= today <= after


@given(st.text("abcd", max_size=6), st.text("abcd", max_size=6))
def test_the_distance_of_two_words_is_the_same_both_ways_and_bounded(one: str, other: str) -> None:
    whole = distance(one, other, 99)
    assert whole == distance(other, one, 99)
    assert (whole == 0) == (one == other)
    assert distance(one, other, 1) == min(whole, 2)


@pytest.mark.parametrize("wrong", ["lraeg", "smla", "mediaumm"])
def test_in_9_a_choice_two_slips_away_is_nobody_s(wrong: str) -> None:
    assert read(question("choice"), wrong, today=TODAY) is None
