// Splits the text of one JSON object into its members as its bytes arrive, so that an object of
// gigabytes is read with the memory of its largest member:
//
//      {"a": 1, "b": [2, 3]}        name "a", value 1; name "b", value [2, 3]
//
// It sees structure only: where strings, arrays and objects end. Whether a name or a value is JSON
// is for json/json.h to say. Pure: no I/O, no recursion, and the same answers however the bytes are
// cut into pieces.
#pragma once

#include "base/buffer.h"

// Of the text of a name or a value. What is longer is stepped over and marked.
enum { MEMBERS_NAME_BYTES_MAX = 16 * 1024, MEMBERS_VALUE_BYTES_MAX = 64 * 1024 * 1024 };

enum members_state {
    MEMBERS_BEFORE,       // of the '{'
    MEMBERS_FIRST,        // a name or '}'
    MEMBERS_BEFORE_NAME,  // behind a ','
    MEMBERS_IN_NAME,      // behind its '"'
    MEMBERS_BEFORE_COLON, // behind its name
    MEMBERS_BEFORE_VALUE,
    MEMBERS_IN_VALUE,
    MEMBERS_AFTER, // of the '}'
    MEMBERS_BROKEN_STATE,
};

enum members_event {
    MEMBERS_NEED_MORE,
    MEMBERS_MEMBER,
    MEMBERS_BROKEN, // not an object, for `reason`; final
};

struct members {
    enum members_state state;
    uint32_t depth; // of the arrays and objects open in the value
    bool in_string;
    bool is_escaped; // behind a backslash
    bool is_lent;    // name and value were handed out
    // The member handed out last, valid until the next call:
    struct buffer name;  // JSON text with its quotes
    struct buffer value; // JSON text
    bool is_too_large;   // name and value are cut
    uint64_t line;       // where its name begins, from 1
    // How far it has come:
    uint64_t offset; // bytes taken
    uint64_t at_line;
    const char *reason; // of MEMBERS_BROKEN
};

// From the beginning of the text.
void members_init(struct members *members);
// From behind the ',' after a member, where an earlier run was at that offset and line.
void members_resume(struct members *members, uint64_t offset, uint64_t line);
void members_deinit(struct members *members);

// Takes bytes off the front of `input`: all of them, or up to the end of a member.
enum members_event members_next(struct members *members, struct slice *input);

// Whether the object is closed, where there is no more input.
static inline bool members_is_closed(const struct members *members)
{
    return members->state == MEMBERS_AFTER;
}
