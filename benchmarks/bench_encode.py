"""Text to octets: a whole batch, and the pieces it is made of. Nanoseconds are a message's, 100 messages a call.

    pytest benchmarks/bench_encode.py

Not measured: what other libraries take (against_codecs.py), writing to a socket (against_limit.py).
"""

from typing import Any

import pytest

from _fastpath import alphabet
from _fastpath.batch import read_batches
from _fastpath.outbound import Form, encode_batch
from _fastpath.template import Template
from benchmarks import corpus

MESSAGES = 100
by_case = pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)


@by_case
def test_batch_becomes_submit_sm(benchmark: Any, case: corpus.Case) -> None:
    [batch] = read_batches(corpus.claimed(case, MESSAGES))
    batch.dress(Form(Template(case.template), source=corpus.SOURCE))
    benchmark.extra_info["messages"] = MESSAGES
    _, segments, refused = benchmark(encode_batch, batch)
    assert (segments, refused) == (MESSAGES * case.segments, {})


@by_case
def test_text_is_encoded_one_crossing_a_text(benchmark: Any, case: corpus.Case) -> None:
    texts = corpus.texts_of(case, MESSAGES)
    benchmark.extra_info["messages"] = MESSAGES
    encoded = benchmark(lambda: [alphabet.encode(text, case.alphabet) for text in texts])
    assert len(encoded[0]) == case.units * (2 if case.alphabet == "ucs2" else 1)


@by_case
def test_template_is_compiled(benchmark: Any, case: corpus.Case) -> None:
    assert benchmark(Template, case.template).fields == corpus.FIELDS
