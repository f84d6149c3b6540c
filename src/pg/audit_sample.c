#include "pg/audit_sample.h"

#include "base/check.h"

void audit_sample_init(struct audit_sample *sample, struct arena *arena,
                       const struct held_record *held)
{
    *sample = (struct audit_sample){
        .key = arena_copy(arena, held->key),
        .absent = held->absent,
        .version = held->version,
        .epoch = held->epoch,
        .stored_at_us = held->stored_at_us,
    };
}

void audit_sample_take_row(struct audit_sample *sample, struct arena *arena,
                           const struct table_row *row, int64_t updated_at_us,
                           const struct buffer *value)
{
    sample->has_row = true;
    sample->row_version = row->version;
    sample->row_expires_at_us = row->expires_at_us;
    sample->row_updated_at_us = updated_at_us;
    sample->has_value = value != NULL;
    if (value != NULL) {
        sample->row_value = arena_copy(arena, buffer_slice(value));
    }
}

bool audit_sample_is_held(const struct audit_sample *sample, const struct held_record *held)
{
    return held->is_believed && held->absent == sample->absent &&
           held->version == sample->version && held->epoch == sample->epoch &&
           held->stored_at_us == sample->stored_at_us;
}

enum audit_finding audit_sample_compare(const struct audit_sample *sample,
                                        const struct held_record *held)
{
    if (!sample->has_row) {
        return held->absent ? AUDIT_EQUAL : AUDIT_GONE;
    }
    if (held->absent) {
        return AUDIT_APPEARED;
    }
    if (held->version != sample->row_version) {
        return AUDIT_VERSION;
    }
    if (held->expires_at_us != sample->row_expires_at_us) {
        return AUDIT_EXPIRY;
    }
    // A write that draws no version leaves only this trace.
    return sample->has_value && !slice_equal(held->value, sample->row_value) ? AUDIT_VALUE
                                                                             : AUDIT_EQUAL;
}

const char *audit_finding_name(enum audit_finding finding)
{
    switch (finding) {
    case AUDIT_EQUAL:
        return "none";
    case AUDIT_GONE:
        return "the row is gone";
    case AUDIT_APPEARED:
        return "the row is there";
    case AUDIT_VERSION:
        return "version";
    case AUDIT_EXPIRY:
        return "expiry";
    case AUDIT_VALUE:
        return "value";
    }
    CHECK_VALUES(false, "finding %d", (int)finding);
    return NULL;
}
