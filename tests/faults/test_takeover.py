"""Two workers of one account as processes: one is killed, one is frozen until others take it for dead, and wakes.

Whatever happens: the rate of the account holds at the SMSC, nothing is sent twice, and the binds of
who is gone are another's within 10 s.
"""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from gateway.message import Policy
from gateway.simulator.ledger import read
from tests.fixtures.engine import doubt_bound, until
from tests.fixtures.rig import Rig

MESSAGES, TPS, BINDS = 6000, 300, 4
TAKEOVER_S = 10.0
# A share that two use at once would show as 1.5 times the rate.
SQUEEZED = 1.2

_CONFIG = """
[database]
dsn = "{dsn}"
deadline_s = 5.0
[worker]
flush_interval_s = 0.01
match_interval_s = 0.05
[carriers.acme]
host = "127.0.0.1"
port = {port}
system_id = "test"
window = 20
tps = {tps}
adaptive = false
binds = {binds}
response_timeout_s = 5.0
reconnect_first_s = 0.05
reconnect_longest_s = 0.2
"""


class Two(Rig):
    """A rig with any number of workers."""

    async def begin(self, name: str) -> int:
        """Start a worker of that name; -> its pid."""
        config = self.folder / "sluice.toml"
        config.write_text(_CONFIG.format(dsn=self.server.dsn, port=self.port, tps=TPS, binds=BINDS))
        await self._spawn(name, "run", "--config", str(config), "--report-every", "0", "--node", name)
        return self.processes[name].pid

    async def ask(self, statement: str, *values: Any) -> list[Any]:
        """Rows of a statement."""
        connection = await self.connect()
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            connection.terminate()

    async def held(self) -> dict[str, int]:
        """Binds by node."""
        rows = await self.ask(
            "SELECT w.node, count(*) AS n FROM bind_slot b JOIN worker w ON w.instance = b.owner GROUP BY w.node"
        )
        return {row["node"]: row["n"] for row in rows}

    async def until_held(self, wanted: dict[str, int], what: str) -> float:
        """Wait for the binds to stand so; -> seconds."""
        began = time.monotonic()

        async def stands() -> bool:
            return await self.held() == wanted

        try:
            await until(stands, what)
        except AssertionError as error:
            raise AssertionError(
                f"{error}: {await self.held()}; {self.said('worker')}; {self.said('worker-2')}"
            ) from None
        return time.monotonic() - began


def most_in_a_second(ledger: Path) -> int:
    """PDUs in the fullest sliding second, as they arrived."""
    at = sorted(message.at_ns for message in read(ledger))
    worst = first = 0
    for last, moment in enumerate(at):
        while moment - at[first] >= 1_000_000_000:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


async def test_faults_8_9_and_14_binds_move_the_rate_holds_and_nobody_sends_twice(
    tmp_path: Path, data_root: Path
) -> None:
    """Invariants A1, A3, A5, T1."""
    async with Two(tmp_path, data_root, tps=TPS, workers=2) as rig:
        run = await rig.enqueue(MESSAGES, Policy.ONCE)
        frozen = await rig.begin("worker")
        await rig.until_held({"worker": 4}, "the first one has all binds")
        await rig.begin("worker-2")
        await rig.until_held({"worker": 2, "worker-2": 2}, "they share")
        await rig.until_taken(rig.taken() + 300)
        (before,) = await rig.ask("SELECT instance FROM worker WHERE node = 'worker'")
        os.kill(frozen, signal.SIGSTOP)
        try:
            assert await rig.until_held({"worker-2": 4}, "the frozen one's binds move") <= TAKEOVER_S
            await rig.until_taken(rig.taken() + 200)
        finally:
            os.kill(frozen, signal.SIGCONT)
        # It wakes, learns that it was fenced, and begins anew as another one.
        await rig.until_held({"worker": 2, "worker-2": 2}, "they share again")
        (after,) = await rig.ask("SELECT instance FROM worker WHERE node = 'worker'")
        assert after != before and "taken for dead" in rig.said("worker")
        await rig.until_taken(rig.taken() + 300)
        await rig.kill("worker-2")
        assert await rig.until_held({"worker": 4}, "the killed one's binds move") <= TAKEOVER_S
        await rig.begin("worker-2")
        audit = await rig.audit_when_over(run)
        # The frozen one's windows were open, and the killed one's.
        audit.check(doubt_at_most=2 * doubt_bound(BINDS * 20, TPS))
        # Arrivals: a busy machine squeezes together what left apart; for writes see tests/dispatch/test_slots.py.
        assert most_in_a_second(rig.ledger) <= TPS * SQUEEZED
        rig.processes["worker"].send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(rig.processes["worker"].wait(), 30) == 0
