"""The two clocks of an engine, as arguments: monotonic for pacing, timers and leases, wall for what is written down."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Clock(Struct, frozen=True):
    """monotonic: seconds from anywhere; wall: now, with its zone."""

    monotonic: Callable[[], float]
    wall: Callable[[], datetime]

    def offset_us(self) -> int:
        """Microseconds since 2000-01-01 UTC at monotonic zero: what the compiled path adds to `now`."""
        return (self.wall() - _POSTGRES_EPOCH) // timedelta(microseconds=1) - int(self.monotonic() * 1e6)
