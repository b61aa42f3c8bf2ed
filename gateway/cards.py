"""Numbers of payment cards in what people write, so that none is kept or answered to: rule IN-10.

What looks like one: as many digits as its issuer's cards have, begun as they begin, with a right check digit (ISO/IEC
7812), in groups or together; and the three or four digits behind the name of a security code. The last four stay, so
that a person knows which card was meant.
Not here: who writes texts anew (store/conversations.py).
"""

import re
import unicodedata

# First digits and lengths: Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay, Maestro.
_ISSUERS = tuple(
    (re.compile(pattern), lengths)
    for pattern, lengths in (
        ("4", (13, 16, 19)), ("5[1-5]|2(?:2[2-9]|[3-6]|7[01]|720)", (16,)), ("3[47]", (15,)),
        ("3(?:0[0-5]|[689])", (14, 16, 19)), ("6(?:011|4[4-9]|5)", (16, 17, 18, 19)),
        ("35(?:2[89]|[3-8])", (16, 17, 18, 19)), ("62|81", (16, 17, 18, 19)), ("50|5[6-9]|6", (16, 17, 18, 19)),
    )
)  # fmt: skip
_GROUPS = re.compile(r"\d+(?:[ \-.\u00a0\u2009\u202f/]{1,2}\d+)*")
_CODE = re.compile(r"\b(?:cvv2?|cvc2?|csc|cid|security code)\W{0,3}(?:is\W{0,2})?(\d{3,4})(?!\d)", re.IGNORECASE)
_MOST_DIGITS = 19
MASK = "•"


def masked(text: str) -> str:
    """Write a text without the numbers of cards in it; the same text where there are none."""
    plain = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    hidden: set[int] = set()
    for match in _GROUPS.finditer(plain):
        hidden |= _cards(match[0], match.start())
    for code in _CODE.finditer(plain):
        hidden |= set(range(*code.span(1)))
    return "".join(MASK if at in hidden else character for at, character in enumerate(text)) if hidden else text


def has_card(text: str) -> bool:
    """Whether a text has the number of a card in it."""
    return masked(text) != text


def _cards(groups: str, start: int) -> set[int]:
    """Places of digits to be hidden: of groups side by side that are a card together."""
    spans = [match.span() for match in re.finditer(r"\d+", groups)]
    hidden: set[int] = set()
    for first in range(len(spans)):
        places: list[int] = []
        for begin, end in spans[first:]:
            places += range(begin, end)
            if len(places) > _MOST_DIGITS:
                break
            if _is_card("".join(groups[at] for at in places)):
                hidden |= {start + at for at in places[:-4]}
    return hidden


def _is_card(digits: str) -> bool:
    if not any(len(digits) in lengths and begin.match(digits) for begin, lengths in _ISSUERS):
        return False
    total = 0
    for at, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + at % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
