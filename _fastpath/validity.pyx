"""validity_period in 16 characters, for the path: the remaining life of a message.

    YYMMDDhhmmss t nn p      relative 000001230000000R: a day and 23 hours from now
                             absolute 261122143000008+: 14:30 local time, 2 hours ahead of UTC
The tenth of a second is one digit, and always 0.
Not here: reading times, and any other use of them (gateway.smpp.times).
"""

from libc.stdint cimport int64_t, uint8_t

# Seconds of 2000-01-01 UTC behind 1970.
cdef int64_t MILLENNIUM_S = 946684800
cdef int64_t LAST_S = 3155760000 - 1  # 2099-12-31 23:59:59, behind the millennium


cdef inline void _pair(int64_t value, uint8_t* dst) noexcept nogil:
    dst[0] = <uint8_t>(48 + value // 10)
    dst[1] = <uint8_t>(48 + value % 10)


def relative(double span_s):
    """A time to go, in seconds; a fraction is cut off. At least one second, at most 99 years.

    Over 31 days it is cut into years of 365 and months of 30 days, as gateway.smpp.times does.
    """
    cdef uint8_t[16] octets
    write_relative(span_s, octets)
    return (<char*>octets)[:16].decode("ascii")


def absolute(int64_t at_s, int quarters=0):
    """A moment in Unix seconds as local time `quarters` quarter hours ahead of UTC; kept within 2000 to 2099.

    raises  ValueError for more than 48 quarters
    """
    cdef uint8_t[16] octets
    if not -48 <= quarters <= 48:
        raise ValueError(f"quarters: {quarters}, expected -48 to 48")
    write_absolute(at_s - MILLENNIUM_S, quarters, octets)
    return (<char*>octets)[:16].decode("ascii")


cdef void write_relative(double span_s, uint8_t* dst) noexcept nogil:
    """16 characters of a time to go."""
    cdef int64_t span = 1
    cdef int64_t days, years = 0, months = 0
    if span_s >= 99.0 * 365 * 86400:
        span = <int64_t>99 * 365 * 86400
    elif span_s > 1.0:
        span = <int64_t>span_s
    days = span // 86400
    if days > 31:
        years = days // 365
        days %= 365
        months = days // 30
        days %= 30
    _pair(years, dst)
    _pair(months, dst + 2)
    _pair(days, dst + 4)
    _pair(span // 3600 % 24, dst + 6)
    _pair(span // 60 % 60, dst + 8)
    _pair(span % 60, dst + 10)
    dst[12] = 48
    dst[13] = 48
    dst[14] = 48
    dst[15] = 82  # R


cdef void write_absolute(int64_t at_s, int quarters, uint8_t* dst) noexcept nogil:
    """16 characters of a moment, in seconds behind 2000-01-01 UTC."""
    cdef int64_t local = at_s + quarters * 900
    cdef int64_t days, second, year, month, day, start, length
    local = max(<int64_t>0, min(local, LAST_S))
    days = local // 86400
    second = local % 86400
    # Four years from 2000 on are 1461 days, the first of them a leap year; so is 2000, and 2100 is not reached.
    year = days // 1461 * 4
    days %= 1461
    if days >= 366:
        days -= 366
        year += 1 + days // 365
        days %= 365
        start = 0
    else:
        start = 1
    month = 1
    while True:
        length = 30 + (month + month // 8) % 2
        if month == 2:
            length = 28 + start
        if days < length:
            break
        days -= length
        month += 1
    day = days + 1
    _pair(year, dst)
    _pair(month, dst + 2)
    _pair(day, dst + 4)
    _pair(second // 3600, dst + 6)
    _pair(second // 60 % 60, dst + 8)
    _pair(second % 60, dst + 10)
    dst[12] = 48
    _pair(quarters if quarters >= 0 else -quarters, dst + 13)
    dst[15] = 43 if quarters >= 0 else 45
