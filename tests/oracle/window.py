"""Requests in flight as a dict, slow and obvious, from SMPP 3.4 §3.2 and §2.9: no code of ours below it."""

from dataclasses import dataclass, field

LAST = 0x7FFFFFFF


@dataclass
class Request:
    """One request: whose it is, when it left, whether its timer fired."""

    pos: int
    sent_at: float
    is_late: bool = False


@dataclass
class Window:
    """At most `size` requests that are not answered and not late; late ones are remembered and keep their number."""

    size: int
    next: int = 1
    requests: dict[int, Request] = field(default_factory=dict)

    @property
    def in_flight(self) -> int:
        """Requests that count against the size."""
        return sum(not request.is_late for request in self.requests.values())

    def close(self, sequence: int) -> tuple[int, bool] | None:
        """Take out what a response answers."""
        request = self.requests.pop(sequence, None)
        return None if request is None else (request.pos, request.is_late)

    def expire(self, sent_before: float) -> list[int]:
        """Let timers fire."""
        due = [one for one in self.requests.values() if not one.is_late and one.sent_at < sent_before]
        for request in due:
            request.is_late = True
        return [request.pos for request in sorted(due, key=lambda one: (one.sent_at, one.pos))]
