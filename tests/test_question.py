"""Questions as documents write them: rule IN-9."""

from datetime import date
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.document import Ask
from gateway.question import Choice, Question, is_right, json_value, question_of, read_question, text_in
from gateway.routing import Problem

SIZE: dict[str, Any] = {
    "name": "size", "type": "choice", "text": {"en": "Which?", "pt": "Qual?"},
    "choices": [{"value": "s", "labels": {"en": "small"}}, {"value": "l", "labels": {"en": "large"}, "also": ["big"]}],
}  # fmt: skip


def problems_with(**more: Any) -> list[Problem]:
    found: list[Problem] = []
    made = read_question({**SIZE, **more}, "steps[2].question", found)
    assert (made is None) == bool(found)
    return found


def test_in_9_a_question_is_read_with_two_retries_and_a_day_unless_it_says_otherwise() -> None:
    found: list[Problem] = []
    made = read_question(SIZE, "q", found)
    assert made is not None and not found
    assert (made.retries, made.timeout_s, made.skip, made.save_as) == (2, 86400, "", "")
    assert made.choices[1].names == ("l", "large", "big")


def test_in_9_what_is_wrong_with_a_question_is_said_with_its_place() -> None:
    def keys(**more: Any) -> list[str]:
        return [key.removeprefix("steps[2].question.") for key, _, _ in problems_with(**more)]

    assert keys(choices=[{"value": "s"}]) == ["choices"]
    assert keys(choices=[{"value": "s"}, {"value": "l", "also": ["S!"]}]) == ["choices[1]"]
    assert keys(choices=[{"value": "s"}, {"value": "💥"}]) == ["choices[1]"]
    assert keys(type="number", least=5, most=1) == ["choices", "least"]
    assert keys(type="text") == ["choices"]
    assert keys(skip="!!!") == ["skip"]
    assert keys(right="xl") == ["right"]
    assert keys(text=" ") == ["text"]
    assert keys(least=3) == ["least"]
    assert keys(retries=11) == ["retries"]
    assert keys(save_as="no spaces") == ["save_as"]
    assert keys(choices=[{"value": "s", "price": 3}, {"value": "l"}]) == ["choices[0]"]
    assert keys(choices=[], type="number", right="five") == ["right"]
    assert keys(choices=[], type="yes_no", right="maybe") == ["right"]


def test_in_9_a_step_that_asks_is_a_question_of_its_name_and_its_text() -> None:
    found: list[Problem] = []
    step = Ask(name="size", text="Small or large?", within="2h", attribute="shirt", question={
        "type": "choice", "choices": [{"value": "small"}, {"value": "large"}]})  # fmt: skip
    made = question_of(step, "steps[0].question", found)
    assert made is not None and not found
    assert (made.name, made.text, made.timeout_s, made.save_as) == ("size", "Small or large?", 7200, "shirt")
    fields = msgspec.structs.replace(step, text="{{ name }}, small or large?")
    assert question_of(fields, "steps[0].question", found) is None and found[0][0] == "steps[0].question.retry"
    assert question_of(msgspec.structs.replace(step, question={"type": "size"}), "q", found) is None


def test_a_text_is_that_of_the_language_else_of_its_main_one_else_the_first() -> None:
    texts = {"en": "Which?", "pt": "Qual?", "zh-TW": "哪個?"}
    wanted = {"pt-BR": "Qual?", "pt_PT": "Qual?", "en": "Which?", "fr": "Which?", "": "Which?", "zh-tw": "哪個?"}
    assert {language: text_in(texts, language) for language in wanted} == wanted
    assert text_in({"fr": "Quoi ?", "": "What?"}, "de") == "What?"
    assert text_in("One for all", "xx") == "One for all"
    assert text_in({}, "en") == ""


def test_a_quiz_knows_its_right_answer_and_other_questions_none() -> None:
    yes = Question(name="q", type="yes_no", text="?", right="no")
    assert [is_right(yes, value) for value in (True, False)] == [False, True]
    number = Question(name="q", type="number", text="?", right="42")
    assert [is_right(number, value) for value in (42, 42.0, 41)] == [True, True, False]
    choice = Question(name="q", type="choice", text="?", choices=(Choice(value="a"), Choice(value="b")), right="b")
    assert [is_right(choice, value) for value in ("a", "b")] == [False, True]
    assert is_right(Question(name="q", type="text", text="?"), "x") is None


def test_a_day_is_saved_as_rfc_3339_writes_it() -> None:
    assert json_value(date(2026, 11, 22)) == "2026-11-22"
    assert [json_value(value) for value in ("s", 3, True)] == ["s", 3, True]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_whatever_stands_where_a_question_should_is_a_question_or_a_problem(value: Any) -> None:
    found: list[Problem] = []
    assert (read_question(value, "q", found) is None) == bool(found)
