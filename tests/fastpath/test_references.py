"""References: unlike for 24 hours to one number, farthest apart after that, without anything stored."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.references import References

DAY_S = 86400.0
NUMBER = 447_700_900_123


def test_hundred_thousand_long_messages_to_one_number_use_every_reference_before_one_comes_again():
    references = References()
    last_at: dict[int, int] = {}
    for i in range(100_000):
        reference = references.take(1, NUMBER, 1000.0 + i * 0.01)
        assert i - last_at.get(reference, -100_000) >= 65536
        last_at[reference] = i
    assert len(last_at) == 65536


def test_eight_bits_use_every_reference_before_one_comes_again():
    references = References()
    given_out = [references.take(1, NUMBER, 0.0, 8) for _ in range(1000)]
    for i in range(1000 - 256):
        assert given_out[i] not in given_out[i + 1 : i + 256]
        assert given_out[i] == given_out[i + 256]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 1.4, 60.0, 3600.0, 20000.0]), st.integers(1, 300)), max_size=30))
def test_no_reference_comes_twice_within_a_day(bursts):
    references = References()
    now_s = 5000.0
    last_s: dict[int, float] = {}
    for pause_s, messages in bursts:
        now_s += pause_s
        for _ in range(messages):
            reference = references.take(7, NUMBER, now_s)
            assert now_s - last_s.get(reference, -DAY_S) >= DAY_S
            last_s[reference] = now_s


@pytest.mark.parametrize("bits", [8, 16])
def test_process_that_starts_anew_repeats_nothing_of_the_one_before(bits):
    """Started in the same step of the clock, and without any memory of it."""
    step_s = {8: 337.5, 16: 1.5}[bits]
    before = References()
    first = before.take(1, NUMBER, 10 * step_s, bits)
    second = References().take(1, NUMBER, 11.9 * step_s, bits)
    third = References().take(1, NUMBER, 11.95 * step_s + step_s, bits)
    assert len({first, second, third}) == 3


def test_references_of_numbers_and_sources_are_independent():
    references = References()
    alike = sum(references.take(1, NUMBER + i, 0.0) == references.take(2, NUMBER + i, 0.0) for i in range(10_000))
    assert alike < 10


def test_clock_that_steps_back_repeats_nothing():
    references = References()
    assert len({references.take(1, NUMBER, at) for at in (9000.0, 8000.0, 8000.0, 0.0, 9001.0, -5.0)}) == 6


def test_what_the_clock_has_passed_is_forgotten():
    references = References()
    for i in range(100_000):
        references.take(1, NUMBER + i, i * 0.01)
    # A step of 1.5 s is 150 numbers here.
    assert len(references) < 2000


def test_numbers_within_one_step_are_all_remembered():
    references = References()
    first = [references.take(1, NUMBER + i, 0.0) for i in range(20_000)]
    again = [references.take(1, NUMBER + i, 0.0) for i in range(20_000)]
    assert [(b - a) % 65536 for a, b in zip(first, again, strict=True)].count(1) > 19_950
    assert all(a != b for a, b in zip(first, again, strict=True))


def test_widths_are_counted_apart():
    references = References()
    assert len({references.take(1, NUMBER, 0.0, 8) for _ in range(256)}) == 256
    first = references.take(1, NUMBER, 0.0)
    assert references.take(1, NUMBER, 0.0) == (first + 1) % 65536


@pytest.mark.parametrize("bits", [0, 7, 32])
def test_other_widths_are_refused(bits):
    with pytest.raises(ValueError, match="expected 8 or 16"):
        References().take(1, NUMBER, 0.0, bits)
