// The dead letters of the outbox: parked when their entry is retired, listed, tried again as new
// entries, and forgotten once such an entry is applied or an operator discards them.
//
// A letter is one MessagePack array,
//
//   [2, sqlstate, text, at_us, entry, retry_seq, state]
//
// where `entry` is the bin of the entry as it was (base/entry.h), `retry_seq` the newest entry that
// tries it again (0: none), and `state` a bin of guards or nil: what PostgreSQL held of the keys
// when the letter was parked. Layout 1 had the first five and is read as one whose state is not
// known.
#include "base/check.h"
#include "base/mpack.h"
#include "cache/outbox.h"

enum { LETTER_LAYOUT_OLD = 1, LETTER_FIELDS_OLD = 5 };
enum { LETTER_LAYOUT = 2, LETTER_FIELDS = LETTER_FIELDS_OLD + 2 };

static void encode(const struct outbox_letter *letter, struct slice entry, struct buffer *bytes)
{
    msgpack_packer packer;
    mpack_packer_init(&packer, bytes);
    msgpack_pack_array(&packer, LETTER_FIELDS);
    msgpack_pack_int(&packer, LETTER_LAYOUT);
    mpack_pack_slice(&packer, letter->sqlstate);
    mpack_pack_slice(&packer, letter->text);
    msgpack_pack_int64(&packer, letter->at_us);
    msgpack_pack_bin(&packer, entry.len);
    msgpack_pack_bin_body(&packer, entry.at, entry.len);
    msgpack_pack_uint64(&packer, letter->retry_seq);
    if (letter->has_state) {
        msgpack_pack_bin(&packer, letter->state.len);
        msgpack_pack_bin_body(&packer, letter->state.at, letter->state.len);
    } else {
        msgpack_pack_nil(&packer);
    }
}

static bool read_bin(struct mpack_cursor *cursor, struct slice *body)
{
    struct mpack_token token;
    if (mpack_next(cursor, &token) != DECODE_OK || token.type != MPACK_BIN) {
        return false;
    }
    *body = token.body;
    return true;
}

static bool read_state(struct mpack_cursor *cursor, struct outbox_letter *letter)
{
    if (mpack_read_nil(cursor)) {
        return true;
    }
    letter->has_state = true;
    return read_bin(cursor, &letter->state) &&
           entry_guards_are_well_formed(letter->state, letter->entry.pairs_count);
}

static enum error decode(uint64_t seq, struct slice bytes, struct outbox_letter *letter)
{
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    uint32_t fields;
    uint64_t layout;
    *letter = (struct outbox_letter){.seq = seq};
    if (!mpack_read_array(&cursor, &fields) || !mpack_read_uint(&cursor, &layout) ||
        !mpack_read_str(&cursor, &letter->sqlstate) || !mpack_read_str(&cursor, &letter->text) ||
        !mpack_read_int(&cursor, &letter->at_us) || !read_bin(&cursor, &letter->encoded) ||
        entry_decode(seq, letter->encoded, &letter->entry) != ERROR_NONE) {
        return ERROR_CORRUPT;
    }
    if (layout == LETTER_LAYOUT_OLD && fields == LETTER_FIELDS_OLD) {
        return ERROR_NONE;
    }
    bool whole = layout == LETTER_LAYOUT && fields == LETTER_FIELDS &&
                 mpack_read_uint(&cursor, &letter->retry_seq) && read_state(&cursor, letter);
    return whole ? ERROR_NONE : ERROR_CORRUPT;
}

static enum error put(struct outbox *outbox, const struct outbox_letter *letter, struct slice entry)
{
    struct buffer bytes = {0};
    encode(letter, entry, &bytes);
    MDB_val key = environment_number(&letter->seq);
    MDB_val value = environment_value(buffer_slice(&bytes));
    int code = mdb_put(outbox->txn, outbox->letters, &key, &value, 0);
    buffer_deinit(&bytes);
    return environment_error(code);
}

enum error outbox_park(struct outbox *outbox, const struct entry *entry,
                       const struct retire_message *reason, int64_t now_us)
{
    CHECK(outbox->txn != NULL);
    const struct outbox_letter letter = {
        .seq = entry->seq,
        .at_us = now_us,
        .sqlstate = slice_of_string(reason->sqlstate),
        .text = slice_of_string(reason->text),
        .has_state = reason->has_state,
        .state = reason->state,
    };
    struct buffer encoded = {0};
    entry_encode(entry, &encoded);
    enum error error = put(outbox, &letter, buffer_slice(&encoded));
    buffer_deinit(&encoded);
    return error;
}

enum error outbox_find_letter(struct outbox *outbox, uint64_t seq, struct outbox_letter *letter)
{
    CHECK(outbox->txn != NULL);
    MDB_val key = environment_number(&seq);
    MDB_val value;
    int code = mdb_get(outbox->txn, outbox->letters, &key, &value);
    return code == MDB_SUCCESS ? decode(seq, environment_slice(value), letter)
                               : environment_error(code);
}

enum error outbox_change_letter(struct outbox *outbox, const struct outbox_letter *letter)
{
    CHECK(outbox->txn != NULL);
    return put(outbox, letter, letter->encoded);
}

enum error outbox_forget_letter(struct outbox *outbox, uint64_t seq)
{
    CHECK(outbox->txn != NULL);
    MDB_val key = environment_number(&seq);
    return environment_error(mdb_del(outbox->txn, outbox->letters, &key, NULL));
}

enum error outbox_visit_letters(struct outbox *outbox, uint64_t after_seq, size_t bytes_max,
                                bool (*visit)(void *context, const struct outbox_letter *letter),
                                void *context)
{
    MDB_txn *txn;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    uint64_t first_seq = after_seq + 1;
    size_t bytes = 0;
    enum error error = ERROR_NONE;
    int code = mdb_txn_begin(outbox->env, NULL, MDB_RDONLY, &txn);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    code = mdb_cursor_open(txn, outbox->letters, &cursor);
    if (code == MDB_SUCCESS) {
        key = environment_number(&first_seq);
        code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    }
    bool goes_on = after_seq < UINT64_MAX;
    while (code == MDB_SUCCESS && error == ERROR_NONE && goes_on && bytes < bytes_max) {
        struct outbox_letter letter;
        error = decode(environment_number_of(key), environment_slice(value), &letter);
        goes_on = error == ERROR_NONE && visit(context, &letter);
        bytes += value.mv_size;
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (cursor != NULL) {
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    if (error == ERROR_NONE && code != MDB_SUCCESS && code != MDB_NOTFOUND) {
        error = environment_error(code);
    }
    return error;
}

size_t outbox_letters(struct outbox *outbox)
{
    MDB_txn *txn;
    MDB_stat stat = {0};
    if (mdb_txn_begin(outbox->env, NULL, MDB_RDONLY, &txn) == MDB_SUCCESS) {
        CHECK(mdb_stat(txn, outbox->letters, &stat) == MDB_SUCCESS);
        mdb_txn_abort(txn);
    }
    return stat.ms_entries;
}
