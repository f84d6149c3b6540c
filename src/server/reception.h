// What clients have sent and the loop has read, until it is taken. The connections that are ready
// are read one after another before the first of them is answered, in groups: what the gets of one
// look at comes from memory while the next one is read.
//
//      room   | bytes of A | bytes of B | ...      read into, one behind the other
//      gets   | A: 1, 2 | B: 1 | ...               those that the bytes of each begin with
//
// A group is complete at any of its bounds; then, and before anything else of the pass is done
// (mail, time), all of it is taken. So nobody waits for more than a group, and no connection closes
// with a receipt out.
//
// On the loop's thread.
#pragma once

#include "server/session.h"

enum {
    RECEPTION_COUNT_MAX = 16,
    RECEPTION_READ_BYTES = 64 << 10, // that one read may bring
};

struct connection;

struct receipt {
    struct connection *connection;
    struct slice bytes; // in the room; empty: in the connection's own buffer
    const struct expected_get *gets;
    size_t gets_count;
};

struct reception {
    uint8_t *room; // of two reads
    size_t used;
    size_t count;
    size_t gets_count;
    struct receipt receipts[RECEPTION_COUNT_MAX];
    struct expected_get gets[EXPECTED_GETS_MAX];
};

void reception_init(struct reception *reception);
// Of an empty one.
void reception_deinit(struct reception *reception);

// Where the next read of RECEPTION_READ_BYTES may put its bytes.
static inline uint8_t *reception_room(const struct reception *reception)
{
    return reception->room + reception->used;
}

// Adds what came of a connection that is not in it: the first `len` bytes of the room, or, where
// they are in its own buffer, 0. `bytes` is all there is to take. True where the group is complete.
bool reception_add(struct reception *reception, struct connection *connection, size_t len,
                   struct session *session, struct slice bytes);

// Begins to fetch the second part of what the gets look at.
void reception_prepare(const struct reception *reception, struct dispatch *dispatch);

// It was taken.
void reception_clear(struct reception *reception);
