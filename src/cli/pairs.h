// Reads the pairs of an import as its bytes arrive, in the memory of the largest of them. Two
// forms:
//
//      lines     {"key": "a", "value": 1}                        a JSON object a line, with
//                {"key": "b", "value": [2], "ttl_ms": 5000}      members in any order
//      object    {"a": 1, "b": [2]}                              one JSON object of all pairs
//
// A line may say when its key expires, as `ttl_ms` or, absolutely, as `expires_at_us` (microseconds
// since 1970); `version`, which `scan` prints, is stepped over. Pure; the same answers however the
// bytes are cut into pieces.
#pragma once

#include "base/error.h"
#include "cli/members.h"

enum pairs_form { PAIRS_LINES, PAIRS_OBJECT };

// How far a reader has come, to go on there later.
struct pairs_position {
    uint64_t offset; // bytes behind the last pair
    uint64_t line;   // of that place, from 1
};

struct pairs_pair {
    struct slice key;
    struct slice value; // MessagePack
    uint64_t line;
    int64_t ttl_ms;        // 0: not said
    int64_t expires_at_us; // 0: not said
};

enum pairs_event {
    PAIRS_NEED_MORE, // all input is taken
    PAIRS_PAIR,
    PAIRS_BAD,    // one pair that is wrong; the next may be good
    PAIRS_BROKEN, // nothing that follows can be read; final
};

struct pairs {
    enum pairs_form form;
    struct members members; // of the object
    struct buffer text;     // the line so far
    bool is_line_too_large;
    bool is_line_lent;
    uint64_t at_line;
    uint64_t offset;
    uint64_t line; // of the last event, for the message
    // The pair handed out last:
    struct buffer key; // MessagePack str
    struct buffer value;
};

// Which form a text has whose first bytes these are (all of it, or at least 64 KiB): lines, where
// the first object begins as a line does ("key" with a string, or another member's name) and not as
// export writes one object of all pairs, which may have such names among its keys; or where lines
// that are wrong stand before one that does.
enum pairs_form pairs_detect(struct slice first);

// From the beginning, in front of which the caller has stepped over `skipped_bytes` (a byte order
// mark), or from where an earlier reader of that form was.
void pairs_init(struct pairs *pairs, enum pairs_form form, uint64_t skipped_bytes);
void pairs_resume(struct pairs *pairs, enum pairs_form form, const struct pairs_position *position);
void pairs_deinit(struct pairs *pairs);

// The next pair; takes bytes off the front of `input`. `pair` points into the reader until the next
// call. PAIRS_BAD and PAIRS_BROKEN come with a reason in `failure`; pairs->line says where.
enum pairs_event pairs_next(struct pairs *pairs, struct slice *input, struct pairs_pair *pair,
                            struct failure *failure);

// The same at the end of the input: a last line without an end. PAIRS_NEED_MORE: all is well and
// there is no more.
enum pairs_event pairs_finish(struct pairs *pairs, struct pairs_pair *pair,
                              struct failure *failure);

struct pairs_position pairs_position(const struct pairs *pairs);
