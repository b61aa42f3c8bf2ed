from libc.stdint cimport int64_t, uint32_t, uint64_t

from _fastpath.copyrows cimport OutcomeRows, ReceiptRows, WaitingRows
from _fastpath.histogram cimport Histogram
from _fastpath.inbound cimport Reading, Receipt
from _fastpath.recall cimport Recall


cdef class Ledger:
    cdef readonly OutcomeRows outcomes
    cdef readonly ReceiptRows receipts
    cdef readonly WaitingRows waiting
    cdef readonly Recall recall
    cdef readonly Reading reading
    cdef readonly Histogram submit_to_response
    cdef readonly Histogram submit_to_receipt
    cdef public int64_t wall_offset_us
    cdef public uint64_t submitted, responses, accepted, throttled, retried, rejected, refused, uncertain
    # of the refused: who it was for has said STOP
    cdef public uint64_t suppressed
    cdef public uint64_t receipts_matched, receipts_waiting, unknown_responses, octets_in, octets_out
    cdef public uint64_t receipt_states[12]
    # messages in which characters were replaced, and the segments that this saved
    cdef public uint64_t transliterated, segments_saved
    # accepted, and the response had no message_id
    cdef public uint64_t nameless
    # answers that said one recipient's queue is full
    cdef readonly uint64_t queue_full
    # the last congestion_state of SMPP 5.0, 0..100; -1 = none was told
    cdef public int congestion
    cdef double full_since
    cdef uint64_t full_from
    cdef uint64_t full_answers
    cdef int64_t full_numbers[4]
    cdef int full_distinct
    cdef bint note_queue_full(self, int64_t number, double now) noexcept nogil
    # answers that were no acceptance, by command_status; the last one: above the table
    cdef uint64_t statuses[1281]
    # messages begun, by how many segments they have
    cdef uint64_t lengths[256]
    cdef void count_status(self, uint32_t status) noexcept
    cdef int enter_receipt(self, const Receipt* found, double now) except -1
