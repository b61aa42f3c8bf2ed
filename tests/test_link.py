"""Short links: their tokens, their length, where they may lead (TP-6)."""

from collections import Counter
from datetime import timedelta
from random import Random
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.link import (
    CHANCE_BITS,
    TOKEN_LENGTH,
    Link,
    LinkSettings,
    Target,
    domain_problems,
    length_of,
    placeholder,
    problems_of,
    read_token,
    settings_problems,
    shortener_problems,
    shorteners,
    shorteners_in,
    target_of,
    token_of,
    url_of,
    with_marks,
)

DOMAIN = "go.acme.example"


@given(st.integers(0, 255), st.integers(0, (1 << CHANCE_BITS) - 1))
def test_tp_6_a_token_is_read_as_it_was_written_and_all_are_of_one_length(bucket: int, chance: int) -> None:
    token = token_of(bucket, chance)
    assert len(token) == TOKEN_LENGTH and token.isascii() and token.isalnum()
    assert read_token(token) == (bucket, chance)


@given(st.text(max_size=14))
def test_whatever_is_no_token_is_none_or_is_written_back_the_same(text: str) -> None:
    found = read_token(text)
    assert found is None or token_of(*found) == text


def test_a_number_above_the_last_bucket_is_no_token() -> None:
    assert read_token("z" * TOKEN_LENGTH) is None and read_token("") is None and read_token("0" * 10) is None
    assert token_of(255, (1 << CHANCE_BITS) - 1) < "z" * TOKEN_LENGTH


def test_tp_6_tokens_have_more_than_48_bits_of_chance() -> None:
    assert CHANCE_BITS >= 54
    chance = Random(7)
    tokens = [token_of(9, chance.getrandbits(CHANCE_BITS)) for _ in range(20_000)]
    assert len(set(tokens)) == len(tokens)
    # Each digit but the first two, in which the bucket stands, is any of the 62.
    for at in range(2, TOKEN_LENGTH):
        assert len(Counter(token[at] for token in tokens)) == 62


@pytest.mark.covers("S0.28")
def test_tp_6_the_length_of_a_link_is_known_before_there_is_one() -> None:
    made = url_of(DOMAIN, token_of(200, 12345))
    assert made.startswith("https://go.acme.example/")
    assert len(made) == length_of(DOMAIN) == len(placeholder(DOMAIN)) == 35


def test_tp_6_utm_is_appended_and_what_an_address_has_stays() -> None:
    link = Link(url="https://shop.acme.example/s?a=1&utm_source=mine#top", utm={"utm_term": "a b", "utm_content": ""})
    target = target_of(link, "offer", brand="acme", campaign="spring & sale")
    parts = urlsplit(target.url)
    assert parse_qs(parts.query) == {
        "a": ["1"], "utm_source": ["mine"], "utm_medium": ["sms"], "utm_campaign": ["spring & sale"],
        "utm_term": ["a b"],
    }  # fmt: skip
    assert parts.fragment == "top"
    assert with_marks("https://a.example/", {}) == "https://a.example/"
    assert with_marks("https://a.example/?", {"utm_source": "x"}) == "https://a.example/?utm_source=x"


@pytest.mark.covers("S1.20")
def test_tp_6_a_code_stands_in_the_address_whatever_is_in_it() -> None:
    link = Link(url="https://shop.acme.example/go/{code}?c={code}&n={name}")
    assert link.fields == ("code", "name") and problems_of("links.offer", link, ["code", "name"]) == []
    target = target_of(link, "offer", campaign="{code}")
    address = target.address(["A/1?&#", "Zoë"])
    assert address.startswith("https://shop.acme.example/go/A%2F1%3F%26%23?c=A%2F1%3F%26%23&n=Zo%C3%AB&")
    # A campaign that is called like a value is none.
    assert "utm_campaign=%7Bcode%7D" in address
    assert target.address([]).startswith("https://shop.acme.example/go/?c=&n=")


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (Link(), "one of url, page"),
        (Link(url="https://a.example/", optout=True), "one of url, page"),
        (Link(url="http://shop.acme.example/"), "https://"),
        (Link(url="javascript:alert(1)"), "https://"),
        (Link(url="https://{host}/"), "a host without"),
        (Link(url="https://a.{host}.example/"), "a host without"),
        (Link(url="https://shop.acme.example{x}/"), "a host without"),
        (Link(url="https://me@shop.acme.example/"), "a host such as"),
        (Link(url="https:///x"), "a host such as"),
        (Link(url="https://shop.acme.example/a b"), "an address of ASCII"),
        (Link(url="https://shop.acme.example/\r\nSet-Cookie: a"), "an address of ASCII"),
        (Link(url="https://shop.acme.example/{Code}"), "values as {name}"),
        (Link(url="https://shop.acme.example/{a"), "values as {name}"),
        (Link(url="https://shop.acme.example/{other}"), "a value that each message has"),
        (Link(url="https://bit.ly/abc"), "where it leads in the end"),
        (Link(url="https://[::1/"), "an address such as"),
        (Link(url="https://a.example/", utm={"gclid": "1"}), "names such as utm_source"),
        (Link(optout=True, life="9999d"), "at most 730d"),
    ],
)
def test_tp_6_a_link_that_could_lead_anywhere_is_refused_with_its_place(link: Link, expected: str) -> None:
    (first, *_) = problems_of("links.offer", link, ["code"])
    assert first[0].startswith("links.offer") and first[1].startswith(expected)


def test_a_link_says_how_long_it_lives() -> None:
    assert Link(optout=True).lifetime == timedelta(days=30) and Link(page="x", life="90m").lifetime.seconds == 5400
    with pytest.raises(msgspec.ValidationError, match="life"):
        msgspec.convert({"optout": True, "life": "soon"}, Link)
    assert target_of(Link(optout=True), "stop").kind == "optout"
    assert target_of(Link(page="spring"), "page") == Target(kind="page", name="page", page="spring")


@pytest.mark.parametrize("domain", ["go.acme.example", "a.co", "x1.acme-shop.example"])
def test_a_domain_of_links_is_a_name_of_ones_own(domain: str) -> None:
    assert domain_problems("brands.acme.link_domain", domain) == []


@pytest.mark.parametrize(
    "domain", ["bit.ly", "https://go.acme.example", "Go.acme.example", "acme", "a..example", "a/b"]
)
def test_tp_6_a_public_shortener_or_no_domain_is_refused_for_a_brand(domain: str) -> None:
    ((key, expected, found),) = domain_problems("brands.acme.link_domain", domain)
    assert (key, found) == ("brands.acme.link_domain", repr(domain)) and expected.startswith("a domain of yours")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Sale: bit.ly/3xYz", [(6, "bit.ly")]),
        ("https://www.TinyURL.com/a and t.co", [(0, "tinyurl.com"), (30, "t.co")]),
        ("write to me@bit.ly", []),
        ("see notbit.ly/x or bit.ly.example/x or go.acme.example/0fQ3kP9sXaB", []),
        ("Ends 5.p.m. Is.gd", [(12, "is.gd")]),
        ("", []),
    ],
)
def test_tp_6_public_shorteners_are_found_in_texts(text: str, found: list[tuple[int, str]]) -> None:
    assert shorteners_in(text) == found
    assert len(shortener_problems("text", text)) == len(found)


def test_shorteners_are_written_as_they_are_looked_up() -> None:
    assert len(shorteners()) > 50 and all(name == name.lower() and "/" not in name for name in shorteners())


def test_a_proxy_that_is_no_address_is_refused() -> None:
    assert settings_problems("links", LinkSettings(proxies=("10.0.0.0/8", "::1"))) == []
    ((key, _, found),) = settings_problems("links", LinkSettings(proxies=("proxy",)))
    assert (key, found) == ("links.proxies", "'proxy'")
