"""What an account can carry: window, binds, finish time and bottleneck, from figures alone.

Little's law: requests in flight = rate × response time. So a window W on each of n binds lets n × W / RTT leave in a
second, and a rate needs rate × RTT in flight; with the 99th percentile and a margin of 1.3, so that a slow answer does
not stop a bind. What is in flight when a link dies is in doubt: the smallest window that is no bottleneck is the best.
Not here: measuring (flow.py), setting anything (pace.py).
"""

import math

from msgspec import Struct

from gateway.smpp.pace import MARGIN

# What carriers usually allow on one bind, and least advise: EMG 1 to 20, the Kannel guide 10, Rakuten 20.
USUAL_WINDOW = 20
LEAST_TIMEOUT_S = 10.0
RTTS_OF_TIMEOUT = 5


class Account(Struct, frozen=True, kw_only=True):
    """The figures of an account.

    per_s          PDUs a second allowed, 0: no limit is known
    window, binds  unanswered requests a bind may have; binds that submit
    rtt_s          99th percentile from submit to response
    engine_per_s   what everything before the socket manages, PDUs a second; None: not known
    """

    per_s: int
    window: int
    binds: int
    rtt_s: float
    engine_per_s: float | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """What comes of it.

    pdus            messages × parts
    per_s, seconds  the rate that is reached, and how long it takes; bottleneck: rate, window or engine
    window          of a bind that would be no bottleneck; None: without a limit any window is one
    binds           that are needed with the window as it is; None as above
    in_doubt        segments that a crash of every link leaves in doubt, at most
    timeout_s       the least response timeout that is no accident
    reasons         the same in words
    """

    pdus: int
    per_s: float
    seconds: float
    bottleneck: str
    window: int | None
    binds: int | None
    in_doubt: int
    timeout_s: float
    reasons: tuple[str, ...]


def _up(value: float) -> int:
    """Round up, but not for the last digit of a product."""
    return math.ceil(round(value, 9))


def window_for(per_s: float, rtt_s: float, binds: int = 1) -> int:
    """Unanswered requests a bind needs for a rate over all binds; at least 1."""
    return max(1, _up(_up(per_s * rtt_s * MARGIN) / binds))


def most_per_s(window: int, binds: int, rtt_s: float) -> float:
    """PDUs a second that windows let through; without a response time, any number."""
    return binds * window / rtt_s if rtt_s > 0 else math.inf


def binds_for(per_s: float, rtt_s: float, window: int) -> int:
    """Binds of that window that a rate needs."""
    return max(1, _up(_up(per_s * rtt_s * MARGIN) / window))


def plan(account: Account, messages: int, parts: float = 1.0) -> Plan:
    """Say what so many messages of so many parts each, in the mean, take.

    raises  ValueError on figures that no account has
    """
    if account.window < 1 or account.binds < 1 or account.rtt_s < 0 or account.per_s < 0:
        raise ValueError(
            f"expected window and binds of at least 1, rtt and rate of at least 0, found {account.window}, "
            f"{account.binds}, {account.rtt_s:g}, {account.per_s}"
        )
    if messages < 0 or not 1.0 <= parts <= 255.0:
        raise ValueError(f"expected at least 0 messages of 1 to 255 parts, found {messages} of {parts:g}")
    pdus = round(messages * parts)
    by_window = most_per_s(account.window, account.binds, account.rtt_s)
    ceilings = {"rate": float(account.per_s) if account.per_s else math.inf, "window": by_window}
    if account.engine_per_s is not None:
        ceilings["engine"] = account.engine_per_s
    bottleneck = min(ceilings, key=lambda name: ceilings[name])
    per_s = ceilings[bottleneck]
    window = window_for(account.per_s, account.rtt_s, account.binds) if account.per_s else None
    binds = binds_for(account.per_s, account.rtt_s, account.window) if account.per_s else None
    in_doubt = account.binds * account.window
    timeout_s = max(LEAST_TIMEOUT_S, RTTS_OF_TIMEOUT * account.rtt_s)
    said = [
        f"{messages:,} messages × {parts:g} parts = {pdus:,} PDUs",
        f"the limit allows {account.per_s:,}/s" if account.per_s else "no limit is known",
        f"{account.binds} × window {account.window} / {account.rtt_s * 1e3:g} ms = {_shown(by_window)}/s",
    ]
    if account.engine_per_s is not None:
        said.append(f"everything before the socket manages {account.engine_per_s:,.0f}/s")
    if window is not None and binds is not None:
        needed = f"{account.per_s:,}/s × {account.rtt_s * 1e3:g} ms × {MARGIN} = {window} in flight a bind"
        if window > account.window:
            said.append(f"{needed}, more than the window of {account.window}: raise it, or take {binds} binds")
        else:
            said.append(f"{needed}: the window of {account.window} is enough")
        if window > USUAL_WINDOW:
            said.append(f"few carriers allow more than {USUAL_WINDOW} on a bind: ask, or take more binds")
    said.append(f"a crash of all links leaves at most {in_doubt} segments in doubt")
    said.append(f"a response timeout below {timeout_s:g} s would be an accident")
    return Plan(
        pdus=pdus,
        per_s=per_s,
        seconds=pdus / per_s if per_s else math.inf,
        bottleneck=bottleneck,
        window=window,
        binds=binds,
        in_doubt=in_doubt,
        timeout_s=timeout_s,
        reasons=tuple(said),
    )


def _shown(per_s: float) -> str:
    return "any number" if math.isinf(per_s) else f"{per_s:,.0f}"
