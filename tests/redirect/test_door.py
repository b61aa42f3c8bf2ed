"""Who follows a link gets where it leads, and nowhere else; who tries gets nothing (TP-6, S0.20 to S0.29)."""

import asyncio
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest

from gateway.link import CHANCE_BITS, Link, Verdict, token_of
from gateway.store import pages, stops
from tests.fixtures.doors import ADA, BOB, NOW, RUN, SURVEY, Opened

OFFER = Link(url="https://shop.acme.example/sale?code={code}")
NOBODYS = token_of(3, (1 << CHANCE_BITS) - 5)


@pytest.mark.covers("S0.28", "S1.20")
async def test_tp_6_a_link_leads_where_it_was_made_to_lead_with_its_code_and_marks(opened: Opened) -> None:
    token = await opened.link(OFFER, ADA, "A/1 &x=2")
    answer = await opened.visitor().get(f"/{token}")
    assert answer.status == 302 and answer.octets == b""
    assert answer.headers["location"] == (
        "https://shop.acme.example/sale?code=A%2F1%20%26x%3D2&utm_source=sms&utm_medium=sms&utm_campaign=spring"
        "&utm_content=offer"
    )
    assert answer.headers["cache-control"] == "no-store" and answer.headers["referrer-policy"] == "no-referrer"
    assert "server" not in answer.headers and "set-cookie" not in answer.headers


@pytest.mark.covers("S0.29")
async def test_tp_7_each_opening_is_kept_with_who_when_and_what_it_said_of_itself(opened: Opened) -> None:
    token = await opened.link(OFFER, ADA, "A1")
    await opened.visitor().get(f"/{token}")
    opened.now += timedelta(minutes=1)
    await opened.visitor(agent="WhatsApp/2.24").get(f"/{token}")
    opened.now += timedelta(minutes=1)
    await opened.visitor().get(f"/{token}", sec_purpose="prefetch")
    opened.now += timedelta(minutes=1)
    await opened.visitor(address="203.0.113.9").get(f"/{token}")
    found = await opened.clicks()
    assert [(one["number"], one["run"], one["verdict"], one["rule"], one["is_told"]) for one in found] == [
        (ADA, RUN, Verdict.UNDECIDED, "", False),
        (ADA, RUN, Verdict.BOT, "preview_agent", True),
        (ADA, RUN, Verdict.BOT, "prefetch", True),
        (ADA, RUN, Verdict.BOT, "cloud_network", True),
    ]
    assert [one["at"] - found[0]["at"] for one in found] == [timedelta(minutes=n) for n in range(4)]
    assert found[0]["agent"].startswith("Mozilla/5.0 (iPhone")


async def test_tp_6_a_head_is_answered_and_never_counted(opened: Opened) -> None:
    token = await opened.link(OFFER, ADA, "A1")
    answer = await opened.visitor().ask("HEAD", f"/{token}")
    assert answer.status == 302 and "code=A1" in answer.headers["location"]
    assert await opened.clicks() == []


@pytest.mark.parametrize(
    "path",
    [
        f"/{NOBODYS}", "/", "/x", "/zzzzzzzzzzz", "/favicon.ico", f"/{NOBODYS}/more", f"/p/{NOBODYS}",
        f"/stop/{NOBODYS}",
        "/https://evil.example/", "//evil.example", "/%2e%2e/%2e%2e/etc/passwd", "/%00", "/" + "a" * 3000,
    ],
)  # fmt: skip
async def test_tp_6_what_is_not_there_is_told_nothing_and_the_same_as_everything(opened: Opened, path: str) -> None:
    nothing = await opened.visitor().get(f"/{NOBODYS}"[:-1] + "1")
    answer = await opened.visitor().get(path)
    assert answer.status == nothing.status == 404 and answer.octets == nothing.octets
    assert "location" not in answer.headers


async def test_tp_6_a_kind_of_link_is_found_under_its_own_path_alone(opened: Opened) -> None:
    offer = await opened.link(OFFER, ADA, "A1")
    for path in (f"/p/{offer}", f"/stop/{offer}"):
        assert (await opened.visitor().get(path)).status == 404
        assert (await opened.visitor().send(path, {"form": "sizes"})).status == 404
    assert await stops.standing(opened.connection, [ADA]) == []


async def test_tp_6_a_link_that_is_over_says_so_and_leads_nowhere(opened: Opened) -> None:
    over = Link(url="https://shop.acme.example/", life="1h", expired="The sale ended on <Sunday>.")
    token, plain = await opened.link(over), await opened.link(Link(url="https://shop.acme.example/", life="1h"), BOB)
    opened.now = NOW + timedelta(hours=1)
    answer = await opened.visitor().get(f"/{token}")
    assert answer.status == 410 and "The sale ended on &lt;Sunday&gt;." in answer.text
    assert "location" not in answer.headers and "Acme &amp; Sons" in answer.text
    assert "The link has expired." in (await opened.visitor().get(f"/{plain}")).text
    assert await opened.clicks() == []


async def test_tp_6_who_tries_tokens_is_turned_away_and_others_are_not(opened: Opened) -> None:
    token = await opened.link(OFFER, ADA, "A1")
    thief = opened.visitor(address="192.0.2.66")
    statuses = [(await thief.get(f"/{token_of(n, 77)}")).status for n in range(25)]
    assert statuses[:20] == [404] * 20 and set(statuses[21:]) == {429}
    turned = await thief.get(f"/{token}")
    assert turned.status == 429 and turned.headers["retry-after"] == "60"
    assert (await opened.visitor().get(f"/{token}")).status == 302
    opened.passed_s += 60
    assert (await thief.get(f"/{token}")).status == 302


async def test_an_address_that_no_proxy_of_ours_tells_is_not_believed(opened: Opened) -> None:
    life = opened.open(proxies=("10.0.0.1",), requests_per_minute=60)
    await anext(life)
    try:
        answers = [await opened.visitor(address=f"192.0.2.{n}").get("/x") for n in range(25)]
        assert answers[-1].status == 429
    finally:
        await life.aclose()


async def test_tp_7_one_agent_of_one_address_that_opens_link_after_link_is_a_bot(opened: Opened) -> None:
    tokens = [await opened.link(OFFER, 447_700_900_100 + n, "A") for n in range(22)]
    for token in tokens:
        opened.passed_s += 0.1
        opened.now += timedelta(seconds=0.1)
        await opened.visitor().get(f"/{token}")
    found = await opened.clicks()
    assert [one["rule"] for one in found] == [""] * 20 + ["many_tokens"] * 2


async def test_links_that_are_asked_for_together_are_looked_up_together(opened: Opened) -> None:
    tokens = [await opened.link(OFFER, 447_700_900_100 + n, f"c{n}") for n in range(40)]
    before = opened.door.looking.statements
    answers = await asyncio.gather(*(opened.visitor().get(f"/{token}") for token in tokens))
    assert [f"code=c{n}&" in one.headers["location"] for n, one in enumerate(answers)] == [True] * 40
    assert opened.door.looking.statements - before < 40


async def test_a_door_without_its_database_says_to_come_back_and_nothing_else(opened: Opened) -> None:
    token = await opened.link(OFFER, ADA, "A1")
    assert (await opened.visitor().get("/healthz")).status == 200
    await opened.door.looking._connections.close()
    for path in (f"/{token}", "/healthz"):
        answer = await opened.visitor().get(path)
        assert answer.status == 503 and answer.headers["retry-after"] == "1" and "location" not in answer.headers


@pytest.mark.covers("S4.43")
async def test_tp_6_the_way_out_needs_a_button_and_looking_at_it_stops_nothing(opened: Opened) -> None:
    token = await opened.link(Link(optout=True), name="stop")
    visitor = opened.visitor()
    first = await visitor.get(f"/{token}")
    assert (first.status, first.headers["location"]) == (302, f"/stop/{token}")
    for verb in ("GET", "HEAD"):
        shown = await visitor.ask(verb, f"/stop/{token}")
        assert shown.status == 200
    page = await visitor.get(f"/stop/{token}")
    assert "Acme &amp; Sons will send no more" in page.text and page.text.count("<button") == 1
    assert await stops.standing(opened.connection, [ADA]) == []
    done = await visitor.send(f"/stop/{token}", {}, origin="https://go.acme.example")
    assert done.status == 200 and "You will get no more messages" in done.text
    (standing,) = await stops.standing(opened.connection, [ADA])
    assert standing.is_stop and standing.scope == "*" and standing.note == "link of spring"
    # Who looks for the way out has not clicked on an offer.
    assert await opened.clicks() == []
    # It stays open when the rest is over.
    opened.now = NOW + timedelta(days=400)
    assert (await visitor.get(f"/stop/{token}")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"content_type": "text/plain"},
        {"content_type": "application/json"},
    ],
)
async def test_no_other_site_sends_what_only_a_page_of_ours_may(opened: Opened, headers: dict[str, str]) -> None:
    await opened.page()
    out = await opened.link(Link(optout=True), name="stop")
    survey = await opened.link(Link(page="survey", values=("name",)), ADA, "Ada")
    for path, told in ((f"/stop/{out}", {}), (f"/p/{survey}", {"form": "sizes", "size": "M"})):
        assert (await opened.visitor().send(path, told, **headers)).status in (403, 415)
    assert await stops.standing(opened.connection, [ADA]) == []
    assert await pages.count(opened.connection, "survey") == {}


class Structure(HTMLParser):
    """What of a page a browser would make something of."""

    VOID = ("meta", "img", "input", "br")

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.covers("S0.25")
async def test_s0_25_a_page_is_served_mobile_first_under_50_kb_and_without_a_script(opened: Opened) -> None:
    await opened.page()
    token = await opened.link(Link(page="survey", values=("name",)), ADA, '<b>Ada</b> & "co"')
    followed = await opened.visitor().get(f"/{token}")
    assert (followed.status, followed.headers["location"]) == (302, f"/p/{token}")
    answer = await opened.visitor().get(f"/p/{token}")
    assert answer.status == 200 and len(answer.octets) < 50_000
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Help us, &lt;b&gt;Ada&lt;&#x2f;b&gt; &amp; &quot;co&quot;" in answer.text
    found = Structure(answer.text)
    assert found.faults == [] and found.open == []
    assert not found.all("script") and not any("on" == name[:2] for _, told in found.tags for name in told)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in found.all("meta")


async def test_tp_7_the_picture_of_a_page_tells_that_it_is_looked_at(opened: Opened) -> None:
    await opened.page()
    token = await opened.link(Link(page="survey", values=("name",)), ADA, "Ada")
    await opened.visitor().get(f"/{token}")
    page = await opened.visitor().get(f"/p/{token}")
    (beacon,) = [told["src"] for told in Structure(page.text).all("img")]
    assert beacon == f"/b/{token}.gif"
    opened.now += timedelta(seconds=2)
    picture = await opened.visitor().get(beacon)
    assert picture.headers["content-type"] == "image/gif" and picture.octets[:6] == b"GIF89a"
    (click,) = await opened.clicks()
    assert click["beacon_at"] - click["at"] == timedelta(seconds=2)
    # The same picture for everybody: it finds no tokens.
    assert (await opened.visitor().get(f"/b/{NOBODYS}.gif")).octets == picture.octets


@pytest.mark.covers("S0.18", "S0.21")
async def test_s0_21_what_is_filled_in_is_committed_before_thanks_and_counts_once(opened: Opened) -> None:
    await opened.page()
    token = await opened.link(Link(page="survey", values=("name",)), ADA, "Ada")
    again = await opened.link(Link(page="survey", values=("name",)), ADA, "Ada", campaign="reminder")
    told = {"form": "sizes", "size": "M", "why": "  it\x00 fits ", "mail": "", "more": "yes", "other": "x"}
    for _ in range(2):
        answer = await opened.visitor().send(f"/p/{token}", told, origin="null")
        assert answer.status == 200 and "Thank you!" in answer.text
    await asyncio.gather(*(opened.visitor().send(f"/p/{token}", {"form": "win", "guess": str(n)}) for n in range(8)))
    opened.now += timedelta(minutes=1)
    await opened.visitor().send(f"/p/{again}", {"form": "win", "guess": "9"})
    await opened.visitor().send(f"/p/{again}", {"form": "sizes", "size": "L"})
    # A contest counts once for the page, a survey once for each of its links.
    assert await pages.count(opened.connection, "survey") == {"sizes": 2, "win": 1}
    entries = await pages.untold(opened.connection, 10)
    first = next(one for one in entries if one.form == "sizes")
    assert first.answers == {"size": "M", "why": "it fits", "more": True}
    assert (first.number, first.run, first.page, first.version) == (ADA, RUN, "survey", 1)


async def test_a_form_that_is_wrong_is_shown_again_with_what_is_wrong_and_nothing_is_kept(opened: Opened) -> None:
    await opened.page()
    token = await opened.link(Link(page="survey", values=("name",)), ADA, "Ada")
    answer = await opened.visitor().send(
        f"/p/{token}", {"form": "sizes", "size": "XXL", "why": "<i>" + "x" * 20, "mail": "me"}
    )
    assert answer.status == 422 and answer.text.count("aria-invalid") == 3
    for words in ("Please choose one of these.", "That is too long.", "name@example.com", "&lt;i&gt;xxx"):
        assert words in answer.text
    (missing,) = [await opened.visitor().send(f"/p/{token}", {"form": "sizes"})]
    assert "Please fill this in." in missing.text
    assert await pages.count(opened.connection, "survey") == {}
    assert (await opened.visitor().send(f"/p/{token}", {"form": "none"})).status == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"form=sizes&why=" + b"x" * 20_000, 413),
        (b"&".join(b"f%d=1" % n for n in range(500)), 400),
        ("form=sizes&size=é".encode(), 400),
        (b"form=sizes&size=M&why=%ff%fe%00", 200),
        (b"", 404),
        (b"=&&==%", 404),
    ],
)
async def test_whatever_is_sent_is_answered_and_bounded(opened: Opened, body: bytes, status: int) -> None:
    await opened.page()
    token = await opened.link(Link(page="survey", values=("name",)), ADA, "Ada")
    assert (await opened.visitor().ask("POST", f"/p/{token}", body)).status == status


async def test_a_page_that_is_applied_anew_is_seen_within_seconds(opened: Opened) -> None:
    await opened.page()
    token = await opened.link(Link(page="survey", values=("name",)), ADA, "Ada")
    assert "A question" in (await opened.visitor().get(f"/p/{token}")).text
    changed: dict[str, Any] = SURVEY | {"title": "Another question"}
    await opened.page(changed)
    opened.passed_s += 6
    assert "Another question" in (await opened.visitor().get(f"/p/{token}")).text
    nowhere = await opened.link(Link(page="gone"), BOB)
    assert (await opened.visitor().get(f"/p/{nowhere}")).status == 404


async def test_nobody_is_let_in_by_a_path_that_is_written_otherwise(opened: Opened) -> None:
    token = await opened.link(OFFER, ADA, "A1")
    assert (await opened.visitor().get(f"/{quote(token[0])}{token[1:]}")).status == 302
    assert (
        (await opened.visitor().get(f"/{token}?next=https://evil.example"))
        .headers["location"]
        .startswith("https://shop.acme.example/")
    )
    robots = await opened.visitor().get("/robots.txt")
    assert robots.text == "User-agent: *\nDisallow: /\n"
