// Reads a MessagePack value as the JSON value that it stands for, a token at a time, from bytes
// that need not be trusted. Refuses what JSONB does not store: strings that are not UTF-8 or hold
// a NUL, bin, ext types but JSON_EXT_DECIMAL, keys that are not strings, NaN. Any thread; allocates
// nothing and does not recurse.
#pragma once

#include "base/mpack.h"
#include "json/complaint.h"
#include "json/json.h"
#include "json/number.h"

enum value_type {
    VALUE_NULL,
    VALUE_BOOL,
    VALUE_NUMBER,
    VALUE_STRING,
    VALUE_KEY,
    VALUE_OPEN_ARRAY,
    VALUE_OPEN_MAP,
    VALUE_CLOSE, // of what was opened last
    VALUE_END    // of the value, which is also that of the bytes
};

struct value_token {
    enum value_type type;
    size_t offset; // of the token in the bytes
    union {
        bool boolean;
        struct number number; // of kind DECIMAL: points into the bytes
        struct slice text;    // STRING and KEY: points into the bytes
        uint32_t count;       // OPEN_ARRAY: elements, OPEN_MAP: pairs, as the header has it
        bool of_map;          // CLOSE
    };
};

struct value_level {
    bool is_map;
    uint64_t missing; // elements, or keys and values, still to come
};

struct value_reader {
    struct mpack_cursor cursor;
    const uint8_t *begin;
    bool has_value; // the outermost value has begun
    int depth;
    // Deeper than a value may be: that is for who makes one of the tokens to refuse.
    struct value_level levels[JSON_DEPTH_MAX + JSON_AROUND_MAX];
};

// The bytes must stay as they are while the reader is in use.
void value_reader_init(struct value_reader *reader, struct slice msgpack);

// The next token; after VALUE_END there is none. False with a complaint where the bytes are no
// value that JSONB stores, are cut off, or go on behind it.
bool value_next(struct value_reader *reader, struct value_token *token,
                struct complaint *complaint);
