// The ids of writes (opts.id): each names the write that carried it first, and its answer once
// there is one, so that a repeat is answered and not done again. An id is bound in the transaction
// that journals its write. A row of `ids`:
//
//   0            8              16       17          20          24
//   | seq        | accepted_us  | flags  | subject   | check     | reply ...
//
// `subject` tells a repeat from another write that was given the same id by mistake; 0: not known,
// in rows of the release before, which wrote zeroes there.
//
// `check` is the half of a checksum of all else, seeded with that of the id: a repeat that is told
// what was not answered, or done again, is worse than a start that stops. Releases before wrote
// zeroes there, and no flag that says otherwise; such rows are gone after ten minutes.
#include <errno.h>

#include "base/check.h"
#include "base/checksum.h"
#include "base/fault.h"
#include "cache/outbox.h"

enum { AT_SEQ = 0, AT_ACCEPTED = 8, AT_FLAGS = 16, AT_SUBJECT = 17, AT_CHECK = 20, AT_REPLY = 24 };
enum { FLAG_RETURNS_RESULT = 1, FLAG_ANSWERED = 2, FLAG_CHECKED = 4, FLAGS_ALL = 7 };
enum { EXPIRE_STEP = 256 };

static uint32_t check_of(struct slice id, struct slice row)
{
    uint64_t sum = checksum(slice_of(row.at, AT_CHECK), checksum(id, 0));
    return (uint32_t)checksum(slice_of(row.at + AT_REPLY, row.len - AT_REPLY), sum);
}

static bool is_whole(struct slice id, struct slice row)
{
    static const uint8_t ZEROES[AT_REPLY - AT_SUBJECT] = {0};
    uint32_t check;
    if (row.len < AT_REPLY || row.at[AT_FLAGS] > FLAGS_ALL) {
        return false;
    }
    if ((row.at[AT_FLAGS] & FLAG_CHECKED) == 0) {
        return memcmp(row.at + AT_SUBJECT, ZEROES, sizeof ZEROES) == 0;
    }
    memcpy(&check, row.at + AT_CHECK, sizeof check);
    return check == check_of(id, row);
}

static enum error decode(struct slice id, struct slice bytes, struct outbox_id *found)
{
    if (!is_whole(id, bytes)) {
        return ERROR_CORRUPT;
    }
    memcpy(&found->seq, bytes.at + AT_SEQ, sizeof found->seq);
    memcpy(&found->accepted_us, bytes.at + AT_ACCEPTED, sizeof found->accepted_us);
    found->returns_result = (bytes.at[AT_FLAGS] & FLAG_RETURNS_RESULT) != 0;
    found->answered = (bytes.at[AT_FLAGS] & FLAG_ANSWERED) != 0;
    found->subject = (uint32_t)bytes.at[AT_SUBJECT] | (uint32_t)bytes.at[AT_SUBJECT + 1] << 8 |
                     (uint32_t)bytes.at[AT_SUBJECT + 2] << 16;
    found->reply = slice_of(bytes.at + AT_REPLY, bytes.len - AT_REPLY);
    return ERROR_NONE;
}

static enum error put(struct outbox *outbox, struct slice id, const struct outbox_id *row)
{
    struct buffer bytes = {0};
    uint8_t *header = buffer_reserve(&bytes, AT_REPLY);
    memset(header, 0, AT_REPLY);
    memcpy(header + AT_SEQ, &row->seq, sizeof row->seq);
    memcpy(header + AT_ACCEPTED, &row->accepted_us, sizeof row->accepted_us);
    header[AT_FLAGS] = (uint8_t)((row->returns_result ? FLAG_RETURNS_RESULT : 0) |
                                 (row->answered ? FLAG_ANSWERED : 0) | FLAG_CHECKED);
    for (int i = 0; i < AT_CHECK - AT_SUBJECT; i++) {
        header[AT_SUBJECT + i] = (uint8_t)(row->subject >> 8 * i);
    }
    buffer_commit(&bytes, AT_REPLY);
    buffer_append_slice(&bytes, row->reply);
    uint32_t check = check_of(id, buffer_slice(&bytes));
    memcpy(bytes.bytes + AT_CHECK, &check, sizeof check);
    MDB_val key = environment_value(id);
    MDB_val value = environment_value(buffer_slice(&bytes));
    int code = FAULT_POINT(OUTBOX_ID) ? EIO : mdb_put(outbox->txn, outbox->ids, &key, &value, 0);
    buffer_deinit(&bytes);
    return environment_error(code);
}

static enum error get(struct outbox *outbox, struct slice id, struct outbox_id *found)
{
    CHECK(outbox->txn != NULL);
    MDB_val key = environment_value(id);
    MDB_val value;
    int code = mdb_get(outbox->txn, outbox->ids, &key, &value);
    return code == MDB_SUCCESS ? decode(id, environment_slice(value), found)
                               : environment_error(code);
}

enum error outbox_check_ids(struct outbox *outbox)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(outbox->txn, outbox->ids, &cursor);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    bool is_good = true;
    while (is_good && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        is_good = is_whole(environment_slice(key), environment_slice(value));
    }
    mdb_cursor_close(cursor);
    if (!is_good) {
        return ERROR_CORRUPT;
    }
    return code == MDB_NOTFOUND ? ERROR_NONE : environment_error(code);
}

enum error outbox_find_id(struct outbox *outbox, struct slice id, int64_t now_us,
                          struct outbox_id *found)
{
    struct outbox_id row = {0};
    enum error error = get(outbox, id, &row);
    if (error == ERROR_NONE && now_us - row.accepted_us >= ID_LIFE_US) {
        return ERROR_NOT_FOUND;
    }
    if (error == ERROR_NONE) {
        *found = row;
    }
    return error;
}

static enum error remove_row(struct outbox *outbox, struct slice id, uint64_t seq)
{
    MDB_val key = environment_value(id);
    MDB_val order = environment_number(&seq);
    int code = mdb_del(outbox->txn, outbox->ids, &key, NULL);
    if (code == MDB_SUCCESS || code == MDB_NOTFOUND) {
        code = mdb_del(outbox->txn, outbox->id_order, &order, NULL);
    }
    return code == MDB_NOTFOUND ? ERROR_NONE : environment_error(code);
}

bool outbox_ids_are_full(struct outbox *outbox)
{
    CHECK(outbox->txn != NULL);
    const MDB_dbi dbis[] = {outbox->ids, outbox->id_order};
    return environment_pages(outbox->txn, dbis, 2) >= outbox->id_pages_max;
}

enum error outbox_bind_id(struct outbox *outbox, const struct entry *entry, uint32_t subject,
                          int64_t now_us)
{
    CHECK(subject <= OUTBOX_ID_SUBJECT_MAX);
    struct outbox_id old = {0};
    enum error error = get(outbox, entry->id, &old);
    if (error == ERROR_NONE) {
        error = remove_row(outbox, entry->id, old.seq);
    } else if (error == ERROR_NOT_FOUND) {
        error = ERROR_NONE;
    }
    bool more = true;
    while (error == ERROR_NONE && more && outbox_ids_are_full(outbox)) {
        error = outbox_expire_ids(outbox, now_us, EXPIRE_STEP, &more);
    }
    if (error == ERROR_NONE && outbox_ids_are_full(outbox)) {
        error = ERROR_OVERLOADED;
    }
    if (error != ERROR_NONE) {
        return error;
    }
    const struct outbox_id row = {
        .seq = entry->seq,
        .accepted_us = now_us,
        .returns_result = entry_returns_result(entry),
        .subject = subject,
    };
    MDB_val order = environment_number(&entry->seq);
    MDB_val id = environment_value(entry->id);
    error = environment_error(mdb_put(outbox->txn, outbox->id_order, &order, &id, MDB_APPEND));
    return error == ERROR_NONE ? put(outbox, entry->id, &row) : error;
}

enum error outbox_answer_id(struct outbox *outbox, const struct id_answer *answer)
{
    struct outbox_id row = {0};
    enum error error = get(outbox, answer->id, &row);
    if (error == ERROR_NOT_FOUND || (error == ERROR_NONE && row.seq != answer->seq)) {
        return ERROR_NONE;
    }
    // What was answered once stays so, though a failover has made it happen again and otherwise.
    if (error == ERROR_NONE && !row.answered) {
        row.answered = true;
        row.reply = answer->reply;
        error = put(outbox, answer->id, &row);
    }
    return error;
}

enum error outbox_forget_id(struct outbox *outbox, struct slice id, uint64_t seq)
{
    struct outbox_id row = {0};
    enum error error = get(outbox, id, &row);
    if (error == ERROR_NOT_FOUND || (error == ERROR_NONE && row.seq != seq)) {
        return ERROR_NONE;
    }
    return error == ERROR_NONE ? remove_row(outbox, id, seq) : error;
}

struct oldest_id {
    uint64_t seq;
    size_t bytes;
    uint8_t id[REQUEST_ID_BYTES_MAX];
};

static enum error find_oldest(struct outbox *outbox, struct oldest_id *oldest)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(outbox->txn, outbox->id_order, &cursor);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    MDB_val key, value;
    code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (code == MDB_SUCCESS) {
        oldest->seq = environment_number_of(key);
        oldest->bytes = value.mv_size < sizeof oldest->id ? value.mv_size : sizeof oldest->id;
        memcpy(oldest->id, value.mv_data, oldest->bytes);
    }
    mdb_cursor_close(cursor);
    return environment_error(code);
}

// Removes the oldest id where its time has passed; `more` says whether it has.
static enum error expire_oldest(struct outbox *outbox, int64_t now_us, bool *more)
{
    struct oldest_id oldest = {0};
    struct outbox_id row = {0};
    *more = false;
    enum error error = find_oldest(outbox, &oldest);
    if (error != ERROR_NONE) {
        return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
    }
    error = get(outbox, slice_of(oldest.id, oldest.bytes), &row);
    if (error == ERROR_NONE && now_us - row.accepted_us < ID_LIFE_US) {
        return ERROR_NONE;
    }
    if (error == ERROR_NONE || error == ERROR_NOT_FOUND) {
        *more = true;
        error = remove_row(outbox, slice_of(oldest.id, oldest.bytes), oldest.seq);
    }
    return error;
}

enum error outbox_expire_ids(struct outbox *outbox, int64_t now_us, size_t count_max, bool *more)
{
    *more = true;
    enum error error = ERROR_NONE;
    for (size_t count = 0; error == ERROR_NONE && *more && count < count_max; count++) {
        error = expire_oldest(outbox, now_us, more);
    }
    return error;
}
