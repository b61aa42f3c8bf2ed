"""`sluice packs` shows every value with its source."""

import json

from click.testing import CliRunner, Result

from gateway.__main__ import main
from gateway.campaign.law import packs


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["packs", *words])


def test_pack_is_printed_with_source_and_confidence_of_every_value() -> None:
    found = run("kr")
    assert found.exit_code == 0
    assert "(광고)" in found.output and "mon-sun 08:00-21:00" in found.output
    assert "B  Network Act art. 50" in found.output and "D  our own default" in found.output


def test_region_has_what_differs_and_what_its_country_says() -> None:
    found = run("US", "--region", "fl", "--json")
    document = json.loads(found.output)
    assert document["values"]["legal_max"] == [{"n": 3, "per": "rolling_24h"}]
    assert (
        document["origins"]["legal_max"]["conf"] == "C"
        and document["origins"]["promo_window"]["pack"] == "US.states.FL"
    )


def test_every_country_is_listed() -> None:
    assert len(run().output.splitlines()) == len(packs())
    assert [json.loads(line)["country"] for line in run("--json").output.splitlines()] == sorted(packs())


def test_country_or_region_without_a_pack_is_refused_with_those_that_have_one() -> None:
    assert (run("ZZ").exit_code, run("GB", "--region", "LND").exit_code) == (65, 65)
    assert "found 'ZZ'" in run("ZZ").output and "(none), found 'LND'" in run("GB", "--region", "LND").output
