"""Settings of reports and of costs: S4.50."""

import pytest

from gateway import reporting
from gateway.config import load
from gateway.errors import ConfigError
from gateway.reporting import CostLine, ReportSettings


def test_what_types_cannot_say_is_said_with_its_place() -> None:
    assert reporting.problems_of("reports", ReportSettings(zone="Mars")) == [
        ("reports.zone", "a zone such as Europe/Berlin", "'Mars'")
    ]
    found = reporting.days_problems("costs", "2026-02-30", [CostLine(day="2026-13-01", what="x", amount=1)])
    assert [(key, value) for key, _, value in found] == [
        ("costs.credit_from", "'2026-02-30'"),
        ("costs.lines[0].day", "'2026-13-01'"),
    ]


@pytest.mark.covers("S4.50")
def test_sections_are_read_from_a_file_and_refused_by_their_keys(tmp_path) -> None:
    file = tmp_path / "sluice.toml"
    file.write_text(
        '[reports]\nzone = "Europe/Vienna"\nstaff_numbers = ["+447700900000"]\n[costs]\nmargin = 0.5\n'
        '[[costs.lines]]\nday = "2026-03-01"\nwhat = "copywriting"\namount = 200\n'
    )
    settings = load(file)
    assert settings.reports.zone == "Europe/Vienna" and settings.costs.lines[0].amount == 200
    file.write_text('[costs]\nmargin = 2\nprize = 1\n[reports]\nzone = "Mars"\n')
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert {key for key, _, _ in caught.value.problems} == {"costs.margin", "costs.prize", "reports.zone"}
