"""Who tried a password and failed: how long he is not heard.

Counted by network (a /24, or a /64 of IPv6), since an address is cheap. The first failures cost nothing, as a carrier
may have mistyped; from then on each doubles the wait. A success forgets. At most MOST networks are remembered, and the
one that failed longest ago is forgotten first, so nobody fills memory.
`now` is monotonic seconds and always an argument. Not here: comparing (outbind.py, in constant time).
"""

import ipaddress

# Failures without a wait.
FREE = 3
FIRST_S, LONGEST_S = 1.0, 3600.0
# From so many on a person is told.
ALARM_AT = 10
MOST = 4096


def network_of(address: str) -> str:
    """Name the network of an address; of what is none, itself."""
    try:
        peer = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return str(ipaddress.ip_network((peer, 24 if peer.version == 4 else 64), strict=False))


class Attempts:
    """The failures of one listener."""

    def __init__(self) -> None:
        self._failures: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def wait_s(self, network: str, now: float) -> float:
        """Say for how long this network is not heard still; 0 when it is."""
        count, at = self._failures.get(network, (0, 0.0))
        if count < FREE:
            return 0.0
        return max(0.0, at + min(LONGEST_S, FIRST_S * 2.0 ** min(count - FREE, 32)) - now)

    def failed(self, network: str, now: float) -> int:
        """Count a failure; -> how many there were."""
        count = self._failures.pop(network, (0, 0.0))[0] + 1
        if len(self._failures) >= MOST:
            del self._failures[next(iter(self._failures))]
        self._failures[network] = (count, now)
        return count

    def succeeded(self, network: str) -> None:
        """Forget what went before."""
        self._failures.pop(network, None)
