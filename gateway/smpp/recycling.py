"""Which bind is drained and bound anew though nothing is broken that its socket would show.

    messages of this session near `recycle_after`        the SMSC allows no more of them a session
    accepted, accepted, accepted … and not one receipt   a half-dead session: its receiving half leads nowhere

Never two binds of an account at once (`Gate`). All of it is fed with counters and `now`; it decides, and acts on
nothing.
Not here: draining and binding (link.py, bind.py), reading the counters (carrier.py).
"""

import math

# A median of fewer receipts is chance.
MEASURED = 20
# So many messages without a receipt, at least: a single handset may be off for a day.
ACCEPTED = 10
MEDIANS = 10.0
FLOOR_S = 60.0
# A bind that was drained and does not come up again blocks the others no longer than this.
GATE_S = 60.0


def half_dead_after_s(setting_s: float, receipts: int, median_s: float | None) -> float:
    """Say after how much silence an account counts as half-dead: the setting, else ten usual delays, a minute at least.

    ->  inf while nothing is set and too little is measured
    """
    if setting_s:
        return setting_s
    if median_s is None or receipts < MEASURED:
        return math.inf
    return max(FLOOR_S, MEDIANS * median_s)


class Silence:
    """Listens for receipts of one account."""

    def __init__(self) -> None:
        self._receipts = 0
        self._accepted = 0
        self._since: float | None = None
        self._acted_at = -math.inf
        self.alarm = ""

    def look(self, now: float, accepted: int, receipts: int, after_s: float) -> bool:
        """Take the counters of the account; -> whether a bind is to be recycled now, once in `after_s` at most.

        accepted  messages the SMSC took, ever
        receipts  receipts it sent, ever
        """
        if receipts != self._receipts:
            self._receipts, self._accepted, self._since, self.alarm = receipts, accepted, None, ""
            self._acted_at = -math.inf
            return False
        owed = accepted - self._accepted
        if owed and self._since is None:
            self._since = now
        if self._since is None or owed < ACCEPTED or now - self._since < after_s:
            return False
        self.alarm = f"half-dead: {owed} messages accepted and no receipt for {now - self._since:.0f} s"
        if now - self._acted_at < after_s:
            return False
        self._acted_at = now
        return True


def quota(recycle_after: int, window: int, place: int, submitters: int) -> int:
    """Say after how many messages a session had best be recycled.

    recycle_after  what the SMSC allows; less a window, so that what is in flight never makes it more
    place          of the bind among those that submit, from 0: each later one goes earlier, the last at half, since
                   evenly loaded binds would else all be due at once
    """
    return max(1, int(recycle_after * (1.0 - 0.5 * place / submitters)) - window)


class Gate:
    """Lets one bind of an account be recycled at a time."""

    def __init__(self) -> None:
        self._inside = ""
        self._until = -math.inf

    def enter(self, name: str, now: float) -> bool:
        """Ask for the turn of a bind; -> whether it has it."""
        if self._inside and self._inside != name and now < self._until:
            return False
        self._inside, self._until = name, now + GATE_S
        return True

    def leave(self, name: str) -> None:
        """Hear that a bind is up, again or still."""
        if self._inside == name:
            self._inside = ""
