"""Each number and its formula, against what is known of them: RP-4, S1.2, S2.31, S4.61 to S4.74."""

import importlib.resources
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.campaign import formulas
from gateway.campaign.formulas import CATALOGUE, Life, median_lifetime, survival, wilson

SCHEMA = "".join(
    file.read_text(encoding="utf-8")
    for file in sorted(importlib.resources.files("gateway.store").joinpath("migrations").iterdir(), key=str)
    if "VIEW report_" in file.read_text(encoding="utf-8")
)
VIEWS = dict(re.findall(r"CREATE OR REPLACE VIEW (report_\w+) AS\n(.*?);\n", SCHEMA, re.DOTALL))
OF = {
    "campaign": ("report_campaign_day", "report_campaign", "report_run", "report_audience"),
    "arm": ("report_arm",),
    "month": ("report_customer_month",),
    "cohort": ("report_cohort",),
    "week": ("report_messages_week",),
}


@pytest.mark.parametrize("formula", [one for one in CATALOGUE if one.about in OF], ids=lambda one: one.name)
def test_each_view_has_each_number_as_the_catalogue_has_it(formula: formulas.Formula) -> None:
    for view in OF[formula.about]:
        assert formula.sql in " ".join(VIEWS[view].split()), f"{view}: expected {formula.sql}"


def test_no_view_has_a_share_that_the_catalogue_has_not() -> None:
    known = {one.sql for one in CATALOGUE}
    for text in VIEWS.values():
        for found in re.findall(r"[\w()][\w() -]*::float8\s+/ nullif\(\w+, 0\) AS \w+", " ".join(text.split())):
            assert found.strip() in known, found


def test_the_page_of_numbers_has_the_table_of_the_catalogue() -> None:
    page = (Path(__file__).parents[2] / "docs" / "numbers.md").read_text(encoding="utf-8")
    assert formulas.as_markdown() in page, "paste gateway.campaign.formulas.as_markdown() into docs/numbers.md"


@pytest.mark.covers("S4.63")
def test_what_cannot_be_measured_is_an_estimate_S4_63() -> None:
    opens = [one for one in CATALOGUE if "open" in one.name or "open" in one.title]
    assert [one.name for one in opens] == ["page_open_rate"] and all(one.is_estimate for one in opens)
    assert "estimate" in opens[0].title and "**An estimate.**" in formulas.as_markdown()


def test_a_share_of_few_is_an_interval_RP_4() -> None:
    """Values of Newcombe (1998), table I."""
    low, high = wilson(81, 263) or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = wilson(0, 20) or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.0, 0.1611)
    assert wilson(29, 29) is not None and round(wilson(29, 29)[0], 4) == 0.883 and wilson(29, 29)[1] == 1.0  # type: ignore[index]
    assert wilson(0, 0) is None and wilson(3, 2) == wilson(2, 2)


@given(st.integers(1, 500), st.data())
def test_an_interval_holds_its_share_and_narrows_with_more(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    low, high = wilson(count, total) or (1, 0)
    assert 0 <= low <= count / total + 1e-12 and count / total <= high + 1e-12 <= 1 + 1e-9
    more = wilson(10 * count, 10 * total) or (0, 1)
    assert more[1] - more[0] <= high - low


def test_the_interval_holds_the_truth_in_most_of_many_trials() -> None:
    chance = random.Random(5)
    held = 0
    for _ in range(2000):
        count = sum(chance.random() < 0.07 for _ in range(60))
        low, high = wilson(count, 60) or (0, 0)
        held += low <= 0.07 <= high
    assert 0.93 <= held / 2000 <= 0.98


@pytest.mark.covers("S4.69")
def test_lifetimes_are_those_of_kaplan_and_meier_S4_69() -> None:
    """The leukaemia data of Freireich (1963), the arm of 6-MP, with the shares that every textbook has."""
    lapsed = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    still = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    steps = survival([*(Life(days=one, lapsed=1) for one in lapsed), *(Life(days=one, still=1) for one in still)])
    assert [(days, round(left, 3)) for days, left in steps] == [
        (0, 1.0), (6, 0.857), (7, 0.807), (10, 0.753), (13, 0.690), (16, 0.627), (22, 0.538), (23, 0.448),
    ]  # fmt: skip
    assert median_lifetime(steps) == 23
    assert median_lifetime(survival([Life(days=5, still=3)])) is None and survival([]) == [(0, 1.0)]


def test_without_anybody_who_may_still_come_it_is_the_plain_share() -> None:
    steps = dict(survival([Life(days=days, lapsed=1) for days in range(1, 11)]))
    assert all(abs(steps[days] - (10 - days) / 10) < 1e-12 for days in range(1, 11))


@pytest.mark.covers("S4.73")
def test_what_a_customer_is_worth_S4_73() -> None:
    assert formulas.clv_historic(50_000, 100, 0.4) == 200
    # 30 an order, 2 orders a year, half leave each year: two years of 60, of which a quarter is earned.
    assert formulas.clv_simple(30, 2, 0.5, 0.25) == 30
    assert formulas.clv_simple(30, 2, 0, 0.25) is None and formulas.clv_simple(None, 2, 0.5, 1) is None
    assert formulas.clv_historic(0, 0, 1) is None


@pytest.mark.covers("S4.74")
def test_what_came_back_of_what_was_paid_S4_74() -> None:
    assert formulas.roi(300, 100) == 2 and formulas.roi(50, 100) == -0.5 and formulas.roi(50, 0) is None


@pytest.mark.covers("S2.33")
def test_the_best_hour_is_the_busiest_and_of_two_alike_the_earlier() -> None:
    assert formulas.best_hour([0] * 9 + [5, 7, 7] + [0] * 12) == 10 and formulas.best_hour([0] * 24) is None


@given(st.dictionaries(st.integers(0, 99), st.integers(1, 9), min_size=1), st.integers(1, 100))
def test_a_percentile_is_that_of_the_written_out_list(values: dict[int, int], percent: int) -> None:
    written = sorted(value for value, count in values.items() for _ in range(count))
    found = formulas.percentile(values, percent)
    assert found is not None and 100 * sum(one <= found for one in written) >= percent * len(written)
