"""Each fuzzer runs here for a moment, so that it runs at all; `./dev fuzz` runs them long, and under sanitizers."""

import random

import pytest

from tests.fuzz import fuzz_inbound, fuzz_text


@pytest.mark.parametrize("fuzzer", [fuzz_inbound, fuzz_text])
def test_a_few_hundred_strange_inputs_break_nothing(fuzzer):
    for seed in range(300):
        fuzzer.one(random.Random(seed))
