"""`sluice explain`: for what happened and for what would happen now, every check with its value and its rule."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from gateway.campaign.evaluation import Person
from gateway.campaign.quiet_hours import versions
from gateway.reasons import WORDS
from gateway.store import stops
from tests.commands.test_gated import AS_ACME, BRAND, FIRST, given

CHECKS = ["expiry", "suppressed", "consent", "refused", "window", "legal cap", "cap", "gap", "talk"]


@pytest.fixture
def acme(settings, tmp_path):
    settings()
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write(BRAND)


def about(result):
    """(result, reason) of now, and the checks that do not pass."""
    now = result.json["now"]
    return now["result"], now["reason"], [one["check"] for one in now["checks"] if one["result"] != "pass"]


def test_what_happened_and_what_would_happen_now_are_told_with_their_rules(sluice, here, queue, people, acme, dsn):
    given(dsn, {FIRST + at: 2 for at in range(3)}, contacted=[FIRST])
    sent = sluice("send", "--contacts", people(5), *AS_ACME, "--name", "spring")
    assert sent.json["states"] == {"delivered": 2, "refused": 3}

    capped = here("explain", "--number", f"+{FIRST}", "--campaign", "spring", "--json")
    (place,) = capped.json["happened"]
    assert [(one["reason"], one["rule"]) for one in place["outcomes"]] == [("cap:1 per 7d", "CP-1")]
    assert [one["check"] for one in capped.json["now"]["checks"]] == CHECKS
    assert about(capped) == ("skip", "cap:1 per 7d", ["cap", "gap"])
    assert {"cap": "1 per 7d", "had": 1, "limit": 1} in capped.json["now"]["caps"]

    went = here("explain", "--number", str(FIRST + 1), "--campaign", str(sent.json["run"]), "--json")
    assert [one["reason"] for one in went.json["happened"][0]["outcomes"]] == ["accepted"]
    assert [one["state"] for one in went.json["happened"][0]["receipts"]] == ["delivered"]
    assert about(went) == ("send", "", [])

    nothing = here("explain", "--number", str(FIRST + 4), "--campaign", "spring", "--json")
    assert nothing.json["happened"][0]["outcomes"][0]["reason"] == "no_consent"
    assert about(nothing) == ("skip", "no_consent", ["consent"])
    assert all(one["rule"] for one in nothing.json["now"]["checks"])

    for_a_person = here("explain", "--number", str(FIRST), "--campaign", "spring").out
    # By which zones and packs was decided, in the run's report too, and by which it would be now (QH-12).
    data = ", ".join(f"{name} {version}" for name, version in versions().items())
    assert (sent.json["data"], went.json["data_now"]) == ([data], versions())
    (decided,) = went.json["data"]
    assert decided["versions"] == data and decided["by"] and f"decided by {data}, since " in for_a_person
    assert "skip  cap" in for_a_person and "(CP-1) 1 per 7d: 1 of 1" in for_a_person
    later = (datetime.now(UTC) + timedelta(days=8)).isoformat()
    assert about(here("explain", "--number", str(FIRST), "--campaign", "spring", "--at", later, "--json"))[0] == "send"


def test_who_is_in_no_chunk_is_told_why_and_a_complaint_is_told_from_a_stop_CN_11(sluice, here, queue, acme, dsn):
    given(dsn, {FIRST: 2, FIRST + 1: 2}, [Person(number=FIRST + at) for at in (0, 0, 1, 2)])

    async def complain():
        connection = await asyncpg.connect(dsn)
        await stops.enter(connection, [FIRST + 1], ["*"], is_stop=True, at=datetime.now(UTC), source="complaint")
        await stops.copy(connection)
        await connection.close()

    asyncio.run(complain())
    assert sluice("audience", "add", "all", "everyone").code == 0
    preview = here("audience", "preview", "all", "--brand", "acme", "--class", "transactional", "--json").json
    expected = {"duplicate_endpoint": 1, "no_consent": 1, "suppressed:complaint": 1}
    assert preview == {"matched": 4, "has_number": 4, "reachable": 1, "reasons": expected}
    shown = here("audience", "preview", "all", "--brand", "acme", "--class", "transactional").out.split("\n")
    assert shown[0].split() == ["4", "people", "match"] and shown[-2].split() == ["1", "reachable", "now"]
    sent = sluice("send", "--audience", "all", *AS_ACME)
    assert sent.json["states"] == {"delivered": 1, "refused": 1}
    assert sent.json["reasons"] == {"suppressed:complaint": 1}
    assert sent.json["skipped"] == {"duplicate_endpoint": 1, "no_consent": 1}

    def skipped(number):
        found = here("explain", "--number", str(number), "--campaign", "all", "--json").json
        return [(one["reason"], one["rule"]) for one in found["not_queued"]], len(found["happened"])

    assert skipped(FIRST) == ([("duplicate_endpoint", "TH-9")], 1)
    assert skipped(FIRST + 2) == ([("no_consent", "CN-2")], 0)
    assert skipped(FIRST + 3) == ([], 0)


def test_label_of_the_number_s_country_is_shown(sluice, here, queue, people, acme, tmp_path, dsn):
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write('label = {optout_080 = "080-123-4567"}\n')
    people("phone\n+821012345678\n+447911123400\n")
    file = ("--contacts", "people.csv", "--brand", "acme", "--text", "Sale", "--carrier", "north")
    assert sluice("send", *file, "--name", "spring", "--detach").code == 0
    told = [here("explain", "--number", number, "--campaign", "spring") for number in ("821012345678", "447911123400")]
    assert "label     (광고) … 무료수신거부 080-123-4567" in told[0].out and "label " not in told[1].out


def test_a_run_without_a_brand_is_asked_for_stops_alone(sluice, here, queue, people, settings):
    sluice("send", "--contacts", people(2), "--text", "x", "--carrier", "north", "--name", "raw")
    found = here("explain", "--number", str(FIRST), "--campaign", "raw", "--json")
    assert (found.json["brand"], about(found)) == (None, ("send", "", []))
    assert [one["check"] for one in found.json["now"]["checks"]] == ["expiry", "suppressed"]


def test_a_campaign_that_nobody_knows_and_a_number_that_is_none_are_refused(sluice, here, queue, people, settings):
    sluice("send", "--contacts", people(1), "--text", "x", "--carrier", "north", "--name", "spring")
    wrong = here("explain", "--number", str(FIRST), "--campaign", "sprung")
    assert wrong.code == 65 and "did you mean 'spring'" in wrong.err
    assert here("explain", "--number", "07911", "--campaign", "spring").code == 2
    stranger = here("explain", "--number", "33612345678", "--campaign", "spring")
    assert stranger.code == 0 and "was not considered for this run" in stranger.out


def test_every_reason_has_its_rule():
    assert all(word and rule for word, rule in WORDS.values())
