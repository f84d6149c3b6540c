#include "pg/scan_page.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

// What an item takes in the reply besides its key and value.
enum { ITEM_BYTES = 16 };

void scan_page_deinit(struct scan_page *page)
{
    free(page->entries);
    free(page->skipped);
    *page = (struct scan_page){0};
}

static size_t weight_of(struct slice key, struct slice value)
{
    return key.len + value.len + ITEM_BYTES;
}

bool scan_page_is_full(const struct scan_page *page)
{
    return page->visible_count > page->items_max ||
           (page->visible_count > 1 && page->bytes > page->bytes_max);
}

// ---- Entries

static struct page_entry *add_entry(struct scan_page *page, struct slice key)
{
    if (page->entries_count == page->entries_capacity) {
        size_t capacity = page->entries_capacity == 0 ? 64 : 2 * page->entries_capacity;
        page->entries = memory_resize(page->entries, capacity * sizeof *page->entries);
        page->entries_capacity = capacity;
    }
    struct page_entry *entry = &page->entries[page->entries_count++];
    *entry = (struct page_entry){.key = arena_copy(page->arena, key)};
    page->after = entry->key;
    return entry;
}

static void hide(struct scan_page *page, struct page_entry *entry)
{
    if (entry->is_visible) {
        entry->is_visible = false;
        page->visible_count--;
        page->bytes -= weight_of(entry->key, entry->value);
    }
}

static void show(struct scan_page *page, struct page_entry *entry, struct slice value)
{
    hide(page, entry);
    entry->is_visible = true;
    entry->value = arena_copy(page->arena, value);
    page->visible_count++;
    page->bytes += weight_of(entry->key, entry->value);
}

static void skip(struct scan_page *page, struct slice name)
{
    if (page->skipped_count == SKIPPED_NAMES_MAX) {
        return;
    }
    if (page->skipped_count == page->skipped_capacity) {
        size_t capacity = page->skipped_capacity == 0 ? 16 : 2 * page->skipped_capacity;
        page->skipped = memory_resize(page->skipped, capacity * sizeof *page->skipped);
        page->skipped_capacity = capacity;
    }
    page->skipped[page->skipped_count++] = arena_copy(page->arena, name);
}

static void show_row(struct scan_page *page, struct page_entry *entry, const struct table_row *row)
{
    struct buffer value = {0};
    if (table_row_is_expired(row, page->now_us)) {
        return;
    }
    if (table_row_convert(row, page->value_bytes_max, &value, NULL) == ERROR_NONE) {
        show(page, entry, buffer_slice(&value));
        entry->has_version = true;
        entry->version = row->version;
        entry->expires_at_us = row->expires_at_us;
    } else {
        skip(page, row->key);
    }
    buffer_deinit(&value);
}

static void add_write(struct scan_page *page, const struct overlay_write *write)
{
    struct page_entry *entry = add_entry(page, write->key);
    bool is_expired = write->expires_at_us != 0 && write->expires_at_us <= page->now_us;
    entry->seq = write->seq;
    if (write->is_present && !is_expired) {
        show(page, entry, write->value);
        entry->expires_at_us = write->expires_at_us;
    }
}

// ---- Merging

// No client can ask for such a key, but an operator can: it is named whole, or by its first
// characters where it is longer than any name need be.
static void skip_long(struct scan_page *page, struct slice key)
{
    if (key.len <= SKIPPED_NAME_BYTES_MAX) {
        skip(page, key);
        return;
    }
    size_t len = SKIPPED_NAME_BYTES_MAX;
    while (len > 0 && (key.at[len] & 0xC0) == 0x80) {
        len--;
    }
    skip(page, slice_of(key.at, len));
}

// The first write after the keys that have been looked at.
static size_t first_write(const struct overlay *overlay, struct slice after)
{
    size_t low = 0, high = overlay->writes_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(overlay->writes[middle].key, after) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// Whether nothing is known of the key yet, by the rows or by the overlay.
static bool is_beyond(struct slice key, bool is_bounded, struct slice bound)
{
    return is_bounded && slice_compare(key, bound) > 0;
}

void scan_page_merge(struct scan_page *page, const struct table_row *rows, size_t rows_count,
                     bool is_end, const struct overlay *overlay)
{
    size_t row = 0, write = first_write(overlay, page->after);
    bool is_bounded = overlay->has_horizon;
    struct slice bound = overlay->horizon;
    if (!is_end) {
        if (rows_count == 0) {
            return;
        }
        struct slice last = rows[rows_count - 1].key;
        bound = is_beyond(last, is_bounded, bound) ? bound : last;
        is_bounded = true;
    }
    while (!scan_page_is_full(page)) {
        bool has_row = row < rows_count && !is_beyond(rows[row].key, is_bounded, bound);
        bool has_write = write < overlay->writes_count &&
                         !is_beyond(overlay->writes[write].key, is_bounded, bound);
        if (!has_row && !has_write) {
            // Rows end before a horizon that the overlay may end at: go on behind it.
            page->is_complete = !is_bounded;
            page->after = is_bounded ? arena_copy(page->arena, bound) : page->after;
            return;
        }
        int order = !has_row     ? 1
                    : !has_write ? -1
                                 : slice_compare(rows[row].key, overlay->writes[write].key);
        if (order >= 0) {
            add_write(page, &overlay->writes[write++]);
        } else if (rows[row].key.len > KEY_BYTES_MAX) {
            skip_long(page, rows[row].key);
        } else {
            show_row(page, add_entry(page, rows[row].key), &rows[row]);
        }
        row += order <= 0;
    }
}

// ---- What was flushed meanwhile

void scan_page_refresh(struct scan_page *page, const struct table_row *rows, size_t rows_count,
                       bool is_cut, uint64_t applied_seq)
{
    size_t row = 0;
    for (size_t i = 0; i < page->entries_count; i++) {
        struct page_entry *entry = &page->entries[i];
        if (!page_entry_is_flushed(entry, applied_seq)) {
            continue;
        }
        while (row < rows_count && slice_compare(rows[row].key, entry->key) < 0) {
            row++;
        }
        if (row == rows_count && is_cut) {
            return;
        }
        entry->seq = 0;
        hide(page, entry);
        if (row < rows_count && slice_equal(rows[row].key, entry->key)) {
            show_row(page, entry, &rows[row]);
        }
    }
}

// ---- The reply

static struct item item_of(const struct page_entry *entry)
{
    return (struct item){
        .key = entry->key,
        .value = entry->value,
        .present = true,
        .has_version = entry->has_version,
        .version = entry->version,
        .expires_at_us = entry->expires_at_us,
    };
}

static void finish_skipped(const struct scan_page *page, struct reply *reply)
{
    reply->skipped = arena_alloc(&reply->arena, page->skipped_count * sizeof *reply->skipped);
    for (size_t i = 0; i < page->skipped_count; i++) {
        // Those behind the end of the page come with the next one.
        if (reply->next.len == 0 || slice_compare(page->skipped[i], reply->next) <= 0) {
            reply->skipped[reply->skipped_count++] = page->skipped[i];
        }
    }
}

void scan_page_finish(struct scan_page *page, struct reply *reply)
{
    CHECK(page->arena == &reply->arena);
    size_t bytes = 0, items_count = 0, place = 0;
    struct item *items = reply_items(reply, page->visible_count);
    reply->next = page->is_complete ? slice_of("", 0) : page->after;
    for (; place < page->entries_count; place++) {
        const struct page_entry *entry = &page->entries[place];
        if (!entry->is_visible) {
            continue;
        }
        bytes += weight_of(entry->key, entry->value);
        if (items_count == page->items_max || (items_count > 0 && bytes > page->bytes_max)) {
            reply->next = page->entries[place - 1].key;
            break;
        }
        items[items_count++] = item_of(entry);
    }
    reply->items_count = items_count;
    CHECK_VALUES(reply->next.len <= KEY_BYTES_MAX, "%zu bytes", reply->next.len);
    finish_skipped(page, reply);
}
