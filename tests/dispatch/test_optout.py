"""STOP from a handset: in the feed before it is kept, in force before it is answered, confirmed once."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from _fastpath.alphabet import encode
from gateway import app
from gateway.config import CarrierSettings, KeywordSettings
from gateway.dispatch.intake import Intake
from gateway.dispatch.optout import OptOuts
from gateway.dispatch.stops import Acknowledged, Stops
from gateway.dispatch.worker import Worker
from gateway.errors import StoreError
from gateway.message import MessageClass, literal
from gateway.simulator.behaviour import Inbound
from gateway.simulator.ledger import lines, read
from gateway.store.inbound import Message
from gateway.store.stops import Heard
from tests.dispatch.test_intake import FakeLedger, FakeLink
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import engine, only_lane, until
from tests.fixtures.handset import deliver, in_parts

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
HANDSET = 447700900005


class FakeStops:
    """Takes entries down; acknowledges when the test lets it."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, str, bool]] = []
        self.in_force = asyncio.Event()
        self.fails = 0
        self.doubted: set[int] = set()

    async def doubt(self, numbers: list[int], note: str = "") -> tuple[int, set[int]]:
        new = set(numbers) - self.doubted
        self.doubted |= new
        return len(self.heard), new

    async def is_in_doubt(self, number: int) -> bool:
        return number in self.doubted

    async def lift_doubt(self, number: int, note: str = "") -> bool:
        self.doubted.discard(number)
        return True

    async def hear(self, heard: Any, note: str = "") -> tuple[int, list[bool]]:
        if self.fails:
            self.fails -= 1
            raise StoreError("away", retryable=True)
        self.heard += heard
        return len(self.heard), [True] * len(heard)

    async def head(self) -> int:
        return len(self.heard)

    async def acknowledge(self, seq: int) -> Acknowledged:
        await self.in_force.wait()
        return Acknowledged(seq=seq)


async def nobody_waits(*_: Any) -> list[str]:
    return []


async def is_asked(message: Message, *_: Any) -> bool:
    return message.destination == "asks"


def made(fake: FakeStops, keywords: KeywordSettings | None = None, **settings: Any) -> tuple[OptOuts, Intake, FakeLink]:
    async def connect() -> Any:
        raise StoreError("no database here", retryable=True)

    carrier = CarrierSettings(host="x", **settings)
    opt_outs = OptOuts(
        "acme", 1, carrier, keywords or KeywordSettings(), fake, app.CLOCK, connect, 1.0,  # type: ignore[arg-type]
        is_paused=lambda number: number in fake.doubted,
    )  # fmt: skip
    opt_outs._confirmed = nobody_waits  # type: ignore[method-assign]
    opt_outs._is_asked = is_asked  # type: ignore[method-assign]
    return opt_outs, Intake(FakeLedger(), app.CLOCK, 1, carrier, opt_outs), FakeLink()  # type: ignore[arg-type]


def message(text: str, id_: int = 1, source: str = str(HANDSET), destination: str = "12345") -> Message:
    return Message(
        id=id_, at=AT, source=source, destination=destination, text=text, alphabet="gsm7", is_lossy=False, pdus=(id_,)
    )


async def test_only_the_answer_to_a_stop_waits_until_it_is_in_force() -> None:
    fake = FakeStops()
    opt_outs, intake, link = made(fake)
    intake.on_request(link, deliver(b"STOP", number=1))
    intake.on_request(link, deliver(b"hello", number=2))
    taken = intake.take()
    assert taken.came is not None and taken.came.hear is not None
    events = await taken.came.hear([one.message for one in taken.messages if one.message])
    assert [one.kind for one in events] == ["stop.received"] and fake.heard == [(447700900000, "*", True)]
    intake.answer(taken)
    await asyncio.sleep(0)
    assert link.answers == [(2, 0)]
    fake.in_force.set()
    await until(lambda: link.answers == [(2, 0), (1, 0)], "the STOP is answered")
    await opt_outs.close()


async def test_flush_that_is_tried_again_enters_a_stop_once_and_one_that_failed_before_enters_it_then() -> None:
    fake = FakeStops()
    fake.fails = 1
    opt_outs, _, _ = made(fake)
    one = message("Stop!")
    with pytest.raises(StoreError):
        await opt_outs.hear([one])
    first = await opt_outs.hear([one])
    assert await opt_outs.hear([one]) == first and len(fake.heard) == 1
    assert opt_outs.conclude((), (), lambda _: None) == set()
    await opt_outs.hear([message("Stop!")])
    assert len(fake.heard) == 2


async def test_stop_that_comes_again_before_it_is_in_force_waits_as_well() -> None:
    fake = FakeStops()
    opt_outs, intake, link = made(fake)
    for number in (1, 2):
        intake.on_request(link, deliver(b"STOP", number=number))
        taken = intake.take()
        if number == 1:
            assert taken.came is not None and taken.came.hear is not None
            await taken.came.hear([one.message for one in taken.messages if one.message])
        intake.answer(taken)
        await asyncio.sleep(0)
    assert link.answers == []
    fake.in_force.set()
    await until(lambda: sorted(link.answers) == [(1, 0), (2, 0)], "both are answered")
    await opt_outs.close()


async def test_stop_of_a_worker_that_ends_is_not_answered() -> None:
    fake = FakeStops()
    opt_outs, intake, link = made(fake)
    intake.on_request(link, deliver(b"STOP", number=1))
    intake.answer(intake.take())
    await asyncio.sleep(0)
    await opt_outs.close()
    fake.in_force.set()
    assert link.answers == []


@pytest.mark.parametrize(
    ("keywords", "settings", "text", "source", "heard"),
    [
        (None, {}, "stop", "+447700900005", (HANDSET, "*", True)),
        (None, {"inbound_prefix": "44"}, "stop", "07700900005", (HANDSET, "*", True)),
        (KeywordSettings(scope="sender"), {}, "STOP", "447700900005", (HANDSET, "sender:12345", True)),
        (KeywordSettings(stop=("genug",)), {}, "Genug!", "447700900005", (HANDSET, "*", True)),
        (None, {}, "START", "447700900005", (HANDSET, "*", False)),
        (None, {}, "stop", "Brand", None),
        (None, {}, "hello", "447700900005", None),
    ],
)
async def test_who_is_stopped_where(
    keywords: KeywordSettings | None, settings: dict[str, Any], text: str, source: str, heard: Any
) -> None:
    fake = FakeStops()
    opt_outs, _, _ = made(fake, keywords, **settings)
    events = await opt_outs.hear([message(text, source=source)])
    assert fake.heard == ([heard] if heard else []) and len(events) == len(fake.heard)


@pytest.mark.covers("S4.35")
async def test_cn_6_a_yes_of_somebody_who_was_stopped_is_a_start_and_a_help_enters_nothing() -> None:
    fake = FakeStops()
    opt_outs, _, _ = made(fake, help_reply="Acme. Reply STOP to end.")
    assert [one.kind for one in await opt_outs.hear([message("yes")])] == ["start.received"]
    opt_outs.conclude((), (), lambda _: None)
    assert await opt_outs.hear([message("HELP", 2), message("help", 3)]) == []
    assert len(fake.heard) == 1 and [one.wish for one in opt_outs._replies] == ["help"]
    await opt_outs.close()


async def test_cn_6_a_yes_of_anybody_else_is_an_ordinary_answer() -> None:
    class NothingToLift(FakeStops):
        async def hear(self, heard: Any, note: str = "") -> tuple[int, list[Any]]:
            return 0, [Heard.REPEATED] * len(heard)

    opt_outs, _, _ = made(NothingToLift())
    assert await opt_outs.hear([message("yes"), message("Ja", 2)]) == []


async def test_cn_6_a_yes_to_whom_a_workflow_asks_something_is_its_answer_and_a_stop_is_a_stop() -> None:
    fake = FakeStops()
    opt_outs, _, _ = made(fake)
    assert await opt_outs.hear([message("yes", destination="asks"), message("Ja", 2, destination="asks")]) == []
    assert fake.heard == []
    heard = [message("STOP", 3, destination="asks"), message("START", 4, destination="asks")]
    assert [one.kind for one in await opt_outs.hear(heard)] == ["stop.received", "start.received"]
    assert [one.kind for one in await opt_outs.hear([message("yes", 5)])] == ["start.received"]
    await opt_outs.close()


DOUBTFUL = "los voy a bloquear"


async def test_cn_5_a_doubt_pauses_and_asks_once_and_an_ordinary_answer_lifts_it() -> None:
    fake = FakeStops()
    opt_outs, _, _ = made(fake, doubt_reply="Reply STOP to end", doubt_replies={"44": "STOP ends it", "4": "no"})
    (event,) = await opt_outs.hear([message(DOUBTFUL)])
    assert event.kind == "doubt.received" and event.body["is_new"] and fake.heard == []
    assert [(one.wish, one.text) for one in opt_outs._replies] == [("doubt", "STOP ends it")]
    (again,) = await opt_outs.hear([message(DOUBTFUL, 2)])
    assert not again.body["is_new"] and len(opt_outs._replies) == 1
    (lifted,) = await opt_outs.hear([message("see you at five", 3)])
    assert lifted.kind == "doubt.lifted" and not fake.doubted
    assert await opt_outs.hear([message("see you at six", 4)]) == []
    await opt_outs.close()


async def test_cn_6_a_yes_says_nothing_while_our_question_is_open_and_a_stop_and_a_start_do() -> None:
    fake = FakeStops()
    opt_outs, _, _ = made(fake)
    fake.doubted.add(HANDSET)
    assert await opt_outs.hear([message("yes")]) == [] and fake.heard == [] and fake.doubted
    assert [one.kind for one in await opt_outs.hear([message("START", 2)])] == ["start.received"]
    assert [one.kind for one in await opt_outs.hear([message("STOP", 3)])] == ["stop.received"]
    await opt_outs.close()


async def test_cn_5_a_doubt_is_an_ordinary_message_where_the_settings_say_so() -> None:
    fake = FakeStops()
    opt_outs, _, _ = made(fake, KeywordSettings(doubt="ignore"), doubt_reply="Reply STOP to end")
    assert await opt_outs.hear([message(DOUBTFUL)]) == [] and not fake.doubted and not opt_outs._replies


async def test_cn_5_a_doubt_of_a_handset_ends_what_is_promotional_alone_and_is_asked_about(
    dsn: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.csv"
    async with engine(dsn, ledger, inbound=Inbound(per_s=20, texts=(DOUBTFUL,), source=str(HANDSET))) as e:
        e.carrier_settings = {"doubt_reply": "Reply STOP to end all messages"}
        worker = await e.start()
        await until(lambda: worker.feed.numbers > 0, "somebody is in doubt")
        await until(lambda: any(one.source == "12345" for one in read(ledger)), "it is asked")
        (number,) = {int(one.destination) for one in read(ledger) if one.source == "12345"} & {
            row["number"]
            for row in await e.connection.fetch("SELECT number FROM stop_feed WHERE source = 'doubt' LIMIT 1")
        } or {0}
        assert worker.feed.is_paused(number)
        reached = {
            class_: any(number in numbers for numbers in worker.feed.suppressed(class_, "12345"))
            for class_ in MessageClass
        }
        assert {class_ for class_, is_reached in reached.items() if is_reached} == {
            MessageClass.TRIGGERED, MessageClass.BULK,
        }  # fmt: skip


def test_reply_says_just_what_is_written_in_the_settings() -> None:
    assert literal('You "{{ name }}" are out \\o/') == '{{ "You \\"{{ name }}\\" are out \\\\o/" }}'


def answered(ledger: Path) -> dict[int, int]:
    """When the first STOP of each handset was answered, by the simulator's ledger."""
    asked = {(row[2], row[3]): int(row[4]) for row in lines(ledger) if row[0] == "M"}
    found: dict[int, int] = {}
    for row in lines(ledger):
        if row[0] == "K" and (row[2], row[3]) in asked and row[5] == "0":
            found.setdefault(asked[row[2], row[3]], int(row[1]))
    return found


def stopped(worker: Worker) -> bool:
    """Whether anybody is."""
    return worker.feed.numbers > 0


@pytest.mark.covers("S4.34", "S4.33")
async def test_stops_of_handsets_end_their_messages_and_are_confirmed_once(dsn: str, tmp_path: Path) -> None:
    """S1, by the simulator's ledger alone: behind the answer to a STOP nothing goes to that handset, but one reply."""
    ledger = tmp_path / "ledger.csv"
    inbound = Inbound(per_s=100, texts=("STOP", "Stop please"), source=str(HANDSET))
    async with engine(dsn, ledger, inbound=inbound) as e:
        e.carrier_settings = {"stop_reply": 'No more {{ from }} "us".', "tps": 500, "adaptive": False}
        run = await e.run(numbers(1000))
        worker = await e.start()
        await e.ends(run)

        await until(lambda: only_lane(worker).opt_outs.stopped > 100, "a hundred have stopped")
        # Read only when all is over: a look at the ledger each moment would keep the worker from its work.
        await e.stop(worker)
        first_answers = answered(ledger)
        assert len(first_answers) > 50
        late = [one for one in read(ledger) if one.source != "12345"]
        late = [one for one in late if one.at_ns > first_answers.get(int(one.destination), one.at_ns)]
        replies = [int(one.destination) for one in read(ledger) if one.source == "12345"]
        assert late == [] and len(replies) == len(set(replies)) > 50
        rows = await e.connection.fetch("SELECT body ->> 'number' AS n FROM event WHERE body ->> 'is_new' = 'true'")
        assert len(rows) == len({row["n"] for row in rows}) >= len(first_answers)
        sets = worker.feed.suppressed(MessageClass.BULK, "")
        assert all(number in sets[0] for number in first_answers)


async def test_no_answer_to_a_stop_while_the_feed_cannot_be_written(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault of the database: the message comes again, and is obeyed then."""
    ledger = tmp_path / "ledger.csv"

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreError("away", retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(Stops, "hear", away)
        async with engine(dsn, ledger, inbound=Inbound(per_s=5, texts=("STOP",), source=str(HANDSET))) as e:
            worker = await e.start()
            await until(lambda: only_lane(worker).settlement.is_away, "it cannot be written")
            assert not any(fields[0] == "K" for fields in lines(ledger)) and not stopped(worker)
            assert await e.connection.fetchval("SELECT count(*) FROM inbound") == 0
            patch.undo()
            await until(lambda: stopped(worker), "it is obeyed")
            await until(lambda: any(fields[0] == "K" for fields in lines(ledger)), "it is answered")


async def test_stop_in_several_parts_is_entered_before_its_last_part_is_answered(dsn: str, tmp_path: Path) -> None:
    async with engine(dsn, tmp_path / "ledger.csv") as e:
        worker = await e.start()
        lane, link = only_lane(worker), FakeLink()
        for part in in_parts([encode("ST", "gsm7"), encode("OP", "gsm7")], "udh8", source=str(HANDSET)):
            lane.intake.on_request(link, part)  # type: ignore[arg-type]
        await until(lambda: len(link.answers) == 2, "both parts are answered")
        assert stopped(worker)
