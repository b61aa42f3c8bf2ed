"""Two results side by side: how much faster or slower, and whether that is more than noise.

    python -m benchmarks.compare OLD.json NEW.json

`change` is new / old of the medians. It is called noise when either median lies within the other's rounds: then the
difference is no larger than what one run differs from itself. One round has no spread, so nothing is said of it.
Results of two machines are shown, and marked: only their ratios mean something then.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import figures


def lies_within(value: float, one: dict[str, Any]) -> bool:
    return bool(one["min"] <= value <= one["max"])


def judged(old: dict[str, Any], new: dict[str, Any]) -> tuple[float | None, str]:
    """Compare two figures of one name; -> (new / old, what to think of it)."""
    change = new["value"] / old["value"] if old["value"] else None
    if min(old["rounds"], new["rounds"]) < 2:
        return change, "one round: no spread to judge by"
    if lies_within(new["value"], old) or lies_within(old["value"], new):
        return change, "noise"
    is_better = (new["value"] > old["value"]) == (new["better"] == figures.HIGHER)
    return change, "better" if is_better else "worse"


def width(one: dict[str, Any]) -> str:
    """The spread of a figure in percent of its median."""
    if one["rounds"] < 2 or not one["value"]:
        return "-"
    return f"{(one['max'] - one['min']) / one['value']:.0%}"


def lines(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The comparison, one figure a line, for a terminal."""
    by_name = {one["name"]: one for one in old["figures"]}
    shown = [f"{new['bench']}: against {old['versions'].get('sluice', '?')} of {old['date']}"]
    if old["machine"] != new["machine"]:
        shown.append(f"  another machine: {old['machine'].get('cpu')}, {old['machine'].get('cores')} cores")
    if old["quick"] or new["quick"]:
        shown.append("  one of them is a quick run: fewer messages, fewer rounds")
    longest = max((len(one["name"]) for one in new["figures"]), default=0)
    for one in new["figures"]:
        before = by_name.pop(one["name"], None)
        name = one["name"].ljust(longest)
        if before is None:
            shown.append(f"  {name}  new")
            continue
        change, verdict = judged(before, one)
        ratio = "-" if change is None else f"x {change:.3f}"
        values = f"{figures.shown(before['value'])} -> {figures.shown(one['value'])} {one['unit']}"
        shown.append(f"  {name}  {ratio:>8}  {verdict:<8}  spread {width(before)}, {width(one)}  {values}")
    shown += [f"  {name}  gone" for name in by_name]
    return shown


def read(path: Path) -> dict[str, Any]:
    """A stored result. ValueError when the file holds something else."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or not isinstance(found.get("figures"), list):
        raise ValueError(f"{path}: expected a result with figures")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare two results.")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    print("\n".join(lines(read(options.old), read(options.new))))


if __name__ == "__main__":
    main()
