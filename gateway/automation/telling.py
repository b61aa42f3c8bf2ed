"""Says of persons that they entered a workflow, and left it, where anybody asks for that (EV-11).

    somebody enters or leaves ─► asked for? ─► person_owed, in the same transaction ─► told once (feeding.py)

What nobody asks for is told to nobody: no live campaign listens to it, and no kept audience counts it. Persons without
a number are told of nothing.
Not here: goals, of which whoever reckons them tells (store/conversions.py).
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from gateway.person import WORKFLOW_ENTERED, WORKFLOW_EXITED
from gateway.predicate import CAMPAIGN_PROPERTY, Count, Predicate, Selected, events_of
from gateway.reasons import word_of
from gateway.store import causes, feeds
from gateway.store.enrolments import Ended
from gateway.store.feeds import ENROLMENT_PROPERTY, Owed
from gateway.store.postgres import Connection

DONE = "done"
"""The reason of whoever came to the end."""


class Told(Struct, frozen=True):
    """Somebody who has entered, or left: which of them, whose enrolment, of which campaign, and why they left."""

    name: str
    bucket: int
    number: int | None
    enrolment: int
    campaign: str
    reason: int = 0


def left(ended: Iterable[Ended], campaign: str, reason: int) -> list[Told]:
    """Say that some have left a campaign for one reason."""
    return [Told(WORKFLOW_EXITED, one.bucket, one.number, one.id, campaign, reason) for one in ended]


async def tell(
    connection: Connection, some: Sequence[Told], now: datetime, counted: Collection[str] = frozenset()
) -> None:
    """Say it, within the caller's transaction, where it is asked for.

    counted  names that kept audiences ask for, whoever listens
    cost     one statement where nobody asks, whoever many they are
    """
    names = {one.name for one in some}
    wanted = names and {*(names & set(counted)), *await causes.listened(connection, "event", names)}
    if wanted:
        owed = [_owed(one, now) for one in some if one.name in wanted and one.number is not None]
        await feeds.owe(connection, owed)


def _owed(one: Told, now: datetime) -> Owed:
    assert one.number is not None
    said: dict[str, object] = {CAMPAIGN_PROPERTY: one.campaign, ENROLMENT_PROPERTY: one.enrolment}
    if one.name == WORKFLOW_EXITED:
        said["reason"] = word_of(one.reason) or DONE
    return Owed(
        bucket=one.bucket, number=one.number, at=now, name=one.name, told=f"{one.name}:{one.enrolment}",
        properties=msgspec.json.encode(said).decode(),
    )  # fmt: skip


def counted(trees: Iterable[Predicate]) -> set[str]:
    """Name what conditions on persons ask for of their entering and leaving."""
    asked = {one.event for tree in trees for one in events_of(tree) if isinstance(one, Count | Selected)}
    return asked & {WORKFLOW_ENTERED, WORKFLOW_EXITED}
