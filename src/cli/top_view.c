//      state live  rows 1200  size 2.3 MB  backups 2  clients 3
//      reads     15200/s  hit 99.8 %  absent 20/s  missed 30/s  suspect 0/s
//      cache     ...
//      ask           requests/s        p50        p99        max
//      get                15200     0.02 ms    0.11 ms    1.20 ms
#include "cli/top_view.h"

#include <stdio.h>

#include "cli/stats_map.h"

enum { PATH_BYTES = 96, LABEL_COLUMNS = 10 };

struct pair {
    struct slice before;
    struct slice now;
    double elapsed_s;
    struct buffer *out;
};

static double number_at(struct slice map, const char *path)
{
    double number = 0;
    stats_map_number(map, path, &number);
    return number;
}

// A second; what counts from the start anew, because the node did, counts as nothing.
static double rate_of(const struct pair *pair, const char *path)
{
    double more = number_at(pair->now, path) - number_at(pair->before, path);
    return more > 0 && pair->elapsed_s > 0 ? more / pair->elapsed_s : 0;
}

static void label(const struct pair *pair, const char *text)
{
    buffer_printf(pair->out, "%-*s", LABEL_COLUMNS, text);
}

static void add_rate(const struct pair *pair, const char *words, const char *path)
{
    buffer_printf(pair->out, "%s %.0f/s  ", words, rate_of(pair, path));
}

static void add_number(const struct pair *pair, const char *words, const char *path)
{
    double number;
    if (stats_map_number(pair->now, path, &number)) {
        buffer_printf(pair->out, "%s %.0f  ", words, number);
    } else {
        buffer_printf(pair->out, "%s -  ", words);
    }
}

static void add_text(const struct pair *pair, const char *words, const char *path)
{
    struct slice value, text = slice_of_string("-");
    if (stats_map_find(pair->now, path, &value)) {
        struct mpack_cursor cursor = mpack_cursor_of(value);
        mpack_read_str(&cursor, &text);
    }
    buffer_printf(pair->out, "%s %.*s  ", words, SLICE_FORMAT(text));
}

static void add_mib(const struct pair *pair, const char *words, const char *path)
{
    buffer_printf(pair->out, "%s %.1f MB  ", words, number_at(pair->now, path) / (1 << 20));
}

// In milliseconds; "-" where nothing is known.
static void add_time(struct buffer *out, const char *words, struct slice map, const char *path)
{
    double us;
    if (stats_map_number(map, path, &us)) {
        buffer_printf(out, "%s%9.2f ms", words, us / 1000);
    } else {
        buffer_printf(out, "%s%12s", words, "-");
    }
}

static void end_line(const struct pair *pair)
{
    buffer_printf(pair->out, "\n");
}

static void add_reads(const struct pair *pair)
{
    double hits = rate_of(pair, "cache.hits"), misses = rate_of(pair, "cache.misses");
    double reads = hits + misses;
    label(pair, "reads");
    buffer_printf(pair->out, "%.0f/s  hit %.1f %%  ", reads, reads > 0 ? 100 * hits / reads : 0);
    add_rate(pair, "absent", "cache.negative_hits");
    add_rate(pair, "missed", "cache.misses");
    add_rate(pair, "suspect", "cache.suspect");
    end_line(pair);
}

static void add_cache(const struct pair *pair)
{
    label(pair, "cache");
    add_number(pair, "entries", "cache.entries");
    add_mib(pair, "size", "cache.bytes");
    add_number(pair, "pending", "cache.pending");
    add_rate(pair, "evicted", "cache.evictions");
    add_rate(pair, "invalidated", "cache.invalidations");
    add_rate(pair, "audited", "cache.audit_compared");
    add_number(pair, "stale", "cache.audit_stale");
    end_line(pair);
}

static void add_outbox(const struct pair *pair)
{
    label(pair, "outbox");
    add_number(pair, "depth", "outbox.depth");
    buffer_printf(pair->out, "age %.1f s  ", number_at(pair->now, "outbox.age_us") / 1e6);
    add_mib(pair, "size", "outbox.bytes");
    add_rate(pair, "commits", "outbox.commits");
    add_number(pair, "dead letters", "outbox.dead_letters");
    end_line(pair);
}

static void add_postgres(const struct pair *pair)
{
    label(pair, "flush");
    add_rate(pair, "writes", "postgres.rows");
    add_rate(pair, "batches", "postgres.batches");
    add_rate(pair, "notifications", "postgres.notifications");
    add_number(pair, "gaps", "postgres.gaps");
    end_line(pair);
    label(pair, "lag");
    add_time(pair->out, "round trip", pair->now, "postgres.round_trip_us");
    add_time(pair->out, "  p50", pair->now, "postgres.lag.p50_us");
    add_time(pair->out, "  p99", pair->now, "postgres.lag.p99_us");
    end_line(pair);
}

// A line while there is something to see.
static void add_copying(const struct pair *pair)
{
    if (number_at(pair->now, "postgres.backup_jobs") > 0) {
        label(pair, "backup");
        add_number(pair, "under way", "postgres.backup_jobs");
        add_number(pair, "rows copied", "postgres.backup_rows");
        add_number(pair, "of about", "count");
        end_line(pair);
    }
}

static void add_method(void *context, struct slice name, struct slice value)
{
    const struct pair *pair = context;
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "server.latency.%.*s.count", SLICE_FORMAT(name));
    double rate = rate_of(pair, path);
    buffer_printf(pair->out, "%-18.*s%12.0f", SLICE_FORMAT(name), rate);
    add_time(pair->out, "", value, "p50_us");
    add_time(pair->out, "", value, "p99_us");
    add_time(pair->out, "", value, "max_us");
    end_line(pair);
}

void top_view(struct slice before, struct slice now, double elapsed_s, struct buffer *out)
{
    struct pair pair = {before, now, elapsed_s, out};
    label(&pair, "node");
    add_text(&pair, "", "postgres.state");
    add_number(&pair, "rows", "count");
    add_text(&pair, "size", "size");
    add_number(&pair, "backups", "backups");
    add_number(&pair, "clients", "server.connections");
    add_rate(&pair, "requests", "server.requests");
    add_rate(&pair, "errors", "server.errors");
    end_line(&pair);
    add_reads(&pair);
    add_cache(&pair);
    add_outbox(&pair);
    add_postgres(&pair);
    add_copying(&pair);
    buffer_printf(out, "\n%-18s%12s%12s%12s%12s\n", "method", "a second", "p50", "p99", "max");
    stats_map_each(now, "server.latency", add_method, &pair);
}
