"""query_sm for what no receipt comes for: real links, a real Postgres."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.config import CarrierSettings
from gateway.dispatch import query
from gateway.dispatch.query import Queries
from gateway.message import FINAL_RECEIPT_STATES
from gateway.simulator.behaviour import Receipts
from gateway.smpp.link import Link
from gateway.smpp.pdu import Pdu
from gateway.smpp.session import Expired, Response, Sent
from gateway.store.queue import Unheard
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import Engine, engine, only_lane, until

ASKS = {"query_sm": True, "query_after_s": 0.2, "query_per_s": 1000}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "LOOK_S", 0.1)
    monkeypatch.setattr(query, "STEP_S", 0.1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, dict[str, Any]]]:
    """When each query_sm left, and its fields."""
    found: list[tuple[float, dict[str, Any]]] = []
    request = Link.request

    def spy(self: Link, command: str, fields: dict[str, Any] | None = None) -> int:
        number = request(self, command, fields)
        if command == "query_sm":
            found.append((app.CLOCK.monotonic(), fields or {}))
        return number

    monkeypatch.setattr(Link, "request", spy)
    return found


def queries_of(e: Engine) -> Queries:
    (worker,) = e.workers
    found = only_lane(worker).queries
    assert found is not None
    return found


async def test_messages_whose_receipts_never_come_are_delivered_by_the_answers(
    dsn: str, ledger: Path, asked: list[Any]
) -> None:
    async with engine(dsn, ledger, receipts=Receipts(missing_share=1.0, delay_ms=1)) as e:
        e.carrier_settings = ASKS
        run = await e.run(numbers(60), template="x" * 200)
        await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 60}
        rows = await e.connection.fetch("SELECT source, state, err, done_at, message_id FROM receipt")
        assert {(row["source"], row["state"], row["err"]) for row in rows} == {("query", 2, "000")}
        assert len({row["message_id"] for row in rows}) == len(rows) == len(asked) == 120
        assert all(row["done_at"] - datetime.now(UTC) < timedelta(minutes=1) for row in rows)
        assert queries_of(e).report() == {"asked": 120, "answered": 120, "refused": 0}
        assert '"queries":{"asked":120' in e.workers[0].report()


async def test_no_second_has_more_questions_than_query_per_s(dsn: str, ledger: Path, asked: list[Any]) -> None:
    async with engine(dsn, ledger, receipts=Receipts(missing_share=1.0, delay_ms=1)) as e:
        e.carrier_settings = ASKS | {"query_per_s": 20}
        run = await e.run(numbers(50))
        await e.start()
        await e.ends(run)
    at = [moment for moment, _ in asked]
    assert len(at) == 50
    assert all(later - earlier > 1.0 for earlier, later in zip(at, at[20:], strict=False))


async def test_questions_take_the_place_of_messages_in_the_rate_of_the_account(
    dsn: str, ledger: Path, asked: list[Any]
) -> None:
    async with engine(dsn, ledger, receipts=Receipts(missing_share=1.0, delay_ms=1)) as e:
        e.carrier_settings = ASKS | {"query_after_s": 600.0, "tps": 30, "adaptive": False}
        run = await e.run(numbers(40))
        await e.start()
        await until(lambda: e.connection.fetchval("SELECT count(*) = 40 FROM outcome"), "all are accepted")
        assert asked == []
        # All of them at once are old enough.
        await e.connection.execute("UPDATE outcome SET at = at - interval '20 minutes'")
        await e.ends(run)
    at = [moment for moment, _ in asked]
    assert len(at) == 40
    assert all(later - earlier > 1.0 for earlier, later in zip(at, at[30:], strict=False))


async def test_nothing_is_asked_when_a_receipt_came(dsn: str, ledger: Path, asked: list[Any]) -> None:
    async with engine(dsn, ledger, receipts=Receipts(delay_ms=1, missing_share=0.5)) as e:
        e.carrier_settings = ASKS | {"query_after_s": 1.0}
        run = await e.run(numbers(100))
        await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 100}
        rows = await e.connection.fetch("SELECT message_id FROM receipt WHERE source IS NULL")
        by_themselves = {row["message_id"] for row in rows}
        assert by_themselves and len(by_themselves) + len(asked) == 100
        assert by_themselves.isdisjoint(fields["message_id"] for _, fields in asked)


async def test_a_receipt_that_comes_while_its_segment_waits_to_be_asked_for_spares_the_question(
    dsn: str, ledger: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(dsn, ledger, receipts=Receipts(missing_share=1.0, delay_ms=1)) as e:
        e.carrier_settings = ASKS | {"query_per_s": 2}
        await e.run(numbers(20))
        await e.start()
        await until(lambda: len(asked) >= 2, "the first are asked for")
        await e.connection.execute(
            "INSERT INTO receipt (chunk_id, at, lane, pos, segment, state, message_id) "
            "SELECT chunk_id, now(), lane, pos, segment, 2, message_id FROM outcome"
        )
        before = len(asked)
        queries = queries_of(e)
        await until(lambda: not queries._lot, "the lot is looked through")
        # Those of the step in which the receipts came were looked up before.
        assert len(asked) - before <= 2


async def test_the_question_names_the_sender_of_the_message(dsn: str, ledger: Path, asked: list[Any]) -> None:
    async with engine(dsn, ledger, receipts=Receipts(missing_share=1.0, delay_ms=1)) as e:
        e.carrier_settings = ASKS | {"short_code_ton": 6}
        run = await e.run(numbers(3))
        await e.connection.execute("UPDATE chunk SET source = '80800'")
        await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 3}
        said = {(f["source_addr"], f["source_addr_ton"], f["source_addr_npi"]) for _, f in asked}
        assert said == {("80800", 6, 0)}


async def test_what_the_smsc_will_not_tell_is_not_asked_for_again(dsn: str, ledger: Path, asked: list[Any]) -> None:
    async with engine(dsn, ledger, receipts=Receipts(missing_share=1.0, delay_ms=1)) as e:
        e.carrier_settings = ASKS | {"query_after_s": 1.0}
        run = await e.run(numbers(5))
        await e.start()
        await until(lambda: e.connection.fetchval("SELECT count(*) = 5 FROM outcome"), "all are accepted")
        # Ids that the SMSC does not know: each question is refused.
        await e.connection.execute("UPDATE outcome SET message_id = 'nobody-' || pos")
        queries = queries_of(e)
        await until(lambda: queries.refused == 5, "all are refused")
        look_at = queries._look_at
        await until(lambda: queries._look_at > look_at + 0.3, "some looks later")
        assert len(asked) == 5 and await e.states(run) == {"submitted": 5}


async def test_what_was_asked_on_a_link_that_is_lost_is_asked_anew(
    dsn: str, ledger: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = False
    request = Link.request

    def cut(self: Link, command: str, fields: dict[str, Any] | None = None) -> int:
        nonlocal lost
        number = request(self, command, fields)
        if command == "query_sm" and not lost:
            lost = True
            self.abort("cut by the test")
        return number

    monkeypatch.setattr(Link, "request", cut)
    async with engine(dsn, ledger, receipts=Receipts(missing_share=1.0, delay_ms=1)) as e:
        e.carrier_settings = ASKS
        run = await e.run(numbers(5))
        await e.start()
        await e.ends(run)
        assert lost and await e.states(run) == {"delivered": 5}
        assert len(asked) == 6 and queries_of(e).refused == 0


def unheard() -> Unheard:
    return Unheard(at=datetime.now(UTC), chunk_id=1, pos=2, segment=1, message_id="a", source="")


def make() -> Queries:
    settings = CarrierSettings(host="h", query_sm=True, query_after_s=60.0)
    carrier: Any = type("Account", (), {"settings": settings, "name": "acme", "lane": 1, "hears_answer": None})()
    return Queries(carrier, app.CLOCK, lambda: pytest.fail("nothing is written here"), 1.0)


def answer(status: int = 0, state: int = 2, final_date: str = "", command: str = "query_sm_resp") -> Response:
    fields = {"message_id": "a", "final_date": final_date, "message_state": state, "error_code": 7}
    body = fields if command == "query_sm_resp" and not status else {}
    pdu = Pdu(command=command, command_status=status, sequence_number=9, fields=body)
    return Response(Sent("query_sm", 9, 0.0), pdu)


@pytest.mark.parametrize("state", [1, *FINAL_RECEIPT_STATES])
def test_an_answer_is_kept_with_its_state_error_and_date(state: int) -> None:
    queries, link = make(), object()
    queries._in_flight[link, 9] = unheard()  # type: ignore[index]
    queries.on_answer(link, answer(state=state, final_date="261122031500000+"))  # type: ignore[arg-type]
    (told,) = queries._told
    assert (told.state, told.err, told.done_at) == (state, "007", datetime(2026, 11, 22, 3, 15, tzinfo=UTC))


@pytest.mark.parametrize(
    "event",
    [
        answer(status=0x67),
        answer(state=10),
        answer(status=3, command="generic_nack"),
        Expired(Sent("query_sm", 9, 0.0)),
    ],
)
def test_refusals_and_silence_are_counted_and_say_nothing_of_the_message(event: Response | Expired) -> None:
    queries, link = make(), object()
    queries._in_flight[link, 9] = unheard()  # type: ignore[index]
    queries.on_answer(link, event)  # type: ignore[arg-type]
    queries.on_answer(link, event)  # type: ignore[arg-type]
    assert (queries._told, queries.refused, list(queries._not_before)) == ([], 1, [(1, 2, 1)])


def test_a_final_date_that_is_none_leaves_the_state() -> None:
    queries, link = make(), object()
    queries._in_flight[link, 9] = unheard()  # type: ignore[index]
    queries.on_answer(link, answer(final_date="yesterday"))  # type: ignore[arg-type]
    assert [(told.state, told.done_at) for told in queries._told] == [(2, None)]
