"""The answerer that ships: rule IN-6, S4.22."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.campaign.answering import Asking, Suggestion, faq
from gateway.errors import ConfigError

KNOWLEDGE = """
[[faq]]
questions = ["When are you open?", "opening hours", "what time do you close"]
answer = {en = "Monday to Friday, 9 to 17.", fr = "Du lundi au vendredi."}
[[faq]]
questions = ["Where is my order?", "track my parcel", "delivery status"]
answer = "Follow it at shop.example/track"
[[faq]]
questions = ["How much is delivery?", "delivery cost"]
answer = "Delivery is 4 pounds."
"""


async def said(text: str, language: str = "en") -> Suggestion | None:
    return await faq(KNOWLEDGE).suggest(Asking(text=text, language=language))


@pytest.mark.covers("S4.22")
async def test_in_6_a_question_of_the_file_is_answered_with_certainty_however_it_is_put() -> None:
    for text in (
        "when are you open",
        "Hi, what are your opening hours?",
        "When do you open?",
        "WHAT TIME DO YOU CLOSE",
    ):
        found = await said(text)
        assert found is not None and found.text == "Monday to Friday, 9 to 17." and found.confidence >= 0.75, text
    found = await said("where is my order", "fr")
    assert found is not None and found.text == "Follow it at shop.example/track"
    french = await said("opening hours", "fr-CA")
    assert french is not None and french.text == "Du lundi au vendredi."


async def test_in_6_what_the_file_does_not_know_has_no_answer_or_no_certain_one() -> None:
    assert await said("zzz") is None
    for text in ("do you sell shoes", "I am", "delivery", "is my order open on delivery"):
        found = await said(text)
        assert found is None or found.confidence < 0.75, (text, found)


@given(st.text(max_size=100))
async def test_in_6_any_text_has_an_answer_of_the_file_or_none(text: str) -> None:
    found = await said(text)
    assert found is None or (0 < found.confidence <= 1 and found.text)


@pytest.mark.parametrize(
    ("text", "where"),
    [("", "knowledge"), ("[[faq", "knowledge"), ("[[faq]]\nquestions = []\nanswer = 'x'", "knowledge.faq"),
     ("x = 1", "knowledge.x"), ("[[faq]]\nquestions = ['a']", "knowledge.faq")],
)  # fmt: skip
def test_in_6_a_file_that_is_no_knowledge_is_refused_with_its_place(text: str, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        faq(text)
    assert caught.value.problems[0][0] == where
