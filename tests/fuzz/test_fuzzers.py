"""Each target runs here for a moment, over the committed corpus too; `./dev fuzz` runs them long, under sanitizers."""

import random

import pytest

from _fastpath.alphabet import unpack
from gateway.smpp import inboundtext
from tests.fuzz import mutation
from tests.fuzz.run import CORPUS, committed
from tests.fuzz.targets import TARGETS

LARGEST_CORPUS = 5 << 20


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_hundred_strange_inputs_break_nothing(name):
    run, seeds = TARGETS[name]
    good = seeds()
    for octets in good:
        run(octets)
    for seed in range(200):
        chance = random.Random(seed)
        run(mutation.mutated(chance, chance.choice(good), good))


@pytest.mark.parametrize("name", TARGETS)
def test_what_once_reached_something_new_breaks_nothing(name):
    for octets in committed(name):
        TARGETS[name].run(octets)


def test_corpus_is_small_and_belongs_to_targets():
    files = list(CORPUS.glob("*"))
    assert {path.stem for path in files} <= set(TARGETS)
    assert sum(path.stat().st_size for path in files) <= LARGEST_CORPUS


# What fuzzing found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill_bits", range(7))
def test_no_septets_fit_into_no_octets(fill_bits):
    assert unpack(b"", 0, fill_bits) == b""


def test_packed_part_that_is_a_header_alone_is_an_empty_text():
    part = bytes.fromhex("050003010201")
    header = inboundtext.header_of(part, 0x40)
    assert inboundtext.read([inboundtext.Piece(part, header.octets)], 0, alphabets={0: "gsm7-packed"}).text == ""
