"""Pages as documents: what is wrong has its place, what is filled in is judged (S0.18, S0.25, S0.26)."""

from copy import deepcopy
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.page import (
    BirthdayField,
    ChoiceField,
    Form,
    Theme,
    answers_of,
    contrast,
    declared,
    filled,
    is_of_age,
    page_of,
    theme_problems,
)
from tests.fixtures.doors import SURVEY


def changed(path: str, value: Any) -> dict[str, Any]:
    """The survey with one thing another way; None takes it out."""
    document = deepcopy(SURVEY)
    place: Any = document
    *steps, last = [int(step) if step.isdecimal() else step for step in path.split(".")]
    for step in steps:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.covers("S0.26")
def test_s0_26_a_page_is_made_of_blocks_by_a_document() -> None:
    page, problems = page_of(SURVEY)
    assert problems == [] and page is not None
    assert list(page.forms) == ["sizes", "win"] and page.values == ("name",)


@pytest.mark.parametrize(
    ("path", "value", "key", "expected"),
    [
        ("kind", "campaign", "kind", "Invalid enum value 'campaign'"),
        ("name", "Spring Sale", "name", "`str` matching regex"),
        ("title", None, "page", "missing required field `title`"),
        ("colour", "red", "page", "contains unknown field `colour`"),
        ("blocks", [], "blocks", "`array` of length >= 1"),
        ("blocks.0.kind", "script", "blocks[0].kind", "Invalid value 'script'"),
        ("blocks.0.text", 7, "blocks[0].text", "`str`"),
        ("blocks.2.fields.0.options", ["S"], "blocks[2].fields[0].options", "`array` of length >= 2"),
        ("blocks.2.fields.0.options", ["S", "S"], "blocks[2].fields[0].options", "each option once"),
        ("blocks.2.fields.1.name", "size", "blocks[2].fields[1].name", "a name that no other field"),
        ("blocks.2.fields.1.name", "form", "blocks[2].fields[1].name", "a name that no other field"),
        ("blocks.3.name", "sizes", "blocks[3].name", "a name that no other form"),
        ("blocks.0", {"kind": "text", "text": "x"}, "blocks", "a heading"),
        ("brand", None, "brand", "the brand that a consent is given to"),
        ("blocks.1", {"kind": "button", "text": "x", "url": "javascript:alert(1)"}, "blocks[1].url", "https://"),
        ("blocks.1", {"kind": "button", "text": "x", "url": "https://bit.ly/a"}, "blocks[1].url", "where it leads"),
        (
            "blocks.1",
            {"kind": "image", "url": "https://a.example/{name}.png", "alt": "", "width": 1, "height": 1},
            "blocks[1].url",
            "the same picture for everybody",
        ),
        ("blocks.1", {"kind": "image", "url": "https://a.example/x.png", "width": 1, "height": 1}, "blocks[1]", "miss"),
    ],
)
def test_what_is_wrong_with_a_page_is_said_with_its_place(path: str, value: Any, key: str, expected: str) -> None:
    page, problems = page_of(changed(path, value))
    assert page is None
    assert (problems[0][0], problems[0][1][: len(expected)]) == (key, expected) and problems[0][2]


def form() -> Form:
    page, _ = page_of(SURVEY)
    assert page is not None
    return page.forms["sizes"]


@pytest.mark.covers("S0.18")
def test_s0_18_answers_become_attributes_that_the_person_has_declared() -> None:
    answers, wrong = answers_of(form(), [("size", "M"), ("why", " \u202eit fits\r\n"), ("mail", "a@b.example")])
    assert wrong == {} and answers == {"size": "M", "why": "it fits", "mail": "a@b.example", "more": False}
    assert declared(form(), answers) == {"shirt_size": "M", "reason": "it fits"}
    empty, _ = answers_of(form(), [("size", "M"), ("why", "")])
    assert declared(form(), empty) == {"shirt_size": "M"}


def test_an_answer_that_is_wrong_is_named_by_its_field() -> None:
    _, wrong = answers_of(form(), [("size", "XS"), ("why", "x" * 21), ("mail", "me"), ("more", "yes")])
    assert wrong == {"size": "option", "why": "long", "mail": "email"}
    assert answers_of(form(), [])[1] == {"size": "required"}


def test_some_of_several_are_a_list_in_the_order_of_the_page() -> None:
    field = ChoiceField(name="days", label="When?", options=("Mo", "Tu", "We"), several=True, required=True)
    asked = Form(name="f", fields=(field,), button="b", thanks="t")
    assert answers_of(asked, [("days", "We"), ("days", "Mo"), ("days", "")]) == ({"days": ["Mo", "We"]}, {})
    assert answers_of(asked, [("days", "Su")])[1] == {"days": "required"}
    assert answers_of(asked, [("days", "Mo"), ("days", "Su")])[1] == {"days": "option"}


@pytest.mark.covers("S4.42")
@pytest.mark.parametrize(
    ("born", "at", "expected"),
    [
        ("2010-03-02", "2026-03-02", True), ("2010-03-03", "2026-03-02", False), ("2008-02-29", "2024-02-28", False),
        ("2008-02-29", "2024-02-29", True), ("2008-02-29", "2025-02-28", True), ("2027-01-01", "2026-03-02", False),
        ("", "2026-03-02", None),
    ],
)  # fmt: skip
def test_whether_somebody_is_of_age_is_counted_in_birthdays(born: str, at: str, expected: bool | None) -> None:
    asked = Form(name="f", fields=(BirthdayField(name="born", label="Born"),), button="b", thanks="t")
    answers, wrong = answers_of(asked, [("born", born)])
    assert wrong == {} and is_of_age(asked, answers, date.fromisoformat(at)) is expected
    assert is_of_age(form(), {}, date.fromisoformat(at)) is True


@pytest.mark.parametrize("born", ["2026-02-30", "yesterday", "20260101", "2026-W01-1", "٢٠٠٠-٠١-٠١", "0000-01-01"])
def test_what_is_no_day_of_birth_is_asked_again(born: str) -> None:
    asked = Form(name="f", fields=(BirthdayField(name="born", label="Born"),), button="b", thanks="t")
    assert answers_of(asked, [("born", born)])[1] == {"born": "date"}


@given(st.lists(st.tuples(st.sampled_from(["size", "why", "mail", "more", "x"]), st.text(max_size=40))))
def test_whatever_is_filled_in_is_judged_and_what_is_taken_is_as_it_was_asked_for(told: list[tuple[str, str]]) -> None:
    answers, wrong = answers_of(form(), told)
    assert set(answers) <= {"size", "why", "mail", "more"} >= set(wrong)
    if not wrong:
        assert answers["size"] in ("S", "M", "L") and len(answers.get("why", "")) <= 20
        assert not any(ord(letter) < 32 and letter not in "\t\n" for letter in answers.get("why", ""))


def test_values_of_a_link_stand_in_texts_and_what_is_missing_leaves_no_braces() -> None:
    assert filled("{code} for {name}{other}", {"code": "A1", "name": "{code}"}) == "A1 for {code}"
    assert filled("no values", {}) == "no values"


@pytest.mark.covers("S0.27", "S4.43")
def test_s4_43_a_theme_that_cannot_be_read_is_refused_with_its_contrast() -> None:
    assert theme_problems("brands.acme.theme", Theme()) == []
    found = theme_problems("brands.acme.theme", Theme(text="#999999", on_accent="#ffff00", accent="#00ffff"))
    assert [(key, shown) for key, _, shown in found] == [
        ("brands.acme.theme.text", "2.85"), ("brands.acme.theme.on_accent", "1.17"),
        ("brands.acme.theme.accent", "1.25"),
    ]  # fmt: skip
    assert theme_problems("t", Theme(logo="http://a.example/x.png"))[0][:2] == ("t.logo", "https://")


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == contrast("#ffffff", "#000000") == 21
    assert contrast("#777777", "#777777") == 1 and round(contrast("#767676", "#ffffff"), 2) == 4.54
