"""What a text says of an offer's end, held against when its codes end: an end that is not true is an error (S1.23).

    "Only 48 hours!" with life = "24h"      the text promises more than there is
    "only today" with life = "48h"          the text presses more than is true
    no end in the text                      a note: whoever is to come back wants to know until when

Lengths of time are read in the languages below, days and hours as they are told; dates are those of `until`, as digits.
A text that gives the end by a field ({{ coupon.expires }}) is true by itself.
Not here: what else is wrong with a text (the linter), when a code ends (gateway/coupon.py).
"""

import re
from datetime import timedelta

from gateway.coupon import Coupon
from gateway.routing import Problem

# What stands behind a number: words of Latin letters (English, German, French, Spanish, Italian, Portuguese, Dutch,
# Polish), which end there, and those of Korean and Japanese, which need not.
_UNITS: tuple[tuple[str, str, timedelta], ...] = (
    ("min|minutes?|minuten|minutos?|minut[iy]?|minuto", "분|分", timedelta(minutes=1)),
    ("h|hrs?|hours?|stunden?|std|heures?|horas?|or[ae]|uur|uren|godzin[ay]?|godz", "시간|時間", timedelta(hours=1)),
    ("d|days?|tage?n?|jours?|d[ií]as?|giorn[io]|dagen|dag|dni|dzień", "일|日", timedelta(days=1)),
    ("weeks?|wochen?|semaines?|semanas?|settiman[ae]|weken|tygodnie|tydzień", "주|週", timedelta(weeks=1)),
)
_WORDS = "|".join(f"(?P<u{at}>(?:{latin})(?!\\w)|{other})" for at, (latin, other, _) in enumerate(_UNITS))
_TOLD = re.compile(rf"(?<![\w.,])(\d{{1,3}})[\s\u00a0-]*(?:{_WORDS})", re.IGNORECASE)
_TODAY = re.compile(
    r"\b(?:only today|today only|nur heute|heute nur|(?:seulement|uniquement) aujourd'hui|aujourd'hui seulement|"
    r"s[oó]lo (?:por )?hoy|hoy s[oó]lo|solo (?:per )?oggi|só hoje|alleen vandaag|tylko dzi[sś])\b|"
    r"오늘만|本日限り|今日だけ",
    re.IGNORECASE,
)
# A length that is none of the offer's: how fast somebody delivers, how old something is, a time of day.
_OTHER = re.compile(
    r"(?:deliver\w*|ship\w*|arriv\w*|liefer\w*|versand\w*|livr\w*|env[ií]\w*|consegn\w*|return\w*|rückgabe|since|seit|ago|"
    r"guarantee|garantie)\W+(?:\w+\W+){0,3}$",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?<!\d)(?:(\d{4})-(\d{1,2})-(\d{1,2})|(\d{1,2})[./](\d{1,2})(?:[./](\d{2,4}))?)(?!\d)")
_FIELD = re.compile(r"\{\{[^{}]*expires[^{}]*\}\}|\{[^{}]*expires[^{}]*\}", re.IGNORECASE)


def told_spans(text: str) -> list[tuple[str, timedelta]]:
    """Find the lengths of time that a text gives for its offer, as written."""
    found = []
    for one in _TOLD.finditer(text):
        if _OTHER.search(text[max(0, one.start() - 40) : one.start()]):
            continue
        unit = next(span for at, (_, _, span) in enumerate(_UNITS) if one[f"u{at}"])
        found.append((one[0], int(one[1]) * unit))
    return found


def deadline_problems(key: str, text: str, coupon: Coupon) -> list[Problem]:
    """Say where a text gives another end than the codes have; [] = it is true."""
    problems: list[Problem] = []
    life = coupon.span
    for written, span in told_spans(text):
        if life is None:
            if coupon.ends_at is None:
                problems.append((key, f"{written!r} and codes that end: life = …", "codes without an end"))
        elif span != life:
            problems.append((key, f"the life of its codes, {coupon.life}", repr(written)))
    if (today := _TODAY.search(text)) and life is not None and life > timedelta(days=1):
        problems.append((key, f"the life of its codes, {coupon.life}", repr(today[0])))
    end = coupon.ends_at
    if end is not None:
        for one in _DATE.finditer(text):
            if not _is_day_of(one, coupon):
                problems.append((key, f"the end of its offer, {coupon.until}", repr(one[0])))
    return problems


def has_deadline(text: str) -> bool:
    """Whether a text gives an end at all: by a length, a date, or a field of the code."""
    return bool(told_spans(text) or _TODAY.search(text) or _DATE.search(text) or _FIELD.search(text))


def _is_day_of(found: re.Match[str], coupon: Coupon) -> bool:
    """Whether a date in digits may be the day of the end, or the one before it: "until the 24th" ends at midnight."""
    end = coupon.ends_at
    assert end is not None
    if found[1]:
        days = {(int(found[2]), int(found[3]))}
        year = found[1]
    else:
        one, two = int(found[4]), int(found[5])
        # 3/4 is a day of March or of April, by where one lives.
        days = {(one, two), (two, one)}
        year = found[6] or ""
    ends = [end, end - timedelta(days=1), end + timedelta(days=1)]
    return any((day.month, day.day) in days and (not year or int(year) in (day.year, day.year % 100)) for day in ends)
