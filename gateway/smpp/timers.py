"""The four timers of a session, as objects without a clock.

    session_init   TCP up, or outbind sent: the peer must bind within it      -> close
    enquire_link   silence since the last PDU of either kind                  -> ask whether the peer is there
    inactivity     no request but enquire_link in either direction            -> unbind
    response       one per request of ours that is not answered               -> undecided

`now` is monotonic seconds and always an argument. A timer is due at its deadline, not behind it.
Not here: what follows when one is due (session.py), the timers of the hot window (_fastpath/window.pyx).
"""

import heapq

from msgspec import Struct


class Timings(Struct, frozen=True, kw_only=True):
    """How long a session waits, in seconds; None switches a timer off.

    enquire_link_response  after so long without an answer a ping counts as missed
    enquire_link_misses    missed in a row until the link is taken for dead
    unbind                 for unbind_resp, and for our own last answers when the peer unbinds
    """

    session_init: float | None = 10.0
    enquire_link: float | None = 30.0
    inactivity: float | None = None
    response: float | None = 30.0
    enquire_link_response: float = 10.0
    enquire_link_misses: int = 2
    unbind: float = 5.0


class Countdown:
    """One timer that is started, restarted by `touch` and stopped."""

    __slots__ = ("_deadline", "interval_s")

    def __init__(self, interval_s: float | None):
        self.interval_s = interval_s
        self._deadline: float | None = None

    def start(self, now: float) -> None:
        """Start anew from `now`; nothing happens when the timer is switched off."""
        self._deadline = None if self.interval_s is None else now + self.interval_s

    def touch(self, now: float) -> None:
        """Restart if it runs; a stopped timer stays stopped."""
        if self._deadline is not None:
            self.start(now)

    def stop(self) -> None:
        """Stop; it is due no more until started."""
        self._deadline = None

    def due(self, now: float) -> bool:
        """Tell whether the deadline is here."""
        return self._deadline is not None and now >= self._deadline

    @property
    def next_at(self) -> float | None:
        """When to look again; None when it does not run."""
        return self._deadline


class Deadlines:
    """Many one-shot timers, by number. Stopping leaves a husk in the heap, which is thrown out when it surfaces."""

    __slots__ = ("_at", "_heap")

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._at)

    def start(self, number: int, at: float) -> None:
        """Set the deadline of `number`, in place of an older one."""
        self._at[number] = at
        heapq.heappush(self._heap, (at, number))
        # A link that never lets a timer run out would keep every husk: rebuild when they outnumber the living.
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._at):
            self._heap = [(at, number) for number, at in self._at.items()]
            heapq.heapify(self._heap)

    def stop(self, number: int) -> None:
        """Forget `number`; unknown ones are forgotten already."""
        self._at.pop(number, None)

    def due(self, now: float) -> list[int]:
        """Take out the numbers whose deadline is here, oldest deadline first."""
        numbers = []
        while self._heap and self._heap[0][0] <= now:
            at, number = heapq.heappop(self._heap)
            if self._at.get(number) == at:
                del self._at[number]
                numbers.append(number)
        return numbers

    @property
    def next_at(self) -> float | None:
        """The earliest deadline; None when there is none."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
