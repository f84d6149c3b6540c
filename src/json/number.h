// Numbers of JSON and of MessagePack in their canonical kind (see json.h), read from decimal text
// or from a double, and printed again. Pure; any thread.
#pragma once

#include "json/decimal.h"

enum number_kind { NUMBER_UINT, NUMBER_INT, NUMBER_REAL, NUMBER_DECIMAL };

struct number {
    enum number_kind kind;
    union {
        uint64_t uint; // UINT: >= 0
        int64_t sint;  // INT: < 0
        double real;   // REAL: neither integral within the integers above, nor NaN or infinite
        struct decimal decimal;
    };
    // What jsonb's plain text takes for it, in bytes, where that is out of proportion to its
    // MessagePack; else 0.
    uint64_t expanded_bytes;
};

// Reads text that must be a JSON number from its first byte to its last. NULL, or what is wrong
// with it (static); the text must outlive a NUMBER_DECIMAL.
const char *number_from_text(struct slice text, struct number *number);

// NULL, or what is wrong with it: NaN and the infinities are not in JSON.
const char *number_from_real(double real, struct number *number);

// Appends it in the canonical spelling, which JSON and PostgreSQL's numeric read.
void number_print(const struct number *number, struct buffer *out);
