"""What a handset asks for when it writes STOP: words and how loosely they are read. Data: keywords.toml.

    text ─► fold: NFKC, case, accents, look-alikes, punctuation, zero-width ─► tokens
      the words of a keyword                                  "STOP", "opt-out", "СТОР"      exact
      the same and courtesies, three tokens at most           "stop please", "stop it"       polite
      one letter beside a word that is known for its slips    "STPO", "Stoop" not            near
      a phrase within six tokens                              "please do not text me"        phrase

Everything else is an ordinary message: "cancel my order", "can't stop", "stop by at five". A START is read exactly, or
with courtesies: nothing else subscribes anybody.
Not here: what follows from it (dispatch/stops.py).
"""

import functools
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

Wish = Literal["stop", "start"]
# Tokens of a message that may be a keyword with courtesies; of one that may hold a phrase.
MOST_POLITE = 3
MOST_PHRASE = 6
# A longer text is not folded: a keyword is not lost in it, it is no keyword there.
LONGEST_TEXT = 200
# Letters of other alphabets that look like those of ours, as somebody's keyboard or auto-correct leaves them.
_LOOKALIKES = str.maketrans("авекмнорстухіѕјԁαβεηικμνορτυχζ", "abekmhopctyxisjdabenikuvoptuxz")
_INVISIBLE = {"Cf", "Mn", "Me"}


class Words(Struct, frozen=True, kw_only=True):
    """Keywords as tuples of tokens; `by_prefix` those that hold for numbers which begin so."""

    stop: frozenset[tuple[str, ...]]
    start: frozenset[tuple[str, ...]]
    phrases: tuple[tuple[str, ...], ...]
    polite: frozenset[str]
    near: tuple[str, ...]
    not_near: frozenset[str]
    by_prefix: Mapping[str, frozenset[tuple[str, ...]]]

    def wish(self, text: str, number: int = 0) -> Wish | None:
        """Read what a message asks for; None: nothing of this.

        number  of the handset
        """
        if len(text) > LONGEST_TEXT:
            return None
        for tokens in _readings(text):
            if not tokens:
                continue
            plain = tuple(token for token in tokens if token not in self.polite)
            forms = {tokens, plain} if len(tokens) <= MOST_POLITE else {tokens}
            if forms & self.start:
                return "start"
            if forms & self.stop or self._is_taught(tokens, number) or self._is_near(tokens):
                return "stop"
            if len(tokens) <= MOST_PHRASE and any(_holds(tokens, phrase) for phrase in self.phrases):
                return "stop"
        return None

    def _is_taught(self, tokens: tuple[str, ...], number: int) -> bool:
        return any(str(number).startswith(prefix) and tokens in words for prefix, words in self.by_prefix.items())

    def _is_near(self, tokens: tuple[str, ...]) -> bool:
        if len(tokens) != 1 or len(tokens[0]) < 4 or tokens[0] in self.not_near:
            return False
        return any(_is_one_slip(tokens[0], word) for word in self.near)


@functools.cache
def words(stop: tuple[str, ...] = (), start: tuple[str, ...] = ()) -> Words:
    """The words of this package, and more of those who run it."""
    document = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return Words(
        stop=_tokens_of((*document["stop"], *stop)),
        start=_tokens_of((*document["start"], *start)),
        phrases=tuple(sorted(_tokens_of(document["phrases"]))),
        polite=frozenset(document["polite"]),
        near=tuple(document["near"]),
        not_near=frozenset(document["not_near"]),
        by_prefix={prefix: _tokens_of(some) for prefix, some in document["by_prefix"].items()},
    )


def tokens_of(text: str) -> tuple[str, ...]:
    """Fold a text into words: accents, case, punctuation and what cannot be seen are gone."""
    spread = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    kept = []
    for character in spread:
        kind = unicodedata.category(character)
        if kind in _INVISIBLE or character in "'’`´":
            continue
        kept.append(" " if kind[0] in "PZC" or (kind[0] == "S" and kind != "So") else character)
    return tuple(unicodedata.normalize("NFC", "".join(kept)).split())


def number_of(address: str, prefix: str = "") -> int | None:
    """The number of a handset, as the SMSC wrote it: with + or 00, bare, or national with its 0; None: it is none.

    prefix  of the country that national numbers are of
    """
    text = "".join(c for c in unicodedata.normalize("NFKC", address) if c not in " -.()\u00a0")
    digits = text.removeprefix("+")
    if not digits.isdecimal():
        return None
    digits = "".join(str(unicodedata.decimal(c)) for c in digits)
    if not text.startswith("+"):
        if digits.startswith("00"):
            digits = digits[2:]
        elif prefix and digits.startswith("0"):
            digits = prefix + digits[1:]
    return int(digits) if len(digits) <= 18 and int(digits or "0") else None


def _readings(text: str) -> Iterable[tuple[str, ...]]:
    """The folded text, and once more with the look-alikes of other alphabets as our letters."""
    tokens = tokens_of(text)
    yield tokens
    latin = tuple(token.translate(_LOOKALIKES) for token in tokens)
    if latin != tokens:
        yield latin


def _tokens_of(texts: Iterable[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(tokens_of(text) for text in texts) - {()}


def _holds(tokens: Sequence[str], phrase: Sequence[str]) -> bool:
    return any(tuple(tokens[at : at + len(phrase)]) == phrase for at in range(len(tokens) - len(phrase) + 1))


def _is_one_slip(found: str, word: str) -> bool:
    """Whether one letter is added, left out, another, or changed with its neighbour (Damerau's distance 1)."""
    if found == word or abs(len(found) - len(word)) > 1:
        return False
    at = 0
    while at < min(len(found), len(word)) and found[at] == word[at]:
        at += 1
    if len(found) == len(word):
        is_swapped = found[at + 1 : at + 2] == word[at] and found[at] == word[at + 1 : at + 2]
        return found[at + 1 :] == word[at + 1 :] or (is_swapped and found[at + 2 :] == word[at + 2 :])
    return found[at + 1 :] == word[at:] if len(found) > len(word) else found[at:] == word[at + 1 :]
