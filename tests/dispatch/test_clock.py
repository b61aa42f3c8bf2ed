"""Two clocks and what lies between them."""

from datetime import UTC, datetime, timedelta

from gateway.dispatch.clock import Clock


def test_offset_turns_monotonic_microseconds_into_those_of_postgres() -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    clock = Clock(monotonic=lambda: 1000.25, wall=lambda: noon)
    at_us = clock.offset_us() + int(clock.monotonic() * 1e6)
    assert datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us) == noon
