"""What strangers may ask of the door, and how often: bounds for each address, in memory that is bounded itself.

    Rates    requests of an address: a bucket that fills by so many a minute; what is not there costs more
    Openers  tokens that one agent of one address has opened within a minute

Whoever has not been seen for longest is forgotten first. Not here: what is done about it (door.py).
"""

import ipaddress
from collections import OrderedDict

MOST_ADDRESSES = 50_000
MINUTE_S = 60.0
# Of the requests of a minute, what is not there costs this part: whoever tries tokens tries twenty a minute.
UNKNOWN_PART = 0.05
# Tokens that are remembered of one agent: more say nothing more.
MOST_TOKENS = 1000


def network_of(address: str) -> str:
    """Name whom an address belongs to: itself, or of IPv6 the 64 bits that one subscriber has."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64))


class Rates:
    """Requests a minute of each address; what is not asked for is saved up for a minute."""

    def __init__(self, per_minute: int):
        self._per_s, self._most = per_minute / MINUTE_S, float(per_minute)
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, address: str, now: float, cost: float = 1.0) -> bool:
        """Spend what a request costs; False: there is not enough left, and nothing is spent."""
        key = network_of(address)
        level, at = self._levels.pop(key, (self._most, now))
        level = min(self._most, level + max(0.0, now - at) * self._per_s)
        has_room = level >= cost
        self._levels[key] = (level - cost if has_room else level, now)
        if len(self._levels) > MOST_ADDRESSES:
            self._levels.popitem(last=False)
        return has_room

    def charge(self, address: str, now: float, cost: float) -> None:
        """Spend what a request has cost in the end, whether there is so much left or not."""
        key = network_of(address)
        level, at = self._levels.pop(key, (self._most, now))
        self._levels[key] = (max(0.0, min(self._most, level + max(0.0, now - at) * self._per_s) - cost), now)


class Openers:
    """Which tokens an agent of an address has opened within a minute."""

    def __init__(self) -> None:
        self._opened: OrderedDict[tuple[str, str], OrderedDict[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._opened)

    def opens(self, address: str, agent: str, token: str, now: float) -> int:
        """Note that a token was opened; -> how many different ones within the last minute, this one among them."""
        key = (network_of(address), agent)
        tokens = self._opened.pop(key, None)
        if tokens is None:
            tokens = OrderedDict()
        tokens.pop(token, None)
        tokens[token] = now
        while len(tokens) > MOST_TOKENS or now - next(iter(tokens.values())) >= MINUTE_S:
            tokens.popitem(last=False)
        self._opened[key] = tokens
        if len(self._opened) > MOST_ADDRESSES:
            self._opened.popitem(last=False)
        return len(tokens)
