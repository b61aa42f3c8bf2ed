"""The parts of a measured life: a simulator process of its own, and people made inside Postgres."""

import os

import pytest

from gateway.commands._life import make_people, run_life, simulator
from gateway.errors import GatewayError
from gateway.store import postgres


async def test_simulator_is_there_in_the_block_and_gone_after():
    async with simulator("--port", "0") as (process, first):
        assert first["pid"] == process.pid and first["port"] > 0
        # A Ctrl-C at our terminal is not for it.
        assert os.getsid(process.pid) == process.pid
    assert process.returncode == 0


async def test_simulator_that_cannot_start_is_an_error(capfd):
    with pytest.raises(GatewayError, match="did not start"):
        async with simulator("--config", "/nonexistent.toml"):
            pass
    assert "nonexistent" in capfd.readouterr().err


async def test_simulator_is_ended_when_the_block_breaks():
    with pytest.raises(ZeroDivisionError):
        async with simulator("--port", "0") as (process, _):
            raise ZeroDivisionError
    assert process.returncode is not None


async def test_people_are_made_with_the_fields_of_the_text(dsn):
    connection = await postgres.connect(dsn)
    lists = [await make_people(connection, 100) for _ in range(2)]
    rows = await connection.fetch("SELECT list, count(*), count(attributes ->> 'order') FROM list_entry GROUP BY list")
    await postgres.close(connection)
    assert sorted(map(tuple, rows)) == [(each, 100, 100) for each in sorted(lists)]


async def test_life_that_is_not_over_in_time_is_not_complete(dsn):
    result = await run_life(2000, 1, 10, True, dsn, tps=10, timeout_s=0.5)
    assert not result["complete"] and result["responses"] < 2000


async def test_life_with_the_gate_on_lets_everybody_pass_and_again_in_the_same_database(dsn):
    for _ in range(2):
        result = await run_life(500, 1, 10, True, dsn, tps=0, timeout_s=60, is_gated=True)
        assert result["complete"] and result["states"] == {"delivered": 500}
        assert result["gate"] and result["admitted"] == 500
