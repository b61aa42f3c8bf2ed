"""The one timer of an account: who is called when, on which kind of timer."""

import asyncio
import os
import time

import pytest

from gateway.smpp import wake as wakes
from gateway.smpp.wake import LEAD_MOST_S, Wake
from tests.fixtures.now import Now

PATIENCE_S = 10.0


class Bell:
    """A wake and the moments at which it called."""

    def __init__(self, clock=time.monotonic):
        self.rung_at: list[float] = []
        self.rang = asyncio.Event()
        self.wake = Wake(clock, self._ring)

    def _ring(self) -> None:
        self.rung_at.append(time.monotonic())
        self.rang.set()

    async def heard(self) -> float:
        """Wait until it has rung; -> when."""
        await asyncio.wait_for(self.rang.wait(), PATIENCE_S)
        self.rang.clear()
        return self.rung_at[-1]


@pytest.fixture
async def bell():
    made = Bell()
    yield made
    made.wake.close()


@pytest.mark.parametrize("exact", [False, True])
async def test_call_comes_at_the_moment_and_not_before(bell, exact):
    for after_s in [0.0003, 0.0021, 0.0105] * 20:
        now = time.monotonic()
        bell.wake.set(now + after_s, now, exact=exact)
        assert bell.wake.at == now + after_s
        assert await bell.heard() >= now + after_s
        assert bell.wake.at is None
    assert len(bell.rung_at) == 60
    assert bell.wake._lead_s <= LEAD_MOST_S and (bell.wake._lead_s > 0) == exact


async def test_sooner_moment_replaces_a_later_one_and_a_later_one_nothing(bell):
    now = time.monotonic()
    bell.wake.set(now + 3600.0, now)
    bell.wake.set(now + 0.002, now)
    bell.wake.set(now + 7200.0, now)
    assert bell.wake.at == now + 0.002
    await bell.heard()
    assert len(bell.rung_at) == 1


async def test_call_may_set_the_next_moment(bell):
    left = 5

    def again() -> None:
        nonlocal left
        left -= 1
        now = time.monotonic()
        if left:
            bell.wake.set(now + 0.001, now, exact=True)
        else:
            bell.rang.set()

    bell.wake._call = again
    now = time.monotonic()
    bell.wake.set(now, now)
    await asyncio.wait_for(bell.rang.wait(), PATIENCE_S)
    assert left == 0


async def test_clock_of_a_test_is_waited_for_without_a_descriptor():
    now = Now()
    bell = Bell(now)
    bell.wake.set(now() + 0.001, now())
    assert bell.wake._wakeup is None
    await bell.heard()
    bell.wake.set(now() + 3600.0, now())
    bell.wake.set(now() + 0.001, now())
    await bell.heard()
    assert len(bell.rung_at) == 2
    bell.wake.close()


async def test_without_a_timerfd_the_timers_of_the_loop_do(monkeypatch, bell):
    def refuse():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(wakes, "Wakeup", refuse)
    now = time.monotonic()
    bell.wake.set(now + 0.001, now, exact=True)
    await bell.heard()
    assert bell.wake._wakeup is None


async def test_closed_one_has_given_its_descriptor_back_and_calls_no_more_until_it_is_opened(bell):
    now = time.monotonic()
    bell.wake.set(now + 0.0001, now)
    number = bell.wake._wakeup.fileno()
    bell.wake.close()
    bell.wake.close()
    bell.wake.set(now + 0.0001, now)
    with pytest.raises(OSError):
        os.fstat(number)
    # Whatever was due goes before this one.
    other = Bell()
    other.wake.set(now + 0.001, now)
    await other.heard()
    other.wake.close()
    assert bell.rung_at == [] and bell.wake.at is None
    bell.wake.open()
    now = time.monotonic()
    bell.wake.set(now + 0.001, now)
    await bell.heard()
    assert bell.wake._wakeup is not None


async def test_moment_that_was_put_off_after_the_loop_saw_it_does_not_call(bell):
    now = time.monotonic()
    bell.wake.set(now + 0.0001, now)
    await bell.heard()
    bell.wake.set(now + 3600.0, now)
    bell.wake._readable()
    assert bell.wake.at == now + 3600.0 and len(bell.rung_at) == 1
