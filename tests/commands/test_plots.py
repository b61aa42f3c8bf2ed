"""Charts: well-formed, labelled, in their frame, told apart without colours."""

import re
from xml.etree import ElementTree

import pytest

from gateway.commands import _plots
from gateway.commands._plots import HEIGHT, WIDTH, Line

SVG = "{http://www.w3.org/2000/svg}"
DAYS = [f"2026-03-{day:02}" for day in range(1, 29)]
CHARTS = {
    "funnel": _plots.funnel("Campaign <a&b>", [("sent", 1000), ("delivered", 900), ("clicked", 0)]),
    "series": _plots.series(
        "By day",
        DAYS,
        [Line(name="sent", values=list(range(28))), Line(name="clicked", values=[None, 3] * 14)],
        "people",
        25,
    ),
    "heat_map": _plots.heat_map(
        "Cohorts", [("2026-01", [1.0, 0.4, None]), ("2026-02", [1.0, None, None])], ["0", "1", "2"], "m"
    ),
    "steps": _plots.steps("Lives", [(0, 1.0), (30, 0.7), (60, 0.5)], 90, 60),
    "bars": _plots.bars(
        "Hours", [str(hour) for hour in range(24)], [float(hour) for hour in range(24)], "events", "hour"
    ),
}
EMPTY = {
    "funnel": _plots.funnel("t", []),
    "series": _plots.series("t", [], [], "u"),
    "heat_map": _plots.heat_map("t", [], [], "m"),
    "steps": _plots.steps("t", [], 0, None),
    "bars": _plots.bars("t", [], [], "u", "b"),
    "flat": _plots.series("t", ["a"], [Line(name="x", values=[0.0])], "u", 0),
}


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", [*CHARTS, *(f"empty {one}" for one in EMPTY)])
def test_a_chart_is_well_formed_and_stays_in_its_frame(name: str) -> None:
    svg = EMPTY[name.removeprefix("empty ")] if name.startswith("empty ") else CHARTS[name]
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg" and root.find(f"{SVG}title") is not None
    for one in root.iter():
        for key, most in (("x", WIDTH), ("y", HEIGHT), ("cx", WIDTH), ("cy", HEIGHT)):
            if key in one.attrib:
                assert -1 <= float(one.attrib[key]) <= most + 1, (one.tag, one.attrib)
        for point in re.findall(r"([\d.-]+),([\d.-]+)", one.attrib.get("points", "")):
            assert 0 <= float(point[0]) <= WIDTH and 0 <= float(point[1]) <= HEIGHT
    assert "nan" not in svg and "<script" not in svg


def test_axes_steps_and_cells_say_what_they_are() -> None:
    assert {"sent", "delivered", "1,000", "900 · 90.0% of all", "Campaign <a&b>"} <= set(texts(CHARTS["funnel"]))
    assert {"people", "settling", "sent", "clicked", "2026-03-01", "0"} <= set(texts(CHARTS["series"]))
    assert {"2026-01", "100 %", "40 %", "m"} <= set(texts(CHARTS["heat_map"]))
    assert {"half are gone after 60 days", "days since the first order", "50 %"} <= set(texts(CHARTS["steps"]))
    assert {"events", "hour", "23"} <= set(texts(CHARTS["bars"]))


def test_what_settles_is_hatched_and_nothing_else_is_RP_2() -> None:
    assert 'fill="url(#hatch)"' in CHARTS["series"]
    assert 'fill="url(#hatch)"' not in _plots.series("t", DAYS, [Line(name="x", values=[1.0] * 28)], "u")


def test_lines_differ_in_their_form_too() -> None:
    lines = [Line(name=str(at), values=[float(at)] * 3) for at in range(6)]
    svg = _plots.series("t", ["a", "b", "c"], lines, "u")
    forms = [one.attrib.get("stroke-dasharray", "") for one in ElementTree.fromstring(svg).iter(f"{SVG}polyline")]
    assert len(set(forms)) == 6 and len(set(_plots.COLOURS)) == 6


def test_labels_of_many_days_are_thinned_out() -> None:
    days = [f"d{at}" for at in range(400)]
    svg = _plots.series("t", days, [Line(name="x", values=[1.0] * 400)], "u")
    assert sum(text.startswith("d") for text in texts(svg)) <= _plots.MOST_LABELS


def test_text_on_a_cell_can_be_read() -> None:
    """Contrast of at least 3 to 1 between a cell and what stands in it, however dark it is (WCAG 1.4.3, large)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for percent in range(101):
        svg = _plots.heat_map("t", [("r", [1.0, percent / 100, 1.0])], ["0", "1", "2"], "m")
        cells = [one.attrib["fill"] for one in ElementTree.fromstring(svg).iter(f"{SVG}rect")][-3:]
        inks = [one.attrib["fill"] for one in ElementTree.fromstring(svg).iter(f"{SVG}text")][-3:]
        low, high = sorted((luminance(cells[1]), luminance(inks[1])))
        assert (high + 0.05) / (low + 0.05) >= 3, (percent, cells[1], inks[1])
