"""The rest that a worker's loops take between two rounds."""

import asyncio
import time

import pytest

from gateway.dispatch.rest import Rest

HANG_S = 5.0


async def test_a_rest_that_nobody_ends_is_over_in_its_time() -> None:
    rest = Rest()
    began = time.monotonic()
    async with asyncio.timeout(HANG_S):
        assert not await rest.wait(0.02)
    assert time.monotonic() - began >= 0.019


async def test_a_rest_is_ended_by_who_sets_it() -> None:
    rest = Rest()
    waiting = asyncio.create_task(rest.wait(3600.0))
    await asyncio.sleep(0)
    rest.set()
    rest.set()
    async with asyncio.timeout(HANG_S):
        assert await waiting
    assert rest.is_set()


async def test_a_rest_that_was_ended_before_is_over_at_once_until_it_is_cleared() -> None:
    rest = Rest()
    rest.set()
    async with asyncio.timeout(HANG_S):
        assert await rest.wait(3600.0)
        assert await rest.wait(3600.0)
        rest.clear()
        assert not await rest.wait(0.0)


async def test_a_rest_of_no_time_gives_the_loop_back_once() -> None:
    turned = []
    asyncio.get_running_loop().call_soon(turned.append, 1)
    async with asyncio.timeout(HANG_S):
        assert not await Rest().wait(0.0)
    assert turned


async def test_who_is_cancelled_in_a_rest_leaves_no_timer_and_may_rest_again() -> None:
    rest = Rest()
    waiting = asyncio.create_task(rest.wait(3600.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    rest.set()
    async with asyncio.timeout(HANG_S):
        assert await rest.wait(3600.0)
