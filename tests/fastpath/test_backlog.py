"""The backlog: batches are handed out in order, kept while a segment of theirs is unsettled, and finished once."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.backlog import Backlog
from _fastpath.batch import Batch
from _fastpath.exchange import Exchange
from _fastpath.ledger import Ledger
from _fastpath.limit import Limit
from _fastpath.outbound import Form
from _fastpath.template import Template
from _fastpath.throttle import Throttle
from _fastpath.window import Window
from gateway.smpp import pdu as pdus
from gateway.smpp import status

RESPONSE = bytes.fromhex("0000001280000004")
THROTTLED, SYSTEM_ERROR = 0x58, 0x08


def batch_of(chunk_id: int, n: int = 3, text: str = "hello", *, committed: bool = True, epoch: int = 1) -> Batch:
    batch = Batch.of(chunk_id, [447700900000 + i for i in range(n)], epoch=epoch)
    batch.dress(Form(Template(text)))
    if committed:
        batch.commit(n)
    return batch


def exchange_on(backlog: Backlog, window: int = 100) -> Exchange:
    exchange = Exchange(Window(window), Throttle(), backlog, Ledger(1), status.table())
    exchange.may_submit = exchange.takes_responses = True
    return exchange


def answer(exchange: Exchange, sequence: int, value: int = 0, now: float = 2.0) -> None:
    exchange.feed(RESPONSE + value.to_bytes(4, "big") + sequence.to_bytes(4, "big") + b"a\x00", now)


def test_batches_are_handed_out_in_the_order_of_their_coming():
    backlog = Backlog()
    exchange = exchange_on(backlog)
    batches = [batch_of(chunk_id) for chunk_id in (5, 3, 4)]
    for batch in batches:
        backlog.add(batch)
    assert backlog.batches() == batches
    assert (backlog.unsent, backlog.in_flight, backlog.is_empty) == (9, 0, False)
    assert exchange.fill(1.0) == 9
    assert (backlog.unsent, backlog.in_flight, backlog.handed_out) == (0, 9, 9)
    for sequence in range(1, 10):
        answer(exchange, sequence)
    assert backlog.take_finished() == batches
    assert backlog.take_finished() == []
    assert backlog.is_empty


def test_batch_that_is_not_dressed_or_here_already_is_refused():
    backlog = Backlog()
    with pytest.raises(ValueError, match="not dressed"):
        backlog.add(Batch.of(1, [1]))
    with pytest.raises(TypeError):
        backlog.add(None)
    backlog.add(batch_of(1))
    with pytest.raises(ValueError, match="here already"):
        backlog.add(batch_of(1))


def test_watermark_that_stands_holds_what_is_behind_it():
    backlog = Backlog()
    exchange = exchange_on(backlog)
    first, second = batch_of(1, committed=False), batch_of(2)
    backlog.add(first)
    backlog.add(second)
    assert (exchange.fill(1.0), exchange.bound_by) == (0, "intent")
    first.commit(2)
    assert (exchange.fill(1.0), exchange.bound_by) == (2, "intent")
    first.commit(3)
    assert (exchange.fill(1.0), exchange.bound_by) == (4, "queue")


def test_batch_is_finished_when_its_last_segment_is_settled_not_before():
    backlog = Backlog()
    exchange = exchange_on(backlog)
    backlog.add(batch_of(1))
    exchange.fill(1.0)
    for sequence in (3, 1):
        answer(exchange, sequence)
        assert backlog.take_finished() == []
    answer(exchange, 2)
    assert [batch.chunk_id for batch in backlog.take_finished()] == [1]


def test_batch_whose_every_position_is_refused_is_finished_too():
    backlog = Backlog()
    exchange = exchange_on(backlog)
    batch = Batch.of(1, [1, 2], [["ж"], [None]])
    batch.dress(Form(Template("{{ text }}"), alphabets=("gsm7",)))
    batch.commit(2)
    backlog.add(batch)
    assert exchange.fill(1.0) == 0
    assert (batch.refused, batch.is_finished) == (2, True)
    assert backlog.take_finished() == [batch]


@pytest.mark.parametrize("handed_out", [0, 1, 3])
def test_dropped_batch_sends_nothing_more_and_is_finished_with_its_last_response(handed_out):
    backlog = Backlog()
    exchange = exchange_on(backlog, max(1, handed_out))
    backlog.add(batch_of(1))
    backlog.add(batch_of(2))
    if handed_out:
        exchange.fill(1.0)
    backlog.drop(1)
    backlog.drop(1)
    backlog.drop(99)
    assert backlog.unsent == 3
    finished = backlog.take_finished()
    for sequence in range(1, handed_out + 1):
        assert finished == []
        answer(exchange, sequence)
        finished += backlog.take_finished()
    assert [batch.chunk_id for batch in finished] == [1]
    exchange.fill(2.0)
    assert [batch.chunk_id for batch in backlog.batches()] == [2]


def test_segments_of_a_dropped_batch_that_wait_for_another_try_are_let_go():
    backlog = Backlog()
    exchange = exchange_on(backlog)
    backlog.add(batch_of(1, 2))
    exchange.fill(1.0)
    answer(exchange, 1, THROTTLED)
    answer(exchange, 2, SYSTEM_ERROR)
    backlog.drop(1)
    assert backlog.take_finished() == []
    assert exchange.fill(10.0) == 0
    assert [batch.chunk_id for batch in backlog.take_finished()] == [1]
    assert exchange.ledger.outcomes.count == 0


def test_chunk_that_was_lost_and_claimed_anew_is_another_batch():
    backlog = Backlog()
    exchange = exchange_on(backlog, 1)
    backlog.add(batch_of(7))
    backlog.add(batch_of(1, epoch=1))
    backlog.drop(1)
    assert [batch.epoch for batch in backlog.take_finished()] == [1]
    backlog.add(batch_of(1, epoch=2))
    gc.collect()
    sequence = 0
    while exchange.fill(1.0):
        sequence += 1
        assert [batch.epoch for batch in backlog.batches() if batch.chunk_id == 1] == [2]
        answer(exchange, sequence)
    assert sequence == 6
    assert [(batch.chunk_id, batch.epoch) for batch in backlog.take_finished()] == [(7, 1), (1, 2)]


def test_chunk_may_come_back_while_segments_of_its_lost_batch_are_unanswered():
    backlog = Backlog()
    exchange = exchange_on(backlog, 3)
    backlog.add(batch_of(1, epoch=1))
    exchange.fill(1.0)
    backlog.drop(1)
    backlog.add(batch_of(1, epoch=2))
    for sequence in (1, 2, 3):
        answer(exchange, sequence)
    assert [batch.epoch for batch in backlog.take_finished()] == [1]
    assert exchange.fill(3.0) == 3
    assert [batch.epoch for batch in backlog.batches()] == [2]


def test_next_try_is_named_by_its_moment_and_by_the_hold():
    backlog = Backlog()
    exchange = exchange_on(backlog)
    assert backlog.again_at() is None
    backlog.add(batch_of(1, 3))
    exchange.fill(1.0)
    answer(exchange, 1, SYSTEM_ERROR, now=2.0)
    assert (len(backlog.delayed), backlog.again_at()) == (1, 2.0 + exchange.retry_delay_s)
    answer(exchange, 2, THROTTLED, now=2.0)
    assert (len(backlog.throttled), backlog.again_at()) == (1, 2.0 + exchange.throttle_pause_s)
    backlog.hold(2.9)
    backlog.hold(2.5)
    assert (backlog.hold_until, backlog.again_at()) == (2.9, 2.9)
    assert exchange.fill(2.8) == 0
    assert exchange.fill(2.9) == 1


def test_thousands_of_segments_wait_for_another_try_in_their_order():
    backlog = Backlog()
    exchange = exchange_on(backlog, 5000)
    batch = batch_of(1, 5000)
    backlog.add(batch)
    for lap in range(3):
        assert exchange.fill(lap * 10.0) == 5000
        exchange.take_output()
        for sequence in range(lap * 5000 + 1, lap * 5000 + 5001):
            answer(exchange, sequence, THROTTLED, now=lap * 10.0 + 1)
        assert len(backlog.throttled) == 5000
    assert batch.in_flight == 5000
    assert exchange.ledger.throttled == 15_000


# ------------------------------------------------------------------------------------------------------------- classes

OTP, TRANSACTIONAL, TRIGGERED, BULK = 0, 3, 4, 5
NUMBER = "destination_addr"


def class_batch(chunk_id: int, class_: int, n: int = 3, *, country: int = 0, limits=()) -> Batch:
    batch = Batch.of(chunk_id, [chunk_id * 1000 + pos + 10**11 for pos in range(n)], class_=class_, country=country)
    batch.dress(Form(Template("hello")), limits=limits)
    batch.commit(n)
    return batch


def chunks_sent(exchange: Exchange) -> list[int]:
    """The chunk of every submit_sm in the output, in order."""
    octets, found = exchange.take_output(), []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        pdu, octets = pdus.decode(octets[:length]), octets[length:]
        found.append((int(pdu.fields[NUMBER]) - 10**11) // 1000)
    return found


def test_code_goes_before_everything_that_waits():
    backlog = Backlog()
    exchange = exchange_on(backlog, 2)
    backlog.add(class_batch(1, BULK, 100))
    assert exchange.fill(1.0) == 2
    backlog.add(class_batch(2, TRANSACTIONAL, 1))
    backlog.add(class_batch(3, OTP, 2))
    for sequence in range(1, 6):
        answer(exchange, sequence, now=1.0)
        exchange.fill(1.0)
    assert chunks_sent(exchange)[2:] == [3, 3, 2, 1, 1]


def test_code_whose_watermark_is_on_its_way_holds_nobody_up_and_goes_next():
    backlog = Backlog()
    exchange = exchange_on(backlog, 2)
    code = Batch.of(2, [2 * 1000 + 10**11], class_=OTP)
    code.dress(Form(Template("hello")))
    backlog.add(code)
    assert (exchange.fill(1.0), exchange.bound_by) == (0, "intent")
    backlog.add(class_batch(1, BULK, 100))
    assert exchange.fill(1.0) == 2
    code.commit(1)
    backlog.look_again()
    answer(exchange, 1, now=1.0)
    exchange.fill(1.0)
    assert chunks_sent(exchange) == [1, 1, 2]


def test_bulk_keeps_a_quarter_beside_triggered_messages():
    backlog = Backlog()
    exchange = exchange_on(backlog, 640)
    backlog.add(class_batch(1, BULK, 900))
    backlog.add(class_batch(2, TRIGGERED, 900))
    exchange.fill(1.0)
    sent = chunks_sent(exchange)
    assert (sent.count(1), sent.count(2)) == (160, 480)


def test_refused_bulk_segments_do_not_stand_before_a_code():
    backlog = Backlog()
    exchange = exchange_on(backlog, 4)
    backlog.add(class_batch(1, BULK, 4))
    exchange.fill(1.0)
    for sequence in (1, 2):
        answer(exchange, sequence, THROTTLED, now=1.0)
        answer(exchange, sequence + 2, SYSTEM_ERROR, now=1.0)
    backlog.add(class_batch(2, OTP, 2))
    exchange.take_output()
    assert exchange.fill(60.0) == 4
    assert chunks_sent(exchange) == [2, 2, 1, 1]


def test_paused_batch_is_passed_over_and_goes_on_where_it_stood():
    backlog = Backlog()
    exchange = exchange_on(backlog, 100)
    first, second = class_batch(1, BULK), class_batch(2, BULK)
    backlog.add(first)
    backlog.add(second)
    first.paused = True
    exchange.fill(1.0)
    assert (chunks_sent(exchange), exchange.bound_by, backlog.unsent) == ([2, 2, 2], "queue", 0)
    first.paused = False
    backlog.look_again()
    assert (exchange.fill(1.0), chunks_sent(exchange)) == (3, [1, 1, 1])


def test_segment_of_a_paused_batch_that_waits_for_another_try_waits_on():
    backlog = Backlog()
    exchange = exchange_on(backlog, 100)
    batch = class_batch(1, BULK, 1)
    backlog.add(batch)
    exchange.fill(1.0)
    answer(exchange, 1, THROTTLED, now=1.0)
    batch.paused = True
    assert exchange.fill(10.0) == 0
    batch.paused = False
    assert exchange.fill(11.0) == 1


def test_paused_carrier_sends_nothing_at_all():
    backlog = Backlog()
    exchange = exchange_on(backlog, 100)
    backlog.add(class_batch(1, OTP, 2))
    exchange.fill(1.0)
    answer(exchange, 1, THROTTLED, now=1.0)
    backlog.add(class_batch(2, OTP))
    backlog.paused = True
    assert exchange.fill(10.0) == 0
    backlog.paused = False
    assert exchange.fill(10.0) == 4


def test_limit_of_a_sender_lets_the_others_pass_and_is_kept():
    backlog = Backlog()
    exchange = exchange_on(backlog, 1000)
    sender = Limit("sender A", per_minute=5)
    backlog.add(class_batch(1, OTP, 20, limits=[sender]))
    backlog.add(class_batch(2, BULK, 7))
    exchange.fill(100.0)
    sent = chunks_sent(exchange)
    assert (sent.count(1), sent.count(2), exchange.bound_by) == (5, 7, "limit")
    ready = backlog.again_at()
    assert ready == 161.0
    assert exchange.fill(ready - 0.01) == 0
    assert exchange.fill(ready) == 5


def test_message_in_parts_goes_whole_or_not_at_all_under_a_limit():
    backlog = Backlog()
    exchange = exchange_on(backlog, 1000)
    limit = Limit("run 9", per_minute=7)
    batch = Batch.of(1, [10**11 + pos for pos in range(5)])
    batch.dress(Form(Template("x" * 400)), limits=[limit])
    batch.commit(5)
    backlog.add(batch)
    assert exchange.fill(100.0) == 6
    assert limit.used(100.0) == (6, 0)
    by_message = Limit("run 9", per_minute=4, per_message=True)
    other = Batch.of(2, [10**11 + pos for pos in range(5)])
    other.dress(Form(Template("x" * 400)), limits=[by_message])
    other.commit(5)
    backlog.add(other)
    assert exchange.fill(100.0) == 12


def test_refused_segment_counts_again_under_the_limit_when_it_is_sent_again():
    backlog = Backlog()
    exchange = exchange_on(backlog, 1000)
    limit = Limit("country 826", per_minute=3)
    backlog.add(class_batch(1, BULK, 3, limits=[limit]))
    assert exchange.fill(100.0) == 3
    answer(exchange, 1, THROTTLED, now=100.1)
    assert exchange.fill(110.0) == 0
    assert exchange.fill(161.0) == 1


@pytest.mark.parametrize("class_", [-1, 6])
def test_class_outside_the_six_is_refused(class_):
    with pytest.raises(ValueError, match="class: expected 0 to 5"):
        Batch.of(1, [1], class_=class_)


@given(moments=st.lists(st.floats(0.0, 100.0), min_size=1, max_size=200))
def test_segments_with_a_moment_of_their_own_come_back_in_the_order_of_their_moments(moments):
    backlog = Backlog()
    exchange = exchange_on(backlog, 1000)
    exchange.retry_longest_s = exchange.retry_delay_s = 1000.0
    backlog.add(batch_of(1, len(moments)))
    exchange.fill(0.0)
    for sequence, moment in enumerate(moments, 1):
        answer(exchange, sequence, SYSTEM_ERROR, now=moment)
    exchange.take_output()
    for moment in sorted(moments):
        assert backlog.again_at() == moment + 1000.0 or exchange.fill(moment + 999.0) == 0
        assert backlog.again_at() in (moment + 1000.0, None) or backlog.again_at() > moment + 1000.0
        exchange.fill(moment + 1000.0)
    assert len(backlog.delayed) == 0


def test_what_waits_for_another_try_is_taken_over_whole_and_its_batch_is_finished_when_it_is_let_go():
    backlog = Backlog()
    exchange = exchange_on(backlog)
    exchange.retry_delay_s = 600.0
    batch = batch_of(3, 2)
    backlog.add(batch)
    exchange.fill(1.0)
    first, second = batch.ranks(0, 2)
    answer(exchange, 1, THROTTLED)
    answer(exchange, 2, SYSTEM_ERROR)
    assert backlog.take_waiting() == [(batch, first, 1, 1, THROTTLED), (batch, second, 1, 1, SYSTEM_ERROR)]
    assert backlog.take_waiting() == [] and backlog.again_at() is None
    assert exchange.fill(9999.0) == 0
    assert backlog.in_flight == 2 and backlog.take_finished() == []
    backlog.let_go(batch, 2)
    assert backlog.take_finished() == [batch]
    with pytest.raises(ValueError, match="expected 0 to 0 segments, got 1"):
        backlog.let_go(batch, 1)


def test_batch_that_is_shut_begins_nothing_more_and_its_brothers_go_on():
    backlog = Backlog()
    exchange = exchange_on(backlog, window=2)
    over, other = batch_of(3, 5), batch_of(4, 1)
    backlog.add(over)
    backlog.add(other)
    assert exchange.fill(1.0) == 2 and over.next_rank == 2
    over.shut()
    backlog.look_again()
    answer(exchange, 1)
    answer(exchange, 2, SYSTEM_ERROR)
    assert exchange.fill(3.0) == 1 and (over.next_rank, other.next_rank) == (2, 1)
    # What waits for another try is not begun again either.
    assert exchange.fill(9999.0) == 0
    assert backlog.closed(9999.0) == [over] and not backlog.closed(9999.0)[0].dropped


def test_message_that_has_begun_when_its_batch_is_shut_goes_to_its_end():
    backlog = Backlog()
    exchange = exchange_on(backlog, window=1)
    batch = batch_of(3, 2, text="long " * 60)
    backlog.add(batch)
    assert exchange.fill(1.0) == 1
    batch.shut()
    backlog.look_again()
    answer(exchange, 1)
    assert exchange.fill(2.0) == 1 and batch.next_rank == 1
    answer(exchange, 2)
    assert exchange.fill(3.0) == 0 and batch.in_flight == 0


@pytest.mark.parametrize("status_", [THROTTLED, SYSTEM_ERROR])
def test_what_waits_of_some_batches_is_taken_and_the_others_keep_their_order_and_moments(status_):
    backlog = Backlog()
    exchange = exchange_on(backlog)
    exchange.retry_delay_s = 600.0
    taken, left = batch_of(3, 3), batch_of(4, 3)
    backlog.add(taken)
    backlog.add(left)
    assert exchange.fill(1.0) == 6
    for place, sequence in enumerate((4, 1, 6, 2, 5, 3)):
        answer(exchange, sequence, status_, now=2.0 + place)
    at = backlog.again_at()
    found = backlog.take_waiting_of({taken})
    assert sorted(found, key=lambda one: one[1]) == [(taken, pos, 1, 1, status_) for pos in range(3)]
    assert backlog.take_waiting_of({taken}) == [] and backlog.again_at() == at
    order = left.ranks(0, 3)
    assert [pos for _, pos, _, _, _ in backlog.take_waiting()] == [order[0], order[2], order[1]]
