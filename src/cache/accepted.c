// A write acknowledged in memory moves to the outbox by a commit there, after which a commit of the
// cache takes it out of `memory`. So the snapshot of `memory` is taken first: what is missing in it
// is in the outbox by then. What is in both is older than what is in `memory` alone.
#include "cache/accepted.h"

#include <errno.h>

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

enum error accepted_visit(struct store *store, struct outbox *outbox, uint64_t after_seq,
                          bool (*visit)(void *context, const struct entry *entry), void *context)
{
    struct visiting visiting = {
        .visit = visit, .context = context, .last_seq = after_seq, .goes_on = true};
    struct store_files *files = store_acquire(store);
    MDB_txn *txn = NULL;
    MDB_cursor *cursor;
    int code =
        FAULT_POINT(CACHE_VISIT) ? ENOMEM : mdb_txn_begin(files->env, NULL, MDB_RDONLY, &txn);
    if (code == MDB_SUCCESS) {
        code = mdb_cursor_open(txn, files->memory, &cursor);
    }
    enum error error = environment_error(code);
    if (error == ERROR_NONE) {
        error = outbox_visit(outbox, after_seq, UINT64_MAX, pass_on, &visiting);
        if (error == ERROR_NONE && visiting.goes_on) {
            error = outbox_visit_rows(cursor, visiting.last_seq, UINT64_MAX, pass_on, &visiting);
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    store_release(store, files);
    return error;
}
