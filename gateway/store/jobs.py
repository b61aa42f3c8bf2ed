"""Work of which there is one for all workers: who has it, until it is gone (sql/jobs.sql).

A job belongs to a worker for as long as that stands in `worker`: who fences the dead frees their jobs; no clock is
asked.
Not here: what a job does, and when (gateway.automation, gateway.dispatch.retention, gateway.dispatch.returns).
"""

from gateway.store.postgres import Connection
from gateway.store.queries import query


async def take(connection: Connection, name: str, instance: str) -> int | None:
    """Take a job for a worker that is registered; -> its epoch, or None while another worker has it.

    The epoch rises with each change of hands.
    """
    epoch = await connection.fetchval(query("take_job"), name, instance)
    return None if epoch is None else int(epoch)


async def hold(connection: Connection, name: str, instance: str) -> bool:
    """Keep a job until our transaction ends: whoever takes it over waits. -> False: it is another's."""
    return await connection.fetchval(query("hold_job"), name, instance) is not None
