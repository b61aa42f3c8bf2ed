"""Who a worker is among all that have registered, and who of the others is known to be gone.

The process and its machine are looked at by the shell (app.py), which hands an Identity down: so a simulation can too.
Not here: registering (store/runs.py), and what becomes of a dead worker's chunks (rescue.py).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from gateway.store import runs

# For commands, which look once: a worker that was not seen for so long is shown as gone. Workers judge by beats.
SILENT = timedelta(seconds=60)


class Identity(Struct, frozen=True, kw_only=True):
    """One worker process.

    instance    unlike that of any other worker, before or after
    boot        names the boot of the machine and the pid namespace: within both a pid means the same process only;
                empty: the system does not say
    is_running  whether a process of this boot has that pid
    node        the name that an operator gave to the processes of one `sluice run`; empty: one of its own
    place       which of them it is, from 0
    """

    instance: str
    host: str
    boot: str
    pid: int
    is_running: Callable[[int], bool]
    node: str = ""
    place: int = 0

    def row(self, now: datetime) -> runs.Worker:
        """What is registered of it."""
        return runs.Worker(
            instance=self.instance,
            host=self.host,
            boot=self.boot,
            pid=self.pid,
            started_at=now,
            seen_at=now,
            node=self.node or self.instance,
            place=self.place,
        )


def is_gone(us: Identity, host: str, boot: str, pid: int) -> bool:
    """Whether a process is known to have ended: it was one of this very boot, and its pid is not there any more.

    A process without a pid has no thread and no socket left. False where nothing is known.
    """
    return bool(boot) and (host, boot) == (us.host, us.boot) and pid != us.pid and not us.is_running(pid)


def is_dead(worker: runs.Worker, us: Identity, now: datetime) -> bool:
    """Whether a registered worker is known to be gone.

    Of another host, boot or container nothing is known but its silence: names of hosts are not unique.
    """
    if not us.boot or (worker.host, worker.boot) != (us.host, us.boot) or worker.pid == us.pid:
        return now - worker.seen_at > SILENT
    return is_gone(us, worker.host, worker.boot, worker.pid)
