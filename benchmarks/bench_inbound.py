"""One read of a thousand PDUs through the compiled half of a bind. Nanoseconds are a PDU's.

    pytest benchmarks/bench_inbound.py

Each becomes its row of COPY octets within the figure: a response finds its request in the window and leaves it, and its
message_id is remembered; a receipt is parsed, finds its message, and its deliver_sm_resp is written.
Not measured: the recv, and taking the rows to Postgres.
"""

from typing import Any

import pytest

from _fastpath.frame import Frames
from benchmarks import corpus, turn

PDUS = 1000
CASE = corpus.CASES[0]
ROUNDS = 200


def sent(turns: turn.Turns) -> None:
    turns.settle()
    turns.claim()
    turns.send()


def test_responses_are_read(benchmark: Any) -> None:
    turns = turn.Turns(CASE, PDUS)

    def prepare() -> tuple[tuple[bytes], dict[str, Any]]:
        sent(turns)
        return (turns.responses(),), {}

    benchmark.extra_info["messages"] = PDUS
    benchmark.pedantic(turns.read, setup=prepare, rounds=ROUNDS)
    assert turns.exchange.ledger.accepted == PDUS * ROUNDS


@pytest.mark.parametrize("tlvs", [True, False], ids=["with_tlvs", "text_alone"])
def test_receipts_are_read_and_matched(benchmark: Any, tlvs: bool) -> None:
    turns = turn.Turns(CASE, PDUS)

    def prepare() -> tuple[tuple[bytes], dict[str, Any]]:
        sent(turns)
        turns.read(turns.responses())
        return (turns.receipts(tlvs),), {}

    benchmark.extra_info["messages"] = PDUS
    benchmark.pedantic(turns.read, setup=prepare, rounds=ROUNDS)
    assert turns.exchange.ledger.receipts_matched == PDUS * ROUNDS


def test_receipts_nobody_knows_wait(benchmark: Any) -> None:
    turns = turn.Turns(CASE, PDUS)

    def prepare() -> tuple[tuple[bytes], dict[str, Any]]:
        turns.settle()
        return (turns.receipts(),), {}

    benchmark.extra_info["messages"] = PDUS
    benchmark.pedantic(turns.read, setup=prepare, rounds=ROUNDS)
    assert turns.exchange.ledger.receipts_waiting == PDUS * ROUNDS


def test_stream_is_framed_into_bytes_objects(benchmark: Any) -> None:
    octets = corpus.responses(1, PDUS)
    benchmark.extra_info["messages"] = PDUS
    assert len(benchmark(lambda: Frames().feed(octets))) == PDUS
