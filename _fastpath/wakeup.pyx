"""A file descriptor that becomes readable at a moment of the monotonic clock, to the microsecond: Linux's timerfd.

An event loop's own timers are whole milliseconds (epoll_wait takes no less, and uvloop rounds up): at 500 PDUs a second
in even steps that costs every seventh of them. One such descriptor a carrier account costs a system call to set, one to
take, and nothing while it waits.
Where there is no timerfd, making one raises OSError. Not here: what else there is then, and who waits (smpp.wake).
"""

cimport cython
from cpython.exc cimport PyErr_SetFromErrno


cdef extern from *:
    """
    #include <errno.h>
    #ifdef __linux__
    #include <math.h>
    #include <stdint.h>
    #include <sys/timerfd.h>
    #include <time.h>
    #include <unistd.h>

    static int wakeup_open(void) {
        return timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    }

    /* at <= 0 takes back what is set. */
    static int wakeup_set(int fd, double at) {
        struct itimerspec when = {{0, 0}, {0, 0}};
        if (at > 0) {
            double whole = floor(at);
            /* Rounded up: at the moment itself the clock must have reached it. */
            long nanoseconds = (long)ceil((at - whole) * 1e9);
            when.it_value.tv_sec = (time_t)whole + nanoseconds / 1000000000;
            when.it_value.tv_nsec = nanoseconds % 1000000000;
            if (when.it_value.tv_sec == 0 && when.it_value.tv_nsec == 0)
                when.it_value.tv_nsec = 1;
        }
        return timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
    }

    static int wakeup_take(int fd) {
        uint64_t times;
        if (read(fd, &times, sizeof times) == sizeof times)
            return 1;
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    }

    static double wakeup_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + now.tv_nsec * 1e-9;
    }

    static void wakeup_close(int fd) {
        close(fd);
    }
    #else
    static int wakeup_open(void) { errno = ENOSYS; return -1; }
    static int wakeup_set(int fd, double at) { errno = ENOSYS; return -1; }
    static int wakeup_take(int fd) { errno = ENOSYS; return -1; }
    static double wakeup_now(void) { return 1e308; }
    static void wakeup_close(int fd) { }
    #endif
    """
    int wakeup_open() noexcept nogil
    int wakeup_set(int fd, double at) noexcept nogil
    int wakeup_take(int fd) noexcept nogil
    double wakeup_now() noexcept nogil
    void wakeup_close(int fd) noexcept nogil


# Thirty thousand years of uptime: whatever is larger is not a moment of the monotonic clock.
cdef double LATEST_S = 1e12
# What is left of a wait may be spent turning, if it is no more than this: no other thread is kept waiting longer.
cdef double SPIN_S = 0.0002


@cython.final
cdef class Wakeup:
    """One moment to wait for at a time; OSError where the system has no timerfd, or no descriptor left."""

    cdef int fd

    def __cinit__(self):
        self.fd = wakeup_open()
        if self.fd < 0:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        if self.fd >= 0:
            wakeup_close(self.fd)

    cdef int open_fd(self) except -1:
        if self.fd < 0:
            raise ValueError("wakeup: expected an open one, got one that was closed")
        return self.fd

    def fileno(self):
        """The descriptor to wait for; ValueError after `close`."""
        return self.open_fd()

    def set(self, double at):
        """Become readable at `at` (seconds of CLOCK_MONOTONIC), at once if that is past; in place of what was set.

        raises  ValueError outside 0 < at <= 1e12, and after `close`
        """
        if not 0.0 < at <= LATEST_S:
            raise ValueError(f"wakeup: expected a moment above 0 and up to {LATEST_S:g} s, got {at}")
        if wakeup_set(self.open_fd(), at) < 0:
            PyErr_SetFromErrno(OSError)

    def cancel(self):
        """Wait for nothing, and be readable no more; ValueError after `close`."""
        if wakeup_set(self.open_fd(), 0.0) < 0:
            PyErr_SetFromErrno(OSError)

    def take(self):
        """Be readable no more; -> whether the moment had come. ValueError after `close`."""
        cdef int taken = wakeup_take(self.open_fd())
        if taken < 0:
            PyErr_SetFromErrno(OSError)
        return taken == 1

    def spin(self, double at):
        """Let the clock reach `at` without sleeping; -> whether it has: nothing is done where 0.2 ms would not do."""
        if at - wakeup_now() > SPIN_S:
            return False
        while wakeup_now() < at:
            pass
        return True

    def close(self):
        """Give the descriptor back; once more does nothing."""
        if self.fd >= 0:
            wakeup_close(self.fd)
            self.fd = -1
