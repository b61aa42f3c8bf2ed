"""Groups of those who buy, and when they are scored: rule SG-9."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load
from gateway.errors import ConfigError
from gateway.rfm import GROUPS, SHIPPED, Group, RfmSettings, due_since, groups_of


def at(r: int, f: int, m: int) -> int:
    return 25 * (r - 1) + 5 * (f - 1) + m - 1


def test_sg_9_the_shipped_groups_have_everybody_and_each_has_somebody() -> None:
    names = groups_of(SHIPPED)
    assert len(names) == 125 and set(names) == set(GROUPS)
    some = ((5, 5, 5), (3, 3, 1), (5, 1, 5), (4, 2, 1), (1, 4, 5), (2, 3, 1), (2, 1, 5))
    wanted = ["champions", "loyal", "new", "promising", "can't-lose", "at-risk", "hibernating"]
    assert [names[at(*one)] for one in some] == wanted
    assert names[at(1, 1, 5)] == "lost"


def test_the_first_group_that_fits_is_taken() -> None:
    names = groups_of((Group(name="new", r="2"), Group(name="lost", r="1-2")))
    assert names[at(2, 5, 5)] == "new" and names[at(1, 5, 5)] == "lost" and names[at(3, 1, 1)] == ""


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sluice.toml"
    path.write_text("[rfm]\n" + text)
    return path


def test_groups_of_a_file_take_the_place_of_those_that_are_shipped(tmp_path: Path) -> None:
    text = 'hold = true\ngroups = [{ name = "champions", r = "5" }, { name = "lost" }]\n'
    found = load(file(tmp_path, text), {}).rfm
    assert found.hold and groups_of(found.groups) == ("lost",) * 100 + ("champions",) * 25


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ('groups = [{ name = "champions", r = "5" }]', "rfm.groups", "a group for all scores"),
        ("groups = []", "rfm.groups", "a group for all scores"),
        ('groups = [{ name = "best" }]', "rfm.groups[1].name", "one of champions"),
        ('groups = [{ name = "lost", r = "5-4" }]', "rfm.groups[1].r", "a score from 1 to 5"),
        ('groups = [{ name = "lost", m = "0-4" }]', "rfm.groups[1].m", "a score from 1 to 5"),
        ('groups = [{ name = "lost", x = "0-4" }]', "rfm.groups", ""),
        ('at = "24:00"', "rfm.at", ""),
        ('zone = "Mars/Base"', "rfm.zone", "a zone"),
        ("days = 0", "rfm.days", ""),
        ('currency = "euro"', "rfm.currency", ""),
    ],
)
def test_a_wrong_setting_is_refused_with_its_key(tmp_path: Path, text: str, key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(file(tmp_path, text + "\n"), {})
    problems: Any = refused.value.problems
    assert any(key in one[0] and expected in one[1] for one in problems), problems


def test_scores_are_due_once_a_day_by_the_clock_of_their_zone() -> None:
    settings = RfmSettings(at="03:00", zone="Europe/Berlin")
    noon = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert due_since(settings, noon) == datetime(2026, 3, 28, 2, tzinfo=UTC)
    assert due_since(settings, noon + timedelta(days=1)) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    early = datetime(2026, 3, 28, 1, 59, 59, tzinfo=UTC)
    assert due_since(settings, early) == datetime(2026, 3, 27, 2, tzinfo=UTC)
    assert due_since(settings, early + timedelta(seconds=1)) == early + timedelta(seconds=1)
