"""Hurt a running gateway at seeded moments, and hold the ledgers against each other: `./dev torture`.

    ./dev torture --minutes 10 --seed 7               faults of FAULTS one by one, round after round
    ./dev torture --pairs --faults cut,postgres_kill  two at a time, of these alone
    ./dev torture --kills 200 --messages 200000       kill -9 of one of two workers, both policies in one run
    ./dev torture --postgres-kills 50                 kill -9 of Postgres
    ./dev torture --stops 200                         STOPs in the middle of two runs, and a kill for every 20

A round is a rig of its own (tests/fixtures/rig.py) with a run of each policy. What is done when is a function of the
seed and of the number of messages that the simulator has taken; what the processes make of it is not. A failure names
seed, round and moment, and keeps the folder. The last line on standard output is one JSON object with the counts.
Not here: what must hold (tests/fixtures/audit.py), which fault has which number (faults.toml).
"""

import argparse
import asyncio
import itertools
import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from gateway import app
from gateway.dispatch.clock import Clock
from gateway.dispatch.stops import EVERYTHING, Stops
from gateway.message import Policy, Refusal
from gateway.store import postgres
from tests.fixtures import audit as invariants
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import doubt_bound, until
from tests.fixtures.rig import FAKETIME, Rig

POLICIES = (Policy.ONCE, Policy.AT_LEAST_ONCE)
SUBMIT_SM_RESP = 0x80000004
RESPONSE_TIMEOUT_S = 2.0
# What a worker of the rig may use: 65 MB is what it imports; two carriers' windows and a few chunks come on top.
RSS_KB = 200_000
FILES = 64
LOUD_WITHIN_S = 10.0


class Fault(Struct, kw_only=True, frozen=True):
    """One way to hurt.

    numbers   of the 90 faults
    hits      what it takes hold of: two of one kind do not go together
    doubt     how many messages it may leave in doubt, beyond what workers that died may
    holds_up  octets of before arrive in a heap afterwards: the rate at the SMSC proves nothing then
    is_loud   somebody who reads the workers' logs must hear of it
    """

    name: str
    numbers: tuple[int, ...]
    hits: str
    do: Callable[[Rig, random.Random], Awaitable[None]]
    windows: int = 0
    kills: int = 0
    holds_up: bool = False
    is_loud: bool = False
    needs: Callable[[], str] = lambda: ""


def fault(
    *numbers: int, hits: str, windows: int = 0, kills: int = 0, holds_up: bool = False, is_loud: bool = False,
    needs: Callable[[], str] = lambda: "",
) -> Callable[[Callable[[Rig, random.Random], Awaitable[None]]], Fault]:  # fmt: skip
    """Make a Fault of a function of the same name."""

    def make(do: Callable[[Rig, random.Random], Awaitable[None]]) -> Fault:
        made = Fault(
            name=do.__name__, numbers=numbers, hits=hits, do=do, windows=windows, kills=kills, holds_up=holds_up,
            is_loud=is_loud, needs=needs,
        )  # fmt: skip
        FAULTS[made.name] = made
        return made

    return make


FAULTS: dict[str, Fault] = {}


def net(rig: Rig) -> Any:
    """The network between workers and simulator."""
    assert rig.smpp_net is not None
    return rig.smpp_net


def database(rig: Rig) -> Any:
    """The network between workers and Postgres."""
    assert rig.database_net is not None
    return rig.database_net


async def a_worker(rig: Rig, chance: random.Random) -> str:
    """One of the workers, when it runs."""
    part = chance.choice(rig.worker_names)
    await rig.until_running(part)
    return part


async def for_a_while(seconds: float) -> None:
    """A fault lasts."""
    await asyncio.sleep(seconds)


@fault(1, 14, hits="worker", kills=1)
async def worker_kill(rig: Rig, chance: random.Random) -> None:
    """Kill -9 of one worker."""
    part = await a_worker(rig, chance)
    await rig.kill(part)
    await rig.start(part)


@fault(5, hits="worker", kills=1)
async def worker_kill_in_drain(rig: Rig, chance: random.Random) -> None:
    """SIGTERM, and kill -9 while it drains."""
    part = await a_worker(rig, chance)
    process = rig.processes[part]
    process.terminate()
    await for_a_while(chance.uniform(0, 0.1))
    if rig.is_alive(part):
        await rig.kill(part)
    else:
        await process.wait()
    await rig.start(part)


@fault(6, 30, hits="worker")
async def worker_stop(rig: Rig, chance: random.Random) -> None:
    """A stop in order, and a start."""
    part = await a_worker(rig, chance)
    code = await rig.stop_worker(part)
    assert code == 0, f"{part} ended with {code} when it was asked to stop: {rig.said(part)}"
    await rig.start(part)


@fault(7, hits="worker", kills=4)
async def worker_crash_loop(rig: Rig, chance: random.Random) -> None:
    """A worker dies soon after each start."""
    part = await a_worker(rig, chance)
    for _ in range(4):
        await rig.kill(part)
        await rig.start(part)
        await rig.until_running(part)
        await for_a_while(chance.uniform(0, 0.3))


@fault(8, hits="worker", windows=1, holds_up=True)
async def worker_freeze(rig: Rig, chance: random.Random) -> None:
    """SIGSTOP for less than a lease."""
    part = await a_worker(rig, chance)
    async with rig.frozen(part):
        await for_a_while(chance.uniform(0.2, 1.0))


@fault(9, hits="worker", windows=2, kills=1, holds_up=True)
async def worker_freeze_past_lease(rig: Rig, chance: random.Random) -> None:
    """SIGSTOP for longer than a lease: another takes what it had, then it wakes."""
    part = await a_worker(rig, chance)
    async with rig.frozen(part):
        await for_a_while(rig.lease_s * chance.uniform(1.5, 2.5))
    # It may end itself when it finds that it was fenced; whoever watches over workers starts another.
    await for_a_while(1.0)
    if not rig.is_alive(part):
        await rig.start(part)


@fault(42, 21, hits="smpp", windows=1, is_loud=True, holds_up=True)
async def simulator_kill(rig: Rig, chance: random.Random) -> None:
    """Kill -9 of the SMSC."""
    await rig.kill("simulator")
    await for_a_while(chance.uniform(0, 1))
    await rig.start("simulator")


@fault(63, hits="postgres", is_loud=True)
async def postgres_kill(rig: Rig, chance: random.Random) -> None:
    """Kill -9 of the postmaster."""
    await rig.kill("postgres")
    await for_a_while(chance.uniform(0, 1))
    await rig.start("postgres")


@fault(65, hits="postgres", is_loud=True)
async def postgres_immediate(rig: Rig, chance: random.Random) -> None:
    """An immediate restart of Postgres."""
    await rig.restart_postgres_at_once()


@fault(70, hits="postgres")
async def postgres_freeze(rig: Rig, chance: random.Random) -> None:
    """SIGSTOP of Postgres, all of its processes."""
    async with rig.frozen("postgres"):
        await for_a_while(chance.uniform(0.5, 3.0))


@fault(64, hits="postgres")
async def backends_terminated(rig: Rig, chance: random.Random) -> None:
    """Each connection of the workers is terminated, some in the middle of a COMMIT."""
    connection = await rig.connect()
    try:
        for _ in range(5):
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            await for_a_while(chance.uniform(0, 0.1))
    finally:
        connection.terminate()


@fault(21, hits="smpp", windows=1, is_loud=True)
async def cut(rig: Rig, chance: random.Random) -> None:
    """RST on every link."""
    await net(rig).order("cut")


@fault(22, hits="smpp", windows=1, is_loud=True)
async def cut_in_submit(rig: Rig, chance: random.Random) -> None:
    """A link ends behind any octet of what we send."""
    await net(rig).order("cut_at", way="up", octets=chance.randrange(1, 4000))


@fault(23, hits="smpp", windows=1, is_loud=True)
async def cut_in_response(rig: Rig, chance: random.Random) -> None:
    """A link ends behind any octet of what the SMSC answers."""
    await net(rig).order("cut_at", way="down", octets=chance.randrange(1, 2000))


@fault(24, hits="smpp", windows=3, holds_up=True, is_loud=True)
async def half_open(rig: Rig, chance: random.Random) -> None:
    """Both sides' links are forgotten without a word."""
    await net(rig).order("half_open")


@fault(25, hits="smpp", windows=4, holds_up=True)
async def black_hole(rig: Rig, chance: random.Random) -> None:
    """Octets are acknowledged by TCP and go nowhere for a while."""
    way = chance.choice(["up", "down"])
    await net(rig).order("stall", way=way)
    await for_a_while(chance.uniform(0.5, 4.0))
    await net(rig).order("flow", way=way)


@fault(26, hits="smpp", windows=4, holds_up=True)
async def zero_window(rig: Rig, chance: random.Random) -> None:
    """The SMSC's side stops reading."""
    await net(rig).order("deaf", way="up")
    await for_a_while(chance.uniform(0.5, 3.0))
    await net(rig).order("flow", way="up")


@fault(27, hits="smpp", windows=4, holds_up=True)
async def drip(rig: Rig, chance: random.Random) -> None:
    """What the SMSC says arrives an octet at a time."""
    await net(rig).order("drip", way="down", octets_per_s=chance.choice([1, 50, 500]))
    await for_a_while(chance.uniform(0.5, 3.0))
    await net(rig).order("flow", way="down")


@fault(28, hits="smpp", windows=1, holds_up=True)
async def latency(rig: Rig, chance: random.Random) -> None:
    """Everything takes longer on its way."""
    await net(rig).order("delay", ms=chance.uniform(20, 500))
    await for_a_while(chance.uniform(0.5, 2.0))
    await net(rig).order("flow")


@fault(31, hits="smpp", windows=1, is_loud=True)
async def unwelcome(rig: Rig, chance: random.Random) -> None:
    """Links break, and new ones are refused, closed at once, or taken and never answered."""
    await net(rig).order(chance.choice(["refuse", "hang_up", "mute"]))
    await net(rig).order("cut")
    await for_a_while(chance.uniform(0.2, 2.0))
    await net(rig).order("flow")
    await net(rig).order("cut")


@fault(35, hits="smpp")
async def responses_twice(rig: Rig, chance: random.Random) -> None:
    """The network repeats responses."""
    await net(rig).order("duplicate", way="down", command=SUBMIT_SM_RESP, count=chance.randrange(1, 50))


@fault(36, hits="smpp")
async def responses_reversed(rig: Rig, chance: random.Random) -> None:
    """Responses arrive in another order."""
    await net(rig).order("reorder", way="down", command=SUBMIT_SM_RESP, count=chance.randrange(2, 30))


@fault(38, hits="smpp", windows=1, is_loud=True)
async def length_corrupted(rig: Rig, chance: random.Random) -> None:
    """A command_length that cannot be."""
    await net(rig).order("corrupt", way="down", value=chance.choice([0, 15, 0x48545450, 0xFFFFFFFF]))


@fault(39, hits="smpp", windows=1, is_loud=True)
async def garbage(rig: Rig, chance: random.Random) -> None:
    """Octets that are no PDU between what the SMSC says."""
    octets = chance.choice([b"\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\0", b"\xff" * 16])
    await net(rig).order("insert", way="down", hex=octets.hex())


@fault(71, hits="postgres")
async def database_black_hole(rig: Rig, chance: random.Random) -> None:
    """Postgres is reached and never answers for a while."""
    way = chance.choice(["up", "down"])
    await database(rig).order("stall", way=way)
    await for_a_while(chance.uniform(0.5, 3.0))
    await database(rig).order("flow", way=way)


@fault(64, hits="postgres")
async def database_cut(rig: Rig, chance: random.Random) -> None:
    """A connection to Postgres ends behind any octet, either way."""
    for _ in range(chance.randrange(1, 6)):
        await database(rig).order("cut_at", way=chance.choice(["up", "down"]), octets=chance.randrange(1, 4000))
        await for_a_while(0.1)


def faketime_missing() -> str:
    """Why no clock can jump."""
    return "" if FAKETIME.exists() else f"{FAKETIME} is not there (Debian: libfaketime)"


@fault(82, hits="clock", needs=faketime_missing)
async def wall_clock_jumps(rig: Rig, chance: random.Random) -> None:
    """The wall clock of all workers goes an hour back or two days ahead, and comes back; the monotonic one does not."""
    assert rig.wall_offset is not None
    rig.wall_offset.write_text(chance.choice(["-3600", "+172800", "+60", "-60"]) + "\n")
    await for_a_while(chance.uniform(0.5, 2.0))
    rig.wall_offset.write_text("+0\n")


class Tally(Struct, kw_only=True):
    """What was done and what was checked, over all rounds; of kills too how many hit while messages still left."""

    rounds: int = 0
    messages: int = 0
    in_traffic: int = 0
    doubted: int = 0
    doubt_allowed: int = 0
    most_in_doubt_per_kill: int = 0
    doubt_allowed_per_kill: int = 0
    intents_compared: int = 0
    parts_compared: int = 0
    fullest_second_written: int = 0
    fullest_second_arrived: int = 0
    widest_window: int = 0
    rss_kb: int = 0
    files: int = 0
    stops: int = 0
    stops_in_time: int = 0
    commit_to_last_submit_s: dict[str, float] = {}
    commit_to_acknowledged_s: dict[str, float] = {}
    faults: dict[str, int] = {}
    checks: dict[str, int] = {}

    def count(self, *names: str) -> None:
        """Another one of each check was held."""
        for name in names:
            self.checks[name] = self.checks.get(name, 0) + 1


async def round_(
    folder: Path, plan: Sequence[Sequence[Fault]], chance: random.Random, tally: Tally, *,
    messages: int, tps: int = 1500,
) -> None:  # fmt: skip
    """One rig, a run of each policy, the planned faults (those of an inner list at once), then every check."""
    jumps = any(one.hits == "clock" for group in plan for one in group)
    rig = Rig(
        folder, folder, window=30, tps=tps, workers=2, proxies=True, parts_share=0.05, watches_wire=True,
        simulate=("--error", "RTHROTTLED=0.002", "--error", "RINVDSTADR=0.002", "--early-share", "0.02",
                  "--early-ms", "3", "--duplicate-share", "0.01", "--inbound-per-s", "20", "--enquire-link-s", "1"),
    )  # fmt: skip
    if jumps:
        rig.wall_offset = folder / "wall-offset"
        rig.wall_offset.write_text("+0\n")
    async with rig:
        made = [await rig.enqueue(messages // 2, policy) for policy in POLICIES]
        for part in rig.worker_names:
            await rig.start(part)
        held_up: list[tuple[int, int]] = []
        total = messages + messages // 20 * 3
        for number, group in enumerate(plan):
            await rig.until_taken(round(total * 0.9 * (number + chance.random()) / len(plan)))
            moment, began_ns = rig.taken(), time.monotonic_ns()
            said = {part: rig.log_size(part) for part in rig.worker_names}
            names = "+".join(one.name for one in group)
            rig.hurt("begin", names)
            try:
                await asyncio.gather(*(one.do(rig, random.Random(chance.random())) for one in group))
            except AssertionError as error:
                raise AssertionError(f"moment {moment}, {names}: {error}") from None
            for one in group:
                tally.faults[one.name] = tally.faults.get(one.name, 0) + 1
            if any(one.is_loud for one in group):
                # E1: whoever reads the logs hears of it.
                await until(
                    lambda said=said: any(rig.log_size(part) > size for part, size in said.items()),
                    f"moment {moment}, {names}: no worker said a word of it", LOUD_WITHIN_S,
                )  # fmt: skip
                tally.count("E1")
            if any(one.holds_up or one.hits == "postgres" for one in group):
                held_up.append((began_ns, time.monotonic_ns() + 3 * 10**9))
        # L1: healed, everything ends.
        audit = await rig.audit_when_over(*made, patience_s=120.0)
        tally.count("L1")
        flat = [one for group in plan for one in group]
        per_kill = doubt_bound(rig.window * rig.workers, rig.tps)
        waits = math.ceil(4.0 / RESPONSE_TIMEOUT_S)
        allowed = sum(one.kills * per_kill for one in flat)
        # A link that is lost leaves its window in doubt; one that is silent its window with each timeout.
        allowed += sum(one.windows * waits * rig.window * rig.workers for one in flat)
        audit.check(doubt_at_most=allowed)
        tally.count("A1", "A2", "A3", "A4", "A5", "R1")
        tally.intents_compared += audit.intents_are_older(rig.wall_less_monotonic_ns)
        tally.parts_compared += audit.parts_in_order()
        tally.count("O1")
        rate(rig, audit, tally, held_up)
        tally.widest_window = max(tally.widest_window, invariants.windows_hold(rig.ledger, rig.window))
        tally.count("T2")
        most = invariants.bounded(rig.samples, rss_kb=RSS_KB, files=FILES)
        tally.rss_kb, tally.files = max(tally.rss_kb, most["rss_kb"]), max(tally.files, most["files"])
        tally.count("P1")
        tally.rounds += 1
        tally.messages += messages
        tally.doubted += len(audit.doubted)
        tally.doubt_allowed += allowed


def rate(rig: Rig, audit: invariants.Audit, tally: Tally, held_up: Sequence[tuple[int, int]]) -> None:
    """T1: by what the kernel saw leave, exactly; where one may not look, by arrivals and their tolerance."""
    arrivals = sorted(message.at_ns for message in audit.arrived)
    if rig.wire is None:
        fullest = invariants.rate_holds(arrivals, rig.tps, except_ns=held_up)
    else:
        fullest = invariants.fullest_second(arrivals)
        written = invariants.written_rate_holds(rig.wire, rig.tps)
        tally.fullest_second_written = max(tally.fullest_second_written, written)
    tally.fullest_second_arrived = max(tally.fullest_second_arrived, fullest)
    tally.count("T1")


async def kills(
    folder: Path, chance: random.Random, tally: Tally, *, worker: int, postgres: int, messages: int, tps: int
) -> None:
    """Kill -9 at random moments of one run of each policy: of one of two workers, or of Postgres."""
    count = worker or postgres
    async with Rig(folder, folder, window=30, tps=tps, workers=2, evidence_s=1.0, watches_wire=True) as rig:
        made = [await rig.enqueue(messages // 2, policy) for policy in POLICIES]
        for part in rig.worker_names:
            await rig.start(part)
        instances = []
        moments = sorted(chance.sample(range(1, messages * 19 // 20), count))
        for number, moment in enumerate(moments):
            await rig.until_taken(moment)
            if worker:
                part = await a_worker(rig, chance)
                instances.append(rig.instance(part))
                await rig.kill(part)
                await rig.start(part)
            else:
                await rig.kill("postgres")
                await rig.start("postgres")
            if number % 10 == 9:
                print(f"  {number + 1} kills, {rig.taken():,} taken", file=sys.stderr, flush=True)
        audit = await rig.audit_when_over(*made, patience_s=180.0)
        # Open windows, one flush of outcomes and one step of the watermark: 50 ms of a worker's traffic each.
        per_kill = rig.window * rig.workers + 2 * round(0.05 * rig.tps) if worker else 0
        audit.check(doubt_at_most=per_kill * count, receipts=True)
        tally.count("A1", "A2", "A3", "A4", "A5", "R1", "L1")
        by_owner = Counter(audit.doubt_by_owner())
        for at, instance in enumerate(instances):
            assert by_owner[instance] <= per_kill, (
                f"kill {at} at moment {moments[at]} left {by_owner[instance]} in doubt, {per_kill} allowed"
            )
        strangers = by_owner.keys() - set(instances)
        assert not strangers, f"in doubt though their owner was not killed: { {s: by_owner[s] for s in strangers} }"
        tally.most_in_doubt_per_kill = max([by_owner[instance] for instance in instances], default=0)
        tally.intents_compared += audit.intents_are_older(rig.wall_less_monotonic_ns)
        last_ns = max(message.at_ns for message in audit.arrived)
        tally.in_traffic = sum(hurt.what == "kill" and hurt.at_ns < last_ns for hurt in rig.hurts)
        rate(rig, audit, tally, [])
        tally.widest_window = invariants.windows_hold(rig.ledger, rig.window)
        tally.count("T2")
        tally.rounds += 1
        tally.messages += messages
        tally.doubted += len(audit.doubted)
        tally.doubt_allowed += per_kill * count
        tally.doubt_allowed_per_kill = per_kill
        tally.faults["worker_kill" if worker else "postgres_kill"] = count


async def stops(
    folder: Path, chance: random.Random, tally: Tally, *, count: int, kills_too: int, messages: int, tps: int
) -> None:
    """STOP numbers of two running runs at random moments while workers are killed; S1 for each by the ledger."""
    async with Rig(folder, folder, window=30, tps=tps, workers=2, evidence_s=1.0) as rig:
        made = [await rig.enqueue(messages // 2, policy) for policy in POLICIES]
        for part in rig.worker_names:
            await rig.start(part)

        async def connect() -> Any:
            return await postgres.connect(rig.server.dsn)

        entry = Stops(
            Clock(monotonic=time.monotonic, wall=lambda: datetime.now(UTC)), connect, 30.0, rig.lease_s, app.identity()
        )
        everybody = list(numbers(messages))
        committed: dict[int, int] = {}
        acknowledged: dict[int, int] = {}
        moments = sorted(chance.sample(range(1, messages * 9 // 10), count))
        killed = set(chance.sample(range(count), kills_too))

        async def say(number: int) -> None:
            seq = await entry.enter([number], EVERYTHING, True, "torture", "")
            committed[number] = time.monotonic_ns()
            await entry.acknowledge(seq)
            acknowledged[number] = time.monotonic_ns()

        saying: list[asyncio.Task[None]] = []
        try:
            for at, (moment, number) in enumerate(zip(moments, chance.sample(everybody, count), strict=True)):
                await rig.until_taken(moment)
                saying.append(asyncio.create_task(say(number)))
                if at in killed:
                    part = await a_worker(rig, chance)
                    await rig.kill(part)
                    await rig.start(part)
            await asyncio.gather(*saying)
        finally:
            await entry.close()
        audit = await rig.audit_when_over(*made, patience_s=180.0)
        audit.check(doubt_at_most=kills_too * (rig.window * rig.workers + 2 * round(0.05 * rig.tps)))
        audit.nothing_after_stop(acknowledged)
        last = {int(m.destination): m.at_ns for m in audit.arrived if int(m.destination) in committed}
        after_s = sorted(max(0, last.get(number, 0) - at) / 1e9 for number, at in committed.items())
        waits_s = sorted((acknowledged[number] - at) / 1e9 for number, at in committed.items())
        assert after_s[-1] <= 1.0, f"a submit came {after_s[-1]:.3f} s after the COMMIT of its STOP"
        tally.count("A1", "A2", "A3", "A4", "A5", "R1", "L1", "S1")
        tally.stops += count
        tally.stops_in_time += sum(row["status"] == Refusal.SUPPRESSED for row in audit.rows)
        tally.commit_to_last_submit_s = {"p99": after_s[len(after_s) * 99 // 100], "most": after_s[-1]}
        tally.commit_to_acknowledged_s = {"p50": waits_s[len(waits_s) // 2], "most": waits_s[-1]}
        tally.rounds += 1
        tally.messages += messages
        tally.doubted += len(audit.doubted)
        tally.faults["worker_kill"] = kills_too


def planned(chosen: Sequence[Fault], chance: random.Random, count: int, *, pairs: bool) -> list[list[Fault]]:
    """Draw the faults of a round: one at a time, or two that take hold of different things."""
    if not pairs:
        return [[chance.choice(chosen)] for _ in range(count)]
    fitting = [list(pair) for pair in itertools.combinations(chosen, 2) if pair[0].hits != pair[1].hits]
    if not fitting:
        raise SystemExit("torture: no two of these faults go together")
    return [chance.choice(fitting) for _ in range(count)]


def within(folder: Path, work: Awaitable[None], seed: int, number: int, *, keep: bool) -> None:
    """Carry a round out; a failure names it and keeps its folder."""
    try:
        asyncio.run(_awaited(work))
    except AssertionError as error:
        said = f"torture: seed {seed}, round {number}: {error}\nkept: {folder}"
        (folder / "failure.txt").write_text(said + "\n")
        print(said, file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    if keep:
        print(f"  kept: {folder}", file=sys.stderr, flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


async def _awaited(work: Awaitable[None]) -> None:
    await work


def a_folder() -> Path:
    """A folder that Postgres' user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-torture-"))
    os.chmod(folder, 0o755)
    return folder


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./dev torture", description="hurt a running gateway, compare the ledgers")
    parser.add_argument("--minutes", type=float, default=5.0, help="no round begins after so long")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--faults", default="", help="comma separated; of: " + ", ".join(FAULTS))
    parser.add_argument("--pairs", action="store_true", help="two at a time")
    parser.add_argument("--per-round", type=int, default=6, help="moments of a round")
    parser.add_argument("--messages", type=int, default=0, help="of a round; of the run with --kills")
    parser.add_argument("--keep", action="store_true", help="keep the folders of rounds that went well, too")
    parser.add_argument("--tps", type=int, default=1500)
    parser.add_argument("--kills", type=int, default=0, help="kill -9 of a worker so often in one run")
    parser.add_argument("--postgres-kills", type=int, default=0, help="kill -9 of Postgres so often in one run")
    parser.add_argument("--stops", type=int, default=0, help="so many STOPs in one run, and a kill for every 20")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    unknown = set(filter(None, options.faults.split(","))) - FAULTS.keys()
    if unknown:
        parser.error(f"no fault {', '.join(sorted(unknown))}; there are: {', '.join(FAULTS)}")
    chosen = [FAULTS[name] for name in options.faults.split(",") if name] or list(FAULTS.values())
    for one in [one for one in chosen if one.needs()]:
        print(f"  left out: {one.name}: {one.needs()}", file=sys.stderr)
    chosen = [one for one in chosen if not one.needs()]
    tally, began = Tally(), time.monotonic()
    print(f"torture: seed {seed}", file=sys.stderr, flush=True)
    if options.kills or options.postgres_kills:
        messages = options.messages or max(20_000, 1000 * (options.kills or options.postgres_kills))
        folder = a_folder()
        work = kills(
            folder, random.Random(seed), tally, worker=options.kills, postgres=options.postgres_kills,
            messages=messages, tps=options.tps,
        )  # fmt: skip
        within(folder, work, seed, 0, keep=options.keep)
    elif options.stops:
        folder = a_folder()
        messages = options.messages or max(20_000, 100 * options.stops)
        work = stops(
            folder, random.Random(seed), tally, count=options.stops, kills_too=options.stops // 20, messages=messages,
            tps=options.tps,
        )  # fmt: skip
        within(folder, work, seed, 0, keep=options.keep)
    else:
        for number in itertools.count():
            if time.monotonic() - began > options.minutes * 60:
                break
            chance = random.Random(f"{seed} {number}")
            plan = planned(chosen, chance, options.per_round, pairs=options.pairs)
            names = ", ".join("+".join(one.name for one in group) for group in plan)
            print(f"  round {number}: {names}", file=sys.stderr, flush=True)
            folder = a_folder()
            work = round_(folder, plan, chance, tally, messages=options.messages or 6000, tps=options.tps)
            within(folder, work, seed, number, keep=options.keep)
    took = time.monotonic() - began
    told = {name: getattr(tally, name) for name in tally.__struct_fields__}
    print(json.dumps({"seed": seed, "seconds": round(took, 1), **told}), flush=True)


if __name__ == "__main__":
    main()
