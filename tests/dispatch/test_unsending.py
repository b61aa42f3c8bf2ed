"""cancel_sm for what an exception came too late for: real links, a real Postgres."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.config import CarrierSettings
from gateway.dispatch import unsending
from gateway.dispatch.unsending import Unsending
from gateway.simulator.behaviour import Receipts
from gateway.smpp.session import Expired, Sent
from gateway.store import unsends
from gateway.store.queue import Unheard
from gateway.store.unsends import NO_ANSWER, NOT_TAKEN_BACK, NOTHING, TAKEN_BACK
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import engine, until


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsending, "STEP_S", 0.05)


async def test_what_has_no_end_yet_is_taken_back_in_all_its_parts_and_nothing_else_EX_3(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, receipts=Receipts(delay_ms=60_000)) as e:
        e.carrier_settings = {"cancel_sm": True}
        await e.run(numbers(4), template="x" * 200)
        await e.start()
        await until(lambda: e.connection.fetchval("SELECT count(*) = 8 FROM outcome"), "all parts are accepted")
        [row] = await e.connection.fetch("SELECT DISTINCT lane, chunk_id FROM outcome")
        lane, chunk = row["lane"], row["chunk_id"]
        # One has its end, of another the SMSC does not know a part any more, and one was never sent.
        await e.connection.execute(
            "INSERT INTO receipt (chunk_id, at, lane, pos, segment, state, message_id) "
            "SELECT chunk_id, now(), lane, pos, segment, 2, message_id FROM outcome WHERE pos = 1"
        )
        await e.connection.execute("UPDATE outcome SET message_id = 'nobody' WHERE pos = 2 AND segment = 2")
        asked = [(chunk, 0), (chunk, 1), (chunk, 2), (chunk + 1, 0)]
        now = datetime.now(UTC)
        for _ in range(2):
            await unsends.add(e.connection, lane, asked, now)
        await until(
            lambda: e.connection.fetchval("SELECT count(*) = 4 FROM unsend WHERE state > 0"), "all are answered"
        )
        rows = await e.connection.fetch("SELECT chunk_id, pos, state, status FROM unsend ORDER BY 1, 2")
        assert [tuple(row) for row in rows] == [
            (chunk, 0, TAKEN_BACK, 0), (chunk, 1, NOT_TAKEN_BACK, NOTHING), (chunk, 2, NOT_TAKEN_BACK, 0x0C),
            (chunk + 1, 0, NOT_TAKEN_BACK, NOTHING),
        ]  # fmt: skip
        assert await unsends.states(e.connection, lane, asked[:1]) == {asked[0]: TAKEN_BACK}


def part(segment: int) -> Unheard:
    return Unheard(at=datetime.now(UTC), chunk_id=1, pos=2, segment=segment, message_id="a", source="")


async def test_silence_of_one_part_is_no_yes_and_is_said() -> None:
    settings = CarrierSettings(host="h", cancel_sm=True)
    carrier: Any = type("Account", (), {"settings": settings, "name": "acme", "lane": 1, "hears_cancel": None})()
    made, link = Unsending(carrier, app.CLOCK, lambda: pytest.fail("nothing is written here"), 1.0), object()
    made._left[1, 2] = 2
    made._in_flight[link, 9], made._in_flight[link, 10] = part(1), part(2)  # type: ignore[index]
    for number in (9, 10, 10):
        made.on_answer(link, Expired(Sent("cancel_sm", number, 0.0)))  # type: ignore[arg-type]
    assert [(one.of, one.state, one.status) for one in made._ends] == [((1, 2), NOT_TAKEN_BACK, NO_ANSWER)]
    assert made._left == {}
