// Accepting writes: refused, recognized as a repeat, or given their seq and appended with their id.
// Part of the journal phase of a turn.
#include "cache/journal.h"

#include <stdio.h>

#include "base/check.h"
#include "base/checksum.h"
#include "base/words.h"

enum { ENTRY_OVERHEAD_BYTES = 256 };

void journal_refuse(struct turn_item *item, enum error error, const char *reason)
{
    struct request *request = item_request(item);
    item->fate = FATE_ANSWER;
    failure_note(&request->reply.failure, error, "%s: %s", call_words(&request->call).text, reason);
}

static void set_sqlstate(struct turn_item *item, const char *sqlstate)
{
    memcpy(item_request(item)->reply.failure.sqlstate, sqlstate, SQLSTATE_BYTES);
}

// How much earlier than asked for a write expires, so that what is set together does not have to
// be made anew together. A hash of its number is random enough; a touch means what it says.
static int64_t jitter_us(const struct turn *turn, const struct call *call, uint64_t seq,
                         int64_t ttl_us)
{
    int percent = turn->writer->settings->expiry.jitter_percent;
    if (percent == 0 || call->method == METHOD_TOUCH) {
        return 0;
    }
    uint64_t dice = sketch_hash(slice_of(&seq, sizeof seq)) >> 11;
    return (int64_t)((double)ttl_us * percent / 100 * ((double)dice * 0x1p-53));
}

// PostgreSQL's clock at the ack plus the time to live, without overflow.
static int64_t expiry_of(const struct turn *turn, const struct call *call, uint64_t seq)
{
    if (!call->has_ttl) {
        return call->has_expires_at ? call->expires_at_us : 0;
    }
    int64_t ttl_us, expires_at_us;
    if (__builtin_mul_overflow(call->ttl_ms, (int64_t)1000, &ttl_us)) {
        return INT64_MAX;
    }
    ttl_us -= jitter_us(turn, call, seq, ttl_us);
    return __builtin_add_overflow(turn->now_us, ttl_us, &expires_at_us) ? INT64_MAX : expires_at_us;
}

static enum error make_entry(struct turn *turn, struct turn_item *item)
{
    const struct request *request = item_request(item);
    const struct call *call = &request->call;
    if (call->method == METHOD_RETRY_DEAD_LETTER) {
        return journal_retry(turn, item);
    }
    entry_of_request(request, &item->entry);
    item->entry.seq = outbox_take_seq(&turn->writer->outbox);
    item->entry.accepted_us = turn->now_us;
    item->entry.expires_at_us = expiry_of(turn, call, item->entry.seq);
    if (call->condition == CONDITION_IF_VERSION &&
        store_holds(&turn->writer->store, call->pairs[0].key, call->if_version)) {
        item->entry.held_seq = turn->writer->applied_seq;
    }
    return ERROR_NONE;
}

// Refuses what came too late.
static bool is_in_time(const struct turn *turn, struct turn_item *item)
{
    const struct request *request = item_request(item);
    if (request->deadline_boot_us != 0 && request->deadline_boot_us <= turn->now_boot_us) {
        journal_refuse(item, ERROR_TIMEOUT, "not accepted in time; nothing was done");
        return false;
    }
    return true;
}

// Refuses a write whose result nobody could give now. Where PostgreSQL is there and what it said
// has stopped the flushing, the caller is told that, as those were who waited when it was said.
static bool has_connection(const struct turn *turn, struct turn_item *item)
{
    struct status *status = turn->writer->status;
    struct failure why = {0};
    if (!call_returns_result(&item_request(item)->call) ||
        status_get(status, STATUS_PG_FLUSHABLE) == 1) {
        return true;
    }
    if (!status_get_flush_error(status, &why)) {
        journal_refuse(item, ERROR_UNAVAILABLE, "no connection to PostgreSQL");
    } else if (status_get(status, STATUS_PG_REFUSED) == 1) {
        journal_refuse(item, ERROR_REJECTED, why.message);
        set_sqlstate(item, why.sqlstate);
    } else {
        char words[FAILURE_MESSAGE_BYTES + sizeof "no connection to PostgreSQL: "];
        snprintf(words, sizeof words, "no connection to PostgreSQL: %s", why.message);
        journal_refuse(item, ERROR_UNAVAILABLE, words);
        set_sqlstate(item, why.sqlstate);
    }
    return false;
}

// The first answer; where nobody had waited for it, a refusal is PostgreSQL's bare words.
static void tell_again(struct turn_item *item, struct slice bytes)
{
    static const char WORDS[] = "Failed to ";
    struct reply *reply = &item_request(item)->reply;
    if (reply_decode(bytes, reply) != ERROR_NONE) {
        journal_refuse(item, ERROR_INTERNAL, "the remembered answer is damaged");
    } else if (reply->failure.error != ERROR_NONE &&
               strncmp(reply->failure.message, WORDS, strlen(WORDS)) != 0) {
        struct failure bare = reply->failure;
        journal_refuse(item, bare.error, bare.message);
        set_sqlstate(item, bare.sqlstate);
    }
}

// The method and the keys, in whatever order: a client may hold those of an mset in a hash table.
// Values are left out: who makes a write anew may stamp it anew. Never 0.
static uint32_t subject_of(const struct call *call)
{
    uint64_t sum = checksum(slice_of_string(method_name(call->method)), call->seq);
    for (size_t i = 0; i < call->pairs_count; i++) {
        sum += checksum(call->pairs[i].key, 0);
    }
    uint32_t subject = (uint32_t)sum & OUTBOX_ID_SUBJECT_MAX;
    return subject != 0 ? subject : 1;
}

// A repeat gets the first answer, waits for it, or learns that it is not known.
static void repeat(struct turn *turn, struct turn_item *item, const struct outbox_id *first)
{
    struct request *request = item_request(item);
    bool waits = first->returns_result || request->call.ack == ACK_POSTGRES;
    request->seq = first->seq;
    item->fate = FATE_ANSWER;
    if (first->answered) {
        tell_again(item, first->reply);
    } else if (waits && first->seq > turn->writer->applied_seq) {
        item->fate = FATE_ATTACH;
    } else if (first->returns_result) {
        journal_refuse(item, ERROR_OUTCOME_UNKNOWN,
                       "done before; its result is not known any more");
        request->reply.failure.has_seq = true;
        request->reply.failure.seq = first->seq;
    } else {
        request->reply.seq = first->seq;
    }
}

// Whether the write has been here before. ERROR_NONE where it is to be done.
static enum error look_for_repeat(struct turn *turn, struct turn_item *item, bool *repeated)
{
    struct slice id = item_request(item)->call.id;
    struct outbox_id first;
    *repeated = false;
    if (id.len == 0) {
        return ERROR_NONE;
    }
    enum error error = outbox_find_id(&turn->writer->outbox, id, turn->now_us, &first);
    if (error == ERROR_NONE) {
        *repeated = true;
        if (first.subject != 0 && first.subject != subject_of(&item_request(item)->call)) {
            journal_refuse(item, ERROR_BAD_REQUEST,
                           "another write of the last ten minutes has this id (opts.id), by "
                           "another method or to other keys; nothing was done");
        } else {
            repeat(turn, item, &first);
        }
    }
    return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
}

static enum error append(struct turn *turn, struct turn_item *item)
{
    struct outbox *outbox = &turn->writer->outbox;
    enum error error = make_entry(turn, item);
    if (error != ERROR_NONE || item->fate == FATE_ANSWER) {
        return error;
    }
    size_t bytes = item->entry.pairs.len + item->entry.id.len + ENTRY_OVERHEAD_BYTES;
    error = outbox_make_capacity(outbox, bytes, journal_given_up_to(turn->writer));
    // Or letters that fill the outbox could only be discarded. Each is tried again once at a time,
    // so that together they take no more than as much again.
    if (error == ERROR_OVERLOADED && item->entry.letter_seq != 0) {
        error = ERROR_NONE;
    }
    if (error == ERROR_NONE && item->entry.id.len > 0) {
        error = outbox_bind_id(outbox, &item->entry, subject_of(&item_request(item)->call),
                               turn->now_us);
    }
    if (error == ERROR_NONE) {
        error = outbox_append(outbox, &item->entry);
    }
    return error;
}

// Who looks for the reason should not look at PostgreSQL where dead letters are to be dealt with,
// or where it is the ids that take the room.
static const char *full_because(const struct turn *turn, const struct turn_item *item)
{
    if (item->entry.id.len > 0 && outbox_ids_are_full(&turn->writer->outbox)) {
        return "the ids (opts.id) of the last ten minutes fill their half of writes.outbox_size";
    }
    return status_get(turn->writer->status, STATUS_OUTBOX_DEAD_LETTERS) > 0
               ? "the outbox is full, part of it with dead letters"
               : "the outbox is full";
}

enum error journal_write(struct turn *turn, struct turn_item *item)
{
    if (!is_in_time(turn, item)) {
        return ERROR_NONE;
    }
    bool repeated;
    enum error error = look_for_repeat(turn, item, &repeated);
    if (error != ERROR_NONE || repeated || !has_connection(turn, item)) {
        return error;
    }
    error = append(turn, item);
    if (error == ERROR_OVERLOADED) {
        journal_refuse(item, ERROR_OVERLOADED, full_because(turn, item));
        return ERROR_NONE;
    }
    if (error == ERROR_TOO_LARGE) {
        journal_refuse(item, ERROR_TOO_LARGE, "it is larger than writes.outbox_size allows");
        return ERROR_NONE;
    }
    return error;
}

void journal_memory_write(struct turn *turn, struct turn_item *item)
{
    if (is_in_time(turn, item)) {
        CHECK(make_entry(turn, item) == ERROR_NONE);
    }
}

void journal_refuse_full(struct turn_item *item)
{
    reply_deinit(&item_request(item)->reply);
    journal_refuse(item, ERROR_OVERLOADED, "the disk of the outbox is full");
}
