#include "cache/outbox_rows.h"

#include "base/check.h"
#include "base/checksum.h"
#include "base/fault.h"

enum { CHECKSUM_BYTES = sizeof(uint64_t) };

static const struct {
    const char *name;
    bool is_optional; // the others are there from the first start on
} ROWS[] = {
    {"layout", false},       {"node", false},
    {"incarnations", false}, {"ceiling", false},
    {"applied", false},      {"trimmed", false},
    {"binding", true},       {"log_generation", false},
    {"log", true},           {"reapply", false},
    {"server", true},        {"former", true}, // a release before this one has none
};

enum { ROWS_COUNT = sizeof ROWS / sizeof ROWS[0] };

static uint64_t checksum_of(struct slice name, struct slice value)
{
    return checksum(value, checksum(name, 0));
}

static enum error get_whole(struct outbox *outbox, const char *name, struct slice *row)
{
    MDB_val key = environment_value(slice_of_string(name));
    MDB_val bytes;
    int code = mdb_get(outbox->txn, outbox->meta, &key, &bytes);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    *row = environment_slice(bytes);
    return ERROR_NONE;
}

// Takes the checksum off; false where it is not the value's.
static bool take_off(struct slice name, struct slice *row)
{
    uint64_t stored;
    if (row->len < CHECKSUM_BYTES) {
        return false;
    }
    struct slice value = slice_of(row->at, row->len - CHECKSUM_BYTES);
    memcpy(&stored, value.at + value.len, sizeof stored);
    if (stored != checksum_of(name, value)) {
        return false;
    }
    *row = value;
    return true;
}

// ---- at the start

// Rows, and how many of them have their checksum.
static enum error count_rows(struct outbox *outbox, size_t *count, size_t *checked)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(outbox->txn, outbox->meta, &cursor);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    *count = 0;
    *checked = 0;
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        struct slice row = environment_slice(value);
        (*count)++;
        *checked += take_off(environment_slice(key), &row);
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? ERROR_NONE : environment_error(code);
}

static enum error check_presence(struct outbox *outbox)
{
    enum error error = ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < ROWS_COUNT; i++) {
        struct slice row = {0};
        error = get_whole(outbox, ROWS[i].name, &row);
        if (error == ERROR_NOT_FOUND) {
            error = ROWS[i].is_optional ? ERROR_NONE : ERROR_CORRUPT;
        }
    }
    return error;
}

static enum error give_checksums(struct outbox *outbox)
{
    struct buffer value = {0};
    enum error error = ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < ROWS_COUNT; i++) {
        struct slice row = {0};
        error = get_whole(outbox, ROWS[i].name, &row);
        if (error == ERROR_NONE) {
            buffer_clear(&value, SIZE_MAX);
            buffer_append_slice(&value, row);
            error = outbox_row_put(outbox, ROWS[i].name, buffer_slice(&value));
        } else if (error == ERROR_NOT_FOUND) {
            error = ERROR_NONE;
        }
    }
    buffer_deinit(&value);
    return error;
}

enum error outbox_rows_check(struct outbox *outbox)
{
    size_t count = 0, checked = 0;
    enum error error = count_rows(outbox, &count, &checked);
    if (error != ERROR_NONE || count == 0) {
        return error;
    }
    if (checked == 0) {
        return give_checksums(outbox);
    }
    return checked == count ? check_presence(outbox) : ERROR_CORRUPT;
}

enum error outbox_row_read_layout(struct outbox *outbox, uint64_t *layout)
{
    static const char NAME[] = "layout";
    struct slice row = {0};
    enum error error = get_whole(outbox, NAME, &row);
    *layout = 0;
    if (error != ERROR_NONE) {
        return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
    }
    if (row.len != sizeof *layout &&
        (!take_off(slice_of_string(NAME), &row) || row.len != sizeof *layout)) {
        return ERROR_CORRUPT;
    }
    memcpy(layout, row.at, sizeof *layout);
    return ERROR_NONE;
}

// ---- one row

enum error outbox_row_put(struct outbox *outbox, const char *name, struct slice value)
{
    CHECK(outbox->txn != NULL);
    if (FAULT_POINT(OUTBOX_META)) {
        return ERROR_SYSTEM;
    }
    struct slice key_name = slice_of_string(name);
    uint64_t sum = checksum_of(key_name, value);
    MDB_val key = environment_value(key_name);
    MDB_val row = {.mv_size = value.len + sizeof sum};
    int code = mdb_put(outbox->txn, outbox->meta, &key, &row, MDB_RESERVE);
    if (code == MDB_SUCCESS) {
        memcpy(row.mv_data, value.at, value.len);
        memcpy((uint8_t *)row.mv_data + value.len, &sum, sizeof sum);
    }
    return environment_error(code);
}

enum error outbox_row_put_number(struct outbox *outbox, const char *name, uint64_t number)
{
    return outbox_row_put(outbox, name, slice_of(&number, sizeof number));
}

enum error outbox_row_get(struct outbox *outbox, const char *name, struct slice *value)
{
    struct slice row = {0};
    enum error error = get_whole(outbox, name, &row);
    if (error == ERROR_NONE && !take_off(slice_of_string(name), &row)) {
        error = ERROR_CORRUPT;
    }
    if (error == ERROR_NONE) {
        *value = row;
    }
    return error;
}

enum error outbox_row_get_number(struct outbox *outbox, const char *name, uint64_t *number)
{
    struct slice value = {0};
    enum error error = outbox_row_get(outbox, name, &value);
    if (error == ERROR_NOT_FOUND) {
        return ERROR_NONE;
    }
    if (error == ERROR_NONE && value.len != sizeof *number) {
        error = ERROR_CORRUPT;
    }
    if (error == ERROR_NONE) {
        memcpy(number, value.at, sizeof *number);
    }
    return error;
}
