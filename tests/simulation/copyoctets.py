"""Binary COPY, both ways, in plain Python: what the compiled rows write is read, what the claim reads is written."""

import functools
import struct
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.tables import POSTGRES_EPOCH, at_us

SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
END = b"\xff\xff"
_OIDS = {"bigint": 20, "int": 23, "smallint": 21, "text": 25}
_FORMS = {"bigint": "q", "int": "i", "smallint": "h", "timestamptz": "q"}
_READERS: dict[str, Callable[[bytes], Any]] = {
    "bigint": lambda octets: struct.unpack(">q", octets)[0],
    "int": lambda octets: struct.unpack(">i", octets)[0],
    "smallint": lambda octets: struct.unpack(">h", octets)[0],
    "timestamptz": lambda octets: at_us(struct.unpack(">q", octets)[0]),
    "text": bytes.decode,
    "jsonb": lambda octets: octets[1:].decode(),
    "bytea": bytes,
    "boolean": lambda octets: octets != b"\0",
}


_length = struct.Struct(">i")


@functools.cache
def _plan_of(types: tuple[str, ...]) -> tuple[struct.Struct, tuple[int, ...], list[int], list[Callable[[bytes], Any]]]:
    """Say how rows of such types begin: columns of fixed width, how wide, which are moments; and who reads each."""
    front = 0
    while front < len(types) and types[front] in _FORMS:
        front += 1
    fixed = struct.Struct(">h" + "".join("i" + _FORMS[one] for one in types[:front]))
    widths = tuple(struct.calcsize(">" + _FORMS[one]) for one in types[:front])
    moments = [place for place in range(front) if types[place] == "timestamptz"]
    return fixed, widths, moments, [_READERS[one] for one in types]


def read_copy(octets: bytes, types: Sequence[str]) -> list[tuple[Any, ...]]:
    """Read rows of such types.

    cost  about 3 us a row of ten columns: those of fixed width at the front are taken at once, if none of them is null
    """
    if octets[: len(SIGNATURE)] != SIGNATURE:
        raise ValueError(f"copy: expected the signature, found {octets[:11]!r}")
    at, n = len(SIGNATURE) + 8, len(types)
    fixed, widths, moments, readers = _plan_of(tuple(types))
    rows = []
    while octets[at : at + 2] != END:
        values: list[Any] = []
        if len(octets) >= at + fixed.size:
            found = fixed.unpack_from(octets, at)
            if found[1::2] == widths:
                values = list(found[2::2])
                for place in moments:
                    values[place] = at_us(values[place])
        if len(octets) < at + 2 or (octets[at] << 8) + octets[at + 1] != n:
            raise ValueError(f"copy: expected a row of {n} columns at octet {at}")
        at = at + fixed.size if values else at + 2
        for place in range(len(values), n):
            if len(octets) < at + 4:
                raise ValueError(f"copy: unexpected end at octet {at}")
            (size,) = _length.unpack_from(octets, at)
            at += 4
            if size < 0:
                values.append(None)
            else:
                values.append(readers[place](octets[at : at + size]))
                at += size
        rows.append(tuple(values))
    return rows


def write_copy(rows: Sequence[Sequence[Any]], types: Sequence[str]) -> bytes:
    """Write rows of such types, arrays of them included."""
    pieces = [SIGNATURE, bytes(8)]
    for row in rows:
        pieces.append(struct.pack(">h", len(types)))
        for value, type_ in zip(row, types, strict=True):
            octets = None if value is None else _octets(value, type_)
            pieces.append(struct.pack(">i", -1 if octets is None else len(octets)))
            pieces.append(octets or b"")
    return b"".join([*pieces, END])


def write_records(rows: Sequence[Sequence[Any]], types: Sequence[str]) -> bytes:
    """Write rows as record_send does, one behind the other; their types are left out, for nobody reads them."""
    pieces = []
    for row in rows:
        pieces.append(struct.pack(">i", len(types)))
        for value, type_ in zip(row, types, strict=True):
            octets = _octets(value, type_)
            pieces.append(struct.pack(">ii", 0, len(octets)) + octets)
    return b"".join(pieces)


def _octets(value: Any, type_: str) -> bytes:
    if type_.endswith("[]"):
        return _array(value, type_[:-2])
    if type_ == "text":
        return str(value).encode()
    if type_ == "boolean":
        return b"\1" if value else b"\0"
    if type_ == "bytea":
        return bytes(value)
    if type_ == "timestamptz":
        value = us_of(value)
    return struct.pack(">" + _FORMS[type_], value)


def _array(values: Sequence[Any], type_: str) -> bytes:
    """An array of one or two dimensions; one without elements has no dimension at all."""
    is_nested = bool(values) and isinstance(values[0], list | tuple)
    flat = [one for row in values for one in row] if is_nested else list(values)
    sizes = [] if not flat else [len(values), len(values[0])] if is_nested else [len(values)]
    pieces = [struct.pack(">iii", len(sizes), int(None in flat), _OIDS[type_])]
    pieces += [struct.pack(">ii", size, 1) for size in sizes]
    if type_ == "bigint" and None not in flat:
        pieces.append(struct.pack(">" + "iq" * len(flat), *[part for one in flat for part in (8, one)]))
        return b"".join(pieces)
    for one in flat:
        octets = None if one is None else _octets(one, type_)
        pieces.append(struct.pack(">i", -1 if octets is None else len(octets)))
        pieces.append(octets or b"")
    return b"".join(pieces)


def us_of(at: datetime) -> int:
    """A moment as Postgres writes it."""
    return (at - POSTGRES_EPOCH) // timedelta(microseconds=1)
