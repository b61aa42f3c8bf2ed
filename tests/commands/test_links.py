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
