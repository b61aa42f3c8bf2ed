"""Double opt-in over the simulator: one text, a YES of the handset, a grant with both proofs (CN-4)."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.campaign.consent import states_of
from gateway.consent import Fact, State, faults_of
from gateway.dispatch import requests
from gateway.dispatch.requests import Question
from gateway.simulator.behaviour import Inbound
from gateway.simulator.ledger import read
from gateway.store import consents, postgres, stops
from tests.fixtures.engine import engine, until

DAY = datetime(2026, 3, 3, 12, tzinfo=UTC)
BERLIN, LONDON, SHANGHAI = 4915112345678, 447700900005, 8613800138000
ASKS = "Acme: reply YES for 4 texts a month, STOP to end."


def question(lane: int = 1, **how: Any) -> Question:
    values = {"brand": "acme", "class_": "promotional", "words": ASKS, "lane": lane, "carrier": "acme"}
    return Question(**{**values, **how})


@pytest.fixture
async def connection(dsn: str) -> Any:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


async def standing(connection: Any, number: int, brand: str = "acme") -> State:
    return (await consents.states_of(connection, [number]))[number][brand].promotional


async def asked(connection: Any, now: datetime, *numbers: int, keeps_hours: bool = False, **how: Any) -> requests.Asked:
    return await requests.ask(connection, numbers, question(**how), now, keeps_hours=keeps_hours)


async def yes(connection: Any, number: int, now: datetime, destination: str = "12345", id_: int = 7) -> list[str]:
    return await requests.confirm(connection, number, destination, "Yes!", id_, now)


@pytest.mark.covers("S4.36")
async def test_cn_4_a_yes_from_the_handset_makes_a_grant_with_both_proofs_over_the_wire(
    dsn: str, tmp_path: Path
) -> None:
    """Each number that is asked answers by itself, a moment later, as the simulator's handsets do."""
    ledger = tmp_path / "ledger.csv"
    inbound = Inbound(texts=("Yes please",), reply_share=1, reply_delay_ms=50)
    people = [LONDON, LONDON + 1, BERLIN]
    async with engine(dsn, ledger, inbound=inbound) as e:
        await e.start()
        what = question(await e.lane(), sender="12345")
        done = await requests.ask(e.connection, people, what, app.CLOCK.wall(), keeps_hours=False)
        assert sorted(done.numbers) == sorted(people) and not done.refused

        async def are_granted() -> bool:
            found = await consents.states_of(e.connection, people)
            return all(found[one]["acme"].promotional == State.GRANTED for one in people)

        await until(are_granted, "all have confirmed")
        rows = (await consents.rows_of(e.connection, [BERLIN]))[BERLIN]
        first, second = (link.fact for link in rows.links)
        assert (first.action, first.wording, second.action) == ("pending", ASKS, "confirm")
        assert second.wording == f"{ASKS}\nYes please" and second.message_id is not None
        assert faults_of(rows.links, rows.head_id, rows.head_hash) == []

        async def is_told() -> bool:
            found = await e.connection.fetch("SELECT kind FROM event WHERE kind <> 'inbound.received'")
            return [row["kind"] for row in found] == ["consent.confirmed"] * 3

        await until(is_told, "each is told of, and nothing else is")
    assert sorted(int(one.destination) for one in read(ledger)) == sorted(people)


async def test_cn_4_two_who_ask_at_once_ask_once_and_nobody_is_asked_again_for_90_days(
    dsn: str, connection: Any
) -> None:
    others = [await postgres.connect(dsn) for _ in range(8)]
    try:
        done = await asyncio.gather(*(asked(one, DAY, LONDON) for one in others))
    finally:
        for one in others:
            await postgres.close(one)
    assert sum(len(one.numbers) for one in done) == 1
    assert await connection.fetchval("SELECT sum(n) FROM chunk") == 1
    later = DAY + timedelta(days=89)
    assert not (await asked(connection, later, LONDON)).numbers
    assert (await asked(connection, later, LONDON, brand="other")).numbers == [LONDON]
    assert (await asked(connection, DAY + timedelta(days=91), LONDON)).numbers == [LONDON]


async def test_cn_4_where_the_law_says_once_nobody_is_ever_asked_again(connection: Any) -> None:
    assert (await asked(connection, DAY, SHANGHAI)).numbers == [SHANGHAI]
    again = await asked(connection, DAY + timedelta(days=400), SHANGHAI)
    assert not again.numbers and SHANGHAI in again.refused


async def test_cn_4_nobody_is_asked_after_a_no_or_a_yes_or_a_stop_of_the_feed(connection: Any) -> None:
    how = {
        "class_": "promotional", "source": "form", "recorded_at": DAY, "effective_at": DAY, "method": "m",
        "wording": "w",
    }  # fmt: skip
    facts = [
        Fact(number=LONDON, brand="acme", action="revoke", **how),
        Fact(number=LONDON + 1, brand="acme", action="grant", **how),
    ]
    await consents.append(connection, facts, states_of)
    await stops.enter(connection, [LONDON + 2], ["*"], is_stop=True, at=DAY, source="keyword")
    done = await asked(connection, DAY + timedelta(days=100), LONDON, LONDON + 1, LONDON + 2, LONDON + 3)
    assert done.numbers == [LONDON + 3] and done.refused[LONDON + 2] == "has a STOP by keyword"


@pytest.mark.covers("S4.36")
async def test_cn_4_a_yes_of_the_next_day_confirms_nothing(connection: Any) -> None:
    await asked(connection, DAY, LONDON)
    assert await yes(connection, LONDON, DAY + timedelta(hours=24)) == []
    assert await yes(connection, LONDON, DAY + timedelta(hours=23, minutes=59)) == ["acme"]
    assert await standing(connection, LONDON) == State.GRANTED


async def test_cn_4_a_yes_that_comes_again_confirms_once(connection: Any) -> None:
    await asked(connection, DAY, LONDON)
    now = DAY + timedelta(minutes=1)
    assert [await yes(connection, LONDON, now) for _ in range(3)] == [["acme"], [], []]
    assert (await consents.rows_of(connection, [LONDON]))[LONDON].head_id == 2


async def test_cn_4_a_yes_answers_the_request_of_the_number_that_it_is_written_to(connection: Any) -> None:
    await asked(connection, DAY, LONDON, sender="12345")
    await asked(connection, DAY, LONDON, brand="other", sender="+44 7700 900 999")
    assert await yes(connection, LONDON, DAY, "55555") == []
    assert await yes(connection, LONDON, DAY, "447700900999") == ["other"]
    assert await standing(connection, LONDON) == State.PENDING


async def test_cn_4_a_yes_after_a_stop_confirms_nothing(connection: Any) -> None:
    await asked(connection, DAY, LONDON)
    how = {"recorded_at": DAY, "effective_at": DAY + timedelta(minutes=1), "source": "keyword"}
    await consents.append(connection, [Fact(number=LONDON, brand="*", class_="all", action="revoke", **how)], states_of)
    assert await yes(connection, LONDON, DAY + timedelta(minutes=2)) == []


async def test_qh_people_of_a_file_are_asked_by_day_and_who_has_just_asked_for_it_at_once(connection: Any) -> None:
    night = datetime(2026, 3, 3, 2, tzinfo=UTC)
    by_night = await asked(connection, night, BERLIN, LONDON, keeps_hours=True)
    assert not by_night.numbers and "hours" in by_night.refused[BERLIN]
    assert (await asked(connection, night, LONDON)).numbers == [LONDON]
    assert (await asked(connection, DAY, BERLIN, keeps_hours=True)).numbers == [BERLIN]
