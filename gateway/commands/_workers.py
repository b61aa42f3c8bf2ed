"""Keeps the processes of `sluice run --workers N`: each at its place, begun again when it died, rolled one by one.

    died        back-off of 1 s, doubled to 30 s, and 1 s again behind a minute of life
    SIGTERM     all drain at once
    SIGUSR1     place 0 drains and is started anew ─ it is up ─► place 1 … the roll ends at one that does not come up

A child writes `up` to its standard output when it can send, and stops when its standard input ends: nobody keeps it any
more. The embedded Postgres is this process's. Not here: what a worker does (run.py, dispatch/worker.py).
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence

from gateway import app
from gateway.commands._options import EXIT_CONFIG, say
from gateway.config import Settings

FIRST_S, LONGEST_S = 1.0, 30.0
# Who has lived so long did not die of its start.
STEADY_S = 60.0
# A worker that is not up by then ends a roll.
UP_S = 60.0


def pause_s(lived_s: float, before_s: float) -> float:
    """How long a place stays empty behind a death; `before_s` is the pause before it, 0: none."""
    return FIRST_S if lived_s >= STEADY_S or not before_s else min(LONGEST_S, 2 * before_s)


class Workers:
    """The processes of one node.

    command  makes the words that start the worker of a place
    """

    def __init__(self, count: int, command: Callable[[int], Sequence[str]], environment: dict[str, str]):
        self._count = count
        self._command = command
        self._environment = environment
        self._processes: dict[int, Process] = {}
        self._up = [asyncio.Event() for _ in range(count)]
        self._replaced: set[int] = set()
        self._stopping = asyncio.Event()
        self.exit_code = 0

    async def run(self, stop: asyncio.Event, roll: asyncio.Event) -> int:
        """Keep them until `stop`; replace them one by one whenever `roll` is set; -> the exit code."""
        keepers = [asyncio.create_task(self._keep(place)) for place in range(self._count)]
        rolls = asyncio.create_task(self._roll(roll))
        stops = asyncio.create_task(stop.wait())
        hopeless = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((stops, hopeless, *keepers), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            rolls.cancel()
            stops.cancel()
            for process in self._processes.values():
                self._ask(process)
            await asyncio.gather(*keepers)
            await asyncio.gather(rolls, stops, hopeless, return_exceptions=True)
        return self.exit_code

    async def _keep(self, place: int) -> None:
        loop, before_s = asyncio.get_running_loop(), 0.0
        while not self._stopping.is_set():
            began = loop.time()
            process = await asyncio.create_subprocess_exec(
                *self._command(place), stdin=PIPE, stdout=PIPE, env=self._environment
            )
            self._processes[place] = process
            if self._stopping.is_set():
                self._ask(process)
            assert process.stdout is not None
            async for line in process.stdout:
                if line.strip() == b"up":
                    self._up[place].set()
            code = await process.wait()
            self._up[place].clear()
            del self._processes[place]
            if self._stopping.is_set():
                return
            if place in self._replaced:
                self._replaced.discard(place)
                before_s = 0.0
                continue
            if code == EXIT_CONFIG:
                # It said why, and would say it again for ever.
                self.exit_code = code
                self._stopping.set()
                return
            before_s = pause_s(loop.time() - began, before_s)
            say(f"worker {place} ended with {code}; again in {before_s:g} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(before_s):
                    await self._stopping.wait()

    async def _roll(self, wanted: asyncio.Event) -> None:
        while True:
            await wanted.wait()
            wanted.clear()
            say(f"rolling {self._count} workers")
            for place in range(self._count):
                process = self._processes.get(place)
                if process is None:
                    continue
                self._replaced.add(place)
                self._up[place].clear()
                self._ask(process)
                try:
                    await process.wait()
                    async with asyncio.timeout(UP_S):
                        await self._up[place].wait()
                except TimeoutError:
                    say(f"worker {place} is not up after {UP_S:g} s: the roll ends here, the others go on as they are")
                    break
            else:
                say(f"rolled {self._count} workers")

    def _ask(self, process: Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)


async def keep(settings: Settings, count: int, words: Sequence[str]) -> int:
    """Run `count` workers until a signal; words: their options; -> the exit code."""
    stop, roll = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    with app.stop_signals(stop.set):
        loop.add_signal_handler(signal.SIGUSR1, roll.set)
        try:
            if not await app.until_it_answers(settings, stop, say):
                return 0
            async with app.open_database(settings) as database:
                keeper = asyncio.create_task(database.keep_running())
                # Not among the words: those are seen by everybody on this host.
                environment = {**os.environ, "SLUICE_DSN": database.dsn}
                command = [sys.executable, "-m", "gateway", "run", *words]
                try:
                    workers = Workers(count, lambda place: [*command, "--place", str(place)], environment)
                    return await workers.run(stop, roll)
                finally:
                    keeper.cancel()
                    await asyncio.gather(keeper, return_exceptions=True)
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)


def stop_with_keeper(stop: asyncio.Event) -> None:
    """In a worker: stop when who keeps us has gone."""
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if not os.read(0, 64):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, heard)


def tell_up() -> None:
    """In a worker: say that we can send."""
    with contextlib.suppress(OSError):
        os.write(1, b"up\n")
