#include "server/latency.h"

#include "base/clock.h"

void latency_record(struct latency *latency, enum method method, uint32_t count,
                    int64_t started_boot_us)
{
    if (latency != NULL) {
        int64_t now_boot_us = clock_boot_us();
        histogram_record(&latency->of_method[method], count, now_boot_us - started_boot_us,
                         now_boot_us);
    }
}

static struct latency_summary summary_of(const struct histogram_view *view)
{
    return (struct latency_summary){
        .count = view->count,
        .sum_us = view->sum_us,
        .p50_us = histogram_percentile_us(view, 500),
        .p90_us = histogram_percentile_us(view, 900),
        .p99_us = histogram_percentile_us(view, 990),
        .p999_us = histogram_percentile_us(view, 999),
        .max_us = histogram_percentile_us(view, 1000),
    };
}

struct latency_summary latency_of_method(const struct latency_board *board, enum method method,
                                         int64_t now_boot_us)
{
    struct histogram_view view = {.count = 0};
    for (size_t i = 0; board != NULL && i < board->loops_count; i++) {
        histogram_look(&view, &board->loops[i].of_method[method], now_boot_us);
    }
    return summary_of(&view);
}

struct latency_summary latency_of_histogram(const struct histogram *histogram, int64_t now_boot_us)
{
    struct histogram_view view = {.count = 0};
    histogram_look(&view, histogram, now_boot_us);
    return summary_of(&view);
}
