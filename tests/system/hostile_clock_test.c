// The machine's clock is set forward and back under a running node. Keys expire by PostgreSQL's
// clock, with the connection and without it; timeouts, heartbeats, max_stale and the memory of ids
// do not go by the clock at all.
//
// libfaketime tells the daemon the time that stands in a file, CLOCK_REALTIME only. Skipped where
// it is not installed, and for the sanitizers, which do not bear a library in front of theirs.

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "system/harness/deadline.h"
#include "system/harness/steps.h"

enum { HOUR_S = 3600, DAY_S = 24 * HOUR_S, TTL_S = 600 };

struct faked {
    struct node *node;
    struct pg *pg;
    const char *clock_path;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static const char *find_library(struct scenario *scenario)
{
    glob_t found;
    const char *path = NULL;
    if (!SANITIZED && glob("/usr/lib/*/faketime/libfaketime.so.1", 0, NULL, &found) == 0) {
        path = scenario_text(scenario, "%s", found.gl_pathv[0]);
        globfree(&found);
    }
    return path;
}

// Replaced in one step: the daemon reads it at every look at its clock.
static void set_clock(const struct faked *faked, int offset_s)
{
    const char *fresh = scenario_text(faked->node->scenario, "%s.fresh", faked->clock_path);
    FILE *file = fopen(fresh, "we");
    assert_non_null(file);
    fprintf(file, "%+d\n", offset_s);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(fresh, faked->clock_path), 0);
}

static struct faked start(struct scenario *scenario, const char *config)
{
    const char *library = find_library(scenario);
    if (library == NULL) {
        skip();
    }
    struct faked faked = {.pg = pg_start(scenario, NULL),
                          .clock_path = scenario_path(scenario, "clock")};
    const char **environment = scenario_alloc(scenario, 6 * sizeof *environment);
    environment[0] = scenario_text(scenario, "LD_PRELOAD=%s", library);
    environment[1] = scenario_text(scenario, "FAKETIME_TIMESTAMP_FILE=%s", faked.clock_path);
    environment[2] = "FAKETIME_NO_CACHE=1";
    environment[3] = "FAKETIME_DONT_FAKE_MONOTONIC=1"; // of newer ones
    environment[4] = "DONT_FAKE_MONOTONIC=1";
    environment[5] = NULL;
    faked.node = node_create(scenario, faked.pg,
                             &(struct node_options){.config = config, .environment = environment});
    set_clock(&faked, 0);
    node_start_again(faked.node);
    return faked;
}

// The daemon does go by the faked clock, as far as it goes by one: what it logs is dated so.
static void assert_clock_is_faked(const struct faked *faked)
{
    time_t there = time(NULL) + 400 * DAY_S;
    struct tm date;
    gmtime_r(&there, &date);
    set_clock(faked, 400 * DAY_S);
    node_kill(faked->node);
    node_start_again(faked->node);
    node_await_log(faked->node,
                   scenario_text(faked->node->scenario, "time=%d-", date.tm_year + 1900));
    set_clock(faked, 0);
}

static void assert_expires_in(const struct faked *faked, const char *key, int seconds)
{
    int64_t left_s = pg_int(faked->pg,
                            "SELECT extract(epoch FROM expires_at - now())::int FROM kv_store"
                            " WHERE key = '%s'",
                            key);
    if (left_s > seconds || left_s < seconds - 120) {
        scenario_fail("%s expires in %lld s, not in %d", key, (long long)left_s, seconds);
    }
}

static void write_with_ttl(struct node *node, const char *key, int ttl_ms)
{
    assert_rpc(node, "set",
               scenario_text(node->scenario, "[\"%s\", 1, {\"ttl_ms\": %d}]", key, ttl_ms), ACKED);
}

static void await_expiry(struct node *node, const char *key)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const char *params = scenario_text(node->scenario, "[\"%s\"]", key);
    while (!json_matches(rpc(node, "get", params), "null")) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s does not expire", key);
        }
    }
}

static void keys_expire_by_postgresqls_clock(struct scenario *scenario)
{
    struct faked faked = start(scenario, "");
    struct node *node = faked.node;
    assert_clock_is_faked(&faked);
    write_with_ttl(node, "held", TTL_S * 1000);
    assert_rpc(node, "flush", "[]", ACKED);
    // With the connection: whatever was measured before the jump is in use for a while after it.
    set_clock(&faked, 2 * HOUR_S);
    write_with_ttl(node, "forward", TTL_S * 1000);
    assert_rpc(node, "get", "[\"held\"]", "[1, \"*\"]");
    set_clock(&faked, -2 * HOUR_S);
    write_with_ttl(node, "back", TTL_S * 1000);
    assert_rpc(node, "get", "[\"held\"]", "[1, \"*\"]");
    // Without it nothing is measured at all.
    pg_stop(faked.pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    set_clock(&faked, 2 * HOUR_S);
    assert_rpc(node, "get", "[\"held\"]", "[1, \"*\"]");
    write_with_ttl(node, "alone forward", TTL_S * 1000);
    set_clock(&faked, -2 * HOUR_S);
    write_with_ttl(node, "alone back", TTL_S * 1000);
    assert_rpc(node, "get", "[\"alone back\"]", "[1, null]");
    write_with_ttl(node, "short", 300);
    await_expiry(node, "short");
    // What was known of PostgreSQL's clock outlives the process.
    node_kill(node);
    node_spawn(node);
    node_await_state(node, "disconnected");
    write_with_ttl(node, "started anew", TTL_S * 1000);
    pg_start_again(faked.pg);
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", ACKED);
    static const char *const KEYS[] = {"held",          "forward",    "back",
                                       "alone forward", "alone back", "started anew"};
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        assert_expires_in(&faked, KEYS[i], TTL_S);
    }
    assert_pg_value(faked.pg, NULL, "SELECT 1 FROM kv_store WHERE key = 'short'");
}

// Some heartbeats later the feed has not been lost.
static void assert_heartbeats_go_on(struct node *node)
{
    int64_t gaps = node_stat_int(node, "postgres.gaps");
    node_await_stat_min(node, "postgres.lag.count", node_stat_int(node, "postgres.lag.count") + 4);
    assert_int_equal(node_stat_int(node, "postgres.gaps"), gaps);
    node_await_state(node, "live");
}

static void assert_times_out(const struct faked *faked, int offset_s)
{
    enum { TIMEOUT_MS = 700, EARLY_MS = 100 }; // early: by the age of the clock that a loop read
    struct rpc *client = node_rpc(faked->node);
    pg_exec(faked->pg, "BEGIN; LOCK TABLE kv_store IN ACCESS EXCLUSIVE MODE");
    int64_t began_us = clock_boot_us();
    uint32_t asked = rpc_send(client, "get", "[\"k\", {\"fresh\": true, \"timeout_ms\": 700}]");
    set_clock(faked, offset_s);
    const char *answer = rpc_await(client, asked);
    int64_t took_ms = (clock_boot_us() - began_us) / CLOCK_US_PER_MS;
    pg_exec(faked->pg, "COMMIT");
    const char *code = json_at(faked->node->scenario, answer, "error.code");
    if (code == NULL || strcmp(code, "\"TIMEOUT\"") != 0 || took_ms < TIMEOUT_MS - EARLY_MS) {
        scenario_fail("after %lld ms: %s", (long long)took_ms, answer);
    }
}

static void nothing_else_goes_by_the_clock(struct scenario *scenario)
{
    static const char *const REPEATED = "[\"n\", 1, {\"id\": \"one\"}]";
    struct faked faked = start(scenario, "cache.max_stale = \"2s\"\n");
    struct node *node = faked.node;
    assert_rpc(node, "incr", REPEATED, "[1, \"*\"]");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    static const int JUMPS_S[] = {DAY_S, -DAY_S};
    for (size_t i = 0; i < 2; i++) {
        set_clock(&faked, JUMPS_S[i]);
        assert_heartbeats_go_on(node);
        assert_rpc(node, "incr", REPEATED, "[1, \"*\"]");
        assert_times_out(&faked, -JUMPS_S[i]);
        assert_rpc(node, "get", "[\"k\"]", "[1, \"*\"]");
    }
    assert_pg_value(faked.pg, "1", "SELECT value FROM kv_store WHERE key = 'n'");
    pg_stop(faked.pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    set_clock(&faked, DAY_S);
    // Served for max_stale and no longer, although the clock is set back every time.
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (json_matches(rpc(node, "get", "[\"k\"]"), "[1, \"*\"]")) {
        set_clock(&faked, DAY_S - DEADLINE_MS + deadline_left_ms(&deadline));
        if (!deadline_again(&deadline)) {
            scenario_fail("max_stale never passes");
        }
    }
    assert_rpc_error(node, "get", "[\"k\"]", "UNAVAILABLE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(keys_expire_by_postgresqls_clock),
        SCENARIO(nothing_else_goes_by_the_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
