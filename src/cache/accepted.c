// A write moves to the outbox by a commit there, after which its row goes. So the rows are copied
// first: what is missing in them is in the outbox by then. What is in both is older than what is a
// row alone.
//
// Rows begin with the turn that takes a write on, which may still come to nothing (a full disk) and
// is not in the cache yet: those of a turn that is not through are passed by.
#include "cache/accepted.h"

#include "base/fault.h"

struct visiting {
    bool (*visit)(void *context, const struct entry *entry);
    void *context;
    uint64_t last_seq; // that was visited
    bool goes_on;
};

static bool pass_on(void *context, const struct entry *entry)
{
    struct visiting *visiting = context;
    visiting->last_seq = entry->seq;
    visiting->goes_on = visiting->visit(visiting->context, entry);
    return visiting->goes_on;
}

// Those that the mover has are older than the others.
static void copy_rows(struct writer *writer, struct buffer *copy)
{
    struct memory_writes *memory = &writer->memory;
    pthread_mutex_lock(&memory->mutex);
    buffer_append_slice(copy, buffer_slice(&writer->mover.move.rows.bytes));
    buffer_append_slice(copy, buffer_slice(&memory->rows.bytes));
    pthread_mutex_unlock(&memory->mutex);
}

enum error accepted_visit(struct writer *writer, uint64_t after_seq,
                          bool (*visit)(void *context, const struct entry *entry), void *context)
{
    struct visiting visiting = {
        .visit = visit, .context = context, .last_seq = after_seq, .goes_on = true};
    struct buffer rows = {0};
    uint64_t accepted_seq = (uint64_t)status_get(writer->status, STATUS_OUTBOX_LAST_SEQ);
    copy_rows(writer, &rows);
    enum error error = FAULT_POINT(CACHE_VISIT) ? ERROR_SYSTEM
                                                : outbox_visit(&writer->outbox, after_seq,
                                                               UINT64_MAX, pass_on, &visiting);
    if (error == ERROR_NONE && visiting.goes_on) {
        const struct rows_cursor cursor = {.rest = buffer_slice(&rows)};
        error = rows_visit(cursor, visiting.last_seq, accepted_seq, pass_on, &visiting);
    }
    buffer_deinit(&rows);
    return error;
}
