"""Every quirk of docs/quirks.md has its row, a test that bears its number, and settings that exist."""

import re
from pathlib import Path

import pytest

from gateway.config import CarrierSettings

ROOT = Path(__file__).parents[2]
QUIRKS = range(1, 43)


def rows() -> dict[int, list[str]]:
    """Quirk -> its cells."""
    text = (ROOT / "docs/quirks.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in text.splitlines()]
    return {int(cells[0]): cells for cells in lines if len(cells) == 4 and cells[0].isdigit()}


def named() -> set[int]:
    """The quirks that some test names: `test_quirk_12_…`, or `quirk 12` in its words."""
    found: set[int] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path != Path(__file__):
            found.update(int(n) for n in re.findall(r"[qQ]uirk[_ ](\d+)", path.read_text(encoding="utf-8")))
    return found


def test_every_quirk_has_its_row_and_says_what_we_do() -> None:
    assert list(rows()) == list(QUIRKS)
    assert [number for number, cells in rows().items() if not all(cells)] == []


def test_every_quirk_is_named_by_a_test_and_no_test_names_another() -> None:
    assert named() == set(QUIRKS)


@pytest.mark.parametrize("number", QUIRKS)
def test_setting_of_a_quirk_exists(number: int) -> None:
    cell = rows()[number][3]
    settings = re.findall(r"`(\w+)`", cell)
    assert settings or cell == "built in"
    assert set(settings) - set(CarrierSettings.__struct_fields__) == set()
