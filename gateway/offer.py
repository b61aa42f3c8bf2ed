"""What a person may order by text, as documents write it: the `order` of a question of that type, rule IN-10.

    [[steps]]
    do = "ask"
    name = "beans"
    text = "Acme: your beans, 12.90 EUR a bag. Reply BUY, or BUY 2. Until Friday."
    within = "48h"
    [steps.question]
    type = "order"
    [steps.question.order]
    product = "beans-1kg"                          # of the shop's feed: name, price and stock are its own
    url = "https://shop.acme.example/orders"       # told of an order, signed, once by its key
    address = "address"                            # attribute: where it goes; who has none is asked

What is said on the way has words here, by language; {{ fields }} stand for what is ordered. The number of a card is
asked for by none of them: whoever cannot be charged pays behind a link of the shop.
Not here: what a person's answer means (campaign/ordering.py), who tells the shop (automation/ordering.py).
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal, TypeAlias, get_args

from msgspec import Meta, Struct

from gateway.keywords import tokens_of
from gateway.person import major_units
from gateway.routing import Problem

Texts: TypeAlias = str | dict[str, str]
Attribute = Annotated[str, Meta(max_length=64, pattern=r"^([A-Za-z][A-Za-z0-9_.-]*)?$")]
State = Literal[
    "offered", "addressing", "confirming", "ordering", "ordered", "sold_out", "failed", "expired", "unreadable"
]
STATES: tuple[State, ...] = get_args(State)
OPEN: frozenset[State] = frozenset(("offered", "addressing", "confirming"))
# Words of an order that is over mean it for so long: BUY, and YES.
BUY_AFTER, YES_AFTER = timedelta(days=7), timedelta(days=1)
_FIELD = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
FIELDS = ("quantity", "name", "price", "total", "address", "order", "url", "most", "stock")
# Of an order that is only known behind it.
_LATE = {"order": ("ordered", "pay"), "url": ("pay",), "stock": ("fewer",)}


class Says(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is said, by what it follows.

    price      BUY: what it comes to, and that YES orders it; price_to: and it goes to an address
    ask_address, address_again  nobody knows where it goes; what came was none
    again      neither YES nor NO nor another number
    how_many   a number that cannot be ordered
    fewer, sold_out  there are not as many, or none
    ordered, pay, already, failed  it is ordered; it is and is to be paid; it was before; the shop says no
    cancelled, expired, card  NO; the offer is over; they wrote the number of a card
    """

    price: Texts = "{{ quantity }} x {{ name }}: {{ total }}. Reply YES to order or NO to leave it."
    price_to: Texts = (
        "{{ quantity }} x {{ name }}: {{ total }}, to {{ address }}. Reply YES to order or NO to leave it."
    )
    ask_address: Texts = "Where shall we send it? Reply with street, number and town."
    address_again: Texts = "Please reply with the whole address: street, number and town. NO leaves it."
    again: Texts = "Sorry, we did not get that. Reply YES to order {{ quantity }} x {{ name }} for {{ total }}, or NO."
    how_many: Texts = "You can order 1 to {{ most }}. Reply BUY and how many."
    fewer: Texts = "Only {{ stock }} left. Reply BUY and how many."
    sold_out: Texts = "Sorry, {{ name }} is sold out. Nothing was ordered."
    ordered: Texts = "Thank you. Your order {{ order }}: {{ quantity }} x {{ name }}, {{ total }}."
    pay: Texts = "Thank you. Your order {{ order }}, {{ total }}, is sent once you have paid here: {{ url }}"
    already: Texts = "You have ordered already; nothing was ordered again."
    failed: Texts = "Sorry, your order could not be placed. Somebody of us will write to you."
    cancelled: Texts = "All right, nothing was ordered."
    expired: Texts = "Sorry, this offer is over. Nothing was ordered."
    card: Texts = "Please never send card numbers by text. Nothing was charged."


class Offer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is offered, and how it is ordered.

    product    its id in the shop's feed; "" = it is in none: name, price and currency are said here
    name, price, currency  in place of the feed's; price of one, in minor units
    url        which system is told of an order
    most       how many one order may have
    words      of buying, beside those of every language
    address    attribute of the person with their address, written too when they tell it; "" = nothing is delivered
    payment    attribute of who can be charged by the shop; "" = everybody; the others are sent pay_url
    pay_url    where they pay, unless the shop answers an address of its own; {{ order }} in it
    confirm_s  for how long a price holds that was told
    """

    url: Annotated[str, Meta(pattern=r"^https?://", max_length=2000)]
    product: Annotated[str, Meta(max_length=200)] = ""
    name: Texts = ""
    price: Annotated[int, Meta(ge=0, le=10**12)] | None = None
    currency: Annotated[str, Meta(pattern=r"^([A-Z]{3})?$")] = ""
    most: Annotated[int, Meta(ge=1, le=10_000)] = 10
    words: Annotated[tuple[str, ...], Meta(max_length=50)] = ()
    address: Attribute = ""
    payment: Attribute = ""
    pay_url: Annotated[str, Meta(max_length=500)] = ""
    confirm_s: Annotated[int, Meta(ge=60, le=86400)] = 900
    says: Says = Says()


class Standing(Struct, frozen=True, kw_only=True):
    """How an order stands.

    nonce     of its key: another behind each NO
    price     of one, in minor units of currency, as it was told
    address   as it was told, or is known
    asked_at  when the price was told
    tried     what was not understood since
    at        when it came to this
    """

    state: State = "offered"
    nonce: int = 1
    quantity: int = 0
    price: int = 0
    currency: str = ""
    name: str = ""
    address: str = ""
    asked_at: datetime | None = None
    tried: int = 0
    at: datetime | None = None


class Facts(Struct, frozen=True, kw_only=True):
    """What is so now. price None: nobody knows it; stock None: enough. address: of the person, "" = not known."""

    price: int | None = None
    currency: str = ""
    name: str = ""
    stock: int | None = None
    address: str = ""


def problems_of(key: str, offer: Offer) -> list[Problem]:
    """Find what the types of its values cannot say: key, expected, found."""
    problems: list[Problem] = []
    if not offer.product:
        missing = [name for name in ("name", "price", "currency") if getattr(offer, name) in ("", {}, None)]
        problems += [(f"{key}.{name}", "a value, where no product of the feed is named", "nothing") for name in missing]
    if (offer.price is None) != (not offer.currency):
        problems.append((f"{key}.currency", "with a price, and only there", repr(offer.currency)))
    if offer.payment and not offer.pay_url:
        problems.append((f"{key}.pay_url", "where somebody pays who has no payment", "nothing"))
    if offer.pay_url and not offer.pay_url.startswith("https://"):
        problems.append((f"{key}.pay_url", "https://", repr(offer.pay_url)))
    problems += [
        (f"{key}.words[{at}]", "a word with a letter in it", repr(word))
        for at, word in enumerate(offer.words)
        if not tokens_of(word)
    ]
    for name in Says.__struct_fields__:
        said: Texts = getattr(offer.says, name)
        for language, text in ({"": said} if isinstance(said, str) else said).items():
            where = f"{key}.says.{name}" + (f".{language}" if language else "")
            if not text.strip():
                problems.append((where, "a text", "nothing"))
            for match in _FIELD.finditer(text):
                if match[1] not in FIELDS or name not in _LATE.get(match[1], (name,)):
                    known = ", ".join(one for one in FIELDS if name in _LATE.get(one, (name,)))
                    problems.append((where, f"fields of {known}", match[1]))
    return problems


def written(text: str, values: Mapping[str, str]) -> str:
    """Write a text out; a field without a value is nothing."""
    return _FIELD.sub(lambda match: values.get(match[1], ""), text).strip()


def money(amount: int, currency: str) -> str:
    """Write minor units as people read them: 12.90 EUR."""
    value: Decimal = major_units(amount, currency)
    return f"{value:f} {currency}"
