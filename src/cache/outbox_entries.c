// The entries of the outbox: appended by the writer, visited by the flusher, given up once they
// are applied and no longer retained.
#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mpack.h"
#include "cache/outbox.h"

enum { TRIM_STEP = 64, ENTRY_OVERHEAD_PAGES = 3, ENCODING_KEEP_BYTES = 1 << 16 };

static bool has_capacity(const struct outbox *outbox, size_t bytes)
{
    size_t pages = outbox_used_bytes(outbox, outbox->txn) / outbox->page_bytes;
    return pages + bytes / outbox->page_bytes + ENTRY_OVERHEAD_PAGES <= outbox->capacity_pages;
}

enum error outbox_make_capacity(struct outbox *outbox, size_t bytes, uint64_t trimmable_seq)
{
    CHECK(outbox->txn != NULL);
    if (bytes / outbox->page_bytes + ENTRY_OVERHEAD_PAGES > outbox->capacity_pages) {
        return ERROR_TOO_LARGE;
    }
    while (!has_capacity(outbox, bytes)) {
        uint64_t trimmed_seq = outbox->state.trimmed_seq;
        enum error error = outbox_trim(outbox, trimmable_seq, TRIM_STEP);
        if (error != ERROR_NONE) {
            return error;
        }
        if (outbox->state.trimmed_seq == trimmed_seq) {
            return ERROR_OVERLOADED;
        }
    }
    return ERROR_NONE;
}

enum error outbox_append(struct outbox *outbox, const struct entry *entry)
{
    buffer_clear(&outbox->encoding, ENCODING_KEEP_BYTES);
    entry_encode(entry, &outbox->encoding);
    return outbox_append_encoded(outbox, entry->seq, buffer_slice(&outbox->encoding));
}

enum error outbox_append_encoded(struct outbox *outbox, uint64_t seq, struct slice bytes)
{
    enum error error = outbox_append_moved(outbox, seq, bytes);
    outbox->taken_over += error == ERROR_NONE && seq <= outbox->log.last_seq;
    return error;
}

enum error outbox_append_moved(struct outbox *outbox, uint64_t seq, struct slice bytes)
{
    CHECK(outbox->txn != NULL);
    CHECK_VALUES(seq > outbox->state.last_seq && seq <= outbox->state.ceiling,
                 "seq %llu after %llu", (unsigned long long)seq,
                 (unsigned long long)outbox->state.last_seq);
    MDB_val key = environment_number(&seq);
    MDB_val value = environment_value(bytes);
    int code = FAULT_POINT(OUTBOX_PUT) ? EIO
               : FAULT_POINT(OUTBOX_MAP_FULL)
                   ? MDB_MAP_FULL
                   : mdb_put(outbox->txn, outbox->entries, &key, &value, MDB_APPEND);
    enum error error = environment_error(code);
    if (error == ERROR_NONE) {
        outbox->state.last_seq = seq;
    }
    return error;
}

enum error outbox_trim(struct outbox *outbox, uint64_t seq, size_t count_max)
{
    CHECK(outbox->txn != NULL);
    CHECK_VALUES(seq <= outbox->state.applied_seq, "trim to %llu, applied %llu",
                 (unsigned long long)seq, (unsigned long long)outbox->state.applied_seq);
    if (seq <= outbox->state.trimmed_seq) {
        return ERROR_NONE;
    }
    (void)FAULT_POINT(OUTBOX_BEFORE_TRIM);
    MDB_cursor *cursor;
    int code =
        FAULT_POINT(OUTBOX_TRIM) ? ENOMEM : mdb_cursor_open(outbox->txn, outbox->entries, &cursor);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    MDB_val key, value;
    size_t count = 0;
    while (count < count_max &&
           (code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST)) == MDB_SUCCESS &&
           environment_number_of(key) <= seq) {
        uint64_t trimmed = environment_number_of(key);
        code = mdb_cursor_del(cursor, 0);
        if (code != MDB_SUCCESS) {
            break;
        }
        outbox->state.trimmed_seq = trimmed;
        count++;
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? ERROR_NONE : environment_error(code);
}

enum error outbox_get(struct outbox *outbox, uint64_t seq, struct buffer *bytes,
                      struct entry *entry)
{
    CHECK(outbox->txn != NULL);
    MDB_val key = environment_number(&seq);
    MDB_val value;
    int code = mdb_get(outbox->txn, outbox->entries, &key, &value);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    buffer_clear(bytes, SIZE_MAX);
    buffer_append_slice(bytes, environment_slice(value));
    return entry_decode(seq, buffer_slice(bytes), entry);
}

enum error outbox_retire(struct outbox *outbox, const struct entry *entry,
                         const struct retire_message *letter, int64_t now_us)
{
    CHECK(outbox->txn != NULL);
    if (entry->retired) {
        return ERROR_NONE;
    }
    struct buffer bytes = {0};
    enum error error = letter != NULL ? outbox_park(outbox, entry, letter, now_us) : ERROR_NONE;
    if (error == ERROR_NONE) {
        struct entry retired = *entry;
        retired.retired = true;
        entry_encode(&retired, &bytes);
        MDB_val key = environment_number(&entry->seq);
        MDB_val value = environment_value(buffer_slice(&bytes));
        error = environment_error(mdb_put(outbox->txn, outbox->entries, &key, &value, 0));
    }
    buffer_deinit(&bytes);
    return error;
}

static int open_reading(struct outbox *outbox, MDB_txn **txn, MDB_cursor **cursor)
{
    int code =
        FAULT_POINT(OUTBOX_READ) ? ENOMEM : mdb_txn_begin(outbox->env, NULL, MDB_RDONLY, txn);
    if (code != MDB_SUCCESS) {
        return code;
    }
    code = mdb_cursor_open(*txn, outbox->entries, cursor);
    if (code != MDB_SUCCESS) {
        mdb_txn_abort(*txn);
    }
    return code;
}

static void close_reading(MDB_txn *txn, MDB_cursor *cursor)
{
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
}

static int seek(MDB_cursor *cursor, uint64_t after_seq, MDB_val *key, MDB_val *value)
{
    uint64_t first_seq = after_seq + 1;
    *key = environment_number(&first_seq);
    return mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
}

static enum error visit_rows(MDB_cursor *cursor, uint64_t after_seq, uint64_t up_to_seq,
                             bool (*visit)(void *context, const struct entry *entry), void *context)
{
    MDB_val key, value;
    int code = seek(cursor, after_seq, &key, &value);
    enum error error = ERROR_NONE;
    bool goes_on = true;
    while (code == MDB_SUCCESS && goes_on && error == ERROR_NONE &&
           environment_number_of(key) <= up_to_seq) {
        struct entry entry;
        error = entry_decode(environment_number_of(key), environment_slice(value), &entry);
        if (error == ERROR_NONE) {
            goes_on = visit(context, &entry);
        }
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (error == ERROR_NONE && code != MDB_SUCCESS && code != MDB_NOTFOUND) {
        error = environment_error(code);
    }
    return error;
}

enum error outbox_visit(struct outbox *outbox, uint64_t after_seq, uint64_t up_to_seq,
                        bool (*visit)(void *context, const struct entry *entry), void *context)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    int code = open_reading(outbox, &txn, &cursor);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    enum error error = visit_rows(cursor, after_seq, up_to_seq, visit, context);
    close_reading(txn, cursor);
    return error;
}

size_t outbox_count(struct outbox *outbox, uint64_t after_seq, uint64_t up_to_seq)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    if (open_reading(outbox, &txn, &cursor) != MDB_SUCCESS) {
        return 0;
    }
    size_t count = 0;
    int code = seek(cursor, after_seq, &key, &value);
    while (code == MDB_SUCCESS && environment_number_of(key) <= up_to_seq) {
        count++;
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    close_reading(txn, cursor);
    return count;
}
