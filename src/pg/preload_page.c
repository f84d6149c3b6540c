// A row is looked at twice: for its size when the page comes, since the next page is asked for
// before this one is converted, and as a whole when it is.
#include "pg/preload_page.h"

#include <string.h>

#include "base/check.h"
#include "pg/table_row.h"

enum { VALUE_KEEP_BYTES = 1 << 20 };

void preload_page_ask(struct preload_page *page, struct slice after, uint64_t epoch)
{
    CHECK(page->result == NULL);
    CHECK_VALUES(after.len <= sizeof page->from, "%zu bytes", after.len);
    page->epoch = epoch;
    page->from_bytes = after.len;
    memcpy(page->from, after.at, after.len);
    marks_clear(&page->marks);
}

struct preload_extent preload_page_take(struct preload_page *page, PGresult *result, bool is_alone)
{
    struct preload_extent extent = {0};
    int rows = PQntuples(result), row = 0;
    for (; row < rows; row++) {
        size_t bytes;
        if (!table_row_size(result, row, &bytes) && !is_alone) {
            extent.is_cut = true;
            break;
        }
        extent.text_bytes += bytes;
    }
    page->result = result;
    page->rows_count = (size_t)row;
    page->row = 0;
    return extent;
}

struct slice preload_page_last_key(const struct preload_page *page)
{
    CHECK(page->result != NULL && page->rows_count > 0);
    struct table_row row;
    table_row_read(page->result, (int)page->rows_count - 1, &row);
    return row.key;
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
    for (; page->row < end; page->row++) {
        table_row_read(page->result, (int)page->row, &row);
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
    PQclear(page->result);
    page->result = NULL;
    page->is_void = false;
    marks_clear(&page->marks);
}
