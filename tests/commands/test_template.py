"""`sluice template`: what a text comes to, what is said of it, and its test."""

import json

import pytest

from gateway.campaign.evaluation import Person
from tests.commands.test_gated import FIRST, acme, given

__all__ = ["acme"]


def listed(sluice, people, dsn, rows):
    """Import a list by the name of vips."""
    people("phone,first_name,more\n" + "".join(f"+{FIRST + at},{row}\n" for at, row in enumerate(rows)))
    found = sluice("contacts", "import", "people.csv", "--list", "vips", "--dsn", dsn)
    assert found.code == 0, found.err


@pytest.mark.covers("S0.23", "S0.24", "S1.36", "S4.49")
def test_TP_8_everybody_is_written_and_counted(sluice, queue, people, settings, dsn):
    settings()
    listed(sluice, people, dsn, ["Anna,x", "Ștefan,x", "Bo," + "y" * 160, "Eva," + "z" * 400, ",x", "Chloé 🦊,x"])
    text = "Hi {{ first_name }}, {{ more }}"
    for said in (text, text + "{# full #}{% if more == 'never' %}!{% endif %}"):
        found = sluice(
            "template", "preview", "--list", "vips", "--text", said, "--carrier", "north", "--class", "bulk", "--json"
        )
        assert found.code == 0, found.err
        told = found.json
        assert told["people"] == 6 and told["share"] == 1.0
        assert told["messages"] == {"1": 3, "2": 1, "3": 1} and told["parts"] == 8, told
        assert told["refused"] == {"render_missing:first_name" if "full" in said else "render_missing": 1}
        assert told["alphabets"] == {"gsm7": 3, "ucs2": 2}
        assert told["characters"] == [
            {"character": "Ș", "people": 1, "replacement": "S", "is_letter": True},
            {"character": "🦊", "people": 1, "replacement": None, "is_letter": False},
        ]
        assert told["worst"]["parts"] == 3 and told["worst"]["number"].endswith("••••")
        assert told["countries"] == [
            {"country": "GG", "people": told["countries"][0]["people"], "parts": 8, "cost": None}
        ]


def test_TP_8_what_is_too_long_for_its_class_is_said(sluice, queue, people, settings, dsn):
    settings()
    listed(sluice, people, dsn, ["Anna," + "z" * 500])
    arguments = ("template", "preview", "--list", "vips", "--text", "{{ more }}", "--carrier", "north")
    assert sluice(*arguments, "--json").json["refused"] == {"too_long": 1}
    told = sluice(*arguments, "--class", "transactional")
    assert "1  of 4 parts" in told.out and "longest: +44791112••••, 4 parts: 'zzz" in told.out


@pytest.mark.covers("S4.49")
def test_TP_8_the_footer_links_and_codes_are_counted_and_so_is_the_cost(sluice, queue, acme, dsn, tmp_path):
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write(
            '[[routes]]\ncarriers = [{carrier = "north", cost = 0.05}]\n[brands.shop]\nfooter = "STOP to 12345"\n'
        )
        file.write("[brands.shop.windows]\n")
    given(dsn, {}, [Person(number=FIRST + at, attributes={"city": "x", "first_name": "Al"}) for at in range(4)])
    assert sluice("audience", "add", "all", "city = 'x'").code == 0
    (tmp_path / "a.toml").write_text(
        'text = "{{ first_name }} {{ coupon.code }} {{ link.shop }}"\nlink_length = 20\n'
        '[links]\nshop = "https://shop.example/a/very/long/way/to/something"\n[coupon]\nlength = 10\n'
    )
    arguments = ("template", "preview", "a.toml", "--audience", "all", "--json")
    told = sluice(*arguments).json
    assert told["worst"]["text"] == "Al XXXXXXXXXX https://" + "x" * 12
    assert (told["parts"], told["cost"]) == (4, 0.2)
    assert sluice(*arguments, "--budget", "0.2").code == 0
    over = sluice(*arguments, "--budget", "0.1")
    assert over.code == 65 and "--budget: expected 0.10 at most, found 0.20" in over.err


def test_a_preview_of_nobody_or_of_two_is_refused(sluice, queue, people, settings, here, dsn):
    settings()
    listed(sluice, people, dsn, ["Anna,x"])
    for arguments, code, said in (
        (("--list", "nobody", "--text", "x"), 65, "--list: expected the name of a list, found 'nobody'"),
        (("--text", "x"), 2, "Expected option '--audience' or '--list'"),
        (("--list", "vips"), 2, "Expected FILE or option '--text'"),
        (("--list", "vips", "--text", "{{ a"), 65, "--text: line 1, column 1"),
    ):
        found = sluice("template", "preview", *arguments, "--carrier", "north")
        assert (found.code, said in found.err) == (code, True), found


@pytest.mark.covers("S1.21", "S1.23", "S1.24", "S1.25")
def test_TP_11_the_linter_says_what_is_wrong_and_where(here, acme, tmp_path):
    text = (tmp_path / "sluice.toml").read_text()
    (tmp_path / "sluice.toml").write_text(
        text.replace("[carriers.north]", '[carriers.north]\nbanned_words = ["casino"]', 1)
    )
    (tmp_path / "a.toml").write_text('text = "Casino: {{ coupon.url }} for 48 h"\n[coupon]\nlife = "24h"\n')
    found = here("template", "lint", "a.toml", "--brand", "acme")
    assert found.code == 65 and "2 errors" in found.err
    lines = found.out.splitlines()
    assert lines[0] == "error    text: line 1, column 1: banned_word: 'Casino' is not taken by north"
    assert lines[1].startswith("error    text: line 1, column 30: deadline_not_true: the text says '48 h'")
    codes = {line.split(": ")[2] for line in lines[:-1]}
    assert {"no_brand_prefix", "code_only_in_url", "no_opt_out"} <= codes
    assert lines[-1].startswith("it reads as ")
    good = here(
        "template",
        "lint",
        "--text",
        "acme: hi {{ first_name | default: 'you' }}. STOP to end",
        "--brand",
        "acme",
        "--json",
    )
    assert good.code == 0 and json.loads(good.out)["findings"] == []
    broken = here("template", "lint", "--text", "{{ a")
    assert broken.code == 65 and "not_readable: expected what is closed by }}" in broken.out


@pytest.mark.covers("S1.27", "S1.28")
def test_TP_13_a_test_goes_to_test_numbers_alone_and_counts_nowhere(sluice, queue, acme, dsn, tmp_path):
    given(dsn, {}, [Person(number=FIRST, attributes={"city": "x", "first_name": "Anna"}, fields={"language": "de"})])
    (tmp_path / "a.toml").write_text(
        'text = "acme: hi {{ first_name }} {{ coupon.code }}"\n'
        'languages = {de = "acme: hallo {{ first_name | upcase }}"}\n'
        "[coupon]\nlength = 5\n"
    )
    send = ("template", "test", "a.toml", "--brand", "acme", "--carrier", "north", "--to", "+447700900123", "--json")
    refused = sluice(*send)
    assert refused.code == 65 and "expected numbers of `sluice template numbers`, found +447700900123" in refused.err
    assert sluice("template", "numbers", "add", "+447700900123").out == "+447700900123: added\n"
    assert "+447700900123  since" in sluice("template", "numbers", "list").out
    nothing = sluice(*send)
    assert nothing.code == 65 and "that person would get nothing: render_missing:first_name" in nothing.err
    assert "not_tested" in sluice("template", "lint", "a.toml", "--brand", "acme", "--known").out
    done = sluice(*send, "--as-profile", f"+{FIRST}", "--mark")
    assert done.code == 0, done.err
    assert done.json["states"] == {"delivered": 1}
    assert "not_tested" not in sluice("template", "lint", "a.toml", "--brand", "acme", "--known").out
    ((params, is_test, gate),) = queue(
        "SELECT p.params, r.is_test, r.gate FROM chunk_payload p JOIN run r ON r.id = p.run"
    )
    assert (params, is_test, gate) == ([["[TEST] acme: hallo ANNA"]], True, None)
    sluice(*send, "--set", "first_name=Bo", "--detach")
    assert queue("SELECT params[1][1] FROM chunk_payload ORDER BY run DESC LIMIT 1") == [("acme: hi Bo XXXXX",)]
    # Of whoever was written to for a test nothing is noted: no cap and no history has it.
    assert queue("SELECT count(*) FROM contact_page") == [(0,)]
    assert sluice("template", "numbers", "remove", "+447700900123").out == "+447700900123: removed\n"
    assert sluice(*send, "--set", "first_name=Bo").code == 65
    wrong = sluice("template", "numbers", "add", "nobody")
    assert wrong.code == 65 and "expected phone numbers" in wrong.err


@pytest.mark.covers("S1.28")
def test_text_of_which_no_test_was_sent_goes_to_people_on_purpose_alone_where_the_brand_wants_one(
    sluice, queue, people, acme, dsn, tmp_path
):
    people(f"phone\n+{FIRST}\n")
    send = (
        "send",
        "--contacts",
        "people.csv",
        "--brand",
        "acme",
        "--text",
        "acme: hi. STOP to end",
        "--carrier",
        "north",
    )
    assert "? text: expected a test of exactly this text" in sluice(*send, "--detach").err
    config = tmp_path / "sluice.toml"
    config.write_text(config.read_text().replace("[brands.acme]", '[brands.acme]\nuntested = "enforce"'))
    refused = sluice(*send, "--detach", "--again")
    assert refused.code == 65 and "found none: --untested sends it all the same" in refused.err
    assert sluice(*send, "--detach", "--again", "--untested").code == 0
    assert "no test of the text" in sluice("audit").out
    sluice("template", "numbers", "add", "+447700900123")
    tried = ("--text", "acme: hi. STOP to end", "--brand", "acme", "--carrier", "north", "--to", "+447700900123")
    assert sluice("template", "test", *tried, "--detach").code == 0
    found = sluice(*send, "--detach", "--again")
    assert found.code == 0 and "expected a test" not in found.err
