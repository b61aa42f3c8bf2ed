"""A hundred thousand messages leave memory where it was: traced blocks, objects, and pages of the process.

So do a million PDUs that cannot be read, and every error on the way. A debug build of Python counts references, too.
"""

import gc
import os
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from _fastpath import alphabet, inbound, peoplerows, segment
from _fastpath.backlog import Backlog
from _fastpath.batch import Batch, read_batches
from _fastpath.exchange import Exchange
from _fastpath.faults import LostFraming
from _fastpath.frame import Frames
from _fastpath.ledger import Ledger
from _fastpath.outbound import Form, encode_batch
from _fastpath.template import Template
from _fastpath.throttle import Throttle
from _fastpath.window import Window
from gateway.smpp import status
from gateway.smpp.session import Role, Session, State
from tests.fuzz import mutation
from tests.oracle import copyrows as oracle

CHUNK, CHUNKS = 1000, 100
SUBMIT_SM_RESP, DELIVER_SM = 0x80000004, 5
THROTTLED = 0x58
STATM = Path("/proc/self/statm")
RECEIPT = b"id:%d sub:001 dlvrd:001 submit date:2603010000 done date:2603010102 stat:DELIVRD err:000 text:"


def framed(command: int, value: int, sequence: int, body: bytes) -> bytes:
    return b"".join(x.to_bytes(4, "big") for x in (len(body) + 16, command, value, sequence)) + body


def resident_octets() -> int:
    """Pages of this process that are in memory; 0 where the system does not tell."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if STATM.exists() else 0


def stays(lap: Callable[[int], None]) -> None:
    """Run 100 laps of 1000 messages behind 20 that fill what is kept on purpose, and compare."""
    for number in range(20):
        lap(number)
    tracemalloc.start()
    try:
        lap(20)
        gc.collect()
        references = getattr(sys, "gettotalrefcount", int)()
        traced, objects, resident = tracemalloc.get_traced_memory()[0], len(gc.get_objects()), resident_octets()
        for number in range(21, 21 + CHUNKS):
            lap(number)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - traced < 64 << 10
        assert len(gc.get_objects()) - objects < 50
        assert getattr(sys, "gettotalrefcount", int)() - references < 1000
        # A leak of 100 octets a message is 10 MB here. AddressSanitizer keeps what is freed, on purpose.
        if "asan" not in os.environ.get("LD_PRELOAD", ""):
            assert resident_octets() - resident < 8 << 20
    finally:
        tracemalloc.stop()


def bind(backlog: Backlog, ledger: Ledger) -> Exchange:
    exchange = Exchange(Window(CHUNK), Throttle(), backlog, ledger, status.table())
    exchange.may_submit = exchange.takes_responses = exchange.takes_deliveries = True
    exchange.retry_delay_s = exchange.throttle_pause_s = 0.0
    return exchange


def chunk(chunk_id: int, form: Form) -> Batch:
    batch = Batch.of(chunk_id, [447700000000 + pos for pos in range(CHUNK)], [["Zoë"]] * CHUNK)
    batch.dress(form)
    batch.commit(CHUNK)
    return batch


def flush(backlog: Backlog, ledger: Ledger) -> None:
    backlog.take_finished()
    for rows in (ledger.outcomes, ledger.receipts, ledger.waiting):
        rows.take()


@pytest.mark.slow
def test_messages_that_are_sent_answered_and_receipted_leave_nothing_behind():
    backlog, ledger = Backlog(), Ledger(1, 4096)
    exchange = bind(backlog, ledger)
    form = Form(Template('Hi {{ name|default("you") }}'))
    ledger.recall.set_rule("verbatim")  # whichever number the receipts name
    head = b"\x00\x01\x01447700900123\x00\x05\x00Sluice\x00\x04" + bytes(8)

    def lap(number: int) -> None:
        backlog.add(chunk(number, form))
        first = number * CHUNK + 1
        assert exchange.fill(float(number)) == CHUNK
        exchange.take_output()
        answers = [
            framed(SUBMIT_SM_RESP, 0, sequence, b"%d\x00" % sequence) for sequence in range(first, first + CHUNK)
        ]
        exchange.feed(b"".join(answers), number + 0.5)
        receipts = [RECEIPT % sequence for sequence in range(first, first + CHUNK)]
        deliveries = [framed(DELIVER_SM, 0, 1, head + bytes([len(text)]) + text) for text in receipts]
        exchange.feed(b"".join(deliveries), number + 0.7)
        exchange.acknowledge(exchange.owed_upto)
        exchange.take_output()
        flush(backlog, ledger)
        assert backlog.is_empty and ledger.receipts_matched == (number + 1) * CHUNK

    stays(lap)


@pytest.mark.slow
def test_messages_that_are_throttled_expired_late_and_lost_leave_nothing_behind():
    backlog, ledger = Backlog(), Ledger(1, 4096)
    form = Form(Template("{{ name }} " + "x" * 300))

    def lap(number: int) -> None:
        exchange = bind(backlog, ledger)
        batch = chunk(number, form)
        backlog.add(batch)
        last = 0
        for answer in (THROTTLED, 0):
            first, last = last + 1, last + exchange.fill(float(number)) // 2
            exchange.take_output()
            for sequence in range(first, last):
                exchange.feed(framed(SUBMIT_SM_RESP, answer, sequence, b"%d\x00" % sequence), float(number))
        exchange.expire(number + 0.1, number + 0.2)
        exchange.feed(framed(SUBMIT_SM_RESP, 0, last + 1, b"late\x00"), number + 0.3)
        exchange.fill(number + 0.4)
        exchange.lose(number + 0.5)
        backlog.drop(number)
        other = bind(backlog, ledger)
        other.fill(number + 0.6)
        other.lose(number + 0.7)
        flush(backlog, ledger)
        assert backlog.is_empty

    stays(lap)


@pytest.mark.slow
def test_chunks_that_are_read_compiled_and_written_leave_nothing_behind():
    numbers = [447700000000 + pos for pos in range(CHUNK)]
    octets = oracle.stream([oracle.claim(1, numbers, [["Zoë", None]] * CHUNK)])

    def lap(number: int) -> None:
        for batch in read_batches(octets):
            batch.dress(Form(Template(f'{{{{ a }}}} {{{{ b|default("{number}") }}}}')))
            assert encode_batch(batch)[1] == CHUNK
        for end in (30, 60, 500, len(octets) - 1):
            with pytest.raises(ValueError):
                read_batches(octets[:end])

    stays(lap)


@pytest.mark.slow
def test_a_million_pdus_that_cannot_be_read_leave_nothing_behind():
    good = [octets for octets in mutation.pdus() if len(octets) >= 16]
    chance, strange = random.Random(4), []
    while len(strange) < 2000:
        octets = mutation.mutated(chance, chance.choice(good), good)
        if len(octets) >= 16:
            strange.append(len(octets).to_bytes(4, "big") + octets[4:])
    stream = b"".join(strange)
    backlog, ledger = Backlog(), Ledger(1, 4096)
    seen = 0

    def lap(number: int) -> None:
        nonlocal seen
        exchange = bind(backlog, ledger)
        session = Session(Role.ESME, now=0.0, state=State.BOUND_TRX)
        for _ in range(5):
            exchange.feed(stream, float(number))
            rare = exchange.take_rare()
            seen += len(strange)
        # All of them by the compiled path, each twentieth by the session too.
        for octets in rare[number % 20 :: 20]:
            session.receive(octets, float(number))
        session.take_output()
        exchange.acknowledge(exchange.owed_upto)
        exchange.take_output()
        exchange.feed(b"\0\0\0\x0f" + bytes(12), float(number))
        assert exchange.lost_framing
        flush(backlog, ledger)

    stays(lap)
    assert seen >= 1_000_000


@pytest.mark.slow
def test_errors_leave_nothing_behind():
    def lap(number: int) -> None:
        for _ in range(100):
            for wrong in (
                lambda: Template("{{ "),
                lambda: alphabet.encode("中", "gsm7"),
                lambda: alphabet.unpack(b"ab", 9),
                lambda: segment.segment(b"\x1b" * 400, "gsm7", 1, 16, max_parts=1),
                lambda: inbound.receipt(b"\0\0\0\x10" + bytes(12)),
                lambda: inbound.Reading("never"),
                lambda: read_batches(b"PGCOPY\n" + bytes(30)),
                lambda: peoplerows.in_key_order([bytes(60)]),
                lambda: Template("{{ a }}").encode(["中"], "gsm7"),
                lambda: Form(Template("x"), tlvs=((1, "none", None, 9, True, 0),)),
            ):
                with pytest.raises(ValueError):
                    wrong()
            frames = Frames()
            frames.feed(bytes(16))
            with pytest.raises(LostFraming):
                frames.feed(b"x")

    stays(lap)
