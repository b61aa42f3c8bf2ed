"""Consent that files tell: a grant, or a person who may not be written to and why."""

from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from gateway.campaign.consent import states_of
from gateway.consent import Fact, State
from gateway.contacts import consenting
from gateway.store import consents
from tests.fixtures.files import NOW, Pass

MAPS = ("ok=consent", "when=consent.at", "text=consent.wording")
SETS = ("consent.brand=acme", "consent.method=web form")
HEAD = "phone,ok,when,text\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.csv"


def row(last: int, ok: str = "yes", when: str = "2026-01-01T00:00:00Z", text: str = "SMS from acme") -> str:
    return f"+49151123456{last},{ok},{when},{text}\n"


def test_cn_3_a_grant_has_its_time_words_method_and_brand(path: Path) -> None:
    found = Pass(path, HEAD + row(71), *MAPS, sets=SETS)
    fact = found.facts[0]
    assert (fact.brand, fact.class_, fact.action, fact.source) == ("acme", "promotional", "grant", "import")
    assert fact.effective_at == datetime(2026, 1, 1, tzinfo=UTC) and found.report.grants == 1
    assert not {"ok", "when", "text", "consent"} & found.items[0].attributes.keys()


def test_cn_2_who_agreed_at_no_time_or_to_no_words_is_taken_and_not_marketable(path: Path) -> None:
    text = HEAD + row(71, when="") + row(72, text="") + row(73, ok="no") + row(74, when="2027-01-01T00:00:00Z")
    found = Pass(path, text, *MAPS, sets=SETS)
    assert len(found.items) == 4 and not found.facts
    notes = {key: [each.line for each in one.examples] for key, one in found.report.notes.items()}
    assert notes == {("when", "no_consent"): [2, 5], ("text", "no_consent"): [3], ("ok", "no_consent"): [4]}


def test_a_file_that_says_nothing_of_consent_tells_none(path: Path) -> None:
    found = Pass(path, "phone\n+4915112345671\n", sets=("consent.brand=acme",))
    assert not found.facts and not found.report.notes


async def test_cn_2_an_import_lifts_no_opt_out_and_a_repeat_appends_nothing(dsn: str) -> None:
    def fact(number: int, day: int, action: str) -> Fact:
        return Fact(
            number=number, brand="acme", class_="promotional", action=action, source="import", recorded_at=NOW,
            effective_at=datetime(2026, 1, day, tzinfo=UTC), method="form", wording="SMS",
        )  # type: ignore[arg-type]  # fmt: skip

    connection = await asyncpg.connect(dsn)
    try:
        await consents.append(connection, [fact(49151, 5, "revoke"), fact(49152, 1, "revoke")], states_of)
        grants = [fact(49151, 2, "grant"), fact(49152, 2, "grant"), fact(49153, 2, "grant")]
        assert await consenting.append(connection, grants) == 3
        found = await consents.states_of(connection, [49151, 49152, 49153])
        assert [found[number]["acme"].promotional for number in found] == [
            State.REVOKED, State.GRANTED, State.GRANTED,
        ]  # fmt: skip
        assert await consenting.append(connection, grants) == 0
    finally:
        await connection.close()
