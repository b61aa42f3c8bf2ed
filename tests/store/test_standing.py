"""Which history a server writes, and what it must know; two real servers, of which one is promoted too early."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from gateway.errors import StoreError
from gateway.store import postgres, standing
from gateway.store.control import Order
from gateway.store.embedded import SUPERUSER, Embedded, dsn_of
from gateway.store.queries import query
from gateway.store.standing import TORN_OCTETS, History, Known, Moment, Standing, branches, judge

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KNOWN = Known(
    system=7, timeline="00000001", lsn=5 << 20,
    moments=tuple(Moment(AT + timedelta(seconds=s), (s << 20) + 100) for s in range(5)),
)  # fmt: skip
TWO = "1\t0/200000\tno recovery target specified\n"


def found(lsn: int, timeline: str = "00000001", system: int = 7, **more: str) -> Standing:
    return Standing(system=system, timeline=timeline, lsn=lsn, **more)


def order(id: int, key: str, seconds: int = 0) -> Order:
    at = AT + timedelta(seconds=seconds)
    return Order(id=id, at=at, by="me", action="resume", scope="failover", key=key, until=None, reason="")


def test_history_file_says_where_each_timeline_was_left() -> None:
    text = "1\t0/3000158\tno recovery target specified\n\n2\t1/A0\tbefore 2026-01-01\n"
    assert branches(text) == {"00000001": 0x3000158, "00000002": (1 << 32) + 0xA0}


@pytest.mark.parametrize(
    ("one", "history", "reason"),
    [
        (found(6 << 20), None, ""),
        (found((5 << 20) - TORN_OCTETS), None, ""),
        (found((5 << 20) - TORN_OCTETS - 1), None, "older state of itself"),
        (found(6 << 20, "00000002"), "1\t0/500000\tx\n", ""),
        (found(9 << 20, "00000002"), "1\t0/4FFFFF\tx\n", "1 octets of what was acknowledged are missing"),
        (found(9 << 20, "00000002"), TWO, "up to 4 s of history"),
        (found(9 << 20, "00000002"), "1\t0/50\tx\n", "more than 4 s of history"),
        (found(9 << 20, "00000003"), "2\t0/900000\tx\n", "does not come from it"),
        (found(9 << 20, "00000002"), None, "where it did cannot be read: what is missing is not known"),
        (found(9 << 20, "00000002", missing_grant="GRANT this"), None, "cannot be read (GRANT this): what is missing"),
        (found(9 << 20, system=8), None, "another server"),
    ],
    ids=[
        "goes on", "a torn record", "a backup", "nothing missing", "an octet missing", "seconds missing", "all missing",
        "another branch", "not there", "not to be read", "another server",
    ],
)  # fmt: skip
def test_server_is_judged_by_what_was_acknowledged(one: Standing, history: str | None, reason: str) -> None:
    """Case 11, fault 77; a backup: fault 78."""
    said = judge(KNOWN, one, history)
    assert reason in said and bool(said) == bool(reason)


def test_hold_is_told_at_once_and_ends_by_an_order_alone(tmp_path: Path) -> None:
    history = History(lambda: AT)
    told = []
    history.on_hold = lambda: told.append(history.hold)
    history.judge(found(100), None)
    assert history.hold is None and not told
    history.judge(found(50, "00000002"), "1\t0/40\tx\n")
    assert history.hold is not None and told == [history.hold] and history.hold.key == "7/00000002"
    history.judge(found(5000, "00000002"), "1\t0/40\tx\n")
    assert history.hold is not None
    history.heed([order(1, "7/00000001")])
    assert history.hold is not None, "an order for another history accepts nothing"
    history.heed([order(2, "7/00000002")])
    assert history.hold is None and history.known is not None and history.known.timeline == "00000002"
    history.judge(found(6000, "00000002"), None)
    assert history.hold is None


async def test_order_that_came_back_with_a_backup_ends_no_hold(tmp_path: Path) -> None:
    """Fault 78, the second time: the backup was taken after the order, and the ids of orders go on from there."""
    file = tmp_path / "standing.json"
    history = History(lambda: AT, file)
    first, again = order(1, "7/00000001"), order(1, "7/00000001", seconds=60)
    history.judge(found(9 << 20), None)
    history.judge(found(1 << 20), None)
    history.heed([first])
    assert history.hold is None
    history.judge(found(9 << 20), None)
    await history.keep()
    for one in (history, History(lambda: AT, file)):
        one.judge(found(2 << 20), None)
        one.heed([first])
        assert one.hold is not None, "a person accepted another loss"
        one.heed([first, again])
        assert one.hold is None


def test_order_that_was_given_while_a_worker_was_away_is_for_it_too() -> None:
    """It knows of nothing behind the failover, so there is nothing else that the order could not have been about."""
    history = History(lambda: AT)
    history.judge(found(100), None)
    history.judge(found(5000, "00000002"), "1\t0/40\tx\n")
    assert history.ends_by([order(3, "7/00000002")])


def test_orders_of_the_server_that_was_left_end_no_hold() -> None:
    history = History(lambda: AT)
    history.on_hold = lambda: history.remember([order(3, "7/00000002")])
    history.judge(found(100), None)
    history.judge(found(5000, "00000002"), "1\t0/40\tx\n")
    history.heed([order(3, "7/00000002")])
    assert history.hold is not None


async def test_what_was_acknowledged_outlives_the_worker_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "root" / "standing.json"
    history = History(lambda: AT, file)
    history.judge(found(4000), None)
    await history.keep()
    again = History(lambda: AT, file)
    assert again.known == history.known
    again.judge(found(100, "00000002"), "1\t0/64\tx\n")
    assert again.hold is not None
    kept = file.read_bytes()
    await again.keep()
    assert file.read_bytes() == kept, "a hold must not be forgotten by a restart"


async def test_file_that_cannot_be_written_is_told_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    history = History(lambda: AT, tmp_path / "taken" / "standing.json")
    history.judge(found(4000), None)
    await history.keep()
    assert "taken" in history.trouble and history.hold is None


def test_file_of_nonsense_is_as_good_as_none(tmp_path: Path) -> None:
    file = tmp_path / "standing.json"
    file.write_text("{nonsense")
    assert History(lambda: AT, file).known is None


async def test_server_says_where_it_stands_and_goes_on(empty_dsn: str) -> None:
    history = History(lambda: datetime.now(UTC))
    connection = await postgres.connect(empty_dsn, history=history)
    try:
        assert history.known is not None and history.known.lsn > 0 and len(history.known.timeline) == 8
        before = history.known.lsn
        await connection.execute("CREATE TABLE t AS SELECT generate_series(1, 10000) AS n")
        await connection.execute("SELECT pg_switch_wal()")
        async with postgres.deadline(connection, 10.0):
            await history.beat(connection)
        assert history.known.lsn > before
    finally:
        await postgres.close(connection)


async def test_role_that_may_not_read_histories_is_told_with_the_grant_that_lets_it(
    empty_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 77: else every failover is a hold, and nobody knows before the first one."""
    superuser = await postgres.connect(empty_dsn)
    role = f"plain {os.getpid()}"
    await superuser.execute(f'CREATE ROLE "{role}"')
    connection = await postgres.connect(empty_dsn)
    try:
        await connection.execute(f'SET ROLE "{role}"')
        history = History(lambda: datetime.now(UTC))
        for _ in range(3):
            await history.beat(connection)
        database = await connection.fetchval("SELECT current_database()")
        statement = f'GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO "{role}"'
        assert history.advice.endswith(f"in the database {database}: {statement}")
        assert [record.getMessage() for record in caplog.records] == [f"= {history.advice}"]
        await superuser.execute(f'GRANT pg_read_server_files TO "{role}"')
        await history.beat(connection)
        assert history.advice, "the right to read any file is not the right to call the function"
        await superuser.execute(statement)
        await history.beat(connection)
        assert history.advice == ""
        # There is no such file yet, but it may be read.
        with pytest.raises(asyncpg.UndefinedFileError):
            await connection.fetchval(query("timeline_history"), "00000001")
    finally:
        await postgres.close(connection)
        await superuser.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
        await postgres.close(superuser)


@pytest.mark.slow
async def test_server_whose_transactions_are_half_used_up_says_so(data_root: Path) -> None:
    """Fault 76: its counter is set forward by 1,200 million, as years of traffic would."""
    at, segment = 1_200_000_000, 1 << 20
    with Embedded(data_root) as server:
        command = Path(f"/proc/{server.pid}/exe").resolve().parent / "pg_resetwal"
        connection = await postgres.connect(server.dsn)
        assert 0 <= (await standing.read(connection)).xid_age < 1_000_000
        await postgres.close(connection)
    if not command.exists():
        pytest.skip(f"{command} is not there")
    data = data_root / "postgres" / "data"
    owner = data.stat()
    account = dict(user=owner.st_uid, group=owner.st_gid, extra_groups=[]) if os.getuid() == 0 else {}
    subprocess.run([str(command), "-x", str(at), "-D", str(data)], check=True, cwd="/", timeout=60, **account)
    status = data / "pg_xact" / f"{at // segment:04X}"
    status.write_bytes(bytes(segment // 4))
    os.chown(status, owner.st_uid, owner.st_gid)
    with Embedded(data_root, {"autovacuum": "off", "autovacuum_freeze_max_age": "2000000000"}) as server:
        connection = await postgres.connect(server.dsn)
        assert at - 1_000_000 < (await standing.read(connection)).xid_age < at + 1_000_000
        await postgres.close(connection)


async def test_tables_full_of_dead_rows_are_found(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 75."""
    connection = await postgres.connect(dsn)
    monkeypatch.setattr(standing, "MANY_DEAD", 1000)
    try:
        await connection.execute("ALTER TABLE flush SET (autovacuum_enabled = false)")
        for _ in range(2):
            await connection.execute("INSERT INTO flush SELECT 1, g, now() FROM generate_series(1, 5000) AS g")
            await connection.execute("DELETE FROM flush WHERE id > 500")
            await connection.execute("DELETE FROM flush")
        await connection.execute("INSERT INTO flush SELECT 1, g, now() FROM generate_series(1, 100) AS g")
        async with asyncio.timeout(30):
            while not (found := await standing.bloated(connection)):
                await connection.execute("SELECT pg_stat_force_next_flush()")
        assert [one.name for one in found] == ["flush"] and found[0].dead == 10_000 and found[0].live == 100
        await connection.execute("VACUUM flush")
        async with asyncio.timeout(30):
            while await standing.bloated(connection):
                await connection.execute("SELECT pg_stat_force_next_flush()")
    finally:
        await postgres.close(connection)


# Two servers ----------------------------------------------------------------------------------------------------------


class Pair:
    """A primary, and a standby that streams from it until it is told to stop."""

    def __init__(self, primary: Embedded, root: Path, bin_dir: Path):
        self.primary, self.root, self.bin = primary, root, bin_dir
        self.standby_dsn = dsn_of(str(root), 5433)

    def run(self, *command: str) -> None:
        """Run a binary of Postgres as its user."""
        account = dict(user="nobody", group="nogroup", extra_groups=[]) if os.getuid() == 0 else {}
        subprocess.run(
            [str(self.bin / command[0]), *command[1:]], check=True, cwd="/", timeout=60, stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **account,
        )  # fmt: skip

    def start_standby(self) -> None:
        host = self.primary.dsn.split("host=")[1].split("&")[0].replace("%2F", "/")
        self.run(
            "pg_basebackup", "-h", host, "-p", "5432", "-U", SUPERUSER, "-D", f"{self.root}/data", "-R", "-X", "stream",
            "--checkpoint=fast",
        )  # fmt: skip
        with open(self.root / "data" / "postgresql.conf", "a") as conf:
            conf.write(f"\nunix_socket_directories = '{self.root}'\nport = 5433\nlisten_addresses = ''\n")
        self.ctl("start", "-w", "-l", f"{self.root}/log")

    def ctl(self, *what: str) -> None:
        self.run("pg_ctl", "-D", f"{self.root}/data", *what)


@pytest.fixture
def pair(data_root: Path) -> Iterator[Pair]:
    """Both, stopped in the end."""
    with Embedded(data_root, {"wal_level": "replica", "max_wal_senders": "4"}) as primary:
        command = Path(f"/proc/{primary.pid}/exe").resolve().parent
        if not (command / "pg_basebackup").exists():
            pytest.skip(f"{command} has no pg_basebackup")
        root = data_root / "standby"
        root.mkdir(mode=0o755)
        if os.getuid() == 0:
            shutil.chown(root, "nobody", "nogroup")
        made = Pair(primary, root, command)
        try:
            made.start_standby()
            yield made
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                made.ctl("stop", "-m", "immediate")


async def caught_up(pair: Pair, connection: postgres.Connection) -> None:
    """Wait until the standby has replayed all that is on the primary's disk."""
    async with asyncio.timeout(30):
        while await connection.fetchval(
            "SELECT coalesce(max(replay_lsn), '0/0') < pg_current_wal_flush_lsn() FROM pg_stat_replication"
        ):
            await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("lags", [True, False])
async def test_standby_is_refused_and_one_promoted_too_early_is_held(pair: Pair, lags: bool) -> None:
    """Fault 77, case 11 of the write protocol: failing over to a replica that has not got all that was acknowledged."""
    history = History(lambda: datetime.now(UTC))
    connection = await postgres.connect(pair.primary.dsn, history=history)
    await connection.execute("CREATE TABLE t (n int)")
    await caught_up(pair, connection)
    with pytest.raises(StoreError, match="expected a primary, found a standby") as caught:
        await postgres.connect(pair.standby_dsn, history=history)
    assert caught.value.retryable and history.hold is None
    if lags:
        standby = await asyncio.to_thread(
            _psql, pair, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"
        )
        assert standby
        async with asyncio.timeout(30):
            while await connection.fetchval("SELECT count(*) FROM pg_stat_replication"):
                await asyncio.sleep(0.02)
    await connection.execute("INSERT INTO t SELECT generate_series(1, 1000)")
    if not lags:
        await caught_up(pair, connection)
    async with postgres.deadline(connection, 10.0):
        await history.beat(connection)
    if not lags:
        # Nothing is written behind what was acknowledged; a background writer's record would be missing, too.
        await caught_up(pair, connection)
    connection.terminate()
    await asyncio.to_thread(pair.ctl, "promote", "-w")
    connection = await postgres.connect(pair.standby_dsn, history=history)
    try:
        assert await connection.fetchval("SELECT count(*) FROM t") == (0 if lags else 1000)
        if lags:
            assert history.hold is not None and "octets of what was acknowledged are missing" in history.hold.reason
        else:
            assert history.hold is None and history.known is not None and history.known.timeline == "00000002"
    finally:
        await postgres.close(connection)


def _psql(pair: Pair, *statements: str) -> bool:
    for statement in statements:
        pair.run("psql", "-h", str(pair.root), "-p", "5433", "-U", SUPERUSER, "-d", "postgres", "-c", statement)
    return True


def test_standing_of_a_standby_teaches_nothing() -> None:
    history = History(lambda: AT)
    history.judge(found(9000), None)
    history.judge(standing.Standing(system=7, timeline="", lsn=100, is_standby=True), None)
    assert history.known is not None and history.known.lsn == 9000 and history.hold is None
