"""What one lane has to tell Postgres, and what it counts: outcomes, receipts, and the receipts that wait.

    response ─► outcome row, recall          receipt ─► recall ─► receipt row
                                                           └────► waiting row, when its message_id is not known (yet)

Shared by all binds of a carrier on this worker. Not here: reading PDUs (inbound.pyx), what a status means
(exchange.pyx), the COPY octets themselves (copyrows.pyx).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport INT64_MIN, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from _fastpath.batch cimport Batch
from _fastpath.copyrows cimport OutcomeRows, ReceiptRows, WaitingRows
from _fastpath.histogram cimport Histogram
from _fastpath.inbound cimport Reading, Receipt
from _fastpath.recall cimport Memory, Recall

cdef enum:
    # of different recipients: past it a full queue is no longer one person's
    MANY = 4


@cython.final
cdef class Ledger:
    """What one lane has to tell Postgres, and what it counts. Shared by all binds of a carrier on this worker.

    wall_offset_us  microseconds since 2000-01-01 UTC minus the monotonic clock's: set anew before each flush, so that
                    rows carry wall time though the path reads only the monotonic clock
    """

    def __init__(self, int lane, int recall_capacity=1 << 18, Reading reading=None):
        self.outcomes = OutcomeRows(lane)
        self.receipts = ReceiptRows(lane)
        self.waiting = WaitingRows(lane)
        self.recall = Recall(recall_capacity)
        self.reading = Reading() if reading is None else reading
        self.submit_to_response = Histogram()
        self.submit_to_receipt = Histogram()
        self.congestion = -1
        self.full_since = -1e9

    def take_receipt(self, bytes message_id not None, int state, bytes err, number, bytes raw not None, double now,
                     other=None, done_at_us=None):
        """A receipt that the session read (data_sm, odd forms): the same rows as the compiled path writes.

        err, number, other, done_at_us  None where unknown
        """
        cdef Receipt found
        if not 0 < len(message_id) <= 255:
            raise ValueError(f"message_id: expected 1 to 255 octets, got {len(message_id)}")
        found.message_id = <const uint8_t*>PyBytes_AS_STRING(message_id)
        found.id_octets = <int>len(message_id)
        found.state = state if 0 <= state <= 9 else -1
        found.err = NULL
        found.err_octets = -1
        if err is not None:
            found.err = <const uint8_t*>PyBytes_AS_STRING(err)
            found.err_octets = <int>len(err)
        found.done_at_us = INT64_MIN if done_at_us is None else done_at_us
        found.number = INT64_MIN if number is None else number
        found.other = INT64_MIN if other is None else other
        found.text = <const uint8_t*>PyBytes_AS_STRING(raw)
        found.text_octets = <int>len(raw)
        self.enter_receipt(&found, now)

    cdef bint note_queue_full(self, int64_t number, double now) noexcept nogil:
        """One recipient's queue is said to be full; -> whether so many recipients say so that it is the SMSC's own.

        So it is when within a second 4 different numbers, and a twentieth of all answers, were refused with it.
        """
        cdef int i
        if now - self.full_since >= 1.0:
            self.full_since = now
            self.full_from = self.responses - 1
            self.full_answers = 0
            self.full_distinct = 0
        self.queue_full += 1
        self.full_answers += 1
        for i in range(self.full_distinct):
            if self.full_numbers[i] == number:
                break
        else:
            if self.full_distinct < MANY:
                self.full_numbers[self.full_distinct] = number
                self.full_distinct += 1
        return self.full_distinct >= MANY and self.full_answers * 20 >= self.responses - self.full_from

    cdef int enter_receipt(self, const Receipt* found, double now) except -1:
        """A receipt becomes a row: with its segment where the memory knows it, else a waiting one."""
        cdef Memory* memory
        cdef int64_t at_us = <int64_t>(now * 1e6) + self.wall_offset_us
        cdef uint32_t now_10us
        memory = self.recall.match(found.message_id, found.id_octets, found.number, found.other)
        if memory != NULL:
            self.receipts.add(
                memory.chunk_id, memory.pos, <int16_t>memory.segment, at_us, found.message_id, found.id_octets,
                <int16_t>found.state, found.err, found.err_octets, found.done_at_us, found.number,
                found.text, found.text_octets)
            self.receipts_matched += 1
            now_10us = <uint32_t><uint64_t>(now * 1e5)
            self.submit_to_receipt.add_us(<double><uint32_t>(now_10us - memory.sent_10us) * 10.0)
        else:
            self.waiting.add(
                at_us, found.message_id, found.id_octets, <int16_t>found.state, found.err, found.err_octets,
                found.done_at_us, found.number, found.other, found.text, found.text_octets)
            self.receipts_waiting += 1
        self.receipt_states[found.state if found.state >= 0 else 10] += 1
        return 0

    cdef void count_status(self, uint32_t status) noexcept:
        self.statuses[status if status < 1280 else 1280] += 1

    def refusals(self):
        """How often each command_status but that of acceptance came; 0x500 stands for all above the table."""
        return {i: self.statuses[i] for i in range(1281) if self.statuses[i]}

    def messages_by_segments(self):
        """How many messages were begun with so many segments, by that number."""
        return {i: self.lengths[i] for i in range(256) if self.lengths[i]}

    def give_up(self, Batch batch not None, int32_t pos, int16_t segment, int16_t segments, int32_t status, double now):
        """A segment is tried no more: its outcome is what the SMSC said to the last try, or a reason of ours."""
        if status > 0:
            self.rejected += 1
        else:
            self.refused += 1
        self.outcomes.add(batch.chunk_id, pos, segment, segments, batch.epoch, status,
                          <int64_t>(now * 1e6) + self.wall_offset_us, 0, NULL, -1)

    def counts(self):
        """Every counter by name; receipts by message_state under `receipt_states`."""
        return {
            "submitted": self.submitted, "responses": self.responses, "accepted": self.accepted,
            "throttled": self.throttled, "retried": self.retried, "rejected": self.rejected, "refused": self.refused,
            "suppressed": self.suppressed,
            "uncertain": self.uncertain, "receipts_matched": self.receipts_matched,
            "receipts_waiting": self.receipts_waiting, "unknown_responses": self.unknown_responses,
            "receipt_rule_strays": self.recall.strays, "octets_in": self.octets_in, "octets_out": self.octets_out,
            "queue_full": self.queue_full, "transliterated": self.transliterated, "segments_saved": self.segments_saved,
            "nameless": self.nameless,
            "receipt_states": [self.receipt_states[i] for i in range(12)],
        }
