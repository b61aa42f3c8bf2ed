"""Bring a database's schema forward, one statement at a time.

Files are migrations/NNNN_name.sql, applied in the order of their numbers, each once. A file is cut into its
statements; a statement and the note that it is done are one transaction, so a crash between two resumes at the next:

    BEGIN;  <statement>;  UPDATE schema_version SET steps = steps || sha256(statement);  COMMIT

    schema_version (version, name, sha256 of the file once it is whole, steps text[], started_at, applied_at)

A statement that no transaction may hold (CREATE INDEX CONCURRENTLY) has the comment `-- no transaction` before it and
must be repeatable (IF NOT EXISTS): its note follows it, and a crash between the two runs it again.

Several runners may start at once: an advisory lock lets one work, and the row of schema_version, locked and compared
in each step, fences off a runner whose lock was lost with its connection. Everything stands on the coordinator of a
Citus cluster, where one statement at a time is also the only way (citus: "cannot insert multiple commands").

On Citus the schema is made before the extension is, and distributed by a step of its own (placement.py): what a plain
table takes in one statement (a column with its CHECK, 0003) a distributed one may not. Files that come later run on
distributed tables, and are held to that by a test.

Forward only: what was applied may not change. Programs are replaced while others of the version before still run:

    NNNN_name.sql, NNNN_pre_name.sql   adds: a program that does not know the file goes on over it (a test holds that)
    NNNN_post_name.sql                 takes away: applied when every registered worker knows the file, and refused by a
                                       program that does not; the program that brings it must do without it as well

Not here: the tables themselves.
"""

import asyncio
import functools
import hashlib
import importlib.resources
import logging
import re
import time
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple, TypeAlias

import asyncpg

from gateway.errors import StoreError
from gateway.store import placement
from gateway.store.postgres import close, connect, deadline
from gateway.store.statements import bare, split

log = logging.getLogger(__name__)

# "sluice" in ASCII: one key for the whole product, in the database it migrates.
LOCK_KEY = 0x736C75696365
LOCK_TIMEOUT_S = 60.0
# DDL that waits for a lock makes everybody behind it wait: rather give up and come back.
TABLE_LOCK_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 600.0

# A worker that has told nothing for so long holds nobody up: others fence it long before.
SILENT_S = 60.0

_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_NO_TRANSACTION = re.compile(r"^--\s*no transaction\b", re.IGNORECASE | re.MULTILINE)

_CREATE = """
CREATE TABLE IF NOT EXISTS schema_version (
    version    int PRIMARY KEY,
    name       text NOT NULL,
    sha256     text,
    steps      text[] NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL DEFAULT now(),
    applied_at timestamptz
)"""


# Workers that have told something lately, with the schema that their program knows.
_WORKERS = """
SELECT instance, host, pid, coalesce((report ->> 'schema')::int, 0) AS schema FROM worker
WHERE seen_at > now() - make_interval(secs => $1::float8) ORDER BY instance
"""

Applied: TypeAlias = "dict[int, asyncpg.Record] | dict[int, dict[str, Any]]"


class Migration(NamedTuple):
    """One file: its number, its name, the SHA-256 of its text with Unix line ends, and its statements."""

    version: int
    name: str
    sha256: str
    statements: list[str]

    @property
    def is_post(self) -> bool:
        """Whether programs that do not know it cannot go on over it."""
        return is_post(self.name)


def is_post(name: str) -> bool:
    """Whether a file's name says that programs of the version before cannot go on over it."""
    return name[4:].startswith("_post_")


@functools.cache
def known() -> int:
    """The number of the newest file that this program has: what a worker tells of itself."""
    names = (entry.name for entry in importlib.resources.files("gateway.store").joinpath("migrations").iterdir())
    return max(int(match[1]) for name in names if (match := _FILE.fullmatch(name)))


async def migrate(
    dsn: str,
    folder: Traversable | None = None,
    *,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
) -> list[str]:
    """Apply what is missing; return the names of the files that this call finished, in order.

    folder  instead of the package's migrations
    raises  StoreError: a file or the database is not as it must be, Postgres refuses a statement (said with file and
            statement; what came before it stays), a post file waits for workers of an older program and files behind
            it are needed, or another runner held the lock for lock_timeout_s (retryable)
    cost    about 5 ms when nothing is missing
    """
    files = read(folder if folder is not None else importlib.resources.files("gateway.store").joinpath("migrations"))
    connection = await connect(
        dsn,
        application_name="sluice migrate",
        statement_timeout_s=statement_timeout_s,
        settings={"lock_timeout": str(round(TABLE_LOCK_TIMEOUT_S * 1000))},
    )
    try:
        await _lock(connection, lock_timeout_s)
        async with deadline(connection, STATEMENT_TIMEOUT_S, "schema_version"):
            await connection.execute(_CREATE)
            rows = await connection.fetch("SELECT version, name, sha256, steps FROM schema_version ORDER BY version")
        done = {row["version"]: row for row in rows}
        for name in check(files, done):
            log.warning("= the database has %s applied, which this program does not know: it goes on over it", name)
        if any(file.version not in done or done[file.version]["sha256"] is None for file in files):
            await _refuse_half_a_cluster(connection)
        applied = []
        for file in files:
            row = done.get(file.version)
            if row is None or row["sha256"] is None:
                if file.is_post and (older := await _older(connection, file.version)):
                    behind = [one.name for one in files if one.version > file.version and not one.is_post]
                    if behind:
                        raise StoreError(
                            f"{behind[0]}: expected {file.name} before it, which waits until no worker of an older "
                            f"program is left, found {older}: stop or roll them, and repeat",
                            retryable=True,
                        )
                    log.warning("= %s waits until no worker of an older program is left: %s", file.name, older)
                    break
                await _apply(connection, file, list(row["steps"]) if row else None, statement_timeout_s)
                applied.append(file.name)
        return applied
    finally:
        await close(connection)


async def require(dsn: str) -> None:
    """Refuse a database whose schema is older than this program needs; changes nothing.

    A post file that comes last is not needed: it takes away what nobody asks for any more.
    raises  StoreError
    """
    missing = await pending(dsn)
    while missing and is_post(missing[-1]):
        del missing[-1]
    if missing:
        raise StoreError(f"the schema lacks {', '.join(missing)}: bring it forward with `sluice migrate`")


async def pending(dsn: str, folder: Traversable | None = None) -> list[str]:
    """Name the files that are not applied; changes nothing.

    raises  StoreError: a file or the database is not as it must be
    """
    files = read(folder if folder is not None else importlib.resources.files("gateway.store").joinpath("migrations"))
    connection = await connect(dsn, application_name="sluice migrate")
    try:
        async with deadline(connection, 10.0, "schema_version"):
            done = {}
            if await connection.fetchval("SELECT to_regclass('schema_version')") is not None:
                rows = await connection.fetch("SELECT version, name, sha256, steps FROM schema_version")
                done = {row["version"]: row for row in rows}
        check(files, done)
        return [file.name for file in files if file.version not in done or done[file.version]["sha256"] is None]
    finally:
        await close(connection)


def read(folder: Traversable) -> list[Migration]:
    """Read the files of a folder in the order of their numbers.

    raises  StoreError: a name that is not NNNN_name.sql, a number twice, a file that cannot be cut into statements or
            that begins or ends transactions itself
    """
    found: dict[int, Migration] = {}
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if not entry.name.endswith(".sql"):
            continue
        match = _FILE.fullmatch(entry.name)
        if match is None:
            raise StoreError(f"migrations: expected a name like 0001_queue.sql, found {entry.name}")
        version = int(match[1])
        if version in found:
            raise StoreError(f"migrations: {entry.name} and {found[version].name} have the same number")
        text = entry.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        try:
            statements = split(text)
        except ValueError as error:
            raise StoreError(f"{entry.name}: {error}") from error
        for statement in statements:
            first = re.split(r"\W", bare(statement), maxsplit=1)[0].lower()
            if first in ("begin", "commit", "rollback", "end", "start", "savepoint", "abort"):
                raise StoreError(f"{entry.name}: {first.upper()}: each statement is a transaction already")
        found[version] = Migration(version, entry.name, _sha256(text), statements)
    return [found[version] for version in sorted(found)]


def check(files: list[Migration], done: Applied) -> list[str]:
    """Hold the files against what the database says was applied; -> applied ones that are not known and may be.

    raises  StoreError: an applied file or an applied statement of an unfinished one has changed, a post file was
            applied that is not known, or a file comes before one that is applied already
    """
    by_version = {file.version: file for file in files}
    unknown = []
    for version, row in sorted(done.items()):
        file = by_version.get(version)
        if file is None:
            if is_post(row["name"]):
                raise StoreError(
                    f"expected a schema that this program can work on, found {row['name']} applied, which it does not "
                    "know: the database is of a newer program, run that one"
                )
            unknown.append(row["name"])
            continue
        if row["sha256"] is not None and row["sha256"] != file.sha256:
            raise StoreError(f"{file.name} was changed after it was applied: put it back, and write a new file")
        for number, step in enumerate(row["steps"] if row["sha256"] is None else []):
            if number >= len(file.statements) or _sha256(file.statements[number]) != step:
                raise StoreError(f"{file.name}: statement {number + 1} is applied already and was changed: put it back")
    last = max(done, default=0)
    for file in files:
        if file.version < last and file.version not in done:
            raise StoreError(
                f"{file.name} comes before {done[last]['name']}, which is applied: give it the next number"
            )
    return unknown


async def _older(connection: "asyncpg.Connection[Any]", version: int) -> str:
    """Name the workers whose program does not know a file; empty: there are none."""
    async with deadline(connection, 10.0, "workers"):
        if await connection.fetchval("SELECT to_regclass('worker')") is None:
            return ""
        rows = await connection.fetch(_WORKERS, SILENT_S)
    return ", ".join(
        f"{row['instance']} (pid {row['pid']} on {row['host']})" for row in rows if row["schema"] < version
    )


async def _refuse_half_a_cluster(connection: "asyncpg.Connection[Any]") -> None:
    """Let no migration run where citus is there and nothing is distributed: some tables would be, and others not."""
    async with deadline(connection, 10.0, "citus"):
        if not await connection.fetchval(placement.HAS_CITUS):
            return
        if await connection.fetchval("SELECT to_regclass('chunk')") is not None:
            if await placement.is_distributed(connection, "chunk"):
                return
    raise StoreError(
        "expected tables that are distributed where the extension citus is, found none: DROP EXTENSION citus in this "
        "database, sluice migrate, CREATE EXTENSION citus, sluice migrate --distributed"
    )


async def _lock(connection: "asyncpg.Connection[Any]", seconds: float) -> None:
    """Take the advisory lock by asking again and again.

    A runner that waited inside pg_advisory_lock() would hold a snapshot, and CREATE INDEX CONCURRENTLY of the one that
    works would wait for that snapshot: a deadlock.
    """
    until = time.monotonic() + seconds
    while True:
        async with deadline(connection, seconds, "advisory lock"):
            if await connection.fetchval("SELECT pg_try_advisory_lock($1::bigint)", LOCK_KEY):
                return
        if time.monotonic() >= until:
            raise StoreError(f"another runner is still migrating after {seconds:g} s", retryable=True)
        await asyncio.sleep(0.05)


async def _apply(
    connection: "asyncpg.Connection[Any]", file: Migration, steps: list[str] | None, statement_timeout_s: float
) -> None:
    """Run the statements of one file that are not done yet; `steps` are those that are, None if it was never begun."""
    # The server's statement_timeout comes first; ours is for a server that does not answer any more.
    patience_s = statement_timeout_s + 10
    if steps is None:
        async with deadline(connection, patience_s, file.name):
            await connection.execute(
                "INSERT INTO schema_version (version, name) VALUES ($1, $2) ON CONFLICT (version) DO NOTHING",
                file.version,
                file.name,
            )
        steps = []
    for number in range(len(steps), len(file.statements)):
        statement = file.statements[number]
        what = f"{file.name}: statement {number + 1} of {len(file.statements)}"
        digest = _sha256(statement)
        head = statement[: len(statement) - len(bare(statement))]
        try:
            async with deadline(connection, patience_s, what):
                if _NO_TRANSACTION.search(head):
                    await connection.execute(bare(statement))
                    async with connection.transaction():
                        await _note(connection, file.version, number, digest)
                else:
                    async with connection.transaction():
                        await _note(connection, file.version, number, digest)
                        await connection.execute(bare(statement))
        except StoreError as error:
            shown = " ".join(bare(statement).split())[:120]
            raise StoreError(f"{what}: {error}\n    {shown}", retryable=error.retryable) from error
    async with deadline(connection, patience_s, file.name):
        await connection.execute(
            "UPDATE schema_version SET sha256 = $2, applied_at = now() WHERE version = $1", file.version, file.sha256
        )


async def _note(connection: "asyncpg.Connection[Any]", version: int, number: int, digest: str) -> None:
    """Write down that a statement is done, if and only if those before it are and it is not."""
    updated = await connection.fetchval(
        """
        UPDATE schema_version SET steps = steps || $3::text
        WHERE version = $1 AND cardinality(steps) = $2 AND sha256 IS NULL
        RETURNING 1
        """,
        version,
        number,
        digest,
    )
    if updated is None:
        raise StoreError("another runner works on the same file", retryable=True)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
