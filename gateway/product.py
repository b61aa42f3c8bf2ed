"""What a shop sells, and where: a product of its feed, a shop of its list, and what an order says of what was bought.

Not here: reading feeds (gateway.contacts.feeds), who is recommended what (store/products.py).
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

Kind = Literal["rules", "together", "category", "upsell", "new", "best"]
"""What is recommended: by the feed's own `related`, what others bought with it, more of its category, the next dearer
one of it, what is new, or the first of the first three that there is."""

RESTOCKED, REPLENISH = "product_restocked", "replenishment_due"


class Product(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A product.

    price        in minor units of currency; None: not told
    supply_days  how long one lasts (S4.8)
    related      products that go with it, the best first: the shop's own rules
    stock        None: not told, which is taken for enough
    new_since    when it came into the shop
    """

    id: str
    name: str
    category: str = ""
    price: int | None = None
    currency: str = ""
    url: str = ""
    supply_days: int | None = None
    related: tuple[str, ...] = ()
    stock: int | None = None
    new_since: datetime | None = None


class Shop(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A shop that one can walk into; the one that is the default is everybody's whose place is not known."""

    id: str
    name: str
    lat: float
    lon: float
    address: str = ""
    url: str = ""
    is_default: bool = False
