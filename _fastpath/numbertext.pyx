"""Read phone numbers out of cells of text, one look-up a digit.

What it is: the walk over the automata that gateway.contacts.numberplan makes of phonenumbers' metadata. A cell it is
sure of becomes a number; any other gets kind 0 and is asked of phonenumbers. What it is not: a validator of its own.

    kind, one octet a cell:   rrrrllll      llll  line, the index in numberplan.LINES + 1
                                            rrrr  reading: 0 +, 1 trunk prefix, 2 bare national, 3 own calling code,
                                                  4 bare international
                              0 ask         255 its calling code is not built yet: graft it and scan again

Sure forms: digits with blanks, no-break blanks, hyphens and brackets between them, an optional + in front.
A full stop is not among them: "447911123456.0" comes out of a spreadsheet.
"""

from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef extern from "Python.h":
    bint PyUnicode_Check(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_KIND(object text)
    void* PyUnicode_DATA(object text)
    uint32_t PyUnicode_READ(int kind, void* data, Py_ssize_t index) noexcept nogil

cdef enum:
    MIXED = 0
    NATIONAL = 1
    INTERNATIONAL = 2
    ROOM_DIGITS = 18  # what an int64 holds whatever the digits
    UNBUILT = 255
    BARE = 2 << 4
    OWN_CODE = 3 << 4
    PLUS_ADDED = 4 << 4
    TRUNK = 1 << 4


cdef struct Plan:
    const int* steps
    const uint8_t* labels
    Py_ssize_t national      # state before bare digits of the default region, -1 without one
    Py_ssize_t elsewhere     # state of the question "a national mobile number anywhere?", -1 where it is not asked
    int forms                # MIXED, NATIONAL, INTERNATIONAL
    int trunk_digits
    int64_t calling_code


cdef inline int walk(const Plan* plan, Py_ssize_t state, const uint8_t* digits, int n) noexcept nogil:
    """Label after n digits; 0 when they lead nowhere, UNBUILT when they enter a calling code that is not built."""
    cdef int i
    for i in range(n):
        if plan.labels[state] == UNBUILT:
            return UNBUILT
        state = plan.steps[state * 10 + digits[i]]
        if state < 0:
            return 0
    return plan.labels[state]


cdef inline int64_t value(const uint8_t* digits, int n, int64_t before) noexcept nogil:
    cdef int i
    for i in range(n):
        before = before * 10 + digits[i]
    return before


cdef int read(const Plan* plan, int kind, void* data, Py_ssize_t length, int64_t* number) noexcept nogil:
    """Kind of one cell; its number is set where the kind is neither 0 nor UNBUILT."""
    cdef uint8_t digits[18]
    cdef int n = 0, label, reading, world
    cdef bint plus = False
    cdef Py_ssize_t i
    cdef uint32_t c
    for i in range(length):
        c = PyUnicode_READ(kind, data, i)
        if 48 <= c <= 57:
            if n == ROOM_DIGITS:
                return 0
            digits[n] = <uint8_t>(c - 48)
            n += 1
        elif c == 32 or c == 0xA0:
            pass
        elif c == 43:
            if plus or n or i and PyUnicode_READ(kind, data, i - 1) != 32:
                return 0
            plus = True
        elif c == 45 or c == 41:
            if not n:
                return 0
        elif c != 40:
            return 0
    if n < 5:
        return 0
    if plus:
        label = walk(plan, 0, digits, n)
        if label and label != UNBUILT:
            number[0] = value(digits, n, 0)
        return label
    if plan.forms != INTERNATIONAL and plan.national >= 0:
        label = walk(plan, plan.national, digits, n)
        if not label:
            return 0
        # numberplan counts the readings from 0: trunk, bare, own code.
        reading = label >> 4
        label &= 15
        if reading == 0:
            number[0] = value(digits + plan.trunk_digits, n - plan.trunk_digits, plan.calling_code)
            return label | TRUNK
        if reading == 2:
            number[0] = value(digits, n, 0)
            return label | OWN_CODE
        if plan.forms == MIXED:
            world = walk(plan, 0, digits, n)
            if world:
                return UNBUILT if world == UNBUILT else 0
        number[0] = value(digits, n, plan.calling_code)
        return label | BARE
    if plan.forms == NATIONAL or digits[0] == 0:
        return 0
    if plan.forms == MIXED and (plan.elsewhere < 0 or walk(plan, plan.elsewhere, digits, n)):
        return 0
    label = walk(plan, 0, digits, n)
    if not label or label == UNBUILT:
        return label
    number[0] = value(digits, n, 0)
    return label | PLUS_ADDED


def scan(list cells not None, const int[::1] steps not None, const uint8_t[::1] labels not None,
         Py_ssize_t national, Py_ssize_t elsewhere, int forms, int trunk_digits, int64_t calling_code,
         int64_t[::1] numbers not None, uint8_t[::1] kinds not None):
    """Read one column of cells.

    cells         list[str]; what is no str gets kind 0
    steps labels  of a NumberPlan, whole: ten steps a state, every step -1 or a state
    national      state of the default region, -1 without; trunk_digits and calling_code are the region's
    elsewhere     state of NumberPlan.elsewhere(), -1 when bare digits without a region are all to be asked
    forms         0 any form, 1 bare digits are national, 2 bare digits are international
    numbers kinds filled, one item a cell, at least as long as cells
    ->            int, how many cells have the kind 0 or 255
    raises        ValueError when numbers or kinds are too short or a state lies outside the table
    cost          27-41 ns a cell of 12 digits (measured 2026-11)
    """
    cdef Py_ssize_t n = PyList_GET_SIZE(cells), i, states = labels.shape[0], left = 0
    cdef Plan plan
    cdef object cell
    cdef int64_t number
    cdef int kind
    if numbers.shape[0] < n or kinds.shape[0] < n:
        raise ValueError(f"numbers and kinds: room for {min(numbers.shape[0], kinds.shape[0])} cells, {n} given")
    if not states or steps.shape[0] != states * 10 or national >= states or elsewhere >= states:
        raise ValueError(f"{states} labels, {steps.shape[0]} steps: not one table of states")
    if trunk_digits < 0 or trunk_digits > 4 or calling_code < 0 or calling_code > 999:
        raise ValueError(f"trunk_digits {trunk_digits}, calling_code {calling_code}: out of range")
    plan.steps, plan.labels = &steps[0], &labels[0]
    plan.national, plan.elsewhere, plan.forms = national, elsewhere, forms
    plan.trunk_digits, plan.calling_code = trunk_digits, calling_code
    for i in range(n):
        cell = <object>PyList_GET_ITEM(cells, i)
        number, kind = 0, 0
        if PyUnicode_Check(cell):
            kind = read(&plan, PyUnicode_KIND(cell), PyUnicode_DATA(cell), PyUnicode_GET_LENGTH(cell), &number)
        numbers[i] = number
        kinds[i] = <uint8_t>kind
        left += kind == 0 or kind == UNBUILT
    return left
