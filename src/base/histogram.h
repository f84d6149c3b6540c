// Durations as a log-linear histogram (eight buckets an octave): the percentiles of the last one to
// two minutes, and how many there were and their sum since the start.
//
//   0 1 2 ... 15 | 16-17 18-19 ... 30-31 | 32-35 ... 60-63 | ... 2^36 us
//
// One thread records, any thread looks, and neither waits: all is in relaxed atomics. A look while
// a minute ends may miss some of it.
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 16 + 32 * 8, HISTOGRAM_SLOTS = 2, HISTOGRAM_SLOT_S = 60 };

struct histogram_slot {
    _Atomic int64_t number; // of the minute since boot that it is of
    _Atomic uint32_t counts[HISTOGRAM_BUCKETS];
};

// All zeroes is an empty one.
struct histogram {
    struct histogram_slot slots[HISTOGRAM_SLOTS];
    _Atomic uint64_t count; // since the start
    _Atomic uint64_t sum_us;
};

// The one thread that records: `count` that took so long each. What is negative counts as 0.
void histogram_record(struct histogram *histogram, uint32_t count, int64_t duration_us,
                      int64_t now_boot_us);

// What was looked at: of one histogram, or of several added up. All zeroes is empty.
struct histogram_view {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t recent; // of the last one to two minutes
    uint64_t count;  // since the start
    uint64_t sum_us;
};

// Any thread.
void histogram_look(struct histogram_view *view, const struct histogram *histogram,
                    int64_t now_boot_us);

// The duration that `per_mille` of a thousand recent ones do not exceed, at most an eighth too
// large; -1 where there are none. 1000 is the longest.
int64_t histogram_percentile_us(const struct histogram_view *view, unsigned per_mille);
