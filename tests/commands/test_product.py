"""`sluice product` as a person meets it."""

from pathlib import Path

from click.testing import CliRunner

from gateway.__main__ import main


def product(dsn: str, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["product", *arguments, "--dsn", dsn])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_feed_and_shops_are_written_and_what_is_back_is_said(dsn: str, tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text("id,name,price\ncap,Cap,12.50\nhat,,1\n")
    code, output = product(dsn, "import", str(feed), "--currency", "gbp")
    assert code == 1 and "2 rows: 1 written" in output and "name: 1 (expected a name)" in output
    shops = tmp_path / "shops.csv"
    shops.write_text("id,name,lat,lon\nyork,York,53.96,-1.08\n")
    assert product(dsn, "shops", str(shops)) == (0, "1 rows: 1 written\n")
    assert product(dsn, "restock", "cap") == (0, "1 are back\n")
    assert product(dsn, "restock", "cap", "hat")[0] == 65
    assert product(dsn, "import", str(shops))[0] == 0, "names are enough for a feed"
    feed.write_text("colour\nred\n")
    assert product(dsn, "import", str(feed))[0] == 65
