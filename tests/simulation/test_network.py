"""Byte streams in virtual time, the gateway's carrier and the simulator over them."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from _fastpath.batch import Batch
from _fastpath.outbound import Form
from _fastpath.template import Template
from gateway.config import CarrierSettings
from gateway.simulator import behaviour, ledger
from gateway.simulator.smsc import Site, Ticks
from gateway.smpp.carrier import Carrier
from tests.fixtures.carriers import outcomes
from tests.simulation.loop import Host, SimLoop
from tests.simulation.network import TO_SERVER, Network

ADDRESS = ("10.1.0.1", 2775)


class Memory:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def write(self, octets: bytes, *, must_last: bool = True) -> None:
        """Append."""
        self.octets += octets

    def messages(self) -> list[ledger.Message]:
        """What arrived."""
        return ledger.fold(ledger.cut(self.octets.decode("latin-1").splitlines(keepends=True)))


class Wire:
    """A carrier of the gateway on one host, the simulator on another, and the network between them."""

    def __init__(self, loop: SimLoop, seed: int, *, messages: int = 200, **settings: Any):
        self.loop, self.memory = loop, Memory()
        self.chance = random.Random(seed)
        self.network = Network(loop, self.chance)
        self.esme, self.smsc = Host(loop, "esme", offset_s=100.0), Host(loop, "smsc", offset_s=5.0)
        carrier = behaviour.Carrier(host=ADDRESS[0], port=ADDRESS[1])
        self.site = Site(
            carrier,
            behaviour.Settings(seed=seed, ledger="memory", carrier=(carrier,)),
            self.memory,
            0x10000000,
            Ticks(self.smsc.monotonic_ns, self.smsc.wall_ns),
        )
        self.carrier = Carrier(
            "acme",
            CarrierSettings(
                **{
                    "host": ADDRESS[0],
                    "port": ADDRESS[1],
                    "system_id": "test",
                    "password": "x",
                    "window": 10,
                    "adaptive": False,
                    "reconnect_first_s": 0.1,
                    "response_timeout_s": 5.0,
                }
                | settings
            ),
            lane=1,
            clock=self.esme.monotonic,
            chance=self.chance,
            on_request=lambda link, pdu: None,
            recall_ids=1024,
        )
        batch = Batch.of(1, [447700900000 + i for i in range(messages)])
        batch.dress(Form(Template("hello"), source="Brand", registered_delivery=1))
        batch.commit(messages)
        self.carrier.backlog.add(batch)

    async def start(self) -> None:
        """Bring both up."""
        await self.smsc.spawn(self.site.open(), "site")
        self.esme.inside(self.carrier.start)

    async def until(self, condition: Callable[[], bool], patience_s: float = 120.0) -> None:
        """Wait for something."""
        until = self.loop.now + patience_s
        while not condition():
            assert self.loop.now < until, self.carrier.reports()
            await asyncio.sleep(0.01)

    def taken(self) -> int:
        """Messages that the simulator has taken."""
        return self.memory.octets.count(b"\nS,")


def on(wire: Callable[[SimLoop], Wire], main: Callable[[Wire], Any]) -> Wire:
    """Run a story over a wire."""
    loop = SimLoop()
    made = wire(loop)

    async def run() -> None:
        await made.start()
        await main(made)

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    assert not loop.faults, loop.faults
    return made


async def all_taken(wire: Wire) -> None:
    await wire.until(lambda: wire.taken() >= 200)
    await asyncio.sleep(1.0)


def test_the_carrier_and_the_simulator_meet_over_it_without_a_socket() -> None:
    wire = on(lambda loop: Wire(loop, 1), all_taken)
    found = outcomes(wire.carrier)
    assert [one.status for one in found] == [0] * 200
    assert {one.message_id for one in found} == {one.message_id.encode() for one in wire.memory.messages()}


def test_the_same_seed_twice_is_the_same_to_the_octet() -> None:
    first, again, other = (on(lambda loop, s=seed: Wire(loop, s), all_taken) for seed in (7, 7, 8))
    assert first.memory.octets == again.memory.octets
    assert first.memory.octets != other.memory.octets


def test_octets_arrive_in_order_however_they_are_cut() -> None:
    async def main(loop: SimLoop) -> None:
        network = Network(loop, random.Random(3))
        network.road(ADDRESS).whole = 0.0
        network.road(ADDRESS).capacity = 100
        heard = bytearray()

        class Ear(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                heard.extend(data)

        network.create_server(Ear, *ADDRESS)
        transport, _ = await network.create_connection(asyncio.Protocol, *ADDRESS)
        said = bytes(random.Random(1).randbytes(5000))
        transport.write(said)
        await asyncio.sleep(60.0)
        assert heard == said

    _run(main)


def _run(main: Callable[[SimLoop], Any]) -> None:
    loop = SimLoop()
    try:
        loop.run_until_complete(main(loop))
    finally:
        loop.close()


def test_a_cut_behind_any_octet_breaks_both_ends_and_no_more_than_it_arrives() -> None:
    async def story(wire: Wire) -> None:
        await wire.until(lambda: wire.taken() >= 50)
        (connection,) = wire.network.connections.values()
        connection.cut_at[TO_SERVER] = connection.sent[TO_SERVER] + 37
        await wire.until(lambda: wire.carrier.binds[0].binds == 2)
        await wire.until(lambda: wire.taken() >= 185)
        await asyncio.sleep(5.0)

    wire = on(lambda loop: Wire(loop, 2, tps=100), story)
    doubted = [one for one in outcomes(wire.carrier) if one.status == -1]
    assert 1 <= len(doubted) <= 10


def test_a_peer_that_vanishes_is_given_up_by_our_own_timers() -> None:
    async def story(wire: Wire) -> None:
        await wire.until(lambda: wire.taken() >= 50)
        (connection,) = wire.network.connections.values()
        connection.vanish()
        at = wire.loop.now
        await wire.until(lambda: wire.carrier.binds[0].binds == 2)
        assert 5.0 <= wire.loop.now - at < 20.0

    on(lambda loop: Wire(loop, 3, tps=100), story)


def test_refused_muted_and_slow_addresses_are_tried_until_they_are_well() -> None:
    async def story(wire: Wire) -> None:
        road = wire.network.road(ADDRESS)
        road.is_refusing = True
        await asyncio.sleep(5.0)
        assert not wire.carrier.is_up
        assert "refused" in wire.carrier.binds[0].last_error
        road.is_refusing, road.is_mute = False, True
        await asyncio.sleep(20.0)
        assert not wire.carrier.is_up
        road.is_mute, road.slower = False, 50.0
        await wire.until(lambda: wire.taken() >= 200)

    wire = on(lambda loop: Wire(loop, 4), story)
    assert wire.network.road(ADDRESS).slower == 50.0


def test_a_stalled_direction_holds_everything_and_then_lets_it_through() -> None:
    async def story(wire: Wire) -> None:
        await wire.until(lambda: wire.taken() >= 50)
        (connection,) = wire.network.connections.values()
        connection.is_stalled[TO_SERVER] = True
        await asyncio.sleep(0.1)
        before = wire.taken()
        await asyncio.sleep(2.0)
        assert wire.taken() == before
        connection.release()
        await wire.until(lambda: wire.taken() >= 200)
        await asyncio.sleep(1.0)

    wire = on(lambda loop: Wire(loop, 5, tps=100), story)
    assert [one.status for one in outcomes(wire.carrier)] == [0] * 200


def test_a_killed_simulator_is_heard_of_and_one_without_power_is_not() -> None:
    async def story(wire: Wire) -> None:
        await wire.until(lambda: wire.taken() >= 20)
        wire.smsc.crash()
        wire.network.crashed(wire.smsc, is_silent=False)
        await wire.until(lambda: not wire.carrier.is_up, 1.0)

    on(lambda loop: Wire(loop, 6, tps=100), story)

    async def silent(wire: Wire) -> None:
        await wire.until(lambda: wire.taken() >= 20)
        wire.smsc.crash()
        wire.network.crashed(wire.smsc, is_silent=True)
        await asyncio.sleep(1.0)
        assert wire.carrier.is_up
        await wire.until(lambda: not wire.carrier.is_up, 30.0)

    on(lambda loop: Wire(loop, 6, tps=100), silent)
