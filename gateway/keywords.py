"""What a handset asks for when it writes STOP, START, HELP or YES, and how loosely that is read. Data: keywords.toml.

    text ─► fold: NFKC, case, marks, look-alikes, what cannot be seen ─► clauses of tokens
      exact     the words of a keyword, once or repeated      "STOP", "opt-out", "СТОР", "𝐬𝐭𝐨𝐩", "s.t.o.p", "st0p"
      polite    the same among courtesies                     "please stop all messages now"
      near      one slip beside it, in a word that is none    "STPO", "unsubcribe", but "shop"
      phrase    a pattern of a language, in a clause          "hello, please do not text me again"
                what never matches is taken out before        "can't stop laughing", "cancel my order"
      score     of what no rule has read: like a stop, like none, or between: a doubt, which is asked about (CN-5.5)

Every language is tried on every message. START, HELP and YES are read exactly, or with courtesies: nothing near them
subscribes anybody. Whether a YES says anything depends on how the number stands (`meaning`).
A phrase that scores as an ordinary message is a doubt as well: the other way round patterns would have to be perfect.
Not here: what follows from it (dispatch/optout.py), how weights are learned (tests/keywords/train.py).
"""

import functools
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from _fastpath.ngrams import score

Wish = Literal["stop", "start", "help", "yes", "doubt"]
# Nobody writes more to be left alone, and a text of a stranger is not folded without end.
LONGEST_TEXT = 320
# Tokens of a message that may be a keyword among courtesies.
MOST_POLITE = 10
# A slip beside a shorter keyword is a word more often than not, but for those that the file names.
SHORTEST_NEAR = 6
SHORTEST_SLIP = 4
# Letters that are held down: "stoooop".
_HELD = re.compile(r"([^\W\d_])\1{2,}")
# A score of 1 in keywords.weights, whose octets are signed.
SCORE_1 = 16
# What a text is cut into; the others of punctuation part words.
_CLAUSE_ENDS = ".,!?;:…\n\r。、！？；：،؟؛।|¡¿«»()[]{}<>\u2028\u2029"
_QUOTES = "'’‘`´ʼ\"“”„‹›״׳"
# Marks of scripts that are read without them: Latin, Greek and Cyrillic accents, Hebrew points, Arabic vowels. The
# signs of Indic scripts and of Thai are letters, though Unicode calls them marks.
_MARKS = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a"
    "\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
# Of categories Cf and Cc what parts no words, and the selectors of a glyph.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u0600-\u0605\u061c\u0640\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff\0-\x08\x0e-\x1f\x7f]"
)
_JOINED_SCRIPT = re.compile(
    "[\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]"
)
_STROKES = str.maketrans("đðłøħıŧƀɍ", "ddlohitbr", "") | {ord("æ"): "ae", ord("œ"): "oe", ord("þ"): "th"}
# Letters that look like ours, as keyboards, auto-correct and those who hide from filters leave them; by their shape.
# source  Unicode UTS #39, confusables, the rows whose target is one Latin letter, of the scripts that handsets write
_LATIN_OF = dict(
    zip(
        "АВЕЅІЈКМНОРСТУҮХԚԜҺаԁеһіјкоԛрѕтухѵԝвмнсгпиьүҽӏ"
        "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαορνυικτχεηγσωϲβ"
        "ՏՍՕօոսհքցզժᎪᏴᏟᎬᎻᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᏃꓢꓔꓳꓑꓐꓚꓓꓰꓝꓖꓧꓲꓙꓗꓡꓟꓠꓣꓴꓦꓪꓫꓬꓜꓮ"
        "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢɑɡıȷɩʋƽɵʂƨƭɓⲞⲢⲦⲤⲟⲣⲧⲥ",
        "ABESIJKMHOPCTYYXQWhadehijkoqpstuxvwbmhcrnubyel"
        "ABEZHIKMNOPTYXaopvuiktxenyowcb"
        "SUOonuhpgqdABCEHJKLMPRSTVWZSTOPBCDEFGHIJKLMNRUVWXYZA"
        "abcdefghijklmnoprstuvwyzagijivsosstbOPTCoptc",
        strict=True,
    )
) | {"у": "y", "У": "Y"}
_LATIN_OF |= {
    chr(first + at): chr(65 + at) for first in (0x1F130, 0x1F150, 0x1F170, 0x1F1E6) for at in range(26)
}  # squared, and regional indicators that make flags
_CYRILLIC_OF = dict(zip("ABCEHIKMOPTXYaceikmopxytSs", "АВСЕНІКМОРТХУасеікморхутЅѕ", strict=True))
_DIGIT_LETTERS = str.maketrans("013457@$€8", "oieastase" + "b")
_HAS_DIGIT = re.compile(r"[0134578@$€]")
_FIRST_SENTENCE = re.compile(r"\s*([^.!。！\r\n]{2,20})[.!。！\r\n]+\s*\S")
_PLAYFUL = re.compile(
    r"(?i)[😂🤣😆😅😹😜😝😉😍🥰❤]|\b(l+o+l+|lmao|rofl|(ha){2,}h?|(he){2,}|(ja){2,}|kk+|hammer|killing|kidding|joking)\b"
)
# Of the patterns in keywords.toml.
_WORD = re.compile(r"[^\s()|?^]+")
_WORDS = {"~": r"(?:\S+ ){0,3}?", "$": r"\Z", "#": r"\d{4,} "}


class Pattern(Struct, frozen=True):
    """The phrases of all languages: those within a clause, and those that begin one."""

    inner: re.Pattern[str]
    leading: re.Pattern[str]

    def is_in(self, clause: Sequence[str], leads: frozenset[str], polite: frozenset[str], begins: bool) -> bool:
        """Whether a clause holds one; leads: words that may stand before a beginning."""
        whole = "".join(token + " " for token in clause)
        end = len(clause)
        while end and clause[end - 1] in polite:
            end -= 1
        trimmed = "".join(token + " " for token in clause[:end])
        texts = (whole,) if trimmed == whole else (whole, trimmed)
        if any(self.inner.search(text) for text in texts):
            return True
        at = 0
        for token in clause if begins else ():
            if any(self.leading.match(text, at) for text in texts):
                return True
            if token not in leads:
                break
            at += len(token) + 1
        return False


class Words(Struct, frozen=True, kw_only=True):
    """Keywords of every language, as tuples of tokens.

    strong     of STOP: said among courtesies, and among `these`
    weak       of STOP: ordinary words too
    others     START, HELP and YES
    near       keywords of STOP by themselves and by each of them with a letter less
    joined     keywords of languages that write no spaces, by wish; courtesies of theirs, the longest first
    by_prefix  keywords of STOP for numbers that begin so
    weights    of the score (_fastpath/ngrams.pyx), and from where it is a stop, a doubt, and a phrase none
    """

    strong: frozenset[tuple[str, ...]]
    weak: frozenset[tuple[str, ...]]
    others: Mapping[tuple[str, ...], Wish]
    polite: frozenset[str]
    these: frozenset[str]
    openers: frozenset[str]
    near: Mapping[str, tuple[str, ...]]
    not_near: frozenset[str]
    phrases: Pattern
    never: re.Pattern[str]
    joined: Mapping[str, Wish]
    joined_polite: tuple[str, ...]
    joined_phrases: re.Pattern[str]
    joined_never: re.Pattern[str]
    signatures: re.Pattern[str]
    by_prefix: Mapping[str, frozenset[tuple[str, ...]]]
    weights: bytes
    is_stop_from: float
    is_doubt_from: float
    is_phrase_from: float

    def wish(self, text: str, number: int = 0) -> Wish | None:
        """Read what a message asks for; None: nothing of this.

        number  of the handset
        """
        if len(text) > LONGEST_TEXT:
            return None
        seen = self._seen(text)
        by_rule = self._by_rule(seen, number)
        if by_rule is not None and by_rule != "phrase":
            return by_rule
        shape = _shape(seen)
        score_ = score(shape, self.weights) / SCORE_1
        if by_rule == "phrase":
            return "stop" if score_ >= self.is_phrase_from else "doubt"
        # One word that no rule knows is a word, not a sentence.
        if score_ < self.is_doubt_from or (shape.count(" ") <= 2 and not _JOINED_SCRIPT.search(shape)):
            return None
        is_like_stop = score_ >= self.is_stop_from
        if self._has_never(seen):
            return "doubt" if is_like_stop else None
        return "stop" if is_like_stop else "doubt"

    def _has_never(self, seen: str) -> bool:
        """Whether something in it never matches: then it takes more to be a doubt, and it is never more than that."""
        clauses = clauses_of(seen)
        joined = ("".join(clause) for clause in clauses)
        return any(self.never.search("".join(token + " " for token in clause)) for clause in clauses) or any(
            self.joined_never.search(text) for text in joined
        )

    def shape(self, text: str) -> str:
        """A text as the score sees it: words folded, letters held down once, digits 0, one space around each word."""
        return _shape(self._seen(text))

    def _seen(self, text: str) -> str:
        seen = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
        match = self.signatures.search(seen)
        return seen[: match.start()] if match else seen

    def _by_rule(self, seen: str, number: int) -> Wish | Literal["phrase"] | None:
        """What a rule reads, of a text in NFKC; phrase: a pattern among other words."""
        for reading in _readings(seen):
            if found := self._read(reading, number):
                return found
        # "STOP!!! who is this" and "not interested, stop", but not "Stop! You are killing me 😂".
        first = _FIRST_SENTENCE.match(seen)
        clauses = clauses_of(seen)
        ends = [clauses_of(first[1])] if first else []
        ends += [clauses[-1:]] if len(clauses) > 1 else []
        bare = [tuple(token for token in _flat(end) if token not in self.polite) for end in ends]
        return "stop" if any(end in self.strong for end in bare) and not _PLAYFUL.search(seen) else None

    def _read(self, text: str, number: int) -> Wish | Literal["phrase"] | None:
        clauses = clauses_of(text)
        tokens = _flat(clauses)
        if not tokens:
            return None
        if len(tokens) >= 3 and all(len(token) == 1 and token.isalnum() for token in tokens):
            tokens = ("".join(tokens),)
        if found := self._alone(tokens):
            return found
        # "sto p"
        if len(tokens) <= 4 and ("".join(tokens),) in self.strong:
            return "stop"
        if any(str(number).startswith(prefix) and tokens in some for prefix, some in self.by_prefix.items()):
            return "stop"
        if self._is_near(tokens):
            return "stop"
        if _JOINED_SCRIPT.search(text) and (joined := self._joined(clauses)):
            return joined
        leads = self.openers | self.polite
        for clause in clauses:
            parts = self.never.sub("\0 ", "".join(token + " " for token in clause)).split("\0")
            for at, part in enumerate(parts):
                if self.phrases.is_in(part.split(), leads, self.polite, begins=not at):
                    return "phrase"
        return None

    def _alone(self, tokens: tuple[str, ...]) -> Wish | None:
        """A keyword alone, repeated, or among courtesies."""
        if tokens in self.others:
            return self.others[tokens]
        if len(tokens) > MOST_POLITE:
            return None
        plain = tuple(token for token in tokens if token not in self.polite)
        bare = tuple(token for token in plain if token not in self.these)
        for form in (tokens, plain):
            if form in self.strong or form in self.weak:
                return "stop"
            # "stop stop stop", "stop, unsubscribe"
            if form and all((token,) in self.strong for token in form):
                return "stop"
            if form and (form[0],) in self.strong and all((t,) in self.strong or (t,) in self.weak for t in form):
                return "stop"
        if bare in self.strong:
            return "stop"
        # A courtesy of one language is a keyword of another: "ja", "ya".
        first = next((at for at, token in enumerate(tokens) if token not in self.polite), 0)
        for start in {0, first}:
            for end in range(len(tokens), start, -1):
                if tokens[start:end] in self.others and all(t in self.polite for t in tokens[:start] + tokens[end:]):
                    return self.others[tokens[start:end]]
        return None

    def _is_near(self, tokens: tuple[str, ...]) -> bool:
        if len(tokens) > 1:
            tokens = tuple(token for token in tokens if token not in self.polite)
        if len(tokens) != 1 or len(tokens[0]) < SHORTEST_SLIP or tokens[0] in self.not_near:
            return False
        # Two words one slip apart are one, or become one with a letter less in one of them or in both.
        return any(
            _is_one_slip(tokens[0], word)
            for less in (tokens[0], *_with_one_less(tokens[0]))
            for word in self.near.get(less, ())
        )

    def _joined(self, clauses: Sequence[Sequence[str]]) -> Wish | Literal["phrase"] | None:
        whole = self._without_courtesies("".join(token for clause in clauses for token in clause))
        if whole in self.joined:
            return self.joined[whole]
        for clause in clauses:
            text = "".join(clause)
            if self._stops(self._without_courtesies(text)):
                return "stop"
            if any(self.joined_phrases.search(part) for part in self.joined_never.sub("\0", text).split("\0") if part):
                return "phrase"
        return None

    def _stops(self, text: str) -> bool:
        return self.joined.get(text) == "stop"

    def _without_courtesies(self, text: str) -> str:
        is_shorter = True
        while is_shorter and text not in self.joined:
            is_shorter = False
            for courtesy in self.joined_polite:
                for shorter in (text.removesuffix(courtesy), text.removeprefix(courtesy)):
                    if shorter and shorter != text:
                        text, is_shorter = shorter, True
                        break
                if is_shorter:
                    break
        return text


def meaning(
    wish: Wish | None, *, is_stopped: bool, is_pending: bool
) -> Literal["stop", "start", "help", "confirm"] | None:
    """Say what a wish means for a number that stands so; a YES of anybody else is an ordinary answer.

    is_stopped  by its own handset
    A doubt has no meaning of its own: what follows from it is a question.

    is_pending  it was asked whether it wants to hear from us, and has not answered
    """
    if wish == "doubt":
        return None
    if wish != "yes":
        return wish
    if is_pending:
        return "confirm"
    return "start" if is_stopped else None


@functools.cache
def words(stop: tuple[str, ...] = (), start: tuple[str, ...] = ()) -> Words:
    """The words of this package, and more of those who run it."""
    document = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    languages: Iterable[Mapping[str, Any]] = document["languages"].values()
    spaced = [language for language in languages if not language.get("joined")]
    joined = [language for language in languages if language.get("joined")]
    all_of = _gather(spaced)
    others: dict[tuple[str, ...], Wish] = {}
    joined_words: dict[str, Wish] = {}
    for wish in ("yes", "help", "start"):
        others |= dict.fromkeys(_tokens_of(all_of(wish)), wish)
        joined_words |= dict.fromkeys(map("".join, _tokens_of(_gather(joined)(wish))), wish)
    joined_words |= dict.fromkeys(
        map("".join, _tokens_of((*_gather(joined)("stop"), *_gather(joined)("weak")))), "stop"
    )
    strong = _tokens_of((*all_of("stop"), *stop))
    weak = _tokens_of(all_of("weak"))
    others = {tokens: wish for tokens, wish in others.items() if tokens not in strong | weak}
    others |= dict.fromkeys(_tokens_of(start), "start")
    near: dict[str, tuple[str, ...]] = {}
    short = _single(document["near"])
    for word in sorted(t[0] for t in strong | weak if len(t) == 1 and (len(t[0]) >= SHORTEST_NEAR or t[0] in short)):
        for less in {word, *_with_one_less(word)}:
            near[less] = (*near.get(less, ()), word)
    code = "|".join(sorted(_fold(word) for word in document["code"]))
    phrases = [
        *all_of("phrases"),
        *_slotted(spaced),
        f"^ ({'|'.join(w[0] for w in sorted(strong) if len(w) == 1)}) ({code})? #",
    ]
    return Words(
        strong=strong - frozenset(_tokens_of(start)),
        weak=weak,
        others=others,
        polite=_single(all_of("polite")),
        these=_single(all_of("these")),
        openers=_single(document["openers"]),
        near=near,
        not_near=_single(document.get("not_near", ())) | {t[0] for t in others if len(t) == 1},
        phrases=Pattern(
            re.compile(_either(_regex(one) for one in phrases if not one.startswith("^ "))),
            re.compile("|".join(_regex(one[2:]) for one in phrases if one.startswith("^ "))),
        ),
        never=re.compile(_either(_regex(one) for one in all_of("never"))),
        joined=joined_words,
        joined_polite=tuple(sorted({"".join(t) for t in _tokens_of(_gather(joined)("polite"))}, key=len, reverse=True)),
        joined_phrases=re.compile(
            "|".join(_fold(one) for one in (*_gather(joined)("phrases"), *_joined_slots(joined)))
        ),
        joined_never=re.compile("|".join(_fold(one) for one in _gather(joined)("never"))),
        signatures=re.compile("|".join(r"(?<!\w)" + re.escape(one) for one in document["signatures"]), re.IGNORECASE),
        by_prefix={prefix: _tokens_of(some) for prefix, some in document["by_prefix"].items()},
        weights=Path(__file__).with_suffix(".weights").read_bytes(),
        is_stop_from=document["score"]["stop"],
        is_doubt_from=document["score"]["doubt"],
        is_phrase_from=document["score"]["phrase"],
    )


# What is ended and what is removed, by the keys of a language: who deletes a message wants the next one.
_SLOTS = (("ends", "messages"), ("removes", "places"))


def _slotted(languages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Make the patterns of a verb and its object: one of each in a clause, in either order, a few words between."""
    for language in languages:
        for verbs, objects in _SLOTS:
            if verbs in language:
                verb, object_ = "|".join(language[verbs]), "|".join(language[objects])
                yield f"({verb}) ~ ({object_})"
                if language.get("is_verb_last"):
                    yield f"({object_}) ~ ({verb})"


def _joined_slots(languages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Make the same for languages without spaces."""
    for language in languages:
        for verbs, objects in _SLOTS:
            if verbs in language:
                verb, object_ = "|".join(language[verbs]), "|".join(language[objects])
                yield f"(?:{verb}).{{0,8}}(?:{object_})|(?:{object_}).{{0,8}}(?:{verb})"


def tokens_of(text: str) -> tuple[str, ...]:
    """Fold a text into words: marks, case, punctuation and what cannot be seen are gone."""
    return _flat(clauses_of(_UNSEEN.sub("", unicodedata.normalize("NFKC", text))))


@functools.cache
def yes_by_language() -> Mapping[str, tuple[str, ...]]:
    """The words of YES, as the file has them, by language."""
    document = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {name: tuple(language.get("yes", ())) for name, language in document["languages"].items()}


def clauses_of(text: str) -> list[tuple[str, ...]]:
    """Fold a text that is in NFKC into clauses of words."""
    kept = []
    for character in _fold(text):
        if character in _CLAUSE_ENDS:
            kept.append("\n")
        elif character in _QUOTES:
            continue
        elif character == "🛑":
            kept.append(" 🛑 ")
        elif character.isalnum():
            kept.append(character)
        else:
            kind = unicodedata.category(character)
            kept.append(character if kind[0] == "M" else " ")
    return [tuple(clause.split()) for clause in "".join(kept).split("\n") if clause.strip()]


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


def _fold(text: str) -> str:
    """Case and marks of a text in NFKC are gone; it is composed again, for scripts whose marks stay."""
    spread = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", _MARKS.sub("", spread)).translate(_STROKES)


def _readings(text: str) -> Iterator[str]:
    """The text, and what it looks like: in our letters, in Cyrillic ones, digits for letters, no letter held down."""
    yield text
    told = {text}
    for other in (
        "".join(_LATIN_OF.get(c, c) for c in text),
        "".join(_CYRILLIC_OF.get(c, c) for c in text) if re.search("[\u0400-\u04ff]", text) else text,
        " ".join(_with_letters(piece) for piece in text.split(" ")),
        _HELD.sub(r"\1", text),
    ):
        if other not in told:
            told.add(other)
            yield other


def _shape(seen: str) -> str:
    kept = []
    for character in _fold(seen):
        if character in _QUOTES:
            continue
        if character in "?？؟":
            kept.append(" ? ")
        elif character == "🛑":
            kept.append(" 🛑 ")
        elif character.isdigit():
            kept.append("0")
        elif character.isalnum() or unicodedata.category(character)[0] == "M":
            kept.append(character)
        else:
            kept.append(" ")
    return " " + _HELD.sub(r"\1", " ".join("".join(kept).split())) + " "


def _with_letters(piece: str) -> str:
    return piece.translate(_DIGIT_LETTERS) if _HAS_DIGIT.search(piece) and any(map(str.isalpha, piece)) else piece


def _flat(clauses: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(token for clause in clauses for token in clause)


def _gather(languages: Iterable[Mapping[str, Any]]) -> Any:
    return lambda key: [text for language in languages for text in language.get(key, ())]


def _tokens_of(texts: Iterable[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(tokens_of(text) for text in texts) - {()}


def _single(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(token for text in texts for token in tokens_of(text))


def _either(patterns: Iterable[str]) -> str:
    return rf"(?<!\S)(?:{'|'.join(patterns)})"


def _regex(pattern: str) -> str:
    """Compile the small language of keywords.toml; every word takes its space along. raises ValueError."""
    text = _fold(pattern)
    made, at = _choices(text, 0)
    if at != len(text):
        raise ValueError(f"keywords.toml: pattern {pattern!r}: expected words and (a|b), found {text[at:]!r}")
    return made


def _choices(text: str, at: int) -> tuple[str, int]:
    """Sequences with | between, up to the ) of another or the end."""
    choices, made = [], ""
    while at < len(text) and text[at] != ")":
        if text[at] == "(":
            inner, at = _choices(text, at + 1)
            if at >= len(text) or len(text) > at + 1 and text[at + 1] not in " ?*|)":
                break
            count = {"?": "?", "*": "{0,4}"}.get(text[at + 1 : at + 2], "")
            made += f"(?:{inner}){count}"
            at += 2 if count else 1
        elif text[at] == "|":
            choices.append(made)
            made, at = "", at + 1
        elif text[at] == " ":
            at += 1
        else:
            word = _WORD.match(text, at)
            if word is None:
                break
            made += _WORDS.get(word[0]) or re.escape(word[0]).replace(r"\*", r"\S*") + " "
            at = word.end()
    return "|".join([*choices, made]), at


def _with_one_less(word: str) -> set[str]:
    return {word[:at] + word[at + 1 :] for at in range(len(word))}


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
