"""What a step of a campaign says to each of some people: codes, links, languages; plain texts are left to the claim.

    a plain text    its fields are the columns of the run: the claim composes it (_fastpath.template)
    any other       codes (reserved before, by enrolment and visit) ─► links (minted with the step) ─► rendered ─► the
                    only column of a run whose text is {{ text }}

The last column of either names the enrolment and the visit: by it the gate knows whose a message is, and codes whose
they are. No template can name it.
Not here: which way a text goes and when (stepping.py), the language of texts (campaign/rendering.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from _fastpath.template import Template as Compiled
from gateway import predicate
from gateway.brand import BrandSettings, with_footer
from gateway.campaign.rendering import ABORTED, MISSING, TOO_LONG, Renderer
from gateway.campaign.workflow import Plan
from gateway.document import Ask, Document, Send
from gateway.errors import StoreError
from gateway.link import Link, target_of, url_of
from gateway.message import MessageClass, Refusal
from gateway.person import hash_of
from gateway.reasons import Reason
from gateway.store import coupons, links
from gateway.store.coupons import Code, Pool
from gateway.store.links import Wanted
from gateway.store.postgres import Connection
from gateway.template import Template

ENROLMENT_FIELD = "#enrolment"
TEXT_FIELD = "text"
HELD = -1
"""An effect that has to wait: a pool is empty (TP-5)."""


class Person(Struct, kw_only=True):
    """What is known of somebody for texts and waits. zone: whose clock; told_zone: as somebody has said it."""

    zone: str
    told_zone: str
    country: str
    attributes: dict[str, Any]
    values: dict[str, Any]


class Recipient(Struct, frozen=True, kw_only=True):
    """Somebody who is written to at a visit of a step."""

    enrolment: int
    visit: int
    number: int

    @property
    def key(self) -> str:
        """What names it: the last column of its text, and the key of its code."""
        return f"{self.enrolment}:{self.visit}"


class Composer:
    """A step that sends, made ready.

    text, fields  of its run
    pool          its codes
    """

    def __init__(self, plan: Plan, step: Send | Ask, brand: BrandSettings, class_: MessageClass):
        document = plan.document
        self._template = template_of(document, step, class_)
        is_plain = self._template.is_plain and not _names(step.text, document)
        text = with_footer(step.text if is_plain else f"{{{{ {TEXT_FIELD} }}}}", brand, class_)
        self.compiled = Compiled(text)
        self.text = self.compiled.text
        self.is_plain = is_plain
        self.fields = (*self.compiled.fields, ENROLMENT_FIELD)
        self.needs_persons = bool(self.compiled.fields)
        self.pool_name = step.coupon if isinstance(step, Send) else ""
        self.pool: Pool | None = None
        self._renderer = None if is_plain else Renderer(self._template, brand=document.brand, zone=brand.zone)
        self._links = {name: link for name, link in document.links.items() if f"link.{name}" in step.text}
        self._targets: dict[str, int] = {}
        self._document, self._brand = document, brand

    async def open(self, connection: Connection, now: datetime) -> None:
        """Find what it needs: the pool of its codes, where its links lead. raises  StoreError: there is none."""
        if self.pool_name and self.pool is None:
            self.pool = await coupons.find(connection, self.pool_name)
            if self.pool is None:
                raise StoreError(f"coupon pool {self.pool_name!r} is not known: `sluice coupon pool create` makes one")
        if self._links and not self._brand.link_domain:
            raise StoreError(f"brands.{self._document.brand}.link_domain: expected a domain of short links, found none")
        for name, link in self._links.items():
            if name not in self._targets:
                target = target_of(link, name, brand=self._document.brand, campaign=self._document.name)
                self._targets[name] = await links.keep_target(connection, target, now)

    async def reserve(
        self, connection: Connection, some: Sequence[Recipient], now: datetime
    ) -> dict[tuple[int, int], Code | None]:
        """Give each a code, the same when it is asked for again; None: the pool is empty."""
        assert self.pool is not None
        found = await coupons.reserve(connection, self.pool, [(one.key, one.number) for one in some], now)
        return {(one.enrolment, one.visit): code for one, code in zip(some, found, strict=True)}

    async def rows(
        self, connection: Connection, run: int, some: Sequence[Recipient], persons: Mapping[int, Person],
        codes: Mapping[tuple[int, int], Code | None], now: datetime, chance: Random,
    ) -> tuple[list[list[str | None]], list[int]]:  # fmt: skip
        """Write the columns of each, all of one bucket; -> them, and of each 0 or why there is no text."""
        if self._renderer is None:
            return self._plain_rows(some, persons)
        told = await self._links_of(connection, run, some, codes, now, chance)
        values = []
        for at, one in enumerate(some):
            row = dict(persons[one.enrolment].values)
            code = codes.get((one.enrolment, one.visit))
            if code is not None:
                row["coupon"] = {"code": code.code, "url": code.url}
            row["link"] = told[at]
            values.append(row)
        rendered = self._renderer.render(values)
        rows = [[text, one.key] for text, one in zip(rendered.texts, some, strict=True)]
        return rows, [reason_of(reason) for reason in rendered.reasons]

    def _plain_rows(
        self, some: Sequence[Recipient], persons: Mapping[int, Person]
    ) -> tuple[list[list[str | None]], list[int]]:
        rows, reasons = [], []
        for one in some:
            row: list[str | None] = [text_of(persons[one.enrolment].values, name) for name in self.compiled.fields]
            lacks = {name for name, value in zip(self.compiled.fields, row, strict=True) if value is None}
            reasons.append(int(Refusal.MISSING_FIELD) if lacks & set(self.compiled.required) else 0)
            rows.append([*row, one.key])
        return rows, reasons

    async def _links_of(
        self, connection: Connection, run: int, some: Sequence[Recipient],
        codes: Mapping[tuple[int, int], Code | None], now: datetime, chance: Random,
    ) -> list[dict[str, str]]:  # fmt: skip
        found: list[dict[str, str]] = [{} for _ in some]
        for name, link in self._links.items():
            wanted = [self._wanted(link, self._targets[name], run, one, codes, now) for one in some]
            tokens = await links.mint(connection, hash_of(some[0].number), wanted, chance)
            for at, token in enumerate(tokens):
                found[at][name] = url_of(self._brand.link_domain, token)
        return found

    def _wanted(
        self, link: Link, target: int, run: int, one: Recipient, codes: Mapping[tuple[int, int], Code | None],
        now: datetime,
    ) -> Wanted:  # fmt: skip
        code = codes.get((one.enrolment, one.visit))
        known = {"code": "" if code is None else code.code}
        params = tuple(known.get(name, "") for name in link.fields)
        return Wanted(one.number, target, run, now, now + max(link.lifetime, timedelta(minutes=1)), params or None)


def template_of(document: Document, step: Send | Ask, class_: MessageClass) -> Template:
    """Make the template of a step: its text and languages, and the defaults of the document."""
    return Template(
        text=step.text,
        languages=step.languages if isinstance(step, Send) else {},
        fallback=document.fallback,
        defaults=document.defaults,
        class_=class_.name.lower(),  # type: ignore[arg-type]  # its names are those of the class
        shops=document.shops,
        links={name: link.url or "https://example.com/" for name, link in document.links.items()},
    )


def _names(text: str, document: Document) -> bool:
    """Whether a text names what only rendering knows: codes and links."""
    return "coupon." in text or any(f"link.{name}" in text for name in document.links)


def text_of(values: Mapping[str, Any], name: str) -> str | None:
    """Write what a text names, as it stands in JSON; None: it is nowhere said."""
    found = predicate.at_path(values, (name,))
    if found is predicate.MISSING and "." in name:
        found = predicate.at_path(values, tuple(name.split(".")))
    if found is predicate.MISSING or found is None:
        return None
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def reason_of(word: str) -> int:
    """Say which reason of the closed list a rendering has given."""
    if word.startswith(MISSING):
        return int(Refusal.MISSING_FIELD)
    if word.startswith(ABORTED):
        return int(Reason.ABORT)
    return int(Refusal.TOO_MANY_PARTS) if word == TOO_LONG else 0
