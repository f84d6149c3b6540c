// How long requests take, by method: from the turn in which a loop read them until their answer
// stands in the connection's buffer, and with it those to all gets that were read with it. Each
// loop records its own; whoever answers `stats` adds them up.
#pragma once

#include "base/histogram.h"
#include "base/request.h"

struct latency {
    struct histogram of_method[METHOD_COUNT];
};

// All loops', constant while they run.
struct latency_board {
    struct latency *loops; // one a loop, an array
    size_t loops_count;
};

// What `stats` tells of one histogram. Percentiles are of the last one to two minutes, -1 where
// nothing was recorded in them; count and sum are since the start.
struct latency_summary {
    uint64_t count;
    uint64_t sum_us;
    int64_t p50_us;
    int64_t p90_us;
    int64_t p99_us;
    int64_t p999_us;
    int64_t max_us;
};

// One request, or `count` that began and were answered together. NULL records nothing. On the
// loop's thread.
void latency_record(struct latency *latency, enum method method, uint32_t count,
                    int64_t started_boot_us);

// Any thread. NULL is a board without loops.
struct latency_summary latency_of_method(const struct latency_board *board, enum method method,
                                         int64_t now_boot_us);
struct latency_summary latency_of_histogram(const struct histogram *histogram, int64_t now_boot_us);
