// What a node tells of itself: stats, Prometheus' text and top, against what was done.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"

static double number_at(struct node *node, const char *path)
{
    return strtod(node_stat(node, path), NULL);
}

static void latencies_lag_and_rates_are_measured(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "server.threads = 2\n"});
    struct rpc *others[] = {node_open(node), node_open(node)};
    for (int i = 0; i < 300; i++) {
        const char *set = scenario_text(scenario, "[\"k%d\", %d]", i, i);
        assert_json(rpc_call(others[i % 2], "set", set), "{\"seq\":\"*\"}");
        assert_json(rpc_call(others[i % 2], "get", scenario_text(scenario, "[\"k%d\"]", i)),
                    "[\"*\",\"*\"]");
    }
    assert_rpc(node, "flush", "[]", "{\"seq\":\"*\"}");
    assert_rpc(node, "get", "[\"k1\", {\"fresh\":true}]", "[1,\"*\"]");
    // Of both threads together.
    assert_int_equal(node_stat_int(node, "server.latency.set.count"), 300);
    assert_int_equal(node_stat_int(node, "server.latency.get.count"), 301);
    assert_int_equal(node_stat_int(node, "server.latency.flush.count"), 1);
    static const char *const METHODS[] = {"get", "set", "flush"};
    for (size_t i = 0; i < sizeof METHODS / sizeof *METHODS; i++) {
        const char *base = scenario_text(scenario, "server.latency.%s.", METHODS[i]);
        double p50 = number_at(node, scenario_text(scenario, "%sp50_us", base));
        double p99 = number_at(node, scenario_text(scenario, "%sp99_us", base));
        double max = number_at(node, scenario_text(scenario, "%smax_us", base));
        assert_true(p50 <= p99 && p99 <= max && max < 30e6);
    }
    // The fresh get asked PostgreSQL and came back, which takes more than a look into the cache.
    assert_true(number_at(node, "server.latency.get.max_us") >
                number_at(node, "server.latency.get.p50_us"));
    // A heartbeat goes out twice a second.
    node_await_stat_min(node, "postgres.lag.count", 3);
    assert_true(number_at(node, "postgres.lag.p50_us") > 0);
    assert_true(number_at(node, "postgres.lag.max_us") < 2e6);
    // Over the last ten whole seconds, so the flush counts from the next one on.
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (number_at(node, "postgres.flush_rate") < 1) {
        if (!deadline_again(&deadline)) {
            scenario_fail("flush_rate stays %s", node_stat(node, "postgres.flush_rate"));
        }
    }
}

static void the_outbox_tells_its_age_and_stats_never_wait(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\":\"postgres\"}]",
               "{\"seq\":\"*\",\"version\":\"*\"}");
    node_await_stat(node, "count", "1");
    assert_int_equal(node_stat_int(node, "outbox.age_us"), 0);
    // Writers are kept out: what is acknowledged now stays in the outbox and grows old.
    PGconn *blocker = pg_connect(pg);
    PQclear(PQexec(blocker, "BEGIN; LOCK TABLE kv_store IN EXCLUSIVE MODE"));
    assert_rpc(node, "set", "[\"k\", 2]", "{\"seq\":\"*\"}");
    node_await_stat_min(node, "outbox.age_us", 300000);
    assert_int_equal(node_stat_int(node, "outbox.depth"), 1);
    PQfinish(blocker);
    assert_rpc(node, "flush", "[]", "{\"seq\":\"*\"}");
    node_await_stat(node, "outbox.age_us", "0");
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    assert_json(node_stat(node, "count"), "null");
    assert_json(node_stat(node, "size"), "null");
    assert_json(node_stat(node, "backups"), "null");
}

// ---- Prometheus

static bool is_name(char byte)
{
    return byte == '_' || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
}

// `name`, maybe with `{label="value",...}`, a blank and a number.
static void assert_sample(const char *line, size_t len)
{
    size_t at = 0;
    while (at < len && is_name(line[at])) {
        at++;
    }
    bool good = at > 7 && strncmp(line, "pgnear_", 7) == 0;
    if (good && line[at] == '{') {
        const char *close = memchr(line, '}', len);
        good = close != NULL;
        at = good ? (size_t)(close - line) + 1 : at;
    }
    char *end;
    good = good && line[at] == ' ';
    strtod(line + at + 1, &end); // NaN as well
    if (!good || end != line + len) {
        scenario_fail("not a sample: %.*s", (int)len, line);
    }
}

static void assert_exposition(struct scenario *scenario, const char *text)
{
    const char *type = "";
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (line[len] != '\n') {
            scenario_fail("the last line has no end: %s", line);
        }
        if (strncmp(line, "# TYPE ", 7) == 0) {
            size_t name_len = strcspn(line + 7, " ");
            type = scenario_text(scenario, "%.*s", (int)name_len, line + 7);
            const char *again = scenario_text(scenario, "# TYPE %s ", type);
            if (strstr(line + len, again) != NULL) {
                scenario_fail("%s comes twice", type);
            }
        } else if (strncmp(line, "# HELP ", 7) != 0) {
            assert_sample(line, len);
            if (strncmp(line, type, strlen(type)) != 0) {
                scenario_fail("%.*s stands under %s", (int)len, line, type);
            }
        }
        line += len + 1;
    }
}

static void assert_has(const char *text, const char *line)
{
    if (strstr(text, line) == NULL) {
        scenario_fail("%s is not in %s", line, text);
    }
}

static void prometheus_gets_its_text(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_rpc(node, "get", "[\"k\"]", "null");
    assert_rpc(node, "sync", "[]", "true");
    for (int i = 0; i < 7; i++) {
        assert_rpc(node, "get", "[\"k\"]", "null");
    }
    node_await_stat(node, "count", "0");
    const char *hits = node_stat(node, "cache.hits");
    struct cli cli = CLI(node, "stats", "--prometheus");
    assert_int_equal(cli.status, 0);
    assert_exposition(scenario, cli.out);
    assert_has(cli.out,
               scenario_text(scenario,
                             "# HELP pgnear_cache_hits_total reads answered from the cache\n"
                             "# TYPE pgnear_cache_hits_total counter\n"
                             "pgnear_cache_hits_total %s\n",
                             hits));
    assert_has(cli.out, "# TYPE pgnear_outbox_depth gauge\npgnear_outbox_depth 0\n");
    assert_has(cli.out, "pgnear_table_count 0\n");
    assert_has(cli.out, "pgnear_state{state=\"live\"} 1\n");
    assert_has(cli.out, "# TYPE pgnear_request_duration_seconds summary\n");
    assert_has(cli.out, "pgnear_request_duration_seconds{method=\"get\",quantile=\"0.99\"} ");
    assert_has(cli.out, "pgnear_request_duration_seconds_count{method=\"get\"} 8\n");
    assert_has(cli.out, "pgnear_invalidation_lag_seconds{quantile=\"0.5\"} ");
    assert_has(cli.out, "pgnear_postgres_round_trip_seconds ");
    struct cli table = CLI(node, "stats");
    assert_int_equal(table.status, 0);
    assert_has(table.out, "p99_us");
    assert_json(json_at(scenario, CLI(node, "stats", "--json").out, "server.latency.get.count"),
                "8");
}

// ---- top

static void top_prints_snapshots_where_there_is_no_terminal(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_rpc(node, "get", "[\"k\"]", "null");
    struct cli cli = CLI(node, "top", "--count", "2");
    assert_int_equal(cli.status, 0);
    const char *first = strstr(cli.out, "node ");
    assert_non_null(first);
    const char *second = strstr(first + 1, "\n\nnode ");
    assert_non_null(second);
    assert_null(strstr(second + 3, "\nnode "));
    assert_null(strchr(cli.out, '\033'));
    assert_has(cli.out, "live");
    assert_has(second, "stats");
    assert_has(second, "get");
    assert_int_equal(CLI(node, "top", "--count", "0").status, 2);
    assert_int_equal(CLI(node, "top", "--count", "many").status, 2);
}

// Reads what the terminal shows until the text is among it.
static void await_shown(int terminal, const char *text)
{
    static char shown[1 << 16];
    size_t len = 0;
    struct deadline deadline = deadline_in(DEADLINE_MS);
    for (;;) {
        struct pollfd entry = {.fd = terminal, .events = POLLIN};
        if (poll(&entry, 1, deadline_left_ms(&deadline)) != 1 || len + 1 >= sizeof shown) {
            scenario_fail("%s is not shown", text);
        }
        ssize_t got = read(terminal, shown + len, sizeof shown - 1 - len);
        if (got <= 0) {
            scenario_fail("the terminal is closed before %s is shown", text);
        }
        len += (size_t)got;
        shown[len] = '\0';
        if (strstr(shown, text) != NULL) {
            return;
        }
    }
}

static void a_key_ends_top_on_a_terminal(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    static const char KEYS[] = {'q', 3}; // Ctrl-C
    for (size_t i = 0; i < sizeof KEYS; i++) {
        int terminal;
        pid_t child = forkpty(&terminal, NULL, NULL, NULL);
        assert_true(child >= 0);
        if (child == 0) {
            execl(PGNEAR_PROGRAM, "pgnear", "--socket", node->socket_path, "top", (char *)NULL);
            _exit(127);
        }
        await_shown(terminal, "\033[H");
        await_shown(terminal, "reads");
        assert_int_equal(write(terminal, &KEYS[i], 1), 1);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        close(terminal);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(latencies_lag_and_rates_are_measured),
        SCENARIO(the_outbox_tells_its_age_and_stats_never_wait),
        SCENARIO(prometheus_gets_its_text),
        SCENARIO(top_prints_snapshots_where_there_is_no_terminal),
        SCENARIO(a_key_ends_top_on_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
