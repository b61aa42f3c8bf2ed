"""What a message says: the part `template` of a document, its fields, and which of two ways it is rendered by.

    text = "Hi {{ first_name | default('there') }}, {{ coupon.code }} is yours until Sunday: {{ link.shop }}"
    languages = {de = "Hallo {{ first_name | default('du') }}, …"}
    fallback = ["en"]                       asked before `text` where nobody wrote the person's own language (TP-12)
    links = {shop = "https://example.com/"}
    coupon = {name = "spring", length = 8, life = "48h"}

A text of fields alone is `plain`: the claim itself composes it (_fastpath.template). Any other is rendered ahead into
one column, which such a text then is (campaign/rendering.py).
Not here: the language (templatetext.py), what is good style (campaign/linter.py).
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway import templatetext
from gateway.message import MessageClass
from gateway.routing import Problem
from gateway.templatetext import Const, Expression, Filter, Output, Path, Piece, Place, TemplateFault

NAMESPACES = ("profile", "event", "trigger", "brand", "coupon", "link", "store", "now")
"""What a name may begin with that is no attribute of a person."""
# TP-10: what advertises is at most so long, and anything else.
PROMOTIONAL_PARTS, OTHER_PARTS = 3, 10
# An attribute whose value people have typed as a name: what of it looks like a link is none (TP-4).
_NAMES = re.compile(
    r"(?:^|[_.\s-])(?:(?:first|last|full|given|family|sur|nick|middle|display|user)?_?name|vorname|nachname|prenom|"
    r"prénom|nom|nombre|apellidos?|nome|cognome|imie|imię|nazwisko)$",
    re.IGNORECASE,
)
_FIELD = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_LIFE = re.compile(r"(\d{1,4})\s*([mhd])")
_LIFE_S = {"m": 60, "h": 3600, "d": 86400}
Language = Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
ClassName = Literal["otp", "compliance", "conversation", "transactional", "triggered", "bulk"]
Word = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Shop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A shop that people can walk to: `store.name`, `store.address` … of the nearest (S0.17).

    is_default  for whom no place is known, or none is near
    """

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    lat: Annotated[float, Meta(ge=-90, le=90)] | None = None
    lon: Annotated[float, Meta(ge=-180, le=180)] | None = None
    address: Annotated[str, Meta(max_length=200)] = ""
    city: Annotated[str, Meta(max_length=100)] = ""
    phone: Annotated[str, Meta(max_length=40)] = ""
    url: Annotated[str, Meta(max_length=500)] = ""
    is_default: bool = False


class Coupon(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where `coupon.code` comes from, and what must be known of it before it does.

    name    of its pool or generator
    code    the same for everybody, if it is
    length  of a code, by which a text is measured before there is one
    life    how long a code lives from when it is sent: 48h, 7d, 90m; "" = not said
    url     of `coupon.url`, that carries the code
    """

    name: Annotated[str, Meta(max_length=64)] = ""
    code: Annotated[str, Meta(max_length=64)] = ""
    length: Annotated[int, Meta(ge=1, le=64)] = 8
    life: Annotated[str, Meta(max_length=8)] = ""
    url: Annotated[str, Meta(max_length=500)] = ""

    @property
    def life_s(self) -> int:
        """The same in seconds; 0 = not said."""
        found = _LIFE.fullmatch(self.life)
        return int(found[1]) * _LIFE_S[found[2]] if found else 0


class Template(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a message says.

    language         that `text` is in; "" = not said
    languages        the same text in others
    fallback         languages asked in this order where the person's own has no text, and before `text`
    defaults         by field, what stands in for a value that is missing
    missing          without a default that person is skipped, or nothing stands there (TP-2)
    max_parts        0 = 3 for what advertises, 10 for what does not (TP-10)
    class            what the text is: `bulk` and `triggered` advertise
    links            by name, where `link.NAME` leads
    link_length      of a short link, domain and all: by it a text is measured before there is one
    shops            for `store.…`; within_km: further away is not near
    names            attributes that are names of people, beside those that are called so (TP-4)
    inferred         attributes that nobody has told us: worked out (S4.41)
    """

    text: Annotated[str, Meta(min_length=1)]
    language: Language | Literal[""] = ""
    languages: dict[Language, Annotated[str, Meta(min_length=1)]] = {}
    fallback: Annotated[tuple[Language, ...], Meta(max_length=20)] = ()
    defaults: dict[str, str] = {}
    missing: Literal["skip", "blank"] = "skip"
    max_parts: Annotated[int, Meta(ge=0, le=255)] = 0
    class_: ClassName = msgspec.field(name="class", default="bulk")
    links: dict[Word, Annotated[str, Meta(min_length=1, max_length=2000)]] = {}
    link_length: Annotated[int, Meta(ge=8, le=100)] = 24
    coupon: Coupon | None = None
    shops: Annotated[tuple[Shop, ...], Meta(max_length=5000)] = ()
    within_km: Annotated[float, Meta(gt=0, le=20100)] = 50.0
    names: tuple[str, ...] = ()
    inferred: tuple[str, ...] = ()

    @property
    def message_class(self) -> MessageClass:
        """The class as the path has it."""
        return MessageClass[self.class_.upper()]

    @property
    def is_promotional(self) -> bool:
        """Whether it advertises."""
        return self.class_ in ("bulk", "triggered")

    @property
    def parts_allowed(self) -> int:
        """How many parts a message of it may have (TP-10)."""
        return self.max_parts or (PROMOTIONAL_PARTS if self.is_promotional else OTHER_PARTS)

    def texts(self) -> dict[str, str]:
        """Every text by its key in the document: `text`, `languages.de`."""
        return {"text": self.text, **{f"languages.{name}": text for name, text in self.languages.items()}}

    def variant_of(self, language: str | None) -> str:
        """Choose the text for somebody's language (TP-12); -> its key in `texts`.

        The language itself, then what it is a kind of (pt-BR: pt), then `fallback`, then `text`.
        """
        own = (language or "").strip().lower().replace("_", "-")
        by_name = {name.lower(): name for name in self.languages}
        while own:
            if own == self.language.lower():
                return "text"
            if own in by_name:
                return f"languages.{by_name[own]}"
            own = own.rpartition("-")[0]
        for name in self.fallback:
            if name in self.languages:
                return f"languages.{name}"
            if name == self.language:
                return "text"
        return "text"

    @property
    def is_plain(self) -> bool:
        """Whether the claim itself can compose it: one text, of fields alone."""
        return not self.languages and self.missing == "skip" and plain_of(self.text, self) is not None


class Field(Struct, frozen=True, kw_only=True):
    """A field where it stands.

    filters   that its value goes through, from the inside
    required  it is printed, and nothing stands in for it
    """

    name: str
    at: Place
    filters: tuple[str, ...] = ()
    required: bool = False
    is_printed: bool = False


def is_name(field: str, more: Sequence[str] = ()) -> bool:
    """Whether the values of an attribute are names of people, typed by somebody (TP-4)."""
    return field in more or (root_of(field) == "" and _NAMES.search(field) is not None)


def root_of(field: str) -> str:
    """What a field is of: one of NAMESPACES, "" = an attribute of the person, which may be called `coupon` too."""
    first, dot, _ = field.partition(".")
    return first if first in NAMESPACES and first != "profile" and (dot or first == "now") else ""


def fields_of(text: str) -> list[Field]:
    """Find the fields of a text, each time it stands somewhere.

    raises  TemplateFault
    """
    return list(_fields(templatetext.parse(text)))


def _fields(pieces: Sequence[Piece]) -> Iterator[Field]:
    for piece in pieces:
        if isinstance(piece, Output):
            yield from _of_expression(piece.of, (), is_printed=True)
        elif isinstance(piece, templatetext.Assign):
            yield from _of_expression(piece.of, (), is_printed=False)
        elif isinstance(piece, templatetext.Abort):
            yield from _of_expression(piece.why, (), is_printed=False)
        elif isinstance(piece, templatetext.For):
            yield from _of_expression(piece.source, (), is_printed=False)
            yield from _fields(piece.body)
            yield from _fields(piece.otherwise)
        elif isinstance(piece, templatetext.If):
            for condition, body in piece.branches:
                if condition is not None:
                    yield from _of_expression(condition, (), is_printed=False)
                yield from _fields(body)


def _of_expression(found: Expression, filters: tuple[str, ...], *, is_printed: bool) -> Iterator[Field]:
    if isinstance(found, Path):
        if not found.is_local:
            required = is_printed and "default" not in filters
            yield Field(name=found.name, at=found.at, filters=filters, required=required, is_printed=is_printed)
    elif isinstance(found, Filter):
        yield from _of_expression(found.of, (found.name, *filters), is_printed=is_printed)
        for argument in found.arguments:
            yield from _of_expression(argument, (), is_printed=is_printed)
    elif isinstance(found, templatetext.Binary):
        is_value = found.mark in "+-*/%~"
        for side in (found.left, found.right):
            yield from _of_expression(side, filters, is_printed=is_printed and is_value)
    elif isinstance(found, templatetext.Not | templatetext.Defined):
        yield from _of_expression(found.of, (), is_printed=False)
    elif isinstance(found, templatetext.Items):
        for item in found.items:
            yield from _of_expression(item, (), is_printed=is_printed)


def plain_of(text: str, template: Template | None = None, constants: Mapping[str, str] | None = None) -> str | None:
    """Write a text of fields alone as the compiled path takes it; None where it is of the full language.

    A value that is empty counts as missing there too; what the document says stands in for it.
    constants  fields that are the same for everybody, and are written as they are
    raises     TemplateFault
    """
    defaults = template.defaults if template is not None else {}
    found: list[str] = []
    for piece in templatetext.parse(text):
        if isinstance(piece, templatetext.Literal):
            found.append(_quoted(piece.text) if "{" in piece.text else piece.text)
            continue
        if not isinstance(piece, Output):
            return None
        of: Expression = piece.of
        default: str | None = None
        if isinstance(of, Filter):
            if of.name != "default" or not isinstance(of.arguments[0], Const):
                return None
            if not isinstance(of.arguments[0].value, str):
                return None
            default, of = of.arguments[0].value, of.of
        if isinstance(of, Path) and constants and not of.is_local and of.name in constants:
            of = Const(value=constants[of.name], at=of.at)
        if isinstance(of, Const) and isinstance(of.value, str):
            found.append(_quoted(of.value))
            continue
        if not isinstance(of, Path) or of.is_local or root_of(of.name) in ("store", "now"):
            return None
        if not _FIELD.fullmatch(of.name) or of.name in ("true", "false", "none", "True", "False", "None", "not"):
            return None
        default = defaults.get(of.name) if default is None else default
        found.append(
            f"{{{{ {of.name} }}}}" if default is None else f"{{{{ {of.name}|default({_string(default)}, true) }}}}"
        )
    return "".join(found)


def outline(text: str) -> str:
    """Write a text as the compiled path could take it, for what is asked of all its messages: labels, the way out.

    Of branches the first stands there, of a loop one turn; a field may be empty.
    raises  TemplateFault
    """
    return "".join(_outlines(templatetext.parse(text)))


def _outlines(pieces: Sequence[Piece]) -> Iterator[str]:
    for piece in pieces:
        if isinstance(piece, templatetext.Literal):
            yield _quoted(piece.text) if "{" in piece.text else piece.text
        elif isinstance(piece, templatetext.For):
            yield from _outlines(piece.body)
        elif isinstance(piece, templatetext.If):
            yield from _outlines(piece.branches[0][1])
        elif isinstance(piece, Output):
            base: Expression = piece.of
            while isinstance(base, Filter):
                base = base.of
            if isinstance(base, Const) and isinstance(base.value, str):
                yield _quoted(base.value)
            elif isinstance(base, Path) and _FIELD.fullmatch(base.name) and not base.is_local:
                yield f'{{{{ {base.name}|default("", true) }}}}'


def _string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _quoted(text: str) -> str:
    return f"{{{{ {_string(text)} }}}}" if text else ""


def read_template(value: Any, key: str, problems: list[Problem]) -> Template | None:
    """Read the part `template` of a document, as a text or as a table; None and problems where it is none."""
    if isinstance(value, str):
        value = {"text": value}
    try:
        template = msgspec.convert(value, Template)
    except msgspec.ValidationError as error:
        words, _, where = str(error).partition(" - at `$")
        expected = "a text, or a table: text, languages, fallback, defaults, class, links, coupon, shops"
        problems.append((f"{key}{where.removesuffix('`')}", expected, words))
        return None
    before = len(problems)
    problems += _problems_of(template, key)
    return template if len(problems) == before else None


def _problems_of(template: Template, key: str) -> Iterator[Problem]:
    for name, text in template.texts().items():
        try:
            found = fields_of(text)
        except TemplateFault as error:
            for place, expected, what in error.faults:
                yield f"{key}.{name}: {place}", expected, what
            continue
        for field in found:
            yield from _of_field(template, field, f"{key}.{name}: {field.at}")
    for name in template.fallback:
        if name not in template.languages and name != template.language:
            known = ", ".join(template.languages) or "none is written"
            yield f"{key}.fallback", f"languages that have a text ({known})", repr(name)
    coupon = template.coupon
    if coupon is not None and coupon.life and not coupon.life_s:
        yield f"{key}.coupon.life", "a time such as 48h, 7d or 90m", repr(coupon.life)
    placed = [shop for shop in template.shops if shop.lat is not None and shop.lon is not None]
    for at, shop in enumerate(template.shops):
        if shop not in placed and not shop.is_default:
            yield f"{key}.shops[{at}]", "lat and lon, or is_default = true", shop.name
    if sum(shop.is_default for shop in template.shops) > 1:
        yield f"{key}.shops", "one that is_default at most", ", ".join(s.name for s in template.shops if s.is_default)


def _of_field(template: Template, field: Field, place: str) -> Iterator[Problem]:
    root, rest = root_of(field.name), field.name.partition(".")[2]
    if root == "link" and rest not in template.links:
        known = ", ".join(f"link.{name}" for name in template.links) or "a link of `links`, of which there is none"
        yield place, known, field.name
    elif root == "coupon" and template.coupon is None:
        yield place, "a `coupon` in the document, of which that is a code", field.name
    elif root == "coupon" and rest not in ("code", "url", "expires_at"):
        yield place, "coupon.code, coupon.url or coupon.expires_at", field.name
    elif root == "store" and not template.shops:
        yield place, "`shops` in the document, of which that is the nearest", field.name
    elif root == "store" and rest not in (*Shop.__struct_fields__[:7], "km"):
        yield place, "store.name, store.address, store.city, store.phone, store.url or store.km", field.name
    elif root == "brand" and rest != "name":
        yield place, "brand.name", field.name


def required_of(template: Template) -> Mapping[str, Place]:
    """Fields that somebody without a value is skipped for, with where they stand first."""
    found: dict[str, Place] = {}
    for text in template.texts().values():
        for field in fields_of(text):
            if field.required and field.name not in template.defaults:
                found.setdefault(field.name, field.at)
    return found


def sha_of(template: Template) -> bytes:
    """The version of a template: what it says and how, and nothing else."""
    return hashlib.sha256(msgspec.json.encode(template, order="deterministic")).digest()
