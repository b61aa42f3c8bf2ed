"""What the SMSC sends and the compiled path does not take: messages from handsets, receipts of unusual form.

    deliver_sm, data_sm ─► receipt ─► ledger (as the compiled path would)      ─┐
                       └─► inbound message, or a part of one ─► kept ───────────┴─► settled, then answered
    alert_notification ─► event

A message comes twice when our answer to the first did not reach the SMSC. So what is kept is remembered in Postgres
until the answer is known to have arrived, and the same octets from the same handset are one message until then:

    kept ─► answered ─► heard of that link again, a second later ─► forgotten: the same words are a new message
      └─ link lost, or answered too late for the SMSC to wait ────► the same within inbound_dedupe_s is a repeat

Parts of long messages, and messages with an id of the SMSC, say themselves which they are: they are remembered for all
of inbound_dedupe_s. Who writes "YES" twice is heard twice: on one link nothing comes again before PATIENCE_S is over,
and what comes sooner is told from the first by its count. Only while Postgres is away for longer may the second one be
taken for a repeat.
Not here: what a text says (smpp/inboundtext.py), joining parts (assembly.py), reading it (consent, triggers).
"""

import contextlib
import hashlib
import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from _fastpath.ledger import Ledger
from gateway.config import CarrierSettings, coding_of
from gateway.dispatch import assembly
from gateway.dispatch.clock import Clock
from gateway.dispatch.optout import OptOuts
from gateway.errors import LocalProtocolError
from gateway.events import Event, event
from gateway.smpp import inboundtext, receipt
from gateway.smpp.inboundtext import Header, Piece
from gateway.smpp.link import Link
from gateway.smpp.pdu import ANYTHING, Pdu, encode
from gateway.smpp.status import VALUE_BY_NAME
from gateway.store.inbound import Arrival, Came, Joined, Message, Part

log = logging.getLogger(__name__)

# More than this waiting for Postgres: the SMSC is asked to try again later.
INBOUND_HIGH = 10_000
# An answer has arrived when its link is heard of so much later: longer than any round trip that a carrier is used over.
ARRIVED_S = 1.0
# An SMSC waits so long for our answer before it sends the message again; the least that is published is 5 s.
PATIENCE_S = 5.0
# How often parts are looked for whose time is over, and what came long ago is forgotten.
SWEEP_S = 10.0
# inbound_part.kind of SAR TLVs; in a header it is 8 or 16.
SAR = 1
# TLVs that tell two messages of the same words apart.
IDENTIFYING = (
    "receipted_message_id",
    "user_message_reference",
    "sar_msg_ref_num",
    "sar_total_segments",
    "sar_segment_seqnum",
)


class Owed(Struct, frozen=True):
    """An answer to an arrival, and the fingerprint of what comes again if it does not arrive.

    is_stop  it is given only when a STOP is in force
    """

    link: Link
    fingerprint: bytes
    came_at: float
    pdu: Pdu
    id: int
    is_stop: bool = False


class Taken(Struct, frozen=True):
    """What came since the last flush: what is to be kept, and requests to be answered when the flush is durable."""

    came: Came | None
    unanswered: list[tuple[Link, Pdu]]
    owed: list[Owed]

    @property
    def messages(self) -> tuple[Arrival, ...]:
        """What handsets sent, PDU by PDU."""
        return self.came.arrivals if self.came is not None else ()

    def of(self, ids: Collection[int]) -> "Taken":
        """What is owed for some arrivals alone."""
        owed = [one for one in self.owed if one.id in ids]
        return Taken(self.came, [(one.link, one.pdu) for one in owed], owed)

    def without(self, ids: Collection[int]) -> "Taken":
        """The same but what is owed for some arrivals."""
        # Pdus have no identity of their own but this: sequence_numbers are those of a link.
        left_out = {id(one.pdu) for one in self.owed if one.id in ids}
        unanswered = [(link, pdu) for link, pdu in self.unanswered if id(pdu) not in left_out]
        return Taken(self.came, unanswered, [one for one in self.owed if one.id not in ids])

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return self.came is not None or bool(self.unanswered)


class Intake:
    """Requests of one lane between their coming and their answer.

    first_id  ids count up from it; unique in the lane
    opt_outs  hears keywords; None: nobody does
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        first_id: int,
        settings: CarrierSettings,
        opt_outs: OptOuts | None = None,
    ):
        self._opt_outs = opt_outs
        self._ledger = ledger
        self._clock = clock
        self._next_id = first_id
        self._alphabets = {coding_of(coding) or 0: name for coding, name in settings.inbound_data_coding.items()}
        self._parts_timeout = timedelta(seconds=settings.inbound_parts_timeout_s)
        self._dedupe = timedelta(seconds=settings.inbound_dedupe_s)
        self._busy_status = VALUE_BY_NAME[f"ESME_{settings.inbound_busy_status}"]
        self._sweep_s = min(SWEEP_S, settings.inbound_parts_timeout_s / 4)
        self._sweeps_at = clock.monotonic() + self._sweep_s
        self._kept: list[Arrival] = []
        self._events: list[Event] = []
        self._unanswered: list[tuple[Link, Pdu]] = []
        self._owed: list[Owed] = []
        # (since when, how often) the same words came on a link, within PATIENCE_S.
        self._lately: dict[tuple[Link, bytes], tuple[float, int]] = {}
        # (when, fingerprint) of answers that may not have arrived yet.
        self._under_way: dict[Link, list[tuple[float, bytes]]] = {}
        self.messages = 0

    def on_request(self, link: Link, pdu: Pdu) -> None:
        """Take a request of the SMSC in; it is answered when it is durable."""
        now = self._clock.monotonic()
        wall = self._clock.wall()
        if pdu.command == "alert_notification":
            self._events.append(
                event(
                    "handset.reachable",
                    wall,
                    str(pdu.fields["source_addr"]),
                    address=str(pdu.fields["esme_addr"]),
                    status=pdu.tlv_integer("ms_availability_status"),
                )
            )
            return
        if pdu.command not in ("deliver_sm", "data_sm"):
            # outbind has no answer; nothing else may come to an ESME.
            log.info("< %s", pdu.command)
            return
        if len(self._kept) >= INBOUND_HIGH:
            link.session.respond(pdu, self._busy_status, now=now)
            return
        if self._take_receipt(pdu, now):
            if pdu.command == "deliver_sm":
                # Answered with the others of this link, after the flush that makes it durable.
                link.owe(pdu)
            else:
                self._unanswered.append((link, pdu))
            return
        is_receipt = int(pdu.fields["esm_class"]) & receipt.TYPE_BITS in receipt.RECEIPT_TYPES
        arrival = self._arrival(link, pdu, now, wall, is_receipt)
        self.messages += 1
        self._kept.append(arrival)
        self._unanswered.append((link, pdu))
        text = arrival.message.text if arrival.message is not None else ""
        is_stop = self._opt_outs is not None and self._opt_outs.is_stop(text, arrival.source)
        self._owed.append(Owed(link, arrival.fingerprint, now, pdu, arrival.id, is_stop))

    def take(self) -> Taken:
        """Hand out what came since the last call: call it before the first await of a flush."""
        now = self._clock.monotonic()
        answered = self._arrived()
        sweeps = now >= self._sweeps_at
        if sweeps:
            self._sweeps_at = now + self._sweep_s
            self._lately = {key: one for key, one in self._lately.items() if now - one[0] < PATIENCE_S}
        came = None
        if self._kept or self._events or answered or sweeps:
            came = Came(
                at=self._clock.wall(),
                join=self._join,
                dedupe=self._dedupe,
                parts_timeout=self._parts_timeout,
                arrivals=tuple(self._kept),
                answered=answered,
                events=tuple(self._events),
                sweeps=sweeps,
                hear=self._opt_outs.hear if self._opt_outs is not None else None,
            )
        taken = Taken(came, self._unanswered, self._owed)
        self._kept, self._events, self._unanswered, self._owed = [], [], [], []
        return taken

    def answer(self, taken: Taken) -> None:
        """Answer what is durable now, where its link still stands; what does not is sent again by the SMSC.

        The answer to a STOP waits until it is in force.
        """
        if self._opt_outs is not None and taken.came is not None:
            stopping = [owed.id for owed in taken.owed if owed.is_stop]
            arrived = [owed.id for owed in taken.owed]
            waiting = self._opt_outs.conclude(stopping, arrived, lambda ids: self._answer(taken.of(ids)))
            self._answer(taken.without(waiting) if waiting else taken)
        else:
            self._answer(taken)

    def _answer(self, taken: Taken) -> None:
        now = self._clock.monotonic()
        for link, pdu in taken.unanswered:
            if not link.is_lost:
                with contextlib.suppress(LocalProtocolError):  # the session is closing
                    link.session.respond(pdu, now=now)
                    link.flush_session()
        for owed in taken.owed:
            if not owed.link.is_lost and now - owed.came_at < PATIENCE_S:
                self._under_way.setdefault(owed.link, []).append((now, owed.fingerprint))

    def _arrived(self) -> tuple[bytes, ...]:
        """Take the fingerprints whose answers have arrived since the last call."""
        arrived: list[bytes] = []
        for link, answers in list(self._under_way.items()):
            heard_at = link.exchange.received_at
            left = [one for one in answers if one[0] + ARRIVED_S > heard_at]
            arrived += [fingerprint for at, fingerprint in answers if at + ARRIVED_S <= heard_at]
            if left and not link.is_lost:
                self._under_way[link] = left
            else:
                # Of a lost link nothing is known: what it carried last may come again.
                del self._under_way[link]
        return tuple(arrived)

    def _join(self, parts: Sequence[Part], now: datetime) -> Joined:
        return assembly.join(parts, now, self._parts_timeout, self._alphabets)

    def _take_receipt(self, pdu: Pdu, now: float) -> bool:
        found = receipt.read(pdu, self._ledger.reading)
        if found is None:
            return False
        self._ledger.take_receipt(
            found.message_id, found.state, found.err, found.number, found.raw, now, found.other, found.done_at_us
        )
        return True

    def _arrival(self, link: Link, pdu: Pdu, now: float, wall: datetime, is_receipt: bool) -> Arrival:
        """Make what is kept of a PDU. A receipt that cannot be read is kept as it came, and is nobody's message."""
        self._next_id += 1
        fields, octets = pdu.fields, bytes(pdu.message)
        source, destination = str(fields["source_addr"]), str(fields["destination_addr"])
        coding, esm_class = int(fields["data_coding"]), int(fields["esm_class"])
        header = concatenation(pdu, inboundtext.header_of(octets, esm_class))
        is_part = header.total > 1 and not is_receipt
        message = None
        if not is_part and not is_receipt:
            reading = inboundtext.read(
                [Piece(octets, header.octets)],
                coding,
                single_shift=header.single_shift,
                locking=header.locking,
                alphabets=self._alphabets,
            )
            message = Message(
                id=self._next_id,
                at=wall,
                source=source,
                destination=destination,
                text=reading.text,
                alphabet=reading.alphabet,
                is_lossy=reading.is_lossy,
                pdus=(self._next_id,),
            )
        is_named = is_part or bool(pdu.tlv("receipted_message_id"))
        fingerprint = fingerprint_of(pdu) if self._dedupe else self._next_id.to_bytes(8, "big")
        if not is_named:
            fingerprint += self._count(link, fingerprint, now)
        return Arrival(
            id=self._next_id,
            at=wall,
            command=pdu.command,
            source=source,
            destination=destination,
            esm_class=esm_class,
            data_coding=coding,
            octets=octets,
            pdu=encode(pdu, ANYTHING),
            fingerprint=fingerprint,
            is_named=is_named,
            message=message,
            kind=header.kind if is_part else 0,
            reference=header.reference if is_part else 0,
            total=header.total if is_part else 1,
            number=header.number if is_part else 1,
        )

    def _count(self, link: Link, fingerprint: bytes, now: float) -> bytes:
        """Count what a link has brought of the same words, too soon to be one message sent again: the first is none."""
        since, count = self._lately.get((link, fingerprint), (now, -1))
        if now - since >= PATIENCE_S:
            since, count = now, -1
        self._lately[link, fingerprint] = since, count + 1
        return (count + 1).to_bytes(4, "big") if count >= 0 else b""


def concatenation(pdu: Pdu, header: Header) -> Header:
    """Complete a header by the SAR TLVs of its PDU, where it has no concatenation itself."""
    total, number = pdu.tlv_integer("sar_total_segments"), pdu.tlv_integer("sar_segment_seqnum")
    if header.kind or total is None or number is None or not 1 <= number <= total <= 255:
        return header
    reference = (pdu.tlv_integer("sar_msg_ref_num") or 0) & 0xFFFF
    return header._replace(kind=SAR, reference=reference, total=total, number=number)


def fingerprint_of(pdu: Pdu) -> bytes:
    """Name what a PDU says, whoever carries it and under which sequence_number: 16 octets."""
    fields = pdu.fields
    said = [
        *(str(fields[name]).encode() for name in ("source_addr", "destination_addr", "esm_class", "data_coding")),
        bytes(pdu.message),
        *(pdu.tlv(name) or b"" for name in IDENTIFYING),
    ]
    return hashlib.blake2b(b"".join(b"%d:%b" % (len(one), one) for one in said), digest_size=16).digest()


def first_id_of(instance: str) -> int:
    """Ids that count up from here are no other worker's of a lane: the places of any two are 2**62 apart by chance.

    Two that count up from the moments they started in would meet: workers are started by the dozen in a millisecond.
    """
    return int.from_bytes(hashlib.blake2b(instance.encode(), digest_size=8).digest(), "big") >> 2
