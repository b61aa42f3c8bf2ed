"""Feeds of products and lists of shops, as shops write them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.contacts import feeds
from gateway.errors import FileFault
from gateway.product import Product, Shop


def test_a_feed_of_products_is_read_whatever_its_columns_are_called(tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(
        "SKU;Title;Product type;Price;Link;supply_days;related;inventory;published_at;colour\n"
        "cap;Cap;hats;12.50 EUR;https://shop.example/cap;;hat, scarf|hat;4;2026-03-01;red\n"
        "tea;Tee;;7;;30;;;;\n"
    )
    with feeds.products(str(path), "GBP") as feed:
        found = [one for batch in feed.batches() for one in batch]
    assert found == [
        Product(
            id="cap", name="Cap", category="hats", price=1250, currency="EUR", url="https://shop.example/cap",
            related=("hat", "scarf"), stock=4, new_since=datetime(2026, 3, 1, tzinfo=UTC),
        ),
        Product(id="tea", name="Tee", price=700, currency="GBP", supply_days=30),
    ]  # fmt: skip
    assert feed.damage == {} and feed.rows == 2


def test_damage_is_told_by_column_and_line_and_the_rest_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(
        "id,name,price,currency,url,supply_days,stock,new_since\n"
        "a,A,1,GBP,,,,\na,A,1,GBP,,,,\nb c,B,,,,,,\nd,,,,,,,\ne,E,cheap,GBP,,,,\nf,F,1,,,,,\ng,G,,,http://x,,,\n"
        "h,H,,,,0,,\ni,I,,,,,many,\nj,J,,,,,,soon\n,,,,,,,\n"
    )
    with feeds.products(str(path)) as feed:
        found = [one.id for batch in feed.batches() for one in batch]
    assert found == ["a"] and feed.rows == 10
    assert {name: [one.line for one in tally.examples] for name, tally in feed.damage.items()} == {
        "duplicate": [3], "id": [4], "name": [5], "price": [6], "currency": [7], "url": [8], "supply_days": [9],
        "stock": [10], "new_since": [11],
    }  # fmt: skip
    assert "    line 6: cheap" in feed.lines()


def test_shops_have_a_place_and_one_may_be_the_default(tmp_path: Path) -> None:
    path = tmp_path / "shops.csv"
    path.write_text("id,name,latitude,lng,default\ny,York,53.96,-1.08,yes\nz,Z,91,0,\nw,W,1,0,perhaps\n")
    with feeds.shops(str(path)) as feed:
        found = [one for batch in feed.batches() for one in batch]
    assert found == [Shop(id="y", name="York", lat=53.96, lon=-1.08, is_default=True)]
    assert set(feed.damage) == {"lat", "is_default"}


def test_a_file_without_the_columns_that_are_needed_is_refused_with_those_it_has(tmp_path: Path) -> None:
    path = tmp_path / "shops.csv"
    path.write_text("id,name\n1,York\n")
    with pytest.raises(FileFault, match="expected columns lat, lon, found id, name"):
        feeds.shops(str(path))
