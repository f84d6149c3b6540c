// Any bytes as what COPY sends of a page of the preload: what is taken of them are rows with keys
// within our limit, and all of it becomes fills or is counted as beyond the limits, the same
// wherever the pieces end. The first two bytes are the number of rows that were asked for and how
// much of the page is kept.
#include "base/check.h"
#include "pg/preload_page.h"

enum { VALUE_BYTES_MAX = 4096, TEXT_MAX = 64, STEP_ROWS = 3, STEP_BYTES = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

// How many there are.
static size_t take_fills(struct preload_page *page)
{
    struct fills_message *fills = preload_page_fills(page);
    if (fills == NULL) {
        return 0;
    }
    size_t count = fills->fills_count;
    CHECK(count > 0 && count <= STEP_ROWS);
    for (size_t i = 0; i < count; i++) {
        CHECK(fills->fills[i].key.len <= KEY_BYTES_MAX && fills->fills[i].value.len > 0);
    }
    message_destroy(&fills->message);
    return count;
}

static size_t take_some(struct preload_page *page, struct slice bytes)
{
    size_t count = 0;
    while (preload_page_take(page, &bytes)) {
        count += take_fills(page);
    }
    return count;
}

static void take(struct preload_page *page, const struct preload_limits *limits, struct slice bytes,
                 size_t first)
{
    preload_page_ask(page, limits, 1);
    size_t count = take_some(page, slice_of(bytes.at, first));
    count += take_some(page, slice_of(bytes.at + first, bytes.len - first));
    count += take_fills(page);
    CHECK(page->rows_count <= limits->rows_asked);
    CHECK(count + page->skipped == page->rows_count);
    CHECK(!preload_page_is_last(page) || (preload_page_is_whole(page) && !page->is_cut));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2) {
        return 0;
    }
    const struct preload_limits limits = {
        .rows_asked = bytes[0] + 1U,
        .text_max = TEXT_MAX,
        .bytes_max = bytes[1] == 0 ? SIZE_MAX : bytes[1] * 8U,
        .value_bytes_max = VALUE_BYTES_MAX,
        .step_rows = STEP_ROWS,
        .step_bytes = STEP_BYTES,
    };
    struct slice all = slice_of(bytes + 2, len - 2);
    struct preload_page whole = {0}, halves = {0};
    take(&whole, &limits, all, all.len);
    take(&halves, &limits, all, all.len / 2);
    CHECK(whole.rows_count == halves.rows_count && whole.skipped == halves.skipped);
    CHECK(preload_page_is_whole(&whole) == preload_page_is_whole(&halves));
    preload_page_deinit(&whole);
    preload_page_deinit(&halves);
    return 0;
}
