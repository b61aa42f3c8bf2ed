"""`sluice events import`: a file of events, once, whatever happens to the import."""

import json
from pathlib import Path
from typing import Any

import pytest


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return path


def event(number: int, **more: Any) -> dict[str, Any]:
    at = f"2026-03-01T12:{number // 60 % 60:02}:{number % 60:02}Z"
    return {"event_id": str(number), "name": "visit", "external_id": f"c{number % 7}", "occurred_at": at, **more}


@pytest.mark.covers("S0.4")
def test_ev_1_the_same_file_again_changes_nothing_and_a_refusal_names_its_line(sluice, queue, tmp_path):
    file = write(tmp_path / "visits.jsonl", [event(1), event(2, occurred_at=None), "{\n", event(3), event(1)])
    result = sluice("events", "import", str(file))
    assert result.code == 65 and "5 lines: 2 events taken, 1 were here before" in result.out
    assert "line 2, occurred_at: expected" in result.err and "line 3: expected one JSON object" in result.err
    again = sluice("events", "import", str(file))
    assert again.code == 0 and "0 lines: 0 events" in again.out and "went on behind line 5" in again.out
    assert queue("SELECT count(*), count(DISTINCT event_id) FROM person_event") == [(2, 2)]


def test_an_import_that_broke_off_goes_on_and_counts_nothing_twice(sluice, queue, tmp_path):
    file = write(tmp_path / "visits.jsonl", [event(number) for number in range(2500)])
    assert "2,500 events taken" in sluice("events", "import", str(file), "--source", "site").out
    # As after a crash between the second batch and the word of it.
    line = len((json.dumps(event(0)) + "\n").encode())
    octets = sum(len((json.dumps(event(number)) + "\n").encode()) for number in range(1000))
    assert line < octets
    queue(f"UPDATE event_file SET lines = 1000, octets = {octets}")
    result = sluice("events", "import", str(file), "--source", "site")
    assert "1,500 lines: 0 events taken, 1,500 were here before (0 said something else)" in result.out
    assert queue("SELECT sum(count) FROM event_total WHERE name = 'visit'") == [(2500,)]


def test_ev_3_a_file_of_the_past_is_marked_as_such(sluice, queue, tmp_path):
    file = write(tmp_path / "old.jsonl", [event(1)])
    assert sluice("events", "import", str(file), "--historical").code == 0
    assert queue("SELECT DISTINCT flags & 2 FROM person_event WHERE source = 'old.jsonl'") == [(2,)]
