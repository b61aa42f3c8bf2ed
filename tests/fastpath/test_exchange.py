"""A bind's turn: no segment is lost or settled twice, any chunking reads alike, any octets are rows, rare or the end.

The invariant of every test below that feeds octets: they become rows, rare PDUs or lost framing; never an error, never
a read past the end. The state machine holds the other half: every segment that is begun is in flight, waits for another
try, or has its outcome, and has it once.
"""

import gc
import socket
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from _fastpath.backlog import Backlog
from _fastpath.batch import Batch
from _fastpath.exchange import Exchange
from _fastpath.ledger import Ledger
from _fastpath.limit import Limit
from _fastpath.numbers import NumberSet
from _fastpath.outbound import Form
from _fastpath.outstanding import Outstanding
from _fastpath.template import Template
from _fastpath.throttle import Throttle
from _fastpath.window import Window
from gateway.message import Refusal
from gateway.smpp import pdu as pdus
from gateway.smpp import status
from tests.oracle import copyrows as oracle

LAST = 0x7FFFFFFF
OK, SYSTEM_ERROR, BAD_NUMBER, WRONG_STATE, THROTTLED, UNKNOWN_ERROR = 0, 0x08, 0x0B, 0x04, 0x58, 0xFF
SUBMIT_SM_RESP, DELIVER_SM, GENERIC_NACK = 0x80000004, 5, 0x80000000
TEXT = b"id:%b sub:001 dlvrd:001 submit date:2603010000 done date:2603010102 stat:DELIVRD err:000 text:hi"


def framed(command: int, value: int, sequence: int, body: bytes = b"") -> bytes:
    return b"".join(x.to_bytes(4, "big") for x in (len(body) + 16, command, value, sequence)) + body


def response(sequence: int, value: int = OK, body: bytes = b"abc\x00") -> bytes:
    return framed(SUBMIT_SM_RESP, value, sequence, body)


def delivery(
    sequence: int,
    text: bytes,
    *,
    source: bytes = b"447700900123",
    esm_class: int = 4,
    tlvs: bytes = b"",
    head: bytes = b"",
) -> bytes:
    body = b"\x00\x01\x01" + source + b"\x00\x05\x00Sluice\x00" + bytes([esm_class]) + bytes(8)
    return framed(DELIVER_SM, 0, sequence, body + bytes([len(text)]) + text + tlvs)


def tlv(tag: int, value: bytes) -> bytes:
    return tag.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value


def batch_of(
    chunk_id: int, texts: list[str] | int, *, receipts: bool = True, expires_at: float = 1e9, epoch: int = 1
) -> Batch:
    """A dressed and committed batch; the number of a position tells chunk and position."""
    texts = ["hello"] * texts if isinstance(texts, int) else texts
    numbers = [chunk_id * 1000 + pos + 10**11 for pos in range(len(texts))]
    batch = Batch.of(chunk_id, numbers, [[text] for text in texts], epoch=epoch)
    batch.dress(Form(Template("{{ text }}"), registered_delivery=int(receipts)), expires_at)
    batch.commit(batch.n)
    return batch


def exchange_on(
    backlog: Backlog | None = None, ledger: Ledger | None = None, *, window: int = 100, first: int = 1, tps: int = 0
):
    exchange = Exchange(Window(window, first), Throttle(tps), backlog or Backlog(), ledger or Ledger(1), status.table())
    exchange.may_submit = exchange.takes_responses = exchange.takes_deliveries = True
    return exchange


@dataclass(frozen=True)
class Sent:
    """One submit_sm of ours."""

    sequence: int
    chunk_id: int
    pos: int
    segment: int


def sent_in(octets: bytes) -> list[Sent]:
    """The submit_sm in an output; every one of them whole."""
    found = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        pdu = pdus.decode(octets[:length])
        octets = octets[length:]
        if pdu.command != "submit_sm":
            continue
        number = int(pdu.fields["destination_addr"]) - 10**11
        message = pdu.fields["short_message"]
        segment = message[6] if pdu.fields["esm_class"] & 0x40 else 1
        found.append(Sent(pdu.sequence_number, number // 1000, number % 1000, segment))
    return found


def outcomes_of(ledger: Ledger) -> list[tuple[int, int, int, int, bytes | None]]:
    """(chunk_id, pos, segment, status, message_id) of the rows since the last call."""
    rows = [[*map(oracle.integer, row[:-1]), row[-1]] for row in oracle.rows(ledger.outcomes.take())]
    return [(row[1], row[2], row[3], row[6], row[9]) for row in rows]


# --------------------------------------------------------------------------------------------------- every segment once


@dataclass
class Segment:
    """What becomes of one segment, slow and obvious."""

    state: str = "begun"  # begun · flight · again · doubt · done
    attempt: int = 0
    again_at: float = 0.0


@dataclass
class Message:
    """One position."""

    segments: dict[int, Segment] = field(default_factory=dict)


class Conservation(RuleBasedStateMachine):
    """Any traffic, any losses: the model says which rows must come, and the exchange writes those and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog, self.ledger = Backlog(), Ledger(1)
        self.now, self.chunks = 100.0, 0
        self.parts: dict[tuple[int, int], int] = {}
        self.model: dict[tuple[int, int, int], Segment] = {}
        self.dropped: set[int] = set()
        self.broken: set[tuple[int, int]] = set()
        self.rows: list[tuple[int, int, int, int]] = []
        self.connect()

    def connect(self) -> None:
        self.exchange = exchange_on(self.backlog, self.ledger, window=5, first=LAST - 30)
        self.exchange.max_attempts = 2
        self.sequences: dict[int, tuple[int, int, int]] = {}
        self.answered: set[int] = set()

    def expect(self, key: tuple[int, int, int], value: int) -> None:
        self.rows.append((*key, value))

    @precondition(lambda self: self.chunks < 4)
    @rule(texts=st.lists(st.sampled_from(["x", "x" * 400, "", "ж" * 71]), min_size=1, max_size=6))
    def a_chunk_is_claimed(self, texts):
        self.chunks += 1
        self.backlog.add(batch_of(self.chunks, texts))
        for pos, text in enumerate(texts):
            self.parts[self.chunks, pos] = {"x": 1, "x" * 400: 3, "": 0}.get(text, 2)

    @rule(step=st.sampled_from([0.0, 0.1, 0.3, 1.1, 5.0]))
    def we_send(self, step):
        self.now += step
        self.exchange.fill(self.now)
        for sent in sent_in(self.exchange.take_output()):
            key = (sent.chunk_id, sent.pos, sent.segment)
            assert sent.sequence not in self.sequences or sent.sequence in self.answered
            self.answered.discard(sent.sequence)
            self.sequences[sent.sequence] = key
            for segment in range(1, self.parts[key[:2]] + 1):
                self.model.setdefault((*key[:2], segment), Segment())
            state = self.model[key]
            assert state.state == "begun" or (state.state == "again" and state.again_at <= self.now)
            assert sent.chunk_id not in self.dropped
            assert key[:2] not in self.broken
            state.state = "flight"

    @precondition(lambda self: self.sequences)
    @rule(
        data=st.data(),
        value=st.sampled_from([OK, OK, OK, THROTTLED, SYSTEM_ERROR, BAD_NUMBER, WRONG_STATE, 0x12345678, 0xFFFFFFFF]),
        body=st.sampled_from([b"", b"\x00", b"abc\x00", b"no NUL", b"x" * 64 + b"\x00", b"abc\x00\x04\x23\x00\x01x"]),
        nack=st.booleans(),
    )
    def a_response_comes(self, data, value, body, nack):
        sequence = data.draw(st.sampled_from(sorted(self.sequences)))
        key = self.sequences[sequence]
        if nack:
            known = self.exchange.answer(sequence, value, self.now)
            assert known == (sequence not in self.answered)
            value = value or UNKNOWN_ERROR
        else:
            self.exchange.feed(response(sequence, value, body), self.now)
            unknown = self.exchange.take_rare()
            assert (unknown == [response(sequence, value, body)]) == (sequence in self.answered)
        if sequence in self.answered:
            return
        self.answered.add(sequence)
        segment = self.model[key]
        late = segment.state == "doubt"
        assert late or segment.state == "flight"
        disposition = status.of_submit(value)
        again = disposition in (status.Disposition.THROTTLE, status.Disposition.SESSION) or (
            disposition == status.Disposition.RETRY and segment.attempt + 1 < 2
        )
        if again and not late:
            segment.state = "again"
            segment.attempt += disposition == status.Disposition.RETRY
            pause = self.exchange.throttle_pause_s if disposition == status.Disposition.THROTTLE else 1.0
            segment.again_at = self.now + pause
            assert self.exchange.wants_rebind or disposition != status.Disposition.SESSION
            if key[0] in self.dropped:
                segment.state = "let go"
            return
        if not late:
            segment.state = "done"
            if value != OK and self.parts[key[:2]] > 1:
                self.broken.add(key[:2])
        self.expect(key, min(value, 0x7FFFFFFF))

    @rule(sequence=st.integers(0, 0xFFFFFFFF))
    def a_response_comes_to_what_we_never_sent(self, sequence):
        if sequence not in self.sequences:
            self.exchange.feed(response(sequence), self.now)
            assert self.exchange.take_rare() == [response(sequence)]

    @rule(step=st.sampled_from([0.0, 2.0, 31.0]))
    def timers_fire(self, step):
        self.now += step
        before = self.now - 1.5
        flying = [key for key in self.sequences.values() if self.model[key].state == "flight"]
        found = self.exchange.expire(before, self.now)
        rows = outcomes_of(self.ledger)
        assert found == sum(row[3] == Refusal.UNCERTAIN for row in rows)
        for row in rows:
            if row[3] == Refusal.UNCERTAIN:
                assert row[:3] in flying
                self.model[row[:3]].state = "doubt"
            else:
                self.rows.remove(row[:4])

    @rule()
    def the_link_is_lost(self):
        flying = [key for key, segment in self.model.items() if segment.state == "flight"]
        assert self.exchange.lose(self.now) == len(flying)
        assert self.exchange.lose(self.now) == 0
        for key in flying:
            self.model[key].state = "done"
            self.expect(key, Refusal.UNCERTAIN)
        for segment in self.model.values():
            if segment.state == "begun":
                segment.state, segment.again_at = "again", self.now
            elif segment.state == "doubt":
                segment.state = "done"
        self.connect()

    @precondition(lambda self: self.chunks)
    @rule(data=st.data())
    def a_chunk_is_lost_to_another_owner(self, data):
        chunk_id = data.draw(st.integers(1, self.chunks))
        self.dropped.add(chunk_id)
        self.backlog.drop(chunk_id)
        for key, segment in self.model.items():
            if key[0] == chunk_id and segment.state in ("begun", "again"):
                segment.state = "let go"

    @rule()
    def rows_are_flushed_and_finished_batches_forgotten(self):
        for batch in self.backlog.take_finished():
            assert batch.in_flight == 0
            assert batch.dropped or batch.next_rank == batch.n

    @invariant()
    def rows_are_those_of_the_model(self):
        rows = [row[:4] for row in outcomes_of(self.ledger)]
        for row in [row for row in rows if row[3] == Refusal.EMPTY]:
            assert self.parts[row[:2]] == row[2] == 0 and row[:3] not in self.model
            self.model[row[:3]] = Segment("done")
            rows.remove(row)
        for row in [row for row in rows if row[3] == Refusal.ABANDONED]:
            assert row[:2] in self.broken and self.model[row[:3]].state in ("begun", "again")
            self.model[row[:3]].state = "done"
            rows.remove(row)
        for key, segment in self.model.items():
            assert not (key[:2] in self.broken and segment.state == "begun"), "a part of what was refused would leave"
        assert sorted(rows) == sorted(self.rows)
        self.rows.clear()
        # Here, for the rows tell which parts were given up.
        states = [segment.state for segment in self.model.values()]
        assert self.exchange.window.in_flight == states.count("flight") <= 5
        open_states = states.count("flight") + states.count("again") + states.count("begun")
        assert open_states <= self.backlog.in_flight <= open_states + states.count("let go")


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


# ------------------------------------------------------------------------------------- what may not leave, or no more


def dressed(chunk_id: int, n: int, *suppressed: NumberSet, text: str = "hello", class_: int = 5) -> Batch:
    """A committed batch of a class, under sets of numbers that have said STOP."""
    numbers = [chunk_id * 1000 + pos + 10**11 for pos in range(n)]
    batch = Batch.of(chunk_id, numbers, [[text]] * n, epoch=1, class_=class_)
    batch.dress(Form(Template("{{ text }}"), registered_delivery=1), 1e9, (), suppressed)
    batch.commit(n)
    return batch


def test_part_that_is_refused_for_good_takes_those_with_it_that_did_not_leave():
    exchange = exchange_on(window=2)
    exchange.backlog.add(batch_of(8, ["x" * 500, "x"]))
    exchange.fill(1.0)
    assert [(one.pos, one.segment) for one in sent_in(exchange.take_output())] == [(0, 1), (0, 2)]
    exchange.feed(response(2, BAD_NUMBER), 2.0)
    assert outcomes_of(exchange.ledger) == [
        (8, 0, 3, Refusal.ABANDONED, None), (8, 0, 4, Refusal.ABANDONED, None), (8, 0, 2, BAD_NUMBER, b"abc"),
    ]  # fmt: skip
    exchange.feed(response(1), 2.0)
    exchange.fill(3.0)
    assert [(one.pos, one.segment) for one in sent_in(exchange.take_output())] == [(1, 1)]
    exchange.feed(response(3), 4.0)
    assert exchange.backlog.is_empty or exchange.backlog.take_finished()


def test_part_that_waits_for_another_try_is_not_sent_after_its_brother_was_refused():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(7, ["x" * 300]))
    exchange.fill(1.0)
    exchange.take_output()
    exchange.feed(response(1, THROTTLED) + response(2, BAD_NUMBER), 2.0)
    exchange.fill(9.0)
    assert sent_in(exchange.take_output()) == []
    assert outcomes_of(exchange.ledger) == [(7, 0, 2, BAD_NUMBER, b"abc"), (7, 0, 1, Refusal.ABANDONED, None)]
    assert [batch.chunk_id for batch in exchange.backlog.take_finished()] == [7]


def test_nothing_leaves_at_or_after_the_fence_and_what_is_begun_waits():
    exchange = exchange_on(window=2)
    exchange.backlog.add(batch_of(7, ["x" * 400]))
    exchange.backlog.fence_at = 5.0
    exchange.fill(4.999)
    assert len(sent_in(exchange.take_output())) == 2
    exchange.feed(response(1) + response(2), 5.0)
    assert exchange.fill(5.0) == 0 and exchange.bound_by == "lease"
    exchange.backlog.fence_at = 9.0
    exchange.fill(6.0)
    assert [one.segment for one in sent_in(exchange.take_output())] == [3]


def test_promotional_messages_wait_while_stops_are_not_heard_of_and_codes_go():
    exchange = exchange_on()
    for chunk_id, class_ in enumerate(range(6), start=1):
        exchange.backlog.add(dressed(chunk_id, 1, class_=class_))
    exchange.backlog.promotional_until = 5.0
    exchange.fill(5.0)
    assert [one.chunk_id for one in sent_in(exchange.take_output())] == [1, 2, 3, 4]
    assert exchange.bound_by == "feed"
    exchange.backlog.promotional_until = 6.0
    exchange.fill(5.5)
    assert [one.chunk_id for one in sent_in(exchange.take_output())] == [5, 6]


def test_feed_that_goes_stale_in_the_middle_of_a_batch_stops_it_there():
    exchange = exchange_on(window=1)
    exchange.backlog.add(dressed(1, 3))
    exchange.backlog.promotional_until = 5.0
    exchange.fill(4.0)
    exchange.feed(response(1), 5.0)
    assert exchange.fill(5.0) == 0 and exchange.bound_by == "feed"
    exchange.backlog.promotional_until = -1.0
    assert exchange.fill(4.5) == 0


def test_promotional_message_that_was_throttled_waits_for_the_feed_too():
    exchange = exchange_on()
    exchange.backlog.add(dressed(1, 1))
    exchange.backlog.promotional_until = 5.0
    exchange.fill(4.0)
    exchange.feed(response(1, THROTTLED), 4.1)
    exchange.take_output()
    assert exchange.fill(6.0) == 0
    exchange.backlog.promotional_until = 9.0
    assert exchange.fill(7.0) == 1


def test_who_has_said_stop_gets_nothing_from_that_moment_on():
    to_all, to_sender = NumberSet(), NumberSet([10**11 + 1001])
    exchange = exchange_on(window=1)
    exchange.backlog.add(dressed(1, 4, to_all, to_sender))
    exchange.fill(1.0)
    (first,) = sent_in(exchange.take_output())
    assert first.pos != 1
    stopped = next(pos for pos in range(4) if pos not in (1, first.pos))
    to_all.add(10**11 + 1000 + stopped)
    for sequence in (1, 2):
        exchange.feed(response(sequence), 2.0)
        exchange.fill(2.0)
    rows = {row[1]: row[3] for row in outcomes_of(exchange.ledger)}
    assert rows[1] == rows[stopped] == Refusal.SUPPRESSED
    assert sorted(rows.values()) == [Refusal.SUPPRESSED] * 2 + [OK] * 2
    assert exchange.ledger.suppressed == 2
    assert exchange.backlog.take_finished()


def test_stop_reaches_what_waits_for_another_try_but_a_message_that_is_partly_out_is_ended():
    said = NumberSet()
    exchange = exchange_on()
    exchange.backlog.add(dressed(1, 1, said))
    exchange.backlog.add(dressed(2, 1, said, text="x" * 300))
    exchange.fill(1.0)
    exchange.take_output()
    # The whole first message, and the second part of the other, are asked to come again.
    exchange.feed(response(1, THROTTLED) + response(2) + response(3, THROTTLED), 2.0)
    outcomes_of(exchange.ledger)
    said.add(10**11 + 1000)
    said.add(10**11 + 2000)
    exchange.fill(9.0)
    assert [(one.chunk_id, one.segment) for one in sent_in(exchange.take_output())] == [(2, 2)]
    assert outcomes_of(exchange.ledger) == [(1, 0, 1, Refusal.SUPPRESSED, None)]


# ------------------------------------------------------------------------------------------------------------ responses


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        (b"", None),
        (b"\x00", None),
        (b"abc\x00", b"abc"),
        (b"a" * 64 + b"\x00", b"a" * 64),
        (b"no NUL", None),
        (b"abc\x00" + tlv(0x0423, b"\x03\x00\x01"), b"abc"),
        (b"abc\x00\xff", b"abc"),
    ],
)
def test_accepted_message_has_its_id_whatever_stands_behind_it(body, message_id):
    exchange = exchange_on()
    exchange.backlog.add(batch_of(7, 1))
    exchange.fill(1.0)
    exchange.feed(response(1, OK, body), 2.0)
    assert outcomes_of(exchange.ledger) == [(7, 0, 1, OK, message_id)]
    assert exchange.ledger.accepted == 1
    assert exchange.ledger.recall.get(b"abc") == ((7, 0, 1) if message_id == b"abc" else None)


def test_ids_are_remembered_only_where_receipts_were_asked_for():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(7, 1, receipts=False))
    exchange.fill(1.0)
    exchange.feed(response(1), 2.0)
    assert exchange.ledger.recall.get(b"abc") is None


def test_late_response_finds_its_segment_though_its_batch_is_forgotten():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(7, 3, epoch=4))
    exchange.fill(1.0)
    assert exchange.expire(5.0, 6.0) == 3
    assert [batch.chunk_id for batch in exchange.backlog.take_finished()] == [7]
    gc.collect()
    # Whatever took the place of the batch in memory must not be read.
    others = [batch_of(chunk_id, 3) for chunk_id in range(100, 400)]
    doubted = {row[:3] for row in outcomes_of(exchange.ledger)}
    exchange.feed(response(1, OK, b"late\x00") + response(2, THROTTLED) + response(3, SYSTEM_ERROR), 7.0)
    rows = outcomes_of(exchange.ledger)
    assert {row[:3] for row in rows} == doubted
    assert [row[3:] for row in rows] == [(OK, b"late"), (THROTTLED, b"abc"), (SYSTEM_ERROR, b"abc")]
    assert exchange.ledger.recall.get(b"late")[0] == 7
    assert len(exchange.backlog.throttled) == len(exchange.backlog.delayed) == 0
    assert len(others) == 300
    assert exchange.expire(100.0, 101.0) == exchange.lose(102.0) == 0


def test_status_above_the_signed_range_is_no_reason_of_ours():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(1, 2))
    exchange.fill(1.0)
    exchange.feed(response(1, 0xFFFFFFFF) + response(2, 0x7FFFFFFF), 2.0)
    assert [row[3] for row in outcomes_of(exchange.ledger)] == [0x7FFFFFFF, 0x7FFFFFFF]


def test_throttled_segment_goes_first_and_burns_no_attempt():
    exchange = exchange_on(window=2)
    exchange.max_attempts = 2
    exchange.backlog.add(batch_of(1, 10))
    exchange.fill(1.0)
    first = sent_in(exchange.take_output())
    now = 1.0
    for _ in range(20):
        exchange.feed(response(exchange.window.in_flight and first[0].sequence, THROTTLED), now)
        now += exchange.throttle_pause_s
        exchange.fill(now)
        again = sent_in(exchange.take_output())
        assert [(sent.pos, sent.segment) for sent in again] == [(first[0].pos, 1)]
        first = again
    assert exchange.ledger.throttled == 20
    assert exchange.ledger.outcomes.count == 0


@pytest.mark.parametrize("attempts", [1, 2, 5, 1000])
def test_temporary_error_is_tried_again_so_many_times_and_then_recorded(attempts):
    exchange = exchange_on(window=1)
    exchange.max_attempts = attempts
    exchange.backlog.add(batch_of(1, 1))
    now, tries = 1.0, 0
    while exchange.fill(now):
        tries += 1
        (sent,) = sent_in(exchange.take_output())
        exchange.feed(response(sent.sequence, SYSTEM_ERROR), now)
        # Twice as long from attempt to attempt, up to the longest.
        pause = min(exchange.retry_longest_s, exchange.retry_delay_s * 2 ** min(tries - 1, 30))
        assert exchange.fill(now + pause * 0.99) == 0
        now += pause
    assert tries == min(attempts, 255)
    assert [row[3] for row in outcomes_of(exchange.ledger)] == [SYSTEM_ERROR]
    assert len(exchange.backlog.take_finished()) == 1


def test_session_error_asks_for_a_new_bind_and_keeps_the_segment():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(1, 1))
    exchange.fill(1.0)
    exchange.feed(response(1, WRONG_STATE), 2.0)
    assert exchange.wants_rebind
    exchange.lose(2.0)
    other = exchange_on(exchange.backlog, exchange.ledger)
    assert other.fill(2.0 + exchange.retry_delay_s) == 1


def test_response_to_the_session_s_own_request_is_handed_to_the_session():
    exchange = exchange_on()
    number = exchange.window.take_number()
    exchange.feed(response(number), 1.0)
    assert exchange.take_rare() == [response(number)]
    assert not exchange.answer(number, 3, 1.0)
    assert exchange.ledger.unknown_responses == 1


def test_responses_belong_to_the_session_while_the_bind_takes_none():
    exchange = exchange_on()
    exchange.takes_responses = exchange.takes_deliveries = False
    octets = [response(1), delivery(2, TEXT % b"7")]
    exchange.feed(b"".join(octets), 1.0)
    assert exchange.take_rare() == octets


def test_timers_that_fire_without_any_response_are_counted():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(1, 4))
    exchange.window.resize(1)
    for lap in range(3):
        exchange.fill(float(lap))
        assert exchange.expire(lap + 0.5, lap + 1.0) == 1
        assert exchange.silent_expiries == lap + 1
    exchange.fill(9.0)
    exchange.feed(response(4), 9.1)
    assert exchange.silent_expiries == 0


# ------------------------------------------------------------------------------------------------------------- receipts


def receipts_of(ledger: Ledger):
    """((chunk_id, pos, segment), message_id, state, err, number, raw) of receipts; those that wait lack the first."""

    def tail(row):
        message_id, state, err, _, number, raw = row
        return message_id, oracle.integer(state), err, None if number is None else oracle.integer(number), raw

    known = [(tuple(map(oracle.integer, row[1:4])), *tail(row[5:])) for row in oracle.rows(ledger.receipts.take())]
    return known, [tail(row[2:8]) for row in oracle.rows(ledger.waiting.take())]


def test_receipt_behind_its_response_has_its_segment_and_one_before_it_waits():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(7, 2))
    exchange.fill(1.0)
    exchange.feed(delivery(1, TEXT % b"m-2") + response(1, OK, b"m-1\x00") + response(2, OK, b"m-2\x00"), 2.0)
    exchange.feed(delivery(2, TEXT % b"m-1") + delivery(3, TEXT % b"nobody's"), 3.0)
    pos = [row[1] for row in outcomes_of(exchange.ledger)]
    known, waiting = receipts_of(exchange.ledger)
    assert known == [((7, pos[0], 1), b"m-1", 2, b"000", 447700900123, TEXT % b"m-1")]
    assert [row[0] for row in waiting] == [b"m-2", b"nobody's"]
    assert exchange.ledger.receipt_states[2] == 3
    assert (exchange.ledger.receipts_matched, exchange.ledger.receipts_waiting) == (1, 2)
    assert exchange.ledger.submit_to_receipt.quantile(0.5) == pytest.approx(2e6, rel=1 / 16)


@pytest.mark.parametrize(
    ("text", "tlvs", "expected"),
    [
        (TEXT % b"a", b"", (b"a", 2, b"000")),
        # TLVs before the text, the first of two, with or without their NUL.
        (TEXT % b"a", tlv(0x1E, b"b\x00") + tlv(0x427, b"\x05"), (b"b", 5, b"000")),
        (TEXT % b"a", tlv(0x1E, b"b") + tlv(0x1E, b"c"), (b"b", 2, b"000")),
        (TEXT % b"a", tlv(0x1E, b"b\x00rubbish\x00"), (b"b", 2, b"000")),
        (TEXT % b"a", tlv(0x1E, b"") + tlv(0x1E, b"\x00"), (b"a", 2, b"000")),
        (TEXT % b"a", tlv(0x427, b"\x08") + tlv(0x427, b"\x02"), (b"a", 8, b"000")),
        # A state that there is not leaves the word to the text.
        (TEXT % b"a", tlv(0x427, b"\x63"), (b"a", 2, b"000")),
        (TEXT % b"a", tlv(0x1400, b"vendor") + tlv(0x999, b""), (b"a", 2, b"000")),
        # Text in message_payload, or none at all.
        (b"", tlv(0x424, TEXT % b"a"), (b"a", 2, b"000")),
        (b"", tlv(0x1E, b"b\x00") + tlv(0x427, b"\x02"), (b"b", 2, None)),
        (b"whatever", tlv(0x1E, b"b" * 255) + tlv(0x427, b"\x01"), (b"b" * 255, 1, None)),
    ],
)
def test_receipt_is_read_from_its_tlvs_and_its_text(text, tlvs, expected):
    exchange = exchange_on()
    exchange.feed(delivery(9, text, tlvs=tlvs), 1.0)
    assert exchange.take_rare() == []
    assert receipts_of(exchange.ledger)[1][0][:3] == expected
    assert exchange.owed_waiting == 1


@pytest.mark.parametrize(
    "strange",
    [
        delivery(1, b"hello", esm_class=0),
        delivery(1, TEXT % b"a", esm_class=0),
        delivery(1, TEXT % b"a", esm_class=0x44),
        delivery(1, b"no receipt"),
        delivery(1, b""),
        delivery(1, b"", tlvs=tlv(0x1E, b"id\x00")),
        delivery(1, b"", tlvs=tlv(0x1E, b"x" * 256) + tlv(0x427, b"\x02")),
        delivery(1, TEXT % b"a", tlvs=b"\x00"),
        delivery(1, TEXT % b"a", tlvs=b"\x00\x1e\x00\x05abc"),
        delivery(1, TEXT % b"a", source=b"4" * 21),
        framed(DELIVER_SM, 0, 1),
        framed(0x00000103, 0, 1, b"data_sm"),
        framed(0x12345678, 0, 1, b"?"),
        framed(GENERIC_NACK, 3, 1),
    ],
)
def test_what_is_no_receipt_of_the_usual_form_is_for_the_session(strange):
    exchange = exchange_on()
    exchange.feed(strange, 1.0)
    assert exchange.take_rare() == [strange]
    assert exchange.take_rare() == []
    assert exchange.owed_waiting == exchange.ledger.receipts.count == exchange.ledger.waiting.count == 0


def test_every_octet_cut_off_a_receipt_leaves_it_to_the_session():
    whole = delivery(1, TEXT % b"a", tlvs=tlv(0x1E, b"a\x00"))
    for end in range(16, len(whole)):
        cut = end.to_bytes(4, "big") + whole[4:end]
        exchange = exchange_on()
        exchange.feed(cut, 1.0)
        # Cut between the text and its TLV it is whole.
        assert (exchange.take_rare() == []) == (end == len(whole) - 6)


@pytest.mark.parametrize(
    ("source", "number"),
    [
        (b"447700900123", 447700900123),
        (b"+447700900123", 447700900123),
        (b"", None),
        (b"+", None),
        (b"Sluice", None),
        (b"1" * 18, 111111111111111111),
        (b"1" * 19, None),
        (b"12 34", None),
    ],
)
def test_number_of_a_receipt_is_digits_or_nothing(source, number):
    exchange = exchange_on()
    exchange.feed(delivery(1, TEXT % b"a", source=source), 1.0)
    assert receipts_of(exchange.ledger)[1][0][3] == number


# ---------------------------------------------------------------------------------------------------------- what we owe


def answered_in(octets: bytes) -> list[int]:
    """Sequence numbers of the deliver_sm_resp in an output."""
    found = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        pdu = pdus.decode(octets[:length])
        assert (pdu.command, pdu.command_status, length) == ("deliver_sm_resp", 0, 17)
        found.append(pdu.sequence_number)
        octets = octets[length:]
    return found


def test_receipts_are_answered_up_to_the_mark_of_their_flush_and_no_further():
    exchange = exchange_on()
    exchange.feed(delivery(1, TEXT % b"a") + delivery(0, TEXT % b"b"), 1.0)
    first = exchange.owed_upto
    exchange.feed(delivery(0xFFFFFFFF, TEXT % b"c"), 1.0)
    exchange.owe_response(77)
    second = exchange.owed_upto
    assert exchange.out_waiting == 0
    exchange.acknowledge(first)
    assert answered_in(exchange.take_output()) == [1, 0]
    exchange.acknowledge(first)
    assert (exchange.out_waiting, exchange.owed_waiting) == (0, 2)
    exchange.acknowledge(second)
    assert answered_in(exchange.take_output()) == [0xFFFFFFFF, 77]


@given(steps=st.lists(st.tuples(st.integers(0, 700), st.floats(0, 1)), max_size=12))
def test_every_receipt_is_answered_once_and_in_order(steps):
    exchange = exchange_on()
    sequence, answered, marks = 0, [], [0]
    for n, share in steps:
        for _ in range(n):
            sequence += 1
            exchange.owe_response(sequence)
        marks.append(exchange.owed_upto)
        exchange.acknowledge(marks[int(share * (len(marks) - 1))])
        answered += answered_in(exchange.take_output())
        assert answered == list(range(1, len(answered) + 1))
        assert exchange.owed_waiting == sequence - len(answered)
    exchange.acknowledge(exchange.owed_upto)
    assert len(answered) + len(answered_in(exchange.take_output())) == sequence


@pytest.mark.parametrize("mark", [1000, 2**63, 2**64 - 1])
def test_mark_beyond_all_that_is_owed_answers_all_and_no_more(mark):
    exchange = exchange_on()
    for sequence in range(1, 4):
        exchange.owe_response(sequence)
    exchange.acknowledge(mark)
    assert answered_in(exchange.take_output()) == [1, 2, 3]
    exchange.acknowledge(mark)
    assert (exchange.owed_waiting, exchange.out_waiting) == (0, 0)


def test_what_was_owed_on_a_lost_link_is_owed_no_more():
    exchange = exchange_on()
    exchange.feed(delivery(1, TEXT % b"a"), 1.0)
    mark = exchange.owed_upto
    exchange.lose(2.0)
    exchange.acknowledge(mark)
    assert (exchange.out_waiting, exchange.owed_waiting) == (0, 0)


def test_receipts_are_answered_at_once_where_nothing_makes_them_durable():
    exchange = exchange_on()
    exchange.answers_at_once = True
    exchange.feed(delivery(5, TEXT % b"a"), 1.0)
    assert answered_in(exchange.take_output()) == [5]


# --------------------------------------------------------------------------------------------------------- any chunking

PDUS = st.one_of(
    st.builds(
        response, st.integers(0, 12), st.sampled_from([0, 0x58, 8, 11]), st.sampled_from([b"", b"abc\x00", b"x"])
    ),
    st.builds(delivery, st.integers(0, 0xFFFFFFFF), st.sampled_from([TEXT % b"abc", TEXT % b"z", b"hello", b""])),
    st.builds(framed, st.sampled_from([0x15, 0x80000015, GENERIC_NACK, 0x999]), st.just(0), st.integers(0, 9)),
    st.builds(
        framed, st.sampled_from([DELIVER_SM, SUBMIT_SM_RESP]), st.just(0), st.integers(0, 9), st.binary(max_size=60)
    ),
)


def everything_of(exchange: Exchange):
    """All that an exchange tells, in octets."""
    ledger = exchange.ledger
    return (
        ledger.outcomes.take(),
        ledger.receipts.take(),
        ledger.waiting.take(),
        exchange.take_rare(),
        exchange.owed_upto,
        exchange.lost_framing,
        ledger.counts(),
        exchange.window.in_flight,
    )


def fresh() -> Exchange:
    exchange = exchange_on(window=10)
    exchange.backlog.add(batch_of(3, 10))
    exchange.fill(1.0)
    exchange.take_output()
    return exchange


@settings(max_examples=300)
@given(stream=st.lists(PDUS, max_size=12).map(b"".join), tail=st.binary(max_size=20), data=st.data())
def test_whole_feed_byte_at_a_time_and_any_chunking_read_alike(stream, tail, data):
    stream += tail
    whole, single, pieces, direct = fresh(), fresh(), fresh(), fresh()
    whole.feed(stream, 2.0)
    for octet in stream:
        single.feed(bytes([octet]), 2.0)
    at = 0
    while at < len(stream):
        n = data.draw(st.integers(1, 40))
        pieces.feed(memoryview(stream)[at : at + n], 2.0)
        # As a transport reads: into the buffer, then how many.
        with memoryview(direct) as room:
            got = stream[at : at + n]
            room[: len(got)] = got
        direct.received(len(got), 2.0)
        at += n
    expected = everything_of(whole)
    lost = expected[5]
    for exchange in (single, pieces, direct):
        found = everything_of(exchange)
        # Octets behind a loss are counted by those that read them together with it.
        if lost:
            found[6].pop("octets_in"), expected[6].pop("octets_in", None)
        assert found == expected


@settings(max_examples=400)
@given(
    octets=st.binary(max_size=400),
    command=st.sampled_from([None, DELIVER_SM, SUBMIT_SM_RESP]),
    sequence=st.integers(0, 11),
)
def test_any_octets_are_rows_rare_or_the_end(octets, command, sequence):
    """Case 23 of the write protocol."""
    exchange = fresh()
    stream = octets if command is None else framed(command, 0, sequence, octets)
    exchange.feed(stream, 2.0)
    everything_of(exchange)
    exchange.fill(2.0)
    exchange.expire(5.0, 6.0)
    exchange.lose(7.0)


@settings(max_examples=400)
@given(pdu=PDUS, data=st.data())
def test_pdus_changed_anywhere_are_rows_rare_or_the_end(pdu, data):
    octets = bytearray(pdu)
    for _ in range(data.draw(st.integers(1, 5))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(
            st.sampled_from([0, 1, 4, 0x7F, 0x80, 0xFE, 0xFF])
        )
    exchange = fresh()
    exchange.feed(bytes(octets) + response(3), 2.0)
    everything_of(exchange)


@pytest.mark.parametrize("length", [*range(16), 66561, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_length_that_cannot_be_loses_the_framing_and_nothing_behind_it_is_read(length):
    exchange = fresh()
    exchange.feed(response(1) + length.to_bytes(4, "big") + bytes(12) + response(2), 2.0)
    assert exchange.lost_framing
    assert exchange.ledger.responses == 1
    exchange.feed(response(2), 2.0)
    with memoryview(exchange) as room:
        room[:20] = response(2)
    exchange.received(20, 2.0)
    assert exchange.ledger.responses == 1


def test_largest_pdu_is_taken_and_one_octet_more_is_not():
    exchange = exchange_on()
    exchange.feed(framed(0x15, 0, 1, bytes(exchange.cap - 16)), 1.0)
    assert [len(octets) for octets in exchange.take_rare()] == [66560]
    exchange.cap = 100
    exchange.feed(framed(0x15, 0, 1, bytes(84)) + framed(0x15, 0, 1, bytes(85)), 1.0)
    assert [len(octets) for octets in exchange.take_rare()] == [100]
    assert exchange.lost_framing


@pytest.mark.parametrize("cap", [-1, 15, (1 << 18) + 1, 2**31 - 1])
def test_cap_that_the_inbox_cannot_hold_is_refused(cap):
    with pytest.raises(ValueError, match="cap"):
        exchange_on().cap = cap


@pytest.mark.parametrize("n", [-1, (1 << 18) + 1, 2**62])
def test_more_octets_than_the_inbox_has_room_for_were_not_read(n):
    exchange = exchange_on()
    with pytest.raises(ValueError, match="received: expected"):
        exchange.received(n, 1.0)


def test_buffer_stays_where_it_is_while_octets_come_and_outlives_its_exchange():
    exchange = exchange_on()
    room = memoryview(exchange)
    assert (room.nbytes, room.readonly, room.format) == (1 << 18, False, "B")
    exchange.feed(response(1)[:7], 1.0)
    assert memoryview(exchange).nbytes == (1 << 18) - 7
    exchange.feed(delivery(1, TEXT % b"a") * 2000, 1.0)
    del exchange
    gc.collect()
    room[-1] = 1
    room.release()


# ----------------------------------------------------------------------------------------------------------- octets out


def test_multi_segment_message_goes_on_across_a_full_window():
    exchange = exchange_on(window=2)
    exchange.backlog.add(batch_of(1, ["x" * 700, "y"]))
    sent, sequence = [], 0
    while exchange.fill(1.0):
        found = sent_in(exchange.take_output())
        sent += [(one.pos, one.segment) for one in found]
        for one in found:
            exchange.feed(response(one.sequence, OK, b"%d\x00" % one.sequence), 1.5)
    assert sorted(sent) == [(0, segment) for segment in range(1, 6)] + [(1, 1)]
    rows = sorted(row[:4] for row in outcomes_of(exchange.ledger))
    assert rows == [(1, 0, segment, OK) for segment in range(1, 6)] + [(1, 1, 1, OK)]
    assert sequence == 0 and exchange.backlog.take_finished()[0].in_flight == 0


def test_lost_link_puts_what_left_in_doubt_and_gives_back_what_was_not_begun():
    exchange = exchange_on(window=3)
    exchange.backlog.add(batch_of(1, ["x" * 700]))
    assert exchange.fill(1.0) == 3
    assert exchange.lose(2.0) == 3
    assert [row[2:4] for row in outcomes_of(exchange.ledger)] == [(n, Refusal.UNCERTAIN) for n in (1, 2, 3)]
    assert (exchange.out_waiting, exchange.window.in_flight, exchange.fill(3.0)) == (0, 0, 0)
    other = exchange_on(exchange.backlog, exchange.ledger)
    assert other.fill(3.0) == 2
    assert [(one.pos, one.segment) for one in sent_in(other.take_output())] == [(0, 4), (0, 5)]
    for sequence in (1, 2):
        other.feed(response(sequence), 4.0)
    assert exchange.backlog.is_empty


def test_dropped_chunk_stops_in_the_middle_of_a_message():
    exchange = exchange_on(window=2)
    exchange.backlog.add(batch_of(1, ["x" * 700]))
    exchange.fill(1.0)
    exchange.backlog.drop(1)
    exchange.feed(response(1) + response(2), 2.0)
    assert exchange.fill(2.0) == 0
    assert len(exchange.backlog.take_finished()) == 1


def test_segment_sent_again_is_the_same_octets_but_for_its_number():
    exchange = exchange_on(window=10)
    exchange.backlog.add(batch_of(1, ["x" * 700]))
    exchange.fill(1.0)
    first = exchange.take_output()
    size = int.from_bytes(first[:4], "big")
    exchange.feed(response(1, THROTTLED), 2.0)
    exchange.fill(3.0)
    again = exchange.take_output()
    assert again[:12] == first[:12] and again[16:] == first[16:size]


def test_expired_messages_do_not_leave_the_first_time_nor_again():
    """Case 25 of the write protocol."""
    exchange = exchange_on(window=1)
    exchange.backlog.add(batch_of(1, 2, expires_at=5.0))
    assert exchange.fill(4.0) == 1
    exchange.feed(response(1, THROTTLED), 4.9)
    assert exchange.fill(6.0) == 0
    assert [row[2:4] for row in sorted(outcomes_of(exchange.ledger))] in (
        [(0, Refusal.EXPIRED), (1, Refusal.EXPIRED)],
        [(1, Refusal.EXPIRED), (0, Refusal.EXPIRED)],
    )
    assert exchange.ledger.refused == 2
    assert exchange.backlog.take_finished()


def test_what_stops_a_bind_has_its_name():
    exchange = exchange_on(window=2, tps=1)
    assert (exchange.fill(1.0), exchange.bound_by) == (0, "queue")
    batch = batch_of(1, 5)
    exchange.backlog.add(batch)
    assert (exchange.fill(2.0), exchange.bound_by) == (1, "rate")
    exchange.throttle.change(0)
    assert (exchange.fill(2.0), exchange.bound_by) == (1, "window")
    slow = exchange_on(window=5000)
    slow.backlog.add(batch_of(2, ["x" * 160] * 999 + ["y" * 4000]))
    slow.backlog.add(batch_of(3, ["x" * 160] * 1000))
    assert slow.fill(1.0) < 2000
    assert slow.bound_by == "carrier"
    assert slow.out_waiting < (1 << 18) + 400


def test_throttle_is_shared_by_the_binds_of_an_account():
    backlog, throttle = Backlog(), Throttle(100, 1.0)
    backlog.add(batch_of(1, 1000))
    exchanges = [Exchange(Window(1000), throttle, backlog, Ledger(1), status.table()) for _ in range(3)]
    throttle.allowance(0.0)
    for exchange in exchanges:
        exchange.may_submit = True
    assert sum(exchange.fill(5.0) for exchange in exchanges) == 100
    assert sum(exchange.fill(5.5) for exchange in exchanges) == 0


def test_outbox_grows_for_a_message_larger_than_what_it_was_made_for():
    exchange = exchange_on(window=100)
    batch = Batch.of(1, list(range(1, 21)), [["x" * 65535]] * 20)
    batch.dress(Form(Template("{{ text }}"), concatenation="payload"))
    batch.commit(20)
    exchange.backlog.add(batch)
    exchange.append(b"before")
    octets = b""
    while exchange.fill(1.0):
        octets += exchange.take_output()
    assert octets[:6] == b"before"
    assert len(octets) > 20 * 65535
    exchange.append(b"x" * (1 << 20))
    assert len(exchange.take_output()) == 1 << 20
    exchange.append(b"")
    assert exchange.take_output() == b""


def drained(peer: socket.socket, most: int = 1 << 20) -> bytes:
    try:
        return peer.recv(most)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("how", ["send", "pump"])
def test_small_kernel_buffer_takes_the_octets_in_pieces_and_loses_none(how):
    ours, peer = socket.socketpair()
    with ours, peer:
        for one in (ours, peer):
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        exchange = exchange_on(window=2000)
        exchange.backlog.add(batch_of(1, ["x" * 160] * 999))
        octets, left_over = b"", 0
        while True:
            if how == "pump":
                left = exchange.pump(ours.fileno(), 1.0)
            else:
                exchange.fill(1.0)
                left = exchange.send(ours.fileno())
            assert left == exchange.out_waiting
            left_over += left > 0
            found = drained(peer, 1000)
            if not found and not left:
                break
            octets += found
            # Octets of the session queue up behind.
            if len(octets) == 1000:
                exchange.append(framed(0x15, 0, 9))
        sent = sent_in(octets)
        assert left_over > 10
        assert sorted(one.pos for one in sent) == list(range(999))
        assert exchange.ledger.octets_out == len(octets)


@pytest.mark.parametrize("how", ["send", "pump"])
def test_broken_socket_is_an_oserror(how):
    exchange = exchange_on()
    exchange.backlog.add(batch_of(1, 3))
    ours, peer = socket.socketpair()
    peer.close()
    with ours, pytest.raises(BrokenPipeError):
        exchange.fill(1.0)
        exchange.send(ours.fileno()) if how == "send" else exchange.pump(ours.fileno(), 1.0)
    with pytest.raises(OSError):
        exchange.append(b"x")
        exchange.send(-1)
    assert exchange.lose(2.0) == 3


def test_nothing_to_write_asks_nothing_of_the_socket():
    assert exchange_on().send(-1) == 0
    assert exchange_on().pump(-1, 1.0) == 0


def test_draining_bind_ends_what_it_began_and_begins_nothing():
    exchange = exchange_on(window=2)
    exchange.backlog.add(batch_of(1, ["x" * 700, "y" * 700]))
    exchange.fill(1.0)
    exchange.draining = True
    sent, lap = 2, 0
    while lap < 10:
        for one in sent_in(exchange.take_output()):
            exchange.feed(response(one.sequence), 1.0)
        sent += exchange.fill(1.0)
        lap += 1
    assert (sent, exchange.window.in_flight) == (5, 0)


# ---------------------------------------------------------------------------------------------------------- the borders


@pytest.mark.parametrize("at", range(5))
def test_none_is_no_part_of_an_exchange(at):
    parts = [Window(1), Throttle(), Backlog(), Ledger(1), status.table()]
    parts[at] = None
    with pytest.raises(TypeError):
        Exchange(*parts)


def test_dispositions_are_one_octet_for_each_status():
    with pytest.raises(ValueError, match="expected 1280 octets"):
        Exchange(Window(1), Throttle(), Backlog(), Ledger(1), b"")


def test_octets_are_octets():
    exchange = exchange_on()
    for strange in (None, "text", 5):
        with pytest.raises(TypeError):
            exchange.append(strange)
        with pytest.raises(TypeError):
            exchange.feed(strange, 1.0)
    for strange in ((None, b""), (b"a", None)):
        with pytest.raises(TypeError):
            exchange.ledger.take_receipt(strange[0], 2, None, None, strange[1], 1.0)
    for message_id in (b"", b"x" * 256):
        with pytest.raises(ValueError, match="message_id"):
            exchange.ledger.take_receipt(message_id, 2, None, None, b"", 1.0)


def test_empty_feed_is_nothing():
    exchange = exchange_on()
    exchange.feed(b"", 1.0)
    exchange.received(0, 1.0)
    assert everything_of(exchange)[3] == []


def references_in(octets: bytes) -> list[tuple[int, int]]:
    """(reference, number of the part) of the concatenated submit_sm in an output."""
    found = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        message = pdus.decode(octets[:length]).fields["short_message"]
        found.append((int.from_bytes(message[3:5], "big"), message[6]))
        octets = octets[length:]
    return found


def test_part_sent_again_keeps_the_reference_of_its_message():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(1, ["x" * 400, "y" * 400]))
    exchange.fill(0.0)
    first = references_in(exchange.take_output())
    assert [number for _, number in first] == [1, 2, 3, 1, 2, 3]
    assert len({reference for reference, _ in first}) == 2
    for sequence in (2, 6):
        exchange.feed(response(sequence, THROTTLED, b""), 1.0)
    for sequence in (1, 3, 4, 5):
        exchange.feed(response(sequence), 1.0)
    exchange.fill(10.0)
    assert references_in(exchange.take_output()) == [first[1], first[5]]


def test_parts_that_go_to_another_bind_keep_the_reference_of_their_message():
    backlog = Backlog()
    exchange, other = exchange_on(backlog, window=1), exchange_on(backlog)
    backlog.add(batch_of(1, ["x" * 400]))
    exchange.fill(0.0)
    [(reference, _)] = references_in(exchange.take_output())
    exchange.lose(1.0)
    other.fill(2.0)
    assert references_in(other.take_output()) == [(reference, 2), (reference, 3)]


def test_refusals_are_counted_by_their_status_and_messages_by_their_segments():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(1, ["x" * 400, "y", "z", "ä"]))
    exchange.fill(0.0)
    exchange.take_output()
    for sequence, value in ((1, OK), (2, THROTTLED), (3, BAD_NUMBER), (4, 0x401), (5, 0x10000), (6, 0xFFFFFFFF)):
        exchange.feed(response(sequence, value), 1.0)
    assert exchange.ledger.refusals() == {THROTTLED: 1, BAD_NUMBER: 1, 0x401: 1, 0x500: 2}
    assert exchange.ledger.messages_by_segments() == {1: 3, 3: 1}


@pytest.mark.parametrize("registered_delivery", [0, 1, 2, 17])
def test_quirk_17_receipt_is_taken_and_answered_whether_it_was_asked_for_or_not(registered_delivery):
    exchange = exchange_on()
    exchange.answers_at_once = True
    batch = Batch.of(1, [447700900123], [["hello"]])
    batch.dress(Form(Template("{{ text }}"), registered_delivery=registered_delivery), 1e9)
    batch.commit(1)
    exchange.backlog.add(batch)
    exchange.fill(0.0)
    assert pdus.decode(exchange.take_output()).fields["registered_delivery"] == registered_delivery
    exchange.feed(response(1) + delivery(9, TEXT % b"abc"), 1.0)
    # Not remembered where none was asked for, so that it waits in Postgres; it is answered all the same.
    asked = registered_delivery != 0
    assert (exchange.ledger.receipts_matched, exchange.ledger.receipts_waiting) == (int(asked), int(not asked))
    assert pdus.decode(exchange.take_output()).command == "deliver_sm_resp"
    assert not exchange.rare and exchange.ledger.accepted == 1


def test_quirk_35_answer_to_a_delivery_is_seventeen_octets_with_one_nul():
    exchange = exchange_on()
    exchange.answers_at_once = True
    exchange.feed(delivery(0x01020304, TEXT % b"abc"), 1.0)
    assert exchange.take_output() == bytes.fromhex("00000011 80000005 00000000 01020304 00")


# ----------------------------------------------------------------------------------- limits, numbers, what refusals say

QUEUE_FULL, DELIVERY_FAILURE = 0x14, 0xFE


def refusal(sequence: int, value: int, tlvs: bytes) -> bytes:
    """A submit_sm_resp of an error, with its empty message_id and TLVs."""
    return (
        (17 + len(tlvs)).to_bytes(4, "big")
        + bytes.fromhex("80000004")
        + value.to_bytes(4, "big")
        + sequence.to_bytes(4, "big")
        + b"\0"
        + tlvs
    )


def test_bind_and_account_both_bind_and_are_both_spent():
    bind, account = Limit("bind 1", per_minute=5), Limit("account", per_minute=8)
    backlog, ledger = Backlog(), Ledger(1)
    exchanges = [exchange_on(backlog, ledger) for _ in range(2)]
    exchanges[0].hang_under([bind, account])
    exchanges[1].hang_under([account])
    backlog.add(batch_of(1, 100))
    assert [exchange.fill(100.0) for exchange in exchanges] == [5, 3]
    assert [exchange.bound_by for exchange in exchanges] == ["rate", "rate"]
    assert (bind.used(100.0)[0], account.used(100.0)[0]) == (5, 8)
    assert exchanges[0].ready_at(100.0) == 161.0


def test_limit_in_messages_counts_a_text_of_three_parts_once():
    exchange = exchange_on()
    limit = Limit("account", per_minute=2, per_message=True)
    exchange.hang_under([limit])
    exchange.backlog.add(batch_of(1, ["x" * 400] * 5))
    assert exchange.fill(100.0) == 6
    assert (limit.used(100.0)[0], exchange.bound_by) == (2, "rate")


def test_no_more_than_so_many_messages_to_one_number_are_unanswered():
    backlog, ledger, outstanding = Backlog(), Ledger(1), Outstanding(1)
    exchange = Exchange(Window(100), Throttle(), backlog, ledger, status.table(), None, outstanding)
    exchange.may_submit = exchange.takes_responses = True
    batch = Batch.of(1, [447700900123] * 5 + [447700900124])
    batch.dress(Form(Template("hello")))
    batch.commit(6)
    backlog.add(batch)
    now, written = 1.0, 0
    assert exchange.fill(now) == 2
    exchange.feed(response(1, OK, b"a\x00") + response(2, OK, b"b\x00"), now)
    for sequence in range(3, 7):
        now = backlog.again_at()
        assert exchange.fill(now) == 1
        assert outstanding.count(447700900123) == 1
        assert exchange.fill(now + 1.0) == 0
        exchange.feed(response(sequence, OK, b"c\x00"), now + 1.0)
        written += 1
    assert (written, batch.in_flight, backlog.is_empty) == (4, 0, True)
    assert backlog.take_finished() == [batch]


@pytest.mark.parametrize("ends", ["expire", "lose", "refused"])
def test_number_is_free_again_however_its_message_ends(ends):
    outstanding = Outstanding(1)
    exchange = Exchange(Window(9), Throttle(), Backlog(), Ledger(1), status.table(), None, outstanding)
    exchange.may_submit = exchange.takes_responses = True
    exchange.backlog.add(batch_of(1, 1))
    exchange.fill(1.0)
    if ends == "expire":
        exchange.expire(5.0, 5.0)
        exchange.feed(response(1, OK, b"late\x00"), 6.0)
    elif ends == "lose":
        exchange.lose(5.0)
    else:
        exchange.feed(response(1, 0x0B), 5.0)
    assert outstanding.count(1000 + 10**11) == 0


def test_one_recipient_whose_queue_is_full_waits_and_holds_up_nobody():
    """Quirk 30: 0x14 may mean one recipient."""
    exchange = exchange_on()
    exchange.backlog.add(batch_of(1, 200))
    exchange.fill(1.0)
    for attempt in range(exchange.queue_full_attempts):
        now = 1.0 + 100.0 * attempt
        (sent, *_) = sent_in(exchange.take_output())
        exchange.feed(response(sent.sequence, QUEUE_FULL), now)
        assert (exchange.ledger.queue_full, exchange.ledger.throttled) == (attempt + 1, 0)
        exchange.feed(b"".join(response(sequence, OK, b"x\x00") for sequence in range(1, 101)), now)
        exchange.fill(now + 29.0)
        exchange.take_output()
        exchange.feed(b"".join(response(sequence, OK, b"x\x00") for sequence in range(101, 201)), now + 29.0)
        exchange.fill(now + exchange.queue_full_delay_s)
    statuses = [row[3] for row in outcomes_of(exchange.ledger)]
    assert statuses.count(QUEUE_FULL) == 1


def test_queue_that_is_full_for_many_recipients_is_the_smsc_s_own():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(1, 50))
    exchange.fill(1.0)
    for sequence in range(1, 11):
        exchange.feed(response(sequence, QUEUE_FULL), 1.1)
    assert (exchange.ledger.queue_full, exchange.ledger.throttled) == (10, 7)
    assert (len(exchange.backlog.delayed), len(exchange.backlog.throttled)) == (3, 7)


def test_network_error_of_a_refusal_goes_before_its_status():
    exchange = exchange_on()
    disposition = status.Disposition
    exchange.judge_network_errors({(3, 21): disposition.RETRY, (-1, 7): disposition.FAIL})
    exchange.backlog.add(batch_of(1, 3))
    exchange.fill(1.0)
    exchange.feed(refusal(1, 0x0B, tlv(0x423, b"\x03\x00\x15")), 1.1)
    exchange.feed(refusal(2, SYSTEM_ERROR, tlv(0x423, b"\x01\x00\x07")), 1.1)
    exchange.feed(refusal(3, SYSTEM_ERROR, tlv(0x423, b"\x03\x00\x09")), 1.1)
    assert [row[3] for row in outcomes_of(exchange.ledger)] == [SYSTEM_ERROR]
    assert (exchange.ledger.retried, exchange.ledger.refusals()) == (2, {0x0B: 1, SYSTEM_ERROR: 2})


@pytest.mark.parametrize(("reason", "retried"), [(0, 1), (3, 1), (1, 0), (2, 0), (None, 0)])
def test_delivery_failure_is_tried_again_where_its_reason_may_pass(reason, retried):
    exchange = exchange_on()
    exchange.backlog.add(batch_of(1, 1))
    exchange.fill(1.0)
    exchange.feed(refusal(1, DELIVERY_FAILURE, b"" if reason is None else tlv(0x425, bytes([reason]))), 1.1)
    assert exchange.ledger.retried == retried


def test_congestion_state_is_heard_and_an_absurd_one_is_not():
    exchange = exchange_on()
    exchange.backlog.add(batch_of(1, 4))
    exchange.fill(1.0)
    assert exchange.ledger.congestion == -1
    for sequence, value, heard in ((1, b"\x50", 80), (2, b"\xff", 80), (3, b"", 80), (4, b"\x00", 0)):
        exchange.feed(response(sequence, OK, b"id\x00" + tlv(0x428, value)), 1.1)
        assert exchange.ledger.congestion == heard
    assert [row[4] for row in outcomes_of(exchange.ledger)] == [b"id"] * 4


def test_bind_takes_limits_and_no_more_than_it_has_room_for():
    exchange = exchange_on()
    with pytest.raises(ValueError, match="at most 6"):
        exchange.hang_under([Limit("x")] * 7)
    with pytest.raises(TypeError, match="expected a Limit"):
        exchange.hang_under([Throttle()])


def test_too_many_parts_are_told_beside_the_refusal() -> None:
    backlog, ledger = Backlog(), Ledger(1)
    batch = Batch.of(7, [447700900000, 447700900001], [["x" * 400], ["x" * 600]])
    batch.dress(Form(Template("{{ text }}"), max_parts=2), 1e9)
    batch.commit(2)
    backlog.add(batch)
    exchange_on(backlog, ledger).fill(1.0)
    rows = [[*map(oracle.integer, row[:-1])] for row in oracle.rows(ledger.outcomes.take())]
    # segment, segments, status
    assert sorted((row[3], row[4], row[6]) for row in rows) == [(0, 3, -11), (0, 4, -11)]


def test_what_transliteration_saved_is_counted_once_a_message_however_often_it_is_tried() -> None:
    backlog, ledger = Backlog(), Ledger(1)
    exchange = exchange_on(backlog, ledger)
    exchange.retry_delay_s, exchange.retry_longest_s, exchange.max_attempts = 1.0, 1.0, 5
    batch = Batch.of(7, [447700900000, 447700900001], [["\u201cquoted\u201d" + "x" * 100], ["plain"]])
    batch.dress(Form(Template("{{ text }}"), transliterate="safe"), 1e9)
    batch.commit(2)
    backlog.add(batch)
    now = 1.0
    for _ in range(4):
        exchange.fill(now)
        for sent in list(pdus_in(exchange.take_output())):
            exchange.feed(response(sent.sequence_number, SYSTEM_ERROR if now < 4 else OK), now)
        now += 2.0
    assert (ledger.submitted, ledger.retried, ledger.accepted) == (6, 4, 2)
    assert (ledger.transliterated, ledger.segments_saved) == (1, 1)
    assert ledger.counts()["transliterated"] == ledger.counts()["segments_saved"] == 1


def pdus_in(octets: bytes) -> list[pdus.Pdu]:
    found = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        found.append(pdus.decode(octets[:length]))
        octets = octets[length:]
    return found


def test_quirk_40_time_from_submit_to_receipt_tells_a_carrier_whose_receipts_come_at_once() -> None:
    delays = {}
    for name, seconds in (("honest", 4.0), ("fake", 0.001)):
        backlog, ledger = Backlog(), Ledger(1)
        exchange = exchange_on(backlog, ledger)
        backlog.add(batch_of(7, 100))
        exchange.fill(1.0)
        for sent in sent_in(exchange.take_output()):
            exchange.feed(response(sent.sequence, body=b"m%d\x00" % sent.sequence), 1.0)
            exchange.feed(delivery(sent.sequence, TEXT % (b"m%d" % sent.sequence)), 1.0 + seconds)
        assert ledger.receipts_matched == 100
        delays[name] = ledger.submit_to_receipt.quantile(0.9)
    # examples/prometheus/alerts.yml: SluiceReceiptsTooSoon
    assert delays["fake"] < 200_000 < delays["honest"]
