// A commit of the outbox that the mover does (cache/mover.h), while the writer goes on with the
// log. What is in the log goes on to count, though the outbox has it by then.
#include "base/check.h"
#include "base/fault.h"
#include "cache/outbox.h"

enum error outbox_confirm(struct outbox *outbox, const struct outbox_move *move)
{
    struct outbox_state *state = &outbox->state;
    if (move->applied_seq > state->applied_seq) {
        state->applied_seq = move->applied_seq;
    }
    if (move->server.started_us != 0) {
        state->server = move->server;
    }
    bool more;
    enum error error = outbox_trim(outbox, move->trim_seq, move->trim_count_max);
    return error == ERROR_NONE
               ? outbox_expire_ids(outbox, move->now_us, move->expire_count_max, &more)
               : error;
}

static enum error append_rows(struct outbox *outbox, const struct rows *rows)
{
    struct rows_cursor cursor = rows_cursor_of(rows);
    enum error error = FAULT_POINT(MOVE_MEMORY) ? ERROR_SYSTEM : ERROR_NONE;
    uint64_t seq;
    struct slice entry;
    while (error == ERROR_NONE && rows_next(&cursor, &seq, &entry)) {
        error = outbox_append_moved(outbox, seq, entry);
    }
    return error;
}

enum error outbox_move(struct outbox *outbox, const struct outbox_move *move)
{
    enum error error = outbox_begin(outbox, 0);
    if (error != ERROR_NONE) {
        return error;
    }
    error = outbox_confirm(outbox, move);
    if (error == ERROR_NONE) {
        error = append_rows(outbox, &move->rows);
    }
    if (error != ERROR_NONE) {
        mdb_txn_abort(outbox->txn);
        outbox->txn = NULL;
        return error;
    }
    outbox->state.layout = move->layout;
    error = outbox_write_out(outbox);
    if (error == ERROR_NONE) {
        (void)FAULT_POINT(OUTBOX_AFTER_SYNC);
    }
    return error;
}

void outbox_note_move(struct outbox *outbox, enum error error, const struct rows *rows)
{
    CHECK(outbox->txn == NULL);
    if (error != ERROR_NONE) {
        outbox->state = outbox->committed;
        return;
    }
    outbox->committed = outbox->state;
    outbox->moved += rows_count_up_to(rows, outbox->log.last_seq);
}
