"""Receipts of tills as orders: by card or number, once for a till and number."""

from pathlib import Path

import pytest

from gateway.contacts import mapping, receipts
from gateway.contacts.cells import Ways
from gateway.contacts.mapping import Reader, RowReport
from gateway.contacts.receipts import Receipts
from gateway.contacts.table import Table
from gateway.errors import FileFault
from gateway.person import Item
from tests.fixtures.files import NOW, faults

HEAD = "card,phone,till,receipt,at,total,currency,refund_of,shop\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.csv"


def read(path: Path, text: str, *maps: str) -> tuple[list[Item], RowReport]:
    path.write_text(text)
    report = RowReport()
    with Table(str(path), header=True) as table:
        plan = mapping.plan(table, maps, (), fields=receipts.FIELDS, takes_rest=True, ways=Ways())
        passed = Receipts(Reader(table, plan, report, ways=Ways()), "till", NOW)
        return [item for batch in passed.batches() for item in batch.items], report


def row(number: str, total: str = "12.50", card: str = "77", of: str = "", till: str = "1", phone: str = "") -> str:
    return f"{card},{phone},{till},{number},2026-03-01T10:00:00Z,{total},EUR,{of},A\n"


def test_im_9_a_receipt_is_an_order_of_whose_card_or_number_it_bears(path: Path) -> None:
    items, _ = read(path, HEAD + row("100") + row("101", card="", phone="+4915112345671"))
    assert [item.name for item in items] == ["order_placed", "order_placed"]
    assert items[0].who.anonymous_id == "card:77" and items[1].who.phone == 4915112345671
    assert items[0].event_id == "1/100" and items[0].historical
    assert items[0].properties == {
        "order_id": "1/100", "total": 12.5, "currency": "EUR", "till": "1", "receipt": "100", "shop": "A",
    }  # fmt: skip


def test_a_receipt_of_nobody_is_passed_over_and_counted(path: Path) -> None:
    items, report = read(path, HEAD + row("100", card=""))
    assert not items and report.nobodys == 1 and report.refused == 0


def test_a_receipt_twice_is_one_and_one_that_says_something_else_is_refused(path: Path) -> None:
    items, report = read(path, HEAD + row("100") + row("100") + row("100", "13.50") + row("100", till="2"))
    assert len(items) == 2 and report.duplicates == 1
    assert faults(report) == {("receipt", "conflict"): [4]}


def test_what_is_given_back_names_its_receipt(path: Path) -> None:
    items, report = read(path, HEAD + row("100") + row("101", "-12.50", of="100") + row("102", "-1"))
    assert (items[1].name, items[1].properties["order_id"], items[1].properties["total"]) == ("refunded", "1/100", 12.5)
    assert faults(report) == {("total", "negative"): [4]}


def test_what_every_receipt_needs_is_asked_of_the_file_and_of_each_row(path: Path) -> None:
    with pytest.raises(FileFault, match="total: expected a column"):
        read(path, "card,receipt,at,currency\n1,2,2026-03-01T10:00:00Z,EUR\n")
    _, report = read(path, HEAD + row("100", "") + row("101", "NaN") + row("", "1"))
    assert faults(report) == {("total", "missing"): [2], ("total", "number"): [3], ("receipt", "missing"): [4]}
    _, report = read(path, HEAD + row("1").replace("2026", "2027"))
    assert faults(report) == {("at", "future"): [2]}


def test_two_tills_with_strokes_in_their_names_have_orders_of_their_own() -> None:
    assert receipts.order_id("1/2", "3") != receipts.order_id("1", "2/3")
    assert receipts.order_id("", "3") == "3"
