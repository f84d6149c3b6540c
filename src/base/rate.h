// Events a second, over the last ten whole seconds. One thread notes, any thread looks, and neither
// waits: all is in relaxed atomics.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum { RATE_SLOTS = 16, RATE_SECONDS = 10 };

// All zeroes is an empty one.
struct rate {
    struct {
        _Atomic int64_t second; // since boot, that it is of
        _Atomic int64_t count;
    } slots[RATE_SLOTS];
};

// The one thread that notes: `count` more events.
void rate_note(struct rate *rate, int64_t count, int64_t now_boot_us);

// Any thread.
double rate_per_second(const struct rate *rate, int64_t now_boot_us);
