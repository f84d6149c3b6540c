#include "cli/counters.h"

#include "base/slice.h"
#include "cli/stats_map.h"

int64_t ask_counter(pgnear *node, const char *path)
{
    pgnear_bytes stats;
    double value;
    bool is_known = pgnear_stats(node, NULL, &stats, NULL) == PGNEAR_OK &&
                    stats_map_number(slice_of(stats.at, stats.len), path, &value);
    return is_known ? (int64_t)value : -1;
}
