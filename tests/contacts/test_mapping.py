"""What columns are, and rows of bad files: refused by row and column, all of a row or nothing."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contacts import mapping
from gateway.contacts.cells import Ways
from gateway.contacts.mapping import FAULTS
from gateway.errors import FileFault
from tests.fixtures.files import Pass

A, B = "+4915112345671", "+4915112345672"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.csv"


def test_columns_are_what_is_said_or_what_their_names_say(path: Path) -> None:
    found = Pass(path, f"Kunden-Nr;Handy;E-Mail;Punkte;Stadt\n7;{A};A@B.com;12;Bonn\n", "Punkte=points:number")
    assert [one.target for one in found.plan.columns] == ["external_id", "phone", "email", "points", "Stadt"]
    item = found.items[0]
    assert (item.who.external_id, item.who.phone, item.who.email) == ("7", int(A[1:]), "a@b.com")
    assert item.attributes == {"points": 12, "Stadt": "Bonn"}
    assert Pass(path, f"phone,shoe\n{A},42\n", takes_rest=False).items[0].attributes == {}
    assert Pass(path, f"phone,shoe\n{A},42\n", "shoe=-").items[0].attributes == {}
    assert Pass(path, f"{A},42\n", "1=phone", "2=shoe:number", header=False).items[0].attributes == {"shoe": 42}


@pytest.mark.parametrize(
    ("maps", "says"),
    [
        (("shoe",), "expected COLUMN=FIELD"), (("glove=x",), "expected one of phone, shoe"),
        (("shoe=size", "shoe=other"), "each column once"),
        (("phone=x", "shoe=x"), "expected one column, found phone, shoe"),
        (("shoe=email:number",), "without a kind"), (("shoe=a.b",), "name of an attribute"),
        (("shoe=size:money",), "money:EUR"), (("shoe=size:colour",), "expected one of string"),
        (("phone=phone@XX",), "a country of two letters"),
    ],
)  # fmt: skip
def test_a_map_that_says_nothing_is_refused_before_a_row_is_read(path: Path, maps: tuple[str, ...], says: str) -> None:
    with pytest.raises(FileFault, match=says) as error:
        Pass(path, f"phone,shoe\n{A},42\n", *maps)
    assert error.value.fault == "columns"


def test_a_header_that_has_a_name_twice_is_not_guessed_at(path: Path) -> None:
    text = f"phone,shoe,shoe\n{A},1,2\n"
    with pytest.raises(FileFault, match="found several; say its position"):
        Pass(path, text, "shoe=size")
    assert Pass(path, text, "3=size", "2=-").items[0].attributes == {"size": "2"}
    with pytest.raises(FileFault, match="phone: expected one column"):
        Pass(path, f"a,b\n{A},{B}\n", "a=phone", "b=phone")


def test_the_header_once_more_among_the_rows_is_no_person(path: Path) -> None:
    found = Pass(path, "external_id,city\n1,Bonn\nexternal_id,city\n2,Ulm\n")
    assert found.faults == {("", "header_again"): [3]} and len(found.items) == 2


def test_im_2_regions_are_of_the_file_the_column_or_the_row(path: Path) -> None:
    text = "id,tel,land\n1,0151 12345671,DE\n2,07911 123456,GB\n3,0151 12345672,XX\n"
    assert Pass(path, "id,tel\n1,0151 12345671\n", region="DE").items[0].who.phone == 4915112345671
    assert Pass(path, "id,tel\n1,0151 12345671\n", "tel=phone@DE").items[0].who.phone == 4915112345671
    found = Pass(path, text, "tel=phone@[land]")
    assert [item.who.phone for item in found.items] == [4915112345671, 447911123456]
    assert found.faults == {("tel", "region"): [4]}


def test_im_2_damage_is_told_and_ambiguity_never_guessed(path: Path) -> None:
    rows = ["4,47912E+11", "4.47912E+11", "151 12345671", f"{A} / {B}", "12", "", '="+4915112345671"']
    cells = "\n".join(f'{at};"{row.replace(chr(34), chr(34) * 2)}"' for at, row in enumerate(rows))
    found = Pass(path, f"id;phone\n{cells}\n", "id=external_id", region="DE")
    assert found.faults[("phone", "scientific")] == [2, 3] and found.faults[("phone", "several")] == [5]
    assert found.faults[("phone", "too_short")] == [6]
    assert {name for _, name in found.report.notes} >= {"zero_added", "formula"}
    assert [item.who.phone for item in found.items] == [4915112345671, 0, 4915112345671]
    # A mobile of Great Britain that has lost its plus, or a number of Germany: valid in both.
    assert Pass(path, "phone\n447911123456\n", region="DE").faults == {("phone", "ambiguous"): [2]}


def test_ids_that_a_spreadsheet_has_reckoned_with_are_damage(path: Path) -> None:
    found = Pass(path, "external_id,city\n1.23457E+11,a\n1234.0,b\n00017,c\n")
    assert found.faults == {("external_id", "scientific"): [2], ("external_id", "decimal_zero"): [3]}
    assert found.items[0].who.external_id == "00017"


def test_every_wrong_cell_of_a_row_is_named_and_the_row_refused_once(path: Path) -> None:
    found = Pass(path, "phone,email,n\n12,nobody,NaN\n", "n=n:number", region="DE")
    assert found.report.refused == 1 and not found.items
    assert found.faults == {("phone", "too_short"): [2], ("email", "email"): [2], ("n", "number"): [2]}
    assert found.report.as_json()["faults"][0]["examples"] == [{"line": 2, "found": "12"}]


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (f"phone,n\n{A},a\0b\n".encode(), ("", "nul")),
        (f"phone,n\n{A},".encode() + b"caf\xe9\n" + f"{B},Köln\n".encode() * 30, ("n", "bad_octets")),
        (f"phone,n\n{A},1,2,3\n".encode(), ("", "too_many_cells")),
        (f'phone,n\n{A},"never closed\n{B},x\n'.encode(), ("", "quotes")),
        (f"phone,n\n{A},".encode() + b"x" * 10_000_000 + b"\n", ("", "line_too_long")),
        (f"phone,n\n{A},".encode() + b"x" * 20_000 + b"\n", ("n", "too_long")),
        (f"phone,n\n{A},=cmd|' /C calc'!A0\n".encode(), ("n", "formula")),
        (f"phone,n\n{A},#REF!\n".encode(), ("n", "spreadsheet_error")),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_by_name_and_the_good_ones_are_taken(
    path: Path, octets: bytes, fault: tuple[str, str]
) -> None:
    found = Pass(path, octets + b"+447911123456,good\n")
    assert fault in found.faults, found.faults
    assert found.faults[fault][0] == 2
    assert int("447911123456") in [item.who.phone for item in found.items]
    assert found.report.rows == found.report.taken + found.report.refused + found.report.duplicates


def test_ragged_short_rows_say_nothing_where_cells_are_missing(path: Path) -> None:
    assert Pass(path, f"phone,city\n{A}\n").items[0].attributes == {}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "mixed"])
def test_im_1_files_of_spreadsheets_are_read_whatever_their_octets(path: Path, encoding: str, end: str) -> None:
    text = f"sep=;\nphone;Straße\n{A};Grüner Weg\n{B};Düne\n"
    if end == "mixed":
        text = text.replace("\n", "\r\n", 2)
    octets = text.replace("\n", end if end != "mixed" else "\n").encode(encoding)
    for each in (octets, gzip.compress(octets)):
        found = Pass(path, each)
        assert [item.attributes for item in found.items] == [{"Straße": "Grüner Weg"}, {"Straße": "Düne"}]


@pytest.mark.parametrize("octets", [b"", b"\n\n", b"\xef\xbb\xbf", b"   \n", b"PK\x03\x04 xlsx"])
def test_a_file_without_rows_is_refused_as_a_whole(path: Path, octets: bytes) -> None:
    with pytest.raises(FileFault):
        Pass(path, octets)


def test_values_for_every_row_are_checked_once(path: Path) -> None:
    assert Pass(path, f"phone\n{A}\n", sets=("country=de", "tier=gold")).items[0].attributes == {
        "country": "DE", "tier": "gold",
    }  # fmt: skip
    for wrong in ("country=Germany", "phone=+4915112345671", "=x", "zone=Mars/Olympus"):
        with pytest.raises(FileFault):
            Pass(path, f"phone\n{A}\n" if "phone" not in wrong else "email\na@b.de\n", sets=(wrong,))


def test_the_digest_tells_two_ways_to_read_one_file_apart(path: Path) -> None:
    text = f"phone,n\n{A},1\n"
    one, two = Pass(path, text, "n=n:number").plan, Pass(path, text, "n=n").plan
    assert one.digest == Pass(path, text, "n=n:number").plan.digest != two.digest
    assert one.digest != Pass(path, text, "n=n:number", ways=Ways(decimal=",")).plan.digest


def test_examples_cover_numbers_and_addresses(path: Path) -> None:
    found = Pass(path, "phone,email\n+4915112345671999999,ada@x,y\nx,ada lovelace@x.de\n")
    shown = str(found.report.as_json())
    assert "15112345671" not in shown and "lovelace" not in shown and "@x.de" in shown
    assert "refused" in found.report.as_text()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(octets=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: ("phone;id;n\n" + text).encode()))
def test_any_octets_are_rows_taken_refused_or_double_or_a_fault_of_the_file(path: Path, octets: bytes) -> None:
    try:
        found = Pass(path, octets, region="DE")
    except FileFault:
        return
    report = found.report
    assert report.rows == report.taken + report.refused + report.duplicates
    assert {name for _, name in report.faults} <= set(FAULTS)
    assert report.taken == len(found.items)


def test_texts_of_a_kind_are_read_or_refused() -> None:
    assert mapping.email("Ada@X.de") == "ada@x.de" and mapping.currency("eur") == "EUR"
    assert mapping.language("pt_BR") == "pt-BR" and mapping.zone("Europe/Berlin") == "Europe/Berlin"
    assert mapping.consent_class("Night") == "night"
    for read, cell in (
        (mapping.email, "a b@x.de"), (mapping.email, "x.de"), (mapping.currency, "EURO"), (mapping.language, "?"),
        (mapping.country, "DEU"), (mapping.consent_class, "all"), (mapping.key, "x" * 501),
    ):  # fmt: skip
        with pytest.raises(mapping.Wrong) as error:
            read(cell)
        assert error.value.fault in FAULTS
