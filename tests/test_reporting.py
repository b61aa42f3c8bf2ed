"""Settings of reports and of costs: S4.50."""

import pytest

from gateway import reporting
from gateway.config import load
from gateway.errors import ConfigError
from gateway.reporting import CostLine, CostSettings, ReportSettings


@pytest.mark.covers("S4.50")
def test_a_part_costs_what_the_most_exact_price_says() -> None:
    costs = CostSettings(
        part=0.05, countries={"DE": 0.07, "US": 0.01}, carriers={"acme": {"*": 0.04, "DE": 0.06}, "north": {"FR": 0.09}}
    )
    asked = (("acme", "DE"), ("acme", "FR"), ("north", "DE"), ("north", "FR"), ("x", ""))
    assert [costs.price(*one) for one in asked] == [
        0.06, 0.04, 0.07, 0.09, 0.05,
    ]  # fmt: skip


def test_what_types_cannot_say_is_said_with_its_place() -> None:
    found = reporting.problems_of(
        ReportSettings(zone="Mars"),
        CostSettings(
            countries={"ZZ": 1.0}, credit_from="2026-02-30", lines=(CostLine(day="2026-13-01", what="x", amount=1),)
        ),
    )
    assert [(key, value) for key, _, value in found] == [
        ("reports.zone", "'Mars'"), ("costs.countries.ZZ", "'ZZ'"), ("costs.credit_from", "'2026-02-30'"),
        ("costs.lines[0].day", "'2026-13-01'"),
    ]  # fmt: skip


def test_sections_are_read_from_a_file_and_refused_by_their_keys(tmp_path) -> None:
    file = tmp_path / "sluice.toml"
    file.write_text('[reports]\nzone = "Europe/Vienna"\nstaff_numbers = ["+447700900000"]\n[costs]\npart = 0.05\n'
                    '[[costs.lines]]\nday = "2026-03-01"\nwhat = "copywriting"\namount = 200\n')  # fmt: skip
    settings = load(file)
    assert settings.reports.zone == "Europe/Vienna" and settings.costs.lines[0].amount == 200
    file.write_text("[costs]\nmargin = 2\nprize = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert {key for key, _, _ in caught.value.problems} == {"costs.margin", "costs.prize"}
