"""Was it a human who opened a link? Rule TP-7; only what a human does acts (GL-5).

    request ─► seen: what it says of itself           ─► Ruling | None (nothing speaks against it)
    later   ─► decide: when its message went out, whether its page was really shown ─► Ruling | None (not yet)

Rules are asked in this order, and the first that fits is written down:

    preview_agent  its name is that of a program that looks at links           bot
    prefetch       it says that it fetches ahead                                bot
    cloud_network  it comes from where servers stand                            bot
    many_tokens    one agent of one address opens one link after another        bot
    early          sooner than two seconds after its message went out           bot
    no_beacon      it calls itself a browser, and has not fetched the picture   bot
    beacon         the page was shown, its picture fetched                      human
    browser        it calls itself a browser                                    human
    no_browser     nothing speaks for it or against it                          unsure

A HEAD is no click at all. Not here: who asks (gateway.redirect), who writes it down (automation/clicking.py).
"""

import functools
import ipaddress
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from gateway.link import Verdict

# A scanner on the way opens it before a human has it in hand.
EARLIEST = timedelta(seconds=2)
# A page on a slow network has its picture by then; and we know by then when a message was taken, if it was.
BEACON_WITHIN = timedelta(seconds=10)
KNOWN_WITHIN = timedelta(seconds=15)
LONGEST_AGENT = 200
# Headers in which who fetches ahead says so.
AHEAD_HEADERS = ("purpose", "sec-purpose", "x-purpose", "x-moz")
AHEAD_WORDS = ("prefetch", "preview", "prerender", "preload")


class Ruling(NamedTuple):
    """A verdict and the rule that it follows from."""

    verdict: Verdict
    rule: str


class Networks:
    """Networks in which no handset is."""

    def __init__(self, prefixes: Iterable[str]):
        self._by_length: dict[tuple[int, int], set[int]] = {}
        for prefix in prefixes:
            network = ipaddress.ip_network(prefix, strict=False)
            bits = network.max_prefixlen - network.prefixlen
            self._by_length.setdefault((network.version, bits), set()).add(int(network.network_address) >> bits)

    def has(self, address: str) -> bool:
        """Whether an address is in one of them."""
        if not self._by_length:
            return False
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        value = int(found)
        return any(
            version == found.version and value >> bits in some for (version, bits), some in self._by_length.items()
        )


class Words(Struct, frozen=True):
    """What agents are called."""

    previews: tuple[str, ...]
    browsers: tuple[str, ...]
    networks: tuple[str, ...]


@functools.cache
def words() -> Words:
    """Read the lists of this package (clicks.toml), once."""
    document = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return Words(tuple(document["previews"]), tuple(document["browsers"]), tuple(document["networks"]))


def prefixes_in(text: str, where: str) -> list[str]:
    """Read a file of networks: one a line, # begins a remark.

    raises  ValueError with the place of the first line that is none
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        prefix = line.partition("#")[0].strip()
        if not prefix:
            continue
        try:
            found.append(str(ipaddress.ip_network(prefix, strict=False)))
        except ValueError:
            raise ValueError(f"{where}:{number}: expected a network such as 192.0.2.0/24, found {prefix!r}") from None
    return found


@functools.lru_cache(maxsize=4096)
def is_preview(agent: str) -> bool:
    """Whether an agent's name is that of a program that looks at links."""
    told = agent.lower()
    return any(word in told for word in words().previews)


@functools.lru_cache(maxsize=4096)
def is_browser(agent: str) -> bool:
    """Whether an agent calls itself a browser."""
    told = agent.lower()
    return (told.startswith("mozilla/") or told.startswith("opera")) and any(word in told for word in words().browsers)


def seen(
    agent: str, headers: Mapping[str, str], address: str, networks: Networks, tokens: int, most_tokens: int
) -> Ruling | None:
    """Judge a request by itself; None: nothing speaks against it.

    headers      by name, small letters
    tokens       that this agent of this address has opened within a minute, this one among them
    """
    if is_preview(agent[:LONGEST_AGENT]):
        return Ruling(Verdict.BOT, "preview_agent")
    for name in AHEAD_HEADERS:
        told = headers.get(name)
        if told and any(word in told.lower() for word in AHEAD_WORDS):
            return Ruling(Verdict.BOT, "prefetch")
    if networks.has(address):
        return Ruling(Verdict.BOT, "cloud_network")
    if tokens > most_tokens:
        return Ruling(Verdict.BOT, "many_tokens")
    return None


def decide(
    agent: str,
    *,
    at: datetime,
    made_at: datetime,
    submitted_at: datetime | None,
    has_page: bool,
    beacon_at: datetime | None,
    now: datetime,
) -> Ruling | None:
    """Judge a click that nothing spoke against; None: not before more is known.

    made_at       of the link, before which its message cannot have gone out
    submitted_at  when a carrier took the message; None: that is not known, or not yet
    has_page      whether it leads to a page of ours, which shows whether it is looked at
    """
    if at < (submitted_at or made_at) + EARLIEST:
        return Ruling(Verdict.BOT, "early")
    if submitted_at is None and now < at + KNOWN_WITHIN:
        return None
    if not has_page:
        return Ruling(Verdict.HUMAN, "browser") if is_browser(agent) else Ruling(Verdict.UNSURE, "no_browser")
    if beacon_at is not None:
        return Ruling(Verdict.HUMAN, "beacon") if is_browser(agent) else Ruling(Verdict.UNSURE, "no_browser")
    if now < at + BEACON_WITHIN:
        return None
    return Ruling(Verdict.BOT, "no_beacon") if is_browser(agent) else Ruling(Verdict.UNSURE, "no_browser")
