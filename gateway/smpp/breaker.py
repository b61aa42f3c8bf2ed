"""When an account stops pouring messages at an SMSC that takes none of them.

    closed ── so many answers in a row, none of them an acceptance ─► open ── one acceptance ─► closed
                                                                      └─ TRIES PDUs a minute leave, the first after one

A route that is set wrongly refuses everything for good, and one whose inner half is gone leaves everything unanswered:
either would use up a campaign in minutes. So all but a few messages wait in the queue, and a person is told.
"Throttled" is no refusal here, for it burns nothing and has a pace of its own (pace.py).

Whoever holds it feeds it with counters and `now`; it sends and stops nothing but by the limit that it hands out.
Not here: reading the counters (carrier.py), single recipients and rates (_fastpath/outstanding.pyx, pace.py).
"""

from _fastpath.limit import Limit

# Few enough to be lost, and enough that a list of wrong numbers is told from a wrong route.
TRIES = 5


class Breaker:
    """Counts what one account got for its messages.

    after  failures in a row that open it; 0 = never
    """

    def __init__(self, after: int):
        self._after = after
        self._accepted = 0
        self._failed = 0
        self._failed_now = 0
        self._limit: Limit | None = None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What every bind of the account hangs under, too: nothing while it is closed."""
        return () if self._limit is None else (self._limit,)

    @property
    def alarm(self) -> str:
        """Why nearly nothing is sent; empty: it is closed."""
        if self._limit is None:
            return ""
        return (
            f"takes nothing: {self._failed_now - self._failed} segments in a row were refused or not answered; "
            f"{TRIES} a minute are tried until one is accepted, all else waits (breaker_after)"
        )

    def look(self, now: float, accepted: int, failed: int) -> bool:
        """Take the counters of the account; -> whether `limits` are other ones now.

        accepted  segments the SMSC took, ever
        failed    segments it refused, or left without an answer for too long, ever
        """
        self._failed_now = failed
        if accepted != self._accepted:
            self._accepted, self._failed = accepted, failed
            return self._close()
        if self._limit is not None or not self._after or failed - self._failed < self._after:
            return False
        self._limit = Limit("breaker", per_minute=TRIES)
        self._limit.recall(TRIES, now)
        return True

    def reset(self, after: int) -> bool:
        """Begin anew, since somebody has changed settings; -> whether `limits` are other ones now."""
        self._after, self._failed = after, self._failed_now
        return self._close()

    def _close(self) -> bool:
        was_open, self._limit = self._limit is not None, None
        return was_open
