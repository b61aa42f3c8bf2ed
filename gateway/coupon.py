"""Offers: what a code gives, whose codes they are, how long one lives, and how the generator's are made.

    [coupons.winback]
    kind = "pool"                                       static | pool | generator
    discount = {fixed = "10.00", currency = "GBP", minimum = "50.00"}
    life = "48h"                                        from the moment its message was sent
    url = "https://shop.example/discount/{code}"        where a click applies it

A static code is the same for all, so its end is a date. A pool's codes are the shop's, imported; a generator makes its
own, each once: numbers 0, 1, 2 … go through a keyed permutation of all codes of that form, so that no two are alike,
and who knows some of them finds no other.
Not here: who holds which code (store/coupons.py), what a text says of it (campaign/coupons.py).
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from msgspec import Meta, Struct

from gateway.predicate import TIME_FORM, time_in
from gateway.routing import Problem

Kind = Literal["static", "pool", "generator"]
Amount = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,3})?$")]
# Neither 0 nor O, 1 nor I or L: people type them off a screen.
ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
# Of so many codes that somebody guesses, one in a hundred million times the pool is somebody's.
LEAST_CODES = 10**8
MOST_CODES = 2**62
MOST_CHARACTERS = 64
# Shops take a code in small letters and in capitals: it is one code, however it is written.
_CODE = re.compile(rf"[\x21-\x7e]{{1,{MOST_CHARACTERS}}}")
_SPAN = re.compile(r"(\d{1,4})(min|h|d|w)")
_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
LONGEST = timedelta(days=3660)
_ROUNDS = 4


class State(IntEnum):
    """What became of a code: free ─► reserved ─► issued ─► redeemed | expired | void; free again if it was not sent."""

    FREE = 0
    RESERVED = 1
    ISSUED = 2
    REDEEMED = 3
    EXPIRED = 4
    VOID = 5


class Discount(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a code gives: a share, an amount of a currency, or the carriage; of a basket of `minimum` at least."""

    percent: Annotated[float, Meta(gt=0, le=100)] | None = None
    fixed: Amount | None = None
    free_shipping: bool = False
    currency: Annotated[str, Meta(pattern="^([A-Z]{3})?$")] = ""
    minimum: Amount | None = None

    @property
    def words(self) -> str:
        """How people write it: `20 %`, `10.00 GBP over 50.00`, `free shipping`."""
        if self.percent is not None:
            text = f"{self.percent:g} %"
        else:
            text = f"{self.fixed} {self.currency}".rstrip() if self.fixed is not None else "free shipping"
        if self.minimum is None:
            return text
        return f"{text} over {self.minimum}" + (f" {self.currency}" if self.fixed is None else "")


class Coupon(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An offer, as a document has it; its name is its key there, and that of its pool.

    code      of a static one
    discount  what it gives; nothing: the shop alone knows
    life      from the sending on: 48h, 7d; a code that was sent is refused afterwards
    until     a time after which none is taken, and none given away
    url       where a click applies the code, with {code} in it
    alphabet, length, prefix   of codes that are made
    """

    kind: Kind
    code: str = ""
    discount: Discount | None = None
    life: str = ""
    until: str = ""
    url: str = ""
    alphabet: str = ALPHABET
    length: Annotated[int, Meta(ge=4, le=40)] = 8
    prefix: str = ""

    @property
    def span(self) -> timedelta | None:
        """How long a code lives from its sending on; None: as long as the offer."""
        return span_of(self.life) if self.life else None

    @property
    def ends_at(self) -> datetime | None:
        """When the offer is over for all."""
        return time_in(self.until) if self.until else None

    def expires_at(self, sent_at: datetime) -> datetime | None:
        """When a code ends that is sent at a moment; None: never (TP-5, S1.12)."""
        span, end = self.span, self.ends_at
        own = None if span is None else sent_at + span
        return own if end is None else end if own is None else min(own, end)

    def is_over(self, now: datetime) -> bool:
        """Whether none is given away any more."""
        return self.ends_at is not None and self.ends_at <= now

    def url_of(self, code: str) -> str:
        """Where a click applies the code (S1.20); "": nowhere."""
        return self.url.replace("{code}", quote(code, safe=""))

    @property
    def codes(self) -> int:
        """How many codes the generator has."""
        return int(len(self.alphabet) ** self.length)


def span_of(text: str) -> timedelta:
    """Read a length of time: 90min, 48h, 7d, 2w.

    raises  ValueError
    """
    found = _SPAN.fullmatch(text)
    span = int(found[1]) * _UNITS[found[2]] if found else timedelta(0)
    if not timedelta(0) < span <= LONGEST:
        raise ValueError(f"expected a length such as 90min, 48h or 7d, at most ten years, found {text!r}")
    return span


def code_of(text: str) -> str | None:
    """Read a code as a file or a person writes it; None: it is none."""
    text = text.strip()
    return text if _CODE.fullmatch(text) else None


def problems_of(key: str, coupon: Coupon) -> list[Problem]:
    """Say what is wrong with an offer whose parts are well-formed: key, expected, found."""
    problems: list[Problem] = []
    _check_codes(key, coupon, problems)
    if coupon.life:
        if coupon.kind == "static":
            problems.append((f"{key}.life", "an end for all in `until`: all have the same code", repr(coupon.life)))
        try:
            span_of(coupon.life)
        except ValueError as error:
            problems.append(
                (f"{key}.life", str(error).partition(", found ")[0].removeprefix("expected "), repr(coupon.life))
            )
    if coupon.until and not re.match(TIME_FORM, coupon.until):
        problems.append((f"{key}.until", "a time such as 2026-12-24T23:59:59Z, or a date", repr(coupon.until)))
    if coupon.url:
        try:
            parts = urlsplit(coupon.url)
            is_url = parts.scheme == "https" and bool(parts.hostname) and not re.search(r"\s", coupon.url)
        except ValueError:
            is_url = False
        if not is_url or coupon.url.count("{code}") != 1 or "{code}" in coupon.url.split("/", 3)[2]:
            problems.append((f"{key}.url", "https://…, with {code} once behind the host", repr(coupon.url)))
    if coupon.discount is not None:
        problems += _problems_of_discount(f"{key}.discount", coupon.discount)
    return problems


def _check_codes(key: str, coupon: Coupon, problems: list[Problem]) -> None:
    if coupon.kind == "static":
        if code_of(coupon.code) != coupon.code:
            wanted = f"the code, of 1 to {MOST_CHARACTERS} printable characters of ASCII without blanks"
            problems.append((f"{key}.code", wanted, repr(coupon.code)))
    elif coupon.code:
        problems.append((f"{key}.code", f"none: a {coupon.kind} has many", repr(coupon.code)))
    if coupon.kind != "generator":
        for name, default in (("alphabet", ALPHABET), ("length", 8), ("prefix", "")):
            if (found := getattr(coupon, name)) != default:
                problems.append((f"{key}.{name}", "a generator's kind, which alone makes codes", repr(found)))
        return
    letters = coupon.alphabet.upper()
    if not (coupon.alphabet.isascii() and coupon.alphabet.isalnum()) or len(set(letters)) != len(letters):
        problems.append(
            (f"{key}.alphabet", "letters and digits, each once in small letters or capitals", repr(coupon.alphabet))
        )
    elif not LEAST_CODES <= coupon.codes <= MOST_CODES:
        problems.append(
            (f"{key}.length", f"so long that there are {LEAST_CODES:,} codes, and fewer than 2^62", str(coupon.length))
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,20}", coupon.prefix):
        problems.append((f"{key}.prefix", "at most 20 letters, digits, - and _", repr(coupon.prefix)))


def _problems_of_discount(key: str, one: Discount) -> list[Problem]:
    problems = []
    given = [name for name in ("percent", "fixed", "free_shipping") if getattr(one, name)]
    if len(given) != 1:
        problems.append((key, "one of percent, fixed and free_shipping", " and ".join(given) or "none"))
    if (one.fixed is not None or one.minimum is not None) and not one.currency:
        problems.append((f"{key}.currency", "the currency of the amount, such as GBP", "none"))
    if one.fixed is not None and Decimal(one.fixed) == 0:
        problems.append((f"{key}.fixed", "more than nothing", repr(one.fixed)))
    if one.fixed is not None and one.minimum is not None and Decimal(one.minimum) < Decimal(one.fixed):
        problems.append((f"{key}.minimum", f"a basket of {one.fixed} at least", repr(one.minimum)))
    return problems


def code_number(coupon: Coupon, secret: bytes, number: int) -> str:
    """Make the generator's code of a number; no two numbers below `coupon.codes` have the same.

    A Feistel network of four rounds permutes all numbers of so many bits; one that falls outside is put through again
    until it falls inside (cycle walking), which keeps it a permutation of the codes.
    """
    if not 0 <= number < coupon.codes:
        raise ValueError(f"number: expected 0 to {coupon.codes - 1}, found {number}")
    half = max(1, ((coupon.codes - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = number >> half, number & mask
        for turn in range(_ROUNDS):
            mixed = hashlib.blake2b(turn.to_bytes(1, "big") + right.to_bytes(8, "big"), key=secret, digest_size=8)
            left, right = right, left ^ int.from_bytes(mixed.digest(), "big") & mask
        number = left << half | right
        if number < coupon.codes:
            break
    letters = []
    for _ in range(coupon.length):
        number, at = divmod(number, len(coupon.alphabet))
        letters.append(coupon.alphabet[at])
    return coupon.prefix + "".join(letters)


def sample_of(coupon: Coupon, longest: int) -> str:
    """A code that is nobody's, as long as the longest: for previews and tests of a text (TP-8, TP-13)."""
    if coupon.kind == "static":
        return coupon.code
    if coupon.kind == "generator":
        return coupon.prefix + coupon.alphabet[0] * coupon.length
    return "X" * max(1, longest)


def codes_told(properties: Mapping[str, object]) -> list[str]:
    """The codes that an event names: `coupon`, `coupon_code`, or `discount_codes` as shops list them."""
    told: list[object] = []
    for name in ("coupon", "coupon_code", "discount_code", "discount_codes", "coupons"):
        value = properties.get(name)
        told += value if isinstance(value, list) else [value]
    found = []
    for one in told:
        text = one.get("code") if isinstance(one, Mapping) else one
        if isinstance(text, str) and (code := code_of(text)) is not None:
            found.append(code)
    return list(dict.fromkeys(found))[:20]
