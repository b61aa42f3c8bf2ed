"""When an account may try to bind: carriers lock out who tries too often.

While all is well the binds come up right behind one another. From the first failure or loss on, until every bind is up
again, two attempts of the account are at least `gap_s` apart, whichever binds make them. A refusal that only a person
can mend shuts the whole account, unless another bind of it is up and proves that the credentials are right.
Not here: how long one bind waits after its failures (bind.py), who is next (a lock in carrier.py, first come).
"""

import math


class Turns:
    """The account's patience; shared by its binds. `now` is monotonic seconds.

    gap_s  least time between two attempts while there is trouble
    """

    def __init__(self, gap_s: float):
        self._gap_s = gap_s
        self._is_troubled = False
        self._tried_at = -math.inf
        self._shut_until = -math.inf

    def wait_s(self, now: float) -> float:
        """Say how long the next attempt has to wait still."""
        at = max(self._shut_until, self._tried_at + self._gap_s if self._is_troubled else -math.inf)
        return max(at - now, 0.0)

    def tried(self, now: float) -> None:
        """Hear that an attempt begins."""
        self._tried_at = now

    def troubled(self) -> None:
        """Hear that an attempt failed, or that a bind was lost."""
        self._is_troubled = True

    def shut(self, until: float) -> None:
        """Let nobody try before that moment."""
        self._shut_until = max(self._shut_until, until)

    def calm(self) -> None:
        """Hear that every bind is up."""
        self._is_troubled = False
        self._shut_until = -math.inf
