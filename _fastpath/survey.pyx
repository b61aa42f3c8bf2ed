"""What many messages would come to, counted without writing any: parts, alphabets, countries, what forces UCS-2.

    batch ─► per message: form by the first digits of its number ─► compose, cut ─► counts, and the worst of all

Each message is composed as it would be sent (outbound.pyx), so that a preview is no guess. Not here: where the numbers
and their values come from, what a part costs (dispatch/survey.py).
"""

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from _fastpath.alphabet cimport gsm_code
from _fastpath.batch cimport Batch
from _fastpath.outbound cimport TOO_MANY_PARTS, Composer, Form
from _fastpath.segment cimport ALPHABET_GSM7, ALPHABET_LATIN1, ALPHABET_UCS2

cdef dict NAMES = {ALPHABET_GSM7: "gsm7", ALPHABET_LATIN1: "latin1", ALPHABET_UCS2: "ucs2"}

cdef enum:
    PARTS = 256
    CHARACTERS = 65536
    # Of a number: as gateway.countries asks for.
    HEAD_LIMIT = 100000000


@cython.final
cdef class Survey:
    """Counts messages.

    pick  first eight digits of a number (fewer, if it has fewer) -> (Form, the country's name); asked once for each;
          None: nobody takes such numbers
    """

    cdef object pick
    cdef dict picked
    cdef dict names             # country -> [people, parts]
    cdef Composer composer
    cdef uint64_t people
    cdef uint64_t parts[PARTS]
    cdef uint64_t alphabets[4]
    cdef uint64_t transliterated
    cdef dict refused
    cdef uint32_t* hits         # by character of the first plane: messages in which it forces UCS-2
    cdef uint32_t* seen         # the message in which it was counted last
    cdef dict far_hits          # those of the others
    cdef uint32_t serial
    cdef int worst_parts
    cdef Py_ssize_t worst_octets
    cdef readonly object worst  # (number, values, parts, octets of the text, alphabet)

    def __cinit__(self, pick):
        self.pick = pick
        self.picked = {}
        self.names = {}
        self.refused = {}
        self.far_hits = {}
        self.composer = Composer()
        self.composer.at(0.0, 0)
        self.hits = <uint32_t*>PyMem_RawCalloc(CHARACTERS, sizeof(uint32_t))
        self.seen = <uint32_t*>PyMem_RawCalloc(CHARACTERS, sizeof(uint32_t))
        if self.hits == NULL or self.seen == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.hits)
        PyMem_RawFree(self.seen)

    def add(self, Batch batch not None):
        """Count the messages of a batch.

        raises  ValueError: a form has more fields than the batch columns
        cost    what composing takes, and 0.1 us; where UCS-2 is taken, 2 ns a character more
        """
        cdef Composer composer = self.composer
        cdef Form form = None
        cdef int32_t pos
        cdef int64_t head, last = -1
        cdef int count
        cdef int alphabet
        cdef Py_ssize_t longer
        cdef list counter = None
        cdef uint64_t people = 0, parts = 0
        for pos in range(batch.n):
            head = batch.numbers[pos]
            while head >= HEAD_LIMIT:
                head //= 10
            if head != last:
                if counter is not None:
                    counter[0] += people
                    counter[1] += parts
                people = parts = 0
                last = head
                form, counter = self._choice(head)
                if form is not None and form.columns > batch.columns:
                    raise ValueError(
                        f"batch: the template has {form.columns} fields, the batch {batch.columns} columns")
            self.people += 1
            people += 1
            if form is None:
                self._refuse("no_route")
                continue
            count = composer.load(form, batch, pos)
            if count <= 0:
                self._refuse(count)
                if count == TOO_MANY_PARTS:
                    longer = composer.needed if composer.needed else PARTS
                    if longer > self.worst_parts:
                        self.worst_parts, self.worst_octets = <int>longer, 0
                        self.worst = (batch.numbers[pos], batch.values(pos), longer, None, None)
                continue
            parts += count
            self.parts[count] += 1
            alphabet = form.ways[composer.way].alphabet
            self.alphabets[alphabet & 3] += 1
            if composer.replaced:
                self.transliterated += 1
            if alphabet == ALPHABET_UCS2:
                self._force(composer)
            if count > self.worst_parts or count == self.worst_parts and composer.octets > self.worst_octets:
                self.worst_parts, self.worst_octets = count, composer.octets
                self.worst = (batch.numbers[pos], batch.values(pos), count, composer.octets, NAMES.get(alphabet))
        if counter is not None:
            counter[0] += people
            counter[1] += parts

    cdef _refuse(self, reason):
        self.refused[reason] = self.refused.get(reason, 0) + 1

    cdef tuple _choice(self, int64_t head):
        found = self.picked.get(head)
        if found is None:
            picked = self.pick(head)
            form, country = picked if picked is not None else (None, "")
            if country not in self.names:
                self.names[country] = [0, 0]
            found = self.picked[head] = (form, self.names[country])
        return found

    cdef void _force(self, Composer composer) noexcept:
        """Count each character that GSM lacks once for this message."""
        cdef Py_ssize_t i = 0
        cdef uint32_t unit, low
        self.serial += 1
        while i + 1 < composer.octets:
            unit = <uint32_t>composer.scratch[i] << 8 | composer.scratch[i + 1]
            i += 2
            if unit & 0xFC00 == 0xD800 and i + 1 < composer.octets:
                low = <uint32_t>composer.scratch[i] << 8 | composer.scratch[i + 1]
                i += 2
                self._force_far(0x10000 + ((unit & 0x3FF) << 10) + (low & 0x3FF))
            elif self.seen[unit] != self.serial and gsm_code(unit) == 0xFFFF:
                self.seen[unit] = self.serial
                self.hits[unit] += 1

    cdef void _force_far(self, uint32_t character) noexcept:
        found = self.far_hits.get(character)
        if found is None:
            self.far_hits[character] = [1, self.serial]
        elif found[1] != self.serial:
            found[0] += 1
            found[1] = self.serial

    def counts(self):
        """What was counted so far.

        ->  {"people", "parts": {parts: messages}, "alphabets": {name: messages}, "transliterated", "refused": {reason:
            messages}, "forcing": {character: messages}, "countries": {name: (people, parts)}}
        """
        cdef int i
        forcing = {chr(i): self.hits[i] for i in range(CHARACTERS) if self.hits[i]}
        forcing.update({chr(one): found[0] for one, found in self.far_hits.items()})
        return {
            "people": self.people,
            "parts": {i: self.parts[i] for i in range(PARTS) if self.parts[i]},
            "alphabets": {NAMES.get(i, "binary"): self.alphabets[i] for i in range(4) if self.alphabets[i]},
            "transliterated": self.transliterated,
            "refused": dict(self.refused),
            "forcing": forcing,
            "countries": {name: tuple(found) for name, found in self.names.items()},
        }
