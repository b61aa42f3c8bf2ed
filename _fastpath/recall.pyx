"""Which segment a message_id belongs to, for the receipts that come while the memory is fresh.

Two tables of open addressing, young and old; when the young one holds `capacity` ids it becomes the old one, and the
old one is forgotten. So the last `capacity` ids at least are known, in bounded memory: 64 octets an id at the most.

What is added waits in a ring of 16 while the processor fetches its place: the tables are larger than any cache, and a
miss for every message cost 0.2 us (perf, window 1000). Pages of 2 MB are asked for, for the same reason.

SMSCs spell one id in two ways, so it is kept by a 64-bit hash of it without case and leading zeros, beside 16 bits of
it as it stands and the last digits of the number it went to. A receipt's id is looked for

    verbatim     as it stands
    loose        but for case and leading zeros
    hex          the decimal number it is, written in hexadecimal: the response had it so
    decimal      the hexadecimal number it is, written in decimal

The rule that explained 200 receipts is learnt: it is believed by itself. Any other, and all before that, count only
where nothing else can be meant, or where the receipt names the number as source or destination: `16` is an id of two
messages where one carrier counts in decimal and tells in hexadecimal, and a receipt for the wrong one is worse than
none. Where 200 receipts in a row match by one other rule, and none between them by the learnt one, the SMSC has changed
its ids: the other one is learnt in its place (`changes`).

A receipt that is found here is written with its chunk and position at once; one that is not (early, weeks late, another
worker's, after a restart) waits in Postgres and is matched there, by the same rules. This is a short cut, never the
record.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #include <stdlib.h>
    #include <string.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    /* Zeroed octets, on pages of 2 MB where the system has them and the table is worth one. */
    static void* fp_table(size_t octets) {
        void* table = NULL;
        if (posix_memalign(&table, octets >= (1u << 21) ? (1u << 21) : 64, octets)) return NULL;
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (octets >= (1u << 21)) madvise(table, octets, MADV_HUGEPAGE);
    #endif
        memset(table, 0, octets);
        return table;
    }
    #define fp_prefetch(p) __builtin_prefetch((p), 1)
    """
    void* fp_table(size_t octets) nogil
    void fp_prefetch(const void* p) noexcept nogil


cdef enum:
    LEARNS_FROM = 200       # receipts that were matched
    LONG_ID = 16            # octets of an id that is no plain number: equal but for case is equal
    CANDIDATES = 8          # ids that differ in case or zeros alone; a ninth is not looked at

cdef uint64_t FOLD = 0x2020202020202020ULL

RULES = ("auto", "verbatim", "loose", "hex", "decimal")


cdef inline uint64_t key_of(const uint8_t* p, int octets, uint16_t* check) noexcept nogil:
    """64 bits out of an id without its case and its leading zeros, never 0; check: 16 out of it as it stands.

    Case is folded by one bit of every octet, which folds some signs onto each other as well: `check` tells them apart.
    """
    cdef uint64_t c = 0xD6E8FEB86659FD93ULL ^ <uint64_t>octets
    cdef uint64_t h, word
    while octets > 0 and p[0] == 0x30:
        p += 1
        octets -= 1
    h = 0x9E3779B97F4A7C15ULL ^ (<uint64_t>octets * 0xFF51AFD7ED558CCDULL)
    while octets >= 8:
        memcpy(&word, p, 8)
        c = (c ^ word) * 0xFF51AFD7ED558CCDULL
        c ^= c >> 32
        h = (h ^ (word | FOLD)) * 0xBF58476D1CE4E5B9ULL
        h ^= h >> 29
        p += 8
        octets -= 8
    if octets > 0:
        word = 0
        memcpy(&word, p, octets)
        c = (c ^ word) * 0xFF51AFD7ED558CCDULL
        h = (h ^ (word | FOLD)) * 0xBF58476D1CE4E5B9ULL
        h ^= h >> 29
    h *= 0x94D049BB133111EBULL
    h ^= h >> 32
    check[0] = <uint16_t>((c * 0x94D049BB133111EBULL) >> 48)
    return h if h else 1


cdef int as_hex(const uint8_t* p, int octets, uint8_t* out) noexcept nogil:
    """Write a decimal number of up to 64 bits in hexadecimal, without leading zeros; -> its octets, -1 = no such."""
    cdef uint64_t v = 0
    cdef int n = 0, shift
    cdef uint8_t digit
    while octets > 0 and p[0] == 0x30:
        p += 1
        octets -= 1
    if octets < 1 or octets > LONGEST_NUMBER:
        return -1
    while octets > 0:
        if not 0x30 <= p[0] <= 0x39:
            return -1
        digit = p[0] - 0x30
        if v > (0xFFFFFFFFFFFFFFFFULL - digit) // 10:
            return -1
        v = v * 10 + digit
        p += 1
        octets -= 1
    shift = 60
    while shift >= 0:
        digit = <uint8_t>((v >> shift) & 15)
        if n or digit:
            out[n] = 0x30 + digit if digit < 10 else 0x57 + digit
            n += 1
        shift -= 4
    return n


cdef int as_decimal(const uint8_t* p, int octets, uint8_t* out) noexcept nogil:
    """Write a hexadecimal number of up to 64 bits in decimal, without leading zeros; -> its octets, -1 = no such."""
    cdef uint64_t v = 0, rest
    cdef int n = 0, i
    cdef uint8_t c
    while octets > 0 and p[0] == 0x30:
        p += 1
        octets -= 1
    if octets < 1 or octets > 16:
        return -1
    while octets > 0:
        c = p[0] | 0x20
        if 0x30 <= p[0] <= 0x39:
            v = (v << 4) | <uint64_t>(p[0] - 0x30)
        elif 0x61 <= c <= 0x66:
            v = (v << 4) | <uint64_t>(c - 0x57)
        else:
            return -1
        p += 1
        octets -= 1
    rest = v
    while rest:
        rest //= 10
        n += 1
    for i in range(n - 1, -1, -1):
        out[i] = <uint8_t>(0x30 + v % 10)
        v //= 10
    return n


cdef inline uint32_t tail_of(int64_t number) noexcept nogil:
    return <uint32_t>(<uint64_t>number % 1000000000) if number > 0 else <uint32_t>NO_TAIL


cdef inline bint agrees(uint32_t tail, int64_t number) noexcept nogil:
    """Whether a number, perhaps national, ends as the remembered one does: 7 digits at the least."""
    if tail == <uint32_t>NO_TAIL or number < 1000000:
        return False
    if number >= 100000000:
        return <uint32_t>(<uint64_t>number % 1000000000) == tail
    if number >= 10000000:
        return tail % 100000000 == <uint32_t>number
    return tail % 10000000 == <uint32_t>number


@cython.final
cdef class Recall:
    """Remembers at least the last `capacity` message_ids (1 … 16 M), at most twice as many."""

    def __cinit__(self, int capacity=1 << 18):
        if not 1 <= capacity <= 1 << 24:
            raise ValueError(f"recall: expected 1 to {1 << 24} ids, got {capacity}")
        self.capacity = capacity
        self.young_mask = 63
        self.young = <Memory*>fp_table(64 * sizeof(Memory))
        self.old = NULL
        if self.young == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.young)
        free(self.old)

    def add(self, bytes message_id, int64_t chunk_id, int32_t pos, int segment=1, double sent_at=0.0,
            int64_t number=0):
        """Remember an id; number 0 = where it went is not known."""
        self.remember(
            <const uint8_t*><const char*>message_id, <int>len(message_id), chunk_id, pos, segment, sent_at, number)

    def get(self, bytes message_id):
        """Look an id up as it stands; -> (chunk_id, pos, segment) or None."""
        cdef Memory* memory = self.find(<const uint8_t*><const char*>message_id, <int>len(message_id))
        if memory == NULL:
            return None
        return memory.chunk_id, memory.pos, memory.segment

    def receipt(self, bytes message_id, int64_t number=0, int64_t other=0):
        """Find whose a receipt is, as the compiled path does; -> ((chunk_id, pos, segment), rule) or None.

        number, other  its source and destination as numbers; 0 = none
        """
        cdef int rule = RULE_NONE
        cdef Memory* memory = self.judge(
            <const uint8_t*><const char*>message_id, <int>len(message_id), number, other, &rule)
        if memory == NULL:
            return None
        self.count(rule, 1)
        return (memory.chunk_id, memory.pos, memory.segment), RULES[rule]

    @property
    def rule(self):
        """The rule that is believed by itself: a name of RULES; auto = none is learnt yet."""
        return RULES[self.learnt]

    @property
    def matches(self):
        """Receipts matched by each rule, here and (`note`) elsewhere."""
        return {RULES[rule]: self.hits[rule] for rule in range(1, 5)}

    def set_rule(self, str rule not None, bint fixed=False):
        """Say which rule holds; fixed: no other is tried.

        raises  ValueError for a name that is none of RULES
        """
        if rule not in RULES:
            raise ValueError(f"rule: expected one of {', '.join(RULES)}, got {rule}")
        self.learnt = RULES.index(rule)
        self.is_fixed = fixed and self.learnt != RULE_NONE

    def note(self, str rule not None, uint64_t n):
        """So many receipts were matched by a rule elsewhere: they teach as those found here do."""
        if rule not in RULES[1:]:
            raise ValueError(f"rule: expected one of {', '.join(RULES[1:])}, got {rule}")
        self.count(RULES.index(rule), n)

    cdef void count(self, int rule, uint64_t n) noexcept:
        """Count matches by a rule: the first 200 of an account teach, later ones by another rule are strays.

        So many strays by one rule, and no match by the learnt one between them, teach anew.
        """
        cdef uint64_t total
        self.hits[rule] += n
        if self.learnt == RULE_NONE:
            total = self.hits[1] + self.hits[2] + self.hits[3] + self.hits[4]
            if total < LEARNS_FROM:
                return
            if self.hits[RULE_HEX] * 2 > total:
                self.learnt = RULE_HEX
            elif self.hits[RULE_DECIMAL] * 2 > total:
                self.learnt = RULE_DECIMAL
            # An id of full width has no zeros to lose: one in fifty without is enough.
            elif self.hits[RULE_LOOSE] * 50 > total:
                self.learnt = RULE_LOOSE
            else:
                self.learnt = RULE_VERBATIM
        elif rule != self.learnt and not (self.learnt == RULE_LOOSE and rule == RULE_VERBATIM):
            self.strays += n
            # What differs in case and zeros at times, and at times not, is one rule.
            if rule <= RULE_LOOSE and 0 < self.rival <= RULE_LOOSE:
                self.rival = rule if rule > self.rival else self.rival
            elif rule != self.rival:
                self.rival = rule
                self.rivals = 0
            self.rivals += n
            if self.rivals >= LEARNS_FROM and not self.is_fixed:
                self.learnt = self.rival
                self.changes += 1
                self.rivals = 0
                self.rival = RULE_NONE
        else:
            self.rivals = 0

    cdef int remember(self, const uint8_t* message_id, int octets,
                      int64_t chunk_id, int32_t pos, int segment, double sent_at, int64_t number) except -1:
        cdef Memory* entry
        if self.pending == PENDING:
            self.enter()
        entry = &self.ring[self.pending]
        entry.key = key_of(message_id, octets, &entry.check)
        entry.tail = tail_of(number)
        entry.chunk_id = chunk_id
        entry.pos = pos
        entry.segment = <uint16_t>segment
        entry.sent_10us = <uint32_t><uint64_t>(sent_at * 1e5)
        fp_prefetch(&self.young[<uint32_t>entry.key & self.young_mask])
        self.pending += 1
        return 0

    cdef int enter(self) except -1:
        """Put what waits in the ring into the young table."""
        cdef uint32_t at
        cdef int i
        cdef Memory* entry
        for i in range(self.pending):
            if self.kept >= self.capacity or <uint32_t>self.kept * 2 > self.young_mask:
                self.make_room()
            entry = &self.ring[i]
            at = <uint32_t>entry.key & self.young_mask
            while self.young[at].key and (
                    self.young[at].key != entry.key or self.young[at].check != entry.check):
                at = (at + 1) & self.young_mask
            if self.young[at].key == 0:
                self.kept += 1
            self.young[at] = entry[0]
        self.pending = 0
        return 0

    cdef int make_room(self) except -1:
        """Double the young table, or, when it holds `capacity` ids, let it grow old."""
        cdef uint32_t at, i, mask
        cdef Memory* table
        if self.kept >= self.capacity:
            table = self.old
            if table != NULL and self.old_mask == self.young_mask:
                memset(table, 0, (<size_t>self.old_mask + 1) * sizeof(Memory))
            else:
                free(table)
                table = <Memory*>fp_table((<size_t>self.young_mask + 1) * sizeof(Memory))
                if table == NULL:
                    self.old = NULL
                    raise MemoryError
            self.old = self.young
            self.old_mask = self.young_mask
            self.young = table
            self.kept = 0
            return 0
        mask = self.young_mask * 2 + 1
        table = <Memory*>fp_table((<size_t>mask + 1) * sizeof(Memory))
        if table == NULL:
            raise MemoryError
        for i in range(self.young_mask + 1):
            if self.young[i].key:
                at = <uint32_t>self.young[i].key & mask
                while table[at].key:
                    at = (at + 1) & mask
                table[at] = self.young[i]
        free(self.young)
        self.young = table
        self.young_mask = mask
        return 0

    cdef Memory* find(self, const uint8_t* message_id, int octets) noexcept:
        """Look an id up as it stands."""
        cdef uint16_t check
        cdef uint64_t key = key_of(message_id, octets, &check)
        cdef uint32_t at = <uint32_t>key & self.young_mask
        cdef int i
        # A receipt right behind its response: the newest entries have not left the ring.
        for i in range(self.pending - 1, -1, -1):
            if self.ring[i].key == key and self.ring[i].check == check:
                return &self.ring[i]
        while self.young[at].key:
            if self.young[at].key == key and self.young[at].check == check:
                return &self.young[at]
            at = (at + 1) & self.young_mask
        if self.old != NULL:
            at = <uint32_t>key & self.old_mask
            while self.old[at].key:
                if self.old[at].key == key and self.old[at].check == check:
                    return &self.old[at]
                at = (at + 1) & self.old_mask
        return NULL

    cdef int gather(self, uint64_t key, Memory** found, int most) noexcept:
        """Every id of a key, the newest of each spelling first; -> how many."""
        cdef uint32_t at = <uint32_t>key & self.young_mask
        cdef int n = 0, i
        for i in range(self.pending - 1, -1, -1):
            if self.ring[i].key == key and n < most:
                found[n] = &self.ring[i]
                n += 1
        while self.young[at].key:
            if self.young[at].key == key and n < most:
                found[n] = &self.young[at]
                n += 1
            at = (at + 1) & self.young_mask
        if self.old != NULL:
            at = <uint32_t>key & self.old_mask
            while self.old[at].key:
                if self.old[at].key == key and n < most:
                    found[n] = &self.old[at]
                    n += 1
                at = (at + 1) & self.old_mask
        return n

    cdef void weigh(self, Memory* memory, int64_t number, int64_t other, int r, Memory** by_rule,
                    bint* contested) noexcept:
        """Enter an id that a rule explains: the newest, and before it one that went to the receipt's number."""
        cdef bint is_named = agrees(memory.tail, number) or agrees(memory.tail, other)
        cdef Memory* before = by_rule[r]
        if before == NULL:
            by_rule[r] = memory
        elif is_named:
            if not (agrees(before.tail, number) or agrees(before.tail, other)):
                by_rule[r] = memory
            elif before.check != memory.check:
                contested[r] = True

    cdef Memory* match(self, const uint8_t* message_id, int octets, int64_t number, int64_t other) noexcept:
        """Find whose a receipt is, and learn from it; NULL = not known, or not certain.

        number, other  its source and destination as numbers; below 1 = none
        """
        cdef Memory* memory
        cdef int rule = RULE_NONE
        if self.learnt == RULE_VERBATIM or self.learnt == RULE_LOOSE:
            memory = self.find(message_id, octets)
            if memory != NULL:
                self.hits[RULE_VERBATIM] += 1
                self.rivals = 0
                return memory
        memory = self.judge(message_id, octets, number, other, &rule)
        if memory != NULL:
            self.count(rule, 1)
        return memory

    cdef Memory* judge(self, const uint8_t* message_id, int octets, int64_t number, int64_t other,
                       int* rule) noexcept:
        """Find whose a receipt is, by every rule that may hold; sets the rule where there is one."""
        cdef Memory* found[CANDIDATES]
        cdef Memory* by_rule[5]
        cdef Memory* agreed = NULL
        cdef int ways[5]
        cdef bint contested[5]
        cdef uint8_t other_form[LONGEST_NUMBER]
        cdef uint16_t check, unused
        cdef uint64_t key = key_of(message_id, octets, &check)
        cdef uint64_t form_key
        cdef int r, i, n, agreements = 0
        cdef bint is_digits = True, is_known = False
        cdef uint8_t c
        for r in range(5):
            by_rule[r] = NULL
            ways[r] = 0
            contested[r] = False
        for i in range(octets):
            c = message_id[i]
            if not 0x30 <= c <= 0x39:
                is_digits = False
        n = self.gather(key, found, CANDIDATES)
        for i in range(n):
            r = RULE_VERBATIM if found[i].check == check else RULE_LOOSE
            # The ring and both tables may hold one spelling: the newest comes first.
            if r == RULE_VERBATIM and by_rule[r] != NULL:
                continue
            self.weigh(found[i], number, other, r, by_rule, contested)
            ways[r] += 1
        for r in range(RULE_HEX, RULE_DECIMAL + 1):
            if self.is_fixed and self.learnt != r:
                continue
            i = as_hex(message_id, octets, other_form) if r == RULE_HEX else as_decimal(message_id, octets, other_form)
            if i < 1:
                continue
            form_key = key_of(other_form, i, &unused)
            # One digit is the same in both.
            if form_key == key and self.learnt != r:
                continue
            n = self.gather(form_key, found, CANDIDATES)
            for i in range(n):
                self.weigh(found[i], number, other, r, by_rule, contested)
                ways[r] += 1
        if self.is_fixed:
            r = self.learnt
            if r == RULE_LOOSE and by_rule[RULE_VERBATIM] != NULL:
                r = RULE_VERBATIM
            rule[0] = r
            return by_rule[r]
        if self.learnt != RULE_NONE:
            r = self.learnt
            if r == RULE_LOOSE and by_rule[RULE_VERBATIM] != NULL:
                r = RULE_VERBATIM
            if by_rule[r] != NULL and (ways[r] == 1 or r == RULE_VERBATIM or agrees(by_rule[r].tail, number)
                                       or agrees(by_rule[r].tail, other)):
                rule[0] = r
                return by_rule[r]
        for r in range(RULE_VERBATIM, RULE_DECIMAL + 1):
            if by_rule[r] == NULL:
                continue
            if by_rule[r].tail != <uint32_t>NO_TAIL and (number >= 1000000 or other >= 1000000):
                is_known = True
            if agrees(by_rule[r].tail, number) or agrees(by_rule[r].tail, other):
                if agreed == NULL:
                    agreed = by_rule[r]
                    rule[0] = r
                    agreements = 2 if contested[r] else 1
                # An id as it stands is nearer than one in another case.
                elif agreed != by_rule[r] and not (r == RULE_LOOSE and rule[0] == RULE_VERBATIM):
                    agreements += 1
        if agreements == 1:
            return agreed
        rule[0] = RULE_NONE
        if agreements > 1 or self.learnt != RULE_NONE:
            return NULL
        # No number speaks for one of them. What can be meant in one way only needs none.
        if by_rule[RULE_VERBATIM] != NULL and by_rule[RULE_HEX] == NULL and by_rule[RULE_DECIMAL] == NULL:
            if not is_digits or not is_known:
                rule[0] = RULE_VERBATIM
                return by_rule[RULE_VERBATIM]
            # Some carriers mask the numbers of their receipts. So many hits of one rule, none of another, prove it.
            self.unproven += 1
            if (self.unproven >= LEARNS_FROM and self.ambiguous == 0
                    and self.hits[RULE_LOOSE] + self.hits[RULE_HEX] + self.hits[RULE_DECIMAL] == 0):
                self.learnt = RULE_VERBATIM
        elif by_rule[RULE_HEX] != NULL or by_rule[RULE_DECIMAL] != NULL:
            self.ambiguous += 1
        if by_rule[RULE_VERBATIM] == NULL and ways[RULE_LOOSE] == 1 and octets >= LONG_ID and not is_digits:
            rule[0] = RULE_LOOSE
            return by_rule[RULE_LOOSE]
        return NULL
