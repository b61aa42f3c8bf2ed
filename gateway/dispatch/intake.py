"""What the SMSC sends and the compiled path does not take: messages from handsets, receipts of unusual form.

    deliver_sm, data_sm ─► receipt ─► ledger (as the compiled path would)      ─┐
                       └─► inbound message ─► kept ─────────────────────────────┴─► settled, then answered

Not here: reading what a person wrote (consent, triggers), joining the parts of a long message.
"""

import logging
from datetime import datetime, timedelta

from msgspec import Struct

from _fastpath import receipttext
from _fastpath.ledger import Ledger
from gateway.dispatch.clock import Clock
from gateway.smpp.link import Link
from gateway.smpp.pdu import Pdu, encode
from gateway.smpp.status import RX_T_APPN
from gateway.store.queue import Inbound

log = logging.getLogger(__name__)

RECEIPT_TYPES = (0x04, 0x20)
TYPE_BITS = 0x3C
# More than this waiting for Postgres: the SMSC is asked to try again later.
INBOUND_HIGH = 10_000
# Longer is no message_id that an SMSC could have given (SMPP 5.0 §4.8.4.43), nor does a row take it.
MESSAGE_ID_OCTETS = 64


class Taken(Struct, frozen=True):
    """What came since the last flush: messages to be kept, and requests to be answered when the flush is durable."""

    messages: list[Inbound]
    unanswered: list[tuple[Link, Pdu]]

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.unanswered)


class Intake:
    """Requests of one lane between their coming and their answer.

    first_id  ids count up from it; unique in the lane
    """

    def __init__(self, ledger: Ledger, clock: Clock, first_id: int):
        self._ledger = ledger
        self._clock = clock
        self._next_id = first_id
        self._kept: list[Inbound] = []
        self._unanswered: list[tuple[Link, Pdu]] = []
        self.messages = 0

    def on_request(self, link: Link, pdu: Pdu) -> None:
        """Take a request of the SMSC in; it is answered when it is durable."""
        now = self._clock.monotonic()
        if pdu.command not in ("deliver_sm", "data_sm"):
            # alert_notification and outbind have no answer; nothing else may come to an ESME.
            log.info("< %s", pdu.command)
            return
        if len(self._kept) >= INBOUND_HIGH:
            link.session.respond(pdu, RX_T_APPN, now=now)
            return
        wall = self._clock.wall()
        if int(pdu.fields["esm_class"]) & TYPE_BITS in RECEIPT_TYPES and self._take_receipt(pdu, now):
            if pdu.command == "deliver_sm":
                # Answered with the others of this link, after the flush that makes it durable.
                link.owe(pdu)
            else:
                self._unanswered.append((link, pdu))
            return
        self._keep(pdu, wall)
        self._unanswered.append((link, pdu))

    def take(self) -> Taken:
        """Hand out what came since the last call: call it before the first await of a flush."""
        taken = Taken(self._kept, self._unanswered)
        self._kept, self._unanswered = [], []
        return taken

    def _take_receipt(self, pdu: Pdu, now: float) -> bool:
        parsed = receipttext.parse(pdu.message)
        receipted = pdu.tlv("receipted_message_id")
        state = pdu.tlv_integer("message_state")
        message_id = (receipted or b"").rstrip(b"\x00")
        if not message_id and parsed is not None:
            message_id = parsed["id"].encode("latin-1", "replace")
        if state is None and parsed is not None:
            state = parsed["message_state"] if parsed["message_state"] is not None else -1
        if not 0 < len(message_id) <= MESSAGE_ID_OCTETS or state is None:
            return False
        err = parsed["err"].encode("latin-1", "replace") if parsed and parsed["err"] else None
        source = str(pdu.fields["source_addr"]).removeprefix("+")
        number = int(source) if source.isascii() and source.isdecimal() and len(source) <= 18 else None
        self._ledger.take_receipt(message_id, state if 0 <= state <= 9 else -1, err, number, pdu.message, now)
        return True

    def _keep(self, pdu: Pdu, wall: datetime) -> None:
        self.messages += 1
        self._next_id += 1
        self._kept.append(
            Inbound(
                id=self._next_id,
                at=wall,
                command=pdu.command,
                source=str(pdu.fields["source_addr"]),
                destination=str(pdu.fields["destination_addr"]),
                esm_class=int(pdu.fields["esm_class"]),
                data_coding=int(pdu.fields["data_coding"]),
                octets=bytes(pdu.message),
                pdu=encode(pdu),
            )
        )


def first_id_of(wall: datetime) -> int:
    """Ids that count up from the microsecond this worker started in: no other start of this lane has them."""
    return (wall - datetime(2020, 1, 1, tzinfo=wall.tzinfo)) // timedelta(microseconds=1)
