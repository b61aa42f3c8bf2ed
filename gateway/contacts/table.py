"""A customer's file as a table: blocks of columns with the line each row stands in.

What it is: everything between the octets on the disk and cells of text: compression, encoding, delimiter, quotes,
header, ragged rows. What it is not: a judge of phone numbers (numbers.py) or of columns (reading.py).

The file is read twice. The first pass sees every octet: it takes the SHA-256 and knows if the whole is UTF-8, so an
encoding is never guessed from a beginning; where it is no Unicode, the report says what was assumed and why.
A fault of the file (`FileFault`) is raised here, before anything is written; a fault of a row travels with its block.

    faults of a file   missing  not_a_file  unreadable  empty  not_text  spreadsheet  damaged_gzip  encoding  delimiter
    faults of a row    too_many_cells  quotes  line_too_long
    notes of a row     short_row (missing cells are taken for empty)  stray_quote (kept as it stands)
                       blank_line (skipped)  nul (taken out)  bad_octets (shown as U+FFFD)
"""

import codecs
import csv
import gzip
import hashlib
import io
import os
import re
import stat
import unicodedata
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, NamedTuple, cast

from gateway.errors import FileFault

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
ROW_FAULTS = {
    "too_many_cells": "as many cells as the header has, and quotes around a value that holds the delimiter",
    "quotes": "a closing quote",
    "line_too_long": "a line of at most a million characters, a value of at most 131,072",
}
BLOCK_CHARACTERS = 1 << 16
RECORD_LINES = 1000
"""A quoted value that spans more lines is taken for a quote that was never closed."""
LINE_CHARACTERS = 1 << 20
"""A longer line is a fault of its row: memory stays flat whatever the file."""
MOST_COLUMNS = 5000
SAMPLE_OCTETS = 1 << 16
_CHUNK_OCTETS = 1 << 18
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NUMBER_CELL = re.compile(r"""['"=\s]*\+?[\d\s().\-/\u00a0]{7,24}['"\s]*""")
_UNDEFINED_IN_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")


class Row(NamedTuple):
    """A fault or a note of one row: the line, its name, the row as found (shortened)."""

    line: int
    name: str
    found: str


@dataclass(slots=True)
class Block:
    """Some rows: `columns` hold one cell a row, `lines` the line each row begins in."""

    lines: "array[int]"
    columns: list[Sequence[str]]
    faults: list[Row] = field(default_factory=list)
    notes: list[Row] = field(default_factory=list)


def looks_like_number(cell: str) -> bool:
    """Say whether a cell has the look of a phone number: 7 to 15 digits and what stands between them."""
    return _NUMBER_CELL.fullmatch(cell) is not None and 7 <= sum(map(str.isdecimal, cell)) <= 15


class Table:
    """An open file of contacts.

    path       a regular file, plain or gzip
    encoding   a name Python knows; None: UTF-8 or UTF-16 by mark, UTF-8, else Windows-1252, else Latin-1
    delimiter  one character; None: a `sep=` line, else the one that cuts the first rows most evenly
    header     whether the first row names the columns; None: unless a cell of it looks like a number
    raises     FileFault
    """

    def __init__(
        self, path: str, *, encoding: str | None = None, delimiter: str | None = None, header: bool | None = None
    ):
        self.path = path
        self.notes: list[str] = []
        """What was assumed about the file, one sentence each."""
        self._file = self._open(path)
        try:
            self._survey(encoding)
            self._shape(delimiter, header)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._file.close()

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What kind of file

    def _open(self, path: str) -> BinaryIO:
        try:
            # Without O_NONBLOCK a FIFO would wait for its writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise FileFault("missing", f"{path}: no such file") from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise FileFault("unreadable", f"{path}: {reason.lower()}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileFault("not_a_file", f"{path}: expected a regular file, as it is read twice")
        return os.fdopen(descriptor, "rb")

    def _plain(self) -> BinaryIO:
        """Return the octets behind the compression, from the beginning."""
        self._file.seek(0)
        return cast(BinaryIO, gzip.GzipFile(fileobj=self._file)) if self.is_gzip else self._file

    def _survey(self, encoding: str | None) -> None:
        """Read all octets once: hash, size, encoding."""
        head = self._file.read(8)
        self.is_gzip = head[:2] == b"\x1f\x8b"
        if head[:4] == b"PK\x03\x04" or head == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
            raise FileFault("spreadsheet", f"{self.path}: a spreadsheet or an archive; export it as CSV (UTF-8) first")
        digest, self.octets, nuls, bad_1252 = hashlib.sha256(), 0, 0, False
        sample = b""
        decoder = codecs.getincrementaldecoder("utf-8")()
        lossy = codecs.getincrementaldecoder("utf-8")("replace")
        is_utf8, valid, broken = True, 0, 0
        try:
            plain = self._plain()
            while chunk := plain.read(_CHUNK_OCTETS):
                if not self.octets:
                    sample = chunk[:SAMPLE_OCTETS]
                digest.update(chunk)
                self.octets += len(chunk)
                nuls += chunk.count(0)
                if chunk.isascii():
                    # A sequence cut off by ASCII is as broken as one that is wrong.
                    if decoder.getstate()[0]:
                        is_utf8 = False
                    continue_with = chunk if not is_utf8 else b""
                else:
                    continue_with = chunk
                    bad_1252 = bad_1252 or _UNDEFINED_IN_1252.search(chunk) is not None
                    if is_utf8:
                        try:
                            decoder.decode(chunk)
                        except UnicodeDecodeError:
                            is_utf8 = False
                if continue_with:
                    text = lossy.decode(continue_with)
                    wrong = text.count("\ufffd")
                    broken += wrong
                    valid += len(text) - len(text.encode("ascii", "ignore")) - wrong if not text.isascii() else 0
            if decoder.getstate()[0]:
                is_utf8 = False
        except (EOFError, OSError, zlib.error) as error:
            fault = "damaged_gzip" if self.is_gzip else "unreadable"
            raise FileFault(fault, f"{self.path}: {str(error).lower()}") from error
        self.sha256 = digest.digest()
        if not self.octets:
            raise FileFault("empty", f"{self.path}: empty")
        if self.is_gzip:
            self.notes.append("unpacked from gzip")
        self._has_nul = nuls > 0
        self.encoding, self._errors = self._encoding(encoding, sample, nuls, is_utf8, valid, broken, bad_1252)

    def _encoding(
        self, asked: str | None, sample: bytes, nuls: int, is_utf8: bool, valid: int, broken: int, bad_1252: bool
    ) -> tuple[str, str]:
        """Return (encoding, what to do with octets that are none)."""
        if asked is not None:
            try:
                b"".decode(asked)
                # A codec that is no text encoding (such as hex) passes here, so it is tried on text as well.
                io.TextIOWrapper(io.BytesIO(b""), encoding=asked).read()
            except (LookupError, ValueError) as error:
                raise FileFault("encoding", f"encoding: expected one that Python knows, found {asked!r}") from error
            mark = next((name for bom, name in _BOMS if sample.startswith(bom)), None)
            name = mark if mark == "utf-8-sig" and codecs.lookup(asked).name == "utf-8" else asked
            self.encoding_reason = "as asked"
            return name, "replace"
        for bom, name in _BOMS:
            if sample.startswith(bom):
                self.encoding_reason = "byte order mark"
                return name, "replace"
        if nuls:
            even, odd = sample[0::2].count(0), sample[1::2].count(0)
            half = max(1, len(sample) // 2)
            if max(even, odd) > half * 0.4 and min(even, odd) < half * 0.1:
                name = "utf-16-be" if even > odd else "utf-16-le"
                self.encoding_reason = "every second octet is NUL"
                self.notes.append(f"taken for {name} though it bears no mark; say --encoding if that is wrong")
                return name, "replace"
        controls = sum(sample.count(code) for code in range(32) if code not in (9, 10, 11, 12, 13, 26, 27, 28, 29, 30))
        if controls > max(4, len(sample) // 20):
            raise FileFault("not_text", f"{self.path}: not a text file")
        if is_utf8:
            self.encoding_reason = "all of it is valid"
            return "utf-8", "strict"
        if valid > broken * 10:
            self.encoding_reason = f"{valid} characters beyond ASCII are valid, {broken} octets are not"
            self.notes.append(f"UTF-8 with {broken} broken octets: they are shown as U+FFFD")
            return "utf-8", "replace"
        name = "latin-1" if bad_1252 else "cp1252"
        title = "Latin-1" if bad_1252 else "Windows-1252"
        self.encoding_reason = "not UTF-8"
        self.notes.append(f"not UTF-8: taken for {title}; say --encoding if names look wrong")
        return name, "replace"

    # What shape

    def _text(self) -> io.TextIOWrapper:
        # A detached buffer keeps the file open when the wrapper is dropped.
        plain = self._plain()
        buffered = plain if self.is_gzip else io.BufferedReader(cast(io.RawIOBase, _Undying(plain)), _CHUNK_OCTETS)
        return io.TextIOWrapper(buffered, encoding=self.encoding, errors=self._errors, newline="")

    def _chunks(self, characters: int) -> Iterator[list[str]]:
        """Yield the lines with their ends, about `characters` characters at a time; `_TOO_LONG` for one cut."""
        text = self._text()
        carry, is_cut = "", False
        try:
            while chunk := text.read(characters):
                # StringIO splits at LF, CR and CR LF alone; str.splitlines at characters that may stand in a name, too.
                lines = io.StringIO(carry + chunk, newline="").readlines()
                # The last may go on in the next chunk; a CR at the very end may be half of a CR LF.
                carry = lines.pop() if lines[-1][-1] != "\n" else ""
                if is_cut and lines:
                    lines[0], is_cut = _TOO_LONG + "\n", False
                if len(carry) > LINE_CHARACTERS:
                    carry, is_cut = "", True
                if lines:
                    yield lines
            if carry or is_cut:
                yield [_TOO_LONG if is_cut else carry]
        except (EOFError, OSError, zlib.error) as error:
            raise FileFault("unreadable", f"{self.path}: {str(error).lower()}") from error
        except UnicodeError as error:
            # utf-16 of an odd count of octets, or a file that has changed since the first pass.
            raise FileFault("encoding", f"{self.path}: not {self.encoding}: {str(error).lower()}") from error

    def _shape(self, delimiter: str | None, header: bool | None) -> None:
        """Find the delimiter, the first row of data and the names of the columns."""
        sample = [line.replace("\0", "") for line in next(self._chunks(SAMPLE_OCTETS), [])][:1000]
        if not any(line.strip() for line in sample):
            raise FileFault("empty", f"{self.path}: nothing but blank lines")
        self._skipped = 0
        while not sample[self._skipped].strip():
            self._skipped += 1
        first = sample[self._skipped].strip().strip('"').lower()
        if first.startswith("sep=") and len(first) <= 5:
            self._skipped += 1
            named = sample[self._skipped - 1].strip("\r\n").strip('"')[4:5] or "\t"
            self.delimiter, self.delimiter_reason = named, "sep= line"
        else:
            self.delimiter, self.delimiter_reason = "", ""
        if delimiter is not None:
            self.delimiter, self.delimiter_reason = delimiter, "as asked"
        rows = sample[self._skipped :]
        if not self.delimiter:
            self.delimiter, self.delimiter_reason = _find_delimiter(rows)
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n ':
            raise FileFault("delimiter", f"delimiter: expected one character, found {self.delimiter!r}")
        self._sample = [row for row in _loose(rows, self.delimiter) if any(cell.strip() for cell in row)]
        if not self._sample:
            raise FileFault("empty", f"{self.path}: nothing but blank cells")
        top = self._sample[0]
        if header is None:
            self.has_header = not any(looks_like_number(cell) for cell in top)
            self.header_reason = "no cell of it is a number" if self.has_header else "a cell of it is a number"
        else:
            self.has_header, self.header_reason = header, "as asked"
        width = len(top)
        if not self.has_header:
            widths = [len(row) for row in self._sample]
            width = max(set(widths), key=widths.count)
            self.notes.append("the first row is data: columns are called column_1, column_2, ...")
        else:
            while width > 1 and not top[width - 1].strip():
                width -= 1
        self.header = [cell.strip() for cell in top[:width]] if self.has_header else []
        self._fields(width)

    def _fields(self, width: int) -> None:
        """Give every column a name that a template can say."""
        if width > MOST_COLUMNS:
            raise FileFault("columns", f"{self.path}: expected at most {MOST_COLUMNS:,} columns, found {width:,}")
        self.fields: list[str] = []
        taken: set[str] = set()
        counts: dict[str, int] = {}
        for index in range(width):
            found = self.header[index] if self.has_header else ""
            name = unicodedata.normalize("NFC", found)
            if not name.isidentifier():
                name = re.sub(r"\W+", "_", name).strip("_")
                name = f"_{name}" if name[:1].isdigit() else name
            if not name:
                name = f"column_{index + 1}"
                if self.has_header:
                    self.notes.append(f"column {index + 1} has no name: called {name}")
            elif name != found:
                self.notes.append(f"column {found!r} is called {name} in templates")
            if name in taken:
                count = counts.get(name, 2)
                while f"{name}_{count}" in taken:
                    count += 1
                counts[name] = count + 1
                self.notes.append(f"column {index + 1} is a second {name!r}: called {name}_{count}")
                name = f"{name}_{count}"
            self.fields.append(name)
            taken.add(name)

    def sample(self) -> list[list[str]]:
        """Return the first rows of data, read leniently: for finding out what the columns are."""
        return self._sample[1:] if self.has_header else self._sample

    # The rows

    def blocks(self, characters: int = BLOCK_CHARACTERS) -> Iterator[Block]:
        """Yield the rows of data, those of about `characters` at a time; memory does not grow with the file.

        raises  FileFault when the file breaks on the way (it was whole in the first pass)
        """
        width, header_due, line, skip = len(self.fields), self.has_header, 1, self._skipped
        left: list[str] = []
        chunks = self._chunks(characters)
        while True:
            fresh = next(chunks, None)
            notes: list[Row] = []
            if fresh:
                if skip:
                    line, fresh, skip = line + min(skip, len(fresh)), fresh[skip:], max(0, skip - len(fresh))
                notes = self._wash(fresh, line + len(left))
                left += fresh
            block, records, left = self._records(left, line, fresh is None, width)
            block.notes += notes
            line = block.lines.pop()
            if header_due:
                header_due = self._drop_header(records, block.lines)
            self._columns(block, records, width)
            yield block
            if fresh is None:
                return

    def _wash(self, lines: list[str], line: int) -> list[Row]:
        """Take NULs out, in place; return the notes of what was found."""
        notes: list[Row] = []
        if self._has_nul or self._errors == "replace":
            for index, text in enumerate(lines):
                if "\0" in text:
                    lines[index] = text = text.replace("\0", "")
                    notes.append(Row(line + index, "nul", _short(text)))
                if "\ufffd" in text:
                    notes.append(Row(line + index, "bad_octets", _short(text)))
        return notes

    def _records(
        self, lines: list[str], line: int, is_last: bool, width: int
    ) -> tuple[Block, list[list[str]], list[str]]:
        """Cut lines into records; return the block (its `lines` with the next line behind the last), they, and a rest.

        The rest is one record whose quote is not closed yet. A record that csv refuses costs its first line only.
        """
        block = Block(array("q"), [])
        records: list[list[str]] = []
        while True:
            before, fault = len(records), ""
            try:
                records.extend(csv.reader(lines, delimiter=self.delimiter, strict=True))
            except csv.Error as error:
                # What extend() got before the error stays in the list.
                fault = str(error)
            count = len(records) - before
            if not fault and count == len(lines):
                block.lines.extend(range(line, line + count))
                line += count
                break
            used = 0
            for record in islice(records, before, None):
                block.lines.append(line + used)
                used += _lines_of(record)
            line += used
            if not fault:
                break
            used = min(used, len(lines) - 1)
            lines = lines[used:]
            is_open = "end of data" in fault and not is_last and len(lines) <= RECORD_LINES
            if is_open and sum(map(len, lines)) <= csv.field_size_limit():
                block.lines.append(line)
                return block, records, lines
            loose = _loose(lines[:1], self.delimiter)
            if loose and len(loose[0]) == width:
                block.notes.append(Row(line, "stray_quote", _short(lines[0])))
                records.append(loose[0])
                block.lines.append(line)
            else:
                name = "quotes" if len(lines[0]) < csv.field_size_limit() else "line_too_long"
                block.faults.append(Row(line, name, _short(lines[0])))
            lines, line = lines[1:], line + 1
        block.lines.append(line)
        return block, records, []

    @staticmethod
    def _drop_header(records: list[list[str]], lines: "array[int]") -> bool:
        """Take the first row that is not blank off; say whether it is still to come."""
        for index, record in enumerate(records):
            if any(cell.strip() for cell in record):
                del records[index], lines[index]
                return False
        return True

    def _columns(self, block: Block, records: list[list[str]], width: int) -> None:
        """Turn records into columns; those of another width are padded, or refused."""
        dropped: list[int] = []
        for index in [index for index, record in enumerate(records) if len(record) != width]:
            record, line = records[index], block.lines[index]
            if len(record) > width and not any(cell.strip() for cell in record[width:]):
                records[index] = record[:width]
            elif record == [_TOO_LONG]:
                block.faults.append(Row(line, "line_too_long", ""))
                dropped.append(index)
            elif not any(cell.strip() for cell in record):
                block.notes.append(Row(line, "blank_line", ""))
                dropped.append(index)
            elif len(record) > width:
                block.faults.append(Row(line, "too_many_cells", _short(self.delimiter.join(record))))
                dropped.append(index)
            else:
                block.notes.append(Row(line, "short_row", _short(self.delimiter.join(record))))
                records[index] = record + [""] * (width - len(record))
        for index in reversed(dropped):
            del records[index], block.lines[index]
        block.columns = list(zip(*records, strict=True)) if records else [()] * width


_TOO_LONG = "\ufdd0line too long\ufdd0"
"""Stands for a line that was cut; U+FDD0 is no character of any text."""


class _Undying(io.RawIOBase):
    """Lends a file to a TextIOWrapper that closes what it wraps."""

    def __init__(self, file: BinaryIO):
        self._inner = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._inner.read(len(view))
        view[: len(data)] = data
        return len(data)


def _short(text: str) -> str:
    return text.rstrip("\r\n")[:200]


def _lines_of(record: list[str]) -> int:
    """Count the lines a record stands on: one, and one more for each line end within its quotes."""
    return 1 + sum(cell.count("\n") + cell.count("\r") - cell.count("\r\n") for cell in record)


def _loose(lines: list[str], delimiter: str) -> list[list[str]]:
    """Read lines leniently; a record that csv cannot read at all ends the list."""
    records: list[list[str]] = []
    try:
        records.extend(csv.reader(lines, delimiter=delimiter))
    except csv.Error:
        pass
    return records


def _find_delimiter(lines: list[str]) -> tuple[str, str]:
    """Return the delimiter that cuts the first rows most evenly into more than one cell, and why."""
    best, found = (0.0, 0), ""
    for delimiter in DELIMITERS:
        widths = [len(row) for row in _loose(lines[:100], delimiter) if row]
        if not widths:
            continue
        usual = max(set(widths), key=lambda width: (widths.count(width), width))
        if usual > 1 and (score := (round(widths.count(usual) / len(widths), 2), usual)) > best:
            best, found = score, delimiter
    if not found:
        return ",", "one column"
    return found, f"{best[0]:.0%} of the first rows have {best[1]} cells"
