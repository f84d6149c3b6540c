#include "pg/batch_outcome.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/mpack.h"
#include "base/words.h"
#include "pg/pg_array.h"
#include "pg/table_row.h"

// The columns of the queries in batch_sql.c.
enum { PLAIN_KEY, PLAIN_VERSION, PLAIN_ALTERED };
enum { FULL_KEY, FULL_APPLIED, FULL_VERSION, FULL_ALTERED, FULL_VALUE, FULL_EXPIRES_AT };

// The bytes of a binary jsonb begin with its format, 1.
enum { JSONB_HEADER_BYTES = 1 };

// ---- PostgreSQL's answers

static struct slice field(const PGresult *result, int row, int column)
{
    return slice_of(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
}

static bool field_bool(const PGresult *result, int row, int column)
{
    return !PQgetisnull(result, row, column) && *PQgetvalue(result, row, column) != 0;
}

static int64_t field_int8(const PGresult *result, int row, int column)
{
    CHECK_VALUES(PQgetlength(result, row, column) == 8, "%d bytes",
                 PQgetlength(result, row, column));
    return pg_read_int8(PQgetvalue(result, row, column));
}

// A value beyond our limits stays unread: the write is applied, its value is not for the cache.
static struct slice read_value(struct batch *batch, struct slice jsonb,
                               const struct json_limits *limits)
{
    struct buffer msgpack = {0};
    struct slice value = {0};
    CHECK(jsonb.len > JSONB_HEADER_BYTES);
    struct slice json = slice_of(jsonb.at + JSONB_HEADER_BYTES, jsonb.len - JSONB_HEADER_BYTES);
    if (json_to_msgpack(json, limits, &msgpack, NULL) == ERROR_NONE) {
        value = arena_copy(&batch->arena, buffer_slice(&msgpack));
    }
    buffer_deinit(&msgpack);
    return value;
}

static void take_full_row(struct batch *batch, struct batch_op *op, const PGresult *result, int row,
                          const struct json_limits *limits)
{
    op->is_known = true;
    op->is_applied = field_bool(result, row, FULL_APPLIED);
    op->is_altered = op->is_applied && field_bool(result, row, FULL_ALTERED);
    op->has_version = !PQgetisnull(result, row, FULL_VERSION);
    if (op->has_version) {
        op->version = field_int8(result, row, FULL_VERSION);
    }
    if (!PQgetisnull(result, row, FULL_VALUE)) {
        op->result = read_value(batch, field(result, row, FULL_VALUE), limits);
    }
    if (op->is_applied && (op->kind == BATCH_INCR || op->kind == BATCH_MERGE)) {
        op->expires_at_us = table_row_time(result, row, FULL_EXPIRES_AT);
    }
}

static void take_plain_row(struct batch_op *op, const PGresult *result, int row, bool is_checked)
{
    op->is_known = true;
    op->is_applied = true;
    op->has_version = true;
    op->version = field_int8(result, row, PLAIN_VERSION);
    op->is_altered = is_checked && field_bool(result, row, PLAIN_ALTERED);
}

// Which rows were there is not asked: where others have a say, one may be there still.
static void take_plain_deletes(const struct batch_group *group, bool is_checked)
{
    for (size_t i = 0; i < group->ops_count; i++) {
        group->ops[i]->is_known = true;
        group->ops[i]->is_applied = true;
        group->ops[i]->is_altered = is_checked;
    }
}

void batch_take_rows(struct batch *batch, const struct batch_group *group, const PGresult *result,
                     bool is_checked, const struct json_limits *limits)
{
    if (group->kind == BATCH_DELETE && !group->returns) {
        take_plain_deletes(group, is_checked);
        return;
    }
    for (int row = 0; row < PQntuples(result); row++) {
        // A trigger of others may have written the row under another key.
        struct batch_op *op = batch_group_find(group, field(result, row, FULL_KEY));
        if (op != NULL && group->returns) {
            take_full_row(batch, op, result, row, limits);
        } else if (op != NULL) {
            take_plain_row(op, result, row, is_checked);
        }
    }
}

// ---- Recorded results

static struct batch_op *find_op(const struct batch *batch, uint64_t seq, struct slice key)
{
    struct batch_entry *entry = batch_find(batch, seq);
    for (size_t i = 0; entry != NULL && i < entry->ops_count; i++) {
        if (slice_equal(entry->ops[i]->key, key)) {
            return entry->ops[i];
        }
    }
    return NULL;
}

// [seq, key, applied, version or null, value or null]
static bool take_recorded_one(struct batch *batch, struct mpack_cursor *cursor)
{
    uint32_t fields;
    uint64_t seq;
    struct slice key, value;
    bool is_applied;
    int64_t version = 0;
    if (!mpack_read_array(cursor, &fields) || fields != 5 || !mpack_read_uint(cursor, &seq) ||
        !mpack_read_str(cursor, &key) || !mpack_read_bool(cursor, &is_applied)) {
        return false;
    }
    bool has_version = !mpack_read_nil(cursor);
    if ((has_version && !mpack_read_int(cursor, &version)) ||
        mpack_skip(cursor, &value) != DECODE_OK) {
        return false;
    }
    struct batch_op *op = find_op(batch, seq, key);
    if (op != NULL) {
        op->is_known = true;
        op->is_applied = is_applied;
        op->is_altered = true; // the row may have changed again since
        op->has_version = has_version;
        op->version = version;
        op->result = arena_copy(&batch->arena, value);
    }
    return true;
}

enum error batch_take_recorded(struct batch *batch, struct slice json,
                               const struct json_limits *limits)
{
    // As many values as a batch may have results, each within the limits.
    struct json_limits all = {.value_bytes_max = limits->value_bytes_max * 256};
    struct buffer msgpack = {0};
    uint32_t count = 0;
    bool good = json_to_msgpack(json, &all, &msgpack, NULL) == ERROR_NONE;
    struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&msgpack));
    good = good && mpack_read_array(&cursor, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        good = take_recorded_one(batch, &cursor);
    }
    buffer_deinit(&msgpack);
    return good ? ERROR_NONE : ERROR_CORRUPT;
}

void batch_mark_altered(struct batch *batch)
{
    for (size_t i = 0; i < batch->ops_count; i++) {
        batch->ops[i]->is_altered = true;
    }
}

// ---- Replies

static const struct batch_op *only_op(const struct batch_entry *entry)
{
    CHECK_VALUES(entry->ops_count == 1, "%zu writes", entry->ops_count);
    return entry->ops[0];
}

bool batch_entry_conflicts(const struct batch_entry *entry)
{
    return entry->condition != CONDITION_NONE && only_op(entry)->is_known &&
           !only_op(entry)->is_applied;
}

static void reply_conflict(const struct batch_entry *entry, struct reply *reply)
{
    const struct batch_op *op = only_op(entry);
    char why[64] = "the key is absent";
    if (op->has_version) {
        snprintf(why, sizeof why, "%s version is %" PRId64,
                 entry->condition == CONDITION_IF_ABSENT ? "the key exists, and its" : "its",
                 op->version);
    }
    failure_note(&reply->failure, ERROR_CONFLICT, "Failed to %s key %s: %s",
                 entry->op == ENTRY_DELETE ? "delete" : "set", quote_key(op->key).text, why);
    reply->failure.has_version = op->has_version;
    reply->failure.version = op->version;
}

static void reply_set(const struct batch_entry *entry, struct reply *reply)
{
    const struct batch_op *op = only_op(entry);
    reply->has_version = op->is_known && op->is_applied && op->has_version;
    reply->version = reply->has_version ? op->version : 0;
}

static void reply_delete(const struct batch_entry *entry, struct reply *reply)
{
    for (size_t i = 0; i < entry->ops_count; i++) {
        const struct batch_op *op = entry->ops[i];
        bool is_deleted = !op->absorbed && op->is_known && op->is_applied;
        reply->has_deleted |= op->is_known;
        reply->integer += is_deleted;
        if (is_deleted && entry->ops_count == 1 && op->has_version) {
            reply->has_version = true;
            reply->version = op->version;
        }
    }
}

static void reply_value(const struct batch_entry *entry, struct reply *reply)
{
    const struct batch_op *op = only_op(entry);
    const char *verb = entry->op == ENTRY_INCR ? "incr" : "merge";
    if (!op->is_applied) {
        failure_note(&reply->failure, ERROR_REJECTED,
                     "Failed to %s key %s: a trigger of the table passed over the row", verb,
                     quote_key(op->key).text);
        return;
    }
    if (op->result.len == 0) {
        failure_note(&reply->failure, ERROR_TOO_LARGE,
                     "%s of key \"%.*s\" was applied, but its value is beyond the limits", verb,
                     SLICE_FORMAT(op->key));
        return;
    }
    struct item *item = reply_items(reply, 1);
    item->key = arena_copy(&reply->arena, op->key);
    item->value = arena_copy(&reply->arena, op->result);
    item->present = true;
    item->has_version = true;
    item->version = op->version;
}

// A plain write has happened whatever its result was; of the others nothing can be said without.
static bool is_lost(const struct batch_entry *entry)
{
    bool is_plain =
        (entry->op == ENTRY_SET || entry->op == ENTRY_DELETE) && entry->condition == CONDITION_NONE;
    return !is_plain && !only_op(entry)->is_known;
}

static void reply_lost(const struct batch_entry *entry, struct reply *reply)
{
    failure_note(
        &reply->failure, ERROR_OUTCOME_UNKNOWN,
        "write %llu of key \"%.*s\" was decided in PostgreSQL, but its result was lost with"
        " the connection",
        (unsigned long long)entry->seq, SLICE_FORMAT(only_op(entry)->key));
    reply->failure.has_seq = true;
    reply->failure.seq = entry->seq;
}

void batch_reply(const struct batch_entry *entry, struct reply *reply)
{
    CHECK(entry->returns || entry->letter_seq != 0);
    reply->seq = entry->seq;
    if (entry->letter_seq != 0) {
        return;
    }
    if (is_lost(entry)) {
        reply_lost(entry, reply);
        return;
    }
    if (batch_entry_conflicts(entry)) {
        reply_conflict(entry, reply);
        return;
    }
    switch (entry->op) {
    case ENTRY_SET:
        reply_set(entry, reply);
        break;
    case ENTRY_DELETE:
        reply_delete(entry, reply);
        break;
    case ENTRY_INCR:
    case ENTRY_MERGE:
        reply_value(entry, reply);
        break;
    case ENTRY_TOUCH:
        reply->boolean = only_op(entry)->is_known && only_op(entry)->is_applied;
        break;
    }
}

// ---- FLUSHED

// Whether the write decided what its key holds: a condition that failed, or a touch of nothing,
// left it as the writes before made it.
static bool has_effect(const struct batch_op *op)
{
    switch (op->kind) {
    case BATCH_PUT:
    case BATCH_DELETE:
        return true;
    default:
        return !op->is_known || op->is_applied;
    }
}

// Whether a trigger or a policy of others left the row as it was: a put wrote none, or what was to
// be deleted is there still.
static bool was_passed_over(const struct batch_op *op)
{
    return !op->is_applied &&
           (op->kind == BATCH_PUT || (op->kind == BATCH_DELETE && op->has_version));
}

static void fill_key(struct flushed_message *flushed, struct flushed_key *key,
                     const struct batch_op *last)
{
    CHECK(last != NULL);
    const struct batch_op *op = last;
    while (op != NULL && !has_effect(op)) {
        op = op->before;
    }
    key->key = arena_copy(&flushed->arena, last->key);
    key->seq = op == NULL ? last->entry->seq : op->entry->seq;
    key->drop = op == NULL || !op->is_known || op->is_altered || was_passed_over(op) ||
                op->kind == BATCH_TOUCH || op->entry->letter_seq != 0;
    if (key->drop) {
        return;
    }
    bool is_delete = op->kind == BATCH_DELETE || op->kind == BATCH_DELETE_IF_VERSION;
    key->present = !is_delete;
    if (is_delete) {
        return;
    }
    key->version = op->version;
    key->expires_at_us = op->expires_at_us;
    if (op->kind == BATCH_PUT) {
        return;
    }
    bool is_computed = op->kind == BATCH_INCR || op->kind == BATCH_MERGE;
    key->has_value = true;
    key->value = arena_copy(&flushed->arena, is_computed ? op->result : op->value);
    key->drop = key->value.len == 0;
}

struct filling {
    struct flushed_message *flushed;
    size_t next;
};

static void on_key(void *context, struct batch_op *last)
{
    struct filling *filling = context;
    CHECK(filling->next < filling->flushed->keys_count);
    fill_key(filling->flushed, &filling->flushed->keys[filling->next++], last);
}

static bool wants_answer(const struct batch_entry *entry)
{
    return (entry->returns || entry->letter_seq != 0) && entry->id.len > 0 && !entry->is_retired;
}

static void fill_answers(struct flushed_message *flushed, const struct batch *batch)
{
    size_t count = 0;
    for (size_t i = 0; i < batch->entries_count; i++) {
        count += wants_answer(batch->entries[i]);
    }
    if (count == 0) {
        return;
    }
    struct buffer bytes = {0};
    flushed->answers = arena_alloc(&flushed->arena, count * sizeof *flushed->answers);
    for (size_t i = 0; i < batch->entries_count; i++) {
        const struct batch_entry *entry = batch->entries[i];
        if (!wants_answer(entry)) {
            continue;
        }
        struct reply reply = {0};
        batch_reply(entry, &reply);
        buffer_clear(&bytes, SIZE_MAX);
        reply_encode(&reply, &bytes);
        reply_deinit(&reply);
        flushed->answers[flushed->answers_count++] = (struct id_answer){
            .id = arena_copy(&flushed->arena, entry->id),
            .seq = entry->seq,
            .reply = arena_copy(&flushed->arena, buffer_slice(&bytes)),
        };
    }
    buffer_deinit(&bytes);
}

static void fill_letters(struct flushed_message *flushed, const struct batch *batch)
{
    for (size_t i = 0; i < batch->entries_count; i++) {
        flushed->letters_count += batch->entries[i]->letter_seq != 0;
    }
    flushed->letters =
        arena_alloc(&flushed->arena, flushed->letters_count * sizeof *flushed->letters);
    size_t next = 0;
    for (size_t i = 0; i < batch->entries_count; i++) {
        const struct batch_entry *entry = batch->entries[i];
        if (entry->letter_seq != 0 && !entry->is_retired) {
            flushed->letters[next++] = entry->letter_seq;
        }
    }
    flushed->letters_count = next;
}

struct flushed_message *batch_flushed(const struct batch *batch, uint64_t applied_seq,
                                      uint64_t epoch, bool feed_was_live)
{
    struct flushed_message *flushed = message_create(MESSAGE_FLUSHED, sizeof *flushed);
    flushed->applied_seq = applied_seq;
    flushed->epoch = epoch;
    flushed->feed_was_live = feed_was_live;
    flushed->keys_count = batch_keys_count(batch);
    flushed->keys = arena_alloc(&flushed->arena, flushed->keys_count * sizeof *flushed->keys);
    struct filling filling = {.flushed = flushed};
    batch_visit_keys(batch, &filling, on_key);
    fill_answers(flushed, batch);
    fill_letters(flushed, batch);
    flushed->message.bytes += flushed->arena.bytes;
    return flushed;
}
