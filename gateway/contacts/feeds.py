"""A shop's feed of products, and its list of shops: files of columns with names, read to the end.

    products   id, name; category, price, currency, url, supply_days, related, stock, new_since
    shops      id, name, lat, lon; address, url, is_default

`related` are ids with blanks, commas, bars or semicolons between them. Columns of other names are passed over. A row
that is damaged is counted by what is wrong with it, with its line, and passed over; of an id that comes again the first
row is taken.
Not here: what is done with them (gateway.store.products).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from gateway.contacts.reading import fold
from gateway.contacts.report import Tally, visible
from gateway.contacts.table import ROW_FAULTS, Table
from gateway.errors import FileFault
from gateway.person import minor_units
from gateway.predicate import time_in
from gateway.product import Product, Shop

DAMAGE = {
    **ROW_FAULTS,
    "id": "an id without blanks, of at most 100 characters",
    "name": "a name",
    "price": "an amount such as 12.50",
    "currency": "three letters such as EUR, of a price",
    "supply_days": "a whole number of days, up to 400",
    "stock": "a whole number",
    "new_since": "a date, or a time with its offset",
    "url": "https://…",
    "lat": "degrees from -90 to 90",
    "lon": "degrees from -180 to 180",
    "is_default": "yes or no",
    "duplicate": "each id once",
}
_ALSO = {
    "id": ("sku", "product_id", "productid", "handle"),
    "name": ("title", "product", "product_name"),
    "category": ("product_type", "type", "google_product_category"),
    "url": ("link", "product_url"),
    "stock": ("quantity", "inventory", "inventory_quantity"),
    "new_since": ("created_at", "published_at"),
    "lat": ("latitude",),
    "lon": ("lng", "longitude"),
    "is_default": ("default",),
}
_TRUE, _FALSE = ("yes", "true", "1", "y"), ("", "no", "false", "0", "n")
Found = TypeVar("Found", Product, Shop)


class Wrong(Exception):
    """A cell is none of its column; the text names the damage."""


class Feed(Generic[Found]):
    """One pass over a file.

    make     what a row is made by; it raises Wrong
    columns  that there may be; of these the first `needed` there must be
    raises   FileFault: a column that is needed is missing
    """

    def __init__(self, path: str, make: Callable[[Mapping[str, str]], Found], columns: tuple[str, ...], needed: int):
        self._table: Table = Table(path, header=True)
        self._make: Callable[[Mapping[str, str]], Found] = make
        self._places = _places([fold(name) for name in self._table.header], columns)
        missing = [one for one in columns[:needed] if one not in self._places]
        if missing:
            has = ", ".join(map(visible, self._table.header))
            self._table.close()
            raise FileFault("columns", f"{path}: expected columns {', '.join(missing)}, found {has}")
        self._ids: set[str] = set()
        self.rows = 0
        self.damage: dict[str, Tally] = {}

    def __enter__(self) -> "Feed[Found]":
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()

    def batches(self) -> Iterator[list[Found]]:
        """Yield what stands in the file, block by block; `damage` is whole when this ends."""
        for block in self._table.blocks():
            count = len(block.lines)
            self.rows += count + len(block.faults)
            for row in block.faults:
                self._damaged(row.name, row.line, row.found)
            found = []
            for at in range(count):
                cells = {name: block.columns[place][at].strip() for name, place in self._places.items()}
                if not any(cells.values()):
                    self.rows -= 1
                    continue
                try:
                    one = self._make(cells)
                except Wrong as wrong:
                    self._damaged(str(wrong), block.lines[at], cells.get(str(wrong), ""))
                    continue
                if one.id in self._ids:
                    self._damaged("duplicate", block.lines[at], one.id)
                    continue
                self._ids.add(one.id)
                found.append(one)
            yield found

    def _damaged(self, name: str, line: int, found: str) -> None:
        self.damage.setdefault(name, Tally(DAMAGE[name])).add(line, found)

    def lines(self) -> list[str]:
        """Say what is damaged, for a person."""
        told = []
        for name, tally in sorted(self.damage.items(), key=lambda item: -item[1].count):
            told.append(f"{name}: {tally.count:,} (expected {tally.expected})")
            told += [f"    line {one.line}: {visible(one.found)}" for one in tally.examples]
        return told


def _places(names: Sequence[str], columns: Sequence[str]) -> dict[str, int]:
    """Find columns by what they are called, or are called elsewhere."""
    found = {}
    for column in columns:
        known = [fold(also) for also in (column, *_ALSO.get(column, ())) if fold(also) in names]
        if known:
            found[column] = names.index(known[0])
    return found


def products(path: str, currency: str = "") -> Feed[Product]:
    """Read a feed of products. currency: of prices that name none. raises FileFault."""
    columns = ("id", "name", "category", "price", "currency", "url", "supply_days", "related", "stock", "new_since")
    return Feed(path, lambda cells: _product(cells, currency), columns, 2)


def shops(path: str) -> Feed[Shop]:
    """Read a list of shops. raises FileFault."""
    return Feed(path, _shop, ("id", "name", "lat", "lon", "address", "url", "is_default"), 4)


def _product(cells: Mapping[str, str], currency: str) -> Product:
    told = cells.get("currency", "").upper() or currency
    price = None
    if written := cells.get("price"):
        # As feeds write it: 12.50, or 12.50 EUR.
        amount, _, behind = written.partition(" ")
        told = cells.get("currency", "").upper() or behind.strip().upper() or currency
        if not re.fullmatch("[A-Z]{3}", told):
            raise Wrong("currency")
        price = minor_units(amount, told) if re.fullmatch(r"\d{1,12}(\.\d{1,3})?", amount) else None
        if price is None:
            raise Wrong("price")
    related = tuple(dict.fromkeys(re.split(r"[\s,;|]+", cells.get("related", "")))) if cells.get("related") else ()
    return Product(
        id=_id(cells), name=_name(cells), category=cells.get("category", "")[:200], price=price,
        currency=told if price is not None else "", url=_url(cells),
        supply_days=_whole(cells, "supply_days", 1, 400), related=tuple(one for one in related if one)[:50],
        stock=_whole(cells, "stock", -(10**9), 10**9), new_since=_time(cells, "new_since"),
    )  # fmt: skip


def _shop(cells: Mapping[str, str]) -> Shop:
    default = cells.get("is_default", "").lower()
    if default not in (*_TRUE, *_FALSE):
        raise Wrong("is_default")
    return Shop(
        id=_id(cells), name=_name(cells), lat=_degrees(cells, "lat", 90), lon=_degrees(cells, "lon", 180),
        address=cells.get("address", "")[:500], url=_url(cells), is_default=default in _TRUE,
    )  # fmt: skip


def _id(cells: Mapping[str, str]) -> str:
    if not re.fullmatch(r"\S{1,100}", cells["id"]):
        raise Wrong("id")
    return cells["id"]


def _name(cells: Mapping[str, str]) -> str:
    if not cells["name"]:
        raise Wrong("name")
    return cells["name"][:200]


def _url(cells: Mapping[str, str]) -> str:
    url = cells.get("url", "")
    if url and not re.fullmatch(r"https://[^\s/]+\S*", url):
        raise Wrong("url")
    return url


def _whole(cells: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    text = cells.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"-?\d{1,10}", text) or not least <= int(text) <= most:
        raise Wrong(name)
    return int(text)


def _time(cells: Mapping[str, str], name: str) -> datetime | None:
    text = cells.get(name, "")
    found = time_in(text) if text else None
    if text and found is None:
        raise Wrong(name)
    return found


def _degrees(cells: Mapping[str, str], name: str, most: int) -> float:
    if not re.fullmatch(r"-?\d{1,3}(\.\d{1,15})?", cells[name]) or abs(found := float(cells[name])) > most:
        raise Wrong(name)
    return found


def told(feed: "Feed[Any]", written: int) -> str:
    """Say what came of a file, in a line."""
    return f"{feed.rows:,} rows: {written:,} written"
