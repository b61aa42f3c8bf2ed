"""`sluice send` with the full language of templates: who gets which text, and who gets none for which reason."""

import json

import pytest

from _fastpath.copyrows import SIGNATURE
from gateway.automation.composing import with_footers
from gateway.brand import BrandSettings
from gateway.campaign.evaluation import Person
from gateway.commands import _rendering
from gateway.commands._options import Refused
from gateway.commands._rendering import compiled_of, has_aliases, is_compiled, read_file, wording_of
from gateway.dispatch.rendering import Context, work_texts
from gateway.store import people as people_store
from gateway.template import Coupon, Template
from tests.commands.test_gated import FIRST, acme, given

__all__ = ["acme"]

DOCUMENT = """
text = "Hello {{ first_name | first_name | default('there') }}{% if vip %}, our best{% endif %}. {{ brand.name }}"
language = "en"
class = "transactional"
[languages]
de = "Hallo {{ first_name }}. {{ link.shop }}"
[links]
shop = "https://acme.example/"
"""
SENT = ("--brand", "acme", "--carrier", "north", "--json")


def texts(queue):
    """Every text of the newest run with its number."""
    rows = queue(
        "SELECT msisdn, params FROM chunk_payload p JOIN run r ON r.id = p.run WHERE r.id = (SELECT max(id) FROM run)"
    )
    return {
        number - FIRST: values[0] for numbers, params in rows for number, values in zip(numbers, params, strict=True)
    }


@pytest.mark.covers("S0.22", "S4.47")
def test_TP_2_TP_12_everybody_of_an_audience_gets_their_text_or_a_reason(sluice, queue, acme, dsn, tmp_path):
    names = ["Anna", "DR. BERT X", None, "www.evil.com\n", "Eva", None]
    crowd = [
        Person(
            number=FIRST + at,
            attributes={"city": "Wien", **({"first_name": name} if name else {}), **({"vip": True} if at == 1 else {})},
            fields={"language": "de-AT"} if at in (4, 5) else {},
        )
        for at, name in enumerate(names)
    ]
    given(dsn, {FIRST + at: 2 for at in range(6)}, [*crowd, Person(attributes={"city": "Wien"})])
    assert sluice("audience", "add", "vienna", "city = 'Wien'").code == 0
    (tmp_path / "hello.toml").write_text(DOCUMENT)
    result = sluice("send", "--audience", "vienna", "--template", str(tmp_path / "hello.toml"), *SENT)
    assert result.code == 0, result.err
    assert result.json["states"] == {"delivered": 5}
    assert result.json["skipped"] == {"render_missing:first_name": 1, "no_number": 1}
    assert sum(result.json["states"].values()) + sum(result.json["skipped"].values()) == 7
    assert texts(queue) == {
        0: "Hello Anna. acme",
        1: "Hello Bert, our best. acme",
        2: "Hello there. acme",
        3: "Hello Www. acme",
        4: "Hallo Eva. https://acme.example/",
    }
    # The list that the texts were made of is empty again; nobody else has it.
    assert queue("SELECT count(*) FROM list_entry") == [(5,)]
    twice = sluice("send", "--audience", "vienna", "--template", str(tmp_path / "hello.toml"), *SENT)
    assert twice.code == 65 and "went to this audience already" in twice.err


def test_the_full_language_reads_the_columns_of_a_file_too(sluice, queue, people, settings):
    settings()
    people(f"phone,first_name,points,status\n+{FIRST},anna,12,gold\n+{FIRST + 1},,3,\n+{FIRST + 2},Cid,0,none\n")
    text = "{{ first_name | capitalize }}: {% if points > 5 %}{{ points }}{% elsif points > 0 %}few{% endif %}"
    text += "{% if points == 0 %}{{ abort('no points') }}{% endif %}"
    result = sluice("send", "--contacts", "people.csv", "--text", text, "--carrier", "north", "--json")
    assert result.code == 0, result.err
    assert result.json["skipped"] == {"render_missing:first_name": 1, "abort:no points": 1}
    assert texts(queue) == {0: "Anna: 12"}
    nobody = sluice("send", "--contacts", "people.csv", "--text", "{{ abort('no') }}{{ points }}", "--carrier", "north")
    assert nobody.code == 65 and "nobody to send to: 3 abort:no" in nobody.err
    again = sluice("send", "--contacts", "people.csv", "--text", text, "--carrier", "north", "--json")
    assert again.code == 65 and "went to this file already" in again.err
    again = sluice("send", "--contacts", "people.csv", "--text", text, "--carrier", "north", "--json", "--again")
    assert again.json["states"] == {"delivered": 1}


def test_TP_1_old_words_in_single_braces_are_fields(sluice, queue, people, settings):
    settings()
    people(f"phone,first_name\n+{FIRST},Anna\n")
    result = sluice("send", "--contacts", "people.csv", "--text", "Hi {FirstName}", "--carrier", "north", "--json")
    assert result.code == 0, result.err
    assert queue("SELECT template FROM run") == [("Hi {{ first_name }}",)]


def test_TP_4_a_plain_text_is_rendered_where_a_value_is_no_data_as_it_stands(sluice, queue, acme, dsn):
    names = ["Al", "Bo", "bit.ly/x\r\n!"]
    crowd = [Person(number=FIRST + at, attributes={"city": "x", "first_name": name}) for at, name in enumerate(names)]
    given(dsn, {FIRST + at: 2 for at in range(3)}, crowd)
    sluice("audience", "add", "clean", f"city = 'x' and number != '+{FIRST + 2}'")
    sluice("audience", "add", "all", "city = 'x'")
    text = ("--class", "transactional", "--text", "Hi {{ first_name }}")
    assert sluice("send", "--audience", "clean", *SENT, *text).json["states"] == {"delivered": 2}
    assert queue("SELECT template FROM run") == [("Hi {{ first_name }}",)]
    found = sluice("send", "--audience", "all", *SENT, *text)
    # Two of them were written to a moment ago.
    assert found.json["states"] == {"delivered": 1, "refused": 2}, found.err
    assert texts(queue) == {0: "Hi Al", 1: "Hi Bo", 2: "Hi bit ly/x !"}


def test_TP_10_a_text_of_too_many_parts_is_skipped_for_its_person(sluice, queue, people, settings, tmp_path):
    settings()
    people(f"phone,first_name,more\n+{FIRST},Anna,x\n+{FIRST + 1},Bo,{'y' * 200}\n")
    (tmp_path / "a.toml").write_text('[template]\ntext = "{{ first_name | upcase }} {{ more }}"\nmax_parts = 1')
    result = sluice(
        "send", "--contacts", "people.csv", "--template", str(tmp_path / "a.toml"), "--carrier", "north", "--json"
    )
    assert result.json["states"] == {"delivered": 1, "refused": 1} and result.json["reasons"] == {"too_many_parts": 1}


def test_what_is_wrong_with_a_template_is_said_before_anything_is_done(here, people, settings, tmp_path):
    settings()
    people(1)
    file = ("send", "--contacts", "people.csv", "--carrier", "north")
    (tmp_path / "bad.toml").write_text("text = '{{ link.x }}'\nfallback = ['de']\n")
    (tmp_path / "none.toml").write_text("text = ")
    for arguments, code, said in (
        (("--text", "{% if a %}x"), 65, "--text: line 1, column 1: expected a block that is closed by endif"),
        (("--text", "{{ a | loud }}"), 65, "expected one of the filters"),
        (("--text", "Hi {{ nobody | upcase }}"), 65, "the file has no column nobody"),
        (("--template", "bad.toml"), 65, "a link of `links`, of which there is none"),
        (("--template", "none.toml"), 65, "expected a template as TOML"),
        (("--template", "away.toml"), 65, "expected a template as TOML"),
        (("--template", "bad.toml", "--text", "x"), 2, "'--template' stands without '--text'"),
        ((), 2, "Missing option '--text' or '--template'"),
    ):
        result = here(*file, *arguments)
        assert (result.code, said in result.err) == (code, True), result


def test_a_file_holds_a_template_alone_or_as_a_table(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"template": {"text": "x"}}))
    (tmp_path / "b.toml").write_text('text = "x"')
    assert read_file(str(tmp_path / "a.json")) == read_file(str(tmp_path / "b.toml")) == Template(text="x")
    (tmp_path / "c.toml").write_text('txt = "x"')
    with pytest.raises(Refused, match=r"c\.toml"):
        read_file(str(tmp_path / "c.toml"))


def test_what_is_the_same_for_everybody_is_composed_by_the_claim():
    links = {"shop": "https://a.example/"}
    template = Template(
        text="{{ brand.name }} {{ link.shop }} {{ coupon.code }} {{ a }}", links=links, coupon=Coupon(code="X")
    )
    context = Context(template=template, brand="acme")
    assert compiled_of(context) == '{{ "acme" }} {{ "https://a.example/" }} {{ "X" }} {{ a }}'
    assert compiled_of(Context(template=template)) is None
    assert compiled_of(Context(template=Template(text="{{ coupon.code }}", coupon=Coupon()), brand="a")) is None


def test_a_wording_says_what_it_needs_of_people():
    template = Template(
        text="{{ a }}{{ b | upcase }}{{ now | date }}", languages={"de": "{{ c | default: '' }}"}, defaults={"b": "x"}
    )
    found = wording_of(template, "acme", "UTC", None)
    assert (found.fields, found.required) == (("a", "b", "c", "language", "zone"), ("a",))
    assert found.text in found.texts and found.max_parts == 3


def test_the_footer_ends_the_text_of_every_language():
    template = with_footers(Template(text="a", languages={"de": "b STOP"}), BrandSettings(footer="STOP"))
    assert (template.text, template.languages) == ("a\nSTOP", {"de": "b STOP"})


def test_what_the_claim_can_compose_as_it_is_written_is_known():
    assert is_compiled("{{ a|default('x') }}") and not is_compiled("{{ a|upcase }}")
    assert has_aliases("{firstname}") and not has_aliases("{name}")
    assert people_store.BUCKETS == 256


async def test_pages_are_rendered_side_by_side_and_not_one_when_the_one_before_was_read(monkeypatch):
    monkeypatch.setattr(_rendering, "WORTH_PROCESSES", 1)
    monkeypatch.setattr(_rendering, "MOST_PROCESSES", 1)
    body = b"\x01" + b'{"n": 7}'
    page = (
        SIGNATURE + (2).to_bytes(2) + (8).to_bytes(4) + FIRST.to_bytes(8) + len(body).to_bytes(4) + body + b"\xff\xff"
    )
    async with _rendering.pages(Context(template=Template(text="{% if n %}{{ n }} points{% endif %}")), 2) as (
        render,
        _,
    ):
        earlier, later = render(work_texts, page), render(work_texts, page)
        assert (await later).texts == ["7 points"]
        assert earlier.done(), "it was begun by the call, nobody waited for it"
