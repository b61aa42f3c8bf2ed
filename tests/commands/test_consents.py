"""Files of consent: what is taken, what is refused with its line and column, and the proof as a page."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.campaign.consent import states_of
from gateway.commands._consents import as_json, as_page, facts_in, proof_of, time_of
from gateway.commands._stops import reader_of
from gateway.consent import NO_HASH, Fact, chain
from gateway.contacts.table import Table
from gateway.errors import FileFault

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEADER = "number,action,brand,class,at,wording,method\n"
GOOD = "+447700900001,grant,acme,promotional,2026-01-02T03:04:05+01:00,Texts of Acme,box ticked\n"


def taken(tmp_path: Path, text: str, **how: Any) -> tuple[list[Fact], list[str], int]:
    path = tmp_path / "consent.csv"
    path.write_text(text, encoding="utf-8")
    with Table(str(path)) as table:
        facts, refusals, repeated = facts_in(
            table, reader_of(None), **{"brand": "*", "class_": "promotional", "now": NOW, **how}
        )
    return facts, [str(one) for one in refusals], repeated


def test_a_grant_with_all_that_it_needs_is_taken(tmp_path: Path) -> None:
    facts, refusals, _ = taken(tmp_path, HEADER + GOOD)
    assert refusals == [] and facts[0].effective_at == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert (facts[0].brand, facts[0].action, facts[0].source) == ("acme", "grant", "import")


@pytest.mark.parametrize("name", ["phone", "Mobile number", "телефон"])
def test_the_column_of_numbers_may_have_any_name_that_one_has(tmp_path: Path, name: str) -> None:
    facts, refusals, _ = taken(tmp_path, (HEADER + GOOD).replace("number,", f"{name},"))
    assert refusals == [] and facts[0].number == 447700900001


def test_two_columns_of_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="found phone, mobile"):
        taken(tmp_path, "phone,mobile\n+447700900001,+447700900002\n")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("+447700900001,grant,acme,promotional,,Texts of Acme,box ticked", "line 3, at: expected when consent"),
        ("+447700900001,grant,acme,promotional,2026-01-02T03:04:05,w,m", "line 3, at: expected a time with its offset"),
        ("+447700900001,grant,acme,promotional,2027-01-02T03:04:05Z,w,m", "line 3, at: expected a time that has been"),
        ("+447700900001,grant,acme,promotional,2026-01-02T03:04:05Z,,m", "line 3, wording:"),
        ("+447700900001,grant,acme,promotional,2026-01-02T03:04:05Z,w,", "line 3, method:"),
        ("+447700900001,grant,,promotional,2026-01-02T03:04:05Z,w,m", "line 3, brand:"),
        ("+447700900001,maybe,acme,promotional,2026-01-02T03:04:05Z,w,m", "line 3, action: expected grant or revoke"),
        ("+447700900001,grant,acme,weekly,2026-01-02T03:04:05Z,w,m", "line 3, class:"),
        ("12,grant,acme,promotional,2026-01-02T03:04:05Z,w,m", "line 3, number:"),
        (GOOD.strip().replace("Texts of Acme", "Other words"), "line 3, at: expected one grant at one time"),
        ("+447700900001,grant,acme,promotional,2026-01-02T03:04:05Z,w,m,more,cells", "line 3, row:"),
    ],
)  # fmt: skip
def test_cn_2_a_row_that_cannot_be_taken_is_refused_by_line_and_column_and_the_others_go_on(
    tmp_path: Path, row: str, named: str
) -> None:
    facts, refusals, _ = taken(tmp_path, HEADER + GOOD + row + "\n" + GOOD.replace("900001", "900002"))
    assert [fact.number for fact in facts] == [447700900001, 447700900002]
    assert len(refusals) == 1 and refusals[0].startswith(named)


def test_a_bare_list_of_numbers_is_a_file_of_opt_outs_without_a_date(tmp_path: Path) -> None:
    facts, refusals, repeated = taken(tmp_path, "+447700900001\n+447700900002\n+44 7700 900001\n")
    assert {(fact.action, fact.brand, fact.class_, fact.effective_at) for fact in facts} == {
        ("revoke", "*", "all", None)
    }
    assert (len(facts), refusals, repeated) == (2, [], 1)


def test_opt_outs_stand_before_grants_and_what_is_said_twice_is_taken_once(tmp_path: Path) -> None:
    facts, refusals, repeated = taken(tmp_path, HEADER + GOOD + GOOD + "+447700900009,revoke,acme,,,,\n")
    assert [fact.action for fact in facts] == ["revoke", "grant"] and (refusals, repeated) == ([], 1)


@pytest.mark.parametrize("header", ["customer,action", "number,colour", "number,number"])
def test_columns_that_are_none_of_ours_refuse_the_file(tmp_path: Path, header: str) -> None:
    with pytest.raises(FileFault, match="expected columns of number"):
        taken(tmp_path, f"{header}\n+447700900001,grant\n")


def test_a_time_says_its_offset() -> None:
    assert time_of("2026-03-01T12:00:00Z") == NOW == time_of(" 2026-03-01T13:00:00+01:00 ")
    assert time_of("2026-03-01T12:00:00") is None is time_of("yesterday")


@pytest.mark.covers("S4.32")
def test_cn_13_a_proof_is_a_page_and_json_and_says_when_the_chain_is_broken() -> None:
    fact = Fact(
        number=447700900001, brand="<acme>", class_="promotional", action="grant", source="form", recorded_at=NOW,
        effective_at=NOW, wording="<script>", method="box", proof=b"\xff",
    )  # fmt: skip
    links = chain([fact], 0, NO_HASH)
    proof = proof_of(fact.number, links, 1, links[0].hash, states_of([fact]), NOW)
    assert proof["is_whole"] and '"proof": "ff"' in as_json(proof)
    page = as_page(proof)
    assert "The chain is whole" in page and "&lt;script&gt;" in page and "<script>" not in page
    assert "NOT whole" in as_page(proof_of(fact.number, [], 1, links[0].hash, {}, NOW))
