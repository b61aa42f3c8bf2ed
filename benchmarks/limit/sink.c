/* An SMSC that does nothing but answer: the fast other end that every client is measured against.
 *
 *     sink [-p PORT] [-r]      -p 0 (the default): any free port        -r: receipts to those who ask for them
 *
 * Prints {"port": N} once it listens, and what it counted when it is told to stop (SIGTERM, SIGINT); `seconds` there is
 * the time from the first read that held a submit_sm to the last.
 * One thread, epoll, loopback. One turn of a link: one recv, every whole PDU in it answered into one buffer, one send.
 *
 *     bind_*         accepted, whoever asks              submit_sm        accepted, message_id = 10 digits that count up
 *     enquire_link   answered                            deliver_sm_resp  counted
 *     unbind         answered, link closed               the rest         generic_nack, ESME_RINVCMDID
 *
 * A receipt follows its response at once, in the same send: the hardest order for a client, since it must already know
 * the id. It carries id and state both as TLVs and in the text of SMPP 3.4 appendix B.
 * Not here: limits, delays, errors, texts. It keeps no message and reads of a submit_sm only its addresses, and those
 * only for a receipt: a client that sends rubbish in the rest is not found out here.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

enum {
    INBOX = 1 << 20,
    LARGEST_PDU = 1 << 17,      /* a command_length above this is no PDU: the link is closed */
    OUTBOX_STOP = 64 << 20,     /* a client that does not read so much is not read from either */
    ID_DIGITS = 10,
    RESPONSE_OCTETS = HEADER + ID_DIGITS + 1,
    LARGEST_ANSWER = 512,       /* a response and a receipt together */
};

struct link {
    int fd;
    int watched;                /* the epoll events now asked for */
    int closing;
    uint32_t sequence;          /* of our deliver_sm */
    size_t have;                /* octets in `inbox` */
    uint8_t *inbox;
    uint8_t *outbox;
    size_t out_from, out_to, out_room;
};

static int wants_receipts;
static int events_fd;
static char message_id[ID_DIGITS + 1] = "0000000000";
static char day[11];            /* yymmddhhmm of the start: a receipt's dates do not cost a clock each */
static double first_submit_at, last_submit_at;     /* monotonic seconds of the reads that held them */
static unsigned long long submits, receipts, receipt_responses, strangers, sends, reads;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint8_t *room_for(struct link *link, size_t octets)
{
    if (link->out_from == link->out_to)
        link->out_from = link->out_to = 0;
    if (link->out_to + octets > link->out_room) {
        if (link->out_from) {
            memmove(link->outbox, link->outbox + link->out_from, link->out_to - link->out_from);
            link->out_to -= link->out_from;
            link->out_from = 0;
        }
        while (link->out_to + octets > link->out_room)
            link->out_room *= 2;
        link->outbox = realloc(link->outbox, link->out_room);
        if (!link->outbox)
            fail("realloc");
    }
    return link->outbox + link->out_to;
}

static void count_up(void)
{
    for (int i = ID_DIGITS - 1; i >= 0; i--) {
        if (message_id[i] != '9') {
            message_id[i]++;
            return;
        }
        message_id[i] = '0';
    }
}

/* A C-octet string at p, NUL included; 0 if it does not end before `end`. */
static size_t cstring(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *nul = end > p ? memchr(p, 0, (size_t)(end - p)) : NULL;
    return nul ? (size_t)(nul - p) + 1 : 0;
}

/* The receipt of the submit_sm at p, if it asked for one; sender and receiver change places. -> octets written */
static size_t write_receipt(struct link *link, const uint8_t *p, const uint8_t *end, uint8_t *out)
{
    const uint8_t *source, *dest, *tail;
    size_t n, source_octets, dest_octets;
    uint8_t *to, *length;
    int text;
    p += HEADER;
    if (!(n = cstring(p, end)))
        return 0;
    source = p + n;                                     /* ton, npi, address */
    if (source + 2 > end || !(n = cstring(source + 2, end)))
        return 0;
    source_octets = 2 + n;
    dest = source + source_octets;
    if (dest + 2 > end || !(n = cstring(dest + 2, end)))
        return 0;
    dest_octets = 2 + n;
    tail = dest + dest_octets + 3;                      /* behind esm_class, protocol_id, priority_flag */
    if (tail > end || !(n = cstring(tail, end)))
        return 0;
    tail += n;
    if (!(n = cstring(tail, end)) || tail + n >= end)
        return 0;
    if ((tail[n] & 3) != 1 || source_octets > 23 || dest_octets > 23)
        return 0;
    to = out + HEADER;
    *to++ = 0;
    memcpy(to, dest, dest_octets);
    to += dest_octets;
    memcpy(to, source, source_octets);
    to += source_octets;
    memcpy(to, "\x04\0\0\0\0\0\0\0\0", 9);              /* esm_class: a receipt */
    length = to + 9;
    to += 10;
    text = 0;
#define PUT(words, octets) (memcpy(to + text, words, octets), text += (int)(octets))
    PUT("id:", 3);
    PUT(message_id, ID_DIGITS);
    PUT(" sub:001 dlvrd:001 submit date:", 31);
    PUT(day, 10);
    PUT(" done date:", 11);
    PUT(day, 10);
    PUT(" stat:DELIVRD err:000 text:", 27);
#undef PUT
    *length = (uint8_t)text;
    to += text;
    memcpy(to, "\x00\x1E\x00\x0B", 4);                  /* receipted_message_id */
    memcpy(to + 4, message_id, ID_DIGITS + 1);
    to += 4 + ID_DIGITS + 1;
    memcpy(to, "\x04\x27\x00\x01\x02", 5);              /* message_state: delivered */
    to += 5;
    link->sequence = link->sequence % 0x7FFFFFFF + 1;
    header(out, (uint32_t)(to - out), DELIVER_SM, 0, link->sequence);
    receipts++;
    return (size_t)(to - out);
}

static void take(struct link *link, const uint8_t *p, uint32_t octets)
{
    uint32_t command = load32(p + 4), sequence = load32(p + 12);
    uint8_t *out = room_for(link, LARGEST_ANSWER), *to = out;
    switch (command) {
    case SUBMIT_SM:
        submits++;
        count_up();
        to = header(out, RESPONSE_OCTETS, SUBMIT_SM | RESPONSE, 0, sequence);
        memcpy(to, message_id, ID_DIGITS + 1);
        to += ID_DIGITS + 1;
        if (wants_receipts)
            to += write_receipt(link, p, p + octets, to);
        break;
    case DELIVER_SM | RESPONSE:
        receipt_responses++;
        break;
    case BIND_RECEIVER:
    case BIND_TRANSMITTER:
    case BIND_TRANSCEIVER:
        to = header(out, HEADER + 5, command | RESPONSE, 0, sequence);
        memcpy(to, "sink", 5);
        to += 5;
        break;
    case UNBIND:
        link->closing = 1;      /* and answered */
        /* fall through */
    case ENQUIRE_LINK:
        to = header(out, HEADER, command | RESPONSE, 0, sequence);
        break;
    default:
        if (command & RESPONSE)
            break;              /* of an enquire_link nobody sent: nothing is owed */
        strangers++;
        to = header(out, HEADER, GENERIC_NACK, INVALID_COMMAND, sequence);
    }
    link->out_to += (size_t)(to - out);
}

static void drop(struct link *link)
{
    close(link->fd);
    free(link->inbox);
    free(link->outbox);
    free(link);
}

/* -> 0 when the link is gone */
static int push(struct link *link)
{
    while (link->out_from < link->out_to) {
        ssize_t n = send(link->fd, link->outbox + link->out_from, link->out_to - link->out_from, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN)
                break;
            return 0;
        }
        sends++;
        link->out_from += (size_t)n;
    }
    size_t waiting = link->out_to - link->out_from;
    if (link->closing && !waiting)
        return 0;
    int wanted = (waiting < OUTBOX_STOP ? EPOLLIN : 0) | (waiting ? EPOLLOUT : 0);
    if (wanted != link->watched) {
        struct epoll_event event = {.events = (uint32_t)wanted, .data.ptr = link};
        epoll_ctl(events_fd, EPOLL_CTL_MOD, link->fd, &event);
        link->watched = wanted;
    }
    return 1;
}

static int pull(struct link *link)
{
    ssize_t n = recv(link->fd, link->inbox + link->have, INBOX - link->have, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    reads++;
    link->have += (size_t)n;
    unsigned long long before = submits;
    const uint8_t *p = link->inbox, *end = p + link->have;
    while (end - p >= HEADER) {
        uint32_t octets = load32(p);
        if (octets < HEADER || octets > LARGEST_PDU)
            return 0;
        if ((uint32_t)(end - p) < octets)
            break;
        take(link, p, octets);
        p += octets;
    }
    link->have = (size_t)(end - p);
    memmove(link->inbox, p, link->have);
    if (submits != before) {
        last_submit_at = seconds();
        if (!before)
            first_submit_at = last_submit_at;
    }
    return 1;
}

static void admit(int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct link *link = calloc(1, sizeof *link);
    if (!link)
        fail("calloc");
    link->fd = fd;
    link->watched = EPOLLIN;
    link->out_room = INBOX;
    link->inbox = malloc(INBOX);
    link->outbox = malloc(link->out_room);
    if (!link->inbox || !link->outbox)
        fail("malloc");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (epoll_ctl(events_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

int main(int count, char **words)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_octets = sizeof at;
    int option, one = 1;
    while ((option = getopt(count, words, "p:r")) != -1) {
        if (option == 'p')
            at.sin_port = htons((uint16_t)atoi(optarg));
        else if (option == 'r')
            wants_receipts = 1;
        else
            return 2;
    }
    /* Who started us may be killed; nobody else would ever stop us. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    time_t now = time(NULL);
    strftime(day, sizeof day, "%y%m%d%H%M", gmtime(&now));

    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    int stop_fd = signalfd(-1, &stop, SFD_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (stop_fd < 0 || listener < 0)
        fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 128) < 0)
        fail("listen");
    getsockname(listener, (struct sockaddr *)&at, &at_octets);
    events_fd = epoll_create1(EPOLL_CLOEXEC);
    /* NULL stands for the listener, the address of stop_fd for the signals. */
    struct epoll_event listen_event = {.events = EPOLLIN, .data.ptr = NULL};
    struct epoll_event stop_event = {.events = EPOLLIN, .data.ptr = &stop_fd};
    if (events_fd < 0 || epoll_ctl(events_fd, EPOLL_CTL_ADD, listener, &listen_event) < 0
        || epoll_ctl(events_fd, EPOLL_CTL_ADD, stop_fd, &stop_event) < 0)
        fail("epoll");
    printf("{\"port\": %d}\n", ntohs(at.sin_port));
    fflush(stdout);

    for (int stopped = 0; !stopped;) {
        struct epoll_event ready[64];
        int n = epoll_wait(events_fd, ready, 64, -1);
        for (int i = 0; i < n; i++) {
            struct link *link = ready[i].data.ptr;
            if (!link) {
                admit(listener);
            } else if ((void *)link == (void *)&stop_fd) {
                stopped = 1;
            } else {
                int is_up = 1;
                if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                    is_up = pull(link);
                if (!is_up || !push(link))
                    drop(link);
            }
        }
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
        + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"submits\": %llu, \"receipts\": %llu, \"receipt_responses\": %llu, \"strangers\": %llu, \"reads\": %llu, "
           "\"sends\": %llu, \"seconds\": %.6f, \"cpu_s\": %.6f}\n", submits, receipts, receipt_responses, strangers, reads, sends,
           last_submit_at - first_submit_at, cpu_s);
    return 0;
}
