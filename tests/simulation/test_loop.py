"""Virtual time, and hosts that crash and freeze."""

import asyncio
from typing import Any

import pytest

from tests.simulation.loop import Deadlock, Host, SimLoop, Spin


def run(main: Any) -> SimLoop:
    """Run a program on a loop of its own."""
    loop = SimLoop()
    try:
        loop.run_until_complete(main(loop))
    finally:
        loop.close()
    return loop


def test_an_hour_passes_at_once_and_in_order() -> None:
    told = []

    async def main(loop: SimLoop) -> None:
        async def one(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            told.append((name, round(loop.time())))

        await asyncio.gather(one("late", 3600), one("soon", 60), one("now", 0))

    run(main)
    assert told == [("now", 0), ("soon", 60), ("late", 3600)]


def test_a_timeout_ends_what_waits_for_ever() -> None:
    async def main(loop: SimLoop) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await loop.create_future()
        assert 5.0 <= loop.time() < 5.001

    run(main)


def test_a_program_that_waits_for_nothing_is_a_deadlock_and_its_stack_is_shown() -> None:
    async def main(loop: SimLoop) -> None:
        async def waits_for_nothing() -> None:
            await loop.create_future()

        await waits_for_nothing()

    with pytest.raises(Deadlock, match="waits_for_nothing"):
        run(main)


def test_a_program_that_turns_without_end_is_found_out() -> None:
    async def main(loop: SimLoop) -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Spin):
        run(main)


def test_a_program_that_waits_without_end_is_found_out() -> None:
    async def main(loop: SimLoop) -> None:
        while True:
            await asyncio.sleep(60)

    with pytest.raises(Spin, match="virtual seconds, and no end"):
        run(main)


def test_a_crash_runs_no_finally_and_nothing_after_it() -> None:
    told = []

    async def main(loop: SimLoop) -> None:
        async def victim() -> None:
            try:
                while True:
                    await asyncio.sleep(1.0)
                    told.append("alive")
            finally:
                told.append("tidied up")

        host = Host(loop, "a")
        host.spawn(victim(), "victim")
        await asyncio.sleep(2.5)
        host.crash()
        await asyncio.sleep(10.0)
        assert told == ["alive", "alive"]

    run(main)


def test_a_frozen_host_is_late_for_everything_and_loses_nothing() -> None:
    told: list[tuple[str, int]] = []

    async def main(loop: SimLoop) -> None:
        async def sleeper() -> None:
            await asyncio.sleep(1.0)
            told.append(("woke", round(loop.time())))
            await asyncio.sleep(1.0)
            told.append(("again", round(loop.time())))

        host = Host(loop, "a")
        host.spawn(sleeper(), "sleeper")
        await asyncio.sleep(0.5)
        host.freeze()
        await asyncio.sleep(29.5)
        assert told == []
        host.thaw()
        await asyncio.sleep(5.0)

    run(main)
    assert told == [("woke", 30), ("again", 31)]


def test_each_host_has_its_own_clocks_and_its_timers_follow_them() -> None:
    async def main(loop: SimLoop) -> None:
        host = Host(loop, "fast", offset_s=1000.0, drift=0.25)
        woke = []

        async def sleeper() -> None:
            assert loop.time() == pytest.approx(1000.0, abs=1e-3)
            await asyncio.sleep(10.0)
            woke.append((loop.time(), host.monotonic()))

        host.spawn(sleeper(), "sleeper")
        await asyncio.sleep(8.01)
        ((by_loop, by_host),) = woke
        assert by_loop == by_host == pytest.approx(1010.0, abs=0.01)

    run(main)


def test_work_for_a_thread_is_done_at_once() -> None:
    async def main(loop: SimLoop) -> None:
        assert await asyncio.to_thread(lambda: 42) == 42
        with pytest.raises(ValueError, match="no"):
            await asyncio.to_thread(int, "no")

    run(main)


def test_what_a_callback_raises_is_kept() -> None:
    async def main(loop: SimLoop) -> None:
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(0.1)
        assert isinstance(loop.faults[0]["exception"], ZeroDivisionError)

    run(main)


def test_locks_events_and_gathered_tasks_work_as_on_any_loop() -> None:
    async def main(loop: SimLoop) -> None:
        lock, event, order = asyncio.Lock(), asyncio.Event(), []

        async def one(name: int) -> None:
            async with lock:
                await event.wait()
                order.append(name)

        tasks = [asyncio.create_task(one(i)) for i in range(5)]
        loop.call_later(1.0, event.set)
        await asyncio.wait_for(asyncio.gather(*tasks), 5.0)
        assert order == [0, 1, 2, 3, 4]

    run(main)
