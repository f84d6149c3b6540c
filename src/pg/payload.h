// What a notification of the table says (docs/architecture.md, "What a payload looks like"):
//
//      ["<origin>", [["key", version], ["key", version, 1], ...]]     1: deleted
//      ["<origin>", "truncate"]
//      ["<origin>", "sweep"]            more was changed than notifications can carry
//
// The origin is the node whose flush made the change, "" for everybody else. Whoever may NOTIFY in
// the database may send anything, so the decoder trusts nothing: a payload that is none of the
// above is BAD, and BAD is to be treated as a sweep, since a change may have been meant.
#pragma once

#include "base/messages.h"

enum { PAYLOAD_BYTES_MAX = 8000 }; // PostgreSQL's limit (NOTIFY, "Description")

enum payload_kind { PAYLOAD_CHANGES, PAYLOAD_TRUNCATE, PAYLOAD_SWEEP, PAYLOAD_BAD };

// Pure; any thread. `origin` points into `bytes` and is "" where foreign; not set where BAD.
// `changes` is set on PAYLOAD_CHANGES only, to a message of the caller's to post or to destroy.
// Keys that no cache may hold (empty, beyond KEY_BYTES_MAX) are left out.
enum payload_kind payload_decode(struct slice bytes, struct slice *origin,
                                 struct changes_message **changes);
