"""One bind's turn: the octets of a read in, the octets of a write out, and nothing per message in between.

    socket ─► inbox ─ received(n, now) ─► submit_sm_resp ─► window ─► outcome row, recall
                                      ├─► receipt ───────► recall ─► receipt row, or waiting row; its _resp is owed
                                      └─► the rest ──────► `rare`: whole PDUs for the session
    backlog ─ fill(now) ─► min(window room, throttle allowance, committed watermark) submit_sm ─► outbox ─► socket

What a status means is data: `dispositions`, one octet per command_status 0..0x4FF (gateway.smpp.status.table()), and
`network_dispositions` where the carrier's network_error_code says more.
A receipt is answered once it is durable: `owed_upto` is read before a flush, and handed to `acknowledge` after its
commit. Not here: session states (session.py sets what this bind takes), reading and writing sockets but for one direct
send, clocks.
"""

import errno

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.math cimport INFINITY
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

from _fastpath.backlog cimport Again, Backlog
from _fastpath.batch cimport Batch
from _fastpath.frame cimport DEFAULT_CAP_OCTETS, FRAME_LOST, HEADER_OCTETS, frame_length
from _fastpath.histogram cimport Histogram
from _fastpath.inbound cimport Receipt, Response, Told, read_receipt, read_response, read_told
from _fastpath.ledger cimport Ledger
from _fastpath.limit cimport Limit
from _fastpath.outbound cimport ABANDONED, EXPIRED, SUPPRESSED, TOO_MANY_PARTS, Composer, Form
from _fastpath.outstanding cimport Outstanding
from _fastpath.references cimport References
from _fastpath.ring cimport Ring
from _fastpath.throttle cimport Throttle
from _fastpath.window cimport NAMELESS, RECEIPTED, Slot, Window
from _fastpath.wire cimport load32, store32

cdef extern from "<errno.h>":
    int fp_errno "errno"

cdef extern from "<sys/socket.h>":
    ssize_t send(int fd, const void* octets, size_t n, int flags) nogil
    enum: MSG_DONTWAIT
    enum: MSG_NOSIGNAL

cdef enum:
    SUBMIT_SM_RESP = 0x80000004
    DELIVER_SM = 0x00000005
    DELIVER_SM_RESP = 0x80000005
    INBOX = 1 << 18
    # No more is composed while this much waits to be written: the kernel's buffer is full, the SMSC is slow.
    OUTBOX_HIGH = 1 << 18
    # Octets written at once while more is composed: about 300 messages of 100 characters.
    SLICE = 48 << 10
    UNCERTAIN = -1
    UNKNOWN_ERROR = 0xFF
    DELIVERY_FAILURE = 0xFE
    LAST_STATUS = 0x4FF

cdef enum:
    # gateway.smpp.status.Disposition
    OK = 0
    THROTTLE = 1
    RETRY = 2
    FAIL = 3
    SESSION = 4
    CONFIG = 5
    REROUTE = 6
    DESTINATION = 7

cdef enum:
    # backlog.pyx: these classes go strictly before the rest.
    LAST_STRICT = 3
    # How many limits one bind may hang under: bind, host, account.
    MOST_LIMITS = 6
    # gateway.reasons: of a number that was erased, as nobody is asked for it any more.
    ERASED = -39

# From here on it is no number (pseudonym.pyx).
cdef int64_t FIRST_PSEUDONYM = 1LL << 62
# A message that finds its number busy looks again so soon; one of a paused run so soon.
cdef double BUSY_S = 0.02
cdef double PAUSED_S = 0.1


@cython.final
cdef class Exchange:
    """The compiled half of one bind.

    window, throttle, backlog, ledger   the throttle, backlog and ledger are shared with the carrier's other binds
    references      of concatenated messages, shared with all binds of the process; by default its own
    dispositions    1280 octets, one per command_status
    outstanding     how many may wait for one number; shared, too; None = any number

A message leaves when all it hangs under have room: window and throttle, the limits of this bind, those of its batch,
and its number. What lacks room below the bind waits aside, and the next batch goes.
    """

    cdef readonly Window window
    cdef readonly Throttle throttle
    cdef readonly Backlog backlog
    cdef readonly Ledger ledger
    cdef readonly References references
    cdef readonly Outstanding outstanding
    cdef bint has_outstanding
    # what a message is asked beside its window and throttle, by the look at the start of a turn
    cdef bint has_again
    cdef bint is_asked
    # what crosses the socket is kept here; None = nowhere
    cdef public Ring ring
    cdef readonly tuple limits
    cdef void* limit_at[MOST_LIMITS]        # the same, borrowed
    cdef int limit_count
    cdef int message_limit_count
    cdef readonly dict network_dispositions
    cdef Composer composer
    # the message in the composer
    cdef Batch batch
    cdef int32_t pos
    cdef int index
    cdef int last
    cdef int attempt
    # octets in
    cdef uint8_t* inbox
    cdef Py_ssize_t have
    cdef Py_ssize_t inbox_room
    # octets out
    cdef uint8_t* outbox
    cdef Py_ssize_t out_from
    cdef Py_ssize_t out_size
    cdef Py_ssize_t outbox_room
    # receipts to be answered once they are durable
    cdef uint32_t* owed
    cdef Py_ssize_t owed_count
    cdef Py_ssize_t owed_room
    cdef readonly uint64_t owed_upto
    cdef bytes dispositions
    cdef readonly list rare
    cdef uint32_t most_octets
    cdef public bint takes_responses
    cdef public bint takes_deliveries
    cdef public bint answers_at_once
    cdef public bint may_submit
    # nothing new is begun: segments of a message that is begun leave, and those to be sent again
    cdef public bint draining
    # the first octets of what could not be cut into PDUs
    cdef readonly bytes lost_octets
    cdef public double throttle_pause_s
    cdef public double retry_delay_s
    cdef public double retry_longest_s
    cdef public double queue_full_delay_s
    cdef public int queue_full_attempts
    cdef public int max_attempts
    cdef readonly Histogram response_us
    cdef readonly uint64_t submitted
    cdef readonly uint64_t responses
    cdef readonly uint64_t throttled
    cdef readonly str bound_by
    cdef readonly bint lost_framing
    cdef readonly bint wants_rebind
    cdef readonly uint64_t silent_expiries
    cdef readonly double received_at

    def __cinit__(self, Window window not None, Throttle throttle not None, Backlog backlog not None,
                  Ledger ledger not None, bytes dispositions not None, References references=None,
                  Outstanding outstanding=None):
        if len(dispositions) != LAST_STATUS + 1:
            raise ValueError(f"dispositions: expected {LAST_STATUS + 1} octets, got {len(dispositions)}")
        self.window = window
        self.throttle = throttle
        self.backlog = backlog
        self.ledger = ledger
        self.dispositions = dispositions
        self.references = References() if references is None else references
        self.outstanding = outstanding
        self.has_outstanding = outstanding is not None
        self.limits = ()
        self.network_dispositions = {}
        self.response_us = Histogram()
        self.composer = Composer()
        self.rare = []
        self.most_octets = DEFAULT_CAP_OCTETS
        self.inbox_room = INBOX
        self.outbox_room = INBOX
        self.owed_room = 256
        self.inbox = <uint8_t*>PyMem_RawMalloc(self.inbox_room)
        self.outbox = <uint8_t*>PyMem_RawMalloc(self.outbox_room)
        self.owed = <uint32_t*>PyMem_RawMalloc(self.owed_room * sizeof(uint32_t))
        if self.inbox == NULL or self.outbox == NULL or self.owed == NULL:
            raise MemoryError
        self.throttle_pause_s = 0.25
        self.retry_delay_s = 1.0
        self.retry_longest_s = 60.0
        self.queue_full_delay_s = 30.0
        self.queue_full_attempts = 4
        self.max_attempts = 3
        self.bound_by = "queue"
        self.lost_octets = b""

    def __dealloc__(self):
        PyMem_RawFree(self.inbox)
        PyMem_RawFree(self.outbox)
        PyMem_RawFree(self.owed)

    def __getbuffer__(self, Py_buffer* view, int flags):
        """The free end of the inbox: a transport reads straight into it."""
        PyBuffer_FillInfo(view, self, self.inbox + self.have, self.inbox_room - self.have, 0, flags)

    def hang_under(self, limits):
        """Set the limits of this bind, its host and its account; at most 6 of limit.Limit."""
        limits = tuple(limits)
        if len(limits) > MOST_LIMITS:
            raise ValueError(f"limits: expected at most {MOST_LIMITS}, got {len(limits)}")
        for limit in limits:
            if not isinstance(limit, Limit):
                raise TypeError(f"limits: expected a Limit, got {type(limit).__name__}")
        self.limits = limits
        self.limit_count = 0
        self.message_limit_count = 0
        for limit in limits:
            self.limit_at[self.limit_count] = <void*>limit
            self.limit_count += 1
            self.message_limit_count += limit.per_message

    def judge_network_errors(self, dispositions):
        """What network_error_code of a refusal means: (network type, code) -> disposition; it goes before the status.

        Type -1 stands for every network.
        """
        self.network_dispositions = dict(dispositions)

    def ready_at(self, double now):
        """The first moment when the limits of this bind and its account have room for one; `now` if they have."""
        cdef int i
        cdef double at = self.throttle.ready_at(now)
        for i in range(self.limit_count):
            at = max(at, (<Limit>self.limit_at[i]).ready(1, now))
        return at

    @property
    def cap(self):
        """Octets that a PDU may have, at most; it must fit the inbox."""
        return self.most_octets

    @cap.setter
    def cap(self, int octets):
        if not HEADER_OCTETS <= octets <= self.inbox_room:
            raise ValueError(f"cap: {octets} octets, expected {HEADER_OCTETS} to {self.inbox_room}")
        self.most_octets = octets

    # ------------------------------------------------------------------ octets in

    def feed(self, const uint8_t[::1] octets not None, double now):
        """Take in octets that were read elsewhere (tests, TLS, a simulated network)."""
        cdef Py_ssize_t at = 0, n
        while at < octets.shape[0] and not self.lost_framing:
            n = min(octets.shape[0] - at, self.inbox_room - self.have)
            memcpy(self.inbox + self.have, &octets[at], n)
            self.received(n, now)
            at += n

    cpdef bint received(self, Py_ssize_t n, double now, Py_ssize_t most=0x7FFFFFFF) except -1:
        """So many octets were read into the inbox: take the whole PDUs out of it.

        Responses and receipts become rows; every other PDU is appended to `rare`. Sets `lost_framing` at a
        command_length that cannot be; nothing behind it is read.

        most  stop behind the PDU that makes it so many octets
        ->    whether it stopped so: the next call, with n = 0, goes on
        """
        cdef const uint8_t* p = self.inbox
        cdef const uint8_t* end
        cdef Py_ssize_t octets
        cdef uint32_t command
        if not 0 <= n <= self.inbox_room - self.have:
            raise ValueError(f"received: expected 0 to {self.inbox_room - self.have} octets, got {n}")
        if self.lost_framing:
            return False
        if self.ring is not None and n:
            self.keep_read(n, now)
        self.have += n
        self.ledger.octets_in += n
        end = p + self.have
        while True:
            octets = frame_length(p, end - p, self.most_octets)
            if octets <= 0 or p - self.inbox >= most:
                break
            command = load32(p + 4)
            if command == SUBMIT_SM_RESP and self.takes_responses:
                self.take_response(p, octets, now)
            elif command == DELIVER_SM and self.takes_deliveries and self.take_receipt(p, octets, now):
                pass
            else:
                self.rare.append(PyBytes_FromStringAndSize(<const char*>p, octets))
            p += octets
        if p != self.inbox:
            # Octets that never become a PDU are no sign of life.
            self.received_at = now
        if octets == FRAME_LOST:
            self.lost_framing = True
            self.lost_octets = PyBytes_FromStringAndSize(<const char*>p, min(end - p, 16))
            self.have = 0
            return False
        self.have = end - p
        if self.have and p != self.inbox:
            memmove(self.inbox, p, self.have)
        return octets > 0

    cdef void keep_read(self, Py_ssize_t n, double now) noexcept:
        """Keep octets that were read behind what is in the inbox, and where among them the next PDU begins."""
        cdef int32_t skip = 0
        if self.have:
            skip = <int32_t>(load32(self.inbox) - self.have) if self.have + n >= 4 else -1
        self.ring.add(False, self.inbox + self.have, n, skip, now)

    def take_rare(self):
        """The PDUs that are not for the compiled path, since the last call."""
        rare = self.rare
        self.rare = []
        return rare

    cdef int take_response(self, const uint8_t* p, Py_ssize_t octets, double now) except -1:
        cdef Response response
        cdef Slot* slot
        read_response(p, octets, &response)
        slot = self.window.find(response.sequence)
        if not self.is_of_batch(slot):
            # Not of this window: the session may know it.
            self.ledger.unknown_responses += 1
            self.rare.append(PyBytes_FromStringAndSize(<const char*>p, octets))
            return 0
        if response.status or p + 16 + response.id_octets + 1 < p + octets:
            return self.conclude_told(slot, &response, p, octets, now)
        return self.conclude(slot, 0, OK, response.message_id, response.id_octets, now)

    cdef int disposition_of(self, uint32_t status) noexcept:
        return self.dispositions[status] if status <= LAST_STATUS else FAIL

    cdef int conclude_told(self, Slot* slot, Response* response, const uint8_t* p, Py_ssize_t octets,
                           double now) except -1:
        """An answer that says more than its message_id: a refusal, or one with TLVs."""
        cdef int disposition = self.disposition_of(response.status)
        cdef Told told
        read_told(p, octets, response, &told)
        if told.congestion >= 0:
            self.ledger.congestion = told.congestion
        if response.status:
            if told.network_type >= 0 and self.network_dispositions:
                disposition = self.network_dispositions.get(
                    (told.network_type, told.network_error),
                    self.network_dispositions.get((-1, told.network_error), disposition))
            elif response.status == DELIVERY_FAILURE and disposition == FAIL and (
                    told.failure_reason == 0 or told.failure_reason == 3):
                disposition = RETRY
        return self.conclude(slot, response.status, self.of_recipient(slot, disposition, now), response.message_id,
                             response.id_octets, now)

    cdef int of_recipient(self, Slot* slot, int disposition, double now) noexcept:
        """A disposition, where a full queue is told to be one recipient's or the SMSC's own."""
        if disposition != DESTINATION or slot.late:
            return disposition
        # Many recipients at once.
        if self.ledger.note_queue_full((<Batch>slot.whose.batch).numbers[slot.pos], now):
            return THROTTLE
        return FAIL if slot.attempt + 1 >= min(self.queue_full_attempts, 255) else DESTINATION

    def answer(self, uint32_t sequence, uint32_t status, double now):
        """A generic_nack named one of our requests: the same as a response with that status. -> whether it was ours.

        Status 0 would say that it was taken, which a nack never means: it counts as ESME_RUNKNOWNERR.
        """
        cdef Slot* slot = self.window.find(sequence)
        if not self.is_of_batch(slot):
            return False
        status = status if status else UNKNOWN_ERROR
        self.conclude(slot, status, self.of_recipient(slot, self.disposition_of(status), now), NULL, -1, now)
        return True

    cdef bint is_of_batch(self, const Slot* slot) noexcept nogil:
        """Whether a slot, NULL too, holds or held a segment of a batch."""
        if slot == NULL:
            return False
        if slot.late:
            return slot.late & NAMELESS == 0
        return slot.whose.batch != NULL

    cdef int conclude(self, Slot* slot, uint32_t status, int disposition, const uint8_t* message_id, int id_octets,
                      double now) except -1:
        """One segment's answer. id_octets < 1 = no id."""
        cdef Ledger ledger = self.ledger
        cdef Batch batch = None if slot.late else <Batch>slot.whose.batch
        cdef double elapsed = now - slot.sent_at
        cdef int32_t rtt_us = <int32_t>(elapsed * 1e6) if elapsed < 2000.0 else 2000000000
        cdef bint late = slot.late != 0
        # A tombstone's batch may be gone: what is needed of it stands in the slot.
        cdef int64_t chunk_id = slot.whose.chunk_id if late else batch.chunk_id
        cdef int32_t epoch = slot.kept.epoch if late else batch.epoch
        cdef bint receipted = slot.late & RECEIPTED != 0 if late else (<Form>batch.form).wants_receipts
        cdef Again again
        ledger.responses += 1
        ledger.submit_to_response.add_us(elapsed * 1e6)
        self.responses += 1
        # Of a busy bind every fourth: its percentiles need no more, and a second histogram costs 3 ns an answer.
        if self.window.in_flight < 64 or slot.sequence & 3 == 0:
            self.response_us.add_us(elapsed * 1e6)
        self.silent_expiries = 0
        if self.has_outstanding and not late:
            self.outstanding.give(batch.numbers[slot.pos])
        if disposition == OK:
            ledger.accepted += 1
            if id_octets > 0:
                if receipted:
                    ledger.recall.remember(message_id, id_octets, chunk_id, slot.pos, slot.segment, slot.sent_at,
                                           0 if late else batch.numbers[slot.pos])
            else:
                id_octets = -1
                ledger.nameless += 1
        elif not late and (disposition == THROTTLE or disposition == SESSION or disposition == DESTINATION
                           or (disposition == RETRY and slot.attempt + 1 < min(self.max_attempts, 255))):
            ledger.count_status(status)
            again.batch = slot.whose.batch
            again.pos = slot.pos
            again.segment = slot.segment
            again.segments = slot.segments
            again.attempt = slot.attempt
            again.reference = slot.kept.reference
            again.status = status
            if disposition == THROTTLE:
                ledger.throttled += 1
                self.throttled += 1
                again.not_before = now + self.throttle_pause_s
                self.backlog.throttle(&again)
            else:
                ledger.retried += 1
                again.not_before = now + self.retry_delay_s
                if disposition == RETRY:
                    # Doubled from attempt to attempt.
                    again.not_before = now + min(
                        self.retry_longest_s, self.retry_delay_s * <double>(1 << min(<int>slot.attempt, 30)))
                    again.attempt += 1
                elif disposition == DESTINATION:
                    again.not_before = now + self.queue_full_delay_s
                    again.attempt += 1
                else:
                    self.wants_rebind = True
                self.backlog.delay(&again)
            self.window.free_slot(slot)
            return 0
        else:
            ledger.count_status(status)
            ledger.rejected += 1
            if slot.segments > 1 and not late:
                self.abandon(batch, slot.pos, now)
        ledger.outcomes.add(
            chunk_id, slot.pos, <int16_t>slot.segment, <int16_t>slot.segments, epoch,
            # Below 0 stand our own reasons.
            <int32_t>status if status <= 0x7FFFFFFF else 0x7FFFFFFF,
            <int64_t>(now * 1e6) + ledger.wall_offset_us, rtt_us, message_id, id_octets if id_octets > 0 else -1)
        self.window.free_slot(slot)
        if not late:
            self.backlog.settle(batch, 1)
        return 0

    cdef int abandon(self, Batch batch, int32_t pos, double now) except -1:
        """A part was refused for good: those of its message that are not written yet never leave."""
        cdef int index, last
        if batch.broken is None:
            batch.broken = set()
        # What waits for another try is asked when its turn has come.
        batch.broken.add(pos)
        if self.batch is batch and self.pos == pos and self.index < self.last:
            index = self.index
            last = self.last
            self.batch = None
            for index in range(index, last):
                self.refuse(batch, pos, <int16_t>(index + 1), <int16_t>self.composer.count, ABANDONED, now)
            self.backlog.settle(batch, last - self.index)
        return 0

    cdef int take_receipt(self, const uint8_t* p, Py_ssize_t octets, double now) except -1:
        """A delivery receipt becomes a row; -> False when this deliver_sm is something else, or broken."""
        cdef Receipt found
        if not read_receipt(p, octets, &self.ledger.reading.rules, &found):
            return False
        self.ledger.enter_receipt(&found, now)
        self.owe(found.sequence)
        return True

    # ------------------------------------------------------------------ what we owe

    cdef int owe(self, uint32_t sequence) except -1:
        cdef uint32_t* owed
        if self.answers_at_once:
            self.write_delivery_response(sequence)
            return 0
        if self.owed_count == self.owed_room:
            owed = <uint32_t*>PyMem_RawRealloc(self.owed, 2 * self.owed_room * sizeof(uint32_t))
            if owed == NULL:
                raise MemoryError
            self.owed = owed
            self.owed_room *= 2
        self.owed[self.owed_count] = sequence
        self.owed_count += 1
        self.owed_upto += 1
        return 0

    cdef int write_delivery_response(self, uint32_t sequence) except -1:
        """deliver_sm_resp: one NUL for the message_id it does not use; some SMSCs refuse it missing."""
        cdef uint8_t* p = self.room_for(17)
        store32(p, 17)
        store32(p + 4, DELIVER_SM_RESP)
        store32(p + 8, 0)
        store32(p + 12, sequence)
        p[16] = 0
        self.out_size += 17
        return 0

    @property
    def owed_waiting(self):
        """Receipts not answered yet."""
        return self.owed_count

    def owe_response(self, uint32_t sequence):
        """A deliver_sm that the session took (an inbound message) is answered with the others, once it is durable."""
        self.owe(sequence)

    def acknowledge(self, uint64_t upto):
        """Write the responses to the first receipts up to the mark `owed_upto` that was read before their flush."""
        cdef uint64_t done = self.owed_upto - self.owed_count
        cdef Py_ssize_t n, i
        if upto <= done:
            return
        n = <Py_ssize_t>min(upto - done, <uint64_t>self.owed_count)
        for i in range(n):
            self.write_delivery_response(self.owed[i])
        self.owed_count -= n
        if self.owed_count:
            memmove(self.owed, self.owed + n, self.owed_count * sizeof(uint32_t))

    # ------------------------------------------------------------------ octets out

    cdef uint8_t* room_for(self, Py_ssize_t octets) except NULL:
        cdef uint8_t* outbox
        cdef Py_ssize_t room = self.outbox_room
        if self.out_from and self.out_from == self.out_size:
            self.out_from = 0
            self.out_size = 0
        if self.out_size + octets > room:
            if self.out_from:
                memmove(self.outbox, self.outbox + self.out_from, self.out_size - self.out_from)
                self.out_size -= self.out_from
                self.out_from = 0
            while self.out_size + octets > room:
                room *= 2
            if room != self.outbox_room:
                outbox = <uint8_t*>PyMem_RawRealloc(self.outbox, room)
                if outbox == NULL:
                    raise MemoryError
                self.outbox = outbox
                self.outbox_room = room
        return self.outbox + self.out_size

    def append(self, bytes octets not None):
        """Octets of the session (enquire_link_resp, unbind …), behind what is in the outbox."""
        cdef Py_ssize_t n = PyBytes_GET_SIZE(octets)
        if n:
            memcpy(self.room_for(n), PyBytes_AS_STRING(octets), n)
            self.out_size += n

    cpdef fill(self, double now):
        """Compose what window, throttle and watermark allow into the outbox; -> submit_sm written.

        `bound_by` then names what stopped it: window, rate, limit (of a sender, run or country), intent (the
        watermark), lease (it may be another's), feed (STOPs are not heard of), queue, or carrier (outbox full).
        """
        return self.compose_some(now, OUTBOX_HIGH)

    cdef int compose_some(self, double now, Py_ssize_t high) except -1:
        """Compose until so many octets wait."""
        cdef Window window = self.window
        cdef Composer composer = self.composer
        cdef Backlog backlog
        cdef int room, allowed, i, written = 0
        cdef Slot* slot
        cdef uint8_t* p
        if not self.may_submit or self.backlog.paused:
            return 0
        if now >= self.backlog.fence_at:
            self.bound_by = "lease"
            return 0
        composer.at(now, self.ledger.wall_offset_us)
        room = window.size - window.in_flight
        allowed = self.throttle.allowance_at(now)
        for i in range(self.limit_count):
            if not (<Limit>self.limit_at[i]).per_message:
                allowed = min(allowed, (<Limit>self.limit_at[i]).allowance_at(now))
        backlog = self.backlog
        # What is set aside meanwhile has a moment that is not yet.
        self.has_again = (backlog.throttled.count + backlog.delayed.count + backlog.urgent_throttled.count
                          + backlog.urgent_delayed.count) > 0
        self.is_asked = self.has_outstanding or self.message_limit_count > 0
        self.bound_by = "window" if room <= allowed else "rate"
        if room > allowed:
            room = allowed
        while written < room:
            if self.out_size - self.out_from >= high:
                self.bound_by = "carrier"
                break
            if self.batch is not None and self.batch.dropped:
                self.backlog.settle(self.batch, self.last - self.index)
                self.batch = None
            if self.batch is None and not self.load_next(now):
                break
            p = self.room_for((<Form>self.batch.form).largest)
            slot = window.open_slot(now)
            slot.whose.batch = <void*>self.batch
            slot.pos = self.pos
            slot.segment = <uint8_t>(self.index + 1)
            slot.segments = <uint8_t>composer.count
            slot.kept.reference = composer.reference
            slot.attempt = <uint8_t>min(self.attempt, 255)
            if self.has_outstanding:
                self.outstanding.take(self.batch.numbers[self.pos])
            self.out_size += composer.write(
                <Form>self.batch.form, self.batch.numbers[self.pos], slot.sequence, self.index, p)
            self.index += 1
            written += 1
            if self.index >= self.last:
                self.batch = None
        if written:
            self.throttle.spend_at(written, now)
            for i in range(self.limit_count):
                if not (<Limit>self.limit_at[i]).per_message:
                    (<Limit>self.limit_at[i]).spend_at(written, now)
            self.ledger.submitted += written
            self.submitted += written
        # Signed in effect: what is loaded once more was counted before, by another bind's composer perhaps.
        self.ledger.transliterated += composer.transliterated
        self.ledger.segments_saved += composer.segments_saved
        composer.transliterated = 0
        composer.segments_saved = 0
        return written

    cdef int load_next(self, double now) except -1:
        """Put the next message, or the next segment to be sent again, into the composer."""
        cdef Backlog backlog = self.backlog
        cdef Batch batch
        cdef int count
        cdef int32_t pos
        cdef Form form
        if self.has_again and self.load_again(True, now):
            return True
        while True:
            batch = None if self.draining else backlog.current(now)
            if self.has_again and (batch is None or batch.class_ > LAST_STRICT) and self.load_again(False, now):
                return True
            if batch is None:
                self.bound_by = "queue"
                if not self.draining:
                    if backlog.lacks_feed:
                        self.bound_by = "feed"
                    elif backlog.lacks_intent:
                        self.bound_by = "intent"
                    elif backlog.recheck_at > now and backlog.recheck_at < INFINITY:
                        self.bound_by = "limit"
                return False
            if self.is_asked and not self.has_message_room(now):
                self.bound_by = "rate"
                return False
            pos = batch.cursor
            form = <Form>batch.form
            if batch.verdicts != NULL and batch.verdicts[pos]:
                # The gate has spoken: never, with its reason, or in another chunk that waits.
                count = batch.verdicts[pos] if batch.verdicts[pos] < 0 else 0
            elif batch.suppressed_count and batch.is_suppressed(pos):
                count = ERASED if batch.numbers[pos] >= FIRST_PSEUDONYM else SUPPRESSED
            else:
                count = EXPIRED if now >= batch.expires_at else self.composer.load(form, batch, pos)
            # The first part leaves only if there is time for the last.
            if count > 1 and self.throttle.per_s and now + (count - 1.0) / self.throttle.per_s >= batch.expires_at:
                count = EXPIRED
            if batch.limit_count and count > 0 and not self.has_batch_room(batch, count, now):
                self.composer.uncount()
                backlog.head = None
                continue
            batch.next_rank += 1
            batch.cursor += batch.stride
            if batch.cursor >= batch.n:
                batch.cursor -= batch.n
            backlog.handed_out += 1
            backlog.turn -= 1
            if count == 0:
                continue
            if count < 0:
                backlog.refuse(batch)
                self.refuse(
                    batch, pos, 0, <int16_t>self.composer.needed if count == TOO_MANY_PARTS else 0, count, now)
                continue
            batch.in_flight += count
            if self.has_outstanding and not self.outstanding.has_room(batch.numbers[pos]):
                self.set_aside(batch, pos, count, now)
                continue
            if count > 1:
                self.composer.reference = self.references.give(
                    form.source_key, batch.numbers[pos], now + self.ledger.wall_offset_us * 1e-6, form.reference_bits)
            self.ledger.lengths[count & 0xFF] += 1
            if batch.limit_count or self.is_asked:
                self.spend_message(batch, count, now)
            self.batch = batch
            self.pos = pos
            self.index = 0
            self.last = count
            self.attempt = 0
            return True

    cdef int load_again(self, bint urgent, double now) except -1:
        """Put the next segment that is due for another try into the composer; -> whether there was one."""
        cdef Backlog backlog = self.backlog
        cdef Batch batch
        cdef Again again
        cdef Form form
        cdef int count, segments
        cdef bint is_suppressed
        while backlog.pop_again(urgent, now, &again):
            batch = <Batch>again.batch
            form = <Form>batch.form
            segments = 1 if again.segment else again.segments
            if again.segment <= 1:
                # Nothing of it is out. A message of which something is goes to its end: a fragment says less than it.
                if batch.class_ > LAST_STRICT and now >= backlog.promotional_until_ and not batch.dropped:
                    again.not_before = now + PAUSED_S
                    backlog.delay(&again)
                    continue
                if now >= batch.closes_at and not batch.dropped:
                    # Who claims takes it back, and the gate is asked again.
                    again.not_before = now + PAUSED_S
                    backlog.delay(&again)
                    continue
                is_suppressed = batch.suppressed_count and batch.is_suppressed(again.pos)
            else:
                is_suppressed = False
            if is_suppressed:
                count = ERASED if batch.numbers[again.pos] >= FIRST_PSEUDONYM else SUPPRESSED
            elif again.segment and batch.broken is not None and again.pos in batch.broken:
                count = ABANDONED
            else:
                count = EXPIRED if now >= batch.expires_at else self.composer.load(form, batch, again.pos)
            if batch.dropped or count < 0:
                if not batch.dropped:
                    self.refuse(batch, again.pos, <int16_t>again.segment,
                                <int16_t>again.segments if again.segment else 0, count, now)
                backlog.settle(batch, segments)
                continue
            self.composer.uncount()
            if batch.paused:
                again.not_before = now + PAUSED_S
                backlog.delay(&again)
                continue
            if batch.limit_count and not self.has_batch_room(batch, segments, now):
                again.not_before = batch.held_until
                backlog.delay(&again)
                continue
            if self.message_limit_count and not again.segment and not self.has_message_room(now):
                again.not_before = now + BUSY_S
                backlog.delay(&again)
                continue
            if (self.has_outstanding and again.segment <= 1
                    and not self.outstanding.has_room(batch.numbers[again.pos])):
                again.not_before = now + BUSY_S
                backlog.delay(&again)
                continue
            if batch.limit_count or self.message_limit_count:
                self.spend_again(batch, segments, again.segment == 0, now)
            self.batch = batch
            self.pos = again.pos
            if again.segment:
                self.composer.reference = again.reference
            elif count > 1:
                self.composer.reference = self.references.give(
                    form.source_key, batch.numbers[again.pos], now + self.ledger.wall_offset_us * 1e-6,
                    form.reference_bits)
            self.index = again.segment - 1 if again.segment else 0
            self.last = again.segment if again.segment else count
            self.attempt = again.attempt
            return True
        return False

    cdef bint has_message_room(self, double now) noexcept:
        """Whether the limits of this bind that count messages have room for one."""
        cdef int i
        for i in range(self.limit_count):
            if (<Limit>self.limit_at[i]).per_message and (<Limit>self.limit_at[i]).allowance_at(now) < 1:
                return False
        return True

    cdef bint has_batch_room(self, Batch batch, int segments, double now) noexcept:
        """Whether sender, run and country have room for a message; if not the batch is passed over for a while."""
        cdef int i, n
        cdef Limit limit
        for i in range(batch.limit_count):
            limit = <Limit>batch.limit_at[i]
            n = 1 if limit.per_message else segments
            if not limit.has_room(n, now):
                # A thousandth later at the least: what is ready now had no room for all its parts.
                batch.held_until = max(limit.ready(n, now), now + 0.001)
                return False
        return True

    cdef int spend_message(self, Batch batch, int segments, double now) except -1:
        """A new message counts under its batch's limits, and under those of the bind that count messages."""
        return self.spend_again(batch, segments, True, now)

    cdef int spend_again(self, Batch batch, int segments, bint is_message, double now) except -1:
        cdef int i
        cdef Limit limit
        for i in range(batch.limit_count):
            limit = <Limit>batch.limit_at[i]
            if not limit.per_message:
                limit.spend_at(segments, now)
            elif is_message:
                limit.spend_at(1, now)
        if is_message:
            for i in range(self.limit_count):
                limit = <Limit>self.limit_at[i]
                if limit.per_message:
                    limit.spend_at(1, now)
        return 0

    cdef int set_aside(self, Batch batch, int32_t pos, int count, double now) except -1:
        """As many wait for this number as may: the whole message is looked at again a little later."""
        cdef Again again
        again.batch = <void*>batch
        again.pos = pos
        again.segment = 0
        again.segments = <uint16_t>count
        again.status = 0
        again.attempt = 0
        again.not_before = now + BUSY_S
        return self.backlog.delay(&again)

    cdef int refuse(self, Batch batch, int32_t pos, int16_t segment, int16_t segments, int reason,
                    double now) except -1:
        self.ledger.refused += 1
        if reason == SUPPRESSED or reason == ERASED:
            self.ledger.suppressed += 1
        self.ledger.outcomes.add(batch.chunk_id, pos, segment, segments, batch.epoch, reason,
                                 <int64_t>(now * 1e6) + self.ledger.wall_offset_us, 0, NULL, -1)
        return 0

    @property
    def out_waiting(self):
        """Octets composed and not written yet."""
        return self.out_size - self.out_from

    def take_output(self, double now=0.0):
        """Everything that waits to be written, as bytes. `now` is for who keeps what was written (ring.pyx)."""
        if self.ring is not None:
            self.ring.wrote(
                self.outbox + self.out_from, self.out_size - self.out_from, self.out_size - self.out_from, now)
        octets = PyBytes_FromStringAndSize(<const char*>self.outbox + self.out_from, self.out_size - self.out_from)
        self.ledger.octets_out += self.out_size - self.out_from
        self.out_from = 0
        self.out_size = 0
        return octets

    def pump(self, int fd, double now):
        """Compose and send by turns, so that the SMSC works on one slice while the next is composed; -> octets left.

        raises  OSError when the socket is broken. With a window of 1000 this is 1.5 times as fast as one write at the
        end (measured against the C sink, see benchmarks/README.md).
        """
        while self.compose_some(now, SLICE) and self.out_size - self.out_from >= SLICE:
            if self.send(fd, now):
                break
        return self.send(fd, now)

    cpdef send(self, int fd, double now=0.0):
        """Write the outbox to a socket at once, as far as its buffer takes it; -> octets that are left.

        now  for who keeps what was written (ring.pyx)

        raises  OSError when the socket is broken. Saves a bytes object and a turn of the loop against transport.write.
        """
        cdef ssize_t n
        while self.out_from < self.out_size:
            n = send(fd, self.outbox + self.out_from, self.out_size - self.out_from, MSG_DONTWAIT | MSG_NOSIGNAL)
            if n < 0:
                if fp_errno == errno.EINTR:
                    continue
                if fp_errno == errno.EAGAIN or fp_errno == errno.EWOULDBLOCK:
                    break
                raise OSError(fp_errno, "send")
            if self.ring is not None:
                self.ring.wrote(self.outbox + self.out_from, n, self.out_size - self.out_from, now)
            self.out_from += n
            self.ledger.octets_out += n
        if self.out_from == self.out_size:
            self.out_from = 0
            self.out_size = 0
        return self.out_size - self.out_from

    # ------------------------------------------------------------------ ends

    def expire(self, double sent_before, double now):
        """Requests sent before that moment are answered no more in time: their segments are uncertain; -> how many.

        The slots stay as tombstones: a late response on this session still finds its segment.
        """
        cdef Slot* slot = self.window.slots
        cdef Slot* end = self.window.slots + self.window.mask + 1
        cdef Batch batch
        cdef int found = 0
        while slot < end:
            if slot.sequence and not slot.late and slot.sent_at < sent_before and slot.whose.batch != NULL:
                batch = <Batch>slot.whose.batch
                self.doubt(slot, batch, now)
                self.window.bury(
                    slot, batch.chunk_id, batch.epoch, RECEIPTED if (<Form>batch.form).wants_receipts else 0)
                found += 1
            slot += 1
        if found:
            self.silent_expiries += 1
        return found

    def lose(self, double now):
        """The link is gone: unanswered segments are uncertain (-> how many); what was composed and not begun goes back.

        Octets in the outbox count as written: whether the kernel sent them cannot be known.
        """
        cdef Slot* slot = self.window.slots
        cdef Slot* end = self.window.slots + self.window.mask + 1
        cdef Again again
        cdef int found = 0
        while slot < end:
            if slot.sequence:
                if not slot.late and slot.whose.batch != NULL:
                    self.doubt(slot, <Batch>slot.whose.batch, now)
                    found += 1
                self.window.free_slot(slot)
            slot += 1
        while self.batch is not None:
            again.batch = <void*>self.batch
            again.pos = self.pos
            again.segment = <uint16_t>(self.index + 1)
            again.segments = <uint16_t>self.composer.count
            again.attempt = <uint16_t>self.attempt
            again.reference = self.composer.reference
            again.status = 0
            again.not_before = now
            self.backlog.throttle(&again)
            self.index += 1
            if self.index >= self.last:
                self.batch = None
        self.may_submit = False
        self.takes_responses = False
        self.takes_deliveries = False
        self.have = 0
        self.out_from = 0
        self.out_size = 0
        self.owed_count = 0
        return found

    cdef int doubt(self, Slot* slot, Batch batch, double now) except -1:
        self.ledger.uncertain += 1
        if self.has_outstanding:
            self.outstanding.give(batch.numbers[slot.pos])
        self.ledger.outcomes.add(
            batch.chunk_id, slot.pos, <int16_t>slot.segment, <int16_t>slot.segments, batch.epoch, UNCERTAIN,
            <int64_t>(now * 1e6) + self.ledger.wall_offset_us, <int32_t>min((now - slot.sent_at) * 1e6, 2e9), NULL, -1)
        self.backlog.settle(batch, 1)
        return 0
