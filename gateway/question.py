"""A question that a campaign asks by text, as documents write it: rule IN-9.

    [question]
    name = "size"
    type = "choice"
    text = {en = "Which size? 1 small, 2 large", fr = "Quelle taille ? 1 petite, 2 grande"}
    choices = [{value = "s", labels = {en = "small", fr = "petite"}}, {value = "l", labels = {en = "large"}}]
    save_as = "shirt_size"

Texts are one for all, or one by language: the recipient's, else its main language (pt for pt-BR), else "", else the
first. What is answered becomes the event `answered` {question, value, type}, and the attribute `save_as`, both of the
source `declared`: what people say of themselves is told from what was found out.
Not here: how an answer is read (campaign/answers.py), who waits for it (store/conversations.py).
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from gateway.document import Ask, seconds_of
from gateway.keywords import tokens_of
from gateway.offer import Offer
from gateway.offer import problems_of as offer_problems
from gateway.routing import Problem

SOURCE = "declared"
ANSWERED = "answered"
Texts: TypeAlias = str | dict[str, str]
Type = Literal["choice", "number", "date", "text", "yes_no", "order"]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
LONGEST_ANSWER = 1600


class Choice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of the answers there are.

    value   as it is saved
    labels  what people call it, by language or for all; more words for the same stand in `also`
    """

    value: Annotated[str, Meta(min_length=1, max_length=100)]
    labels: Texts = ""
    also: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Everything it is called, its value first."""
        labels = [self.labels] if isinstance(self.labels, str) else list(self.labels.values())
        return tuple(dict.fromkeys(name for name in (self.value, *labels, *self.also) if name))


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is asked, and what counts as an answer.

    name        as the event has it
    retry       sent where an answer cannot be read; nothing said: the question once more
    retries     how often
    skip        a word by which it is passed over; "" = none
    timeout_s   for how long an answer counts
    save_as     attribute of the person; "" = the event alone
    least, most of a number, both included
    when        of a date whose year or century is not said: the next, or the last
    longest     letters of a text
    right       of a quiz: the value that is right, told with the event as is_right
    order       of an order: what is offered (gateway/offer.py); its answer is how many the shop was told to send
    """

    name: Name
    type: Type
    text: Texts
    choices: tuple[Choice, ...] = ()
    retry: Texts = ""
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    skip: Annotated[str, Meta(max_length=40)] = ""
    timeout_s: Annotated[int, Meta(ge=60, le=86400 * 60)] = 86400
    save_as: Annotated[str, Meta(max_length=64, pattern=r"^([A-Za-z][A-Za-z0-9_.-]*)?$")] = ""
    least: float | None = None
    most: float | None = None
    whole: bool = False
    when: Literal["past", "future"] = "future"
    longest: Annotated[int, Meta(ge=1, le=LONGEST_ANSWER)] = LONGEST_ANSWER
    right: str = ""
    order: Offer | None = None


# Which settings mean something only of some types.
_OF_TYPE: Mapping[str, tuple[str, ...]] = {
    "choices": ("choice",), "least": ("number",), "most": ("number",), "whole": ("number",), "when": ("date",),
    "longest": ("text",), "right": ("choice", "yes_no", "number"), "order": ("order",),
    "retry": ("choice", "number", "date", "text", "yes_no"), "skip": ("choice", "number", "date", "text", "yes_no"),
}  # fmt: skip


def text_in(texts: Texts, language: str) -> str:
    """Choose the text of a language; "" where there is none at all."""
    if isinstance(texts, str):
        return texts
    wanted = language.replace("_", "-").lower()
    by_language = {name.replace("_", "-").lower(): text for name, text in texts.items()}
    for name in (wanted, wanted.partition("-")[0], ""):
        if by_language.get(name):
            return by_language[name]
    return next((text for text in by_language.values() if text), "")


def read_question(value: Any, key: str, problems: list[Problem]) -> Question | None:
    """Read a question of a document; None and a problem where it is none."""
    try:
        question = msgspec.convert(value, Question)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `$")
        problems.append((key + where.rstrip("`"), "a question: name, type, text and what belongs to its type", said))
        return None
    found = problems_of(key, question)
    problems += found
    return None if found else question


def question_of(step: Ask, key: str, problems: list[Problem]) -> Question | None:
    """Make the question that a step asks: its text is the step's; None and problems where it is none.

    A text with fields is the person's own: it cannot be said again as it stands, so `retry` says what is sent then.
    """
    given = {"save_as": step.attribute, **step.question}
    if "{{" in step.text and not given.get("retry") and given.get("type") != "order":
        problems.append((f"{key}.retry", "what is sent where an answer cannot be read: the text has fields", "nothing"))
        return None
    own = {"name": step.name, "text": step.text, "timeout_s": max(60, seconds_of(step.within))}
    return read_question({**given, **own}, key, problems)


def problems_of(key: str, question: Question) -> list[Problem]:
    """Find what the types of its values cannot say: key, expected, found."""
    problems: list[Problem] = []
    if not text_in(question.text, "").strip():
        problems.append((f"{key}.text", "what is asked", repr(question.text)))
    for name, types in _OF_TYPE.items():
        if question.type not in types and getattr(question, name) != _default_of(name):
            problems.append(
                (f"{key}.{name}", f"nothing, of a question of type {question.type}", _shown(question, name))
            )
    if question.type == "choice":
        if len(question.choices) < 2:
            problems.append((f"{key}.choices", "two choices or more", str(len(question.choices))))
        problems += _twice(key, question.choices)
    if question.type == "order":
        if question.order is None:
            problems.append((f"{key}.order", "what is offered, and which system is told of an order", "nothing"))
        else:
            problems += offer_problems(f"{key}.order", question.order)
    if question.least is not None and question.most is not None and question.least > question.most:
        problems.append((f"{key}.least", f"at most {question.most:g}", f"{question.least:g}"))
    if question.skip and not tokens_of(question.skip):
        problems.append((f"{key}.skip", "a word with a letter or digit in it", repr(question.skip)))
    problems += _right(key, question)
    return problems


def _twice(key: str, choices: Sequence[Choice]) -> list[Problem]:
    """Find words that would mean two choices, and choices that cannot be said."""
    problems: list[Problem] = []
    owners: dict[tuple[str, ...], int] = {}
    for at, choice in enumerate(choices):
        for name in choice.names:
            tokens = tokens_of(name)
            if not tokens:
                problems.append((f"{key}.choices[{at}]", "a name with a letter or digit in it", repr(name)))
            elif owners.setdefault(tokens, at) != at:
                problems.append((f"{key}.choices[{at}]", f"a name that choices[{owners[tokens]}] has not", repr(name)))
    return problems


def _right(key: str, question: Question) -> list[Problem]:
    if not question.right:
        return []
    if question.type == "choice" and question.right not in {choice.value for choice in question.choices}:
        values = ", ".join(choice.value for choice in question.choices)
        return [(f"{key}.right", f"one of {values}", repr(question.right))]
    if question.type == "yes_no" and question.right not in ("yes", "no"):
        return [(f"{key}.right", "yes or no", repr(question.right))]
    if question.type == "number":
        try:
            float(question.right)
        except ValueError:
            return [(f"{key}.right", "a number", repr(question.right))]
    return []


def is_right(question: Question, value: Any) -> bool | None:
    """Say whether an answer of a quiz is right; None: nothing is, of this question."""
    if not question.right:
        return None
    if question.type == "yes_no":
        return bool(value is (question.right == "yes"))
    if question.type == "number":
        return bool(float(value) == float(question.right))
    return bool(value == question.right)


def json_value(value: Any) -> Any:
    """An answer as an event and an attribute have it: a date as RFC 3339 writes it."""
    return value.isoformat() if isinstance(value, datetime.date) else value


def _default_of(name: str) -> Any:
    fields = {field.name: field.default for field in msgspec.structs.fields(Question)}
    return fields[name]


def _shown(question: Question, name: str) -> str:
    return repr(msgspec.to_builtins(getattr(question, name)))
