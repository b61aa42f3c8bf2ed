"""Answers who follows a link of a message: where it leads, a landing page, or the way out (TP-6, S0.25, S0.28).

    GET  /TOKEN         302 to where it leads; the click is written down behind the answer. HEAD is answered, uncounted
    GET  /p/TOKEN       a landing page      GET /b/TOKEN.gif  its picture, which tells that it is looked at
    POST /p/TOKEN       a form of it: committed, then answered
    GET  /stop/TOKEN    a page with one button, which does nothing by itself
    POST /stop/TOKEN    the STOP: in force when this is answered

Whoever asks for what is not there is told nothing, and soon asks too often. A token is all that anybody needs and all
that anybody has: there are no cookies, so no other site can send what only the page of a token can (and one that says
where it comes from is held to it). Links lead to stored addresses alone.
Not here: HTTP itself (serving.py), looking up (looking.py), writing down (recording.py), HTML (rendering.py).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.campaign import clicks
from gateway.campaign.clicks import Networks
from gateway.config import Settings
from gateway.dispatch.clock import Clock
from gateway.dispatch.stops import Stops
from gateway.errors import StoreError
from gateway.link import Target, Verdict, read_token
from gateway.page import Form, Page, Theme, answers_of
from gateway.redirect import rendering
from gateway.redirect.bounds import UNKNOWN_PART, Openers, Rates
from gateway.redirect.looking import Looking
from gateway.redirect.recording import Recording
from gateway.redirect.rendering import Made
from gateway.store import pages, postgres
from gateway.store.links import Click, Found
from gateway.store.pages import Entry, Version

log = logging.getLogger(__name__)

# Of a click: two of so many meet never, however many processes draw them.
ID_BITS = 63
MOST_BODY = 16_384
MOST_FIELDS = 100
BODY_S = 10.0
# A page that is applied is seen by everybody so soon.
PAGE_S = 5.0
MOST_PAGES = 1000
# 43 octets: one pixel that nobody sees.
PICTURE = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex, nofollow",
}
_GET = ["GET", "HEAD"]


class Turned(Exception):
    """A request that ends here, with its answer."""

    def __init__(self, answer: Response):
        super().__init__()
        self.answer = answer


class Door:
    """Everything that answers; `app` is what HTTP is served by.

    lookups, writes  connections of their own: who opens a link does not wait for those who write clicks down
    chance           of the ids of clicks
    """

    def __init__(
        self,
        settings: Settings,
        lookups: postgres.Connections,
        writes: postgres.Connections,
        stops: Stops,
        clock: Clock,
        chance: Random,
        networks: Networks,
    ):
        self._settings, self._writes, self._stops = settings, writes, stops
        self._clock, self._chance, self._networks = clock, chance, networks
        self._deadline_s = settings.database.deadline_s
        self.looking = Looking(lookups, self._deadline_s)
        self.recording = Recording(writes, self._deadline_s)
        self._rates = Rates(settings.links.requests_per_minute)
        self._openers = Openers()
        self._pages: dict[str, tuple[float, Version | None]] = {}
        self.app = Starlette(
            routes=[
                Route("/healthz", self._answering(self._healthy), methods=_GET),
                Route("/robots.txt", self._answering(self._robots), methods=_GET),
                Route("/b/{token}.gif", self._answering(self._beacon), methods=["GET"]),
                Route("/p/{token}", self._answering(self._show), methods=_GET),
                Route("/p/{token}", self._answering(self._send), methods=["POST"]),
                Route("/stop/{token}", self._answering(self._ask), methods=_GET),
                Route("/stop/{token}", self._answering(self._stop), methods=["POST"]),
                Route("/{token}", self._answering(self._follow), methods=_GET),
                Route("/{rest:path}", self._answering(self._nothing), methods=["GET", "HEAD", "POST"]),
            ]
        )

    def _answering(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            address = request.client.host if request.client else ""
            if not self._rates.take(address, self._clock.monotonic()):
                made = _html(self._said("much", "busy_text"), 429)
                made.headers["retry-after"] = "60"
                return made
            try:
                return await answer(request)
            except Turned as turned:
                return turned.answer
            except ClientDisconnect:
                return Response(status_code=400, headers=HEADERS)
            except StoreError as error:
                log.warning("! a link was not answered: %s", error)
                made = _html(self._said("busy", "busy_text"), 503)
                made.headers["retry-after"] = "1"
                return made

        return answered

    # -- what a token says -------------------------------------------------------------------------------------------

    async def _found(self, request: Request, kind: str = "") -> tuple[str, Found, Target]:
        """Find the link of a request; Turned away where there is none, or it is over."""
        token = request.path_params["token"]
        place = read_token(token)
        found = await self.looking.ask(place) if place is not None else None
        if found is None or (kind and found[1].kind != kind):
            raise Turned(self._unknown(request))
        link, target = found
        # The way out stays open.
        if link.expires_at <= self._clock.wall() and target.kind != "optout":
            theme = self._theme(target.brand)
            words = rendering.words_of(theme.language)
            text = target.expired or words["expired_text"]
            raise Turned(_html(rendering.said(theme, target.brand, words["expired"], text), 410))
        return token, link, target

    def _unknown(self, request: Request) -> Response:
        """Say that there is nothing, the same to everybody; it costs more than what is there."""
        address = request.client.host if request.client else ""
        cost = self._settings.links.requests_per_minute * UNKNOWN_PART
        self._rates.charge(address, self._clock.monotonic(), cost - 1)
        return _html(self._said("gone", "gone_text"), 404)

    def _theme(self, brand: str) -> Theme:
        found = self._settings.brands.get(brand)
        return Theme() if found is None else found.theme

    def _said(self, title: str, text: str) -> Made:
        words = rendering.words_of("en")
        return rendering.said(Theme(), "", words[title], words[text])

    # -- answers -----------------------------------------------------------------------------------------------------

    async def _healthy(self, request: Request) -> Response:
        """Say whether links can be looked up."""
        await self.looking.ask((0, 0))
        return Response("ok\n", headers=HEADERS, media_type="text/plain")

    async def _robots(self, request: Request) -> Response:
        return Response("User-agent: *\nDisallow: /\n", media_type="text/plain")

    async def _nothing(self, request: Request) -> Response:
        return self._unknown(request)

    async def _follow(self, request: Request) -> Response:
        token, link, target = await self._found(request)
        if target.kind == "url":
            where = target.address(link.params)
        else:
            where = f"/stop/{token}" if target.kind == "optout" else f"/p/{token}"
        # Who looks for the way out is not engaged by that.
        if request.method == "GET" and target.kind != "optout":
            self.recording.add(self._click(request, token, link))
        return Response(status_code=302, headers={"location": where, **HEADERS})

    def _click(self, request: Request, token: str, link: Found) -> Click:
        agent = request.headers.get("user-agent", "").replace("\0", "")[: clicks.LONGEST_AGENT]
        address = request.client.host if request.client else ""
        tokens = self._openers.opens(address, agent, token, self._clock.monotonic())
        ruling = clicks.seen(
            agent, request.headers, address, self._networks, tokens, self._settings.links.tokens_per_minute
        )
        now = self._clock.wall()
        return Click(
            bucket=link.bucket, id=self._chance.getrandbits(ID_BITS), token=link.token, number=link.number,
            target=link.target, run=link.run, at=now, made_at=link.made_at,
            verdict=Verdict.UNDECIDED if ruling is None else ruling.verdict, is_told=ruling is not None,
            rule="" if ruling is None else ruling.rule, agent=agent,
        )  # fmt: skip

    async def _beacon(self, request: Request) -> Response:
        place = read_token(request.path_params["token"])
        # The same picture for everybody: it is no way to find tokens.
        if place is not None and await self.looking.ask(place) is not None:
            self.recording.beacon(place, self._clock.wall())
        return Response(PICTURE, headers=HEADERS, media_type="image/gif")

    # -- pages -------------------------------------------------------------------------------------------------------

    async def _version(self, request: Request, target: Target) -> Version:
        now = self._clock.monotonic()
        kept = self._pages.get(target.page)
        if kept is None or now - kept[0] >= PAGE_S:
            async with self._writes.take(self._deadline_s, "page") as connection:
                kept = now, await pages.newest(connection, target.page)
            if len(self._pages) >= MOST_PAGES:
                self._pages.clear()
            self._pages[target.page] = kept
        if kept[1] is None:
            log.warning("! page %s: there is none, and links lead to it", target.page)
            raise Turned(self._unknown(request))
        return kept[1]

    async def _show(self, request: Request) -> Response:
        token, link, target = await self._found(request, "page")
        version = await self._version(request, target)
        return _html(self._page(version.page, token, link, target), 200)

    def _page(
        self, page: Page, token: str, link: Found, target: Target, form: str = "",
        answers: Mapping[str, object] | None = None, wrong: Mapping[str, str] | None = None,
    ) -> Made:  # fmt: skip
        return rendering.page(
            page, self._theme(page.brand or target.brand), page.brand or target.brand,
            values=dict(zip(target.fields, link.params, strict=False)), action=f"/p/{token}", beacon=token, form=form,
            answers=answers, wrong=wrong,
        )  # fmt: skip

    async def _send(self, request: Request) -> Response:
        token, link, target = await self._found(request, "page")
        version = await self._version(request, target)
        page = version.page
        told = await self._filled(request, page.brand or target.brand)
        form = page.forms.get(dict(told).get("form", ""))
        if form is None:
            raise Turned(self._unknown(request))
        answers, wrong = answers_of(form, told)
        if wrong:
            return _html(self._page(page, token, link, target, form.name, answers, wrong), 422)
        await self._enter(link, version, form, answers)
        theme, brand = self._theme(page.brand or target.brand), page.brand or target.brand
        # Said once more, it is taken no second time, and thanked for all the same.
        thanks = rendering.said(theme, brand, page.title, form.thanks, language=page.language)
        return _html(thanks, 200)

    async def _enter(self, link: Found, version: Version, form: Form, answers: Mapping[str, object]) -> None:
        now = self._clock.wall()
        entry = Entry(
            bucket=link.bucket, id=self._chance.getrandbits(ID_BITS), number=link.number, target=link.target,
            run=link.run, at=now, form=form.name, page=version.page.name, version=version.version, answers=answers,
            scope=0 if form.contest else link.target,
        )  # fmt: skip
        async with self._writes.take(self._deadline_s, "page entry") as connection:
            await pages.enter(connection, entry)

    async def _filled(self, request: Request, brand: str) -> list[tuple[str, str]]:
        """Read what a form of ours has sent; Turned away where it is not one."""
        origin = request.headers.get("origin", "")
        # "null": a browser that follows our own referrer policy says no more of a page of ours.
        is_foreign = origin not in ("", "null") and urlsplit(origin).netloc != request.headers.get("host", "")
        if is_foreign or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Turned(self._refused(brand, 403))
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Turned(self._refused(brand, 415))
        octets = b""
        try:
            async with asyncio.timeout(BODY_S):
                async for piece in request.stream():
                    octets += piece
                    if len(octets) > MOST_BODY:
                        raise Turned(self._refused(brand, 413))
        except TimeoutError:
            raise Turned(self._refused(brand, 408)) from None
        try:
            text = octets.decode("ascii")
            return parse_qsl(
                text, keep_blank_values=True, encoding="utf-8", errors="replace", max_num_fields=MOST_FIELDS
            )
        except ValueError:
            raise Turned(self._refused(brand, 400)) from None

    def _refused(self, brand: str, status: int) -> Response:
        theme = self._theme(brand)
        words = rendering.words_of(theme.language)
        return _html(rendering.said(theme, brand, words["refused"], words["busy_text"]), status)

    # -- the way out -------------------------------------------------------------------------------------------------

    async def _ask(self, request: Request) -> Response:
        token, _, target = await self._found(request, "optout")
        theme = self._theme(target.brand)
        words, speaker = rendering.words_of(theme.language), theme.title or target.brand
        made = rendering.said(
            theme, target.brand, words["stop"], words["stop_text"].replace("{brand}", speaker).strip(),
            button=words["stop_button"], action=f"/stop/{token}",
        )  # fmt: skip
        return _html(made, 200)

    async def _stop(self, request: Request) -> Response:
        _, link, target = await self._found(request, "optout")
        await self._filled(request, target.brand)
        await self._stops.stop([link.number], note=f"link of {target.campaign or 'a message'}"[:200])
        theme = self._theme(target.brand)
        words = rendering.words_of(theme.language)
        return _html(rendering.said(theme, target.brand, words["stopped"], words["stopped_text"]), 200)

    async def close(self) -> None:
        """End what runs behind the answers."""
        await self.looking.close()


def _html(made: Made, status: int) -> Response:
    return Response(
        made.octets, status, {**HEADERS, "content-security-policy": made.policy}, media_type="text/html; charset=utf-8"
    )
