"""`sluice consent`: from a file, by hand and by the feed into the ledger, and the proof of it out again."""

import pytest

GRANT = ("--brand", "acme", "--wording", "Texts of Acme", "--method", "box ticked")


@pytest.mark.covers("S4.32")
def test_consent_is_recorded_taken_back_shown_and_proven(sluice, queue):
    sluice("migrate")
    result = sluice("consent", "grant", "+447700900123", *GRANT)
    assert result.code == 0 and "+447700900123 acme: promotional granted" in result.out
    assert sluice("stop", "+447700900123").code == 0
    assert "acme: promotional revoked" in sluice("consent", "show", "+447700900123").out
    again = sluice("consent", "grant", "+447700900123", *GRANT)
    assert "still stopped" in again.err
    document = sluice("consent", "proof", "+447700900123").json
    assert document["is_whole"] and [row["action"] for row in document["rows"]] == ["grant", "revoke", "grant"]
    assert "The chain is whole" in sluice("consent", "proof", "--html", "+447700900123").out
    assert "3 rows, every chain whole" in sluice("consent", "verify").out
    queue("UPDATE consent SET wording = 'other' WHERE id = 1 RETURNING id")
    broken = sluice("consent", "verify")
    assert broken.code == 65 and "+447700900123: row 1 was changed" in broken.out


def test_cn_7_a_programme_is_shown_as_its_brand_stands_until_something_is_said_of_it(sluice, settings, tmp_path):
    settings()
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write('[brands.acme]\nprogrammes = ["club", "news"]\n')
    sluice("migrate")
    given = sluice("consent", "grant", "+447700900123", *GRANT)
    assert [line.partition(", since")[0] for line in given.out.splitlines()] == [
        f"+447700900123 {name}: promotional granted" for name in ("acme", "acme/club", "acme/news")
    ]
    assert sluice("consent", "revoke", "+447700900123", "--brand", "acme/club").code == 0
    # A grant of the brand takes nothing back that was said of the programme.
    assert sluice("consent", "grant", "+447700900123", *GRANT).code == 0
    shown = sluice("consent", "show", "+447700900123").out
    assert "acme/club: promotional revoked" in shown and "acme/news: promotional granted" in shown
    assert "every chain whole" in sluice("consent", "verify").out


def test_a_revoke_of_everything_is_in_the_feed_and_one_of_a_brand_is_not(sluice, queue):
    sluice("migrate")
    assert sluice("consent", "revoke", "+447700900123", "--reason", "by letter").code == 0
    assert sluice("consent", "revoke", "+447700900124", "--brand", "acme").code == 0
    assert queue("SELECT number, source FROM stop_feed") == [(447700900123, "agent")]
    assert queue("SELECT number, brand, promotional FROM consent_state ORDER BY 1") == [
        (447700900123, "*", 3), (447700900124, "acme", 3)
    ]  # fmt: skip


def test_a_file_is_taken_opt_outs_first_and_a_dry_run_writes_nothing(sluice, queue, tmp_path):
    sluice("migrate")
    file = tmp_path / "c.csv"
    file.write_text(
        "number,action,brand,at,wording,method\n"
        "+447700900001,grant,acme,2026-01-01T00:00:00Z,Texts of Acme,box ticked\n"
        "+447700900002,revoke,,,,\n+447700900003,grant,acme,,Texts,box\n"
    )
    dry = sluice("consent", "import", file, "--dry-run")
    assert dry.out == "would take 1 opt-outs and 1 grants, 0 said twice, 1 refused\n"
    assert "line 4, at: expected when consent was given" in dry.err and queue("SELECT count(*) FROM consent") == [(0,)]
    taken = sluice("consent", "import", file)
    assert taken.out.startswith("took 1 opt-outs and 1 grants") and (dry.code, taken.code) == (65, 65)
    assert queue("SELECT number, promotional FROM consent_state ORDER BY 1") == [(447700900001, 2), (447700900002, 3)]
    assert queue("SELECT number FROM stop_feed") == [(447700900002,)]


def test_a_grant_without_words_or_of_everybody_is_refused(here, settings):
    assert here("consent", "grant", "+447700900123", "--brand", "*", "--wording", "w", "--method", "m").code == 65
    assert here("consent", "grant", "+447700900123", *GRANT, "--at", "yesterday").code == 2


def test_cn_4_people_are_asked_once_and_a_grant_of_a_german_file_is_a_reason_to_ask(sluice, queue, tmp_path):
    told = sluice("consent", "ask", "+447700900123", "--brand", "acme", "--text", "Acme: YES?", "--carrier", "north")
    assert (told.code, told.out.split()[-2:]) == (0, ["1", "asked"])
    again = sluice("consent", "ask", "+447700900123", "--brand", "acme", "--text", "Acme: YES?", "--carrier", "north")
    assert again.out.splitlines()[-1] == "0 asked" and "was asked lately" in again.out
    assert "pending" in sluice("consent", "show", "+447700900123").out
    which = sluice("consent", "ask", "+447700900124", "--brand", "acme", "--text", "Acme: YES?")
    assert which.code == 65 and "--carrier: expected one of north" in which.err
    file = tmp_path / "people.csv"
    file.write_text(
        "number,action,at,wording,method\n"
        "+4915112345678,grant,2026-01-01T12:00:00+01:00,Texte von Acme,box ticked\n"
        "+4915112345679,grant,2026-01-01T12:00:00+01:00,Texte von Acme,double opt-in by e-mail and SMS\n"
    )
    plain = sluice("consent", "import", str(file), "--brand", "acme", "--dry-run")
    assert "1 grants" in plain.out and "line 2, method: expected a double opt-in, as DE asks for" in plain.err
    asked = sluice("consent", "import", str(file), "--brand", "acme", "--ask", "Acme: JA?", "--dry-run")
    assert "1 grants" in asked.out and "ask 1" in asked.out and "expected" not in asked.err
