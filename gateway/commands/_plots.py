"""Charts as SVG, written by hand: a funnel, a series of days, a heat map of cohorts, a survival curve.

Four forms are all that is needed, so they are drawn here, in 800 by 450 units, with text as text; a library for plots
would bring 60 MB. Colours are those of Okabe and Ito, which people who see colours otherwise can tell apart; each also
differs in its form, and each value that matters stands as a figure. What has not settled yet is hatched (RP-2).
Not here: what is drawn (report.py).
"""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from msgspec import Struct

WIDTH, HEIGHT = 800, 450
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 56, 62
INK, FAINT, PAPER = "#222222", "#d9d9d9", "#ffffff"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 2", "1 4")
MOST_LABELS = 12


class Line(Struct, frozen=True, kw_only=True):
    """One line of a series: its name, and a value at each place; None: there is none."""

    name: str
    values: Sequence[float | None]


def funnel(title: str, steps: Sequence[tuple[str, float]]) -> str:
    """Bars from the first step down, each with its count and its share of the first."""
    top = max([value for _, value in steps], default=0) or 1
    room = (HEIGHT - TOP - 20) / max(1, len(steps))
    left = 190
    parts = []
    for at, (name, value) in enumerate(steps):
        y = TOP + at * room
        width = (WIDTH - left - 190) * value / top
        parts.append(_rect(left, y + room * 0.15, max(width, 1), room * 0.7, COLOURS[0]))
        parts.append(_text(left - 10, y + room / 2 + 5, name, "end"))
        shares = f"{value:,.0f}"
        if at:
            shares += f" · {value / top:.1%} of all"
        parts.append(_text(left + max(width, 1) + 8, y + room / 2 + 5, shares, size=12))
    return _svg(title, parts)


def series(
    title: str, places: Sequence[str], lines: Sequence[Line], unit: str, settling_from: int | None = None
) -> str:
    """Lines over places in time; from `settling_from` on they may still change, and are hatched."""
    top = _nice(max([value for line in lines for value in line.values if value is not None], default=0.0) or 1.0)
    parts = _axes(top, unit)
    step = _width() / max(1, len(places) - 1)
    if settling_from is not None and settling_from < len(places):
        x = LEFT + max(0.0, (settling_from - 0.5) * step)
        parts.append(
            f'<rect x="{x:.1f}" y="{TOP}" width="{WIDTH - RIGHT - x:.1f}" height="{_height()}" fill="url(#hatch)"/>'
        )
        parts.append(_text(WIDTH - RIGHT - 4, TOP + 14, "settling", "end", size=11))
    parts += _labels(places, step)
    for at, line in enumerate(lines):
        points = [
            (LEFT + place * step, TOP + _height() * (1 - value / top))
            for place, value in enumerate(line.values)
            if value is not None
        ]
        colour = COLOURS[at % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = f' stroke-dasharray="{DASHES[at % len(DASHES)]}"' if DASHES[at % len(DASHES)] else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        if len(points) <= 60:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points]
    parts += _legend([line.name for line in lines])
    return _svg(title, parts)


def heat_map(
    title: str,
    rows: Sequence[tuple[str, Sequence[float | None]]],
    columns: Sequence[str],
    corner: str,
    said: Sequence[Sequence[str]] = (),
) -> str:
    """Shares as cells, the darker the more, with the figure in each, or what is said in its place."""
    left, top = 130, TOP + 24
    cell_width = min(60.0, (WIDTH - left - 16) / max(1, len(columns)))
    cell_height = min(30.0, (HEIGHT - top - 16) / max(1, len(rows)))
    most = (
        max([value for _, values in rows for at, value in enumerate(values) if value is not None and at], default=0)
        or 1
    )
    parts = [_text(left - 8, top - 8, corner, "end", size=11)]
    parts += [
        _text(left + (at + 0.5) * cell_width, top - 8, name, "middle", size=11) for at, name in enumerate(columns)
    ]
    for row, (name, values) in enumerate(rows):
        y = top + row * cell_height
        parts.append(_text(left - 8, y + cell_height / 2 + 4, name, "end", size=min(12, cell_height * 0.6)))
        for at, value in enumerate(values):
            if value is None:
                continue
            # The first column is everybody: a scale of its own would leave the others pale.
            dark = 1.0 if at == 0 else min(1.0, value / most)
            parts.append(_rect(left + at * cell_width, y, cell_width - 1, cell_height - 1, _blue(dark)))
            if cell_height >= 10 and cell_width >= 24:
                ink = PAPER if dark > 0.55 else INK
                size = min(11.0, cell_height * 0.5, cell_width * 0.3)
                parts.append(
                    _text(
                        left + (at + 0.5) * cell_width,
                        y + cell_height / 2 + size * 0.35,
                        (said[row][at] if said else "") or f"{100 * value:.0f} %",
                        "middle",
                        ink,
                        size,
                    )
                )
    return _svg(title, parts)


def steps(title: str, points: Sequence[tuple[int, float]], upto: int, median: int | None) -> str:
    """A share that goes down in steps over days, with its median where it has one."""
    far = max(upto, points[-1][0] if points else 0, 1)
    parts = _axes(1.0, "share that still buys", is_share=True)

    def place(days: float, left: float) -> tuple[float, float]:
        return LEFT + _width() * days / far, TOP + _height() * (1 - left)

    path = []
    height = 1.0
    for days, left in points:
        path += [place(days, height), place(days, left)]
        height = left
    path.append(place(far, height))
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
    parts.append(f'<polyline points="{drawn}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>')
    count = 6
    for at in range(count + 1):
        days = round(far * at / count)
        parts.append(_text(place(days, 0)[0], HEIGHT - BOTTOM + 18, f"{days:,}", "middle", size=11))
    parts.append(_text(LEFT + _width() / 2, HEIGHT - 14, "days since the first order", "middle", size=12))
    if median is not None:
        x, y = place(median, 0.5)
        dash = f'stroke="{COLOURS[1]}" stroke-dasharray="5 3"'
        parts.append(f'<path d="M{LEFT} {y:.1f}H{x:.1f}V{TOP + _height()}" fill="none" {dash}/>')
        parts.append(_text(x + 6, y - 6, f"half are gone after {median:,} days", size=12))
    return _svg(title, parts)


def bars(title: str, places: Sequence[str], values: Sequence[float], unit: str, beneath: str) -> str:
    """A bar a place, the highest with its figure."""
    top = _nice(max(values, default=0) or 1)
    parts = _axes(top, unit)
    step = _width() / max(1, len(places))
    highest = max(range(len(values)), key=lambda at: values[at]) if any(values) else None
    for at, value in enumerate(values):
        height = _height() * value / top
        colour = COLOURS[1] if at == highest else COLOURS[0]
        parts.append(_rect(LEFT + at * step + step * 0.1, TOP + _height() - height, step * 0.8, height, colour))
        parts.append(_text(LEFT + (at + 0.5) * step, HEIGHT - BOTTOM + 18, places[at], "middle", size=11))
        if at == highest:
            parts.append(
                _text(LEFT + (at + 0.5) * step, TOP + _height() - height - 5, f"{value:,.4g}", "middle", size=12)
            )
    parts.append(_text(LEFT + _width() / 2, HEIGHT - 14, beneath, "middle", size=12))
    return _svg(title, parts)


# -- pieces ------------------------------------------------------------------------------------------------------------


def _width() -> float:
    return WIDTH - LEFT - RIGHT


def _height() -> float:
    return HEIGHT - TOP - BOTTOM


def _nice(top: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(top))
    return next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= top * 0.999999)


def _axes(top: float, unit: str, is_share: bool = False) -> list[str]:
    parts = [_text(LEFT - 60, TOP - 14, unit, size=12)]
    for at in range(5):
        y = TOP + _height() * (1 - at / 4)
        value = top * at / 4
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{FAINT if at else INK}"/>')
        said = f"{100 * value:.0f} %" if is_share else f"{value:,.6g}"
        parts.append(_text(LEFT - 8, y + 4, said, "end", size=11))
    return parts


def _labels(places: Sequence[str], step: float) -> list[str]:
    every = max(1, math.ceil(len(places) / MOST_LABELS))
    parts = []
    for at in range(0, len(places), every):
        # One at the right edge ends there, and is whole.
        is_last = LEFT + at * step > WIDTH - RIGHT - 20
        anchor = "end" if is_last else "middle"
        x = WIDTH - 4 if is_last else LEFT + at * step
        parts.append(_text(x, HEIGHT - BOTTOM + 18, places[at], anchor, size=10))
    return parts


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    x = float(LEFT)
    for at, name in enumerate(names):
        dash = f' stroke-dasharray="{DASHES[at % len(DASHES)]}"' if DASHES[at % len(DASHES)] else ""
        y = HEIGHT - 18
        parts.append(f'<path d="M{x:.1f} {y}h26" stroke="{COLOURS[at % len(COLOURS)]}" stroke-width="2"{dash}/>')
        parts.append(_text(x + 32, y + 4, name, size=12))
        x += 56 + 7 * len(name)
    return parts


def _blue(dark: float) -> str:
    """From nearly white to a dark blue."""
    light, deep = (239, 246, 252), (8, 48, 107)
    return "#" + "".join(f"{round(a + (b - a) * dark):02x}" for a, b in zip(light, deep, strict=True))


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = INK, size: float = 13) -> str:
    said = escape("".join(char if char.isprintable() else "?" for char in text))
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size:.3g}">{said}</text>'


def _svg(title: str, parts: Sequence[str]) -> str:
    hatch = (
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<path d="M0 0V7" stroke="#999999" stroke-width="1.2" opacity="0.6"/></pattern></defs>'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'role="img" font-family="Helvetica, Arial, sans-serif">',
            f"<title>{escape(title)}</title>",
            hatch,
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
            _text(16, 26, title, size=17),
            *parts,
            "</svg>\n",
        ]
    )
