"""Octets of COPY … (FORMAT binary), read and written by the letter of the manual: no code of ours below it."""

SIGNATURE = b"PGCOPY\n\xff\r\n\x00"


def integer(octets: bytes) -> int:
    """Big-endian, signed."""
    return int.from_bytes(octets, "big", signed=True)


def rows(stream: bytes) -> list[list[bytes | None]]:
    """The fields of every row; an AssertionError for what is not of the format."""
    assert stream[:11] == SIGNATURE
    assert integer(stream[11:15]) == 0  # flags
    at = 19 + integer(stream[15:19])
    found: list[list[bytes | None]] = []
    while True:
        columns = integer(stream[at : at + 2])
        at += 2
        if columns == -1:
            assert at == len(stream)
            return found
        row: list[bytes | None] = []
        for _ in range(columns):
            length = integer(stream[at : at + 4])
            at += 4
            row.append(None if length == -1 else stream[at : at + length])
            at += max(length, 0)
            assert at <= len(stream)
        found.append(row)


def field(value: int | bytes | None, width: int = 0) -> bytes:
    """One field: an integer of so many octets, octets as they are, or NULL."""
    if value is None:
        return (-1).to_bytes(4, "big", signed=True)
    octets = value.to_bytes(width, "big", signed=True) if isinstance(value, int) else value
    return len(octets).to_bytes(4, "big") + octets


def array(element: int, dimensions: list[int], values: list[bytes | None]) -> bytes:
    """An array: element is the oid of its type."""
    head = len(dimensions).to_bytes(4, "big") + int(None in values).to_bytes(4, "big") + element.to_bytes(4, "big")
    for length in dimensions:
        head += length.to_bytes(4, "big") + (1).to_bytes(4, "big")
    return head + b"".join(map(field, values))


def stream(written: list[list[bytes]]) -> bytes:
    """Rows of fields, each as `field` makes them."""
    octets = SIGNATURE + bytes(8)
    for row in written:
        octets += len(row).to_bytes(2, "big") + b"".join(row)
    return octets + b"\xff\xff"


def claim(
    chunk_id: int,
    numbers: list[int],
    params: list[list[str | None]] | None = None,
    run: int = 1,
    epoch: int = 1,
    sent_upto: int = 0,
    class_: int = 5,
    country: int = 0,
) -> list[bytes]:
    """One row of a claim: chunk_id, run, epoch, sent_upto, class, country, msisdn bigint[], params text[][]."""
    values = None
    if params is not None:
        cells = [None if cell is None else cell.encode() for row in params for cell in row]
        values = array(25, [len(params), len(params[0])] if cells else [], cells)
    return [
        field(chunk_id, 8),
        field(run, 8),
        field(epoch, 4),
        field(sent_upto, 4),
        field(class_, 2),
        field(country, 2),
        field(array(20, [len(numbers)], [number.to_bytes(8, "big", signed=True) for number in numbers])),
        field(values),
    ]
