/* Big-endian words and the command ids both programs speak. SMPP 3.4 §3.2, §5.1.2.1. */

#ifndef LIMIT_WIRE_H
#define LIMIT_WIRE_H

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

enum {
    HEADER = 16,
    BIND_RECEIVER = 0x00000001,
    BIND_TRANSMITTER = 0x00000002,
    SUBMIT_SM = 0x00000004,
    DELIVER_SM = 0x00000005,
    UNBIND = 0x00000006,
    BIND_TRANSCEIVER = 0x00000009,
    ENQUIRE_LINK = 0x00000015,
};
#define RESPONSE 0x80000000u
#define GENERIC_NACK 0x80000000u
#define INVALID_COMMAND 0x00000003u

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, 4);
    return ntohl(word);
}

static inline void store32(uint8_t *p, uint32_t word)
{
    word = htonl(word);
    memcpy(p, &word, 4);
}

static inline uint8_t *header(uint8_t *p, uint32_t octets, uint32_t command, uint32_t status, uint32_t sequence)
{
    store32(p, octets);
    store32(p + 4, command);
    store32(p + 8, status);
    store32(p + 12, sequence);
    return p + HEADER;
}

#endif
