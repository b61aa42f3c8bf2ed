"""`sluice send --over, --rate, --ramp, --budget`: as processes, to the last receipt; and what is refused before."""

import time

import pytest

TEXT = "hello"


def crowd(people, n):
    return people("phone\n" + "".join(f"+4479111{at:05}\n" for at in range(10_000, 10_000 + n)))


@pytest.mark.covers("S0.16")
def test_th_2_offer_that_ends_before_everybody_has_it_is_refused_with_the_shortfall(sluice, queue, settings, people):
    settings(north={"tps": 10})
    arguments = ("send", "--contacts", crowd(people, 300), "--text", TEXT, "--carrier", "north", "--detach")
    refused = sluice(*arguments, "--expires-after", "20")
    assert refused.code == 65
    assert "100 of 300 people would not be reached before it expires in 20 s" in refused.err
    assert "--accept-shortfall" in refused.err and queue("SELECT count(*) FROM run") == [(0,)]
    assert sluice(*arguments, "--expires-after", "60").code == 0
    # What waits before it counts.
    behind = sluice(*arguments, "--again", "--expires-after", "50")
    assert behind.code == 65 and "100 of 300 people" in behind.err and "300 messages waiting before it" in behind.err
    assert sluice(*arguments, "--again", "--expires-after", "50", "--accept-shortfall").code == 0


def test_th_1_run_with_a_rate_takes_its_time_to_the_last_receipt(sluice, queue, people):
    began = time.monotonic()
    result = sluice(
        "send", "--contacts", crowd(people, 200), "--text", TEXT, "--carrier", "north", "--over", "5s", "--json"
    )
    assert (result.code, result.json["states"]) == (0, {"delivered": 200})
    assert time.monotonic() - began > 4.5 and "forecast    over 5s: over at" in result.err
    ((first, last),) = queue("SELECT min(at), max(at) FROM outcome")
    assert 4.0 <= (last - first).total_seconds() <= 8.0
    assert queue("SELECT granted, is_over FROM rate_plan")[0][0] == 200


def test_th_1_status_says_how_a_run_goes_and_resume_lets_a_ramp_go_on(sluice, start, queue, people):
    arguments = ("send", "--contacts", crowd(people, 100), "--text", TEXT, "--carrier", "north", "--name", "spring")
    assert sluice(*arguments, "--ramp", "10%,100%", "--ramp-hold", "ask", "--detach").code == 0
    worker = start("run")
    while not queue("SELECT 1 FROM rate_plan WHERE held_since IS NOT NULL"):
        assert worker.process.poll() is None
    assert queue("SELECT count(*) FROM outcome") == [(10,)]
    said = sluice("status")
    assert "ramp 10%, 100%; 10 of 100 granted" in said.out and "holds since" in said.out
    assert sluice("status", "--json").json["rates"][0]["granted"] == 10
    assert "its ramp goes on" in sluice("resume", "campaign", "spring").out
    while queue("SELECT count(*) FROM outcome") != [(100,)]:
        assert worker.process.poll() is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--over", "3h", "--rate", "5/s"), "expected one of them, found both"),
        (("--over", "soon"), "expected a length such as 90s"),
        (("--ramp", "10%,5%"), "expected rising shares"),
        (("--budget", "5 EUR"), "[costs] says no currency"),
        (("--pause-at", "luck 5%"), "expected failure, throttle, no_receipt, opt_out"),
    ],
)
def test_words_that_are_none_or_contradict_are_refused_before_anything_is_read(
    here, settings, people, options, expected
):
    result = here("send", "--contacts", people(3), "--text", TEXT, "--carrier", "north", *options)
    assert result.code in (2, 65) and expected in result.err


@pytest.mark.covers("S4.50")
def test_th_5_budget_needs_what_a_part_costs(here, settings, people, tmp_path):
    arguments = ("send", "--contacts", people(3), "--text", TEXT, "--carrier", "north", "--dry-run")

    def say(text):
        settings()
        with (tmp_path / "sluice.toml").open("a") as file:
            file.write(f"[costs]\n{text}\n")

    say('currency = "EUR"')
    refused = here(*arguments, "--budget", "5 EUR")
    assert refused.code == 65 and "expected what a part costs through north in [costs.countries]" in refused.err
    say('currency = "EUR"\ncountries = {GB = 0.04}')
    assert here(*arguments, "--budget", "5 EUR").code == 65
    say('currency = "EUR"\ncountries = {GB = 0.04, "*" = 0.1}')
    assert here(*arguments, "--budget", "5 EUR").code == 0
    assert here(*arguments, "--budget", "5 USD").code == 65
    say("countries = {GBR = 0.04}")
    wrong = here(*arguments)
    assert wrong.code == 78 and "costs.currency" in wrong.err and "costs.countries.GBR" in wrong.err
