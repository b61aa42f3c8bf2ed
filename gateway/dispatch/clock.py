"""The two clocks of an engine, as arguments: monotonic for pacing, timers and leases, wall for what is written down.

Who judges what, when they disagree:

    by monotonic    rates, windows, timers, leases in memory, what stops sending, the end of a run once it is claimed
    by wall         when a chunk may be claimed first (not_before), days of day limits, everything that is written down
    by neither      the order of what is committed: that is Postgres's

A wall clock that jumps by more than 5 s between two looks is not believed (`Watch`) until it has kept step with the
monotonic one for a minute, or a person says that it is right. Meanwhile a scheduled start of promotional classes needs
both clocks: the wall, and the wall as it would be without the jumps; where a gate asks for the time of day they wait.
Codes and other strict classes go by whichever of the two is later: they wait for nothing.
A process that was suspended sees both clocks go on, and is not misled; its leases have ended by the monotonic one.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# Between two looks; NTP slews by 0.5 ms a second, and a leap second is one.
JUMP = timedelta(seconds=5)
SANE_S = 60.0


class Clock(Struct, frozen=True):
    """monotonic: seconds from anywhere; wall: now, with its zone."""

    monotonic: Callable[[], float]
    wall: Callable[[], datetime]

    def offset_us(self) -> int:
        """Microseconds since 2000-01-01 UTC at monotonic zero: what the compiled path adds to `now`."""
        return (self.wall() - _POSTGRES_EPOCH) // timedelta(microseconds=1) - int(self.monotonic() * 1e6)


class Watch:
    """Looks whether the wall clock keeps step with the monotonic one; call `look` about once a second.

    jumped_s  by how much it has jumped since it was believed last: above 0 forward
    jumps     since the start
    """

    def __init__(self, clock: Clock):
        self._clock = clock
        self._wall, self._at = clock.wall(), clock.monotonic()
        self._distrusted_until = 0.0
        # What the wall would say without the jumps, at monotonic zero.
        self._believed = self._wall - timedelta(seconds=self._at)
        self.distrusts = False
        self.jumped_s = 0.0
        self.jumps = 0

    def look(self) -> float:
        """Compare the clocks; -> seconds of a jump that was found now, above 0 forward."""
        wall, now = self._clock.wall(), self._clock.monotonic()
        drift = (wall - self._wall) - timedelta(seconds=now - self._at)
        self._wall, self._at = wall, now
        if abs(drift) > JUMP:
            self.jumps += 1
            self.jumped_s += drift.total_seconds()
            self.distrusts = True
            self._distrusted_until = now + SANE_S
            return drift.total_seconds()
        if self.distrusts and now >= self._distrusted_until:
            self.trust()
        elif not self.distrusts:
            self._believed = wall - timedelta(seconds=now)
        return 0.0

    def trust(self) -> None:
        """Believe the wall clock again as it is."""
        self.distrusts = False
        self.jumped_s = 0.0
        self._believed = self._wall - timedelta(seconds=self._at)

    @property
    def doubts(self) -> bool:
        """Whether the wall clock is not believed, or would not be at the next look."""
        step = self._clock.wall() - self._wall
        return self.distrusts or abs(step - timedelta(seconds=self._clock.monotonic() - self._at)) > JUMP

    def due(self, *, strict: bool) -> datetime:
        """Up to which `not_before` a chunk may be claimed now; strict: of the classes that wait for nothing."""
        wall = self._clock.wall()
        # A jump counts from when it happened, not from the look that finds it.
        if not self.doubts:
            return wall
        believed = self._believed + timedelta(seconds=self._clock.monotonic())
        return max(wall, believed) if strict else min(wall, believed)

    @property
    def trouble(self) -> str:
        """What a person should know of the clock; empty: nothing."""
        if not self.distrusts:
            return ""
        way = "forward" if self.jumped_s > 0 else "back"
        left_s = max(0.0, self._distrusted_until - self._clock.monotonic())
        return (
            f"clock_distrust: the wall clock has jumped {way} by {abs(self.jumped_s):.0f} s: scheduled starts of "
            f"promotional messages wait, {left_s:.0f} s more or until `sluice resume --clock`"
        )
