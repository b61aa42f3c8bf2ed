"""Two clocks and what lies between them."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.dispatch.clock import Clock, Watch


def test_offset_turns_monotonic_microseconds_into_those_of_postgres() -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    clock = Clock(monotonic=lambda: 1000.25, wall=lambda: noon)
    at_us = clock.offset_us() + int(clock.monotonic() * 1e6)
    assert datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us) == noon


class Two:
    """A monotonic and a wall clock that a test sets."""

    def __init__(self) -> None:
        self.monotonic, self.wall = 1000.0, datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
        self.clock = Clock(monotonic=lambda: self.monotonic, wall=lambda: self.wall)

    def go_on(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += timedelta(seconds=seconds)


def watched(two: Two) -> Watch:
    """A watch that has believed the clock for a while."""
    watch = Watch(two.clock)
    for _ in range(3):
        two.go_on(1.0)
        assert watch.look() == 0.0
    return watch


@pytest.mark.parametrize("jump_s", [-3600.0, -6.0, 6.0, 86400.0], ids=["hour back", "6 s back", "6 s on", "day on"])
def test_jump_of_the_wall_clock_is_seen_with_its_way_and_length(jump_s: float) -> None:
    """Fault 82."""
    two = Two()
    watch = watched(two)
    two.wall += timedelta(seconds=jump_s)
    two.go_on(1.0)
    assert watch.look() == jump_s and watch.distrusts and watch.jumps == 1
    assert ("forward" if jump_s > 0 else "back") in watch.trouble and f"{abs(jump_s):.0f} s" in watch.trouble


@pytest.mark.parametrize("slew_s", [-1.0, 1.0, 4.9])
def test_leap_second_and_slewing_are_no_jump(slew_s: float) -> None:
    two = Two()
    watch = watched(two)
    two.wall += timedelta(seconds=slew_s)
    two.go_on(1.0)
    assert watch.look() == 0.0 and not watch.distrusts and watch.trouble == ""


def test_process_that_was_suspended_does_not_distrust_the_clock() -> None:
    """Case 16: both clocks go on while nobody looks."""
    two = Two()
    watch = watched(two)
    two.go_on(600.0)
    assert watch.look() == 0.0 and not watch.distrusts


def test_scheduled_start_waits_for_both_clocks_and_a_strict_class_for_neither() -> None:
    """Fault 82: a clock that jumps a day forward starts no campaign of tomorrow, one that jumps back holds no code."""
    for jump in (timedelta(days=1), timedelta(hours=-1)):
        two = Two()
        watch = watched(two)
        before = two.wall
        two.wall += jump
        watch.look()
        two.go_on(2.0)
        real = before + timedelta(seconds=2)
        assert watch.due(strict=False) == min(real, real + jump)
        assert watch.due(strict=True) == max(real, real + jump)


def test_clock_is_doubted_as_soon_as_it_has_jumped_and_not_at_the_next_look_alone() -> None:
    """Fault 82, QH-1: who asks for the time of day between two looks is not told another one."""
    two = Two()
    watch = watched(two)
    two.go_on(0.9)
    assert not watch.doubts
    before = two.wall
    two.wall += timedelta(hours=1)
    assert watch.doubts and not watch.distrusts
    # What is scheduled goes by the clock without the jump, before the look that finds it as behind it.
    assert watch.due(strict=False) == before and watch.due(strict=True) == two.wall
    watch.look()
    assert watch.doubts
    for _ in range(62):
        two.go_on(1.0)
        watch.look()
    assert not watch.doubts


def test_clock_that_keeps_step_for_a_minute_is_believed_again() -> None:
    two = Two()
    watch = watched(two)
    two.wall += timedelta(hours=1)
    watch.look()
    for _ in range(59):
        two.go_on(1.0)
        watch.look()
    assert watch.distrusts
    two.go_on(1.5)
    watch.look()
    assert not watch.distrusts and watch.due(strict=False) == two.wall == watch.due(strict=True)


def test_second_jump_begins_the_minute_anew_and_a_jump_there_and_back_is_none_in_sum() -> None:
    two = Two()
    watch = watched(two)
    two.wall += timedelta(hours=1)
    watch.look()
    two.go_on(50.0)
    watch.look()
    two.wall -= timedelta(hours=1)
    watch.look()
    assert watch.jumped_s == 0.0 and watch.jumps == 2
    two.go_on(30.0)
    watch.look()
    assert watch.distrusts
    watch.trust()
    assert not watch.distrusts and watch.due(strict=False) == two.wall
