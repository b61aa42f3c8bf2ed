"""Read the text of a delivery receipt, as tolerantly as carriers write it.

    id:IIIIIIIIII sub:SSS dlvrd:DDD submit date:YYMMDDhhmm done date:YYMMDDhhmm stat:DDDDDDD err:E text:......
    (SMPP 3.4 appendix B, "vendor specific")

A field is a key at the start or behind a blank, a colon, perhaps blanks, and a run of non-blanks. Keys in any case and
order, the first of each counts, all but id and stat may be missing, words between fields are passed over. `submitdate`
and `submit_date` are `submit date`. The text ends the receipt, whatever it quotes, unless fields that have not come yet
stand behind it:

    id:7 stat:DELIVRD err:0 text:your id:9 stat:UNDELIV    neither is missing: all of it is text
    id:7 err:0 text:hello stat:DELIVRD dlvrd:001           to the end nothing but missing fields: they are fields
    id:7 err:0 text:hello stat:DELIVRD and more            a receipt needs id and stat: taken, the text ends before

Dates are read as they stand, without zone; digits decide the form:

    10  YYMMDDhhmm        12  YYMMDDhhmmss, or YYYYMMDDhhmm where that has no such month, day or hour
    14  YYYYMMDDhhmmss    16  YYMMDDhhmmsstnnp (SMPP absolute time)         zeros: no date

Not here: TLVs, which beat the text, and what a state means for a message (gateway.smpp.receipt); alphabets: octets
come as they are, a UCS-2 body must have been turned into octets by then. Never reads outside [p, p + n).
"""

from datetime import datetime, timedelta

from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    #define FP_FOUR(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
    #define FP_STAT FP_FOUR('s', 't', 'a', 't')
    #define FP_SUB FP_FOUR('s', 'u', 'b', ':')
    #define FP_SUBM FP_FOUR('s', 'u', 'b', 'm')
    #define FP_DLVR FP_FOUR('d', 'l', 'v', 'r')
    #define FP_DONE FP_FOUR('d', 'o', 'n', 'e')
    #define FP_ERR FP_FOUR('e', 'r', 'r', ':')
    #define FP_TEXT FP_FOUR('t', 'e', 'x', 't')
    #define FP_DATE FP_FOUR('d', 'a', 't', 'e')
    """
    const uint32_t FP_STAT, FP_SUB, FP_SUBM, FP_DLVR, FP_DONE, FP_ERR, FP_TEXT, FP_DATE

cdef extern from "<stdint.h>":
    const int64_t INT64_MIN

cdef enum:
    LONGEST_WORD = 13  # undeliverable
    LONGEST_ID = 64  # what counts as an id inside a text; SMPP 5.0 allows 64, UUIDs take 36

cdef enum Key:
    KEY_NONE, KEY_ID, KEY_SUB, KEY_DLVRD, KEY_SUBMIT, KEY_DONE, KEY_STAT, KEY_ERR, KEY_TEXT

# Days before each month of a year that begins in March, whose last day is the one that comes and goes.
cdef int[12] DAYS_BEFORE = [306, 337, 0, 31, 61, 92, 122, 153, 184, 214, 245, 275]
cdef int[12] MONTH_DAYS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

_EPOCH = datetime(2000, 1, 1)


def parse(octets):
    """Read a receipt's octets into its fields, or None where they are none: no id, or no state word.

    ->      id, sub, dlvrd, stat, err, text: str, as UTF-8 where the octets are that, else as Latin-1; submit_date,
            done_date: ISO text to the second, no zone; message_state: SMPP's number. None = absent, or a date that is
            zero or none; message_state None = a word without a number of its own
    raises  nothing
    cost    one pass; the dict is most of it
    """
    cdef bytes whole = octets if type(octets) is bytes else bytes(octets)
    cdef ReceiptText receipt
    if not receipt_text(<const uint8_t*>whole, len(whole), &receipt):
        return None
    # FAILED, BUFFRED and ACKED have no number in SMPP, and which of the ten they come nearest to is the carrier's to
    # say: None, though the struct tells them apart. DELIVERED, REJECTED … are the ten, spelt out.
    if receipt.state == RECEIPT_SCHEDULED:
        state = 0
    else:
        state = receipt.state if 1 <= receipt.state <= 9 else None
    return {
        "id": _text(receipt.id, receipt.id_len),
        "sub": _text(receipt.sub, receipt.sub_len),
        "dlvrd": _text(receipt.dlvrd, receipt.dlvrd_len),
        "submit_date": _date(receipt.submit_at_us),
        "done_date": _date(receipt.done_at_us),
        "stat": _text(receipt.stat, receipt.stat_len),
        "err": _text(receipt.err, receipt.err_len),
        "text": _text(receipt.text, receipt.text_len),
        "message_state": state,
    }


cdef bint receipt_text(const uint8_t* p, Py_ssize_t n, ReceiptText* out) noexcept nogil:
    """Read n octets into out; False when they are no receipt by themselves: no id, or no state word.

    What was found is in out all the same, for a caller who has the other from a TLV (carriers that send
    receipted_message_id and leave the state to the text).
    Cost: one pass up to the text; the text is read only where fields are missing when it begins.
    """
    cdef const uint8_t* end = p + n
    cdef const uint8_t* after
    cdef int key
    out.id = out.stat = out.err = out.text = out.sub = out.dlvrd = NULL
    out.id_len = out.stat_len = out.err_len = out.text_len = out.sub_len = out.dlvrd_len = 0
    out.state = 0
    out.submit_at_us = out.done_at_us = INT64_MIN
    out.done_zone_min = NO_ZONE
    cdef int seen = 0
    while p < end:
        while p[0] <= 0x20:
            p += 1
            if p == end:
                return _is_receipt(out)
        key = _key(p, end, &after)
        if key == KEY_TEXT:
            _take_text(after, end, seen, out)
            return _is_receipt(out)
        if key == KEY_NONE or seen >> key & 1:
            while p < end and p[0] > 0x20:
                p += 1
            continue
        seen |= 1 << key
        p = _take_field(key, after, end, out)
    return _is_receipt(out)


cdef inline bint _is_receipt(const ReceiptText* out) noexcept nogil:
    return out.id_len > 0 and out.stat_len > 0


cdef inline uint32_t _four(const uint8_t* p) noexcept nogil:
    """Four octets as a number, letters in small: for comparison with FP_…"""
    cdef uint32_t octets
    memcpy(&octets, p, 4)
    return octets | 0x20202020


cdef inline int _key(const uint8_t* p, const uint8_t* end, const uint8_t** after) noexcept nogil:
    """Which key stands at p with its colon; after = what follows the colon. No two keys begin with the same four."""
    cdef Py_ssize_t left = end - p
    cdef uint32_t four
    if left < 3:
        return KEY_NONE
    if p[2] == 0x3A:
        after[0] = p + 3
        return KEY_ID if p[0] | 0x20 == 0x69 and p[1] | 0x20 == 0x64 else KEY_NONE
    if left < 4:
        return KEY_NONE
    four = _four(p)
    if p[3] == 0x3A:
        after[0] = p + 4
        if four == FP_SUB:
            return KEY_SUB
        if four == FP_ERR:
            return KEY_ERR
        return KEY_NONE
    if left < 5:
        return KEY_NONE
    if p[4] == 0x3A:
        after[0] = p + 5
        if four == FP_STAT:
            return KEY_STAT
        if four == FP_TEXT:
            return KEY_TEXT
        return KEY_NONE
    if four == FP_DLVR:
        if left < 6 or p[4] | 0x20 != 0x64 or p[5] != 0x3A:
            return KEY_NONE
        after[0] = p + 6
        return KEY_DLVRD
    if four == FP_SUBM:
        if left < 6 or p[4] | 0x20 != 0x69 or p[5] | 0x20 != 0x74:
            return KEY_NONE
        return KEY_SUBMIT if _date_key(p + 6, end, after) else KEY_NONE
    if four == FP_DONE:
        return KEY_DONE if _date_key(p + 4, end, after) else KEY_NONE
    return KEY_NONE


cdef inline bint _date_key(const uint8_t* p, const uint8_t* end, const uint8_t** after) noexcept nogil:
    """Whether `date:` stands at p, behind blanks or an underscore or nothing."""
    while p < end and (p[0] == 0x20 or p[0] == 0x5F):
        p += 1
    if end - p < 5 or _four(p) != FP_DATE or p[4] != 0x3A:
        return False
    after[0] = p + 5
    return True


cdef inline const uint8_t* _value(const uint8_t* p, const uint8_t* end, const uint8_t** begin) noexcept nogil:
    """The run of non-blanks at p or behind blanks, up to what is returned; empty where the next key comes first."""
    cdef const uint8_t* after
    cdef const uint8_t* key_at = p
    if p < end and p[0] <= 0x20:
        while p < end and p[0] <= 0x20:
            p += 1
        if _key(p, end, &after) != KEY_NONE:
            begin[0] = key_at
            return key_at
    begin[0] = p
    while p < end and p[0] > 0x20:
        p += 1
    return p


cdef inline const uint8_t* _take_field(int key, const uint8_t* p, const uint8_t* end, ReceiptText* out) noexcept nogil:
    """Store the field whose value begins at p; what lies behind it."""
    cdef const uint8_t* begin
    cdef int octets
    p = _value(p, end, &begin)
    octets = <int>(p - begin)
    if key == KEY_ID:
        out.id = begin
        out.id_len = octets
    elif key == KEY_SUB:
        out.sub = begin
        out.sub_len = octets
    elif key == KEY_DLVRD:
        out.dlvrd = begin
        out.dlvrd_len = octets
    elif key == KEY_SUBMIT:
        out.submit_at_us = _date_us(begin, octets)
    elif key == KEY_DONE:
        out.done_at_us = _date_us(begin, octets)
        if octets == 16 and out.done_at_us != INT64_MIN:
            out.done_zone_min = _two(begin + 13) * 15
            if begin[15] == 0x2D:
                out.done_zone_min = -out.done_zone_min
    elif key == KEY_STAT:
        out.stat = begin
        out.stat_len = octets
        out.state = _state(begin, octets)
    elif key == KEY_ERR:
        out.err = begin
        out.err_len = octets
    return p


cdef bint _take_text(const uint8_t* p, const uint8_t* end, int seen, ReceiptText* out) noexcept nogil:
    """Store the text that begins at p, and the missing fields that end it. `seen` has a bit a key."""
    cdef const uint8_t* at
    cdef const uint8_t* after
    cdef const uint8_t* stop = end
    cdef const uint8_t* word
    cdef int every = 1 << KEY_ID | 1 << KEY_SUB | 1 << KEY_DLVRD | 1 << KEY_SUBMIT | 1 << KEY_DONE | 1 << KEY_STAT \
        | 1 << KEY_ERR
    cdef int key
    if seen != every:
        at = p
        while at < end:
            while at < end and at[0] <= 0x20:
                at += 1
            if _take_run(at, end, seen, out):
                stop = at
                break
            while at < end and at[0] > 0x20:
                at += 1
    if stop == end and not _is_receipt(out):
        # Amid other words only what makes it a receipt at all is taken.
        at = p
        while at < end:
            while at < end and at[0] <= 0x20:
                at += 1
            word = at
            key = _key(at, end, &after)
            if (key == KEY_ID or key == KEY_STAT) and not seen >> key & 1 and _is_sound(key, after, end, True, &at):
                _take_field(key, after, end, out)
                seen |= 1 << key
                if stop == end:
                    stop = word
                continue
            while at < end and at[0] > 0x20:
                at += 1
    while stop > p and ((stop - 1)[0] == 0 or _is_blank((stop - 1)[0])):
        stop -= 1
    while p < stop and _is_blank(p[0]):
        p += 1
    out.text = p
    out.text_len = <int>(stop - p)
    return True


cdef bint _take_run(const uint8_t* p, const uint8_t* end, int seen, ReceiptText* out) noexcept nogil:
    """Store the fields from p on if to the end there are only missing fields with sound values; else touch nothing."""
    cdef const uint8_t* at = p
    cdef const uint8_t* after
    cdef int found = seen
    cdef int key
    while at < end:
        key = _key(at, end, &after)
        if key == KEY_NONE or key == KEY_TEXT or found >> key & 1 or not _is_sound(key, after, end, False, &at):
            return False
        found |= 1 << key
        while at < end and at[0] <= 0x20:
            at += 1
    if found == seen:
        return False
    while p < end:
        key = _key(p, end, &after)
        p = _take_field(key, after, end, out)
        while p < end and p[0] <= 0x20:
            p += 1
    return True


cdef bint _is_sound(
    int key, const uint8_t* p, const uint8_t* end, bint amid_words, const uint8_t** behind,
) noexcept nogil:
    """Whether a value that a text may merely quote looks like one of its key; behind = what follows it, if so."""
    cdef const uint8_t* begin
    cdef Py_ssize_t octets
    cdef Py_ssize_t i
    cdef bint sound = True
    p = _value(p, end, &begin)
    octets = p - begin
    if key == KEY_ID:
        sound = 0 < octets <= LONGEST_ID
    elif key == KEY_STAT:  # a known word, or amid words one in capitals, else one without punctuation
        sound = octets > 0
        if sound and _state(begin, octets) == 0:
            for i in range(octets):
                if amid_words:
                    sound = sound and (0x41 <= begin[i] <= 0x5A or begin[i] == 0x5F)
                else:
                    sound = sound and (_is_alphanumeric(begin[i]) or begin[i] == 0x5F)
    elif key == KEY_SUBMIT or key == KEY_DONE:
        sound = octets > 0
        if sound and _date_us(begin, octets) == INT64_MIN:
            for i in range(octets):
                sound = sound and begin[i] == 0x30
    elif key == KEY_ERR:  # 000, 1b4, 0000, -1, nothing
        sound = octets <= 8
        for i in range(octets):
            sound = sound and _is_alphanumeric(begin[i])
    else:
        sound = 0 < octets <= 4
        for i in range(octets):
            sound = sound and 0x30 <= begin[i] <= 0x39
    if sound:
        behind[0] = p
    return sound


cdef inline bint _is_alphanumeric(uint8_t c) noexcept nogil:
    return 0x30 <= c <= 0x39 or 0x61 <= (c | 0x20) <= 0x7A or c == 0x2D


cdef inline bint _is_blank(uint8_t c) noexcept nogil:
    return c == 0x20 or 0x09 <= c <= 0x0D


cdef int receipt_state(const uint8_t* p, Py_ssize_t octets) noexcept nogil:
    """Number of a state word, as in ReceiptText.state."""
    return _state(p, octets)


cdef inline int _state(const uint8_t* p, Py_ssize_t octets) noexcept nogil:
    """Number of a state word, in any case: 1..9, RECEIPT_…, or 0. A number is a word like any other: which state a
    carrier means by `stat:0` is its own table's to say."""
    cdef char word[16]
    cdef Py_ssize_t i
    if octets == 7:
        for i in range(7):
            word[i] = p[i] | 0x20
        if memcmp(word, b"delivrd", 7) == 0:
            return 2
        if memcmp(word, b"undeliv", 7) == 0:
            return 5
        if memcmp(word, b"expired", 7) == 0:
            return 3
        if memcmp(word, b"rejectd", 7) == 0:
            return 8
        if memcmp(word, b"acceptd", 7) == 0:
            return 6
        if memcmp(word, b"unknown", 7) == 0:
            return 7
        if memcmp(word, b"deleted", 7) == 0:
            return 4
        if memcmp(word, b"enroute", 7) == 0:
            return 1
        if memcmp(word, b"skipped", 7) == 0:
            return 9
        if memcmp(word, b"schedld", 7) == 0:
            return RECEIPT_SCHEDULED
        if memcmp(word, b"buffred", 7) == 0 or memcmp(word, b"bufferd", 7) == 0:
            return RECEIPT_BUFFERED
        return 0
    return _rare_state(p, octets)


cdef int _rare_state(const uint8_t* p, Py_ssize_t octets) noexcept nogil:
    """As _state(), for words of other lengths."""
    cdef char word[16]
    cdef Py_ssize_t i
    if octets > LONGEST_WORD:
        return 0
    for i in range(octets):
        word[i] = p[i] | 0x20
    if octets == 5 and memcmp(word, b"acked", 5) == 0:
        return RECEIPT_ACKED
    if octets == 6 and memcmp(word, b"failed", 6) == 0:
        return RECEIPT_FAILED
    if octets == 8:
        if memcmp(word, b"accepted", 8) == 0:
            return 6
        if memcmp(word, b"rejected", 8) == 0:
            return 8
        if memcmp(word, b"buffered", 8) == 0:
            return RECEIPT_BUFFERED
    if octets == 9:
        if memcmp(word, b"delivered", 9) == 0:
            return 2
        if memcmp(word, b"scheduled", 9) == 0:
            return RECEIPT_SCHEDULED
    if octets == 11 and memcmp(word, b"undelivered", 11) == 0:
        return 5
    if octets == 13 and memcmp(word, b"undeliverable", 13) == 0:
        return 5
    return 0


cdef inline int _two(const uint8_t* p) noexcept nogil:
    """Two digits as a number."""
    return (p[0] - 0x30) * 10 + p[1] - 0x30


cdef int64_t _date_us(const uint8_t* p, Py_ssize_t octets) noexcept nogil:
    """A date in any of its forms; INT64_MIN for zeros and for what is none."""
    cdef Py_ssize_t digits = 0
    cdef int64_t at
    cdef int year
    if octets > 16:
        return INT64_MIN
    while digits < octets and 0x30 <= p[digits] <= 0x39:
        digits += 1
    if digits == 10 and octets == 10:
        return _moment_us(2000 + _two(p), p + 2, 0)
    if digits == 12 and octets == 12:
        at = _moment_us(2000 + _two(p), p + 2, _two(p + 10))
        if at != INT64_MIN:
            return at
        # 2015 06 20 16 41: only from 2013 on is this form certain, before that it reads as one of 2020.
        year = _two(p) * 100 + _two(p + 2)
        return _moment_us(year, p + 4, 0) if 1990 <= year < 2100 else INT64_MIN
    if digits == 14 and octets == 14:
        return _moment_us(_two(p) * 100 + _two(p + 2), p + 4, _two(p + 12))
    if digits == 15 and octets == 16 and (p[15] == 0x2B or p[15] == 0x2D):
        at = _moment_us(2000 + _two(p), p + 2, _two(p + 10))
        return at if at == INT64_MIN else at + (p[12] - 0x30) * 100_000
    return INT64_MIN


cdef inline int64_t _moment_us(int year, const uint8_t* p, int second) noexcept nogil:
    """Microseconds since 2000-01-01 of a year and the digits MMDDhhmm at p; INT64_MIN where there is no such time."""
    cdef int month = _two(p)
    cdef int day = _two(p + 2)
    cdef int hour = _two(p + 4)
    cdef int minute = _two(p + 6)
    cdef int64_t days
    if not 1 <= month <= 12 or not 1 <= day <= MONTH_DAYS[month - 1] or hour > 23 or minute > 59 or second > 59:
        return INT64_MIN
    if month == 2 and day == 29 and (year % 4 or (year % 100 == 0 and year % 400)):
        return INT64_MIN
    if year < 1:
        return INT64_MIN
    if month < 3:
        year -= 1
    # Proleptic Gregorian; 730425 = the days from 0000-03-01 to 2000-01-01.
    days = year * 365 + year // 4 - year // 100 + year // 400 + DAYS_BEFORE[month - 1] + day - 1 - 730425
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000


cdef object _text(const uint8_t* p, int octets):
    """A field as str, None where it is absent."""
    if p == NULL:
        return None
    whole = p[:octets]
    try:
        return whole.decode("utf-8")
    except UnicodeDecodeError:
        return whole.decode("latin-1")


cdef object _date(int64_t at_us):
    """A date as ISO text to the second, None where it is absent."""
    if at_us == INT64_MIN:
        return None
    return (_EPOCH + timedelta(seconds=at_us // 1_000_000)).isoformat()
