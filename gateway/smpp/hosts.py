"""The hosts of one account, in order of preference, and how well each of them is.

    order    every bind prefers the first host        a b c | a b c | a b c
    spread   the binds begin at different hosts       a b c | b c a | c a b

A bind takes the first host of its own order that is well; when none is, the one whose troubles are the oldest. Each
failure adds 1 to a score that halves every `half_life_s`; below 1/2 a host is well again: that long after a single
failure, four to five times as long after ten in a row. A bind that stands is not torn down for a better host: it
returns to the one it prefers with its next connection.
Not here: connecting, pauses (bind.py), the limits of a host (they hang on the name that a bind reports).
"""

import math
from collections.abc import Sequence

Address = tuple[str, int]


def text_of(address: Address) -> str:
    """Write an address as people do: host:port, with brackets where the host is IPv6."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Hosts:
    """The health of the hosts of one account; shared by its binds.

    addresses    in order of preference, at least one
    policy       order or spread
    half_life_s  in which half of what a host has to answer for is forgotten
    """

    WELL_BELOW = 0.5

    def __init__(self, addresses: Sequence[Address], policy: str, half_life_s: float):
        self._addresses = tuple(addresses)
        self._spreads = policy == "spread"
        self._half_life_s = half_life_s
        self._scores: dict[Address, tuple[float, float]] = {}

    def preferences(self, place: int) -> tuple[Address, ...]:
        """Order the hosts as a bind prefers them; `place` counts the binds (or the pairs) from 0."""
        first = place % len(self._addresses) if self._spreads else 0
        return self._addresses[first:] + self._addresses[:first]

    def choose(self, place: int, now: float) -> Address:
        """Name the host that this bind tries next."""
        preferences = self.preferences(place)
        for address in preferences:
            if self.is_well(address, now):
                return address
        return min(preferences, key=lambda address: self.score(address, now))

    def score(self, address: Address, now: float) -> float:
        """Say how much is held against a host."""
        score, at = self._scores.get(address, (0.0, now))
        return score * math.exp2(-max(now - at, 0.0) / self._half_life_s)

    def is_well(self, address: Address, now: float) -> bool:
        """Tell whether a host may be preferred."""
        return self.score(address, now) < self.WELL_BELOW

    def failed(self, address: Address, now: float) -> None:
        """Hold a failure against a host: no connection, no answer, no room, or a bind that did not last."""
        self._scores[address] = (self.score(address, now) + 1.0, now)

    def stood(self, address: Address) -> None:
        """Forget what a host had to answer for: a bind on it has lasted."""
        self._scores.pop(address, None)
