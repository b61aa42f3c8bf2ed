"""A figure: one number with its spread, what it should be at least and what we aim at; and a result, which holds them.

    result   {"bench", "command", "date", "machine", "versions", "load", "quick", "figures": [...], "details": {...}}
    figure   {"name", "unit", "value", "min", "max", "rounds", "better": "higher" | "lower", "floor", "aim", "against"}

`value` is the median of the rounds. `details` is what the script measured, unrounded and unjudged.
Nothing here fails because a figure is bad: a slow machine is no fault.
"""

import datetime
import json
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine

RESULTS = Path(__file__).parent / "results"
HIGHER = "higher"
LOWER = "lower"


def spread(values: Iterable[float]) -> dict[str, float | int]:
    """Median, extremes and number of rounds."""
    taken = sorted(values)
    if not taken:
        raise ValueError("no round was measured")
    return {"value": statistics.median(taken), "min": taken[0], "max": taken[-1], "rounds": len(taken)}


def figure(
    name: str,
    values: Iterable[float],
    unit: str,
    *,
    better: str = HIGHER,
    floor: float | None = None,
    aim: float | None = None,
    against: str = "",
) -> dict[str, Any]:
    """One figure out of its rounds.

    floor, aim  None where nothing is asked
    against     what a ratio is taken against
    """
    return {
        "name": name,
        "unit": unit,
        **spread(values),
        "better": better,
        "floor": floor,
        "aim": aim,
        "against": against,
    }


def interleaved(rounds: int, runs: Sequence[tuple[str, Callable[[], Any]]]) -> dict[str, list[Any]]:
    """Call each run once a round, in turn: a busy minute falls on all of them. -> what each returned, by name."""
    taken: dict[str, list[Any]] = {name: [] for name, _ in runs}
    for _ in range(rounds):
        for name, run in runs:
            taken[name].append(run())
    return taken


def result(
    bench: str, figures: list[dict[str, Any]], details: dict[str, Any], *, quick: bool, load: float | None
) -> dict[str, Any]:
    """A whole result: figures, and where, when and with what they were taken.

    load    the machine's before the first round; the one behind the last is taken here
    """
    return {
        "bench": bench,
        "command": shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": machine.facts(),
        "versions": machine.versions(),
        "load": {"before": load, "after": machine.load()},
        "figures": figures,
        "details": details,
    }


def verdict(one: dict[str, Any]) -> str:
    """Say where a figure stands: `aim`, `floor`, or by how much it is below."""
    value, floor, aim = one["value"], one["floor"], one["aim"]
    if floor is None and aim is None:
        return ""
    is_lower = one["better"] == LOWER

    def holds(limit: float) -> bool:
        return bool(value <= limit if is_lower else value >= limit)

    if aim is not None and holds(aim):
        return "aim reached"
    if floor is not None and holds(floor):
        return "floor reached"
    limit = floor if floor is not None else aim
    share = value / limit if limit else 0.0
    return f"{share:.2f} of the {'floor' if floor is not None else 'aim'}"


def shown(value: float | None) -> str:
    """A number as a person reads it."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def table(figures: Iterable[dict[str, Any]]) -> str:
    """The figures as lines for a terminal, aim and floor beside each."""
    rows = [("figure", "value", "min … max", "at least", "aim", "unit", "")]
    for one in figures:
        between = f"{shown(one['min'])} … {shown(one['max'])}" if one["rounds"] > 1 else "one round"
        rows.append(
            (
                one["name"],
                shown(one["value"]),
                between,
                shown(one["floor"]),
                shown(one["aim"]),
                one["unit"],
                verdict(one),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [row[column].rjust(widths[column]) for column in range(1, 5)]
        lines.append("  ".join([*cells, row[5].ljust(widths[5]), row[6]]).rstrip())
    return "\n".join(lines)


def write(folder: Path, one: dict[str, Any]) -> Path:
    """Keep a result as the one to compare with; -> where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{one['bench']}.json"
    path.write_text(json.dumps(one, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
