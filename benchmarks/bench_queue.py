"""Octets of Postgres in and out: a claim into columns, rows into a COPY stream. Nanoseconds are a message's.

    pytest benchmarks/bench_queue.py

Not measured: Postgres itself (end_to_end.py), and the rows a turn writes without Python (bench_inbound.py has them).
"""

from typing import Any

import pytest

from _fastpath.batch import read_batches
from _fastpath.copyrows import OutcomeRows
from benchmarks import corpus

CHUNK = 1000
by_case = pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)


@by_case
def test_claim_becomes_a_batch(benchmark: Any, case: corpus.Case) -> None:
    octets = corpus.claimed(case, CHUNK)
    benchmark.extra_info["messages"] = CHUNK
    [batch] = benchmark(read_batches, octets)
    assert batch.n == CHUNK


def test_rows_are_added_from_python_and_taken(benchmark: Any) -> None:
    """The rare path: one crossing a row, where a turn has none."""
    rows = OutcomeRows(1)

    def add_and_take() -> bytes:
        for pos in range(CHUNK):
            rows.add_row(1, pos, 1, 1, 1, 0, 0, 0, b"0123456789")
        return bytes(rows.take())

    benchmark.extra_info["messages"] = CHUNK
    assert len(benchmark(add_and_take)) > CHUNK * 50


def test_rows_are_taken(benchmark: Any) -> None:
    def prepare() -> tuple[tuple[Any, ...], dict[str, Any]]:
        rows = OutcomeRows(1)
        for pos in range(CHUNK):
            rows.add_row(1, pos, 1, 1, 1, 0, 0, 0, b"0123456789")
        return (rows,), {}

    benchmark.extra_info["messages"] = CHUNK
    assert len(benchmark.pedantic(lambda rows: rows.take(), setup=prepare, rounds=200)) > CHUNK * 50
