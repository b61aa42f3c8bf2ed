"""What comes from the SMSC beside responses: kept once, answered when durable, never a reason to fall over."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from _fastpath.inbound import Reading
from gateway import app
from gateway.config import CarrierSettings
from gateway.dispatch.intake import INBOUND_HIGH, PATIENCE_S, Intake, fingerprint_of, first_id_of
from gateway.simulator.behaviour import Account, Inbound, Receipts
from gateway.simulator.ledger import lines
from gateway.smpp.pdu import Pdu, Tlv
from gateway.smpp.spec import TAG_BY_NAME
from gateway.smpp.status import RMSGQFUL
from gateway.store import events, inbound, postgres
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import engine, only_lane, until
from tests.fixtures.handset import deliver, in_parts

ID, STATE = TAG_BY_NAME["receipted_message_id"], TAG_BY_NAME["message_state"]


class FakeLedger:
    """Takes receipts down."""

    def __init__(self) -> None:
        self.receipts: list[tuple[Any, ...]] = []
        self.reading = Reading()

    def take_receipt(self, *arguments: Any) -> None:
        self.receipts.append(arguments)


class FakeLink:
    """Takes answers down."""

    def __init__(self) -> None:
        self.owed: list[int] = []
        self.answers: list[tuple[int, int]] = []
        self.session = self
        self.exchange = self
        self.received_at = 0.0
        self.is_lost = False

    def owe(self, pdu: Pdu) -> None:
        self.owed.append(pdu.sequence_number)

    def flush_session(self) -> None:
        """Write nowhere."""

    def respond(self, pdu: Pdu, status: int = 0, *, now: float) -> None:
        self.answers.append((pdu.sequence_number, status))


RECEIPT = b"id:abc sub:001 dlvrd:001 submit date:2601020304 done date:2601020304 stat:DELIVRD err:000 text:x"


@pytest.fixture
def parts() -> tuple[Intake, FakeLedger, FakeLink]:
    ledger = FakeLedger()
    return Intake(ledger, app.CLOCK, 1, CarrierSettings(host="x")), ledger, FakeLink()  # type: ignore[arg-type]


def test_a_message_of_a_handset_is_kept_and_answered_by_the_flush(parts: Any) -> None:
    intake, _, link = parts
    intake.on_request(link, deliver(b"STOP"))
    taken = intake.take()
    (message,) = taken.messages
    assert (message.source, message.destination, message.octets) == ("447700900000", "12345", b"STOP")
    assert [pdu.sequence_number for _, pdu in taken.unanswered] == [7] and link.answers == [] and taken
    assert not intake.take()


def test_a_receipt_by_deliver_sm_is_owed_and_one_by_data_sm_is_answered_by_the_flush(parts: Any) -> None:
    intake, ledger, link = parts
    for command in ("deliver_sm", "data_sm"):
        intake.on_request(link, deliver(RECEIPT, esm_class=4, command=command))
    assert [receipt[:4] for receipt in ledger.receipts] == [(b"abc", 2, b"000", 447700900000)] * 2
    taken = intake.take()
    assert link.owed == [7] and [pdu.command for _, pdu in taken.unanswered] == ["data_sm"] and not taken.messages


@pytest.mark.parametrize(
    "pdu",
    [
        deliver(b"no receipt at all", esm_class=4),
        deliver(b"", esm_class=4),
        deliver(b"id: stat:DELIVRD", esm_class=4),
        deliver(b"id:" + b"9" * 200 + b" stat:DELIVRD err:000", esm_class=4),
        deliver(b"", esm_class=4, tlvs=(Tlv(ID, b"7" * 64 + b"8\0"), Tlv(STATE, b"\x02"))),
        deliver(b"", esm_class=4, tlvs=(Tlv(ID, b"\0"),)),
        deliver(RECEIPT, esm_class=0),
    ],
    ids=["words", "empty", "no id", "long id", "long TLV", "empty TLV", "no esm_class"],
)
def test_a_receipt_that_cannot_be_read_is_kept_as_it_came(parts: Any, pdu: Pdu) -> None:
    intake, ledger, link = parts
    intake.on_request(link, pdu)
    taken = intake.take()
    assert ledger.receipts == [] and len(taken.messages) == len(taken.unanswered) == 1
    assert taken.messages[0].pdu[:4] == len(taken.messages[0].pdu).to_bytes(4, "big")


@pytest.mark.parametrize("source", ["Brand", "", "+", "1" * 20, "+447700900000", "٣"])
def test_a_receipt_from_any_address_is_taken(parts: Any, source: str) -> None:
    intake, ledger, link = parts
    intake.on_request(link, deliver(RECEIPT, esm_class=4, source=source))
    assert ledger.receipts[0][3] in (None, 447700900000)


def test_too_much_for_postgres_is_put_off(parts: Any) -> None:
    """Case 9 of the write protocol."""
    intake, _, link = parts
    for number in range(INBOUND_HIGH + 1):
        intake.on_request(link, deliver(b"x", number=number + 1))
    assert link.answers == [(INBOUND_HIGH + 1, RMSGQFUL)]
    assert len(intake.take().messages) == INBOUND_HIGH


@pytest.mark.parametrize(
    ("name", "value"), [("RMSGQFUL", 0x14), ("RTHROTTLED", 0x58), ("RSYSERR", 0x08), ("RX_T_APPN", 0x64)]
)
def test_quirk_34_what_cannot_be_kept_is_answered_as_the_carrier_wants_it(name: Any, value: int) -> None:
    """Vonage sends again after 0x14, 0x58, 0x08, 0x45, 0x67, 0xFE and 0xFF, and drops the message after any other."""
    assert CarrierSettings(host="x").inbound_busy_status != "RX_T_APPN"
    intake, link = Intake(FakeLedger(), app.CLOCK, 1, CarrierSettings(host="x", inbound_busy_status=name)), FakeLink()  # type: ignore[arg-type]
    for number in range(INBOUND_HIGH + 1):
        intake.on_request(link, deliver(b"x", number=number))  # type: ignore[arg-type]
    assert link.answers == [(INBOUND_HIGH, value)]


def test_alert_notification_becomes_an_event_and_has_no_answer(parts: Any) -> None:
    intake, _, link = parts
    fields = {"source_addr": "447700900000", "esme_addr": "12345"}
    for tlvs in ((), (Tlv(TAG_BY_NAME["ms_availability_status"], b"\x02"),)):
        intake.on_request(link, Pdu(command="alert_notification", sequence_number=1, fields=fields, tlvs=tlvs))
    taken = intake.take()
    assert [(one.kind, one.subject, one.body["status"]) for one in taken.came.events] == [
        ("handset.reachable", "447700900000", None),
        ("handset.reachable", "447700900000", 2),
    ]
    assert not taken.unanswered and not taken.messages


@pytest.mark.parametrize("how", ["udh8", "udh16", "sar"])
def test_quirk_41_parts_are_known_by_header_and_by_tlvs(parts: Any, how: str) -> None:
    intake, _, link = parts
    for pdu in in_parts([b"one ", b"two"], how, 300 if how != "udh8" else 44):
        intake.on_request(link, pdu)
    found = intake.take().messages
    assert [(one.total, one.number, one.reference, one.is_named) for one in found] == [
        (2, number, 300 if how != "udh8" else 44, True) for number in (1, 2)
    ]
    assert [one.message for one in found] == [None, None]


def test_quirk_41_parts_without_any_mark_are_messages_of_their_own(parts: Any) -> None:
    intake, _, link = parts
    for text in (b"one ", b"two"):
        intake.on_request(link, deliver(text))
    assert [one.message.text for one in intake.take().messages] == ["one ", "two"]


def test_fingerprint_is_of_what_is_said_and_not_of_who_carries_it() -> None:
    one = deliver(b"YES", number=7)
    assert fingerprint_of(one) == fingerprint_of(deliver(b"YES", number=8))
    others = [
        deliver(b"YES "), deliver(b"YES", source="447700900001"), deliver(b"YES", destination="12346"),
        deliver(b"YES", data_coding=8), deliver(b"YES", esm_class=0x40), deliver(b"YES", tlvs=(Tlv(ID, b"5"),)),
        in_parts([b"YES", b""], "sar")[0], in_parts([b"YES", b""], "sar", 8)[0],
    ]  # fmt: skip
    assert len({fingerprint_of(other) for other in [one, *others]}) == 9


class Moved:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=self.now)


class Handset:
    """An intake with its Postgres, and what becomes of words that come again."""

    def __init__(self, connection: Any, clock: Moved, first_id: int = 1):
        self.connection, self.clock = connection, clock
        self.intake = Intake(FakeLedger(), clock, first_id, CarrierSettings(host="x"))  # type: ignore[arg-type]

    async def comes(self, link: FakeLink, pdu: Pdu, *, answered: bool = True, settles_s: float = 0.0) -> None:
        """A PDU is read on a link, kept, and answered `settles_s` later."""
        link.received_at = self.clock.now
        self.intake.on_request(link, pdu)  # type: ignore[arg-type]
        taken = self.intake.take()
        async with self.connection.transaction():
            await inbound.keep(self.connection, 1, taken.came)
        self.clock.now += settles_s
        if answered:
            self.intake.answer(taken)

    async def heard(self) -> list[str]:
        return [message.text for message in await inbound.newest(self.connection, 1, 100)]


@pytest.fixture
async def handset(dsn: str) -> AsyncIterator[Handset]:
    connection = await postgres.connect(dsn)
    yield Handset(connection, Moved())
    connection.terminate()


YES = deliver(b"YES")


async def test_person_who_writes_the_same_twice_is_heard_twice(handset: Handset) -> None:
    link = FakeLink()
    for _ in range(3):
        await handset.comes(link, YES)
        handset.clock.now += 60
    assert await handset.heard() == ["YES", "YES", "YES"]
    # By another link, too, once the first one was heard of again.
    link.received_at = handset.clock.now
    await handset.comes(FakeLink(), YES)
    assert len(await handset.heard()) == 4


async def test_words_that_come_again_too_soon_for_a_timeout_of_the_smsc_are_written_anew(handset: Handset) -> None:
    first, second = FakeLink(), FakeLink()
    for _ in range(2):
        await handset.comes(first, YES, answered=False)
        handset.clock.now += 0.5
    assert await handset.heard() == ["YES", "YES"]
    # The link dies with both: both come again, and a third that is new.
    first.is_lost = True
    for _ in range(3):
        await handset.comes(second, YES)
    assert await handset.heard() == ["YES", "YES", "YES"]


async def test_message_whose_link_died_before_its_answer_arrived_is_kept_once(handset: Handset) -> None:
    first, second, third = FakeLink(), FakeLink(), FakeLink()
    await handset.comes(first, YES)
    first.is_lost = True
    handset.clock.now += 30
    await handset.comes(second, YES)
    assert await handset.heard() == ["YES"] and len(second.answers) == 1
    # The answer to the repeat has arrived: what comes now is written anew.
    handset.clock.now += 60
    second.received_at = handset.clock.now
    await handset.comes(third, YES)
    assert await handset.heard() == ["YES", "YES"]


async def test_message_whose_worker_died_between_commit_and_answer_is_kept_once(handset: Handset) -> None:
    await handset.comes(FakeLink(), YES, answered=False)
    handset.clock.now += 20
    restarted = Handset(handset.connection, handset.clock, first_id=1000)
    await restarted.comes(FakeLink(), YES)
    assert await handset.heard() == ["YES"]


async def test_message_that_was_answered_too_late_for_the_smsc_is_kept_once(handset: Handset) -> None:
    link = FakeLink()
    await handset.comes(link, YES, settles_s=PATIENCE_S + 1)
    handset.clock.now += 60
    await handset.comes(link, YES)
    assert await handset.heard() == ["YES"]
    handset.clock.now += 600
    await handset.comes(link, YES)
    assert await handset.heard() == ["YES", "YES"]


async def test_half_dead_link_that_was_never_heard_of_again_proves_nothing(handset: Handset) -> None:
    silent = FakeLink()
    await handset.comes(silent, YES)
    handset.clock.now += 45
    await handset.comes(FakeLink(), YES)
    assert await handset.heard() == ["YES"]


async def test_dedupe_can_be_switched_off(handset: Handset) -> None:
    settings = CarrierSettings(host="x", inbound_dedupe_s=0)
    handset.intake = Intake(FakeLedger(), handset.clock, 1, settings)  # type: ignore[arg-type]
    for _ in range(2):
        await handset.comes(FakeLink(), YES, answered=False)
    assert await handset.heard() == ["YES", "YES"]


async def test_sweep_comes_by_itself_and_ends_waiting_parts(handset: Handset) -> None:
    settings = CarrierSettings(host="x", inbound_parts_timeout_s=20)
    handset.intake = Intake(FakeLedger(), handset.clock, 1, settings)  # type: ignore[arg-type]
    await handset.comes(FakeLink(), in_parts([b"one ", b"two"], "udh16")[0])
    assert not handset.intake.take() and await handset.heard() == []
    handset.clock.now += 21
    taken = handset.intake.take()
    assert taken and taken.came is not None and taken.came.sweeps
    await inbound.keep(handset.connection, 1, taken.came)
    assert await handset.heard() == ["one "]


def test_octets_of_any_kind_are_taken(parts: Any) -> None:
    """Nothing that a carrier sends raises, and nothing of it is left out."""
    intake, _, link = parts
    chance = random.Random(5)
    for number in range(2000):
        tlvs = [Tlv(chance.choice((0x20C, 0x20E, 0x20F, 0x1E, 0x1400)), chance.randbytes(chance.randrange(3)))]
        octets = chance.randbytes(chance.randrange(60))
        esm_class, coding = chance.choice((0, 0x40, 0x08, 0x80)), chance.randrange(256)
        intake.on_request(link, deliver(octets, esm_class=esm_class, data_coding=coding, tlvs=tlvs, number=number))
    found = intake.take().messages
    assert len(found) == 2000 and all(one.total > 1 or one.message is not None for one in found)


def test_what_has_no_answer_is_not_kept(parts: Any) -> None:
    intake, _, link = parts
    intake.on_request(link, Pdu(command="outbind", sequence_number=1, fields={}, tlvs=()))
    assert not intake.take()


def test_ids_of_two_workers_do_not_meet_however_soon_one_starts_after_the_other() -> None:
    firsts = sorted(first_id_of(f"host-{pid}-{pid:08x}") for pid in range(1000))
    assert 0 <= firsts[0] and firsts[-1] < 2**62
    assert min(after - before for before, after in zip(firsts, firsts[1:], strict=False)) > 10**9


async def test_messages_are_kept_once_and_answered_only_when_they_are_durable(dsn: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.csv"

    def answers() -> int:
        return sum(fields[0] == "K" and fields[5] == "0" for fields in lines(ledger))

    inbound = Inbound(per_s=200, texts=("STOP", "Кто это?"))
    async with engine(dsn, ledger, inbound=inbound, receipts=Receipts(when="never")) as e:
        lock = await postgres.connect(dsn)
        transaction = lock.transaction()
        await transaction.start()
        await lock.execute("LOCK TABLE inbound IN ACCESS EXCLUSIVE MODE")
        worker = await e.start()
        await until(lambda: only_lane(worker).intake.messages > 10, "messages have come")
        assert answers() == 0 and not await lock.fetchval("SELECT count(*) FROM inbound")
        await transaction.rollback()
        await until(lambda: answers() > 20, "they are answered")
        await e.stop(worker)
        lock.terminate()
        kept = await e.connection.fetchval("SELECT count(*) FROM inbound")
        sent = sum(fields[0] == "M" for fields in lines(ledger))
        assert answers() <= kept <= sent and kept == only_lane(worker).intake.messages


LONG = (
    "The quick brown fox jumps over the lazy dog. " * 12,
    "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 4,
    "Yes please",
)


@pytest.mark.parametrize("how", ["udh8", "udh16", "sar"])
async def test_long_messages_in_parts_over_links_that_break_at_two_workers_come_once(
    dsn: str, tmp_path: Path, how: Any
) -> None:
    """Parts out of order, some twice, spread over the binds of two workers, of which one stops in between."""
    ledger = tmp_path / "ledger.csv"
    behaviour = Inbound(per_s=100, texts=LONG, parts=how, duplicate_share=0.2)
    accounts = (Account(system_id="test"),)
    async with engine(dsn, ledger, inbound=behaviour, account=accounts, receipts=Receipts(when="never")) as e:
        workers = [await e.start() for _ in range(2)]
        lane = await e.lane()

        async def told(count: int) -> bool:
            return bool(await e.connection.fetchval("SELECT count(*) >= $1 FROM inbound_message", count))

        await until(lambda: told(30), "30 messages are whole")
        await e.stop(workers[1])
        await until(lambda: told(60), "60 messages are whole")
        first = workers[0]
        await e.stop(first)
        found = await inbound.newest(e.connection, lane, 10_000)
        assert {message.text for message in found} == set(LONG) and not any(message.missing for message in found)
        numbered = await events.after(e.connection, lane, 0, 10_000)
        assert sorted(one.body["message"] for one in numbered) == sorted(message.id for message in found)
        assert [one.id for one in numbered] == list(range(1, len(numbered) + 1))
        # Every PDU is in one message, or waits for brothers that the stopping workers were not given any more.
        used = [pdu for message in found for pdu in message.pdus]
        waiting = await e.connection.fetch("SELECT id FROM inbound_part")
        kept = await e.connection.fetch("SELECT id FROM inbound")
        assert len(used) == len(set(used)) and len(waiting) <= 200
        assert {row["id"] for row in kept} == set(used) | {row["id"] for row in waiting}
        assert any(message.parts > 1 for message in found)


@pytest.mark.parametrize("receipts", [{"pdu": "data_sm"}, {"place": "message_payload"}, {"tlvs": False}])
async def test_receipts_of_unusual_form_end_messages_too(dsn: str, tmp_path: Path, receipts: Any) -> None:
    async with engine(dsn, tmp_path / "ledger.csv", receipts=Receipts(**receipts)) as e:
        run = await e.run(numbers(200))
        await e.start()
        await e.ends(run)
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)
        assert not await e.connection.fetchval("SELECT count(*) FROM inbound")
