"""Standard error that nobody reads, or that has no room, holds up nobody; what is lost is counted and said."""

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import logs


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        os.close(descriptor)


def soon(holds: Callable[[], bool]) -> None:
    """Wait for another thread."""
    deadline = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def everything(reading: int, until: bytes) -> bytes:
    """Read up to and with the line that holds this."""
    found = b""
    while until not in found or not found.endswith(b"\n"):
        found += os.read(reading, 65536)
    return found


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.WARNING, __file__, 1, text, (), None)


def test_lines_are_written_whole_and_in_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = logs.Sink(writing)
    for number in range(100):
        sink.handle(record(f"line {number}"))
    sink.put("the end")
    assert everything(reading, b"the end").decode().splitlines() == [*(f"line {n}" for n in range(100)), "the end"]
    sink.close()
    assert sink.dropped == 0


def test_pipe_that_nobody_reads_holds_up_nobody_and_one_line_says_what_was_dropped(pipe: tuple[int, int]) -> None:
    """Fault 18."""
    reading, writing = pipe
    sink = logs.Sink(writing, room_octets=100_000)
    slowest = 0.0
    for number in range(5000):
        began = time.perf_counter()
        sink.handle(record(f"{number:0200}"))
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 0.5, "it waited for a reader"
    dropped = sink.dropped
    # What the pipe holds and what may wait is kept; the rest of a megabyte is not.
    assert 4000 < dropped < 5000
    found = everything(reading, b"lines were dropped").decode().splitlines()
    assert found[-1] == f"! log: {dropped} lines were dropped: nobody read them, or the disk was full"
    kept = [int(line) for line in found[:-1]]
    assert kept == sorted(set(kept)) and len(kept) == 5000 - dropped
    sink.put("and on it goes")
    assert everything(reading, b"goes") == b"and on it goes\n"
    sink.close()


def test_end_is_not_held_up_by_a_reader_that_has_stopped_and_the_descriptor_leads_nowhere_then() -> None:
    reading, writing = os.pipe()
    sink = logs.Sink(writing)
    for _ in range(30):
        sink.put("x" * 10_000)
    began = time.monotonic()
    sink.close(0.1)
    assert time.monotonic() - began < 5.0
    assert sink.dropped > 20
    os.write(writing, b"y" * 1_000_000)
    os.set_blocking(reading, False)
    assert b"y" not in os.read(reading, 10_000_000)
    os.close(reading)
    os.close(writing)


def test_reader_that_has_left_is_dropped_lines_and_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = logs.Sink(writing)
    sink.put("a")
    sink.put("b")
    soon(lambda: sink.dropped == 2)
    sink.close()
    os.close(writing)


def test_terminal_that_another_process_made_nonblocking_loses_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    sink = logs.Sink(writing)
    for _ in range(30):
        sink.put("x" * 10_000)
    sink.put("the end")
    assert len(everything(reading, b"the end")) == 30 * 10_001 + 8
    sink.close()
    assert sink.dropped == 0


def test_line_is_cut_and_what_the_encoding_lacks_is_written_by_its_code(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = logs.Sink(writing, "ascii")
    sink.put("Zoë \udce9")
    assert everything(reading, b"\n") == b"Zo\\xeb \\udce9\n"
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(everything(reading, b"z\n")))
    thread.start()
    sink.put("x" * 1_000_000)
    sink.put("z")
    thread.join()
    assert found == [b"x" * (logs.LINE_OCTETS - 1) + b"\nz\n"]
    sink.close()


def test_record_that_cannot_be_made_into_text_raises_nothing(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    reading, writing = pipe
    sink = logs.Sink(writing)
    sink.handle(logging.LogRecord("x", logging.WARNING, __file__, 1, "%d", ("no number",), None))
    sink.put("on")
    assert everything(reading, b"on\n") == b"on\n"
    sink.close()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("a small file system is mounted by root alone")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_disk_of_logs_that_is_full_drops_lines_and_says_so_when_there_is_room(full_disk: Path) -> None:
    """Fault 18."""
    log, filler = full_disk / "log", full_disk / "filler"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sink = logs.Sink(descriptor)
    filler.write_bytes(b"x" * 40_000)
    for _ in range(100):
        sink.put("y" * 999)
    soon(lambda: sink.dropped > 50)
    sink.flush()
    dropped = sink.dropped
    filler.unlink()
    sink.put("there is room")
    soon(lambda: "were dropped" in log.read_text())
    last = log.read_text().splitlines()[-2:]
    assert last == ["there is room", f"! log: {dropped} lines were dropped: nobody read them, or the disk was full"]
    sink.close()
    os.close(descriptor)


def test_of_a_flood_one_line_a_second_passes_and_says_how_many_it_stands_for() -> None:
    seldom = logs.Seldom()
    assert [seldom.passes(now) for now in (5.0, 5.0, 5.5, 5.99, 6.0, 6.5, 9.0)] == [1, 0, 0, 0, 4, 0, 2]


def test_process_has_the_sink_that_stands_in_its_root_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logs.current() is None and logs.dropped() == 0
    with open(os.devnull, "w") as nowhere:
        sink = logs.Sink(nowhere.fileno())
        monkeypatch.setattr(logging.getLogger(), "handlers", [sink])
        sink.dropped = 7
        assert logs.current() is sink and logs.dropped() == 7
        sink.close()


def test_interpreter_ends_while_its_standard_error_hangs() -> None:
    """A traceback at the very end would hang there, too; the exit code is as ever."""
    program = "from gateway import logs; s = logs.Sink(2)\n" + "for _ in range(99): s.put('x' * 9999)\n"
    program += "s.close(0.1)\nraise SystemError('the end')"
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", program], stderr=writing)
    os.close(writing)
    try:
        assert process.wait(30) == 1
    finally:
        process.kill()
        os.close(reading)
