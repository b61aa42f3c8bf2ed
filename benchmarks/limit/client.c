/* The fastest ESME we know how to write: the figure the client pool is held against.
 *
 *     client -p PORT [-n MESSAGES] [-w WINDOW] [-r] [-s] [-o OCTETS] [-t SECONDS]
 *            -r ask for receipts, answer and await all of them     -s one send a message instead of one a batch
 *            -o octets of text (100)                               -t give up after so long without an answer (10)
 *            -x answer a read in slices of so many octets (0 = whole), so that the SMSC works meanwhile
 *
 * Every submit_sm is encoded before the clock starts; while it runs, only the sequence number of each is patched.
 * A turn: one send of all that the window has room for (with the deliver_sm_resp owed), then one recv of what is there.
 * It blocks in the kernel while it waits, as an event loop does: a client that spins wins at small windows and burns
 * a core for it. Prints one JSON object. Exit 1 when an answer is wrong, is missing, or the link breaks.
 * Not here, and so not in the limit: any text, template, queue, throttle or record of what was sent. It checks of a
 * response its status and that as many came as were sent, no more.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

enum { INBOX = 4 << 20, LARGEST_PDU = 1 << 17, DELIVERY_RESPONSE = HEADER + 1 };

static int fd, wait_ms = 10000;
static uint8_t *inbox;
static size_t have, slice;
static int more;                /* whole PDUs may stand in the inbox still */
static struct owed {            /* deliver_sm_resp: those being sent, and those that come meanwhile */
    uint8_t *octets;
    size_t size, room;
} owed, leaving;
static long long responses, receipts, errors, sends, reads;

static void fail(const char *what)
{
    fprintf(stderr, "client: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
        + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void take(const uint8_t *p)
{
    switch (load32(p + 4)) {
    case SUBMIT_SM | RESPONSE:
        responses++;
        errors += load32(p + 8) != 0;
        break;
    case DELIVER_SM:
        receipts++;
        if (owed.size + DELIVERY_RESPONSE > owed.room) {
            owed.room = owed.room ? 2 * owed.room : 1 << 16;
            owed.octets = realloc(owed.octets, owed.room);
            if (!owed.octets)
                fail("realloc");
        }
        *header(owed.octets + owed.size, DELIVERY_RESPONSE, DELIVER_SM | RESPONSE, 0, load32(p + 12)) = 0;
        owed.size += DELIVERY_RESPONSE;
        break;
    default:
        errors++;
    }
}

static void parse(void);

static void pull(int flags)
{
    ssize_t n = recv(fd, inbox + have, INBOX - have, flags);
    if (n < 0 && flags && errno == EAGAIN)
        return;
    if (n < 0)
        fail(errno == EAGAIN ? "no answer" : "recv");
    if (n == 0) {
        errno = 0;
        fail("the link was closed");
    }
    reads++;
    have += (size_t)n;
    parse();
}

/* Take the whole PDUs of the inbox, or a slice of them. */
static void parse(void)
{
    const uint8_t *p = inbox, *end = inbox + have;
    more = 0;
    while (end - p >= HEADER) {
        if (slice && (size_t)(p - inbox) >= slice) {
            more = 1;
            break;
        }
        uint32_t octets = load32(p);
        if (octets < HEADER || octets > LARGEST_PDU) {
            errno = 0;
            fail("a command_length that cannot be");
        }
        if ((uint32_t)(end - p) < octets)
            break;
        take(p);
        p += octets;
    }
    have = (size_t)(end - p);
    memmove(inbox, p, have);
}

/* Send two pieces as one. While the SMSC takes no more, read: it may be waiting for us to. */
static void push(uint8_t *first, size_t first_octets, uint8_t *second, size_t second_octets)
{
    struct iovec pieces[2] = {{first, first_octets}, {second, second_octets}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    while (pieces[0].iov_len + pieces[1].iov_len) {
        ssize_t n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            sends++;
            for (int i = 0; i < 2; i++) {
                size_t gone = (size_t)n < pieces[i].iov_len ? (size_t)n : pieces[i].iov_len;
                pieces[i].iov_base = (uint8_t *)pieces[i].iov_base + gone;
                pieces[i].iov_len -= gone;
                n -= (ssize_t)gone;
            }
        } else if (errno == EAGAIN) {
            struct pollfd link = {.fd = fd, .events = POLLIN | POLLOUT};
            if (poll(&link, 1, wait_ms) == 0)
                fail("no answer");
            if (link.revents & POLLIN)
                pull(MSG_DONTWAIT);
        } else if (errno != EINTR) {
            fail("send");
        }
    }
}

/* A submit_sm of `octets` GSM characters at p; -> its length. SMPP 3.4 §4.4.1. */
static size_t write_submit(uint8_t *p, int octets, int wants_receipt)
{
    static const char text[] = "Hi Katarina, your order 48213377 has left our depot and arrives on Friday after 14:00. ";
    uint8_t *to = p + HEADER;
    memcpy(to, "\0\x05\0sluice\0\x01\x01" "447700900123\0\0\0\0\0\0", 30);
    to += 30;
    *to++ = (uint8_t)wants_receipt;
    memset(to, 0, 3);
    to += 3;
    *to++ = (uint8_t)octets;
    for (int i = 0; i < octets; i++)
        *to++ = (uint8_t)text[i % (int)(sizeof text - 1)];
    header(p, (uint32_t)(to - p), SUBMIT_SM, 0, 0);
    return (size_t)(to - p);
}

int main(int count, char **words)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    long long messages = 1000000, sent = 0, window = 100;
    int wants_receipts = 0, one_by_one = 0, text_octets = 100, option, one = 1;
    while ((option = getopt(count, words, "p:n:w:o:t:x:rs")) != -1) {
        switch (option) {
        case 'p': at.sin_port = htons((uint16_t)atoi(optarg)); break;
        case 'n': messages = atoll(optarg); break;
        case 'w': window = atoll(optarg); break;
        case 'o': text_octets = atoi(optarg); break;
        case 't': wait_ms = atoi(optarg) * 1000; break;
        case 'x': slice = (size_t)atoll(optarg); break;
        case 'r': wants_receipts = 1; break;
        case 's': one_by_one = 1; break;
        default: return 2;
        }
    }
    errno = 0;
    if (!at.sin_port || messages < 1 || window < 1 || window > 1 << 20 || text_octets < 1 || text_octets > 254 || wait_ms < 1)
        fail("see the head of client.c for what it takes");
    inbox = malloc(INBOX);
    uint8_t *pdus = malloc((size_t)window * 320);
    if (!inbox || !pdus)
        fail("malloc");

    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = wait_ms / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0)
        fail("connect");
    static const char who[] = "limit\0limit\0\0\x34\0\0";
    uint8_t bind[HEADER + sizeof who];
    memcpy(header(bind, sizeof bind, BIND_TRANSCEIVER, 0, 1), who, sizeof who);
    push(bind, sizeof bind, NULL, 0);
    uint8_t answer[HEADER + 64];
    ssize_t n = recv(fd, answer, HEADER, MSG_WAITALL);
    if (n != HEADER || load32(answer + 4) != (BIND_TRANSCEIVER | RESPONSE) || load32(answer + 8) || load32(answer) > sizeof answer)
        fail("the bind was refused");
    if (load32(answer) > HEADER && recv(fd, answer + HEADER, load32(answer) - HEADER, MSG_WAITALL) < 0)
        fail("recv");

    size_t each = write_submit(pdus, text_octets, wants_receipts);
    for (long long i = 1; i < window; i++)
        memcpy(pdus + (size_t)i * each, pdus, each);
    uint32_t sequence = 1;
    sends = reads = 0;
    double started = seconds(), cpu = cpu_seconds();
    for (;;) {
        long long room = window - (sent - responses);
        if (room > messages - sent)
            room = messages - sent;
        if (room < 0)
            room = 0;
        for (long long i = 0; i < room; i++) {
            sequence = sequence % 0x7FFFFFFF + 1;
            store32(pdus + (size_t)i * each + 12, sequence);
        }
        sent += room;
        struct owed emptied = leaving;
        leaving = owed;
        owed = emptied;
        owed.size = 0;
        push(leaving.octets, leaving.size, pdus, one_by_one ? 0 : (size_t)room * each);
        for (long long i = 0; one_by_one && i < room; i++)
            push(NULL, 0, pdus + (size_t)i * each, each);
        if (responses >= messages && (!wants_receipts || receipts >= messages) && !owed.size)
            break;
        if (more)
            parse();
        else
            pull(0);
    }
    double took = seconds() - started;
    cpu = cpu_seconds() - cpu;
    printf("{\"messages\": %lld, \"window\": %lld, \"seconds\": %.6f, \"rate\": %.1f, \"cpu_us_per_message\": %.5f, "
           "\"responses\": %lld, \"receipts\": %lld, \"errors\": %lld, \"sends\": %lld, \"reads\": %lld}\n",
           messages, window, took, (double)messages / took, cpu / (double)messages * 1e6,
           responses, receipts, errors, sends, reads);
    uint8_t unbind[HEADER];
    header(unbind, HEADER, UNBIND, 0, 0x7FFFFFFF);
    (void)!send(fd, unbind, HEADER, MSG_NOSIGNAL);
    close(fd);
    return errors || responses != messages;
}
