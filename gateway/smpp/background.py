"""Which refusals say nothing of the rate: those that are as many at a rate a tenth lower.

    rate cut or lowered ─► blame ─► whole seconds at a lower rate ─► fewer are refused: the rate was the cause
                                                              └────► as many are: acquitted, and borne from then on

A limit is no longer met once the rate is below it; what a carrier refuses by chance, for one of its nodes, or since
others crowd it, goes on. So the share that is refused a tenth below the rate that is judged, or was blamed, is the
background of it, and only what exceeds this by more than chance speaks against the rate. Nothing below was seen in five
minutes: the background is nothing, and the next cut asks anew. More than a quarter refused is borne at no rate: whoever
is refused so often is to be slow, whatever the cause.
Not here: what follows for the rate (pace.py).
"""

import math
from collections import deque

# A rate so much lower is one that a limit near it does not reach.
LOWER = 0.9
# Fewer refusals tell a share from nothing only by luck.
ENOUGH = 3
MOST = 0.25
KEPT_S = 300.0
LASTS_S = 10.0
# A rate blamed again so soon, for not many more of them, is so for the same refusals.
SAME_S = 120.0
# What a count may exceed its mean by, in standard deviations, and a few more where the counts are small.
DEVIATIONS, FEW = 2.5, 2


class Background:
    """The refusals of one account at rates that are not the cause of them."""

    def __init__(self) -> None:
        # (moment, rate, answered, refused) of whole seconds in which the rate stayed.
        self._seconds: deque[tuple[float, int, int, int]] = deque()
        self._since = -math.inf
        self.blamed, self._blamed_at = 0, -math.inf
        self._share = 0.0
        self.is_acquitted = True

    def blame(self, now: float, rate: int, share: float) -> None:
        """Take a rate for the cause of such a share of refusals: it is lowered now."""
        is_same = not self.is_acquitted and now - self._blamed_at < SAME_S
        self._blamed_at = now
        if is_same and rate <= self.blamed and share <= 2.0 * self._share + FEW / max(1, rate):
            # Still the same refusals: where they are few only all that is below the first rate tells.
            return
        answered, refused = self.below(now, rate)
        # Not one where there would have been some: it was not so then, and is asked again from now on.
        if not refused and share * answered > 4 * ENOUGH:
            self._since = now
        self.blamed, self._share, self.is_acquitted = rate, share, False

    def add(self, now: float, rate: int, answered: int, refused: int) -> None:
        """Take in a whole second that was sent at one rate."""
        self._seconds.append((now, rate, answered, refused))
        while now - self._seconds[0][0] > KEPT_S:
            self._seconds.popleft()

    def below(self, now: float, rate: int, since: float = -math.inf) -> tuple[int, int]:
        """Count answers and refusals at rates that are a tenth lower than this one, or than the blamed one."""
        since, most = max(since, self._since, now - KEPT_S), LOWER * max(rate, self.blamed)
        answered = refused = 0
        for at, each, some, many in self._seconds:
            if at > since and each <= most:
                answered += some
                refused += many
        return answered, refused

    def share(self, now: float, rate: int) -> float:
        """Tell the share of answers that is refused whatever the rate; 0: none is known."""
        answered, refused = self.below(now, rate)
        return refused / answered if ENOUGH <= refused <= MOST * answered else 0.0

    def is_open(self, now: float, rate: int) -> bool:
        """Whether the rate was lowered, and what that helps is not known yet."""
        return rate <= LOWER * self.blamed and not self.is_acquitted and self.below(now, rate)[1] < ENOUGH

    def bears(self, now: float, rate: int, answered: int, refused: int) -> bool:
        """Tell whether so many refusals say nothing against this rate."""
        share = self.share(now, rate)
        if share:
            mean, counted = share * answered, self.below(now, rate)[1]
            return refused <= mean + DEVIATIONS * math.sqrt(mean + mean * mean / counted) + FEW
        if self.is_open(now, rate) and self._share <= MOST:
            mean = self._share * answered
            return refused <= mean + DEVIATIONS * math.sqrt(mean) + FEW
        return False

    def lasts(self, now: float, rate: int) -> bool:
        """Tell whether the last ten seconds at this rate had more refusals than it bears."""
        late = [(some, many) for at, each, some, many in self._seconds if at > now - LASTS_S and each == rate]
        answered, refused = sum(some for some, _ in late), sum(many for _, many in late)
        return self.share(now, rate) > 0.0 and not self.bears(now, rate, answered, refused)

    def acquits(self, now: float) -> bool:
        """Tell, once, that the blamed rate was not the cause: as many are refused below it."""
        if self.is_acquitted:
            return False
        answered, refused = self.below(now, self.blamed)
        mean = self._share * answered
        if not ENOUGH <= refused <= MOST * answered or refused < mean - DEVIATIONS * math.sqrt(mean):
            return False
        self.is_acquitted = True
        return True
