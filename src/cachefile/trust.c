// Trust in a record. Pure, any thread, owns nothing.
#include "cachefile/trust.h"

static const struct epoch_beat *beat_of(const struct page_view *page, uint64_t epoch)
{
    for (size_t i = 0; i < EPOCH_BEATS; i++) {
        if (page->beats[i].epoch == epoch) {
            return &page->beats[i];
        }
    }
    return NULL;
}

static bool is_swept(struct slice key, const struct page_view *page, const struct epoch_beat *beat)
{
    if (beat != NULL && beat->swept) {
        return true;
    }
    return page->hand_bytes > 0 && slice_compare(key, slice_of(page->hand, page->hand_bytes)) <= 0;
}

// The last heartbeat of the last epoch in which the record was good: its own, or a later one whose
// sweep passed over it.
static int64_t last_good_beat_us(const struct record *record, const struct page_view *page)
{
    int64_t last_us = 0;
    for (size_t i = 0; i < EPOCH_BEATS; i++) {
        const struct epoch_beat *beat = &page->beats[i];
        bool good = beat->epoch == record->epoch || (beat->epoch > record->epoch && beat->swept);
        if (beat->epoch != 0 && beat->epoch < page->epoch && good && beat->beat_us > last_us) {
            last_us = beat->beat_us;
        }
    }
    return last_us;
}

static bool is_within(int64_t beat_us, int64_t now_boot_us, int64_t limit_us)
{
    return beat_us != 0 && now_boot_us - beat_us <= limit_us;
}

enum trust trust_of_record(const struct record *record, struct slice key,
                           const struct page_view *page, int64_t now_boot_us,
                           int64_t *current_boot_us)
{
    if (record->pending) {
        *current_boot_us = now_boot_us;
        return TRUST_GOOD;
    }
    const struct epoch_beat *beat = beat_of(page, page->epoch);
    int64_t beat_us = beat != NULL ? beat->beat_us : 0;
    // A record of a later epoch than the page's was committed just before the page follows.
    bool current = record->epoch >= page->epoch || is_swept(key, page, beat);
    if (current) {
        if (beat_us == 0) {
            beat_us = last_good_beat_us(record, page); // swept before the first heartbeat
        }
        bool live = page->feed_live && is_within(beat_us, now_boot_us, FEED_LIVE_US);
        *current_boot_us = beat_us;
        if (live || is_within(beat_us, now_boot_us, page->max_stale_us)) {
            return TRUST_GOOD;
        }
        return TRUST_STALE;
    }
    *current_boot_us = last_good_beat_us(record, page);
    return is_within(*current_boot_us, now_boot_us, page->max_stale_us) ? TRUST_SUSPECT
                                                                        : TRUST_STALE;
}
