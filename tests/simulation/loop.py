"""An event loop in virtual time, with hosts that crash, freeze and have clocks of their own.

    ready (first in, first out) ─► one handle ─► … ─► nothing ready ─► the clock jumps to the next timer
                                                                 └──► and none: Deadlock, with every task's stack

Nothing here is drawn by chance: the same program runs the same way twice. A turn of the loop takes a microsecond of
virtual time, so that a timer that rings a hair too soon for its owner's arithmetic is not set again for ever.

A host is what a process is to the system: each handle belongs to the host of its context, or to nobody (the network,
the world). `crash` drops a host's handles for ever and keeps its coroutines alive, as kill -9 does: no `finally` runs.
`freeze` parks them; when it thaws what came over the network is read first and timers ring after, as behind select().
Each host has its own monotonic clock (where it begins, how fast it goes) and its own wall clock (which jumps).

Not here: bytes between hosts (network.py), and what is done to hosts and when (world.py).
"""

import asyncio
import contextlib
import contextvars
import io
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import Any

TURN_NS = 1_000
# Turns in a row between which no timer was waited for: a loop that spins.
MOST_TURNS = 200_000
# No world lasts so long: ten minutes are what it has once its faults are over.
MOST_S = 7200
BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

_copy_context = contextvars.copy_context
_host: contextvars.ContextVar["Host | None"] = contextvars.ContextVar("host", default=None)


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set, and the program has not ended."""


class Spin(AssertionError):
    """The loop turns and turns, and time stands still, or passes without an end."""


class Handle:
    """Something to be called, once. `is_read` is set where octets are what it brings."""

    __slots__ = ("args", "callback", "context", "host", "is_cancelled", "is_read", "when_ns")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
        host: "Host | None",
        when_ns: int,
    ):
        self.callback = callback
        self.args = args
        self.context = context
        self.host = host
        self.is_cancelled = False
        self.when_ns = when_ns

    def cancel(self) -> None:
        """Never call it."""
        self.is_cancelled = True
        # A coroutine is not kept by a timer that will not ring.
        self.callback, self.args = _nothing, ()

    def cancelled(self) -> bool:
        """Tell whether it was cancelled."""
        return self.is_cancelled

    def when(self) -> float:
        """The moment, by the clock of its host."""
        return self.when_ns / 1e9 if self.host is None else self.host.loop.seconds_of(self.when_ns, self.host)


class Host:
    """One process with its clocks.

    offset_s, drift  the monotonic clock shows offset_s + (1 + drift) · (true time)
    """

    def __init__(self, loop: "SimLoop", name: str, *, offset_s: float = 0.0, drift: float = 0.0):
        self.loop, self.name, self.offset_s, self.drift = loop, name, offset_s, drift
        self.wall_offset = timedelta(0)
        self.is_dead = False
        self.is_frozen = False
        # Dead or frozen: nothing of it runs.
        self.is_still = False
        self.parked: list[Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        # What else lives and dies with the process: called with the host when it crashes.
        self.at_crash: list[Callable[[Host], None]] = []

    def monotonic(self) -> float:
        """Read the monotonic clock."""
        # Asked more often than anything else: seconds_of() written out.
        now_ns = self.loop.now_ns
        return self.offset_s + (now_ns + now_ns * self.drift) / 1e9

    def monotonic_ns(self) -> int:
        """Read it in nanoseconds."""
        return int(self.monotonic() * 1e9)

    def wall(self) -> datetime:
        """Read the wall clock."""
        return self.loop.begin + timedelta(microseconds=self.loop.now_ns // 1000) + self.wall_offset

    def wall_ns(self) -> int:
        """Read it in nanoseconds since 1970."""
        return int(self.wall().timestamp() * 1e6) * 1000

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Run something on this host."""
        return self.inside(lambda: self.loop.create_task(coroutine, name=name))

    def inside(self, call: Callable[[], Any]) -> Any:
        """Call something that belongs to this host; -> what it returns."""
        context = _copy_context()
        context.run(_host.set, self)
        before, self.loop.host = self.loop.host, self
        try:
            return context.run(call)
        finally:
            self.loop.host = before

    def crash(self) -> None:
        """End as kill -9 does: nothing of it runs any more, not even what tidies up."""
        if self.is_dead:
            return
        self.is_dead = self.is_still = True
        self.loop.graves.extend(self.tasks)
        self.parked.clear()
        for call in self.at_crash:
            call(self)

    def freeze(self) -> None:
        """Stop as SIGSTOP does; time goes on."""
        self.is_frozen = self.is_still = True

    def thaw(self) -> None:
        """Go on: everything that came due meanwhile is late, and what came over the network is read first."""
        if self.is_frozen and not self.is_dead:
            self.is_frozen = self.is_still = False
            parked, self.parked = self.parked, []
            self.loop.ready.extend(handle for handle in parked if getattr(handle, "is_read", False))
            self.loop.ready.extend(handle for handle in parked if not getattr(handle, "is_read", False))


def current_host() -> Host | None:
    """Tell whose code this is."""
    return _host.get()


class SimLoop(asyncio.AbstractEventLoop):
    """The loop. `now_ns` is the true time, which no host sees."""

    def __init__(self) -> None:
        # What every clock on a wall shows at the start.
        self.begin = BEGIN
        self.now_ns = 0
        self.ready: deque[Handle] = deque()
        self.turns = 0
        self.host: Host | None = None
        # Tasks of dead hosts: a coroutine that nobody holds would be closed, and its `finally` blocks would run.
        self.graves: list[asyncio.Task[Any]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        # What broke: a callback that raised, a task whose exception nobody took.
        self.faults: list[dict[str, Any]] = []
        # Where connections come from, once there is a network.
        self.network: Any = None
        self._timers: list[tuple[int, int, Handle]] = []
        self._serial = 0
        self._is_closed = False
        self._is_running = False
        self._prune_at = 256

    # -- time -------------------------------------------------------------------------------------------------------

    def seconds_of(self, ns: int, host: Host | None) -> float:
        """Turn true time into what the clock of a host shows."""
        return ns / 1e9 if host is None else host.offset_s + (ns + ns * host.drift) / 1e9

    def ns_of(self, seconds: float, host: Host | None) -> int:
        """Turn what the clock of a host shows into true time, never too soon."""
        if host is not None:
            seconds = (seconds - host.offset_s) / (1.0 + host.drift)
        return -int(-seconds * 1e9 // 1)

    def time(self) -> float:
        """Read the clock of whose code is running."""
        return self.seconds_of(self.now_ns, self.host)

    @property
    def now(self) -> float:
        """The true time in seconds."""
        return self.now_ns / 1e9

    # -- what asyncio asks for --------------------------------------------------------------------------------------

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:  # type: ignore[override]
        """Call behind all that is ready."""
        # Code that runs is its host's, whose context it has.
        if context is None:
            handle = Handle(callback, args, _copy_context(), self.host, -1)
        else:
            handle = Handle(callback, args, context, context.get(_host), -1)
        if not self._is_closed:
            self.ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:  # type: ignore[override]
        """Call behind all that is ready; there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:  # type: ignore[override]
        """Call when so many seconds have passed on the clock of the caller's host, never too soon."""
        host = self.host
        if host is not None:
            delay /= 1.0 + host.drift
        when_ns = self.now_ns + (int(delay * 1e9) + 1 if delay > 0.0 else 0)
        if context is None:
            handle = Handle(callback, args, _copy_context(), host, when_ns)
        else:
            handle = Handle(callback, args, context, context.get(_host), when_ns)
        # Half of all that is set: _set() written out.
        if not self._is_closed:
            self._serial = serial = self._serial + 1
            timers = self._timers
            heappush(timers, (when_ns, serial, handle))
            if len(timers) > self._prune_at:
                self._prune()
        return handle

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:  # type: ignore[override]
        """Call at a moment of the clock of the caller's host."""
        when_ns = max(self.ns_of(when, self.host), self.now_ns)
        if context is None:
            return self._set(Handle(callback, args, _copy_context(), self.host, when_ns))
        return self._set(Handle(callback, args, context, context.get(_host), when_ns))

    def at_ns(self, when_ns: int, callback: Callable[..., object], *args: Any, context: contextvars.Context) -> Handle:
        """Call at a moment of true time."""
        return self._set(Handle(callback, args, context, context.get(_host), max(when_ns, self.now_ns)))

    def _set(self, handle: Handle) -> Handle:
        if not self._is_closed:
            self._serial += 1
            timers = self._timers
            heappush(timers, (handle.when_ns, self._serial, handle))
            if len(timers) > self._prune_at:
                self._prune()
        return handle

    def _prune(self) -> None:
        # Timers are mostly deadlines that were kept.
        timers = self._timers
        timers[:] = [entry for entry in timers if not entry[2].is_cancelled]
        heapify(timers)
        self._prune_at = max(256, 2 * len(timers))

    def create_future(self) -> "asyncio.Future[Any]":
        """Make a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **kwargs: Any,
    ) -> "asyncio.Task[Any]":  # type: ignore[override]
        """Make a task; it lives and dies with the host of its context."""
        task: asyncio.Task[Any] = asyncio.Task(
            coro,  # type: ignore[arg-type]
            loop=self,
            name=None if name is None else str(name),
            context=context,
        )
        host = (context.get(_host) if context is not None else None) or self.host or _host.get()
        kept = self.tasks if host is None else host.tasks
        kept.append(task)
        if len(kept) % 64 == 0:
            kept[:] = [one for one in kept if not one.done()]
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """Do it here and now: there is one thread."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what broke."""
        self.faults.append(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what broke."""
        self.faults.append(context)

    # Say no, to each future and task that is made: nothing is quicker.
    get_debug = staticmethod(bool)

    def set_debug(self, enabled: bool) -> None:
        """Stay as it is."""

    def is_running(self) -> bool:
        """Tell whether it runs."""
        return self._is_running

    def is_closed(self) -> bool:
        """Tell whether it is closed."""
        return self._is_closed

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **how: Any) -> Any:  # type: ignore[override]
        """Connect over the simulated network."""
        return await self.network.create_connection(protocol_factory, host, port, **how)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **how: Any) -> Any:  # type: ignore[override]
        """Listen on the simulated network."""
        return self.network.create_server(protocol_factory, host, port)

    async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> Any:  # type: ignore[override]
        """Take every name for an address."""
        return [(2, 1, 6, "", (host, port))]

    # -- running ----------------------------------------------------------------------------------------------------

    def run_until_complete(self, future: Any) -> Any:
        """Run until it is done; -> its result.

        raises  Deadlock, Spin
        """
        asyncio._set_running_loop(self)
        self._is_running = True
        try:
            main = asyncio.ensure_future(future, loop=self)
            self._run(main)
            return main.result()
        finally:
            self._is_running = False
            asyncio._set_running_loop(None)

    def _run(self, main: "asyncio.Future[Any]") -> None:
        ready, timers, turns = self.ready, self._timers, 0
        take = ready.popleft
        while not main.done():
            if not ready:
                turns = 0
                while timers and timers[0][2].is_cancelled:
                    heappop(timers)
                if not timers:
                    raise Deadlock(f"nothing is ready and no timer is set:\n{self.stacks()}")
                if timers[0][0] > self.now_ns:
                    self.now_ns = timers[0][0]
                if self.now_ns > MOST_S * 1_000_000_000:
                    raise Spin(f"{MOST_S} virtual seconds, and no end:\n{self.stacks()}")
            now_ns = self.now_ns
            while timers and timers[0][0] <= now_ns:
                handle = heappop(timers)[2]
                if not handle.is_cancelled:
                    ready.append(handle)
            turns += 1
            if turns > MOST_TURNS:
                raise Spin(f"{turns} turns without a timer that was waited for:\n{self.stacks()}")
            for _ in range(len(ready)):
                handle = take()
                if handle.is_cancelled:
                    continue
                host = self.host = handle.host
                if host is not None and host.is_still:
                    if not host.is_dead:
                        host.parked.append(handle)
                    continue
                try:
                    handle.context.run(handle.callback, *handle.args)
                except Exception as error:
                    self.faults.append({"message": f"{handle.callback!r} raised", "exception": error})
            self.host = None
            self.turns += 1
            self.now_ns += TURN_NS

    def stacks(self) -> str:
        """Show where every task stands."""
        out = io.StringIO()
        for task in sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
            task.print_stack(file=out)
        return out.getvalue()

    def close(self) -> None:
        """Forget everything: the coroutines of the dead and of the living are closed, whatever they say to it."""
        self._is_closed = True
        self.ready.clear()
        self._timers.clear()
        for task in [*self.graves, *asyncio.all_tasks(self)]:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            with contextlib.suppress(BaseException):
                coroutine.close()  # type: ignore[union-attr]
        self.graves.clear()
        self.tasks.clear()


def _nothing() -> None:
    pass
