"""`sluice links`: a door that answers, links for a list, and who has opened them."""

import http.client
import json
import re

import pytest

BRAND = """
[brands.acme]
link_domain = "go.acme.example"
caps = []
[links]
networks = ["clouds.txt"]
"""


@pytest.fixture
def brand(tmp_path, queue):
    """A brand with a domain, and a list of two."""
    with open(tmp_path / "sluice.toml", "a") as file:
        file.write(BRAND)
    (tmp_path / "clouds.txt").write_text("192.0.2.0/24\n")


def asked(address, path, verb="GET"):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request(verb, path, headers={"User-Agent": "Mozilla/5.0 (iPhone) AppleWebKit/605 Mobile"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


@pytest.mark.covers("S0.28", "S0.29", "S1.20")
def test_tp_6_a_list_gets_links_that_the_door_answers_and_writes_down(sluice, start, brand, queue, tmp_path):
    assert sluice("list", "add", "vip", "+447700900123", "+447700900124", "--source", "till").code == 0
    queue('UPDATE list_entry SET attributes = \'{"code": "A1"}\'')
    url = "https://shop.acme.example/?c={code}"
    made = sluice("links", "make", "vip", "--brand", "acme", "--url", url, "--campaign", "spring")
    assert made.code == 0 and made.out == "vip: 2 links of 35 characters, as {{ link }}\n"
    again = sluice("links", "make", "vip", "--brand", "acme", "--url", url, "--campaign", "spring")
    assert again.out.startswith("vip: 0 links")
    ((found,),) = queue("SELECT attributes ->> 'link' FROM list_entry WHERE number = 447700900123")
    door = start("links", "serve", "--listen", "127.0.0.1:0")
    address = re.search(r"http://(\S+)", door.says("links are answered on"))[1]
    answer = asked(address, found.removeprefix("https://go.acme.example"))
    assert answer.status == 302 and answer.getheader("location").startswith("https://shop.acme.example/?c=A1&utm_")
    assert asked(address, "/healthz").status == 200 and asked(address, "/nothing").status == 404
    # What was answered a moment before it is ended is written down all the same.
    assert door.ends().code == 0
    shown = sluice("links", "show", "--run", "0", "--json").json
    assert (shown["link"], shown["campaign"], shown["links"]) == ("link", "spring", 2)
    assert shown["clicks"] == {"undecided": 1, "human": 0, "unsure": 0, "bot": 0}
    assert "not yet" in sluice("links", "show", "--number", "+447700900123").out
    assert "1 times in all" in sluice("links", "show", "--run", "0").out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["make", "vip", "--brand", "acme"], "--url: expected one of url, page and optout"),
        (["make", "vip", "--brand", "acme", "--url", "http://a.example"], "--url: expected https://"),
        (["make", "none", "--brand", "acme", "--optout"], "none: expected a list"),
        (["make", "vip", "--brand", "other", "--optout"], "brands.other: expected"),
        (["serve", "--listen", "nowhere"], "--listen: expected an address and a port"),
        (["show"], "expected --run or --number"),
    ],
)
def test_what_cannot_be_is_said_with_what_was_expected(sluice, brand, arguments, expected):
    done = sluice("links", *arguments)
    assert done.code != 0 and expected in done.err


def test_a_file_of_networks_that_is_wrong_is_said_before_anything_is_answered(sluice, brand, tmp_path):
    (tmp_path / "clouds.txt").write_text("192.0.2.0/24\nnowhere\n")
    done = sluice("links", "serve", "--listen", "127.0.0.1:0")
    assert done.code != 0 and "clouds.txt:2: expected a network" in done.err


def test_tp_6_public_shorteners_of_a_text_are_named(here):
    done = here("links", "check", "Sale: https://bit.ly/abc")
    assert done.code == 1 and done.out.startswith("6: bit.ly: expected a link of your own domain")
    assert here("links", "check", "Sale: https://go.acme.example/0fQ3kP9sXaB").code == 0
    assert json.dumps(done.err) == '""'


@pytest.mark.covers("S0.28", "S1.20")
def test_tp_6_everybody_of_a_file_is_sent_a_link_of_their_own_with_their_code(sluice, brand, queue, people, serving):
    name = people("phone,code\n+447911123400,A1\n+447911123401,B2\n")
    serving("north")
    words = [
        "--contacts",
        name,
        "--carrier",
        "north",
        "--yes",
        "--brand",
        "acme",
        "--class",
        "transactional",
        "--detach",
    ]
    links = ["--link", "offer=https://shop.acme.example/?c={code}", "--link", "stop=optout"]
    done = sluice("send", *words, *links, "--text", "Sale: {{ link.offer }} Out: {{ link.stop }}", "--name", "spring")
    assert done.code == 0, done.err
    ((fields, params),) = queue("SELECT r.fields, p.params FROM chunk_payload p JOIN run r ON r.id = p.run")
    assert fields == ["link.offer", "link.stop", "code"]
    assert all(row[0].startswith("https://go.acme.example/") and len(row[0]) == len(row[1]) == 35 for row in params)
    assert len({url for row in params for url in row[:2]}) == 4
    kept = queue(
        "SELECT l.params, t.body ->> 'kind', t.body ->> 'campaign' FROM link l JOIN link_target t ON t.id = l.target "
        "JOIN run r ON r.id = l.run WHERE r.name = 'spring' ORDER BY 2 DESC, 1"
    )
    assert kept == [(["A1"], "url", "spring"), (["B2"], "url", "spring"), (None, "optout", "spring")] + kept[3:]
    assert len(kept) == 4
    # The same file once more: its people get others.
    again = sluice("send", *words, *links[:2], "--text", "Last: {{ link.offer }}", "--name", "last")
    assert again.code == 0, again.err
    assert queue("SELECT count(DISTINCT token), count(DISTINCT run) FROM link") == [(6, 2)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--text", "{{ link.a }}"], "--text: expected --link a=https://"),
        (["--text", "x", "--link", "a=https://a.example/"], "--link: expected {{ link.a }} in the text"),
        (["--text", "{{ link.a }}", "--link", "a"], "--link: expected NAME=https://"),
        (["--text", "{{ link.a }}", "--link", "a=http://a.example/"], "--link a: expected https://"),
        (["--text", "{{ link.a }}", "--link", "a=https://a.example/"], "link_domain: expected a domain of yours"),
        (["--text", "go to bit.ly/x"], "--text: expected a link of your own domain, found bit.ly at 6"),
        (["--brand", "acme", "--text", "{{ link.a }}", "--link", "a=https://a.example/{b}"], "no column b, which an"),
    ],
)
def test_tp_6_a_text_is_refused_whose_links_nobody_makes_or_that_carriers_block(here, brand, people, words, expected):
    done = here("send", "--contacts", people(3), "--carrier", "north", "--dry-run", *words)
    assert done.code != 0 and expected in done.err
