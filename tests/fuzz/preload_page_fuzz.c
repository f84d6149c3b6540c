// Any bytes as what COPY sends of a page of the preload: what is taken of them are rows with keys
// within our limit, and all of it becomes fills or is counted as beyond the limits. The first two
// bytes are the number of rows that were asked for and how much of the page is kept.
#include "base/check.h"
#include "pg/preload_page.h"

enum { VALUE_BYTES_MAX = 4096, TEXT_MAX = 64, STEP_ROWS = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void convert(struct preload_page *page)
{
    struct buffer value = {0};
    size_t rows = 0;
    while (!preload_page_is_converted(page)) {
        struct fills_message *fills = message_create(MESSAGE_FILLS, sizeof *fills);
        size_t skipped = preload_page_convert(page, STEP_ROWS, VALUE_BYTES_MAX, &value, fills);
        rows += skipped + fills->fills_count;
        for (size_t i = 0; i < fills->fills_count; i++) {
            CHECK(fills->fills[i].key.len <= KEY_BYTES_MAX && fills->fills[i].value.len > 0);
        }
        message_destroy(&fills->message);
    }
    CHECK(rows == page->rows_count);
    CHECK(rows == 0 || slice_equal(page->last_key, slice_of(page->from, page->from_bytes)));
    buffer_deinit(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2) {
        return 0;
    }
    size_t rows_asked = bytes[0] + 1U;
    size_t bytes_max = bytes[1] == 0 ? SIZE_MAX : bytes[1] * 8U;
    struct preload_page page = {0};
    struct preload_extent extent;
    preload_page_ask(&page, slice_of("", 0), 1);
    preload_page_add(&page, slice_of(bytes + 2, (len - 2) / 2), bytes_max);
    preload_page_add(&page, slice_of(bytes + 2 + (len - 2) / 2, (len - 1) / 2), bytes_max);
    if (preload_page_take(&page, rows_asked, TEXT_MAX, &extent)) {
        CHECK(page.rows_count <= rows_asked && !(extent.is_cut && extent.is_last));
        convert(&page);
    }
    preload_page_deinit(&page);
    return 0;
}
