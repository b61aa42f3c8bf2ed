"""Figures as tables, CSV and JSON."""

import csv
import io
from datetime import date

from gateway.commands._figures import Column, Table, csv_of, document_of, lines_of, value_of, with_formulas

ROW = {"campaign": "spring", "clicked_endpoints": 40, "link_endpoints": 200, "click_rate": 0.2, "revenue_net": 123456}
TABLE = Table(
    name="campaigns", title="Campaigns", currency="EUR", notes=["as of now"],
    columns=[Column(name="campaign", title="campaign", kind="text"), *with_formulas(("click_rate",)),
             Column(name="revenue_net", title="revenue", kind="money")],
    rows=[ROW],
)  # fmt: skip


def of(**more) -> list[str]:
    columns = with_formulas(("click_rate", "page_open_rate"))
    return [
        one.strip()
        for one in lines_of(Table(name="", title="t", columns=columns, rows=[{**ROW, **more}]))[2].split("  ")
        if one.strip()
    ]


def test_columns_are_aligned_and_notes_stand_below() -> None:
    assert lines_of(TABLE) == [
        "Campaigns",
        "  campaign  clicks       revenue",
        "  spring     20.0%  1,234.56 EUR",
        "  as of now",
    ]
    assert lines_of(Table(name="", title="t", columns=TABLE.columns, rows=[])) == ["t", "  nothing yet"]


def test_a_share_of_few_is_shown_as_an_interval_and_not_as_a_figure_RP_4() -> None:
    assert of(clicked_endpoints=2, link_endpoints=10, click_rate=0.2)[0] == "6–51 % of 10"
    assert of(clicked_endpoints=20, link_endpoints=100, click_rate=0.2)[0] == "20.0%"
    assert of(click_rate=None)[0] == "–"


def test_an_estimate_is_marked_S4_63() -> None:
    assert of(opened_endpoints=30, page_open_rate=0.15)[-1] == "~15.0%"


def test_a_csv_has_the_names_of_columns_and_numbers_as_they_are() -> None:
    assert csv_of(TABLE) == "campaign,click_rate,revenue_net\r\nspring,0.2,123456\r\n"
    strange = [{"campaign": one} for one in ("=1+1", "-x", 'a,"b"', "wörter\nzwei")]
    text = csv_of(Table(name="", title="", columns=TABLE.columns[:1], rows=strange))
    assert [row[0] for row in csv.reader(io.StringIO(text)) if row][1:] == ["'=1+1", "'-x", 'a,"b"', "wörter\nzwei"]


def test_json_has_the_formula_of_each_share() -> None:
    told = document_of([TABLE])["campaigns"]
    assert told["rows"] == [{"campaign": "spring", "click_rate": 0.2, "revenue_net": 123456}]
    assert told["formulas"]["click_rate"] == {
        "numerator": "clicked_endpoints", "denominator": "link_endpoints", "is_estimate": False,
    }  # fmt: skip
    day = Table(
        name="d", title="", columns=[Column(name="day", title="", kind="text")], rows=[{"day": date(2026, 3, 1)}]
    )
    assert document_of([day])["d"]["rows"] == [{"day": "2026-03-01"}]


def test_a_numerator_may_be_a_difference() -> None:
    assert value_of("gained - lost", {"gained": 7, "lost": 3}) == 4 and value_of("gained", {}) == 0


def test_names_of_strangers_move_no_cursor() -> None:
    [line] = lines_of(Table(name="", title="t", columns=TABLE.columns[:1], rows=[{"campaign": "a\x1b[2Jb"}]))[2:]
    assert "\x1b" not in line
