"""Experiments, who was assigned to which arm of them, and the sums of the arms. Statements: sql/experiments.sql.

    apply ─► a version of the document ─► assign ─► reach ─► arms ─► settle
                                          └ by whoever sends, bucket by bucket: the first arm that a number has stays,
                                            whatever the weights become (AB-1)

An assignment is of the number, so it stays when persons move or become one; erasure drops it. Opt-outs, failures, and
what counts as a conversion are events of persons (EV-11): of a number nobody knows there are none.
Not here: who gets what (gateway.experiment), what sums say (gateway.campaign.experiments).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from gateway.errors import ConfigError
from gateway.experiment import (
    Allocation,
    Arm,
    Counting,
    Experiment,
    Problem,
    Split,
    Standing,
    State,
    Sums,
    allocation_of,
    counting_of,
    role_salt,
)
from gateway.store.columns import ints
from gateway.store.people import BUCKETS
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

STEP_S = 30.0
# RP: an opt-out is a message's within 72 hours; a failure is told by then too, or its receipt has aged out.
AFTER_S = 72 * 3600


class Kept(Struct, frozen=True, kw_only=True):
    """An experiment as it stands."""

    id: int
    version: int
    state: State
    winner: int | None
    stopped: tuple[int, ...]
    made_at: datetime
    decided_at: datetime | None
    decided_by: str
    why: str
    name: str
    campaign: str
    body: Experiment

    @property
    def standing(self) -> Standing:
        """How far it is, for who sends."""
        return Standing(state=self.state, winner=self.winner, stopped=self.stopped)


class Counted(Struct, frozen=True, kw_only=True):
    """The arms of an experiment, from the control on, how each version divided, and when the first was assigned."""

    arms: tuple[Arm, ...]
    splits: tuple[Split, ...]
    first_at: datetime | None


def _kept(row: Mapping[str, Any] | None) -> Kept | None:
    if row is None:
        return None
    values = dict(row)
    body = msgspec.json.decode(values.pop("body"), type=Experiment)
    return Kept(body=body, stopped=tuple(values.pop("stopped")), **values)


async def apply(connection: Connection, experiment: Experiment, *, campaign: str = "", at: datetime, by: str) -> Kept:
    """Keep an experiment whose parts are sound; the same once more changes nothing. One transaction.

    Whoever has an arm keeps it. Variants may be added at the end while it runs; what was assigned has its meaning.
    raises  ConfigError: variants were taken away, renamed or put in another order, or the experiment is over
    """
    body = msgspec.json.encode(experiment).decode()
    async with deadline(connection, STEP_S, "experiment"), connection.transaction():
        before = await _hold(connection, experiment.name)
        if before is not None:
            if before.body == experiment and before.campaign == campaign:
                return before
            if problem := _forbidden(before, experiment):
                raise ConfigError([problem])
        row = await connection.fetchrow(query("apply_experiment"), at, experiment.name, campaign, body)
        await connection.execute(query("add_experiment_version"), row["id"], row["version"], at, by, body)
        made = await _hold(connection, experiment.name)
    assert made is not None
    return made


def _forbidden(before: Kept, experiment: Experiment) -> Problem | None:
    """Say what of a change would give another meaning to what people were assigned to."""
    names, had = experiment.names()[1:], before.body.names()[1:]
    if names[: len(had)] != had:
        expected = f"{', '.join(had)} first, in this order, since people were assigned to them; or another name"
        return f"experiment {experiment.name}: variant", expected, ", ".join(names)
    if before.state in ("decided", "stopped"):
        return f"experiment {experiment.name}", "one that runs or is held; or another name", before.state
    return None


async def named(connection: Connection, name: str) -> Kept | None:
    """Read one experiment."""
    async with deadline(connection, STEP_S, "experiment"):
        return _kept(await connection.fetchrow(query("experiment_named"), name))


async def all_of(connection: Connection, state: State | None = None) -> list[Kept]:
    """Read experiments, all or those of a state, by name."""
    async with deadline(connection, STEP_S, "experiments"):
        rows = await connection.fetch(query("experiments"), state or "")
    return [kept for row in rows if (kept := _kept(row)) is not None]


async def any_open(connection: Connection) -> bool:
    """Say whether an experiment runs, or waits for a person."""
    return bool(await connection.fetchval(query("any_experiment_open")))


async def hold(connection: Connection, name: str) -> Kept | None:
    """Read an experiment, and let nobody else change it before the caller's transaction ends."""
    async with deadline(connection, STEP_S, "experiment"):
        return await _hold(connection, name)


async def _hold(connection: Connection, name: str) -> Kept | None:
    return _kept(await connection.fetchrow(query("hold_experiment"), name))


async def settle(
    connection: Connection, kept: Kept, state: State, winner: int | None, *, at: datetime, by: str, why: str
) -> None:
    """Write down what became of an experiment that the caller's transaction holds."""
    async with deadline(connection, STEP_S, "experiment"):
        await connection.execute(query("settle_experiment"), kept.id, state, winner, at, by, why)


async def stop_arms(connection: Connection, kept: Kept, arms: Sequence[int]) -> None:
    """Let nobody get some more arms of an experiment that the caller's transaction holds (AB-8)."""
    async with deadline(connection, STEP_S, "experiment"):
        await connection.execute(query("stop_arms"), kept.id, sorted({*kept.stopped, *arms}))


async def assign(
    connection: Connection,
    experiment: int,
    bucket: int,
    numbers: Sequence[int],
    arms: Sequence[int],
    *,
    version: int,
    at: datetime,
) -> dict[int, int]:
    """Assign numbers of a bucket to arms, in the caller's transaction; -> the arms that they have: the first stays.

    arms  from the control (0) on; whoever is to have none is not among the numbers
    """
    written = ints(numbers)
    await connection.execute(query("assign"), bucket, experiment, version, at, written, ints(arms))
    return await _arms_of(connection, experiment, bucket, written)


async def assign_by_hash(
    connection: Connection, kept: Kept, bucket: int, numbers: Sequence[int], *, at: datetime
) -> dict[int, int]:
    """Assign numbers of a bucket to the arms that their hash gives them; -> the arms that they have.

    Set-wise, as `Allocation.arm_of` says it of one. Whoever is of the rest, or of an arm that was stopped, gets none.
    """
    written = ints(numbers)
    shape: Allocation = allocation_of(kept.body)
    await connection.execute(
        query("assign_by_hash"), bucket, kept.id, written, shape.salt, role_salt(shape.salt), shape.control, shape.test,
        list(shape.bounds), kept.version, at, list(kept.stopped),
    )  # fmt: skip
    return await _arms_of(connection, kept.id, bucket, written)


async def _arms_of(connection: Connection, experiment: int, bucket: int, written: str) -> dict[int, int]:
    rows = await connection.fetch(query("assigned"), bucket, experiment, written)
    return {row["number"]: row["arm"] for row in rows}


async def arms_of(connection: Connection, experiment: int, bucket: int, numbers: Sequence[int]) -> dict[int, int]:
    """Read which arms numbers of a bucket have; nobody is given one."""
    return await _arms_of(connection, experiment, bucket, ints(numbers))


async def reach(connection: Connection, experiment: int, bucket: int, numbers: Sequence[int], *, at: datetime) -> None:
    """Note that the message of numbers left, or that of the control would have (AB-6); in the caller's transaction."""
    await connection.execute(query("reach"), bucket, experiment, ints(numbers), at)


async def arms(connection: Connection, kept: Kept, now: datetime, counting: Counting | None = None) -> Counted:
    """Sum up the arms of an experiment, as of now.

    counting  what counts as a conversion; by default what the experiment says
    cost      a statement for each bucket, by its keys; each person's events in their window
    """
    counting = counting or counting_of(kept.body, kept.campaign)
    names = kept.body.names()
    async with deadline(connection, STEP_S, "experiment"):
        rows = await connection.fetch(query("experiment_versions"), kept.id)
    shares = {row["version"]: allocation_of(msgspec.json.decode(row["body"], type=Experiment)).shares() for row in rows}
    found = [Arm(arm=arm) for arm in range(len(names))]
    counts: dict[tuple[int, int], tuple[int, int]] = {}
    first_at: datetime | None = None
    for bucket in range(BUCKETS):
        async with deadline(connection, STEP_S, "count arms"):
            rows = await connection.fetch(
                query("count_arms"), bucket, kept.id, counting.event, counting.verdict, counting.campaign,
                counting.currency, counting.window_s, AFTER_S, now, kept.campaign,
            )  # fmt: skip
        for row in rows:
            arm = row["arm"]
            found[arm] += _arm(row)
            people, reached = counts.get((row["version"], arm), (0, 0))
            counts[row["version"], arm] = people + row["people"], reached + row["reached"]
            first_at = row["first_at"] if first_at is None else min(first_at, row["first_at"])
    splits = tuple(
        Split(
            shares=some,
            assigned=tuple(counts.get((version, arm), (0, 0))[0] for arm in range(len(some))),
            reached=tuple(counts.get((version, arm), (0, 0))[1] for arm in range(len(some))),
        )
        for version, some in shares.items()
    )
    return Counted(arms=tuple(found), splits=splits, first_at=first_at)


def _arm(row: Mapping[str, Any]) -> Arm:
    return Arm(
        arm=row["arm"],
        assigned=_sums(row, "people", ""),
        reached=_sums(row, "reached", "reached_"),
        opt_outs=row["opt_outs"],
        failures=row["failures"],
    )


def _sums(row: Mapping[str, Any], people: str, prefix: str) -> Sums:
    return Sums(
        people=row[people],
        conversions=row[f"{prefix}conversions"],
        payers=row[f"{prefix}payers"],
        revenue=row[f"{prefix}revenue"],
        squares=row[f"{prefix}squares"],
    )
