"""A campaign from the event to the handset: a real worker, a real socket, the gate between."""

import asyncio
import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway import app
from gateway.app import Database
from gateway.message import Refusal
from gateway.reasons import Reason
from gateway.simulator import behaviour
from gateway.simulator.smsc import Smsc
from gateway.store import results, runs
from tests.fixtures.engine import until
from tests.fixtures.shop import Shop, settings_of

ANN, BOB = 447700900001, 447700900002
NOW_SHOP = """
name = "seen"
brand = "acme"
class = "transactional"
message = {text = "Thank you for {{ order }}."}
aim = "to confirm"
[trigger]
on = "event"
event = "order_told"
[[exceptions]]
event = "order_undone"
"""


def texts_in(ledger: Path) -> list[str]:
    found = []
    for line in ledger.read_text().splitlines():
        told = json.loads(line)
        if "text" in told:
            found.append(told["text"])
    return found


async def test_event_is_a_text_on_the_handset_within_a_second_or_so(dsn: str, tmp_path: Path) -> None:
    """S2.10: event -> message for a step without a wait; X.3: its end comes back as an event of the person."""
    ledger = tmp_path / "ledger"
    wanted = behaviour.Settings(seed=1, ledger=str(ledger), ledger_text=True, carrier=(behaviour.Carrier(),))
    async with Smsc(wanted) as smsc:
        settings = settings_of(dsn, str(tmp_path), port=smsc.port, system_id="test", password="x")
        shop = await Shop.open(dsn, settings)
        shop.now = datetime.now(UTC)
        await shop.people([ANN, BOB])
        await shop.apply(NOW_SHOP)
        # Who turned the jobs by hand is gone: the worker takes them.
        await shop.connection.execute("DELETE FROM worker WHERE instance = 'shop'")
        database = Database(dsn, None, settings)
        async with app.open_worker(settings, database, chance=random.Random(1)):
            begun = asyncio.get_running_loop().time()
            shop.now = datetime.now(UTC)
            await shop.tells(ANN, "order_told", {"order": "A-1"}, at=shop.now)
            await until(lambda: smsc.totals()["submits"] >= 1, "a text was submitted")
            took = asyncio.get_running_loop().time() - begun
            await until(lambda: _has(shop, ANN, "delivered"), "the end was told")
        assert took < 5.0, took
        shop.close()


async def _has(shop: Shop, number: int, name: str) -> bool:
    return bool(
        await shop.connection.fetchval(
            "SELECT count(*) FROM person_event v JOIN profile p ON p.id = v.profile "
            "WHERE p.number = $1 AND v.name = $2",
            number,
            name,
        )  # fmt: skip
    )


async def test_exception_that_was_committed_before_the_gate_wins_whatever_stands_in_the_queue(
    dsn: str, tmp_path: Path
) -> None:
    """EX-2: the text is in the queue already when what forestalls it is told."""
    async with Smsc(behaviour.Settings(seed=1, carrier=(behaviour.Carrier(),))) as smsc:
        settings = settings_of(dsn, str(tmp_path), port=smsc.port, system_id="test", password="x")
        shop = await Shop.open(dsn, settings)
        shop.now = datetime.now(UTC)
        await shop.people([ANN, BOB])
        await shop.apply(NOW_SHOP)
        for number in (ANN, BOB):
            await shop.tells(number, "order_told", {"order": str(number)})
        await shop.goes_on(timedelta(seconds=1))
        assert len(await shop.texts()) == 2
        await shop.tells(ANN, "order_undone", at=shop.now)
        await shop.connection.execute("DELETE FROM worker WHERE instance = 'shop'")
        async with app.open_worker(settings, Database(dsn, None, settings), chance=random.Random(1)):
            await until(lambda: smsc.totals()["submits"] >= 1, "a text was submitted")
            await until(lambda: _is_done(shop), "both are decided")
        assert smsc.totals()["submits"] == 1
        assert await shop.connection.fetch("SELECT status FROM outcome WHERE status < 0") == [(Reason.EXCEPTION,)]
        shop.close()


async def test_exception_takes_out_what_is_held_and_finds_what_is_late_within_two_seconds_EX_2_EX_3(
    dsn: str, tmp_path: Path
) -> None:
    """Ann's text waits for tomorrow; Bob's has left and his handset is off."""
    carrier = behaviour.Carrier(receipts=behaviour.Receipts(delay_ms=3_600_000))
    async with Smsc(behaviour.Settings(seed=1, carrier=(carrier,))) as smsc:
        settings = settings_of(dsn, str(tmp_path), port=smsc.port, system_id="test", password="x")
        shop = await Shop.open(dsn, settings)
        shop.now = datetime.now(UTC)
        await shop.people([ANN, BOB])
        await shop.apply(NOW_SHOP)
        await shop.tells(ANN, "order_told", {"order": "A"})
        await shop.goes_on()
        await shop.connection.execute("UPDATE chunk SET not_before = $1", shop.now + timedelta(days=1))
        await shop.connection.execute("DELETE FROM worker WHERE instance = 'shop'")
        async with app.open_worker(settings, Database(dsn, None, settings), chance=random.Random(1)):
            shop.now = datetime.now(UTC)
            await shop.tells(BOB, "order_told", {"order": "B"})
            await until(lambda: smsc.totals()["submits"] >= 1, "a text was submitted")
            began = asyncio.get_running_loop().time()
            shop.now = datetime.now(UTC)
            for number in (ANN, BOB):
                await shop.tells(number, "order_undone", at=shop.now)
            await until(lambda: _stands(shop, ANN, 1), "the held text is out, and counted as prevented")
            out_s = asyncio.get_running_loop().time() - began
            assert await shop.connection.fetch("SELECT status FROM outcome WHERE status < 0") == [(Reason.EXCEPTION,)]
            await until(lambda: _stands(shop, BOB, 2), "the other one is late")
            late_s = asyncio.get_running_loop().time() - began
        # Two seconds are meant; a machine that does other things has some more.
        assert out_s < 5.0 and late_s < 5.0, (out_s, late_s)
        shop.close()


async def test_of_a_chunk_that_lost_a_text_a_worker_sends_the_others_and_all_have_their_end_EX_2(
    dsn: str, tmp_path: Path
) -> None:
    async with Smsc(behaviour.Settings(seed=1, carrier=(behaviour.Carrier(),))) as smsc:
        settings = settings_of(dsn, str(tmp_path), port=smsc.port, system_id="test", password="x")
        shop = await Shop.open(dsn, settings)
        shop.now = datetime.now(UTC)
        numbers = range(ANN, ANN + 9)
        await shop.people(numbers)
        await shop.apply(NOW_SHOP)
        for number in numbers:
            await shop.tells(number, "order_told", {"order": str(number)})
        await shop.goes_on(timedelta(milliseconds=10))
        for number in numbers[:4]:
            await shop.tells(number, "order_undone", at=shop.now)
        await shop.goes_on()
        assert await shop.connection.fetchval("SELECT count(*) FROM outcome") == 4
        assert await shop.connection.fetchval("SELECT count(*) FROM chunk WHERE repeats IS NULL") == 1
        await shop.connection.execute("DELETE FROM worker WHERE instance = 'shop'")
        async with app.open_worker(settings, Database(dsn, None, settings), chance=random.Random(1)):
            await until(lambda: _is_done(shop), "nothing is left to send")
        assert smsc.totals()["submits"] == 5
        [run] = await runs.recent_runs(shop.connection)
        states = await results.states(shop.connection, run.id, shop.now - timedelta(days=1), datetime.now(UTC))
        found = Counter[bool]()
        for one in states:
            found[one.state == "refused"] += one.messages
        assert found == {True: 4, False: 5} and run.recipients == 9
        shop.close()


async def test_texts_go_no_faster_than_the_clicks_that_their_site_bears_TH_4(dsn: str, tmp_path: Path) -> None:
    """Ten a second, of which all are opened, as far as is known: twenty at once take two seconds."""
    numbers = range(ANN, ANN + 20)
    async with Smsc(behaviour.Settings(seed=1, carrier=(behaviour.Carrier(),))) as smsc:
        settings = settings_of(dsn, str(tmp_path), port=smsc.port, system_id="test", password="x")
        shop = await Shop.open(dsn, settings)
        shop.now = datetime.now(UTC)
        await shop.people(numbers)
        await shop.apply(NOW_SHOP.replace('order }}."', 'order }}.", clicks = "600/m", click_share = "100%"'))
        for number in numbers:
            await shop.tells(number, "order_told", {"order": str(number)})
        await shop.goes_on()
        await shop.connection.execute("DELETE FROM worker WHERE instance = 'shop'")
        async with app.open_worker(settings, Database(dsn, None, settings), chance=random.Random(1)):
            await until(lambda: smsc.totals()["submits"] >= 1, "the first one was submitted")
            began = asyncio.get_running_loop().time()
            await until(lambda: smsc.totals()["submits"] >= 20, "all were submitted")
            took = asyncio.get_running_loop().time() - began
        assert took > 1.0, took
        shop.close()


async def _stands(shop: Shop, number: int, state: int) -> bool:
    found = await shop.connection.fetchval(
        "SELECT x.state FROM excepted x JOIN enrolment e ON e.id = x.enrolment WHERE e.number = $1", number
    )
    return bool(found == state)


async def _is_done(shop: Shop) -> bool:
    return not await shop.connection.fetchval("SELECT count(*) FROM chunk WHERE state < 2")


@pytest.mark.covers("S4.80")
async def test_code_that_is_too_old_never_leaves(dsn: str, tmp_path: Path) -> None:
    """TH-6: a login code lives for five minutes, from when its text was made; the handset's too (X.4)."""
    async with Smsc(behaviour.Settings(seed=1, carrier=(behaviour.Carrier(),))) as smsc:
        settings = settings_of(dsn, str(tmp_path), port=smsc.port, system_id="test", password="x")
        shop = await Shop.open(dsn, settings)
        await shop.people([ANN, BOB])
        await shop.apply(
            NOW_SHOP.replace('class = "transactional"', 'class = "otp"\nexpires = "5m"')
            .replace("[[exceptions]]", "").replace('event = "order_undone"', "")
        )  # fmt: skip
        shop.now = datetime.now(UTC) - timedelta(minutes=6)
        await shop.tells(ANN, "order_told", {"order": "111111"})
        await shop.goes_on(timedelta(seconds=1))
        shop.now = datetime.now(UTC) - timedelta(minutes=1)
        await shop.tells(BOB, "order_told", {"order": "222222"})
        await shop.goes_on(timedelta(seconds=1))
        assert len(await shop.texts()) == 2
        await shop.connection.execute("DELETE FROM worker WHERE instance = 'shop'")
        async with app.open_worker(settings, Database(dsn, None, settings), chance=random.Random(1)):
            await until(lambda: _is_done(shop), "both are decided")
        assert smsc.totals()["submits"] == 1
        assert await shop.connection.fetch("SELECT status FROM outcome WHERE status < 0") == [(Refusal.EXPIRED,)]
        shop.close()
