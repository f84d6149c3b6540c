#include "server/reception.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

void reception_init(struct reception *reception)
{
    *reception = (struct reception){.room = memory_zeroed(2, RECEPTION_READ_BYTES)};
}

void reception_deinit(struct reception *reception)
{
    CHECK(reception->count == 0);
    free(reception->room);
    reception->room = NULL;
}

bool reception_add(struct reception *reception, struct connection *connection, size_t len,
                   struct session *session, struct slice bytes)
{
    CHECK(reception->count < RECEPTION_COUNT_MAX && len <= RECEPTION_READ_BYTES);
    struct expected_get *gets = &reception->gets[reception->gets_count];
    struct receipt *receipt = &reception->receipts[reception->count++];
    *receipt = (struct receipt){
        .connection = connection,
        .bytes = slice_of(reception_room(reception), len),
        .gets = gets,
        .gets_count =
            session_expect(session, bytes, gets, EXPECTED_GETS_MAX - reception->gets_count),
    };
    reception->gets_count += receipt->gets_count;
    // The next begins on a line of its own.
    reception->used += (len + MEMORY_LINE_BYTES - 1) / MEMORY_LINE_BYTES * MEMORY_LINE_BYTES;
    return reception->count == RECEPTION_COUNT_MAX || reception->gets_count == EXPECTED_GETS_MAX ||
           reception->used > RECEPTION_READ_BYTES;
}

void reception_prepare(const struct reception *reception, struct dispatch *dispatch)
{
    // What one get waits for, it waits for wherever that is.
    for (size_t i = 0; i < reception->gets_count && reception->gets_count > 1; i++) {
        dispatch_expect_record(dispatch, reception->gets[i].hash);
    }
}

void reception_clear(struct reception *reception)
{
    reception->count = 0;
    reception->used = 0;
    reception->gets_count = 0;
}
