"""The claimed batches of one lane that wait for room; all binds of the carrier draw from it.

    class        0 otp   1 compliance   2 conversation   3 transactional │ 4 triggered   5 bulk
                 strict: the lower number goes first                      │ by turns, 48 messages to 16

    throttled    segments the SMSC refused for speed; first of their half, after a pause; they burn no attempt
    delayed      segments to be tried again later, each with its moment
    lists        the batches with a rank to hand out, by class, in the order of their coming
    head         the one that is being handed out, up to its committed watermark
    open         every batch with an unsettled segment: keeps alive what windows and the queues point to. A set in the
                 order of coming, by identity: a chunk lost and claimed anew is another batch, of another epoch

The two queues exist twice, for the strict classes and for the rest, so that a storm of refused bulk segments does not
stand before a code. A batch that is paused, or whose sender, run or country has no room, is passed over.
Two moments end sending by themselves, whatever else stands still: `fence_at`, when the worker's lease may be another's
(all of it), and `promotional_until`, when too much time has passed since STOPs were last heard of (triggered and bulk).
Not here: claiming and settling in Postgres (dispatch), the window and the throttle (exchange.pyx).
"""

cimport cython
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.string cimport memcpy

cdef enum:
    CLASSES = 6
    LAST_STRICT = 3
    # Messages in a row when triggered and bulk ones both wait: bulk keeps a quarter.
    TRIGGERED_TURN = 48
    BULK_TURN = 16
    ENDLESS = 0x7FFFFFFF
    # Items that a queue has room for at first.
    ROOM = 64


cdef void* memory_for(void* items, Py_ssize_t count, size_t octets) except NULL:
    """Memory for so many items of so many octets, with what `items` holds at its beginning; MemoryError leaves it."""
    cdef void* grown = PyMem_RawRealloc(items, count * octets)
    if grown == NULL:
        raise MemoryError
    return grown


@cython.final
cdef class AgainQueue:
    """Segments to be sent again, first in first out."""

    def __cinit__(self):
        self.items = <Again*>memory_for(NULL, ROOM, sizeof(Again))
        self.room = ROOM

    def __dealloc__(self):
        PyMem_RawFree(self.items)

    def __len__(self):
        return self.count

    cdef int push(self, Again* item) except -1:
        if self.count == self.room:
            self.items = <Again*>memory_for(self.items, 2 * self.room, sizeof(Again))
            # What stood before the first, having gone round, follows the last.
            memcpy(&self.items[self.room], self.items, self.first * sizeof(Again))
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
cdef class Later:
    """Segments to be sent again, each at its own moment; of one moment the first in goes first. A binary heap."""

    def __cinit__(self):
        self.items = <Delayed*>memory_for(NULL, ROOM, sizeof(Delayed))
        self.room = ROOM

    def __dealloc__(self):
        PyMem_RawFree(self.items)

    def __len__(self):
        return self.count

    cdef int push(self, Again* item) except -1:
        cdef Delayed fresh
        cdef Py_ssize_t at = self.count, parent
        if self.count == self.room:
            self.items = <Delayed*>memory_for(self.items, 2 * self.room, sizeof(Delayed))
            self.room *= 2
        fresh.again = item[0]
        fresh.serial = self.serial
        self.serial += 1
        self.count += 1
        while at > 0:
            parent = (at - 1) // 2
            if not is_sooner(&fresh, &self.items[parent]):
                break
            self.items[at] = self.items[parent]
            at = parent
        self.items[at] = fresh
        return 0

    cdef Again* head(self) noexcept:
        return &self.items[0].again if self.count else NULL

    cdef void pop(self) noexcept:
        cdef Delayed last
        cdef Py_ssize_t at = 0, child
        self.count -= 1
        last = self.items[self.count]
        while True:
            child = 2 * at + 1
            if child >= self.count:
                break
            if child + 1 < self.count and is_sooner(&self.items[child + 1], &self.items[child]):
                child += 1
            if not is_sooner(&self.items[child], &last):
                break
            self.items[at] = self.items[child]
            at = child
        self.items[at] = last


cdef inline bint is_sooner(const Delayed* a, const Delayed* b) noexcept nogil:
    if a.again.not_before != b.again.not_before:
        return a.again.not_before < b.again.not_before
    return a.serial < b.serial


@cython.final
cdef class Backlog:
    """Batches of one lane on this worker."""

    def __cinit__(self):
        self.lists = [[] for _ in range(CLASSES)]
        self.open = {}
        self.finished = []
        self.throttled = AgainQueue()
        self.delayed = Later()
        self.urgent_throttled = AgainQueue()
        self.urgent_delayed = Later()
        self.recheck_at = INFINITY
        self.head_until = INFINITY
        self.fence_at = INFINITY
        self.promotional_until_ = INFINITY

    def add(self, Batch batch not None):
        """Take in a dressed batch, behind the others of its class.

        raises  ValueError when its chunk is here already and not dropped
        """
        cdef Batch other
        if batch.form is None:
            raise ValueError(f"backlog: chunk {batch.chunk_id} is not dressed")
        for other in self.open:
            if other is batch or (other.chunk_id == batch.chunk_id and not other.dropped):
                raise ValueError(f"backlog: chunk {batch.chunk_id} is here already")
        self.open[batch] = True
        self.lists[batch.class_].append(batch)
        self.head = None

    def take_finished(self):
        """Batches whose every segment is settled, since the last call."""
        self.sweep()
        done = self.finished
        self.finished = []
        return done

    def batches(self):
        """Every batch not finished, the most urgent class first, in the order of their coming."""
        return sorted(self.open, key=_class_of)

    def drop(self, int64_t chunk_id):
        """Let nothing more of a chunk leave: another owner has it."""
        cdef Batch batch
        for batch in list(self.open):
            if batch.chunk_id == chunk_id and not batch.dropped:
                batch.dropped = True
                self.sweep()
                if batch.in_flight == 0 and batch in self.open:
                    self.finish(batch)

    def hold(self, double until):
        """Send nothing that was throttled before that moment."""
        self.hold_until = max(self.hold_until, until)

    def look_again(self):
        """A watermark has moved, or a pause has changed: who is next is asked anew."""
        self.head = None

    @property
    def promotional_until(self):
        """No message of the two shared classes is begun at or after that monotonic moment: STOPs are not heard of."""
        return self.promotional_until_

    @promotional_until.setter
    def promotional_until(self, double at):
        self.promotional_until_ = at
        # Who is next was chosen by the old moment; a later one is noticed when that one has come.
        if at < self.head_until:
            self.head = None

    @property
    def unsent(self):
        """Positions that were not handed to a bind yet."""
        return self.unsent_of(CLASSES - 1)

    def unsent_of(self, int last_class):
        """Positions of the classes up to that one that were not handed to a bind yet, paused ones left out."""
        cdef Batch batch
        cdef int64_t total = 0
        for batch in self.open:
            if not batch.dropped and not batch.paused and batch.class_ <= last_class:
                total += batch.n - batch.next_rank
        return total

    def closed(self, double now):
        """Batches with something left to send, the window of one of whose messages has closed (QH-6)."""
        cdef Batch batch
        return [
            batch for batch in self.open
            if now >= batch.closes_at and not batch.dropped and (batch.next_rank < batch.n or batch.in_flight)]

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
        """The next moment something becomes due: a segment for another try, or a batch that lacked room; or None."""
        moments = []
        for throttled in (self.throttled, self.urgent_throttled):
            if (<AgainQueue>throttled).count:
                moments.append(max(self.hold_until, (<AgainQueue>throttled).head().not_before))
        for delayed in (self.delayed, self.urgent_delayed):
            if (<Later>delayed).count:
                moments.append((<Later>delayed).head().not_before)
        if self.recheck_at < INFINITY:
            moments.append(self.recheck_at)
        return min(moments, default=None)

    def take_waiting(self):
        """Take out all that waits for another try: for whom it is too long to wait.

        ->  (batch, position, segment, segments, status) each: segment 0 = the whole message, nothing of it was written;
            status = what the SMSC refused it with, 0 = it never left. They count as in flight until `let_go`
        """
        found = self.drain(self.urgent_throttled, self.urgent_delayed, [])
        return self.drain(self.throttled, self.delayed, found)

    def take_waiting_of(self, set batches not None):
        """The same of some batches alone; the others' wait on, in their order and each until its moment."""
        found = []
        for throttled in (self.urgent_throttled, self.throttled):
            _take_throttled(throttled, batches, found)
        for delayed in (self.urgent_delayed, self.delayed):
            _take_delayed(delayed, batches, found)
        return found

    def let_go(self, Batch batch not None, int segments):
        """So many segments of `take_waiting` have gone another way."""
        if not 0 <= segments <= batch.in_flight:
            raise ValueError(f"let_go: expected 0 to {batch.in_flight} segments, got {segments}")
        self.settle(batch, segments)

    cdef list drain(self, AgainQueue throttled, Later delayed, list found):
        cdef Again* head
        while throttled.count:
            head = throttled.head()
            found.append((<Batch>head.batch, head.pos, head.segment, head.segments, head.status))
            throttled.pop()
        while delayed.count:
            head = delayed.head()
            found.append((<Batch>head.batch, head.pos, head.segment, head.segments, head.status))
            delayed.pop()
        return found

    cdef int finish(self, Batch batch) except -1:
        """Move a batch to the finished ones."""
        del self.open[batch]
        self.finished.append(batch)
        return 0

    cdef int sweep(self) except -1:
        """Take batches that are handed out from the lists."""
        cdef Batch batch
        cdef list waiting
        for waiting in self.lists:
            while waiting:
                batch = waiting[0]
                if batch.next_rank < batch.n and not batch.dropped:
                    break
                self.leave_list(batch, waiting, 0)
        return 0

    cdef int leave_list(self, Batch batch, list waiting, Py_ssize_t at) except -1:
        del waiting[at]
        if self.head is batch:
            self.head = None
        if batch.in_flight == 0 and batch in self.open:
            self.finish(batch)
        return 0

    cdef Batch current(self, double now):
        """The batch with a committed rank to hand out; None when there is none, and then `lacks_intent`,
        `lacks_feed` and `recheck_at` say why: ranks wait for their watermark, for STOPs to be heard of, or for room."""
        cdef Batch batch = self.head
        if (batch is not None and batch.next_rank < batch.committed and not batch.dropped and self.turn > 0
                and now < self.head_until):
            return batch
        return self.choose(now)

    cdef Batch choose(self, double now):
        cdef Batch batch, found, triggered = None
        cdef list waiting
        cdef Py_ssize_t i
        cdef int class_
        self.head = None
        self.recheck_at = INFINITY
        self.lacks_intent = False
        self.lacks_feed = False
        for class_ in range(CLASSES):
            waiting = self.lists[class_]
            if class_ > LAST_STRICT and now >= self.promotional_until_:
                self.lacks_feed |= len(waiting) > 0
                continue
            found = None
            i = 0
            while i < len(waiting):
                batch = waiting[i]
                if batch.next_rank >= batch.n or batch.dropped:
                    self.leave_list(batch, waiting, i)
                    continue
                if batch.paused:
                    i += 1
                    continue
                if batch.held_until > now:
                    self.recheck_at = min(self.recheck_at, batch.held_until)
                    i += 1
                    continue
                if now >= batch.closes_at:
                    i += 1
                    continue
                if batch.next_rank < batch.committed:
                    found = batch
                else:
                    self.lacks_intent = True
                break
            if found is None:
                continue
            if class_ <= LAST_STRICT:
                self.head = found
                self.head_until = min(self.recheck_at, found.closes_at)
                self.turn = ENDLESS
                return found
            if class_ == LAST_STRICT + 1:
                triggered = found
                continue
            if triggered is not None and not self.is_bulks_turn:
                break
            self.head = found
            self.head_until = min(self.recheck_at, self.promotional_until_, found.closes_at)
            self.turn = ENDLESS if triggered is None else BULK_TURN
            self.is_bulks_turn = False
            return found
        if triggered is not None:
            self.head = triggered
            self.head_until = min(self.recheck_at, self.promotional_until_, triggered.closes_at)
            self.turn = TRIGGERED_TURN
            self.is_bulks_turn = True
        return triggered

    cdef bint pop_again(self, bint urgent, double now, Again* item) noexcept:
        """The next segment that is due for another try, those of dropped batches too (the caller settles them)."""
        cdef AgainQueue throttled = self.urgent_throttled if urgent else self.throttled
        cdef Later delayed = self.urgent_delayed if urgent else self.delayed
        cdef Again* head = throttled.head()
        if head != NULL and head.not_before <= now and self.hold_until <= now:
            item[0] = head[0]
            throttled.pop()
            return True
        head = delayed.head()
        if head != NULL and head.not_before <= now:
            item[0] = head[0]
            delayed.pop()
            return True
        return False

    cdef int throttle(self, Again* item) except -1:
        """A segment the SMSC refused for speed."""
        if (<Batch>item.batch).class_ <= LAST_STRICT:
            return self.urgent_throttled.push(item)
        return self.throttled.push(item)

    cdef int delay(self, Again* item) except -1:
        """A segment that has its moment."""
        if (<Batch>item.batch).class_ <= LAST_STRICT:
            return self.urgent_delayed.push(item)
        return self.delayed.push(item)

    cdef int settle(self, Batch batch, int segments) except -1:
        """So many segments of a batch have their outcome."""
        batch.in_flight -= segments
        if batch.in_flight == 0 and (batch.next_rank == batch.n or batch.dropped) and batch in self.open:
            if self.head is batch:
                self.head = None
            self.finish(batch)
        return 0

    cdef int refuse(self, Batch batch) except -1:
        batch.refused += 1
        return 0


cdef int _take_throttled(AgainQueue queue, set batches, list found) except -1:
    cdef Py_ssize_t _left
    cdef Again item
    for _left in range(queue.count, 0, -1):
        item = queue.head()[0]
        queue.pop()
        if <Batch>item.batch in batches:
            found.append((<Batch>item.batch, item.pos, item.segment, item.segments, item.status))
        else:
            queue.push(&item)
    return 0


cdef int _take_delayed(Later queue, set batches, list found) except -1:
    cdef AgainQueue others = AgainQueue()
    cdef Again item
    while queue.count:
        item = queue.head()[0]
        queue.pop()
        if <Batch>item.batch in batches:
            found.append((<Batch>item.batch, item.pos, item.segment, item.segments, item.status))
        else:
            others.push(&item)
    while others.count:
        item = others.head()[0]
        others.pop()
        queue.push(&item)
    return 0


def _class_of(Batch batch):
    return batch.class_
