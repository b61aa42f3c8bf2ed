"""What a step of a campaign says to each of some people: codes, links, languages; plain texts are left to the claim.

    a plain text    its fields are the columns of the run: the claim composes it (_fastpath.template)
    any other       codes (reserved before, by enrolment and visit) ─► links (minted with the step) ─► rendered ─► the
                    only column of a run whose text is {{ text }}

The last column of either names the enrolment and the visit: by it the gate knows whose a message is, and codes whose
they are. Before it stands the variant, where there is an experiment. No template can name them.
Not here: which way a text goes and when (carrying.py), the language of texts (campaign/rendering.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from _fastpath.template import Template as Compiled
from gateway import predicate
from gateway.brand import BrandSettings, with_footer
from gateway.campaign.rendering import ABORTED, MISSING, TOO_LONG, Renderer
from gateway.campaign.workflow import Plan
from gateway.document import Ask, Document, IssueCoupon, Send, is_to_staff
from gateway.errors import OrderFault, StoreError
from gateway.message import MessageClass, Refusal
from gateway.person import major_units
from gateway.product import Product
from gateway.reasons import Reason
from gateway.store import coupons, links, products
from gateway.store.coupons import Code, Pool
from gateway.store.links import Linked
from gateway.store.postgres import Connection
from gateway.template import Coupon, Template

ENROLMENT_FIELD = "#enrolment"
VARIANT_FIELD = "#variant"
TEXT_FIELD = "text"
PRODUCT = "product"
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
    """Somebody who is written to at a visit of a step.

    arm      of the experiment, 0 = there is none
    variant  of the texts beside the step's own; "" = the step's own
    """

    enrolment: int
    visit: int
    number: int
    arm: int = 0
    variant: str = ""

    @property
    def key(self) -> str:
        """What names it: the last column of its text, and the key of its code."""
        return f"{self.enrolment}:{self.visit}"


class Composer:
    """A step that sends, made ready.

    text, fields  of its run
    pool          its codes
    recommends    what it recommends; "" = nothing
    """

    def __init__(self, plan: Plan, step: Send | Ask, brand: BrandSettings, class_: MessageClass):
        document = plan.document
        self._template = template_of(document, step, class_)
        others = step.variants if isinstance(step, Send) else {}
        is_plain = self._template.is_plain and not _names(step.text, document) and document.experiment is None
        is_plain = is_plain and not others
        text = with_footer(step.text if is_plain else f"{{{{ {TEXT_FIELD} }}}}", brand, class_)
        self.compiled = Compiled(text)
        self.text = self.compiled.text
        self.is_plain = is_plain
        self._arms = document.experiment.names() if document.experiment else ()
        self.fields = (*self.compiled.fields, *((VARIANT_FIELD,) if self._arms else ()), ENROLMENT_FIELD)
        self.needs_persons = bool(self.compiled.fields)
        self.pool_name = step.coupon if isinstance(step, Send) else ""
        self.pool: Pool | None = None
        self.recommends = step.recommend if isinstance(step, Send) else ""
        self._renderer = None if is_plain else Renderer(self._template, brand=document.brand, zone=brand.zone)
        # By arm of the document's experiment.
        self._variants = {
            arm: Renderer(template_of(document, step, class_, one.text), brand=document.brand, zone=brand.zone)
            for arm, one in enumerate(document.experiment.variants if document.experiment else (), 1)
            if one.text
        }
        # By name, of whoever has had the offer elsewhere.
        self._others = {
            name: Renderer(template_of(document, step, class_, text), brand=document.brand, zone=brand.zone)
            for name, text in others.items()
        }
        texts = [
            step.text,
            *others.values(),
            *(one.text for one in (document.experiment.variants if document.experiment else ())),
        ]
        self._links = {
            name: link for name, link in document.links.items() if any(f"link.{name}" in text for text in texts)
        }
        self._linked: dict[str, Linked] = {}
        self._document, self._brand = document, brand

    async def open(self, connection: Connection, now: datetime) -> None:
        """Find what it needs: the pool of its codes, where its links lead. raises  StoreError: there is none."""
        if self.pool_name and self.pool is None:
            self.pool = await coupons.find(connection, self.pool_name)
            if self.pool is None:
                raise OrderFault(f"coupon pool {self.pool_name!r} is not known: `sluice coupon pool create` makes one")
        if self._links and not self._brand.link_domain:
            raise StoreError(f"brands.{self._document.brand}.link_domain: expected a domain of short links, found none")
        if len(self._linked) < len(self._links):
            brand, campaign = self._document.brand, self._document.name
            self._linked = await links.keep_links(connection, self._links, brand=brand, campaign=campaign, now=now)

    async def reserve(
        self, connection: Connection, some: Sequence[Recipient], now: datetime
    ) -> dict[tuple[int, int], Code | None]:
        """Give each a code, the same when it is asked for again; None: the pool is empty."""
        assert self.pool is not None
        found = await coupons.reserve(connection, self.pool, [(one.key, one.number) for one in some], now)
        return {(one.enrolment, one.visit): code for one, code in zip(some, found, strict=True)}

    async def recommend(
        self, connection: Connection, of: Sequence[tuple[int, int, int]], persons: Mapping[int, Person], now: datetime
    ) -> None:
        """Put into what is known of persons what is recommended to each; of: bucket, enrolment and profile of each."""
        by_bucket: dict[int, dict[int, int]] = {}
        for bucket, enrolment, profile in of if self.recommends else ():
            by_bucket.setdefault(bucket, {})[enrolment] = profile
        for bucket, profiles in by_bucket.items():
            assert self.recommends
            found = await products.recommend(connection, bucket, list(profiles.values()), self.recommends, now)
            for enrolment, product in zip(profiles, found, strict=True):
                values = persons[enrolment].values
                values.pop(PRODUCT, None)
                if product is not None:
                    values[PRODUCT] = values_of(product)

    async def rows(
        self, connection: Connection, run: int, some: Sequence[Recipient], persons: Mapping[int, Person],
        codes: Mapping[tuple[int, int], Code | None], now: datetime, chance: Random,
    ) -> tuple[list[list[str | None]], list[int]]:  # fmt: skip
        """Write the columns of each; -> them, and of each 0 or why there is no text."""
        if self._renderer is None:
            return self._plain_rows(some, persons)
        held = [codes.get((one.enrolment, one.visit)) for one in some]
        told = await links.urls(
            connection, self._brand.link_domain, self._linked,
            [(one.number, {"code": code.code if code else ""}) for one, code in zip(some, held, strict=True)],
            run=run, now=now, chance=chance,
        )  # fmt: skip
        rows: list[list[str | None]] = []
        reasons = []
        for one, code, urls in zip(some, held, told, strict=True):
            row = dict(persons[one.enrolment].values)
            if code is not None:
                row["coupon"] = told_of_code(code, self.pool, now)
            row["link"] = urls
            renderer = self._others.get(one.variant) or self._variants.get(one.arm, self._renderer)
            text, reason = renderer.render_one(row)
            rows.append([text, *((self._arms[one.arm],) if self._arms else ()), one.key])
            reasons.append(reason_of(reason))
        return rows, reasons

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


def class_of(document: Document, step: Send | Ask) -> MessageClass:
    """Say which class the messages of a step are of; to people of ours nobody advertises."""
    if is_to_staff(step):
        return MessageClass.TRANSACTIONAL
    return MessageClass[(step.class_ or document.class_).upper()]


def template_of(document: Document, step: Send | Ask, class_: MessageClass, text: str = "") -> Template:
    """Make the template of a step: its text and languages, or that of a variant, and the defaults of the document."""
    return Template(
        text=text or step.text,
        languages=step.languages if isinstance(step, Send) and not text else {},
        fallback=document.fallback,
        defaults=document.defaults,
        class_=class_.name.lower(),  # type: ignore[arg-type]  # its names are those of the class
        shops=document.shops,
        coupon=Coupon(name=pool) if (pool := _pool_of(document, step)) else None,
        links={name: link.url or "https://example.com/" for name, link in document.links.items()},
    )


def told_of_code(code: Code, pool: Pool | None, now: datetime) -> dict[str, str]:
    """Say what a text has of a code; its end as if it left now: one that waits ends later than its text says."""
    ends_at = pool.coupon.expires_at(now) if pool is not None else None
    found = {"code": code.code, "url": code.url}
    return found if ends_at is None else found | {"expires_at": ends_at.isoformat()}


def with_footers(template: Template, brand: BrandSettings) -> Template:
    """End all its texts with the brand's footer, where they advertise."""
    class_ = template.message_class
    return msgspec.structs.replace(
        template,
        text=with_footer(template.text, brand, class_),
        languages={name: with_footer(text, brand, class_) for name, text in template.languages.items()},
    )


def written(plan: Plan, brand: BrandSettings) -> list[tuple[str, Template]]:
    """Write what a campaign says to persons, its variants among it, as it leaves; -> each with its key."""
    document, found = plan.document, list[tuple[str, Template]]()
    for place, step in plan.sends():
        if is_to_staff(step):
            continue
        key = "message" if document.kind == "campaign" else f"steps[{place}]"
        class_ = class_of(document, step)
        found.append((f"{key}.text", with_footers(template_of(document, step, class_), brand)))
        for name, text in step.variants.items() if isinstance(step, Send) else ():
            template = with_footers(template_of(document, step, class_, text), brand)
            found.append((f"{key}.variants.{name}", template))
        for at, one in enumerate(document.experiment.variants if document.experiment is not None else ()):
            if one.text:
                template = with_footers(template_of(document, step, class_, one.text), brand)
                found.append((f"experiment.variants[{at}].text", template))
    return found


def _pool_of(document: Document, step: Send | Ask) -> str:
    """Find whose codes a text may name: its own pool, or that of a step before it; "" = nobody's."""
    own = step.coupon if isinstance(step, Send) else ""
    return own or next((one.pool for one in document.steps if isinstance(one, IssueCoupon)), "")


def values_of(product: Product) -> dict[str, str]:
    """Say what a text has of a product; what the feed does not say is not there."""
    price = "" if product.price is None else f"{major_units(product.price, product.currency)} {product.currency}"
    found = {"id": product.id, "name": product.name, "url": product.url, "price": price, "category": product.category}
    return {name: value for name, value in found.items() if value}


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
