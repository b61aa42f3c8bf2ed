"""What a step tells another system, and how it is signed: rule WF-10, `[webhooks]` of sluice.toml.

    POST url
    Content-Type: application/json
    Webhook-Id: 7040413901824:3                the enrolment and its visit: the same however often it is told
    Webhook-Timestamp: 1772452800              seconds since 1970, of this try
    Webhook-Signature: v1,base64(HMAC-SHA256(secret, id "." timestamp "." body))

2xx is yes. 4xx other than 408, 425 and 429 is no for good; anything else, and no answer within five seconds, is tried
again. Nobody is led elsewhere: a redirect is no. Plain http is for this machine alone.
Not here: who calls (automation/calling.py), what waits (store/calls.py).
"""

import base64
import hmac
import ipaddress
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta, Struct

from gateway.routing import Problem

TIMEOUT_S = 5.0
# Between the tries, as long as there are any: 10 s, 30 s … 2 h; a day's tenth in all.
PAUSES_S = (10, 30, 120, 600, 1800, 7200)
TRIES = len(PAUSES_S) + 1
_AGAIN = frozenset((408, 425, 429))
_LOOPBACK_NAMES = frozenset(("localhost", "localhost."))


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How other systems are told of steps.

    secret         signs what is told; none: no document may have such a step
    allow_private  whether addresses of this machine and of private networks may be told: a document names them
    """

    secret: Annotated[str, Meta(max_length=500)] = ""
    allow_private: bool = False

    def __repr__(self) -> str:
        return f"WebhookSettings(secret={'(not shown)' if self.secret else ''!r}, allow_private={self.allow_private})"


def problems_of(key: str, settings: WebhookSettings) -> list[Problem]:
    """Find what the types of its values cannot say."""
    if settings.secret and len(settings.secret) < 16:
        return [(f"{key}.secret", "16 characters at least", f"{len(settings.secret)} (not shown)")]
    return []


def headers_of(key: str, body: bytes, secret: str, now: datetime) -> dict[str, str]:
    """Sign what is told; key: names it for good."""
    at = str(int(now.timestamp()))
    digest = hmac.digest(secret.encode(), f"{key}.{at}.".encode() + body, "sha256")
    return {
        "Content-Type": "application/json", "User-Agent": "sluice", "Webhook-Id": key, "Webhook-Timestamp": at,
        "Webhook-Signature": f"v1,{base64.b64encode(digest).decode()}",
    }  # fmt: skip


def again_at(tries: int, now: datetime, salt: int) -> datetime | None:
    """Say when to try again after so many tries; None: never. salt: parts those that failed together."""
    if tries > len(PAUSES_S):
        return None
    pause = PAUSES_S[tries - 1]
    return now + timedelta(seconds=pause + pause * (salt % 256) / 1024)


def is_for_good(status: int) -> bool:
    """Whether an answer that is no will stay it."""
    return 300 <= status < 500 and status not in _AGAIN


def is_private(address: str) -> bool:
    """Whether an address is none of the world's: of this machine, of a private network, or of nobody."""
    try:
        one = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return True
    if isinstance(one, ipaddress.IPv6Address):
        inner = one.ipv4_mapped or one.sixtofour or (one.teredo[1] if one.teredo else None)
        if inner is None and one in _TRANSLATED:
            inner = ipaddress.IPv4Address(one.packed[-4:])
        if inner is not None:
            return is_private(str(inner))
    return not one.is_global or one.is_multicast


_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


def url_problem(url: str, settings: WebhookSettings) -> str:
    """Say what is wrong with an address before anybody is asked where it is; "" = nothing."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in ("http", "https") or not host:
        return "no host"
    if parts.username is not None or parts.password is not None:
        return "a name or a password in it"
    local = _is_loopback(host)
    if parts.scheme == "http" and not local:
        return "http, to another machine"
    if not settings.allow_private and (local or _is_private_literal(host)):
        return "an address of a private network (webhooks.allow_private)"
    return ""


def _is_loopback(host: str) -> bool:
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_private_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return is_private(host)


def host_of(url: str) -> str:
    """Name whom an address leads to: what is slow there keeps nobody else waiting."""
    parts: SplitResult = urlsplit(url)
    return f"{(parts.hostname or '').lower()}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
