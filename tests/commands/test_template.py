"""`sluice template`: what a text comes to, what is said of it, and its test."""

import pytest

from gateway.campaign.evaluation import Person
from tests.commands.test_gated import FIRST, acme, given

__all__ = ["acme"]


def listed(sluice, people, dsn, rows):
    """Import a list by the name of vips."""
    people("phone,first_name,more\n" + "".join(f"+{FIRST + at},{row}\n" for at, row in enumerate(rows)))
    found = sluice("contacts", "import", "people.csv", "--list", "vips", "--dsn", dsn)
    assert found.code == 0, found.err


@pytest.mark.covers("S0.23", "S0.24", "S4.49")
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
            {"country": "GB", "people": told["countries"][0]["people"], "parts": 8, "cost": None}
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
