"""What a process says to standard error, written by a thread of its own: a reader that stops holds up no sending.

    the loop, threads ──put──► lines, at most 4 MB ──one thread──► write(2) of the descriptor
                          └──► dropped and counted: no room, or the write failed (a full disk, a reader that left)

When lines are written again, one says how many were dropped. What is left at the end is waited for, for a second.
The descriptor is written to directly: the interpreter's own stream has a lock, which a thread that hangs in a write
would keep until after the interpreter has ended.
Not here: what is said, and at which level (each room's own).
"""

import contextlib
import logging
import math
import os
import select
import threading
from collections import deque

ROOM_OCTETS = 4 << 20
# A line with a stranger's text, or a traceback, must not take all the room.
LINE_OCTETS = 64 << 10
PATIENCE_S = 1.0
FORMAT = "%(asctime)s %(levelname).1s %(message)s"


class Seldom:
    """Lets one line a second pass of what may come in a flood. `now` is monotonic seconds."""

    def __init__(self, every_s: float = 1.0):
        self._every_s, self._next_at, self._kept_back = every_s, -math.inf, 0

    def passes(self, now: float) -> int:
        """Count one; -> 0: it is not said now; else how many the line stands for, itself too."""
        self._kept_back += 1
        if now < self._next_at:
            return 0
        self._next_at = now + self._every_s
        count, self._kept_back = self._kept_back, 0
        return count


class Sink(logging.Handler):
    """Takes lines from anybody, never waiting, and writes them to a descriptor.

    descriptor   stays the caller's
    encoding     of the terminal or the file; what it lacks is written by its code
    room_octets  of lines that wait
    """

    def __init__(self, descriptor: int, encoding: str = "utf-8", room_octets: int = ROOM_OCTETS):
        super().__init__()
        self.dropped = 0
        self._descriptor, self._encoding, self._room = descriptor, encoding, room_octets
        self._lines: deque[bytes] = deque()
        self._octets = 0
        self._untold = 0
        self._is_torn = False
        self._ends = False
        self._turn = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        try:
            text = self.format(record)
        except Exception:  # as every handler of logging: a line that cannot be made is told, and raises nothing
            self.handleError(record)
            return
        self.put(text)

    def put(self, text: str) -> None:
        """Take a line, or drop it where there is no room; returns at once."""
        line = text.encode(self._encoding, "backslashreplace")[: LINE_OCTETS - 1] + b"\n"
        with self._turn:
            if self._ends or self._octets + len(line) > self._room:
                self._drop(1)
                return
            self._lines.append(line)
            self._octets += len(line)
            self._turn.notify_all()

    def flush(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until every line is written, for so long at most; never on the loop."""
        with self._turn:
            self._turn.wait_for(lambda: not self._lines, patience_s)

    def close(self, patience_s: float = PATIENCE_S) -> None:
        """Write what is left, for so long at most; a second call does nothing.

        After one that was in vain the descriptor leads nowhere: whoever writes there next, such as the interpreter
        with a traceback, is not to hang.
        """
        with self._turn:
            if self._ends:
                return
            self._ends = True
            self._turn.notify_all()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            with self._turn:
                self._drop(len(self._lines))
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._descriptor)
            os.close(nowhere)
        super().close()

    # -- the thread -------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        flows = True
        while True:
            with self._turn:
                while not self._lines and not self._ends and not (self._untold and flows):
                    self._turn.wait()
                untold = self._untold
                line = self._lines[0] if self._lines else b""
            if line:
                flows = self._out(line)
                with self._turn:
                    self._lines.popleft()
                    self._octets -= len(line)
                    if not flows:
                        self._drop(1)
                    self._turn.notify_all()
            elif untold and flows:
                told = f"! log: {untold} lines were dropped: nobody read them, or the disk was full\n"
                flows = self._out(told.encode())
                if flows:
                    with self._turn:
                        self._untold -= untold
            else:
                return

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._untold += count

    def _out(self, line: bytes) -> bool:
        """Write a line, for as long as it takes; -> whether it is written whole."""
        whole = b"\n" + line if self._is_torn else line
        rest = memoryview(whole)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # whoever shares the terminal with us has made it so
                with contextlib.suppress(OSError):
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                    poll.poll()
            except OSError:
                self._is_torn = self._is_torn or len(rest) < len(whole)
                return False
        self._is_torn = False
        return True


def current() -> Sink | None:
    """The sink of this process, if it has one."""
    return next((handler for handler in logging.getLogger().handlers if isinstance(handler, Sink)), None)


def dropped() -> int:
    """How many lines were dropped so far."""
    sink = current()
    return 0 if sink is None else sink.dropped
