"""Recipes of inactivity in examples/audiences: what is told of people in, who is meant out (S0.6 to S0.10, SG-3)."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.__main__ import main

RECIPES = Path(__file__).parents[2] / "examples" / "audiences"
NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NUMBERS = {name: 4915112345000 + at for at, name in enumerate(("ada", "bob", "cid", "dan"))}


def run(dsn: str, *arguments: str) -> str:
    result = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def tell(dsn: str, folder: Path, *told: tuple[str, str, timedelta]) -> None:
    """Import events: who, what, how long ago."""
    lines = []
    for at, (who, name, ago) in enumerate(told):
        line: dict[str, object] = {
            "event_id": f"{name}{at}",
            "name": name,
            "occurred_at": (NOW - ago).isoformat(),
            "external_id": who,
        }
        line["phone"] = f"+{NUMBERS[who]}"
        if name == "order_placed":
            line["properties"] = {"order_id": str(at), "total": 10, "currency": "EUR"}
        if name == "clicked":
            line["properties"] = {"verdict": "human", "campaign": "spring"}
        lines.append(json.dumps(line))
    file = folder / "events.jsonl"
    file.write_text("\n".join(lines) + "\n")
    run(dsn, "events", "import", str(file), "--source", "shop")


def members(dsn: str, recipe: str) -> set[str]:
    output = run(dsn, "audience", "members", f"@{RECIPES / recipe}", "--allow-unknown", "--at", NOW.isoformat())
    numbers = {line.split("\t")[1] for line in output.splitlines()}
    return {name for name, number in NUMBERS.items() if f"+{number}" in numbers}


@pytest.mark.parametrize(
    ("recipe", "event", "days"),
    [("last-purchase.txt", "order_placed", 60), ("last-visit.txt", "visit", 90), ("last-visit.txt", "login", 90)],
)
def test_s0_6_and_7_who_did_it_just_so_long_ago_is_in_and_who_never_did_is_not(
    dsn: str, tmp_path: Path, recipe: str, event: str, days: int
) -> None:
    border = timedelta(days=days)
    tell(
        dsn, tmp_path, ("ada", event, border), ("bob", event, border - SECOND), ("cid", "seen", border),
        ("dan", event, border + SECOND), ("dan", event, 400 * border / days),
    )  # fmt: skip
    assert members(dsn, recipe) == {"ada", "dan"}


def test_s0_8_receipts_of_a_card_say_who_has_not_been_in_the_shop(dsn: str, tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text(
        "phone,card,external_id\n" + "".join(f"+{number},k-{name},{name}\n" for name, number in NUMBERS.items())
    )
    run(dsn, "import", str(people))
    times = {"ada": timedelta(days=60), "bob": timedelta(days=60) - SECOND, "cid": timedelta(days=61)}
    file = tmp_path / "till.csv"
    rows = [f"k-{who},7,{at},{(NOW - ago).isoformat()},9.90\n" for at, (who, ago) in enumerate(times.items())]
    file.write_text("card,till,receipt,at,total\n" + "".join(rows))
    run(dsn, "import", str(file), "--receipts", "--set", "currency=EUR", "--decimal", ".")
    # What cid bought on the web since is no visit to the shop.
    tell(dsn, tmp_path, ("cid", "order_placed", timedelta(days=1)))
    assert members(dsn, "loyalty-card.txt") == {"ada", "cid"}
    assert members(dsn, "last-purchase.txt") == {"ada"}


def test_s0_9_who_gets_mails_and_opens_none_is_silent_and_who_gets_none_is_not_meant(dsn: str, tmp_path: Path) -> None:
    day = timedelta(days=1)
    tell(
        dsn, tmp_path, ("ada", "email_sent", day), ("ada", "email_opened", 90 * day),
        ("bob", "email_sent", day), ("bob", "email_opened", 90 * day - SECOND),
        ("cid", "email_sent", day), ("cid", "email_clicked", 2 * day), ("dan", "email_sent", 90 * day),
    )  # fmt: skip
    assert members(dsn, "email-silence.txt") == {"ada"}


def test_s0_10_any_sign_within_the_time_keeps_somebody_out_of_the_silent(dsn: str, tmp_path: Path) -> None:
    """The truth table: who bought long ago and gave each sign, or none, within 90 days."""
    signs = ("order_placed", "visit", "login", "email_opened", "email_clicked", "clicked", "replied")
    for chosen in itertools.chain([()], ((one,) for one in signs), [signs[:2], signs]):
        NUMBERS["-".join(("row", *chosen))] = 4915112346000 + len(NUMBERS)
    rows = [name for name in NUMBERS if name.startswith("row")]
    try:
        told = [("ada", "visit", timedelta(days=200))]
        for name in rows:
            told.append((name, "order_placed", timedelta(days=90)))
            told += [(name, sign, timedelta(days=90)) for sign in signs]
            told += [(name, sign, timedelta(days=90) - SECOND) for sign in name.split("-")[1:]]
        tell(dsn, tmp_path, *told)
        assert members(dsn, "silent.txt") == {"row"}
    finally:
        for name in rows:
            del NUMBERS[name]


def test_every_recipe_is_told_of_in_the_documentation() -> None:
    docs = (RECIPES.parents[1] / "docs" / "audiences.md").read_text(encoding="utf-8")
    names = sorted(file.name for file in RECIPES.iterdir())
    assert len(names) == 5 and [name for name in names if f"`{name}`" not in docs] == []
