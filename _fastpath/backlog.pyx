"""The claimed batches of one lane that wait for room; all binds of the carrier draw from it.

    throttled   segments the SMSC refused for speed; first, after a pause; they burn no attempt
    delayed     segments to be tried again later (a temporary error), each with its moment
    head        the batch being handed out, rank by rank, up to its committed watermark
    waiting     batches behind it
    open        every batch with an unsettled segment: keeps alive what windows and the two queues point to. A set in
                the order of coming, by identity: a chunk lost and claimed anew is another batch, of another epoch

Not here: claiming and settling in Postgres (dispatch), the window and the throttle (exchange.pyx).
"""

cimport cython
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport int64_t


@cython.final
cdef class AgainQueue:
    """Segments to be sent again, first in first out."""

    def __cinit__(self):
        self.room = 64
        self.items = <Again*>PyMem_RawMalloc(64 * sizeof(Again))
        if self.items == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.items)

    def __len__(self):
        return self.count

    cdef int push(self, Again* item) except -1:
        cdef Again* items
        cdef Py_ssize_t i
        if self.count == self.room:
            items = <Again*>PyMem_RawMalloc(2 * self.room * sizeof(Again))
            if items == NULL:
                raise MemoryError
            for i in range(self.count):
                items[i] = self.items[(self.first + i) % self.room]
            PyMem_RawFree(self.items)
            self.items = items
            self.first = 0
            self.room *= 2
        self.items[(self.first + self.count) % self.room] = item[0]
        self.count += 1
        return 0

    cdef Again* head(self) noexcept:
        return &self.items[self.first] if self.count else NULL

    cdef void pop(self) noexcept:
        self.first = (self.first + 1) % self.room
        self.count -= 1


@cython.final
cdef class Backlog:
    """Batches of one lane on this worker."""

    def __cinit__(self):
        self.waiting = []
        self.open = {}
        self.finished = []
        self.throttled = AgainQueue()
        self.delayed = AgainQueue()

    def add(self, Batch batch not None):
        """Take in a dressed batch, behind the others. ValueError when its chunk is here already and not dropped."""
        cdef Batch other
        if batch.form is None:
            raise ValueError(f"backlog: chunk {batch.chunk_id} is not dressed")
        for other in self.open:
            if other is batch or (other.chunk_id == batch.chunk_id and not other.dropped):
                raise ValueError(f"backlog: chunk {batch.chunk_id} is here already")
        self.open[batch] = True
        self.waiting.append(batch)

    def take_finished(self):
        """Batches whose every segment is settled, since the last call."""
        self.current()
        done = self.finished
        self.finished = []
        return done

    def batches(self):
        """Every batch not finished, in the order of their coming."""
        return list(self.open)

    def drop(self, int64_t chunk_id):
        """Let nothing more of a chunk leave: another owner has it."""
        cdef Batch batch
        for batch in list(self.open):
            if batch.chunk_id == chunk_id and not batch.dropped:
                batch.dropped = True
                self.current()
                if batch.in_flight == 0 and batch in self.open:
                    self.finish(batch)

    def hold(self, double until):
        """Send nothing that was throttled before that moment."""
        self.hold_until = max(self.hold_until, until)

    @property
    def unsent(self):
        """Positions that were not handed to a bind yet."""
        cdef Batch batch
        cdef int64_t total = 0
        for batch in self.open:
            if not batch.dropped:
                total += batch.n - batch.next_rank
        return total

    @property
    def in_flight(self):
        """Segments written, or waiting for another try, whose outcome is not known."""
        cdef Batch batch
        cdef int64_t total = 0
        for batch in self.open:
            total += batch.in_flight
        return total

    @property
    def is_empty(self):
        """Whether nothing is left to send or to be answered."""
        return not self.open

    def again_at(self):
        """The moment of the next segment that waits for another try; None without any."""
        moments = []
        if self.throttled.count:
            moments.append(max(self.hold_until, self.throttled.head().not_before))
        if self.delayed.count:
            moments.append(self.delayed.head().not_before)
        return min(moments, default=None)

    cdef int finish(self, Batch batch) except -1:
        """Move a batch to the finished ones."""
        del self.open[batch]
        self.finished.append(batch)
        return 0

    cdef Batch current(self):
        """The batch with a rank to hand out, committed or not; None when there is none."""
        cdef Batch batch
        while True:
            batch = self.head
            if batch is None:
                if not self.waiting:
                    return None
                batch = self.waiting.pop(0)
                self.head = batch
            if batch.next_rank < batch.n and not batch.dropped:
                return batch
            self.head = None
            if batch.in_flight == 0 and batch in self.open:
                self.finish(batch)

    cdef bint pop_again(self, double now, Again* item) noexcept:
        """The next segment that is due for another try, those of dropped batches too (the caller settles them)."""
        cdef Again* head = self.throttled.head()
        if head != NULL and head.not_before <= now and self.hold_until <= now:
            item[0] = head[0]
            self.throttled.pop()
            return True
        head = self.delayed.head()
        if head != NULL and head.not_before <= now:
            item[0] = head[0]
            self.delayed.pop()
            return True
        return False

    cdef int settle(self, Batch batch, int segments) except -1:
        """So many segments of a batch have their outcome."""
        batch.in_flight -= segments
        if (batch.in_flight == 0 and (batch.next_rank == batch.n or batch.dropped) and batch is not self.head
                and batch in self.open):
            self.finish(batch)
        return 0

    cdef int refuse(self, Batch batch) except -1:
        batch.refused += 1
        return 0
