// cache.preload: what the table holds is in the cache before anybody asks, never older than it is,
// and never at the cost of evicting.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/harness/compare.h"
#include "system/harness/deadline.h"
#include "system/harness/document.h"
#include "system/harness/random.h"

#define PRELOAD "cache.preload = true\n"

static void await_preload(struct node *node, const char *reason)
{
    node_await_log(node, "event=\"preload ended\"");
    const char *words = scenario_text(node->scenario, "reason=\"%s\"", reason);
    if (!node_log_has(node, words)) {
        scenario_fail("the preload did not end since %s", reason);
    }
    assert_int_equal(node_stat_int(node, "cache.preloading"), 0);
}

static void make_table(struct scenario *scenario, struct pg *pg)
{
    node_stop(node_start(scenario, pg, &(struct node_options){.name = "maker"}));
}

// Every key is a hit, and reads the same as PostgreSQL has it.
static void all_keys_hit_without_a_select(struct scenario *scenario)
{
    enum { ROWS = 9000 };
    struct pg *pg = pg_start(scenario, NULL);
    make_table(scenario, pg);
    pg_exec(
        pg,
        "INSERT INTO kv_store (key, value) SELECT 'k' || i,"
        " jsonb_build_object('n', i, 'text', repeat('x', i %% 50)) FROM generate_series(1, %d) i",
        ROWS);
    // Ones that end a page, one that is beyond the limits, one whose key is.
    pg_exec(pg,
            "INSERT INTO kv_store (key, value) VALUES ('k5large', to_jsonb(repeat('y', 900000))),"
            " ('k6large', to_jsonb(repeat('z', 900000))),"
            " ('k7huge', to_jsonb(repeat('h', 3000000))),"
            " (repeat('k', 600), '1')");
    pg_exec(pg,
            "INSERT INTO kv_store (key, value, expires_at) VALUES ('brief', '1', now() + '1 h')");
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = PRELOAD});
    await_preload(node, "the whole table was read");
    assert_int_equal(node_stat_int(node, "cache.preloaded"), ROWS + 3);
    node_await_stat(node, "cache.entries", scenario_text(scenario, "%d", ROWS + 3));
    for (int i = 1; i <= ROWS; i += 7) {
        const char *expected =
            scenario_text(scenario, "[{\"n\": %d, \"text\": \"%.*s\"}, \"*\"]", i, i % 50,
                          "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        assert_rpc(node, "get", scenario_text(scenario, "[\"k%d\"]", i), expected);
    }
    assert_true(strlen(rpc(node, "get", "[\"k6large\"]")) > 900000);
    assert_true(strcmp(rpc(node, "ttl", "[\"brief\"]"), "null") != 0);
    assert_int_equal(node_stat_int(node, "postgres.fetches"), 0);
    assert_int_equal(node_stat_int(node, "cache.misses"), 0);
    assert_rpc_error(node, "get", "[\"k7huge\"]", "TOO_LARGE");
    // A second start finds it all there.
    node_stop(node);
    node_start_again(node);
    node_await_stat(node, "cache.preloading", "0");
    assert_rpc(node, "get", "[\"k1\"]", "[{\"n\": 1, \"text\": \"x\"}, \"*\"]");
    assert_int_equal(node_stat_int(node, "postgres.fetches"), 0);
}

static void a_table_larger_than_the_cache_stops_it(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    make_table(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'k' || i, to_jsonb(repeat('x', 1000))"
                " FROM generate_series(1, 20000) i");
    struct node *node =
        node_start(scenario, pg,
                   &(struct node_options){
                       .config = PRELOAD "cache.size = \"8MiB\"\nwrites.outbox_size = \"4MiB\"\n"});
    await_preload(node, "the cache is full");
    assert_int_equal(node_stat_int(node, "cache.evictions"), 0);
    int64_t bytes = node_stat_int(node, "cache.bytes");
    fprintf(stderr, "%lld records in %lld bytes\n", (long long)node_stat_int(node, "cache.entries"),
            (long long)bytes);
    assert_in_range(bytes, 6 << 20, 8 << 20);
    assert_true(json_matches(rpc(node, "get", "[\"k9999\"]"), "[\"*\", \"*\"]"));
}

static void a_document_is_preloaded(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    pg_exec(pg, DOCUMENT_EDIT("{\"a\": 1, \"b\": {\"c\": [1.50]}, \"d\": null}"));
    struct node *node = document_node(scenario, pg, "node", PRELOAD);
    await_preload(node, "the whole table was read");
    assert_rpc(node, "mget", "[[\"a\", \"b\", \"d\"]]",
               "[[1, \"*\"], [{\"c\": [1.5]}, \"*\"], [null, \"*\"]]");
    assert_int_equal(node_stat_int(node, "postgres.fetches"), 0);
}

// What PostgreSQL was asked for since it had written so much to its log.
static const char *log_since(struct scenario *scenario, const struct pg *pg, long since)
{
    enum { LOG_BYTES_MAX = 1 << 20 };
    char *text = scenario_alloc(scenario, LOG_BYTES_MAX + 1);
    FILE *log = fopen(pg->process->log_path, "r");
    assert_non_null(log);
    assert_int_equal(fseek(log, since, SEEK_SET), 0);
    text[fread(text, 1, LOG_BYTES_MAX, log)] = '\0';
    fclose(log);
    return text;
}

// It holds the connection that both wait for, and is exact all the same once they are done.
static void the_count_gives_way_to_it(struct scenario *scenario)
{
    static const char *const SETTINGS[] = {"log_statement=all", NULL};
    struct pg *pg = pg_start(scenario, &(struct pg_options){.settings = SETTINGS});
    make_table(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'k' || i, '1'"
                " FROM generate_series(1, 3000) i");
    long since = (long)strlen(log_since(scenario, pg, 0));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = PRELOAD});
    await_preload(node, "the whole table was read");
    node_await_stat(node, "count", "3000");
    const char *log = log_since(scenario, pg, since);
    const char *page = strstr(log, "COPY (SELECT key, "), *last_page = page;
    const char *count = strstr(log, "SELECT count(*) FROM \"public\".\"kv_store\"");
    assert_non_null(page);
    assert_non_null(count);
    while ((page = strstr(page + 1, "COPY (SELECT key, ")) != NULL) {
        last_page = page;
    }
    assert_true(last_page < count);
}

// Rows of a page that are large beside the others do not end it.
static void uneven_values_come_in_few_pages(struct scenario *scenario)
{
    enum { ROWS = 3000, PAGES_MAX = 12 };
    static const char *const SETTINGS[] = {"log_statement=all", NULL};
    struct pg *pg = pg_start(scenario, &(struct pg_options){.settings = SETTINGS});
    make_table(scenario, pg);
    pg_exec(pg,
            "INSERT INTO kv_store (key, value) SELECT 'k' || lpad(i::text, 5, '0'),"
            " to_jsonb(repeat('x', CASE WHEN i %% 50 = 0 THEN 20000 ELSE 50 END))"
            " FROM generate_series(1, %d) i",
            ROWS);
    long since = (long)strlen(log_since(scenario, pg, 0));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = PRELOAD});
    await_preload(node, "the whole table was read");
    assert_int_equal(node_stat_int(node, "cache.preloaded"), ROWS);
    int pages = 0;
    for (const char *page = log_since(scenario, pg, since);
         (page = strstr(page, "COPY (SELECT key, ")) != NULL; page++) {
        pages++;
    }
    fprintf(stderr, "%d pages\n", pages);
    assert_in_range(pages, 1, PAGES_MAX);
}

static const char *const LOGGED[] = {"log_statement=all", "log_temp_files=0", "autovacuum=off",
                                     NULL};

// Of all pages that were asked for since, the rows that were.
static int64_t rows_asked(const char *log)
{
    int64_t sum = 0;
    for (const char *page = log; (page = strstr(page, "COPY (SELECT key, ")) != NULL; page++) {
        const char *limit = strstr(page, "LIMIT ");
        assert_non_null(limit);
        sum += strtoll(limit + strlen("LIMIT "), NULL, 10);
    }
    return sum;
}

static void much_larger_values_make_small_pages(struct scenario *scenario)
{
    enum { ROWS = 3000, EVERY = 100, VALUE_BYTES = 300000 };
    struct pg *pg = pg_start(scenario, &(struct pg_options){.settings = LOGGED});
    make_table(scenario, pg);
    pg_exec(pg,
            "INSERT INTO kv_store (key, value) SELECT 'k' || lpad(i::text, 5, '0'),"
            " to_jsonb(repeat('x', CASE WHEN i %% %d = 0 THEN %d ELSE 50 END))"
            " FROM generate_series(1, %d) i",
            EVERY, VALUE_BYTES, ROWS);
    long since = (long)strlen(log_since(scenario, pg, 0));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = PRELOAD});
    await_preload(node, "the whole table was read");
    assert_int_equal(node_stat_int(node, "cache.preloaded"), ROWS);
    int64_t asked = rows_asked(log_since(scenario, pg, since));
    fprintf(stderr, "%lld rows asked for\n", (long long)asked);
    assert_in_range(asked, ROWS, 3 * ROWS);
}

// Small ones first, then large ones, of which PostgreSQL knows nothing: it sorts.
static void make_unknown_rows(struct pg *pg, int large)
{
    pg_exec(pg,
            "INSERT INTO kv_store (key, value) SELECT 'k' || lpad(i::text, 5, '0'),"
            " to_jsonb(repeat('x', CASE WHEN i > 5000 THEN 200000 ELSE 50 END))"
            " FROM generate_series(1, 5000 + %d) i",
            large);
}

static void text_is_made_of_a_page_alone(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, &(struct pg_options){.settings = LOGGED});
    make_table(scenario, pg);
    make_unknown_rows(pg, 200);
    long since = (long)strlen(log_since(scenario, pg, 0));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = PRELOAD});
    await_preload(node, "the whole table was read");
    assert_int_equal(node_stat_int(node, "cache.preloaded"), 5200);
    assert_null(strstr(log_since(scenario, pg, since), "temporary file"));
}

static void a_page_that_is_timed_out_becomes_smaller(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, &(struct pg_options){.settings = LOGGED});
    make_table(scenario, pg);
    make_unknown_rows(pg, 800);
    struct node *node = node_start(
        scenario, pg,
        &(struct node_options){.config = PRELOAD "postgres.statement_timeout = \"200ms\"\n"});
    // To its end, or until the cache is full.
    node_await_log(node, "event=\"preload ended\"");
    assert_true(node_stat_int(node, "cache.preloaded") > 5100);
    assert_true(node_log_has(node, "event=\"preload refused\""));
}

// ---- what others write meanwhile

// So many that one which was filled with what it was a moment ago is hardly written once more.
enum { HOT_KEYS = 1000, COLD_ROWS = 500 };

struct traffic {
    struct scenario *scenario;
    struct pg *pg;
    struct node *other;
};

static void write_sql(void *context, int index)
{
    struct traffic *traffic = context;
    struct random random = random_of(random_seed(), (uint64_t)index);
    PGconn *conn = pg_connect(traffic->pg);
    for (long long value = 1; !worker_is_stopping(); value++) {
        int key = 1 + (int)random_below(&random, HOT_KEYS);
        const char *sql =
            random_below(&random, 5) == 0
                ? scenario_text(traffic->scenario, "DELETE FROM kv_store WHERE key = 'hot%d'", key)
                : scenario_text(traffic->scenario,
                                "INSERT INTO kv_store (key, value) VALUES ('hot%d', '%lld')"
                                " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
                                key, value);
        PQclear(PQexec(conn, sql));
    }
    PQfinish(conn);
}

static void write_rpc(void *context, int index)
{
    struct traffic *traffic = context;
    struct random random = random_of(random_seed(), 100 + (uint64_t)index);
    struct rpc *rpc = node_open(traffic->other);
    while (!worker_is_stopping()) {
        int key = 1 + (int)random_below(&random, HOT_KEYS);
        rpc_call(rpc, "set", scenario_text(traffic->scenario, "[\"hot%d\", \"rpc\"]", key));
    }
    rpc_close(rpc);
}

// The hot keys lie in the middle of the others, and change until the preload is done.
static void preload_under_traffic(struct traffic *traffic, struct node *node)
{
    struct workers *writers = workers_start(traffic->scenario, 3, write_sql, traffic);
    struct workers *clients = workers_start(traffic->scenario, 1, write_rpc, traffic);
    node_spawn(node);
    await_preload(node, "the whole table was read");
    workers_stop(writers);
    workers_stop(clients);
    workers_join(writers);
    workers_join(clients);
    assert_rpc(traffic->other, "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    assert_synced_nodes_equal_table(&node, 1, traffic->pg, "hot", HOT_KEYS);
    fprintf(stderr, "%lld rows, %lld fetched\n", (long long)node_stat_int(node, "cache.preloaded"),
            (long long)node_stat_int(node, "postgres.fetched_keys"));
}

static void nothing_stale_is_left(struct scenario *scenario)
{
    struct traffic *traffic = scenario_alloc(scenario, sizeof *traffic);
    *traffic = (struct traffic){.scenario = scenario, .pg = pg_start(scenario, NULL)};
    traffic->other = node_start(scenario, traffic->pg, &(struct node_options){.name = "other"});
    pg_exec(traffic->pg,
            "INSERT INTO kv_store (key, value) SELECT c || i, '0' FROM generate_series(1, %d) i,"
            " unnest(ARRAY['a', 'z']) c",
            COLD_ROWS);
    pg_exec(
        traffic->pg,
        "INSERT INTO kv_store (key, value) SELECT 'hot' || i, '0' FROM generate_series(1, %d) i",
        HOT_KEYS);
    int rounds = test_rounds(3);
    for (int i = 0; i < (rounds > 0 ? rounds : 1); i++) {
        const struct node_options options = {.name = scenario_text(scenario, "n%d", i),
                                             .config = PRELOAD};
        struct node *node = node_create(scenario, traffic->pg, &options);
        preload_under_traffic(traffic, node);
        node_stop(node);
    }
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(all_keys_hit_without_a_select),
        SCENARIO(a_table_larger_than_the_cache_stops_it),
        SCENARIO(a_document_is_preloaded),
        SCENARIO(the_count_gives_way_to_it),
        SCENARIO(uneven_values_come_in_few_pages),
        SCENARIO(much_larger_values_make_small_pages),
        SCENARIO(text_is_made_of_a_page_alone),
        SCENARIO(a_page_that_is_timed_out_becomes_smaller),
        SCENARIO(nothing_stale_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
