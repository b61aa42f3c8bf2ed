"""Tells other systems of steps: signed, once by its id, and again where that fails (WF-10).

    due, some of each host ─► what is told of them ─► POST, many at a time ─► what came of it ─► the step goes on
                                                        └─ no answer within 5 s: once more after a pause

A host has at most HOST_AT_ONCE calls under way and all of them together AT_ONCE: a slow one keeps nobody else waiting.
After a crash a call is made again with the same id.
Not here: one call (posting.py), the headers, which answers are final (gateway/webhook.py), the step (carrying.py).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import aiohttp
import msgspec

from gateway import webhook
from gateway.automation import posting
from gateway.automation.job import Every, Job
from gateway.automation.posting import AT_ONCE, HOST_AT_ONCE
from gateway.store import calls, campaigns, jobs, postgres
from gateway.store.calls import Call, End, Of
from gateway.webhook import WebhookSettings

log = logging.getLogger(__name__)

LOOK_S = 0.25
FORGET_S = 3600.0


class Calling(Job):
    """The loop of one worker."""

    NAME = "calling"
    ROUND_S = 1.0
    UNDONE = "no other system is told of steps"

    def __init__(
        self,
        settings: WebhookSettings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
    ):
        super().__init__(wall, connect, instance)
        self._settings = settings
        self._forgetting = Every(FORGET_S)
        self._names: dict[int, str] = {}
        self.told = self.failed = self.tried = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether anything waits to be told."""
        return await calls.is_wanted(connection)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Tell what is due by now, until nothing is under way any more."""
        if self._forgetting.is_due(now):
            async with postgres.deadline(connection, self.STEP_S, "calls of long ago"):
                await calls.forget(connection, now)
            self._forgetting.done(now)
        under_way: dict[asyncio.Task[End], Call] = {}
        async with posting.client_of(self._settings) as client:
            try:
                while True:
                    if not await self._begin(connection, client, under_way):
                        return False
                    if not under_way:
                        return True
                    done, _ = await asyncio.wait(
                        under_way, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED
                    )  # fmt: skip
                    ends = [one.result() for one in done]
                    for one in done:
                        del under_way[one]
                    await self._end(connection, ends)
            finally:
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)

    async def _begin(
        self, connection: postgres.Connection, client: aiohttp.ClientSession, under_way: dict[asyncio.Task[End], Call]
    ) -> bool:
        """Begin calls for which there is room; -> False: another worker has the job."""
        now = self._wall()
        begun = {one.key for one in under_way.values()}
        of_host: dict[str, int] = {}
        for one in under_way.values():
            of_host[one.host] = of_host.get(one.host, 0) + 1
        some: list[Call] = []
        async with postgres.deadline(connection, self.STEP_S, "systems to be told"):
            async with connection.transaction():
                if not await jobs.hold(connection, self.NAME, self._instance):
                    return False
            # Those that are under way are still due, and the oldest of their host.
            for call in await calls.due(connection, now, 2 * HOST_AT_ONCE):
                if call.key in begun or of_host.get(call.host, 0) >= HOST_AT_ONCE:
                    continue
                if len(under_way) + len(some) >= AT_ONCE:
                    break
                of_host[call.host] = of_host.get(call.host, 0) + 1
                some.append(call)
            by_bucket: dict[int, list[Call]] = {}
            for call in some:
                by_bucket.setdefault(call.bucket, []).append(call)
            for bucket, of in sorted(by_bucket.items()):
                found = await calls.told_of(connection, bucket, [call.enrolment for call in of])
                await calls.drop(connection, [call.key for call in of if call.enrolment not in found])
                for call in of:
                    if call.enrolment in found:
                        body = body_of(call, found[call.enrolment], await self._name(connection, found[call.enrolment]))
                        task = asyncio.create_task(self._call(client, call, body))
                        under_way[task] = call
        return True

    async def _name(self, connection: postgres.Connection, one: Of) -> str:
        if one.campaign not in self._names:
            self._names = {campaign.id: campaign.name for campaign in await campaigns.every(connection)}
        return self._names.get(one.campaign, "")

    async def _call(self, client: aiohttp.ClientSession, call: Call, body: bytes) -> End:
        """Tell one system; -> what came of it."""
        headers = webhook.headers_of(f"{call.enrolment}:{call.visit}", body, self._settings.secret, self._wall())
        posted = await posting.post(client, self._settings, call.url, body, headers)
        now = self._wall()
        self.tried += 1
        tries = call.tries + 1
        if 200 <= posted.status < 300:
            return End(call=call, state=calls.TOLD, tries=tries, status=posted.status)
        again = None if posted.is_final else webhook.again_at(tries, now, call.enrolment)
        state = calls.FAILED if again is None else calls.WAITING
        return End(call=call, state=state, tries=tries, status=posted.status, said=posted.told, due_at=again)

    async def _end(self, connection: postgres.Connection, ends: list[End]) -> None:
        if not ends:
            return
        async with postgres.deadline(connection, self.STEP_S, "what other systems said"):
            await calls.end(connection, ends, self._wall())
        for one in ends:
            self.told += one.state == calls.TOLD
            if one.state == calls.FAILED:
                self.failed += 1
                log.warning("! webhook %s: %s %s", one.call.host, one.status or "", one.said)


def body_of(call: Call, one: Of, campaign: str) -> bytes:
    """Write what is told of somebody."""
    who: Mapping[str, Any] = {
        "phone": f"+{one.number}" if one.number is not None else None, "external_id": one.external_id,
        "email": one.email,
    }  # fmt: skip
    return msgspec.json.encode(
        {
            "id": f"{call.enrolment}:{call.visit}", "type": "campaign.step", "campaign": campaign,
            "version": one.version, "step": call.step, "person": {name: value for name, value in who.items() if value},
            "key": one.key, "happened_at": one.anchor_at, "event": one.context,
        }
    )  # fmt: skip
