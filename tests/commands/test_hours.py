"""`sluice hours` says whose clock, which windows, open or shut, and what comes next."""

import json

import pytest
from click.testing import CliRunner, Result

from gateway.__main__ import main


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["hours", *words])


def test_open_window_is_told_with_its_end_its_next_opening_and_the_rules() -> None:
    found = run("+447700900123", "--at", "2026-11-23T10:00")
    assert found.exit_code == 0
    assert "Europe/London (GB), where it is Mon 10:00" in found.output and "QH-3 5" in found.output
    assert "open  law of GB: mon-sun 09:00-20:00 by the clock of Europe/London" in found.output
    assert "until Mon 2026-11-23 20:00 UTC" in found.output and "then again Tue 2026-11-24 09:00 UTC" in found.output
    assert "tzdata 20" in found.output


def test_shut_window_is_told_with_its_opening_and_exit_code_1() -> None:
    found = run("+33612345678", "--at", "2026-12-25T12:00")
    assert found.exit_code == 1
    assert "a holiday" in found.output and "opens Mon 2026-12-28 07:00 UTC" in found.output


def test_json_holds_the_same() -> None:
    found = run("12015550123", "--json", "--at", "2026-11-23 12:00")
    document = json.loads(found.output)
    assert document["places"] == [{"zone": "America/New_York", "country": "US", "region": "NJ"}]
    assert document["source"] == "number" and not document["is_open"]
    assert document["opens_at"] == "2026-11-23T14:00:00+00:00" and document["closes_at"] is None


def test_stated_zone_address_and_one_more_window_narrow_it() -> None:
    found = run("+12015550123", "--zone", "America/Denver", "--window", '{mon-fri = ["12:00-13:00"]}', "--json",
                "--country", "us", "--region", "co", "--at", "2026-11-23T19:00")  # fmt: skip
    document = json.loads(found.output)
    assert document["places"] == [{"zone": "America/Denver", "country": "US", "region": "CO"}]
    assert document["is_open"] and document["closes_at"] == "2026-11-23T20:00:00+00:00"


def test_windows_that_leave_nothing_are_told() -> None:
    found = run("+447700900123", "--window", "21:00-23:00", "--at", "2026-11-23T10:00")
    assert found.exit_code == 1 and "can never leave: law of GB and --window 21:00-23:00" in found.output
    assert "opens not within five weeks" in found.output


def test_guess_and_places_of_a_strict_country_are_told() -> None:
    found = run("+12015550123", "--strict", "--at", "2026-11-24T15:00")
    assert "QH-3 6" in found.output and "more" in found.output and "zone_guess" not in found.output
    # A satellite's number is of no country.
    assert "zone_guess" in run("+881612345678", "--at", "2026-11-24T15:00").output


def test_code_of_a_login_has_no_window_and_a_night_consent_opens_the_night() -> None:
    assert "no window for this class (QH-10)" in run("+33612345678", "--class", "otp").output
    korea = ("+821012345678", "--at", "2026-11-23T14:00")
    assert (run(*korea).exit_code, run(*korea, "--night-consent").exit_code) == (1, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--zone", "Mars/Phobos"), "--zone: expected a name"),
        (("--country", "ZZ"), "--country: expected two letters"),
        (("--window", "{mon"), "--window: expected words of TOML"),
        (("--window", "{mon = ['09:00-09:00']}"), "--window.mon: expected a span"),
    ],
)
def test_word_that_cannot_be_read_is_refused_by_its_name(words: tuple[str, ...], said: str) -> None:
    found = run("+447700900123", *words)
    assert found.exit_code == 65 and said in found.output


def test_hours_of_a_brand_have_its_windows_by_their_clocks(here, settings, tmp_path):
    settings()
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write('[brands.acme]\nzone = "Asia/Tokyo"\nwindows = {phones = "10:00-18:00"}\nown_clock = ["phones"]\n')
    found = here("hours", "+447911123400", "--brand", "acme", "--at", "2026-03-02T12:00", "--json")
    phones = next(one for one in found.json["windows"] if one["layer"] == "acme.phones")
    assert (found.code, phones["zone"], phones["is_open"]) == (1, "Asia/Tokyo", False)
    assert here("hours", "+447911123400", "--brand", "acne").code == 78


def test_brand_that_asks_for_it_has_the_hours_that_the_law_of_france_allows(here, settings, tmp_path):
    evening = ("hours", "+33612345678", "--brand", "acme", "--at", "2026-06-15T19:30", "--json")
    for said, code in (("", 1), ("to_hard_limit = true\n", 0)):
        settings()
        with (tmp_path / "sluice.toml").open("a") as file:
            file.write(f"[brands.acme]\n{said}")
        assert here(*evening).code == code
