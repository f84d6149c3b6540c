// What the load generator says to each contestant: how a request is written and where a response
// ends. One client drives them all and differs in nothing else. Pure; one thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum { REQUEST_BYTES_MAX = 256 }; // beyond the value

enum reply_kind {
    REPLY_NEED_MORE,
    REPLY_BAD, // not the protocol: the run ends
    REPLY_HIT, // a value
    REPLY_MISS,
    REPLY_DONE, // a write, or a scan
    REPLY_ERROR,
};

struct reply_seen {
    enum reply_kind kind;
    size_t consumed;
    bool has_tag;
    uint32_t tag;       // of the request, where responses may overtake each other
    struct slice value; // REPLY_HIT
    struct slice text;  // REPLY_ERROR: what the server said
};

// Each writes at `out`, which has room for REQUEST_BYTES_MAX and the value, and returns how much.
struct protocol {
    const char *name;
    size_t (*get)(uint8_t *out, uint32_t tag, const char *key);
    size_t (*set)(uint8_t *out, uint32_t tag, const char *key, struct slice value);
    size_t (*scan)(uint8_t *out, uint32_t tag, const char *key, uint32_t limit); // NULL: has none
    // The first response of `bytes`.
    void (*parse)(struct slice bytes, struct reply_seen *seen);
};

// NULL where there is none of this name.
const struct protocol *protocol_of_name(const char *name);

// The protocols' own settings, before the first request: the ack that pgneard's sets ask for
// (NULL: the daemon's default), and the sizes that the echo exchanges.
void protocol_pgnear_set_ack(const char *ack);
void protocol_echo_set_sizes(size_t request_bytes, size_t reply_bytes);

extern const struct protocol PROTOCOL_PGNEAR;
extern const struct protocol PROTOCOL_REDIS;
extern const struct protocol PROTOCOL_MEMCACHED;
extern const struct protocol PROTOCOL_ECHO;
