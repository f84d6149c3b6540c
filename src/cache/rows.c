#include "cache/rows.h"

#include "base/check.h"

enum { KEEP_BYTES = 2 << 20 };

void rows_deinit(struct rows *rows)
{
    buffer_deinit(&rows->bytes);
    *rows = (struct rows){0};
}

void rows_clear(struct rows *rows)
{
    buffer_clear(&rows->bytes, KEEP_BYTES);
    *rows = (struct rows){.bytes = rows->bytes};
}

struct slice rows_add(struct rows *rows, const struct entry *entry)
{
    CHECK_VALUES(entry->seq > rows->last_seq, "seq %llu after %llu", (unsigned long long)entry->seq,
                 (unsigned long long)rows->last_seq);
    struct buffer *bytes = &rows->bytes;
    size_t at = buffer_len(bytes);
    uint32_t len = 0;
    buffer_append(bytes, &entry->seq, sizeof entry->seq);
    buffer_append(bytes, &len, sizeof len);
    entry_encode(entry, bytes);
    len = (uint32_t)(buffer_len(bytes) - at - ROW_HEADER_BYTES);
    uint8_t *header = bytes->bytes + bytes->start + at;
    memcpy(header + sizeof entry->seq, &len, sizeof len);
    rows->count++;
    rows->last_seq = entry->seq;
    return slice_of(header + ROW_HEADER_BYTES, len);
}

struct rows_mark rows_mark(const struct rows *rows)
{
    return (struct rows_mark){
        .bytes = buffer_len(&rows->bytes),
        .count = rows->count,
        .last_seq = rows->last_seq,
    };
}

void rows_cut(struct rows *rows, struct rows_mark mark)
{
    CHECK(mark.bytes <= buffer_len(&rows->bytes) && mark.count <= rows->count);
    rows->bytes.end = rows->bytes.start + mark.bytes;
    rows->count = mark.count;
    rows->last_seq = mark.last_seq;
    if (rows->passed_bytes > mark.bytes) {
        rows->passed_bytes = 0;
        rows->passed_seq = 0;
    }
}

void rows_precede(struct rows *rows, struct rows *before)
{
    CHECK(rows->count == 0 || before->last_seq < rows_first_seq(rows));
    buffer_append_slice(&before->bytes, buffer_slice(&rows->bytes));
    before->count += rows->count;
    before->last_seq = rows->count > 0 ? rows->last_seq : before->last_seq;
    rows_deinit(rows);
    *rows = *before;
    *before = (struct rows){0};
}

struct rows_cursor rows_cursor_from(const struct rows *rows, struct rows_mark mark)
{
    struct slice all = buffer_slice(&rows->bytes);
    CHECK(mark.bytes <= all.len);
    return (struct rows_cursor){slice_of(all.at + mark.bytes, all.len - mark.bytes)};
}

struct rows_cursor rows_cursor_after(struct rows *rows, uint64_t seq)
{
    if (seq < rows->passed_seq) {
        rows->passed_bytes = 0;
        rows->passed_seq = 0;
    }
    struct slice all = buffer_slice(&rows->bytes);
    struct rows_cursor cursor = {
        slice_of(all.at + rows->passed_bytes, all.len - rows->passed_bytes)};
    struct rows_cursor next = cursor;
    struct slice entry;
    uint64_t next_seq;
    while (rows_next(&next, &next_seq, &entry) && next_seq <= seq) {
        cursor = next;
        rows->passed_seq = next_seq;
    }
    rows->passed_bytes = all.len - cursor.rest.len;
    return cursor;
}

bool rows_next(struct rows_cursor *cursor, uint64_t *seq, struct slice *entry)
{
    uint32_t bytes;
    struct slice rest = cursor->rest;
    if (rest.len == 0) {
        return false;
    }
    CHECK(rest.len >= ROW_HEADER_BYTES);
    memcpy(seq, rest.at, sizeof *seq);
    memcpy(&bytes, rest.at + sizeof *seq, sizeof bytes);
    CHECK(bytes <= rest.len - ROW_HEADER_BYTES);
    *entry = slice_of(rest.at + ROW_HEADER_BYTES, bytes);
    size_t taken = ROW_HEADER_BYTES + (size_t)bytes;
    cursor->rest = slice_of(rest.at + taken, rest.len - taken);
    return true;
}

enum error rows_visit(struct rows_cursor cursor, uint64_t after_seq, uint64_t up_to_seq,
                      bool (*visit)(void *context, const struct entry *entry), void *context)
{
    uint64_t seq;
    struct slice bytes;
    while (rows_next(&cursor, &seq, &bytes) && seq <= up_to_seq) {
        struct entry entry;
        if (seq <= after_seq) {
            continue;
        }
        enum error error = entry_decode(seq, bytes, &entry);
        if (error != ERROR_NONE || !visit(context, &entry)) {
            return error;
        }
    }
    return ERROR_NONE;
}

uint64_t rows_first_seq(const struct rows *rows)
{
    struct rows_cursor cursor = rows_cursor_of(rows);
    uint64_t seq = 0;
    struct slice entry;
    return rows_next(&cursor, &seq, &entry) ? seq : 0;
}

size_t rows_count_up_to(const struct rows *rows, uint64_t seq)
{
    struct rows_cursor cursor = rows_cursor_of(rows);
    struct slice entry;
    uint64_t next_seq;
    size_t count = 0;
    if (rows->last_seq <= seq) {
        return rows->count;
    }
    while (rows_next(&cursor, &next_seq, &entry) && next_seq <= seq) {
        count++;
    }
    return count;
}
