"""The composition root: builds everything once, starts in order, stops in reverse. Only the command line imports it.

Here, and in the command line, are the only clocks, the only chance and the only sockets that are not arguments.
"""

import asyncio
import contextlib
import functools
import gc
import hashlib
import importlib.metadata
import logging
import math
import os
import random
import resource
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from gateway import metrics
from gateway.automation.ageing import Ageing
from gateway.automation.blocks import Blocks
from gateway.automation.calling import Calling
from gateway.automation.clicking import Clicking
from gateway.automation.counting import Counting
from gateway.automation.deciding import Deciding
from gateway.automation.erasing import Erasing
from gateway.automation.excepting import Excepting
from gateway.automation.feeding import Feeding
from gateway.automation.offers import Offers
from gateway.automation.ordering import Ordering
from gateway.automation.proofs import Proofs
from gateway.automation.rates import Rating
from gateway.automation.replying import Replying
from gateway.automation.rfm import Rfm
from gateway.automation.sessions import Sessions
from gateway.automation.shop import Shop
from gateway.automation.stepping import Stepping
from gateway.campaign import answering
from gateway.campaign.clicks import Networks
from gateway.config import Settings, endpoint
from gateway.dispatch import memory
from gateway.dispatch.beforehand import Beforehand
from gateway.dispatch.clock import Clock
from gateway.dispatch.guards import Surroundings
from gateway.dispatch.identity import Identity
from gateway.dispatch.route import plan_of, table_of
from gateway.dispatch.stops import Stops
from gateway.dispatch.worker import Worker
from gateway.erasure import Key, key_in
from gateway.errors import ConfigError, StoreError
from gateway.message import MessageClass
from gateway.redirect import serving
from gateway.redirect.door import Door
from gateway.routing import Plan, RouteTable
from gateway.store import enrolments, postgres, results, runs
from gateway.store.embedded import Embedded
from gateway.store.migrate import migrate
from gateway.store.standing import History

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# For what reads or writes a whole run in one statement: ten million people are enqueued in about 15 s.
PATIENCE_S = 600.0
# Of database.deadline_s, after which the server itself ends a statement of a worker.
STATEMENT_SHARE = 0.8
# For a server that is not there yet when a worker starts: looked for, and said so.
WAITING_LOOK_S = 0.25
WAITING_SAID_S = 5.0
# For what a scrape asks of Postgres: Prometheus itself gives up after 10 s.
METRICS_S = 3.0

CLOCK = Clock(monotonic=time.monotonic, wall=lambda: datetime.now(UTC))


def boot_id() -> str:
    """Name this boot of this machine and the pid namespace we are in; empty where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    """Whether there is a process of that pid here, whoever's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def identity(node: str = "", place: int = 0) -> Identity:
    """Who this process is, another one at every call. node, place: where it stands among the workers."""
    host, pid = socket.gethostname(), os.getpid()
    return Identity(
        instance=f"{host}-{pid}-{secrets.token_hex(4)}",
        host=host,
        boot=boot_id(),
        pid=pid,
        is_running=is_running,
        node=node,
        place=place,
    )


def connector(
    settings: Settings, dsn: str, name: str, history: History | None = None
) -> Callable[[], Awaitable[postgres.Connection]]:
    """Make what opens the connections of a worker; `name` is what Postgres shows of it."""

    async def connect() -> postgres.Connection:
        return await postgres.connect(
            dsn,
            application_name=f"sluice {name}"[:63],
            # Before our own: a statement that waits for another node ends alone then, and its connection stays.
            statement_timeout_s=settings.database.deadline_s * STATEMENT_SHARE,
            allow_fsync_off=settings.database.allow_data_loss,
            history=history,
        )

    return connect


def group_limits(listing: str, root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Octets that each control group above a process allows it, its own first, v1 or v2.

    listing  /proc/PID/cgroup: `number:controllers:path` a line, no controllers for v2
    root     where they are mounted; a container may see less of them than the listing names, and its top alone
    """
    found = []
    for line in listing.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, file = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        own = Path(path.lstrip("/"))
        for group in (own, *own.parents) if own != Path() else (own,):
            with contextlib.suppress(OSError, ValueError):  # "max", or not to be seen from here
                found.append(int((mount / group / file).read_text(encoding="ascii")))
    return found


def memory_limits(settings: Settings) -> memory.Limits:
    """Read what bounds this process: the machine, its control groups (v2, v1), RLIMIT_AS, and the settings."""
    groups = []
    with contextlib.suppress(OSError):  # not Linux
        groups = group_limits(Path("/proc/self/cgroup").read_text(encoding="utf-8"))
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return memory.limits_of(
        ram, groups, 0 if space == resource.RLIM_INFINITY else space, settings.worker.memory_limit_mb
    )


def sizes() -> tuple[int, int]:
    """Octets resident, and octets of address space (Linux; elsewhere 0)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            space, resident = file.read().split()[:2]
    except OSError:
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return int(resident) * page, int(space) * page


def free_octets(settings: Settings) -> int | None:
    """Room on the file system of the embedded server; None for a server that is not ours."""
    if settings.database.dsn:
        return None
    try:
        room = os.statvfs(settings.data_root / "postgres")
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def erasure_key() -> Key | None:
    """Read the key of erased numbers, SLUICE_KEY; None: there is none.

    raises  ConfigError
    """
    return key_in(os.environ)


def surroundings(settings: Settings, dsn: str) -> Surroundings:
    """Tell a worker of this machine, and of what was acknowledged to those before it by this database."""
    name = hashlib.sha256(dsn.encode(errors="surrogatepass")).hexdigest()[:12]
    return Surroundings(
        sizes=sizes,
        memory=memory_limits(settings),
        free_octets=lambda: free_octets(settings),
        min_free=settings.database.min_free_mb << 20,
        history=History(CLOCK.wall, settings.data_root / f"standing-{name}.json"),
        erasure=erasure_key(),
    )


def new_worker(
    settings: Settings,
    dsn: str,
    carriers: Iterable[str] | None = None,
    chance: random.Random | None = None,
    around: Surroundings | None = None,
    node: str = "",
    place: int = 0,
) -> Worker:
    """Make a worker of this process; the caller starts it. around: nothing bounds it by default, and it has no past."""
    us = identity(node, place)
    around = around or Surroundings(history=History(CLOCK.wall))
    connect = connector(settings, dsn, us.instance, around.history)
    return Worker(settings, us, connect, CLOCK, chance or random.Random(), carriers, around)


def new_loop() -> asyncio.AbstractEventLoop:
    """Make uvloop's loop where there is one, else the standard one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a program on its own loop. No core file is ever written: it would hold texts, numbers and passwords."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What start-up made stays; the collector looks at it no more, and less often at what comes (3 % of a busy worker).
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    is_done = False
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            result = runner.run(main)
            is_done = True
    except RuntimeError as error:
        # The loop's end starts a thread to wait for others; at the end of the address space there is no room for one.
        if not is_done or "thread" not in str(error):
            raise
        log.warning("! threads are not waited for: %s", error)
    finally:
        # Whoever goes on in this process has rubbish looked at again that was frozen: it may hold sockets.
        gc.set_threshold(*before)
        gc.unfreeze()
    return result


class Database:
    """Where the queue is: a DSN, and the embedded server behind it if there is one."""

    def __init__(self, dsn: str, server: Embedded | None, settings: Settings):
        self.dsn = dsn
        self.server = server
        self._settings = settings

    @contextlib.asynccontextmanager
    async def connection(self, seconds: float = PATIENCE_S) -> AsyncIterator[postgres.Connection]:
        """Lend a connection of its own for at most so long, each statement included; raises StoreError alone."""
        connection = await postgres.connect(
            self.dsn,
            statement_timeout_s=seconds,
            connect_timeout_s=self._settings.database.deadline_s,
            allow_fsync_off=self._settings.database.allow_data_loss,
        )
        try:
            async with postgres.deadline(connection, seconds):
                yield connection
        finally:
            await postgres.close(connection)

    def connections(self) -> postgres.Connections:
        """Make a connection that is opened anew whenever it has been lost; close it in the end."""
        return postgres.Connections(
            self.dsn,
            size=1,
            connect_timeout_s=self._settings.database.deadline_s,
            allow_fsync_off=self._settings.database.allow_data_loss,
        )

    async def keep_running(self) -> None:
        """Start the embedded server again whenever it has died; runs until cancelled."""
        while self.server is not None:
            await asyncio.sleep(0.25)
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(self.server.ensure_running)

    def check_room(self) -> None:
        """Refuse to put in more where the disk is nearly full: there must be room to end what was begun.

        raises  StoreError, retryable
        """
        free, least_mb = free_octets(self._settings), self._settings.database.min_free_mb
        if free is not None and free >> 20 < least_mb:
            raise StoreError(
                f"{self._settings.data_root}: expected at least {least_mb:,} MB free (database.min_free_mb), found "
                f"{free >> 20:,}; nothing was enqueued: make room there, or lower that setting",
                retryable=True,
            )

    def cpu_s(self) -> float | None:
        """CPU seconds of the embedded server's processes so far; None for a server that is not ours."""
        return None if self.server is None or not self.server.pid else process_tree_cpu_s(self.server.pid)


@contextlib.contextmanager
def open_server(settings: Settings) -> Iterator[tuple[str, Embedded | None]]:
    """Take the DSN of the settings, or start the embedded server."""
    if settings.database.dsn:
        yield settings.database.dsn, None
    else:
        with Embedded(settings.data_root) as server:
            yield server.dsn, server


def has_database(settings: Settings) -> bool:
    """Whether there is a database to look into; False where the embedded server would have to be made first."""
    if settings.database.dsn:
        return True
    try:
        os.stat(settings.data_root / "postgres" / "data")
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # The server's own words about it are better than ours.
        return True
    return True


@contextlib.asynccontextmanager
async def open_database(settings: Settings, migrates: bool = True) -> AsyncIterator[Database]:
    """Reach the database, starting the embedded one if need be, and bring its schema up to date unless told not to."""
    stack = contextlib.ExitStack()
    dsn, server = await asyncio.to_thread(stack.enter_context, open_server(settings))
    try:
        if migrates:
            await migrate(dsn)
        yield Database(dsn, server, settings)
    finally:
        await asyncio.to_thread(stack.close)


async def until_it_answers(settings: Settings, stop: asyncio.Event, tell: Callable[[str], None]) -> bool:
    """Wait for a server that is not ours while it is away, recovers or shuts down; -> False: told to stop meanwhile.

    Ours is waited for where it is started.
    raises  StoreError: waiting helps nothing, or database.start_patience_s are over
    """
    database = settings.database
    until, told_at = CLOCK.monotonic() + database.start_patience_s, -math.inf
    while database.dsn and not stop.is_set():
        try:
            connection = await postgres.connect(
                database.dsn, connect_timeout_s=database.deadline_s, allow_fsync_off=database.allow_data_loss
            )
        except StoreError as error:
            now = CLOCK.monotonic()
            if not error.retryable or now >= until:
                raise
            if now - told_at >= WAITING_SAID_S:
                told_at = now
                tell(f"postgres: {error}: waiting for it, {until - now:.0f} s more (database.start_patience_s)")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(WAITING_LOOK_S, until - now))
        else:
            await postgres.close(connection)
            break
    return not stop.is_set()


def answerers(settings: Settings) -> dict[str, answering.Answerer]:
    """Make what answers by itself, of the inboxes where it is turned on.

    raises  ConfigError: no answerer of that name, or a file of knowledge that is none
    """
    made: dict[str, answering.Answerer] = {}
    for name, inbox in settings.inboxes.items():
        if not inbox.answering.enabled:
            continue
        key, wanted = f"inboxes.{name}.answering", inbox.answering.answerer
        found = {one.name: one for one in importlib.metadata.entry_points(group=answering.GROUP)}
        if wanted != answering.FAQ and wanted not in found:
            raise ConfigError([(f"{key}.answerer", " or ".join(sorted({answering.FAQ, *found})), repr(wanted))])
        make = answering.faq if wanted == answering.FAQ else found[wanted].load()
        knowledge = ""
        if inbox.answering.knowledge:
            path = settings.beside / inbox.answering.knowledge
            try:
                knowledge = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError([(f"{key}.knowledge", "a file that can be read", f"{path}: {error}")]) from error
        try:
            made[name] = make(knowledge)
        except ConfigError as error:
            problems = [(f"{key}.{at}", expected, text) for at, expected, text in error.problems]
            raise ConfigError(problems) from error
    return made


def waits_in(database: Database) -> Callable[[], Awaitable[metrics.Queued]]:
    """Make the question what waits in a database, on a connection of its own each time."""

    async def ask() -> metrics.Queued:
        async with database.connection(METRICS_S) as connection:
            rows, names = await results.queue_by_lane(connection), await runs.lanes(connection)
            now = CLOCK.wall()
            lags = await enrolments.lags(connection, now)
        return metrics.queued_of(rows, names, now, lags)

    return ask


def _route_of(
    table: RouteTable, lanes: Mapping[str, int], class_: MessageClass, sender: str, at: datetime,
    living: Iterable[runs.Worker],
) -> Plan:  # fmt: skip
    return plan_of(table, lanes, class_, sender, at, living)


@contextlib.asynccontextmanager
async def open_worker(
    settings: Settings,
    database: Database,
    carriers: Iterable[str] | None = None,
    chance: random.Random | None = None,
    node: str = "",
    place: int = 0,
) -> AsyncIterator[Worker]:
    """Start a worker; stop it in order at the end."""
    around = surroundings(settings, database.dsn)
    worker = new_worker(settings, database.dsn, carriers, chance, around, node, place)
    keeper = asyncio.create_task(database.keep_running())
    try:
        await worker.start()
        drawn = chance or random.Random()
        jobs: list[Any] = [
            job(CLOCK.wall, worker.connect, worker.instance, drawn) for job in (Sessions, Ageing, Clicking)
        ]
        jobs.append(Proofs(CLOCK.wall, worker.connect, worker.instance))
        jobs.append(Deciding(CLOCK.wall, worker.connect, worker.instance))
        jobs.append(Rfm(settings.rfm, CLOCK.wall, worker.connect, worker.instance))
        jobs.append(Counting(settings.reports, CLOCK.wall, worker.connect, worker.instance))
        jobs.append(Blocks(settings, CLOCK.wall, worker.connect, worker.instance))
        jobs.append(Feeding(settings, CLOCK.wall, worker.connect, worker.instance, drawn))
        jobs.append(Excepting(settings, CLOCK.wall, worker.connect, worker.instance, drawn))
        jobs.append(Offers(CLOCK.wall, worker.connect, worker.instance, drawn))
        jobs.append(Ordering(settings, CLOCK.wall, worker.connect, worker.instance, drawn))
        jobs.append(Replying(settings, CLOCK.wall, worker.connect, worker.instance, drawn, answerers(settings)))
        jobs.append(Rating(settings, CLOCK.wall, worker.connect, worker.instance, CLOCK.monotonic))
        jobs.append(Shop(CLOCK.wall, worker.connect, worker.instance, drawn))
        jobs.append(Erasing(settings, CLOCK.wall, worker.connect, worker.instance, around.erasure))
        route = functools.partial(_route_of, table_of(settings))
        secret = random.SystemRandom()
        jobs.append(Calling(settings.webhooks, CLOCK.wall, worker.connect, worker.instance))
        gate = Beforehand(worker.feed.suppressed)
        jobs.append(Stepping(settings, CLOCK.wall, worker.connect, worker.instance, drawn, route, secret, gate))
        automation = [asyncio.create_task(job.run()) for job in jobs]
        try:
            async with contextlib.AsyncExitStack() as doors:
                if settings.worker.metrics_listen:
                    listen = settings.worker.metrics_listen
                    await doors.enter_async_context(metrics.serve(listen, worker, CLOCK.monotonic, waits_in(database)))
                yield worker
        finally:
            for task in automation:
                task.cancel()
            await asyncio.gather(*automation, return_exceptions=True)
            await worker.stop()
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


@contextlib.asynccontextmanager
async def open_door(settings: Settings, database: Database, listen: str, networks: Networks) -> AsyncIterator[str]:
    """Answer links of messages while the block lasts, on any free port if it is 0; -> the address taken.

    raises  ConfigError when the address cannot be had
    """
    host, port = endpoint(listen, lowest=0)
    how = {"connect_timeout_s": settings.database.deadline_s, "allow_fsync_off": settings.database.allow_data_loss}
    lookups, writes = (postgres.Connections(database.dsn, size=size, **how) for size in (1, 3))
    us = identity()
    stops = Stops(
        CLOCK, connector(settings, database.dsn, us.instance), settings.database.deadline_s, settings.worker.lease_s, us
    )
    door = Door(settings, lookups, writes, stops, CLOCK, random.SystemRandom(), networks)
    recording = asyncio.create_task(door.recording.run())
    keeper = asyncio.create_task(database.keep_running())
    try:
        async with serving.serve(door.app, host, port, settings.links.proxies) as address:
            yield address
    except OSError as error:
        found = f"{listen}: {error.strerror or error}"
        raise ConfigError([("--listen", "an address of this machine that is free", found)]) from error
    finally:
        keeper.cancel()
        # What waits is written first.
        recording.cancel()
        await asyncio.gather(keeper, recording, return_exceptions=True)
        await door.close()
        await stops.close()
        await asyncio.gather(lookups.close(), writes.close())


@contextlib.contextmanager
def stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at SIGTERM, SIGINT and the end of the terminal while the block lasts."""
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    # Under nohup it is ignored, and that stays so.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def process_tree_cpu_s(pid: int) -> float:
    """CPU seconds of a process, its living children, and those it has waited for (Linux; elsewhere 0)."""
    tick = os.sysconf("SC_CLK_TCK")
    total = 0.0
    try:
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/stat", encoding="latin-1") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(entry) == pid:
                total += sum(int(fields[i]) for i in (11, 12, 13, 14)) / tick
            elif int(fields[1]) == pid:
                total += sum(int(fields[i]) for i in (11, 12)) / tick
    except OSError:
        return 0.0
    return total
