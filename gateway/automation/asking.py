"""Asks the gate before a step of a campaign writes: who may be written to now, who waits, and who may not (TP-3).

    who is at a step that sends ─► senders ─► the gate, set-wise ─► go on · stay until then · the gate's own reason

Whoever is held out by an experiment is asked for like everybody: a virtual send is one that the gate would have let
pass (AB-6). It counts for what is virtual alone, of the same campaign: no cap of a real message knows of it.
Not here: the gate (dispatch/beforehand.py, given from above), what becomes of who waits (carrying.py).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias

from gateway.automation.readying import Sending
from gateway.message import Refusal
from gateway.store import enrolments
from gateway.store.enrolments import Enrolment
from gateway.store.postgres import Connection
from gateway.store.runs import Run

Verdict: TypeAlias = tuple[int, datetime | None]
"""0 it may go, above 0 it waits until then, below 0 the reason why not."""
Left: TypeAlias = dict[int, list[datetime]]
"""When texts would have left that the gate does not know of, by number."""


class Gate(Protocol):
    """The gate of runs, as dispatch.beforehand.Beforehand has it."""

    async def ask(
        self, connection: Connection, run: Run, sender: str, numbers: Collection[int], now: datetime,
        left: Mapping[int, Sequence[datetime]] = ...,
    ) -> Mapping[int, Verdict]: ...  # fmt: skip


async def ask(
    gate: Gate, connection: Connection, sends: Sending, senders: Mapping[int, str], some: Sequence[Enrolment],
    virtual: Collection[int], left: Left, now: datetime,
) -> dict[int, Verdict]:  # fmt: skip
    """Ask about some persons at one step; -> the verdict of each, by enrolment.

    senders  of each lane, where a way names none
    virtual  enrolments of those who are held out
    left     texts of the campaign that these persons got a moment ago; what passes is added
    """
    found: dict[int, Verdict] = {}
    ways: dict[str, dict[int, list[Enrolment]]] = {}
    for one in some:
        assert one.number is not None
        cell = sends.route.cell_of(one.number)
        if cell.lane:
            sender = cell.source or senders.get(cell.lane, "")
            ways.setdefault(sender, {}).setdefault(one.number, []).append(one)
        else:
            found[one.id] = int(Refusal.NO_ROUTE), None
    before = await _virtual_before(connection, [one for one in some if one.id in virtual]) if virtual else {}
    for sender, by_number in ways.items():
        # Of two who share a number one goes behind the other.
        while by_number:
            turn = {number: waiting.pop(0) for number, waiting in by_number.items()}
            known = {
                number: [*left.get(number, ()), *(before.get(one.id, ()) if one.id in virtual else ())]
                for number, one in turn.items()
            }
            verdicts = await gate.ask(
                connection, sends.run, sender, turn, now, {number: at for number, at in known.items() if at}
            )
            for number, one in turn.items():
                found[one.id] = verdicts[number]
                if not verdicts[number][0]:
                    left.setdefault(number, []).append(now)
            by_number = {number: waiting for number, waiting in by_number.items() if waiting}
    return found


async def _virtual_before(connection: Connection, some: Sequence[Enrolment]) -> dict[int, list[datetime]]:
    """Read when persons would have been written to by their campaign, had they not been held out; by enrolment."""
    if not some:
        return {}
    persons = sorted({(one.bucket, one.profile) for one in some})
    by_profile = await enrolments.virtual_sends(connection, persons, some[0].campaign)
    return {one.id: by_profile.get(one.profile, []) for one in some}
