// What must hold of a call whatever protocol it came in (SPEC section 3, limits). Pure; any
// thread.
#pragma once

#include "base/request.h"

enum {
    TIMEOUT_MS_MAX = 86400000, // a day
    PREFIX_BYTES_MAX = KEY_BYTES_MAX
};

// A hundred years: far beyond any use, far below where PostgreSQL's timestamps end.
static const int64_t TTL_MS_MAX = 100ll * 366 * 86400 * 1000;
// The end of the year 9999.
static const int64_t EXPIRES_AT_US_MAX = 253402300799999999;

// ERROR_INVALID_KEY with the operation and the key in the message.
enum error check_key(enum method method, struct slice key, struct failure *failure);

// What `prefix` and `after` may be: empty, or what a key could begin with. `name` is theirs.
enum error check_key_part(enum method method, const char *name, struct slice part,
                          struct failure *failure);

// What holds between the parts of a decoded call: counts, and conditions that fit the method.
// Where a key stands more than once, its last pair is kept. Changes call->pairs in place.
enum error check_call(struct call *call, struct failure *failure);
