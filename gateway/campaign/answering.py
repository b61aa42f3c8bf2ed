"""Answers that no person writes: what an answerer is, and one that matches questions and answers of a file. Rule IN-6.

    [[faq]]
    questions = ["When are you open?", "opening hours"]
    answer = {en = "Monday to Friday, 9 to 17.", fr = "Du lundi au vendredi, de 9 h à 17 h."}

An answerer is a plug-in: an entry point of the group `sluice.answerers` that makes one of the knowledge file's text. It
says what it would answer and how certain it is; whether that is sent is decided outside of it, by limits that it cannot
lift (campaign/conversation.py: `hand_over`), and so is what stands before it.
"""

import tomllib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec
from msgspec import Meta, Struct

from gateway.errors import ConfigError
from gateway.keywords import tokens_of
from gateway.question import Texts, text_in

GROUP = "sluice.answerers"
FAQ = "faq"


class Asking(Struct, frozen=True, kw_only=True):
    """What an answerer is told: the message, and the person's language ("" = not known). No number, no name."""

    text: str
    language: str = ""


class Suggestion(Struct, frozen=True, kw_only=True):
    """What it would answer; confidence from 0 to 1."""

    text: str
    confidence: float


class Answerer(Protocol):
    """What answers; it may take its time, and none of it is trusted."""

    async def suggest(self, asking: Asking) -> Suggestion | None:
        """Say what to answer; None: it knows nothing of this."""


Make: TypeAlias = Callable[[str], Answerer]
"""Makes an answerer of the text of its knowledge file; raises ConfigError."""


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """Ways to ask for one answer, and the answer."""

    questions: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
    answer: Texts


# Words that say little of what is asked: half as much as another.
_LIGHT = frozenset(
    "a an the is are do does can i you we my your it to of in on at for what when where how and or please hi hello "
    "there le la les un une des du de est ce que vous je der die das ein eine ist sind ich sie wann wo wie el los las "
    "es son yo il lo gli che e sono".split()
)


class Faq:
    """Answers by the words that a message shares with a question of its file: certain where all of both are shared."""

    def __init__(self, entries: tuple[Entry, ...]):
        self._questions = [
            (frozenset(map(_stem, tokens_of(question))), entry) for entry in entries for question in entry.questions
        ]

    async def suggest(self, asking: Asking) -> Suggestion | None:
        """Say the answer of the nearest question; of two answers that are as near none is certain."""
        said = frozenset(map(_stem, tokens_of(asking.text)))
        ranked: dict[int, tuple[float, Entry]] = {}
        for words, entry in self._questions:
            near = _overlap(said, words)
            if near > ranked.get(id(entry), (0.0, entry))[0]:
                ranked[id(entry)] = near, entry
        best = sorted(ranked.values(), key=lambda one: -one[0])
        if not best:
            return None
        rival = best[1][0] if len(best) > 1 else 0.0
        confidence = best[0][0] * (0.5 if rival > best[0][0] * 0.9 else 1.0)
        return Suggestion(text=text_in(best[0][1].answer, asking.language), confidence=confidence)


def _overlap(said: frozenset[str], words: frozenset[str]) -> float:
    """How much of a question is said, and of what is said the question: the mean of both, by weight."""
    shared = _weight(said & words)
    if not shared:
        return 0.0
    # A greeting around it makes a question no other one.
    return shared / _weight(words) * 0.7 + shared / _weight(said) * 0.3


def _weight(words: frozenset[str]) -> float:
    return sum(0.25 if word in _LIGHT else 1.0 for word in words)


def _stem(word: str) -> str:
    """A word without the endings that make no difference: opening, opens, opened."""
    for ending in ("ing", "ed", "es", "s"):
        if len(word) > len(ending) + 3 and word.endswith(ending):
            return word[: -len(ending)]
    return word


def faq(knowledge: str) -> Answerer:
    """Make the answerer of a file of questions and answers.

    raises  ConfigError with what is wrong in it
    """
    try:
        document: Mapping[str, Any] = tomllib.loads(knowledge)
    except ValueError as error:
        raise ConfigError([("knowledge", "a file of TOML", str(error))]) from error
    for key in document:
        if key != "faq":
            raise ConfigError([(f"knowledge.{key}", "tables [[faq]] alone", "an unknown key")])
    try:
        entries = msgspec.convert(document.get("faq", []), tuple[Entry, ...])
    except msgspec.ValidationError as error:
        raise ConfigError([("knowledge.faq", "tables with questions and answer", str(error))]) from error
    if not entries:
        raise ConfigError([("knowledge", "at least one table [[faq]]", "none")])
    return Faq(entries)
