"""`sluice send` with a brand: consent, caps and audiences as a person meets them, through to the last receipt."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from _fastpath.peoplerows import bucket
from gateway.campaign.evaluation import Event, Person
from gateway.store import admission
from tests.fixtures.audiences import write_people
from tests.fixtures.pages import note_contacts

FIRST = 447911123400
BRAND = '[brands.acme]\ncountry = "GB"\nprogrammes = ["club"]\n'
BRAND += 'caps = [{limit = 1, per = "7d", classes = ["transactional"]}]\n'
# Transactional texts may leave at any hour: these tests are run at all of them.
AS_ACME = ("--brand", "acme", "--class", "transactional", "--text", "hello", "--carrier", "north", "--json")


@pytest.fixture
def acme(settings, tmp_path):
    settings()
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write(BRAND)


def given(dsn, states, people=(), contacted=()):
    """Let numbers stand so with acme, transactional; people in the database; some written to a moment ago."""

    async def write():
        connection = await asyncpg.connect(dsn)
        await connection.executemany(
            "INSERT INTO consent_state (bucket, number, brand, promotional, transactional, night) "
            "VALUES ($1, $2, 'acme', 0, $3, 0)",
            [(bucket(number), number, state) for number, state in states.items()],
        )
        await admission.refresh_consent_pages(connection, [(number, "acme") for number in states])
        await write_people(connection, people)
        await connection.execute("INSERT INTO attribute_kind VALUES ('city', 'string', now())")
        if contacted:
            brand = await admission.id_of(connection, "brand", "acme")
            await note_contacts(connection, contacted, datetime.now(UTC), class_=3, brand=brand)
        await connection.close()

    asyncio.run(write())


@pytest.mark.covers("S4.31")
def test_people_of_a_file_pass_the_gate_of_a_brand_each_with_a_reason(sluice, queue, people, acme, dsn):
    given(dsn, {FIRST + at: 2 for at in range(12)} | {FIRST + 12: 1}, contacted=[FIRST, FIRST + 1])
    result = sluice("send", "--contacts", people(20), *AS_ACME)
    assert result.code == 0, result.err
    assert result.json["reasons"] == {"no_consent": 7, "pending_consent": 1, "cap:1 per 7d": 2}
    assert result.json["states"] == {"delivered": 10, "refused": 10}
    # Whoever passes over a cap says why, and the report says it again (CP-6).
    again = sluice("send", "--contacts", people(20), *AS_ACME, "--again", "--bypass", "recall of a product")
    assert again.json["bypass"] == "recall of a product" and again.json["states"]["delivered"] == 12


def test_who_has_agreed_to_a_brand_is_written_to_by_its_programme_CN_7(sluice, queue, people, acme, dsn):
    given(dsn, {FIRST + at: 2 for at in range(6)})
    refused = sluice("consent", "revoke", f"+{FIRST}", "--brand", "acme/club")
    assert refused.code == 0, refused.err
    # The grants of these were written down without a ledger.
    result = sluice("send", "--contacts", people(8), *AS_ACME, "--programme", "club")
    assert result.json["reasons"] == {"suppressed:stop": 1, "no_consent": 2}
    assert result.json["states"] == {"delivered": 5, "refused": 3}
    told = sluice("explain", "--number", f"+{FIRST + 1}", "--campaign", result.json["name"]).out
    assert "acme/club: promotional none, transactional granted, night none" in told


@pytest.mark.covers("S2.25", "S3.29", "S2.8")
def test_a_run_over_an_audience_tells_of_everybody_in_it_SG_6_SG_10(sluice, queue, acme, dsn):
    crowd = [
        *(Person(number=FIRST + at, attributes={"city": "Wien"}) for at in range(10)),
        *(Person(number=FIRST, attributes={"city": "Wien"}) for _ in range(3)),
        *(Person(attributes={"city": "Wien"}) for _ in range(4)),
        Person(number=FIRST + 50, attributes={"city": "Linz"}),
    ]
    given(dsn, {FIRST + at: 2 for at in (*range(6), 50)}, crowd)
    assert sluice("audience", "add", "vienna", "city = 'Wien'").code == 0
    dry = sluice("send", "--audience", "vienna", *AS_ACME, "--dry-run")
    skipped = {"no_consent": 4, "duplicate_endpoint": 3, "no_number": 4}
    assert dry.json == {"people": 17, "numbers": 6, "skipped": skipped}
    assert queue("SELECT count(*) FROM run") == [(0,)]
    result = sluice("send", "--audience", "vienna", *AS_ACME)
    assert result.code == 0, result.err
    assert (result.json["states"], result.json["skipped"]) == ({"delivered": 6}, skipped)
    assert sum(result.json["states"].values()) + sum(result.json["skipped"].values()) == 17
    twice = sluice("send", "--audience", "vienna", *AS_ACME)
    assert twice.code == 65 and "went to this audience already" in twice.err


def test_what_does_not_go_together_is_refused_before_anything_is_done(here, people, settings, acme):
    people(1)
    file = ("--contacts", "people.csv", "--text", "x", "--carrier", "north")
    for arguments, code, said in (
        ((*file, "--tag", "x"), 2, "'--tag' stands with '--brand'"),
        ((*file, "--bypass", "x"), 2, "'--bypass' stands with '--brand'"),
        ((*file, "--content", "x"), 2, "'--content' stands with '--brand'"),
        ((*file, "--brand", "acme", "--content-within", "5d"), 2, "'--content-within' stands with '--content'"),
        ((*file, "--brand", "acme", "--content", "k" * 201), 65, "--content: "),
        ((*file, "--brand", "acme", "--content", "k", "--content-within", "soon"), 65, "3d or 2w, found 'soon'"),
        ((*file, "--brand", "acne"), 78, "did you mean 'acme'"),
        ((*file, "--brand", "acme", "--programme", "clubs"), 78, "one of club"),
        ((*file, "--audience", "vienna", "--brand", "acme"), 2, "without '--contacts'"),
        ((*file[2:], "--audience", "vienna"), 2, "stands with '--brand'"),
        (file[2:], 2, "Missing option '--contacts' or '--audience'"),
    ):
        result = here("send", *arguments)
        assert (result.code, said in result.err) == (code, True), result


def test_numbers_without_plus_are_of_the_country_of_the_brand(here, people, settings, acme):
    people("phone\n07911 123401\n")
    result = here("send", "--contacts", "people.csv", *AS_ACME, "--dry-run")
    assert result.json["sent"] == 1


def test_an_audience_that_is_not_kept_and_words_that_are_none_are_refused(sluice, queue, acme, dsn):
    result = sluice("send", "--audience", "nobody", *AS_ACME)
    assert result.code == 65 and "--audience: expected one that `sluice audience add` has kept" in result.err
    given(dsn, {}, [Person(number=FIRST)])
    sluice("audience", "add", "all", "everyone")
    result = sluice("send", "--audience", "all", *AS_ACME, "--exception", "did(")
    assert result.code == 65 and "--exception" in result.err
    result = sluice("send", "--audience", "all", *AS_ACME)
    assert result.code == 65 and "nobody to send to" in result.err


@pytest.mark.covers("S4.59")
def test_who_had_the_offer_on_another_channel_lately_is_skipped_XC_2(sluice, queue, people, acme, dsn):
    def had(number: int, key: str, days: int, name: str = "email_sent") -> Person:
        told = Event(name=name, occurred_at=datetime.now(UTC) - timedelta(days=days), properties={"content_key": key})
        return Person(number=number, events=[told])

    crowd = [
        had(FIRST, "spring", 1), had(FIRST + 1, "autumn", 1), had(FIRST + 2, "spring", 4),
        had(FIRST + 3, "spring", 4, "push_sent"), had(FIRST + 4, "spring", 1, "push_sent"), Person(number=FIRST + 5),
    ]  # fmt: skip
    given(dsn, {FIRST + at: 2 for at in range(6)}, crowd)
    file = people(6)
    found = sluice("send", "--contacts", file, *AS_ACME, "--content", "spring")
    assert (found.json["states"], found.json["reasons"]) == ({"delivered": 4, "refused": 2}, {"exception": 2}), (
        found.err
    )


@pytest.mark.covers("S1.10")
def test_a_run_at_local_time_says_when_it_leaves_in_each_zone_before_it_is_sent_QH_8(sluice, queue, people, acme, dsn):
    crowd = [Person(number=number, attributes={"city": "x"}) for number in (FIRST, FIRST + 1, 12125550100)]
    given(dsn, {person.number: 2 for person in crowd}, crowd)
    assert sluice("audience", "add", "all", "city = 'x'").code == 0
    at = ("--audience", "all", *AS_ACME[:-1], "--at-local", "10:00", "--on", "2037-03-02", "--detach")
    dry = sluice("send", *at, "--dry-run")
    assert dry.code == 0, dry.err
    assert "Europe/Guernsey: 2 people, 2037-03-02 10:00 UTC" in dry.err
    assert "America/New_York: 1 people, 2037-03-02 15:00 UTC" in dry.err
    assert sluice("send", *at).code == 0
    ((gate,),) = queue("SELECT gate -> 'local' ->> 'day' FROM run")
    assert gate == "2037-03-02"
    for wrong in (["--at-local", "25:00"], ["--on", "2037-03-02"]):
        assert sluice("send", "--audience", "all", *AS_ACME, *wrong, "--dry-run").code == 2
    file = sluice("send", "--contacts", people(3), *AS_ACME[:-1], *at[-5:-1], "--detach")
    assert file.code == 0 and "Europe/Guernsey: 3 people, 2037-03-02 10:00 UTC" in file.err
