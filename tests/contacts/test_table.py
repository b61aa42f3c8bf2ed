"""Files as customers send them."""

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contacts.table import LINE_CHARACTERS, Block, Table
from gateway.errors import FileFault


def read(
    path: Path, characters: int = 1 << 16, **options: object
) -> tuple[Table, list[tuple[int, tuple[str, ...]]], Block]:
    """The table, its rows with their lines, and one block that holds all faults and notes."""
    with Table(str(path), **options) as table:  # type: ignore[arg-type]
        rows: list[tuple[int, tuple[str, ...]]] = []
        all_of_it = Block(None, [])  # type: ignore[arg-type]
        for block in table.blocks(characters):
            assert all(len(column) == len(block.lines) for column in block.columns)
            rows += zip(block.lines, zip(*block.columns, strict=True), strict=True)
            all_of_it.faults += block.faults
            all_of_it.notes += block.notes
        return table, rows, all_of_it


def written(tmp_path: Path, octets: bytes) -> Path:
    path = tmp_path / "people.csv"
    path.write_bytes(octets)
    return path


PLAIN = "phone,name\n+447911123456,Zoë\n+447911123457,Łukasz\n"
EXPECTED = [(2, ("+447911123456", "Zoë")), (3, ("+447911123457", "Łukasz"))]
SAME = [
    ("utf-8", PLAIN.encode(), "utf-8", ","),
    ("utf-8 with a mark", b"\xef\xbb\xbf" + PLAIN.encode(), "utf-8-sig", ","),
    ("utf-16 with a mark", PLAIN.encode("utf-16"), "utf-16", ","),
    ("utf-16 big-endian with a mark", b"\xfe\xff" + PLAIN.encode("utf-16-be"), "utf-16", ","),
    ("utf-16 without a mark", PLAIN.encode("utf-16-le"), "utf-16-le", ","),
    ("utf-32 with a mark", PLAIN.encode("utf-32"), "utf-32", ","),
    ("gzip", gzip.compress(PLAIN.encode(), mtime=0), "utf-8", ","),
    ("CR LF", PLAIN.replace("\n", "\r\n").encode(), "utf-8", ","),
    ("CR alone", PLAIN.replace("\n", "\r").encode(), "utf-8", ","),
    ("no last line end", PLAIN.rstrip().encode(), "utf-8", ","),
    ("semicolon", PLAIN.replace(",", ";").encode(), "utf-8", ";"),
    ("tab", PLAIN.replace(",", "\t").encode(), "utf-8", "\t"),
    ("bar", PLAIN.replace(",", "|").encode(), "utf-8", "|"),
    ("all quoted", b'"phone","name"\n' + '"+447911123456","Zoë"\n"+447911123457","Łukasz"\n'.encode(), "utf-8", ","),
    ("empty last columns", PLAIN.replace("\n", ",,\n").encode(), "utf-8", ","),
]


@pytest.mark.parametrize(
    ("octets", "encoding", "delimiter"), [case[1:] for case in SAME], ids=[case[0] for case in SAME]
)
def test_the_same_people_are_read_from_every_form(tmp_path: Path, octets: bytes, encoding: str, delimiter: str) -> None:
    table, rows, block = read(written(tmp_path, octets))
    assert (rows, table.encoding, table.delimiter) == (EXPECTED, encoding, delimiter)
    assert (table.fields, block.faults, block.notes) == (["phone", "name"], [], [])


@pytest.mark.parametrize("characters", [1, 7, 40])
def test_any_size_of_block_reads_the_same(tmp_path: Path, characters: int) -> None:
    octets = b'phone,name\r\n+1,"a\r\nb"\r\n+2,c\r\n\r\n+3,"d""e"\r\n'
    path = written(tmp_path, octets)
    assert read(path, characters)[1] == [(2, ("+1", "a\r\nb")), (4, ("+2", "c")), (6, ("+3", 'd"e'))]


def test_a_sep_line_names_the_delimiter_and_is_no_row(tmp_path: Path) -> None:
    table, rows, _ = read(written(tmp_path, b"sep=;\r\nphone;name\r\n+447911123456;a,b\r\n"))
    assert (table.delimiter, table.delimiter_reason, rows) == (";", "sep= line", [(3, ("+447911123456", "a,b"))])


def test_windows_1252_is_declared(tmp_path: Path) -> None:
    table, rows, _ = read(written(tmp_path, "phone,name\n+1,Müller €\n".encode("cp1252")))
    assert table.encoding == "cp1252" and rows[0][1][1] == "Müller €"
    assert any("Windows-1252" in note for note in table.notes)


def test_octets_that_windows_1252_lacks_make_it_latin_1(tmp_path: Path) -> None:
    table, _, _ = read(written(tmp_path, b"phone,name\n+1,\xe9\x81\n"))
    assert table.encoding == "latin-1" and any("Latin-1" in note for note in table.notes)


def test_the_encoding_is_known_from_the_whole_file_not_from_its_beginning(tmp_path: Path) -> None:
    octets = b"phone,name\n" + b"+447911123456,Ann\n" * 50_000 + "+1,Zoë\n".encode("cp1252")
    table, rows, _ = read(written(tmp_path, octets))
    assert table.encoding == "cp1252" and rows[-1] == (50_002, ("+1", "Zoë"))


def test_a_broken_octet_in_a_utf_8_file_spoils_its_row_only(tmp_path: Path) -> None:
    octets = b"phone,name\n" + "+1,Łódź\n".encode() * 20 + b"+2,\xff\n"
    table, rows, block = read(written(tmp_path, octets))
    assert table.encoding == "utf-8" and rows[0][1][1] == "Łódź" and rows[-1][1][1] == "\ufffd"
    assert [(note.line, note.name) for note in block.notes] == [(22, "bad_octets")]


def test_a_first_row_with_a_number_is_no_header(tmp_path: Path) -> None:
    table, rows, _ = read(written(tmp_path, b"+447911123456,Ann\n+447911123457,Bob\n"))
    assert (table.fields, len(rows), rows[0][0]) == (["column_1", "column_2"], 2, 1)
    assert any("first row is data" in note for note in table.notes)


def test_double_empty_and_spaced_names_are_made_usable_and_said(tmp_path: Path) -> None:
    table, _, _ = read(written(tmp_path, b"phone,name,name,,First Name,2nd\n+447911123456,a,b,c,d,e\n"))
    assert table.fields == ["phone", "name", "name_2", "column_4", "First_Name", "_2nd"]
    assert len(table.notes) == 4


def test_ragged_rows_are_padded_or_refused(tmp_path: Path) -> None:
    table, rows, block = read(written(tmp_path, b"phone,name,city\n+1\n+2,a,b,c\n+3,a,b,,\n,,\n\n+4,a,b\n"))
    assert rows == [(2, ("+1", "", "")), (4, ("+3", "a", "b")), (5, ("", "", "")), (7, ("+4", "a", "b"))]
    assert [(row.line, row.name) for row in block.faults] == [(3, "too_many_cells")]
    assert [(row.line, row.name) for row in block.notes] == [(2, "short_row"), (6, "blank_line")]


def test_a_stray_quote_costs_no_row(tmp_path: Path) -> None:
    octets = b'phone,name\n+1,"Bob" Ray\n+2,Ann\n+3,"open\n+4,Cy\n+5,5" pipe\n'
    _, rows, block = read(written(tmp_path, octets))
    assert [row[1][0] for row in rows] == ["+1", "+2", "+3", "+4", "+5"]
    assert [(note.line, note.name) for note in block.notes] == [(2, "stray_quote"), (4, "stray_quote")]


def test_a_quote_never_closed_swallows_nothing_behind_it(tmp_path: Path) -> None:
    octets = b'phone,name\n+1,x,"open\n' + b"+2,Ann\n" * 30_000
    _, rows, block = read(written(tmp_path, octets))
    assert len(rows) == 30_000 and [(row.line, row.name) for row in block.faults] == [(2, "quotes")]


def test_nuls_are_taken_out_and_said(tmp_path: Path) -> None:
    _, rows, block = read(written(tmp_path, b"phone,name\n+1,A\x00nn\n"))
    assert rows == [(2, ("+1", "Ann"))] and [(note.line, note.name) for note in block.notes] == [(2, "nul")]


def test_a_line_without_end_is_a_fault_of_its_row(tmp_path: Path) -> None:
    octets = b"phone,name\n+1," + b"x" * (3 * LINE_CHARACTERS) + b"\n+2,Ann\n+3," + b"y" * 200_000 + b"\n+4,Bob\n"
    _, rows, block = read(written(tmp_path, octets))
    assert [row[0] for row in rows] == [3, 5]
    assert [(row.line, row.name) for row in block.faults] == [(2, "line_too_long"), (4, "line_too_long")]


WRONG = [
    ("empty", b""),
    ("empty", b"\n \r\n\n"),
    ("empty", b"\xef\xbb\xbf"),
    ("empty", b",,,\n"),
    ("spreadsheet", b"PK\x03\x04" + bytes(30)),
    ("spreadsheet", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(30)),
    ("damaged_gzip", gzip.compress(PLAIN.encode() * 100, mtime=0)[:-10]),
    ("damaged_gzip", b"\x1f\x8b\x08junk"),
    ("not_text", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4),
]


@pytest.mark.parametrize(("fault", "octets"), WRONG)
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path: Path, fault: str, octets: bytes) -> None:
    with pytest.raises(FileFault) as caught:
        read(written(tmp_path, octets))
    assert caught.value.fault == fault


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, fault in (("nowhere", "missing"), (".", "not_a_file"), ("pipe", "not_a_file"), ("a\0b", "unreadable")):
        with pytest.raises(FileFault) as caught:
            Table(f"{tmp_path}/{path}")
        assert caught.value.fault == fault


@pytest.mark.parametrize(
    ("options", "fault"), [({"encoding": "klingon"}, "encoding"), ({"delimiter": "::"}, "delimiter")]
)
def test_a_wrong_option_is_a_fault_of_the_file(tmp_path: Path, options: dict[str, str], fault: str) -> None:
    with pytest.raises(FileFault) as caught:
        read(written(tmp_path, PLAIN.encode()), **options)
    assert caught.value.fault == fault


def test_an_asked_encoding_is_obeyed(tmp_path: Path) -> None:
    table, rows, _ = read(written(tmp_path, "phone,name\n+1,Иван\n".encode("cp1251")), encoding="cp1251")
    assert rows[0][1][1] == "Иван" and table.encoding_reason == "as asked"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    octets=st.binary(max_size=300)
    | st.text(alphabet='+1,;"\t\r\n \0éx|=sep', max_size=200).map(str.encode)
    | st.text(alphabet='+1,"\r\na', max_size=100).map(lambda text: text.encode("utf-16")),
    characters=st.sampled_from([1, 5, 64, 1 << 16]),
)
def test_any_octets_are_read_or_refused(tmp_path: Path, octets: bytes, characters: int) -> None:
    try:
        table, rows, block = read(written(tmp_path, octets), characters)
    except FileFault:
        return
    lines = [line for line, _ in rows]
    assert lines == sorted(lines)
    assert all(len(cells) == len(table.fields) for _, cells in rows)
    assert not {row.line for row in block.faults} & set(lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(octets=st.text(alphabet='+1,"\r\nab', max_size=120).map(str.encode), characters=st.integers(1, 40))
def test_any_size_of_block_finds_the_same_rows(tmp_path: Path, octets: bytes, characters: int) -> None:
    path = written(tmp_path, octets)
    try:
        whole = read(path, delimiter=",")
    except FileFault:
        return
    assert read(path, characters, delimiter=",")[1] == whole[1]
