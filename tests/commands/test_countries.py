"""What countries ask of a text is asked before anything of it is sent: labels, the way out, registered templates."""

import asyncio

import asyncpg
import pytest

from _fastpath.peoplerows import bucket
from gateway.brand import BrandSettings
from gateway.campaign.evaluation import Person
from gateway.commands._countries import labels_of
from gateway.message import MessageClass
from tests.fixtures.audiences import write_people

BRAND = '[brands.acme]\ncountry = "GB"\n'
TO = ("--contacts", "people.csv", "--brand", "acme", "--carrier", "north", "--dry-run")
KOREA = "+821012345678"
CHINA = "+8613912345678"
INDIA = "+919812345678"
LONDON = ["+447400123456"]


@pytest.fixture
def given(here, settings, people, tmp_path):
    """Try a text to some numbers, the brand saying this and the carrier that."""

    def send(numbers, *more, text="Sale today", brand="", **carrier):
        settings(north=carrier)
        with (tmp_path / "sluice.toml").open("a") as file:
            file.write(BRAND + brand)
        people("phone,name\n" + "".join(f"{number},Ann\n" for number in numbers))
        return here("send", *TO, "--text", text, *more)

    return send


def test_label_is_shown_and_its_parts_are_counted_before_anything_is_sent_TP_8(given):
    words = 'footer = "STOP to 12345"\nlabel = {optout_080 = "080-123-4567", brand = "顶点"}\n'
    result = given([KOREA, "+821012345679", CHINA, *LONDON], brand=words, text="Sale today, all of it " + "x" * 40)
    assert result.code == 0, result.err
    korean = "(광고) Sale today, all of it " + "x" * 40 + " STOP to 12345 무료수신거부 080-123-4567"
    assert f"label       KR: 2 people read '{korean}', 2 parts through north" in result.err
    assert "label       CN: 1 people read '【顶点】Sale" in result.err and "GB" not in result.err
    told = given([KOREA], "--json", brand=words, text="Hi {{ name }}").json["labels"]
    assert told == [
        {
            "country": "KR",
            "people": 1,
            "text": "(광고) Hi \nSTOP to 12345 무료수신거부 080-123-4567",
            "parts": {"north": 1},
        }
    ]


def test_what_a_label_says_must_be_known_before_a_text_goes_to_its_country(given):
    result = given([KOREA, CHINA])
    assert result.code == 78
    assert "brands.acme.label.optout_080" in result.err and "brands.acme.label.brand" in result.err
    result = given([KOREA], brand='label = {optout_80 = "080-1"}\n')
    assert result.code == 78 and "did you mean optout_080?" in result.err
    assert given(["+14155550123"], brand='footer = "STOP"\n').code == 0


def test_text_that_does_not_advertise_wears_no_label_and_no_footer(given):
    for class_ in ("transactional", "otp"):
        result = given([KOREA, CHINA, "+33612345678"], "--class", class_)
        assert (result.code, "label" in result.err) == (0, False), result
    for class_ in MessageClass:
        found = labels_of(BrandSettings(), class_)
        assert set(found) == ({"CN", "KR"} if class_ in (MessageClass.BULK, MessageClass.TRIGGERED) else set())


def test_run_without_a_brand_is_sent_as_it_stands(here, settings, people):
    people(f"phone\n{KOREA}\n{INDIA}\n")
    result = here("send", "--contacts", "people.csv", "--carrier", "north", "--text", "Sale", "--dry-run")
    assert (result.code, "label" in result.err) == (0, False)


def test_variant_of_the_label_is_refused(given):
    words = 'label = {optout_080 = "080-123-4567"}\n'
    result = given([KOREA], text="[광고] 아크메", brand=words)
    assert result.code == 65 and "expected (광고) as it stands and in front" in result.err and "'[광고]'" in result.err
    assert given([KOREA], text="(광고) 아크메", brand=words).code == 0


def test_text_that_is_too_long_with_its_label_is_refused_though_others_could_read_it(given):
    words = 'label = {optout_080 = "080-123-4567"}\n'
    result = given(["+14155550123", KOREA], brand=words, text="x" * 100, max_parts=1)
    assert result.code == 65 and "with the label of KR it cannot be sent through north: too_many_parts" in result.err
    assert given(["+14155550123"], brand=words, text="x" * 100, max_parts=1).code == 0


@pytest.mark.parametrize("number", ["+33612345678", LONDON[0], "+61412345678", "+819012345678"])
def test_way_out_must_stand_in_each_text_where_the_law_says_so(given, number):
    result = given([number])
    assert result.code == 78 and "brands.acme.footer: expected the way out" in result.err
    assert given([number], brand='footer = "STOP to 12345"\n').code == 0


def test_where_some_texts_must_tell_the_way_out_it_is_said(given):
    result = given(["+14155550123", "+12125550100"])
    said = "US: the first text, each 5th and after 30 days should say the way out: brands.acme.footer is empty"
    assert result.code == 0 and result.err.count(said) == 1
    assert "should say" not in given(["+14155550123"], brand='footer = "STOP"\n').err


def test_texts_to_india_need_what_is_registered_there(given):
    tlvs = [{"tag": 0x1400, "name": "pe_id", "value": "110"}, {"tag": 0x1401, "name": "Template-ID", "value": "120"}]
    result = given([INDIA], "--class", "transactional", source="")
    assert result.code == 78
    for wanted in ("carriers.north.source", "name = 'pe_id'", "name = 'template_id'"):
        assert wanted in result.err
    result = given([INDIA], "--class", "transactional", source="", tlvs=tlvs)
    assert result.code == 78 and "tlvs" not in result.err
    assert given([INDIA], "--class", "transactional", "--sender", "ACMEIN", tlvs=tlvs).code == 0
    assert given([INDIA], "--class", "transactional", source="ACMEIN", tlvs=tlvs).code == 0
    assert given([INDIA], "--class", "otp").code == 0
    # From abroad nothing is registered.
    assert given([INDIA], "--class", "transactional", brand='international = ["IN"]\n').code == 0
    assert given([INDIA], "--class", "transactional", brand='international = ["India"]\n').code == 78


def test_people_of_an_audience_are_asked_for_by_country_too(sluice, queue, settings, tmp_path, dsn):
    numbers = [int(number) for number in (KOREA, CHINA, *LONDON)]

    async def write():
        connection = await asyncpg.connect(dsn)
        await connection.executemany(
            "INSERT INTO consent_state (bucket, number, brand, promotional, transactional, night) "
            "VALUES ($1, $2, 'acme', 2, 0, 0)",
            [(bucket(number), number) for number in numbers],
        )
        await write_people(connection, [Person(number=number, attributes={"city": "x"}) for number in numbers])
        # Who has not agreed is in no chunk, and asks for no label.
        await write_people(connection, [Person(number=819012345678, attributes={"city": "x"})])
        await connection.execute("INSERT INTO attribute_kind VALUES ('city', 'string', now())")
        await connection.close()

    settings()
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write(BRAND + 'label = {optout_080 = "080-123-4567"}\n')
    assert sluice("migrate").code == 0
    asyncio.run(write())
    assert sluice("audience", "add", "all", "city = 'x'").code == 0
    send = (
        "send",
        "--audience",
        "all",
        "--brand",
        "acme",
        "--carrier",
        "north",
        "--text",
        "Sale",
        "--json",
        "--detach",
    )
    result = sluice(*send)
    assert result.code == 78 and "brands.acme.label.brand" in result.err and "brands.acme.footer" in result.err
    assert "JP" not in result.err and queue("SELECT count(*) FROM run") == [(0,)]
    settings()
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write(BRAND + 'footer = "STOP to 1"\nlabel = {optout_080 = "080-123-4567", brand = "顶点"}\n')
    told = sluice(*send, "--dry-run").json["labels"]
    assert [(one["country"], one["people"], one["parts"]) for one in told] == [
        ("CN", 1, {"north": 1}),
        ("KR", 1, {"north": 1}),
    ]
    assert sluice(*send).code == 0
    assert queue("SELECT gate -> 'labels' -> 'KR' ->> 'prefix', template FROM run") == [("(광고) ", "Sale\nSTOP to 1")]
