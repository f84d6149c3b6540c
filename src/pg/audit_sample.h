// What the audit knows of one record: what was held when PostgreSQL was asked, and what it said.
// Pure; the pg worker's thread.
#pragma once

#include "base/arena.h"
#include "base/ports.h"
#include "pg/table_row.h"

enum audit_finding {
    AUDIT_EQUAL,
    AUDIT_GONE,
    AUDIT_APPEARED,
    AUDIT_VERSION,
    AUDIT_EXPIRY,
    AUDIT_VALUE
};

struct audit_sample {
    struct slice key;
    // As held when it was asked about:
    bool absent;
    int64_t version;
    uint64_t epoch;
    int64_t stored_at_us;
    // PostgreSQL's answer:
    bool has_row;
    bool has_value; // the row's value is known, and within the limits
    int64_t row_version;
    int64_t row_expires_at_us;
    int64_t row_updated_at_us;
    struct slice row_value; // canonical msgpack
};

// Slices are copied into `arena`.
void audit_sample_init(struct audit_sample *sample, struct arena *arena,
                       const struct held_record *held);

// Takes the row of the key; `value` is its value, NULL where it is not known.
void audit_sample_take_row(struct audit_sample *sample, struct arena *arena,
                           const struct table_row *row, int64_t updated_at_us,
                           const struct buffer *value);

// Whether the very record that was asked about is still held and believed.
bool audit_sample_is_held(const struct audit_sample *sample, const struct held_record *held);

// How the record that is held differs from what PostgreSQL said.
enum audit_finding audit_sample_compare(const struct audit_sample *sample,
                                        const struct held_record *held);

// "version" and the like; static.
const char *audit_finding_name(enum audit_finding finding);
