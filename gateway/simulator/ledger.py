"""The simulator's ledger: the truth about what a carrier took, answered and reported.

The file is appended to, one line an event; its lines are drawn in _fastpath/centre.pyx. `Ledger` writes it, `read`
folds it into messages for tests and for whoever audits a run.
Not here: making the lines (the compiled room does).

What a line proves: the S line of a message is in the file before its answer leaves. An O line comes right behind the
write it tells of: a kill between the two leaves an answer that left and is not shown so, never the reverse.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Protocol
from urllib.parse import unquote

from msgspec import Struct


class Lines(Protocol):
    """Who keeps the lines: the file, or a list in memory."""

    def write(self, octets: bytes, *, must_last: bool = True) -> None:
        """Append whole lines."""


class Ledger:
    """The file. `sync` forces each write to the disk before it returns.

    raises  OSError where the file cannot be opened
    """

    def __init__(self, path: str | os.PathLike[str], *, sync: bool = False):
        self.path = os.fspath(path)
        self._sync = sync
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        size = os.fstat(self._file).st_size
        # A line that a kill has torn is closed, so that only it is lost.
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def write(self, octets: bytes, *, must_last: bool = True) -> None:
        """Append whole lines; with `must_last` not set the disk is not waited for, whatever `sync` is."""
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        if self._sync and must_last:
            # macOS has no fdatasync.
            getattr(os, "fdatasync", os.fsync)(self._file)

    def next_id(self) -> int:
        """Say from where ids can be counted without giving one a second time; 0 for a new file."""
        first = 0
        submits = 0
        rest = b"\n"
        at = 0
        while block := os.pread(self._file, 1 << 20, at):
            at += len(block)
            block = rest + block
            submits += block.count(b"\nS,")
            start = block.find(b"\nE,")
            while start >= 0:
                fields = block[start + 1 : start + 80].split(b"\n", 1)[0].split(b",")
                if len(fields) >= 3 and fields[2].isdigit():
                    first = max(first, int(fields[2]))
                start = block.find(b"\nE,", start + 1)
            # The line that the block's end may have cut is looked at again with the next block.
            cut = block.rfind(b"\n")
            submits -= block[cut:].count(b"\nS,")
            rest = block[cut:]
        return first + submits + 1 if first else 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Delivered(Struct, kw_only=True):
    """One deliver_sm with a receipt. `answer` is the command_status of its response, None while there is none."""

    at_ns: int
    link: int
    sequence: int
    state: str
    left: bool = False
    answer: int | None = None


class Message(Struct, kw_only=True):
    """One submission.

    run       which start of the simulator, from 1; links are counted anew in each
    content   the fnv1a-64 of the octets in hex, or with ledger_text the octets in hex
    status    of the response; message_id is empty unless it is 0
    answered  the response was written to the link's output
    left      and handed to the kernel
    """

    run: int
    at_ns: int
    link: int
    system_id: str
    sequence: int
    source: str
    destination: str
    esm_class: int
    data_coding: int
    registered: int
    octets: int
    content: str
    status: int
    message_id: str
    answered: bool = False
    left: bool = False
    receipts: list[Delivered] = []


def lines(path: str | os.PathLike[str]) -> Iterator[list[str]]:
    """Read the lines as lists of fields, still as text; a torn line is left out."""
    with open(path, encoding="latin-1", newline="\n") as file:
        yield from cut(file)


def cut(lines: Iterable[str]) -> Iterator[list[str]]:
    """Cut lines with their ends into fields; a torn line is left out."""
    for line in lines:
        fields = line.rstrip("\n").split(",")
        if line.endswith("\n") and len(fields) == _FIELDS.get(fields[0], -1):
            yield fields


_FIELDS = {"S": 15, "R": 7, "D": 7, "M": 7, "K": 6, "O": 4, "B": 6, "X": 4, "E": 4}


def read(path: str | os.PathLike[str]) -> list[Message]:
    """Fold the ledger into its messages, in order of arrival, refused ones too."""
    return fold(lines(path))


def fold(lines: Iterable[list[str]]) -> list[Message]:
    """Fold lines, cut into fields, into messages."""
    messages: list[Message] = []
    run = 0
    by_sequence: dict[tuple[int, int], Message] = {}
    by_id: dict[str, Message] = {}
    # Receipts that left before their response did, and stand before their S line.
    early: dict[str, list[Delivered]] = {}
    owed: dict[tuple[int, int], Delivered] = {}
    # What waits for an O line of its link, in order of offsets.
    written: dict[int, list[tuple[int, Message | Delivered]]] = {}
    for fields in lines:
        kind = fields[0]
        if kind == "E":
            run += 1
            by_sequence, owed, written = {}, {}, {}
            continue
        link = int(fields[2])
        if kind == "S":
            message = Message(
                run=run,
                at_ns=int(fields[1]),
                link=link,
                system_id=unquote(fields[3], "latin-1"),
                sequence=int(fields[4]),
                source=unquote(fields[5], "latin-1"),
                destination=unquote(fields[6], "latin-1"),
                esm_class=int(fields[7] or 0),
                data_coding=int(fields[8] or 0),
                registered=int(fields[9] or 0),
                octets=int(fields[10] or 0),
                content=fields[11],
                status=int(fields[12]),
                message_id=fields[13],
                receipts=[],
            )
            messages.append(message)
            by_sequence[link, message.sequence] = message
            if message.message_id:
                by_id[message.message_id] = message
                message.receipts += early.pop(message.message_id, [])
            if int(fields[14]):
                message.answered = True
                written.setdefault(link, []).append((int(fields[14]), message))
        elif kind == "R":
            answered = by_sequence.get((link, int(fields[3])))
            if answered:
                answered.answered = True
                written.setdefault(link, []).append((int(fields[6]), answered))
        elif kind == "D":
            receipt = Delivered(at_ns=int(fields[1]), link=link, sequence=int(fields[3]), state=fields[5])
            owed[link, receipt.sequence] = receipt
            written.setdefault(link, []).append((int(fields[6]), receipt))
            if fields[4] in by_id:
                by_id[fields[4]].receipts.append(receipt)
            else:
                early.setdefault(fields[4], []).append(receipt)
        elif kind == "K":
            acked = owed.pop((link, int(fields[3])), None)
            if acked:
                acked.answer = int(fields[5])
        elif kind == "O":
            reached = int(fields[3])
            waiting = written.get(link, [])
            done = 0
            while done < len(waiting) and waiting[done][0] <= reached:
                waiting[done][1].left = True
                done += 1
            del waiting[:done]
    return messages
