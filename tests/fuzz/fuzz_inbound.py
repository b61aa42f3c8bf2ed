"""Any octets become rows or rare PDUs, are waited for, or lose the framing.

Never another error, never a read past the end (./dev fuzz runs this under sanitizers).
"""

import random

from _fastpath import inbound
from _fastpath.backlog import Backlog
from _fastpath.batch import Batch, read_batches
from _fastpath.exchange import Exchange
from _fastpath.faults import LostFraming, MalformedPdu
from _fastpath.frame import Frames
from _fastpath.ledger import Ledger
from _fastpath.outbound import Form
from _fastpath.template import Template
from _fastpath.throttle import Throttle
from _fastpath.window import Window
from gateway.commands.bench import claimed_octets
from gateway.smpp import pdu, status
from tests.fuzz import mutation

GOOD = mutation.pdus()
CLAIMED = claimed_octets(1, 447_700_900_000, 5)
FORM = Form(Template("Hi"), registered_delivery=1)


def exchange_with_window() -> Exchange:
    """An exchange with eight submit_sm in flight, numbers 1 to 8."""
    ledger, backlog = Ledger(1), Backlog()
    exchange = Exchange(Window(8), Throttle(), backlog, ledger, status.table())
    exchange.may_submit = exchange.takes_responses = exchange.takes_deliveries = True
    batch = Batch.of(1, list(range(447_700_900_000, 447_700_900_020)))
    batch.dress(FORM)
    batch.commit(batch.n)
    backlog.add(batch)
    exchange.fill(0.0)
    return exchange


def one(chance: random.Random) -> None:
    stream = b"".join(mutation.mutated(chance, chance.choice(GOOD), GOOD) for _ in range(chance.randrange(1, 6)))
    exchange = exchange_with_window()
    at = 0
    while at < len(stream):
        size = chance.randrange(1, 200)
        exchange.feed(stream[at : at + size], 1.0)
        at += size
    for octets in exchange.take_rare():
        try:
            pdu.decode(octets)
        except MalformedPdu:
            pass
    exchange.acknowledge(exchange.owed_upto)
    exchange.lose(2.0)
    exchange.ledger.outcomes.take()
    frames = Frames()
    try:
        frames.feed(stream)
        frames.feed(b"")
    except LostFraming:
        pass
    try:
        inbound.receipt(mutation.mutated(chance, GOOD[26], GOOD))
    except ValueError:
        pass
    try:
        read_batches(mutation.mutated(chance, CLAIMED, [CLAIMED]))
    except ValueError:
        pass


if __name__ == "__main__":
    mutation.run("inbound", one)
