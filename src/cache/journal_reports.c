// What PostgreSQL's side asks to have written down: answers to ids, entries that it will never
// have, how far it is behind after a failover. Part of the journal phase of a turn.
#include "cache/journal.h"

#include "base/check.h"
#include "base/log.h"

// Decided against: the caller is about to hear that nothing was done.
static bool is_refused(const struct request *request)
{
    return request->reply.failure.error == ERROR_CONFLICT && request->seq != 0;
}

bool journal_concerns(const struct flushed_message *flushed)
{
    const struct request *request = flushed->requests;
    while (request != NULL && !is_refused(request)) {
        request = request->sibling;
    }
    return request != NULL || flushed->answers_count > 0 || flushed->letters_count > 0;
}

// Before the answer goes out: a node that ends here, and finds a server that has lost the batch,
// would decide the entry anew.
static enum error retire_refused(struct turn *turn, const struct flushed_message *flushed)
{
    struct outbox *outbox = &turn->writer->outbox;
    struct buffer bytes = {0};
    enum error error = ERROR_NONE;
    for (const struct request *request = flushed->requests; error == ERROR_NONE && request != NULL;
         request = request->sibling) {
        struct entry entry;
        if (!is_refused(request)) {
            continue;
        }
        error = outbox_get(outbox, request->seq, &bytes, &entry);
        if (error == ERROR_NONE) {
            error = outbox_retire(outbox, &entry, NULL, turn->now_us);
        } else if (error == ERROR_NOT_FOUND) {
            error = ERROR_NONE;
        }
    }
    buffer_deinit(&bytes);
    return error;
}

enum error journal_flushed(struct turn *turn, const struct flushed_message *flushed)
{
    enum error error = retire_refused(turn, flushed);
    for (size_t i = 0; error == ERROR_NONE && i < flushed->answers_count; i++) {
        error = outbox_answer_id(&turn->writer->outbox, &flushed->answers[i]);
    }
    return error == ERROR_NONE ? journal_forget_letters(turn, flushed) : error;
}

// What a repeat of the retired write is told: that it was refused; nothing where it was cancelled,
// since it may be done then; the first answer where nobody waited for another.
static enum error journal_retired_id(struct turn *turn, const struct turn_item *item)
{
    struct outbox *outbox = &turn->writer->outbox;
    const struct retire_message *retire = (struct retire_message *)item->message;
    if (item->entry.id.len == 0) {
        return ERROR_NONE;
    }
    if (retire->reason == RETIRE_CANCELLED) {
        return outbox_forget_id(outbox, item->entry.id, retire->seq);
    }
    if (retire->reason == RETIRE_DEAD_LETTER && !entry_returns_result(&item->entry)) {
        return ERROR_NONE;
    }
    struct reply reply = {0};
    if (retire->requests != NULL) {
        reply.failure = retire->requests->reply.failure;
    } else {
        failure_note(&reply.failure, retire->is_conflict ? ERROR_CONFLICT : ERROR_REJECTED, "%s",
                     retire->text);
        reply.failure.has_version = retire->has_version;
        reply.failure.version = retire->version;
        memcpy(reply.failure.sqlstate, retire->sqlstate, SQLSTATE_BYTES);
    }
    struct buffer bytes = {0};
    reply_encode(&reply, &bytes);
    const struct id_answer answer = {
        .id = item->entry.id,
        .seq = retire->seq,
        .reply = buffer_slice(&bytes),
    };
    enum error error = outbox_answer_id(outbox, &answer);
    buffer_deinit(&bytes);
    return error;
}

enum error journal_retire(struct turn *turn, struct turn_item *item)
{
    struct outbox *outbox = &turn->writer->outbox;
    const struct retire_message *retire = (struct retire_message *)item->message;
    enum error error = outbox_get(outbox, retire->seq, &item->bytes, &item->entry);
    if (error == ERROR_NOT_FOUND) {
        LOG_WARNING("nothing to retire", LOG_INT("seq", retire->seq));
        item->entry = (struct entry){.seq = retire->seq};
        return ERROR_NONE;
    }
    bool is_letter = false;
    if (error == ERROR_NONE && item->entry.letter_seq != 0) {
        error = journal_letter_stays(turn, item, &is_letter);
    }
    if (error == ERROR_NONE) {
        bool parks = retire->reason == RETIRE_DEAD_LETTER && !is_letter;
        error = outbox_retire(outbox, &item->entry, parks ? retire : NULL, turn->now_us);
    }
    return error == ERROR_NONE ? journal_retired_id(turn, item) : error;
}

// The transaction has confirmed all that is applied. What is held is of what the outbox was bound
// to: the page says so before it cannot be told from the outbox any more.
enum error journal_bind(struct turn *turn, const struct bind_message *bind)
{
    struct writer *writer = turn->writer;
    CHECK_VALUES(writer->outbox.state.applied_seq >= writer->applied_seq, "%llu of %llu",
                 (unsigned long long)writer->outbox.state.applied_seq,
                 (unsigned long long)writer->applied_seq);
    if (outbox_is_bound_elsewhere(&writer->outbox, &bind->binding)) {
        control_disown_server(writer->store.control.page);
    }
    return outbox_bind(&writer->outbox, &bind->binding, &bind->server);
}

void journal_rewind(struct turn *turn, struct rewind_message *rewind)
{
    struct outbox_state *state = &turn->writer->outbox.state;
    if (state->trimmed_seq > rewind->applied_seq) {
        rewind->lost_from = rewind->applied_seq + 1;
        rewind->lost_to = state->trimmed_seq;
    }
    if (state->reapply_seq < rewind->decided_to_seq) {
        state->reapply_seq = rewind->decided_to_seq;
    }
    state->applied_seq =
        rewind->applied_seq > state->trimmed_seq ? rewind->applied_seq : state->trimmed_seq;
}
