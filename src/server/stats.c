// Snapshots of base/status.h for one answer. Runs on the server loops and only reads atomics, so
// that stats and hello answer at once whatever PostgreSQL does.

#include "server/stats.h"

#include <stdio.h>

#include "base/clock.h"

void stats_take(struct status *status, const struct latency_board *board, int64_t now_us,
                struct stats *stats)
{
    for (int item = 0; item < STATUS_COUNT; item++) {
        stats->items[item] = status_get(status, (enum status_item)item);
    }
    int64_t oldest_us = stats->items[STATUS_OUTBOX_OLDEST_US];
    int64_t age_us = oldest_us > 0 ? now_us - oldest_us : 0;
    stats->outbox_age_us = age_us > 0 ? age_us : 0;
    int64_t now_boot_us = clock_boot_us();
    stats->flush_rate = rate_per_second(&status->flush_rate, now_boot_us);
    stats->lag = latency_of_histogram(&status->lag, now_boot_us);
    for (int method = 0; method < METHOD_COUNT; method++) {
        stats->latency[method] = latency_of_method(board, (enum method)method, now_boot_us);
    }
}

struct size_text stats_size_text(int64_t bytes)
{
    static const char *const UNITS[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    enum { UNIT_LAST = sizeof UNITS / sizeof *UNITS - 1 };
    double size = (double)bytes;
    int unit = 0;
    // From here on the printed number would be 1024.0 of the smaller unit.
    const double size_max = 1023.95;
    while (size >= size_max && unit < UNIT_LAST) {
        size /= 1024;
        unit++;
    }
    struct size_text text;
    snprintf(text.text, sizeof text.text, "%.1f %s", size, UNITS[unit]);
    return text;
}

void hello_take(const struct node_facts *facts, bool read_only, struct status *status,
                struct hello *hello)
{
    *hello = (struct hello){
        .facts = facts,
        .read_only = read_only,
        .state = (enum node_state)status_get(status, STATUS_PG_STATE),
    };
    hello->has_error = status_get_error(status, &hello->last_error);
}
