"""The kernel's TCP between worker and SMSC on a network that loses, drops one way, or is narrow; the packets are real.

What TCP makes of it is what an operator's line makes: retransmissions, pauses of seconds, segments in pieces.
Not here: what is done to octets and PDUs (proxy.py, torture.py).
"""

import asyncio
import math
import time
from pathlib import Path

import pytest

from tests.fixtures import audit as invariants
from tests.fixtures.network import Network
from tests.fixtures.rig import Rig

RESPONSE_TIMEOUT_S = 2.0
# What a worker of a rig takes when nothing is wrong, and some.
RSS_KB, FILES = 150_000, 50


def doubt_of(rig: Rig, seconds: float) -> int:
    """What timers may put in doubt: a window each time that they fire, and once more for the link that is given up."""
    return rig.window * (math.ceil(seconds / RESPONSE_TIMEOUT_S) + 1)


@pytest.mark.slow
async def test_packets_that_are_lost_put_nothing_in_doubt_that_no_timer_did(tmp_path: Path, data_root: Path) -> None:
    """Fault 29: every tenth packet, then three of ten, for seconds each; nothing leaves twice, and all of it ends."""
    with Network() as network:
        async with Rig(tmp_path, data_root, tps=300, window=20) as rig:
            await rig.move_to(network)
            run = await rig.enqueue(3000)
            await rig.start("worker")
            await rig.until_taken(300)
            began = time.monotonic()
            for share, seconds in ((0.1, 3.0), (0.3, 5.0)):
                network.lose(share)
                await asyncio.sleep(seconds)
            network.heal()
            assert network.retransmitted() > 20, "the packets that were lost were nobody's"
            hurt_s = time.monotonic() - began
            audit = await rig.audit_when_over(run)
            audit.check(doubt_at_most=doubt_of(rig, hurt_s + RESPONSE_TIMEOUT_S))
            invariants.windows_hold(rig.ledger, rig.window)


WAYS = {"what we send vanishes": "to_port", "what the smsc sends vanishes": "from_port"}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
async def test_network_that_drops_one_way_costs_the_windows_of_its_timers(
    way: str, tmp_path: Path, data_root: Path
) -> None:
    """Fault 24: no FIN, no RST, one way alone; the link is given up by our timers and another one goes on."""
    with Network() as network:
        async with Rig(tmp_path, data_root, tps=300, window=20) as rig:
            await rig.move_to(network)
            run = await rig.enqueue(2500)
            await rig.start("worker")
            await rig.until_taken(300)
            said = rig.log_size("worker")
            network.drop(**{WAYS[way]: rig.port})
            await asyncio.sleep(6.0)
            stands = rig.taken()
            assert rig.log_size("worker") > said, "nobody heard of it"
            await asyncio.sleep(1.0)
            assert rig.taken() == stands < 2500
            network.heal()
            audit = await rig.audit_when_over(run)
            audit.check(doubt_at_most=doubt_of(rig, 7.0 + RESPONSE_TIMEOUT_S))


@pytest.mark.slow
async def test_narrow_line_slows_the_sending_and_takes_no_memory(tmp_path: Path, data_root: Path) -> None:
    """Fault 30: 64 kbit/s for eight seconds; what does not get through stays in the queue and not in our buffers."""
    with Network() as network:
        async with Rig(tmp_path, data_root, tps=1000, window=50) as rig:
            await rig.move_to(network)
            network.mtu(1500)
            run = await rig.enqueue(6000)
            await rig.start("worker")
            await rig.until_taken(1000)
            network.narrow(64)
            stands, began = rig.taken(), time.monotonic()
            await asyncio.sleep(8.0)
            per_s = (rig.taken() - stands) / (time.monotonic() - began)
            network.heal()
            audit = await rig.audit_when_over(run)
            audit.check(doubt_at_most=doubt_of(rig, 8.0 + RESPONSE_TIMEOUT_S))
            invariants.bounded(rig.samples, rss_kb=RSS_KB, files=FILES)
            # 8,000 octets a second hold about 30 messages with their answers and receipts, and their packets' heads.
            assert 0 < per_s < 200, per_s


@pytest.mark.slow
async def test_packets_of_300_octets_cut_pdus_anywhere_and_cost_nothing(tmp_path: Path, data_root: Path) -> None:
    """A network with a small MTU, from one moment to the next: every PDU of some length arrives in pieces."""
    with Network() as network:
        async with Rig(tmp_path, data_root, tps=1000, parts_share=0.1) as rig:
            await rig.move_to(network)
            run = await rig.enqueue(3000)
            await rig.start("worker")
            await rig.until_taken(500)
            network.mtu(300)
            audit = await rig.audit_when_over(run)
            audit.check(doubt_at_most=0, receipts=True)
            assert audit.parts_in_order() > 0
