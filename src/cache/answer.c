// Where the messages of a turn go when both commits are done: requests home or to the pg worker,
// reports back to the pg worker, changes to the servers that have watchers.
#include "cache/answer.h"

#include "base/check.h"
#include "base/log.h"
#include "base/words.h"

// ---- requests and reports

static void pass_to_pg(struct writer *writer, struct message *message)
{
    CHECK(writer->pg != NULL);
    mailbox_push(writer->pg, message);
}

static void send_home(struct request *requests)
{
    while (requests != NULL) {
        struct request *next = requests->sibling;
        requests->sibling = NULL;
        request_finish(requests);
        requests = next;
    }
}

static void answer_write(struct turn *turn, struct turn_item *item)
{
    struct request *request = (struct request *)item->message;
    request->seq = item->entry.seq;
    request->reply.seq = item->entry.seq;
    if (request->call.ack == ACK_POSTGRES || entry_returns_result(&item->entry)) {
        pass_to_pg(turn->writer, item->message);
    } else {
        request_finish(request);
    }
}

static void answer_flush(struct turn *turn, struct request *request)
{
    uint64_t last_seq = turn->writer->last_seq;
    bool names_seq = request->call.has_seq && request->call.seq < last_seq;
    request->after_seq = names_seq ? request->call.seq : last_seq;
    request->reply.seq = request->after_seq;
    pass_to_pg(turn->writer, &request->message);
}

static void answer_attached(struct turn *turn, struct turn_item *item)
{
    struct request *request = (struct request *)item->message;
    if (request->seq <= turn->writer->applied_seq) {
        // Its answer came in this very turn: the next one finds it.
        item->message->next = turn->writer->backlog;
        turn->writer->backlog = item->message;
    } else {
        pass_to_pg(turn->writer, item->message);
    }
}

// ---- dead letters

enum { LETTERS_BYTES_MAX = 32 << 20 }; // read for one answer

static const char *op_name(const struct entry *entry)
{
    static const enum method METHODS[] = {
        [ENTRY_SET] = METHOD_SET,     [ENTRY_DELETE] = METHOD_DELETE, [ENTRY_INCR] = METHOD_INCR,
        [ENTRY_MERGE] = METHOD_MERGE, [ENTRY_TOUCH] = METHOD_TOUCH,
    };
    bool is_mset = entry->op == ENTRY_SET && entry->pairs_count > 1;
    return method_name(is_mset ? METHOD_MSET : METHODS[entry->op]);
}

static bool list_letter(void *context, const struct outbox_letter *found)
{
    struct request *request = context;
    struct reply *reply = &request->reply;
    struct entry_cursor cursor = entry_cursor_of(&found->entry);
    struct pair first = {0};
    bool has_key = entry_next_pair(&cursor, &first);
    CHECK(has_key);
    reply->letters[reply->letters_count++] = (struct letter){
        .seq = found->seq,
        .op = op_name(&found->entry),
        .keys_count = found->entry.pairs_count,
        .key = arena_copy(&reply->arena, first.key),
        .sqlstate = arena_copy(&reply->arena, found->sqlstate),
        .message = arena_copy(&reply->arena, found->text),
        .at_us = found->at_us,
    };
    return reply->letters_count < request->call.limit;
}

static void answer_letters(struct writer *writer, struct request *request)
{
    struct reply *reply = &request->reply;
    reply->letters = arena_alloc(&reply->arena, request->call.limit * sizeof *reply->letters);
    enum error error = outbox_visit_letters(&writer->outbox, request->call.after_seq,
                                            LETTERS_BYTES_MAX, list_letter, request);
    if (error == ERROR_NONE) {
        request_finish(request);
    } else {
        request_fail(request, ERROR_INTERNAL, "Failed to list dead letters: %s", error_text(error));
    }
}

static void answer_request(struct turn *turn, struct turn_item *item)
{
    struct request *request = (struct request *)item->message;
    if (item->fate == FATE_ANSWER) {
        request_finish(request);
    } else if (item->fate == FATE_ATTACH) {
        answer_attached(turn, item);
    } else if (method_class(request->call.method) == METHOD_WRITE) {
        answer_write(turn, item);
    } else if (method_flushes(request->call.method) && !request->is_flushed) {
        answer_flush(turn, request);
    } else if (request->call.method == METHOD_DEAD_LETTERS) {
        answer_letters(turn->writer, request);
    } else {
        // sync, restore: what came before is in the cache. What is discarded has its answer.
        request->reply.boolean |= request->call.method != METHOD_DISCARD_DEAD_LETTER;
        request_finish(request);
    }
}

static void answer_flushed(struct turn *turn, struct flushed_message *flushed)
{
    send_home(flushed->requests);
    flushed->requests = NULL;
    pass_to_pg(turn->writer, &flushed->message);
}

static void answer_retire(struct turn *turn, struct retire_message *retire)
{
    send_home(retire->requests);
    retire->requests = NULL;
    pass_to_pg(turn->writer, &retire->message);
}

static void answer_bind(struct turn *turn, struct bind_message *bind)
{
    struct outbox_identity *identity = &turn->writer->outbox.identity;
    identity->binding = bind->binding;
    identity->former_seq = turn->writer->outbox.committed.former_seq;
    bind->former_seq = identity->former_seq;
    if (identity->server.started_us == 0) {
        identity->server = bind->server;
        control_note_server(turn->writer->store.control.page, bind->server.started_us,
                            bind->server.timeline);
    }
    pass_to_pg(turn->writer, &bind->message);
}

// ---- changes for watchers

static struct changes_message *copy_changes(const struct changes_message *changes)
{
    struct changes_message *copy = message_create(MESSAGE_CHANGES, sizeof *copy);
    copy->own = changes->own;
    copy->truncated = changes->truncated;
    copy->resync = changes->resync;
    copy->changes_count = changes->changes_count;
    copy->changes = arena_alloc(&copy->arena, changes->changes_count * sizeof changes->changes[0]);
    for (size_t i = 0; i < changes->changes_count; i++) {
        copy->changes[i] = changes->changes[i];
        copy->changes[i].key = arena_copy(&copy->arena, changes->changes[i].key);
    }
    copy->message.bytes = sizeof *copy + copy->arena.bytes;
    return copy;
}

static const struct changes_message RESYNC = {.resync = true};

// A server that cannot keep up is told to resync instead, once there is room for that.
static void tell_server(struct writer *writer, size_t server, const struct changes_message *changes)
{
    bool owes = writer->resync_owed[server];
    struct changes_message *copy = copy_changes(owes ? &RESYNC : changes);
    if (mailbox_offer(writer->servers[server], &copy->message)) {
        writer->resync_owed[server] = false;
    } else {
        message_destroy(&copy->message);
        writer->resync_owed[server] = true;
    }
}

static void tell_watchers(struct writer *writer, const struct changes_message *changes)
{
    if (status_get(writer->status, STATUS_SERVER_WATCHERS) == 0) {
        return;
    }
    for (size_t i = 0; i < writer->servers_count; i++) {
        tell_server(writer, i, changes);
    }
}

void answer_owed_resyncs(struct writer *writer)
{
    for (size_t i = 0; i < writer->servers_count; i++) {
        if (writer->resync_owed[i]) {
            tell_server(writer, i, &RESYNC);
        }
    }
}

// ---- items

// The cache has them now, or never will.
static void return_fills(struct writer *writer, struct fills_message *fills)
{
    if (fills->number != 0 && writer->pg != NULL) {
        pass_to_pg(writer, &fills->message);
    } else {
        message_destroy(&fills->message);
    }
}

void answer_item(struct turn *turn, struct turn_item *item)
{
    switch ((enum message_kind)item->message->kind) {
    case MESSAGE_REQUEST:
        answer_request(turn, item);
        return;
    case MESSAGE_FLUSHED:
        answer_flushed(turn, (struct flushed_message *)item->message);
        return;
    case MESSAGE_RETIRE:
        answer_retire(turn, (struct retire_message *)item->message);
        return;
    case MESSAGE_BIND:
        answer_bind(turn, (struct bind_message *)item->message);
        return;
    case MESSAGE_REWIND:
        pass_to_pg(turn->writer, item->message);
        return;
    case MESSAGE_CHANGES:
        tell_watchers(turn->writer, (struct changes_message *)item->message);
        break;
    case MESSAGE_FILLS:
        return_fills(turn->writer, (struct fills_message *)item->message);
        return;
    case MESSAGE_FEED:
    case MESSAGE_SWEPT:
        break;
    }
    message_destroy(item->message);
}

// The cache is lost, the outbox is not: what is journaled will be done.
void answer_turn_failed(struct turn *turn)
{
    for (size_t i = 0; i < turn->count; i++) {
        struct turn_item *item = &turn->items[i];
        buffer_deinit(&item->bytes);
        if (item->message->kind == MESSAGE_FILLS) {
            return_fills(turn->writer, (struct fills_message *)item->message);
            continue;
        }
        if (item->message->kind != MESSAGE_REQUEST) {
            message_destroy(item->message);
            continue;
        }
        struct request *request = (struct request *)item->message;
        if (item->fate == FATE_ANSWER) {
            request_finish(request);
        } else if ((turn->is_journaled || turn->is_logged || turn->is_ringed) &&
                   item->entry.seq != 0) {
            request->reply.failure.has_seq = true;
            request->reply.failure.seq = item->entry.seq;
            request_fail(request, ERROR_OUTCOME_UNKNOWN,
                         "%s: the cache or the outbox failed; the write may be queued",
                         call_words(&request->call).text);
        } else {
            request_fail(request, ERROR_INTERNAL, "%s: the cache or the outbox failed",
                         call_words(&request->call).text);
        }
    }
}
