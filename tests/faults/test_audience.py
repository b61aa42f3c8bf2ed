"""Everybody of an audience has one end, whenever a worker dies: in no chunk for a reason, or an outcome of his own."""

import random
from pathlib import Path

import pytest

from _fastpath.peoplerows import bucket
from gateway.campaign.audience import parse
from gateway.campaign.evaluation import Person
from gateway.commands._gated import freeze_run
from gateway.gate import Cap, Gate
from gateway.message import MessageClass
from gateway.reasons import Reason
from gateway.store import admission, considered, results, runs
from gateway.store.audiences import Terms
from tests.fixtures.audiences import write_people
from tests.fixtures.campaign import numbers, states
from tests.fixtures.engine import until
from tests.fixtures.pages import contacts_of, note_contacts
from tests.fixtures.rig import Rig

PEOPLE, SHARED, NUMBERLESS, STRANGERS, CAPPED = 3000, 40, 60, 300, 200


@pytest.mark.covers("X.1")
@pytest.mark.slow
async def test_all_reasons_and_what_was_sent_are_the_audience_though_workers_are_killed(
    tmp_path: Path, data_root: Path
) -> None:
    """Invariants 6 and 4: nothing lost, and nobody above the cap of one."""
    people = list(numbers(PEOPLE))
    chance = random.Random(5)
    async with Rig(tmp_path, data_root, tps=1500) as rig:
        connection = await rig.connect()
        now = await connection.fetchval("SELECT now()")
        await runs.ensure_partitions(connection, now)
        crowd = [*people, *chance.sample(people, SHARED), *[None] * NUMBERLESS]
        await write_people(connection, [Person(number=one) for one in crowd])
        known = people[STRANGERS:]
        await connection.executemany(
            "INSERT INTO consent_state (bucket, number, brand, promotional, transactional, night) "
            "VALUES ($1, $2, 'acme', 0, 2, 0)",
            [(bucket(one), one) for one in known],
        )
        await admission.refresh_consent_pages(connection, [(one, "acme") for one in known])
        brand = await admission.id_of(connection, "brand", "acme")
        await note_contacts(connection, known[:CAPPED], now, brand=brand, class_=MessageClass.TRANSACTIONAL)
        # Transactional texts may leave at any hour: this is run at all of them.
        gate = Gate(
            brand="acme", needs="transactional", caps=(Cap(limit=1, per="7d", classes=("transactional",)),), gap_s=0
        )
        run = await freeze_run(
            connection, name="spring", source="audience all", template="Hello", fields=(), policy="once",
            class_=MessageClass.TRANSACTIONAL, lanes=[await runs.lane_of(connection, "acme", now)],
            tree=parse("everyone"), terms=Terms(now=now), gate=gate,
        )  # fmt: skip
        await runs.materialise(connection, run, [1], run.recipients, now)
        await rig.start("worker")
        for taken in (400, 1100, 1900):
            await rig.until_taken(taken)
            await rig.kill("worker")
            await rig.start("worker")

        async def is_over() -> bool:
            if await runs.open_chunks(connection, run.id):
                return False
            return sum((await states(connection, run)).values()) == run.recipients

        await until(is_over, "the run is over", 60.0)
        skipped = await considered.skipped(connection, run.id)
        assert skipped == {
            Reason.NO_NUMBER: NUMBERLESS, Reason.DUPLICATE_ENDPOINT: SHARED, Reason.NO_CONSENT: STRANGERS,
        }  # fmt: skip
        ended = await states(connection, run)
        assert sum(ended.values()) + sum(skipped.values()) == len(crowd)
        refused = {one.status: one.messages for one in await results.refusals(connection, run.id, run.created_at)}
        # What was below the watermark at a kill and has no outcome is in doubt, whatever the gate had said of it.
        assert CAPPED - ended.get("uncertain", 0) <= refused[-100] <= CAPPED and ended["refused"] == refused[-100]
        # One reservation each, however often a claim was repeated.
        assert await contacts_of(connection, run.id) == known[CAPPED:]
        connection.terminate()
