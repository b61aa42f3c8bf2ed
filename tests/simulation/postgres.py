"""A Postgres in memory: connections that know our named statements, and faults that a network and a server have.

    database = SimPostgres(random.Random(seed))
    connection = await database.connect()                what gateway/store calls, COPY octets included, runs on it
    await runs.lane_of(connection, "acme", now)

What a statement does is a function of the same name (queries*.py): SQL is not read. One without a function raises
with its name. Everything happens by the loop's timers, in the loop's time: no thread, no clock, no dice but `chance`.

    connection ── request, travels ──► session: runs at one instant, or waits for whoever holds a row
               ◄── answer, travels ──            a transaction ends when its last statement has run

The server's own callbacks run in the context in which it was made, and not in that of the client that asked: a host
that is crashed takes its connections with it (`cut`), and not the statements that are on their way.
Not here: rows and locks (tables.py).
"""

import asyncio
import contextvars
import itertools
import operator
import random
import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from types import GeneratorType
from typing import Any, cast

import asyncpg
import asyncpg.transaction

from gateway.errors import StoreError
from gateway.store import postgres
from gateway.store.postgres import STATEMENT_TIMEOUT_S
from tests.simulation import (
    queries_admission,
    queries_cancels,
    queries_control,
    queries_inbound,
    queries_membership,
    queries_plain,
    queries_queue,
    queries_rates,
    queries_receipts,
    queries_results,
    queries_retention,
    queries_runs,
    queries_standing,
    queries_stops,
    queries_transfer,
)
from tests.simulation.copyoctets import read_copy, write_copy
from tests.simulation.queries import Model, model_of
from tests.simulation.tables import LOGS, Tables, Transaction

# Whose statements it knows.
ROOMS = (
    queries_admission, queries_cancels, queries_control, queries_inbound, queries_membership, queries_queue,
    queries_receipts, queries_results, queries_runs, queries_transfer, queries_retention, queries_plain,
    queries_standing, queries_stops, queries_rates,
)  # fmt: skip
# As Postgres has it: whoever has waited so long looks whether it waits for itself.
DEADLOCK_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 10.0
BROKEN = "connection was closed in the middle of operation"


@dataclass(kw_only=True)
class Faults:
    """How likely what is, of each request; to be changed at any time.

    travel_s      how long a request, or an answer, is on its way
    slow          requests that take `slow_s` instead
    lost_request  the connection dies, and nothing was done
    lost_answer   it was done, and the connection dies; of a COMMIT: committed, and nobody knows
    lost_abort    of a connection that the client terminates: what is on its way to the server is not carried out
    refused       connects
    """

    travel_s: tuple[float, float] = (0.0, 0.0)
    slow: float = 0.0
    slow_s: tuple[float, float] = (0.05, 1.0)
    lost_request: float = 0.0
    lost_answer: float = 0.0
    lost_abort: float = 0.5
    refused: float = 0.0


class Record(tuple[Any, ...]):
    """A row as asyncpg gives it: by place and by name."""

    __slots__ = ()
    places: dict[str, int] = {}

    def __getitem__(self, key: Any) -> Any:
        """Take one value, or a slice."""
        if isinstance(key, str):
            try:
                return tuple.__getitem__(self, self.places[key])
            except KeyError:
                raise KeyError(key) from None
        return tuple.__getitem__(self, key)

    def __contains__(self, key: object) -> bool:
        """Whether there is a column of that name."""
        return key in self.places

    def keys(self) -> Any:
        """The names of the columns."""
        return self.places.keys()

    def values(self) -> Any:
        """The values."""
        return tuple(self)

    def items(self) -> Any:
        """Names and values."""
        return zip(self.places, self, strict=True)

    def get(self, key: str, default: Any = None) -> Any:
        """Take one value, or the default where no column has the name."""
        return self[key] if key in self.places else default


_records: dict[tuple[str, ...], type[Record]] = {}


def record_of(columns: tuple[str, ...]) -> type[Record]:
    """Make the type of rows of such columns."""
    if (found := _records.get(columns)) is None:
        places = {name: place for place, name in enumerate(columns)}
        found = _records[columns] = cast("type[Record]", type("Record", (Record,), {"places": places, "__slots__": ()}))
    return found


@dataclass(kw_only=True, eq=False, slots=True)
class Request:
    """One statement on its way."""

    answer: asyncio.Future[Any]
    run: Callable[["Session"], Any]
    name: str
    args: Sequence[Any] = ()
    # BEGIN, COMMIT and the like, which end or begin a transaction by themselves.
    steers: bool = False
    is_dropped: bool = False


class Session:
    """The server's end of a connection."""

    def __init__(self, server: "SimPostgres", connection: "Connection"):
        self.server = server
        self.connection = connection
        self.transaction: Transaction | None = None
        self.is_explicit = False
        self.has_failed = False
        self.is_over = False
        self.is_left = False
        self.request: Request | None = None
        self._work: Generator[Transaction, None, Any] | None = None
        self._written_before = 0
        self._timers: list[asyncio.TimerHandle] = []
        self.on_its_way: Request | None = None

    def receive(self, request: Request) -> None:
        """Run a statement."""
        self.on_its_way = None
        if self.is_over or request.is_dropped:
            return
        if self.server.is_frozen:
            self.server.parked.append(lambda: self.receive(request))
            return
        self.request = request
        if request.steers:
            self._finish_by(request.run)
            return
        if self.has_failed:
            self._fail(asyncpg.InFailedSQLTransactionError("current transaction is aborted, commands ignored"))
            return
        if self.transaction is None:
            self.transaction = self.server.begin(self)
        self._written_before = self.transaction.has_written
        try:
            result = request.run(self)
        except Exception as error:
            self._fail(error)
            return
        if isinstance(result, GeneratorType):
            self._work = result
            self._go_on()
        else:
            self._succeed(result)

    def _go_on(self) -> None:
        if self.is_over or self._work is None or self.transaction is None:
            return
        if self.server.is_frozen:
            self.server.parked.append(self._go_on)
            return
        self._wait_for(None)
        try:
            other = self._work.send(None)
        except StopIteration as stop:
            self._work = None
            self._succeed(stop.value)
        except Exception as error:
            self._work = None
            self._fail(error)
        else:
            self._wait_for(other)
            self.server.waiters.setdefault(other, []).append(self)
            if not self._timers:
                later = self.server.later
                self._timers = [
                    later(DEADLOCK_TIMEOUT_S, self._look_for_circle),
                    later(self.connection.statement_timeout_s, self._time_out),
                ]

    def _wait_for(self, other: Transaction | None) -> None:
        assert self.transaction is not None
        self.server.tables.waiting += (other is not None) - (self.transaction.waits_for is not None)
        self.transaction.waits_for = other

    def wake(self) -> None:
        """Go on: whom it waited for is at its end."""
        self.server.soon(self._go_on)

    def _look_for_circle(self) -> None:
        if self._work is not None and self.transaction is not None and self.transaction.is_in_a_circle():
            self._give_up(asyncpg.DeadlockDetectedError("deadlock detected"))

    def _time_out(self) -> None:
        if self._work is not None:
            self._give_up(asyncpg.QueryCanceledError("canceling statement due to statement timeout"))

    def _give_up(self, error: Exception) -> None:
        if self.server.is_frozen:
            self.server.parked.append(lambda: self._give_up(error))
            return
        if self._work is not None:
            self._wait_for(None)
            self._work.close()
            self._work = None
            self._fail(error)

    def _settle(self) -> Request:
        for timer in self._timers:
            timer.cancel()
        self._timers = []
        request, self.request = self.request, None
        assert request is not None
        return request

    def _finish_by(self, run: Callable[["Session"], Any]) -> None:
        try:
            result: Any = run(self)
        except Exception as error:
            self._fail(error)
            return
        self.server.reply(self, self._settle(), result, None)
        self._look_up()

    def _succeed(self, result: Any) -> None:
        assert self.transaction is not None
        refuses = self.server.refuses_writes
        if refuses is not None and self.transaction.has_written > self._written_before:
            self._fail(refuses)
            return
        if not self.is_explicit:
            self.end(commits=True)
        request = self._settle()
        if self.server.watch is not None:
            self.server.watch(request.name, request.args, result)
        self.server.reply(self, request, result, None)
        self._look_up()

    def _fail(self, error: Exception) -> None:
        request = self._settle()
        if self.is_explicit:
            self.has_failed = True
        elif self.transaction is not None:
            self.end(commits=False)
        self.server.reply(self, request, None, error)
        self._look_up()

    def _look_up(self) -> None:
        """After a statement the server reads on, and finds that nobody is there any more."""
        if self.is_left:
            self.close()

    def end(self, *, commits: bool) -> None:
        """End the transaction; what it has to tell is told, and who waits for it goes on."""
        transaction, self.transaction = self.transaction, None
        self.is_explicit = self.has_failed = False
        if transaction is not None:
            transaction.end(commits=commits)
            if commits and transaction.told:
                told = list(transaction.told)
                if self.server.watch is not None:
                    self.server.watch("", (), told)
                self.server.notify(self, told)

    def leave(self) -> None:
        """Hear that the client is gone; what runs is brought to its end first."""
        self.is_left = True
        if self.server.is_frozen:
            self.server.parked.append(self.leave)
        elif self.request is None:
            self.close()

    def close(self) -> None:
        """End: what is not committed is undone."""
        if self.is_over:
            return
        self.is_over = True
        for timer in self._timers:
            timer.cancel()
        if self._work is not None:
            self._wait_for(None)
            self._work.close()
            self._work = None
        self.end(commits=False)
        self.server.sessions.pop(self, None)


class _State:
    """What asyncpg.transaction asks a connection's protocol."""

    def __init__(self, session: Session):
        self._session = session

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, as far as the client has heard."""
        return self._session.is_explicit


class Connection:
    """What asyncpg.Connection is for gateway/store.

    client  whose it is: `SimPostgres.cut` takes all of one client's
    """

    def __init__(self, server: "SimPostgres", client: str, statement_timeout_s: float):
        self.server = server
        self.client = client
        self.statement_timeout_s = statement_timeout_s
        self.session = Session(server, self)
        self.pid = next(server.pids)
        self._waiter: asyncio.Future[Any] | None = None
        self._is_closed = False
        self._listeners: dict[str, list[tuple[Callable[..., Any], contextvars.Context]]] = {}
        # For asyncpg.transaction, which is used as it stands.
        self._top_xact: Any = None
        self._pool_release_ctr = 0
        self._protocol = _State(self.session)
        self._savepoints = itertools.count(1)

    def _get_unique_id(self, prefix: str) -> str:
        return f"__asyncpg_{prefix}_{next(self._savepoints)}__"

    # -- statements ----------------------------------------------------------------------------------------------------

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Record]:
        """Run a statement; -> its rows."""
        model, rows = await self._run(query, args, timeout)
        if not isinstance(rows, list):
            return []
        type_ = record_of(model.columns)
        return [type_(row) for row in rows]

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Record | None:
        """Run a statement; -> its first row."""
        rows = await self.fetch(query, *args, timeout=timeout)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        """Run a statement; -> a value of its first row."""
        row = await self.fetchrow(query, *args, timeout=timeout)
        return None if row is None else row[column]

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run a statement; -> its tag."""
        if not args and (steered := _steer(query)) is not None:
            return cast("str", await self._ask(steered, query, steers=True, timeout=timeout))
        model, rows = await self._run(query, args, timeout)
        count = rows if isinstance(rows, int) else len(rows or ())
        return f"INSERT 0 {count}" if model.tag == "INSERT" else f"{model.tag} {count}"

    async def executemany(self, command: str, args: Sequence[Sequence[Any]], *, timeout: float | None = None) -> None:
        """Run a statement with one row of parameters after the other, all of them or none."""
        async with self.transaction():
            for one in args:
                await self._run(command, one, timeout)

    async def copy_from_query(
        self,
        query: str,
        *args: Any,
        output: Callable[[bytes], Awaitable[None]],
        format: str,
        timeout: float | None = None,
    ) -> str:
        """Hand over the rows of a statement as octets of a binary COPY, in pieces."""
        assert format == "binary"
        model, rows = await self._run(query, args, timeout)
        octets = write_copy(rows, model.types)
        for at in range(0, len(octets), 65536):
            await output(octets[at : at + 65536])
        return f"COPY {len(rows)}"

    async def copy_to_table(
        self, table_name: str, *, source: Any, columns: Sequence[str], format: str, timeout: float | None = None
    ) -> str:
        """Append rows that come as octets of a binary COPY."""
        assert format == "binary"
        octets = b"".join([piece async for piece in source])

        def run(session: Session) -> Any:
            assert session.transaction is not None
            return _copy_in(session.transaction, table_name, columns, octets)

        return f"COPY {await self._ask(run, f'COPY {table_name}', timeout=timeout)}"

    def transaction(self, **options: Any) -> Any:
        """Asyncpg's own, over our statements."""
        settings = {"isolation": None, "readonly": False, "deferrable": False, **options}
        return asyncpg.transaction.Transaction(cast("Any", self), **settings)

    async def _run(self, query: str, args: Sequence[Any], timeout: float | None) -> tuple[Model, Any]:
        model = model_of(query)

        def run(session: Session) -> Any:
            return model.run(session.transaction, *args)

        return model, await self._ask(run, model.name, args, timeout=timeout)

    async def _ask(
        self,
        run: Callable[[Session], Any],
        name: str,
        args: Sequence[Any] = (),
        *,
        steers: bool = False,
        timeout: float | None = None,
    ) -> Any:
        self._check_open()
        if self._waiter is not None:
            raise asyncpg.InterfaceError("cannot perform operation: another operation is in progress")
        answer = self._waiter = self.server.loop.create_future()
        self.server.asked[name] = self.server.asked.get(name, 0) + 1
        request = Request(answer=answer, run=run, name=name, args=args, steers=steers)
        self.server.send(self.session, request)
        try:
            if timeout is None:
                return await answer
            async with asyncio.timeout(timeout):
                return await answer
        except (asyncio.CancelledError, TimeoutError):
            # asyncpg has the statement cancelled; whether that came in time is not known.
            self.server.cancel(self.session, request)
            raise
        finally:
            self._waiter = None

    def _check_open(self) -> None:
        if self._is_closed:
            raise asyncpg.InterfaceError("connection is closed")

    # -- notifications -------------------------------------------------------------------------------------------------

    async def add_listener(self, channel: str, callback: Callable[..., Any]) -> None:
        """Call back on what is told on a channel, in the caller's context."""
        self._check_open()
        if channel not in self._listeners:

            def run(session: Session) -> str:
                self.server.listeners.setdefault(channel, {})[session] = None
                return "LISTEN"

            await self._ask(run, f"LISTEN {channel}", steers=True)
        self._listeners.setdefault(channel, []).append((callback, contextvars.copy_context()))

    async def remove_listener(self, channel: str, callback: Callable[..., Any]) -> None:
        """Call back no more."""
        kept = [one for one in self._listeners.get(channel, ()) if one[0] != callback]
        self._listeners[channel] = kept
        if not kept:
            del self._listeners[channel]
            self.server.listeners.get(channel, {}).pop(self.session, None)

    def hear(self, channel: str, pid: int, payload: str) -> None:
        """Hand on what was told."""
        if not self._is_closed:
            for callback, context in self._listeners.get(channel, ()):
                self.server.loop.call_soon(callback, self, pid, channel, payload, context=context)

    # -- its end -------------------------------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        """Whether it is closed, by whomever."""
        return self._is_closed

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._protocol.is_in_transaction()

    def get_server_pid(self) -> int:
        """The number of the session."""
        return self.pid

    async def close(self, *, timeout: float | None = None) -> None:
        """Close in order."""
        if self._is_closed:
            return
        await self._ask(lambda session: None, "close", steers=True, timeout=timeout)
        self.terminate()

    def terminate(self) -> None:
        """Close at once; what was asked may have been done."""
        if self._is_closed:
            return
        self.lose(asyncpg.ConnectionDoesNotExistError(BROKEN))
        self.server.abandon(self.session)

    def lose(self, error: Exception) -> None:
        """Find that the connection is gone."""
        self._is_closed = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


def _steer(query: str) -> Callable[[Session], Any] | None:
    """BEGIN, COMMIT, ROLLBACK, savepoints, and settings that mean nothing here."""
    word = query.rstrip("; ")
    if word.startswith("BEGIN"):

        def begin(session: Session) -> str:
            session.transaction = session.transaction or session.server.begin(session)
            session.is_explicit = True
            return "BEGIN"

        return begin
    if word == "COMMIT":

        def commit(session: Session) -> str:
            has_failed = session.has_failed
            session.end(commits=not has_failed)
            return "ROLLBACK" if has_failed else "COMMIT"

        return commit
    if word == "ROLLBACK":

        def rollback(session: Session) -> str:
            session.end(commits=False)
            return "ROLLBACK"

        return rollback
    if point := re.match(r"(SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO) (\w+)$", word):

        def at_savepoint(session: Session) -> str:
            assert session.transaction is not None
            if point[1] == "ROLLBACK TO":
                session.transaction.back_to(point[2])
                session.has_failed = False
            elif session.has_failed:
                raise asyncpg.InFailedSQLTransactionError("current transaction is aborted, commands ignored")
            elif point[1] == "SAVEPOINT":
                session.transaction.begin_savepoint(point[2])
            return point[1]

        return at_savepoint
    if re.match(r"SET (LOCAL |SESSION )?\w+|ANALYZE|CHECKPOINT", word):
        return lambda session: "SET"
    return None


def _copy_in(transaction: Transaction, name: str, columns: Sequence[str], octets: bytes) -> Any:
    """Append rows; a table with a key may have to wait."""
    if name in LOGS:
        log = transaction.tables.logs[name]
        rows = read_copy(octets, [log.shape.columns[column].type for column in columns])
        # What is not in the columns stands behind them.
        left = dict(zip(log.shape.columns, log.defaults, strict=True))
        rest = tuple(left[column] for column in left if column not in columns)
        order = [*columns, *(column for column in left if column not in columns)]
        arranged = operator.itemgetter(*(order.index(column) for column in left))
        return transaction.append(name, [log.type._make(arranged(row + rest)) for row in rows])
    return _copy_into(transaction, name, columns, octets)


def _copy_into(
    transaction: Transaction, name: str, columns: Sequence[str], octets: bytes
) -> Generator[Transaction, None, int]:
    shape = transaction.table(name).shape
    rows = read_copy(octets, [shape.columns[column].type for column in columns])
    for row in rows:
        yield from transaction.insert(name, dict(zip(columns, row, strict=True)))
    return len(rows)


class SimPostgres:
    """The server: one database, its sessions, and what may go wrong with it.

    chance   of everything that is left to it
    faults   see there; without them every statement is answered in the next turn of the loop
    """

    def __init__(self, chance: random.Random, faults: Faults | None = None):
        self.chance = chance
        self.faults = faults or Faults()
        self.tables = Tables()
        self.sessions: dict[Session, None] = {}
        self.waiters: dict[Transaction, list[Session]] = {}
        self.listeners: dict[str, dict[Session, None]] = {}
        self.parked: list[Callable[[], None]] = []
        self.is_frozen = False
        self.is_down = False
        # What a statement that writes ends in: asyncpg.DiskFullError, asyncpg.ReadOnlySQLTransactionError …
        self.refuses_writes: Exception | None = None
        self.pids = itertools.count(1000)
        self.asked: dict[str, int] = {}
        # Who watches: told of what was done (name, parameters, rows), committed with a word to others ("", (), what was
        # told), and done without an answer ("lost", (name,), None).
        self.watch: Callable[[str, Sequence[Any], Any], None] | None = None
        self._context = contextvars.copy_context()
        self._thawed: asyncio.Event | None = None
        # Of whoever connected last.
        self.loop: asyncio.AbstractEventLoop

    # -- clients -------------------------------------------------------------------------------------------------------

    async def connect(
        self, *, client: str = "", statement_timeout_s: float = STATEMENT_TIMEOUT_S
    ) -> postgres.Connection:
        """Open a connection.

        raises  StoreError, retryable: the server is down, or says nothing
        """
        # Asked once for each: CPython before 3.12 makes a system call of it.
        self.loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.sleep(self._travel())
                while self.is_frozen:
                    self._thawed = self._thawed or asyncio.Event()
                    await self._thawed.wait()
        except TimeoutError as error:
            raise StoreError(f"connect: no answer within {CONNECT_TIMEOUT_S:g} s", retryable=True) from error
        if self.is_down or self._is_hit(self.faults.refused):
            raise StoreError("connect: [Errno 111] connection refused", retryable=True)
        connection = Connection(self, client, statement_timeout_s)
        self.sessions[connection.session] = None
        return cast("postgres.Connection", connection)

    def connector(self, client: str, statement_timeout_s: float = STATEMENT_TIMEOUT_S) -> Callable[[], Awaitable[Any]]:
        """What a worker is handed to open its connections."""
        return lambda: self.connect(client=client, statement_timeout_s=statement_timeout_s)

    def cut(self, client: str) -> None:
        """A client's process is gone: its sockets are closed by its kernel, what it has sent is still on its way."""
        for session in [one for one in self.sessions if one.connection.client == client]:
            session.connection.lose(asyncpg.ConnectionDoesNotExistError(BROKEN))
            self.abandon(session)

    def kill(self, connection: Any) -> None:
        """End one session, as an administrator does."""
        session = connection.session
        session.close()
        connection.lose(asyncpg.AdminShutdownError("terminating connection due to administrator command"))

    def connections(self, client: str | None = None) -> list[Connection]:
        """Those that are open, or one client's."""
        return [one.connection for one in self.sessions if client is None or one.connection.client == client]

    # -- what may happen to it -----------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Answer nothing until `thaw`."""
        self.is_frozen = True

    def thaw(self) -> None:
        """Go on, with what came meanwhile."""
        self.is_frozen = False
        parked, self.parked = self.parked, []
        for one in parked:
            self.soon(one)
        if self._thawed is not None:
            self._thawed.set()
            self._thawed = None

    def crash(self) -> None:
        """Be down: what is not committed is undone, every answer on its way is lost. Statements on their way, too."""
        self.is_down = True
        if self.is_frozen:
            self.parked.clear()
            self.thaw()
        for session in list(self.sessions):
            session.close()
            session.connection.lose(asyncpg.ConnectionDoesNotExistError(BROKEN))
        self.waiters.clear()
        self.listeners.clear()

    def start(self) -> None:
        """Be up again."""
        self.is_down = False

    # -- the wire ------------------------------------------------------------------------------------------------------

    def later(self, delay_s: float, call: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        """Do something of the server's later."""
        return self.loop.call_later(delay_s, call, *args, context=self._context)

    def soon(self, call: Callable[..., None], *args: Any) -> None:
        """Do something of the server's in the next turn."""
        self.loop.call_soon(call, *args, context=self._context)

    def _after_travel(self, call: Callable[..., None], *args: Any) -> None:
        delay_s = self._travel()
        if delay_s:
            self.loop.call_later(delay_s, call, *args, context=self._context)
        else:
            self.loop.call_soon(call, *args, context=self._context)

    def _travel(self) -> float:
        faults = self.faults
        least, most = faults.slow_s if faults.slow and self._is_hit(faults.slow) else faults.travel_s
        return least + (most - least) * self.chance.random() if most else 0.0

    def _is_hit(self, likelihood: float) -> bool:
        return likelihood > 0 and self.chance.random() < likelihood

    def send(self, session: Session, request: Request) -> None:
        """Carry a request to the server."""
        if self.faults.lost_request and self._is_hit(self.faults.lost_request):
            self._after_travel(self._break, session)
            return
        session.on_its_way = request
        self._after_travel(session.receive, request)

    def reply(self, session: Session, request: Request, result: Any, error: Exception | None) -> None:
        """Carry an answer back."""
        if self.faults.lost_answer and self._is_hit(self.faults.lost_answer):
            if self.watch is not None and error is None:
                self.watch("lost", (request.name,), result)
            self._after_travel(self._break, session)
            return
        self._after_travel(self._deliver, session, request, result, error)

    def _deliver(self, session: Session, request: Request, result: Any, error: Exception | None) -> None:
        if session.is_over and not session.is_left:
            return
        if not request.answer.done():
            if error is not None:
                request.answer.set_exception(error)
            else:
                request.answer.set_result(result)

    def _break(self, session: Session) -> None:
        """The connection between them is no more."""
        session.connection.lose(asyncpg.ConnectionDoesNotExistError(BROKEN))
        session.leave()

    def abandon(self, session: Session) -> None:
        """The client has gone: a request on its way may still be carried out, then the server finds nobody there."""
        if session.on_its_way is not None and self._is_hit(self.faults.lost_abort):
            session.on_its_way.is_dropped = True
        if session.on_its_way is not None and not session.on_its_way.is_dropped:
            session.is_left = True
        else:
            self._after_travel(session.leave)

    def cancel(self, session: Session, request: Request) -> None:
        """The client does not want the answer any more: a statement that waits ends, one that runs does not."""
        if session.on_its_way is request and not request.steers:
            request.is_dropped = True
            session.on_its_way = None
            if session.is_left:
                # Nothing comes any more that would look up and find nobody.
                self._after_travel(session.leave)
            if session.is_explicit:
                session.has_failed = True
        else:
            session._give_up(asyncpg.QueryCanceledError("canceling statement due to user request"))

    def begin(self, session: Session) -> Transaction:
        """Open a transaction."""
        return Transaction(self.tables, self._ended)

    def _ended(self, transaction: Transaction) -> None:
        for session in self.waiters.pop(transaction, ()):
            session.wake()

    def notify(self, session: Session, told: list[tuple[str, str]]) -> None:
        """Tell what was committed to whoever listens."""
        for channel, payload in told:
            for listener in list(self.listeners.get(channel, ())):
                if listener.is_over:
                    self.listeners[channel].pop(listener)
                else:
                    self._after_travel(listener.connection.hear, channel, session.connection.pid, payload)
