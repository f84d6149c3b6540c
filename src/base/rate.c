#include "base/rate.h"

#include <stddef.h>

#include "base/clock.h"

void rate_note(struct rate *rate, int64_t count, int64_t now_boot_us)
{
    int64_t second = now_boot_us / CLOCK_US_PER_S;
    size_t slot = (size_t)(second % RATE_SLOTS);
    int64_t before = 0;
    if (atomic_load_explicit(&rate->slots[slot].second, memory_order_relaxed) == second) {
        before = atomic_load_explicit(&rate->slots[slot].count, memory_order_relaxed);
    }
    atomic_store_explicit(&rate->slots[slot].count, before + count, memory_order_relaxed);
    atomic_store_explicit(&rate->slots[slot].second, second, memory_order_relaxed);
}

double rate_per_second(const struct rate *rate, int64_t now_boot_us)
{
    int64_t second = now_boot_us / CLOCK_US_PER_S;
    int64_t sum = 0;
    for (size_t i = 0; i < RATE_SLOTS; i++) {
        int64_t age = second - atomic_load_explicit(&rate->slots[i].second, memory_order_relaxed);
        if (age >= 1 && age <= RATE_SECONDS) {
            sum += atomic_load_explicit(&rate->slots[i].count, memory_order_relaxed);
        }
    }
    return (double)sum / RATE_SECONDS;
}
