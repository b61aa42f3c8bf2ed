"""Requests in flight, by sequence_number.

An array, not a dict: the slot of sequence s is slots[s & mask], so that a response finds its request in one load.

    slots   [ 1025 | 1026 |  —  | 1028 |  … ]     — answered, free
                                          ^next

A number whose slot is still taken (a request that was never answered) is skipped, as is 0; after 0x7FFFFFFF comes 1
(SMPP 3.4 §3.2). A request whose timer fired leaves the count of those in flight but keeps its slot as a tombstone: a
late response on the same session still finds its message, and the number is not used again while it stands. A slot in
flight borrows its batch; a tombstone holds the chunk's id instead, for it may outlive the batch.
Not here: time-outs' length (the caller says), what becomes of the message (exchange.pyx).
"""

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

cdef enum:
    LAST_SEQUENCE = 0x7FFFFFFF


cdef inline bint is_nameless(const Slot* slot) noexcept nogil:
    """Whether a request belongs to no batch."""
    if slot.late:
        return slot.late & NAMELESS != 0
    return slot.whose.batch == NULL


@cython.final
cdef class Window:
    """At most `size` unanswered requests.

    size    1 … 65536
    first   the first sequence_number to give out
    """

    def __cinit__(self, int size, uint32_t first=1):
        cdef uint32_t capacity = 64
        if not 1 <= size <= 65536:
            raise ValueError(f"window: expected 1 to 65536 requests, got {size}")
        if not 1 <= first <= LAST_SEQUENCE:
            raise ValueError(f"sequence_number: expected 1 to 0x7fffffff, got {first}")
        # Four times the size: requests that are never answered hold their slots without stalling the others.
        while capacity < <uint32_t>size * 4:
            capacity *= 2
        self.slots = <Slot*>PyMem_RawCalloc(capacity, sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError
        self.mask = capacity - 1
        self.size = size
        self.in_flight = 0
        self.next = first

    def __dealloc__(self):
        PyMem_RawFree(self.slots)

    @property
    def room(self):
        """Requests that may be sent now."""
        return self.size - self.in_flight if self.in_flight < self.size else 0

    def resize(self, int size):
        """Change the number of requests allowed; those in flight stay, over the new size if need be."""
        if not 1 <= size <= 65536:
            raise ValueError(f"window: expected 1 to 65536 requests, got {size}")
        while self.mask + 1 < <uint32_t>size * 4:
            self.grow()
        self.size = size

    def take_number(self):
        """A sequence_number for a request that this window does not hold (bind, enquire_link, unbind …)."""
        return self.take_sequence()

    def open(self, int pos, double now):
        """Enter a request that belongs to no batch; -> its sequence_number. For tests, and senders without a queue."""
        cdef Slot* slot
        if self.in_flight >= self.size:
            raise ValueError(f"window full: {self.size} requests in flight")
        slot = self.open_slot(now)
        slot.pos = pos
        return slot.sequence

    def close(self, uint32_t sequence):
        """Take out what a response answers; -> (pos, was_late), or None for a number that `open` did not give out, or
        that is answered already."""
        cdef Slot* slot = self.find(sequence)
        if slot == NULL or not is_nameless(slot):
            return None
        found = slot.pos, slot.late != 0
        self.free_slot(slot)
        return found

    def expire(self, double sent_before):
        """Turn every request of `open` sent before that moment into a tombstone; -> their positions, oldest first.

        Those of batches are left alone: Exchange.expire settles them.
        """
        cdef uint32_t i
        cdef Slot* slot
        found = []
        for i in range(self.mask + 1):
            slot = &self.slots[i]
            if slot.sequence and not slot.late and slot.sent_at < sent_before and is_nameless(slot):
                self.bury(slot, 0, 0, NAMELESS)
                found.append((slot.sent_at, slot.pos))
        return [pos for _, pos in sorted(found)]

    cdef void bury(self, Slot* slot, int64_t chunk_id, int32_t epoch, int kind) noexcept nogil:
        """Make a request in flight a tombstone, which points to no batch any more."""
        slot.late = <uint8_t>(TOMBSTONE | kind)
        slot.whose.chunk_id = chunk_id
        slot.kept.epoch = epoch
        self.in_flight -= 1

    cdef int grow(self) except -1 nogil:
        cdef uint32_t old_mask = self.mask
        cdef uint32_t mask = old_mask * 2 + 1
        cdef uint32_t i
        cdef Slot* slots = <Slot*>PyMem_RawCalloc(<size_t>mask + 1, sizeof(Slot))
        if slots == NULL:
            with gil:
                raise MemoryError
        for i in range(old_mask + 1):
            if self.slots[i].sequence:
                slots[self.slots[i].sequence & mask] = self.slots[i]
        PyMem_RawFree(self.slots)
        self.slots = slots
        self.mask = mask
        return 0

    cdef uint32_t take_sequence(self) except 0 nogil:
        """The next number whose slot is free. When every slot is taken by tombstones the array grows."""
        cdef uint32_t sequence, tries = 0
        while True:
            sequence = self.next
            self.next = 1 if sequence >= LAST_SEQUENCE else sequence + 1
            if self.slots[sequence & self.mask].sequence == 0:
                return sequence
            tries += 1
            if tries > self.mask:
                self.grow()
                tries = 0

    cdef Slot* open_slot(self, double now) except NULL nogil:
        """A slot with its sequence and time; the caller fills in the message. Room has been checked."""
        cdef uint32_t sequence = self.take_sequence()
        cdef Slot* slot = &self.slots[sequence & self.mask]
        slot.sequence = sequence
        slot.segment = 1
        slot.segments = 1
        slot.whose.batch = NULL
        slot.attempt = 0
        slot.late = 0
        slot.sent_at = now
        self.in_flight += 1
        return slot

    cdef Slot* find(self, uint32_t sequence) noexcept nogil:
        cdef Slot* slot = &self.slots[sequence & self.mask]
        if sequence == 0 or slot.sequence != sequence:
            return NULL
        return slot

    cdef void free_slot(self, Slot* slot) noexcept nogil:
        if not slot.late:
            self.in_flight -= 1
        slot.sequence = 0
        slot.late = 0
        slot.whose.batch = NULL
