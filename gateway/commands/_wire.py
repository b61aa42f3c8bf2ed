"""Asks the running workers what crossed the wire: what `sluice pcap` writes and `sluice trace` looks into."""

import asyncio
import time
import uuid

from gateway import app
from gateway.app import CLOCK
from gateway.dispatch.identity import is_dead
from gateway.smpp import capture
from gateway.smpp.capture import Tape
from gateway.store import captures, events, postgres, runs


async def tapes(
    connection: postgres.Connection,
    carrier: str,
    patience_s: float,
    *,
    place: int | None = None,
    redacts: bool = False,
) -> tuple[list[tuple[str, Tape]], set[str]]:
    """Ask every worker that lives; -> (worker, tape) by bind, and the workers that did not answer in time.

    place   of the bind in its account, from 1; None: all of them
    raises  StoreError
    """
    now = CLOCK.wall()
    us = app.identity()
    waited_for = {each.instance for each in await runs.workers(connection) if not is_dead(each, us, now)}
    if not waited_for:
        return [], set()
    request = captures.Request(id=uuid.uuid4(), carrier=carrier, place=place, redacts=redacts)
    bell = events.Bell(connection, captures.CHANNEL)
    await bell.hang()
    await captures.ask(connection, request, now)
    try:
        until = time.monotonic() + patience_s
        while True:
            waited_for -= await captures.done(connection, request)
            left_s = until - time.monotonic()
            if not waited_for or left_s <= 0:
                break
            await bell.wait(left_s)
        answers = await captures.answers(connection, request)
    finally:
        # What a wait that was cut off leaves behind goes with the next request.
        if not connection.is_closed() and not asyncio.current_task().cancelling():  # type: ignore[union-attr]
            await captures.drop(connection, request.id, CLOCK.wall())
    return [(each.instance, capture.unpack(each.octets)) for each in answers], waited_for
