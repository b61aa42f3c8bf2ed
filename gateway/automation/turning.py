"""What becomes of people who are under way when their campaign has a newer version (WF-8).

    keep      they go on in the version that they entered
    move      to the step of the same name, or without one to the same place; they wait as long as they did (DL-3)
    restart   from the first step of the new one
    exit      they leave

Bucket by bucket, some at a time: whoever dies in the middle is asked once more, and does the rest.
Not here: which versions there are (store/campaigns.py).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from gateway.automation import telling
from gateway.automation.sending import LATE_WITHIN
from gateway.campaign import workflow
from gateway.campaign.workflow import Plan
from gateway.reasons import Reason
from gateway.store import campaigns, enrolments, selection, unwanted
from gateway.store.campaigns import Campaign
from gateway.store.postgres import Connection

BUCKETS = 256
A_STEP = 1000
Way = Literal["keep", "move", "restart", "exit"]


class Under(Struct, frozen=True, kw_only=True):
    """How many are at a step of a version that is not the newest; to: where `move` brings them, None: nowhere."""

    version: int
    step: int
    name: str
    people: int
    to: int | None


async def under_way(connection: Connection, found: Campaign, plan: Plan) -> list[Under]:
    """Say who is under way in versions of a campaign before the newest, and where their steps are in that."""
    plans: dict[int, Plan] = {}
    some = []
    for one in await enrolments.counts(connection, found.id):
        if one.state != enrolments.UNDER_WAY or one.version == found.version:
            continue
        if one.version not in plans:
            body = (await campaigns.version_of(connection, found.id, one.version)).document
            plans[one.version] = workflow.plan_of(body)[0]
        before = plans[one.version]
        name = before.steps[one.step].step.name if one.step < len(before.steps) else ""
        some.append(
            Under(
                version=one.version, step=one.step, name=name or f"steps[{one.step}]", people=one.people,
                to=workflow.same_places(before, plan).get(one.step),
            )
        )  # fmt: skip
    return some


async def turn(
    connection: Connection, found: Campaign, some: Sequence[Under], way: Way, now: datetime, *, recomputes: bool = False
) -> int:
    """Have people of earlier versions go on as was said; -> how many.

    recomputes  what those wait for who are moved is reckoned anew (DL-3)
    """
    turned = 0
    counted = telling.counted(kept.tree for kept in (await selection.kept(connection)).values())
    for one in some if way != "keep" else ():
        to = 0 if one.to is None or way == "restart" else one.to
        for bucket in range(BUCKETS):
            more = A_STEP
            while more == A_STEP:
                if way == "exit":
                    reason = int(Reason.CAMPAIGN_ENDED)
                    async with connection.transaction():
                        ended = await enrolments.end_at_step(
                            connection, bucket, found.id, one.version, one.step, reason, now, A_STEP
                        )
                        gone = {(one.bucket, one.id): reason for one in ended}
                        await unwanted.add_of(connection, gone, now - LATE_WITHIN, now)
                        await telling.tell(connection, telling.left(ended, found.name, reason), now, counted)
                    more = len(ended)
                else:
                    more = await enrolments.turn(
                        connection, bucket, found.id, one.version, one.step, (found.version, to), now, A_STEP,
                        recomputes=recomputes, restarts=way == "restart",
                    )  # fmt: skip
                turned += more
    return turned
