"""What comes from the SMSC beside responses: kept once, answered when durable, never a reason to fall over."""

from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.dispatch.intake import INBOUND_HIGH, Intake, first_id_of
from gateway.simulator.behaviour import Inbound, Receipts
from gateway.simulator.ledger import lines
from gateway.smpp.pdu import Pdu, Tlv
from gateway.smpp.spec import TAG_BY_NAME
from gateway.smpp.status import RX_T_APPN
from gateway.store import postgres
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import engine, only_lane, until

ID, STATE = TAG_BY_NAME["receipted_message_id"], TAG_BY_NAME["message_state"]


class FakeLedger:
    """Takes receipts down."""

    def __init__(self) -> None:
        self.receipts: list[tuple[Any, ...]] = []

    def take_receipt(self, *arguments: Any) -> None:
        self.receipts.append(arguments)


class FakeLink:
    """Takes answers down."""

    def __init__(self) -> None:
        self.owed: list[int] = []
        self.answers: list[tuple[int, int]] = []
        self.session = self

    def owe(self, pdu: Pdu) -> None:
        self.owed.append(pdu.sequence_number)

    def respond(self, pdu: Pdu, status: int = 0, *, now: float) -> None:
        self.answers.append((pdu.sequence_number, status))


def deliver(text: bytes, *, esm_class: int = 0, source: str = "447700900000", tlvs: Any = (), **how: Any) -> Pdu:
    fields = {"source_addr": source, "destination_addr": "12345", "esm_class": esm_class, "data_coding": 0}
    command = how.pop("command", "deliver_sm")
    if command == "deliver_sm":
        fields["short_message"] = text
    else:
        tlvs = (*tlvs, Tlv(TAG_BY_NAME["message_payload"], text))
    return Pdu(command=command, sequence_number=how.pop("number", 7), fields=fields, tlvs=tuple(tlvs))


RECEIPT = b"id:abc sub:001 dlvrd:001 submit date:2601020304 done date:2601020304 stat:DELIVRD err:000 text:x"


@pytest.fixture
def parts() -> tuple[Intake, FakeLedger, FakeLink]:
    ledger = FakeLedger()
    return Intake(ledger, app.CLOCK, 1), ledger, FakeLink()  # type: ignore[arg-type]


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
    intake, _, link = parts
    for number in range(INBOUND_HIGH + 1):
        intake.on_request(link, deliver(b"x", number=number + 1))
    assert link.answers == [(INBOUND_HIGH + 1, RX_T_APPN)]
    assert len(intake.take().messages) == INBOUND_HIGH


def test_what_has_no_answer_is_not_kept(parts: Any) -> None:
    intake, _, link = parts
    intake.on_request(link, Pdu(command="alert_notification", sequence_number=1, fields={}, tlvs=()))
    assert not intake.take()


def test_ids_of_two_starts_do_not_meet() -> None:
    now = app.CLOCK.wall()
    assert first_id_of(now) > 0 and first_id_of(now.replace(year=now.year + 1)) - first_id_of(now) > 3e13


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


@pytest.mark.parametrize("receipts", [{"pdu": "data_sm"}, {"place": "message_payload"}, {"tlvs": False}])
async def test_receipts_of_unusual_form_end_messages_too(dsn: str, tmp_path: Path, receipts: Any) -> None:
    async with engine(dsn, tmp_path / "ledger.csv", receipts=Receipts(**receipts)) as e:
        run = await e.run(numbers(200))
        await e.start()
        await e.ends(run)
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)
        assert not await e.connection.fetchval("SELECT count(*) FROM inbound")
