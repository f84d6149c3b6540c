#include "base/histogram.h"

#include "base/check.h"
#include "base/clock.h"

enum { LINEAR = 16, LINEAR_BITS = 4, PER_OCTAVE = 8, PER_OCTAVE_BITS = 3, EXPONENT_MAX = 35 };

static uint64_t load(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static size_t bucket_of(int64_t duration_us)
{
    if (duration_us < LINEAR) {
        return duration_us > 0 ? (size_t)duration_us : 0;
    }
    int exponent = 63 - __builtin_clzll((unsigned long long)duration_us);
    if (exponent > EXPONENT_MAX) {
        return HISTOGRAM_BUCKETS - 1;
    }
    size_t part = (size_t)(duration_us >> (exponent - PER_OCTAVE_BITS)) & (PER_OCTAVE - 1);
    return LINEAR + (size_t)(exponent - LINEAR_BITS) * PER_OCTAVE + part;
}

// The longest duration that falls into it.
static int64_t bucket_end_us(size_t bucket)
{
    if (bucket < LINEAR) {
        return (int64_t)bucket;
    }
    size_t octave = (bucket - LINEAR) / PER_OCTAVE;
    size_t part = (bucket - LINEAR) % PER_OCTAVE;
    size_t shift = octave + LINEAR_BITS - PER_OCTAVE_BITS;
    return ((int64_t)(PER_OCTAVE + part + 1) << shift) - 1;
}

static int64_t slot_number(int64_t now_boot_us)
{
    return now_boot_us / ((int64_t)HISTOGRAM_SLOT_S * CLOCK_US_PER_S);
}

static struct histogram_slot *slot_at(struct histogram *histogram, int64_t number)
{
    struct histogram_slot *slot = &histogram->slots[number % HISTOGRAM_SLOTS];
    if (atomic_load_explicit(&slot->number, memory_order_relaxed) != number) {
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
            atomic_store_explicit(&slot->counts[i], 0, memory_order_relaxed);
        }
        atomic_store_explicit(&slot->number, number, memory_order_relaxed);
    }
    return slot;
}

void histogram_record(struct histogram *histogram, uint32_t count, int64_t duration_us,
                      int64_t now_boot_us)
{
    duration_us = duration_us > 0 ? duration_us : 0;
    struct histogram_slot *slot = slot_at(histogram, slot_number(now_boot_us));
    // One thread writes, so that what it has read it may add to.
    _Atomic uint32_t *bucket = &slot->counts[bucket_of(duration_us)];
    uint32_t before = atomic_load_explicit(bucket, memory_order_relaxed);
    atomic_store_explicit(bucket, before + count, memory_order_relaxed);
    atomic_store_explicit(&histogram->count, load(&histogram->count) + count, memory_order_relaxed);
    atomic_store_explicit(&histogram->sum_us,
                          load(&histogram->sum_us) + (uint64_t)duration_us * count,
                          memory_order_relaxed);
}

void histogram_look(struct histogram_view *view, const struct histogram *histogram,
                    int64_t now_boot_us)
{
    int64_t present = slot_number(now_boot_us);
    for (size_t i = 0; i < HISTOGRAM_SLOTS; i++) {
        const struct histogram_slot *slot = &histogram->slots[i];
        if (present - atomic_load_explicit(&slot->number, memory_order_relaxed) >=
            HISTOGRAM_SLOTS) {
            continue;
        }
        for (size_t j = 0; j < HISTOGRAM_BUCKETS; j++) {
            uint32_t count = atomic_load_explicit(&slot->counts[j], memory_order_relaxed);
            view->counts[j] += count;
            view->recent += count;
        }
    }
    view->count += load(&histogram->count);
    view->sum_us += load(&histogram->sum_us);
}

int64_t histogram_percentile_us(const struct histogram_view *view, unsigned per_mille)
{
    CHECK_VALUES(per_mille <= 1000, "%u", per_mille);
    if (view->recent == 0) {
        return -1;
    }
    uint64_t rank = (view->recent * per_mille + 999) / 1000; // the rank-th smallest, from 1
    uint64_t passed = 0;
    size_t last = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (view->counts[i] == 0) {
            continue;
        }
        last = i;
        passed += view->counts[i];
        if (passed >= rank) {
            break;
        }
    }
    return bucket_end_us(last);
}
