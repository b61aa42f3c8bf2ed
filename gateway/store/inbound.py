"""Messages from handsets: each PDU kept once, parts joined, whole messages and their events written. sql/inbound.sql.

    came ─► known already? ─ yes ─► dropped (and answered: it is durable)
               │ no
               ├─► inbound                                  the PDU as it came, for good
               ├─► alone ─────────────────────┐
               └─► inbound_part ─► whole? ─ yes ─► inbound_message + event

All of it is one transaction, the flush's. Of one lane one transaction at a time is here, whatever workers there are
(`take_turn`): it sees every part that was kept before it, so a message becomes whole in exactly one of them.
Not here: what a text says (smpp/inboundtext.py), which parts make a message (dispatch/assembly.py: `join`).
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from gateway.events import Event, event
from gateway.store import events
from gateway.store.postgres import Connection
from gateway.store.queries import query


class Part(Struct, frozen=True, kw_only=True):
    """One part of a message of several.

    kind    bits of its reference, 8 or 16; 1 for SAR TLVs
    octets  its user data, header included
    """

    id: int
    at: datetime
    source: str
    destination: str
    kind: int
    reference: int
    total: int
    number: int
    esm_class: int
    data_coding: int
    octets: bytes


class Message(Struct, frozen=True, kw_only=True):
    """A message of a handset, whole, or as much of it as came.

    id       that of its first PDU
    at       when the last of its parts came
    parts    how many it has; missing = the numbers, from 1, of those that never came
    pdus     ids in `inbound`, in the order of the text
    """

    id: int
    at: datetime
    source: str
    destination: str
    text: str
    alphabet: str
    is_lossy: bool
    pdus: tuple[int, ...]
    parts: int = 1
    missing: tuple[int, ...] = ()


class Arrival(Struct, frozen=True, kw_only=True):
    """One PDU as it came.

    fingerprint  the same for what is the same, sent once more
    is_named     it says itself which message it is: the same again is a repeat even when the first was answered
    message      what stands alone, already read; None for a part, and for a receipt that cannot be read
    kind, …      of a part; total 1 = none
    """

    id: int
    at: datetime
    command: str
    source: str
    destination: str
    esm_class: int
    data_coding: int
    octets: bytes
    pdu: bytes
    fingerprint: bytes
    is_named: bool = False
    message: Message | None = None
    kind: int = 0
    reference: int = 0
    total: int = 1
    number: int = 1


class Joined(Struct, frozen=True):
    """What came of parts: messages, and the ids of parts that need not wait any more."""

    messages: list[Message]
    done: list[int]


# (parts in the order they came, now) -> what they make.
Join = Callable[[Sequence[Part], datetime], Joined]


class Came(Struct, frozen=True, kw_only=True):
    """What one flush brings.

    answered  fingerprints of which the SMSC is known to have our answer
    events    that stand by themselves
    sweeps    look for parts whose time is over, and forget what came long ago
    hear      told of the messages that are whole now, before they are committed; -> more events
    """

    at: datetime
    join: Join
    dedupe: timedelta
    parts_timeout: timedelta
    arrivals: tuple[Arrival, ...] = ()
    answered: tuple[bytes, ...] = ()
    events: tuple[Event, ...] = ()
    sweeps: bool = False
    hear: Callable[[Sequence[Message]], Awaitable[Sequence[Event]]] | None = None


async def keep(connection: Connection, lane: int, came: Came) -> None:
    """Keep all of it, in the caller's transaction, which should end soon: others wait for their turn.

    cost  three statements and about 1 ms for messages in one part, one more where there are parts
    """
    await events.take_turn(connection, lane)
    if came.answered:
        await connection.execute(query("forget_answered"), lane, list(came.answered))
    fresh = await _keep_arrivals(connection, lane, came) if came.arrivals else set()
    messages = [one.message for one in came.arrivals if one.id in fresh and one.message is not None]
    parts = [one.id for one in came.arrivals if one.id in fresh and one.total > 1]
    if came.sweeps:
        overdue = await connection.fetch(query("parts_overdue"), lane, came.at - came.parts_timeout)
        parts += [row["id"] for row in overdue]
        await connection.execute(query("forget_seen"), lane, came.at - came.dedupe)
    done: list[int] = []
    if parts:
        rows = await connection.fetch(query("parts_beside"), lane, parts)
        joined = came.join([Part(**dict(row)) for row in rows], came.at)
        messages += joined.messages
        done = joined.done
    if messages or done:
        await _add(connection, lane, messages, done)
    heard = await came.hear(messages) if came.hear is not None and messages else ()
    await events.append(connection, lane, [*came.events, *(received(message) for message in messages), *heard])


async def _keep_arrivals(connection: Connection, lane: int, came: Came) -> set[int]:
    arrivals = came.arrivals
    rows = await connection.fetch(
        query("keep_inbound"), lane, [one.id for one in arrivals], [one.at for one in arrivals],
        [one.command for one in arrivals], [one.source for one in arrivals], [one.destination for one in arrivals],
        [one.esm_class for one in arrivals], [one.data_coding for one in arrivals], [one.octets for one in arrivals],
        [one.pdu for one in arrivals], [one.fingerprint for one in arrivals], [one.is_named for one in arrivals],
        [one.kind for one in arrivals], [one.reference for one in arrivals], [one.total for one in arrivals],
        [one.number for one in arrivals], came.at - came.dedupe,
    )  # fmt: skip
    return {row["id"] for row in rows}


async def _add(connection: Connection, lane: int, messages: Sequence[Message], done: Sequence[int]) -> None:
    await connection.execute(
        query("add_messages"), lane, [one.id for one in messages], [one.at for one in messages],
        [one.source for one in messages], [one.destination for one in messages], [one.text for one in messages],
        [one.parts for one in messages], [_array(one.missing) for one in messages],
        [one.alphabet for one in messages], [one.is_lossy for one in messages],
        [_array(one.pdus) for one in messages], list(done),
    )  # fmt: skip


def received(message: Message) -> Event:
    """Tell of a message."""
    return event(
        "inbound.received",
        message.at,
        message.source,
        message=message.id,
        destination=message.destination,
        text=message.text,
        parts=message.parts,
        missing=message.missing,
        alphabet=message.alphabet,
        is_lossy=message.is_lossy,
    )


async def newest(connection: Connection, lane: int, limit: int) -> list[Message]:
    """Read the newest messages of a lane, the newest first."""
    rows = await connection.fetch(query("newest_messages"), lane, limit)
    return [Message(**{**dict(row), "missing": tuple(row["missing"]), "pdus": tuple(row["pdus"])}) for row in rows]


def _array(numbers: Sequence[int]) -> str:
    """As Postgres reads an array: those of several messages are not of one length, and make no array of arrays."""
    return "{" + ",".join(map(str, numbers)) + "}"
