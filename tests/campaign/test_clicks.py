"""Who opens a link: a human, a program, or nobody knows (TP-7)."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.campaign.clicks import (
    BEACON_WITHIN,
    KNOWN_WITHIN,
    Networks,
    Ruling,
    decide,
    is_browser,
    is_preview,
    prefixes_in,
    seen,
    words,
)
from gateway.link import Verdict

MADE = datetime(2026, 3, 1, 12, tzinfo=UTC)
SENT = MADE + timedelta(minutes=3)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
    "Mobile/15E148 Safari/604.1"
)
ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36"
)
NOWHERE = Networks([])


@pytest.mark.parametrize(
    "agent",
    [
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "WhatsApp/2.24.1 A",
        "TelegramBot (like TwitterBot)",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 "
        "Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0 Safari/537.36",
        "curl/8.5.0",
        "python-requests/2.31",
        "Go-http-client/2.0",
    ],
)
def test_tp_7_a_known_preview_agent_is_a_bot(agent: str) -> None:
    assert seen(agent, {}, "192.0.2.1", NOWHERE, 1, 20) == Ruling(Verdict.BOT, "preview_agent")


@pytest.mark.parametrize("agent", [IPHONE, ANDROID, "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1; U; en) Presto/2.8"])
def test_tp_7_a_handset_is_no_preview_agent(agent: str) -> None:
    assert not is_preview(agent) and is_browser(agent)
    assert seen(agent, {"accept": "text/html"}, "192.0.2.1", NOWHERE, 1, 20) is None


@pytest.mark.parametrize(
    "headers",
    [{"purpose": "prefetch"}, {"sec-purpose": "prefetch;prerender"}, {"x-moz": "prefetch"}, {"x-purpose": "Preview"}],
)
def test_tp_7_who_says_that_it_fetches_ahead_is_a_bot(headers: dict[str, str]) -> None:
    assert seen(IPHONE, headers, "192.0.2.1", NOWHERE, 1, 20) == Ruling(Verdict.BOT, "prefetch")
    assert seen(IPHONE, dict.fromkeys(headers, "navigate"), "192.0.2.1", NOWHERE, 1, 20) is None


def test_tp_7_a_network_of_servers_is_a_bot_and_its_neighbours_are_not() -> None:
    networks = Networks(["192.0.2.0/25", "2001:db8:1::/48", "198.51.100.7"])
    for address in ("192.0.2.5", "2001:db8:1::9", "198.51.100.7", "::ffff:192.0.2.5"):
        assert seen(IPHONE, {}, address, networks, 1, 20) == Ruling(Verdict.BOT, "cloud_network")
    for address in ("192.0.2.200", "2001:db8:2::9", "198.51.100.8", "", "unix", "::192.0.2.5"):
        assert seen(IPHONE, {}, address, networks, 1, 20) is None


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_a_network_has_what_the_standard_library_says_that_it_has(net: object, length: int, address: object) -> None:
    import ipaddress

    prefix = ipaddress.ip_network(f"{net}/{length}", strict=False)
    assert Networks([str(prefix)]).has(str(address)) == (address in prefix)


def test_tp_7_one_agent_that_opens_link_after_link_is_a_bot() -> None:
    assert seen(IPHONE, {}, "192.0.2.1", NOWHERE, 20, 20) is None
    assert seen(IPHONE, {}, "192.0.2.1", NOWHERE, 21, 20) == Ruling(Verdict.BOT, "many_tokens")


def judged(
    agent: str = IPHONE,
    at: datetime = SENT + timedelta(minutes=1),
    submitted_at: datetime | None = SENT,
    has_page: bool = False,
    beacon_s: float | None = None,
    after: timedelta = timedelta(),
) -> Ruling | None:
    beacon = None if beacon_s is None else at + timedelta(seconds=beacon_s)
    return decide(
        agent, at=at, made_at=MADE, submitted_at=submitted_at, has_page=has_page, beacon_at=beacon, now=at + after
    )


def test_tp_7_sooner_than_two_seconds_after_its_message_went_out_is_a_bot() -> None:
    assert judged(at=SENT + timedelta(seconds=1.99)) == Ruling(Verdict.BOT, "early")
    assert judged(at=SENT - timedelta(minutes=1)) == Ruling(Verdict.BOT, "early")
    assert judged(at=SENT + timedelta(seconds=2)) == Ruling(Verdict.HUMAN, "browser")


def test_tp_7_a_click_waits_until_its_message_is_known_and_for_no_longer() -> None:
    assert judged(submitted_at=None) is None
    assert judged(submitted_at=None, after=KNOWN_WITHIN) == Ruling(Verdict.HUMAN, "browser")
    # Nothing is sent before there is a link for it.
    assert judged(submitted_at=None, at=MADE + timedelta(seconds=1)) == Ruling(Verdict.BOT, "early")


def test_tp_7_a_browser_that_does_not_fetch_the_picture_of_our_page_is_a_bot() -> None:
    assert judged(has_page=True) is None
    assert judged(has_page=True, beacon_s=1) == Ruling(Verdict.HUMAN, "beacon")
    assert judged(has_page=True, after=BEACON_WITHIN) == Ruling(Verdict.BOT, "no_beacon")
    assert judged(agent="something", has_page=True, after=BEACON_WITHIN) == Ruling(Verdict.UNSURE, "no_browser")


@pytest.mark.parametrize("agent", ["", "something", "Mozilla/5.0", "Dalvik/2.1.0 (Linux; U; Android 14)"])
def test_tp_7_what_calls_itself_no_browser_is_unsure(agent: str) -> None:
    assert judged(agent=agent) == Ruling(Verdict.UNSURE, "no_browser")


def test_tp_7_every_click_is_decided_in_the_end_and_never_otherwise_with_more_time() -> None:
    late = timedelta(days=1)
    for agent, submitted_at, has_page, beacon_s in product((IPHONE, ""), (SENT, None), (True, False), (None, 1.0)):
        end = judged(agent, submitted_at=submitted_at, has_page=has_page, beacon_s=beacon_s, after=late)
        assert end is not None
        for seconds in range(20):
            found = judged(
                agent, submitted_at=submitted_at, has_page=has_page, beacon_s=beacon_s, after=timedelta(seconds=seconds)
            )
            assert found in (None, end)


def test_a_file_of_networks_says_where_it_is_wrong() -> None:
    assert prefixes_in("192.0.2.0/24 # cloud\n\n# none\n2001:db8::/32\n192.0.2.77/25", "clouds.txt") == [
        "192.0.2.0/24", "2001:db8::/32", "192.0.2.0/25",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"clouds.txt:2: expected a network such as 192.0.2.0/24, found 'cloud'"):
        prefixes_in("192.0.2.0/24\ncloud", "clouds.txt")


def test_words_are_looked_for_in_small_letters_and_no_network_is_shipped() -> None:
    assert all(word == word.lower() for word in words().previews + words().browsers) and words().networks == ()
