// Rows come one at a time, as a rule, and are taken where they lie; only what ends within a row is
// kept until the rest of it comes.
#include "pg/preload_page.h"

#include <string.h>

#include "base/check.h"
#include "pg/table_row.h"

enum {
    VALUE_KEEP_BYTES = 1 << 20,
    REST_KEEP_BYTES = 1 << 20, // from one page to the next
};

void preload_page_ask(struct preload_page *page, const struct preload_limits *limits,
                      uint64_t epoch)
{
    CHECK(page->fills == NULL && buffer_len(&page->rest) == 0 && page->rows_count == 0);
    CHECK(limits->rows_asked > 0 && limits->step_rows > 0);
    page->limits = *limits;
    page->epoch = epoch;
    marks_clear(&page->marks);
}

// ---- Rows

static void begin_fills(struct preload_page *page)
{
    struct fills_message *fills = message_create(MESSAGE_FILLS, sizeof *fills);
    const struct preload_limits *limits = &page->limits;
    size_t rows = limits->step_rows < limits->rows_asked ? limits->step_rows : limits->rows_asked;
    fills->fills = arena_alloc_raw(&fills->arena, rows * sizeof fills->fills[0]);
    page->fills = fills;
}

// False where the row is beyond the limits.
static bool add_fill(struct preload_page *page, const struct table_row *row)
{
    buffer_clear(&page->value, VALUE_KEEP_BYTES);
    if (table_row_convert(row, page->limits.value_bytes_max, &page->value, NULL) != ERROR_NONE) {
        return false;
    }
    if (page->fills == NULL) {
        begin_fills(page);
    }
    struct fills_message *fills = page->fills;
    fills->fills[fills->fills_count++] = (struct fill){
        .key = arena_copy(&fills->arena, row->key),
        .present = true,
        .value = arena_copy(&fills->arena, buffer_slice(&page->value)),
        .version = row->version,
        .expires_at_us = row->expires_at_us,
    };
    return true;
}

// Whether the row is of this page.
static bool has_room(struct preload_page *page, const struct table_row *row, size_t bytes)
{
    if (page->limits.rows_asked == 1) {
        return true;
    }
    bool is_too_large = bytes > page->limits.bytes_max;
    page->is_cut = row->json.len >= page->limits.text_max || is_too_large;
    page->is_full = !page->is_cut && bytes > page->limits.bytes_max - page->text_bytes;
    return !page->is_cut && !page->is_full;
}

static void take_row(struct preload_page *page, const struct slice *fields)
{
    struct table_row row;
    page->is_bad = !table_row_of_fields(fields, &row) || row.key.len > sizeof page->last ||
                   page->rows_count == page->limits.rows_asked;
    if (page->is_bad || !has_room(page, &row, row.key.len + row.json.len)) {
        return;
    }
    page->rows_count++;
    page->step_rows++;
    page->step_bytes += row.json.len;
    page->text_bytes += row.key.len + row.json.len;
    page->skipped += !add_fill(page, &row);
    memcpy(page->last, row.key.at, row.key.len);
    page->last_bytes = row.key.len;
}

static bool takes_more(const struct preload_page *page)
{
    return !page->is_bad && !page->is_cut && !page->is_full && !page->is_void && !page->has_ended;
}

static bool is_step(const struct preload_page *page)
{
    return page->step_rows >= page->limits.step_rows || page->step_bytes >= page->limits.step_bytes;
}

// Takes rows as far as there are whole ones, or enough of them.
static void take_rows(struct preload_page *page, struct slice *left)
{
    struct slice fields[TABLE_ROW_COLUMNS];
    enum copy_step step = COPY_ROW;
    if (!page->has_begun) {
        step = copy_rows_begin(left);
        page->has_begun = step == COPY_ROW;
    }
    while (step == COPY_ROW && takes_more(page) && !is_step(page)) {
        step = copy_rows_next(left, fields, TABLE_ROW_COLUMNS);
        if (step == COPY_ROW) {
            take_row(page, fields);
        }
    }
    page->has_ended = page->has_ended || step == COPY_END;
    page->is_bad = page->is_bad || step == COPY_BAD;
}

bool preload_page_take(struct preload_page *page, struct slice *bytes)
{
    // What comes behind the last row is none of it.
    page->is_bad = page->is_bad || (page->has_ended && bytes->len > 0);
    if (!takes_more(page)) {
        return false;
    }
    if (buffer_len(&page->rest) == 0) {
        take_rows(page, bytes);
        if (is_step(page) || bytes->len == 0 || !takes_more(page)) {
            return is_step(page);
        }
    }
    buffer_append_slice(&page->rest, *bytes);
    *bytes = slice_of("", 0);
    struct slice left = buffer_slice(&page->rest);
    take_rows(page, &left);
    buffer_consume(&page->rest, buffer_len(&page->rest) - left.len);
    return is_step(page);
}

// ---- Fills

// Takes out those that were heard of.
static void leave_out_marked(struct preload_page *page, struct fills_message *fills)
{
    if (page->marks.count == 0 && !page->marks.all) {
        return;
    }
    size_t kept = 0;
    marks_sort(&page->marks);
    for (size_t i = 0; i < fills->fills_count; i++) {
        if (!marks_has(&page->marks, fills->fills[i].key)) {
            fills->fills[kept++] = fills->fills[i];
        }
    }
    fills->fills_count = kept;
}

struct fills_message *preload_page_fills(struct preload_page *page)
{
    struct fills_message *fills = page->fills;
    page->fills = NULL;
    page->step_rows = 0;
    page->step_bytes = 0;
    if (fills != NULL) {
        fills->epoch = page->epoch;
        leave_out_marked(page, fills);
    }
    if (fills != NULL && fills->fills_count == 0) {
        message_destroy(&fills->message);
        fills = NULL;
    }
    return fills;
}

// ---- Its end

bool preload_page_is_whole(const struct preload_page *page)
{
    return !page->is_bad && (page->has_ended || page->is_cut || page->is_full);
}

bool preload_page_is_last(const struct preload_page *page)
{
    return !page->is_bad && page->has_ended && page->rows_count < page->limits.rows_asked;
}

void preload_page_drop(struct preload_page *page)
{
    if (page->fills != NULL) {
        message_destroy(&page->fills->message);
        page->fills = NULL;
    }
    buffer_clear(&page->rest, REST_KEEP_BYTES);
    marks_clear(&page->marks);
    page->has_begun = page->has_ended = false;
    page->is_bad = page->is_cut = page->is_full = page->is_void = false;
    page->rows_count = 0;
    page->text_bytes = 0;
    page->skipped = 0;
    page->step_rows = 0;
    page->step_bytes = 0;
    page->last_bytes = 0;
}

void preload_page_deinit(struct preload_page *page)
{
    preload_page_drop(page);
    buffer_deinit(&page->rest);
    buffer_deinit(&page->value);
}
