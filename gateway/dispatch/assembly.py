"""Joins the parts of long messages from handsets, in whatever order they come. A pure function; its shell is the flush.

    (source, destination, kind, reference, total)      one message at a time:
       2/3 ─ 1/3 ─ 1/3 again ─ 3/3                        whole: one message
       1/3 ─ 3/3 ─ another 1/3                            its reference was used anew: incomplete, and the next begins
       1/2 ─ ── the timeout ──                            incomplete

Handsets count references in 8 bits, so the same one returns; within the timeout a second message with it is told from
the first by a part that both have and that differs. Where of both so much is lost that no part meets its like, they are
joined wrongly: nothing on the wire tells.
Not here: keeping parts (store/inbound.py), what came twice (the same), reading text (smpp/inboundtext.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gateway.smpp import inboundtext
from gateway.smpp.inboundtext import Header, Piece, Reading
from gateway.store.inbound import Joined, Message, Part

Key = tuple[str, str, int, int, int]
Alphabets = Mapping[int, str]


def join(parts: Sequence[Part], now: datetime, timeout: timedelta, alphabets: Alphabets) -> Joined:
    """Make messages of parts.

    parts    of any messages, in the order they came; all that wait of each
    timeout  from a message's first part on; then it is told of as it is
    ->       each message once, and the ids of the parts it has used up; what is not there waits on
    """
    waiting: dict[Key, dict[int, Part]] = {}
    repeats: dict[Key, list[int]] = {}
    joined = Joined([], [])

    def close(key: Key) -> None:
        group = waiting.pop(key)
        joined.messages.append(message_of(group, alphabets))
        joined.done.extend(part.id for part in group.values())
        joined.done.extend(repeats.pop(key, ()))

    for part in parts:
        key = part.source, part.destination, part.kind, part.reference, part.total
        group = waiting.setdefault(key, {})
        known = group.get(part.number)
        if known is not None and known.octets == part.octets and part.at - first_at(group) < timeout:
            repeats.setdefault(key, []).append(part.id)
            continue
        if known is not None or (group and part.at - first_at(group) >= timeout):
            close(key)
            group = waiting.setdefault(key, {})
        group[part.number] = part
        if len(group) == part.total:
            close(key)
    for key in [key for key, group in waiting.items() if now - first_at(group) >= timeout]:
        close(key)
    return joined


def first_at(group: Mapping[int, Part]) -> datetime:
    """When the first of them came."""
    return min(part.at for part in group.values())


def message_of(group: Mapping[int, Part], alphabets: Alphabets) -> Message:
    """Read parts by number as one text; neighbours of one coding together, for a character may be cut between them."""
    ordered = [group[number] for number in sorted(group)]
    runs: list[tuple[Part, Header, list[Piece]]] = []
    for part in ordered:
        header = inboundtext.header_of(part.octets, part.esm_class)
        piece = Piece(part.octets, header.octets)
        if runs and _continues(runs[-1], part, header):
            _, _, pieces = runs.pop()
            runs.append((part, header, [*pieces, piece]))
        else:
            runs.append((part, header, [piece]))
    readings: list[Reading] = [
        inboundtext.read(
            pieces,
            part.data_coding,
            single_shift=header.single_shift,
            locking=header.locking,
            alphabets=alphabets,
        )
        for part, header, pieces in runs
    ]
    one = ordered[0]
    return Message(
        id=one.id,
        at=max(part.at for part in ordered),
        source=one.source,
        destination=one.destination,
        text="".join(reading.text for reading in readings),
        alphabet=readings[0].alphabet,
        is_lossy=any(reading.is_lossy for reading in readings),
        pdus=tuple(part.id for part in ordered),
        parts=one.total,
        missing=tuple(number for number in range(1, one.total + 1) if number not in group),
    )


def _continues(run: tuple[Part, Header, list[Piece]], part: Part, header: Header) -> bool:
    """Whether a part is the next of those read so far, and is to be read by the same tables."""
    last, before, _ = run
    return (
        last.number + 1 == part.number
        and last.data_coding == part.data_coding
        and (before.single_shift, before.locking) == (header.single_shift, header.locking)
    )
