"""One lease per worker: who is dead is judged by beats on a monotonic clock, and by nothing else."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import app
from gateway.dispatch.identity import Identity
from gateway.dispatch.membership import SEND_SHARE, Membership, Watch
from gateway.errors import LeaseLost, NodeTaken
from gateway.store import membership, postgres, runs
from gateway.store.migrate import migrate

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LEASE_S = 6.0
US = Identity(instance="us", host="here", boot="b", pid=10, is_running=lambda pid: pid < 100)


def a_worker(
    instance: str = "w", beat: int = 0, *, host: str = "there", boot: str = "b", pid: int = 999
) -> runs.Worker:
    return runs.Worker(
        instance=instance, host=host, boot=boot, pid=pid, started_at=NOW, seen_at=NOW, node=instance, beat=beat
    )


def looks(watch: Watch, *moments: tuple[float, int]) -> list[bool]:
    """Whether the worker is dead at each of the looks (when, its beat)."""
    return [bool(watch.look([a_worker(beat=beat)], at, at)) for at, beat in moments]


def test_a_beat_that_does_not_move_for_a_lease_is_a_dead_workers() -> None:
    watch = Watch(US, LEASE_S)
    at_rest = [(float(second), 5) for second in range(8)]
    assert looks(watch, *at_rest) == [False] * 6 + [True, True]


def test_a_beat_that_moves_begins_the_lease_anew() -> None:
    watch = Watch(US, LEASE_S)
    assert not any(looks(watch, *((float(second), second // 4) for second in range(60))))


def test_the_lease_counts_from_when_the_beat_was_read_to_when_the_question_was_put() -> None:
    watch = Watch(US, LEASE_S)
    assert watch.look([a_worker()], 0.0, 1.0) == []
    for asked_at in (2.0, 4.0, 6.5):
        assert watch.look([a_worker()], asked_at, asked_at + 0.4) == []
    assert watch.look([a_worker()], 7.0, 9.0)


def test_who_could_not_look_for_a_while_counts_anew() -> None:
    """Postgres was away, or we were frozen: the others could not beat either, or did and were not seen."""
    watch = Watch(US, LEASE_S)
    assert looks(watch, (0.0, 1), (2.0, 1), (60.0, 1), (62.0, 1), (64.0, 1), (66.0, 1)) == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("host", "boot", "pid", "is_dead"),
    [("here", "b", 999, True), ("here", "b", 50, False), ("here", "b", 10, False), ("here", "c", 999, False),
     ("there", "b", 999, False)],
    ids=["gone", "running", "our own process", "another boot", "another host"],
)  # fmt: skip
def test_a_process_of_this_boot_whose_pid_is_gone_is_dead_at_once(
    host: str, boot: str, pid: int, is_dead: bool
) -> None:
    watch = Watch(US, LEASE_S)
    assert bool(watch.look([a_worker(host=host, boot=boot, pid=pid)], 0.0, 0.0)) == is_dead


def test_owners_of_chunks_that_have_left_are_dead_and_strangers_after_a_lease() -> None:
    watch = Watch(US, LEASE_S)
    watch.look([a_worker("seen")], 0.0, 0.0)
    watch.look([], 1.0, 1.0)
    assert watch.dead_of(["us", "seen", "stranger"], 1.0) == ["seen"]
    for at in (3.0, 5.0):
        watch.look([], at, at)
    assert watch.dead_of(["seen", "stranger"], 6.9) == ["seen"]
    watch.look([], 7.0, 7.0)
    assert watch.dead_of(["seen", "stranger"], 7.1) == ["seen", "stranger"]
    assert watch.dead_of(["seen"], 60.0) == [], "who has not looked lately does not know"


def test_a_stranger_that_registers_is_none() -> None:
    watch = Watch(US, LEASE_S)
    watch.look([], 0.0, 0.0)
    assert watch.dead_of(["late"], 0.0) == []
    for at in (2.0, 4.0, 6.0, 8.0):
        watch.look([a_worker("late", int(at))], at, at)
    assert watch.dead_of(["late"], 8.0) == []


class Peer:
    """One membership on a real Postgres, with clocks that the test moves."""

    def __init__(self, dsn: str, instance: str, *, node: str = "", pid: int = 10, wall_off_s: float = 0.0):
        self.held: list[float] = []
        self.departures = 0
        self.now = 0.0

        def hold(until: float) -> None:
            self.held.append(until)

        def departed() -> None:
            self.departures += 1

        async def connect() -> Any:
            return await postgres.connect(dsn)

        us = Identity(instance=instance, host="here", boot="b", pid=pid, is_running=lambda pid: pid < 100, node=node)
        clock = msgspec.structs.replace(app.CLOCK, monotonic=lambda: self.now)
        self.membership = Membership(us, LEASE_S, clock, connect, lambda: ["acme"], hold, departed)


async def test_an_owner_may_send_for_seven_tenths_of_a_lease_after_the_beat_it_sent(dsn: str) -> None:
    await migrate(dsn)
    peer = Peer(dsn, "a")
    await peer.membership.enter()
    peer.now = 2.0
    await peer.membership.step()
    assert peer.held == [SEND_SHARE * LEASE_S, 2.0 + SEND_SHARE * LEASE_S]
    assert peer.membership.serving("acme") == ["a"] and peer.membership.serving("beta") == []
    await peer.membership.leave()
    await peer.membership.close()
    assert peer.held[-1] == float("-inf")


async def test_fault_9_who_slept_through_his_lease_is_fenced_and_sends_nothing_more(dsn: str) -> None:
    await migrate(dsn)
    sleeper, other = Peer(dsn, "a"), Peer(dsn, "b", pid=11)
    await sleeper.membership.enter()
    await other.membership.enter()
    for second in range(1, 8):
        other.now = float(second)
        await other.membership.step()
    assert other.departures == 1 and other.membership.serving("acme") == ["b"]
    assert other.membership.dead_of(["a"]) == ["a"]
    # Its own clock stood still: by that it would still be allowed to.
    with pytest.raises(LeaseLost, match="a: taken for dead"):
        await sleeper.membership.step()
    assert sleeper.held[-1] == float("-inf")
    for peer in (sleeper, other):
        await peer.membership.close()


async def test_case_31_a_second_node_of_one_name_is_refused_with_who_has_it(dsn: str) -> None:
    """Fault 15."""
    await migrate(dsn)
    holder, second = Peer(dsn, "a", node="north"), Peer(dsn, "b", node="north", pid=11)
    await holder.membership.enter()
    entering = asyncio.create_task(second.membership.enter())
    while not entering.done():
        await holder.membership.step()
        await asyncio.sleep(0.01)
    with pytest.raises(NodeTaken, match="found 'north' .place 0. held by a living worker: a on here, pid 10, since"):
        entering.result()
    for peer in (holder, second):
        await peer.membership.close()


async def test_the_name_of_a_dead_process_of_this_host_is_taken_over_at_once(dsn: str) -> None:
    await migrate(dsn)
    dead, next_one = Peer(dsn, "a", node="north", pid=999), Peer(dsn, "b", node="north")
    await dead.membership.enter()
    await asyncio.wait_for(next_one.membership.enter(), 10)
    assert next_one.membership.is_registered and next_one.membership.dead_of(["a"]) == ["a"]
    for peer in (dead, next_one):
        await peer.membership.close()


async def test_the_name_of_a_silent_node_is_taken_over_when_its_lease_is_over(dsn: str) -> None:
    await migrate(dsn)
    silent, next_one = Peer(dsn, "a", node="north"), Peer(dsn, "b", node="north", pid=11)
    await silent.membership.enter()
    entering = asyncio.create_task(next_one.membership.enter())
    while not entering.done():
        next_one.now += 0.25
        await asyncio.sleep(0.01)
    await entering
    assert next_one.now >= LEASE_S
    with pytest.raises(LeaseLost):
        await silent.membership.step()
    for peer in (silent, next_one):
        await peer.membership.close()


async def test_a_beat_escapes_a_fence_that_comes_late(dsn: str, tmp_path: Path) -> None:
    await migrate(dsn)
    peer = Peer(dsn, "a")
    await peer.membership.enter()
    await peer.membership.step()
    connection = await postgres.connect(dsn)
    assert not await membership.fence(connection, "a", 0)
    await peer.membership.step()
    connection.terminate()
    await peer.membership.close()
