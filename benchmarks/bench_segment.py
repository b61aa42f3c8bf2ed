"""One encoded text into its segments, called from Python a text at a time. Nanoseconds are a text's.

    pytest benchmarks/bench_segment.py

Not measured: the cut inside a batch, which crosses no border and makes no bytes objects (bench_encode.py has it whole).
"""

from typing import Any

import pytest

from _fastpath import alphabet
from _fastpath.segment import segment
from benchmarks import corpus

LONG = [case for case in corpus.CASES if case.segments > 1]
by_case = pytest.mark.parametrize("case", LONG, ids=lambda case: case.name)


@by_case
@pytest.mark.parametrize("grapheme", [True, False], ids=["whole_graphemes", "whole_characters"])
def test_text_is_cut(benchmark: Any, case: corpus.Case, grapheme: bool) -> None:
    octets = alphabet.encode(corpus.texts_of(case, 1)[0], case.alphabet)
    parts = benchmark(segment, octets, case.alphabet, 7, grapheme=grapheme)
    assert len(parts) == case.segments


def test_text_of_255_segments_is_cut(benchmark: Any) -> None:
    parts = benchmark(segment, b"a" * (152 * 255), "gsm7", 7)
    assert len(parts) == 255


@pytest.mark.parametrize("name", ["escape_pairs", "emoji"])
def test_text_of_nothing_but_pairs_is_cut(benchmark: Any, name: str) -> None:
    kind, text = ("gsm7", "€" * 400) if name == "escape_pairs" else ("ucs2", "🎉" * 400)
    octets = alphabet.encode(text, kind)
    assert len(benchmark(segment, octets, kind, 7)) > 1
