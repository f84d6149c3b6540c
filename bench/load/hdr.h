// Latencies in log-linear buckets, as HdrHistogram has them: 64 buckets to each power of two, so
// that any recorded value is known to 1.6 % from a nanosecond to an hour, in a fixed 24 KiB.
// One thread.
#pragma once

#include <stdint.h>
#include <stdio.h>

enum {
    HDR_SUB_BITS = 6,
    HDR_SUB_COUNT = 1 << HDR_SUB_BITS,
    HDR_EXPONENTS = 42,
    HDR_BUCKETS = HDR_EXPONENTS * HDR_SUB_COUNT,
};

struct hdr {
    uint64_t counts[HDR_BUCKETS];
    uint64_t total;
    uint64_t sum_ns;
    uint64_t max_ns;
};

// Zeroes are a valid empty histogram.
void hdr_record(struct hdr *histogram, uint64_t value_ns);

// The value that a share `quantile` (0 to 1) of all recorded ones does not exceed, as the upper
// edge of its bucket; 0 where nothing was recorded.
uint64_t hdr_quantile_ns(const struct hdr *histogram, double quantile);

// As a JSON object: count, mean, p50, p90, p99, p999, max and the buckets that hold anything, each
// [upper edge in ns, count].
void hdr_print(const struct hdr *histogram, FILE *out);
