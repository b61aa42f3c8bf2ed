"""A shop's file of codes, read to the end: what of it are codes, and what is damaged, with the first places.

One column is read: that of the name asked for, else one whose name says so, else the only one, whose first row is a
code then and no name. A row that is none of a code is counted by its damage and passed over; memory stays flat.
Not here: whose codes they are already (gateway.store.coupons), which says of each whether it was new.
"""

import hashlib
from array import array
from collections.abc import Iterator

from _fastpath.firstseen import FirstSeen
from gateway.contacts.reading import fold
from gateway.contacts.report import Tally, visible
from gateway.contacts.table import ROW_FAULTS, Table
from gateway.coupon import MOST_CHARACTERS, code_of
from gateway.errors import FileFault

_NAMES = frozenset(
    fold(name)
    for name in """
    code codes coupon coupons couponcode discountcode discountcodes discount promo promocode promotioncode voucher
    vouchercode giftcode name gutschein gutscheincode rabattcode codepromo codigo codice codicesconto kortingscode
    rabatkode промокод купон クーポン クーポンコード 쿠폰 쿠폰코드 优惠码 优惠券
    """.split()
)
DAMAGE = {
    **ROW_FAULTS,
    "empty": "a code",
    "blanks": "a code without blanks inside",
    "characters": "printable characters of ASCII",
    "too_long": f"at most {MOST_CHARACTERS} characters",
    "duplicate": "each code once, in small letters or capitals",
}
_HASHED = (1 << 63) - 1


class CodeFile:
    """One pass over a file of codes.

    column  its name, or its place from 1; "" = found by its name
    raises  FileFault: no file, or no column that is one of codes
    """

    def __init__(self, path: str, column: str = ""):
        with Table(path, header=True) as table:
            at = _column(table, column)
            width = len(table.fields)
        has_header = at is not None
        if at is None and column.isascii() and column.isdigit() and 1 <= int(column) <= width:
            at, has_header = int(column) - 1, width > 1
        if at is None:
            if column or width > 1:
                wanted = f"a column {column!r}" if column else "one column, or one called code"
                raise FileFault("columns", f"{path}: expected {wanted}, found {', '.join(map(visible, table.header))}")
            at = 0
        self._at = at
        self._table = Table(path, header=has_header)
        self._seen = FirstSeen()
        self.rows = 0
        self.damage: dict[str, Tally] = {}

    def __enter__(self) -> "CodeFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()

    def batches(self) -> Iterator[list[str]]:
        """Yield the codes of the file, block by block, each once; `damage` is whole when this ends."""
        for block in self._table.blocks():
            cells = block.columns[self._at]
            self.rows += len(cells) + len(block.faults)
            for row in block.faults:
                self._damaged(row.name, row.line, row.found)
            found: list[tuple[int, str]] = []
            for line, cell in zip(block.lines, cells, strict=True):
                code = code_of(cell)
                if code is not None:
                    found.append((line, code))
                else:
                    self._damaged(_damage_of(cell), line, cell)
            hashes = array("q", (_hash(code) for _, code in found))
            firsts = array("q", bytes(8 * len(found)))
            self._seen.add(hashes, array("q", (line for line, _ in found)), firsts)
            for (line, code), first in zip(found, firsts, strict=True):
                if first:
                    self._damaged("duplicate", line, f"{code}, as in line {first}")
            yield [code for (_, code), first in zip(found, firsts, strict=True) if not first]

    def _damaged(self, name: str, line: int, found: str) -> None:
        self.damage.setdefault(name, Tally(DAMAGE[name])).add(line, found)

    def lines(self) -> list[str]:
        """Say what is damaged, for a person."""
        told = []
        for name, tally in sorted(self.damage.items(), key=lambda item: -item[1].count):
            told.append(f"{name}: {tally.count:,} (expected {tally.expected})")
            told += [f"    line {one.line}: {visible(one.found)}" for one in tally.examples]
        return told


def _column(table: Table, asked: str) -> int | None:
    """Find the column by the names of the header."""
    names = [fold(name) for name in table.header]
    if asked:
        found = [at for at, name in enumerate(names) if table.header[at] == asked or name == fold(asked) != ""]
    else:
        found = [at for at, name in enumerate(names) if name in _NAMES]
        # Shops list codes beside the name of their offer.
        better = [at for at in found if names[at] != "name"]
        found = better or found
    return found[0] if found else None


def _damage_of(cell: str) -> str:
    text = cell.strip()
    if not text:
        return "empty"
    if len(text.split()) > 1:
        return "blanks"
    return "too_long" if text.isascii() and text.isprintable() else "characters"


def _hash(code: str) -> int:
    """Of a code however it is written; never 0, which stands for none."""
    octets = hashlib.blake2b(code.upper().encode(), digest_size=8).digest()
    return int.from_bytes(octets, "big") & _HASHED or 1
