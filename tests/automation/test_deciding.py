"""One worker looks at experiments: what drives people away is stopped, what is due is decided: AB-4, AB-5, AB-8."""

import logging
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.automation import deciding
from gateway.automation.deciding import NO_LANE, Deciding
from gateway.experiment import Experiment, Variant
from gateway.person import Item, Who, hash_of
from gateway.store import events, experiments, membership, postgres, runs
from gateway.store.experiments import Kept
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
FIRST = 447_700_900_000


class World:
    """A database, a clock, and jobs of workers."""

    def __init__(self, dsn: str, connection: Any):
        self.dsn = dsn
        self.connection = connection
        self.now = NOW
        self.jobs: list[Deciding] = []

    def worker(self, name: str) -> Deciding:
        self.jobs.append(Deciding(lambda: self.now, lambda: postgres.connect(self.dsn), name))
        return self.jobs[-1]

    async def keep(self, **more: Any) -> Kept:
        weights = more.pop("weights", (1, 1))
        variants = tuple(Variant(name=chr(65 + at), weight=weight) for at, weight in enumerate(weights))
        made = Experiment(name=more.pop("name", "spring"), variants=variants, **more)
        return await experiments.apply(self.connection, made, at=NOW, by="ada")

    async def people(self, kept: Kept, counts: Sequence[tuple[int, int]], event: str = "order_placed") -> None:
        """Assign and reach people, arm by arm from 1 on: how many, and how many of them did something."""
        number, items = FIRST, []
        for arm, (people, did) in enumerate(counts, 1):
            some = range(number, number + people)
            number += people
            for bucket in range(256):
                theirs = [one for one in some if hash_of(one) == bucket]
                await experiments.assign(
                    self.connection, kept.id, bucket, theirs, [arm] * len(theirs), version=kept.version, at=NOW
                )
                await experiments.reach(self.connection, kept.id, bucket, theirs, at=NOW)
            items += [
                Item(who=Who(phone=one), event_id=f"{event} {one}", name=event, occurred_at=NOW + MINUTE,
                     properties={"order_id": f"{one}", "total": 1}, is_ours=True)
                for one in some[:did]
            ]  # fmt: skip
        await ingest(self.connection, items, NOW + MINUTE, random.Random(1))

    async def read(self, name: str = "spring") -> Kept:
        kept = await experiments.named(self.connection, name)
        assert kept is not None
        return kept

    async def told(self) -> list[tuple[str, str, Any]]:
        found = await events.after(self.connection, NO_LANE, 0)
        return [(one.kind, one.subject, one.body) for one in found]


@pytest.fixture
async def world(dsn: str) -> AsyncIterator[World]:
    connection = await postgres.connect(dsn)
    for name in ("one", "two"):
        worker = runs.Worker(instance=name, host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node=name)
        await membership.register(connection, worker)
    made = World(dsn, connection)
    yield made
    for job in made.jobs:
        await job.close()
    await postgres.close(connection)


@pytest.mark.covers("S4.75")
async def test_ab_5_at_its_time_the_winner_by_the_rule_is_declared_once_and_by_one_worker(world: World) -> None:
    await world.people(await world.keep(), [(400, 40), (400, 80)])
    one, two = world.worker("one"), world.worker("two")
    world.now = NOW + DAY - MINUTE
    assert await one.round() and (await world.read()).state == "running" and await world.told() == []
    world.now += MINUTE
    assert not await two.round() and await one.round()
    kept = await world.read()
    assert (kept.state, kept.winner, kept.decided_at, kept.decided_by) == ("decided", 2, world.now, "sluice")
    [(kind, subject, body)] = await world.told()
    assert (kind, subject, body["winner"], body["by"]) == ("experiment.decided", "spring", "B", "sluice")
    assert body["why"].startswith("by the rule")
    world.now += MINUTE
    assert not await one.round() and len(await world.told()) == 1


async def test_ab_5_without_a_winner_it_is_held_and_a_person_decides(world: World) -> None:
    await world.people(await world.keep(), [(50, 5), (50, 6)])
    world.now = NOW + DAY
    job = world.worker("one")
    assert await job.round()
    kept = await world.read()
    assert (kept.state, kept.winner) == ("held", None) and "11 of 100 conversions" in kept.why
    world.now += MINUTE
    assert await job.round() and len(await world.told()) == 1
    before = await deciding.declare(world.connection, "spring", "A", at=world.now, by="ada", why="it is shorter")
    assert isinstance(before, Kept) and before.state == "held"
    kept = await world.read()
    assert (kept.state, kept.winner, kept.decided_by, kept.why) == ("decided", 1, "ada", "it is shorter")
    assert [kind for kind, _, _ in await world.told()] == ["experiment.held", "experiment.decided"]
    again = await deciding.declare(world.connection, "spring", "B", at=world.now, by="bob", why="")
    assert again == "spring: expected one that runs or is held, it is decided"
    unknown = await deciding.declare(world.connection, "autumn", "B", at=world.now, by="bob", why="")
    assert unknown == "experiment 'autumn': expected one that was applied"


async def test_ab_7_an_uneven_sample_is_held_and_not_decided(world: World) -> None:
    await world.people(await world.keep(otherwise="best_so_far"), [(600, 60), (400, 90)])
    world.now = NOW + DAY
    assert await world.worker("one").round()
    kept = await world.read()
    assert kept.state == "held" and kept.why.startswith("sample ratio mismatch")


async def test_ab_8_an_arm_that_people_leave_is_stopped_within_a_round_and_told(world: World, caplog: Any) -> None:
    await world.people(await world.keep(), [(300, 30), (300, 4)], event="opted_out")
    world.now = NOW + 5 * MINUTE
    job = world.worker("one")
    with caplog.at_level(logging.WARNING):
        assert await job.round()
    kept = await world.read()
    assert kept.stopped == (1,) and kept.state == "running" and job.stopped == 1
    [(kind, _, body)] = await world.told()
    assert kind == "experiment.arm_stopped" and (body["arm"], body["what"], body["events"]) == ("A", "opt-outs", 30)
    assert body["ratio"] == pytest.approx(7.5) and body["p"] < 0.01
    assert "an arm is stopped: A: 30 opt-outs, 7.5 times the other's" in caplog.text
    world.now += MINUTE
    assert await job.round() and len(await world.told()) == 1


async def test_ab_8_against_no_opt_out_at_all_the_ratio_is_null_and_failures_stop_too(world: World) -> None:
    await world.people(await world.keep(), [(200, 0), (200, 20)], event="failed")
    world.now = NOW + 5 * MINUTE
    assert await world.worker("one").round()
    [(_, _, body)] = await world.told()
    assert (body["arm"], body["what"], body["ratio"]) == ("B", "failures", None)


async def test_ab_8_also_while_it_waits_for_a_person(world: World) -> None:
    kept = await world.keep()
    await world.people(kept, [(300, 30), (300, 4)], event="opted_out")
    await experiments.settle(world.connection, kept, "held", None, at=NOW, by="sluice", why="")
    world.now = NOW + 5 * MINUTE
    assert await world.worker("one").round() and (await world.read()).stopped == (1,)


async def test_a_persons_word_between_the_look_and_the_decision_stands(world: World, monkeypatch: Any) -> None:
    await world.people(await world.keep(), [(400, 40), (400, 80)])
    world.now = NOW + DAY
    plain = experiments.arms

    async def arms(*arguments: Any) -> Any:
        found = await plain(*arguments)
        await deciding.declare(world.connection, "spring", "A", at=NOW, by="ada", why="")
        return found

    monkeypatch.setattr(experiments, "arms", arms)
    job = world.worker("one")
    assert await job.round() and job.decided == 0
    kept = await world.read()
    assert (kept.winner, kept.decided_by) == (1, "ada") and len(await world.told()) == 1


async def test_an_experiment_that_takes_long_to_sum_up_is_looked_at_a_twentieth_of_the_time(
    world: World, monkeypatch: Any
) -> None:
    await world.people(await world.keep(), [(5, 1), (5, 1)])
    looks = []
    plain = experiments.arms

    async def arms(*arguments: Any) -> Any:
        looks.append(world.now)
        world.now += 10 * MINUTE
        return await plain(*arguments)

    monkeypatch.setattr(experiments, "arms", arms)
    job = world.worker("one")
    for _ in range(40):
        await job.round()
        world.now += 10 * MINUTE
    assert len(looks) > 2
    assert {later - one for one, later in zip(looks, looks[1:], strict=False)} == {200 * MINUTE}
    before, world.now = len(looks), NOW
    await job.round()
    assert len(looks) == before + 1


async def test_where_nothing_is_open_nobody_takes_the_job(world: World) -> None:
    job = world.worker("one")
    assert not await job.round()
    await world.keep()
    assert await job.round() and (await world.read()).state == "running"
    ended = await deciding.end(world.connection, "spring", at=NOW, by="ada", why="enough")
    assert isinstance(ended, Kept) and (await world.read()).state == "stopped"
    assert not await job.round()
    again = await deciding.end(world.connection, "spring", at=NOW, by="ada", why="")
    assert again == "spring: expected one that was not stopped yet"
    assert (await deciding.end(world.connection, "autumn", at=NOW, by="ada", why="")) == (
        "experiment 'autumn': expected one that was applied"
    )
    assert [kind for kind, _, _ in await world.told()] == ["experiment.stopped"]
