// How far a reader may trust a record, given a copy of the control page: the reading half of the
// rules of coherence. The daemon and direct readers run the same function, so that they answer the
// same. No I/O, no clock, no threads.
//
// The numbers in the comments are those of docs/architecture.md, "Rules of coherence".
#pragma once

#include "base/limits.h"
#include "cachefile/record.h"

enum { EPOCH_BEATS = 8, FEED_LIVE_US = 2000000 };

struct epoch_beat {
    uint64_t epoch;  // 0: none
    int64_t beat_us; // CLOCK_BOOTTIME when its last heartbeat that came back was sent; 0: none
    bool swept;      // the sweep of that epoch reached its end
};

// What a reader knows of the feed: a copy of the control page.
struct page_view {
    uint64_t epoch;
    bool feed_live; // no FEED_LOST since the epoch began
    int64_t max_stale_us;
    int64_t clock_offset_us;              // PostgreSQL's clock minus CLOCK_BOOTTIME
    struct epoch_beat beats[EPOCH_BEATS]; // of the present epoch and those before it, any order
    size_t hand_bytes;                    // 0: the sweep has not begun
    uint8_t hand[KEY_BYTES_MAX];          // records up to this key are swept in this epoch
};

enum trust {
    TRUST_GOOD,
    TRUST_SUSPECT, // to be asked of PostgreSQL; may be served where that cannot be asked
    TRUST_STALE,   // to be asked of PostgreSQL and not served otherwise
};

// `current_boot_us` is set to the last time the record was known to be current, 0 where that is
// not known; of a pending record it is `now_boot_us`.
enum trust trust_of_record(const struct record *record, struct slice key,
                           const struct page_view *page, int64_t now_boot_us,
                           int64_t *current_boot_us);

static inline bool record_is_expired(const struct record *record, int64_t now_us)
{
    return record->expires_at_us != 0 && record->expires_at_us <= now_us;
}
