"""All that serves one carrier on a worker, and how it ends. Its rooms are put together in worker.py."""

import asyncio
import logging

from msgspec import Struct

from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.intake import Intake
from gateway.dispatch.intent import Intents
from gateway.dispatch.optout import OptOuts
from gateway.dispatch.query import Queries
from gateway.dispatch.rescue import Rescue
from gateway.dispatch.settlement import RETRY_S, Settlement
from gateway.dispatch.unsending import Unsending
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier

log = logging.getLogger(__name__)


class Lane(Struct, frozen=True):
    """One carrier on this worker."""

    name: str
    carrier: Carrier
    intake: Intake
    opt_outs: OptOuts
    settlement: Settlement
    intents: Intents
    dispatcher: Dispatcher
    rescue: Rescue
    queries: Queries | None
    unsending: Unsending | None = None

    @property
    def receipts_matched(self) -> int:
        """Receipts that found their segment: in memory, in Postgres later, or by number and time."""
        return self.carrier.ledger.receipts_matched + self.rescue.matched + self.rescue.adopted

    @property
    def is_up(self) -> bool:
        """Whether it can send, stands still by order, or has no bind of the account to send on."""
        carrier = self.carrier
        return carrier.is_up or carrier.is_stopped or carrier.backlog.paused or not carrier.places

    async def drain(self, drain_s: float) -> None:
        """Let end what was begun, then unbind; after `drain_s` the links are cut."""
        self.intents.drain()
        try:
            async with asyncio.timeout(drain_s):
                await self.carrier.stop()
        except TimeoutError:
            log.error("! %s did not come down within %g s", self.name, drain_s)
        # The loop tells links that were cut that they are lost, which puts their windows in doubt.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def end(self) -> None:
        """Write what the last answers said and give back what did not leave, however long Postgres is away.

        For a clean stop, behind `drain`; whoever calls it says how long it may take.
        """
        is_away = False
        while True:
            try:
                is_settled = await self.dispatcher.end_waiting()
                while await self.settlement.settle():
                    pass
                await self.dispatcher.release()
                if is_settled:
                    return
                await asyncio.sleep(RETRY_S)
            except StoreError as error:
                if not is_away:
                    log.error("! %s: cannot give back, tried again every %g s: %s", self.name, RETRY_S, error)
                is_away = True
                await self.dispatcher.mend(error)
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Close the connections to Postgres, together: each takes a second where it does not answer."""
        closes = [self.settlement.close(), self.intents.close(), self.dispatcher.close(), self.rescue.close()]
        closes.append(self.opt_outs.close())
        if self.queries is not None:
            closes.append(self.queries.close())
        if self.unsending is not None:
            closes.append(self.unsending.close())
        await asyncio.gather(*closes)
