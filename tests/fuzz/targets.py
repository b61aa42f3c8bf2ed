"""What is fuzzed: every entry that reads octets or text of strangers, each as a function of octets.

Held by all of them: any octets are read, or refused by a documented fault (_fastpath/faults.py, gateway/errors.py,
ValueError where the stub says so); never another error, never a read past the end, never a step without progress. What
else a target holds stands in its first line. The first octet chooses between ways where there are some (`split`).
"""

import json
import os
import random
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from _fastpath import alphabet, inbound, peoplerows, receipttext, segment
from _fastpath.backlog import Backlog
from _fastpath.batch import Batch, read_batches
from _fastpath.centre import Centre
from _fastpath.copyrows import OutcomeRows
from _fastpath.exchange import Exchange
from _fastpath.faults import LostFraming, MalformedPdu, NotEncodable, TooManyParts
from _fastpath.frame import Frames
from _fastpath.ledger import Ledger
from _fastpath.national import LANGUAGE_BY_NAME, shifts_of
from _fastpath.outbound import Form, encode_batch, explain
from _fastpath.recall import RULES, Recall
from _fastpath.references import References
from _fastpath.ring import Ring
from _fastpath.template import Template
from _fastpath.throttle import Throttle
from _fastpath.transliteration import transliterate
from _fastpath.window import Window
from gateway import config
from gateway.commands.bench import claimed_octets
from gateway.contacts.numbers import Numbers
from gateway.contacts.reading import Reading as PeopleReading
from gateway.contacts.table import Table
from gateway.errors import ConfigError, EncodeError, FileFault, RemoteProtocolError
from gateway.smpp import capture, inboundtext, pdu, receipt, status, times
from gateway.smpp import session as sessions
from gateway.smpp.session import Role, Session, State
from tests.fuzz import mutation

FORM = Form(Template("Hi"), registered_delivery=1)
LONG = Form(Template("{{ a }} " + "x" * 300), tlvs=((0x1400, "cstring", "a", 0, False, 254),))
SHIFTS = sorted({shift for language in LANGUAGE_BY_NAME.values() for shift in shifts_of(language)})
READINGS = (
    inbound.Reading(),
    inbound.Reading("either", "text", {"ok": 2, "failed_for_ever": 5}),
    inbound.Reading("pattern"),
)
STATUSES = status.table()  # half a millisecond, and always the same
WALKS = ("gsm7", "latin1", "ucs2")
SECRET_LINE = re.compile(r"""(password|dsn) = "[^"\\]*"$""")


class Target(NamedTuple):
    """One entry: what runs an input, and the inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def split(octets: bytes) -> tuple[int, bytes]:
    """Take the first octet off; 0 where there is none."""
    return (octets[0], octets[1:]) if octets else (0, b"")


def pieces(octets: bytes, way: int) -> Iterable[bytes]:
    """Cut a stream as `way` says: octet by octet, into pieces of one size, or by chance that it seeds."""
    if way < 64:
        sizes: Iterable[int] = iter(lambda: way + 1, 0)
    else:
        chance = random.Random(way)
        sizes = iter(lambda: chance.randrange(1, 80), 0)
    at = 0
    for size in sizes:
        if at >= len(octets):
            return
        yield octets[at : at + size]
        at += size


# -- the wire ---------------------------------------------------------------------------------------------------------


def framing(octets: bytes) -> None:
    """Give the same PDUs, rest and loss for a stream however it is cut; every PDU is a whole one."""
    way, stream = split(octets)
    whole, cut = Frames(4096), Frames(4096)
    expected, found = whole.feed(stream), []
    for piece in pieces(stream, way):
        if cut.lost is None:
            found += cut.feed(piece)
    assert found == expected and str(cut.lost) == str(whole.lost)
    assert whole.lost is not None or (cut.rest == whole.rest and b"".join(found) + cut.rest == stream)
    assert all(int.from_bytes(one[:4], "big") == len(one) >= 16 for one in found)


def exchange_with_window(reading: inbound.Reading | None = None) -> Exchange:
    """An exchange with eight submit_sm in flight, numbers 1 to 8."""
    ledger, backlog = Ledger(1, 1024, reading), Backlog()
    exchange = Exchange(Window(8), Throttle(), backlog, ledger, STATUSES)
    exchange.may_submit = exchange.takes_responses = exchange.takes_deliveries = True
    batch = Batch.of(1, list(range(447_700_900_000, 447_700_900_020)))
    batch.dress(FORM)
    batch.commit(batch.n)
    backlog.add(batch)
    exchange.fill(0.0)
    exchange.take_output()
    return exchange


def after(exchange: Exchange) -> tuple[object, ...]:
    """What an exchange has done, to be compared with another's."""
    ledger = exchange.ledger
    seen = (exchange.take_rare(), exchange.lost_framing, exchange.owed_upto, exchange.window.in_flight)
    exchange.acknowledge(exchange.owed_upto)
    seen += (exchange.take_output(), ledger.counts()["responses"], ledger.receipts_matched, ledger.receipts_waiting)
    exchange.lose(2.0)
    return (*seen, ledger.outcomes.take(), ledger.receipts.take(), ledger.waiting.take())


def inbound_stream(octets: bytes) -> None:
    """Write the same rows and answers for a stream however it is cut."""
    way, stream = split(octets)
    reading = READINGS[way % 3]
    whole, cut = exchange_with_window(reading), exchange_with_window(reading)
    whole.may_submit = cut.may_submit = False  # what leaves between two reads is another matter
    whole.ring = Ring(1 << 16)
    whole.feed(stream, 1.0)
    for piece in pieces(stream, way):
        cut.feed(piece, 1.0)
    seen = after(whole)
    assert seen == after(cut)
    for one in seen[0]:  # type: ignore[attr-defined]
        pdu.salvage(one, pdu.CARRIER)


def pdus(octets: bytes) -> None:
    """Give a fixpoint: what can be decoded is encoded to octets that decode to the same."""
    for tolerance in (pdu.STRICT, pdu.CARRIER, pdu.ANYTHING):
        try:
            found = pdu.decode(octets, tolerance)
        except MalformedPdu as fault:
            assert 0 <= fault.offset <= max(len(octets), 16)
            continue
        pdu.to_json(found, len(octets))
        try:
            again = pdu.encode(found, tolerance)
        except EncodeError:
            # Of a response nothing is refused that can be read; we would never write such a one.
            assert tolerance is not pdu.STRICT or found.command.endswith("_resp")
            continue
        assert pdu.decode(again, tolerance) == found
        assert pdu.encode(pdu.decode(again, tolerance), tolerance) == again


def session(octets: bytes) -> None:
    """Answer no request twice, say nothing once closed, and come to an end when time runs out."""
    way, rest = split(octets)
    role = Role.ESME if way & 1 else Role.SMSC
    state = list(State)[way // 2 % 5] if way & 0x80 else State.OPEN
    one = Session(role, now=0.0, system_id="S", state=state, version=(0x33, 0x34, 0x50)[way // 16 % 3])
    now, answered = 0.0, []
    for number, octets in enumerate(Frames().feed(rest)):
        now += (rest[number] & 15) * 0.7
        was_closed = one.state is State.CLOSED
        events = list(one.tick(now))
        try:
            events += one.receive(octets, now)
        except RemoteProtocolError:
            assert one.state is State.CLOSED
        for event in events:
            if isinstance(event, sessions.Request) and way & 8 and one._owed[event.pdu.command, _number(event)]:
                one.respond(event.pdu, 0 if way & 4 else 0x0D, now=now)
        written = Frames().feed(one.take_output())
        assert not (was_closed and written)
        answered += [reply for reply in written if reply[4] & 0x80]
    assert len(answered) <= len(Frames().feed(rest)) + 1
    for later in range(20):
        one.tick(now + 40.0 * later)
    one.take_output()
    # Whoever was silent so long is given up, unless nothing was ever awaited of him.
    assert one.state in (State.CLOSED, State.UNBOUND) or one.next_at is None
    assert one.lost() == [] or one.state is State.CLOSED


def _number(event: sessions.Request) -> int:
    return event.pdu.sequence_number


def centre(octets: bytes) -> None:
    """Say the same for a stream however it is cut: the simulator's SMSC, bound both ways."""
    way, stream = split(octets)
    said = []
    for cut in ([stream], list(pieces(stream, way))):
        one = Centre(0, receipts="requested", ledger=True, ledger_text=True, states=(("DELIVRD", 2, "000", 1.0),))
        link = one.open()
        one.bind(link, 0, True, True, 0x34, 0)
        held, others = b"", []
        try:
            for piece in cut:
                held += piece
                start = 0
                while True:
                    start = one.turn(link, held, start, len(held), 5)
                    if one.other is None:
                        break
                    others.append(one.other)
                    if one.other[4] & 0x80 == 0 and len(one.other) > 1000:
                        break
                held = held[start:]
        except LostFraming:
            others.append(b"lost")
        one.take_ledger()
        one.advance(10_000_000_000)
        waits = one.pending(link)
        said.append((others, bytes(waits) if waits is not None else b""))
        one.close(link, 10_000_000_001)
        one.totals()
    assert said[0] == said[1]


# -- texts ------------------------------------------------------------------------------------------------------------


def receipts(octets: bytes) -> None:
    """Give a state of the closed list and an id of 1 to 255 octets, by whichever of the three readers."""
    receipttext.parse(octets)
    for reading in READINGS:
        found = reading.read(octets, None, None, None, True)
        assert found is None or (0 < len(found["message_id"]) <= 255 and -1 <= found["state"] <= 9)
    if len(octets) < 16:
        return
    whole = len(octets).to_bytes(4, "big") + b"\0\0\0\x05" + octets[8:]
    for reading in READINGS:
        read = inbound.receipt(whole, reading)
        assert read is None or (0 < len(read["message_id"]) <= 255 and -1 <= read["state"] <= 9)
        parsed, fault = pdu.salvage(whole, pdu.CARRIER)
        if fault is None:
            receipt.read(parsed, reading)


def handset_text(octets: bytes) -> None:
    """Give a text without U+0000 for any octets, codings and headers; parts never lie outside their message."""
    coding, rest = split(octets)
    esm_class, rest = split(rest)
    cut = len(rest) // 2
    parts = [rest] if esm_class & 1 else [rest[:cut], rest[cut:]]
    headers = [inboundtext.header_of(part, esm_class) for part in parts]
    assert all(1 <= header.number <= header.total <= 255 for header in headers)
    assert all(header.octets <= len(part) for header, part in zip(headers, parts, strict=True))
    read = [inboundtext.Piece(part, header.octets) for part, header in zip(parts, headers, strict=True)]
    declared = {coding: ("gsm7", "gsm7-packed", "ascii", "latin1", "utf8", "ucs2", "ucs2le", "binary")[esm_class % 8]}
    for alphabets in (None, declared):
        text = inboundtext.read(
            read,
            coding,
            single_shift=headers[0].single_shift,
            locking=headers[0].locking,
            alphabets=alphabets,
        )
        assert "\0" not in text.text
        # A text that is written to Postgres must be one.
        text.text.encode()


def alphabets(octets: bytes) -> None:
    """Decode anything; what an alphabet has comes back as it was, segments joined are the text, packed septets too."""
    way, rest = split(octets)
    shift, locking = SHIFTS[way % len(SHIFTS)]
    for name in (*WALKS, "ascii", "utf8", "binary"):
        text = alphabet.decode(rest, name)
        if name in WALKS:
            _cut(text, name, way)
    _cut(rest.decode("utf-8", "replace"), "gsm7", way)
    alphabet.decode(rest, "gsm7", single_shift=shift, locking=locking)
    septets = bytes(octet & 0x7F for octet in rest)
    fill_bits = way % 7
    assert alphabet.unpack(alphabet.pack(septets, fill_bits), len(septets), fill_bits) == septets
    alphabet.unpack(rest, (8 * len(rest) - fill_bits) // 7 if 8 * len(rest) > fill_bits else 0, fill_bits)
    transliterate(rest.decode("utf-8", "replace"))


def _cut(text: str, name: str, way: int) -> None:
    """Encode, compare with what it decodes to, cut, join."""
    try:
        octets = alphabet.encode(text, name)
    except NotEncodable:
        return
    assert alphabet.measure(text, name) * (2 if name == "ucs2" else 1) == len(octets)
    try:
        parts = segment.segment(octets, name, way, (8, 16)[way & 1], grapheme=bool(way & 2), max_parts=max(1, way))
    except TooManyParts:
        return
    assert b"".join(payload for _, payload in parts) == octets


def templates(octets: bytes) -> None:
    """Compile a text or say what is wrong with it; values are put in once and never read as a template again."""
    text = octets.decode("utf-8", "replace")
    try:
        template = Template(text)
    except ValueError:
        return
    names = set(template.fields)
    values = ["{{ a }}" if number % 2 else None for number in range(len(names))]
    for name in ("gsm7", "ucs2"):
        try:
            found = alphabet.decode(template.encode(values, name), name)
        except (NotEncodable, KeyError):
            continue
        # Normal form makes up to three characters of one.
        assert len(found) <= 3 * (len(text) + text.count("{{") * 7)
    explain(Form(template), values)
    numbers = [447_700_900_000, 447_700_900_001]
    batch = Batch.of(1, numbers, [values, list(reversed(values))])
    batch.dress(Form(template, max_parts=4))
    batch.commit(2)
    for octets in Frames().feed(encode_batch(batch, 1, References())[0]):
        pdu.decode(octets)


# -- people -----------------------------------------------------------------------------------------------------------


@cache
def _judges() -> tuple[Numbers, ...]:
    return (Numbers("GB"), Numbers(), Numbers("US", forms="national", mobile=True, possible=True))


def numbers(octets: bytes) -> None:
    """Judge each cell by itself; a number has 7 to 15 digits, and packed rows sort to the same rows."""
    way, rest = split(octets)
    cells = rest.decode("utf-8", "replace").split("\n")
    found, kinds, verdicts = _judges()[way % 3].column(cells)
    assert len(found) == len(kinds) == len(cells)
    assert all(number == 0 or 10**6 <= number < 10**15 for number in found)
    assert all(found[at] or at in verdicts for at in range(len(cells)))
    packed = peoplerows.pack(found, 7, [b'"a":'], [cells])
    assert len(peoplerows.in_key_order([packed, packed])) == 2 * len(packed)
    try:
        peoplerows.in_key_order([rest])
    except ValueError:
        pass


def table(octets: bytes) -> None:
    """Read a file of people, or refuse it in one word; every row is a person, a fault or a note."""
    path = _place()
    path.write_bytes(octets)
    try:
        with Table(str(path)) as opened:
            report = PeopleReading(opened, _judges()[0]).run()
            assert report.rows >= 0
    except (FileFault, ConfigError):
        pass


@cache
def _place() -> Path:
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="sluice-fuzz-", dir=folder)) / "people.csv"


# -- Postgres, rings, settings ----------------------------------------------------------------------------------------


def claims(octets: bytes) -> None:
    """Read claimed chunks; numbers and values of what is read lie inside it, and can be composed."""
    try:
        batches = read_batches(octets)
    except ValueError:
        return
    for batch in batches[:4]:
        for pos in range(min(batch.n, 4)):
            batch.number(pos)
            batch.values(pos)
        batch.dress(LONG if batch.columns else FORM)
        batch.commit(batch.n)
        if batch.n <= 64:
            encode_batch(batch)
    rows = OutcomeRows(1)
    rows.add_row(1, 2, 1, 1, 1, 0, 0, 0, octets[:255] or None)
    rows.take()


def recall(octets: bytes) -> None:
    """Remember and find ids of any octets, under every rule; a rule learnt by chance never raises."""
    way, rest = split(octets)
    one = Recall(16)
    one.set_rule(RULES[way % len(RULES)], bool(way & 64))
    for number, message_id in enumerate(rest.split(b"\n")):
        if number % 3 == 2:
            one.receipt(message_id, 447_700_900_000 + way, 0)
            one.get(message_id)
        else:
            one.add(message_id[:255], number, 0, 1, float(number), 447_700_900_000 + way)
            assert one.kept <= one.capacity
    for message_id in rest.split(b"\n"):
        one.receipt(message_id, 0, 0)


def rings(octets: bytes) -> None:
    """Keep, mask and write what crossed a socket; masked octets have the length of the true ones. Tapes are refused."""
    way, rest = split(octets)
    one = Ring(1 << (way % 8 + 10))
    one.open(("127.0.0.1", 2775), ("::1", 40_000), 0.0)
    for number, piece in enumerate(pieces(rest, way)):
        if (number + way) % 2:
            one.keep_read(piece, number / 10, 0)
        else:
            one.keep_written(piece, number / 10, 0)
    tape = capture.tape_of("acme/1", one.slices(), one.connections(), 0.0, redacts=bool(way & 1))
    assert capture.unpack(capture.pack(tape)) == tape
    for crossed in capture.pdus_of(tape):
        pdu.salvage(crossed.octets, pdu.ANYTHING)
    capture.pcap_of(tape)
    stream = bytearray(rest)
    capture.mask(stream, bool(way & 1))
    assert len(stream) == len(rest)
    try:
        capture.pdus_of(capture.unpack(rest))
    except msgspec.DecodeError:
        pass


def settings(octets: bytes) -> None:
    """Take a file of settings, or name each key that is wrong."""
    try:
        text = octets.decode()
        document = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
        return
    problems: list[tuple[str, str, str]] = []
    config.decode(document, "fuzz.toml", problems)
    assert all(isinstance(word, str) for problem in problems for word in problem)
    lines = [line for line in text.splitlines() if "c4n4ry" in line]
    if all(SECRET_LINE.match(line) for line in lines):
        assert "c4n4ry" not in repr(problems)


def dates(octets: bytes) -> None:
    """Read a time of SMPP, or say what is wrong with it; written again it is the same moment."""
    text = octets.decode("latin-1")
    try:
        found = times.parse(text)
    except ValueError:
        return
    if isinstance(found, times.Relative):
        assert times.parse(times.relative(found)) == found


# -- seeds ------------------------------------------------------------------------------------------------------------


def _streams() -> list[bytes]:
    good = mutation.pdus()
    return [b"\x00" + one for one in good] + [b"\x40" + b"".join(good[at : at + 4]) for at in range(0, len(good), 4)]


def _vectors(name: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((mutation.VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _texts() -> list[bytes]:
    words = [
        "Hi {{ name }}",
        "ÆØÅ €[]~ \x1b",
        "中文 \U0001f468‍\U0001f469",
        "a" * 161,
        '{{ a|default("b") }}{{ c }}',
        "ß" * 80,
    ]
    return [word.encode() for word in words]


def _files() -> list[bytes]:
    rows = 'number;name\n+447700900123;Zoë\n07700 900124;"a;b"\n\n447700900125;=1+1\n'
    return [
        rows.encode(),
        rows.encode("utf-16"),
        rows.encode("cp1252"),
        rows.replace(";", ",").encode(),
        b"sep=|\na|b\n1|2",
    ]


def _settings_seeds() -> list[bytes]:
    return [
        b'[carriers.acme]\nhost = "smsc.example"\nsystem_id = "a"\npassword = "c4n4ry"\ntps = 100\n',
        b'[database]\ndsn = "postgresql://u:c4n4ry@h/d"\n[worker]\nlease_s = 5\n',
        b'[carriers.a]\nhost="h"\nsystem_id="a"\nwindow=1.5\ntps=nan\nhosts=[1]\n[routes]\n[[routes]]\nto=["GB"]\n',
        b'[profiles.p]\ninherits=["strict-3.4"]\n[carriers.a]\nprofile="p"\nhost="h"\nsystem_id="a"\n',
    ]


TARGETS = {
    "framing": Target(framing, _streams),
    "inbound": Target(inbound_stream, _streams),
    "pdus": Target(pdus, mutation.pdus),
    "session": Target(session, lambda: [bytes((way,)) + one[1:] for one in _streams() for way in (8, 15, 130, 143)]),
    "centre": Target(centre, _streams),
    "receipts": Target(receipts, lambda: mutation.receipts() + mutation.pdus()),
    "handset_text": Target(
        handset_text, lambda: [bytes((c, 0x40)) + t for c in (0, 3, 8) for t in mutation.user_data()]
    ),
    "alphabets": Target(alphabets, lambda: [b"\x00" + text for text in _texts()]),
    "templates": Target(templates, _texts),
    "numbers": Target(numbers, lambda: [b"\x00" + one.replace(b";", b"\n") for one in _files()]),
    "table": Target(table, _files),
    "claims": Target(claims, lambda: [claimed_octets(1, 447_700_900_000, 5)]),
    "recall": Target(recall, lambda: [b"\x00123\n0x7b\n123\n0123\nABC", b"\x021f\n31\n31\n\n\xff\n" + b"9" * 300]),
    "rings": Target(rings, _streams),
    "settings": Target(settings, _settings_seeds),
    "dates": Target(dates, lambda: [b"230601120000004+", b"000007000000000R", b"991332256199999-", b""]),
}
