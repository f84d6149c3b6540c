//      node       live  clients 3  requests 15230/s  errors 0/s  rows 1200  size 2.3 MB  ...
//      trouble    Failed to flush: relation "kv_store" does not exist
//      reads      15200/s  hit 99.8 %  missed 30/s  suspect 0/s  direct 9000/s  ...
//      outbox     ...
//
//      method                a second         p50         p99         max
//      get                      15200     0.02 ms     0.11 ms     1.20 ms
//
// What an operator looks for comes first in each line: 80 columns cut the rest off.
#include "cli/top_view.h"

#include <stdio.h>

#include "cli/stats_map.h"

enum { PATH_BYTES = 96, LABEL_COLUMNS = 10, WORDS_COLUMNS = 68, METHOD_COLUMNS = 20 };

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
static void add_ms(struct buffer *out, const char *words, struct slice map, const char *path)
{
    double us;
    if (stats_map_number(map, path, &us)) {
        buffer_printf(out, "%s%9.2f ms", words, us / 1000);
    } else {
        buffer_printf(out, "%s%12s", words, "-");
    }
}

static void add_time(const struct pair *pair, const char *words, const char *path)
{
    add_ms(pair->out, words, pair->now, path);
}

static void add_age(const struct pair *pair, const char *words, const char *path)
{
    buffer_printf(pair->out, "%s %.1f s  ", words, number_at(pair->now, path) / 1e6);
}

// All reads, and how many of them were hits, which `path` counts besides the direct ones. What a
// direct read asks of the node is a hit or a miss there.
static void add_hits(const struct pair *pair, const char *words, const char *path)
{
    double hits = rate_of(pair, path) + rate_of(pair, "cache.direct_hits");
    double reads = hits + rate_of(pair, "cache.misses");
    buffer_printf(pair->out, "%.0f/s  %s %.1f %%  ", reads, words,
                  reads > 0 ? 100 * hits / reads : 0);
}

enum { FIELDS_MAX = 7 };

static const struct line {
    const char *label;
    const char *while_path; // shown while this is more than 0; NULL: always
    struct field {
        void (*add)(const struct pair *pair, const char *words, const char *path);
        const char *words;
        const char *path;
    } fields[FIELDS_MAX];
} LINES[] = {
    {"node",
     NULL,
     {{add_text, "", "postgres.state"},
      {add_number, "clients", "server.connections"},
      {add_rate, "requests", "server.requests"},
      {add_rate, "errors", "server.errors"},
      {add_number, "rows", "count"},
      {add_text, "size", "size"},
      {add_number, "backups", "backups"}}},
    {"reads",
     NULL,
     {{add_hits, "hit", "cache.hits"},
      {add_rate, "missed", "cache.misses"},
      {add_rate, "suspect", "cache.suspect"},
      {add_rate, "direct", "cache.direct_hits"},
      {add_number, "readers", "cache.direct_readers"},
      {add_rate, "absent", "cache.negative_hits"}}},
    {"cache",
     NULL,
     {{add_number, "entries", "cache.entries"},
      {add_mib, "size", "cache.bytes"},
      {add_rate, "evicted", "cache.evictions"},
      {add_number, "stale", "cache.audit_stale"},
      {add_number, "pending", "cache.pending"},
      {add_rate, "invalidated", "cache.invalidations"},
      {add_rate, "audited", "cache.audit_compared"}}},
    {"outbox",
     NULL,
     {{add_number, "depth", "outbox.depth"},
      {add_age, "age", "outbox.age_us"},
      {add_number, "dead letters", "outbox.dead_letters"},
      {add_mib, "size", "outbox.bytes"},
      {add_rate, "groups", "outbox.log_groups"},
      {add_rate, "commits", "outbox.commits"}}},
    {"flush",
     NULL,
     {{add_rate, "writes", "postgres.rows"},
      {add_rate, "batches", "postgres.batches"},
      {add_rate, "notifications", "postgres.notifications"},
      {add_number, "gaps", "postgres.gaps"}}},
    {"lag",
     NULL,
     {{add_time, "round trip", "postgres.round_trip_us"},
      {add_time, "  p50", "postgres.lag.p50_us"},
      {add_time, "  p99", "postgres.lag.p99_us"}}},
    {"backup",
     "postgres.backup_jobs",
     {{add_number, "under way", "postgres.backup_jobs"},
      {add_number, "rows copied", "postgres.backup_rows"},
      {add_number, "of about", "count"}}},
};

enum { LINES_COUNT = sizeof LINES / sizeof LINES[0] };

static void add_line(const struct pair *pair, const struct line *line)
{
    if (line->while_path != NULL && !(number_at(pair->now, line->while_path) > 0)) {
        return;
    }
    buffer_printf(pair->out, "%-*s", LABEL_COLUMNS, line->label);
    for (size_t i = 0; i < FIELDS_MAX && line->fields[i].add != NULL; i++) {
        line->fields[i].add(pair, line->fields[i].words, line->fields[i].path);
    }
    buffer_printf(pair->out, "\n");
}

static void add_method(void *context, struct slice name, struct slice value)
{
    const struct pair *pair = context;
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "server.latency.%.*s.count", SLICE_FORMAT(name));
    double rate = rate_of(pair, path);
    buffer_printf(pair->out, "%-*.*s%12.0f", METHOD_COLUMNS, SLICE_FORMAT(name), rate);
    add_ms(pair->out, "", value, "p50_us");
    add_ms(pair->out, "", value, "p99_us");
    add_ms(pair->out, "", value, "max_us");
    buffer_printf(pair->out, "\n");
}

static bool begins_character(uint8_t byte)
{
    return (byte & 0xc0) != 0x80;
}

// Where a line of at most WORDS_COLUMNS bytes ends: behind a word, or else before a character.
static size_t line_len(struct slice words)
{
    if (words.len <= WORDS_COLUMNS) {
        return words.len;
    }
    size_t len = WORDS_COLUMNS;
    while (len > 0 && words.at[len] != ' ') {
        len--;
    }
    for (len = len > 0 ? len : WORDS_COLUMNS; len > 0 && !begins_character(words.at[len]); len--) {
    }
    return len > 0 ? len : WORDS_COLUMNS;
}

static void add_trouble(struct slice words, struct buffer *out)
{
    const char *label = "trouble";
    while (words.len > 0) {
        size_t len = line_len(words);
        buffer_printf(out, "%-*s %.*s\n", LABEL_COLUMNS, label,
                      SLICE_FORMAT(slice_of(words.at, len)));
        len += len < words.len && words.at[len] == ' ';
        words = slice_of(words.at + len, words.len - len);
        label = "";
    }
}

void top_view(struct slice before, struct slice now, double elapsed_s, struct slice trouble,
              struct buffer *out)
{
    struct pair pair = {before, now, elapsed_s, out};
    add_line(&pair, &LINES[0]);
    add_trouble(trouble, out);
    for (size_t i = 1; i < LINES_COUNT; i++) {
        add_line(&pair, &LINES[i]);
    }
    buffer_printf(out, "\n%-*s%12s%12s%12s%12s\n", METHOD_COLUMNS, "method", "a second", "p50",
                  "p99", "max");
    stats_map_each(now, "server.latency", add_method, &pair);
}

void top_fit(struct slice text, size_t rows, size_t columns, struct buffer *out)
{
    size_t row = 1, column = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '\n') {
            if (rows > 0 && ++row >= rows) {
                return;
            }
            column = 0;
        } else if (begins_character(text.at[i])) {
            column++;
        }
        if (columns == 0 || column <= columns) {
            buffer_append(out, &text.at[i], 1);
        }
    }
}
