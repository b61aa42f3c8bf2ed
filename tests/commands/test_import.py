"""`sluice import`: files of people and receipts, whatever happens to the import; opt-outs before anything."""

import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest


def people_file(path: Path, rows: int) -> Path:
    lines = [f"c{at},+4915{112000000 + at},p{at}@example.com,{at % 500}" for at in range(rows)]
    path.write_text("external_id,phone,email,points\n" + "\n".join(lines) + "\n")
    return path


def test_im_1_a_file_is_looked_at_then_taken_in_once(sluice, queue, tmp_path):
    file = people_file(tmp_path / "people.csv", 1500)
    dry = sluice("import", str(file), "--map", "points=points:number", "--dry-run", "--json")
    assert dry.code == 0 and dry.json["report"]["taken"] == 1500 and dry.json["poured"] is None
    assert queue("SELECT count(*) FROM profile") == [(0,)] == queue("SELECT count(*) FROM import_file")
    result = sluice("import", str(file), "--map", "points=points:number")
    assert result.code == 0 and "1,500 told: 1,500 persons new" in result.out
    assert queue("SELECT count(*), sum((attributes->>'points')::int) FROM profile") == [(1500, 374250)]
    assert queue("SELECT count(*) FROM person_event") == [(0,)]
    assert "taken in before, wholly" in sluice("import", str(file), "--map", "points=points:number").err


def test_an_import_that_was_killed_is_completed_by_a_repeat(sluice, start, queue, eventually, tmp_path):
    file = people_file(tmp_path / "people.csv", 30_000)
    running = start("import", str(file))
    eventually("SELECT coalesce(max(line), 0) > 1000 FROM import_file")
    running.ends(signal.SIGKILL)
    assert queue("SELECT finished_at IS NULL FROM import_file") == [(True,)]
    result = sluice("import", str(file))
    assert result.code == 0 and "went on behind line" in result.out
    assert queue("SELECT count(*), count(DISTINCT number), count(DISTINCT external_id) FROM profile") == [(30_000,) * 3]
    assert queue("SELECT count(*) FROM identity") == [(60_000,)]


def test_where_too_much_would_be_refused_nothing_is_written(sluice, queue, tmp_path):
    (tmp_path / "people.csv").write_text("phone,n\n+4915112345671,1\n4.91512E+11,2\n")
    result = sluice("import", "people.csv")
    assert result.code == 65 and "nothing is written: 50% of the rows would be refused" in result.err
    assert "phone: scientific: 1" in result.err and "line 3" in result.err
    assert queue("SELECT count(*) FROM profile") == [(0,)]
    assert sluice("import", "people.csv", "--max-refused", "50").code == 65
    assert queue("SELECT count(*) FROM profile") == [(1,)]


def test_im_3_opt_outs_are_in_force_before_a_row_of_people_and_proven(sluice, queue, tmp_path):
    (tmp_path / "people.csv").write_text("phone,n\n+4915112345671,1\n+4915112345672,2\n")
    (tmp_path / "gone.csv").write_text("phone\n+4915112345671\n")
    result = sluice("import", "people.csv", "--optouts", "gone.csv", "--brand", "acme", "--json")
    assert result.code == 0 and result.json["report"]["suppressed"] == 1 and result.json["report"]["no_consent"] == 2
    assert queue("SELECT number, source FROM stop_feed") == [(4915112345671, "import")]
    assert queue("SELECT action, source FROM consent") == [("revoke", "import")]
    (tmp_path / "wrong.csv").write_text("phone\n+4915112345672\nnobody\n")
    (tmp_path / "more.csv").write_text("phone\n+4915112345673\n")
    result = sluice("import", "more.csv", "--optouts", "wrong.csv")
    assert result.code == 65 and "1 rows of opt-outs have no number" in result.err
    assert queue("SELECT count(*) FROM profile") == [(2,)]
    assert queue("SELECT count(*) FROM stop_feed WHERE number = 4915112345672") == [(1,)]


def test_im_3_an_import_starts_nothing_unless_it_is_told_to(sluice, queue, tmp_path):
    people_file(tmp_path / "people.csv", 2)
    assert sluice("import", "people.csv").code == 0
    assert queue("SELECT DISTINCT is_quiet FROM person_changed") == [(True,)]
    assert sluice("import", "people.csv", "--fires", "--source", "crm", "--set", "vip=yes").code == 0
    assert queue("SELECT DISTINCT is_quiet FROM person_changed") == [(False,)]


def test_cn_2_consent_columns_make_those_marketable_who_said_when_and_to_what(sluice, queue, tmp_path):
    (tmp_path / "people.csv").write_text(
        "phone,when,text\n+4915112345671,2026-01-01T00:00:00Z,SMS of acme\n+4915112345672,,SMS of acme\n"
    )
    arguments = ("--map", "when=consent.at", "--map", "text=consent.wording", "--set", "consent.method=form")
    result = sluice("import", "people.csv", "--brand", "acme", *arguments)
    assert result.code == 0 and "1 agreed" in result.out and "no consent  1 of those taken" in result.err
    assert queue("SELECT number, brand, promotional FROM consent_state") == [(4915112345671, "acme", 2)]
    queue("UPDATE import_file SET finished_at = NULL, line = 0")
    assert sluice("import", "people.csv", "--brand", "acme", *arguments).code == 0
    assert queue("SELECT count(*) FROM consent") == [(1,)]


@pytest.mark.covers("S0.4", "S0.8")
def test_im_9_receipts_of_a_till_count_once_in_whatever_files_they_come(sluice, queue, tmp_path):
    head = "card,till,receipt,at,total\n"
    one, two = "77,1,100,2026-03-01 10:00,12.50\n", "77,1,101,2026-03-02 10:00,7.50\n"
    (tmp_path / "march.csv").write_text(head + one)
    (tmp_path / "spring.csv").write_text(head + one + two)
    more = ("--receipts", "--set", "currency=EUR", "--zone", "Europe/Berlin")
    assert sluice("import", "march.csv", *more).code == 0
    result = sluice("import", "spring.csv", *more)
    assert "1 events, 1 were here before" in result.out
    [(orders, spent, last)] = queue("SELECT orders, spent->>'EUR', last_order_at FROM profile")
    assert (orders, spent, last) == (2, "2000", datetime(2026, 3, 2, 9, tzinfo=UTC))
    assert queue("SELECT count(*), min(flags & 2) FROM person_event") == [(2, 2)]


def test_what_is_asked_wrongly_is_said_before_a_file_is_read(here, tmp_path):
    assert "expected FILE" in here("import").err
    assert "Europe/Berlin" in here("import", "x.csv", "--zone", "Mars").err
    assert "--as-of" in here("import", "x.csv", "--as-of", "noon").err
