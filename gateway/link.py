"""The nouns of short links: where one leads, how its token is written, how long it is, and the settings of the door.

    https://go.acme.example/ 0fQ3kP9sXaB
                             └ 11 digits of base 62: the bucket of the number (8 bits) before 57 bits of chance

One token is of one message and one link (TP-6): it says who clicked, and nobody finds one by trying. All tokens are of
one length, so that parts are counted before there is any; `placeholder` stands for one until then.

    [links.offer]                                          in a document
    url = "https://shop.acme.example/sale?code={code}"     {code}: a value of each message
    life = "30d"

Not here: keeping them (store/links.py), answering (gateway.redirect), who clicked (campaign/clicks.py).
"""

import enum
import functools
import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta, Struct

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TOKEN_LENGTH = 11
CHANCE_BITS = 57
# 8 + 57 bits are 3.7e19, eleven digits 5.2e19.
LONGEST_URL = 2000
MOST_LIFE = timedelta(days=730)
SPANS_S = {"m": 60, "h": 3600, "d": 86400, "w": 604800}

_BASE = len(DIGITS)
_PAIRS = tuple(first + second for first in DIGITS for second in DIGITS)
_VALUES = {digit: value for value, digit in enumerate(DIGITS)}
_MASK = (1 << CHANCE_BITS) - 1
_FIELD = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_HOST = re.compile(r"(?=.{4,80}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
_UTM = re.compile(r"utm_[a-z_]{1,30}")
# What a text may hold of an address: with its scheme, or a host and a path.
_ADDRESS = re.compile(r"(?:https?://)?(?<![@\w.-])([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.[a-z]{2,24})(?=[/?#:]|\b)", re.I)

Problem: TypeAlias = tuple[str, str, str]
Kind: TypeAlias = Literal["url", "page", "optout"]


class Verdict(enum.IntEnum):
    """Who opened a link (TP-7); only what a human does acts (GL-5)."""

    UNDECIDED = 0
    HUMAN = 1
    UNSURE = 2
    BOT = 3


class Link(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link of a document: one of `url`, `page` and `optout` says where it leads.

    url      https; {name} in its path or query is a value of each message, such as a coupon code
    page     a landing page by name (`sluice page`)
    optout   the way out: a page with one button
    values   of each message that the texts of the page have, such as code; those of a url stand in it
    utm      marks that are appended, over those that follow from the campaign; "" leaves one out
    life     after the message: 30m, 48h, 30d; then a page says that it is over
    expired  what that page says
    """

    url: Annotated[str, Meta(max_length=LONGEST_URL)] = ""
    page: Annotated[str, Meta(max_length=64)] = ""
    optout: bool = False
    values: tuple[str, ...] = ()
    utm: dict[str, Annotated[str, Meta(max_length=100)]] = {}
    life: Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,4}[mhdw]$")] = "30d"
    expired: Annotated[str, Meta(max_length=300)] = ""

    @property
    def fields(self) -> tuple[str, ...]:
        """The values that each message gives, in their order."""
        return tuple(dict.fromkeys(_FIELD.findall(self.url) if self.url else self.values))

    @property
    def lifetime(self) -> timedelta:
        """How long it leads anywhere."""
        return timedelta(seconds=int(self.life[:-1]) * SPANS_S[self.life[-1]])


class Target(Struct, frozen=True, kw_only=True, gc=False):
    """Where the links of one name of one campaign lead; kept once, never changed.

    fields  of the url or the page, in the order of a link's params
    """

    kind: Kind
    name: str
    brand: str = ""
    campaign: str = ""
    url: str = ""
    fields: tuple[str, ...] = ()
    page: str = ""
    expired: str = ""

    def address(self, params: Sequence[str]) -> str:
        """Write the url of one message; values are data, whatever is in them."""
        if not self.fields:
            return self.url
        told = dict(zip(self.fields, params, strict=False))
        return _FIELD.sub(lambda match: quote(told.get(match[1], ""), safe=""), self.url)


class LinkSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[links]: the door that answers them, and whom it takes for no human.

    proxies             addresses in front of us whose X-Forwarded-For is believed
    requests_per_minute of one address, which many handsets may share; of what is not there a twentieth of that
    tokens_per_minute   one agent of one address that opens more of them is no human
    networks            files of networks in which no handset is, an address or a prefix a line
    """

    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    requests_per_minute: Annotated[int, Meta(ge=60, le=1_000_000)] = 3000
    tokens_per_minute: Annotated[int, Meta(ge=1, le=100_000)] = 20
    networks: tuple[str, ...] = ()


def settings_problems(key: str, settings: LinkSettings) -> list[Problem]:
    """Find what the types of its values cannot say: key, expected, found."""
    problems: list[Problem] = []
    for proxy in settings.proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            problems.append((f"{key}.proxies", "addresses or networks such as 10.0.0.0/8", repr(proxy)))
    return problems


def problems_of(key: str, link: Link, given: Iterable[str] | None = None) -> list[Problem]:
    """Find what is wrong with a link of a document: key, expected, found.

    given  names of values that its messages have; None: whatever they are called
    """
    problems: list[Problem] = []
    said = [name for name, is_said in (("url", link.url), ("page", link.page), ("optout", link.optout)) if is_said]
    if len(said) != 1:
        problems.append((key, "one of url, page and optout = true", ", ".join(said) or "none of them"))
    if link.url:
        problems += _url_problems(f"{key}.url", link.url, given)
    if link.values and not link.page:
        problems.append((f"{key}.values", "values of a page alone: those of a url stand in it", ", ".join(link.values)))
    problems += [
        (f"{key}.values", "names such as code, small letters", repr(name))
        for name in link.values if not _NAME.fullmatch(name)
    ]  # fmt: skip
    for name in link.utm:
        if not _UTM.fullmatch(name):
            problems.append((f"{key}.utm", "names such as utm_source", repr(name)))
    if link.lifetime > MOST_LIFE:
        problems.append((f"{key}.life", f"at most {MOST_LIFE.days}d", repr(link.life)))
    return problems


def _url_problems(key: str, url: str, given: Iterable[str] | None) -> list[Problem]:
    if re.search(r"[\x00-\x20\x7f<>\"\\^`|]", url) or not url.isascii():
        return [(key, "an address of ASCII without blanks (%20, xn--)", repr(url))]
    names = _FIELD.findall(url)
    if any(not _NAME.fullmatch(name) for name in names) or re.search(r"[{}]", _FIELD.sub("", url)):
        return [(key, "values as {name}, small letters", repr(url))]
    bare, problems = _FIELD.sub("x", url), []
    try:
        parts = urlsplit(bare)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return [(key, "an address such as https://shop.acme.example/sale", repr(url))]
    if parts.scheme != "https":
        problems.append((key, "https://", repr(url)))
    # Who fills in a value would say whom we lead people to.
    if _FIELD.search(re.split(r"[/?#]", url.partition("://")[2])[0]):
        problems.append((key, "a host without {values}: they stand in the path or behind the ?", repr(url)))
    elif "@" in parts.netloc or port == 0 or not (_HOST.fullmatch(host) or _is_address(host)):
        problems.append((key, "a host such as shop.acme.example", repr(parts.netloc)))
    elif host in shorteners():
        problems.append((key, "where it leads in the end: carriers block texts with public shorteners", repr(host)))
    unknown = [name for name in dict.fromkeys(names) if given is not None and name not in set(given)]
    problems += [(key, "a value that each message has", f"{{{name}}}") for name in unknown]
    return problems


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def domain_problems(key: str, domain: str) -> list[Problem]:
    """Find what is wrong with the domain of a brand's links."""
    if not _HOST.fullmatch(domain):
        return [(key, "a domain of yours in small letters, such as go.acme.example", repr(domain))]
    if domain in shorteners():
        return [(key, "a domain of yours: carriers block public shorteners", repr(domain))]
    return []


def target_of(link: Link, name: str, *, brand: str = "", campaign: str = "") -> Target:
    """Say where a link of a document leads, its marks appended: those that are not in it yet (utm_source=sms …)."""
    if link.optout:
        return Target(kind="optout", name=name, brand=brand, campaign=campaign, expired=link.expired)
    if link.page:
        return Target(
            kind="page", name=name, brand=brand, campaign=campaign, page=link.page, fields=link.fields,
            expired=link.expired,
        )  # fmt: skip
    marks = {"utm_source": "sms", "utm_medium": "sms", "utm_campaign": campaign, "utm_content": name} | link.utm
    return Target(
        kind="url", name=name, brand=brand, campaign=campaign, url=with_marks(link.url, marks), fields=link.fields,
        expired=link.expired,
    )  # fmt: skip


def with_marks(url: str, marks: Mapping[str, str]) -> str:
    """Append marks to the query of an address, those that it has not; what it has stays as it is written."""
    bare, hash_, fragment = url.partition("#")
    query = bare.partition("?")[2]
    has = {part.partition("=")[0] for part in query.split("&")}
    new = "&".join(f"{name}={quote(value, safe='')}" for name, value in marks.items() if value and name not in has)
    if not new:
        return url
    # Braces that mean a value are none of the marks': quote has written those of a campaign's name as %7B.
    sign = "" if bare.endswith(("?", "&")) else "&" if "?" in bare else "?"
    return f"{bare}{sign}{new}{hash_}{fragment}"


def token_of(bucket: int, chance: int) -> str:
    """Write a token: the bucket of its number, and 57 bits of chance."""
    rest, last = divmod(bucket << CHANCE_BITS | chance, _BASE)
    rest, e = divmod(rest, 3844)
    rest, d = divmod(rest, 3844)
    rest, c = divmod(rest, 3844)
    a, b = divmod(rest, 3844)
    return _PAIRS[a] + _PAIRS[b] + _PAIRS[c] + _PAIRS[d] + _PAIRS[e] + DIGITS[last]


def read_token(text: str) -> tuple[int, int] | None:
    """Read a token: bucket and chance; None: nobody has made it."""
    if len(text) != TOKEN_LENGTH:
        return None
    value = 0
    for digit in text:
        at = _VALUES.get(digit)
        if at is None:
            return None
        value = value * _BASE + at
    bucket = value >> CHANCE_BITS
    return (bucket, value & _MASK) if bucket < 256 else None


def url_of(domain: str, token: str) -> str:
    """Write a link as it stands in a text."""
    return f"https://{domain}/{token}"


def length_of(domain: str) -> int:
    """Count the characters of a link of a domain; all of them are of GSM's alphabet."""
    return len(domain) + len("https:///") + TOKEN_LENGTH


def placeholder(domain: str) -> str:
    """Stand for a link of a domain before there is one: as long, and of the same alphabet."""
    return url_of(domain, "0" * TOKEN_LENGTH)


@functools.cache
def shorteners() -> frozenset[str]:
    """Name the public shorteners (link.toml)."""
    document = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return frozenset(document["shorteners"])


def shorteners_in(text: str) -> list[tuple[int, str]]:
    """Find public shorteners in a text: where each address begins, and its host. Carriers block such texts (TP-6)."""
    found = []
    for match in _ADDRESS.finditer(text):
        host = match[1].lower().removeprefix("www.")
        if host in shorteners():
            found.append((match.start(), host))
    return found


def shortener_problems(key: str, text: str) -> list[Problem]:
    """Refuse public shorteners in a text: key, expected, found."""
    return [
        (
            key,
            "a link of your own domain (brands.NAME.link_domain): carriers block public shorteners",
            f"{host} at {at}",
        )
        for at, host in shorteners_in(text)
    ]


encode = msgspec.json.Encoder(order="deterministic").encode
decode = msgspec.json.Decoder(Target).decode
