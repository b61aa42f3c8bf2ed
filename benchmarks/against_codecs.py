"""Text to submit_sm: ours in batch beside smpp34, smpplib and aiosmpplib, in one process and one run.

    python -m benchmarks.against_codecs [--rounds N] [--quick] [--messages N]

The same messages (corpus.py) for all, a list of them at a time, `ours, smpp34, smpplib, …` in turn. Nanoseconds a
message, median of the rounds. What each does for one:

    ours             outbound.encode_batch: two fields merged into the template, alphabet chosen, encoded, cut at
                     safe places, UDH of a 16-bit reference, submit_sm; 100 messages a call, as many as a window of
                     100 has room for
    ours, 1000 a call  the same on a whole chunk: the octets returned are then a fresh object of up to 600 kB, and the
                     kernel's zeroing of its pages is in the figure. The sending path has no such object: it composes
                     into the same outbox again and again (bench_window.py measures that)
    ours, claimed    the same and read_batches before it: from the octets of the claim
    smpp34           has no codec and no segmenter: from the merged text by Python's latin-1 or utf-16-be (right for
                     these texts alone, and the fastest there is), slices with an 8-bit UDH made by hand, cut wherever
                     it falls, then SubmitSm(…).encode() for each part
    smpp34, packing  SubmitSm(…).encode() alone: the parts were encoded, cut and headed before the clock started
    smpplib          gsm.make_parts, its own, and make_pdu("submit_sm").generate() for each part
    aiosmpplib       SubmitSm(short_message=…).pdu() with its own codec; where there is more than one part the way its
                     ESME does it: utils.split_sms_udh, a clone with three optional parameters for each part, pdu()

A peer is handed merged text (ours merges inside its figure), which flatters it by the price of a str.format.
Not measured: sockets, windows, sequence numbers beyond a counter, what a caller pays to call them from asyncio.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from _fastpath.batch import read_batches
from _fastpath.outbound import Form, encode_batch
from _fastpath.template import Template
from benchmarks import corpus, figures, machine

MESSAGES = 100
CHUNK = 1000
ROUNDS = 21
# At least so many times as fast as smpp34, and nanoseconds aimed at.
TIMES_SMPP34 = 10.0
AIMS_NS = {"gsm_80": 100.0, "gsm_400": 400.0, "ucs2_120": 300.0}
PART_SEPTETS = 153
PART_UCS2_OCTETS = 134
Encoder = Callable[[], int]
"""Encodes every message once; -> PDUs made."""


class Missing(ImportError):
    """A peer that is not installed."""


def ours(case: corpus.Case, n: int) -> Encoder:
    [batch] = read_batches(corpus.claimed(case, n))
    batch.dress(Form(Template(case.template), source=corpus.SOURCE))

    def encode() -> int:
        _, segments, refused = encode_batch(batch)
        assert not refused
        return int(segments)

    return encode


def ours_claimed(case: corpus.Case, n: int) -> Encoder:
    octets = corpus.claimed(case, n)
    form = Form(Template(case.template), source=corpus.SOURCE)

    def encode() -> int:
        segments = 0
        for batch in read_batches(octets):
            batch.dress(form)
            segments += encode_batch(batch)[1]
        return segments

    return encode


def parts_by_hand(text: str, alphabet: str, reference: int) -> list[bytes]:
    """What a user of a library without a segmenter writes: encoded, sliced, an 8-bit UDH before each slice."""
    if alphabet == "gsm7":
        octets, single, each = text.encode("latin-1"), 160, PART_SEPTETS
    else:
        octets, single, each = text.encode("utf-16-be"), 140, PART_UCS2_OCTETS
    if len(octets) <= single:
        return [octets]
    slices = [octets[at : at + each] for at in range(0, len(octets), each)]
    head = bytes((5, 0, 3, reference & 0xFF, len(slices)))
    return [head + bytes((number,)) + piece for number, piece in enumerate(slices, 1)]


def smpp34_parts(case: corpus.Case) -> Callable[[str, list[bytes], int], int]:
    """-> packer(number, parts, sequence) of one message, which says how many PDUs it made."""
    try:
        import smpp34
    except ImportError as error:
        raise Missing("smpp34") from error
    submit_sm = smpp34.SubmitSm
    coding = 8 if case.alphabet == "ucs2" else 0

    def pack(number: str, parts: list[bytes], sequence: int) -> int:
        esm_class = 0x40 if len(parts) > 1 else 0
        for part in parts:
            submit_sm(
                corpus.SOURCE, number, part,
                source_addr_ton=5, dest_addr_ton=1, dest_addr_npi=1, esm_class=esm_class, registered_delivery=1,
                data_coding=coding, sequence_number=sequence,
            ).encode()  # fmt: skip
            sequence += 1
        return len(parts)

    return pack


def smpp34(case: corpus.Case, n: int) -> Encoder:
    messages = list(zip(map(str, corpus.numbers(n)), corpus.texts_of(case, n), strict=True))
    alphabet, pack = case.alphabet, smpp34_parts(case)

    def encode() -> int:
        made = 0
        for number, text in messages:
            made += pack(number, parts_by_hand(text, alphabet, made), made + 1)
        return made

    return encode


def smpp34_packing(case: corpus.Case, n: int) -> Encoder:
    texts = corpus.texts_of(case, n)
    messages = [
        (str(number), parts_by_hand(text, case.alphabet, number))
        for number, text in zip(corpus.numbers(n), texts, strict=True)
    ]
    pack = smpp34_parts(case)

    def encode() -> int:
        made = 0
        for number, parts in messages:
            made += pack(number, parts, made + 1)
        return made

    return encode


def smpplib(case: corpus.Case, n: int) -> Encoder:
    try:
        from smpplib import gsm, smpp
        from smpplib.client import SimpleSequenceGenerator
    except ImportError as error:
        raise Missing("smpplib") from error
    messages = list(zip(map(str, corpus.numbers(n)), corpus.texts_of(case, n), strict=True))
    # make_pdu wants what Client has: a source of sequence numbers.
    numbering = SimpleSequenceGenerator()

    def encode() -> int:
        made = 0
        for number, text in messages:
            parts, coding, esm_class = gsm.make_parts(text)
            for part in parts:
                smpp.make_pdu(
                    "submit_sm", client=numbering, source_addr_ton=5, source_addr=corpus.SOURCE, dest_addr_ton=1,
                    dest_addr_npi=1, destination_addr=number, short_message=part, data_coding=coding,
                    esm_class=esm_class, registered_delivery=1,
                ).generate()  # fmt: skip
            made += len(parts)
        return made

    return encode


def aiosmpplib(case: corpus.Case, n: int) -> Encoder:
    try:
        from aiosmpplib import NPI, TON, OptionalParam, PhoneNumber, SubmitSm
        from aiosmpplib.state import SAR_MSG_REF_NUM, SAR_SEGMENT_SEQNUM, SAR_TOTAL_SEGMENTS
        from aiosmpplib.utils import detect_format, split_sms_udh
    except ImportError as error:
        raise Missing("aiosmpplib") from error
    source = PhoneNumber(corpus.SOURCE, TON.ALPHANUMERIC, NPI.UNKNOWN)
    messages = list(zip(map(str, corpus.numbers(n)), corpus.texts_of(case, n), strict=True))
    esm_class = 0x40 if case.segments > 1 else 0

    def encode() -> int:
        made = 0
        for number, text in messages:
            message = SubmitSm(
                short_message=text, source=source, destination=PhoneNumber(number), esm_class=esm_class,
                registered_delivery=1, auto_message_payload=False, log_id="1",
            )  # fmt: skip
            if not esm_class:
                message.sequence_num = made + 1
                message.set_encoding_info("gsm0338", None)
                message.pdu()
                made += 1
                continue
            # As ESME._send_messages does it for a text that is over one part.
            reference = made & 0xFF
            message.encoding = detect_format(text)
            parts = split_sms_udh(text, message.encoding, reference)
            for number_of_part, part in enumerate(parts, 1):
                copy = message.clone()
                copy.set_encoded_message(part)
                copy.optional_params += [
                    OptionalParam(SAR_MSG_REF_NUM, reference),
                    OptionalParam(SAR_SEGMENT_SEQNUM, number_of_part),
                    OptionalParam(SAR_TOTAL_SEGMENTS, len(parts)),
                ]
                copy.sequence_num = made + number_of_part
                copy.pdu()
            made += len(parts)
        return made

    return encode


# In the order of a round: name, what prepares it, messages a call where that is not the option's.
# A peer may cut a case into more parts than it needs, and pays for them.
ENCODERS: tuple[tuple[str, Callable[[corpus.Case, int], Encoder], int | None], ...] = (
    ("ours", ours, None),
    ("ours, claimed", ours_claimed, None),
    ("ours, 1000 a call", ours, CHUNK),
    ("smpp34", smpp34, None),
    ("smpp34, packing", smpp34_packing, None),
    ("smpplib", smpplib, None),
    ("aiosmpplib", aiosmpplib, None),
)
# Messages that one round encodes at least: long enough for the clock, short enough that a peer's round is not seconds.
ROUND_MESSAGES = {True: 20_000, False: 1_000}


def timed(encode: Encoder, n: int, times: int) -> Callable[[], float]:
    """-> a run that encodes everything so many times and returns nanoseconds a message."""

    def run() -> float:
        began = time.perf_counter_ns()
        for _ in range(times):
            encode()
        return (time.perf_counter_ns() - began) / (times * n)

    return run


def measure(rounds: int, messages: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run every case; -> (figures, details)."""
    found: list[dict[str, Any]] = []
    details: dict[str, Any] = {"messages_at_a_time": messages}
    for case in corpus.CASES:
        runs, pdus, missing = [], {}, []
        for name, prepare, n_of_its_own in ENCODERS:
            n = n_of_its_own or messages
            try:
                encode = prepare(case, n)
            except Missing as error:
                missing.append(str(error))
                continue
            pdus[name] = encode() / n
            runs.append((name, timed(encode, n, max(1, ROUND_MESSAGES[name.startswith("ours")] // n))))
        taken = figures.interleaved(rounds, runs)
        details[case.name] = {"ns": taken, "pdus_a_message": pdus, "missing": sorted(set(missing))}
        found.append(
            figures.figure(
                f"{case.name}: ours", taken["ours"], "ns/message", better=figures.LOWER, aim=AIMS_NS[case.name]
            )
        )
        if "smpp34" in taken:
            times = [theirs / mine for mine, theirs in zip(taken["ours"], taken["smpp34"], strict=True)]
            found.append(
                figures.figure(
                    f"{case.name}: times smpp34", times, "ratio", floor=TIMES_SMPP34, against="smpp34 in the same round"
                )
            )
        found += [
            figures.figure(f"{case.name}: {name}", values, "ns/message", better=figures.LOWER)
            for name, values in taken.items()
            if name != "ours"
        ]
    return found, details


def main() -> None:
    parser = argparse.ArgumentParser(description="Hold our encoder against those of three libraries.")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    options = parser.parse_args()
    load = machine.load()
    found, details = measure(options.rounds or (3 if options.quick else ROUNDS), options.messages)
    print(json.dumps(figures.result("encode", found, details, quick=options.quick, load=load)))


if __name__ == "__main__":
    main()
