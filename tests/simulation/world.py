"""A world from a seed: workers, carriers, a database, load, and what goes wrong and when.

    seed ─► Plan (topology, personalities, settings, load, a list of faults) ─► World.run ─► Result
            faults fall ─► at `heal_s` all is well again ─► within ten minutes everything must have its end ─► checks

The plan says everything: the same plan runs the same way twice, octet for octet, so a failing seed can be replayed, and
its list of faults made shorter as long as it still fails (run.py). Each world draws half of the kinds of fault, so
that rare pairs of them meet (swarm testing). Settings are drawn as well: tiny chunks, a window of 1, short intervals.

Real: the Worker and everything below it, the simulator's Site and Centre. Not real: the loop (loop.py), the network
(network.py), Postgres (postgres.py), clocks and processes. Not here: what must hold (checks.py).
"""

import asyncio
import hashlib
import random
import struct
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from msgspec import Struct

from _fastpath.batch import stride_of
from _fastpath.gate import RESERVED
from gateway.config import CarrierSettings, DatabaseSettings, Settings, WorkerSettings
from gateway.dispatch.cancelling import Cancelling
from gateway.dispatch.clock import JUMP, Clock
from gateway.dispatch.guards import Surroundings
from gateway.dispatch.identity import Identity
from gateway.dispatch.stops import REACHED, Stops
from gateway.dispatch.worker import Worker
from gateway.errors import GatewayError, LeaseLost, StoreError
from gateway.message import MessageClass, Policy
from gateway.simulator import behaviour
from gateway.simulator.smsc import Site, Ticks
from gateway.store import runs
from gateway.store.queue import CHUNK_BITS
from tests.simulation import gated
from tests.simulation.checks import FIRST_HANDSET, Checks
from tests.simulation.gated import PERSON
from tests.simulation.loop import Deadlock, Host, SimLoop, Spin
from tests.simulation.network import TO_CLIENT, TO_SERVER, Network
from tests.simulation.postgres import Faults, SimPostgres

FIRST_NUMBER = 447_700_000_000
PORT = 2775
# After the faults are over, everything must have its end within so long.
PATIENCE_S = 600.0
LOOK_S = 0.5
DRAIN_S = 30.0
# Until TCP tells Postgres that a machine is gone.
SILENCE_S = 5.0
# A supervisor starts a process again after so long.
RESTART_S = 1.0

# Of a world without faults: so many messages at most, and traffic for so many seconds.
MESSAGES = 24_000
LOAD_S = 8.0
# Where we look for the rate ourselves it falls with every refusal, and rises by little: so much it is at least.
SEARCHING_PER_S = 60.0

# The machine of each worker.
TOPOLOGIES = ([0], [0], [0, 0], [0, 1], [0, 0, 1])
# What a dead worker had belongs to somebody else within so long, where nothing else is wrong.
TAKEOVER_S = 10.0
# Of a world of which STOPs are asked: one for so many messages.
PER_STOP = 3
# A STOP of a handset comes again when it was not answered.
AGAIN_S = 2.0
CLASSES = (
    MessageClass.BULK, MessageClass.BULK, MessageClass.OTP, MessageClass.TRIGGERED, MessageClass.TRANSACTIONAL
)  # fmt: skip

TEXTS = ("Hello", "Your code is 4711", "Sale: everything must go, from Monday to Friday, at all of our shops. " * 3)


_moment = struct.Struct(">QIBI")


class CarrierPlan(Struct, kw_only=True):
    """A carrier: our settings for it, and its personality as fields of behaviour.Carrier."""

    name: str
    tps: int
    window: int
    binds: int
    response_timeout_s: float
    settings: dict[str, Any]
    personality: dict[str, Any]
    latency_s: tuple[float, float]
    whole: float
    capacity: int
    lane: int = 0

    @property
    def bears_per_s(self) -> float:
        """About how many messages a second it takes."""
        responses = self.personality["responses"]
        way_s = sum(self.latency_s) + (responses["delay_ms"] + responses["jitter_ms"] / 2) / 1e3 + 0.001
        account = self.personality.get("account")
        tps = account[0]["tps"] if account else self.tps
        most = SEARCHING_PER_S if self.settings["adaptive"] is None else 5000.0
        return min(self.window * self.binds / way_s, tps or 5000.0, most)

    @property
    def address(self) -> tuple[str, int]:
        """Where its SMSC listens."""
        return f"{self.name}.example", PORT


class RunPlan(Struct, kw_only=True):
    """A run: chunk by chunk, (carrier's place, numbers)."""

    policy: Policy
    class_: int
    text: str
    at_s: float
    chunks: list[tuple[int, list[int]]]
    parts: int
    # What its lane cannot send goes to the other lanes.
    falls_back: bool = False
    # What its numbers are counted up by, where several runs go to the same people (gated.py).
    offset: int = 0

    @property
    def numbers(self) -> list[int]:
        """Everybody."""
        return [number for _, chunk in self.chunks for number in chunk]

    @property
    def keys(self) -> list[int]:
        """Its messages, as the checks name them."""
        return [number + self.offset for number in self.numbers]


class StopPlan(Struct, frozen=True, array_like=True):
    """STOPs that are entered together: through the function of programs, or by a word of one handset."""

    at_s: float
    count: int
    by_handset: bool


class CancelPlan(Struct, frozen=True, array_like=True):
    """A run that is cancelled, by its place."""

    at_s: float
    run: int


class Event(Struct, frozen=True, array_like=True):
    """Something that is done to the world."""

    at_s: float
    fault: str
    args: tuple[float, ...]


class Plan(Struct, kw_only=True):
    """All of a world."""

    seed: int
    workers: list[int]  # the machine of each
    carriers: list[CarrierPlan]
    runs: list[RunPlan]
    worker: dict[str, Any]
    deadline_s: float
    clocks: list[tuple[float, float]]
    store_latency_s: tuple[float, float]
    events: list[Event]
    heal_s: float
    stops: list[StopPlan]
    cancels: list[CancelPlan] = []
    gate: gated.GatePlan | None = None


class Result(Struct, kw_only=True):
    """What came of it."""

    seed: int
    messages: int
    submits: int
    violations: list[str]
    reached: dict[str, int]
    trace: str
    virtual_s: float
    turns: int
    # STOPs acknowledged; seconds from the COMMIT to the last message begun, of those that had one, and to the word.
    stops: int
    stop_lags: list[float]
    stop_acks: list[float]


# -- the plan ---------------------------------------------------------------------------------------------------------

# Each kind of fault, how its arguments are drawn, and how long the world needs to get over it (s).
FAULTS: dict[str, Callable[[random.Random], tuple[float, ...]]] = {
    "kill": lambda c: (c.randrange(8), c.uniform(0.1, 3.0)),
    "power": lambda c: (c.randrange(8), c.uniform(0.5, 5.0)),
    "freeze": lambda c: (c.randrange(8), c.choice((0.2, 1.0, 5.0, 20.0))),
    "stop": lambda c: (c.randrange(8), c.uniform(0.1, 2.0)),
    "roll": lambda c: (c.uniform(0.1, 2.0),),
    "wall": lambda c: (c.randrange(8), c.choice((-3600.0, -30.0, -2.0, 2.0, 30.0, 3600.0))),
    "reset": lambda c: (c.randrange(8), c.randrange(8)),
    "finish": lambda c: (c.randrange(8), c.randrange(8)),
    "vanish": lambda c: (c.randrange(8), c.randrange(8)),
    "cut": lambda c: (c.randrange(8), c.randrange(8), c.randrange(2), c.randrange(400)),
    "stall": lambda c: (c.randrange(8), c.randrange(8), c.randrange(2), c.uniform(0.1, 15.0)),
    "drip": lambda c: (c.randrange(8), c.randrange(8), c.randrange(2), c.uniform(0.5, 5.0)),
    "refuse": lambda c: (c.randrange(8), c.uniform(0.5, 10.0)),
    "mute": lambda c: (c.randrange(8), c.uniform(0.5, 10.0)),
    "slow": lambda c: (c.randrange(8), c.choice((10.0, 100.0, 1000.0)), c.uniform(0.5, 5.0)),
    "smsc": lambda c: (c.randrange(8), c.uniform(0.1, 5.0)),
    "store_restart": lambda c: (c.uniform(0.05, 3.0),),
    "store_freeze": lambda c: (c.uniform(0.05, 8.0),),
    "store_terminate": lambda c: (c.randrange(16),),
    "store_lossy": lambda c: (c.choice((0.001, 0.01, 0.1)), c.choice((0.0, 0.01, 0.1)), c.uniform(0.2, 3.0)),
    "store_slow": lambda c: (c.choice((0.01, 0.2)), c.uniform(0.2, 3.0)),
}


def plan_of(seed: int, *, messages: int = MESSAGES, many_stops: bool = False) -> Plan:
    """Draw a world; `messages` at the most, and no more than its carriers bear in LOAD_S.

    many_stops  one for every PER_STOP messages
    """
    chance = random.Random(seed)
    carriers = [_carrier(chance, place) for place in range(chance.choice((1, 1, 1, 2, 2, 3)))]
    workers = chance.choice(TOPOLOGIES)
    planned, number = [], FIRST_NUMBER
    scale = min(1.0, messages / sum(one.bears_per_s * LOAD_S for one in carriers)) * chance.choice((0.3, 1.0, 1.0))
    room = [max(20, round(one.bears_per_s * LOAD_S * scale)) for one in carriers]
    kinds_of_run = chance.choice((1, 2, 3))
    for left in range(kinds_of_run, 0, -1):
        text = chance.choices(TEXTS, (4, 2, 1))[0]
        size = chance.choice((1, 7, 50, 200, 1000, 1000))
        chunks = []
        for place in range(len(carriers)):
            share = room[place] // left
            while share > 0:
                # Some small ones; then whole ones, or it would be a world of little traffic.
                most = size if len(chunks) < 40 else 1000
                n = max(1, min(share, most, round(most * chance.uniform(0.5, 1.0))))
                chunks.append((place, list(range(number, number + n))))
                number, share, room[place] = number + n, share - n, room[place] - n
        planned.append(
            RunPlan(
                policy=chance.choice((Policy.ONCE, Policy.ONCE, Policy.AT_LEAST_ONCE)),
                class_=chance.choice(CLASSES),
                text=text,
                at_s=chance.choice((0.0, chance.uniform(0.0, 3.0))),
                chunks=chunks,
                parts=2 if len(text) > 160 else 1,
            )
        )
    _routes(random.Random(f"{seed} routes"), carriers, planned)
    kinds = chance.sample(list(FAULTS), len(FAULTS) // 2)
    span_s = chance.choice((2.0, 5.0, 10.0))
    events = sorted(
        (
            Event(round(0.2 + chance.uniform(0.0, span_s), 6), kind, FAULTS[kind](chance))
            for kind in chance.choices(kinds, k=chance.choice((0, 1, 2, 4, 8)))
        ),
        key=lambda event: event.at_s,
    )
    plan = Plan(
        seed=seed,
        workers=workers,
        carriers=carriers,
        runs=planned,
        worker={
            "flush_interval_s": chance.choice((0.005, 0.025, 0.025, 0.1)),
            "intent_s": chance.choice((0.005, 0.05, 0.2)),
            "lease_s": chance.choice((2.0, 3.0, 6.0)),
            "match_interval_s": chance.choice((0.05, 0.5)),
            "evidence_s": chance.choice((0.0, 0.5, 5.0)),
            "recall_ids": chance.choice((1024, 1 << 14)),
        },
        deadline_s=chance.choice((1.0, 5.0)),
        clocks=[(chance.choice((0.0, 1000.0, 1e6)), chance.choice((0.0, 0.0, 1e-4, -1e-4))) for _ in workers],
        store_latency_s=chance.choice(((0.0001, 0.0005), (0.0002, 0.003), (0.001, 0.02))),
        events=events,
        heal_s=span_s + 1.0,
        stops=_stops(random.Random(f"{seed} stops"), sum(len(run.numbers) for run in planned), many_stops),
        cancels=_cancels(random.Random(f"{seed} cancels"), len(planned)),
    )
    if gated.is_gated(seed):
        gated.draw(seed, plan, RunPlan)
        # A world with a gate has runs of its own, which may be fewer.
        plan.cancels = [one for one in plan.cancels if one.run < len(plan.runs)]
    return plan


def _routes(chance: random.Random, carriers: list[CarrierPlan], planned: list[RunPlan]) -> None:
    """Draw who has other lanes to go to, and when it goes there."""
    if len(carriers) == 1:
        return
    for carrier in carriers:
        carrier.settings["failover_after_s"] = chance.choice((0.5, 2.0))
        carrier.settings["statuses"] = chance.choice(({}, {"RINVDSTADR": "reroute"}))
    for run in planned:
        run.falls_back = chance.random() < 0.5


def _stops(chance: random.Random, messages: int, many: bool) -> list[StopPlan]:
    left = messages // PER_STOP if many else min(messages // 4, chance.choice((0, 0, 10, 100, 300)))
    found = []
    while left > 0:
        by_handset = chance.random() < 0.2
        count = 1 if by_handset else min(left, chance.choice((1, 1, 5, 50)))
        found.append(StopPlan(round(chance.uniform(0.0, LOAD_S), 6), count, by_handset))
        left -= count
    return sorted(found, key=lambda one: one.at_s)


def _cancels(chance: random.Random, runs: int) -> list[CancelPlan]:
    """Draw which runs are cancelled: in a quarter of the worlds one, some of them twice or both."""
    count = chance.choice((0, 0, 0, 0, 0, 0, 1, 2))
    return [CancelPlan(round(chance.uniform(0.0, LOAD_S / 2), 6), chance.randrange(runs)) for _ in range(count)]


def _carrier(chance: random.Random, place: int) -> CarrierPlan:
    window = chance.choice((1, 2, 10, 10, 50, 200))
    tps = chance.choice((0, 50, 200, 1000, 3000))
    binds = chance.choice((1, 1, 2, 3))
    response_timeout_s = chance.choice((1.0, 3.0, 10.0))
    personality: dict[str, Any] = {
        "responses": {
            "delay_ms": chance.choice((0, 0, 2, 20)),
            "jitter_ms": chance.choice((0, 5, 20)),
            "late_share": chance.choice((0.0, 0.0, 0.002)),
            "late_ms": chance.choice((5, 200, 2000)),
            "silent_share": chance.choice((0.0, 0.0, 0.0005)),
            "errors": chance.choice(({}, {}, {"RSYSERR": 0.01}, {"RINVDSTADR": 0.02, "RTHROTTLED": 0.01})),
        },
        "receipts": {
            "delay_ms": chance.choice((0, 5, 100)),
            "jitter_ms": chance.choice((0, 50)),
            "early_share": chance.choice((0.0, 0.01)),
            "early_ms": chance.choice((1, 10)),
            "duplicate_share": chance.choice((0.0, 0.01)),
            "missing_share": chance.choice((0.0, 0.01)),
            "states": {"DELIVRD": 0.9, "UNDELIV:001": 0.1},
            "retry_ms": 500,
            "window": chance.choice((0, 10)),
        },
        "drops": {"share": chance.choice((0.0, 0.0, 0.0, 0.0005)), "answers_first": chance.random() < 0.5},
    }
    if chance.random() < 0.2 and tps:
        # A carrier that is stricter than its contract.
        personality["limit"] = {"model": "second", "status": "RTHROTTLED"}
        personality["account"] = [{"system_id": "test", "tps": max(1, tps // 2)}]
    return CarrierPlan(
        name=f"carrier{place}",
        tps=tps,
        window=window,
        binds=binds,
        response_timeout_s=response_timeout_s,
        settings={
            "adaptive": chance.choice((None, False, False)),
            "retry_delay_s": chance.choice((0.05, 1.0)),
            "throttle_pause_s": chance.choice((0.05, 0.25)),
            "enquire_link_s": chance.choice((1.0, 5.0, 30.0)),
            "reconnect_first_s": chance.choice((0.05, 0.5)),
            "reconnect_longest_s": chance.choice((0.5, 5.0)),
            "bind": chance.choice(("trx", "trx", "tx+rx")),
        },
        personality=personality,
        latency_s=chance.choice(((0.0, 0.0001), (0.0002, 0.002), (0.005, 0.05))),
        whole=chance.choice((1.0, 0.8, 0.2)),
        capacity=chance.choice((2048, 1 << 16)),
    )


# -- the parts of a world ---------------------------------------------------------------------------------------------


class Lines:
    """The ledger of one carrier: it outlives the processes of its SMSC."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def write(self, octets: bytes, *, must_last: bool = True) -> None:
        """Append whole lines."""
        self.octets += octets


class Machine:
    """One machine: which of its processes run."""

    def __init__(self, name: str):
        self.name = name
        self.pids: dict[int, None] = {}
        self.next_pid = 100
        self.boots = 1

    def start(self) -> int:
        """Give a process its number."""
        self.next_pid += 1
        self.pids[self.next_pid] = None
        return self.next_pid


class Process:
    """A worker's place: one process after another."""

    def __init__(self, world: "World", place: int):
        self.world, self.place = world, place
        self.machine = world.machines[world.plan.workers[place]]
        self.host: Host | None = None
        self.pid = 0
        self.worker: Worker | None = None
        self.starts = 0
        self._stop: asyncio.Event | None = None
        self.is_wanted = True
        self.is_draining = False

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.host is not None or not self.is_wanted:
            return
        world = self.world
        self.starts += 1
        self.pid = self.machine.start()
        offset_s, drift = world.plan.clocks[self.place]
        name = f"{self.machine.name}-{self.place}-{self.starts}"
        self.host = Host(world.loop, name, offset_s=offset_s, drift=drift)
        self.host.wall_offset = world.wall_offsets[self.place]
        if self.host.wall_offset and world.checks.gate is not None:
            world.checks.gate.astray[name] = None
        self._stop = asyncio.Event()
        self.host.spawn(self._life(self.host, self.pid), f"life of {name}")

    async def _life(self, host: Host, pid: int) -> None:
        world, plan = self.world, self.world.plan
        assert self._stop is not None
        identity = Identity(
            instance=host.name,
            host=self.machine.name,
            boot=f"{self.machine.name} {self.machine.boots}",
            pid=pid,
            is_running=lambda asked: asked in self.machine.pids,
            node=self.machine.name,
            place=self.place,
        )
        worker = Worker(
            world.settings,
            identity,
            lambda: world.store.connect(host),
            Clock(monotonic=host.monotonic, wall=host.wall),
            random.Random(f"{plan.seed} {host.name}"),
            # The ledger of consent is proven on Postgres; a world has none.
            surroundings=Surroundings(asks_consent=False),
        )
        try:
            await worker.start()
            self.worker = worker
            assert worker.failed is not None
            stop = asyncio.create_task(self._stop.wait())
            await asyncio.wait((stop, worker.failed), return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            failure = worker.failed.exception() if worker.failed.done() else None
            if isinstance(failure, LeaseLost):
                world.checks.reached["worker_fenced"] += 1
            elif failure is not None and not isinstance(failure, GatewayError):
                world.checks.say("B1", f"a loop of {host.name} broke: {failure!r}")
            self.is_draining = failure is None
            if failure is not None:
                world.checks.broken[host.name] = None
            lost = world.checks.lost_of.get(host.name, 0)
            await worker.stop(DRAIN_S)
            if failure is None and world.checks.lost_of.get(host.name, 0) == lost:
                world.checks.reached["worker_drained"] += 1
        except GatewayError:
            # The shell says so and ends; the supervisor tries again.
            pass
        self._gone()

    def _gone(self) -> None:
        """The process has ended by itself."""
        self.machine.pids.pop(self.pid, None)
        host, self.host, self.worker = self.host, None, None
        if host is not None:
            self.world.network.crashed(host, is_silent=False)
            self.world.store.gone(host, is_silent=False)
            host.crash()
        self.world.later(RESTART_S, self.start)

    def crash(self, restart_s: float, *, is_silent: bool) -> None:
        """Kill it; a supervisor, or an operator, starts it again."""
        host = self.host
        if host is None:
            return
        world = self.world
        if world.checks.in_flight():
            world.checks.reached["worker_killed_in_flight"] += 1
        world.doubt_by_kills += world.kill_bound()
        world.checks.broken[host.name] = None
        world.look_at_takeover(host.name)
        self.machine.pids.pop(self.pid, None)
        self.host = self.worker = None
        host.crash()
        world.network.crashed(host, is_silent=is_silent)
        world.store.gone(host, is_silent=is_silent)
        world.later(restart_s, self.start)

    def stop(self, restart_s: float) -> None:
        """Ask it to end, in order."""
        if self.host is not None and self._stop is not None:
            self._stop.set()


class Centre:
    """The SMSC of a carrier: one process after another, one ledger."""

    def __init__(self, world: "World", plan: CarrierPlan):
        self.world, self.plan, self.lines = world, plan, Lines()
        self.host: Host | None = None
        self.starts = 0
        self.site: Site | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.host is not None:
            return
        world, plan = self.world, self.plan
        self.starts += 1
        self.host = host = Host(world.loop, f"{plan.name}-{self.starts}", offset_s=50.0 * self.starts)
        host.wall_offset = timedelta(0)
        settings = behaviour.from_mapping(
            {
                "seed": world.plan.seed + self.starts,
                "ledger": "memory",
                "ledger_text": True,
                "carrier": [{"name": plan.name, "host": plan.address[0], "port": PORT} | plan.personality],
            }
        )
        self.site = site = host.inside(
            lambda: Site(
                settings.carrier[0],
                settings,
                self.lines,
                0x10000000 * self.starts,
                Ticks(host.monotonic_ns, host.wall_ns),
            )
        )
        host.spawn(site.open(), f"open {host.name}")

    def crash(self, restart_s: float) -> None:
        """Kill it."""
        host, self.host = self.host, None
        if host is not None:
            host.crash()
            self.world.network.crashed(host, is_silent=self.world.chance.random() < 0.3)
            self.world.checks.reached["smsc_killed"] += 1
            self.world.later(restart_s, self.start)


class Store:
    """The simulated Postgres as the world and the checks see it."""

    def __init__(self, world: "World"):
        self.world = world
        self.postgres = SimPostgres(
            random.Random(f"{world.plan.seed} postgres"), Faults(travel_s=world.plan.store_latency_s)
        )
        self._numbers: list[tuple[int, int, list[int]]] = []
        self._known: dict[Any, None] = {}
        self._chunk = self.postgres.tables.tables["chunk"].indexes[0]
        self._worker = self.postgres.tables.tables["worker"].indexes[0]
        self._payload = self.postgres.tables.tables["chunk_payload"].all

    async def connect(self, host: Host | None) -> Any:
        """Connect, for a host."""
        return await self.postgres.connect(
            client=host.name if host is not None else "", statement_timeout_s=self.world.plan.deadline_s
        )

    def gone(self, host: Host, *, is_silent: bool) -> None:
        """A host is gone, and with it its connections; where it lost its power the server finds out later."""
        if is_silent:
            self.world.later(SILENCE_S, lambda: self.postgres.cut(host.name))
        else:
            self.postgres.cut(host.name)

    # What is committed.

    def sent_upto(self, lane: int, chunk_id: int) -> int:
        """How far a chunk's watermark is committed."""
        row = self._chunk.get((lane, chunk_id))
        return 0 if row is None or row.old is None else int(row.old["sent_upto"])

    def is_registered(self, instance: str) -> bool:
        """Tell whether a worker is registered: others have not taken it for dead, and it has not left."""
        row = self._worker.get((instance,))
        return row is not None and row.old is not None

    def payloads(self) -> list[tuple[int, int, list[int]]]:
        """(lane, chunk id, keys of its messages) of all, in the order in which they were found committed."""
        for row in self._payload:
            if row.old is not None and row not in self._known:
                self._known[row] = None
                offset = self.world.offsets.get(row.old["run"], 0)
                numbers = [number + offset for number in row.old["msisdn"]] if offset else list(row.old["msisdn"])
                self._numbers.append((row.old["lane"], row.old["chunk_id"], numbers))
        return self._numbers

    def outcomes(self) -> list[Any]:
        """All outcomes."""
        return [row for rows in self.postgres.tables.logs["outcome"].of_lane.values() for row in rows]

    def receipts(self) -> list[tuple[int, str, int | None]]:
        """(lane, message_id, number it is matched to) of every receipt kept, wherever it is."""
        numbers = {(lane, chunk_id): numbers for lane, chunk_id, numbers in self.payloads()}
        found: list[tuple[int, str, int | None]] = [
            (row.lane, row.message_id, numbers[row.lane, row.chunk_id][row.pos])
            for rows in self.postgres.tables.logs["receipt"].of_lane.values()
            for row in rows
        ]
        for name in ("receipt_waiting", "orphan_receipt"):
            found += [(row["lane"], row["message_id"], None) for row in self.rows(name)]
        return found

    def repeated(self) -> list[tuple[int, int, int]]:
        """(lane, chunk id, position) of all that was queued again."""
        return [(row["lane"], row["chunk_id"], row["pos"]) for row in self.rows("repeated")]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Committed rows."""
        return [row.old for row in self.postgres.tables.tables[table].all if row.old is not None]

    def on_their_way(self) -> list[dict[str, Any]]:
        """Messages that have left a lane and not arrived in another."""
        return [row for row in self.rows("transfer") if row["arrived_at"] is None]

    def reserved(self) -> dict[int, set[int]]:
        """By person, the places of the runs that have reserved a message."""
        found: dict[int, set[int]] = {}
        for row in self.rows("contact_page"):
            if row["kind"] == RESERVED:
                # Runs here have no list, so each message reserves by its chunk (store.admission.acts).
                place = self.world.offsets[(row["run"] & (1 << 58) - 1) >> CHUNK_BITS] // PERSON
                for at in range(0, len(row["numbers"]), 8):
                    found.setdefault(int.from_bytes(row["numbers"][at : at + 8]), set()).add(place)
        return found

    def is_any_in_doubt(self) -> bool:
        """Tell whether a segment was ever written down as in doubt."""
        return any(row.status == -1 for row in self.outcomes())

    def is_over(self) -> bool:
        """Tell whether nothing is queued, claimed or on its way to another lane."""
        return all(row["state"] not in (0, 1) for row in self.rows("chunk")) and not self.on_their_way()


class World:
    """A world that runs once."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.loop = SimLoop()
        if plan.gate is not None:
            self.loop.begin = plan.gate.begin
        # By run, what its numbers are counted up by; the run of each place of the plan.
        self.offsets: dict[int, int] = {}
        self.run_ids: dict[int, int] = {}
        self.chance = random.Random(f"{plan.seed} world")
        self.network = Network(self.loop, random.Random(f"{plan.seed} network"))
        self.store = Store(self)
        self.machines = [Machine(f"machine{place}") for place in range(max(plan.workers) + 1)]
        self.wall_offsets = [timedelta(0) for _ in plan.workers]
        self.processes = [Process(self, place) for place in range(len(plan.workers))]
        self.centres = [Centre(self, carrier) for carrier in plan.carriers]
        in_scope = {
            number: MessageClass(run.class_) for run in plan.runs if run.class_ in REACHED for number in run.numbers
        }
        self.checks = Checks(
            self.loop, self.store, {one.address: one for one in plan.carriers}, plan.seed, in_scope, plan.gate
        )
        self.store.postgres.watch = self._on_store
        self._slots: dict[tuple[int, int], tuple[str | None, int]] = {}
        self._stops_seen = 1
        # How far the watermark of each chunk was asked to go, ever.
        self._marks: dict[tuple[int, int], int] = {}
        self._stops_chance = random.Random(f"{plan.seed} stops of the world")
        self._handset_stops: dict[int, int] = {}
        self.checks.on_handset_answered = self._handset_stops.pop
        # When something was wrong last that is not the end of one worker.
        self.disturbed_at = 0.0
        # When the last look at what the dead have left is due.
        self.looks_until = 0.0
        self.doubt_by_kills = 0
        self.is_healed = False
        self.told: list[str] = []
        self._rolls: list[asyncio.Task[None]] = []
        self._hash = hashlib.blake2b(digest_size=16)
        for carrier in plan.carriers:
            road = self.network.road(carrier.address)
            road.latency_s, road.whole, road.capacity = carrier.latency_s, carrier.whole, carrier.capacity
        self.network.on_write = self._on_write
        self.network.on_read = self._on_read
        self.network.on_end = self.checks.on_end
        self.settings = Settings(
            database=DatabaseSettings(dsn="simulated", deadline_s=plan.deadline_s),
            worker=WorkerSettings(**plan.worker),
            carriers={
                one.name: CarrierSettings(
                    host=one.address[0],
                    port=PORT,
                    system_id="test",
                    password="x",
                    tps=one.tps,
                    window=one.window,
                    binds=one.binds,
                    response_timeout_s=one.response_timeout_s,
                    bind_timeout_s=2.0,
                    connect_timeout_s=2.0,
                    unbind_timeout_s=1.0,
                    **one.settings,
                )
                for one in plan.carriers
            },
        )

    def _on_store(self, name: str, args: Any, result: Any) -> None:
        """Hear what Postgres does."""
        reached, tables = self.checks.reached, self.store.postgres.tables.tables
        if name in ("advance", "finish"):
            lane, ids, epochs = args[:3]
            if name == "advance":
                self._advanced(lane, ids, args[3])
            if len(result) < len(ids):
                for chunk_id, epoch in zip(ids, epochs, strict=True):
                    row = tables["chunk"].indexes[0].get((lane, chunk_id))
                    if row is not None and row.old is not None and row.old["epoch"] > epoch:
                        reached["stale_epoch"] += 1
        elif name == "flush_known" and result[0][0]:
            reached["flush_twice"] += 1
        elif name == "transfer_chunk":
            reached["moved"] += 1
        elif name == "put_off":
            reached["put_off"] += len(result)
        elif name == "wait_chunk":
            reached["put_aside"] += 1
        elif name == "lost" and args[0].startswith("COMMIT"):
            reached["commit_unknown"] += 1
        elif not name:
            for channel, payload in result:
                if channel == "sluice_stops":
                    self._stops_committed(int(payload))
                elif channel == "sluice_slots":
                    self._slots_committed()

    def _advanced(self, lane: int, ids: Sequence[int], upto: Sequence[int]) -> None:
        """A5: a step of the watermarks is `intent_s` of the rate at most, where the rate is limited."""
        tps = next(carrier.tps for carrier in self.plan.carriers if carrier.lane == lane)
        most = max(1, int(tps * self.plan.worker["intent_s"])) + 1
        for chunk_id, mark in zip(ids, upto, strict=True):
            before = self._marks.get((lane, chunk_id), 0)
            self._marks[lane, chunk_id] = max(before, mark)
            if tps and mark - before > most:
                self.checks.say(
                    "A5", f"the watermark of chunk {chunk_id} went from {before} to {mark}, at most {most} in a step"
                )

    def _stops_committed(self, upto: int) -> None:
        feed = self.store.postgres.tables.tables["stop_feed"].indexes[0]
        is_stale = any(
            process.worker is not None and process.worker.feed.age_s >= 1.0
            for process in self.processes
            if process.host is not None
        )
        while self._stops_seen < upto:
            self._stops_seen += 1
            row = feed[(self._stops_seen,)].old
            assert row is not None
            if self.checks.stop_committed(row["number"], self.store) and is_stale:
                self.checks.reached["stop_while_feed_stale"] += 1

    def _slots_committed(self) -> None:
        sums: Counter[int] = Counter()
        for row in self.store.rows("bind_slot"):
            key, now = (row["lane"], row["slot"]), (row["owner"], row["share"])
            before, self._slots[key] = self._slots.get(key, (None, 0)), now
            sums[row["lane"]] += row["share"]
            if now[0] is not None and row["epoch"] and before[0] != now[0]:
                self.checks.reached["slot_moved"] += 1
            if before[0] == now[0] and now[1] < before[1]:
                self.checks.reached["share_lowered"] += 1
        for carrier in self.plan.carriers:
            if carrier.tps and sums[carrier.lane] > carrier.tps:
                self.checks.say("T1", f"shares of {carrier.name} are {sums[carrier.lane]}, at most {carrier.tps}")

    def _on_write(self, connection: Any, side: int, octets: bytes) -> None:
        self._trace(connection, side, octets)
        self.checks.on_write(connection, side, octets)

    def _on_read(self, connection: Any, side: int, octets: bytes) -> None:
        self._trace(connection, side + 2, octets)
        self.checks.on_read(connection, side, octets)

    def _trace(self, connection: Any, what: int, octets: bytes) -> None:
        self._hash.update(_moment.pack(self.loop.now_ns, connection.number, what, len(octets)) + octets)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Do something later, as nobody's code."""
        when_ns = self.loop.now_ns + int(seconds * 1e9)
        self.loop.at_ns(when_ns, call, context=self.network.context)

    def kill_bound(self) -> int:
        """Messages that the end of one process may put in doubt beside its open windows: a flush and a step."""
        intent_s, flush_s = self.plan.worker["intent_s"], self.plan.worker["flush_interval_s"]
        total = 0
        for carrier in self.plan.carriers:
            rate = carrier.tps or 20_000
            # The first steps are a window wide; the rate is measured over 10 ms, in which twice as many may go.
            total += carrier.window * carrier.binds + 2 * round(2 * rate * max(intent_s, flush_s)) + 2
        return total

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Run it to its end; -> what came of it."""
        try:
            self.loop.run_until_complete(self._run())
        except (Deadlock, Spin) as error:
            self.checks.say(type(error).__name__, str(error))
        except Exception as error:
            self.checks.say("X", "".join(traceback.format_exception(error)))
        finally:
            for fault in self.loop.faults:
                self.checks.say("E1", f"{fault.get('message')}: {fault.get('exception')!r}")
            self.loop.close()
        reached: Counter[str] = self.checks.reached
        return Result(
            seed=self.plan.seed,
            messages=sum(len(run.numbers) for run in self.plan.runs),
            submits=self.checks.submits,
            violations=self.checks.violations,
            reached=dict(reached),
            trace=self._hash.hexdigest(),
            virtual_s=self.loop.now,
            turns=self.loop.turns,
            stops=self.checks.acknowledged,
            stop_lags=[round(one.last_at - one.committed_at, 6) for one in self.checks.stops.values() if one.last_at],
            stop_acks=self.checks.stop_acks,
        )

    async def _run(self) -> None:
        connection = await self.store.connect(None)
        await runs.ensure_partitions(connection, self.loop.begin)
        for carrier in self.plan.carriers:
            carrier.lane = await runs.lane_of(connection, carrier.name, self.loop.begin)
        if self.plan.gate is not None:
            for row in gated.consent_rows(self.plan.gate.states):
                self.store.postgres.tables.tables["consent_page"].settle(row)
        for centre in self.centres:
            centre.start()
        for process in self.processes:
            process.start()
        enqueuing = [asyncio.create_task(self._enqueue(run, place)) for place, run in enumerate(self.plan.runs)]
        self.stops = Stops(
            Clock(monotonic=lambda: self.loop.now, wall=lambda: self.loop.begin + timedelta(seconds=self.loop.now)),
            lambda: self.store.connect(None), self.plan.deadline_s, self.plan.worker["lease_s"], self._operator(),
        )  # fmt: skip
        stopping = [asyncio.create_task(self._stop(stop)) for stop in self.plan.stops]
        cancelling = [asyncio.create_task(self._cancel(cancel)) for cancel in self.plan.cancels]
        for event in self.plan.events:
            self.later(event.at_s, lambda event=event: self._do(event))  # type: ignore[misc]
        await self._until_healed([*enqueuing, *stopping, *cancelling])
        self.heal()
        await asyncio.gather(*enqueuing, *cancelling)
        until = self.loop.now + PATIENCE_S
        while not self.store.is_over():
            if self.loop.now > until:
                self._tell_open()
                break
            await asyncio.sleep(LOOK_S)
        _, left = await asyncio.wait(stopping, timeout=max(1.0, until - self.loop.now)) if stopping else ((), ())
        if left or self._handset_stops:
            self.checks.say("S1", f"{len(left)} STOPs and {len(self._handset_stops)} of handsets are not acknowledged")
        for task in stopping:
            if task.done():
                task.result()
        # Receipts come in; doubts are settled or repeated; who took over from the dead is looked at.
        await asyncio.sleep(2.0)
        if self.store.is_any_in_doubt():
            await asyncio.sleep(self.plan.worker["evidence_s"] * 2)
        await asyncio.sleep(max(0.0, self.looks_until - self.loop.now))
        while not self.store.is_over() and self.loop.now < until:
            await asyncio.sleep(LOOK_S)
        for process in self.processes:
            process.is_wanted = False
            process.stop(0.0)
        while any(process.host is not None for process in self.processes):
            if self.loop.now > until + 2 * DRAIN_S:
                self.checks.say("L1", "a worker that was asked to end does not")
                break
            await asyncio.sleep(0.1)
        self.checks.at_end(
            self.plan.runs, {centre.plan.name: centre.lines for centre in self.centres}, self.doubt_by_kills
        )
        if self.is_gentle() and self.checks.doubted:
            self.checks.say("A5", f"{self.checks.doubted} segments in doubt, and nothing was done but orderly stops")

    async def _until_healed(self, load: list["asyncio.Task[None]"]) -> None:
        """Wait until the faults are over; and no longer than there is something that they could fall on."""
        last = self.plan.events[-1].at_s if self.plan.events else 0.0
        while (left_s := self.plan.heal_s - self.loop.now) > 0:
            await asyncio.sleep(min(LOOK_S, left_s))
            if self.loop.now > last and all(task.done() for task in load) and self.store.is_over():
                return

    def is_gentle(self) -> bool:
        """Tell whether nothing in the plan puts anything in doubt: workers end in order, carriers answer."""
        return {event.fault for event in self.plan.events} <= {"stop", "roll", "wall"} and not any(
            carrier.personality.get("drops", {}).get("share")
            or carrier.personality["responses"].get("late_share")
            or carrier.personality["responses"].get("silent_share")
            for carrier in self.plan.carriers
        )

    # -- STOPs ------------------------------------------------------------------------------------------------------

    def _deliver(self, site: Site, pdu: bytes) -> None:
        able = [link for link in site.links.values() if link.account >= 0 and link.session.may_send("deliver_sm")]
        if able:
            link = able[self._stops_chance.randrange(len(able))]
            site.centre.write(link.number, pdu)
            site.settle(site.now_ns())

    def _pick(self) -> int:
        """Choose whom: anybody, or somebody near a watermark, where messages are about to leave."""
        chance = self._stops_chance
        payloads = self.store.payloads()
        if payloads and chance.random() < 0.6:
            lane, chunk_id, numbers = payloads[chance.randrange(len(payloads))]
            n = len(numbers)
            rank = self.store.sent_upto(lane, chunk_id) + chance.randint(-40, 40)
            return numbers[(min(max(rank, 0), n - 1) * stride_of(n) + chunk_id) % n] % PERSON
        run = self.plan.runs[chance.randrange(len(self.plan.runs))]
        numbers = run.chunks[chance.randrange(len(run.chunks))][1] if run.chunks else [FIRST_NUMBER]
        return numbers[chance.randrange(len(numbers))]

    def _operator(self) -> Identity:
        """Who enters STOPs: a process of the first machine, as it was booted first."""
        machine = self.machines[self.plan.workers[0]]
        return Identity(
            instance="operator", host=machine.name, boot=f"{machine.name} 1", pid=1,
            is_running=lambda asked: asked in machine.pids,
        )  # fmt: skip

    async def _stop(self, plan: StopPlan) -> None:
        """Enter STOPs at their moment, until they are acknowledged."""
        await asyncio.sleep(plan.at_s)
        numbers = [self._pick() for _ in range(plan.count)]
        if plan.by_handset:
            await self._stop_by_handset(numbers[0])
            return
        while True:
            try:
                found = await self.stops.stop(numbers)
                break
            except StoreError as error:
                self.told.append(f"{self.loop.now:.3f} stop: {error}")
                await asyncio.sleep(0.2)
        if found.fenced:
            self.checks.reached["stop_fenced"] += 1
        if found.gone:
            self.checks.reached["stop_gone"] += 1
        for number in numbers:
            self.checks.stop_acknowledged(number)

    async def _cancel(self, plan: CancelPlan) -> None:
        """Cancel a run at its moment, until that is acknowledged; and see what is told of it."""
        await asyncio.sleep(plan.at_s)
        while plan.run not in self.run_ids:
            await asyncio.sleep(0.05)
        run_id = self.run_ids[plan.run]
        made = Cancelling(
            Clock(monotonic=lambda: self.loop.now, wall=lambda: self.loop.begin + timedelta(seconds=self.loop.now)),
            lambda: self.store.connect(None), self.plan.deadline_s, self.plan.worker["lease_s"], self._operator(),
        )  # fmt: skip
        keys = self.plan.runs[plan.run].keys
        self.checks.cancel_ordered(keys)
        while True:
            try:
                found = await made.cancel([run_id], "operator")
                break
            except StoreError as error:
                self.told.append(f"{self.loop.now:.3f} cancel: {error}")
                await asyncio.sleep(0.2)
        self.checks.cancel_acknowledged(keys)
        if found.fenced:
            self.checks.reached["cancel_fenced"] += 1
        await made.stop()

    async def _stop_by_handset(self, number: int) -> None:
        """Have a carrier deliver the word STOP, again and again until it is answered."""
        sequence = FIRST_HANDSET + len(self.checks.handsets)
        self.checks.handsets[sequence] = number
        self._handset_stops[sequence] = number
        pdu = deliver_stop(sequence, number)
        while sequence in self._handset_stops:
            centre = self.centres[self._stops_chance.randrange(len(self.centres))]
            if centre.host is not None and centre.site is not None:
                centre.host.inside(lambda site=centre.site: self._deliver(site, pdu))  # type: ignore[misc]
            await asyncio.sleep(AGAIN_S)

    def _tell_open(self) -> None:
        left = [row for row in self.store.rows("chunk") if row["state"] in (0, 1)]
        workers = [process.worker.report() for process in self.processes if process.worker is not None]
        self.checks.say(
            "L1",
            f"{PATIENCE_S:g} s after the last fault {len(left)} chunks are open, {len(self.store.on_their_way())} "
            f"messages are on their way to another lane: {left[:2]}; {workers}",
        )

    async def _enqueue(self, plan: RunPlan, place: int) -> None:
        """Queue a run, however long Postgres is away."""
        await asyncio.sleep(plan.at_s)
        connection: Any = None
        run: Any = None
        now = self.loop.begin + timedelta(milliseconds=place)
        gate = None if self.plan.gate is None else self.plan.gate.gate
        for carrier, numbers in plan.chunks:
            done = False
            while not done:
                try:
                    if connection is None or connection.is_closed():
                        connection = await self.store.connect(None)
                    if run is None:
                        run = await runs.add_run(
                            connection, name=f"run {place}", template=plan.text, fields=(), class_=plan.class_,
                            policy=plan.policy, lanes=[one.lane for one in self.plan.carriers], list_id=None,
                            source=None, now=now, gate=gate,
                        )  # fmt: skip
                        self.offsets[run.id] = plan.offset
                        self.run_ids[place] = run.id
                    lane = self.plan.carriers[carrier].lane
                    if not self._is_queued(lane, numbers[0] + plan.offset):
                        lanes = [one.lane for one in self.plan.carriers]
                        others = (lanes[carrier + 1 :] + lanes[:carrier]) if plan.falls_back else []
                        await runs.enqueue_few(connection, run, lane, numbers, None, now, fallback=others)
                    done = True
                except Exception as error:
                    if " cancelled at " in str(error):
                        # Nobody else of it was ever queued.
                        self.checks.reached["cancel_refused"] += 1
                        plan.chunks = [
                            one
                            for one in plan.chunks
                            if self._is_queued(self.plan.carriers[one[0]].lane, one[1][0] + plan.offset)
                        ]
                        return
                    self.told.append(f"{self.loop.now:.3f} enqueue: {error!r}")
                    connection = None
                    await asyncio.sleep(0.2)

    def _is_queued(self, lane: int, number: int) -> bool:
        """Tell whether an enqueue whose answer was lost was carried out."""
        return any(one == lane and numbers[0] == number for one, _, numbers in self.store.payloads())

    # -- faults -----------------------------------------------------------------------------------------------------

    def _do(self, event: Event) -> None:
        if not self.is_healed:
            self.told.append(f"{self.loop.now:.6f} {event.fault} {event.args}")
            if event.fault.startswith("store_") or event.fault in ("freeze", "stop", "roll"):
                self.disturbed_at = self.loop.now + TAKEOVER_S
            getattr(self, f"do_{event.fault}")(*event.args)

    def _process(self, which: float) -> Process:
        return self.processes[int(which) % len(self.processes)]

    def _centre(self, which: float) -> Centre:
        return self.centres[int(which) % len(self.centres)]

    def _connection(self, carrier: float, which: float) -> Any:
        address = self._centre(carrier).plan.address
        found = [one for one in self.network.connections.values() if one.address == address and not one.is_black]
        return found[int(which) % len(found)] if found else None

    def do_kill(self, which: float, restart_s: float) -> None:
        """Kill -9."""
        self._process(which).crash(restart_s, is_silent=False)

    def do_power(self, which: float, restart_s: float) -> None:
        """The machine loses its power: its peers hear nothing."""
        machine = self._process(which).machine
        for process in self.processes:
            if process.machine is machine:
                process.crash(restart_s, is_silent=True)
        machine.boots += 1

    def do_roll(self, pause_s: float) -> None:
        """SIGTERM to each worker in turn; the next when the one before is back."""
        self.checks.reached["rolled"] += 1
        task = self.loop.create_task(self._roll(pause_s), name="roll")
        self._rolls.append(task)

    async def _roll(self, pause_s: float) -> None:
        for process in self.processes:
            starts = process.starts
            process.stop(0.0)
            while not self.is_healed and (process.starts == starts or process.worker is None):
                await asyncio.sleep(0.1)
            await asyncio.sleep(pause_s)
            if self.is_healed:
                return

    def look_at_takeover(self, instance: str) -> None:
        """After the end of a worker: in ten seconds nothing may be its any more, if another was there to take it."""
        others = [one for one in self.processes if one.worker is not None and one.host is not None]
        others = [one for one in others if one.host.name != instance and not one.host.is_frozen]  # type: ignore[union-attr]
        if not others:
            return
        names = [one.host.name for one in others if one.host is not None]
        at = self.loop.now

        def look() -> None:
            if self.disturbed_at > at or any(one.host is None or one.host.name not in names for one in others):
                return
            chunks = [row for row in self.store.rows("chunk") if row["owner"] == instance and row["state"] == 1]
            slots = [row for row in self.store.rows("bind_slot") if row["owner"] == instance]
            self.checks.reached["taken_over"] += 1
            if chunks or slots:
                self.checks.say(
                    "L2", f"{TAKEOVER_S:g} s after its end {instance} has {len(chunks)} chunks, {len(slots)} slots"
                )

        self.looks_until = at + TAKEOVER_S
        self.later(TAKEOVER_S, look)

    def do_freeze(self, which: float, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        host = self._process(which).host
        if host is not None:
            host.freeze()
            self.checks.broken[host.name] = None
            self.doubt_by_kills += self.kill_bound()
            self.checks.reached["worker_frozen"] += 1
            self.later(seconds, host.thaw)

    def do_stop(self, which: float, restart_s: float) -> None:
        """SIGTERM; it is started again."""
        self._process(which).stop(restart_s)

    def do_wall(self, which: float, seconds: float) -> None:
        """The wall clock of a machine jumps."""
        machine = self._process(which).machine
        for process in self.processes:
            if process.machine is machine:
                self.wall_offsets[process.place] += timedelta(seconds=seconds)
                if process.host is not None:
                    process.host.wall_offset = self.wall_offsets[process.place]
                    if (gate := self.checks.gate) is not None:
                        gate.jumped[process.host.name] = None
                        if timedelta(seconds=abs(seconds)) <= JUMP:
                            gate.astray[process.host.name] = None

    def do_reset(self, carrier: float, which: float) -> None:
        """RST, both ways."""
        if connection := self._connection(carrier, which):
            connection.reset("reset by nobody")

    def do_finish(self, carrier: float, which: float) -> None:
        """FIN, both ways."""
        if connection := self._connection(carrier, which):
            connection.finish()

    def do_vanish(self, carrier: float, which: float) -> None:
        """The way between the two is gone, and neither hears of it."""
        if connection := self._connection(carrier, which):
            connection.vanish()

    def do_cut(self, carrier: float, which: float, side: float, octets: float) -> None:
        """The connection breaks behind so many octets more."""
        if connection := self._connection(carrier, which):
            connection.cut_at[int(side)] = connection.sent[int(side)] + int(octets)

    def do_stall(self, carrier: float, which: float, side: float, seconds: float) -> None:
        """One direction stands still for a while."""
        if connection := self._connection(carrier, which):
            connection.is_stalled[TO_CLIENT if side else TO_SERVER] = True
            self.later(seconds, connection.release)

    def do_drip(self, carrier: float, which: float, side: float, seconds: float) -> None:
        """One direction carries an octet or three at a time."""
        if connection := self._connection(carrier, which):
            connection.drips[TO_CLIENT if side else TO_SERVER] = True
            self.later(seconds, connection.release)

    def do_refuse(self, carrier: float, seconds: float) -> None:
        """Nobody listens."""
        road = self.network.road(self._centre(carrier).plan.address)
        road.is_refusing = True
        self.later(seconds, lambda: setattr(road, "is_refusing", False))

    def do_mute(self, carrier: float, seconds: float) -> None:
        """Connections are made, and nobody answers on them."""
        road = self.network.road(self._centre(carrier).plan.address)
        road.is_mute = True
        self.later(seconds, lambda: setattr(road, "is_mute", False))

    def do_slow(self, carrier: float, factor: float, seconds: float) -> None:
        """Everything takes longer to a carrier."""
        road = self.network.road(self._centre(carrier).plan.address)
        road.slower = factor
        self.later(seconds, lambda: setattr(road, "slower", 1.0))

    def do_smsc(self, carrier: float, restart_s: float) -> None:
        """The SMSC is killed."""
        self._centre(carrier).crash(restart_s)

    def do_store_restart(self, seconds: float) -> None:
        """Postgres dies and comes back."""
        self.checks.reached["store_lost"] += 1
        self.store.postgres.crash()
        self.later(seconds, self.store.postgres.start)

    def do_store_freeze(self, seconds: float) -> None:
        """Postgres stands still."""
        self.checks.reached["store_frozen"] += 1
        self.store.postgres.freeze()
        self.later(seconds, self.store.postgres.thaw)

    def do_store_terminate(self, which: float) -> None:
        """A connection dies."""
        self.checks.reached["store_lost"] += 1
        found = self.store.postgres.connections()
        if found:
            self.store.postgres.kill(found[int(which) % len(found)])

    def do_store_lossy(self, answers: float, requests: float, seconds: float) -> None:
        """Connections die with statements that were carried out, or were not."""
        faults = self.store.postgres.faults
        faults.lost_answer, faults.lost_request = answers, requests
        self.later(seconds, self._calm_store)

    def do_store_slow(self, share: float, seconds: float) -> None:
        """Some statements take up to a second."""
        self.store.postgres.faults.slow = share
        self.later(seconds, self._calm_store)

    def _calm_store(self) -> None:
        faults = self.store.postgres.faults
        faults.lost_answer = faults.lost_request = faults.slow = 0.0

    def heal(self) -> None:
        """All is well from now on."""
        self.is_healed = True
        for road in self.network.roads.values():
            road.is_refusing = road.is_mute = False
            road.slower = 1.0
        for connection in list(self.network.connections.values()):
            connection.release()
            connection.cut_at = [None, None]
        for process in self.processes:
            self.wall_offsets[process.place] = timedelta(0)
            if process.host is not None:
                process.host.wall_offset = timedelta(0)
                process.host.thaw()
            process.start()
        for centre in self.centres:
            centre.start()
        self._calm_store()
        self.store.postgres.thaw()
        self.store.postgres.start()


def deliver_stop(sequence: int, number: int) -> bytes:
    """Write a deliver_sm of a handset that says STOP."""
    body = b"\0\1\1%d\0\1\1%s\0\0\0\0\0\0\0\0\0\0\4STOP" % (number, b"12345")
    return struct.pack(">IIII", 16 + len(body), 5, 0, sequence) + body


def run_seed(
    seed: int, *, messages: int = MESSAGES, events: list[Event] | None = None, many_stops: bool = False
) -> Result:
    """Run the world of a seed, or the same world with other events."""
    plan = plan_of(seed, messages=messages, many_stops=many_stops)
    if events is not None:
        plan.events = events
    return World(plan).run()
