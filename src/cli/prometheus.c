// Names, help and types come from the table in base/status.h:
//
//      cache.hits             pgnear_cache_hits_total             counter
//      outbox.depth           pgnear_outbox_depth                 gauge
//      postgres.round_trip_us pgnear_postgres_round_trip_seconds  gauge
//      size_bytes             pgnear_table_size_bytes             gauge
//
// Format: prometheus.io/docs/instrumenting/exposition_formats, "Text-based format".
#include "cli/prometheus.h"

#include <inttypes.h>

#include "base/status.h"
#include "cli/stats_map.h"

enum { NAME_BYTES = 96 };

static const double US_PER_S = 1e6;

static void print_head(FILE *out, const char *name, const char *help, const char *type)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static bool ends_with(const char *text, const char *ending)
{
    size_t len = strlen(text), ending_len = strlen(ending);
    return len >= ending_len && strcmp(text + len - ending_len, ending) == 0;
}

static void print_item(FILE *out, struct slice stats, enum status_item item)
{
    const char *group = status_group(item), *wire = status_name(item);
    char path[NAME_BYTES], name[NAME_BYTES];
    double value;
    bool is_table = strcmp(group, "table") == 0;
    snprintf(path, sizeof path, "%s%s%s", is_table ? "" : group, is_table ? "" : ".", wire);
    if (!stats_map_number(stats, path, &value)) {
        return;
    }
    bool is_time = ends_with(wire, "_us");
    bool is_gauge = status_kind(item) == STATUS_GAUGE;
    int stem = (int)strlen(wire) - (is_time ? 3 : 0);
    snprintf(name, sizeof name, "pgnear_%s_%.*s%s%s", group, stem, wire, is_time ? "_seconds" : "",
             is_gauge ? "" : "_total");
    print_head(out, name, status_help(item), is_gauge ? "gauge" : "counter");
    fprintf(out, "%s %.17g\n", name, is_time ? value / US_PER_S : value);
}

static void print_state(FILE *out, struct slice stats)
{
    struct slice value, state = {0};
    if (stats_map_find(stats, "postgres.state", &value)) {
        struct mpack_cursor cursor = mpack_cursor_of(value);
        mpack_read_str(&cursor, &state);
    }
    print_head(out, "pgnear_state", "1 at the state that the node is in", "gauge");
    for (int each = NODE_DISCONNECTED; each <= NODE_LIVE; each++) {
        const char *name = node_state_name((enum node_state)each);
        fprintf(out, "pgnear_state{state=\"%s\"} %d\n", name,
                slice_equal(state, slice_of_string(name)));
    }
}

static void print_gauge(FILE *out, struct slice stats, const char *path, double unit,
                        const char *name, const char *help)
{
    double value;
    if (stats_map_number(stats, path, &value)) {
        print_head(out, name, help, "gauge");
        fprintf(out, "%s %.17g\n", name, value / unit);
    }
}

// ---- Summaries

struct summary {
    FILE *out;
    const char *name;
};

// `label` is "" or `method="get"`. A quantile of which nothing is known is NaN.
static void print_summary(const struct summary *summary, const char *label, struct slice map)
{
    static const struct {
        const char *quantile;
        const char *member;
    } QUANTILES[] = {
        {"0.5", "p50_us"}, {"0.9", "p90_us"}, {"0.99", "p99_us"}, {"0.999", "p999_us"}};
    const char *comma = label[0] != '\0' ? "," : "";
    for (size_t i = 0; i < sizeof QUANTILES / sizeof *QUANTILES; i++) {
        double us;
        fprintf(summary->out, "%s{%s%squantile=\"%s\"} ", summary->name, label, comma,
                QUANTILES[i].quantile);
        if (stats_map_number(map, QUANTILES[i].member, &us)) {
            fprintf(summary->out, "%.17g\n", us / US_PER_S);
        } else {
            fputs("NaN\n", summary->out);
        }
    }
    double sum_us = 0, count = 0;
    stats_map_number(map, "sum_us", &sum_us);
    stats_map_number(map, "count", &count);
    const char *open = label[0] != '\0' ? "{" : "", *close = label[0] != '\0' ? "}" : "";
    fprintf(summary->out, "%s_sum%s%s%s %.17g\n", summary->name, open, label, close,
            sum_us / US_PER_S);
    fprintf(summary->out, "%s_count%s%s%s %.17g\n", summary->name, open, label, close, count);
}

static void print_method(void *context, struct slice name, struct slice value)
{
    char label[NAME_BYTES];
    snprintf(label, sizeof label, "method=\"%.*s\"", SLICE_FORMAT(name));
    print_summary(context, label, value);
}

void prometheus_print(FILE *out, struct slice stats)
{
    for (int item = 0; item < STATUS_COUNT; item++) {
        print_item(out, stats, (enum status_item)item);
    }
    print_state(out, stats);
    print_gauge(out, stats, "outbox.age_us", US_PER_S, "pgnear_outbox_age_seconds",
                "age of the oldest unflushed write");
    print_gauge(out, stats, "postgres.flush_rate", 1, "pgnear_postgres_flush_rate",
                "writes flushed a second, over the last ten");
    struct summary lag = {out, "pgnear_invalidation_lag_seconds"};
    struct slice map;
    if (stats_map_find(stats, "postgres.lag", &map)) {
        print_head(out, lag.name, "a heartbeat through PostgreSQL until the cache applied it",
                   "summary");
        print_summary(&lag, "", map);
    }
    struct summary latency = {out, "pgnear_request_duration_seconds"};
    print_head(out, latency.name, "requests, from being read to being answered", "summary");
    stats_map_each(stats, "server.latency", print_method, &latency);
}
