"""Files that nobody should make, and somebody does: taken right or refused plainly, never half applied (IM-1, IM-2).

Whatever the file: no traceback, an exit code that says what came of it, and as many persons as rows that are taken.
"""

import asyncio
import codecs
import gzip
import json

import asyncpg
import pytest
from click.testing import CliRunner

from gateway.__main__ import main

HEAD = "phone,external_id,points,name\n"
ANN, BOB = "+4915112345671,c1,5,Ann\n", "+4915112345672,c2,7,Bob\n"
TEXT = HEAD + ANN + BOB
# The octets, how many persons they come to, and what is said.
FILES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 0, "empty"),
    "blank lines": (b"\n\n\n", 0, "nothing but blank lines"),
    "a mark of order alone": (codecs.BOM_UTF8, 0, "nothing but blank lines"),
    "a header alone": (HEAD.encode(), 0, "rows        0"),
    "a NUL in a cell": ((HEAD + "+4915112345671,c1,5,A\0nn\n" + BOB).encode(), 1, "expected no NUL characters"),
    "NULs": (b"\0" * 5000, 0, "not a text file"),
    "a cell of 10 MB": ((HEAD + ANN.replace("Ann", "x" * 10_000_000) + BOB).encode(), 1, "expected a line of at most"),
    "UTF-16 with a mark": (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), 2, "byte order mark"),
    "UTF-16 without a mark": (TEXT.encode("utf-16-be"), 2, "taken for utf-16-be"),
    "UTF-16 with half a character": (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")[:-1], 1, "bad_octets"),
    "UTF-32": (codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"), 2, "utf-32"),
    "mixed ends of lines": ((HEAD + ANN).replace("\n", "\r\n").encode() + BOB.replace("\n", "\r").encode(), 2, "taken"),
    "a quote that never closes": ((HEAD + ANN.replace("Ann", '"Ann') + BOB).encode(), 1, "expected a closing quote"),
    "a name twice": (b"phone,name,name\n+4915112345671,a,b\n", 1, "a second 'name'"),
    "100,000 columns": (("phone" + ",c" * 100_000 + "\n").encode(), 0, "expected at most 5,000 columns"),
    "more than a person has": (("phone" + ",c" * 1000 + "\n+491511234567" + ",v" * 1000).encode(), 0, "--only-mapped"),
    "900 columns of one name": (("phone" + ",c" * 900 + "\n+4915112345671" + ",v" * 900 + "\n").encode(), 1, "taken"),
    "NaN and Infinity": ((HEAD + ANN.replace("5,A", "NaN,A") + BOB.replace("7,B", "-inf,B")).encode(), 0, "points"),
    "a number with an exponent": ((HEAD + ANN.replace("+49151", "4.9E+11") + BOB).encode(), 1, "refused     1"),
    "formulas": ((HEAD + ANN.replace("c1", "=1+1") + BOB.replace("Bob", "#REF!")).encode(), 0, "refused     2"),
    "a surrogate": (HEAD.encode() + b"+4915112345671,c1,5,A\xed\xa0\x80\n" + BOB.encode(), 2, "1252"),
    "a number of 5,000 digits": ((HEAD + ANN.replace("5,A", "9" * 5000 + ",A") + BOB).encode(), 1, "points"),
    "an archive": (gzip.compress(TEXT.encode()), 2, "unpacked from gzip"),
    "too many cells": ((HEAD + ANN.replace("Ann", "Ann,x,y") + BOB).encode(), 1, "too_many_cells"),
    "days that are none": (
        b"phone,at\n+4915112345671,2026-02-30\n+4915112345672,0000-00-00\n+4915112345673,2026-01-01T25:00Z\n"
        b"+4915112345674,9999-12-31T23:59:59-14:00\n+4915112345675,2026-01-01T00:00:00Z\n", 1, "at",
    ),
}  # fmt: skip


def count(dsn: str, sql: str) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(dsn)
        try:
            return int(await connection.fetchval(sql))
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("name", FILES)
def test_im_1_a_strange_file_is_taken_right_or_refused_plainly(dsn, tmp_path, name):
    octets, persons, said = FILES[name]
    file = tmp_path / "file.csv"
    file.write_bytes(octets)
    maps = ["--map", "points=points:number"] if "points" in name or b"points" in octets.replace(b"\0", b"") else []
    result = CliRunner().invoke(main, ["import", str(file), *maps, "--max-refused", "100", "--dsn", dsn])
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert said in result.output, result.output[-2000:]
    assert count(dsn, "SELECT count(*) FROM profile") == persons
    assert result.exit_code in (0, 65) and (result.exit_code == 65) == ("refused     0" not in result.output)


@pytest.mark.parametrize("name", FILES)
def test_ev_1_a_strange_file_of_events_brings_none_and_names_its_lines(dsn, tmp_path, name):
    file = tmp_path / "file.jsonl"
    good = {"event_id": "1", "name": "visit", "occurred_at": "2026-01-01T00:00:00Z", "external_id": "ada"}
    file.write_bytes(FILES[name][0][:200_000] + b"\n" + json.dumps(good).encode() + b"\n")
    result = CliRunner().invoke(main, ["events", "import", str(file), "--source", "x", "--dsn", dsn])
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert count(dsn, "SELECT count(*) FROM person_event") <= 1
    assert result.exit_code == (0 if ", 0 lines refused" in result.output else 65)
    assert result.exit_code == 0 or "line 1: expected" in result.output or "line 2: expected" in result.output
