"""Ends of sessions, told once: who has done nothing for the timeout gets a session_ended of ours (EV-10).

It has happened at the last event + the timeout, whenever we come to tell it. Who tells holds the person, and ends the
running session in the same transaction: neither two who tell, nor a crash, nor an event that comes meanwhile tell one
end twice or none.
Not here: who looks, and when (gateway.automation.sessions); ends that an event tells by coming later (aggregates.py).
"""

from datetime import datetime
from itertools import count
from random import Random

from _fastpath.eventrows import microseconds
from gateway.person import SESSION_ENDED, SESSION_TIMEOUT
from gateway.store import aggregates, identities
from gateway.store.aggregates import Tally
from gateway.store.postgres import Connection
from gateway.store.profiles import Row, Totals, add_events, first_id, session_end
from gateway.store.queries import query

BUCKETS = 256
PERSONS_A_STEP = 500


async def end_due(connection: Connection, bucket: int, now: datetime, chance: Random) -> tuple[int, bool]:
    """Tell the ends of some sessions of a bucket; -> how many, and whether there may be more. One transaction.

    raises  identities.Again: one of the persons has moved or become another; their row here goes with them
    """
    rows = await connection.fetch(query("sessions_due"), bucket, now, PERSONS_A_STEP)
    if not rows:
        return 0, False
    ids = count(first_id(now, chance))
    async with connection.transaction():
        persons = await identities.hold(connection, {row["profile"]: bucket for row in rows}, now)
        later = [one for one in persons.values() if one.session_at and one.session_at + SESSION_TIMEOUT > now]
        ended = [one for one in persons.values() if one.session_at and one.session_at + SESSION_TIMEOUT <= now]
        if later:
            times = [one.session_at + SESSION_TIMEOUT for one in later if one.session_at]
            await connection.execute(query("look_later"), bucket, [one.id for one in later], times)
        going_on = {one.id for one in later}
        await connection.execute(query("close_sessions"), bucket, [id_ for id_ in persons if id_ not in going_on])
        tallies = []
        events: list[Row] = []
        totals: Totals = {}
        for person in ended:
            assert person.session_at is not None
            at = person.session_at + SESSION_TIMEOUT
            tally = Tally(person)
            tally.told, tally.lives = [(at, True)], [(at, True)]
            tallies.append(tally)
            events.append(session_end(bucket, person.id, next(ids), at))
            at_us = microseconds(at)
            totals[bucket, person.id, SESSION_ENDED] = [1, at_us, at_us]
        if events:
            await aggregates.carry_sessions(connection, tallies)
            await add_events(connection, events, totals, now)
            await aggregates.write(connection, tallies, now)
    return len(ended), len(rows) == PERSONS_A_STEP
