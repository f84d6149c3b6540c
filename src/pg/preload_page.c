// A row is looked at twice: for its size when the page has come, since the next page is asked for
// before this one is converted, and as a whole when it is.
#include "pg/preload_page.h"

#include <string.h>

#include "base/check.h"
#include "pg/table_row.h"

enum {
    VALUE_KEEP_BYTES = 1 << 20,
    PAGE_KEEP_BYTES = 4 << 20, // from one page to the next
};

void preload_page_ask(struct preload_page *page, struct slice after, uint64_t epoch)
{
    CHECK(!page->has_come && buffer_len(&page->bytes) == 0);
    CHECK_VALUES(after.len <= sizeof page->from, "%zu bytes", after.len);
    page->epoch = epoch;
    page->from_bytes = after.len;
    memcpy(page->from, after.at, after.len);
    marks_clear(&page->marks);
}

void preload_page_add(struct preload_page *page, struct slice bytes, size_t bytes_max)
{
    CHECK(!page->has_come);
    page->is_full = page->is_full || bytes.len > bytes_max - buffer_len(&page->bytes);
    if (!page->is_full) {
        buffer_append_slice(&page->bytes, bytes);
    }
}

bool preload_page_take(struct preload_page *page, size_t rows_asked, size_t text_max,
                       struct preload_extent *extent)
{
    struct slice fields[TABLE_ROW_COLUMNS];
    struct preload_extent found = {0};
    struct copy_rows rows;
    size_t rows_count = 0, taken = 0;
    enum copy_step step;
    if (!copy_rows_begin(&rows, buffer_slice(&page->bytes))) {
        return false;
    }
    page->rows = rows;
    while ((step = copy_rows_next(&rows, fields, TABLE_ROW_COLUMNS)) == COPY_ROW) {
        struct table_row row;
        if (!table_row_of_fields(fields, &row) || row.key.len > KEY_BYTES_MAX) {
            return false;
        }
        rows_count++;
        found.is_cut = found.is_cut || (rows_asked > 1 && row.json.len >= text_max);
        if (!found.is_cut) {
            found.text_bytes += row.key.len + row.json.len;
            page->last_key = row.key;
            taken++;
        }
    }
    // Of a page that is full, the end is missing.
    if ((step != COPY_END && !page->is_full) || rows_count > rows_asked) {
        return false;
    }
    found.is_cut = found.is_cut || (page->is_full && taken == 0);
    found.is_last = !found.is_cut && !page->is_full && rows_count < rows_asked;
    page->rows_count = taken;
    page->row = 0;
    page->has_come = true;
    *extent = found;
    return true;
}

bool preload_page_is_converted(const struct preload_page *page)
{
    return page->row == page->rows_count;
}

// False where the row is beyond the limits.
static bool add_fill(struct fills_message *fills, const struct table_row *row,
                     size_t value_bytes_max, struct buffer *value)
{
    buffer_clear(value, VALUE_KEEP_BYTES);
    if (table_row_convert(row, value_bytes_max, value, NULL) != ERROR_NONE) {
        return false;
    }
    fills->fills[fills->fills_count++] = (struct fill){
        .key = arena_copy(&fills->arena, row->key),
        .present = true,
        .value = arena_copy(&fills->arena, buffer_slice(value)),
        .version = row->version,
        .expires_at_us = row->expires_at_us,
    };
    return true;
}

size_t preload_page_convert(struct preload_page *page, size_t rows_max, size_t value_bytes_max,
                            struct buffer *value, struct fills_message *fills)
{
    size_t left = page->rows_count - page->row, skipped = 0;
    size_t end = page->row + (left < rows_max ? left : rows_max);
    fills->fills = arena_alloc(&fills->arena, (end - page->row + 1) * sizeof fills->fills[0]);
    marks_sort(&page->marks);
    struct table_row row = {.key = slice_of(page->from, page->from_bytes)};
    struct slice fields[TABLE_ROW_COLUMNS];
    for (; page->row < end; page->row++) {
        CHECK(copy_rows_next(&page->rows, fields, TABLE_ROW_COLUMNS) == COPY_ROW);
        CHECK(table_row_of_fields(fields, &row));
        if (!marks_has(&page->marks, row.key)) {
            skipped += !add_fill(fills, &row, value_bytes_max, value);
        }
    }
    memmove(page->from, row.key.at, row.key.len);
    page->from_bytes = row.key.len;
    return skipped;
}

void preload_page_drop(struct preload_page *page)
{
    buffer_clear(&page->bytes, PAGE_KEEP_BYTES);
    page->is_full = false;
    page->has_come = false;
    page->is_void = false;
    marks_clear(&page->marks);
}

void preload_page_deinit(struct preload_page *page)
{
    preload_page_drop(page);
    buffer_deinit(&page->bytes);
}
