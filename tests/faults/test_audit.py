"""Each invariant sees the violation it is there for: a check that cannot fail proves nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.message import Policy
from gateway.simulator.ledger import Delivered, Message
from gateway.store.runs import Run
from tests.fixtures import audit as invariants
from tests.fixtures.audit import Audit, rank_of
from tests.fixtures.rig import Sample

FIRST = 447700900000
SECOND = FIRST + 1


def text_of(number: int, part: int = 0) -> str:
    """The octets of a text with its token, in hex, behind the header of a part."""
    header = b"\x06\x08\x04\x00\x07\x02" + bytes([part]) if part else b""
    return (header + b"Hello T%xT" % number).hex()


def pdu(
    number: int, message_id: str = "a", at_ns: int = 1000, *, status: int = 0, part: int = 0, **more: Any
) -> Message:
    """What the simulator took."""
    given: dict[str, Any] = {"content": text_of(number, part), "link": 1, "receipts": []} | more
    return Message(
        run=1, at_ns=at_ns, system_id="test", sequence=1, source="Sluice", destination=str(number),
        esm_class=0x40 if part else 0, data_coding=0, registered=1, octets=10, status=status,
        message_id=message_id if status == 0 else "", **given,
    )  # fmt: skip


def row(number: int, status: int = 0, message_id: str | None = "a", segment: int = 1, **more: Any) -> dict[str, Any]:
    """An outcome in the store."""
    return {
        "lane": 1, "chunk_id": 5, "pos": number - FIRST, "segment": segment, "epoch": 1, "status": status,
        "message_id": message_id if status == 0 else None, "number": number, **more,
    }  # fmt: skip


def sound(policy: Policy = Policy.ONCE) -> Audit:
    """A run of two messages, both sent and delivered."""
    run = Run(
        id=1, name="run", template="Hello {{token}}", fields=["token"], class_=0, priority=0, policy=policy, lanes=[1],
        list=1, source=None, recipients=2, not_before=datetime.now(UTC), expires_at=None, created_at=datetime.now(UTC),
        enqueued_at=None,
    )  # fmt: skip
    audit = Audit([run])
    audit.has_texts = True
    audit.states = {"delivered": 2}
    audit.rows = [row(FIRST), row(SECOND, message_id="b")]
    audit.run_of = {FIRST: run, SECOND: run}
    audit.position_of = {FIRST: (5, 0, 2), SECOND: (5, 1, 2)}
    audit.marks = {5: [(1, 100), (2, 200)]}
    audit.owner_of = {(5, 1): "worker-a"}
    receipts = [Delivered(at_ns=2000, link=1, sequence=1, state="DELIVRD", answer=0)]
    audit.arrived = [pdu(FIRST, receipts=receipts), pdu(SECOND, "b", receipts=receipts)]
    audit.kept = {"a", "b"}
    audit.receipts = [
        {"message_id": "a", "state": 2, "number": FIRST},
        {"message_id": "b", "state": 2, "number": SECOND},
    ]
    return audit


def test_what_is_sound_passes() -> None:
    audit = sound()
    audit.check(doubt_at_most=0, receipts=True)
    assert audit.intents_are_older(0) == 2
    assert audit.parts_in_order() == 0
    audit.nothing_after_stop({FIRST: 1000})


def test_id_that_a_receipt_and_a_late_answer_tell_of_stands_at_one_message_only_where_that_was_in_doubt() -> None:
    audit = sound()
    audit.rows += [row(FIRST, -1, segment=0), row(FIRST, segment=0)]
    audit.check(doubt_at_most=1, receipts=True)
    audit.rows.append(row(SECOND))
    with pytest.raises(AssertionError, match="an id stands twice"):
        audit.sent_is_true()


def lose_a_state(audit: Audit) -> None:
    audit.states = {"delivered": 1}


def leave_a_chunk_open(audit: Audit) -> None:
    audit.open_chunks = 1


def lose_a_row(audit: Audit) -> None:
    del audit.rows[1]


def send_the_text_of_another(audit: Audit) -> None:
    audit.arrived[0].content = text_of(SECOND)


def send_without_a_token(audit: Audit) -> None:
    audit.arrived[0].content = b"Hello".hex()


def send_twice(audit: Audit) -> None:
    audit.arrived.append(pdu(FIRST, "c"))


def repeat_under_once(audit: Audit) -> None:
    audit.again[FIRST] = 1
    audit.rows[0] = row(FIRST, status=-1)


def take_an_id_twice(audit: Audit) -> None:
    audit.rows.append(row(SECOND, message_id="a"))


def accept_what_was_not_sent(audit: Audit) -> None:
    audit.arrived[0].message_id = "z"


def refuse_what_was_taken(audit: Audit) -> None:
    audit.rows[0] = row(FIRST, status=0x45)


def doubt_too_much(audit: Audit) -> None:
    audit.rows[0] = row(FIRST, status=-1)


def lose_a_receipt(audit: Audit) -> None:
    audit.kept.remove("a")


def match_a_receipt_wrongly(audit: Audit) -> None:
    audit.receipts[0]["number"] = SECOND


def invent_a_state(audit: Audit) -> None:
    audit.receipts[0]["state"] = 5


def miss_a_receipt(audit: Audit) -> None:
    audit.states = {"delivered": 1, "submitted": 1}


@pytest.mark.parametrize(
    ("break_it", "word"),
    [
        (lose_a_state, "one state"),
        (leave_a_chunk_open, "not done"),
        (lose_a_row, "without any outcome"),
        (send_the_text_of_another, "text of another"),
        (send_without_a_token, "text of another"),
        (send_twice, "twice"),
        (repeat_under_once, "repeated under once"),
        (take_an_id_twice, "an id stands twice"),
        (accept_what_was_not_sent, "not so at the simulator"),
        (refuse_what_was_taken, "refused in the store"),
        (doubt_too_much, "more in doubt"),
        (lose_a_receipt, "answered and are not in the store"),
        (match_a_receipt_wrongly, "other messages than theirs"),
        (invent_a_state, "never said"),
        (miss_a_receipt, "have no receipt"),
    ],
)
def test_each_broken_promise_is_seen(break_it: Callable[[Audit], None], word: str) -> None:
    audit = sound()
    break_it(audit)
    with pytest.raises(AssertionError, match=word):
        audit.check(doubt_at_most=0, receipts=True)


def test_copies_beyond_the_marks_are_seen_under_at_least_once() -> None:
    audit = sound(Policy.AT_LEAST_ONCE)
    audit.arrived.append(pdu(FIRST, "c"))
    audit.again[FIRST] = 1
    audit.duplicates()
    audit.arrived.append(pdu(FIRST, "d"))
    with pytest.raises(AssertionError, match="more often than marked"):
        audit.duplicates()


def test_message_that_never_arrived_is_seen_under_at_least_once() -> None:
    audit = sound(Policy.AT_LEAST_ONCE)
    del audit.arrived[0]
    with pytest.raises(AssertionError, match="never reached"):
        audit.conservation()


def test_octets_before_their_watermark_are_seen() -> None:
    audit = sound()
    late = 50 * invariants.CLOCK_SLACK_NS
    audit.marks = {5: [(1, 100), (2, late)]}
    with pytest.raises(AssertionError, match="before their watermark"):
        audit.intents_are_older(0)
    audit.marks = {5: [(1, 100)]}
    with pytest.raises(AssertionError, match="no watermark"):
        audit.intents_are_older(0)


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_ranks_are_those_of_the_order_of_sending(n: int) -> None:
    from _fastpath.batch import stride_of

    order = [(rank * stride_of(n) + 12345) % n for rank in range(n)]
    assert [rank_of(12345, pos, n) for pos in order] == list(range(n))


def test_doubt_is_told_by_the_worker_that_held_the_chunk() -> None:
    audit = sound()
    audit.rows[0] = row(FIRST, status=-1)
    audit.rows[1] = row(SECOND, status=-1, epoch=9)
    assert audit.doubt_by_owner() == {"worker-a": 1, "nobody": 1}


def test_parts_out_of_their_order_or_on_two_links_at_once_are_seen() -> None:
    audit = sound()
    audit.arrived = [pdu(FIRST, "a", part=1), pdu(FIRST, "b", part=2)]
    assert audit.parts_in_order() == 1
    audit.arrived.reverse()
    with pytest.raises(AssertionError, match="out of their order"):
        audit.parts_in_order()
    # The first link goes on: two links at once keep no order.
    other = pdu(SECOND, "c", 3000)
    audit.arrived = [pdu(FIRST, "a", 1000, part=1), pdu(FIRST, "b", 2000, part=2, link=2), other]
    with pytest.raises(AssertionError, match="out of their order"):
        audit.parts_in_order()
    # It had ended, and the part that it took was answered: the other one follows by the next link.
    audit.arrived.remove(other)
    assert audit.parts_in_order() == 1


def test_submit_behind_an_acknowledged_stop_is_seen() -> None:
    with pytest.raises(AssertionError, match="acknowledged STOP"):
        sound().nothing_after_stop({FIRST: 999})


def test_second_that_is_too_full_is_seen_wherever_it_begins() -> None:
    times = [500_000_000 + n for n in range(11)]
    assert invariants.rate_holds(times, 10) == 11
    with pytest.raises(AssertionError, match="in one second"):
        invariants.rate_holds([*times, 1_499_999_999], 10)
    assert invariants.rate_holds([*times, 1_499_999_999], 10, except_ns=[(0, 10**9)]) == 1
    assert invariants.fullest_second([0, 10**9]) == 1


def submitted(at: int, offset: int) -> str:
    return f"S,{at},1,test,{at},Sluice,{FIRST},0,0,1,5,48,0,id{at},{offset}\n"


def test_window_that_is_overrun_is_seen_at_every_line(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.csv"
    begun = "E,1,1,default\n" + submitted(1, 10) + submitted(2, 20)
    ledger.write_text(begun + "O,3,1,10\n" + submitted(4, 30))
    assert invariants.windows_hold(ledger, 2) == 2
    ledger.write_text(begun + "O,3,1,9\n" + submitted(4, 30))
    with pytest.raises(AssertionError, match="3 requests unanswered"):
        invariants.windows_hold(ledger, 2)


def test_memory_and_files_beyond_what_is_declared_are_seen() -> None:
    samples = [Sample(part="worker", pid=1, rss_kb=100, files=5), Sample(part="worker", pid=1, rss_kb=90, files=9)]
    assert invariants.bounded(samples, rss_kb=100, files=9) == {"rss_kb": 100, "files": 9}
    with pytest.raises(AssertionError, match="kB"):
        invariants.bounded(samples, rss_kb=99, files=9)
    with pytest.raises(AssertionError, match="files"):
        invariants.bounded(samples, rss_kb=100, files=8)
