// Any bytes as a record of the cache beside any bytes as the control page, as a direct reader meets
// them where somebody scribbled over the files: what decodes is what encoding it yields again, and
// no page makes a record more trusted than the rules allow. The first byte says how many of the
// next are the key, then comes the page, then the record.
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "cachefile/control.h"
#include "cachefile/record.h"
#include "cachefile/trust.h"

enum { NOW_US = 1000000000, MAX_STALE_US = 60000000 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

// The bytes up to `count`, taken from the front of `rest`.
static struct slice take(struct slice *rest, size_t count)
{
    struct slice taken = slice_of(rest->at, count < rest->len ? count : rest->len);
    *rest = slice_of(rest->at + taken.len, rest->len - taken.len);
    return taken;
}

static void check_encoding(const struct record *record)
{
    size_t bytes = record_bytes(record);
    uint8_t *encoded = memory_resize(NULL, bytes);
    struct record again;
    record_encode(record, slice_of_string("k"), encoded);
    CHECK(record_is_whole(slice_of(encoded, bytes), slice_of_string("k")));
    CHECK(record_decode(slice_of(encoded, bytes), &again) == ERROR_NONE);
    CHECK(again.pending == record->pending && again.absent == record->absent);
    CHECK(again.tainted == record->tainted && again.stacked == record->stacked);
    CHECK(again.version == record->version && again.epoch == record->epoch);
    CHECK(again.expires_at_us == record->expires_at_us);
    CHECK(again.stored_at_us == record->stored_at_us && again.origin == record->origin);
    CHECK(record_origin_name(record->origin)[0] != '\0');
    CHECK(again.pending_seq == record->pending_seq && slice_equal(again.value, record->value));
    free(encoded);
}

static bool has_beat_within(const struct page_view *view, int64_t limit_us)
{
    for (size_t i = 0; i < EPOCH_BEATS; i++) {
        int64_t beat_us = view->beats[i].beat_us;
        // In the future, or so far back that the difference wraps: no daemon writes such a page.
        if (beat_us != 0 && beat_us >= NOW_US - limit_us) {
            return true;
        }
    }
    return false;
}

static void check_trust(const struct record *record, struct slice key, struct page_view *view)
{
    int64_t current_us = 0;
    // What is compared are times since the boot; the daemon writes no others.
    for (size_t i = 0; i < EPOCH_BEATS; i++) {
        view->beats[i].beat_us &= 0xffffffffffff;
    }
    view->max_stale_us = MAX_STALE_US;
    enum trust trust = trust_of_record(record, key, view, NOW_US, &current_us);
    CHECK(!record->pending || (trust == TRUST_GOOD && current_us == NOW_US));
    if (!record->pending && trust != TRUST_STALE) {
        CHECK(current_us != 0 && has_beat_within(view, MAX_STALE_US));
    }
    // A page without a heartbeat vouches for nothing.
    memset(view->beats, 0, sizeof view->beats);
    trust = trust_of_record(record, key, view, NOW_US, &current_us);
    CHECK((trust == TRUST_GOOD) == record->pending);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct slice rest = slice_of(bytes, len);
    if (len < 2) {
        return 0;
    }
    struct slice key = take(&rest, 1);
    key = take(&rest, 1u + key.at[0]);
    struct control_page *page = memory_zeroed(1, CONTROL_BYTES);
    size_t guarded = CONTROL_BYTES - offsetof(struct control_page, sequence);
    struct slice scribble = take(&rest, guarded < rest.len / 2 ? guarded : rest.len / 2);
    memcpy((uint8_t *)page + offsetof(struct control_page, sequence), scribble.at, scribble.len);
    struct page_view view = {0};
    struct record record;
    uint64_t sequence;
    bool seen = control_try_view(page, &view, &sequence);
    CHECK(!seen || (sequence % 2 == 0 && view.hand_bytes <= sizeof view.hand));
    if (record_decode(rest, &record) == ERROR_NONE) {
        check_encoding(&record);
        if (seen && key.len > 0) {
            check_trust(&record, key, &view);
        }
    }
    free(page);
    return 0;
}
