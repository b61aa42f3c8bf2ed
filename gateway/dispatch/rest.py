"""A rest that somebody may end: what the loops of a worker take between two rounds.

    wait(0.25) ── set() ─► True        at once where it was set before, until clear()
               ── 0.25 s ► False

As an asyncio.Event under asyncio.timeout, for one who waits, and at a third of its price: no task is cancelled, no
exception thrown, when time is over, which is the rule for most loops of a quiet worker.
"""

import asyncio


class Rest:
    """The rest of one loop."""

    __slots__ = ("_is_set", "_loop", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """End it, or the next one."""
        self._is_set = True
        if self._waiter is not None:
            _end(self._waiter)

    def clear(self) -> None:
        """Forget that it was ended."""
        self._is_set = False

    def is_set(self) -> bool:
        """Tell whether it was ended and not cleared."""
        return self._is_set

    async def wait(self, longest_s: float) -> bool:
        """Rest until it is ended, `longest_s` at most; -> whether it was ended.

        Ended before, it does not give the loop back.
        """
        if self._is_set:
            return True
        assert self._waiter is None, "one waits"
        if self._loop is None:
            # Asked once: CPython before 3.12 makes a system call of it.
            self._loop = asyncio.get_running_loop()
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_later(longest_s, _end, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            timer.cancel()
        return self._is_set


def _end(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
