// Everything, a page at a time. A page is copied out of the handle, which may be used for other
// calls between two steps. One thread at a time, that of the handle.

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "client/handle.h"
#include "client/options.h"

struct pgnear_iterator {
    pgnear *handle;
    pgnear_scan_options options;
    struct buffer prefix;
    struct buffer after; // the last key of the pages so far
    struct arena page;   // what `items` and `skipped` point to
    pgnear_item *items;
    size_t items_count;
    size_t next;
    bool has_more;
    uint64_t skipped;
};

pgnear_code pgnear_iterator_create(pgnear *handle, const pgnear_scan_options *options,
                                   pgnear_iterator **iterator, pgnear_error *error)
{
    pgnear_scan_options own;
    CHECK(handle != NULL);
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    pgnear_iterator *created = memory_zeroed(1, sizeof *created);
    created->handle = handle;
    created->options = own;
    created->options.size = sizeof own;
    created->has_more = true;
    buffer_append(&created->prefix, own.prefix.at, own.prefix.len);
    buffer_append(&created->after, own.after.at, own.after.len);
    *iterator = created;
    return PGNEAR_OK;
}

void pgnear_iterator_destroy(pgnear_iterator *iterator)
{
    if (iterator == NULL) {
        return;
    }
    buffer_deinit(&iterator->prefix);
    buffer_deinit(&iterator->after);
    arena_deinit(&iterator->page);
    free(iterator);
}

static pgnear_bytes copy(pgnear_iterator *iterator, pgnear_bytes bytes)
{
    return bytes_of_slice(arena_copy(&iterator->page, slice_of_bytes(bytes)));
}

static void keep_page(pgnear_iterator *iterator, const pgnear_page *page)
{
    arena_deinit(&iterator->page);
    iterator->items = arena_alloc(&iterator->page, (page->items_count + 1) * sizeof(pgnear_item));
    for (size_t i = 0; i < page->items_count; i++) {
        iterator->items[i] = page->items[i];
        iterator->items[i].key = copy(iterator, page->items[i].key);
        iterator->items[i].value = copy(iterator, page->items[i].value);
    }
    iterator->items_count = page->items_count;
    iterator->next = 0;
    iterator->skipped += page->skipped_count;
    iterator->has_more = page->has_next;
    buffer_clear(&iterator->after, SIZE_MAX);
    buffer_append(&iterator->after, page->next.at, page->next.len);
}

pgnear_code pgnear_iterator_next(pgnear_iterator *iterator, pgnear_item *item, pgnear_error *error)
{
    while (iterator->next == iterator->items_count && iterator->has_more) {
        pgnear_page page;
        iterator->options.prefix = bytes_of_slice(buffer_slice(&iterator->prefix));
        iterator->options.after = bytes_of_slice(buffer_slice(&iterator->after));
        pgnear_code code = pgnear_scan(iterator->handle, &iterator->options, &page, error);
        if (code != PGNEAR_OK) {
            return code;
        }
        keep_page(iterator, &page);
    }
    bool is_end = iterator->next == iterator->items_count;
    const pgnear_item next = is_end ? (pgnear_item){0} : iterator->items[iterator->next++];
    if (item != NULL) {
        *item = next;
    }
    return PGNEAR_OK;
}

uint64_t pgnear_iterator_skipped(const pgnear_iterator *iterator)
{
    return iterator->skipped;
}
