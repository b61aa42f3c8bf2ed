"""What a person answers to a question, however they write it: rule IN-9. Data: answers.toml, and the YES of keywords.

    text ─► skip word? ─► its type: choice · number · date · text · yes_no ─► Answer(value)
                                                                          └─► nothing certain: retry, then unreadable

Nothing is guessed: two numbers, two choices, a yes beside a no are no answer, and the person is asked once more. Every
language is tried, the person's own first; what means two things in two languages counts in their own alone.
The order of 03/04 is that of the person's country. Time is an argument.
Not here: the question (gateway/question.py), whether it is open (campaign/conversation.py decides).
"""

import datetime
import functools
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from gateway.keywords import tokens_of, yes_by_language
from gateway.question import Choice, Question

# Where the month is written before the day, and where the year comes first.
MONTH_FIRST = frozenset("US FM MH PW BZ PH".split())
YEAR_FIRST = frozenset("CN JP KR KP TW HU LT MN BT".split())
_YEAR_FIRST_LANGUAGES = frozenset("zh ja ko hu lt mn".split())
_DIGITS = re.compile(r"(?<![^\W_])[-−]?\d+(?:[.,' \u00a0\u202f]\d{3})*(?:[.,]\d+)?|[-−]?\d+(?:[.,]\d+)?")
_ISO = re.compile(r"(?<!\d)(\d{4})[-/. ](\d{1,2})[-/. ](\d{1,2})(?!\d)")
_NUMERIC = re.compile(r"(?<!\d)(\d{1,4})\s*[-/. ]\s*(\d{1,2})(?:\s*[-/. ]\s*(\d{4}|\d{2}))?(?!\d)")
_TOGETHER = re.compile(r"(?<!\d)(\d{8})(?!\d)")
_CJK = re.compile(r"(?:(\d{4}|\d{2})\s*[年년]\s*)?(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日号號일]?")
_ORDINAL = re.compile(r"(\d{1,2})(?:st|nd|rd|th|er|re|eme|e|o|a|ª|º|ste|de|η|го|ого|е)?")
# Letters that are held down: "yesss".
_HELD = re.compile(r"([^\W\d_])\1{2,}")
_SMALLEST_NEAR, _TWO_NEAR = 4, 8
# A year that was told of the Buddhist era.
_BUDDHIST = 543
_NUMBER_SIGN = re.compile(r"(?:#|no\.?|nr\.?|n°|№|nº)\s*(?=\d)", re.IGNORECASE)


class Answer(Struct, frozen=True):
    """What came of a text.

    kind   answer: value holds it; skip; retry: ask once more; unreadable: it was asked often enough
    value  a text, a number, a date, True or False; of a choice its value
    """

    kind: Literal["answer", "skip", "retry", "unreadable"]
    value: Any = None


class Language(Struct, frozen=True, kw_only=True):
    """What answers.toml and keywords.toml say of one language, folded."""

    yes: frozenset[tuple[str, ...]]
    no: frozenset[tuple[str, ...]]
    numbers: Mapping[tuple[str, ...], int]
    months: Mapping[str, int]
    days: Mapping[tuple[str, ...], int]
    weekdays: Mapping[str, int]
    comma: bool


def answer(
    question: Question, text: str, *, tried: int, today: datetime.date, language: str = "", country: str = ""
) -> Answer:
    """Read a text as the answer to a question.

    tried     how often it was asked again already
    today     by the person's clock
    language  theirs, and country of two letters; "" = not known
    """
    if question.skip and tokens_of(text) == tokens_of(question.skip):
        return Answer("skip")
    value = read(question, text, today=today, language=language, country=country)
    if value is not None:
        return Answer("answer", value)
    return Answer("retry" if tried < question.retries else "unreadable")


def read(question: Question, text: str, *, today: datetime.date, language: str = "", country: str = "") -> Any:
    """Read a text as a value of the question's type; None: it is not certain which."""
    plain = unicodedata.normalize("NFKC", text).strip()
    if not plain:
        return None
    own = language.replace("_", "-").lower().partition("-")[0]
    if question.type == "order":
        # What a text does to an order hangs on how that stands (ordering.py).
        return None
    if question.type == "text":
        return plain if len(plain) <= question.longest else None
    if question.type == "yes_no":
        found = yes_or_no(plain, own)
        return yes_or_no(_HELD.sub(r"\1", plain), own) if found is None else found
    if question.type == "number":
        return _within(question, number(plain, own))
    if question.type == "date":
        return date(plain, today=today, when=question.when, language=own, country=country)
    return choice(question.choices, plain, own)


def yes_or_no(text: str, language: str = "") -> bool | None:
    """Read a yes or a no; None where it is neither, or both."""
    signs = [_sign(text, name) for name in ("yes", "no")]
    tokens = tokens_of(text)
    if any(signs) and not (all(signs) or tokens):
        return signs[0]
    if not tokens:
        return None
    known = languages()
    for some in ([known[language]] if language in known else [], list(known.values())):
        yes = _begins(tokens, (words_ for one in some for words_ in one.yes))
        no = _begins(tokens, (words_ for one in some for words_ in one.no))
        # The longer one is meant: "no" of "non" is nothing, "si claro" begins with "si".
        if yes != no:
            return _unless_turned(tokens, yes > no, some, yes if yes > no else no)
        if yes:
            # The same words mean both, in two languages or by a slip.
            return None
    return None


def _begins(tokens: tuple[str, ...], some: Iterable[tuple[str, ...]]) -> int:
    """How many tokens of a text are the longest of some words that it begins with; without spaces, letters."""
    longest = 0
    for one in some:
        if tokens[: len(one)] == one and len(one) > longest:
            longest = len(one)
    return longest


def _unless_turned(tokens: tuple[str, ...], is_yes: bool, some: Sequence[Language], taken: int) -> bool | None:
    """Take back a yes or a no that the rest of a short text contradicts: "yes no", "no, yes"."""
    rest = tokens[taken:]
    others = {words_ for one in some for words_ in (one.no if is_yes else one.yes) if len(words_) == 1}
    strong = {words_ for words_ in others if len(words_[0]) > 1}
    # "No, I do want" is a no; "yes, no problem" a yes: only what is said alone behind it takes it back.
    if len(rest) == 1 and (rest[0],) in strong:
        return None
    return is_yes


def number(text: str, language: str = "") -> float | int | None:
    """Read the one number of a text, in digits or in words; None where there is none, or more than one."""
    plain = _decimal(_NUMBER_SIGN.sub("", text))
    found = [match[0] for match in _DIGITS.finditer(plain)]
    if found:
        return _value(found[0], _is_comma(language)) if len(found) == 1 else None
    tokens = tokens_of(plain)
    known = languages()
    for of in ([known[language]] if language in known else [], list(known.values())):
        # Whose words say most of it; "cinco" alone is of two languages, and the same in both.
        said = [_spoken(tokens, one.numbers) for one in of]
        most = max((covered for _, covered in said), default=0)
        values = {tuple(some) for some, covered in said if covered == most} if most else set()
        if len(values) == 1 and len(only := values.pop()) == 1:
            return -only[0] if tokens[0] in _MINUS else only[0]
        if most:
            return None
    return None


_MINUS = frozenset(("minus", "moins", "menos", "meno", "min", "минус"))


def _spoken(tokens: tuple[str, ...], numbers: Mapping[tuple[str, ...], int]) -> tuple[list[int], int]:
    """The numbers among words, the longest words of each first, and how many tokens they are."""
    found, covered, at = [], 0, 0
    while at < len(tokens):
        for end in range(min(len(tokens), at + 5), at, -1):
            value = numbers.get(tokens[at:end])
            if value is not None:
                found.append(value)
                covered += end - at
                at = end
                break
        else:
            at += 1
    return found, covered


def _value(digits: str, is_comma: bool) -> float | int | None:
    """A number in digits, by what parts thousands and decimals in it; where it may be both, by the language."""
    sign = -1 if digits[0] in "-−" else 1
    body = digits.lstrip("-−")
    marks = [character for character in body if not character.isdecimal()]
    last = marks[-1] if marks else ""
    whole, decimals = body, ""
    if last and last in ".,":
        head, _, tail = body.rpartition(last)
        is_alone = marks.count(last) == 1
        mixed = len(set(marks)) > 1
        # 1.234,5 and 12,50; but of 1.234 and 1,234 the language says.
        if is_alone and (mixed or len(tail) != 3 or (last == ",") == is_comma or head.lstrip("0") == ""):
            whole, decimals = head, tail
    value = "".join(character for character in whole if character.isdecimal())
    if decimals and int(decimals):
        return sign * float(f"{value}.{decimals}")
    return sign * int(value) if len(value) <= 15 else None


def _within(question: Question, value: float | int | None) -> float | int | None:
    if value is None or (question.whole and value != int(value)):
        return None
    if question.least is not None and value < question.least:
        return None
    return None if question.most is not None and value > question.most else value


def choice(choices: Sequence[Choice], text: str, language: str = "") -> str | None:
    """Read which choice is meant: by name, by number, by letter, by a name in a sentence or one that is nearly so."""
    tokens = tokens_of(_decimal(text))
    by_name = {tokens_of(_decimal(name)): one.value for one in choices for name in one.names}
    if not tokens:
        return None
    if tokens in by_name:
        return by_name[tokens]
    if (joined := {"".join(name): value for name, value in by_name.items()}).get("".join(tokens)):
        return joined["".join(tokens)]
    if named := _named(by_name, tokens):
        return next(iter(named)) if len(named) == 1 and not _is_turned(tokens) else None
    if (place := _place(tokens, len(choices), language)) is not None:
        return choices[place].value
    return None if _is_turned(tokens) else _nearest(by_name, tokens)


def _place(tokens: tuple[str, ...], count: int, language: str) -> int | None:
    """Which of the choices is meant by its place: 2, "number two", "b", "option B"."""
    some = [token for token in tokens if token not in _ABOUT]
    if len(some) == 1 and len(some[0]) == 1 and "a" <= some[0] <= "z":
        at = ord(some[0]) - ord("a")
        return at if at < count else None
    digits = [token for token in tokens if token.isascii() and token.isdecimal()]
    if len(digits) == 1 and len(digits[0]) < 4:
        return int(digits[0]) - 1 if 1 <= int(digits[0]) <= count else None
    if digits or len(some) > 2:
        return None
    value = number(" ".join(some), language)
    return int(value) - 1 if value is not None and value == int(value) and 1 <= value <= count else None


_ABOUT = frozenset(
    "option answer number the letter choice please pick choose take antwort nummer option reponse numero opcion opcao "
    "respuesta letra scelta lettera keuze antwoord wybieram opcja optiunea my is it i".split()
)


def _named(by_name: Mapping[tuple[str, ...], str], tokens: tuple[str, ...]) -> set[str]:
    """The choices whose names stand in a text; a name within a longer one that stands there does not count."""
    found: dict[tuple[int, int], str] = {}
    for name, value in by_name.items():
        if len(name) == 1 and len(name[0]) < 2:
            continue
        for at in range(len(tokens) - len(name) + 1):
            if tokens[at : at + len(name)] == name:
                found[at, at + len(name)] = value
    outer = [
        span for span in found
        if not any(other != span and other[0] <= span[0] and span[1] <= other[1] for other in found)
    ]  # fmt: skip
    if not outer and len(tokens) == 1 and not tokens[0].isascii():
        # Without spaces between words.
        inside = {value for name, value in by_name.items() if len(name[0]) > 1 and "".join(name) in tokens[0]}
        return inside
    return {found[span] for span in outer}


def _nearest(by_name: Mapping[tuple[str, ...], str], tokens: tuple[str, ...]) -> str | None:
    """The one choice that is a slip or two away; None where two are as near."""
    said = " ".join(tokens)
    best: dict[str, int] = {}
    for name, value in by_name.items():
        label = " ".join(name)
        longest = 2 if len(label) >= _TWO_NEAR else 1 if len(label) >= _SMALLEST_NEAR else 0
        near = min((distance(said, label, longest), *(distance(one, label, longest) for one in tokens)))
        if near <= longest and near < best.get(value, longest + 1):
            best[value] = near
    if not best:
        return None
    least = min(best.values())
    nearest = [value for value, near in best.items() if near == least]
    return nearest[0] if len(nearest) == 1 else None


def distance(one: str, other: str, most: int) -> int:
    """Count the slips between two words (Damerau: a letter more, less, another, two changed); at most `most` + 1."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        last, row = row, [at]
        for place, wanted in enumerate(other, 1):
            cost = min(last[place] + 1, row[place - 1] + 1, last[place - 1] + (letter != wanted))
            if at > 1 and place > 1 and letter == other[place - 2] and one[at - 2] == wanted:
                cost = min(cost, before[place - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
        before = last
    return min(row[-1], most + 1)


def _is_turned(tokens: tuple[str, ...]) -> bool:
    """Whether a text says no to what it names."""
    return any((token,) in one.no for one in languages().values() for token in tokens if len(token) > 1)


def date(
    text: str, *, today: datetime.date, when: str = "future", language: str = "", country: str = ""
) -> datetime.date | None:
    """Read the one day of a text; None where there is none, or it may be two.

    when  a year that is not said, or said with two digits: that of the next such day, or of the last
    """
    plain = _decimal(text)
    if match := _ISO.search(plain):
        return _day(int(match[1]), int(match[2]), int(match[3]), today, when)
    if match := _CJK.search(plain):
        return _day(int(match[1] or 0), int(match[2]), int(match[3]), today, when, len(match[1] or ""))
    tokens = tokens_of(plain)
    named = _named_month(tokens, language)
    if named is not None:
        return _of_month(tokens, *named, today, when)
    if match := _TOGETHER.search(plain):
        digits = match[1]
        if 1900 <= int(digits[:4]) <= 2999 and int(digits[4:6]) <= 12:
            return _day(int(digits[:4]), int(digits[4:6]), int(digits[6:]), today, when)
        first, second, year = int(digits[:2]), int(digits[2:4]), int(digits[4:])
        return _ordered(first, second, year, 4, today, when, country)
    if match := _NUMERIC.search(plain):
        if _NUMERIC.search(plain, match.end()):
            return None
        first, second = int(match[1]), int(match[2])
        if len(match[1]) == 3 or (len(match[1]) == 4 and match[3] is None):
            return None
        is_year_first = country in YEAR_FIRST or (not country and language in _YEAR_FIRST_LANGUAGES)
        if match[3] is not None and (len(match[1]) == 4 or (is_year_first and len(match[3]) == 2)):
            return _day(first, second, int(match[3]), today, when, len(match[1]))
        if is_year_first and match[3] is None:
            return _day(0, first, second, today, when)
        return _ordered(first, second, int(match[3] or 0), len(match[3] or ""), today, when, country)
    return _spoken_day(tokens, today, when, language)


def _ordered(
    first: int, second: int, year: int, digits: int, today: datetime.date, when: str, country: str
) -> datetime.date | None:
    month, day = (first, second) if country in MONTH_FIRST else (second, first)
    if month > 12 >= day:
        month, day = day, month
    return _day(year, month, day, today, when, digits)


def _named_month(tokens: tuple[str, ...], language: str) -> tuple[int, int] | None:
    """(place of the token, month) of the one month that is named; None: none, or several."""
    known = languages()
    for some in ([known[language]] if language in known else [], list(known.values())):
        found = []
        for at, token in enumerate(tokens):
            months = {one.months[token] for one in some if token in one.months}
            if len(months) == 1:
                found.append((at, months.pop()))
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _of_month(tokens: tuple[str, ...], at: int, month: int, today: datetime.date, when: str) -> datetime.date | None:
    numbers = []
    for token in (*tokens[:at], *tokens[at + 1 :]):
        if match := _ORDINAL.fullmatch(token):
            numbers.append((int(match[1]), len(match[1])))
        elif token.isdecimal():
            numbers.append((int(token), len(token)))
    days = [one for one, digits in numbers if digits <= 2 and 1 <= one <= 31]
    years = [one for one, digits in numbers if digits == 4]
    if len(days) == 1 and len(years) <= 1 and len(numbers) == len(days) + len(years):
        return _day(years[0] if years else 0, month, days[0], today, when, 4 if years else 0)
    if len(numbers) == 2 and not years:
        # "3 March 85": the day comes first, whoever writes it.
        return _day(numbers[1][0], month, numbers[0][0], today, when, 2)
    return None


def _spoken_day(tokens: tuple[str, ...], today: datetime.date, when: str, language: str) -> datetime.date | None:
    known = languages()
    for some in ([known[language]] if language in known else [], list(known.values())):
        shifts = {
            shift for one in some for name, shift in one.days.items()
            if any(tokens[at : at + len(name)] == name for at in range(len(tokens)))
        }  # fmt: skip
        if len(shifts) == 1:
            return today + datetime.timedelta(days=shifts.pop())
        weekdays = {one.weekdays[token] for one in some for token in tokens if token in one.weekdays}
        if len(weekdays) == 1 and not shifts:
            ahead = (weekdays.pop() - today.weekday()) % 7
            return today + datetime.timedelta(days=(ahead or 7) if when == "future" else (ahead or 7) - 7)
        if shifts or weekdays:
            return None
    return None


def _day(year: int, month: int, day: int, today: datetime.date, when: str, digits: int = 4) -> datetime.date | None:
    """Make a day of its parts; year 0 = not said; digits of it as they were written."""
    if year > 2400:
        year -= _BUDDHIST
    if digits == 2 and year:
        return _nearest_year(range(today.year // 100 * 100 - 100 + year, 3000, 100), month, day, today, when)
    if not year:
        return _nearest_year(range(today.year - 8, today.year + 9), month, day, today, when)
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def _nearest_year(years: Iterable[int], month: int, day: int, today: datetime.date, when: str) -> datetime.date | None:
    """The first such day from today on, or the last one up to today."""
    found = None
    for year in years:
        try:
            made = datetime.date(year, month, day)
        except ValueError:
            continue
        if when == "future" and made >= today:
            return made
        if when == "past" and made <= today:
            found = made
    return found


def _decimal(text: str) -> str:
    """Digits of any script as ours, those of CJK months and words parted by nothing stay."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in plain)


def _sign(text: str, name: str) -> bool:
    return any(sign in text for sign in _signs()[name])


def _is_comma(language: str) -> bool:
    known = languages().get(language)
    return known is not None and known.comma


@functools.cache
def _document() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@functools.cache
def _signs() -> Mapping[str, tuple[str, ...]]:
    signs: Mapping[str, str] = _document()["EMOJI"]
    return {name: tuple(text.split()) for name, text in signs.items()}


@functools.cache
def languages() -> Mapping[str, Language]:
    """Every language there is."""
    confirming = yes_by_language()
    made = {}
    for name, one in _document()["languages"].items():
        yes = (*one["yes"], *confirming.get(name, ()))
        no = _folded(one["no"])
        made[name] = Language(
            yes=_folded(yes) - no,
            no=no,
            numbers=_numbers(one),
            months=_months(one),
            days={tokens_of(text): shift for shift, text in enumerate(one.get("days", ()), -1) if text},
            weekdays={tokens_of(text)[0]: at for at, text in enumerate(one.get("weekdays", ()))},
            comma=one.get("comma", False),
        )
    return made


def _folded(texts: Iterable[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(tokens_of(text) for text in texts) - {()}


def _months(one: Mapping[str, Any]) -> Mapping[str, int]:
    """Months by every beginning of three letters and more that no other month has."""
    names = [(tokens_of(text)[0], at) for at, text in enumerate(one.get("months", ()), 1)]
    names += [(tokens_of(text)[0], at) for text, at in one.get("months_more", {}).items()]
    found: dict[str, set[int]] = {}
    for name, month in names:
        for end in range(min(3, len(name)), len(name) + 1):
            found.setdefault(name[:end], set()).add(month)
    whole = dict(names)
    return {name: months.pop() for name, months in found.items() if len(months) == 1} | whole


def _numbers(one: Mapping[str, Any]) -> Mapping[tuple[str, ...], int]:
    """Numbers in words, 0 to 100, as a language builds them."""
    units = list(one.get("units", ()))
    found = {tokens_of(text): value for value, text in enumerate(units)}
    tens = one.get("tens", ())
    joins = one.get("and", [""])
    style = one.get("style", "apart")
    for at, ten in enumerate(tens, 2):
        if style != "score" or at not in (7, 9):
            found[tokens_of(ten)] = 10 * at
        last = 20 if style == "score" and at in (7, 9) else 10
        for unit in range(0 if style == "score" else 1, last):
            if style == "score" and at in (7, 9) and unit < 10:
                continue
            value = 10 * at + (unit - 10 if style == "score" and at in (7, 9) else unit)
            if style == "score" and unit == 0:
                continue
            for join in joins:
                found[tokens_of(_joined(style, ten, units[unit], join))] = value
    if style == "score" and tens:
        found[tokens_of("quatre vingts")] = 80
    found |= {tokens_of(text): value for text, value in one.get("more", {}).items()}
    found |= {tokens_of(text): 100 for text in one.get("hundred", ())}
    found.pop((), None)
    return found


def _joined(style: str, ten: str, unit: str, join: str) -> str:
    if style == "unit_first":
        return f"{unit}{join}{ten}"
    if style == "fused":
        return f"{ten}{unit}"
    return f"{ten} {join} {unit}"
