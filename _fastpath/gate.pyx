r"""The gate over columns: who of a claimed batch may go now, who waits until when, who never goes, and why.

    batches ─► Questions: one each position that was not handed out, sorted by (bucket, page, number)
                  ▲ read_consent   bucket 4 | page 4 | numbers bytea | states bytea | zones bytea     a row a page
                  ▲ read_contacts  bucket 4 | page 4 | at 8 | run 8 | kind 2 | class 2 | brand 2 | priority 2 |
                  │                sender 4 | tags 8 | numbers bytea                          a row a page and act
                  ▲ read_refusals  number 8 | reason 2                             a row a number
               judge(rules, windows, now) ─► a verdict each ─► apply: they ride on the batch
                                          └► reservations: contact rows of those admitted, for the same transaction

Rows of pages come as Postgres's record_send has them, one behind the other: columns 4, then for each its type 4, its
length 4 and so many octets. Aggregated there they are one value here, and no Python object is made for a row. Numbers
that nobody has claimed come by a COPY.

A page is 1/256 of a bucket: what is asked of people lies there as packed columns, big-endian and sorted, so that one
row answers for dozens of them and no B-tree is walked a person: 0.2 µs of Postgres CPU a recipient each way, where a
row a person costs 1.7 and 3.

    states   an octet a number: bits 0-1 promotional, 2-3 transactional, 4-5 night; 0 none 1 pending 2 granted 3 revoked
    zones    two octets a number, 0 = by the number itself; or nothing at all: every zone is by the number
    kind     0 due: a run means to write   1 reserved: it passed the gate   2 returned: it did not go after all

Checks, in this order; the first that does not pass is the reason:

    suppressed   consent   refused (exception, audience left)   window   legal caps   caps   gap   talk (with us)

The same function answers for a claim, a preview and `sluice explain`: they differ in what is asked, not in who answers.
Times are microseconds since 1970, UTC. Not here: what windows and zones are (campaign.quiet_hours), where the rows come
from (store.admission), what becomes of a hold (dispatch.admission).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, INT64_MIN, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memcmp, memset

from _fastpath.batch cimport HELD, Batch
from _fastpath.numbers cimport NumberSet
from _fastpath.wire cimport load16, load32, load64, store16, store32, store64

CONTACT_COLUMNS = (
    "bucket", "page", "at", "run", "kind", "class", "brand", "priority", "sender", "tags", "numbers",
)
DUE, RESERVED, RETURNED = 0, 1, 2
NONE, PENDING, GRANTED, REVOKED = 0, 1, 2, 3
SEND, HOLD = 0, HELD
CHECKS = ("suppressed", "consent", "refused", "window", "legal cap", "cap", "gap", "talk")

cdef enum:
    # Reasons as gateway.reasons has them; tests hold the two together.
    NO_CONSENT = -30
    PENDING_CONSENT = -31
    STOPPED = -32
    LAST_SUPPRESSED = -39
    OUTSIDE_WINDOW = -45
    WINDOW_EXPIRED = -46
    MISSED = -48
    MIN_GAP = -49
    LEGAL_CAP = -50
    ARBITRATION_LOST = -51
    DUPLICATE_ENDPOINT = -52
    FIRST_CAP = -100
    MOST_CAPS = 16
    CONTACT_COLUMN_COUNT = 11
    CONTACT_OCTETS = 2 + 11 * 4 + 4 + 4 + 8 + 8 + 2 + 2 + 2 + 2 + 4 + 8
    SLOTS = 6
    SPAN_GAP = 3
    FORGOTTEN = -1
    CHECK_COUNT = 8

cdef enum:
    # Whose contacts are written: admitted without a reservation of a moment ago, admitted with one of longer ago, not
    # admitted with one.
    FRESH = 0
    STALE = 1
    WITHDRAWN = 2

cdef enum:
    # Of consent, as GRANTED is for Python.
    IS_GRANTED = 2

cdef enum:
    ROLLING = 0  # else 1 day, 2 week, 3 month: of the recipient's zone

# Postgres counts from 2000-01-01.
cdef int64_t MILLENNIUM_US = 946684800000000
# What was reserved within so long is not reserved anew: a claim is repeated after a crash, or a window that closed.
cdef int64_t FRESH_US = 600 * <int64_t>1000000
# The least number of 15 digits, to which all are brought.
cdef int64_t FIFTEEN = 100000000000000


cdef struct CapRule:
    int32_t limit
    int32_t span            # ROLLING, or a calendar's
    int64_t period_us       # of a rolling one
    uint32_t classes        # a bit each class that counts
    uint64_t tags           # one of these bits, or 0 = any
    int32_t brand           # -1 = any
    int32_t sender          # of this sender; 0 = any
    bint is_legal

cdef struct Opening:
    int64_t closes_us       # open until then; INT64_MIN = closed now
    int64_t opens_us        # next opening behind now; INT64_MAX = none
    int64_t due_us          # nobody there is written to before; INT64_MAX = never
    int64_t begins_us[3]    # of the day, week and month in that zone
    int64_t ends_us[3]
    uint64_t pair           # night << 32 | zone << 16 | key
    uint32_t caps           # a bit each cap of the rules that holds there
    bint is_guess
    bint is_known

cdef struct Question:
    int64_t number
    int64_t act             # whose reservation of the number is its own: that of its run, or of its message alone
    int64_t until_us        # of a hold; of one that may go: when its window closes
    int64_t last_us         # the newest contact that counts for the gap
    int64_t talk_us         # a person of ours talks with them: to be asked again then; 0 = nobody does
    uint32_t place          # bucket << 8 | page
    int32_t batch
    int32_t pos
    uint16_t zone           # stated; 0 = by the number
    uint16_t key            # by the number
    int16_t refusal
    int16_t verdict
    uint8_t state
    uint8_t mine            # this run has reserved it a moment ago; 2: longer ago
    uint8_t counts[MOST_CAPS]
    uint8_t rivals[MOST_CAPS]

cdef struct Row:
    const uint8_t* numbers
    int64_t at_us
    int64_t run
    uint64_t tags
    uint32_t place
    int32_t count
    int32_t sender
    int16_t kind
    int16_t class_
    int16_t brand
    int16_t priority


cdef inline uint32_t place_of(int64_t number) noexcept nogil:
    cdef uint64_t n = <uint64_t>number
    cdef uint32_t bucket = <uint32_t>((n ^ (n >> 8) ^ (n >> 16) ^ (n >> 24)) & 255)
    return bucket << 8 | <uint32_t>(((n % 1000003) * 48271 % 2147483647) >> 8 & 255)


def page(int64_t number):
    """The page of a number within its bucket, 0..255: (number % 1000003 * 48271 % 2147483647) >> 8 & 255."""
    return place_of(number) & 255


cdef inline uint64_t spread(uint64_t h) noexcept nogil:
    h *= 0x9E3779B97F4A7C15ULL
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ULL
    return h ^ (h >> 31)


cdef inline uint64_t pair_of(uint16_t key, uint16_t zone, bint has_night) noexcept nogil:
    return <uint64_t>has_night << 32 | <uint64_t>zone << 16 | key


cdef int by_place(const void* a, const void* b) noexcept nogil:
    cdef const Question* x = <const Question*>a
    cdef const Question* y = <const Question*>b
    if x.place != y.place:
        return -1 if x.place < y.place else 1
    if x.number != y.number:
        return -1 if x.number < y.number else 1
    if x.batch != y.batch:
        return -1 if x.batch < y.batch else 1
    return -1 if x.pos < y.pos else 1


cdef int row_by_place(const void* a, const void* b) noexcept nogil:
    cdef const Row* x = <const Row*>a
    cdef const Row* y = <const Row*>b
    return -1 if x.place < y.place else 1 if x.place > y.place else 0


cdef int newest_first(const void* a, const void* b) noexcept nogil:
    cdef int64_t x = (<const int64_t*>a)[0]
    cdef int64_t y = (<const int64_t*>b)[0]
    return -1 if x > y else 1 if x < y else 0


cdef inline Py_ssize_t find(const uint8_t* numbers, Py_ssize_t count, int64_t number) noexcept nogil:
    """Where a number stands among sorted big-endian ones; -1 = nowhere."""
    cdef Py_ssize_t low = 0, high = count, middle
    cdef int64_t found
    while low < high:
        middle = (low + high) >> 1
        found = <int64_t>load64(numbers + 8 * middle)
        if found == number:
            return middle
        if found < number:
            low = middle + 1
        else:
            high = middle
    return -1


@cython.final
cdef class Zones:
    """Which key of `Windows` a number has by its first digits.

    starts  the lowest number of each range on 15 digits, ascending, the first of them 0
    keys    the key of each
    """
    cdef int64_t* starts
    cdef uint16_t* keys
    cdef Py_ssize_t count

    def __cinit__(self, starts, keys):
        cdef Py_ssize_t i
        self.count = len(starts)
        if self.count < 1 or len(keys) != self.count or starts[0] != 0:
            raise ValueError("zones: expected as many keys as starts, and a first start of 0")
        self.starts = <int64_t*>PyMem_RawMalloc(<size_t>self.count * sizeof(int64_t))
        self.keys = <uint16_t*>PyMem_RawMalloc(<size_t>self.count * sizeof(uint16_t))
        if self.starts == NULL or self.keys == NULL:
            raise MemoryError
        for i in range(self.count):
            self.starts[i] = starts[i]
            self.keys[i] = keys[i]
            if i and self.starts[i] <= self.starts[i - 1]:
                raise ValueError(f"zones: expected ascending starts, got {starts[i - 1]} before {starts[i]}")

    def __dealloc__(self):
        PyMem_RawFree(self.starts)
        PyMem_RawFree(self.keys)

    def __len__(self):
        return self.count

    def key(self, int64_t number):
        """The key of a number; ValueError below 1."""
        if number < 1:
            raise ValueError(f"number: expected a positive integer, got {number}")
        return self.key_of(number)

    cdef uint16_t key_of(self, int64_t number) noexcept nogil:
        cdef Py_ssize_t low = 0, high = self.count, middle
        cdef int64_t padded = number
        while padded < FIFTEEN and padded > 0:
            padded *= 10
        while padded >= 10 * FIFTEEN:
            padded //= 10
        while high - low > 1:
            middle = (low + high) >> 1
            if self.starts[middle] <= padded:
                low = middle
            else:
                high = middle
        return self.keys[low]


@cython.final
cdef class Windows:
    """What is open at one instant: by what a number says of where it is, and by the zone that is stated, 0 = none."""
    cdef Opening* openings
    cdef Py_ssize_t count, room
    cdef readonly int64_t now_us

    def __cinit__(self, int64_t now_us):
        self.now_us = now_us
        self.room = 64
        self.openings = <Opening*>PyMem_RawCalloc(64, sizeof(Opening))
        if self.openings == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.openings)

    def enter(self, int key, int zone, bint has_night, closes_us, opens_us, *, spans, bint is_guess=False,
              uint32_t caps=0xFFFFFFFF, int64_t due_us=0):
        """Say what holds for a key and a stated zone, with or without a grant for the night.

        caps       a bit each cap of the rules that holds there: a law is a country's
        closes_us  when what is open closes; None = closed now
        opens_us   the next opening behind now; None = there is none
        spans      (begin, end) of the day, the week and the month in that zone, each in microseconds
        is_guess   the zone is a guess (QH-4)
        due_us     nobody there is written to before: a local time of each zone (QH-8); 2**63 - 1 = never, it had passed
        """
        cdef Opening* one
        cdef int i
        if not 0 <= key <= 0xFFFF or not 0 <= zone <= 0xFFFF:
            raise ValueError(f"windows: expected a key and a zone of 16 bits, got {key} and {zone}")
        if len(spans) != 3:
            raise ValueError(f"spans: expected those of day, week and month, got {len(spans)}")
        if closes_us is not None and closes_us <= self.now_us:
            raise ValueError(f"closes_us: expected behind {self.now_us}, got {closes_us}")
        if opens_us is not None and opens_us <= self.now_us:
            raise ValueError(f"opens_us: expected behind {self.now_us}, got {opens_us}")
        if 2 * (self.count + 1) > self.room:
            self.grow()
        one = self.place(pair_of(<uint16_t>key, <uint16_t>zone, has_night))
        self.count += not one.is_known
        one.pair = pair_of(<uint16_t>key, <uint16_t>zone, has_night)
        one.caps = caps
        one.due_us = due_us
        one.closes_us = INT64_MIN if closes_us is None else closes_us
        one.opens_us = INT64_MAX if opens_us is None else opens_us
        for i in range(3):
            one.begins_us[i], one.ends_us[i] = spans[i]
        one.is_guess = is_guess
        one.is_known = True

    cdef int grow(self) except -1:
        cdef Opening* old = self.openings
        cdef Py_ssize_t i, before = self.room
        self.openings = <Opening*>PyMem_RawCalloc(<size_t>(2 * before), sizeof(Opening))
        if self.openings == NULL:
            self.openings = old
            raise MemoryError
        self.room = 2 * before
        for i in range(before):
            if old[i].is_known:
                self.place(old[i].pair)[0] = old[i]
        PyMem_RawFree(old)
        return 0

    cdef Opening* place(self, uint64_t pair) noexcept nogil:
        """Where a pair stands, or would stand."""
        cdef Py_ssize_t at = <Py_ssize_t>(spread(pair) & <uint64_t>(self.room - 1))
        while self.openings[at].is_known and self.openings[at].pair != pair:
            at = (at + 1) & (self.room - 1)
        return &self.openings[at]

    cdef Opening* of(self, const Question* question) noexcept nogil:
        return self.place(pair_of(question.key, question.zone, question.state >> 4 & 3 == IS_GRANTED))

    def knows(self, int key, int zone=0, bint has_night=False):
        """Whether it was said what holds there."""
        return bool(self.place(pair_of(<uint16_t>key, <uint16_t>zone, has_night)).is_known)


@cython.final
cdef class Rules:
    """What a run asks of everybody, as numbers.

    needs          the consent: 0 none, 1 promotional, 2 transactional (a promotional one holds too)
    caps           (limit, span, period_us, classes, tags, brand, sender, is_legal) each: span 0 rolling over period_us,
                   1 day, 2 week, 3 month of the recipient's zone; classes and tags as bits; brand -1, sender 0 = any
    gap_us         between two messages that are no conversation; 0 = none
    defer_until_us what a cap or the gap meets waits for them until then; 0 = it is skipped
    hold_until_us  what meets a closed window waits for it until then; 0 = it is skipped
    min_left_us    of a window that closes sooner the next is waited for (QH-6)
    spread_us      over which what waited is released (QH-7)
    arbitration_us a message of a run of lower priority number that is due so soon goes before (CP-4); 0 = first come
    has_bypass     caps that are no law are passed over (CP-6)
    announces      whether what waits or ends of it is told to runs of higher priority number (CP-4)
    has_windows    whether windows count at all for its class
    """
    cdef CapRule caps[MOST_CAPS]
    cdef int cap_count
    cdef readonly int64_t run
    cdef readonly int class_, brand, priority, sender, needs
    cdef readonly uint64_t tags
    cdef readonly int64_t gap_us, defer_until_us, hold_until_us, min_left_us, spread_us, arbitration_us
    cdef readonly bint has_bypass, has_windows, announces

    def __cinit__(self, *, int64_t run, int class_, int brand=0, int priority=0, int sender=0, uint64_t tags=0,
                  int needs=0, caps=(), int64_t gap_us=0, int64_t defer_until_us=0, int64_t hold_until_us=0,
                  int64_t min_left_us=0, int64_t spread_us=0, int64_t arbitration_us=0, bint has_bypass=False,
                  bint has_windows=True, bint announces=False):
        cdef CapRule* rule
        if not 0 <= class_ <= 5:
            raise ValueError(f"class: expected 0 to 5, got {class_}")
        if not 0 <= needs <= 2:
            raise ValueError(f"needs: expected 0 to 2, got {needs}")
        if len(caps) > MOST_CAPS:
            raise ValueError(f"caps: expected at most {MOST_CAPS}, got {len(caps)}")
        for value, name in ((brand, "brand"), (priority, "priority")):
            if not -32768 <= value <= 32767:
                raise ValueError(f"{name}: expected 16 bits, got {value}")
        self.run, self.class_, self.brand, self.priority, self.sender = run, class_, brand, priority, sender
        self.tags, self.needs = tags, needs
        self.gap_us, self.defer_until_us, self.hold_until_us = gap_us, defer_until_us, hold_until_us
        self.min_left_us, self.spread_us, self.arbitration_us = min_left_us, spread_us, arbitration_us
        self.has_bypass, self.has_windows, self.announces = has_bypass, has_windows, announces
        for limit, span, period_us, classes, cap_tags, cap_brand, cap_sender, is_legal in caps:
            if not 0 <= limit <= 254:
                raise ValueError(f"cap: expected a limit of 0 to 254, got {limit}")
            if not 0 <= span <= 3 or (span == ROLLING and period_us <= 0):
                raise ValueError(f"cap: expected a span of 0 to 3 and a period, got {span} and {period_us}")
            rule = &self.caps[self.cap_count]
            rule.limit, rule.span, rule.period_us = limit, span, period_us
            rule.classes, rule.tags, rule.brand, rule.sender = classes, cap_tags, cap_brand, cap_sender
            rule.is_legal = is_legal
            self.cap_count += 1

    @property
    def reach_us(self):
        """How far back contacts are asked for: the longest period of its caps, a month's length at most 32 days."""
        cdef int i
        cdef int64_t day = <int64_t>86400 * 1000000
        cdef int64_t reach = self.gap_us
        for i in range(self.cap_count):
            if self.caps[i].span == ROLLING:
                reach = max(reach, self.caps[i].period_us)
            else:
                reach = max(reach, day * (2 if self.caps[i].span == 1 else 8 if self.caps[i].span == 2 else 33))
        return reach


cdef class _Contacts:
    """Rows of contact pages, as they came, by their place."""
    cdef Row* rows          # sorted by place
    cdef Py_ssize_t row_count, row_room
    cdef list kept          # octets that rows point into

    def __cinit__(self, *_, **__):
        self.kept = []

    def __dealloc__(self):
        PyMem_RawFree(self.rows)

    def read_contacts(self, bytes octets not None):
        """Take in who was, or is to be, written to; the octets are kept.

        raises  ValueError when the octets are not of that form
        """
        cdef _Rows rows = _Rows(octets)
        cdef Row* row
        cdef Row* more
        cdef Py_ssize_t length
        while rows.next(CONTACT_COLUMN_COUNT):
            if self.row_count == self.row_room:
                more = <Row*>PyMem_RawRealloc(self.rows, <size_t>max(64, 2 * self.row_room) * sizeof(Row))
                if more == NULL:
                    raise MemoryError
                self.rows = more
                self.row_room = max(64, 2 * self.row_room)
            row = &self.rows[self.row_count]
            row.place = <uint32_t>(rows.int32() << 8)
            row.place |= <uint32_t>rows.int32()
            row.at_us = rows.int64() + MILLENNIUM_US
            row.run = rows.int64()
            row.kind = rows.int16()
            row.class_ = rows.int16()
            row.brand = rows.int16()
            row.priority = rows.int16()
            row.sender = rows.int32()
            row.tags = <uint64_t>rows.int64()
            row.numbers = rows.octets(&length)
            if length % 8:
                raise ValueError(f"contact page {row.place >> 8}/{row.place & 255}: {length} octets of numbers")
            row.count = <int32_t>(length // 8)
            self.row_count += 1
        self.kept.append(octets)
        with nogil:
            qsort(self.rows, <size_t>self.row_count, sizeof(Row), row_by_place)

    @cython.final
    cdef bint is_undone(self, Py_ssize_t low, Py_ssize_t high, const Row* row, int64_t number) noexcept nogil:
        """Whether a reservation was returned, or what was due has come to the gate: a later act of the same run."""
        cdef Py_ssize_t i
        for i in range(low, high):
            if (self.rows[i].run == row.run and self.rows[i].kind > row.kind and self.rows[i].at_us >= row.at_us
                    and find(self.rows[i].numbers, self.rows[i].count, number) >= 0):
                return True
        return False

    @cython.final
    cdef (Py_ssize_t, Py_ssize_t) rows_of(self, uint32_t place) noexcept nogil:
        cdef Py_ssize_t low = 0, high = self.row_count, middle, end
        while low < high:
            middle = (low + high) >> 1
            if self.rows[middle].place < place:
                low = middle + 1
            else:
                high = middle
        end = low
        while end < self.row_count and self.rows[end].place == place:
            end += 1
        return low, end


@cython.final
cdef class Questions(_Contacts):
    """Who is asked for, and what is known of them.

    batches  of one run, claimed and not handed out yet
    zones    what a number says of where it is
    aside    by chunk, the positions that wait in another chunk since an earlier claim: nobody is asked about them
    acts     by chunk, what reserves for its messages in place of the run: where a run may write to a number more than
             once, each message counts against the next. Of one number no two batches then.
    """
    cdef readonly list batches
    cdef dict aside
    cdef Zones zones
    cdef Question* questions
    cdef readonly Py_ssize_t count
    cdef readonly int64_t now_us
    cdef readonly Py_ssize_t admitted, held, refused, guessed
    cdef bint has_acts, tells

    def __cinit__(self, batches, Zones zones not None, aside=None, acts=None):
        cdef Batch batch
        cdef object away
        cdef Question* question
        cdef int32_t _rank, at
        cdef int64_t act = 0
        cdef Py_ssize_t total = 0
        self.batches = list(batches)
        self.aside = {} if aside is None else dict(aside)
        self.zones = zones
        for one in self.batches:
            if not isinstance(one, Batch):
                raise TypeError(f"questions: expected a Batch, got {type(one).__name__}")
            batch = one
            total += batch.n - batch.next_rank
        self.questions = <Question*>PyMem_RawCalloc(<size_t>max(1, total), sizeof(Question))
        if self.questions == NULL:
            raise MemoryError
        for i, one in enumerate(self.batches):
            batch = one
            away = self.aside.get(batch.chunk_id, ())
            if acts is not None:
                act = acts[batch.chunk_id]
                self.has_acts = True
            at = batch.cursor
            for _rank in range(batch.next_rank, batch.n):
                if not away or at not in away:
                    question = &self.questions[self.count]
                    question.number = batch.numbers[at]
                    question.place = place_of(batch.numbers[at])
                    question.batch = i
                    question.pos = at
                    question.act = act
                    question.last_us = INT64_MIN
                    self.count += 1
                at += batch.stride
                if at >= batch.n:
                    at -= batch.n
        with nogil:
            qsort(self.questions, <size_t>self.count, sizeof(Question), by_place)

    @staticmethod
    def of_numbers(bytes octets not None, Zones zones not None):
        """Questions about numbers that nobody has claimed, for who asks and writes to nobody.

        octets  of a binary COPY of one column: number 8
        raises  ValueError when the octets are not of that form
        """
        cdef Questions made = Questions((), zones)
        cdef _Rows rows = _Rows(octets, True)
        cdef Question* question
        cdef int64_t number
        # A row is 14 octets, beside the header and the end.
        cdef Py_ssize_t room = max(1, PyBytes_GET_SIZE(octets) // 14 + 1)
        PyMem_RawFree(made.questions)
        made.questions = <Question*>PyMem_RawCalloc(<size_t>room, sizeof(Question))
        if made.questions == NULL:
            raise MemoryError
        while rows.next(1):
            number = rows.int64()
            if number < 1:
                raise ValueError(f"number: expected a positive integer, got {number}")
            question = &made.questions[made.count]
            question.number = number
            question.place = place_of(number)
            question.pos = <int32_t>made.count
            question.last_us = INT64_MIN
            made.count += 1
        with nogil:
            qsort(made.questions, <size_t>made.count, sizeof(Question), by_place)
        return made

    def __dealloc__(self):
        PyMem_RawFree(self.questions)

    def __len__(self):
        return self.count

    def spans(self):
        """(bucket, first page, last page) that hold everybody, ascending: three lists.

        Pages that are asked for and have one or two others between them are one span: reading those costs less than
        looking for the next.
        """
        cdef Py_ssize_t i
        cdef uint32_t place, last = 0
        buckets, firsts, lasts = [], [], []
        for i in range(self.count):
            place = self.questions[i].place
            if i == 0 or place >> 8 != last >> 8 or place - last > SPAN_GAP:
                if i:
                    lasts.append(last & 255)
                buckets.append(place >> 8)
                firsts.append(place & 255)
            last = place
        if self.count:
            lasts.append(last & 255)
        return buckets, firsts, lasts

    def numbers_text(self):
        """The numbers as the text of a Postgres array, sorted as they lie there: for statements that ask of each.

        cost  20 ns a number, and 60 of Postgres to read it; asyncpg would make Python objects of them
        """
        cdef Py_ssize_t i, w = 1
        cdef int64_t number
        cdef char digits[20]
        cdef int k
        cdef bytes out = PyBytes_FromStringAndSize(NULL, 2 + 20 * self.count)
        cdef char* p = PyBytes_AS_STRING(out)
        p[0] = b"{"
        for i in range(self.count):
            number = self.questions[i].number
            k = 0
            while number > 0:
                digits[k] = <char>(48 + number % 10)
                number //= 10
                k += 1
            if k == 0:
                digits[0] = 48
                k = 1
            if i:
                p[w] = b","
                w += 1
            while k:
                k -= 1
                p[w] = digits[k]
                w += 1
        p[w] = b"}"
        return out[:w + 1].decode("ascii")

    cdef Py_ssize_t first_of(self, uint32_t place) noexcept nogil:
        """The first question of a place, or where it would be."""
        cdef Py_ssize_t low = 0, high = self.count, middle
        while low < high:
            middle = (low + high) >> 1
            if self.questions[middle].place < place:
                low = middle + 1
            else:
                high = middle
        return low

    def read_consent(self, bytes octets not None):
        """Take in what pages say of consent and zones; a number that no page names has no consent.

        Pages that are read later hold of whom they name: those of a brand are read before those of its programme. A
        zone that one of them knows stays.
        raises  ValueError when the octets are not of that form
        """
        cdef _Rows rows = _Rows(octets)
        cdef uint32_t place
        cdef const uint8_t* numbers
        cdef const uint8_t* states
        cdef const uint8_t* zones
        cdef Py_ssize_t count, states_octets, zones_octets, i, at
        while rows.next(5):
            place = <uint32_t>(rows.int32() << 8)
            place |= <uint32_t>rows.int32()
            numbers = rows.octets(&count)
            states = rows.octets(&states_octets)
            zones = rows.octets(&zones_octets)
            if count % 8 or states_octets * 8 != count or (zones_octets and zones_octets * 4 != count):
                raise ValueError(
                    f"consent page {place >> 8}/{place & 255}: {count} octets of numbers, {states_octets} of states, "
                    f"{zones_octets} of zones")
            count //= 8
            i = self.first_of(place)
            while i < self.count and self.questions[i].place == place:
                at = find(numbers, count, self.questions[i].number)
                if at >= 0:
                    self.questions[i].state = states[at]
                    if zones_octets and load16(zones + 2 * at):
                        self.questions[i].zone = load16(zones + 2 * at)
                i += 1

    def read_refusals(self, bytes octets not None):
        """Take in what else is against some numbers; of several reasons the one nearest to zero counts.

        raises  ValueError when the octets are not of that form
        """
        cdef _Rows rows = _Rows(octets)
        cdef int64_t number
        while rows.next(2):
            number = rows.int64()
            self.refuse_one(number, rows.int16())

    def refuse(self, reasons):
        """Take in what is against a few numbers, {number: reason}; as read_refusals.

        raises  ValueError: a reason is not below 0
        """
        for number, reason in reasons.items():
            self.refuse_one(number, reason)

    def put_off(self, moments):
        """Let a few numbers wait though nothing else is in their way, {number: until_us}; others are left out."""
        cdef int64_t number, until_us
        cdef uint32_t place
        cdef Py_ssize_t i
        for number, until_us in moments.items():
            place = place_of(number)
            i = self.first_of(place)
            while i < self.count and self.questions[i].place == place:
                if self.questions[i].number == number:
                    self.questions[i].talk_us = until_us
                i += 1

    cdef int refuse_one(self, int64_t number, int16_t reason) except -1:
        cdef uint32_t place = place_of(number)
        cdef Py_ssize_t i = self.first_of(place)
        if reason >= 0:
            raise ValueError(f"refusal of {number}: expected a reason below 0, got {reason}")
        while i < self.count and self.questions[i].place == place:
            if self.questions[i].number == number and (
                    self.questions[i].refusal == 0 or reason > self.questions[i].refusal):
                self.questions[i].refusal = reason
            i += 1
        return 0

    def among(self, sets):
        """The numbers that are in one of some sets, each once.

        sets    NumberSet each
        cost    about 20 ns a number and set
        """
        cdef Py_ssize_t i
        cdef NumberSet one
        cdef int64_t last = 0
        found = []
        for each in sets:
            if not isinstance(each, NumberSet):
                raise TypeError(f"among: expected a NumberSet, got {type(each).__name__}")
        for i in range(self.count):
            if self.questions[i].number == last:
                continue
            last = self.questions[i].number
            for each in sets:
                one = <NumberSet>each
                if one.has(last):
                    found.append(last)
                    break
        return found

    cdef bint counts_for(self, const CapRule* rule, const Row* row, int64_t since_us) noexcept nogil:
        return (row.at_us > since_us and rule.classes >> row.class_ & 1 and (not rule.tags or rule.tags & row.tags)
                and (rule.brand < 0 or rule.brand == row.brand) and (rule.sender == 0 or rule.sender == row.sender))

    cdef inline bint is_rival(self, const Row* row, Rules rules, int64_t act, int64_t now_us) noexcept nogil:
        """Whether what is due goes before: it is of another run of lower priority number, and due soon."""
        return row.run != act and row.priority < rules.priority and row.at_us <= now_us + rules.arbitration_us

    cdef bint is_told_twice(self, Py_ssize_t low, Py_ssize_t at, int64_t number) noexcept nogil:
        """Whether a row before says the same: who died behind announcing a run announces it again."""
        cdef Py_ssize_t i
        cdef const Row* row = &self.rows[at]
        cdef const Row* other
        for i in range(low, at):
            other = &self.rows[i]
            if (other.kind == 0 and other.run == row.run and other.at_us == row.at_us and other.class_ == row.class_
                    and other.brand == row.brand and other.priority == row.priority and other.sender == row.sender
                    and other.tags == row.tags and find(other.numbers, other.count, number) >= 0):
                return True
        return False

    def rivals(self, Rules rules not None, int64_t now_us):
        """The runs whose messages are due soon to somebody of these pages, and go before those of the rules."""
        cdef Py_ssize_t i
        found = set()
        for i in range(self.row_count):
            if self.rows[i].kind == 0 and self.is_rival(&self.rows[i], rules, rules.run, now_us):
                found.add(self.rows[i].run)
        return found

    def forget(self, runs):
        """Let what is due of some runs count for nothing: they are over, or stand still."""
        cdef Py_ssize_t i
        for i in range(self.row_count):
            if self.rows[i].kind == 0 and self.rows[i].run in runs:
                self.rows[i].kind = FORGOTTEN

    cdef void weigh(self, Question* question, Py_ssize_t low, Py_ssize_t high, Rules rules,
                    Windows windows) noexcept nogil:
        """Count what a number has had, by the rules."""
        cdef Py_ssize_t i
        cdef int k
        cdef const Row* row
        cdef int64_t since_us, act = question.act or rules.run
        cdef Opening* opening = windows.of(question)
        question.mine = False
        question.last_us = INT64_MIN
        memset(question.counts, 0, MOST_CAPS)
        memset(question.rivals, 0, MOST_CAPS)
        for i in range(low, high):
            row = &self.rows[i]
            if row.kind == FORGOTTEN or row.kind == 2:
                continue
            if row.kind == 0 and not self.is_rival(row, rules, act, windows.now_us):
                continue
            if find(row.numbers, row.count, question.number) < 0 or self.is_undone(low, high, row, question.number):
                continue
            if row.kind == 0 and self.is_told_twice(low, i, question.number):
                continue
            if row.kind == 1 and row.run == act:
                # Others have counted it; it does not count against itself.
                if question.mine != 1:
                    question.mine = 1 if row.at_us >= windows.now_us - FRESH_US else 2
                continue
            if row.kind == 1 and row.class_ != 2 and row.at_us > question.last_us:
                question.last_us = row.at_us
            for k in range(rules.cap_count):
                if rules.caps[k].span == ROLLING:
                    since_us = windows.now_us - rules.caps[k].period_us
                else:
                    since_us = opening.begins_us[rules.caps[k].span - 1] - 1
                if self.counts_for(&rules.caps[k], row, since_us):
                    if row.kind == 0:
                        question.rivals[k] += question.rivals[k] < 255
                    else:
                        question.counts[k] += question.counts[k] < 255

    cdef int64_t free_us(self, Question* question, Rules rules, int k, Windows windows) except? -1:
        """When a cap has room for this number again: the oldest of those that fill it has left the period."""
        cdef CapRule* rule = &rules.caps[k]
        cdef Opening* opening = windows.of(question)
        cdef Py_ssize_t low, high, i, found = 0
        cdef int64_t* times
        cdef int64_t at
        if rule.limit == 0:
            return INT64_MAX
        if rule.span != ROLLING:
            return opening.ends_us[rule.span - 1]
        low, high = self.rows_of(question.place)
        times = <int64_t*>PyMem_RawMalloc(<size_t>max(1, high - low) * sizeof(int64_t))
        if times == NULL:
            raise MemoryError
        for i in range(low, high):
            if (self.rows[i].kind == 1 and self.rows[i].run != (question.act or rules.run)
                    and self.counts_for(rule, &self.rows[i], windows.now_us - rule.period_us)
                    and find(self.rows[i].numbers, self.rows[i].count, question.number) >= 0
                    and not self.is_undone(low, high, &self.rows[i], question.number)):
                times[found] = self.rows[i].at_us
                found += 1
        qsort(times, <size_t>found, sizeof(int64_t), newest_first)
        at = times[rule.limit - 1] + rule.period_us if found >= rule.limit else windows.now_us
        PyMem_RawFree(times)
        return at

    cdef int16_t wait(self, Question* question, int64_t until_us, int64_t last_us, int16_t otherwise) noexcept nogil:
        """Hold until then, if that is soon enough."""
        if last_us == 0 or until_us > last_us:
            return otherwise
        question.until_us = until_us
        return HELD

    cdef int16_t ask(self, int check, Question* question, Rules rules, Windows windows) except? 1:
        """One check of one question: 0 = it passes."""
        cdef Opening* opening
        cdef uint8_t state
        cdef int64_t until_us, spread_us
        cdef int k
        if check == 0:
            return question.refusal if LAST_SUPPRESSED <= question.refusal <= STOPPED else 0
        if check == 1:
            if rules.needs == 0:
                return 0
            state = question.state & 3
            if rules.needs == 2 and state != IS_GRANTED:
                state = question.state >> 2 & 3
                # Of two words that are none the one that says more.
                if state == 0:
                    state = question.state & 3
            if state == IS_GRANTED:
                return 0
            return STOPPED if state == 3 else PENDING_CONSENT if state == 1 else NO_CONSENT
        if check == 2:
            return 0 if LAST_SUPPRESSED <= question.refusal <= STOPPED else question.refusal
        if check == 7:
            if question.talk_us <= windows.now_us:
                return 0
            question.until_us = question.talk_us
            return HELD
        opening = windows.of(question)
        if check == 3:
            if opening.due_us > windows.now_us:
                if opening.due_us == INT64_MAX:
                    return MISSED
                question.until_us = opening.due_us
                return HELD
            if not rules.has_windows:
                question.until_us = INT64_MAX
                return 0
            if opening.closes_us != INT64_MIN and opening.closes_us - windows.now_us >= rules.min_left_us:
                question.until_us = opening.closes_us
                return 0
            if rules.hold_until_us == 0:
                return OUTSIDE_WINDOW
            if opening.opens_us == INT64_MAX:
                return WINDOW_EXPIRED
            # A few moments for all, so that those who wait for one of them wait in few chunks.
            spread_us = rules.spread_us // SLOTS * <int64_t>(
                spread(<uint64_t>question.number ^ <uint64_t>rules.run << 20) % SLOTS)
            if opening.opens_us + spread_us > rules.hold_until_us:
                spread_us = 0
            return self.wait(question, opening.opens_us + spread_us, rules.hold_until_us, WINDOW_EXPIRED)
        if check == 6:
            if not rules.gap_us or rules.has_bypass or question.last_us == INT64_MIN:
                return 0
            if question.last_us + rules.gap_us <= windows.now_us:
                return 0
            return self.wait(question, question.last_us + rules.gap_us, rules.defer_until_us, MIN_GAP)
        for k in range(rules.cap_count):
            if rules.caps[k].is_legal != (check == 4) or (check == 5 and rules.has_bypass) or not opening.caps >> k & 1:
                continue
            if question.counts[k] >= rules.caps[k].limit:
                return self.wait(question, self.free_us(question, rules, k, windows), rules.defer_until_us,
                                 LEGAL_CAP if check == 4 else <int16_t>(FIRST_CAP - k))
            if question.mine or not question.rivals[k]:
                continue
            if question.counts[k] + question.rivals[k] >= rules.caps[k].limit:
                until_us = windows.now_us + rules.arbitration_us
                return self.wait(question, until_us, rules.defer_until_us, ARBITRATION_LOST)
        return 0

    cdef int prepare(self, Question* question, Windows windows) except -1:
        question.key = self.zones.key_of(question.number)
        if not windows.of(question).is_known:
            raise ValueError(
                f"windows: key {question.key} and zone {question.zone} of {question.number} were not entered")
        return 0

    def keys(self):
        """The (key, zone, has_night) of `Windows` that these questions need; after read_consent."""
        cdef Py_ssize_t i
        cdef Question* question
        cdef int64_t pair, last = -1
        found = set()
        for i in range(self.count):
            question = &self.questions[i]
            question.key = self.zones.key_of(question.number)
            pair = <int64_t>pair_of(question.key, question.zone, question.state >> 4 & 3 == IS_GRANTED)
            # Neighbours are alike, mostly.
            if pair != last:
                found.add((question.key, question.zone, question.state >> 4 & 3 == IS_GRANTED))
                last = pair
        return found

    def key_counts(self):
        """How many questions have each (key, zone, has_night), once `keys` was asked."""
        cdef Py_ssize_t i
        found = {}
        for i in range(self.count):
            triple = (self.questions[i].key, self.questions[i].zone, self.questions[i].state >> 4 & 3 == IS_GRANTED)
            found[triple] = found.get(triple, 0) + 1
        return found

    def judge(self, Rules rules not None, Windows windows not None):
        """Decide for everybody. What is asked twice for one number is admitted once.

        raises  ValueError: windows lack a key
        cost    about 0.1 µs a question with the sends of a week
        """
        cdef Py_ssize_t i, low = 0, high = 0
        cdef Question* question
        cdef Question* before = NULL
        cdef int16_t verdict
        cdef int check
        self.now_us = windows.now_us
        self.admitted = self.held = self.refused = self.guessed = 0
        for i in range(self.count):
            question = &self.questions[i]
            self.prepare(question, windows)
            if i == 0 or question.place != self.questions[i - 1].place:
                low, high = self.rows_of(question.place)
            self.weigh(question, low, high, rules, windows)
            verdict = 0
            for check in range(CHECK_COUNT):
                verdict = self.ask(check, question, rules, windows)
                if verdict:
                    break
            if verdict == 0 and before != NULL and before.number == question.number and before.verdict == 0:
                verdict = DUPLICATE_ENDPOINT
            question.verdict = verdict
            before = question
            if verdict == 0:
                self.admitted += 1
                self.guessed += windows.of(question).is_guess
            elif verdict == HELD:
                self.held += 1
            else:
                self.refused += 1

    def explain(self, int64_t number, Rules rules not None, Windows windows not None):
        """What is known of a number, and what each check says of it: the chain of `judge`, to its end.

        ->      (facts, checks): facts by name; checks (name, verdict, until_us) in their order, until_us None where
                nothing is waited for
        raises  KeyError: it was not asked for
        """
        cdef Py_ssize_t i = self.first_of(place_of(number)), low, high
        cdef Question* question
        cdef int check
        cdef int16_t verdict
        while i < self.count and self.questions[i].place == place_of(number) and self.questions[i].number != number:
            i += 1
        if i >= self.count or self.questions[i].number != number:
            raise KeyError(number)
        question = &self.questions[i]
        self.prepare(question, windows)
        low, high = self.rows_of(question.place)
        self.weigh(question, low, high, rules, windows)
        checks = []
        for check in range(CHECK_COUNT):
            question.until_us = 0
            verdict = self.ask(check, question, rules, windows)
            checks.append((CHECKS[check], verdict, question.until_us if verdict == HELD else None))
        facts = {
            "promotional": question.state & 3, "transactional": question.state >> 2 & 3,
            "night": question.state >> 4 & 3,
            "zone": question.zone, "key": question.key, "refusal": question.refusal, "is_reserved": bool(question.mine),
            "last_us": None if question.last_us == INT64_MIN else question.last_us,
            "counts": [question.counts[k] for k in range(rules.cap_count)],
            "rivals": [question.rivals[k] for k in range(rules.cap_count)],
            "is_guess": bool(windows.of(question).is_guess),
        }
        return facts, checks

    def verdicts(self):
        """How many of each verdict: 0 send, 1 hold, below 0 the reasons."""
        cdef Py_ssize_t i
        found = {}
        for i in range(self.count):
            verdict = self.questions[i].verdict
            found[verdict] = found.get(verdict, 0) + 1
        return found

    def verdict(self, int64_t number):
        """(verdict, until_us) of a number; until_us of a hold. KeyError: it was not asked for."""
        cdef Py_ssize_t i = self.first_of(place_of(number))
        while i < self.count and self.questions[i].place == place_of(number):
            if self.questions[i].number == number:
                return self.questions[i].verdict, self.questions[i].until_us
            i += 1
        raise KeyError(number)

    def reservations(self, Rules rules not None):
        """Octets of a binary COPY of CONTACT_COLUMNS: who was admitted and had no reservation; b"" when there is none.

        One of longer ago, of a message that waited meanwhile, is returned first: it counts where it is reserved anew.
        """
        cdef Py_ssize_t i, fresh = 0, stale = 0, places = 0
        cdef Question* question
        cdef int64_t last = -1
        cdef bytes out
        cdef uint8_t* p
        for i in range(self.count):
            question = &self.questions[i]
            if question.verdict == 0 and question.mine != 1:
                fresh += 1
                stale += question.mine == 2
                places += self.has_acts or question.place != last
                last = question.place
        if not fresh:
            return b""
        # Room for a row of each kind a place; what is not needed is cut off.
        out = PyBytes_FromStringAndSize(NULL, 19 + 2 * places * CONTACT_OCTETS + 8 * (fresh + stale) + 2)
        p = put_header(<uint8_t*>PyBytes_AS_STRING(out))
        if stale:
            p = self.put_rows(p, rules, 2, self.now_us - 1, STALE)
        p = self.put_rows(p, rules, 1, self.now_us, FRESH)
        store16(p, 0xFFFF)
        return out[:p + 2 - <uint8_t*>PyBytes_AS_STRING(out)]

    def withdrawals(self, Rules rules not None):
        """The same of who has a reservation of this run and may not go now: it is returned; b"" when there is none.

        Where the run announces it is of all who may not go now: nobody else has to wait for them.
        """
        cdef Py_ssize_t i, some = 0, places = 0
        cdef int64_t last = -1
        cdef bytes out
        cdef uint8_t* p
        self.tells = rules.announces
        for i in range(self.count):
            if self.is_of(&self.questions[i], WITHDRAWN):
                some += 1
                places += self.has_acts or self.questions[i].place != last
                last = self.questions[i].place
        if not some:
            return b""
        out = PyBytes_FromStringAndSize(NULL, 19 + places * CONTACT_OCTETS + 8 * some + 2)
        p = put_header(<uint8_t*>PyBytes_AS_STRING(out))
        p = self.put_rows(p, rules, 2, self.now_us, WITHDRAWN)
        store16(p, 0xFFFF)
        return out

    def announcements(self, Rules rules not None):
        """The same of who waits, due when the wait ends; b"" where the run does not announce."""
        cdef Py_ssize_t i = 0, at, other, first, some, total = 0
        cdef Question* question
        cdef bytes out
        cdef uint8_t* p
        cdef Row row
        for at in range(self.count):
            total += self.questions[at].verdict == HELD
        if not rules.announces or not total:
            return b""
        out = PyBytes_FromStringAndSize(NULL, 19 + total * (CONTACT_OCTETS + 8) + 2)
        p = put_header(<uint8_t*>PyBytes_AS_STRING(out))
        while i < self.count:
            first = i
            while i < self.count and self.questions[i].place == self.questions[first].place:
                i += 1
            for at in range(first, i):
                question = &self.questions[at]
                if question.verdict != HELD:
                    continue
                some = 0
                for other in range(first, i):
                    if self.questions[other].verdict == HELD and self.questions[other].until_us == question.until_us:
                        if other < at:
                            # A row of that moment was written.
                            break
                        some += 1
                if not some:
                    continue
                row = row_of(rules, question.place, question.until_us, 0)
                p = put_contact(p, &row, some)
                for other in range(at, i):
                    if self.questions[other].verdict == HELD and self.questions[other].until_us == question.until_us:
                        store64(p, <uint64_t>self.questions[other].number)
                        p += 8
        store16(p, 0xFFFF)
        return out[:p + 2 - <uint8_t*>PyBytes_AS_STRING(out)]

    cdef inline bint is_of(self, const Question* question, int what) noexcept nogil:
        if what == WITHDRAWN:
            # Of one number asked for twice the first keeps its place.
            return question.verdict != 0 and question.verdict != DUPLICATE_ENDPOINT and (
                question.mine != 0 or self.tells)
        return question.verdict == 0 and (question.mine == 2 if what == STALE else question.mine != 1)

    cdef uint8_t* put_rows(self, uint8_t* p, Rules rules, int kind, int64_t at_us, int what) noexcept:
        """A row a place and act, of who was admitted: with a reservation of longer ago (mine 2), or no fresh one."""
        cdef Py_ssize_t i = 0, at, first, some
        cdef Question* question
        cdef Row row
        while i < self.count:
            first = i
            some = 0
            while i < self.count and self.questions[i].place == self.questions[first].place:
                question = &self.questions[i]
                if self.has_acts and i > first and question.act != self.questions[first].act:
                    break
                some += self.is_of(question, what)
                i += 1
            if not some:
                continue
            row = row_of(rules, self.questions[first].place, at_us, kind)
            if self.questions[first].act:
                row.run = self.questions[first].act
            p = put_contact(p, &row, some)
            for at in range(first, i):
                question = &self.questions[at]
                if self.is_of(question, what):
                    store64(p, <uint64_t>question.number)
                    p += 8
        return p

    def apply(self, double now):
        """Let the verdicts ride on their batches; -> {batch: {until_us: [positions]}} of those that wait.

        now  the monotonic moment of windows.now_us
        """
        cdef Py_ssize_t i
        cdef Question* question
        cdef Batch batch
        cdef double until
        holds = {}
        for one in self.batches:
            batch = one
            batch.prepare_verdicts()
            for at in self.aside.get(batch.chunk_id, ()):
                batch.judge(at, HELD, INFINITY)
        for i in range(self.count):
            question = &self.questions[i]
            batch = <Batch>self.batches[question.batch]
            until = INFINITY
            if question.verdict == 0 and question.until_us != INT64_MAX:
                until = now + (question.until_us - self.now_us) * 1e-6
            batch.judge(question.pos, question.verdict, until)
            if question.verdict == HELD:
                holds.setdefault(batch, {}).setdefault(question.until_us, []).append(question.pos)
        return holds


cdef struct Failed:
    int64_t number
    int64_t at_us
    uint32_t place


cdef int failed_by_place(const void* a, const void* b) noexcept nogil:
    cdef const Failed* x = <const Failed*>a
    cdef const Failed* y = <const Failed*>b
    if x.place != y.place:
        return -1 if x.place < y.place else 1
    if x.number != y.number:
        return -1 if x.number < y.number else 1
    return -1 if x.at_us < y.at_us else 1 if x.at_us > y.at_us else 0


@cython.final
cdef class Returns(_Contacts):
    """Whose reservation by a run is given back, since nothing of the message went after all (CP-2).

    A return stands at the moment of the reservation that it takes back: who counts sees both or neither, and one that
    is found again finds nothing to take back. A reservation behind a failure is of another message.

    run        whose messages failed
    numbers    8 octets each, big-endian; failed_at: as many, microseconds since 1970
    leeway_us  by which clocks of two hosts may differ
    """
    cdef Failed* failed
    cdef Py_ssize_t count
    cdef int64_t run

    def __cinit__(self, int64_t run, bytes numbers not None, bytes failed_at not None, int64_t leeway_us=0):
        cdef Py_ssize_t i, octets = PyBytes_GET_SIZE(numbers)
        cdef const uint8_t* n = <const uint8_t*>PyBytes_AS_STRING(numbers)
        cdef const uint8_t* t = <const uint8_t*>PyBytes_AS_STRING(failed_at)
        if octets % 8 or PyBytes_GET_SIZE(failed_at) != octets:
            raise ValueError(
                f"returns: expected 8 octets a number and as many a time, got {octets} and {len(failed_at)}")
        self.run = run
        self.count = octets // 8
        self.failed = <Failed*>PyMem_RawCalloc(<size_t>max(1, self.count), sizeof(Failed))
        if self.failed == NULL:
            raise MemoryError
        for i in range(self.count):
            self.failed[i].number = <int64_t>load64(n + 8 * i)
            self.failed[i].at_us = <int64_t>load64(t + 8 * i) + leeway_us
            self.failed[i].place = place_of(self.failed[i].number)
        qsort(self.failed, <size_t>self.count, sizeof(Failed), failed_by_place)

    def __dealloc__(self):
        PyMem_RawFree(self.failed)

    def __len__(self):
        return self.count

    def places(self):
        """(bucket, page) of everybody, each once, ascending: two lists."""
        cdef Py_ssize_t i
        buckets, pages = [], []
        for i in range(self.count):
            if i == 0 or self.failed[i].place != self.failed[i - 1].place:
                buckets.append(self.failed[i].place >> 8)
                pages.append(self.failed[i].place & 255)
        return buckets, pages

    cdef bint takes_back(self, Py_ssize_t i, Py_ssize_t low, Py_ssize_t high, const Row* row) noexcept nogil:
        """Whether the failure at a place of the list, the last of its number, takes a reservation back."""
        if i + 1 < self.count and self.failed[i + 1].number == self.failed[i].number:
            return False
        return (row.at_us <= self.failed[i].at_us and find(row.numbers, row.count, self.failed[i].number) >= 0
                and not self.is_undone(low, high, row, self.failed[i].number))

    def rows_returned(self):
        """Octets of a binary COPY of CONTACT_COLUMNS, and how many numbers are in them; after read_contacts."""
        cdef Py_ssize_t i, j, first, low, high, found, size = 0, total = 0
        cdef Row row
        cdef uint8_t* p = NULL
        cdef bytes out = b""
        for is_written in (False, True):
            if is_written:
                if not total:
                    return b"", 0
                out = PyBytes_FromStringAndSize(NULL, 19 + size + 2)
                p = put_header(<uint8_t*>PyBytes_AS_STRING(out))
            first = 0
            while first < self.count:
                i = first
                while i < self.count and self.failed[i].place == self.failed[first].place:
                    i += 1
                low, high = self.rows_of(self.failed[first].place)
                for r in range(low, high):
                    if self.rows[r].run != self.run or self.rows[r].kind != 1:
                        continue
                    found = 0
                    for j in range(first, i):
                        found += self.takes_back(j, low, high, &self.rows[r])
                    if not found:
                        continue
                    if not is_written:
                        total += found
                        size += CONTACT_OCTETS + 8 * found
                        continue
                    row = self.rows[r]
                    row.kind = 2
                    p = put_contact(p, &row, found)
                    for j in range(first, i):
                        if self.takes_back(j, low, high, &self.rows[r]):
                            store64(p, <uint64_t>self.failed[j].number)
                            p += 8
                first = i
        store16(p, 0xFFFF)
        return out, total


cdef inline uint8_t* put_header(uint8_t* p) noexcept:
    cdef bytes signature = b"PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    cdef int i
    for i in range(19):
        p[i] = <uint8_t>PyBytes_AS_STRING(signature)[i]
    return p + 19


cdef Row row_of(Rules rules, uint32_t place, int64_t at_us, int kind) noexcept:
    """A contact of a run, without its numbers."""
    cdef Row row
    memset(&row, 0, sizeof(Row))
    row.place, row.at_us, row.kind = place, at_us, <int16_t>kind
    row.run, row.class_, row.brand = rules.run, <int16_t>rules.class_, <int16_t>rules.brand
    row.priority, row.sender, row.tags = <int16_t>rules.priority, rules.sender, rules.tags
    return row


cdef uint8_t* put_contact(uint8_t* p, const Row* row, Py_ssize_t numbers) noexcept nogil:
    """One row up to the length of its numbers, which the caller writes."""
    store16(p, CONTACT_COLUMN_COUNT)
    store32(p + 2, 4)
    store32(p + 6, row.place >> 8)
    store32(p + 10, 4)
    store32(p + 14, row.place & 255)
    store32(p + 18, 8)
    store64(p + 22, <uint64_t>(row.at_us - MILLENNIUM_US))
    store32(p + 30, 8)
    store64(p + 34, <uint64_t>row.run)
    store32(p + 42, 2)
    store16(p + 46, <uint16_t>row.kind)
    store32(p + 48, 2)
    store16(p + 52, <uint16_t>row.class_)
    store32(p + 54, 2)
    store16(p + 58, <uint16_t>row.brand)
    store32(p + 60, 2)
    store16(p + 64, <uint16_t>row.priority)
    store32(p + 66, 4)
    store32(p + 70, <uint32_t>row.sender)
    store32(p + 74, 8)
    store64(p + 78, row.tags)
    store32(p + 86, <uint32_t>(8 * numbers))
    return p + 90


def contacts(numbers, Rules rules not None, int kind, int64_t at_us):
    """Octets of a binary COPY of CONTACT_COLUMNS for some numbers: what is due, or was returned.

    kind    DUE, RESERVED or RETURNED
    raises  ValueError for a number below 1
    """
    cdef bytes out
    cdef uint8_t* p
    cdef Row row
    by_place = {}
    for number in sorted(set(numbers)):
        if number < 1:
            raise ValueError(f"number: expected a positive integer, got {number}")
        by_place.setdefault(place_of(number), []).append(number)
    total = sum(len(some) for some in by_place.values())
    out = PyBytes_FromStringAndSize(NULL, 19 + len(by_place) * CONTACT_OCTETS + 8 * total + 2)
    p = put_header(<uint8_t*>PyBytes_AS_STRING(out))
    for place, some in sorted(by_place.items()):
        row = row_of(rules, place, at_us, kind)
        p = put_contact(p, &row, len(some))
        for number in some:
            store64(p, <uint64_t><int64_t>number)
            p += 8
    store16(p, 0xFFFF)
    return out


@cython.final
cdef class _Rows:
    """A bounds-checked walk over rows as record_send has them, or over those of a binary COPY, which name no types."""
    cdef bytes owner
    cdef const uint8_t* base
    cdef Py_ssize_t at
    cdef Py_ssize_t size
    cdef Py_ssize_t ahead   # octets before the length of a value
    cdef bint is_copy

    def __cinit__(self, bytes octets not None, bint is_copy=False):
        self.owner = octets
        self.base = <const uint8_t*>PyBytes_AS_STRING(octets)
        self.size = PyBytes_GET_SIZE(octets)
        self.is_copy = is_copy
        self.ahead = 0 if is_copy else 4
        if is_copy:
            if memcmp(self.need(11), b"PGCOPY\n\xff\r\n\x00", 11) != 0:
                raise ValueError("gate rows: expected the COPY signature")
            self.need(4)
            self.need(<Py_ssize_t><int32_t>load32(self.need(4)))

    cdef const uint8_t* need(self, Py_ssize_t octets) except NULL:
        cdef const uint8_t* p = self.base + self.at
        if octets < 0 or self.size - self.at < octets:
            raise ValueError(f"gate rows end early: expected {octets} more at {self.at} of {self.size}")
        self.at += octets
        return p

    cdef bint next(self, int columns) except -1:
        cdef int32_t found
        if self.is_copy:
            found = <int16_t>load16(self.need(2))
            if found == -1:
                return False
        elif self.at == self.size:
            return False
        else:
            found = <int32_t>load32(self.need(4))
        if found != columns:
            raise ValueError(f"gate rows: expected {columns} columns, got {found}")
        return True

    cdef int fixed(self, int octets) except -1:
        cdef int32_t found = <int32_t>load32(self.need(self.ahead + 4) + self.ahead)
        if found != octets:
            raise ValueError(f"gate rows: expected a value of {octets} octets at {self.at}, got {found}")
        return 0

    cdef int64_t int64(self) except? -9223372036854775807:
        self.fixed(8)
        return <int64_t>load64(self.need(8))

    cdef int32_t int32(self) except? -2147483648:
        self.fixed(4)
        return <int32_t>load32(self.need(4))

    cdef int16_t int16(self) except? -32768:
        self.fixed(2)
        return <int16_t>load16(self.need(2))

    cdef const uint8_t* octets(self, Py_ssize_t* length) except NULL:
        cdef int32_t found = <int32_t>load32(self.need(self.ahead + 4) + self.ahead)
        length[0] = max(found, 0)
        return self.need(max(found, 0))
