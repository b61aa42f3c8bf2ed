"""Limits that are lowered while runs go on (CP-8)."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.gate import Cap, Gate, gate_of
from gateway.store import audit, brands, postgres, runs
from gateway.store.migrate import migrate
from tests.fixtures.campaign import make_run, numbers

pytestmark = pytest.mark.database
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


async def test_every_run_of_the_brand_that_may_still_send_gets_the_lower_limits_and_it_is_written_down_CP_8(
    dsn: str,
) -> None:
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    lane = await runs.lane_of(connection, "acme", NOW)
    two = Gate(brand="acme", caps=(Cap(limit=2, per="day"),), gap_s=60)
    made = [
        await make_run(connection, numbers(3), [lane], now=NOW - timedelta(hours=2), name=name, gate=gate, **how)
        for name, gate, how in (
            ("goes on", two, {}),
            ("is over", two, {"lifetime": timedelta(hours=1)}),
            ("another", Gate(brand="other", caps=two.caps), {}),
        )
    ]
    caps = (Cap(limit=1, per="day"), Cap(limit=3, per="7d"))
    (found,) = await brands.lower(connection, "acme", caps, 600, now=NOW, by="ann@desk")
    assert found.changes == ["2 per day → 1 per day", "new: 3 per 7d", "gap 60 s → 600 s"]
    gates = []
    for one in made:
        run = await runs.run_by_id(connection, one.id)
        assert run is not None
        gates.append(gate_of(run.gate))
    assert gates == [Gate(brand="acme", caps=caps, gap_s=600), two, Gate(brand="other", caps=two.caps)]
    (noted,) = await audit.noted(connection, NOW)
    assert (noted.by, noted.about, noted.action) == ("ann@desk", f"run {made[0].id}", "lower")
    # Higher limits change nothing, however often.
    for _ in range(2):
        (again,) = await brands.lower(connection, "acme", (Cap(limit=9, per="day"),), 0, now=NOW, by="ann@desk")
        assert again.changes == []
    await connection.close()
