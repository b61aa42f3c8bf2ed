"""One claimed chunk as columns: the only thing that travels from the claim to the wire.

    position        0            1            2           …           n-1
    numbers         447700900123 4917012345…                          (int64)
    starts,lengths  [f0 f1]      [f0 f1]                               field values: spans of the claimed octets, UTF-8

They are read from the octets of `COPY (SELECT …) TO STDOUT (FORMAT binary)`, without a Python object per recipient:

    row:  columns 2 | 8 chunk_id | 8 run | 4 epoch | 4 sent_upto | 2 class | 2 country | bigint[] numbers |
          text[][] params or NULL
    array: dimensions 4 | flags 4 | element oid 4 | (length 4, lower bound 4) a dimension | (length 4, value) an element

Order of sending: rank r stands for position (r * stride + chunk_id) mod n, with a stride near 0.618 n that has no
common divisor with n. Sorted numbers leave in a scattered order (a run of neighbours looks like number scanning), and
the watermark `sent_upto`, which counts ranks, names its positions in one line of SQL.
Not here: where chunks come from (store.queue), what a message becomes (outbound.pyx), who is next (backlog.pyx).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.math cimport INFINITY
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcmp

from _fastpath.numbers cimport NumberSet
from _fastpath.wire cimport load16, load32, load64

cdef enum:
    LAST_CLASS = 5


cpdef int32_t stride_of(int32_t n):
    """The step between neighbours in the order of sending: the least from 0.618 n on that has no common divisor with n.

    The statements of the queue that turn ranks into positions are handed it (store.queue).
    """
    cdef int32_t a, b, step
    if n < 1:
        raise ValueError(f"stride: expected at least one position, got {n}")
    if n <= 2:
        return 1
    step = <int32_t>((<int64_t>n * 618) // 1000)
    if step < 1:
        step = 1
    while True:
        a = n
        b = step
        while b:
            a, b = b, a % b
        if a == 1:
            return step
        step += 1


@cython.final
cdef class Batch:
    """The columns of one chunk. Made by `read_batches` from claimed octets, or by `Batch.of` from Python values."""

    def __cinit__(self, int64_t chunk_id, int32_t n, int32_t columns,
                  int64_t run=0, int32_t epoch=0, int32_t sent_upto=0):
        cdef int64_t values = <int64_t>n * columns
        if n < 1 or columns < 0 or not 0 <= sent_upto <= n or chunk_id < 0 or values > 0x7FFFFFFF:
            raise ValueError(
                f"batch: expected chunk_id >= 0, n >= 1 and 0 <= sent_upto <= n, "
                f"got chunk_id={chunk_id}, n={n}, columns={columns}, sent_upto={sent_upto}")
        self.chunk_id = chunk_id
        self.run = run
        self.epoch = epoch
        self.n = n
        self.columns = columns
        # Zeroed: a batch that nobody filled has empty values and no number.
        self.numbers = <int64_t*>PyMem_RawCalloc(<size_t>n, sizeof(int64_t))
        self.starts = <uint32_t*>PyMem_RawCalloc(<size_t>max(1, values), sizeof(uint32_t))
        self.lengths = <int32_t*>PyMem_RawCalloc(<size_t>max(1, values), sizeof(int32_t))
        if self.numbers == NULL or self.starts == NULL or self.lengths == NULL:
            raise MemoryError
        self.owner = b""
        self.base = <const uint8_t*>PyBytes_AS_STRING(self.owner)
        self.stride = stride_of(n)
        self.next_rank = sent_upto
        self.committed = sent_upto
        self.cursor = self.position(sent_upto)
        self.expires_at = INFINITY
        self.class_ = LAST_CLASS
        self.limits = ()
        self.suppressed = ()
        self.closes_at = INFINITY

    def __dealloc__(self):
        PyMem_RawFree(self.verdicts)
        PyMem_RawFree(self.until)
        PyMem_RawFree(self.numbers)
        PyMem_RawFree(self.starts)
        PyMem_RawFree(self.lengths)

    @staticmethod
    def of(int64_t chunk_id, numbers, params=None, *, int64_t run=0, int32_t epoch=0, int32_t sent_upto=0,
           int class_=LAST_CLASS, int country=0):
        """A batch from Python values, for senders without a queue and for tests.

        numbers  a sequence of int
        params   a sequence of rows, each a sequence of str or None; or None
        class_   0 otp … 5 bulk
        """
        cdef Py_ssize_t i, at = 0
        columns = len(params[0]) if params else 0
        cdef Batch batch = Batch(chunk_id, len(numbers), columns, run, epoch, sent_upto)
        batch.classify(class_, country)
        for i in range(batch.n):
            batch.numbers[i] = numbers[i]
        values = []
        if columns:
            if len(params) != batch.n:
                raise ValueError(f"batch: expected {batch.n} rows of params, got {len(params)}")
            i = 0
            for row in params:
                if len(row) != columns:
                    raise ValueError(f"batch: expected {columns} values in each row of params, got {len(row)}")
                for value in row:
                    octets = b"" if value is None else value.encode()
                    batch.starts[i] = <uint32_t>at
                    batch.lengths[i] = -1 if value is None else <int32_t>len(octets)
                    at += len(octets)
                    values.append(octets)
                    i += 1
        owner = b"".join(values)
        batch.owner = owner
        batch.base = <const uint8_t*>PyBytes_AS_STRING(owner)
        return batch

    cdef int classify(self, int class_, int country) except -1:
        if not 0 <= class_ <= LAST_CLASS:
            raise ValueError(f"class: expected 0 to {LAST_CLASS}, got {class_}")
        self.class_ = class_
        self.country = country
        return 0

    cdef int prepare_verdicts(self) except -1:
        """Have a place for what the gate says; until it speaks, everything may go."""
        cdef int32_t i
        if self.verdicts == NULL:
            self.verdicts = <int16_t*>PyMem_RawCalloc(<size_t>self.n, sizeof(int16_t))
            self.until = <double*>PyMem_RawCalloc(<size_t>self.n, sizeof(double))
            if self.verdicts == NULL or self.until == NULL:
                raise MemoryError
        for i in range(self.n):
            self.verdicts[i] = 0
            self.until[i] = INFINITY
        self.closes_at = INFINITY
        return 0

    cdef int judge(self, int32_t pos, int16_t verdict, double until) except -1:
        if not 0 <= pos < self.n:
            raise IndexError(pos)
        self.verdicts[pos] = verdict
        self.until[pos] = until
        if until < self.closes_at:
            self.closes_at = until
        return 0

    def verdict(self, int32_t pos):
        """What the gate has said: 0 go, 1 it waits in another chunk, below 0 never; None = it was not asked."""
        if not 0 <= pos < self.n:
            raise IndexError(pos)
        return None if self.verdicts == NULL else self.verdicts[pos]

    def dress(self, form, double expires_at=INFINITY, limits=(), suppressed=()):
        """Give the batch the form its messages are written in, and the monotonic moment after which none may leave.

        limits      at most 4 limit.Limit: of its sender, its run, its country
        suppressed  at most 4 numbers.NumberSet of those who have said STOP; asked as each message leaves, so that what
                    is entered later counts too
        raises      ValueError: the template has more fields than the chunk, or segments are in flight in another form
        """
        # Imported here: that room imports this one.
        from _fastpath.limit import Limit
        from _fastpath.outbound import Form

        if not isinstance(form, Form):
            raise TypeError(f"batch: expected a Form, got {type(form).__name__}")
        if self.in_flight:
            raise ValueError(f"batch: chunk {self.chunk_id} has {self.in_flight} segments in flight")
        if form.columns > self.columns:
            raise ValueError(f"batch: the template has {form.columns} fields, the chunk {self.columns} columns")
        suppressed = tuple(suppressed)
        if len(suppressed) > 4:
            raise ValueError(f"batch: expected at most 4 suppressed sets, got {len(suppressed)}")
        for numbers in suppressed:
            if not isinstance(numbers, NumberSet):
                raise TypeError(f"batch: expected a NumberSet, got {type(numbers).__name__}")
        limits = tuple(limits)
        if len(limits) > 4:
            raise ValueError(f"batch: expected at most 4 limits, got {len(limits)}")
        for limit in limits:
            if not isinstance(limit, Limit):
                raise TypeError(f"batch: expected a Limit, got {type(limit).__name__}")
        self.limits = limits
        self.limit_count = 0
        for limit in limits:
            self.limit_at[self.limit_count] = <void*>limit
            self.limit_count += 1
        self.suppressed = suppressed
        self.suppressed_count = 0
        for numbers in suppressed:
            self.suppressed_at[self.suppressed_count] = <void*>numbers
            self.suppressed_count += 1
        self.form = form
        self.expires_at = expires_at

    def commit(self, int32_t upto):
        """Ranks below `upto` may leave: a committed watermark covers them."""
        if not self.committed <= upto <= self.n:
            raise ValueError(f"watermark: expected {self.committed} to {self.n}, got {upto}")
        self.committed = upto

    def shut(self):
        """Begin no message of it any more; one that has begun goes to its end, as behind a window that closed."""
        self.closes_at = -INFINITY

    def drop(self):
        """Let nothing more of this batch leave: the chunk has another owner."""
        self.dropped = True

    @property
    def is_handed_out(self):
        """Whether every position has been written or refused."""
        return self.next_rank == self.n or self.dropped

    @property
    def is_finished(self):
        """Whether every position has its outcome."""
        return self.is_handed_out and self.in_flight == 0

    def number(self, int32_t pos):
        """The number at a position."""
        if not 0 <= pos < self.n:
            raise IndexError(pos)
        return self.numbers[pos]

    def values(self, int32_t pos):
        """The field values at a position: a list of str or None."""
        if not 0 <= pos < self.n:
            raise IndexError(pos)
        return [
            None if self.lengths[i] < 0 else (<const char*>self.base + self.starts[i])[:self.lengths[i]].decode()
            for i in range(pos * self.columns, (pos + 1) * self.columns)
        ]

    def ranks(self, int32_t first, int32_t end):
        """The positions of the ranks [first, end), in the order of sending."""
        return [self.position(rank) for rank in range(max(0, first), min(end, self.n))]


@cython.final
cdef class _Reader:
    """A bounds-checked walk over COPY octets."""
    cdef const uint8_t* base
    cdef Py_ssize_t at
    cdef Py_ssize_t size

    cdef const uint8_t* need(self, Py_ssize_t octets) except NULL:
        cdef const uint8_t* p = self.base + self.at
        if octets < 0 or self.size - self.at < octets:
            raise ValueError(f"claimed octets end early: expected {octets} more at {self.at} of {self.size}")
        self.at += octets
        return p

    cdef int32_t int32(self) except? -2147483648:
        return <int32_t>load32(self.need(4))

    cdef int64_t field64(self) except? -9223372036854775807:
        cdef int32_t octets = self.int32()
        if octets == 8:
            return <int64_t>load64(self.need(8))
        if octets == 4:
            return self.int32()
        if octets == 2:
            return <int16_t>load16(self.need(2))
        raise ValueError(f"claimed octets: expected an integer of 2, 4 or 8 octets, got {octets}")


def read_batches(bytes octets not None):
    """The batches in the octets of a claim.

    octets  bytes of COPY … (FORMAT binary): chunk_id, run, epoch, sent_upto, class, country, msisdn bigint[],
            params text[][] (NULL = no fields)
    ->      list[Batch], in the order of the rows; they keep `octets` alive
    raises  ValueError when the octets are not of that form
    cost    about 8 ns a recipient and 5 ns a field
    """
    cdef bytes owner = octets
    cdef _Reader reader = _Reader()
    cdef Batch batch
    cdef int32_t rows, length, dimensions, n, columns, i, end
    cdef int64_t chunk_id, run
    cdef int32_t epoch, sent_upto
    cdef int class_, country
    cdef const uint8_t* p
    cdef Py_ssize_t mark
    reader.base = <const uint8_t*>PyBytes_AS_STRING(owner)
    reader.size = PyBytes_GET_SIZE(owner)
    reader.at = 0
    if reader.size > 0xFFFFFFFF:
        raise ValueError(f"claimed octets: {reader.size}, at most 4 GiB in one claim")
    if memcmp(reader.need(11), b"PGCOPY\n\xff\r\n\x00", 11) != 0:
        raise ValueError("claimed octets: expected the COPY signature")
    reader.need(4)
    reader.need(reader.int32())
    batches = []
    while True:
        rows = <int16_t>load16(reader.need(2))
        if rows == -1:
            return batches
        if rows != 8:
            raise ValueError(f"claimed octets: expected 8 columns, got {rows}")
        chunk_id = reader.field64()
        run = reader.field64()
        epoch = <int32_t>reader.field64()
        sent_upto = <int32_t>reader.field64()
        class_ = <int>reader.field64()
        country = <int>reader.field64()
        length = reader.int32()
        mark = reader.at
        dimensions = reader.int32()
        reader.need(8)
        if dimensions != 1:
            raise ValueError(f"claimed octets: chunk {chunk_id}: expected numbers in one dimension, got {dimensions}")
        n = reader.int32()
        reader.need(4)
        # 12 octets an element: a length that cannot fit would otherwise be allocated first.
        if n < 1 or <int64_t>n * 12 > reader.size - reader.at:
            raise ValueError(f"claimed octets: chunk {chunk_id}: {n} numbers do not fit the row")
        p = reader.need(<Py_ssize_t>n * 12)
        if reader.at - mark != length:
            raise ValueError(f"claimed octets: chunk {chunk_id}: numbers of {length} octets, read {reader.at - mark}")
        length = reader.int32()
        columns = 0
        mark = reader.at
        if length >= 0:
            dimensions = reader.int32()
            reader.need(8)
            if dimensions == 2:
                i = reader.int32()
                reader.need(4)
                columns = reader.int32()
                reader.need(4)
                if i != n or columns < 0 or <int64_t>n * columns * 4 > reader.size - reader.at:
                    raise ValueError(f"claimed octets: chunk {chunk_id}: params of {i} x {columns} for {n} numbers")
            elif dimensions != 0:
                raise ValueError(
                    f"claimed octets: chunk {chunk_id}: expected params in two dimensions, got {dimensions}")
        batch = Batch(chunk_id, n, columns, run, epoch, sent_upto)
        batch.classify(class_, country)
        batch.owner = owner
        batch.base = reader.base
        for i in range(n):
            if load32(p) != 8:
                raise ValueError(f"claimed octets: chunk {chunk_id}: number {i} is NULL")
            batch.numbers[i] = <int64_t>load64(p + 4)
            p += 12
        end = n * columns
        for i in range(end):
            batch.lengths[i] = reader.int32()
            batch.starts[i] = <uint32_t>reader.at
            if batch.lengths[i] > 0:
                reader.need(batch.lengths[i])
        if length >= 0 and reader.at - mark != length:
            raise ValueError(f"claimed octets: chunk {chunk_id}: params of {length} octets, read {reader.at - mark}")
        batches.append(batch)
