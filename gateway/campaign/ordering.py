"""What a person's words do to an order that they make by text: rule IN-10. Knows no store; time is an argument.

    offered ─ BUY 2 ─► addressing ─ where it goes ─► confirming ─ YES ─► ordering ─► ordered | sold_out | failed
       ▲        └── the address is known, or not needed ──┘  │              (the shop has answered)
       └──────────────────── NO, or there are fewer ─────────┘
    any of the first three ─► expired (its time is over), sold_out, unreadable (not understood three times: for people)

From `ordering` on nothing that is written orders again: an offer is one order at the most, whatever comes twice, late
or in another order. YES counts behind the price alone: what was written before it was told confirms nothing, and what
comes when the price does not hold any more is told it anew. NO begins another try: `nonce` of the order's key.
Data: ordering.toml, numbers and YES of answers.py.
Not here: the offer (gateway/offer.py), rows (store/orders.py), who tells the shop (automation/ordering.py).
"""

import functools
import re
import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from msgspec import Struct, structs

from gateway.campaign.answers import number, yes_or_no
from gateway.cards import MASK
from gateway.keywords import tokens_of
from gateway.offer import BUY_AFTER, OPEN, YES_AFTER, Facts, Offer, Standing

Say = Literal[
    "", "price", "ask_address", "address_again", "again", "how_many", "fewer", "sold_out", "already", "cancelled",
    "expired", "card",
]  # fmt: skip
RETRIES = 2
# What is longer is no YES to a price, but a sentence that begins with one.
_LONGEST_YES = 4
_LONGEST_NO = 3
_LONGEST_ADDRESS = 300
# Behind a word of buying, where an address is awaited: more is one.
_MORE = 2
_JOINED = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")


class Move(Struct, frozen=True, kw_only=True):
    """What follows from a text.

    say       which text of the offer; "" = nothing
    is_sure   False: it was not understood, and is another's where it means something to them
    told      an address that they told
    stock     how many there are, where there are fewer
    """

    standing: Standing
    say: Say = ""
    is_sure: bool = True
    told: str = ""
    stock: int = 0

    @property
    def needs_people(self) -> bool:
        """Somebody has to read it."""
        return self.standing.state in ("unreadable", "failed")


class Meant(Struct, frozen=True):
    """What a text means to an order. quantity 0: a number that cannot be; more: tokens behind the word of buying."""

    kind: Literal["buy", "number", "yes", "no"]
    quantity: int = 0
    more: int = 0


def meant(text: str, language: str = "", words: tuple[str, ...] = ()) -> Meant | None:
    """Read what a text means to an order; None: nothing certain."""
    spaced = _JOINED.sub(" ", text)
    tokens = tokens_of(spaced)
    if not tokens:
        sign = yes_or_no(text, language)
        return None if sign is None else Meant("yes" if sign else "no")
    some = max((one for one in (*buying(), *map(tokens_of, words)) if tokens[: len(one)] == one), key=len, default=())
    if some:
        rest = tokens[len(some) :]
        # As it is written: 2.5 are no two tokens.
        value = number(spaced, language) if rest else 1
        if value is not None:
            return Meant("buy", _quantity(value), len(rest))
        if any(c.isdecimal() for token in rest for c in token):
            return Meant("buy", 0, len(rest))
        # "Order status?" buys nothing.
        return None if "?" in text else Meant("buy", 1, len(rest))
    if len(tokens) == 1 or (len(tokens) == 2 and tokens[1] in ("x", "pcs", "times")):
        value = number(spaced, language)
        if value is not None:
            return Meant("number", _quantity(value))
    sign = yes_or_no(text, language)
    if sign and len(tokens) <= _LONGEST_YES and "?" not in text:
        return Meant("yes")
    return Meant("no") if sign is False and len(tokens) <= _LONGEST_NO else None


def hear(
    offer: Offer, standing: Standing, text: str, *, at: datetime, until: datetime, now: datetime, facts: Facts,
    language: str = "",
) -> Move | None:  # fmt: skip
    """Say what a text does to an order; None: nothing, it is about something else.

    at     when it was written
    until  the end of the offer
    """
    what = meant(text, language, offer.words)
    if standing.state not in OPEN:
        return _behind(standing, what, at)
    if at >= until:
        return expire(standing, now, says=True) if what is not None and what.kind != "no" else None
    is_place = standing.state == "addressing" and is_address(text)
    # "Al. Jerozolimskie 5, Warszawa" buys nothing, though it begins as a Turk would.
    if what is not None and what.kind == "buy" and not (is_place and what.more > _MORE):
        return _priced(offer, standing, what.quantity, facts, now)
    if standing.state == "offered":
        if what is not None and what.kind == "number":
            return _priced(offer, standing, what.quantity, facts, now)
        return Move(standing=standing) if what is not None and what.kind == "no" else None
    if MASK in text:
        return Move(standing=standing, say="card")
    if what is not None and what.kind == "no":
        left = Standing(nonce=standing.nonce + 1, at=now)
        return Move(standing=left, say="cancelled")
    if standing.state == "addressing":
        if is_place and (what is None or what.kind == "buy"):
            told = " ".join(text.split())
            asked = structs.replace(standing, state="confirming", address=told, asked_at=now, tried=0, at=now)
            return Move(standing=asked, say="price", told=told)
        return _again(standing, "address_again", now)
    if what is None:
        return _again(standing, "again", now)
    if what.kind == "number":
        return _priced(offer, standing, what.quantity, facts, now)
    return _confirmed(offer, standing, at, facts, now)


def expire(standing: Standing, now: datetime, *, says: bool = False) -> Move:
    """End what was not ordered in its time; says: somebody wants to, and is told so."""
    return Move(
        standing=structs.replace(standing, state="expired", tried=int(says), at=now), say="expired" if says else ""
    )


def key_of(conversation: int, enrolment: int, step: str, visit: int, nonce: int) -> str:
    """Name an order for good: its conversation, its offer, and which try of it."""
    return f"{conversation}:{enrolment}.{step}.{visit}:{nonce}"


def is_address(text: str) -> bool:
    """Whether a text may be an address: some words, with letters enough, and not a page of them."""
    letters = sum(c.isalnum() for c in text)
    return letters >= 6 and len(text.split()) >= 2 and len(text) <= _LONGEST_ADDRESS and "?" not in text


def _quantity(value: float | int) -> int:
    return int(value) if value == int(value) and value > 0 else 0


def _behind(standing: Standing, what: Meant | None, at: datetime) -> Move | None:
    """Say what comes of words for an order that is over, or is being made."""
    if what is None or standing.at is None or what.kind not in ("buy", "yes"):
        return None
    within = BUY_AFTER if what.kind == "buy" else YES_AFTER
    if at - standing.at > within:
        return None
    match standing.state:
        case "ordering" | "ordered":
            is_again = what.kind == "buy" and standing.state == "ordered"
            return Move(standing=standing, say="already" if is_again else "")
        case "expired" if not standing.tried:
            return Move(standing=structs.replace(standing, tried=1), say="expired")
        case "sold_out" if what.kind == "buy":
            return Move(standing=standing, say="sold_out")
    return None


def _priced(offer: Offer, standing: Standing, quantity: int, facts: Facts, now: datetime) -> Move:
    """Tell what so many come to, or why they cannot be had."""
    if not 1 <= quantity <= offer.most:
        return _again(standing, "how_many", now)
    if facts.price is None:
        return Move(standing=structs.replace(standing, state="failed", at=now))
    if (short := _short(standing, quantity, facts, now)) is not None:
        return short
    address = facts.address or standing.address
    asked = structs.replace(
        standing, quantity=quantity, price=facts.price, currency=facts.currency, name=facts.name, address=address,
        tried=0, at=now,
    )  # fmt: skip
    if offer.address and not address:
        return Move(standing=structs.replace(asked, state="addressing"), say="ask_address")
    return Move(standing=structs.replace(asked, state="confirming", asked_at=now), say="price")


def _confirmed(offer: Offer, standing: Standing, at: datetime, facts: Facts, now: datetime) -> Move:
    """Order, where the price was told before and holds, and there still are as many."""
    assert standing.asked_at is not None
    if at <= standing.asked_at:
        return Move(standing=standing)
    if at - standing.asked_at > timedelta(seconds=offer.confirm_s):
        return _priced(offer, standing, standing.quantity, facts, now)
    if (short := _short(standing, standing.quantity, facts, now)) is not None:
        return short
    return Move(standing=structs.replace(standing, state="ordering", at=now))


def _short(standing: Standing, quantity: int, facts: Facts, now: datetime) -> Move | None:
    if facts.stock is None or facts.stock >= quantity:
        return None
    if facts.stock <= 0:
        return Move(standing=structs.replace(standing, state="sold_out", at=now), say="sold_out")
    return Move(standing=structs.replace(standing, state="offered", at=now), say="fewer", stock=facts.stock)


def _again(standing: Standing, say: Say, now: datetime) -> Move:
    """Ask once more; a person reads what was not understood three times."""
    if standing.tried >= RETRIES:
        return Move(standing=structs.replace(standing, state="unreadable", at=now), is_sure=False)
    return Move(standing=structs.replace(standing, tried=standing.tried + 1), say=say, is_sure=False)


@functools.cache
def buying() -> tuple[tuple[str, ...], ...]:
    """Words of buying of every language, folded."""
    read: Mapping[str, list[str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))[
        "buy"
    ]
    return tuple(sorted({tokens_of(word) for some in read.values() for word in some}))
