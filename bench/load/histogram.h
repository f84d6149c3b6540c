// Latencies in log-linear buckets, as HdrHistogram has them: 64 buckets to each power of two, so
// that any recorded value is known to 1.6 % from a nanosecond to an hour, in a fixed 24 KiB.
// One thread.
#pragma once

#include <stdint.h>
#include <stdio.h>

enum {
    HISTOGRAM_SUB_BITS = 6,
    HISTOGRAM_SUB_COUNT = 1 << HISTOGRAM_SUB_BITS,
    HISTOGRAM_EXPONENTS = 42,
    HISTOGRAM_BUCKETS = HISTOGRAM_EXPONENTS * HISTOGRAM_SUB_COUNT,
};

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t sum_ns;
    uint64_t max_ns;
};

// Zeroes are a valid empty histogram.
void histogram_record(struct histogram *histogram, uint64_t value_ns);

// The value that a share `quantile` (0 to 1) of all recorded ones does not exceed, as the upper
// edge of its bucket; 0 where nothing was recorded.
uint64_t histogram_quantile_ns(const struct histogram *histogram, double quantile);

// As a JSON object: count, mean, p50, p90, p99, p999, max and the buckets that hold anything, each
// [upper edge in ns, count].
void histogram_print(const struct histogram *histogram, FILE *out);
